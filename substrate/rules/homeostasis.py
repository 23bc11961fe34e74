"""Jacobian homeostasis from forward products (arXiv 2309.02214; physics.md, section 3).

The penalty is L = E||J e||^2 - E[e^T J J e] = 2 ||A||_F^2 with A = (J - J^T)/2 and J the Jacobian in activity
coordinates; its gradient, dL/dJ = 2 E[(J e) e^T - e (J e)^T], holds products J e only, which a device can measure: the
probes e are put on the word lines and the currents are read. The diagonal of J (the neurons' own slopes) is symmetric
and drops out, so the arrays alone are read. Probes drawn as random orthogonal sets keep the expectation of normal ones
and have far less variance: a full set measures the block exactly.
"""

from typing import final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.products import weighted_sums


@final
class Homeostasis:
    """The penalty's descent directions.

    Args:
        strength: coefficient of the penalty, which is divided by the number of neurons.
        probes: probes of each block and step; 0: as many as the block has lines.
        rng: draws the probes.
    """

    def __init__(self, strength: float, probes: int, rng: np.random.Generator) -> None:
        self._strength = strength
        self._probes = probes
        self._rng = rng

    @property
    def active(self) -> bool:
        """Whether there is a penalty at all."""
        return self._strength > 0

    @property
    def generator(self) -> np.random.Generator:
        """What draws the probes."""
        return self._rng

    def directions(self, substrate: Substrate) -> dict[str, FloatArray]:
        """Descent direction of every array that has a mirror, (rows, columns), weight units."""
        network = substrate.network
        found: dict[str, FloatArray] = {}
        for backward in network.backward:
            forward = network.mirror(backward)
            if forward is None or network.feedback == "shared":
                continue
            lower, upper = forward.source.size, forward.target.size
            below, above = self._probe(lower), self._probe(upper)
            # Means over probes of F e e^T and of B e e^T: unbiased estimates of the two matrices from products.
            up = below.T @ weighted_sums(substrate, forward, below) / len(below)
            down = above.T @ weighted_sums(substrate, backward, above) / len(above)
            # dL/dF = 2 (F - B^T) and dL/dB = 2 (B - F^T) in the mean.
            pull = -self._strength / network.node_count * 2.0 * (up - down.T)
            whole = np.zeros(forward.shape)
            whole[:lower] = pull
            found[forward.name] = whole
            found[backward.name] = -pull.T
        return found

    def _probe(self, size: int) -> FloatArray:
        """Rows e with E[e e^T] = 1: random orthogonal sets, (probe, size)."""
        count = self._probes or size
        sets = [
            np.linalg.qr(self._rng.standard_normal((size, size)))[0] * np.sqrt(size) for _ in range(-(-count // size))
        ]
        return np.concatenate(sets)[:count]


def symmetry(forward: FloatArray, backward: FloatArray) -> float:
    """(|S|^2 - |A|^2)/(|S|^2 + |A|^2) of the block [[0, B], [F, 0]]: 1 symmetric, 0 unrelated, -1 antisymmetric.

    Args:
        forward: (lower, upper) weights.
        backward: (upper, lower) weights.
    """
    total = float(np.sum(forward**2) + np.sum(backward**2))
    return 2.0 * float(np.sum(forward * backward.T)) / total if total else 1.0
