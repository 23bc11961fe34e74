"""Noise processes against their closed forms."""

import itertools

import numpy as np
import pytest
from scipy.signal import welch

from emulators.config import NoiseConfig, TemperatureConfig
from emulators.fluctuations import CellFluctuations
from emulators.noise import Flicker, Mains, Telegraph, shot_variance, thermal_variance


def test_thermal_noise_of_a_kiloohm_in_a_hertz() -> None:
    # 4.07 nV/sqrt(Hz) for 1 kohm at 300 K, the number every data sheet has; a current through 1/R.
    volts = np.sqrt(thermal_variance(np.array(1e-3), 300.0, 1.0)) * 1e3
    assert volts == pytest.approx(4.07e-9, rel=2e-3)


def test_shot_noise_of_a_milliampere_in_a_hertz() -> None:
    assert np.sqrt(shot_variance(np.array(-1e-3), 1.0, 1.0)) == pytest.approx(17.9e-12, rel=2e-3)


def test_flicker_density_is_one_over_f_between_its_corners() -> None:
    source = Flicker(1, 2.5e-7, 0.1, 1e6, np.random.default_rng(0))
    hertz = np.geomspace(3.0, 3e4, 50)
    # What the missing relaxations beyond either corner f_c leave out is (2/pi) f/f_c, and f_c/f.
    assert source.density(hertz) * hertz == pytest.approx(2.5e-7, rel=0.03)


def test_flicker_spectrum_falls_as_one_over_f_over_three_decades() -> None:
    rate, power = 2e5, 2.5e-7
    source = Flicker(8, power, 0.5, 6e4, np.random.default_rng(3))
    values = source.record((1, 1 << 18), 1.0, 0.0, 1.0 / rate)[0]
    frequency, density = welch(values, rate, nperseg=1 << 16, axis=0)
    # From where the window leaks no more to where relaxations begin to be missing.
    part = (frequency > 9.0) & (frequency < 9e3)
    measured, hertz = density.mean(axis=1)[part], frequency[part]
    slope = np.polyfit(np.log(hertz), np.log(measured), 1, w=1.0 / np.sqrt(hertz))[0]
    assert slope == pytest.approx(-1.0, abs=0.05)
    edges = np.geomspace(9.0, 9e3, 10)
    for low, high in itertools.pairwise(edges):
        band = (hertz >= low) & (hertz < high)
        tolerance = 0.03 + 4.0 / np.sqrt(8 * 4 * band.sum())
        assert measured[band].sum() == pytest.approx(source.density(hertz[band]).sum(), rel=tolerance)


def test_flicker_goes_on_from_record_to_record() -> None:
    rng = np.random.default_rng(0)
    whole = Flicker(3, 1.0, 0.1, 100.0, np.random.default_rng(5))
    parts = Flicker(3, 1.0, 0.1, 100.0, np.random.default_rng(5))
    together = whole.record((2, 7), 0.3, 0.5, 1e-3)
    first = parts.record((1, 7), 0.3, 0.0, 1e-3)
    second = parts.record((1, 7), 0.5, 0.0, 1e-3)
    assert np.array_equal(together, np.concatenate([first, second]))
    # Neighbouring samples of slow noise hardly differ; after ages nothing is left of it.
    many = Flicker(4000, 1.0, 0.1, 10.0, rng)
    start = many.now
    many.advance(1e-6)
    assert np.std(many.now - start) < 0.05 * np.std(start)
    many.advance(1e3)
    assert abs(np.corrcoef(many.now, start)[0, 1]) < 5 / np.sqrt(4000)


def test_flicker_variance_is_the_integral_of_its_density() -> None:
    # Between the corners the integral of K/f is K ln(highest/lowest); the last relaxation of either end adds a half.
    source = Flicker(20_000, 3.0, 1.0, 1e4, np.random.default_rng(1))
    assert np.var(source.now) == pytest.approx(source.variance, rel=0.05)
    assert source.variance == pytest.approx(3.0 * np.log(1e4), rel=0.1)


def _traps(places: int, capture: float, emission: float, seed: int = 0, decades: float = 0.0) -> Telegraph:
    return Telegraph(places, 1.0, 0.1, 0.0, capture, emission, decades, np.random.default_rng(seed))


