"""The learning rules by name: the ``rule`` section of an experiment file is that of one of them."""

from typing import Annotated, TypeAlias

from pydantic import Field

from substrate.rules.oscillating import OscillatingSection

RuleConfig: TypeAlias = Annotated[OscillatingSection, Field()]
"""One of the sections; ``name`` tells which."""

RULE_NAMES: tuple[str, ...] = ("oscillating_ep",)
