"""The couplings of a current-mode network as two matrices between its two groups of layers, for whole waveforms."""

from typing import final

import numpy as np

from emulators.networks.current_mode import CurrentModeNetwork
from substrate.arrays import FloatArray, IntArray


@final
class Couplings:
    """W, which only joins the pivot nodes with the other nodes (see ``CurrentModeNetwork``).

    Attributes:
        pivot, other: indices of the two groups' nodes, in the order of the layers.
        to_other: (pivot, other) weights.
        to_pivot: (other, pivot) weights.
    """

    def __init__(self, network: CurrentModeNetwork) -> None:
        self.pivot: IntArray = np.sort(network.order[: network.pivot_count])
        self.other: IntArray = np.sort(network.order[network.pivot_count :])
        weights = network.weights()
        self.to_other: FloatArray = np.ascontiguousarray(weights[np.ix_(self.pivot, self.other)])
        self.to_pivot: FloatArray = np.ascontiguousarray(weights[np.ix_(self.other, self.pivot)])

    def spread(self, s: FloatArray) -> FloatArray:
        """W s for activities (..., node)."""
        out = np.empty_like(s)
        out[..., self.other] = s[..., self.pivot] @ self.to_other
        out[..., self.pivot] = s[..., self.other] @ self.to_pivot
        return out
