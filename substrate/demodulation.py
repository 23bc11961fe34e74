"""Records to harmonics to derivatives: the arithmetic of the sinusoidal nudge, as pure functions.

A nudge ``beta cos(phi)`` that is slow against the network leaves every quantity ``q`` on its quasi-static curve
``q(beta cos phi)``. Writing ``x = cos phi``, the Fourier cosine series of the record is its Chebyshev series,

    q(beta x) = sum_k A_k T_k(x),        T_k(cos phi) = cos(k phi).

``T_k'(0) = k U_{k-1}(0)`` is ``k (-1)^((k-1)/2)`` for odd k and 0 for even k; ``T_k(0)`` is ``(-1)^(k/2)`` for even k
and 0 for odd k. Hence, at zero nudge,

    dq/dbeta = (A_1 - 3 A_3 + 5 A_5 - ...) / beta,        q = A_0 - A_2 + A_4 - ...

Both converge like ``rho^-K`` with ``rho > 1`` the sum of the semi-axes of the largest ellipse with foci +-1 in which
``q(beta x)`` is analytic (Trefethen, Approximation Theory and Approximation Practice, theorem 8.1).

Conventions: records are sampled at ``phi_t = 2 pi t / samples_per_period`` on the last axis, over whole periods;
harmonics are on the last axis, from 0. "harmonics: 3" means that the highest one used is the third; an even highest
harmonic adds nothing to a derivative. Everything is float64. Units are those of the quantity recorded.
"""

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from substrate.errors import InputError

__all__ = [
    "cauchy_derivative",
    "chebyshev_derivative",
    "derivative_variance",
    "derivative_weights",
    "free_value",
    "harmonics",
    "residual_noise",
    "richardson",
    "truncation_ratio",
]

Array = NDArray[np.float64]


def harmonics(record: ArrayLike, samples_per_period: int, count: int, phase_origin: float = 0.0) -> tuple[Array, Array]:
    """Cosine and sine amplitudes of a coherent record.

    With whole periods in the record the sampled cosines and sines are orthogonal, so the discrete Fourier sums below
    are the least-squares fit of ``record = sum_k A_k cos(k phi) + B_k sin(k phi)``, with A_0 the mean and B_0 zero.
    White noise of variance s^2 on N samples gives every A_k and B_k, k >= 1, the variance 2 s^2 / N. A component at
    harmonic ``samples_per_period - k`` folds onto k: sample fast enough for what the network emits, not for ``count``
    alone.

    Args:
        record: (..., time); whole periods.
        samples_per_period: samples in one period of the nudge.
        count: highest harmonic wanted, ``2 count < samples_per_period``.
        phase_origin: radians, phase of the nudge at the first sample; 0 is its crest.

    Returns:
        A and B, each (..., count + 1), in the record's units.

    Raises:
        InputError: a record that is not a whole number of periods or is not finite, a count beyond the sampling, a
            phase that is not finite.
    """
    values = _record(record, samples_per_period, count)
    cosine, sine = _fit(values, samples_per_period, count)
    if phase_origin == 0.0:
        return cosine, sine
    turns = _phase(phase_origin) * np.arange(count + 1)
    turned, quarter = np.cos(turns), np.sin(turns)
    return cosine * turned - sine * quarter, cosine * quarter + sine * turned


def chebyshev_derivative(cosine_amplitudes: ArrayLike, amplitude: ArrayLike) -> Array:
    """Derivative at zero nudge, ``(A_1 - 3 A_3 + 5 A_5 - ...) / beta``, from harmonics 0..K.

    Exact, whatever the amplitude, for a response that is a polynomial in the nudge of degree K + 1 (K odd)
    or K (K even).

    Args:
        cosine_amplitudes: (..., K + 1), K >= 1.
        amplitude: beta, scalar or broadcastable to the leading axes; the result is per unit of it. Not zero; a negative
            one is a nudge that starts at its trough.

    Returns:
        (...), the quantity's units per unit of amplitude.

    Raises:
        InputError: fewer than two harmonics, values that are not finite, or an amplitude that is zero or not finite.
    """
    values = _amplitudes(cosine_amplitudes, least=1)
    beta = _nudge_amplitude(amplitude)
    return np.asarray(values @ _derivative_coefficients(values.shape[-1] - 1) / beta, dtype=np.float64)


