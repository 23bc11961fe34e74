"""The serial wire between a host and the board's firmware: a pty or a TCP port, with its faults.

Where there are fault rules, what is sent is cut into messages (frames and lines), so that a fault strikes one message.
Messages are named for the patterns of rules by the type of the frame: ``PULSE`` is a request (``PULSE$`` as a pattern),
``PULSE answer`` its answer, ``NAK``, ``banner or line``.
"""

import contextlib
import os
import pty
import select
import socket
import struct
import threading
import time
import tty
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Literal, final

from emulators.bench.faults import Faults

TYPES: Final = {
    0x01: "HELLO",
    0x02: "HEARTBEAT",
    0x03: "SAFE",
    0x04: "JOURNAL",
    0x10: "MEASURE",
    0x11: "PRODUCTS",
    0x12: "CELLS",
    0x20: "PULSE",
    0x21: "SET",
    0x22: "RESET",
}
FAULTS: Final = (
    "no_answer", "delay", "stale", "split", "trickle", "duplicate", "truncate", "garbage", "banner", "no_terminator",
    "wrong_terminator", "unplug", "drop_before", "drop_during", "drop_after", "reset",
)  # fmt: skip
DROPS: Final = ("drop_before", "drop_during", "drop_after", "reset")
"""Of TCP connections; a pty has none to drop."""

REQUEST_FAULTS: Final = ("duplicate", "truncate", "garbage", "unplug")
LARGEST_BACKLOG = 1 << 20
"""Bytes that a host may leave unread before more are thrown away, as a UART does much earlier."""

PIECE = 65536


def name_of(message: bytes) -> str:
    """What a message is, for patterns."""
    block = message.strip(b"\0")
    if not message.startswith(b"\0") or len(block) < 4:
        return "banner or line"
    # The version in front of the type is never zero, the type neither: COBS leaves both where they are.
    kind = block[2]
    if kind & 0x3F == 0x3F:
        return "NAK"
    return TYPES.get(kind & 0x3F, "unknown") + (" answer" if kind & 0x80 else "")


def _first(stream: bytes) -> tuple[bytes, bytes]:
    """(the first message, empty where it is not complete; the rest)."""
    end = stream.find(b"\0", 1) if stream[0] == 0 else stream.find(b"\n")
    return stream[: end + 1], stream[end + 1 :]


def _spoiled(message: bytes, struck: Mapping[str, float]) -> bytes:
    middle = len(message) // 2
    if "garbage" in struck:
        message = message[:middle] + bytes([message[middle] ^ 0x5A or 1]) + message[middle + 1 :]
    return message[:middle] if "truncate" in struck else message


