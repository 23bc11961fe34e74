"""What a device can do and what it survives, as plain data, and the one check of every request against it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import TYPE_CHECKING, Any, final

import numpy as np

from substrate.errors import CapabilityError

if TYPE_CHECKING:
    from substrate.arrays import FloatArray, Numbers
    from substrate.outer_products import OuterProducts


@final
@dataclass(frozen=True)
class Limits:
    """What no request may exceed, whatever the experiment asks.

    Attributes:
        read_volts: largest magnitude put on a line while reading or computing.
        write_volts: largest magnitude of a programming pulse.
        current_amperes: largest magnitude of an injected current.
    """

    read_volts: float
    write_volts: float
    current_amperes: float


@final
@dataclass(frozen=True)
class Capabilities:
    """What a device offers.

    Attributes:
        limits: what it survives.
        conductance_window_siemens: (lowest, highest) conductance that a cell can be programmed to.
        step_siemens: mean conductance change of one pulse (up, down) at mid window; (0, 0) without pulses.
        highest_frequency_hz: of a nudge; above it the converters do not follow.
        pulses: cells move by programming pulses.
        continuous_writing: cells take any conductance inside the window in one write.
        simultaneous_sampling: all nodes of a record are sampled at the same instants.
        complex_nudges: held nudges may be complex (emulators only).
        node_nudges: currents can be injected into every node, not only into the outputs.
        forward_products: one array at a time can be read at given voltages.
        exact_adjoint: the device's own linear response can be computed without measuring (emulators only).
        state_snapshots: the whole physical state can be saved and put back (emulators only).
        resets: cells whose pulses only move them up can be reset, all the way down (networks only).
        feedback_nudges: nodes can be joined by a conductance to a source, so that a held current falls with the node's
            own voltage.
        cross_feedback: held currents can depend on the voltages of other nodes (emulators only).
        stepping: the network can be moved step by step, with writes in between (emulators only).
        transposed_products: one array at a time can be read the other way as well.
        outer_product_writes: pairs of cells are moved by a sum of outer products of what is on their lines
            (emulators only).
        reading_step_volts: between neighbouring readings of a node, that of its converter; 0 where readings are
            continuous, or not known.
        other_arrays: by name, of arrays whose cells are of another kind; all else is as of the device. Ask ``of``.
    """

    limits: Limits
    conductance_window_siemens: tuple[float, float]
    step_siemens: tuple[float, float]
    highest_frequency_hz: float
    pulses: bool
    continuous_writing: bool
    simultaneous_sampling: bool
    complex_nudges: bool
    node_nudges: bool
    forward_products: bool
    exact_adjoint: bool
    state_snapshots: bool
    resets: bool = False
    feedback_nudges: bool = False
    cross_feedback: bool = False
    stepping: bool = False
    transposed_products: bool = False
    outer_product_writes: bool = False
    reading_step_volts: float = 0.0
    other_arrays: Mapping[str, "Capabilities"] = field(default_factory=dict, hash=False)

    def of(self, array: str) -> "Capabilities":
        """What can be done with the cells of one array."""
        return self.other_arrays.get(array, self)

    @property
    def kinds(self) -> tuple["Capabilities", ...]:
        """The device's own, and those of arrays of other cells, each kind of them once."""
        return tuple(dict.fromkeys((self, *self.other_arrays.values())))

    @property
    def pulses_anywhere(self) -> bool:
        """Whether any array is moved by pulses."""
        return any(one.pulses for one in self.kinds)

    def require(self, capability: str, purpose: str) -> None:
        """Refuse a purpose that needs a capability that the device lacks.

        Raises:
            CapabilityError: names the capability and the purpose.
        """
        if not getattr(self, capability):
            raise CapabilityError(f"{purpose} needs the capability '{capability}', which this device lacks")


@final
@dataclass(frozen=True)
class HeldVoltages:
    """Voltages to be held on lines: ``volts`` of any shape, ``purpose`` for the message."""

    volts: "FloatArray"
    purpose: str


@final
@dataclass(frozen=True)
class Nudge:
    """Sinusoidal currents into the free nodes, in phase with cos(2 pi f t).

    Attributes:
        amperes: peak current, (batch, node).
    """

    amperes: "FloatArray"


