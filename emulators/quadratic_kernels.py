"""Quadratic forms of symmetric matrices, compiled."""

from numba import njit


# The order in which a sum is taken is left to the compiler, so that it runs on vector units.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def symmetric_form(matrix, vectors):  # type: ignore[no-untyped-def]
    """Sum of v^T M v over vectors (vector, line); of the symmetric M (line, line) the lower half alone is read."""
    total = 0.0
    for line in range(len(matrix)):
        row = matrix[line]
        for index in range(len(vectors)):
            vector = vectors[index]
            below = 0.0
            for other in range(line):
                below += row[other] * vector[other]
            total += vector[line] * (2.0 * below + row[line] * vector[line])
    return total
