"""Sign-symmetric feedback: feedback weights have the signs of the forward ones, and magnitudes of their own.

delta_k = f' * (B_{k+1} delta_{k+1}) with B = sign(W^T) * M, M fixed (Liao, Leibo & Poggio 2016). Before a batch that is
learned from, the forward cells are read, and feedback pairs whose sign has changed are programmed anew.
"""

from collections.abc import Mapping
from typing import Any, Literal, final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.base import FreePhase, Rule
from substrate.rules.feedback_paths import Behind, Carried, FeedbackRule, along, check_feedback, mirrored
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_nudge
from substrate.sections import Count
from substrate.writing import Writer, WritingPlan


@final
class SignSymmetricSection(RuleSection):
    """Section of ``sign_symmetric``; ``every``: steps between two looks at the signs."""

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
        return SignSymmetric(self.every, context.rng)


@final
class SignSymmetric(FeedbackRule):
    """The rule ``sign_symmetric``.

    Args:
        every: steps between two looks at the signs.
        rng: of the writing of feedback cells.
    """

    def __init__(self, every: int, rng: np.random.Generator) -> None:
        self._every = every
        self._rng = rng
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
        """The magnitudes are those that stand in the feedback cells; the signs become the forward ones'."""
        self._follow(substrate)

    def snapshot(self) -> dict[str, Any]:
        """The magnitudes, and where the count of steps stands."""
        return {
            "steps": self._steps,
            "magnitudes": dict(self._magnitudes),
            "generator": self._rng.bit_generator.state,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot back."""
        self._steps = int(snapshot["steps"])
        self._magnitudes = dict(snapshot["magnitudes"])
        self._rng.bit_generator.state = snapshot["generator"]

    def _before(self, substrate: Substrate) -> None:
        if self._steps % self._every == 0:
            self._follow(substrate)
        self._steps += 1

    def _carry(self, substrate: Substrate, behind: Behind) -> Carried:
        return Carried(along(substrate, mirrored(substrate.network, behind.coupling), behind.delta))

    def _follow(self, substrate: Substrate) -> None:
        """Give feedback weights the signs of the forward ones."""
        writer = Writer(
            substrate, WritingPlan("outright" if substrate.capabilities.continuous_writing else "verify"), self._rng
        )
        network = substrate.network
        for forward in network.forward[1:]:
            feedback = mirrored(network, forward)
            now = writer.weights(feedback)
            magnitude = self._magnitudes.setdefault(feedback.name, np.abs(now))
            wanted = writer.weights(forward)[: forward.source_lines].T
            if np.any(wanted * now < 0.0):
                writer.program(feedback, np.copysign(magnitude, wanted))
