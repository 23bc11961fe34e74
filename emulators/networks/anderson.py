"""Anderson acceleration of many fixed points side by side (Walker & Ni 2011), real or complex."""

from collections.abc import Callable

import numpy as np

from substrate.arrays import FloatArray, IntArray, Numbers

MEMORY = 5
"""Differences kept."""


def anderson(
    force: Callable[[Numbers, Numbers], Numbers], start: Numbers, drive: Numbers, tolerance: float, most_steps: int
) -> tuple[Numbers, FloatArray]:
    """Solve force(x, drive) = 0, with force what the fixed point's map makes of x, less x.

    Args:
        force: (batch, unknown), of states (batch, unknown) and their rows of ``drive``, row by row independent.
        start: (batch, unknown).
        drive: (batch, any).
        tolerance: on the largest magnitude of a row's force.
        most_steps: calls of ``force`` at most.

    Returns:
        The best states met (batch, unknown), and the largest magnitude of the force there (batch,).
    """
    state = start.copy()
    solution = state.copy()
    residual = np.full(len(state), np.inf)
    active: IntArray = np.arange(len(state))
    state_changes = np.zeros((len(state), MEMORY, state.shape[1]), dtype=state.dtype)
    force_changes = np.zeros_like(state_changes)
    previous_state, previous_force = state, state
    for step in range(most_steps):
        pull = force(state, drive)
        here = np.abs(pull).max(axis=1)
        better = here < residual[active]
        solution[active[better]] = state[better]
        residual[active[better]] = here[better]
        going = (here > tolerance) & np.isfinite(here)
        if not going.any():
            break
        if step:
            slot = (step - 1) % MEMORY
            state_changes[:, slot] = state - previous_state
            force_changes[:, slot] = pull - previous_force
        if not going.all():
            active, state, pull, drive = active[going], state[going], pull[going], drive[going]
            state_changes, force_changes = state_changes[going], force_changes[going]
        previous_state, previous_force = state, pull
        state = state + pull
        if step:
            used = min(step, MEMORY)
            changes = force_changes[:, :used]
            adjoint = changes.conj() if np.iscomplexobj(changes) else changes
            gram = adjoint @ changes.transpose(0, 2, 1)
            # Columns shrink with convergence: the ridge is relative to them, and keeps a dependent set solvable.
            ridge = 1e-13 * np.trace(gram, axis1=1, axis2=2).real + np.finfo(float).tiny
            gram[:, np.arange(used), np.arange(used)] += ridge[:, None]
            mix = np.linalg.solve(gram, adjoint @ pull[:, :, None])
            state -= ((state_changes[:, :used] + changes).transpose(0, 2, 1) @ mix)[:, :, 0]
    return solution, residual
