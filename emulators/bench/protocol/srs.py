"""The dialect of Stanford Research Systems' lock-ins: mnemonics of letters, arguments that may follow without a space.

``FREQ1.2e3``, ``HARM2``, ``Harm 2``, ``OUTP?1``, ``DDEF ? 1``, ``SNAP? 1,2`` (SR830 manual, 5-1; SR860 manual, p. 104).
Commands of a message are separated by semicolons, and each answer ends with a newline of its own.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

EXECUTION, COMMAND = 16, 32
"""Bits of the standard event status byte: a parameter out of range, and a command that is none."""

_UNIT = re.compile(r"\s*([*A-Za-z]+)\s*(\?)?\s*(.*?)\s*", re.DOTALL)


class SrsError(Exception):
    """``bit`` of the event status, and what was wrong."""

    def __init__(self, bit: int, text: str) -> None:
        super().__init__(bit, text)
        self.bit = bit


@final
@dataclass(frozen=True)
class SrsUnit:
    """One command: mnemonic in capitals, whether it asks, arguments as sent."""

    word: str
    query: bool
    arguments: tuple[str, ...]

    def number(self, index: int, low: float, high: float) -> float:
        """A number within limits.

        Raises:
            SrsError: none is there, it is no number, or out of range.
        """
        if index >= len(self.arguments):
            raise SrsError(COMMAND, f"{self.word}: an argument is missing")
        try:
            value = float(self.arguments[index])
        except ValueError:
            raise SrsError(COMMAND, f"{self.word}: {self.arguments[index][:20]!r} is no number") from None
        if not low <= value <= high:
            raise SrsError(EXECUTION, f"{self.word}: expected {low:g} to {high:g}, got {value:g}")
        return value

    def integer(self, index: int, low: int, high: int) -> int:
        """A whole number; fractions are rounded, as ``SRAT4.000000`` of some clients needs."""
        return round(self.number(index, low, high))

    def pick(self, index: int, words: Sequence[str]) -> int:
        """The place of a word, given as itself or as its number."""
        if index < len(self.arguments):
            given = self.arguments[index].upper()
            for place, word in enumerate(words):
                if given and given in (word.upper(), "".join(letter for letter in word if not letter.islower())):
                    return place
        return self.integer(index, 0, len(words) - 1)


@final
@dataclass(frozen=True)
class SrsCommand:
    """What a mnemonic does: carry out, answer, and how many arguments each takes at most."""

    write: Callable[[SrsUnit], None] | None = None
    query: Callable[[SrsUnit], str | bytes] | None = None
    most: int = 1
    most_asked: int = 0


def parse_srs(message: bytes) -> list[SrsUnit | SrsError]:
    """The commands of a message; an error in the place of each that cannot be read. Never raises."""
    out: list[SrsUnit | SrsError] = []
    for part in message.decode("latin-1").split(";"):
        if not part.strip(" \t\r\n\x00"):
            continue
        match = _UNIT.fullmatch(part)
        if match is None:
            out.append(SrsError(COMMAND, part[:40]))
            continue
        word, asks, rest = match.groups()
        arguments = tuple(piece.strip() for piece in rest.split(",")) if rest else ()
        out.append(SrsUnit(word.upper(), asks is not None, arguments))
    return out
