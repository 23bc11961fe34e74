"""Converters: error bounds, range, noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.converters import Adc, Dac

VOLTS = st.floats(-0.5, 0.5)


@given(bits=st.integers(2, 16), volts=st.lists(VOLTS, min_size=1, max_size=20))
def test_quantisation_is_within_half_a_step_or_at_the_end_of_the_range(bits: int, volts: list[float]) -> None:
    values = np.array(volts)
    step = 0.5 / 2**bits
    out = Dac(bits, 0.25).convert(values)
    np.testing.assert_allclose(out / step, np.rint(out / step), atol=1e-6)
    inside = (values >= -0.25) & (values <= 0.25 - step)
    assert (np.abs(out - values)[inside] <= 0.5 * step * (1 + 1e-9)).all()
    np.testing.assert_allclose(out[values >= 0.25], 0.25 - step)
    np.testing.assert_allclose(out[values <= -0.25], -0.25)
    assert (np.diff(Dac(bits, 0.25).convert(np.sort(values))) >= 0).all()


@given(volts=st.lists(VOLTS, min_size=1, max_size=20))
def test_zero_bits_are_ideal(volts: list[float]) -> None:
    values = np.array(volts).reshape(1, -1, 1)
    np.testing.assert_array_equal(Dac(0, 0.1).convert(values), values)
    readings, clipped = Adc(0, 0.1, 0.0).convert(values, np.random.default_rng(0))
    np.testing.assert_array_equal(readings, values)
    assert not clipped.any()


@pytest.mark.parametrize("node", [0, 2])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_one_clipped_reading_marks_its_sample_alone(node: int, sign: float) -> None:
    volts = np.zeros((3, 5, 4))
    volts[1, 3, node] = 0.26 * sign
    readings, clipped = Adc(8, 0.25, 0.0).convert(volts, np.random.default_rng(0))
    assert clipped.tolist() == [False, True, False]
    assert np.abs(readings).max() <= 0.25


def test_noise_has_its_variance_and_quantisation_adds_a_twelfth_of_a_step_squared() -> None:
    volts = np.random.default_rng(1).uniform(-0.2, 0.2, (20, 50, 50))
    for bits in (0, 6):
        readings, _ = Adc(bits, 0.25, 1e-3).convert(volts, np.random.default_rng(2))
        step = 0.5 / 2**bits if bits else 0.0
        assert np.var(readings - volts) == pytest.approx(1e-6 + step**2 / 12, rel=0.03)
        assert abs(np.mean(readings - volts)) < 5e-5


def test_noise_of_a_seed_is_the_same_bits() -> None:
    volts = np.zeros((2, 3, 4))
    adc = Adc(0, 0.25, 1e-3)
    first, second = (adc.convert(volts, np.random.default_rng(5))[0] for _ in range(2))
    assert first.tobytes() == second.tobytes()
