"""SCPI: program messages to units, headers to commands, parameters to values, and the error queue.

SCPI 1999 volume 1 (syntax and style) and IEEE 488.2. A header pattern is written as in manuals,
``[SOURce#2]:VOLTage[:LEVel][:IMMediate]``: capitals are the short form, brackets optional nodes, ``#2`` a numeric
suffix from 1 to 2 (default 1; a bare ``#`` up to 99). A pattern may list alternatives separated by spaces.
"""

import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

from substrate.errors import InputError

Answer = str | bytes
Parameter = str | bytes
"""As it was sent; a block's bytes without its header."""

QUEUE_LENGTH = 20
CACHED_HEADERS = 4096

TEXTS = {
    0: "No error",
    -100: "Command error",
    -101: "Invalid character",
    -102: "Syntax error",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -120: "Numeric data error",
    -131: "Invalid suffix",
    -138: "Suffix not allowed",
    -141: "Invalid character data",
    -151: "Invalid string data",
    -161: "Invalid block data",
    -171: "Invalid expression",
    -200: "Execution error",
    -211: "Trigger ignored",
    -213: "Init ignored",
    -221: "Settings conflict",
    -222: "Data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -310: "System error",
    -350: "Queue overflow",
    -410: "Query INTERRUPTED",
    -420: "Query UNTERMINATED",
}
"""SCPI 1999 volume 2, 21.8."""


class ScpiError(Exception):
    """What goes into the error queue: the code, and what the text is followed by."""

    def __init__(self, code: int, detail: str = "", text: str | None = None) -> None:
        super().__init__(code, detail)
        self.code = code
        shown = TEXTS.get(code, "Device-specific error") if text is None else text
        self.text = f"{shown}; {detail}" if detail else shown


@final
class ErrorQueue:
    """First in, first out, 20 deep; when full the last entry becomes -350 (SCPI 1999 volume 2, 21.8.1)."""

    def __init__(self, length: int = QUEUE_LENGTH) -> None:
        self._entries: deque[tuple[int, str]] = deque()
        self._length = length

    def push(self, code: int, text: str) -> None:
        """Add an entry; quotes and control characters in the text would break the answer, and are replaced."""
        if len(self._entries) >= self._length:
            self._entries[-1] = (-350, TEXTS[-350])
            return
        clean = "".join(letter if " " <= letter <= "~" and letter != '"' else "?" for letter in text[:200])
        self._entries.append((code, clean))

    def pop(self) -> tuple[int, str]:
        """The oldest entry, or (0, No error)."""
        return self._entries.popleft() if self._entries else (0, TEXTS[0])

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


@final
@dataclass(frozen=True)
class Unit:
    """One message unit: header as sent, whether it asks, parameters."""

    header: str
    query: bool
    parameters: tuple[Parameter, ...] = ()


_HEADER = re.compile(r"([:*]*[A-Za-z][A-Za-z0-9_:*]*)[ \t]*(\?)?(.*)", re.DOTALL)


def parse_message(message: bytes) -> list[Unit | ScpiError]:
    """The units of a message, an error in the place of each that cannot be read. Never raises."""
    text = message.decode("latin-1")
    out: list[Unit | ScpiError] = []
    for part in _cut(text, ";"):
        part = part.strip(" \t\r\n\x00")
        if not part:
            continue
        match = _HEADER.fullmatch(part)
        if match is None:
            out.append(ScpiError(-102, part[:40]))
            continue
        header, asks, rest = match.groups()
        try:
            out.append(Unit(header, asks is not None, parse_parameters(rest)))
        except ScpiError as error:
            out.append(error)
    return out


def parse_parameters(text: str) -> tuple[Parameter, ...]:
    """Parameters between commas.

    Raises:
        ScpiError: an empty parameter, a block that is shorter than its header says.
    """
    text = text.strip(" \t\r\n\x00") if "#" not in text else text.lstrip(" \t")
    if not text:
        return ()
    if "," not in text and "#" not in text:
        return (text,)
    return tuple(_parameter(part) for part in _cut(text, ","))


