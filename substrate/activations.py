"""Transfer functions of neurons, s = f(z), in activity units, and their slopes, also from the activity alone.

A rule that runs beside the device sees activities, not summed inputs: the slope that it takes is that of the nominal
neuron at the activity it read. All functions here rise with z, so that the slope is a function of s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np

from substrate.arrays import FloatArray

Function: TypeAlias = Callable[[FloatArray], FloatArray]

SOFTNESS = 0.25
"""Width of the knee of the soft rectifier, in activity units."""


@final
@dataclass(frozen=True)
class Activation:
    """A transfer function.

    Attributes:
        value: f(z).
        slope: f'(z).
        slope_at: f' by the activity s = f(z).
    """

    value: Function
    slope: Function
    slope_at: Function


def _tanh_slope(z: FloatArray) -> FloatArray:
    t = np.tanh(z)
    return np.asarray(1.0 - t * t)


def _logistic(z: FloatArray) -> FloatArray:
    # 1/(1 + exp(-4z + 2)) written through tanh, which neither overflows nor warns.
    return np.asarray(0.5 * (1.0 + np.tanh(2.0 * z - 1.0)))


def _logistic_slope(z: FloatArray) -> FloatArray:
    t = np.tanh(2.0 * z - 1.0)
    return np.asarray(1.0 - t * t)


def _soft_rectified(z: FloatArray) -> FloatArray:
    return np.asarray(SOFTNESS * np.logaddexp(0.0, z / SOFTNESS))


def _soft_rectified_slope(z: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z / SOFTNESS)))


ACTIVATIONS: Mapping[str, Activation] = {
    "tanh": Activation(np.tanh, _tanh_slope, lambda s: np.maximum(1.0 - s * s, 0.0)),
    # Of arXiv 2209.00530: 1/(1 + exp(-4z + 2)), f' = 4 s (1 - s).
    "logistic": Activation(_logistic, _logistic_slope, lambda s: np.maximum(4.0 * s * (1.0 - s), 0.0)),
    # A softplus of knee SOFTNESS: f' = 1/(1 + exp(-z/SOFTNESS)) = 1 - exp(-s/SOFTNESS).
    "soft_rectified": Activation(
        _soft_rectified, _soft_rectified_slope, lambda s: -np.expm1(-np.maximum(s, 0.0) / SOFTNESS)
    ),
    "rectified_linear": Activation(
        lambda z: np.maximum(z, 0.0), lambda z: np.where(z > 0.0, 1.0, 0.0), lambda s: np.where(s > 0.0, 1.0, 0.0)
    ),
    "linear": Activation(lambda z: z, np.ones_like, np.ones_like),
}
"""By name. A read-out noise that takes an activity out of its range gives the slope 0."""

SMOOTH = ("tanh", "logistic", "soft_rectified")
"""Those of hidden nodes where layers feed back: their equations are solved with derivatives, and continued."""
