"""Sweeps: what is run, what is not run twice, and the table."""

import csv
import os
from pathlib import Path

import pytest

from substrate.cli import main
from substrate.errors import InputError
from substrate.experiment.runfile import open_run
from substrate.experiment.sweep import load_sweep, run_sweep

SWEEP = """
experiment: xor
set: {training.epochs: 2, training.batch_size: 4}
axes:
  rate:
    low: {training.learning_rate: 0.01}
    high: {training.learning_rate: 0.02, training.epochs: 3}
  seed: [0, 1]
output: %s
"""


def _write(folder: Path, text: str = SWEEP) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text % (folder / "runs") if "%s" in text else text)
    return path


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_combination_is_run_once_and_not_again(tmp_path: Path) -> None:
    path = _write(tmp_path)
    table = run_sweep(path, workers=2)
    rows = _table(table)
    assert [(row["rate"], row["seed"]) for row in rows] == [
        ("low", "0"),
        ("low", "1"),
        ("high", "0"),
        ("high", "1"),
    ]
    assert {row["status"] for row in rows} == {"finished"}
    assert [row["epochs"] for row in rows] == ["2", "2", "3", "3"]
    for row in rows:
        with open_run(tmp_path / "runs" / row["run"]) as run:
            assert float(row["test_accuracy"]) == run.summary()["test_accuracy"]
            assert str(run.attrs["seed"]) == row["seed"]
    before = {run: os.stat(run).st_mtime_ns for run in (tmp_path / "runs").glob("*.h5")}
    (tmp_path / "runs" / "high_1.h5").unlink()
    told: list[str] = []
    assert _table(run_sweep(path, workers=1, told=told.append))[:3] == rows[:3]
    assert len(told) == 4
    after = {run: os.stat(run).st_mtime_ns for run in (tmp_path / "runs").glob("*.h5")}
    assert {run.name for run in after if before[run] != after[run]} == {"high_1.h5"}


def test_a_run_that_fails_is_a_row_with_its_message(tmp_path: Path) -> None:
    text = SWEEP.replace("seed: [0, 1]", "network.initial.scale: [0.5, 1.0e+9]")
    rows = _table(run_sweep(_write(tmp_path, text), workers=1))
    assert [row["status"] == "finished" for row in rows] == [True, False, True, False]
    assert all("network.initial" in row["message"] for row in rows if row["status"] != "finished")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("experiment: xor\naxes: {seed: []}\noutput: x\n", "axes.seed"),
        ("experiment: xor\naxes: {}\noutput: x\n", "axes"),
        ("experiment: xor\naxes: {seed: [0]}\n", "output"),
        ("experiment: xor\naxes: {training.epoch: [1]}\noutput: x\n", "training.epoch"),
        ("experiment: none-such\naxes: {seed: [0]}\noutput: x\n", "none-such"),
        ("experiment: xor\naxes: {a: {x/y: {seed: 0}, x-y: {seed: 1}}}\noutput: x\n", "same name"),
        ("- 1\n", "sweep.yaml"),
    ],
)
def test_a_bad_sweep_file_is_refused_before_anything_runs(
    tmp_path: Path, text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(InputError, match=expected):
        load_sweep(path)
    assert main(["sweep", str(path)]) == 2
    assert expected in capsys.readouterr().err
    assert {entry.name for entry in tmp_path.iterdir()} == {"sweep.yaml"}


def test_a_dask_scheduler_gives_the_same_table(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
    text = SWEEP.replace("seed: [0, 1]", "seed: [0]")
    here = _table(run_sweep(_write(tmp_path, text), workers=1))
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        folder = tmp_path / "there"
        folder.mkdir()
        there = _table(run_sweep(_write(folder, text), scheduler=cluster.scheduler_address))
    for row in here + there:
        del row["wall_seconds"], row["samples_per_second"]
    assert here == there


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert main(["sweep", str(tmp_path / "none.yaml")]) == 2
