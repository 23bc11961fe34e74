"""Records of digitizers."""

from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.arrays import BoolArray, FloatArray


@final
@dataclass(frozen=True)
class Waveforms:
    """Samples of several channels at the same times.

    Attributes:
        times_seconds: (time), 0 at the trigger.
        volts: (channel, time), in the order that was asked for; NaN where the instrument has no sample.
        clipped: (channel), whether a sample lay beyond the range of the converter.
    """

    times_seconds: FloatArray
    volts: FloatArray
    clipped: BoolArray


def stacked(times_seconds: FloatArray, volts: list[FloatArray], clipped: list[bool]) -> Waveforms:
    """Of channels that were read one after another."""
    return Waveforms(times_seconds, np.stack(volts), np.array(clipped, dtype=np.bool_))
