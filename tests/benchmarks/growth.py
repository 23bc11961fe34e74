"""How the cost of a crossbar's state grows with its size and with the batch: measured, fitted, drawn.

``OMP_NUM_THREADS=1 python tests/benchmarks/growth.py GROWTH.png`` measures on this machine and writes the picture.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from crossbar_peers import array_of
from threadpoolctl import threadpool_limits

from emulators.crossbar import Crossbar

SIZES, BATCHES = (64, 128, 256, 512), (1, 4, 16, 64)
BATCH_SIZE = 128
"""Size of the array at which the batch grows."""


@dataclass(frozen=True)
class Growth:
    """Seconds of a DC read by the size of the array (one input) and by the number of inputs, the best of nine."""

    by_size: tuple[float, ...]
    by_batch: tuple[float, ...]

    @property
    def size_exponent(self) -> float:
        return exponent(SIZES, self.by_size)

    @property
    def batch_exponent(self) -> float:
        return exponent(BATCHES, self.by_batch)


def exponent(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """p of seconds ~ count^p, by least squares on logarithms."""
    return float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])


def inputs(n: int, batch: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 0.2, (batch, n))


def measure() -> Growth:
    arrays = {n: Crossbar(array_of(n)) for n in {*SIZES, BATCH_SIZE}}
    with threadpool_limits(1):
        by_size = tuple(_best(lambda n=n: arrays[n].read(inputs(n, 1))) for n in SIZES)
        by_batch = tuple(_best(lambda k=k: arrays[BATCH_SIZE].read(inputs(BATCH_SIZE, k))) for k in BATCHES)
    return Growth(by_size, by_batch)


def _best(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(9):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def draw(growth: Growth, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.6), dpi=160, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, counts, seconds, p, label in (
        (panels[0], SIZES, growth.by_size, growth.size_exponent, "lines n of an n x n array, one input"),
        (panels[1], BATCHES, growth.by_batch, growth.batch_exponent, f"inputs, n = {BATCH_SIZE}"),
    ):
        milliseconds = 1e3 * np.array(seconds)
        middle = np.exp(np.mean(np.log(counts))), np.exp(np.mean(np.log(milliseconds)))
        fitted = middle[1] * (np.array(counts) / middle[0]) ** p
        axes.loglog(counts, fitted, color="#5A5A5A", linewidth=1.0, label=f"fit: exponent {p:.2f}")
        axes.loglog(counts, milliseconds, "o", color="#0072B2", label="measured")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel(label)
        axes.set_ylabel("milliseconds")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.suptitle("DC state of an ohmic array, 1 ohm segments, currents to 1e-9, one thread", fontsize=10)
    figure.savefig(path)


if __name__ == "__main__":
    found = measure()
    draw(found, Path(sys.argv[1]))
    print(f"n^{found.size_exponent:.2f}, batch^{found.batch_exponent:.2f}")
