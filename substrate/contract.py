"""The two seams between an experiment and a device: ``CrossbarArray`` and ``Substrate``.

A backend implements the hooks (names with a leading underscore); what all devices share, the checks of every request
here and the safe state on exit in ``device``, is concrete, once. Arrays carry the batch axis first.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from substrate.arrays import BoolArray, FloatArray, IntArray, Numbers, finite, finite_complex, shaped, whole_numbers
from substrate.capabilities import HeldNudge, HeldVoltages, Nudge, WriteRequest, check
from substrate.device import Device
from substrate.errors import CapabilityError, InputError
from substrate.ledger import Ledger
from substrate.network import Network
from substrate.outer_products import OuterProducts
from substrate.services import CircuitExport, Oracle, StateStore, Stepper
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
class HeldStates:
    """States under held nudges, or on the way of a network that is moved step by step.

    Attributes:
        volts: (batch, point, node). Real ones are readings; complex ones, which no converter stands before, are exact.
        saturated: (batch, point), whether a converter clipped a reading.
        settled: (batch, point), whether the device reports a steady state that was reached from the free one without a
            singularity on the way; of steps, whether the residual is small.
        residual: (batch, point), (modulus of the) largest remaining imbalance in activity units; NaN where a device
            cannot tell.
    """

    volts: Numbers
    saturated: BoolArray
    settled: BoolArray
    residual: FloatArray


@final
@dataclass(frozen=True)
class WriteReport:
    """What a write did.

    Attributes:
        pulses: pulses given, over all cells.
        failed: (polarity, row, column), cells that were asked to move and are known not to have.
        saturated: weights that a relative write would have moved beyond the window, and left at its end.
    """

    pulses: int
    failed: BoolArray
    saturated: int = 0


class CrossbarArray(Device):
    """One array seen from its ports: voltages in, currents out, cells read and written.

    Attributes:
        ledger: what the use of the array has cost in energy and time; None where it cannot tell.
    """

    ledger: Ledger | None = None

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
            counts = whole_numbers("pulses", request.pulses, self.shape)
            return WriteReport(int(np.abs(counts).sum()), self._pulse(counts))
        return WriteReport(0, self._set(finite("target_siemens", request.target_siemens, self.shape)))


class Substrate(Device):
    """A network that settles by itself: inputs held, a nudge applied, nodes read in the steady state, cells written.

    The order of use is ``hold`` (new inputs), ``settle`` (the free phase), ``nudge`` (any number of times).

    Attributes:
        ledger: what the use of the device has cost in energy and time; None where it cannot tell.
        stepper: moves the network step by step; None where the device lacks ``stepping``.
        export: decks of the circuit; None where the device has no circuit to show.
    """

    ledger: Ledger | None = None
    stepper: Stepper | None = None
    _sent: dict[str, IntArray] | None = None
    _accepted: tuple[HeldNudge | None, HeldNudge] = None, HeldNudge(np.zeros((0, 0, 0)))
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
    def _settle_nudged(self, nudge: HeldNudge) -> HeldStates:
        """States under a held nudge that was checked, from the free state."""

    @abstractmethod
    def _products(self, coupling: str, volts: FloatArray, direction: Direction) -> FloatArray:
        """Differential currents (batch, sensed lines) of one array at given voltages (batch, driven lines)."""

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
            raise InputError("nudge: a sinusoid's amplitude is real; held complex currents go to settle_nudged()")
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
    def settle_nudged(self, nudge: HeldNudge) -> HeldStates:
        """States of the settled network under held nudges, one point after another, each from the free state.

        Real currents that do not depend on the nodes every device can hold.

        Raises:
            InputError: not open, wrong shape, numbers that are not finite.
            CapabilityError: the device lacks ``feedback_nudges``, ``cross_feedback``, ``complex_nudges``, or
                ``node_nudges`` for a nudge of hidden nodes; a current beyond the safe limit, with nodes taken at the
                largest voltage that lines bear.
        """
        self._require_open()
        return self._settle_nudged(self._checked(nudge))

    @final
    def evolve(
        self, nudge: HeldNudge | None = None, steps: int = 1, time_constants: float = 1.0, every: int = 0
    ) -> HeldStates:
        """Move the network by explicit steps u += time_constants (-u + W s + drive + nudge), activity units.

        It begins where the last settle() or evolve() ended, and after hold() at rest, u = 0. With a step of one time
        constant this is the discrete map u <- W s + drive of arXiv 2005.04168. Writes in between act at once, and do
        not move the state. Under complex nudges the state becomes complex, and stays so until it is put to rest or
        settles.

        Args:
            nudge: of a single point; None is none.
            steps: how many, at least 1.
            time_constants: length of a step, in (0, 1].
            every: 0: only the last state is read; otherwise the states after so many steps, twice as many, ...

        Returns:
            States (batch, reading, node); ``residual`` is |-u + W s + drive + nudge| in the last step.

        Raises:
            InputError: not open, wrong shape, numbers that are not finite or out of range.
            CapabilityError: the device lacks ``stepping``, or as ``settle_nudged``.
        """
        self._require_open()
        self.capabilities.require("stepping", "moving the network step by step")
        for name, count, least in (("steps", steps, 1), ("every", every, 0)):
            if count != int(count) or count < least:
                raise InputError(f"{name}: expected a whole number >= {least}, got {count}")
        if every > steps:
            raise InputError(f"every: expected at most the {steps} steps, got {every}")
        if not 0.0 < time_constants <= 1.0:
            raise InputError(f"time_constants: expected a number in (0, 1], got {time_constants}")
        checked = None if nudge is None else self._checked(nudge)
        if checked is not None and checked.amperes.shape[1] != 1:
            raise InputError(f"held nudge: expected a single point for steps, got {checked.amperes.shape[1]}")
        assert self.stepper is not None  # what the capability promises
        return self.stepper.evolve(checked, int(steps), float(time_constants), int(every))

    @final
    def rest(self) -> None:
        """Put the state that ``evolve`` moves back to rest, u = 0; inputs stay held and the free state known.

        Raises:
            InputError: not open.
            CapabilityError: the device lacks ``stepping``.
        """
        self._require_open()
        self.capabilities.require("stepping", "putting the network to rest")
        assert self.stepper is not None  # what the capability promises
        self.stepper.rest()

    @final
    def _checked(self, nudge: HeldNudge) -> HeldNudge:
        """The nudge with arrays of full shape, once it has passed all checks."""
        if nudge is self._accepted[0]:
            return self._accepted[1]
        count = self.network.node_count
        amperes = _numbers("held nudge", nudge.amperes, (None, None, count))
        siemens = cross = None
        if nudge.siemens is not None:
            try:
                full = np.broadcast_to(nudge.siemens, amperes.shape)
            except ValueError as error:
                raise InputError(
                    f"held nudge: expected siemens broadcastable to {amperes.shape}, got {np.shape(nudge.siemens)}"
                ) from error
            siemens = _numbers("held nudge: siemens", full, amperes.shape)
        if nudge.cross_siemens is not None:
            cross = finite("held nudge: cross_siemens", nudge.cross_siemens, (count, count))
        checked = HeldNudge(amperes, siemens, cross)
        check(checked, self.capabilities)
        if not self.capabilities.node_nudges:
            hidden = slice(0, self.network.output.start)
            currents = [amperes[..., hidden]]
            currents += [siemens[..., hidden]] if siemens is not None else []
            currents += [cross[hidden]] if cross is not None else []
            if any(np.any(current) for current in currents):
                self.capabilities.require("node_nudges", "a nudge of hidden nodes")
        if nudge.fixed:
            # The same one is asked for at every step that it is held.
            self._accepted = nudge, checked
        return checked

    @final
    def products(self, coupling: str, volts: Any, direction: Direction = "forward") -> FloatArray:
        """Read one array alone, the rest of the network silent.

        Args:
            coupling: name of the array.
            volts: (batch, rows) volts on its word lines; ``backward``: (batch, columns) on its bit lines.
            direction: which side is driven.

        Returns:
            Currents (batch, columns), or (batch, rows), in amperes, differential (I+ - I-) where weights are pairs of
            cells.

        Raises:
            InputError: not open, unknown coupling or direction, wrong shape.
            CapabilityError: the device can't, or a voltage beyond the safe limit.
        """
        self._require_open()
        if direction not in ("forward", "backward"):
            raise InputError(f"direction: expected 'forward' or 'backward', got {direction!r}")
        self.capabilities.require("forward_products", f"reading {coupling} alone")
        if direction == "backward":
            self.capabilities.require("transposed_products", f"reading {coupling} backward")
        batch = finite("volts", volts, (None, self.network.array(coupling).shape[int(direction == "backward")]))
        check(HeldVoltages(batch, f"reading {coupling}"), self.capabilities)
        return self._products(coupling, batch, direction)

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
            counts = whole_numbers("pulses", request.pulses, shape)
            # Counted first: of a write whose answer is lost the pulses may have been given.
            self._count(request.coupling, np.abs(counts))
            return self._write_cells(WriteRequest(request.coupling, pulses=counts))
        if request.reset is not None:
            mask = np.asarray(request.reset)
            if mask.shape != shape or mask.dtype != np.bool_:
                raise InputError(f"reset: expected booleans of shape {shape}, got {mask.dtype} of {mask.shape}")
            self._count(request.coupling, mask.astype(np.int64))
            return self._write_cells(WriteRequest(request.coupling, reset=mask))
        if request.apart_siemens is not None:
            if shape[0] != 2 or not isinstance(request.apart_siemens, OuterProducts):
                raise InputError(f"apart_siemens: expected outer products, and pairs of cells, got {shape[0]} a weight")
            request.apart_siemens.check("apart_siemens", shape[1:])
            return self._write_cells(request)
        # The check has refused what is not finite.
        targets = shaped("target_siemens", request.target_siemens, shape)
        return self._write_cells(WriteRequest(request.coupling, target_siemens=targets))

    @final
    def pulses_sent(self, coupling: str) -> IntArray:
        """Pulses and resets that each cell of an array was sent so far, (polarity, row, column), stuck ones included.

        Raises:
            InputError: unknown coupling.
        """
        shape = self.network.array(coupling).cell_shape
        sent = self._sent or {}
        return sent[coupling].copy() if coupling in sent else np.zeros(shape, dtype=np.int64)

    @final
    def restore_pulses_sent(self, counts: Mapping[str, IntArray]) -> None:
        """Go on counting from ``counts``, of a run that is resumed."""
        self._sent = {name: np.array(count) for name, count in counts.items()}

    @final
    def _count(self, coupling: str, pulses: IntArray) -> None:
        self._sent = {} if self._sent is None else self._sent
        if coupling in self._sent:
            self._sent[coupling] += pulses
        else:
            self._sent[coupling] = pulses


def _numbers(name: str, values: Any, shape: tuple[int | None, ...]) -> Numbers:
    return finite_complex(name, values, shape) if np.iscomplexobj(values) else finite(name, values, shape)
