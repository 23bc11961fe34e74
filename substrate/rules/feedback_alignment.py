"""Feedback alignment: errors go back through arrays of their own, which never change (Lillicrap et al. 2016).

delta_k = f' * (B_{k+1} delta_{k+1}); the forward weights come to agree with B^T.
"""

from collections.abc import Mapping
from typing import Literal, final

from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.base import Rule
from substrate.rules.feedback_paths import Behind, Carried, FixedPathRule, along, check_feedback, mirrored
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_nudge


@final
class FeedbackAlignmentSection(RuleSection):
    """Section of ``feedback_alignment``.

    ``network.initial.feedback_angle_degrees: 90`` belongs to it: feedback unrelated to the forward arrays. At 0, the
    default, it starts as their transposes, and the rule as backpropagation.
    """

    name: Literal["feedback_alignment"] = "feedback_alignment"

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """An array beside each forward one behind the first."""
        check_feedback(self.name, network, "separate")

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """There is no nudge."""
        return without_nudge(self.name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return FeedbackAlignment()


@final
class FeedbackAlignment(FixedPathRule):
    """The rule ``feedback_alignment``."""

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return "feedback_alignment"

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Feedback arrays are read alone."""
        return ("forward_products",) if len(network.layers) > 2 else ()

    def _carry(self, substrate: Substrate, behind: Behind) -> Carried:
        return Carried(along(substrate, mirrored(substrate.network, behind.coupling), behind.delta))
