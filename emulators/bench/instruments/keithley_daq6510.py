"""Keithley DAQ6510: a 6 1/2-digit meter behind two 40-channel multiplexer cards (7702).

Commands: DAQ6510 Reference Manual (DAQ6510-901-01), chapter 6. Cards sit in slots 1 and 2; a channel is slot and two
digits. The rear terminals are in use. ``READ?`` measures what is closed; a scan (``ROUTe:SCAN``) closes its channels in
turn and fills ``defbuffer1``. A closed channel is measured against ground.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from emulators.bench.instruments.dmm import LADDERS, Function, Meter, MeterSettings
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.scpi import Answer, Command, Request, ScpiError, parse_text

SLOTS, CHANNELS = 2, 40
FUNCTIONS: dict[str, Function] = {"VOLTage": "VOLT", "CURRent": "CURR", "RESistance": "RES", "FRESistance": "RES"}
SWITCH_SECONDS = 3.0e-3
"""Of one relay (7702: 3 ms)."""

MOST_POINTS = 100_000
LARGEST: dict[Function, float] = {"VOLT": 1010.0, "CURR": 3.0, "RES": 1.2e8}
ELEMENTS = ["READing", "CHANnel", "RELative", "TSTamp", "UNIT", "SOURce"]
STATISTICS: dict[str, Callable[[Sequence[float]], np.floating[Any]]] = {
    "AVERage": np.mean,
    "MAXimum": np.max,
    "MINimum": np.min,
    "STDDev": np.std,
}


@final
@dataclass(frozen=True)
class Reading:
    """One entry of the buffer."""

    value: float
    channel: int
    seconds: float
    function: Function


@final
class Daq6510(ScpiInstrument):
    """Ports: ``101`` .. ``140``, ``201`` .. ``240``; ``front`` measures where no channel is closed."""

    error_format = '{code:d},"{text}"'
    number_format = "{:.6E}"

    def ports(self) -> Sequence[str]:
        """Channels of both cards, and the terminals at the front."""
        cards = [str(100 * slot + number) for slot in range(1, SLOTS + 1) for number in range(1, CHANNELS + 1)]
        return ["front", *cards]

    @property
    def identity(self) -> str:
        """Of a DAQ6510."""
        return "KEITHLEY INSTRUMENTS,MODEL DAQ6510,04340543,1.7.12b"

    def commands(self) -> Sequence[Command]:
        """Of the reference manual's chapter 6."""
        self._meter = Meter(self)
        self._closed: list[int] = []
        self._scan: list[int] = []
        self._buffer: list[Reading] = []
        self._functions: dict[int, str] = {}
        self._own: dict[tuple[str, int], Any] = {}
        return [
            Command("[SENSe]:FUNCtion[:ON]", self._set_function, self._function, most=2),
            *(command for long in FUNCTIONS for command in self._of(long)),
            self.number("[SENSe]:COUNt", "count", 1, 1, 1_000_000, integer=True),
            Command(
                "ROUTe[:CHANnel][:MULTiple]:CLOSe ROUTe:MULTiple:CLOSe", self._close, lambda _: _listed(self._closed)
            ),
            Command("ROUTe[:CHANnel][:MULTiple]:OPEN ROUTe:MULTiple:OPEN", self._open),
            Command("ROUTe[:CHANnel]:OPEN:ALL", lambda _: self._set([]), most=0),
            Command("ROUTe:TERMinals", query=lambda _: "REAR", most=0),
            Command("ROUTe:SCAN[:CREate]", self._set_scan, lambda _: _listed(self._scan), most=2),
            Command("ROUTe:SCAN:ADD", self._add_to_scan, most=2),
            self.number("ROUTe:SCAN:COUNt:SCAN", "scans", 1, 0, MOST_POINTS, integer=True),
            Command("ROUTe:SCAN:COUNt:STEP", query=lambda _: str(len(self._scan)), most=0),
            self.number("ROUTe:SCAN:INTerval", "interval", 0.0, 0.0, 1.0e5, unit="S"),
            self.number("ROUTe[:CHANnel]:DELay", "delay", 0.0, 0.0, 60.0, unit="S"),
            Command("INITiate[:IMMediate]", lambda _: self._run_scan(), most=0),
            Command("ABORt", lambda _: self.free(), most=0),
            Command("READ", query=self._read, most=10),
            Command("FETCh", query=self._fetch, most=10),
            *(Command(f"MEASure:{long}[:DC]", query=self._measuring(long), most=10) for long in FUNCTIONS),
            Command("TRACe:DATA", query=self._data, most=12),
            Command("TRACe:ACTual", query=lambda _: str(len(self._buffer)), most=1),
            Command("TRACe:CLEar", lambda _: self._buffer.clear()),
            self.number("TRACe:POINts", "points", MOST_POINTS, 0, MOST_POINTS, integer=True),
            *(Command(f"TRACe:STATistics:{word}", query=self._statistic(word)) for word in STATISTICS),
            self.choice("FORMat[:DATA]", "format", "ASCii", ["ASCii"]),
            self.switch("SYSTem:AZERo SENSe:AZERo", "autozero", True),
            Command("SYSTem:BEEPer[:IMMediate]", lambda _: None, most=2),
            Command("SYSTem:CARD#2:IDN", query=lambda _: '"7702, 40Ch Mux, 00.00a, 0000000"', most=0),
            Command("SYSTem:LFRequency", query=lambda _: "60", most=0),
            Command("STATus:PRESet", lambda _: None, most=0),
            Command("*LANG", lambda _: None, lambda _: "SCPI"),
        ]

    def _of(self, long: str) -> list[Command]:
        """What there is for each function; amperes and ohms alike."""
        function = FUNCTIONS[long]
        base, largest = f"[SENSe]:{long}[:DC]", LARGEST[function]
        key = long if long == "FRESistance" else function
        return [
            self._listable(command, *keys)
            for command, *keys in (
                (
                    self.number(
                        f"{base}:RANGe[:UPPer]", f"{key}_range", LADDERS[function].ranges[-1], 0.0, largest,
                        changed=lambda _: self.put(f"{key}_auto", False), form="{:.6E}",
                    ),
                    f"{key}_range",
                    f"{key}_auto",
                ),
                (self.switch(f"{base}:RANGe:AUTO", f"{key}_auto", True), f"{key}_auto"),
                (self.number(f"{base}:NPLCycles", f"{key}_nplc", 1.0, 5.0e-4, 15.0), f"{key}_nplc"),
                (self.switch(f"{base}:AVERage[:STATe]", f"{key}_filter", False), f"{key}_filter"),
                (
                    self.number(f"{base}:AVERage:COUNt", f"{key}_filter_count", 10, 1, 100, integer=True),
                    f"{key}_filter_count",
                ),
                (
                    self.choice(f"{base}:AVERage:TCONtrol", f"{key}_filter_type", "REPeat", ["REPeat", "MOVing"]),
                    f"{key}_filter_type",
                ),
                (self.choice(f"{base}:INPutimpedance", f"{key}_input", "MOHM10", ["MOHM10", "AUTO"]), f"{key}_input"),
                (
                    self.choice(f"{base}:OCOMpensated", f"{key}_compensated", "OFF", ["OFF", "ON", "AUTO"]),
                    f"{key}_compensated",
                ),
                (self.switch(f"{base}:AZERo[:STATe]", f"{key}_autozero", True), f"{key}_autozero"),
            )
        ]  # fmt: skip

    def _listable(self, command: Command, *keys: str) -> Command:
        """The same setting with a channel list behind it: then it is those channels' own, and no others'."""
        set_all, ask_all = command.write, command.query
        assert set_all is not None  # what settings are made of
        assert ask_all is not None

        def write(request: Request) -> None:
            if not request.given(1):
                set_all(request)
                return
            channels = self._channels(request, 1)
            before = {key: self.value(key) for key in keys}
            try:
                set_all(Request(request.header, request.suffixes, request.parameters[:1]))
                self._own.update({(key, channel): self.value(key) for key in keys for channel in channels})
            finally:
                for key, value in before.items():
                    self.put(key, value)

        def query(request: Request) -> Answer | None:
            if not (request.given(0) and request.raw(0).startswith("(")):
                return ask_all(request)
            before = self.value(keys[0])
            channels = self._channels(request, 0)
            if len(channels) != 1:
                raise ScpiError(-224, "one channel at a time")
            try:
                self.put(keys[0], self._of_channel(keys[0], channels[0]))
                return ask_all(Request(request.header, request.suffixes, ()))
            finally:
                self.put(keys[0], before)

        return Command(command.pattern, write, query, most=2)

    def _of_channel(self, key: str, channel: int) -> Any:
        """A setting of a channel: its own, or else that of all."""
        return self._own.get((key, channel), self.value(key))

    def reset(self) -> None:
        """Volts, all open, no scan, empty buffer."""
        self._functions, self._own = {}, {}
        self._scan, self._buffer = [], []
        self._closed = []

    def outputs_off(self) -> None:
        """All open."""
        self._closed = []

    def trigger(self) -> None:
        """Nothing waits for it."""
        raise ScpiError(-211)

    # Functions and channels.

    def _set_function(self, request: Request) -> None:
        word = request.text(0).upper().removesuffix(":DC")
        found = [long for long in FUNCTIONS if word in (long.upper(), _short(long))]
        if not found:
            raise ScpiError(-224, word[:20])
        for channel in self._channels(request, 1) if request.given(1) else [0]:
            self._functions[channel] = found[0]
        if not request.given(1):
            self._functions = {0: found[0]}

    def _function(self, request: Request) -> str:
        channel = self._channels(request, 0)[0] if request.given(0) else 0
        word = _short(self._function_of(channel))
        return f'"{word}"' if word.endswith("RES") else f'"{word}:DC"'

    def _function_of(self, channel: int) -> str:
        return self._functions.get(channel, self._functions.get(0, "VOLTage"))

    def _channels(self, request: Request, index: int) -> list[int]:
        found = request.channels(index)
        for channel in found:
            if not (1 <= channel // 100 <= SLOTS and 1 <= channel % 100 <= CHANNELS):
                raise ScpiError(-224, f"channel {channel}")
        return found

    def _close(self, request: Request) -> None:
        # One channel at a time is at the meter: the backplane takes no second pair.
        found = self._channels(request, 0)
        self._set([*self._closed, *(channel for channel in found if channel not in self._closed)])

    def _open(self, request: Request) -> None:
        found = self._channels(request, 0)
        self._set([channel for channel in self._closed if channel not in found])

    def _set(self, channels: list[int]) -> None:
        moved = len(set(channels) ^ set(self._closed))
        self._closed = channels
        self.spend(moved * SWITCH_SECONDS)

    # Scans.

    def _set_scan(self, request: Request) -> None:
        self._scan = self._channels(request, 0)

    def _add_to_scan(self, request: Request) -> None:
        self._scan += self._channels(request, 0)

    def _run_scan(self) -> None:
        if not self._scan:
            raise ScpiError(-221, "no scan")
        scans = self.value("scans") or 1
        if scans * len(self._scan) > MOST_POINTS:
            raise ScpiError(-223, "more readings than the buffer holds")
        self._buffer = []
        for number in range(scans):
            start = self.clock.seconds
            for channel in self._scan:
                self._set([channel])
                self.spend(self.value("delay"))
                self._measure()
            self._set([])
            if number + 1 < scans:
                self.clock.advance_to(start + self.value("interval"))

    # Measuring.

    def _measure(self) -> Reading:
        channel = self._closed[-1] if self._closed else 0
        long = self._function_of(channel)
        function = FUNCTIONS[long]
        key = long if long == "FRESistance" else function

        def of(name: str) -> Any:
            return self._of_channel(f"{key}_{name}", channel)

        fixed = None if of("auto") else LADDERS[function].fixed(of("range"))
        averages = of("filter_count") if of("filter") else 1
        settings = MeterSettings(function, fixed, of("nplc") * averages, of("input") == "AUTO")
        node = self.node(channel) if channel else self.node("front")
        joined = [self.node(one) for one in self._closed[:-1]]
        for one in joined:
            self.fixture.connect(node, one)
        value = self._meter.read(node, settings)
        for one in joined:
            self.fixture.disconnect(node, one)
        reading = Reading(value, channel, self.clock.seconds, function)
        self._buffer = [*self._buffer[1 - MOST_POINTS :], reading]
        return reading

    def _read(self, request: Request) -> str:
        reading = None
        for _ in range(self.value("count")):
            reading = self._measure()
        assert reading is not None  # the count is 1 or more
        return self._shown([reading], request, 0)

    def _fetch(self, request: Request) -> str:
        if not self._buffer:
            raise ScpiError(-230)
        return self._shown(self._buffer[-1:], request, 0)

    def _measuring(self, long: str) -> Callable[[Request], str]:
        def query(request: Request) -> str:
            self._functions = {0: long}
            if request.given(0) and request.raw(0).startswith("("):
                self._set(self._channels(request, 0)[:1])
            return self.numbers([self._measure().value])

        return query

    def _data(self, request: Request) -> str:
        first = request.integer(0, 1, max(1, len(self._buffer)))
        last = request.integer(1, first, max(first, len(self._buffer)))
        if not self._buffer:
            raise ScpiError(-230)
        return self._shown(self._buffer[first - 1 : last], request, 2)

    def _shown(self, readings: list[Reading], request: Request, index: int) -> str:
        """Elements of readings in the order that was asked for; a buffer's name may come first."""
        names = [parse_text(request.raw(place)) for place in range(index, len(request.parameters))]
        if names and names[0].lower().startswith("defbuffer"):
            names = names[1:]
        elements = []
        for name in names or ["READing"]:
            found = [one for one in ELEMENTS if name.upper() in (one.upper(), _short(one))]
            if not found:
                raise ScpiError(-224, name[:20])
            elements += found
        start = self._buffer[0].seconds
        out = []
        for reading in readings:
            values = {
                "READing": self.numbers([reading.value]),
                "CHANnel": str(reading.channel or "Front"),
                "RELative": f"{reading.seconds - start:.9f}",
                "TSTamp": f"{reading.seconds:.9f}",
                "UNIT": {"VOLT": "Volt DC", "CURR": "Amp DC", "RES": "Ohm"}[reading.function],
                "SOURce": "0",
            }
            out += [values[element] for element in elements]
        return ",".join(out)

    def _statistic(self, word: str) -> Callable[[Request], str]:
        def query(request: Request) -> str:
            if not self._buffer:
                raise ScpiError(-230)
            return self.numbers([float(STATISTICS[word]([reading.value for reading in self._buffer]))])

        return query


def _short(long: str) -> str:
    return "".join(letter for letter in long if not letter.islower())


def _listed(channels: Sequence[int]) -> str:
    return "(@" + ",".join(map(str, channels)) + ")"


MODELS = {"keithley-daq6510": Daq6510}
