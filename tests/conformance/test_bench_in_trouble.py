"""Every fault in the middle of training: the run goes on or stops safely, and its log tells what happened.

A few of them are tried each time; all: ``pytest -m "" tests/conformance/test_bench_in_trouble.py``.
"""

import json

import h5py
import numpy as np
import pytest
import yaml
from test_wirings import program
from xor_bench import EMULATOR, bench_file, driven, experiment, wiring

from drivers import record_readers
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import INSTRUMENT, SUBSTRATE, TRANSPORT, Rule
from substrate import open_run, run
from substrate.errors import SubstrateError
from substrate.experiment.progress import Progress

SECONDS = 0.25
EPOCHS = 2
ARRAYS = ("input-hidden1", "hidden1-output", "output-hidden1")
CURRENT, RECORD, LEVEL, RELAYS = ("drive", r"READ\?"), ("left", "WAV:DATA"), ("inputs", "OFFS"), ("matrix", "CLOS")
WHERE = {
    "no_answer": CURRENT, "delay": RECORD, "stale": CURRENT, "split": RECORD, "trickle": CURRENT,
    "drop_before": LEVEL, "drop_during": RECORD, "drop_after": RELAYS, "reset": CURRENT, "refuse": LEVEL,
    "back_pressure": RELAYS, "wrong_terminator": CURRENT, "no_terminator": CURRENT, "banner": RECORD,
    "duplicate": CURRENT, "truncate": RECORD, "garbage": CURRENT, "unplug": LEVEL,
    "error": ("nudges", "PHAS"), "error_overflow": ("nudges", "PHAS"), "power_cycle": LEVEL,
    "never_complete": ("left", ""), "identity": ("left", ""), "overload": ("sense", ""), "compliance": ("drive", ""),
    "saturation": ("left", ""), "gain": ("left", ""), "offset": ("left", ""), "missed_trigger": ("left", ""),
    "clock_skew": ("left", ""), "relay_stuck_open": ("matrix", ""), "relay_stuck_closed": ("matrix", ""),
    "relay_bounce": ("matrix", ""), "relay_stuck_open_to_sense": ("matrix", ""),
}  # fmt: skip
"""The instrument that each kind strikes, and the message."""

VALUES = {
    "delay": 1.3 * SECONDS, "split": 1.3 * SECONDS, "back_pressure": 2.0 * SECONDS, "unplug": SECONDS, "error": -222,
    "gain": 0.02, "offset": 2.0e-3, "clock_skew": 1.0e-4, "relay_stuck_open": 103, "relay_stuck_closed": 208,
    "relay_stuck_open_to_sense": 207,
    "relay_bounce": 0.02, "read_disturb": 1.0e-6, "drift": 0.03, "temperature": 5.0,
}  # fmt: skip
LASTING = {"stuck_cell", "read_disturb", "drift", "temperature", "relay_stuck_open_to_sense"} | set(INSTRUMENT) - {
    "error", "error_overflow", "power_cycle", "missed_trigger"
}  # fmt: skip
"""States, of which no list of events is kept where they strike no message."""

GOES_ON = {
    "nothing", "delay", "saturation", "gain", "offset", "clock_skew", "identity", "relay_stuck_open",
    "relay_stuck_open_to_sense", *SUBSTRATE,
}  # fmt: skip
STOPS = {
    "no_answer", "reset", "power_cycle", "error", "error_overflow", "never_complete", "overload", "compliance",
    "missed_trigger",
}  # fmt: skip
EACH_TIME = {"nothing", "reset", "power_cycle", "relay_stuck_open", "lost_pulse"}


def rules(kind):
    if kind == "nothing":
        return []
    name, pattern = WHERE.get(kind, ("*", ""))
    cell = ("input-hidden1+", 0, 1) if kind == "stuck_cell" else None
    after = 5 if pattern and kind != "refuse" else 0
    fault = kind.removesuffix("_to_sense")
    found = [
        Rule(fault, name, pattern if kind != "refuse" else "", after=after, value=VALUES.get(kind, 0.0), cell=cell)
    ]
    if kind == "refuse":
        # A connection is refused where a new one is asked for.
        found.append(Rule("drop_before", name, pattern, after=5))
    return found


class Trouble(Progress):
    """Lets faults begin after the first step."""

    def __init__(self, bench, rules):
        self._bench, self._rules = bench, rules

    def note(self, text):
        pass

    def start(self, name, epochs, steps_per_epoch, done_steps):
        pass

    def step(self, epoch, report):
        with self._bench.lock:
            while self._rules:
                self._bench.faults.add(self._rules.pop())

    def epoch(self, epoch, report):
        pass

    def close(self):
        pass


