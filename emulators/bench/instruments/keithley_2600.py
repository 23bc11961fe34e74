"""Keithley 2612B System SourceMeter: two channels, programmed in TSP.

Commands: Series 2600B Reference Manual (2600BS-901-01), sections 7 and 9; the factory script KIPulse
(``ConfigPulseVMeasureI``, ``ConfigPulseIMeasureV``, ``InitiatePulseTest``), section 5. Ranges: 200 mV to 200 V, 100 nA
to 1.5 A, digits as in the specifications of the 2612B; noise of a digit at one power-line cycle, for which no
figure of the maker was found.

A pulse of KIPulse holds its level for ``ton``, measures at its end, and the bias for ``toff``. Its functions give back
whether they were done and a text: what they refuse is in no error queue, and leaves what a tag stood for before. Levels
beyond the area of constant operation (20 V at more than 100 mA) are only to be had for short (specifications of the
2612B; the texts are not confirmed). ``InitiatePulseTest`` keeps the interpreter busy to the end of the pulses: until
then it hears nothing but the message ``abort``, which leaves at the output what stands there.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np

from emulators.bench.instruments.line_instrument import DialectError, LineInstrument
from emulators.bench.instruments.meter import OVERFLOW, Ladder
from emulators.bench.instruments.smu_channel import Measured, OffState, SmuChannel, SmuRanges, SmuState
from emulators.bench.protocol.framing import Framer, LineFramer
from emulators.bench.protocol.scpi import ErrorQueue
from emulators.bench.protocol.tsp import RUNTIME, Namespace, Path, TspError, TspProgram, shown

RANGES = SmuRanges(
    Ladder((0.2, 2.0, 20.0, 200.0), 2.0e6, 1.01, 1.0),
    Ladder((1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1.5), 1.0e6, 1.01, 1.0),
    40_000,
    50_000,
)
CHANNELS = ("smua", "smub")
LEAST_PULSE_SECONDS, MOST_PULSES = 50.0e-6, 60_000
CONSTANT_OPERATION = (20.2, 0.101)
"""V and A that are not to be had both for long."""

LONGEST_BEYOND_SECONDS, LARGEST_DUTY_BEYOND = 8.5e-3, 0.01
OFF_STATES: dict[int, OffState] = {0: "normal", 1: "high", 2: "zero"}
CONSTANTS: dict[str, float] = {
    "OUTPUT_OFF": 0, "OUTPUT_ON": 1, "OUTPUT_HIGH_Z": 2, "OUTPUT_DCAMPS": 0, "OUTPUT_DCVOLTS": 1, "AUTORANGE_OFF": 0,
    "AUTORANGE_ON": 1, "SENSE_LOCAL": 0, "SENSE_REMOTE": 1, "AUTOZERO_OFF": 0, "AUTOZERO_ONCE": 1, "AUTOZERO_AUTO": 2,
    "OUTPUT_NORMAL": 0, "OUTPUT_ZERO": 2, "DELAY_OFF": 0, "DELAY_AUTO": -1, "FILTER_REPEAT_AVG": 1,
    "FILTER_MOVING_AVG": 0, "OFF": 0, "ON": 1, "DISABLE": 0, "ENABLE": 1,
}  # fmt: skip
LIMITS: dict[str, tuple[float, float]] = {
    "source.func": (0, 1), "source.output": (0, 2), "source.levelv": (-202, 202), "source.leveli": (-1.515, 1.515),
    "source.limitv": (-202, 202), "source.limiti": (-1.515, 1.515), "source.rangev": (-202, 202),
    "source.rangei": (-1.515, 1.515), "source.autorangev": (0, 1), "source.autorangei": (0, 1),
    "source.delay": (-1, 1e4), "source.offmode": (0, 2), "source.highc": (0, 1), "source.settling": (0, 130),
    "source.offlimiti": (0, 1.5), "measure.nplc": (0.001, 25), "measure.rangev": (-202, 202),
    "measure.rangei": (-1.515, 1.515), "measure.autorangev": (0, 1), "measure.autorangei": (0, 1),
    "measure.delay": (-1, 1e4), "measure.count": (1, 1e5), "measure.interval": (0, 1), "measure.autozero": (0, 2),
    "measure.lowrangei": (1e-7, 1.515), "measure.filter.enable": (0, 1), "measure.filter.count": (1, 100),
    "measure.filter.type": (0, 2), "sense": (0, 3),
}  # fmt: skip
DEFAULTS: dict[str, float] = {
    "source.func": 1, "source.limitv": 20, "source.limiti": 0.1, "source.rangev": 0.2, "source.rangei": 1e-7,
    "source.autorangev": 1, "source.autorangei": 1, "measure.nplc": 1, "measure.rangev": 0.2, "measure.rangei": 1e-7,
    "measure.autorangev": 1, "measure.autorangei": 1, "measure.count": 1, "measure.autozero": 2,
    "measure.lowrangei": 1e-7, "measure.filter.count": 1, "source.offlimiti": 1e-3,
}  # fmt: skip
"""Those that are not 0."""

BUFFERS = ("nvbuffer1", "nvbuffer2")
FIELDS = ("readings", "sourcevalues", "timestamps")


@final
class _Buffer:
    """A reading buffer."""

    def __init__(self) -> None:
        self.fields: dict[str, list[float]] = {field: [] for field in FIELDS}
        self.flags: dict[str, float] = {"appendmode": 0.0, "collectsourcevalues": 0.0, "collecttimestamps": 0.0}
        self.flags |= {"capacity": 60_000.0, "fillmode": 0.0}

    def clear(self) -> None:
        """Forget the readings."""
        for values in self.fields.values():
            values.clear()

    def add(self, reading: float, source: float, seconds: float) -> None:
        """One reading."""
        for field, value in zip(FIELDS, (reading, source, seconds), strict=True):
            self.fields[field].append(value)


@final
class SourceMeter2600(LineInstrument):
    """Both channels. Ports: ``a``, ``b``; LO of both is ground."""

    def ports(self) -> Sequence[str]:
        """HI of both channels."""
        return ("a", "b")

    def framer(self) -> Framer:
        """Lines."""
        return LineFramer()

    def power_on(self) -> None:
        """Defaults, outputs off, nothing stored."""
        self._errors = ErrorQueue()
        self._smus = {name: SmuChannel(self, self.node(name[-1]), RANGES) for name in CHANNELS}
        self._buffers = {(name, buffer): _Buffer() for name in CHANNELS for buffer in BUFFERS}
        self._tests: dict[int, Callable[[], Iterator[float]]] = {}
        self._settings: dict[tuple[str, str], float] = {}
        self._format: dict[str, float] = {"asciiprecision": 6.0, "data": 1.0, "byteorder": 1.0}
        self._event_status, self._event_enable, self._service_enable = 128, 0, 0
        self._origin = self.clock.seconds
        self._printed: list[str] = []
        self._program = TspProgram(_Names(self))
        self._hangs = False
        self._waiting: list[bytes] = []
        self.free()
        for name in CHANNELS:
            self.reset_channel(name)

    def outputs_off(self) -> None:
        """Off the circuit, pulses broken off."""
        self._break_off()
        for name in CHANNELS:
            self._settings[name, "source.output"] = 0.0
            self._smus[name].release()

    def report(self, code: int, text: str) -> None:
        """Into the error queue."""
        self._errors.push(code, text)
        self._event_status |= {1: 32, 2: 16, 4: 4}.get(-code // 100, 8)

    def respond(self, message: bytes) -> bytes:
        """One line: a common command, or TSP."""
        line = message.decode("latin-1").strip(" \t\r\n\x00")
        if line == "abort":
            waiting = self._break_off()
            return b"".join(self.respond(one) for one in waiting)
        if self._hangs:
            self._waiting.append(message)
            return b""
        self._printed = []
        if line.startswith("*"):
            answer = self._common(line.upper().rstrip(";").strip())
            return b"" if answer is None else answer.encode("latin-1") + b"\n"
        try:
            self._program.run(line)
        except TspError as error:
            self.report(error.code, error.text)
        except _Hangs:
            self._hangs = True
        return "".join(text + "\n" for text in self._printed).encode("latin-1", "replace")

    def _break_off(self) -> list[bytes]:
        """End what is running; what was not heard meanwhile."""
        self.free()
        self._hangs = False
        waiting, self._waiting = self._waiting, []
        return waiting

    def _common(self, line: str) -> str | None:
        word, _, argument = line.partition(" ")
        simple: dict[str, Callable[[], str | None]] = {
            "*IDN?": lambda: self.shown_identity("Keithley Instruments Inc., Model 2612B, 4123456, 3.2.2"),
            "*RST": lambda: self._reset_all(),
            "*CLS": lambda: self._clear(),
            "*ESR?": lambda: self._take_events(),
            "*STB?": lambda: str(self._status_byte()),
            "*ESE?": lambda: str(self._event_enable),
            "*SRE?": lambda: str(self._service_enable),
            "*OPC": lambda: self._note_completion(),
            "*OPC?": lambda: "1",
            "*TST?": lambda: "0",
            "*WAI": lambda: None,
            "*TRG": lambda: None,
        }
        if word in ("*ESE", "*SRE") and argument.strip().isascii() and argument.strip().isdigit():
            if word == "*ESE":
                self._event_enable = int(argument) & 255
            else:
                self._service_enable = int(argument) & 255
            return None
        if word not in simple:
            raise DialectError(-285, f"TSP Syntax error near {line[:20]!r}")
        return simple[word]()

    def _reset_all(self) -> None:
        for name in CHANNELS:
            self.reset_channel(name)

    def _clear(self) -> None:
        self._errors.clear()
        self._event_status = 0

    def _take_events(self) -> str:
        found, self._event_status = self._event_status, 0
        return str(found)

    def _note_completion(self) -> None:
        self._event_status |= 1

    def _status_byte(self) -> int:
        byte = (4 if self._errors else 0) | (32 if self._event_status & self._event_enable else 0)
        return byte | (64 if byte & self._service_enable else 0)

    # Channels.

    def reset_channel(self, name: str) -> None:
        """Defaults, output off."""
        for key in LIMITS:
            self._settings[name, key] = float(DEFAULTS.get(key, 0.0))
        self._smus[name].state = SmuState()
        self._apply(name)

    def _apply(self, name: str, level: float | None = None) -> None:
        def value(key: str) -> float:
            return self._settings[name, key]

        def fixed(way: str, letter: str) -> float | None:
            ladder = RANGES.volts if letter == "v" else RANGES.amperes
            return None if value(f"{way}.autorange{letter}") else ladder.fixed(value(f"{way}.range{letter}"))

        smu = self._smus[name]
        state = smu.state
        state.source = "VOLT" if value("source.func") else "CURR"
        state.volts, state.amperes = value("source.levelv"), value("source.leveli")
        state.limit_volts, state.limit_amperes = value("source.limitv"), value("source.limiti")
        output = value("source.output")
        state.on = output == 1
        state.off_state = "high" if output == 2 else OFF_STATES[int(value("source.offmode"))]
        state.source_range = fixed("source", "v" if state.source == "VOLT" else "i")
        state.volt_range, state.ampere_range = fixed("measure", "v"), fixed("measure", "i")
        state.cycles = value("measure.nplc")
        smu.apply(level)

    def get(self, path: Path) -> Any:
        """Value of an attribute."""
        name, rest = str(path[0]), ".".join(map(str, path[1:]))
        if name in CHANNELS:
            if (name, rest) in self._settings:
                return self._settings[name, rest]
            if rest in CONSTANTS:
                return float(CONSTANTS[rest])
            if rest == "source.compliance":
                return self._smus[name].tripped
            if len(path) >= 2 and path[1] in BUFFERS:
                return self._of_buffer(path)
            if rest in ("source", "measure", "measure.filter", ""):
                return path
        if name == "format" and rest in self._format:
            return self._format[rest]
        if path == ("errorqueue", "count"):
            return float(len(self._errors))
        fixed: dict[str, Any] = {
            "localnode.model": "2612B", "localnode.serialno": "4123456", "localnode.revision": "3.2.2",
            "localnode.linefreq": 60.0, "localnode.prompts": 0.0, "localnode.showerrors": 0.0, "format.ASCII": 1.0,
            "format.REAL32": 2.0, "format.REAL64": 3.0, "status.condition": 0.0, "display.SMUA": 0.0,
            "display.SMUB": 1.0, "display.SMUA_SMUB": 2.0,
        }  # fmt: skip
        full = ".".join(map(str, path))
        if full in fixed:
            return fixed[full]
        if len(path) == 1:
            return None
        raise TspError(RUNTIME, f"TSP Runtime error: no attribute {full[:40]}")

    def _of_buffer(self, path: Path) -> Any:
        buffer = self._buffers[str(path[0]), str(path[1])]
        if len(path) == 2:
            return path
        field = str(path[2])
        if field == "n":
            return float(len(buffer.fields["readings"]))
        if field in buffer.flags:
            return buffer.flags[field]
        if field in FIELDS and len(path) == 4 and isinstance(path[3], int):
            values = buffer.fields[field]
            return values[path[3] - 1] if 1 <= path[3] <= len(values) else None
        if field in FIELDS or isinstance(path[2], int):
            return path if field in FIELDS else self._of_buffer((*path[:2], "readings", path[2]))
        raise TspError(RUNTIME, f"TSP Runtime error: no attribute {field[:40]}")

    def put(self, path: Path, value: Any) -> None:
        """Write an attribute."""
        name, rest = str(path[0]), ".".join(map(str, path[1:]))
        if name in CHANNELS and rest in LIMITS:
            low, high = LIMITS[rest]
            if isinstance(value, bool) or not isinstance(value, float) or not low <= value <= high:
                raise TspError(1102, f"Parameter too big; {rest} from {low:g} to {high:g}")
            self._settings[name, rest] = value
            for way, letter in (("source", "v"), ("source", "i"), ("measure", "v"), ("measure", "i")):
                if rest == f"{way}.range{letter}":
                    self._settings[name, f"{way}.autorange{letter}"] = 0.0
            self._apply(name)
        elif name in CHANNELS and len(path) == 3 and path[1] in BUFFERS:
            flags = self._buffers[name, str(path[1])].flags
            if str(path[2]) not in flags or not isinstance(value, float):
                raise TspError(RUNTIME, f"TSP Runtime error: cannot set {rest[:40]}")
            flags[str(path[2])] = value
        elif name == "format" and rest in self._format and isinstance(value, float) and 1 <= value <= 16:
            self._format[rest] = value
        elif name in ("display", "beeper", "localnode", "status", "digio", "tsplink") and not self.strict:
            return
        else:
            raise TspError(RUNTIME, f"TSP Runtime error: cannot set {name}.{rest}"[:80])

    # Functions.

    def call(self, path: Path, arguments: Sequence[Any]) -> Sequence[Any]:
        """Call a function of the instrument."""
        name, rest = str(path[0]), ".".join(map(str, path[1:]))
        if name in CHANNELS:
            if rest == "reset":
                self.reset_channel(name)
                return ()
            if rest.startswith("measure.") and rest[8:] in ("i", "v", "r", "p", "iv"):
                return self._measure(name, rest[8:], arguments)
            if len(path) == 3 and path[1] in BUFFERS and path[2] in ("clear", "clearcache"):
                self._buffers[name, str(path[1])].clear()
                return ()
            if rest in ("savebuffer", "abort", "cal.save"):
                return ()
        full = ".".join(map(str, path))
        functions: dict[str, Callable[[Sequence[Any]], Sequence[Any] | None]] = {
            "print": self._print,
            "printnumber": self._print,
            "printbuffer": self._print_buffer,
            "delay": self._delay,
            "reset": lambda _: self._reset_all(),
            "waitcomplete": lambda _: (),
            "opc": lambda _: self._note_completion(),
            "errorqueue.next": lambda _: self._next_error(),
            "errorqueue.clear": lambda _: self._errors.clear(),
            "timer.reset": lambda _: self._restart_timer(),
            "timer.measure.t": lambda _: (self.clock.seconds - self._origin,),
            "ConfigPulseVMeasureI": lambda given: self._config_pulse(given, volts=True),
            "ConfigPulseIMeasureV": lambda given: self._config_pulse(given, volts=False),
            "ConfigPulseVMeasureISweepLin": lambda given: self._config_sweep(given, volts=True),
            "InitiatePulseTest": self._initiate,
            "tonumber": lambda given: (_to_number(given[0]),),
            "tostring": lambda given: (shown(given[0], self._digits),),
            "math.abs": lambda given: (abs(_argument(given, 0)),),
            "math.sqrt": lambda given: (float(np.sqrt(max(0.0, _argument(given, 0)))),),
        }
        if full in functions:
            return functions[full](arguments) or ()
        if name in ("display", "beeper", "localnode", "status", "collectgarbage") and not self.strict:
            return ()
        raise TspError(RUNTIME, f"TSP Runtime error: attempt to call {full[:40]} (a nil value)")

    @property
    def _digits(self) -> int:
        return int(self._format["asciiprecision"])

    def _print(self, arguments: Sequence[Any]) -> Sequence[Any]:
        self._printed.append("\t".join(shown(value, self._digits) for value in arguments))
        return ()

    def _print_buffer(self, arguments: Sequence[Any]) -> Sequence[Any]:
        """first, last, buffers or fields of buffers: side by side, separated by commas."""
        columns = []
        for path in arguments[2:]:
            if not (isinstance(path, tuple) and len(path) in (2, 3) and (path[0], path[1]) in self._buffers):
                raise TspError(RUNTIME, "TSP Runtime error: printbuffer of what is no buffer")
            columns.append(self._buffers[path[0], path[1]].fields[path[2] if len(path) == 3 else "readings"])
        first, last = round(_argument(arguments, 0)), round(_argument(arguments, 1))
        length = min((len(column) for column in columns), default=0)
        if not 1 <= first <= last <= length:
            raise TspError(1115, f"Parameter error; readings {first} to {last} of {length}")
        rows = [shown(column[place], self._digits) for place in range(first - 1, last) for column in columns]
        self._printed.append(", ".join(rows))
        return ()

    def _delay(self, arguments: Sequence[Any]) -> Sequence[Any]:
        seconds = _argument(arguments, 0)
        if not 0.0 <= seconds <= 1.0e5:
            raise TspError(1102, "Parameter too big; delay")
        self.spend(seconds)
        return ()

    def _restart_timer(self) -> Sequence[Any]:
        self._origin = self.clock.seconds
        return ()

    def _next_error(self) -> Sequence[Any]:
        code, text = self._errors.pop()
        return float(code), "Queue Is Empty" if code == 0 else text, 0.0 if code == 0 else 20.0, 1.0

    def _measure(self, name: str, what: str, arguments: Sequence[Any]) -> Sequence[Any]:
        smu, delay = self._smus[name], self._settings[name, "source.delay"]
        averages = round(self._settings[name, "measure.filter.count"])
        averages = averages if self._settings[name, "measure.filter.enable"] else 1
        results: tuple[float, ...] = ()
        buffers = [self._buffers[path[0], path[1]] for path in arguments if isinstance(path, tuple) and len(path) == 2]
        for buffer in buffers:
            if not buffer.flags["appendmode"]:
                buffer.clear()
        for _ in range(round(self._settings[name, "measure.count"])):
            self.spend(max(0.0, delay))
            found = smu.measure(averages)
            results = _results(found, what)
            for buffer, value in zip(buffers, results, strict=False):
                buffer.add(value, self._source_value(name), self.clock.seconds - self._origin)
        return results

    def _source_value(self, name: str) -> float:
        return self._settings[name, "source.levelv" if self._settings[name, "source.func"] else "source.leveli"]

    # KIPulse.

    def _config_pulse(self, given: Sequence[Any], *, volts: bool) -> Sequence[Any]:
        """smu, bias, level, limit, ton, toff, points, buffer, tag."""
        points = round(_argument(given, 6))
        return self._config(given, 3, [_argument(given, 2)] * min(points, MOST_PULSES + 1), volts)

    def _config_sweep(self, given: Sequence[Any], *, volts: bool) -> Sequence[Any]:
        """smu, bias, start, stop, limit, ton, toff, points, buffer, tag."""
        points = round(_argument(given, 7))
        levels = np.linspace(_argument(given, 2), _argument(given, 3), max(0, min(points, MOST_PULSES + 1)))
        return self._config(given, 4, [float(level) for level in levels], volts)

    def _config(self, given: Sequence[Any], index: int, levels: list[float], volts: bool) -> Sequence[Any]:
        """(true, message), or (false, why not): nothing is put out yet."""
        bias, limit = _argument(given, 1), _argument(given, index)
        on, off = _argument(given, index + 1), _argument(given, index + 2)
        tag = round(_argument(given, index + 5))
        buffer = given[index + 4]
        smu = given[0][0] if isinstance(given[0], tuple) and len(given[0]) == 1 else ""
        if smu not in CHANNELS:
            return False, "Invalid smu parameter"
        if not (isinstance(buffer, tuple) and len(buffer) == 2 and (buffer[0], buffer[1]) in self._buffers):
            return False, "Invalid buffer"
        if not 1 <= len(levels) <= MOST_PULSES:
            return False, f"Number of points not from 1 to {MOST_PULSES}"
        most = RANGES.volts.largest if volts else RANGES.amperes.largest
        most_limit = RANGES.amperes.largest if volts else RANGES.volts.largest
        if max(map(abs, [bias, *levels])) > most or not 0.0 < abs(limit) <= most_limit:
            return False, "Level or limit out of range"
        cycles = self._settings[smu, "measure.nplc"]
        if on < max(LEAST_PULSE_SECONDS, cycles / 60.0) or off < LEAST_PULSE_SECONDS:
            return False, "Pulse on time shorter than the measurement, or off time too short"
        largest = max(map(abs, [bias, *levels]))
        needed = (largest, abs(limit)) if volts else (abs(limit), largest)
        beyond = all(one > most for one, most in zip(needed, CONSTANT_OPERATION, strict=True))
        if beyond and (on > LONGEST_BEYOND_SECONDS or on > LARGEST_DUTY_BEYOND * (on + off)):
            return False, "Pulse on time or duty cycle too large for the extended operating area"
        self._tests[tag] = lambda: self._pulse(
            smu, bias, levels, limit, on, off, self._buffers[buffer[0], buffer[1]], volts
        )
        return True, "Configured"

    def _initiate(self, given: Sequence[Any]) -> Sequence[Any]:
        tag = round(_argument(given, 0))
        if tag not in self._tests:
            return False, f"Pulse test {tag} is not configured"
        self.begin(self._tests[tag]())
        if self.faults.active(self.name, "never_complete"):
            raise _Hangs
        self.finish()
        return True, "Initiated"

    def _pulse(
        self, name: str, bias: float, levels: Sequence[float], limit: float, on: float, off: float, buffer: _Buffer,
        volts: bool,
    ) -> Iterator[float]:  # fmt: skip
        """The output stays at the bias in between and goes off at the end."""
        before = {key: self._settings[name, key] for key in LIMITS}
        changes = {"source.func": float(volts), "source.output": 1.0}
        changes |= {"source.levelv": bias, "source.limiti": limit} if volts else {}
        changes |= {} if volts else {"source.leveli": bias, "source.limitv": limit}
        self._settings.update({(name, key): value for key, value in changes.items()})
        if not buffer.flags["appendmode"]:
            buffer.clear()
        seconds = before["measure.nplc"] / 60.0
        for level in levels:
            self._apply(name, level)
            yield max(0.0, on - seconds)
            found = self._smus[name].look()
            buffer.add(found.amperes if volts else found.volts, level, found.seconds - self._origin)
            # The integration ends with the pulse.
            yield min(on, seconds)
            self._apply(name)
            yield off
        self._settings.update({(name, key): value for key, value in before.items()})
        self._settings[name, "source.output"] = 0.0
        self._apply(name)


class _Hangs(Exception):
    """The interpreter is busy with what does not end."""


@final
class _Names(Namespace):
    """What a program finds: the instrument's tables, and functions by name."""

    def __init__(self, owner: SourceMeter2600) -> None:
        self._owner = owner

    def get(self, path: Path) -> Any:
        """An attribute."""
        return self._owner.get(path)

    def put(self, path: Path, value: Any) -> None:
        """Write one."""
        self._owner.put(path, value)

    def call(self, path: Path, arguments: Sequence[Any]) -> Sequence[Any]:
        """Call one."""
        return self._owner.call(path, arguments)


def _argument(given: Sequence[Any], index: int) -> float:
    if index >= len(given) or isinstance(given[index], bool) or not isinstance(given[index], float):
        raise TspError(RUNTIME, f"TSP Runtime error: parameter {index + 1} is no number")
    return float(given[index])


def _to_number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _results(found: Measured, what: str) -> tuple[float, ...]:
    whole = max(abs(found.volts), abs(found.amperes)) < OVERFLOW
    ohms = found.volts / found.amperes if whole and found.amperes else OVERFLOW
    watts = found.volts * found.amperes if whole else OVERFLOW
    table = {"i": (found.amperes,), "v": (found.volts,), "r": (ohms,), "p": (watts,)}
    return table.get(what, (found.amperes, found.volts))


MODELS = {"keithley-2612b": SourceMeter2600}
