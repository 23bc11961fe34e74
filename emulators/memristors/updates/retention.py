"""What a cell loses while nobody writes it: power-law drift and capacitor leak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from emulators.memristors.updates.checks import require_choice, require_keys, require_number
from substrate.errors import InputError

FloatArray = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True)
class PowerLawDrift:
    """Structural relaxation: g(t) = g0 (t/t0)^-nu, t the time since the cell was last written.

    The stored state is untouched and a write restarts the clock (Nandakumar et al., Front. Neurosci. 14:406, 2020,
    doi:10.3389/fnins.2020.00406). Up to ``reference_seconds`` (t0) after a write nothing is lost.

    ``exponent`` (nu) has the device-to-device standard deviation ``exponent_spread`` (absolute); a device's exponent
    is never below zero. With ``state_dependent`` both fall with the logarithm of the programmed conductance
    as measured on a million-cell PCM chip, and ``exponent`` and ``exponent_spread`` are the floors of that law:
    mean = clip(0.0244 - 0.0155 ln(g/g_max), exponent, 0.1) and
    deviation = clip(-0.0059 - 0.0125 ln(g/g_max), exponent_spread, 0.045)
    (Joshi et al., Nat. Commun. 11:2473, 2020, doi:10.1038/s41467-020-16108-9, as IBM's open PCM statistics state it).
    """

    law: ClassVar[str] = "power_law"
    exponent: float = 0.05
    exponent_spread: float = 0.0
    reference_seconds: float = 20.0
    state_dependent: bool = False

    def __post_init__(self) -> None:
        ceilings = (0.1, 0.045) if self.state_dependent else (1.0, 1.0)
        require_number("retention.exponent", self.exponent, 0.0, ceilings[0])
        require_number("retention.exponent_spread", self.exponent_spread, 0.0, ceilings[1])
        require_number("retention.reference_seconds", self.reference_seconds, 0.0, open_low=True)
        if not isinstance(self.state_dependent, bool):
            raise InputError(f"retention.state_dependent: expected true or false, got {self.state_dependent!r}")

    def factor(self, fraction: FloatArray, age_seconds: FloatArray, deviate: FloatArray) -> FloatArray:
        """Return g(age)/g(programmed) = (age/t0)^-nu, 1 up to the age t0.

        ``fraction``: programmed g/g_max; ``deviate``: a standard normal number a device, fixed at its construction.
        """
        exponent = self.exponents(fraction, deviate)
        return (np.maximum(age_seconds, self.reference_seconds) / self.reference_seconds) ** -exponent

    def exponents(self, fraction: FloatArray, deviate: FloatArray) -> FloatArray:
        """Return nu of devices programmed to ``fraction`` of g_max."""
        if not self.state_dependent:
            return np.maximum(self.exponent + self.exponent_spread * deviate, 0.0)
        # The published law is stated in the logarithm of g/g_max; both clips make its value at g = 0 irrelevant.
        logarithm = np.log(np.maximum(fraction, 1e-12))
        mean = np.clip(0.0244 - 0.0155 * logarithm, self.exponent, 0.1)
        deviation = np.clip(-0.0059 - 0.0125 * logarithm, self.exponent_spread, 0.045)
        return np.maximum(mean + deviation * deviate, 0.0)


@final
@dataclass(frozen=True, kw_only=True)
class Leak:
    """A stored charge that leaks: the state relaxes to the law's origin as exp(-t/tau).

    ``time_constant_seconds`` (tau); its inverse, the leak rate, has the relative device-to-device standard deviation
    ``rate_spread`` and is never below zero (Li et al., VLSI 2018, doi:10.1109/VLSIT.2018.8510648).
    """

    law: ClassVar[str] = "leak"
    time_constant_seconds: float = 1.0
    rate_spread: float = 0.0

    def __post_init__(self) -> None:
        require_number("retention.time_constant_seconds", self.time_constant_seconds, 0.0, open_low=True)
        require_number("retention.rate_spread", self.rate_spread, 0.0)

    def leaked(self, state: FloatArray, origin: float, seconds: float, deviate: FloatArray) -> FloatArray:
        """Return the normalised state after ``seconds`` of leak; a later pulse starts from it.

        ``deviate``: a standard normal number a device, fixed at its construction.
        """
        rate = np.maximum(1.0 + self.rate_spread * deviate, 0.0) / self.time_constant_seconds
        return origin + (state - origin) * np.exp(-seconds * rate)


Retention = PowerLawDrift | Leak

_LAWS: dict[str, type[Retention]] = {PowerLawDrift.law: PowerLawDrift, Leak.law: Leak}


def retention_from_config(mapping: Mapping[str, Any], where: str = "retention") -> Retention:
    """Build a retention law from ``{law: power_law | leak, ...}``; unknown keys raise InputError."""
    law = _LAWS[require_choice(f"{where}.law", mapping.get("law"), _LAWS)]
    parameters = {key: value for key, value in mapping.items() if key != "law"}
    require_keys(where, parameters, [field.name for field in fields(law)])
    return law(**parameters)
