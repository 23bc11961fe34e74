"""How a current-mode network answers a nudge at its frequency: equilibria, periodic states, or the transient.

Up to ``solver.quasi_static`` equilibria stand for the steady state; above, the periodic state itself is solved for; on
request the dynamics are followed from the moment the nudge is switched on, and the record shows what has not died out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np

from emulators.config import NeuronsConfig, SolverConfig
from emulators.networks import periodic
from emulators.networks.equations import Equations
from emulators.networks.equilibrium import Tolerance
from emulators.networks.orbits import slowest_seconds
from emulators.networks.quasi_static import PeriodicStates
from emulators.networks.steadiness import repeats
from emulators.networks.time_constants import TimeConstants
from emulators.networks.transient import Accuracy, integrate
from substrate.arrays import BoolArray, FloatArray
from substrate.errors import InputError
from substrate.tones import SamplingPlan

QUASI_STATIC = 0.02
"""Largest omega tau that a circuit is asked for which has equilibria alone: the in-phase error is its square, 4e-4."""

FASTEST = 10.0
"""Largest omega tau of a nudge: beyond, less than a hundredth of a node's response, 1/(1 + (omega tau)^2), is in phase
with it, and no extrapolation brings it back."""

FINEST_STEP = 1e-12
"""Relative error of a transient's step below which rounding takes over."""


EquilibriumWalk: TypeAlias = Callable[[FloatArray, FloatArray, FloatArray, SamplingPlan, Tolerance], PeriodicStates]
"""Equilibria over a period, by free states, held drive, nudge, plan and tolerance."""


@final
@dataclass(frozen=True)
class NudgedOutputs:
    """Neuron outputs (batch, time, node) from the nudge's crest on: one period, or all that are recorded.

    ``residual`` (batch,), activity units, of the periodic state; of a transient the largest change from the last period
    but one to the last, NaN where there was only one. ``unbroken`` (batch,): the branch held; a transient cannot tell.
    """

    s: FloatArray
    residual: FloatArray
    unbroken: BoolArray


@final
@dataclass(frozen=True)
class Dynamics:
    """What makes a network slow, and what is asked for of a nudge.

    Attributes:
        constants: the time constants of all nodes; None where nothing is slow.
        solver: kind of steady state.
    """

    constants: TimeConstants | None
    solver: SolverConfig

    @classmethod
    def from_config(
        cls, neurons: NeuronsConfig, solver: SolverConfig, unit_siemens: float, count: int, rng: np.random.Generator
    ) -> "Dynamics":
        """Draw the time constants of ``count`` nodes, log-normal around the nominal ones.

        Raises:
            InputError: a transient without a time constant.
        """
        node_seconds = neurons.time_constant_seconds or (neurons.node_farads + neurons.line_farads) / unit_siemens
        if not node_seconds:
            if solver.steady_state == "transient":
                raise InputError("substrate.solver.steady_state: a transient needs neurons.time_constant_seconds")
            return cls(None, solver)
        hertz = np.inf if neurons.amplifier_bandwidth_hz is None else neurons.amplifier_bandwidth_hz
        spread = np.exp(neurons.time_constant_spread * rng.standard_normal((2, count)))
        farads = node_seconds * unit_siemens * spread[0]
        constants = TimeConstants.of_circuit(count, unit_siemens, farads, amplifier_hertz=hertz / spread[1])
        return cls(constants, solver)

    @property
    def highest_frequency_hz(self) -> float:
        """Of a nudge, omega tau = ``FASTEST``; infinite where nothing is slow."""
        return self._hertz(FASTEST)

    @property
    def quasi_static_hz(self) -> float:
        """Highest frequency of a nudge where equilibria are all there is."""
        return self._hertz(QUASI_STATIC)

    def _hertz(self, omega_tau: float) -> float:
        return float("inf") if self.constants is None else omega_tau / (2.0 * np.pi * slowest_seconds(self.constants))

    def refuse_fast(self, what: str) -> None:
        """Refuse whatever goes beyond equilibria.

        Raises:
            InputError: names the key.
        """
        if self.solver.steady_state != "exact":
            raise InputError(f"substrate.solver.steady_state: {what} are solved by equilibria; expected exact")
        self.refuse_delays(what)

    def refuse_delays(self, what: str) -> None:
        """Refuse amplifiers with a bandwidth.

        Raises:
            InputError: names the key.
        """
        if self.constants is not None and self.constants.delayed:
            raise InputError(f"substrate.neurons.amplifier_bandwidth_hz: not modelled with {what}; expected none")

    def quasi_static(self, plan: SamplingPlan) -> bool:
        """Whether the network keeps up with a nudge: its response is one of equilibria."""
        if self.constants is None:
            return True
        return self.solver.steady_state != "transient" and plan.frequency_hz <= self._hertz(self.solver.quasi_static)

    def outputs(
        self,
        network: Equations,
        equilibria: EquilibriumWalk,
        free: FloatArray,
        drive: FloatArray,
        nudge: FloatArray,
        plan: SamplingPlan,
        tolerance: Tolerance,
    ) -> NudgedOutputs:
        """Outputs under ``drive + nudge cos(2 pi f t)``.

        Args:
            network: the equations.
            equilibria: their quasi-static period.
            free: (batch, node) free states.
            drive: (batch, node) held currents.
            nudge: (batch, node) peak nudge.
            plan: the tone and its sampling.
            tolerance: of the states.
        """
        constants = self.constants
        if constants is None or self.quasi_static(plan):
            walked = equilibria(free, drive, nudge, plan, tolerance)
            return NudgedOutputs(network.activity(walked.u), walked.residual, walked.unbroken)
        if self.solver.steady_state == "transient":
            return self._transient(network, constants, free, drive, nudge, plan)
        response = periodic.nudged_period(network, constants, free, drive, nudge, plan, tolerance)
        return NudgedOutputs(response.s, response.residual, response.unbroken)

    def _transient(
        self,
        network: Equations,
        constants: TimeConstants,
        free: FloatArray,
        drive: FloatArray,
        nudge: FloatArray,
        plan: SamplingPlan,
    ) -> NudgedOutputs:
        before, per_period = self.solver.settle_periods, plan.samples_per_period
        # One period more than is recorded, if there is one, to compare the last with.
        first = max(before - 1, 0)
        samples = np.arange(first * per_period, (before + plan.periods) * per_period)
        times = samples / plan.rate_hz
        asked = times if first == 0 else np.concatenate([[0.0], times])
        omega = 2.0 * np.pi * plan.frequency_hz
        accuracy = Accuracy(max(self.solver.residual, FINEST_STEP), self.solver.residual)
        run = integrate(network, constants, free, lambda time: drive + np.cos(omega * time) * nudge, asked, accuracy)
        outputs = run.s[:, len(asked) - len(times) :]
        residual = np.full(len(free), np.nan)
        if len(times) > per_period:
            change = outputs[:, -per_period:] - outputs[:, -2 * per_period : -per_period]
            residual = np.abs(change).max(axis=(1, 2))
        recorded = np.ascontiguousarray(outputs[:, (before - first) * per_period :])
        return NudgedOutputs(recorded, residual, repeats(outputs, plan, self.solver.settle_tolerance))
