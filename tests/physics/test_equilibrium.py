"""Equilibria: reached as the dynamics reach them (scipy's integrator is the witness), to the residual stated."""

import numpy as np
import pytest
from chains import FEEDBACK, chain, follow, force

from emulators.networks import current_mode
from emulators.networks.current_mode import Block, CurrentModeNetwork
from emulators.networks.equilibrium import Tolerance, settle, stable
from emulators.networks.settling_kernels import _tanh
from emulators.neurons import TRANSFER, Neurons

SIZES = [(7,), (9, 6), (7, 5, 4), (5, 6, 4, 3)]
SOLVERS = ("compiled", "batched")


@pytest.fixture(params=SOLVERS)
def solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both solvers are put to every test that asks for this: the batched one by calling all networks large."""
    if request.param == "batched":
        monkeypatch.setattr(current_mode, "KERNEL_PIVOT", 0)
    return str(request.param)


def test_the_solver_in_use_is_the_one_asked_for(solver: str) -> None:
    network = chain(np.random.default_rng(0), (4, 3), 0.5)
    assert (network.kernel is None) == (solver == "batched")


@pytest.mark.parametrize("feedback", FEEDBACK)
@pytest.mark.parametrize("sizes", SIZES)
def test_moderate_networks_settle_where_their_dynamics_do(sizes: tuple[int, ...], feedback: str, solver: str) -> None:
    rng = np.random.default_rng([1, len(sizes), FEEDBACK.index(feedback)])
    for activation in TRANSFER:
        network = chain(rng, sizes, 0.8, feedback, activation)
        start, drive = rng.standard_normal((2, 2, network.node_count))
        found = settle(network, start, drive, Tolerance())
        assert found.settled.all()
        np.testing.assert_allclose(found.residual, force(network, found.u, drive), atol=2e-14)
        assert found.residual.max() <= 1e-10
        np.testing.assert_allclose(found.u[0], follow(network, start[0], drive[0]), atol=1e-6)


@pytest.mark.parametrize(("activation", "gain"), [("tanh", 3.0), ("tanh", 6.0), ("logistic", 5.0)])
def test_networks_of_many_stable_states_choose_the_one_their_dynamics_choose(
    activation: str, gain: float, solver: str
) -> None:
    rng = np.random.default_rng([2, int(gain)])
    several = 0
    for sizes in ((10, 8), (8, 6, 5)):
        network = chain(rng, sizes, gain, "symmetric", activation)
        start = rng.standard_normal((8, network.node_count))
        drive = np.broadcast_to(0.2 * rng.standard_normal(network.node_count), start.shape).copy()
        found = settle(network, start, drive, Tolerance())
        assert found.settled.all()
        witness = np.array([follow(network, *pair) for pair in zip(start, drive, strict=True)])
        np.testing.assert_allclose(found.u, witness, atol=1e-5)
        several += len(np.unique(np.round(witness, 2), axis=0)) > 1
    # Without several states the test would show nothing.
    assert several == 2


def test_asymmetric_networks_settle_or_say_that_they_do_not(solver: str) -> None:
    rng = np.random.default_rng(3)
    seen = set()
    for number in range(12):
        network = chain(rng, SIZES[1 + number % 3], 4.0, FEEDBACK[1 + number % 3])
        start, drive = 0.3 * rng.standard_normal((2, 2, network.node_count))
        found = settle(network, start, drive, Tolerance(dynamic_steps=1000))
        for u, settled, begin, held in zip(found.u, found.settled, start, drive, strict=True):
            end = follow(network, begin, held)
            seen.add(bool(settled))
            if not settled:
                assert force(network, end, held) > 1e-5
            else:
                # A slow spiral may need more time.
                end = end if force(network, end, held) < 1e-6 else follow(network, end, held, 3000.0)
                np.testing.assert_allclose(u, end, atol=1e-5)
    assert True in seen


def _rotor(gain: float, degrees: float) -> CurrentModeNetwork:
    """Two layers of two nodes that turn their state by an angle a round trip: eigenvalues +-gain exp(+-i angle/2)."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    layers = [slice(0, 2), slice(2, 4)]
    blocks = [Block(layers[0], layers[1], gain * np.eye(2)), Block(layers[1], layers[0], gain * turn)]
    return CurrentModeNetwork(layers, blocks, Neurons.mismatched("tanh", 4, np.random.default_rng(0)))


def test_a_limit_cycle_is_reported_as_unsettled(solver: str) -> None:
    network = _rotor(3.0, 90.0)
    start, drive = np.full((3, 4), 0.1), np.zeros((3, 4))
    start[:, 1] = [0.0, 0.1, -0.3]
    assert force(network, follow(network, start[0], drive[0]), drive[0]) > 0.1
    found = settle(network, start, drive, Tolerance(dynamic_steps=300))
    assert not found.settled.any()
    assert (found.residual > 0.1).all()


