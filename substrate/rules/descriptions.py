"""What the learning rules are, for people: text, keys and needs of a device, taken from the rules themselves."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getdoc
from typing import Any, final, get_args

import numpy as np

from substrate.capabilities import Capabilities, Limits
from substrate.contract import Scale
from substrate.errors import InputError
from substrate.network import FEEDBACKS, RECTIFIED, Family, Feedback, Network
from substrate.rules.catalogue import RULE_NAMES, RuleConfig
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection
from substrate.section_keys import SectionKey, in_yaml, keys_of

LAYERS = (3, 4, 4, 2)
"""Of the networks that rules are asked about: two hidden layers, the least that a loop has."""

_NUDGE = NudgeConfig()
# It lacks everything: what a rule needs is asked of the rule.
_DEVICE = Capabilities(
    Limits(1.0, 1.0, 1.0), (0.0, 1.0), (0.0, 0.0), 1.0, False, False, False, False, False, False, False, False
)


@final
@dataclass(frozen=True)
class RuleDescription:
    """A learning rule.

    Attributes:
        name: in experiment files, ``rule: {name: NAME}``.
        summary: one line.
        text: what it does, and its source.
        section: what its section says of its keys.
        keys: beside ``name``.
        networks: family and feedback that it trains, with the capabilities that it needs there with its default keys.
        further: the same by ``key: value`` for keys of another value, of the networks where it makes a difference.
    """

    name: str
    summary: str
    text: str
    section: str
    keys: tuple[SectionKey, ...]
    networks: dict[str, tuple[str, ...]]
    further: dict[str, dict[str, tuple[str, ...]]]


def rule_descriptions() -> tuple[RuleDescription, ...]:
    """All of them, by name."""
    sections = get_args(get_args(RuleConfig)[0])
    found = [_described(name, section) for name, section in zip(RULE_NAMES, sections, strict=True)]
    return tuple(sorted(found, key=lambda one: one.name))


def rule_description(name: str) -> RuleDescription:
    """The rule of this name.

    Raises:
        InputError: there is none; names those there are.
    """
    for one in rule_descriptions():
        if one.name == name:
            return one
    raise InputError(f"rule {name!r}: expected one of {', '.join(sorted(RULE_NAMES))}")


def _described(name: str, section: type[RuleSection]) -> RuleDescription:
    text = getdoc(sys.modules[section.__module__]) or ""
    networks = _needs(section())
    properties = section.model_json_schema()["properties"]
    del properties["name"]
    further = {}
    for key, schema in properties.items():
        for value in _other_values(schema):
            needs = _needs(section(**{key: value}))
            other = {place: here for place, here in needs.items() if networks.get(place) != here}
            if other:
                further[f"{key}: {in_yaml(value)}"] = other
    keys = tuple(key for key in keys_of(section) if key.name != "name")
    summary = " ".join(text.split("\n\n")[0].split())
    return RuleDescription(name, summary, text, getdoc(section) or "", keys, networks, further)


def _networks() -> Iterator[tuple[Family, Feedback]]:
    for family in get_args(Family):
        for feedback in FEEDBACKS[family]:
            yield family, feedback


def _needs(section: RuleSection) -> dict[str, tuple[str, ...]]:
    """Capabilities by ``family feedback`` of the networks that the section is not refused on."""
    found = {}
    for family, feedback in _networks():
        activation = RECTIFIED if family == "resistive" else "tanh"
        network = Network(LAYERS, activation, feedback, family)
        try:
            section.check(network, _NUDGE, "squared_error")
        except InputError:
            continue
        context = RuleContext(_NUDGE, network, _DEVICE, Scale(1.0, 1.0), "squared_error", np.random.default_rng(0))
        found[f"{family} {feedback}"] = section.build(context).requirements(network)
    return found


def _other_values(schema: dict[str, Any]) -> list[Any]:
    default = schema["default"]
    if schema["type"] == "boolean":
        return [not default]
    if schema["type"] == "integer":
        # The least there is, and one more than the default: real nudges and complex ones are told apart by a count.
        return [value for value in (schema["minimum"], default + 1) if value != default]
    return [value for value in schema.get("enum", ()) if value != schema["default"]]