def cauchy_derivative(points: ArrayLike, values: ArrayLike, free: ArrayLike | None = None) -> Array:
    """Derivative at zero nudge from values at complex nudges on a circle, ``Re (1/N) sum_k q(b_k) / b_k``.

    With b_k = b e^(2 pi i k/N) these are Cauchy's formula by the trapezoidal rule: of the Taylor terms ``c_n b^n`` of
    q, n = 1 is kept, n = 1 + N, 1 + 2N, ... are left as an error, and the others cancel, but for n = 0 where N = 1.
    The error is O(|b|^N), for one point O(|b|): holomorphic equilibrium propagation (arXiv 2209.00530). Real where
    conjugate nudges give conjugate values: the real part is returned.

    Args:
        points: (N,) complex nudges, N equidistant points of a circle about zero, in any order.
        values: (..., N), q at each.
        free: (...), q at zero nudge; needed for a single point, from whose value it is subtracted, and unused else.

    Returns:
        (...), the quantity's units per unit of nudge.

    Raises:
        InputError: points that are not equidistant on a circle, values that are not finite or do not fit the points,
            one point without ``free``.
    """
    nudges, numbers = np.asarray(points, dtype=np.complex128), np.asarray(values, dtype=np.complex128)
    if nudges.ndim != 1 or nudges.size == 0 or numbers.ndim == 0 or numbers.shape[-1] != nudges.size:
        raise InputError(f"points: expected (N,) with values (..., N), got shapes {nudges.shape} and {numbers.shape}")
    if not (np.isfinite(nudges).all() and np.isfinite(numbers).all()):
        raise InputError("points, values: expected finite numbers")
    radius = np.abs(nudges[0])
    # The points of such a circle, and no others, are the N roots of b^N = b_0^N.
    turns = (nudges / nudges[0]) ** nudges.size if radius else np.zeros(nudges.size)
    angles = np.sort(np.angle(nudges / nudges[0]) % (2.0 * np.pi)) if radius else np.zeros(nudges.size)
    apart = np.diff(angles, append=angles[0] + 2.0 * np.pi)
    if np.abs(turns - 1.0).max() > 1e-6 or apart.min() < np.pi / nudges.size:
        raise InputError("points: expected equidistant points on a circle about zero, of a radius other than zero")
    if nudges.size == 1:
        if free is None:
            raise InputError("free: expected the value at zero nudge, which a single point needs")
        numbers = numbers - np.asarray(free, dtype=np.float64)[..., None]
    return np.asarray((numbers / nudges).mean(axis=-1).real)


def free_value(cosine_amplitudes: ArrayLike) -> Array:
    """The quantity at zero nudge, ``A_0 - A_2 + A_4 - ...``, from the nudged record alone.

    Exact for a response that is a polynomial in the nudge of degree K + 1 (K even) or K (K odd).

    Args:
        cosine_amplitudes: (..., K + 1), K >= 0.

    Returns:
        (...), in the quantity's units.

    Raises:
        InputError: no harmonic at all, or values that are not finite.
    """
    values = _amplitudes(cosine_amplitudes, least=0)
    order = np.arange(values.shape[-1])
    signs = np.where(order % 2 == 0, 1.0 - order % 4, 0.0)
    return np.asarray(values @ signs, dtype=np.float64)


def derivative_weights(
    samples_per_period: int, periods: int, harmonics: int, amplitude: float = 1.0, phase_origin: float = 0.0
) -> Array:
    """The record-to-derivative functional as one vector: ``sum_t c(t) q(t)`` is q's Chebyshev derivative at zero nudge.

    Demodulation is linear in the record, so the discrete Fourier sums and ``A_1 - 3 A_3 + ...`` fold into (N samples)

        c(t) = 2 / (N beta) sum over odd k <= harmonics of (-1)^((k-1)/2) k cos(k phi_t)

    A product ``q_ij(t) = s_i(t) s_j(t)`` is then demodulated, for all pairs and a whole batch, by the one matrix
    product ``(c s).T @ s`` with batch and time as the common axis, and no product record is ever stored. The square
    of the vector's norm is what white noise is multiplied by: ``derivative_variance``.

    Args:
        samples_per_period: samples in one period, more than ``2 harmonics``. A product of two records that hold
            harmonics up to h holds harmonics up to 2h, which fold unless ``samples_per_period > 2 h + harmonics``.
        periods: whole periods in the record.
        harmonics: highest harmonic used, at least 1.
        amplitude: beta of the nudge.
        phase_origin: radians, phase of the nudge at the first sample; the nudge is ``beta cos(2 pi t / M + origin)``.

    Returns:
        (samples_per_period * periods,), per unit of amplitude.

    Raises:
        InputError: counts out of range, an amplitude that is zero or not finite, a phase that is not finite.
    """
    per_period, highest = _sampling(samples_per_period, harmonics, least=1)
    repeats = _integer("periods", periods, 1)
    beta = float(_nudge_amplitude(amplitude))
    phase = 2.0 * np.pi * np.arange(per_period) / per_period + _phase(phase_origin)
    order = np.arange(highest + 1)
    one_period = np.cos(np.outer(phase, order)) @ _derivative_coefficients(highest)
    return np.tile(one_period * (2.0 / (per_period * repeats * beta)), repeats)


