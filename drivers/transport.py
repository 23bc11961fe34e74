"""The way to a device: a stream of bytes with deadlines of our own, one lock, and our own few errors.

``Link`` is what all ways share: opening, the errors, the deadlines and the transcript. ``SerialLink`` is a serial
port, a pty or ``socket://host:port``, by way of pyserial. TCP is in ``socket_link.py``, what only VISA reaches in
``visa_link.py``, GPIB behind an Ethernet adapter in ``prologix.py``; ``resource.py`` picks one by its address, and
``session.py`` makes messages of bytes.
"""

import contextlib
import os
import select
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Literal, final

from drivers.errors import ConnectionLost, DeviceTimeout

PIECE = 65536
"""Bytes that are read at a time."""

Transcript = Callable[[float, str, Literal[">", "<"], bytes], None]
"""Called with (seconds since opening, address, direction, bytes) for all that goes out (>) and comes in (<)."""


class Link(ABC):
    """One session with a device.

    ``lock`` is held by whoever needs several calls to stay together, such as a question and its answer.

    Args:
        address: of the port.
        transcript: hears everything that is sent and received.

    Attributes:
        address: as given.
        lock: may be taken again by who holds it.
    """

    def __init__(self, address: str, transcript: Transcript | None = None) -> None:
        self.address = address
        self.lock = threading.RLock()
        self._transcript = transcript
        self._opened = 0.0
        self._is_open = False
        self._scratch = memoryview(bytearray(PIECE))

    @abstractmethod
    def _connect(self) -> None:
        """Open the port."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the port, in any state."""

    @abstractmethod
    def _send(self, data: memoryview, deadline: float) -> int:
        """Send some of the data before ``deadline`` (of ``time.monotonic``); how much, 0 where none got away."""

    @abstractmethod
    def _receive(self, into: memoryview, deadline: float) -> int:
        """Put what has come in into a buffer, waiting until ``deadline`` for a first byte; how much, 0 for none."""

    @abstractmethod
    def _pending(self) -> bool:
        """Whether something has come in, as far as can be told without waiting; raises where the port is gone."""

    @abstractmethod
    def _clear(self, deadline: float) -> None:
        """Make the device forget unread answers, by the means of the way to it, where it has any."""

    @abstractmethod
    def _failures(self) -> tuple[type[Exception], ...]:
        """What the library below raises when a connection fails."""

    @property
    def is_open(self) -> bool:
        """Whether the port is open, as far as is known."""
        return self._is_open

    @final
    def open(self) -> None:
        """Open the port.

        Raises:
            ConnectionLost: it cannot be opened.
        """
        with self.lock, self._mapped("cannot be opened"):
            self._connect()
            self._opened = time.monotonic()
            self._is_open = True

    @final
    def close(self) -> None:
        """Close the port; nothing where it is closed."""
        with self.lock:
            if self._is_open:
                self._is_open = False
                with contextlib.suppress(*self._failures()):
                    self._disconnect()

    @final
    def write(self, data: bytes, seconds: float, stall_seconds: float | None = None) -> None:
        """Send all of ``data``. Never repeated here: what a device has heard of it is unknown after an error.

        Raises:
            DeviceTimeout: it could not be sent within ``seconds``, or nothing of it got away for ``stall_seconds``.
            ConnectionLost: the port is gone.
        """
        with self.lock, self._mapped("was lost"):
            self._require_open()
            self._log(">", data)
            deadline = time.monotonic() + seconds
            rest = memoryview(data)
            while rest:
                until = deadline
                if stall_seconds is not None:
                    until = min(deadline, time.monotonic() + stall_seconds)
                sent = self._send(rest, until)
                rest = rest[sent:]
                now = time.monotonic()
                if rest and (now >= deadline or (not sent and now >= until)):
                    raise DeviceTimeout(f"{self.address}: {len(rest)} of {len(data)} bytes were not taken")

    @final
    def read(self, seconds: float) -> bytes:
        """What has come in, at least a byte.

        Raises:
            DeviceTimeout: nothing came within ``seconds``.
            ConnectionLost: the port is gone.
        """
        with self.lock:
            return bytes(self._scratch[: self.read_into(self._scratch, seconds)])

    @final
    def read_into(self, into: memoryview, seconds: float) -> int:
        """Put what has come in into a buffer; how many bytes, at least one.

        Raises:
            DeviceTimeout: nothing came within ``seconds``.
            ConnectionLost: the port is gone.
        """
        with self.lock, self._mapped("was lost"):
            self._require_open()
            count = self._receive(into, time.monotonic() + seconds)
            if not count:
                raise DeviceTimeout(f"{self.address}: no answer in {seconds:g} s")
            if self._transcript is not None:
                self._log("<", bytes(into[:count]))
            return count

    @final
    def fill(self, into: memoryview, seconds: float, stall_seconds: float) -> None:
        """Fill a whole buffer.

        Raises:
            DeviceTimeout: it was not full within ``seconds``, or nothing came for ``stall_seconds``.
            ConnectionLost: the port is gone.
        """
        with self.lock, self._mapped("was lost"):
            self._require_open()
            deadline, have = time.monotonic() + seconds, 0
            while have < len(into):
                count = self._receive(into[have:], min(deadline, time.monotonic() + stall_seconds))
                if not count:
                    raise DeviceTimeout(f"{self.address}: {len(into) - have} of {len(into)} bytes did not come")
                if self._transcript is not None:
                    self._log("<", bytes(into[have : have + count]))
                have += count

    @final
    def pending(self) -> bool:
        """Whether something has come in that nobody has read, as far as can be told without waiting.

        Raises:
            ConnectionLost: the port is gone.
        """
        with self.lock, self._mapped("was lost"):
            self._require_open()
            return self._pending()

    @final
    def clear(self, seconds: float) -> None:
        """Make the device forget unread answers, where the way to it has a means for that.

        Raises:
            DeviceTimeout, ConnectionLost: as when writing.
        """
        with self.lock, self._mapped("was lost"):
            self._require_open()
            self._clear(time.monotonic() + seconds)

    @final
    def drain(self, quiet_seconds: float, most_seconds: float) -> bytes:
        """Throw away what comes in until it has been quiet for a while: banners, answers that came late.

        Raises:
            ConnectionLost: the port is gone.
        """
        end = time.monotonic() + most_seconds
        found = b""
        with self.lock:
            while (left := end - time.monotonic()) > 0:
                try:
                    found += self.read(min(quiet_seconds, left))
                except DeviceTimeout:
                    break
        return found

    @contextlib.contextmanager
    def _mapped(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._failures() as error:
            self.close()
            raise ConnectionLost(f"{self.address}: the connection {what}: {error}") from error

    def _require_open(self) -> None:
        if not self._is_open:
            raise ConnectionLost(f"{self.address}: not open")

    def _log(self, direction: Literal[">", "<"], data: bytes) -> None:
        if self._transcript is not None:
            self._transcript(time.monotonic() - self._opened, self.address, direction, data)


@final
class SerialLink(Link):
    """A serial port (8N1, no flow control), a pty, or ``socket://host:port``.

    The port's file is read and written directly: pyserial's own calls know no deadline of a whole message, and read a
    socket byte by byte.

    Args:
        address: a device file or one of pyserial's addresses.
        baud: of a real port.
        transcript: hears everything.
    """

    def __init__(self, address: str, baud: int = 921600, transcript: Transcript | None = None) -> None:
        super().__init__(address, transcript)
        self._baud = baud
        self._port: Any = None

    def _connect(self) -> None:
        # Imported on first use: a driver is described without it.
        import serial

        self._port = serial.serial_for_url(self.address, baudrate=self._baud, exclusive=True, timeout=0)

    def _disconnect(self) -> None:
        # pyserial leaves a socket open whose other end has gone already.
        connection = getattr(self._port, "_socket", None)
        self._port.close()
        if connection is not None:
            connection.close()

    def _send(self, data: memoryview, deadline: float) -> int:
        file = self._port.fileno()
        _, ready, _ = select.select([], [file], [], max(0.0, deadline - time.monotonic()))
        return os.write(file, data[:PIECE]) if ready else 0

    def _receive(self, into: memoryview, deadline: float) -> int:
        file = self._port.fileno()
        ready, _, _ = select.select([file], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return 0
        count = os.readv(file, [into])
        if not count:
            raise ConnectionResetError("closed by the other side")
        return count

    def _pending(self) -> bool:
        return bool(select.select([self._port.fileno()], [], [], 0.0)[0])

    def _clear(self, deadline: float) -> None:
        """A line has no such means."""

    def _failures(self) -> tuple[type[Exception], ...]:
        # termios.error is no OSError; a port that was closed by another thread has no file number (TypeError).
        import termios

        return (OSError, termios.error, ValueError, TypeError)
