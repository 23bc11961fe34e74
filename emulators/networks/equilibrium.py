"""Equilibria of a current-mode network: the state that its dynamics reach from a given start, found faster.

The dynamics du/dt = -u + W f(u) + drive are integrated until the state is close to rest; Anderson acceleration
(Walker & Ni 2011) then takes it to the stated residual. An accelerated solver may land on an equilibrium that the
dynamics would not have chosen, or that is not stable at all: so its answer is accepted only if it stayed close to where
the dynamics handed over and if linearised dynamics do not grow there. Otherwise the dynamics are integrated further.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.networks.current_mode import CurrentModeNetwork
from substrate.arrays import BoolArray, FloatArray, IntArray

STEP = 0.5
"""Step of the exponential Euler integration, in node time constants: stable up to loop gains of 3, of either sign."""

HANDOVER_RESIDUAL = 1e-2
"""Residual, in activity units, at which the dynamics hand over to the accelerated solver."""

WANDERING = 30.0
"""How far, in units of the residual at hand-over, the accelerated solver may move: a decay of 30 time constants."""

MEMORY = 4
"""Differences kept by Anderson acceleration."""


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
    dynamic_steps: int = 4000


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
        States; ``settled`` is False where neither solver reached a stable state within tolerance (limit cycles, say).
    """
    u = start.copy()
    residual = np.full(len(u), np.inf)
    settled = np.zeros(len(u), dtype=np.bool_)
    todo = np.arange(len(u))
    threshold = np.full(len(u), HANDOVER_RESIDUAL)
    steps_left = tolerance.dynamic_steps
    while len(todo) and steps_left > 0:
        state, near, used = _integrate(network, u[todo], drive[todo], threshold[todo], steps_left)
        steps_left -= used
        found = accelerate(network, state, drive[todo], tolerance)
        distance = np.abs(found.u - state).max(axis=1)
        accepted = (found.residual <= tolerance.residual) & (distance <= WANDERING * near)
        accepted[accepted] = stable(network, found.u[accepted])
        done = todo[accepted]
        u[done], residual[done], settled[done] = found.u[accepted], found.residual[accepted], True
        rest = ~accepted
        u[todo[rest]], residual[todo[rest]] = state[rest], near[rest]
        todo = todo[rest]
        # A rejected state goes on by its own dynamics, to a tenth of the residual it had.
        threshold[todo] = 0.1 * near[rest]
    return Equilibrium(u, residual, settled | (residual <= tolerance.residual))


def _integrate(
    network: CurrentModeNetwork, u: FloatArray, drive: FloatArray, threshold: FloatArray, most_steps: int
) -> tuple[FloatArray, FloatArray, int]:
    """Follow the dynamics until each state's residual is under its threshold; states, residuals, steps used."""
    u = u.copy()
    residual = np.full(len(u), np.inf)
    decay = -np.expm1(-STEP)
    active = np.arange(len(u))
    for used in range(1, most_steps + 1):
        whole = len(active) == len(u)
        state = u if whole else u[active]
        force = network.image(state, drive if whole else drive[active]) - state
        here = np.abs(force).max(axis=1)
        residual[active] = here
        u[active] = state + decay * force
        active = active[here > threshold[active]]
        if not len(active):
            return u, residual, used
    return u, residual, most_steps


def accelerate(network: CurrentModeNetwork, guess: FloatArray, drive: FloatArray, tolerance: Tolerance) -> Equilibrium:
    """Anderson acceleration of the pivot's fixed point from ``guess``; stability is not looked at.

    Returns:
        States with the residual reached; ``settled`` only says that it is within tolerance.
    """
    pivot, _ = network.split(guess)
    pivot_drive, other_drive = network.split(drive)
    solution = pivot.copy()
    residual = np.full(len(guess), np.inf)
    active: IntArray = np.arange(len(guess))
    state = solution.copy()
    state_changes = np.zeros((len(guess), MEMORY, pivot.shape[1]))
    force_changes = np.zeros_like(state_changes)
    previous_state, previous_force = state, state
    for step in range(tolerance.accelerated_steps):
        force = network.pivot_image(state, pivot_drive, other_drive) - state
        here = np.abs(force).max(axis=1)
        better = here < residual[active]
        solution[active[better]] = state[better]
        residual[active[better]] = here[better]
        going = (here > tolerance.residual) & np.isfinite(here)
        if not going.any():
            break
        if step:
            slot = (step - 1) % MEMORY
            state_changes[:, slot] = state - previous_state
            force_changes[:, slot] = force - previous_force
        if not going.all():
            active, state, force = active[going], state[going], force[going]
            pivot_drive, other_drive = pivot_drive[going], other_drive[going]
            state_changes, force_changes = state_changes[going], force_changes[going]
        previous_state, previous_force = state, force
        state = state + force
        if step:
            used = min(step, MEMORY)
            changes = force_changes[:, :used]
            gram = changes @ changes.transpose(0, 2, 1)
            # Columns shrink with convergence: the ridge is relative to them, and keeps a dependent set solvable.
            ridge = 1e-13 * np.trace(gram, axis1=1, axis2=2) + np.finfo(float).tiny
            gram[:, np.arange(used), np.arange(used)] += ridge[:, None]
            mix = np.linalg.solve(gram, changes @ force[:, :, None])
            state = state - ((state_changes[:, :used] + changes).transpose(0, 2, 1) @ mix)[:, :, 0]
    return Equilibrium(network.complete(solution, drive), residual, residual <= tolerance.residual)


def stable(network: CurrentModeNetwork, u: FloatArray, steps: int = 24) -> BoolArray:
    """Whether linearised dynamics die out at the states ``u`` (batch, node).

    A tangent follows dv/dt = -v + W diag(f') v for ``steps`` steps; its growth over the second half is the growth of
    the slowest modes (a power iteration on the propagator). The start is fixed, so that no randomness is spent.
    """
    if not len(u):
        return np.zeros(0, dtype=np.bool_)
    slope = network.slope(u)
    # A fixed start without symmetry, so that it has a part along every mode.
    tangent = np.broadcast_to(np.cos(1.0 + 2.0 * np.arange(u.shape[1]) ** 1.5), u.shape)
    half = tangent
    for step in range(steps):
        tangent = (1.0 - STEP) * tangent + STEP * network.spread(slope * tangent)
        if step == steps // 2 - 1:
            half = tangent
    return np.asarray(np.abs(tangent).max(axis=1) < np.abs(half).max(axis=1))
