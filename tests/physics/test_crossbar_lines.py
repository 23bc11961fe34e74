"""Line states and bias schemes; the port admittance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_crossbar import random_array, relative

from emulators.crossbar import Crossbar
from emulators.crossbar_lines import STATES, Lines, select_cell
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.memristors.sinh import SinhCell
from substrate.errors import InputError


def test_forward_and_backward_are_line_states() -> None:
    array = Crossbar(random_array(0, 6, 9), 2.0, 3.0, 40.0, 5.0)
    rng = np.random.default_rng(1)
    v, u = rng.uniform(0, 0.2, (2, 6)), rng.uniform(0, 0.2, (2, 9))
    np.testing.assert_array_equal(array.solve(v, Lines.forward(6, 9)).bitline_currents, array.read(v))
    np.testing.assert_array_equal(array.solve(u, Lines.backward(6, 9)).wordline_currents, array.read(u, "backward"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_any_mixture_of_states_conserves_current_and_power(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, cols = (int(k) for k in rng.integers(2, 8, 2))
    states = [STATES[k] for k in rng.integers(0, 4, rows + cols)]
    states[0] = "driven"
    lines = Lines(tuple(states[:rows]), tuple(states[rows:]))
    volts = rng.normal(size=states.count("driven"))
    ohms = rng.uniform(0, 100, 4) * (rng.random(4) > 0.25)
    array = Crossbar(random_array(seed, rows, cols), *ohms, tolerance=1e-12)
    s = array.solve(volts, lines)
    scale = np.abs(volts).max() * array.conductances.max()
    assert np.abs(s.cell_currents.sum(axis=0) - s.bitline_currents).max() < 1e-8 * scale
    assert np.abs(s.cell_currents.sum(axis=1) + s.wordline_currents).max() < 1e-8 * scale
    ports = np.concatenate([s.wordline_currents, s.bitline_currents])
    driven = np.array([state == "driven" for state in states])
    floating = np.array([state == "floating" for state in states])
    assert abs(ports.sum()) < 1e-8 * scale
    np.testing.assert_array_equal(ports[floating], 0.0)
    delivered = -(ports[driven] @ volts)
    assert delivered >= (s.cell_currents * s.cell_voltages).sum() - 1e-9 * scale * np.abs(volts).max()


def test_single_cell_read_is_the_cell_only_with_the_others_grounded() -> None:
    g = random_array(2, 8, 8)
    array = Crossbar(g, 1e-6, 1e-6)
    apparent = {}
    for scheme in ("grounded", "floating", "half", "third"):
        bias = select_cell(8, 8, 3, 5, 0.2, scheme)
        apparent[scheme] = array.solve(bias.voltages, bias.lines).bitline_currents[5] / 0.2
    assert apparent["grounded"] == pytest.approx(g[3, 5], rel=1e-5)
    assert apparent["floating"] > 1.2 * g[3, 5]  # the sneak paths of the whole array
    others = g[:, 5].sum() - g[3, 5]
    assert apparent["half"] == pytest.approx(g[3, 5] + others / 2, rel=1e-5)
    assert apparent["third"] == pytest.approx(g[3, 5] + others / 3, rel=1e-5)


def test_floating_read_is_the_networks_two_terminal_conductance() -> None:
    """Ideal wires: the array is a bipartite graph of its lines; its Laplacian gives the sneak-path conductance."""
    g = random_array(3, 6, 5)
    laplacian = np.block([[np.diag(g.sum(axis=1)), -g], [-g.T, np.diag(g.sum(axis=0))]])
    inverse = np.linalg.pinv(laplacian)
    terminals = np.zeros(11)
    terminals[2], terminals[6 + 4] = 1, -1
    expected = 1 / (terminals @ inverse @ terminals)
    bias = select_cell(6, 5, 2, 4, 1.0, "floating")
    assert Crossbar(g, 0.0, 0.0).solve(bias.voltages, bias.lines).bitline_currents[4] == pytest.approx(
        expected, rel=1e-9
    )


@pytest.mark.parametrize(("scheme", "disturb"), [("half", {0.0, 0.5}), ("third", {1 / 3})])
def test_unselected_cells_see_the_schemes_share(scheme: str, disturb: set[float]) -> None:
    bias = select_cell(5, 6, 1, 2, 1.0, scheme)
    s = Crossbar(random_array(4, 5, 6), 0.0, 0.0).solve(bias.voltages, bias.lines)
    seen = np.abs(s.cell_voltages)
    assert seen[1, 2] == pytest.approx(1.0)
    seen[1, 2] = np.nan
    others = seen[~np.isnan(seen)]
    assert all(min(abs(v - share) for share in disturb) < 1e-9 for v in others)


def test_curved_cells_with_floating_lines() -> None:
    array = Crossbar(random_array(5, 7, 6), 5.0, 5.0, 10.0, 10.0, cell=SinhCell(4.0))
    bias = select_cell(7, 6, 0, 0, 1.0, "floating")
    s = array.solve(bias.voltages, bias.lines)
    expected = np.zeros(6)
    expected[0] = -s.wordline_currents[0]
    assert np.abs(s.cell_currents.sum(axis=0) - expected).max() < 1e-8 * expected[0]


@pytest.mark.parametrize("ohms", [0.0, 1e-3, 30.0])
def test_port_admittance_predicts_every_other_arrangement(ohms: float) -> None:
    g = random_array(6, 5, 7)
    source, sense = 20.0, 300.0
    array = Crossbar(g, ohms, 2 * ohms, source, sense, tolerance=1e-12)
    y = array.port_admittance()
    np.testing.assert_array_equal(y, y.T)
    np.testing.assert_allclose(y.sum(axis=0), 0.0, atol=1e-9 * g.max())  # no ground inside the array
    assert np.linalg.eigvalsh(y).min() > -1e-12 * g.max()
    ends = np.diag(np.concatenate([np.full(5, source), np.full(7, sense)]))
    transfer = np.linalg.solve(np.eye(12) + y @ ends, y)
    assert relative(-transfer[:5, 5:], array.effective_conductances()) < 1e-9


def test_a_floating_line_needs_a_path() -> None:
    g = random_array(7, 3, 3)
    g[:, 2] = 0.0
    g[2, 2] = 1e-5
    g[2, :2] = 0.0  # word line 2 and bit line 2 hold on to each other alone
    array = Crossbar(g, 1.0, 1.0)
    array.read(np.ones(3))
    lines = Lines(("driven", "driven", "floating"), ("sensed", "sensed", "floating"))
    with pytest.raises(InputError, match="word line 2 is floating"):
        array.solve([1.0, 1.0], lines)
    with pytest.raises(InputError, match="floating"):
        array.solve(np.zeros(0), Lines(("floating",) * 3, ("floating",) * 3))


def test_bad_lines_are_named() -> None:
    array = Crossbar(random_array(8, 3, 2))
    with pytest.raises(InputError, match=r"word_lines\[1\]"):
        Lines(("driven", "earthed"), ("sensed",))
    with pytest.raises(InputError, match="states"):
        array.solve([1.0], Lines(("driven",), ("sensed",)))
    with pytest.raises(InputError, match=r"\(3,\)"):
        array.solve([1.0, 2.0])
    with pytest.raises(InputError, match="row"):
        select_cell(3, 2, 3, 0, 1.0)
    with pytest.raises(InputError, match="unselected"):
        select_cell(3, 2, 1, 0, 1.0, "quarter")
    with pytest.raises(InputError, match="start"):
        array.solve(np.ones((2, 3)), start=array.solve(np.ones(3)))
    with pytest.raises(InputError, match="start"):
        array.solve(np.ones(3), start=Crossbar(random_array(9, 2, 3)).solve(np.ones(2)))


@pytest.mark.parametrize("cell", [OhmicCell(), SinhCell(3.0)], ids=str)
def test_ports_at_one_voltage_carry_nothing(cell: CellLaw) -> None:
    g = random_array(9, 6, 5)
    s = Crossbar(g, 2.0, 3.0, 4.0, 5.0, cell=cell).solve(np.full(11, 0.3), Lines.all_driven(6, 5))
    assert np.abs(np.concatenate([s.wordline_currents, s.bitline_currents])).max() < 1e-14 * g.max()
    np.testing.assert_allclose(s.bitline_voltages, 0.3, rtol=1e-12)
    alone = Lines(("driven", *("floating",) * 5), ("floating",) * 5)
    np.testing.assert_allclose(Crossbar(g, 2.0, 3.0, cell=cell).solve([0.3], alone).bitline_voltages, 0.3, rtol=1e-8)


@pytest.mark.parametrize("cell", [OhmicCell(), SinhCell(3.0)], ids=str)
def test_no_input_and_no_voltage_are_fine(cell: CellLaw) -> None:
    array = Crossbar(random_array(10, 4, 3), cell=cell)
    assert array.read(np.zeros((0, 4))).shape == (0, 3)
    assert array.solve(np.zeros((0, 4))).cell_currents.shape == (0, 4, 3)
    np.testing.assert_array_equal(array.read(np.zeros(4)), 0.0)
