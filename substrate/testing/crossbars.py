"""Checks of a single crossbar: what it refuses, its currents in both directions, reciprocity."""

from collections.abc import Callable
from functools import partial

import numpy as np

from substrate.arrays import FloatArray
from substrate.capabilities import WriteRequest
from substrate.contract import CrossbarArray, Direction
from substrate.errors import CapabilityError, InputError
from substrate.testing.checks import Bench, NotApplicable, close, closed_refuses, expect, refused, untouched

HOOKS = ("_read", "_read_cells", "_pulse", "_set")
DIRECTIONS: tuple[Direction, Direction] = ("forward", "backward")


def _sizes(device: CrossbarArray, direction: Direction) -> tuple[int, int]:
    rows, columns = device.shape
    return (rows, columns) if direction == "forward" else (columns, rows)


def _volts(device: CrossbarArray, rng: np.random.Generator, batch: int, direction: Direction) -> FloatArray:
    limit = device.capabilities.limits.read_volts
    return rng.uniform(-0.8 * limit, 0.8 * limit, (batch, _sizes(device, direction)[0]))


def _largest(device: CrossbarArray) -> float:
    """A current that no line exceeds in a read: every cell of the fullest line at the limit."""
    cells = device.read_cells()
    fullest = max(float(cells.sum(axis=axis).max()) for axis in (0, 1))
    return device.capabilities.limits.read_volts * fullest


def read_limits_are_kept(bench: Bench[CrossbarArray]) -> None:
    """A voltage or a conductance beyond the limits is refused before the device sees it."""
    with bench.opened() as device:
        limit = device.capabilities.limits.read_volts
        for direction in DIRECTIONS:
            volts = _volts(device, bench.rng, 2, direction)
            volts[1, 0] = -1.001 * limit
            what = f"read(direction={direction!r}) beyond limits.read_volts"
            with untouched(device, HOOKS, what):
                refused(partial(device.read, volts, direction), CapabilityError, what, "read_volts")
        low, high = device.capabilities.conductance_window_siemens
        if device.capabilities.continuous_writing:
            for outside in (low - 0.001 * (high - low), high + 0.001 * (high - low)):
                target = np.full(device.shape, 0.5 * (low + high))
                target[-1, 0] = outside
                request = WriteRequest("cells", target_siemens=target)
                with untouched(device, HOOKS, "write_cells() outside the window"):
                    refused(
                        partial(device.write_cells, request),
                        CapabilityError,
                        "write_cells() outside the window",
                        "window",
                    )


def ways_of_writing_are_honest(bench: Bench[CrossbarArray]) -> None:
    """A way of writing that is not declared is refused with a CapabilityError that names it."""
    with bench.opened() as device:
        middle = float(np.mean(device.capabilities.conductance_window_siemens))
        sign = 1 if device.capabilities.step_siemens[0] else -1
        for capability, request in (
            ("pulses", WriteRequest("cells", pulses=np.full(device.shape, sign))),
            ("continuous_writing", WriteRequest("cells", target_siemens=np.full(device.shape, middle))),
        ):
            if getattr(device.capabilities, capability):
                device.write_cells(request)
            else:
                with untouched(device, HOOKS, f"a write that needs {capability}"):
                    refused(
                        partial(device.write_cells, request),
                        CapabilityError,
                        f"a write that needs {capability}",
                        capability,
                    )


def bad_reads_are_refused(bench: Bench[CrossbarArray]) -> None:
    """Wrong shapes and directions, numbers that are not finite and broken pulse counts are refused, unseen."""
    with bench.opened() as device:
        rows, columns = device.shape
        cases = [
            (np.zeros(rows + 1), "forward"),
            (np.zeros((2, columns + 1)), "backward"),
            (np.zeros((1, 1, rows)), "forward"),
            (np.full(rows, np.nan), "forward"),
            (np.full((2, columns), np.inf), "backward"),
            (np.zeros(rows), "sideways"),
        ]
        for volts, direction in cases:
            what = f"read() of shape {volts.shape}, largest {np.max(volts):g} V, {direction}"
            with untouched(device, HOOKS, what):
                # A direction that does not exist is what one of the cases is about.
                refused(partial(device.read, volts, direction), InputError, what)  # type: ignore[arg-type]
        bad = [WriteRequest("cells")]
        if device.capabilities.pulses:
            for shape, value in ((device.shape, 0.5), (device.shape, np.nan), ((rows + 1, columns), 1)):
                bad.append(WriteRequest("cells", pulses=np.full(shape, value)))
        if device.capabilities.continuous_writing:
            middle = float(np.mean(device.capabilities.conductance_window_siemens))
            for shape, value in ((device.shape, np.nan), ((rows + 1, columns), middle)):
                bad.append(WriteRequest("cells", target_siemens=np.full(shape, value)))
        for request in bad:
            with untouched(device, HOOKS, "a malformed write"):
                refused(partial(device.write_cells, request), InputError, "a malformed write")


