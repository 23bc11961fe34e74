"""Product feedback alignment: errors go back through two arrays in a row; the second learns (arXiv 2405.20594).

Beside y = W x stand B (outputs, lambda outputs), fixed with rows of length 1, and R (lambda outputs, inputs). The error
that reaches x is (B R)^T delta; R descends along (B^T delta) x^T with the rate and weight decay of W. R then tends to
B^T W, so that the path B R tends to B B^T W: no weight is transported, and none is to be mirrored. For a random B and a
random W the angle to W is atan(1/sqrt(lambda)); a W that training leaves few directions lies off that. An orthogonal B,
lambda = 1, makes it zero.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import numpy as np

from substrate.contract import Substrate
from substrate.errors import InputError
from substrate.network import Network
from substrate.rules.base import Rule
from substrate.rules.feedback_paths import Behind, Carried, FixedPathRule, along, check_feedback, product_pair
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_nudge


@final
class ProductFeedbackSection(RuleSection):
    """Section of ``product_feedback``; ``orthogonal``: B is initialised so. lambda is ``network.product_ratio``."""

    trained_feedback: ClassVar[int] = 2

    name: Literal["product_feedback"] = "product_feedback"
    orthogonal: bool = False

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """Two arrays beside each forward one behind the first; only a square B is orthogonal both ways."""
        check_feedback(self.name, network, "product")
        if self.orthogonal and network.product_ratio != 1:
            raise InputError(
                f"network.product_ratio: an orthogonal B is square; expected 1, got {network.product_ratio}"
            )

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """There is no nudge."""
        return without_nudge(self.name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return ProductFeedback()


@final
class ProductFeedback(FixedPathRule):
    """The rule ``product_feedback``."""

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return "product_feedback"

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Feedback arrays are read alone."""
        return ("forward_products",) if len(network.layers) > 2 else ()

    def _carry(self, substrate: Substrate, behind: Behind) -> Carried:
        first, second = product_pair(substrate.network, behind.coupling)
        between = along(substrate, first, behind.delta)
        return Carried(along(substrate, second, between), {second.name: np.asarray(between.T @ behind.weighted)})
