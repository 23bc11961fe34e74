"""States of a current-mode network under complex nudges, for the holomorphic reference (physics.md, 2.5).

u = I(f(u)) + drive + nudge with a complex nudge has no dynamics to follow; its solution is the analytic continuation of
the free state. I is W s, or phi(s) W with the entire function phi of cells i = g phi(v) that no wires join. Each state
is tracked along the ray t nudge, t from 0 to 1: an Euler step along the tangent, then Newton's method (a predictor-
corrector continuation: Allgower & Georg, Numerical Continuation Methods, 1990, chapter 6). A step counts only if the
corrections stay small beside it and shrink fast, so that no other sheet is jumped to; else it is halved. Everything
here is complex-differentiable: no modulus, conjugate or clip enters the equations.

Everything is in activity units. Solved for the pivot states alone, from which the others follow (``current_mode``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np

from emulators.networks.circuit import NudgedStates
from emulators.neurons import SOFTNESS, Neurons
from substrate.arrays import BoolArray, ComplexArray, FloatArray, IntArray
from substrate.contract import Scale
from substrate.errors import InputError

Transfer: TypeAlias = Callable[[ComplexArray], ComplexArray]

CORRECTIONS = 6
"""Newton steps after a step along the ray."""

CONTRACTION = 0.5
"""Each correction, relative to the one before and the first to the step along the tangent: at most."""

SLACK = 100.0
"""Corrections so small, in units of the residual, are free: of what a free state was solved to, and of rounding."""

SMALLEST_STEP = 1e-3
"""Of a ray's length 1; a ray that needs smaller ones runs into a singularity."""

MATRIX_BYTES = 64 * 2**20
"""Of the Jacobians that are held at a time."""


def _tanh_slope(z: ComplexArray) -> ComplexArray:
    t = np.tanh(z)
    return np.asarray(1.0 - t * t)


def _logistic(z: ComplexArray) -> ComplexArray:
    return np.asarray(0.5 * (1.0 + np.tanh(2.0 * z - 1.0)))


def _logistic_slope(z: ComplexArray) -> ComplexArray:
    return _tanh_slope(2.0 * z - 1.0)


def _soft_rectified(z: ComplexArray) -> ComplexArray:
    # log(1 + e^w) = w + log(1 + e^-w): the form whose exponential is small; equal where they meet, |Im w| < pi.
    w = z / SOFTNESS
    right = w.real > 0.0
    return np.asarray(SOFTNESS * (np.where(right, w, 0.0) + np.log1p(np.exp(np.where(right, -w, w)))))


def _soft_rectified_slope(z: ComplexArray) -> ComplexArray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z / SOFTNESS)))


TRANSFER: Mapping[str, tuple[Transfer, Transfer]] = {
    "tanh": (np.tanh, _tanh_slope),
    "logistic": (_logistic, _logistic_slope),
    "soft_rectified": (_soft_rectified, _soft_rectified_slope),
}
"""The activations of ``neurons.TRANSFER`` and their slopes, continued to complex arguments."""


@final
@dataclass(frozen=True)
class Passage:
    """Currents phi(s) @ weights, phi(s) = (exp(a s) - exp(-b s))/(a + b), which for a = b = 0 is s.

    Attributes:
        weights: (source, target).
        exponents: (a, b) in 1/activity unit.
    """

    weights: FloatArray
    exponents: tuple[float, float] = (0.0, 0.0)

    def currents(self, s: ComplexArray) -> ComplexArray:
        """(lane, target) for activities (lane, source)."""
        a, b = self.exponents
        passed = (np.expm1(a * s) - np.expm1(-b * s)) / (a + b) if a + b else s
        return np.asarray(passed @ self.weights)

    def small_signal(self, s: ComplexArray) -> ComplexArray | FloatArray:
        """Slope of the currents by each activity, (lane, source, target); without the lanes where it is the same."""
        a, b = self.exponents
        if not a + b:
            return self.weights
        slope = (a * np.exp(a * s) + b * np.exp(-b * s)) / (a + b)
        return np.asarray(slope[:, :, None] * self.weights)


class HolomorphicEquations(ABC):
    """Complex-differentiable equations of a network whose layers alternate between two groups, the pivot and the other.

    Attributes:
        node_count: nodes.
    """

    node_count: int

    @property
    @abstractmethod
    def groups(self) -> tuple[IntArray, IntArray]:
        """Indices of the pivot nodes and of the others, in layer order; *solver order* is one behind the other."""

    @property
    @abstractmethod
    def arranged_neurons(self) -> Neurons:
        """Neurons of all nodes, in solver order."""

    @property
    @abstractmethod
    def passages(self) -> tuple[tuple[Passage, ...], tuple[Passage, ...]]:
        """From the pivot to the other nodes, and from these to the pivot; those of one direction add up."""


