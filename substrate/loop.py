"""Crossbars in the loop: a network whose arrays are devices and whose neurons are computed.

Any ``CrossbarArray`` that gives currents for voltages carries a whole network: the activities of the neurons are put on
its lines, the currents are read, the neurons follow, and so on until nothing moves, s = f(W s + drive + nudge). One
pass goes through the layers in order; passes are mixed by Anderson's method once they have come close (Walker & Ni
2011, with a step no longer than a few plain ones, since readings are noisy). A nudge is stepped through the phases of
its period: this is the quasi-static response itself, whatever the nudge's frequency is called (physics.md, 2.3). All
states of a batch, and all phases of its periods, are read together, each with readings of its own.

A neuron's output stays within what the lines survive; a state in which one is held there is marked as saturated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, final

import numpy as np
from pydantic import Field

from substrate.activations import ACTIVATIONS
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.capabilities import Capabilities, HeldNudge, Limits, Nudge, WriteRequest
from substrate.contract import CrossbarArray, Direction, HeldStates, Record, Scale, WriteReport
from substrate.errors import InputError
from substrate.measured import MeasuredSubstrate
from substrate.network import Coupling, Network
from substrate.outlay import Outlay, Pace
from substrate.placement import Corner, Placement, Region, place
from substrate.sections import Positive, Section
from substrate.services import Instruments
from substrate.tones import SamplingPlan

CLOSE: Final = 3e-2
"""Residual, in activity units, from which on passes are mixed."""

MEMORY: Final = 4
"""Passes that are mixed."""

LONGEST: Final = 10.0
"""Step of a mixed pass, in plain ones: readings are noisy, and the branch must not be left."""

RIDGE: Final = 1e-9
"""Of the least squares of the mixture, relative."""

MOST_STATES: Final = 4096
"""Read at a time."""


@final
class SettleConfig(Section):
    """When software neurons count as settled.

    Attributes:
        damping: of a pass, the fraction of the way that a neuron goes.
        tolerance: largest |W s + drive + nudge - u|, activity units; above the noise of a reading.
        passes: at most.
        least_passes: at least; where noise hides how far a state has come, this many bring it there.
        mixed: whether passes are mixed, which noise that is not small beside the tolerance makes worse.
    """

    damping: Annotated[float, Field(gt=0, le=1)] = 0.8
    tolerance: Positive = 1e-6
    passes: Annotated[int, Field(ge=1)] = 200
    least_passes: Annotated[int, Field(ge=1)] = 1
    mixed: bool = True


@final
class CornerConfig(Section):
    """First cell of one plane of a coupling."""

    array: str
    row: Annotated[int, Field(ge=0)] = 0
    column: Annotated[int, Field(ge=0)] = 0


@final
class LoopConfig(Section):
    """How a network lies on arrays, and how its neurons are closed around them.

    Attributes:
        volts_per_unit: on a line, of an activity of one.
        unit_siemens: conductance of a weight of one; by default a quarter of the highest.
        current_amperes: largest nudge current; it is only computed.
        placement: corners of the planes of a coupling, the positive one first; others are packed.
        settle: see ``SettleConfig``.
    """

    volts_per_unit: Positive = 0.2
    unit_siemens: Positive | None = None
    current_amperes: Positive = 1.0e-3
    placement: dict[str, list[CornerConfig]] = Field(default_factory=dict)
    settle: SettleConfig = SettleConfig()

    def corners(self) -> dict[str, list[Corner]]:
        """As ``place`` takes them."""
        return {
            name: [Corner(one.array, one.row, one.column) for one in corners]
            for name, corners in self.placement.items()
        }


@final
@dataclass(frozen=True)
class _States:
    """Where relaxation has come to: summed inputs and activities (state, node), residual and saturation (state,)."""

    u: FloatArray
    s: FloatArray
    residual: FloatArray
    saturated: BoolArray


@final
class LoopedSubstrate(MeasuredSubstrate):
    """Software neurons around crossbar arrays.

    Args:
        network: of the current-mode or the feedforward family.
        arrays: by the names that the placement uses; opened and closed with the network, in this order.
        config: placement, scale, settling.
        instruments: what the arrays are reached through; None where nothing is known.

    Raises:
        InputError: another family, arrays that are too small or of different ways of writing, a scale that the arrays
            do not survive.
    """

    def __init__(
        self,
        network: Network,
        arrays: Mapping[str, CrossbarArray],
        config: LoopConfig,
        instruments: Instruments | None = None,
    ) -> None:
        if network.resistive:
            raise InputError("network.family: neurons are closed around current_mode and feedforward networks only")
        if not arrays:
            raise InputError("arrays: expected at least one")
        all_of = [array.capabilities for array in arrays.values()]
        capabilities = _joined(all_of, config.current_amperes, feeds_back=not network.feedforward)
        unit = config.unit_siemens or 0.25 * capabilities.conductance_window_siemens[1]
        super().__init__(network, Scale(config.volts_per_unit, unit), capabilities)
        self._arrays = dict(arrays)
        self._config = config
        self.instruments = instruments
        self._placement: Placement = place(
            network, {name: array.shape for name, array in arrays.items()}, config.corners()
        )
        limit = capabilities.limits.read_volts
        biased = any(coupling.bias for coupling in network.arrays)
        if biased and config.volts_per_unit > limit:
            raise InputError(
                f"substrate.volts_per_unit: bias lines stand at one unit, {config.volts_per_unit:g} V, beyond the "
                f"safe {limit:g} V"
            )
        self._rail = limit / config.volts_per_unit
        self._into = {
            layer.name: [one for one in network.settling if one.target.name == layer.name and one.source.start >= 0]
            for layer in network.layers[1:]
        }
        self._back = {
            layer.name: [
                one
                for one in (network.forward if network.feedback == "shared" and not network.feedforward else ())
                if one.source.name == layer.name
            ]
            for layer in network.layers[1:]
        }
        self.outlay = self._joined_outlay()
        self._held = np.zeros((0, network.input_size))
        self._free: _States | None = None
        self._targets: dict[str, FloatArray] = {}

    @property
    def placement(self) -> Placement:
        """Which part of which array holds which coupling."""
        return self._placement

    def _joined_outlay(self) -> Outlay | None:
        """What the arrays put out and take; a state takes all its passes, and a record all its states."""
        outlays = [array.outlay for array in self._arrays.values() if array.outlay is not None]
        if len(outlays) < len(self._arrays):
            return None
        settle, paces = self._config.settle, [one.pace for one in outlays]
        passes = 1 if self._network.feedforward else max(settle.passes, settle.least_passes)
        planes = sum(coupling.polarities for coupling in self._network.settling)
        product = max(one.product_seconds for one in paces)
        state = passes * planes * product
        return Outlay(
            demands=tuple(dict.fromkeys(demand for one in outlays for demand in one.demands)),
            pace=Pace(
                state_seconds=state,
                point_seconds=state,
                # The planes of a pair one after another.
                product_seconds=2.0 * product,
                cell_seconds=max(one.cell_seconds for one in paces),
                row_seconds=2.0 * max(one.row_seconds for one in paces),
                write_seconds=max(one.write_seconds for one in paces),
                pulse_seconds=max(one.pulse_seconds for one in paces),
            ),
            pulses_per_cell=min(one.pulses_per_cell for one in outlays),
            most_given=lambda: max(one.most_given() for one in outlays),
            kept=all(one.kept for one in outlays),
            line_amperes=min(one.line_amperes for one in outlays),
            drives_neurons=True,
        )

    def _open(self) -> None:
        for array in self._arrays.values():
            array.__enter__()

    def _safe_state(self) -> None:
        self._hold(np.zeros((0, self._network.input_size)))
        self._every(lambda array: array.safe_state())

    def _close(self) -> None:
        self._every(lambda array: array.__exit__(None, None, None))

    def _every(self, step: Callable[[CrossbarArray], None]) -> None:
        """Do something with each array, whatever becomes of the others; the first error is the one that is raised."""
        failures: list[Exception] = []
        for array in self._arrays.values():
            try:
                step(array)
            except Exception as error:
                failures.append(error)
        if failures:
            for other in failures[1:]:
                failures[0].add_note(str(other))
            raise failures[0]

    # The network.

    def _hold(self, volts: FloatArray) -> None:
        self._held = volts.copy()
        self._free = None

    def _settle(self) -> Record:
        batch, nodes = len(self._held), self._network.node_count
        at_rest = np.zeros((batch, nodes))
        found = self._free = self._relaxed(self._held, at_rest, None, at_rest)
        return self._record(found, (batch, 1), 0.0)

    def _nudge(self, nudge: Nudge, plan: SamplingPlan) -> Record:
        levels = np.tile(np.cos(plan.phases()), plan.periods)
        found = self._under(nudge.amperes[:, None, :] * levels[:, None], None, "nudge")
        return self._record(found, (len(nudge.amperes), len(levels)), plan.rate_hz)

    def _record(self, found: _States, shape: tuple[int, int], rate_hz: float) -> Record:
        volts = (found.s * self._scale.volts_per_unit).reshape(*shape, -1)
        residual = found.residual.reshape(shape).max(axis=1)
        saturated: BoolArray = np.any(found.saturated.reshape(shape), axis=1)
        return Record(volts, rate_hz, 0.0, saturated, residual <= self._config.settle.tolerance, residual)

    def _settle_nudged(self, nudge: HeldNudge) -> HeldStates:
        amperes = np.asarray(nudge.amperes, dtype=np.float64)
        siemens = None if nudge.siemens is None else np.asarray(nudge.siemens, dtype=np.float64)
        found = self._under(amperes, siemens, "held nudge")
        shape = amperes.shape[:2]
        residual = found.residual.reshape(shape)
        volts = (found.s * self._scale.volts_per_unit).reshape(amperes.shape)
        settled = residual <= self._config.settle.tolerance
        return HeldStates(volts, found.saturated.reshape(shape), settled, residual)

    def _under(self, amperes: FloatArray, siemens: FloatArray | None, what: str) -> _States:
        """States (sample * point) under currents (sample, point, node), from the free state."""
        if self._free is None:
            raise InputError(f"{what}: the free phase has not settled; call settle() after hold()")
        if len(amperes) != len(self._held):
            raise InputError(f"{what}: expected a batch of {len(self._held)}, got {len(amperes)}")
        points, nodes = amperes.shape[1:]
        currents = amperes.reshape(-1, nodes) / self._scale.unit_amperes
        loads = None if siemens is None else siemens.reshape(-1, nodes) / self._scale.unit_siemens
        return self._relaxed(
            np.repeat(self._held, points, axis=0), currents, loads, np.repeat(self._free.u, points, axis=0)
        )

    def _relaxed(self, held: FloatArray, nudge: FloatArray, loads: FloatArray | None, start: FloatArray) -> _States:
        """Relax from u ``start`` at inputs ``held`` in volts and currents nudge - loads s, all (state, ...)."""
        parts = [slice(first, first + MOST_STATES) for first in range(0, len(held), MOST_STATES)]
        found = [
            self._relaxed_part(held[part], nudge[part], None if loads is None else loads[part], start[part])
            for part in parts
        ]
        if len(found) == 1:
            return found[0]
        empty = (np.zeros((0, nudge.shape[1])), np.zeros((0, nudge.shape[1])), np.zeros(0), np.zeros(0, dtype=np.bool_))
        columns = zip(empty, *((one.u, one.s, one.residual, one.saturated) for one in found), strict=True)
        u, s, residual, saturated = (np.concatenate(column) for column in columns)
        return _States(u, s, residual, saturated)

    def _relaxed_part(
        self, held: FloatArray, nudge: FloatArray, loads: FloatArray | None, start: FloatArray
    ) -> _States:
        settle = self._config.settle
        constant = nudge + self._drive(held)
        u = start.copy()
        residual = np.full(len(u), np.inf)
        mixing = _Mixing(len(u), u.shape[1])
        todo = np.arange(len(u))
        for number in range(max(settle.passes, settle.least_passes)):
            step = self._pass(u[todo], constant[todo], None if loads is None else loads[todo])
            residual[todo] = np.abs(step).max(axis=1, initial=0.0)
            going = (residual[todo] > settle.tolerance) | (number + 1 < settle.least_passes)
            if self._network.feedforward:
                # The pass itself is the state; what a second one would differ by is noise.
                u[todo] += step
                residual[todo] = 0.0
                break
            if not going.any():
                break
            plain = settle.damping * step[going]
            if settle.mixed:
                u[todo[going]] = mixing.next(todo[going], u[todo[going]], plain, residual)
            else:
                u[todo[going]] += plain
            todo = todo[going]
        s, saturated = self._activity(u)
        return _States(u, s, residual, saturated)

    def _drive(self, held: FloatArray) -> FloatArray:
        """Currents of the held inputs into all nodes, (state, node) activity units; each state's own reading."""
        out = np.zeros((len(held), self._network.node_count))
        for coupling in self._network.settling:
            if coupling.source.start < 0:
                lines = coupling.lines(held / self._scale.volts_per_unit)
                columns = self._currents(coupling, lines, "forward")
                out[:, coupling.target.nodes] += coupling.into_target(columns)
        return out

    def _pass(self, u: FloatArray, constant: FloatArray, loads: FloatArray | None) -> FloatArray:
        """What one pass through the layers would move u by, undamped: each layer sees where those before it came to."""
        new = u.copy()
        s, _ = self._activity(new)
        for layer in self._network.layers[1:]:
            nodes = layer.nodes
            summed = constant[:, nodes].copy()
            for coupling in self._into[layer.name]:
                columns = self._currents(coupling, coupling.lines(s[:, coupling.source.nodes]), "forward")
                summed += coupling.into_target(columns)
            for coupling in self._back[layer.name]:
                rows = self._currents(coupling, coupling.columns(s[:, coupling.target.nodes]), "backward")
                summed += coupling.into_source(rows)
            if loads is not None:
                summed -= loads[:, nodes] * s[:, nodes]
            new[:, nodes] = summed
            s[:, nodes] = self._activity(new)[0][:, nodes]
        return new - u

    def _activity(self, u: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Neuron outputs within the rails, and which states (state,) have one at them."""
        s = ACTIVATIONS[self._network.activation].value(u)
        if self._network.linear_outputs:
            nodes = self._network.output.nodes
            s[:, nodes] = u[:, nodes]
        beyond: BoolArray = np.any(np.abs(s) > self._rail, axis=1)
        return np.clip(s, -self._rail, self._rail), beyond

    # The arrays.

    def _currents(self, coupling: Coupling, activities: FloatArray, direction: Direction) -> FloatArray:
        """Differential currents in activity units for activities on lines."""
        volts = activities * self._scale.volts_per_unit
        return self._differential(coupling, volts, direction) / self._scale.unit_amperes

    def _differential(self, coupling: Coupling, volts: FloatArray, direction: Direction) -> FloatArray:
        """I+ - I- in amperes; planes that are driven through the same lines are read at once."""
        forward = direction == "forward"
        regions = self._placement[coupling.name]
        out = np.zeros((len(volts), self._network.array(coupling.name).shape[1 if forward else 0]))
        read: dict[tuple[str, int], FloatArray] = {}
        for sign, region in zip((1.0, -1.0), regions, strict=False):
            driven, sensed = (region.rows, region.columns) if forward else (region.columns, region.rows)
            key = region.array, driven.start
            if key not in read:
                array = self._arrays[region.array]
                lines = np.zeros((len(volts), array.shape[0 if forward else 1]))
                lines[:, driven] = volts
                read[key] = array.read(lines, direction)
            out += sign * read[key][:, sensed]
        return out

    def _products(self, coupling: str, volts: FloatArray, direction: Direction) -> FloatArray:
        return self._differential(self._network.array(coupling), volts, direction)

    def _read_cells(self, coupling: str) -> FloatArray:
        regions = self._placement[coupling]
        cells = {name: self._arrays[name].read_cells() for name in dict.fromkeys(one.array for one in regions)}
        return np.stack([cells[one.array][one.rows, one.columns] for one in regions])

    def _write_cells(self, request: WriteRequest) -> WriteReport:
        regions = self._placement[request.coupling]
        self._free = None
        failed = np.zeros(self._network.array(request.coupling).cell_shape, dtype=np.bool_)
        pulses = 0
        for name in dict.fromkeys(one.array for one in regions):
            here = [(index, one) for index, one in enumerate(regions) if one.array == name]
            report = self._write(name, here, request)
            pulses += report.pulses
            for index, one in here:
                failed[index] = report.failed[one.rows, one.columns]
        return WriteReport(pulses, failed)

    def _write(self, name: str, regions: list[tuple[int, Region]], request: WriteRequest) -> WriteReport:
        """One write to an array, of all planes that lie on it."""
        array = self._arrays[name]
        if request.pulses is not None:
            counts = np.zeros(array.shape, dtype=np.int64)
            for index, one in regions:
                counts[one.rows, one.columns] = request.pulses[index]
            return array.write_cells(WriteRequest(name, pulses=counts))
        if name not in self._targets:
            # Cells that nobody has set yet stay as near as the window allows to what is read of them.
            self._targets[name] = np.clip(array.read_cells(), *self._capabilities.conductance_window_siemens)
        targets = self._targets[name].copy()
        for index, one in regions:
            targets[one.rows, one.columns] = request.target_siemens[index]
        report = array.write_cells(WriteRequest(name, target_siemens=targets))
        self._targets[name] = targets
        return report


@final
class _Mixing:
    """Anderson's method for many small systems at once; each has its own memory of passes.

    Args:
        states: how many systems.
        nodes: unknowns of each.
    """

    def __init__(self, states: int, nodes: int) -> None:
        self._moved = np.zeros((states, MEMORY, nodes))  # differences of u
        self._turned = np.zeros((states, MEMORY, nodes))  # differences of steps
        self._before: tuple[FloatArray, FloatArray] = (np.zeros((states, nodes)), np.zeros((states, nodes)))
        self._known = np.zeros(states, dtype=np.int64)

    def next(self, which: IntArray, u: FloatArray, step: FloatArray, residual: FloatArray) -> FloatArray:
        """States (chosen, node) after u, whose damped plain steps are given; ``which`` are the chosen systems."""
        close = residual[which] < CLOSE
        slot = self._known[which] % MEMORY
        older = self._known[which] >= 0
        ready = close & older & (np.abs(self._before[1][which]).max(axis=1) > 0)
        self._moved[which[ready], slot[ready]] = (u - self._before[0][which])[ready]
        self._turned[which[ready], slot[ready]] = (step - self._before[1][which])[ready]
        self._known[which[ready]] += 1
        self._before[0][which], self._before[1][which] = u, np.where(close[:, None], step, 0.0)
        moved, turned = self._moved[which], self._turned[which]
        gram = turned @ turned.transpose(0, 2, 1)
        trace = np.trace(gram, axis1=1, axis2=2)[:, None, None]
        gram += (RIDGE * trace + np.finfo(float).tiny) * np.eye(MEMORY)
        weights = np.linalg.solve(gram, (turned @ step[:, :, None]))
        change = step - ((moved + turned).transpose(0, 2, 1) @ weights)[:, :, 0]
        plain = np.linalg.norm(step, axis=1)
        fits = (self._known[which] > 0) & (np.linalg.norm(change, axis=1) <= LONGEST * plain)
        return np.asarray(u + np.where(fits[:, None], change, step))


def _joined(all_of: list[Capabilities], current_amperes: float, *, feeds_back: bool) -> Capabilities:
    """What arrays can do together.

    Raises:
        InputError: some take pulses only and others do not.
    """
    first = all_of[0]
    if any((one.pulses, one.continuous_writing) != (first.pulses, first.continuous_writing) for one in all_of):
        raise InputError("arrays: expected all to be written in the same way, by pulses or outright")
    steps = np.mean([one.step_siemens for one in all_of], axis=0)
    return Capabilities(
        limits=Limits(
            min(one.limits.read_volts for one in all_of),
            min(one.limits.write_volts for one in all_of),
            current_amperes,
        ),
        conductance_window_siemens=(
            max(one.conductance_window_siemens[0] for one in all_of),
            min(one.conductance_window_siemens[1] for one in all_of),
        ),
        step_siemens=(float(steps[0]), float(steps[1])),
        highest_frequency_hz=float("inf"),
        pulses=first.pulses,
        continuous_writing=first.continuous_writing,
        simultaneous_sampling=True,
        complex_nudges=False,
        node_nudges=True,
        forward_products=True,
        exact_adjoint=False,
        state_snapshots=False,
        feedback_nudges=feeds_back,
        transposed_products=True,
    )
