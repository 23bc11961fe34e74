"""Faults on purpose: seeded, counted, chosen by instrument and by a pattern of the message.

A rule says what goes wrong (``kind``), where (``instrument``, ``pattern``: a regular expression that is searched in the
message, upper or lower case alike), and when: from the message after ``after`` matching ones on, ``count`` times
(None: for ever), each time with ``probability``. Faults of the transport act on one message, and so do ``error``,
``error_overflow`` and ``power_cycle``; a ``missed_trigger`` acts on one trigger, a ``lost_pulse`` on one stretch of
time in which cells would have moved. The others are states, which last from the moment their rule is added (with a
pattern: from the first message that it strikes) until it is removed. What happened is kept in ``happened``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final, get_args

import numpy as np

from substrate.errors import InputError

TransportKind = Literal[
    "no_answer", "delay", "stale", "split", "trickle", "drop_before", "drop_during", "drop_after", "reset", "refuse",
    "back_pressure", "wrong_terminator", "no_terminator", "banner", "duplicate", "truncate", "garbage", "unplug",
]  # fmt: skip
InstrumentKind = Literal[
    "error", "error_overflow", "never_complete", "identity", "power_cycle", "overload", "compliance", "saturation",
    "gain", "offset", "missed_trigger", "clock_skew", "relay_stuck_open", "relay_stuck_closed", "relay_bounce",
]  # fmt: skip
SubstrateKind = Literal["stuck_cell", "read_disturb", "drift", "lost_pulse", "temperature"]
Kind = TransportKind | InstrumentKind | SubstrateKind

TRANSPORT: Final = get_args(TransportKind)
INSTRUMENT: Final = get_args(InstrumentKind)
SUBSTRATE: Final = get_args(SubstrateKind)


@final
@dataclass(frozen=True)
class Rule:
    """One fault.

    Attributes:
        kind: what goes wrong.
        instrument: name on the bench, ``*`` for all.
        pattern: of the message; empty matches every one.
        count: how many times; None for ever.
        after: matching messages that pass unharmed first.
        probability: of each time.
        value: how much, in the kind's own unit: seconds of a delay, relative gain, volts or amperes of an offset,
            channel of a relay, seconds that one bounces, error code, kelvin of a temperature step.
        text: of a banner, an identity or an error.
        cell: (array, row, column) of a cell.
    """

    kind: Kind
    instrument: str = "*"
    pattern: str = ""
    count: int | None = 1
    after: int = 0
    probability: float = 1.0
    value: float = 0.0
    text: str = ""
    cell: tuple[str, int, int] | None = None

    def __post_init__(self) -> None:
        known = (*TRANSPORT, *INSTRUMENT, *SUBSTRATE)
        if self.kind not in known:
            raise InputError(f"faults.kind: expected one of {', '.join(known)}, got {self.kind!r}")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise InputError(f"faults.pattern: {self.pattern!r} is no regular expression: {error}") from error
        if self.count is not None and self.count < 1:
            raise InputError(f"faults.count: expected at least 1, got {self.count}")
        if self.after < 0:
            raise InputError(f"faults.after: expected 0 or more, got {self.after}")
        if not 0.0 < self.probability <= 1.0:
            raise InputError(f"faults.probability: expected above 0 and up to 1, got {self.probability}")
        if not np.isfinite(self.value):
            raise InputError(f"faults.value: expected a finite number, got {self.value}")


@final
@dataclass(frozen=True)
class Happened:
    """A fault that struck: its rule's number, when on the bench's clock, the instrument, and the message."""

    number: int
    kind: Kind
    seconds: float
    instrument: str
    message: bytes


@final
@dataclass
class _Entry:
    number: int
    rule: Rule
    passed: int = 0
    struck: int = 0
    lasting: bool = False

    @property
    def used_up(self) -> bool:
        return self.rule.count is not None and self.struck >= self.rule.count


@final
class Faults:
    """All faults of a bench. Guarded by the bench's lock, like everything else.

    Args:
        rng: decides where a probability does.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._entries: dict[int, _Entry] = {}
        self._next = 1
        self._listeners: list[Callable[[], object]] = []
        self.happened: list[Happened] = []

    def add(self, rule: Rule) -> int:
        """Add a rule; its number, to remove it by."""
        entry = _Entry(self._next, rule, lasting=not rule.pattern)
        self._entries[entry.number] = entry
        self._next += 1
        self._tell()
        return entry.number

    def listen(self, listener: Callable[[], object]) -> None:
        """Call ``listener()`` whenever a state that lasts may have changed, so that outputs follow it."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def remove(self, number: int) -> None:
        """Remove a rule; one that is gone already is none to complain about."""
        if self._entries.pop(number, None) is not None:
            self._tell()

    def clear(self) -> None:
        """Remove all."""
        self._entries.clear()
        self._tell()

    @property
    def rules(self) -> Mapping[int, Rule]:
        """Rules by number, used up ones included."""
        return {number: entry.rule for number, entry in self._entries.items()}

    def strike(self, instrument: str, message: bytes, kinds: Sequence[str], seconds: float) -> list[Rule]:
        """The rules of these kinds that strike this message; each is counted."""
        if not self._entries:
            return []
        out = []
        for entry in list(self._entries.values()):
            rule = entry.rule
            if rule.kind not in kinds or entry.used_up or rule.instrument not in ("*", instrument):
                continue
            if rule.pattern and not re.search(rule.pattern, message.decode("latin-1"), re.IGNORECASE):
                continue
            entry.passed += 1
            if entry.passed <= rule.after or (rule.probability < 1.0 and self._rng.random() >= rule.probability):
                continue
            entry.struck += 1
            began, entry.lasting = not entry.lasting, True
            self.happened.append(Happened(entry.number, rule.kind, seconds, instrument, message[:200]))
            out.append(rule)
            if began:
                self._tell()
        return out

    def active(self, instrument: str, kind: InstrumentKind | SubstrateKind) -> list[Rule]:
        """Rules of this kind whose state the instrument is in."""
        if not self._entries:
            return []
        return [
            entry.rule
            for entry in self._entries.values()
            if entry.rule.kind == kind and entry.lasting and entry.rule.instrument in ("*", instrument)
        ]


def rule_from(section: Mapping[str, Any]) -> Rule:
    """A rule of plain data.

    Raises:
        InputError: names the key.
    """
    unknown = set(section) - set(Rule.__dataclass_fields__)
    if unknown or "kind" not in section:
        raise InputError(f"faults: {'unknown key ' + sorted(unknown)[0] if unknown else 'kind is missing'}")
    try:
        given = dict(section)
        if given.get("cell") is not None:
            array, row, column = given["cell"]
            given["cell"] = (str(array), int(row), int(column))
        return Rule(**given)
    except (TypeError, ValueError) as error:
        raise InputError(f"faults: {error}") from error
