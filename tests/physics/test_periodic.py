"""Harmonic balance against the transient, the quasi-static response, linear response and the equations themselves."""

import numpy as np
import pytest
from random_networks import Case, pair, random_case
from settling import settled_nudge

from emulators.networks import quasi_static
from emulators.networks.current_mode import Block, CurrentModeNetwork
from emulators.networks.equilibrium import Tolerance, settle
from emulators.networks.krylov import gmres
from emulators.networks.orbits import stable_orbits
from emulators.networks.periodic import PeriodicResponse, nudged_period
from emulators.networks.small_signal import poles, susceptibility
from emulators.networks.time_constants import TimeConstants
from emulators.networks.transient import Accuracy
from emulators.neurons import Neurons
from substrate.demodulation import chebyshev_derivative, harmonics, richardson
from substrate.errors import InputError
from substrate.tones import SamplingPlan

TAU = 1e-3


def plan_at(omega_tau: float, samples: int = 32) -> SamplingPlan:
    return SamplingPlan(omega_tau / (2 * np.pi * TAU), 3, samples, 1)


def unlike(count: int, lag: float, seed: int = 0) -> TimeConstants:
    rng = np.random.default_rng(seed)
    return TimeConstants(TAU * rng.uniform(0.5, 2.0, count), lag * TAU * rng.uniform(0.5, 2.0, count))


def respond(
    case: Case, constants: TimeConstants, plan: SamplingPlan, amplitude: float, residual: float = 1e-10
) -> PeriodicResponse:
    return nudged_period(
        case.network, constants, case.free, case.drive, amplitude * case.nudge, plan, Tolerance(residual)
    )


@pytest.mark.parametrize("omega_tau", [0.1, 1.0])
@pytest.mark.parametrize("lag", [0.0, 0.3, 0.01])
def test_it_is_what_the_transient_becomes(lag: float, omega_tau: float) -> None:
    case, constants, plan = random_case(1), unlike(12, lag), plan_at(omega_tau)
    found = respond(case, constants, plan, 1.0)
    assert found.unbroken.all()
    run = settled_nudge(
        case.network, constants, case.free, case.drive, case.nudge, plan, 1e-8, accuracy=Accuracy(1e-8, 1e-10)
    )
    assert run.settled.all()
    np.testing.assert_allclose(found.u, run.u, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.s, run.s, rtol=0, atol=1e-7)


@pytest.mark.parametrize("lag", [0.0, 0.4])
@pytest.mark.parametrize("sizes", [(5,), (8, 4), (4, 7, 5, 3)])
def test_it_solves_the_equations(sizes: tuple[int, ...], lag: float) -> None:
    """tau du/dt and tau_a ds/dt by the Fourier series of a finely sampled period."""
    case, samples = random_case(2, sizes, 1.3), 512
    constants, plan = unlike(sum(sizes), lag), plan_at(0.7, samples)
    found = respond(case, constants, plan, 1.0)
    assert found.unbroken.all()
    assert found.residual.max() <= 1e-10

    def rate(values: np.ndarray) -> np.ndarray:
        series = np.fft.rfft(values, axis=1)
        turns = 2j * np.pi * plan.frequency_hz * np.arange(series.shape[1])
        return np.fft.irfft(series * turns[:, None], samples, axis=1)

    currents = case.drive[:, None] + np.cos(plan.phases())[:, None] * case.nudge[:, None]
    currents = currents + case.network.currents(found.s)
    np.testing.assert_allclose(constants.node_seconds * rate(found.u), currents - found.u, rtol=0, atol=2e-9)
    target = case.network.activity(found.u)
    np.testing.assert_allclose(constants.amplifier_seconds * rate(found.s), target - found.s, rtol=0, atol=1e-7)


def test_slow_nudges_give_the_quasi_static_period() -> None:
    """What is left is the quadrature, in proportion to the frequency."""
    case, constants = random_case(3), unlike(12, 0.2)
    gaps = []
    for omega_tau in (1e-3, 1e-4):
        plan = plan_at(omega_tau)
        slow = quasi_static.nudged_period(case.network, case.free, case.drive, 0.5 * case.nudge, plan, Tolerance(1e-11))
        assert slow.unbroken.all()
        found = respond(case, constants, plan, 0.5)
        gaps.append(np.abs(found.u - slow.u).max())
        in_phase = [np.array(harmonics(u.swapaxes(1, 2), 32, 5)[0]) for u in (found.u, slow.u)]
        np.testing.assert_allclose(*in_phase, rtol=0, atol=30 * omega_tau**2 + 1e-9)
    assert gaps[0] / gaps[1] == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize("lag", [0.0, 0.5])
