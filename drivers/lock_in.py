"""What lock-ins of Stanford Research Systems have in common: errors by status bits, X and Y as one number."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Unpack, final

from drivers.errors import ProtocolError
from drivers.instrument import Instrument, Options, Part
from drivers.limits import DriveLimits
from drivers.setting import integer
from drivers.setting import number as float_of
from drivers.transport import Link
from substrate.errors import InputError

ERROR_BITS: Final = {1: "input queue overflow", 4: "output queue overflow", 16: "parameter out of range",
                     32: "command error"}  # fmt: skip
"""Of the standard event status byte; the others are no errors."""


class LockIn(Instrument):
    """A lock-in amplifier.

    Args:
        resource: address.
        limits: of what its oscillator and its auxiliary outputs drive.
        options: of ``Instrument``.

    Attributes:
        limits: as given.
    """

    def __init__(self, resource: str | Link, limits: DriveLimits, **options: Unpack[Options]) -> None:
        super().__init__(resource, **options)
        self.limits = limits

    @abstractmethod
    def _snap(self) -> str:
        """Question for X and Y of one instant."""

    @abstractmethod
    def _sine(self, rms_volts: float) -> Sequence[str]:
        """Commands that set the oscillator's amplitude."""

    @abstractmethod
    def _aux_numbers(self) -> Sequence[int]:
        """Of the auxiliary outputs."""

    @abstractmethod
    def _zero(self) -> Sequence[str]:
        """Commands that bring the oscillator as low as it goes."""

    @abstractmethod
    def _aux_input(self, number: int) -> str:
        """Question for the volts of an auxiliary input, counted from 1."""

    @property
    @abstractmethod
    def highest_hz(self) -> float:
        """That a harmonic may have."""

    @abstractmethod
    def follow(self, range_volts: float) -> None:
        """Prepare to read input A against a sine at the reference input: DC coupled, filters of four stages.

        Args:
            range_volts: peak to peak, that the input has to take.

        Raises:
            InputError: more than the instrument takes.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """

    @abstractmethod
    def narrow(self, seconds: float) -> float:
        """Set the shortest time constant that is not below ``seconds``; which it is.

        Raises:
            InputError: the instrument has none as long.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """

    @abstractmethod
    def choose(self, harmonic: int) -> None:
        """Read a harmonic of the reference.

        Raises:
            InputError: one that the instrument does not have.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """

    @abstractmethod
    def overloaded(self) -> bool:
        """Whether an overload was seen since this was last asked; asked once.

        Raises:
            BenchError: the instrument cannot be reached.
        """

    @final
    def read(self) -> complex:
        """X + iY of one instant, in V rms.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        fields = self.session.numbers(self._snap())
        if len(fields) != 2:
            raise ProtocolError(f"{self.link.address}: SNAP?: expected 2 numbers, got {len(fields)}")
        return complex(fields[0], fields[1])

    @final
    def aux_in_volts(self, number: int) -> float:
        """Volts of an auxiliary input, 1 to 4, at this moment.

        Raises:
            InputError: an input that does not exist.
            BenchError: the instrument cannot be reached.
        """
        if number not in range(1, 5):
            raise InputError(f"aux_in_volts: expected inputs 1 to 4, got {number!r}")
        return self.session.ask(self._aux_input(number), float_of)

    @final
    def sine_volts(self, amplitude_volts: float) -> None:
        """Let the oscillator put out a sine of this peak amplitude; the instrument counts in rms.

        Raises:
            CapabilityError: beyond what is safe.
            InputError: beyond what the instrument has.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        self.limits.check_volts("sine_volts", amplitude_volts)
        self.configure(*self._sine(amplitude_volts / 2.0**0.5))

    @final
    def aux_volts(self, output: int, volts: float) -> None:
        """Set an auxiliary output.

        Raises:
            CapabilityError: beyond what is safe.
            InputError: an output that does not exist, or beyond 10.5 V.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        self.limits.check_volts("aux_volts", volts)
        known = self._aux_numbers()
        if output not in known or not abs(volts) <= 10.5:
            raise InputError(f"aux_volts: expected outputs {known[0]} to {known[-1]} and up to 10.5 V, got {output}")
        # Millivolts, cut off: rounding could lead beyond the limit.
        self.configure(f"AUXV {output},{math.trunc(1e3 * volts + math.copysign(1e-6, volts)) / 1e3:.3f}")

    @final
    def _next_error(self) -> tuple[int, str] | None:
        bits = self.session.ask("*ESR?", integer, once=True)
        found = [text for bit, text in ERROR_BITS.items() if bits & bit]
        return (bits, ", ".join(found)) if found else None

    @final
    def _safe_steps(self) -> Sequence[Callable[[], None]]:
        return [
            lambda: self.configure(*self._zero()),
            lambda: self.configure(*(f"AUXV {output},0" for output in self._aux_numbers())),
        ]

    @final
    def _parts(self) -> Mapping[str, Part]:
        return {}

    @final
    def _forget(self) -> None:
        """Nothing is remembered."""
