"""Remake ngspice's golden answers for resistive networks: ``python tests/golden/resistive_make.py`` from the root.

Each case is a seeded 6-4-3 network of Shockley diodes and node capacitances under a nudge; ``resistive.json`` holds
ngspice's harmonics 0..3 of every node, and ``resistive_NAME.cir`` a deck that runs by itself (it writes out.raw).
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "physics"))
from ngspice_network import TRANSIENT, one_period, run_network  # noqa: E402
from scipy.interpolate import CubicSpline  # noqa: E402
from test_resistive_dynamics import Case, amplitudes  # noqa: E402

from emulators.resistive_spice import resistive_deck, resistive_nodes  # noqa: E402
from emulators.spice import Stimulus  # noqa: E402

CASES = {"passive": ((1.0, 1.0), 0.5), "amplifiers": ((2.0, 4.0), 3.0)}
"""Gains of the two couplings, and omega tau of the nudge."""

SAMPLES = 64


def deck_of(name: str) -> tuple[str, Case, int]:
    """The transient up to the period that counts, its network, and the periods before it."""
    gains, omega_tau = CASES[name]
    case = Case(gains)
    plan = case.plan(omega_tau, SAMPLES)
    settling = int(np.ceil(16.0 * case.slowest * plan.frequency_hz))
    analysis = ["op", f"option {TRANSIENT}", one_period(plan.frequency_hz, settling)]
    stimulus = Stimulus(case.inputs[0], case.nudge[0], plan.frequency_hz)
    return resistive_deck(case.network, stimulus, 0.0, case.farads, analysis), case, settling


def main() -> None:
    cases = {}
    for name, (_, omega_tau) in CASES.items():
        text, case, settling = deck_of(name)
        (FOLDER / f"resistive_{name}.cir").write_text(text)
        with tempfile.TemporaryDirectory() as folder:
            answer = run_network(text, Path(folder))
        wanted = (settling + np.arange(SAMPLES) / SAMPLES) / case.plan(omega_tau).frequency_hz
        volts = np.array([answer[f"v({node})"] for node in resistive_nodes(case.network)]).T
        cosines, sines = amplitudes(CubicSpline(answer["time"], volts)(wanted)[None])
        cases[name] = {"cosine": cosines[0].tolist(), "sine": sines[0].tolist()}
    (FOLDER / "resistive.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
