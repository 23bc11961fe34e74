"""The penalty's gradient as published, which reverse-mode differentiation gives (arXiv 2309.02214).

Of one probe, ||J e||^2 - e^T J J e has the gradient 2 (J e) e^T - e (J e)^T - (J^T e) e^T: beside products it takes
transposed ones, J^T e. Probes are over all nodes at once. J's diagonal is left out: it adds nothing to the expectation.
"""

from typing import final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.products import weighted_sums
from substrate.rules.penalty import PenaltyGradient, mirrored_pairs


@final
class TransposedProducts(PenaltyGradient):
    """Normal probes over all nodes; ``probes`` of them, 0 for as many as there are nodes."""

    @property
    def requirements(self) -> tuple[str, ...]:
        """Arrays are read in both directions."""
        return ("forward_products", "transposed_products")

    def gradients(
        self, substrate: Substrate, inputs: FloatArray, probes: int, rng: np.random.Generator
    ) -> dict[str, FloatArray]:
        """Unbiased."""
        network = substrate.network
        probe = rng.standard_normal((probes or network.node_count, network.node_count))
        forth, back = np.zeros(probe.shape), np.zeros(probe.shape)
        pairs = [coupling for pair in mirrored_pairs(network) for coupling in pair]
        for coupling in pairs:
            source, target = coupling.source.nodes, coupling.target.nodes
            forth[:, target] += weighted_sums(substrate, coupling, probe[:, source])
            back[:, source] += weighted_sums(substrate, coupling, probe[:, target], "backward")
        found: dict[str, FloatArray] = {}
        for coupling in pairs:
            source, target = coupling.source.nodes, coupling.target.nodes
            here = probe[:, source]
            total = here.T @ (2.0 * forth[:, target] - back[:, target]) - forth[:, source].T @ probe[:, target]
            found[coupling.name] = total / len(probe)
        return found
