"""One connection for several drivers of one instrument: channels that have a driver each.

Many instruments accept one client at a time on their raw socket. All who share a connection share its lock, so that a
question and its answer stay together. What one of them gave up to wait for may come later, and would be taken for the
answer to another's question: the connection is then opened anew before another one uses it. Whoever closes it closes it
for all; the others open it again when they need it.
"""

import time
from typing import final

from drivers.errors import ConnectionLost, DeviceTimeout
from drivers.transport import Link, Transcript


@final
class SharedLink(Link):
    """One driver's way to an instrument over a connection that others use as well.

    Args:
        inner: the connection; the same object for all of them.
        waiting: who has given up to wait for an answer; the same list for all of them, empty to begin with.
        transcript: hears what this driver sends and receives.
    """

    def __init__(self, inner: Link, waiting: "list[SharedLink]", transcript: Transcript | None = None) -> None:
        super().__init__(inner.address, transcript)
        self.lock = inner.lock
        self._inner = inner
        self._waiting = waiting

    def _connect(self) -> None:
        self._part_from_others()
        if not self._inner.is_open:
            self._waiting.clear()
            self._inner.open()

    def _disconnect(self) -> None:
        self._inner.close()

    def _send(self, data: memoryview, deadline: float) -> int:
        self._inner.write(bytes(data), _left(deadline))
        return len(data)

    def _receive(self, into: memoryview, deadline: float) -> int:
        self._waiting.append(self)
        try:
            count = self._inner.read_into(into, _left(deadline))
        except DeviceTimeout:
            return 0
        self._waiting.clear()
        return count

    def _pending(self) -> bool:
        self._part_from_others()
        return self._inner.pending()

    def _clear(self, deadline: float) -> None:
        self._inner.clear(_left(deadline))

    def _failures(self) -> tuple[type[Exception], ...]:
        return (ConnectionLost,)

    def _part_from_others(self) -> None:
        """Close a connection on which an answer to another one may still come."""
        if any(one is not self for one in self._waiting):
            self._inner.close()
            self._waiting.clear()


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
