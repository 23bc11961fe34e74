"""The effective conductance matrix of a small crossbar by eliminating one line after another.

The array is taken along its long dimension. All that lies beyond line i is an n x n admittance Y seen by the n
short-side lines (n the short dimension). One step adds the line's own n x n admittance

    A = D - D T^-1 D,    T the line's tridiagonal matrix (semiseparable inverse, subtraction-free),

then a series segment on every short-side line: Y <- (Y^-1 + R)^-1, done one terminal k at a time, Y <- Y - y_k y_k'
R_k/(1 + R_k Y_kk), so a segment may have zero resistance. The same elementary matrices carry Norton currents, J <-
Q_i J, and the effective matrix is G_i = T_i s_i with T_i = T_{i+1} Q_i from the sensed end backwards (s_i the current
that 1 V on line i sends into its grounded cells): n^3 operations a line, none of them on m x m matrices.
"""

import numpy as np

from emulators.nodal.lines import compiled, head


@compiled
def _line_admittance(d, segment, port, admittance, drive, c, far, transfer):  # type: ignore[no-untyped-def]
    """Add one long-side line's admittance among its cells' other ends to ``admittance``; fill ``drive`` (currents at
    1 V).

    ``c``, ``far`` and ``transfer`` are scratch of length n: the factors away from the port, the admittances looking
    away from it, and D_a T^-1_aj for the current j.
    """
    n = d.shape[0]
    e = d[n - 1]
    far[n - 1] = 0.0
    for j in range(n - 1, 0, -1):
        c[j] = 1.0 / (1.0 + segment * e)
        far[j - 1] = e * c[j]
        e = d[j - 1] + far[j - 1]
    voltage, _ = head(port, e)
    z = port  # the resistance seen looking towards the port
    for j in range(n):
        if j > 0:
            voltage *= c[j]
            z = segment + z / (1.0 + z * d[j - 1])
            for a in range(j):
                transfer[a] *= c[j]
        drive[j] = d[j] * voltage
        t = 1.0 / (1.0 + z * (d[j] + far[j]))
        row = admittance[j]
        for a in range(j):
            change = d[j] * transfer[a]
            row[a] -= change
            admittance[a, j] -= change
        row[j] += d[j] * (1.0 + z * far[j]) * t
        transfer[j] = d[j] * z * t


@compiled
def effective_matrices(conductances, long_segment, long_port, short_segment, short_port, out):  # type: ignore[no-untyped-def]
    """Transfer conductances of a stack of arrays, each ``conductances[k]`` (long, short), into ``out`` of the same
    shape.

    Lines of the long side have their port at short index 0, in series with ``long_port`` ohms (segment included); lines
    of the short side have theirs at the last long index, in series with ``short_port`` ohms.
    """
    count, m, n = conductances.shape
    y = np.empty((n, n))
    t = np.empty((n, n))
    elementary = np.empty((m, n, n))
    pivots = np.empty((m, n))
    drives = np.empty((m, n))
    c = np.empty(n)
    far = np.empty(n)
    transfer = np.empty(n)
    column = np.empty(n)
    for item in range(count):
        y[:, :] = 0.0
        for i in range(m):
            _line_admittance(conductances[item, i], long_segment, long_port, y, drives[i], c, far, transfer)
            r = short_segment if i < m - 1 else short_port
            for k in range(n):
                for j in range(n):
                    column[j] = y[k, j]
                pivot = 1.0 / (1.0 + r * column[k])
                scale = r * pivot
                e = elementary[i, k]
                for j in range(n):
                    e[j] = scale * column[j]
                for j in range(n):
                    factor = e[j]
                    row = y[j]
                    for a in range(n):
                        row[a] -= factor * column[a]
                for j in range(n):
                    y[k, j] = column[j] * pivot
                    y[j, k] = column[j] * pivot
                e[k] = 0.0
                pivots[i, k] = pivot
        for j in range(n):
            for a in range(n):
                t[j, a] = 1.0 if a == j else 0.0
        for i in range(m - 1, -1, -1):
            for k in range(n - 1, -1, -1):
                e = elementary[i, k]
                row = t[k]
                pivot = pivots[i, k]
                for a in range(n):
                    row[a] *= pivot
                j = 0
                while j + 4 <= n:  # four at a time, since each pass waits for the row that the last one stored
                    e0, e1, e2, e3 = e[j], e[j + 1], e[j + 2], e[j + 3]
                    t0, t1, t2, t3 = t[j], t[j + 1], t[j + 2], t[j + 3]
                    for a in range(n):
                        row[a] -= e0 * t0[a] + e1 * t1[a] + e2 * t2[a] + e3 * t3[a]
                    j += 4
                while j < n:
                    e0, t0 = e[j], t[j]
                    for a in range(n):
                        row[a] -= e0 * t0[a]
                    j += 1
            result = out[item, i]
            for a in range(n):
                result[a] = 0.0
            for j in range(n):
                factor = drives[i, j]
                for a in range(n):
                    result[a] += factor * t[j, a]
