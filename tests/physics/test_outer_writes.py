"""Outer products written to pairs: the same cells, sums and costs as cell by cell, whenever they are carried out."""

import copy
from typing import Any

import numpy as np
import pytest

from emulators.substrate import EmulatedSubstrate, backend
from substrate import load_experiment
from substrate.arrays import FloatArray
from substrate.capabilities import WriteRequest
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import assemble
from substrate.network import Network
from substrate.outer_products import OuterProducts

NETWORK = Network((6, 5, 3), "tanh", "shared")
NAME = "input-hidden1"
LOW, HIGH = 1e-6, 1e-4
SWEPT = {"relaxation": "sweeps", "sweeps": {"free": 30, "nudged": 10}}


def device(**section: Any) -> EmulatedSubstrate:
    cells = {"law": "ohmic", "window_siemens": [LOW, HIGH]}
    whole = {"backend": "emulator", "cells": cells, "update": {"law": "ideal"}} | section
    return backend.build(whole, NETWORK, np.random.default_rng(1))


def started(one: EmulatedSubstrate, spread: float = 0.3) -> None:
    """Pairs symmetric about the middle of the window, at random."""
    rng = np.random.default_rng(2)
    for coupling in NETWORK.arrays:
        half = 0.5 * spread * (HIGH - LOW) * rng.uniform(-1.0, 1.0, coupling.shape)
        one.write_cells(WriteRequest(coupling.name, target_siemens=0.5 * (LOW + HIGH) + np.stack([half, -half])))


def change(seed: int, size: float) -> OuterProducts:
    """``size`` times the window, about; a word line and a bit line take no part."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.standard_normal((2, 7)), rng.standard_normal((2, 5))
    rows[:, 2], columns[:, 1] = 0.0, 0.0
    return OuterProducts(rows, columns, size * (HIGH - LOW))


def apart(cells: FloatArray, one: OuterProducts) -> FloatArray:
    """Cell by cell."""
    half = 0.5 * one.dense
    return np.clip(np.stack([cells[0] + half, cells[1] - half]), LOW, HIGH)


@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0])
def test_cells_are_as_if_each_were_written(size: float) -> None:
    """Far from the window's ends, near them, and held at them."""
    with device() as one:
        started(one)
        expected, saturated = one.read_cells(NAME), 0
        for seed in range(6):
            request = change(seed, size)
            report = one.write_cells(WriteRequest(NAME, apart_siemens=request))
            assert not report.failed.any()
            assert report.pulses == 0
            moved = expected[0] - expected[1] + request.dense
            saturated += int(np.count_nonzero(np.abs(moved) > (HIGH - LOW) * (1 + 1e-9)))
            assert report.saturated >= 0
            expected = apart(expected, request)
            if seed == 3:
                # Looking at the cells in between changes nothing.
                one.read_cells(NAME)
        np.testing.assert_allclose(one.read_cells(NAME), expected, rtol=0, atol=1e-15 + 1e-12 * HIGH)
        assert (saturated > 0) == (size == 1.0)


def test_weights_held_at_the_end_of_the_window_are_counted() -> None:
    with device() as one:
        started(one)
        before = one.read_cells(NAME)
        request = change(0, 1.0)
        wanted = before[0] - before[1] + request.dense
        report = one.write_cells(WriteRequest(NAME, apart_siemens=request))
        assert report.saturated == np.count_nonzero(np.abs(wanted) > HIGH - LOW) > 0


@pytest.mark.parametrize("solver", [{}, SWEPT, SWEPT | {"precision": "float32"}])
def test_the_network_sees_what_was_written_at_once(solver: dict[str, Any]) -> None:
    """While inputs are held: what waits acts as cells that are written."""
    volts = 0.1 * np.random.default_rng(3).uniform(-1.0, 1.0, (2, 6))
    allowed = 1e-6 if solver.get("precision") == "float32" else 1e-9
    with device(solver=solver) as waiting, device(solver=solver) as written:
        for one in (waiting, written):
            started(one)
            one.hold(volts)
            one.settle()
        for seed in range(4):
            request = change(seed, 3e-3)
            waiting.write_cells(WriteRequest(NAME, apart_siemens=request))
            written.write_cells(WriteRequest(NAME, target_siemens=apart(written.read_cells(NAME), request)))
            found, expected = waiting.evolve().volts, written.evolve().volts
            np.testing.assert_allclose(found, expected, rtol=0, atol=allowed * np.abs(expected).max())
        np.testing.assert_allclose(waiting.settle().volts, written.settle().volts, rtol=0, atol=1e-6)


