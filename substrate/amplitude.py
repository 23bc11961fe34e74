"""The nudge's amplitude: fixed, or set for each sample from the measured decay of the harmonics.

With a fixed beta every sample is nudged by beta e, so that badly classified samples are driven hard and the others
hardly above the noise. ``auto`` drives all samples alike instead: beta = drive/rms(e) with one *drive* in activity
units, and moves the drive to where the two errors of a derivative balance. With harmonics up to an odd K the
truncation error grows as t ~ drive^(K + 1) and the noise error falls as n ~ 1/drive; t^2 + n^2 is least at
t = n/sqrt(K + 1). Noise is also what a converter rounds off (``tone_response.reading_noise``): without it the drive
would follow noiseless readings down to where no step of the converter is crossed any more.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from substrate.arrays import FloatArray

FINEST = 1e-3
"""Truncation aimed at where no noise is seen: below it nothing is gained."""

COARSEST = 2e-2
"""Truncation never exceeded on purpose, however noisy the read-out."""

LARGEST_STEP = 1.5
"""Most that the drive changes by in one update, as a factor."""

LOST_FRACTION = 0.02
"""Fraction of lost branches above which the drive comes down whatever the median sample says."""

DROWNED = 0.5
"""Noise over signal of a response from which on the drive is not brought down for lost branches."""


@final
@dataclass(frozen=True)
class AmplitudeReport:
    """What was seen at the present drive, over the samples in use.

    ``truncation`` is relative and clear of the noise, ``noise`` over signal, ``lost`` the fraction of lost branches.
    """

    truncation: float
    noise: float
    lost: float


@final
class Amplitude:
    """Chooses beta for each sample.

    Args:
        fixed: beta in activity units; None: automatic.
        harmonics: the highest used, K.
        largest_peak: largest nudge on any node, in activity units, that the device allows.
        drive: first drive of the automatic choice, rms over the output nodes in activity units.
    """

    def __init__(self, fixed: float | None, harmonics: int, largest_peak: float, drive: float = 0.2) -> None:
        self._fixed = fixed
        self.follow(harmonics)
        self._largest_peak = largest_peak
        self.drive = drive

    @property
    def automatic(self) -> bool:
        """Whether the amplitude follows the measured harmonics."""
        return self._fixed is None

    def follow(self, harmonics: int) -> None:
        """From now on the highest harmonic used is another."""
        self._order = harmonics if harmonics % 2 else harmonics - 1

    def choose(self, error: FloatArray) -> FloatArray:
        """Beta of each sample, (batch,), for output errors (batch, output) in activity units."""
        if self._fixed is not None:
            return np.full(len(error), self._fixed)
        scale = np.sqrt(np.mean(error**2, axis=1))
        # A sample without error has nothing to be nudged by; any finite beta serves.
        beta = np.where(scale > 1e-9, self.drive / np.maximum(scale, 1e-9), 1.0)
        peak = np.abs(error).max(axis=1) * beta
        return np.asarray(beta * (self._largest_peak / np.maximum(peak, self._largest_peak)))

    def update(self, report: AmplitudeReport) -> None:
        """Move the drive towards the balance of truncation and noise."""
        if self._fixed is not None:
            return
        aim = float(np.clip(report.noise / np.sqrt(self._order + 1), FINEST, COARSEST))
        # A truncation that is not seen at all lets the drive grow by the largest step.
        factor = (aim / max(report.truncation, 1e-12)) ** (1.0 / (self._order + 2))
        # A branch that is lost at a nudge hardly above the noise is not lost to the nudge.
        if report.lost > LOST_FRACTION and report.noise < DROWNED:
            factor = min(factor, 1.0 / LARGEST_STEP)
        self.drive *= float(np.clip(factor, 1.0 / LARGEST_STEP, LARGEST_STEP))
        self.drive = min(self.drive, self._largest_peak)

    def snapshot(self) -> dict[str, Any]:
        """The drive."""
        return {"drive": self.drive}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a drive back."""
        self.drive = float(snapshot["drive"])
