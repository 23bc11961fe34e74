"""What the dynamics of current-mode networks are made of, whatever their arrays are: matrices or curved cells.

    tau du/dt = -u + I(s) + drive(t),        tau_a ds/dt = f(u) - s

(``time_constants.py``), I the currents that the arrays give at activities s: W s where they are matrices. An array has
no capacitance but that of its lines, which is part of its nodes' own, so that its cells and wires are at every instant
at rest. Everything is in activity units. Layers alternate between two groups, and no array joins two layers of a group:
dI/ds goes from one group, the *pivot*, to the other and back. Where they do not, in a loop of an odd number of layers,
the pivot is all nodes and the other group empty.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from substrate.arrays import FloatArray, IntArray


class Equations(ABC):
    """I, f and their slopes.

    Attributes:
        node_count: nodes.
    """

    node_count: int

    @property
    @abstractmethod
    def slopes_an_instant(self) -> int:
        """Numbers of ``weights_at`` for each instant; 0 if one matrix serves all."""

    @property
    @abstractmethod
    def groups(self) -> tuple[IntArray, IntArray]:
        """Indices of the pivot nodes and of the others, both rising."""

    @abstractmethod
    def activity(self, u: FloatArray) -> FloatArray:
        """Neuron outputs f(u) for node states (..., node)."""

    @abstractmethod
    def slope(self, u: FloatArray) -> FloatArray:
        """df/du (..., node)."""

    @abstractmethod
    def currents(self, s: FloatArray) -> FloatArray:
        """I(s) for activities (..., node).

        Raises:
            ConvergenceError: the circuit of an array was not solved.
        """

    @abstractmethod
    def weights_at(self, s: FloatArray) -> FloatArray:
        """dI/ds at activities (..., node), (..., source, target); (source, target) if the same everywhere.

        Raises:
            ConvergenceError: the circuit of an array was not solved.
        """

    @abstractmethod
    def couplings_at(self, s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """The parts of ``weights_at`` from the pivot to the other group, from that to the pivot, and within the pivot.

        The last is None where layers alternate.
        """


def spread(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Sum over sources: values (..., source) by weights (source, target), or (..., source, target)."""
    if weights.ndim == 2:
        return np.asarray(values @ weights)
    return np.asarray((values[..., None, :] @ weights)[..., 0, :])


def alternate(layers: Sequence[slice]) -> tuple[list[slice], list[slice]]:
    """The two groups of alternating layers; the pivot, the smaller one that is not empty, first."""
    groups = [list(layers[0::2]), list(layers[1::2])]
    groups.sort(key=lambda group: sum(layer.stop - layer.start for layer in group))
    if not groups[0]:
        groups.reverse()
    return groups[0], groups[1]
