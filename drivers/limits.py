"""What a device survives: checked in the drivers, whatever is asked of them."""

import math
from dataclasses import dataclass
from typing import final

from substrate.errors import CapabilityError, InputError


@final
@dataclass(frozen=True)
class DriveLimits:
    """Largest drive that may leave an instrument.

    Attributes:
        volts: magnitude at the open output.
        amperes: magnitude, of instruments that limit or source a current.
    """

    volts: float
    amperes: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.volts) and self.volts >= 0):
            raise InputError(f"limits.volts: expected a finite number >= 0, got {self.volts!r}")
        if not self.amperes >= 0:
            raise InputError(f"limits.amperes: expected a number >= 0, got {self.amperes!r}")

    def check_volts(self, name: str, volts: float) -> float:
        """The same value, if it is safe.

        Raises:
            CapabilityError: beyond the limit, or no number.
        """
        if not abs(volts) <= self.volts * (1.0 + 1e-9):
            raise CapabilityError(f"{name}: {volts:.6g} V is beyond the safe limit of {self.volts:.6g} V")
        return float(volts)

    def check_amperes(self, name: str, amperes: float) -> float:
        """The same value, if it is safe.

        Raises:
            CapabilityError: beyond the limit, or no number.
        """
        if not (math.isfinite(amperes) and abs(amperes) <= self.amperes * (1.0 + 1e-9)):
            raise CapabilityError(f"{name}: {amperes:.6g} A is beyond the safe limit of {self.amperes:.6g} A")
        return float(amperes)