def test_they_wait_while_the_same_inputs_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    from emulators.memristors import outright_kernels

    calls = []
    carried_out = outright_kernels.move_apart
    monkeypatch.setattr(outright_kernels, "move_apart", lambda *args: (calls.append(1), carried_out(*args))[1])
    with device(solver=SWEPT) as one:
        started(one)
        one.hold(np.full((2, 6), 0.05))
        one.settle()
        for seed in range(6):
            # The same inputs are on the word lines each time.
            request = OuterProducts(change(0, 1.0).rows, change(seed, 1.0).columns, 1e-3 * (HIGH - LOW))
            one.write_cells(WriteRequest(NAME, apart_siemens=request))
            one.evolve()
        # The first one finds out how far the cells are from the ends of the window.
        assert len(calls) == 1
        one.hold(np.full((2, 6), 0.04))
        one.settle()
        assert len(calls) == 2


@pytest.mark.parametrize("more", [{"pulses_at_once": "cell"}, {"pulses_at_once": "line"}, {"unselected": "half"}])
def test_they_cost_what_as_many_pulses_do(more: dict[str, Any]) -> None:
    operation = {"pulse_seconds": 1e-6} | more
    with device(operation=operation) as waiting, device(operation=operation) as written:
        for one in (waiting, written):
            started(one)
        before = [one.ledger.joules.copy() for one in (waiting, written) if one.ledger]
        seconds = [one.ledger.device_seconds for one in (waiting, written) if one.ledger]
        for seed in range(5):
            request = change(seed, 1e-3)
            waiting.write_cells(WriteRequest(NAME, apart_siemens=request))
            cells = written.arrays[NAME].conductances
            written.write_cells(WriteRequest(NAME, target_siemens=apart(cells, request)))
        assert waiting.ledger is not None
        assert written.ledger is not None
        spent = [one.ledger.joules - old for one, old in zip((waiting, written), before, strict=True) if one.ledger]
        assert spent[1].sum() > 0
        np.testing.assert_allclose(spent[0], spent[1], rtol=1e-9, atol=1e-30)
        passed = [
            one.ledger.device_seconds - old for one, old in zip((waiting, written), seconds, strict=True) if one.ledger
        ]
        assert passed[0] == pytest.approx(passed[1])


def test_what_waits_is_in_a_snapshot_and_gone_after_it_is_put_back() -> None:
    with device() as one:
        started(one)
        one.write_cells(WriteRequest(NAME, apart_siemens=change(0, 1e-3)))
        one.write_cells(WriteRequest(NAME, apart_siemens=change(1, 1e-3)))
        assert one.states is not None
        kept = one.states.snapshot()
        cells = one.read_cells(NAME).copy()
        one.write_cells(WriteRequest(NAME, apart_siemens=change(2, 1e-3)))
        one.states.restore(kept)
        np.testing.assert_array_equal(one.read_cells(NAME), cells)


TRAINED = (
    "network.feedback=shared",
    "network.layers=[64, 48, 10]",
    "homeostasis.strength=0",
    "writing={mode: outright}",
    "training={epochs: 1, batch_size: 4, learning_rate: 0.01, momentum: 0.0}",
    "nudge={amplitude: 0.2}",
    "substrate.solver={relaxation: sweeps, precision: float32, sweeps: {free: 20, nudged: 10}}",
    "substrate.neurons.time_constant_seconds=null",
)


