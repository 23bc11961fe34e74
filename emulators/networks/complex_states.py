"""States of a current-mode network under complex nudges, for the holomorphic reference (physics.md, 2.5).

u = I(f(u)) + drive + nudge with a complex nudge has no dynamics to follow; its solution is the analytic continuation of
the free state. I is W s, or phi(s) W with the entire function phi of cells i = g phi(v) that no wires join. Where the
map contracts plainly from the free state on, its fixed point is that continuation (the only one in reach), and is found
by Anderson's acceleration of the map: matrix products over all states at once. Any other state is tracked along the ray
t nudge, t from 0 to 1: an Euler step along the tangent, then Newton's method (a predictor-corrector continuation:
Allgower & Georg, Numerical Continuation Methods, 1990, chapter 6). A step counts only if the corrections stay small
beside it and shrink fast, so that no other sheet is jumped to; else it is halved. Everything here is
complex-differentiable: no modulus, conjugate or clip enters the equations.

Everything is in activity units. Solved for the pivot states alone, from which the others follow (``current_mode``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

import numpy as np

from emulators.networks.anderson import anderson
from emulators.networks.circuit import NudgedStates
from emulators.neurons import SOFTNESS, Neurons
from substrate.arrays import BoolArray, ComplexArray, FloatArray, IntArray, Numbers
from substrate.capabilities import HeldNudge
from substrate.contract import Scale
from substrate.errors import InputError

Transfer: TypeAlias = Callable[[Numbers], Numbers]

CORRECTIONS = 6
"""Newton steps after a step along the ray."""

CONTRACTION = 0.5
"""Each correction, relative to the one before and the first to the step along the tangent: at most."""

SLACK = 100.0
"""Corrections so small, in units of the residual, are free: of what a free state was solved to, and of rounding."""

SMALLEST_STEP = 1e-3
"""Of a ray's length 1; a ray that needs smaller ones runs into a singularity."""

PLAIN = 4
"""Plain iterations of the map, by which it shows whether it contracts."""

PLAINLY = 0.7
"""Largest ratio of one such step to the one before: the fixed point is then within 1/(1 - 0.7) times the last."""

ACCELERATED = 40
"""Iterations of the accelerated map, at most."""

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
        if not np.iscomplexobj(passed):
            return np.asarray(passed @ self.weights)
        out: ComplexArray = np.empty((len(passed), self.weights.shape[1]), dtype=passed.dtype)
        # Two products of real matrices, which a complex one with real weights would be made four of.
        out.real, out.imag = passed.real @ self.weights, passed.imag @ self.weights
        return out

    def small_signal(self, s: ComplexArray) -> ComplexArray | FloatArray:
        """Slope of the currents by each activity, (lane, source, target); without the lanes where it is the same."""
        a, b = self.exponents
        if not a + b:
            return self.weights
        slope = (a * np.exp(a * s) + b * np.exp(-b * s)) / (a + b)
        return np.asarray(slope[:, :, None] * self.weights)


