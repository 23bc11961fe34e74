"""Source meters behind a switch matrix as crossbar arrays: which lines are driven, sensed, biased, grounded or open.

One source meter drives a line, a second one at 0 V senses another; further ones hold unselected lines at a fraction of
the pulse while cells are written:

    scheme      unselected rows   unselected columns   sources of bias
    floating    open              open                 0
    grounded    ground            ground               0
    half        V/2               V/2                  1
    third       V/3               2V/3                 2

Relays are only moved while all sources are at 0 V, and are asked for after. Everything that is driven has been checked
against the limits of the instruments, whose drivers check once more, and flows through a compliance.

A bias stands from before the first pulse of a burst until after the last one, pauses included: instruments that are
told what to do one after another cannot begin and end a bias with each pulse. Cells of the selected row and column see
their share of the voltage for twice as long as the pulses last, and for the exchanges around them (tens of
milliseconds). Where that disturbs them, let bursts be short.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, final

import numpy as np

from drivers.errors import BenchError, raise_first
from drivers.limits import DriveLimits
from drivers.pulsed_array import PulsedArray, PulsedSection
from drivers.source_meter import SourceMeter, SourceReading
from drivers.switch_matrix import SwitchMatrix
from substrate.arrays import BoolArray, FloatArray
from substrate.capabilities import Limits
from substrate.contract import Direction
from substrate.errors import CapabilityError, InputError
from substrate.interrupts import interrupts_held_back
from substrate.outlay import Demand, Pace
from substrate.sections import Positive

log = logging.getLogger(__name__)

Scheme = Literal["floating", "grounded", "half", "third"]
BIASES: Final = {"floating": 0, "grounded": 0, "half": 1, "third": 2}
"""Sources of bias that each scheme takes."""

SHARES: Final[dict[str, tuple[float, ...]]] = {"half": (0.5,), "third": (1.0 / 3.0, 2.0 / 3.0)}
"""Of a pulse's voltage, for each of them."""

EXCHANGE_SECONDS: Final = 0.01
RELAY_SECONDS: Final = 0.02
READING_SECONDS: Final = 0.05
"""Rules of thumb for the estimates of a dry run: a setting and the look into the error queue after it; relays
opened and others closed; one reading by each of two source meters, at a power-line cycle."""

MOST_PULSES: Final = 1000
"""Put out in one go."""

OPEN_FRACTION: Final = 0.1
"""Of the window's lowest conductance: where less is seen than of such a cell, a relay or a lead is open."""


@final
class PulseConfig(PulsedSection):
    """Reading and writing of cells.

    Attributes:
        read_volts: across a cell that is read alone; whole arrays are read as the device's limits allow.
        read_amperes: compliance while reading.
        pulse_seconds: their width; a Keithley 2400 has none below 10 ms.
        pulse_amperes: compliance of a pulse.
        read_scheme: of unselected lines while reading; floating ones let sneak currents through.
        write_scheme: while writing.
    """

    read_volts: Positive = 0.1
    read_amperes: Positive = 1.0e-4
    pulse_seconds: Positive = 1.0e-2
    pulse_amperes: Positive = 1.0e-3
    read_scheme: Literal["floating", "grounded"] = "grounded"
    write_scheme: Scheme = "half"


@final
@dataclass(frozen=True)
class FormingPlan:
    """How fresh cells are brought to conduct: pulses of rising voltage, each followed by a reading.

    Attributes:
        first_volts, last_volts, step_volts: of the pulses, row against column.
        pulse_seconds: width.
        limit_amperes: compliance, which keeps a cell that forms from being destroyed.
        formed_siemens: conductance from which on a cell counts as formed.
    """

    first_volts: float
    last_volts: float
    step_volts: float
    pulse_seconds: float
    limit_amperes: float
    formed_siemens: float

    def __post_init__(self) -> None:
        if not (0 < self.first_volts <= self.last_volts and self.step_volts > 0):
            raise InputError("forming: expected 0 < first_volts <= last_volts and step_volts > 0")

    def volts(self) -> FloatArray:
        """Of the pulses, in turn."""
        count = int((self.last_volts - self.first_volts) / self.step_volts + 1e-9) + 1
        return np.asarray(self.first_volts + self.step_volts * np.arange(count), dtype=np.float64)


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
        if len(self.bias) < BIASES[scheme]:
            raise InputError(f"scheme {scheme}: takes {BIASES[scheme]} bias sources, {len(self.bias)} are wired")
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
        rows, columns = others
        if scheme == "grounded":
            assert self.ground_row is not None  # what check() looked for
            wanted |= {(self.ground_row, line) for line in (*rows, *columns)}
        elif scheme == "half":
            wanted |= {(self.bias[0][1], line) for line in (*rows, *columns)}
        elif scheme == "third":
            wanted |= {(self.bias[0][1], line) for line in rows} | {(self.bias[1][1], line) for line in columns}
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


