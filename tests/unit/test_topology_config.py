"""Topologies in experiment files: their keys, what is refused, and the weights that they start from."""

import numpy as np
import pytest

from substrate.convolution import unrolled_layers
from substrate.errors import InputError
from substrate.experiment.assembly import assemble, initial_weights
from substrate.experiment.config import NetworkConfig, load_experiment
from substrate.network import Network

PLAIN = ("homeostasis.strength=0", "network.layers=[64, 24, 16, 10]")
FORWARD = (*PLAIN, "network.family=feedforward", "network.feedback=none")


def _weights(network, scale=0.8, angle=0.0, orthogonal=False):
    return initial_weights(network, scale, 0.5, angle, np.random.default_rng(0), orthogonal)


def test_layers_of_an_experiment_become_windows():
    layers = "[[1, 8, 8], {channels: 3, kernel: 3}, 10]"
    experiment = load_experiment("digits-ideal", [*PLAIN, f"network.layers={layers}"])
    network = experiment.topology()
    assert network.sizes == (64, 108, 10)
    assert network.forward[0].shape == (10, 3)
    assert load_experiment("again", text=experiment.to_yaml()) == experiment


def test_a_feedforward_network_has_no_feedback_unless_told():
    network = NetworkConfig.model_validate({"family": "feedforward", "layers": [4, 3, 2]}).topology()
    assert network.feedback == "none"
    assert not network.backward


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (FORWARD, "rule"),
        ((*FORWARD, "rule={name: kolen_pollack}"), r"network\.feedback: rule kolen_pollack needs separate, got none"),
        ((*FORWARD, "rule={name: backprop}"), "backprop"),
        (
            (*FORWARD, "rule={name: backpropagation}", "network.feedback=loop"),
            r"network\.feedback: expected one of none",
        ),
        ((*PLAIN, "network.feedback=none"), r"network\.feedback: expected one of separate, shared, loop"),
        ((*PLAIN, "network.feedback=loop", "homeostasis.strength=1"), r"homeostasis\.strength"),
        ((*PLAIN, "network.output_activation=tanh"), r"network\.output_activation"),
        ((*PLAIN, "network.layers=[[1, 8, 8], {channels: 3, kernel: 9}, 10]"), "does not fit an image of 8 x 8"),
        (
            (*PLAIN, "network.feedback=loop", "network.layers=[[1, 8, 8], {channels: 3, kernel: 3}, 16, 10]"),
            r"network\.feedback: with convolutions .* a loop only through an even number of layers .* here are 3",
        ),
        ((*PLAIN, "network.layers=[64, {channels: 3, kernel: 3}, 10]"), r"network\.layers\.1: a convolution needs"),
        ((*PLAIN, "network.layers=[[1, 8, 8], {channels: 3}, 10]"), r"network\.layers\.1: expected channels, kernel"),
    ],
)
def test_what_does_not_go_together_is_refused_by_its_key(overrides, message):
    with pytest.raises(InputError, match=message):
        load_experiment("digits-ideal", overrides)


@pytest.mark.parametrize(("between", "others", "advice"), [(1, (2,), "more"), (3, (2, 4), "more or less")])
def test_what_a_refused_loop_with_convolutions_is_advised_works(between, others, advice):
    def load(count, feedback):
        layers = ["[1, 8, 8]", "{channels: 3, kernel: 3}", *["12"] * count, "10"]
        overrides = [*PLAIN, f"network.feedback={feedback}", f"network.layers=[{', '.join(layers)}]"]
        return load_experiment("digits-ideal", overrides)

    with pytest.raises(InputError, match=f"expected one layer {advice}, or the feedback separate or shared"):
        load(between, "loop")
    for count, feedback in [*((one, "loop") for one in others), (between, "separate"), (between, "shared")]:
        assert assemble(load(count, feedback)).substrate.network.convolutional


def test_convolutions_in_a_loop_of_an_even_number_of_layers_are_not_refused():
    layers = "[[1, 8, 8], {channels: 3, kernel: 3}, 16, 12, 10]"
    experiment = load_experiment("digits-ideal", [*PLAIN, "network.feedback=loop", f"network.layers={layers}"])
    assert assemble(experiment).substrate.network.convolutional


def test_feedforward_weights_have_the_deviation_of_their_fan_in():
    sizes, windows = unrolled_layers([[2, 12, 12], {"channels": 40, "kernel": 4}, {"channels": 50, "kernel": 3}, 30])
    weights = _weights(Network(sizes, family="feedforward", feedback="none", windows=windows))
    for name, fan_in, scale in (
        ("input-hidden1", 32, 0.5),
        ("hidden1-hidden2", 360, 0.8),
        ("hidden2-output", 2450, 0.8),
    ):
        assert np.std(weights[name][:-1]) == pytest.approx(scale / np.sqrt(fan_in), rel=0.1)
        assert not weights[name][-1].any()


@pytest.mark.parametrize("ratio", [1, 3])
def test_the_first_array_of_a_product_has_rows_of_length_one(ratio):
    network = Network((4, 9, 8, 5), family="feedforward", feedback="product", product_ratio=ratio)
    weights = _weights(network)
    assert weights["output-product2"].shape == (5, 5 * ratio)
    assert weights["product2-hidden2"].shape == (5 * ratio, 8)
    for name in ("output-product2", "hidden2-product1"):
        np.testing.assert_allclose(np.sum(weights[name] ** 2, axis=1), 1.0)


def test_an_orthogonal_product_is_orthogonal():
    weights = _weights(Network((4, 9, 5), family="feedforward", feedback="product"), orthogonal=True)
    b = weights["output-product1"]
    np.testing.assert_allclose(b @ b.T, np.eye(5), atol=1e-12)


def test_separate_feedback_mirrors_at_the_angle_and_other_feedback_does_not():
    sizes = (5, 60, 50, 40)
    same = _weights(Network(sizes, family="feedforward", feedback="separate"))
    np.testing.assert_array_equal(same["output-hidden2"], same["hidden2-output"][:-1].T)
    weights = _weights(Network(sizes, family="feedforward", feedback="direct"))
    path, own = weights["output-hidden2"].ravel(), weights["hidden2-output"][:-1].T.ravel()
    assert abs(path @ own) < 0.1 * np.linalg.norm(path) * np.linalg.norm(own)
