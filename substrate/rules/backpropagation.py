"""Backpropagation in memory: errors go back through the forward arrays themselves, read from their other side.

delta_k = f' * (W_{k+1}^T delta_{k+1}) (Rumelhart, Hinton & Williams 1986); the transpose is the array with its lines
exchanged, so that wires, whose share differs between the directions, are seen as they are.
"""

from collections.abc import Mapping
from typing import Literal, final

from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.base import Rule
from substrate.rules.feedback_paths import Behind, Carried, FixedPathRule, against, check_feedback
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_nudge


@final
class BackpropagationSection(RuleSection):
    """Section of ``backpropagation``."""

    name: Literal["backpropagation"] = "backpropagation"

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """Arrays beside the forward ones would stand idle."""
        check_feedback(self.name, network, "none")

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """There is no nudge."""
        return without_nudge(self.name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return Backpropagation()


@final
class Backpropagation(FixedPathRule):
    """The rule ``backpropagation``."""

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return "backpropagation"

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Arrays that are read from both sides, where there is a hidden layer."""
        return ("forward_products", "transposed_products") if len(network.layers) > 2 else ()

    def _carry(self, substrate: Substrate, behind: Behind) -> Carried:
        return Carried(against(substrate, behind.coupling, behind.delta))
