"""Multiplexed perturbation: tones at the neurons, and what every node answers, without a model and without symmetry.

The response of all nodes to a current into node i is column i of the susceptibility chi = ds/dI. With it the adjoint
chi^T e of an error e, -dC/dI of every neuron, is a sum of measured numbers (physics.md, section 3; homodyne gradient
extraction of parameters: Boon et al. 2025). One frequency serves all neurons: they are told apart by Hadamard signs
over successive patterns, which leaves N times less noise variance than one neuron at a time at the same amplitude. In a
resistive network, whose diodes switch, neurons are pushed one at a time: all together would make more of them switch.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.arrays import BoolArray, FloatArray
from substrate.contract import Substrate
from substrate.hadamard import sign_patterns
from substrate.network import Network
from substrate.tone_response import measure_tone
from substrate.tones import SamplingPlan

ROWS = 512
"""Rows (samples times patterns) that are held at a time."""


@final
@dataclass(frozen=True)
class Tones:
    """How neurons are perturbed: ``amplitude`` of each in activity units, the tone and its sampling.

    ``frequencies``: how many the responses are extrapolated from, each half the one before. ``settle_tolerance``:
    samples whose periods differ by more are not sound; None: they are not compared.
    """

    amplitude: float
    plan: SamplingPlan
    frequencies: int = 1
    settle_tolerance: float | None = None


@final
@dataclass(frozen=True)
class Perturbed:
    """What the nodes answered, in activity units.

    Attributes:
        patterns: (pattern, node), with orthogonal columns of equal norm.
        responses: (sample, pattern, node) to a unit of each pattern.
        variance: that read-out noise leaves on one entry of ``responses``; 0 where a single period does not tell.
        noise: variance of one reading.
        sound: (sample,), settled and not saturated under all patterns.
    """

    patterns: FloatArray
    responses: FloatArray
    variance: float
    noise: float
    sound: BoolArray

    @property
    def susceptibility(self) -> FloatArray:
        """chi, (sample, node, pushed node)."""
        return np.asarray(np.swapaxes(self.responses, 1, 2) @ self.patterns / self._power)

    @property
    def susceptibility_variance(self) -> float:
        """Variance of one entry of chi."""
        return self.variance / self._power

    def adjoint(self, values: FloatArray) -> FloatArray:
        """chi^T v, (sample, node), for values (sample, node)."""
        answers = np.matmul(self.responses, values[:, :, None])[:, :, 0]
        return np.asarray(answers @ self.patterns / self._power)

    @property
    def _power(self) -> float:
        return float(np.sum(self.patterns[:, 0] ** 2))


def perturb(substrate: Substrate, inputs: FloatArray, tones: Tones) -> Perturbed:
    """Push all neurons and record all nodes; the inputs are then held as before, in their free state.

    Args:
        substrate: has ``node_nudges`` where there are hidden nodes.
        inputs: (sample, input) activities.
        tones: how.

    Raises:
        CapabilityError: nudges that the device lacks or does not survive.
    """
    network, scale = substrate.network, substrate.scale
    patterns = _patterns(network)
    count, nodes = len(inputs), network.node_count
    responses = np.empty((count, len(patterns), nodes))
    sound = np.ones(count, dtype=np.bool_)
    width = max(1, ROWS // count)
    variance = noise = 0.0
    for start in range(0, len(patterns), width):
        chosen = patterns[start : start + width]
        amperes = np.repeat(chosen, count, axis=0) * (tones.amplitude * scale.unit_amperes)
        substrate.hold(np.tile(inputs, (len(chosen), 1)) * scale.volts_per_unit)
        substrate.settle()
        amplitude = np.full(len(amperes), tones.amplitude)
        found = measure_tone(substrate, amperes, amplitude, tones.plan, tones.frequencies, tones.settle_tolerance)
        responses[:, start : start + width] = found.response.reshape(len(chosen), count, nodes).swapaxes(0, 1)
        sound &= (found.settled & found.steady & ~found.saturated).reshape(len(chosen), count).all(axis=0)
        share = len(chosen) / len(patterns)
        variance += share * float(np.mean(found.variance))
        noise += share * found.reading_variance
    substrate.hold(inputs * scale.volts_per_unit)
    substrate.settle()
    return Perturbed(patterns, responses, variance, noise, sound)


def _patterns(network: Network) -> FloatArray:
    return np.eye(network.node_count) if network.resistive else sign_patterns(network.node_count)
