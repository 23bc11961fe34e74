"""Networks whose cells are curved: the whole circuit, exact responses, gradients and training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ngspice_network import random_cells, run_network, waveforms
from test_spice_network import close, inputs

from emulators.config import EmulatorConfig, WiresConfig
from emulators.networks.curved_circuit import CurvedCircuit
from emulators.neurons import Neurons
from emulators.spice import Netlist, Stimulus, deck
from emulators.substrate import EmulatedSubstrate, backend
from substrate import load_experiment, open_run, run
from substrate.capabilities import Nudge, WriteRequest
from substrate.errors import InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.gradient_check import check_gradient
from substrate.network import Network
from substrate.tones import SamplingPlan

SINH = {"law": "sinh", "alpha": 3.0}
LAWS: dict[str, dict[str, Any]] = {
    "sinh": SINH,
    "rectifying": {"law": "rectifying", "forward_alpha": 4.0, "reverse_alpha": 1.0},
    "series_resistance": {"law": "series_resistance", "series_ohms": 5e3},
    "series_sinh": {"law": "series_resistance", "series_ohms": 5e3, "memristor": SINH},
    "transistor": {"law": "transistor", "gate_overdrive_volts": 0.5, "transconductance": 1e-3},
}
IDEAL: dict[str, Any] = {}
WIRES = {"segment_ohms": 5.0, "source_ohms": 50.0, "sense_ohms": 20.0}
SWITCHED = pytest.mark.parametrize("wires", [IDEAL, WIRES], ids=["ideal", "wires"])


@contextmanager
def made(
    cells: dict[str, Any],
    wires: dict[str, Any],
    sizes: tuple[int, ...] = (2, 4, 2),
    feedback: Any = "separate",
    scale: float = 1.0,
    volts_per_unit: float = 0.2,
) -> Iterator[EmulatedSubstrate]:
    network = Network(sizes, feedback=feedback)
    rng = np.random.default_rng(3)
    config = EmulatorConfig.model_validate(
        {
            "backend": "emulator",
            "cells": cells,
            "wires": wires,
            "neurons": {"volts_per_unit": volts_per_unit},
            "limits": {"read_volts": 1.0, "current_amperes": 1.0},
            "solver": {"residual": 1e-12},
        }
    )
    with EmulatedSubstrate(network, config, rng) as device:
        for name, siemens in random_cells(network, rng, scale).items():
            device.write_cells(WriteRequest(name, target_siemens=siemens))
        yield device


def batch(device: EmulatedSubstrate, count: int = 3) -> np.ndarray:
    shape = (count, device.network.input_size)
    return device.scale.volts_per_unit * np.random.default_rng(4).uniform(-1, 1, shape)


@SWITCHED
@pytest.mark.parametrize("feedback", ["separate", "shared"])
@pytest.mark.parametrize("law", LAWS)
def test_free_state_is_ngspices(law: str, feedback: str, wires: dict[str, Any], tmp_path: Path) -> None:
    with made(LAWS[law], wires, (3, 4, 2), feedback) as device:
        network, volts = device.network, inputs(device.network)
        device.hold(volts[None])
        record = device.settle()
        assert record.settled.all()
        assert record.residual.max() <= 1e-12
        siemens = {coupling.name: device.read_cells(coupling.name) for coupling in network.arrays}
        ones = np.ones(network.node_count)
        neurons = Neurons("tanh", ones, 0 * ones, ones)
        cell = device._config.cells.cell()
        netlist = Netlist(network, siemens, neurons, device.scale, WiresConfig(**wires), cell)
        answer = run_network(deck(netlist, Stimulus(volts)), tmp_path)
        close(waveforms(network, answer, "output")[0], record.volts[0, 0], 1e-6)


@SWITCHED
@pytest.mark.parametrize("law", LAWS)
def test_small_nudges_move_nodes_as_the_adjoint_says(law: str, wires: dict[str, Any]) -> None:
    with made(LAWS[law], wires, feedback="shared") as device:
        rng, nodes = np.random.default_rng(5), device.network.node_count
        device.hold(batch(device))
        device.settle()
        amperes, weights = (
            1e-3 * device.scale.unit_amperes * rng.standard_normal((3, nodes)),
            rng.standard_normal(nodes),
        )
        record = device.nudge(Nudge(amperes), SamplingPlan(1e3, 1, 16, 1))
        assert record.settled.all()
        # The odd part of the response at the crest and half a period later: right to the third order.
        moved = 0.5 * (record.volts[:, 0] - record.volts[:, 8]) @ weights
        foretold = (device.oracle.adjoint(np.tile(weights, (3, 1))) * amperes).sum(axis=1)
        np.testing.assert_allclose(moved, foretold, rtol=2e-5, atol=1e-6 * np.abs(foretold).max())


def cost_and_states(device: EmulatedSubstrate, volts: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    device.hold(volts)
    states = device.settle().volts[:, 0] / device.scale.volts_per_unit
    return float((states @ weights).sum()), states


def differences(device: EmulatedSubstrate, name: str, volts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Central differences of the cost by the weight of each pair of cells."""
    cells = device.read_cells(name)
    out = np.empty(cells.shape[1:])
    small = 1e-4 * device.scale.unit_siemens
    for place in np.ndindex(out.shape):
        ends = []
        for sign in (1, -1):
            moved = cells.copy()
            moved[:, *place] += 0.5 * sign * small * np.array([1, -1])
            device.write_cells(WriteRequest(name, target_siemens=moved))
            ends.append(cost_and_states(device, volts, weights)[0])
        out[place] = (ends[0] - ends[1]) / 2e-4
    device.write_cells(WriteRequest(name, target_siemens=cells))
    return out


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("law", ["sinh", "rectifying"])
def test_gradient_takes_what_the_law_makes_of_an_activity(law: str) -> None:
    with made(LAWS[law], IDEAL) as device:
        volts, weights = batch(device), np.random.default_rng(6).standard_normal(6)
        _, states = cost_and_states(device, volts, weights)
        adjoint = device.oracle.adjoint(np.tile(weights, (3, 1))) * device.scale.unit_siemens
        name, hidden, output = "hidden1-output", slice(0, 4), slice(4, 6)
        lines = np.concatenate([states[:, hidden], np.ones((3, 1))], axis=1) * device.scale.volts_per_unit
        passed = device._config.cells.cell().current(lines, 1.0) / device.scale.volts_per_unit
        exact = passed.T @ adjoint[:, output]
        np.testing.assert_allclose(differences(device, name, volts, weights), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("cells", "wires", "volts_per_unit", "least", "most"),
    [
        # Measured: .9998, .9998 and .9947, for alpha v up to .6, .6 and 1.5.
        (SINH, IDEAL, 0.2, 0.9995, 1.0),
        (SINH, WIRES, 0.2, 0.9995, 1.0),
        (SINH, IDEAL, 0.5, 0.99, 0.998),
    ],
    ids=["small", "wires", "large"],
)
def test_rule_of_measured_activities_is_close_to_the_gradient(
    cells: dict[str, Any], wires: dict[str, Any], volts_per_unit: float, least: float, most: float
) -> None:
    with made(cells, wires, volts_per_unit=volts_per_unit) as device:
        volts, weights = batch(device), np.random.default_rng(6).standard_normal(6)
        _, states = cost_and_states(device, volts, weights)
        adjoint = device.oracle.adjoint(np.tile(weights, (3, 1))) * device.scale.unit_siemens
        lines = np.concatenate([states[:, :4], np.ones((3, 1))], axis=1)
        found = cosine(lines.T @ adjoint[:, 4:], differences(device, "hidden1-output", volts, weights))
        assert least <= found <= most


