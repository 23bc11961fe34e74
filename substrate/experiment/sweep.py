"""Sweeps: many runs from one file, on this machine's cores or a Dask scheduler, resumable, with one table at the end.

A sweep file names an experiment, what all runs change in it, and the axes whose combinations are run:

    experiment: digits                 # a shipped experiment, or a YAML file beside the sweep
    set: {training.epochs: 10}         # of every run, as `substrate run --set` takes them
    axes:
      device:                          # an axis of named points, each a set of keys
        ecram: {substrate.update: {preset: ecram}}
        ideal: {substrate.update: {law: constant_step, step: 0.0002}}
      seed: [0, 1, 2]                  # or the values of one key
    where:                             # keys of some combinations, after those of the axes: a label, or a list of them
      - {device: ecram, seed: [0, 1], set: {training.learning_rate: 0.02}}
      - {device: ideal, seed: 2, set: null}    # is left out
    output: runs/devices               # folder of the run files and of table.csv

A key that does nothing beside the others is refused if it does nothing at any of the points: axes may go through 0, at
which what they give the level of is off.

Each run is a process of its own with one thread of linear algebra. Runs that are there and finished are not repeated,
interrupted ones go on from their last checkpoint, and a run that fails is a row of the table with its message. Where a
process is killed, the sweep ends once the others have stopped, and goes on when it is asked for again. A scheduler
gives the run of a worker that is killed to another one, which goes on from the last checkpoint, until it has lost as
many as its ``allowed-failures``.
"""

import csv
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from substrate.errors import InputError, SubstrateError, WorkerKilled
from substrate.experiment.config import Experiment, load_experiment
from substrate.experiment.files import read_yaml_text
from substrate.experiment.idle import given_keys, idle_at_all, lines_of
from substrate.experiment.runfile import open_run
from substrate.experiment.runner import resume, run
from substrate.validation import blamed, describe

LOOK_SECONDS = 5.0
"""How often it is looked whether a scheduler has workers at all, while no run ends."""

COLUMNS = ("status", "epochs", "train_accuracy", "test_accuracy", "test_loss", "samples_per_second", "wall_seconds")
"""What the table takes from a run's summary."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@final
class SweepFile(BaseModel):
    """A sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: str
    set: dict[str, Any] = {}
    axes: Annotated[dict[str, list[Any] | dict[str, dict[str, Any]]], Field(min_length=1)]
    where: list[dict[str, Any]] = []
    output: str


