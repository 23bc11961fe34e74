"""Compiled loops of pulsed writing. Imported on first use only: it brings numba in.

Random numbers come from the caller's ``numpy.random.Generator``, drawn inside the compiled loop: numba advances the
very bit generator, so the draws are those of ``rng.standard_normal()`` in a loop, and a state that was saved
continues bit for bit. Cells are taken in row-major order and a cell's pulses one after another; a cell that is not
to move (count 0, or stuck) draws nothing, so what a seed gives is fixed by the counts and the stuck mask alone.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from emulators.memristors.updates.base import AFFINE, EXPONENTIAL, POWER, FloatArray

IntArray = npt.NDArray[np.int64]


def _shape(
    family: int,
    direction: int,
    state: float,
    bound_max: float,
    bound_min: float,
    origin: float,
    constants: FloatArray,
    table: FloatArray,
) -> float:
    """f_d(x) of the families other than affine; ``constants`` and ``table`` are those of the law."""
    if family == EXPONENTIAL:
        # constants: origin, a, b, A_up, A_down, gamma_up, gamma_down
        position = 2.0 * constants[1] * (state - origin) / (bound_max - bound_min) + constants[2]
        if direction > 0:
            return float(max(0.0, 1.0 - constants[3] * math.exp(constants[5] * position)))
        return float(max(0.0, 1.0 - constants[4] * math.exp(-constants[6] * position)))
    share = min(max((state - bound_min) / (bound_max - bound_min), 0.0), 1.0)
    if family == POWER:
        # constants: origin, exponent_up, exponent_down
        if direction > 0:
            return float((1.0 - share) ** constants[1])
        return float(share ** constants[2])
    # Piecewise linear; table rows: levels in [0, 1], f_up, f_down
    levels = table[0]
    values = table[1] if direction > 0 else table[2]
    index = min(max(np.searchsorted(levels, share, side="right") - 1, 0), levels.size - 2)
    weight = (share - levels[index]) / (levels[index + 1] - levels[index])
    return float(values[index] + weight * (values[index + 1] - values[index]))


_shape_compiled = njit(cache=True, inline="always")(_shape)


def _apply_pulses(
    rng: np.random.Generator,
    counts: IntArray,
    stuck: npt.NDArray[np.bool_],
    state: FloatArray,
    shown: FloatArray,
    pulses: IntArray,
    bound_max: FloatArray,
    bound_min: FloatArray,
    step_up: FloatArray,
    step_down: FloatArray,
    family: int,
    slope_up: FloatArray,
    slope_down: FloatArray,
    constants: FloatArray,
    table: FloatArray,
    cycle_spread: float,
    cycle_offset: float,
    cycle_slope: float,
    additive: bool,
    write_noise: float,
) -> tuple[int, int, int, int, int]:
    """Pulse every cell ``counts`` times (sign: direction), in place; all arrays one-dimensional, a cell an entry.

    ``state`` is the hidden normalised state, ``shown`` the one that a read sees; ``write_noise`` in units of x.
    Affine family: f_d(x) = max(0, 1 - slope_d (x - origin)), the slopes a value a cell.
    The noise of a pulse is s f c xi (multiplicative), s c xi (additive), or, with ``cycle_offset`` or
    ``cycle_slope``, c (s f + offset + slope |x - origin|) xi. Returns (pulses given, cells moved, pulses asked of
    stuck cells, stuck cells asked, cells that end at a bound).
    """
    origin = constants[0]
    given = moved = refused = refused_cells = at_bound = 0
    noisy = cycle_spread > 0.0
    compound = cycle_offset > 0.0 or cycle_slope > 0.0
    for cell in range(counts.size):
        count = counts[cell]
        if count == 0:
            continue
        direction = 1 if count > 0 else -1
        number = abs(count)
        if stuck[cell]:
            refused += number
            refused_cells += 1
            continue
        high = bound_max[cell]
        low = bound_min[cell]
        step = step_up[cell] if direction > 0 else -step_down[cell]
        x = state[cell]
        if family == AFFINE:
            slope = slope_up[cell] if direction > 0 else slope_down[cell]
            # f as base - slope x keeps the chain from one x to the next short: it is what the time goes into.
            base = 1.0 + slope * origin
            for _ in range(number):
                deviate = cycle_spread * rng.standard_normal() if noisy else 0.0
                relative = base - slope * x
                if relative < 0.0:
                    relative = 0.0
                if additive:
                    x += step * deviate + step * relative
                else:
                    x += (step + step * deviate) * relative
                if x > high:
                    x = high
                elif x < low:
                    x = low
        else:
            for _ in range(number):
                change = step * _shape_compiled(family, direction, x, high, low, origin, constants, table)
                if noisy:
                    scale = step if additive else change
                    if compound:
                        scale = abs(change) + cycle_offset + cycle_slope * abs(x - origin)
                    change += cycle_spread * scale * rng.standard_normal()
                x = min(max(x + change, low), high)
        state[cell] = x
        at_bound += x in (low, high)
        if write_noise > 0.0:
            x = min(max(x + write_noise * rng.standard_normal(), low), high)
        shown[cell] = x
        pulses[cell] += number
        given += number
        moved += 1
    return given, moved, refused, refused_cells, at_bound


apply_pulses = njit(cache=True)(_apply_pulses)
