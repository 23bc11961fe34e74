import inspect
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest

from substrate.capabilities import Capabilities, HeldNudge, Limits, Nudge, WriteRequest
from substrate.contract import CrossbarArray, HeldStates, Record, Scale, Substrate, WriteReport
from substrate.device import Device
from substrate.errors import CapabilityError, InputError, RunInterrupted
from substrate.network import Network
from substrate.tones import SamplingPlan

CAPABILITIES = Capabilities(
    limits=Limits(read_volts=0.3, write_volts=2.0, current_amperes=1e-3),
    conductance_window_siemens=(1e-6, 1e-4),
    step_siemens=(1e-7, 1e-7),
    highest_frequency_hz=1e4,
    pulses=True,
    continuous_writing=True,
    simultaneous_sampling=True,
    complex_nudges=False,
    node_nudges=True,
    forward_products=True,
    exact_adjoint=False,
    state_snapshots=False,
)
PLAN = SamplingPlan(1000.0, 3, 16, 2)


class Fails(Exception):
    pass


class Recording:
    """The hooks that both seams share: writes down what is called, and fails where it is told to."""

    def __init__(self, capabilities=CAPABILITIES, failing=()):
        self.calls, self.failing, self.given = [], failing, None
        self._capabilities = capabilities

    @property
    def capabilities(self):
        return self._capabilities

    def note(self, name, given=None):
        self.calls.append(name)
        self.given = given
        if name in self.failing:
            raise Fails(name)

    def _open(self):
        self.note("open")

    def _safe_state(self):
        self.note("safe")

    def _close(self):
        self.note("close")


class Net(Recording, Substrate):
    network = Network((3, 2, 2))
    scale = Scale(0.2, 2.5e-5)
    oracle = None
    states = None

    def _hold(self, volts):
        self.note("hold", volts)

    def _settle(self):
        self.note("settle")
        nothing = np.zeros(0)
        return Record(np.zeros((0, 1, 4)), 0.0, 0.0, nothing.astype(bool), nothing.astype(bool), nothing)

    def _nudge(self, nudge, plan):
        self.note("nudge", (nudge, plan))
        return self._settle()

    def _settle_nudged(self, nudge):
        self.note("settle_nudged", nudge)
        done = np.ones(nudge.amperes.shape[:2], dtype=bool)
        return HeldStates(nudge.amperes, ~done, done, np.zeros(done.shape))

    def _products(self, coupling, volts, direction):
        self.note("products", (coupling, volts, direction))
        return volts[:, :2]

    def _read_cells(self, coupling):
        self.note("read_cells", coupling)
        return np.zeros((2, *self.network.array(coupling).shape))

    def _write_cells(self, request):
        self.note("write_cells", request)
        return WriteReport(0, np.zeros((2, *self.network.array(request.coupling).shape), dtype=bool))


class Ports(Recording, CrossbarArray):
    shape = (3, 2)

    def _read(self, volts, direction):
        self.note("read", (volts, direction))
        return volts @ (np.ones((3, 2)) if direction == "forward" else np.ones((2, 3)))

    def _read_cells(self):
        self.note("read_cells")
        return np.ones((3, 2))

    def _pulse(self, counts):
        self.note("pulse", counts)
        return np.zeros((3, 2), dtype=bool)

    def _set(self, target_siemens):
        self.note("set", target_siemens)
        return np.zeros((3, 2), dtype=bool)


def opened(device):
    """The device in use, what opening called forgotten."""
    device.__enter__()
    device.calls.clear()
    return device


BOTH = pytest.mark.parametrize("kind", [Net, Ports])


@BOTH
def test_constructing_opens_nothing_and_leaving_is_safe_then_closed(kind):
    device = kind()
    assert device.calls == []
    with device as entered:
        assert entered is device
        assert device.calls == ["open"]
    assert device.calls == ["open", "safe", "close"]


@BOTH
def test_an_exception_inside_leaves_safely_and_comes_out(kind):
    device = kind()
    with pytest.raises(KeyboardInterrupt), device:
        raise KeyboardInterrupt
    assert device.calls == ["open", "safe", "close"]


