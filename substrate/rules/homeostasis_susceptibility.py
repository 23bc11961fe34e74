"""The penalty's gradient from the network's own susceptibility: tones at every neuron, no model and no array alone.

W - W^T is had from chi exactly but for noise, or to first order from each pair of neurons alone (``asymmetry``). What
the neurons themselves feel counts, the mismatch of their gains included, not what stands in the cells. The first order
points along the exact direction where couplings are weak, and away from it where loops are strong.
"""

from collections.abc import Callable
from typing import TypeAlias, final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.penalty import PenaltyGradient, gradients_of_skew
from substrate.rules.perturbation import Perturbed, Tones, perturb

Asymmetry: TypeAlias = Callable[[Network, Perturbed], FloatArray | None]
"""W - W^T, (node, node), from what the nodes answered; None if no sample is sound."""


@final
class SusceptibilityGradient(PenaltyGradient):
    """chi with the first ``samples`` inputs of the batch held.

    Args:
        tones: that neurons are pushed by.
        samples: the mean over them is taken.
        asymmetry: how the skew part follows from chi.
    """

    def __init__(self, tones: Tones, samples: int, asymmetry: Asymmetry) -> None:
        self._tones = tones
        self._samples = samples
        self._asymmetry = asymmetry

    @property
    def requirements(self) -> tuple[str, ...]:
        """Currents into every node."""
        return ("node_nudges",)

    def gradients(
        self, substrate: Substrate, inputs: FloatArray, probes: int, rng: np.random.Generator
    ) -> dict[str, FloatArray]:
        """Nothing where no sample settled under all tones."""
        found = perturb(substrate, inputs[: self._samples], self._tones)
        return gradients_of_skew(substrate.network, self._asymmetry(substrate.network, found))
