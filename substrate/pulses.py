"""Changes of weights as pulses: rounded, shared between the devices of a pair, bounded, with a digital accumulator."""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from substrate.arrays import BoolArray, FloatArray, IntArray, Reals
from substrate.capabilities import WriteRequest
from substrate.contract import Substrate
from substrate.network import Coupling


@final
@dataclass(frozen=True)
class Written:
    """What a write came to: pulses given, cells known to have failed, weights held at the end of their range.

    ``refreshed``: pairs of one-sided cells that were reset and programmed anew. ``cut``: pulses beyond the largest
    burst that a blind write has dropped.
    """

    pulses: int
    failed: int
    saturated: int
    refreshed: int = 0
    cut: int = 0


@final
class Pulses:
    """Gives pulses to arrays of a substrate.

    Args:
        substrate: the device.
        largest_burst: most pulses a cell gets in one write.
        rng: of the stochastic rounding.
    """

    def __init__(self, substrate: Substrate, largest_burst: int, rng: np.random.Generator) -> None:
        self._substrate = substrate
        self._largest_burst = largest_burst
        self._rng = rng
        self._accumulated: dict[str, FloatArray] = {}
        self._turn: dict[str, BoolArray] = {}

    def step(self, coupling: Coupling) -> float:
        """Mean change of a weight of an array by one pulse of either device."""
        up, down = self._substrate.capabilities.of(coupling.name).step_siemens
        return (0.5 * (up + down) if down else up) / self._substrate.scale.unit_siemens

    def burst(self, counts: FloatArray) -> IntArray:
        """Counts held to the largest burst; what is cut stays in the accumulator, is verified later, or is counted."""
        most = self._largest_burst
        return np.clip(counts, -most, most).astype(np.int64)

    def blind(self, coupling: Coupling, change: Reals) -> Written:
        """A change of weights (rows, columns), rounded to pulses at random, right on average."""
        wanted = np.asarray(change, dtype=np.float64) / self.step(coupling)
        whole = np.floor(wanted)
        counts = whole + (self._rng.random(wanted.shape) < wanted - whole)
        burst = self.burst(counts)
        return replace(self.give(coupling, burst), cut=int(np.abs(counts - burst).sum()))

    def accumulate(self, coupling: Coupling, change: Reals, threshold: float = 1.0) -> Written:
        """The same added to what is still due; given where that is ``threshold`` pulses or more, in whole pulses."""
        total = self._accumulated.get(coupling.name, np.zeros(coupling.shape)) + change / self.step(coupling)
        counts = self.burst(np.where(np.abs(total) >= threshold, np.trunc(total), 0.0))
        self._accumulated[coupling.name] = total - counts
        return self.give(coupling, counts)

    def give(self, coupling: Coupling, counts: IntArray) -> Written:
        """Signed pulses of weights, (row, column)."""
        if not counts.any():
            return Written(0, 0, 0)
        request = WriteRequest(coupling.name, pulses=self._share(coupling, counts))
        report = self._substrate.write_cells(request)
        return Written(report.pulses, int(report.failed.sum()), 0)

    def snapshot(self) -> dict[str, Any]:
        """Accumulators, turns and the generator."""
        return {
            "accumulated": dict(self._accumulated),
            "turn": dict(self._turn),
            "generator": self._rng.bit_generator.state,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot back."""
        self._accumulated = dict(snapshot["accumulated"])
        self._turn = dict(snapshot["turn"])
        self._rng.bit_generator.state = snapshot["generator"]

    def _share(self, coupling: Coupling, counts: IntArray) -> IntArray:
        """Signed weight pulses onto the devices of each weight, (polarity, row, column)."""
        if coupling.polarities == 1:
            return counts[None]
        if not self._substrate.capabilities.of(coupling.name).step_siemens[1]:
            return np.stack([np.maximum(counts, 0), np.maximum(-counts, 0)])
        turn = self._turn.get(coupling.name, np.zeros(coupling.shape, dtype=np.bool_))
        size = np.abs(counts)
        first = (size + turn) // 2
        self._turn[coupling.name] = turn ^ (size % 2 == 1)
        sign = np.sign(counts)
        return np.stack([sign * first, -sign * (size - first)])
