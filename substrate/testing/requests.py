"""Checks of what a network refuses: beyond the limits, not declared, malformed, out of order."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from substrate.arrays import FloatArray
from substrate.capabilities import Capabilities, HeldNudge, Nudge, WriteRequest
from substrate.contract import Substrate
from substrate.errors import CapabilityError, InputError
from substrate.network import Coupling
from substrate.outer_products import OuterProducts
from substrate.testing.checks import REFUSAL, Bench, ConformanceError, closed_refuses, expect, refused, untouched
from substrate.testing.preparing import inputs, no_nudge, output_nudges, sampling_plan

HOOKS = ("_hold", "_settle", "_nudge", "_settle_nudged", "_products", "_read_cells", "_write_cells")


def limits_are_kept(bench: Bench[Substrate]) -> None:
    """A voltage, a current, a frequency or a conductance beyond the limits is refused before the device sees it."""
    with bench.opened() as device:
        capabilities, network = device.capabilities, device.network
        limits, plan = capabilities.limits, sampling_plan(device, bench.tolerance)
        held = inputs(device, bench.rng, 2)
        device.hold(held)
        device.settle()
        over = held.copy()
        over[1, -1] = -1.001 * limits.read_volts
        with untouched(device, HOOKS, "hold() beyond limits.read_volts"):
            refused(lambda: device.hold(over), CapabilityError, "hold() beyond limits.read_volts", "read_volts")
        amperes = np.zeros((2, network.node_count))
        amperes[1, -1] = 1.001 * limits.current_amperes
        with untouched(device, HOOKS, "nudge() beyond limits.current_amperes"):
            what = "nudge() beyond limits.current_amperes"
            refused(lambda: device.nudge(Nudge(amperes), plan), CapabilityError, what, "current_amperes")
        with untouched(device, HOOKS, "settle_nudged() beyond limits.current_amperes"):
            what = "settle_nudged() beyond limits.current_amperes"
            over_held = HeldNudge(amperes[:, None])
            refused(lambda: device.settle_nudged(over_held), CapabilityError, what, "current_amperes")
        if np.isfinite(capabilities.highest_frequency_hz):
            fast = replace(plan, frequency_hz=1.001 * capabilities.highest_frequency_hz)
            with untouched(device, HOOKS, "nudge() beyond highest_frequency_hz"):
                what = "nudge() beyond highest_frequency_hz"
                refused(lambda: device.nudge(no_nudge(device, 2), fast), CapabilityError, what, "frequency_hz")
        for coupling in network.arrays:
            if capabilities.forward_products:
                volts = np.zeros((1, coupling.shape[0]))
                volts[0, 0] = 1.001 * limits.read_volts
                what = f"products({coupling.name!r}) beyond limits.read_volts"
                with untouched(device, HOOKS, what):
                    refused(partial(device.products, coupling.name, volts), CapabilityError, what, "read_volts")
            own = capabilities.of(coupling.name)
            if own.continuous_writing:
                low, high = own.conductance_window_siemens
                for outside in (low - 0.001 * (high - low), high + 0.001 * (high - low)):
                    target = np.full(coupling.cell_shape, 0.5 * (low + high))
                    target[-1, -1, 0] = outside
                    request = WriteRequest(coupling.name, target_siemens=target)
                    what = f"write_cells({coupling.name!r}) outside the window"
                    with untouched(device, HOOKS, what):
                        refused(partial(device.write_cells, request), CapabilityError, what, "window")


def capabilities_are_honest(bench: Bench[Substrate]) -> None:
    """What is declared works; what is not declared is refused with a CapabilityError that names it."""
    with bench.opened() as device:
        capabilities, network = device.capabilities, device.network
        plan, name = sampling_plan(device, bench.tolerance), network.arrays[0].name
        shape = network.arrays[0].cell_shape
        device.hold(inputs(device, bench.rng, 2))
        device.settle()
        if network.output.start > 0:
            amperes = output_nudges(device, bench.rng, 2, bench.tolerance, outputs_only=False)
            amperes[:, network.output.nodes] = 0.0
            _declared(
                device, "node_nudges", lambda: _expect_moved(device, device.nudge(Nudge(amperes), plan).volts, bench)
            )
        turned = np.zeros((2, 1, network.node_count), dtype=complex)
        turned[:, 0, -1] = 1j * output_nudges(device, bench.rng, 2, bench.tolerance)[:, -1]
        _declared(device, "complex_nudges", lambda: _expect_continued(device, HeldNudge(turned)))
        nothing, count = np.zeros((2, 1, network.node_count)), network.node_count
        _declared(device, "feedback_nudges", lambda: device.settle_nudged(HeldNudge(nothing, nothing)))
        crossed = HeldNudge(nothing, cross_siemens=np.zeros((count, count)))
        _declared(device, "cross_feedback", lambda: device.settle_nudged(crossed))
        if not capabilities.stepping or device.stepper is not None:
            _declared(device, "stepping", lambda: (device.evolve(HeldNudge(nothing)), device.rest(), device.settle()))
        _declared(device, "forward_products", lambda: device.products(name, np.zeros((1, shape[1]))))
        if capabilities.forward_products:
            back = np.zeros((1, shape[2]))
            _declared(device, "transposed_products", lambda: device.products(name, back, "backward"))
        oracle, states = device.oracle, device.states
        if capabilities.exact_adjoint and oracle is not None:
            oracle.adjoint(np.ones((2, network.node_count)))
        if capabilities.state_snapshots and states is not None:
            states.restore(states.snapshot())
        for own in capabilities.kinds:
            _writing_is_honest(device, next(one for one in network.arrays if capabilities.of(one.name) == own))


def _writing_is_honest(device: Substrate, coupling: Coupling) -> None:
    own, name, shape = device.capabilities.of(coupling.name), coupling.name, coupling.cell_shape
    counts = np.zeros(shape, dtype=np.int64)
    counts[0, 0, 0] = 1 if own.step_siemens[0] > 0 else -1
    requests = {
        "pulses": WriteRequest(name, pulses=counts),
        "resets": WriteRequest(name, reset=np.ones(shape, dtype=np.bool_)),
        "continuous_writing": WriteRequest(
            name, target_siemens=np.full(shape, np.mean(own.conductance_window_siemens))
        ),
    }
    if shape[0] == 2:
        apart = OuterProducts(np.zeros((1, shape[1])), np.zeros((1, shape[2])))
        requests["outer_product_writes"] = WriteRequest(name, apart_siemens=apart)
    for capability, request in requests.items():
        _declared(device, capability, partial(device.write_cells, request), own)


def _declared(
    device: Substrate, capability: str, use: Callable[[], object], capabilities: Capabilities | None = None
) -> None:
    if not getattr(capabilities or device.capabilities, capability):
        with untouched(device, HOOKS, f"use of {capability}, which is not declared"):
            refused(use, CapabilityError, f"use of {capability}, which is not declared", capability)
        return
    try:
        use()
    except ConformanceError:
        raise
    except Exception as error:
        message = f"{capability} is declared, but using it raised {type(error).__name__}: {error}"
        raise ConformanceError(message) from error


def _expect_continued(device: Substrate, nudge: HeldNudge) -> None:
    """Held complex currents give the conjugate states under their conjugates, and no real ones."""
    states = device.settle_nudged(nudge)
    mirrored = device.settle_nudged(HeldNudge(nudge.amperes.conj()))
    expect(bool(states.settled.all()), "complex_nudges is declared, but small ones do not settle")
    volts = states.volts
    expect(bool(np.any(volts.imag)), "complex_nudges is declared, but a complex nudge leaves the states real")
    expect(
        bool(np.allclose(mirrored.volts, volts.conj(), rtol=1e-6, atol=1e-6 * np.abs(volts).max())),
        "complex_nudges is declared, but conjugate nudges do not give conjugate states",
    )


def _expect_moved(device: Substrate, volts: FloatArray, bench: Bench[Substrate]) -> None:
    hidden = volts[:, :, : device.network.output.start]
    moved = float(np.ptp(hidden, axis=1).max())
    allowed = 2.0 * bench.tolerance.reading_volts()
    expect(moved > allowed, "node_nudges is declared, but a nudge of all hidden nodes moves none of them")


def bad_input_is_refused(bench: Bench[Substrate]) -> None:
    """Wrong shapes, numbers that are not finite, unknown arrays and broken pulse counts are refused, unseen."""
    with bench.opened() as device:
        network, plan = device.network, sampling_plan(device, bench.tolerance)
        held = inputs(device, bench.rng, 2)
        device.hold(held)
        device.settle()
        for bad in (np.nan, np.inf):
            spoiled = held.copy()
            spoiled[0, 0] = bad
            with untouched(device, HOOKS, f"hold() of {bad}"):
                refused(partial(device.hold, spoiled), InputError, f"hold() of {bad}")
            amperes = np.zeros((2, network.node_count))
            amperes[1, -1] = bad
            with untouched(device, HOOKS, f"nudge() of {bad}"):
                refused(partial(device.nudge, Nudge(amperes), plan), InputError, f"nudge() of {bad}")
            with untouched(device, HOOKS, f"settle_nudged() of {bad}"):
                held_nudge = HeldNudge(amperes[:, None])
                refused(partial(device.settle_nudged, held_nudge), InputError, f"settle_nudged() of {bad}")
        for shape in ((network.input_size,), (2, network.input_size + 1), (2, 1, network.input_size)):
            with untouched(device, HOOKS, f"hold() of shape {shape}"):
                refused(partial(device.hold, np.zeros(shape)), InputError, f"hold() of shape {shape}")
        for shape in ((network.node_count,), (2, network.node_count + 1)):
            what = f"nudge() of shape {shape}"
            with untouched(device, HOOKS, what):
                refused(partial(device.nudge, Nudge(np.zeros(shape)), plan), InputError, what)
        refused(lambda: device.nudge(no_nudge(device, 3), plan), REFUSAL, "nudge() of a batch of 3 where 2 are held")
        with untouched(device, HOOKS, "read_cells() of an unknown array"):
            refused(lambda: device.read_cells("no-such"), InputError, "read_cells() of an unknown array", "no-such")
        _bad_writes(device)


def _bad_writes(device: Substrate) -> None:
    name, shape = device.network.arrays[0].name, device.network.arrays[0].cell_shape
    low, high = device.capabilities.conductance_window_siemens
    middle = 0.5 * (low + high)
    bad = [WriteRequest(name), WriteRequest(name, pulses=np.zeros(shape), target_siemens=np.full(shape, middle))]
    if device.capabilities.pulses:
        bad += [
            WriteRequest(name, pulses=np.full(shape, 0.5)),
            WriteRequest(name, pulses=np.full(shape, np.nan)),
            WriteRequest(name, pulses=np.zeros(shape[1:])),
            WriteRequest("no-such", pulses=np.zeros(shape)),
        ]
    if device.capabilities.continuous_writing:
        bad += [
            WriteRequest(name, target_siemens=np.full(shape, np.nan)),
            WriteRequest(name, target_siemens=np.full(shape[1:], middle)),
            WriteRequest("no-such", target_siemens=np.full(shape, middle)),
        ]
    for request in bad:
        given = request.pulses if request.pulses is not None else request.target_siemens
        what = f"write_cells({request.coupling!r}) of {'nothing' if given is None else f'shape {np.shape(given)}'}"
        with untouched(device, HOOKS, what):
            refused(partial(device.write_cells, request), InputError, what)


def order_is_kept(bench: Bench[Substrate]) -> None:
    """A nudge needs a free phase at the inputs now held: before settle(), and again after hold(), it is refused."""
    with bench.opened() as device:
        plan = sampling_plan(device, bench.tolerance)
        refused(lambda: device.nudge(no_nudge(device, 2), plan), REFUSAL, "nudge() before anything is held")
        device.hold(inputs(device, bench.rng, 2))
        refused(lambda: device.nudge(no_nudge(device, 2), plan), REFUSAL, "nudge() before settle()")
        nothing = HeldNudge(np.zeros((2, 1, device.network.node_count)))
        refused(lambda: device.settle_nudged(nothing), REFUSAL, "settle_nudged() before settle()")
        device.settle()
        device.nudge(no_nudge(device, 2), plan)
        device.hold(inputs(device, bench.rng, 2))
        refused(lambda: device.nudge(no_nudge(device, 2), plan), REFUSAL, "nudge() after hold(), without settle()")


def exit_is_safe(bench: Bench[Substrate]) -> None:
    """Nothing is held any more after safe_state(), after the end of the context and after an exception in it."""
    with bench.opened() as device:
        _hold_and_settle(device, bench)
        device.safe_state()
        _expect_silent(device, bench, "after safe_state()")
        _hold_and_settle(device, bench)
    _expect_silent(device, bench, "after the end of the context")
    try:
        with bench.opened() as device:
            _hold_and_settle(device, bench)
            raise _Accident
    except _Accident:
        _expect_silent(device, bench, "after an exception inside the context")


class _Accident(Exception):
    pass


def _hold_and_settle(device: Substrate, bench: Bench[Substrate]) -> None:
    device.hold(inputs(device, bench.rng, 2))
    device.settle()
    device.nudge(Nudge(output_nudges(device, bench.rng, 2, bench.tolerance)), sampling_plan(device, bench.tolerance))


def _expect_silent(device: Substrate, bench: Bench[Substrate], when: str) -> None:
    if bench.drive is not None:
        drive = bench.drive(device)
        expect(abs(drive) <= bench.tolerance.reading_volts(), f"outputs still at {drive:.4g} {when}")
    try:
        # The hook itself: a closed device's settle() would be refused before the device is asked.
        record = device._settle()
    except Exception:
        # Whatever a silent or closed device says to it, it holds nothing.
        return
    expect(len(record.volts) == 0, f"inputs are still held {when}: settle() gives a batch of {len(record.volts)}")


def closed_is_refused(bench: Bench[Substrate]) -> None:
    """Before it is opened and after it is closed, a device refuses every request, and nothing reaches it."""
    device = bench.make()
    network = device.network
    volts = np.zeros((1, network.input_size))
    plan = sampling_plan(device, bench.tolerance)
    coupling = network.arrays[0]
    request = WriteRequest(coupling.name, pulses=np.zeros(coupling.cell_shape))
    uses: dict[str, Callable[[], object]] = {
        "hold()": lambda: device.hold(volts),
        "settle()": device.settle,
        "nudge()": lambda: device.nudge(no_nudge(device, 1), plan),
        "settle_nudged()": lambda: device.settle_nudged(HeldNudge(np.zeros((1, 1, network.node_count)))),
        "evolve()": device.evolve,
        "rest()": device.rest,
        "products()": lambda: device.products(coupling.name, np.zeros((1, coupling.shape[0]))),
        "read_cells()": lambda: device.read_cells(coupling.name),
        "write_cells()": lambda: device.write_cells(request),
    }
    closed_refuses(device, uses, HOOKS)


REQUESTS = (
    limits_are_kept,
    capabilities_are_honest,
    bad_input_is_refused,
    order_is_kept,
    exit_is_safe,
    closed_is_refused,
)
