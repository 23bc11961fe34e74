"""What source meters have in common: sources that are checked, readings, pulses."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Unpack, final

from drivers.instrument import Instrument, Options
from drivers.limits import DriveLimits
from drivers.transport import Link
from substrate.errors import InputError


@final
@dataclass(frozen=True)
class SourceReading:
    """One measurement, in V and A; what was not measured is NaN. ``limited``: the source was at its compliance."""

    volts: float
    amperes: float
    limited: bool


class SourceMeter(Instrument):
    """One channel that sources a voltage or a current, limits the other, and measures both.

    Args:
        resource: address.
        limits: of what is driven.
        options: of ``Instrument``.

    Attributes:
        limits: as given.
    """

    def __init__(self, resource: str | Link, limits: DriveLimits, **options: Unpack[Options]) -> None:
        super().__init__(resource, **options)
        self.limits = limits
        self.__set_up: str | None = None

    @abstractmethod
    def _source(self, quantity: str, level: float, limit: float, switch: bool) -> Sequence[str]:
        """Commands for "volts" or "amperes" and the limit of the other; ``switch``: the quantity is a new one."""

    @abstractmethod
    def _output(self, on: bool) -> str:
        """Command that switches the output."""

    @abstractmethod
    def _measure(self) -> SourceReading:
        """A reading with the present settings."""

    @abstractmethod
    def _pulse(self, volts: float, count: int, width_seconds: float, limit_amperes: float) -> list[SourceReading]:
        """Pulses from 0 V and back; a reading in each."""

    @abstractmethod
    def _quiet(self) -> Sequence[str]:
        """Commands that bring the levels to zero."""

    @final
    def source_volts(self, volts: float, limit_amperes: float) -> None:
        """Source a voltage, with a limit of the current's magnitude. The output stays as it is, but is switched off
        where a current was sourced before.

        Raises:
            CapabilityError: beyond what is safe.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        self.limits.check_volts("source_volts", volts)
        self._check_limit("limit_amperes", limit_amperes)
        self.limits.check_amperes("limit_amperes", limit_amperes)
        self.__apply("volts", volts, limit_amperes)

    @final
    def source_amperes(self, amperes: float, limit_volts: float) -> None:
        """Source a current, with a limit of the voltage's magnitude. The output stays as it is, but is switched off
        where a voltage was sourced before.

        Raises:
            CapabilityError: beyond what is safe.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        self.limits.check_amperes("source_amperes", amperes)
        self._check_limit("limit_volts", limit_volts)
        self.limits.check_volts("limit_volts", limit_volts)
        self.__apply("amperes", amperes, limit_volts)

    @final
    def __apply(self, quantity: str, level: float, limit: float) -> None:
        with self.link.lock:
            switch = self.__set_up != quantity
            commands = list(self._source(quantity, level, limit, switch))
            if switch:
                commands.insert(0, self._output(False))
            self.__set_up = None
            self.configure(*commands)
            self.__set_up = quantity

    @final
    def enable(self) -> None:
        """Switch the output on.

        Raises:
            InputError: nothing was set up since the instrument was opened or reset: what it would drive is unknown.
            BenchError: the instrument cannot be reached.
        """
        if self.__set_up is None:
            raise InputError("output: call source_volts() or source_amperes() before enable()")
        self.configure(self._output(True))

    @final
    def disable(self) -> None:
        """Switch the output off.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        self.configure(self._output(False))

    @final
    def measure(self) -> SourceReading:
        """Measure with the present settings; asked once, since it takes time and may switch ranges.

        Raises:
            InputError: nothing was set up, as for ``enable``.
            BenchError: the instrument cannot be reached, or reports an error.
        """
        if self.__set_up is None:
            raise InputError("measure: call source_volts() or source_amperes() before")
        return self._measure()

    @final
    def pulse_volts(self, volts: float, count: int, width_seconds: float, limit_amperes: float) -> list[SourceReading]:
        """Pulses from 0 V to ``volts`` and back, as long as the pauses between them. The output is on at 0 V after.

        They are begun once, never repeated: after an error it is not known how many were put out.

        Returns:
            A reading of each pulse.

        Raises:
            CapabilityError: beyond what is safe.
            InputError: no pulses, or too short for the instrument.
            BenchError: the instrument cannot be reached, or reports an error.
        """
        if count < 1 or not width_seconds > 0:
            raise InputError(f"pulses: expected count >= 1 and width_seconds > 0, got {count!r}, {width_seconds!r}")
        with self.link.lock:
            self.limits.check_volts("pulse_volts", volts)
            self.source_volts(0.0, limit_amperes)
            # After an error a list may still be loaded: nothing is measured until all has been set up anew.
            self.__set_up = None
            readings = self._pulse(volts, count, width_seconds, limit_amperes)
            self.__set_up = "volts"
            return readings

    @final
    def _check_limit(self, name: str, value: float) -> None:
        if not value > 0:
            raise InputError(f"{name}: expected a positive number, got {value!r}")

    @final
    def _forget(self) -> None:
        self.__set_up = None

    @final
    def _safe_steps(self) -> Sequence[Callable[[], None]]:
        return [lambda: self.configure(self._output(False)), lambda: self.configure(*self._quiet())]
