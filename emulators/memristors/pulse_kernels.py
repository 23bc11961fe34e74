"""Compiled loops of pulsed writing. Imported on first use only: it brings numba in.

Random numbers come from the caller's ``numpy.random.Generator``, drawn inside the compiled loop: numba advances the
very bit generator, so the draws are those of ``rng.standard_normal()`` in a loop, and a state that was saved
continues bit for bit. Cells are taken in row-major order and a cell's pulses one after another (bursts beyond
``BURST`` pulses, affine laws: ``LANES`` cells take turns of ``BURST`` pulses). A cell that is not to move (count 0, or
stuck) draws nothing, so what a seed gives is fixed by the counts and the stuck mask alone.

Both kernels work in place on one-dimensional arrays, a cell an entry: ``counts`` pulses (sign: direction), ``state``
the hidden normalised state x, ``shown`` the one that a read sees, ``pulses`` the total received. ``write_noise`` is
in units of x. Both return (pulses given, cells moved, pulses asked of stuck cells, stuck cells asked, cells that end
at a bound).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from emulators.memristors.updates.base import EXPONENTIAL, POWER, FloatArray

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Totals = tuple[int, int, int, int, int]

# The time of an affine pulse is the latency of the chain from one x to the next: so eight cells go side by side.
LANES = 8
BURST = 64


def _pulse_affine(
    rng: np.random.Generator,
    counts: IntArray,
    stuck: BoolArray,
    state: FloatArray,
    shown: FloatArray,
    pulses: IntArray,
    bound_max: FloatArray,
    bound_min: FloatArray,
    step_up: FloatArray,
    step_down: FloatArray,
    slope_up: FloatArray,
    slope_down: FloatArray,
    origin: float,
    cycle_spread: float,
    additive: bool,
    write_noise: float,
) -> Totals:
    """Pulse cells of f_d(x) = max(0, 1 - slope_d (x - origin)); noise s f c xi, or s c xi where ``additive``."""
    given = moved = refused = refused_cells = at_bound = 0
    number = np.zeros(LANES, dtype=np.int64)
    step, base, slope = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    x, high, low = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    written = np.zeros(LANES)
    gain, offset = np.zeros((BURST, LANES)), np.zeros((BURST, LANES))
    for first in range(0, counts.size, LANES):
        longest = 0
        for lane in range(LANES):
            number[lane] = 0
            cell = first + lane
            if cell >= counts.size or counts[cell] == 0:
                continue
            count = counts[cell]
            if stuck[cell]:
                refused += abs(count)
                refused_cells += 1
                continue
            up = count > 0
            number[lane] = abs(count)
            longest = max(longest, number[lane])
            step[lane] = step_up[cell] if up else -step_down[cell]
            slope[lane] = slope_up[cell] if up else slope_down[cell]
            base[lane] = 1.0 + slope[lane] * origin
            x[lane] = state[cell]
            high[lane] = bound_max[cell]
            low[lane] = bound_min[cell]
        for done in range(0, longest, BURST):
            burst = min(longest - done, BURST)
            for lane in range(LANES):
                live = min(max(number[lane] - done, 0), burst)
                if additive or cycle_spread == 0.0:
                    gain[:live, lane] = step[lane]
                else:
                    for turn in range(live):
                        gain[turn, lane] = step[lane] + step[lane] * (cycle_spread * rng.standard_normal())
                # Lanes that are through, or have nothing to do, step by zero.
                for turn in range(live, burst):
                    gain[turn, lane] = 0.0
                if additive and cycle_spread > 0.0:
                    for turn in range(live):
                        offset[turn, lane] = step[lane] * (cycle_spread * rng.standard_normal())
                    for turn in range(live, burst):
                        offset[turn, lane] = 0.0
                if write_noise > 0.0 and done < number[lane] <= done + burst:
                    written[lane] = write_noise * rng.standard_normal()
            for turn in range(burst):
                for lane in range(LANES):
                    relative = max(base[lane] - slope[lane] * x[lane], 0.0)
                    moving = x[lane] + gain[turn, lane] * relative
                    if additive:
                        moving += offset[turn, lane]
                    moving = high[lane] if moving > high[lane] else moving
                    x[lane] = low[lane] if moving < low[lane] else moving
        for lane in range(LANES):
            if number[lane] == 0:
                continue
            cell = first + lane
            value = x[lane]
            state[cell] = value
            at_bound += value in (low[lane], high[lane])
            if write_noise > 0.0:
                value = min(max(value + written[lane], low[lane]), high[lane])
            shown[cell] = value
            pulses[cell] += number[lane]
            given += number[lane]
            moved += 1
    return given, moved, refused, refused_cells, at_bound


pulse_affine = njit(cache=True)(_pulse_affine)


def _relative_step(
    family: int,
    direction: int,
    x: float,
    high: float,
    low: float,
    origin: float,
    constants: FloatArray,
    table: FloatArray,
) -> float:
    """f_d(x) of the other families; ``constants`` and ``table`` are those of the law's ``Shape``."""
    if family == EXPONENTIAL:
        # constants: origin, a, b, A_up, A_down, gamma_up, gamma_down
        position = 2.0 * constants[1] * (x - origin) / (high - low) + constants[2]
        if direction > 0:
            return float(max(0.0, 1.0 - constants[3] * math.exp(constants[5] * position)))
        return float(max(0.0, 1.0 - constants[4] * math.exp(-constants[6] * position)))
    share = min(max((x - low) / (high - low), 0.0), 1.0)
    if family == POWER:
        # constants: origin, exponent_up, exponent_down
        return float((1.0 - share) ** constants[1] if direction > 0 else share ** constants[2])
    # Piecewise linear; table rows: levels in [0, 1], f_up, f_down
    levels = table[0]
    values = table[1] if direction > 0 else table[2]
    index = min(max(np.searchsorted(levels, share, side="right") - 1, 0), levels.size - 2)
    weight = (share - levels[index]) / (levels[index + 1] - levels[index])
    return float(values[index] + weight * (values[index + 1] - values[index]))


_relative_step_inline = njit(cache=True, inline="always")(_relative_step)


def _pulse_shaped(
    rng: np.random.Generator,
    counts: IntArray,
    stuck: BoolArray,
    state: FloatArray,
    shown: FloatArray,
    pulses: IntArray,
    bound_max: FloatArray,
    bound_min: FloatArray,
    step_up: FloatArray,
    step_down: FloatArray,
    family: int,
    constants: FloatArray,
    table: FloatArray,
    cycle_spread: float,
    cycle_offset: float,
    cycle_slope: float,
    additive: bool,
    write_noise: float,
) -> Totals:
    """Pulse cells of the other families.

    Noise s f c xi, or s c xi where ``additive``; with ``cycle_offset`` or ``cycle_slope`` it is
    c (s f + offset + slope |x - origin|) xi.
    """
    origin = constants[0]
    given = moved = refused = refused_cells = at_bound = 0
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
        for _ in range(number):
            change = step * _relative_step_inline(family, direction, x, high, low, origin, constants, table)
            if cycle_spread > 0.0:
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


pulse_shaped = njit(cache=True)(_pulse_shaped)
