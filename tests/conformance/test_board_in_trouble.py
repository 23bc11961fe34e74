"""Every fault of a board's wire and chip in the middle of training: the run goes on or stops safely, and its log tells.

A board retransmits without pulsing again, so that most faults leave no trace. A few are tried each time; all:
``pytest -m "" tests/conformance/test_board_in_trouble.py``.
"""

import json
import time

import h5py
import numpy as np
import pytest
from test_bench_in_trouble import Trouble
from xor_bench import CELLS, SIZES, UPDATE, experiment

from drivers.board_section import section_of
from emulators.bench.bench import VirtualBench
from emulators.bench.board_wire import DROPS, FAULTS
from emulators.bench.faults import SUBSTRATE, Rule
from substrate import open_run, run
from substrate.errors import SubstrateError

SECONDS = 0.15
EPOCHS = 3
ARRAYS = ("input-hidden1", "hidden1-output", "output-hidden1")
VALUES = {
    "delay": 1.3 * SECONDS, "split": 1.3 * SECONDS, "trickle": 2.0e-3, "unplug": SECONDS,
    "read_disturb": 1.0e-6, "drift": 0.03, "temperature": 5.0,
}  # fmt: skip
ANSWERS = {"duplicate", "truncate", "garbage"}
"""Of these the request is spoiled too."""


def rules(kind):
    if kind in SUBSTRATE:
        cell = ("input-hidden1+", 0, 1) if kind == "stuck_cell" else None
        return [Rule(kind, value=VALUES.get(kind, 0.0), cell=cell)]
    messages = ["PULSE answer", "MEASURE answer", "CELLS answer"] + (["PULSE$"] if kind in ANSWERS else [])
    return [Rule(kind, "chip", message, after=1, value=VALUES.get(kind, 0.0)) for message in messages]


EACH_TIME = ("nothing", "stale", "garbage", "unplug", "lost_pulse")
KINDS = [
    one if one in EACH_TIME else pytest.param(one, marks=pytest.mark.slow) for one in ("nothing", *FAULTS, *SUBSTRATE)
]


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_or_stops_safely(kind, tmp_path):
    substrate = {
        "backend": "emulator",
        "cells": CELLS,
        "update": UPDATE,
        "temperature": {"conductance_per_kelvin": -2.0e-3},
    }
    file = {
        "seed": 5,
        "network": {"family": "current_mode", "layers": list(SIZES)},
        "substrate": substrate,
        # The same name after unplugging.
        "boards": {"chip": {"transport": "tcp"} if kind in DROPS else {"link": str(tmp_path / "board")}},
    }
    with VirtualBench(file) as bench:
        given = {array.name: np.zeros(array.shape, dtype=int) for array in bench.plant.arrays}
        for array in bench.plant.arrays:

            def count(counts, array=array, spoil=array.spoil):
                given[array.name] += np.abs(counts)
                return spoil(counts)

            array.spoil = count
        section = section_of(bench.resources["chip"])
        section |= {"answer_seconds": SECONDS, "watchdog_seconds": 0.5, "pulse_ledger": str(tmp_path / "ledger.json")}
        chosen = experiment(section, tmp_path, [f"training.epochs={EPOCHS}"])
        failure = None
        try:
            run(chosen, tmp_path / "run.h5", Trouble(bench, rules(kind) if kind != "nothing" else []))
        except SubstrateError as error:
            failure = error
        with bench.lock:
            struck = len(bench.faults.happened)
            actual = {name: np.stack([bench.plant.conductances(f"{name}{sign}") for sign in "+-"]) for name in ARRAYS}
        # Where the host is gone, the board's watchdog does it.
        end = time.monotonic() + 10.0
        while bench.boards["chip"].chip.outputs_on and time.monotonic() < end:
            time.sleep(0.05)
        assert not bench.boards["chip"].chip.outputs_on
    assert struck or kind in ("nothing", "stuck_cell", "read_disturb", "drift", "temperature")
    with h5py.File(tmp_path / "run.h5") as found:
        logged = {name: np.abs(found["pulses"][name][-1]) for name in ARRAYS}
        cells = {name: found["conductances"][name][-1] for name in ARRAYS}
    ledger = json.loads((tmp_path / "ledger.json").read_text())["pulses"]
    with open_run(tmp_path / "run.h5") as found:
        assert found.status == ("finished" if failure is None else "failed"), failure
        if failure is not None:
            assert type(failure).__name__ in found.summary()["message"]
    # Only a cable that is pulled out for good ends a run; all else the board's protocol makes good.
    assert (failure is None) == (kind != "unplug"), failure
    for name in ARRAYS:
        reached = np.stack([given[f"{name}{sign}"] for sign in "+-"])
        counted = np.array(ledger[name])
        if failure is None:
            np.testing.assert_array_equal(reached, counted)
            np.testing.assert_array_equal(reached.sum(), logged[name].sum())
            np.testing.assert_allclose(cells[name], actual[name], rtol=5e-3)
        else:
            assert (reached <= counted).all()
