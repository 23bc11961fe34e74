"""Line solves: every word line and bit line is a ladder with one port, solved in series-resistance form.

A line is a chain of segments with its port at one end and an open far end; the cells hang on its nodes. Its equations
are eliminated from the far end towards the port (a tridiagonal solve). Written with *resistances*,

    E_k = D_k + E_far c_far,  c_k = 1 / (1 + rho_k E_k),  I_k = s_k + c_far I_far,  v_k = c_k (v_near + rho_k I_k),

where E_k is the admittance and I_k the Norton current seen from node k looking away from the port, D_k the cell's
conductance, s_k the current injected and rho_k the resistance towards the port. There is no subtraction (so no loss of
digits however stiff the wires) and no division by a resistance (so a resistance may be zero). At the port,

    v = k V + h I,  k = 1 / (1 + R E),  h = R / (1 + R E),  and for a floating line (R infinite) k = 0, h = 1 / E.

These are the pivots of Thomas's algorithm in subtraction-free form (Higham, Accuracy and Stability of Numerical
Algorithms, section 9.6).
"""

import numpy as np
from numba import njit

# Fused multiply-add and vector sums, but infinities keep their meaning; no check for division by zero, which would
# keep loops from being vectorised.
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@compiled
def head(resistance, admittance):  # type: ignore[no-untyped-def]
    """Return (k, h) of the port's equation v = k V + h I."""
    if np.isinf(resistance):
        return 0.0, 1.0 / admittance
    k = 1.0 / (1.0 + resistance * admittance)
    return k, resistance * k


@compiled
def factor_word_lines(g, rw, port, cw, kw, hw, ew):  # type: ignore[no-untyped-def]
    """Fill the factors of the word lines (port at column 0): cw (rows, cols); kw, hw, ew (rows,).

    Return the least share of its port's voltage that a far end has, all cells being grounded.
    """
    m, n = g.shape
    least = np.inf
    i = 0
    while i + 4 <= m:  # four lines at a time hide the latency of the division
        e0, e1, e2, e3 = g[i, n - 1], g[i + 1, n - 1], g[i + 2, n - 1], g[i + 3, n - 1]
        t0, t1, t2, t3 = 1.0, 1.0, 1.0, 1.0
        for j in range(n - 1, 0, -1):
            c0 = 1.0 / (1.0 + rw * e0)
            c1 = 1.0 / (1.0 + rw * e1)
            c2 = 1.0 / (1.0 + rw * e2)
            c3 = 1.0 / (1.0 + rw * e3)
            cw[i, j] = c0
            cw[i + 1, j] = c1
            cw[i + 2, j] = c2
            cw[i + 3, j] = c3
            e0 = g[i, j - 1] + e0 * c0
            e1 = g[i + 1, j - 1] + e1 * c1
            e2 = g[i + 2, j - 1] + e2 * c2
            e3 = g[i + 3, j - 1] + e3 * c3
            t0 *= c0
            t1 *= c1
            t2 *= c2
            t3 *= c3
        ew[i], ew[i + 1], ew[i + 2], ew[i + 3] = e0, e1, e2, e3
        kw[i], kw[i + 1], kw[i + 2], kw[i + 3] = t0, t1, t2, t3
        i += 4
    while i < m:
        e = g[i, n - 1]
        t = 1.0
        for j in range(n - 1, 0, -1):
            c = 1.0 / (1.0 + rw * e)
            cw[i, j] = c
            e = g[i, j - 1] + e * c
            t *= c
        ew[i] = e
        kw[i] = t
        i += 1
    for i in range(m):
        cw[i, 0] = 0.0
        t = kw[i]
        kw[i], hw[i] = head(port[i], ew[i])
        least = min(least, t * kw[i])
    return least


@compiled
def factor_bit_lines(g, rb, port, cb, kb, hb, eb):  # type: ignore[no-untyped-def]
    """Fill the factors of the bit lines (port at the last row): cb (rows, cols); kb, hb, eb (cols,).

    Return what ``factor_word_lines`` returns.
    """
    m, n = g.shape
    least = np.inf
    for j in range(n):
        eb[j] = g[0, j]
        kb[j] = 1.0
    for i in range(m - 1):
        for j in range(n):
            cb[i, j] = 1.0 / (1.0 + rb * eb[j])
        for j in range(n):
            eb[j] = g[i + 1, j] + eb[j] * cb[i, j]
            kb[j] *= cb[i, j]
    for j in range(n):
        cb[m - 1, j] = 0.0
        t = kb[j]
        kb[j], hb[j] = head(port[j], eb[j])
        least = min(least, t * kb[j])
    return least


@compiled
def solve_word_lines(u, start, count, rw, cw, kw, hw, v, norton):  # type: ignore[no-untyped-def]
    """Turn injected currents u[:count] of the word lines start.. into node voltages, in place.

    ``u`` is (4 or fewer, cols or more); ``v`` holds the port voltages (rows,); the Norton current at the port node goes
    to ``norton`` (rows,).
    """
    n = cw.shape[1]
    if count == 4:  # four lines at a time hide the latency of the recurrences
        i0, i1, i2, i3 = start, start + 1, start + 2, start + 3
        a0, a1, a2, a3 = u[0, n - 1], u[1, n - 1], u[2, n - 1], u[3, n - 1]
        for j in range(n - 2, -1, -1):
            a0 = u[0, j] + cw[i0, j + 1] * a0
            a1 = u[1, j] + cw[i1, j + 1] * a1
            a2 = u[2, j] + cw[i2, j + 1] * a2
            a3 = u[3, j] + cw[i3, j + 1] * a3
            u[0, j] = a0
            u[1, j] = a1
            u[2, j] = a2
            u[3, j] = a3
        norton[i0], norton[i1], norton[i2], norton[i3] = a0, a1, a2, a3
        a0 = kw[i0] * v[i0] + hw[i0] * a0
        a1 = kw[i1] * v[i1] + hw[i1] * a1
        a2 = kw[i2] * v[i2] + hw[i2] * a2
        a3 = kw[i3] * v[i3] + hw[i3] * a3
        u[0, 0], u[1, 0], u[2, 0], u[3, 0] = a0, a1, a2, a3
        for j in range(1, n):
            c0, c1, c2, c3 = cw[i0, j], cw[i1, j], cw[i2, j], cw[i3, j]
            a0 = c0 * a0 + c0 * (rw * u[0, j])
            a1 = c1 * a1 + c1 * (rw * u[1, j])
            a2 = c2 * a2 + c2 * (rw * u[2, j])
            a3 = c3 * a3 + c3 * (rw * u[3, j])
            u[0, j] = a0
            u[1, j] = a1
            u[2, j] = a2
            u[3, j] = a3
        return
    for q in range(count):
        i = start + q
        a = u[q, n - 1]
        for j in range(n - 2, -1, -1):
            a = u[q, j] + cw[i, j + 1] * a
            u[q, j] = a
        norton[i] = a
        a = kw[i] * v[i] + hw[i] * a
        u[q, 0] = a
        for j in range(1, n):
            c = cw[i, j]
            a = c * a + c * (rw * u[q, j])
            u[q, j] = a
