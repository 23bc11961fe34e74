"""Small signals around an operating point: susceptibility at any frequency, step response, natural frequencies.

Linearised, those of ``equations.py`` are (1 + i w tau) du = W ds + I and (1 + i w tau_a) ds = D du with W the small-
signal weights of the arrays and D the slopes of the transfer functions, so that

    chi(w) = ds/dI = B D (1 + i w tau - W B D)^-1,        B = 1/(1 + i w tau_a),

which at w = 0 is (D^-1 - W)^-1.
"""

import numpy as np

from emulators.networks.equations import Equations
from emulators.networks.time_constants import ComplexArray, TimeConstants
from emulators.networks.transient import state_matrices
from substrate.arrays import FloatArray, finite
from substrate.errors import InputError


def susceptibility(
    network: Equations, constants: TimeConstants, u: FloatArray, frequencies_hz: FloatArray
) -> ComplexArray:
    """chi(w) at the operating points ``u``: outputs over node currents, both in activity units.

    Args:
        network: the equations.
        constants: the time constants.
        u: (batch, node) free states.
        frequencies_hz: (frequency,), 0 is DC.

    Returns:
        (batch, frequency, node, node): [..., i, j] is ds_i/dI_j.
    """
    constants.check(network.node_count)
    u = finite("u", u, (None, network.node_count))
    omega = 2.0 * np.pi * finite("frequencies_hz", frequencies_hz, (None,))
    gain = constants.amplifier_response(omega)[None] * network.slope(u)[:, None]
    poles = 1.0 + 1j * omega[:, None] * constants.node_seconds
    weights = network.weights_at(network.activity(u)).swapaxes(-1, -2)
    # One matrix for all operating points, or one for each.
    system = -(weights if weights.ndim == 2 else weights[:, None]) * gain[:, :, None, :]
    system[..., np.arange(u.shape[1]), np.arange(u.shape[1])] += poles
    return np.asarray(gain[..., None] * np.linalg.inv(system))


def poles(network: Equations, constants: TimeConstants, u: FloatArray) -> ComplexArray:
    """Natural frequencies in 1/s at the operating points ``u`` (batch, node), (batch, pole).

    All real parts are negative where the point is stable.
    """
    return np.asarray(np.linalg.eigvals(_state(network, constants, u)), dtype=np.complex128)


def relaxation_seconds(network: Equations, constants: TimeConstants, u: FloatArray) -> FloatArray:
    """The slowest time constant at the operating points ``u`` (batch, node), (batch,); inf where unstable."""
    slowest = poles(network, constants, u).real.max(axis=1)
    return np.where(slowest < 0, -1.0 / np.where(slowest < 0, slowest, -1.0), np.inf)


def step_response(
    network: Equations,
    constants: TimeConstants,
    u: FloatArray,
    currents: FloatArray,
    times_seconds: FloatArray,
) -> FloatArray:
    """Outputs' linear response to steps of ``currents`` at time 0.

    The matrix exponential of the state matrix, bordered by the constant input (Van Loan 1978), so that no modes need be
    separable.

    Args:
        network: the equations.
        constants: the time constants.
        u: (batch, node) operating points.
        currents: (batch, node) steps, activity units.
        times_seconds: (time,), >= 0.

    Returns:
        (batch, time, node) changes of the outputs.
    """
    from scipy.linalg import expm

    nodes = network.node_count
    u = finite("u", u, (None, nodes))
    currents = finite("currents", currents, u.shape)
    times = finite("times_seconds", times_seconds, (None,))
    if np.any(times < 0):
        raise InputError(f"times_seconds: expected times >= 0, got {times.min():g}")
    inner = _state(network, constants, u)
    size = inner.shape[-1]
    bordered = np.zeros((len(u), size + 1, size + 1))
    bordered[:, :size, :size] = inner
    bordered[:, :nodes, size] = currents / constants.node_seconds
    state = expm(bordered[:, None] * times[:, None, None])[..., :size, size]
    outputs = network.slope(u)[:, None] * state[..., :nodes]
    slow = np.flatnonzero(constants.amplifier_seconds > 0)
    outputs[..., slow] = state[..., nodes:]
    return np.asarray(outputs)


def _state(network: Equations, constants: TimeConstants, u: FloatArray) -> FloatArray:
    constants.check(network.node_count)
    u = finite("u", u, (None, network.node_count))
    slow = np.flatnonzero(constants.amplifier_seconds > 0)
    rates = 1.0 / constants.node_seconds, 1.0 / constants.amplifier_seconds[slow]
    return state_matrices(network, slow, *rates, u, network.activity(u))
