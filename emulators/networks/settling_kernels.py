"""Equilibria of small networks, one sample after another, compiled.

Node vectors are ordered [pivot | other] (``CurrentModeNetwork``): with p pivot and m other nodes, ``to_other`` is
(p, m), ``to_pivot`` is (m, p). The pivot's own fixed point is x = F(x) = f(f(x) A + d_other) B + d_pivot with A =
``to_other`` and B = ``to_pivot``; its Jacobian, in the row convention dF = dx M, is M = D_x A D_o B with D = diag f'.

The dynamics are followed by the Bogacki-Shampine pair (Bogacki & Shampine 1989), the fixed point by Broyden's method
with the exact (1 - M)^-1 to begin with (Broyden 1965, in Sherman-Morrison form).
"""

import numpy as np
from numba import njit

INTEGRATION_ERROR = 3e-4
"""Largest error of one step of the dynamics, activity units."""

RELATIVE_ERROR = 0.1
"""The same in units of the residual, which passages near unstable equilibria and slow approaches need."""

LARGEST_STEP = 2.0
"""Of the dynamics, in node time constants."""

HANDOVER_RESIDUAL = 0.1
"""Residual under which the fixed point is tried for the first time."""

RETRY = 0.3
"""What the residual must fall to, relative to a trial that failed, before the next."""

FIRST_CONTRACTION = 0.2
"""Largest ratio of second to first step of a trial: it then starts well inside the region of quadratic convergence."""

CONTRACTION = 0.5
"""Largest ratio of two steps later on."""

REACH = 0.3
"""Farthest that a trial may end from where it started, activity units."""

ITERATIONS = 30
"""Of one trial, at most."""

JUMP = 0.2
"""A departure from the extrapolated state, in activity units, that no smooth branch makes within a step of a walk."""

SQUARINGS = 6
"""Of M, before its spectral radius is taken to be no quick answer."""

CAYLEY_SQUARINGS = 24
"""Of the Cayley transform: growth rates down to about 1e-7 are told apart."""


@njit(cache=True, nogil=True, error_model="numpy")
def _tanh(z):  # type: ignore[no-untyped-def]
    """Hyperbolic tangent to 2e-14 absolute, without calls or branches, so that loops over it run on vector units.

    exp(-y), y = 2 |z|, is the 256th power of its Taylor polynomial at y/256; beyond y = 40 the tangent is 1.
    """
    y = min(2.0 * abs(z), 40.0)
    r = y * (-1.0 / 256.0)
    e = 1.0 + r * (
        1.0 + r * (1.0 / 2 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720 + r * (1.0 / 5040))))))
    )
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    t = (1.0 - e) / (1.0 + e)
    return t if z >= 0.0 else -t


@njit(cache=True, nogil=True, error_model="numpy")
def _activate(kind, gain, offset, swing, u, s, first, last):  # type: ignore[no-untyped-def]
    """Activities of the nodes ``first`` to ``last``; ``kind`` as in ``neurons.KERNEL_KINDS``."""
    if kind == 0:
        for i in range(first, last):
            s[i] = swing[i] * _tanh(gain[i] * (u[i] + offset[i]))
    elif kind == 1:
        for i in range(first, last):
            s[i] = swing[i] * 0.5 * (1.0 + _tanh(2.0 * gain[i] * (u[i] + offset[i]) - 1.0))
    else:
        for i in range(first, last):
            x = 4.0 * gain[i] * (u[i] + offset[i])
            s[i] = swing[i] * 0.25 * (max(x, 0.0) + np.log1p(np.exp(-abs(x))))