def reads_have_shapes(bench: Bench[CrossbarArray]) -> None:
    """One vector gives one, a batch a batch; each of a batch is what it is alone."""
    with bench.opened() as device:
        cells = device.read_cells()
        expect(cells.shape == device.shape, f"read_cells(): expected shape {device.shape}, got {cells.shape}")
        largest = _largest(device)
        for direction in DIRECTIONS:
            sensed = _sizes(device, direction)[1]
            volts = _volts(device, bench.rng, 3, direction)
            currents = device.read(volts, direction)
            what = f"read(direction={direction!r})"
            expect(
                currents.shape == (3, sensed), f"{what} of a batch of 3: expected {(3, sensed)}, got {currents.shape}"
            )
            allowed = 2 * bench.tolerance.products_relative * largest
            for single in (device.read(volts[1], direction), device.read(volts[1:2], direction)[0]):
                close(single, currents[1], allowed, f"{what} of one vector alone")


def currents_are_linear(bench: Bench[CrossbarArray]) -> None:
    """No voltage, no current; currents add; a positive voltage gives a positive current into every sense input."""
    with bench.opened() as device:
        allowed = 3 * bench.tolerance.products_relative * _largest(device)
        for direction in DIRECTIONS:
            a, b = _volts(device, bench.rng, 2, direction)
            none = device.read(np.zeros_like(a), direction)
            close(none, np.zeros_like(none), allowed, f"read(0, {direction!r})")
            mixed = device.read(0.25 * a - 0.5 * b, direction)
            wanted = 0.25 * device.read(a, direction) - 0.5 * device.read(b, direction)
            close(mixed, wanted, allowed, f"read(direction={direction!r}) of a sum")
            positive = device.read(np.full(len(a), device.capabilities.limits.read_volts), direction)
            expect(
                (positive > 0).all(),
                f"read(direction={direction!r}): positive voltages give currents out of the sense inputs",
            )


def currents_follow_the_cells(bench: Bench[CrossbarArray]) -> None:
    """Currents in both directions are, within the wires' part, what the cells as read would carry."""
    with bench.opened() as device:
        cells = device.read_cells()
        allowed = (bench.tolerance.products_relative + bench.tolerance.wires_relative) * _largest(device)
        for direction in DIRECTIONS:
            volts = _volts(device, bench.rng, 4, direction)
            ideal = volts @ (cells if direction == "forward" else cells.T)
            close(device.read(volts, direction), ideal, allowed, f"read(direction={direction!r}) against the cells")


def transfer_is_reciprocal(bench: Bench[CrossbarArray]) -> None:
    """With equal terminations the transfer from row i to column j equals that from column j to row i."""
    if not np.isfinite(bench.tolerance.reciprocal_relative):
        raise NotApplicable("terminations are stated to be unequal")
    with bench.opened() as device:
        limit = device.capabilities.limits.read_volts
        rows, columns = device.shape
        forward = device.read(limit * np.eye(rows), "forward")
        backward = device.read(limit * np.eye(columns), "backward")
        relative = bench.tolerance.reciprocal_relative + 2 * bench.tolerance.products_relative
        close(
            forward, backward.T, relative * float(np.abs(forward).max()), "forward against backward transfer, amperes"
        )


def crossbar_exit_is_safe(bench: Bench[CrossbarArray]) -> None:
    """All outputs are at zero after safe_state(), after the end of the context and after an exception in it."""
    drive = bench.drive
    if drive is None:
        raise NotApplicable("takes a witness of the outputs: the argument drive")

    def silent(device: CrossbarArray, when: str) -> None:
        found = drive(device)
        expect(abs(found) <= bench.tolerance.reading_volts(), f"outputs still at {found:.4g} {when}")

    with bench.opened() as device:
        device.read(_volts(device, bench.rng, 2, "forward"))
        device.safe_state()
        silent(device, "after safe_state()")
        device.read(_volts(device, bench.rng, 2, "backward"), "backward")
    silent(device, "after the end of the context")
    try:
        with bench.opened() as device:
            device.read(_volts(device, bench.rng, 2, "forward"))
            raise _Accident
    except _Accident:
        silent(device, "after an exception inside the context")


class _Accident(Exception):
    pass


def closed_is_refused(bench: Bench[CrossbarArray]) -> None:
    """Before it is opened and after it is closed, a crossbar refuses every request, and nothing reaches it."""
    device = bench.make()
    request = WriteRequest("cells", pulses=np.zeros(device.shape))
    uses: dict[str, Callable[[], object]] = {
        "read()": lambda: device.read(np.zeros(device.shape[0])),
        "read_cells()": device.read_cells,
        "write_cells()": lambda: device.write_cells(request),
    }
    closed_refuses(device, uses, HOOKS)


CROSSBARS = (
    read_limits_are_kept,
    ways_of_writing_are_honest,
    bad_reads_are_refused,
    reads_have_shapes,
    currents_are_linear,
    currents_follow_the_cells,
    transfer_is_reciprocal,
    crossbar_exit_is_safe,
    closed_is_refused,
)
