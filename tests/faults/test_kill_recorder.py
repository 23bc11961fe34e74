"""A writer killed with SIGKILL at any moment: every acknowledged row and checkpoint is there afterwards.

A small process forks one writer after another, so that each starts at once; a writer says on its standard output what
it has been told is written, and dies at a moment drawn from a seeded generator.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from substrate.errors import RunFileError
from substrate.experiment.recorder import Recorder
from substrate.experiment.recover import recover
from substrate.experiment.runfile import open_run

SPAWNER = """
import os, sys
import numpy as np
from substrate.experiment.recorder import Column, Recorder, RunHeader, Series

SERIES = {
    "train": Series(tuple(Column(f"c{k}") for k in range(6)), "step"),
    "epochs": Series((Column("test_accuracy"), Column("confusion", "i8", shape=(4, 4), dims=("t", "p"))), "epoch"),
    "conductances": Series((Column("a-b", "f8", "siemens", (2, 40, 60), ("polarity", "row", "column")),), "epoch"),
}

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def work(recorder, rows, blob_bytes):
    step = recorder.lengths["train"]
    say("open", step)
    for step in range(step, rows):
        recorder.append("train", {f"c{k}": step + k / 10 for k in range(6)})
        say("train", step + 1)
        if step % 8 == 7:
            epoch = recorder.lengths["epochs"]
            recorder.append("epochs", {"test_accuracy": epoch / 7, "confusion": np.full((4, 4), epoch)})
            say("epochs", epoch + 1)
            recorder.append("conductances", {"a-b": np.full((2, 40, 60), float(epoch))})
            say("conductances", epoch + 1)
            generation = recorder.checkpoint(bytes([(step + 1) % 251]) * blob_bytes)
            say("checkpoint", generation)
    recorder.close("finished")
    say("closed", 1)

while line := sys.stdin.readline():
    action, path, rows, blob_bytes = line.split()
    child = os.fork()
    if child == 0:
        if action == "create":
            header = RunHeader("experiment: killed", 0)
            recorder = Recorder.create(path, header, SERIES, checkpoint_bytes=int(blob_bytes))
        else:
            recorder = Recorder.resume(path)
        work(recorder, int(rows), int(blob_bytes))
        os._exit(0)
    say("writer", child)
    sys.stdin.readline()  # until then the number of a dead writer is not given to another process
    say("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@dataclass
class Death:
    """What a writer had acknowledged, and what a reader had seen, when it ended."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    exit_code: int = 0


class Spawner:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SPAWNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )

    def run(self, action: str, path: Path, rows: int, blob_bytes: int, lifetime_seconds: float | None) -> Death:
        """Start a writer, look at its file while it lives, kill it after its lifetime (None: let it end)."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{action} {path} {rows} {blob_bytes}\n")
        self._process.stdin.flush()
        word, writer = self._line()
        assert word == "writer"
        death = Death()
        if lifetime_seconds is not None:
            end = time.monotonic() + lifetime_seconds
            while time.monotonic() < end:
                if path.exists():
                    with open_run(path) as run:
                        death.seen = run.lengths
            os.kill(writer, signal.SIGKILL)
        self._process.stdin.write("reap\n")
        self._process.stdin.flush()
        for word, number in iter(self._line, None):
            if word == "ended":
                death.exit_code = number
                return death
            death.acknowledged[word] = number
        raise AssertionError("no end")

    def _line(self) -> tuple[str, int]:
        assert self._process.stdout is not None
        word, number = self._process.stdout.readline().split()
        return word, int(number)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def spawner() -> Iterator[Spawner]:
    process = Spawner()
    try:
        yield process
    finally:
        process.close()


def assert_rows_are_whole(table: dict[str, dict[str, np.ndarray[Any, Any]]]) -> None:
    train, epochs, conductances = table["train"], table["epochs"], table["conductances"]
    steps = np.arange(len(train["step"]))
    np.testing.assert_array_equal(train["step"], steps)
    for k in range(6):
        np.testing.assert_array_equal(train[f"c{k}"], steps + k / 10)
    numbers = np.arange(len(epochs["epoch"]))
    np.testing.assert_array_equal(epochs["test_accuracy"], numbers / 7)
    np.testing.assert_array_equal(epochs["confusion"], np.broadcast_to(numbers[:, None, None], (len(numbers), 4, 4)))
    numbers = np.arange(len(conductances["epoch"]))
    np.testing.assert_array_equal(
        conductances["a-b"], np.broadcast_to(numbers[:, None, None, None], (len(numbers), 2, 40, 60))
    )


