"""Resets of one-sided cells through the seam, and the refresh of pairs that near their upper end."""

from typing import Any

import numpy as np
import pytest

from emulators.memristors.presets import PRESETS
from emulators.substrate import EmulatedSubstrate, backend
from substrate.capabilities import WriteRequest
from substrate.contract import Substrate
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.config import load_experiment
from substrate.network import Coupling, Network
from substrate.writing import Writer, WritingPlan

STEP = 0.01
ONE_SIDED: dict[str, Any] = {"law": "one_sided", "step": STEP}


def device(update: dict[str, Any], seed: int = 0, **cells: Any) -> tuple[EmulatedSubstrate, Coupling]:
    section = {"backend": "emulator", "update": update, "cells": cells}
    substrate = backend.build(section, Network((7, 6, 3)), np.random.default_rng(seed))
    return substrate, substrate.network.forward[0]


def writer(substrate: Substrate, mode: Any = "accumulate", **plan: Any) -> Writer:
    return Writer(substrate, WritingPlan(mode, **plan), np.random.default_rng(1))


def pulse_weight(substrate: Substrate) -> float:
    return substrate.capabilities.step_siemens[0] / substrate.scale.unit_siemens


def test_a_reset_takes_the_cells_of_the_mask_down_and_no_others() -> None:
    substrate, coupling = device(ONE_SIDED, stuck=0.1)
    with substrate:
        substrate.write_cells(WriteRequest(coupling.name, pulses=np.full(coupling.cell_shape, 100)))
        before = substrate.read_cells(coupling.name)
        mask = np.random.default_rng(2).random(coupling.cell_shape) < 0.5
        report = substrate.write_cells(WriteRequest(coupling.name, reset=mask))
        after = substrate.read_cells(coupling.name)
    still = mask & (after == before)
    low, _ = substrate.capabilities.conductance_window_siemens
    np.testing.assert_allclose(after[mask & ~still], low)
    assert np.array_equal(after[~mask], before[~mask])
    assert np.array_equal(report.failed, still)
    assert report.failed.any()
    assert report.pulses == mask.sum() - still.sum()


def test_resets_are_checked() -> None:
    substrate, coupling = device(ONE_SIDED)
    mask = np.ones(coupling.cell_shape, dtype=bool)
    with substrate:
        for bad in (mask[0], mask.astype(int)):
            with pytest.raises(InputError, match="reset"):
                substrate.write_cells(WriteRequest(coupling.name, reset=bad))
        with pytest.raises(CapabilityError, match="either"):
            substrate.write_cells(WriteRequest(coupling.name, reset=mask, pulses=mask.astype(int)))
    substrate, coupling = device({"law": "constant", "step": STEP})
    with substrate, pytest.raises(CapabilityError, match="resets"):
        substrate.write_cells(WriteRequest(coupling.name, reset=mask))


def test_a_reset_is_booked_as_one_pulse_a_cell() -> None:
    substrate, coupling = device(ONE_SIDED)
    with substrate:
        before = substrate.ledger.device_seconds
        mask = np.zeros(coupling.cell_shape, dtype=bool)
        mask[0, :2] = True
        substrate.write_cells(WriteRequest(coupling.name, reset=mask))
        # operation.pulse_seconds, one cell after another.
        assert substrate.ledger.device_seconds - before == pytest.approx(mask.sum() * 1e-7)


@pytest.mark.parametrize("mode", ["accumulate", "blind", "verify"])
def test_weights_that_swing_for_ever_stay_trainable(mode: str) -> None:
    """Up and down by 20 pulses, 40 times: each device takes 400 pulses where 200 fill it."""
    substrate, coupling = device(ONE_SIDED)
    swing = np.full(coupling.shape, 20 * pulse_weight(substrate))
    with substrate:
        one = writer(substrate, mode, refresh_every=2)
        refreshed = 0
        start = one.weights(coupling)
        for turn in range(40):
            written = one.change(coupling, swing if turn % 2 == 0 else -swing)
            refreshed += written.refreshed
            expected = start + (swing if turn % 2 == 0 else 0.0)
            assert np.abs(one.weights(coupling) - expected).max() <= 2.0 * pulse_weight(substrate)
        cells = substrate.read_cells(coupling.name)
    assert refreshed >= 2 * coupling.shape[0] * coupling.shape[1]
    assert cells.max() < substrate.capabilities.conductance_window_siemens[1]