def _parameter(text: str) -> Parameter:
    text = text.lstrip(" \t\r\n\x00")
    if not text.strip():
        raise ScpiError(-109)
    if text[0] != "#" or text[1:2].upper() in ("H", "Q", "B"):
        return text.rstrip(" \t\r\n\x00")
    digits = text[1:2]
    if digits == "0":
        return text[2:].encode("latin-1")
    length = text[2 : 2 + int(digits)] if digits.isascii() and digits.isdigit() else ""
    if not (length.isascii() and length.isdigit() and len(length) == int(digits)):
        raise ScpiError(-161, text[:12])
    body = text[2 + len(length) :]
    if len(body) < int(length) or body[int(length) :].strip():
        raise ScpiError(-161, f"expected {int(length)} bytes, got {len(body)}")
    return body[: int(length)].encode("latin-1")


def _cut(text: str, mark: str) -> list[str]:
    """Cut at ``mark`` outside of quotes, parentheses and blocks."""
    if "#" not in text and '"' not in text and "'" not in text and "(" not in text:
        return text.split(mark)
    parts, start, at, quote, depth, size = [], 0, 0, "", 0, len(text)
    while at < size:
        letter = text[at]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "(":
            depth += 1
        elif letter == ")":
            depth = max(0, depth - 1)
        elif letter == "#" and (at == 0 or text[at - 1] in " \t,"):
            match = _BLOCK.match(text, at)
            if match is not None and match[1] == "0":
                break
            if match is not None:
                width = int(match[1])
                length = text[at + 2 : at + 2 + width]
                if len(length) == width and length.isascii() and length.isdigit():
                    at += 1 + width + int(length)
        elif letter == mark and not depth:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    parts.append(text[start:])
    return parts


_BLOCK = re.compile(r"#([0-9])")
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:\s*[eE]\s*[+-]?\d+)?)\s*([A-Za-z%]*)", re.ASCII)
_RADIX = {"H": 16, "Q": 8, "B": 2}
_PREFIXES = {"EX": 1e18, "PE": 1e15, "T": 1e12, "G": 1e9, "MA": 1e6, "K": 1e3, "M": 1e-3, "U": 1e-6, "N": 1e-9}
_PREFIXES |= {"P": 1e-12, "F": 1e-15, "A": 1e-18, "": 1.0}
NAN, OVERFLOW = 9.91e37, 9.9e37
"""SCPI 1999 volume 1, 7.2.1."""


def parse_number(text: str, unit: str = "") -> float:
    """A decimal number with an optional unit and prefix, ``#H`` ``#Q`` ``#B`` integers, INF, NINF, NAN.

    Raises:
        ScpiError: -104 for what is no number, -131 for a wrong unit, -138 for one where none belongs.
    """
    upper = text.strip().upper()
    named = {"INF": math.inf, "INFINITY": math.inf, "NINF": -math.inf, "NINFINITY": -math.inf, "NAN": math.nan}
    if upper in named:
        return named[upper]
    if upper[:1] == "#" and upper[1:2] in _RADIX:
        try:
            return float(int(upper[2:], _RADIX[upper[1]]))
        except (ValueError, OverflowError):
            raise ScpiError(-120, text[:20]) from None
    match = _NUMBER.fullmatch(upper)
    if match is None:
        raise ScpiError(-104, text[:20])
    value = float(re.sub(r"\s", "", match[1]))
    if not match[2]:
        return value
    if not unit:
        raise ScpiError(-138, text[:20])
    if not match[2].endswith(unit.upper()):
        raise ScpiError(-131, text[:20])
    prefix = match[2].removesuffix(unit.upper())
    # SCPI 1999 volume 1, 7.8: M is mega in MHZ and MOHM.
    if prefix == "M" and unit.upper() in ("HZ", "OHM"):
        prefix = "MA"
    if prefix not in _PREFIXES:
        raise ScpiError(-131, text[:20])
    return value * _PREFIXES[prefix]


def parse_text(text: str) -> str:
    """A string between quotes, doubled quotes undone; a bare word stays as it is.

    Raises:
        ScpiError: -151 for a quote that is not closed.
    """
    if text[:1] not in ("'", '"'):
        return text
    quote = text[0]
    if len(text) < 2 or text[-1] != quote or text[1:-1].replace(quote * 2, "").count(quote):
        raise ScpiError(-151, text[:20])
    return text[1:-1].replace(quote * 2, quote)


MOST_CHANNELS = 4096


