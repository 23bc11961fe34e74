"""Instruments that VISA reaches: USB, VXI-11, HiSLIP, GPIB cards, by any backend of PyVISA.

Sockets, serial lines and GPIB adapters on Ethernet have links of our own, which keep their deadlines; see
``socket_link.py`` for why.
"""

import time
from typing import Any, final

from drivers.transport import Link, Transcript


@final
class VisaLink(Link):
    """A VISA session.

    The library's timeout is set anew before each call to what is left of the deadline. Where a message ends without a
    newline, one is added, so that the end of a message is the same as on a socket.

    Args:
        resource: VISA resource string.
        library: of PyVISA: ``@py`` (pyvisa-py), ``@ivi`` or the path of a VISA library.
        connect_seconds: within which the session has to open.
        transcript: hears everything.
    """

    def __init__(
        self, resource: str, library: str = "@py", connect_seconds: float = 2.0, transcript: Transcript | None = None
    ) -> None:
        super().__init__(resource, transcript)
        self._library_name = library
        self._connect_seconds = connect_seconds
        self._resource: Any = None
        self._held = b""

    def _connect(self) -> None:
        # Imported on first use: PyVISA takes half a second to load.
        import pyvisa

        self._held = b""
        try:
            self._resource = pyvisa.ResourceManager(self._library_name).open_resource(
                self.address, open_timeout=round(1e3 * self._connect_seconds), read_termination="\n"
            )
        except Exception as error:
            # pyvisa-py raises bare Exceptions when it cannot open a session.
            raise ConnectionError(str(error)) from error

    def _disconnect(self) -> None:
        # The manager stays: it is shared by all sessions of its library, and closing it would close theirs.
        resource, self._resource = self._resource, None
        if resource is not None:
            resource.close()

    def _send(self, data: memoryview, deadline: float) -> int:
        import pyvisa

        self._limit(deadline)
        try:
            # The whole message at once: VISA puts END after each write.
            return int(self._resource.write_raw(bytes(data)))
        except pyvisa.errors.VisaIOError as error:
            if error.error_code == pyvisa.constants.StatusCode.error_timeout:
                return 0
            raise

    def _receive(self, into: memoryview, deadline: float) -> int:
        if not self._held:
            self._held = self._message_part(len(into), deadline)
        count = min(len(self._held), len(into))
        into[:count] = self._held[:count]
        self._held = self._held[count:]
        return count

    def _message_part(self, count: int, deadline: float) -> bytes:
        """Some of a message; empty after a timeout."""
        import pyvisa

        self._limit(deadline)
        codes = pyvisa.constants.StatusCode
        library, session = self._resource.visalib, self._resource.session
        try:
            data, status = library.read(session, count)
        except pyvisa.errors.VisaIOError as error:
            if error.error_code == codes.error_timeout:
                return b""
            raise
        ended = status == codes.success and bytes(data[-1:]) != b"\n"
        return bytes(data) + (b"\n" if ended else b"")

    def _pending(self) -> bool:
        return bool(self._held)

    def _clear(self, deadline: float) -> None:
        self._limit(deadline)
        self._held = b""
        self._resource.clear()

    def _failures(self) -> tuple[type[Exception], ...]:
        import pyvisa

        # pyvisa-py lets errors of the layers below through: of sockets, of RPC (EOFError), of sessions that are gone.
        return (pyvisa.errors.Error, OSError, EOFError, ValueError, AttributeError)

    def _limit(self, deadline: float) -> None:
        self._resource.timeout = max(1, round(1e3 * (deadline - time.monotonic())))
