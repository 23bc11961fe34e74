"""The topology of a network: layers of neurons, the couplings between them, and which array holds which coupling."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final, get_args

from substrate.errors import InputError

Family = Literal["current_mode"]
Feedback = Literal["separate", "shared"]
ACTIVATIONS = ("tanh", "logistic", "soft_rectified")


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
    """A directed coupling: ``source`` activities on the word lines, currents into ``target`` from the bit lines.

    Attributes:
        name: ``source-target``.
        bias: whether one more word line, driven at one activity unit, carries the biases of the target.
        backward: a feedback coupling, from a layer to the one before it.
    """

    name: str
    source: Layer
    target: Layer
    bias: bool
    backward: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(word lines, bit lines) of the array; the bias line is the last word line."""
        return self.source.size + int(self.bias), self.target.size


@final
@dataclass(frozen=True)
class Network:
    """Layers joined in a chain; every hidden and output layer feeds back to the hidden layer before it.

    Attributes:
        sizes: nodes of each layer, inputs first.
        activation: name of the neurons' transfer function, one of ``ACTIVATIONS``.
        feedback: ``separate``: an array for each direction; ``shared``: one array used both ways.

    Raises:
        InputError: fewer than two layers, an empty layer, an unknown activation, feedback or family.
    """

    sizes: tuple[int, ...]
    activation: str = "tanh"
    feedback: Feedback = "separate"
    family: Family = "current_mode"

    def __post_init__(self) -> None:
        if len(self.sizes) < 2:
            raise InputError(f"network.layers: expected at least an input and an output layer, got {list(self.sizes)}")
        if any(size < 1 for size in self.sizes):
            raise InputError(f"network.layers: expected positive sizes, got {list(self.sizes)}")
        if self.activation not in ACTIVATIONS:
            raise InputError(f"network.activation: expected one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        for key, given, known in (
            ("feedback", self.feedback, get_args(Feedback)),
            ("family", self.family, get_args(Family)),
        ):
            if given not in known:
                raise InputError(f"network.{key}: expected one of {', '.join(known)}, got {given!r}")

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
        return tuple(Coupling(f"{a.name}-{b.name}", a, b, bias=True, backward=False) for a, b in pairs)

    @cached_property
    def backward(self) -> tuple[Coupling, ...]:
        """Couplings towards the input, input side first: ``backward[k]`` mirrors ``forward[k + 1]``."""
        pairs = list(zip(self.layers[1:-1], self.layers[2:], strict=True))
        return tuple(Coupling(f"{b.name}-{a.name}", b, a, bias=False, backward=True) for a, b in pairs)

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
