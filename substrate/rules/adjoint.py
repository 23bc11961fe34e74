"""Estimates from the adjoint of every node, chi^T e, however it was found: -dC/dw_{j -> i} = (chi^T e)_i s_j.

An array that works both ways descends along the sum over its two directions, (chi^T e)_i s_j + s_i (chi^T e)_j: the
derivative of the product s_i s_j along r = chi^T e. Products and squares are of second degree, so that their
differences between s + h r and s - h r, over 2 h, are that derivative exactly, whatever h. In a resistive network with
bidirectional amplifiers the conjugates of a layer carry A^{2n}, which r is divided by (physics.md, 1.3).
"""

import numpy as np

from substrate.arrays import BoolArray, FloatArray
from substrate.conjugates import Conjugate, Signals, conjugate_of, mean_directions, standard_errors
from substrate.network import Network
from substrate.rules.base import Estimate, Excluded, FreePhase


def adjoint_estimate(
    network: Network, phase: FreePhase, adjoint: FloatArray, sound: BoolArray, variance: FloatArray, amplitude: float
) -> Estimate:
    """The estimate that an adjoint gives.

    Args:
        network: the topology.
        phase: the batch.
        adjoint: (batch, node), activity units per unit of error.
        sound: (batch,), samples whose adjoint holds; the others count as lost.
        variance: (batch,), variance that noise leaves on one entry of the adjoint; NaN where it is not known.
        amplitude: of the nudge that it was measured with; 0 where there was none.
    """
    conjugate: Conjugate = "postsynaptic" if network.feedforward else conjugate_of(network, "auto")
    response = adjoint.copy()
    for coupling in network.forward:
        response[:, coupling.target.nodes] /= coupling.conjugate_scale
    size = np.abs(response).max(axis=1)
    step = (1.0 / np.where(size > 0.0, size, 1.0))[:, None]
    waveform = phase.activity[:, None, :] + np.array([1.0, -1.0])[:, None] * (step * response)[:, None, :]
    weights = np.array([0.5, -0.5]) / step
    signals = Signals(phase.inputs, phase.activity, response, variance, waveform, weights)
    keep = phase.usable & sound
    return Estimate(
        signals=signals,
        conjugate=conjugate,
        keep=keep,
        excluded=Excluded(int(np.sum(phase.usable & ~sound)), 0, int(np.sum(~phase.usable))),
        descent=mean_directions(network, signals, keep, conjugate),
        standard_errors=standard_errors(network, signals, keep, conjugate),
        amplitude=np.full(len(keep), amplitude),
        truncation=np.full(len(keep), np.nan),
    )
