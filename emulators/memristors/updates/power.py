"""Power step: the step is a power of the distance to the bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from emulators.memristors.updates.base import POWER, FloatArray, Parameters, Shape, ShapedLaw
from emulators.memristors.updates.checks import require_number


@final
@dataclass(frozen=True, kw_only=True)
class Power(ShapedLaw):
    """Power step: f_up = ((b_max - x)/(b_max - b_min))^gamma_up, f_down = ((x - b_min)/(b_max - b_min))^gamma_down.

    gamma 0 is the constant step, gamma 1 soft bounds with half the step at mid range. (Fusi & Abbott, Nat. Neurosci.
    10:485, 2007, doi:10.1038/nn1859; Frascaroli et al., Sci. Rep. 8:7178, 2018.)
    """

    law: ClassVar[str] = "power"

    gamma_up: float = 1.0
    gamma_down: float = 1.0

    def _check_shape(self) -> None:
        require_number("gamma_up", self.gamma_up, 0.0)
        require_number("gamma_down", self.gamma_down, 0.0)

    @property
    def shape(self) -> Shape:
        """The two exponents."""
        constants = np.array([self.origin, self.gamma_up, self.gamma_down], dtype=np.float64)
        return Shape(family=POWER, constants=constants)

    def relative_step(self, state: FloatArray, direction: int, parameters: Parameters) -> FloatArray:
        """Return f at ``state``."""
        low, high = parameters["bound_min"], parameters["bound_max"]
        share = np.clip((state - low) / (high - low), 0.0, 1.0)
        return (1.0 - share) ** self.gamma_up if direction > 0 else share**self.gamma_down
