"""What time and readings do to the cells of an array while nobody writes them."""

from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.config import NoiseConfig, ReadDisturbConfig, TemperatureConfig
from emulators.fluctuations import CellFluctuations, arrhenius
from emulators.memristors.devices import Devices
from substrate.arrays import FloatArray
from substrate.contract import Snapshot


@final
@dataclass(frozen=True)
class Surroundings:
    """What the cells of an array are exposed to; ``rng`` draws all that is random about it."""

    noise: NoiseConfig
    temperature: TemperatureConfig
    rng: np.random.Generator


@final
class Aging:
    """Retention, read disturb, and fluctuations of the cells of an array, on the device's clock.

    Time and readings are counted as they pass and act together, when the array is next used.

    Args:
        devices: the cells; retention is that of their update law.
        surroundings: by default room temperature and quiet.
    """

    def __init__(self, devices: Devices, surroundings: Surroundings | None) -> None:
        self._devices = devices
        self._fluctuations: CellFluctuations | None = None
        self._disturb = ReadDisturbConfig()
        self._acceleration = 1.0
        if surroundings is not None:
            temperature = surroundings.temperature
            self._fluctuations = CellFluctuations(devices.shape, surroundings.noise, temperature, surroundings.rng)
            self._disturb = surroundings.noise.read_disturb
            self._acceleration = arrhenius(
                temperature.retention_activation_electronvolts,
                temperature.temperature_kelvin,
                temperature.reference_kelvin,
            )
        self._seconds = 0.0
        self._readings = 0
        self._moved = False

    @property
    def alters(self) -> bool:
        """Whether time or readings change what was programmed, or the circuit sees other conductances than that."""
        fluctuates = self._fluctuations is not None and self._fluctuations.altering
        return fluctuates or self._devices.update.retention is not None or bool(self._disturb.fraction_per_reading)

    def pass_time(self, seconds: float, readings: int) -> None:
        """Count seconds, and readings of every cell."""
        self._seconds += seconds
        self._readings += readings

    def apply(self) -> bool:
        """Let what has been counted act; whether any conductance may have changed."""
        seconds, readings = self._seconds, self._readings
        self._seconds, self._readings = 0.0, 0
        changed, self._moved = self._moved, False
        if seconds and self._devices.update.retention is not None:
            self._devices.drift(seconds * self._acceleration)
            changed = True
        if readings and self._disturb.fraction_per_reading:
            # Relaxing by a fraction n times over.
            share = -np.expm1(readings * np.log1p(-min(self._disturb.fraction_per_reading, 1.0 - 1e-16)))
            self._devices.disturb(float(share), self._disturb.attractor)
            changed = True
        if seconds and self._fluctuations is not None and self._fluctuations.moving:
            self._fluctuations.advance(seconds)
            changed = True
        return changed

    def seen(self, siemens: FloatArray) -> FloatArray:
        """Conductances as the circuit sees them, for those of the cells; the same object where nothing differs."""
        return siemens if self._fluctuations is None else self._fluctuations.seen(siemens)

    def scale(self, factor: float) -> None:
        """Let all cells be seen as ``factor`` times what they are, beside all else: a fault, or a step in temperature.

        No part of snapshots: it is put on from outside, and stays until it is taken off.
        """
        if self._fluctuations is not None:
            self._fluctuations.further_factor = factor
            self._moved = True

    def disturb(self, fraction: float) -> None:
        """Move all cells by a fraction of their way to the upper bound of the window: a fault."""
        self._devices.disturb(fraction, 1.0)
        self._moved = True

    def snapshot(self) -> Snapshot:
        """Everything that changes but the devices."""
        return {
            "seconds": self._seconds,
            "readings": self._readings,
            "fluctuations": self._fluctuations.snapshot() if self._fluctuations is not None else None,
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back."""
        self._seconds, self._readings = float(snapshot["seconds"]), int(snapshot["readings"])
        if self._fluctuations is not None:
            self._fluctuations.restore(snapshot["fluctuations"])
