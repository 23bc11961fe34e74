"""What goes with operations on single arrays: their cost, the time they take, and the noise of their readings."""

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from emulators.array_meter import SAME, ArrayMeter, Written
from emulators.arrays import DifferentialArray
from emulators.config import EmulatorConfig
from emulators.noise import shot_variance, thermal_variance
from substrate.arrays import FloatArray
from substrate.capabilities import WriteRequest
from substrate.contract import Direction, Snapshot, WriteReport
from substrate.errors import InputError


@final
class ArrayOperations:
    """Operations on one array at a time, on a clock that all arrays share.

    Cells hold still during an operation; what the time and the readings so far do to them shows when the next one
    begins (``age``).

    Args:
        arrays: by their names in the ledger.
        config: the device.
        meter: books what operations cost.
        rng: draws the noise of readings.
    """

    def __init__(
        self,
        arrays: Mapping[str, DifferentialArray],
        config: EmulatorConfig,
        meter: ArrayMeter,
        rng: np.random.Generator,
    ) -> None:
        self._arrays = arrays
        self._white = config.noise.white
        self._kelvin = config.temperature.temperature_kelvin
        self._meter = meter
        self._rng = rng
        self._stale = False

    def age(self, names: Sequence[str] | None = None) -> bool:
        """Let time and readings act on arrays (default: all); whether the circuit sees other cells than it did.

        What ages by itself is remembered until all arrays are asked for.
        """
        for name in self._arrays if names is None else names:
            self._stale |= self._arrays[name].age()
        stale = self._stale
        if names is None:
            self._stale = False
        return stale

    def products(
        self, name: str, volts: FloatArray, amperes: FloatArray, direction: Direction = "forward"
    ) -> FloatArray:
        """Readings of one array alone: currents (batch, sensed) at volts (batch, driven), with their noise."""
        self.pass_time(self._meter.products(name, volts, direction), len(volts), name)
        white = self._white
        if not (white.thermal_bandwidth_hz or white.shot_bandwidth_hz):
            return amperes
        total = self._arrays[name].seen_siemens.sum(axis=0)
        total = total if direction == "forward" else total.T
        variance = thermal_variance(total.sum(axis=0), self._kelvin, white.thermal_bandwidth_hz)
        variance = variance + shot_variance(np.abs(volts) @ total, white.shot_fano, white.shot_bandwidth_hz)
        return np.asarray(amperes + np.sqrt(variance) * self._rng.standard_normal(amperes.shape))

    def cells(self, name: str) -> FloatArray:
        """Readings of all cells of an array, (polarity, row, column) siemens: current over reading voltage."""
        self.age((name,))
        siemens = self._arrays[name].conductances
        self.pass_time(self._meter.cells_read(name), 1, name)
        white = self._white
        if not (white.thermal_bandwidth_hz or white.shot_bandwidth_hz):
            return siemens
        volts = self._meter.reading_volts
        variance = thermal_variance(siemens, self._kelvin, white.thermal_bandwidth_hz)
        variance = variance + shot_variance(siemens * volts, white.shot_fano, white.shot_bandwidth_hz)
        return np.asarray(siemens + np.sqrt(variance) / volts * self._rng.standard_normal(siemens.shape))

    def write(self, request: WriteRequest) -> WriteReport:
        """Carry out a checked write.

        A reset is booked as one pulse. So is each cell that is set outright to another conductance: how many pulses
        that would take is not known, and it takes one at least.
        """
        array = self._arrays[request.coupling]
        self.age((request.coupling,))
        if request.apart_siemens is not None and self._meter.isolated(request.coupling):
            report = array.write(request)
            self.pass_time(self._meter.moved_apart(request.coupling, request.apart_siemens), 0)
            return report
        before = array.now_siemens
        if request.target_siemens is not None and not array.forms and self._meter.isolated(request.coupling):
            report = array.write(request)
            seconds = self._meter.set(request.coupling, request.target_siemens, before, array.now_siemens)
            self.pass_time(seconds, 0)
            return report
        formed, tried = array.formed, array.forming_pulses
        report = array.write(request)
        if request.pulses is not None:
            counts = np.asarray(request.pulses, dtype=np.int64)
        elif request.reset is not None:
            counts = np.asarray(request.reset, dtype=np.int64)
        else:
            wanted = array.now_siemens if request.target_siemens is None else np.asarray(request.target_siemens)
            change = wanted - before
            counts = np.where(np.abs(change) > SAME * before, np.sign(change), 0).astype(np.int64)
        newly = array.formed & ~formed
        in_vain = (array.forming_pulses > tried) & ~newly
        done = Written(counts, before, array.now_siemens, newly, in_vain)
        self.pass_time(self._meter.written(request.coupling, done, report.pulses), 0)
        return report

    def wait(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            InputError: seconds that are negative or not finite.
        """
        if not (np.isfinite(seconds) and seconds >= 0):
            raise InputError(f"seconds: expected a finite number >= 0, got {seconds!r}")
        self.pass_time(self._meter.waited(seconds), 0)

    def pass_time(self, seconds: float, readings: int, only: str | None = None) -> None:
        """Count seconds for all arrays, and readings of ``only`` one, or of all."""
        for name, array in self._arrays.items():
            array.pass_time(seconds, readings if only in (None, name) else 0)

    def snapshot(self) -> Snapshot:
        """The generator of the noise; arrays and ledger are kept elsewhere."""
        return dict(self._rng.bit_generator.state)

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back."""
        self._rng.bit_generator.state = snapshot
        self._stale = False
