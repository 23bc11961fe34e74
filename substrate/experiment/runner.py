"""Runs: training from an experiment, step by step, into a run file; and going on from a checkpoint."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any, final

import h5py
import numpy as np

from substrate.arrays import FloatArray, IntArray
from substrate.contract import Substrate
from substrate.controller import Controller, Evaluation, Step
from substrate.demodulation import harmonics
from substrate.errors import InputError, RunFileError, RunInterrupted, SubstrateError
from substrate.experiment.assembly import Assembly, Trained, assemble
from substrate.experiment.checkpoint import pack_state, unpack_state
from substrate.experiment.config import Experiment, load_experiment
from substrate.experiment.kernel_cache import kernels_are_cold
from substrate.experiment.layout import Constant
from substrate.experiment.progress import Progress, Silent
from substrate.experiment.recorder import Recorder, RunHeader
from substrate.experiment.report_text import counted
from substrate.experiment.run_layout import series_of
from substrate.experiment.runfile import open_run
from substrate.tones import SamplingPlan

PACKAGES = ("numpy", "scipy", "numba", "h5py", "pydantic", "pyyaml", "scikit-learn")
"""Packages whose versions a run file keeps."""

REASONS = {
    "lost_branch": "lost their branch (no steady state under the nudge, or harmonics that do not decay)",
    "saturated": "saturated the readings under the nudge",
    "unsettled": "did not settle, or saturated the readings, before the nudge or in the course of it",
}
"""Why samples are left out of updates: as a step's report counts them, and as a person is told."""


