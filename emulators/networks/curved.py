"""Current-mode networks whose arrays are no matrices: curved cells, with or without wires, or sums that are digitised.

u = I(s) + drive and s = f(u), in activity units, I the currents that the arrays' own circuits give at activities s. As
in ``equilibrium`` the dynamics du/dt = -u + I(f(u)) + drive choose the state: they are followed with error control (the
Bogacki-Shampine pair, 1989) until it is near, and Newton's method takes it to the stated residual. Its Jacobian is made
of the arrays' small-signal conductances, which hardly change on the way and are kept while it converges fast, and of
the neurons' slopes, always those of the moment. Its eigenvalues decide whether the state is stable.

Digitised sums make I a staircase: the dynamics are followed without its steps, and Newton's method then looks for the
state on it, which can't be nearer to rest than the steps are high. What goes beyond equilibria (``Equations``) is of
sums that are not rounded: a staircase has neither slopes nor a Fourier series that ends.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np

from emulators.arrays import DifferentialArray
from emulators.crossbar import CrossbarSolution
from emulators.networks.complex_states import Passage
from emulators.networks.curved_continuation import AnalyticCells
from emulators.networks.equations import Equations, alternate
from emulators.networks.equilibrium import (
    HANDOVER_RESIDUAL,
    INTEGRATION_ERROR,
    LARGEST_STEP,
    RELATIVE_ERROR,
    WANDERING,
    Equilibrium,
    Tolerance,
)
from emulators.networks.quasi_static import JUMP, PeriodicStates, predictors, visits
from emulators.neurons import Neurons
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.contract import Direction, Scale
from substrate.network import Network
from substrate.tones import SamplingPlan

NEWTON_STEPS = 30
FAST = 0.1
"""Ratio of successive residuals up to which Newton's method keeps its small-signal conductances."""

CELLS_IN_FLIGHT = 2**19
"""Cells of all arrays times the instants that are taken together where no state is kept."""

States: TypeAlias = tuple[tuple[CrossbarSolution, ...], ...]
"""The states of the tiles of every connection, to begin the next solution from; () is none."""


@final
@dataclass(frozen=True)
class Connection:
    """One array read in one direction: activities of ``source`` (and 1 on a bias line) to currents into ``target``.

    ``source`` None: the held inputs.
    """

    array: DifferentialArray
    direction: Direction
    source: slice | None
    target: slice
    bias: bool


