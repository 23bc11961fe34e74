"""The quasi-static response to a sinusoidal nudge: equilibria along one period, followed from neighbour to neighbour.

The response depends on cos(phase) alone as long as the branch holds, so a period of M samples has M // 2 + 1 distinct
states. They are walked outwards from the free state, to both sides in turn, and each is predicted by the polynomial
through those already known, which lie on both sides of zero. Where the branch is lost (a fold), the dynamics take over
from the last state and the sample is marked as broken: its record shows the jump, though not the hysteresis that a
second period would.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from emulators.networks.current_mode import CurrentModeNetwork
from emulators.networks.equilibrium import WANDERING, Tolerance, accelerate, settle, stable
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.tones import SamplingPlan

POINTS = 7
"""Known states that the next one is predicted from, the nearest ones."""

JUMP = 0.2
"""A departure from the predicted state, in activity units, that no smooth branch makes within a step."""


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
    states, residual, unbroken = followed(network, free, drive, nudge, values, tolerance)
    return PeriodicStates(states[index].transpose(1, 0, 2), residual, unbroken)


def followed(
    network: CurrentModeNetwork,
    free: FloatArray,
    drive: FloatArray,
    nudge: FloatArray,
    values: FloatArray,
    tolerance: Tolerance,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """States (value, batch, node) under ``drive + value nudge``, the largest residual, and whether the branch held.

    ``values``: (value,), each once, 0 among them.
    """
    order = visits(tuple(values))
    batch = len(free)
    states = np.empty((len(values), batch, network.node_count))
    if network.kernel is None:
        states[values == 0.0] = free
        residual, unbroken = _walk_batched(network, free, drive, nudge, values, order, states, tolerance)
        return states, residual, unbroken
    # Imported on first use: compiling and loading kernels takes a while.
    from emulators.networks.settling_kernels import walk_batch

    centre = network.arrange(free)
    states[values == 0.0] = centre
    residual = np.empty(batch)
    unbroken = np.empty(batch, dtype=np.bool_)
    walk_batch(
        network.kernel,
        centre,
        network.arrange(drive),
        network.arrange(nudge),
        values,
        order,
        predictors(tuple(values), tangent=True),
        tolerance.residual,
        tolerance.dynamic_steps,
        states,
        residual,
        unbroken,
    )
    return network.restore(states), residual, unbroken


@lru_cache(maxsize=32)
def visits(values: tuple[float, ...]) -> IntArray:
    """Indices of the nonzero ``values`` outwards, the positive of a pair first."""
    return np.array(
        sorted((k for k, value in enumerate(values) if value), key=lambda k: (round(abs(values[k]), 12), -values[k])),
        dtype=np.int64,
    )


@lru_cache(maxsize=32)
def predictors(values: tuple[float, ...], *, tangent: bool) -> FloatArray:
    """Weights that predict each visited state: (visit, 2 + visits): of the free state, its derivative, visits before.

    The polynomial through the nearest known states, and with ``tangent`` through the derivative at zero as well
    (Hermite interpolation, solved as a confluent Vandermonde system of nodes scaled to the target).
    """
    order = visits(values)
    mix = np.zeros((len(order), 2 + len(order)))
    for visit, at in enumerate(order):
        target = values[at]
        known = sorted(range(visit), key=lambda past: abs(values[order[past]] - target))
        known = known[: POINTS - 1 - int(tangent)]
        nodes = np.array([0.0, *(values[order[past]] / target for past in known)])
        powers = np.arange(len(nodes) + int(tangent))
        system = nodes[:, None] ** powers
        if tangent:
            system = np.concatenate([system, (powers == 1).astype(float)[None]])
        # sum_k w_k q(node_k) [+ w_t q'(0)] must be q(1) for every power.
        weights = np.linalg.solve(system.T, np.ones(len(powers)))
        mix[visit, 0] = weights[0]
        mix[visit, [2 + past for past in known]] = weights[1 : len(nodes)]
        if tangent:
            mix[visit, 1] = weights[-1] * target
    return mix


def _walk_batched(
    network: CurrentModeNetwork,
    free: FloatArray,
    drive: FloatArray,
    nudge: FloatArray,
    values: FloatArray,
    order: IntArray,
    states: FloatArray,
    tolerance: Tolerance,
) -> tuple[FloatArray, BoolArray]:
    """Fill ``states``; the largest residual and whether the branch held, for every sample.

    Stability is looked at where the walk ends: an eigenvalue that crossed on the way is still across there, or crossed
    back, and then the branch is the same again.
    """
    worst = np.zeros(len(free))
    unbroken = np.ones(len(free), dtype=np.bool_)
    mix = predictors(tuple(values), tangent=False)
    last = [free, free]
    for visit, at in enumerate(order):
        side = int(values[at] < 0.0)
        before = last[side]
        guess = mix[visit, 0] * free
        for past in np.flatnonzero(mix[visit, 2 : visit + 2]):
            guess += mix[visit, 2 + past] * states[order[past]]
        # Behind a break no polynomial holds.
        guess[~unbroken] = before[~unbroken]
        target = drive + values[at] * nudge
        found, residual, smooth = _follow(network, before, guess, target, tolerance, last=visit >= len(order) - 2)
        states[at] = last[side] = found
        worst = np.maximum(worst, residual)
        unbroken &= smooth
    return worst, unbroken


def _follow(
    network: CurrentModeNetwork,
    before: FloatArray,
    guess: FloatArray,
    drive: FloatArray,
    tolerance: Tolerance,
    *,
    last: bool,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """One step along the branch: states, residuals, and whether it stayed the same smooth branch."""
    arranged, target = network.arrange(guess), network.arrange(drive)
    near = np.abs(network.force(arranged, target)).max(axis=1)
    x, residual = accelerate(network, arranged, target, tolerance)
    u = network.restore(x)
    good = (residual <= tolerance.residual) & (
        np.abs(x - arranged).max(axis=1) <= WANDERING * near + tolerance.residual
    )
    if last:
        good[good] = stable(network, u[good])
    if good.all():
        return u, residual, good
    rest = np.flatnonzero(~good)
    by_dynamics = settle(network, before[rest], drive[rest], tolerance)
    u[rest], residual[rest] = by_dynamics.u, by_dynamics.residual
    expected = np.abs(guess[rest] - before[rest]).max(axis=1)
    same = np.abs(by_dynamics.u - guess[rest]).max(axis=1) <= JUMP + 2.0 * expected
    smooth = good.copy()
    smooth[rest] = same & by_dynamics.settled
    return u, residual, smooth
