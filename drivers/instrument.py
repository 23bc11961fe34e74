"""What all instruments have in common: identity, settings, errors, snapshot, and a safe state on the way out."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, ClassVar, Self, TypedDict, TypeVar, final

from drivers.errors import BenchError, ConnectionLost, DeviceTimeout, InstrumentError, ProtocolError
from drivers.resource import open_link
from drivers.session import LARGEST_BLOCK, Session
from drivers.setting import settings_of
from drivers.transport import Link, Transcript
from substrate.interrupts import interrupts_held_back

T = TypeVar("T")
MOST_ERRORS = 40
"""Entries of an error queue that are looked at; no instrument's holds more."""


class Options(TypedDict, total=False):
    """How an instrument is reached: the keyword arguments of ``Instrument``, which its subclasses hand on."""

    timeout_seconds: float
    baud: int
    visa_library: str
    largest_block: int
    transcript: Transcript | None


class Part(ABC):
    """Something with settings: an instrument, or one of its channels.

    Attributes:
        names: what stands for the places in braces of the settings' commands.
    """

    names: Mapping[str, Any]

    @property
    @abstractmethod
    def session(self) -> Session:
        """The session with the instrument."""

    @abstractmethod
    def configure(self, *commands: str) -> None:
        """Send commands, each once, and look into the error queue.

        Raises:
            InstrumentError: the instrument did not accept them; names them and the error.
            BenchError: the instrument cannot be reached.
        """

    @final
    def ask(self, message: str, decode: Callable[[str], T]) -> T:
        """A decoded answer.

        Raises:
            BenchError: as ``Session.ask``.
        """
        return self.session.ask(message, decode)

    @final
    def insist(self, **values: Any) -> None:
        """Set settings by name, and read each back: what decides what a reading means must not rest on a command that
        some model passes over.

        Raises:
            InputError: a value that does not fit.
            InstrumentError: the instrument has another value.
            BenchError: as ``configure`` and ``ask``.
        """
        for name, value in values.items():
            setattr(self, name, value)
        for name, value in values.items():
            found = getattr(self, name)
            near = isinstance(value, float) and math.isclose(found, value, rel_tol=1e-4, abs_tol=1e-6)
            if found != value and not near:
                raise InstrumentError(
                    f"{self.session.link.address}: {name} was set to {value!r}, the instrument says {found!r}"
                )

    @final
    def settings(self) -> dict[str, Any]:
        """All settings, as plain data by name, as the instrument gives them now.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        return {name: getattr(self, name) for name in settings_of(type(self))}


class Channel(Part):
    """A channel of an instrument.

    Args:
        instrument: whose it is.
        number: stands for ``{channel}`` in commands.
    """

    def __init__(self, instrument: "Instrument", number: int | str) -> None:
        self.instrument = instrument
        self.names = {"channel": number}

    @property
    @final
    def session(self) -> Session:
        """The instrument's."""
        return self.instrument.session

    @final
    def configure(self, *commands: str) -> None:
        """By the instrument."""
        self.instrument.configure(*commands)


