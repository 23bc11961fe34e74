"""The periodic steady state under a sinusoidal nudge at any frequency, by harmonic balance, a batch at a time.

A periodic state of (equations.py)  tau du/dt = -u + I(s) + drive + nudge cos(wt),  tau_a ds/dt = f(u) - s  is a fixed
point of

    u = A (I(B f(u)) + drive + nudge cos(wt)),

A and B dividing harmonic k by 1 + i k w tau and 1 + i k w tau_a (alternating frequency/time harmonic balance; Cameron &
Griffin 1989). f and I, the currents of the arrays (W s where these are matrices), act on N samples of a period, A and B
on their Fourier series of harmonics 0..N/2 - 1. Newton's method solves it; its linear systems, with the slopes of f and
I at every sample, go by GMRES, one group of layers eliminated exactly where layers alternate. N doubles until the
equations, put to the test at 2N samples, hold there too: the residual stated is that one, with what the truncated
series leaves out.

The branch is the one that grows from the free state with the nudge's amplitude. Newton's method follows it in steps
within which each correction is less than half the one before (the restricted monotonicity test; Deuflhard, Newton
Methods for Nonlinear Problems, section 5.1), shorter ones where it bends. Where no step is short enough, or linearised
dynamics grow on the orbit found, the branch is lost: the dynamics themselves, the nudge switched on at the free state,
then give the state, and the sample is marked as broken.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.networks.equations import Equations, spread
from emulators.networks.equilibrium import Tolerance
from emulators.networks.krylov import gmres
from emulators.networks.orbits import follow, stable_orbits
from emulators.networks.time_constants import ComplexArray, TimeConstants
from substrate.arrays import BoolArray, FloatArray, IntArray, finite
from substrate.tones import SamplingPlan

LEVELS = ((16, 1e-4), (32, 1e-7), (64, 0.0), (128, 0.0), (256, 0.0), (512, 0.0), (1024, 0.0), (2048, 0.0))
"""Samples of a period, tried in turn, and the residual, activity units, to which coarse ones need not be solved.

Smooth cells and neurons need few; a transistor's law, whose curvature jumps, needs many: errors fall as samples^-3."""

SLOPES_IN_FLIGHT = 2**23
"""Small-signal weights that are held at a time, where those of every instant are others."""

OUTPUT_SAMPLES = 256
"""Samples of a period that delayed outputs are computed from, at least
(no residual tells of outputs that drive nothing)."""

DENSE = 128
"""Samples up to which one low-pass for all nodes is faster as a matrix over time than by Fourier transforms."""

CONTRACTION = 0.5
"""Largest ratio of successive Newton corrections on a branch that counts as followed."""

SHORTEST_STEP = 1.0 / 64.0
"""Of the nudge's amplitude; a branch that can't be followed with this step is lost."""

NEWTON_STEPS = 12
LINEAR_STEPS = 40
LINEAR_RELATIVE = 1e-3
"""Residual of a linear solve, relative: each Newton correction gains this factor at best."""

RESOLVED = 1e-4
"""Residual at 2N samples, activity units, up to which a state is as good as the samples allow, and a lost branch lost.
"""


@final
@dataclass(frozen=True)
class PeriodicResponse:
    """One period from the nudge's crest on, in activity units.

    Attributes:
        u: (batch, time, node) node states.
        s: (batch, time, node) neuron outputs, amplifier delay included.
        residual: (batch,) of the fixed-point equation above, the largest over the period and the nodes.
        unbroken: (batch,) whether the branch held from the free state up to the full nudge, is stable, and was solved
            within tolerance.
        samples: (batch,) of a period, as used in the solution.
    """

    u: FloatArray
    s: FloatArray
    residual: FloatArray
    unbroken: BoolArray
    samples: IntArray


