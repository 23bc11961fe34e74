"""The two seams between an experiment and a device: ``CrossbarArray`` and ``Substrate``.

A backend implements the hooks (names with a leading underscore); what all devices share, the checks of every request
and the safe state on exit, is concrete here, once. Arrays carry the batch axis first.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, final

import numpy as np

from substrate.arrays import BoolArray, ComplexArray, FloatArray, IntArray, finite, finite_complex
from substrate.capabilities import Capabilities, ComplexNudge, HeldVoltages, Nudge, WriteRequest, check
from substrate.errors import CapabilityError, InputError
from substrate.ledger import Ledger
from substrate.network import Network
from substrate.tones import SamplingPlan

Direction = Literal["forward", "backward"]
Snapshot = dict[str, Any]
"""A physical state as nested mappings of arrays, numbers and strings."""


@final
@dataclass(frozen=True)
class Scale:
    """How activities and weights stand in volts and siemens.

    A weight w = (g+ - g-)/``unit_siemens``, or g/``unit_siemens`` in a resistive network; an activity s is s
    ``volts_per_unit`` on a line or node; a nudge current of one activity unit is ``unit_amperes``. In these units the
    balance of currents at a resistive node is sum_j w_ij (s_j - s_i) + beta e_i = 0, so that beta is in activity units
    there too.
    """

    volts_per_unit: float
    unit_siemens: float

    @property
    def unit_amperes(self) -> float:
        """The current of one activity unit through one weight unit."""
        return self.volts_per_unit * self.unit_siemens


@final
@dataclass(frozen=True)
class Record:
    """Node voltages read in the steady state.

    Attributes:
        volts: (batch, time, node).
        rate_hz: sample rate; 0 for a single reading.
        origin_seconds: time of the first sample on the nudge's own clock (0: at its crest).
        saturated: (batch,), whether a converter clipped any sample.
        settled: (batch,), whether the device reports a steady state on an unbroken branch.
        residual: (batch,), largest remaining imbalance in activity units; NaN where a device cannot tell.
        kinked: (batch,), whether the record has a kink, such as an ideal diode that switched; None where a device
            cannot tell. The branch is not lost by it and the harmonics tell how much it matters: it is reported, and
            the sample stays in use.
    """

    volts: FloatArray
    rate_hz: float
    origin_seconds: float
    saturated: BoolArray
    settled: BoolArray
    residual: FloatArray
    kinked: BoolArray | None = None


@final
@dataclass(frozen=True)
class ComplexStates:
    """States under held complex nudges: the analytic continuation of the free state along each nudge's ray.

    Attributes:
        volts: (batch, point, node), exact: no converter stands between.
        settled: (batch, point), whether the state was reached from the free one without a singularity on the way.
        residual: (batch, point), modulus of the largest remaining imbalance in activity units.
    """

    volts: ComplexArray
    settled: BoolArray
    residual: FloatArray


@final
@dataclass(frozen=True)
class WriteReport:
    """What a write did.

    Attributes:
        pulses: pulses given, over all cells.
        failed: (polarity, row, column), cells that were asked to move and are known not to have.
    """

    pulses: int
    failed: BoolArray


class Oracle(ABC):
    """What only an emulator knows: the exact linear response at the held operating point."""

    @abstractmethod
    def adjoint(self, values: FloatArray) -> FloatArray:
        """Transposed susceptibility applied to ``values``: chi^T v with chi = dV_node/dI_node in ohms.

        Args:
            values: (batch, node), at the inputs now held and in their free state.

        Returns:
            (batch, node), ohms times the unit of ``values``.
        """


class Continuation(ABC):
    """What only an emulator can show: states under complex nudges."""

    @abstractmethod
    def settle(self, nudge: ComplexNudge) -> ComplexStates:
        """States under each nudge of a checked request, at the inputs now held and from the free state.

        Raises:
            InputError: nothing has settled, or another batch.
        """


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
    def snapshot(self) -> Snapshot:
        """Everything that changes while the device is used."""

    @abstractmethod
    def restore(self, snapshot: Snapshot) -> None:
        """Put a state back, so that what follows is bit for bit what would have followed it."""


class Device(ABC):
    """What both seams share: opening, the safe state on every way out, and capabilities.

    Constructing describes a device, entering its context opens it. A closed one is asked for nothing but its
    description and its safe state.
    """

    _is_open = False

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the device can do and survive."""

    @abstractmethod
    def _open(self) -> None:
        """Open connections; on return the device is in its safe state."""

    @abstractmethod
    def _safe_state(self) -> None:
        """Outputs at zero, matrix open. Must be possible at any moment, and more than once."""

    @abstractmethod
    def _close(self) -> None:
        """Release connections."""

    @final
    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException as error:
            # Opened halfway is still powered: the way out is the same, and the first error is the one to report.
            try:
                self.__exit__(type(error), error, error.__traceback__)
            except Exception as second:
                error.add_note(f"the safe state was not reached either: {second}")
            raise
        self._is_open = True
        return self

    @final
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        try:
            self._safe_state()
        finally:
            self._close()

    @final
    def safe_state(self) -> None:
        """Bring the device to its safe state now."""
        self._safe_state()

    @final
    def _require_open(self) -> None:
        """Raise InputError unless the device is open."""
        if not self._is_open:
            raise InputError(f"{type(self).__name__} is not open: open it first, by using it as a context manager")


