"""Batched linear solves: chunks of inputs over threads, each running the compiled kernel."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emulators.nodal.conjugate_gradient import solve_batch
from emulators.nodal.elimination import effective_matrices
from emulators.nodal.terminals import Terminals

FloatArray = NDArray[np.float64]


class LinearResult(NamedTuple):
    """Node voltages (batch, rows, cols), empty if not kept; currents into the ports; convergence."""

    word: FloatArray
    bit: FloatArray
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
    guess: FloatArray | None,
    *,
    tolerance: float,
    max_iterations: int,
    threads: int,
    keep: bool,
) -> LinearResult:
    """Solve every input of ``terminals``.

    ``conductances`` (1 or batch, rows, cols); ``sources`` (0 or batch, rows, cols): amperes from word to bit line in
    parallel with the cells; ``guess`` (batch, rows, cols): bit-line voltages to start from; ``keep``: whether node
    voltages are wanted.
    """
    batch, rows = terminals.row_volts.shape
    cols = terminals.column_volts.shape[1]
    kept = batch if keep else 0
    bit = np.empty((kept, rows, cols)) if guess is None else guess.copy()
    word = np.empty((kept, rows, cols))
    row_current = np.empty((batch, rows))
    column_current = np.empty((batch, cols))
    iterations = np.empty(batch, dtype=np.int64)
    residual = np.empty(batch)

    def work(part: slice) -> None:
        scratch = (1, rows, cols)
        solve_batch(
            conductances if conductances.shape[0] == 1 else conductances[part],
            sources[part] if sources.shape[0] else sources,
            terminals.wordline_resistance,
            terminals.bitline_resistance,
            terminals.row_port,
            terminals.column_port,
            terminals.row_volts[part],
            terminals.column_volts[part],
            guess is not None,
            tolerance,
            max_iterations,
            bit[part] if keep else np.empty(scratch),
            word[part] if keep else np.empty(scratch),
            row_current[part],
            column_current[part],
            iterations[part],
            residual[part],
        )

    over_threads(batch, threads, work)
    return LinearResult(word, bit, row_current, column_current, iterations, residual)


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
            None,
            tolerance=tolerance,
            max_iterations=max_iterations,
            threads=threads,
            keep=False,
        )
        out[k] = result_k.row_current.T if by_columns else result_k.column_current
        worst = max(worst, float(result_k.residual.max()))
    return out, worst
