"""Coupled learning (Stern et al. 2021): the free network beside one whose outputs are clamped a little nearer.

The outputs are joined to sources at v_F + eta (y - v_F) by a conductance G, the clamp, and every cell descends along
(dv_F^2 - dv_C^2)/(2 eta), dv the voltage across it, A^{2n}-fold behind amplifiers (``voltage_conjugates``). The
currents through the clamp are eta (1/G + chi_oo)^-1 e, chi_oo = dv_o/dI_o of the free network: as eta goes to zero
this is the exact gradient of e^T (1/G + chi_oo)^-1 e/2 at fixed chi_oo, to the first order in eta. A hard clamp, G well
above the outputs' own conductance, weighs errors by that conductance; a soft one gives G times the gradient of the
squared error.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import numpy as np

from substrate.capabilities import HeldNudge
from substrate.contract import Scale, Substrate
from substrate.errors import InputError
from substrate.network import Network
from substrate.rules.base import Estimate, FreePhase, LastingRule, Rule, Update
from substrate.rules.held import check_kind, combined
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_tone
from substrate.sections import Positive
from substrate.voltage_conjugates import check_resistive


@final
class CoupledLearningSection(RuleSection):
    """Section of ``coupled_learning``; eta is ``nudge.amplitude``, at most 1; ``source_siemens`` G of the clamp."""

    largest_amplitude: ClassVar[float] = 1.0

    name: Literal["coupled_learning"] = "coupled_learning"
    source_siemens: Positive = 1.0e-4

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """A resistive network, an amplitude that is a number up to 1, and targets to clamp to."""
        check_resistive(self.name, network)
        if nudge.fixed_amplitude(self.name) > self.largest_amplitude:
            raise InputError(
                "nudge.amplitude: a clamp goes no further than the target; expected at most "
                f"{self.largest_amplitude:g}, got {nudge.amplitude}"
            )
        check_kind("feedback", cost_name)

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """Nudges are held."""
        return without_tone(self.name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return CoupledLearning(context.nudge.fixed_amplitude(self.name), self.source_siemens)


@final
class CoupledLearning(LastingRule):
    """The rule ``coupled_learning``.

    Args:
        amplitude: eta.
        source_siemens: G.
    """

    def __init__(self, amplitude: float, source_siemens: float) -> None:
        self._amplitude = amplitude
        self._source_siemens = source_siemens

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return "coupled_learning"

    def requirements(self, network: Network) -> tuple[str, ...]:
        """A clamp is a conductance to a source."""
        return ("feedback_nudges",)

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """Clamp, settle, read, compare with the free state."""
        network, scale = substrate.network, substrate.scale
        states = substrate.settle_nudged(self._clamp(network, phase, scale))
        each = np.full(len(phase.error), 1.0 / self._amplitude)
        return combined(
            network,
            phase,
            states.volts / scale.volts_per_unit,
            each[:, None],
            -each,
            "squared_voltage",
            self._amplitude,
            np.full(len(each), np.nan),
            saturated=np.asarray(states.saturated.any(axis=1)),
            settled=np.asarray(states.settled.all(axis=1)),
        )

    def _clamp(self, network: Network, phase: FreePhase, scale: Scale) -> HeldNudge:
        outputs = network.output.nodes
        wanted = phase.activity[:, outputs] + self._amplitude * phase.error
        siemens = np.zeros((len(wanted), 1, network.node_count))
        siemens[:, 0, outputs] = self._source_siemens
        amperes = np.zeros(siemens.shape)
        amperes[:, 0, outputs] = self._source_siemens * scale.volts_per_unit * wanted
        return HeldNudge(amperes, siemens)
