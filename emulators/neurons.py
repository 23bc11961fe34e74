"""Amplifier neurons: transfer functions with the mismatch of gain, offset and saturation from neuron to neuron."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.activations import ACTIVATIONS, SMOOTH, SOFTNESS, Function
from substrate.arrays import BoolArray, FloatArray, IntArray

__all__ = ["KERNEL_KINDS", "SOFTNESS", "TRANSFER", "Neurons"]


TRANSFER: Mapping[str, tuple[Function, Function]] = {
    name: (ACTIVATIONS[name].value, ACTIVATIONS[name].slope) for name in SMOOTH
}
"""Transfer function and slope of each activation that can be solved for, in activity units."""

KERNEL_KINDS: Mapping[str, int] = {"tanh": 0, "logistic": 1, "soft_rectified": 2}
"""What the compiled kernels (``networks.settling_kernels``) call each activation."""


@final
@dataclass(frozen=True)
class Neurons:
    """The neurons of all free nodes: s = saturation f(gain (u + offset)), everything in activity units.

    Attributes:
        activation: name in ``activations.ACTIVATIONS``.
        gain: (node,), 1 nominally.
        offset: (node,), input-referred, 0 nominally.
        saturation: (node,), output swing relative to nominal.
        linear: (node,), whether f(z) = z instead; None: of none.
    """

    activation: str
    gain: FloatArray
    offset: FloatArray
    saturation: FloatArray
    linear: BoolArray | None = None

    @classmethod
    def mismatched(
        cls,
        activation: str,
        count: int,
        rng: np.random.Generator,
        gain_spread: float = 0.0,
        offset_spread: float = 0.0,
        saturation_spread: float = 0.0,
        linear: BoolArray | None = None,
    ) -> "Neurons":
        """Draw a population: log-normal gains and swings, normal offsets, with the given standard deviations."""
        return cls(
            activation,
            np.exp(gain_spread * rng.standard_normal(count)),
            offset_spread * rng.standard_normal(count),
            np.exp(saturation_spread * rng.standard_normal(count)),
            linear,
        )

    def part(self, nodes: slice) -> "Neurons":
        """The neurons of some nodes."""
        return self._taken(nodes)

    def pick(self, nodes: IntArray) -> "Neurons":
        """The neurons of some nodes, in the order given."""
        return self._taken(nodes)

    def _taken(self, nodes: slice | IntArray) -> "Neurons":
        linear = None if self.linear is None else self.linear[nodes]
        # Where nothing is linear, nothing has to be chosen between.
        linear = linear if linear is not None and linear.any() else None
        return Neurons(self.activation, self.gain[nodes], self.offset[nodes], self.saturation[nodes], linear)

    def activity(self, u: FloatArray) -> FloatArray:
        """Outputs for summed inputs ``u`` (..., node)."""
        z = self.gain * (u + self.offset)
        value = ACTIVATIONS[self.activation].value(z)
        if self.linear is not None:
            value = np.where(self.linear, z, value)
        return self.saturation * value

    def slope(self, u: FloatArray) -> FloatArray:
        """d(activity)/du at ``u`` (..., node)."""
        slope = ACTIVATIONS[self.activation].slope(self.gain * (u + self.offset))
        if self.linear is not None:
            slope = np.where(self.linear, 1.0, slope)
        return self.saturation * self.gain * slope
