"""Where the iterations stall, the factorisation that takes over finds the same states."""

from typing import Any

import numpy as np
import pytest
from test_crossbar import random_array, relative

from emulators.crossbar import Crossbar
from emulators.crossbar_lines import Lines
from emulators.memristors.ohmic import OhmicCell
from emulators.memristors.sinh import SinhCell
from emulators.nodal.direct import solve_direct
from emulators.nodal.terminals import Terminals
from substrate.errors import ConvergenceError

G = random_array(3, 21, 17)
VOLTS = np.random.default_rng(4).uniform(-0.2, 0.2, (3, 21))


def pair(rw: float, rb: float, **options: Any) -> tuple[Crossbar, Crossbar]:
    """An array as it is, and one whose iterations are cut short."""
    whole, short = (Crossbar(G, rw, rb, 10.0, 20.0, max_iterations=count, **options) for count in (5000, 1))
    return whole, short


@pytest.mark.parametrize(("rw", "rb"), [(50.0, 50.0), (1e6, 1e6), (1e6, 30.0)])
def test_both_ways_find_the_same_state(rw: float, rb: float) -> None:
    whole, short = pair(rw, rb)
    expected, found = whole.solve(VOLTS), short.solve(VOLTS)
    assert found.residual.max() < 3e-10
    for name in ("wordline_voltages", "bitline_voltages", "wordline_currents", "bitline_currents", "cell_currents"):
        assert relative(getattr(found, name), getattr(expected, name)) < 1e-8, name
    for direction in ("forward", "backward"):
        ask: Any = direction
        assert relative(short.effective_conductances(ask), whole.effective_conductances(ask)) < 1e-8
    assert relative(short.port_admittance(), whole.port_admittance()) < 1e-8
    lines = Lines(("driven", *["floating"] * 19, "grounded"), ("sensed", *["floating"] * 16))
    assert relative(short.solve([1.0], lines).bitline_currents, whole.solve([1.0], lines).bitline_currents) < 1e-8


@pytest.mark.parametrize("volts", [0.5, 5.0, 20.0])
def test_newton_goes_on_where_its_iterations_stall(volts: float) -> None:
    """Also at voltages where cells differ by many decades."""
    whole, short = pair(1e6, 1e6, cell=SinhCell(3.0))
    drive = VOLTS * volts / 0.2
    assert relative(short.read(drive), whole.read(drive)) < 1e-8


def test_kirchhoffs_laws_hold_at_every_node() -> None:
    terminals, _ = Terminals.of_read((21, 17), True, VOLTS, 1e6, 2e6, 10.0, 20.0)
    source = 1e-9 * np.random.default_rng(5).standard_normal((3, 21, 17))
    word, bit, residual = solve_direct(G, source, terminals)
    assert residual.max() < 1e-10
    cells = G * (word - bit) + source
    along = np.diff(np.concatenate([terminals.row_volts[:, :, None], word], axis=2), axis=2)
    along /= -np.concatenate([terminals.row_port[:, None], np.full((21, 16), 1e6)], axis=1)
    left = along - np.concatenate([along[:, :, 1:], np.zeros((3, 21, 1))], axis=2) - cells
    assert np.abs(left).max() < 1e-9 * np.abs(cells).max()


def test_larger_arrays_of_a_megohm_a_segment_converge() -> None:
    """More nodes than the iterations allowed reach: the port currents obey Kirchhoff's law in total."""
    g = random_array(6, 48, 48)
    array = Crossbar(g, 1e7, 1e7, max_iterations=100)
    solution = array.solve(np.linspace(0.1, 0.2, 48))
    assert solution.iterations.max() == 100
    currents = solution.wordline_currents.sum() + solution.bitline_currents.sum()
    assert abs(currents) < 1e-8 * np.abs(solution.wordline_currents).sum()


def test_segments_of_no_resistance_are_left_to_the_iterations() -> None:
    array = Crossbar(random_array(7, 30, 30), 0.0, 1e4, cell=OhmicCell(), max_iterations=1, tolerance=1e-14)
    with pytest.raises(ConvergenceError, match="residual"):
        array.solve([1.0], Lines(("driven", *["floating"] * 29), ("sensed", *["floating"] * 29)))
