"""Keithley 2400 SourceMeter: sources a voltage or a current, with a compliance on the other, and measures both.

Commands and behaviour: Series 2400 User's Manual (2400S-900-01), sections 17 and 18; ranges and resolutions: its
specifications (SPEC-2400 rev. H). These state no noise of readings: it is taken as half a digit of the range at one
power-line cycle, falling with the square root of the integration time. Calibration is perfect; the real one is good to
.025 % to .03 % of a current and 30 to 60 digits (1 uA to 100 mA), and .012 % to .015 % of a voltage.

LO is tied to the bench's ground. What the output does while it is off follows ``OUTPut:SMODe``: by default (``NORMal``)
0 V with a small compliance, not an open relay.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, final

import numpy as np

from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.scpi import OVERFLOW, Command, Request, ScpiError
from emulators.bench.sources import GROUND, Constant, CurrentSource, VoltageSource

Quantity = Literal["VOLT", "CURR"]
RANGES: dict[Quantity, tuple[float, ...]] = {
    "VOLT": (0.2, 2.0, 20.0, 200.0),
    "CURR": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
}
LARGEST: dict[Quantity, float] = {"VOLT": 210.0, "CURR": 1.05}
OVER_RANGE = 1.05
"""Steps of a range: the 0.2 V range sources 5 uV and measures 1 uV, the 1 uA range 50 pA (20 000) and 10 pA."""

SOURCE_STEPS: dict[Quantity, int] = {"VOLT": 40_000, "CURR": 20_000}
MEASURE_STEPS: dict[Quantity, int] = {"VOLT": 200_000, "CURR": 100_000}
OFF_VOLTS, OFF_FRACTION = 0.0, 0.005
AUTO_DELAY_SECONDS = 1.0e-3
OVERHEAD_SECONDS = 0.5e-3
AUTO_OHMS: tuple[tuple[float, float], ...] = (
    (2.1e1, 1e-1), (2.1e2, 1e-2), (2.1e3, 1e-3), (2.1e4, 1e-4), (2.1e5, 1e-5), (2.1e6, 1e-6), (2.1e7, 1e-6),
    (2.1e8, 1e-7),
)  # fmt: skip
"""Largest resistance and test current of the ranges of automatic ohms."""

OHMS_LIMIT_VOLTS = 21.0
MOST_POINTS = 2500
MOST_LIST = 100
SAMPLES = 16
"""Of the circuit within one integration, where anything moves."""

OFF_STATES = ["HIMPedance", "NORMal", "ZERO", "GUARd"]
ELEMENTS = ["VOLTage", "CURRent", "RESistance", "TIME", "STATus"]
STATISTICS = ["MEAN", "SDEViation", "MAXimum", "MINimum", "PKPK"]

Result = TypeVar("Result")
Steps = Generator[float, None, Result]
"""What takes time: it gives seconds to wait, and its result at the end."""


@final
@dataclass(frozen=True)
class Reading:
    """One measurement; what was not measured is NaN."""

    volts: float
    amperes: float
    ohms: float
    seconds: float
    status: int


@final
class SourceMeter2400(ScpiInstrument):
    """One channel. Ports: ``hi``, ``lo``."""

    error_format = '{code:d},"{text}"'
    number_format = "{:+.6E}"
    # Between idle and idle (manual, section 16, *OPC).
    breaks_in = re.compile(r":?(ABOR|SYST\w*:PRES|\*(RST|RCL|TRG))", re.IGNORECASE)

    def ports(self) -> Sequence[str]:
        """Both terminals."""
        return ("hi", "lo")

    @property
    def identity(self) -> str:
        """Of a 2400."""
        return "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C34 Sep 21 2016 15:30:00/A02  /H/H"

    def commands(self) -> Sequence[Command]:
        """Of the manual's section 18."""
        self.summary_bits = self._measurement_bit
        self._measurement_enable = 0
        update = self._updated
        return [
            self.switch("OUTPut[:STATe]", "output", False, changed=update),
            self.choice("OUTPut:SMODe", "off_state", "NORMal", OFF_STATES, changed=update),
            self.choice("SOURce:FUNCtion[:MODE]", "source", "VOLTage", ["VOLTage", "CURRent"], changed=update),
            self.number("SOURce:DELay", "delay", 0.0, 0.0, 999.9999, unit="S", changed=self._fixed_delay),
            self.switch("SOURce:DELay:AUTO", "auto_delay", True),
            self.switch("SOURce:CLEar:AUTO", "auto_clear", False),
            Command("SOURce:CLEar[:IMMediate]", lambda _: self._clear_output(), most=0),
            *(command for quantity in ("VOLTage", "CURRent") for command in self._of(quantity)),
            *(command for key, low, high in _SWEEPS for command in self._sweep(key, low, high)),
            self.number("SOURce:SWEep:POINts", "points", 2500, 1, 2500, integer=True),
            self.choice("SOURce:SWEep:SPACing", "spacing", "LINear", ["LINear", "LOGarithmic"]),
            self.choice("SOURce:SWEep:RANGing", "ranging", "BEST", ["BEST", "AUTO", "FIXed"]),
            Command("[SENSe]:FUNCtion[:ON]", self._measure_these, lambda _: self._measured(), most=3),
            Command("[SENSe]:FUNCtion:OFF", self._leave_these, most=3),
            Command("[SENSe]:FUNCtion:ALL[:ON] [SENSe]:FUNCtion:ON:ALL", lambda _: self._measure_all(), most=0),
            Command("[SENSe]:FUNCtion:OFF:ALL", lambda _: self._functions.clear(), most=0),
            self.switch("[SENSe]:FUNCtion:CONCurrent", "concurrent", True),
            self.number("[SENSe]:RESistance:RANGe[:UPPer]", "ohms_range", 2.1e5, 0.0, 2.1e8, changed=self._fixed_ohms),
            self.switch("[SENSe]:RESistance:RANGe:AUTO", "ohms_auto", True),
            self.choice("[SENSe]:RESistance:MODE", "ohms_mode", "AUTO", ["AUTO", "MANual"]),
            self.switch("[SENSe]:RESistance:OCOMpensated", "ohms_compensated", False),
            self.number(
                "[SENSe]:VOLTage[:DC]:NPLCycles [SENSe]:CURRent[:DC]:NPLCycles [SENSe]:RESistance:NPLCycles",
                "nplc", 1.0, 0.01, 10.0,
            ),
            self.switch("[SENSe]:AVERage[:STATe]", "filter", False),
            self.choice("[SENSe]:AVERage:TCONtrol", "filter_type", "REPeat", ["REPeat", "MOVing"]),
            self.number("[SENSe]:AVERage:COUNt", "filter_count", 10, 1, 100, integer=True),
            Command("FORMat:ELEMents[:SENSe]", self._set_elements, self._elements, most=5),
            self.choice("FORMat[:DATA]", "format", "ASCii", ["ASCii"]),
            *self._triggering(),
            *self._buffering(),
            *self._system(),
        ]  # fmt: skip

    def _of(self, quantity: str) -> list[Command]:
        """What there is for volts and for amperes alike."""
        short: Quantity = "VOLT" if quantity == "VOLTage" else "CURR"
        other: Quantity = "CURR" if short == "VOLT" else "VOLT"
        unit, most, update = ("V" if short == "VOLT" else "A"), LARGEST[short], self._updated
        source, sense, listed = f"SOURce:{quantity}", f"[SENSe]:{quantity}[:DC]", f"SOURce:LIST:{quantity}"
        default_limit = 1.05e-4 if short == "CURR" else 21.0

        def fix(key: str) -> None:
            self.put(key, False)
            self._update()

        return [
            self.number(
                f"{source}[:LEVel][:IMMediate][:AMPLitude] {source}[:LEVel]:TRIGgered[:AMPLitude]",
                f"{short}_level", 0.0, lambda _: -self._source_limit(short), lambda _: self._source_limit(short),
                unit=unit, changed=update,
            ),
            self.choice(f"{source}:MODE", f"{short}_mode", "FIXed", ["FIXed", "LIST", "SWEep"]),
            self.number(
                f"{source}:RANGe", f"{short}_source_range", RANGES[short][2], -most, most, unit=unit,
                changed=lambda _: fix(f"{short}_source_auto"), form="{:.6E}",
            ),
            self.switch(f"{source}:RANGe:AUTO", f"{short}_source_auto", True),
            Command(listed, lambda r: self._set_list(short, r, []), lambda _: self._list(short), MOST_LIST),
            Command(f"{listed}:APPend", lambda r: self._set_list(short, r, self._lists[short]), None, MOST_LIST),
            Command(f"{listed}:POINts", query=lambda _: str(len(self._lists[short])), most=0),
            self.number(
                f"{sense}:RANGe[:UPPer]", f"{short}_range", RANGES[short][2], -most, most, unit=unit,
                changed=lambda _: fix(f"{short}_auto"), form="{:.6E}",
            ),
            self.switch(f"{sense}:RANGe:AUTO", f"{short}_auto", True, changed=update),
            self.number(
                f"{sense}:PROTection[:LEVel]", f"{short}_limit", default_limit, -most, most, unit=unit, changed=update
            ),
            Command(f"{sense}:PROTection:TRIPped", query=lambda _: str(int(self._tripped(other))), most=0),
            Command(f"MEASure:{quantity}[:DC]", query=lambda _: self._measure_one(short), most=0),
            Command(f"CONFigure:{quantity}[:DC]", lambda _: self._configure(short), most=0),
        ]  # fmt: skip

    def _sweep(self, key: str, low: float, high: float) -> list[Command]:
        quantity, what = key.split("_")
        long = "VOLTage" if quantity == "VOLT" else "CURRent"
        return [self.number(f"SOURce:{long}:{what}", key, 0.0, low, high)]

    def _triggering(self) -> list[Command]:
        return [
            self.number("TRIGger[:SEQuence1]:COUNt", "trigger_count", 1, 1, MOST_POINTS, integer=True),
            self.number("ARM[:SEQuence1][:LAYer1]:COUNt", "arm_count", 1, 1, MOST_POINTS, integer=True),
            self.number("TRIGger:DELay", "trigger_delay", 0.0, 0.0, 999.9999, unit="S"),
            self.choice("TRIGger:SOURce", "trigger_source", "IMMediate", ["IMMediate", "TLINk"]),
            self.choice(
                "ARM:SOURce", "arm_source", "IMMediate",
                ["IMMediate", "TLINk", "TIMer", "MANual", "BUS", "NSTest", "PSTest", "BSTest"],
            ),
            self.number("ARM:TIMer", "arm_timer", 0.1, 0.001, 99999.99, unit="S"),
            self.choice("TRIGger:OUTPut", "trigger_output", "NONE", ["SOURce", "DELay", "SENSe", "NONE"]),
            self.choice("ARM:OUTPut", "arm_output", "NONE", ["TENTer", "TEXit", "NONE"]),
            *(
                self.number(f"{layer}:{line}", f"{layer[:3]}_{line[:1]}", 1, 1, 4, integer=True)
                for layer in ("TRIGger", "ARM")
                for line in ("ILINe", "OLINe")
            ),
            Command("INITiate[:IMMediate]", lambda _: self._initiate(), most=0),
            Command("ABORt", lambda _: self._abort(), most=0),
            Command("TRIGger:CLEar", lambda _: None, most=0),
            Command("READ", query=lambda _: self._read(), most=0),
            Command("FETCh [SENSe]:DATA[:LATest]", query=lambda _: self._answered(self._last), most=0),
            Command("MEASure", query=lambda _: self._read(), most=0),
            Command("MEASure:RESistance", query=lambda _: self._measure_one("RES"), most=0),
            Command("CONFigure:RESistance", lambda _: self._configure("RES"), most=0),
        ]  # fmt: skip

    def _buffering(self) -> list[Command]:
        return [
            self.number("TRACe:POINts", "buffer_points", 100, 1, MOST_POINTS, integer=True),
            Command("TRACe:POINts:ACTual", query=lambda _: str(len(self._buffer)), most=0),
            Command("TRACe:CLEar", lambda _: self._buffer.clear(), most=0),
            self.choice("TRACe:FEED", "feed", "SENSe1", ["SENSe1", "SENSe", "CALCulate1", "CALCulate2"]),
            self.choice("TRACe:FEED:CONTrol", "feed_control", "NEVer", ["NEXT", "NEVer"]),
            Command("TRACe:DATA", query=lambda _: self._answered(self._buffer), most=0),
            self.choice("CALCulate3:FORMat", "statistic", "MEAN", STATISTICS),
            Command("CALCulate3:DATA", query=lambda _: self._statistics(), most=0),
            Command("STATus:PRESet", lambda _: self._enable_measurements(0), most=0),
            Command(
                "STATus:MEASurement:ENABle",
                lambda request: self._enable_measurements(request.integer(0, 0, 65535)),
                lambda _: str(self._measurement_enable),
            ),
            Command("STATus:MEASurement[:EVENt]", query=lambda _: str(self._measurement_events()), most=0),
        ]

    def _system(self) -> list[Command]:
        return [
            Command("SYSTem:AZERo[:STATe]", self._set_autozero, lambda _: str(int(self.value("autozero")))),
            self.switch("SYSTem:AZERo:ENABle", "autozero", True),
            self.switch("SYSTem:RSENse", "remote_sense", False),
            self.number("SYSTem:LFRequency", "line_hz", 50, 50, 60, integer=True),
            self.switch("SYSTem:LFRequency:AUTO", "line_auto", True),
            Command("SYSTem:TIME:RESet", lambda _: self._restart_time(), most=0),
            Command("SYSTem:BEEPer[:IMMediate]", lambda _: None, most=2),
            self.switch("SYSTem:BEEPer:STATe", "beeper", True),
            Command("SYSTem:LOCal SYSTem:REMote SYSTem:RWLock SYSTem:KEY", lambda _: None),
            Command("SYSTem:PRESet", lambda _: self.power_on(), most=0),
            Command("SYSTem:CLEar", lambda _: self.errors.clear(), most=0),
            self.switch("DISPlay:ENABle", "display", True),
            self.choice("ROUTe:TERMinals", "terminals", "FRONt", ["FRONt", "REAR"]),
        ]

    def reset(self) -> None:
        """Output off, source 0 V, measure current."""
        self._functions: dict[str, None] = {"CURR": None}
        self._element_names = list(ELEMENTS)
        self._lists: dict[Quantity, list[float]] = {"VOLT": [0.0], "CURR": [0.0]}
        self._last: list[Reading] = []
        self._buffer: list[Reading] = []
        self._armed = False
        self._started = self.clock.seconds
        self.fixture.attach(self.node("lo"), GROUND)
        self._update()

    def outputs_off(self) -> None:
        """Nothing is driven any more."""
        self.free()
        self.put("output", False)
        self.fixture.attach(self.node("hi"), None)

    def trigger(self) -> None:
        """The measurement that waits for the bus."""
        if not self._armed:
            raise ScpiError(-211)
        self._armed = False
        self.begin(self._acquire())

    # The source.

    def _sourced(self) -> Quantity:
        return "VOLT" if self.value("source") == "VOLTage" else "CURR"

    def _source_limit(self, quantity: Quantity) -> float:
        """Largest level: of the range if that is fixed."""
        if self.value(f"{quantity}_source_auto"):
            return LARGEST[quantity]
        return min(LARGEST[quantity], OVER_RANGE * _range(quantity, self.value(f"{quantity}_source_range")))

    def _updated(self, request: Request) -> None:
        self._update()

    def _fixed_delay(self, request: Request) -> None:
        self.put("auto_delay", False)

    def _fixed_ohms(self, request: Request) -> None:
        self.put("ohms_auto", False)

    def _update(self, level: float | None = None) -> None:
        """Put what the settings say on the terminals; ``level`` in the place of the set one within a sweep."""
        hi, sourced = self.node("hi"), self._sourced()
        if not self.value("output"):
            state = self.value("off_state")
            if state == "HIMPedance":
                self.fixture.attach(hi, None)
            elif state == "GUARd":
                limit = OFF_FRACTION * _range("VOLT", abs(self.value("VOLT_limit")))
                self.fixture.attach(hi, CurrentSource(Constant(0.0), limit_volts=limit))
            else:
                limit = OFF_FRACTION * _range("CURR", abs(self.value("CURR_limit")))
                self.fixture.attach(hi, VoltageSource(Constant(OFF_VOLTS), limit_amperes=limit))
            return
        asked = self.value(f"{sourced}_level") if level is None else level
        step = _range(sourced, self._range_for_source(sourced, asked)) / SOURCE_STEPS[sourced]
        put_out = Constant(round(asked / step) * step)
        if sourced == "VOLT":
            self.fixture.attach(hi, VoltageSource(put_out, limit_amperes=self._limit("CURR")))
        else:
            self.fixture.attach(hi, CurrentSource(put_out, limit_volts=self._limit("VOLT")))

    def _range_for_source(self, quantity: Quantity, level: float) -> float:
        return abs(level) if self.value(f"{quantity}_source_auto") else abs(self.value(f"{quantity}_source_range"))

    def _limit(self, quantity: Quantity) -> float:
        """Real compliance, or that of a fixed measuring range where it is lower (manual, section 6)."""
        limit = abs(self.value(f"{quantity}_limit"))
        if not self.value(f"{quantity}_auto") and quantity in self._functions:
            limit = min(limit, OVER_RANGE * _range(quantity, self.value(f"{quantity}_range")))
        return float(limit)

    def _tripped(self, sourced: Quantity) -> bool:
        if self.faults.active(self.name, "compliance"):
            return True
        return bool(self.value("output")) and sourced == self._sourced() and self.fixture.in_compliance(self.node("hi"))

    def _clear_output(self) -> None:
        self.put("output", False)
        self._update()

    def _set_list(self, quantity: Quantity, request: Request, before: list[float]) -> None:
        most = LARGEST[quantity]
        new = [request.number(index, -most, most) for index in range(len(request.parameters))]
        if not new or len(before) + len(new) > MOST_POINTS:
            raise ScpiError(-109 if not new else -223, request.header)
        self._lists[quantity] = [*before, *new]

    def _list(self, quantity: Quantity) -> str:
        return self.numbers(self._lists[quantity])

    def _levels(self, quantity: Quantity) -> list[float | None]:
        """The level of each point in turn; None is what is set."""
        mode = self.value(f"{quantity}_mode")
        if mode == "FIXed":
            return [None]
        if mode == "LIST":
            return list(self._lists[quantity])
        start, stop, points = self.value(f"{quantity}_STARt"), self.value(f"{quantity}_STOP"), self.value("points")
        if self.value("spacing") == "LOGarithmic":
            if not start * stop > 0:
                raise ScpiError(-221, "a logarithmic sweep cannot cross 0")
            return [float(level) for level in np.geomspace(start, stop, points)]
        return [float(level) for level in np.linspace(start, stop, points)]

    # Measuring.

    def _measure_these(self, request: Request) -> None:
        names = self._names(request)
        if not self.value("concurrent"):
            self._functions.clear()
        self._functions.update(dict.fromkeys(names))
        self._update()

    def _leave_these(self, request: Request) -> None:
        for name in self._names(request):
            self._functions.pop(name, None)
        self._update()

    def _names(self, request: Request) -> list[str]:
        out = []
        for index in range(max(1, len(request.parameters))):
            word = request.text(index).upper().removesuffix(":DC")
            found = [
                short for short, long in (("VOLT", "VOLTAGE"), ("CURR", "CURRENT"), ("RES", "RESISTANCE"))
                if word in (short, long)
            ]  # fmt: skip
            if not found:
                raise ScpiError(-224, word[:20])
            out += found
        return out

    def _measured(self) -> str:
        return ",".join(f'"{name}:DC"' if name != "RES" else '"RES"' for name in self._functions)

    def _measure_all(self) -> None:
        self._functions.update(dict.fromkeys(("VOLT", "CURR", "RES")))
        self._update()

    def _configure(self, what: str) -> None:
        """One-shot measurements of one function (manual, section 17)."""
        self._functions = {what: None}
        for key in ("trigger_count", "arm_count"):
            self.put(key, 1)
        for key in ("trigger_source", "arm_source"):
            self.put(key, "IMMediate")
        if what != "RES":
            self.put(f"{what}_auto", True)
        self._update()

    def _measure_one(self, what: str) -> str:
        self._configure(what)
        return self._read()

    def _initiate(self) -> None:
        if self._armed:
            raise ScpiError(-213)
        if not (self.value("output") or self.value("auto_clear")):
            raise ScpiError(803, text="Not permitted with OUTPUT off")
        if self.value("arm_source") in ("IMMediate", "TIMer"):
            self.begin(self._acquire())
        else:
            self._armed = True

    def _abort(self) -> None:
        self._armed = False
        self.free()

    def _read(self) -> str:
        if self.value("arm_source") not in ("IMMediate", "TIMer"):
            raise ScpiError(-214, text="Trigger deadlock")
        self._initiate()
        self.finish()
        return self._answered(self._last)

    def _acquire(self) -> Iterator[float]:
        """All points of one initiation, in steps."""
        if not self.value("output"):
            self.put("output", True)
            self._update()
        count = self.value("trigger_count") * self.value("arm_count")
        if count > MOST_POINTS:
            raise ScpiError(-222, "more than 2500 points")
        levels = self._levels(self._sourced())
        self._last = []
        for point in range(count):
            level = levels[point % len(levels)]
            if level is not None:
                self._update(level)
            yield self.value("trigger_delay") + self._delay()
            self._last.append((yield from self._measure()))
        if self.value("feed_control") == "NEXT":
            room = self.value("buffer_points") - len(self._buffer)
            self._buffer += self._last[: max(0, room)]
            if len(self._buffer) >= self.value("buffer_points"):
                self.put("feed_control", "NEVer")
        if self.value("auto_clear"):
            self._clear_output()

    def _delay(self) -> float:
        return AUTO_DELAY_SECONDS if self.value("auto_delay") else float(self.value("delay"))

    def _measure(self) -> Steps[Reading]:
        """Integrate over the line cycles that are set, for every function that is on."""
        automatic = "RES" in self._functions and self.value("ohms_mode") == "AUTO" and len(self._functions) == 1
        if automatic:
            return (yield from self._measure_ohms())
        volts, amperes, tripped = yield from self._integrate()
        sourced = self._sourced()
        shown_volts = self._shown_value("VOLT", volts, sourced)
        shown_amperes = self._shown_value("CURR", amperes, sourced)
        ohms = np.nan
        if "RES" in self._functions:
            ohms = volts / amperes if amperes else OVERFLOW
        return self._reading(shown_volts, shown_amperes, ohms, tripped)

    def _measure_ohms(self) -> Steps[Reading]:
        """Automatic ohms: a test current that goes with the range, upwards from the smallest."""
        hi, before = self.node("hi"), self.fixture.source(self.node("hi"))
        chosen = [step for step in AUTO_OHMS if step[0] >= OVER_RANGE * self.value("ohms_range") / 1.06]
        steps = AUTO_OHMS[::-1] if self.value("ohms_auto") else chosen[:1] or AUTO_OHMS[-1:]
        reading = None
        for number, (largest, test) in enumerate(steps):
            self.fixture.attach(hi, CurrentSource(Constant(test), limit_volts=OHMS_LIMIT_VOLTS))
            yield self._delay()
            volts, amperes, tripped = yield from self._integrate()
            ohms = volts / amperes if amperes and volts / amperes <= largest else OVERFLOW
            reading = self._reading(volts, amperes, ohms, tripped)
            last = number + 1 == len(steps)
            # The next range would still hold it: its larger current measures it better.
            if last or not ohms <= steps[number + 1][0]:
                break
        self.fixture.attach(hi, before)
        assert reading is not None  # there is at least one range
        return reading

    def _integrate(self) -> Steps[tuple[float, float, bool]]:
        """Mean volts and amperes with noise and in the digits of their ranges, and whether compliance was reached."""
        nplc = self.value("nplc")
        seconds = nplc / self.value("line_hz")
        hi, now = self.node("hi"), self.clock.seconds
        times = now + (np.arange(SAMPLES) + 0.5) * (seconds / SAMPLES)
        volts = float(self.fixture.volts([hi], times).mean())
        amperes = float(self.fixture.amperes([hi], times).mean())
        tripped = self._tripped(self._sourced())
        averages = self.value("filter_count") if self.value("filter") else 1
        functions = max(1, len(self._functions))
        zeroing = 2 if self.value("autozero") else 1
        yield averages * (seconds * zeroing * functions + OVERHEAD_SECONDS)
        weight = 1.0 / np.sqrt(nplc * averages)
        gain = float(np.prod([1.0 + rule.value for rule in self.faults.active(self.name, "gain")]))
        offset = sum(rule.value for rule in self.faults.active(self.name, "offset"))
        return self._digits("VOLT", volts, weight), self._digits("CURR", gain * amperes + offset, weight), tripped

    def _digits(self, quantity: Quantity, value: float, noise: float) -> float:
        """A value as its range shows it."""
        if self.value(f"{quantity}_auto"):
            # With room for the noise that is added.
            full_scale = _range(quantity, 1.001 * abs(value))
        else:
            full_scale = _range(quantity, self.value(f"{quantity}_range"))
        step = full_scale / MEASURE_STEPS[quantity]
        noisy = value + 0.5 * step * noise * float(self.rng.standard_normal())
        if abs(noisy) > OVER_RANGE * full_scale * (1 + 1e-6) or self.faults.active(self.name, "overload"):
            return OVERFLOW
        return float(round(noisy / step) * step)

    def _shown_value(self, quantity: Quantity, value: float, sourced: Quantity) -> float:
        """What is not measured is not a number, but for the source, which is shown as programmed."""
        if quantity in self._functions:
            return value
        return float(self.value(f"{quantity}_level")) if quantity == sourced else np.nan

    def _reading(self, volts: float, amperes: float, ohms: float, tripped: bool) -> Reading:
        bits = {1: bool(self.value("filter")), 3: tripped, 14: self._sourced() == "VOLT", 15: self._sourced() == "CURR"}
        bits |= {0: OVERFLOW in (volts, amperes, ohms)}
        bits |= {bit: name in self._functions for bit, name in ((11, "VOLT"), (12, "CURR"), (13, "RES"))}
        status = sum(1 << bit for bit, on in bits.items() if on)
        return Reading(volts, amperes, float(ohms), self.clock.seconds - self._started, status)

    def _set_autozero(self, request: Request) -> None:
        if request.raw(0).upper() != "ONCE":
            self.put("autozero", request.boolean())

    def _restart_time(self) -> None:
        self._started = self.clock.seconds

    # Answers.

    def _set_elements(self, request: Request) -> None:
        named = [request.choice(ELEMENTS, index) for index in range(len(request.parameters))]
        if not named:
            raise ScpiError(-109, request.header)
        # Their order is fixed, whatever order they are named in.
        self._element_names = [element for element in ELEMENTS if element in named]

    def _elements(self, request: Request) -> str:
        return ",".join(element.upper()[:4].replace("RESI", "RES") for element in self._element_names)

    def _answered(self, readings: list[Reading]) -> str:
        if not readings:
            raise ScpiError(-230)
        return ",".join(self.numbers(self._row(reading)) for reading in readings)

    def _row(self, reading: Reading) -> list[float]:
        values = dict(
            zip(ELEMENTS, (reading.volts, reading.amperes, reading.ohms, reading.seconds, reading.status), strict=True)
        )
        return [values[element] for element in self._element_names]

    def _statistics(self) -> str:
        if not self._buffer:
            raise ScpiError(-230)
        rows = np.array([(reading.volts, reading.amperes, reading.ohms) for reading in self._buffer])
        found = {
            "MEAN": rows.mean(axis=0),
            "SDEViation": rows.std(axis=0),
            "MAXimum": rows.max(axis=0),
            "MINimum": rows.min(axis=0),
            "PKPK": np.ptp(rows, axis=0),
        }[self.value("statistic")]
        return self.numbers([float(one) for one in found])

    def _enable_measurements(self, mask: int) -> None:
        self._measurement_enable = mask

    def _measurement_events(self) -> int:
        full = bool(self._buffer) and len(self._buffer) >= self.value("buffer_points")
        return (64 if self._last else 0) | (512 if full else 0)

    def _measurement_bit(self) -> int:
        return 1 if self._measurement_events() & self._measurement_enable else 0


def _range(quantity: Quantity, value: float) -> float:
    """The smallest range that holds a value."""
    return next((one for one in RANGES[quantity] if abs(value) <= OVER_RANGE * one), RANGES[quantity][-1])


_SWEEPS = [
    (f"{quantity}_{what}", -most, most) for quantity, most in LARGEST.items() for what in ("STARt", "STOP", "STEP")
]
MODELS = {"keithley-2400": SourceMeter2400}
