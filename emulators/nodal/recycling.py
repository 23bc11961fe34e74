"""A better start for cells that have moved a little: recycled search directions of an earlier solve.

A state (w0, b0) that was exact for the conductances D is short by the currents (D' - D)(w0 - b0) in its cells once they
are D'. The first conjugate-gradient directions p_k of the earlier solve span the smooth part of the error that this
makes, and they are conjugate, p_j S p_k = 0. With u_k = (L_w + D)^-1 D p_k the word-line voltages that go with p_k,

    b = b0 - sum_k p_k  (u_k - p_k).(D' - D)(w0 - b0) / p_k.S.p_k

has the least error in the energy norm that can be had from them, to first order in the change (augmented conjugate
gradients: Saad, Yeung, Erhel & Guyomarc'h, SIAM J. Sci. Comput. 21, 2000). Since voltages are smooth along a line, but
not across lines, p_k and u_k are kept as means over every four cells of a line. It is but the start of an iteration
that finds the exact residual: directions of other inputs serve as well, and those that have aged cost only time.
"""

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from emulators.nodal.lines import compiled

FloatArray = NDArray[np.float64]
SingleArray = NDArray[np.float32]

DIRECTIONS = 3
"""How many are kept: more gained nothing more at 256 x 256 and 512 x 512 (measured)."""
COARSE = 4
"""Cells of a line that are kept as one: with 8 an iteration more was needed (measured)."""
AGED = 0.1
"""Relative change (root mean square) of the cells at which directions are found anew."""
WORTHWHILE = 1e-3
"""The exact pass alone leaves at most this share of the cells' relative change (measured)."""


class Directions(NamedTuple):
    """Conjugate directions of an array; every ``COARSE`` cells of a line are one."""

    conductances: FloatArray
    """(rows, cols) siemens: the cells' conductances for which they are conjugate."""
    word: SingleArray
    """u_k, (count, rows, cols / COARSE) volts."""
    bit: SingleArray
    """p_k, (count, rows / COARSE, cols) volts."""
    energies: FloatArray
    """p_k.S.p_k, (count,) watts."""

    @classmethod
    def empty(cls, conductances: FloatArray, count: int) -> Self:
        """Return room for ``count`` directions."""
        rows, cols = conductances.shape
        return cls(
            conductances,
            np.empty((count, rows, -(-cols // COARSE)), dtype=np.float32),
            np.empty((count, -(-rows // COARSE), cols), dtype=np.float32),
            np.empty(count),
        )

    def head(self, count: int) -> Self:
        """Return the first ``count``."""
        return type(self)(self.conductances, self.word[:count], self.bit[:count], self.energies[:count])


class Reuse(NamedTuple):
    """What one solve takes from an earlier one and leaves to a later one."""

    recycled: tuple[FloatArray, Directions] | None
    """The change of the cells, (rows, cols) siemens, and the directions to improve the start with, if that pays."""
    fresh: Directions | None
    """Room for directions of its own, unless it passes on those that it was given."""
    given: Directions | None

    def outcome(self, iterations: NDArray[np.int64]) -> Directions | None:
        """Return what is there for a later solve, after ``iterations`` (batch,)."""
        if self.fresh is None:
            return self.given
        count = min(int(iterations[:1].sum()), len(self.fresh.energies))
        return self.fresh.head(count) if count else None


def plan(new: FloatArray, old: FloatArray | None, given: Directions | None, tolerance: float) -> Reuse:
    """Decide what to reuse for conductances ``new``, given those of the start, ``old``, and its directions, if any."""
    if old is None or given is None or _relative_change(new, given.conductances) > AGED:
        return Reuse(None, Directions.empty(new, DIRECTIONS), None)
    pays = tolerance < WORTHWHILE * _relative_change(new, old)
    return Reuse((new - old, given) if pays else None, None, given)


def _relative_change(new: FloatArray, old: FloatArray) -> float:
    """Return the root mean square of new - old, relative to that of old; both (rows, cols)."""
    difference, scale = _squares(new, old)
    return math.sqrt(difference / scale)


@compiled
def _squares(new, old):  # type: ignore[no-untyped-def]
    difference = 0.0
    scale = 0.0
    for i in range(new.shape[0]):
        for j in range(new.shape[1]):
            difference += (new[i, j] - old[i, j]) ** 2
            scale += old[i, j] ** 2
    return difference, scale


@compiled
def coarsen(line, cols, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the means of every ``COARSE`` of the first ``cols`` values."""
    whole = cols // COARSE
    for k in range(whole):
        part = 0.0
        for j in range(COARSE * k, COARSE * (k + 1)):
            part += line[j]
        out[k] = part / COARSE
    if whole < out.shape[0]:
        part = 0.0
        for j in range(COARSE * whole, cols):
            part += line[j]
        out[whole] = part / (cols - COARSE * whole)


@compiled
def coarsen_rows(array, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the means of every ``COARSE`` rows."""
    m, n = array.shape
    for k in range(out.shape[0]):
        first, end = COARSE * k, min(COARSE * (k + 1), m)
        share = 1.0 / (end - first)
        for j in range(n):
            out[k, j] = 0.0
        for i in range(first, end):
            for j in range(n):
                out[k, j] += share * array[i, j]


@compiled
def correct_start(change, old_word, old_bit, word, bit, energies, x):  # type: ignore[no-untyped-def]
    """Fill the bit-line voltages x (rows, cols) from those of the earlier state, ``old_word`` and ``old_bit``.

    ``change`` (rows, cols): new less old conductances; ``word``, ``bit`` and ``energies`` as in ``Directions``.
    """
    m, n = change.shape
    count = energies.shape[0]
    share = np.zeros(count)
    short, columns, means = np.empty(n), np.empty(n), np.empty(word.shape[2])
    for block in range(bit.shape[1]):
        columns[:] = 0.0
        for i in range(COARSE * block, min(COARSE * (block + 1), m)):
            for j in range(n):
                short[j] = change[i, j] * (old_word[i, j] - old_bit[i, j])
                columns[j] += short[j]
                x[i, j] = old_bit[i, j]
            coarsen(short, n, means)
            means *= COARSE
            if n % COARSE > 0:
                means[-1] *= (n % COARSE) / COARSE
            for k in range(count):
                part = 0.0
                for j in range(means.size):
                    part += word[k, i, j] * means[j]
                share[k] -= part
        for k in range(count):
            part = 0.0
            for j in range(n):
                part += bit[k, block, j] * columns[j]
            share[k] += part
    for k in range(count):
        share[k] /= energies[k]
    for block in range(bit.shape[1]):
        columns[:] = 0.0
        for k in range(count):
            for j in range(n):
                columns[j] += share[k] * bit[k, block, j]
        for i in range(COARSE * block, min(COARSE * (block + 1), m)):
            for j in range(n):
                x[i, j] += columns[j]
