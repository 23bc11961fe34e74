"""What an experiment file says about learning rules: the nudge that they share, and what each rule's section offers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

import numpy as np
from pydantic import Field, model_validator

from substrate.capabilities import Capabilities
from substrate.contract import Scale
from substrate.errors import InputError
from substrate.network import Network
from substrate.rules.base import Rule
from substrate.rules.perturbation import Tones
from substrate.sections import Count, Positive, Section
from substrate.tones import SamplingPlan


@final
class NudgeConfig(Section):
    """The nudge; ``amplitude`` is beta in activity units, or ``auto``: set for each sample where the truncation of its
    series balances the noise of the readings, their rounding included. The other keys belong to sinusoidal nudges.

    ``richardson`` frequencies are measured, ``frequency_hz`` and its halves in turn, and extrapolated to zero
    frequency: each takes a power of (omega tau)^2 off the error. With ``settle_tolerance`` samples whose
    periods differ by more, relative to the swing of their record and beyond the noise, count as unsettled.

    ``harmonics`` and ``periods`` are numbers or ``auto``: chosen from the measured noise and decay (``tone_choice``).
    """

    amplitude: Positive | Literal["auto"] = 0.5
    frequency_hz: Positive = 1000.0
    harmonics: Count | Literal["auto"] = 3
    periods: Count | Literal["auto"] = 2
    samples_per_period: Count = 16
    richardson: Annotated[int, Field(ge=1, le=8)] = 1
    settle_tolerance: Positive | None = None

    @model_validator(mode="after")
    def _comparable(self) -> "NudgeConfig":
        if self.settle_tolerance is not None and self.periods == 1:
            raise ValueError(f"settle_tolerance: needs a second period to compare with; got periods {self.periods}")
        return self

    def plan(self) -> SamplingPlan:
        """The tone and its sampling; where they are chosen automatically, what the choice begins with.

        Raises:
            InputError: too few samples a period for the harmonics.
        """
        periods = 2 if self.periods == "auto" else self.periods
        if self.harmonics != "auto":
            return SamplingPlan(self.frequency_hz, self.harmonics, self.samples_per_period, periods)
        if self.samples_per_period < 7:
            raise InputError(
                "nudge.samples_per_period: harmonics auto measures two odd ones at least; expected 7 or more, got "
                f"{self.samples_per_period}"
            )
        first = 3 if self.samples_per_period > 10 else 1
        return SamplingPlan(self.frequency_hz, first, self.samples_per_period, periods)

    def tones(self, amplitude: float) -> Tones:
        """Tones at every neuron, of an amplitude of their own, sampled as the nudge.

        Raises:
            InputError: too few samples a period for the harmonics.
        """
        return Tones(amplitude, self.plan(), self.richardson, self.settle_tolerance)

    def fixed_amplitude(self, rule: str) -> float:
        """The amplitude, of a rule that is given one.

        Raises:
            InputError: the amplitude is to be found automatically.
        """
        if self.amplitude == "auto":
            raise InputError(
                f"nudge.amplitude: rule {rule} is given its amplitude; expected a number of activity units "
                "(--set nudge.amplitude=0.5), got 'auto', which oscillating_ep alone can find"
            )
        return float(self.amplitude)

    def fixed_tone(self, rule: str) -> None:
        """Refuse an amplitude, harmonics or periods to be found automatically, of a rule that is given all of them.

        Raises:
            InputError: names the key.
        """
        self.fixed_amplitude(rule)
        self.fixed_sampling(f"rule {rule}")

    def fixed_sampling(self, purpose: str) -> None:
        """The same of harmonics and periods alone.

        Raises:
            InputError: names the key.
        """
        for key, value in (("harmonics", self.harmonics), ("periods", self.periods)):
            if value == "auto":
                raise InputError(
                    f"nudge.{key}: {purpose} is given its tone; expected a number, got 'auto', which oscillating_ep "
                    "alone can find"
                )


TONE_KEYS = ("frequency_hz", "harmonics", "periods", "samples_per_period", "richardson", "settle_tolerance")
"""Keys of ``NudgeConfig`` that say which tone the nudge is and how it is sampled."""

NO_NUDGE = "rule {} has no nudge"
"""Why a key of ``nudge`` does nothing beside a rule."""


def without_tone(rule: str) -> dict[str, str]:
    """The keys of ``nudge`` that a rule of held nudges does not look at, and why."""
    return {f"nudge.{key}": f"rule {rule} holds its nudges and has no tone" for key in TONE_KEYS}


def without_nudge(rule: str) -> dict[str, str]:
    """The same of a rule that nudges nothing."""
    return {f"nudge.{key}": NO_NUDGE.format(rule) for key in ("amplitude", *TONE_KEYS)}


def one_tone(rule: str) -> dict[str, str]:
    """The same of a rule of a single tone, whose periods are not compared."""
    return {
        "nudge.richardson": f"rule {rule} has one frequency",
        "nudge.settle_tolerance": f"rule {rule} does not compare periods",
    }


@final
@dataclass(frozen=True)
class RuleContext:
    """What a rule is built from beside its own section; ``rng`` is the rules' own random generator."""

    nudge: NudgeConfig
    network: Network
    capabilities: Capabilities
    scale: Scale
    cost_name: str
    rng: np.random.Generator


class RuleSection(Section, ABC):
    """The ``rule`` section of one rule: its keys beside ``name``, which every rule declares as the literal of its own.

    Attributes:
        periodic: the rule's waveforms are records of the nudge's tone, whole periods of it.
        writes_moving: the rule writes while the network moves.
        largest_amplitude: of the nudge, in activity units.
        trained_feedback: of the arrays beside a feedforward network every how many-th the rule trains; 0: none.
    """

    periodic: ClassVar[bool] = False
    writes_moving: ClassVar[bool] = False
    trained_feedback: ClassVar[int] = 0
    largest_amplitude: ClassVar[float] = math.inf

    @abstractmethod
    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """Refuse keys that do not go together.

        Raises:
            InputError: names the key and what was expected.
        """

    @abstractmethod
    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """Keys of ``rule`` and ``nudge`` that do nothing beside the others, with their section, and why.

        A homeostasis by tones looks at those of the tone all the same.
        """

    @abstractmethod
    def build(self, context: RuleContext) -> Rule:
        """The rule."""
