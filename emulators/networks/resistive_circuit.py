"""The resistive family on its arrays: nodes joined by cells, doubled inputs, bias rails, diodes at the hidden nodes.

The complement of every input is formed behind the converter, so that +x and -x carry the same quantisation. With wires
the arrays enter by the admittance of their ports; the conjugates that are read at the ports are then the cells' own but
for the drop along the lines, and the gradient, exact without wires, has an error of the order of that drop.

Nodes with a capacitance answer a nudge by equilibria as long as omega times the longest time constant of the network is
below the limit of ``dynamics.py``; beyond it the periodic state itself is solved for, or the transient on request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.arrays import DifferentialArray
from emulators.config import DiodesConfig, EmulatorConfig, SolverConfig
from emulators.diodes import Diodes, IdealDiodes, ShockleyDiodes, rectified_rails
from emulators.networks.circuit import Circuit, NudgedStates, Period, Settled
from emulators.networks.resistive import ResistiveCoupling, ResistiveNetwork
from emulators.networks.resistive_dynamics import periodic_state, slowest_seconds, switched_on
from emulators.networks.resistive_response import adjoint, nudged_period
from emulators.networks.resistive_steady import SteadyState, SteadyTolerance, settle, sweep
from substrate.arrays import FloatArray
from substrate.capabilities import HeldNudge
from substrate.contract import Scale
from substrate.errors import CapabilityError, InputError
from substrate.network import Coupling, Network
from substrate.tones import SamplingPlan


@final
@dataclass(frozen=True)
class ResistiveParts:
    """What a resistive circuit is made of, and where it stands.

    Attributes:
        network: the equations at the present conductances.
        input_volts: (batch, held) all held inputs, complements included.
        free: (batch, node) free states in volts.
        farads: (node,) capacitance of all free nodes; None where nothing is slow.
    """

    network: ResistiveNetwork
    input_volts: FloatArray
    free: FloatArray
    farads: FloatArray | None


@final
class ResistiveCircuit(Circuit):
    """Layers of nodes that arrays of single cells join, one half of each hidden layer clamped >= 0, the other <= 0.

    Args:
        network: topology.
        arrays: by the name of their coupling.
        diodes: of all free nodes.
        scale: volts and siemens of a unit.
        solver: residual of every steady state, and kind of steady state under a nudge.
        farads: (node,) capacitance of all free nodes; None where nothing is slow.
    """

    def __init__(
        self,
        network: Network,
        arrays: Mapping[str, DifferentialArray],
        diodes: Diodes,
        scale: Scale,
        solver: SolverConfig,
        farads: FloatArray | None = None,
    ) -> None:
        self._network = network
        self._arrays = arrays
        self._diodes = diodes
        self._scale = scale
        self._solver = solver
        self._tolerance = SteadyTolerance(residual_volts=solver.residual * scale.volts_per_unit)
        self._sweeping = solver.relaxation == "sweeps"
        self._near = SteadyTolerance(residual_volts=solver.sweeps.tolerance * scale.volts_per_unit)
        self._farads = farads
        self._slowest_seconds: float | None = None
        self._equations: ResistiveNetwork | None = None
        self._inputs = np.zeros((0, network.input_size))
        self._drive: FloatArray | None = None
        self._free: SteadyState | None = None

    def cells_changed(self) -> None:
        """Forget what was derived from the cells."""
        self._equations = self._drive = self._free = self._slowest_seconds = None

    def hold(self, volts: FloatArray) -> None:
        """Hold inputs; their complements are held beside them."""
        self._inputs = volts
        self._drive = self._free = None

    def release(self) -> None:
        """Hold nothing."""
        self.hold(np.zeros((0, self._network.input_size)))

    def settle(self) -> Settled:
        """The steady state, which is unique, or what so many sweeps from 0 V come to."""
        sweeps = self._solver.sweeps
        if self._sweeping:
            found = sweep(self.equations(), self._held_drive(), sweeps.free, tolerance=self._near)
        else:
            found = settle(self.equations(), self._held_drive(), self._tolerance)
        self._free = found
        return Settled(found.volts, found.residual_volts / self._scale.volts_per_unit, found.settled)

    def nudge(self, amperes: FloatArray, plan: SamplingPlan) -> Period:
        """The response at the nudge's frequency; samples in which an ideal diode switched are marked as kinked."""
        free = self._settled_state("nudge")
        if self._sweeping:
            # Sweeps stop short of the steady state that a period is walked from.
            free = settle(self.equations(), self._held_drive(), self._tolerance, free.volts)
        if len(amperes) != len(free.volts):
            raise InputError(f"nudge: expected a batch of {len(free.volts)}, got {len(amperes)}")
        network, drive = self.equations(), self._held_drive()
        if self._farads is not None and self._solver.steady_state == "transient":
            accuracy, before = self._tolerance.residual_volts, self._solver.settle_periods
            agreeing = self._solver.settle_tolerance
            run = switched_on(network, self._farads, free.volts, drive, amperes, plan, before, accuracy, agreeing)
            return Period(run.volts, run.change_volts / self._scale.volts_per_unit, run.settled & free.settled)
        if self._farads is not None and self._omega_tau(plan, self._farads) > self._solver.quasi_static:
            orbit = periodic_state(network, self._farads, free.volts, drive, amperes, plan, self._tolerance)
            missing = orbit.residual_volts / self._scale.volts_per_unit
            return Period(orbit.volts, missing, orbit.settled & free.settled)
        period = nudged_period(network, free, drive, amperes, plan, self._tolerance)
        residual = period.residual_volts / self._scale.volts_per_unit
        return Period(period.volts, residual, period.settled & free.settled, period.switched)

    def settle_nudged(self, nudge: HeldNudge) -> NudgedStates:
        """Real currents, and conductances to sources; the steady state is unique."""
        free = self._settled_state("held nudge")
        batch, points, _ = nudge.amperes.shape
        if batch != len(free.volts):
            raise InputError(f"held nudge: expected a batch of {len(free.volts)}, got {batch}")
        drive = np.repeat(self._held_drive(), points, axis=0) + nudge.amperes.real.reshape(batch * points, -1)
        load = None if nudge.siemens is None else nudge.siemens.real.reshape(batch * points, -1)
        start = np.repeat(free.volts, points, axis=0)
        if self._sweeping:
            count = self._solver.sweeps.nudged
            found = sweep(self.equations(), drive, count, start, tolerance=self._near, load_siemens=load)
        else:
            found = settle(self.equations(), drive, self._tolerance, start, load_siemens=load)
        residual = found.residual_volts.reshape(batch, points) / self._scale.volts_per_unit
        settled = found.settled.reshape(batch, points) & free.settled[:, None]
        return NudgedStates(found.volts.reshape(batch, points, -1), residual, settled)

    def adjoint(self, values: FloatArray, steps: int | None = None) -> FloatArray:
        """chi^T values; nodes that an ideal diode holds do not respond."""
        if steps is not None:
            raise CapabilityError("an adjoint of steps needs the capability 'stepping', which this device lacks")
        return adjoint(self.equations(), self._settled_state("adjoint"), values)

    def parts(self) -> ResistiveParts:
        """What the circuit is made of, at the inputs now held and the free state.

        Raises:
            InputError: nothing has settled.
        """
        free = self._settled_state("netlist").volts
        return ResistiveParts(self.equations(), self._doubled(), free, self._farads)

    def equations(self) -> ResistiveNetwork:
        """The equations at the present conductances, in SI units."""
        if self._equations is None:
            couplings = [self._coupling(coupling) for coupling in self._network.forward]
            self._equations = ResistiveNetwork(couplings, self._diodes)
        return self._equations

    def _omega_tau(self, plan: SamplingPlan, farads: FloatArray) -> float:
        return 2.0 * np.pi * plan.frequency_hz * self._slowest(farads)

    def _slowest(self, farads: FloatArray) -> float:
        if self._slowest_seconds is None:
            self._slowest_seconds = slowest_seconds(self.equations(), farads)
        return self._slowest_seconds

    def _coupling(self, coupling: Coupling) -> ResistiveCoupling:
        array = self._arrays[coupling.name]
        rails = np.array(coupling.bias_lines) * self._scale.volts_per_unit
        admittance = None if array.ideal_wires else array.port_admittance()
        return ResistiveCoupling(array.seen_siemens[0], rails, coupling.gain, admittance)

    def _settled_state(self, purpose: str) -> SteadyState:
        if self._free is None:
            raise InputError(f"{purpose}: the free phase has not settled; call settle() after hold()")
        return self._free

    def _held_drive(self) -> FloatArray:
        """Amperes that inputs and rails put into the nodes, (batch, node)."""
        if self._drive is None:
            self._drive = self.equations().drive(self._doubled())
        return self._drive

    def _doubled(self) -> FloatArray:
        """Volts of all held inputs, (batch, held): the complements beside them."""
        return np.concatenate([self._inputs, -self._inputs], axis=1)


