"""Reading a run file: while it is written, after its writer was killed, and once it is plain."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import h5py
import numpy as np
import yaml

from substrate.errors import InputError, RunFileError
from substrate.experiment import checkpoint, layout
from substrate.experiment.runlock import writer_alive

__all__ = ["SCHEMA", "RunFile", "open_run", "open_source", "read_checkpoint", "text_of"]

SCHEMA = 1
"""The layout this version writes and reads; the root attribute `schema`."""

_TAKEN = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


def open_run(path: str | Path) -> "RunFile":
    """Open a run file for reading, whatever its state.

    Raises `RunFileError` when it is missing, not HDF5, truncated, not a run file or of another schema.
    """
    return RunFile(Path(path))


def read_checkpoint(path: str | Path) -> tuple[bytes, dict[str, int], int]:
    """The newest valid checkpoint of a run file: packed state, rows of every series at that moment, generation.

    Raises `RunFileError` when there is none, or as `open_run` does.
    """
    with open_run(path) as run:
        found = run.checkpoint()
    if found is None:
        raise RunFileError(f"{path}: holds no checkpoint")
    return found.blob, found.lengths, found.generation


@final
class RunFile:
    """An open run file. A context manager; every look at a live file sees what its writer has acknowledged by then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file, self.plain = open_source(path)
        try:
            self._series = layout.find_series(self._file)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def attrs(self) -> dict[str, Any]:
        """The root attributes, as Python values; `status` is the true one."""
        found = {key: _plain_value(value) for key, value in self._file.attrs.items()}
        return found | {"status": self.status}

    @property
    def status(self) -> str:
        """`running`, `finished`, `interrupted` or `failed`; a running file whose writer is dead is `interrupted`."""
        alive = writer_alive(self.path)  # before the look at what is stored: a writer stores, then lets go
        stored = text_of(self._fresh("state/status"))
        return "interrupted" if stored == "running" and not alive else stored

    @property
    def lengths(self) -> dict[str, int]:
        """Whole rows of every series by now."""
        return {name: self._rows(name) for name in self._series}

    def table(self, name: str, start: int = 0) -> dict[str, np.ndarray[Any, Any]]:
        """The whole rows of a series from row `start` on, its index and each column: arrays `(rows, *shape of a row)`.

        Raises `InputError` when there is no such series.
        """
        rows = self._rows(name)
        with _damage_reported(self.path):
            return {path.rsplit("/", 1)[1]: self._file[path][start:rows] for path in self._series[name].datasets}

    def units(self, name: str) -> dict[str, str]:
        """The units of the index and the columns of a series."""
        self._known(name)
        return {p.rsplit("/", 1)[1]: str(self._file[p].attrs["units"]) for p in self._series[name].datasets}

    def array(self, path: str) -> Any:
        """All of one dataset, by its path in the file; text comes as `str`. Raises `InputError` when it is missing."""
        if path not in self._file or not isinstance(self._file[path], h5py.Dataset):
            raise InputError(f"{self.path}: no dataset {path!r}")
        value = self._fresh(path)
        return text_of(value) if isinstance(value, bytes | str) else value

    def checkpoint(self) -> checkpoint.Checkpoint | None:
        """The newest valid checkpoint, or None."""
        with _damage_reported(self.path):
            return checkpoint.newest_checkpoint(self._file)

    def starts(self) -> list[dict[str, Any]]:
        """The resume chain: one entry for the first start and each resume (`time`, `host`, `process`, `argv`)."""
        return list(json.loads(self.array("state/starts")))

    def summary(self) -> dict[str, Any]:
        """What was run, on what, and how it went; None where the file does not say."""
        attributes = self.attrs
        config = _mapping(yaml.safe_load(str(attributes["experiment_yaml"])))
        epochs = self.table("epochs") if "epochs" in self._series else {}
        costs = self.table("ledger") if "ledger" in self._series else {}
        training = _mapping(config.get("training"))
        return {
            "experiment": config.get("experiment"),
            "backend": _mapping(config.get("substrate")).get("backend"),
            "rule": _mapping(config.get("rule")).get("name"),
            "seed": attributes["seed"],
            "status": attributes["status"],
            "message": text_of(self._fresh("state/message")),
            "epochs": int(max((len(values) for values in epochs.values()), default=0)),
            "epochs_planned": training.get("epochs"),
            "steps": self.lengths.get("train", 0),
            **{name: _last(epochs.get(name)) for name in _TAKEN},
            "samples_per_second": _median(epochs.get("samples_per_second")),
            "energy_joules": _last(costs.get("energy_joules")),
            "device_seconds": _last(costs.get("device_seconds")),
            "ledger": self._ledger(costs),
            "started": attributes["created"],
            "wall_seconds": float(self._fresh("state/wall_seconds")),
            "resumes": len(self.starts()) - 1,
            "checkpoint": None if (saved := self.checkpoint()) is None else saved.generation,
            "argv": json.loads(str(attributes["argv"])),
            "git_commit": attributes["git_commit"],
            "experiment_sha256": attributes["experiment_sha256"],
            "versions": {"substrate": attributes["substrate_version"]} | json.loads(str(attributes["packages"])),
        }

    def _ledger(self, costs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, dict[str, dict[str, float]]] | None:
        """Joules and seconds by array and activity, at the last epoch."""
        if not len(costs.get("joules", ())):
            return None
        parts = [text_of(name) for name in self.array("ledger/part")]
        activities = [text_of(name) for name in self.array("ledger/activity")]
        return {
            part: {
                activity: {unit: float(costs[unit][-1][row, column]) for unit in ("joules", "seconds")}
                for column, activity in enumerate(activities)
            }
            for row, part in enumerate(parts)
        }

    def _known(self, name: str) -> layout.SeriesPaths:
        if name not in self._series:
            raise InputError(f"{self.path}: no series {name!r}; it holds {sorted(self._series)}")
        return self._series[name]

    def _rows(self, name: str) -> int:
        rows: list[int] = []
        paths = self._known(name).datasets
        with _damage_reported(self.path):
            for path in paths:
                dataset = self._file[path]
                if not self.plain:
                    dataset.id.refresh()
                rows.append(dataset.shape[0])
        return min(rows)

    def _fresh(self, path: str) -> Any:
        with _damage_reported(self.path):
            dataset = self._file[path]
            if not self.plain:
                dataset.id.refresh()
            return dataset[()]


