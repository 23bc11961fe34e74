"""The quasi-static response to a sinusoidal nudge: equilibria along one period, followed from neighbour to neighbour.

The response depends on cos(phase) alone as long as the branch holds, so a period of M samples has M // 2 + 1 distinct
states. They are walked outwards from the free state, both signs side by side. Where the branch is lost (a fold), the
dynamics take over from the last state and the sample is marked as broken: its record shows the jump, though not the
hysteresis that a second period would.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.networks.current_mode import CurrentModeNetwork
from emulators.networks.equilibrium import WANDERING, Equilibrium, Tolerance, accelerate, settle, stable
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.tones import SamplingPlan

POINTS = 4
"""States behind that the next one is extrapolated from."""

JUMP = 0.2
"""A departure from the extrapolated state, in activity units, that no smooth branch makes within a step."""


@final
@dataclass(frozen=True)
class PeriodicStates:
    """One period: states (batch, time, node), residual (batch,), and whether the branch held all along (batch,)."""

    u: FloatArray
    residual: FloatArray
    unbroken: BoolArray


def nudged_period(
    network: CurrentModeNetwork,
    free: FloatArray,
    drive: FloatArray,
    nudge: FloatArray,
    plan: SamplingPlan,
    tolerance: Tolerance,
) -> PeriodicStates:
    """States over one period of the drive ``drive + nudge cos(phase)``, starting at the crest.

    Args:
        network: the equations.
        free: (batch, node) free states, at nudge zero.
        drive: (batch, node) held currents.
        nudge: (batch, node) peak nudge.
        plan: samples a period.
        tolerance: of every state.
    """
    values, index = plan.distinct()
    batch = len(free)
    states = np.empty((len(values), batch, network.node_count))
    states[values == 0.0] = free
    worst = np.zeros(batch)
    unbroken = np.ones(batch, dtype=np.bool_)
    sides = (np.flatnonzero(values > 0.0)[::-1], np.flatnonzero(values < 0.0))
    for step in range(max(len(side) for side in sides)):
        moving = [side for side in sides if step < len(side)]
        before = np.concatenate([states[side[step - 1]] if step else free for side in moving])
        guess = np.concatenate([_extrapolate(values, states, free, side, step) for side in moving])
        target = np.concatenate([drive + values[side[step]] * nudge for side in moving])
        found, smooth = _follow(network, before, guess, target, tolerance, last=step == len(moving[0]) - 1)
        for row, side in enumerate(moving):
            part = slice(row * batch, (row + 1) * batch)
            states[side[step]] = found.u[part]
            worst = np.maximum(worst, found.residual[part])
            unbroken &= smooth[part]
    u = states[index].transpose(1, 0, 2)
    return PeriodicStates(u, worst, unbroken)


def _extrapolate(values: FloatArray, states: FloatArray, free: FloatArray, side: IntArray, step: int) -> FloatArray:
    """Where the branch should be at ``side[step]``: the polynomial in the nudge through the last few states."""
    known = [(0.0, free), *((float(values[index]), states[index]) for index in side[:step])][-POINTS:]
    target = float(values[side[step]])
    guess = np.zeros_like(free)
    for own, state in known:
        weight = np.prod([(target - other) / (own - other) for other, _ in known if other != own])
        guess += weight * state
    return guess


def _follow(
    network: CurrentModeNetwork,
    before: FloatArray,
    guess: FloatArray,
    drive: FloatArray,
    tolerance: Tolerance,
    *,
    last: bool,
) -> tuple[Equilibrium, BoolArray]:
    """One step along the branch, and whether it stayed the same smooth branch.

    Stability is looked at where the walk ends: an eigenvalue that crossed on the way is still across there, or crossed
    back, and then the branch is the same again.
    """
    near = np.abs(network.image(guess, drive) - guess).max(axis=1)
    found = accelerate(network, guess, drive, tolerance)
    good = found.settled & (np.abs(found.u - guess).max(axis=1) <= WANDERING * near + tolerance.residual)
    if last:
        good[good] = stable(network, found.u[good])
    if good.all():
        return found, good
    rest = np.flatnonzero(~good)
    by_dynamics = settle(network, before[rest], drive[rest], tolerance)
    found.u[rest], found.residual[rest] = by_dynamics.u, by_dynamics.residual
    expected = np.abs(guess[rest] - before[rest]).max(axis=1)
    same = np.abs(by_dynamics.u - guess[rest]).max(axis=1) <= JUMP + 2.0 * expected
    smooth = good.copy()
    smooth[rest] = same & by_dynamics.settled
    return found, smooth
