"""What source meters have in common: sources that are checked, readings, pulses."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Unpack, final

from drivers.errors import BenchError
from drivers.instrument import Instrument, Options
from drivers.limits import DriveLimits
from drivers.transport import Link
from substrate.errors import InputError
from substrate.interrupts import interrupts_held_back


@final
@dataclass(frozen=True)
class SourceReading:
    """One measurement, in V and A; what was not measured is NaN. ``limited``: the source was at its compliance."""

    volts: float
    amperes: float
    limited: bool


class SourceMeter(Instrument):
    """One channel that sources a voltage or a current, limits the other, and measures both.

    Level and limit are changed in the order that goes through no state beyond both the old and the new one: a limit
    that falls comes before the level, one that rises after it.

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
        self.__limit = 0.0

    @abstractmethod
    def _source(self, quantity: str) -> Sequence[str]:
        """Commands that prepare for sourcing "volts" or "amperes", and for measuring."""

    @abstractmethod
    def _limit(self, quantity: str, limit: float) -> str:
        """Command for the limit of what is not sourced, while "volts" or "amperes" are."""

    @abstractmethod
    def _level(self, quantity: str, level: float) -> str:
        """Command for the level of "volts" or "amperes"."""

    @abstractmethod
    def _output(self, on: bool) -> str:
        """Command that switches the output."""

    @abstractmethod
    def _measure(self) -> SourceReading:
        """A reading with the present settings."""

    @abstractmethod
    def _check_pulses(self, count: int, width_seconds: float) -> None:
        """That the instrument has pulses like these; it is not asked.

        Raises:
            InputError: too many, or too short.
        """

    @abstractmethod
    def _as_before(self) -> Sequence[str]:
        """Commands that put back what ``_pulse`` will change, as the instrument is set now."""

    @abstractmethod
    def _pulse(self, volts: float, count: int, width_seconds: float, limit_amperes: float) -> list[SourceReading]:
        """Pulses from 0 V and back; a reading in each. Settings that it changes are put back by others."""

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
            commands = [self._limit(quantity, limit), self._level(quantity, level)]
            if self.__set_up != quantity:
                commands = [self._output(False), *self._source(quantity), *commands]
            elif limit > self.__limit:
                commands.reverse()
            self.__set_up = None
            self.configure(*commands)
            self.__set_up, self.__limit = quantity, limit

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
    def check_pulses(self, volts: float, count: int, width_seconds: float, limit_amperes: float) -> None:
        """That ``pulse_volts`` may be called like this; the instrument is not asked.

        Raises:
            CapabilityError: beyond what is safe.
            InputError: no pulses, or too many or too short for the instrument.
        """
        if count < 1 or not width_seconds > 0:
            raise InputError(f"pulses: expected count >= 1 and width_seconds > 0, got {count!r}, {width_seconds!r}")
        self.limits.check_volts("pulse_volts", volts)
        self._check_limit("limit_amperes", limit_amperes)
        self.limits.check_amperes("limit_amperes", limit_amperes)
        self._check_pulses(count, width_seconds)

    @final
    def pulse_volts(self, volts: float, count: int, width_seconds: float, limit_amperes: float) -> list[SourceReading]:
        """Pulses from 0 V to ``volts`` and back, as long as the pauses between them. The output is on at 0 V after.

        They are begun once, never repeated: after an error it is not known how many were put out. After an error or an
        interrupt those that were to come are aborted, and the output is off.

        Returns:
            A reading of each pulse.

        Raises:
            CapabilityError, InputError: as ``check_pulses``; nothing was sent.
            BenchError: the instrument cannot be reached, or refuses, or reports an error.
        """
        self.check_pulses(volts, count, width_seconds, limit_amperes)
        with self.link.lock:
            self.source_volts(0.0, limit_amperes)
            # After an error a list may still be loaded: nothing is measured until all has been set up anew.
            self.__set_up = None
            before = self._as_before()
            try:
                readings = self._pulse(volts, count, width_seconds, limit_amperes)
                self.configure(*before, self._output(True))
            except BaseException as error:
                self.__broken_off(error, before)
                raise
            self.__set_up = "volts"
            return readings

    @final
    def __broken_off(self, error: BaseException, before: Sequence[str]) -> None:
        """Output off, whatever the instrument is doing; what fails is noted with the error."""
        with interrupts_held_back():
            try:
                self.safe_state()
                self.configure(*before)
            except BenchError as failure:
                error.add_note(f"after the pulses: {failure}")

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
