"""Sign-symmetric feedback: feedback weights have the signs of the forward ones, and magnitudes of their own.

delta_k = f' * (B_{k+1} delta_{k+1}) with B = sign(W^T) * M, M fixed (Liao, Leibo & Poggio 2016). Before a batch that is
learned from, the forward cells are read, and feedback arrays with a pair whose sign has changed are programmed anew, as
``writing`` says; those in ``training.frozen`` stay as they are.
"""

from collections.abc import Mapping
from typing import Any, Literal, final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.base import FreePhase, ProgrammingRule, Rule
from substrate.rules.feedback_paths import Behind, Carried, FeedbackRule, along, check_feedback, mirrored
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_nudge
from substrate.sections import Count
from substrate.writing import weights_of


@final
class SignSymmetricSection(RuleSection):
    """Section of ``sign_symmetric``; ``every``: steps between two looks at the signs.

    ``network.initial.feedback_angle_degrees: 90`` belongs to it: magnitudes unrelated to the forward ones. At 0, the
    default, feedback starts as the transpose, and the rule as backpropagation.
    """

    name: Literal["sign_symmetric"] = "sign_symmetric"
    every: Count = 1

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """An array beside each forward one behind the first."""
        check_feedback(self.name, network, "separate")

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """There is no nudge."""
        return without_nudge(self.name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return SignSymmetric(self.every)


@final
class SignSymmetric(FeedbackRule, ProgrammingRule):
    """The rule ``sign_symmetric``.

    Args:
        every: steps between two looks at the signs.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._steps = 0
        self._magnitudes: dict[str, FloatArray] = {}

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return "sign_symmetric"

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Feedback arrays are read alone."""
        return ("forward_products",) if len(network.layers) > 2 else ()

    def prepare(self, substrate: Substrate, phase: FreePhase) -> None:
        """Nothing but ``targets``."""

    def targets(self, substrate: Substrate, learning: bool) -> dict[str, FloatArray]:
        """Feedback weights with the signs of the forward ones, of arrays where one has another sign.

        The magnitudes are those that stand in the feedback cells at the first look.
        """
        looks = not learning or self._steps % self._every == 0
        self._steps += learning
        network = substrate.network
        found = {}
        for forward in network.forward[1:] if looks else ():
            feedback = mirrored(network, forward)
            now = weights_of(substrate, feedback)
            magnitude = self._magnitudes.setdefault(feedback.name, np.abs(now))
            wanted = weights_of(substrate, forward)[: forward.source_lines].T
            if np.any(wanted * now < 0.0):
                found[feedback.name] = np.copysign(magnitude, wanted)
        return found

    def snapshot(self) -> dict[str, Any]:
        """The magnitudes, and where the count of steps stands."""
        return {"steps": self._steps, "magnitudes": dict(self._magnitudes)}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot back."""
        self._steps = int(snapshot["steps"])
        self._magnitudes = dict(snapshot["magnitudes"])

    def _carry(self, substrate: Substrate, behind: Behind) -> Carried:
        return Carried(along(substrate, mirrored(substrate.network, behind.coupling), behind.delta))
