"""Frequency propagation (Anisetti et al. 2024): activation at zero frequency, errors at that of an output current.

Currents gamma e sin(wt) go into the outputs of a resistive network, e the error of the free outputs. Across every cell
there is then a constant drop a and a drop of amplitude b at the frequency w, in phase with the current, and the cell
descends along -a b/gamma: the first order of the squared-voltage rule, as (a + b)^2 - (a - b)^2 = 4 a b. Exact where no
diode bends the response, and right to O(gamma^2) where one does. Each of the two drops can be measured at the cell, one
after the other, or at the same time by filters. Drops behind amplifiers count A^{2n}-fold (``voltage_conjugates``).
"""

from collections.abc import Mapping
from typing import Literal, final

import numpy as np

from substrate.capabilities import Nudge
from substrate.conjugates import Signals, mean_directions, standard_errors
from substrate.contract import Substrate
from substrate.demodulation import derivative_variance, harmonics
from substrate.network import Network
from substrate.rules.base import Estimate, Excluded, FreePhase, LastingRule, Rule, Update, variance_of_error
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, one_tone
from substrate.tone_response import phase_origin, reading_noise
from substrate.tones import SamplingPlan
from substrate.voltage_conjugates import check_resistive


@final
class FrequencyPropagationSection(RuleSection):
    """Section of ``frequency_propagation``; its tone is that of the section ``nudge``, gamma its amplitude."""

    name: Literal["frequency_propagation"] = "frequency_propagation"

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """A resistive network, and one tone that is given."""
        check_resistive(self.name, network)
        nudge.fixed_tone(self.name)

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """One tone, of which the first harmonic is used."""
        first = {} if nudge.harmonics == 1 else {"nudge.harmonics": f"rule {self.name} uses the first one alone"}
        return one_tone(self.name) | first

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return FrequencyPropagation(context.nudge.plan(), context.nudge.fixed_amplitude(self.name))


@final
class FrequencyPropagation(LastingRule):
    """The rule ``frequency_propagation``.

    Args:
        plan: the tone and its sampling; only its first harmonic is used.
        amplitude: gamma in activity units.
    """

    def __init__(self, plan: SamplingPlan, amplitude: float) -> None:
        self._plan = plan
        self._amplitude = amplitude

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return "frequency_propagation"

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Any device holds a sinusoid; means and amplitudes of the nodes can be read node after node."""
        return ()

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """Send the errors, record, separate the two frequencies."""
        network, scale, plan, gamma = substrate.network, substrate.scale, self._plan, self._amplitude
        outputs = network.output.nodes
        amperes = np.zeros(phase.activity.shape)
        amperes[:, outputs] = gamma * phase.error * scale.unit_amperes
        record = substrate.nudge(Nudge(amperes), plan)
        traces = record.volts.transpose(0, 2, 1) / scale.volts_per_unit
        cosines, _ = harmonics(traces, plan.samples_per_period, 1, phase_origin(record, plan))
        constant, swing = cosines[..., 0], cosines[..., 1]
        variance = np.full(len(phase.error), np.nan)
        if plan.periods > 1:
            step = substrate.capabilities.reading_step_volts / scale.volts_per_unit
            errors = reading_noise(traces, plan, step)
            each = derivative_variance(errors.on_harmonics(plan.periods), plan.sample_count, 1, gamma)
            variance = each + variance_of_error(phase.error, swing / gamma, errors.random + errors.repeated)
        # Two states a + b and a - b, whose conjugates differ by 2 a b.
        states = np.stack([constant + swing, constant - swing], axis=1)
        weights = np.tile([0.5 / gamma, -0.5 / gamma], (len(states), 1))
        signals = Signals(phase.inputs, constant, swing / gamma, variance, states, weights)
        unsettled = ~phase.usable
        saturated = record.saturated & ~unsettled
        lost = ~record.settled & ~unsettled & ~saturated
        keep = ~(unsettled | saturated | lost)
        return Estimate(
            signals=signals,
            conjugate="squared_voltage",
            keep=keep,
            excluded=Excluded(int(lost.sum()), int(saturated.sum()), int(unsettled.sum())),
            descent=mean_directions(network, signals, keep, "squared_voltage"),
            standard_errors=standard_errors(network, signals, keep, "squared_voltage"),
            amplitude=np.full(len(keep), gamma),
            truncation=np.full(len(keep), np.nan),
            kinked=0 if record.kinked is None else int(np.count_nonzero(record.kinked & keep)),
        )
