"""Speed of a pulsed update: 256 x 256 soft-bounds cells, 64 rank-one contributions, up to 31 pulses a cell.

The contributions are accumulated (one matrix product), rounded stochastically to whole pulses, and given cell by
cell, every pulse with noise of its own. Run with ``--benchmark-enable``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from emulators.memristors.devices import Devices, PulseReport
from emulators.memristors.updates import SoftBounds

SIZE, BATCH, MOST = 256, 64, 31
LAW = SoftBounds(step=0.002, step_spread=0.3, bound_spread=0.1, cycle_spread=0.3)


def update(
    devices: Devices, inputs: npt.NDArray[np.float64], errors: npt.NDArray[np.float64], rng: np.random.Generator
) -> PulseReport:
    """Accumulate the outer products (in pulses), round without bias, hold to the burst limit, and write."""
    wanted = inputs.T @ errors
    counts = np.floor(wanted + rng.random(wanted.shape)).astype(np.int64)
    return devices.pulse(np.clip(counts, -MOST, MOST))


def _array(rng: np.random.Generator) -> Devices:
    devices = Devices((SIZE, SIZE), (1e-6, 1e-4), LAW, rng, spread=0.1, stuck=0.01)
    devices.initialise(np.full((SIZE, SIZE), 5e-5))
    return devices


@pytest.mark.parametrize("mean_pulses", [4, 12])
def test_rank_one_updates(benchmark: Any, mean_pulses: int) -> None:
    rng = np.random.default_rng(0)
    devices = _array(rng)
    # E|sum of BATCH products of normals| = sqrt(2 BATCH/pi) times their scale.
    scale = mean_pulses / np.sqrt(2.0 * BATCH / np.pi)
    inputs, errors = rng.standard_normal((BATCH, SIZE)), scale * rng.standard_normal((BATCH, SIZE))
    report = update(devices, inputs, errors, rng)
    assert report.pulses == devices.pulses.sum()
    assert 0.7 * mean_pulses < report.pulses / SIZE**2 < 1.1 * mean_pulses
    assert devices.pulses.max() <= MOST
    benchmark.pedantic(update, args=(devices, inputs, errors, rng), rounds=15, warmup_rounds=1)
    if benchmark.enabled:
        benchmark.extra_info["pulses"] = report.pulses
        # The fastest round: other load on the machine only adds to it.
        assert benchmark.stats.stats.min <= 15e-3


def test_every_cell_at_the_limit(benchmark: Any) -> None:
    rng = np.random.default_rng(0)
    devices = _array(rng)
    counts = np.where(rng.random((SIZE, SIZE)) < 0.5, MOST, -MOST)
    devices.pulse(counts)
    benchmark.pedantic(devices.pulse, args=(counts,), rounds=15, warmup_rounds=1)
    assert devices.pulses.max() >= MOST
