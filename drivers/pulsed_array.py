"""Arrays that are written by pulses to one cell after another: source meters behind a switch matrix, and ArC TWO."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from drivers.pulse_budget import PulseBudget
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.capabilities import Capabilities, Limits
from substrate.contract import CrossbarArray
from substrate.errors import CapabilityError
from substrate.outlay import Demand, Outlay, Pace
from substrate.sections import NonNegative, Positive, Section


class PulsedSection(Section):
    """What the sections of such arrays share.

    Attributes:
        up_volts, down_volts: magnitudes of the pulses, row against column, that raise and lower a cell.
        pulses_per_cell: budget of a cell; a write that would exceed it is refused.
        pulse_ledger: file that keeps the pulses of each cell over all runs (``pulse_budget``), of one device; in a
            wiring file, beside it. None: they are counted from 0 whenever the device is described anew.
        window_siemens: lowest and highest conductance of a cell.
        step_siemens: mean change of one pulse (up, down); zeros: no pulses are given.
    """

    up_volts: Positive = 1.5
    down_volts: Positive = 1.5
    pulses_per_cell: Annotated[int, Field(ge=0)] = 1_000_000
    pulse_ledger: str | None = None
    window_siemens: tuple[NonNegative, Positive] = (1.0e-6, 1.0e-4)
    step_siemens: tuple[NonNegative, NonNegative] = (0.0, 0.0)


class PulsedArray(CrossbarArray):
    """Cells that pulses move, counted against a budget before they go out.

    Args:
        name: in the ledger of pulses.
        shape: (word lines, bit lines).
        config: pulses and budget.
        limits: what the array survives.
        readings: what is put out for readings.
        pace: how long operations take.
        at_once: whether all lines are sampled at the same instant.
        line_amperes: compliance of a driven line.

    Attributes:
        budget: pulses that cells have had.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int],
        config: PulsedSection,
        limits: Limits,
        readings: Sequence[Demand],
        pace: Pace,
        *,
        at_once: bool,
        line_amperes: float = math.inf,
    ) -> None:
        self._shape, self._pulses = shape, config
        self.budget = PulseBudget(name, shape, config.pulses_per_cell, config.pulse_ledger)
        largest = max(config.up_volts, config.down_volts)
        self.outlay: Outlay = Outlay(
            demands=(*readings, Demand("largest programming pulse", largest, "V", limits.write_volts)),
            pace=pace,
            pulses_per_cell=config.pulses_per_cell,
            most_given=lambda: int(self.budget.given.max()),
            kept=self.budget.kept,
            line_amperes=line_amperes,
        )
        self._capabilities = Capabilities(
            limits=limits,
            conductance_window_siemens=config.window_siemens,
            step_siemens=config.step_siemens,
            highest_frequency_hz=float("inf"),
            pulses=any(config.step_siemens),
            continuous_writing=False,
            simultaneous_sampling=at_once,
            complex_nudges=False,
            node_nudges=False,
            forward_products=True,
            exact_adjoint=False,
            state_snapshots=False,
            transposed_products=True,
        )

    @property
    @final
    def capabilities(self) -> Capabilities:
        """What the section declares."""
        return self._capabilities

    @property
    @final
    def shape(self) -> tuple[int, int]:
        """(word lines, bit lines)."""
        return self._shape

    @abstractmethod
    def _give(self, row: int, column: int, volts: float, count: int) -> bool:
        """Pulses of row against column, which were counted; all lines are at 0 V after. False: none is seen to have
        reached the cell.

        Raises:
            BenchError: the device cannot be reached: how many pulses were put out is not known.
        """

    @final
    def _pulse(self, counts: IntArray) -> BoolArray:
        """Whoever sends pulses cannot tell whether a cell has moved, but may see that none has reached it."""
        missed = np.zeros(self._shape, dtype=np.bool_)
        self.budget.spend(np.abs(counts))
        for row, column in np.argwhere(counts):
            count = int(counts[row, column])
            volts = self._pulses.up_volts if count > 0 else -self._pulses.down_volts
            missed[row, column] = not self._give(int(row), int(column), volts, abs(count))
        return missed

    @final
    def _set(self, target_siemens: FloatArray) -> BoolArray:
        raise CapabilityError("write: this array is written by pulses")
