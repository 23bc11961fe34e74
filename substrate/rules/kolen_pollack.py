"""Kolen and Pollack's rule: feedback arrays learn with the transposed updates of the forward ones (1994).

dW = x delta^T and dB = delta x^T; with the same rate and weight decay W - B^T decays, whatever the two started from, so
that B comes to be the transpose (Akrout et al. 2019). Devices that do not take the same step twice leave a difference.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import numpy as np

from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.base import Rule
from substrate.rules.feedback_paths import Behind, Carried, FixedPathRule, along, check_feedback, mirrored
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_nudge


@final
class KolenPollackSection(RuleSection):
    """Section of ``kolen_pollack``; ``training.weight_decay`` is what brings the two arrays together.

    ``network.initial.feedback_angle_degrees: 90`` belongs to it: at 0, the default, they start as each other's
    transposes, and there is nothing to bring together.
    """

    trained_feedback: ClassVar[int] = 1

    name: Literal["kolen_pollack"] = "kolen_pollack"

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """An array beside each forward one behind the first."""
        check_feedback(self.name, network, "separate")

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """There is no nudge."""
        return without_nudge(self.name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return KolenPollack()


@final
class KolenPollack(FixedPathRule):
    """The rule ``kolen_pollack``."""

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return "kolen_pollack"

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Feedback arrays are read alone."""
        return ("forward_products",) if len(network.layers) > 2 else ()

    def _carry(self, substrate: Substrate, behind: Behind) -> Carried:
        feedback = mirrored(substrate.network, behind.coupling)
        direction = feedback.driven(behind.delta).T @ feedback.columns(behind.weighted)
        return Carried(along(substrate, feedback, behind.delta), {feedback.name: np.asarray(direction)})
