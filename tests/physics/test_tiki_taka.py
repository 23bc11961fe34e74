"""Training on two arrays: what it is for, what it costs, and that it resumes as if there had been no break."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from emulators.config import EmulatorConfig
from emulators.substrate import EmulatedSubstrate
from substrate import run
from substrate.capabilities import WriteRequest
from substrate.cli import main
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.config import load_experiment
from substrate.experiment.runner import resume
from substrate.network import Network
from substrate.tiki_taka import TransferPlan
from substrate.writing import Mode, Writer, WritingPlan

FloatArray = npt.NDArray[np.float64]
COARSE = {"law": "soft_bounds", "step": 0.05, "step_spread": 0.3, "bound_spread": 0.3, "cycle_spread": 0.3}
UNEQUAL = {"law": "soft_bounds", "step": 0.05, "bound_spread": 0.3, "asymmetry_spread": 0.2}
SMALL = ["homeostasis.strength=0", "network.feedback=shared", "rule={name: ep}", "nudge={amplitude: 0.1}"]


def device(update: dict[str, Any], fast: bool = True, **network: Any) -> EmulatedSubstrate:
    config = EmulatorConfig.model_validate({"backend": "emulator", "update": update})
    return EmulatedSubstrate(Network((9, 8), fast_arrays=fast, **network), config, np.random.default_rng(0))


def writer(substrate: EmulatedSubstrate, mode: Mode = "tiki_taka", **transfer: Any) -> Writer:
    plan = WritingPlan(mode, transfer=TransferPlan(**transfer))
    return Writer(substrate, plan, np.random.default_rng(1))


def descended(mode: Mode) -> float:
    """Where descent on (w - target)^2/2 with noisy gradients ends, projected on the target and relative to it."""
    substrate = device(COARSE, fast=mode == "tiki_taka")
    (coupling,) = substrate.network.weight_arrays
    rng = np.random.default_rng(2)
    target = rng.choice([-1.5, 1.5], coupling.shape)
    total = np.zeros(coupling.shape)
    with substrate:
        one = writer(substrate, mode, rate=0.1, gain=1.0)
        for step in range(1100):
            error = target - one.weights(coupling)
            one.change(coupling, 0.05 * (error + 2.0 * rng.standard_normal(coupling.shape)))
            total += error if step >= 600 else 0.0
    return 1.0 - float(np.sum(total / 500 * target) / np.sum(target**2))


def test_pulses_alone_are_pulled_to_the_symmetry_points_and_two_arrays_are_not() -> None:
    assert descended("blind") < 0.8
    assert descended("accumulate") < 0.85
    assert descended("tiki_taka") > 0.92


def trained(writing: str, seed: int) -> float:
    """Training accuracy on Iris with the ReRAM cells of Gong et al. 2022: steps that are coarse, uneven and noisy."""
    cells = "substrate={backend: emulator, update: {preset: reram_array_optimised}, solver: {residual: 1.0e-6}}"
    overrides = [*SMALL, cells, "training.momentum=0", f"writing.mode={writing}"]
    experiment = load_experiment("iris", overrides, seed=seed)
    assembly = assemble(experiment)
    inputs, labels = assembly.dataset.train_inputs.astype(np.float64), assembly.dataset.train_labels
    found = []
    with assembly.substrate:
        controller = assembly.controller()
        assembly.bring_to(controller, None)
        for epoch in range(12):
            for batch in assembly.rngs["order"].permutation(len(labels)).reshape(-1, 2):
                controller.step(inputs[batch], labels[batch], 0.1)
            if epoch >= 9:
                found.append(controller.evaluate(inputs, labels).accuracy)
    return float(np.mean(found))


def test_learning_that_blind_pulses_lose_comes_back() -> None:
    blind = np.mean([trained("blind", seed) for seed in range(2)])
    both = np.mean([trained("tiki_taka", seed) for seed in range(2)])
    assert blind < 0.7
    assert both > 0.82


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("training.momentum=0.5", r"training\.momentum: writing\.mode tiki_taka .*; expected 0, got 0\.5"),
        (
            "training={optimiser: adam}",
            r"training\.adam_decays: writing\.mode tiki_taka .*; expected 0 first, got 0\.9",
        ),
    ],
)
def test_the_fast_array_is_the_only_momentum(given: str, said: str) -> None:
    fast = ["substrate={backend: emulator, update: {preset: reram_array_optimised}}", "writing.mode=tiki_taka"]
    load_experiment("iris", [*fast, "training.momentum=0"])
    with pytest.raises(InputError, match=said):
        load_experiment("iris", [*fast, given])


def test_the_zero_of_the_fast_array_is_where_pulses_up_and_down_agree() -> None:
    substrate = device(UNEQUAL)
    (coupling,) = substrate.network.weight_arrays
    fast = substrate.network.fast(coupling)
    with substrate:
        one = writer(substrate)
        one.change(coupling, np.zeros(coupling.shape))
        zero = one.snapshot()["transfer"]["zero"][coupling.name]
        # From the far ends, by single pulses alone.
        start = np.where(np.arange(fast.cell_shape[1])[None, :, None] % 2, 60, -60) * np.ones(fast.cell_shape)
        substrate.write_cells(WriteRequest(fast.name, pulses=start))
        seen = np.zeros(coupling.shape)
        for cycle in range(300):
            for sign in (1, -1):
                counts = sign * np.ones(fast.cell_shape)
                counts[1] *= -1
                substrate.write_cells(WriteRequest(fast.name, pulses=counts))
                if cycle >= 290:
                    cells = substrate.read_cells(fast.name)
                    seen += (cells[0] - cells[1]) / substrate.scale.unit_siemens / 20
    pulse = float(np.mean(substrate.capabilities.step_siemens)) / substrate.scale.unit_siemens
    assert np.abs(zero - seen).max() < 0.05 * pulse
    # Each device has a point of its own: the middle of the window would be off by this.
    assert np.abs(seen).max() > 2 * pulse


def test_what_is_read_moves_the_weights_line_by_line_and_in_due_time() -> None:
    substrate = device({"law": "constant", "step": 0.002})
    (coupling,) = substrate.network.weight_arrays
    pulse = float(np.mean(substrate.capabilities.step_siemens)) / substrate.scale.unit_siemens
    with substrate:
        one = writer(substrate, every=2, lines=3, rate=0.5, gain=2.0)
        start = one.weights(coupling)
        one.change(coupling, np.full(coupling.shape, 3.0 * pulse))
        assert np.array_equal(one.weights(coupling), start)
        one.change(coupling, np.full(coupling.shape, 2.0 * pulse))
        moved = one.weights(coupling) - start
        # Ten pulses stand in the fast array; half of them are due, on the lines that were read.
        assert moved[:3] == pytest.approx(5.0 * pulse, abs=1.01 * pulse)
        assert not moved[3:].any()
        for _ in range(2):
            one.change(coupling, np.zeros(coupling.shape))
        moved = one.weights(coupling) - start
        assert moved[:6] == pytest.approx(5.0 * pulse, abs=1.01 * pulse)
        assert not moved[6:].any()


def test_a_threshold_holds_transfers_back_until_they_are_due() -> None:
    substrate = device({"law": "constant", "step": 0.002})
    (coupling,) = substrate.network.weight_arrays
    pulse = float(np.mean(substrate.capabilities.step_siemens)) / substrate.scale.unit_siemens
    with substrate:
        one = writer(substrate, lines=10, rate=0.5, gain=1.0, threshold=6.5)
        start = one.weights(coupling)
        one.change(coupling, np.full(coupling.shape, 6.0 * pulse))
        one.change(coupling, np.zeros(coupling.shape))
        assert np.array_equal(one.weights(coupling), start)
        one.change(coupling, np.zeros(coupling.shape))
        assert one.weights(coupling) - start == pytest.approx(9.0 * pulse, abs=1.01 * pulse)


def test_fast_arrays_take_no_part_in_the_dynamics_and_their_pulses_are_booked() -> None:
    substrate = device(COARSE)
    (coupling,) = substrate.network.weight_arrays
    assert substrate.network.settling == (coupling,)
    inputs = np.full((1, 9), 0.1)
    with substrate:
        one = writer(substrate, threshold=50.0)
        substrate.hold(inputs)
        before = substrate.settle().volts
        written = [one.change(coupling, np.full(coupling.shape, 0.3)) for _ in range(3)]
        substrate.hold(inputs)
        assert np.array_equal(substrate.settle().volts, before)
        one.change(coupling, np.full(coupling.shape, 3.0))
        written += [writer(substrate, "blind").change(coupling, np.full(coupling.shape, 0.5))]
        ledger = substrate.ledger
        assert ledger is not None
        assert ledger.arrays == (coupling.name, f"{coupling.name}-fast")
        slow, fast = ledger.snapshot()["pulses"]
        assert slow == written[-1].pulses > 0
        assert fast > sum(step.pulses for step in written[:-1]) > 0


def test_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    overrides = [*SMALL, "writing={mode: tiki_taka, transfer: {every: 3, lines: 2}}", "data.train_limit=40"]
    overrides += ["training.momentum=0"]
    whole = run(load_experiment("iris", [*overrides, "training.epochs=3"]), tmp_path / "whole.h5")
    part = run(load_experiment("iris", [*overrides, "training.epochs=1"]), tmp_path / "part.h5")
    resume(part, 3)
    with h5py.File(whole) as one, h5py.File(part) as other:
        names = list(one["conductances"])
        assert {"input-hidden1", "input-hidden1-fast", "hidden1-output-fast"} <= set(names)
        for name in names:
            assert np.array_equal(one["conductances"][name][()], other["conductances"][name][()])
        assert np.array_equal(one["train/pulses"][()], other["train/pulses"][()])


@pytest.mark.parametrize(
    ("experiment", "overrides", "named"),
    [
        ("digits", ["rule={name: continual_ep}", "nudge.amplitude=0.1"], "writing.mode: rule continual_ep"),
        ("digits-resistive-chip", [], "capability 'forward_products'"),
        ("digits", ["substrate.update={preset: pcm}"], "pulses that move cells down"),
        ("digits-ideal", [], "capability 'pulses'"),
    ],
)
def test_what_it_does_not_go_with_is_refused(
    experiment: str, overrides: list[str], named: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = [
        part
        for override in [*overrides, "training.momentum=0", "writing.mode=tiki_taka"]
        for part in ("--set", override)
    ]
    assert main(["run", experiment, *settings, "--output", str(tmp_path / "run.h5"), "--quiet"]) == 2
    assert named in capsys.readouterr().err


def test_transfer_belongs_to_two_arrays() -> None:
    with pytest.raises(InputError, match="transfer: belongs to mode tiki_taka, got mode blind"):
        load_experiment("digits", ["writing={mode: blind, transfer: {rate: 0.5}}"])
    with pytest.raises(CapabilityError, match="second array"):
        writer(device(COARSE, fast=False))
