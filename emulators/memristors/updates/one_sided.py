"""One-sided cells: pulses move them up only; a reset takes them down, all the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from emulators.memristors.updates.base import EXPONENTIAL, FloatArray, Parameters, Shape, ShapedLaw
from emulators.memristors.updates.checks import require_number


@final
@dataclass(frozen=True, kw_only=True)
class OneSided(ShapedLaw):
    """Phase-change cells: partial SET pulses with f = max(0, 1 - A exp(gamma z)), and a RESET.

    z = 2 a (x - x0)/(b_max - b_min) + b as in ``Exponential``; there is no partial way down, so down pulses are
    refused and the mean step down is 0. Every pulse moves a cell up in the mean; the published noise is symmetric, so
    that a single noisy SET may end below where it began. ``Devices.reset`` leaves a cell at
    b_min + reset_level + reset_spread xi_device + reset_noise xi_reset (in units of x), inside its bounds. (Nandakumar
    et al., Front. Neurosci. 14:406, 2020, doi:10.3389/fnins.2020.00406.) ``cycle_offset``, ``cycle_slope``: see
    ``Exponential``.
    """

    law: ClassVar[str] = "one_sided"
    one_sided: ClassVar[bool] = True
    deviates: ClassVar[tuple[str, ...]] = ("reset_deviate",)

    amplitude: float = 0.0
    gamma: float = 0.0
    a: float = -1.0
    b: float = 0.0
    cycle_offset: float = 0.0
    cycle_slope: float = 0.0
    reset_level: float = 0.0
    reset_spread: float = 0.0
    reset_noise: float = 0.0
    origin: float = -1.0

    def _check_shape(self) -> None:
        for key in ("amplitude", "gamma", "a", "b"):
            require_number(key, getattr(self, key))
        for key in ("cycle_offset", "cycle_slope", "reset_level", "reset_spread", "reset_noise"):
            require_number(key, getattr(self, key), 0.0)

    @property
    def shape(self) -> Shape:
        """The constants of f; the way down is never used."""
        return Shape(
            family=EXPONENTIAL,
            constants=np.array([self.origin, self.a, self.b, self.amplitude, 0.0, self.gamma, 0.0], dtype=np.float64),
            cycle_offset=self.cycle_offset,
            cycle_slope=self.cycle_slope,
        )

    def relative_step(self, state: FloatArray, direction: int, parameters: Parameters) -> FloatArray:
        """Return f at ``state``, 0 downwards."""
        if direction < 0:
            return np.zeros_like(state)
        width = parameters["bound_max"] - parameters["bound_min"]
        z = 2.0 * self.a * (state - self.origin) / width + self.b
        return np.maximum(1.0 - self.amplitude * np.exp(self.gamma * z), 0.0)

    def reset_states(self, parameters: Parameters, rng: np.random.Generator) -> FloatArray:
        """Return where a reset leaves each device, inside its bounds; one normal number a device."""
        low, high = parameters["bound_min"], parameters["bound_max"]
        level = low + self.reset_level + self.reset_spread * parameters["reset_deviate"]
        return np.clip(level + self.reset_noise * rng.standard_normal(low.shape), low, high)
