"""Remake others' golden answers for small crossbars: ``python tests/golden/crossbar_make.py`` from the project's root.

Each case's circuit is in ``crossbar.json`` with ngspice's port currents and in a deck that runs by itself, ``ngspice -b
crossbar_NAME.cir`` (it writes out.raw). ``crossbar_badcrossbar.json`` holds badcrossbar's node voltages and currents of
ohmic arrays; it needs the optional dependencies ``peers``.
"""

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "physics"))
from ngspice import CURVED_CELLS, crossbar_deck, ohmic_cell, port_currents, run_deck  # noqa: E402


def circuit(seed: int, rows: int, cols: int, volts: float) -> dict[str, list]:
    """A seeded random array: unequal terminations, a floating line of each family, a driven bit line."""
    rng = np.random.default_rng(seed)
    wires = rng.uniform(1, 20, 2)
    source, sense = rng.uniform(1, 100, 2)
    row_ports = [[source, rng.uniform(-volts, volts)] for _ in range(rows)]
    column_ports: list[list[float] | None] = [[sense, 0.0] for _ in range(cols)]
    row_ports[1], column_ports[0], column_ports[1] = None, None, [source, volts / 2]
    return {
        "conductances": np.exp(rng.uniform(np.log(1e-6), np.log(3e-4), (rows, cols))).tolist(),
        "wires": wires.tolist(),
        "row_ports": row_ports,
        "column_ports": column_ports,
    }


def deck_of(name: str, case: dict[str, list]) -> str:
    return crossbar_deck(
        np.array(case["conductances"]),
        wordline_resistance=case["wires"][0],
        bitline_resistance=case["wires"][1],
        row_ports=case["row_ports"],
        column_ports=case["column_ports"],
        cell=ohmic_cell if name == "ohmic" else CURVED_CELLS[name][1],
    )


def badcrossbar_case(seed: int) -> dict[str, list]:
    """A seeded ohmic array read forward at three inputs, as badcrossbar solves it; the batch axis is first."""
    import badcrossbar

    rng = np.random.default_rng(seed)
    rows, cols = (int(k) for k in rng.integers(2, 13, 2))
    wires = rng.uniform(0.1, 50, 2)
    siemens = np.exp(rng.uniform(np.log(1e-6), np.log(1e-4), (rows, cols)))
    volts = rng.uniform(0, 0.2, (3, rows))
    found = badcrossbar.compute(volts.T, 1 / siemens, r_i_word_line=wires[0], r_i_bit_line=wires[1])
    return {
        "conductances": siemens.tolist(),
        "wires": wires.tolist(),
        "volts": volts.tolist(),
        "bitline_currents": found.currents.output.tolist(),
        "wordline_voltages": np.moveaxis(found.voltages.word_line, -1, 0).tolist(),
        "cell_currents": np.moveaxis(found.currents.device, -1, 0).tolist(),
    }


def main() -> None:
    version = subprocess.run(["ngspice", "--version"], capture_output=True, text=True, check=True).stdout
    cases = {}
    for seed, name in enumerate(["ohmic", *CURVED_CELLS]):
        case = circuit(seed, 7, 6, 0.2 if name == "ohmic" else 0.8)
        deck = deck_of(name, case)
        (FOLDER / f"crossbar_{name}.cir").write_text(deck)
        with tempfile.TemporaryDirectory() as folder:
            word, bit = port_currents(run_deck(deck, Path(folder)), 7, 6)
        cases[name] = case | {"wordline_currents": word.tolist(), "bitline_currents": bit.tolist()}
    program = next(line for line in version.splitlines() if "ngspice-" in line).strip("* ")
    (FOLDER / "crossbar.json").write_text(json.dumps({"program": program, "cases": cases}, indent=1) + "\n")
    other = {
        "program": f"badcrossbar-{importlib.metadata.version('badcrossbar')}",
        "cases": [badcrossbar_case(seed) for seed in range(4)],
    }
    (FOLDER / "crossbar_badcrossbar.json").write_text(json.dumps(other) + "\n")


if __name__ == "__main__":
    main()
