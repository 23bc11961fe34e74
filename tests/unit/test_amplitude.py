import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from substrate.amplitude import COARSEST, LARGEST_STEP, Amplitude, AmplitudeReport

ERRORS = arrays(np.float64, (5, 4), elements=st.floats(-3, 3).filter(lambda x: x == 0 or abs(x) > 1e-6))
REPORTS = st.builds(AmplitudeReport, st.floats(0, 10), st.floats(0, 10), st.floats(0, 1))


def automatic(drive=0.2, harmonics=3, largest_peak=4.0):
    return Amplitude(None, harmonics, largest_peak, drive)


@given(ERRORS, st.floats(0.01, 2.0))
def test_a_fixed_amplitude_is_the_same_for_all_and_never_moves(error, beta):
    amplitude = Amplitude(beta, 3, 4.0)
    assert not amplitude.automatic
    amplitude.update(AmplitudeReport(1.0, 1.0, 1.0))
    assert np.array_equal(amplitude.choose(error), np.full(5, beta))


@given(ERRORS, st.floats(0.01, 5.0), st.floats(0.1, 4.0))
def test_every_sample_is_driven_alike_and_within_the_device(error, drive, largest_peak):
    beta = automatic(drive, largest_peak=largest_peak).choose(error)
    assert np.isfinite(beta).all()
    assert (beta > 0).all()
    nudge = beta[:, None] * error
    peak = np.abs(nudge).max(axis=1)
    assert (peak <= largest_peak * (1 + 1e-12)).all()
    rms = np.sqrt(np.mean(nudge**2, axis=1))
    free = (peak < largest_peak * (1 - 1e-9)) & (np.abs(error).max(axis=1) > 1e-6)
    assert np.allclose(rms[free], drive)
    assert (rms <= drive * (1 + 1e-12)).all()


def test_a_sample_without_error_is_not_nudged():
    error = np.array([[0.0, 0.0], [0.3, -0.3]])
    assert not (automatic().choose(error)[:, None] * error)[0].any()


@given(REPORTS)
def test_the_drive_moves_by_a_bounded_step_and_stays_within_the_device(report):
    amplitude = automatic(drive=0.5, largest_peak=0.6)
    amplitude.update(report)
    assert 0.5 / LARGEST_STEP * (1 - 1e-12) <= amplitude.drive <= min(0.5 * LARGEST_STEP, 0.6) * (1 + 1e-12)


@given(REPORTS, st.floats(1.01, 10))
def test_more_truncation_never_raises_the_drive_and_more_noise_never_lowers_it(report, factor):
    def drive_after(report):
        amplitude = automatic()
        amplitude.update(report)
        return amplitude.drive

    before = drive_after(report)
    assert drive_after(AmplitudeReport(report.truncation * factor, report.noise, report.lost)) <= before * (1 + 1e-12)
    assert drive_after(AmplitudeReport(report.truncation, report.noise * factor, report.lost)) >= before * (1 - 1e-12)


def test_lost_branches_bring_the_drive_down_but_not_below_the_noise():
    amplitude = automatic()
    amplitude.update(AmplitudeReport(truncation=0.0, noise=0.0, lost=0.5))
    assert amplitude.drive == pytest.approx(0.2 / LARGEST_STEP)
    drowned = automatic()
    drowned.update(AmplitudeReport(truncation=0.0, noise=1.0, lost=0.5))
    assert drowned.drive > 0.2


@pytest.mark.parametrize("harmonics", [1, 3, 5])
@pytest.mark.parametrize("noise_at_one", [1e-4, 1e-3, 1e-2])
def test_it_settles_where_truncation_and_noise_balance(harmonics, noise_at_one):
    """Truncation (drive/2)^(K + 1) and noise n/drive: t^2 + n^2 is least at t = n/sqrt(K + 1)."""
    power = harmonics + 1
    amplitude = automatic(harmonics=harmonics, drive=0.05)

    def truncation(drive):
        return (drive / 2) ** power

    for _ in range(200):
        drive = amplitude.drive
        amplitude.update(AmplitudeReport(truncation(drive), noise_at_one / drive, 0.0))
    drives = np.geomspace(0.01, 4, 20001)
    best = drives[np.argmin(truncation(drives) ** 2 + (noise_at_one / drives) ** 2)]
    aim = noise_at_one / best / np.sqrt(power)
    if 1e-3 < aim < COARSEST:
        assert amplitude.drive == pytest.approx(best, rel=0.01)
    else:
        bound = 1e-3 if aim <= 1e-3 else COARSEST
        assert truncation(amplitude.drive) == pytest.approx(bound, rel=0.05)


def test_an_even_highest_harmonic_counts_as_the_odd_one_below():
    odd, even = automatic(harmonics=3), automatic(harmonics=4)
    for amplitude in (odd, even):
        amplitude.update(AmplitudeReport(0.05, 0.01, 0.0))
    assert odd.drive == even.drive


def test_snapshots_put_the_drive_back():
    amplitude = automatic()
    kept = amplitude.snapshot()
    amplitude.update(AmplitudeReport(1.0, 0.0, 0.0))
    assert amplitude.drive != 0.2
    amplitude.restore(kept)
    assert amplitude.drive == 0.2