@njit(cache=True, nogil=True, error_model="numpy")
def _slopes(kind, gain, offset, swing, u, d):  # type: ignore[no-untyped-def]
    for i in range(u.shape[0]):
        z = gain[i] * (u[i] + offset[i])
        if kind == 0:
            t = _tanh(z)
            d[i] = swing[i] * gain[i] * (1.0 - t * t)
        elif kind == 1:
            t = _tanh(2.0 * z - 1.0)
            d[i] = swing[i] * gain[i] * (1.0 - t * t)
        else:
            d[i] = swing[i] * gain[i] * 0.5 * (1.0 + _tanh(2.0 * z))


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(weights, s, first, out, begin):  # type: ignore[no-untyped-def]
    """Add s @ weights to ``out`` from ``begin`` on; s counts from ``first``."""
    rows, columns = weights.shape
    target = out[begin : begin + columns]
    for i in range(rows):
        scale = s[first + i]
        row = weights[i]
        for j in range(columns):
            target[j] += scale * row[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _force(net, u, drive, s, out):  # type: ignore[no-untyped-def]
    """-u + W f(u) + drive into ``out``; its largest magnitude. ``s`` is scratch."""
    kind, gain, offset, swing, to_other, to_pivot = net
    p, n = to_other.shape[0], u.shape[0]
    _activate(kind, gain, offset, swing, u, s, 0, n)
    for i in range(n):
        out[i] = drive[i] - u[i]
    _spread(to_other, s, 0, out, p)
    _spread(to_pivot, s, p, out, 0)
    largest = 0.0
    for i in range(n):
        size = abs(out[i])
        # Written so that a NaN wins.
        if not size <= largest:
            largest = size
    return largest


@njit(cache=True, nogil=True, error_model="numpy")
def _pivot_force(net, u, drive, s, out):  # type: ignore[no-untyped-def]
    """Complete ``u`` from its pivot part; F(x) - x into ``out`` (p,); its largest magnitude. ``s`` is scratch."""
    kind, gain, offset, swing, to_other, to_pivot = net
    p, n = to_other.shape[0], u.shape[0]
    _activate(kind, gain, offset, swing, u, s, 0, p)
    for i in range(p, n):
        u[i] = drive[i]
    _spread(to_other, s, 0, u, p)
    _activate(kind, gain, offset, swing, u, s, p, n)
    for i in range(p):
        out[i] = drive[i] - u[i]
    _spread(to_pivot, s, p, out, 0)
    largest = 0.0
    for i in range(p):
        size = abs(out[i])
        if not size <= largest:
            largest = size
    return largest


@njit(cache=True, nogil=True, error_model="numpy")
def _jacobian(net, u, slope, matrix):  # type: ignore[no-untyped-def]
    """M at ``u`` into ``matrix`` (p, p); ``slope`` (n,) is filled."""
    kind, gain, offset, swing, to_other, to_pivot = net
    p, m = to_other.shape
    _slopes(kind, gain, offset, swing, u, slope)
    for i in range(p):
        row = matrix[i]
        row[:] = 0.0
        for k in range(m):
            scale = slope[i] * to_other[i, k] * slope[p + k]
            source = to_pivot[k]
            for j in range(p):
                row[j] += scale * source[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _invert(matrix, out):  # type: ignore[no-untyped-def]
    """Inverse of ``matrix`` (destroyed) into ``out`` by Gauss-Jordan; its determinant's sign, 0 if it is singular."""
    n = matrix.shape[0]
    sign = 1.0
    out[:] = 0.0
    for i in range(n):
        out[i, i] = 1.0
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(matrix[i, k]) > abs(matrix[best, k]):
                best = i
        pivot = matrix[best, k]
        if not abs(pivot) > 1e-14:
            return 0.0
        if best != k:
            sign = -sign
            for j in range(n):
                matrix[k, j], matrix[best, j] = matrix[best, j], matrix[k, j]
                out[k, j], out[best, j] = out[best, j], out[k, j]
        if pivot < 0.0:
            sign = -sign
        scale = 1.0 / pivot
        for j in range(n):
            matrix[k, j] *= scale
            out[k, j] *= scale
        for i in range(n):
            factor = matrix[i, k]
            if i != k and factor != 0.0:
                for j in range(n):
                    matrix[i, j] -= factor * matrix[k, j]
                    out[i, j] -= factor * out[k, j]
    return sign


@njit(cache=True, nogil=True, error_model="numpy")
def _dies_out(matrix, work, squarings):  # type: ignore[no-untyped-def]
    """Whether repeated squaring (of ``matrix``, destroyed) shows a spectral radius under 1: a norm of a power is."""
    n = matrix.shape[0]
    for step in range(squarings + 1):
        total = 0.0
        for i in range(n):
            for j in range(n):
                total += matrix[i, j] * matrix[i, j]
        if total < 1.0:
            return True
        if step == squarings or not total < 1e200:
            return False
        for i in range(n):
            row = work[i]
            row[:] = 0.0
            for k in range(n):
                scale = matrix[i, k]
                source = matrix[k]
                for j in range(n):
                    row[j] += scale * source[j]
        matrix, work = work, matrix
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _stable(net, slope, matrix, work, inverse):  # type: ignore[no-untyped-def]
    """Whether all eigenvalues of W diag f' have real parts under 1; ``matrix`` holds M and is destroyed.

    The eigenvalues of W diag f' are the square roots of M's. A spectral radius of M under 1 settles it quickly, and so
    does a negative det(1 - M), an odd number of real eigenvalues beyond 1. Else the Cayley transform K (2 - K)^-1 of
    K = W diag f' decides: its spectral radius is under 1 exactly if every real part is under 1.
    """
    p = matrix.shape[0]
    for i in range(p):
        for j in range(p):
            work[i, j] = (1.0 if i == j else 0.0) - matrix[i, j]
    if not _invert(work, inverse) > 0.0:
        return False
    if _dies_out(matrix, work, SQUARINGS):
        return True
    to_other, to_pivot = net[4], net[5]
    n = slope.shape[0]
    full = np.zeros((n, n))
    shifted = np.zeros((n, n))
    inverted = np.zeros((n, n))
    for i in range(p):
        for k in range(n - p):
            full[i, p + k] = slope[i] * to_other[i, k]
            full[p + k, i] = slope[p + k] * to_pivot[k, i]
    for i in range(n):
        for j in range(n):
            shifted[i, j] = (2.0 if i == j else 0.0) - full[i, j]
    if _invert(shifted, inverted) == 0.0:
        return False
    for i in range(n):
        shifted[i, :] = 0.0
        for k in range(n):
            for j in range(n):
                shifted[i, j] += full[i, k] * inverted[k, j]
    return _dies_out(shifted, full, CAYLEY_SQUARINGS)


@njit(cache=True, nogil=True, error_model="numpy")
def _broyden(net, u, drive, tolerance, first_contraction, inverse, scratch, s):  # type: ignore[no-untyped-def]
    """Broyden's method from the pivot part of ``u`` with ``inverse`` ~ (1 - M)^-1, which is updated.

    Returns:
        (whether it converged by steps that contract, residual, size of the first step); ``u`` is complete.
    """
    p = inverse.shape[0]
    force, step, after, image = scratch[0], scratch[1], scratch[2], scratch[3]
    residual = _pivot_force(net, u, drive, s, force)
    first = 0.0
    if residual <= tolerance:
        return True, residual, first
    step[:] = 0.0
    _spread(inverse, force, 0, step, 0)
    for j in range(p):
        first = max(first, abs(step[j]))
    bound = first_contraction
    for _ in range(ITERATIONS):
        for j in range(p):
            u[j] += step[j]
        residual = _pivot_force(net, u, drive, s, force)
        if residual <= tolerance:
            return True, residual, first
        if not np.isfinite(residual):
            return False, residual, first
        after[:] = 0.0
        _spread(inverse, force, 0, after, 0)
        own = cross = new = 0.0
        for j in range(p):
            own += step[j] * step[j]
            cross += step[j] * after[j]
            new += after[j] * after[j]
        # Rounding keeps the last steps from shrinking further: there the residual alone decides.
        if new > bound * bound * own and new > 1e-24:
            return False, residual, first
        bound = CONTRACTION
        denominator = own - cross
        for i in range(p):
            total = 0.0
            for j in range(p):
                total += inverse[i, j] * step[j]
            image[i] = total / denominator
        for i in range(p):
            scale = image[i]
            for j in range(p):
                inverse[i, j] += scale * after[j]
        scale = own / denominator
        for j in range(p):
            step[j] = scale * after[j]
    return False, residual, first


@njit(cache=True, nogil=True, error_model="numpy")
def _settle_one(net, u, drive, tolerance, most_steps, room):  # type: ignore[no-untyped-def]
    """Follow the dynamics from ``u`` to rest; (whether a stable state within tolerance was reached, residual).

    ``room`` is scratch: (7, n), (5, p, p), of which the last two are left alone, and (4, p).
    """
    vectors, matrices, scratch = room
    n, p = u.shape[0], matrices.shape[1]
    k1, k2, k3, k4, trial, s, slope = (
        vectors[0],
        vectors[1],
        vectors[2],
        vectors[3],
        vectors[4],
        vectors[5],
        vectors[6],
    )
    residual = _force(net, u, drive, s, k1)
    threshold = HANDOVER_RESIDUAL
    h = 0.25
    for _ in range(most_steps):
        if residual > HANDOVER_RESIDUAL:
            threshold = HANDOVER_RESIDUAL
        if residual <= threshold:
            trial[:] = u
            _jacobian(net, u, slope, matrices[0])
            for i in range(p):
                for j in range(p):
                    matrices[1, i, j] = (1.0 if i == j else 0.0) - matrices[0, i, j]
            if _invert(matrices[1], matrices[2]) > 0.0:
                good, found, _ = _broyden(net, trial, drive, tolerance, FIRST_CONTRACTION, matrices[2], scratch, s)
                if good:
                    distance = 0.0
                    for i in range(n):
                        distance = max(distance, abs(trial[i] - u[i]))
                    if distance <= REACH:
                        _jacobian(net, trial, slope, matrices[0])
                        if _stable(net, slope, matrices[0], matrices[1], matrices[2]):
                            u[:] = trial
                            return True, found
            threshold = RETRY * residual
        for i in range(n):
            trial[i] = u[i] + 0.5 * h * k1[i]
        _force(net, trial, drive, s, k2)
        for i in range(n):
            trial[i] = u[i] + 0.75 * h * k2[i]
        _force(net, trial, drive, s, k3)
        for i in range(n):
            trial[i] = u[i] + h * (2.0 / 9.0 * k1[i] + 1.0 / 3.0 * k2[i] + 4.0 / 9.0 * k3[i])
        after = _force(net, trial, drive, s, k4)
        error = 0.0
        for i in range(n):
            error = max(
                error, abs(h * (-5.0 / 72.0 * k1[i] + 1.0 / 12.0 * k2[i] + 1.0 / 9.0 * k3[i] - 1.0 / 8.0 * k4[i]))
            )
        allowed = min(INTEGRATION_ERROR, RELATIVE_ERROR * residual)
        if error <= allowed:
            u[:] = trial
            k1[:] = k4
            residual = after
        h = min(h * min(4.0, max(0.2, 0.9 * (allowed / max(error, 1e-300)) ** (1.0 / 3.0))), LARGEST_STEP)
    return False, residual


@njit(cache=True, nogil=True, error_model="numpy")
def _room(n, p):  # type: ignore[no-untyped-def]
    return np.empty((7, n)), np.empty((5, p, p)), np.empty((4, p))


@njit(cache=True, nogil=True, error_model="numpy")
def settle_batch(net, u, drive, tolerance, most_steps, residual, settled):  # type: ignore[no-untyped-def]
    """Settle every row of ``u`` (batch, n) in place; fill ``residual`` and ``settled`` (batch,)."""
    room = _room(u.shape[1], net[4].shape[0])
    for b in range(u.shape[0]):
        settled[b], residual[b] = _settle_one(net, u[b], drive[b], tolerance, most_steps, room)


@njit(cache=True, nogil=True, error_model="numpy")
def stable_batch(net, u, out):  # type: ignore[no-untyped-def]
    """Stability of every row of ``u`` (batch, n) into ``out`` (batch,)."""
    vectors, matrices, _ = _room(u.shape[1], net[4].shape[0])
    for b in range(u.shape[0]):
        _jacobian(net, u[b], vectors[0], matrices[0])
        out[b] = _stable(net, vectors[0], matrices[0], matrices[1], matrices[2])


@njit(cache=True, nogil=True, error_model="numpy")
def walk_batch(net, free, drive, nudge, values, order, mix, tolerance, most_steps, states, residual, unbroken):  # type: ignore[no-untyped-def]
    """Follow the branch of every sample from its free state outwards.

    Args:
        net: the network.
        free: (batch, n) states at nudge zero.
        drive: (batch, n).
        nudge: (batch, n) peak nudge.
        values: (count,), the nudge's factors.
        order: visiting order of ``values``, outwards.
        mix: (count, 2 + count): weights of the free state, its derivative and the visits before in the prediction of a
            visit's state.
        tolerance: on residuals.
        most_steps: of the dynamics.
        states: (count, batch, n), filled.
        residual: (batch,), the largest met.
        unbroken: (batch,), whether the branch held.
    """
    batch, n = free.shape
    p = net[4].shape[0]
    room = _room(n, p)
    vectors, matrices, scratch = room
    slope, s, shifted, tangent = vectors[6], vectors[5], np.empty(n), np.empty(p)
    guess = np.empty(p)
    ends = np.empty(2, np.int64)
    inverses = matrices[3:5]
    for b in range(batch):
        _jacobian(net, free[b], slope, matrices[0])
        for i in range(p):
            for j in range(p):
                matrices[1, i, j] = (1.0 if i == j else 0.0) - matrices[0, i, j]
        held = _invert(matrices[1], inverses[0]) != 0.0
        inverses[1] = inverses[0]
        # dx/dbeta = (nudge_pivot + nudge_other D_o B) (1 - M)^-1.
        for i in range(p):
            guess[i] = nudge[b, i]
        for k in range(p, n):
            shifted[k] = nudge[b, k] * slope[k]
        _spread(net[5], shifted, p, guess, 0)
        tangent[:] = 0.0
        _spread(inverses[0], guess, 0, tangent, 0)
        ends[:] = -1
        worst = 0.0
        for visit in range(order.shape[0]):
            at = order[visit]
            factor = values[at]
            side = 0 if factor > 0.0 else 1
            u = states[at, b]
            for i in range(n):
                shifted[i] = drive[b, i] + factor * nudge[b, i]
            before = free[b] if ends[side] < 0 else states[ends[side], b]
            ends[side] = at
            if held:
                for i in range(p):
                    u[i] = mix[visit, 0] * free[b, i] + mix[visit, 1] * tangent[i]
                for past in range(visit):
                    scale = mix[visit, 2 + past]
                    if scale != 0.0:
                        source = states[order[past], b]
                        for i in range(p):
                            u[i] += scale * source[i]
                expected = 0.0
                for i in range(p):
                    guess[i] = u[i]
                    expected = max(expected, abs(u[i] - before[i]))
                good, found, first = _broyden(net, u, shifted, tolerance, CONTRACTION, inverses[side], scratch, s)
                good = good and first <= JUMP + 0.5 * expected
                if good and visit >= order.shape[0] - 2:
                    _jacobian(net, u, slope, matrices[0])
                    good = _stable(net, slope, matrices[0], matrices[1], matrices[2])
                if good:
                    worst = max(worst, found)
                    continue
            u[:] = before
            good, found = _settle_one(net, u, shifted, tolerance, most_steps, room)
            worst = max(worst, found)
            if held:
                departure = 0.0
                for i in range(p):
                    departure = max(departure, abs(u[i] - guess[i]))
                held = good and departure <= JUMP + 2.0 * expected
                if held:
                    _jacobian(net, u, slope, matrices[0])
                    for i in range(p):
                        for j in range(p):
                            matrices[1, i, j] = (1.0 if i == j else 0.0) - matrices[0, i, j]
                    held = _invert(matrices[1], inverses[side]) != 0.0
        residual[b] = worst
        unbroken[b] = held
