"""The current-mode family on its arrays: effective weights, held drive, equilibria and the response to a nudge."""

from collections.abc import Mapping
from functools import partial
from typing import final

import numpy as np
import numpy.typing as npt

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
from emulators.networks.current_mode import Block, CurrentModeNetwork
from emulators.networks.dynamics import Dynamics
from emulators.networks.equilibrium import Tolerance, settle
from emulators.networks.fed_stability import stable_under
from emulators.networks.linear_response import adjoint
from emulators.networks.motion import Moved, Mover
from emulators.networks.quasi_static import followed, nudged_period
from emulators.neurons import Neurons
from substrate.arrays import BoolArray, FloatArray
from substrate.capabilities import HeldNudge
from substrate.contract import Scale
from substrate.errors import InputError
from substrate.network import Coupling, Network
from substrate.tones import SamplingPlan


def matrix_network(
    network: Network, arrays: Mapping[str, DifferentialArray], neurons: Neurons, dtype: npt.DTypeLike
) -> CurrentModeNetwork:
    """The equations of arrays that are matrices, in activity units; weights in the given precision."""
    inner = [coupling for coupling in network.forward if coupling.source.start >= 0]
    blocks = [
        Block(c.source.nodes, c.target.nodes, c.block(arrays[c.name].weights(dtype=dtype)[: c.source_lines]))
        for c in inner
    ]
    if network.feedback == "shared":
        blocks += [
            Block(
                c.target.nodes,
                c.source.nodes,
                c.block(arrays[c.name].weights("backward", dtype)[:, : c.source_lines].T).T,
            )
            for c in inner
        ]
    else:
        blocks += [
            Block(c.source.nodes, c.target.nodes, c.block(arrays[c.name].weights(dtype=dtype)))
            for c in network.backward
        ]
    return CurrentModeNetwork([layer.nodes for layer in network.layers[1:]], blocks, neurons)