@pytest.mark.parametrize("rule", ["{name: ep}", "{name: continual_ep, count: 5}"])
def test_training_goes_on_to_the_bit_from_a_snapshot(rule: str) -> None:
    """Cells, and the ledger, whose sums over lines are kept from write to write."""
    assembly = assemble(load_experiment("digits-ideal", [*TRAINED, f"rule={rule}"]))
    data, device = assembly.dataset, assembly.substrate
    assert isinstance(device, EmulatedSubstrate)
    assert device.ledger is not None
    assert device.arrays[NAME].takes_outer_products

    def train(first: int, last: int) -> tuple[FloatArray, FloatArray]:
        for batch in range(first, last):
            chosen = np.arange(4 * batch, 4 * batch + 4)
            controller.step(data.train_inputs[chosen].astype(float), data.train_labels[chosen], 0.01)
        assert device.ledger is not None
        return device.ledger.joules.copy(), device.arrays[NAME].conductances.copy()

    with device:
        controller = assembly.controller()
        controller.program(assembly.initial_weights())
        train(0, 5)
        assert device.states is not None
        kept = copy.deepcopy((device.states.snapshot(), controller.snapshot()))
        whole = train(5, 11)
        device.states.restore(kept[0])
        controller.restore(kept[1])
        for found, expected in zip(train(5, 11), whole, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_cells_that_are_seen_otherwise_than_they_are_written() -> None:
    """A fault that scales all conductances: what is written is scaled as well."""
    with device() as one:
        started(one)
        array = one.arrays[NAME]
        one.write_cells(WriteRequest(NAME, apart_siemens=change(0, 1e-3)))
        before = one.read_cells(NAME).copy()
        array.scale(0.5)
        one.age()
        one.write_cells(WriteRequest(NAME, apart_siemens=change(1, 1e-3)))
        np.testing.assert_allclose(array.conductances, 0.5 * apart(before, change(1, 1e-3)), rtol=1e-12)


def test_many_of_other_rows_are_carried_out_before_they_are_more_than_the_cells() -> None:
    with device() as one:
        started(one)
        expected = one.read_cells(NAME)
        for seed in range(12):
            # Rows of its own each time: factors would grow with every write.
            request = OuterProducts(*(part[:1] for part in (change(seed, 1.0).rows, change(seed, 1.0).columns)), 1e-9)
            one.write_cells(WriteRequest(NAME, apart_siemens=request))
            expected = apart(expected, request)
            waiting = one.arrays[NAME]._outer.change
            assert waiting is None or waiting.rows.size + waiting.columns.size < 7 * 5
        np.testing.assert_allclose(one.read_cells(NAME), expected, rtol=1e-12)


def test_factors_that_are_more_than_the_cells_do_not_wait() -> None:
    """Lines of a convolution are many, and so are the terms of a change: their products would be the square of that."""
    rng = np.random.default_rng(4)
    with device(solver=SWEPT) as one:
        started(one)
        one.hold(np.full((2, 6), 0.05))
        expected = one.read_cells(NAME)
        for terms, waits in ((2, False), (3, False), (2, True), (3, False)):
            request = OuterProducts(rng.standard_normal((terms, 7)), rng.standard_normal((terms, 5)), 1e-9)
            one.write_cells(WriteRequest(NAME, apart_siemens=request))
            # The first one finds out how far the cells are from the ends of the window.
            assert (one.arrays[NAME]._outer.change is not None) == waits
            expected = apart(expected, request)
        np.testing.assert_allclose(one.read_cells(NAME), expected, rtol=1e-12)


def test_a_fault_between_writes_is_seen() -> None:
    """Conductances that are seen scaled, before anything has aged: weights are those that the circuit sees."""
    with device(solver=SWEPT) as one:
        started(one)
        array = one.arrays[NAME]
        one.write_cells(WriteRequest(NAME, apart_siemens=change(0, 1e-3)))
        array.scale(0.5)
        one.write_cells(WriteRequest(NAME, apart_siemens=change(1, 1e-3)))
        one.age()
        seen = array.conductances
        np.testing.assert_allclose(array.weights() * array._unit_siemens, seen[0] - seen[1], rtol=0, atol=1e-18)


@pytest.mark.parametrize(
    "section",
    [
        {"update": {"preset": "reram_array_hfo2"}},
        {"cells": {"law": "ohmic", "window_siemens": [LOW, HIGH], "stuck": 0.05}},
        {"wires": {"segment_ohms": 1.0}},
        {"noise": {"read_disturb": {"fraction_per_reading": 1e-6}}},
        {"noise": {"cell_flicker": {"relative_at_one_hertz": 0.01}}},
        {"temperature": {"temperature_kelvin": 350.0, "conductance_per_kelvin": 0.002}},
    ],
)
def test_a_device_whose_cells_are_not_ideal_refuses_them(section: dict[str, Any]) -> None:
    with device(**section) as one, pytest.raises(CapabilityError, match="outer_product_writes"):
        one.write_cells(WriteRequest(NAME, apart_siemens=change(0, 1e-3)))


def test_malformed_ones_are_refused() -> None:
    with device() as one:
        good = change(0, 1e-3)
        wrong = good.columns.copy()
        wrong[0, 0] = np.nan
        for request in (
            OuterProducts(good.rows[:, :-1], good.columns),
            OuterProducts(good.rows[:-1], good.columns),
            OuterProducts(good.rows, wrong),
            OuterProducts(good.rows, good.columns, float("inf")),
            OuterProducts(good.rows, good.columns, None),
            OuterProducts(good.rows, good.columns, 1j),
            OuterProducts(good.rows.astype(np.int64), good.columns),
            OuterProducts(good.rows.astype(np.float16), good.columns),
            OuterProducts(good.rows.tolist(), good.columns),
            good.dense,
        ):
            with pytest.raises(InputError, match="apart_siemens"):
                one.write_cells(WriteRequest(NAME, apart_siemens=request))