def test_telegraph_occupancy_and_autocorrelation() -> None:
    capture, emission, places = 30.0, 10.0, 40_000
    traps = _traps(places, capture, emission)
    assert traps.full.mean() == pytest.approx(0.75, abs=5 * np.sqrt(0.75 * 0.25 / places))
    before = traps.full.astype(float)
    lag = 0.013
    for step in (0.005, 0.008):
        traps.advance(step)
    after = traps.full.astype(float)
    assert after.mean() == pytest.approx(0.75, abs=5 * np.sqrt(0.75 * 0.25 / places))
    correlation = np.mean((before - 0.75) * (after - 0.75)) / (0.75 * 0.25)
    assert correlation == pytest.approx(np.exp(-(capture + emission) * lag), abs=0.03)


def test_telegraph_holds_still_in_no_time_and_keeps_its_amplitudes() -> None:
    traps = Telegraph(10_000, 0.3, 0.05, 0.4, 5.0, 5.0, 1.0, np.random.default_rng(2))
    before = traps.full
    traps.advance(0.0)
    assert np.array_equal(before, traps.full)
    trapped = traps.amplitude > 0
    assert trapped.mean() == pytest.approx(0.3, abs=0.025)
    assert traps.amplitude[trapped].mean() == pytest.approx(0.05, rel=0.05)
    assert set(np.unique(traps.factor[~trapped])) == {1.0}
    assert traps.rate.min() >= 1.0
    assert traps.rate.max() <= 100.0


def test_mains_has_its_frequency_and_amplitudes() -> None:
    mains = Mains(np.array([1e-3, 0.0, 2e-3]), 50.0, 0.4)
    seconds = np.arange(200) / 1000.0
    tone = np.fft.rfft(mains.at(seconds), axis=0) / 100
    assert np.abs(tone[10]) == pytest.approx([1e-3, 0.0, 2e-3], abs=1e-12)
    assert np.abs(np.delete(tone, 10, axis=0)).max() < 1e-12


def _cells(**noise: object) -> CellFluctuations:
    config = NoiseConfig.model_validate(noise)
    return CellFluctuations((2, 40, 30), config, TemperatureConfig(), np.random.default_rng(7))


def test_temperature_coefficient() -> None:
    siemens = np.full((2, 4, 3), 2e-5)
    temperature = TemperatureConfig(temperature_kelvin=340.0, conductance_per_kelvin=-1.5e-3)
    seen = CellFluctuations(siemens.shape, NoiseConfig(), temperature, np.random.default_rng(0)).seen(siemens)
    np.testing.assert_allclose(seen, 2e-5 * (1 - 0.06), rtol=1e-14)


def test_quiet_cells_are_left_alone() -> None:
    siemens = np.full((2, 40, 30), 2e-5)
    quiet = _cells()
    assert not quiet.moving
    assert quiet.seen(siemens) is siemens


def test_cell_flicker_has_the_relative_variance_of_its_density() -> None:
    cells = _cells(cell_flicker={"relative_at_one_hertz": 1e-3, "lowest_hz": 1.0, "highest_hz": 1e3})
    relative = cells.seen(np.full((2, 40, 30), 2e-5)) / 2e-5 - 1.0
    assert np.var(relative) == pytest.approx(1e-6 * np.log(1e3) * 10 / 9, rel=0.2)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_snapshot_goes_on_bit_for_bit(seed: int) -> None:
    noise = {
        "telegraph": {"fraction": 0.5, "amplitude": 0.1},
        "cell_flicker": {"relative_at_one_hertz": 1e-2},
    }
    siemens = np.full((2, 40, 30), 2e-5)
    one, other = _cells(**noise), _cells(**noise)
    assert np.array_equal(one.seen(siemens), other.seen(siemens))
    one.advance(0.01 * (seed + 1))
    saved = one.snapshot()
    one.advance(0.02)
    expected = one.seen(siemens)
    other.restore(saved)
    other.advance(0.02)
    assert np.array_equal(other.seen(siemens), expected)
    assert (expected > 0).all()
