"""A nudge that is switched on and waited for: the witness of what is solved as a steady state at once."""

from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.networks.equations import Equations
from emulators.networks.time_constants import TimeConstants
from emulators.networks.transient import Accuracy, integrate
from substrate.arrays import BoolArray, FloatArray
from substrate.tones import SamplingPlan


@final
@dataclass(frozen=True)
class SettledPeriod:
    """One period after the transient.

    Attributes:
        u, s: (batch, time, node), from the nudge's crest on.
        periods: periods run before it, the same for the whole batch.
        difference: (batch,) largest change of an output from the period before.
        settled: (batch,) whether that is within tolerance.
    """

    u: FloatArray
    s: FloatArray
    periods: int
    difference: FloatArray
    settled: BoolArray


def settled_nudge(
    network: Equations,
    constants: TimeConstants,
    free: FloatArray,
    drive: FloatArray,
    nudge: FloatArray,
    plan: SamplingPlan,
    tolerance: float = 1e-7,
    most_periods: int = 200,
    accuracy: Accuracy | None = None,
) -> SettledPeriod:
    """Switch ``nudge cos(2 pi f t)`` on at the free state and run until two periods agree.

    Args:
        network: the equations.
        constants: the time constants.
        free: (batch, node) free states.
        drive: (batch, node) held currents.
        nudge: (batch, node) peak nudge.
        plan: frequency and samples of a period.
        tolerance: largest change of an output from one period to the next, activity units. What is left of a
            transient that shrinks by q a period is q/(1 - q) of that.
        most_periods: to run; beyond, ``settled`` says who had not.
        accuracy: of each step.
    """
    period = 1.0 / plan.frequency_hz
    times = np.append(np.arange(plan.samples_per_period) * (period / plan.samples_per_period), period)

    def waveform(time: float) -> FloatArray:
        return np.asarray(drive + np.cos(2.0 * np.pi * plan.frequency_hz * time) * nudge)

    u, s = free, network.activity(free)
    count = 0
    before = np.full((len(free), plan.samples_per_period, network.node_count), np.inf)
    for _ in range(most_periods):
        run = integrate(network, constants, u, waveform, times, accuracy, start_outputs=s)
        u, s = run.u[:, -1], run.s[:, -1]
        difference = np.abs(run.s[:, :-1] - before).max(axis=(1, 2))
        before = run.s[:, :-1]
        count += 1
        if np.all(difference <= tolerance):
            break
    return SettledPeriod(run.u[:, :-1], before, count, difference, np.asarray(difference <= tolerance))
