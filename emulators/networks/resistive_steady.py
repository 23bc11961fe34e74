"""Steady states of a resistive network: the minimum of its convex co-content.

Ideal diodes make a box-constrained quadratic programme. Sweeps (Scellier 2024: v <- clip(sum g v/sum g), odd and even
layers in turn; node by node where wires join those of a layer) are made of exact updates and approach its solution
geometrically; ``settle`` alternates them with projected Newton steps (Bertsekas 1982, SIAM J. Control Optim. 20, 221),
which end there once the conducting diodes are found. Shockley diodes make it smooth: the same Newton steps,
junction-limited, with backtracking. Every step lowers the co-content, so that both converge from any start.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.networks.resistive import ResistiveNetwork
from substrate.arrays import BoolArray, FloatArray, IntArray, finite
from substrate.errors import CapabilityError, ConvergenceError, InputError

DECREASE = 1e-4
"""Share of the first-order decrease that a step must achieve (Armijo's rule)."""

HALVINGS = 40
"""Shortenings of a step before it is given up."""


@final
@dataclass(frozen=True)
class SteadyTolerance:
    """When a solve counts as done.

    Attributes:
        residual_volts: largest change that a node would make if its own balance were restored, its neighbours held.
        most_steps: Newton steps.
    """

    residual_volts: float = 1e-11
    most_steps: int = 200


@final
@dataclass(frozen=True)
class SteadyState:
    """Steady states.

    Attributes:
        volts: (batch, node).
        residual_volts: (batch,), as in ``SteadyTolerance``: the current that is missing at a node over the sum of the
            conductances on it.
        settled: (batch,), within tolerance (after a fixed number of sweeps: see ``sweep``).
        moving: (batch, node), nodes that no ideal diode and no clamp holds.
        steps: (batch,), Newton steps, or sweeps.
    """

    volts: FloatArray
    residual_volts: FloatArray
    settled: BoolArray
    moving: BoolArray
    steps: IntArray

    def checked(self) -> "SteadyState":
        """This state.

        Raises:
            ConvergenceError: a sample is above its tolerance.
        """
        if not self.settled.all():
            raise ConvergenceError(
                f"the resistive network did not settle for {int((~self.settled).sum())} of {len(self.settled)} "
                f"samples: residual {float(self.residual_volts.max()):.3g} V"
            )
        return self


def settle(
    network: ResistiveNetwork,
    drive: FloatArray,
    tolerance: SteadyTolerance | None = None,
    start: FloatArray | None = None,
    clamped_outputs: FloatArray | None = None,
    load_siemens: FloatArray | None = None,
) -> SteadyState:
    """Solve for the steady states.

    Args:
        network: the equations.
        drive: (batch, node) amperes into the nodes, ``ResistiveNetwork.drive`` and any nudge.
        tolerance: when to stop.
        start: (batch, node) volts to start from; the state does not depend on it, the number of steps does.
        clamped_outputs: (batch, output) volts at which the outputs are held (coupled learning).
        load_siemens: (batch, node) conductances from nodes to ground; those below zero must leave the network passive.

    Returns:
        States; ``settled`` is False where the tolerance was not reached.

    Raises:
        InputError: wrong shapes.
    """
    limits = tolerance if tolerance is not None else SteadyTolerance()
    level, system, diodes = network.level, network.system, network.levelled_diodes
    forced = finite("drive", drive, (None, network.node_count)) * level
    low, high = _box(network, len(forced), clamped_outputs)
    volts = _start(network, forced, start)
    np.clip(volts, low, high, out=volts)
    worst = np.full(len(volts), np.inf)
    steps = np.zeros(len(volts), dtype=np.int64)
    todo = np.arange(len(volts))
    now, push, floor, ceiling = volts, forced, low, high
    load = None if load_siemens is None else finite("load_siemens", load_siemens, forced.shape)
    for step in range(limits.most_steps + 1):
        if not diodes.curved and load is None:
            now = system.relax(now, push, floor, ceiling)
        current, slope = diodes.current_and_slope(now)
        force = push - system.apply(now) + current
        diagonal = system.diagonal
        if load is not None:
            force -= load * now
            slope = slope + load
            diagonal = diagonal + load
        residual = _residual(now, force / diagonal, floor, ceiling, level)
        volts[todo], worst[todo], steps[todo] = now, residual, step
        going = ~(residual <= limits.residual_volts)
        if not going.any() or step == limits.most_steps:
            break
        if not going.all():
            todo, now, push, floor, ceiling = todo[going], now[going], push[going], floor[going], ceiling[going]
            force, slope = force[going], slope[going]
            load = None if load is None else load[going]
        now = _newton_step(network, now, force, slope, floor, ceiling, load)
    return _finished(network, volts, low, high, worst, worst <= limits.residual_volts, steps)


def sweep(
    network: ResistiveNetwork,
    drive: FloatArray,
    count: int,
    start: FloatArray | None = None,
    clamped_outputs: FloatArray | None = None,
    tolerance: SteadyTolerance | None = None,
    load_siemens: FloatArray | None = None,
) -> SteadyState:
    """A fixed number of updates of all nodes, as published networks are trained with (4 to 6 sweeps).

    Layer by layer, which is exact without wires; with wires, which join the nodes of a layer, node by node, each exact.
    Both lead to the state of ``settle``.

    Args:
        network: with ideal diodes.
        drive: (batch, node) amperes.
        count: sweeps; odd layers (the first hidden one among them), then even ones.
        start: (batch, node) volts; 0 V if left out.
        clamped_outputs: (batch, output) volts.
        tolerance: what ``settled`` means.
        load_siemens: (batch, node) conductances from nodes to ground.

    Raises:
        CapabilityError: curved diodes, for which the update is not exact.
        InputError: wrong shapes.
    """
    system, level = network.system, network.level
    if network.diodes.curved:
        raise CapabilityError("sweeps need ideal diodes; use settle()")
    if count < 1:
        raise InputError(f"count: expected at least one sweep, got {count}")
    forced = finite("drive", drive, (None, network.node_count)) * level
    low, high = _box(network, len(forced), clamped_outputs)
    volts = np.zeros_like(forced) if start is None else start * level
    load = None if load_siemens is None else finite("load_siemens", load_siemens, forced.shape)
    volts = system.sweep(volts, forced, low, high, count, load)
    force, diagonal = forced - system.apply(volts), system.diagonal
    if load is not None:
        force, diagonal = force - load * volts, diagonal + load
    residual = _residual(volts, force / diagonal, low, high, level)
    limit = (tolerance if tolerance is not None else SteadyTolerance()).residual_volts
    steps = np.full(len(volts), count)
    return _finished(network, volts, low, high, residual, residual <= limit, steps)


def _newton_step(
    network: ResistiveNetwork,
    volts: FloatArray,
    force: FloatArray,
    slope: FloatArray,
    low: FloatArray,
    high: FloatArray,
    load: FloatArray | None,
) -> FloatArray:
    """One projected Newton step of each of a batch that lowers its co-content; levelled volts.

    Where even the shortest step fails, which takes a force at the rounding error, the state stays.
    """
    system, diodes = network.system, network.levelled_diodes
    held = ((volts <= low) & (force <= 0.0)) | ((volts >= high) & (force >= 0.0))
    newton = system.solve(~held, slope, np.where(held, 0.0, force))
    step = np.clip(volts + diodes.limited(volts, newton, system.diagonal), low, high) - volts
    out = volts.copy()
    failed = np.arange(len(volts))
    share = 1.0
    for _ in range(HALVINGS):
        at, push = volts[failed], force[failed]
        first_order = np.sum(push * step, axis=1)
        curvature = 0.5 * step * system.apply(step) + diodes.excess(at, step)
        if load is not None:
            curvature += 0.5 * load[failed] * step**2
        good = np.sum(curvature, axis=1) <= (1.0 - DECREASE) * first_order
        out[failed[good]] = (at + step)[good]
        failed = failed[~good]
        if not len(failed):
            break
        at = volts[failed]
        step = np.clip(at + share * newton[failed], low[failed], high[failed]) - at
        share *= 0.5
    return out


def _start(network: ResistiveNetwork, forced: FloatArray, start: FloatArray | None) -> FloatArray:
    """Levelled volts to start from, where no diode conducts more than it could."""
    system, diodes = network.system, network.levelled_diodes
    if start is not None:
        volts = finite("start", start, forced.shape) * network.level
    elif diodes.curved:
        everywhere = np.ones(forced.shape, dtype=np.bool_)
        volts = system.solve(everywhere, np.zeros_like(forced), forced)
    else:
        return np.zeros_like(forced)
    if diodes.curved:
        # Currents of the linear network bound those of the clamped one, but for the rails: a factor is a few V_T.
        amperes = 2.0 * system.diagonal * np.abs(volts).max(axis=1, initial=0.0)[:, None]
        lowest, highest = diodes.reach_volts(amperes)
        np.clip(volts, lowest, highest, out=volts)
    return np.asarray(volts)


def _box(network: ResistiveNetwork, batch: int, clamped_outputs: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Bounds of the levelled volts, (batch, node)."""
    low, high = (np.tile(bound, (batch, 1)) for bound in network.levelled_diodes.box_volts)
    if clamped_outputs is not None:
        size = network.output.stop - network.output.start
        low[:, network.output] = high[:, network.output] = finite("clamped_outputs", clamped_outputs, (batch, size))
    return low, high


def _residual(
    volts: FloatArray, change: FloatArray, low: FloatArray, high: FloatArray, level: FloatArray
) -> FloatArray:
    """(batch,) volts: the largest step that the nodes would still take on their own."""
    step = np.minimum(np.maximum(volts + change, low), high)
    step -= volts
    np.abs(step, out=step)
    step /= level
    largest: FloatArray = step.max(axis=1)
    return largest


def _finished(
    network: ResistiveNetwork,
    volts: FloatArray,
    low: FloatArray,
    high: FloatArray,
    residual: FloatArray,
    settled: BoolArray,
    steps: IntArray,
) -> SteadyState:
    moving = (volts > low) & (volts < high)
    return SteadyState(volts / network.level, residual, settled, moving, steps)
