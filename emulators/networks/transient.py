"""Current-mode networks in time, for any waveform of the currents.

The equations are those of ``equations.py``, for a batch as one system. scipy integrates them, adaptively:
Dormand & Prince's explicit method of order 8 where no pole is much faster than the others, the implicit Radau IIA of
order 5 (Hairer & Wanner, Solving Ordinary Differential Equations II, section IV.8) with the exact, sparse Jacobian
where one is.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from emulators.networks.equations import Equations
from emulators.networks.time_constants import TimeConstants
from substrate.arrays import FloatArray, IntArray, finite
from substrate.errors import ConvergenceError, InputError

Waveform = Callable[[float], FloatArray]
"""Currents (batch, node) or (node,), activity units, at a time in seconds."""

STIFF = 30.0
"""Ratio of the slowest to the fastest time constant from which the implicit method is the cheaper one."""


@final
@dataclass(frozen=True)
class Accuracy:
    """Of each step: the error kept below ``relative`` |value| + ``absolute`` (activity units), sample by sample."""

    relative: float = 1e-8
    absolute: float = 1e-10


@final
@dataclass(frozen=True)
class Trajectory:
    """States ``u`` and neuron outputs ``s``, (batch, time, node), at ``times_seconds`` (time,)."""

    times_seconds: FloatArray
    u: FloatArray
    s: FloatArray


def integrate(
    network: Equations,
    constants: TimeConstants,
    start: FloatArray,
    drive: Waveform,
    times_seconds: FloatArray,
    accuracy: Accuracy | None = None,
    *,
    start_outputs: FloatArray | None = None,
    breaks_seconds: Sequence[float] = (),
    longest_step_seconds: float = np.inf,
) -> Trajectory:
    """Follow the dynamics from ``start`` at the first of the times.

    Args:
        network: the equations.
        constants: the time constants.
        start: (batch, node) states.
        drive: all currents into the nodes, held ones included.
        times_seconds: (time,) rising, at which states are wanted.
        accuracy: of each step.
        start_outputs: (batch, node) outputs to start from; f(start) if left out. Amplifiers without delay ignore it.
        breaks_seconds: where the waveform or its slope jumps: the integration starts anew there.
        longest_step_seconds: so that no short pulse is stepped over.

    Raises:
        InputError: shapes or times that do not fit.
        ConvergenceError: the integrator gave up.
    """
    nodes = network.node_count
    constants.check(nodes)
    start = finite("start", start, (None, nodes))
    times = finite("times_seconds", times_seconds, (None,))
    if len(times) < 2 or np.any(np.diff(times) <= 0):
        raise InputError("times_seconds: expected at least two rising times")
    outputs = network.activity(start) if start_outputs is None else finite("start_outputs", start_outputs, start.shape)
    system = _System(network, constants, drive, len(start))
    state = system.pack(start, outputs)
    edges = [times[0], *sorted(t for t in breaks_seconds if times[0] < t < times[-1]), times[-1]]
    record = np.empty((len(times), len(state)))
    record[0] = state
    for begin, end in itertools.pairwise(edges):
        wanted = (times > begin) & (times <= end)
        asked = np.append(times[wanted], end) if not np.any(times == end) else times[wanted]
        found = system.run(state, begin, end, asked, accuracy or Accuracy(), longest_step_seconds)
        record[wanted] = found.T[: wanted.sum()]
        state = found[:, -1]
    u, s = system.unpack(record)
    return Trajectory(times, u, s)


@final
class _System:
    """One vector for all samples, (batch, pole): all u, then s of the amplifiers that have a delay."""

    def __init__(self, network: Equations, constants: TimeConstants, drive: Waveform, batch: int) -> None:
        self._network, self._drive, self._batch = network, drive, batch
        self._node_rate = 1.0 / constants.node_seconds
        self._slow = np.flatnonzero(constants.amplifier_seconds > 0)
        self._slow_rate = 1.0 / constants.amplifier_seconds[self._slow]
        rates = np.concatenate([self._node_rate, self._slow_rate])
        self._stiff = bool(rates.max() / rates.min() > STIFF)

    def pack(self, u: FloatArray, s: FloatArray) -> FloatArray:
        return np.concatenate([u, s[:, self._slow]], axis=1).ravel()

    def unpack(self, record: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(time, batch * pole) -> u and s, (batch, time, node)."""
        nodes = self._network.node_count
        states = record.reshape(len(record), self._batch, -1).transpose(1, 0, 2)
        u = np.ascontiguousarray(states[..., :nodes])
        s = self._network.activity(u)
        s[..., self._slow] = states[..., nodes:]
        return u, s

    def run(
        self, state: FloatArray, begin: float, end: float, times: FloatArray, accuracy: Accuracy, longest: float
    ) -> FloatArray:
        """States (batch * pole, time)."""
        from scipy.integrate import solve_ivp

        # The step's error is a mean over the whole system: one sample alone may hold all of it.
        share = self._batch**-0.5
        options: dict[str, Any] = {"method": "Radau", "jac": self._jacobian} if self._stiff else {"method": "DOP853"}
        found = solve_ivp(
            self._slope,
            (begin, end),
            state,
            t_eval=times,
            rtol=max(accuracy.relative * share, 1e-13),
            atol=accuracy.absolute * share,
            max_step=longest,
            **options,
        )
        if not found.success:
            raise ConvergenceError(f"transient from {begin:g} s to {end:g} s stopped: {found.message}")
        return np.asarray(found.y)

    def _slope(self, time: float, state: FloatArray) -> FloatArray:
        nodes = self._network.node_count
        both = state.reshape(self._batch, -1)
        u, late = both[:, :nodes], both[:, nodes:]
        target = self._network.activity(u)
        s = target.copy()
        s[:, self._slow] = late
        forces = (self._network.currents(s) + self._drive(time) - u) * self._node_rate
        return np.concatenate([forces, (target[:, self._slow] - late) * self._slow_rate], axis=1).ravel()

    def _jacobian(self, time: float, state: FloatArray) -> Any:
        from scipy.sparse import block_diag

        del time
        nodes = self._network.node_count
        both = state.reshape(self._batch, -1)
        u, s = both[:, :nodes], self._network.activity(both[:, :nodes])
        s[:, self._slow] = both[:, nodes:]
        matrices = state_matrices(self._network, self._slow, self._node_rate, self._slow_rate, u, s)
        return block_diag(list(matrices), "csc")


def state_matrices(
    network: Equations, slow: IntArray, node_rate: FloatArray, slow_rate: FloatArray, u: FloatArray, s: FloatArray
) -> FloatArray:
    """d(derivative)/d(state) at ``u`` and ``s`` (batch, node), (batch, pole, pole).

    Poles: all u, then s of the nodes ``slow``.

    ``node_rate`` (node,) and ``slow_rate`` (slow,) in 1/s are the inverse time constants.
    """
    nodes = network.node_count
    slope = network.slope(u)
    immediate = slope.copy()
    immediate[:, slow] = 0.0
    weights = network.weights_at(s).swapaxes(-1, -2)
    matrix = np.zeros((len(u), nodes + len(slow), nodes + len(slow)))
    matrix[:, :nodes, :nodes] = node_rate[:, None] * (weights * immediate[:, None, :] - np.eye(nodes))
    matrix[:, :nodes, nodes:] = node_rate[:, None] * weights[..., slow]
    late = nodes + np.arange(len(slow))
    matrix[:, late, slow] = slow_rate * slope[:, slow]
    matrix[:, late, late] = -slow_rate
    return matrix
