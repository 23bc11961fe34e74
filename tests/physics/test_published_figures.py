"""Curves of the papers in small: docs/physics.md, section 4, checks 3, 4, 5 and 9.

``experiments/reproductions`` has them in full; here random images stand for MNIST's.
"""

from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from topologies import batch_of, training

from substrate.arrays import FloatArray, IntArray
from substrate.conjugates import exact_mean
from substrate.controller import Controller
from substrate.costs import SoftmaxReadout, SquaredError
from substrate.experiment.assembly import initial_weights
from substrate.network import Feedback, Network
from substrate.outer_products import dense
from substrate.rules.always_on import AlwaysOnEP, AlwaysOnSection
from substrate.rules.base import FreePhase
from substrate.rules.continual import ContinualEP, ContinualSection
from substrate.rules.equilibrium_propagation import EquilibriumPropagation, EquilibriumPropagationSection
from substrate.rules.holomorphic import HolomorphicEP, HolomorphicSection

Directions = dict[str, FloatArray]


def _wide(feedback: Feedback) -> Network:
    return Network((784, 256, 256), activation="logistic", feedback=feedback)


def _images(count: int) -> tuple[FloatArray, IntArray]:
    """28 x 28 of black, -1, with random grey dots that grow dense towards the middle, as MNIST's strokes do."""
    rng = np.random.default_rng(0)
    away = np.linspace(-1.0, 1.0, 28) ** 2
    dense = np.exp(-(away[:, None] + away).ravel() / 0.6**2)
    grey = (rng.random((count, 784)) < dense) * rng.random((count, 784))
    return 2.0 * grey - 1.0, rng.integers(0, 10, count)


def _readout() -> SoftmaxReadout:
    return SoftmaxReadout(256, 10, np.random.default_rng(2))


def _mean(network: Network, phase: FreePhase, adjoint: FloatArray) -> Directions:
    share = np.full(len(adjoint), 1.0 / len(adjoint))
    return {c.name: exact_mean(network, phase.inputs, phase.activity, adjoint, share, c) for c in network.settling}


def _cosine(found: Directions, wanted: Directions) -> float:
    a, b = (np.concatenate([one[name].ravel() for name in wanted]) for one in (found, wanted))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_always_on_cosine_of_a_wide_network_grows_with_the_dwell() -> None:
    """Published, without the length of a step: .45, .92, .999 for 5, 10, 20 steps at each of 10 points, |b| .5."""
    network = _wide("shared")
    found = {}
    wanted: Directions = {}
    for dwell in (5, 10, 20):
        rule = AlwaysOnEP(AlwaysOnSection(points=10, steps_per_point=dwell, time_constants=0.55), 0.5)
        with training(network, rule, _readout()) as controller:
            controller.program(initial_weights(network, 1.0, 0.5, 0.0, np.random.default_rng(1)))
            phase = controller.free_phase(*_images(20))
            wanted = wanted or _mean(network, phase, controller.exact_adjoint(phase.error))
            # The first period has the way from rest in it.
            controller._substrate.rest()
            found[dwell] = _cosine(rule.measure(controller._substrate, phase).directions, wanted)
    assert found[5] == pytest.approx(0.4, abs=0.1)
    assert found[10] == pytest.approx(0.9, abs=0.04)
    assert 0.998 < found[20] < 1.0


@pytest.mark.parametrize(("beta", "published"), [(0.1, 7e-2), (0.01, 7e-3), (0.001, 7e-4)])
def test_updates_descend_the_gradient_through_time_as_closely_as_published(beta: float, published: float) -> None:
    network, steps = Network((10, 50, 5), feedback="separate"), 40
    rule = ContinualEP(ContinualSection(count=steps), beta, None, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    weights = initial_weights(network, 0.9, 0.9, 0.0, rng)
    for coupling in network.forward:
        weights[coupling.name][coupling.source_lines :] = 0.3 * rng.standard_normal(coupling.shape[1])
    heard: list[Directions] = []
    with training(network, rule) as controller:
        controller.program(weights)
        phase = controller.free_phase(*batch_of(network, 20, 1))
        substrate = controller._substrate
        oracle = substrate.oracle
        assert oracle is not None
        values = np.zeros((20, network.node_count))
        values[:, network.output.nodes] = phase.error
        path = [np.zeros_like(values)]
        path += [oracle.adjoint(values, steps=k) * substrate.scale.unit_siemens for k in range(1, steps + 1)]
        rule.measure(substrate, phase, lambda found: heard.append({name: dense(one) for name, one in found.items()}))
    through_time = [_mean(network, phase, after - before) for before, after in pairwise(path)]
    ours, theirs = (
        np.concatenate([one[name].ravel() for one in rows for name in through_time[0]])
        for rows in (heard, through_time)
    )
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert published / 1.5 < error < 1.5 * published


def test_the_error_turns_away_from_the_exact_one_with_the_angle_of_the_feedback() -> None:
    """In the first hidden layer of a wide network; published 1, .75, .34, -.01 at 0, 30, 60, 90 degrees."""
    network = _wide("separate")
    hidden = network.layers[1].name
    rule = EquilibriumPropagation(EquilibriumPropagationSection(), 0.01, np.random.default_rng(0))
    found = []
    for degrees in (0, 30, 60, 90):
        with training(network, rule, _readout()) as controller:
            controller.program(initial_weights(network, 2.2, 0.58, np.deg2rad(degrees), np.random.default_rng(1)))
            quality = controller.step(*_images(20), rate=0.0, judge=True).quality
        assert quality is not None
        found.append(quality.error_cosine[hidden])
    assert all(later < earlier - 0.1 for earlier, later in pairwise(found))
    assert found[0] > 0.999
    assert abs(found[-1]) < 0.1


@pytest.mark.parametrize("points", [1, 10], ids=["one-sided EP", "Cauchy N=10"])
def test_noise_at_the_neurons_leaves_a_best_amplitude_in_between(points: int) -> None:
    """Below it the response drowns, beyond it the nudge is too large; single samples, noise .01 at every step."""
    network = Network((6, 4, 4), activation="logistic", feedback="shared")
    noisy = {
        "solver": {"relaxation": "sweeps", "sweeps": {"free": 60, "nudged": 60}},
        "neurons": {"noise": 0.01},
    }
    betas = (0.01, 0.3, 2.0)
    cosines = np.empty((8, len(betas)))
    for seed, row in enumerate(cosines):
        weights, batch = (
            initial_weights(network, 1.0, 0.9, 0.0, np.random.default_rng(seed)),
            batch_of(network, 1, seed),
        )

        def device(beta: float, section: Any = None) -> AbstractContextManager[Controller]:
            rule = HolomorphicEP(HolomorphicSection(points=points), beta)
            return training(network, rule, SquaredError((0.0, 1.0)), section)

        with device(0.1) as controller:
            controller.program(weights)
            phase = controller.free_phase(*batch)
            wanted = _mean(network, phase, controller.exact_adjoint(phase.error))
        for place, beta in enumerate(betas):
            with device(beta, noisy) as controller:
                controller.program(weights)
                _, estimate = controller.measure(*batch)
            assert estimate.keep.all()
            row[place] = _cosine(estimate.directions, wanted)
    low, best, high = cosines.mean(axis=0)
    assert best > low + 0.1
    assert best > high + 0.02
