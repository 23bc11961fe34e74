"""The response of a held batch to a sinusoidal nudge, measured at one frequency or extrapolated to zero from several.

In-phase harmonics of a network with time constants are even in the frequency (physics.md, 2.4): reversed in time, a
record is that of the frequency's negative. Measured at f, f/2, f/4, ... they extrapolate to zero frequency
(``demodulation.richardson``), and since the extrapolation is linear it is done on the functional: the records of all
frequencies stand one after another on the time axis, each with its share of the weights. What is linear in waveforms or
in their products then needs no other treatment.

In phase means in phase with the nudge itself: a record begins at ``Record.origin_seconds`` on the nudge's own clock.
"""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from substrate.arrays import BoolArray, FloatArray
from substrate.capabilities import Nudge
from substrate.contract import Record, Substrate
from substrate.demodulation import derivative_variance, derivative_weights, free_value, harmonics, richardson
from substrate.errors import InputError
from substrate.tones import SamplingPlan


@final
@dataclass(frozen=True)
class ToneResponse:
    """What was measured, in activity units.

    Attributes:
        waveform: (batch, time, node), the records of all frequencies, the highest first.
        weights: (batch, time), the functional that takes a quantity's record to its derivative at nudge zero.
        response: (batch, node), d(activity)/dbeta at nudge zero.
        variance: (batch,), variance that read-out noise leaves on one entry of ``response``.
        cosines: (batch, node, harmonic), in-phase amplitudes, extrapolated.
        noise: variance of one reading that leaves on ``cosines`` the noise they have, were it white.
        repeated: share of ``noise`` that is the same in each period, so that more of them do not lessen it.
        reading_variance: of one reading.
        settled, saturated: (batch,), of all records together.
        steady: (batch,), whether the periods of every record agree; true where that was not asked for.
        kinked: (batch,), of any record; None where the device cannot tell.
        phase_origin: phase of the nudge at the first sample, radians.
    """

    waveform: FloatArray
    weights: FloatArray
    response: FloatArray
    variance: FloatArray
    cosines: FloatArray
    noise: float
    repeated: float
    reading_variance: float
    settled: BoolArray
    saturated: BoolArray
    steady: BoolArray
    kinked: BoolArray | None
    phase_origin: float

    @property
    def activity(self) -> FloatArray:
        """Activities at nudge zero, (batch, node)."""
        return free_value(self.cosines)


@final
@dataclass(frozen=True)
class ReadingNoise:
    """The errors of readings of a record, as variances of one reading.

    Attributes:
        random: what does not repeat from period to period.
        repeated: what does: the part of a converter's rounding that no noise carries across its steps.
    """

    random: float
    repeated: float

    def on_harmonics(self, periods: int) -> float:
        """Variance of one reading that, were it white, would leave as much on an in-phase harmonic of so many periods.

        An error that is the same in each period does not average out over them. In a quasi-static record it is also the
        same on the way up as on the way down, so that it is all in phase with the nudge.
        """
        return self.random + 2.0 * periods * self.repeated


def octaves(plan: SamplingPlan, count: int) -> tuple[SamplingPlan, ...]:
    """The plan at f, f/2, f/4, ..."""
    return tuple(replace(plan, frequency_hz=plan.frequency_hz / 2**step) for step in range(count))


def measure_tone(
    substrate: Substrate,
    amperes: FloatArray,
    beta: FloatArray,
    plan: SamplingPlan,
    frequencies: int = 1,
    settle_tolerance: float | None = None,
) -> ToneResponse:
    """Nudge the settled batch, record, demodulate.

    Args:
        substrate: holds the batch in its free state.
        amperes: (batch, node) peak nudge.
        beta: (batch,) amplitude that the response is per unit of.
        plan: the tone, the highest where there are several, and its sampling.
        frequencies: how many, each half the one before.
        settle_tolerance: largest disagreement of successive periods, see ``disagreement``; None: not looked at.

    Raises:
        InputError: no frequency; a tolerance without a second period.
    """
    if frequencies < 1:
        raise InputError(f"nudge.richardson: expected at least one frequency, got {frequencies}")
    shares = richardson(np.eye(frequencies))
    waveforms, weights, cosines, records = [], [], [], []
    noises, random, readings = np.zeros((3, frequencies))
    steady = np.ones(len(beta), dtype=np.bool_)
    step_units = substrate.capabilities.reading_step_volts / substrate.scale.volts_per_unit
    for index, one in enumerate(octaves(plan, frequencies)):
        record = substrate.nudge(Nudge(amperes), one)
        waveform = record.volts / substrate.scale.volts_per_unit
        traces = waveform.transpose(0, 2, 1)
        origin = phase_origin(record, one)
        waveforms.append(waveform)
        functional = derivative_weights(one.samples_per_period, one.periods, one.harmonics, phase_origin=origin)
        weights.append(shares[index] * functional / beta[:, None])
        in_phase, _ = harmonics(traces, one.samples_per_period, one.highest_harmonic, origin)
        cosines.append(shares[index] * in_phase)
        errors = reading_noise(traces, one, step_units)
        noises[index] = shares[index] ** 2 * errors.on_harmonics(one.periods)
        random[index] = shares[index] ** 2 * errors.random
        readings[index] = errors.random + errors.repeated
        if settle_tolerance is not None:
            steady &= disagreement(waveform, one) <= settle_tolerance
        records.append(record)
    whole, functional = np.concatenate(waveforms, axis=1), np.concatenate(weights, axis=1)
    kinks = [record.kinked for record in records if record.kinked is not None]
    noise = float(noises.sum())
    return ToneResponse(
        waveform=whole,
        weights=functional,
        response=np.matmul(functional[:, None, :], whole)[:, 0],
        variance=np.asarray(derivative_variance(noise, plan.sample_count, plan.harmonics, beta)),
        cosines=np.sum(cosines, axis=0),
        noise=noise,
        repeated=1.0 - float(random.sum()) / noise if noise else 0.0,
        reading_variance=float(readings.mean()),
        settled=np.logical_and.reduce([record.settled for record in records]),
        saturated=np.logical_or.reduce([record.saturated for record in records]),
        steady=steady,
        kinked=np.logical_or.reduce(kinks) if kinks else None,
        phase_origin=phase_origin(records[0], plan),
    )


