"""Compiled loops of outright writing. Imported on first use only: it brings numba in.

A large array is written in one pass over its cells: what bounds the speed of training on ideal cells is memory traffic.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from substrate.arrays import FloatArray


def _place(target: FloatArray, low: float, high: float, slack: float, siemens: FloatArray) -> int:
    """Fill ``siemens`` with ``target`` held to the window ``low`` to ``high``; both are flat, a cell an entry.

    How many targets lie outside it by more than ``slack``, or are no numbers.
    """
    outside = 0
    for cell in range(target.size):
        asked = target[cell]
        outside += not (asked >= low - slack and asked <= high + slack)
        siemens[cell] = min(max(asked, low), high)
    return outside


place: Callable[..., int] = njit(cache=True, error_model="numpy")(_place)


def _asked(
    target: FloatArray,
    before: FloatArray,
    after: FloatArray,
    same: float,
    lines: npt.NDArray[np.bool_],
    rows: FloatArray,
    columns: FloatArray,
) -> tuple[int, float]:
    """How many cells are asked for another conductance, and the sum over them of the mean of before and after.

    Arguments are (polarity, row, column); changes up to ``same`` times the conductance are rounding. ``lines`` (row,)
    is set where any cell of a word line is asked. All cells after are added up as ``line_sums`` does, in the same pass.
    """
    count = 0
    total = 0.0
    for polarity in range(target.shape[0]):
        for row in range(target.shape[1]):
            wanted, was, now = target[polarity, row], before[polarity, row], after[polarity, row]
            here = 0
            line = moved = 0.0
            for column in range(target.shape[2]):
                other = abs(wanted[column] - was[column]) > same * was[column]
                here += other
                moved += other * 0.5 * (was[column] + now[column])
                line += now[column]
            for column in range(target.shape[2]):
                columns[column] += now[column]
            lines[row] |= here > 0
            count += here
            total += moved
            rows[row] += line
    return count, total


# Sums in any order: of hundreds of thousands of terms, none of which is negative.
asked: Callable[..., tuple[int, float]] = njit(cache=True, error_model="numpy", fastmath={"reassoc"})(_asked)


def _move_apart(
    before: FloatArray,
    apart: npt.NDArray[Any],
    factor: float,
    low: float,
    high: float,
    unit: float,
    after: FloatArray,
    weights: npt.NDArray[Any],
    lines: FloatArray,
    columns: FloatArray,
    least: FloatArray,
    most: FloatArray,
    uneven: FloatArray,
) -> None:
    """Move the cells of pairs apart by ``factor`` times ``apart``, each by half of it and to the window's end at most.

    Args:
        before, after: (2, row, column) siemens; the latter is filled, like what follows.
        apart: (row, column).
        factor: siemens.
        low, high: the window.
        unit: siemens of a weight of one.
        weights: (row, column), (g+ - g-)/unit.
        lines, columns: all cells of each line are added to them, as ``line_sums`` does.
        least, most: (column,), extremes of what the cells of a bit line were asked for, and of what is there already.
        uneven: (column,), the same of the difference between the cells of a pair together and ``low + high``.
    """
    half, both = 0.5 * factor, low + high
    for row in range(before.shape[1]):
        first, second, more = before[0, row], before[1, row], apart[row]
        up, down, out = after[0, row], after[1, row], weights[row]
        line = 0.0
        # Nothing but ``line`` passes from column to column: the loop runs several at a time.
        for column in range(before.shape[2]):
            step = half * more[column]
            one, other = first[column] + step, second[column] - step
            least[column] = min(least[column], min(one, other))
            most[column] = max(most[column], max(one, other))
            one, other = min(max(one, low), high), min(max(other, low), high)
            up[column], down[column] = one, other
            out[column] = (one - other) / unit
            uneven[column] = max(uneven[column], abs(one + other - both))
            columns[column] += one + other
            line += one + other
        lines[row] += line


move_apart: Callable[..., None] = njit(cache=True, error_model="numpy", fastmath={"reassoc"})(_move_apart)


def _held_pairs(before: FloatArray, apart: npt.NDArray[Any], factor: float, low: float, high: float) -> int:
    """How many pairs ``move_apart`` holds at an end of the window."""
    held = 0
    half = 0.5 * factor
    for row in range(before.shape[1]):
        for column in range(before.shape[2]):
            step = half * apart[row, column]
            one, other = before[0, row, column] + step, before[1, row, column] - step
            held += (one < low) | (one > high) | (other < low) | (other > high)
    return held


held_pairs: Callable[..., int] = njit(cache=True, error_model="numpy")(_held_pairs)


def _difference(siemens: FloatArray, unit: float, out: npt.NDArray[Any]) -> None:
    """(g+ - g-)/unit of ``siemens`` (2, row, column) into ``out`` (row, column), rounded once."""
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            out[row, column] = (siemens[0, row, column] - siemens[1, row, column]) / unit


difference: Callable[..., None] = njit(cache=True, error_model="numpy")(_difference)


def _line_sums(siemens: FloatArray, rows: FloatArray, columns: FloatArray) -> None:
    """Add all cells (polarity, row, column) of each word line to ``rows``, and of each bit line to ``columns``."""
    for polarity in range(siemens.shape[0]):
        for row in range(siemens.shape[1]):
            total = 0.0
            for column in range(siemens.shape[2]):
                total += siemens[polarity, row, column]
                columns[column] += siemens[polarity, row, column]
            rows[row] += total


line_sums: Callable[..., None] = njit(cache=True, error_model="numpy", fastmath={"reassoc"})(_line_sums)
