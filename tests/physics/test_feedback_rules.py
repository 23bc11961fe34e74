"""Feedback-path rules on emulated crossbars: their known limits, and that they learn on arrays that are not ideal."""

from dataclasses import replace

import numpy as np
import pytest
from topologies import batch_of, network_of, start, training

from emulators.substrate import EmulatedSubstrate
from substrate.errors import CapabilityError, InputError
from substrate.rules.backpropagation import Backpropagation, BackpropagationSection
from substrate.rules.direct_feedback_alignment import DirectFeedbackAlignment
from substrate.rules.feedback_alignment import FeedbackAlignment, FeedbackAlignmentSection
from substrate.rules.feedback_paths import path_angles
from substrate.rules.kolen_pollack import KolenPollack
from substrate.rules.product_feedback import ProductFeedback, ProductFeedbackSection
from substrate.rules.sections import NudgeConfig
from substrate.rules.sign_symmetric import SignSymmetric

DECAY = 0.05


def _teacher(count=256, inputs=10, classes=4, seed=5):
    """Classes of points by the largest of random sums: a task that layers can learn."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (count, inputs))
    return points, np.argmax(points @ rng.standard_normal((inputs, classes)), axis=1)


def _train(controller, data, steps, rate, decay=0.0, batch=32, seed=3):
    order = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = order.integers(0, len(data[1]), batch)
        controller.step(data[0][chosen], data[1][chosen], rate, weight_decay=decay)


def _weights(controller):
    return {c.name: controller.writer.weights(c) for c in controller.network.arrays}


def _network(feedback, layers=(10, 16, 12, 4), ratio=1, **keys):
    keys = {"activation": "tanh", "output_activation": "linear"} | keys
    return network_of(layers, family="feedforward", feedback=feedback, product_ratio=ratio, **keys)


@pytest.mark.parametrize(("ratio", "degrees"), [(2, 35.3), (5, 24.1)])
def test_the_path_angle_of_product_feedback_tends_to_atan_of_one_over_root_lambda(ratio, degrees):
    """Also the ratio of norms, sqrt(1 + 1/lambda): arXiv 2405.20594; many output nodes make both sharp."""
    network = _network("product", (10, 24, 128, 10), ratio)
    data = _teacher(classes=10)
    with training(network, ProductFeedback()) as controller:
        controller.program(start(network))
        _train(controller, data, 400, 0.2, 0.06)
        found = path_angles(network, _weights(controller))["hidden1-hidden2"]
    assert found.degrees == pytest.approx(degrees, abs=2.5)
    assert found.norm_ratio == pytest.approx(np.sqrt(1 + 1 / ratio), rel=0.06)


def test_orthogonal_product_feedback_comes_to_the_transpose():
    network = _network("product")
    with training(network, ProductFeedback()) as controller:
        controller.program(start(network, orthogonal=True))
        before = path_angles(network, _weights(controller))
        _train(controller, _teacher(), 450, 0.2, DECAY)
        after = path_angles(network, _weights(controller))
    for name, angle in after.items():
        assert before[name].degrees > 60
        assert angle.degrees < 5
        assert angle.norm_ratio == pytest.approx(1.0, abs=0.05)


def test_kolen_pollack_brings_feedback_to_the_transpose():
    """W - B^T decays by (1 - rate * decay) a step, whatever is learned."""
    network = _network("separate")
    with training(network, KolenPollack()) as controller:
        weights = start(network)
        controller.program(weights)
        _train(controller, _teacher(), 100, 0.2, DECAY)
        after = _weights(controller)
    for feedback in network.backward:
        forward = network.mirror(feedback)
        gap = [w[forward.name][: forward.source_lines].T - w[feedback.name] for w in (weights, after)]
        np.testing.assert_allclose(gap[1], gap[0] * (1 - 0.2 * DECAY) ** 100, atol=1e-9)


@pytest.mark.parametrize(
    ("rule", "feedback"), [(FeedbackAlignment, "separate"), (DirectFeedbackAlignment, "direct")], ids=["fa", "dfa"]
)
def test_feedback_alignment_aligns_the_hidden_errors(rule, feedback):
    """The paths stay as they were, and the forward weights come to agree with them."""
    network = _network(feedback)
    data = _teacher()
    with training(network, rule()) as controller:
        controller.program(start(network))
        before = controller.step(data[0][:64], data[1][:64], 1e-9, judge=True).quality
        paths = _weights(controller)
        _train(controller, data, 300, 0.2)
        after = controller.step(data[0][:64], data[1][:64], 1e-9, judge=True).quality
        for coupling in network.backward:
            np.testing.assert_array_equal(_weights(controller)[coupling.name], paths[coupling.name])
    for layer in ("hidden1", "hidden2"):
        assert after.error_cosine[layer] > max(0.3, before.error_cosine[layer])


def test_sign_symmetric_feedback_keeps_its_magnitudes_and_follows_the_signs():
    network = _network("separate")
    with training(network, SignSymmetric(1)) as controller:
        weights = start(network)
        controller.program(weights)
        data = _teacher()
        controller.prepare(data[0][:32], data[1][:32])
        _train(controller, data, 60, 0.3)
        trained = _weights(controller)
        controller.step(data[0][:8], data[1][:8], 1e-9)
        after = _weights(controller)
    flipped = 0
    for feedback in network.backward:
        forward = network.mirror(feedback)
        wanted = trained[forward.name][: forward.source_lines].T
        np.testing.assert_array_equal(np.sign(after[feedback.name]), np.sign(wanted))
        np.testing.assert_allclose(np.abs(after[feedback.name]), np.abs(weights[feedback.name]), atol=1e-9)
        flipped += np.count_nonzero(wanted * weights[forward.name][: forward.source_lines].T < 0)
    assert flipped > 0


def _sent(controller):
    return {c.name: controller._substrate.pulses_sent(c.name).sum() for c in controller.network.arrays}


def test_pulses_of_feedback_that_follows_signs_are_reported_and_given_as_writing_says():
    network = _network("separate")
    data, name = _teacher(), "hidden2-hidden1"
    most = {}
    for burst in (2, 40):
        pulses = {"update": {"law": "constant", "step": 0.002}}
        keys = {"section": pulses, "mode": "accumulate", "largest_burst": burst, "program_rounds": 1}
        with training(network, SignSymmetric(1), **keys) as controller:
            substrate = controller._substrate
            controller.program(start(network))
            before = _sent(controller)
            reported = 0
            for _ in range(20):
                was = substrate.pulses_sent(name)
                reported += controller.step(data[0][:32], data[1][:32], 0.3).report.pulses
                most[burst] = max(most.get(burst, 0), (substrate.pulses_sent(name) - was).sum(axis=0).max())
            after = _sent(controller)
        assert after[name] > before[name]
        assert reported == sum(after.values()) - sum(before.values())
    assert most[2] == 2
    assert most[40] > 2


def test_frozen_feedback_does_not_follow_signs():
    network = _network("separate")
    data = _teacher()
    with training(network, SignSymmetric(1), frozen=("hidden2-hidden1",)) as controller:
        weights = start(network)
        controller.program(weights)
        controller.prepare(data[0][:32], data[1][:32])
        controller.step(data[0][:32], data[1][:32], 0.3)
        after = _weights(controller)
    np.testing.assert_allclose(after["hidden2-hidden1"], weights["hidden2-hidden1"], atol=1e-12)
    assert np.any(after["output-hidden2"] * weights["output-hidden2"] < 0)


CHIP = {
    "update": {"law": "constant", "step": 0.002, "cycle_spread": 0.2},
    "cells": {"spread": 0.05},
    "wires": {"segment_ohms": 2.0, "source_ohms": 50.0, "sense_ohms": 5.0},
    "neurons": {"gain_spread": 0.05, "offset_spread": 0.02},
    "converters": {"dac_bits": 8, "dac_range_volts": 0.3, "adc_bits": 10, "adc_range_volts": 0.6},
}
IMAGE = ([1, 4, 4], {"channels": 4, "kernel": 3}, {"channels": 6, "kernel": 2}, 4)


CHAIN = (16, 12, 10, 4)


@pytest.mark.parametrize(
    ("rule", "feedback", "layers"),
    [
        (Backpropagation, "none", CHAIN),
        (Backpropagation, "none", IMAGE),
        (FeedbackAlignment, "separate", CHAIN),
        (FeedbackAlignment, "separate", IMAGE),
        (DirectFeedbackAlignment, "direct", CHAIN),
        (DirectFeedbackAlignment, "direct", IMAGE),
        (lambda: SignSymmetric(4), "separate", CHAIN),
        (lambda: SignSymmetric(4), "separate", IMAGE),
        (KolenPollack, "separate", CHAIN),
        (KolenPollack, "separate", IMAGE),
        (ProductFeedback, "product", CHAIN),
    ],
)
def test_all_learn_on_crossbars_that_are_not_ideal(rule, feedback, layers):
    network = _network(feedback, layers)
    data = _teacher(256, 16)
    with training(network, rule(), section=CHIP, mode="accumulate", momentum=0.9) as controller:
        controller.program(start(network))
        controller.prepare(data[0][:32], data[1][:32])
        before = controller.evaluate(*data)
        _train(controller, data, 120, 0.03, 1e-3)
        after = controller.evaluate(*data)
    assert after.loss < 0.75 * before.loss
    assert after.accuracy > max(before.accuracy, 0.6)


def test_a_rule_names_the_path_that_it_needs():
    with pytest.raises(InputError, match=r"network\.feedback: rule feedback_alignment needs separate, got none"):
        FeedbackAlignmentSection(name="feedback_alignment").check(_network("none"), NudgeConfig(), "softmax")
    with pytest.raises(InputError, match=r"network\.family: rule backpropagation .* expected feedforward"):
        BackpropagationSection(name="backpropagation").check(network_of((3, 4, 2)), NudgeConfig(), "softmax")
    section = ProductFeedbackSection(name="product_feedback", orthogonal=True)
    with pytest.raises(InputError, match=r"network\.product_ratio: an orthogonal B is square; expected 1, got 2"):
        section.check(_network("product", ratio=2), NudgeConfig(), "softmax")


def test_devices_that_cannot_be_read_backwards_are_refused(monkeypatch):
    network = _network("none")
    able = EmulatedSubstrate.capabilities.fget
    assert able is not None
    unable = property(lambda device: replace(able(device), transposed_products=False))
    monkeypatch.setattr(EmulatedSubstrate, "capabilities", unable)
    message = "rule backpropagation needs the capability 'transposed_products'"
    with pytest.raises(CapabilityError, match=message), training(network, Backpropagation()):
        pass


def test_batches_give_the_mean_of_their_samples():
    network = _network("product")
    batch = batch_of(network, 4)
    with training(network, ProductFeedback()) as controller:
        controller.program(start(network))
        _, together = controller.measure(*batch)
        alone = [controller.measure(batch[0][[i]], batch[1][[i]])[1] for i in range(4)]
    assert set(together.directions) == {c.name for c in network.forward} | {
        c.name for c in network.backward if c.target.start >= 0
    }
    for name, direction in together.directions.items():
        np.testing.assert_allclose(direction, np.mean([one.directions[name] for one in alone], axis=0), atol=1e-12)
