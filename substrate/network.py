"""The topology of a network: layers of neurons, the couplings between them, and which array holds which coupling.

Two families (physics.md, 1.3). ``current_mode``: amplifier neurons at virtual grounds; a weight is a differential pair
of cells. ``resistive``: arrays join the nodes directly, in both directions at once, and diodes clamp the hidden nodes;
a weight is one conductance >= 0, inputs come doubled (+x, -x), and biases hang on two rails.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final, get_args

import numpy as np

from substrate.arrays import FloatArray
from substrate.errors import InputError

Family = Literal["current_mode", "resistive"]
Feedback = Literal["separate", "shared"]
ACTIVATIONS = ("tanh", "logistic", "soft_rectified")
"""Transfer functions of current-mode neurons."""

RECTIFIED = "rectified"
"""What the diodes of a resistive network make of its hidden nodes: one half >= 0, the other half <= 0."""


@final
@dataclass(frozen=True)
class Layer:
    """A layer of ``size`` nodes; ``start`` is its first node among the free nodes (-1: held inputs)."""

    name: str
    size: int
    start: int

    @property
    def nodes(self) -> slice:
        """The layer's place on the node axis of records."""
        return slice(self.start, self.start + self.size)


@final
@dataclass(frozen=True)
class Coupling:
    """A coupling: ``source`` activities on the word lines of an array, ``target`` on its bit lines.

    Attributes:
        name: ``source-target``.
        bias_lines: activities at which further word lines are held, for the biases of the target.
        backward: a feedback coupling, from a layer to the one before it.
        line_signs: how often, and with which signs, the source is on the word lines: (1, -1) is a doubled input.
        polarities: cells of a weight: 2, w = (g+ - g-)/unit; 1, w = g/unit.
        gain: A of the amplifiers between source and word lines, bidirectional: the source sees 1/A of the currents.
        conjugate_scale: A^{2n}, n the amplifiers between the target and the output (physics.md, 1.3).
    """

    name: str
    source: Layer
    target: Layer
    bias_lines: tuple[float, ...]
    backward: bool
    line_signs: tuple[float, ...] = (1.0,)
    polarities: int = 2
    gain: float = 1.0
    conjugate_scale: float = 1.0

    @property
    def bias(self) -> bool:
        """Whether there are bias lines."""
        return bool(self.bias_lines)

    @property
    def source_lines(self) -> int:
        """Word lines of the source; the bias lines come after them."""
        return len(self.line_signs) * self.source.size

    @property
    def shape(self) -> tuple[int, int]:
        """(word lines, bit lines) of the array."""
        return self.source_lines + len(self.bias_lines), self.target.size

    @property
    def cell_shape(self) -> tuple[int, int, int]:
        """(polarity, word lines, bit lines): all cells of the array."""
        return self.polarities, *self.shape

    def signed(self, cells: FloatArray) -> FloatArray:
        """What cells (polarity, row, column) come to: g+ - g-, or g; (row, column)."""
        return np.asarray(cells[0] - cells[1]) if self.polarities == 2 else cells[0]

    def lines(self, source: FloatArray) -> FloatArray:
        """Activities on all word lines, (batch, row), for those of the source (batch, source)."""
        driven = [sign * self.gain * source for sign in self.line_signs]
        held = np.tile(np.array(self.bias_lines), (len(source), 1))
        return np.concatenate([*driven, held], axis=1)


