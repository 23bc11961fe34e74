"""Neurons: closed forms, slopes against differences, mismatch that can be switched off."""

import numpy as np
import pytest

from emulators.neurons import TRANSFER, Neurons
from substrate.activations import SMOOTH

CLOSED = {
    "tanh": lambda z: (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1),
    "logistic": lambda z: 1 / (1 + np.exp(-4 * z + 2)),
    "soft_rectified": lambda z: 0.25 * np.log(1 + np.exp(4 * z)),
}


def test_every_activation_of_a_topology_has_a_transfer_function() -> None:
    assert set(SMOOTH) == set(TRANSFER)


@pytest.mark.parametrize("activation", SMOOTH)
def test_ideal_neurons_are_their_closed_form(activation: str) -> None:
    z = np.linspace(-4.0, 4.0, 101)
    neurons = Neurons.mismatched(activation, 101, np.random.default_rng(0))
    np.testing.assert_allclose(neurons.activity(z), CLOSED[activation](z), atol=1e-12)


@pytest.mark.parametrize("activation", SMOOTH)
def test_mismatch_is_gain_offset_and_swing(activation: str) -> None:
    neurons = Neurons.mismatched(activation, 50, np.random.default_rng(1), 0.2, 0.1, 0.3)
    u = np.random.default_rng(2).standard_normal((4, 50))
    expected = neurons.saturation * CLOSED[activation](neurons.gain * (u + neurons.offset))
    np.testing.assert_allclose(neurons.activity(u), expected, atol=1e-12)
    h = 1e-5
    difference = (neurons.activity(u + h) - neurons.activity(u - h)) / (2 * h)
    np.testing.assert_allclose(neurons.slope(u), difference, atol=1e-8)
    np.testing.assert_array_equal(neurons.part(slice(3, 7)).activity(u[:, 3:7]), neurons.activity(u)[:, 3:7])
    order = np.array([9, 2, 30])
    np.testing.assert_array_equal(neurons.pick(order).slope(u[:, order]), neurons.slope(u)[:, order])


def test_spreads_are_standard_deviations() -> None:
    neurons = Neurons.mismatched("tanh", 20000, np.random.default_rng(3), 0.05, 0.02, 0.1)
    assert np.log(neurons.gain).std() == pytest.approx(0.05, rel=0.03)
    assert neurons.offset.std() == pytest.approx(0.02, rel=0.03)
    assert np.log(neurons.saturation).std() == pytest.approx(0.1, rel=0.03)


@pytest.mark.parametrize("activation", SMOOTH)
def test_extreme_inputs_neither_overflow_nor_warn(activation: str) -> None:
    neurons = Neurons.mismatched(activation, 2, np.random.default_rng(0))
    u = np.array([-1e4, 1e4])
    assert np.isfinite(neurons.activity(u)).all()
    assert np.isfinite(neurons.slope(u)).all()