@final
class BoardWire:
    """Carries bytes between the host's end and the firmware's standard input and output.

    Args:
        transport: ``pty`` or ``tcp`` (on the loopback address).
        link: where the pty's symbolic link is put; None: no link. It stays the same when the board is plugged in anew.
        port: of TCP; 0 lets the system choose.
        instrument: name in fault rules.
        faults: what goes wrong.
        seconds: the time that faults are recorded with.
        lock: guards ``faults``.
    """

    def __init__(
        self,
        transport: Literal["pty", "tcp"],
        *,
        link: Path | None = None,
        port: int = 0,
        instrument: str = "board",
        faults: Faults | None = None,
        seconds: Callable[[], float] = time.monotonic,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._transport = transport
        self._link = link
        self._instrument = instrument
        self._faults = faults
        self._seconds = seconds
        self._fault_lock = lock or threading.RLock()
        self._guard = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        self._ends: list[int] = []
        self._host: int | None = None
        self._client: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._to_board: int | None = None
        self._from_board: int | None = None
        self._outgoing: list[tuple[float, bytes]] = []
        self._incoming = b""
        self._partial = b""
        self._request = b""
        self._previous = b""
        self._running = True
        if transport == "tcp":
            self._listener = socket.create_server(("127.0.0.1", port))
            self.resource = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._open_pty()
            self.resource = str(link) if link else os.ttyname(self._ends[1])
        self._thread = threading.Thread(target=self._pump, name="board-wire", daemon=True)
        self._thread.start()

    def connect_board(self, to_board: int, from_board: int) -> None:
        """The firmware's pipes; they belong to the wire from now on."""
        os.set_blocking(to_board, False)
        os.set_blocking(from_board, False)
        with self._guard:
            self._to_board, self._from_board = to_board, from_board
            self._partial = self._request = self._incoming = b""
        self._wake()

    def disconnect_board(self) -> None:
        """The firmware has gone: its pipes are closed."""
        with self._guard:
            for end in (self._to_board, self._from_board):
                if end is not None:
                    os.close(end)
            self._to_board = self._from_board = None
        self._wake()

    def unplug(self) -> None:
        """Pull the cable at the host's side: the port vanishes."""
        with self._guard:
            self._unplug()
        self._wake()

    def plug_in(self) -> None:
        """Plug it in again; a pty is a new one behind the same link."""
        with self._guard:
            if self._transport == "pty" and not self._ends:
                self._open_pty()
                if self._link is None:
                    self.resource = os.ttyname(self._ends[1])
        self._wake()

    def close(self) -> None:
        """End the thread and close everything."""
        self._running = False
        self._wake()
        self._thread.join(timeout=10.0)
        self.disconnect_board()
        with self._guard:
            self._unplug()
        if self._listener is not None:
            self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _open_pty(self) -> None:
        # Our copy of the slave end stays open: without it the master reads an error whenever no host is there.
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._ends = [master, slave]
        self._host = master
        if self._link is not None:
            temporary = self._link.with_name(self._link.name + ".new")
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            temporary.symlink_to(os.ttyname(slave))
            temporary.replace(self._link)

    def _unplug(self) -> None:
        self._outgoing.clear()
        if self._client is not None:
            self._client.close()
            self._client = None
        for end in self._ends:
            os.close(end)
        if self._ends and self._link is not None:
            self._link.unlink(missing_ok=True)
        self._ends = []
        self._host = None

    def _wake(self) -> None:
        os.write(self._wake_write, b"!")

    def _pump(self) -> None:
        while self._running:
            with self._guard:
                reading = [end for end in (self._wake_read, self._host, self._from_board) if end is not None]
                if self._listener is not None:
                    reading.append(self._listener.fileno())
                writing = []
                pause = None
                if self._outgoing and self._host is not None:
                    pause = max(0.0, self._outgoing[0][0] - time.monotonic())
                    if not pause:
                        writing.append(self._host)
                        pause = None
                if self._incoming and self._to_board is not None:
                    writing.append(self._to_board)
            try:
                readable, writable, _ = select.select(reading, writing, [], pause)
            except (OSError, ValueError):
                continue  # an end was closed meanwhile
            # Whoever holds the bench's lock may pull this cable: the two locks are always taken in this order.
            with self._fault_lock if self._faults is not None else contextlib.nullcontext(), self._guard:
                self._step(readable, writable)

    def _step(self, readable: list[int], writable: list[int]) -> None:
        if self._wake_read in readable:
            os.read(self._wake_read, 64)
        if self._listener is not None and self._listener.fileno() in readable:
            self._accept(self._listener)
            return
        if self._host in readable and self._host is not None:
            self._from_host(self._host)
        if self._from_board in readable and self._from_board is not None:
            with contextlib.suppress(OSError):
                data = os.read(self._from_board, PIECE)
                if data:
                    self._cut(data)
                else:
                    os.close(self._from_board)
                    self._from_board = None
        if self._host in writable and self._host is not None and self._outgoing:
            self._to_host(self._host)
        if self._to_board in writable and self._to_board is not None:
            try:
                self._incoming = self._incoming[os.write(self._to_board, self._incoming) :]
            except OSError:
                self._incoming = b""  # the firmware is down

    def _accept(self, listener: socket.socket) -> None:
        """A new client takes the place of the one before."""
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        if self._client is not None:
            self._client.close()
        self._client = client
        self._host = client.fileno()
        self._outgoing.clear()

    def _from_host(self, host: int) -> None:
        try:
            data = os.read(host, PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if self._client is not None:
                self._client.close()
                self._client = self._host = None
            return
        if self._faults is None or not self._faults.rules:
            self._to_firmware(self._request + data)
            self._request = b""
            return
        self._request += data
        while self._request:
            message, self._request = _first(self._request)
            if not message:
                return
            struck = self._struck(message, REQUEST_FAULTS)
            if "unplug" in struck:
                self._unplug()
                return
            self._to_firmware(_spoiled(message, struck) * (2 if "duplicate" in struck else 1))

    def _to_firmware(self, data: bytes) -> None:
        # With the board off, what is sent is lost.
        if self._to_board is not None and len(self._incoming) < LARGEST_BACKLOG:
            self._incoming += data

    def _cut(self, data: bytes) -> None:
        """Messages of what the board sends: from delimiter to delimiter, or a line."""
        if self._faults is None:
            self._queue(data)
            return
        self._partial += data
        while self._partial:
            message, self._partial = _first(self._partial)
            if not message:
                return
            self._spoil(message)

    def _struck(self, message: bytes, kinds: tuple[str, ...]) -> dict[str, float]:
        assert self._faults is not None  # asked only where there are faults
        rules = self._faults.strike(self._instrument, name_of(message).encode(), kinds, self._seconds())
        return {rule.kind: rule.value for rule in rules}

    def _spoil(self, message: bytes) -> None:
        """Send a message, with the faults that strike it; the value of a delay is its seconds."""
        struck = self._struck(message, FAULTS)
        middle = len(message) // 2
        if "unplug" in struck:
            self._unplug()
            return
        if "no_answer" in struck:
            return
        if "stale" in struck:
            # The answer before once more, in front of this one.
            self._queue(self._previous)
        drop = next((kind for kind in DROPS if kind in struck), None)
        if drop is not None and self._client is not None:
            self._drop(self._client, drop, message)
            return
        message_now = _spoiled(message, struck)
        if "banner" in struck:
            self._queue(b"Booting ...\r\n")
        if "no_terminator" in struck or "wrong_terminator" in struck:
            message_now = message_now[:-1] + (b"\n" if "wrong_terminator" in struck else b"")
        wait = struck.get("delay", 0.0)
        if "split" in struck:
            self._queue(message_now[:middle])
            self._queue(message_now[middle:], struck["split"] or 0.05)
        elif "trickle" in struck:
            for place, byte in enumerate(message_now):
                self._queue(bytes([byte]), place * (struck["trickle"] or 1e-4))
        else:
            self._queue(message_now, wait)
        if "duplicate" in struck:
            self._queue(message_now, wait)
        self._previous = message

    def _drop(self, client: socket.socket, kind: str, message: bytes) -> None:
        """Close the connection, in front of a message, within it, behind it, or by a reset."""
        part = {"drop_during": message[: len(message) // 2], "drop_after": message}.get(kind, b"")
        with contextlib.suppress(OSError):
            client.send(part)
        if kind == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        self._client = self._host = None
        self._outgoing.clear()

    def _queue(self, data: bytes, wait: float = 0.0) -> None:
        if data and self._host is not None and sum(len(item) for _, item in self._outgoing) < LARGEST_BACKLOG:
            due = time.monotonic() + wait if wait else 0.0
            self._outgoing.append((due, data))

    def _to_host(self, host: int) -> None:
        due, data = self._outgoing[0]
        try:
            sent = os.write(host, data[:PIECE])
        except BlockingIOError:
            return
        except OSError:
            self._outgoing.clear()
            return
        if sent < len(data):
            self._outgoing[0] = (due, data[sent:])
        else:
            self._outgoing.pop(0)
