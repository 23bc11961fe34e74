"""Piecewise step: f interpolated between given levels; what a measured pulse curve becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from emulators.memristors.updates.base import PIECEWISE, FloatArray, Parameters, Shape, ShapedLaw
from emulators.memristors.updates.checks import require_number
from substrate.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class Piecewise(ShapedLaw):
    """Piecewise linear step: f_d interpolates ``up`` or ``down`` over ``levels``.

    ``levels``: increasing from 0 (a device's lower bound) to 1 (its upper bound). ``up``, ``down``: f at the levels,
    at least 0. ``from_measured_points`` (measured.py) fits one to a measured pulse curve.
    """

    law: ClassVar[str] = "piecewise"

    levels: tuple[float, ...]
    up: tuple[float, ...]
    down: tuple[float, ...]

    def _check_shape(self) -> None:
        for key in ("levels", "up", "down"):
            values = getattr(self, key)
            if not isinstance(values, (tuple, list)) or len(values) < 2:
                raise InputError(f"{key}: expected at least two numbers, got {values!r}")
            if len(values) != len(self.levels):
                raise InputError(f"{key}: expected {len(self.levels)} values as in levels, got {len(values)}")
            for index, value in enumerate(values):
                require_number(f"{key}[{index}]", value, 0.0)
        if self.levels[0] != 0.0 or self.levels[-1] != 1.0 or bool(np.any(np.diff(self.levels) <= 0.0)):
            raise InputError(f"levels: expected to increase from 0 to 1, got {list(self.levels)}")

    @property
    def shape(self) -> Shape:
        """The table (levels, up, down)."""
        table = np.array([self.levels, self.up, self.down], dtype=np.float64)
        return Shape(family=PIECEWISE, constants=np.array([self.origin]), table=table)

    def relative_step(self, state: FloatArray, direction: int, parameters: Parameters) -> FloatArray:
        """Return f at ``state``."""
        low, high = parameters["bound_min"], parameters["bound_max"]
        share = np.clip((state - low) / (high - low), 0.0, 1.0)
        return np.interp(share, self.levels, self.up if direction > 0 else self.down)
