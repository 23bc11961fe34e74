"""Batched linear solves: chunks of inputs over threads, each running the compiled kernel."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emulators.nodal.conjugate_gradient import solve_batch
from emulators.nodal.elimination import effective_matrices
from emulators.nodal.recycling import Directions
from emulators.nodal.terminals import Terminals

FloatArray = NDArray[np.float64]


SPARE_WORK_SPACES = 4
_spare: list[FloatArray] = []  # fresh memory costs more than the arithmetic done in it, so work spaces are used again


def _work_space(rows: int, cols: int) -> FloatArray:
    # Arrays a power of two apart would meet in the same cache sets, hence the odd number of cache lines between them.
    shape = (10, rows * cols + 136)
    try:
        space = _spare.pop()
    except IndexError:
        return np.empty(shape)
    return space if space.shape == shape else np.empty(shape)


class LinearResult(NamedTuple):
    """Currents into the ports, (batch, rows) and (batch, cols), and convergence, (batch,)."""

    row_current: FloatArray
    column_current: FloatArray
    iterations: NDArray[np.int64]
    residual: FloatArray


def over_threads(batch: int, threads: int, work: Callable[[slice], None]) -> None:
    """Run ``work`` on consecutive slices of the batch, one a thread; the kernels release the interpreter lock."""
    count = min(threads, batch)
    if count <= 1:
        work(slice(0, batch))
        return
    edges = [batch * k // count for k in range(count + 1)]
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(work, slice(a, b)) for a, b in pairwise(edges)]:
            future.result()


def solve_linear(
    conductances: FloatArray,
    sources: FloatArray,
    terminals: Terminals,
    voltages: tuple[FloatArray, FloatArray] | None = None,
    *,
    start: tuple[FloatArray, FloatArray] | None = None,
    recycled: tuple[FloatArray, Directions] | None = None,
    kept: Directions | None = None,
    tolerance: float,
    max_iterations: int,
    threads: int,
) -> LinearResult:
    """Solve every input of ``terminals``.

    ``conductances`` (1 or batch, rows, cols); ``sources`` (0 or batch, rows, cols): amperes from word to bit line in
    parallel with the cells; ``voltages``: where the word- and the bit-line voltages go, (batch, rows, cols) each, if
    they are wanted. ``start``: word- and bit-line voltages to begin from, not those that are filled. ``recycled``: by
    how much the cells have changed since ``start``, (rows, cols) siemens, and directions to improve it with. ``kept``:
    where the first directions of the first input go, as many as its iterations. Inputs that ``max_iterations`` leave
    short of the tolerance are factorised (``direct``), unless segments of 0 ohms join nodes.
    """
    batch, rows = terminals.row_volts.shape
    cols = terminals.column_volts.shape[1]
    result = LinearResult(
        np.empty((batch, rows)), np.empty((batch, cols)), np.empty(batch, dtype=np.int64), np.empty(batch)
    )

    nothing = np.empty((0, rows, cols))
    none = Directions.empty(conductances[0], 0)
    change, old = (np.empty((0, cols)), none) if recycled is None else recycled

    def work(part: slice) -> None:
        space = _work_space(rows, cols)
        new = none if kept is None or part.start > 0 else kept
        scratch = space[8:, : rows * cols].reshape(2, rows, cols)
        solve_batch(
            conductances if conductances.shape[0] == 1 else conductances[part],
            sources[part] if sources.shape[0] else sources,
            terminals.wordline_resistance,
            terminals.bitline_resistance,
            terminals.row_port,
            terminals.column_port,
            terminals.row_volts[part],
            terminals.column_volts[part],
            nothing if start is None else start[0][part],
            nothing if start is None else start[1][part],
            change,
            old.word,
            old.bit,
            old.energies,
            new.word,
            new.bit,
            new.energies,
            voltages is not None,
            tolerance,
            max_iterations,
            scratch[1:2] if voltages is None else voltages[1][part],
            scratch[:1] if voltages is None else voltages[0][part],
            result.row_current[part],
            result.column_current[part],
            result.iterations[part],
            result.residual[part],
            space[:8],
        )
        _spare.append(space)
        del _spare[:-SPARE_WORK_SPACES]

    over_threads(batch, threads, work)
    if (
        not result.residual.max(initial=0.0) <= tolerance
        and terminals.wordline_resistance * terminals.bitline_resistance
    ):
        _solve_stalled(conductances, sources, terminals, voltages, tolerance, result)
    return result


def _solve_stalled(
    conductances: FloatArray,
    sources: FloatArray,
    terminals: Terminals,
    voltages: tuple[FloatArray, FloatArray] | None,
    tolerance: float,
    result: LinearResult,
) -> None:
    """Solve the inputs of ``solve_linear`` whose iterations stalled by factorisation; keep what is better."""
    from emulators.nodal.direct import solve_direct

    stalled = np.flatnonzero(~(result.residual <= tolerance))
    groups = [stalled] if conductances.shape[0] == 1 else [stalled[k : k + 1] for k in range(len(stalled))]
    for where in groups:
        part = terminals.part(where)
        cells = conductances[0 if conductances.shape[0] == 1 else where[0]]
        word, bit, residual = solve_direct(cells, sources[where] if sources.shape[0] else None, part)
        better = ~(residual >= result.residual[where])
        better &= np.isfinite(residual)
        chosen = where[better]
        result.residual[chosen] = residual[better]
        result.row_current[chosen] = (word[better, :, 0] - part.row_volts[better]) / part.row_port
        result.column_current[chosen] = (bit[better, -1] - part.column_volts[better]) / part.column_port
        if voltages is not None:
            voltages[0][chosen], voltages[1][chosen] = word[better], bit[better]


def transfer_matrices(
    conductances: FloatArray,
    wordline_resistance: float,
    bitline_resistance: float,
    row_port: float,
    column_port: float,
    *,
    tolerance: float,
    max_iterations: int,
    threads: int,
    elimination_limit: int,
) -> tuple[FloatArray, float]:
    """Transfer conductances between the ports of each array of a stack (count, rows, cols), and the worst residual.

    By reciprocity the same for either direction of drive, the terminations being given. Arrays whose short side is at
    most ``elimination_limit`` are eliminated exactly; larger ones solved for unit inputs on their short side.
    """
    count, rows, cols = conductances.shape
    out = np.empty((count, rows, cols))
    if min(rows, cols) <= elimination_limit:
        wide = rows < cols
        # Turned round so that ports stay where the kernel expects them: word-line ports at column 0, bit-line ports
        # last.
        given = np.ascontiguousarray(conductances[:, ::-1, ::-1].transpose(0, 2, 1)) if wide else conductances
        result = np.empty(given.shape)
        long_side = (bitline_resistance, column_port) if wide else (wordline_resistance, row_port)
        short_side = (wordline_resistance, row_port) if wide else (bitline_resistance, column_port)
        over_threads(
            count, threads, lambda part: effective_matrices(given[part], *long_side, *short_side, result[part])
        )
        return (result.transpose(0, 2, 1)[:, ::-1, ::-1] if wide else result), 0.0
    worst = 0.0
    by_columns = cols <= rows
    units = np.eye(cols if by_columns else rows)
    rest = np.zeros((len(units), rows if by_columns else cols))
    terminals = Terminals(
        wordline_resistance,
        bitline_resistance,
        np.full(rows, row_port),
        np.full(cols, column_port),
        rest if by_columns else units,
        units if by_columns else rest,
    )
    empty = np.empty((0, rows, cols))
    for k in range(count):
        result_k = solve_linear(
            conductances[k : k + 1],
            empty,
            terminals,
            tolerance=tolerance,
            max_iterations=max_iterations,
            threads=threads,
        )
        out[k] = result_k.row_current.T if by_columns else result_k.column_current
        worst = max(worst, float(result_k.residual.max()))
    return out, worst
