"""One channel of a source-measure unit: sources a voltage or current with a limit on the other, and measures both.

LO is at the bench's ground. The output holds what is set until it is changed; whatever takes time is spent by the
instrument. What a measurement shows is the mean of the circuit over the integration, in the digits of its range.
"""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from emulators.bench.instruments.base import Instrument
from emulators.bench.instruments.meter import Ladder, sample_times
from emulators.bench.sources import Constant, CurrentSource, Source, VoltageSource

Quantity = Literal["VOLT", "CURR"]
OffState = Literal["normal", "zero", "high", "guard"]
OFF_FRACTION = 0.005
"""Of a range, which limits the output while it is off in the normal state."""

OVERHEAD_SECONDS = 0.2e-3


@final
@dataclass(frozen=True)
class SmuRanges:
    """Ranges and resolution of a model.

    Attributes:
        volts, amperes: as measured.
        volt_steps, ampere_steps: of a full scale, as sourced.
    """

    volts: Ladder
    amperes: Ladder
    volt_steps: float
    ampere_steps: float

    def ladder(self, quantity: Quantity) -> Ladder:
        """Of volts or amperes."""
        return self.volts if quantity == "VOLT" else self.amperes

    def steps(self, quantity: Quantity) -> float:
        """Of a full scale, as sourced."""
        return self.volt_steps if quantity == "VOLT" else self.ampere_steps


@final
@dataclass
class SmuState:
    """What is set; a range of None is chosen by the value.

    Attributes:
        source: what is sourced.
        volts, amperes: levels.
        limit_volts, limit_amperes: of a current source, and of a voltage source.
        on: whether the output is.
        off_state: what the terminals do meanwhile.
        source_range: of what is sourced.
        measure_ranges: of volts and amperes.
        cycles: of the power line, integrated.
    """

    source: Quantity = "VOLT"
    volts: float = 0.0
    amperes: float = 0.0
    limit_volts: float = 20.0
    limit_amperes: float = 1.0e-4
    on: bool = False
    off_state: OffState = "normal"
    source_range: float | None = None
    volt_range: float | None = None
    ampere_range: float | None = None
    cycles: float = 1.0


@final
@dataclass(frozen=True)
class Measured:
    """Volts and amperes as shown, whether the limit was reached, and when the measurement ends."""

    volts: float
    amperes: float
    tripped: bool
    seconds: float


@final
class SmuChannel:
    """Acts for an instrument at one of its nodes.

    Args:
        owner: the instrument; its clock, noise and faults are used.
        node: the HI terminal.
        ranges: of the model.
        line_hz: of the power line.
    """

    def __init__(self, owner: Instrument, node: str, ranges: SmuRanges, line_hz: float = 60.0) -> None:
        self._owner = owner
        self._node = node
        self.ranges = ranges
        self.line_hz = line_hz
        self.state = SmuState()

    def apply(self, level: float | None = None) -> None:
        """Put the state on the terminals; ``level`` in the place of the set one, within a sweep or pulse."""
        self._owner.fixture.attach(self._node, self._source(level))

    def release(self) -> None:
        """Take the output off the circuit altogether."""
        self.state.on = False
        self._owner.fixture.attach(self._node, None)

    def _source(self, level: float | None) -> Source | None:
        state, ranges = self.state, self.ranges
        if not state.on:
            if state.off_state == "high":
                return None
            if state.off_state == "guard":
                limit = OFF_FRACTION * ranges.volts.holding(state.volts)
                return CurrentSource(Constant(0.0), limit_volts=limit)
            limit = OFF_FRACTION * ranges.amperes.holding(state.limit_amperes)
            return VoltageSource(Constant(0.0), limit_amperes=limit)
        quantity = state.source
        asked = (state.volts if quantity == "VOLT" else state.amperes) if level is None else level
        scale = ranges.ladder(quantity).holding(asked) if state.source_range is None else state.source_range
        step = scale / ranges.steps(quantity)
        value = Constant(round(asked / step) * step)
        if quantity == "VOLT":
            return VoltageSource(value, limit_amperes=self._limit("CURR", state.limit_amperes, state.ampere_range))
        return CurrentSource(value, limit_volts=self._limit("VOLT", state.limit_volts, state.volt_range))

    def _limit(self, quantity: Quantity, limit: float, fixed: float | None) -> float:
        """The limit, or what a fixed measuring range still shows where that is lower."""
        return abs(limit) if fixed is None else min(abs(limit), self.ranges.ladder(quantity).over_range * fixed)

    @property
    def tripped(self) -> bool:
        """Whether the output is at its limit now."""
        owner = self._owner
        if owner.faults.active(owner.name, "compliance"):
            return True
        return self.state.on and owner.fixture.in_compliance(self._node)

    def measure(self, averages: int = 1) -> Measured:
        """Integrate volts and amperes side by side."""
        found = self.look(averages)
        self._owner.clock.advance_to(found.seconds)
        return found

    def look(self, averages: int = 1) -> Measured:
        """The measurement that begins now and will have been made at its ``seconds``; no time passes here."""
        owner, state = self._owner, self.state
        seconds = state.cycles / self.line_hz * averages
        times = sample_times(owner.clock.seconds, seconds)
        volts = float(owner.fixture.volts([self._node], times).mean())
        amperes = float(owner.fixture.amperes([self._node], times).mean())
        tripped = self.tripped
        gain = float(np.prod([1.0 + rule.value for rule in owner.faults.active(owner.name, "gain")]))
        amperes = gain * amperes + sum(rule.value for rule in owner.faults.active(owner.name, "offset"))
        if owner.faults.active(owner.name, "overload"):
            amperes = np.copysign(1.0e30, amperes)
        cycles = state.cycles * averages
        return Measured(
            self.ranges.volts.shown(volts, state.volt_range, cycles, owner.rng),
            self.ranges.amperes.shown(amperes, state.ampere_range, cycles, owner.rng),
            tripped,
            owner.clock.seconds + seconds + OVERHEAD_SECONDS,
        )
