"""Feedback paths on cells, pulses and wires of their own (``substrate.feedback_paths``)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from topologies import network_of, training

from emulators.bench.board_chip import BoardChip
from emulators.bench.config import parse_bench
from emulators.substrate import EmulatedSubstrate, backend
from substrate import load_experiment, open_run, resume, run
from substrate.capabilities import WriteRequest
from substrate.errors import CapabilityError, InputError
from substrate.experiment import report_devices
from substrate.experiment.assembly import assemble
from substrate.experiment.dry_run import dry_run
from substrate.experiment.gradient_check import check_gradient
from substrate.experiment.report import write_report
from substrate.network import Network
from substrate.rules.kolen_pollack import KolenPollack
from substrate.tiki_taka import symmetry_cycles
from substrate.writing import Writer, WritingPlan

IDEAL: dict[str, Any] = {"cells": {}, "update": {"law": "ideal"}, "wires": {}}
SOFT: dict[str, Any] = {
    "cells": {"window_siemens": [5.0e-6, 8.0e-5], "stuck": 0.2, "disturb": {"write_volts": 1.2}},
    "update": {"law": "soft_bounds", "step": 0.01, "step_spread": 0.3, "cycle_spread": 0.2},
    "wires": {"segment_ohms": 10.0, "source_ohms": 100.0},
}
ONE_SIDED: dict[str, Any] = {"cells": {"forming": {"pulse_volts": 1.9}}, "update": {"law": "one_sided", "step": 0.02}}
CURVED: dict[str, Any] = {"cells": {"law": "sinh", "alpha": 3.0}, "wires": {"segment_ohms": 10.0}}

NETWORKS = {
    "separate": network_of([4, 5, 3]),
    "separate, convolutions": network_of([[1, 4, 4], {"channels": 2, "kernel": 2}, 3]),
    "loop": network_of([4, 4, 4, 4, 3], feedback="loop"),
    "feedforward, separate": network_of([4, 5, 3], family="feedforward"),
    "direct": network_of([4, 5, 4, 3], family="feedforward", feedback="direct"),
    "product": network_of([4, 5, 3], family="feedforward", feedback="product", product_ratio=2),
    "two arrays": network_of([4, 5, 3], fast_arrays=True),
}


def device(network: Network, section: dict[str, Any]) -> EmulatedSubstrate:
    section = {"backend": "emulator", **section}
    return backend.build(backend.resolve(section, network), network, np.random.default_rng(3))


def driven(network: Network, section: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What each array holds, gives and costs, written and read by itself."""
    found = {}
    with device(network, section) as chip:
        for number, coupling in enumerate(network.arrays):
            rng, own, name = np.random.default_rng(number), chip.capabilities.of(coupling.name), coupling.name
            reports = []
            for _ in range(3):
                low, high = own.conductance_window_siemens
                counts = rng.integers(0 if own.resets else -20, 21, coupling.cell_shape)
                target = low + (high - low) * rng.uniform(size=coupling.cell_shape)
                pulsed = {"pulses": counts} if own.pulses else {"target_siemens": target}
                reports.append(chip.write_cells(WriteRequest(name, **pulsed)))
                if own.resets:
                    chip.write_cells(WriteRequest(name, reset=counts == 20))
            lines = rng.uniform(-0.2, 0.2, (2, coupling.shape[0]))
            found[name] = {
                "window": own.conductance_window_siemens,
                "steps": own.step_siemens,
                "abilities": (own.pulses, own.continuous_writing, own.resets, own.outer_product_writes),
                "failed": [report.failed for report in reports],
                "cells": chip.read_cells(name),
                "products": chip.products(name, lines),
                "joules": chip.ledger.joules[list(chip.ledger.parts).index(name)],
            }
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("forward", "behind"), [(IDEAL, SOFT), (SOFT, IDEAL), (SOFT, ONE_SIDED), (IDEAL, CURVED)])
def test_each_array_is_that_of_a_device_all_of_its_kind(
    name: str, forward: dict[str, Any], behind: dict[str, Any]
) -> None:
    network = NETWORKS[name]
    behind = {**IDEAL, **behind}
    if name == "separate, convolutions" and "law" in behind["cells"]:
        with pytest.raises(InputError, match=r"proportional"):
            device(network, {**forward, "feedback_paths": behind})
        return
    mixed = driven(network, {**forward, "feedback_paths": behind})
    alike = {False: driven(network, forward), True: driven(network, behind)}
    assert any(coupling.backward for coupling in network.arrays)
    for coupling in network.arrays:
        own, other = alike[coupling.backward][coupling.name], alike[not coupling.backward][coupling.name]
        assert same(mixed[coupling.name], own)
        assert not same(mixed[coupling.name], other)


