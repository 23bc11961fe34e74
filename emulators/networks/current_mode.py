"""The current-mode family: u = W s + drive at virtual-ground nodes, s = f(u), layers in a chain (physics.md, 1.3).

Everything is in activity units: currents in units of ``Scale.unit_amperes``, time in units of the node time constant,
so that the dynamics are du/dt = -u + W f(u) + drive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, final

import numpy as np

from emulators.networks.complex_states import HolomorphicEquations, Passage
from emulators.networks.equations import Equations, alternate
from emulators.neurons import KERNEL_KINDS, Neurons
from substrate.arrays import FloatArray, IntArray

KernelNet: TypeAlias = tuple[int, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]
"""A network as the compiled kernels take it: kind of activation, gain, offset, saturation, to_other, to_pivot."""

KERNEL_PIVOT = 48
"""Largest pivot that the compiled kernels, whose work a sample grows with its square and cube, are the faster for."""

KERNEL_WEIGHTS = 16384
"""Largest number of weights from pivot to other nodes for which they are."""


@final
@dataclass(frozen=True)
class Block:
    """Weights (source, target) from the nodes ``source`` to the nodes ``target``."""

    source: slice
    target: slice
    weights: FloatArray


@final
class CurrentModeNetwork(Equations, HolomorphicEquations):
    """The equations of a chain of layers at fixed weights.

    Layers alternate between two groups, and no block joins two layers of a group: with the states of one group given
    (the *pivot*, the smaller), the other follows explicitly. Solvers therefore only iterate on the pivot; the residual
    of the pivot is that of the whole network. They keep nodes in *solver order*, pivot first: arrays in that order are
    called ``x``, arrays in the order of the layers ``u``.

    Args:
        layers: the layers' places on the node axis, in order.
        blocks: the weights between neighbouring layers, both directions.
        neurons: transfer functions of all nodes.

    Attributes:
        layers, blocks, neurons: the arguments.
    """

    def __init__(self, layers: Sequence[slice], blocks: Sequence[Block], neurons: Neurons) -> None:
        self.node_count = layers[-1].stop
        self.layers = tuple(layers)
        self.blocks = tuple(blocks)
        self.neurons = neurons
        groups = alternate(layers)
        places: dict[int, int] = {}
        order: list[IntArray] = []
        for group in groups:
            start = 0
            for layer in group:
                places[layer.start] = start
                start += layer.stop - layer.start
                order.append(np.arange(layer.start, layer.stop))
        pivot_starts = {layer.start for layer in groups[0]}
        self.order: IntArray = np.concatenate(order)
        self.pivot_count = sum(layer.stop - layer.start for layer in groups[0])
        self._pivot_starts, self._places = pivot_starts, places

    @cached_property
    def _arranged(self) -> Neurons:
        return self.neurons.pick(self.order)

    @cached_property
    def _pivot_neurons(self) -> Neurons:
        return self._arranged.part(slice(0, self.pivot_count))

    @cached_property
    def _other_neurons(self) -> Neurons:
        return self._arranged.part(slice(self.pivot_count, self.node_count))

    @cached_property
    def _to_other(self) -> FloatArray:
        return self._joined(to_other=True)

    @cached_property
    def _to_pivot(self) -> FloatArray:
        return self._joined(to_other=False)

    def _joined(self, *, to_other: bool) -> FloatArray:
        """The blocks from the pivot to the other nodes, or back, as one matrix; steps never ask for it."""
        shape = self.pivot_count, self.node_count - self.pivot_count
        matrix = np.zeros(shape if to_other else shape[::-1])
        for block in self.blocks:
            if (block.source.start in self._pivot_starts) == to_other:
                row, column = self._places[block.source.start], self._places[block.target.start]
                rows, columns = block.weights.shape
                matrix[row : row + rows, column : column + columns] += block.weights
        return matrix

    @cached_property
    def kernel(self) -> KernelNet | None:
        """What the compiled kernels take, in solver order; None where the network is too large for them to pay.

        Or where its neurons are not all of one kind.
        """
        neurons = self._arranged
        if self.pivot_count > KERNEL_PIVOT or self._to_other.size > KERNEL_WEIGHTS or neurons.linear is not None:
            return None
        kind = KERNEL_KINDS[neurons.activation]
        return kind, neurons.gain, neurons.offset, neurons.saturation, self._to_other, self._to_pivot

    @property
    def passages(self) -> tuple[tuple[Passage, ...], tuple[Passage, ...]]:
        """From the pivot to the other nodes, and from these to the pivot, in solver order."""
        return (Passage(self._to_other),), (Passage(self._to_pivot),)

    @property
    def inside(self) -> tuple[Passage, ...]:
        """Layers alternate."""
        return ()

    @property
    def arranged_neurons(self) -> Neurons:
        """Neurons of all nodes, in solver order."""
        return self._arranged

    @property
    def slopes_an_instant(self) -> int:
        """None."""
        return 0

    @property
    def groups(self) -> tuple[IntArray, IntArray]:
        """Indices of the pivot nodes and of the others; both rise, so that each group keeps the order of the layers."""
        return self.order[: self.pivot_count], self.order[self.pivot_count :]

    def currents(self, s: FloatArray) -> FloatArray:
        """W s for activities (..., node), in the order of the layers."""
        pivot, other = self.groups
        out = np.empty_like(s)
        out[..., other] = s[..., pivot] @ self._to_other
        out[..., pivot] = s[..., other] @ self._to_pivot
        return out

    def weights(self) -> FloatArray:
        """All weights as one matrix, (source node, target node)."""
        full = np.zeros((self.node_count, self.node_count))
        for block in self.blocks:
            full[block.source, block.target] += block.weights
        return full

    def weights_at(self, s: FloatArray) -> FloatArray:
        """The same everywhere."""
        del s
        return self.weights()

    def couplings_at(self, s: FloatArray) -> tuple[FloatArray, FloatArray, None]:
        """The same everywhere."""
        del s
        return self._to_other, self._to_pivot, None

    def activity(self, u: FloatArray) -> FloatArray:
        """Neuron outputs for node states ``u`` (..., node)."""
        return self.neurons.activity(u)

    def slope(self, u: FloatArray) -> FloatArray:
        """d(activity)/du (..., node)."""
        return self.neurons.slope(u)

    def image(self, u: FloatArray, drive: FloatArray) -> FloatArray:
        """W f(u) + drive, for (batch, node): the state that ``u`` is drawn to."""
        s = self.neurons.activity(u)
        out = drive.copy()
        for block in self.blocks:
            out[:, block.target] += s[:, block.source] @ block.weights
        return out

    def arrange(self, values: FloatArray) -> FloatArray:
        """Values (..., node) in solver order, contiguous."""
        return np.ascontiguousarray(values[..., self.order])

    def restore(self, values: FloatArray) -> FloatArray:
        """Values (..., node) in solver order back in the order of the layers."""
        out = np.empty_like(values)
        out[..., self.order] = values
        return out

    def force(self, x: FloatArray, drive: FloatArray) -> FloatArray:
        """-x + W f(x) + drive, (batch, node), in solver order."""
        return self._spread(self._arranged.activity(x), drive - x)

    def complete(self, pivot: FloatArray, drive: FloatArray) -> FloatArray:
        """All node states (batch, node) that go with pivot states (batch, pivot), in solver order."""
        other = self._pivot_neurons.activity(pivot) @ self._to_other + drive[:, self.pivot_count :]
        return np.concatenate([pivot, other], axis=1)

    def pivot_force(self, pivot: FloatArray, drive: FloatArray) -> FloatArray:
        """What the pivot states are drawn to through the other group, less themselves, (batch, pivot)."""
        other = self._pivot_neurons.activity(pivot) @ self._to_other
        other += drive[:, self.pivot_count :]
        force = self._other_neurons.activity(other) @ self._to_pivot
        force += drive[:, : self.pivot_count]
        force -= pivot
        return force

    def arranged_slope(self, x: FloatArray) -> FloatArray:
        """d(activity)/du for states (batch, node), all in solver order."""
        return self._arranged.slope(x)

    def tangent(self, slope: FloatArray, v: FloatArray) -> FloatArray:
        """W diag(slope) v, (batch, node), in solver order."""
        return self._spread(slope * v, np.zeros_like(v))

    def pivot_tangent(self, slope: FloatArray, v: FloatArray) -> FloatArray:
        """The same twice over, from pivot to pivot, (batch, pivot)."""
        other = (slope[:, : self.pivot_count] * v) @ self._to_other
        other *= slope[:, self.pivot_count :]
        return np.asarray(other @ self._to_pivot)

    def _spread(self, s: FloatArray, out: FloatArray) -> FloatArray:
        """Add W s to ``out``."""
        count = self.pivot_count
        out[:, count:] += s[:, :count] @ self._to_other
        out[:, :count] += s[:, count:] @ self._to_pivot
        return out
