"""Whether a transient has become its steady state."""

from dataclasses import replace

import numpy as np

from substrate.arrays import BoolArray, FloatArray
from substrate.tone_response import disagreement
from substrate.tones import SamplingPlan


def repeats(outputs: FloatArray, plan: SamplingPlan, tolerance: float | None) -> BoolArray:
    """Which samples' last two periods agree, (batch,).

    Args:
        outputs: (batch, time, node) up to the end of the record, the periods before it included.
        plan: of the record.
        tolerance: largest ``disagreement``, relative to the swing; None: all do. A single period with none before it
            repeats nothing.
    """
    batch, times, _ = outputs.shape
    if tolerance is None:
        return np.ones(batch, dtype=np.bool_)
    two = 2 * plan.samples_per_period
    if times < two:
        return np.zeros(batch, dtype=np.bool_)
    return np.asarray(disagreement(outputs[:, -two:], replace(plan, periods=2)) <= tolerance)
