"""What a pulse on a selected cell does to the others of its array: their voltages, and the share of a step they take.

Switching speeds up exponentially with voltage, a decade for every 0.05 to 0.2 V in oxides (the voltage-time dilemma;
Waser, Dittmann, Staikov & Szot, Adv. Mater. 21, 2632 (2009); Menzel et al., Adv. Funct. Mater. 21, 4487 (2011)). A
field that drives ions over a barrier both ways gives a rate ~ sinh(v/v0) (Mott & Gurney, 1940), so a cell at v takes

    sinh(v/v0)/sinh(V/v0),    v0 = volts_per_decade/ln 10,

of the step that the writing voltage V gives it, with the sign of v, and nothing at 0 V.
"""

import math
from typing import Literal

import numpy as np

from emulators.config import DisturbConfig, WiresConfig
from emulators.crossbar import Crossbar
from emulators.crossbar_lines import Lines
from emulators.tiling import leaking
from substrate.arrays import FloatArray, IntArray

CHUNK = 4_000_000
"""Cell voltages computed at a time."""


def share_of_step(volts: FloatArray, config: DisturbConfig) -> FloatArray:
    """Signed share of a step that cells at ``volts`` take in one pulse; 1 at the writing voltage."""
    scale = config.volts_per_decade / math.log(10.0)
    x, top = np.abs(volts) / scale, config.write_volts / scale
    # sinh(x)/sinh(top) without overflow.
    return np.asarray(np.sign(volts) * np.exp(x - top) * -np.expm1(-2.0 * x) / -math.expm1(-2.0 * top))


def doses(
    counts: IntArray, siemens: FloatArray, config: DisturbConfig, wires: WiresConfig
) -> tuple[FloatArray, FloatArray]:
    """What a burst of pulses, cell after cell, does to one array of ohmic cells.

    Args:
        counts: (rows, columns) pulses that each cell is selected for, negative ones with the voltages reversed.
        siemens: (rows, columns) conductances, taken as constant during the burst.
        config: scheme and law.
        wires: resistances, which count with ``config.wire_loss``; every line then ends in a driver.

    Returns:
        Both (rows, columns): steps that each cell is moved by while others are selected, and the share of a step that
        one pulse on the cell itself is worth.
    """
    if config.scheme == "floating" or config.wire_loss:
        return _solved(counts, siemens, config, wires if config.wire_loss else None)
    row, column, total = counts.sum(axis=1, keepdims=True), counts.sum(axis=0, keepdims=True), counts.sum()
    own = np.ones(counts.shape)
    beside = row + column - 2 * counts
    if config.scheme == "grounded":
        return share_of_step(np.array(config.write_volts), config) * (row - counts), own
    if config.scheme == "half":
        return share_of_step(np.array(config.write_volts / 2), config) * beside, own
    elsewhere = total - row - column + counts
    return share_of_step(np.array(config.write_volts / 3), config) * (beside - elsewhere), own


def line_volts(
    scheme: Literal["half", "third", "grounded"], shape: tuple[int, int], selected: IntArray, volts: float
) -> FloatArray:
    """Voltages of all word lines, then all bit lines, for each selected cell (row, column) of ``selected``."""
    rows, columns = shape
    word_level, bit_level = {"half": (0.5, 0.5), "third": (1 / 3, 2 / 3), "grounded": (0.0, 0.0)}[scheme]
    out = np.empty((len(selected), rows + columns))
    out[:, :rows], out[:, rows:] = word_level * volts, bit_level * volts
    each = np.arange(len(selected))
    out[each, selected[:, 0]] = volts
    out[each, rows + selected[:, 1]] = 0.0
    return out


def _solved(
    counts: IntArray, siemens: FloatArray, config: DisturbConfig, wires: WiresConfig | None
) -> tuple[FloatArray, FloatArray]:
    """Voltages from the circuit: of ohmic cells, so those of every selection are sums of one solution a line."""
    rows, columns = siemens.shape
    segment, source = (wires.segment_ohms, wires.source_ohms) if wires else (0.0, 0.0)
    lines = rows + columns
    # Nothing holds an open line that floats: that is refused, where driven ones merely take no current.
    closed = siemens if config.scheme == "floating" else leaking(siemens)
    circuit = Crossbar(closed, segment, segment, source)
    cell_volts = circuit.solve(np.eye(lines), Lines.all_driven(rows, columns)).cell_voltages.reshape(lines, -1)
    potentials = np.zeros((lines, lines))
    if config.scheme == "floating":
        # Only the selected lines carry current: in at one and out at the other. The admittance is that of a circuit
        # without a reference; a leak from all lines together ties it down, and takes no part of currents that sum to 0.
        admittance = circuit.port_admittance()
        leak = np.trace(admittance) / lines**2
        potentials = np.linalg.inv(admittance + leak) + source * np.eye(lines)
    selected = np.argwhere(counts != 0)
    moved, own = np.zeros(siemens.size), np.ones(siemens.shape)
    for start in range(0, len(selected), max(1, CHUNK // siemens.size)):
        part = selected[start : start + max(1, CHUNK // siemens.size)]
        if config.scheme == "floating":
            pattern = potentials[part[:, 0]] - potentials[rows + part[:, 1]]
            each = np.arange(len(part))
            pattern *= config.write_volts / (pattern[each, part[:, 0]] - pattern[each, rows + part[:, 1]])[:, None]
        else:
            pattern = line_volts(config.scheme, (rows, columns), part, config.write_volts)
        shares = share_of_step(pattern @ cell_volts, config)
        at = part[:, 0] * columns + part[:, 1]
        own.reshape(-1)[at] = shares[np.arange(len(part)), at]
        shares[np.arange(len(part)), at] = 0.0
        moved += counts[part[:, 0], part[:, 1]] @ shares
    return moved.reshape(siemens.shape), own
