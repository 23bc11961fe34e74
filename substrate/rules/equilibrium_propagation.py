"""Equilibrium propagation from states under held nudges: one-sided, of both signs, of a random sign.

One-sided: dq = (q(beta) - q(0))/beta, wrong by O(beta) (Scellier & Bengio 2017). Symmetric: (q(beta) - q(-beta))/(2
beta), wrong by O(beta^2) (Laborieux et al. 2021). Random sign: one-sided with beta or -beta, drawn for each sample, so
that the error of first order averages out over samples at the cost of a single nudged phase.
"""

from collections.abc import Mapping
from typing import Any, Literal, final

import numpy as np

from substrate.arrays import FloatArray
from substrate.conjugates import conjugate_of
from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.base import Estimate, FreePhase, Rule, Update
from substrate.rules.held import NudgeKind, Points, check_kind, circle, measure_held
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_tone
from substrate.sections import Count

Variant = Literal["one_sided", "symmetric", "random_sign"]


@final
class EquilibriumPropagationSection(RuleSection):
    """Section of ``ep``; beta is ``nudge.amplitude``.

    Every nudged state is read ``readings`` times; two or more also give the standard error of the gradient.
    """

    name: Literal["ep"] = "ep"
    variant: Variant = "symmetric"
    nudge: NudgeKind = "open_loop"
    conjugate: Literal["auto", "product", "postsynaptic"] = "auto"
    readings: Count = 1

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """The amplitude is a number, and a feedback nudge that of the squared error."""
        conjugate_of(network, self.conjugate)
        nudge.fixed_amplitude(self.name)
        check_kind(self.nudge, cost_name)

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """Nudges are held."""
        return without_tone(self.name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return EquilibriumPropagation(self, context.nudge.fixed_amplitude(self.name), context.rng)


@final
class EquilibriumPropagation(Rule):
    """The rule ``ep``.

    Args:
        section: its variant, nudge and conjugate.
        amplitude: beta in activity units.
        rng: draws signs.
    """

    def __init__(self, section: EquilibriumPropagationSection, amplitude: float, rng: np.random.Generator) -> None:
        self._section = section
        self._amplitude = amplitude
        self._rng = rng

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return self._section.name

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Any device holds a nudge, and may read node after node; a feedback nudge is a conductance to a source."""
        return ("feedback_nudges",) if self._section.nudge == "feedback" else ()

    def prepare(self, substrate: Substrate, phase: FreePhase) -> None:
        """Nothing to adjust."""

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """Settle under the nudges, read, subtract."""
        section = self._section
        conjugate = conjugate_of(substrate.network, section.conjugate)
        points = self._points(len(phase.error))
        return measure_held(substrate, phase, points, section.nudge, conjugate, self._amplitude, section.readings)

    def _points(self, batch: int) -> Points:
        if self._section.variant == "symmetric":
            nudges, weights = circle(self._amplitude, 2)
            return Points(np.tile(nudges, (batch, 1)), np.tile(weights, (batch, 1)), np.zeros(batch))
        signs: FloatArray = np.ones(batch)
        if self._section.variant == "random_sign":
            signs = self._rng.choice([-1.0, 1.0], batch)
        beta = self._amplitude * signs
        return Points(beta[:, None], 1.0 / beta[:, None], -1.0 / beta)

    def snapshot(self) -> dict[str, Any]:
        """Where the signs have got to."""
        return {"rng": self._rng.bit_generator.state}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put the generator back."""
        self._rng.bit_generator.state = snapshot["rng"]