def derivative_variance(
    noise_variance: ArrayLike, sample_count: int, harmonics: int, amplitude: ArrayLike = 1.0
) -> Array:
    """Variance that white read-out noise leaves on a Chebyshev derivative.

    The amplitudes A_k are uncorrelated with variance ``2 s^2 / N`` each, and enter with weights ``k / beta``:

        var = 2 s^2 / (N beta^2) * sum of k^2 over odd k <= harmonics.

    The sum grows as ``harmonics^3 / 6``: the price of the smaller truncation error. For a *product* of two noisy
    records use the noise of the product, to first order ``s_i^2 var_j + s_j^2 var_i``.

    Args:
        noise_variance: s^2, variance of one sample of the record, any shape.
        sample_count: samples in the record, all periods together.
        harmonics: highest harmonic used, at least 1.
        amplitude: beta, broadcastable to ``noise_variance``.

    Returns:
        Broadcast shape of ``noise_variance`` and ``amplitude``; squared units of the derivative.

    Raises:
        InputError: a negative or non-finite variance, counts out of range, an amplitude that is zero or not finite.
    """
    variance = _variance(noise_variance)
    count = _integer("sample_count", sample_count, 1)
    coefficients = _derivative_coefficients(_integer("harmonics", harmonics, 1))
    beta = _nudge_amplitude(amplitude)
    return np.asarray(2.0 * variance / count * (coefficients @ coefficients) / beta**2, dtype=np.float64)


def residual_noise(record: ArrayLike, samples_per_period: int, count: int) -> Array:
    """Unbiased variance of the noise of one sample, from what the harmonics 0..count leave of the record.

    The fit spends ``2 count + 1`` degrees of freedom, so the residual sum of squares is divided by ``N - 2 count - 1``.
    Harmonics above ``count`` that the network really emits are counted as noise; with several periods,
    ``count = (samples_per_period - 1) // 2`` leaves only what does not repeat from one period to the next (and, when
    ``samples_per_period`` is even, the alternating component at half the sampling rate). Slow drift counts as noise.

    Args:
        record: (..., time), whole periods.
        samples_per_period: samples in one period.
        count: highest harmonic fitted, ``2 count < samples_per_period``.

    Returns:
        (...), squared units of the record.

    Raises:
        InputError: as for ``harmonics``, or a record no longer than the number of fitted amplitudes.
    """
    values = _record(record, samples_per_period, count)
    freedom = values.shape[-1] - 2 * count - 1
    if freedom < 1:
        raise InputError(
            f"record: {values.shape[-1]} samples leave no degree of freedom beside {2 * count + 1} fitted amplitudes; "
            "expected more periods, more samples_per_period or a smaller count"
        )
    cosine, sine = _fit(values, samples_per_period, count)
    cosines, sines = _basis(samples_per_period, count)
    fitted = cosine @ cosines.T + sine @ sines.T
    left = values.reshape(*values.shape[:-1], -1, samples_per_period) - fitted[..., None, :]
    return np.asarray(np.einsum("...pt,...pt->...", left, left) / freedom, dtype=np.float64)


