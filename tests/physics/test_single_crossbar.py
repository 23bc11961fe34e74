"""A single emulated crossbar: noise of its readings and cells against closed forms, its ledger, its clock."""

from typing import Any

import numpy as np
import pytest

from emulators.config import LimitsConfig, NoiseConfig, OperationConfig, TemperatureConfig, WiresConfig
from emulators.crossbar import Crossbar
from emulators.crossbar_array import EmulatedCrossbar
from emulators.noise import BOLTZMANN, ELEMENTARY_CHARGE
from substrate.capabilities import WriteRequest
from substrate.contract import Direction
from substrate.errors import InputError

WIRES = WiresConfig(segment_ohms=20.0, source_ohms=150.0, sense_ohms=70.0)
OPERATION = OperationConfig(reading_seconds=2e-6, reading_volts=0.1, pulse_volts=1.2, pulse_seconds=2e-7)


def crossbar(shape: tuple[int, int] = (4, 3), seed: int = 0, **sections: Any) -> EmulatedCrossbar:
    return EmulatedCrossbar(shape, np.random.default_rng(seed), **sections)


def programmed(device: EmulatedCrossbar, seed: int = 1) -> np.ndarray:
    cells = np.random.default_rng(seed).uniform(1e-5, 1e-4, device.shape)
    device.write_cells(WriteRequest("", target_siemens=cells))
    return cells


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_white_noise_of_currents_is_thermal_and_shot(direction: Direction) -> None:
    """4 k T G B + 2 q F |I| B of each line; 20000 draws know a deviation to 0.5 %."""
    white = {"thermal_bandwidth_hz": 1e6, "shot_bandwidth_hz": 2e6, "shot_fano": 0.5}
    noise, hot = NoiseConfig.model_validate({"white": white}), TemperatureConfig(temperature_kelvin=350.0)
    with crossbar(noise=noise, temperature=hot) as device:
        cells = programmed(device)
        seen = cells if direction == "forward" else cells.T
        volts = np.linspace(0.05, 0.25, len(seen))
        currents = device.read(np.tile(volts, (20000, 1)), direction)
    variance = 4 * BOLTZMANN * 350.0 * 1e6 * seen.sum(axis=0) + ELEMENTARY_CHARGE * 2e6 * volts @ seen
    np.testing.assert_allclose(currents.std(axis=0), np.sqrt(variance), rtol=0.03)
    np.testing.assert_allclose(currents.mean(axis=0), volts @ seen, rtol=1e-3)


def test_cells_that_flip_are_seen_by_readings() -> None:
    noise = NoiseConfig.model_validate({"telegraph": {"fraction": 1.0, "amplitude": 0.1}})
    with crossbar(noise=noise) as device:
        cells = programmed(device)
        volts = 0.1 * np.eye(4)
        seen = []
        for _ in range(40):
            device.wait(1.0)
            seen.append(device.read(volts) / 0.1)
        shares = np.array(seen) / cells
        assert (np.ptp(shares, axis=0) > 0.05).mean() > 0.5
        again = device.read(volts) / 0.1
    with crossbar(noise=noise) as other:
        programmed(other)
        for _ in range(40):
            other.wait(1.0)
            other.read(volts)
        np.testing.assert_array_equal(other.read(volts) / 0.1, again)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_reading_costs_what_the_solved_array_takes(direction: Direction) -> None:
    with crossbar(wires=WIRES, operation=OPERATION, line_farads=3e-13) as device:
        cells = programmed(device)
        driven = len(cells) if direction == "forward" else len(cells.T)
        volts = np.random.default_rng(2).uniform(-0.2, 0.2, (5, driven))
        ledger = device.ledger
        assert ledger is not None
        before = ledger.joules
        device.read(volts, direction)
        circuit = Crossbar(cells if direction == "forward" else cells[::-1, ::-1].T, 20.0, 20.0, 150.0, 70.0)
        if direction == "backward":
            # Ports at the far ends: the mirrored array driven from its rows is the same circuit.
            volts = volts[:, ::-1]
        watts = -float(np.sum(circuit.solve(volts).wordline_currents * volts))
        expected = 2e-6 * watts + 3e-13 * float(np.sum(volts**2))
        np.testing.assert_allclose(ledger.joules - before, [[0, expected, 0, 0]], rtol=1e-6)
        assert ledger.seconds[0, 1] == pytest.approx(5 * 2e-6)
        assert ledger.elapsed_seconds[1] == pytest.approx(5 * 2e-6)


def test_writing_and_reading_cells_are_booked() -> None:
    limits = LimitsConfig(write_volts=1.5)
    with crossbar(update={"law": "constant", "step": 1e-6}, operation=OPERATION, limits=limits) as device:
        cells = device.read_cells()
        ledger = device.ledger
        assert ledger is not None
        assert ledger.joules[0, 1] == pytest.approx(2e-6 * 0.1**2 * cells.sum())
        assert ledger.elapsed_seconds[1] == pytest.approx(4 * 2e-6)
        counts = np.random.default_rng(3).integers(-5, 6, device.shape)
        device.write_cells(WriteRequest("", pulses=counts))
        expected = 2e-7 * 1.2**2 * float(np.sum(np.abs(counts) * cells))
        assert ledger.joules[0, 2] == pytest.approx(expected, rel=1e-4)
        assert ledger.elapsed_seconds[2] == pytest.approx(2e-7 * np.abs(counts).sum())
        assert ledger.pulses == {"cells": int(np.abs(counts).sum())}


def test_retention_goes_by_the_arrays_own_clock() -> None:
    retention = {"law": "power_law", "exponent": 0.1, "reference_seconds": 1e-3}
    operation = OperationConfig(pulse_seconds=0.0, reading_seconds=0.0)
    with crossbar(update={"law": "ideal", "retention": retention}, operation=operation) as device:
        cells = programmed(device)
        device.wait(10.0)
        np.testing.assert_allclose(device.read(0.1 * np.eye(4)) / 0.1, cells * 1e4**-0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"noise": NoiseConfig.model_validate({"mains": {"volts": 1e-3}})}, "noise.mains"),
        ({"noise": NoiseConfig.model_validate({"reading_flicker": {"white_volts_per_root_hertz": 1e-8}})}, "flicker"),
        ({"line_farads": -1e-15}, "line_farads"),
        ({"read_noise_amperes": "1e-9"}, "read_noise_amperes"),
        ({"operation": OperationConfig(pulse_volts=5.0)}, "pulse_volts"),
    ],
)
def test_what_a_crossbar_does_not_have_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        crossbar(**sections)


@pytest.mark.parametrize("shape", [4, (4,), (0, 4), (2.5, 3)])
def test_shapes_are_two_counts_of_lines(shape: Any) -> None:
    with pytest.raises(InputError, match="shape"):
        EmulatedCrossbar(shape, np.random.default_rng(0))


def test_time_does_not_run_backwards_or_while_closed() -> None:
    device = crossbar()
    with pytest.raises(InputError, match="not open"):
        device.wait(1.0)
    with device, pytest.raises(InputError, match="seconds"):
        device.wait(-1.0)
