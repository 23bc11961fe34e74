"""Compiled cell laws: the exponential family, and its members in series with a resistance or a transistor."""

import math

from emulators.nodal.lines import compiled


@compiled
def _sinh(x):  # type: ignore[no-untyped-def]
    """sinh to full relative precision: its Taylor series up to |x| = 1 (remainder below 1e-17), exponentials beyond."""
    if abs(x) <= 1.0:
        y = x * x
        t = 1.0 + y / 210.0 * (1.0 + y / 272.0)
        t = 1.0 + y / 110.0 * (1.0 + y / 156.0 * t)
        t = 1.0 + y / 42.0 * (1.0 + y / 72.0 * t)
        return x * (1.0 + y / 6.0 * (1.0 + y / 20.0 * t))
    e = math.exp(x)
    return 0.5 * (e - 1.0 / e)


@compiled
def _memristor(u, g, a, b):  # type: ignore[no-untyped-def]
    """Current and slope of i = g (exp(a u) - exp(-b u))/(a + b); ohmic for a + b = 0."""
    total = a + b
    if total == 0.0:
        return g * u, g
    s = _sinh(0.5 * total * u)
    if a == b:
        return g * s / a, g * math.sqrt(1.0 + s * s)
    forward, reverse = math.exp(a * u), math.exp(-b * u)
    return 2.0 * g / total * math.sqrt(forward) * math.sqrt(reverse) * s, g / total * (a * forward + b * reverse)


@compiled
def _sinh_cells(v, g, a, i, s):  # type: ignore[no-untyped-def]
    """The sinh law for |a v| <= 8: the series at an eighth of the argument, doubled three times (no branches)."""
    for k in range(v.size):
        x = 0.125 * a * v[k]
        y = x * x
        t = 1.0 + y * (1.0 / 210.0) * (1.0 + y * (1.0 / 272.0))
        t = 1.0 + y * (1.0 / 110.0) * (1.0 + y * (1.0 / 156.0) * t)
        t = 1.0 + y * (1.0 / 42.0) * (1.0 + y * (1.0 / 72.0) * t)
        sh = x * (1.0 + y * (1.0 / 6.0) * (1.0 + y * (1.0 / 20.0) * t))
        ch = math.sqrt(1.0 + sh * sh)
        sh, ch = 2.0 * sh * ch, 1.0 + 2.0 * sh * sh
        sh, ch = 2.0 * sh * ch, 1.0 + 2.0 * sh * sh
        sh, ch = 2.0 * sh * ch, 1.0 + 2.0 * sh * sh
        i[k] = g[k] * sh / a
        s[k] = g[k] * ch


@compiled
def exponential_cells(v, g, a, b, i, s):  # type: ignore[no-untyped-def]
    """Fill current i and slope s of the exponential family, element by element of flat arrays."""
    if a == b:
        largest = 0.0
        for k in range(v.size):
            largest = max(largest, abs(v[k]))
        if a * largest <= 8.0:
            _sinh_cells(v, g, a, i, s)
            return
    for k in range(v.size):
        i[k], s[k] = _memristor(v[k], g[k], a, b)


@compiled
def _access(x, resistance, overdrive, k, modulation):  # type: ignore[no-untyped-def]
    """Current and slope of the access device at ``x`` volts: a resistance, or a transistor where k > 0."""
    if k == 0.0:
        return x / resistance, 1.0 / resistance
    size = abs(x)
    longer = 1.0 + modulation * size
    if size < overdrive:
        base = k * (overdrive - 0.5 * size) * size
        slope = k * (overdrive - size) * longer + base * modulation
    else:
        base = 0.5 * k * overdrive * overdrive
        slope = base * modulation
    return math.copysign(base * longer, x), slope


@compiled
def series_cells(v, g, a, b, resistance, overdrive, k, modulation, i_out, s_out):  # type: ignore[no-untyped-def]
    """Fill current and slope of a memristor in series with an access device, element by element of flat arrays.

    The memristor's voltage lies between 0 and the cell's; Newton's method, bisecting when it would leave that bracket.
    """
    for index in range(v.size):
        total = v[index]
        conductance = g[index]
        if k == 0.0 and resistance == 0.0:
            i_out[index], s_out[index] = _memristor(total, conductance, a, b)
            continue
        low, high = min(0.0, total), max(0.0, total)
        _, slope_t = _access(0.0, resistance, overdrive, k, modulation)
        u = total * slope_t / (slope_t + conductance)
        for _ in range(200):
            i_m, s_m = _memristor(u, conductance, a, b)
            i_t, s_t = _access(total - u, resistance, overdrive, k, modulation)
            excess = i_m - i_t
            if excess > 0.0:
                high = u
            else:
                low = u
            new = u - excess / (s_m + s_t) if s_m + s_t > 0.0 else 0.5 * (low + high)
            if not low <= new <= high:
                new = 0.5 * (low + high)
            step = abs(new - u)
            u = new
            if step <= 1e-15 * abs(total):
                break
        i_m, s_m = _memristor(u, conductance, a, b)
        i_t, s_t = _access(total - u, resistance, overdrive, k, modulation)
        # The device that takes most of the voltage gives the current with the fewest digits lost.
        i_out[index] = i_t if abs(u) < 0.5 * abs(total) else i_m
        s_out[index] = s_m * s_t / (s_m + s_t) if s_m + s_t > 0.0 else 0.0
