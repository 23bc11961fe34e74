"""How many harmonics and periods a sinusoidal nudge is given: from the measured noise and the measured decay.

A derivative taken from the harmonics up to an odd K leaves out (K + 2) A_{K+2} and more, and carries the noise of each
harmonic k-fold. Both are measured on every record, as it holds more harmonics than are used: with white noise of
variance s^2 on N samples, over the samples and nodes of a batch and relative to its derivative D,

    t_K^2 = (K + 2)^2 sum (A_{K+2}^2 - 2 s^2/N) / sum D^2,    n_K^2 = (1 + 9 + ... + K^2) sum 2 s^2/N / sum D^2,

each term over the square of its sample's amplitude. The number of harmonics is that of the least t^2 + n^2. Where the
amplitude is automatic too, it is what the sum comes to once the amplitude has followed: t grows with it as its power
K + 1, and n falls with its inverse.
"""

from dataclasses import replace
from typing import Any, final

import numpy as np

from substrate.amplitude import LARGEST_STEP
from substrate.arrays import BoolArray, FloatArray
from substrate.tones import SamplingPlan

GAIN = 0.8
"""A change of harmonics has to bring the squared error below this share of what it is."""

NOISE = 0.1
"""Noise over signal of a response beyond which automatic periods are added, unless truncation is larger anyway."""

MOST_PERIODS = 16
"""That an automatic record has; its least are 2, without which there is no noise to be seen."""


def periods_needed(periods: int, power: float, wanted: float, repeated: float) -> float:
    """Periods that bring the squared error of noise to what is wanted, or to that of the share that is always the same.

    Args:
        periods: that left ``power``, the squared error of all noise.
        power: see there.
        wanted: squared error.
        repeated: share of ``power`` that more periods do not lessen.
    """
    return periods * ((1.0 - repeated) * power) / max(wanted, repeated * power)


@final
class ToneChoice:
    """The tone and its sampling, of which harmonics and periods may follow what is measured.

    Args:
        plan: the tone to begin with.
        harmonics: they follow.
        periods: they follow.
        amplitude: it follows the harmonics, see ``amplitude``.
    """

    def __init__(
        self, plan: SamplingPlan, *, harmonics: bool = False, periods: bool = False, amplitude: bool = False
    ) -> None:
        self.plan = plan
        self._harmonics = harmonics
        self._periods = periods
        self._amplitude = amplitude

    @property
    def automatic(self) -> bool:
        """Whether anything follows."""
        return self._harmonics or self._periods

    def update(
        self,
        cosines: FloatArray,
        derivative: FloatArray,
        beta: FloatArray,
        noise: float,
        usable: BoolArray,
        repeated: float = 0.0,
    ) -> None:
        """Choose for the next record.

        Args:
            cosines: (batch, node, harmonic), in-phase amplitudes of this one.
            derivative: (batch, node), taken from it.
            beta: (batch,), amplitudes.
            noise: variance of one reading.
            usable: (batch,), samples that count.
            repeated: share of the noise that is the same in each period.
        """
        # Of a response that no reading shows there is nothing to be judged.
        if not (self.automatic and derivative[usable].any()):
            return
        truncation, random = self._errors(cosines[usable], derivative[usable], beta[usable], noise)
        place = (self.plan.harmonics - 1) // 2
        if self._harmonics:
            total = self._after_amplitude(truncation, random)
            best = int(np.argmin(total))
            if total[best] < GAIN * total[place]:
                self.plan = replace(self.plan, harmonics=2 * best + 1)
                place = best
        if self._periods:
            wanted = max(NOISE, float(np.sqrt(truncation[place])))
            # What the record came to at one period, and how many it takes; doubled or halved at a time.
            needed = periods_needed(self.plan.periods, random[place], wanted**2, repeated)
            if needed > self.plan.periods:
                self.plan = replace(self.plan, periods=min(2 * self.plan.periods, MOST_PERIODS))
            elif needed < 0.4 * self.plan.periods:
                self.plan = replace(self.plan, periods=max(self.plan.periods // 2, 2))

    def _errors(
        self, cosines: FloatArray, derivative: FloatArray, beta: FloatArray, noise: float
    ) -> tuple[FloatArray, FloatArray]:
        """Squares of t_K and n_K for K = 1, 3, ..., (choice,)."""
        nodes, highest = cosines.shape[1], self.plan.highest_harmonic
        order = np.arange(1, highest + 1, 2)
        share = 1.0 / beta**2
        one = 2.0 * noise / self.plan.sample_count
        power = np.einsum("bnk,b->k", cosines[:, :, 1 : highest + 1 : 2] ** 2, share) - one * nodes * share.sum()
        # A harmonic that is not seen may be as large as its noise scatters.
        power = np.maximum(power, one * np.sqrt(2.0 * nodes * np.sum(share**2)))
        signal = max(float(np.sum(derivative**2)), np.finfo(float).tiny)
        random = np.cumsum(order.astype(float) ** 2) * one * nodes * share.sum() / signal
        return (order**2 * power / signal)[1:], random[:-1]

    def _after_amplitude(self, truncation: FloatArray, random: FloatArray) -> FloatArray:
        """Squared errors where the amplitude stays, or where it has moved by its one step towards their balance."""
        if not self._amplitude:
            return truncation + random
        powers = 2.0 * np.arange(1, len(truncation) + 1)
        ratio = random / np.maximum(powers * truncation, np.finfo(float).tiny)
        factor = np.clip(ratio ** (0.5 / (powers + 1.0)), 1.0 / LARGEST_STEP, LARGEST_STEP)
        return np.asarray(truncation * factor ** (2.0 * powers) + random / factor**2)

    def snapshot(self) -> dict[str, Any]:
        """The choice."""
        return {"harmonics": self.plan.harmonics, "periods": self.plan.periods}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a choice back."""
        self.plan = replace(self.plan, harmonics=int(snapshot["harmonics"]), periods=int(snapshot["periods"]))
