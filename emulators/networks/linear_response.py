"""The transposed linear response of a network of amplifier neurons, of its steady state or of so many steps.

u = I(s) + drive and s = f(u): with D = diag f' and W = dI/ds a current moves the outputs by chi = D (1 - W D)^-1 =
D (1 + W D + (W D)^2 + ...), and the sum cut off after K terms is what it has done after K steps of u <- I(f(u)) + drive
from the steady state: backpropagation through time is its transpose (Ernoult et al. 2019, arXiv 1905.13633).
"""

import numpy as np

from emulators.networks.equations import spread
from substrate.arrays import FloatArray
from substrate.errors import InputError


def adjoint(slope: FloatArray, weights: FloatArray, values: FloatArray, steps: int | None) -> FloatArray:
    """chi^T values, (batch, node), in activity units.

    Args:
        slope: (batch, node) f'.
        weights: (source, target) or (batch, source, target) dI/ds.
        values: (batch, node).
        steps: terms of the sum; None is all.

    Raises:
        InputError: fewer than one step.
    """
    if steps is None:
        # Weights are stored as (source, target), the transpose of W.
        system = np.eye(slope.shape[1]) - slope[:, :, None] * weights
        return np.asarray(np.linalg.solve(system, (slope * values)[:, :, None])[:, :, 0])
    if steps < 1:
        raise InputError(f"steps: expected at least one, got {steps}")
    back = weights.swapaxes(-1, -2)
    term = slope * values
    total = term.copy()
    for _ in range(steps - 1):
        term = slope * spread(term, back)
        total += term
    return total
