"""Keithley 2450 SourceMeter.

Commands: 2450 Reference Manual (2450-901-01), chapter 6 (command set SCPI, which ``*LANG?`` names). Ranges: 20 mV to
200 V, 10 nA to 1 A, 6 1/2 digits (SPEC-2450 rev. A). That states the noise of what is sourced below 10 Hz, about 4 to 5
digits of current and 5 to 10 of voltage, which is not modelled, and none of readings: they have a digit at one
power-line cycle. The sequence of a voltage list with ``SOURce:SWEep`` fills the buffer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from emulators.bench.instruments.meter import OVERFLOW, Ladder
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.instruments.smu_channel import OffState, Quantity, SmuChannel, SmuRanges
from emulators.bench.protocol.scpi import Command, Request, ScpiError, parse_text

RANGES = SmuRanges(
    Ladder((0.02, 0.2, 2.0, 20.0, 200.0), 2.0e6, 1.05, 1.0),
    Ladder((1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0), 1.0e6, 1.05, 1.0),
    40_000,
    20_000,
)
LONG = {"VOLT": "VOLTage", "CURR": "CURRent", "RES": "RESistance"}
OFF_STATES: dict[str, OffState] = {"NORMal": "normal", "HIMPedance": "high", "ZERO": "zero", "GUARd": "guard"}
ELEMENTS = ["READing", "SOURce", "RELative", "TSTamp", "UNIT", "STATus"]
STATISTICS: dict[str, Callable[[Sequence[float]], np.floating[Any]]] = {
    "AVERage": np.mean, "MAXimum": np.max, "MINimum": np.min, "STDDev": np.std,
}  # fmt: skip
MOST_POINTS = 100_000
MOST_LIST, MOST_IN_A_MESSAGE = 2500, 100
AUTO_DELAY_SECONDS = 1.0e-3
LARGEST_OHMS = 2.1e8


@final
@dataclass(frozen=True)
class Reading:
    """One entry of the buffer."""

    value: float
    source: float
    seconds: float
    function: str
    tripped: bool


@final
class SourceMeter2450(ScpiInstrument):
    """One channel. Ports: ``hi``."""

    error_format = '{code:d},"{text}"'
    number_format = "{:.6E}"

    def ports(self) -> Sequence[str]:
        """The terminal; LO is ground."""
        return ("hi",)

    @property
    def identity(self) -> str:
        """Of a 2450."""
        return "KEITHLEY INSTRUMENTS,MODEL 2450,04096331,1.7.12b"

    def commands(self) -> Sequence[Command]:
        """Of the reference manual's chapter 6."""
        self._smu = SmuChannel(self, self.node("hi"), RANGES)
        self._buffer: list[Reading] = []
        self._list: list[float] = []
        self._sweep: list[float] = []
        update = self._updated
        return [
            self.switch("OUTPut#1[:STATe]", "output", False, changed=update),
            *(
                self.choice(f"OUTPut#1:{long}:SMODe", f"{short}_off", "NORMal", list(OFF_STATES), changed=update)
                for short, long in LONG.items()
                if short != "RES"
            ),
            self.choice("SOURce#1:FUNCtion[:MODE]", "source", "VOLTage", ["VOLTage", "CURRent"], changed=update),
            *(command for short in ("VOLT", "CURR") for command in self._sourcing(short)),
            *(command for short in LONG for command in self._sensing(short)),
            Command("[SENSe#1]:FUNCtion[:ON]", self._set_function, lambda _: f'"{self._shown_function()}"'),
            self.number("[SENSe#1]:COUNt", "count", 1, 1, 300_000, integer=True),
            Command("SOURce#1:SWEep:VOLTage:LINear", lambda r: self._set_sweep("VOLT", r), most=9),
            Command("SOURce#1:SWEep:CURRent:LINear", lambda r: self._set_sweep("CURR", r), most=9),
            Command("SOURce#1:SWEep:VOLTage:LIST", lambda r: self._set_list_sweep(r), most=5),
            Command("SOURce#1:LIST:VOLTage", self._set_list, lambda _: self.numbers(self._list), MOST_IN_A_MESSAGE),
            Command("SOURce#1:LIST:VOLTage:APPend", lambda r: self._set_list(r, self._list), most=MOST_IN_A_MESSAGE),
            Command("READ", query=self._read, most=10),
            Command("FETCh", query=self._fetch, most=10),
            *(Command(f"MEASure:{long}[:DC]", query=self._measuring(short), most=9) for short, long in LONG.items()),
            Command("INITiate[:IMMediate]", lambda _: self._initiate(), most=0),
            Command("ABORt", lambda _: self.free(), most=0),
            Command("TRACe:DATA", query=self._data, most=10),
            Command("TRACe:ACTual", query=lambda _: self._count()),
            Command("TRACe:CLEar", lambda _: self._buffer.clear()),
            self.number("TRACe:POINts", "points", MOST_POINTS, 1, 6_875_000, integer=True),
            *(Command(f"TRACe:STATistics:{word}", query=self._statistic(word)) for word in STATISTICS),
            self.choice("FORMat[:DATA]", "format", "ASCii", ["ASCii"]),
            self.choice("ROUTe:TERMinals", "terminals", "FRONt", ["FRONt", "REAR"]),
            Command("SYSTem:BEEPer[:IMMediate]", lambda _: None, most=2),
            Command("SYSTem:LFRequency", query=lambda _: "60", most=0),
            Command("STATus:PRESet", lambda _: None, most=0),
            Command("STATus:MEASurement:ENABle", self._not_strict),
            Command("TRACe:FEED", self._not_strict),
            Command("TRACe:FEED:CONTrol", self._not_strict),
            Command("*LANG", lambda _: None, lambda _: "SCPI"),
        ]

    def _not_strict(self, request: Request) -> None:
        """What belongs to the command set of the 2400, and clients send all the same."""
        if self.strict:
            raise ScpiError(-113, request.header)

    def _sourcing(self, short: str) -> list[Command]:
        quantity: Quantity = "VOLT" if short == "VOLT" else "CURR"
        long, ladder, update = LONG[short], RANGES.ladder(quantity), self._updated
        limit, other = ("ILIMit", RANGES.amperes) if short == "VOLT" else ("VLIMit", RANGES.volts)
        base = f"SOURce#1:{long}"

        def fixed(_: Request) -> None:
            self.put(f"{short}_source_auto", False, 1)
            self._apply()

        def largest(suffixes: tuple[int, ...]) -> float:
            if self.value(f"{short}_source_auto", 1):
                return ladder.largest
            return ladder.over_range * ladder.fixed(self.value(f"{short}_source_range", 1))

        return [
            self.number(
                f"{base}[:LEVel][:IMMediate][:AMPLitude]", f"{short}_level", 0.0,
                lambda suffixes: -largest(suffixes), largest, unit="V" if short == "VOLT" else "A", changed=update,
            ),
            self.number(
                f"{base}:RANGe", f"{short}_source_range", ladder.ranges[0], -ladder.largest, ladder.largest,
                changed=fixed,
            ),
            self.switch(f"{base}:RANGe:AUTO", f"{short}_source_auto", True, changed=update),
            self.number(
                f"{base}:{limit}[:LEVel]", f"{short}_limit", 1.05e-4 if short == "VOLT" else 21.0,
                -other.largest, other.largest, changed=update,
            ),
            Command(f"{base}:{limit}[:LEVel]:TRIPped", query=lambda _: str(int(self._smu.tripped)), most=0),
            self.number(f"{base}:DELay", f"{short}_delay", 0.0, 0.0, 1.0e4, unit="S",
                        changed=lambda _: self.put(f"{short}_delay_auto", False, 1)),
            self.switch(f"{base}:DELay:AUTO", f"{short}_delay_auto", True),
            self.switch(f"{base}:READ:BACK", f"{short}_read_back", True),
        ]  # fmt: skip

    def _sensing(self, short: str) -> list[Command]:
        base = f"[SENSe#1]:{LONG[short]}[:DC]"
        largest = (
            LARGEST_OHMS if short == "RES" else RANGES.volts.largest if short == "VOLT" else RANGES.amperes.largest
        )

        def fixed(_: Request) -> None:
            self.put(f"{short}_auto", False, 1)
            self._apply()

        return [
            self.number(f"{base}:RANGe[:UPPer]", f"{short}_range", largest / 1.05, -largest, largest, changed=fixed),
            self.switch(f"{base}:RANGe:AUTO", f"{short}_auto", True, changed=self._updated),
            self.number(f"{base}:NPLCycles", f"{short}_nplc", 1.0, 0.01, 10.0),
            self.switch(f"{base}:RSENse", f"{short}_four_wires", False),
            self.switch(f"{base}:AZERo[:STATe]", f"{short}_autozero", True),
            self.switch(f"{base}:AVERage[:STATe]", f"{short}_filter", False),
            self.number(f"{base}:AVERage:COUNt", f"{short}_filter_count", 10, 1, 100, integer=True),
            self.choice(f"{base}:AVERage:TCONtrol", f"{short}_filter_type", "REPeat", ["REPeat", "MOVing"]),
            self.switch(f"{base}:OCOMpensated", f"{short}_compensated", False),
            self.choice(f"{base}:MODE", f"{short}_mode", "MANual", ["MANual", "AUTO"]),
            self.choice(f"{base}:UNIT", f"{short}_unit", {"VOLT": "VOLT", "CURR": "AMP", "RES": "OHM"}[short],
                        ["VOLT", "AMP", "OHM", "WATT"]),
        ]  # fmt: skip

    def reset(self) -> None:
        """Output off, empty buffer, amperes measured."""
        self._buffer, self._list, self._sweep = [], [], []
        self._measured = "CURR"
        self._apply()

    def outputs_off(self) -> None:
        """Off the circuit, sweeps broken off."""
        self.free()
        self.put("output", False, 1)
        self._smu.release()

    def trigger(self) -> None:
        """Nothing waits for it; clients of the 2400 send it, so it does no harm."""
        if self.strict:
            raise ScpiError(-211)

    # The source.

    def _updated(self, request: Request) -> None:
        self._apply()

    def _source_key(self) -> Quantity:
        return "VOLT" if self.value("source", 1) == "VOLTage" else "CURR"

    def _fixed_range(self, quantity: Quantity, key: str) -> float | None:
        if self.value(f"{quantity}_{key}auto", 1):
            return None
        return RANGES.ladder(quantity).fixed(self.value(f"{quantity}_{key}range", 1))

    def _apply(self, level: float | None = None) -> None:
        state, quantity = self._smu.state, self._source_key()
        state.source, state.on = quantity, bool(self.value("output", 1))
        state.volts, state.amperes = self.value("VOLT_level", 1), self.value("CURR_level", 1)
        state.limit_amperes, state.limit_volts = self.value("VOLT_limit", 1), self.value("CURR_limit", 1)
        state.off_state = OFF_STATES[self.value(f"{quantity}_off", 1)]
        state.source_range = self._fixed_range(quantity, "source_")
        # Only what is measured has a range of its own; what is sourced is read back on the source's.
        state.volt_range = self._fixed_range("VOLT", "") if self._measured == "VOLT" else None
        state.ampere_range = self._fixed_range("CURR", "") if self._measured == "CURR" else None
        self._smu.apply(level)

    # Measuring.

    def _set_function(self, request: Request) -> None:
        word = request.text(0).upper().removesuffix(":DC")
        found = [short for short, long in LONG.items() if word in (short, long.upper())]
        if not found:
            raise ScpiError(-224, word[:20])
        self._measured = found[0]
        self._apply()

    def _shown_function(self) -> str:
        return self._measured if self._measured == "RES" else f"{self._measured}:DC"

    def _delay(self) -> float:
        short = self._source_key()
        return AUTO_DELAY_SECONDS if self.value(f"{short}_delay_auto", 1) else float(self.value(f"{short}_delay", 1))

    def _take(self) -> Reading:
        reading = self._look()
        self.clock.advance_to(reading.seconds)
        return reading

    def _look(self) -> Reading:
        """A measurement that begins now, in the buffer before it ends."""
        if self.strict and not self.value("output", 1) and self._smu.state.off_state == "high":
            raise ScpiError(5076, text="Output is off")
        short = self._measured
        self._smu.state.cycles = self.value(f"{short}_nplc", 1)
        averages = self.value(f"{short}_filter_count", 1) if self.value(f"{short}_filter", 1) else 1
        found = self._smu.look(averages)
        values = {"VOLT": found.volts, "CURR": found.amperes}
        if short == "RES":
            # Beyond the measure of either, no ratio means anything.
            whole = abs(found.volts) < OVERFLOW and 0.0 < abs(found.amperes) < OVERFLOW
            values["RES"] = found.volts / found.amperes if whole else OVERFLOW
        reading = Reading(values[short], values[self._source_key()], found.seconds, short, found.tripped)
        self._buffer = [*self._buffer[1 - MOST_POINTS :], reading]
        return reading

    def _measure(self) -> Reading:
        self._wait()
        reading = None
        for _ in range(self.value("count", 1)):
            self.spend(self._delay())
            reading = self._take()
        assert reading is not None  # the count is 1 or more
        return reading

    def _read(self, request: Request) -> str:
        return self._shown([self._measure()], request, 0)

    def _fetch(self, request: Request) -> str:
        self._wait()
        if not self._buffer:
            raise ScpiError(-230)
        return self._shown(self._buffer[-1:], request, 0)

    def _measuring(self, short: str) -> Callable[[Request], str]:
        def query(request: Request) -> str:
            self._measured = short
            self._apply()
            return self._shown([self._measure()], request, 0)

        return query

    # Sweeps.

    def _set_sweep(self, quantity: Quantity, request: Request) -> None:
        """start, stop, points[, delay]."""
        most = RANGES.ladder(quantity).largest
        start, stop = request.number(0, -most, most), request.number(1, -most, most)
        points = request.integer(2, 2, MOST_POINTS)
        if request.given(3):
            self._set_delay(request, 3)
        self._begin_sweep(quantity, [float(level) for level in np.linspace(start, stop, points)])

    def _set_list(self, request: Request, before: Sequence[float] = ()) -> None:
        most = RANGES.volts.largest
        new = [request.number(index, -most, most) for index in range(len(request.parameters))]
        if not new or len(before) + len(new) > MOST_LIST:
            raise ScpiError(-223 if new else -109, request.header)
        self._list = [*before, *new]

    def _set_list_sweep(self, request: Request) -> None:
        """start index[, delay]."""
        if not self._list:
            raise ScpiError(-221, "no list")
        first = request.integer(0, 1, len(self._list)) if request.given(0) else 1
        if request.given(1):
            self._set_delay(request, 1)
        self._begin_sweep("VOLT", self._list[first - 1 :])

    def _set_delay(self, request: Request, index: int) -> None:
        short = self._source_key()
        delay = request.number(index, -1.0, 1.0e4)
        self.put(f"{short}_delay_auto", delay < 0.0, 1)
        self.put(f"{short}_delay", max(0.0, delay), 1)

    def _begin_sweep(self, quantity: Quantity, levels: list[float]) -> None:
        if quantity != self._source_key():
            raise ScpiError(-221, "the other quantity is sourced")
        self._sweep = levels

    def _initiate(self) -> None:
        """A sweep if one is set up: the output goes on, every point is sourced and measured, and it goes off."""
        if self.going:
            raise ScpiError(-213)
        if not self._sweep:
            self._measure()
            return
        self.begin(self._swept(self._sweep))

    def _swept(self, levels: Sequence[float]) -> Iterator[float]:
        self._buffer = []
        self.put("output", True, 1)
        for level in levels:
            self._apply(level)
            yield self._delay()
            yield self._look().seconds - self.clock.seconds
        self.put("output", False, 1)
        self._apply()
        self._sweep = []

    # Answers.

    def _wait(self) -> None:
        """For the end of a sweep before its readings are given: a client that asked for them again and again until
        they are there would let no simulated time pass."""
        if not self.faults.active(self.name, "never_complete"):
            self.finish()

    def _count(self) -> str:
        self._wait()
        return str(len(self._buffer))

    def _data(self, request: Request) -> str:
        self._wait()
        if not self._buffer:
            raise ScpiError(-230)
        if not request.parameters:
            return self._shown(self._buffer, request, 0)
        first = request.integer(0, 1, len(self._buffer))
        last = request.integer(1, first, len(self._buffer))
        return self._shown(self._buffer[first - 1 : last], request, 2)

    def _shown(self, readings: Sequence[Reading], request: Request, index: int) -> str:
        names = [parse_text(request.raw(place)) for place in range(index, len(request.parameters))]
        if names and names[0].lower().startswith("defbuffer"):
            names = names[1:]
        elements = [_element(name) for name in names] or ["READing"]
        start, out = self._buffer[0].seconds, []
        for reading in readings:
            values = {
                "READing": self.numbers([reading.value]),
                "SOURce": self.numbers([reading.source]),
                "RELative": f"{reading.seconds - start:.9f}",
                "TSTamp": f"{reading.seconds:.9f}",
                "UNIT": {"VOLT": "Volt DC", "CURR": "Amp DC", "RES": "Ohm"}[reading.function],
                "STATus": str(8 if reading.tripped else 0),
            }
            out += [values[element] for element in elements]
        return ",".join(out)

    def _statistic(self, word: str) -> Callable[[Request], str]:
        def query(request: Request) -> str:
            if not self._buffer:
                raise ScpiError(-230)
            return self.numbers([float(STATISTICS[word]([reading.value for reading in self._buffer]))])

        return query


def _element(name: str) -> str:
    for one in ELEMENTS:
        if name.upper() in (one.upper(), "".join(letter for letter in one if not letter.islower())):
            return one
    raise ScpiError(-224, name[:20])


MODELS = {"keithley-2450": SourceMeter2450}
