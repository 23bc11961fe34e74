"""Rules that need no symmetry: AsymEP and multiplexed perturbation, against closed forms and the exact adjoint."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from topologies import IMAGES, batch_of, network_of, oscillating, relative_error, start, training

from substrate.arrays import FloatArray
from substrate.conjugates import exact_mean
from substrate.controller import Controller
from substrate.errors import CapabilityError, InputError
from substrate.experiment.config import load_experiment
from substrate.network import Network
from substrate.rules.asymmetric_ep import AsymmetricEP, AsymmetricEPSection
from substrate.rules.base import Estimate, FreePhase, Rule
from substrate.rules.equilibrium_propagation import EquilibriumPropagation, EquilibriumPropagationSection
from substrate.rules.multiplexed import Multiplexed
from substrate.rules.perturbation import Tones, perturb
from substrate.tones import SamplingPlan

TONES = Tones(0.02, SamplingPlan(1e3, 3, 12, 1))


def asymmetric(amplitude: float, **keys: Any) -> AsymmetricEP:
    section = AsymmetricEPSection(**keys)
    return AsymmetricEP(section, amplitude, TONES if section.asymmetry == "measured" else None)


def plain(amplitude: float) -> Rule:
    return EquilibriumPropagation(EquilibriumPropagationSection(), amplitude, np.random.default_rng(0))


def judged(
    network: Network, rule: Rule, weights: dict[str, FloatArray] | None = None, **keys: Any
) -> tuple[Estimate, FloatArray, dict[str, FloatArray]]:
    """The estimate, the exact adjoint, and the exact mean directions; the device holds the batch to the end."""
    with training(network, rule, **keys) as controller:
        controller.program(start(network) if weights is None else weights)
        phase, estimate = controller.measure(*batch_of(network))
        adjoint = controller.exact_adjoint(phase.error)
    share = np.full(len(adjoint), 1.0 / len(adjoint))
    exact = {c.name: exact_mean(network, phase.inputs, phase.activity, adjoint, share, c) for c in network.settling}
    return estimate, adjoint, exact


def cosine(found: dict[str, FloatArray], wanted: dict[str, FloatArray]) -> float:
    dot = sum(float(np.sum(found[name] * wanted[name])) for name in wanted)
    norms = [np.sqrt(sum(float(np.sum(one[name] ** 2)) for name in wanted)) for one in (found, wanted)]
    return float(dot / (norms[0] * norms[1]))


@pytest.mark.parametrize("nudged", ["first", "second"])
@pytest.mark.parametrize("asymmetry", ["products", "measured"])
def test_the_toy_jacobian_of_the_paper(nudged: str, asymmetry: str) -> None:
    """J = [[-2, 1], [0, -1]] (arXiv 2602.03670): the response to an error is -J^-T e, and -J^-1 e without feedback.

    The second node drives the first, and not the other way round. -2 is 1/f' of a tanh neuron at s = sqrt(1/2). Errors
    are those of the outputs, so that the one or the other node is the output.
    """
    network, order = Network((1, 1, 1)), [1, 0] if nudged == "first" else [0, 1]
    jacobian = np.array([[-2.0, 1.0], [0.0, -1.0]])
    steep = np.arctanh(np.sqrt(0.5))
    # On nodes (hidden, output): a bias that puts the first of the toy where its slope is 1/2, the second rests at 0.
    bias = np.array([steep, 0.0])[order]
    weight = (jacobian + np.diag([2.0, 1.0]))[np.ix_(order, order)]
    weights = {
        "input-hidden1": np.array([[0.0], [bias[0]]]),
        "hidden1-output": np.array([[weight[1, 0]], [bias[1]]]),
        "output-hidden1": np.array([[weight[0, 1]]]),
    }
    for rule, exact in ((asymmetric(3e-3, asymmetry=asymmetry), True), (plain(3e-3), False)):
        with training(network, rule) as controller:
            controller.program(weights)
            phase, estimate = controller.measure(np.zeros((1, 1)), np.zeros(1, dtype=np.int64))
        error = np.zeros(2)
        error[order[1]] = phase.error[0, 0]
        assert abs(error).max() > 0.05
        transposed = -np.linalg.solve(jacobian.T, error)
        response = estimate.signals.response[0][order]
        if exact:
            np.testing.assert_allclose(response, transposed, atol=2e-5)
        else:
            assert np.abs(response - transposed).max() > 0.1 * np.abs(error).max()
            np.testing.assert_allclose(response, -np.linalg.solve(jacobian, error), atol=2e-5)


@pytest.mark.parametrize("sizes", [[6, 9, 4], [5, 8, 7, 3]])
@pytest.mark.parametrize("asymmetry", ["products", "measured"])
def test_asymmetric_ep_is_exact_without_symmetry(sizes: list[int], asymmetry: str) -> None:
    network = network_of(sizes)
    errors = []
    for amplitude in (0.2, 0.1):
        estimate, adjoint, exact = judged(network, asymmetric(amplitude, asymmetry=asymmetry))
        assert estimate.keep.all()
        errors.append(relative_error(estimate.signals.response, adjoint))
        assert cosine(estimate.directions, exact) > 0.999
    # Of second order in beta: what is left is curvature, not asymmetry.
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)
    ordinary, adjoint, exact = judged(network, plain(0.1))
    assert relative_error(ordinary.signals.response, adjoint) > 0.2
    assert cosine(ordinary.directions, exact) < 0.99


def test_asymmetric_ep_undoes_a_loop() -> None:
    """The outputs act on the first hidden layer alone: nothing mirrors anything, and the adjoint comes out."""
    network = network_of([5, 7, 6, 4, 3], feedback="loop")
    estimate, adjoint, exact = judged(network, asymmetric(0.02))
    assert relative_error(estimate.signals.response, adjoint) < 1e-3
    assert cosine(estimate.directions, exact) > 0.9999


@pytest.mark.parametrize(
    ("keys", "bound"),
    [({"nudge": "feedback"}, 1e-3), ({"points": 4}, 1e-6), ({"points": 4, "nudge": "feedback"}, 1e-6)],
)
def test_asymmetric_ep_takes_every_kind_of_nudge(keys: dict[str, Any], bound: float) -> None:
    estimate, adjoint, _ = judged(network_of([6, 9, 4]), asymmetric(0.02, **keys))
    assert relative_error(estimate.signals.response, adjoint) < bound


def test_asymmetric_ep_undoes_what_wires_and_mismatch_do() -> None:
    """The asymmetry is that of the device: of its circuit as it is read, whatever its cells should be."""
    section = {"wires": {"segment_ohms": 30.0}, "cells": {"spread": 0.1}, "neurons": {"gain_spread": 0.1}}
    for keys in ({"asymmetry": "products"}, {"asymmetry": "measured"}):
        estimate, adjoint, _ = judged(network_of([6, 9, 4]), asymmetric(0.02, **keys), section=section)
        assert relative_error(estimate.signals.response, adjoint) < 2e-3


def test_asymmetric_ep_leaves_a_shared_array_as_it_is() -> None:
    estimate, _, exact = judged(network_of([6, 9, 4], feedback="shared"), asymmetric(0.02))
    ordinary, _, _ = judged(network_of([6, 9, 4], feedback="shared"), plain(0.02))
    assert estimate.conjugate == "product"
    assert cosine(estimate.directions, exact) > 0.9999
    np.testing.assert_allclose(estimate.signals.response, ordinary.signals.response, atol=1e-8)


@pytest.mark.parametrize(
    "network",
    [
        network_of([6, 9, 4]),
        network_of([5, 8, 7, 3]),
        network_of([5, 7, 6, 3], feedback="loop"),
        network_of([6, 9, 4], feedback="shared"),
        network_of(IMAGES),
        network_of([6, 8, 5, 3], family="feedforward", feedback="none"),
    ],
    ids=["separate", "deeper", "loop", "shared", "convolutions", "feedforward"],
)
def test_multiplexed_tones_give_the_gradient_of_any_network(network: Network) -> None:
    estimate, _, exact = judged(network, Multiplexed(TONES))
    assert estimate.keep.all()
    assert cosine(estimate.directions, exact) > 1 - 1e-6
    for name, direction in exact.items():
        assert relative_error(estimate.directions[name], direction) < 1e-3


def test_multiplexed_tones_give_the_gradient_of_a_resistive_network() -> None:
    network = network_of([4, 6, 3], family="resistive", activation="rectified", feedback="shared", amplifier_gain=2.0)
    rng = np.random.default_rng(3)
    weights = {c.name: rng.uniform(0.05, 0.5, c.shape) for c in network.arrays}
    # Small enough for no diode to switch.
    rule = Multiplexed(Tones(2e-4, SamplingPlan(1e3, 3, 12, 1)))
    estimate, _, exact = judged(network, rule, weights)
    assert estimate.conjugate == "squared_voltage"
    for name, direction in exact.items():
        assert relative_error(estimate.directions[name], direction) < 1e-6


def test_the_noise_of_multiplexed_tones_is_predicted() -> None:
    """Over repeated measurements the gradient scatters as its standard error says."""
    network, rule = network_of([6, 9, 4]), Multiplexed(Tones(0.1, SamplingPlan(1e3, 3, 12, 2)))
    with training(network, rule, section={"converters": {"adc_noise_volts": 1e-4}}) as controller:
        controller.program(start(network))
        found = [controller.measure(*batch_of(network))[1] for _ in range(40)]
    assert cosine(found[0].directions, found[1].directions) > 0.98
    for name in found[0].directions:
        stack = np.array([one.directions[name] for one in found])
        scatter = np.sqrt(np.sum(stack.var(axis=0, ddof=1)))
        foretold = np.mean([one.standard_errors[name] for one in found])
        assert scatter == pytest.approx(foretold, rel=0.35)


def test_signs_at_all_neurons_beat_one_neuron_at_a_time() -> None:
    """At the same amplitude, N patterns of signs leave 1/N of the noise variance of N single pushes."""
    network = network_of([6, 9, 4])
    with training(network, oscillating(), section={"converters": {"adc_noise_volts": 1e-4}}) as controller:
        controller.program(start(network))
        inputs, _ = batch_of(network, 2)
        found = perturb(controller._substrate, inputs, Tones(0.05, SamplingPlan(1e3, 1, 4, 2)))
        chi = np.array(
            [
                controller._substrate.oracle.adjoint(np.tile(row, (2, 1))) * controller._substrate.scale.unit_siemens
                for row in np.eye(network.node_count)
            ]
        ).swapaxes(0, 1)
    scatter = float(np.mean((found.susceptibility - chi) ** 2))
    single = found.variance
    assert scatter == pytest.approx(single / len(found.patterns), rel=0.3)
    assert found.susceptibility_variance == pytest.approx(single / len(found.patterns))


def test_the_batch_is_held_as_before() -> None:
    network = network_of([6, 9, 4])
    for rule in (Multiplexed(TONES), asymmetric(0.1, asymmetry="measured")):
        with training(network, rule) as controller:
            controller.program(start(network))
            phase, _ = controller.measure(*batch_of(network))
            after = controller._substrate.settle().volts[:, 0] / controller._substrate.scale.volts_per_unit
        np.testing.assert_allclose(after, phase.activity, atol=1e-9)


def test_samples_that_cannot_be_probed_are_left_out() -> None:
    """A converter that clips under the tones tells nothing of the asymmetry."""
    network = network_of([6, 9, 4])
    section = {"converters": {"adc_bits": 12, "adc_range_volts": 0.01}}
    for rule in (Multiplexed(TONES), asymmetric(0.1, asymmetry="measured")):
        with training(network, rule, section=section) as controller:
            controller.program(start(network))
            inputs, _ = batch_of(network)
            substrate = controller._substrate
            substrate.hold(inputs * substrate.scale.volts_per_unit)
            substrate.settle()
            phase = FreePhase(inputs, np.zeros((5, 13)), np.ones((5, 4)), np.ones(5, dtype=np.bool_))
            estimate = rule.measure(substrate, phase)
        assert not estimate.keep.any()
        assert estimate.excluded.total == 5


@pytest.mark.parametrize(
    ("rule", "lacks"),
    [
        (Multiplexed(TONES), "node_nudges"),
        (asymmetric(0.1), "cross_feedback"),
        (asymmetric(0.1), "forward_products"),
        (asymmetric(0.1, nudge="feedback"), "feedback_nudges"),
        (asymmetric(0.1, points=4), "complex_nudges"),
    ],
)
def test_what_a_device_lacks_is_named(rule: Rule, lacks: str) -> None:
    network = network_of([6, 9, 4])
    with training(network, oscillating()) as controller:
        substrate = controller._substrate
        substrate._capabilities = replace(substrate.capabilities, **{lacks: False})
        with pytest.raises(CapabilityError, match=f"rule {rule.name} needs the capability '{lacks}'"):
            Controller(
                substrate,
                rule,
                controller._cost,
                controller.writer,
                controller._optimiser,
                controller._homeostasis,
            )


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["rule={name: multiplexed}", "nudge.amplitude=auto"], r"nudge\.amplitude: rule multiplexed is given its"),
        (
            ["rule={name: multiplexed}", "nudge={amplitude: 0.1, periods: auto}"],
            r"nudge\.periods: rule multiplexed is given its tone",
        ),
        (["rule={name: asymmetric_ep, points: 1}", "nudge.amplitude=0.1"], r"rule\.points: expected at least 2"),
        (
            ["rule={name: asymmetric_ep, asymmetry: measured}", "nudge={amplitude: 0.1, harmonics: auto}"],
            r"nudge\.harmonics: rule asymmetric_ep",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_named(overrides: list[str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_experiment("iris", overrides)