@final
@dataclass(frozen=True)
class ContinuedStates:
    """Outputs s = f(u), (batch, point, node); residual and whether the ray was followed to its end, (batch, point)."""

    s: ComplexArray
    residual: FloatArray
    settled: BoolArray


def continued_states(
    network: HolomorphicEquations, free: FloatArray, drive: FloatArray, nudge: ComplexArray, residual: float
) -> ContinuedStates:
    """Solve u = I(f(u)) + drive + nudge for every nudge, from the free states.

    Args:
        network: the equations.
        free: (batch, node) free states, at nudge zero.
        drive: (batch, node) held currents.
        nudge: (batch, point, node) complex.
        residual: largest modulus of an imbalance allowed.

    Returns:
        Outputs of all nodes; where ``settled`` is False, they are those of the last state on the ray and the residual
        is what they leave at its end.
    """
    batch, points, _ = nudge.shape
    order, count = np.concatenate(network.groups), len(network.groups[0])
    sample = np.repeat(np.arange(batch), points)
    start, held = free[sample[:, None], order[:count]], drive[sample[:, None], order]
    turn = np.ascontiguousarray(nudge[..., order]).reshape(batch * points, -1)
    system = _Pivot(network)
    pivot = start.astype(np.complex128)
    settled = np.zeros(len(pivot), dtype=np.bool_)
    side = max(count, network.node_count - count, 1)
    chunk = max(1, MATRIX_BYTES // (16 * side * side))
    for first in range(0, len(pivot), chunk):
        part = slice(first, first + chunk)
        settled[part] = _track(system, pivot[part], held[part], turn[part], residual)
    outputs, left = system.outputs(pivot, held + turn)
    s = np.empty((batch * points, network.node_count), dtype=np.complex128)
    s[:, order] = outputs
    return ContinuedStates(s.reshape(batch, points, -1), left.reshape(batch, points), settled.reshape(batch, points))


def continuation(
    network: HolomorphicEquations,
    free: FloatArray,
    settled: BoolArray,
    drive: FloatArray,
    amperes: ComplexArray,
    scale: Scale,
    residual: float,
) -> NudgedStates:
    """The same in volts under ``amperes`` (batch, point, node); unsettled where the free state is (batch,).

    Raises:
        InputError: another batch.
    """
    if len(amperes) != len(free):
        raise InputError(f"complex nudge: expected a batch of {len(free)}, got {len(amperes)}")
    found = continued_states(network, free, drive, amperes / scale.unit_amperes, residual)
    return NudgedStates(found.s * scale.volts_per_unit, found.residual, found.settled & settled[:, None])


@final
class _Pivot:
    """The equations as those of the pivot: x = I(f_o(I(f_p(x)) + d_o)) + d_p, rows are states."""

    def __init__(self, network: HolomorphicEquations) -> None:
        self._count = len(network.groups[0])
        self._to_other, self._to_pivot = network.passages
        self._pivot_neurons = network.arranged_neurons.part(slice(0, self._count))
        self._other_neurons = network.arranged_neurons.part(slice(self._count, network.node_count))

    def force(self, x: ComplexArray, drive: ComplexArray) -> ComplexArray:
        """What the states are drawn to, less themselves."""
        other = _currents(self._to_other, complex_activity(self._pivot_neurons, x)) + drive[:, self._count :]
        return _currents(self._to_pivot, complex_activity(self._other_neurons, other)) + drive[:, : self._count] - x

    def response(self, x: ComplexArray, drive: ComplexArray, push: ComplexArray) -> ComplexArray:
        """Changes of the pivot, to first order, by currents ``push`` (lane, node): of Newton's step and the tangent."""
        count = self._count
        pivot = complex_activity(self._pivot_neurons, x)
        other = _currents(self._to_other, pivot) + drive[:, count:]
        here, there = _slope(self._pivot_neurons, x), _slope(self._other_neurons, other)
        to_other = here[:, :, None] * _small_signal(self._to_other, pivot)
        to_pivot = there[:, :, None] * _small_signal(self._to_pivot, complex_activity(self._other_neurons, other))
        system = np.eye(count) - (to_other @ to_pivot).transpose(0, 2, 1)
        arriving = push[:, :count] + (push[:, None, count:] @ to_pivot)[:, 0]
        try:
            solved = np.linalg.solve(system, arriving[:, :, None])
        except np.linalg.LinAlgError:
            # One singular lane stops all: without a number in it, it is refused alone.
            system[np.linalg.slogdet(system)[0] == 0.0] = np.nan
            solved = np.linalg.solve(system, arriving[:, :, None])
        return np.asarray(solved[:, :, 0])

    def outputs(self, x: ComplexArray, drive: ComplexArray) -> tuple[ComplexArray, FloatArray]:
        """Outputs of all nodes in solver order, and the residual of each state."""
        pivot = complex_activity(self._pivot_neurons, x)
        other = complex_activity(self._other_neurons, _currents(self._to_other, pivot) + drive[:, self._count :])
        residual = np.abs(_currents(self._to_pivot, other) + drive[:, : self._count] - x).max(axis=1)
        return np.concatenate([pivot, other], axis=1), residual


def _currents(passages: tuple[Passage, ...], s: ComplexArray) -> ComplexArray:
    return np.asarray(sum(passage.currents(s) for passage in passages))


def _small_signal(passages: tuple[Passage, ...], s: ComplexArray) -> ComplexArray:
    return np.asarray(sum(passage.small_signal(s) for passage in passages))


def complex_activity(neurons: Neurons, u: ComplexArray) -> ComplexArray:
    """Outputs for complex summed inputs (..., node)."""
    z = neurons.gain * (u + neurons.offset)
    value = TRANSFER[neurons.activation][0](z)
    if neurons.linear is not None:
        value = np.where(neurons.linear, z, value)
    return np.asarray(neurons.saturation * value)


def _slope(neurons: Neurons, u: ComplexArray) -> ComplexArray:
    gain = neurons.saturation * neurons.gain
    slope = TRANSFER[neurons.activation][1](neurons.gain * (u + neurons.offset))
    if neurons.linear is not None:
        slope = np.where(neurons.linear, 1.0, slope)
    return np.asarray(gain * slope)


def _track(system: _Pivot, pivot: ComplexArray, held: FloatArray, nudge: ComplexArray, residual: float) -> BoolArray:
    """Take states (lane, pivot), in place, along their rays; whether each came to its end."""
    place, step = np.zeros(len(pivot)), np.ones(len(pivot))
    alive: IntArray = np.arange(len(pivot))
    # Far from the solution a step may leave the range of the exponentials: such a trial is refused by its residual.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        while len(alive):
            here, t, dt = pivot[alive], place[alive, None], step[alive, None]
            push = dt * nudge[alive]
            ahead = system.response(here, held[alive] + t * nudge[alive], push)
            found, good = _correct(system, here, ahead, held[alive] + (t + dt) * nudge[alive], residual)
            moved = alive[good]
            pivot[moved] = found[good]
            place[moved] = np.where(place[moved] + step[moved] >= 1.0 - 1e-12, 1.0, place[moved] + step[moved])
            step[moved] = np.minimum(2.0 * step[moved], 1.0 - place[moved])
            step[alive[~good]] *= 0.5
            alive = alive[(place[alive] < 1.0) & (good | (step[alive] >= SMALLEST_STEP))]
    return np.asarray(place == 1.0)


def _correct(
    system: _Pivot, here: ComplexArray, ahead: ComplexArray, drive: ComplexArray, residual: float
) -> tuple[ComplexArray, BoolArray]:
    """Newton's method from ``here + ahead``; states, and whether each converged on the sheet it was on."""
    x = here + ahead
    size = np.abs(ahead).max(axis=1, initial=0.0)
    good = np.isfinite(size)
    force = system.force(x, drive)
    left = np.abs(force).max(axis=1)
    todo: IntArray = np.flatnonzero(good & (left > residual))
    good &= np.isfinite(left)
    for _ in range(CORRECTIONS):
        todo = todo[good[todo]]
        if not len(todo):
            break
        push = np.zeros((len(todo), drive.shape[1]), dtype=np.complex128)
        push[:, : x.shape[1]] = force[todo]
        change = system.response(x[todo], drive[todo], push)
        length = np.abs(change).max(axis=1)
        good[todo] = np.isfinite(length) & (length <= CONTRACTION * size[todo] + SLACK * residual)
        todo, change, length = todo[good[todo]], change[good[todo]], length[good[todo]]
        x[todo] += change
        size[todo] = length
        force[todo] = system.force(x[todo], drive[todo])
        left[todo] = np.abs(force[todo]).max(axis=1)
        good[todo] = np.isfinite(left[todo])
        todo = todo[left[todo] > residual]
    return x, good & (left <= residual)
