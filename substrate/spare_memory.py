"""Memory for large arrays that come and go at every step: fresh pages would cost more than what is computed in them."""

import math
import weakref
from typing import Any, final

import numpy as np
import numpy.typing as npt

MOST_SPARE = 4
"""Blocks of one size that wait to be used again."""
LARGEST_SPARE_BYTES = 1 << 25
"""Of a block that waits: what is larger goes back to the system."""


@final
class SpareMemory:
    """Gives arrays whose memory it uses again once nothing refers to them, nor to any view of them."""

    def __init__(self) -> None:
        self._spare: dict[int, list[bytearray]] = {}

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
        """An array with anything in it."""
        kind = np.dtype(dtype)
        size = kind.itemsize * math.prod(shape)
        spare = self._spare.setdefault(size, [])
        memory = spare.pop() if spare else bytearray(size)
        values: npt.NDArray[Any] = np.ndarray(shape, dtype=kind, buffer=memory)
        # Views refer to this array, not to the memory, as long as that is no array itself.
        weakref.finalize(values, _give_back, spare, memory).atexit = False
        return values


def _give_back(spare: list[bytearray], memory: bytearray) -> None:
    if len(spare) < MOST_SPARE and len(memory) <= LARGEST_SPARE_BYTES:
        spare.append(memory)
