"""Linear step: the step falls linearly with the state, not necessarily to zero at the bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np

from emulators.memristors.updates.base import AffineLaw, FloatArray, Parameters
from emulators.memristors.updates.checks import require_choice, require_number, require_pair
from substrate.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class Linear(AffineLaw):
    """Linear step: f_up = 1 - gamma_up (x - x0)/(b_max - x0), f_down = 1 - gamma_down (x0 - x)/(x0 - b_min).

    gamma 0 is the constant step, gamma 1 soft bounds. A device's gamma is |gamma + gamma_spread xi|; ``gamma_spread``
    is a number or a pair (up, down). ``bound_reference``: "own" takes each device's own bounds in f, "mean" the mean
    ones, so that the slope does not depend on how far a device reaches. f is never below 0. (Rasch et al., AICAS
    2021, arXiv:2104.02184.)
    """

    law: ClassVar[str] = "linear"
    deviates: ClassVar[tuple[str, ...]] = ("gamma_up_deviate", "gamma_down_deviate")

    gamma_up: float = 0.0
    gamma_down: float = 0.0
    gamma_spread: float | tuple[float, float] = 0.0
    bound_reference: Literal["own", "mean"] = "own"

    def _check_shape(self) -> None:
        require_number("gamma_up", self.gamma_up, 0.0, 1.0)
        require_number("gamma_down", self.gamma_down, 0.0, 1.0)
        require_pair("gamma_spread", self.gamma_spread, 0.0)
        require_choice("bound_reference", self.bound_reference, ("own", "mean"))
        if not self.bound_min < self.origin < self.bound_max:
            raise InputError(
                f"origin: a linear step needs it strictly between bound_min {self.bound_min:g} and "
                f"bound_max {self.bound_max:g}, got {self.origin:g}"
            )

    def slopes(self, parameters: Parameters) -> tuple[FloatArray, FloatArray]:
        """Return gamma/(b - x0), with each device's gamma."""
        spread_up, spread_down = require_pair("gamma_spread", self.gamma_spread, 0.0)
        gamma_up = np.abs(self.gamma_up + spread_up * parameters["gamma_up_deviate"])
        gamma_down = np.abs(self.gamma_down + spread_down * parameters["gamma_down_deviate"])
        if self.bound_reference == "mean":
            return gamma_up / (self.bound_max - self.origin), gamma_down / (self.bound_min - self.origin)
        return gamma_up / (parameters["bound_max"] - self.origin), gamma_down / (parameters["bound_min"] - self.origin)
