"""What was said on the wires to instruments, kept until a run file takes it."""

import threading
import time
from typing import Any, Final, Literal, final

from substrate.services import WireLog

TEXT_BYTES: Final = 240
NAME_BYTES: Final = 48


@final
class HeardLog(WireLog):
    """Lines that nobody has taken yet. May be told by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: list[dict[str, Any]] = []

    def hear(self, instrument: str, direction: Literal[">", "<"], data: bytes) -> None:
        """Something was sent (>) or came in (<)."""
        text = data[:TEXT_BYTES].decode("latin-1").encode("unicode_escape")[:TEXT_BYTES].decode("ascii")
        line = {
            "seconds": time.time(),
            "instrument": instrument[:NAME_BYTES],
            "direction": direction,
            "bytes": len(data),
            "text": text,
        }
        with self._lock:
            self._lines.append(line)

    def take(self) -> list[dict[str, Any]]:
        """See ``WireLog``."""
        with self._lock:
            lines, self._lines = self._lines, []
        return lines
