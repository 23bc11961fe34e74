"""Writing a run file: rows that a reader can see the moment they are acknowledged, and a plain file at the end.

The file is written in HDF5's single-writer multiple-reader (SWMR) mode, in which a process killed at any moment leaves
a readable file. That mode allows neither new datasets nor changed attributes, so all datasets are made first, and what
changes during a run (status, message, wall time) lives in datasets under `/state`; closing rewrites the file plain,
with the same values as root attributes.
"""

import hashlib
import json
import operator
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import h5py
import numpy as np

from substrate.errors import InputError, RunFileError, RunInterrupted, RunWriteError
from substrate.experiment import checkpoint, layout
from substrate.experiment.layout import Column, Constant, Series
from substrate.experiment.rewrite import discard_temporary, rewrite_plain, temporary_path
from substrate.experiment.runfile import SCHEMA, open_source
from substrate.experiment.runlock import RunLock

__all__ = ["Column", "Constant", "Recorder", "RunHeader", "Series"]

# SWMR needs the file format of HDF5 1.10; asking for no newer one keeps files readable with older libraries.
_FORMAT = ("v110", "v110")
_MESSAGE_BYTES = 4096
# A slot holds the lengths of all series beside the state.
_LENGTHS_BYTES = 4096
_STATUSES = ("finished", "interrupted", "failed")
_WALL_PERIOD_SECONDS = 1.0


@final
@dataclass(frozen=True)
class RunHeader:
    """What a run file says about its run as root attributes; `extra` adds attributes (numbers, text, lists of them)."""

    experiment_yaml: str
    seed: int
    argv: tuple[str, ...] = ()
    git_commit: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    substrate_version: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@final
class _Appender:
    """One growing dataset, written through the low-level interface: in a fifth of the time of the high-level one."""

    def __init__(self, dataset: h5py.Dataset, name: str) -> None:
        self.name = name
        self.shape: tuple[int, ...] = dataset.shape[1:]
        self.dtype: np.dtype[Any] = dataset.dtype
        self._id = dataset.id
        self._type = h5py.h5t.py_create(dataset.dtype, logical=True)
        self._memory: dict[int, h5py.h5s.SpaceID] = {}
        self._zeros = (0,) * len(self.shape)

    def prepare(self, values: Sequence[Any]) -> np.ndarray[Any, Any]:
        """`values` as the array `(row, *shape)` of this dataset's type; `InputError` when one does not fit."""
        kind = self.dtype.kind
        try:
            if kind == "S":
                texts = [str(value).encode() for value in values]
                longest = max(map(len, texts), default=0)
                if longest > self.dtype.itemsize:
                    raise InputError(
                        f"column {self.name}: expected at most {self.dtype.itemsize} bytes of text, got {longest}"
                    )
                return np.array(texts, dtype=self.dtype)
            if not self.shape:
                # One by one: NumPy would cut numbers to whole ones, and parse texts.
                number = bool if kind == "b" else operator.index if kind in "iu" else float
                return np.array([number(value) for value in values], dtype=self.dtype)
            arrays = [np.asarray(value) for value in values]
            for array in arrays:
                if array.shape != self.shape:
                    raise InputError(f"column {self.name}: expected shape {self.shape}, got {array.shape}")
            # Of arrays in another order NumPy stacks one in that order, which is no row of a file.
            rows = np.stack([array.astype(self.dtype, casting="same_kind", copy=False) for array in arrays])
            return np.ascontiguousarray(rows)
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"column {self.name}: expected {self.dtype} of shape {self.shape}: {error}") from error

    def place(self, row: int, count: int) -> h5py.h5s.SpaceID:
        """The selection of `count` rows from `row` on in a dataset of this shape that ends with them."""
        space = h5py.h5s.create_simple((row + count, *self.shape))
        space.select_hyperslab((row, *self._zeros), (count, *self.shape))
        return space

    def write(self, row: int, place: h5py.h5s.SpaceID, values: np.ndarray[Any, Any]) -> None:
        """Write `values` (made by `prepare`) as the last rows, from row `row` on, at their `place`."""
        count = len(values)
        if count not in self._memory:
            self._memory[count] = h5py.h5s.create_simple((count, *self.shape))
        self._id.set_extent((row + count, *self.shape))
        self._id.write(self._memory[count], place, values, self._type)


