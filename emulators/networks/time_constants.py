"""What makes a current-mode network slow: the capacitance of its nodes and lines and the bandwidth of its amplifiers.

    tau du/dt = -u + W s + drive(t),        tau_a ds/dt = f(u) - s,

with a pair (tau, tau_a) of each node; tau_a = 0 is an amplifier without delay, s = f(u). A summing node of capacitance
C beside the resistance 1/g_unit has tau = C/g_unit (physics.md, 1.3); an amplifier of bandwidth f_a (-3 dB) has tau_a =
1/(2 pi f_a).
"""

from dataclasses import dataclass
from typing import Self, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from substrate.arrays import FloatArray, finite
from substrate.errors import InputError

ComplexArray: TypeAlias = NDArray[np.complex128]


@final
@dataclass(frozen=True)
class TimeConstants:
    """The time constants of all free nodes.

    Attributes:
        node_seconds: (node,) of the summing nodes, > 0.
        amplifier_seconds: (node,) of the amplifiers, >= 0.

    Raises:
        InputError: a shape, sign or value that is not one of these.
    """

    node_seconds: FloatArray
    amplifier_seconds: FloatArray

    def __post_init__(self) -> None:
        node = finite("node_seconds", self.node_seconds, (None,))
        amplifier = finite("amplifier_seconds", self.amplifier_seconds, (len(node),))
        if np.any(node <= 0):
            raise InputError(f"node_seconds: expected positive time constants, got {node.min():g}")
        if np.any(amplifier < 0):
            raise InputError(f"amplifier_seconds: expected time constants >= 0, got {amplifier.min():g}")
        object.__setattr__(self, "node_seconds", node)
        object.__setattr__(self, "amplifier_seconds", amplifier)

    @classmethod
    def uniform(cls, count: int, node_seconds: float, amplifier_seconds: float = 0.0) -> Self:
        """The same for ``count`` nodes."""
        return cls(np.full(count, float(node_seconds)), np.full(count, float(amplifier_seconds)))

    @classmethod
    def of_circuit(
        cls,
        count: int,
        unit_siemens: float,
        node_farads: ArrayLike,
        line_farads: ArrayLike = 0.0,
        amplifier_hertz: ArrayLike = np.inf,
    ) -> Self:
        """From capacitances and bandwidths, scalars or (node,).

        The capacitance ``line_farads`` of the lines that end in a node is lumped into it: their wires are far less
        resistive than 1/``unit_siemens``, so that the line charges together with the node.

        Raises:
            InputError: the time constants that come out are not positive.
        """
        if not (np.isfinite(unit_siemens) and unit_siemens > 0):
            raise InputError(f"unit_siemens: expected a positive number, got {unit_siemens}")
        farads = np.broadcast_to(np.add(node_farads, line_farads), (count,))
        hertz = np.broadcast_to(np.asarray(amplifier_hertz, dtype=np.float64), (count,))
        if not np.all(hertz > 0):
            raise InputError(f"amplifier_hertz: expected positive bandwidths, got {hertz.min():g}")
        return cls(farads / unit_siemens, 1.0 / (2.0 * np.pi * hertz))

    @property
    def count(self) -> int:
        """Nodes."""
        return len(self.node_seconds)

    @property
    def delayed(self) -> bool:
        """Whether any amplifier has a time constant."""
        return bool(np.any(self.amplifier_seconds > 0))

    def node_response(self, omega: FloatArray) -> ComplexArray:
        """1/(1 + i omega tau), (omega, node), for angular frequencies (omega,) in radians a second."""
        return np.asarray(1.0 / (1.0 + 1j * omega[:, None] * self.node_seconds))

    def amplifier_response(self, omega: FloatArray) -> ComplexArray:
        """1/(1 + i omega tau_a), (omega, node)."""
        return np.asarray(1.0 / (1.0 + 1j * omega[:, None] * self.amplifier_seconds))

    def check(self, count: int) -> None:
        """Raise InputError unless there are ``count`` nodes."""
        if self.count != count:
            raise InputError(f"time constants: expected those of {count} nodes, got {self.count}")
