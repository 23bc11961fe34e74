"""Reading one array alone in weight units, at the largest voltages that its lines take."""

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Direction, Substrate
from substrate.network import Coupling


def weighted_sums(
    substrate: Substrate, coupling: Coupling, values: FloatArray, direction: Direction = "forward"
) -> FloatArray:
    """``values`` through the weights of an array, bias lines at rest.

    The largest magnitude of each vector goes to its line as one activity unit, and the answer is scaled back: the
    limit alone would be too much, for what a line survives may lie beyond what its converter drives.

    Args:
        substrate: the device.
        coupling: the array.
        values: (vector, source's line) forward; (vector, bit line) backward.
        direction: ``backward`` is the transpose, read in memory.

    Returns:
        (vector, bit line) forward; (vector, source's line) backward.

    Raises:
        CapabilityError: the device cannot read an array alone, or not this way.
    """
    scale = substrate.scale
    peak = np.abs(values).max(axis=1, keepdims=True)
    # A vector of zeros has nothing to scale.
    peak[peak == 0.0] = 1.0
    full = min(scale.volts_per_unit, substrate.capabilities.limits.read_volts)
    volts = values * (full / peak)
    if direction == "forward" and coupling.bias:
        volts = np.concatenate([volts, np.zeros((len(volts), len(coupling.bias_lines)))], axis=1)
    amperes = substrate.products(coupling.name, volts, direction)
    if direction == "backward":
        # What a bias line takes goes nowhere.
        amperes = amperes[:, : coupling.source_lines]
    return np.asarray(amperes * peak / (full * scale.unit_siemens))
