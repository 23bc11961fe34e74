"""Time on the device's clock: what it does to cells, networks and readings, and that it can be put back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from emulators.config import EmulatorConfig
from emulators.noise import BOLTZMANN
from emulators.substrate import EmulatedSubstrate
from substrate.capabilities import Nudge, WriteRequest
from substrate.errors import InputError
from substrate.network import Network
from substrate.tones import SamplingPlan

PLAN = SamplingPlan(frequency_hz=1000.0, harmonics=3, samples_per_period=16, periods=2)
CHAIN = Network((3, 4, 2))
SINGLE = Network((20, 15))
ARRAY = "input-output"


def _device(network: Network, seed: int = 0, **section: Any) -> EmulatedSubstrate:
    config = EmulatorConfig.model_validate({"backend": "emulator", **section})
    return EmulatedSubstrate(network, config, np.random.default_rng(seed))


def _program(device: EmulatedSubstrate, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    for coupling in device.network.arrays:
        if device.capabilities.continuous_writing:
            cells = rng.uniform(2e-5, 8e-5, coupling.cell_shape)
            device.write_cells(WriteRequest(coupling.name, target_siemens=cells))
        else:
            device.write_cells(WriteRequest(coupling.name, pulses=rng.integers(-20, 21, coupling.cell_shape)))


def _inputs(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(2).uniform(-0.2, 0.2, (count, size))


def _use(device: EmulatedSubstrate, seed: int = 3) -> list[np.ndarray]:
    """Everything that can be read, with writes between: what a training step does."""
    rng = np.random.default_rng(seed)
    network = device.network
    seen = []
    for _ in range(2):
        device.hold(_inputs(5, network.input_size))
        seen.append(device.settle().volts)
        amperes = np.zeros((5, network.node_count))
        amperes[:, network.output.nodes] = rng.normal(0.0, 2e-6, (5, network.output.size))
        seen.append(device.nudge(Nudge(amperes), PLAN).volts)
        for coupling in network.arrays:
            seen.append(device.products(coupling.name, rng.uniform(-0.2, 0.2, (3, coupling.shape[0]))))
            seen.append(device.read_cells(coupling.name))
            if device.capabilities.pulses:
                counts = rng.integers(-2, 3, coupling.cell_shape)
                device.write_cells(WriteRequest(coupling.name, pulses=counts))
        device.wait(0.01)
    return seen


EVERYTHING: dict[str, Any] = {
    "update": {
        "law": "soft_bounds",
        "step": 0.01,
        "cycle_spread": 0.3,
        "retention": {"law": "power_law", "exponent": 0.05, "exponent_spread": 0.01, "reference_seconds": 1e-4},
    },
    "wires": {"segment_ohms": 2.0},
    "noise": {
        "white": {"thermal_bandwidth_hz": 1e6, "shot_bandwidth_hz": 1e6},
        "reading_flicker": {"white_volts_per_root_hertz": 1e-7},
        "mains": {"volts": 1e-4, "spread": 0.1},
        "cell_flicker": {"relative_at_one_hertz": 1e-3},
        "telegraph": {"fraction": 0.5, "amplitude": 0.05},
        "read_disturb": {"fraction_per_reading": 1e-6},
    },
    "temperature": {
        "temperature_kelvin": 330.0,
        "conductance_per_kelvin": 1e-3,
        "retention_activation_electronvolts": 1.0,
    },
}


def test_same_seed_same_bits_and_another_seed_others() -> None:
    found = []
    for seed in (0, 0, 1):
        with _device(CHAIN, seed, **EVERYTHING) as device:
            _program(device)
            found.append(_use(device))
    assert all(np.array_equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(found[0], found[2], strict=True))


def test_a_restored_device_goes_on_bit_for_bit() -> None:
    with _device(CHAIN, **EVERYTHING) as one, _device(CHAIN, **EVERYTHING) as other:
        _program(one)
        _use(one, 4)
        saved = one.states.snapshot()
        expected = _use(one, 5)
        other.states.restore(saved)
        assert all(np.array_equal(a, b) for a, b in zip(_use(other, 5), expected, strict=True))


def test_with_everything_off_time_changes_nothing() -> None:
    with _device(CHAIN) as used, _device(CHAIN) as waited:
        for device in (used, waited):
            _program(device)
        _use(used)
        waited.wait(1e6)
        assert np.array_equal(used.read_cells("hidden1-output"), waited.read_cells("hidden1-output"))
        for device in (used, waited):
            device.hold(_inputs(4, 3))
        assert np.array_equal(used.settle().volts, waited.settle().volts)


def test_drift_follows_its_power_law_on_the_clock() -> None:
    retention = {"law": "power_law", "exponent": 0.06, "reference_seconds": 1.0}
    with _device(SINGLE, update={"law": "ideal", "retention": retention}) as device:
        _program(device)
        before = device.read_cells(ARRAY)
        total, seen = 0.0, []
        for seconds in (10.0, 90.0, 900.0):
            device.wait(seconds)
            total += seconds
            seen.append(np.log(device.read_cells(ARRAY) / before))
        decades = np.log([10.0, 100.0, 1000.0])
        slope = np.polyfit(decades, np.array([one.mean() for one in seen]), 1)[0]
        assert slope == pytest.approx(-0.06, rel=1e-4)
        assert device.ledger is not None
        assert device.ledger.device_seconds == pytest.approx(total, rel=1e-3)
        # The settled network sees it.
        device.hold(np.full((1, 20), 0.1))
        drifted = device.settle().volts
    with _device(SINGLE) as device:
        device.write_cells(WriteRequest(ARRAY, target_siemens=before * 1000.0**-0.06))
        device.hold(np.full((1, 20), 0.1))
        np.testing.assert_allclose(device.settle().volts, drifted, rtol=1e-4)


def test_reading_itself_lets_the_clock_run() -> None:
    retention = {"law": "power_law", "exponent": 0.1, "reference_seconds": 1e-3}
    operation = {"reading_seconds": 1.0, "settle_seconds": 0.0, "pulse_seconds": 0.0}
    with _device(SINGLE, update={"law": "ideal", "retention": retention}, operation=operation) as device:
        _program(device)
        before = device._arrays[ARRAY].now_siemens
        device.hold(_inputs(7, 20))
        device.settle()
        # Seven samples of a second each.
        np.testing.assert_allclose(device.read_cells(ARRAY), before * 7000.0**-0.1, rtol=1e-12)


@pytest.mark.parametrize(
    ("kelvin", "faster"), [(300.0, 1.0), (330.0, np.exp(1.2 / 8.617333262e-5 * (1 / 300 - 1 / 330)))]
)
def test_retention_speeds_up_by_arrhenius_law(kelvin: float, faster: float) -> None:
    retention = {"law": "leak", "time_constant_seconds": 1e4}
    temperature = {"temperature_kelvin": kelvin, "retention_activation_electronvolts": 1.2}
    with _device(SINGLE, update={"law": "ideal", "retention": retention}, temperature=temperature) as device:
        _program(device)
        middle = 0.5 * (1e-6 + 1e-4)
        before = device.read_cells(ARRAY)
        device.wait(10.0)
        after = device.read_cells(ARRAY)
    decay = -np.log((after - middle) / (before - middle))
    np.testing.assert_allclose(decay, 1e-3 * faster, rtol=1e-4)


def test_temperature_is_seen_by_cells_and_network_alike() -> None:
    temperature = {"temperature_kelvin": 350.0, "conductance_per_kelvin": 2e-3}
    with _device(SINGLE) as cold, _device(SINGLE, temperature=temperature) as warm:
        for device in (cold, warm):
            _program(device)
        np.testing.assert_allclose(warm.read_cells(ARRAY), cold.read_cells(ARRAY) * 1.1, rtol=1e-14)
        volts = np.random.default_rng(0).uniform(-0.2, 0.2, (3, 21))
        np.testing.assert_allclose(warm.products(ARRAY, volts), cold.products(ARRAY, volts) * 1.1, rtol=1e-9)


def test_readings_disturb_cells_towards_the_attractor() -> None:
    disturb = {"fraction_per_reading": 1e-3, "attractor": -0.5}
    with _device(SINGLE, noise={"read_disturb": disturb}) as device:
        _program(device)
        attractor = 1e-6 + 0.25 * (1e-4 - 1e-6)
        before = device.read_cells(ARRAY)
        device.hold(_inputs(30, 20))
        device.settle()
        # 30 samples, and the reading of the cells before them.
        expected = attractor + (before - attractor) * (1 - 1e-3) ** 31
        np.testing.assert_allclose(device.read_cells(ARRAY), expected, rtol=1e-12)


def _nodes_of(device: EmulatedSubstrate, batch: int) -> np.ndarray:
    device.hold(np.tile(_inputs(1, 20), (batch, 1)))
    return device.settle().volts[:, 0]


def test_telegraph_noise_moves_the_settled_state_between_its_two_values() -> None:
    noise = {"telegraph": {"fraction": 1.0, "amplitude": 0.2, "capture_hz": 50.0, "emission_hz": 50.0}}
    with _device(Network((1, 1)), noise=noise) as device:
        device.write_cells(
            WriteRequest(ARRAY, target_siemens=np.array([5e-5, 2e-5]).reshape(2, 1, 1) + np.zeros((2, 2, 1)))
        )
        seen = set()
        for _ in range(200):
            device.wait(0.05)
            cells = device.read_cells(ARRAY)
            seen.update(np.round(cells[0].ravel() / 5e-5, 9))
            device.hold(np.array([[0.1]]))
            volts = float(device.settle().volts[0, 0, 0])
            currents = np.array([0.1, 0.2]) @ (cells[0] - cells[1])[:, 0]
            # Reading the cells took no time to speak of: the network sees what was read, or traps that just jumped.
            seen.add("same" if np.isclose(volts, 0.2 * np.tanh(currents / (0.2 * 2.5e-5)), rtol=1e-7) else "jumped")
    assert {0.8, 1.0} <= {one for one in seen if not isinstance(one, str)}
    assert len({one for one in seen if not isinstance(one, str)}) == 2
    assert "same" in seen


def test_a_nudge_starts_from_the_state_of_its_own_cells() -> None:
    retention = {"law": "power_law", "exponent": 0.2, "reference_seconds": 1e-6}
    with _device(CHAIN, update={"law": "ideal", "retention": retention}) as device:
        _program(device)
        device.hold(_inputs(4, 3))
        free = device.settle().volts[:, 0]
        device.wait(100.0)
        record = device.nudge(Nudge(np.zeros((4, 6))), PLAN)
        assert record.settled.all()
        # Without a nudge the record is the free state of the drifted cells.
        device.hold(_inputs(4, 3))
        np.testing.assert_allclose(record.volts[:, 0], device.settle().volts[:, 0], atol=1e-6)
        assert np.abs(record.volts[:, 0] - free).max() > 1e-3


def test_a_nudge_without_a_free_phase_is_still_refused() -> None:
    with _device(CHAIN, **EVERYTHING) as device:
        device.hold(_inputs(4, 3))
        device.wait(1.0)
        with pytest.raises(InputError, match="settle"):
            device.nudge(Nudge(np.zeros((4, 6))), PLAN)


def _spread(values: Callable[[EmulatedSubstrate], np.ndarray], **noise: Any) -> np.ndarray:
    with _device(SINGLE, noise=noise) as noisy, _device(SINGLE) as quiet:
        for device in (noisy, quiet):
            _program(device)
        return values(noisy) - values(quiet)


def test_thermal_noise_of_readings_is_johnsons() -> None:
    bandwidth = 1e9
    with _device(SINGLE) as quiet:
        _program(quiet)
        cells = quiet.read_cells(ARRAY)
    columns = cells.sum(axis=(0, 1))
    noise = {"white": {"thermal_bandwidth_hz": bandwidth}}

    nodes = _spread(lambda device: _nodes_of(device, 4000), **noise)
    expected = 4 * BOLTZMANN * 300.0 * bandwidth * (columns + 2.5e-5) / 2.5e-5**2
    np.testing.assert_allclose(nodes.var(axis=0), expected, rtol=5 * np.sqrt(2 / 4000))

    volts = np.tile(np.linspace(-0.2, 0.2, 21), (4000, 1))
    currents = _spread(lambda device: device.products(ARRAY, volts), **noise)
    np.testing.assert_allclose(currents.var(axis=0), 4 * BOLTZMANN * 300.0 * bandwidth * columns, rtol=0.12)

    readings = _spread(lambda device: np.stack([device.read_cells(ARRAY) for _ in range(400)]), **noise)
    relative = readings.var(axis=0) / (4 * BOLTZMANN * 300.0 * bandwidth * cells / 0.3**2)
    assert relative.mean() == pytest.approx(1.0, abs=5 * np.sqrt(2 / 400 / cells.size))


def test_shot_noise_of_products_is_schottkys() -> None:
    white = {"shot_bandwidth_hz": 1e9, "shot_fano": 0.5}
    volts = np.tile(np.linspace(-0.2, 0.2, 21), (4000, 1))
    with _device(SINGLE) as quiet:
        _program(quiet)
        amperes = np.abs(volts[0]) @ quiet.read_cells(ARRAY).sum(axis=0)
    currents = _spread(lambda device: device.products(ARRAY, volts), white=white)
    np.testing.assert_allclose(currents.var(axis=0), 1.602176634e-19 * amperes * 1e9, rtol=0.12)


def test_mains_pick_up_is_coherent_over_the_clock() -> None:
    operation = {"settle_seconds": 1e-3, "reading_seconds": 1e-3}
    mains = {"volts": 1e-3, "frequency_hz": 50.0}
    with _device(SINGLE, noise={"mains": mains}, operation=operation) as noisy, _device(SINGLE) as quiet:
        for device in (noisy, quiet):
            _program(device)
        # A sample every 2 ms, in two batches: 20 periods of the mains.
        hum = np.concatenate(
            [_nodes_of(noisy, 120) - _nodes_of(quiet, 120), _nodes_of(noisy, 80) - _nodes_of(quiet, 80)]
        )
    tone = np.fft.rfft(hum, axis=0) / 100
    assert np.abs(tone[20]) == pytest.approx(1e-3, rel=1e-9)
    assert np.abs(np.delete(tone, 20, axis=0)).max() < 1e-9


def test_flicker_of_readings_is_correlated_over_a_record() -> None:
    flicker = {"white_volts_per_root_hertz": 1e-6, "corner_hz": 1e3, "lowest_hz": 0.1, "highest_hz": 1e3}
    plan = SamplingPlan(frequency_hz=1e4, harmonics=3, samples_per_period=16, periods=8)

    def record(device: EmulatedSubstrate) -> np.ndarray:
        device.hold(np.tile(_inputs(1, 20), (60, 1)))
        device.settle()
        return device.nudge(Nudge(np.zeros((60, 15))), plan).volts

    noise = _spread(record, reading_flicker=flicker)
    power = 1e-12 * 1e3
    assert noise.var() == pytest.approx(power * np.log(1e4) * 13 / 12, rel=0.5)
    # 6 us apart, with nothing beyond 1 kHz: neighbours are nearly equal, and records 0.8 ms long still alike.
    neighbours = np.diff(noise, axis=1).var() / (2 * noise.var())
    assert neighbours < 0.02
    # What a record holds of relaxations: 1 - exp(-2 pi f t) of each, over its length.
    corners = np.geomspace(0.1, 1e3, 13)
    expected = 2 * power * np.log(1e4) / 12 * np.sum(1 - np.exp(-2 * np.pi * corners * 127 / 160_000))
    assert (noise[:, -1] - noise[:, 0]).var() == pytest.approx(expected, rel=5 * np.sqrt(2 / 900))


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_only_time_that_passes_can_be_waited(seconds: float) -> None:
    with _device(CHAIN) as device, pytest.raises(InputError, match="seconds"):
        device.wait(seconds)
