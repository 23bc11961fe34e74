"""Small networks as netlists, the equations they should obey, and ngspice's waveforms of them."""

import subprocess
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from emulators.config import WiresConfig
from emulators.crossbar import Crossbar
from emulators.networks.current_mode import Block, CurrentModeNetwork
from emulators.networks.time_constants import TimeConstants
from emulators.neurons import Neurons
from emulators.spice import Netlist, neuron_nodes
from substrate.contract import Scale
from substrate.demodulation import harmonics
from substrate.network import Network

HARMONICS = 3
SETTLING = 6
"""Periods before the one that counts."""

UNIT_SIEMENS = 2.5e-5
MIDDLE_SIEMENS = 3e-5
TAU = 1e-4
TRANSIENT = "reltol=1e-6 abstol=1e-15 vntol=1e-11 gmin=1e-18"
"""Options of a transient: its steps are limited by their length, not by these."""


def random_cells(network: Network, rng: np.random.Generator, scale: float) -> dict[str, np.ndarray]:
    """Pairs around a middle conductance; ``scale`` is about the largest singular value of each coupling."""
    cells = {}
    for coupling in network.arrays:
        m, n = coupling.shape
        half = 0.5 * scale * UNIT_SIEMENS * rng.standard_normal((m, n)) / (np.sqrt(m) + np.sqrt(n))
        cells[coupling.name] = np.stack([MIDDLE_SIEMENS + half, MIDDLE_SIEMENS - half])
    return cells


def random_netlist(network: Network, seed: int, wires: WiresConfig, lag: float = 0.0, scale: float = 1.2) -> Netlist:
    """Mismatched neurons and unlike time constants; amplifiers ``lag`` as slow as the nodes."""
    rng, count = np.random.default_rng(seed), network.node_count
    cells = random_cells(network, rng, scale)
    neurons = Neurons.mismatched(network.activation, count, rng, 0.1, 0.1, 0.1)
    constants = TimeConstants(TAU * rng.uniform(0.5, 2.0, count), lag * TAU * rng.uniform(0.5, 2.0, count))
    return Netlist(network, cells, neurons, Scale(0.2, UNIT_SIEMENS), wires, constants=constants)


def equations(netlist: Netlist, input_volts: np.ndarray) -> tuple[CurrentModeNetwork, np.ndarray]:
    """The network by its arrays' effective matrices, and the currents (1, node) that the inputs drive."""
    network, wires = netlist.network, netlist.wires

    def weights(name: str, direction: str = "forward") -> np.ndarray:
        cells, segment = np.asarray(netlist.siemens[name]), wires.segment_ohms
        if not segment:
            pairs = cells if direction == "forward" else cells.transpose(0, 2, 1)
        else:
            array = Crossbar(cells[0], segment, segment, wires.source_ohms, wires.sense_ohms)
            pairs = array.effective_conductances_of(cells, direction)
        return np.ascontiguousarray(pairs[0] - pairs[1]) / netlist.scale.unit_siemens

    drive = np.zeros((1, network.node_count))
    blocks = []
    for coupling in network.forward:
        w, nodes = weights(coupling.name), coupling.target.nodes
        drive[:, nodes] += w[-1]
        if coupling.source.start < 0:
            drive[:, nodes] += input_volts / netlist.scale.volts_per_unit @ w[:-1]
            continue
        blocks.append(Block(coupling.source.nodes, nodes, w[:-1]))
        if network.feedback == "shared":
            blocks.append(Block(nodes, coupling.source.nodes, weights(coupling.name, "backward")[:, :-1]))
    if network.feedback == "separate":
        blocks += [Block(c.source.nodes, c.target.nodes, weights(c.name)) for c in network.backward]
    return CurrentModeNetwork([layer.nodes for layer in network.layers[1:]], blocks, netlist.neurons), drive


def run_network(text: str, folder: Path, result: str = "out.raw") -> dict[str, np.ndarray]:
    """Run a deck in ``folder``; its vectors by name, real or complex."""
    (folder / "network.cir").write_text(text)
    (folder / result).unlink(missing_ok=True)
    done = subprocess.run(
        ["ngspice", "-b", "network.cir"], cwd=folder, capture_output=True, text=True, timeout=280, check=False
    )
    # The deck says itself whether its analysis gave anything.
    if done.returncode or not (folder / result).exists():
        raise RuntimeError(f"ngspice wrote no result:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return read_raw(folder / result)


def read_raw(path: Path) -> dict[str, np.ndarray]:
    """The vectors of a result by name, real or complex."""
    head, _, body = path.read_bytes().partition(b"Binary:\n")
    lines = head.decode().splitlines()
    names = [line.split()[1].lower() for line in lines[lines.index("Variables:") + 1 :]]
    kind = np.complex128 if any(line.startswith("Flags: complex") for line in lines) else np.float64
    return dict(zip(names, np.frombuffer(body, dtype=kind).reshape(-1, len(names)).T, strict=True))


def waveforms(network: Network, answer: dict[str, np.ndarray], which: str) -> np.ndarray:
    """(point, node) volts of the neurons' ``state`` or ``output`` nodes."""
    return np.array([answer[f"v({getattr(node, which)})"] for node in neuron_nodes(network)]).T


def one_period(frequency_hz: float, settling: int = SETTLING, steps: int = 1000) -> str:
    """The period after ``settling`` others, in so many steps at least."""
    period = 1 / frequency_hz
    step = period / steps
    return f"tran {step:.12g} {(settling + 1) * period:.12g} {settling * period:.12g} {step:.12g}"


def output_harmonics(
    network: Network,
    answer: dict[str, np.ndarray],
    frequency_hz: float,
    volts_per_unit: float,
    settling: int = SETTLING,
    samples: int = 64,
) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine amplitudes (node, 0..HARMONICS) of the outputs after ``settling`` periods, activity units."""
    # ngspice chooses its own instants, close enough together for a cubic between them.
    wanted = (settling + np.arange(samples) / samples) / frequency_hz
    outputs = CubicSpline(answer["time"], waveforms(network, answer, "output"))(wanted)
    return harmonics(outputs.T / volts_per_unit, samples, HARMONICS)
