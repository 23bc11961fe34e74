"""What not every device has: what an emulator knows beside what it measures, and what stands behind a bench."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from substrate.arrays import FloatArray
from substrate.capabilities import HeldNudge, Nudge
from substrate.tones import SamplingPlan

if TYPE_CHECKING:
    from substrate.contract import HeldStates, Snapshot


class Oracle(ABC):
    """What only an emulator knows: the exact linear response at the held operating point."""

    @abstractmethod
    def adjoint(self, values: FloatArray, steps: int | None = None) -> FloatArray:
        """Transposed susceptibility applied to ``values``: chi^T v with chi = dV_node/dI_node in ohms.

        Args:
            values: (batch, node), at the inputs now held and in their free state.
            steps: None: of the steady state. A number: chi is of the state so many steps of ``Substrate.evolve`` (one
                time constant each) after currents are switched on in the free state, which is backpropagation through
                time, truncated.

        Returns:
            (batch, node), ohms times the unit of ``values``.

        Raises:
            InputError: nothing has settled; fewer than one step.
            CapabilityError: steps of a circuit that has none.
        """


class Stepper(ABC):
    """What only an emulator can show: the network on its way, step by step."""

    @abstractmethod
    def evolve(self, nudge: HeldNudge | None, steps: int, time_constants: float, every: int) -> "HeldStates":
        """The states of a checked request, see ``Substrate.evolve``.

        Raises:
            InputError: a nudge of another batch.
        """

    @abstractmethod
    def rest(self) -> None:
        """Back to rest."""


class CircuitExport(ABC):
    """What only an emulator has: its circuit, for a circuit simulator."""

    @abstractmethod
    def deck(self, nudge: Nudge, plan: SamplingPlan, stem: str) -> str:
        """A deck for ngspice of the circuit as it is, with the one sample that is now held and has settled.

        Args:
            nudge: peak currents (1, node).
            plan: its tone.
            stem: the results are called ``stem_free.raw``, the free state, and ``stem_nudge.raw``, a period of the
                steady state under the nudge.

        Raises:
            InputError: nothing has settled, or more than one sample is held.
            CapabilityError: a circuit that has no deck.
        """


class StateStore(ABC):
    """Saving and putting back the whole physical state, random generators included (emulators only)."""

    @abstractmethod
    def snapshot(self) -> "Snapshot":
        """Everything that changes while the device is used."""

    @abstractmethod
    def restore(self, snapshot: "Snapshot") -> None:
        """Put a state back, so that what follows is bit for bit what would have followed it."""


class WireLog(ABC):
    """What was said on the wires to instruments, until it is taken."""

    @abstractmethod
    def take(self) -> list[dict[str, Any]]:
        """What came since the last call, oldest first: rows with ``seconds`` since 1970, ``instrument``, ``direction``
        (> to it, < from it), ``bytes`` of the whole, and ``text``, its printable beginning."""


class Instruments(ABC):
    """What only a device made of instruments has: which they are, and how they are set.

    Attributes:
        wire_log: what is said to them; None where nobody asked for it.
    """

    wire_log: WireLog | None = None

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """Identity and settings of each by name, plain data, of the opened device.

        Raises:
            SubstrateError: one cannot be reached.
        """
