"""Oscillating EP: the exact gradient from one real sinusoid of finite amplitude (physics.md, 2.1 to 2.4).

The error of the free outputs is injected as fixed currents beta e cos(wt) (open loop, so that the cost is linear in the
nudge), whole periods of the steady state are recorded, and the odd harmonics give the derivative at nudge zero,
(A_1 - 3 A_3 + 5 A_5 - ...)/beta: the response is a Chebyshev series in cos(wt). Where the network is not much faster
than the nudge, several frequencies are extrapolated to zero (``tone_response``).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final

import numpy as np

from substrate.amplitude import Amplitude, AmplitudeReport
from substrate.arrays import FloatArray
from substrate.conjugates import Signals, conjugate_of, mean_directions, standard_errors
from substrate.contract import Substrate
from substrate.demodulation import truncation_ratio
from substrate.errors import InputError
from substrate.network import Network
from substrate.rules.base import Estimate, Excluded, FreePhase, Rule, Update, relative_noise, variance_of_error
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection
from substrate.tone_choice import ToneChoice
from substrate.tone_response import ToneResponse, measure_tone, merged
from substrate.tones import SamplingPlan

LOST_TRUNCATION = 0.1
"""First omitted term over the derivative, beyond three sigma of its noise, at which the branch counts as lost: where
harmonics do not decay, the derivative can be off by several times this term."""

POOR_TRUNCATION = 0.02
"""The same, at which an automatic amplitude nudges a sample again with less."""

REFINEMENTS = 3
"""Times that poor samples are nudged again."""

REFINEMENT = 0.25
"""Amplitude of a further nudge relative to the one before; with three harmonics, truncation falls 256-fold."""

TYPICAL = 0.75
"""Quantile of the samples' truncation that an automatic amplitude looks at: a few hard samples carry the gradient of a
trained network."""

PREPARATION_ROUNDS = 8
"""Nudges of the first batch in which an automatic amplitude finds its drive."""


@final
class OscillatingSection(RuleSection):
    """Section of ``oscillating_ep``; its tone is that of the section ``nudge``."""

    periodic: ClassVar[bool] = True

    name: Literal["oscillating_ep"] = "oscillating_ep"
    conjugate: Literal["auto", "product", "postsynaptic"] = "auto"

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """An automatic amplitude measures one odd harmonic more than it uses."""
        conjugate_of(network, self.conjugate)
        plan = nudge.plan()
        if nudge.amplitude == "auto" and plan.highest_harmonic < plan.harmonics + 2:
            raise InputError(
                f"nudge.samples_per_period: amplitude auto also measures harmonic {plan.harmonics + 2}; "
                f"expected more than {2 * (plan.harmonics + 2)}, got {plan.samples_per_period}"
            )

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """The tone is the nudge's."""
        return {}

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        nudge = context.nudge
        fixed = None if nudge.amplitude == "auto" else float(nudge.amplitude)
        largest = context.capabilities.limits.current_amperes / context.scale.unit_amperes
        amplitude = Amplitude(fixed, nudge.plan().harmonics, largest)
        tone = ToneChoice(
            nudge.plan(),
            harmonics=nudge.harmonics == "auto",
            periods=nudge.periods == "auto",
            amplitude=amplitude.automatic,
        )
        return OscillatingEP(tone, amplitude, self.conjugate, nudge.richardson, nudge.settle_tolerance)


