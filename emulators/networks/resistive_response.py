"""Responses of a resistive network: to a sinusoidal nudge of finite size, and the exact linear one.

The steady state is unique, so no branch can be lost and all phases of a period are solved side by side. With ideal
diodes the response is piecewise linear: exact at any amplitude as long as no diode switches, with kinks (harmonics that
decay slowly) where one does, which ``switched`` reports.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.networks.resistive import ResistiveNetwork
from emulators.networks.resistive_steady import SteadyState, SteadyTolerance, settle
from substrate.arrays import BoolArray, FloatArray, finite
from substrate.tones import SamplingPlan


@final
@dataclass(frozen=True)
class ResistivePeriod:
    """One period of nudged states.

    Attributes:
        volts: (batch, time, node).
        residual_volts: (batch,), the worst of the period.
        settled: (batch,), every state within tolerance.
        switched: (batch,), an ideal diode began or ceased to conduct within the period.
    """

    volts: FloatArray
    residual_volts: FloatArray
    settled: BoolArray
    switched: BoolArray


def nudged_period(
    network: ResistiveNetwork,
    free: SteadyState,
    drive: FloatArray,
    nudge: FloatArray,
    plan: SamplingPlan,
    tolerance: SteadyTolerance | None = None,
) -> ResistivePeriod:
    """States over one period of the drive ``drive + nudge cos(phase)``, starting at the crest.

    Args:
        network: the equations.
        free: the free states, at nudge zero.
        drive: (batch, node) amperes held.
        nudge: (batch, node) amperes at the crest.
        plan: samples a period.
        tolerance: of every state.
    """
    values, index = plan.distinct()
    batch, nodes = free.volts.shape
    peak = finite("nudge", nudge, (batch, nodes))
    swing = response(network, free, peak)
    push = (drive + values[:, None, None] * peak).reshape(-1, nodes)
    guess = (free.volts + values[:, None, None] * swing).reshape(-1, nodes)
    found = settle(network, push, tolerance, guess)
    states = found.volts.reshape(len(values), batch, nodes)
    moving = found.moving.reshape(len(values), batch, nodes)
    changed: BoolArray = moving != moving[0]
    return ResistivePeriod(
        states[index].transpose(1, 0, 2),
        found.residual_volts.reshape(len(values), batch).max(axis=0),
        np.asarray(found.settled.reshape(len(values), batch).all(axis=0)),
        np.asarray(changed.any(axis=(0, 2))),
    )


def response(network: ResistiveNetwork, state: SteadyState, amperes: FloatArray) -> FloatArray:
    """chi I: volts (batch, node) by which small currents (batch, node) into the nodes move a steady state.

    chi = dv/dI; nodes held by ideal diodes or clamps do not move.
    """
    return np.asarray(_solve(network, state, amperes * network.level) / network.level)


def adjoint(network: ResistiveNetwork, state: SteadyState, values: FloatArray) -> FloatArray:
    """chi^T y, (batch, node) ohms times the unit of ``values`` (batch, node).

    For y = -dC/dv at the outputs it equals ``response`` to the same currents when there are no amplifiers.
    """
    return np.asarray(_solve(network, state, values / network.level) * network.level)


def _solve(network: ResistiveNetwork, state: SteadyState, right: FloatArray) -> FloatArray:
    _, slope = network.levelled_diodes.current_and_slope(state.volts * network.level)
    return network.system.solve(state.moving, slope, np.where(state.moving, right, 0.0))
