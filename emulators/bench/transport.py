"""Serving instruments: TCP sockets and pseudo-terminals, all from one thread.

One thread serves everybody: messages are executed one after another under the bench's lock anyway, and what is opened
has one owner that closes it. Answers that a fault delays wait in a list of timers; nothing here ever sleeps.
"""

import contextlib
import heapq
import itertools
import logging
import os
import selectors
import socket
import struct
import termios
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from emulators.bench.clock import SimulatedClock
from emulators.bench.conversation import Conversation, InstrumentConversation
from emulators.bench.faults import Faults, Rule
from emulators.bench.instruments.base import Instrument
from emulators.bench.mishaps import Reply, joined, spoil
from emulators.bench.protocol.framing import TooLong
from substrate.errors import InputError

log = logging.getLogger(__name__)

RECEIVED = 1 << 18
"""Bytes read at a time."""

SEND_BUFFER = 1 << 22
"""Bytes that the system is asked to hold of an answer, so that long records need few turns of the loop."""

LARGEST_BACKLOG = 1 << 28
"""Bytes that a client may leave unread before it is cut off."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")

StartConversation = Callable[[], Conversation]


@final
@dataclass(eq=False)
class _Stream:
    """One connection, or the server's end of a pseudo-terminal."""

    fd: int
    conversation: Conversation
    sock: socket.socket | None = None
    terminal: "_Terminal | None" = None
    backlog: bytes = b""
    sent: int = 0
    waiting: bool = False
    late: bytes = b""
    turns: int = 0
    due: float = 0.0
    deaf_until: float = 0.0
    closing: bool = False
    open: bool = True


@final
@dataclass(eq=False)
class _Listener:
    sock: socket.socket
    start: StartConversation
    name: str


@final
@dataclass(eq=False)
class _Terminal:
    """A pseudo-terminal whose slave end is kept open, so that clients may come and go."""

    slave: int
    path: Path
    start: StartConversation


