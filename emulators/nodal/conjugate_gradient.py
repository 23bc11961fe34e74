"""Node voltages of a crossbar by conjugate gradients on the bit lines, preconditioned by line solves.

With D the cell conductances and L_w, L_b the line Laplacians, the word-line nodes are eliminated: the bit-line nodes
obey S b = rhs, S = M - D (L_w + D)^-1 D, M = L_b + D. Conjugate gradients preconditioned by M (one ladder solve per
bit line) see a spectrum inside [1 - a^2, 1], a < 1 (Concus, Golub & O'Leary 1976), so few iterations are needed. M p
is carried by recurrence and the inner product r.M^-1.r is summed from the eliminated currents, so L_b is never formed
and wires of zero resistance need no case of their own. Each iteration is two sweeps over the array: down it (update,
eliminate) and up it (substitute, new direction, word lines), which is all the memory traffic there is.

Eliminating the residual r for r.M^-1.r prepares the correction M^-1 r of the bit lines. With it, all nodes together are
within sqrt(a^2 / (1 - a^2) r.M^-1.r) of the solution in the energy norm: with N = D (L_w + D)^-1 D = M - S, the error
left in the bit lines, M^-1 N S^-1 r, has at most a^4 / (1 - a^2) of r.M^-1.r, the error of the word lines behind it at
most a^2. And a^2, the spectral radius of M^-1 N, is at most (1 - t_w)(1 - t_b), where t is the least share of a port's
voltage that the far end of its line has with all cells grounded: these are the largest row sums of (L_w + D)^-1 D and
(L_b + D)^-1 D, which have no negative entries. In short lines the first check therefore often ends the solve.
"""

import math

import numpy as np

from emulators.nodal.lines import compiled, factor_bit_lines, factor_word_lines, solve_word_lines
from emulators.nodal.recycling import coarsen, coarsen_rows, correct_start

ROUNDING = 1e-14
"""Share of the node voltages below which the drop across the cells is not resolved (all ports at one voltage)."""
MOST_RELIEF = 1e6
"""At most so many times the tolerance's power may r.M^-1.r be (lines without resistance would allow any residual)."""
CARRY_LIMIT = 1 << 17
"""Cells up to which word lines are carried along: beyond, the caches are too small for it to pay (measured)."""


@compiled
def _word_pass(g, x, source, rw, cw, kw, hw, volts, cb, norton, w, f):  # type: ignore[no-untyped-def]
    """Word-line voltages w, given bit-line voltages x, and the eliminated currents f of the bit lines, given w.

    ``source`` holds the cells' source currents, or nothing. x and f may be one array.
    """
    m, n = g.shape
    curved = source.shape[0] > 0
    for start in range(0, m, 4):
        count = min(4, m - start)
        for i in range(start, start + count):
            for j in range(n):
                w[i, j] = g[i, j] * x[i, j]
            if curved:
                for j in range(n):
                    w[i, j] -= source[i, j]
        solve_word_lines(w[start : start + count], start, count, rw, cw, kw, hw, volts, norton)
        for i in range(start, start + count):
            for j in range(n):
                f[i, j] = g[i, j] * w[i, j]
            if curved:
                for j in range(n):
                    f[i, j] += source[i, j]
            if i > 0:
                for j in range(n):
                    f[i, j] += cb[i - 1, j] * f[i - 1, j]


@compiled
def _bit_pass(f, rb, cb, kb, hb, volts, x):  # type: ignore[no-untyped-def]
    """Bit-line voltages x from the eliminated currents f; they may be one array."""
    m, n = f.shape
    for j in range(n):
        x[m - 1, j] = kb[j] * volts[j] + hb[j] * f[m - 1, j]
    for i in range(m - 2, -1, -1):
        for j in range(n):
            x[i, j] = cb[i, j] * (x[i + 1, j] + rb * f[i, j])


@compiled
def _bit_elimination(g, w, source, cb, f):  # type: ignore[no-untyped-def]
    """Fill f with the eliminated currents of the bit lines, given word-line voltages w."""
    m, n = g.shape
    curved = source.shape[0] > 0
    for i in range(m):
        if i == 0:
            for j in range(n):
                f[0, j] = g[0, j] * w[0, j]
        else:
            for j in range(n):
                f[i, j] = g[i, j] * w[i, j] + cb[i - 1, j] * f[i - 1, j]
        if curved:
            for j in range(n):
                f[i, j] += source[i, j]


