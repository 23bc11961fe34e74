"""Sweeps: what is run, what is not run twice, and the table."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from substrate.cli import main
from substrate.errors import InputError, SubstrateError, WorkerKilled
from substrate.experiment.config import load_experiment
from substrate.experiment.runfile import open_run
from substrate.experiment.runner import resume, trained_state
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

LONG = """
experiment: xor
set: {training.batch_size: 4, logging.quality_every: 0}
axes: {training.epochs: [1, 150]}
output: %s
"""
"""The second run is long enough to be killed; the first is over by then."""


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


def test_a_killed_process_leaves_what_is_finished_and_the_rest_to_go_on_with(tmp_path: Path) -> None:
    path = _write(tmp_path, LONG)
    sweep = subprocess.Popen(
        [sys.executable, "-m", "substrate.cli", "sweep", str(path), "--workers", "1"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert sweep.stderr is not None
        assert sweep.stderr.readline().startswith("1 of 2: training.epochs 1: test accuracy")
        long = tmp_path / "runs" / "150.h5"
        until = time.monotonic() + 60
        while not (long.exists() and _epochs(long)) and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(_worker_of(sweep.pid), signal.SIGKILL)
        said = sweep.stderr.read()
        assert sweep.wait(30) == 1
    finally:
        sweep.kill()
        sweep.wait()
        sweep.stderr.close()
    assert said.startswith(f"substrate: {path}: a process was killed before its run ended")
    assert f"1 of 2 runs are finished and in {tmp_path / 'runs' / 'table.csv'}; the same command goes on" in said
    assert "Traceback" not in said
    first = tmp_path / "runs" / "1.h5"
    before = os.stat(first).st_mtime_ns
    rows = _table(run_sweep(path, workers=1))
    assert [(row["status"], row["epochs"]) for row in rows] == [("finished", "1"), ("finished", "150")]
    assert os.stat(first).st_mtime_ns == before
    with open_run(long) as run:
        assert run.summary()["resumes"] == 1


def _epochs(path: Path) -> int:
    try:
        with open_run(path) as run:
            return run.lengths.get("epochs", 0)
    except SubstrateError:
        return 0


def _worker_of(pid: int) -> int:
    """The process that carries out the runs of a sweep of one worker."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("no worker")


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


def _kill_the_second_run(folder: Path, pids: list[int]) -> threading.Thread:
    """Kill processes once the second run of ``LONG`` has begun to be kept."""

    def kill() -> None:
        until = time.monotonic() + 60
        first, second = folder / "runs" / "1.h5", folder / "runs" / "150.h5"
        while not (first.exists() and second.exists() and _epochs(second)) and time.monotonic() < until:
            time.sleep(0.01)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_killed_worker_of_a_scheduler_is_told_like_one_of_this_machine(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
    import dask

    path = _write(tmp_path, LONG)
    settings = {"distributed.scheduler.allowed-failures": 0}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
    ):
        killer = _kill_the_second_run(tmp_path, [nanny.pid for nanny in cluster.workers.values()])
        with pytest.raises(WorkerKilled) as raised:
            run_sweep(path, scheduler=cluster.scheduler_address)
        killer.join()
        said = str(raised.value)
        assert f"workers of the scheduler at {cluster.scheduler_address} were killed before a run ended" in said
        assert f"1 of 2 runs are finished and in {tmp_path / 'runs' / 'table.csv'}; the same command goes on" in said
        # The nanny has started another one.
        rows = _table(run_sweep(path, scheduler=cluster.scheduler_address))
    assert [(row["status"], row["epochs"]) for row in rows] == [("finished", "1"), ("finished", "150")]
    with open_run(tmp_path / "runs" / "150.h5") as run:
        assert run.summary()["resumes"] == 1


def test_a_scheduler_without_workers_is_waited_for_aloud_and_one_that_ends_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
    monkeypatch.setattr("substrate.experiment.sweep.LOOK_SECONDS", 0.1)
    told: list[str] = []
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler_address

        def hear(line: str) -> None:
            told.append(line)
            cluster.close()

        with pytest.raises(WorkerKilled, match="ended before its runs did; 0 of 2 runs are finished; the same command"):
            run_sweep(_write(tmp_path, LONG), scheduler=address, told=hear)
    assert told == [f"the scheduler at {address} has no workers; waiting for some"]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert main(["sweep", str(tmp_path / "none.yaml")]) == 2


def test_keys_of_some_combinations_come_after_those_of_the_axes(tmp_path: Path) -> None:
    where = """where:
  - {rate: high, seed: [1], set: {training.epochs: 4}}
  - {seed: 0, set: {training.batch_size: 2}}
"""
    points = load_sweep(_write(tmp_path, SWEEP + where))
    found = [dict(override.split("=") for override in point.overrides) for point in points]
    assert [one["training.epochs"] for one in found] == ["2", "2", "3", "4"]
    assert [one["training.batch_size"] for one in found] == ["2", "4", "2", "4"]


def test_combinations_are_left_out(tmp_path: Path) -> None:
    points = load_sweep(_write(tmp_path, SWEEP + "where:\n  - {rate: low, seed: 1, set: null}\n"))
    assert [tuple(label for _, label in point.labels) for point in points] == [
        ("low", "0"),
        ("high", "0"),
        ("high", "1"),
    ]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{set: null}", "where: leaves nothing"),
        ("{rates: high, set: {training.epochs: 4}}", "where.0: no axis 'rates'"),
        ("{rate: middle, set: {training.epochs: 4}}", "where.0.rate: expected of"),
        ("{rate: high}", "where.0.set"),
        ("{rate: high, set: {training.epoch: 4}}", "training.epoch"),
    ],
)
def test_what_names_no_combination_is_refused(tmp_path: Path, entry: str, expected: str) -> None:
    with pytest.raises(InputError) as raised:
        load_sweep(_write(tmp_path, SWEEP + f"where:\n  - {entry}\n"))
    assert expected in str(raised.value)