@BOTH
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_another_interrupt_waits_until_the_device_is_safe_and_closed(kind, number):
    def stop(*_):
        raise KeyboardInterrupt

    class Impatient(kind):
        def _safe_state(self):
            signal.raise_signal(number)
            self.note("safe")

    device, before = Impatient(), signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt), device:
            raise Fails
        assert device.calls == ["open", "safe", "close"]
        with pytest.raises(KeyboardInterrupt):
            device.safe_state()
        assert device.calls[3:] == ["safe"]
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)


@BOTH
def test_a_device_is_left_in_another_thread_as_well(kind):
    device = kind()

    def use():
        with device:
            pass

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert device.calls == ["open", "safe", "close"]


@BOTH
def test_the_device_closes_even_if_its_safe_state_fails(kind):
    device = kind(failing=("safe",))
    with pytest.raises(Fails, match="safe"), device:
        pass
    assert device.calls == ["open", "safe", "close"]


@BOTH
def test_a_device_that_opens_halfway_is_made_safe_and_closed(kind):
    device = kind(failing=("open",))
    with pytest.raises(Fails, match="open"), device:
        raise AssertionError("the context must not be entered")
    assert device.calls == ["open", "safe", "close"]


@BOTH
def test_the_first_error_is_reported_when_opening_and_the_safe_state_both_fail(kind):
    device = kind(failing=("open", "safe"))
    with pytest.raises(Fails, match="open") as caught, device:
        raise AssertionError("the context must not be entered")
    assert any("safe state was not reached" in note for note in caught.value.__notes__)
    assert device.calls == ["open", "safe", "close"]


@BOTH
def test_what_ended_the_use_is_reported_before_a_safe_state_that_fails(kind):
    device = kind(failing=("safe",))
    with pytest.raises(Fails, match="the cause") as caught, device:
        raise Fails("the cause")
    assert caught.value.__notes__ == ["the safe state was not reached either: safe"]
    for stop in (RunInterrupted("stopped on request"), KeyboardInterrupt()):
        with pytest.raises(Fails, match=r"^safe$"), device:
            raise stop
    assert device.calls == 3 * ["open", "safe", "close"]


@BOTH
def test_the_safe_state_is_there_on_request(kind):
    device = kind()
    device.safe_state()
    device.safe_state()
    assert device.calls == ["safe", "safe"]


@pytest.mark.parametrize(("kind", "seam"), [(Net, Substrate), (Ports, CrossbarArray)], ids=["substrate", "crossbar"])
def test_a_backend_that_lacks_any_hook_does_not_instantiate(kind, seam):
    assert seam.__abstractmethods__ > Device.__abstractmethods__
    for hook in seam.__abstractmethods__:
        incomplete = type("Incomplete", (kind,), {hook: getattr(seam, hook)})
        with pytest.raises(TypeError, match=hook):
            incomplete()


@pytest.mark.parametrize("seam", [Device, Substrate, CrossbarArray])
def test_every_method_is_abstract_or_final(seam):
    for name, member in vars(seam).items():
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function):
            abstract = getattr(function, "__isabstractmethod__", False)
            assert abstract != getattr(function, "__final__", False), name


CLOSED = {
    "hold": (Net, lambda d: d.hold([[0, 0, 0]])),
    "settle": (Net, lambda d: d.settle()),
    "nudge": (Net, lambda d: d.nudge(nudge(0, 0), PLAN)),
    "settle_nudged": (Net, lambda d: d.settle_nudged(HeldNudge(np.zeros((1, 1, 4))))),
    "evolve": (Net, lambda d: d.evolve()),
    "rest": (Net, lambda d: d.rest()),
    "products": (Net, lambda d: d.products("input-hidden1", np.zeros((1, 4)))),
    "read_cells of a network": (Net, lambda d: d.read_cells("input-hidden1")),
    "write_cells of a network": (Net, lambda d: d.write_cells(pulses(1))),
    "read": (Ports, lambda d: d.read([0, 0, 0])),
    "read_cells": (Ports, lambda d: d.read_cells()),
    "write_cells": (Ports, lambda d: d.write_cells(WriteRequest("", pulses=np.ones((3, 2))))),
}


@pytest.mark.parametrize("what", CLOSED)
def test_a_closed_device_is_asked_for_nothing(what):
    kind, action = CLOSED[what]
    device = kind()
    with pytest.raises(InputError, match=f"{kind.__name__} is not open.*context manager"):
        action(device)
    assert device.calls == []
    with device:
        pass
    with pytest.raises(InputError, match="not open"):
        action(device)
    assert device.calls == ["open", "safe", "close"]