@pytest.mark.parametrize(("degrees", "critical"), [(0.0, 1.0), (90.0, np.sqrt(2.0)), (120.0, 2.0)])
def test_stability_of_a_rotor_changes_where_its_eigenvalues_cross(degrees: float, critical: float, solver: str) -> None:
    origin = np.zeros((1, 4))
    assert stable(_rotor(0.97 * critical, degrees), origin)[0]
    assert not stable(_rotor(1.03 * critical, degrees), origin)[0]


def test_stability_is_that_of_the_eigenvalues(solver: str) -> None:
    rng = np.random.default_rng(4)
    answers = []
    # The compiled answer is exact; a tangent tells growth from decay only where they differ within its time.
    margin = 0.02 if solver == "compiled" else 0.15
    for number in range(60):
        network = chain(rng, SIZES[1 + number % 3], float(rng.uniform(0.8, 4.0)), FEEDBACK[number % 4])
        u = rng.standard_normal((1, network.node_count))
        growth = np.linalg.eigvals(network.slope(u[0])[:, None] * network.weights()).real.max()
        if abs(growth - 1.0) > margin:
            assert bool(stable(network, u)[0]) == bool(growth < 1.0)
            answers.append(growth < 1.0)
    assert 10 < sum(answers) < len(answers) - 10


def test_an_unstable_equilibrium_is_not_settled_even_if_the_start_is_on_it(solver: str) -> None:
    network = chain(np.random.default_rng(5), (6, 5), 4.0, spread=0.0)
    rest = np.zeros((1, 11))
    found = settle(network, rest, rest, Tolerance(dynamic_steps=50))
    assert not found.settled[0]
    assert found.residual[0] == 0.0


def test_without_hidden_layers_the_state_is_the_drive(solver: str) -> None:
    network = chain(np.random.default_rng(6), (5,), 1.0)
    drive = np.random.default_rng(7).standard_normal((3, 5))
    found = settle(network, np.zeros((3, 5)), drive, Tolerance())
    assert found.settled.all()
    np.testing.assert_allclose(found.u, drive, atol=1e-10)


def test_too_few_steps_are_reported(solver: str) -> None:
    network = chain(np.random.default_rng(8), (9, 6), 3.0)
    drive = np.ones((2, 15))
    found = settle(network, np.zeros((2, 15)), drive, Tolerance(dynamic_steps=2, accelerated_steps=2))
    assert not found.settled.any()
    np.testing.assert_allclose(found.residual, force(network, found.u, drive), atol=1e-12)
    assert (found.residual > 1e-3).all()


def test_a_looser_tolerance_is_met_and_used(solver: str) -> None:
    network = chain(np.random.default_rng(9), (9, 6), 1.0)
    drive = np.random.default_rng(10).standard_normal((16, 15))
    found = settle(network, np.zeros((16, 15)), drive, Tolerance(residual=1e-4))
    assert found.settled.all()
    assert 1e-10 < found.residual.max() <= 1e-4


def test_the_same_call_gives_the_same_bits(solver: str) -> None:
    network = chain(np.random.default_rng(11), (9, 6), 2.0)
    drive = np.random.default_rng(12).standard_normal((4, 15))
    first, second = (settle(network, np.zeros((4, 15)), drive, Tolerance()) for _ in range(2))
    assert first.u.tobytes() == second.u.tobytes()


def test_compiled_states_do_not_depend_on_the_batch() -> None:
    network = chain(np.random.default_rng(13), (9, 6), 2.0)
    drive = np.random.default_rng(14).standard_normal((4, 15))
    together = settle(network, np.zeros((4, 15)), drive, Tolerance())
    alone = settle(network, np.zeros((1, 15)), drive[2:3], Tolerance())
    assert together.u[2].tobytes() == alone.u[0].tobytes()


def test_the_start_is_left_as_it_was(solver: str) -> None:
    network = chain(np.random.default_rng(15), (9, 6), 1.0)
    start, drive = np.ones((2, 15)), np.ones((2, 15))
    settle(network, start, drive, Tolerance())
    assert (start == 1.0).all()
    assert (drive == 1.0).all()


def test_the_compiled_tangent_is_the_tangent() -> None:
    z = np.concatenate([np.linspace(-25.0, 25.0, 20001), [0.0, -0.0, 1e-12, 1e3, -1e300]])
    np.testing.assert_allclose([_tanh(value) for value in z], np.tanh(z), rtol=0, atol=2e-14)