def run(
    experiment: Experiment,
    output: str | Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Path:
    """Train, from the first step to the last.

    Args:
        experiment: what to run.
        output: the run file; by default ``runs/NAME-seedN-TIME.h5``.
        progress: who is told.
        overwrite: replace a run file of this name.

    Returns:
        The run file.

    Raises:
        InputError: data, layers or device that do not fit together; a run file that exists.
        RunInterrupted: stopped on request, at a checkpoint.
    """
    assembly = assemble(experiment)
    path = Path(output) if output is not None else _default_output(experiment)
    _check_output(path, output)
    cold = kernels_are_cold(assembly.substrate)
    with _stop_requests() as stopping, assembly.substrate:
        controller = assembly.controller()
        training = _Training(assembly, controller)
        # Weights that no cell can show are refused before there is a file.
        weights = assembly.initial_weights()
        recorder = Recorder.create(
            path,
            _header(experiment),
            series_of(assembly),
            checkpoint_bytes=training.checkpoint_bytes(),
            constants=_instruments(experiment, assembly),
            default="epochs",
            overwrite=overwrite,
        )
        told = progress or Silent()
        with recorder, _transcript(assembly.substrate, recorder):
            compiling = " (the first run on a machine also compiles its kernels: about a minute)" if cold else ""
            told.note(f"programming the cells{compiling}")
            training.begin(recorder, weights)
            training.go_on(recorder, told, stopping)
    return path


def resume(path: str | Path, epochs: int | None = None, progress: Progress | None = None) -> Path:
    """Go on with a run from its last checkpoint.

    Args:
        path: the run file.
        epochs: the new total; by default the run's own.
        progress: who is told.

    Raises:
        RunFileError: no run file, or none that can be continued.
        InputError: fewer epochs than are done.
        RunInterrupted: stopped on request, at a checkpoint.
    """
    with open_run(path) as source:
        text = str(source.attrs["experiment_yaml"])
        if source.status == "running":
            raise RunFileError(f"{path}: is being written by another process")
        finished = source.status == "finished"
        saved = source.checkpoint()
    if saved is None:
        raise RunFileError(f"{path}: holds no checkpoint to go on from; start it anew")
    overrides = [] if epochs is None else [f"training.epochs={epochs}"]
    experiment = load_experiment(path, overrides, text=text, judged="given")
    assembly = assemble(experiment)
    state = unpack_state(saved.blob)
    if experiment.training.epochs < state["epoch"]:
        raise InputError(f"--epochs {experiment.training.epochs}: {path} has done {state['epoch']} epochs")
    told = progress or Silent()
    if finished and experiment.training.epochs == state["epoch"]:
        told.note(f"finished, after {counted(state['epoch'], 'epoch')}; --epochs with a larger number goes on")
        return Path(path)
    with _stop_requests() as stopping, assembly.substrate:
        controller = assembly.controller()
        training = _Training(assembly, controller)
        try:
            training.restore(state)
        except KeyError as error:
            raise RunFileError(
                f"{path}: its checkpoint has no {error}, which this version goes on from; start it anew"
            ) from error
        # Hardware does not go back with the file: what it was told since the checkpoint stays in the log.
        lengths = None if assembly.substrate.states is not None else _all_rows(path)
        recorder = Recorder.resume(path, tuple(sys.argv), lengths=lengths, experiment_yaml=experiment.to_yaml())
        with recorder, _transcript(assembly.substrate, recorder):
            training.go_on(recorder, told, stopping)
    return Path(path)


def trained_state(path: str | Path) -> Trained:
    """The experiment of a run file, and the state of its last checkpoint.

    Raises:
        RunFileError: no run file, or one without a checkpoint.
    """
    with open_run(path) as source:
        text = str(source.attrs["experiment_yaml"])
        saved = source.checkpoint()
    if saved is None:
        raise RunFileError(f"{path}: holds no checkpoint")
    return Trained(load_experiment(path, text=text, judged="given"), unpack_state(saved.blob))


@final
class _Training:
    """The state of a run between two steps, and its way through the epochs."""

    def __init__(self, assembly: Assembly, controller: Controller) -> None:
        self._assembly = assembly
        self._controller = controller
        training = assembly.experiment.training
        self._epoch = 0
        self._batch = 0
        self._step = 0
        self._order: IntArray = np.zeros(0, dtype=np.int64)
        self._sums = _zero_sums()
        self._idle = _zero_idle()
        self._rows: list[dict[str, Any]] = []
        self._batches = len(assembly.dataset.train_labels) // training.batch_size

    def checkpoint_bytes(self) -> int:
        """Room for a packed state: what there is now, and what training adds to it for every array."""
        per_weight = 5 * 8
        weights = sum(math.prod(coupling.shape) for coupling in self._controller.network.arrays)
        order = 8 * len(self._assembly.dataset.train_labels)
        return len(pack_state(self.snapshot())) + per_weight * weights + order + (1 << 17)

    def snapshot(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        substrate = self._assembly.substrate
        states = substrate.states
        return {
            "epoch": self._epoch,
            "batch": self._batch,
            "step": self._step,
            "order": self._order,
            "sums": dict(self._sums),
            "idle": dict(self._idle),
            "order_generator": self._assembly.rngs["order"].bit_generator.state,
            "controller": self._controller.snapshot(),
            "substrate": states.snapshot() if states is not None else None,
            "pulses_sent": {c.name: substrate.pulses_sent(c.name) for c in substrate.network.arrays},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put a state back; cells of hardware stay as they are, and are read when they are needed."""
        self._epoch, self._batch, self._step = int(state["epoch"]), int(state["batch"]), int(state["step"])
        self._order = state["order"]
        self._sums = dict(state["sums"])
        self._idle = dict(state["idle"])
        self._assembly.rngs["order"].bit_generator.state = state["order_generator"]
        self._controller.restore(state["controller"])
        self._assembly.substrate.restore_pulses_sent(state["pulses_sent"])
        states = self._assembly.substrate.states
        if states is not None and state["substrate"] is not None:
            states.restore(state["substrate"])

    def begin(self, recorder: Recorder, weights: Mapping[str, FloatArray]) -> None:
        """Program the initial weights and log them."""
        controller, dataset = self._controller, self._assembly.dataset
        controller.program(weights)
        first = self._assembly.experiment.training.batch_size
        controller.prepare(dataset.train_inputs[:first].astype(np.float64), dataset.train_labels[:first])
        self._log_cells(recorder, 0)
        self._log_costs(recorder, 0)
        recorder.checkpoint(pack_state(self.snapshot()))

    def go_on(self, recorder: Recorder, progress: Progress, stopping: Callable[[], bool]) -> None:
        """Train to the last epoch, or until asked to stop."""
        training = self._assembly.experiment.training
        if stopping() and self._epoch < training.epochs:
            raise RunInterrupted(f"stopped before step {self._step + 1}")
        if self._idle["epochs"]:
            recorder.remark = self._idle_sentence()
        with progress:
            progress.start(self._assembly.experiment.experiment, training.epochs, self._batches, self._step)
            while self._epoch < training.epochs:
                self._one_epoch(recorder, progress, stopping)

    def _one_epoch(self, recorder: Recorder, progress: Progress, stopping: Callable[[], bool]) -> None:
        experiment, dataset = self._assembly.experiment, self._assembly.dataset
        training, logging = experiment.training, experiment.logging
        rate = training.learning_rate * training.learning_rate_decay**self._epoch
        started = time.monotonic()
        first_batch = self._batch
        if not self._batch:
            self._order = self._assembly.rngs["order"].permutation(len(dataset.train_labels))
            self._sums = _zero_sums()
        step: Step | None = None
        while self._batch < self._batches:
            chosen = self._order[self._batch * training.batch_size : (self._batch + 1) * training.batch_size]
            judge = bool(logging.quality_every) and self._step % logging.quality_every == 0
            last = self._batch == self._batches - 1
            inputs = dataset.train_inputs[chosen].astype(np.float64)
            step = self._controller.step(
                inputs, dataset.train_labels[chosen], rate, judge, training.decay_at(self._epoch)
            )
            self._rows.append(self._row(step, rate))
            if len(self._rows) >= logging.steps_at_once:
                self._log_steps(recorder)
            _log_wires(self._assembly.substrate, recorder)
            if logging.records and not self._batch:
                volts = step.estimate.signals.waveform * self._assembly.substrate.scale.volts_per_unit
                recorder.append("records", {"nodes": volts})
            if last and step.estimate.plan is not None:
                recorder.append("nudge", self._period(step, step.estimate.plan), index=self._epoch + 1)
            self._count(step)
            self._batch += 1
            self._step += 1
            progress.step(self._epoch + 1, vars(step.report))
            if stopping() and not last:
                self._save(recorder)
                raise RunInterrupted(f"stopped in epoch {self._epoch + 1}, after step {self._step}")
        self._log_steps(recorder)
        trained_seconds = time.monotonic() - started
        evaluation = self._controller.evaluate(dataset.test_inputs, dataset.test_labels)
        row = self._epoch_row(evaluation, rate, started, (self._batches - first_batch) / trained_seconds)
        self._epoch += 1
        self._batch = 0
        self._log_cells(recorder, self._epoch)
        recorder.append("evaluation", {"confusion": self._confusion(evaluation)}, index=self._epoch)
        recorder.append("epochs", row, index=self._epoch)
        self._log_costs(recorder, self._epoch)
        progress.epoch(self._epoch, {**row, **self._means()})
        if not self._sums["updates"]:
            for name in REASONS:
                self._idle[name] += int(self._sums[name])
            self._idle["samples"] += self._batches * training.batch_size
            self._idle["epochs"] += 1
            progress.note(f"warning: {self._idle_sentence()}")
            recorder.remark = self._idle_sentence()
        done = self._epoch == training.epochs
        if done or stopping() or self._epoch % logging.checkpoint_every_epochs == 0:
            self._save(recorder)
        if stopping() and not done:
            raise RunInterrupted(f"stopped after epoch {self._epoch}")

    def _log_steps(self, recorder: Recorder) -> None:
        """Write the scalars of steps that are not in the file yet."""
        recorder.extend("train", self._rows)
        self._rows = []

    def _save(self, recorder: Recorder) -> None:
        self._log_steps(recorder)
        recorder.checkpoint(pack_state(self.snapshot()))

    def _row(self, step: Step, rate: float) -> dict[str, Any]:
        row = vars(step.report) | {"learning_rate": rate}
        for layer in self._controller.network.layers[1:]:
            cosine = step.quality.error_cosine[layer.name] if step.quality else float("nan")
            row[f"error_cosine_{layer.name}"] = cosine
        return row

    def _count(self, step: Step) -> None:
        report = step.report
        sums = self._sums
        for name in ("loss", "accuracy", "amplitude"):
            sums[name] += getattr(report, name)
        sums["pulses"] += report.pulses
        left_out = {name: getattr(report, name) for name in REASONS}
        for name, count in left_out.items():
            sums[name] += count
        sums["excluded"] += sum(left_out.values())
        # One is enough to tell that an epoch was not idle.
        sums["updates"] = sums["updates"] or float(_is_heard(step))
        sums["steps"] += 1
        if math.isfinite(report.gradient_cosine):
            sums["cosine"] += report.gradient_cosine
            sums["judged"] += 1

    def _idle_sentence(self) -> str:
        """That nothing was learned, in how many epochs by now, and why."""
        idle = self._idle
        reasons = [f"{idle[name]} {told}" for name, told in REASONS.items() if idle[name]]
        silent = idle["samples"] - sum(idle[name] for name in REASONS)
        if silent:
            reasons.append(f"{silent} gave no gradient: no reading moved with the nudge")
        return (
            f"nothing was learned in {idle['epochs']} of {self._epoch} epochs: no update had a gradient; of "
            f"{idle['samples']} samples, {'; '.join(reasons)}"
        )

    def _means(self) -> dict[str, float]:
        sums = self._sums
        return {
            "amplitude": sums["amplitude"] / sums["steps"],
            "excluded": int(sums["excluded"]),
            "samples": int(sums["steps"]) * self._assembly.experiment.training.batch_size,
            "gradient_cosine": sums["cosine"] / sums["judged"] if sums["judged"] else float("nan"),
        }

    def _epoch_row(
        self, evaluation: Evaluation, rate: float, started: float, batches_per_second: float
    ) -> dict[str, Any]:
        sums, batch = self._sums, self._assembly.experiment.training.batch_size
        return {
            "train_loss": sums["loss"] / sums["steps"],
            "train_accuracy": sums["accuracy"] / sums["steps"],
            "test_loss": evaluation.loss,
            "test_accuracy": evaluation.accuracy,
            "test_unsettled": evaluation.unsettled,
            "symmetry": self._controller.symmetry(),
            "learning_rate": rate,
            "pulses": int(sums["pulses"]),
            "excluded_fraction": sums["excluded"] / (sums["steps"] * batch),
            "gradient_cosine": self._means()["gradient_cosine"],
            "seconds": time.monotonic() - started,
            "samples_per_second": batches_per_second * batch,
        }

    def _log_cells(self, recorder: Recorder, epoch: int) -> None:
        """The conductance of every cell, and what it was sent by now."""
        substrate = self._assembly.substrate
        names = [coupling.name for coupling in substrate.network.arrays]
        recorder.append("conductances", {name: substrate.read_cells(name) for name in names}, index=epoch)
        if substrate.capabilities.pulses_anywhere:
            recorder.append("pulses", {name: substrate.pulses_sent(name) for name in names}, index=epoch)

    def _log_costs(self, recorder: Recorder, epoch: int) -> None:
        """What the device has spent by now, where it can tell."""
        ledger = self._assembly.substrate.ledger
        if ledger is not None:
            recorder.append("ledger", ledger.table(), index=epoch)

    def _confusion(self, evaluation: Evaluation) -> IntArray:
        classes = self._assembly.dataset.class_count
        table = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(table, (self._assembly.dataset.test_labels, evaluation.predictions), 1)
        return table

    def _period(self, step: Step, plan: SamplingPlan) -> dict[str, Any]:
        """One nudge period at the outputs, with its harmonics: of the batch's sample with the largest error."""
        substrate = self._assembly.substrate
        sample = int(np.argmax(np.sum(step.phase.error**2, axis=1)))
        outputs = substrate.network.output.nodes
        # Of several frequencies the first, which is the plan's own.
        waveform = step.estimate.signals.waveform[sample, : plan.sample_count]
        volts = waveform[:, outputs] * substrate.scale.volts_per_unit
        cosines, sines = harmonics(volts.T, plan.samples_per_period, plan.highest_harmonic, step.estimate.phase_origin)
        period = volts.reshape(plan.periods, plan.samples_per_period, -1)[-1]
        peak = step.estimate.amplitude[sample] * step.phase.error[sample] * substrate.scale.unit_amperes
        return {
            "output_volts": period,
            "cosine_volts": cosines.T,
            "sine_volts": sines.T,
            "nudge_amperes": peak,
            "harmonics": plan.harmonics,
        }


def _log_wires(substrate: Substrate, recorder: Recorder) -> None:
    """Write what was said to instruments by now, where that was asked for."""
    log = None if substrate.instruments is None else substrate.instruments.wire_log
    if log is not None:
        recorder.extend("transcript", log.take())


@contextmanager
def _transcript(substrate: Substrate, recorder: Recorder) -> Iterator[None]:
    """However the block ends, have what was said in the file, the way to the safe state included."""
    try:
        yield
    finally:
        if substrate.instruments is not None and substrate.instruments.wire_log is not None:
            # Leaving the device comes to its safe state again, and tells of what went wrong.
            with suppress(SubstrateError):
                substrate.safe_state()
            _log_wires(substrate, recorder)


def _is_heard(step: Step) -> bool:
    """Whether a step had a sample in use, and readings that moved with the nudge if there was an error to nudge by."""
    keep, waveform = step.estimate.keep, step.estimate.signals.waveform
    if not keep.any():
        return False
    moved = waveform.shape[1] == 1 or bool(np.any(waveform[keep] != waveform[keep, :1]))
    return moved or not step.phase.error[keep].any()


def _zero_sums() -> dict[str, float]:
    names = ("loss", "accuracy", "amplitude", "pulses", "excluded", "steps", "cosine", "judged", "updates", *REASONS)
    return dict.fromkeys(names, 0.0)


def _zero_idle() -> dict[str, int]:
    """Epochs in which no update had a gradient, and what became of their samples."""
    return dict.fromkeys(("epochs", "samples", *REASONS), 0)


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Ctrl-C or SIGTERM once: stop at the next checkpoint; again: at once. Only the main thread gets signals."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_output(path: Path, given: str | Path | None) -> None:
    """Refuse, before the device is opened, an output that is no place for a run file; only ``runs`` is made."""
    # What stands there may be replaced on request, but not anything: a device node, or a file that is no run.
    if not path.name or path.is_dir() or str(given).endswith("/"):
        raise InputError(f"--output {path if given is None else given}: expected the name of a run file, got a folder")
    if path.exists():
        if not path.is_file():
            raise InputError(f"--output {path}: expected a run file, got something that is not a plain file")
        if not h5py.is_hdf5(path):
            raise InputError(f"--output {path}: exists and is not a run file; choose another name")
    if not path.parent.is_dir():
        if given is not None:
            raise InputError(f"{path}: the folder {path.parent} does not exist")
        try:
            path.parent.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{path.parent}: cannot be made: {error.strerror}; name a file with --output") from error


def _default_output(experiment: Experiment) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{experiment.experiment}-seed{experiment.seed}-{stamp}.h5"


def _all_rows(path: str | Path) -> dict[str, int]:
    with open_run(path) as source:
        return source.lengths


def _header(experiment: Experiment) -> RunHeader:
    return RunHeader(
        experiment_yaml=experiment.to_yaml(),
        seed=experiment.seed,
        argv=tuple(sys.argv),
        git_commit=_git_commit(),
        packages={"python": sys.version.split()[0], **{name: _version(name) for name in PACKAGES}},
        substrate_version=_version("analog-substrate"),
    )


def _instruments(experiment: Experiment, assembly: Assembly) -> dict[str, Constant]:
    """What the run is made on: the backend, its settings, and what the device said that it can do."""
    capabilities = asdict(assembly.substrate.capabilities)
    instruments = assembly.substrate.instruments
    return {
        "instruments/backend": Constant(str(experiment.substrate["backend"])),
        "instruments/settings": Constant(json.dumps(experiment.substrate), description="the resolved section, JSON"),
        "instruments/capabilities": Constant(json.dumps(capabilities), description="JSON"),
        "instruments/snapshot": Constant(
            json.dumps(instruments.snapshot() if instruments is not None else {}),
            description="identity and settings of every instrument when the run began, JSON",
        ),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git_commit() -> str:
    """The commit of the tree that this code runs from, with ``-dirty`` after it; empty outside a clone."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return ""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