@pytest.mark.parametrize("seed", range(3))
def test_phase_change_cells_are_programmed_whose_first_pulses_are_the_largest(seed: int) -> None:
    """From reset one pulse is nine mean steps: bursts of what is missing fill both devices of most pairs."""
    substrate, coupling = device({"preset": "pcm"}, seed, unit_siemens=25e-6)
    wanted = np.random.default_rng(3).normal(0.0, 0.1, coupling.shape)
    with substrate:
        one = writer(substrate)
        one.program(coupling, wanted)
        wrong = one.weights(coupling) - wanted
        cells = substrate.read_cells(coupling.name)
    assert np.sqrt(np.mean(wrong**2)) < 0.05
    assert cells.mean() < 0.5 * substrate.capabilities.conductance_window_siemens[1]


def test_without_a_refresh_they_are_stuck() -> None:
    substrate, coupling = device(ONE_SIDED)
    swing = np.full(coupling.shape, 20 * pulse_weight(substrate))
    with substrate:
        one = writer(substrate, refresh_every=1000)
        for turn in range(40):
            one.change(coupling, swing if turn % 2 == 0 else -swing)
        before = one.weights(coupling)
        assert one.change(coupling, swing).refreshed == 0
        assert np.abs(one.weights(coupling) - before).max() < 1e-9


def test_a_large_weight_is_left_alone_and_so_are_stuck_pairs_after_one_try() -> None:
    substrate, coupling = device(ONE_SIDED)
    with substrate:
        one = writer(substrate, refresh_every=1, largest_burst=500)
        assert one.change(coupling, np.full(coupling.shape, 190 * pulse_weight(substrate))).refreshed == 0
        assert one.change(coupling, np.zeros(coupling.shape)).refreshed == 0
    substrate, coupling = device(ONE_SIDED, stuck=0.5)
    with substrate:
        one = writer(substrate, refresh_every=1, largest_burst=500)
        one.change(coupling, np.full(coupling.shape, 100 * pulse_weight(substrate)))
        one.change(coupling, np.full(coupling.shape, -180 * pulse_weight(substrate)))
        assert one.change(coupling, np.zeros(coupling.shape)).refreshed == 0


def test_a_restored_writer_refreshes_at_the_same_time() -> None:
    substrate, coupling = device({**ONE_SIDED, "cycle_spread": 0.3})
    swing = np.full(coupling.shape, 25 * pulse_weight(substrate))
    with substrate:
        one = writer(substrate, refresh_every=3)
        for turn in range(10):
            one.change(coupling, swing if turn % 2 else -swing)
        kept, cells = one.snapshot(), substrate.states.snapshot()
        runs = []
        for _ in range(2):
            counts = [one.change(coupling, swing if turn % 2 else -swing).refreshed for turn in range(9)]
            runs.append((counts, substrate.read_cells(coupling.name)))
            one.restore(kept)
            substrate.states.restore(cells)
    assert runs[0][0] == runs[1][0]
    assert sum(runs[0][0]) > 0
    assert np.array_equal(runs[0][1], runs[1][1])


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_iris_trains_on_every_published_device(name: str) -> None:
    overrides = [f"substrate.update={{preset: {name}}}", "substrate.cells={spread: 0.1, stuck: 0.01}"]
    experiment = load_experiment("iris", overrides)
    assert tuple(experiment.substrate["cells"]["window_siemens"]) == PRESETS[name].window_siemens
    assembly = assemble(experiment)
    data = assembly.dataset
    with assembly.substrate:
        controller = assembly.controller()
        controller.program(assembly.initial_weights())
        pulses = 0
        for epoch in range(2):
            order = np.random.default_rng(epoch).permutation(len(data.train_labels))[:96].reshape(-1, 8)
            for batch in order:
                step = controller.step(data.train_inputs[batch].astype(float), data.train_labels[batch], 0.02)
                pulses += step.report.pulses
                assert np.isfinite(step.report.loss)
                assert step.report.refreshed_pairs == 0 or name == "pcm"
        result = controller.evaluate(data.test_inputs, data.test_labels)
    assert pulses > 0
    assert np.isfinite(result.loss)
