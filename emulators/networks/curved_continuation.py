"""Networks of curved cells that no wires join, as equations that may be continued to complex activities.

Without wires a line's current is a sum of g phi(v): entire where phi(v) = (exp(a v) - exp(-b v))/(a + b). Read
backwards such a cell has a and b in each other's places. Cells behind wires or access devices are solved for their
voltages, and a transistor's square law joins two branches: those are no such equations.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np

from emulators.networks.complex_states import HolomorphicEquations, Passage
from emulators.neurons import Neurons
from substrate.arrays import IntArray


@final
class AnalyticCells(HolomorphicEquations):
    """Arrays between layers.

    Args:
        groups: pivot nodes and the others.
        neurons: of all nodes, in the order of the layers.
        arrays: source and target layer of each, and the currents that pass.
    """

    def __init__(
        self, groups: tuple[IntArray, IntArray], neurons: Neurons, arrays: Sequence[tuple[slice, slice, Passage]]
    ) -> None:
        self.node_count = sum(len(group) for group in groups)
        self._groups = groups
        self._neurons = neurons.pick(np.concatenate(groups))
        pivot, other = groups
        place = np.empty(self.node_count, dtype=np.int64)
        place[pivot], place[other] = np.arange(len(pivot)), np.arange(len(other))
        empty = Passage(np.zeros((len(pivot), len(other)))), Passage(np.zeros((len(other), len(pivot))))
        towards: tuple[list[Passage], list[Passage]] = ([empty[0]], [empty[1]])
        within: list[Passage] = []
        for source, target, passage in arrays:
            from_pivot, to_pivot = source.start in pivot, target.start in pivot
            weights = np.zeros((len(pivot if from_pivot else other), len(pivot if to_pivot else other)))
            weights[np.ix_(place[source], place[target])] = passage.weights
            reached = within if from_pivot and to_pivot else towards[0 if from_pivot else 1]
            reached.append(replace(passage, weights=weights))
        self._passages = tuple(towards[0]), tuple(towards[1])
        self._within = tuple(within)

    @property
    def groups(self) -> tuple[IntArray, IntArray]:
        """Indices of the pivot nodes and of the others."""
        return self._groups

    @property
    def arranged_neurons(self) -> Neurons:
        """Neurons of all nodes, in solver order."""
        return self._neurons

    @property
    def passages(self) -> tuple[tuple[Passage, ...], tuple[Passage, ...]]:
        """From the pivot to the other nodes, and from these to the pivot."""
        return self._passages

    @property
    def inside(self) -> tuple[Passage, ...]:
        """Within the pivot, which is all nodes where layers do not alternate."""
        return self._within
