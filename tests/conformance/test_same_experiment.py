"""One experiment on every backend: it learns, and gradients agree with the emulator's within the predicted error.

(The reference board has its own tests of the same, ``test_reference_board.py``.)
"""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import yaml
from xor_bench import (
    CELLS,
    EMULATOR,
    SIZES,
    arc_section,
    arc_two,
    bench_file,
    bench_section,
    driven,
    experiment,
    wiring,
)

from emulators.bench.bench import VirtualBench
from emulators.config import EmulatorConfig
from emulators.substrate import EmulatedSubstrate
from substrate import open_run, run
from substrate.capabilities import Nudge, WriteRequest
from substrate.experiment.assembly import assemble
from substrate.experiment.config import WritingConfig
from substrate.network import Network
from substrate.rules.homeostasis_forward import ForwardProducts
from substrate.rules.homeostasis_published import TransposedProducts
from substrate.tones import SamplingPlan

ESTIMATORS = {"forward": ForwardProducts, "published": TransposedProducts}
SHORT = ["training.epochs=9", "training.learning_rate=0.4", "nudge.periods=1"]


@pytest.fixture(scope="module")
def bench():
    with VirtualBench(bench_file()) as found:
        yield found


def learns(section, folder):
    path = folder / "run.h5"
    run(experiment(section, folder, SHORT), path)
    with open_run(path) as found:
        assert found.status == "finished"
        assert found.summary()["train_accuracy"] == 1.0
    return path


def test_it_learns_on_the_emulator(tmp_path):
    learns(EMULATOR, tmp_path)


def test_it_learns_between_instruments(bench, tmp_path):
    # Near enough to where training begins that programming through relays takes seconds and not minutes.
    emulated = assemble(experiment(EMULATOR, tmp_path))
    with bench.lock:
        replace(emulated, substrate=bench.plant.substrate).controller().program(emulated.initial_weights())
        bench.plant.cells_changed()
    path = learns(bench_section(bench.resources, tmp_path), tmp_path)
    assert driven(bench) == []
    with h5py.File(path) as file:
        snapshot = json.loads(file["instruments/snapshot"].asstr()[()])
    assert "33512B" in snapshot["nudges"]["identity"]
    assert snapshot["left"]["channel1"]["range_volts"] == pytest.approx(0.5)


def test_it_learns_around_an_arc_two(tmp_path):
    with arc_two() as board:
        learns(arc_section(), tmp_path)
        assert not board._volts.any()
        assert board._open.all()


@pytest.mark.parametrize("loop", [{}, {"loop": {"current_amperes": 1.0e-4}}])
def test_neurons_settle_around_a_noisy_arc_two_by_default(loop, tmp_path):
    section = arc_section()
    del section["loop"]
    with arc_two(), assemble(experiment(section | loop, tmp_path)).substrate as device:
        device.hold(np.array([[0.1, -0.2], [0.2, 0.2]]))
        assert device.settle().settled.all()


def compared(on_device, emulated, reference, rounds):
    """Gradients on a device, time after time, against those on the emulator with the same cells and no noise.

    Returns:
        z-scores (round * coupling,), the largest predicted relative error, the smallest cosine.
    """
    inputs = emulated.dataset.train_inputs[:4].astype(np.float64)
    labels = emulated.dataset.train_labels[:4]
    scores, errors, cosines = [], [], []
    wanted = reference(emulated, inputs, labels)
    controller = on_device.controller()
    for _ in range(rounds):
        _, found = controller.measure(inputs, labels)
        assert found.keep.all()
        for coupling, direction in found.directions.items():
            other = wanted.directions[coupling]
            norm = np.linalg.norm(other)
            scores.append(np.linalg.norm(direction - other) / found.standard_errors[coupling])
            errors.append(found.standard_errors[coupling] / norm)
            cosines.append(np.sum(direction * other) / norm / np.linalg.norm(direction))
    return scores, max(errors), min(cosines)


def agrees(results):
    scores, errors, cosines = zip(*results, strict=True)
    assert 0.7 < np.sqrt(np.mean(np.square(np.concatenate(scores)))) < 1.3
    assert max(errors) <= 0.1
    assert min(cosines) >= 0.99


def measured_on(device):
    def reference(emulated, inputs, labels):
        return replace(emulated, substrate=device).controller().measure(inputs, labels)[1]

    return reference


def test_gradients_between_instruments_agree(bench, tmp_path):
    # Scopes filter what lies beyond the sampled harmonics, which the emulator's samples fold down: it has to be small.
    fine = ["nudge.amplitude=0.3", "nudge.samples_per_period=16"]
    results = []
    device = bench.plant.substrate
    for seed in range(3):
        emulated = assemble(experiment(EMULATOR, tmp_path, [*fine, f"seed={seed}"]))
        with bench.lock:
            # Weights by the emulator's own writing: what the instruments write is looked at elsewhere.
            replace(emulated, substrate=device).controller().program(emulated.initial_weights())
            bench.plant.cells_changed()
        on_bench = assemble(experiment(bench_section(bench.resources, tmp_path), tmp_path, [*fine, f"seed={seed}"]))
        with on_bench.substrate:
            results.append(compared(on_bench, emulated, measured_on(device), rounds=3))
        assert driven(bench) == []
    agrees(results)