@compiled
def _first_residual(  # type: ignore[no-untyped-def]
    g, source, rw, rb, cw, kw, hw, cb, kb, hb, row_volts, column_volts, f, norton, z, u, w, x, r
):
    """Solve the bit lines (x, from f), then the word lines (w, given x); r = D (what that changes in w).

    f and x may be one array. Returns the power in the cells, and the power that the voltages themselves would have
    there (a scale for rounding).
    """
    m, n = g.shape
    power = 0.0
    floor = 0.0
    curved = source.shape[0] > 0
    for j in range(n):
        z[j] = kb[j] * column_volts[j] + hb[j] * f[m - 1, j]
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
                x[i, j] = z[j]
                u[k, j] = g[i, j] * z[j]
            if curved:
                for j in range(n):
                    u[k, j] -= source[i, j]
        solve_word_lines(u, start, count, rw, cw, kw, hw, row_volts, norton)
        for i in range(start, top):
            k = i - start
            part = 0.0
            part_floor = 0.0
            for j in range(n):
                drop = u[k, j] - x[i, j]
                part += g[i, j] * drop * drop
                part_floor += g[i, j] * (u[k, j] * u[k, j] + x[i, j] * x[i, j])
                r[i, j] = g[i, j] * (u[k, j] - w[i, j])
                w[i, j] = u[k, j]
            power += part
            floor += part_floor
        top = start
    return power, floor


@compiled
def _descend(first, alpha, cb, rb, hb, s, p, r, x, f, drop, w):  # type: ignore[no-untyped-def]
    """x += alpha p, r -= alpha s unless this is the first; f = elimination of r; return r.M^-1.r.

    Where ``w`` is given, it follows: w += alpha (drop + p).
    """
    m, n = r.shape
    rho = 0.0
    for i in range(m):
        if not first:
            for j in range(n):
                x[i, j] += alpha * p[i, j]
                r[i, j] -= alpha * s[i, j]
            if w.shape[0] > 0:
                for j in range(n):
                    w[i, j] += alpha * (drop[i, j] + p[i, j])
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


@compiled
def _ascend(  # type: ignore[no-untyped-def]
    first, beta, g, rw, rb, cw, kw, hw, cb, hb, f, r, p, q, s, z, u, zero, norton, drop, coarse
):
    """p = M^-1 r + beta p, q = r + beta q = M p, s = S p; return p.s. The first time p and q are not read.

    Where they are given, ``drop`` receives the cell voltages that go with p, and ``coarse`` the word-line voltages.
    """
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
            if first:
                for j in range(n):
                    p[i, j] = z[j]
                    q[i, j] = r[i, j]
                    u[k, j] = g[i, j] * z[j]
            else:
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
            if drop.shape[0] > 0:
                for j in range(n):
                    drop[i, j] = u[k, j] - p[i, j]
            if coarse.shape[0] > 0:
                coarsen(u[k], n, coarse[i])
        top = start
    return ps


@compiled
def _correct(f, rb, cb, hb, z, x):  # type: ignore[no-untyped-def]
    """x += M^-1 r, given the elimination f of r."""
    m, n = f.shape
    for j in range(n):
        z[j] = hb[j] * f[m - 1, j]
        x[m - 1, j] += z[j]
    for i in range(m - 2, -1, -1):
        for j in range(n):
            z[j] = cb[i, j] * (z[j] + rb * f[i, j])
            x[i, j] += z[j]


