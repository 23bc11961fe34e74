"""Small emulated networks, their circuits, and ngspice's waveforms of them."""

import subprocess
from pathlib import Path

import numpy as np

from emulators.config import EmulatorConfig
from emulators.networks.time_constants import TimeConstants
from emulators.spice import Circuit
from emulators.substrate import EmulatedSubstrate
from substrate.capabilities import WriteRequest
from substrate.network import Network

CELLS = {"window_siemens": [1e-7, 1e-4], "unit_siemens": 2.5e-5}


def device(network: Network, seed: int, scale: float = 1.0, **sections: dict) -> EmulatedSubstrate:
    """An opened device with mismatched neurons and random weights, biases included."""
    neurons = {"gain_spread": 0.1, "offset_spread": 0.1, "saturation_spread": 0.1}
    config = EmulatorConfig.model_validate({"backend": "emulator", "cells": CELLS, "neurons": neurons} | sections)
    emulated = EmulatedSubstrate(network, config, np.random.default_rng(seed))
    emulated.__enter__()  # it holds nothing that a test would have to give back
    rng = np.random.default_rng(seed + 1)
    for coupling in network.arrays:
        m, n = coupling.shape
        w = scale * rng.standard_normal((m, n)) / (np.sqrt(m) + np.sqrt(n))
        half = 0.5 * w * CELLS["unit_siemens"]
        emulated.write_cells(WriteRequest(coupling.name, target_siemens=np.stack([3e-5 + half, 3e-5 - half])))
    return emulated


def circuit(emulated: EmulatedSubstrate, constants: TimeConstants | None = None) -> Circuit:
    siemens = {coupling.name: emulated.read_cells(coupling.name) for coupling in emulated.network.arrays}
    config = emulated._config
    return Circuit(emulated.network, siemens, emulated._neurons, emulated.scale, config.wires, constants=constants)


def run_network(text: str, folder: Path, result: str = "out.raw") -> dict[str, np.ndarray]:
    """Run a deck in ``folder``; its vectors by name, real or complex."""
    (folder / "network.cir").write_text(text)
    (folder / result).unlink(missing_ok=True)
    done = subprocess.run(
        ["ngspice", "-b", "network.cir"], cwd=folder, capture_output=True, text=True, timeout=280, check=False
    )
    if not (folder / result).exists():
        raise RuntimeError(f"ngspice wrote no result:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    head, _, body = (folder / result).read_bytes().partition(b"Binary:\n")
    lines = head.decode().splitlines()
    names = [line.split()[1].lower() for line in lines[lines.index("Variables:") + 1 :]]
    kind = np.complex128 if any(line.startswith("Flags: complex") for line in lines) else np.float64
    return dict(zip(names, np.frombuffer(body, dtype=kind).reshape(-1, len(names)).T, strict=True))
