"""What drives a node of the bench: waveforms in simulated time, and the sources that put them out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.arrays import FloatArray


class Waveform(ABC):
    """A voltage or current as a function of the bench's clock."""

    @property
    @abstractmethod
    def constant(self) -> bool:
        """Whether it never changes."""

    @abstractmethod
    def at(self, times_seconds: FloatArray) -> FloatArray:
        """Values at (time,) seconds."""

    @abstractmethod
    def corners(self, start: float, end: float) -> FloatArray:
        """Times in the interval between which the waveform is smooth enough to be taken at the middle."""


@final
@dataclass(frozen=True)
class Constant(Waveform):
    """The same at all times."""

    value: float

    @property
    def constant(self) -> bool:
        """It is."""
        return True

    def at(self, times_seconds: FloatArray) -> FloatArray:
        """The value."""
        return np.full(len(times_seconds), self.value)

    def corners(self, start: float, end: float) -> FloatArray:
        """None."""
        return np.zeros(0)


@final
@dataclass(frozen=True)
class VoltageSource:
    """Volts behind a resistance.

    Attributes:
        waveform: volts of the open output.
        series_ohms: output resistance; 0 is a rigid source.
        limit_amperes: compliance, which a rigid source may have: it becomes a source of this current.
    """

    waveform: Waveform
    series_ohms: float = 0.0
    limit_amperes: float = np.inf


@final
@dataclass(frozen=True)
class CurrentSource:
    """Amperes out of the terminal, into the circuit.

    Attributes:
        waveform: amperes.
        limit_volts: compliance: at it, the source becomes one of this voltage.
    """

    waveform: Waveform
    limit_volts: float = np.inf


Source = VoltageSource | CurrentSource

GROUND = VoltageSource(Constant(0.0))
"""0 V without resistance."""