@final
@dataclass(frozen=True)
class Network:
    """Layers joined in a chain; every hidden and output layer feeds back to the hidden layer before it.

    Attributes:
        sizes: nodes of each layer, inputs first; of doubled inputs, the features.
        activation: name of the neurons' transfer function, one of ``ACTIVATIONS``, or ``RECTIFIED`` of a resistive
            network.
        feedback: ``separate``: an array for each direction; ``shared``: one array used both ways, as all are that join
            nodes directly.
        family: how nodes and arrays are joined.
        amplifier_gain: A of the bidirectional amplifiers between the layers of a resistive network, but for the
            inputs; 1: none.
        rail: activity of the bias rails, +rail and -rail, of a resistive network.

    Raises:
        InputError: fewer than two layers, an empty layer, an unknown activation, feedback or family, or what does not
            belong to the family.
    """

    sizes: tuple[int, ...]
    activation: str = "tanh"
    feedback: Feedback = "separate"
    family: Family = "current_mode"
    amplifier_gain: float = 1.0
    rail: float = 1.0

    def __post_init__(self) -> None:
        if len(self.sizes) < 2:
            raise InputError(f"network.layers: expected at least an input and an output layer, got {list(self.sizes)}")
        if any(size < 1 for size in self.sizes):
            raise InputError(f"network.layers: expected positive sizes, got {list(self.sizes)}")
        for key, given, known in (
            ("feedback", self.feedback, get_args(Feedback)),
            ("family", self.family, get_args(Family)),
        ):
            if given not in known:
                raise InputError(f"network.{key}: expected one of {', '.join(known)}, got {given!r}")
        activations = (RECTIFIED,) if self.resistive else ACTIVATIONS
        if self.activation not in activations:
            raise InputError(f"network.activation: expected one of {', '.join(activations)}, got {self.activation!r}")
        if self.resistive and self.feedback != "shared":
            raise InputError("network.feedback: the arrays of a resistive network work both ways; expected shared")
        if not self.resistive and self.amplifier_gain != 1.0:
            raise InputError("network.amplifier_gain: belongs to the resistive family; expected 1")
        for key, value in (("amplifier_gain", self.amplifier_gain), ("rail", self.rail)):
            if not 0.0 < value < np.inf:
                raise InputError(f"network.{key}: expected a positive number, got {value}")

    @property
    def resistive(self) -> bool:
        """Whether the arrays join the nodes directly."""
        return self.family == "resistive"

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Input, hidden1, hidden2, ..., output."""
        names = ["input", *(f"hidden{index}" for index in range(1, len(self.sizes) - 1)), "output"]
        starts = [-1, *(sum(self.sizes[1:index]) for index in range(1, len(self.sizes)))]
        return tuple(Layer(*spec) for spec in zip(names, self.sizes, starts, strict=True))

    @cached_property
    def forward(self) -> tuple[Coupling, ...]:
        """Couplings towards the output, input side first."""
        pairs: Sequence[tuple[Layer, Layer]] = list(zip(self.layers[:-1], self.layers[1:], strict=True))
        if not self.resistive:
            return tuple(Coupling(f"{a.name}-{b.name}", a, b, bias_lines=(1.0,), backward=False) for a, b in pairs)
        return tuple(
            Coupling(
                f"{a.name}-{b.name}",
                a,
                b,
                bias_lines=(self.rail, -self.rail),
                backward=False,
                line_signs=(1.0,) if a.start >= 0 else (1.0, -1.0),
                polarities=1,
                gain=self.amplifier_gain if a.start >= 0 else 1.0,
                conjugate_scale=self.amplifier_gain ** (2 * (len(pairs) - 1 - index)),
            )
            for index, (a, b) in enumerate(pairs)
        )

    @cached_property
    def backward(self) -> tuple[Coupling, ...]:
        """Couplings towards the input, input side first: ``backward[k]`` mirrors ``forward[k + 1]``."""
        pairs = list(zip(self.layers[1:-1], self.layers[2:], strict=True))
        return tuple(Coupling(f"{b.name}-{a.name}", b, a, bias_lines=(), backward=True) for a, b in pairs)

    @cached_property
    def arrays(self) -> tuple[Coupling, ...]:
        """The couplings that have an array of cells of their own."""
        return self.forward if self.feedback == "shared" else self.forward + self.backward

    def mirror(self, coupling: Coupling) -> Coupling | None:
        """The coupling in the opposite direction between the same two layers, if there is one."""
        name = f"{coupling.target.name}-{coupling.source.name}"
        return next((other for other in self.forward + self.backward if other.name == name), None)

    def array(self, name: str) -> Coupling:
        """The coupling of this name that has an array.

        Raises:
            InputError: there is none; names those there are.
        """
        for coupling in self.arrays:
            if coupling.name == name:
                return coupling
        raise InputError(f"coupling {name!r}: expected one of {', '.join(c.name for c in self.arrays)}")

    @property
    def input_size(self) -> int:
        """Held input nodes."""
        return self.sizes[0]

    @property
    def node_count(self) -> int:
        """Free nodes: hidden and output, in this order on every node axis."""
        return sum(self.sizes[1:])

    @property
    def output(self) -> Layer:
        """The last layer."""
        return self.layers[-1]
