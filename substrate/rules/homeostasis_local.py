"""The penalty's gradient to first order, from each pair of neurons alone.

dW_ij ~ -(chi_ij - chi_ji)/(chi_ii chi_jj): what two neurons answer to each other and to themselves (physics.md, section
3). It points along the exact direction where couplings are weak, and away from it where loops are strong.
"""

from typing import final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.rules.asymmetry import first_order_asymmetry
from substrate.rules.penalty import PenaltyGradient, gradients_of_skew
from substrate.rules.perturbation import Tones, perturb


@final
class LocalSusceptibility(PenaltyGradient):
    """chi with the first ``samples`` inputs of the batch held.

    Args:
        tones: that neurons are pushed by.
        samples: the mean over them is taken.
    """

    def __init__(self, tones: Tones, samples: int) -> None:
        self._tones = tones
        self._samples = samples

    @property
    def requirements(self) -> tuple[str, ...]:
        """Currents into every node."""
        return ("node_nudges",)

    def gradients(
        self, substrate: Substrate, inputs: FloatArray, probes: int, rng: np.random.Generator
    ) -> dict[str, FloatArray]:
        """To first order in the couplings; nothing where no sample settled under all tones."""
        found = perturb(substrate, inputs[: self._samples], self._tones)
        return gradients_of_skew(substrate.network, first_order_asymmetry(substrate.network, found))
