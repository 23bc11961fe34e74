"""What holds voltages and puts out tones: the outputs of waveform generators, and source meters in their place."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol, final

from drivers.instrument import Channel, ScpiInstrument
from drivers.source_meter import SourceMeter


class VoltageOutput(Protocol):
    """An output that can stand at a voltage."""

    def dc(self, volts: float) -> None:
        """Put out a constant voltage.

        Raises:
            CapabilityError: beyond the safe voltage.
            InputError: beyond what the instrument has.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        ...

    def enable(self) -> None:
        """Switch the output on, if what the instrument is set to is safe.

        Raises:
            CapabilityError: it is not.
            BenchError: the instrument cannot be reached.
        """
        ...


class WaveformOutput(Channel):
    """One output of a waveform generator.

    Attributes:
        least_amplitude_volts: peak of the smallest sine that it has, other than none.
        most_volts: largest peak that it has.
    """

    least_amplitude_volts: ClassVar[float]
    most_volts: ClassVar[float]

    @abstractmethod
    def sine(
        self, frequency_hz: float, amplitude_volts: float, offset_volts: float = 0.0, phase_degrees: float = 0.0
    ) -> None:
        """A sine of this peak amplitude about an offset.

        Raises:
            CapabilityError: its peak is beyond the safe voltage.
            InputError: beyond what the instrument has.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """

    @abstractmethod
    def dc(self, volts: float) -> None:
        """A constant voltage.

        Raises:
            CapabilityError, InputError, BenchError: as ``sine``.
        """

    @abstractmethod
    def enable(self) -> None:
        """Switch the output on, if what the instrument is set to is safe, whoever has set it.

        Raises:
            CapabilityError: it is not.
            BenchError: the instrument cannot be reached.
        """

    @abstractmethod
    def disable(self) -> None:
        """Switch the output off.

        Raises:
            BenchError: the instrument cannot be reached.
        """


class WaveformGenerator(ScpiInstrument):
    """A generator whose outputs share one clock."""

    @property
    @abstractmethod
    def waveform_outputs(self) -> Mapping[int, WaveformOutput]:
        """By number, from 1."""

    @abstractmethod
    def has_external_clock(self) -> bool | None:
        """Whether its clock is locked to one from outside now; None where it does not tell.

        Raises:
            BenchError: the instrument cannot be reached.
        """

    @abstractmethod
    def synchronise(self) -> None:
        """Let the phases of all outputs refer to now.

        Raises:
            BenchError: the instrument cannot be reached.
        """


@final
class SourceOutput:
    """A source meter as an output, its current limited to what is safe.

    Args:
        meter: whose limits are finite.
    """

    def __init__(self, meter: SourceMeter) -> None:
        self._meter = meter

    def dc(self, volts: float) -> None:
        """See ``VoltageOutput``."""
        self._meter.source_volts(volts, self._meter.limits.amperes)

    def enable(self) -> None:
        """See ``VoltageOutput``."""
        self._meter.enable()