def make_diodes(network: Network, config: DiodesConfig, offset_volts: FloatArray) -> Diodes:
    """The diodes of all nodes: one at each hidden node, none at the outputs.

    Args:
        network: topology.
        config: their law.
        offset_volts: (node,), mismatch of the clamping voltages.
    """
    low, high = rectified_rails(network.sizes[1:-1], network.sizes[-1], config.knee_volts)
    low, high = low + offset_volts, high + offset_volts
    if config.law == "ideal":
        return IdealDiodes(low, high)
    return ShockleyDiodes.alike(low, high, config.saturation_amperes, config.emission, config.thermal_volts)


def refuse_foreign(config: EmulatorConfig, network: Network) -> None:
    """Refuse what the network's family does not have.

    Raises:
        InputError: names the key.
    """
    if not network.resistive:
        if config.diodes is not None:
            raise InputError("substrate.diodes: belong to the resistive family; current-mode neurons have none")
        if network.convolutional and not network.feedforward and not network.alternating:
            behind = len(network.sizes) - 1
            # Two layers are no loop.
            other = "more" if behind == 3 else "more or less"
            raise InputError(
                "network.feedback: with convolutions the emulator solves a loop only through an even number of layers "
                f"behind the inputs, every other one at a time, and here are {behind}; expected one layer {other}, or "
                "the feedback separate or shared"
            )
        return
    for key, value in (
        ("neurons.gain_spread", config.neurons.gain_spread),
        ("neurons.saturation_spread", config.neurons.saturation_spread),
        ("wires.source_ohms", config.wires.source_ohms),
        ("wires.sense_ohms", config.wires.sense_ohms),
    ):
        if value:
            raise InputError(f"substrate.{key}: not modelled in resistive networks; expected 0, got {value:g}")
    diodes = config.diodes or DiodesConfig()
    for key, load in (("node_farads", config.neurons.node_farads), ("line_farads", config.neurons.line_farads)):
        if load and diodes.law == "ideal":
            raise InputError(
                f"substrate.neurons.{key}: expected 0 with ideal diodes, which switch at once and leave kinks that no "
                f"Fourier series of the periodic state resolves, got {load:g}; diodes.law: shockley has dynamics, and "
                f"time_constant_seconds states up to which frequency a network counts as quasi-static"
            )
    if config.tiles is not None and config.tiles.summation == "digital":
        raise InputError("substrate.tiles.summation: the arrays of a resistive network join its nodes; expected analog")
    if config.wires.segment_ohms and not config.cells.window_siemens[0]:
        # Cells that end at 0 S would leave whole lines on their wires alone.
        raise InputError("substrate.cells.window_siemens: with wires the lowest conductance must be above 0")
    if config.solver.relaxation == "sweeps" and diodes.law != "ideal":
        raise InputError(
            "substrate.solver.relaxation: the sweeps of a resistive network are exact with ideal diodes alone; "
            "expected equilibrium"
        )
    for key, given, wanted in (
        ("solver.precision", config.solver.precision, "float64"),
        ("solver.sweeps.time_constants", config.solver.sweeps.time_constants, 1.0),
        ("neurons.noise", config.neurons.noise, 0.0),
    ):
        if given != wanted:
            raise InputError(f"substrate.{key}: belongs to amplifier neurons; expected {wanted}, got {given}")
    if config.cells.law != "ohmic":
        raise InputError(f"substrate.cells.law: resistive networks are of ohmic cells, got {config.cells.law}")
