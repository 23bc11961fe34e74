"""Converters of the signal chain: quantisation, range, noise; saturation is reported, never hidden."""

from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.arrays import BoolArray, FloatArray


def _step(bits: int, range_volts: float) -> float:
    return 2.0 * range_volts / 2.0**bits


def _quantise(volts: FloatArray, bits: int, range_volts: float) -> FloatArray:
    step = _step(bits, range_volts)
    # Mid-tread, two's complement: codes -2^(bits-1) .. 2^(bits-1) - 1.
    codes = np.clip(np.rint(volts / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return np.asarray(codes * step)


@final
@dataclass(frozen=True)
class Dac:
    """Digital-to-analog converter; ``bits`` 0 is an ideal one.

    Attributes:
        bits: resolution over -range .. +range.
        range_volts: full scale.
    """

    bits: int
    range_volts: float

    def convert(self, volts: FloatArray) -> FloatArray:
        """The voltages that come out for the voltages asked for (full scale itself comes out one step short)."""
        return volts if self.bits == 0 else _quantise(volts, self.bits, self.range_volts)


@final
@dataclass(frozen=True)
class Adc:
    """Analog-to-digital converter; ``bits`` 0 has neither steps nor a range.

    Attributes:
        bits: resolution over -range .. +range.
        range_volts: full scale; beyond it the reading saturates.
        noise_volts: standard deviation of the input-referred noise of a sample.
    """

    bits: int
    range_volts: float
    noise_volts: float

    @property
    def step_volts(self) -> float:
        """Between neighbouring readings; 0 for an ideal one."""
        return _step(self.bits, self.range_volts) if self.bits else 0.0

    def convert(self, volts: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, BoolArray]:
        """Readings of ``volts`` (batch, time, node), and for each sample of the batch whether any reading clipped."""
        if self.noise_volts > 0:
            volts = volts + self.noise_volts * rng.standard_normal(volts.shape)
        if self.bits == 0:
            return volts, np.zeros(len(volts), dtype=np.bool_)
        clipped = np.abs(volts).max(axis=(1, 2)) > self.range_volts
        return _quantise(volts, self.bits, self.range_volts), clipped