@pytest.fixture(scope="module")
def bench():
    file = bench_file(seed=3)
    file["substrate"] = {**EMULATOR, "temperature": {"conductance_per_kelvin": -2.0e-3}}
    with VirtualBench(file) as found:
        yield found


@pytest.fixture
def given(bench):
    """Pulses that instruments have put on cells, by array (rows, columns)."""
    found = {}
    before = [(array, array.spoil) for array in bench.plant.arrays]

    def counting(name, spoil):
        def count(counts):
            found[name] += np.abs(counts)
            return spoil(counts)

        return count

    for array, spoil in before:
        found[array.name] = np.zeros(array.shape, dtype=int)
        array.spoil = counting(array.name, spoil)
    yield found
    for array, spoil in before:
        array.spoil = spoil


KINDS = [
    one if one in EACH_TIME else pytest.param(one, marks=pytest.mark.slow)
    for one in ("nothing", *TRANSPORT, *INSTRUMENT, "relay_stuck_open_to_sense", *SUBSTRATE)
]


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_or_stops_safely(kind, bench, given, tmp_path, monkeypatch):
    monkeypatch.setattr(record_readers, "RECORD_SECONDS", 0.5)
    program(bench, tmp_path)
    for counts in given.values():
        counts[...] = 0  # what programming took
    text = wiring(bench.resources)
    text["cells"]["pulses"]["pulse_ledger"] = "ledger.json"
    for section in text["instruments"].values():
        section["timeout_seconds"] = SECONDS
    (tmp_path / "wiring.yaml").write_text(yaml.safe_dump(text))
    section = {"backend": "bench", "wiring": str(tmp_path / "wiring.yaml")}
    trained = experiment(section, tmp_path, [f"training.epochs={EPOCHS}", "nudge.periods=1"])
    failure = None
    with bench.lock:
        happened = len(bench.faults.happened)
    try:
        run(trained, tmp_path / "run.h5", Trouble(bench, rules(kind)))
    except SubstrateError as error:
        failure = error
    with bench.lock:
        struck = len(bench.faults.happened) - happened
        left_on = [place for place in driven(bench) if not isinstance(place, tuple)]
        actual = {name: _cells(bench, name) for name in ARRAYS}
        bench.faults.clear()
        # A relay that is stuck opens when it is free again.
        bench.instruments["matrix"].outputs_off()
    assert struck or kind in LASTING or kind == "nothing"
    assert left_on == []
    assert driven(bench) == []
    if kind in GOES_ON | STOPS:
        assert (failure is None) == (kind in GOES_ON), failure
    with h5py.File(tmp_path / "run.h5") as file:
        logged = {name: file["pulses"][name][-1] for name in ARRAYS}
        cells = {name: file["conductances"][name][-1] for name in ARRAYS}
        missed = file["train/failed_cells"][:]
    ledger = json.loads((tmp_path / "ledger.json").read_text())["pulses"]
    for name in ARRAYS:
        for sign, of_plane in zip("+-", np.abs(logged[name]), strict=True):
            plane, counted = given[f"{name}{sign}"], np.array(ledger[f"{name}{sign}"])
            if failure is None and not kind.startswith("relay"):
                # None lost and none doubled.
                np.testing.assert_array_equal(plane, counted)
                assert plane.sum() == of_plane.sum()
            elif failure is not None:
                # Pulses were counted before they were given: none is beyond what is known, and the log says that the
                # run failed.
                assert (plane <= counted).all()
                assert of_plane.sum() <= counted.sum()
    with open_run(tmp_path / "run.h5") as found:
        assert found.status == ("finished" if failure is None else "failed")
        assert found.lengths["train"] == (EPOCHS if failure is None else 1)
        if failure is not None:
            assert type(failure).__name__ in found.summary()["message"]
    # Pulses that no relay let through are known by their current, or by that of the cell.
    assert (missed.sum() > 0) == (kind in ("relay_stuck_open", "relay_stuck_open_to_sense", "relay_bounce"))
    if kind in SUBSTRATE or kind == "nothing":
        # What became of pulses in the device is in the log all the same: the cells are read, not reckoned.
        for name in ARRAYS:
            np.testing.assert_allclose(cells[name], actual[name], rtol=5e-3)


def _cells(bench, coupling):
    return np.stack([bench.plant.conductances(f"{coupling}{sign}") for sign in "+-"])
