"""Instruments that fail in the middle of training: the run goes on or stops safely, and its log tells what happened."""

import h5py
import numpy as np
import pytest
import yaml
from test_same_experiment import driven
from xor_bench import bench_file, experiment, wiring

from drivers.errors import BenchError, ConnectionLost
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import Rule
from substrate import open_run, run
from substrate.experiment.progress import Progress

SECONDS = 0.25
EPOCHS = 2
ARRAYS = ("input-hidden1", "hidden1-output", "output-hidden1")
PLANS = {
    "nothing": [],
    "a bad line": [
        Rule(kind, count=2, probability=5.0e-3, value=0.3 * SECONDS)
        for kind in ("delay", "stale", "split", "duplicate", "garbage", "banner")
    ],
    "a source meter that is reset while cells are read": [Rule("reset", "drive", r"READ\?", after=5)],
    "a generator that is switched off and on": [Rule("power_cycle", "inputs", "OFFS", after=5)],
}
"""What happens after the first step."""


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


def counted(bench):
    """Numbers of pulses that reach cells, as they come."""
    given = []
    for array in bench.plant.arrays:

        def count(counts, spoil=array.spoil):
            out = spoil(counts)
            given.append(int(np.abs(out).sum()))
            return out

        array.spoil = count
    return given


@pytest.mark.parametrize("plan", PLANS)
def test_training_goes_on_or_stops_safely(plan, tmp_path):
    with VirtualBench(bench_file(seed=3)) as bench:
        given = counted(bench)
        text = wiring(bench.resources)
        for section in text["instruments"].values():
            section["timeout_seconds"] = SECONDS
        (tmp_path / "wiring.yaml").write_text(yaml.safe_dump(text))
        section = {"backend": "bench", "wiring": str(tmp_path / "wiring.yaml")}
        trained = experiment(section, tmp_path, [f"training.epochs={EPOCHS}"])
        failure = None
        try:
            run(trained, tmp_path / "run.h5", Trouble(bench, list(PLANS[plan])))
        except BenchError as error:
            failure = error
        with bench.lock:
            struck = len(bench.faults.happened)
            bench.faults.clear()
        assert (struck > 0) == (plan != "nothing")
        assert driven(bench) == []
        if plan.startswith(("a source meter", "a generator")):
            assert isinstance(failure, ConnectionLost)
    with h5py.File(tmp_path / "run.h5") as file:
        logged = sum(int(np.abs(file["pulses"][name][-1]).sum()) for name in ARRAYS)
    # What the last step before a failure gave may be missing in the log, which then says that the run failed.
    assert logged == sum(given) if failure is None else 0 < logged <= sum(given)
    with open_run(tmp_path / "run.h5") as found:
        assert found.status == ("finished" if failure is None else "failed")
        assert found.lengths["train"] == (EPOCHS if failure is None else 1)
