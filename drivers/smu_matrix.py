"""Source meters behind a switch matrix as crossbar arrays, whose cells are read, written and formed one by one.

Everything that is driven has been checked against the limits of the instruments, whose drivers check once more, and
flows through a compliance.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final, final

import numpy as np

from drivers.bias_schemes import SHARES, Scheme
from drivers.forming import FormingPlan
from drivers.limits import DriveLimits
from drivers.pulse_section import PulseConfig
from drivers.pulsed_array import PulsedArray
from drivers.station import Station
from substrate.arrays import BoolArray, FloatArray
from substrate.capabilities import Limits
from substrate.contract import Direction
from substrate.errors import CapabilityError, InputError

log = logging.getLogger(__name__)

MOST_PULSES: Final = 1000
"""Put out in one go."""

OPEN_FRACTION: Final = 0.1
"""Of the window's lowest conductance: where less is seen than of such a cell, a relay or a lead is open."""


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
        _check(station, config, most_read_volts)
        limits = station.drive.limits
        shape = len(rows), len(columns)
        super().__init__(
            name,
            shape,
            config,
            Limits(most_read_volts, limits.volts, config.read_amperes),
            readings=config.demands(limits.amperes),
            pace=config.pace(shape),
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
            read, pulse = partial(self.read_cell, row, column), partial(self._forming_pulse, plan, row, column)
            formed[row, column] = plan.carry_out(read, pulse)
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

    def _forming_pulse(self, plan: FormingPlan, row: int, column: int, volts: float) -> None:
        one = np.zeros(self.shape, dtype=np.int64)
        one[row, column] = 1
        self.budget.spend(one)
        self._put(row, column, volts, 1, plan.pulse_seconds, plan.limit_amperes)

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
        shares, largest = SHARES[scheme], 0.0
        for first in range(0, count, MOST_PULSES):
            burst = min(MOST_PULSES, count - first)
            readings = self._station.pulse(volts, shares, burst, seconds, limit_amperes)
            self.tripped[row, column] |= any(reading.limited for reading in readings)
            # One that overflowed was large.
            sizes = np.abs([reading.amperes for reading in readings])
            largest = max(largest, float(np.where(np.isnan(sizes), np.inf, sizes).max()))
        return largest


def _check(station: Station, config: PulseConfig, most_read_volts: float) -> None:
    """That the instruments can do what the section says."""
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
    for share, (meter, _) in zip(SHARES[config.write_scheme], station.bias, strict=False):
        meter.limits.check_volts(f"write_scheme {config.write_scheme}: bias", share * largest)
        meter.limits.check_amperes("pulse_amperes", config.pulse_amperes)
