"""A run that is killed at any moment recovers with every acknowledged step, and resumed ends bit for bit the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from substrate import load_experiment, open_run, resume, run
from substrate.errors import InputError, RunFileError
from substrate.experiment.recover import recover

SMALL = (
    "training.epochs=3",
    "data.train_limit=160",
    "network.layers=[64, 6, 10]",
    "logging.quality_every=4",
)
TIMES = {"epochs": {"seconds", "samples_per_second"}}
"""Columns that may differ between two runs of the same seed."""

CHILD = """
import sys
from substrate import load_experiment, run
from substrate.experiment.progress import Progress

class Told(Progress):
    def note(self, text): pass
    def start(self, name, epochs, steps_per_epoch, done_steps): print("started", flush=True)
    def step(self, epoch, report): print("step", flush=True)
    def epoch(self, epoch, report): print("epoch", flush=True)
    def close(self): pass

run(load_experiment("digits", sys.argv[2:]), sys.argv[1], Told())
"""


def assert_same(ours: Path, theirs: Path) -> None:
    """Every series of two run files is equal, bit for bit, but for times."""
    with open_run(ours) as a, open_run(theirs) as b:
        assert a.lengths == b.lengths
        for series in a.lengths:
            left, right = a.table(series), b.table(series)
            for column in left.keys() - TIMES.get(series, set()):
                np.testing.assert_array_equal(left[column], right[column], err_msg=f"{series}/{column}")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(load_experiment("digits", SMALL), tmp_path_factory.mktemp("whole") / "whole.h5")


def test_the_same_seed_gives_the_same_bits(uninterrupted: Path, tmp_path: Path) -> None:
    again = run(load_experiment("digits", SMALL), tmp_path / "again.h5")
    assert_same(again, uninterrupted)


def test_another_seed_gives_other_bits(uninterrupted: Path, tmp_path: Path) -> None:
    other = run(load_experiment("digits", SMALL, seed=1), tmp_path / "other.h5")
    with open_run(other) as a, open_run(uninterrupted) as b:
        assert not np.array_equal(a.table("train")["loss"], b.table("train")["loss"])


def start_child(path: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "")}
    if not environment["OMP_NUM_THREADS"]:
        del environment["OMP_NUM_THREADS"]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), *SMALL], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_killed_at_twenty_random_moments(uninterrupted: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    with open_run(uninterrupted) as whole:
        steps = whole.lengths["train"]
    for kill, after in enumerate(rng.choice(np.arange(1, steps), size=20, replace=False)):
        path = tmp_path / f"killed{kill}.h5"
        acknowledged = 0
        with start_child(path) as child:
            assert child.stdout is not None
            for line in child.stdout:
                acknowledged += line == "step\n"
                if acknowledged == after:
                    # Anywhere between two steps' acknowledgements: the moment itself is random, too.
                    time.sleep(float(rng.uniform(0.0, 0.01)))
                    break
            child.send_signal(signal.SIGKILL)
            acknowledged += sum(line == "step\n" for line in child.stdout)
        with open_run(path) as dead:
            assert dead.status in ("interrupted", "finished")
        report = recover(path)
        assert report.steps >= acknowledged
        with open_run(path) as saved, open_run(uninterrupted) as whole:
            assert saved.plain
            np.testing.assert_array_equal(
                saved.table("train")["loss"], whole.table("train")["loss"][: saved.lengths["train"]]
            )
        resume(path)
        assert_same(path, uninterrupted)
        path.unlink()


def test_resumed_without_recovering_first(uninterrupted: Path, tmp_path: Path) -> None:
    path = tmp_path / "killed.h5"
    with start_child(path) as child:
        assert child.stdout is not None
        seen = 0
        for line in child.stdout:
            seen += line == "step\n"
            if seen == 13:
                break
        child.kill()
        child.stdout.read()
    resume(path)
    assert_same(path, uninterrupted)


def test_interrupted_at_a_checkpoint_in_mid_epoch(uninterrupted: Path, tmp_path: Path) -> None:
    path = tmp_path / "interrupted.h5"
    with start_child(path) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line == "step\n":
                break
        child.send_signal(signal.SIGINT)
        child.stdout.read()
        child.wait(timeout=60)
    with open_run(path) as stopped:
        assert stopped.status == "interrupted"
        assert 1 <= stopped.lengths["train"] < 15
        checkpoint = stopped.checkpoint()
        assert checkpoint is not None
        assert checkpoint.lengths["train"] == stopped.lengths["train"]
    resume(path)
    assert_same(path, uninterrupted)


def test_more_epochs_after_the_end(uninterrupted: Path, tmp_path: Path) -> None:
    short = run(load_experiment("digits", [*SMALL, "training.epochs=1"]), tmp_path / "short.h5")
    resume(short, epochs=3)
    assert_same(short, uninterrupted)
    with open_run(short) as lengthened:
        assert lengthened.summary()["epochs_planned"] == 3
        assert len(lengthened.starts()) == 2
    with pytest.raises(InputError, match="epochs"):
        resume(short, epochs=2)


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing.h5"
    with pytest.raises(RunFileError, match=r"missing\.h5"):
        resume(missing)
