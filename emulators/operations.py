"""What goes with every operation of an emulated network: its cost, the time it takes, and the noise of its readings."""

from collections.abc import Mapping
from typing import final

import numpy as np

from emulators.array_operations import ArrayOperations
from emulators.arrays import DifferentialArray
from emulators.config import EmulatorConfig
from emulators.ledger import EnergyMeter
from emulators.readout import Readout, Timing
from substrate.arrays import FloatArray
from substrate.contract import Scale, Snapshot
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

    Attributes:
        ledger: what everything has cost.
        alone: operations on one array, the rest of the network silent.
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
        self._meter = EnergyMeter(network, arrays, config, scale.volts_per_unit)
        self.ledger = self._meter.ledger
        readout_rng, alone_rng = rng.spawn(2)
        self.alone = ArrayOperations(arrays, config, self._meter.alone, alone_rng)
        self._readout = Readout(
            network,
            config.noise,
            config.temperature.temperature_kelvin,
            scale.volts_per_unit,
            scale.unit_siemens,
            readout_rng,
        )

    def settled(self, inputs: FloatArray, volts: FloatArray) -> FloatArray:
        """Readings, each after a settling of its own: the volts (batch, reading, node) that a converter meets."""
        operation, count = self._operation, volts.shape[1]
        each = operation.settle_seconds + operation.reading_seconds
        timing = Timing(self.ledger.device_seconds + operation.settle_seconds, each, count * each)
        self.alone.pass_time(self._meter.settled(inputs, volts), len(volts) * count)
        return self._readout.add(volts, inputs, self._arrays, timing)

    def recorded(self, inputs: FloatArray, volts: FloatArray, plan: SamplingPlan) -> FloatArray:
        """A record as a converter meets it; volts (batch, time, node) of one period are repeated, all taken as is."""
        settle_seconds = self._operation.settle_seconds
        timing = Timing(
            self.ledger.device_seconds + settle_seconds,
            1.0 / plan.rate_hz,
            settle_seconds + plan.periods / plan.frequency_hz,
        )
        self.alone.pass_time(self._meter.recorded(inputs, volts, plan), len(volts))
        record = np.tile(volts, (1, plan.sample_count // volts.shape[1], 1))
        return self._readout.add(record, inputs, self._arrays, timing)

    def snapshot(self) -> Snapshot:
        """Everything that changes but the arrays."""
        return {
            "ledger": self.ledger.snapshot(),
            "readout": self._readout.snapshot(),
            "generator": self.alone.snapshot(),
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back, that of the arrays aside."""
        self.ledger.restore(snapshot["ledger"])
        self._readout.restore(snapshot["readout"])
        self.alone.restore(snapshot["generator"])