def truncation_ratio(
    cosine_amplitudes: ArrayLike,
    harmonics: int,
    noise_variance: ArrayLike = 0.0,
    sample_count: int | None = None,
    floor_sigmas: float = 0.0,
) -> Array:
    """How much of the derivative the first omitted harmonic would change: one number a sample, over its nodes.

    Let K be the highest odd harmonic used and D_n the derivative of node n, in units of 1/beta. What K leaves out is
    ``sum over odd k >= K + 2 of +-k A_k``; where the response is analytic its terms fall geometrically, by about
    ``r = rho^-2`` each, so the whole is between ``1 / (1 + r)`` (alternating terms, poles at real nudges) and
    ``1 / (1 - r)`` (equal signs, poles at imaginary nudges) times its first term. That first term is measured, since
    the record holds it:

        ratio^2 = sum_n ((K + 2) A_{n,K+2})^2 / sum_n D_n^2.

    A ratio well under 1 is thus an estimate of the relative truncation error of the whole gradient of this sample;
    near or above 1 the series has not begun to converge: a branch was lost, a converter clipped, or the nudge is too
    large.

    Noise. White noise of variance s^2 on N samples adds on average ``(K + 2)^2 2 s^2 / N`` a node to the numerator
    and ``sum of odd k^2 <= K^2 times 2 s^2 / N`` to the denominator. Both means are subtracted, so that the two
    powers are unbiased. A numerator at or below its noise gives 0: no truncation is seen. A derivative below its own
    noise counts as being as large as that noise, since no smaller one can be resolved; so a sample whose nodes hardly
    move is not called a lost one. The noise power of n nodes scatters by ``sqrt(2 sum_n var_n^2)``; ``floor_sigmas``
    times this is subtracted from the numerator too. Leave it 0 to average or take medians over samples; use about 3
    to call single samples bad.

    Args:
        cosine_amplitudes: (..., node, count + 1), count >= K + 2.
        harmonics: highest harmonic used for the derivative, at least 1.
        noise_variance: variance of one sample of the records, scalar or broadcastable to (..., node).
        sample_count: samples in a record, all periods together; needed as soon as there is noise.
        floor_sigmas: standard deviations of the noise power that the numerator must exceed, >= 0.

    Returns:
        (...), dimensionless; inf where the derivative is exactly 0 and the omitted term is not (without noise).

    Raises:
        InputError: too few harmonics measured, values that are not finite, a negative variance, a missing sample count.
    """
    values = _amplitudes(cosine_amplitudes, least=1)
    if values.ndim < 2 or values.shape[-2] == 0:
        raise InputError(
            f"cosine_amplitudes: expected (..., node, harmonic) with a node axis, got shape {values.shape}"
        )
    used = _integer("harmonics", harmonics, 1)
    omitted = used + 2 if used % 2 else used + 1
    if values.shape[-1] <= omitted:
        raise InputError(
            f"cosine_amplitudes: harmonic {omitted} is needed to judge a derivative from harmonics up to {used}; "
            f"got harmonics 0..{values.shape[-1] - 1}"
        )
    if not (np.isfinite(floor_sigmas) and floor_sigmas >= 0.0):
        raise InputError(f"floor_sigmas: expected a finite number >= 0, got {floor_sigmas}")
    variance = _variance(noise_variance)
    if sample_count is None and np.any(variance > 0.0):
        raise InputError("sample_count: expected the number of samples in a record, since noise_variance is not zero")
    samples = 1 if sample_count is None else _integer("sample_count", sample_count, 1)
    try:
        harmonic_variance = np.broadcast_to(2.0 * variance / samples, values.shape[:-1])
    except ValueError:
        raise InputError(
            f"noise_variance: expected a shape that broadcasts to {values.shape[:-1]}, got {variance.shape}"
        ) from None

    coefficients = _derivative_coefficients(used)
    derivative = np.sum((values[..., : used + 1] @ coefficients) ** 2, axis=-1)
    derivative_noise = (coefficients @ coefficients) * harmonic_variance.sum(axis=-1)
    omitted_power = np.sum((omitted * values[..., omitted]) ** 2, axis=-1)
    mean_floor = harmonic_variance.sum(axis=-1)
    scatter = np.sqrt(2.0 * np.sum(harmonic_variance**2, axis=-1))
    numerator = np.maximum(omitted_power - omitted**2 * (mean_floor + floor_sigmas * scatter), 0.0)
    denominator = np.maximum(derivative - derivative_noise, derivative_noise)
    unresolved = denominator == 0.0
    ratio = np.sqrt(numerator / np.where(unresolved, 1.0, denominator))
    return np.where(unresolved & (numerator > 0.0), np.inf, ratio)


