"""Windows over images against the sums that they are defined by, and activations against their own slopes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.activations import ACTIVATIONS
from substrate.convolution import Window, expanded, gathered, scattered, unrolled_layers
from substrate.network import Network

WINDOWS = st.builds(
    lambda channels, height, width, out, kernel, stride: Window(
        (channels, height, width), out, min(kernel, height, width), stride
    ),
    *(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)),
)


def _by_definition(window, image, weights):
    """y[o, r, c] = sum over i, a, b of w[i, a, b, o] x[i, stride r + a, stride c + b]."""
    kernel = weights.reshape(window.source[0], window.kernel, window.kernel, window.channels)
    out = np.zeros(window.target)
    for _, row, column in np.ndindex(1, *window.target[1:]):
        top, left = window.stride * row, window.stride * column
        patch = image.reshape(window.source)[:, top : top + window.kernel, left : left + window.kernel]
        out[:, row, column] = np.einsum("iab,iabo->o", patch, kernel)
    return out.ravel()


@settings(max_examples=40, deadline=None)
@given(WINDOWS)
def test_an_unrolled_convolution_is_the_convolution(window):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, int(np.prod(window.source))))
    weights = rng.standard_normal((window.taps, window.channels))
    size = int(np.prod(window.target))
    found = scattered(gathered(images, window.source_index) @ weights, window.target_index, size)
    expected = np.stack([_by_definition(window, image, weights) for image in images])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    shape = (images.shape[1], size)
    dense = expanded(weights, window.source_index, window.target_index, shape)
    np.testing.assert_allclose(images @ dense, expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(WINDOWS)
def test_scattering_is_the_transpose_of_gathering(window):
    rng = np.random.default_rng(1)
    count = int(np.prod(window.source))
    values = rng.standard_normal((3, count))
    unrolled = rng.standard_normal((3 * window.positions, window.taps))
    across = float(np.vdot(gathered(values, window.source_index), unrolled))
    assert float(np.vdot(values, scattered(unrolled, window.source_index, count))) == pytest.approx(across, abs=1e-10)


def test_layers_are_unrolled_to_sizes_and_windows():
    sizes, windows = unrolled_layers([[1, 28, 28], {"channels": 8, "kernel": 5, "stride": 2}, 10])
    assert sizes == (784, 8 * 12 * 12, 10)
    network = Network(sizes, family="feedforward", feedback="separate", windows=windows)
    assert [c.shape for c in network.arrays] == [(26, 8), (1153, 10), (10, 1152)]
    assert unrolled_layers([4, 3]) == ((4, 3), (None,))


def test_feedback_of_a_convolution_lies_the_other_way_round():
    sizes, windows = unrolled_layers([[2, 4, 4], {"channels": 3, "kernel": 2}, {"channels": 2, "kernel": 2}, 3])
    network = Network(sizes, windows=windows)
    forward, backward = network.forward[1], network.backward[0]
    assert backward.shape == (forward.shape[1], forward.source_lines)
    weights = np.random.default_rng(2).standard_normal(backward.shape)
    np.testing.assert_array_equal(backward.block(weights), forward.block(weights.T).T)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_the_slope_by_the_activity_is_the_slope(name):
    activation = ACTIVATIONS[name]
    # Off the rectifier's corner.
    z = np.linspace(-2.003, 2.0, 101)
    np.testing.assert_allclose(activation.slope_at(activation.value(z)), activation.slope(z), atol=1e-12)
    numeric = (activation.value(z + 1e-6) - activation.value(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(activation.slope(z), numeric, atol=1e-8)
    assert np.all(activation.slope_at(np.array([-1.5, 1.5])) >= 0)
