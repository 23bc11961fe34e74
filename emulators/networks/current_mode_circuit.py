"""The current-mode family on its arrays: effective weights, held drive, equilibria and the response to a nudge."""

from collections.abc import Mapping
from functools import partial
from typing import final

import numpy as np

from emulators.arrays import DifferentialArray
from emulators.networks.circuit import Circuit, HolomorphicCircuit, NeuronCircuit, Parts, Period, Settled
from emulators.networks.complex_states import continuation
from emulators.networks.current_mode import Block, CurrentModeNetwork
from emulators.networks.dynamics import Dynamics
from emulators.networks.equilibrium import Tolerance, settle
from emulators.networks.quasi_static import nudged_period
from emulators.neurons import Neurons
from substrate.arrays import BoolArray, ComplexArray, FloatArray
from substrate.contract import ComplexStates, Scale
from substrate.errors import InputError
from substrate.network import Network
from substrate.tones import SamplingPlan


@final
class CurrentModeCircuit(Circuit, HolomorphicCircuit, NeuronCircuit):
    """Layers of amplifier neurons at virtual grounds, joined by differential arrays.

    Args:
        network: topology.
        arrays: by the name of their coupling.
        neurons: of all free nodes.
        scale: volts and siemens of a unit.
        tolerance: of every state.
        dynamics: how slow the nodes are.
    """

    def __init__(
        self,
        network: Network,
        arrays: Mapping[str, DifferentialArray],
        neurons: Neurons,
        scale: Scale,
        tolerance: Tolerance,
        dynamics: Dynamics,
    ) -> None:
        self._network = network
        self._arrays = arrays
        self._neurons = neurons
        self._scale = scale
        self._tolerance = tolerance
        self._dynamics = dynamics
        self._equations: CurrentModeNetwork | None = None
        self._inputs = np.zeros((0, network.input_size))
        self._drive: FloatArray | None = None
        self._free: FloatArray | None = None
        self._settled: BoolArray = np.zeros(0, dtype=np.bool_)

    def cells_changed(self) -> None:
        """Forget what was derived from the cells."""
        self._equations = self._drive = self._free = None

    def hold(self, volts: FloatArray) -> None:
        """Hold inputs."""
        self._inputs = volts
        self._drive = self._free = None

    def release(self) -> None:
        """Hold nothing."""
        self.hold(np.zeros((0, self._network.input_size)))

    def settle(self) -> Settled:
        """The free state from rest, u = 0."""
        drive = self._held_drive()
        found = settle(self.equations(), np.zeros_like(drive), drive, self._tolerance)
        self._free, self._settled = found.u, found.settled
        return Settled(self._volts(found.u), found.residual, found.settled)

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
    def holomorphic(self) -> bool:
        """Always."""
        return True

    def continued(self, amperes: ComplexArray) -> ComplexStates:
        """The analytic continuation of the free state; unsettled where that is."""
        free, residual = self._settled_state("complex nudge"), self._tolerance.residual
        return continuation(self.equations(), free, self._settled, self._held_drive(), amperes, self._scale, residual)

    def adjoint(self, values: FloatArray) -> FloatArray:
        """u = W s + I and s = f(u): chi = ds/dI = D (1 - W D)^-1 with D = diag f'; chi^T y = (1 - D W^T)^-1 D y."""
        free = self._settled_state("adjoint")
        network = self.equations()
        slope = network.slope(free)
        # Weights are stored as (source, target), the transpose of W.
        system = np.eye(network.node_count) - slope[:, :, None] * network.weights()[None]
        solved = np.linalg.solve(system, (slope * values)[:, :, None])[:, :, 0]
        return np.asarray(solved / self._scale.unit_siemens)

    def parts(self) -> Parts:
        """What the circuit is made of."""
        siemens = {name: array.seen_siemens for name, array in self._arrays.items()}
        free = self._settled_state("netlist")
        return Parts(siemens, self._neurons, self._scale, self._dynamics.constants, self._inputs, free)

    def equations(self) -> CurrentModeNetwork:
        """The equations at the present conductances, in activity units."""
        if self._equations is None:
            inner = [coupling for coupling in self._network.forward if coupling.source.start >= 0]
            blocks = [
                Block(c.source.nodes, c.target.nodes, self._arrays[c.name].weights()[: c.source.size]) for c in inner
            ]
            if self._network.feedback == "shared":
                blocks += [
                    Block(c.target.nodes, c.source.nodes, self._arrays[c.name].weights("backward")[:, : c.source.size])
                    for c in inner
                ]
            else:
                blocks += [
                    Block(c.source.nodes, c.target.nodes, self._arrays[c.name].weights())
                    for c in self._network.backward
                ]
            layers = [layer.nodes for layer in self._network.layers[1:]]
            self._equations = CurrentModeNetwork(layers, blocks, self._neurons)
        return self._equations

    def _settled_state(self, purpose: str) -> FloatArray:
        if self._free is None:
            raise InputError(f"{purpose}: the free phase has not settled; call settle() after hold()")
        return self._free

    def _volts(self, u: FloatArray) -> FloatArray:
        return self._neurons.activity(u) * self._scale.volts_per_unit

    def _held_drive(self) -> FloatArray:
        """Currents into the free nodes from held inputs and bias lines, (batch, node) activity units."""
        if self._drive is None:
            activities = self._inputs / self._scale.volts_per_unit
            drive = np.zeros((len(activities), self._network.node_count))
            for coupling in self._network.forward:
                weights = self._arrays[coupling.name].weights()
                nodes = coupling.target.nodes
                drive[:, nodes] += weights[coupling.source.size]
                if coupling.source.start < 0:
                    drive[:, nodes] += activities @ weights[: coupling.source.size]
            self._drive = drive
        return self._drive
