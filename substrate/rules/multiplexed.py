"""Multiplexed perturbation as a learning rule: the adjoint of every neuron from tones at all of them.

It takes neither symmetry nor a model of the device, only currents into every node; its time grows with their number.
The same measurement is the reference of a gradient check on hardware.
"""

from collections.abc import Mapping
from typing import Literal, final

import numpy as np

from substrate.arrays import BoolArray, FloatArray
from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.adjoint import adjoint_estimate
from substrate.rules.base import Estimate, FreePhase, LastingRule, Rule, Update, variance_of_error
from substrate.rules.perturbation import Tones, perturb
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection


@final
class MultiplexedSection(RuleSection):
    """Section of ``multiplexed``, which has no keys: ``nudge`` says with which tone each neuron is pushed."""

    name: Literal["multiplexed"] = "multiplexed"

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """The amplitude is a number, and so are harmonics and periods."""
        nudge.fixed_tone(self.name)

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """Each neuron is pushed as ``nudge`` says."""
        return {}

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        nudge = context.nudge
        return Multiplexed(nudge.tones(nudge.fixed_amplitude(self.name)))


def multiplexed_adjoint(
    substrate: Substrate, phase: FreePhase, tones: Tones
) -> tuple[FloatArray, BoolArray, FloatArray]:
    """chi^T e of a batch.

    Returns:
        (batch, node) in activity units; which samples are sound, (batch,); variance that noise leaves on one entry,
        (batch,), NaN where tones of a single period do not tell.
    """
    found = perturb(substrate, phase.inputs, tones)
    values = np.zeros(phase.activity.shape)
    values[:, substrate.network.output.nodes] = phase.error
    adjoint = found.adjoint(values)
    if tones.plan.periods == 1:
        return adjoint, found.sound, np.full(len(adjoint), np.nan)
    variance = found.susceptibility_variance * np.sum(phase.error**2, axis=1)
    return adjoint, found.sound, variance + variance_of_error(phase.error, adjoint, found.noise)


@final
class Multiplexed(LastingRule):
    """The rule ``multiplexed``.

    Args:
        tones: how neurons are pushed.
    """

    def __init__(self, tones: Tones) -> None:
        self._tones = tones

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return "multiplexed"

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Currents into every node."""
        return ("node_nudges",) if len(network.layers) > 2 else ()

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """The adjoint, measured."""
        adjoint, sound, variance = multiplexed_adjoint(substrate, phase, self._tones)
        return adjoint_estimate(substrate.network, phase, adjoint, sound, variance, self._tones.amplitude)
