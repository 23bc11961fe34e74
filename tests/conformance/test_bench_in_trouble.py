"""Instruments that fail in the middle of training: the run goes on or stops safely, and its log tells what happened."""

import numpy as np
import pytest
import yaml
from test_same_experiment import driven
from xor_bench import bench_file, experiment, wiring

from drivers.errors import BenchError
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import Rule
from substrate import open_run, run

SECONDS = 0.25
PASSED = 2000
"""Messages before anything fails: setting up takes fewer, training more."""

PLANS = {
    "a bad line": [
        Rule(kind, after=PASSED, count=None, probability=2.0e-4, value=0.3 * SECONDS)
        for kind in ("no_answer", "delay", "stale", "split", "duplicate", "garbage", "banner")
    ],
    "a scope that drops its connection": [Rule("drop_during", "left", "WAV:DATA", after=20)],
    "a source meter that is reset": [Rule("reset", "drive", "READ", after=20)],
    "a generator that is switched off and on": [Rule("power_cycle", "inputs", "OFFS", after=40)],
    "a generator that refuses": [Rule("error", "nudges", "VOLT", after=40, text="Self-test failed", value=-330)],
    "a matrix that is silent": [Rule("no_answer", "matrix", after=40, count=None)],
}


@pytest.mark.parametrize("plan", PLANS)
def test_training_goes_on_or_stops_safely(plan, tmp_path):
    with VirtualBench(bench_file(seed=3)) as bench:
        given = []
        for array in bench.plant.arrays:
            def count(counts, spoil=array.spoil):
                out = spoil(counts)
                given.append(int(np.abs(out).sum()))
                return out

            array.spoil = count
        text = wiring(bench.resources)
        for section in text["instruments"].values():
            section["timeout_seconds"] = SECONDS
        (tmp_path / "wiring.yaml").write_text(yaml.safe_dump(text))
        section = {"backend": "bench", "wiring": str(tmp_path / "wiring.yaml")}
        with bench.lock:
            for rule in PLANS[plan]:
                bench.faults.add(rule)
        failure = None
        try:
            run(experiment(section, tmp_path, ["training.epochs=2"]), tmp_path / "run.h5")
        except BenchError as error:
            failure = error
        with bench.lock:
            struck = len(bench.faults.happened)
            bench.faults.clear()
        print(plan, struck, repr(failure), getattr(failure, "__notes__", None), sum(given))
        assert struck
        assert driven(bench) == []
    with open_run(tmp_path / "run.h5") as found:
        assert found.status == ("finished" if failure is None else "failed")
        print(found.lengths, found.summary())
