"""Transients against closed forms and each other; settle detection."""

import numpy as np
import pytest
from random_networks import pair, random_case
from settling import settled_nudge

from emulators.networks.current_mode import CurrentModeNetwork
from emulators.networks.equilibrium import Tolerance, settle
from emulators.networks.small_signal import relaxation_seconds
from emulators.networks.time_constants import TimeConstants
from emulators.networks.transient import Accuracy, integrate
from emulators.neurons import Neurons
from substrate.errors import ConvergenceError, InputError
from substrate.tones import SamplingPlan

TAU = 1e-3
FINE = Accuracy(1e-10, 1e-12)


def alone(count: int) -> CurrentModeNetwork:
    ones = np.ones(count)
    return CurrentModeNetwork([slice(0, count)], [], Neurons("tanh", ones, 0 * ones, ones))


@pytest.mark.parametrize("fastest", [0.5, 1e-3], ids=["explicit", "implicit"])
def test_uncoupled_nodes_relax_exponentially(fastest: float) -> None:
    tau = TAU * np.array([1.0, fastest])
    constants = TimeConstants(tau, np.zeros(2))
    times = np.linspace(0, 3 * TAU, 7)
    start, drive = np.array([[1.0, -1.0], [0.2, 0.0]]), np.array([[0.5, 0.3], [-1.0, 2.0]])
    run = integrate(alone(2), constants, start, lambda _: drive, times, FINE)
    expected = drive[:, None] + (start - drive)[:, None] * np.exp(-times[:, None] / tau)
    np.testing.assert_allclose(run.u, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(run.s, np.tanh(expected), rtol=0, atol=1e-8)


@pytest.mark.parametrize("lag", [2.0, 1e-3], ids=["explicit", "implicit"])
def test_an_amplifier_adds_a_pole(lag: float) -> None:
    """Small steps through both poles: s = I (1 - (tau e^{-t/tau} - lag e^{-t/lag})/(tau - lag))."""
    constants = TimeConstants(np.array([TAU]), np.array([lag * TAU]))
    times, small = np.linspace(0, 4 * TAU, 9), 1e-4
    run = integrate(
        alone(1), constants, np.zeros((1, 1)), lambda _: np.full((1, 1), small), times, Accuracy(1e-9, 1e-14)
    )
    poles = (np.exp(-times / TAU) - lag * np.exp(-times / (lag * TAU))) / (1 - lag)
    np.testing.assert_allclose(run.s[0, :, 0] / small, 1 - poles, rtol=0, atol=1e-7)


@pytest.mark.parametrize("lag", [0.0, 0.3])
def test_held_currents_end_in_the_equilibrium(lag: float) -> None:
    case = random_case(1, (5, 6, 3))
    constants = TimeConstants.uniform(14, TAU, lag * TAU)
    long = 40 * relaxation_seconds(case.network, constants, case.free).max()
    run = integrate(
        case.network, constants, np.zeros_like(case.drive), lambda _: case.drive, np.array([0.0, long]), FINE
    )
    np.testing.assert_allclose(run.u[:, -1], case.free, rtol=0, atol=1e-8)


def test_the_implicit_method_agrees_with_the_explicit_one() -> None:
    """The same network with and without one more node, fast and unconnected, which turns the implicit method on."""
    case = random_case(2)
    times = np.linspace(0, 5 * TAU, 11)
    seconds = TAU * np.random.default_rng(0).uniform(0.5, 2.0, 12)

    def wave(time: float) -> np.ndarray:
        return case.drive + np.sin(2000 * time) * case.nudge

    plain = integrate(case.network, TimeConstants(seconds, 0 * seconds), case.free, wave, times, FINE)
    quick = np.zeros(12)
    quick[0] = 1e-5 * TAU
    stiff = integrate(case.network, TimeConstants(seconds, quick), case.free, wave, times, FINE)
    # An amplifier this fast differs by its delay over the time constants.
    np.testing.assert_allclose(stiff.u, plain.u, rtol=0, atol=1e-4)
    assert np.abs(stiff.u - plain.u).max() > 0


def test_jumps_of_the_waveform_are_kept() -> None:
    """A pulse far shorter than the steps is seen if its edges are given; its charge is all that counts."""
    constants, width = TimeConstants.uniform(1, TAU), 1e-4 * TAU
    at, height = 2.5 * TAU, 1e3

    def pulse(time: float) -> np.ndarray:
        return np.full((1, 1), height * (at <= time < at + width))

    times = np.array([0.0, 4 * TAU])
    run = integrate(
        alone(1), constants, np.zeros((1, 1)), pulse, times, Accuracy(1e-8, 1e-10), breaks_seconds=[at, at + width]
    )
    expected = -height * np.expm1(-width / TAU) * np.exp(-(4 * TAU - at - width) / TAU)
    assert run.u[0, -1, 0] == pytest.approx(expected, rel=1e-5)


def test_times_between_breaks_are_all_recorded() -> None:
    constants = TimeConstants.uniform(1, TAU)
    times = np.linspace(0, 1, 11) * TAU
    breaks = [0.25 * TAU, 0.5 * TAU, 0.26 * TAU, 7.0]
    run = integrate(alone(1), constants, np.ones((1, 1)), lambda _: np.zeros((1, 1)), times, breaks_seconds=breaks)
    np.testing.assert_allclose(run.u[0, :, 0], np.exp(-times / TAU), rtol=1e-6)


def test_a_nudge_settles_as_fast_as_the_network_forgets() -> None:
    case, constants = random_case(3), TimeConstants.uniform(12, TAU)
    plan = SamplingPlan(1 / (2 * np.pi * TAU), 3, 16, 1)
    few = settled_nudge(case.network, constants, case.free, case.drive, 0.1 * case.nudge, plan, most_periods=2)
    assert not few.settled.any()
    assert few.periods == 2
    run = settled_nudge(case.network, constants, case.free, case.drive, 0.1 * case.nudge, plan)
    assert run.settled.all()
    slowest = relaxation_seconds(case.network, constants, case.free).max()
    assert 1 < run.periods < 3 + 20 * slowest * plan.frequency_hz


def test_self_oscillation_never_settles() -> None:
    network, constants = pair(3.0, -3.0), TimeConstants.uniform(2, TAU, TAU)
    free = settle(network, np.zeros((1, 2)), np.zeros((1, 2)), Tolerance()).u
    plan = SamplingPlan(0.17 / TAU, 3, 16, 1)
    run = settled_nudge(
        network,
        constants,
        free,
        np.zeros((1, 2)),
        np.array([[0.1, 0.0]]),
        plan,
        most_periods=30,
        accuracy=Accuracy(1e-6),
    )
    assert run.periods == 30
    assert not run.settled[0]
    assert run.difference[0] > 1e-3


def test_bad_arguments_are_refused() -> None:
    network, constants = alone(2), TimeConstants.uniform(2, TAU)
    start = np.zeros((1, 2))
    with pytest.raises(InputError, match="times_seconds"):
        integrate(network, constants, start, lambda _: start, np.array([0.0, 0.0]))
    with pytest.raises(InputError, match="start"):
        integrate(network, constants, np.zeros((1, 3)), lambda _: start, np.array([0.0, 1.0]))
    with pytest.raises(InputError, match="2 nodes"):
        integrate(network, TimeConstants.uniform(3, TAU), start, lambda _: start, np.array([0.0, 1.0]))
    with pytest.raises(ConvergenceError, match="stopped"):
        integrate(
            network, constants, start, lambda t: start / (t - 1e-3) ** 2 + 1 / (t - 1e-3) ** 2, np.array([0.0, 2e-3])
        )
