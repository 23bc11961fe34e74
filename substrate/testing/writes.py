"""Checks of writing, reading back and snapshots."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np

from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.capabilities import Capabilities, Nudge, WriteRequest
from substrate.contract import CrossbarArray, Substrate, WriteReport
from substrate.device import Device
from substrate.outer_products import OuterProducts
from substrate.testing.checks import REFUSAL, Bench, NotApplicable, close, expect, refused
from substrate.testing.preparing import inputs, output_nudges, sampling_plan

STUCK_PULSES = 5
"""Bursts up, then down, after which a cell that has not moved counts as stuck."""


@final
@dataclass(frozen=True)
class Cells:
    """The cells of one array, of a network or alone."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], FloatArray]
    write: Callable[[WriteRequest], WriteReport]

    def pulse(self, counts: IntArray) -> WriteReport:
        """Give signed pulse counts."""
        return self.write(WriteRequest(self.name, pulses=counts))

    def set(self, target_siemens: FloatArray) -> WriteReport:
        """Set outright."""
        return self.write(WriteRequest(self.name, target_siemens=target_siemens))


def cells_of(device: Device) -> list[Cells]:
    """All arrays of a device."""
    if isinstance(device, Substrate):
        return [
            Cells(c.name, c.cell_shape, partial(device.read_cells, c.name), device.write_cells)
            for c in device.network.arrays
        ]
    if isinstance(device, CrossbarArray):
        return [Cells("cells", device.shape, device.read_cells, device.write_cells)]
    raise TypeError(f"{type(device).__name__} has no cells")


def _declaring(device: Device, capability: str) -> list[tuple[Cells, Capabilities]]:
    """The arrays that have a capability, and what each declares."""
    found = [(cells, device.capabilities.of(cells.name)) for cells in cells_of(device)]
    out = [(cells, own) for cells, own in found if getattr(own, capability)]
    if not out:
        raise NotApplicable(f"{capability} is not declared")
    return out


def _expect_report(report: WriteReport, cells: Cells, counts: IntArray) -> None:
    fits = isinstance(report.failed, np.ndarray) and report.failed.shape == cells.shape
    expect(
        fits and report.failed.dtype == np.bool_,
        f"write to {cells.name}: failed: expected booleans of shape {cells.shape}, got {np.shape(report.failed)}",
    )
    asked = int(np.abs(counts).sum())
    taken = int(np.abs(counts[~report.failed]).sum())
    expect(
        report.pulses in (asked, taken),
        f"write to {cells.name}: {asked} pulses were asked for ({taken} of them of cells that move), "
        f"{report.pulses} reported",
    )
    expect(not (report.failed & (counts == 0)).any(), f"write to {cells.name}: cells that were not asked are failed")


def pulses_move_cells(bench: Bench[Any]) -> None:
    """Pulses up raise conductances and pulses down lower them, by the stated step on average; reports add up."""
    with bench.opened() as device:
        pulsed = _declaring(device, "pulses")
        number = bench.tolerance.test_pulses
        kinds = dict.fromkeys(own for _, own in pulsed)
        for kind, (which, sign) in itertools.product(kinds, enumerate((1, -1))):
            moved: list[FloatArray] = []
            step = kind.step_siemens[which]
            for cells in (cells for cells, own in pulsed if own == kind):
                counts = np.full(cells.shape, sign * number)
                if not step:
                    refused(partial(cells.pulse, counts), REFUSAL, f"pulses of sign {sign}")
                    continue
                before = cells.read()
                report = cells.pulse(counts)
                _expect_report(report, cells, counts)
                moved.append((cells.read() - before)[~report.failed])
            if step:
                ratio = float(np.mean(np.concatenate(moved))) / (sign * number * step)
                allowed = bench.tolerance.step_relative
                expect(
                    abs(ratio - 1.0) <= allowed,
                    f"pulses of sign {sign} move the cells by {ratio:.3g} times step_siemens on average, "
                    f"expected 1 +- {allowed:g}",
                )


def writes_stay_in_place(bench: Bench[Any]) -> None:
    """A write moves the cells that are asked to move, and none of the others in any array."""
    with bench.opened() as device:
        arrays = cells_of(device)
        allowed = 2 * bench.tolerance.cells_siemens
        for written in arrays:
            capabilities = device.capabilities.of(written.name)
            before = [cells.read() for cells in arrays]
            own = before[arrays.index(written)]
            chosen = bench.rng.random(written.shape) < 0.3
            if capabilities.pulses:
                sign = 1 if capabilities.step_siemens[0] else -1
                written.pulse(np.where(chosen, sign * bench.tolerance.test_pulses, 0))
            elif capabilities.continuous_writing:
                written.set(np.where(chosen, np.mean(capabilities.conductance_window_siemens), own))
            else:
                raise NotApplicable("the device cannot be written")
            for cells, earlier in zip(arrays, before, strict=True):
                still = ~chosen if cells is written else np.ones(cells.shape, dtype=np.bool_)
                what = f"cells of {cells.name} that a write to {written.name} does not address"
                close(cells.read()[still], earlier[still], allowed, what)


