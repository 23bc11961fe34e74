"""What benchmarks of learning rules share: 784-256-256-10 on an emulated device, log and writes on; the bare loop."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from substrate.arrays import FloatArray, IntArray
from substrate.controller import Controller
from substrate.experiment.assembly import Assembly, assemble
from substrate.experiment.config import Experiment, load_experiment
from substrate.experiment.recorder import Recorder, RunHeader
from substrate.experiment.run_layout import series_of

BATCH, SWEEPS, BETA, RATE = 64, 15, 0.5, 0.01
LAYERS = (784, 256, 256, 10)
TARGETS = (-0.8, 0.8)
SWEPT = "{relaxation: sweeps, precision: float32, sweeps: {free: 15, nudged: 15}}"
EXPERIMENT = """
experiment: speed
data: {{name: npz, path: {path}, activity_range: [0.0, 1.0]}}
network:
  layers: [784, 256, 256, 10]
  activation: tanh
  feedback: shared
  initial: {{scale: 0.9, input_scale: 0.9}}
cost: {{targets: [-0.8, 0.8]}}
substrate:
  backend: emulator
  cells: {{law: ohmic, window_siemens: [1.0e-6, 1.0e-4]}}
  update: {{law: ideal}}
  limits: {{read_volts: 1.0, write_volts: 2.0, current_amperes: 1.0}}
writing: {{mode: outright}}
training: {{epochs: 1, batch_size: 64, learning_rate: 0.01, momentum: 0.0}}
logging: {{quality_every: 0, steps_at_once: 100}}
"""


def images(count: int, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Stand-ins for MNIST: a bright patch of the class at a place of its own, a fifth of the pixels; 0 to 1."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    prototypes = np.random.default_rng(99).random((10, 784)) ** 8
    return np.clip(prototypes[labels] + 0.2 * rng.random((count, 784)) ** 8, 0.0, 1.0), labels


@contextmanager
def training(folder: Path, *overrides: str) -> Iterator["Training"]:
    """The experiment above, on images of its own."""
    path = folder / "images.npz"
    inputs, labels = images(64 * 16)
    np.savez(path, train_inputs=inputs, train_labels=labels, test_inputs=inputs[:64], test_labels=labels[:64])
    with begun(load_experiment("speed", overrides, text=EXPERIMENT.format(path=path)), folder) as one:
        yield one


@contextmanager
def begun(experiment: Experiment, folder: Path) -> Iterator["Training"]:
    """The programmed device of an experiment with its controller, and an open run file."""
    assembly = assemble(experiment)
    recorder = Recorder.create(
        folder / f"run{time.monotonic_ns()}.h5",
        RunHeader(assembly.experiment.to_yaml(), 0, ("benchmark",), "", {}, ""),
        series_of(assembly),
        checkpoint_bytes=1 << 16,
        default="epochs",
    )
    with recorder, assembly.substrate:
        controller = assembly.controller()
        controller.program(assembly.initial_weights())
        yield Training(assembly, controller, recorder)


class Training:
    """Steps of training as a run takes them: chosen samples, one update, one row of the log."""

    def __init__(self, assembly: Assembly, controller: Controller, recorder: Recorder) -> None:
        self.assembly, self.controller, self.recorder = assembly, controller, recorder
        self.count, self.rows = 0, list[dict[str, Any]]()

    def batch(self) -> tuple[FloatArray, IntArray]:
        """The next samples."""
        data, size = self.assembly.dataset, self.assembly.experiment.training.batch_size
        chosen = np.arange(self.count * size, (self.count + 1) * size) % len(data.train_labels)
        return data.train_inputs[chosen].astype(np.float64), data.train_labels[chosen]

    def step(self) -> None:
        """One of them."""
        rate = self.assembly.experiment.training.learning_rate
        found = self.controller.step(*self.batch(), rate)
        row = vars(found.report) | {"learning_rate": rate}
        row |= {f"error_cosine_{layer.name}": float("nan") for layer in self.controller.network.layers[1:]}
        self.rows.append(row)
        if len(self.rows) == self.assembly.experiment.logging.steps_at_once:
            self.recorder.extend("train", self.rows)
            self.rows = []
        self.count += 1
        assert found.estimate.keep.all()


class BareLoop:
    """Centred EP written down in NumPy, float32: three phases of the discrete map, gradient, weight update."""

    def __init__(self, weights: list[FloatArray], inputs: FloatArray, labels: IntArray) -> None:
        self.weights = [w[:-1].astype(np.float32) for w in weights]
        self.biases = [w[-1].astype(np.float32) for w in weights]
        self.inputs, self.labels, self.count = inputs, labels, 0

    def sweep(self, state: list[Any], drive: Any, nudge: Any, sweeps: int) -> list[Any]:
        (_, w1, w2), (h1, h2, y) = self.weights, state
        for _ in range(sweeps):
            h1, h2, y = (
                np.tanh(drive + h2 @ w1.T),
                np.tanh(h1 @ w1 + y @ w2.T + self.biases[1]),
                np.tanh(h2 @ w2 + nudge),
            )
        return [h1, h2, y]

    def step(self) -> None:
        chosen = np.arange(self.count * BATCH, (self.count + 1) * BATCH) % len(self.labels)
        x, labels = self.inputs[chosen].astype(np.float32), self.labels[chosen]
        self.count += 1
        target = np.full((BATCH, 10), TARGETS[0], dtype=np.float32)
        target[np.arange(BATCH), labels] = TARGETS[1]
        drive = x @ self.weights[0] + self.biases[0]
        zeros = [np.zeros((BATCH, n), dtype=np.float32) for n in LAYERS[1:]]
        free = self.sweep(zeros, drive, self.biases[2], SWEEPS)
        error = np.float32(BETA) * (target - free[2])
        up = self.sweep(free, drive, self.biases[2] + error, SWEEPS)
        down = self.sweep(free, drive, self.biases[2] - error, SWEEPS)
        rate = np.float32(RATE / (2 * BETA * BATCH))
        for k, (a, b) in enumerate(zip([x, *up[:2]], up, strict=True)):
            c, d = [x, *down[:2]][k], down[k]
            self.weights[k] += rate * (a.T @ b - c.T @ d)
            self.biases[k] += rate * (b - d).sum(axis=0)


def cpu_seconds(work: Callable[[], Any], times: int) -> float:
    """Of the process, for each time."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def in_turns(first: Callable[[], Any], second: Callable[[], Any], rounds: int = 11, times: int = 4) -> list[float]:
    """Median seconds of each, one thread."""
    pairs = [(cpu_seconds(first, times), cpu_seconds(second, times)) for _ in range(rounds)]
    return [statistics.median(one) for one in zip(*pairs, strict=True)]
