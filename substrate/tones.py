"""The nudge as a tone, and how its steady state is sampled: coherent records of whole periods."""

from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.arrays import FloatArray, IntArray
from substrate.errors import InputError


@final
@dataclass(frozen=True)
class SamplingPlan:
    """A coherent record: ``periods`` whole periods of ``samples_per_period`` samples, the first at the nudge's crest.

    Attributes:
        frequency_hz: of the nudge beta e cos(2 pi f t).
        harmonics: the highest harmonic used in the derivative.
        samples_per_period: M > 2 ``harmonics``, so that no harmonic in use is aliased.
        periods: whole periods in the record.

    Raises:
        InputError: names the key and what was expected.
    """

    frequency_hz: float
    harmonics: int
    samples_per_period: int
    periods: int

    def __post_init__(self) -> None:
        if not (np.isfinite(self.frequency_hz) and self.frequency_hz > 0):
            raise InputError(f"nudge.frequency_hz: expected a positive number, got {self.frequency_hz}")
        if self.harmonics < 1:
            raise InputError(f"nudge.harmonics: expected at least 1, got {self.harmonics}")
        if self.samples_per_period <= 2 * self.harmonics:
            raise InputError(
                f"nudge.samples_per_period: expected more than twice the highest harmonic "
                f"({2 * self.harmonics}), got {self.samples_per_period}"
            )
        if self.periods < 1:
            raise InputError(f"nudge.periods: expected at least 1, got {self.periods}")

    @property
    def sample_count(self) -> int:
        """Samples in the record."""
        return self.samples_per_period * self.periods

    @property
    def rate_hz(self) -> float:
        """Sample rate."""
        return self.frequency_hz * self.samples_per_period

    @property
    def highest_harmonic(self) -> int:
        """The highest harmonic that the record resolves (below half the sample rate)."""
        return (self.samples_per_period - 1) // 2

    def phases(self) -> FloatArray:
        """Phase of the nudge at each sample of one period, (samples_per_period,) radians."""
        return np.asarray(np.arange(self.samples_per_period) * (2 * np.pi / self.samples_per_period), dtype=np.float64)

    def distinct(self) -> tuple[FloatArray, IntArray]:
        """Quasi-static response depends on cos(phase) alone: its distinct values, falling, and which each sample has.

        Returns:
            values (M // 2 + 1,), index (M,) with ``values[index] == cos(phases())``.
        """
        count = self.samples_per_period
        steps = np.arange(count)
        index = np.minimum(steps, count - steps)
        values = np.cos(np.arange(count // 2 + 1) * (2 * np.pi / count))
        # The zero crossing is exactly the free state.
        values[np.abs(values) < 1e-12] = 0.0
        return values, index
