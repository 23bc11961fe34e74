"""Holomorphic EP that is always on: the nudge turns, and q/b is accumulated while the network follows.

The nudge dwells at each of N points of the circle for some steps of the network, which then is read at once, settled or
not; (1/N) sum q/b over whole periods is the derivative, and the network's lag its error (arXiv 2209.00530, section 4).
The only free phase is the one that the error is formed from.
"""

from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field

from substrate.conjugates import conjugate_of
from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.base import Estimate, FreePhase, LastingRule, Rule, Update
from substrate.rules.held import combined, held_nudge, turning
from substrate.rules.holomorphic import CircleSection
from substrate.rules.sections import RuleContext
from substrate.sections import Count


@final
class AlwaysOnSection(CircleSection):
    """Section of ``always_on_ep``: a period has ``points`` dwells of ``steps_per_point`` steps each."""

    name: Literal["always_on_ep"] = "always_on_ep"
    points: Annotated[int, Field(ge=2)] = 10
    steps_per_point: Count = 20
    periods: Count = 1
    time_constants: Annotated[float, Field(gt=0, le=1)] = 1.0

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
        circle = turning(self._amplitude, section.points)
        nudges = np.tile(circle if section.points > 2 else circle.real, section.periods)
        activity = np.empty((batch, len(nudges), network.node_count), dtype=nudges.dtype)
        saturated = np.zeros(batch, dtype=np.bool_)
        for place, nudge in enumerate(nudges):
            held = held_nudge(network, scale, phase, np.full((batch, 1), nudge), section.nudge)
            states = substrate.evolve(held, section.steps_per_point, section.time_constants)
            activity[:, place] = states.volts[:, 0] / scale.volts_per_unit
            saturated |= states.saturated[:, 0]
        bounded = np.asarray(np.isfinite(activity).all(axis=(1, 2)))
        activity[~bounded] = 0.0
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
