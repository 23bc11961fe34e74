"""Keysight 34970A and DAQ970A: a 6 1/2-digit meter behind three 20-channel multiplexer cards (34901A / DAQM901A).

Commands: 34970A Programmer's Reference (34970-90014); DAQ970A Programming Guide. ``CONFigure`` and ``MEASure`` set
channels up and make them the scan list; every channel keeps settings of its own. ``READ?`` scans and answers; ``INIT``
scans into the memory, which ``FETCh?`` and ``R?`` read. Channels: slot and two digits; 21 and 22 measure amperes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack, final

from emulators.bench.instruments.dmm import LADDERS, Function, Meter, MeterSettings
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.scpi import Command, Request, ScpiError, block

SLOTS, CHANNELS, VOLT_CHANNELS = 3, 22, 20
FUNCTIONS: dict[str, Function] = {"VOLTage": "VOLT", "CURRent": "CURR", "RESistance": "RES", "FRESistance": "RES"}
NPLC = (0.02, 0.2, 1.0, 2.0, 10.0, 20.0, 100.0, 200.0)
SWITCH_SECONDS = 15.0e-3
"""From channel to channel: 60 channels a second (34901A data sheet)."""

MOST_READINGS = 50_000
OVERLOAD = 9.9e37


@final
@dataclass(frozen=True)
class ChannelSetup:
    """How one channel is measured; ``range`` None: automatic."""

    function: Function = "VOLT"
    range: float | None = None
    cycles: float = 1.0
    high_ohms: bool = False
    delay_seconds: float | None = None


class Changes(TypedDict, total=False):
    """Of a ``ChannelSetup``."""

    function: Function
    range: float | None
    cycles: float
    high_ohms: bool
    delay_seconds: float | None


class _Scanner(ScpiInstrument):
    """Both models. Ports: ``101`` .. ``122``, ``201`` .. , ``301`` ..; meter at the closed one, against ground."""

    number_format = "{:+.8E}"

    @final
    def ports(self) -> Sequence[str]:
        """Channels of three cards."""
        return [str(100 * slot + number) for slot in range(1, SLOTS + 1) for number in range(1, CHANNELS + 1)]

    @final
    def commands(self) -> Sequence[Command]:
        """Of the programmer's reference."""
        self._meter = Meter(self)
        self._setups: dict[int, ChannelSetup] = {}
        self._scan: list[int] = []
        self._memory: list[tuple[int, float, float]] = []
        self._armed = False
        self._started = 0.0
        on_off = self.switch
        return [
            *(Command(f"CONFigure:{long}[:DC]", self._configuring(long), most=3) for long in FUNCTIONS),
            *(Command(f"MEASure:{long}[:DC]", query=self._measuring(long), most=3) for long in FUNCTIONS),
            Command("CONFigure", query=self._configuration),
            *(command for long in FUNCTIONS for command in self._of(long)),
            Command("[SENSe]:FUNCtion", self._set_function, lambda r: f'"{self._first(r, 0).function}"', most=2),
            Command(
                "INPut:IMPedance:AUTO",
                lambda r: self._change(r, 1, high_ohms=r.boolean()),
                lambda r: str(int(self._first(r, 0).high_ohms)),
                most=2,
            ),
            Command("ROUTe:SCAN", self._set_scan, lambda _: block(_listed(self._scan).encode())),
            Command("ROUTe:SCAN:SIZE", query=lambda _: f"{len(self._scan):+d}", most=0),
            Command(
                "ROUTe:CHANnel:DELay",
                lambda r: self._change(r, 1, delay_seconds=r.number(0, 0.0, 60.0, unit="S")),
                lambda r: self.numbers([self._first(r, 0).delay_seconds or 0.0]),
                most=2,
            ),
            Command("ROUTe:CHANnel:DELay:AUTO", lambda r: self._automatic_delay(r), most=2),
            self.choice("TRIGger:SOURce", "source", "IMMediate", ["IMMediate", "BUS", "TIMer", "EXTernal"]),
            self.number("TRIGger:TIMer", "timer", 0.0, 0.0, 359_999.0, unit="S"),
            self.number("TRIGger:COUNt", "count", 1, 1, MOST_READINGS, integer=True),
            self.number("SAMPle:COUNt", "samples", 1, 1, MOST_READINGS, integer=True),
            Command("INITiate[:IMMediate]", lambda _: self._initiate(), most=0),
            Command("ABORt", lambda _: self._abort(), most=0),
            Command("READ", query=lambda _: self._read(), most=0),
            Command("FETCh", query=lambda _: self._fetch(), most=0),
            Command("R", query=self._take),
            Command("DATA:POINts", query=lambda _: f"{len(self._memory):+d}", most=0),
            Command("DATA:LAST", query=self._last, most=2),
            Command("DATA:REMove", query=lambda r: self._shown(self._taken(r.integer(0, 1, MOST_READINGS)))),
            on_off("FORMat:READing:CHANnel", "show_channel", False),
            on_off("FORMat:READing:TIME", "show_time", False),
            on_off("FORMat:READing:UNIT", "show_unit", False),
            on_off("FORMat:READing:ALARm", "show_alarm", False),
            self.choice("FORMat:READing:TIME:TYPE", "time_type", "RELative", ["RELative", "ABSolute"]),
            on_off("INSTrument:DMM", "meter", True),
            Command("INSTrument:DMM:INSTalled", query=lambda _: "1", most=0),
            Command("SYSTem:CTYPe", query=lambda _: "HEWLETT-PACKARD,34901A,0,2.3", most=1),
            Command("SYSTem:LFRequency", query=lambda _: "+60", most=0),
            Command("STATus:PRESet", lambda _: None, most=0),
        ]

    def _of(self, long: str) -> list[Command]:
        function, base = FUNCTIONS[long], f"[SENSe]:{long}[:DC]"
        return [
            Command(f"{base}:NPLCycles", self._set_cycles, lambda r: self.numbers([self._first(r, 0).cycles]), most=2),
            Command(
                f"{base}:RANGe",
                lambda r: self._change(r, 1, function=function, range=self._range(function, r, 0)),
                lambda r: self.numbers([self._first(r, 0).range or LADDERS[function].ranges[-1]]),
                most=2,
            ),
            Command(
                f"{base}:RANGe:AUTO",
                lambda r: self._change(r, 1, range=None if r.boolean() else LADDERS[function].ranges[-1]),
                lambda r: str(int(self._first(r, 0).range is None)),
                most=2,
            ),
        ]

    @final
    def reset(self) -> None:
        """Volts on every channel, no scan list, empty memory."""
        self._setups, self._scan, self._memory = {}, [], []
        self._armed = False

    @final
    def outputs_off(self) -> None:
        """It drives nothing."""

    @final
    def trigger(self) -> None:
        """A scan, where the bus triggers."""
        if not self._armed:
            raise ScpiError(-211)
        self._sweep()
        self._armed = len(self._memory) < self._wanted()

    # Channels and their settings.

    def _channels(self, request: Request, index: int) -> list[int]:
        """Those that are named, or the scan list."""
        if not request.given(index):
            return self._scan
        found = request.channels(index)
        for channel in found:
            if not (1 <= channel // 100 <= SLOTS and 1 <= channel % 100 <= CHANNELS):
                raise ScpiError(-224, f"channel {channel}")
        return found

    def _setup(self, channel: int) -> ChannelSetup:
        default = ChannelSetup("CURR") if channel % 100 > VOLT_CHANNELS else ChannelSetup()
        return self._setups.get(channel, default)

    def _first(self, request: Request, index: int) -> ChannelSetup:
        channels = self._channels(request, index)
        return self._setup(channels[0]) if channels else ChannelSetup()

    def _change(self, request: Request, index: int, **changes: Unpack[Changes]) -> None:
        for channel in self._channels(request, index):
            changed = replace(self._setup(channel), **changes)
            if (changed.function == "CURR") != (channel % 100 > VOLT_CHANNELS):
                raise ScpiError(-221, f"channel {channel} cannot measure {changed.function}")
            self._setups[channel] = changed

    def _range(self, function: Function, request: Request, index: int) -> float | None:
        if not request.given(index) or request.raw(index).upper() in ("AUTO", "DEF", "DEFAULT"):
            return None
        ladder = LADDERS[function]
        return ladder.fixed(request.number(index, 0.0 if self.strict else -ladder.largest, ladder.largest))

    def _set_cycles(self, request: Request) -> None:
        asked = request.number(0, NPLC[0], NPLC[-1])
        self._change(request, 1, cycles=next(one for one in NPLC if asked <= one * (1 + 1e-9)))

    def _set_function(self, request: Request) -> None:
        word = request.text(0).upper().removesuffix(":DC")
        found = [short for long, short in FUNCTIONS.items() if word in (long.upper(), short)]
        if not found:
            raise ScpiError(-224, word[:20])
        self._change(request, 1, function=found[0])

    def _automatic_delay(self, request: Request) -> None:
        if request.boolean():
            self._change(request, 1, delay_seconds=None)

    def _set_scan(self, request: Request) -> None:
        self._scan = sorted(self._channels(request, 0))
        self._memory = []

    def _configuring(self, long: str) -> Callable[[Request], None]:
        def write(request: Request) -> None:
            if not request.parameters:
                raise ScpiError(-109, request.header)
            last = len(request.parameters) - 1
            if not request.raw(last).startswith("("):
                raise ScpiError(-109, "a channel list")
            function = FUNCTIONS[long]
            fixed = self._range(function, request, 0) if last else None
            channels = self._channels(request, last)
            named = Request(request.header, (), (request.raw(last),))
            self._setups = {one: setup for one, setup in self._setups.items() if one not in channels}
            self._change(named, 0, function=function, range=fixed)
            self._scan, self._memory = sorted(channels), []
            self.put("source", "IMMediate")
            self.put("count", 1)

        return write

    def _measuring(self, long: str) -> Callable[[Request], str]:
        configure = self._configuring(long)

        def query(request: Request) -> str:
            configure(request)
            return self._read()

        return query

    def _configuration(self, request: Request) -> str:
        out = []
        for channel in self._channels(request, 0):
            setup = self._setup(channel)
            scale = setup.range or LADDERS[setup.function].ranges[-1]
            out.append(f'"{setup.function} {scale:+.6E},{scale * 3e-6:+.6E}"')
        return ",".join(out)

    # Scanning.

    def _wanted(self) -> int:
        return int(self.value("count") * self.value("samples") * len(self._scan))

    def _initiate(self) -> None:
        if not self._scan:
            raise ScpiError(-221, "no scan list")
        if self._wanted() > MOST_READINGS:
            raise ScpiError(-223, f"more than {MOST_READINGS} readings")
        self._memory, self._started = [], self.clock.seconds
        if self.value("source") in ("BUS", "EXTernal"):
            self._armed = True
            return
        for number in range(self.value("count")):
            if self.value("source") == "TIMer":
                self.clock.advance_to(self._started + number * self.value("timer"))
            self._sweep()

    def _sweep(self) -> None:
        """Every channel of the scan list, as many times as SAMPle:COUNt."""
        for _ in range(self.value("samples")):
            for channel in self._scan:
                setup = self._setup(channel)
                self.spend(SWITCH_SECONDS + (setup.delay_seconds or 0.0))
                settings = MeterSettings(setup.function, setup.range, setup.cycles, setup.high_ohms)
                value = self._meter.read(self.node(channel), settings)
                self._memory.append((channel, value, self.clock.seconds - self._started))

    def _abort(self) -> None:
        self._armed = False
        self.free()

    def _read(self) -> str:
        if self.value("source") in ("BUS", "EXTernal"):
            raise ScpiError(-214, text="Trigger deadlock")
        self._initiate()
        return self._shown(self._memory)

    def _fetch(self) -> str:
        if not self._memory or self._armed:
            raise ScpiError(-230)
        return self._shown(self._memory)

    def _taken(self, count: int) -> list[tuple[int, float, float]]:
        found, self._memory = self._memory[:count], self._memory[count:]
        return found

    def _take(self, request: Request) -> bytes:
        count = request.integer(0, 1, MOST_READINGS) if request.given(0) else MOST_READINGS
        return block(self._shown(self._taken(count)).encode())

    def _last(self, request: Request) -> str:
        channels = self._channels(request, len(request.parameters) - 1) if request.parameters else []
        found = [reading for reading in self._memory if not channels or reading[0] in channels]
        if not found:
            raise ScpiError(-230)
        return self._shown(found[-1:])

    def _shown(self, readings: Sequence[tuple[int, float, float]]) -> str:
        out = []
        for channel, value, seconds in readings:
            unit = {"VOLT": " VDC", "CURR": " ADC", "RES": " OHM"}[self._setup(channel).function]
            out.append(self.numbers([value]) + (unit if self.value("show_unit") else ""))
            if self.value("show_time"):
                out.append(f"{seconds:012.3f}")
            if self.value("show_channel"):
                out.append(str(channel))
            if self.value("show_alarm"):
                out.append("0")
        return ",".join(out)


def _listed(channels: Sequence[int]) -> str:
    return "(@" + ",".join(map(str, channels)) + ")"


@final
class Scanner34970A(_Scanner):
    """Keysight 34970A."""

    @property
    def identity(self) -> str:
        """Of a 34970A."""
        return "HEWLETT-PACKARD,34970A,0,13-2-2"


@final
class ScannerDaq970A(_Scanner):
    """Keysight DAQ970A."""

    @property
    def identity(self) -> str:
        """Of a DAQ970A."""
        return "Keysight Technologies,DAQ970A,MY58000101,A.02.02-01.00-02.01-00.02-02.00-03-02"


MODELS = {"keysight-34970a": Scanner34970A, "keysight-daq970a": ScannerDaq970A}
