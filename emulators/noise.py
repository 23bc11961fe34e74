"""Noise of cells and of readings: white (thermal, shot), 1/f, random telegraph and mains pick-up.

Processes that remember carry their state from one call to the next, on the seconds of the device's own clock.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.arrays import BoolArray, FloatArray
from substrate.contract import Snapshot

BOLTZMANN = 1.380649e-23
"""Joules per kelvin (exact, SI 2019)."""

ELEMENTARY_CHARGE = 1.602176634e-19
"""Coulombs (exact, SI 2019)."""

PER_DECADE = 3
"""Ornstein-Uhlenbeck processes for each decade of 1/f noise: the ripple on the slope is below 0.3 %."""


def thermal_variance(siemens: FloatArray, kelvin: float, bandwidth_hz: float) -> FloatArray:
    """Variance of the short-circuit current of conductances, amperes squared: 4 k T G B.

    J. B. Johnson, Phys. Rev. 32, 97 (1928); H. Nyquist, Phys. Rev. 32, 110 (1928).
    """
    return 4.0 * BOLTZMANN * kelvin * bandwidth_hz * siemens


def shot_variance(amperes: FloatArray, fano: float, bandwidth_hz: float) -> FloatArray:
    """Variance of a current that carriers make one by one, amperes squared: 2 q F |I| B.

    W. Schottky, Ann. Phys. 362, 541 (1918); F, the Fano factor, is below 1 where carriers are correlated
    (Blanter & Buttiker, Phys. Rep. 336, 1 (2000): 1/3 in a diffusive conductor).
    """
    return np.asarray(2.0 * ELEMENTARY_CHARGE * fano * bandwidth_hz * np.abs(amperes))


@final
class Flicker:
    """1/f noise: a sum of equally strong relaxations whose corners are spread evenly over log f.

    One-sided density S(f) = ``power``/f between the corners (A. L. McWhorter, in Semiconductor Surface Physics, 1957;
    J. Bernamont, Proc. Phys. Soc. 49, 138 (1937)): a relaxation of variance s^2 and time t has the density
    4 s^2 t/(1 + (2 pi f t)^2), and with one for each factor e^h in f these add up to s^2/(h f), so s^2 = power h. Flat
    below ``lowest_hz``, 1/f^2 above ``highest_hz``. It goes on from call to call.

    Args:
        places: how many independent noises.
        power: S(f) f, in squares of the unit of the noise.
        lowest_hz: corner of the slowest relaxation.
        highest_hz: corner of the fastest one.
        rng: draws the starting point, which is stationary, and every step.
    """

    def __init__(
        self, places: int, power: float, lowest_hz: float, highest_hz: float, rng: np.random.Generator
    ) -> None:
        count = 1 + max(1, int(np.ceil(PER_DECADE * np.log10(highest_hz / lowest_hz))))
        corners = np.geomspace(lowest_hz, highest_hz, count)
        self._rates = 2.0 * np.pi * corners
        self._deviation = float(np.sqrt(power * np.log(highest_hz / lowest_hz) / (count - 1)))
        self._rng = rng
        self._state = self._deviation * rng.standard_normal((count, places))

    @property
    def now(self) -> FloatArray:
        """(place,): the noise as it stands."""
        return np.asarray(self._state.sum(axis=0))

    @property
    def variance(self) -> float:
        """Variance over all frequencies."""
        return len(self._rates) * self._deviation**2

    def density(self, hertz: FloatArray) -> FloatArray:
        """One-sided spectral density of the sum, in squares of the unit of the noise per hertz."""
        rates = self._rates[:, None]
        lorentzians = 4.0 * rates / (rates**2 + (2.0 * np.pi * hertz) ** 2)
        return np.asarray(self._deviation**2 * lorentzians.sum(axis=0))

    def record(self, shape: tuple[int, int], first_gap: float, gap: float, step: float) -> FloatArray:
        """(record, time, place) noise of ``shape`` (records, times) one after another.

        Args:
            shape: records and samples in each.
            first_gap: seconds from the last sample there was to the first.
            gap: seconds from the last sample of a record to the first of the next.
            step: seconds between the samples of a record.
        """
        # Imported on first use: compiling and loading kernels takes a while.
        from emulators.noise_kernels import relax_over_records

        out = np.empty((*shape, self._state.shape[1]))
        relax_over_records(self._rng, self._state, self._rates, self._deviation, first_gap, gap, step, out)
        return out

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.record((1, 1), seconds, 0.0, 0.0)

    def snapshot(self) -> Snapshot:
        """The state (not the generator)."""
        return {"state": self._state.copy()}

    def restore(self, snapshot: Snapshot) -> None:
        """Put a state back."""
        self._state[...] = snapshot["state"]


@final
class Telegraph:
    """Random telegraph noise: traps that capture and emit, sampled exactly at any times.

    A two-state Markov process in continuous time: the probability that a trap is full relaxes to capture/(capture +
    emission) at the rate capture + emission (S. Machlup, J. Appl. Phys. 25, 341 (1954)). A full trap lowers the
    conductance of its filament by a relative amplitude (D. Ielmini, F. Nardi, C. Cagli, Appl. Phys. Lett. 96, 053503
    (2010), for RRAM).

    Args:
        places: how many cells.
        fraction: of the cells that have a trap.
        amplitude: mean relative amplitude.
        amplitude_spread: standard deviation of the logarithm of the amplitude from cell to cell.
        capture_hz: median capture rate.
        emission_hz: median emission rate.
        rate_decades: both rates of a cell are shifted together, by up to this many decades to either side.
        rng: draws the traps, their stationary start, and every step.
    """

    def __init__(
        self,
        places: int,
        fraction: float,
        amplitude: float,
        amplitude_spread: float,
        capture_hz: float,
        emission_hz: float,
        rate_decades: float,
        rng: np.random.Generator,
    ) -> None:
        self._rng = rng
        trapped = rng.random(places) < fraction
        drawn = amplitude * np.exp(amplitude_spread * rng.standard_normal(places) - 0.5 * amplitude_spread**2)
        # More than the whole conductance cannot be lost.
        self.amplitude: FloatArray = np.where(trapped, np.minimum(drawn, 1.0), 0.0)
        shift = 10.0 ** (rate_decades * rng.uniform(-1.0, 1.0, places))
        self.rate: FloatArray = (capture_hz + emission_hz) * shift
        self.occupancy = capture_hz / (capture_hz + emission_hz)
        self._full: BoolArray = rng.random(places) < self.occupancy

    @property
    def full(self) -> BoolArray:
        """(place,): whether each trap is full, a copy."""
        return self._full.copy()

    @property
    def factor(self) -> FloatArray:
        """(place,): conductance relative to that with an empty trap."""
        return 1.0 - self.amplitude * self._full

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        kept = np.exp(-self.rate * seconds)
        probability = self.occupancy + (self._full - self.occupancy) * kept
        self._full = self._rng.random(len(self._full)) < probability

    def snapshot(self) -> Snapshot:
        """The state (not the generator)."""
        return {"full": self.full}

    def restore(self, snapshot: Snapshot) -> None:
        """Put a state back."""
        self._full = np.array(snapshot["full"], dtype=np.bool_)


@final
@dataclass(frozen=True)
class Mains:
    """Pick-up from the mains: one field, which every place sees with an amplitude of its own.

    Attributes:
        volts: (place,) peak amplitudes.
        frequency_hz: of the mains.
        phase: at time 0, radians.
    """

    volts: FloatArray
    frequency_hz: float
    phase: float

    def at(self, seconds: FloatArray) -> FloatArray:
        """(..., place) volts at times (...)."""
        return np.sin(2.0 * np.pi * self.frequency_hz * seconds + self.phase)[..., None] * self.volts