class CrossbarArray(Device):
    """One array seen from its ports: voltages in, currents out, cells read and written."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(word lines, bit lines)."""

    @abstractmethod
    def _read(self, volts: FloatArray, direction: Direction) -> FloatArray:
        """Currents (batch, sensed lines) in amperes for volts (batch, driven lines)."""

    @abstractmethod
    def _read_cells(self) -> FloatArray:
        """Cell conductances (rows, columns) in siemens."""

    @abstractmethod
    def _pulse(self, counts: IntArray) -> BoolArray:
        """Give signed pulse counts (rows, columns); which cells are known not to have moved."""

    @abstractmethod
    def _set(self, target_siemens: FloatArray) -> BoolArray:
        """Set conductances outright; which cells are known not to hold them."""

    @final
    def read(self, volts: Any, direction: Direction = "forward") -> FloatArray:
        """Drive the rows (``backward``: the columns) and sense the others at virtual ground.

        Args:
            volts: (driven,) or (batch, driven) volts.
            direction: which side is driven.

        Returns:
            (sensed,) or (batch, sensed) amperes, positive into the sense input.

        Raises:
            InputError: not open, wrong shape or direction, a voltage that is not finite.
            CapabilityError: a voltage beyond the safe limit.
        """
        self._require_open()
        if direction not in ("forward", "backward"):
            raise InputError(f"direction: expected 'forward' or 'backward', got {direction!r}")
        driven = self.shape[0] if direction == "forward" else self.shape[1]
        single = np.ndim(volts) == 1
        batch = finite("volts", np.atleast_2d(volts), (None, driven))
        check(HeldVoltages(batch, "read"), self.capabilities)
        currents = self._read(batch, direction)
        return currents[0] if single else currents

    @final
    def read_cells(self) -> FloatArray:
        """Cell conductances, (rows, columns) siemens.

        Raises:
            InputError: not open.
        """
        self._require_open()
        return self._read_cells()

    @final
    def write_cells(self, request: WriteRequest) -> WriteReport:
        """Write cells, by pulses or outright.

        Raises:
            InputError: not open, wrong shape.
            CapabilityError: a way of writing that the device lacks, or a conductance outside its window.
        """
        self._require_open()
        check(request, self.capabilities)
        if request.pulses is not None:
            counts = _whole_numbers("pulses", request.pulses, self.shape)
            return WriteReport(int(np.abs(counts).sum()), self._pulse(counts))
        return WriteReport(0, self._set(finite("target_siemens", request.target_siemens, self.shape)))


