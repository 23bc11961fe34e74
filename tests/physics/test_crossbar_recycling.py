"""Solves that start from an earlier one: as right as any, whatever has changed, and shorter where little has."""

import numpy as np
import pytest

from emulators import Crossbar, SinhCell


def array(seed: int, rows: int, cols: int, **keys: float) -> tuple[Crossbar, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    cells = np.exp(rng.uniform(np.log(1e-6), np.log(1e-4), (rows, cols)))
    return Crossbar(cells, wordline_resistance=1.0, bitline_resistance=1.0, **keys), cells, rng


def worst(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))


# 37 x 50: neither is divisible by the cells that are kept as one.
@pytest.mark.parametrize(("rows", "cols"), [(64, 64), (37, 50), (3, 5), (1, 9)])
@pytest.mark.parametrize("change", [0.0, 1e-6, 1e-3, 0.05, 0.5, 10.0])
def test_a_start_changes_nothing_but_the_work(rows: int, cols: int, change: float) -> None:
    crossbar, cells, rng = array(0, rows, cols)
    volts = rng.uniform(0, 0.2, (4, rows))
    first = crossbar.solve(volts)
    moved = cells * np.exp(change * rng.uniform(-1, 1, cells.shape))
    crossbar.program(moved)
    warm = crossbar.solve(volts, start=first)
    cold = Crossbar(moved, wordline_resistance=1.0, bitline_resistance=1.0).solve(volts)
    assert worst(warm.bitline_currents, cold.bitline_currents) < 1e-8
    assert np.all(warm.residual <= crossbar.tolerance)


def test_a_chain_of_starts_stays_right_while_its_directions_age() -> None:
    crossbar, cells, rng = array(1, 48, 48)
    volts = rng.uniform(0, 0.2, (2, 48))
    state = crossbar.solve(volts)
    for _ in range(60):
        cells = cells * np.exp(0.02 * rng.standard_normal(cells.shape))
        crossbar.program(cells)
        state = crossbar.solve(volts, start=state)
    cold = Crossbar(cells, wordline_resistance=1.0, bitline_resistance=1.0).solve(volts)
    assert worst(state.bitline_currents, cold.bitline_currents) < 1e-8


def test_a_start_of_other_voltages_is_but_a_start() -> None:
    crossbar, cells, rng = array(2, 40, 40)
    first = crossbar.solve(rng.uniform(0, 0.2, (3, 40)))
    crossbar.program(cells * (1 + 1e-3 * rng.standard_normal(cells.shape)))
    volts = rng.uniform(-0.2, 0.2, (3, 40))
    assert worst(crossbar.solve(volts, start=first).bitline_currents, crossbar.solve(volts).bitline_currents) < 1e-8


def test_small_changes_take_fewer_iterations() -> None:
    crossbar, cells, rng = array(3, 256, 256)
    volts = rng.uniform(0, 0.2, (2, 256))
    first = crossbar.solve(volts)
    crossbar.program(cells * (1 + 1e-3 * rng.uniform(-1, 1, cells.shape)))
    assert crossbar.solve(volts, start=first).iterations.max() <= crossbar.solve(volts).iterations.min() - 2


def test_curved_cells_start_anywhere_too() -> None:
    rng = np.random.default_rng(4)
    cells = np.exp(rng.uniform(np.log(1e-6), np.log(1e-4), (24, 24)))
    crossbar = Crossbar(cells, wordline_resistance=1.0, bitline_resistance=1.0, cell=SinhCell(alpha=3.0))
    volts = rng.uniform(0, 0.5, (2, 24))
    first = crossbar.solve(volts)
    moved = cells * (1 + 1e-2 * rng.uniform(-1, 1, cells.shape))
    crossbar.program(moved)
    warm = crossbar.solve(volts, start=first)
    cold = Crossbar(moved, wordline_resistance=1.0, bitline_resistance=1.0, cell=SinhCell(alpha=3.0)).solve(volts)
    assert worst(warm.bitline_currents, cold.bitline_currents) < 1e-8


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize(("rows", "cols", "ohms"), [(40, 40, 1.0), (100, 60, 1.0), (17, 90, 5.0), (5, 6, 0.01)])
def test_no_state_is_further_from_the_solution_than_its_residual_says(
    rows: int, cols: int, ohms: float, tolerance: float
) -> None:
    """In the energy norm of all nodes, relative to the power in the cells."""
    rng = np.random.default_rng(4)
    cells = np.exp(rng.uniform(np.log(1e-6), np.log(1e-4), (rows, cols)))
    moved = cells * (1 + 0.01 * rng.uniform(-1, 1, cells.shape))
    volts = rng.uniform(0, 0.2, (3, rows))
    start = Crossbar(cells, ohms, ohms, tolerance=tolerance).solve(volts)
    found = Crossbar(moved, ohms, ohms, tolerance=tolerance).solve(volts, start=start)
    exact = Crossbar(moved, ohms, ohms, tolerance=1e-13).solve(volts)

    def power(word: np.ndarray, bit: np.ndarray) -> np.ndarray:
        wires = np.diff(word, axis=2, prepend=0.0) ** 2 / ohms, np.diff(bit, axis=1, append=0.0) ** 2 / ohms
        return sum((part.sum(axis=(1, 2)) for part in wires), (moved * (word - bit) ** 2).sum(axis=(1, 2)))

    error = power(found.wordline_voltages - exact.wordline_voltages, found.bitline_voltages - exact.bitline_voltages)
    drop = exact.wordline_voltages - exact.bitline_voltages
    relative = np.sqrt(error / (moved * drop**2).sum(axis=(1, 2)))
    assert np.all(relative <= found.residual + 1e-11)
    assert np.all(found.residual <= tolerance)
