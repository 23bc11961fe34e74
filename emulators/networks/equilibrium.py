"""Equilibria of a current-mode network: the state that its dynamics reach from a given start, found faster.

The dynamics du/dt = -u + W f(u) + drive are integrated with error control until the state is close to rest; an
accelerated solver then takes it to the stated residual. Such a solver may land on an equilibrium that the dynamics
would not have chosen, or that is not stable at all: so its answer is accepted only if it stayed close to where the
dynamics handed over and if linearised dynamics do not grow there. Otherwise the dynamics are followed further.

Small networks go through compiled kernels (``settling_kernels``: Broyden's method, exact stability). Large ones are
batched here on matrix products: Anderson acceleration (Walker & Ni 2011) and the growth of a tangent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.networks.anderson import anderson
from emulators.networks.current_mode import CurrentModeNetwork
from substrate.arrays import BoolArray, FloatArray, IntArray

INTEGRATION_ERROR = 3e-4
"""Largest error of one step of the dynamics, activity units."""

RELATIVE_ERROR = 0.1
"""The same in units of the residual, which passages near unstable equilibria and slow approaches need."""

LARGEST_STEP = 2.0
"""Of the dynamics, in node time constants."""

HANDOVER_RESIDUAL = 1e-2
"""Residual, in activity units, at which the dynamics hand over to Anderson acceleration."""

WANDERING = 30.0
"""How far, in units of the residual at hand-over, the accelerated solver may move: a decay of 30 time constants."""

CLEARLY = 0.8
"""Growth of a pivot tangent per round trip under which the state counts as stable without a closer look."""

TANGENT_STEP = 0.25
"""Of the tangent of all nodes, in node time constants."""

TANGENT_STEPS = 40
"""Of that tangent, before its growth is looked at and again while it is."""


@final
@dataclass(frozen=True)
class Tolerance:
    """When a solve counts as done.

    Attributes:
        residual: largest |W f(u) + drive - u| over the nodes, activity units.
        accelerated_steps: at most, in one attempt.
        dynamic_steps: at most, in all.
    """

    residual: float = 1e-10
    accelerated_steps: int = 60
    dynamic_steps: int = 2000


@final
@dataclass(frozen=True)
class Equilibrium:
    """States (batch, node), their residual (batch,), and whether each is a stable state within tolerance (batch,)."""

    u: FloatArray
    residual: FloatArray
    settled: BoolArray


def settle(network: CurrentModeNetwork, start: FloatArray, drive: FloatArray, tolerance: Tolerance) -> Equilibrium:
    """Solve for the equilibria that the dynamics reach from ``start``.

    Args:
        network: the equations.
        start: (batch, node) states.
        drive: (batch, node) held currents.
        tolerance: when to stop.

    Returns:
        States; ``settled`` is False where no stable state within tolerance was reached (limit cycles, say, or a start
        on an unstable equilibrium): the state is then where the dynamics had come to, with its residual.
    """
    x, arranged = network.arrange(start), network.arrange(drive)
    residual = np.empty(len(x))
    settled = np.empty(len(x), dtype=np.bool_)
    if network.kernel is not None:
        # Imported on first use: compiling and loading kernels takes a while.
        from emulators.networks.settling_kernels import settle_batch

        settle_batch(network.kernel, x, arranged, tolerance.residual, tolerance.dynamic_steps, residual, settled)
    else:
        _settle_batched(network, x, arranged, tolerance, residual, settled)
    return Equilibrium(network.restore(x), residual, settled)


def stable(network: CurrentModeNetwork, u: FloatArray) -> BoolArray:
    """Whether linearised dynamics die out at the states ``u`` (batch, node)."""
    x = network.arrange(u)
    if network.kernel is None:
        return stable_batched(network, x)
    from emulators.networks.settling_kernels import stable_batch

    out = np.empty(len(x), dtype=np.bool_)
    stable_batch(network.kernel, x, out)
    return out


def _settle_batched(
    network: CurrentModeNetwork,
    x: FloatArray,
    drive: FloatArray,
    tolerance: Tolerance,
    residual: FloatArray,
    settled: BoolArray,
) -> None:
    settled[:] = False
    todo = np.arange(len(x))
    threshold = np.full(len(x), HANDOVER_RESIDUAL)
    steps_left = tolerance.dynamic_steps
    while len(todo) and steps_left > 0:
        state, near, used = _integrate(network, x[todo], drive[todo], threshold[todo], steps_left)
        # A state that rests on an unstable equilibrium takes no steps; it must not be tried for ever.
        steps_left -= max(used, 1)
        found, reached = accelerate(network, state, drive[todo], tolerance)
        distance = np.abs(found - state).max(axis=1)
        accepted = (reached <= tolerance.residual) & (distance <= WANDERING * near) & (near <= threshold[todo])
        accepted[accepted] = stable_batched(network, found[accepted])
        done, rest = todo[accepted], ~accepted
        x[done], residual[done], settled[done] = found[accepted], reached[accepted], True
        x[todo[rest]], residual[todo[rest]] = state[rest], near[rest]
        todo = todo[rest]
        # A rejected state goes on by its own dynamics, to a tenth of the residual it had.
        threshold[todo] = 0.1 * near[rest]


def _integrate(
    network: CurrentModeNetwork, x: FloatArray, drive: FloatArray, threshold: FloatArray, most_steps: int
) -> tuple[FloatArray, FloatArray, int]:
    """Follow the dynamics until each state's residual is under its threshold; states, residuals, steps used.

    The Bogacki-Shampine pair (1989), each sample with its own step.
    """
    result, residual = x.copy(), np.empty(len(x))
    active: IntArray = np.arange(len(x))
    force = network.force(x, drive)
    step = np.full((len(x), 1), 0.25)
    for used in range(most_steps + 1):
        here = np.abs(force).max(axis=1)
        going = here > threshold[active]
        if used == most_steps or not going.all():
            over = active if used == most_steps else active[~going]
            chosen = np.ones(len(active), dtype=np.bool_) if used == most_steps else ~going
            result[over], residual[over] = x[chosen], here[chosen]
            if used == most_steps or not going.any():
                return result, residual, used
            active, x, drive, force, step = active[going], x[going], drive[going], force[going], step[going]
        second = network.force(x + (0.5 * step) * force, drive)
        third = network.force(x + (0.75 * step) * second, drive)
        after = x + step * (2.0 / 9.0 * force + 1.0 / 3.0 * second + 4.0 / 9.0 * third)
        last = network.force(after, drive)
        deviation = -5.0 / 72.0 * force + 1.0 / 12.0 * second + 1.0 / 9.0 * third - 0.125 * last
        error = step[:, 0] * np.abs(deviation).max(axis=1)
        allowed = np.minimum(INTEGRATION_ERROR, RELATIVE_ERROR * here[going])
        taken = (error <= allowed)[:, None]
        x, force = np.where(taken, after, x), np.where(taken, last, force)
        factor = 0.9 * np.cbrt(allowed / np.maximum(error, np.finfo(float).tiny))
        step = np.minimum(step * np.clip(factor, 0.2, 4.0)[:, None], LARGEST_STEP)
    raise AssertionError("unreachable")


def accelerate(
    network: CurrentModeNetwork, guess: FloatArray, drive: FloatArray, tolerance: Tolerance
) -> tuple[FloatArray, FloatArray]:
    """Anderson acceleration of the pivot's fixed point, everything in solver order; stability is not looked at.

    Args:
        network: the equations.
        guess: (batch, node) states.
        drive: (batch, node).
        tolerance: when to stop.

    Returns:
        States (batch, node) and the residuals (batch,) reached.
    """
    pivot = guess[:, : network.pivot_count]
    solution, residual = anderson(network.pivot_force, pivot, drive, tolerance.residual, tolerance.accelerated_steps)
    return network.complete(solution, drive), residual


def stable_batched(network: CurrentModeNetwork, x: FloatArray) -> BoolArray:
    """Whether linearised dynamics die out at the states ``x`` (batch, node), solver order, from the growth of tangents.

    A pivot tangent goes round through the other group: M v, whose eigenvalues are the squares of those of W diag f'.
    Where it shrinks clearly, all of these are small. Else a tangent of all nodes follows dv/dt = -v + W diag(f') v, and
    its growth over the second half of the time is the growth of the slowest modes.
    """
    slope = network.arranged_slope(x)
    # Fixed starts without symmetry, which have a part along every mode: no randomness is spent.
    v = np.broadcast_to(np.cos(1.0 + 2.0 * np.arange(network.pivot_count) ** 1.5), (len(x), network.pivot_count))
    for trip in range(12):
        v = network.pivot_tangent(slope, v)
        if trip == 7:
            size = np.abs(v).max(axis=1)
    out: BoolArray = np.asarray(np.abs(v).max(axis=1) <= CLEARLY**4 * size)
    doubtful = np.flatnonzero(~out)
    if len(doubtful):
        slope = slope[doubtful]
        out[doubtful] = decays(lambda v: network.tangent(slope, v), slope.shape)
    return out


def decays(tangent: Callable[[FloatArray], FloatArray], shape: tuple[int, ...]) -> BoolArray:
    """Whether dv/dt = -v + tangent(v) dies out, for each of a batch (batch, node) of that shape."""
    v = np.broadcast_to(np.cos(1.0 + 2.0 * np.arange(shape[1]) ** 1.5), shape)
    half = v
    for step in range(2 * TANGENT_STEPS):
        # One step of the classical Runge-Kutta method, stable for loop gains up to 11j, in the Taylor form for a
        # linear equation.
        term = v
        for order in range(1, 5):
            term = (TANGENT_STEP / order) * (tangent(term) - term)
            v = v + term
        if step == TANGENT_STEPS - 1:
            half = v
    return np.asarray(np.abs(v).max(axis=1) < np.abs(half).max(axis=1))
