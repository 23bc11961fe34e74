"""Settings of instruments as declared properties: checked before they are sent, decoded when they are read.

A setting of an instrument, or of one of its channels, is a class attribute::

    frequency_hz = Number("SOUR{channel}:FREQ", unit="Hz", low=1e-6, high=20e6)

Reading it asks the instrument. Assigning to it checks the value, sends the command and looks into the error queue; a
value that does not fit is refused with an InputError before anything is sent.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar, final, overload

from substrate.errors import InputError

T = TypeVar("T")


class Owner(Protocol):
    """What has settings: an instrument or a part of one."""

    @property
    def names(self) -> Mapping[str, Any]:
        """What stands for the places in braces."""
        ...

    def ask(self, message: str, decode: Callable[[str], T]) -> T:
        """A decoded answer."""
        ...

    def configure(self, *commands: str) -> None:
        """Send commands and see that they were accepted."""
        ...


class Setting(ABC, Generic[T]):
    """One setting.

    Args:
        command: header, with ``{channel}`` and the like filled in from ``owner.names``; or a whole template, which has
            ``{value}`` in it.
        query: header of the question; by default the command's, with a question mark.
        unit: SI.
        read_only: it cannot be assigned to.
        doc: what it is.
    """

    def __init__(
        self, command: str, query: str | None = None, unit: str = "", read_only: bool = False, doc: str = ""
    ) -> None:
        self.command = command if "{value}" in command else command + " {value}"
        self.query = query or command.partition(" {value}")[0].removesuffix("{value}") + "?"
        self.unit = unit
        self.read_only = read_only
        self.name = ""
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @abstractmethod
    def encode(self, value: T) -> str:
        """The parameter for a value.

        Raises:
            InputError: it does not fit; names the setting and what was expected.
        """

    @abstractmethod
    def decode(self, answer: str) -> T:
        """The value of an answer; ValueError for one that makes no sense."""

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...

    @overload
    def __get__(self, owner: Owner, kind: type) -> T: ...

    @final
    def __get__(self, owner: Owner | None, kind: type) -> Self | T:
        if owner is None:
            return self
        return owner.ask(self.query.format(**owner.names), self.decode)

    @final
    def __set__(self, owner: Owner, value: T) -> None:
        owner.configure(self.assignment(owner, value))

    @final
    def assignment(self, owner: Owner, value: T) -> str:
        """The command that sets a value, to be sent with others.

        Raises:
            InputError: as ``encode``.
        """
        if self.read_only:
            raise InputError(f"{self.name}: can only be read")
        return self.command.format(value=self.encode(value), **owner.names)


@final
class Number(Setting[float]):
    """A number within limits.

    Args:
        command, query, unit, read_only, doc: of ``Setting``.
        low, high: smallest and largest value.
    """

    def __init__(
        self,
        command: str,
        query: str | None = None,
        unit: str = "",
        low: float = -math.inf,
        high: float = math.inf,
        read_only: bool = False,
        doc: str = "",
    ) -> None:
        super().__init__(command, query, unit, read_only, doc)
        self.low, self.high = low, high

    def encode(self, value: float) -> str:
        """Nine digits: more than any of the converters has."""
        if isinstance(value, bool) or not (math.isfinite(value) and self.low <= value <= self.high):
            unit = f" {self.unit}" if self.unit else ""
            raise InputError(f"{self.name}: expected {self.low:g} to {self.high:g}{unit}, got {value!r}")
        return f"{value:.9G}"

    def decode(self, answer: str) -> float:
        """As SCPI writes numbers; 9.9E37 is infinite, 9.91E37 not a number (SCPI 1999 volume 1, 7.2.1)."""
        return number(answer)


@final
class Integer(Setting[int]):
    """A whole number within limits."""

    def __init__(
        self, command: str, query: str | None = None, low: int = 0, high: int = 1 << 31, read_only: bool = False,
        doc: str = "",
    ) -> None:  # fmt: skip
        super().__init__(command, query, "", read_only, doc)
        self.low, self.high = low, high

    def encode(self, value: int) -> str:
        """Digits."""
        if isinstance(value, bool) or int(value) != value or not self.low <= value <= self.high:
            raise InputError(f"{self.name}: expected a whole number of {self.low} to {self.high}, got {value!r}")
        return str(int(value))

    def decode(self, answer: str) -> int:
        """Also where it is answered as ``+1.0E+01``."""
        return integer(answer)


@final
class Choice(Setting[str]):
    """One of several words.

    Args:
        command: of ``Setting``.
        values: the instrument's words by ours, both as sent and, in upper case, as answered in short or long form.
        query, read_only, doc: of ``Setting``.
    """

    def __init__(
        self, command: str, values: Mapping[str, str], query: str | None = None, read_only: bool = False, doc: str = ""
    ) -> None:
        super().__init__(command, query, "", read_only, doc)
        self.values = dict(values)

    def encode(self, value: str) -> str:
        """The instrument's word."""
        if value not in self.values:
            raise InputError(f"{self.name}: expected one of {', '.join(self.values)}, got {value!r}")
        return self.values[value]

    def decode(self, answer: str) -> str:
        """Ours, of an answer in the short or the long form."""
        given = answer.strip().strip('"').upper()
        for ours, word in self.values.items():
            if given == word.upper():
                return ours
        for ours, word in self.values.items():
            # Long forms are answered by some; ours are the short ones, of three letters at least.
            if len(word) >= 3 and given.startswith(word.upper()):
                return ours
        raise ValueError(f"expected one of {', '.join(self.values.values())}")