def test_oscillating_ep_measures_what_the_adjoint_foretells() -> None:
    overrides = ["substrate.cells.law=sinh", "substrate.cells.alpha=3.0", "substrate.wires.segment_ohms=5"]
    found = check_gradient(assemble(load_experiment("xor", overrides, 0)))
    assert found.total.cosine >= 0.9999


def test_xor_is_learned_by_sinh_cells_behind_wires(tmp_path: Path) -> None:
    overrides = [
        "substrate.cells.law=sinh",
        "substrate.cells.alpha=3.0",
        "substrate.wires.segment_ohms=5",
        "training.learning_rate=0.06",
        "training.epochs=22",
    ]
    with open_run(run(load_experiment("xor", overrides, 0), tmp_path / "xor.h5")) as finished:
        epochs, steps = finished.table("epochs"), finished.table("train")
    assert steps["settled_fraction"].min() == 1.0
    assert epochs["test_accuracy"][-1] == 1.0


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"law": "cubic"}, "cells.law"),
        ({"law": "ohmic", "alpha": 3.0}, "alpha: not a parameter of the law ohmic"),
        ({"law": "sinh", "alpha": 0.0}, "cells.alpha"),
        ({"law": "sinh", "forward_alpha": 2.0}, "forward_alpha"),
        ({"law": "sinh", "beta": 2.0}, "cells.beta: unknown key"),
        ({"law": "series_resistance", "series_ohms": -1.0}, "cells.series_ohms"),
        ({"law": "transistor", "memristor": {"law": "transistor"}}, "cells.memristor.law"),
    ],
)
def test_bad_cell_laws_are_named(cells: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        backend.resolve({"backend": "emulator", "cells": cells}, Network((2, 2)))


@pytest.mark.parametrize("law", LAWS)
def test_resolved_sections_resolve_to_themselves(law: str) -> None:
    once = backend.resolve({"backend": "emulator", "cells": LAWS[law]}, Network((2, 2)))
    assert set(LAWS[law]) <= set(once["cells"])
    assert backend.resolve(once, Network((2, 2))) == once


def test_only_curved_cells_leave_the_matrix_path() -> None:
    for law in LAWS:
        with made(LAWS[law], WIRES) as device:
            assert isinstance(device._circuit, CurvedCircuit) == (law != "series_resistance")