@final
class SmuMatrixArray(PulsedArray):
    """Cells at the crossings of lines that a station reaches.

    A reading of whole lines superposes readings with one voltage at a time, on all lines that shall have it, while the
    others are grounded, one sensed line after another: right for cells whose current is proportional to the voltage.
    Driven lines that together reach the compliance are read by halves, down to one line.

    An open relay or lead looks like a cell that does not conduct. After each burst the cell is therefore read, and one
    that conducts nowhere near as much as the window's lowest is reported as one that no pulse has reached. A reading of
    all cells names such ones and their relays in the log, and gives what it has found: a fresh cell looks the same.

    Args:
        station: instruments; shared by arrays that are used one at a time.
        rows, columns: columns of the matrix that the word lines and the bit lines are wired to.
        config: voltages, compliances, budget.
        most_read_volts: that lines survive while they are read; ``config.read_volts`` is what a cell is read at alone.
        name: of the array.
        owns: whether the station is opened, made safe and closed with the array, or by whoever shares it.

    Attributes:
        tripped: (rows, columns), whether a pulse of the cell has reached its compliance.

    Raises:
        InputError: lines that exist twice or not at all, a scheme that is not wired, limits that do not fit.
    """

    def __init__(
        self,
        station: Station,
        rows: Sequence[int],
        columns: Sequence[int],
        config: PulseConfig,
        most_read_volts: float,
        *,
        name: str = "array",
        owns: bool = True,
    ) -> None:
        lines = [*rows, *columns]
        outputs = station.matrix.shape[1]
        if len(set(lines)) < len(lines) or not all(1 <= line <= outputs for line in lines) or not (rows and columns):
            raise InputError(f"lines: expected different columns of the matrix, 1 to {outputs}, got {lines}")
        for scheme in (config.read_scheme, config.write_scheme):
            station.check(scheme)
        self._station, self._rows, self._columns, self._config = station, tuple(rows), tuple(columns), config
        self._owns = owns
        limits = station.drive.limits
        limits.check_volts("limits.read_volts", most_read_volts)
        for key in ("read_volts", "up_volts", "down_volts"):
            limits.check_volts(key, getattr(config, key))
        for key in ("read_amperes", "pulse_amperes"):
            limits.check_amperes(key, getattr(config, key))
        try:
            station.drive.check_pulses(config.up_volts, MOST_PULSES, config.pulse_seconds, config.pulse_amperes)
        except InputError as error:
            raise InputError(f"pulse_seconds: {error}") from error
        largest = max(config.up_volts, config.down_volts)
        for share, (meter, _) in zip(SHARES.get(config.write_scheme, ()), station.bias, strict=False):
            meter.limits.check_volts(f"write_scheme {config.write_scheme}: bias", share * largest)
            meter.limits.check_amperes("pulse_amperes", config.pulse_amperes)
        reading = RELAY_SECONDS + READING_SECONDS + 2.0 * EXCHANGE_SECONDS
        shape = len(rows), len(columns)
        super().__init__(
            name,
            shape,
            config,
            Limits(most_read_volts, limits.volts, config.read_amperes),
            readings=(
                Demand("reading of a cell", config.read_volts, "V"),
                Demand("compliance of a reading", config.read_amperes, "A", limits.amperes),
                Demand("compliance of a pulse", config.pulse_amperes, "A", limits.amperes),
            ),
            pace=Pace(
                # Every level by itself, on one sensed line after another.
                product_seconds=shape[0] * shape[1] * reading,
                cell_seconds=reading,
                # With the reading after the pulses.
                write_seconds=RELAY_SECONDS + READING_SECONDS + 6.0 * EXCHANGE_SECONDS,
                # The pauses are as long as the pulses.
                pulse_seconds=2.0 * config.pulse_seconds,
            ),
            at_once=False,
            line_amperes=config.read_amperes,
        )
        self.tripped: BoolArray = np.zeros(shape, dtype=np.bool_)
        self._name = name
        self._least = OPEN_FRACTION * config.window_siemens[0]
        self._open_before: BoolArray = np.zeros(shape, dtype=np.bool_)

    @property
    def read_volts(self) -> float:
        """Across a cell that is read alone."""
        return self._config.read_volts

    def form(self, cells: BoolArray, plan: FormingPlan) -> BoolArray:
        """Form cells, one after another; which of them conduct then, (rows, columns).

        Raises:
            InputError: not open, wrong shape.
            CapabilityError: a voltage or current beyond the limits, a budget that is used up.
            BenchError: an instrument cannot be reached; pulses before stand.
        """
        self._require_open()
        chosen = np.asarray(cells)
        if chosen.shape != self.shape or chosen.dtype != np.bool_:
            raise InputError(f"cells: expected booleans of shape {self.shape}, got {chosen.dtype} of {chosen.shape}")
        limits = self._station.drive.limits
        levels = plan.volts()
        limits.check_volts("forming.last_volts", float(levels[-1]))
        limits.check_amperes("forming.limit_amperes", plan.limit_amperes)
        self._station.drive.check_pulses(float(levels[-1]), 1, plan.pulse_seconds, plan.limit_amperes)
        self.budget.check(chosen * len(levels))
        formed = np.zeros(self.shape, dtype=np.bool_)
        for row, column in np.argwhere(chosen):
            for volts in levels:
                if self.read_cell(row, column) >= plan.formed_siemens:
                    formed[row, column] = True
                    break
                one = np.zeros(self.shape, dtype=np.int64)
                one[row, column] = 1
                self.budget.spend(one)
                self._put(row, column, float(volts), 1, plan.pulse_seconds, plan.limit_amperes)
            else:
                formed[row, column] = self.read_cell(row, column) >= plan.formed_siemens
        return formed

    def read_cell(self, row: int, column: int, volts: float | None = None) -> float:
        """Conductance of one cell in siemens, by the current into the sensed column.

        Args:
            row, column: counted from 0.
            volts: across it; by default the section's ``read_volts``.

        Raises:
            InputError: not open, or no such line.
            CapabilityError: beyond the safe voltage.
            BenchError: an instrument cannot be reached, or the current was limited.
        """
        self._require_open()
        level = self._config.read_volts if volts is None else volts
        DriveLimits(self.capabilities.limits.read_volts).check_volts("volts", level)
        self._select(int(row), int(column), self._config.read_scheme)
        return self._sensed(level) / level

    def _open(self) -> None:
        self.budget.open()
        if self._owns:
            self._station.open()

    def _safe_state(self) -> None:
        if self._owns:
            self._station.safe_state()
        else:
            self._station.forget()

    def _close(self) -> None:
        if self._owns:
            self._station.close()

    def _read(self, volts: FloatArray, direction: Direction) -> FloatArray:
        forward = direction == "forward"
        driven, sensed = (self._rows, self._columns) if forward else (self._columns, self._rows)
        amperes = np.zeros((len(volts), len(sensed)))
        for sample, levels in enumerate(volts):
            for level in np.unique(levels[levels != 0.0]):
                amperes[sample] += self._read_level(driven, sensed, levels == level, float(level))
        return amperes

    def _read_level(
        self, driven: tuple[int, ...], sensed: tuple[int, ...], chosen: BoolArray, level: float
    ) -> FloatArray:
        """Currents (sensed,) with one level on some lines and the others grounded."""
        self._station.check("grounded")
        on = [line for line, one in zip(driven, chosen, strict=True) if one]
        return np.array([self._superposed(driven, on, sensed, line, level) for line in sensed])

    def _superposed(
        self, driven: tuple[int, ...], on: list[int], sensed: tuple[int, ...], line: int, level: float
    ) -> float:
        """Current into one line; lines that take more than the compliance together are driven by halves."""
        off, rest = [one for one in driven if one not in on], [other for other in sensed if other != line]
        self._station.connect(on, [line], (off, rest), "grounded")
        if len(on) == 1:
            return self._sensed(level)
        amperes = self._unless_limited(level)
        if amperes is not None:
            return amperes
        half = len(on) // 2
        return sum(self._superposed(driven, part, sensed, line, level) for part in (on[:half], on[half:]))

    def _sensed(self, level: float) -> float:
        """Current into the sense input with the drive at a voltage, which ends at 0 V."""
        amperes = self._unless_limited(level)
        if amperes is None:
            limit = self._config.read_amperes
            raise CapabilityError(
                f"read: the current at {level:.6g} V reaches the compliance read_amperes = {limit:.6g} A"
            )
        return amperes

    def _unless_limited(self, level: float) -> float | None:
        """The same current, or None where the compliance was reached."""
        reading = self._station.measure(level, self._config.read_amperes)
        return None if reading.limited or not np.isfinite(reading.amperes) else -reading.amperes

    def _read_cells(self) -> FloatArray:
        found = np.array([[self.read_cell(r, c) for c in range(self.shape[1])] for r in range(self.shape[0])])
        open_now = np.abs(found) < self._least
        for row, column in np.argwhere(open_now & ~self._open_before):
            drive, sense = (self._station.drive_row, self._rows[row]), (self._station.sense_row, self._columns[column])
            log.warning(
                "%s: cell (%d, %d) conducts %.3g S, the window begins at %.3g S: it is not formed, or broken, or a "
                "relay of the matrix (row %d, column %d or row %d, column %d) or a lead is open",
                self._name, row, column, found[row, column], self._config.window_siemens[0], *drive, *sense,
            )  # fmt: skip
        self._open_before = open_now
        return found

    def _select(self, row: int, column: int, scheme: Scheme) -> None:
        for name, place, lines in (("row", row, self._rows), ("column", column, self._columns)):
            # One counted from the end would join its own line to those that are grounded.
            if not 0 <= place < len(lines):
                raise InputError(f"{name}: expected 0 .. {len(lines) - 1}, got {place}")
        rows = [line for index, line in enumerate(self._rows) if index != row]
        columns = [line for index, line in enumerate(self._columns) if index != column]
        self._station.connect([self._rows[row]], [self._columns[column]], (rows, columns), scheme)

    def _give(self, row: int, column: int, volts: float, count: int) -> bool:
        config = self._config
        amperes = self._put(row, column, volts, count, config.pulse_seconds, config.pulse_amperes)
        if amperes < self._least * abs(volts):
            return False
        # The drive feeds the other cells of the line as well; what flows through this one only the sense source sees.
        # All relays are as they were in the pulses, the bias sources at 0 V.
        reading = self._station.measure(config.read_volts, config.read_amperes)
        return reading.limited or not abs(reading.amperes) < self._least * config.read_volts

    def _put(self, row: int, column: int, volts: float, count: int, seconds: float, limit_amperes: float) -> float:
        """Pulses of one cell, the others biased; the largest current of one."""
        scheme = self._config.write_scheme
        self._select(int(row), int(column), scheme)
        shares, largest = SHARES.get(scheme, ()), 0.0
        for first in range(0, count, MOST_PULSES):
            burst = min(MOST_PULSES, count - first)
            readings = self._station.pulse(volts, shares, burst, seconds, limit_amperes)
            self.tripped[row, column] |= any(reading.limited for reading in readings)
            # One that overflowed was large.
            sizes = np.abs([reading.amperes for reading in readings])
            largest = max(largest, float(np.where(np.isnan(sizes), np.inf, sizes).max()))
        return largest
