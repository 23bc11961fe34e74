"""Changes of an array's weights as sums of outer products of what is on its lines, kept in their factors.

A mean over a batch is one: rows^T @ columns, a term a sample. Arrays take such a change in one parallel write
(T. Gokmen & Y. Vlasov, Front. Neurosci. 10, 333 (2016)), and of few terms it is much less to handle than its entries.
"""

from typing import TypeAlias, final

import numpy as np

from substrate.arrays import BoolArray, FloatArray, finite_reals
from substrate.errors import InputError

CANCELLED = 1e-3
"""What is left of terms, relative to their sum in magnitude, below which entries are added up instead."""


@final
class OuterProducts:
    """factor rows^T @ columns; what is computed of it is kept, and shared by its multiples.

    Args:
        rows: (term, row), left alone afterwards, as are
        columns: (term, column).
        factor: of all terms.
    """

    def __init__(self, rows: FloatArray, columns: FloatArray, factor: float = 1.0) -> None:
        self.rows = rows
        self.columns = columns
        self.factor = factor
        self._product: list[FloatArray] = []

    @property
    def shape(self) -> tuple[int, int]:
        """(row, column)."""
        return self.rows.shape[1], self.columns.shape[1]

    @property
    def less(self) -> bool:
        """Whether the factors are fewer numbers than the entries."""
        rows, columns = self.shape
        return self.rows.size + self.columns.size < rows * columns

    @property
    def product(self) -> FloatArray:
        """rows^T @ columns, (row, column), without the factor."""
        if not self._product:
            self._product.append(self.rows.T @ self.columns)
        return self._product[0]

    @property
    def dense(self) -> FloatArray:
        """All entries, (row, column)."""
        return self.product if self.factor == 1.0 else self.product * self.product.dtype.type(self.factor)

    @property
    def power(self) -> float:
        """Sum of the squares of all entries."""
        terms, (rows, columns) = len(self.rows), self.shape
        # Where it is not much cheaper the entries are computed: whoever asks mostly wants them written as well.
        if not self._product and terms**2 * (rows + columns) < 4 * rows * columns:
            overlaps = (self.rows @ self.rows.T) * (self.columns @ self.columns.T)
            squares = float(overlaps.sum())
            # Terms that cancel would leave their rounding.
            if squares > CANCELLED * float(np.abs(overlaps).sum()):
                return self.factor**2 * squares
        return self.factor**2 * float(np.vdot(self.product, self.product))

    @property
    def active(self) -> tuple[BoolArray, BoolArray]:
        """Rows and columns on which there is anything at all, (row,) and (column,)."""
        if not self.factor:
            return np.zeros(self.shape[0], dtype=np.bool_), np.zeros(self.shape[1], dtype=np.bool_)
        return np.asarray(self.rows.any(axis=0)), np.asarray(self.columns.any(axis=0))

    @property
    def reach(self) -> FloatArray:
        """What no entry of a column exceeds in magnitude, (column,)."""
        largest = np.maximum(self.rows.max(axis=1), -self.rows.min(axis=1))
        return np.asarray(largest @ np.abs(self.columns) * abs(self.factor))

    def scaled(self, factor: float) -> "OuterProducts":
        """A multiple."""
        other = OuterProducts(self.rows, self.columns, self.factor * factor)
        other._product = self._product
        return other

    def plus(self, other: "OuterProducts") -> "OuterProducts | None":
        """The sum: of no more terms than this has where both have the same rows; None where entries would be less."""
        own, more = (one.columns * one.columns.dtype.type(one.factor) for one in (self, other))
        if self.rows is other.rows or np.array_equal(self.rows, other.rows):
            return OuterProducts(self.rows, own + more)
        total = OuterProducts(np.concatenate([self.rows, other.rows]), np.concatenate([own, more]))
        return total if total.less else None

    def check(self, name: str, shape: tuple[int, int]) -> None:
        """Refuse what is no change of an array of ``shape`` (row, column).

        Raises:
            InputError: factors of another shape or type, numbers that are not finite.
        """
        for side, values, length in (("rows", self.rows, shape[0]), ("columns", self.columns, shape[1])):
            if not (isinstance(values, np.ndarray) and values.dtype in (np.float32, np.float64)):
                raise InputError(f"{name}: {side}: expected an array of floats in single or double precision")
            finite_reals(f"{name}: {side}", values, (len(self.rows), length))
        if not (isinstance(self.factor, float | int | np.floating) and np.isfinite(self.factor)):
            raise InputError(f"{name}: expected a finite factor, got {self.factor!r}")


Direction: TypeAlias = FloatArray | OuterProducts
"""A descent direction or a change of an array's weights, (row, column)."""


def dense(direction: Direction) -> FloatArray:
    """All entries, (row, column)."""
    return direction.dense if isinstance(direction, OuterProducts) else direction


def power(direction: Direction) -> float:
    """Sum of the squares of all entries."""
    return direction.power if isinstance(direction, OuterProducts) else float(np.vdot(direction, direction))


def scaled(direction: Direction, factor: float) -> Direction:
    """A multiple, in the same precision."""
    return direction.scaled(factor) if isinstance(direction, OuterProducts) else factor * direction


def added(first: Direction, second: Direction) -> Direction:
    """The sum of two."""
    total = first.plus(second) if isinstance(first, OuterProducts) and isinstance(second, OuterProducts) else None
    return dense(first) + dense(second) if total is None else total