def test_small_nudges_give_the_susceptibility(lag: float) -> None:
    case, constants, plan = random_case(4), unlike(12, lag), plan_at(0.8)
    small = 1e-4
    found = respond(case, constants, plan, small, 1e-12)
    cosine, sine = harmonics(found.s.swapaxes(1, 2), 32, 1)
    chi = susceptibility(case.network, constants, case.free, np.array([plan.frequency_hz]))[:, 0]
    expected = (chi @ case.nudge[:, :, None])[:, :, 0]
    # s = Re(S exp(iwt)) has cosine amplitude Re S and sine amplitude -Im S; the error is of third order.
    np.testing.assert_allclose((cosine - 1j * sine)[..., 1] / small, expected, rtol=0, atol=1e-7)


def test_a_node_alone_is_a_low_pass() -> None:
    ones = np.ones(2)
    network = CurrentModeNetwork([slice(0, 2)], [], Neurons("tanh", ones, 0 * ones, ones))
    constants, plan = TimeConstants(TAU * np.array([1.0, 3.0]), 0 * ones), plan_at(1.0)
    drive, nudge = np.array([[0.3, -0.2]]), np.array([[2.0, 1.0]])
    found = nudged_period(network, constants, drive, drive, nudge, plan, Tolerance())
    gain = nudge / (1 + 1j * np.array([1.0, 3.0]))
    expected = drive[:, None] + (gain[:, None] * np.exp(1j * plan.phases())[:, None]).real
    np.testing.assert_allclose(found.u, expected, rtol=0, atol=1e-10)


def test_a_batch_is_its_samples() -> None:
    case, constants, plan = random_case(5, scale=1.4), unlike(12, 0.1), plan_at(0.3)
    together = respond(case, constants, plan, 1.5)
    for row in range(3):
        part = slice(row, row + 1)
        alone = respond(Case(case.network, case.drive[part], case.free[part], case.nudge[part]), constants, plan, 1.5)
        np.testing.assert_allclose(alone.u[0], together.u[row], rtol=0, atol=1e-9)


def test_a_lost_branch_is_told_and_gives_what_the_dynamics_do() -> None:
    """A bistable pair: a small nudge stays on its branch, a large one turns it over every half period."""
    network, plan = pair(1.5), plan_at(0.2)
    constants = TimeConstants.uniform(2, TAU)
    drive = np.zeros((2, 2))
    free = settle(network, np.ones((2, 2)), drive, Tolerance()).u
    assert np.all(free > 0.5)
    nudge = np.array([[0.1, 0.0], [2.0, 0.0]])
    found = nudged_period(network, constants, free, drive, nudge, plan, Tolerance())
    assert found.unbroken.tolist() == [True, False]
    assert found.residual.max() < 1e-10
    assert found.u[0].min() > 0 > found.u[1].min()
    run = settled_nudge(network, constants, free, drive, nudge, plan)
    np.testing.assert_allclose(found.u, run.u, rtol=0, atol=1e-6)


def test_strong_networks_end_where_the_dynamics_end() -> None:
    """Many equilibria, a large nudge: branches held and branches lost, all of them compared with the transient."""
    case, constants, plan = random_case(11, (8, 4), 1.8, 32), unlike(12, 0.0), plan_at(0.03)
    found = respond(case, constants, plan, 1.5)
    assert 5 < found.unbroken.sum() < 32
    run = settled_nudge(
        case.network, constants, case.free, case.drive, 1.5 * case.nudge, plan, accuracy=Accuracy(1e-7, 1e-9)
    )
    assert run.settled.all()
    np.testing.assert_allclose(found.s, run.s, rtol=0, atol=1e-4)


def test_what_does_not_repeat_is_told() -> None:
    """Antisymmetric excitation through slow amplifiers oscillates by itself, at no multiple of the nudge's period."""
    network, plan = pair(3.0, -3.0), plan_at(0.4)
    constants = TimeConstants.uniform(2, TAU, 0.5 * TAU)
    zero = np.zeros((1, 2))
    assert poles(network, constants, zero).real.max() > 0
    found = nudged_period(network, constants, zero, zero, np.array([[0.05, 0.0]]), plan, Tolerance())
    assert not found.unbroken[0]


@pytest.mark.parametrize("lag", [0.0, 0.6])
@pytest.mark.parametrize("omega_tau", [0.05, 2.0])
def test_stability_of_orbits_at_rest_is_that_of_the_poles(omega_tau: float, lag: float) -> None:
    verdicts = []
    for seed, weight in enumerate(np.linspace(0.6, 1.6, 7)):
        rng = np.random.default_rng(seed)
        layers, n = [slice(0, 3), slice(3, 7)], 7
        blocks = [
            Block(layers[0], layers[1], weight * rng.standard_normal((3, 4))),
            Block(layers[1], layers[0], weight * rng.standard_normal((4, 3))),
        ]
        ones = np.ones(n)
        network = CurrentModeNetwork(layers, blocks, Neurons("tanh", ones, 0 * ones, ones))
        constants = unlike(n, lag, seed)
        growth = poles(network, constants, np.zeros((1, n))).real.max() * TAU
        if abs(growth) < 0.05:
            continue
        slopes = np.ones((1, 16, n))
        verdict = stable_orbits(network.weights(), constants, slopes, omega_tau / TAU)[0]
        assert verdict == (growth < 0)
        verdicts.append(verdict)
    assert len(set(verdicts)) == 2


