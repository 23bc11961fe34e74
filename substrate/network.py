"""The topology of a network: layers of neurons, the couplings between them, and which array holds which coupling.

Three families (physics.md, 1.3). ``current_mode``: amplifier neurons at virtual grounds; a weight is a differential
pair of cells. ``feedforward``: the same, but that nothing feeds back while the network settles; what carries errors
back are arrays beside it, which are read one at a time. ``resistive``: arrays join the nodes directly, in both
directions at once, and diodes clamp the hidden nodes; a weight is one conductance >= 0, inputs come doubled (+x, -x),
and biases hang on two rails.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, final, get_args

import numpy as np

from substrate.activations import ACTIVATIONS, SMOOTH
from substrate.arrays import FloatArray, IntArray
from substrate.convolution import Window, expanded, gathered, scattered
from substrate.errors import InputError

Family = Literal["current_mode", "resistive", "feedforward"]
Feedback = Literal["separate", "shared", "loop", "none", "direct", "product"]
OutputActivation = Literal["same", "linear"]

FEEDBACKS: Mapping[str, tuple[Feedback, ...]] = {
    "current_mode": ("separate", "shared", "loop"),
    "feedforward": ("none", "separate", "direct", "product"),
    "resistive": ("shared",),
}
"""What each family can have."""

RECTIFIED = "rectified"
"""What the diodes of a resistive network make of its hidden nodes: one half >= 0, the other half <= 0."""

_TRANSFERS: Mapping[str, tuple[str, ...]] = {
    "current_mode": SMOOTH,
    "feedforward": tuple(ACTIVATIONS),
    "resistive": (RECTIFIED,),
}


@final
@dataclass(frozen=True)
class Layer:
    """A layer of ``size`` nodes; ``start`` is its first node among the free nodes.

    -1: held inputs, or the lines between the two arrays of a product feedback, which are no nodes.
    """

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
        window: of a convolution, whose array is used at every place of an image; None: one that joins all nodes of its
            two layers. Backward, the array lies the other way round: from the image that the window makes to the one
            that it reads.
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
    window: Window | None = None

    @property
    def bias(self) -> bool:
        """Whether there are bias lines."""
        return bool(self.bias_lines)

    @property
    def source_lines(self) -> int:
        """Word lines of the source; the bias lines come after them."""
        width = self.source.size if self.source_index is None else self.source_index.shape[1]
        return len(self.line_signs) * width

    @property
    def shape(self) -> tuple[int, int]:
        """(word lines, bit lines) of the array."""
        width = self.target.size if self.target_index is None else self.target_index.shape[1]
        return self.source_lines + len(self.bias_lines), width

    @property
    def positions(self) -> int:
        """Places at which the array is used: 1 but of a convolution."""
        return 1 if self.window is None else self.window.positions

    @property
    def source_index(self) -> IntArray | None:
        """Nodes of the source on the word lines at each place, (place, line); None: all of them, at the only place."""
        if self.window is None:
            return None
        return self.window.target_index if self.backward else self.window.source_index

    @property
    def target_index(self) -> IntArray | None:
        """The same of the target and the bit lines."""
        if self.window is None:
            return None
        return self.window.source_index if self.backward else self.window.target_index

    @property
    def cell_shape(self) -> tuple[int, int, int]:
        """(polarity, word lines, bit lines): all cells of the array."""
        return self.polarities, *self.shape

    def signed(self, cells: FloatArray) -> FloatArray:
        """What cells (polarity, row, column) come to: g+ - g-, or g; (row, column)."""
        return np.asarray(cells[0] - cells[1]) if self.polarities == 2 else cells[0]

    def driven(self, source: FloatArray) -> FloatArray:
        """Values on the source's word lines, (batch * place, line), for those of the source (batch, source)."""
        at_places = source if self.source_index is None else gathered(source, self.source_index)
        if self.line_signs == (1.0,) and self.gain == 1.0:
            return at_places
        return np.concatenate([sign * self.gain * at_places for sign in self.line_signs], axis=1)

    def lines(self, source: FloatArray) -> FloatArray:
        """The same with the activities of the bias lines, (batch * place, row)."""
        driven = self.driven(source)
        rows = np.empty((len(driven), self.shape[0]), dtype=driven.dtype)
        rows[:, : driven.shape[1]], rows[:, driven.shape[1] :] = driven, self.bias_lines
        return rows

    def columns(self, target: FloatArray) -> FloatArray:
        """What belongs to the bit lines, (batch * place, column), of values of the target (batch, target)."""
        return target if self.target_index is None else gathered(target, self.target_index)

    def into_target(self, columns: FloatArray) -> FloatArray:
        """Sums at the target's nodes, (batch, target), of what the bit lines bring (batch * place, column)."""
        return columns if self.target_index is None else scattered(columns, self.target_index, self.target.size)

    def into_source(self, rows: FloatArray) -> FloatArray:
        """The same of the first of the source's word lines, read backwards (batch * place, row): (batch, source)."""
        if self.source_index is None:
            return rows[:, : self.source.size]
        return scattered(rows[:, : self.source_index.shape[1]], self.source_index, self.source.size)

    def block(self, weights: FloatArray) -> FloatArray:
        """The matrix (source, target) that weights (source's line, bit line) come to at all places together."""
        if self.source_index is None or self.target_index is None:
            return weights
        return expanded(weights, self.source_index, self.target_index, (self.source.size, self.target.size))

    def per_place(self, samples: FloatArray) -> FloatArray:
        """Values (batch, ...) of samples, repeated for their places, (batch * place, ...)."""
        return samples if self.window is None else np.repeat(samples, self.positions, axis=0)

    def outer(self, rows: FloatArray, columns: FloatArray) -> FloatArray:
        """Sum over places of each sample's products, (batch, row, column), of unrolled rows and columns."""
        if self.window is None:
            return rows[:, :, None] * columns[:, None, :]
        shape = len(rows) // self.positions, self.positions
        return rows.reshape(*shape, -1).transpose(0, 2, 1) @ columns.reshape(*shape, -1)


