import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.demodulation import (
    chebyshev_derivative,
    derivative_variance,
    derivative_weights,
    free_value,
    harmonics,
    residual_noise,
    richardson,
    truncation_ratio,
)
from substrate.errors import InputError


def nudged(curve, amplitude, samples_per_period=64, periods=1):
    """The quasi-static record of a response curve under a cosine nudge."""
    phase = 2 * np.pi * np.arange(samples_per_period * periods) / samples_per_period
    return curve(amplitude * np.cos(phase))


@given(
    samples_per_period=st.integers(1, 40),
    periods=st.integers(1, 4),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_harmonics_recover_what_a_record_is_made_of(samples_per_period, periods, fraction, seed):
    count = int(fraction * ((samples_per_period - 1) // 2))
    rng = np.random.default_rng(seed)
    cosine, sine = rng.normal(size=(2, 3, 2, count + 1))
    sine[..., 0] = 0.0
    phase = 2 * np.pi * np.arange(samples_per_period * periods) / samples_per_period
    turns = np.outer(np.arange(count + 1), phase)
    found_cosine, found_sine = harmonics(cosine @ np.cos(turns) + sine @ np.sin(turns), samples_per_period, count)
    assert found_cosine.shape == found_sine.shape == (3, 2, count + 1)
    np.testing.assert_allclose(found_cosine, cosine, atol=1e-11)
    np.testing.assert_allclose(found_sine, sine, atol=1e-11)


def test_harmonics_are_the_least_squares_fit():
    rng = np.random.default_rng(3)
    record = rng.normal(size=48)
    phase = 2 * np.pi * np.arange(48) / 16
    order = np.arange(6)
    design = np.hstack([np.cos(np.outer(phase, order)), np.sin(np.outer(phase, order[1:]))])
    fit = np.linalg.lstsq(design, record, rcond=None)[0]
    cosine, sine = harmonics(record, 16, 5)
    np.testing.assert_allclose(np.concatenate([cosine, sine[1:]]), fit, atol=1e-13)


def test_single_precision_and_integer_records_are_demodulated_in_double():
    record = np.array([3, 1, -1, 1], dtype=np.int16)
    for values in (record, record.astype(np.float32), list(record)):
        cosine, sine = harmonics(values, 4, 1)
        assert cosine.dtype == sine.dtype == np.float64
        np.testing.assert_allclose(cosine, [1.0, 2.0], atol=1e-15)
        np.testing.assert_allclose(sine, [0.0, 0.0], atol=1e-15)


@pytest.mark.parametrize("highest", [1, 2, 3, 4, 5, 6, 7])
def test_derivative_and_free_value_are_exact_up_to_their_degree_and_not_beyond(highest):
    amplitude = 1.7

    def errors(degree):
        coefficients = 1.0 + np.arange(degree + 1.0)
        record = nudged(np.polynomial.Polynomial(coefficients), amplitude)
        cosine, _ = harmonics(record, 64, highest)
        slope = chebyshev_derivative(cosine, amplitude) - coefficients[1]
        scale = np.abs(record).max()
        return abs(slope) / scale, abs(free_value(cosine) - coefficients[0]) / scale

    odd = highest % 2 == 1
    slope_degree, free_degree = (highest + 1, highest) if odd else (highest, highest + 1)
    for degree in range(1, slope_degree + 1):
        assert errors(degree)[0] < 1e-13
    for degree in range(1, free_degree + 1):
        assert errors(degree)[1] < 1e-13
    assert errors(slope_degree + 1)[0] > 1e-4
    assert errors(free_degree + 1)[1] > 1e-4


@pytest.mark.parametrize(("amplitude", "pole"), [(0.4, 1.5), (1.0, 1.5), (-1.0, 2.0)])
def test_a_pole_at_a_real_nudge_gives_the_closed_form_amplitudes_and_a_geometric_error(amplitude, pole):
    """1/(p - b cos phi) = (1/sqrt(p^2 - b^2)) (1 + 2 sum z^k cos k phi), z = (p - sqrt(p^2 - b^2))/b."""
    root = np.sqrt(pole**2 - amplitude**2)
    z = (pole - root) / amplitude
    cosine, sine = harmonics(nudged(lambda x: 1 / (pole - x), amplitude, 128), 128, 15)
    closed = 2 * z ** np.arange(16) / root
    closed[0] /= 2
    np.testing.assert_allclose(cosine, closed, atol=1e-14)
    np.testing.assert_allclose(sine, 0.0, atol=1e-14)
    order = np.arange(1, 10, 2)
    error = np.array([chebyshev_derivative(cosine[: k + 1], amplitude) * pole**2 - 1 for k in order])
    # What is left out is an alternating series: no larger than its first term, and falling like k z^k.
    first_omitted = (order + 2) * closed[order + 2] / amplitude * pole**2
    assert np.all(np.abs(error) < np.abs(first_omitted))
    np.testing.assert_allclose(np.abs(error), np.abs(first_omitted) / (1 + z**2), rtol=0.25)
    assert abs(free_value(cosine) - 1 / pole) < 2 * z**16 / root + 1e-13


def test_poles_at_imaginary_nudges_do_not_stop_convergence_beyond_the_cauchy_circle():
    """tanh has poles at +-i pi/2: at beta = 3 a circle encloses them, the real segment does not meet them."""
    amplitude = 3.0
    cosine, _ = harmonics(nudged(lambda x: np.tanh(x + 0.3), amplitude, 256), 256, 63)
    exact = 1 - np.tanh(0.3) ** 2
    error = [abs(chebyshev_derivative(cosine[: k + 1], amplitude) / exact - 1) for k in (3, 15, 31, 63)]
    assert error[0] > 0.1 > error[1] > error[2] > 1e-7 > error[3]


@pytest.mark.parametrize(("highest", "slope"), [(1, 2), (2, 2), (3, 4), (5, 6)])
def test_error_orders_in_the_amplitude(highest, slope):
    amplitudes = np.array([0.2, 0.1])
    exact = 1 - np.tanh(0.3) ** 2
    cosine, _ = harmonics(np.stack([nudged(lambda x: np.tanh(x + 0.3), b) for b in amplitudes]), 64, highest)
    error = np.abs(chebyshev_derivative(cosine, amplitudes) - exact)
    assert np.log2(error[0] / error[1]) == pytest.approx(slope, abs=0.25)


def test_first_harmonic_has_three_quarters_of_the_bias_of_a_symmetric_difference():
    amplitude, response = 0.01, np.tanh

    cosine, _ = harmonics(nudged(response, amplitude), 64, 1)
    difference = (response(amplitude) - response(-amplitude)) / (2 * amplitude)
    assert (chebyshev_derivative(cosine, amplitude) - 1) / (difference - 1) == pytest.approx(0.75, rel=1e-3)


@given(
    highest=st.integers(1, 9),
    extra=st.integers(1, 20),
    periods=st.integers(1, 4),
    amplitude=st.sampled_from([-0.7, 0.2, 1.0, 3.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_weights_are_the_functional_composed_of_fourier_sums_and_chebyshev_series(
    highest, extra, periods, amplitude, seed
):
    samples_per_period = 2 * highest + extra
    record = np.random.default_rng(seed).normal(size=(4, samples_per_period * periods))
    weights = derivative_weights(samples_per_period, periods, highest, amplitude)
    cosine, _ = harmonics(record, samples_per_period, highest)
    np.testing.assert_allclose(record @ weights, chebyshev_derivative(cosine, amplitude), atol=1e-11 / abs(amplitude))


def test_weights_demodulate_all_products_of_a_batch_in_one_matrix_product():
    rng = np.random.default_rng(5)
    amplitude, drive, bias = 0.3, rng.normal(size=(6, 1, 3)), rng.normal(size=(6, 1, 3))
    states = np.tanh(bias + drive * nudged(lambda x: x, amplitude, 32, 2)[:, None])
    weights = derivative_weights(32, 2, 9, amplitude)
    joined = states.reshape(-1, 3)
    gradient = (joined * np.tile(weights, 6)[:, None]).T @ joined
    free = np.tanh(bias)
    response = (1 - free**2) * drive
    exact = np.einsum("bti,btj->ij", response, free)
    np.testing.assert_allclose(gradient, exact + exact.T, atol=1e-6)


def test_weights_follow_the_phase_of_the_nudge():
    origin = 0.9
    phase = 2 * np.pi * np.arange(48) / 24 + origin
    record = np.exp(0.5 * np.cos(phase))
    assert record @ derivative_weights(24, 2, 7, 0.5, origin) == pytest.approx(1.0, abs=1e-7)
    assert abs(record @ derivative_weights(24, 2, 7, 0.5) - 1.0) > 0.1


def test_variance_is_the_squared_norm_of_the_weights_and_what_noise_does():
    samples_per_period, periods, highest, amplitude, sigma = 16, 2, 5, 0.3, 0.07
    sample_count = samples_per_period * periods
    predicted = derivative_variance(sigma**2, sample_count, highest, amplitude)
    weights = derivative_weights(samples_per_period, periods, highest, amplitude)
    assert predicted == pytest.approx(sigma**2 * (weights @ weights), rel=1e-12)
    assert predicted == pytest.approx(2 / 32 * (1 + 9 + 25) * sigma**2 / amplitude**2)
    trials = 20_000
    record = np.random.default_rng(7).normal(scale=sigma, size=(trials, sample_count)) + 0.4
    cosine, _ = harmonics(record, samples_per_period, highest)
    # A sample variance of Gaussian data scatters by sqrt(2/(n-1)): five of these are a fair allowance.
    spread = np.var(chebyshev_derivative(cosine, amplitude), ddof=1)
    assert spread == pytest.approx(predicted, rel=5 * np.sqrt(2 / trials))
    np.testing.assert_array_equal(
        derivative_variance([1.0, 4.0], 10, 4, [1.0, 2.0]), np.repeat(derivative_variance(1.0, 10, 3), 2)
    )


@pytest.mark.parametrize(("samples_per_period", "periods", "count"), [(8, 1, 2), (16, 2, 3), (16, 3, 7)])
def test_residual_noise_is_unbiased(samples_per_period, periods, count):
    sigma, trials = 0.2, 20_000
    clean = nudged(lambda x: 3 + x + 2 * x**2, 1.0, samples_per_period, periods)
    record = clean + np.random.default_rng(11).normal(scale=sigma, size=(trials, clean.size))
    freedom = clean.size - 2 * count - 1
    found = residual_noise(record, samples_per_period, count)
    assert found.shape == (trials,)
    assert found.mean() == pytest.approx(sigma**2, rel=5 * np.sqrt(2 / freedom / trials))
    np.testing.assert_allclose(residual_noise(clean, samples_per_period, count), 0.0, atol=1e-28)


def test_residual_noise_tells_repeated_harmonics_from_noise_when_all_are_fitted():
    clean = nudged(lambda x: x**6, 1.0, 15, 3)
    assert residual_noise(clean, 15, 7) < 1e-28
    assert residual_noise(clean, 15, 3) > 1e-4


def test_truncation_ratio_estimates_the_error_of_the_derivative():
    poles = np.array([1.2, 1.5, 3.0])[:, None]
    cosine, _ = harmonics(nudged(lambda x: 1 / (poles - x), 1.0), 64, 9)
    cosine = cosine[:, None, :]
    for highest in (1, 3, 5, 7):
        exact = 1 / poles[:, 0] ** 2
        error = np.abs(chebyshev_derivative(cosine[:, 0, : highest + 1], 1.0) - exact)
        estimate = truncation_ratio(cosine, highest) * np.abs(chebyshev_derivative(cosine[:, 0, : highest + 1], 1.0))
        z = poles[:, 0] - np.sqrt(poles[:, 0] ** 2 - 1)
        assert np.all(error < estimate)
        assert np.all(error > 0.75 * estimate / (1 + z**2))
    np.testing.assert_array_equal(truncation_ratio(cosine, 4), truncation_ratio(cosine, 3))


def test_truncation_ratio_pools_nodes_by_power_and_ignores_scale():
    cosine = np.zeros((2, 2, 6))
    cosine[0, :, 1], cosine[0, 0, 5] = [3.0, 4.0], 0.1
    cosine[1] = 1e-6 * cosine[0]
    np.testing.assert_allclose(truncation_ratio(cosine, 3), 5 * 0.1 / 5, rtol=1e-12)


def test_truncation_ratio_calls_a_lost_branch():
    jump = nudged(lambda x: x + 2.0 * (x > 0.55), 1.0)
    smooth = nudged(lambda x: np.tanh(x + 0.2), 0.5)
    cosine, _ = harmonics(np.stack([jump, smooth])[:, None, :], 64, 5)
    ratio = truncation_ratio(cosine, 3)
    assert ratio[0] > 0.3 > 0.01 > ratio[1]


def test_truncation_ratio_subtracts_the_noise_floor_without_bias():
    rng = np.random.default_rng(13)
    trials, nodes, sigma, sample_count = 4000, 10, 0.05, 32
    drive = rng.normal(size=(nodes, 1))
    clean = np.tanh(0.4 + drive * nudged(lambda x: x, 0.8, 16, 2))
    record = clean + rng.normal(scale=sigma, size=(trials, nodes, sample_count))
    cosine, _ = harmonics(record, 16, 5)
    true = truncation_ratio(harmonics(clean, 16, 5)[0], 3)
    corrected = np.sqrt(np.mean(truncation_ratio(cosine, 3, sigma**2, sample_count) ** 2))
    raw = np.sqrt(np.mean(truncation_ratio(cosine, 3) ** 2))
    assert corrected == pytest.approx(true, rel=0.05)
    assert raw > 1.2 * true


def test_truncation_ratio_does_not_call_noise_alone_a_lost_branch():
    trials, nodes, sigma = 4000, 10, 0.1
    record = np.random.default_rng(17).normal(scale=sigma, size=(trials, nodes, 32))
    cosine, _ = harmonics(record, 16, 5)
    seen = truncation_ratio(cosine, 3, np.full(nodes, sigma**2), 32, floor_sigmas=3.0)
    assert np.mean(seen > 0) < 0.02
    assert np.all(np.isfinite(seen))
    np.testing.assert_array_equal(truncation_ratio(np.zeros((2, 3, 6)), 3), 0.0)
    only_fifth = np.zeros((1, 6))
    only_fifth[0, 5] = 1.0
    assert truncation_ratio(only_fifth, 3) == np.inf


@pytest.mark.parametrize(("count", "order"), [(1, 2), (2, 4), (3, 6), (4, 8)])
def test_richardson_raises_the_order_for_a_low_pass(count, order):
    """In-phase gain of an RC low-pass: 1/(1 + (w tau)^2)."""

    def error(top):
        frequencies = top / 2.0 ** np.arange(count)
        return abs(richardson(1 / (1 + frequencies**2)) - 1)

    assert np.log2(error(0.2) / error(0.1)) == pytest.approx(order, abs=0.2)


@given(count=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_richardson_is_exact_for_even_polynomials(count, seed):
    coefficients = np.random.default_rng(seed).normal(size=(count, 2, 3))
    frequencies = 0.7 / 2.0 ** np.arange(count)
    estimates = np.einsum("fk,kab->fab", frequencies[:, None] ** (2 * np.arange(count)), coefficients)
    np.testing.assert_allclose(richardson(estimates), coefficients[0], atol=1e-12)


def test_richardson_does_not_alias_or_change_its_input():
    estimates = np.ones((1, 3))
    richardson(estimates)[:] = 7.0
    np.testing.assert_array_equal(estimates, 1.0)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: harmonics(np.zeros(17), 16, 3), "record: expected a whole number of periods of 16"),
        (lambda: harmonics(np.zeros((3, 0)), 16, 3), "record"),
        (lambda: harmonics(1.0, 16, 3), "record"),
        (lambda: harmonics(np.zeros(16), 16, 8), "samples_per_period"),
        (lambda: harmonics(np.zeros(16), 16, -1), "highest harmonic"),
        (lambda: harmonics(np.zeros(16), 16.0, 3), "samples_per_period"),
        (lambda: harmonics(np.zeros(16), 0, 0), "samples_per_period"),
        (lambda: harmonics([[0, 1, 2], [0, np.nan, np.inf]], 3, 1), r"record.*index \(1, 1\)"),
        (lambda: chebyshev_derivative([1.0], 1.0), "cosine_amplitudes"),
        (lambda: chebyshev_derivative([1.0, np.inf], 1.0), r"cosine_amplitudes.*index \(1,\)"),
        (lambda: chebyshev_derivative([1.0, 1.0], 0.0), "amplitude"),
        (lambda: chebyshev_derivative([1.0, 1.0], np.nan), "amplitude"),
        (lambda: free_value(1.0), "cosine_amplitudes"),
        (lambda: free_value([np.nan]), "cosine_amplitudes"),
        (lambda: derivative_weights(16, 0, 3), "periods"),
        (lambda: derivative_weights(16, 1, 0), "highest harmonic"),
        (lambda: derivative_weights(6, 1, 3), "samples_per_period"),
        (lambda: derivative_weights(16, 1, 3, 0.0), "amplitude"),
        (lambda: derivative_weights(16, 1, 3, 1.0, np.inf), "phase_origin"),
        (lambda: derivative_variance(-1.0, 16, 3), "noise_variance"),
        (lambda: derivative_variance(1.0, 0, 3), "sample_count"),
        (lambda: derivative_variance(1.0, 16, 0), "harmonics"),
        (lambda: residual_noise(np.zeros(7), 7, 3), "degree of freedom"),
        (lambda: residual_noise(np.full(8, np.nan), 8, 3), "record"),
        (lambda: truncation_ratio(np.zeros((4, 5)), 3), "harmonic 5 is needed"),
        (lambda: truncation_ratio(np.zeros(6), 3), "node axis"),
        (lambda: truncation_ratio(np.zeros((4, 6)), 3, 1.0), "sample_count"),
        (lambda: truncation_ratio(np.zeros((4, 6)), 3, np.ones(3), 16), "noise_variance"),
        (lambda: truncation_ratio(np.zeros((4, 6)), 3, floor_sigmas=-1.0), "floor_sigmas"),
        (lambda: richardson([]), "estimates"),
        (lambda: richardson(1.0), "estimates"),
        (lambda: richardson([1.0, np.nan]), "estimates"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(InputError, match=named):
        call()