@final
class CurrentModeCircuit(Circuit, HolomorphicCircuit, NeuronCircuit, SteppedCircuit):
    """Layers of amplifier neurons at virtual grounds, joined by differential arrays.

    Args:
        network: topology.
        arrays: by the name of their coupling.
        neurons: of all free nodes.
        scale: volts and siemens of a unit.
        tolerance: of every state.
        dynamics: how slow the nodes are.
        mover: of steps.
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
        self._network = network
        self._arrays = arrays
        self._neurons = neurons
        self._scale = scale
        self._tolerance = tolerance
        self._dynamics = dynamics
        self._mover = mover
        self._equations: dict[str, CurrentModeNetwork] = {}
        self._inputs = np.zeros((0, network.input_size))
        self._drives: dict[str, FloatArray] = {}
        self._lines: dict[str, FloatArray] = {}
        self._free: FloatArray | None = None
        self._settled: BoolArray = np.zeros(0, dtype=np.bool_)

    def cells_changed(self) -> None:
        """Forget what was derived from the cells."""
        self._free = None
        self._equations, self._drives = {}, {}

    def hold(self, volts: FloatArray) -> None:
        """Hold inputs."""
        self._inputs = volts
        self._drives, self._lines = {}, {}
        self._free = None
        self._mover.forget()

    def release(self) -> None:
        """Hold nothing."""
        self.hold(np.zeros((0, self._network.input_size)))

    def settle(self) -> Settled:
        """The free state from rest, u = 0."""
        if self._mover.sweeping:
            self._free, s, residual = self._mover.settle(*self._stepped())
            self._settled = residual <= self._mover.tolerance
            return Settled(s * self._scale.volts_per_unit, residual, self._settled)
        drive = self._held_drive()
        found = settle(self.equations(), np.zeros_like(drive), drive, self._tolerance)
        self._free, self._settled = found.u, found.settled
        self._mover.begin_at(found.u)
        return Settled(self._volts(found.u), found.residual, found.settled)

    def nudge(self, amperes: FloatArray, plan: SamplingPlan) -> Period:
        """The response at the nudge's frequency."""
        free = self._settled_state("nudge")
        if len(amperes) != len(free):
            raise InputError(f"nudge: expected a batch of {len(free)}, got {len(amperes)}")
        if self._mover.sweeping and self._dynamics.quasi_static(plan):
            return self._swept(amperes, plan)
        network = self.equations()
        peak, drive = amperes / self._scale.unit_amperes, self._held_drive()
        settled = self._settled
        if self._mover.sweeping:
            # Sweeps stop short of the equilibrium that a period is found around.
            rest = settle(network, free, drive, self._tolerance)
            free, settled = rest.u, rest.settled
        walk = partial(nudged_period, network)
        found = self._dynamics.outputs(network, walk, free, drive, peak, plan, self._tolerance)
        volts = found.s * self._scale.volts_per_unit
        return Period(volts, found.residual, found.unbroken & settled)

    def _swept(self, amperes: FloatArray, plan: SamplingPlan) -> Period:
        """A nudged phase of sweeps for every value that the nudge takes; of a noisy network, for every sample."""
        values, index = plan.distinct()
        if self._mover.noisy:
            values, index = np.tile(values[index], plan.periods), np.arange(plan.sample_count)
        held = HeldNudge(amperes[:, None, :] * values[:, None])
        moved = self._mover.nudged(*self._stepped(), held)
        residual = moved.residual.max(axis=1)
        volts = np.asarray(moved.s.real[:, index]) * self._scale.volts_per_unit
        return Period(volts, residual, (residual <= self._mover.tolerance) & self._settled)

    @property
    def holomorphic(self) -> bool:
        """Always."""
        return True

    def continued(self, nudge: HeldNudge) -> NudgedStates:
        """The continuation of the free state; unsettled where that is, and real ones where they are not stable."""
        network, free, drive = self.equations(), self._settled_state("held nudge"), self._held_drive()
        found = continuation(network, free, self._settled, drive, nudge, self._scale, self._tolerance.residual)
        return found if nudge.complex else stable_under(network, drive, found, nudge, self._scale)

    def settle_nudged(self, nudge: HeldNudge) -> NudgedStates:
        """Real currents by the solvers of the free state, complex ones by continuation, or either by sweeps."""
        free = self._settled_state("held nudge")
        batch, points, _ = nudge.amperes.shape
        if batch != len(free):
            raise InputError(f"held nudge: expected a batch of {len(free)}, got {batch}")
        if self._mover.sweeping:
            return self._states(self._mover.nudged(*self._stepped(), nudge), self._settled)
        network = self.equations()
        if nudge.complex or nudge.feeds_back:
            return self.continued(nudge)
        drive = self._held_drive()
        peak = (nudge.amperes / self._scale.unit_amperes).reshape(batch * points, -1)
        start, held = np.repeat(free, points, axis=0), np.repeat(drive, points, axis=0)
        states, residual, unbroken = followed(network, start, held, peak, np.array([1.0, 0.0]), self._tolerance)
        volts = self._volts(states[0]).reshape(batch, points, -1)
        settled = unbroken.reshape(batch, points) & self._settled[:, None]
        return NudgedStates(volts, residual.reshape(batch, points), settled)

    @property
    def steps(self) -> bool:
        """Always."""
        return True

    def evolve(self, nudge: HeldNudge | None, steps: int, time_constants: float, every: int) -> NudgedStates:
        """Steps from where the network is.

        Raises:
            InputError: a nudge of another batch.
        """
        moved = self._mover.evolve(*self._stepped(), nudge, steps, time_constants, every)
        return self._states(moved, np.ones(len(moved.s), dtype=np.bool_))

    def rest(self) -> None:
        """The next steps begin at u = 0."""
        self._mover.rest()

    def _states(self, moved: Moved, settled: BoolArray) -> NudgedStates:
        near = moved.residual <= self._mover.tolerance
        return NudgedStates(moved.s * self._scale.volts_per_unit, moved.residual, near & settled[:, None])

    def adjoint(self, values: FloatArray, steps: int | None = None) -> FloatArray:
        """chi^T values, see ``linear_response``."""
        free = self._settled_state("adjoint")
        network = self.equations()
        return adjoint(network.slope(free), network.weights(), values, steps) / self._scale.unit_siemens

    def parts(self) -> Parts:
        """What the circuit is made of."""
        siemens = {name: array.seen_siemens for name, array in self._arrays.items()}
        free = self._settled_state("netlist")
        return Parts(siemens, self._neurons, self._scale, self._dynamics.constants, self._inputs, free)

    def equations(self, dtype: npt.DTypeLike = np.float64) -> CurrentModeNetwork:
        """The equations at the present conductances, in activity units; weights in the given precision."""
        key = np.dtype(dtype).name
        if key not in self._equations:
            self._equations[key] = matrix_network(self._network, self._arrays, self._neurons, dtype)
        return self._equations[key]

    def _stepped(self) -> tuple[CurrentModeNetwork, FloatArray]:
        """What steps take: the equations and the held drive, in their precision."""
        return self.equations(self._mover.dtype), self._held_drive(self._mover.dtype)

    def _settled_state(self, purpose: str) -> FloatArray:
        if self._free is None:
            raise InputError(f"{purpose}: the free phase has not settled; call settle() after hold()")
        return self._free

    def _volts(self, u: FloatArray) -> FloatArray:
        return self._neurons.activity(u) * self._scale.volts_per_unit

    def _held_drive(self, dtype: npt.DTypeLike = np.float64) -> FloatArray:
        """Currents into the free nodes from held inputs and bias lines, (batch, node) activity units."""
        key = np.dtype(dtype).name
        if key not in self._drives:
            drive = np.zeros((len(self._inputs), self._network.node_count), dtype=dtype)
            for coupling in self._network.forward:
                array, nodes = self._arrays[coupling.name], coupling.target.nodes
                if coupling.source.start < 0:
                    drive[:, nodes] += coupling.into_target(array.sums(self._input_lines(coupling, dtype)))
                else:
                    biases = array.weights(dtype=dtype)[coupling.source_lines :]
                    drive[:, nodes] += coupling.into_target(coupling.per_place(biases))
            self._drives[key] = drive
        return self._drives[key]

    def _input_lines(self, coupling: Coupling, dtype: npt.DTypeLike) -> FloatArray:
        """Activities on the word lines of the first array, (batch * place, row); one object while they are held."""
        key = np.dtype(dtype).name
        if key not in self._lines:
            activities = (self._inputs / self._scale.volts_per_unit).astype(dtype, copy=False)
            self._lines[key] = coupling.lines(activities)
        return self._lines[key]