def nudged_period(
    network: Equations,
    constants: TimeConstants,
    free: FloatArray,
    drive: FloatArray,
    nudge: FloatArray,
    plan: SamplingPlan,
    tolerance: Tolerance,
) -> PeriodicResponse:
    """The steady state under ``drive + nudge cos(2 pi f t)``, sampled by ``plan`` from the crest on.

    Args:
        network: the equations.
        constants: the time constants.
        free: (batch, node) free states, at nudge zero.
        drive: (batch, node) held currents.
        nudge: (batch, node) peak nudge.
        plan: frequency and samples of a period.
        tolerance: ``residual`` of the answer; ``dynamic_steps`` after which a lost branch is given up.

    Raises:
        InputError: shapes that do not fit the network, numbers that are not finite.
    """
    nodes = network.node_count
    constants.check(nodes)
    free = finite("free", free, (None, nodes))
    drive, nudge = finite("drive", drive, (len(free), nodes)), finite("nudge", nudge, (len(free), nodes))
    omega = 2.0 * np.pi * plan.frequency_hz
    walk = _Walk(network, constants, omega, free, drive, nudge, tolerance.residual)
    for samples, residual in LEVELS:
        walk.climb(samples, residual)
    walk.review()
    lost = np.flatnonzero(walk.reached < 1.0)
    if len(lost):
        start = follow(
            network, constants, free[lost], drive[lost], nudge[lost], omega, LEVELS[1][0], tolerance.dynamic_steps
        )
        walk.restart(lost, start)
        for samples, residual in LEVELS[1:]:
            walk.climb(samples, residual, careful=False)
    response = walk.sampled(plan)
    response.unbroken[lost] = False
    return response


