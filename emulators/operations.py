"""What goes with every operation of an emulated network: its cost, the time it takes, and the noise of its readings."""

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from emulators.arrays import DifferentialArray
from emulators.config import EmulatorConfig
from emulators.ledger import EnergyMeter
from emulators.noise import shot_variance, thermal_variance
from emulators.readout import Readout, Timing
from substrate.arrays import FloatArray
from substrate.capabilities import WriteRequest
from substrate.contract import Direction, Scale, Snapshot, WriteReport
from substrate.errors import InputError
from substrate.network import Network
from substrate.tones import SamplingPlan


@final
class Operations:
    """Operations one after another on the device's clock.

    The samples of a batch follow each other, each settling first. Cells hold still during an operation; what the time
    and the readings so far do to them shows when the next one begins (``age``).

    Args:
        network: topology.
        arrays: by the name of their coupling.
        config: the device.
        scale: volts and siemens of a unit.
        rng: draws the noise of readings.
    """

    def __init__(
        self,
        network: Network,
        arrays: Mapping[str, DifferentialArray],
        config: EmulatorConfig,
        scale: Scale,
        rng: np.random.Generator,
    ) -> None:
        self._arrays = arrays
        self._operation = config.operation
        self._white = config.noise.white
        self._kelvin = config.temperature.temperature_kelvin
        self._meter = EnergyMeter(network, arrays, config.operation, config.limits, scale.volts_per_unit)
        self.ledger = self._meter.ledger
        readout_rng, self._rng = rng.spawn(2)
        self._readout = Readout(
            network, config.noise, self._kelvin, scale.volts_per_unit, scale.unit_siemens, readout_rng
        )
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

    def settled(self, inputs: FloatArray, volts: FloatArray) -> FloatArray:
        """Readings, each after a settling of its own: the volts (batch, reading, node) that a converter meets."""
        operation, count = self._operation, volts.shape[1]
        each = operation.settle_seconds + operation.reading_seconds
        timing = Timing(self.ledger.device_seconds + operation.settle_seconds, each, count * each)
        self._pass(self._meter.settled(inputs, volts), len(volts) * count)
        return self._readout.add(volts, inputs, self._arrays, timing)

    def recorded(self, inputs: FloatArray, volts: FloatArray, plan: SamplingPlan) -> FloatArray:
        """A record as a converter meets it; volts (batch, time, node) of one period are repeated, all taken as is."""
        settle_seconds = self._operation.settle_seconds
        timing = Timing(
            self.ledger.device_seconds + settle_seconds,
            1.0 / plan.rate_hz,
            settle_seconds + plan.periods / plan.frequency_hz,
        )
        self._pass(self._meter.recorded(inputs, volts, plan), len(volts))
        record = np.tile(volts, (1, plan.sample_count // volts.shape[1], 1))
        return self._readout.add(record, inputs, self._arrays, timing)

    def products(
        self, name: str, volts: FloatArray, amperes: FloatArray, direction: Direction = "forward"
    ) -> FloatArray:
        """Readings of one array alone: currents (batch, sensed) at volts (batch, driven), with their noise."""
        self._pass(self._meter.products(name, volts, direction), len(volts), name)
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
        self._pass(self._meter.cells_read(name), 1, name)
        white = self._white
        if not (white.thermal_bandwidth_hz or white.shot_bandwidth_hz):
            return siemens
        volts = self._meter.reading_volts
        variance = thermal_variance(siemens, self._kelvin, white.thermal_bandwidth_hz)
        variance = variance + shot_variance(siemens * volts, white.shot_fano, white.shot_bandwidth_hz)
        return np.asarray(siemens + np.sqrt(variance) / volts * self._rng.standard_normal(siemens.shape))

    def write(self, request: WriteRequest) -> WriteReport:
        """Carry out a checked write."""
        array = self._arrays[request.coupling]
        self.age((request.coupling,))
        if request.target_siemens is not None:
            return array.write(request)
        before = array.now_siemens
        report = array.write(request)
        # A reset is one pulse.
        counts = np.asarray(request.reset if request.pulses is None else request.pulses, dtype=np.int64)
        self._pass(self._meter.written(request.coupling, counts, before, array.now_siemens, report.pulses), 0)
        return report

    def wait(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            InputError: seconds that are negative or not finite.
        """
        if not (np.isfinite(seconds) and seconds >= 0):
            raise InputError(f"seconds: expected a finite number >= 0, got {seconds!r}")
        self._pass(self._meter.waited(seconds), 0)

    def _pass(self, seconds: float, readings: int, only: str | None = None) -> None:
        for name, array in self._arrays.items():
            array.aging.pass_time(seconds, readings if only in (None, name) else 0)

    def snapshot(self) -> Snapshot:
        """Everything that changes but the arrays."""
        return {
            "ledger": self.ledger.snapshot(),
            "readout": self._readout.snapshot(),
            "generator": self._rng.bit_generator.state,
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back, that of the arrays aside."""
        self.ledger.restore(snapshot["ledger"])
        self._readout.restore(snapshot["readout"])
        self._rng.bit_generator.state = snapshot["generator"]
        self._stale = False
