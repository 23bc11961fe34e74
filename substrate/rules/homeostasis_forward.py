"""The penalty's gradient from forward products alone.

dL/dJ = 2 E[(J e) e^T - e (J e)^T] holds products J e only, which a device can measure: the probes e are put on the word
lines and the currents are read. Probes drawn as random orthogonal sets keep the expectation of normal ones and have far
less variance: a full set measures the block exactly.
"""

from typing import final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.products import weighted_sums
from substrate.rules.penalty import PenaltyGradient, mirrored_pairs


@final
class ForwardProducts(PenaltyGradient):
    """Each pair of arrays by itself; ``probes`` a block, 0 for as many as the block has lines."""

    @property
    def requirements(self) -> tuple[str, ...]:
        """One array at a time is read."""
        return ("forward_products",)

    def gradients(
        self, substrate: Substrate, inputs: FloatArray, probes: int, rng: np.random.Generator
    ) -> dict[str, FloatArray]:
        """Unbiased, and skew in every draw."""
        found: dict[str, FloatArray] = {}
        for forward, backward in mirrored_pairs(substrate.network):
            below = _probes(forward.source.size, probes, rng)
            above = _probes(forward.target.size, probes, rng)
            # Means over probes of F e e^T and of B e e^T: unbiased estimates of the two matrices from products.
            up = below.T @ weighted_sums(substrate, forward, below) / len(below)
            down = above.T @ weighted_sums(substrate, backward, above) / len(above)
            found[forward.name] = 2.0 * (up - down.T)
            found[backward.name] = 2.0 * (down - up.T)
        return found


def _probes(size: int, count: int, rng: np.random.Generator) -> FloatArray:
    """Rows e with E[e e^T] = 1: random orthogonal sets, (probe, size)."""
    wanted = count or size
    sets = [np.linalg.qr(rng.standard_normal((size, size)))[0] * np.sqrt(size) for _ in range(-(-wanted // size))]
    return np.concatenate(sets)[:wanted]
