"""Source meters and the switch matrix that joins them to the lines of an array.

One source meter drives lines, a second one at 0 V senses another; further ones hold unselected lines at a fraction of
the pulse while cells are written (``bias_schemes``).

Relays are only moved while all sources are at 0 V, and are asked for after.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

from drivers.bias_schemes import SHARES, Scheme, unselected_relays
from drivers.errors import BenchError, raise_first
from drivers.source_meter import SourceMeter, SourceReading
from drivers.switch_matrix import SwitchMatrix
from substrate.errors import InputError
from substrate.interrupts import interrupts_held_back


@final
@dataclass
class Station:
    """Source meters, the matrix, and which of its rows they are wired to.

    Attributes:
        matrix: joins its rows (instruments) to its columns (lines).
        drive, sense: the two source meters.
        drive_row, sense_row: their rows of the matrix.
        bias: source meters for unselected lines, and their rows.
        ground_row: row that is tied to ground; None: unselected lines can't be grounded.
    """

    matrix: SwitchMatrix
    drive: SourceMeter
    drive_row: int
    sense: SourceMeter
    sense_row: int
    bias: tuple[tuple[SourceMeter, int], ...] = ()
    ground_row: int | None = None
    _still: bool = field(default=False, init=False, repr=False)

    @property
    def meters(self) -> tuple[SourceMeter, ...]:
        """All source meters, in the order in which they are made safe."""
        return (self.drive, self.sense, *(meter for meter, _ in self.bias))

    def check(self, scheme: Scheme) -> None:
        """That a scheme can be had.

        Raises:
            InputError: it takes a source or a ground that is not wired.
        """
        wanted = len(SHARES[scheme])
        if len(self.bias) < wanted:
            raise InputError(f"scheme {scheme}: takes {wanted} bias sources, {len(self.bias)} are wired")
        if scheme == "grounded" and self.ground_row is None:
            raise InputError("scheme grounded: no row of the matrix is wired to ground")

    def open(self) -> None:
        """Open all instruments, sources at 0 V and off, all relays open. Where one is not there the others are brought
        to that all the same: somebody may have left them on.

        Raises:
            BenchError: the first that is not there, or did not obey; the others are named in notes.
        """
        failures: list[Exception] = []
        for instrument in (self.matrix, *self.meters):
            if not instrument.is_open:
                try:
                    instrument.open()
                except Exception as error:
                    failures.append(error)
        try:
            self.safe_state()
        except Exception as error:
            failures.append(error)
        raise_first(failures)

    def safe_state(self) -> None:
        """Sources off, then relays open; every step is tried.

        Raises:
            BenchError: the first step that failed.
        """
        self.forget()
        failures: list[Exception] = []
        for instrument in (*self.meters, self.matrix):
            if instrument.is_open:
                try:
                    instrument.safe_state()
                except Exception as error:
                    failures.append(error)
        raise_first(failures)

    def forget(self) -> None:
        """What the sources put out is not known any more: others have switched them."""
        self._still = False

    def close(self) -> None:
        """Close all connections."""
        for instrument in (*self.meters, self.matrix):
            instrument.close()

    def connect(
        self, driven: Sequence[int], sensed: Sequence[int], others: tuple[Sequence[int], Sequence[int]], scheme: Scheme
    ) -> None:
        """Join lines (columns of the matrix) to drive, sense, and what the scheme gives unselected rows and columns.

        Every source is brought to 0 V first.

        Raises:
            InstrumentError: other relays are closed than were asked for; all were opened then.
            BenchError: an instrument cannot be reached.
        """
        if not self._still:
            self.quiet()
        wanted = {(self.drive_row, line) for line in driven} | {(self.sense_row, line) for line in sensed}
        wanted |= unselected_relays(scheme, *others, self.ground_row, [row for _, row in self.bias])
        self.matrix.connect(wanted)

    def quiet(self) -> None:
        """All sources at 0 V."""
        self._still = False
        for meter in self.meters:
            meter.source_volts(0.0, meter.limits.amperes)
            meter.enable()
        self._still = True

    def measure(self, volts: float, limit_amperes: float) -> SourceReading:
        """What the sense source reads with the drive at a voltage, which ends at 0 V.

        The drive is asked as well: at its compliance, or switched off, it does not hold the voltage that it was told,
        and what the sense source reads is the current of another one. ``limited`` is of either.

        Raises:
            CapabilityError: beyond what is safe.
            BenchError: an instrument cannot be reached.
        """
        self._still = False
        self.drive.source_volts(volts, limit_amperes)
        reading, drawn = self.sense.measure(), self.drive.measure()
        self.drive.source_volts(0.0, limit_amperes)
        self._still = True
        return replace(reading, limited=reading.limited or drawn.limited)

    def pulse(
        self, volts: float, shares: Sequence[float], count: int, seconds: float, limit_amperes: float
    ) -> list[SourceReading]:
        """Pulses from the drive, the bias sources at these shares of their voltage meanwhile; all at 0 V after.

        Raises:
            CapabilityError: beyond what is safe; nothing was put out.
            BenchError: an instrument cannot be reached: how many pulses were put out is not known.
        """
        self._still = False
        used = [meter for meter, _ in self.bias[: len(shares)]]
        try:
            for share, meter in zip(shares, used, strict=True):
                meter.source_volts(share * volts, limit_amperes)
            readings = self.drive.pulse_volts(volts, count, seconds, limit_amperes)
            for meter in used:
                meter.source_volts(0.0, limit_amperes)
        except BaseException as error:
            # The drive is off by then; no bias may stand alone, whatever becomes of the others.
            with interrupts_held_back():
                for meter in used:
                    try:
                        meter.safe_state()
                    except BenchError as failure:
                        error.add_note(f"bias: {failure}")
            raise
        self._still = True
        return readings
