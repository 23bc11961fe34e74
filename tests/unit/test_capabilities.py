from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.capabilities import Capabilities, HeldVoltages, Limits, Nudge, WriteRequest, check
from substrate.errors import CapabilityError

LOW, HIGH = 1e-6, 1e-4
DEVICE = Capabilities(
    limits=Limits(read_volts=0.3, write_volts=2.0, current_amperes=1e-3),
    conductance_window_siemens=(LOW, HIGH),
    step_siemens=(1e-7, 2e-7),
    highest_frequency_hz=1e4,
    pulses=True,
    continuous_writing=True,
    simultaneous_sampling=True,
    complex_nudges=False,
    node_nudges=False,
    forward_products=True,
    exact_adjoint=False,
    state_snapshots=False,
)
FLAGS = [name for name, value in vars(DEVICE).items() if isinstance(value, bool)]


@pytest.mark.parametrize("flag", FLAGS)
def test_require_refuses_exactly_what_is_lacking_and_names_it(flag):
    replace(DEVICE, **{flag: True}).require(flag, "the purpose")
    with pytest.raises(CapabilityError, match=f"the purpose.*{flag}"):
        replace(DEVICE, **{flag: False}).require(flag, "the purpose")


@given(st.floats(0.0, 2.0), st.integers(0, 5), st.sampled_from([-1.0, 1.0]))
def test_voltages_pass_up_to_the_limit_and_not_beyond(factor, place, sign):
    volts = np.zeros((2, 3))
    volts.flat[place] = sign * factor * 0.3
    if factor <= 1.0:
        check(HeldVoltages(volts, "inputs"), DEVICE)
    elif factor > 1.0 + 1e-9:
        with pytest.raises(CapabilityError, match=r"inputs.*limits\.read_volts = 0\.3 V"):
            check(HeldVoltages(volts, "inputs"), DEVICE)


@pytest.mark.parametrize("value", [1.001e-3, -1.001e-3, np.nan, np.inf])
def test_currents_beyond_the_limit_are_refused(value):
    check(Nudge(np.array([[1e-3, -1e-3]])), DEVICE)
    with pytest.raises(CapabilityError, match=r"limits\.current_amperes"):
        check(Nudge(np.array([[0.0, value]])), DEVICE)


def test_nothing_at_all_is_within_every_limit():
    check(HeldVoltages(np.zeros((0, 4)), "inputs"), DEVICE)
    check(Nudge(np.zeros((0, 4))), DEVICE)


@pytest.mark.parametrize("value", [0.99 * LOW, 1.01 * HIGH, -LOW, np.nan, np.inf])
def test_a_conductance_outside_the_window_is_refused_with_its_place(value):
    target = np.full((2, 3, 4), 5e-5)
    target[1, 2, 3] = value
    with pytest.raises(CapabilityError, match=r"array.*\(1, 2, 3\).*window"):
        check(WriteRequest("array", target_siemens=target), DEVICE)


def test_the_ends_of_the_window_are_inside():
    check(WriteRequest("array", target_siemens=np.array([LOW, HIGH])), DEVICE)


@pytest.mark.parametrize("request_", [WriteRequest("a"), WriteRequest("a", pulses=[1], target_siemens=[5e-5])])
def test_a_write_is_either_by_pulses_or_outright(request_):
    with pytest.raises(CapabilityError, match="either"):
        check(request_, DEVICE)


def test_a_way_of_writing_that_is_lacking_is_named():
    with pytest.raises(CapabilityError, match=r"by pulses.*'pulses'"):
        check(WriteRequest("a", pulses=[1]), replace(DEVICE, pulses=False))
    with pytest.raises(CapabilityError, match="continuous_writing"):
        check(WriteRequest("a", target_siemens=[5e-5]), replace(DEVICE, continuous_writing=False))


def test_writes_are_checked_against_the_cells_of_their_own_array():
    other = replace(DEVICE, conductance_window_siemens=(1e-7, 2e-5), pulses=False)
    device = replace(DEVICE, other_arrays={"b": other})
    assert device.kinds == (device, other)
    assert device.of("a") is device
    for name, fits, beyond in (("a", 5e-5, 5e-7), ("b", 5e-7, 5e-5)):
        check(WriteRequest(name, target_siemens=[fits]), device)
        with pytest.raises(CapabilityError, match="window"):
            check(WriteRequest(name, target_siemens=[beyond]), device)
    check(WriteRequest("a", pulses=[1]), device)
    with pytest.raises(CapabilityError, match="'pulses'"):
        check(WriteRequest("b", pulses=[1]), device)


def test_an_unknown_kind_of_request_is_a_programming_error():
    with pytest.raises(TypeError, match="dict"):
        check({"volts": 3}, DEVICE)


def test_capabilities_are_frozen():
    with pytest.raises(FrozenInstanceError):
        DEVICE.pulses = False
    with pytest.raises(FrozenInstanceError):
        DEVICE.limits.read_volts = 5.0
