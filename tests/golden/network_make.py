"""Remake ngspice's golden answers for small networks: ``python tests/golden/network_make.py`` from the project's root.

Each case's circuit is in ``network.json`` with ngspice's harmonics 0..3 of every neuron's output under a nudge, and in
a deck that runs by itself, ``ngspice -b network_NAME.cir`` (it writes out.raw).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "physics"))
from ngspice_network import HARMONICS, TRANSIENT, one_period, output_harmonics, random_netlist, run_network  # noqa: E402

from emulators.config import WiresConfig  # noqa: E402
from emulators.networks.time_constants import TimeConstants  # noqa: E402
from emulators.neurons import Neurons  # noqa: E402
from emulators.spice import Netlist, Stimulus, deck  # noqa: E402
from substrate.contract import Scale  # noqa: E402
from substrate.network import Network  # noqa: E402

FREQUENCY = 500.0
CASES = {
    "tanh": ((3, 4, 2), "tanh", "separate", WiresConfig(), 0.0),
    "logistic_wires": (
        (2, 4, 3),
        "logistic",
        "separate",
        WiresConfig(segment_ohms=5, source_ohms=50, sense_ohms=20),
        0.3,
    ),
    "shared_wires": ((3, 3, 3, 2), "tanh", "shared", WiresConfig(segment_ohms=5, source_ohms=50, sense_ohms=20), 0.0),
}


def described(name: str) -> dict:
    """A seeded random circuit and its nudge, as plain numbers."""
    sizes, activation, feedback, wires, lag = CASES[name]
    netlist = random_netlist(Network(sizes, activation, feedback), list(CASES).index(name), wires, lag)
    network, neurons, constants = netlist.network, netlist.neurons, netlist.constants
    rng = np.random.default_rng(len(sizes))
    nudge = np.zeros(network.node_count)
    nudge[network.output.nodes] = 0.5 * rng.choice([-1, 1], network.output.size)
    return {
        "sizes": sizes,
        "activation": activation,
        "feedback": feedback,
        "wires": wires.model_dump(mode="json"),
        "siemens": {coupling: cells.tolist() for coupling, cells in netlist.siemens.items()},
        "gain": neurons.gain.tolist(),
        "offset": neurons.offset.tolist(),
        "saturation": neurons.saturation.tolist(),
        "node_seconds": constants.node_seconds.tolist(),
        "amplifier_seconds": constants.amplifier_seconds.tolist(),
        "volts_per_unit": netlist.scale.volts_per_unit,
        "unit_siemens": netlist.scale.unit_siemens,
        "input_volts": rng.uniform(-0.2, 0.2, sizes[0]).tolist(),
        "nudge": nudge.tolist(),
        "frequency_hz": FREQUENCY,
    }


def built(case: dict) -> tuple[Netlist, Stimulus]:
    """The circuit and the nudge of a description."""
    arrays = {key: np.array(case[key]) for key in ("gain", "offset", "saturation", "node_seconds", "amplifier_seconds")}
    scale = Scale(case["volts_per_unit"], case["unit_siemens"])
    netlist = Netlist(
        Network(tuple(case["sizes"]), case["activation"], case["feedback"]),
        {name: np.array(cells) for name, cells in case["siemens"].items()},
        Neurons(case["activation"], arrays["gain"], arrays["offset"], arrays["saturation"]),
        scale,
        WiresConfig.model_validate(case["wires"]),
        constants=TimeConstants(arrays["node_seconds"], arrays["amplifier_seconds"]),
    )
    return netlist, Stimulus(
        np.array(case["input_volts"]), np.array(case["nudge"]) * scale.unit_amperes, case["frequency_hz"]
    )


def deck_of(case: dict) -> str:
    """The transient up to the period that counts."""
    netlist, stimulus = built(case)
    return deck(netlist, stimulus, [one_period(stimulus.frequency_hz)], options=TRANSIENT)


def program() -> str:
    """Name and version of the ngspice that answers."""
    version = subprocess.run(["ngspice", "--version"], capture_output=True, text=True, check=True).stdout
    return next(line for line in version.splitlines() if "ngspice-" in line).strip("* ")


def main() -> None:
    cases = {}
    for name in CASES:
        case = described(name)
        (FOLDER / f"network_{name}.cir").write_text(deck_of(case))
        with tempfile.TemporaryDirectory() as folder:
            answer = run_network(deck_of(case), Path(folder))
        cosine, sine = output_harmonics(built(case)[0].network, answer, case["frequency_hz"], case["volts_per_unit"])
        cases[name] = case | {"harmonics": HARMONICS, "cosine": cosine.tolist(), "sine": sine.tolist()}
    (FOLDER / "network.json").write_text(json.dumps({"program": program(), "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