@final
class Recorder:
    """The writer of one run file. Made by `create` or `resume`; a context manager that closes with a true status.

    Leaving the `with` block normally closes as `finished`, by Ctrl-C, exit or `RunInterrupted` as `interrupted`, by
    any other exception as `failed`, with the exception as message. Not for use from several threads at once.

    Attributes:
        remark: goes into the message of a run, before that of an exception.
    """

    def __init__(self, path: Path, lock: RunLock, file: h5py.File, wall_seconds: float) -> None:
        self.path = path
        self.remark = ""
        self._lock = lock
        self._file: h5py.File | None = file
        self._started = time.monotonic() - wall_seconds
        self._wall_written = time.monotonic()
        series = layout.find_series(file)
        self._lengths = layout.series_lengths(file, series)
        self._index = {name: _Appender(file[paths.index], "index") for name, paths in series.items()}
        self._columns = {
            name: {column: _Appender(file[path], f"{name}.{column}") for column, path in paths.columns.items()}
            for name, paths in series.items()
        }

    @classmethod
    def create(
        cls,
        path: str | Path,
        header: RunHeader,
        series: Mapping[str, Series],
        constants: Mapping[str, Constant] | None = None,
        checkpoint_bytes: int = 0,
        default: str | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Create a run file with empty `series`, `constants` by path (`group/name`) and two checkpoint slots.

        `checkpoint_bytes` bounds a packed state; `default` names the group that a viewer shows first. Raises
        `RunFileError` when the file exists (and `overwrite` is False), is being written, or cannot be made, and
        `InputError` for a bad layout; then no file is left behind.
        """
        target = Path(path)
        if checkpoint_bytes < 0:
            raise InputError(f"checkpoint_bytes: expected at least 0, got {checkpoint_bytes}")
        lock = RunLock(target)
        try:
            if target.exists() and not overwrite:
                raise RunFileError(
                    f"{target}: exists; choose another name for the output, or overwrite it (--overwrite)"
                )
            with _Draft(target) as file:
                _write_header(file, header, default)
                for name, one in series.items():
                    layout.create_series(file, name, one)
                for group, members in _by_group(constants or {}).items():
                    layout.write_constants(file.require_group(group), members)
                _create_state(file, [_start(header.argv)], 0.0)
                checkpoint.create_slots(file, checkpoint_bytes + _LENGTHS_BYTES)
            return cls._publish(target, lock, file, 0.0)
        except BaseException:
            discard_temporary(target)
            lock.release()
            raise

    @classmethod
    def resume(
        cls,
        path: str | Path,
        argv: tuple[str, ...] = (),
        lengths: Mapping[str, int] | None = None,
        experiment_yaml: str | None = None,
        checkpoint_bytes: int | None = None,
    ) -> Self:
        """Continue a run file: rewrite it for writing, its series cut to `lengths`, and add to its resume chain.

        By default series are cut to the rows of the newest checkpoint; pass `RunFile.lengths` to keep every row (on
        hardware). `experiment_yaml` replaces the stored text, `checkpoint_bytes` the size of a slot. The old file
        stays in place until the new one is whole. Raises `RunFileError` when there is no checkpoint and no
        `lengths`, when another writer lives, or as `open_run`.
        """
        target = Path(path)
        with open_source(target)[0]:
            pass  # a clear error before a lock file is made beside something that is no run file
        lock = RunLock(target)
        try:
            source, _ = open_source(target)
            with source:
                saved = checkpoint.newest_checkpoint(source)
                if lengths is None:
                    if saved is None:
                        raise RunFileError(f"{target}: holds no checkpoint to resume from")
                    lengths = saved.lengths
                wall_seconds = float(source["state/wall_seconds"][()])
                starts = [*json.loads(source["state/starts"][()]), _start(argv)]
                capacity = None if checkpoint_bytes is None else checkpoint_bytes + _LENGTHS_BYTES
                with _Draft(target) as file:
                    for key, value in source.attrs.items():
                        file.attrs[key] = value
                    file.attrs["status"] = "running"
                    if experiment_yaml is not None:
                        _write_experiment(file, experiment_yaml)
                    layout.copy_contents(source, file, lengths, growing=True)
                    del file["state"]
                    _create_state(file, starts, wall_seconds)
                    checkpoint.copy_slots(source, file, capacity)
            return cls._publish(target, lock, file, wall_seconds)
        except BaseException:
            discard_temporary(target)
            lock.release()
            raise

    @classmethod
    def _publish(cls, target: Path, lock: RunLock, file: h5py.File, wall_seconds: float) -> Self:
        """Start SWMR, put the file in its place, and only then write rows: it never stands there half made."""
        try:
            recorder = cls(target, lock, file, wall_seconds)
            file.swmr_mode = True
            file.flush()
            checkpoint.sync(temporary_path(target))
            os.replace(temporary_path(target), target)
            checkpoint.sync(target.parent)
        except BaseException:
            file.close()
            raise
        return recorder

    @property
    def lengths(self) -> dict[str, int]:
        """Acknowledged rows of every series."""
        return dict(self._lengths)

    def append(self, series: str, row: Mapping[str, Any], index: int | None = None) -> int:
        """Write one row of a series, all columns at once; return its number. Once it returns, SWMR readers see it.

        `index` is the value on the series' index, by default the row's number. Raises `InputError` when columns are
        missing or unknown or a value does not fit (then nothing is written), `RunWriteError` when the disk refuses.
        """
        number = self._lengths.get(series, 0)
        self._write_rows(series, [row], [number if index is None else index])
        return number

    def extend(self, series: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows of a series at once, their numbers on its index: in less time than one after another.

        All of them or none; raises as `append`.
        """
        number = self._lengths.get(series, 0)
        if rows:
            self._write_rows(series, rows, range(number, number + len(rows)))

    def _write_rows(self, series: str, rows: Sequence[Mapping[str, Any]], indices: Sequence[int]) -> None:
        file = self._open()
        columns = self._columns.get(series)
        if columns is None:
            raise InputError(f"series: expected one of {sorted(self._columns)}, got {series!r}")
        for row in rows:
            if row.keys() != columns.keys():
                missing, unknown = sorted(columns.keys() - row.keys()), sorted(row.keys() - columns.keys())
                raise InputError(f"series {series}: missing columns {missing}, unknown columns {unknown}")
        number, count = self._lengths[series], len(rows)
        values = [(column, column.prepare([row[name] for row in rows])) for name, column in columns.items()]
        values.append((self._index[series], self._index[series].prepare(indices)))
        # Making a selection costs more than the write itself; columns of one shape share it.
        places: dict[tuple[int, ...], h5py.h5s.SpaceID] = {}
        try:
            for column, value in values:
                if column.shape not in places:
                    places[column.shape] = column.place(number, count)
                column.write(number, places[column.shape], value)
            if time.monotonic() - self._wall_written > _WALL_PERIOD_SECONDS:
                self._write_wall(file)
            h5py.h5f.flush(file.id)
        except (OSError, RuntimeError) as error:
            raise RunWriteError(f"{self.path}: cannot write a row of {series}: {error}") from error
        self._lengths[series] = number + count

    def checkpoint(self, blob: bytes) -> int:
        """Save a packed state with the present length of every series; return its generation. On disk once it returns.

        Raises `InputError` when it is larger than the `checkpoint_bytes` of the file.
        """
        file = self._open()
        try:
            self._write_wall(file)
            generation = checkpoint.write_slot(file, blob, self._lengths)
            checkpoint.sync(self.path)
        except (OSError, RuntimeError) as error:
            raise RunWriteError(f"{self.path}: cannot write a checkpoint: {error}") from error
        return generation

    def close(self, status: str = "finished", message: str = "") -> None:
        """End the run: store status and message, rewrite the file plain, give up the lock. A second call does nothing.

        When rewriting fails, the file stands as it was written, and `RunWriteError` says so.
        """
        if status not in _STATUSES:
            raise InputError(f"status: expected one of {_STATUSES}, got {status!r}")
        file, self._file = self._file, None
        if file is None:
            return
        try:
            try:
                self._columns, self._index = {}, {}
                file["state/message"][()] = _fitting(message)
                self._write_wall(file)
                file["state/status"][()] = status
                file.flush()
            finally:
                file.close()
            rewrite_plain(self.path)
        except (OSError, RuntimeError) as error:
            raise RunWriteError(f"{self.path}: cannot be finished: {error}; try `substrate recover`") from error
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status, message = "finished", ""
        if error is not None:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | RunInterrupted)
            status = "interrupted" if stopped else "failed"
            message = f"{type(error).__name__}: {error}".rstrip(": ")
        self.close(status, ". ".join(part for part in (self.remark, message) if part))

    def _open(self) -> h5py.File:
        if self._file is None:
            raise RunFileError(f"{self.path}: this recorder is closed")
        return self._file

    def _write_wall(self, file: h5py.File) -> None:
        self._wall_written = time.monotonic()
        file["state/wall_seconds"][()] = self._wall_written - self._started