@BOTH
def test_a_device_that_failed_to_open_is_closed(kind):
    device = kind(failing=("open",))
    with pytest.raises(Fails), device:
        pass
    with pytest.raises(InputError, match="not open"):
        device.read_cells(*([] if kind is Ports else ["input-hidden1"]))


def test_inputs_are_handed_on_as_floats_and_checked_first():
    device = opened(Net())
    device.hold([[0, 0.1, -0.3]])
    assert device.given.dtype == np.float64
    assert np.array_equal(device.given, [[0.0, 0.1, -0.3]])


NET_REFUSES = {
    "volts beyond the limit": (lambda d: d.hold([[0, 0, 0.31]]), CapabilityError, "read_volts"),
    "negative volts beyond the limit": (lambda d: d.hold([[0, 0, -0.31]]), CapabilityError, "read_volts"),
    "volts that are not finite": (lambda d: d.hold([[0, 0, np.nan]]), InputError, r"inputs.*\(0, 2\)"),
    "one vector of inputs": (lambda d: d.hold([0, 0, 0]), InputError, "shape"),
    "too many inputs": (lambda d: d.hold(np.zeros((2, 4))), InputError, "shape"),
    "words": (lambda d: d.hold("volts"), InputError, "inputs"),
    "amperes beyond the limit": (lambda d: d.nudge(nudge(0, 2e-3), PLAN), CapabilityError, "current_amperes"),
    "amperes that are not finite": (lambda d: d.nudge(nudge(0, np.inf), PLAN), InputError, "nudge"),
    "a nudge of the wrong shape": (lambda d: d.nudge(Nudge(np.zeros((2, 3))), PLAN), InputError, "shape"),
    "a complex nudge": (lambda d: d.nudge(Nudge(np.full((1, 4), 1e-5j)), PLAN), CapabilityError, "complex_nudges"),
    "a nudge too fast": (
        lambda d: d.nudge(nudge(0, 0), replace(PLAN, frequency_hz=10001.0)),
        CapabilityError,
        "frequency_hz",
    ),
    "products of an unknown array": (lambda d: d.products("no-such", [[0]]), InputError, "no-such"),
    "products without the bias line": (lambda d: d.products("input-hidden1", [[0, 0, 0]]), InputError, "shape"),
    "products beyond the limit": (
        lambda d: d.products("input-hidden1", [[0, 0, 0, 0.4]]),
        CapabilityError,
        "read_volts",
    ),
    "reading an unknown array": (lambda d: d.read_cells("no-such"), InputError, "no-such"),
    "a write of nothing": (lambda d: d.write_cells(WriteRequest("input-hidden1")), InputError, "either"),
    "pulses for an unknown array": (lambda d: d.write_cells(pulses(1, "no-such")), InputError, "no-such"),
    "half a pulse": (lambda d: d.write_cells(pulses(0.5)), InputError, "whole"),
    "pulses that are not finite": (lambda d: d.write_cells(pulses(np.nan)), InputError, "pulses"),
    "more pulses than can be counted": (lambda d: d.write_cells(pulses(1e17)), InputError, "whole"),
    "pulses of the wrong shape": (
        lambda d: d.write_cells(WriteRequest("input-hidden1", pulses=np.ones((4, 2)))),
        InputError,
        "shape",
    ),
    "a target outside the window": (lambda d: d.write_cells(target(2e-4)), CapabilityError, "window"),
    "a target that is not finite": (lambda d: d.write_cells(target(np.nan)), InputError, "window"),
    "targets of the wrong shape": (
        lambda d: d.write_cells(WriteRequest("input-hidden1", target_siemens=np.full((4, 2), 5e-5))),
        InputError,
        "shape",
    ),
}


def nudge(*amperes):
    return Nudge(np.array([[0.0, 0.0, *amperes]]))


def pulses(count, name="input-hidden1"):
    return WriteRequest(name, pulses=np.full((2, 4, 2), count))


def target(siemens):
    return WriteRequest("input-hidden1", target_siemens=np.full((2, 4, 2), siemens))


@pytest.mark.parametrize("what", NET_REFUSES)
def test_a_network_refuses_before_the_device_sees_it(what):
    action, kind, message = NET_REFUSES[what]
    device = opened(Net())
    with pytest.raises(kind, match=message):
        action(device)
    assert device.calls == []


