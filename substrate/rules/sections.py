"""What an experiment file says about learning rules: the nudge that they share, and what each rule's section offers."""

from abc import ABC, abstractmethod
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
    """The nudge; ``amplitude`` is beta in activity units, or ``auto``. The other keys belong to sinusoidal nudges.

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
            raise InputError(f"nudge.amplitude: rule {rule} is given its amplitude; expected a number, got 'auto'")
        return float(self.amplitude)

    def fixed_tone(self, rule: str) -> None:
        """Refuse an amplitude, harmonics or periods to be found automatically, of what is given all of them.

        Raises:
            InputError: names the key.
        """
        self.fixed_amplitude(rule)
        for key, value in (("harmonics", self.harmonics), ("periods", self.periods)):
            if value == "auto":
                raise InputError(f"nudge.{key}: rule {rule} is given its tone; expected a number, got 'auto'")

    def plain_tone(self, rule: str) -> None:
        """Refuse what takes more than the records of one given tone: automatic choices, frequencies, compared periods.

        Raises:
            InputError: names the key.
        """
        self.fixed_tone(rule)
        if self.richardson != 1:
            raise InputError(f"nudge.richardson: rule {rule} has one frequency; expected 1, got {self.richardson}")
        if self.settle_tolerance is not None:
            raise InputError(
                f"nudge.settle_tolerance: rule {rule} does not compare periods; expected none, got "
                f"{self.settle_tolerance}"
            )


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
    """

    periodic: ClassVar[bool] = False
    writes_moving: ClassVar[bool] = False

    @abstractmethod
    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """Refuse keys that do not go together.

        Raises:
            InputError: names the key and what was expected.
        """

    @abstractmethod
    def build(self, context: RuleContext) -> Rule:
        """The rule."""