@final
class OscillatingEP(Rule):
    """The rule ``oscillating_ep``.

    Args:
        tone: the tone, the highest one where there are several, and its sampling; or what chooses it.
        amplitude: chooses beta.
        conjugate: ``auto``, ``product`` or ``postsynaptic``.
        frequencies: how many the response is extrapolated from, each half the one before.
        settle_tolerance: samples whose periods differ by more, relative to their swing, count as unsettled; None: they
            are not compared.
    """

    def __init__(
        self,
        tone: SamplingPlan | ToneChoice,
        amplitude: Amplitude,
        conjugate: str = "auto",
        frequencies: int = 1,
        settle_tolerance: float | None = None,
    ) -> None:
        self._tone = tone if isinstance(tone, ToneChoice) else ToneChoice(tone)
        self._amplitude = amplitude
        self._conjugate = conjugate
        self._frequencies = frequencies
        self._settle_tolerance = settle_tolerance

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return "oscillating_ep"

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Products of two nodes' waveforms need them at the same instants."""
        product = conjugate_of(network, self._conjugate) != "postsynaptic" and len(network.layers) > 2
        return ("simultaneous_sampling",) if product else ()

    def prepare(self, substrate: Substrate, phase: FreePhase) -> None:
        """Let an automatic amplitude find its drive, and the tone its harmonics and periods, on a held batch."""
        if self._amplitude.automatic or self._tone.automatic:
            for _ in range(PREPARATION_ROUNDS):
                self.measure(substrate, phase)

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """Nudge, record, demodulate. Samples that lost their branch, saturated or did not settle are left out."""
        network, plan, scale = substrate.network, self._tone.plan, substrate.scale
        self._amplitude.follow(plan.harmonics)
        beta = self._amplitude.choose(phase.error)
        amperes = np.zeros((len(beta), network.node_count))
        amperes[:, network.output.nodes] = beta[:, None] * phase.error * scale.unit_amperes
        found = measure_tone(substrate, amperes, beta, plan, self._frequencies, self._settle_tolerance)
        _, worst = _truncation(found, plan)
        usable = found.settled & ~found.saturated & (worst <= LOST_TRUNCATION)
        # Samples that are out of use before they are nudged say nothing of the nudge.
        if phase.usable.any():
            self._amplitude.update(
                AmplitudeReport(
                    truncation=float(np.quantile(worst[usable], TYPICAL)) if usable.any() else 1.0,
                    noise=relative_noise(found.response, found.variance, usable),
                    lost=float((~usable & ~found.saturated & phase.usable).mean()),
                )
            )
        if self._amplitude.automatic:
            found, beta = self._refined(substrate, amperes, beta, found, plan)
        judged = found.settled & ~found.saturated
        self._tone.update(found.cosines, found.response, beta, found.noise, judged, found.repeated)
        variance = found.variance + variance_of_error(phase.error, found.response, found.reading_variance)
        if plan.periods == 1:
            # Of noise a single period tells nothing, not that there is none.
            variance = np.full(len(beta), np.nan)
        signals = Signals(phase.inputs, found.activity, found.response, variance, found.waveform, found.weights)
        truncation, worst = _truncation(found, plan)
        unsettled = ~phase.usable | ~found.steady
        saturated = found.saturated & ~unsettled
        lost = (~found.settled | (worst > LOST_TRUNCATION)) & ~unsettled & ~saturated
        keep = ~(unsettled | saturated | lost)
        conjugate = conjugate_of(network, self._conjugate)
        return Estimate(
            signals=signals,
            conjugate=conjugate,
            keep=keep,
            excluded=Excluded(int(lost.sum()), int(saturated.sum()), int(unsettled.sum())),
            descent=mean_directions(network, signals, keep, conjugate),
            standard_errors=standard_errors(network, signals, keep, conjugate),
            amplitude=beta,
            truncation=truncation,
            kinked=0 if found.kinked is None else int(np.count_nonzero(found.kinked & keep)),
            phase_origin=found.phase_origin,
            plan=plan,
        )

    def snapshot(self) -> dict[str, Any]:
        """The drive of an automatic amplitude, and the choice of the tone."""
        return {"amplitude": self._amplitude.snapshot(), "tone": self._tone.snapshot()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a drive and a choice back."""
        self._amplitude.restore(snapshot["amplitude"])
        self._tone.restore(snapshot["tone"])

    def _refined(
        self, substrate: Substrate, amperes: FloatArray, beta: FloatArray, found: ToneResponse, plan: SamplingPlan
    ) -> tuple[ToneResponse, FloatArray]:
        """Nudge samples whose harmonics do not decay again, with less; the others rest meanwhile."""
        beta = beta.copy()
        tried = np.ones(len(beta), dtype=np.bool_)
        for _ in range(REFINEMENTS):
            _, worst = _truncation(found, plan)
            poor = (~found.settled | (worst > POOR_TRUNCATION)) & ~found.saturated & tried
            if not poor.any():
                break
            less = np.where(poor, REFINEMENT * beta, beta)
            share = np.where(poor, less / beta, 0.0)
            amperes = amperes * share[:, None]
            again = measure_tone(substrate, amperes, less, plan, self._frequencies, self._settle_tolerance)
            better = poor & again.settled & (_error_power(again, plan) < _error_power(found, plan))
            found = merged(found, again, better)
            beta[better] = less[better]
            # A sample that gained nothing would be drowned by noise at a still smaller nudge. It rests from here on,
            # and what is heard of it then is no response.
            tried = better
        return found, beta


def _error_power(found: ToneResponse, plan: SamplingPlan) -> FloatArray:
    """Squared relative error of each sample's response: truncation and noise; infinite where a branch was lost."""
    _, worst = _truncation(found, plan)
    signal = np.sum(found.response**2, axis=1)
    noise = found.variance * found.response.shape[1]
    heard = signal > 0.0
    total = worst**2 + noise / np.where(heard, signal, 1.0)
    return np.where(found.settled & (heard | (noise == 0.0)), total, np.inf)


def _truncation(found: ToneResponse, plan: SamplingPlan) -> tuple[FloatArray, FloatArray]:
    """(unbiased, beyond three sigma) relative size of the first omitted term; zero where it was not sampled."""
    cosines, noise = found.cosines, found.noise
    omitted = plan.harmonics + 2 if plan.harmonics % 2 else plan.harmonics + 1
    if omitted > plan.highest_harmonic:
        nothing = np.zeros(len(cosines))
        return nothing, nothing
    return (
        truncation_ratio(cosines, plan.harmonics, noise, plan.sample_count),
        truncation_ratio(cosines, plan.harmonics, noise, plan.sample_count, floor_sigmas=3.0),
    )
