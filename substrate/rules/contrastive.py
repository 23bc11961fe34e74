"""Contrastive learning at every cell: the squares of its voltage in two states, compared, become pulses.

Equilibrium propagation of a resistive network, as a laboratory does it: each cell measures its own voltage free and
nudged (one-sided, wrong by O(beta)), or nudged both ways (two-sided, O(beta^2)), and compares the squares. A cell
descends in proportion to (dv^2 - dv'^2)/(2 beta), A^{2n}-fold behind amplifiers, or by the same step for all, of which
only the sign is measured: a comparator at each cell in place of a converter. Writing by pulses rounds either to whole
ones (``writing.mode``); with steps of a sign, a learning rate of one pulse's change of weight is a pulse for each cell.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.base import Estimate, FreePhase, LastingRule, Rule, Update
from substrate.rules.held import NudgeKind, Points, check_kind, circle, measure_held
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_tone
from substrate.sections import Count, NonNegative
from substrate.voltage_conjugates import check_resistive


@final
class ContrastiveSection(RuleSection):
    """Section of ``contrastive``; beta is ``nudge.amplitude``.

    With ``step: sign`` every cell moves by the same amount, down or up, but for those whose mean difference is within
    ``dead_band`` of zero, activity units squared: what a comparator does not tell. A gradient check compares the
    differences, not their signs.
    """

    name: Literal["contrastive"] = "contrastive"
    sides: Literal["one", "two"] = "two"
    nudge: NudgeKind = "open_loop"
    step: Literal["proportional", "sign"] = "proportional"
    dead_band: NonNegative = 0.0
    readings: Count = 1

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """A resistive network, an amplitude that is a number, and a feedback nudge that of the squared error."""
        check_resistive(self.name, network)
        nudge.fixed_amplitude(self.name)
        check_kind(self.nudge, cost_name)

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """Nudges are held; only signs have a dead band."""
        own = {} if self.step == "sign" else {"rule.dead_band": "belongs to step sign"}
        return without_tone(self.name) | own

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return Contrastive(self, context.nudge.fixed_amplitude(self.name))


@final
class Contrastive(LastingRule):
    """The rule ``contrastive``.

    Args:
        section: sides, nudge and steps.
        amplitude: beta in activity units.
    """

    def __init__(self, section: ContrastiveSection, amplitude: float) -> None:
        self._section = section
        self._amplitude = amplitude

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return self._section.name

    def requirements(self, network: Network) -> tuple[str, ...]:
        """A feedback nudge is a conductance to a source; fixed currents any device holds."""
        return ("feedback_nudges",) if self._section.nudge == "feedback" else ()

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """Settle in both states, and compare at every cell."""
        section = self._section
        points = self._points(len(phase.error))
        found = measure_held(
            substrate, phase, points, section.nudge, "squared_voltage", self._amplitude, section.readings
        )
        if section.step == "proportional":
            return found
        # What is compared is the difference itself, not its quotient by beta.
        sides = 1.0 if section.sides == "one" else 2.0
        band = section.dead_band / (sides * self._amplitude)
        return replace(
            found,
            descent={name: _signs(direction, band) for name, direction in found.directions.items()},
            standard_errors=dict.fromkeys(found.directions, float("nan")),
        )

    def _points(self, batch: int) -> Points:
        if self._section.sides == "two":
            nudges, weights = circle(self._amplitude, 2)
            return Points(np.tile(nudges, (batch, 1)), np.tile(weights, (batch, 1)), np.zeros(batch))
        beta = np.full((batch, 1), self._amplitude)
        return Points(beta, 1.0 / beta, -1.0 / beta[:, 0])


def _signs(direction: FloatArray, band: float) -> FloatArray:
    return np.where(np.abs(direction) > band, np.sign(direction), 0.0)
