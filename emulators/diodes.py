"""Diodes that clamp the nodes of a resistive network: ideal ones, and those of Shockley's law.

Every node has room for two: one from a rail at ``low_volts`` into the node, which conducts when the node falls below
that rail, and one from the node to a rail at ``high_volts``. A rail at minus or plus infinity is a diode left out.
Rectifying hidden units (Kendall et al. 2020, arXiv 2006.01981; Scellier 2024, PMLR 235) have one rail at 0 and the
other left out; both at 0 is an antiparallel pair.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

import numpy as np

from substrate.arrays import FloatArray
from substrate.errors import InputError

THERMAL_VOLTS = 1.380649e-23 * 300.15 / 1.602176634e-19
"""k T/q at 300.15 K (27 C, where SPICE has its nominal temperature), with the exact constants of the 2019 SI."""

LARGEST_EXPONENT = 650.0
"""Beyond it a diode's exponential is held, so that it stays a number: no current of any circuit is near."""


class Diodes(ABC):
    """The clamps of all nodes; ``volts`` and results are (..., node)."""

    @property
    @abstractmethod
    def box_volts(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest voltage, (node,) each, that the diodes let a node have; infinite where there is none."""

    @property
    @abstractmethod
    def curved(self) -> bool:
        """Whether currents flow that depend on the voltage smoothly; otherwise the box is all there is."""

    @abstractmethod
    def scaled(self, factor: FloatArray) -> Self:
        """The diodes of nodes whose voltages and currents are both counted ``factor`` (node,) times as large."""

    @abstractmethod
    def current_and_slope(self, volts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Amperes that flow out of the diodes into the nodes, and the conductance -dI/dv >= 0 in siemens."""

    @abstractmethod
    def excess(self, volts: FloatArray, step: FloatArray) -> FloatArray:
        """Co-content added by a step of the voltages, less its first order: P(v + s) - P(v) - P'(v) s >= 0, watts.

        P' is the current that the diodes draw from the node.
        """

    @abstractmethod
    def limited(self, volts: FloatArray, step: FloatArray, siemens: FloatArray) -> FloatArray:
        """A Newton step that goes into conduction no further than the diode's tangent in its current allows.

        ``siemens`` (node,): what else hangs on the node, which says where the diode begins to matter.
        """

    @abstractmethod
    def reach_volts(self, amperes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest voltages that the nodes have at up to ``amperes`` (..., node) through a diode."""


@final
@dataclass(frozen=True)
class IdealDiodes(Diodes):
    """Clamps without drop or resistance: low <= v <= high.

    Args:
        low_volts, high_volts: (node,), -inf and +inf where there is no diode; equal ones pin the node.

    Raises:
        InputError: unequal shapes, NaN, or low above high.
    """

    low_volts: FloatArray
    high_volts: FloatArray

    def __post_init__(self) -> None:
        _check_rails(self.low_volts, self.high_volts)

    @property
    def box_volts(self) -> tuple[FloatArray, FloatArray]:
        """The rails."""
        return self.low_volts, self.high_volts

    @property
    def curved(self) -> bool:
        """No."""
        return False

    def scaled(self, factor: FloatArray) -> Self:
        """The same clamps, other units."""
        return type(self)(self.low_volts * factor, self.high_volts * factor)

    def current_and_slope(self, volts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """None inside the box."""
        return np.zeros_like(volts), np.zeros_like(volts)

    def excess(self, volts: FloatArray, step: FloatArray) -> FloatArray:
        """None inside the box."""
        del step
        return np.zeros_like(volts)

    def limited(self, volts: FloatArray, step: FloatArray, siemens: FloatArray) -> FloatArray:
        """The step."""
        del volts, siemens
        return step

    def reach_volts(self, amperes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The rails, at any current."""
        return self.low_volts + 0.0 * amperes, self.high_volts + 0.0 * amperes


@final
@dataclass(frozen=True)
class ShockleyDiodes(Diodes):
    """Clamps of Shockley's law, i = I_s (exp(v/(n V_T)) - 1) (Shockley 1949), without series resistance.

    The law comes near the ideal clamp as n V_T -> 0 with I_s small beside the currents of the circuit: the drop at a
    current i is n V_T ln(1 + i/I_s), the reverse current I_s.

    Args:
        low_volts, high_volts: (node,), rails; -inf and +inf where there is no diode.
        saturation_amperes: I_s, (node,), > 0.
        slope_volts: n V_T, (node,), > 0: emission coefficient times thermal voltage.

    Raises:
        InputError: unequal shapes, NaN, low above high, numbers that are not positive.
    """

    low_volts: FloatArray
    high_volts: FloatArray
    saturation_amperes: FloatArray
    slope_volts: FloatArray

    def __post_init__(self) -> None:
        _check_rails(self.low_volts, self.high_volts)
        for name in ("saturation_amperes", "slope_volts"):
            values = getattr(self, name)
            if np.shape(values) != np.shape(self.low_volts) or not (np.all(values > 0) and np.all(np.isfinite(values))):
                raise InputError(f"{name}: expected finite numbers > 0, one for each of {self.low_volts.size} nodes")

    @classmethod
    def alike(
        cls,
        low_volts: FloatArray,
        high_volts: FloatArray,
        saturation_amperes: float,
        emission: float = 1.0,
        thermal_volts: float = THERMAL_VOLTS,
    ) -> "ShockleyDiodes":
        """One kind of diode at every node."""
        every = np.ones(np.shape(low_volts))
        return cls(low_volts, high_volts, saturation_amperes * every, emission * thermal_volts * every)

    @property
    def box_volts(self) -> tuple[FloatArray, FloatArray]:
        """No bounds."""
        free = np.full(self.low_volts.shape, np.inf)
        return -free, free

    @property
    def curved(self) -> bool:
        """Yes."""
        return True

    def scaled(self, factor: FloatArray) -> Self:
        """The same diodes, other units."""
        return type(self)(
            self.low_volts * factor,
            self.high_volts * factor,
            self.saturation_amperes * factor,
            self.slope_volts * factor,
        )

    def current_and_slope(self, volts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Both diodes of every node."""
        below, above = self._exponents(volts)
        rising, falling = np.exp(below), np.exp(above)
        # A diode left out has the exponent -inf; its reverse current is left out with it.
        reverse = self._present(self.low_volts) - self._present(self.high_volts)
        current = self.saturation_amperes * (rising - falling - reverse)
        return current, (self.saturation_amperes / self.slope_volts) * (rising + falling)

    def excess(self, volts: FloatArray, step: FloatArray) -> FloatArray:
        """Both diodes of every node; the reverse current is linear and adds nothing."""
        below, above = self._exponents(volts)
        x = step / self.slope_volts
        scale = self.saturation_amperes * self.slope_volts
        return np.asarray(scale * (_beyond_tangent(below, -x) + _beyond_tangent(above, x)))

    def limited(self, volts: FloatArray, step: FloatArray, siemens: FloatArray) -> FloatArray:
        """The junction limiting of SPICE (Nagel 1975, memorandum ERL-M520), with the knee where the slopes meet."""
        knee = self.slope_volts * np.log(siemens * self.slope_volts / self.saturation_amperes)
        target = volts + step
        target = _slowed(target, np.maximum(volts, self.high_volts + knee), self.slope_volts)
        target = -_slowed(-target, np.maximum(-volts, knee - self.low_volts), self.slope_volts)
        return np.asarray(target - volts)

    def reach_volts(self, amperes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The rails and the forward drop."""
        drop = self.slope_volts * np.log1p(amperes / self.saturation_amperes)
        return self.low_volts - drop, self.high_volts + drop

    def _exponents(self, volts: FloatArray) -> tuple[FloatArray, FloatArray]:
        below = np.minimum((self.low_volts - volts) / self.slope_volts, LARGEST_EXPONENT)
        above = np.minimum((volts - self.high_volts) / self.slope_volts, LARGEST_EXPONENT)
        return below, above

    @staticmethod
    def _present(rail: FloatArray) -> FloatArray:
        return np.isfinite(rail).astype(np.float64)


def rectified_rails(
    hidden_sizes: Sequence[int], output_size: int, knee_volts: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Rails of a deep resistive network: in every hidden layer the first half >= knee, the rest <= -knee; outputs free.

    Args:
        hidden_sizes: nodes of each hidden layer.
        output_size: nodes of the output layer, which is linear.
        knee_volts: 0 in the published networks.

    Returns:
        low, high, (node,) volts, in layer order.
    """
    lows, highs = [], []
    for size in hidden_sizes:
        first = np.arange(size) < (size + 1) // 2
        lows.append(np.where(first, knee_volts, -np.inf))
        highs.append(np.where(first, np.inf, -knee_volts))
    lows.append(np.full(output_size, -np.inf))
    highs.append(np.full(output_size, np.inf))
    return np.concatenate(lows), np.concatenate(highs)


def _beyond_tangent(exponent: FloatArray, x: FloatArray) -> FloatArray:
    """exp(e) (exp(x) - 1 - x), without overflow and without loss for small x."""
    x = np.minimum(x, LARGEST_EXPONENT - np.maximum(exponent, 0.0))
    curve = np.where(np.abs(x) < 1e-3, x * x * (0.5 + x / 6.0), np.expm1(x) - x)
    return np.asarray(np.exp(exponent) * curve)


def _slowed(target: FloatArray, base: FloatArray, slope: FloatArray) -> FloatArray:
    """Targets above ``base`` come down to base + slope ln(1 + (target - base)/slope)."""
    over = np.maximum(target - base, 0.0)
    return np.asarray(np.where(over > 0.0, target - over + slope * np.log1p(over / slope), target))


def _check_rails(low: FloatArray, high: FloatArray) -> None:
    if np.ndim(low) != 1 or np.shape(low) != np.shape(high):
        raise InputError(f"low_volts, high_volts: expected one each per node, got {np.shape(low)} and {np.shape(high)}")
    wrong = ~(low <= high) | (low == np.inf) | (high == -np.inf)
    if wrong.any():
        node = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"low_volts, high_volts: expected low <= high, got {low[node]} and {high[node]} at node {node}"
        )
