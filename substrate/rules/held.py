"""Derivatives from states under held nudges: a few points of the nudge, and the linear functional over them.

Every estimator of this kind is dq/dbeta = Re sum_p w_p q(b_p): one-sided EP has b = 0 and beta with weights -+1/beta,
EP of both signs +-beta with +-1/(2 beta), Cauchy's formula N points of a circle with 1/(N b) (physics.md, 2.5 and 3).
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np

from substrate.arrays import BoolArray, ComplexArray, FloatArray, Numbers
from substrate.capabilities import HeldNudge
from substrate.conjugates import Conjugate, Signals, mean_directions, standard_errors
from substrate.contract import Scale, Substrate
from substrate.errors import InputError
from substrate.network import Network
from substrate.rules.base import Estimate, Excluded, FreePhase, variance_of_error

NudgeKind: TypeAlias = Literal["open_loop", "feedback"]
"""``open_loop``: currents beta e, e the error of the free outputs; ``feedback``: beta (y - s), as published."""


@final
@dataclass(frozen=True)
class Points:
    """Nudges (batch, point), the weight of each in the derivative, and that of the free state, (batch,)."""

    nudges: Numbers
    weights: Numbers
    free_weight: FloatArray


def circle(amplitude: float, count: int) -> tuple[Numbers, Numbers]:
    """Points of Cauchy's formula and their weights: those of the upper half circle alone, the others being conjugate.

    b_k = beta e^{2 pi i k/N} with weights 1/(N b_k); conjugate nudges give conjugate states, so that a point off the
    real axis counts twice in the real part (arXiv 2209.00530). Both are real where all points are.

    Args:
        amplitude: beta, the radius.
        count: N.

    Returns:
        Nudges and weights, each (N // 2 + 1,).
    """
    nudges = turning(amplitude, count)[: count // 2 + 1]
    twice = np.where(nudges.imag == 0.0, 1.0, 2.0)
    weights = twice / (count * nudges)
    return (nudges.real, weights.real) if count <= 2 else (nudges, weights)


def turning(amplitude: float, count: int) -> ComplexArray:
    """All points of the circle, (count,), from the positive real one on; the real ones exactly real."""
    quarters = 4.0 * np.arange(count) / count
    cosine, sine = np.cos(np.pi / 2.0 * quarters), np.sin(np.pi / 2.0 * quarters)
    sine[quarters % 2.0 == 0.0] = 0.0
    return amplitude * (cosine + 1j * sine)


def check_kind(kind: NudgeKind, cost_name: str) -> None:
    """Refuse a feedback nudge of a cost whose gradient is not y - s.

    Raises:
        InputError: names the key.
    """
    if kind == "feedback" and cost_name != "squared_error":
        raise InputError(f"rule.nudge: feedback belongs to the squared error; expected open_loop with {cost_name}")


def held_nudge(
    network: Network, scale: Scale, phase: FreePhase, nudges: Numbers, kind: NudgeKind, cross: FloatArray | None = None
) -> HeldNudge:
    """The held currents of nudges (batch, point) at the outputs; with ``cross``, those of ``measure_held`` as well."""
    outputs = network.output.nodes
    wanted = phase.error if kind == "open_loop" else phase.activity[:, outputs] + phase.error
    amperes = np.zeros((*nudges.shape, network.node_count), dtype=nudges.dtype)
    amperes[:, :, outputs] = nudges[:, :, None] * (wanted * scale.unit_amperes)[:, None, :]
    siemens = None
    if kind == "feedback":
        siemens = np.zeros(amperes.shape, dtype=nudges.dtype)
        siemens[:, :, outputs] = nudges[:, :, None] * scale.unit_siemens
    if cross is not None:
        amperes += (phase.activity @ cross.T * scale.unit_amperes)[:, None, :]
        cross = cross * scale.unit_siemens
    for given in (amperes, siemens, cross):
        if given is not None:
            # Whoever holds it need not look at it again.
            given.setflags(write=False)
    return HeldNudge(amperes, siemens, cross)


def measure_held(
    substrate: Substrate,
    phase: FreePhase,
    points: Points,
    kind: NudgeKind,
    conjugate: Conjugate,
    amplitude: float,
    readings: int = 1,
    cross: FloatArray | None = None,
) -> Estimate:
    """Settle under every nudge, read, and combine.

    Args:
        substrate: holds the batch in its free state.
        phase: what was read of it.
        points: the nudges and their functional.
        kind: of nudge.
        conjugate: how directions follow.
        amplitude: beta.
        readings: of every point; two or more tell the noise, without which standard errors are NaN.
        cross: (node, node), weight units: further currents -cross (s - s0), s0 the free state.
    """
    scale = substrate.scale
    nudge = held_nudge(substrate.network, scale, phase, np.repeat(points.nudges, readings, axis=1), kind, cross)
    states = substrate.settle_nudged(nudge)
    activity = states.volts / scale.volts_per_unit
    variance = np.full(len(activity), np.nan)
    functional = np.repeat(points.weights / readings, readings, axis=1)
    if readings > 1 and not np.iscomplexobj(activity):
        repeats = activity.reshape(len(activity), -1, readings, activity.shape[2])
        noise = float(np.mean(repeats.var(axis=2, ddof=1)))
        variance = noise * (np.sum(functional**2, axis=1) + points.free_weight**2)
        if kind == "open_loop":
            # What is fed back is formed from targets, which have no noise.
            response = np.matmul(functional[:, None, :], activity)[:, 0] + points.free_weight[:, None] * phase.activity
            variance = variance + variance_of_error(phase.error, response, noise)
    return combined(
        substrate.network,
        phase,
        activity,
        functional,
        points.free_weight,
        conjugate,
        amplitude,
        variance,
        saturated=np.asarray(states.saturated.any(axis=1)),
        settled=np.asarray(states.settled.all(axis=1)),
    )


def combined(
    network: Network,
    phase: FreePhase,
    activity: Numbers,
    functional: Numbers,
    free_weight: FloatArray,
    conjugate: Conjugate,
    amplitude: float,
    variance: FloatArray,
    *,
    saturated: BoolArray,
    settled: BoolArray,
    truncation: FloatArray | None = None,
) -> Estimate:
    """The estimate from states (batch, point, node) and their functional (batch, point); the others are (batch,).

    ``settled``: the branch held. ``variance``: what noise leaves on one entry of the response. ``truncation``: the
    relative error by the order of the formula; None: not known.
    """
    if np.any(free_weight):
        activity = np.concatenate([phase.activity[:, None, :], activity], axis=1)
        functional = np.concatenate([free_weight[:, None], functional], axis=1)
    # In the precision of the states, single where an emulator moves in it.
    if activity.dtype in (np.float32, np.complex64):
        functional = functional.astype(np.complex64 if np.iscomplexobj(functional) else np.float32)
    response = np.matmul(functional[:, None, :], activity)[:, 0].real
    signals = Signals(phase.inputs, phase.activity, response, variance, activity, functional)
    unsettled = ~phase.usable
    clipped = saturated & ~unsettled
    lost = ~settled & ~unsettled & ~clipped
    keep = ~(unsettled | clipped | lost)
    return Estimate(
        signals=signals,
        conjugate=conjugate,
        keep=keep,
        excluded=Excluded(int(lost.sum()), int(clipped.sum()), int(unsettled.sum())),
        descent=mean_directions(network, signals, keep, conjugate),
        standard_errors=standard_errors(network, signals, keep, conjugate),
        amplitude=np.full(len(keep), amplitude),
        truncation=np.full(len(keep), np.nan) if truncation is None else truncation,
    )