def test_error_in_frequency_is_of_second_order_and_richardson_removes_it() -> None:
    """Orders 2, 4, 6 of the derivative by in-phase harmonics (physics.md, 2.4: 3.6e-2, 1.4e-3, 4.2e-5 at .1)."""
    case = random_case(6, (16, 8, 4), 0.8, 8)
    constants = TimeConstants.uniform(28, TAU)
    exact = (susceptibility(case.network, constants, case.free, np.zeros(1))[:, 0].real @ case.nudge[:, :, None])[
        ..., 0
    ]
    amplitude = 0.03

    def derivative(omega_tau: float) -> np.ndarray:
        found = respond(case, constants, plan_at(omega_tau), amplitude, 1e-12)
        assert found.unbroken.all()
        cosine, _ = harmonics(found.s.swapaxes(1, 2), 32, 7)
        return chebyshev_derivative(cosine, amplitude)

    omegas = np.array([0.1, 0.05, 0.025, 0.0125])
    estimates = np.array([derivative(omega) for omega in omegas])

    def error(first: int, count: int) -> float:
        off = np.linalg.norm(richardson(estimates[first : first + count]) - exact, axis=1)
        return float(np.median(off / np.linalg.norm(exact, axis=1)))

    for count, order, figure in ((1, 2, 3.6e-2), (2, 4, 1.4e-3), (3, 6, 4.2e-5)):
        slope = np.log2(error(0, count) / error(1, count))
        assert slope == pytest.approx(order, abs=0.5)
        assert error(0, count) < figure


@pytest.mark.parametrize("size", [1, 7, 40])
def test_gmres_solves_every_system_of_a_batch(size: int) -> None:
    rng = np.random.default_rng(size)
    matrices = np.eye(size) + 0.5 * rng.standard_normal((5, size, size)) / np.sqrt(size)
    matrices[1] = np.eye(size)
    right = rng.standard_normal((5, size))
    right[2] = 0.0
    found = gmres(lambda x: (matrices @ x[:, :, None])[:, :, 0], right, 1e-6, 60)
    error = np.linalg.norm((matrices @ found[:, :, None])[:, :, 0] - right, axis=1)
    assert np.all(error <= 2e-6 * np.linalg.norm(right, axis=1))
    np.testing.assert_array_equal(found[2], 0.0)


def test_gmres_stops_at_its_tolerance() -> None:
    rng = np.random.default_rng(0)
    matrix = np.eye(100) + 0.5 * rng.standard_normal((100, 100)) / 10
    calls = []

    def product(x: np.ndarray) -> np.ndarray:
        calls.append(1)
        return x @ matrix.T

    right = rng.standard_normal((3, 100))
    found = gmres(product, right, 1e-3, 60)
    assert len(calls) < 20
    assert 1e-6 < (np.linalg.norm(found @ matrix.T - right, axis=1) / np.linalg.norm(right, axis=1)).max() <= 1e-3


def test_bad_arguments_are_refused() -> None:
    case, constants, plan = random_case(7), unlike(12, 0.0), plan_at(0.1)
    with pytest.raises(InputError, match="12 nodes"):
        respond(case, unlike(11, 0.0), plan, 1.0)
    with pytest.raises(InputError, match="nudge"):
        nudged_period(case.network, constants, case.free, case.drive, case.nudge[:2], plan, Tolerance())
    with pytest.raises(InputError, match="drive"):
        nudged_period(case.network, constants, case.free, case.drive * np.nan, case.nudge, plan, Tolerance())
    with pytest.raises(InputError, match="node_seconds"):
        TimeConstants(np.zeros(3), np.zeros(3))
    with pytest.raises(InputError, match="amplifier_seconds"):
        TimeConstants(np.ones(3), -np.ones(3))
    with pytest.raises(InputError, match="amplifier_hertz"):
        TimeConstants.of_circuit(3, 1e-5, 1e-9, amplifier_hertz=0.0)


def test_time_constants_of_a_circuit() -> None:
    constants = TimeConstants.of_circuit(2, 2e-5, [1e-9, 3e-9], 1e-9, 1e6)
    np.testing.assert_allclose(constants.node_seconds, [1e-4, 2e-4])
    np.testing.assert_allclose(constants.amplifier_seconds, 1 / (2 * np.pi * 1e6))
