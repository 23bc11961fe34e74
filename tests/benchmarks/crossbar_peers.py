"""What others do for the same arrays: the nodal matrix with SuperLU or CHOLMOD, Newton's method over SuperLU."""

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import splu


def array_of(n: int, seed: int = 0, low: float = 1e-6, high: float = 1e-4) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).uniform(np.log(low), np.log(high), (n, n)))


def nodal_matrix(g: np.ndarray, ohms: float) -> sparse.csc_matrix:
    """Conductance matrix of the 2 n^2 nodes; word lines fed at column 0 and bit lines grounded at the last row."""
    rows, cols = g.shape
    word = np.arange(rows * cols).reshape(rows, cols)
    bit = word + rows * cols
    one = 1 / ohms
    a = np.concatenate([word.ravel(), word[:, :-1].ravel(), bit[:-1].ravel()])
    b = np.concatenate([bit.ravel(), word[:, 1:].ravel(), bit[1:].ravel()])
    value = np.concatenate([g.ravel(), np.full(rows * (cols - 1) + (rows - 1) * cols, one)])
    ends = np.concatenate([word[:, 0], bit[-1]])
    i = np.concatenate([a, b, a, b, ends])
    j = np.concatenate([a, b, b, a, ends])
    v = np.concatenate([value, value, -value, -value, np.full(ends.size, one)])
    return sparse.csc_matrix((v, (i, j)), shape=(2 * rows * cols,) * 2)


def right_hand_sides(g: np.ndarray, ohms: float, volts: np.ndarray) -> np.ndarray:
    rows, cols = g.shape
    right = np.zeros((2 * rows * cols, volts.shape[0]))
    right[np.arange(rows) * cols] = volts.T / ohms
    return right


def bit_currents(g: np.ndarray, ohms: float, nodes: np.ndarray) -> np.ndarray:
    return nodes[-g.shape[1] :].T / ohms


def superlu(matrix: sparse.csc_matrix) -> object:
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def superlu_read(g: np.ndarray, ohms: float, volts: np.ndarray) -> np.ndarray:
    return bit_currents(g, ohms, superlu(nodal_matrix(g, ohms)).solve(right_hand_sides(g, ohms, volts)))


def cholmod_read(g: np.ndarray, ohms: float, volts: np.ndarray) -> np.ndarray:
    from cvxopt import cholmod, matrix, spmatrix

    coo = sparse.tril(nodal_matrix(g, ohms)).tocoo()
    a = spmatrix(coo.data, coo.row, coo.col, coo.shape)
    x = matrix(right_hand_sides(g, ohms, volts))
    cholmod.linsolve(a, x)
    return bit_currents(g, ohms, np.array(x))


def badcrossbar_read(g: np.ndarray, ohms: float, volts: np.ndarray) -> np.ndarray:
    import badcrossbar

    solution = badcrossbar.compute(volts.T, 1 / g, r_i=ohms, node_voltages=False, all_currents=False)
    return np.atleast_2d(solution.currents.output)


def newton_superlu_read(g: np.ndarray, ohms: float, volts: np.ndarray, alpha: float) -> np.ndarray:
    """One input (1, rows) through cells i = g sinh(alpha v)/alpha, to 1e-9 of the largest current."""
    rows, cols = g.shape
    cells = rows * cols
    right = right_hand_sides(g, ohms, volts)[:, 0]
    drop = np.zeros(cells)
    flat = g.ravel()
    for _ in range(50):
        slope = flat * np.cosh(alpha * drop)
        source = flat * np.sinh(alpha * drop) / alpha - slope * drop
        matrix = nodal_matrix(slope.reshape(rows, cols), ohms)
        nodes = superlu(matrix).solve(right + np.concatenate([-source, source]))
        drop = nodes[:cells] - nodes[cells:]
        current = flat * np.sinh(alpha * drop) / alpha
        if np.abs(current - (source + slope * drop)).max() < 1e-9 * np.abs(current).max():
            return bit_currents(g, ohms, nodes[:, None])
    raise RuntimeError("the peer did not converge")