class Substrate(Device):
    """A network that settles by itself: inputs held, a nudge applied, nodes read in the steady state, cells written.

    The order of use is ``hold`` (new inputs), ``settle`` (the free phase), ``nudge`` (any number of times).

    Attributes:
        ledger: what the use of the device has cost in energy and time; None where it cannot tell.
        continuation: states under complex nudges; None where the device lacks ``complex_nudges``.
        export: decks of the circuit; None where the device has no circuit to show.
    """

    ledger: Ledger | None = None
    continuation: Continuation | None = None
    export: CircuitExport | None = None

    @property
    @abstractmethod
    def network(self) -> Network:
        """The topology that the device is wired as."""

    @property
    @abstractmethod
    def scale(self) -> Scale:
        """Volts and siemens of one activity and one weight unit."""

    @property
    @abstractmethod
    def oracle(self) -> Oracle | None:
        """Exact responses, where the device is an emulator."""

    @property
    @abstractmethod
    def states(self) -> StateStore | None:
        """Snapshots, where the device is an emulator."""

    @abstractmethod
    def _hold(self, volts: FloatArray) -> None:
        """Hold input voltages (batch, input)."""

    @abstractmethod
    def _settle(self) -> Record:
        """Let the free network settle and read it once: a record of one sample."""

    @abstractmethod
    def _nudge(self, nudge: Nudge, plan: SamplingPlan) -> Record:
        """Apply a sinusoidal nudge to the settled network and record its steady state."""

    @abstractmethod
    def _products(self, coupling: str, volts: FloatArray) -> FloatArray:
        """Differential currents (batch, columns) of one array at given row voltages (batch, rows)."""

    @abstractmethod
    def _read_cells(self, coupling: str) -> FloatArray:
        """Conductances (polarity, row, column) of one array in siemens."""

    @abstractmethod
    def _write_cells(self, request: WriteRequest) -> WriteReport:
        """Carry out a write that was checked."""

    @final
    def hold(self, volts: Any) -> None:
        """Hold input voltages, (batch, input) volts.

        Raises:
            InputError: not open, wrong shape or a voltage that is not finite.
            CapabilityError: a voltage beyond the safe limit.
        """
        self._require_open()
        held = finite("inputs", volts, (None, self.network.input_size))
        check(HeldVoltages(held, "inputs"), self.capabilities)
        self._hold(held)

    @final
    def settle(self) -> Record:
        """The free phase: one reading of every free node, (batch, 1, node) volts, at the inputs now held.

        Raises:
            InputError: not open.
        """
        self._require_open()
        return self._settle()

    @final
    def nudge(self, nudge: Nudge, plan: SamplingPlan) -> Record:
        """Nudge the settled network and record whole periods of its steady state.

        Raises:
            InputError: not open, wrong shape.
            CapabilityError: a current or a frequency beyond the safe limit, a nudge of a node that has no port.
        """
        self._require_open()
        if np.iscomplexobj(nudge.amperes):
            self.capabilities.require("complex_nudges", "a nudge of complex amplitude")
            raise InputError("nudge: a sinusoid's amplitude is real; held complex currents go to settle_complex()")
        amperes = finite("nudge", nudge.amperes, (None, self.network.node_count))
        check(Nudge(amperes), self.capabilities)
        if plan.frequency_hz > self.capabilities.highest_frequency_hz:
            raise CapabilityError(
                f"nudge.frequency_hz: {plan.frequency_hz:.6g} Hz is beyond the device's "
                f"{self.capabilities.highest_frequency_hz:.6g} Hz"
            )
        if np.any(amperes[:, : self.network.output.start]):
            self.capabilities.require("node_nudges", "a nudge of hidden nodes")
        return self._nudge(Nudge(amperes), plan)

    @final
    def settle_complex(self, nudge: ComplexNudge) -> ComplexStates:
        """States of the settled network under held complex nudges, for the holomorphic reference (arXiv 2209.00530).

        Raises:
            InputError: not open, wrong shape, currents that are not finite.
            CapabilityError: the device lacks ``complex_nudges``, or ``node_nudges`` for a nudge of hidden nodes; a
                current whose modulus is beyond the safe limit.
        """
        self._require_open()
        self.capabilities.require("complex_nudges", "a complex nudge")
        amperes = finite_complex("complex nudge", nudge.amperes, (None, None, self.network.node_count))
        check(ComplexNudge(amperes), self.capabilities)
        if np.any(amperes[..., : self.network.output.start]):
            self.capabilities.require("node_nudges", "a nudge of hidden nodes")
        assert self.continuation is not None  # what the capability promises
        return self.continuation.settle(ComplexNudge(amperes))

    @final
    def products(self, coupling: str, volts: Any) -> FloatArray:
        """Read one array alone, the rest of the network silent.

        Args:
            coupling: name of the array.
            volts: (batch, rows) volts on its word lines.

        Returns:
            Currents (batch, columns) in amperes, differential (I+ - I-) where weights are pairs of cells.

        Raises:
            InputError: not open, unknown coupling, wrong shape.
            CapabilityError: the device can't, or a voltage beyond the safe limit.
        """
        self._require_open()
        self.capabilities.require("forward_products", f"reading {coupling} alone")
        batch = finite("volts", volts, (None, self.network.array(coupling).shape[0]))
        check(HeldVoltages(batch, f"reading {coupling}"), self.capabilities)
        return self._products(coupling, batch)

    @final
    def read_cells(self, coupling: str) -> FloatArray:
        """Conductances of one array, (polarity, row, column) siemens; polarity 0 is the positive, or the only, device.

        Raises:
            InputError: not open, unknown coupling.
        """
        self._require_open()
        self.network.array(coupling)
        return self._read_cells(coupling)

    @final
    def write_cells(self, request: WriteRequest) -> WriteReport:
        """Write one array. A write is never repeated blindly: after a lost answer, read first.

        Raises:
            InputError: not open, unknown coupling, wrong shape, a pulse count that is not a whole number, a mask of
                resets that is not of booleans.
            CapabilityError: a way of writing that the device lacks, or a conductance outside its window.
        """
        self._require_open()
        check(request, self.capabilities)
        shape = self.network.array(request.coupling).cell_shape
        if request.pulses is not None:
            return self._write_cells(
                WriteRequest(request.coupling, pulses=_whole_numbers("pulses", request.pulses, shape))
            )
        if request.reset is not None:
            mask = np.asarray(request.reset)
            if mask.shape != shape or mask.dtype != np.bool_:
                raise InputError(f"reset: expected booleans of shape {shape}, got {mask.dtype} of {mask.shape}")
            return self._write_cells(WriteRequest(request.coupling, reset=mask))
        targets = finite("target_siemens", request.target_siemens, shape)
        return self._write_cells(WriteRequest(request.coupling, target_siemens=targets))


def _whole_numbers(name: str, values: Any, shape: tuple[int, ...]) -> IntArray:
    counts = finite(name, values, shape)
    # Beyond 2^53 neighbouring floats are not neighbouring counts any more, and the cast below would wrap.
    if not np.array_equal(counts, np.round(counts)) or np.any(np.abs(counts) > 2**53):
        raise InputError(f"{name}: expected whole pulse counts")
    return counts.astype(np.int64)