def test_ideal_forward_arrays_hold_what_they_are_given_and_feedback_arrays_do_not() -> None:
    network = NETWORKS["separate"]
    for forward, behind in ((IDEAL, SOFT), (SOFT, IDEAL)):
        with device(network, {**forward, "feedback_paths": behind}) as chip:
            writer = Writer(chip, WritingPlan("accumulate"), np.random.default_rng(0))
            for coupling in network.arrays:
                wanted = np.random.default_rng(1).uniform(-1, 1, coupling.shape)
                writer.program(coupling, wanted)
                change = np.random.default_rng(2).uniform(-0.1, 0.1, coupling.shape)
                writer.change(coupling, change)
                seen = chip.arrays[coupling.name].weights()
                exact = np.allclose(seen, wanted + change, rtol=0, atol=1e-12)
                assert exact == ((behind if coupling.backward else forward) is IDEAL)


def test_sections_that_say_the_same_and_none_are_no_others() -> None:
    network = NETWORKS["separate"]
    section = {**SOFT, "wires": {"segment_ohms": 5.0}}
    plain = driven(network, section)
    for paths in (None, {}, section, {"cells": section["cells"]}, {"wires": section["wires"]}):
        again = driven(network, {**section, "feedback_paths": paths})
        assert all(same(plain[name], again[name]) for name in plain)
    assert not device(network, {**section, "feedback_paths": section}).capabilities.other_arrays


