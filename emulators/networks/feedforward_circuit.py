"""Feedforward networks on their arrays: the state follows from the inputs in one pass, whatever the cells are.

Each array is read at the activities of the layer before it: the arrays are anything that can be read, with wires,
curved cells, tiles whose sums are digitised, or a convolution's window. A nudge of a node moves the layers behind it.
"""

from collections.abc import Mapping
from typing import final

import numpy as np

from emulators.arrays import DifferentialArray
from emulators.networks.circuit import Circuit, NudgedStates, Period, Settled
from emulators.neurons import Neurons
from substrate.arrays import BoolArray, FloatArray
from substrate.capabilities import HeldNudge
from substrate.contract import Scale
from substrate.errors import CapabilityError, InputError
from substrate.network import Coupling, Network
from substrate.tones import SamplingPlan


@final
class FeedforwardCircuit(Circuit):
    """Layers of amplifier neurons, each driven through one array by the layer before it.

    Args:
        network: topology.
        arrays: by the name of their coupling.
        neurons: of all free nodes.
        scale: volts and siemens of a unit.
    """

    def __init__(
        self, network: Network, arrays: Mapping[str, DifferentialArray], neurons: Neurons, scale: Scale
    ) -> None:
        self._network, self._arrays, self._scale = network, arrays, scale
        self._neurons = [neurons.part(coupling.target.nodes) for coupling in network.forward]
        self._inputs = np.zeros((0, network.input_size))
        self._u: FloatArray | None = None
        self._s = np.zeros((0, network.node_count))
        self._settled: BoolArray = np.zeros(0, dtype=np.bool_)

    def cells_changed(self) -> None:
        """Forget what was derived from the cells."""
        self._u = None

    def hold(self, volts: FloatArray) -> None:
        """Hold inputs."""
        self._inputs = volts
        self._u = None

    def release(self) -> None:
        """Hold nothing."""
        self.hold(np.zeros((0, self._network.input_size)))

    def settle(self) -> Settled:
        """One pass; unsettled where a tile's converter clipped."""
        batch, count = len(self._inputs), self._network.node_count
        u, s = np.empty((batch, count)), np.empty((batch, count))
        clipped = np.zeros(batch, dtype=np.bool_)
        for coupling, neurons in zip(self._network.forward, self._neurons, strict=True):
            nodes = coupling.target.nodes
            u[:, nodes], over = self._summed(coupling, self._source(coupling, s))
            s[:, nodes] = neurons.activity(u[:, nodes])
            clipped |= over
        self._u, self._s, self._settled = u, s, ~clipped
        return Settled(s * self._scale.volts_per_unit, np.zeros(batch), self._settled)

    def nudge(self, amperes: FloatArray, plan: SamplingPlan) -> Period:
        """The nudged nodes and what lies behind them, at each instant."""
        values, index = plan.distinct()
        states, clipped = self._pushed(values[:, None] * self._of_batch("nudge", amperes)[:, None, :])
        settled = self._settled & ~clipped.any(axis=1)
        return Period(states[:, index] * self._scale.volts_per_unit, np.zeros(len(amperes)), settled)

    def settle_nudged(self, nudge: HeldNudge) -> NudgedStates:
        """The same under held real currents that do not depend on the nodes."""
        if nudge.siemens is not None or nudge.cross_siemens is not None or np.iscomplexobj(nudge.amperes):
            raise CapabilityError("held nudge: a feedforward network takes real currents that do not follow its nodes")
        states, clipped = self._pushed(self._of_batch("held nudge", np.asarray(nudge.amperes, dtype=np.float64)))
        settled = self._settled[:, None] & ~clipped
        return NudgedStates(states * self._scale.volts_per_unit, np.zeros(settled.shape), settled)

    def adjoint(self, values: FloatArray, steps: int | None = None) -> FloatArray:
        """Backpropagation: chi^T y at the last layer is D y, and at each layer before it D W^T of that behind it.

        ``steps``: a chain of as many layers has answered after as many steps; fewer are refused.
        """
        if steps is not None and steps < len(self._network.forward):
            raise CapabilityError(f"adjoint: a feedforward network answers after {len(self._network.forward)} steps")
        u, s = self._state("adjoint"), self._s
        out = values.copy()
        chain = list(zip(self._network.forward, self._neurons, strict=True))
        for coupling, neurons in reversed(chain):
            nodes = coupling.target.nodes
            out[:, nodes] *= neurons.slope(u[:, nodes])
            if coupling.source.start >= 0:
                back = self._back(coupling, self._source(coupling, s), coupling.columns(out[:, nodes]))
                out[:, coupling.source.nodes] += coupling.into_source(back)
        return out / self._scale.unit_siemens

    def _state(self, purpose: str) -> FloatArray:
        if self._u is None:
            raise InputError(f"{purpose}: the free phase has not settled; call settle() after hold()")
        return self._u

    def _of_batch(self, purpose: str, amperes: FloatArray) -> FloatArray:
        """A nudge in activity units."""
        if len(amperes) != len(self._state(purpose)):
            raise InputError(f"{purpose}: expected a batch of {len(self._s)}, got {len(amperes)}")
        return amperes / self._scale.unit_amperes

    def _source(self, coupling: Coupling, s: FloatArray) -> FloatArray:
        if coupling.source.start < 0:
            return self._inputs / self._scale.volts_per_unit
        return s[:, coupling.source.nodes]

    def _summed(self, coupling: Coupling, source: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Currents (batch, target) of the array in activity units, and whether a tile's converter clipped (batch,)."""
        read = self._arrays[coupling.name].read(coupling.lines(source) * self._scale.volts_per_unit)
        clipped: BoolArray = np.asarray(read.saturated.reshape(len(source), -1).any(axis=1))
        return coupling.into_target(read.amperes / self._scale.unit_amperes), clipped

    def _back(self, coupling: Coupling, source: FloatArray, columns: FloatArray) -> FloatArray:
        """Unrolled columns through the transpose of the array's small-signal weights, (batch * place, row)."""
        array = self._arrays[coupling.name]
        if array.is_matrix():
            return np.asarray(columns @ array.weights().T)
        volts = coupling.lines(source) * self._scale.volts_per_unit
        siemens = array.small_signal(volts, "forward", array.read(volts, digitise=False).states)
        return np.asarray((siemens @ columns[:, :, None])[:, :, 0] / self._scale.unit_siemens)

    def _pushed(self, push: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Outputs under currents (batch, point, node), activity units, and whether a tile's converter clipped there.

        Layers that nothing reaches keep their state.
        """
        free = self._state("nudge")
        u, s = free[:, None, :] + push, np.empty(push.shape)
        batch, points, _ = push.shape
        clipped = np.zeros((batch, points), dtype=np.bool_)
        moved = False
        for coupling, neurons in zip(self._network.forward, self._neurons, strict=True):
            nodes = coupling.target.nodes
            if moved:
                source = s[:, :, coupling.source.nodes].reshape(batch * points, -1)
                currents, over = self._summed(coupling, source)
                u[:, :, nodes] = currents.reshape(batch, points, -1) + push[:, :, nodes]
                clipped |= over.reshape(batch, points)
            s[:, :, nodes] = neurons.activity(u[:, :, nodes])
            moved = moved or bool(np.any(push[:, :, nodes]))
        return s, clipped
