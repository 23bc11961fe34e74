"""Forming: fresh cells are brought to conduct."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.arrays import FloatArray
from substrate.errors import InputError


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

    def carry_out(self, read: Callable[[], float], pulse: Callable[[float], None]) -> bool:
        """Form one cell.

        Args:
            read: its conductance in siemens.
            pulse: gives it one pulse of these volts.

        Returns:
            Whether it conducts then.
        """
        for volts in self.volts():
            if read() >= self.formed_siemens:
                return True
            pulse(float(volts))
        return read() >= self.formed_siemens
