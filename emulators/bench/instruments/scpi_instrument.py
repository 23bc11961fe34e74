"""Instruments that speak SCPI: a table of commands and settings over IEEE 488.2's common commands and status."""

import logging
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, final

from emulators.bench.instruments.base import Instrument, Surroundings
from emulators.bench.protocol.framing import Framer, ScpiFramer
from emulators.bench.protocol.scpi import (
    NAN,
    QUEUE_LENGTH,
    Answer,
    Command,
    CommandTable,
    ErrorQueue,
    Request,
    ScpiError,
    Unit,
    parse_message,
    short_form,
)
from substrate.errors import SubstrateError

log = logging.getLogger(__name__)

Limit = float | Callable[[tuple[int, ...]], float]
"""A number, or one that depends on other settings; it is given the header's suffixes."""

MESSAGE_FAULTS = (
    "error", "error_overflow", "power_cycle", "identity", "never_complete", "overload", "compliance", "saturation",
    "gain", "offset", "clock_skew", "relay_stuck_open", "relay_stuck_closed", "relay_bounce",
)  # fmt: skip
"""Counted with messages; the missed trigger is counted with triggers."""

OPERATION_COMPLETE, QUERY_ERROR, DEVICE_ERROR, EXECUTION_ERROR, COMMAND_ERROR, POWER_ON = 1, 4, 8, 16, 32, 128
"""Bits of the standard event status register (IEEE 488.2, 11.5.1)."""


