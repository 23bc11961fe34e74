"""The current-mode family on arrays that are no matrices (``curved``): curved cells or digitised tiles.

And on any arrays where layers do not alternate: loops of an odd number of layers.
"""

from collections.abc import Mapping
from functools import partial
from typing import final

import numpy as np

from emulators.arrays import DifferentialArray
from emulators.networks.circuit import (
    Circuit,
    HolomorphicCircuit,
    NeuronCircuit,
    NudgedStates,
    Parts,
    Period,
    Settled,
    SteppedCircuit,
)
from emulators.networks.complex_states import continuation
from emulators.networks.current_mode import CurrentModeNetwork
from emulators.networks.current_mode_circuit import matrix_network
from emulators.networks.curved import CurvedNetwork, nudged_period, settle
from emulators.networks.dynamics import Dynamics
from emulators.networks.equilibrium import Tolerance
from emulators.networks.fed_stability import stable_under
from emulators.networks.linear_response import adjoint
from emulators.networks.motion import Mover
from emulators.neurons import Neurons
from substrate.arrays import BoolArray, FloatArray
from substrate.capabilities import HeldNudge
from substrate.contract import Scale
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.tones import SamplingPlan


@final
class CurvedCircuit(Circuit, HolomorphicCircuit, NeuronCircuit, SteppedCircuit):
    """Layers of amplifier neurons at virtual grounds, joined by arrays of any kind.

    For cells i = g phi(v) the derivative of a current with respect to a conductance is phi(v_j), where learning rules
    that multiply the measured activity take v_j: their direction differs from the gradient by the curvature of the law
    within the range of the activities.

    Args:
        network: topology.
        arrays: by the name of their coupling.
        neurons: of all free nodes.
        scale: volts and siemens of a unit.
        tolerance: of every state.
        dynamics: how slow the nodes are; only equilibria are solved for where tiles round their sums.
        mover: of steps, where the arrays are matrices.
    """

    def __init__(
        self,
        network: Network,
        arrays: Mapping[str, DifferentialArray],
        neurons: Neurons,
        scale: Scale,
        tolerance: Tolerance,
        dynamics: Dynamics,
        mover: Mover,
    ) -> None:
        self._network, self._arrays, self._neurons = network, arrays, neurons
        self._mover = mover
        self._stepped: tuple[CurrentModeNetwork, FloatArray] | None = None
        self._scale = scale
        self._tolerance = tolerance
        self._dynamics = dynamics
        self._equations: CurvedNetwork | None = None
        self._inputs = np.zeros((0, network.input_size))
        self._drive: FloatArray | None = None
        self._clipped: BoolArray = np.zeros(0, dtype=np.bool_)
        self._free: FloatArray | None = None
        self._settled: BoolArray = np.zeros(0, dtype=np.bool_)

    def cells_changed(self) -> None:
        """Forget what was derived from the cells."""
        self._equations = self._drive = self._free = self._stepped = None

    def hold(self, volts: FloatArray) -> None:
        """Hold inputs."""
        self._inputs = volts
        self._drive = self._free = self._stepped = None
        self._mover.forget()

    def release(self) -> None:
        """Hold nothing."""
        self.hold(np.zeros((0, self._network.input_size)))

    def settle(self) -> Settled:
        """The free state from rest, u = 0."""
        drive = self._held_drive()
        found = settle(self.equations(), np.zeros_like(drive), drive, self._tolerance)
        self._free, self._settled = found.u, found.settled & ~self._clipped
        self._mover.begin_at(found.u)
        return Settled(self._volts(found.u), found.residual, self._settled)

    def nudge(self, amperes: FloatArray, plan: SamplingPlan) -> Period:
        """The response at the nudge's frequency."""
        free = self._settled_state("nudge")
        if len(amperes) != len(free):
            raise InputError(f"nudge: expected a batch of {len(free)}, got {len(amperes)}")
        peak = amperes / self._scale.unit_amperes
        network, drive = self.equations(), self._held_drive()
        walk = partial(nudged_period, network)
        found = self._dynamics.outputs(network, walk, free, drive, peak, plan, self._tolerance)
        volts = found.s * self._scale.volts_per_unit
        return Period(volts, found.residual, found.unbroken & self._settled)

    @property
    def steps(self) -> bool:
        """Whether the arrays are matrices."""
        return all(array.is_matrix() for array in self._arrays.values()) and self._network.feedback != "shared"

    def evolve(self, nudge: HeldNudge | None, steps: int, time_constants: float, every: int) -> NudgedStates:
        """Steps from where the network is.

        Raises:
            InputError: a nudge of another batch.
        """
        if self._stepped is None:
            # At rest only bias lines drive currents.
            held = self._held_drive() + self.equations().currents(np.zeros((1, self._network.node_count)))
            self._stepped = matrix_network(self._network, self._arrays, self._neurons, self._mover.dtype), held
        moved = self._mover.evolve(*self._stepped, nudge, steps, time_constants, every)
        near = moved.residual <= self._mover.tolerance
        return NudgedStates(moved.s * self._scale.volts_per_unit, moved.residual, near & ~self._clipped[:, None])

    def rest(self) -> None:
        """The next steps begin at u = 0."""
        self._mover.rest()

    @property
    def holomorphic(self) -> bool:
        """Whether the arrays are matrices, or of sinh or rectifying cells without wires, access devices or rounding."""
        return self.equations().analytic() is not None

    def continued(self, nudge: HeldNudge) -> NudgedStates:
        """The continuation of the free state; unsettled where that is, and real ones where they are not stable."""
        network, free, drive = self.equations(), self._settled_state("held nudge"), self._held_drive()
        analytic = network.analytic()
        if analytic is None:
            raise CapabilityError("complex_nudges: expected cells sinh or rectifying, without wires or rounded sums")
        # At rest only bias lines drive currents: of a held line they are no function of s.
        held = drive + network.currents(np.zeros((1, self._network.node_count)))
        found = continuation(analytic, free, self._settled, held, nudge, self._scale, self._tolerance.residual)
        return found if nudge.complex else stable_under(network, drive, found, nudge, self._scale)

    def settle_nudged(self, nudge: HeldNudge) -> NudgedStates:
        """Real currents by the dynamics from the free state, complex ones by continuation."""
        free = self._settled_state("held nudge")
        batch, points, _ = nudge.amperes.shape
        if batch != len(free):
            raise InputError(f"held nudge: expected a batch of {len(free)}, got {batch}")
        if nudge.complex or nudge.feeds_back:
            return self.continued(nudge)
        peak = (nudge.amperes / self._scale.unit_amperes).reshape(batch * points, -1)
        drive = np.repeat(self._held_drive(), points, axis=0) + peak
        found = settle(self.equations(), np.repeat(free, points, axis=0), drive, self._tolerance)
        volts, residual = self._volts(found.u), found.residual.reshape(batch, points)
        settled = found.settled.reshape(batch, points) & self._settled[:, None]
        return NudgedStates(volts.reshape(batch, points, -1), residual, settled)

    def adjoint(self, values: FloatArray, steps: int | None = None) -> FloatArray:
        """chi^T values with the small-signal conductances, see ``linear_response``."""
        free = self._settled_state("adjoint")
        weights = self.equations().weights_at(self._neurons.activity(free))
        return adjoint(self._neurons.slope(free), weights, values, steps) / self._scale.unit_siemens

    def parts(self) -> Parts:
        """What the circuit is made of."""
        siemens = {name: array.seen_siemens for name, array in self._arrays.items()}
        free = self._settled_state("netlist")
        return Parts(siemens, self._neurons, self._scale, self._dynamics.constants, self._inputs, free)

    def equations(self) -> CurvedNetwork:
        """The equations at the present conductances, in activity units."""
        if self._equations is None:
            self._equations = CurvedNetwork(self._network, self._arrays, self._neurons, self._scale)
        return self._equations

    def _settled_state(self, purpose: str) -> FloatArray:
        if self._free is None:
            raise InputError(f"{purpose}: the free phase has not settled; call settle() after hold()")
        return self._free

    def _volts(self, u: FloatArray) -> FloatArray:
        return self._neurons.activity(u) * self._scale.volts_per_unit

    def _held_drive(self) -> FloatArray:
        if self._drive is None:
            self._drive, self._clipped = self.equations().drive(self._inputs / self._scale.volts_per_unit)
        return self._drive
