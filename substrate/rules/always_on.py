"""Holomorphic EP that is always on: the nudge turns, and q/b is accumulated while the network follows.

The nudge dwells at each of N points of the circle for some steps of the network, which then is read at once, settled or
not; (1/N) sum q/b over whole periods is the derivative, and the network's lag its error (arXiv 2209.00530, section 4).
A free phase goes before it only for the error of an open-loop nudge. A feedback nudge is formed from targets alone, and
then there need be none: the mean over a period, (1/N) sum q, is the state without a nudge.
"""

from dataclasses import replace
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from substrate.arrays import Numbers
from substrate.conjugates import conjugate_of
from substrate.contract import Substrate
from substrate.errors import InputError
from substrate.network import Network
from substrate.rules.base import Estimate, FreePhase, LastingRule, Rule, Update
from substrate.rules.held import combined, held_nudge, turning
from substrate.rules.holomorphic import CircleSection
from substrate.rules.sections import NudgeConfig, RuleContext
from substrate.sections import Count


@final
class AlwaysOnSection(CircleSection):
    """Section of ``always_on_ep``: a period has ``points`` dwells of ``steps_per_point`` steps each.

    ``lead_periods`` go by before q/b is accumulated over ``periods``. ``free_phase: false``: the network begins at rest
    and never settles, so that gradients are not judged in training; it takes a feedback nudge.
    """

    name: Literal["always_on_ep"] = "always_on_ep"
    points: Annotated[int, Field(ge=2)] = 10
    steps_per_point: Count = 20
    periods: Count = 1
    lead_periods: Annotated[int, Field(ge=0)] = 0
    free_phase: bool = True
    time_constants: Annotated[float, Field(gt=0, le=1)] = 1.0

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """That of every circle; an open-loop nudge needs the error of a free phase."""
        self.check_circle(network, nudge, cost_name)
        if not self.free_phase and self.nudge == "open_loop":
            raise InputError("rule.free_phase: the error of an open-loop nudge takes one; expected nudge: feedback")

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return AlwaysOnEP(self, context.nudge.fixed_amplitude(self.name))


@final
class AlwaysOnEP(LastingRule):
    """The rule ``always_on_ep``.

    Args:
        section: its periods, nudge and conjugate.
        amplitude: radius of the circle in activity units.
    """

    def __init__(self, section: AlwaysOnSection, amplitude: float) -> None:
        self._section = section
        self._amplitude = amplitude
        self.free_phase = section.free_phase

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return self._section.name

    def requirements(self, network: Network) -> tuple[str, ...]:
        """It moves the network step by step, under complex nudges but for two points."""
        feedback = ("feedback_nudges",) if self._section.nudge == "feedback" else ()
        complex_nudges = ("complex_nudges",) if self._section.points > 2 else ()
        return ("stepping", *complex_nudges, *feedback)

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """Turn the nudge, read at the end of every dwell. A sample whose state ran away has lost its branch."""
        section, network, scale = self._section, substrate.network, substrate.scale
        batch = len(phase.error)
        turned = turning(self._amplitude, section.points)
        circle: Numbers = turned if section.points > 2 else turned.real
        lead = section.lead_periods * section.points
        nudges = np.tile(circle, section.periods)
        activity = np.empty((batch, len(nudges), network.node_count), dtype=nudges.dtype)
        saturated, bounded = np.zeros(batch, dtype=np.bool_), np.ones(batch, dtype=np.bool_)
        for place, nudge in enumerate(np.tile(circle, section.lead_periods + section.periods), -lead):
            held = held_nudge(network, scale, phase, np.full((batch, 1), nudge), section.nudge)
            states = substrate.evolve(held, section.steps_per_point, section.time_constants)
            saturated |= states.saturated[:, 0]
            bounded &= np.isfinite(states.volts[:, 0]).all(axis=1)
            if place >= 0:
                activity[:, place] = states.volts[:, 0] / scale.volts_per_unit
        activity[~bounded] = 0.0
        if not section.free_phase:
            phase = replace(phase, activity=np.asarray(activity.mean(axis=1).real))
        return combined(
            network,
            phase,
            activity,
            np.tile(1.0 / (len(nudges) * nudges), (batch, 1)),
            np.zeros(batch),
            conjugate_of(network, section.conjugate),
            self._amplitude,
            np.full(batch, np.nan),
            saturated=saturated,
            settled=bounded,
        )
