"""Node voltages of a crossbar by conjugate gradients on the bit lines, preconditioned by line solves.

With D the cell conductances and L_w, L_b the line Laplacians, the word-line nodes are eliminated: the bit-line nodes
obey S b = rhs, S = M - D (L_w + D)^-1 D, M = L_b + D. Conjugate gradients preconditioned by M (one ladder solve per
bit line) see a spectrum inside [1 - a^2, 1], a < 1 (Concus, Golub & O'Leary 1976), so few iterations are needed. M p
is carried by recurrence and the inner product r.M^-1.r is summed from the eliminated currents, so L_b is never formed
and wires of zero resistance need no case of their own. Each iteration is two sweeps over the array: down it (update,
eliminate) and up it (substitute, new direction, word lines), which is all the memory traffic there is.
"""

import math

import numpy as np
from numba import njit

from emulators.nodal.lines import FLAGS, factor_bit_lines, factor_word_lines, solve_word_lines


@njit(cache=True, nogil=True, fastmath=FLAGS)
def _bit_voltages(f, rb, cb, kb, hb, v):  # type: ignore[no-untyped-def]
    """Turn eliminated currents f into bit-line voltages, in place."""
    m, n = f.shape
    for j in range(n):
        f[m - 1, j] = kb[j] * v[j] + hb[j] * f[m - 1, j]
    for i in range(m - 2, -1, -1):
        for j in range(n):
            f[i, j] = cb[i, j] * (f[i + 1, j] + rb * f[i, j])


@njit(cache=True, nogil=True, fastmath=FLAGS)
def _word_voltages(g, b, source, rw, cw, kw, hw, v, norton, w):  # type: ignore[no-untyped-def]
    """w = word-line voltages, given bit-line voltages b and the cells' source currents (0 or as many as cells)."""
    m, n = g.shape
    for start in range(0, m, 4):
        count = min(4, m - start)
        for i in range(start, start + count):
            for j in range(n):
                w[i, j] = g[i, j] * b[i, j]
            if source.shape[0] > 0:
                for j in range(n):
                    w[i, j] -= source[i, j]
        solve_word_lines(w[start : start + count], start, count, rw, cw, kw, hw, v, norton)


@njit(cache=True, nogil=True, fastmath=FLAGS)
def _bit_elimination(g, w, source, cb, f):  # type: ignore[no-untyped-def]
    """f = eliminated currents of the bit lines, given word-line voltages w."""
    m, n = g.shape
    for i in range(m):
        for j in range(n):
            f[i, j] = g[i, j] * w[i, j]
        if source.shape[0] > 0:
            for j in range(n):
                f[i, j] += source[i, j]
        if i > 0:
            for j in range(n):
                f[i, j] += cb[i - 1, j] * f[i - 1, j]


@njit(cache=True, nogil=True, fastmath=FLAGS)
def _descend(alpha, cb, rb, hb, s, p, r, x, f):  # type: ignore[no-untyped-def]
    """x += alpha p, r -= alpha s, f = elimination of r; return r.M^-1.r."""
    m, n = r.shape
    rho = 0.0
    for i in range(m):
        for j in range(n):
            x[i, j] += alpha * p[i, j]
            r[i, j] -= alpha * s[i, j]
        if i == 0:
            for j in range(n):
                f[0, j] = r[0, j]
        else:
            for j in range(n):
                f[i, j] = r[i, j] + cb[i - 1, j] * f[i - 1, j]
        part = 0.0
        for j in range(n):
            part += cb[i, j] * f[i, j] * f[i, j]
        rho += rb * part
    for j in range(n):
        rho += hb[j] * f[m - 1, j] * f[m - 1, j]
    return rho


@njit(cache=True, nogil=True, fastmath=FLAGS)
def _ascend(beta, g, rw, rb, cw, kw, hw, cb, hb, f, r, p, q, s, z, u, zero, norton):  # type: ignore[no-untyped-def]
    """p = M^-1 r + beta p, q = r + beta q = M p, s = S p; return p.s."""
    m, n = g.shape
    ps = 0.0
    for j in range(n):
        z[j] = hb[j] * f[m - 1, j]
    top = m
    while top > 0:
        count = 4 if top >= 4 else top
        start = top - count
        for i in range(top - 1, start - 1, -1):
            if i < m - 1:
                for j in range(n):
                    z[j] = cb[i, j] * (z[j] + rb * f[i, j])
            k = i - start
            for j in range(n):
                new = z[j] + beta * p[i, j]
                p[i, j] = new
                q[i, j] = r[i, j] + beta * q[i, j]
                u[k, j] = g[i, j] * new
        solve_word_lines(u, start, count, rw, cw, kw, hw, zero, norton)
        for i in range(start, top):
            k = i - start
            part = 0.0
            for j in range(n):
                new = q[i, j] - g[i, j] * u[k, j]
                s[i, j] = new
                part += p[i, j] * new
            ps += part
        top = start
    return ps


