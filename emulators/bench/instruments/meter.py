"""Digits of a meter: ranges, steps, noise and overflow, which all meters and source-measure units share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

OVERFLOW = 9.9e37
"""What Keithley and Keysight show above the range (SCPI 1999 volume 1, 7.2.1)."""

SAMPLES = 16
"""Times within one integration at which the circuit is solved where anything moves."""


@final
@dataclass(frozen=True)
class Ladder:
    """The ranges of one quantity.

    Attributes:
        ranges: full scales, rising.
        steps: of a full scale, at one power-line cycle.
        over_range: what a range still shows, as a multiple of it.
        noise_steps: standard deviation of a reading at one power-line cycle, in steps.
    """

    ranges: Sequence[float]
    steps: float
    over_range: float
    noise_steps: float = 0.5

    @property
    def largest(self) -> float:
        """What the highest range still takes."""
        return self.over_range * self.ranges[-1]

    def holding(self, value: float) -> float:
        """The smallest range that holds a value; the highest one if none does."""
        size = abs(value) * (1.0 - 1e-12)
        return next((one for one in self.ranges if size <= self.over_range * one), self.ranges[-1])

    def fixed(self, value: float) -> float:
        """The range that an instrument chooses for an expected value: the smallest that is not below it."""
        size = abs(value) * (1.0 - 1e-9)
        return next((one for one in self.ranges if size <= one), self.ranges[-1])

    def shown(self, value: float, full_scale: float | None, cycles: float, rng: np.random.Generator) -> float:
        """A value as the range shows it; ``full_scale`` None chooses the range. ``cycles``: of integration."""
        scale = self.holding(value) if full_scale is None else full_scale
        step = scale / self.steps
        noisy = value + self.noise_steps * step / np.sqrt(cycles) * float(rng.standard_normal())
        if abs(noisy) > self.over_range * scale * (1.0 + 2.0 * self.noise_steps / self.steps + 1e-9):
            return float(np.copysign(OVERFLOW, noisy))
        return float(round(noisy / step) * step)


def sample_times(now: float, seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Middles of the parts that an integration from ``now`` on is cut into, (SAMPLES,) seconds."""
    return np.asarray(now + (np.arange(SAMPLES) + 0.5) * (seconds / SAMPLES), dtype=np.float64)
