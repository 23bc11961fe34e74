"""Instruments on a TCP socket.

PyVISA's pure-Python backend is not used for these, though it can reach them: its sessions on sockets cannot keep a
deadline. Writing waits for ever for a peer that does not read, opening a closed port succeeds, and a connection that
the other side has closed is read from in a busy loop until the timeout (pyvisa-py 0.8.1, ``TCPIPSocketSession``).
"""

import contextlib
import math
import socket
import time
from typing import final

from drivers.transport import Link, Transcript

LARGEST_PIECE = 1 << 20
"""Bytes that are handed to the system at a time."""

LONGEST_SECONDS = 1.0e6


@final
class SocketLink(Link):
    """A TCP connection.

    Args:
        host: name or address.
        port: of the instrument, 5025 for most.
        connect_seconds: within which the other side has to accept.
        transcript: hears everything.
    """

    def __init__(
        self, host: str, port: int, connect_seconds: float = 2.0, transcript: Transcript | None = None
    ) -> None:
        super().__init__(f"{host}:{port}", transcript)
        self._place = (host, port)
        self._connect_seconds = connect_seconds
        self._sock: socket.socket | None = None

    def _connect(self) -> None:
        sock = socket.create_connection(self._place, self._connect_seconds)
        # A question is one small packet; it must not wait for the acknowledgement of the one before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._sock = sock

    def _disconnect(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def _send(self, data: memoryview, deadline: float) -> int:
        sock = self._within(deadline)
        with contextlib.suppress(TimeoutError):
            return sock.send(data[:LARGEST_PIECE])
        return 0

    def _receive(self, into: memoryview, deadline: float) -> int:
        sock = self._within(deadline)
        try:
            count = sock.recv_into(into)
        except TimeoutError:
            return 0
        if not count:
            raise ConnectionResetError("closed by the other side")
        return count

    def _pending(self) -> bool:
        sock = self._within(math.inf)
        # Any timeout but 0 would be rounded up to a millisecond.
        sock.settimeout(0.0)
        try:
            found = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        if not found:
            raise ConnectionResetError("closed by the other side")
        return True

    def _clear(self, deadline: float) -> None:
        """A socket has no such means."""

    def _failures(self) -> tuple[type[Exception], ...]:
        return (OSError,)

    def _within(self, deadline: float) -> socket.socket:
        """The socket, to wait until a deadline at most."""
        sock = self._sock
        if sock is None:
            raise ConnectionResetError("closed")
        # 0 would mean not to wait at all, and raise another error.
        sock.settimeout(max(1e-6, min(deadline - time.monotonic(), LONGEST_SECONDS)))
        return sock
