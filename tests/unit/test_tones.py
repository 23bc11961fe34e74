import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from substrate.errors import InputError
from substrate.tones import SamplingPlan

PLANS = st.builds(
    lambda harmonics, extra, periods, frequency: SamplingPlan(frequency, harmonics, 2 * harmonics + 1 + extra, periods),
    st.integers(1, 9),
    st.integers(0, 12),
    st.integers(1, 5),
    st.floats(1e-3, 1e6),
)


@given(PLANS)
def test_a_record_is_a_whole_number_of_periods(plan):
    assert plan.sample_count == plan.periods * plan.samples_per_period
    duration = plan.sample_count / plan.rate_hz
    assert duration * plan.frequency_hz == pytest.approx(plan.periods, rel=1e-12)


@given(PLANS)
def test_harmonics_in_use_are_resolved_and_distinct(plan):
    """Cosines up to the highest harmonic are orthogonal on the samples: none is aliased onto another."""
    assert plan.highest_harmonic >= plan.harmonics
    assert 2 * plan.highest_harmonic < plan.samples_per_period
    waves = np.cos(np.outer(np.arange(1, plan.highest_harmonic + 1), plan.phases()))
    assert np.allclose(waves @ waves.T, 0.5 * plan.samples_per_period * np.eye(len(waves)), atol=1e-9)


@given(PLANS)
def test_phases_start_at_the_crest_and_step_evenly(plan):
    phases = plan.phases()
    assert phases[0] == 0.0
    assert len(phases) == plan.samples_per_period
    assert np.allclose(np.diff(phases), 2 * np.pi / plan.samples_per_period)


@given(PLANS)
def test_distinct_values_rebuild_the_period(plan):
    values, index = plan.distinct()
    assert np.allclose(values[index], np.cos(plan.phases()), atol=1e-12)
    assert len(values) == plan.samples_per_period // 2 + 1
    assert (np.diff(values) < 0).all()
    assert values[0] == 1.0
    assert set(index) == set(range(len(values)))


@given(st.integers(1, 30))
def test_the_zero_crossing_is_exactly_zero(quarter):
    values, _ = SamplingPlan(1.0, 1, 4 * quarter, 1).distinct()
    assert np.count_nonzero(values == 0.0) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 3, 16, 1), "frequency_hz"),
        ((-1.0, 3, 16, 1), "frequency_hz"),
        ((float("nan"), 3, 16, 1), "frequency_hz"),
        ((float("inf"), 3, 16, 1), "frequency_hz"),
        ((1.0, 0, 16, 1), "harmonics"),
        ((1.0, 3, 6, 1), r"samples_per_period.*\(6\)"),
        ((1.0, 3, 16, 0), "periods"),
    ],
)
def test_bad_plans_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        SamplingPlan(*arguments)
