"""Natural frequencies of small signals around an operating point, of the equations in ``equations.py``."""

import numpy as np

from emulators.networks.equations import Equations
from emulators.networks.time_constants import ComplexArray, TimeConstants
from emulators.networks.transient import state_matrices
from substrate.arrays import FloatArray, finite


def poles(network: Equations, constants: TimeConstants, u: FloatArray) -> ComplexArray:
    """Natural frequencies in 1/s at the operating points ``u`` (batch, node), (batch, pole).

    All real parts are negative where the point is stable.
    """
    return np.asarray(np.linalg.eigvals(_state(network, constants, u)), dtype=np.complex128)


def relaxation_seconds(network: Equations, constants: TimeConstants, u: FloatArray) -> FloatArray:
    """The slowest time constant at the operating points ``u`` (batch, node), (batch,); inf where unstable."""
    slowest = poles(network, constants, u).real.max(axis=1)
    return np.where(slowest < 0, -1.0 / np.where(slowest < 0, slowest, -1.0), np.inf)


def _state(network: Equations, constants: TimeConstants, u: FloatArray) -> FloatArray:
    constants.check(network.node_count)
    u = finite("u", u, (None, network.node_count))
    slow = np.flatnonzero(constants.amplifier_seconds > 0)
    rates = 1.0 / constants.node_seconds, 1.0 / constants.amplifier_seconds[slow]
    return state_matrices(network, slow, *rates, u, network.activity(u))