@final
class Hub:
    """All servers of a bench.

    Args:
        lock: the bench's.
        clock: the bench's.
        faults: transport faults strike here.
        allow_remote_clients: whether addresses other than this machine's own may be bound.
    """

    def __init__(
        self, lock: threading.RLock, clock: SimulatedClock, faults: Faults, allow_remote_clients: bool = False
    ) -> None:
        self._lock = lock
        self._clock = clock
        self._faults = faults
        self._remote = allow_remote_clients
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._listeners: list[_Listener] = []
        self._terminals: list[_Terminal] = []
        self._streams: list[_Stream] = []
        self._stopping = False
        self._thread: threading.Thread | None = None

    # Building, before the thread runs.

    def serve_tcp(self, name: str, start: StartConversation, host: str = "127.0.0.1", port: int = 0) -> tuple[str, int]:
        """Listen; the address, with the port that the system chose for port 0.

        Raises:
            InputError: an address beyond this machine that was not allowed in so many words, or one in use.
        """
        if host not in LOOPBACK and not self._remote:
            raise InputError(
                f"instruments.{name}.host: {host} can be reached from other machines; "
                "allow_remote_clients: true says that this is meant"
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(16)
            sock.setblocking(False)
        except (OSError, OverflowError) as error:
            sock.close()
            raise InputError(f"instruments.{name}.port: cannot listen on {host}:{port}: {error}") from error
        listener = _Listener(sock, start, name)
        self._listeners.append(listener)
        self._selector.register(sock, selectors.EVENT_READ, listener)
        return str(sock.getsockname()[0]), int(sock.getsockname()[1])

    def serve_pty(self, start: StartConversation, link: Path) -> Path:
        """Open a pseudo-terminal behind a symbolic link, which stays the same when the device comes back."""
        self._open_terminal(start, link)
        return link

    def start(self) -> None:
        """Serve."""
        self._thread = threading.Thread(target=self._run, name="bench", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and close everything; more than once is no harm."""
        self._stopping = True
        if self._thread is not None:
            self._wake()
            self._thread.join()
            self._thread = None
        for stream in list(self._streams):
            self._drop(stream)
        for listener in self._listeners:
            listener.sock.close()
        self._listeners.clear()
        self._terminals.clear()
        if self._wake_in.fileno() >= 0:
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()

    # The thread.

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_out.send(b"\0")

    def _run(self) -> None:
        while not self._stopping:
            wait = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, events in self._selector.select(wait):
                item = key.data
                if item is None:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_in.recv(4096)
                elif isinstance(item, _Listener):
                    self._accept(item)
                elif isinstance(item, _Stream) and item.open:
                    if events & selectors.EVENT_WRITE:
                        self._flush(item)
                    if events & selectors.EVENT_READ and item.open:
                        self._receive(item)
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()

    def _at(self, moment: float, action: Callable[[], None]) -> None:
        """Act at a moment of the monotonic clock; what is due at the same moment keeps the order in which it came."""
        heapq.heappush(self._timers, (moment, next(self._count), action))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._at(time.monotonic() + seconds, action)

    def _accept(self, listener: _Listener) -> None:
        try:
            sock, _ = listener.sock.accept()
        except OSError:
            return  # the client went away again
        conversation = listener.start()
        with self._lock:
            refused = self._faults.strike(listener.name, b"", _kinds(conversation, "refuse"), self._clock.seconds)
        if refused:
            _reset(sock)
            return
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        stream = _Stream(sock.fileno(), conversation, sock)
        self._streams.append(stream)
        self._selector.register(sock, selectors.EVENT_READ, stream)

    def _receive(self, stream: _Stream) -> None:
        try:
            data = os.read(stream.fd, RECEIVED)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(stream)
            return
        try:
            messages = stream.conversation.messages(data)
        except TooLong:
            log.warning("a message beyond the limits: connection closed")
            self._drop(stream, abort=True)
            return
        for message in messages:
            if not stream.open or stream.closing:
                return
            self._exchange(stream, message)

    def _exchange(self, stream: _Stream, message: bytes) -> None:
        target = stream.conversation.target(message)
        name = target.name if target is not None else ""
        with self._lock:
            self._clock.catch_up()
            kinds = _kinds(stream.conversation, *TRANSPORT_OF_MESSAGES)
            rules = self._faults.strike(name, message, kinds, self._clock.seconds)
            if any(rule.kind == "drop_before" for rule in rules):
                self._drop(stream)
                return
            known = len(self._faults.happened)
            answer = stream.conversation.answer(message)
            restarted = any(one.kind == "power_cycle" for one in self._faults.happened[known:])
        if restarted and isinstance(stream.conversation, InstrumentConversation) and stream.sock is not None:
            # Its network interface has gone down with it; behind an adapter, or on a line, nobody sees that.
            for other in [one for one in self._streams if _serves(one, target)]:
                self._drop(other, abort=True)
            return
        if not rules:
            late, stream.late = stream.late, b""
            self._send_in_turn(stream, late + answer)
            return
        self._mishap(stream, answer, rules)

    def _mishap(self, stream: _Stream, answer: bytes, rules: list[Rule]) -> None:
        reply = spoil(Reply(stream.late, answer), rules)
        stream.late = reply.late
        for wait, data in joined(reply.pieces):
            self._send_in_turn(stream, data, wait)
        if reply.deaf_seconds:
            self._deafen(stream, reply.deaf_seconds)
        last = stream.due if stream.turns else time.monotonic()
        if reply.end == "unplug" and stream.terminal is not None:
            self._at(last, lambda: self._unplug(stream, reply.gone_seconds))
        elif reply.end:
            self._at(last, lambda: self._drop(stream, abort=reply.end == "abort"))

    def _send_in_turn(self, stream: _Stream, data: bytes, wait: float = 0.0) -> None:
        """Send after a pause; a stream keeps its order, whatever is held back."""
        if not wait and not stream.turns:
            self._send(stream, data)
            return
        stream.due = max(stream.due, time.monotonic()) + wait
        stream.turns += 1

        def send() -> None:
            stream.turns -= 1
            self._send(stream, data)

        self._at(stream.due, send)

    def _deafen(self, stream: _Stream, seconds: float) -> None:
        stream.deaf_until = time.monotonic() + seconds
        self._watch(stream)
        self._later(seconds, lambda: self._watch(stream))

    def _watch(self, stream: _Stream) -> None:
        if not stream.open:
            return
        reading = 0 if stream.deaf_until > time.monotonic() else selectors.EVENT_READ
        events = reading | (selectors.EVENT_WRITE if stream.backlog else 0)
        try:
            key = self._selector.get_key(stream.fd)
        except KeyError:
            if events:
                self._selector.register(stream.fd, events, stream)
            return
        if not events:
            self._selector.unregister(stream.fd)
        elif key.events != events:
            self._selector.modify(stream.fd, events, stream)

    def _send(self, stream: _Stream, data: bytes) -> None:
        if not data or not stream.open:
            return
        stream.backlog = stream.backlog[stream.sent :] + data if stream.backlog else data
        stream.sent = 0
        if len(stream.backlog) > LARGEST_BACKLOG:
            log.warning("a client does not read its answers: connection closed")
            self._drop(stream, abort=True)
            return
        self._flush(stream)

    def _flush(self, stream: _Stream) -> None:
        waited = stream.sent > 0 or stream.waiting
        backlog = memoryview(stream.backlog)
        try:
            while stream.sent < len(backlog):
                stream.sent += os.write(stream.fd, backlog[stream.sent :])
        except BlockingIOError:
            pass
        except OSError:
            self._drop(stream)
            return
        done = stream.sent == len(backlog)
        if done:
            stream.backlog, stream.sent = b"", 0
        stream.waiting = not done
        if waited or not done:
            self._watch(stream)

    def _drop(self, stream: _Stream, abort: bool = False) -> None:
        if not stream.open:
            return
        if stream.terminal is not None and not self._stopping:
            stream.backlog = b""  # a line can't be hung up from this end: the client just hears nothing more
            return
        stream.open = False
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(stream.fd)
        self._streams.remove(stream)
        if stream.sock is not None:
            if abort:
                _reset(stream.sock)
            stream.sock.close()
        else:
            os.close(stream.fd)
        if stream.terminal is not None:
            os.close(stream.terminal.slave)
            with contextlib.suppress(OSError):
                stream.terminal.path.unlink()

    # Pseudo-terminals.

    def _open_terminal(self, start: StartConversation, link: Path) -> None:
        master, slave = os.openpty()
        tty.setraw(slave, termios.TCSANOW)
        os.set_blocking(master, False)
        temporary = link.with_name(link.name + ".new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.ttyname(slave))
        temporary.replace(link)
        terminal = _Terminal(slave, link, start)
        self._terminals.append(terminal)
        stream = _Stream(master, start(), terminal=terminal)
        self._streams.append(stream)
        self._selector.register(master, selectors.EVENT_READ, stream)

    def _unplug(self, stream: _Stream, gone_seconds: float) -> None:
        """The device vanishes from the bus, and is found again, perhaps under another name behind the same link."""
        terminal = stream.terminal
        if terminal is None or not stream.open:
            return
        self._terminals.remove(terminal)
        stream.terminal = None
        self._drop(stream)
        os.close(terminal.slave)
        with contextlib.suppress(OSError):
            terminal.path.unlink()
        self._later(gone_seconds, lambda: self._open_terminal(terminal.start, terminal.path))


def _kinds(conversation: Conversation, *kinds: str) -> tuple[str, ...]:
    """Of faults, those that may strike it."""
    return () if conversation.spared else kinds


def _serves(stream: _Stream, target: Instrument | None) -> bool:
    """Whether a connection is one of an instrument itself."""
    conversation = stream.conversation
    return isinstance(conversation, InstrumentConversation) and conversation.target(b"") is target


def _reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


TRANSPORT_OF_MESSAGES = (
    "no_answer", "delay", "stale", "split", "trickle", "drop_before", "drop_during", "drop_after", "reset",
    "back_pressure", "wrong_terminator", "no_terminator", "banner", "duplicate", "truncate", "garbage", "unplug",
)  # fmt: skip
"""Transport faults that strike a message; ``refuse`` strikes a connection."""
