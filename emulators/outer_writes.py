"""Outer products that were written to pairs of cells and are not yet carried out cell by cell.

What they do to the currents of given lines follows from their factors, x^T (W + R^T C) = x^T W + (x^T R^T) C: an array
that is written many times while the same inputs are held is gone over once. They wait only as long as no cell
can have come to the end of its window on the way: the changes of a bit line, added up in magnitude, must be less than
what the closest of its cells has left. Factors that are more numbers than the cells, as those of convolutions are, with
a term for every place of every sample, do not wait: cells are moved by them sooner than lines are.
"""

from typing import final

import numpy as np

from substrate.arrays import FloatArray
from substrate.outer_products import OuterProducts


@final
class OuterWrites:
    """What waits.

    Attributes:
        change: what all of it comes to, siemens of g+ - g-; None: nothing waits.
        room: (column,), by how much pairs of each bit line may still move apart; None: unknown.
    """

    def __init__(self) -> None:
        self.change: OuterProducts | None = None
        self.room: FloatArray | None = None
        self._reach: FloatArray | float = 0.0

    def begin(self, room: FloatArray | None) -> None:
        """Nothing waits any more."""
        self.change, self.room, self._reach = None, room, 0.0

    def wait(self, change: OuterProducts) -> bool:
        """Whether ``change`` can wait; it is taken then."""
        if self.room is None or not change.less:
            return False
        reach = self._reach + change.reach
        if not bool(np.all(reach < self.room)):
            return False
        total = change if self.change is None else self.change.plus(change)
        if total is None:
            return False
        self._reach, self.change = reach, total
        return True
