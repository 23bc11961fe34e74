r"""Instruments on GPIB, behind a Prologix-style adapter on Ethernet (GPIB-ETHERNET user manual 1.6.6).

All instruments behind one adapter share its one connection, and its lock: a question to one and its answer stay
together. The adapter makes an instrument talk on ``++read eoi`` only, until the instrument asserts END. What an
instrument says after we gave up would come in between the answers of another one: the connection is then out of step
until the adapter has returned a new value of ``++read_tmo_ms``, and the instrument has been cleared (``++clr``).
"""

import contextlib
import re
import threading
import time
from typing import Final, final

from drivers.errors import BenchError, ConnectionLost, DeviceTimeout
from drivers.socket_link import SocketLink
from drivers.transport import Link, Transcript

SPECIAL: Final = re.compile(rb"[\r\n\x1b+]")
LONGEST_TALK_SECONDS = 3.0
"""The adapter gives up on an instrument after ``read_tmo_ms``, 3000 at most; it is then told to go on."""

FIRST_MS, LAST_MS = 2900, 2999
SPARE_SECONDS = 0.2

_adapters: dict[tuple[str, int], "_Adapter"] = {}
_adapters_lock = threading.Lock()


@final
class _Adapter:
    """The connection that the instruments behind an adapter share; it is open while any of them is."""

    def __init__(self, host: str, port: int, connect_seconds: float) -> None:
        self.socket = SocketLink(host, port, connect_seconds)
        self.users: set[int] = set()
        self.in_step = False
        self._number = FIRST_MS
        self._address: int | None = None

    def use(self, user: int) -> None:
        """Open it for one more."""
        with self.socket.lock:
            with contextlib.suppress(ConnectionLost):
                # Closes it where the adapter has gone away.
                self.socket.pending()
            if not self.socket.is_open:
                self.socket.open()
                self.in_step = False
            self.users.add(user)

    def leave(self, user: int) -> None:
        """The last one closes it."""
        with self.socket.lock:
            self.users.discard(user)
            if not self.users:
                self.socket.close()

    def address(self, address: int, deadline: float) -> None:
        """Turn to an instrument."""
        if not self.in_step:
            self.into_step(deadline)
        if self._address != address:
            self.tell(b"++addr %d" % address, deadline)
            self._address = address

    def into_step(self, deadline: float) -> None:
        """Set the adapter up, and throw away what comes before its answer to a question of our own."""
        if not self.socket.is_open:
            self.socket.open()
        self._address = None
        self._number = self._number + 1 if self._number < LAST_MS else FIRST_MS
        for command in (b"mode 1", b"auto 0", b"eoi 1", b"eos 3", b"eot_enable 0"):
            self.tell(b"++" + command, deadline)
        self.tell(b"++read_tmo_ms %d" % self._number, deadline)
        self.tell(b"++read_tmo_ms", deadline)
        found, mark = b"", b"%d\r\n" % self._number
        while not found.endswith((mark, mark.replace(b"\r", b""))):
            found = (found + self.socket.read(max(0.0, deadline - time.monotonic())))[-64:]
        self.in_step = True

    def tell(self, command: bytes, deadline: float) -> None:
        """A line for the adapter itself."""
        try:
            self.socket.write(command + b"\n", max(0.0, deadline - time.monotonic()))
        except BenchError:
            # Part of the line may have left: the next one would be taken for its rest.
            self.in_step = False
            self.socket.close()
            raise


@final
class PrologixLink(Link):
    """One instrument behind an adapter. Each ``write`` is one message on the bus.

    Args:
        host: of the adapter.
        port: of the adapter, 1234 on the real one.
        gpib_address: of the instrument, 0 to 30.
        connect_seconds: within which the adapter has to accept.
        transcript: hears what the instrument is told and says.
    """

    def __init__(
        self,
        host: str,
        port: int,
        gpib_address: int,
        connect_seconds: float = 2.0,
        transcript: Transcript | None = None,
    ) -> None:
        super().__init__(f"{host}:{port}, GPIB address {gpib_address}", transcript)
        with _adapters_lock:
            self._adapter = _adapters.setdefault((host, port), _Adapter(host, port, connect_seconds))
        self.lock = self._adapter.socket.lock
        self._gpib_address = gpib_address
        self._talk_again = 0.0
        self._asked = False

    def _connect(self) -> None:
        self._adapter.use(id(self))
        self._asked = False

    def _disconnect(self) -> None:
        self._adapter.leave(id(self))

    def _send(self, data: memoryview, deadline: float) -> int:
        adapter = self._adapter
        adapter.address(self._gpib_address, deadline)
        # Without its newline: END, with the last byte, ends a message on the bus.
        body = bytes(data).removesuffix(b"\n")
        adapter.tell(SPECIAL.sub(lambda found: b"\x1b" + found[0], body), deadline)
        self._asked = False
        return len(data)

    def _receive(self, into: memoryview, deadline: float) -> int:
        adapter = self._adapter
        adapter.address(self._gpib_address, deadline)
        while True:
            now = time.monotonic()
            if not self._asked or now >= self._talk_again:
                adapter.tell(b"++read eoi", deadline)
                self._asked = True
                self._talk_again = time.monotonic() + LONGEST_TALK_SECONDS + SPARE_SECONDS
            try:
                return adapter.socket.read_into(into, max(0.0, min(deadline, self._talk_again) - now))
            except DeviceTimeout:
                if time.monotonic() >= deadline:
                    # The instrument may talk yet, in the middle of what another one says.
                    adapter.in_step = False
                    return 0

    def _pending(self) -> bool:
        return self._adapter.socket.pending()

    def _clear(self, deadline: float) -> None:
        self._adapter.in_step = False
        self._asked = False
        self._adapter.address(self._gpib_address, deadline)
        self._adapter.tell(b"++clr", deadline)

    def _failures(self) -> tuple[type[Exception], ...]:
        # The adapter's connection has its errors translated already.
        return ()