class ScpiInstrument(Instrument):
    """A SCPI instrument, but for its physics and its own commands.

    A subclass gives ``identity``, the ports, ``commands()`` and ``reset()``; settings that are plain values are made by
    ``number``, ``choice``, ``switch`` and ``text`` and read with ``value``. ``*RST`` puts all back to their defaults,
    then calls ``reset``.

    Attributes:
        summary_bits: gives further bits of the status byte, such as that of a measurement register.
    """

    error_format: ClassVar[str] = '{code:+d},"{text}"'
    """Answer of SYST:ERR?."""

    number_format: ClassVar[str] = "{:+.15E}"
    """Answer of a number, unless the setting says otherwise."""

    line_end: ClassVar[bytes] = b"\n"
    """What an answer ends with."""

    error_bit: ClassVar[int] = 2
    """Bit of the status byte for a filled error queue (SCPI 1999)."""

    breaks_in: ClassVar[re.Pattern[str] | None] = None
    """Headers of what is carried out while steps go on, of an instrument that lets all else wait for their end; None:
    it carries out everything meanwhile."""

    def __init__(self, name: str, surroundings: Surroundings, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(name, surroundings, options)
        self.errors = ErrorQueue()
        self.__defaults: dict[str, Any] = {}
        self.__values: dict[tuple[str, tuple[int, ...]], Any] = {}
        self.__event_status = POWER_ON
        self.__event_enable = self.__service_enable = 0
        self.__completes = False
        self.summary_bits: Callable[[], int] = lambda: 0
        self.__waiting: list[tuple[str, list[Unit | ScpiError]]] = []
        self.__table = CommandTable([*self.commands(), *self.__common()], self.strict)

    @property
    @abstractmethod
    def identity(self) -> str:
        """Answer of ``*IDN?``."""

    @abstractmethod
    def commands(self) -> Sequence[Command]:
        """The instrument's own commands; called once, when the instrument is built."""

    @abstractmethod
    def reset(self) -> None:
        """After ``*RST`` has put the settings to their defaults: outputs off, nothing pending."""

    @abstractmethod
    def trigger(self) -> None:
        """``*TRG``.

        Raises:
            ScpiError: -211 where no trigger is waited for.
        """

    @final
    def framer(self) -> Framer:
        """Lines with blocks."""
        return ScpiFramer()

    @final
    def power_on(self) -> None:
        """Everything at its defaults, error queue and status empty."""
        self.errors.clear()
        self.__waiting.clear()
        self.__event_status = POWER_ON
        self.__event_enable = self.__service_enable = 0
        self.__reset()

    @final
    def execute(self, message: bytes) -> bytes:
        """Carry out the units of a message in turn; answers joined by semicolons. Never raises: see SYST:ERR?."""
        self.__suffer(message)
        answer = self.__catch_up() + self.__carry_out("", list(parse_message(message)))
        return answer + self.__catch_up()

    def __catch_up(self) -> bytes:
        """Answers to what had to wait."""
        answer = b""
        while self.__waiting and not self.__hangs:
            answer += self.__carry_out(*self.__waiting.pop(0))
        return answer

    @property
    def __hangs(self) -> bool:
        """Whether what it waits for does not end."""
        return self.breaks_in is not None and self.going and bool(self.faults.active(self.name, "never_complete"))

    def __carry_out(self, path: str, units: list[Unit | ScpiError]) -> bytes:
        answers: list[bytes] = []
        for place, unit in enumerate(units):
            try:
                if isinstance(unit, ScpiError):
                    raise unit
                if self.breaks_in is not None and self.going and not self.breaks_in.match(unit.header):
                    if self.__hangs:
                        self.__waiting.append((path, units[place:]))
                        break
                    self.finish()
                command, suffixes, path = self.__table.find(unit.header, path, unit.query)
                answer = self.__run(unit, command, Request(unit.header, suffixes, unit.parameters))
            except ScpiError as error:
                self.report(error.code, error.text)
            except SubstrateError as error:
                self.report(-200, f"Execution error; {error}")
            except Exception as error:
                log.exception("%s: %r", self.name, unit)
                self.report(-310, f"System error; {type(error).__name__}: {error}")
            else:
                if answer is not None:
                    answers.append(answer.encode("latin-1", "replace") if isinstance(answer, str) else answer)
        return b";".join(answers) + self.line_end if answers else b""

    def __run(self, unit: Unit, command: Command, request: Request) -> Answer | None:
        if len(unit.parameters) > command.most:
            raise ScpiError(-108, unit.header)
        if unit.query:
            assert command.query is not None  # what the table looked for
            return command.query(request)
        assert command.write is not None
        command.write(request)
        return None

    def __suffer(self, message: bytes) -> None:
        """Faults that strike with a message."""
        for rule in self.faults.strike(self.name, message, MESSAGE_FAULTS, self.clock.seconds):
            if rule.kind == "error":
                self.report(round(rule.value) or -310, rule.text or "System error; injected")
            elif rule.kind == "error_overflow":
                for _ in range(QUEUE_LENGTH + 1):
                    self.report(-310, "System error; injected")
            elif rule.kind == "power_cycle":
                self.power_on()

    def __identity(self) -> str:
        other = self.faults.active(self.name, "identity")
        return other[-1].text or "ACME,OTHER,0,0" if other else self.identity

    @final
    def report(self, code: int, text: str) -> None:
        """Put an error into the queue and its class into the event status (IEEE 488.2, 11.5.1.1)."""
        self.errors.push(code, text)
        bit = {1: COMMAND_ERROR, 2: EXECUTION_ERROR, 4: QUERY_ERROR}.get(-code // 100, DEVICE_ERROR)
        self.__event_status |= bit

    # Settings.

    @final
    def value(self, key: str, *suffixes: int) -> Any:
        """A setting, of the channel or source that the header's suffixes name."""
        return self.__values.get((key, suffixes), self.__defaults[key])

    @final
    def put(self, key: str, value: Any, *suffixes: int) -> None:
        """Change a setting as a command would; nothing is checked."""
        if key not in self.__defaults:
            raise KeyError(key)
        self.__values[key, suffixes] = value

    @final
    def number(
        self,
        pattern: str,
        key: str,
        default: float,
        low: Limit,
        high: Limit,
        *,
        unit: str = "",
        integer: bool = False,
        form: str | None = None,
        changed: Callable[[Request], None] | None = None,
    ) -> Command:
        """A numeric setting; a value outside the limits is refused with -222. ``changed`` is called after a change.

        ``form``: of the answer, a format string.
        """
        self.__defaults[key] = default
        shown = form or ("{:d}" if integer else self.number_format)

        def limits(suffixes: tuple[int, ...]) -> tuple[float, float]:
            return (low(suffixes) if callable(low) else low), (high(suffixes) if callable(high) else high)

        def write(request: Request) -> None:
            value = request.number(0, *limits(request.suffixes), default, unit)
            self.__values[key, request.suffixes] = round(value) if integer else value
            if changed:
                changed(request)

        def query(request: Request) -> str:
            if request.parameters:
                value = request.number(0, *limits(request.suffixes), default, unit)
            else:
                value = self.value(key, *request.suffixes)
            return shown.format(round(value) if integer else value)

        return Command(pattern, write, query)

    @final
    def choice(
        self,
        pattern: str,
        key: str,
        default: str,
        words: Sequence[str],
        *,
        changed: Callable[[Request], None] | None = None,
    ) -> Command:
        """A setting of one of ``words``, written as in manuals (``SINusoid``); answered with the short form."""
        self.__defaults[key] = default

        def write(request: Request) -> None:
            self.__values[key, request.suffixes] = request.choice(words)
            if changed:
                changed(request)

        return Command(pattern, write, lambda request: short_form(self.value(key, *request.suffixes)))

    @final
    def switch(
        self, pattern: str, key: str, default: bool, *, changed: Callable[[Request], None] | None = None
    ) -> Command:
        """ON, OFF, 1 or 0; answered 1 or 0."""
        self.__defaults[key] = default

        def write(request: Request) -> None:
            self.__values[key, request.suffixes] = request.boolean()
            if changed:
                changed(request)

        return Command(pattern, write, lambda request: "1" if self.value(key, *request.suffixes) else "0")

    @final
    def text(
        self, pattern: str, key: str, default: str, *, changed: Callable[[Request], None] | None = None
    ) -> Command:
        """A string, answered in quotes."""
        self.__defaults[key] = default

        def write(request: Request) -> None:
            self.__values[key, request.suffixes] = request.text()
            if changed:
                changed(request)

        def query(request: Request) -> str:
            return '"' + str(self.value(key, *request.suffixes)).replace('"', '""') + '"'

        return Command(pattern, write, query)

    @final
    def numbers(self, values: Sequence[float]) -> str:
        """Numbers as an answer; not-a-number as +9.91E+37."""
        return ",".join(self.number_format.format(NAN if value != value else value) for value in values)

    # IEEE 488.2.

    def __reset(self) -> None:
        self.__values.clear()
        self.__completes = False
        self.free()
        self.reset()

    def __common(self) -> list[Command]:
        return [
            Command("*IDN", query=lambda _: self.__identity(), most=0),
            Command("*RST", lambda _: self.__reset(), most=0),
            Command("*CLS", lambda _: self.__clear(), most=0),
            Command("*ESR", query=lambda _: self.__take_events(), most=0),
            Command("*ESE", self.__enable_events, lambda _: str(self.__event_enable)),
            Command("*STB", query=lambda _: str(self.status_byte), most=0),
            Command("*SRE", self.__enable_service, lambda _: str(self.__service_enable)),
            Command("*OPC", lambda _: self.__complete_later(), lambda _: self.__completed(), most=0),
            Command("*WAI", lambda _: self.finish(), most=0),
            Command("*TRG", lambda _: self.trigger(), most=0),
            Command("*TST", query=lambda _: "0", most=0),
            Command("*OPT", query=lambda _: "0", most=0),
            Command("SYSTem:ERRor[:NEXT]", query=lambda _: self.__next_error(), most=0),
            Command("SYSTem:ERRor:CODE[:NEXT]", query=lambda _: str(self.errors.pop()[0]), most=0),
            Command("SYSTem:ERRor:COUNt", query=lambda _: str(len(self.errors)), most=0),
            Command("SYSTem:ERRor:CODE:ALL", query=lambda _: self.__all_codes(), most=0),
            Command("SYSTem:ERRor:ALL", query=lambda _: self.__all_errors(), most=0),
            Command("SYSTem:VERSion", query=lambda _: "1999.0", most=0),
        ]

    @property
    @final
    def status_byte(self) -> int:
        """IEEE 488.2, 11.2; no message is available, since answers are sent at once."""
        self.__note_completion()
        byte = (1 << self.error_bit if self.errors else 0) | (32 if self.__event_status & self.__event_enable else 0)
        byte |= self.summary_bits()
        return byte | (64 if byte & self.__service_enable else 0)

    def __clear(self) -> None:
        self.errors.clear()
        self.__event_status = 0
        self.__completes = False

    def __take_events(self) -> str:
        self.__note_completion()
        found, self.__event_status = self.__event_status, 0
        return str(found)

    def __enable_events(self, request: Request) -> None:
        self.__event_enable = request.integer(0, 0, 255)

    def __enable_service(self, request: Request) -> None:
        self.__service_enable = request.integer(0, 0, 255) & ~64

    def __complete_later(self) -> None:
        self.__completes = True
        self.__note_completion()

    def __note_completion(self) -> None:
        if self.__completes and not self.busy and not self.faults.active(self.name, "never_complete"):
            self.__completes = False
            self.__event_status |= OPERATION_COMPLETE

    def __completed(self) -> str | None:
        """Once what was begun is done; no answer to what never will be."""
        if self.faults.active(self.name, "never_complete"):
            return None
        self.finish()
        return None if self.busy else "1"

    def __shown(self, code: int, text: str) -> str:
        return self.error_format.format(code=code, text=text)

    def __next_error(self) -> str:
        return self.__shown(*self.errors.pop())

    def __all_codes(self) -> str:
        codes = [str(self.errors.pop()[0]) for _ in range(len(self.errors))]
        return ",".join(codes) or "0"

    def __all_errors(self) -> str:
        entries = [self.__next_error() for _ in range(len(self.errors))]
        return ",".join(entries) or self.__shown(0, "No error")
