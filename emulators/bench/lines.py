"""An array seen from its lines: a multiport for whoever is wired to them, and cells that pulses on the lines change.

A cell under a voltage v for a time t takes t/T of the steps that one nominal pulse (V for T seconds) gives it, times
``disturb.share_of_step``: sinh(v/v0)/sinh(V/v0). Selected, half-selected and unselected cells follow the same law, at
the voltages that the solved circuit gives each of them. Doses add up; a cell steps whenever its dose has come nearest
to another whole step, so that a pulse that the wires weakened a little still counts as one, and the rest is not lost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.config import DisturbConfig
from emulators.crossbar import Crossbar
from emulators.crossbar_lines import Lines
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.disturb import share_of_step
from emulators.tiling import leaking
from substrate.arrays import FloatArray, IntArray

NEGLIGIBLE_DOSE = 1e-12
"""Steps; what is less is not looked at."""


@final
@dataclass(frozen=True)
class Writing:
    """The nominal pulse of a device, worth one step of its update law.

    Attributes:
        volts: of the pulse.
        seconds: its width.
        volts_per_decade: by which a cell switches ten times as fast.
    """

    volts: float = 1.5
    seconds: float = 1.0e-3
    volts_per_decade: float = 0.1

    @property
    def law(self) -> DisturbConfig:
        """What ``share_of_step`` takes."""
        return DisturbConfig(write_volts=self.volts, volts_per_decade=self.volts_per_decade)


@final
class LineArray:
    """One array of cells behind its wires.

    Args:
        name: its terminals are ``name.row0`` ... and ``name.col0`` ...
        siemens: gives the conductances now, (rows, columns).
        pulse: takes signed counts (rows, columns), one count a nominal pulse; None for cells not written by pulses.
        segment_ohms: of the wires; terminations belong to what is wired to the lines.
        cell: law of the cells.
        writing: the nominal pulse.

    Attributes:
        spoil: what becomes of pulse counts on their way to the cells; faults go in here.
    """

    def __init__(
        self,
        name: str,
        siemens: Callable[[], FloatArray],
        pulse: Callable[[IntArray], None] | None,
        segment_ohms: float,
        cell: CellLaw,
        writing: Writing,
    ) -> None:
        self.name = name
        self._siemens = siemens
        self._pulse = pulse
        self._writing = writing
        now = leaking(siemens())
        self._circuit = Crossbar(now, segment_ohms, segment_ohms, cell=cell)
        self.shape = self._circuit.shape
        self._dose = np.zeros(self.shape)
        self.spoil: Callable[[IntArray], IntArray] = lambda counts: counts
        self._admittance: FloatArray | None = None
        rows, columns = self.shape
        self.terminals = tuple(
            [f"{name}.row{index}" for index in range(rows)] + [f"{name}.col{index}" for index in range(columns)]
        )
        self.curved = cell.linear_conductances(now) is None
        self._all_driven = Lines.all_driven(rows, columns)

    def cells_changed(self) -> None:
        """Take the conductances anew."""
        self._circuit.program(leaking(self._siemens()))
        self._admittance = None

    def admittance(self) -> FloatArray:
        """Of all lines, (line, line) siemens, word lines first; of cells whose law is linear."""
        if self._admittance is None:
            self._admittance = self._circuit.port_admittance()
        return self._admittance

    def currents_and_slope(self, volts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Currents into the lines (line,) at voltages (line,), and their derivative (line, line)."""
        solution = self._circuit.solve(volts, self._all_driven)
        out = np.concatenate([solution.wordline_currents, solution.bitline_currents])
        law, circuit = self._circuit.cell, self._circuit
        _, slopes = law.current_and_slope(solution.cell_voltages, solution.conductances)
        tangent = Crossbar(leaking(slopes), circuit.wordline_resistance, circuit.bitline_resistance)
        return -out, tangent.port_admittance()

    def cell_volts(self, volts: FloatArray) -> FloatArray:
        """Voltages across the cells (batch, rows, columns) at those of the lines (batch, line)."""
        return self._circuit.solve(volts, self._all_driven).cell_voltages

    def stress(self, volts: FloatArray, seconds: FloatArray) -> bool:
        """Hold the lines at volts (interval, line) for seconds (interval,); whether a cell moved."""
        if self._pulse is None:
            return False
        law, nominal = self._writing.law, self._writing.seconds
        across = volts.max(axis=1) - volts.min(axis=1)
        felt = share_of_step(across, law) * seconds / nominal > NEGLIGIBLE_DOSE
        if not felt.any():
            return False
        # Runs of equal voltages are solved once.
        distinct, which = np.unique(volts[felt], axis=0, return_inverse=True)
        total = np.bincount(which.reshape(-1), weights=seconds[felt], minlength=len(distinct))
        shares = share_of_step(self.cell_volts(distinct), law)
        self._dose += np.tensordot(total / nominal, shares, axes=1)
        whole = np.rint(self._dose)
        if not whole.any():
            return False
        self._dose -= whole
        counts = self.spoil(whole.astype(np.int64))
        if not counts.any():
            return False
        self._pulse(counts)
        return True
