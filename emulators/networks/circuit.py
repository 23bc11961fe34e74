"""What the emulated device asks of the circuit of a network family; voltages and currents in SI units."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from emulators.networks.equations import Equations
from emulators.networks.time_constants import TimeConstants
from emulators.neurons import Neurons
from substrate.arrays import BoolArray, FloatArray, Numbers
from substrate.capabilities import HeldNudge
from substrate.contract import Scale
from substrate.tones import SamplingPlan


@final
@dataclass(frozen=True)
class Settled:
    """Free states: node voltages (batch, node), residual (batch,) in activity units, settled (batch,)."""

    volts: FloatArray
    residual: FloatArray
    settled: BoolArray


@final
@dataclass(frozen=True)
class NudgedStates:
    """States under held nudges, or on the way: volts (batch, point, node), real or complex; the rest (batch, point).

    ``residual`` in activity units.
    """

    volts: Numbers
    residual: FloatArray
    settled: BoolArray


@final
@dataclass(frozen=True)
class Period:
    """What a nudge makes from its crest on: volts (batch, time, node); the rest (batch,).

    One period of a steady state, which is repeated in the record, or all periods that are recorded of a transient.

    ``kinked``: a diode switched on or off within the period; None where nothing can.
    """

    volts: FloatArray
    residual: FloatArray
    settled: BoolArray
    kinked: BoolArray | None = None


class HolomorphicCircuit(ABC):
    """What a circuit whose equations may be complex-differentiable has besides what ``Circuit`` says."""

    @property
    @abstractmethod
    def holomorphic(self) -> bool:
        """Whether they are, with the cells, wires and tiles that it has."""

    @abstractmethod
    def continued(self, nudge: HeldNudge) -> NudgedStates:
        """The states under any held nudge, from the free state.

        Raises:
            InputError: nothing has settled, or another batch.
            CapabilityError: the equations are not ``holomorphic``.
        """


class SteppedCircuit(ABC):
    """What a circuit has besides that can be moved by explicit steps (``stepping``)."""

    @property
    @abstractmethod
    def steps(self) -> bool:
        """Whether it can, with the cells, wires and tiles that it has."""

    @abstractmethod
    def evolve(self, nudge: HeldNudge | None, steps: int, time_constants: float, every: int) -> NudgedStates:
        """Steps from where the network is.

        Raises:
            InputError: a nudge of another batch.
        """

    @abstractmethod
    def rest(self) -> None:
        """The next steps begin at u = 0."""


@final
@dataclass(frozen=True)
class Parts:
    """What a circuit of amplifier neurons is made of, and where it stands.

    Attributes:
        siemens: conductances (polarity, row, column) of each array by the name of its coupling, as the circuit was last
            computed with.
        neurons: of all free nodes.
        scale: volts and siemens of a unit.
        constants: time constants; None where nothing is slow.
        input_volts: (batch, input) held.
        free: (batch, node) free states, activity units.
    """

    siemens: Mapping[str, FloatArray]
    neurons: Neurons
    scale: Scale
    constants: TimeConstants | None
    input_volts: FloatArray
    free: FloatArray


class NeuronCircuit(ABC):
    """What a circuit of amplifier neurons has besides what ``Circuit`` says."""

    @abstractmethod
    def equations(self) -> Equations:
        """The equations at the present conductances, in activity units."""

    @abstractmethod
    def parts(self) -> Parts:
        """Its parts, at the inputs now held and the free state.

        Raises:
            InputError: nothing has settled.
        """


class Circuit(ABC):
    """The circuit of a network on its arrays. It holds inputs, and knows the free state that it settled to last."""

    @abstractmethod
    def cells_changed(self) -> None:
        """A conductance has changed: what was derived from the cells is stale, and so is the settled state."""

    @abstractmethod
    def hold(self, volts: FloatArray) -> None:
        """Hold input voltages (batch, input)."""

    @abstractmethod
    def release(self) -> None:
        """No inputs are held any more."""

    @abstractmethod
    def settle(self) -> Settled:
        """The free state that the dynamics reach from rest."""

    @abstractmethod
    def nudge(self, amperes: FloatArray, plan: SamplingPlan) -> Period:
        """The state under peak currents (batch, node), from the free state on.

        Raises:
            InputError: nothing has settled, or another batch.
        """

    @abstractmethod
    def settle_nudged(self, nudge: HeldNudge) -> NudgedStates:
        """The states under held currents of a checked request, from the free state.

        Raises:
            InputError: nothing has settled, or another batch.
        """

    @abstractmethod
    def adjoint(self, values: FloatArray, steps: int | None = None) -> FloatArray:
        """chi^T values in ohms at the settled state, chi = dV_node/dI_node; (batch, node).

        ``steps``: of the state so many steps after currents are switched on; None of the steady state.

        Raises:
            InputError: nothing has settled.
            CapabilityError: steps, of a circuit that is no map from step to step.
        """
