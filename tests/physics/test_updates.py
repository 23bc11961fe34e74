"""Update laws against closed forms, their noise against its stated moments, and the state of arrays of cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.memristors.devices import Devices
from emulators.memristors.updates import (
    UPDATE_LAWS,
    Constant,
    Exponential,
    Ideal,
    Leak,
    Linear,
    OneSided,
    Piecewise,
    Power,
    PowerLawDrift,
    PulsedLaw,
    SoftBounds,
    UpdateLaw,
    update_from_config,
)
from emulators.memristors.updates.measured import from_measured_points
from substrate.errors import CapabilityError, InputError

WINDOW = (1e-6, 1e-4)
HALF = 0.5 * (WINDOW[1] - WINDOW[0])
FloatArray = npt.NDArray[np.float64]

EXPONENTIAL: dict[str, Any] = {
    "amplitude_up": -1.2,
    "amplitude_down": -0.08,
    "gamma_up": 5.0,
    "gamma_down": 5.0,
    "a": -0.5,
    "b": -0.5,
}
# Every pulsed family, with every kind of spread and noise.
NOISY: list[PulsedLaw] = [
    Constant(step=0.02, step_spread=0.3, bound_spread=0.3, cycle_spread=0.3, asymmetry=0.1, asymmetry_spread=0.05),
    Linear(
        step=0.02, step_spread=0.1, bound_spread=0.1, cycle_spread=2.0, gamma_up=0.1, gamma_down=0.5, gamma_spread=0.05
    ),
    SoftBounds(
        step=0.02, step_spread=0.3, bound_spread=(0.2, 0.4), cycle_spread=3.0, cycle_noise="additive", write_noise=5.0
    ),
    Exponential(step=0.02, step_spread=0.2, bound_spread=0.3, cycle_spread=2.0, write_noise=3.0, **EXPONENTIAL),
    Power(step=0.05, gamma_up=2.0, gamma_down=0.5, bound_spread=0.1, cycle_spread=0.5),
    Piecewise(step=0.05, levels=(0.0, 0.3, 1.0), up=(2.0, 1.0, 0.1), down=(0.1, 1.0, 1.5), cycle_spread=0.5),
    OneSided(
        step=0.02, amplitude=-5.0, gamma=2.5, cycle_spread=0.5, cycle_offset=0.01, cycle_slope=0.1, bound_spread=0.1
    ),
]


def states(devices: Devices) -> FloatArray:
    low, high = devices.window_siemens
    return 2.0 * (devices.conductances - low) / (high - low) - 1.0


def array(update: UpdateLaw, shape: tuple[int, ...] = (6, 5), seed: int = 0, **options: float) -> Devices:
    return Devices(shape, WINDOW, update, np.random.default_rng(seed), **options)


# Closed forms


@pytest.mark.parametrize("origin", [0.0, -0.3])
def test_soft_bounds_approach_the_bound_geometrically(origin: float) -> None:
    law = SoftBounds(step=0.03, origin=origin, bound_max=0.9)
    devices = array(law)
    start = 0.2
    devices.initialise(np.full(devices.shape, WINDOW[0] + HALF * (1.0 + start)))
    for direction, bound in ((1, 0.9), (-1, -1.0)):
        before = states(devices)
        devices.pulse(np.full(devices.shape, direction * 40))
        expected = bound - (bound - before) * (1.0 - law.step / abs(bound - origin)) ** 40
        np.testing.assert_allclose(states(devices), expected, rtol=0, atol=1e-12)


def test_the_step_is_constant_up_to_the_bound() -> None:
    devices = array(Constant(step=0.01, asymmetry=0.2))
    devices.pulse(np.full(devices.shape, 30))
    np.testing.assert_allclose(states(devices), 30 * 0.012, rtol=0, atol=1e-12)
    devices.pulse(np.full(devices.shape, -10))
    np.testing.assert_allclose(states(devices), 30 * 0.012 - 10 * 0.008, rtol=0, atol=1e-12)
    report = devices.pulse(np.full(devices.shape, 1000))
    assert np.all(devices.conductances == WINDOW[1])
    assert report.at_bound == 30


def test_linear_lies_between_constant_and_soft_bounds() -> None:
    # x_{n+1} = x_n + s (1 - gamma x_n) has the fixed point 1/gamma, approached by the factor 1 - s gamma.
    devices = array(Linear(step=0.01, gamma_up=0.4, gamma_down=0.7))
    devices.pulse(np.full(devices.shape, 50))
    up = (1.0 - (1.0 - 0.01 * 0.4) ** 50) / 0.4
    np.testing.assert_allclose(states(devices), up, rtol=0, atol=1e-12)
    devices.pulse(np.full(devices.shape, -20))
    down = -1.0 / 0.7 + (up + 1.0 / 0.7) * (1.0 - 0.01 * 0.7) ** 20
    np.testing.assert_allclose(states(devices), down, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_linear_reaches_its_limits(gamma: float) -> None:
    counts = np.random.default_rng(3).integers(-200, 200, (6, 5))
    common: dict[str, Any] = {"step": 0.01, "bound_spread": 0.2, "cycle_spread": 0.3}
    linear = array(Linear(gamma_up=gamma, gamma_down=gamma, **common))
    # Same devices: the two laws draw their bounds before anything of their own; the noise follows, so it is off.
    other = array(Constant(**common) if gamma == 0.0 else SoftBounds(**common))
    np.testing.assert_array_equal(linear.parameters["bound_max"], other.parameters["bound_max"])
    quiet = {**common, "cycle_spread": 0.0}
    linear = array(Linear(gamma_up=gamma, gamma_down=gamma, **quiet))
    other = array(Constant(**quiet) if gamma == 0.0 else SoftBounds(**quiet))
    linear.pulse(counts)
    other.pulse(counts)
    np.testing.assert_allclose(linear.conductances, other.conductances, rtol=1e-12)


def test_exponential_steps_follow_their_differential_equation() -> None:
    # dx/dn = s (1 + A exp(-g x)) with A, g > 0 integrates to exp(g x) + A = (1 + A) exp(g s n) from x = 0.
    amplitude, gamma, final = 1.3, 2.0, 0.7
    pulses = 20_000
    continuous = np.log((np.exp(gamma * final) + amplitude) / (1.0 + amplitude)) / gamma
    law = Exponential(
        step=continuous / pulses, amplitude_up=-amplitude, amplitude_down=0.0, gamma_up=gamma, gamma_down=0.0, a=-1.0
    )
    errors = []
    for coarser in (1, 2):
        devices = array(replace(law, step=law.step * coarser), (1,))
        devices.pulse(np.array([pulses // coarser]))
        errors.append(abs(float(states(devices)[0]) - final))
    assert errors[0] < 1e-4
    assert errors[1] == pytest.approx(2.0 * errors[0], rel=0.01)  # Euler's first order


def test_power_steps_follow_their_differential_equation() -> None:
    # With r the share left to the bound, dr/dn = -(s/2) r^2 integrates to 1/r = 1/r0 + s n/2.
    law = Power(step=1e-5, gamma_up=2.0, gamma_down=2.0)
    devices = array(law, (1,))
    devices.pulse(np.array([100_000]))
    assert float(states(devices)[0]) == pytest.approx(1.0 - 2.0 / (2.0 + 0.5), abs=1e-5)


def test_piecewise_reproduces_soft_bounds() -> None:
    common: dict[str, Any] = {"step": 0.02, "bound_spread": 0.0}
    piecewise = array(Piecewise(levels=(0.0, 0.4, 1.0), up=(2.0, 1.2, 0.0), down=(0.0, 0.8, 2.0), **common))
    soft = array(SoftBounds(**common))
    for counts in (30, -70):
        piecewise.pulse(np.full((6, 5), counts))
        soft.pulse(np.full((6, 5), counts))
        np.testing.assert_allclose(piecewise.conductances, soft.conductances, rtol=1e-12)


@pytest.mark.parametrize("law", NOISY, ids=lambda law: law.law)
def test_compiled_steps_are_those_of_the_law(law: PulsedLaw) -> None:
    quiet = replace(law, cycle_spread=0.0, write_noise=0.0, cycle_noise="multiplicative")
    devices = array(quiet, (40, 30))
    low, high = devices.bounds_siemens
    target = low + (high - low) * np.random.default_rng(1).random(devices.shape)
    devices.initialise(target)
    for direction in (1,) if law.one_sided else (1, -1):
        before = states(devices)
        devices.pulse(np.full(devices.shape, direction))
        change = quiet.mean_step(before, direction, devices.parameters)
        expected = np.clip(before + change, devices.parameters["bound_min"], devices.parameters["bound_max"])
        np.testing.assert_allclose(states(devices), expected, rtol=0, atol=1e-12)


def test_soft_bounds_settle_at_the_symmetry_point() -> None:
    # Alternating pulses drive a device to where its steps up and down are equal: the origin, if s_up = s_down.
    devices = array(SoftBounds(step=0.02, bound_max=0.8, bound_min=-1.0, origin=0.1))
    devices.initialise(np.full(devices.shape, WINDOW[1] - 0.3 * HALF))
    before = states(devices)
    for _ in range(400):
        devices.pulse(np.full(devices.shape, 1))
        devices.pulse(np.full(devices.shape, -1))
    assert np.all(np.abs(before - 0.1) > 0.5)
    assert np.all(np.abs(states(devices) - 0.1) < 0.02)
    law = devices.update
    assert isinstance(law, PulsedLaw)
    steps = [float(law.mean_step(np.array(0.1), direction, law.nominal())) for direction in (1, -1)]
    assert steps[0] == pytest.approx(-steps[1], rel=1e-12)


def test_nominal_steps_in_siemens() -> None:
    steps = array(SoftBounds(step=0.01, asymmetry=0.1, step_spread=0.5, bound_spread=0.2)).nominal_step_siemens
    assert steps.up == pytest.approx(0.011 * HALF)
    assert steps.down == pytest.approx(0.009 * HALF)
    assert array(OneSided(step=0.01)).nominal_step_siemens.down == 0.0


# Noise and spread


@pytest.mark.parametrize("noise", ["multiplicative", "additive"])
def test_mean_and_deviation_over_cycles(noise: Any) -> None:
    step, spread, pulses, cells = 0.01, 0.5, 40, 40_000
    devices = array(SoftBounds(step=step, cycle_spread=spread, cycle_noise=noise), (cells,))
    devices.pulse(np.full(cells, pulses))
    x = states(devices)
    keep = 1.0 - step
    if noise == "multiplicative":
        # 1 - x is a product of independent factors 1 - s (1 + c xi).
        deviation = np.sqrt((keep**2 + (step * spread) ** 2) ** pulses - keep ** (2 * pulses))
    else:
        deviation = step * spread * np.sqrt((1.0 - keep ** (2 * pulses)) / (1.0 - keep**2))
    assert abs(x.mean() - (1.0 - keep**pulses)) < 5.0 * deviation / np.sqrt(cells)
    assert x.std() == pytest.approx(deviation, rel=5.0 / np.sqrt(2 * cells))


def test_compound_noise_of_one_sided_cells() -> None:
    cells = 40_000
    law = OneSided(step=0.01, amplitude=-3.0, gamma=1.0, cycle_spread=0.6, cycle_offset=0.02, cycle_slope=0.1)
    devices = array(law, (cells,))
    devices.initialise(np.full(cells, WINDOW[0] + HALF))
    devices.pulse(np.ones(cells, dtype=int))
    change = 0.01 * (1.0 + 3.0 * np.exp(-1.0))  # z = 2 a (x - x0)/2 = -1
    deviation = 0.6 * (change + 0.02 + 0.1 * 1.0)
    assert abs(states(devices).mean() - change) < 5.0 * deviation / np.sqrt(cells)
    assert states(devices).std() == pytest.approx(deviation, rel=0.02)


def test_write_noise_hides_the_state_and_leaves_it_alone() -> None:
    cells = 20_000
    devices = array(Constant(step=0.01, write_noise=4.0), (cells,))
    devices.pulse(np.full(cells, 10))
    shown = states(devices)
    assert shown.mean() == pytest.approx(0.1, abs=5 * 0.04 / np.sqrt(cells))
    assert shown.std() == pytest.approx(0.04, rel=0.03)
    np.testing.assert_allclose(devices.snapshot()["state"], 0.1, atol=1e-12)
    # Without a write nothing is drawn anew.
    devices.pulse(np.zeros(cells, dtype=int))
    np.testing.assert_array_equal(states(devices), shown)


def test_spreads_between_devices_are_recovered() -> None:
    cells = 40_000
    law = SoftBounds(
        step=0.01,
        step_spread=0.2,
        asymmetry=0.1,
        asymmetry_spread=0.05,
        bound_max=0.5,
        bound_min=-0.6,
        bound_spread=(0.1, 0.2),
    )
    drawn = array(law, (cells,)).parameters
    margin = 5.0 / np.sqrt(2 * cells)
    assert (drawn["step_up"] + drawn["step_down"]).mean() / 0.02 == pytest.approx(1.0, abs=0.005)
    assert (0.5 * (drawn["step_up"] + drawn["step_down"]) / 0.01).std() == pytest.approx(0.2, rel=margin)
    beta = 0.5 * (drawn["step_up"] - drawn["step_down"]) / 0.01
    assert beta.mean() == pytest.approx(0.1, abs=0.002)
    assert beta.std() == pytest.approx(0.05, rel=margin)
    assert drawn["bound_max"].mean() == pytest.approx(0.5, abs=0.002)
    assert drawn["bound_max"].std() == pytest.approx(0.05, rel=margin)
    assert drawn["bound_min"].std() == pytest.approx(0.12, rel=margin)


def test_lognormal_steps() -> None:
    drawn = array(Constant(step=0.01, step_spread=0.7, step_distribution="lognormal"), (40_000,)).parameters["step_up"]
    assert np.log(drawn / 0.01).mean() == pytest.approx(0.0, abs=5 * 0.7 / 200)
    assert np.log(drawn / 0.01).std() == pytest.approx(0.7, rel=0.02)


def test_changing_one_spread_leaves_the_rest_of_the_devices_alone() -> None:
    one = array(Constant(step=0.01, step_spread=0.3)).parameters
    two = array(Constant(step=0.01, step_spread=0.3, bound_spread=0.2)).parameters
    np.testing.assert_array_equal(one["step_up"], two["step_up"])
    assert np.any(one["bound_max"] != two["bound_max"])


def test_initial_programming_leaves_its_spread() -> None:
    devices = array(SoftBounds(step=0.01), (20_000,), spread=0.1)
    target = np.full(devices.shape, 4e-5)
    report = devices.initialise(target)
    assert devices.conductances.mean() == pytest.approx(4e-5, rel=0.004)
    assert devices.conductances.std() == pytest.approx(4e-6, rel=0.03)
    assert not np.any(report.saturated)
    assert np.all(devices.pulses == 0)


def test_programming_beyond_a_device_is_held_and_reported() -> None:
    devices = array(SoftBounds(step=0.01, bound_max=0.5, bound_spread=0.2), (50, 40))
    report = devices.initialise(np.full(devices.shape, WINDOW[0] + 1.5 * HALF))
    upper = devices.bounds_siemens[1]
    short = upper < WINDOW[0] + 1.5 * HALF
    assert 0 < np.count_nonzero(short) < short.size
    np.testing.assert_array_equal(report.saturated, short)
    np.testing.assert_allclose(devices.conductances[short], upper[short], rtol=1e-12)


# The state of an array


@pytest.mark.parametrize("law", NOISY, ids=lambda law: law.law)
def test_the_same_seed_gives_the_same_bits_and_a_snapshot_continues_them(law: PulsedLaw) -> None:
    counts = np.random.default_rng(9).integers(0 if law.one_sided else -31, 32, (5, 6, 5))
    rng = np.random.default_rng(7)
    first = Devices((6, 5), WINDOW, law, rng, spread=0.1, stuck=0.1)
    first.initialise(np.full((6, 5), 4e-5))
    for part in counts[:3]:
        first.pulse(part)
    saved, generator = first.snapshot(), rng.bit_generator.state
    for part in counts[3:]:
        first.pulse(part)

    again = np.random.default_rng(7)
    second = Devices((6, 5), WINDOW, law, again, spread=0.1, stuck=0.1)
    second.restore(saved)
    again.bit_generator.state = generator
    for part in counts[3:]:
        second.pulse(part)
    np.testing.assert_array_equal(first.conductances, second.conductances)
    np.testing.assert_array_equal(first.pulses, second.pulses)
    assert rng.bit_generator.state == again.bit_generator.state

    other = Devices((6, 5), WINDOW, law, np.random.default_rng(8), spread=0.1, stuck=0.1)
    other.initialise(np.full((6, 5), 4e-5))
    assert np.any(other.conductances != first.conductances)


@pytest.mark.parametrize("noise", ["multiplicative", "additive"])
def test_noise_is_drawn_cell_by_cell_from_the_generator_itself(noise: Any) -> None:
    law = SoftBounds(step=0.05, bound_spread=0.2, cycle_spread=0.5, cycle_noise=noise, write_noise=1.0)
    rng = np.random.default_rng(5)
    devices = Devices((21,), WINDOW, law, rng, stuck=0.1)
    own = np.random.default_rng(5)
    own.bit_generator.state = rng.bit_generator.state
    counts = np.random.default_rng(1).integers(-31, 32, 21)
    counts[[0, 7]] = 0
    before = devices.snapshot()
    devices.pulse(counts)

    hidden, shown = before["state"], before["shown"]
    for cell in np.flatnonzero((counts != 0) & ~devices.stuck):
        d = int(np.sign(counts[cell]))
        own_parameters = {name: values[cell] for name, values in devices.parameters.items()}
        low, high = own_parameters["bound_min"], own_parameters["bound_max"]
        for _ in range(abs(counts[cell])):
            relative = float(law.relative_step(hidden[cell], d, own_parameters))
            xi = own.standard_normal()
            change = relative * (1 + 0.5 * xi) if noise == "multiplicative" else relative + 0.5 * xi
            hidden[cell] = np.clip(hidden[cell] + d * 0.05 * change, low, high)
        shown[cell] = np.clip(hidden[cell] + 0.05 * own.standard_normal(), low, high)
    np.testing.assert_allclose(devices.snapshot()["state"], hidden, rtol=0, atol=1e-13)
    np.testing.assert_allclose(devices.snapshot()["shown"], shown, rtol=0, atol=1e-13)
    assert rng.bit_generator.state == own.bit_generator.state


def test_stuck_cells_never_move() -> None:
    law = SoftBounds(step=0.02, bound_spread=0.1, cycle_spread=0.3, write_noise=2.0, retention=PowerLawDrift())
    devices = array(law, (100, 100), stuck=0.2)
    before = devices.conductances[devices.stuck]
    low, high = (bound[devices.stuck] for bound in devices.bounds_siemens)
    on = before == high
    assert np.all(on | (before == low))
    assert 0.18 < devices.stuck.mean() < 0.22
    assert 0.45 < on.mean() < 0.55
    report = devices.initialise(np.full(devices.shape, 5e-5))
    np.testing.assert_array_equal(report.stuck, devices.stuck)
    answer = devices.pulse(np.full(devices.shape, -3))
    devices.drift(1e5)
    np.testing.assert_array_equal(devices.conductances[devices.stuck], before)
    assert np.all(devices.pulses == np.where(devices.stuck, 0, 3))
    stuck = int(np.count_nonzero(devices.stuck))
    assert (answer.stuck_cells, answer.stuck_pulses) == (stuck, 3 * stuck)
    assert (answer.cells, answer.pulses) == (10_000 - stuck, 3 * (10_000 - stuck))


@settings(max_examples=40, deadline=None)
@given(
    law=st.sampled_from(NOISY),
    seed=st.integers(0, 2**32 - 1),
    bursts=st.lists(st.integers(-500, 500), min_size=1, max_size=4),
)
def test_no_write_leaves_the_bounds_of_a_device(law: PulsedLaw, seed: int, bursts: list[int]) -> None:
    devices = Devices((3, 4), WINDOW, law, np.random.default_rng(seed), spread=0.5, stuck=0.1)
    low, high = devices.bounds_siemens
    assert np.all((low >= WINDOW[0]) & (low < high) & (high <= WINDOW[1]))
    devices.initialise(np.full((3, 4), 2e-5))
    total = 0
    for burst in bursts:
        counts = np.full((3, 4), abs(burst) if law.one_sided else burst)
        devices.pulse(counts)
        total += abs(burst)
        assert np.all((devices.conductances >= low) & (devices.conductances <= high))
    np.testing.assert_array_equal(devices.pulses, np.where(devices.stuck, 0, total))


def test_masked_programming_touches_nothing_else() -> None:
    devices = array(SoftBounds(step=0.02, cycle_spread=0.3))
    before = devices.conductances
    mask = np.zeros(devices.shape, dtype=bool)
    mask[1, 2] = True
    devices.initialise(np.full(devices.shape, 2e-5), mask)
    changed = devices.conductances != before
    np.testing.assert_array_equal(changed, mask)


def test_ideal_cells_take_any_conductance_of_the_window() -> None:
    devices = array(Ideal())
    target = np.random.default_rng(1).uniform(*WINDOW, devices.shape)
    target[0, :2] = WINDOW
    devices.set(target)
    np.testing.assert_allclose(devices.conductances, target, rtol=1e-13)
    assert devices.conductances[0, 0] == WINDOW[0]
    assert devices.conductances[0, 1] == WINDOW[1]
    devices.set(devices.conductances)
    np.testing.assert_allclose(devices.conductances, target, rtol=1e-13)
    target[3, 2] = 2e-4
    with pytest.raises(InputError, match=r"cell \(3, 2\)"):
        devices.set(target)
    with pytest.raises(CapabilityError, match="no pulses"):
        devices.pulse(np.ones(devices.shape, dtype=int))


def test_returned_arrays_are_no_way_into_the_state() -> None:
    devices = array(SoftBounds(step=0.02))
    with pytest.raises(ValueError, match="read-only"):
        devices.conductances[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        devices.stuck[0, 0] = True
    with pytest.raises(ValueError, match="read-only"):
        devices.parameters["step_up"][0, 0] = 1.0
    saved = devices.snapshot()
    devices.pulses[0, 0] = 5
    saved["state"][...] = 0.5
    assert devices.pulses[0, 0] == 0
    assert np.all(states(devices) == 0.0)


# One-sided cells, retention


def test_one_sided_cells_only_move_up_until_they_are_reset() -> None:
    law = OneSided(step=0.01, amplitude=-5.0, gamma=2.5, reset_level=0.02, reset_spread=0.005, reset_noise=0.002)
    devices = array(law, (30, 30))
    last = devices.conductances
    for _ in range(20):
        devices.pulse(np.ones(devices.shape, dtype=int))
        assert np.all(devices.conductances > last)
        last = devices.conductances
    with pytest.raises(InputError, match=r"no down pulses, got -1 at cell \(0, 3\)"):
        devices.pulse(np.where(np.arange(30) == 3, -1, 1) * np.ones((30, 1), dtype=int))
    np.testing.assert_array_equal(devices.conductances, last)
    mask = np.arange(900).reshape(30, 30) % 2 == 0
    devices.reset(mask)
    np.testing.assert_array_equal(devices.conductances[~mask], last[~mask])
    level = states(devices)[mask]
    assert level.mean() == pytest.approx(-0.98, abs=0.002)
    assert level.std() == pytest.approx(np.hypot(0.005, 0.002), rel=0.2)
    np.testing.assert_array_equal(devices.pulses, 20 + mask)
    with pytest.raises(CapabilityError, match="no reset"):
        array(SoftBounds(step=0.1)).reset()


def test_power_law_drift_and_its_clock() -> None:
    devices = array(SoftBounds(step=0.02, retention=PowerLawDrift(exponent=0.06, reference_seconds=20.0)), (2,))
    devices.initialise(np.array([3e-5, 8e-5]))
    devices.drift(20.0)
    np.testing.assert_allclose(devices.conductances, [3e-5, 8e-5], rtol=1e-12)
    devices.drift(180.0)
    devices.drift(1800.0)
    np.testing.assert_allclose(devices.conductances, np.array([3e-5, 8e-5]) * 100.0**-0.06, rtol=1e-12)
    # A write finds the stored state again and restarts the clock of the cells it touches.
    devices.pulse(np.array([1, 0]))
    written = 1.0 - (1.0 - (2 * (3e-5 - WINDOW[0]) / (2 * HALF) - 1)) * (1.0 - 0.02)
    np.testing.assert_allclose(devices.conductances[0], WINDOW[0] + HALF * (1 + written), rtol=1e-12)
    np.testing.assert_allclose(devices.conductances[1], 8e-5 * 100.0**-0.06, rtol=1e-12)


def test_drift_exponents_spread_between_devices() -> None:
    devices = array(SoftBounds(step=0.02, retention=PowerLawDrift(exponent=0.1, exponent_spread=0.02)), (20_000,))
    devices.initialise(np.full(20_000, 5e-5))
    devices.drift(20.0 * np.e)
    exponents = -np.log(devices.conductances / 5e-5)
    assert exponents.mean() == pytest.approx(0.1, abs=0.001)
    assert exponents.std() == pytest.approx(0.02, rel=0.03)


def test_a_leak_relaxes_the_state_to_the_origin() -> None:
    devices = array(Linear(step=0.02, origin=0.2, retention=Leak(time_constant_seconds=3.0)), (1,))
    devices.initialise(np.array([WINDOW[0] + HALF * 1.8]))
    for _ in range(4):
        devices.drift(0.5)
    np.testing.assert_allclose(states(devices), 0.2 + 0.6 * np.exp(-2.0 / 3.0), rtol=1e-12)
    devices.drift(1e4)
    np.testing.assert_allclose(states(devices), 0.2, rtol=1e-12)


# Configuration and refusals


def test_laws_by_name() -> None:
    assert update_from_config({"law": "soft_bounds", "step": 0.002, "step_spread": 0.3}) == SoftBounds(
        step=0.002, step_spread=0.3
    )
    assert update_from_config({"law": "ideal"}) == Ideal()
    built = update_from_config(
        {
            "law": "constant",
            "step": 0.1,
            "bound_spread": [0.1, 0.2],
            "retention": {"law": "power_law", "exponent": 0.05},
        }
    )
    assert built == Constant(step=0.1, bound_spread=(0.1, 0.2), retention=PowerLawDrift(exponent=0.05))
    assert set(UPDATE_LAWS) == {
        "ideal", "constant", "linear", "soft_bounds", "exponential", "power", "piecewise", "one_sided",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"law": "soft_bound", "step": 0.1}, ("update.law", "soft_bounds", "'soft_bound'")),
        ({"law": "soft_bounds"}, ("update.step",)),
        ({"law": "soft_bounds", "step": 0.1, "spread": 0.1}, ("update.spread", "step_spread")),
        ({"law": "soft_bounds", "step": -0.1}, ("update.step", "-0.1")),
        ({"law": "soft_bounds", "step": "0.1"}, ("update.step", "'0.1'")),
        ({"law": "soft_bounds", "step": True}, ("update.step",)),
        ({"law": "soft_bounds", "step": float("nan")}, ("update.step",)),
        ({"law": "soft_bounds", "step": 0.1, "cycle_noise": "gaussian"}, ("update.cycle_noise", "additive")),
        ({"law": "soft_bounds", "step": 0.1, "bound_spread": [0.1]}, ("update.bound_spread", "pair")),
        ({"law": "soft_bounds", "step": 0.1, "bound_max": 1.5}, ("update.bound_max",)),
        ({"law": "soft_bounds", "step": 0.1, "origin": 1.0}, ("update.origin",)),
        ({"law": "soft_bounds", "step": 0.1, "retention": {"law": "leak", "tau": 1}}, ("update.retention.tau",)),
        ({"law": "soft_bounds", "step": 0.1, "retention": 3}, ("update.retention",)),
        ({"law": "ideal", "step": 0.1}, ("update.step", "unknown")),
        ({"law": "ideal", "preset": "pcm"}, ("exactly one",)),
        ({"preset": "nope"}, ("update.preset", "reram_soft_bounds")),
        ({"preset": "pcm", "foo": 1}, ("update.foo", "amplitude")),
        ({"law": "piecewise", "step": 0.1, "levels": [0, 0.5], "up": [1, 1], "down": [1, 1]}, ("levels", "0 to 1")),
        ({"law": "piecewise", "step": 0.1, "levels": [0, 1], "up": [1], "down": [1, 1]}, ("update.up",)),
        ({"law": "linear", "step": 0.1, "gamma_up": 2}, ("update.gamma_up",)),
        ({"law": "power", "step": 0.1, "gamma_up": -1}, ("update.gamma_up",)),
        (None, ("update", "mapping")),
    ],
)  # fmt: skip
def test_a_bad_configuration_names_its_key(config: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        update_from_config(config)
    for word in words:
        assert word in str(caught.value)


def test_bad_calls_name_their_argument() -> None:
    law = SoftBounds(step=0.02)
    rng = np.random.default_rng(0)
    for window in ((1e-4, 1e-6), (-1e-6, 1e-4), (1e-6,), (1e-6, float("inf"))):
        with pytest.raises(InputError, match="window_siemens"):
            Devices((2, 2), window, law, rng)  # type: ignore[arg-type]
    for options, name in (({"spread": -0.1}, "spread"), ({"stuck": 1.5}, "stuck")):
        with pytest.raises(InputError, match=name):
            Devices((2, 2), WINDOW, law, rng, **options)
    with pytest.raises(InputError, match="shape"):
        Devices((2, 0), WINDOW, law, rng)
    devices = Devices((2, 2), WINDOW, law, rng)
    for counts in (np.ones((2, 3), dtype=int), np.ones((2, 2))):
        with pytest.raises(InputError, match="counts"):
            devices.pulse(counts)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="target_siemens"):
        devices.initialise(np.full((2, 2), np.nan))
    with pytest.raises(InputError, match="mask"):
        devices.initialise(np.full((2, 2), 5e-5), np.ones((2, 2)))  # type: ignore[arg-type]
    with pytest.raises(CapabilityError, match="pulses"):
        devices.set(np.full((2, 2), 5e-5))
    with pytest.raises(InputError, match="seconds"):
        devices.drift(-1.0)
    with pytest.raises(InputError, match="snapshot"):
        devices.restore({})
    with pytest.raises(InputError, match=r"snapshot\.state"):
        devices.restore({**devices.snapshot(), "state": np.zeros((3, 3))})


# Measured curves


def measured(cells: int = 6, seed: int = 0, cycle_spread: float = 0.2) -> dict[str, FloatArray]:
    devices = array(SoftBounds(step=0.05, cycle_spread=cycle_spread, cycle_noise="additive"), (cells,), seed)
    devices.initialise(np.full(cells, WINDOW[0]))
    reads, direction = [devices.conductances], [0]
    for sign in [1] * 80 + [-1] * 80:
        devices.pulse(np.full(cells, sign))
        reads.append(devices.conductances)
        direction.append(sign)
    return {
        "direction": np.tile(direction, cells).astype(float),
        "conductance_siemens": np.stack(reads, axis=1).ravel(),
        "device": np.repeat(np.arange(cells), len(direction)).astype(float),
    }


def test_a_law_is_recovered_from_its_own_pulse_curve(tmp_path: Any) -> None:
    points = measured(cells=40)
    fit = from_measured_points(points, levels=5)
    low, high = fit.window_siemens
    levels = low + np.array(fit.update.levels) * (high - low)
    x = 2.0 * (levels - WINDOW[0]) / (2.0 * HALF) - 1.0
    siemens = 0.5 * fit.update.step * (high - low)
    # Soft bounds: 0.05 (1 - x) up and 0.05 (1 + x) down, in units of half the window.
    np.testing.assert_allclose(siemens * np.array(fit.update.up), 0.05 * (1.0 - x) * HALF, atol=0.003 * HALF)
    np.testing.assert_allclose(siemens * np.array(fit.update.down), 0.05 * (1.0 + x) * HALF, atol=0.003 * HALF)
    assert fit.residual_siemens == pytest.approx(0.05 * 0.2 * HALF, rel=0.1)
    assert fit.update.cycle_spread * siemens == pytest.approx(fit.residual_siemens)
    assert (fit.pulses_up, fit.pulses_down) == (3200, 3200)


def test_a_measured_curve_may_be_a_csv_file(tmp_path: Any) -> None:
    points = measured(cells=3)
    path = tmp_path / "curve.csv"
    rows = zip(*(points[name].tolist() for name in points), strict=True)
    path.write_text("\n".join([",".join(points), *(",".join(map(repr, row)) for row in rows)]))
    assert from_measured_points(path, levels=5) == from_measured_points(points, levels=5)


def test_bad_measurements_are_refused(tmp_path: Any) -> None:
    points = measured(1)
    with pytest.raises(InputError, match="no column direction"):
        from_measured_points({"conductance_siemens": points["conductance_siemens"]})
    with pytest.raises(InputError, match="use fewer levels"):
        from_measured_points(points, levels=2000)
    with pytest.raises(InputError, match="first read of every device"):
        from_measured_points({**points, "direction": np.maximum(points["direction"], 1.0)})
    with pytest.raises(InputError, match=r"conductance_siemens\[3\]"):
        from_measured_points(
            {**points, "conductance_siemens": np.where(np.arange(161) == 3, np.nan, points["conductance_siemens"])}
        )
    with pytest.raises(InputError, match=r"missing\.csv"):
        from_measured_points(tmp_path / "missing.csv")
    (tmp_path / "words.csv").write_text("direction,conductance_siemens\n0,1e-6\nup,2e-6\n")
    with pytest.raises(InputError, match="expected numbers"):
        from_measured_points(tmp_path / "words.csv")
