"""What every update law has: validated parameters, device-to-device spread, and the shape of its step.

The state x of a cell is normalised: x = -1 is the lower and x = +1 the upper end of the conductance window. A
device moves between its own bounds b_min and b_max, which lie inside the window. One pulse in direction d = +-1 does

    x <- clip(x + d s_d (f_d(x) + noise), b_min, b_max),    s_d = step (1 + d beta + spread),

with f_d the relative step of the law (the only thing in which the families differ), s_d and the bounds drawn once
a device, and the noise once a pulse. The formulation, and the meaning of its spreads, follow Gokmen & Vlasov, Front.
Neurosci. 10:333 (2016), doi:10.3389/fnins.2016.00333, and Rasch et al., AICAS 2021, arXiv:2104.02184.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from emulators.memristors.updates.checks import require_choice, require_number, require_pair
from emulators.memristors.updates.retention import Leak, PowerLawDrift, Retention
from substrate.errors import InputError

FloatArray = npt.NDArray[np.float64]
Parameters = Mapping[str, FloatArray]
Draw = Callable[[], FloatArray]

# The kernels' codes of the shapes of f_d that are not affine.
EXPONENTIAL, POWER, PIECEWISE = range(3)

# A device keeps at least this share of its nominal distance from origin to bound, whatever its draw says.
LEAST_RANGE = 0.05


@dataclass(frozen=True, kw_only=True)
class Shape:
    """f_d as the kernels take it (``pulse_kernels.pulse_shaped``).

    ``constants``: the origin, then the family's own. ``cycle_offset``, ``cycle_slope``: pulse noise that does not
    shrink with the step.
    """

    family: int
    constants: FloatArray
    table: FloatArray = field(default_factory=lambda: np.zeros((1, 1)))
    cycle_offset: float = 0.0
    cycle_slope: float = 0.0


@dataclass(frozen=True, kw_only=True)
class UpdateLaw(ABC):
    """How a cell answers to being written. Frozen configuration: the state of cells lives in ``Devices``.

    ``retention``: what is lost between writes (None: nothing). ``programming_noise``: c0, c1, ... of the standard
    deviation that a direct programming to g leaves, sigma/g_max = c0 + c1 (g/g_max) + c2 (g/g_max)^2 + ...
    """

    law: ClassVar[str]
    pulsed: ClassVar[bool]
    one_sided: ClassVar[bool] = False

    retention: Retention | None = None
    programming_noise: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.retention is not None and not isinstance(self.retention, (PowerLawDrift, Leak)):
            raise InputError(f"retention: expected PowerLawDrift, Leak or None, got {self.retention!r}")
        if not isinstance(self.programming_noise, (tuple, list)):
            raise InputError(f"programming_noise: expected a list of coefficients, got {self.programming_noise!r}")
        for index, coefficient in enumerate(self.programming_noise):
            require_number(f"programming_noise[{index}]", coefficient)

    @property
    @abstractmethod
    def start(self) -> float:
        """The state x of a device that was never written."""


@dataclass(frozen=True, kw_only=True)
class PulsedLaw(UpdateLaw):
    """A law whose cells move by pulses. All lengths are in units of x (the window is 2 wide).

    step                mean |change| of one pulse where f = 1
    step_spread         its relative standard deviation from device to device
    step_distribution   "normal": 1 + spread xi, never below 0; "lognormal": exp(spread xi) (median 1)
    asymmetry           beta: up steps are (1 + beta), down steps (1 - beta) times the mean step
    asymmetry_spread    standard deviation of beta from device to device (absolute)
    bound_max/min       mean bounds of the devices, inside [-1, 1]
    bound_spread        standard deviation of a bound's distance from the origin, relative to it; a number, or
                        a pair (upper, lower). Devices are confined to the window (the compliance of the write
                        circuit) and keep at least 5 % of the distance
    cycle_spread        noise of every pulse, relative to the step
    cycle_noise         "multiplicative": f (1 + spread xi); "additive": f + spread xi
    write_noise         standard deviation, in steps, of the offset with which a written state shows itself, drawn
                        anew at each write; the hidden state that the next pulse starts from does not have it
    origin              x of the laws' zero weight: where f = 1 in the affine laws
    """

    pulsed: ClassVar[bool] = True
    deviates: ClassVar[tuple[str, ...]] = ()

    step: float
    step_spread: float = 0.0
    step_distribution: Literal["normal", "lognormal"] = "normal"
    asymmetry: float = 0.0
    asymmetry_spread: float = 0.0
    bound_max: float = 1.0
    bound_min: float = -1.0
    bound_spread: float | tuple[float, float] = 0.0
    cycle_spread: float = 0.0
    cycle_noise: Literal["multiplicative", "additive"] = "multiplicative"
    write_noise: float = 0.0
    origin: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("step", self.step, 0.0, 2.0, open_low=True)
        require_number("step_spread", self.step_spread, 0.0)
        require_choice("step_distribution", self.step_distribution, ("normal", "lognormal"))
        require_number("asymmetry", self.asymmetry, -1.0, 1.0)
        require_number("asymmetry_spread", self.asymmetry_spread, 0.0)
        require_number("bound_min", self.bound_min, -1.0, 1.0, open_high=True)
        require_number("bound_max", self.bound_max, self.bound_min, 1.0, open_low=True)
        require_pair("bound_spread", self.bound_spread, 0.0)
        require_number("cycle_spread", self.cycle_spread, 0.0)
        require_choice("cycle_noise", self.cycle_noise, ("multiplicative", "additive"))
        require_number("write_noise", self.write_noise, 0.0)
        require_number("origin", self.origin, self.bound_min, self.bound_max)
        self._check_shape()

    @abstractmethod
    def _check_shape(self) -> None:
        """Validate the fields that the family adds."""

    @abstractmethod
    def relative_step(self, state: FloatArray, direction: int, parameters: Parameters) -> FloatArray:
        """Return f_d at ``state`` (normalised) for devices of the given parameters; ``direction`` +1 or -1."""

    @property
    def start(self) -> float:
        """The state of a device that was never written: the law's origin."""
        return self.origin

    def sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, FloatArray]:
        """Draw an array of devices: name -> values of ``shape``, lengths in units of x.

        ``bound_max``, ``bound_min``, ``step_up``, ``step_down``, and the family's ``deviates`` (standard normal). The
        number of draws does not depend on the values of the spreads: with the same seed, changing one spread
        changes nothing else about the devices.
        """
        return self._build(lambda: rng.standard_normal(shape))

    def nominal(self) -> dict[str, FloatArray]:
        """Return the parameters of the mean device (spreads zero), each of shape ()."""
        return self._build(lambda: np.zeros(()))

    def mean_step(self, state: FloatArray, direction: int, parameters: Parameters) -> FloatArray:
        """Return the signed mean change of x by one pulse, the bounds not regarded."""
        step = parameters["step_up"] if direction > 0 else parameters["step_down"]
        return direction * step * self.relative_step(state, direction, parameters)

    def _build(self, draw: Draw) -> dict[str, FloatArray]:
        # A device's common gain, then its up/down imbalance: Delta w_d = d step (1 + d beta + spread xi).
        deviate = draw()
        lognormal = self.step_distribution == "lognormal"
        gain = np.exp(self.step_spread * deviate) if lognormal else 1.0 + self.step_spread * deviate
        beta = self.asymmetry + self.asymmetry_spread * draw()
        spread_up, spread_down = require_pair("bound_spread", self.bound_spread, 0.0)
        reach_up = np.maximum(1.0 + spread_up * draw(), LEAST_RANGE) * (self.bound_max - self.origin)
        reach_down = np.maximum(1.0 + spread_down * draw(), LEAST_RANGE) * (self.origin - self.bound_min)
        return {
            "bound_max": np.minimum(self.origin + reach_up, 1.0),
            "bound_min": np.maximum(self.origin - reach_down, -1.0),
            "step_up": self.step * np.maximum(gain + beta, 0.0),
            "step_down": self.step * np.maximum(gain - beta, 0.0),
            **{name: draw() for name in self.deviates},
        }


@dataclass(frozen=True, kw_only=True)
class AffineLaw(PulsedLaw):
    """A pulsed law with f_d = max(0, 1 - k_d (x - x0)), the slopes k_d those of each device."""

    @abstractmethod
    def slopes(self, parameters: Parameters) -> tuple[FloatArray, FloatArray]:
        """Return (k_up, k_down) of devices of the given parameters; k_down <= 0 where steps shrink downwards."""

    def relative_step(self, state: FloatArray, direction: int, parameters: Parameters) -> FloatArray:
        """Return f_d at ``state``: 1 at the origin, never below 0."""
        slope = self.slopes(parameters)[0 if direction > 0 else 1]
        return np.maximum(1.0 - slope * (state - self.origin), 0.0)


@dataclass(frozen=True, kw_only=True)
class ShapedLaw(PulsedLaw):
    """A pulsed law with any other f_d, one of the families that the kernels know."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """f_d in the form that the kernels take."""
