"""The resistive family: arrays join the nodes directly, diodes clamp them (physics.md, 1.3; Kendall et al. 2020, arXiv
2006.01981; Scellier 2024, PMLR 235).

Kirchhoff's current law at a free node i of layer l, its source rows amplified A_l-fold and the current that it gives to
the next array divided by A_{l+1}:

    sum_j g_ji (A_l v_j - v_i) + (1/A_{l+1}) sum_k g_ik (v_k - A_{l+1} v_i) + I_diode(v_i) + I_nudge,i = 0

With a_l the product of the gains beyond layer l, the *levelled* volts w = a_l v obey the same law without amplifiers
(multiply by a_l: a_{l-1} = A_l a_l), with the clamps and all currents of layer l scaled by a_l. So amplifiers are a
change of units here, every system is symmetric, and the steady state minimises the convex co-content

    sum over cells of g (w_i - w_j)^2/2 - sum of drive w + diodes  =  sum over l of a_l^2 E_l,

whose derivative by a conductance is the cell's conjugate, less its sign: a_l^2 = A^{2 n_l} of physics.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import final

import numpy as np

from emulators.diodes import Diodes
from emulators.networks.resistive_system import ChainSystem, DenseSystem, System
from substrate.arrays import FloatArray, finite
from substrate.errors import InputError


@final
@dataclass(frozen=True)
class ResistiveCoupling:
    """One array between a layer and the next.

    Args:
        conductances: (rows, columns) siemens, >= 0; the rows are the source layer's nodes, then one per rail.
        rail_volts: (rails,) volts of the bias rails.
        gain: A of the bidirectional amplifiers at the source nodes: the array sees A v, the source node A^-1 of the
            array's current; of the drivers, where the source is held inputs. 1 is no amplifier.
        admittance: (rows + columns, rows + columns) siemens of the array's ports, word lines first, where its wires
            matter (``Crossbar.port_admittance``); None for wires without resistance.

    Raises:
        InputError: wrong shapes, negative or non-finite conductances, a gain that is not positive.
    """

    conductances: FloatArray
    rail_volts: FloatArray
    gain: float = 1.0
    admittance: FloatArray | None = None

    def __post_init__(self) -> None:
        cells = self.conductances
        if np.ndim(cells) != 2 or not (cells.size and cells.min() >= 0.0 and cells.max() < np.inf):
            # The quick test has failed: say where.
            cells = finite("conductances", cells, (None, None))
            for row, column in np.argwhere(cells < 0)[:1]:
                raise InputError(f"conductances: expected siemens >= 0, got {cells[row, column]} at ({row}, {column})")
        rails = finite("rail_volts", self.rail_volts, (None,))
        if self.source_size < 1 or cells.shape[1] < 1:
            raise InputError(f"conductances: expected source nodes, {len(rails)} rails and columns, got {cells.shape}")
        if not (np.isfinite(self.gain) and self.gain > 0):
            raise InputError(f"gain: expected a positive number, got {self.gain}")
        if self.admittance is not None:
            finite("admittance", self.admittance, (sum(cells.shape), sum(cells.shape)))

    @property
    def source_size(self) -> int:
        """Nodes of the source layer."""
        return len(self.conductances) - len(self.rail_volts)

    @property
    def target_size(self) -> int:
        """Nodes of the target layer."""
        return len(self.column_siemens)

    @cached_property
    def column_siemens(self) -> FloatArray:
        """Sums of conductances over the rows, (columns,)."""
        return np.asarray(np.ones(len(self.conductances)) @ self.conductances)


@final
class ResistiveNetwork:
    """The equations of a chain of layers at fixed conductances; layer 0 is held, the others are free.

    Args:
        couplings: in order from the inputs; outputs last.
        diodes: of all free nodes, in layer order.

    Raises:
        InputError: layers that don't fit, diodes of another number of nodes, a node that nothing ties to a held one.
    """

    def __init__(self, couplings: Sequence[ResistiveCoupling], diodes: Diodes) -> None:
        self.couplings = tuple(couplings)
        if not self.couplings:
            raise InputError("couplings: expected at least one")
        for index, (coupling, following) in enumerate(pairwise(self.couplings)):
            if following.source_size != coupling.target_size:
                raise InputError(
                    f"couplings[{index + 1}]: expected {coupling.target_size} source nodes, got {following.source_size}"
                )
        edges = np.cumsum([0, *(coupling.target_size for coupling in self.couplings)])
        self.layers = tuple(slice(int(a), int(b)) for a, b in pairwise(edges))
        self.node_count = int(edges[-1])
        rails = diodes.box_volts[0]
        if len(rails) != self.node_count:
            raise InputError(f"diodes: expected those of {self.node_count} nodes, got {len(rails)}")
        gains = np.array([coupling.gain for coupling in self.couplings[1:]] + [1.0])
        beyond = np.cumprod(gains[::-1])[::-1]
        self.level = np.repeat(beyond, np.diff(edges))
        self.level.flags.writeable = False
        self.diodes = diodes
        self.levelled_diodes = diodes.scaled(self.level)
        self._check_tied()
        self._rail_drive = self._rail_currents()
        self._held_siemens = self._held_transfer()
        self.system: System = (
            self._chain() if all(coupling.admittance is None for coupling in self.couplings) else self._dense()
        )

    @property
    def input_size(self) -> int:
        """Held nodes."""
        return self.couplings[0].source_size

    @property
    def output(self) -> slice:
        """Place of the output layer on the node axis."""
        return self.layers[-1]

    def conjugate_scale(self, index: int) -> float:
        """A^{2 n}: the factor on the conjugates of coupling ``index``, n the amplifiers beyond it."""
        return float(self.level[self.layers[index].start] ** 2)

    def drive(self, inputs: FloatArray) -> FloatArray:
        """Amperes that held inputs (batch, input) volts and the rails put into each node held at 0 V, (batch, node).

        Nudge currents add to it.

        Raises:
            InputError: wrong shape, or not finite.
        """
        held = finite("inputs", inputs, (None, self.input_size))
        drive = np.empty((len(held), self.node_count))
        drive[:] = self._rail_drive
        drive[:, self.layers[0]] += self.couplings[0].gain * (held @ self._held_siemens)
        return drive

    def rows(self, index: int, inputs: FloatArray, volts: FloatArray) -> FloatArray:
        """Volts on the rows of array ``index``, amplified source nodes and rails, (batch, rows)."""
        coupling = self.couplings[index]
        source = inputs if index == 0 else volts[:, self.layers[index - 1]]
        rails = np.broadcast_to(coupling.rail_volts, (len(source), len(coupling.rail_volts)))
        return np.concatenate([coupling.gain * source, rails], axis=1)

    def _held_transfer(self) -> FloatArray:
        """Siemens from the held inputs to the nodes of the first layer, (input, node)."""
        first = self.couplings[0]
        size, rows = first.source_size, len(first.conductances)
        return first.conductances[:size] if first.admittance is None else -first.admittance[:size, rows:]

    def _rail_currents(self) -> FloatArray:
        currents = np.zeros(self.node_count)
        for index, coupling in enumerate(self.couplings):
            size, rows = coupling.source_size, len(coupling.conductances)
            if coupling.admittance is None:
                currents[self.layers[index]] += coupling.rail_volts @ coupling.conductances[size:]
                continue
            currents[self.layers[index]] -= coupling.rail_volts @ coupling.admittance[size:rows, rows:]
            if index:
                back = coupling.rail_volts @ coupling.admittance[size:rows, :size]
                currents[self.layers[index - 1]] -= back / coupling.gain
        return currents

    def _chain(self) -> ChainSystem:
        count = self.node_count
        diagonal = np.zeros(count)
        places = np.arange(count)
        odd = np.concatenate([places[layer] for layer in self.layers[0::2]])
        even = np.concatenate([places[:0], *(places[layer] for layer in self.layers[1::2])])
        rank = np.empty(count, dtype=np.int64)
        rank[odd], rank[even] = np.arange(len(odd)), np.arange(len(even))
        cross = np.zeros((len(odd), len(even)))
        for index, coupling in enumerate(self.couplings):
            target = self.layers[index]
            diagonal[target] += coupling.column_siemens
            if index == 0:
                continue
            source = self.layers[index - 1]
            cells = coupling.conductances[: coupling.source_size]
            diagonal[source] += cells.sum(axis=1)
            if index % 2:
                cross[np.ix_(rank[source], rank[target])] = cells
            else:
                cross[np.ix_(rank[target], rank[source])] = cells.T
        return ChainSystem(odd, even, cross, diagonal)

    def _dense(self) -> DenseSystem:
        admittance = np.zeros((self.node_count, self.node_count))
        for index, coupling in enumerate(self.couplings):
            ports = coupling.admittance if coupling.admittance is not None else _ideal_admittance(coupling.conductances)
            size, rows = coupling.source_size, len(coupling.conductances)
            target = self.layers[index]
            admittance[target, target] += ports[rows:, rows:]
            if index:
                source = self.layers[index - 1]
                admittance[source, source] += ports[:size, :size]
                admittance[source, target] += ports[:size, rows:]
                admittance[target, source] += ports[rows:, :size]
        return DenseSystem(admittance, self.layers)

    def _check_tied(self) -> None:
        """Every free node must have a path of cells to a held one, or its voltage means nothing."""
        if all(coupling.column_siemens.all() for coupling in self.couplings):
            return  # every layer is tied to the one before it
        tied = [np.zeros(layer.stop - layer.start, dtype=np.bool_) for layer in self.layers]
        before = -1
        while (now := sum(int(layer.sum()) for layer in tied)) != before and now < self.node_count:
            before = now
            for index, coupling in enumerate(self.couplings):
                size = coupling.source_size
                source = tied[index - 1] if index else np.ones(size, dtype=np.bool_)
                live = np.concatenate([source, np.ones(len(coupling.rail_volts), dtype=np.bool_)])
                tied[index] |= live @ coupling.conductances > 0
                if index:
                    tied[index - 1] |= coupling.conductances[:size] @ tied[index] > 0
        for index, layer in enumerate(tied):
            if not layer.all():
                raise InputError(
                    f"couplings: node {int(np.flatnonzero(~layer)[0])} of layer {index + 1} has no path of cells to an "
                    f"input or a rail"
                )


def _ideal_admittance(cells: FloatArray) -> FloatArray:
    """Port admittance of an array whose wires have no resistance."""
    return np.block(
        [[np.diag(cells.sum(axis=1)), -cells], [-cells.T, np.diag(cells.sum(axis=0))]],
    )
