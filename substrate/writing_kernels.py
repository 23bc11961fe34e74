"""Compiled loops of writing cells outright. Imported on first use only: it brings numba in."""

from collections.abc import Callable

from numba import njit

from substrate.arrays import BoolArray, FloatArray, Reals


def _moved(
    cells: FloatArray, change: Reals, unit: float, low: float, high: float, unmoved: BoolArray, target: FloatArray
) -> int:
    """Fill ``target`` with the cells that show the weights of ``cells`` plus ``change``; how many weights were held.

    Both are (polarity, row, column) siemens: pairs lie symmetric about the middle of the window, single cells take it
    all; where one cell of a pair does not move, the other makes up for it. What would leave the window is held at its
    end.

    Args:
        cells: what is there.
        change: (row, column) in weight units, of either precision.
        unit: siemens of a weight of one.
        low, high: the window.
        unmoved: cells that stay where they are.
        target: is filled.
    """
    saturated = 0
    _, rows, columns = cells.shape
    if cells.shape[0] == 1:
        for row in range(rows):
            for column in range(columns):
                wanted = cells[0, row, column] + change[row, column] * unit
                saturated += (wanted < low) + (wanted > high)
                target[0, row, column] = min(max(wanted, low), high)
        return saturated
    middle, most = 0.5 * (low + high), 0.5 * (high - low)
    for row in range(rows):
        for column in range(columns):
            first, second = cells[0, row, column], cells[1, row, column]
            half = 0.5 * (first - second + change[row, column] * unit)
            one, other = middle + half, middle - half
            if unmoved[0, row, column] or unmoved[1, row, column]:
                if unmoved[0, row, column] and unmoved[1, row, column]:
                    one, other = first, second
                elif unmoved[0, row, column]:
                    one, other = first, first - 2.0 * half
                    saturated += (other < low) + (other > high)
                else:
                    one, other = second + 2.0 * half, second
                    saturated += (one < low) + (one > high)
            else:
                saturated += (half > most) + (half < -most)
            # Rounding at the window's ends must not turn into a refusal.
            target[0, row, column] = min(max(one, low), high)
            target[1, row, column] = min(max(other, low), high)
    return saturated


moved: Callable[..., int] = njit(cache=True, error_model="numpy")(_moved)


def _within(values: FloatArray, least: float, most: float) -> bool:
    """Whether no entry of flat ``values`` lies outside ``least`` to ``most``, or is no number; in one pass."""
    inside = 0
    for place in range(values.size):
        inside += (values[place] >= least) & (values[place] <= most)
    return bool(inside == values.size)


within: Callable[..., bool] = njit(cache=True, error_model="numpy")(_within)
