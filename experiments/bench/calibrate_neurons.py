"""Output neurons: activity against the current pushed into each, and gain, offset and swing of s = S f(g (u + o))."""

import argparse

import numpy as np
from laboratory import FOLDER, arguments, carry_out, experiment, table, whole
from scipy.optimize import curve_fit

from substrate.activations import ACTIVATIONS
from substrate.capabilities import HeldNudge
from substrate.experiment.assembly import assemble
from substrate.experiment.config import Experiment


def measured(options: argparse.Namespace, chosen: Experiment) -> list[tuple[str, float, float, float]]:
    assembly = assemble(chosen)
    function = ACTIVATIONS[chosen.network.activation].value
    pushed = np.linspace(-options.units, options.units, options.points)
    found = []
    with assembly.substrate as device:
        network = device.network
        device.hold(np.zeros((1, network.input_size)))
        free = device.settle().volts[0, 0] / device.scale.volts_per_unit
        for node in range(network.output.start, network.node_count):
            amperes = np.zeros((1, options.points, network.node_count))
            amperes[0, :, node] = pushed * device.scale.unit_amperes
            volts = device.settle_nudged(HeldNudge(amperes)).volts[0, :, node]
            # What other neurons feed in is part of the offset, as far as it does not follow this one.
            (swing, gain, offset), _ = curve_fit(
                lambda u, s, g, o: s * function(g * (u + o)),
                pushed,
                volts / device.scale.volts_per_unit,
                p0=(1.0, 1.0, float(free[node])),
            )
            found.append((f"output.{node - network.output.start}", float(gain), float(offset), float(swing)))
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--experiment", default=str(FOLDER / "xor.yaml"))
    parser.add_argument("--units", type=float, default=1.5, help="largest current, in activity units")
    parser.add_argument("--points", type=whole(4), default=13)
    options = parser.parse_args()
    table(options, ("neuron", "gain", "offset", "swing"), measured(options, experiment(options)))


if __name__ == "__main__":
    carry_out(main)
