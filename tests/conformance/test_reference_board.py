"""The reference board, real firmware and emulated chip, as a network: the contract, gradients, and training."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from drivers.board import BoardSubstrate
from drivers.board_section import BoardConfig, section_of
from emulators.bench.board import VirtualBoard
from emulators.config import EmulatorConfig
from emulators.substrate import EmulatedSubstrate
from substrate import load_experiment, open_run, run
from substrate.capabilities import HeldNudge, WriteRequest
from substrate.experiment.assembly import assemble, generators
from substrate.network import Network
from substrate.registry import load_backend
from substrate.testing import Tolerance, substrate_bench, substrate_checks

RESOLUTION = 0.25 / 32767
NOISE = 1e-5
NETWORK = Network((3, 5, 2))
TOLERANCE = Tolerance(
    noise_volts=NOISE,
    resolution_volts=RESOLUTION,
    nudge_units=0.2,
    periods=8,
    response_relative=2e-2,
    cells_siemens=1e-11,
    products_relative=1e-3,
    wires_relative=1e-3,
    reciprocal_relative=1e-3,
)


def chip(network, seed=0, **sections):
    config = EmulatorConfig.model_validate({"backend": "emulator", **sections})
    return EmulatedSubstrate(network, config, np.random.default_rng(seed))


@pytest.fixture(scope="module", params=["ideal", "constant"])
def section(request):
    update = {"law": "ideal"} if request.param == "ideal" else {"law": "constant", "step": 0.004}
    device = chip(NETWORK, update=update)
    with device, VirtualBoard(device, np.random.default_rng(1)) as board:
        yield BoardConfig.model_validate(section_of(board.resource))


@pytest.mark.parametrize("check", substrate_checks(), ids=str)
def test_conformance(check, section):
    result = check.run(substrate_bench(lambda: BoardSubstrate(NETWORK, section), TOLERANCE))
    if result.status == "not applicable":
        pytest.skip(result.message)
    assert result.status == "passed", result.message


def board_experiment(name, overrides, folder, port):
    """The shipped experiment with its ``substrate`` section exchanged, as a file."""
    text = yaml.safe_load(load_experiment(name, overrides).to_yaml())
    text["substrate"] = section_of(port)
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump(text))
    return load_experiment(str(path))


def served(experiment):
    """The chip of an experiment, as the emulator would have drawn it."""
    device = load_backend("emulator").build(
        experiment.substrate, experiment.topology(), generators(experiment.seed)["device"]
    )
    return device, VirtualBoard(device, np.random.default_rng(experiment.seed))


@pytest.mark.parametrize(
    ("name", "overrides", "least"),
    [
        ("xor", ["training.epochs=60"], 1.0),
        ("iris", ["training.epochs=8"], 0.85),
        ("digits", ["training.epochs=3", "data.train_limit=800"], 0.7),
    ],
)
def test_the_same_experiment_learns_on_the_board(name, overrides, least, tmp_path):
    device, board = served(load_experiment(name, overrides))
    with device, board:
        experiment = board_experiment(name, overrides, tmp_path, board.resource)
        run(experiment, tmp_path / "run.h5")
        assert not board.chip.outputs_on
    with open_run(tmp_path / "run.h5") as found:
        assert found.status == "finished"
        assert found.summary()["train_accuracy"] >= least


@pytest.mark.parametrize("name", ["xor", "iris"])
def test_gradients_agree_with_the_emulator(name, tmp_path):
    """The same cells, the same samples: every coupling's gradient points the same way."""
    original = load_experiment(name)
    device, board = served(original)
    with device, board:
        on_board = assemble(board_experiment(name, [], tmp_path, board.resource))
        emulated = assemble(original)
        samples = slice(0, 40)
        inputs, labels = emulated.dataset.train_inputs[samples], emulated.dataset.train_labels[samples]
        weights = emulated.initial_weights()
        with on_board.substrate:
            controller = on_board.controller()
            controller.program(weights)
            controller.prepare(inputs, labels)
            _, found = controller.measure(inputs, labels)
        # The emulator's own nudge on the very cells that the board has written.
        reference = replace(emulated, substrate=device).controller()
        reference.prepare(inputs, labels)
        _, wanted = reference.measure(inputs, labels)
        assert found.keep.all()
        for coupling, direction in found.directions.items():
            other = wanted.directions[coupling]
            cosine = np.sum(direction * other) / np.sqrt(np.sum(direction**2) * np.sum(other**2))
            assert cosine >= 0.99, coupling
            assert found.standard_errors[coupling] <= 0.1 * np.sqrt(np.sum(other**2)), coupling


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("xor", ["nudge.amplitude=0.3"]),
        ("iris", ["nudge.amplitude=0.3", "substrate.converters={}"]),
    ],
)
def test_errors_of_gradients_are_predicted(name, overrides, tmp_path):
    """z-scores of the board's gradients against the chip's own without noise, at the same amplitude."""
    scores = []
    for seed in range(6):
        original = load_experiment(name, [*overrides, f"seed={seed}"])
        device, board = served(original)
        with device, board:
            on_board = assemble(board_experiment(name, [*overrides, f"seed={seed}"], tmp_path, board.resource))
            emulated = assemble(original)
            inputs, labels = emulated.dataset.train_inputs[:16], emulated.dataset.train_labels[:16]
            with on_board.substrate:
                controller = on_board.controller()
                controller.program(emulated.initial_weights())
                _, found = controller.measure(inputs, labels)
            _, wanted = replace(emulated, substrate=device).controller().measure(inputs, labels)
        for coupling, direction in found.directions.items():
            off = np.sqrt(np.sum((direction - wanted.directions[coupling]) ** 2))
            scores.append(off / found.standard_errors[coupling])
    assert 0.7 < np.sqrt(np.mean(np.square(scores))) < 1.3


def test_held_currents_give_the_emulators_states():
    device = chip(NETWORK, update={"law": "ideal"})
    rng = np.random.default_rng(3)
    with device, VirtualBoard(device, np.random.default_rng(1)) as board:
        section = BoardConfig.model_validate(section_of(board.resource))
        with BoardSubstrate(NETWORK, section) as driver:
            for coupling in NETWORK.arrays:
                target = rng.uniform(4.5e-5, 5.5e-5, coupling.cell_shape)
                driver.write_cells(WriteRequest(coupling.name, target_siemens=target))
            inputs = rng.uniform(-0.2, 0.2, (30, 3))
            amperes = rng.uniform(-2e-6, 2e-6, (30, 100, 7))
            driver.hold(inputs)
            driver.settle()
            found = driver.settle_nudged(HeldNudge(amperes))
            device.hold(inputs)
            device.settle()
            wanted = device.settle_nudged(HeldNudge(amperes))
    assert found.volts.shape == (30, 100, 7)
    assert np.abs(found.volts - wanted.volts).max() < 6.0 * NOISE + 2.0 * RESOLUTION
    np.testing.assert_array_equal(found.settled, wanted.settled)
