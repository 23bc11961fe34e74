"""GMRES for many small systems side by side (Saad & Schultz 1986), each known by its matrix-vector product alone.

Vectors are orthogonalised once, all at a time (classical Gram-Schmidt), which is right for the few digits that a step
of Newton's method needs, not for many more.
"""

from collections.abc import Callable

import numpy as np

from substrate.arrays import FloatArray


def gmres(
    product: Callable[[FloatArray], FloatArray], right: FloatArray, relative: float, most_steps: int
) -> FloatArray:
    """Solve A x = ``right`` for every row, from x = 0.

    Args:
        product: (batch, unknown) -> (batch, unknown), row by row linear.
        right: (batch, unknown).
        relative: stop when every row's residual is this share of its right-hand side.
        most_steps: vectors kept at most; the best solution among them is returned whatever its residual.

    Returns:
        (batch, unknown).
    """
    batch, size = right.shape
    most_steps = min(most_steps, size)
    tiny = np.finfo(float).tiny
    norm = np.linalg.norm(right, axis=1)
    # Memory that is never touched is never provided.
    basis = np.empty((batch, most_steps + 1, size))
    basis[:, 0] = right / (norm + tiny)[:, None]
    hessenberg = np.zeros((batch, most_steps + 1, most_steps))
    # A vector y with y H = 0 and y_0 = 1 grows by one entry a step; the least residual is norm / |y|.
    null = np.zeros((batch, most_steps + 1))
    null[:, 0] = 1.0
    steps = 0
    for step in range(most_steps):
        steps = step + 1
        known = basis[:, :steps]
        vector = product(basis[:, step])
        overlap = known @ vector[:, :, None]
        vector = vector - (overlap.transpose(0, 2, 1) @ known)[:, 0]
        hessenberg[:, :steps, step] = overlap[:, :, 0]
        length = np.linalg.norm(vector, axis=1)
        hessenberg[:, steps, step] = length
        basis[:, steps] = vector / (length + tiny)[:, None]
        along = np.einsum("bi,bi->b", null[:, :steps], hessenberg[:, :steps, step])
        # An invariant subspace (length 0) means an exact solution: null becomes huge and the row counts as done.
        null[:, steps] = np.clip(-along / (length + tiny), -1e100, 1e100)
        if np.all(relative * np.linalg.norm(null[:, : steps + 1], axis=1) >= 1.0):
            break
    orthogonal, triangular = np.linalg.qr(hessenberg[:, : steps + 1, :steps])
    target = orthogonal[:, 0, :] * norm[:, None]
    # A row that was done early has a zero pivot at its end; the part beyond it is left out by making it infinite.
    pivots = np.abs(np.diagonal(triangular, axis1=1, axis2=2))
    dead = pivots <= 1e-14 * pivots.max(axis=1, keepdims=True)
    dead = np.logical_or.accumulate(dead, axis=1)
    target[dead] = 0.0
    rows, entries = np.nonzero(dead)
    triangular[rows, entries, :] = 0.0
    triangular[rows, :, entries] = 0.0
    triangular[rows, entries, entries] = 1.0
    weights = np.linalg.solve(triangular, target[:, :, None])
    return np.asarray((weights.transpose(0, 2, 1) @ basis[:, :steps])[:, 0])
