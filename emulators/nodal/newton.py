"""Newton's method for cells with a curved law, globally convergent, on a batch of inputs at once.

At the cell voltages v each cell is its tangent, i(v) + D (v' - v): a conductance D = di/dv in parallel with the source
i(v) - D v, and the array is solved exactly as a linear one. The state is the one minimum of the co-content, a convex
function; along the step its slope at the full step is

    psi(1),   psi(t) = -sum dv D dv + sum dv (i(v + t dv) - i(v)),

to which the wires add -(1 - t) times their dissipation. A full step is taken where psi(1) is not positive, or small
beside sum dv D dv; elsewhere psi(t) = 0 is bracketed, and the end of the bracket with psi <= 0 lowers the co-content
(Ortega & Rheinboldt, Iterative Solution of Nonlinear Equations, section 14.4).
"""

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from emulators.memristors.cell_law import CellLaw
from emulators.nodal.linear import solve_linear
from emulators.nodal.lines import compiled
from emulators.nodal.terminals import Terminals

FloatArray = NDArray[np.float64]
BISECTIONS = 40
CELLS_IN_FLIGHT = 1 << 16  # inputs are taken in chunks of about this many cells, to stay in the caches


class NewtonResult(NamedTuple):
    """The state of every input: see ``CrossbarSolution``; ``word`` and ``bit`` are empty unless kept."""

    word: FloatArray
    bit: FloatArray
    row_current: FloatArray
    column_current: FloatArray
    residual: FloatArray
    iterations: NDArray[np.int64]
    steps: NDArray[np.int64]


class _State(NamedTuple):
    """Word, bit and cell voltages, cell currents and slopes of the inputs in flight, (batch, rows, cols) each."""

    word: FloatArray
    bit: FloatArray
    voltage: FloatArray
    current: FloatArray
    slope: FloatArray

    @classmethod
    def empty(cls, batch: int, rows: int, cols: int) -> Self:
        return cls(*(np.empty((batch, rows, cols)) for _ in range(5)))

    def head(self, count: int) -> Self:
        return type(self)(*(part[:count] for part in self))

    def select(self, chosen: NDArray[np.bool_]) -> Self:
        """Move the chosen inputs to the front, in place."""
        count = int(chosen.sum())
        for part in self:
            part[:count] = part[chosen]
        return self.head(count)


@compiled
def _tangent_sources(voltage, current, slope, source):  # type: ignore[no-untyped-def]
    """Fill source = i - D v."""
    for k in range(voltage.shape[0]):
        for i in range(voltage.shape[1]):
            for j in range(voltage.shape[2]):
                source[k, i, j] = current[k, i, j] - slope[k, i, j] * voltage[k, i, j]


@compiled
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
                if not abs(error) <= worst:  # NaN too, of an overflowing current, must count
                    worst = abs(error) if abs(error) >= worst else math.inf
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
        np.empty((batch, rows)),
        np.empty((batch, cols)),
        np.full(batch, np.inf),
        np.zeros(batch, dtype=np.int64),
        np.zeros(batch, dtype=np.int64),
    )
    chunk = max(1, min(batch, max(threads, CELLS_IN_FLIGHT // (rows * cols))))
    state, trial = (_State.empty(chunk, rows, cols) for _ in range(2))
    source = np.empty((chunk, rows, cols))
    cells = np.broadcast_to(conductances, source.shape).copy()
    for first in range(0, batch, chunk):
        where = np.arange(first, min(first + chunk, batch))
        now = state.head(len(where))
        if guess is None:
            now.voltage[...] = 0.0
        else:
            now.word[...], now.bit[...] = guess[0][where], guess[1][where]
            np.subtract(now.word, now.bit, out=now.voltage)
        law.evaluate(now.voltage, cells[: len(where)], now.current, now.slope)
        _solve_chunk(
            law,
            cells,
            terminals,
            now,
            trial,
            source,
            guess is not None,
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
    cells: FloatArray,
    terminals: Terminals,
    now: "_State",
    spare: "_State",
    sources: FloatArray,
    warm: bool,
    where: NDArray[np.intp],
    result: NewtonResult,
    tolerance: float,
    max_iterations: int,
    max_steps: int,
    threads: int,
) -> None:
    """Solve the inputs ``where`` into ``result``, from the state ``now``; those that have converged leave the batch."""
    inner = 1e-6 if warm else 1e-3
    for step in range(max_steps):
        count = len(where)
        new, source, g = spare.head(count), sources[:count], cells[:count]
        _tangent_sources(now.voltage, now.current, now.slope, source)
        linear = solve_linear(
            now.slope,
            source,
            terminals.part(where),
            (new.word, new.bit),
            start=(now.word, now.bit) if warm or step > 0 else None,
            tolerance=max(inner, 0.5 * tolerance),
            max_iterations=max_iterations,
            threads=threads,
        )
        np.subtract(new.word, new.bit, out=new.voltage)
        law.evaluate(new.voltage, g, new.current, new.slope)
        dissipation, excess, mismatch, largest = np.empty((4, count))
        _measure(now.voltage, new.voltage, now.slope, source, new.current, dissipation, excess, mismatch, largest)
        result.iterations[where] += linear.iterations
        result.steps[where] = step + 1
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(mismatch > 0, mismatch / largest, 0.0)
        relative[np.isnan(relative)] = np.inf  # both overflow: the currents of no state
        result.residual[where] = np.fmax(relative, linear.residual)

        full = (excess <= 0.1 * dissipation) | (relative <= tolerance)
        if step == 0 and not warm:
            full |= np.isfinite(mismatch)  # the state of rest that it starts from does not obey the sources
        done = full & (result.residual[where] <= tolerance)
        if not full.all():
            short = np.flatnonzero(~full)
            share = _damping(
                law, g[short], now.voltage[short], new.voltage[short], now.current[short], dissipation[short]
            )[:, None, None]
            if warm or step > 0:
                new.word[short] = now.word[short] + share * (new.word[short] - now.word[short])
                new.bit[short] = now.bit[short] + share * (new.bit[short] - now.bit[short])
            else:
                new.word[short] *= share
                new.bit[short] *= share
            np.subtract(new.word, new.bit, out=new.voltage)
            law.evaluate(new.voltage, g, new.current, new.slope)
        if done.any():
            ended = where[done]
            result.row_current[ended] = linear.row_current[done]
            result.column_current[ended] = linear.column_current[done]
            if len(result.word):
                result.word[ended], result.bit[ended] = new.word[done], new.bit[done]
            if done.all():
                return
            where = where[~done]
            new = new.select(~done)
        worst = relative[~done].max()
        inner = min(1e-3, 0.1 * worst * worst) if np.isfinite(worst) else 1e-3
        now, spare = new, now
