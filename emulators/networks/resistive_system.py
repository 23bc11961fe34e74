"""The admittances between the free nodes of a resistive network: applying them, and solving for some of the nodes.

Both kinds are symmetric, with non-positive off-diagonals and row sums >= 0 (what hangs on held nodes makes them
definite). A vector is (batch, node); ``moving`` says which nodes may move, the others stay.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import numpy as np

from substrate.arrays import BoolArray, FloatArray, IntArray

CHUNK_ENTRIES = 4_000_000
"""Matrix entries of a batch of eliminations held at a time."""

SWEEPS_PER_NODE = 8
"""An elimination costs about half as many sweeps as nodes are kept: a sweep for every 8 of them is little beside it."""

DENSE_SWEEPS_PER_NODE = 32
"""The same where the nodes of a layer are joined too, whose sweeps go node by node."""

MOST_SWEEPS = 20
"""Sweeps in a row at most: what has not settled by then converges slowly."""


class System(ABC):
    """H of the currents H v that leave the nodes."""

    @property
    @abstractmethod
    def diagonal(self) -> FloatArray:
        """(node,) siemens: all that hangs on a node."""

    @abstractmethod
    def apply(self, volts: FloatArray) -> FloatArray:
        """H v."""

    @abstractmethod
    def sweep(
        self,
        volts: FloatArray,
        drive: FloatArray,
        low: FloatArray,
        high: FloatArray,
        count: int,
        load: FloatArray | None = None,
    ) -> FloatArray:
        """``count`` updates of all nodes, odd layers, then even ones; none raises v H v/2 - drive v over the box.

        Where the nodes of a layer aren't joined, all of it moves at once: v <- clip(sum g v_neighbour/sum g).

        Args:
            volts, drive, low, high: (batch, node) volts, amperes, and the box low <= v <= high.
            count: sweeps.
            load: (batch, node) siemens from nodes to ground, part of the second sum.
        """

    @property
    @abstractmethod
    def _few(self) -> int:
        """Sweeps that take a small share of the time of an elimination."""

    @abstractmethod
    def _solve(self, moving: BoolArray, extra: FloatArray, drive: FloatArray) -> FloatArray:
        """``solve`` for as much of a batch as fits in ``CHUNK_ENTRIES``."""

    @property
    @abstractmethod
    def _entries(self) -> int:
        """Matrix entries that ``_solve`` holds for one of a batch."""

    @final
    def relax(self, volts: FloatArray, drive: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
        """A few sweeps: as many as take a small share of the time of an elimination."""
        return self.sweep(volts, drive, low, high, self._few)

    @final
    def solve(self, moving: BoolArray, extra: FloatArray, drive: FloatArray) -> FloatArray:
        """The x with x = 0 where nodes don't move and (H + diag(extra)) x = drive where they do."""
        chunk = max(1, CHUNK_ENTRIES // self._entries)
        if len(drive) <= chunk:
            return self._solve(moving, extra, drive)
        parts = [slice(start, start + chunk) for start in range(0, len(drive), chunk)]
        return np.concatenate([self._solve(moving[part], extra[part], drive[part]) for part in parts])


@final
class ChainSystem(System):
    """Layers in a chain, joined cell by cell: no entry joins two layers of the same parity.

    Args:
        odd, even: places of the nodes of the first, third, ... and of the other layers.
        cross: (odd, even) siemens between them.
        diagonal: (node,) siemens.
    """

    def __init__(self, odd: IntArray, even: IntArray, cross: FloatArray, diagonal: FloatArray) -> None:
        self._odd, self._even = odd, even
        self._cross = np.ascontiguousarray(cross)
        self._crossed = np.ascontiguousarray(cross.T)
        self._diagonal = diagonal
        self._odd_resistance = 1.0 / diagonal[odd]
        self._even_resistance = 1.0 / diagonal[even]
        # The smaller group is what remains after the elimination of the other.
        self._kept, self._gone, self._between = (
            (odd, even, self._cross) if len(odd) <= len(even) else (even, odd, self._crossed)
        )

    @property
    def diagonal(self) -> FloatArray:
        """Sums of conductances."""
        return self._diagonal

    @property
    def _entries(self) -> int:
        return max(1, len(self._kept) * (len(self._kept) + len(self._gone)))

    def apply(self, volts: FloatArray) -> FloatArray:
        """H v."""
        out = self._diagonal * volts
        out[:, self._odd] -= volts[:, self._even] @ self._crossed
        out[:, self._even] -= volts[:, self._odd] @ self._cross
        return out

    @property
    def _few(self) -> int:
        return min(max(1, len(self._kept) // SWEEPS_PER_NODE), MOST_SWEEPS)

    def sweep(
        self,
        volts: FloatArray,
        drive: FloatArray,
        low: FloatArray,
        high: FloatArray,
        count: int,
        load: FloatArray | None = None,
    ) -> FloatArray:
        """Whole layers at once."""
        odd_resistance, even_resistance = self._odd_resistance, self._even_resistance
        if load is not None:
            resistance = 1.0 / (self._diagonal + load)
            odd_resistance, even_resistance = resistance[:, self._odd], resistance[:, self._even]
        odd_drive, even_drive = drive[:, self._odd], drive[:, self._even]
        odd_low, odd_high = low[:, self._odd], high[:, self._odd]
        even_low, even_high = low[:, self._even], high[:, self._even]
        even = volts[:, self._even]
        odd = volts[:, self._odd]
        for _ in range(count):
            odd = even @ self._crossed
            odd += odd_drive
            odd *= odd_resistance
            np.maximum(odd, odd_low, out=odd)
            np.minimum(odd, odd_high, out=odd)
            even = odd @ self._cross
            even += even_drive
            even *= even_resistance
            np.maximum(even, even_low, out=even)
            np.minimum(even, even_high, out=even)
        out = np.empty_like(volts)
        out[:, self._odd], out[:, self._even] = odd, even
        return out

    def _solve(self, moving: BoolArray, extra: FloatArray, drive: FloatArray) -> FloatArray:
        total = self._diagonal + extra
        # Nodes that don't move have no admittance to the others and no drive.
        gain = np.where(moving[:, self._gone], 1.0 / total[:, self._gone], 0.0)
        free = moving[:, self._kept].astype(np.float64)
        forced = drive[:, self._gone] * gain
        right = free * (drive[:, self._kept] + forced @ self._between.T)
        matrix = (self._between * gain[:, None, :]) @ self._between.T
        matrix *= -(free[:, :, None] * free[:, None, :])
        place = np.arange(len(self._kept))
        matrix[:, place, place] += np.where(free > 0.0, total[:, self._kept], 1.0)
        kept = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
        out = np.empty_like(drive)
        out[:, self._kept] = kept
        out[:, self._gone] = forced + gain * (kept @ self._between)
        return out


@final
class DenseSystem(System):
    """What wires make of the arrays, where the nodes of one layer are joined too.

    Args:
        admittance: (node, node) siemens; no entry joins layers that aren't neighbours.
        layers: places of their nodes.
    """

    def __init__(self, admittance: FloatArray, layers: Sequence[slice]) -> None:
        self._admittance = np.ascontiguousarray(admittance)
        self._diagonal = np.ascontiguousarray(np.diagonal(admittance))
        self._resistance = 1.0 / self._diagonal[None]
        places = np.arange(len(admittance))
        self._order = np.concatenate([places[layer] for layer in (*layers[0::2], *layers[1::2])])
        self._reach = np.empty((len(admittance), 2), dtype=np.int64)
        for index, layer in enumerate(layers):
            self._reach[layer] = layers[max(index - 1, 0)].start, layers[min(index + 1, len(layers) - 1)].stop

    @property
    def diagonal(self) -> FloatArray:
        """Self-admittances."""
        return self._diagonal

    @property
    def _entries(self) -> int:
        return self._admittance.size

    @property
    def _few(self) -> int:
        return min(max(1, len(self._diagonal) // DENSE_SWEEPS_PER_NODE), MOST_SWEEPS)

    def apply(self, volts: FloatArray) -> FloatArray:
        """H v."""
        return np.asarray(volts @ self._admittance)

    def sweep(
        self,
        volts: FloatArray,
        drive: FloatArray,
        low: FloatArray,
        high: FloatArray,
        count: int,
        load: FloatArray | None = None,
    ) -> FloatArray:
        """One node after another."""
        # Imported on first use: loading compiled code takes a while.
        from emulators.networks.resistive_kernels import sweep_nodes

        out = np.array(volts, order="C")
        missing = drive - self.apply(out)
        siemens, resistance = np.zeros((0, 0)), self._resistance
        if load is not None:
            siemens, resistance = load, 1.0 / (self._diagonal + load)
            missing -= load * out
        sweep_nodes(self._admittance, self._order, self._reach, out, missing, siemens, resistance, low, high, count)
        return out

    def _solve(self, moving: BoolArray, extra: FloatArray, drive: FloatArray) -> FloatArray:
        free = moving.astype(np.float64)
        matrix = self._admittance * (free[:, :, None] * free[:, None, :])
        place = np.arange(len(self._diagonal))
        matrix[:, place, place] = np.where(moving, self._diagonal + extra, 1.0)
        return np.asarray(np.linalg.solve(matrix, (free * drive)[:, :, None])[:, :, 0])
