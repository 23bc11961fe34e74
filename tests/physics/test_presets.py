"""Published devices: that they are what their papers state, run, and are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emulators.memristors.curves import PulseCurve, plot_curve, pulse_curve
from emulators.memristors.devices import Devices
from emulators.memristors.presets import PRESETS, preset
from emulators.memristors.updates import (
    Constant,
    Exponential,
    Ideal,
    Linear,
    PulsedLaw,
    SoftBounds,
    update_from_config,
)
from substrate.errors import CapabilityError, InputError

# dw_min over the width of the mean range of w, mean bounds and spreads, as published (normalised weight).
PUBLISHED = {
    "reram_exponential": (0.00135, 1.0, -1.0, 5.0),
    "reram_soft_bounds": (0.002, 1.25, -0.75, 3.75),
    "reram_array_optimised": (0.0949, 1.0, -1.0, 0.4158),
    "reram_array_hfo2": (0.4622, 1.0, -1.0, 0.2174),
    "ecram_lithium": (0.002, 1.1724, -0.8276, 0.3),
    "ecram_metal_oxide": (2.8214e-4, 1.1714, -0.8286, 2.0),
    "capacitor": (0.005, 1.0, -1.0, 0.3),
    "idealised": (0.0002, 1.0, -1.0, 0.3),
    "rpu_baseline": (0.0016, 1.0, -1.0, 0.3),
    "pcm": (0.01, 2.0, 0.0, 0.6),
}


def law(name: str) -> PulsedLaw:
    update = PRESETS[name].update
    assert isinstance(update, PulsedLaw)
    return update


def test_every_published_device_is_there() -> None:
    assert set(PRESETS) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_window_is_an_affine_map_of_the_published_weight(name: str) -> None:
    step, w_max, w_min, cycle = PUBLISHED[name]
    update = law(name)
    scale = (update.bound_max - update.bound_min) / (w_max - w_min)
    assert update.step == pytest.approx(step * scale, rel=1e-9)
    assert update.origin == pytest.approx(update.bound_min - scale * w_min, abs=1e-12)
    assert update.cycle_spread == cycle
    assert PRESETS[name].doi.startswith("10.")


def test_the_mean_step_of_the_exponential_fit_in_the_papers_units() -> None:
    # w <- w + dw_up (1 + 1.18445 exp(5 (-0.5 w - 0.5))), w in [-1, 1].
    update = law("reram_exponential")
    weights = np.linspace(-1.0, 1.0, 11)
    scale = update.bound_max
    up = update.mean_step(weights * scale, 1, update.nominal()) / scale
    down = update.mean_step(weights * scale, -1, update.nominal()) / scale
    np.testing.assert_allclose(up, 0.00135 * 1.259359 * (1 + 1.18445 * np.exp(-2.5 * weights - 2.5)), rtol=1e-9)
    np.testing.assert_allclose(down, -0.00135 * 0.740641 * (1 + 0.081404 * np.exp(2.5 * weights + 2.5)), rtol=1e-9)


def test_phase_change_cells_in_siemens() -> None:
    published = PRESETS["pcm"]
    update = law("pcm")
    assert published.window_siemens == (0.0, 25e-6)
    # The first SET pulse: 0.01 (1 + 27.235) of w, where w = 2 is 25 uS.
    first = update.mean_step(np.array(update.origin), 1, update.nominal())
    assert float(first) * 12.5e-6 == pytest.approx(0.01 * 28.235 * 12.5e-6)
    cells = 20_000
    devices = Devices((cells,), published.window_siemens, update, np.random.default_rng(0))
    devices.initialise(np.full(cells, 12.5e-6))
    # Joshi et al.: sigma = 0.2635 + 1.965 g - 1.1731 g^2 uS with g = 1/2.
    assert devices.conductances.std() == pytest.approx((0.2635 + 1.965 / 2 - 1.1731 / 4) * 1e-6, rel=0.03)
    programmed = devices.conductances
    devices.drift(20.0 * 1000.0)
    exponents = -np.log(devices.conductances / programmed) / np.log(1000.0)
    assert exponents.mean() == pytest.approx(0.049, abs=0.001)
    assert exponents.std() == pytest.approx(0.008, rel=0.05)


@pytest.mark.parametrize(("name", "expected"), [("idealised", 0.0), ("rpu_baseline", 0.0), ("pcm", 1.0)])
def test_asymmetry_of_the_extremes(name: str, expected: float) -> None:
    assert _curve(name).asymmetry == pytest.approx(expected)


def test_asymmetry_of_soft_bounds_is_one_half() -> None:
    # Steps 1 - u and 1 + u over u in [-1, 1]: the mean of |u|.
    curve = pulse_curve(SoftBounds(step=0.01), (1e-6, 1e-4), rng=np.random.default_rng(0))
    assert curve.asymmetry == pytest.approx(0.5, abs=0.005)
    assert curve.symmetry_point_siemens == pytest.approx(50.5e-6, rel=1e-3)


@pytest.mark.parametrize("name", ["reram_soft_bounds", "ecram_lithium", "ecram_metal_oxide", "capacitor"])
def test_the_symmetry_point_is_the_papers_zero_weight(name: str) -> None:
    low, high = PRESETS[name].window_siemens
    expected = low + 0.5 * (law(name).origin + 1.0) * (high - low)
    assert _curve(name).symmetry_point_siemens == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_curves_go_up_and_come_down(name: str) -> None:
    curve = _curve(name)
    low, high = PRESETS[name].window_siemens
    assert np.all((curve.conductances >= low) & (curve.conductances <= high))
    mean = curve.mean
    range_siemens = 0.5 * (high - low) * (law(name).bound_max - law(name).bound_min)
    assert mean[curve.turn] - mean[0] > 0.5 * range_siemens
    assert mean[curve.turn] - mean[-1] > 0.5 * range_siemens
    assert curve.pulses.shape == (curve.conductances.shape[1],)
    assert np.all(np.diff(curve.pulses) > 0)


def test_a_quiet_curve_is_the_closed_form() -> None:
    curve = pulse_curve(SoftBounds(step=0.02), (0.0, 2.0), 100, 50, devices=3, rng=np.random.default_rng(0))
    assert curve.turn == 100
    np.testing.assert_allclose(curve.mean[:101], 2.0 - 2.0 * 0.98 ** np.arange(101), atol=1e-12)
    np.testing.assert_allclose(curve.mean[100:], curve.mean[100] * 0.98 ** np.arange(51), atol=1e-12)
    assert np.all(curve.deviation < 1e-12)


@pytest.mark.parametrize("name", ["reram_exponential", "pcm"])
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_curves_are_drawn(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"curve.{suffix}"
    plot_curve(_curve(name), path, title=PRESETS[name].title, source=PRESETS[name].source)
    start = path.read_bytes()[:8]
    assert start == b"\x89PNG\r\n\x1a\n" if suffix == "png" else start.startswith(b"<?xml")


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reram_soft_bounds"):
        preset("reram")
    assert preset("reram-soft-bounds") is PRESETS["reram_soft_bounds"]
    with pytest.raises(CapabilityError, match="no curve"):
        pulse_curve(Ideal(), (1e-6, 1e-4), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="pulses_up"):
        pulse_curve(Constant(step=0.1), (1e-6, 1e-4), 0, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="nowhere"):
        plot_curve(_curve("pcm"), tmp_path / "nowhere" / "curve.png")


def test_presets_in_experiment_files() -> None:
    assert update_from_config({"preset": "ecram-lithium"}) == PRESETS["ecram_lithium"].update
    quiet = update_from_config({"preset": "ecram_lithium", "cycle_spread": 0.0})
    assert isinstance(quiet, Linear)
    assert quiet.cycle_spread == 0.0
    assert quiet.step == law("ecram_lithium").step
    assert isinstance(PRESETS["reram_exponential"].update, Exponential)


def _curve(name: str) -> PulseCurve:
    published = PRESETS[name]
    return pulse_curve(published.update, published.window_siemens, devices=100, rng=np.random.default_rng(0))
