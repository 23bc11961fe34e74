"""Where the dynamics lead under a sinusoidal nudge, and whether a periodic orbit is stable: fixed exponential steps.

Between two samples the couplings are held while each pole relaxes exactly, u <- e^{-h/tau} u + (1 - e^{-h/tau}) (I(s) +
drive) (the exponential Euler method; Hochbruck & Ostermann 2010), so that fast amplifiers don't limit the step. First
order is enough here: these steps find a basin and a growth, and the solver of the periodic state does the rest.
"""

import itertools
import math
from collections.abc import Iterator
from typing import final

import numpy as np

from emulators.networks.equations import Equations, spread
from emulators.networks.time_constants import TimeConstants
from substrate.arrays import BoolArray, FloatArray

STEP = 0.25
"""Longest step, in units of the fastest node's time constant."""

AGREEMENT = 1e-3
"""Two periods that differ by less, in activity units, are close enough for Newton's method."""

MEMORY = 12.0
"""Slowest time constants after which a tangent has turned to the mode that grows fastest."""


ADIABATIC = 0.05
"""omega times the slowest time constant below which an orbit is passed through at this frequency instead: basins and
mean growth rates hardly depend on so slow a frequency, and the steps of a period would grow without bound."""


def steps_of_period(constants: TimeConstants, omega: float, multiple: int) -> tuple[int, float]:
    """Steps in a period, a multiple of ``multiple``, none longer than ``STEP``; and the period in seconds."""
    period = 2.0 * np.pi / max(omega, ADIABATIC / slowest_seconds(constants))
    return multiple * math.ceil(period / (STEP * float(constants.node_seconds.min())) / multiple), period


def slowest_seconds(constants: TimeConstants) -> float:
    """The longest time constant of a node or an amplifier."""
    return float(max(constants.node_seconds.max(), constants.amplifier_seconds.max()))


@final
class Stepper:
    """Exponential steps of ``step_seconds``."""

    def __init__(self, constants: TimeConstants, step_seconds: float) -> None:
        lag = constants.amplifier_seconds
        self._keep = np.exp(-step_seconds / constants.node_seconds)
        self._keep_amplifier = np.where(lag > 0, np.exp(-step_seconds / np.where(lag > 0, lag, 1.0)), 0.0)

    def nodes(self, u: FloatArray, currents: FloatArray) -> FloatArray:
        """States after a step under currents (batch, node)."""
        return np.asarray(self._keep * u + (1.0 - self._keep) * currents)

    def outputs(self, s: FloatArray, image: FloatArray) -> FloatArray:
        """Outputs after a step towards the transfer functions' values (batch, node)."""
        return np.asarray(self._keep_amplifier * s + (1.0 - self._keep_amplifier) * image)


def follow(
    network: Equations,
    constants: TimeConstants,
    free: FloatArray,
    drive: FloatArray,
    nudge: FloatArray,
    omega: float,
    samples: int,
    most_steps: int,
) -> FloatArray:
    """Switch the nudge on at the free state and step until two periods agree; ``samples`` states of the last period.

    Args:
        network: the equations.
        constants: the time constants.
        free: (batch, node) states to start from.
        drive: (batch, node) held currents.
        nudge: (batch, node) peak nudge.
        omega: radians a second.
        samples: states returned.
        most_steps: about how many steps to spend in all; one period is always run.

    Returns:
        (batch, samples, node), whether or not the periods agree.
    """
    count, period = steps_of_period(constants, omega, samples)
    stepper = Stepper(constants, period / count)
    # The state at the end of a step is drawn to the drive at its end.
    phases = np.cos(2.0 * np.pi * (np.arange(count) + 1.0) / count)
    u, s = free, network.activity(free)
    record = np.zeros((len(free), samples, network.node_count))
    for _ in range(max(1, most_steps // count)):
        before = record.copy()
        for step, phase in enumerate(phases, start=1):
            u = stepper.nodes(u, network.currents(s) + (drive + phase * nudge))
            s = stepper.outputs(s, network.activity(u))
            if step * samples % count == 0:
                record[:, step * samples // count % samples] = u
        if np.abs(record - before).max() < AGREEMENT:
            break
    return record


def stable_orbits(weights: FloatArray, constants: TimeConstants, slopes: FloatArray, omega: float) -> BoolArray:
    """Whether small departures from periodic orbits die out, (batch,).

    A loop whose gain is below 1 at every instant is stable whatever its poles (small-gain theorem). Otherwise a tangent
    is carried along: a power iteration on the propagator of one period.

    Args:
        weights: small-signal, (source, target) or along each orbit (batch, samples, source, target).
        constants: the time constants.
        slopes: (batch, samples, node) of the transfer functions along each orbit; both linear between samples.
        omega: radians a second.
    """
    batch, samples, nodes = slopes.shape
    steepest = np.abs(slopes).max(axis=(0, 1), initial=0.0)
    if np.linalg.norm(steepest[:, None] * weights, ord=2, axis=(-2, -1)).max(initial=0.0) < 1.0:
        return np.ones(batch, dtype=np.bool_)
    count, period = steps_of_period(constants, omega, samples)
    stepper = Stepper(constants, period / count)
    fine = count // samples
    warm_up = math.ceil(MEMORY * slowest_seconds(constants) / period)
    # A fixed start without symmetry, so that it has a part along every mode.
    u = np.broadcast_to(np.cos(1.0 + 2.0 * np.arange(nodes) ** 1.5), (batch, nodes))
    s = slopes[:, 0] * u
    growth = np.zeros(batch)
    for turn in range(2 * warm_up):
        held = itertools.repeat(weights) if weights.ndim == 2 else _between(weights, fine)
        for slope, weight in zip(_between(slopes, fine), held, strict=False):
            u = stepper.nodes(u, spread(s, weight))
            s = stepper.outputs(s, slope * u)
        size = np.maximum(np.abs(u).max(axis=1), np.abs(s).max(axis=1)) + np.finfo(float).tiny
        u, s = u / size[:, None], s / size[:, None]
        if turn >= warm_up:
            growth += np.log(size)
    return np.asarray(growth < 0.0)


def _between(values: FloatArray, fine: int) -> Iterator[FloatArray]:
    """Values (batch, samples, ...) at ``fine`` equal steps from each sample to the next, round the period.

    The first is one step in.
    """
    samples = values.shape[1]
    for step in range(1, samples * fine + 1):
        sample, part = divmod(step, fine)
        here, ahead = values[:, sample % samples], values[:, (sample + 1) % samples]
        yield here + (ahead - here) * (part / fine) if part else here
