"""Weights onto cells, differential pairs or single ones: how wanted changes of weights become pulses or conductances.

w = (g+ - g-)/unit. A change is shared between the two devices of a pair, which move in opposite directions and take
turns with the odd pulse, so that their mean stays where it is. Devices that only go up (PCM) get all on one side; when
a pair of them nears its upper end it is read, reset and programmed anew.
A weight of one device, w = g/unit, is held to the window and takes all pulses itself.

Modes: ``outright`` sets conductances (devices that take any value); ``blind`` rounds each change to pulses at random,
right on average; ``accumulate`` keeps what is less than a pulse in a digital accumulator (mixed precision);
``verify`` keeps a digital target, reads the cells and corrects them within a budget of rounds; ``tiki_taka`` gathers
changes in a second array and transfers from there (``tiki_taka``). Where some arrays have pulses and others do not, a
mode is that of the former, and the cells of the latter are set outright.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np

from substrate.arrays import BoolArray, FloatArray, Reals, finite, finite_reals
from substrate.capabilities import Capabilities, WriteRequest
from substrate.contract import Substrate
from substrate.errors import CapabilityError
from substrate.network import Coupling
from substrate.outer_products import Direction, OuterProducts, dense
from substrate.pulses import Pulses, Written
from substrate.spare_memory import SpareMemory
from substrate.tiki_taka import TikiTaka, TransferPlan

Mode = Literal["outright", "blind", "accumulate", "verify", "tiki_taka"]

REFRESH_ABOVE = 0.8
"""A pair is refreshed when one of its devices is above this share of the window ..."""

REFRESH_GAIN = 0.1
"""... and the other above this one, so that there is something to gain."""


@final
@dataclass(frozen=True)
class WritingPlan:
    """How weights are written.

    Attributes:
        mode: see the module.
        largest_burst: most pulses a cell gets in one write.
        rounds: reads and corrections of one verified write.
        program_rounds: the same for the first programming of an array.
        tolerance_steps: a verified weight is right within this many pulse steps.
        refresh_every: changes of an array after which its pairs of one-sided cells are looked at for a refresh.
        refresh_rounds: reads and corrections of refreshed pairs.
        transfer: of ``tiki_taka``.
    """

    mode: Mode
    largest_burst: int = 31
    rounds: int = 3
    program_rounds: int = 60
    tolerance_steps: float = 0.75
    refresh_every: int = 10
    refresh_rounds: int = 8
    transfer: TransferPlan = field(default_factory=TransferPlan)


def mode_of(mode: Mode, capabilities: Capabilities) -> Mode:
    """The way in which an array is written, of the device's."""
    return mode if capabilities.pulses or not capabilities.continuous_writing else "outright"


def _modes(substrate: Substrate, mode: Mode) -> dict[str, Mode]:
    """How each array is written.

    Raises:
        CapabilityError: an array lacks what that needs.
    """
    capabilities, arrays = substrate.capabilities, substrate.network.arrays
    if mode == "outright":
        capabilities.require("continuous_writing", "writing.mode: outright")
        for coupling in arrays:
            if not capabilities.of(coupling.name).continuous_writing:
                raise CapabilityError(
                    "writing.mode: outright needs the capability 'continuous_writing', which the cells of "
                    f"{coupling.name} lack; any other mode but tiki_taka gives these pulses, and sets the others"
                )
        return {coupling.name: mode for coupling in arrays}
    if not capabilities.pulses_anywhere and capabilities.continuous_writing:
        raise CapabilityError(
            f"writing.mode: {mode} needs the capability 'pulses', which this device lacks: its cells are "
            "set (writing.mode: outright; on the emulator, any substrate.update but ideal has pulses)"
        )
    modes: dict[str, Mode] = {}
    for coupling in arrays:
        own = capabilities.of(coupling.name)
        modes[coupling.name] = mode_of(mode, own)
        of = f", for the cells of {coupling.name}," if len(capabilities.kinds) > 1 else ""
        if modes[coupling.name] == "outright" and mode != "tiki_taka":
            continue
        own.require("pulses", f"writing.mode: {mode}{of}")
        if own.step_siemens[0] <= 0:
            raise CapabilityError(f"writing{of} needs a device whose pulses move its cells up; step_siemens[0] is 0")
        if coupling.polarities == 1 and own.step_siemens[1] <= 0:
            raise CapabilityError("weights of one cell each need pulses that move it down; step_siemens[1] is 0")
    return modes


def weights_of(substrate: Substrate, coupling: Coupling) -> FloatArray:
    """The weights that stand in an array's cells now, (rows, columns)."""
    return np.asarray(coupling.signed(substrate.read_cells(coupling.name)) / substrate.scale.unit_siemens)


