"""Arrays as networks use them: what their ports see, when that is computed anew, and what a snapshot holds."""

from typing import Any

import numpy as np
import pytest

from emulators.arrays import DifferentialArray
from emulators.config import CellsConfig, TilesConfig, WiresConfig
from emulators.crossbar import Crossbar
from emulators.memristors.updates import update_from_config
from substrate.capabilities import WriteRequest
from substrate.contract import Direction
from substrate.errors import CapabilityError

UNIT = 2.5e-5
WIRES = WiresConfig(segment_ohms=5.0, source_ohms=30.0, sense_ohms=10.0)
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")
SINH = {"law": "sinh", "alpha": 3.0}


def array(
    wires: WiresConfig | None = None,
    cells: dict[str, Any] | None = None,
    update: dict[str, Any] | None = None,
    shape: tuple[int, int] = (5, 4),
    polarities: int = 2,
    tiles: TilesConfig | None = None,
) -> DifferentialArray:
    law = update_from_config(update or {"law": "ideal"})
    section = CellsConfig.model_validate({"window_siemens": [0.0, 1e-4], **(cells or {})})
    return DifferentialArray(shape, section, wires or WiresConfig(), law, np.random.default_rng(0), polarities, tiles)


def random_cells(target: DifferentialArray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1e-6, 1e-4, target.conductances.shape)


def write(target: DifferentialArray, siemens: np.ndarray) -> None:
    target.write(WriteRequest("any", target_siemens=siemens))


@pytest.mark.parametrize("polarities", [1, 2])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_weights_are_what_crossbars_conduct_between_their_ports(polarities: int, direction: Direction) -> None:
    target = array(WIRES, polarities=polarities)
    cells = random_cells(target)
    write(target, cells)
    volts = np.eye(5 if direction == "forward" else 4)
    reads = [Crossbar(one, 5, 5, 30, 10).read(volts, direction) for one in cells]
    expected = (reads[0] - reads[1] if polarities == 2 else reads[0]) / UNIT
    np.testing.assert_allclose(target.weights(direction), expected, rtol=0, atol=1e-8)
    amperes = target.read(volts, direction).amperes
    np.testing.assert_allclose(amperes / UNIT, expected, rtol=0, atol=1e-8)


def test_ideal_wires_give_the_difference_of_conductances() -> None:
    target = array()
    cells = random_cells(target)
    write(target, cells)
    np.testing.assert_allclose(target.weights(), (cells[0] - cells[1]) / UNIT, atol=1e-12)
    np.testing.assert_allclose(target.weights("backward"), ((cells[0] - cells[1]) / UNIT).T, atol=1e-12)
    assert target.ideal_wires
    assert not array(WIRES).ideal_wires


def test_a_series_resistance_of_ohmic_cells_stays_a_matrix() -> None:
    target = array(WIRES, {"law": "series_resistance", "series_ohms": 2e4})
    cells = random_cells(target)
    write(target, cells)
    assert target.is_matrix()
    seen = array(WIRES)
    write(seen, cells / (1 + 2e4 * cells))
    np.testing.assert_allclose(target.weights(), seen.weights(), atol=1e-8)


def test_curved_cells_have_no_weights() -> None:
    for wires in (WiresConfig(), WIRES):
        target = array(wires, SINH)
        assert not target.is_matrix()
        with pytest.raises(CapabilityError, match="SinhCell"):
            target.weights()


@pytest.mark.parametrize("cells", [{"law": "ohmic"}, SINH], ids=["ohmic", "sinh"])
@pytest.mark.parametrize("tiles", [None, TilesConfig(rows=2, columns=2)], ids=["whole", "tiles"])
def test_lines_without_a_closed_cell_carry_nothing(cells: dict[str, Any], tiles: TilesConfig | None) -> None:
    target = array(WIRES, cells, tiles=tiles)
    siemens = random_cells(target)
    siemens[:, 2:4] = 0.0
    siemens[:, :, 1] = 0.0
    siemens[1, :, 3] = 0.0
    write(target, siemens)
    volts = np.random.default_rng(1).uniform(-0.2, 0.2, (3, 5))
    amperes = target.read(volts).amperes
    assert np.abs(amperes[:, 1]).max() < 1e-20
    volts[:, 2:4] += 0.1
    np.testing.assert_allclose(target.read(volts).amperes, amperes, rtol=0, atol=1e-9 * np.abs(amperes).max())


def test_port_admittance_of_tiles_is_that_of_their_joined_lines() -> None:
    whole, tiled = (array(polarities=1, tiles=tiles) for tiles in (None, TilesConfig(rows=2, columns=3)))
    for target in (whole, tiled):
        write(target, random_cells(target))
    np.testing.assert_allclose(tiled.port_admittance(), whole.port_admittance(), rtol=0, atol=1e-13)
    wired = array(WIRES, polarities=1, tiles=TilesConfig(rows=2, columns=3))
    write(wired, random_cells(wired))
    admittance = wired.port_admittance()
    # Equal voltages everywhere drive no current, and a circuit of resistances is symmetric and takes power.
    np.testing.assert_allclose(admittance.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(admittance, admittance.T, atol=1e-16)
    assert np.linalg.eigvalsh(admittance).min() > -1e-12


@pytest.mark.parametrize(("refresh", "due"), [("every_write", 1), (3, 3), (0.05, 6)])
def test_the_circuit_follows_the_cells_as_refresh_says(refresh: Any, due: int) -> None:
    target = array(WiresConfig(segment_ohms=1.0, refresh=refresh))
    cells = random_cells(target)
    write(target, cells)
    for _ in range(3):
        write(target, cells)  # whatever was counted before, the circuit has seen these
    start = array(WiresConfig(segment_ohms=1.0, refresh=refresh))
    start.restore(target.snapshot() | {"writes_since_refresh": 0, "seen_siemens": cells})
    before = start.weights().copy()
    # Each write moves the cells by 0.99 % of where they began.
    for count in range(1, due + 1):
        np.testing.assert_array_equal(start.weights(), before)
        write(start, np.minimum(cells * (1 - 0.0099 * count), 1e-4))
    assert np.abs(start.weights() - before).max() > 0


def test_snapshots_bring_back_cells_circuit_and_generator() -> None:
    noisy = {"law": "constant", "step": 0.02, "cycle_spread": 0.5}
    target = array(WIRES, update=noisy)
    counts = np.random.default_rng(1).integers(-5, 6, (2, 5, 4))
    target.write(WriteRequest("any", pulses=counts))
    saved, weights = target.snapshot(), target.weights().copy()
    target.write(WriteRequest("any", pulses=counts))
    then = target.weights().copy()
    assert np.abs(then - weights).max() > 0
    target.restore(saved)
    np.testing.assert_array_equal(target.weights(), weights)
    target.write(WriteRequest("any", pulses=counts))
    np.testing.assert_array_equal(target.weights(), then)


@pytest.mark.parametrize("refresh", [2.5, 1.0001, 0, -1, "often"])
def test_a_refresh_is_a_whole_number_of_writes_or_a_tolerance(refresh: object) -> None:
    with pytest.raises(ValueError, match="refresh"):
        WiresConfig.model_validate({"refresh": refresh})
    assert WiresConfig.model_validate({"refresh": 7}).refresh == 7