def merged(first: ToneResponse, second: ToneResponse, chosen: BoolArray) -> ToneResponse:
    """The samples ``chosen`` (batch,) of the second measurement, the others of the first."""

    def pick(name: str) -> Any:
        ours, theirs = getattr(first, name), getattr(second, name)
        return np.where(chosen.reshape(-1, *(1,) * (ours.ndim - 1)), theirs, ours)

    names = ["waveform", "weights", "response", "variance", "cosines", "settled", "saturated", "steady"]
    if first.kinked is not None and second.kinked is not None:
        names.append("kinked")
    return replace(first, **{name: pick(name) for name in names})


def phase_origin(record: Record, plan: SamplingPlan) -> float:
    """Phase of the nudge at the first sample, radians."""
    return 2.0 * np.pi * plan.frequency_hz * record.origin_seconds


def disagreement(waveform: FloatArray, plan: SamplingPlan) -> FloatArray:
    """How much successive periods differ, relative to the swing of the record, beyond three sigma of white noise.

    What is left of a transient is smooth within a period, noise is not: the covariance of neighbouring samples of the
    difference of two periods holds the one and not the other.

    Args:
        waveform: (batch, time, node), at least two periods.
        plan: its sampling.

    Returns:
        (batch,), rms over samples and nodes.

    Raises:
        InputError: a single period.
    """
    if plan.periods < 2:
        raise InputError("nudge.settle_tolerance: needs a second period to compare with; expected nudge.periods >= 2")
    batch, _, nodes = waveform.shape
    periods = waveform.reshape(batch, plan.periods, plan.samples_per_period, nodes)
    change = np.diff(periods, axis=1)
    power = np.mean(change**2, axis=(1, 2, 3))
    noise = 0.5 * np.mean(np.diff(change, axis=2) ** 2, axis=(1, 2, 3))
    excess = np.maximum(power - noise * (1.0 + 3.0 / np.sqrt(change[0].size)), 0.0)
    swing = waveform.var(axis=1).mean(axis=1)
    return np.asarray(np.sqrt(excess / np.where(swing > 0.0, swing, 1.0)))


def reading_noise(traces: FloatArray, plan: SamplingPlan, step: float) -> ReadingNoise:
    """How far readings are off: what differs from period to period, and the rounding that repeats and hides in them.

    Rounding to steps q leaves the variance q^2/12. Noise of variance s^2 before the converter turns it into noise: what
    stays the same in each period falls as exp(-(2 pi s/q)^2) (Widrow & Kollar 2008), while the variance v that is seen
    grows from 0 to s^2 + q^2/12. In terms of v it is at most q^2/12 exp(-12 v/q^2),
    which is too much by no more than 0.13 q^2/12, whatever s is.

    Args:
        traces: (batch, node, time).
        plan: its sampling; a single period shows nothing that differs.
        step: between neighbouring readings, in the units of the traces; 0 where there is none.
    """
    random = 0.0
    if plan.periods > 1:
        periods = traces.reshape(*traces.shape[:-1], plan.periods, plan.samples_per_period)
        random = float(np.mean(periods.var(axis=-2, ddof=1)))
    if not step:
        return ReadingNoise(random, 0.0)
    rounding = step**2 / 12.0
    return ReadingNoise(random, rounding * float(np.exp(-random / rounding)))
