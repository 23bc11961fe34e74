"""How many pulses cells have had, and may have."""

from typing import final

import numpy as np

from substrate.arrays import IntArray
from substrate.errors import CapabilityError


@final
class PulseBudget:
    """Pulses of each cell of an array.

    Args:
        shape: (rows, columns).
        most: pulses that a cell may be given.

    Attributes:
        given: (rows, columns), pulses so far; they are booked before they are sent, since a lost answer may hide them.
    """

    def __init__(self, shape: tuple[int, int], most: int) -> None:
        self.given: IntArray = np.zeros(shape, dtype=np.int64)
        self._most = most

    def check(self, counts: IntArray) -> None:
        """That so many pulses (rows, columns) may be given.

        Raises:
            CapabilityError: they are beyond the budget; names the first cell.
        """
        beyond = np.argwhere(self.given + counts > self._most)
        if len(beyond):
            row, column = (int(index) for index in beyond[0])
            raise CapabilityError(
                f"write: {int(counts[row, column])} pulses for the cell at ({row}, {column}), which has had "
                f"{int(self.given[row, column])}, are beyond pulses_per_cell = {self._most}"
            )