@final
class _Walk:
    """The states of a batch on their way from the free state to the full nudge.

    Attributes:
        reached: (batch,) share of the nudge's amplitude for which the state is known.
    """

    def __init__(
        self,
        network: Equations,
        constants: TimeConstants,
        omega: float,
        free: FloatArray,
        drive: FloatArray,
        nudge: FloatArray,
        residual: float,
    ) -> None:
        self._network, self._constants, self._omega = network, constants, omega
        self._drive, self._nudge, self._tolerance = drive, nudge, residual
        self.reached = np.zeros(len(free))
        self._todo = np.ones(len(free), dtype=np.bool_)
        self._residual = np.full(len(free), np.inf)
        self._samples = np.full(len(free), LEVELS[0][0])
        # Every solution as its Fourier series, as long as the longest in use; the others end in zeros.
        self._series = np.zeros((len(free), LEVELS[0][0] // 2, network.node_count), dtype=np.complex128)
        self._series[:, 0] = free

    def restart(self, rows: IntArray, states: FloatArray) -> None:
        """Take up given states (row, samples, node) at the full nudge."""
        self._series[rows] = 0.0
        self._store(rows, states)
        self.reached[rows] = 1.0
        self._todo[rows] = True

    def climb(self, samples: int, residual: float, careful: bool = True) -> None:
        """Go on with ``samples`` of a period, up to the full nudge where the branch can be followed."""
        rows = np.flatnonzero(self._todo)
        if not len(rows):
            return
        balance = _Balance(self._network, self._constants, self._omega, samples)
        # Half of the tolerance is left to what the series leaves out.
        tolerance = max(0.5 * self._tolerance, residual)
        step = 1.0 - self.reached[rows]
        going = np.arange(len(rows))
        states = _samples(self._series[rows], samples)
        while len(going):
            here = rows[going]
            share = np.minimum(1.0, self.reached[here] + step[going])
            found, good = balance.solve(
                states[going], self._drive[here], share[:, None] * self._nudge[here], tolerance, careful=careful
            )
            accepted = going[good]
            states[accepted] = found[good]
            at_top = self.reached[here] == 1.0
            self.reached[rows[accepted]] = share[good]
            step[accepted] *= 2.0
            step[going[~good]] *= 0.5
            going = going[~(at_top | (self.reached[here] == 1.0) | (step[going] < SHORTEST_STEP))]
        self._store(rows, states)
        self._judge(rows, samples)

    def _store(self, rows: IntArray, states: FloatArray) -> None:
        more = states.shape[1] // 2 - self._series.shape[1]
        if more > 0:
            self._series = np.pad(self._series, ((0, 0), (0, more), (0, 0)))
        self._series[rows, : states.shape[1] // 2] = _series(states)

    def _judge(self, rows: IntArray, samples: int) -> None:
        """Put the equations to the test at twice the samples; decide who needs them."""
        fine = _Balance(self._network, self._constants, self._omega, 2 * samples)
        share = self.reached[rows]
        states = _samples(self._series[rows], 2 * samples)
        error = fine.image(states, self._drive[rows], share[:, None] * self._nudge[rows])[0] - states
        residual = np.abs(error).max(axis=(1, 2))
        self._residual[rows] = residual
        self._samples[rows] = samples
        # A lost branch that is well resolved is lost; one that is not may be found again with more samples.
        self._todo[rows] = np.where(share == 1.0, residual > self._tolerance, residual > RESOLVED)

    def review(self) -> None:
        """Take back what could not be solved or ended on an unstable orbit."""
        self.reached[self._residual > max(self._tolerance, RESOLVED)] = 0.0
        whole = np.flatnonzero(self.reached == 1.0)
        if not len(whole):
            return
        samples = int(self._samples[whole].max())
        balance = _Balance(self._network, self._constants, self._omega, samples)
        for part in balance.parts(len(whole)):
            rows = whole[part]
            states = _samples(self._series[rows], samples)
            slopes, weights = self._network.slope(states), self._network.weights_at(balance.outputs(states))
            stable = stable_orbits(weights, self._constants, slopes, self._omega)
            self.reached[rows[~stable]] = 0.0

    def sampled(self, plan: SamplingPlan) -> PeriodicResponse:
        """The answer at the plan's phases; harmonics of ``s`` beyond the solution's samples are those of f(u)."""
        u = _at(self._series, plan.phases())
        if self._constants.delayed:
            fine = max(OUTPUT_SAMPLES, 4 * self._series.shape[1])
            balance = _Balance(self._network, self._constants, self._omega, fine)
            s = _at(_series(balance.outputs(_samples(self._series, fine))), plan.phases())
        else:
            s = self._network.activity(u)
        unbroken = (self.reached == 1.0) & (self._residual <= self._tolerance)
        return PeriodicResponse(u, s, self._residual, unbroken, self._samples)


@final
class _Balance:
    """The fixed-point equation on ``samples`` of a period, and Newton's method for it."""

    def __init__(self, network: Equations, constants: TimeConstants, omega: float, samples: int) -> None:
        self._network = network
        omegas = np.asarray(omega * np.arange(samples // 2 + 1))
        pivot, other = self._pivot, self._other = network.groups
        poles = constants.node_response(omegas)
        # Half the sampling rate has no phase: it is left out, here and so in every state.
        poles[-1] = 0.0
        self._poles, self._pivot_poles, self._other_poles = (
            _LowPass(part, samples) for part in (poles, poles[:, pivot], poles[:, other])
        )
        delays = constants.amplifier_response(omegas) if constants.delayed else np.ones_like(poles)
        self._delays, self._pivot_delays, self._other_delays = (
            _LowPass(part, samples) if constants.delayed else None
            for part in (delays, delays[:, pivot], delays[:, other])
        )
        self._cosine = np.cos(np.arange(samples) * (2.0 * np.pi / samples))[None, :, None]

    def parts(self, count: int) -> Iterator[slice]:
        """Which of ``count`` rows go together."""
        step = max(1, SLOPES_IN_FLIGHT // max(1, len(self._cosine[0]) * self._network.slopes_an_instant))
        return (slice(first, first + step) for first in range(0, count, step))

    def outputs(self, u: FloatArray) -> FloatArray:
        """Neuron outputs (batch, samples, node)."""
        s = self._network.activity(u)
        return s if self._delays is None else self._delays.apply(s)

    def image(self, u: FloatArray, drive: FloatArray, nudge: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The right-hand side of the fixed-point equation for states ``u``, and the outputs on the way."""
        s = self.outputs(u)
        currents = self._network.currents(s)
        currents += drive[:, None] + self._cosine * nudge[:, None]
        return self._poles.apply(currents), s

    def solve(
        self, u: FloatArray, drive: FloatArray, nudge: FloatArray, tolerance: float, *, careful: bool
    ) -> tuple[FloatArray, BoolArray]:
        """Newton's method from ``u`` (batch, samples, node): states, and which are solved.

        ``careful``: give a row up as soon as a correction is not well smaller than the one before.
        """
        u = u.copy()
        solved = np.zeros(len(u), dtype=np.bool_)
        for part in self.parts(len(u)):
            solved[part] = self._newton(u[part], drive[part], nudge[part], tolerance, careful=careful)
        return u, solved

    def _newton(
        self, u: FloatArray, drive: FloatArray, nudge: FloatArray, tolerance: float, *, careful: bool
    ) -> BoolArray:
        """The same for some rows, in place."""
        solved = np.zeros(len(u), dtype=np.bool_)
        active = np.arange(len(u))
        last = np.full(len(u), np.inf)
        for _ in range(NEWTON_STEPS):
            state = u[active]
            image, outputs = self.image(state, drive[active], nudge[active])
            error = image - state
            going = np.abs(error).max(axis=(1, 2)) > tolerance
            solved[active[~going]] = True
            active, state, error = active[going], state[going], error[going]
            if not len(active):
                break
            correction = self._correction(state, outputs[going], error)
            size = np.linalg.norm(correction.reshape(len(active), -1), axis=1)
            kept = np.isfinite(size)
            if careful:
                kept &= size <= CONTRACTION * last[active]
            last[active] = size
            active = active[kept]
            u[active] += correction[kept]
        return solved

    def _correction(self, u: FloatArray, s: FloatArray, error: FloatArray) -> FloatArray:
        """x of x - A W B D x = error, D and W the slopes at ``u`` and ``s``; one group of layers is eliminated."""
        slope = self._network.slope(u)
        to_other, to_pivot, within = self._network.couplings_at(s)
        pivot_slope, other_slope = slope[..., self._pivot], slope[..., self._other]
        pivot_error, other_error = error[..., self._pivot], error[..., self._other]
        shape = pivot_error.shape

        def leaving(pivot: FloatArray) -> FloatArray:
            image = pivot_slope * pivot
            return image if self._pivot_delays is None else self._pivot_delays.apply(image)

        def onto_other(pivot: FloatArray) -> FloatArray:
            return self._other_poles.apply(spread(leaving(pivot), to_other))

        def onto_pivot(other: FloatArray) -> FloatArray:
            image = other_slope * other
            image = image if self._other_delays is None else self._other_delays.apply(image)
            return self._pivot_poles.apply(spread(image, to_pivot))

        def product(flat: FloatArray) -> FloatArray:
            pivot = flat.reshape(shape)
            if within is not None:
                # The pivot is all there is.
                return flat - self._pivot_poles.apply(spread(leaving(pivot), within)).reshape(flat.shape)
            return flat - onto_pivot(onto_other(pivot)).reshape(flat.shape)

        right = pivot_error if within is not None else pivot_error + onto_pivot(other_error)
        pivot = gmres(product, right.reshape(len(u), -1), LINEAR_RELATIVE, LINEAR_STEPS).reshape(shape)
        correction = np.empty_like(u)
        correction[..., self._pivot] = pivot
        if within is None:
            correction[..., self._other] = other_error + onto_other(pivot)
        return correction


@final
class _LowPass:
    """The response of single poles (harmonic, node) to periodic values (batch, samples, node)."""

    def __init__(self, response: ComplexArray, samples: int) -> None:
        self._response, self._samples = response, samples
        self._matrix: FloatArray | None = None
        if samples <= DENSE and response.size and np.all(response == response[:, :1]):
            impulse = np.fft.irfft(response[:, 0], samples)
            lags = np.arange(samples)[:, None] - np.arange(samples)
            self._matrix = np.ascontiguousarray(impulse[lags % samples])

    def apply(self, values: FloatArray) -> FloatArray:
        if self._matrix is not None:
            return np.asarray(self._matrix @ values)
        return np.asarray(np.fft.irfft(np.fft.rfft(values, axis=1) * self._response, self._samples, axis=1))


def _series(states: FloatArray) -> ComplexArray:
    """(batch, samples, node) -> (batch, samples // 2, node) amplitudes c of sum over k of Re(c_k e^{ik phase})."""
    count = states.shape[1]
    series = np.fft.rfft(states, axis=1)[:, :-1] * (2.0 / count)
    series[:, 0] *= 0.5
    return np.asarray(series)


def _samples(series: ComplexArray, count: int) -> FloatArray:
    """The other way, at ``count`` samples; harmonics that these do not hold are left out."""
    part = series[:, : count // 2] * (0.5 * count)
    part[:, 0] *= 2.0
    return np.asarray(np.fft.irfft(part, count, axis=1))


def _at(series: ComplexArray, phases: FloatArray) -> FloatArray:
    """The series at any phases, (batch, phase, node)."""
    waves = np.exp(1j * np.outer(phases, np.arange(series.shape[1])))
    return np.asarray((waves @ series).real)