@njit(cache=True, nogil=True, fastmath=FLAGS)
def solve_batch(  # type: ignore[no-untyped-def]
    conductances,
    sources,
    rw,
    rb,
    row_port,
    column_port,
    row_volts,
    column_volts,
    warm,
    tolerance,
    max_iterations,
    b_all,
    w_all,
    row_current,
    column_current,
    iterations,
    residuals,
    work,
):
    """Solve a batch of inputs, one after another, in one scratch set.

    ``conductances`` (1 or batch, rows, cols); ``sources`` (0 or batch, rows, cols), a current from word line to bit
    line in parallel with each cell; ``row_volts`` (batch, rows), ``column_volts`` (batch, cols). ``b_all`` and
    ``w_all`` (1 or batch, rows, cols) receive the node voltages; with ``warm``, ``b_all`` holds the first guess. Port
    currents *into* the ports go to ``row_current``, ``column_current``. The iteration ends when the error's energy
    norm, relative to that of the cells, is below ``tolerance``; ``residuals`` holds what was reached. ``work`` (7,
    rows, cols) is scratch.
    """
    batch, m = row_volts.shape
    n = column_volts.shape[1]
    cw = work[0, : m * n].reshape(m, n)
    cb = work[1, : m * n].reshape(m, n)
    r = work[2, : m * n].reshape(m, n)
    p = work[3, : m * n].reshape(m, n)
    q = work[4, : m * n].reshape(m, n)
    s = work[5, : m * n].reshape(m, n)
    f = work[6, : m * n].reshape(m, n)
    kw, hw, ew, norton = np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    kb, hb, eb, z = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    u = np.empty((4, n))
    zero = np.zeros(m)
    for item in range(batch):
        g = conductances[item if conductances.shape[0] > 1 else 0]
        source = sources[item] if sources.shape[0] > 0 else sources[0:0].reshape(0, n)
        x = b_all[item if b_all.shape[0] > 1 else 0]
        w = w_all[item if w_all.shape[0] > 1 else 0]
        vr = row_volts[item]
        vc = column_volts[item]
        if item == 0 or conductances.shape[0] > 1:
            factor_word_lines(g, rw, row_port, cw, kw, hw, ew)
            factor_bit_lines(g, rb, column_port, cb, kb, hb, eb)
        if not warm:
            for i in range(m):
                for j in range(n):
                    x[i, j] = vc[j]

        # One exact pass over both line families; the residual that it leaves is D (L_w + D)^-1 D (its change of b).
        _word_voltages(g, x, source, rw, cw, kw, hw, vr, norton, w)
        _bit_elimination(g, w, source, cb, f)
        _bit_voltages(f, rb, cb, kb, hb, vc)
        power = 0.0
        floor = 0.0
        for i in range(m):
            part = 0.0
            part_floor = 0.0
            for j in range(n):
                drop = w[i, j] - f[i, j]
                part += g[i, j] * drop * drop
                part_floor += g[i, j] * (w[i, j] * w[i, j] + f[i, j] * f[i, j])
                r[i, j] = g[i, j] * (f[i, j] - x[i, j])
                x[i, j] = f[i, j]
                p[i, j] = 0.0
                q[i, j] = 0.0
                s[i, j] = 0.0
            power += part
            floor += part_floor
        for start in range(0, m, 4):
            count = min(4, m - start)
            solve_word_lines(r[start : start + count], start, count, rw, cw, kw, hw, zero, norton)
            for i in range(start, start + count):
                for j in range(n):
                    r[i, j] *= g[i, j]
        target = max(tolerance * tolerance * power, 1e-31 * floor)
        rho = _descend(0.0, cb, rb, hb, s, p, r, x, f)
        beta = 0.0
        steps = 0
        while rho > target and steps < max_iterations:
            ps = _ascend(beta, g, rw, rb, cw, kw, hw, cb, hb, f, r, p, q, s, z, u, zero, norton)
            if not ps > 0.0:
                break
            previous = rho
            rho = _descend(rho / ps, cb, rb, hb, s, p, r, x, f)
            beta = rho / previous
            steps += 1
        iterations[item] = steps
        if rho > target:
            residuals[item] = math.sqrt(rho / power) if power > 0.0 else np.inf
        else:
            residuals[item] = math.sqrt(rho / power) if power > 0.0 else 0.0

        # A last exact pass gains another factor and leaves every line's own equations solved to rounding.
        _word_voltages(g, x, source, rw, cw, kw, hw, vr, norton, w)
        for i in range(m):
            row_current[item, i] = kw[i] * (norton[i] - ew[i] * vr[i])
        _bit_elimination(g, w, source, cb, x)
        for j in range(n):
            column_current[item, j] = kb[j] * (x[m - 1, j] - eb[j] * vc[j])
        _bit_voltages(x, rb, cb, kb, hb, vc)
