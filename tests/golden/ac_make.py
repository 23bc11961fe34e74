"""Remake ngspice's golden small-signal answers: ``python tests/golden/ac_make.py`` from the project's root.

The circuits are those of ``network_make.py`` (their stored descriptions) and ``resistive_make.py``, under their nudges
at small signals. ``ac.json`` holds ngspice's complex volts of every neuron's output or node at each frequency, and
``ac_NAME.cir`` a deck that runs by itself, ``ngspice -b ac_NAME.cir`` (it writes out.raw).
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "physics")]
import network_make  # noqa: E402
import resistive_make  # noqa: E402
from ngspice_network import run_network, waveforms  # noqa: E402
from test_resistive_dynamics import Case  # noqa: E402

from emulators.resistive_spice import resistive_deck, resistive_nodes  # noqa: E402
from emulators.spice import Netlist, Stimulus, deck  # noqa: E402

NETWORKS = tuple(network_make.CASES)
RESISTIVE = tuple(f"resistive_{name}" for name in resistive_make.CASES)
SWEEP = "ac dec 3 10 1e5"
"""From far below to far above the networks' poles at about 1/(2 pi) kHz."""


def network_case(name: str) -> tuple[Netlist, Stimulus]:
    """A stored current-mode circuit, its nudge as small-signal currents."""
    netlist, stimulus = network_make.built(json.loads((FOLDER / "network.json").read_text())["cases"][name])
    return netlist, dataclasses.replace(stimulus, nudge_amperes=None, ac_amperes=stimulus.nudge_amperes)


def resistive_case(name: str) -> Case:
    """A resistive network."""
    gains, _ = resistive_make.CASES[name.removeprefix("resistive_")]
    return Case(gains)


def deck_of(name: str) -> str:
    """The sweep of one case."""
    if name in NETWORKS:
        netlist, stimulus = network_case(name)
        return deck(netlist, stimulus, [SWEEP])
    case = resistive_case(name)
    sweep = f"ac dec 3 {0.01 / case.slowest:.17g} {100.0 / case.slowest:.17g}"
    stimulus = Stimulus(case.inputs[0], ac_amperes=case.nudge[0])
    return resistive_deck(case.network, stimulus, 0.0, case.farads, [sweep])


def main() -> None:
    cases = {}
    for name in NETWORKS + RESISTIVE:
        text = deck_of(name)
        (FOLDER / f"ac_{name}.cir").write_text(text)
        with tempfile.TemporaryDirectory() as folder:
            answer = run_network(text, Path(folder))
        if name in NETWORKS:
            volts = waveforms(network_case(name)[0].network, answer, "output")
        else:
            volts = np.array([answer[f"v({node})"] for node in resistive_nodes(resistive_case(name).network)]).T
        cases[name] = {
            "frequency_hz": answer["frequency"].real.tolist(),
            "real_volts": volts.real.tolist(),
            "imaginary_volts": volts.imag.tolist(),
        }
    (FOLDER / "ac.json").write_text(json.dumps({"program": network_make.program(), "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
