"""Holomorphic EP: the derivative by Cauchy's formula from nudges on a circle in the complex plane (arXiv 2209.00530).

dq = (1/N) Re sum_k q(b_k)/b_k with b_k = beta e^{2 pi i k/N}, wrong by O(beta^N), for N = 1, where q(0) is subtracted,
by O(beta). N = 2 is EP of both signs. The post-synaptic conjugate makes it generalised holomorphic EP, the vector
field's, for networks without symmetry (arXiv 2309.02214).
"""

from collections.abc import Mapping
from typing import Literal, final

import numpy as np

from substrate.conjugates import conjugate_of
from substrate.contract import Substrate
from substrate.errors import InputError
from substrate.network import Network
from substrate.rules.base import Estimate, FreePhase, LastingRule, Rule, Update
from substrate.rules.held import NudgeKind, Points, check_kind, circle, measure_held
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_tone
from substrate.sections import Count


class CircleSection(RuleSection):
    """What rules of ``points`` on the circle of radius ``nudge.amplitude`` have in common."""

    name: str
    points: int
    nudge: NudgeKind = "open_loop"
    conjugate: Literal["auto", "product", "postsynaptic"] = "auto"

    @final
    def check_circle(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """The amplitude is a number; diodes that switch have no response to complex nudges."""
        conjugate_of(network, self.conjugate)
        nudge.fixed_amplitude(self.name)
        check_kind(self.nudge, cost_name)
        if network.resistive and self.points > 2:
            raise InputError(
                f"rule.points: rule {self.name} on a resistive network, whose diodes clip: expected 1 or 2"
            )

    @final
    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """Nudges are held."""
        return without_tone(self.name)


@final
class HolomorphicSection(CircleSection):
    """Section of ``holomorphic_ep``: ``points`` on the circle of radius ``nudge.amplitude``."""

    name: Literal["holomorphic_ep"] = "holomorphic_ep"
    points: Count = 6

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """That of every circle."""
        self.check_circle(network, nudge, cost_name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return HolomorphicEP(self, context.nudge.fixed_amplitude(self.name))


@final
class HolomorphicEP(LastingRule):
    """The rule ``holomorphic_ep``.

    Args:
        section: its points, nudge and conjugate.
        amplitude: radius of the circle in activity units.
    """

    def __init__(self, section: HolomorphicSection, amplitude: float) -> None:
        self._section = section
        self._amplitude = amplitude

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return self._section.name

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Up to two points are real."""
        feedback = ("feedback_nudges",) if self._section.nudge == "feedback" else ()
        return ("complex_nudges", *feedback) if self._section.points > 2 else feedback

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """States on the half circle, combined."""
        section, batch = self._section, len(phase.error)
        nudges, weights = circle(self._amplitude, section.points)
        free_weight = np.full(batch, -1.0 / self._amplitude if section.points == 1 else 0.0)
        points = Points(np.tile(nudges, (batch, 1)), np.tile(weights, (batch, 1)), free_weight)
        conjugate = conjugate_of(substrate.network, section.conjugate)
        return measure_held(substrate, phase, points, section.nudge, conjugate, self._amplitude)
