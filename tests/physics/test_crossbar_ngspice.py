"""Crossbars against ngspice, run live."""

from pathlib import Path

import numpy as np
import pytest
from ngspice import crossbar_deck, port_currents, run_deck

from emulators.crossbar import Crossbar


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
