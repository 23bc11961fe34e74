"""Crossbars against stored answers of ngspice and of badcrossbar (``tests/golden/crossbar_make.py`` remakes them)."""

import json
from pathlib import Path

import numpy as np
import pytest
from ngspice import CURVED_CELLS, crossbar_deck, ohmic_cell
from test_crossbar import relative

from emulators.crossbar import Crossbar
from emulators.crossbar_lines import Lines
from emulators.memristors.ohmic import OhmicCell

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "crossbar.json").read_text())["cases"]
BADCROSSBAR = json.loads((GOLDEN / "crossbar_badcrossbar.json").read_text())["cases"]
CELLS = {"ohmic": (OhmicCell(), ohmic_cell)} | CURVED_CELLS


@pytest.mark.parametrize("name", CELLS)
def test_port_currents_are_ngspices(name: str) -> None:
    case = CASES[name]
    law, cell = CELLS[name]
    g = np.array(case["conductances"])
    source, sense = case["row_ports"][0][0], case["column_ports"][-1][0]
    deck = crossbar_deck(
        g,
        wordline_resistance=case["wires"][0],
        bitline_resistance=case["wires"][1],
        row_ports=case["row_ports"],
        column_ports=case["column_ports"],
        cell=cell,
    )
    assert (GOLDEN / f"crossbar_{name}.cir").read_text() == deck  # the stored deck is this very circuit
    state = {source: "driven", sense: "sensed"}
    ports = case["row_ports"] + case["column_ports"]
    states = ["floating" if port is None else state[port[0]] for port in ports]
    volts = [port[1] for port, kind in zip(ports, states, strict=True) if kind == "driven"]
    array = Crossbar(g, *case["wires"], source, sense, cell=law)
    s = array.solve(volts, Lines(tuple(states[: len(g)]), tuple(states[len(g) :])))
    assert relative(s.wordline_currents, np.array(case["wordline_currents"])) < 1e-6
    assert relative(s.bitline_currents, np.array(case["bitline_currents"])) < 1e-6


@pytest.mark.parametrize("case", BADCROSSBAR, ids=lambda case: "x".join(map(str, np.shape(case["conductances"]))))
def test_state_is_badcrossbars(case: dict[str, list]) -> None:
    s = Crossbar(np.array(case["conductances"]), *case["wires"]).solve(np.array(case["volts"]))
    assert relative(s.bitline_currents, np.array(case["bitline_currents"])) < 1e-9
    assert relative(s.wordline_voltages, np.array(case["wordline_voltages"])) < 1e-9
    assert relative(s.cell_currents, np.array(case["cell_currents"])) < 1e-9
