"""Loops, feedforward networks and convolutions: they settle, and their gradients are those of the settled cost."""

import numpy as np
import pytest
from topologies import IMAGES, batch_of, differences, network_of, oscillating, relative_error, start, training

from substrate.activations import ACTIVATIONS
from substrate.conjugates import exact_mean
from substrate.errors import InputError
from substrate.rules.backpropagation import Backpropagation

WIRES = {"wires": {"segment_ohms": 2.0, "source_ohms": 50.0, "sense_ohms": 5.0}}


def _exact(controller, batch):
    """Mean directions from the device's own adjoint."""
    phase, _ = controller.measure(*batch)
    adjoint = controller.exact_adjoint(phase.error)
    share = np.full(len(adjoint), 1.0 / len(adjoint))
    network = controller.network
    return {c.name: exact_mean(network, phase.inputs, phase.activity, adjoint, share, c) for c in network.settling}


@pytest.mark.parametrize("layers", [(3, 4, 3, 2), (3, 4, 3, 3, 2)], ids=["odd", "even"])
def test_a_loop_settles_and_its_exact_gradient_is_that_of_the_settled_cost(layers):
    network = network_of(layers, feedback="loop")
    assert [c.name for c in network.backward] == ["output-hidden1"]
    weights, batch = start(network), batch_of(network)
    with training(network, oscillating()) as controller:
        controller.program(weights)
        assert controller.evaluate(*batch).unsettled == 0
        exact = _exact(controller, batch)
        for name, expected in differences(controller, weights, batch).items():
            assert relative_error(exact[name], expected) < 1e-6


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("output", ["same", "linear"])
def test_backpropagation_in_memory_is_the_gradient(activation, output):
    network = network_of(
        (3, 5, 4, 2), family="feedforward", feedback="none", activation=activation, output_activation=output
    )
    weights, batch = start(network), batch_of(network)
    with training(network, Backpropagation()) as controller:
        controller.program(weights)
        _, estimate = controller.measure(*batch)
        exact = _exact(controller, batch)
        for name, expected in differences(controller, weights, batch).items():
            assert relative_error(estimate.directions[name], expected) < 1e-6
            assert relative_error(exact[name], expected) < 1e-6


def test_backpropagation_through_convolutions_is_the_gradient():
    network = network_of(IMAGES, family="feedforward", feedback="none", activation="tanh", output_activation="linear")
    weights, batch = start(network), batch_of(network)
    with training(network, Backpropagation()) as controller:
        controller.program(weights)
        _, estimate = controller.measure(*batch)
        for name, expected in differences(controller, weights, batch).items():
            assert relative_error(estimate.directions[name], expected) < 1e-6


@pytest.mark.parametrize("feedback", ["shared", "separate"])
def test_equilibrium_propagation_through_convolutions_is_the_gradient(feedback):
    network = network_of(IMAGES, feedback=feedback)
    weights, batch = start(network, 0.0), batch_of(network)
    with training(network, oscillating()) as controller:
        controller.program(weights)
        _, estimate = controller.measure(*batch)
        exact = _exact(controller, batch)
        found = differences(controller, weights, batch)
        for coupling in network.forward:
            assert relative_error(exact[coupling.name], found[coupling.name]) < 1e-6
            # Of the symmetric network, all directions are exact; with arrays of their own, each at its own cells.
            assert relative_error(estimate.directions[coupling.name], found[coupling.name]) < 1e-4


def test_linear_outputs_of_a_network_that_feeds_back():
    network = network_of((3, 4, 3), feedback="shared", output_activation="linear")
    weights, batch = start(network), batch_of(network)
    with training(network, oscillating()) as controller:
        controller.program(weights)
        _, estimate = controller.measure(*batch)
        for name, expected in differences(controller, weights, batch).items():
            assert relative_error(estimate.directions[name], expected) < 1e-4


@pytest.mark.parametrize("layers", [(6, 5, 4, 3), IMAGES], ids=["dense", "convolutions"])
@pytest.mark.parametrize(
    "section",
    [
        WIRES,
        {"cells": {"law": "sinh", "alpha": 2.0}},
        {"tiles": {"rows": 4, "columns": 4, "summation": "digital"}},
        {"cells": {"spread": 0.1}, "neurons": {"gain_spread": 0.1, "offset_spread": 0.05}},
    ],
    ids=["wires", "curved", "tiles", "spread"],
)
def test_the_adjoint_of_a_feedforward_network_is_its_response_to_currents(layers, section):
    """A held nudge of every node against the adjoint of its outputs, on arrays of any kind."""
    from substrate.capabilities import HeldNudge

    network = network_of(layers, family="feedforward", feedback="none")
    weights, (inputs, labels) = start(network), batch_of(network, 3)
    with training(network, Backpropagation(), section=section) as controller:
        controller.program(weights)
        substrate = controller._substrate
        phase, _ = controller.measure(inputs, labels)
        exact = controller.exact_adjoint(phase.error)
        step, nodes = 1e-5, network.node_count
        pushes = np.concatenate([np.eye(nodes), -np.eye(nodes)])[None] * step * substrate.scale.unit_amperes
        states = substrate.settle_nudged(HeldNudge(np.repeat(pushes, len(inputs), axis=0))).volts
        outputs = states[:, :, network.output.nodes] / substrate.scale.volts_per_unit
        response = (outputs[:, :nodes] - outputs[:, nodes:]) / (2 * step)
        np.testing.assert_allclose(np.einsum("bno,bo->bn", response, phase.error), exact, atol=1e-8)


@pytest.mark.parametrize(
    ("layers", "keys", "message"),
    [
        ((3, 4, 2), {"feedback": "loop"}, "two hidden layers"),
        ((3, 4, 2), {"family": "feedforward", "feedback": "shared"}, "expected one of none, separate, direct, product"),
        ((3, 4, 2), {"activation": "rectified_linear"}, "expected one of tanh, logistic, soft_rectified"),
        ((3, 4, 2), {"product_ratio": 2}, "product_ratio"),
        (IMAGES, {"family": "feedforward", "feedback": "product"}, "convolutions"),
        ((4, {"channels": 2, "kernel": 2}), {}, "needs an image"),
        (([1, 3, 3], {"channels": 2, "kernel": 4}), {}, "does not fit"),
        (([1, 3, 3], {"channels": 2, "kernal": 4}), {}, "expected channels, kernel and stride"),
        ((4, [1, 2, 2]), {}, "image"),
    ],
)
def test_topologies_that_cannot_be_are_refused(layers, keys, message):
    with pytest.raises(InputError, match=message):
        network_of(layers, **keys)
