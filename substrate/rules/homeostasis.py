"""Jacobian homeostasis: descent on the penalty on asymmetry (arXiv 2309.02214; ``penalty``), and the symmetry score."""

from typing import final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.rules.homeostasis_forward import ForwardProducts
from substrate.rules.penalty import PenaltyGradient


@final
class Homeostasis:
    """The penalty's descent directions.

    Args:
        strength: coefficient of the penalty, which is divided by the number of neurons.
        probes: probes of each block and step; 0 is for the estimator's own choice.
        rng: draws the probes.
        estimator: of the penalty's gradient; by default from forward products.
    """

    def __init__(
        self, strength: float, probes: int, rng: np.random.Generator, estimator: PenaltyGradient | None = None
    ) -> None:
        self._strength = strength
        self._probes = probes
        self._rng = rng
        self._estimator = estimator or ForwardProducts()

    @property
    def active(self) -> bool:
        """Whether there is a penalty at all."""
        return self._strength > 0

    @property
    def requirements(self) -> tuple[str, ...]:
        """Names of the capabilities that it needs."""
        return self._estimator.requirements if self.active else ()

    @property
    def generator(self) -> np.random.Generator:
        """What draws the probes."""
        return self._rng

    def directions(self, substrate: Substrate, inputs: FloatArray) -> dict[str, FloatArray]:
        """Descent direction of every array that has a mirror, (rows, columns), weight units.

        On a linear map W - W^T shrinks by 1 - 4 rate strength/n in a step along the exact ones, n neurons.

        Args:
            substrate: settled.
            inputs: (batch, input) activities that are held.
        """
        network = substrate.network
        found: dict[str, FloatArray] = {}
        for name, gradient in self._estimator.gradients(substrate, inputs, self._probes, self._rng).items():
            coupling = network.array(name)
            found[name] = np.zeros(coupling.shape)
            found[name][: coupling.source_lines] = -self._strength / network.node_count * gradient
        return found


def symmetry(forward: FloatArray, backward: FloatArray) -> float:
    """(|S|^2 - |A|^2)/(|S|^2 + |A|^2) of the block [[0, B], [F, 0]]: 1 symmetric, 0 unrelated, -1 antisymmetric.

    Args:
        forward: (lower, upper) weights.
        backward: (upper, lower) weights.
    """
    total = float(np.sum(forward**2) + np.sum(backward**2))
    return 2.0 * float(np.sum(forward * backward.T)) / total if total else 1.0
