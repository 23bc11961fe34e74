"""The ohmic cell: i = g v."""

from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.memristors.cell_law import CellLaw, FloatArray


@final
@dataclass(frozen=True)
class OhmicCell(CellLaw):
    """A resistor of the programmed conductance: i = g v."""

    @property
    def linear(self) -> bool:
        """True."""
        return True

    def current_and_slope(self, voltages: FloatArray, conductances: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return g v and g (see the base class)."""
        current = np.asarray(conductances * voltages, dtype=np.float64)
        return current, np.broadcast_to(conductances, current.shape).copy()