@final
class Switch(Setting[bool]):
    """On or off."""

    def encode(self, value: bool) -> str:
        """1 or 0."""
        if value not in (True, False):
            raise InputError(f"{self.name}: expected True or False, got {value!r}")
        return "1" if value else "0"

    def decode(self, answer: str) -> bool:
        """Of 1, 0, ON, OFF, or a number (TSP)."""
        word = answer.strip().upper()
        if word in ("ON", "OFF"):
            return word == "ON"
        return integer(word) != 0


@final
class Numbers(Setting[str]):
    """Several numbers that are set and answered together, as text with commas and no spaces."""

    def encode(self, value: str) -> str:
        """Nine digits each."""
        try:
            found = [float(one) for one in value.split(",")]
        except ValueError:
            found = []
        if not found or not all(math.isfinite(one) for one in found):
            raise InputError(f"{self.name}: expected numbers with commas, got {value!r}")
        return ",".join(f"{one:.9G}" for one in found)

    def decode(self, answer: str) -> str:
        """As they would be sent."""
        return ",".join(f"{number(one):.9G}" for one in answer.split(","))


@final
class Text(Setting[str]):
    """A string, in double quotes."""

    def encode(self, value: str) -> str:
        """With quotes."""
        if not (value.isascii() and value.isprintable()) or '"' in value:
            raise InputError(f"{self.name}: expected printable ASCII without double quotes, got {value!r}")
        return f'"{value}"'

    def decode(self, answer: str) -> str:
        """Without quotes."""
        return answer.strip().strip('"')


def number(answer: str) -> float:
    """A number as SCPI writes it; 9.9E37 is infinite, 9.91E37 not a number (SCPI 1999 volume 1, 7.2.1)."""
    value = float(answer)
    if abs(value) >= 9.9e37 and math.isfinite(value):
        return math.nan if abs(value) == 9.91e37 else math.copysign(math.inf, value)
    return value


def integer(answer: str) -> int:
    """A whole number, however it is written; ValueError for another one."""
    value = float(answer)
    if not value.is_integer():
        raise ValueError(f"expected a whole number, got {answer!r}")
    return int(value)


def settings_of(kind: type) -> dict[str, "Setting[Any]"]:
    """All settings of a class, those of its bases included, by name."""
    found: dict[str, Setting[Any]] = {}
    for one in reversed(kind.__mro__):
        found.update({name: item for name, item in vars(one).items() if isinstance(item, Setting)})
    return found


def one_of(*words: str) -> Callable[[str], str]:
    """Decodes an answer that is one of some words, in upper case; anything else raises ValueError."""

    def decode(answer: str) -> str:
        given = answer.strip().upper()
        if given not in words:
            raise ValueError(f"expected one of {', '.join(words)}, got {given[:80]!r}")
        return given

    return decode
