"""Memory for large arrays that come and go at every step: fresh pages would cost more than what is computed in them."""

import math
import weakref
from typing import final

import numpy as np

from substrate.arrays import FloatArray

MOST_SPARE = 4
"""Blocks of one size that wait to be used again."""
LARGEST_SPARE_BYTES = 1 << 25
"""Of a block that waits: what is larger goes back to the system."""


@final
class SpareMemory:
    """Gives arrays whose memory it uses again once nothing refers to them, nor to any view of them."""

    def __init__(self) -> None:
        self._spare: dict[int, list[bytearray]] = {}

    def empty(self, shape: tuple[int, ...]) -> FloatArray:
        """An array of float64 with anything in it."""
        size = 8 * math.prod(shape)
        spare = self._spare.setdefault(size, [])
        memory = spare.pop() if spare else bytearray(size)
        values = np.ndarray(shape, dtype=np.float64, buffer=memory)
        # Views refer to this array, not to the memory, as long as that is no array itself.
        weakref.finalize(values, _give_back, spare, memory).atexit = False
        return values


def _give_back(spare: list[bytearray], memory: bytearray) -> None:
    if len(spare) < MOST_SPARE and len(memory) <= LARGEST_SPARE_BYTES:
        spare.append(memory)
