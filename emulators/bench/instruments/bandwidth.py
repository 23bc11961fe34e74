"""The bandwidth limit of an oscilloscope's input: one pole."""

import numpy as np

from substrate.arrays import FloatArray


def limited(volts: FloatArray, step_seconds: float, corner_hz: float) -> FloatArray:
    """A record behind one pole, as if it repeated: exact for whole periods, and else but for its first moments.

    Args:
        volts: (time,), evenly sampled.
        step_seconds: between samples.
        corner_hz: where 3 dB are lost.

    Returns:
        (time,).
    """
    hertz = np.fft.rfftfreq(len(volts), step_seconds)
    return np.asarray(np.fft.irfft(np.fft.rfft(volts) / (1.0 + 1j * hertz / corner_hz), len(volts)), dtype=np.float64)
