"""What cells of a resistive network measure of their own: q = -(dv)^2/2, scaled by the amplifiers beyond them.

dv is the voltage across the cell, from the amplified source to the target: with the scale A^{2 n} of physics.md (1.3)
it is minus the derivative of the co-content by the cell's conductance, and d q/d(nudge) at nudge zero is the descent
direction (physics.md, 2.2). With wires the port voltages stand for the cell's own.
"""

from collections.abc import Sequence

import numpy as np

from emulators.networks.resistive import ResistiveNetwork
from substrate.arrays import FloatArray


def conjugates(network: ResistiveNetwork, index: int, inputs: FloatArray, volts: FloatArray) -> FloatArray:
    """q of every cell of array ``index`` for every sample, (batch, rows, columns) volts squared.

    Args:
        network: the equations.
        index: which array.
        inputs: (batch, input) held volts.
        volts: (batch, node) states.
    """
    rows = network.rows(index, inputs, volts)
    columns = volts[:, network.layers[index]]
    return np.asarray((-0.5 * network.conjugate_scale(index)) * (rows[:, :, None] - columns[:, None, :]) ** 2)


def conjugate_difference(
    network: ResistiveNetwork, index: int, inputs: FloatArray, first: FloatArray, second: FloatArray
) -> FloatArray:
    """Batch mean of q(second) - q(first) of array ``index``, (rows, columns) volts squared, by matrix products only.

    Over beta (one-sided) or 2 beta (centred, first at -beta) it is the descent direction of equilibrium propagation.
    """
    layer = network.layers[index]
    share = network.conjugate_scale(index) / len(first)
    below, above = first[:, layer], second[:, layer]
    column_part = 0.5 * np.sum(below**2 - above**2, axis=0)
    before = network.rows(index, inputs, first)
    # One product does it all: -(a - b)^2/2 = a b - a^2/2 - b^2/2, the squares as one more sample.
    if index == 0:
        # Held rows are the same in both states: their squares cancel.
        return _product([before], [above - below, column_part], share)
    after = network.rows(index, inputs, second)
    row_part = 0.5 * np.sum(before**2 - after**2, axis=0)
    out = _product([after, -before], [above, below, column_part], share)
    out += share * row_part[:, None]
    return out


def _product(rows: Sequence[FloatArray], columns: Sequence[FloatArray], share: float) -> FloatArray:
    left = np.concatenate([*rows, np.ones((1, rows[0].shape[1]))])
    right = np.concatenate([*columns[:-1], columns[-1][None]])
    return np.asarray(left.T @ (share * right))


def direction(
    network: ResistiveNetwork, index: int, inputs: FloatArray, volts: FloatArray, swing: FloatArray
) -> FloatArray:
    """dq/d(nudge) of every cell for every sample, from dv/d(nudge) ``swing`` (batch, node); (batch, rows, columns)."""
    rows = network.rows(index, inputs, volts)
    moved = network.couplings[index].gain * swing[:, network.layers[index - 1]] if index else rows[:, :0]
    row_swing = np.zeros_like(rows)
    row_swing[:, : moved.shape[1]] = moved
    layer = network.layers[index]
    across = rows[:, :, None] - volts[:, None, layer]
    change = row_swing[:, :, None] - swing[:, None, layer]
    return np.asarray(-network.conjugate_scale(index) * across * change)
