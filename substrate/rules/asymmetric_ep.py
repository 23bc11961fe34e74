"""AsymEP: a nudged phase in which the network answers with its transpose (arXiv 2602.03670).

The nudged phase gets the extra currents -2 A (s - s0), A the skew part of the Jacobian in activity coordinates and s0
the free state. The Jacobian D^-1 - W of the nudged network is thereby transposed, so that ds/dbeta = chi^T e: the
adjoint itself, without symmetry (physics.md, section 3). The neurons' slopes D are symmetric, 2 A = W - W^T is of the
weights alone, the same for every sample, and can be measured.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, final

import numpy as np

from substrate.arrays import FloatArray
from substrate.conjugates import conjugate_of
from substrate.contract import Substrate
from substrate.errors import InputError
from substrate.network import Network
from substrate.rules.asymmetry import asymmetry_from_products, asymmetry_from_susceptibility
from substrate.rules.base import Estimate, FreePhase, LastingRule, Rule, Update
from substrate.rules.held import NudgeKind, Points, check_kind, circle, measure_held
from substrate.rules.perturbation import Tones, perturb
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_tone
from substrate.sections import Count, Positive


@final
class AsymmetricEPSection(RuleSection):
    """Section of ``asymmetric_ep``; beta is ``nudge.amplitude``.

    ``asymmetry``: ``products`` reads the arrays one at a time; ``measured`` takes it from the susceptibility of the
    network itself, by tones of ``probe`` activity units at every neuron with the first ``samples`` of the batch held.
    Either is measured anew for every batch. ``points``: of Cauchy's formula; 2 is +-beta.
    """

    name: Literal["asymmetric_ep"] = "asymmetric_ep"
    asymmetry: Literal["products", "measured"] = "products"
    points: Count = 2
    nudge: NudgeKind = "open_loop"
    probe: Positive = 0.1
    samples: Count = 1

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """The amplitude is a number, and so are harmonics and periods of probing tones."""
        conjugate_of(network, "auto")
        if network.resistive:
            raise InputError("rule.name: a resistive network has no asymmetry to undo; expected ep")
        if self.points == 1:
            raise InputError("rule.points: expected at least 2, got 1")
        nudge.fixed_amplitude(self.name)
        check_kind(self.nudge, cost_name)
        if self.asymmetry == "measured":
            nudge.fixed_tone(self.name)

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """Nudges are held; tones measure the asymmetry where products do not."""
        if self.asymmetry == "measured":
            return {}
        return without_tone(self.name) | dict.fromkeys(("rule.probe", "rule.samples"), "belongs to asymmetry measured")

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        nudge = context.nudge
        tones = nudge.tones(self.probe) if self.asymmetry == "measured" else None
        return AsymmetricEP(self, nudge.fixed_amplitude(self.name), tones)


@final
class AsymmetricEP(LastingRule):
    """The rule ``asymmetric_ep``.

    Args:
        section: its points, its nudge, and how the asymmetry is found.
        amplitude: beta in activity units.
        tones: that it is measured with; None: from products.
    """

    def __init__(self, section: AsymmetricEPSection, amplitude: float, tones: Tones | None) -> None:
        self._section = section
        self._amplitude = amplitude
        self._tones = tones

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return self._section.name

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Feedback across nodes into all of them, and what the asymmetry is measured with."""
        needs = ["cross_feedback", "node_nudges"]
        if self._tones is None:
            needs.append("forward_products")
            needs += ["transposed_products"] if network.feedback == "shared" else []
        needs += ["feedback_nudges"] if self._section.nudge == "feedback" else []
        needs += ["complex_nudges"] if self._section.points > 2 else []
        return tuple(needs)

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """The asymmetry, then states under all nudges; if it could not be measured, no sample counts as settled."""
        batch = len(phase.error)
        skew = self._asymmetry(substrate, phase)
        if skew is None:
            phase = replace(phase, usable=np.zeros(batch, dtype=np.bool_))
        nudges, weights = circle(self._amplitude, self._section.points)
        points = Points(np.tile(nudges, (batch, 1)), np.tile(weights, (batch, 1)), np.zeros(batch))
        conjugate = conjugate_of(substrate.network, "auto")
        return measure_held(substrate, phase, points, self._section.nudge, conjugate, self._amplitude, cross=skew)

    def _asymmetry(self, substrate: Substrate, phase: FreePhase) -> FloatArray | None:
        """W - W^T, (node, node); None where the network could not be probed."""
        if self._tones is None:
            return asymmetry_from_products(substrate)
        found = perturb(substrate, phase.inputs[: self._section.samples], self._tones)
        substrate.hold(phase.inputs * substrate.scale.volts_per_unit)
        substrate.settle()
        return asymmetry_from_susceptibility(substrate.network, found)
