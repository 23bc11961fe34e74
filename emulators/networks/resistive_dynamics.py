"""Resistive networks whose nodes have a capacitance: periodic states, transients and small signals.

C_i dv_i/dt = sum_j g_ij (v_j - v_i) + I_diode(v_i) + I_nudge,i (physics.md, 1.3). In the levelled volts w = a v of
``resistive.py`` currents and voltages are scaled alike, so that capacitances, like conductances, stay what they are:

    C dw/dt + H w - I_diode(w) = a (drive + nudge cos(wt))

H and the diodes' slopes are positive definite and a periodic derivative is antisymmetric, so that the periodic state is
unique, and Newton's method, with backtracking on what is missing of the currents, can't be trapped on its way to it.

Harmonic balance is by collocation: the equation holds at N instants of a period, derivatives are those of the Fourier
series of harmonics 0..N/2 - 1 (spectral differentiation; Trefethen, Spectral Methods in MATLAB, 2000, chapter 3). N
doubles until the equation holds at 2N samples too. The linear systems go by GMRES, preconditioned by the network whose
diodes have their slopes' mean over the period, which is diagonal in the harmonics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from emulators.networks.krylov import gmres
from emulators.networks.resistive import ResistiveNetwork
from emulators.networks.resistive_steady import SteadyTolerance
from emulators.networks.steadiness import repeats
from substrate.arrays import BoolArray, ComplexArray, FloatArray, IntArray, finite
from substrate.errors import ConvergenceError, InputError
from substrate.tones import SamplingPlan

SAMPLES = (16, 32, 64, 128, 256, 512, 1024)
"""Samples of a period, tried in turn."""

NEWTON_STEPS = 60
HALVINGS = 30
LINEAR_STEPS = 80
LINEAR_RELATIVE = 1e-4
"""Residual of a linear solve, relative."""

ROUNDING = 1e-12
"""Error of a transient's step, relative, below which rounding takes over."""


@final
@dataclass(frozen=True)
class ResistiveOrbit:
    """One period of nudged states, from the crest on.

    Attributes:
        volts: (batch, time, node).
        residual_volts: (batch,), the current that is missing at a node over the sum of the conductances on it, the
            largest of the period, at twice the samples that were solved for.
        settled: (batch,), within tolerance.
        samples: (batch,) of a period, as solved for.
    """

    volts: FloatArray
    residual_volts: FloatArray
    settled: BoolArray
    samples: IntArray


