"""Memory that is used again: never while anything still looks at it."""

import gc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from substrate.spare_memory import SpareMemory


@given(st.lists(st.tuples(st.sampled_from([(3, 4), (12,), (2, 5)]), st.integers(0, 3)), max_size=40))
def test_what_is_held_is_never_overwritten(turns: list[tuple[tuple[int, ...], int]]) -> None:
    memory, held = SpareMemory(), list[tuple[np.ndarray, float]]()
    for number, (shape, view) in enumerate(turns):
        values = memory.empty(shape)
        values[...] = number
        kept = [values, values[1:], values.reshape(-1)[2:], values.T[None]][view]
        values.setflags(write=False)
        held.append((kept, float(number)))
        if view == 3:
            held.pop(0)
        for array, content in held:
            assert np.all(array == content)


def test_memory_is_used_again_when_the_last_view_has_gone() -> None:
    memory = SpareMemory()
    values = memory.empty((4, 5))
    place = values.ctypes.data
    view = values[2:, 1:]
    del values
    gc.collect()
    assert memory.empty((4, 5)).ctypes.data != place
    del view
    gc.collect()
    first, second = memory.empty((4, 5)), memory.empty((4, 5))
    assert place in (first.ctypes.data, second.ctypes.data)
