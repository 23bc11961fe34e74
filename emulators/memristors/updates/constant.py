"""Constant step: f = 1 up to the bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from emulators.memristors.updates.base import AffineLaw, FloatArray, Parameters


@final
@dataclass(frozen=True, kw_only=True)
class Constant(AffineLaw):
    """Constant step: f_up = f_down = 1 (Gokmen & Vlasov, Front. Neurosci. 10:333, 2016)."""

    law: ClassVar[str] = "constant"

    def _check_shape(self) -> None:
        return

    def slopes(self, parameters: Parameters) -> tuple[FloatArray, FloatArray]:
        """Return zeros."""
        flat = np.zeros_like(parameters["step_up"])
        return flat, flat
