"""Faults at run time over a socket: a port of the bench itself, opened by ``control: {}`` in the bench file.

One line a command, one line an answer, ``ok ...`` or ``error TEXT``:

=====================  ==============================================================================
``add {MAPPING}``      a rule as in the bench file (YAML or JSON in one line); its number
``remove NUMBER``      that rule is gone
``clear``              all are
``list``               rules by number, as JSON
``happened``           what struck so far, as JSON: [number, kind, seconds, instrument, message]
=====================  ==============================================================================

No fault strikes this port.
"""

import json
from collections.abc import Collection
from dataclasses import asdict
from typing import final

import yaml

from emulators.bench.conversation import Conversation
from emulators.bench.faults import Faults, rule_from
from emulators.bench.protocol.framing import LineFramer
from substrate.errors import InputError


@final
class ControlConversation(Conversation):
    """One client of the control port.

    Args:
        faults: the bench's.
        names: what rules may name.
    """

    spared = True

    def __init__(self, faults: Faults, names: Collection[str]) -> None:
        self._faults = faults
        self._names = names
        self._framer = LineFramer()

    def messages(self, data: bytes) -> list[bytes]:
        """Lines."""
        return self._framer.feed(data)

    def target(self, message: bytes) -> None:
        """No instrument."""

    def answer(self, message: bytes) -> bytes:
        """One line; never raises."""
        try:
            return f"ok {self._done(message.decode())}".rstrip().encode() + b"\n"
        except (InputError, ValueError, yaml.YAMLError) as error:
            return f"error {' '.join(str(error).split())}".encode() + b"\n"

    def _done(self, line: str) -> str:
        word, _, rest = line.strip().partition(" ")
        if word == "add":
            section = yaml.safe_load(rest)
            if not isinstance(section, dict):
                raise InputError(f"add: expected a mapping with kind, got {rest[:80]!r}")
            rule = rule_from(section)
            if rule.instrument not in ("*", *self._names):
                raise InputError(f"faults.instrument: there is no instrument {rule.instrument!r}")
            return str(self._faults.add(rule))
        if word == "remove" and rest.isdecimal():
            self._faults.remove(int(rest))
        elif word == "clear" and not rest:
            self._faults.clear()
        elif word == "list" and not rest:
            return json.dumps({number: asdict(rule) for number, rule in self._faults.rules.items()})
        elif word == "happened" and not rest:
            found = self._faults.happened
            return json.dumps(
                [[one.number, one.kind, one.seconds, one.instrument, one.message.decode("latin-1")] for one in found]
            )
        else:
            raise InputError(f"expected add, remove NUMBER, clear, list or happened, got {line[:80]!r}")
        return ""
