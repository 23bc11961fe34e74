"""Newton's method for cells with a curved law, globally convergent, on a batch of inputs at once.

At the cell voltages v each cell is its tangent, i(v) + D (v' - v): a conductance D = di/dv in parallel with the source
i(v) - D v, and the array is solved exactly as a linear one. The state is the one minimum of the co-content, a convex
function; along the step its slope at the full step is

    psi(1),   psi(t) = -sum dv D dv + sum dv (i(v + t dv) - i(v)),

to which the wires add -(1 - t) times their dissipation. A full step is taken where psi(1) is not positive or small beside
sum dv D dv; elsewhere psi(t) = 0 is bracketed, and the end of the bracket with psi <= 0 surely lowers the co-content
(Ortega & Rheinboldt, Iterative Solution of Nonlinear Equations, section 14.4).
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from emulators.memristors.cell_law import CellLaw
from emulators.nodal.lines import FLAGS
from emulators.nodal.linear import solve_linear
from emulators.nodal.terminals import Terminals

FloatArray = NDArray[np.float64]
BISECTIONS = 40
CELLS_IN_FLIGHT = 1 << 18  # inputs are taken in chunks of this many cells, about 25 MB of work space


class NewtonResult(NamedTuple):
    """The state of every input: see ``CrossbarSolution``; ``voltage`` and ``bit`` are empty unless kept."""

    word: FloatArray
    bit: FloatArray
    current: FloatArray
    row_current: FloatArray
    column_current: FloatArray
    residual: FloatArray
    iterations: NDArray[np.int64]
    steps: NDArray[np.int64]


@njit(cache=True, nogil=True, fastmath=FLAGS)
def _tangent_sources(voltage, current, slope, source):  # type: ignore[no-untyped-def]
    """Fill source = i - D v."""
    for k in range(voltage.shape[0]):
        for i in range(voltage.shape[1]):
            for j in range(voltage.shape[2]):
                source[k, i, j] = current[k, i, j] - slope[k, i, j] * voltage[k, i, j]


@njit(cache=True, nogil=True, fastmath=FLAGS)
def _measure(old, new, slope, source, current, dissipation, excess, mismatch, largest):  # type: ignore[no-untyped-def]
    """Per input: sum dv D dv, psi(1), the largest departure from the tangent, the largest current."""
    for k in range(old.shape[0]):
        a, psi, worst, top = 0.0, 0.0, 0.0, 0.0
        for i in range(old.shape[1]):
            for j in range(old.shape[2]):
                dv = new[k, i, j] - old[k, i, j]
                error = current[k, i, j] - (source[k, i, j] + slope[k, i, j] * new[k, i, j])
                a += dv * dv * slope[k, i, j]
                psi += dv * error
                worst = max(worst, abs(error))
                top = max(top, abs(current[k, i, j]))
        dissipation[k], excess[k], mismatch[k], largest[k] = a, psi, worst, top


def _damping(
    law: CellLaw, g: FloatArray, old: FloatArray, new: FloatArray, current: FloatArray, dissipation: FloatArray
) -> FloatArray:
    """Return a share of the step, (batch,), at which psi is not positive and, if it can be had, not far from zero."""
    low, high = np.zeros(len(old)), np.ones(len(old))
    dv = new - old
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        moved = law.current(old + middle[:, None, None] * dv, g) - current
        with np.errstate(invalid="ignore"):  # an overflowing current times a cell that does not move
            psi = np.nansum(dv * moved, axis=(1, 2)) - dissipation
        downhill = psi <= 0
        low = np.where(downhill, middle, low)
        high = np.where(downhill, high, middle)
        if np.all((low > 0) & (high - low <= 0.1 * low)):
            break
    return low


def solve_newton(
    law: CellLaw,
    conductances: FloatArray,
    terminals: Terminals,
    guess: tuple[FloatArray, FloatArray] | None,
    *,
    tolerance: float,
    max_iterations: int,
    max_steps: int,
    threads: int,
    keep: bool,
) -> NewtonResult:
    """Solve every input; ``conductances`` (rows, cols), ``guess`` the (batch, rows, cols) word and bit voltages.

    An input has converged when no cell's current departs from its tangent's by more than ``tolerance`` of the largest
    cell current, and the linear solve has reached ``tolerance``. ``residual`` is the larger of the two.
    """
    batch = terminals.batch
    rows, cols = conductances.shape
    kept = (batch if keep else 0, rows, cols)
    result = NewtonResult(
        np.empty(kept),
        np.empty(kept),
        np.empty(kept),
        np.empty((batch, rows)),
        np.empty((batch, cols)),
        np.full(batch, np.inf),
        np.zeros(batch, dtype=np.int64),
        np.zeros(batch, dtype=np.int64),
    )
    chunk = max(threads, CELLS_IN_FLIGHT // (rows * cols), 1)
    for first in range(0, batch, chunk):
        where = np.arange(first, min(first + chunk, batch))
        start = None if guess is None else (guess[0][where], guess[1][where])
        _solve_chunk(
            law,
            conductances[np.newaxis],
            terminals,
            start,
            where,
            result,
            tolerance,
            max_iterations,
            max_steps,
            threads,
        )
    return result


def _solve_chunk(
    law: CellLaw,
    g: FloatArray,
    terminals: Terminals,
    start: tuple[FloatArray, FloatArray] | None,
    where: NDArray[np.intp],
    result: NewtonResult,
    tolerance: float,
    max_iterations: int,
    max_steps: int,
    threads: int,
) -> None:
    """Solve the inputs ``where`` into ``result``; those that have converged leave the batch."""
    keep = len(result.word) > 0
    if start is None:
        word = bit = None
        voltage = np.zeros((len(where), *g.shape[1:]))
    else:
        word, bit = start
        voltage = word - bit
    current, slope = law.current_and_slope(voltage, g)
    inner = 1e-3 if start is None else 1e-6
    for step in range(max_steps):
        source = np.empty_like(voltage)
        _tangent_sources(voltage, current, slope, source)
        inner = max(inner, 0.5 * tolerance)
        linear = solve_linear(
            slope,
            source,
            terminals.part(where),
            bit,
            tolerance=inner,
            max_iterations=max_iterations,
            threads=threads,
            keep=True,
        )
        new_voltage = linear.word - linear.bit
        new_current, new_slope = law.current_and_slope(new_voltage, g)
        dissipation, excess, mismatch, largest = (np.empty(len(where)) for _ in range(4))
        _measure(voltage, new_voltage, slope, source, new_current, dissipation, excess, mismatch, largest)
        result.iterations[where] += linear.iterations
        result.steps[where] = step + 1
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(mismatch > 0, mismatch / largest, 0.0)
        result.residual[where] = np.fmax(relative, linear.residual)

        full = (excess <= 0.1 * dissipation) | (mismatch <= tolerance * largest)
        if step == 0 and start is None:
            full |= np.isfinite(mismatch)  # the state of rest that it starts from does not obey the sources
        done = full & (result.residual[where] <= tolerance)
        if not full.all():
            short = np.flatnonzero(~full)
            share = _damping(law, g, voltage[short], new_voltage[short], current[short], dissipation[short])[
                :, None, None
            ]
            if word is None or bit is None:
                linear.word[short] *= share
                linear.bit[short] *= share
            else:
                linear.word[short] = word[short] + share * (linear.word[short] - word[short])
                linear.bit[short] = bit[short] + share * (linear.bit[short] - bit[short])
            new_voltage[short] = linear.word[short] - linear.bit[short]
            new_current[short], new_slope[short] = law.current_and_slope(new_voltage[short], g)
        if done.any():
            ended = where[done]
            result.row_current[ended] = linear.row_current[done]
            result.column_current[ended] = linear.column_current[done]
            if keep:
                result.word[ended], result.bit[ended] = linear.word[done], linear.bit[done]
                result.current[ended] = new_current[done]
        go = ~done
        if not go.any():
            return
        worst = relative[go].max()
        inner = min(1e-3, 0.1 * worst * worst) if np.isfinite(worst) else 1e-3
        if done.any():
            where = where[go]
            word, bit, voltage = linear.word[go], linear.bit[go], new_voltage[go]
            current, slope = new_current[go], new_slope[go]
        else:
            word, bit, voltage = linear.word, linear.bit, new_voltage
            current, slope = new_current, new_slope
