"""What a device puts out and how long it takes, by its own description: for plans that are made while it is closed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Demand:
    """One figure: what is asked for at most, and what the device survives (infinite: no limit is known).

    Attributes:
        what: is asked for.
        value: at most.
        unit: of it; empty of what is counted.
        limit: of the device.
        least: what a run gets to, where nothing says that it gets to ``value``; None: it is taken to.
    """

    what: str
    value: float
    unit: str
    limit: float = math.inf
    least: float | None = None

    @property
    def refused(self) -> bool:
        """Whether a run will be refused a request."""
        return self._beyond(self.value if self.least is None else self.least)

    @property
    def doubtful(self) -> bool:
        """Whether a run may be refused a request, or not."""
        return self._beyond(self.value) and not self.refused

    def _beyond(self, value: float) -> bool:
        return value > self.limit * (1 + 1e-12)

    def __str__(self) -> str:
        # What has no unit is counted.
        value, limit = (f"{one:.4g} {self.unit}" if self.unit else f"{one:.0f}" for one in (self.value, self.limit))
        if math.isinf(self.limit):
            return f"{self.what:44}{value}"
        beyond = "  BEYOND: refused" if self.refused else "  beyond at worst" if self.doubtful else ""
        return f"{self.what:44}{value:16}limit {limit}{beyond}"


@final
@dataclass(frozen=True)
class Pace:
    """Seconds that operations take one after another, by rule of thumb where instruments do not say.

    Attributes:
        state_seconds: one sample is set, settles and is read.
        point_seconds: one step of a record that is stepped through its phases; 0: records run in their own time.
        record_seconds: a record of one sample, beside its steps or periods.
        filter_periods: of a tone, that lock-ins take for each reading of one of its harmonics.
        product_seconds: an array is read at one vector of voltages.
        cell_seconds: one cell is read, beside what its word line takes.
        row_seconds: the cells of a word line are read at once.
        write_seconds: one cell is written, beside its pulses.
        pulse_seconds: one pulse.
    """

    state_seconds: float = 0.0
    point_seconds: float = 0.0
    record_seconds: float = 0.0
    filter_periods: float = 0.0
    product_seconds: float = 0.0
    cell_seconds: float = 0.0
    row_seconds: float = 0.0
    write_seconds: float = 0.0
    pulse_seconds: float = 0.0


def _none_yet() -> int:
    return 0


@final
@dataclass(frozen=True)
class Outlay:
    """What is known of a closed device.

    Attributes:
        demands: what it puts out by its own configuration, whatever it is asked: of readings and of pulses.
        pace: how long it takes.
        pulses_per_cell: budget of a cell; infinite: there is none.
        most_given: asks for the pulses of the cell that has had the most.
        kept: whether these outlive a run.
        nudge_volts_per_ampere: at the source of a nudge; 0: the device sources or computes currents.
        line_amperes: compliance of a line of an array that is read alone; infinite: none is known.
        drives_neurons: what neurons say is put on lines by the device, and not by the network itself.
    """

    demands: tuple[Demand, ...] = ()
    pace: Pace = Pace()
    pulses_per_cell: float = math.inf
    most_given: Callable[[], int] = _none_yet
    kept: bool = False
    nudge_volts_per_ampere: float = 0.0
    line_amperes: float = math.inf
    drives_neurons: bool = False