class Instrument(Part):
    """One instrument. Entering opens it and checks what it says it is; leaving brings it to its safe state.

    Args:
        resource: address (see ``resource.py``), or a link that was not opened.
        timeout_seconds: of one exchange; an answer or an error comes within twice this time.
        baud: of serial lines.
        visa_library: of PyVISA, where it is needed.
        largest_block: bytes of an answer that are accepted.
        transcript: hears all that is sent and received.

    Attributes:
        link: to the instrument.
        identity: answer of ``*IDN?``, known after opening.

    Raises:
        InputError: an address of unknown form.
    """

    model_pattern: ClassVar[str]
    """Regular expression that finds the model in the answer to ``*IDN?``."""

    message_end: ClassVar[bytes] = b"\n"

    abort: ClassVar[str] = ""
    """Message that ends pulses, sweeps and bursts, which the instrument hears while it is busy with them. The way to
    the safe state begins with it. Empty where there are none."""

    def __init__(
        self,
        resource: str | Link,
        *,
        timeout_seconds: float = 2.0,
        baud: int = 9600,
        visa_library: str = "@py",
        largest_block: int = LARGEST_BLOCK,
        transcript: Transcript | None = None,
    ) -> None:
        if isinstance(resource, str):
            resource = open_link(
                resource, baud=baud, library=visa_library, connect_seconds=timeout_seconds, transcript=transcript
            )
        self.link = resource
        self.identity = ""
        self.names = {}
        self.__session = Session(resource, timeout_seconds, largest_block, self.message_end)
        self.__checking = True

    @abstractmethod
    def _next_error(self) -> tuple[int, str] | None:
        """The oldest entry of the error queue, which is taken off; None where it is empty."""

    @abstractmethod
    def _safe_steps(self) -> Sequence[Callable[[], None]]:
        """What brings all outputs to zero, in this order; each may be repeated and is tried whatever the others do."""

    @abstractmethod
    def _parts(self) -> Mapping[str, Part]:
        """Channels by their name in a snapshot."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop what is remembered of the instrument's state: it was reset, or opened anew."""

    @property
    @final
    def session(self) -> Session:
        """Messages to the instrument."""
        return self.__session

    @property
    @final
    def is_open(self) -> bool:
        """Whether it was opened and not closed."""
        return self.__session.is_open

    @final
    def open(self) -> Self:
        """Open the connection, see that it is the right instrument, and empty its error queue. One that does not answer
        may be busy with what a client has begun that died: that is broken off.

        Raises:
            ConnectionLost, DeviceTimeout: nobody is there, or does not answer.
            InstrumentError: another instrument is there.
        """
        session = self.__session
        session.open(self.abort)
        try:
            self._forget()
            self.identity = session.query("*IDN?").strip()
            if not re.search(self.model_pattern, self.identity, re.IGNORECASE):
                raise InstrumentError(
                    f"{self.link.address}: expected {type(self).__name__} ({self.model_pattern}), "
                    f"got an instrument that says it is {self.identity!r}"
                )
            session.write("*CLS")
        except BaseException:
            session.close()
            raise
        return self

    @final
    def close(self) -> None:
        """Close the connection; the instrument stays as it is. See ``safe_state``."""
        self.__session.close()

    def __enter__(self) -> Self:
        return self if self.is_open else self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An impatient second Ctrl-C must not leave outputs on.
        with interrupts_held_back():
            try:
                self.safe_state()
            except BenchError as failure:
                if error is None:
                    raise
                error.add_note(f"the safe state was not confirmed: {failure}")
            finally:
                self.close()

    @final
    def configure(self, *commands: str) -> None:
        """Send commands, each once, and look into the error queue.

        Raises:
            InstrumentError: the instrument did not accept them; names them and the error.
            ConnectionLost: the connection went away meanwhile, so that some of them may not have arrived.
            BenchError: the instrument cannot be reached; commands that were not sent are named in a note.
        """
        with self.__session.unbroken("; ".join(commands)) as check:
            for place, command in enumerate(commands):
                try:
                    self.__session.write(command)
                    check()
                except BenchError as error:
                    if commands[place + 1 :]:
                        error.add_note(f"not sent: {'; '.join(commands[place + 1 :])}")
                    raise
            if self.__checking:
                self.check_errors("; ".join(commands))

    @final
    @contextmanager
    def unchecked(self) -> Iterator[None]:
        """Configure several things and look into the error queue once, at the end.

        Raises:
            InstrumentError: the instrument did not accept one of them.
            ConnectionLost: the connection went away meanwhile, so that some of them may not have arrived.
            BenchError: the instrument cannot be reached.
        """
        with self.__session.unbroken("several commands"):
            before, self.__checking = self.__checking, False
            try:
                yield
            finally:
                self.__checking = before
            self.check_errors("one of the commands of this block")

    @final
    def check_errors(self, after: str = "an earlier command") -> None:
        """Empty the error queue.

        Raises:
            InstrumentError: there was something in it; the message names ``after``, the command.
            BenchError: the instrument cannot be reached.
        """
        found: list[str] = []
        with self.link.lock:
            while len(found) < MOST_ERRORS and (entry := self._next_error()) is not None:
                found.append(f"{entry[0]}, {entry[1]}")
        if found:
            raise InstrumentError(f"{self.link.address}: after {after[:400]}: error {'; '.join(found)}")

    @final
    def reset(self) -> None:
        """``*RST``: all settings to the maker's defaults, outputs off.

        Raises:
            BenchError: the instrument cannot be reached, or reports an error.
        """
        self._forget()
        self.configure("*RST", "*CLS")

    @final
    def snapshot(self) -> dict[str, Any]:
        """Identity and every setting as plain data, those of channels by channel.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        found: dict[str, Any] = {"identity": self.identity, "address": self.link.address, **self.settings()}
        return found | {name: part.settings() for name, part in self._parts().items()}

    @final
    def safe_state(self) -> None:
        """Bring all outputs to zero, whatever has gone wrong before. Each step is tried twice, all are tried; Ctrl-C
        waits meanwhile.

        Raises:
            BenchError: the first that could not be done; the others are named in notes.
        """
        failures: list[BenchError] = []
        with interrupts_held_back(), self.link.lock:
            self._forget()
            steps = [*([self._break_off] if self.abort else ()), *self._safe_steps()]
            for step in steps:
                try:
                    try:
                        step()
                    except (DeviceTimeout, ConnectionLost, ProtocolError):
                        step()
                except BenchError as error:
                    failures.append(error)
        if failures:
            for other in failures[1:]:
                failures[0].add_note(str(other))
            raise failures[0]

    @final
    def _break_off(self) -> None:
        self.__session.break_in(self.abort)
        # What is in the error queue by now is not the fault of the steps that follow. Who does not answer is asked by
        # them again.
        with suppress(BenchError):
            self.__session.write("*CLS")

    # For dialects.

    @final
    def _scpi_error(self, answer: str) -> tuple[int, str] | None:
        """An entry of SCPI's error queue: ``+0,"No error"``.

        To be decoded while the session listens, as all answers are: one that makes no sense puts it out of step.

        Raises:
            ProtocolError: it is none.
        """
        code, _, text = answer.partition(",")
        try:
            number = int(code)
        except ValueError:
            raise ProtocolError(f"{self.link.address}: unexpected answer {answer[:80]!r} for an error") from None
        return (number, text.strip().strip('"')) if number else None


class ScpiInstrument(Instrument):
    """An instrument with SCPI's error queue."""

    @final
    def _next_error(self) -> tuple[int, str] | None:
        return self.session.ask("SYST:ERR?", self._scpi_error, once=True)
