import numpy as np
import pytest

from substrate.costs import Softmax, SoftmaxReadout, SquaredError

RNG = np.random.default_rng(0)
OUTPUTS = RNG.uniform(-1, 1, (7, 4))
LABELS = RNG.integers(0, 4, 7)
COSTS = {
    "squared": SquaredError((-0.8, 0.8)),
    "softmax of the outputs": Softmax(),
    "softmax": SoftmaxReadout(4, 4, np.random.default_rng(1)),
    "softmax to fewer classes": SoftmaxReadout(4, 3, np.random.default_rng(1)),
}


def labels_for(name):
    return LABELS % 3 if name == "softmax to fewer classes" else LABELS


@pytest.mark.parametrize("name", COSTS)
def test_the_error_is_minus_the_slope_of_the_loss(name):
    cost, labels, step = COSTS[name], labels_for(name), 1e-6
    error = cost.error(OUTPUTS, labels)
    shifts = step * np.eye(4)
    slopes = [(cost.loss(OUTPUTS + s, labels) - cost.loss(OUTPUTS - s, labels)) / (2 * step) for s in shifts]
    assert np.allclose(error, -np.stack(slopes, axis=1), atol=1e-8)


@pytest.mark.parametrize("name", COSTS)
def test_samples_are_independent(name):
    cost, labels = COSTS[name], labels_for(name)
    for k in range(len(labels)):
        one = slice(k, k + 1)
        assert np.allclose(cost.loss(OUTPUTS[one], labels[one]), cost.loss(OUTPUTS, labels)[one])
        assert np.allclose(cost.error(OUTPUTS[one], labels[one]), cost.error(OUTPUTS, labels)[one])


def test_squared_error_vanishes_on_its_targets_alone():
    cost = COSTS["squared"]
    targets = np.where(np.arange(4) == LABELS[:, None], 0.8, -0.8)
    assert not cost.loss(targets, LABELS).any()
    assert not cost.error(targets, LABELS).any()
    assert np.array_equal(cost.predict(targets), LABELS)
    assert (cost.loss(OUTPUTS, LABELS) > 0).all()


def test_squared_error_learns_nothing_of_its_own():
    cost = SquaredError((0.0, 1.0))
    before = cost.loss(OUTPUTS, LABELS)
    cost.learn(OUTPUTS, LABELS, 1.0)
    cost.restore(cost.snapshot())
    assert np.array_equal(cost.loss(OUTPUTS, LABELS), before)


def test_softmax_loss_is_the_log_likelihood_of_probabilities_that_sum_to_one():
    cost = COSTS["softmax"]
    likelihood = [np.exp(-cost.loss(OUTPUTS, np.full(7, label))) for label in range(4)]
    assert np.allclose(np.sum(likelihood, axis=0), 1.0)
    assert np.array_equal(np.argmax(likelihood, axis=0), cost.predict(OUTPUTS))


def test_softmax_survives_huge_outputs():
    cost = COSTS["softmax"]
    loss = cost.loss(1e4 * OUTPUTS, LABELS)
    assert np.isfinite(loss).all()
    assert np.isfinite(cost.error(1e4 * OUTPUTS, LABELS)).all()


def test_learning_the_read_out_descends_its_mean_loss_at_the_stated_rate():
    """A step of plain gradient descent lowers the loss by rate |gradient|^2 = |step|^2/rate, to first order."""
    cost, rate = SoftmaxReadout(4, 4, np.random.default_rng(1)), 1e-5
    before, old = cost.loss(OUTPUTS, LABELS).mean(), cost.snapshot()
    cost.learn(OUTPUTS, LABELS, rate)
    new = cost.snapshot()
    moved = sum(float(np.sum((new[key] - old[key]) ** 2)) for key in old)
    assert before - cost.loss(OUTPUTS, LABELS).mean() == pytest.approx(moved / rate, rel=1e-3)


def test_read_out_snapshots_are_not_touched_by_further_learning():
    cost = SoftmaxReadout(4, 4, np.random.default_rng(1))
    kept, before = cost.snapshot(), cost.loss(OUTPUTS, LABELS)
    for _ in range(3):
        cost.learn(OUTPUTS, LABELS, 0.5)
    assert not np.allclose(cost.loss(OUTPUTS, LABELS), before)
    cost.restore(kept)
    assert np.array_equal(cost.loss(OUTPUTS, LABELS), before)


def test_read_outs_of_equal_seeds_are_equal():
    first, second = (SoftmaxReadout(4, 3, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.error(OUTPUTS, LABELS % 3), second.error(OUTPUTS, LABELS % 3))
