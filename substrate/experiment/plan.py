"""What nudge suits a device: its noise, its slowness and the decay of its harmonics are measured on the device itself.

On a batch of training samples the automatic amplitude, harmonics and periods of oscillating EP (``amplitude``,
``tone_choice``) are let settle first. The response is then measured at frequencies an octave apart. Extrapolated from n
of them to zero frequency (``demodulation.richardson``) it errs by what one more changes, so that each frequency and
each n has its error, and the quickest pair within ``FREQUENCY_ERROR`` is proposed; where none is, the powers 2 n of the
frequency with which errors fall say how much lower it has to be. There the choice is made anew, and the proposal itself
measured once more: that measurement predicts its error.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, final

import numpy as np

from substrate.amplitude import Amplitude
from substrate.arrays import BoolArray, FloatArray
from substrate.contract import Substrate
from substrate.demodulation import harmonics, richardson, truncation_ratio
from substrate.errors import InputError
from substrate.experiment.assembly import Assembly, Trained
from substrate.rules.base import FreePhase, relative_noise
from substrate.rules.oscillating import LOST_TRUNCATION, TYPICAL, OscillatingEP
from substrate.tone_choice import MOST_PERIODS, NOISE, ToneChoice, periods_needed
from substrate.tone_response import ToneResponse, measure_tone
from substrate.tones import SamplingPlan

SAMPLES = 32
"""Training samples that are held."""

FREQUENCY_ERROR = 0.01
"""Relative error of a response that its frequency may leave."""

HIGHER, LOWER = 2, 4
"""Octaves above and below the frequency of the experiment at which responses are measured."""

MOST_FREQUENCIES = 3
"""That a response is extrapolated from."""

STARTS = 10
"""Frequencies tried, a quarter of each other, until the network follows."""

FOLLOWS = 0.5
"""Lag up to which it does: above it the response bends too much to be extrapolated."""

FIRST_DRIVE = 0.1
"""Nudge at that, rms over the output nodes in activity units."""

CLEAR = 3.0
"""Standard deviations of its noise beyond which a difference counts as seen."""


@final
@dataclass(frozen=True)
class FrequencyPoint:
    """What one frequency showed: ``lag``, quadrature over in-phase part of the response; ``errors``, relative, of an
    extrapolation from 1, 2, ... frequencies of which this is the highest."""

    frequency_hz: float
    lag: float
    errors: tuple[float, ...]


@final
@dataclass(frozen=True)
class Proposal:
    """Keys of the section ``nudge``."""

    amplitude: float
    frequency_hz: float
    harmonics: int
    periods: int
    samples_per_period: int
    richardson: int


@final
@dataclass(frozen=True)
class PredictedError:
    """Relative error of a sample's response at the proposal, the median over samples, and the parts of it.

    It is that of the demodulation: what the cells do to the gradient, as feedback that does not mirror the forward
    arrays, is not in it (``gradient_check`` tells).
    """

    truncation: float
    noise: float
    frequency: float
    total: float


@final
@dataclass(frozen=True)
class NudgePlan:
    """What was measured, and the proposal.

    Attributes:
        samples: training samples that were held; ``samples_used`` of them neither saturated nor lost their branch.
        samples_used: see there.
        noise_volts: standard deviation of one reading, its rounding included.
        time_constant_seconds: of the response, from its lag at low frequencies; None where none is seen.
        frequencies: from the highest to the lowest.
        decay: k A_k over A_1 of the odd harmonics k at the proposal, rms over samples and nodes, noise taken off.
        proposal: of the keys of ``nudge``.
        predicted_error: at the proposal.
        record_seconds: of the records of one batch.
    """

    samples: int
    samples_used: int
    noise_volts: float
    time_constant_seconds: float | None
    frequencies: tuple[FrequencyPoint, ...]
    decay: dict[int, float]
    proposal: Proposal
    predicted_error: PredictedError
    record_seconds: float

    def as_data(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def plan_nudge(assembly: Assembly, trained: Trained | None = None) -> NudgePlan:
    """Measure a device and propose how to nudge it.

    Args:
        assembly: the experiment; its substrate is opened here.
        trained: a run, whose cells are measured; by default fresh cells with the initial weights.

    Raises:
        InputError: a feedforward network, whose hidden nodes answer to no nudge; a sampling too coarse for a choice of
            harmonics; a device on which no sample gives a response, or whose readings are too coarse to show it.
    """
    experiment, dataset = assembly.experiment, assembly.dataset
    if experiment.topology().feedforward:
        raise InputError("network.family: nothing feeds back in a feedforward network; there is no nudge to plan")
    section = experiment.nudge.model_copy(update={"amplitude": "auto", "harmonics": "auto", "periods": "auto"})
    start = section.plan()
    count = min(SAMPLES, len(dataset.train_labels))
    chosen = np.sort(np.random.default_rng(experiment.seed).permutation(len(dataset.train_labels))[:count])
    with assembly.substrate as substrate:
        controller = assembly.controller()
        assembly.bring_to(controller, trained)
        phase = controller.free_phase(dataset.train_inputs[chosen].astype(np.float64), dataset.train_labels[chosen])
        highest = substrate.capabilities.highest_frequency_hz
        start = replace(start, frequency_hz=min(start.frequency_hz, highest))
        bench = _Bench(substrate, phase, experiment.rule.largest_amplitude)
        rough, amplitude = bench.settled_choice(bench.slow_enough(start), 1)
        points, errors, time_constant = bench.sweep(rough, amplitude, highest)
        frequency, frequencies, left = _quickest([one.frequency_hz for one in points], errors)
        plan, amplitude = bench.settled_choice(replace(rough, frequency_hz=frequency), frequencies)
        found, usable, truncation, noise = bench.judged(plan, amplitude, frequencies)
        needed = periods_needed(plan.periods, noise**2, max(NOISE, truncation) ** 2, found.repeated)
        if needed > plan.periods < MOST_PERIODS:
            plan = replace(plan, periods=min(math.ceil(needed), MOST_PERIODS))
            found, usable, truncation, noise = bench.judged(plan, amplitude, frequencies)
        step_volts = substrate.capabilities.reading_step_volts
        if noise >= 1.0 and step_volts:
            raise InputError(
                f"samples: the responses of {count} at amplitude {amplitude:.3g} are lost in readings whose step is "
                f"{step_volts:.3g} V and whose error is {bench.reading_volts:.3g} V; expected finer readings, or an "
                "activity unit of more volts"
            )
        total = math.hypot(truncation, noise, left)
        return NudgePlan(
            samples=count,
            samples_used=int(np.count_nonzero(usable)),
            noise_volts=bench.reading_volts,
            time_constant_seconds=time_constant,
            frequencies=points,
            decay=_decay(found, plan, usable),
            proposal=Proposal(amplitude, frequency, plan.harmonics, plan.periods, plan.samples_per_period, frequencies),
            predicted_error=PredictedError(truncation, noise, left, total),
            record_seconds=plan.periods * (2**frequencies - 1) / frequency,
        )


@final
class _Bench:
    """Measurements of a held batch; ``reading_volts``, the standard deviation of one reading's error, as last seen.

    Args:
        substrate: opened.
        phase: its free state.
        largest_amplitude: that the experiment's rule takes.
    """

    def __init__(self, substrate: Substrate, phase: FreePhase, largest_amplitude: float) -> None:
        self._substrate = substrate
        self._phase = phase
        self._largest_amplitude = largest_amplitude
        self._largest = substrate.capabilities.limits.current_amperes / substrate.scale.unit_amperes
        self.reading_volts = 0.0

    def slow_enough(self, plan: SamplingPlan) -> SamplingPlan:
        """The plan at a frequency that the network follows, lowered until it does.

        Raises:
            InputError: it follows none.
        """
        for step in range(STARTS):
            slower = replace(plan, frequency_hz=plan.frequency_hz / 4.0**step)
            found = self.measure(slower, self._amplitude(FIRST_DRIVE))
            usable = self._usable(found, slower)
            if usable.any():
                lag, clear = _lag(found, slower, usable)
                if abs(lag) <= FOLLOWS or not clear:
                    return slower
        raise InputError(
            f"samples: none of {len(usable)} gives a response at {plan.frequency_hz:.4g} Hz, nor down to "
            f"{slower.frequency_hz:.4g} Hz: {self._reasons(found, slower)}"
        )

    def settled_choice(self, plan: SamplingPlan, frequencies: int) -> tuple[SamplingPlan, float]:
        """Harmonics and periods at a frequency, and the amplitude, one for all samples, of the drive they come with."""
        tone = ToneChoice(plan, harmonics=True, periods=True, amplitude=True)
        drive = Amplitude(None, plan.harmonics, self._largest)
        OscillatingEP(tone, drive, frequencies=frequencies).prepare(self._substrate, self._phase)
        return tone.plan, self._amplitude(drive.drive)

    def _amplitude(self, drive: float) -> float:
        """One for all samples: that of a sample with a large error. Those nudged hardest lose their branch first."""
        size = np.sqrt(np.mean(self._phase.error[self._phase.usable] ** 2, axis=1))
        size = size[size > 0.0]
        if not size.size:
            raise InputError("samples: none settles inside the converters' range with an error left to nudge by")
        largest = min(self._largest / float(np.abs(self._phase.error).max()), self._largest_amplitude)
        return min(drive / float(np.quantile(size, TYPICAL)), largest)

    def measure(self, plan: SamplingPlan, amplitude: float, frequencies: int = 1) -> ToneResponse:
        """The response of all samples to one amplitude."""
        network, scale = self._substrate.network, self._substrate.scale
        amperes = np.zeros((len(self._phase.error), network.node_count))
        amperes[:, network.output.nodes] = amplitude * self._phase.error * scale.unit_amperes
        beta = np.full(len(amperes), amplitude)
        found = measure_tone(self._substrate, amperes, beta, plan, frequencies)
        if frequencies == 1:
            self.reading_volts = float(np.sqrt(found.reading_variance)) * scale.volts_per_unit
        return found

    def judged(
        self, plan: SamplingPlan, amplitude: float, frequencies: int
    ) -> tuple[ToneResponse, BoolArray, float, float]:
        """The same, which samples are usable, and the medians over them of truncation and noise."""
        found = self.measure(plan, amplitude, frequencies)
        usable = self.usable(found, plan)
        truncation = truncation_ratio(found.cosines, plan.harmonics, found.noise, plan.sample_count)
        return (
            found,
            usable,
            float(np.median(truncation[usable])),
            relative_noise(found.response, found.variance, usable),
        )

    def usable(self, found: ToneResponse, plan: SamplingPlan) -> BoolArray:
        """(batch,), samples whose branch held and whose readings are inside the range.

        Raises:
            InputError: there is none.
        """
        usable = self._usable(found, plan)
        if not usable.any():
            raise InputError(
                f"samples: none of {len(usable)} gives a response at {plan.frequency_hz:.4g} Hz: "
                f"{self._reasons(found, plan)}"
            )
        return usable

    def _usable(self, found: ToneResponse, plan: SamplingPlan) -> BoolArray:
        return np.asarray(self._phase.usable & found.settled & ~found.saturated & _decays(found, plan))

    def _reasons(self, found: ToneResponse, plan: SamplingPlan) -> str:
        """Why samples give no response, counted; each has the first that holds."""
        left = np.ones(len(found.settled), dtype=np.bool_)
        told = []
        for holds, reason in (
            (found.saturated, "saturate the converters"),
            (~self._phase.usable, "do not settle without a nudge, or saturate then"),
            (~found.settled, "do not settle under the nudge"),
            (~_decays(found, plan), "have harmonics that do not decay"),
        ):
            count = np.count_nonzero(left & holds)
            left &= ~holds
            if count:
                told.append(f"{count} {reason}")
        if left.any():
            told.append(f"{np.count_nonzero(left)} do not follow")
        return ", ".join(told)

    def sweep(
        self, plan: SamplingPlan, amplitude: float, highest_hz: float
    ) -> tuple[tuple[FrequencyPoint, ...], FloatArray, float | None]:
        """Points, their errors (frequency, n - 1), NaN where no lower frequency is left, and the time constant."""
        top = min(plan.frequency_hz * 2.0**HIGHER, highest_hz)
        plans = [replace(plan, frequency_hz=top / 2.0**step) for step in range(HIGHER + LOWER + 1)]
        found = [self.measure(one, amplitude) for one in plans]
        sound = [self._usable(one, plan) for one in found]
        first = len(found) - 1
        usable = self.usable(found[-1], plans[-1])
        # Up to where the network does not follow any more.
        while first and (usable & sound[first - 1]).any():
            first -= 1
            usable = usable & sound[first]
        plans, found = plans[first:], found[first:]
        responses = np.stack([one.response[usable] for one in found])
        variance = np.mean([np.mean(one.variance[usable]) for one in found])
        errors = _errors(responses, float(variance))
        lags, clear = zip(*(_lag(one, plan, usable) for one in found), strict=True)
        points = tuple(
            FrequencyPoint(one.frequency_hz, lag, tuple(float(e) for e in row if np.isfinite(e)))
            for one, lag, row in zip(plans, lags, errors, strict=True)
        )
        # The lowest that shows a lag is nearest to where the lag is proportional to the frequency.
        seen = [
            lag / (2.0 * np.pi * one.frequency_hz) for one, lag, sure in zip(plans, lags, clear, strict=True) if sure
        ]
        return points, errors, float(seen[-1]) if seen else None


def _decays(found: ToneResponse, plan: SamplingPlan) -> BoolArray:
    """(batch,), samples whose first harmonic left out is small, or not seen in the noise."""
    worst = truncation_ratio(found.cosines, plan.harmonics, found.noise, plan.sample_count, floor_sigmas=CLEAR)
    return np.asarray(worst <= LOST_TRUNCATION)


def _errors(responses: FloatArray, variance: float) -> FloatArray:
    """Relative errors of extrapolations to zero frequency, (frequency, n - 1); 0 where they are not seen in the noise.

    Args:
        responses: (frequency, sample, node), an octave apart, the highest first.
        variance: of one entry of them.
    """
    count = len(responses)
    errors = np.full((count, MOST_FREQUENCIES), np.nan)
    signal = max(float(np.sum(richardson(responses[-2:]) ** 2)), np.finfo(float).tiny)
    entries = responses[0].size
    for n in range(1, MOST_FREQUENCIES + 1):
        shares = richardson(np.eye(n + 1)) - np.append(richardson(np.eye(n)), 0.0)
        noise = variance * float(np.sum(shares**2)) * entries
        for first in range(count - n):
            power = float(np.sum(np.tensordot(shares, responses[first : first + n + 1], axes=1) ** 2))
            seen = power > noise * (1.0 + CLEAR * np.sqrt(2.0 / entries))
            errors[first, n - 1] = np.sqrt(max(power - noise, 0.0) / signal) if seen else 0.0
    return errors


def _quickest(frequencies_hz: list[float], errors: FloatArray) -> tuple[float, int, float]:
    """(frequency, how many are extrapolated from, error left) of the least time of records within the error allowed."""
    candidates = []
    for n in range(1, MOST_FREQUENCIES + 1):
        known = np.flatnonzero(np.isfinite(errors[:, n - 1]))
        place = known[-1]
        error = float(errors[place, n - 1])
        # From the lowest up: beyond the first that is off, agreement would be chance.
        for index in known[::-1]:
            if errors[index, n - 1] > FREQUENCY_ERROR:
                break
            place, error = index, float(errors[index, n - 1])
        frequency = frequencies_hz[place]
        if error > FREQUENCY_ERROR:
            frequency *= (FREQUENCY_ERROR / error) ** (0.5 / n)
            error = FREQUENCY_ERROR
        # Noise that extrapolation adds takes as many more periods.
        noise = float(np.sum(richardson(np.eye(n)) ** 2))
        candidates.append((noise * (2**n - 1) / frequency, n, frequency, error))
    _, n, frequency, error = min(candidates)
    return frequency, n, error


def _lag(found: ToneResponse, plan: SamplingPlan, usable: BoolArray) -> tuple[float, bool]:
    """Quadrature over in-phase part of the first harmonic, projected on the latter; whether it is clear of noise."""
    traces = found.waveform[usable].transpose(0, 2, 1)
    cosine, sine = harmonics(traces, plan.samples_per_period, 1, found.phase_origin)
    power = max(float(np.sum(cosine[..., 1] ** 2)), np.finfo(float).tiny)
    lag = float(np.sum(cosine[..., 1] * sine[..., 1])) / power
    deviation = np.sqrt(2.0 * found.noise / plan.sample_count / power)
    # Rounding alone leaves something of a quadrature in a network that has none.
    return lag, abs(lag) > max(CLEAR * deviation, 1e-6)


def _decay(found: ToneResponse, plan: SamplingPlan, usable: BoolArray) -> dict[int, float]:
    order = np.arange(1, plan.highest_harmonic + 1, 2)
    cosines = found.cosines[usable][..., order]
    power = np.mean(cosines**2, axis=(0, 1)) - 2.0 * found.noise / plan.sample_count
    first = max(float(power[0]), np.finfo(float).tiny)
    return {int(k): float(k * np.sqrt(max(p, 0.0) / first)) for k, p in zip(order, power, strict=True)}