OFF = """
experiment: xor
set: %s
axes: {%s}
output: runs
"""


@pytest.mark.parametrize(
    ("beside", "axis"),
    [
        ("{substrate.noise.mains.frequency_hz: 60}", "substrate.noise.mains.volts: [0, 1.0e-3]"),
        (
            "{substrate.temperature.conductance_per_kelvin: 0.002}",
            "substrate.temperature.temperature_kelvin: [300, 340]",
        ),
        (
            "{substrate.noise.telegraph.amplitude: 0.2, substrate.noise.telegraph.capture_hz: 5}",
            "substrate.noise.telegraph.fraction: [0, 0.1]",
        ),
        ("{substrate.converters.adc_range_volts: 0.3}", "substrate.converters.adc_bits: [0, 8]"),
        ("{homeostasis.probes: 2}", "homeostasis.strength: [0, 1.0]"),
        ("{nudge.frequency_hz: 500, nudge.amplitude: 0.2}", "rule.name: [ep, oscillating_ep]"),
    ],
)
def test_an_axis_may_go_through_the_level_that_switches_others_off(beside: str, axis: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(OFF % (beside, axis))
    points = load_sweep(path)
    assert len(points) == 2
    # At the first point alone they do nothing.
    with pytest.raises(InputError, match="leave"):
        load_experiment(points[0].source, points[0].overrides)
    name, _, values = axis.partition(": ")
    first = values.strip("[]").split(",")[0]
    path.write_text(OFF % (beside, f"{name}: [{first}], seed: [0, 1]"))
    with pytest.raises(InputError, match=f"{name.split('.')[0]}.*leave"):
        load_sweep(path)


@pytest.mark.parametrize(
    ("level", "reason"),
    [
        ("substrate.noise.telegraph.fraction: [0, 0.1]", "acts with amplitude above 0"),
        ("substrate.noise.telegraph.amplitude: [0.1, 0]", "acts with fraction above 0"),
        ("substrate.temperature.conductance_per_kelvin: [0, 0.002]", "other than reference_kelvin"),
        ("substrate.neurons.time_constant_spread: [0, 0.1]", "acts with time_constant_seconds"),
    ],
)
def test_an_axis_of_levels_that_do_nothing_is_refused(level: str, reason: str, tmp_path: Path) -> None:
    """Its 0 is idle nowhere, but is no sign that the others act."""
    path = tmp_path / "sweep.yaml"
    path.write_text((OFF % ("{}", level)).replace("experiment: xor", "experiment: digits-ideal"))
    with pytest.raises(InputError, match=f"{level.split(':')[0]}: .*{reason}"):
        load_sweep(path)


@pytest.mark.parametrize("frequency", [50, 60])
def test_a_default_that_is_given_acts_where_it_is_not_idle(frequency: int, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    levels = "substrate.noise.mains.volts: [0, 1.0e-3]"
    path.write_text(
        OFF % (f"{{substrate.noise.mains.frequency_hz: {frequency}, substrate.noise.mains.spread: 0}}", levels)
    )
    assert len(load_sweep(path)) == 2


def test_a_key_that_is_given_only_where_it_does_nothing_is_refused(tmp_path: Path) -> None:
    off = "device: {a: {substrate.noise.mains.frequency_hz: 60}, b: {substrate.noise.mains.volts: 1.0e-3}}"
    path = tmp_path / "sweep.yaml"
    path.write_text(OFF % ("{}", off))
    with pytest.raises(InputError, match=r"device a: .*mains\.frequency_hz: acts with volts above 0"):
        load_sweep(path)
    path.write_text(OFF % ("{}", off.replace("1.0e-3}", "1.0e-3, substrate.noise.mains.frequency_hz: 60}")))
    assert len(load_sweep(path)) == 2


def test_runs_with_keys_that_do_nothing_at_their_point_are_run_and_gone_on_with(tmp_path: Path) -> None:
    text = SWEEP.replace("seed: [0, 1]", "substrate.noise.mains.volts: [0, 1.0e-3]").replace(
        "set: {", "set: {substrate.noise.mains.frequency_hz: 60, "
    )
    text = text.replace("    high: {training.learning_rate: 0.02, training.epochs: 3}\n", "")
    rows = _table(run_sweep(_write(tmp_path, text), workers=1))
    assert [row["status"] for row in rows] == ["finished", "finished"]
    run = tmp_path / "runs" / rows[0]["run"]
    assert trained_state(run).experiment.substrate["noise"]["mains"] == {
        "volts": 0.0,
        "frequency_hz": 60.0,
        "spread": 0.0,
    }
    resume(run, epochs=3)
    assert main(["check-gradient", str(run), "--samples", "2"]) == 0
    # What is given now is judged.
    assert main(["check-gradient", str(run), "--set", "substrate.noise.mains.frequency_hz=55"]) == 2


def test_the_sweep_of_the_manual_is_one(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    path = tmp_path / "sweep.yaml"
    path.write_text(next(text for text in manual.split("```yaml\n") if "axes:" in text).partition("```")[0])
    points = load_sweep(path)
    assert [[label for _, label in point.labels] for point in points[:2]] == [
        ["0.005", "ecram", "0"],
        ["0.005", "ecram", "1"],
    ]