@final
class Writer:
    """Writes weights to a substrate.

    Args:
        substrate: the device.
        plan: the way of writing.
        rng: of the stochastic rounding.

    Raises:
        CapabilityError: the device lacks what the mode needs.
    """

    def __init__(self, substrate: Substrate, plan: WritingPlan, rng: np.random.Generator) -> None:
        self._modes = _modes(substrate, plan.mode)
        self._substrate = substrate
        self._plan = plan
        self._pulses = Pulses(substrate, plan.largest_burst, rng)
        self._two_arrays = (
            TikiTaka(substrate, plan.transfer, self._pulses, plan.largest_burst) if plan.mode == "tiki_taka" else None
        )
        self._memory = SpareMemory()
        self._targets: dict[str, FloatArray] = {}
        self._changes: dict[str, int] = {}
        self._unresettable: dict[str, BoolArray] = {}
        # Cells that were set outright and did not follow.
        self._unmoved: dict[str, BoolArray] = {}

    def weights(self, coupling: Coupling) -> FloatArray:
        """The weights that stand in the cells now, (rows, columns)."""
        return weights_of(self._substrate, coupling)

    def program(self, coupling: Coupling, weights: FloatArray) -> Written:
        """Bring an array to given weights: outright, or by reading and pulsing until it holds them.

        Raises:
            InputError: wrong shape or a weight that is not finite.
        """
        held, saturated = self._within_window(coupling, finite("weights", weights, coupling.shape))
        mode = self._modes[coupling.name]
        if mode == "outright":
            return self._set(coupling, held, saturated)
        written = self._verify(coupling, held, self._plan.program_rounds, slowly=True)
        if self._refreshes(coupling):
            # Pairs that noise has filled up on both sides.
            written = self._refresh(coupling, written, held, self._plan.program_rounds)
        if mode == "verify":
            self._targets[coupling.name] = held
        return Written(written.pulses, written.failed, saturated, written.refreshed)

    def change(self, coupling: Coupling, change: Direction) -> Written:
        """Move the weights of an array by ``change`` (rows, columns).

        Raises:
            InputError: wrong shape or a change that is not finite.
        """
        capabilities, mode = self._substrate.capabilities.of(coupling.name), self._modes[coupling.name]
        if isinstance(change, OuterProducts) and mode == "outright" and capabilities.outer_product_writes:
            # The device moves its cells by it, and need not be read.
            apart = change.scaled(self._substrate.scale.unit_siemens)
            report = self._substrate.write_cells(WriteRequest(coupling.name, apart_siemens=apart))
            return Written(report.pulses, int(np.count_nonzero(report.failed)), report.saturated)
        # A NaN would become the largest pulse count there is.
        written = self._change(coupling, finite_reals("change", dense(change), coupling.shape))
        if not self._refreshes(coupling):
            return written
        name = coupling.name
        self._changes[name] = (self._changes.get(name, 0) + 1) % self._plan.refresh_every
        if self._changes[name]:
            return written
        return self._refresh(coupling, written, self._targets.get(name), self._plan.refresh_rounds)

    def _refreshes(self, coupling: Coupling) -> bool:
        """Whether an array's pairs only go up and can be reset."""
        capabilities = self._substrate.capabilities.of(coupling.name)
        return capabilities.resets and capabilities.step_siemens[1] == 0 and coupling.polarities == 2

    def _change(self, coupling: Coupling, change: Reals) -> Written:
        name, mode = coupling.name, self._modes[coupling.name]
        if mode == "outright":
            return self._moved(coupling, change)
        if mode == "verify":
            start = self._targets[name] if name in self._targets else self.weights(coupling)
            target, saturated = self._within_window(coupling, start + change)
            self._targets[name] = target
            written = self._verify(coupling, target, self._plan.rounds)
            return Written(written.pulses, written.failed, saturated)
        if self._two_arrays is not None:
            return self._two_arrays.change(coupling, change)
        if mode == "blind":
            return self._pulses.blind(coupling, change)
        return self._pulses.accumulate(coupling, change)

    def snapshot(self) -> dict[str, Any]:
        """Accumulators, targets, turns, what two arrays keep, and the generator."""
        return {
            **self._pulses.snapshot(),
            "targets": dict(self._targets),
            "changes": dict(self._changes),
            "unresettable": dict(self._unresettable),
            "unmoved": dict(self._unmoved),
            "transfer": {} if self._two_arrays is None else self._two_arrays.snapshot(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot back."""
        self._pulses.restore(snapshot)
        self._targets = dict(snapshot["targets"])
        self._changes = dict(snapshot["changes"])
        self._unresettable = dict(snapshot["unresettable"])
        self._unmoved = dict(snapshot["unmoved"])
        if self._two_arrays is not None:
            self._two_arrays.restore(snapshot["transfer"])

    def _within_window(self, coupling: Coupling, weights: FloatArray) -> tuple[FloatArray, int]:
        """Weights held to what cells inside the window can show, and how many were beyond it."""
        low, high = self._substrate.capabilities.of(coupling.name).conductance_window_siemens
        ends = (low, high) if coupling.polarities == 1 else (low - high, high - low)
        least, most = (end / self._substrate.scale.unit_siemens for end in ends)
        return np.clip(weights, least, most), int(np.count_nonzero((weights < least) | (weights > most)))

    def _set(self, coupling: Coupling, weights: FloatArray, saturated: int) -> Written:
        low, high = self._substrate.capabilities.of(coupling.name).conductance_window_siemens
        if coupling.polarities == 1:
            wanted = weights[None] * self._substrate.scale.unit_siemens
        else:
            half = 0.5 * weights * self._substrate.scale.unit_siemens
            wanted = 0.5 * (low + high) + np.stack([half, -half])
        # Rounding at the window's ends must not turn into a refusal.
        target = np.clip(wanted, low, high)
        report = self._substrate.write_cells(WriteRequest(coupling.name, target_siemens=target))
        failed = int(np.count_nonzero(report.failed))
        if not failed or coupling.polarities == 1:
            return Written(report.pulses, failed, saturated)
        self._note_unmoved(coupling, report.failed)
        # The cells beside those that did not follow make up for them.
        written = self._moved(coupling, weights - self.weights(coupling))
        return Written(report.pulses + written.pulses, written.failed, saturated + written.saturated)

    def _note_unmoved(self, coupling: Coupling, failed: BoolArray) -> None:
        known = self._unmoved.get(coupling.name)
        self._unmoved[coupling.name] = failed if known is None else known | failed

    def _moved(self, coupling: Coupling, change: Reals) -> Written:
        """Cells set outright to what they hold and a change of their weights."""
        # What ``_set`` would write, in one pass over the cells. Imported on first use: it brings numba in.
        from substrate.writing_kernels import moved

        low, high = self._substrate.capabilities.of(coupling.name).conductance_window_siemens
        cells = np.ascontiguousarray(self._substrate.read_cells(coupling.name))
        target = self._memory.empty(cells.shape)
        unmoved = self._unmoved.get(coupling.name)
        if unmoved is None:
            unmoved = np.zeros(cells.shape, dtype=np.bool_)
        unit = self._substrate.scale.unit_siemens
        saturated = moved(cells, np.ascontiguousarray(change), unit, float(low), float(high), unmoved, target)
        # So that a device in memory may keep it without a copy.
        target.setflags(write=False)
        report = self._substrate.write_cells(WriteRequest(coupling.name, target_siemens=target))
        if report.failed.any():
            self._note_unmoved(coupling, report.failed)
        return Written(report.pulses, int(np.count_nonzero(report.failed | unmoved)), int(saturated))

    def _refresh(self, coupling: Coupling, written: Written, target: FloatArray | None, rounds: int) -> Written:
        """Reset pairs of which a device nears its upper end, where that sets it free, and program their weights anew.

        To ``target``, or to what they hold.

        The refresh of multi-device synapses of phase-change cells (Nandakumar et al. 2020,
        doi:10.3389/fnins.2020.00406), on cells that are read.
        """
        low, high = self._substrate.capabilities.of(coupling.name).conductance_window_siemens
        cells = (self._substrate.read_cells(coupling.name) - low) / (high - low)
        stuck = self._unresettable.get(coupling.name, np.zeros(coupling.shape, dtype=np.bool_))
        worn = (cells.max(axis=0) > REFRESH_ABOVE) & (cells.min(axis=0) > REFRESH_GAIN) & ~stuck
        if not worn.any():
            return written
        if target is None:
            target = coupling.signed(cells) * ((high - low) / self._substrate.scale.unit_siemens)
        mask = np.broadcast_to(worn, coupling.cell_shape).copy()
        report = self._substrate.write_cells(WriteRequest(coupling.name, reset=mask))
        self._unresettable[coupling.name] = stuck | report.failed.any(axis=0)
        anew = self._verify(coupling, target, rounds, worn, slowly=True)
        return Written(
            written.pulses + report.pulses + anew.pulses,
            written.failed + int(report.failed.sum()),
            written.saturated,
            int(worn.sum()),
        )

    def _verify(
        self,
        coupling: Coupling,
        target: FloatArray,
        rounds: int,
        only: BoolArray | None = None,
        slowly: bool = False,
    ) -> Written:
        """Read and correct; ``slowly`` begins with single pulses where the devices only go up.

        What such a device has overshot costs its partner, and from its lower end a pulse may move it by many mean
        steps: it gets twice the pulses of the round before as long as they fell short, and a single one after that.
        """
        pulses = failed = 0
        careful = slowly and not self._substrate.capabilities.of(coupling.name).step_siemens[1]
        most = np.ones(coupling.shape)
        before = np.zeros(coupling.shape)
        for _ in range(rounds):
            missing = (target - self.weights(coupling)) / self._pulses.step(coupling)
            if only is not None:
                missing[~only] = 0.0
            counts = np.where(np.abs(missing) > self._plan.tolerance_steps, np.rint(missing), 0.0)
            if not counts.any():
                break
            if careful:
                most = np.where(counts * before > 0, 2.0 * most, 1.0)
                counts = before = np.clip(counts, -most, most)
            written = self._pulses.give(coupling, self._pulses.burst(counts))
            pulses += written.pulses
            failed = written.failed
        return Written(pulses, failed, 0)