@final
@dataclass(frozen=True)
class Network:
    """Layers joined in a chain.

    Attributes:
        sizes: nodes of each layer, inputs first; of doubled inputs, the features.
        activation: name of the hidden neurons' transfer function: in ``activations.SMOOTH`` of a current-mode network,
            in ``activations.ACTIVATIONS`` of a feedforward one, ``RECTIFIED`` of a resistive one.
        feedback: of a current-mode network ``separate``: every hidden and output layer feeds back to the hidden layer
            before it, by an array for each direction; ``shared``: by the one array used both ways, as all are that join
            nodes directly; ``loop``: the output feeds back to the first hidden layer, no two layers to each other. Of a
            feedforward network, arrays beside it: ``none``; ``separate``: one from each layer to the hidden layer
            before; ``direct``: one from the output to each hidden layer; ``product``: two in a row from each layer to
            the hidden layer before it (arXiv 2405.20594), with ``product_ratio`` times as many lines between them as
            the layer has nodes.
        family: how nodes and arrays are joined.
        amplifier_gain: A of the bidirectional amplifiers between the layers of a resistive network, but for the
            inputs; 1: none.
        rail: activity of the bias rails, +rail and -rail, of a resistive network.
        output_activation: ``linear`` for outputs s = u; ``same`` as the hidden neurons'.
        product_ratio: see ``feedback``.
        windows: of the convolutions among the layers after the first, None of the others; () if there are none.
        fast_arrays: beside every array of weights there is another of its size, that takes no part in the dynamics and
            gathers changes before they are transferred (``tiki_taka``).

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
    output_activation: OutputActivation = "same"
    product_ratio: int = 1
    windows: tuple[Window | None, ...] = ()
    fast_arrays: bool = False

    def __post_init__(self) -> None:
        if len(self.sizes) < 2:
            raise InputError(f"network.layers: expected at least an input and an output layer, got {list(self.sizes)}")
        if any(size < 1 for size in self.sizes):
            raise InputError(f"network.layers: expected positive sizes, got {list(self.sizes)}")
        for key, given, known in (
            ("family", self.family, get_args(Family)),
            ("feedback", self.feedback, FEEDBACKS.get(self.family, ())),
            ("activation", self.activation, _TRANSFERS.get(self.family, ())),
            ("output_activation", self.output_activation, get_args(OutputActivation)),
        ):
            if given not in known:
                family = "" if key == "family" else f" in a {self.family} network"
                raise InputError(f"network.{key}: expected one of {', '.join(known)}{family}, got {given!r}")
        if self.feedback == "loop" and len(self.sizes) < 4:
            raise InputError("network.feedback: a loop needs two hidden layers, or it is two layers to each other")
        if not self.resistive and self.amplifier_gain != 1.0:
            raise InputError("network.amplifier_gain: belongs to the resistive family; expected 1")
        if self.resistive and self.output_activation != "same":
            raise InputError("network.output_activation: the outputs of a resistive network are linear; expected same")
        for key, value in (("amplifier_gain", self.amplifier_gain), ("rail", self.rail)):
            if not 0.0 < value < np.inf:
                raise InputError(f"network.{key}: expected a positive number, got {value}")
        if self.product_ratio < 1 or (self.product_ratio != 1 and self.feedback != "product"):
            raise InputError(
                f"network.product_ratio: belongs to the feedback product, >= 1; expected 1, got {self.product_ratio}"
            )
        self._check_windows()

    def _check_windows(self) -> None:
        if not self.convolutional:
            return
        if self.resistive or self.feedback == "product":
            raise InputError(
                "network.layers: convolutions belong to current-mode and feedforward networks, and not to the feedback "
                "product; expected sizes"
            )
        fitting = len(self.windows) == len(self.sizes) - 1 and all(
            window is None or (math.prod(window.source), math.prod(window.target)) == pair
            for window, pair in zip(self.windows, zip(self.sizes[:-1], self.sizes[1:], strict=True), strict=True)
        )
        if not fitting:
            raise InputError("network.layers: the windows of the convolutions do not fit the layers' sizes")

    @property
    def convolutional(self) -> bool:
        """Whether there are convolutions."""
        return any(window is not None for window in self.windows)

    @property
    def feedforward(self) -> bool:
        """Whether nothing feeds back while the network settles."""
        return self.family == "feedforward"

    @property
    def alternating(self) -> bool:
        """Whether the free layers can be split in two groups such that no two of a group are joined."""
        return self.feedback != "loop" or len(self.sizes) % 2 == 1

    @property
    def linear_outputs(self) -> bool:
        """Whether the outputs of amplifier neurons are s = u, other than the hidden ones'."""
        return self.output_activation == "linear" and self.activation != "linear"

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
            windows = self.windows or (None,) * len(pairs)
            return tuple(
                Coupling(f"{a.name}-{b.name}", a, b, bias_lines=(1.0,), backward=False, window=window)
                for (a, b), window in zip(pairs, windows, strict=True)
            )
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
        """Couplings towards the input, input side first.

        Separate or shared, ``backward[k]`` mirrors ``forward[k + 1]``; of a product, ``backward[2k]`` leads from its
        target to the lines between the two arrays, and ``backward[2k + 1]`` from there to its source.
        """
        if self.feedback == "none":
            return ()
        if self.feedback == "loop":
            return (_feedback(self.output, self.layers[1]),)
        if self.feedback == "direct":
            return tuple(_feedback(self.output, layer) for layer in self.layers[1:-1])
        inner = self.forward[1:]
        if self.feedback != "product":
            return tuple(_feedback(c.target, c.source, c.window) for c in inner)
        couplings = []
        for index, coupling in enumerate(inner, start=1):
            between = Layer(f"product{index}", self.product_ratio * coupling.target.size, -1)
            couplings += [_feedback(coupling.target, between), _feedback(between, coupling.source)]
        return tuple(couplings)

    @cached_property
    def weight_arrays(self) -> tuple[Coupling, ...]:
        """The couplings that have an array of cells of their own."""
        return self.forward if self.feedback == "shared" else self.forward + self.backward

    @cached_property
    def arrays(self) -> tuple[Coupling, ...]:
        """All arrays of cells: those of the couplings, and the fast ones beside them."""
        if not self.fast_arrays:
            return self.weight_arrays
        return self.weight_arrays + tuple(self.fast(coupling) for coupling in self.weight_arrays)

    def fast(self, coupling: Coupling) -> Coupling:
        """The fast array beside that of a coupling; it has the same lines."""
        return replace(coupling, name=f"{coupling.name}-fast")

    @property
    def settling(self) -> tuple[Coupling, ...]:
        """The arrays that take part while the network settles; the others are only ever read alone."""
        return self.forward if self.feedforward else self.weight_arrays

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


def _feedback(source: Layer, target: Layer, window: Window | None = None) -> Coupling:
    return Coupling(f"{source.name}-{target.name}", source, target, bias_lines=(), backward=True, window=window)