@final
class _Draft:
    """A new file under the temporary name; closed when the block that fills it raises."""

    def __init__(self, target: Path) -> None:
        path = temporary_path(target)
        path.unlink(missing_ok=True)
        try:
            self._file = h5py.File(path, "w", libver=_FORMAT)
        except OSError as error:
            raise RunFileError(f"{target}: cannot be created: {error}") from error

    def __enter__(self) -> h5py.File:
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._file.close()


def _write_header(file: h5py.File, header: RunHeader, default: str | None) -> None:
    attributes = {
        "substrate_version": header.substrate_version,
        "schema": SCHEMA,
        "seed": header.seed,
        "status": "running",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": json.dumps(list(header.argv)),
        "git_commit": header.git_commit,
        "packages": json.dumps(dict(header.packages)),
        "NX_class": "NXroot",
    }
    _write_experiment(file, header.experiment_yaml)
    if clash := sorted(header.extra.keys() & (attributes.keys() | file.attrs.keys())):
        raise InputError(f"header.extra: these names are taken: {clash}")
    for key, value in (attributes | dict(header.extra)).items():
        file.attrs[key] = value
    if default is not None:
        file.attrs["default"] = default


def _write_experiment(file: h5py.File, text: str) -> None:
    file.attrs["experiment_yaml"] = text
    file.attrs["experiment_sha256"] = hashlib.sha256(text.encode()).hexdigest()


