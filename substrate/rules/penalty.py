"""The penalty on asymmetry, and what every estimator of its gradient shares (arXiv 2309.02214; physics.md, section 3).

L = E||J e||^2 - E[e^T J J e] = 2 ||A||_F^2 for probes e ~ N(0, I), with A = (J - J^T)/2 and J the Jacobian in activity
coordinates. dL/dJ = 2 (J - J^T). The diagonal of J (the neurons' own slopes) is symmetric and drops out.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.network import Coupling, Network


class PenaltyGradient(ABC):
    """An estimator of dL/dw of the arrays that have a mirror."""

    @property
    @abstractmethod
    def requirements(self) -> tuple[str, ...]:
        """Names of the capabilities that it needs."""

    @abstractmethod
    def gradients(
        self, substrate: Substrate, inputs: FloatArray, probes: int, rng: np.random.Generator
    ) -> dict[str, FloatArray]:
        """Measure.

        Args:
            substrate: settled, with ``inputs`` held.
            inputs: (batch, input) activities.
            probes: of those that draw probes, how many; 0 is for their own choice.
            rng: draws them.

        Returns:
            dL/dw by array, (source's line, column); no arrays where nothing could be measured.
        """


def mirrored_pairs(network: Network) -> Iterator[tuple[Coupling, Coupling]]:
    """(forward, backward) of every pair of layers that two arrays of their own join."""
    if network.feedback == "shared":
        return
    for backward in network.backward:
        forward = network.mirror(backward)
        if forward is not None:
            yield forward, backward


def gradients_of_skew(network: Network, skew: FloatArray | None) -> dict[str, FloatArray]:
    """dL/dw from W - W^T, (node, node) with W_ij the weight from j to i; none where it could not be measured."""
    found: dict[str, FloatArray] = {}
    if skew is None:
        return found
    for pair in mirrored_pairs(network):
        for coupling in pair:
            found[coupling.name] = 2.0 * skew[coupling.target.nodes, coupling.source.nodes].T
    return found