def periodic_state(
    network: ResistiveNetwork,
    farads: FloatArray,
    free: FloatArray,
    drive: FloatArray,
    nudge: FloatArray,
    plan: SamplingPlan,
    tolerance: SteadyTolerance | None = None,
) -> ResistiveOrbit:
    """The steady state under ``drive + nudge cos(2 pi f t)``, sampled by ``plan`` from the crest on.

    Args:
        network: the equations; Shockley diodes, or none that can conduct.
        farads: (node,) capacitance of every node to ground, >= 0.
        free: (batch, node) volts of the free states, at nudge zero.
        drive: (batch, node) amperes held.
        nudge: (batch, node) amperes at the crest.
        plan: frequency, and samples of a period.
        tolerance: ``residual_volts`` of the answer.

    Raises:
        InputError: ideal diodes, shapes that do not fit, values that are not finite or negative.
    """
    loads = checked_farads(network, farads)
    free = finite("free", free, (None, network.node_count))
    held, peak = (
        finite(name, value, free.shape) * network.level for name, value in (("drive", drive), ("nudge", nudge))
    )
    limit = (tolerance or SteadyTolerance()).residual_volts
    omega = 2.0 * np.pi * plan.frequency_hz
    # To first order in the nudge.
    waves = np.stack([free * network.level, np.zeros_like(free)], axis=1).astype(np.complex128)
    matrix = _small_signal(network, loads, free, np.array([omega]))[:, 0]
    waves[:, 1] = np.linalg.solve(matrix, peak[:, :, None])[:, :, 0]
    series = np.zeros((len(free), SAMPLES[0] // 2, network.node_count), dtype=np.complex128)
    series[:, :2] = waves
    worst = np.full(len(free), np.inf)
    used = np.zeros(len(free), dtype=np.int64)
    todo = np.arange(len(free))
    for samples in SAMPLES:
        series = np.pad(series, ((0, 0), (0, samples // 2 - series.shape[1]), (0, 0)))
        balance = _Balance(network, loads, omega, samples)
        found = balance.solve(_samples(series[todo], samples), held[todo], peak[todo], 0.5 * limit)
        series[todo] = _series(found)
        fine = _Balance(network, loads, omega, 2 * samples)
        missing = fine.missing(_samples(series[todo], 2 * samples), held[todo], peak[todo])
        worst[todo] = np.abs(missing / (network.system.diagonal * network.level)).max(axis=(1, 2))
        used[todo] = samples
        todo = np.flatnonzero(~(worst <= limit))
        if not len(todo):
            break
    waves = np.exp(1j * np.outer(plan.phases(), np.arange(series.shape[1])))
    volts = (waves @ series).real / network.level
    return ResistiveOrbit(volts, worst, np.asarray(worst <= limit), used)


def transient(
    network: ResistiveNetwork,
    farads: FloatArray,
    start: FloatArray,
    drive: Callable[[float], FloatArray],
    times_seconds: FloatArray,
    relative: float = 1e-8,
    absolute_volts: float = 1e-11,
) -> FloatArray:
    """Follow the dynamics from ``start`` at the first of the times, for a batch as one stiff system.

    The implicit Radau IIA of order 5 with the exact Jacobian (Hairer & Wanner, Solving Ordinary Differential Equations
    II, section IV.8).

    Args:
        network: the equations; Shockley diodes, or none that can conduct.
        farads: (node,) capacitance of every node to ground, > 0.
        start: (batch, node) volts.
        drive: amperes (batch, node) or (node,) into the nodes at a time in seconds, with those of inputs and rails.
        times_seconds: (time,) rising, at which states are wanted.
        relative, absolute_volts: error of a step.

    Returns:
        (batch, time, node) volts.

    Raises:
        InputError: ideal diodes, shapes or times that do not fit, a node without capacitance.
        ConvergenceError: the integrator gave up.
    """
    from scipy.integrate import solve_ivp
    from scipy.sparse import block_diag

    loads = checked_farads(network, farads)
    if not np.all(loads > 0):
        raise InputError("farads: expected a capacitance > 0 at every node of a transient")
    start = finite("start", start, (None, network.node_count))
    times = finite("times_seconds", times_seconds, (None,))
    if len(times) < 2 or np.any(np.diff(times) <= 0):
        raise InputError("times_seconds: expected at least two rising times")
    admittance, diodes, level = _admittance(network), network.levelled_diodes, network.level

    def slope(time: float, state: FloatArray) -> FloatArray:
        w = state.reshape(start.shape)
        force = level * drive(time) - w @ admittance + diodes.current_and_slope(w)[0]
        return np.asarray(force / loads).ravel()

    def jacobian(time: float, state: FloatArray) -> Any:
        del time
        siemens = diodes.current_and_slope(state.reshape(start.shape))[1]
        return block_diag(list(-_with_slopes(admittance, siemens) / loads[:, None]), "csc")

    # The step's error is a mean over the whole system: one sample alone may hold all of it.
    share = len(start) ** -0.5
    found = solve_ivp(
        slope,
        (times[0], times[-1]),
        (start * level).ravel(),
        method="Radau",
        jac=jacobian,
        t_eval=times,
        rtol=max(relative * share, ROUNDING),
        atol=np.tile(absolute_volts * share * level, len(start)),
    )
    if not found.success:
        raise ConvergenceError(f"transient from {times[0]:g} s to {times[-1]:g} s stopped: {found.message}")
    return np.asarray(found.y.T.reshape(len(times), *start.shape).transpose(1, 0, 2) / level)


@final
@dataclass(frozen=True)
class ResistiveRecord:
    """What follows the moment a nudge is switched on: ``volts`` (batch, time, node) of all periods that are recorded.

    ``change_volts`` (batch,): largest change from the last period but one to the last, NaN where only one was run.
    ``settled`` (batch,): whether those two agree.
    """

    volts: FloatArray
    change_volts: FloatArray
    settled: BoolArray


def switched_on(
    network: ResistiveNetwork,
    farads: FloatArray,
    free: FloatArray,
    drive: FloatArray,
    nudge: FloatArray,
    plan: SamplingPlan,
    settle_periods: int,
    accuracy_volts: float,
    settle_tolerance: float | None = None,
) -> ResistiveRecord:
    """Switch ``nudge cos(2 pi f t)`` on at the free state (batch, node); record from ``settle_periods`` later on.

    Args:
        network, farads: as in ``transient``.
        free, drive, nudge: as in ``periodic_state``.
        plan: the tone, its sampling and the periods that are recorded.
        settle_periods: run before.
        accuracy_volts: error of a step, beside a share of 1e-8.
        settle_tolerance: see ``repeats``.
    """
    peak = finite("nudge", nudge, np.shape(free))
    per_period = plan.samples_per_period
    # From 0 s on, where the integration starts: the period before the record is there to compare with.
    times = np.arange((settle_periods + plan.periods) * per_period) / plan.rate_hz
    omega = 2.0 * np.pi * plan.frequency_hz

    def waveform(time: float) -> FloatArray:
        return np.asarray(drive + np.cos(omega * time) * peak)

    volts = transient(network, farads, free, waveform, times, absolute_volts=accuracy_volts)
    change = np.full(len(volts), np.nan)
    if len(times) > per_period:
        change = np.abs(volts[:, -per_period:] - volts[:, -2 * per_period : -per_period]).max(axis=(1, 2))
    recorded = np.ascontiguousarray(volts[:, settle_periods * per_period :])
    return ResistiveRecord(recorded, change, repeats(volts, plan, settle_tolerance))


def susceptibility(
    network: ResistiveNetwork, farads: FloatArray, volts: FloatArray, frequencies_hz: FloatArray
) -> ComplexArray:
    """chi(w) = (i w C + G)^-1 at the operating points ``volts``, G the cells' and diodes' small-signal conductance.

    Args:
        network: the equations; Shockley diodes, or none that can conduct.
        farads: (node,) capacitance of every node to ground, >= 0.
        volts: (batch, node) free states.
        frequencies_hz: (frequency,), 0 is DC.

    Returns:
        (batch, frequency, node, node) ohms: [..., i, j] is dv_i/dI_j.

    Raises:
        InputError: ideal diodes, shapes that do not fit, negative capacitances.
    """
    loads = checked_farads(network, farads)
    volts = finite("volts", volts, (None, network.node_count))
    omegas = 2.0 * np.pi * finite("frequencies_hz", frequencies_hz, (None,))
    inverse = np.linalg.inv(_small_signal(network, loads, volts, omegas))
    return np.asarray(inverse * network.level / network.level[:, None])


def slowest_seconds(network: ResistiveNetwork, farads: FloatArray) -> float:
    """The longest time constant of the network with all diodes blocking; conducting ones only make it shorter.

    The inverse of the least eigenvalue of C^-1/2 H C^-1/2, of nodes with capacitance.
    """
    root = np.sqrt(checked_farads(network, farads))
    # Eigenvalues of C^1/2 H^-1 C^1/2: nodes without capacitance have 0.
    return float(np.linalg.eigvalsh(root[:, None] * np.linalg.inv(_admittance(network)) * root).max())


def checked_farads(network: ResistiveNetwork, farads: FloatArray) -> FloatArray:
    """``farads``, if they can be those of the network's nodes.

    Raises:
        InputError: shape, sign, or diodes that are ideal.
    """
    loads = finite("farads", farads, (network.node_count,))
    if np.any(loads < 0):
        raise InputError(f"farads: expected capacitances >= 0, got {loads.min():g}")
    if not network.diodes.curved and np.isfinite(network.diodes.box_volts).any():
        raise InputError(
            "farads: ideal diodes switch at once, which no smooth dynamics follow; expected Shockley diodes"
        )
    return loads


@final
class _Balance:
    """The equation on ``samples`` of a period, levelled volts (batch, samples, node), and Newton's method for it."""

    def __init__(self, network: ResistiveNetwork, farads: FloatArray, omega: float, samples: int) -> None:
        self._diodes, self._farads = network.levelled_diodes, farads
        self._admittance = _admittance(network)
        self._scale = network.system.diagonal * network.level
        self._samples = samples
        # Half the sampling rate has no phase: its derivative is 0.
        self._rates = 1j * omega * np.arange(samples // 2 + 1)
        self._rates[-1] = 0.0
        self._cosine = np.cos(np.arange(samples) * (2.0 * np.pi / samples))[None, :, None]

    def missing(self, w: FloatArray, held: FloatArray, peak: FloatArray) -> FloatArray:
        """Amperes that are missing at every instant."""
        push = held[:, None] + self._cosine * peak[:, None]
        return np.asarray(push - self._linear(w) + self._diodes.current_and_slope(w)[0])

    def solve(self, w: FloatArray, held: FloatArray, peak: FloatArray, limit_volts: float) -> FloatArray:
        """Newton's method from ``w``; rows that can't be brought within the limit stop where they are."""
        w = w.copy()
        active = np.arange(len(w))
        force = self.missing(w, held, peak)
        for _ in range(NEWTON_STEPS):
            going = np.abs(force[active] / self._scale).max(axis=(1, 2)) > limit_volts
            active = active[going]
            if not len(active):
                break
            step = self._newton(w[active], force[active])
            norm = self._norm(force[active])
            todo = np.arange(len(active))
            share = 1.0
            for _ in range(HALVINGS):
                rows = active[todo]
                trial = w[rows] + share * step[todo]
                left = self.missing(trial, held[rows], peak[rows])
                good = self._norm(left) <= (1.0 - 1e-4 * share) * norm[todo]
                w[rows[good]], force[rows[good]] = trial[good], left[good]
                todo = todo[~good]
                if not len(todo):
                    break
                share *= 0.5
            active = np.delete(active, todo)
        return w

    def _norm(self, force: FloatArray) -> FloatArray:
        """(batch,), of the missing currents, each over the conductances on its node."""
        return np.asarray(np.linalg.norm((force / self._scale).reshape(len(force), -1), axis=1))

    def _linear(self, w: FloatArray) -> FloatArray:
        rates = self._rates[:, None] * self._farads
        current = np.fft.irfft(rates * np.fft.rfft(w, axis=1), self._samples, axis=1)
        return np.asarray(current + w @ self._admittance)

    def _newton(self, w: FloatArray, force: FloatArray) -> FloatArray:
        """x of (C d/dt + H + slopes) x = force."""
        siemens = self._diodes.current_and_slope(w)[1]
        mean = siemens.mean(axis=1)
        matrix = _with_slopes(self._admittance, mean)[:, None] + self._rates[:, None, None] * np.diag(self._farads)
        inverse = np.linalg.inv(matrix)

        def precondition(values: FloatArray) -> FloatArray:
            waves = np.fft.rfft(values, axis=1)
            return np.asarray(np.fft.irfft((inverse @ waves[..., None])[..., 0], self._samples, axis=1))

        def product(flat: FloatArray) -> FloatArray:
            # (mean network + d) x = r, d the slopes less their mean: x + inverse d x = inverse r.
            x = flat.reshape(w.shape)
            return flat + precondition((siemens - mean[:, None]) * x).reshape(flat.shape)

        right = precondition(force).reshape(len(w), -1)
        return gmres(product, right, LINEAR_RELATIVE, LINEAR_STEPS).reshape(w.shape)


def _admittance(network: ResistiveNetwork) -> FloatArray:
    return network.system.apply(np.eye(network.node_count))


def _with_slopes(admittance: FloatArray, siemens: FloatArray) -> FloatArray:
    """admittance + diag(siemens), (batch, node, node) for slopes (batch, node)."""
    place = np.arange(len(admittance))
    matrix = np.repeat(admittance[None], len(siemens), axis=0)
    matrix[:, place, place] += siemens
    return matrix


def _small_signal(network: ResistiveNetwork, farads: FloatArray, volts: FloatArray, omegas: FloatArray) -> ComplexArray:
    """i w C + G of levelled volts, (batch, frequency, node, node), at operating points ``volts`` (batch, node)."""
    siemens = network.levelled_diodes.current_and_slope(volts * network.level)[1]
    real = _with_slopes(_admittance(network), siemens)
    return np.asarray(real[:, None] + 1j * omegas[:, None, None] * np.diag(farads))


def _series(states: FloatArray) -> ComplexArray:
    """(batch, samples, node) -> (batch, samples // 2, node) amplitudes c of sum over k of Re(c_k e^{ik phase})."""
    series = np.fft.rfft(states, axis=1)[:, :-1] * (2.0 / states.shape[1])
    series[:, 0] *= 0.5
    return np.asarray(series)


def _samples(series: ComplexArray, count: int) -> FloatArray:
    """The other way, at ``count`` samples, no fewer than twice the harmonics."""
    part = series * (0.5 * count)
    part[:, 0] *= 2.0
    return np.asarray(np.fft.irfft(part, count, axis=1))
