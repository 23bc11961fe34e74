"""What the cells of an array that are not written take while others are: half-selected ones, and sneak paths."""

import itertools
from typing import Literal

import numpy as np

from emulators.config import TilesConfig
from emulators.power_meter import PowerMeter, bare_admittance
from emulators.tiling import leaking, line_cuts
from substrate.arrays import FloatArray, IntArray

Scheme = Literal["isolated", "half", "third", "grounded", "floating"]

LEVELS: dict[str, tuple[float, float]] = {"half": (0.5, 0.5), "third": (1 / 3, 2 / 3), "grounded": (0.0, 0.0)}
"""Unselected (word, bit) lines over the pulse's voltage; the selected word line is at it, the bit line at ground."""


def unselected_watts(
    meter: PowerMeter,
    siemens: FloatArray,
    counts: IntArray,
    volts: float,
    scheme: Scheme,
    tiles: TilesConfig | None = None,
) -> float:
    """Power of all cells but the selected one, wires left out, summed over the pulses of ``counts``.

    A pulse V on cell (r, c) leaves V - bit on the other cells of its row, word on those of its column, and word - bit
    on the rest of its tile, with the lines of ``LEVELS``. Where the other lines float, their cells are sneak paths
    between the two selected lines, taken as ohmic.

    Args:
        meter: of the array.
        siemens: (polarity, row, column), each polarity an array of its own.
        counts: (polarity, row, column) signed pulses.
        volts: amplitude.
        scheme: what unselected lines are held at; ``isolated``: their cells' selectors let nothing pass.
        tiles: physical arrays; None is one of the whole size.
    """
    if scheme == "isolated":
        return 0.0
    _, rows, columns = counts.shape
    tiles = tiles or TilesConfig(rows=rows, columns=columns)
    total = 0.0
    for tall, wide in itertools.product(line_cuts(rows, tiles.rows), line_cuts(columns, tiles.columns)):
        sent = counts[:, tall, wide]
        if not sent.any():
            continue
        if scheme == "floating":
            total += sum(
                _sneaking(one, pulses, volts) for one, pulses in zip(siemens[:, tall, wide], sent, strict=True)
            )
        else:
            total += _biased(meter, siemens[:, tall, wide], sent, volts, LEVELS[scheme])
    return total


def _biased(
    meter: PowerMeter, siemens: FloatArray, counts: IntArray, volts: float, levels: tuple[float, float]
) -> float:
    word, bit = levels
    total = 0.0
    for sign in (1.0, -1.0):
        sent = np.maximum(sign * counts, 0.0)
        if not sent.any():
            continue
        in_row, in_column, rest = (
            meter.cell_watts(siemens, share * sign * volts) for share in (1.0 - bit, word, word - bit)
        )
        row = in_row.sum(axis=2, keepdims=True) - in_row
        column = in_column.sum(axis=1, keepdims=True) - in_column
        others = rest.sum(axis=(1, 2), keepdims=True) - rest.sum(axis=2, keepdims=True)
        others = others - rest.sum(axis=1, keepdims=True) + rest
        total += float(np.vdot(sent, row + column + others))
    return total


def _sneaking(siemens: FloatArray, counts: IntArray, volts: float) -> float:
    """V^2 times what the conductance between two lines has above their cell's own."""
    rows, columns = siemens.shape
    admittance = bare_admittance(leaking(siemens))
    # Without a reference the admittance is singular; a leak from all lines together takes no part of currents that
    # go in at one line and out at another.
    inverse = np.linalg.inv(admittance + np.trace(admittance) / (rows + columns) ** 2)
    own = np.diagonal(inverse)
    ohms = own[:rows, None] + own[None, rows:] - 2.0 * inverse[:rows, rows:]
    return max(volts**2 * float(np.vdot(np.abs(counts).astype(np.float64), 1.0 / ohms - siemens)), 0.0)