def stuck_cells_are_reported(bench: Bench[Any]) -> None:
    """A cell that moves neither up nor down is reported as failed, and a cell reported as failed has not moved."""
    with bench.opened() as device:
        still = 2 * bench.tolerance.cells_siemens
        for cells, own in _declaring(device, "pulses"):
            signs = [sign for sign, step in zip((1, -1), own.step_siemens, strict=True) if step]
            moved: BoolArray = np.zeros(cells.shape, dtype=np.bool_)
            reported = np.ones(cells.shape, dtype=np.bool_)
            for sign in signs:
                for _ in range(STUCK_PULSES):
                    before = cells.read()
                    failed = cells.pulse(np.full(cells.shape, sign * bench.tolerance.test_pulses)).failed
                    now = np.abs(cells.read() - before) > still
                    expect(not (failed & now).any(), f"{cells.name}: a cell that moved is reported as failed")
                    moved |= now
                    reported &= failed
            if bench.tolerance.reports_stuck_cells:
                silent = int(np.count_nonzero(~moved & ~reported))
                expect(
                    not silent, f"{cells.name}: {silent} cells did not move in either direction and were not reported"
                )


def outright_writes_read_back(bench: Bench[Any]) -> None:
    """After an outright write every cell reads as its target, but for those that are reported as failed."""
    with bench.opened() as device:
        for cells, own in _declaring(device, "continuous_writing"):
            low, high = own.conductance_window_siemens
            for target in (
                np.full(cells.shape, low),
                np.full(cells.shape, high),
                bench.rng.uniform(low, high, cells.shape),
            ):
                report = cells.set(target)
                expect(
                    report.pulses == 0, f"{cells.name}: an outright write reports {report.pulses} pulses, expected 0"
                )
                fits = report.failed.shape == cells.shape and report.failed.dtype == np.bool_
                expect(fits, f"{cells.name}: failed: expected booleans of shape {cells.shape}")
                found = cells.read()
                allowed = bench.tolerance.cells_siemens + 1e-12 * high
                close(found[~report.failed], target[~report.failed], allowed, f"{cells.name}: read back, siemens")
                off = np.abs(found - target) > allowed
                expect(
                    not (report.failed & ~off).any(),
                    f"{cells.name}: a cell that holds its target is reported as failed",
                )


def outer_products_move_pairs(bench: Bench[Substrate]) -> None:
    """Outer products move the cells of each pair apart by their half, up to the ends of the window."""
    with bench.opened() as device:
        for cells, own in _declaring(device, "outer_product_writes"):
            low, high = own.conductance_window_siemens
            for size in (0.01, 0.1, 1.0):
                before = cells.read()
                rows, columns = (bench.rng.uniform(-1.0, 1.0, (2, length)) for length in cells.shape[1:])
                apart = OuterProducts(rows, columns, size * (high - low))
                report = cells.write(WriteRequest(cells.name, apart_siemens=apart))
                half = 0.5 * apart.dense
                wanted = np.stack([before[0] + half, before[1] - half])
                allowed = bench.tolerance.cells_siemens + 1e-12 * high
                close(cells.read(), np.clip(wanted, low, high), allowed, f"{cells.name}: pairs moved apart, siemens")
                beyond = ((wanted < low - allowed) | (wanted > high + allowed)).any(axis=0)
                expect(
                    report.saturated >= int(beyond.sum()),
                    f"{cells.name}: {int(beyond.sum())} pairs were held at the window, {report.saturated} reported",
                )


def snapshot_is_exact(bench: Bench[Substrate]) -> None:
    """After a snapshot is put back, everything happens again bit for bit, as often as it is put back."""
    with bench.opened() as device:
        states = device.states
        if states is None:
            raise NotApplicable("the device has no snapshots")
        _use(device, bench, np.random.default_rng(bench.seed + 1))
        kept = states.snapshot()
        first = _use(device, bench, np.random.default_rng(bench.seed))
        for _ in range(2):
            states.restore(kept)
            again = _use(device, bench, np.random.default_rng(bench.seed))
            for what, one, other in zip(_USED, first, again, strict=True):
                expect(np.array_equal(one, other), f"after restore(), {what} differs from what followed the snapshot")


_USED = ("cells read at once", "the free phase", "a nudge", "cells after a write", "the free phase after a write")


def _use(device: Substrate, bench: Bench[Substrate], rng: np.random.Generator) -> list[FloatArray]:
    def cells() -> FloatArray:
        return np.concatenate([device.read_cells(coupling.name).ravel() for coupling in device.network.arrays])

    def free() -> FloatArray:
        device.hold(held)
        return device.settle().volts

    held = inputs(device, rng, 2)
    seen = [cells(), free()]
    nudge = Nudge(output_nudges(device, rng, 2, bench.tolerance))
    seen.append(device.nudge(nudge, sampling_plan(device, bench.tolerance)).volts)
    for one in cells_of(device):
        own = device.capabilities.of(one.name)
        if own.pulses:
            step = own.step_siemens
            one.pulse(rng.integers(-2 if step[1] else 0, 3 if step[0] else 1, one.shape))
        elif own.continuous_writing:
            low, high = own.conductance_window_siemens
            one.set(rng.uniform(0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high, one.shape))
    return [*seen, cells(), free()]


WRITES = (
    pulses_move_cells,
    writes_stay_in_place,
    stuck_cells_are_reported,
    outright_writes_read_back,
)
