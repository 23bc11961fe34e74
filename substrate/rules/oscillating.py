"""Oscillating EP: the exact gradient from one real sinusoid of finite amplitude (physics.md, 2.1 to 2.4).

The error of the free outputs is injected as fixed currents beta e cos(wt) (open loop, so that the cost is linear in the
nudge), whole periods of the steady state are recorded, and the odd harmonics give the derivative at nudge zero,
(A_1 - 3 A_3 + 5 A_5 - ...)/beta: the response is a Chebyshev series in cos(wt). Where the network is not much faster
than the nudge, several frequencies are extrapolated to zero (``tone_response``).
"""

from typing import Any, final

import numpy as np

from substrate.amplitude import Amplitude, AmplitudeReport
from substrate.arrays import FloatArray
from substrate.conjugates import Signals, conjugate_of, mean_directions, standard_errors
from substrate.contract import Substrate
from substrate.demodulation import truncation_ratio
from substrate.network import Network
from substrate.rules.base import Estimate, Excluded, FreePhase, Rule, relative_noise
from substrate.tone_response import measure_tone
from substrate.tones import SamplingPlan

LOST_TRUNCATION = 0.5
"""First omitted term over the derivative, beyond three sigma of its noise, at which the branch counts as lost."""

TYPICAL = 0.75
"""Quantile of the samples' truncation that an automatic amplitude looks at: a few hard samples carry the gradient of a
trained network."""

PREPARATION_ROUNDS = 8
"""Nudges of the first batch in which an automatic amplitude finds its drive."""


@final
class OscillatingEP(Rule):
    """The rule ``oscillating_ep``.

    Args:
        plan: the tone, the highest one where there are several, and its sampling.
        amplitude: chooses beta.
        conjugate: ``auto``, ``product`` or ``postsynaptic``.
        frequencies: how many the response is extrapolated from, each half the one before.
        settle_tolerance: samples whose periods differ by more, relative to their swing, count as unsettled; None: they
            are not compared.
    """

    def __init__(
        self,
        plan: SamplingPlan,
        amplitude: Amplitude,
        conjugate: str = "auto",
        frequencies: int = 1,
        settle_tolerance: float | None = None,
    ) -> None:
        self._plan = plan
        self._amplitude = amplitude
        self._conjugate = conjugate
        self._frequencies = frequencies
        self._settle_tolerance = settle_tolerance

    @property
    def plan(self) -> SamplingPlan:
        """The tone and its sampling."""
        return self._plan

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Products of two nodes' waveforms need them at the same instants."""
        product = conjugate_of(network, self._conjugate) != "postsynaptic" and len(network.layers) > 2
        return ("simultaneous_sampling",) if product else ()

    def prepare(self, substrate: Substrate, phase: FreePhase) -> None:
        """Let an automatic amplitude find its drive on a held batch."""
        if self._amplitude.automatic:
            for _ in range(PREPARATION_ROUNDS):
                self.measure(substrate, phase)

    def measure(self, substrate: Substrate, phase: FreePhase) -> Estimate:
        """Nudge, record, demodulate. Samples that lost their branch, saturated or did not settle are left out."""
        network, plan, scale = substrate.network, self._plan, substrate.scale
        beta = self._amplitude.choose(phase.error)
        amperes = np.zeros((len(beta), network.node_count))
        amperes[:, network.output.nodes] = beta[:, None] * phase.error * scale.unit_amperes
        found = measure_tone(substrate, amperes, beta, plan, self._frequencies, self._settle_tolerance)
        signals = Signals(phase.inputs, found.activity, found.response, found.variance, found.waveform, found.weights)
        truncation, worst = self._truncation(found.cosines, found.noise)
        unsettled = ~phase.usable | ~found.steady
        saturated = found.saturated & ~unsettled
        lost = (~found.settled | (worst > LOST_TRUNCATION)) & ~unsettled & ~saturated
        keep = ~(unsettled | saturated | lost)
        conjugate = conjugate_of(network, self._conjugate)
        self._amplitude.update(
            AmplitudeReport(
                truncation=float(np.quantile(worst[keep], TYPICAL)) if keep.any() else 1.0,
                noise=relative_noise(found.response, found.variance, keep),
                lost=float(lost.mean()),
            )
        )
        return Estimate(
            signals=signals,
            conjugate=conjugate,
            keep=keep,
            excluded=Excluded(int(lost.sum()), int(saturated.sum()), int(unsettled.sum())),
            directions=mean_directions(network, signals, keep, conjugate),
            standard_errors=standard_errors(network, signals, keep, conjugate),
            amplitude=beta,
            truncation=truncation,
            kinked=0 if found.kinked is None else int(np.count_nonzero(found.kinked & keep)),
            phase_origin=found.phase_origin,
        )

    def snapshot(self) -> dict[str, Any]:
        """The drive of an automatic amplitude."""
        return self._amplitude.snapshot()

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a drive back."""
        self._amplitude.restore(snapshot)

    def _truncation(self, cosines: FloatArray, noise: float) -> tuple[FloatArray, FloatArray]:
        """(unbiased, beyond three sigma) relative size of the first omitted term; zero where it was not sampled."""
        plan = self._plan
        omitted = plan.harmonics + 2 if plan.harmonics % 2 else plan.harmonics + 1
        if omitted > plan.highest_harmonic:
            nothing = np.zeros(len(cosines))
            return nothing, nothing
        return (
            truncation_ratio(cosines, plan.harmonics, noise, plan.sample_count),
            truncation_ratio(cosines, plan.harmonics, noise, plan.sample_count, floor_sigmas=3.0),
        )
