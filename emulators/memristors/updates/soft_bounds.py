"""Soft bounds: the step falls linearly to zero at the bound that it moves towards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from emulators.memristors.updates.base import AffineLaw, FloatArray, Parameters
from substrate.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class SoftBounds(AffineLaw):
    """Soft bounds: f_up = (b_max - x)/(b_max - x0), f_down = (x - b_min)/(x0 - b_min), x0 the origin.

    n pulses up take x to b_max - (b_max - x)(1 - r)^n with r = step_up/(b_max - x0), and likewise down. At the
    origin both are 1, so it is the symmetry point of a device with equal steps. (Fusi & Abbott, Nat. Neurosci. 10:485,
    2007; as a device model: Frascaroli et al., Sci. Rep. 8:7178, 2018.)
    """

    law: ClassVar[str] = "soft_bounds"

    def _check_shape(self) -> None:
        if not self.bound_min < self.origin < self.bound_max:
            raise InputError(
                f"origin: soft bounds need it strictly between bound_min {self.bound_min:g} and "
                f"bound_max {self.bound_max:g}, got {self.origin:g}"
            )

    def slopes(self, parameters: Parameters) -> tuple[FloatArray, FloatArray]:
        """Return 1/(b - x0) of the bound that each direction moves towards."""
        return 1.0 / (parameters["bound_max"] - self.origin), 1.0 / (parameters["bound_min"] - self.origin)
