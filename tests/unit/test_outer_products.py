"""Sums of outer products: their factors tell what their entries do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.outer_products import OuterProducts, added, dense, power, scaled


def products(seed: int, terms: int, rows: int = 7, columns: int = 5, factor: float = 1.0) -> OuterProducts:
    rng = np.random.default_rng(seed)
    # Some lines take no part.
    left = rng.standard_normal((terms, rows)) * (rng.random(rows) < 0.7)
    right = rng.standard_normal((terms, columns)) * (rng.random(columns) < 0.7)
    return OuterProducts(left, right, factor)


@given(seed=st.integers(0, 2**32 - 1), terms=st.integers(1, 12), factor=st.sampled_from([1.0, -0.3, 2.5, 0.0]))
def test_factors_tell_what_entries_do(seed: int, terms: int, factor: float) -> None:
    one = products(seed, terms, factor=factor)
    entries = factor * np.einsum("tr,tc->rc", one.rows, one.columns)
    np.testing.assert_allclose(one.dense, entries, atol=1e-12)
    # Before and after its entries were computed.
    assert one.power == pytest.approx(float(np.sum(entries**2)))
    assert products(seed, terms, factor=factor).power == pytest.approx(float(np.sum(entries**2)))
    rows, columns = one.active
    assert not entries[~rows].any()
    assert not entries[:, ~columns].any()
    if factor:
        assert np.abs(one.rows[:, rows]).sum(axis=0).all()
    assert np.all(np.abs(entries) <= one.reach + 1e-12)


@given(seed=st.integers(0, 2**32 - 1), terms=st.integers(1, 6), same=st.booleans())
def test_sums_and_multiples(seed: int, terms: int, same: bool) -> None:
    one = products(seed, terms, factor=0.5)
    other = products(seed + 1, terms, factor=-2.0)
    if same:
        other = OuterProducts(one.rows.copy(), other.columns, other.factor)
    total = added(one, other)
    np.testing.assert_allclose(dense(total), one.dense + other.dense, atol=1e-12)
    if same:
        assert isinstance(total, OuterProducts)
        assert len(total.rows) == terms
    else:
        # Never more numbers than entries.
        assert isinstance(total, OuterProducts) == (2 * terms * (7 + 5) < 7 * 5)
    np.testing.assert_allclose(dense(scaled(one, 3.0)), 3.0 * one.dense, atol=1e-12)
    np.testing.assert_allclose(dense(added(one, other.dense)), dense(total), atol=1e-12)
    assert power(one) == pytest.approx(power(one.dense))


def test_single_precision_stays_single() -> None:
    one = OuterProducts(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32), 0.1)
    assert dense(scaled(one, 0.7)).dtype == np.float32
    assert dense(added(one, one)).dtype == np.float32


def test_power_of_terms_that_cancel() -> None:
    """In single precision: what is left of terms that nearly cancel, and never less than nothing."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        rows, columns = rng.standard_normal((1, 60)), rng.standard_normal((1, 40))
        left = np.concatenate([rows, rows]).astype(np.float32)
        right = np.concatenate([columns, -columns + 1e-5 * rng.standard_normal(columns.shape)]).astype(np.float32)
        expected = float(np.sum((left.astype(float).T @ right.astype(float)) ** 2))
        assert power(OuterProducts(left, right)) == pytest.approx(expected, rel=0.1)
