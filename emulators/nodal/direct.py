"""The exact way out where conjugate gradients stall: sparse LU of the whole circuit's node equations.

Kirchhoff's current law at the two nodes of every cell, word-line nodes first. At 1 Mohm segments the lines no longer
precondition the array; a factorisation does not mind (Davis, Direct Methods for Sparse Linear Systems, chapter 6;
scipy's splu is SuperLU). It costs some hundred times what the iterations cost where they converge quickly, and inputs
with conductances of their own, as in Newton's method, are factorised one by one.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from emulators.nodal.terminals import Terminals

FloatArray = NDArray[np.float64]


def solve_direct(
    conductances: FloatArray, source: FloatArray | None, terminals: Terminals
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Solve inputs that share their cells.

    Args:
        conductances: (rows, cols) siemens.
        source: (batch, rows, cols) amperes from word to bit line beside the cells; None is none.
        terminals: of the batch; segments above 0 ohms.

    Returns:
        Word- and bit-line voltages, (batch, rows, cols) each, and the error that the currents left at the nodes stand
        for, (batch,): its energy norm relative to that of the cells; NaN or infinity where the equations are singular.
    """
    rows, cols = conductances.shape
    size = rows * cols
    matrix = _admittance(conductances, terminals)
    driven = np.zeros((terminals.batch, 2, rows, cols))
    driven[:, 0, :, 0] += terminals.row_volts / terminals.row_port
    driven[:, 1, -1, :] += terminals.column_volts / terminals.column_port
    if source is not None:
        driven[:, 0] -= source
        driven[:, 1] += source
    given = driven.reshape(terminals.batch, -1).T
    try:
        # Symmetric and diagonally dominant: pivots may stay on the diagonal.
        factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except RuntimeError:  # exactly singular
        lost = np.full((terminals.batch, rows, cols), np.nan)
        return lost, lost, np.full(terminals.batch, np.inf)
    volts = factors.solve(given)
    volts += factors.solve(given - matrix @ volts)  # one step of refinement
    left = given - matrix @ volts
    error = np.einsum("nb,nb->b", left, factors.solve(left))
    word, bit = (part.T.reshape(-1, rows, cols) for part in (volts[:size], volts[size:]))
    currents = conductances * (word - bit) + (0.0 if source is None else source)
    closed = conductances > 0
    energy = (currents[:, closed] ** 2 / conductances[closed]).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return word, bit, np.where(error != 0.0, np.sqrt(np.abs(error) / energy), 0.0)


def _admittance(conductances: FloatArray, terminals: Terminals) -> csc_array:
    """Of all nodes, (2 rows cols) square."""
    rows, cols = conductances.shape
    node = np.arange(2 * rows * cols).reshape(2, rows, cols)
    links = [
        (node[0].ravel(), node[1].ravel(), conductances.ravel()),
        (
            node[0, :, :-1].ravel(),
            node[0, :, 1:].ravel(),
            np.full(rows * (cols - 1), 1 / terminals.wordline_resistance),
        ),
        (node[1, :-1].ravel(), node[1, 1:].ravel(), np.full((rows - 1) * cols, 1 / terminals.bitline_resistance)),
    ]
    one, other, siemens = (np.concatenate(part) for part in zip(*links, strict=True))
    diagonal = np.bincount(one, siemens, node.size) + np.bincount(other, siemens, node.size)
    np.add.at(diagonal, node[0, :, 0], 1 / terminals.row_port)
    np.add.at(diagonal, node[1, -1], 1 / terminals.column_port)
    every = node.ravel()
    return csc_array(
        (
            np.concatenate([-siemens, -siemens, diagonal]),
            (np.concatenate([one, other, every]), np.concatenate([other, one, every])),
        )
    )
