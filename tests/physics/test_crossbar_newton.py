"""Arrays of curved cells: Newton's method, its convergence from anywhere, its quadratic tail, its limits."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_crossbar import random_array, relative

from emulators.crossbar import Crossbar
from emulators.crossbar_lines import Lines
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.rectifying import RectifyingCell
from emulators.memristors.sinh import SinhCell
from emulators.memristors.transistor import SeriesResistanceCell, TransistorCell
from emulators.nodal.newton import solve_newton
from emulators.nodal.terminals import Terminals
from substrate.errors import CapabilityError, ConvergenceError

LAWS: list[CellLaw] = [
    SinhCell(3.0),
    RectifyingCell(6.0, 1.0),
    SeriesResistanceCell(1e4, SinhCell(4.0)),
    TransistorCell(0.3, 1e-4, 0.0, SinhCell(3.0)),
]
laws = pytest.mark.parametrize("law", LAWS, ids=str)


def check_curved_circuit(array: Crossbar, volts: np.ndarray) -> None:
    """Cell currents by the law itself must obey Kirchhoff's current law; the wires Ohm's."""
    s = array.solve(volts)
    current = s.cell_currents
    scale = np.abs(current).max()
    assert np.abs(current.sum(axis=-2) - s.bitline_currents).max() < 1e-7 * scale
    assert np.abs(current.sum(axis=-1) + s.wordline_currents).max() < 1e-7 * scale
    along_bit = current.cumsum(axis=-2)
    drop = s.bitline_voltages[..., :-1, :] - s.bitline_voltages[..., 1:, :]
    assert np.abs(drop - array.bitline_resistance * along_bit[..., :-1, :]).max() < 1e-7 * np.abs(volts).max()
    along_word = current[..., ::-1].cumsum(axis=-1)[..., ::-1]
    drop = s.wordline_voltages[..., :-1] - s.wordline_voltages[..., 1:]
    assert np.abs(drop - array.wordline_resistance * along_word[..., 1:]).max() < 1e-7 * np.abs(volts).max()


@laws
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 3.0), st.sampled_from([0.0, 1.0, 50.0, 2000.0]))
def test_state_obeys_the_circuits_laws(law: CellLaw, seed: int, volts: float, ohms: float) -> None:
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(2, 9, 2)
    array = Crossbar(random_array(seed, rows, cols, high=1e-3), ohms, ohms / 2, ohms, 3 * ohms, cell=law)
    check_curved_circuit(array, rng.uniform(-volts, volts, (3, rows)))


@pytest.mark.parametrize("law", [SinhCell(20.0), RectifyingCell(30.0, 0.0)], ids=str)
def test_converges_from_rest_under_absurd_drive(law: CellLaw) -> None:
    """5 V across exponents of 20 and 30 per volt: cell currents span many decades, full steps would overflow."""
    array = Crossbar(random_array(1, 12, 10), 20.0, 20.0, cell=law)
    volts = np.random.default_rng(2).uniform(-5, 5, (2, 12))
    s = array.solve(volts)
    assert np.all(s.residual <= array.tolerance)
    assert np.all(np.abs(s.cell_voltages) <= 10.0)  # no voltage beyond what the sources span
    check_curved_circuit(array, volts)


def test_quadratic_tail() -> None:
    """Each step squares what is left: residual_{k+1} / residual_k^2 is bounded over many decades."""
    g = random_array(3, 24, 24)
    volts = np.random.default_rng(4).uniform(0.3, 0.8, (1, 24))
    terminals, _ = Terminals.of((24, 24), Lines.forward(24, 24), volts, 20.0, 20.0, 0.0, 0.0)
    left = np.array(
        [
            solve_newton(
                SinhCell(5.0),
                g,
                terminals,
                None,
                tolerance=1e-13,
                max_iterations=500,
                max_steps=k,
                threads=1,
                keep=False,
            ).residual[0]
            for k in range(1, 7)
        ]
    )
    tail = left[(left < 0.1) & (left > 1e-13)]
    assert tail.size >= 3
    assert tail[-1] < 1e-7
    assert np.all(tail[1:] < 3 * tail[:-1] ** 2)


@laws
def test_small_voltages_see_the_slope_at_rest(law: CellLaw) -> None:
    g = random_array(5, 10, 8)
    volts = np.random.default_rng(6).uniform(0.2, 1.0, 10)
    linear = Crossbar(law.slope(0.0, g), 5.0, 5.0).read(volts)
    errors = [relative(Crossbar(g, 5.0, 5.0, cell=law).read(s * volts) / s, linear) for s in (1e-2, 1e-3, 1e-4)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3


@laws
def test_ideal_wires_give_the_sum_of_the_cells_own_currents(law: CellLaw) -> None:
    g = random_array(7, 9, 6)
    volts = np.random.default_rng(8).uniform(-0.5, 0.5, (3, 9))
    expected = law.current(volts[:, :, None], g).sum(axis=1)
    assert relative(Crossbar(g, 0.0, 0.0, cell=law).read(volts), expected) < 1e-9


def test_a_mild_law_is_the_ohmic_array() -> None:
    g = random_array(9, 12, 15)
    volts = np.random.default_rng(10).uniform(-0.2, 0.2, (4, 12))
    for direction, v in (("forward", volts), ("backward", volts[:, :1] * np.ones(15))):
        ohmic = Crossbar(g, 3.0, 2.0, 40.0, 9.0).read(v, direction)
        assert relative(Crossbar(g, 3.0, 2.0, 40.0, 9.0, cell=SinhCell(1e-4)).read(v, direction), ohmic) < 1e-8


def test_series_resistance_of_ohmic_cells_is_linear() -> None:
    g = random_array(11, 7, 6)
    array = Crossbar(g, 2.0, 1.0, cell=SeriesResistanceCell(4e3))
    same = Crossbar(g / (1 + 4e3 * g), 2.0, 1.0)
    np.testing.assert_allclose(array.effective_conductances(), same.effective_conductances(), rtol=1e-13)
    np.testing.assert_allclose(array.port_admittance(), same.port_admittance(), rtol=1e-9, atol=1e-18)
    check_curved_circuit(array, np.full(7, 0.2))


def test_asymmetric_cells_read_differently_in_the_two_directions() -> None:
    g = random_array(12, 6, 6)
    array = Crossbar(g, 0.0, 0.0, cell=RectifyingCell(6.0, 1.0))
    forward = array.read(0.3 * np.eye(6))
    backward = array.read(0.3 * np.eye(6), "backward")
    assert relative(backward.T, forward) > 0.3


def test_batches_are_the_single_solutions() -> None:
    g = random_array(13, 20, 18)
    volts = np.random.default_rng(14).uniform(-0.6, 0.6, (7, 20))
    array = Crossbar(g, 10.0, 10.0, cell=SinhCell(4.0), tolerance=1e-11)
    alone = np.array([array.read(v) for v in volts])
    assert relative(array.read(volts), alone) < 1e-10
    assert relative(Crossbar(g, 10.0, 10.0, cell=SinhCell(4.0), tolerance=1e-11, threads=2).read(volts), alone) < 1e-10


def test_a_start_nearby_saves_steps() -> None:
    g = random_array(15, 30, 30)
    volts = np.random.default_rng(16).uniform(0, 0.5, 30)
    array = Crossbar(g, 1.0, 1.0, cell=SinhCell(3.0))
    first = array.solve(volts)
    array.program(g * 1.001)
    again = array.solve(volts, start=first)
    assert again.newton_steps < first.newton_steps
    assert relative(again.bitline_currents, array.read(volts)) < 1e-9


def test_no_numbers_without_convergence(monkeypatch: pytest.MonkeyPatch) -> None:
    g = random_array(17, 45, 45, high=1e-3)

    def singular(cells: Any, source: Any, terminals: Terminals) -> Any:
        nothing = np.full((terminals.batch, *cells.shape), np.nan)
        return nothing, nothing, np.full(terminals.batch, np.nan)

    monkeypatch.setattr("emulators.nodal.direct.solve_direct", singular)
    with pytest.raises(ConvergenceError, match="residual"):
        Crossbar(g, 50.0, 50.0, max_iterations=1).read(np.ones(45))
    with pytest.raises(ConvergenceError, match="residual"):
        Crossbar(g, 50.0, 50.0, max_iterations=1).effective_conductances()
    monkeypatch.setattr("emulators.crossbar.MAX_NEWTON_STEPS", 2)
    with pytest.raises(ConvergenceError, match="residual"):
        Crossbar(g, 50.0, 50.0, cell=SinhCell(5.0)).read(np.ones(45))


@pytest.mark.parametrize("volts", [240.0, 500.0, 1e4, -500.0, -1e4])
@pytest.mark.parametrize(
    "law", [SinhCell(3.0), RectifyingCell(4.0, 1.0), SeriesResistanceCell(100.0, SinhCell(3.0))], ids=str
)
def test_overflowing_currents_are_no_solution(law: CellLaw, volts: float) -> None:
    """Where the first full step's currents overflow, a state is either found all the same or there is none."""
    array = Crossbar(np.full((4, 3), 1e-5), 1.0, 1.0, cell=law)
    try:
        s = array.solve(np.full(4, volts))
    except ConvergenceError:
        return
    current = law.current(s.cell_voltages, array.conductances)
    assert np.abs(current.sum(axis=0) - s.bitline_currents).max() < 1e-7 * np.abs(current).max()
    assert np.abs(current.sum(axis=1) + s.wordline_currents).max() < 1e-7 * np.abs(current).max()


def test_overflowing_currents_without_wires_are_no_numbers() -> None:
    with pytest.raises(ConvergenceError, match="residual inf"):
        Crossbar(np.full((4, 3), 1e-5), 0.0, 0.0, cell=SinhCell(3.0)).read(np.full(4, 500.0))


def test_curved_cells_have_no_effective_matrix() -> None:
    array = Crossbar(np.full((2, 2), 1e-5), cell=SinhCell(3.0))
    for ask in (array.effective_conductances, array.port_admittance):
        with pytest.raises(CapabilityError, match="SinhCell"):
            ask()