def richardson(estimates: ArrayLike) -> Array:
    """Zero-frequency value of estimates taken at w, w/2, w/4, ...

    In-phase harmonics of a network with time constants are even in the frequency: ``g(w) = g(0) + c_1 w^2 + ...``.
    So ``(4 g(w/2) - g(w)) / 3`` is free of w^2, the next row of the table, ``(16 .. - ..) / 15``, of w^4, and
    n estimates leave an error of order ``w^(2n)`` (Richardson 1911; the table of Romberg's rule). One estimate is
    returned as it is. Two estimates of equal noise give 17/9 of its variance, three 2.22 times it.

    Args:
        estimates: axis 0 holds w, w/2, w/4, ...; any shape behind it.

    Returns:
        The shape behind axis 0, in the estimates' units.

    Raises:
        InputError: no estimate, or values that are not finite.
    """
    table = np.asarray(estimates, dtype=np.float64)
    if table.ndim == 0 or table.shape[0] == 0:
        raise InputError(f"estimates: expected at least one estimate on axis 0, got shape {table.shape}")
    _finite("estimates", table)
    for row in range(1, table.shape[0]):
        weight = 4.0**row
        table = (weight * table[1:] - table[:-1]) / (weight - 1.0)
    return np.array(table[0])


def _derivative_coefficients(highest: int) -> Array:
    """``k (-1)^((k-1)/2)`` at odd k, 0 at even k, for k = 0..highest."""
    order = np.arange(highest + 1)
    return np.where(order % 2 == 1, order * (2.0 - order % 4), 0.0)


def _basis(per_period: int, count: int) -> tuple[Array, Array]:
    """Cosines and sines of one period, each (samples_per_period, count + 1)."""
    # Reducing k t modulo the period first keeps the basis orthogonal to rounding at every harmonic.
    turns = np.outer(np.arange(per_period), np.arange(count + 1)) % per_period
    phase = (2.0 * np.pi / per_period) * turns
    return np.cos(phase), np.sin(phase)


def _fit(values: Array, per_period: int, count: int) -> tuple[Array, Array]:
    """Amplitudes of a checked record."""
    # All periods share one basis, so they are averaged before the matrix product.
    period = values.reshape(*values.shape[:-1], -1, per_period).mean(axis=-2)
    cosines, sines = _basis(per_period, count)
    scale = np.full(count + 1, 2.0 / per_period)
    scale[0] = 1.0 / per_period
    return period @ (cosines * scale), period @ (sines * scale)


def _record(record: ArrayLike, samples_per_period: int, count: int) -> Array:
    per_period, _ = _sampling(samples_per_period, count, least=0)
    values = np.asarray(record, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0 or values.shape[-1] % per_period:
        raise InputError(
            f"record: expected a whole number of periods of {per_period} samples on the last axis, "
            f"got shape {values.shape}"
        )
    _finite("record", values)
    return values


def _sampling(samples_per_period: int, count: int, least: int) -> tuple[int, int]:
    per_period = _integer("samples_per_period", samples_per_period, 1)
    highest = _integer("the highest harmonic", count, least)
    if 2 * highest >= per_period:
        raise InputError(
            f"samples_per_period: {per_period} samples cannot tell harmonic {highest} from its alias; "
            f"expected more than {2 * highest}"
        )
    return per_period, highest


def _amplitudes(cosine_amplitudes: ArrayLike, least: int) -> Array:
    values = np.asarray(cosine_amplitudes, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] <= least:
        raise InputError(
            f"cosine_amplitudes: expected harmonics 0..{least} or more on the last axis, got shape {values.shape}"
        )
    _finite("cosine_amplitudes", values)
    return values


def _nudge_amplitude(amplitude: ArrayLike) -> Array:
    beta = np.asarray(amplitude, dtype=np.float64)
    if not np.all(np.isfinite(beta)) or np.any(beta == 0.0):
        raise InputError(f"amplitude: expected finite nudge amplitudes other than zero, got {amplitude!r}")
    return beta


def _phase(phase_origin: float) -> float:
    if not np.isfinite(phase_origin):
        raise InputError(f"phase_origin: expected a finite number of radians, got {phase_origin}")
    return phase_origin


def _variance(noise_variance: ArrayLike) -> Array:
    variance = np.asarray(noise_variance, dtype=np.float64)
    if not np.all(np.isfinite(variance)) or np.any(variance < 0.0):
        raise InputError("noise_variance: expected finite values >= 0")
    return variance


def _integer(name: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name}: expected an integer >= {least}, got {value!r}") from None
    if number < least:
        raise InputError(f"{name}: expected an integer >= {least}, got {number}")
    return number


def _finite(name: str, values: Array) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(f"{name}: expected finite values, got {values[index]} at index {index}")
