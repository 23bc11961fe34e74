"""What a cell law is: the static current of a two-terminal cell and its slope."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class CellLaw(ABC):
    """Static law of a cell: current (amperes) and slope di/dv (siemens) against voltage and conductance.

    The voltage is that of the word-line node less that of the bit-line node; ``conductances`` is the cell's programmed
    conductance (the slope of the memristor itself at 0 V). A law must be continuous, zero at 0 V and must not fall with
    voltage, which makes the state of an array unique and lets Newton's method find it from anywhere.
    """

    @property
    @abstractmethod
    def linear(self) -> bool:
        """Whether the current is proportional to the voltage, so that one linear solve is exact."""

    @abstractmethod
    def current_and_slope(self, voltages: FloatArray, conductances: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return current (amperes) and slope (siemens), both of the broadcast shape of the arguments."""

    def current(self, voltages: FloatArray, conductances: FloatArray) -> FloatArray:
        """Return the current (amperes), of the broadcast shape of the arguments."""
        return self.current_and_slope(voltages, conductances)[0]

    def slope(self, voltages: FloatArray, conductances: FloatArray) -> FloatArray:
        """Return the slope di/dv (siemens), of the broadcast shape of the arguments."""
        return self.current_and_slope(voltages, conductances)[1]