def assert_nothing_is_lost(path: Path, death: Death, blob_bytes: int, least: dict[str, int] | None = None) -> None:
    with open_run(path) as run:
        assert run.status == ("finished" if "closed" in death.acknowledged else run.status)
        assert run.status in ("interrupted", "finished")
        assert_rows_are_whole({name: run.table(name) for name in run.lengths})
    report = recover(path)
    for name, rows in report.lengths.items():
        floor = max(death.acknowledged.get(name, 0), death.seen.get(name, 0), (least or {}).get(name, 0))
        assert rows >= floor, (name, report, death)
        assert report.dropped.get(name, 0) <= 1
    assert (report.checkpoint or 0) >= death.acknowledged.get("checkpoint", 0)
    with open_run(path) as run:
        assert run.plain
        assert_rows_are_whole({name: run.table(name) for name in run.lengths})
        saved = run.checkpoint()
        if saved is not None:
            assert saved.lengths["train"] == 8 * saved.generation
            assert saved.blob == bytes([saved.lengths["train"] % 251]) * blob_bytes
    for group in ("train", "epochs", "conductances", "checkpoints", "state"):
        with xr.open_dataset(path, group=group, engine="h5netcdf") as data:
            data.load()
    before = path.read_bytes()
    again = recover(path)
    assert not again.rewritten
    assert again.lengths == report.lengths
    assert path.read_bytes() == before
    assert {entry.name for entry in path.parent.iterdir()} == {path.name}


@pytest.mark.parametrize(("blob_bytes", "kills", "seed"), [(2_000, 16, 1), (1_000_000, 12, 2)])
def test_a_killed_writer_loses_no_acknowledged_row(
    tmp_path: Path, spawner: Spawner, blob_bytes: int, kills: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    spawner.run("create", _folder(tmp_path, "first"), 8, blob_bytes, None)
    started = time.monotonic()
    whole = spawner.run("create", _folder(tmp_path, "whole"), 64, blob_bytes, None)
    lifetime = time.monotonic() - started
    assert whole.acknowledged == {"open": 0, "train": 64, "epochs": 8, "conductances": 8, "checkpoint": 8, "closed": 1}
    deaths = []
    for k in range(kills):
        path = _folder(tmp_path, f"kill{k}")
        death = spawner.run("create", path, 64, blob_bytes, float(rng.uniform(0.0, 1.3 * lifetime)))
        deaths.append(death)
        if path.exists():
            assert_nothing_is_lost(path, death, blob_bytes)
        else:
            assert not death.acknowledged
            with pytest.raises(RunFileError, match="no such run file"):
                recover(path)
    # The moments did fall into the life of the writer, and a live reader did look at it.
    assert sum(death.exit_code == -signal.SIGKILL for death in deaths) >= kills // 2
    assert any(death.seen.get("train", 0) for death in deaths)


def test_a_writer_killed_while_it_resumes_leaves_the_run_resumable(tmp_path: Path, spawner: Spawner) -> None:
    rng = np.random.default_rng(3)
    path = _folder(tmp_path, "resumed")
    blob_bytes = 200_000
    death = spawner.run("create", path, 16, blob_bytes, None)
    assert death.acknowledged["checkpoint"] == 2
    started = time.monotonic()
    death = spawner.run("resume", path, 32, blob_bytes, None)
    lifetime = time.monotonic() - started
    held = {"train": 32, "epochs": 4, "conductances": 4}
    for _ in range(10):
        death = spawner.run("resume", path, 4000, blob_bytes, float(rng.uniform(0.0, 2.0 * lifetime)))
        assert death.exit_code == -signal.SIGKILL
        assert_rows_survive(path, death, held)
        with open_run(path) as run:
            saved = run.checkpoint()
            assert saved is not None
            held = saved.lengths
    assert held["train"] > 32
    death = spawner.run("resume", path, held["train"] + 5, blob_bytes, None)
    assert death.exit_code == 0
    assert_nothing_is_lost(path, death, blob_bytes, held)
    with open_run(path) as run:
        assert len(run.starts()) >= 3
        assert run.lengths["train"] == held["train"] + 5


def assert_rows_survive(path: Path, death: Death, held: dict[str, int]) -> None:
    with open_run(path) as run:
        for name, rows in run.lengths.items():
            assert rows >= max(held[name], death.acknowledged.get(name, 0))
        assert_rows_are_whole({name: run.table(name) for name in run.lengths})


def test_a_recovery_that_is_killed_leaves_the_run_recoverable(tmp_path: Path, spawner: Spawner) -> None:
    """SIGKILL in the middle of the rewrite, and again: the file that was written still stands."""
    path = _folder(tmp_path, "run")
    death = spawner.run("create", path, 4000, 300_000, 0.4)
    assert death.exit_code == -signal.SIGKILL
    script = (
        "import sys; from substrate.experiment.recover import recover; print('go', flush=True); recover(sys.argv[1])"
    )
    rng = np.random.default_rng(4)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(float(rng.uniform(0.0, 0.03)))
            process.kill()
    assert_nothing_is_lost(path, death, 300_000)


def test_a_forked_worker_does_not_keep_a_dead_run_alive(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    script = (
        "import os, sys, time\n"
        "from substrate.experiment.recorder import Column, Recorder, RunHeader, Series\n"
        "series = {'train': Series((Column('c'),), 'step')}\n"
        "recorder = Recorder.create(sys.argv[1], RunHeader('experiment: x', 0), series)\n"
        "worker = os.fork()\n"
        "if worker == 0:\n"
        "    time.sleep(60)\n"
        "print(worker, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        try:
            with open_run(path) as run:
                assert run.status == "running"
            process.kill()
            process.wait(30)
            with open_run(path) as run:
                assert run.status == "interrupted"
            with pytest.raises(RunFileError, match="no checkpoint"):
                Recorder.resume(path)
            assert recover(path).status == "interrupted"
        finally:
            os.kill(worker, signal.SIGKILL)


def _folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name / "run.h5"
