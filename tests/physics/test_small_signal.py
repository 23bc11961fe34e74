"""Susceptibilities and step responses against finite differences, transients and closed forms."""

import numpy as np
import pytest
from random_networks import pair, random_case

from emulators.networks.equilibrium import Tolerance, settle
from emulators.networks.small_signal import poles, relaxation_seconds, step_response, susceptibility
from emulators.networks.time_constants import TimeConstants
from emulators.networks.transient import Accuracy, integrate
from substrate.errors import InputError

TAU = 1e-3


def unlike(count: int, lag: float) -> TimeConstants:
    rng = np.random.default_rng(0)
    return TimeConstants(TAU * rng.uniform(0.5, 2.0, count), lag * TAU * rng.uniform(0.5, 2.0, count))


def test_at_rest_it_is_the_slope_of_the_free_state() -> None:
    case, step = random_case(1), 1e-5
    constants = unlike(12, 0.3)
    chi = susceptibility(case.network, constants, case.free, np.zeros(1))[:, 0]
    assert np.all(chi.imag == 0)
    for source in range(12):
        moved = [
            case.network.activity(
                settle(case.network, case.free, case.drive + sign * step * np.eye(12)[source], Tolerance(1e-13)).u
            )
            for sign in (1, -1)
        ]
        np.testing.assert_allclose(chi.real[:, :, source], (moved[0] - moved[1]) / (2 * step), rtol=0, atol=1e-7)


def test_its_skew_part_is_that_of_the_weights() -> None:
    """chi - chi^T = chi (W - W^T) chi^T at rest (physics.md, 3), W in the column convention."""
    case = random_case(2)
    chi = susceptibility(case.network, unlike(12, 0.0), case.free, np.zeros(1))[:, 0].real
    weights = case.network.weights().T
    skew = chi @ (weights - weights.T) @ chi.transpose(0, 2, 1)
    np.testing.assert_allclose(chi - chi.transpose(0, 2, 1), skew, rtol=0, atol=1e-12)


def test_high_frequencies_see_single_poles() -> None:
    """Far above all poles the couplings no longer matter: chi -> f'/(i w tau) on the diagonal."""
    case, constants = random_case(3), unlike(12, 0.0)
    omega = 1e5 / TAU
    chi = susceptibility(case.network, constants, case.free, np.array([omega / (2 * np.pi)]))[:, 0]
    expected = case.network.slope(case.free) / (1j * omega * constants.node_seconds)
    diagonal = np.diagonal(chi, axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal, expected, rtol=1e-4)
    assert np.abs(chi - expected[:, :, None] * np.eye(12)).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("lag", [0.0, 0.3])
def test_the_step_response_is_that_of_the_transient(lag: float) -> None:
    case, constants, small = random_case(4), unlike(12, lag), 1e-5
    times = np.linspace(0, 6 * TAU, 13)
    run = integrate(
        case.network, constants, case.free, lambda _: case.drive + small * case.nudge, times, Accuracy(1e-11, 1e-13)
    )
    moved = (run.s - case.network.activity(case.free)[:, None]) / small
    expected = step_response(case.network, constants, case.free, case.nudge, times)
    np.testing.assert_allclose(expected, moved, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(expected[:, 0], 0.0)


@pytest.mark.parametrize("lag", [0.0, 0.3])
def test_steps_end_in_the_static_susceptibility(lag: float) -> None:
    case, constants = random_case(5), unlike(12, lag)
    long = 40 * relaxation_seconds(case.network, constants, case.free).max()
    end = step_response(case.network, constants, case.free, case.nudge, np.array([long]))[:, 0]
    chi = susceptibility(case.network, constants, case.free, np.zeros(1))[:, 0].real
    np.testing.assert_allclose(end, (chi @ case.nudge[:, :, None])[:, :, 0], rtol=0, atol=1e-9)


def test_poles_of_a_pair() -> None:
    """A symmetric pair of weight w at slope 1 has the poles -(1 -+ w)/tau."""
    network, constants = pair(0.8), TimeConstants.uniform(2, TAU)
    found = np.sort(poles(network, constants, np.zeros((1, 2)))[0].real)
    np.testing.assert_allclose(found, [-1.8 / TAU, -0.2 / TAU], rtol=1e-12)
    assert relaxation_seconds(network, constants, np.zeros((1, 2)))[0] == pytest.approx(5 * TAU)
    assert relaxation_seconds(pair(1.2), constants, np.zeros((1, 2)))[0] == np.inf


def test_bad_arguments_are_refused() -> None:
    case = random_case(6)
    with pytest.raises(InputError, match="12 nodes"):
        poles(case.network, unlike(3, 0.0), case.free)