def test_a_preset_brings_its_window_to_feedback_paths_too() -> None:
    network = NETWORKS["separate"]

    def kinds(**section: Any) -> Any:
        resolved = backend.resolve({"backend": "emulator", **section}, network)
        assert backend.resolve(resolved, network) == resolved
        chip = device(network, section)
        windows = [chip.capabilities.of(one.name).conductance_window_siemens for one in network.arrays[1:]]
        return windows, resolved["feedback_paths"]["cells"]

    common = {"window_siemens": [1.0e-7, 2.0e-5], "stuck": 0.1}
    pcm, given = (0.0, 25e-6), (1.0e-7, 2.0e-5)
    windows, cells = kinds(cells=common, feedback_paths={"update": {"preset": "pcm"}})
    assert windows == [given, pcm]
    # What it does not bring stays the common cells'.
    assert cells["stuck"] == 0.1
    windows, _ = kinds(update={"preset": "pcm"}, feedback_paths={"update": {"law": "ideal"}, "cells": {}})
    assert windows == [pcm, (1.0e-6, 1.0e-4)]
    windows, cells = kinds(update={"preset": "pcm"}, feedback_paths={"cells": {"stuck": 0.2}})
    assert windows == [pcm, pcm]
    assert cells["stuck"] == 0.2
    preset = {"update": {"preset": "pcm"}, "cells": {"window_siemens": [1.0e-6, 3.0e-5]}}
    windows, _ = kinds(cells=common, feedback_paths=preset)
    assert windows == [given, (1.0e-6, 3.0e-5)]


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ({"cells": {"unit_siemens": 1.0e-5}}, r"feedback_paths\.cells: unit_siemens: .*alike"),
        ({"cels": {}}, r"feedback_paths\.cels: unknown key; did you mean cells"),
        ({"wires": {"segment_ohm": 1.0}}, r"feedback_paths\.wires\.segment_ohm: unknown key; did you mean segment_oh"),
        ({"cells": {"window_siemens": [2.0e-5, 1.0e-5]}}, r"feedback_paths\.cells: window_siemens"),
        ({"cells": {"forming": {"pulse_volts": 5.0}}}, r"feedback_paths\.cells\.forming\.pulse_volts: 5 V is beyond"),
        ({"cells": {"disturb": {"write_volts": 5.0}}}, r"feedback_paths\.cells\.disturb\.write_volts: 5 V is beyond"),
        ({"update": {"law": "cubic"}}, r"feedback_paths\.update\.law: expected one of ideal"),
        ({"update": {"preset": "none"}}, r"feedback_paths\.update\.preset"),
        ({"update": {"law": "ideal"}}, r"feedback_paths\.cells\.disturb: .*without pulses, got ideal"),
    ],
)
def test_what_is_wrong_is_named(paths: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        backend.resolve({"backend": "emulator", **SOFT, "feedback_paths": paths}, NETWORKS["separate"])


@pytest.mark.parametrize(("mode", "forward", "behind"), [("outright", IDEAL, SOFT), ("tiki_taka", IDEAL, SOFT)])
def test_ways_of_writing_that_an_array_has_not_are_refused(
    mode: Any, forward: dict[str, Any], behind: dict[str, Any]
) -> None:
    network = NETWORKS["two arrays"]
    for section in ({**forward, "feedback_paths": behind}, {**behind, "feedback_paths": forward}):
        chip = device(network, section)
        with pytest.raises(CapabilityError, match=rf"writing\.mode: {mode}"):
            Writer(chip, WritingPlan(mode), np.random.default_rng(0))
    # Which array it is of is told.
    name = {"outright": "output-hidden1", "tiki_taka": "input-hidden1"}[mode]
    with pytest.raises(CapabilityError, match=rf"the cells of {name}[ ,]"):
        Writer(device(network, {**forward, "feedback_paths": behind}), WritingPlan(mode), np.random.default_rng(0))


def test_one_sided_feedback_cells_are_refreshed_beside_ideal_ones() -> None:
    network = NETWORKS["separate"]
    with device(network, {**IDEAL, "feedback_paths": {"update": {"law": "one_sided", "step": 0.02}}}) as chip:
        writer = Writer(chip, WritingPlan("accumulate", refresh_every=1), np.random.default_rng(0))
        forward, behind = network.forward[1], network.backward[0]
        refreshed = 0
        for sign in (1, -1) * 12:
            for coupling in (forward, behind):
                written = writer.change(coupling, np.full(coupling.shape, 0.4 * sign))
                refreshed += written.refreshed
                assert coupling.backward or not (written.refreshed or written.pulses)
        assert refreshed
        assert np.allclose(writer.weights(forward), 0.0, atol=1e-12)


def test_fast_arrays_find_their_zeros_by_steps_of_their_own() -> None:
    network, coarse, fine = (
        NETWORKS["two arrays"],
        {"law": "constant", "step": 0.02},
        {"law": "constant", "step": 0.004},
    )
    with device(network, {"update": coarse, "feedback_paths": {"update": fine}}) as chip:
        writer = Writer(chip, WritingPlan("tiki_taka"), np.random.default_rng(0))
        for coupling in network.weight_arrays:
            writer.change(coupling, np.zeros(coupling.shape))
            fast = network.fast(coupling).name
            cycles = symmetry_cycles(chip.capabilities.of(fast), WritingPlan("tiki_taka").largest_burst)
            sent = chip.pulses_sent(fast)
            assert sent.min() == sum(abs(count) for part in cycles for count in part)
            assert sent.max() == sent.min() + 1


def test_a_board_and_a_bench_have_one_kind_of_cells() -> None:
    with device(NETWORKS["separate"], {"feedback_paths": SOFT}) as chip, pytest.raises(InputError, match="one kind"):
        BoardChip(chip, np.random.default_rng(0))
    bench = {
        "network": {"layers": [2, 3, 2]},
        "substrate": {"backend": "emulator", "feedback_paths": {"wires": {"segment_ohms": 1.0}}},
    }
    with pytest.raises(InputError, match=r"feedback_paths: the drivers of a bench"):
        parse_bench(bench)


CHIP = """
experiment: paths
data: {name: iris, test_fraction: 0.2}
network: {layers: [4, 10, 3], initial: {scale: 0.5}}
cost: {targets: [-0.7, 0.7]}
substrate:
  backend: emulator
  feedback_paths:
    cells: {window_siemens: [2.0e-6, 8.0e-5], stuck: 0.02}
    update: {law: soft_bounds, step: 0.004, step_spread: 0.3, cycle_spread: 0.2}
    wires: {segment_ohms: 5.0}
training: {epochs: 12, batch_size: 8, learning_rate: 0.1, momentum: 0.5}
"""
RULES: dict[str, tuple[str, ...]] = {
    "ep": ("rule.name=ep", "nudge={amplitude: 0.2}", "homeostasis.strength=0.2"),
    "kolen_pollack": (
        "rule.name=kolen_pollack",
        "network.family=feedforward",
        "network.feedback=separate",
        "network.initial.feedback_angle_degrees=90",
        "training.weight_decay=0.01",
    ),
    "product_feedback": (
        "rule.name=product_feedback",
        "network.family=feedforward",
        "network.feedback=product",
        "network.product_ratio=4",
        "training.weight_decay=0.01",
    ),
}


@pytest.mark.parametrize(("rule", "right"), [("ep", False), ("asymmetric_ep", True), ("multiplexed", True)])
def test_rules_that_need_symmetry_miss_it_and_others_do_not(rule: str, right: bool) -> None:
    paths = "substrate.feedback_paths={cells: {stuck: 0.3}, wires: {segment_ohms: 1000}}"
    overrides = [f"rule={{name: {rule}}}", "nudge={amplitude: 0.02}", "homeostasis.strength=0", paths]
    if rule == "multiplexed":
        overrides[1] = "nudge={amplitude: 0.02, harmonics: 1}"
    assembly = assemble(load_experiment("xor", overrides))
    check = check_gradient(assembly, samples=4, reference="exact")
    cosine = check.total.cosine
    assert cosine > 0.9999 if right else cosine < 0.9


def pulses_of(path: Path) -> dict[str, int]:
    with open_run(path) as finished:
        table = finished.table("pulses")
        return {name: int(np.sum(values)) for name, values in table.items() if name != "epoch"}


@pytest.mark.parametrize("rule", RULES)
def test_networks_learn_and_resume_to_the_bit(rule: str, tmp_path: Path) -> None:
    whole = run(load_experiment("paths", RULES[rule], text=CHIP), tmp_path / "whole.h5")
    with open_run(whole) as finished:
        assert finished.summary()["test_accuracy"] > 0.85
    # Ideal arrays are set, and those of feedback paths pulsed.
    for name, count in pulses_of(whole).items():
        assert (count > 0) == (name not in ("input-hidden1", "hidden1-output"))
    half = run(load_experiment("paths", (*RULES[rule], "training.epochs=6"), text=CHIP), tmp_path / "half.h5")
    resume(half, epochs=12)
    with open_run(whole) as one, open_run(half) as other:
        for table in ("train", "epochs", "conductances", "pulses"):
            first, second = one.table(table), other.table(table)
            for name in first:
                if name not in ("seconds", "samples_per_second"):
                    np.testing.assert_array_equal(first[name], second[name], err_msg=f"{table}/{name}")


@pytest.mark.parametrize(
    "overrides",
    [
        RULES["ep"],
        (*RULES["product_feedback"], "network.layers=[4, 6, 5, 3]"),
        (
            *RULES["ep"],
            "network.layers=[4, 6, 5, 3]",
            "writing.mode=tiki_taka",
            "training.momentum=0",
            "substrate.update={preset: ecram_lithium}",
        ),
    ],
    ids=["separate", "product", "fast arrays"],
)
def test_a_report_shows_each_array_in_its_own_window(
    overrides: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def noted(cells: Any, window: Any, epoch: int) -> list[Any]:
        seen.append(window)
        return []

    experiment = load_experiment("paths", (*overrides, "training.epochs=1"), text=CHIP)
    path = run(experiment, tmp_path / "run.h5")
    monkeypatch.setattr(report_devices, "device_pictures", noted)
    text = write_report(path, tmp_path / "run.html").read_text()
    arrays = experiment.topology().arrays
    common = tuple(experiment.substrate["cells"]["window_siemens"])
    forward = sum(not coupling.backward for coupling in arrays)
    assert seen == [common] * forward + [(2.0e-6, 8.0e-5)] * (len(arrays) - forward)
    assert text.count("the last word line carries the biases") == forward


def test_a_dry_run_is_of_the_kind_that_takes_the_most() -> None:
    def demands(*overrides: str) -> dict[str, float]:
        experiment = load_experiment("paths", (*RULES["ep"], *overrides), text=CHIP)
        return {one.what: one.value for one in dry_run(assemble(experiment)).demands}

    paths, none = "substrate.feedback_paths", "substrate.feedback_paths=null"
    mixed = demands("writing.mode=verify")
    pulsed = demands("writing.mode=verify", none, "substrate.update={law: constant, step: 0.004}")
    ideal = demands("writing.mode=outright", none)
    for what in ("pulses of a cell, first programming", "pulses of a cell, training"):
        assert mixed[what] == pulsed[what] > 1
    seconds = "time writing, at most"
    assert ideal[seconds] < mixed[seconds] < pulsed[seconds]
    disturbed = demands(f"{paths}.cells.disturb={{write_volts: 1.1}}")
    assert disturbed["largest programming pulse"] == 1.1
    assert mixed["largest programming pulse"] == 2.0


def test_a_dry_run_counts_the_readings_of_the_arrays_that_are_verified() -> None:
    """Word lines of the loop's array are few cells each, beside those of the arrays that are set without a look."""
    loop = ("network={layers: [4, 20, 2, 3], feedback: loop}", "rule.name=multiplexed", "nudge={amplitude: 0.2}")
    reading = "substrate.operation={reading_seconds: 1.0e-3, settle_seconds: 0, pulse_seconds: 1.0e-30}"

    def told(rounds: int) -> float:
        experiment = load_experiment(
            "paths", (*loop, reading, f"writing={{mode: verify, rounds: {rounds}}}"), text=CHIP
        )
        return {one.what: one.value for one in dry_run(assemble(experiment)).demands}["time writing, at most"]

    assembly = assemble(load_experiment("paths", (*loop, reading), text=CHIP))
    with assembly.substrate as chip:
        assert chip.ledger is not None
        before = chip.ledger.device_seconds
        chip.read_cells("output-hidden1")
        once = chip.ledger.device_seconds - before
    steps = 12 * (len(assembly.dataset.train_labels) // 8)
    assert told(5) - told(4) == pytest.approx(steps * once)


def test_wires_of_feedback_paths_alone_are_what_turns_the_gradient_of_kolen_pollack() -> None:
    """Forward arrays without wires give the sums that their cells say, to the last bit of rounding."""
    network = NETWORKS["feedforward, separate"]
    section = {"feedback_paths": {"wires": {"segment_ohms": 2.0e3}}}
    rates, cells = [], []
    for given in ({}, section):
        with training(network, KolenPollack(), section=given) as controller:
            rng = np.random.default_rng(0)
            controller.program({one.name: 0.5 * rng.standard_normal(one.shape) for one in network.arrays})
            before = {one.name: controller.writer.weights(one) for one in network.arrays}
            controller.step(rng.uniform(-1, 1, (8, 4)), rng.integers(0, 3, 8), 0.1)
            rates.append({one.name: controller.writer.weights(one) - before[one.name] for one in network.arrays})
            cells.append(before)
    assert all(np.array_equal(cells[0][name], cells[1][name]) for name in cells[0])
    plain, wired = rates
    assert np.array_equal(plain["hidden1-output"], wired["hidden1-output"])
    assert np.abs(plain["input-hidden1"] - wired["input-hidden1"]).max() > 0.05 * np.abs(plain["input-hidden1"]).max()
