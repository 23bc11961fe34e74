"""Compiled loops of outright writing. Imported on first use only: it brings numba in.

A large array is written in one pass over its cells: what bounds the speed of training on ideal cells is memory traffic.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numba import njit

from substrate.arrays import FloatArray


def _place(
    target: FloatArray, low: float, high: float, state: FloatArray, shown: FloatArray, siemens: FloatArray
) -> None:
    """Fill ``state`` and ``shown`` with the states in [-1, 1] of ``target`` siemens, and what they come to in siemens.

    All arrays are flat, a cell an entry; the window is ``low`` to ``high``.
    """
    for cell in range(target.size):
        x = 2.0 * (target[cell] - low) / (high - low) - 1.0
        x = min(max(x, -1.0), 1.0)
        state[cell] = x
        shown[cell] = x
        # The ends of the window are hit exactly, so that a conductance read back is never an ulp outside it.
        siemens[cell] = min(max(low + 0.5 * (x + 1.0) * (high - low), low), high)


place: Callable[..., None] = njit(cache=True, error_model="numpy")(_place)


def _asked(
    target: FloatArray, before: FloatArray, after: FloatArray, same: float, lines: npt.NDArray[np.bool_]
) -> tuple[int, float]:
    """How many cells are asked for another conductance, and the sum over them of the mean of before and after.

    Arguments are (polarity, row, column); changes up to ``same`` times the conductance are rounding. ``lines`` (row,)
    is set where any cell of a word line is asked.
    """
    count = 0
    total = 0.0
    for polarity in range(target.shape[0]):
        for row in range(target.shape[1]):
            here = 0
            for column in range(target.shape[2]):
                was = before[polarity, row, column]
                if abs(target[polarity, row, column] - was) > same * was:
                    here += 1
                    total += 0.5 * (was + after[polarity, row, column])
            if here:
                lines[row] = True
            count += here
    return count, total


asked: Callable[..., tuple[int, float]] = njit(cache=True, error_model="numpy")(_asked)
