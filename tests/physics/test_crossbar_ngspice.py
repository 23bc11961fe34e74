"""Crossbars against ngspice, run live."""

from pathlib import Path

import numpy as np
import pytest
from ngspice import CURVED_CELLS, Cell, crossbar_deck, port_currents, run_deck, sinh_cell

from emulators.crossbar import Crossbar
from emulators.crossbar_lines import STATES, Lines
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.sinh import SinhCell


@pytest.mark.parametrize("seed", range(12))
def test_ohmic_currents_both_ways(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    rows, cols = (24, 24) if seed == 0 else (int(k) for k in rng.integers(1, 25, 2))
    g = np.exp(rng.uniform(np.log(1e-6), np.log(1e-4), (rows, cols)))
    rw, rb, source, sense = rng.uniform(0.1, 20, 4) * (rng.random(4) > 0.2)
    array = Crossbar(g, rw, rb, source, sense)
    for direction, count in (("forward", rows), ("backward", cols)):
        volts = rng.uniform(-0.2, 0.2, count)
        driven, sensed = [(source, v) for v in volts], [(sense, 0.0)] * (cols if direction == "forward" else rows)
        row_ports, column_ports = (driven, sensed) if direction == "forward" else (sensed, driven)
        deck = crossbar_deck(
            g, wordline_resistance=rw, bitline_resistance=rb, row_ports=row_ports, column_ports=column_ports
        )
        answer = port_currents(run_deck(deck, tmp_path), rows, cols)[1 if direction == "forward" else 0]
        assert np.abs(array.read(volts, direction) - answer).max() < 1e-6 * np.abs(answer).max()


@pytest.mark.parametrize(("law", "cell"), CURVED_CELLS.values(), ids=CURVED_CELLS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_curved_cells(law: CellLaw, cell: Cell, direction: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(21)
    g = np.exp(rng.uniform(np.log(1e-6), np.log(3e-4), (9, 7)))
    rw, rb, source, sense = 15.0, 8.0, 60.0, 5.0
    driven = 9 if direction == "forward" else 7
    volts = rng.uniform(-1.0, 1.0, driven)
    ends = [(source, v) for v in volts], [(sense, 0.0)] * (16 - driven)
    row_ports, column_ports = ends if direction == "forward" else ends[::-1]
    deck = crossbar_deck(
        g, wordline_resistance=rw, bitline_resistance=rb, row_ports=row_ports, column_ports=column_ports, cell=cell
    )
    answer = port_currents(run_deck(deck, tmp_path), 9, 7)[1 if direction == "forward" else 0]
    found = Crossbar(g, rw, rb, source, sense, cell=law).read(volts, direction)
    assert np.abs(found - answer).max() < 1e-6 * np.abs(answer).max()


@pytest.mark.parametrize("seed", range(4))
def test_mixed_line_states(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(100 + seed)
    rows, cols = (int(k) for k in rng.integers(3, 9, 2))
    states = [STATES[k] for k in rng.permutation(np.r_[:4, rng.integers(0, 4, rows + cols - 4)])]
    g = np.exp(rng.uniform(np.log(1e-6), np.log(1e-4), (rows, cols)))
    rw, rb, source, sense = rng.uniform(0.5, 30, 4)
    volts = rng.uniform(-0.5, 0.5, states.count("driven"))
    feed = iter(volts)
    tied = {"sensed": (sense, 0.0), "grounded": (0.0, 0.0), "floating": None}
    ports = [(source, next(feed)) if state == "driven" else tied[state] for state in states]
    deck = crossbar_deck(
        g,
        wordline_resistance=rw,
        bitline_resistance=rb,
        row_ports=ports[:rows],
        column_ports=ports[rows:],
        cell=sinh_cell,
    )
    answer = run_deck(deck, tmp_path)
    array = Crossbar(g, rw, rb, source, sense, cell=SinhCell(3.0))
    s = array.solve(volts, Lines(tuple(states[:rows]), tuple(states[rows:])))
    word, bit = port_currents(answer, rows, cols)
    scale = max(np.abs(word).max(), np.abs(bit).max())
    assert np.abs(s.wordline_currents - word).max() < 1e-6 * scale
    assert np.abs(s.bitline_currents - bit).max() < 1e-6 * scale
    nodes = np.array([[answer[f"v(w{i}_{j})"] for j in range(cols)] for i in range(rows)])
    assert np.abs(s.wordline_voltages - nodes).max() < 1e-6