@pytest.mark.parametrize("estimator", ["forward", "published"])
def test_homeostasis_reads_arrays_between_instruments(bench, estimator, tmp_path):
    """A unit of activity is 0.2 V, and a cell alone is read at 0.1 V, which limits nothing else."""
    penalty = ["homeostasis.strength=1", f"homeostasis.estimator={estimator}"]
    emulated = assemble(experiment(EMULATOR, tmp_path, penalty))
    device, gradients = bench.plant.substrate, ESTIMATORS[estimator]().gradients
    inputs, labels = emulated.dataset.train_inputs[:4].astype(np.float64), emulated.dataset.train_labels[:4]
    with bench.lock:
        replace(emulated, substrate=device).controller().program(emulated.initial_weights())
        bench.plant.cells_changed()
        wanted = gradients(device, inputs, 0, np.random.default_rng(0))
    on_bench = assemble(experiment(bench_section(bench.resources, tmp_path), tmp_path, penalty))
    with on_bench.substrate:
        found = gradients(on_bench.substrate, inputs, 0, np.random.default_rng(0))
        controller = on_bench.controller()
        for _ in range(2):
            controller.step(inputs, labels, 0.05)
    assert driven(bench) == []
    assert found.keys() == wanted.keys() != set()
    for name, one in wanted.items():
        np.testing.assert_allclose(found[name], one, atol=0.02 * np.abs(one).max())


def test_gradients_around_an_arc_two_agree(tmp_path):
    results = []
    for seed in range(2):
        emulated = assemble(experiment(EMULATOR, tmp_path, [f"seed={seed}"]))
        with arc_two(seed) as board:
            on_arc = assemble(experiment(arc_section(), tmp_path, [f"seed={seed}"]))
            with on_arc.substrate as device:
                on_arc.controller().program(emulated.initial_weights())
                cells = board.plant.conductances("arc")

                def reference(emulated, inputs, labels, cells=cells, device=device):
                    return _same_cells(emulated, device.placement, cells).measure(inputs, labels)[1]

                results.append(compared(on_arc, emulated, reference, rounds=3))
    agrees(results)


def _same_cells(emulated, placement, cells):
    """A controller whose device is an emulator without noise that holds the very cells of an array."""
    exact = EmulatorConfig.model_validate({"backend": "emulator", "cells": CELLS})
    device = EmulatedSubstrate(Network(SIZES), exact, np.random.default_rng(0)).__enter__()
    for coupling in device.network.arrays:
        pair = np.stack([cells[one.rows, one.columns] for one in placement[coupling.name]])
        device.write_cells(WriteRequest(coupling.name, target_siemens=pair))
    assembly = replace(
        emulated,
        substrate=device,
        experiment=emulated.experiment.model_copy(update={"writing": WritingConfig(mode="outright")}),
    )
    return assembly.controller()


def test_a_data_logger_steps_through_the_nudge(tmp_path):
    """Instruments too slow for a sine: every phase is held, and read as a constant."""
    file = bench_file()
    names = [f"hidden1.{index}" for index in range(SIZES[1])] + ["output.0", "output.1"]
    for name in ("left", "right", "clock"):
        del file["instruments"][name]
    wired = {str(101 + place): node for place, node in enumerate(names)}
    file["instruments"]["logger"] = {"model": "keysight-34970a", "channels": wired}
    with VirtualBench(file) as bench:
        text = wiring({**bench.resources, **dict.fromkeys(("left", "right", "clock"), "")})
        for name in ("left", "right", "clock"):
            del text["instruments"][name]
        del text["reference"]
        text["instruments"]["logger"] = {"model": "keysight-34970a", "address": bench.resources["logger"]}
        text["nodes"] = {node: f"logger.{101 + place}" for place, node in enumerate(names)}
        (tmp_path / "logger.yaml").write_text(yaml.safe_dump(text))
        section = {"backend": "bench", "wiring": str(tmp_path / "logger.yaml")}
        device = bench.plant.substrate
        emulated = assemble(experiment(EMULATOR, tmp_path))
        with bench.lock:
            replace(emulated, substrate=device).controller().program(emulated.initial_weights())
            bench.plant.cells_changed()
        inputs = np.array([[0.1, -0.2]])
        amperes = np.zeros((1, 6))
        amperes[:, 4:] = [2e-6, -1e-6]
        plan = SamplingPlan(10.0, 3, 8, 1)
        with assemble(experiment(section, tmp_path)).substrate as driver:
            driver.hold(inputs)
            free = driver.settle().volts
            found = driver.nudge(Nudge(amperes), plan)
        device.hold(inputs)
        np.testing.assert_allclose(free, device.settle().volts, atol=2e-5)
        np.testing.assert_allclose(found.volts, device.nudge(Nudge(amperes), plan).volts, atol=2e-5)
        assert found.rate_hz == plan.rate_hz
