"""What a cell law is: the static current of a two-terminal cell and its slope."""

import math
from abc import ABC, abstractmethod
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from substrate.errors import InputError

FloatArray = NDArray[np.float64]


class CellLaw(ABC):
    """Static law of a cell: current (amperes) and slope di/dv (siemens) against voltage and conductance.

    The voltage is that of the word-line node less that of the bit-line node; ``conductances`` is what the memristor is
    programmed to (its own slope at 0 V). A law must be continuous, zero at 0 V and must not fall with voltage, which
    makes the state of an array unique and lets Newton's method find it from anywhere.
    """

    @abstractmethod
    def linear_conductances(self, conductances: FloatArray) -> FloatArray | None:
        """Return what each cell conducts, if its current is proportional to its voltage; None if it is not.

        With proportional currents one linear solve is exact and the array has an effective matrix.
        """

    @abstractmethod
    def evaluate(self, voltages: FloatArray, conductances: FloatArray, current: FloatArray, slope: FloatArray) -> None:
        """Fill ``current`` (amperes) and ``slope`` (siemens); all four are contiguous and of one shape."""

    def current_and_slope(self, voltages: ArrayLike, conductances: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return current (amperes) and slope (siemens), both of the broadcast shape of the arguments."""
        v, g = np.asarray(voltages, dtype=np.float64), np.asarray(conductances, dtype=np.float64)
        shape = np.broadcast_shapes(v.shape, g.shape)
        current, slope = np.empty(shape), np.empty(shape)
        self.evaluate(_whole(v, shape), _whole(g, shape), current, slope)
        return current, slope

    def current(self, voltages: ArrayLike, conductances: ArrayLike) -> FloatArray:
        """Return the current (amperes), of the broadcast shape of the arguments."""
        return self.current_and_slope(voltages, conductances)[0]

    def slope(self, voltages: ArrayLike, conductances: ArrayLike) -> FloatArray:
        """Return the slope di/dv (siemens), of the broadcast shape of the arguments."""
        return self.current_and_slope(voltages, conductances)[1]


def _whole(values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """``values`` of that shape; kernels are compiled for each kind of array: only ever contiguous, writeable ones."""
    if values.shape != shape:
        return np.array(np.broadcast_to(values, shape), order="C")
    return np.require(values, requirements=["C", "W"])


class MemristorLaw(CellLaw):
    """A law of the family i = g (exp(a v) - exp(-b v))/(a + b), which an access device can be put in series with."""

    @property
    @abstractmethod
    def exponents(self) -> tuple[float, float]:
        """(a, b) in 1/V, both 0 for an ohmic memristor."""


def require_memristor(law: CellLaw, memristor: object) -> None:
    """Raise InputError unless what an access device of ``law`` is in series with is a bare memristor."""
    if not isinstance(memristor, MemristorLaw):
        raise InputError(
            f"{type(law).__name__}.memristor is {memristor!r}; expected OhmicCell, SinhCell or RectifyingCell"
        )


def require(law: CellLaw, name: str, positive: bool = False) -> None:
    """Raise InputError unless the parameter ``name`` of ``law`` is finite and >= 0 (> 0 if ``positive``)."""
    value = getattr(law, name)
    real = isinstance(value, Real)
    if not (real and math.isfinite(value) and (value > 0 or (value == 0 and not positive))):
        raise InputError(
            f"{type(law).__name__}.{name} is {value!r}; expected a finite number {'>' if positive else '>='} 0"
        )
