"""Cutting a stream of bytes into messages."""

from abc import ABC, abstractmethod
from typing import final

LONGEST_LINE = 1 << 20
"""Bytes of a line, without its blocks."""

LONGEST_BLOCK = 1 << 26
"""Bytes of a definite-length block."""


class TooLong(Exception):
    """A message beyond what is accepted: the connection is to be closed."""


class Framer(ABC):
    """Collects what arrives on one connection."""

    @abstractmethod
    def feed(self, data: bytes) -> list[bytes]:
        """Messages that are complete now, without terminators.

        Raises:
            TooLong: a message beyond the limits.
        """


@final
class LineFramer(Framer):
    r"""Lines ended by ``\n``, a ``\r`` before it dropped; nothing else is looked at. ``end``: another terminator."""

    def __init__(self, end: bytes = b"\n", longest: int = LONGEST_LINE) -> None:
        self._end = end
        self._longest = longest
        self._held = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Complete lines."""
        *lines, self._held = (self._held + data).split(self._end)
        if max(map(len, [*lines, self._held])) > self._longest:
            raise TooLong
        return [line.removesuffix(b"\r") for line in lines]


@final
class ScpiFramer(Framer):
    r"""Lines ended by ``\n``, whose IEEE 488.2 definite-length blocks (``#`` n length bytes) may hold any byte.

    A block starts at a ``#`` that begins a parameter (a space, tab or comma before it) outside of quotes. ``#0`` ends
    with the line.
    """

    def __init__(self, longest: int = LONGEST_LINE, longest_block: int = LONGEST_BLOCK) -> None:
        self._held = bytearray()
        self._longest, self._longest_block = longest, longest_block
        self._restart()

    def feed(self, data: bytes) -> list[bytes]:
        """Complete messages."""
        # Almost every message is one whole line without blocks or quotes.
        if not self._held and data.endswith(b"\n") and b"#" not in data and len(data) <= self._longest:
            return [line.removesuffix(b"\r") for line in data[:-1].split(b"\n")]
        self._held += data
        messages = []
        while (end := self._end()) is not None:
            messages.append(bytes(self._held[:end]).removesuffix(b"\r"))
            del self._held[: end + 1]
            self._restart()
        if self._at - self._in_blocks > self._longest:
            raise TooLong
        return messages

    def _restart(self) -> None:
        self._at = 0  # everything before was looked at
        self._needed = 0  # bytes, before a block that has begun is whole
        self._in_blocks = 0
        self._quote = 0

    def _end(self) -> int | None:
        held = self._held
        if len(held) < self._needed:
            return None
        while self._at < len(held):
            # Without quotes and blocks, the next newline ends the message.
            stop = held.find(b"\n", self._at)
            span = held[self._at : len(held) if stop < 0 else stop]
            if b"#" not in span:
                # Quotes never hide a newline: an unterminated string ends with its line.
                self._quote = 0 if stop >= 0 else self._quote_after(span)
                self._at = len(held) if stop < 0 else stop
                return None if stop < 0 else stop
            here = self._at + span.index(b"#")
            self._quote = self._quote_after(held[self._at : here])
            self._at = here
            length = self._block_length(here)
            if length is None:
                return None  # its header has not arrived yet
            if self._at - self._in_blocks > self._longest:
                raise TooLong
            if length and here + length > len(held):
                if length > self._longest_block + 11:
                    raise TooLong
                self._needed = here + length
                return None
            self._at += length or 1
            self._in_blocks += length
        return None

    def _quote_after(self, span: bytes | bytearray) -> int:
        quote = self._quote
        if b'"' in span or b"'" in span:
            for byte in span:
                if quote:
                    quote = 0 if byte == quote else quote
                elif byte in (34, 39):
                    quote = byte
        return quote

    def _block_length(self, here: int) -> int | None:
        """Bytes of the block that starts here, header included; 0: it is none; None: too early to tell."""
        held = self._held
        if self._quote or here == 0 or held[here - 1] not in b" \t,":
            return 0
        if here + 1 >= len(held):
            return None
        digits = held[here + 1] - 48
        if not 1 <= digits <= 9:
            return 0
        field = held[here + 2 : here + 2 + digits]
        if not all(48 <= byte <= 57 for byte in field):
            return 0
        if len(field) < digits:
            return None
        return 2 + digits + int(field)
