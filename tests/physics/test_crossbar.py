"""Ohmic crossbars: conservation, reciprocity, limits, the effective matrix, bad input."""

import subprocess
import sys
import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.crossbar import Crossbar
from emulators.memristors.sinh import SinhCell
from substrate.errors import InputError


def random_array(seed: int, rows: int, cols: int, low: float = 1e-6, high: float = 1e-4) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).uniform(np.log(low), np.log(high), (rows, cols)))


resistances = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
arrays = st.builds(
    lambda seed, rows, cols, rw, rb, rs, rn: Crossbar(random_array(seed, rows, cols), rw, rb, rs, rn, tolerance=1e-12),
    st.integers(0, 10**6),
    st.integers(1, 9),
    st.integers(1, 9),
    resistances,
    resistances,
    resistances,
    resistances,
)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def check_circuit_laws(array: Crossbar, volts: np.ndarray) -> None:
    """Kirchhoff's current law defines the segment currents; Ohm's law must then hold on every segment."""
    s = array.solve(volts)
    scale = np.abs(volts).max()
    rows, cols = array.shape
    along_word = s.cell_currents[:, ::-1].cumsum(axis=1)[:, ::-1]  # current in the segment that ends at (i, j)
    ports = np.full(rows, array.wordline_resistance + array.source_resistance)
    drop = np.column_stack([ports * along_word[:, 0], array.wordline_resistance * along_word[:, 1:]])
    upstream = np.column_stack([volts, s.wordline_voltages[:, :-1]])
    assert np.abs(upstream - s.wordline_voltages - drop).max() < 1e-9 * scale
    along_bit = s.cell_currents.cumsum(axis=0)
    end = array.bitline_resistance + array.sense_resistance
    drop = np.vstack([array.bitline_resistance * along_bit[:-1], end * along_bit[-1:]])
    downstream = np.vstack([s.bitline_voltages[1:], np.zeros((1, cols))])
    assert np.abs(s.bitline_voltages - downstream - drop).max() < 1e-9 * scale
    assert relative(s.bitline_currents, s.cell_currents.sum(axis=0)) < 1e-9
    assert relative(-s.wordline_currents, s.cell_currents.sum(axis=1)) < 1e-9


@settings(max_examples=40, deadline=None)
@given(arrays, st.integers(0, 10**6))
def test_kirchhoff_and_ohm_hold_at_every_node_and_segment(array: Crossbar, seed: int) -> None:
    check_circuit_laws(array, np.random.default_rng(seed).uniform(0.05, 0.2, array.shape[0]))