def parse_channels(text: str) -> list[int]:
    """A channel list ``(@101,103:105)``, with or without its parentheses and ``@``; ranges may fall.

    Raises:
        ScpiError: -171, -223.
    """
    match = re.fullmatch(r"\(?\s*@?\s*([0-9:,\s]*)\)?", text.strip(), re.ASCII)
    if match is None:
        raise ScpiError(-171, text[:20])
    out: list[int] = []
    if not match[1].strip():
        return out
    for part in match[1].split(","):
        ends = [end.strip() for end in part.split(":")]
        if len(ends) > 2 or not all(1 <= len(end) <= 9 and end.isdigit() for end in ends):
            raise ScpiError(-171, text[:20])
        first, last = int(ends[0]), int(ends[-1])
        if len(out) + abs(last - first) >= MOST_CHANNELS:
            raise ScpiError(-223, text[:20])
        step = 1 if last >= first else -1
        out.extend(range(first, last + step, step))
    return out


def matches(given: str, word: str) -> bool:
    """Whether ``given`` is the short or long form of ``word``, as ``SINusoid``, whatever its case."""
    upper = given.upper()
    return upper == word.upper() or upper == short_form(word)


def short_form(word: str) -> str:
    """The capitals and digits of a mnemonic, ``SIN`` of ``SINusoid``."""
    return "".join(letter for letter in word if not letter.islower())


def block(data: bytes, digits: int | None = None) -> bytes:
    """A definite-length block; ``digits`` of the length field, as few as possible if left out.

    Raises:
        InputError: too long for the field.
    """
    length = str(len(data)) if digits is None else f"{len(data):0{digits}d}"
    if not 1 <= len(length) <= 9 or (digits is not None and len(length) > digits):
        raise InputError(f"block: {len(data)} bytes do not fit a length of {digits or 9} digits")
    return b"#%d%s" % (len(length), length.encode()) + data


@final
@dataclass
class Request:
    """A command as it was given: numeric suffixes of its header, in order, and its parameters."""

    header: str
    suffixes: tuple[int, ...]
    parameters: tuple[Parameter, ...]

    def given(self, index: int) -> bool:
        """Whether there is a parameter at this place."""
        return index < len(self.parameters)

    def raw(self, index: int) -> str:
        """A parameter as text.

        Raises:
            ScpiError: -109 without it, -104 for a block.
        """
        if not self.given(index):
            raise ScpiError(-109, self.header)
        value = self.parameters[index]
        if isinstance(value, bytes):
            raise ScpiError(-104, self.header)
        return value

    def number(
        self,
        index: int = 0,
        low: float = -math.inf,
        high: float = math.inf,
        default: float | None = None,
        unit: str = "",
    ) -> float:
        """A number within limits; MIN, MAX and DEF name them.

        Raises:
            ScpiError: -104, -109, -222 out of range.
        """
        text = self.raw(index)
        word = text.upper()
        if word in ("MIN", "MINIMUM") and math.isfinite(low):
            return low
        if word in ("MAX", "MAXIMUM") and math.isfinite(high):
            return high
        if word in ("DEF", "DEFAULT") and default is not None:
            return default
        value = parse_number(text, unit)
        if not low <= value <= high:
            raise ScpiError(-222, f"{self.header} {text[:20]}")
        return value

    def integer(self, index: int = 0, low: int = 0, high: int = 1 << 62, default: int | None = None) -> int:
        """A number, rounded to a whole one (IEEE 488.2, 7.7.2)."""
        value = self.number(index, low, high, default)
        if not math.isfinite(value):
            raise ScpiError(-222, self.header)
        return round(value)

    def boolean(self, index: int = 0) -> bool:
        """ON, OFF or a number, which is on unless it rounds to 0."""
        word = self.raw(index).upper()
        if word in ("ON", "OFF"):
            return word == "ON"
        value = parse_number(word)
        if not math.isfinite(value):
            raise ScpiError(-224, self.header)
        return round(value) != 0

    def choice(self, words: Sequence[str], index: int = 0) -> str:
        """One of ``words``, as written there (``SINusoid``).

        Raises:
            ScpiError: -224.
        """
        given = parse_text(self.raw(index))
        for word in words:
            if matches(given, word):
                return word
        raise ScpiError(-224, f"{self.header} {given[:20]}")

    def text(self, index: int = 0) -> str:
        """A string."""
        return parse_text(self.raw(index))

    def block(self, index: int = 0) -> bytes:
        """A block's bytes.

        Raises:
            ScpiError: -104.
        """
        if not self.given(index):
            raise ScpiError(-109, self.header)
        value = self.parameters[index]
        if not isinstance(value, bytes):
            raise ScpiError(-104, self.header)
        return value

    def channels(self, index: int = 0) -> list[int]:
        """A channel list."""
        return parse_channels(self.raw(index))


