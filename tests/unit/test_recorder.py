"""Run files: what is written can be read, live, after the end, and by tools that know nothing of this project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.errors import InputError, RunFileError, RunInterrupted, RunWriteError
from substrate.experiment import checkpoint, layout
from substrate.experiment.recorder import Column, Constant, Recorder, RunHeader, Series
from substrate.experiment.recover import recover
from substrate.experiment.rewrite import temporary_path
from substrate.experiment.runfile import open_run, read_checkpoint
from substrate.experiment.runlock import RunLock, lock_path, writer_alive

YAML = "experiment: digits\nsubstrate: {backend: emulator}\nrule: {name: oscillating_ep}\ntraining: {epochs: 3}\n"
HEADER = RunHeader(
    experiment_yaml=YAML,
    seed=7,
    argv=("substrate", "run", "digits"),
    git_commit="0123abc",
    packages={"numpy": np.__version__},
    substrate_version="0.1.0",
    extra={"thread_count": 1},
)
SIGNS = ("plus", "minus")
SERIES = {
    "train": Series((Column("loss"), Column("pulses", "i8"), Column("lost", "?")), index="step"),
    "epochs": Series(
        (
            Column("train_accuracy"),
            Column("test_accuracy", description="share of the test set classified right"),
            Column("samples_per_second", units="Hz"),
            Column("confusion", "i4", shape=(3, 3), dims=("target", "predicted")),
        ),
        index="epoch",
        signal="test_accuracy",
    ),
    "conductances": Series(
        tuple(
            Column(
                name,
                units="siemens",
                shape=(2, *shape),
                dims=("polarity", "row", "column"),
                coordinates={"polarity": SIGNS},
            )
            for name, shape in (("input-hidden1", (5, 4)), ("hidden1-output", (4, 3)))
        ),
        index="epoch",
    ),
    "outputs": Series(
        (Column("outputs", "f4", "V", (6, 3), ("time", "node"), {"time": np.linspace(0, 1, 6)}),),
        index="outputs_record",
        group="records",
    ),
    "log": Series((Column("text", "S40"),), index="line"),
}
CONSTANTS = {
    "instruments/identity": Constant("ACME,Board,1"),
    "device/gain": Constant(np.array([1.0, 0.9, 1.1]), dims=("neuron",)),
}


def create(path: Path, **options: object) -> Recorder:
    defaults = {"series": SERIES, "constants": CONSTANTS, "checkpoint_bytes": 4096, "default": "epochs"}
    return Recorder.create(path, HEADER, **(defaults | options))


def train_row(step: int) -> dict[str, object]:
    return {"loss": 1.0 / (step + 1), "pulses": step * step, "lost": step % 2 == 0}


def epoch_row(epoch: int) -> dict[str, object]:
    return {
        "train_accuracy": 0.1 * epoch,
        "test_accuracy": float("nan") if epoch == 2 else 0.2 * epoch,
        "samples_per_second": 100.0 + epoch,
        "confusion": np.full((3, 3), epoch),
    }


def conductances(epoch: int) -> dict[str, np.ndarray]:
    return {"input-hidden1": np.full((2, 5, 4), 1e-6 * epoch), "hidden1-output": np.full((2, 4, 3), 2e-6 * epoch)}


def fill(recorder: Recorder, steps: int = 5, epochs: int = 3) -> None:
    for step in range(steps):
        recorder.append("train", train_row(step))
    for epoch in range(epochs):
        recorder.append("epochs", epoch_row(epoch), index=epoch + 1)
        recorder.append("conductances", conductances(epoch), index=10 * epoch)
    recorder.append("outputs", {"outputs": np.arange(18.0, dtype="f4").reshape(6, 3)})
    recorder.append("log", {"text": "ménage"})


def groups(path: Path) -> list[str | None]:
    found: list[str | None] = [None]
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Group) else None)
    return found


def remains(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_every_row_comes_back_from_a_finished_file(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create(path) as recorder:
        fill(recorder)
        assert recorder.lengths == {"train": 5, "epochs": 3, "conductances": 3, "outputs": 1, "log": 1}
    assert remains(tmp_path) == {"run.h5"}
    with open_run(path) as run:
        assert run.plain
        train = run.table("train")
        np.testing.assert_array_equal(train["loss"], 1.0 / np.arange(1, 6))
        np.testing.assert_array_equal(train["pulses"], np.arange(5) ** 2)
        np.testing.assert_array_equal(train["lost"], np.arange(5) % 2 == 0)
        np.testing.assert_array_equal(run.table("train", start=3)["step"], [3, 4])
        assert np.isnan(run.table("epochs")["test_accuracy"][2])
        np.testing.assert_array_equal(run.table("epochs")["epoch"], [1, 2, 3])
        kept = run.table("conductances")
        for epoch in range(3):
            for name, values in conductances(epoch).items():
                np.testing.assert_array_equal(kept[name][epoch], values)
        np.testing.assert_array_equal(kept["epoch"], [0, 10, 20])
        assert run.units("conductances")["input-hidden1"] == "siemens"
        assert run.array("records/outputs").shape == (1, 6, 3)
        assert run.array("instruments/identity") == "ACME,Board,1"
        assert run.table("log")["text"][0].decode() == "ménage"
        with pytest.raises(InputError, match="no dataset"):
            run.array("records/inputs")
        with pytest.raises(InputError, match="no series"):
            run.table("tests")


def test_rows_in_any_order_of_memory_are_kept_as_they_are(tmp_path: Path) -> None:
    transposed = np.arange(18.0, dtype=np.float32).reshape(3, 6).T
    with create(tmp_path / "run.h5") as recorder:
        recorder.append("outputs", {"outputs": transposed})
    with open_run(tmp_path / "run.h5") as run:
        np.testing.assert_array_equal(run.table("outputs")["outputs"][0], transposed)


def test_root_attributes_and_summary_say_what_was_run(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create(path) as recorder:
        fill(recorder)
    with h5py.File(path) as file:
        assert file.attrs["experiment_yaml"] == YAML
        assert file.attrs["schema"] == 1
        assert file.attrs["status"] == "finished"
        assert json.loads(file.attrs["argv"]) == ["substrate", "run", "digits"]
        assert json.loads(file.attrs["packages"]) == {"numpy": np.__version__}
        assert file.attrs["thread_count"] == 1
        assert file[file.attrs["default"]].attrs["signal"] == "test_accuracy"
    with open_run(path) as run:
        summary = run.summary()
        assert run.attrs["git_commit"] == "0123abc"
    json.dumps(summary)
    expected = {
        "experiment": "digits",
        "backend": "emulator",
        "rule": "oscillating_ep",
        "seed": 7,
        "status": "finished",
        "epochs": 3,
        "steps": 5,
        "train_accuracy": 0.2,
        "test_accuracy": 0.2,  # the last that was measured
        "samples_per_second": 101.0,
        "versions": {"substrate": "0.1.0", "numpy": np.__version__},
    }
    assert {key: summary[key] for key in expected} == expected
    assert 0 <= summary["wall_seconds"] < 60
    assert summary["started"].endswith("+00:00")


def test_xarray_opens_every_group(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create(path) as recorder:
        fill(recorder)
        recorder.checkpoint(b"state")
    for group in groups(path):
        with xr.open_dataset(path, group=group, engine="h5netcdf") as data:
            data.load()
            assert all(variable.attrs["units"] for variable in data.variables.values())
            if group == "conductances":
                assert data["input-hidden1"].sel(epoch=20, polarity="minus").shape == (5, 4)
                assert float(data["hidden1-output"].sel(epoch=20)[0, 0, 0]) == 4e-6
            if group == "state":
                assert data["status"].item() == "finished"
            if group == "epochs":
                assert data["test_accuracy"].attrs["long_name"].startswith("share")
                assert data["confusion"].dims == ("epoch", "target", "predicted")


def test_every_dataset_has_units_and_a_scale_on_every_dimension(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"

    def check(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            assert item.attrs["units"], name
            assert item.is_scale or all(len(dim) == 1 for dim in item.dims), name

    with create(path) as recorder:
        fill(recorder)
        with h5py.File(path, "r", swmr=True) as live:
            live.visititems(check)
    with h5py.File(path) as file:
        file.visititems(check)


READER = """
import sys, h5py
with h5py.File(sys.argv[1], "r", swmr=True) as file:
    for line in sys.stdin:
        data = file["train/loss"]
        data.refresh()
        print(file.swmr_mode, data.shape[0], float(data[-1]) if data.shape[0] else None, flush=True)
