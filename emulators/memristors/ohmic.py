"""The ohmic cell: i = g v."""

from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.memristors.cell_law import FloatArray, MemristorLaw


@final
@dataclass(frozen=True)
class OhmicCell(MemristorLaw):
    """A resistor of the programmed conductance: i = g v."""

    def linear_conductances(self, conductances: FloatArray) -> FloatArray | None:
        """Return the conductances."""
        return conductances

    @property
    def exponents(self) -> tuple[float, float]:
        """(0, 0)."""
        return 0.0, 0.0

    def evaluate(self, voltages: FloatArray, conductances: FloatArray, current: FloatArray, slope: FloatArray) -> None:
        """Fill current and slope (see the base class)."""
        np.multiply(conductances, voltages, out=current)
        slope[...] = conductances
