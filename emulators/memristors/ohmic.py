"""The ohmic cell: i = g v."""

from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.memristors.cell_law import FloatArray, MemristorLaw


@final
@dataclass(frozen=True)
class OhmicCell(MemristorLaw):
    """A resistor of the programmed conductance: i = g v."""

    @property
    def linear(self) -> bool:
        """True."""
        return True

    @property
    def exponents(self) -> tuple[float, float]:
        """(0, 0)."""
        return 0.0, 0.0

    def current_and_slope(self, voltages: FloatArray, conductances: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return g v and g (see the base class)."""
        current = np.asarray(conductances * voltages, dtype=np.float64)
        return current, np.broadcast_to(conductances, current.shape).copy()
