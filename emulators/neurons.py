"""Amplifier neurons: transfer functions with the mismatch of gain, offset and saturation from neuron to neuron."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.arrays import FloatArray, IntArray


def _logistic(z: FloatArray) -> FloatArray:
    # 1/(1 + exp(-4z + 2)) written through tanh, which neither overflows nor warns.
    return np.asarray(0.5 * (1.0 + np.tanh(2.0 * z - 1.0)))


def _logistic_slope(z: FloatArray) -> FloatArray:
    t = np.tanh(2.0 * z - 1.0)
    return np.asarray(1.0 - t * t)


def _tanh_slope(z: FloatArray) -> FloatArray:
    t = np.tanh(z)
    return np.asarray(1.0 - t * t)


SOFTNESS = 0.25
"""Width of the knee of the soft rectifier, in activity units."""


def _soft_rectified(z: FloatArray) -> FloatArray:
    return np.asarray(SOFTNESS * np.logaddexp(0.0, z / SOFTNESS))


def _soft_rectified_slope(z: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z / SOFTNESS)))


TRANSFER: Mapping[str, tuple[Callable[[FloatArray], FloatArray], Callable[[FloatArray], FloatArray]]] = {
    # tanh; the logistic of arXiv 2209.00530, 1/(1 + exp(-4z + 2)); and a softplus of knee SOFTNESS.
    "tanh": (np.tanh, _tanh_slope),
    "logistic": (_logistic, _logistic_slope),
    "soft_rectified": (_soft_rectified, _soft_rectified_slope),
}
"""Transfer function and slope of each activation, in activity units."""

KERNEL_KINDS: Mapping[str, int] = {"tanh": 0, "logistic": 1, "soft_rectified": 2}
"""What the compiled kernels (``networks.settling_kernels``) call each activation."""


@final
@dataclass(frozen=True)
class Neurons:
    """The neurons of all free nodes: s = saturation f(gain (u + offset)), everything in activity units.

    Attributes:
        activation: name in ``TRANSFER``.
        gain: (node,), 1 nominally.
        offset: (node,), input-referred, 0 nominally.
        saturation: (node,), output swing relative to nominal.
    """

    activation: str
    gain: FloatArray
    offset: FloatArray
    saturation: FloatArray

    @classmethod
    def mismatched(
        cls,
        activation: str,
        count: int,
        rng: np.random.Generator,
        gain_spread: float = 0.0,
        offset_spread: float = 0.0,
        saturation_spread: float = 0.0,
    ) -> "Neurons":
        """Draw a population: log-normal gains and swings, normal offsets, with the given standard deviations."""
        return cls(
            activation,
            np.exp(gain_spread * rng.standard_normal(count)),
            offset_spread * rng.standard_normal(count),
            np.exp(saturation_spread * rng.standard_normal(count)),
        )

    def part(self, nodes: slice) -> "Neurons":
        """The neurons of some nodes."""
        return Neurons(self.activation, self.gain[nodes], self.offset[nodes], self.saturation[nodes])

    def pick(self, nodes: IntArray) -> "Neurons":
        """The neurons of some nodes, in the order given."""
        return Neurons(self.activation, self.gain[nodes], self.offset[nodes], self.saturation[nodes])

    def activity(self, u: FloatArray) -> FloatArray:
        """Outputs for summed inputs ``u`` (..., node)."""
        return self.saturation * TRANSFER[self.activation][0](self.gain * (u + self.offset))

    def slope(self, u: FloatArray) -> FloatArray:
        """d(activity)/du at ``u`` (..., node)."""
        return self.saturation * self.gain * TRANSFER[self.activation][1](self.gain * (u + self.offset))
