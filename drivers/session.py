"""Questions and answers with an instrument that stay in step, whatever happens on the way.

After a timeout, a lost connection or an answer that makes no sense the session is out of step: an old answer may still
come, and must not be taken for that to the next question. Before anything else is sent it is then brought back into
step: a number that was not used before is written into the event status enable register (``*ESE``) and read back, and
all that comes before it is thrown away; where that fails the connection is opened anew. The register also tells whether
an instrument was switched off meanwhile and has lost its settings: it then holds 0, and not the last number.

A question is asked again once where its answer did not come or made no sense. What is written is never sent again.
Either way, an answer or an error comes within twice the time that a single exchange may take.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, final

import numpy as np
import numpy.typing as npt

from drivers.errors import BenchError, ConnectionLost, DeviceTimeout, ProtocolError
from drivers.transport import Link
from substrate.errors import InputError

T = TypeVar("T")
LARGEST_BLOCK = 1 << 28
"""Bytes of an answer, unless told otherwise."""

LARGEST_LINE = 1 << 26
END = b"\n"
SLOWEST_BYTES_PER_SECOND = 1.0e6
"""A block may take this much longer than a short answer."""

TERMINATOR_SECONDS = 0.05
"""For the newline after a block to come; some instruments leave it out."""

FIRST_NUMBER, LAST_NUMBER = 32, 127
"""Of those that are written into the register: longer than a 0 or 1, which is a common answer."""


@final
class Session:
    """Messages to one instrument.

    Args:
        link: the way to it; opened and closed here.
        seconds: that one exchange may take.
        largest_block: bytes of an answer's block that are accepted.
        end: what is put behind each message.

    Attributes:
        link: as given.
        seconds: as given.
        resynchronisations: times that the session had to be brought back into step.
        losses: times that the connection was found to be gone, or was given up: what was written just before may not
            have arrived.
    """

    def __init__(self, link: Link, seconds: float = 2.0, largest_block: int = LARGEST_BLOCK, end: bytes = END) -> None:
        if not 0 < seconds < 1e6:
            raise InputError(f"timeout_seconds: expected a positive number, got {seconds!r}")
        self.link = link
        self.seconds = float(seconds)
        self.resynchronisations = 0
        self.losses = 0
        self._largest_block = largest_block
        self._end = end
        self._held = bytearray()
        self._in_step = False
        self._number = LAST_NUMBER
        self._known = False
        self._wanted = False

    @property
    def is_open(self) -> bool:
        """Whether ``open`` was called and ``close`` was not."""
        return self._wanted

    def open(self, abort: str = "") -> None:
        """Open the connection and see that somebody answers.

        Args:
            abort: message that ends what an earlier client has begun, which may have died since, and keeps the
                instrument from answering; sent where it does not answer.

        Raises:
            ConnectionLost, DeviceTimeout: nobody is there, or does not answer.
        """
        with self.link.lock:
            self._known = False
            try:
                try:
                    self._reconnect(time.monotonic() + self.seconds)
                except DeviceTimeout:
                    if not abort:
                        raise
                    self._urge(_encoded(abort) + self._end)
                    self._into_step(time.monotonic() + self.seconds)
            except BenchError:
                self.link.close()
                raise
            self._wanted = True

    def close(self) -> None:
        """Close the connection; nothing where it is closed."""
        with self.link.lock:
            self._wanted = False
            self._in_step = False
            self.link.close()

    @contextmanager
    def unbroken(self, what: str) -> Iterator[Callable[[], None]]:
        """Messages that only make sense together: what is written into a connection that is then found closed may have
        been lost without an error, and a new connection says nothing about that.

        Gives a function that raises where the connection was lost since; it is called at the end, too.

        Raises:
            ConnectionLost: it was lost on the way; ``what`` names the messages.
            DeviceTimeout, ConnectionLost, ProtocolError: it cannot be reached.
        """
        with self.link.lock:
            if not self._ready():
                self._recover(time.monotonic() + self.seconds)
            before = self.losses

            def check() -> None:
                if self.losses != before:
                    raise ConnectionLost(
                        f"{self.link.address}: the connection was lost during {what[:200]}: whether all of it was "
                        "carried out is not known"
                    )

            yield check
            check()

    # Writing.

    def write(self, message: str | bytes) -> None:
        """Send one message. It is not sent again after an error: what of it has arrived is unknown then.

        Raises:
            ConnectionLost, DeviceTimeout: it could not be sent; the text says whether it may have been in part.
            InputError: a message with a line end in it, or with other characters than ASCII.
        """
        data = _encoded(message) + self._end
        with self.link.lock:
            end = time.monotonic() + 2.0 * self.seconds
            if not self._ready():
                self._recover(min(end, time.monotonic() + self.seconds))
            self._send(data, end)

    def break_in(self, message: str) -> None:
        """Send a message at once, in step or not: one that ends what keeps the instrument busy. As long as it is busy
        it answers nothing, and would not come into step. Whatever follows begins by coming into step.

        Raises:
            ConnectionLost, DeviceTimeout: it could not be sent, over a new connection neither.
        """
        data = _encoded(message) + self._end
        with self.link.lock:
            if not self._wanted:
                raise ConnectionLost(f"{self.link.address}: not open")
            self._in_step = False
            self._held.clear()
            if self.link.is_open:
                try:
                    self._urge(data)
                    return
                except (DeviceTimeout, ConnectionLost):
                    self.losses += 1
                    self.link.close()
            self.link.open()
            self._urge(data)

    def write_block(self, message: str, content: bytes) -> None:
        """Send a message that ends in a definite-length block (IEEE 488.2, 7.7.6).

        Raises:
            ConnectionLost, DeviceTimeout, InputError: as ``write``.
        """
        length = str(len(content))
        if len(length) > 9:
            raise InputError(f"block: expected fewer than 1e9 bytes, got {length}")
        data = _encoded(message) + b"#%d%s" % (len(length), length.encode()) + content + self._end
        with self.link.lock:
            if not self._ready():
                self._recover(time.monotonic() + self.seconds)
            self._send(data, time.monotonic() + self.seconds + len(content) / SLOWEST_BYTES_PER_SECOND)

    # Asking.

    def query(self, message: str, *, seconds: float | None = None, once: bool = False) -> str:
        """The answer to a message, one line without its end.

        Args:
            message: asked again if no answer came, unless ``once``.
            seconds: that the exchange may take, if other than the session's.
            once: for questions that do something: read and forget, trigger, measure.

        Raises:
            DeviceTimeout: no answer.
            ConnectionLost: the connection is gone, or the instrument was restarted and has lost its settings.
            ProtocolError: an answer that makes no sense.
        """
        return self.ask(message, str, seconds=seconds, once=once)

    def ask(self, message: str, decode: Callable[[str], T], *, seconds: float | None = None, once: bool = False) -> T:
        """The answer to a message, decoded; a ValueError of ``decode`` becomes a ProtocolError.

        Raises:
            DeviceTimeout, ConnectionLost, ProtocolError: as ``query``.
        """

        def read(deadline: float) -> T:
            line = self._line(deadline)
            try:
                return decode(line.decode("ascii"))
            except ValueError as error:
                raise ProtocolError(f"{self.link.address}: {message}: unexpected answer {line[:80]!r}") from error

        return self._exchange(message, read, seconds, once)

    def numbers(self, message: str, *, seconds: float | None = None, once: bool = False) -> npt.NDArray[np.float64]:
        """The answer to a message as an array of numbers, which commas separate.

        Raises:
            DeviceTimeout, ConnectionLost, ProtocolError: as ``query``.
        """
        return self.ask(message, _numbers, seconds=seconds, once=once)

    def query_block(self, message: str, *, seconds: float | None = None, once: bool = False) -> bytearray:
        """The bytes of the definite-length block that answers a message.

        Raises:
            DeviceTimeout, ConnectionLost: as ``query``.
            ProtocolError: no such block; one of indefinite length (``#0``), whose end a stream cannot show; or one
                larger than is accepted.
        """
        return self._exchange(message, self._block, seconds, once)

    def query_bytes(self, message: str, count: int, *, seconds: float | None = None, once: bool = False) -> bytearray:
        """A known number of bytes that answers a message, without header and end.

        Raises:
            DeviceTimeout, ConnectionLost: as ``query``.
        """
        if not 0 < count <= self._largest_block:
            raise InputError(f"count: expected 1 to {self._largest_block} bytes, got {count}")

        def read(deadline: float) -> bytearray:
            found = self._bytes(count, deadline)
            # Some instruments end these with a newline, too.
            if self._held in (END, b"\r\n"):
                self._held.clear()
            return found

        return self._exchange(message, read, seconds, once)

    # How.

    def _exchange(self, message: str, read: Callable[[float], T], seconds: float | None, once: bool) -> T:
        data = _encoded(message) + self._end
        each = self.seconds if seconds is None else seconds
        with self.link.lock:
            start = time.monotonic()
            end = start + 2.0 * each
            if not self._ready():
                self._recover(start + each)
                return self._attempt(data, read, end)
            try:
                return self._attempt(data, read, start + each)
            except (DeviceTimeout, ConnectionLost, ProtocolError) as error:
                if once or end - time.monotonic() < 0.25 * each:
                    raise
                first = error
            try:
                self._recover(end)
            except _Restarted:
                raise
            except BenchError:
                raise first from None
            return self._attempt(data, read, end)

    def _ready(self) -> bool:
        """Whether a message can be sent as it is: in step, nothing unread, connection alive as far as known.

        Raises:
            ConnectionLost: the session was not opened.
        """
        if not self._wanted:
            raise ConnectionLost(f"{self.link.address}: not open")
        if not (self._in_step and self.link.is_open):
            return False
        try:
            if not self._held and not self.link.pending():
                return True
        except ConnectionLost:
            self.losses += 1
            return False
        self._in_step = False
        return False

    def _attempt(self, data: bytes, read: Callable[[float], T], deadline: float) -> T:
        self._send(data, deadline)
        with self._falling_out():
            answer = read(deadline)
            if self._held:
                # One message, one answer: which of the two is it?
                raise ProtocolError(f"{self.link.address}: more than one answer to {data[:80]!r}")
            return answer

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            with self._falling_out():
                self.link.write(data, max(0.0, deadline - time.monotonic()), self.seconds)
        except BaseException as error:
            # Part of the message may have left: whatever came next would be taken for its rest.
            self.link.close()
            error.add_note(f"whether {data[:80]!r} was carried out is not known")
            raise

    @contextmanager
    def _falling_out(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._in_step = False
            self.losses += isinstance(error, ConnectionLost)
            raise

    def _urge(self, data: bytes) -> None:
        # Where the bus has a device clear, that alone ends most of what an instrument may be doing.
        self.link.clear(self.seconds)
        self.link.write(data, self.seconds)

    # Coming back into step.

    def _recover(self, deadline: float) -> None:
        """Back into step, on this connection or a new one.

        Raises:
            _Restarted: the instrument has lost its settings meanwhile; the session is in step.
            DeviceTimeout, ConnectionLost, ProtocolError: it cannot be reached.
        """
        self.resynchronisations += 1
        if self.link.is_open:
            now = time.monotonic()
            try:
                self._into_step(now + 0.6 * (deadline - now))
                return
            except (DeviceTimeout, ConnectionLost, ProtocolError):
                # What was written may still be on its way into the connection that is given up.
                self.losses += 1
                self.link.close()
        self._reconnect(deadline)

    def _reconnect(self, deadline: float) -> None:
        self.link.close()
        self._held.clear()
        self._in_step = False
        self.link.open()
        self._into_step(deadline)

    def _into_step(self, deadline: float) -> None:
        """Write numbers and read them back: first one that may stand behind the rest of an old answer, then another."""
        known, found = self._known, b""
        self._held.clear()
        self._in_step = False
        self.link.clear(max(0.0, deadline - time.monotonic()))
        self._raw(b"*ESE?", deadline)
        line = self._line(deadline)
        for whole in (False, True):
            self._number = self._number + 1 if self._number < LAST_NUMBER else FIRST_NUMBER
            mark = b"%d" % self._number
            self._raw(b"*ESE " + mark, deadline)
            self._raw(b"*ESE?", deadline)
            while True:
                before, line = line, self._line(deadline)
                if line == mark or (not whole and line.endswith(mark)):
                    break
            if not whole:
                found = before
        self._known = True
        self._in_step = True
        if known and found.lstrip(b"+") == b"0":
            raise _Restarted(f"{self.link.address}: the instrument was restarted and has lost its settings")

    def _raw(self, message: bytes, deadline: float) -> None:
        self.link.write(message + self._end, max(0.0, deadline - time.monotonic()))

    # Reading.

    def _more(self, deadline: float) -> None:
        self._held += self.link.read(max(0.0, deadline - time.monotonic()))

    def _line(self, deadline: float) -> bytes:
        """Up to the next newline, without it."""
        seen = 0
        while (at := self._held.find(END, seen)) < 0:
            seen = len(self._held)
            if seen > LARGEST_LINE:
                raise ProtocolError(f"{self.link.address}: an answer of more than {LARGEST_LINE} bytes in one line")
            self._more(deadline)
        line = bytes(self._held[:at])
        del self._held[: at + 1]
        return line.rstrip(b"\r")

    def _block(self, deadline: float) -> bytearray:
        header = self._bytes(2, deadline)
        if header[:1] != b"#" or not header[1:].isdigit() or header == b"#0":
            raise ProtocolError(f"{self.link.address}: expected a block of definite length, got {bytes(header)!r}...")
        field = self._bytes(int(header[1:]), deadline)
        if not field.isdigit() or int(field) > self._largest_block:
            raise ProtocolError(
                f"{self.link.address}: a block of {bytes(field)!r} bytes; at most {self._largest_block} are accepted"
            )
        content = self._bytes(int(field), deadline + int(field) / SLOWEST_BYTES_PER_SECOND)
        self._finish_block(deadline)
        return content

    def _finish_block(self, deadline: float) -> None:
        """The newline behind a block. The block is whole without it, but then it may still come."""
        try:
            if not self._held:
                self._more(max(time.monotonic(), min(deadline, time.monotonic() + TERMINATOR_SECONDS)))
            if self._held[:1] == b"\r":
                del self._held[:1]
                if not self._held:
                    self._more(deadline)
        except DeviceTimeout:
            self._in_step = False
            return
        if self._held[:1] == END:
            del self._held[:1]

    def _bytes(self, count: int, deadline: float) -> bytearray:
        """So many bytes, however they are cut up."""
        out = bytearray(count)
        view = memoryview(out)
        have = min(count, len(self._held))
        view[:have] = self._held[:have]
        del self._held[:have]
        # Small pieces come with what follows them.
        while count - have < 4096 and have < count:
            self._more(deadline)
            piece = min(count - have, len(self._held))
            view[have : have + piece] = self._held[:piece]
            del self._held[:piece]
            have += piece
        if have < count:
            self.link.fill(view[have:], max(0.0, deadline - time.monotonic()), self.seconds)
        return out


@final
class _Restarted(ConnectionLost):
    """Settings are lost; the session itself is in step again."""


def _encoded(message: str | bytes) -> bytes:
    if isinstance(message, bytes):
        return message
    if "\n" in message or "\r" in message or not message.isascii():
        raise InputError(f"message: expected one line of ASCII, got {message[:80]!r}")
    return message.encode("ascii")


def _numbers(text: str) -> npt.NDArray[np.float64]:
    return np.array(text.split(","), dtype=np.float64)
