"""Descent directions of resistive arrays: the cell's conjugate is q = -A^{2n} (r - s)^2/2 (physics.md, 1.3 and 2.2).

r is the activity on the cell's word line, behind the amplifier (A s of a free source, a held input or a rail), s that
of the node on its bit line, and n the number of amplifiers between the cell and the output: q is minus what the cell
adds, by its weight, to the function that is stationary. In weight units (g/unit) and activity units, d q/d beta at
nudge zero is minus the derivative of the cost by the weight, and q is demodulated as a product, sample by sample:
r s - r^2/2 - s^2/2.
"""

import numpy as np

from substrate.arrays import FloatArray
from substrate.errors import InputError
from substrate.network import Coupling, Network


def check_resistive(rule: str, network: Network) -> None:
    """Refuse a rule of voltages across cells elsewhere than between nodes.

    Raises:
        InputError: names the rule and the family.
    """
    if not network.resistive:
        raise InputError(f"rule: {rule} reads voltages across cells; expected family resistive, got {network.family}")


def mean_direction(
    coupling: Coupling, lines: FloatArray, response: FloatArray, waveform: FloatArray, functional: FloatArray
) -> FloatArray:
    """Sum over samples of d q/d beta of every cell, (row, column).

    Args:
        coupling: the array's.
        lines: (batch, row) free activities on the word lines.
        response: (batch, node), ds/dbeta, times each sample's share.
        waveform: (batch, time, node), the nudged record.
        functional: (batch, time), takes a record to its derivative at nudge zero, times each sample's share.
    """
    columns = waveform[:, :, coupling.target.nodes]
    weighted = columns * functional[:, :, None]
    column_squares = -0.5 * np.sum(weighted * columns, axis=(0, 1))
    if coupling.source.start < 0:
        # Held lines do not move, and neither do their squares.
        # The squares as one more sample, with ones on the lines: one product does it all.
        with_ones = np.concatenate([lines, np.ones((1, lines.shape[1]))])
        changes = np.concatenate([response[:, coupling.target.nodes], column_squares[None]])
        return np.asarray(with_ones.T @ (coupling.conjugate_scale * changes))
    rows = coupling.gain * waveform[:, :, coupling.source.nodes]
    products = rows.reshape(-1, rows.shape[2]).T @ weighted.reshape(-1, weighted.shape[2])
    row_squares = -0.5 * np.einsum("bt,btr->r", functional, rows * rows)
    rails = np.outer(coupling.bias_lines, weighted.sum(axis=(0, 1)))
    moved = np.concatenate([products + row_squares[:, None], rails])
    return np.asarray(coupling.conjugate_scale * (moved + column_squares))


def sample_directions(
    coupling: Coupling, lines: FloatArray, response: FloatArray, waveform: FloatArray, functional: FloatArray
) -> FloatArray:
    """d q/d beta of every cell for every sample, (batch, row, column); arguments as of ``mean_direction``."""
    columns = waveform[:, :, coupling.target.nodes]
    weighted = columns * functional[:, :, None]
    column_squares = -0.5 * np.sum(weighted * columns, axis=1)[:, None]
    if coupling.source.start < 0:
        products = lines[:, :, None] * response[:, None, coupling.target.nodes]
        return np.asarray(coupling.conjugate_scale * (products + column_squares))
    rows = coupling.gain * waveform[:, :, coupling.source.nodes]
    products = rows.transpose(0, 2, 1) @ weighted
    row_squares = -0.5 * np.einsum("bt,btr->br", functional, rows * rows)
    rails = np.array(coupling.bias_lines)[:, None] * weighted.sum(axis=1)[:, None]
    moved = np.concatenate([products + row_squares[:, :, None], rails], axis=1)
    return np.asarray(coupling.conjugate_scale * (moved + column_squares))


def noise_power(coupling: Coupling, lines: FloatArray, activity: FloatArray) -> FloatArray:
    """Sum over the cells of the squares of d(d q/d beta)/d(response), (batch,): what noise is multiplied by.

    A cell has A^{2n} (r - s) times the noise of its column and, behind a free source, A times that of its row.
    """
    columns = activity[:, coupling.target.nodes]
    free = coupling.source.size if coupling.source.start >= 0 else 0
    power = np.zeros(len(lines))
    for part, factor in ((lines[:, :free], 1.0 + coupling.gain**2), (lines[:, free:], 1.0)):
        across = columns.shape[1] * np.sum(part**2, axis=1) + part.shape[1] * np.sum(columns**2, axis=1)
        power += factor * (across - 2.0 * part.sum(axis=1) * columns.sum(axis=1))
    return np.asarray(coupling.conjugate_scale**2 * power)


def exact_samples(coupling: Coupling, lines: FloatArray, activity: FloatArray, adjoint: FloatArray) -> FloatArray:
    """-dC/dw of every cell for every sample from the adjoint chi^T e, (batch, row, column).

    A cell carries w (r - s) to its column and, through the amplifier, -w (r - s)/A to a free source.
    """
    across = lines[:, :, None] - activity[:, None, coupling.target.nodes]
    change = np.repeat(adjoint[:, None, coupling.target.nodes], lines.shape[1], axis=1)
    if coupling.source.start >= 0:
        change[:, : coupling.source.size] -= adjoint[:, coupling.source.nodes][:, :, None] / coupling.gain
    return np.asarray(across * change)


def exact_mean(
    coupling: Coupling, lines: FloatArray, activity: FloatArray, adjoint: FloatArray, share: FloatArray
) -> FloatArray:
    """The mean of ``exact_samples`` with the weights ``share`` (batch,), (row, column), by products of matrices."""
    columns = activity[:, coupling.target.nodes]
    weighted = share[:, None] * adjoint[:, coupling.target.nodes]
    direction = lines.T @ weighted - np.sum(weighted * columns, axis=0)
    if coupling.source.start >= 0:
        size = coupling.source.size
        back = share[:, None] * adjoint[:, coupling.source.nodes] / coupling.gain
        direction[:size] -= np.sum(back * lines[:, :size], axis=0)[:, None] - back.T @ columns
    return np.asarray(direction)
