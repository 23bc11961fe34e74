"""Exponential step: the step depends exponentially on the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from emulators.memristors.updates.base import EXPONENTIAL, FloatArray, Parameters, Shape, ShapedLaw
from emulators.memristors.updates.checks import require_number


@final
@dataclass(frozen=True, kw_only=True)
class Exponential(ShapedLaw):
    """Exponential step: f_d = max(0, 1 - A_d exp(d gamma_d z)), z = 2 a (x - x0)/(b_max - b_min) + b, d = +-1.

    A below 0 makes the step larger than ``step`` at one end of the range. (Fit of measured ReRAM by Gong et al., Nat.
    Commun. 9:2102, 2018, doi:10.1038/s41467-018-04485-1; this form: Rasch et al., AICAS 2021, arXiv:2104.02184.)

    ``cycle_offset``, ``cycle_slope``: where either is positive, a pulse's noise has the standard deviation
    cycle_spread (|mean change| + cycle_offset + cycle_slope |x - x0|) instead.
    """

    law: ClassVar[str] = "exponential"

    amplitude_up: float
    amplitude_down: float
    gamma_up: float
    gamma_down: float
    a: float
    b: float = 0.0
    cycle_offset: float = 0.0
    cycle_slope: float = 0.0

    def _check_shape(self) -> None:
        for key in ("amplitude_up", "amplitude_down", "gamma_up", "gamma_down", "a", "b"):
            require_number(key, getattr(self, key))
        require_number("cycle_offset", self.cycle_offset, 0.0)
        require_number("cycle_slope", self.cycle_slope, 0.0)

    @property
    def shape(self) -> Shape:
        """The constants of f."""
        return Shape(
            family=EXPONENTIAL,
            constants=np.array(
                [
                    self.origin,
                    self.a,
                    self.b,
                    self.amplitude_up,
                    self.amplitude_down,
                    self.gamma_up,
                    self.gamma_down,
                ],
                dtype=np.float64,
            ),
            cycle_offset=self.cycle_offset,
            cycle_slope=self.cycle_slope,
        )

    def relative_step(self, state: FloatArray, direction: int, parameters: Parameters) -> FloatArray:
        """Return f at ``state``."""
        amplitude, gamma = (
            (self.amplitude_up, self.gamma_up) if direction > 0 else (self.amplitude_down, self.gamma_down)
        )
        width = parameters["bound_max"] - parameters["bound_min"]
        z = 2.0 * self.a * (state - self.origin) / width + self.b
        return np.maximum(1.0 - amplitude * np.exp(direction * gamma * z), 0.0)