@final
class CurvedNetwork(Equations):
    """The equations at fixed conductances.

    Args:
        network: topology.
        arrays: by the name of their coupling.
        neurons: of all free nodes.
        scale: volts and siemens of a unit.
    """

    def __init__(
        self, network: Network, arrays: Mapping[str, DifferentialArray], neurons: Neurons, scale: Scale
    ) -> None:
        self.node_count = network.node_count
        self._neurons = neurons
        self._scale = scale
        everything = [
            Connection(
                arrays[c.name],
                "forward",
                c.source.nodes if c.source.start >= 0 else None,
                c.target.nodes,
                c.bias,
            )
            for c in (network.forward if network.feedback == "shared" else network.forward + network.backward)
        ]
        if network.feedback == "shared":
            everything += [
                Connection(arrays[c.name], "backward", c.target.nodes, c.source.nodes, bias=False)
                for c in network.forward
                if c.source.start >= 0
            ]
        self._held = [c for c in everything if c.source is None]
        self._inner = [c for c in everything if c.source is not None]
        layers = [layer.nodes for layer in network.layers[1:]]
        in_pivot = np.zeros(network.node_count, dtype=np.bool_)
        for layer in alternate(layers)[0]:
            in_pivot[layer] = True
        self._alternating = network.alternating
        if not self._alternating:
            # Of a loop of an odd number of layers no group is without couplings: what is solved for is all of it.
            in_pivot[:] = True
        self._groups = np.flatnonzero(in_pivot), np.flatnonzero(~in_pivot)
        self.rounding = sum(c.array.rounding_amperes(c.direction) for c in self._inner) / scale.unit_amperes
        """Largest error of a node's current by digitised sums, activity units."""

    def drive(self, inputs: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Currents (batch, node) of held activities (batch, input), and whether a tile's converter clipped (batch,)."""
        out = np.zeros((len(inputs), self.node_count))
        saturated = np.zeros(len(inputs), dtype=np.bool_)
        for connection in self._held:
            read = connection.array.read(self._line_volts(connection, inputs), connection.direction)
            out[:, connection.target] += read.amperes / self._scale.unit_amperes
            saturated |= read.saturated
        return out, saturated

    @property
    def slopes_an_instant(self) -> int:
        """Of every pair of nodes."""
        return self.node_count**2

    @property
    def groups(self) -> tuple[IntArray, IntArray]:
        """Indices of the pivot nodes and of the others, both rising."""
        return self._groups

    def activity(self, u: FloatArray) -> FloatArray:
        """Neuron outputs for node states ``u`` (..., node)."""
        return self._neurons.activity(u)

    def slope(self, u: FloatArray) -> FloatArray:
        """d(activity)/du (..., node)."""
        return self._neurons.slope(u)

    def currents(self, s: FloatArray) -> FloatArray:
        """Currents at activities (..., node), sums not rounded."""
        flat = s.reshape(-1, self.node_count)
        out = np.empty_like(flat)
        for part in self._parts(len(flat)):
            out[part] = self.read(flat[part], digitise=False)[0]
        return out.reshape(s.shape)

    def weights_at(self, s: FloatArray) -> FloatArray:
        """Small-signal weights at activities (..., node), (..., source, target)."""
        flat = s.reshape(-1, self.node_count)
        out = np.empty((len(flat), self.node_count, self.node_count))
        for part in self._parts(len(flat)):
            out[part] = self.small_signal(flat[part], self.read(flat[part], digitise=False)[2])
        return out.reshape(*s.shape, self.node_count)

    def couplings_at(self, s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Small-signal weights from pivot to other nodes, from these to the pivot, and within the pivot."""
        weights, (pivot, other) = self.weights_at(s), self._groups
        within = None if self._alternating else weights
        return weights[..., pivot[:, None], other], weights[..., other[:, None], pivot], within

    def analytic(self) -> AnalyticCells | None:
        """What of ``currents`` depends on s, continued to complex activities; None if it is no entire function."""
        arrays = []
        for connection in self._inner:
            found = connection.array.analytic(connection.direction)
            if found is None and connection.array.is_matrix(connection.direction):
                found = (0.0, 0.0), connection.array.weights(connection.direction) * self._scale.unit_siemens
            if found is None or connection.source is None or self.rounding:
                return None
            exponents, siemens = found
            source, target = connection.source, connection.target
            weights = siemens[: source.stop - source.start, : target.stop - target.start] / self._scale.unit_siemens
            rising, falling = (rate * self._scale.volts_per_unit for rate in exponents)
            # i/(g volts_per_unit) is the same function of activities, by exponents in 1/activity unit.
            arrays.append((source, target, Passage(weights, (rising, falling))))
        return AnalyticCells(self._groups, self._neurons, arrays)

    def _parts(self, count: int) -> Iterator[slice]:
        """Instants that are taken together."""
        cells = sum(connection.array.seen_siemens.size for connection in self._inner)
        step = max(1, CELLS_IN_FLIGHT // max(cells, 1))
        return (slice(first, first + step) for first in range(0, count, step))

    def read(
        self, s: FloatArray, states: States = (), *, digitise: bool = True
    ) -> tuple[FloatArray, BoolArray, States]:
        """Currents (batch, node) at activities (batch, node), whether a tile's converter clipped, and the states."""
        out = np.zeros_like(s)
        saturated = np.zeros(len(s), dtype=np.bool_)
        left = []
        for index, connection in enumerate(self._inner):
            volts = self._line_volts(connection, s[:, connection.source])
            start = states[index] if states else ()
            read = connection.array.read(volts, connection.direction, start, digitise=digitise)
            nodes = out[:, connection.target]
            # A bias line that is read backwards takes current, which goes nowhere.
            nodes += read.amperes[:, : nodes.shape[1]] / self._scale.unit_amperes
            saturated |= read.saturated
            left.append(read.states)
        return out, saturated, tuple(left)

    def small_signal(self, s: FloatArray, states: States) -> FloatArray:
        """dI/ds, (batch, source node, target node), at the states that ``read`` left."""
        out = np.zeros((len(s), self.node_count, self.node_count))
        for connection, left in zip(self._inner, states, strict=True):
            volts = self._line_volts(connection, s[:, connection.source])
            seen = connection.array.small_signal(volts, connection.direction, left)
            block = out[:, connection.source, connection.target]
            block += seen[:, : block.shape[1], : block.shape[2]] / self._scale.unit_siemens
        return out

    def _line_volts(self, connection: Connection, activities: FloatArray) -> FloatArray:
        if connection.bias:
            activities = np.concatenate([activities, np.ones((len(activities), 1))], axis=1)
        return activities * self._scale.volts_per_unit


def settle(network: CurvedNetwork, start: FloatArray, drive: FloatArray, tolerance: Tolerance) -> Equilibrium:
    """Solve for the equilibria (batch, node) that the dynamics reach from ``start`` (batch, node).

    The residual is that of the circuit solved anew, or the rounding of digitised sums where that is larger.

    Raises:
        ConvergenceError: the circuit of an array was not solved.
    """
    u = start.copy()
    residual = np.full(len(u), np.inf)
    settled = np.zeros(len(u), dtype=np.bool_)
    goal = max(tolerance.residual, 2.0 * network.rounding)
    todo = np.arange(len(u))
    threshold = np.full(len(u), HANDOVER_RESIDUAL)
    steps_left = tolerance.dynamic_steps
    while len(todo) and steps_left > 0:
        near_rest, near, used = _follow(network, u[todo], drive[todo], threshold[todo], steps_left)
        steps_left -= max(used, 1)
        found = _newton(network, near_rest, drive[todo], tolerance.residual)
        accepted = found.close(near_rest, goal) & (near <= threshold[todo]) & _stable(network, found.u, found.jacobian)
        done, rest = todo[accepted], ~accepted
        u[done], residual[done], settled[done] = found.u[accepted], found.residual[accepted], ~found.clipped[accepted]
        u[todo[rest]], residual[todo[rest]] = near_rest[rest], near[rest]
        todo = todo[rest]
        # A rejected state goes on by its own dynamics, to a tenth of the residual it had.
        threshold[todo] = 0.1 * near[rest]
    return Equilibrium(u, residual, settled)


def nudged_period(
    network: CurvedNetwork,
    free: FloatArray,
    drive: FloatArray,
    nudge: FloatArray,
    plan: SamplingPlan,
    tolerance: Tolerance,
) -> PeriodicStates:
    """States over one period of ``drive + nudge cos(phase)`` from the crest on, followed from the free states.

    As ``quasi_static.nudged_period``: outwards on both sides, each state predicted from those known.
    """
    values, index = plan.distinct()
    order = visits(tuple(values))
    mix = predictors(tuple(values), tangent=True)
    states = np.empty((len(values), *free.shape))
    states[values == 0.0] = free
    worst = np.zeros(len(free))
    unbroken = np.ones(len(free), dtype=np.bool_)
    goal = max(tolerance.residual, 2.0 * network.rounding)
    last = [free, free]
    jacobian = network.weights_at(network.activity(free))
    tangent = np.linalg.solve(_system(network, free, jacobian), nudge[:, :, None])[:, :, 0]
    for visit, at in enumerate(order):
        before = last[int(values[at] < 0.0)]
        guess = mix[visit, 0] * free + mix[visit, 1] * tangent
        for past in np.flatnonzero(mix[visit, 2 : visit + 2]):
            guess += mix[visit, 2 + past] * states[order[past]]
        # Behind a break no polynomial holds.
        guess[~unbroken] = before[~unbroken]
        target = drive + values[at] * nudge
        found = _newton(network, guess, target, tolerance.residual, jacobian)
        u, residual, smooth = found.u, found.residual, found.close(guess, goal)
        # An eigenvalue that crossed on the way is still across at the end, or the branch is the same again.
        if visit >= len(order) - 2:
            smooth &= _stable(network, u, network.weights_at(network.activity(u)))
        rest = np.flatnonzero(~smooth)
        if len(rest):
            by_dynamics = settle(network, before[rest], target[rest], tolerance)
            expected = np.abs(guess[rest] - before[rest]).max(axis=1)
            same = np.abs(by_dynamics.u - guess[rest]).max(axis=1) <= JUMP + 2.0 * expected
            u[rest], residual[rest] = by_dynamics.u, by_dynamics.residual
            smooth[rest] = same & by_dynamics.settled
        states[at] = last[int(values[at] < 0.0)] = u
        worst = np.maximum(worst, residual)
        unbroken &= smooth & ~found.clipped
    return PeriodicStates(states[index].transpose(1, 0, 2), worst, unbroken)


def _follow(
    network: CurvedNetwork, u: FloatArray, drive: FloatArray, threshold: FloatArray, most_steps: int
) -> tuple[FloatArray, FloatArray, int]:
    """Follow the dynamics until every residual is under its threshold: states, residuals, steps used."""
    states: States = ()

    def force_at(u: FloatArray) -> FloatArray:
        nonlocal states
        currents, _, states = network.read(network.activity(u), states, digitise=False)
        return currents + drive - u

    force = force_at(u)
    step = np.full((len(u), 1), 0.25)
    for used in range(most_steps + 1):
        here = np.abs(force).max(axis=1)
        if used == most_steps or (here <= threshold).all():
            break
        second = force_at(u + (0.5 * step) * force)
        third = force_at(u + (0.75 * step) * second)
        after = u + step * (2.0 / 9.0 * force + 1.0 / 3.0 * second + 4.0 / 9.0 * third)
        at_end = force_at(after)
        deviation = -5.0 / 72.0 * force + 1.0 / 12.0 * second + 1.0 / 9.0 * third - 0.125 * at_end
        error = step[:, 0] * np.abs(deviation).max(axis=1)
        # States that are there already wait for the others.
        allowed = np.minimum(INTEGRATION_ERROR, RELATIVE_ERROR * np.maximum(here, threshold))
        taken = ((error <= allowed) & (here > threshold))[:, None]
        u, force = np.where(taken, after, u), np.where(taken, at_end, force)
        factor = 0.9 * np.cbrt(allowed / np.maximum(error, np.finfo(float).tiny))
        step = np.minimum(step * np.clip(factor, 0.2, 4.0)[:, None], LARGEST_STEP)
    return u, here, used


@final
@dataclass(frozen=True)
class _Found:
    """The best states (batch, node) of Newton's method, and what is known of them, (batch,).

    Attributes:
        u: the states.
        residual: left there.
        clipped: whether a converter clipped there.
        near: residual of the states it began at.
        jacobian: dI/ds last used.
    """

    u: FloatArray
    residual: FloatArray
    clipped: BoolArray
    near: FloatArray
    jacobian: FloatArray

    def close(self, start: FloatArray, goal: float) -> BoolArray:
        """Whether it reached ``goal``, no farther from ``start`` than the dynamics from there might go."""
        moved = np.abs(self.u - start).max(axis=1)
        return np.asarray((self.residual <= goal) & (moved <= WANDERING * self.near + goal))


def _newton(
    network: CurvedNetwork, u: FloatArray, drive: FloatArray, residual: float, jacobian: FloatArray | None = None
) -> _Found:
    """Newton's method from ``u``; ``jacobian``: dI/ds of states close to it, by default computed there."""
    best = u.copy()
    near = reached = np.full(len(u), np.inf)
    clipped = np.zeros(len(u), dtype=np.bool_)
    states: States = ()
    # Every sample goes as it would alone: rounded sums have many states, and which is found must not hang on the batch.
    going = np.ones(len(u), dtype=np.bool_)
    for step in range(NEWTON_STEPS):
        s = network.activity(u)
        currents, saturated, states = network.read(s, states)
        force = currents + drive - u
        here = np.abs(force).max(axis=1)
        near = here if step == 0 else near
        better = going & (here < reached)
        slow = better & (here > residual) & (here > FAST * reached)
        best[better], clipped[better] = u[better], saturated[better]
        reached = np.where(better, here, reached)
        if jacobian is None:
            jacobian = network.small_signal(s, states)
        elif slow.any():
            jacobian = np.where(slow[:, None, None], network.small_signal(s, states), jacobian)
        going = better & (here > residual)
        if not going.any():
            break
        step_to_rest = np.linalg.solve(_system(network, u, jacobian), force[:, :, None])[:, :, 0]
        u = np.where(going[:, None], u + step_to_rest, u)
    assert jacobian is not None
    return _Found(best, reached, clipped, near, jacobian)


def _system(network: CurvedNetwork, u: FloatArray, jacobian: FloatArray) -> FloatArray:
    """d(u - I(f(u)))/du, (batch, node, node)."""
    return np.eye(network.node_count) - (jacobian * network.slope(u)[:, :, None]).transpose(0, 2, 1)


def _stable(network: CurvedNetwork, u: FloatArray, jacobian: FloatArray) -> BoolArray:
    """Whether linearised dynamics die out at states (batch, node)."""
    return np.asarray(np.linalg.eigvals(_system(network, u, jacobian)).real.min(axis=1) > 0.0)
