"""The walk along a nudge's period: the same branch that slow dynamics follow, and folds that are reported."""

import numpy as np
import pytest
from chains import chain, follow, force

from emulators.networks import current_mode
from emulators.networks.current_mode import Block, CurrentModeNetwork
from emulators.networks.equilibrium import Tolerance, settle
from emulators.networks.quasi_static import nudged_period, predictors, visits
from emulators.neurons import Neurons
from substrate.tones import SamplingPlan


@pytest.fixture(params=["compiled", "batched"])
def solver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "batched":
        monkeypatch.setattr(current_mode, "KERNEL_PIVOT", 0)
    return str(request.param)


@pytest.mark.parametrize("feedback", ["symmetric", "mixed"])
def test_every_sample_is_where_the_dynamics_go_from_the_sample_before(feedback: str, solver: str) -> None:
    rng = np.random.default_rng(1)
    for sizes, gain in (((8, 5), 1.0), ((6, 5, 4), 2.0), ((5,), 1.0)):
        network = chain(rng, sizes, gain, feedback)
        drive = 0.7 * rng.standard_normal((2, network.node_count))
        nudge = np.zeros_like(drive)
        nudge[:, -sizes[-1] :] = 0.3 * rng.standard_normal((2, sizes[-1]))
        plan = SamplingPlan(1.0, 3, 12, 1)
        free = settle(network, np.zeros_like(drive), drive, Tolerance())
        period = nudged_period(network, free.u, drive, nudge, plan, Tolerance())
        assert period.unbroken.all()
        assert period.residual.max() <= 1e-10
        cosines = np.cos(plan.phases())
        targets = drive[:, None] + cosines[:, None] * nudge[:, None]
        assert force(network, period.u, targets).max() <= 1.1e-10
        # From the crest down to the trough, the branch that slow dynamics take.
        u = period.u[0, 3]
        np.testing.assert_allclose(u, free.u[0], atol=1e-9)
        for sample in (4, 5, 6):
            u = follow(network, u, targets[0, sample], 150.0)
            np.testing.assert_allclose(period.u[0, sample], u, atol=1e-6)
        u = free.u[0]
        for sample in (2, 1, 0):
            u = follow(network, u, targets[0, sample], 150.0)
            np.testing.assert_allclose(period.u[0, sample], u, atol=1e-6)


@pytest.mark.parametrize("samples", [5, 7, 8, 10, 16, 33, 64])
def test_any_number_of_samples_begins_at_the_crest_and_mirrors(samples: int, solver: str) -> None:
    rng = np.random.default_rng(2)
    network = chain(rng, (7, 4), 1.0)
    drive, nudge = rng.standard_normal((2, 3, 11)) * 0.4
    free = settle(network, np.zeros_like(drive), drive, Tolerance())
    plan = SamplingPlan(1.0, 1, samples, 1)
    period = nudged_period(network, free.u, drive, nudge, plan, Tolerance())
    assert period.u.shape == (3, samples, 11)
    targets = drive[:, None] + np.cos(plan.phases())[:, None] * nudge[:, None]
    assert force(network, period.u, targets).max() <= 1.1e-10
    np.testing.assert_array_equal(period.u[:, 1:], period.u[:, :0:-1])


def _flip_flop(gain: float) -> CurrentModeNetwork:
    layers = [slice(0, 1), slice(1, 2)]
    blocks = [Block(*layers, np.array([[gain]])), Block(*layers[::-1], np.array([[gain]]))]
    return CurrentModeNetwork(layers, blocks, Neurons.mismatched("tanh", 2, np.random.default_rng(0)))


def _fold(gain: float) -> float:
    """The current into the output at which the upper state of a flip-flop vanishes, from its closed curve."""
    hidden = np.linspace(-3.0, 3.0, 200001)
    # u_h = g tanh(u_o), u_o = g tanh(u_h) + I: I as a function of u_o; its local minimum on the upper branch.
    output = hidden
    current = output - gain * np.tanh(gain * np.tanh(output))
    upper = output > 0.2
    return float(current[upper].min())


def test_a_branch_is_lost_beyond_the_fold_and_held_before_it(solver: str) -> None:
    network = _flip_flop(1.5)
    fold = _fold(1.5)
    assert fold < -0.05
    drive = np.zeros((2, 2))
    free = settle(network, np.ones((2, 2)), drive, Tolerance())
    assert (free.u > 0.5).all()
    nudge = np.zeros((2, 2))
    nudge[:, 1] = [0.98 * fold, 1.1 * fold]
    period = nudged_period(network, free.u, drive, nudge, SamplingPlan(1.0, 3, 16, 1), Tolerance())
    assert period.unbroken.tolist() == [True, False]
    assert (period.u[0] > 0.0).all()
    # Beyond the fold only the lower state is left: the record shows the jump.
    assert (period.u[1, 0] < 0.0).all()
    assert period.residual.max() <= 1e-10


def test_one_lost_sample_leaves_the_others_as_they_were(solver: str) -> None:
    network = _flip_flop(1.5)
    fold = _fold(1.5)
    free = settle(network, np.ones((2, 2)), np.zeros((2, 2)), Tolerance())
    nudge = np.array([[0.0, 0.5 * fold], [0.0, 2.0 * fold]])
    plan = SamplingPlan(1.0, 3, 16, 1)
    both = nudged_period(network, free.u, np.zeros((2, 2)), nudge, plan, Tolerance())
    alone = nudged_period(network, free.u[:1], np.zeros((1, 2)), nudge[:1], plan, Tolerance())
    np.testing.assert_allclose(both.u[0], alone.u[0], atol=1e-9)


@pytest.mark.parametrize("tangent", [False, True])
@pytest.mark.parametrize("samples", [6, 9, 16])
def test_predictions_are_exact_for_polynomials(samples: int, tangent: bool) -> None:
    values = SamplingPlan(1.0, 1, samples, 1).distinct()[0]
    mix, order = predictors(tuple(values), tangent=tangent), visits(tuple(values))
    for visit, at in enumerate(order):
        for power in range(min(visit + 1 + int(tangent), 6)):
            past = values[order] ** power
            guess = mix[visit, 0] * 0.0**power + mix[visit, 1] * (power == 1) + mix[visit, 2:] @ past
            assert guess == pytest.approx(values[at] ** power, abs=1e-12)


def test_the_same_call_gives_the_same_bits(solver: str) -> None:
    rng = np.random.default_rng(3)
    network = chain(rng, (8, 5), 2.0)
    drive, nudge = rng.standard_normal((2, 4, 13)) * 0.4
    free = settle(network, np.zeros_like(drive), drive, Tolerance())
    plan = SamplingPlan(1.0, 3, 16, 1)
    first, second = (nudged_period(network, free.u, drive, nudge, plan, Tolerance()) for _ in range(2))
    assert first.u.tobytes() == second.u.tobytes()