@settings(max_examples=40, deadline=None)
@given(arrays, st.integers(0, 10**6))
def test_effective_matrix_is_the_full_solution_both_ways(array: Crossbar, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for direction, lines in (("forward", 0), ("backward", 1)):
        volts = rng.uniform(0.05, 0.2, (3, array.shape[lines]))
        matrix = array.effective_conductances(direction)
        assert relative(volts @ matrix, array.read(volts, direction)) < 1e-9


@pytest.mark.parametrize("shape", [(50, 43), (43, 50), (40, 30), (30, 40)])
def test_effective_matrix_of_larger_arrays_is_the_full_solution(shape: tuple[int, int]) -> None:
    array = Crossbar(random_array(1, *shape), 3.0, 2.0, 50.0, 7.0)
    rng = np.random.default_rng(2)
    for direction, lines in (("forward", 0), ("backward", 1)):
        volts = rng.uniform(0, 0.2, (3, shape[lines]))
        assert relative(volts @ array.effective_conductances(direction), array.read(volts, direction)) < 1e-9


@settings(max_examples=25, deadline=None)
@given(arrays)
def test_reciprocity_with_equal_terminations(array: Crossbar) -> None:
    equal = Crossbar(
        array.conductances,
        array.wordline_resistance,
        array.bitline_resistance,
        array.source_resistance,
        array.source_resistance,
        tolerance=1e-12,
    )
    forward = equal.read(np.eye(array.shape[0]))
    backward = equal.read(np.eye(array.shape[1]), "backward")
    assert relative(backward.T, forward) < 1e-9


def test_unequal_terminations_break_reciprocity() -> None:
    array = Crossbar(random_array(3, 8, 5), 1.0, 1.0, source_resistance=500.0, sense_resistance=0.0)
    assert relative(array.effective_conductances("backward").T, array.effective_conductances()) > 1e-3


def test_one_cell_is_a_series_circuit() -> None:
    array = Crossbar([[1e-4]], 3.0, 5.0, 100.0, 20.0)
    assert array.read([0.1]) == pytest.approx(0.1 / (1e4 + 3 + 5 + 100 + 20), rel=1e-13)


def test_a_row_of_two_cells_by_hand() -> None:
    g1, g2, r = 2e-3, 5e-3, 40.0
    array = Crossbar([[g1, g2]], r, 0.0)
    beyond = 1 / (1 / g2 + r)
    node = 1 / (1 + r * (g1 + beyond))
    assert array.read([1.0]) == pytest.approx([node * g1, node * beyond], rel=1e-12)


def test_without_resistance_the_array_is_the_ideal_product() -> None:
    g = random_array(5, 30, 26)
    volts = np.random.default_rng(6).uniform(-0.2, 0.2, (4, 30))
    array = Crossbar(g, 0.0, 0.0)
    assert relative(array.read(volts), volts @ g) < 1e-13
    assert relative(array.effective_conductances(), g) < 1e-13
    assert relative(array.effective_conductances("backward"), g.T) < 1e-13


def test_currents_tend_to_the_ideal_product_as_the_segments_shrink() -> None:
    g = random_array(7, 20, 24)
    volts = np.random.default_rng(8).uniform(0, 0.2, 20)
    errors = [relative(Crossbar(g, r, r).read(volts), volts @ g) for r in (1e-1, 1e-2, 1e-3, 1e-4)]
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    assert errors[0] > 1e-4
    assert np.all((ratios > 9.5) & (ratios < 10.05))  # the departure is of first order in the resistance
    drops = [Crossbar(g, r, r).read(volts) for r in (0.0, 1.0, 10.0, 100.0)]
    assert all(np.all(b < a) for a, b in pairwise(drops))


@settings(max_examples=25, deadline=None)
@given(arrays, st.integers(0, 10**6))
def test_the_array_is_passive(array: Crossbar, seed: int) -> None:
    volts = np.random.default_rng(seed).normal(size=array.shape[0])
    s = array.solve(volts)
    delivered = -(s.wordline_currents @ volts)
    dissipated = (s.cell_currents * s.cell_voltages).sum()
    assert dissipated > 0
    assert delivered >= dissipated * (1 - 1e-9)


def test_batches_threads_and_stacks_agree_with_one_at_a_time() -> None:
    g = random_array(9, 33, 29)
    rng = np.random.default_rng(10)
    volts = rng.uniform(0, 0.2, (5, 33))
    array = Crossbar(g, 2.0, 1.0)
    one_by_one = np.array([array.read(v) for v in volts])
    np.testing.assert_array_equal(array.read(volts), one_by_one)
    np.testing.assert_array_equal(Crossbar(g, 2.0, 1.0, threads=2).read(volts), one_by_one)
    for shape in ((33, 29), (8, 17), (17, 8)):
        pair = np.stack([random_array(11, *shape), random_array(12, *shape)])
        for direction in ("forward", "backward"):
            stacked = array.effective_conductances_of(pair, direction)
            alone = [Crossbar(one, 2.0, 1.0).effective_conductances(direction) for one in pair]
            np.testing.assert_array_equal(stacked, np.array(alone))


def test_program_copies_and_honours_the_mask() -> None:
    given_array = random_array(13, 4, 3)
    array = Crossbar(given_array)
    kept = given_array.copy()
    given_array[:] = 1.0
    np.testing.assert_array_equal(array.conductances, kept)
    mask = np.zeros((4, 3), dtype=bool)
    mask[1, 2] = True
    new = np.full((4, 3), 5e-5)
    array.program(new, mask)
    kept[1, 2] = 5e-5
    np.testing.assert_array_equal(array.conductances, kept)
    new[:] = 7.0
    np.testing.assert_array_equal(array.conductances, kept)
    with pytest.raises(ValueError, match="read-only"):
        array.conductances[0, 0] = 1.0
    with pytest.raises(InputError, match="conductances"):
        array.program(np.full((4, 3), -1.0))
    np.testing.assert_array_equal(array.conductances, kept)
    volts = np.array([0.1, 0.2, 0.0, 0.1])
    np.testing.assert_array_equal(array.read(volts), Crossbar(kept).read(volts))


def test_an_open_cell_carries_nothing() -> None:
    g = random_array(14, 5, 6)
    g[2, 3] = 0.0
    s = Crossbar(g, 1.0, 1.0).solve(np.full(5, 0.1))
    assert s.cell_currents[2, 3] == 0.0
    check_circuit_laws(Crossbar(g, 1.0, 1.0), np.full(5, 0.1))


def test_the_state_of_stiff_wires_is_still_right() -> None:
    array = Crossbar(random_array(15, 60, 50, 1e-6, 1e-3), 20.0, 20.0)
    check_circuit_laws(array, np.full(60, 0.2))


GOOD = np.full((3, 2), 1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"conductances": [[1e-5, -1e-6]]}, r"conductances\[0, 1\]"),
        ({"conductances": [[1e-5, np.nan]]}, r"conductances\[0, 1\]"),
        ({"conductances": [[np.inf, 1e-5]]}, r"conductances\[0, 0\]"),
        ({"conductances": [1e-5, 1e-5]}, "shape"),
        ({"conductances": np.empty((0, 3))}, "shape"),
        ({"conductances": [[1e-5, 0.0], [1e-5, 0.0]]}, "bit line 1 is wholly disconnected"),
        ({"conductances": [[1e-5, 1e-5], [0.0, 0.0]]}, "word line 1 is wholly disconnected"),
        ({"wordline_resistance": -1.0}, "wordline_resistance"),
        ({"bitline_resistance": np.inf}, "bitline_resistance"),
        ({"source_resistance": np.nan}, "source_resistance"),
        ({"sense_resistance": -0.1}, "sense_resistance"),
        ({"sense_resistance": "1"}, "sense_resistance"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": "1e-9"}, "tolerance"),
        ({"threads": 0}, "threads"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Crossbar(**({"conductances": GOOD} | arguments))


@pytest.mark.parametrize(
    ("volts", "direction"),
    [
        ([0.1, 0.2], "forward"),
        ([0.1, 0.2, 0.3], "backward"),
        (np.zeros((1, 2, 3)), "forward"),
        ([0.1, np.nan, 0.2], "forward"),
        ([0.1, 0.1, 0.1], "sideways"),
    ],
)
def test_bad_reads_are_refused(volts: object, direction: str) -> None:
    with pytest.raises(InputError):
        Crossbar(GOOD).read(volts, direction)


def test_memory_stays_within_40_doubles_a_cell_and_input() -> None:
    g = random_array(16, 96, 96)
    volts = np.random.default_rng(17).uniform(0, 0.2, (32, 96))
    for cell in (None, SinhCell(3.0)):
        array = Crossbar(g, cell=cell)
        array.solve(volts[:2])
        tracemalloc.start()
        array.solve(volts)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40 * 8 * g.size * len(volts)
        tracemalloc.start()
        array.read(volts)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * 8 * g.size * len(volts)  # reads keep no voltages


def test_importing_compiles_nothing() -> None:
    code = "import sys, emulators.crossbar; print(*{'numba', 'scipy', 'emulators.nodal.lines'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("bad", [[[1e-6, 2e-6], [3e-6]], [["a", "b"]], np.full((2, 2), 1e-6 + 1e-9j)])
def test_conductances_that_are_no_real_matrix_are_refused(bad: Any) -> None:
    with pytest.raises(InputError, match="conductances"):
        Crossbar(bad)


def test_voltages_and_cells_of_another_kind_are_refused() -> None:
    array = Crossbar(np.full((2, 2), 1e-6))
    for bad in ([0.1, "x"], [0.1, 0.1 + 1j]):
        with pytest.raises(InputError, match="voltages"):
            array.read(bad)
    with pytest.raises(InputError, match="cell"):
        Crossbar(np.full((2, 2), 1e-6), cell="ohmic")
