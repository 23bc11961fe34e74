"""The meter inside data acquisition units: volts, amperes and ohms at any of their terminals.

Ranges and digits of a 6 1/2-digit meter (DAQ6510 data sheet 1KW-61316-0; 34970A user's guide, chapter 9): volts 0.1 to
1000 V, amperes 10 uA to 3 A, ohms 100 to 100 M. A reading is the mean of the circuit over the integration, with the
noise of half a digit at one power-line cycle, falling with the square root of the time. The DAQ6510's data sheet adds
no noise at one cycle and above. Of the 34970A's meter it is known to be larger at one cycle: up to .001 % of the range
is to be added (table "additional noise" of the same meter's E1412A manual, page 173), which is not modelled.
"""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from emulators.bench.instruments.base import Instrument
from emulators.bench.instruments.meter import OVERFLOW, Ladder, sample_times
from emulators.bench.sources import Constant, CurrentSource, VoltageSource

Function = Literal["VOLT", "CURR", "RES"]
LADDERS: dict[Function, Ladder] = {
    "VOLT": Ladder((0.1, 1.0, 10.0, 100.0, 1000.0), 1.0e6, 1.2),
    "CURR": Ladder((1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 3.0), 1.0e6, 1.2),
    "RES": Ladder((1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8), 1.0e6, 1.2),
}
UNITS: dict[Function, str] = {"VOLT": "VDC", "CURR": "ADC", "RES": "OHM"}
TEST_AMPERES = (1e-3, 1e-3, 1e-4, 1e-5, 1e-5, 7e-7, 7e-7)
"""Of the ranges of ohms."""

TEST_LIMIT_VOLTS = 12.0
SHUNT_OHMS = (1.0e4, 1.0e3, 1.0e2, 1.0e1, 1.0, 0.1, 0.1)
"""Burden of the ranges of amperes: 0.1 V at full scale, and never below 0.1 ohm (not confirmed)."""

HIGH_OHMS, PLAIN_OHMS = 1.0e10, 1.0e7
HIGH_UP_TO_VOLTS = 10.0
"""Ranges up to this one have the high input resistance, where it is allowed."""

OVERHEAD_SECONDS = 0.5e-3


@final
@dataclass(frozen=True)
class MeterSettings:
    """How to measure: ``range`` None chooses it; ``cycles`` of the power line."""

    function: Function
    range: float | None
    cycles: float
    high_ohms: bool = True
    line_hz: float = 60.0


@final
class Meter:
    """Measures at nodes for an instrument, in its time."""

    def __init__(self, owner: Instrument) -> None:
        self._owner = owner

    def read(self, node: str, settings: MeterSettings) -> float:
        """One reading; beyond the range 9.9e37."""
        ladder = LADDERS[settings.function]
        seconds = settings.cycles / settings.line_hz
        full_scale = settings.range
        if settings.function == "RES":
            value, full_scale = self._ohms(node, seconds, full_scale)
        elif settings.function == "CURR":
            value, full_scale = self._amperes(node, seconds, full_scale)
        else:
            value = self._volts(node, seconds, settings)
        owner = self._owner
        owner.spend(seconds + OVERHEAD_SECONDS)
        owner.fixture.load(node, None)
        owner.fixture.attach(node, None)
        if owner.faults.active(owner.name, "overload"):
            return OVERFLOW
        gain = float(np.prod([1.0 + rule.value for rule in owner.faults.active(owner.name, "gain")]))
        value = gain * value + sum(rule.value for rule in owner.faults.active(owner.name, "offset"))
        return ladder.shown(value, full_scale, settings.cycles, owner.rng)

    def _volts(self, node: str, seconds: float, settings: MeterSettings) -> float:
        fixture = self._owner.fixture
        high = settings.high_ohms and (settings.range is None or settings.range <= HIGH_UP_TO_VOLTS)
        fixture.load(node, HIGH_OHMS if high else PLAIN_OHMS)
        value = float(fixture.volts([node], sample_times(self._owner.clock.seconds, seconds)).mean())
        return value

    def _amperes(self, node: str, seconds: float, chosen: float | None) -> tuple[float, float]:
        """Current into the meter; ranges upwards until one holds it."""
        fixture, ladder = self._owner.fixture, LADDERS["CURR"]
        value, scale = 0.0, ladder.ranges[-1]
        for scale, ohms in zip(ladder.ranges, SHUNT_OHMS, strict=True):
            if chosen is not None and scale < chosen:
                continue
            fixture.attach(node, VoltageSource(Constant(0.0), series_ohms=ohms))
            value = -float(fixture.amperes([node], sample_times(self._owner.clock.seconds, seconds)).mean())
            if chosen is not None or abs(value) <= ladder.over_range * scale:
                break
        return value, scale

    def _ohms(self, node: str, seconds: float, chosen: float | None) -> tuple[float, float]:
        """Volts at a test current; ranges upwards until one holds the resistance."""
        fixture, ladder = self._owner.fixture, LADDERS["RES"]
        value, scale = OVERFLOW, ladder.ranges[-1]
        for scale, test in zip(ladder.ranges, TEST_AMPERES, strict=True):
            if chosen is not None and scale < chosen:
                continue
            fixture.attach(node, CurrentSource(Constant(test), limit_volts=TEST_LIMIT_VOLTS))
            volts = float(fixture.volts([node], sample_times(self._owner.clock.seconds, seconds)).mean())
            value = OVERFLOW if fixture.in_compliance(node) else volts / test
            if chosen is not None or value <= ladder.over_range * scale:
                break
        return value, scale