@contextlib.contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise RunFileError(f"{path}: damaged ({error})") from error


def open_source(path: Path) -> tuple[h5py.File, bool]:
    """Open a run file for reading and check that it is one; True when it is a plain file, False under SWMR."""
    if not path.is_file():
        raise RunFileError(f"{path}: no such run file")
    reasons: list[str] = []
    # A file that is being written, or whose writer died, opens only as a SWMR reader. Between the two attempts a
    # writer may replace it by a plain file, hence the third.
    for swmr in (False, True, False):
        try:
            file = h5py.File(path, "r", swmr=swmr)
        except OSError as error:
            reasons.append(str(error))
            continue
        try:
            _check(path, file)
            return file, not (swmr or file.swmr_mode) and _finalised(file)
        except BaseException as error:
            file.close()
            if isinstance(error, OSError | KeyError | RuntimeError):
                raise RunFileError(f"{path}: damaged ({error})") from error
            raise
    if not h5py.is_hdf5(path):
        raise RunFileError(f"{path}: not an HDF5 file")
    raise RunFileError(f"{path}: truncated or damaged ({reasons[-2]})")


def _check(path: Path, file: h5py.File) -> None:
    schema = file.attrs.get("schema")
    if schema is None or "experiment_yaml" not in file.attrs:
        raise RunFileError(f"{path}: an HDF5 file, but not a run file (no attribute schema)")
    if int(schema) != SCHEMA:
        raise RunFileError(f"{path}: schema {int(schema)}; this version reads schema {SCHEMA}")
    for name in ("status", "message", "wall_seconds", "starts"):
        if f"state/{name}" not in file:
            raise RunFileError(f"{path}: damaged (no dataset state/{name})")


def _finalised(file: h5py.File) -> bool:
    # The attribute says `running` until the file is rewritten plain.
    return str(file.attrs["status"]) != "running"


def text_of(value: Any) -> str:
    """Text as HDF5 returns it, as `str`."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _finite(values: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    return np.empty(0) if values is None else values[np.isfinite(values)]


def _last(values: np.ndarray[Any, Any] | None) -> float | None:
    finite = _finite(values)
    return float(finite[-1]) if finite.size else None


def _median(values: np.ndarray[Any, Any] | None) -> float | None:
    finite = _finite(values)
    return float(np.median(finite)) if finite.size else None