@final
@dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep: its place on every axis, its overrides ``key=value`` and its run file."""

    labels: tuple[tuple[str, str], ...]
    source: str
    overrides: tuple[str, ...]
    path: Path


@final
@dataclass(frozen=True)
class Row:
    """A row of the table: the point, what its run came to (empty where there is no run file), and why it failed."""

    point: SweepPoint
    summary: Mapping[str, Any]
    message: str


def load_sweep(source: str | Path) -> tuple[SweepPoint, ...]:
    """The runs of a sweep file, in the order of its axes.

    Raises:
        InputError: a file that is missing or not a sweep; an experiment that a combination makes invalid; a key that
            does nothing at any of the points.
    """
    path = Path(source)
    try:
        sweep = SweepFile.model_validate(yaml.safe_load(read_yaml_text(path)))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, model=SweepFile)}") from error
    beside = path.parent / sweep.experiment
    experiment = str(beside) if beside.is_file() else sweep.experiment
    folder = Path(sweep.output)
    axes = {name: _points_of(path, name, axis) for name, axis in sweep.axes.items()}
    exceptions = _exceptions(path, sweep.where, {name: [label for label, _ in axis] for name, axis in axes.items()})
    points: list[SweepPoint] = []
    experiments: list[Experiment] = []
    for combination in itertools.product(*axes.values()):
        labels = tuple((name, label) for name, (label, _) in zip(sweep.axes, combination, strict=True))
        keys = dict(sweep.set)
        for _, own in combination:
            keys |= own
        its_own = [own for of, own in exceptions if all(label in of.get(name, (label,)) for name, label in labels)]
        if None in its_own:
            continue
        for more in its_own:
            keys |= more or {}
        overrides = tuple(f"{key}={_flow(value)}" for key, value in keys.items())
        name = "_".join(re.sub(r"[^\w.+-]+", "-", label) for _, label in labels)
        point = SweepPoint(labels, experiment, overrides, folder / f"{name}.h5")
        try:
            experiments.append(load_experiment(experiment, overrides, judged="none"))
        except InputError as error:
            raise InputError(f"{path}: {_named(point)}: {error}") from error
        points.append(point)
    if not points:
        raise InputError(f"{path}: where: leaves nothing to run")
    _refuse_idle(path, points, experiments)
    names = [point.path.name for point in points]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: axes: two points have the same name; expected names that differ")
    return tuple(points)


def run_sweep(
    source: str | Path,
    scheduler: str | None = None,
    workers: int | None = None,
    told: Callable[[str], None] | None = None,
) -> Path:
    """Run what is not finished yet, and write the table.

    Args:
        source: a sweep file.
        scheduler: address of a Dask scheduler, whose workers see the same folder; None: this machine.
        workers: processes on this machine; by default as many as it has cores.
        told: hears a line for every run.

    Returns:
        The table, ``table.csv`` in the sweep's folder.

    Raises:
        InputError: a sweep file that is not one; no Dask where a scheduler is given.
        WorkerKilled: a process was killed, or the scheduler is gone; the runs that are finished are kept, and in the
            table.
    """
    points = load_sweep(source)
    folder = points[0].path.parent
    folder.mkdir(parents=True, exist_ok=True)
    told = told or (lambda line: None)
    rows: dict[SweepPoint, Row] = {}
    table = folder / "table.csv"
    try:
        for row in _here(points, workers) if scheduler is None else _on_scheduler(points, scheduler, told):
            rows[row.point] = row
            accuracy = row.summary.get("test_accuracy")
            told(
                f"{len(rows)} of {len(points)}: {_named(row.point)}: "
                + (row.message or (f"test accuracy {accuracy:.4f}" if accuracy is not None else row.summary["status"]))
            )
            # Written anew after each run: a table of what there is outlives an interruption.
            _write_table(table, [rows[point] for point in points if point in rows])
    except BrokenExecutor as error:
        done = [point for point in points if point in rows and rows[point].summary.get("status") == "finished"]
        why = (
            str(error)
            if scheduler is not None
            else ("a process was killed before its run ended, for want of memory perhaps (fewer --workers take less)")
        )
        raise WorkerKilled(
            f"{source}: {why}; {len(done)} of {len(points)} runs are finished{f' and in {table}' if done else ''}; "
            "the same command goes on with the others from their last checkpoints"
        ) from error
    return table


def carry_out(point: SweepPoint) -> Row:
    """One run of a sweep, from the start or from where it stopped."""
    message = ""
    try:
        # Keys that do nothing here were judged over all points.
        experiment = load_experiment(point.source, point.overrides, judged="none")
        status = _status(point.path, experiment.to_yaml())
        if status == "interrupted":
            resume(point.path)
        elif status != "finished":
            run(experiment, point.path, overwrite=True)
    except (SubstrateError, OSError, MemoryError, ArithmeticError) as error:
        message = str(error) or type(error).__name__
    try:
        with open_run(point.path) as found:
            return Row(point, found.summary(), message)
    except SubstrateError as error:
        return Row(point, {}, message or str(error))


def _status(path: Path, experiment_yaml: str) -> str:
    """How far the run of this very experiment is; empty where there is none that can be used."""
    if not path.exists():
        return ""
    try:
        with open_run(path) as found:
            if found.attrs["experiment_yaml"] != experiment_yaml:
                return ""
            status = found.status
            return status if status == "finished" or found.checkpoint() is not None else ""
    except SubstrateError:
        return ""


def _named(point: SweepPoint) -> str:
    return ", ".join(f"{name} {label}" for name, label in point.labels)


def _refuse_idle(path: Path, points: Sequence[SweepPoint], experiments: Sequence[Experiment]) -> None:
    """Refuse keys that do nothing at any point: an axis may go through the level that switches others off."""
    given = [given_keys(point.overrides) for point in points]
    for point, experiment, keys, meant in zip(points, experiments, idle_at_all(experiments, given), given, strict=True):
        if keys:
            overrides = [(override.partition("=")[0], f"--set {override}") for override in point.overrides]
            told = blamed(lines_of(experiment, keys, meant), point.source, overrides)
            raise InputError(f"{path}: {_named(point)}: {told}")


def _points_of(path: Path, name: str, axis: Any) -> list[tuple[str, dict[str, Any]]]:
    if not axis:
        raise InputError(f"{path}: axes.{name}: expected at least one value")
    if isinstance(axis, dict):
        return list(axis.items())
    return [(_flow(value), {name: value}) for value in axis]


def _exceptions(
    path: Path, where: list[dict[str, Any]], labels: Mapping[str, list[str]]
) -> list[tuple[dict[str, tuple[str, ...]], dict[str, Any] | None]]:
    """Of each entry of ``where`` the labels by axis, and the keys that it sets; None where it leaves points out."""
    found = []
    for number, entry in enumerate(where):
        keys = entry.get("set", ())
        if not (keys is None or isinstance(keys, dict)):
            raise InputError(f"{path}: where.{number}.set: expected keys with their values, or null, got {keys!r}")
        chosen = {}
        for name, value in entry.items():
            if name == "set":
                continue
            if name not in labels:
                raise InputError(f"{path}: where.{number}: no axis {name!r}; there are {', '.join(labels)}")
            chosen[name] = tuple(_label(one) for one in (value if isinstance(value, list) else [value]))
            unknown = [label for label in chosen[name] if label not in labels[name]]
            if unknown:
                raise InputError(f"{path}: where.{number}.{name}: expected of {labels[name]}, got {unknown[0]!r}")
        found.append((chosen, keys))
    return found


def _label(value: Any) -> str:
    return value if isinstance(value, str) else _flow(value)


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


def _on_scheduler(points: Sequence[SweepPoint], address: str, told: Callable[[str], None]) -> Iterator[Row]:
    """Rows as their runs end on the workers of a Dask scheduler.

    Raises:
        BrokenExecutor: workers were killed, or the scheduler is gone; says so.
    """
    try:
        import distributed
    except ImportError as error:
        raise InputError("--scheduler: needs the package distributed: pip install analog-substrate[cluster]") from error
    with distributed.Client(address) as client:
        left = set(client.map(carry_out, points, pure=False))
        killed: Exception | None = None
        alone = False
        while left:
            try:
                ended, left = distributed.wait(left, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
            except TimeoutError:
                if bool(client.scheduler_info()["workers"]) == alone:
                    alone = not alone
                    told(f"the scheduler at {address} has {'no workers; waiting for some' if alone else 'workers'}")
                continue
            except CancelledError as error:
                raise BrokenExecutor(f"the scheduler at {address} ended before its runs did") from error
            for future in ended:
                failure = future.exception()
                if isinstance(failure, distributed.KilledWorker):
                    # The others are heard out: what they finish need not be run again.
                    killed = failure
                else:
                    yield future.result()
        if killed is not None:
            raise BrokenExecutor(
                f"workers of the scheduler at {address} were killed before a run ended, for want of memory perhaps "
                "(fewer workers on a machine take less)"
            ) from killed


def _here(points: Iterable[SweepPoint], workers: int | None) -> Iterator[Row]:
    """Rows as their runs end on this machine."""
    with _one_thread(), ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        pending: list[Future[Row]] = [pool.submit(carry_out, point) for point in points]
        broken: BrokenExecutor | None = None
        try:
            for future in as_completed(pending):
                failure = future.exception()
                if isinstance(failure, BrokenExecutor):
                    # Of those that ended before, some may not have been heard of yet.
                    broken = failure
                else:
                    yield future.result()
        except BaseException:
            for future in pending:
                future.cancel()
            raise
        if broken is not None:
            raise broken


@contextmanager
def _one_thread() -> Iterator[None]:
    """Children that are started inside inherit one thread of linear algebra each: as many runs as cores, no more."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _write_table(path: Path, rows: list[Row]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(name for name, _ in rows[0].point.labels), *COLUMNS, "message", "run"])
        for row in rows:
            values = [row.summary.get(column, "") for column in COLUMNS]
            labels = [label for _, label in row.point.labels]
            writer.writerow([*labels, *values, row.message, row.point.path.name])
    os.replace(partial, path)