@final
@dataclass(frozen=True)
class HeldNudge:
    """Held currents into the free nodes, I = amperes - siemens v - cross_siemens @ v, any number for each sample.

    The feedback nudge beta (y - s) of the papers is a conductance to a source: amperes g y, siemens g.

    Attributes:
        amperes: (batch, point, node), real or complex.
        siemens: broadcastable to the same shape, real or complex; None is 0. Takes ``feedback_nudges``.
        cross_siemens: (node, node), row i the current into node i by the voltages of all nodes; None is 0. Takes
            ``cross_feedback``.
    """

    amperes: "Numbers"
    siemens: "Numbers | None" = None
    cross_siemens: "FloatArray | None" = None

    @property
    def feeds_back(self) -> bool:
        """Whether the currents depend on the nodes."""
        return self.siemens is not None or self.cross_siemens is not None

    @property
    def fixed(self) -> bool:
        """Whether what it asks for can't be changed in place any more: read-only arrays with memory of their own."""
        given = (one for one in (self.amperes, self.siemens, self.cross_siemens) if one is not None)
        return all(isinstance(one, np.ndarray) and one.flags.owndata and not one.flags.writeable for one in given)

    @property
    def complex(self) -> bool:
        """Whether it is one that no wire carries."""
        return np.iscomplexobj(self.amperes) or (self.siemens is not None and np.iscomplexobj(self.siemens))


@final
@dataclass(frozen=True)
class WriteRequest:
    """What to write into one array; one of the four is given.

    Attributes:
        coupling: name of the array.
        pulses: signed pulse counts (polarity, row, column), positive = potentiation; polarity 0 is the positive device.
        target_siemens: conductances (polarity, row, column) to be set outright.
        reset: booleans (polarity, row, column), cells to be reset.
        apart_siemens: (row, column), by how much the cells of each pair move apart, the positive one up by half of it
            and the negative one down, to the end of the window at most. Its factors are left alone afterwards.
            Takes ``outer_product_writes``.
    """

    coupling: str
    pulses: Any = None
    target_siemens: Any = None
    reset: Any = None
    apart_siemens: "OuterProducts | None" = None


def _within(what: str, values: "Numbers", limit: float, unit: str, key: str) -> None:
    if np.iscomplexobj(values):
        values = np.abs(values)
    # The two ends take no array beside this one.
    largest = float(max(values.max(initial=0.0), -values.min(initial=0.0)))
    # A NaN compares false: it must be refused as well.
    if not largest <= limit * (1 + 1e-12):
        raise CapabilityError(
            f"{what}: {largest:.6g} {unit} is beyond the device's safe limit {key} = {limit:.6g} {unit}"
        )


@singledispatch
def check(request: object, capabilities: Capabilities) -> None:
    """Check a request against what the device can do and survive; every backend goes through here.

    Raises:
        CapabilityError: names the request, the limit or capability, and the value.
    """
    raise TypeError(f"no check is known for {type(request).__name__}")


@check.register
def _(request: HeldVoltages, capabilities: Capabilities) -> None:
    _within(request.purpose, request.volts, capabilities.limits.read_volts, "V", "limits.read_volts")


@check.register
def _(request: Nudge, capabilities: Capabilities) -> None:
    _within("nudge", request.amperes, capabilities.limits.current_amperes, "A", "limits.current_amperes")


@check.register
def _(request: HeldNudge, capabilities: Capabilities) -> None:
    if request.complex:
        capabilities.require("complex_nudges", "a complex nudge")
    largest = np.abs(request.amperes) if request.feeds_back else request.amperes
    # Nodes drive lines, so that none is beyond what lines bear.
    volts = capabilities.limits.read_volts
    if request.siemens is not None:
        capabilities.require("feedback_nudges", "a nudge that falls with the node's voltage")
        largest = largest + volts * np.abs(request.siemens)
    if request.cross_siemens is not None:
        capabilities.require("cross_feedback", "a nudge that depends on other nodes")
        largest = largest + volts * np.abs(request.cross_siemens).sum(axis=1)
    _within("held nudge", largest, capabilities.limits.current_amperes, "A", "limits.current_amperes")


@check.register
def _(request: WriteRequest, capabilities: Capabilities) -> None:
    capabilities = capabilities.of(request.coupling)
    ways = request.pulses, request.target_siemens, request.reset, request.apart_siemens
    if sum(given is not None for given in ways) != 1:
        raise CapabilityError(
            f"write to {request.coupling}: expected either pulses, target conductances, a reset or outer products"
        )
    if request.apart_siemens is not None:
        capabilities.require("outer_product_writes", f"writing outer products to {request.coupling}")
        return
    if request.reset is not None:
        capabilities.require("resets", f"resetting cells of {request.coupling}")
        return
    if request.pulses is not None:
        capabilities.require("pulses", f"writing {request.coupling} by pulses")
        return
    capabilities.require("continuous_writing", f"writing {request.coupling} outright")
    low, high = capabilities.conductance_window_siemens
    targets = np.asarray(request.target_siemens, dtype=np.float64)
    least, most = low * (1 - 1e-12), high * (1 + 1e-12)
    # Imported on first use: it brings numba in.
    from substrate.writing_kernels import within

    if not within(np.ascontiguousarray(targets).reshape(-1), least, most):
        where = tuple(int(index) for index in np.argwhere(~((targets >= least) & (targets <= most)))[0])
        raise CapabilityError(
            f"write to {request.coupling}: {targets[where]:.6g} S at {where} lies outside the device's window "
            f"{low:.6g} .. {high:.6g} S"
        )
