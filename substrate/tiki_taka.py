"""Training on two arrays: a fast one gathers the changes, and what it holds is transferred to the slow one.

The fast array A takes the changes as blind pulses. Devices whose pulses up and down differ are pulled by them towards
their symmetry point, where the two agree; that point is A's zero, so the pull only makes A forget. Every so often some
of its word lines are read, one at a time, and what A holds there beyond its zero is added to the slow array C, the
weights. C gets few pulses, all of which are wanted, and is hardly pulled (Gokmen & Haensch 2020,
doi:10.3389/fnins.2020.00103). With a threshold what is read is summed in a digital accumulator and transferred from
there in whole pulses, which filters the noise of reading and writing (Gokmen 2021, doi:10.3389/frai.2021.699148).

The zero is found once, before the first change: pulses up and down in turn bring all devices to their symmetry points,
whose readings are then kept digitally. Errors of reading that stay the same are subtracted with it.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from substrate.arrays import FloatArray, IntArray, Reals
from substrate.capabilities import Capabilities, WriteRequest
from substrate.contract import Substrate
from substrate.errors import CapabilityError
from substrate.network import Coupling
from substrate.pulses import Pulses, Written

RELAXATION = 3.0
"""Pulses of each sign that bring a device to its symmetry point, times its step over half the window."""

CORRECTIONS = 16
"""Cycles of every further size of burst, and of single pulses that are read; the zero is the mean over the latter."""

SETTLING = 64
"""Most cycles of single pulses before they are read, for devices of large steps, on which a burst is no small thing."""


@final
@dataclass(frozen=True)
class TransferPlan:
    """How two arrays share the work.

    Attributes:
        every: changes of an array after which word lines of its fast one are read and transferred.
        lines: how many, one after another in turn.
        rate: of what is read, the share that the weights move by.
        gain: changes of the fast array over those asked for.
        threshold: least transfer in pulses of the slow array, gathered digitally; 0: what is read is transferred at
            once, rounded to pulses at random.
    """

    every: int = 1
    lines: int = 1
    rate: float = 0.01
    gain: float = 10.0
    threshold: float = 1.0


def symmetry_cycles(capabilities: Capabilities, largest_burst: int) -> tuple[list[int], list[int]]:
    """Pulses that bring devices to their symmetry points: signed counts before, and while, these are read."""
    low, high = capabilities.conductance_window_siemens
    step = float(np.mean(capabilities.step_siemens)) / (0.5 * (high - low))
    size = min(largest_burst, max(1, math.floor(1.0 / step)))
    before: list[int] = []
    cycles = math.ceil(RELAXATION / (step * size))
    while size > 1:
        before += [size, -size] * cycles + [size // 2]
        size, cycles = size // 4, CORRECTIONS
    return before + [1, -1] * min(math.ceil(0.5 * RELAXATION / step), SETTLING), [1, -1] * CORRECTIONS


@final
class TikiTaka:
    """Changes by way of the fast arrays of a substrate.

    Args:
        substrate: the device; its network has fast arrays.
        plan: how.
        pulses: gives them, to both arrays.
        largest_burst: pulses at a time on the way to the symmetry points.

    Raises:
        CapabilityError: the device lacks ``forward_products`` or pulses down, or there are no fast arrays.
    """

    def __init__(self, substrate: Substrate, plan: TransferPlan, pulses: Pulses, largest_burst: int) -> None:
        purpose = "writing.mode: tiki_taka"
        substrate.capabilities.require("forward_products", purpose)
        if any(one.step_siemens[1] <= 0 for one in substrate.capabilities.kinds):
            raise CapabilityError(f"{purpose} needs pulses that move cells down as well; step_siemens[1] is 0")
        if not substrate.network.fast_arrays:
            raise CapabilityError(f"{purpose} needs a second array beside each one, which this device lacks")
        self._substrate = substrate
        self._plan = plan
        self._pulses = pulses
        self._largest_burst = largest_burst
        self._zero: dict[str, FloatArray] = {}
        self._changes: dict[str, int] = {}
        self._line: dict[str, int] = {}

    def change(self, coupling: Coupling, change: Reals) -> Written:
        """Move the fast array, and the weights by what is due of it."""
        plan, name = self._plan, coupling.name
        fast = self._substrate.network.fast(coupling)
        found = self._find_zero(coupling, fast) if name not in self._zero else 0
        gathered = self._pulses.blind(fast, plan.gain * change)
        self._changes[name] = (self._changes.get(name, 0) + 1) % plan.every
        if self._changes[name]:
            return Written(found + gathered.pulses, gathered.failed, 0, 0, gathered.cut)
        rows = coupling.shape[0]
        lines = (self._line.get(name, 0) + np.arange(min(plan.lines, rows))) % rows
        self._line[name] = int(lines[-1] + 1) % rows
        due = np.zeros(coupling.shape)
        due[lines] = plan.rate * (self._read(fast, lines) - self._zero[name][lines])
        if plan.threshold:
            moved = self._pulses.accumulate(coupling, due, plan.threshold)
        else:
            moved = self._pulses.blind(coupling, due)
        pulses = found + gathered.pulses + moved.pulses
        return Written(pulses, gathered.failed + moved.failed, 0, 0, gathered.cut + moved.cut)

    def snapshot(self) -> dict[str, Any]:
        """Zeros, and where in their turns the arrays are."""
        return {"zero": dict(self._zero), "changes": dict(self._changes), "line": dict(self._line)}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot back."""
        self._zero = dict(snapshot["zero"])
        self._changes = dict(snapshot["changes"])
        self._line = dict(snapshot["line"])

    def _find_zero(self, coupling: Coupling, fast: Coupling) -> int:
        """Bring a fast array to its symmetry points and keep its readings there; the pulses that it took.

        In bursts at first, since n pulses up and n down bring a device n times as near as one up and one down. Half a
        burst puts it in the middle of its cycle, of which the next, shorter ones are small corrections.
        """
        before, while_read = symmetry_cycles(self._substrate.capabilities.of(fast.name), self._largest_burst)
        pulses = sum(self._together(fast, count) for count in before)
        every_line = np.arange(fast.shape[0])
        readings = np.zeros(fast.shape)
        for count in while_read:
            pulses += self._together(fast, count)
            readings += self._read(fast, every_line)
        self._zero[coupling.name] = readings / len(while_read)
        # Half of what the last pulses of both devices came to: the middle of the cycle.
        return pulses + self._pulses.give(fast, np.ones(fast.shape, dtype=np.int64)).pulses

    def _together(self, fast: Coupling, count: int) -> int:
        """Signed pulses for every weight, to both devices of a pair at once; how many were given."""
        counts = np.full(fast.cell_shape, count)
        counts[1:] *= -1
        return self._substrate.write_cells(WriteRequest(fast.name, pulses=counts)).pulses

    def _read(self, fast: Coupling, lines: IntArray) -> FloatArray:
        """What word lines of a fast array hold, (line, column) in weights, each read alone at one activity unit."""
        scale = self._substrate.scale
        volts = np.zeros((len(lines), fast.shape[0]))
        volts[np.arange(len(lines)), lines] = scale.volts_per_unit
        return self._substrate.products(fast.name, volts) / (scale.volts_per_unit * scale.unit_siemens)