def _create_state(file: h5py.File, starts: list[dict[str, Any]], wall_seconds: float) -> None:
    group = file.create_group("state")
    layout.write_constants(
        group,
        {
            "wall_seconds": Constant(wall_seconds, units="s"),
            "starts": Constant(json.dumps(starts), description="first start and resumes, as JSON"),
        },
    )
    # Text of fixed size: HDF5 writes no variable-length data under SWMR.
    for name, size, text in (("status", 16, "running"), ("message", _MESSAGE_BYTES, "")):
        dataset = group.create_dataset(name, shape=(), dtype=h5py.string_dtype("utf-8", size))
        dataset[()] = text
        dataset.attrs["units"] = "1"


def _start(argv: tuple[str, ...]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"time": now, "host": socket.gethostname(), "process": os.getpid(), "argv": list(argv)}


def _fitting(message: str) -> bytes:
    """The end of a message too long to store, where an exception says what happened."""
    data = message.encode()
    return (
        data if len(data) <= _MESSAGE_BYTES else b"..." + data[-_MESSAGE_BYTES + 6 :].decode(errors="ignore").encode()
    )


def _by_group(constants: Mapping[str, Constant]) -> dict[str, dict[str, Constant]]:
    groups: dict[str, dict[str, Constant]] = {}
    for path, constant in constants.items():
        group, slash, name = path.strip("/").rpartition("/")
        if not slash or not name:
            raise InputError(f"constants: expected names of the form group/name, got {path!r}")
        groups.setdefault(group, {})[name] = constant
    return groups
