"""Direct feedback alignment: the outputs' error goes to each hidden layer by an array of its own (Nokland 2016).

delta_k = f' * (B_k delta_output), B_k fixed.
"""

from collections.abc import Mapping
from typing import Literal, final

from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.base import Rule
from substrate.rules.feedback_paths import Behind, Carried, FixedPathRule, along, check_feedback
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_nudge


@final
class DirectFeedbackAlignmentSection(RuleSection):
    """Section of ``direct_feedback_alignment``."""

    name: Literal["direct_feedback_alignment"] = "direct_feedback_alignment"

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """An array from the outputs to each hidden layer."""
        check_feedback(self.name, network, "direct")

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """There is no nudge."""
        return without_nudge(self.name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return DirectFeedbackAlignment()


@final
class DirectFeedbackAlignment(FixedPathRule):
    """The rule ``direct_feedback_alignment``."""

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return "direct_feedback_alignment"

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Feedback arrays are read alone."""
        return ("forward_products",) if len(network.layers) > 2 else ()

    def _carry(self, substrate: Substrate, behind: Behind) -> Carried:
        network = substrate.network
        feedback = network.array(f"{network.output.name}-{behind.coupling.source.name}")
        return Carried(along(substrate, feedback, behind.output_delta))