@compiled
def solve_batch(  # type: ignore[no-untyped-def]
    conductances,
    sources,
    rw,
    rb,
    row_port,
    column_port,
    row_volts,
    column_volts,
    start_word,
    start_bit,
    change,
    old_word,
    old_bit,
    old_energies,
    new_word,
    new_bit,
    new_energies,
    keep,
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
    ``w_all`` (1 or batch, rows, cols) receive the node voltages if ``keep``, else they are scratch. ``start_word`` and
    ``start_bit`` (0 or batch, rows, cols) hold the first guess. ``old_word``, ``old_bit`` and ``old_energies`` are
    directions, if any, that improve it for cells that have changed by ``change`` since ``start_word`` and
    ``start_bit``; the first directions of the first input go to ``new_word``, ``new_bit`` and ``new_energies``, as many
    as these have room for (see ``emulators.nodal.recycling.Directions``). Port currents *into* the ports go to
    ``row_current``, ``column_current``. The iteration ends when the error's energy norm, relative to that of the cells,
    is below ``tolerance``; ``residuals`` holds what was reached (relative to rounding where the cells' voltages are
    nothing but rounding). ``work`` (8, rows * cols or more) is scratch.
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
    drop = work[7, : m * n].reshape(m, n)
    kw, hw, ew, norton, more = np.empty(m), np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    kb, hb, eb, z, last, more_last = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    u = np.empty((4, n + 8))  # rows a power of two apart would meet in the same cache sets
    zero = np.zeros(m)
    warm = start_bit.shape[0] > 0
    # After a good guess few iterations follow, and the word lines are cheaper to carry along than to solve at the end.
    carry = keep and warm and m * n <= CARRY_LIMIT
    if not carry:
        drop = drop[:0]
    for item in range(batch):
        g = conductances[item if conductances.shape[0] > 1 else 0]
        source = sources[item] if sources.shape[0] > 0 else sources[0:0].reshape(0, n)
        x = b_all[item if keep else 0]
        w = w_all[item if keep else 0]
        followed = w if carry else w[:0]
        vr = row_volts[item]
        vc = column_volts[item]
        if item == 0 or conductances.shape[0] > 1:
            far_word = factor_word_lines(g, rw, row_port, cw, kw, hw, ew)
            far_bit = factor_bit_lines(g, rb, column_port, cb, kb, hb, eb)
            coupling = (1.0 - far_word) * (1.0 - far_bit)
            relief = min(max(1.0, (1.0 - coupling) / coupling), MOST_RELIEF) if keep and warm else 1.0
        # One exact pass over both line families, the bit lines first: what it changes in w is the residual that it
        # leaves. x carries the eliminated currents: touched in order, it is there when it is filled from the end.
        recycles = warm and old_energies.shape[0] > 0
        if recycles or (warm and relief == 1.0):  # a pass over the word lines before costs less than an iteration
            if recycles:
                correct_start(change, start_word[item], start_bit[item], old_word, old_bit, old_energies, x)
            else:
                x[:, :] = start_bit[item]
            _word_pass(g, x, source, rw, cw, kw, hw, vr, cb, norton, w, x)
        else:
            if warm:
                w[:, :] = start_word[item]
            else:
                for i in range(m):
                    w[i, :] = vr[i]
            _bit_elimination(g, w, source, cb, x)
        last[:] = x[m - 1]
        power, floor = _first_residual(g, source, rw, rb, cw, kw, hw, cb, kb, hb, vr, vc, x, norton, z, u, w, x, r)
        target = max(relief * tolerance * tolerance * power, ROUNDING * ROUNDING * floor)
        rho = _descend(True, 0.0, cb, rb, hb, s, p, r, x, f, drop, followed)
        beta = 0.0
        steps = 0
        while rho > target and steps < max_iterations:
            keeps = item == 0 and steps < new_energies.shape[0]
            coarse = new_word[steps] if keeps else new_word[0:0].reshape(0, n)
            ps = _ascend(steps == 0, beta, g, rw, rb, cw, kw, hw, cb, hb, f, r, p, q, s, z, u, zero, more, drop, coarse)
            if not ps > 0.0:
                break
            if keeps:
                coarsen_rows(p, new_bit[steps])
                new_energies[steps] = ps
            alpha = rho / ps
            for i in range(m):
                norton[i] += alpha * more[i]
            for j in range(n):
                more_last[j] = f[m - 1, j] if steps == 0 else f[m - 1, j] + beta * more_last[j]
                last[j] += alpha * more_last[j]
            previous = rho
            rho = _descend(False, alpha, cb, rb, hb, s, p, r, x, f, drop, followed)
            beta = rho / previous
            steps += 1
        iterations[item] = steps
        residuals[item] = tolerance * math.sqrt(rho / target) if target > 0.0 else (0.0 if rho == 0.0 else np.inf)

        for j in range(n):  # what eliminating r has just given is the rest of the port currents
            last[j] += f[m - 1, j]
        if keep:  # the voltages gain as much by solving the bit lines once more
            if not carry and steps > 0:  # w has not followed x
                _word_pass(g, x, source, rw, cw, kw, hw, vr, cb, more, w, x)
                _bit_pass(x, rb, cb, kb, hb, vc, x)
            else:
                _correct(f, rb, cb, hb, z, x)
        for i in range(m):
            row_current[item, i] = kw[i] * (norton[i] - ew[i] * vr[i])
        for j in range(n):
            column_current[item, j] = kb[j] * (last[j] - eb[j] * vc[j])
