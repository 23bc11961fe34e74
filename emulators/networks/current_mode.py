"""The current-mode family: u = W s + drive at virtual-ground nodes, s = f(u), layers in a chain (physics.md, 1.3).

Everything is in activity units: currents in units of ``Scale.unit_amperes``, time in units of the node time constant,
so that the dynamics are du/dt = -u + W f(u) + drive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.neurons import Neurons
from substrate.arrays import FloatArray, IntArray


@final
@dataclass(frozen=True)
class Block:
    """Weights (source, target) from the nodes ``source`` to the nodes ``target``."""

    source: slice
    target: slice
    weights: FloatArray


@final
class CurrentModeNetwork:
    """The equations of a chain of layers at fixed weights.

    Layers alternate between two groups, and no block joins two layers of a group: with the states of one group given
    (the *pivot*, the smaller), the other follows explicitly. Solvers therefore only iterate on the pivot; the residual
    of the pivot is that of the whole network.

    Args:
        layers: the layers' places on the node axis, in order.
        blocks: the weights between neighbouring layers, both directions.
        neurons: transfer functions of all nodes.
    """

    def __init__(self, layers: Sequence[slice], blocks: Sequence[Block], neurons: Neurons) -> None:
        self.node_count = layers[-1].stop
        self._blocks = tuple(blocks)
        self._neurons = neurons
        groups = [list(layers[0::2]), list(layers[1::2])]
        groups.sort(key=lambda group: sum(layer.stop - layer.start for layer in group))
        if not groups[0]:
            groups.reverse()
        self._pivot, self._other = (self._nodes(group) for group in groups)
        self._to_other = self._dense(self._pivot, self._other)
        self._to_pivot = self._dense(self._other, self._pivot)
        self._pivot_neurons = _pick(neurons, self._pivot)
        self._other_neurons = _pick(neurons, self._other)

    @property
    def pivot(self) -> IntArray:
        """Indices of the pivot nodes."""
        return self._pivot

    def weights(self) -> FloatArray:
        """All weights as one matrix, (source node, target node)."""
        return self._dense(np.arange(self.node_count), np.arange(self.node_count))

    def activity(self, u: FloatArray) -> FloatArray:
        """Neuron outputs for node states ``u`` (..., node)."""
        return self._neurons.activity(u)

    def slope(self, u: FloatArray) -> FloatArray:
        """d(activity)/du (..., node)."""
        return self._neurons.slope(u)

    def image(self, u: FloatArray, drive: FloatArray) -> FloatArray:
        """W f(u) + drive, for (batch, node): the state that ``u`` is drawn to."""
        return self.spread(self._neurons.activity(u)) + drive

    def spread(self, s: FloatArray) -> FloatArray:
        """W s for activities (batch, node)."""
        out = np.zeros_like(s)
        for block in self._blocks:
            out[:, block.target] += s[:, block.source] @ block.weights
        return out

    def complete(self, pivot_u: FloatArray, drive: FloatArray) -> FloatArray:
        """All node states (batch, node) that go with pivot states (batch, pivot)."""
        u = np.empty((len(pivot_u), self.node_count))
        u[:, self._pivot] = pivot_u
        u[:, self._other] = self._pivot_neurons.activity(pivot_u) @ self._to_other + drive[:, self._other]
        return u

    def pivot_image(self, pivot_u: FloatArray, pivot_drive: FloatArray, other_drive: FloatArray) -> FloatArray:
        """The pivot states that pivot states are drawn to, through the other group."""
        other_u = self._pivot_neurons.activity(pivot_u) @ self._to_other + other_drive
        return self._other_neurons.activity(other_u) @ self._to_pivot + pivot_drive

    def split(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(pivot, other) parts of values on the node axis (last)."""
        return values[..., self._pivot], values[..., self._other]

    def _nodes(self, group: Sequence[slice]) -> IntArray:
        parts = [np.arange(layer.start, layer.stop) for layer in group]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def _dense(self, source: IntArray, target: IntArray) -> FloatArray:
        full = np.zeros((self.node_count, self.node_count))
        for block in self._blocks:
            full[block.source, block.target] += block.weights
        return np.ascontiguousarray(full[np.ix_(source, target)])


def _pick(neurons: Neurons, nodes: IntArray) -> Neurons:
    return Neurons(neurons.activation, neurons.gain[nodes], neurons.offset[nodes], neurons.saturation[nodes])