class HolomorphicEquations(ABC):
    """Complex-differentiable equations of a network whose nodes are two groups, the pivot and the other.

    No two nodes of the other group are joined, and where layers alternate no two of the pivot either.

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

    @property
    @abstractmethod
    def inside(self) -> tuple[Passage, ...]:
        """Within the pivot; () where layers alternate."""


@final
@dataclass(frozen=True)
class ContinuedStates:
    """Outputs s = f(u), (batch, point, node); residual and whether the ray was followed to its end, (batch, point)."""

    s: Numbers
    residual: FloatArray
    settled: BoolArray


def continued_states(
    network: HolomorphicEquations,
    free: FloatArray,
    drive: FloatArray,
    nudge: Numbers,
    residual: float,
    load: Numbers | None = None,
    cross: FloatArray | None = None,
) -> ContinuedStates:
    """Solve u = I(f(u)) + drive + nudge - load s - cross s for every nudge, from the free states.

    Args:
        network: the equations.
        free: (batch, node) free states, at nudge zero.
        drive: (batch, node) held currents.
        nudge: (batch, point, node), real or complex.
        residual: largest modulus of an imbalance allowed.
        load: (batch, point, node), real or complex; None is zero.
        cross: (node, node), row i the current out of node i; None is zero.

    Returns:
        Outputs of all nodes, real where everything is; where ``settled`` is False, they are those of the last state on
        the ray and the residual is what they leave at its end.
    """
    batch, points, nodes = nudge.shape
    lanes = batch * points
    system = _Pivot(network, _shape(network, load, cross), None if cross is None else cross.T)
    order, count = system.order, system.count
    sample = np.repeat(np.arange(batch), points)
    start, held = free[sample[:, None], order[:count]], system.pushed(drive[sample[:, None], order], None, 0.0)
    loads = None if load is None else load.reshape(lanes, nodes)[:, order[:count]]
    turn = system.pushed(np.ascontiguousarray(nudge[..., order]).reshape(lanes, nodes), loads, 1.0)
    pivot = start.astype(turn.dtype)
    side = max(count, nodes - count, 1)
    chunk = max(1, MATRIX_BYTES // (16 * side * side))
    settled = _contract(system, pivot, held + turn, residual)
    rest = np.flatnonzero(~settled)
    for first in range(0, len(rest), chunk):
        part = rest[first : first + chunk]
        states = pivot[part]
        settled[part] = _track(system, states, held[part], turn[part], residual)
        pivot[part] = states
    outputs, left = system.outputs(pivot, held + turn)
    s = np.empty((lanes, nodes), dtype=turn.dtype)
    s[:, order] = outputs
    return ContinuedStates(s.reshape(batch, points, -1), left.reshape(batch, points), settled.reshape(batch, points))


def continuation(
    network: HolomorphicEquations,
    free: FloatArray,
    settled: BoolArray,
    drive: FloatArray,
    nudge: HeldNudge,
    scale: Scale,
    residual: float,
) -> NudgedStates:
    """The same in volts; unsettled where the free state is (batch,).

    Raises:
        InputError: another batch.
    """
    if len(nudge.amperes) != len(free):
        raise InputError(f"held nudge: expected a batch of {len(free)}, got {len(nudge.amperes)}")
    load = None if nudge.siemens is None else nudge.siemens / scale.unit_siemens
    cross = None if nudge.cross_siemens is None else nudge.cross_siemens / scale.unit_siemens
    found = continued_states(network, free, drive, nudge.amperes / scale.unit_amperes, residual, load, cross)
    return NudgedStates(found.s * scale.volts_per_unit, found.residual, found.settled & settled[:, None])


Split: TypeAlias = Literal["pivot", "other", "whole"]
"""Which states are solved for: those of the pivot, of the other group, or all."""


def _shape(network: HolomorphicEquations, load: Numbers | None, cross: FloatArray | None) -> Split:
    """A node that its own activity loads does not follow explicitly from the others."""
    if cross is not None:
        return "whole"
    if load is None:
        return "pivot"
    pivot, other = (bool(np.any(load[..., group])) for group in network.groups)
    return "whole" if pivot and other else "other" if other else "pivot"


@final
class _Pivot:
    """The equations as those of some nodes: x = I(f_o(I(f_p(x)) + d_o)) + d_p - load f_p(x), rows are states.

    What drives a state is one row: the currents of all nodes, then the loads of those solved for, then the share
    of the cross feedback that acts; so that all of it grows along a ray.

    Args:
        network: the equations.
        split: which states are solved for.
        cross: (node, node) current out of a node (column) by the activities of all (row); takes all states.
    """

    def __init__(self, network: HolomorphicEquations, split: Split, cross: FloatArray | None) -> None:
        pivot, other = network.groups
        self._nodes = network.node_count
        self._loaded = False
        self._inside: tuple[Passage, ...] = ()
        neurons = network.arranged_neurons
        if split == "whole":
            self.order, self.count = np.concatenate([pivot, other]), self._nodes
            near, far = slice(0, len(pivot)), slice(len(pivot), self._nodes)
            away, back = network.passages
            self._inside = tuple(_embedded(passage, near, far, self._nodes) for passage in away)
            self._inside += tuple(_embedded(passage, far, near, self._nodes) for passage in back)
            self._inside += tuple(_embedded(passage, near, near, self._nodes) for passage in network.inside)
            self._to_other: tuple[Passage, ...] = (Passage(np.zeros((self._nodes, 0))),)
            self._to_pivot: tuple[Passage, ...] = (Passage(np.zeros((0, self._nodes))),)
        elif split == "other":
            self.order, self.count = np.concatenate([other, pivot]), len(other)
            self._to_pivot, self._to_other = network.passages
            neurons = neurons.pick(np.concatenate([np.arange(len(pivot), self._nodes), np.arange(len(pivot))]))
        else:
            self.order, self.count = np.concatenate([pivot, other]), len(pivot)
            self._to_other, self._to_pivot = network.passages
            self._inside = network.inside
        self._cross = None if cross is None else cross[np.ix_(self.order, self.order)]
        self._pivot_neurons = neurons.part(slice(0, self.count))
        self._other_neurons = neurons.part(slice(self.count, self._nodes))

    def pushed(self, currents: Numbers, loads: Numbers | None, share: float) -> Numbers:
        """Rows of what drives states: currents (lane, node) and loads (lane, solved for), in the order of this."""
        self._loaded |= loads is not None
        own = np.zeros((len(currents), self.count)) if loads is None else loads
        return np.concatenate([currents, own, np.full((len(currents), 1), share)], axis=1)

    def force(self, x: Numbers, drive: Numbers) -> Numbers:
        """What the states are drawn to, less themselves."""
        return self._outputs(x, drive)[2]

    def response(self, x: Numbers, drive: Numbers, push: Numbers) -> Numbers:
        """Changes of the states, to first order, by rows ``push``: of Newton's step and the tangent."""
        count, nodes = self.count, self._nodes
        pivot, beyond, _ = self._outputs(x, drive)
        here = _slope(self._pivot_neurons, x)
        there = _slope(self._other_neurons, _currents(self._to_other, pivot) + drive[:, count:nodes])
        to_other = here[:, :, None] * _small_signal(self._to_other, pivot)
        to_pivot = there[:, :, None] * _small_signal(self._to_pivot, beyond)
        inner = to_other @ to_pivot
        arriving = push[:, :count] + (push[:, None, count:nodes] @ to_pivot)[:, 0]
        if self._inside:
            inner = inner + here[:, :, None] * _small_signal(self._inside, pivot)
        if self._loaded:
            arriving = arriving - push[:, nodes:-1] * pivot
            inner[:, np.arange(count), np.arange(count)] -= here * drive[:, nodes:-1]
        if self._cross is not None:
            arriving = arriving - push[:, -1:] * (pivot @ self._cross)
            inner = inner - (drive[:, -1:] * here)[:, :, None] * self._cross
        system = np.eye(count) - inner.transpose(0, 2, 1)
        try:
            solved = np.linalg.solve(system, arriving[:, :, None])
        except np.linalg.LinAlgError:
            # One singular lane stops all: without a number in it, it is refused alone.
            system[np.linalg.slogdet(system)[0] == 0.0] = np.nan
            solved = np.linalg.solve(system, arriving[:, :, None])
        return np.asarray(solved[:, :, 0])

    def outputs(self, x: Numbers, drive: Numbers) -> tuple[Numbers, FloatArray]:
        """Outputs of all nodes in the order of this, and the residual of each state."""
        pivot, other, force = self._outputs(x, drive)
        return np.concatenate([pivot, other], axis=1), np.abs(force).max(axis=1)

    def _outputs(self, x: Numbers, drive: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Outputs of the nodes solved for and of the others, and the imbalance of the former."""
        count, nodes = self.count, self._nodes
        pivot = complex_activity(self._pivot_neurons, x)
        other = complex_activity(self._other_neurons, _currents(self._to_other, pivot) + drive[:, count:nodes])
        force = _currents(self._to_pivot, other) + drive[:, :count] - x
        if self._inside:
            force = force + _currents(self._inside, pivot)
        if self._loaded:
            force = force - drive[:, nodes:-1] * pivot
        if self._cross is not None:
            force = force - drive[:, -1:] * (pivot @ self._cross)
        return pivot, other, force


def _embedded(passage: Passage, rows: slice, columns: slice, nodes: int) -> Passage:
    """Among all nodes."""
    weights = np.zeros((nodes, nodes))
    weights[rows, columns] = passage.weights
    return replace(passage, weights=weights)


def _currents(passages: tuple[Passage, ...], s: Numbers) -> Numbers:
    return np.asarray(sum(passage.currents(s) for passage in passages))


def _small_signal(passages: tuple[Passage, ...], s: Numbers) -> Numbers:
    return np.asarray(sum(passage.small_signal(s) for passage in passages))


def complex_activity(neurons: Neurons, u: Numbers) -> Numbers:
    """Outputs for complex summed inputs (..., node)."""
    z = neurons.gain * (u + neurons.offset)
    value = TRANSFER[neurons.activation][0](z)
    if neurons.linear is not None:
        value = np.where(neurons.linear, z, value)
    return np.asarray(neurons.saturation * value)


def _slope(neurons: Neurons, u: Numbers) -> Numbers:
    gain = neurons.saturation * neurons.gain
    slope = TRANSFER[neurons.activation][1](neurons.gain * (u + neurons.offset))
    if neurons.linear is not None:
        slope = np.where(neurons.linear, 1.0, slope)
    return np.asarray(gain * slope)


def _contract(system: _Pivot, pivot: Numbers, drive: Numbers, residual: float) -> BoolArray:
    """Iterate the map from states (lane, pivot), in place; whether each contracts to a fixed point. Others stay."""
    x = pivot
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        force = system.force(x, drive)
        size = np.abs(force).max(axis=1, initial=0.0)
        good = np.isfinite(size)
        for _ in range(PLAIN):
            x = x + force
            force = system.force(x, drive)
            before, size = size, np.abs(force).max(axis=1, initial=0.0)
            good &= size <= PLAINLY * before + SLACK * residual
        lanes: IntArray = np.flatnonzero(good)
        found, left = anderson(system.force, x[lanes], drive[lanes], residual, ACCELERATED)
    distance = np.abs(found - x[lanes]).max(axis=1, initial=0.0)
    near = (left <= residual) & (distance <= size[lanes] / (1.0 - PLAINLY) + SLACK * residual)
    good[lanes] = near
    pivot[lanes[near]] = found[near]
    return np.asarray(good)


def _track(system: _Pivot, pivot: Numbers, held: Numbers, nudge: Numbers, residual: float) -> BoolArray:
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
    system: _Pivot, here: Numbers, ahead: Numbers, drive: Numbers, residual: float
) -> tuple[Numbers, BoolArray]:
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
        push = np.zeros((len(todo), drive.shape[1]), dtype=force.dtype)
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