"""


def test_a_reader_in_another_process_sees_a_row_once_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with (
        create(path) as recorder,
        subprocess.Popen(
            [sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as reader,
    ):
        assert reader.stdin is not None
        assert reader.stdout is not None
        for step in range(300):  # more than one chunk of rows
            recorder.append("train", train_row(step))
            reader.stdin.write("look\n")
            reader.stdin.flush()
            assert reader.stdout.readline().split() == ["True", str(step + 1), str(1.0 / (step + 1))]
        reader.stdin.close()
        reader.wait(30)


def test_an_open_live_run_follows_its_writer_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    recorder = create(path)
    with open_run(path) as run:
        assert (run.plain, run.status, run.lengths["train"]) == (False, "running", 0)
        fill(recorder, steps=4)
        assert run.lengths["train"] == 4
        assert len(run.table("train")["loss"]) == 4
        assert run.summary()["status"] == "running"
        recorder.checkpoint(b"one")
        assert run.checkpoint() == checkpoint.Checkpoint(b"one", recorder.lengths, 1)
        recorder.close("failed", "RuntimeError: no light")
        assert run.status == "failed"
        assert run.summary()["message"] == "RuntimeError: no light"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"),
        (KeyboardInterrupt(), "interrupted"),
        (RunInterrupted("stopped"), "interrupted"),
        (SystemExit(3), "interrupted"),
        (ValueError("bad cell"), "failed"),
        (ValueError("é" * 5000), "failed"),
    ],
)
def test_leaving_the_block_stores_what_happened(tmp_path: Path, error: BaseException | None, status: str) -> None:
    path = tmp_path / "run.h5"

    def work() -> None:
        with create(path) as recorder:
            recorder.append("train", train_row(0))
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    with open_run(path) as run:
        assert run.status == status
        assert str(error or "")[-100:] in run.attrs["message"]
        assert run.lengths["train"] == 1
    assert remains(tmp_path) == {"run.h5"}


def test_close_is_final_and_idempotent(tmp_path: Path) -> None:
    recorder = create(tmp_path / "run.h5")
    with pytest.raises(InputError, match="status"):
        recorder.close("done")
    recorder.close("interrupted")
    recorder.close("finished")
    with pytest.raises(RunFileError, match="closed"):
        recorder.append("train", train_row(0))
    with open_run(tmp_path / "run.h5") as run:
        assert run.status == "interrupted"


@pytest.mark.parametrize(
    ("series", "row", "message"),
    [
        ("tests", {}, "series"),
        ("train", {"loss": 1.0}, r"missing columns \['lost', 'pulses'\]"),
        ("train", train_row(0) | {"los": 1.0}, r"unknown columns \['los'\]"),
        ("train", train_row(0) | {"pulses": 1.5}, "train.pulses"),
        ("train", train_row(0) | {"pulses": 2**70}, "train.pulses"),
        ("train", train_row(0) | {"loss": "low"}, "train.loss"),
        ("train", train_row(0) | {"loss": np.ones(2)}, "train.loss"),
        ("epochs", epoch_row(0) | {"confusion": np.ones((3, 2), int)}, r"epochs.confusion: expected shape \(3, 3\)"),
        ("epochs", epoch_row(0) | {"confusion": np.ones((3, 3))}, "epochs.confusion"),
        ("log", {"text": "x" * 41}, "40 bytes"),
    ],
)
def test_a_bad_row_is_refused_whole(tmp_path: Path, series: str, row: dict[str, object], message: str) -> None:
    with create(tmp_path / "run.h5") as recorder:
        with pytest.raises(InputError, match=message):
            recorder.append(series, row)
        assert set(recorder.lengths.values()) == {0}
        with h5py.File(tmp_path / "run.h5", "r", swmr=True) as live:
            assert all(
                live[path].shape[0] == 0 for paths in layout.find_series(live).values() for path in paths.datasets
            )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"series": {"train": Series((), index="step")}}, "at least one column"),
        ({"series": {"train": Series((Column("a"), Column("a")), index="step")}}, "different names"),
        ({"series": {"train": Series((Column("step"),), index="step")}}, "different names"),
        ({"series": {"train": Series((Column("a", units=""),), index="step")}}, "units"),
        ({"series": {"train": Series((Column("a", units="seconds"),), index="step")}}, "units"),
        ({"series": {"train": Series((Column("a", shape=(3,)),), index="step")}}, "dims"),
        ({"series": {"train": Series((Column("a", "O"),), index="step")}}, "dtype"),
        ({"series": {"train": Series((Column("a", "S4", shape=(2,), dims=("x",)),), index="step")}}, "dtype"),
        ({"series": {"train": Series((Column("a"),), index="step", signal="b")}}, "signal"),
        (
            {"series": {"train": Series((Column("a", shape=(2,), dims=("x",), coordinates={"x": [1]}),), "step")}},
            "2 values",
        ),
        ({"series": {"train": Series((Column("a", shape=(2,), dims=("step",)),), "step")}}, "taken"),
        ({"constants": {"gain": Constant(1.0)}}, "group/name"),
        ({"checkpoint_bytes": -1}, "checkpoint_bytes"),
    ],
)
def test_a_bad_layout_leaves_nothing_behind(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create(tmp_path / "run.h5", **options)
    assert remains(tmp_path) == set()


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    create(path).close()
    before = path.read_bytes()
    with pytest.raises(RunFileError, match="exists"):
        create(path)
    assert path.read_bytes() == before
    with create(path, overwrite=True) as recorder:
        fill(recorder)
    assert path.read_bytes() != before


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create(path) as recorder:
        recorder.append("train", train_row(0))
        recorder.checkpoint(b"")
        for attempt in (lambda: create(path, overwrite=True), lambda: Recorder.resume(path), lambda: recover(path)):
            with pytest.raises(RunFileError, match=f"locked by process {os.getpid()} on "):
                attempt()
        recorder.append("train", train_row(1))
    with open_run(path) as run:
        assert run.lengths["train"] == 2


def test_a_lock_survives_looks_and_ends_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    assert not writer_alive(path)
    with RunLock(path):
        assert writer_alive(path)
        assert writer_alive(path)
    assert not writer_alive(path)
    lock_path(path).touch()  # left by a dead writer
    assert not writer_alive(path)
    with RunLock(path):
        assert writer_alive(path)
    assert remains(tmp_path) == set()


def test_what_is_no_run_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create(path) as recorder:
        fill(recorder)
    whole = path.read_bytes()

    def refused(name: str, message: str) -> None:
        for attempt in (open_run, recover, Recorder.resume, read_checkpoint):
            with pytest.raises(RunFileError, match=message):
                attempt(tmp_path / name)

    refused("missing.h5", "no such run file")
    (tmp_path / "text.h5").write_text("not a run")
    refused("text.h5", "not an HDF5 file")
    (tmp_path / "empty.h5").touch()
    refused("empty.h5", "not an HDF5 file")
    (tmp_path / "short.h5").write_bytes(whole[: len(whole) // 2])
    refused("short.h5", "truncated or damaged")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data"] = 1
    refused("other.h5", "not a run file")
    shutil.copy(path, tmp_path / "schema.h5")
    with h5py.File(tmp_path / "schema.h5", "r+") as other:
        other.attrs["schema"] = 99
    refused("schema.h5", "schema 99")
    shutil.copy(path, tmp_path / "state.h5")
    with h5py.File(tmp_path / "state.h5", "r+") as other:
        del other["state/status"]
    refused("state.h5", "state/status")
    assert not any(name.endswith((".lock", ".tmp")) for name in remains(tmp_path))
    with pytest.raises(RunFileError, match="cannot be written"):
        create(tmp_path / "no" / "run.h5")


def test_recover_leaves_a_plain_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create(path) as recorder:
        fill(recorder)
        recorder.checkpoint(b"state")
    before = path.read_bytes(), path.stat().st_mtime_ns
    report = recover(path)
    assert (report.status, report.steps, report.epochs, report.checkpoint, report.rewritten) == (
        "finished",
        5,
        3,
        1,
        False,
    )
    assert report.checkpoint_lengths == report.lengths
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert remains(tmp_path) == {"run.h5"}


def test_a_row_cut_short_by_an_exception_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"

    def work() -> None:
        with create(path) as recorder:
            for step in range(3):
                recorder.append("train", train_row(step))
            monkeypatch.setattr(recorder._index["train"], "write", interrupt)
            recorder.append("train", train_row(3))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    with open_run(path) as run:
        assert run.lengths["train"] == 3
        assert {len(column) for column in run.table("train").values()} == {3}
    with xr.open_dataset(path, group="train", engine="h5netcdf") as data:
        assert data.sizes["step"] == 3


def test_the_file_as_written_stands_when_rewriting_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    recorder = create(path)
    fill(recorder)
    with monkeypatch.context() as patch:
        patch.setattr(layout, "copy_contents", full_disk)
        with pytest.raises(RunWriteError, match="No space left"):
            recorder.close("finished")
    assert remains(tmp_path) == {"run.h5"}
    with open_run(path) as run:
        assert (run.plain, run.status, run.lengths["train"]) == (False, "finished", 5)
    report = recover(path)
    assert (report.rewritten, report.status, report.steps) == (True, "finished", 5)


def full_disk(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_resume_continues_from_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create(path) as recorder:
        fill(recorder, steps=5)
        recorder.checkpoint(b"after five")
        recorder.append("train", train_row(5))
        recorder.append("log", {"text": "later"})
    longer = YAML.replace("epochs: 3", "epochs: 6")
    with Recorder.resume(path, argv=("substrate", "resume", "run.h5"), experiment_yaml=longer) as recorder:
        assert recorder.lengths == {"train": 5, "epochs": 3, "conductances": 3, "outputs": 1, "log": 1}
        with open_run(path) as run:
            assert run.status == "running"
            assert run.checkpoint() == checkpoint.Checkpoint(b"after five", recorder.lengths, 1)
        recorder.append("train", train_row(50))
        assert recorder.checkpoint(b"after six") == 2
    assert remains(tmp_path) == {"run.h5"}
    with open_run(path) as run:
        np.testing.assert_array_equal(run.table("train")["pulses"], [0, 1, 4, 9, 16, 2500])
        assert run.summary()["epochs_planned"] == 6
        assert [start["argv"][1] for start in run.starts()] == ["run", "resume"]
        assert json.loads(run.attrs["argv"])[1] == "run"
        assert run.array("device/gain")[1] == 0.9
    assert read_checkpoint(path)[0] == b"after six"
    with xr.open_dataset(path, group="conductances", engine="h5netcdf") as data:
        assert list(data["polarity"].values) == ["plus", "minus"]


def test_resume_keeps_the_rows_it_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create(path) as recorder:
        fill(recorder, steps=5)
        recorder.checkpoint(b"")
        recorder.append("train", train_row(5))
    before = path.read_bytes()
    with pytest.raises(InputError, match="at most the 6 rows"):
        Recorder.resume(path, lengths={"train": 7})
    assert path.read_bytes() == before
    assert remains(tmp_path) == {"run.h5"}
    with open_run(path) as run:
        lengths = run.lengths
    with pytest.raises(InputError, match="checkpoint_bytes"):
        Recorder.resume(path, checkpoint_bytes=-4096)
    with Recorder.resume(path, lengths=lengths, checkpoint_bytes=50_000) as recorder:
        assert recorder.lengths["train"] == 6
        recorder.checkpoint(bytes(50_000))
    with Recorder.resume(path) as recorder:  # the plain file takes less room; its slots do not shrink for it
        recorder.checkpoint(b"")
    with Recorder.resume(path) as recorder:
        recorder.checkpoint(bytes(50_000))


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create(path) as recorder:
        fill(recorder)
    with pytest.raises(RunFileError, match="no checkpoint"):
        Recorder.resume(path)
    with pytest.raises(RunFileError, match="no checkpoint"):
        read_checkpoint(path)
    assert remains(tmp_path) == {"run.h5"}


def test_a_state_larger_than_its_slot_is_refused(tmp_path: Path) -> None:
    with create(tmp_path / "run.h5", checkpoint_bytes=1000) as recorder:
        recorder.checkpoint(bytes(1000))
        with pytest.raises(InputError, match="checkpoint_bytes"):
            recorder.checkpoint(bytes(6000))
    assert read_checkpoint(tmp_path / "run.h5")[0] == bytes(1000)


def memory_file() -> h5py.File:
    return h5py.File("checkpoints", "w", driver="core", backing_store=False)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_damaged_checkpoint_gives_way_to_the_older_one(data: st.DataObject) -> None:
    with memory_file() as file:
        checkpoint.create_slots(file, 400)
        count = data.draw(st.integers(2, 5))
        for k in range(1, count + 1):
            assert checkpoint.write_slot(file, bytes([k]) * 60, {"train": k}) == k
        group = file["checkpoints"]
        newest = int(np.argmax(group["generation"][()]))
        length = int(group["length"][newest])
        field = data.draw(st.sampled_from(["payload", "length", "crc32", "generation"]))
        if field == "payload":
            at = data.draw(st.integers(0, length - 1))
            group[f"slot{newest}"][at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            group[field][newest] = int(group[field][newest]) ^ (1 << data.draw(st.integers(0, 31)))
        assert checkpoint.newest_checkpoint(file) == checkpoint.Checkpoint(
            bytes([count - 1]) * 60, {"train": count - 1}, count - 1
        )
        # The next one goes over the damaged slot, never over the good one.
        checkpoint.write_slot(file, b"next", {})
        assert checkpoint.newest_checkpoint(file) == checkpoint.Checkpoint(b"next", {}, count)


def test_a_checkpoint_cut_short_between_data_and_seal_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"

    def work() -> None:
        with create(path) as recorder:
            recorder.checkpoint(b"one")
            recorder.checkpoint(b"two")
            assert recorder._file is not None
            monkeypatch.setattr(recorder._file, "flush", full_disk)
            with pytest.raises(RunWriteError, match="No space left"):
                recorder.checkpoint(b"three")
            monkeypatch.undo()

    work()
    assert read_checkpoint(path)[0] == b"two"


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.sampled_from([np.float32(1.5), np.int16(-3), np.bool_(True), np.complex128(1 - 2j), np.uint64(2**64 - 1)]),
    st.sampled_from(
        [
            np.arange(6.0).reshape(2, 3),
            np.array(3, "i2"),
            np.zeros((0, 4), "f4"),
            np.array([True, False]),
            np.array([np.nan, -0.0, np.inf]),
        ]
    ),
)
STATES = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.tuples(inner, inner),
            st.dictionaries(st.text(max_size=4), inner, max_size=3),
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def same(left: object, right: object) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float | np.ndarray | np.generic):
        a, b = np.asarray(left), np.asarray(right)
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return left == right


@settings(deadline=None, max_examples=150)
@given(STATES)
def test_a_packed_state_comes_back_bit_for_bit(state: dict[str, object]) -> None:
    blob = checkpoint.pack_state(state)
    assert same(checkpoint.unpack_state(blob), state)
    assert checkpoint.pack_state(checkpoint.unpack_state(blob)) == blob


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_a_packed_generator_continues_its_stream(kind: type[np.random.BitGenerator]) -> None:
    generator = np.random.Generator(kind(5))
    generator.standard_normal(7)
    blob = checkpoint.pack_state({"generator": generator.bit_generator.state})
    expected = generator.standard_normal(50)
    twin = np.random.Generator(kind(6))
    twin.bit_generator.state = checkpoint.unpack_state(blob)["generator"]
    np.testing.assert_array_equal(twin.standard_normal(50), expected)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": [1, object()]}}, r"state\.a\.b\[1\]"),
        ({"a": np.array([object()])}, r"state\.a: expected an array without Python objects"),
        ({"a": {1: 2}}, r"state\.a: expected string keys"),
        ({"a": 1j}, r"state\.a"),
    ],
)
def test_what_cannot_be_packed_is_named(state: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checkpoint.pack_state(state)


@pytest.mark.parametrize("blob", [b"", b"nonsense", checkpoint.pack_state({"a": np.ones(3)})[:-30]])
def test_bytes_that_are_no_state_are_refused(blob: bytes) -> None:
    with pytest.raises(RunFileError, match="not a packed state"):
        checkpoint.unpack_state(blob)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    path = tmp_path / "run.h5"
    before = descriptors()
    with create(path) as recorder, open_run(path) as run:
        fill(recorder)
        recorder.checkpoint(b"")
        run.summary()
        with pytest.raises(RunFileError):
            create(path)
    for attempt in (lambda: create(path), lambda: Recorder.resume(path, lengths={"train": 99})):
        with pytest.raises(InputError):
            attempt()
    recover(path)
    Recorder.resume(path).close()
    temporary_path(path).write_text("left by a killed rewrite")
    recover(path)
    assert remains(tmp_path) == {"run.h5"}
    assert descriptors() == before
