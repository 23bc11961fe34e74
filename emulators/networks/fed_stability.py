"""Whether states under nudges that the nodes' own voltages feed back to are stable.

A conductance to a source calms a node, but feedback across nodes, or a conductance below zero, may set a network off
where its equilibrium goes on smoothly.
"""

from dataclasses import replace

import numpy as np

from emulators.networks.circuit import NudgedStates
from emulators.networks.equations import Equations, spread
from emulators.networks.equilibrium import decays
from substrate.arrays import FloatArray
from substrate.capabilities import HeldNudge
from substrate.contract import Scale


def stable_under(
    network: Equations, drive: FloatArray, found: NudgedStates, nudge: HeldNudge, scale: Scale
) -> NudgedStates:
    """The states ``found``, unsettled where linearised dynamics grow.

    Args:
        network: the equations.
        drive: (batch, node) held currents besides those of ``network``, activity units.
        found: real states.
        nudge: what is held, real.
        scale: volts and siemens of a unit.
    """
    shape = found.volts.shape
    s = (found.volts.real / scale.volts_per_unit).reshape(-1, shape[2])
    cross = 0.0 if nudge.cross_siemens is None else nudge.cross_siemens.T / scale.unit_siemens
    load = 0.0 if nudge.siemens is None else (nudge.siemens.real / scale.unit_siemens).reshape(s.shape)
    weights = network.weights_at(s) - cross
    fed = network.currents(s) - (0.0 if nudge.cross_siemens is None else s @ cross) - load * s
    u = fed + np.repeat(drive, shape[1], axis=0) + (nudge.amperes.real / scale.unit_amperes).reshape(s.shape)
    slope = network.slope(u)

    def tangent(v: FloatArray) -> FloatArray:
        swing = slope * v
        return np.asarray(spread(swing, weights) - load * swing)

    stable = decays(tangent, s.shape).reshape(shape[:2])
    return replace(found, settled=found.settled & stable)
