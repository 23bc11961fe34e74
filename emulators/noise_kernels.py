"""Compiled loop of correlated noise over records. Imported on first use only: it brings numba in.

Normal deviates come from the caller's generator, sample by sample, component by component, place by place.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit

from substrate.arrays import FloatArray


def _relax_over_records(
    rng: np.random.Generator,
    state: FloatArray,
    rates: FloatArray,
    deviation: float,
    first_gap: float,
    gap: float,
    step: float,
    out: FloatArray,
) -> None:
    """Sums of Ornstein-Uhlenbeck processes, by their exact transition.

    ``state`` (component, place) goes on in place, ``rates`` (component,) per second, ``out`` (record, time, place) is
    filled. ``first_gap`` seconds lie before the first sample of the first record, ``gap`` before the others' first.
    """
    records, times, places = out.shape
    for record in range(records):
        for time in range(times):
            seconds = step if time > 0 else (gap if record > 0 else first_gap)
            for place in range(places):
                out[record, time, place] = 0.0
            for component in range(len(rates)):
                kept = math.exp(-rates[component] * seconds)
                fresh = deviation * math.sqrt(1.0 - kept * kept)
                for place in range(places):
                    value = kept * state[component, place] + fresh * rng.standard_normal()
                    state[component, place] = value
                    out[record, time, place] += value


relax_over_records: Callable[..., None] = njit(cache=True)(_relax_over_records)