@final
@dataclass(frozen=True)
class Command:
    """A row of a command table.

    Attributes:
        pattern: of the header.
        write: carries it out; None if it only asks.
        query: its answer, or None for none; None if it can't be asked.
        most: parameters at most.
    """

    pattern: str
    write: Callable[[Request], None] | None = None
    query: Callable[[Request], Answer | None] | None = None
    most: int = 1


@final
@dataclass
class CommandTable:
    """Finds the command of a header.

    Args:
        commands: the rows; the first that fits counts.
        strict: whether a header without a colon in front is only looked for below the one before it, and not from the
            root (SCPI 1999 volume 1, 6.2.4).
    """

    commands: Sequence[Command]
    strict: bool = False
    _compiled: list[tuple[re.Pattern[str], tuple[int, ...], Command]] = field(init=False, repr=False)
    _seen: dict[tuple[str, str, bool], tuple[Command, tuple[int, ...], str] | ScpiError] = field(
        init=False, default_factory=dict, repr=False
    )

    def __post_init__(self) -> None:
        self._compiled = [
            (*compile_pattern(pattern), command) for command in self.commands for pattern in command.pattern.split()
        ]

    def find(self, header: str, path: str, query: bool) -> tuple[Command, tuple[int, ...], str]:
        """The command of a header, its suffixes, and the path that the next unit begins from.

        Raises:
            ScpiError: -113, -114.
        """
        key = (header, path, query)
        found = self._seen.get(key)
        if found is None:
            if len(self._seen) >= CACHED_HEADERS:
                self._seen.clear()
            try:
                found = self._find(header.upper(), path, query)
            except ScpiError as error:
                found = error
            self._seen[key] = found
        if isinstance(found, ScpiError):
            raise ScpiError(found.code, header[:40])
        return found

    def _find(self, header: str, path: str, query: bool) -> tuple[Command, tuple[int, ...], str]:
        if header.lstrip(":").startswith("*"):
            # Common commands leave the path as it is (IEEE 488.2, A.1).
            return (*self._match(header.lstrip(":"), query), path)
        if header.startswith(":"):
            return (*self._match(header, query), header.rpartition(":")[0])
        places = [f"{path}:{header}"] + ([] if self.strict or not path else [f":{header}"])
        for last, full in enumerate(places, 1 - len(places)):
            try:
                return (*self._match(full, query), full.rpartition(":")[0])
            except ScpiError:
                if not last:
                    raise
        raise AssertionError("unreachable")

    def _match(self, header: str, query: bool) -> tuple[Command, tuple[int, ...]]:
        outside = False
        for regex, largest, command in self._compiled:
            if (command.query if query else command.write) is None:
                continue
            match = regex.fullmatch(header)
            if match is None:
                continue
            suffixes = tuple(int(digits or 1) for digits in match.groups())
            if all(1 <= suffix <= most for suffix, most in zip(suffixes, largest, strict=True)):
                return command, suffixes
            outside = True
        raise ScpiError(-114 if outside else -113)


_NODE = re.compile(r"(\[)?:?([*A-Za-z_]+[A-Za-z0-9_]*?)(?:(#)([0-9]*))?(\])?(?=[:\[]|$)")


def compile_pattern(pattern: str) -> tuple[re.Pattern[str], tuple[int, ...]]:
    """A header pattern as a regular expression of upper-case headers, and the largest value of each suffix.

    Raises:
        InputError: a pattern that is not of the form above.
    """
    if pattern.startswith("*"):
        return re.compile(re.escape(pattern.upper())), ()
    out, largest, at = "", [], 0
    for match in _NODE.finditer(pattern):
        if match.start() != at or bool(match[1]) != bool(match[5]):
            break
        at = match.end()
        word = match[2]
        node = f":(?:{re.escape(short_form(word))}|{re.escape(word.upper())})"
        if match[3]:
            node += r"(\d{1,4})?" if match[1] else r"(\d{0,4})"
            largest.append(int(match[4] or 99))
        out += f"(?:{node})?" if match[1] else node
    if at != len(pattern):
        raise InputError(f"command table: cannot read the pattern {pattern!r}")
    return re.compile(out, re.ASCII), tuple(largest)