@pytest.mark.parametrize(
    ("capability", "action"),
    [
        ("forward_products", lambda d: d.products("input-hidden1", np.zeros((1, 4)))),
        ("pulses", lambda d: d.write_cells(pulses(1))),
        ("continuous_writing", lambda d: d.write_cells(target(5e-5))),
        ("node_nudges", lambda d: d.nudge(Nudge(np.array([[1e-5, 0, 0, 0]])), PLAN)),
    ],
)
def test_what_is_not_declared_is_refused_by_name_and_what_is_goes_through(capability, action):
    lacking = opened(Net(replace(CAPABILITIES, **{capability: False})))
    with pytest.raises(CapabilityError, match=capability):
        action(lacking)
    assert lacking.calls == []
    able = opened(Net())
    action(able)
    assert able.calls


def test_a_nudge_of_the_outputs_needs_no_ports_at_hidden_nodes():
    device = opened(Net(replace(CAPABILITIES, node_nudges=False)))
    device.nudge(nudge(1e-5, -1e-5), PLAN)
    assert device.calls[0] == "nudge"


def test_pulse_counts_reach_the_device_as_integers():
    device = opened(Net())
    device.write_cells(pulses(-3.0))
    assert device.given.pulses.dtype == np.int64
    assert (device.given.pulses == -3).all()
    assert device.given.target_siemens is None


def test_targets_reach_the_device_as_they_are():
    device = opened(Net())
    device.write_cells(target(5e-5))
    assert (device.given.target_siemens == 5e-5).all()
    assert device.given.pulses is None


def test_scale_makes_amperes_of_volts_and_siemens():
    assert Scale(0.2, 2.5e-5).unit_amperes == pytest.approx(5e-6)


PORTS_REFUSE = {
    "volts beyond the limit": (lambda d: d.read([0, 0, 0.31]), CapabilityError, "read_volts"),
    "volts that are not finite": (lambda d: d.read([0, 0, np.inf]), InputError, "volts"),
    "too few lines": (lambda d: d.read([0, 0]), InputError, "shape"),
    "too many lines backward": (lambda d: d.read([0, 0, 0], "backward"), InputError, "shape"),
    "too many axes": (lambda d: d.read(np.zeros((1, 1, 3))), InputError, "shape"),
    "another direction": (lambda d: d.read([0, 0, 0], "up"), InputError, "direction.*'up'"),
    "pulses of the wrong shape": (
        lambda d: d.write_cells(WriteRequest("", pulses=np.ones((2, 3)))),
        InputError,
        "shape",
    ),
    "half a pulse": (lambda d: d.write_cells(WriteRequest("", pulses=np.full((3, 2), 0.5))), InputError, "whole"),
    "a target outside the window": (
        lambda d: d.write_cells(WriteRequest("", target_siemens=np.full((3, 2), 1e-7))),
        CapabilityError,
        "window",
    ),
}


@pytest.mark.parametrize("what", PORTS_REFUSE)
def test_a_crossbar_refuses_before_the_device_sees_it(what):
    action, kind, message = PORTS_REFUSE[what]
    device = opened(Ports())
    with pytest.raises(kind, match=message):
        action(device)
    assert device.calls == []


@pytest.mark.parametrize(("direction", "driven", "sensed"), [("forward", 3, 2), ("backward", 2, 3)])
def test_reads_keep_the_batch_axis_of_what_they_are_given(direction, driven, sensed):
    device = opened(Ports())
    assert device.read(np.full(driven, 0.1), direction).shape == (sensed,)
    assert device.given[0].shape == (1, driven)
    assert device.given[1] == direction
    assert device.read(np.full((1, driven), 0.1), direction).shape == (1, sensed)
    assert device.read(np.full((5, driven), 0.1), direction).shape == (5, sensed)


def test_crossbar_writes_report_the_pulses_that_were_asked_for():
    device = opened(Ports())
    counts = np.array([[1, -2], [0, 3], [0, 0]])
    assert device.write_cells(WriteRequest("", pulses=counts)).pulses == 6
    assert np.array_equal(device.given, counts)
    assert device.write_cells(WriteRequest("", target_siemens=np.full((3, 2), 5e-5))).pulses == 0
    assert device.calls == ["pulse", "set"]
