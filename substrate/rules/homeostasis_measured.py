"""The penalty's gradient from the network's own susceptibility: tones at every neuron, no model and no array alone.

W - W^T = chi^-1 (chi - chi^T) chi^-T (``asymmetry``): exact but for noise. What the neurons themselves feel counts, the
mismatch of their gains included, not what stands in the cells.
"""

from typing import final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.rules.asymmetry import asymmetry_from_susceptibility
from substrate.rules.penalty import PenaltyGradient, gradients_of_skew
from substrate.rules.perturbation import Tones, perturb


@final
class MeasuredSusceptibility(PenaltyGradient):
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
        """Exact but for noise; nothing where no sample settled under all tones."""
        found = perturb(substrate, inputs[: self._samples], self._tones)
        return gradients_of_skew(substrate.network, asymmetry_from_susceptibility(substrate.network, found))
