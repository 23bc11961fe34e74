"""A bench of instruments around a device as a ``Substrate``, by a wiring file (``wiring.py``).

Generators hold the inputs and put nudges into nodes; oscilloscopes or data loggers read nodes; source meters behind a
switch matrix read and write cells. One sample is held at a time: batches are looped here, in one place.

With oscilloscopes a nudge is a sine. All generators run at one clock, and a reference sine, seen by every scope, starts
each record at the nudge's crest: the record is of whole periods, whatever the scopes' own clocks say about the phase,
and nodes seen by different scopes belong together. Data loggers are too slow for that: the nudge is then stepped
through the phases of its period, each held while the nodes are read, which is the quasi-static response itself.
"""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.data_logger import DataLogger
from drivers.errors import ProtocolError
from drivers.keysight_33500b import SMALLEST_VPP, GeneratorChannel
from drivers.keysight_infiniivision import KeysightInfiniiVision
from drivers.wiring import Rack, WiringConfig, arrays_of, drive_limits, load_wiring, ready_addresses, split
from substrate.arrays import BoolArray, FloatArray
from substrate.capabilities import Capabilities, HeldNudge, Limits, Nudge, WriteRequest
from substrate.contract import Direction, HeldStates, Record, Scale, Substrate, WriteReport
from substrate.errors import InputError
from substrate.loop import LoopConfig, LoopedSubstrate
from substrate.network import Network
from substrate.registry import Backend
from substrate.tones import SamplingPlan
from substrate.validation import describe

LEAST_AMPLITUDE: Final = 0.5 * SMALLEST_VPP
"""Volts; a generator has no smaller sine, and what rounds to nothing is nothing."""

LEAST_POINTS: Final = 1000
"""Of a record before its rate is brought down to the plan's."""

HIGHEST_HZ: Final = 1.0e6
RECORD_SECONDS: Final = 5.0
"""That a trigger may take, beyond the record's own length."""

LEFT: Final = 0.1
"""Place of an oscilloscope's reference on its screen, as a fraction."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@final
class BenchLimitsConfig(_Section):
    """What no request may exceed: of inputs and readings, of pulses, of nudges, and the largest compliance."""

    read_volts: Positive = 0.25
    write_volts: Positive = 2.0
    current_amperes: Positive = 2.0e-5
    write_amperes: Positive = 1.0e-3


@final
class BenchConfig(_Section):
    """The ``substrate`` section of a bench.

    Attributes:
        wiring: path of the wiring file.
        addresses: that replace the file's, by instrument; or the ready file of a virtual bench.
        volts_per_unit: volts of an activity of one.
        unit_siemens: conductance of a weight of one.
        limits: see ``BenchLimitsConfig``.
        loop: of a wiring without nodes, whose neurons are closed in software.
    """

    backend: Literal["bench"]
    wiring: str
    addresses: dict[str, str] | str = Field(default_factory=dict)
    volts_per_unit: Positive = 0.2
    unit_siemens: Positive = 2.5e-5
    limits: BenchLimitsConfig = BenchLimitsConfig()
    loop: LoopConfig | None = None


@final
class BenchSubstrate(Substrate):
    """A network between instruments.

    Args:
        network: the topology that the device is wired as.
        config: the section.
        wiring: the file of the section.

    Raises:
        InputError: a node that nothing reads, an input that nothing holds, an array that no lines lead to.
    """

    def __init__(self, network: Network, config: BenchConfig, wiring: WiringConfig) -> None:
        self._network, self._config, self._wiring = network, config, wiring
        limits, pulses = config.limits, wiring.cells.pulses
        drives = drive_limits(
            wiring, limits.read_volts, limits.write_volts, limits.current_amperes, limits.write_amperes
        )
        self._rack = self.instruments = Rack(wiring, drives)
        self._planes = arrays_of(wiring, self._rack, own=False)
        self._names = [f"{layer.name}.{index}" for layer in network.layers[1:] for index in range(layer.size)]
        self._check()
        self._inputs = [self._channel(port) for port in wiring.inputs]
        self._nudges = {
            self._names.index(node): (self._channel(one.port), one.siemens) for node, one in wiring.nudges.items()
        }
        # Each reader with its channels and the places of their nodes.
        seen: dict[str, list[tuple[int, int]]] = {}
        for place, node in enumerate(self._names):
            name, channel = split(wiring.nodes[node])
            seen.setdefault(name, []).append((channel, place))
        self._scopes: list[tuple[str, KeysightInfiniiVision, list[tuple[int, int]]]] = []
        self._loggers: list[tuple[DataLogger, list[tuple[int, int]]]] = []
        for name, places in seen.items():
            reader = self._rack.reader(name)
            if isinstance(reader, KeysightInfiniiVision):
                self._scopes.append((name, reader, sorted(places)))
            else:
                self._loggers.append((reader, sorted(places)))
        self._check_reference()
        self._reference = None if wiring.reference is None else self._channel(wiring.reference.port)
        self._scale = Scale(config.volts_per_unit, config.unit_siemens)
        outputs = range(network.output.start, network.node_count)
        lacking = [self._names[node] for node in outputs if node not in self._nudges]
        if lacking:
            raise InputError(f"nudges: nothing is wired to the output {lacking[0]}")
        grounded = wiring.cells.ground_row is not None
        self._capabilities = Capabilities(
            limits=Limits(limits.read_volts, limits.write_volts, limits.current_amperes),
            conductance_window_siemens=pulses.window_siemens,
            step_siemens=pulses.step_siemens,
            highest_frequency_hz=HIGHEST_HZ if self._scopes else float("inf"),
            pulses=any(pulses.step_siemens),
            continuous_writing=False,
            # Records of one periodic state that begin at the same phase.
            simultaneous_sampling=True,
            complex_nudges=False,
            node_nudges=len(self._nudges) == network.node_count,
            forward_products=grounded,
            exact_adjoint=False,
            state_snapshots=False,
            transposed_products=grounded,
        )
        self._forget()

    @property
    def capabilities(self) -> Capabilities:
        """What follows from the wiring and the section."""
        return self._capabilities

    @property
    def network(self) -> Network:
        """The topology."""
        return self._network

    @property
    def scale(self) -> Scale:
        """Volts and siemens of a unit."""
        return self._scale

    @property
    def oracle(self) -> None:
        """None: a device is measured."""
        return None

    @property
    def states(self) -> None:
        """None: hardware does not go back."""
        return None

    def _check(self) -> None:
        wiring, network = self._wiring, self._network
        if len(wiring.inputs) != network.input_size:
            raise InputError(f"inputs: the network has {network.input_size}, {len(wiring.inputs)} are wired")
        for key, given in (("nodes", wiring.nodes), ("nudges", wiring.nudges)):
            for node in given:
                if node not in self._names:
                    raise InputError(f"{key}.{node}: expected one of {', '.join(self._names)}")
        for node in self._names:
            if node not in wiring.nodes:
                raise InputError(f"nodes: nothing reads {node}")
        for coupling in network.arrays:
            for name in _planes(coupling.name, coupling.polarities):
                if name not in self._planes:
                    raise InputError(f"cells.lines: no lines lead to {name}")
                if self._planes[name].shape != coupling.shape:
                    raise InputError(
                        f"cells.lines.{name}: {self._planes[name].shape} lines are wired, the network has "
                        f"{coupling.shape}"
                    )

    def _check_reference(self) -> None:
        reference = self._wiring.reference
        if not self._scopes:
            return
        if self._loggers:
            raise InputError("nodes: expected all to be read by oscilloscopes, or all by data loggers")
        if reference is None:
            raise InputError("reference: oscilloscopes need a sine that starts their records")
        unseen = [name for name, _, _ in self._scopes if name not in reference.seen]
        if unseen:
            raise InputError(f"reference.seen: {unseen[0]} does not see it")
        generators = {split(one.port)[0] for one in self._wiring.nudges.values()} | {split(reference.port)[0]}
        if len(generators) > 1 and not reference.phase_locked:
            raise InputError(
                f"reference.phase_locked: nudges and reference come from {', '.join(sorted(generators))}; expected "
                "true, and generators that share one clock and one origin of phases"
            )

    def _channel(self, port: str) -> GeneratorChannel:
        name, channel = split(port)
        found = self._rack.generator(name).channels.get(channel)
        if found is None:
            raise InputError(f"{port}: this generator has no such channel")
        return found

    # Opening and leaving.

    def _open(self) -> None:
        self._rack.open()
        self._rack.safe_state()
        self._forget()
        for plane in self._planes.values():
            plane.__enter__()
        for _, scope, places in self._scopes:
            self._prepare(scope, [channel for channel, _ in places])
        for logger, places in self._loggers:
            logger.set_up_scan([channel for channel, _ in places])
        for channel in self._drives():
            channel.dc(0.0)
            channel.enable()

    def _prepare(self, scope: KeysightInfiniiVision, channels: list[int]) -> None:
        reference = self._wiring.reference
        assert reference is not None  # what the constructor checked
        seen = reference.seen[next(name for name, one, _ in self._scopes if one is scope)]
        with scope.unchecked():
            for number, channel in scope.channels.items():
                channel.shown = number in channels or number == seen
                channel.attenuation = 1.0
                channel.coupling = "dc"
                channel.range_volts = 2.5 * reference.volts if number == seen else self._wiring.range_volts
                channel.offset_volts = 0.0
            scope.acquisition = "high_resolution"
            scope.time_reference = "left"
            scope.trigger_source = f"channel{seen}"
            scope.trigger_level_volts = 0.0
            scope.trigger_slope = "rising"
            # A record without its trigger would have any phase.
            scope.sweep = "normal"

    def _drives(self) -> list[GeneratorChannel]:
        return [*self._inputs, *(channel for channel, _ in self._nudges.values())]

    def _safe_state(self) -> None:
        self._forget()
        for plane in self._planes.values():
            plane.safe_state()
        self._rack.safe_state()

    def _close(self) -> None:
        for plane in self._planes.values():
            plane.__exit__(None, None, None)
        self._rack.close()

    def _forget(self) -> None:
        self._held = np.zeros((0, self._network.input_size))
        self._has_settled = False
        self._standing: dict[int, float] = {}
        self._tuned = (0.0, 0.0, 0)

    # Driving. Whatever stands on a channel already is not sent again.

    def _hold(self, volts: FloatArray) -> None:
        self._held = volts.copy()
        self._has_settled = False

    def _put_inputs(self, volts: FloatArray) -> None:
        for index, (channel, value) in enumerate(zip(self._inputs, volts, strict=True)):
            if self._standing.get(index) != value:
                self._standing.pop(index, None)
                channel.dc(float(value))
                self._standing[index] = float(value)

    def _put_currents(self, amperes: FloatArray) -> None:
        """Constant currents (node,) into the nodes."""
        for node, (channel, siemens) in self._nudges.items():
            key, value = len(self._inputs) + node, float(amperes[node] / siemens)
            if self._standing.get(key) != value:
                self._standing.pop(key, None)
                channel.dc(value)
                self._standing[key] = value

    def _put_sines(self, amperes: FloatArray, frequency_hz: float) -> None:
        """Sinusoidal currents (node,), in phase with the cosine whose sine the reference is."""
        for node, (channel, siemens) in self._nudges.items():
            volts = float(amperes[node] / siemens)
            self._standing.pop(len(self._inputs) + node, None)
            if abs(volts) < 0.5 * LEAST_AMPLITUDE:
                channel.dc(0.0)
            else:
                channel.sine(frequency_hz, max(abs(volts), LEAST_AMPLITUDE), 0.0, 90.0 if volts > 0 else -90.0)

    def _tune(self, frequency_hz: float, seconds: float, points: int) -> None:
        """Reference and time base for a record of so many points in so many seconds, its first at the trigger."""
        if self._tuned == (frequency_hz, seconds, points):
            return
        reference = self._wiring.reference
        assert reference is not None
        assert self._reference is not None
        if self._tuned[0] != frequency_hz:
            self._reference.sine(frequency_hz, reference.volts)
            self._reference.enable()
            generators = {split(one.port)[0] for one in self._wiring.nudges.values()} | {split(reference.port)[0]}
            if len(generators) == 1:
                self._rack.generator(generators.pop()).synchronise()
        for _, scope, _ in self._scopes:
            with scope.unchecked():
                scope.time_range_seconds = seconds
                scope.time_position_seconds = LEFT * seconds
                scope.points = points
        self._tuned = (frequency_hz, seconds, points)

    def _wait(self) -> None:
        if self._wiring.settle_seconds:
            time.sleep(self._wiring.settle_seconds)

    # Reading.

    def _recorded(self, samples: int) -> tuple[FloatArray, bool, float]:
        """Volts (sample, node) of one record of all scopes, whether any clipped, and its first time after the crest."""
        volts = np.empty((samples, self._network.node_count))
        clipped, origin = False, 0.0
        _, seconds, points = self._tuned
        for _, scope, places in self._scopes:
            waves = scope.record([channel for channel, _ in places], RECORD_SECONDS + seconds)
            if waves.volts.shape[1] != points or not np.isfinite(waves.volts).all():
                raise ProtocolError(f"{scope.link.address}: expected {points} samples, got {waves.volts.shape[1]}")
            for (_, place), trace in zip(places, waves.volts, strict=True):
                volts[:, place] = _slower(trace, samples)
            clipped |= bool(waves.clipped.any())
            origin = float(waves.times_seconds[0])
        return volts, clipped, origin

    def _scanned(self) -> tuple[FloatArray, bool]:
        """Volts (node,) of one scan, and whether any reading overflowed."""
        volts = np.empty(self._network.node_count)
        for logger, places in self._loggers:
            volts[[place for _, place in places]] = logger.scan_volts()
        over = ~np.isfinite(volts)
        return np.where(over, 0.0, volts), bool(over.any())

    def _read_once(self) -> tuple[FloatArray, bool]:
        """Volts (node,) of a state that stands still."""
        self._wait()
        if not self._scopes:
            return self._scanned()
        frequency = self._tuned[0] or 1.0 / self._wiring.free_seconds
        # Whole periods of the reference, though nothing but noise has to average out.
        periods = max(1, round(self._wiring.free_seconds * frequency))
        self._tune(frequency, periods / frequency, LEAST_POINTS)
        volts, clipped, _ = self._recorded(1)
        return volts[0], clipped

    def _settle(self) -> Record:
        batch, nodes = len(self._held), self._network.node_count
        volts, saturated = np.empty((batch, 1, nodes)), np.zeros(batch, dtype=np.bool_)
        self._put_currents(np.zeros(nodes))
        for sample, held in enumerate(self._held):
            self._put_inputs(held)
            volts[sample, 0], saturated[sample] = self._read_once()
        self._has_settled = True
        return self._record(volts, saturated, 0.0, 0.0)

    def _nudge(self, nudge: Nudge, plan: SamplingPlan) -> Record:
        self._require_settled("nudge", len(nudge.amperes))
        samples = plan.sample_count
        volts = np.empty((len(self._held), samples, self._network.node_count))
        saturated, origin = np.zeros(len(self._held), dtype=np.bool_), 0.0
        if not self._scopes:
            levels = np.tile(np.cos(plan.phases()), plan.periods)
            for sample in range(len(self._held)):
                volts[sample], flags = self._held_points(sample, levels[:, None] * nudge.amperes[sample])
                saturated[sample] = flags.any()
            return self._record(volts, saturated, plan.rate_hz, 0.0)
        points = samples * -(-LEAST_POINTS // samples)
        for sample, held in enumerate(self._held):
            self._put_inputs(held)
            self._tune(plan.frequency_hz, plan.periods / plan.frequency_hz, points)
            self._put_sines(nudge.amperes[sample], plan.frequency_hz)
            self._wait()
            volts[sample], saturated[sample], origin = self._recorded(samples)
        self._put_currents(np.zeros(self._network.node_count))
        return self._record(volts, saturated, plan.rate_hz, origin)

    def _held_points(self, sample: int, amperes: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Volts (point, node) under held currents (point, node), and which points clipped; ends without current."""
        self._put_inputs(self._held[sample])
        volts, saturated = np.empty(amperes.shape), np.zeros(len(amperes), dtype=np.bool_)
        for point, currents in enumerate(amperes):
            self._put_currents(currents)
            volts[point], saturated[point] = self._read_once()
        self._put_currents(np.zeros(amperes.shape[1]))
        return volts, saturated

    def _settle_nudged(self, nudge: HeldNudge) -> HeldStates:
        amperes = np.asarray(nudge.amperes, dtype=np.float64)
        self._require_settled("held nudge", len(amperes))
        shape = amperes.shape[:2]
        volts, saturated = np.empty(amperes.shape), np.zeros(shape, dtype=np.bool_)
        for sample in range(shape[0]):
            volts[sample], saturated[sample] = self._held_points(sample, amperes[sample])
        return HeldStates(volts, saturated, np.ones(shape, dtype=np.bool_), np.full(shape, np.nan))

    def _record(self, volts: FloatArray, saturated: BoolArray, rate_hz: float, origin_seconds: float) -> Record:
        batch = len(volts)
        # Instruments cannot tell a branch that was lost; harmonics that do not decay can.
        return Record(volts, rate_hz, origin_seconds, saturated, np.ones(batch, dtype=np.bool_), np.full(batch, np.nan))

    def _require_settled(self, what: str, batch: int) -> None:
        if not self._has_settled:
            raise InputError(f"{what}: the free phase has not settled; call settle() after hold()")
        if batch != len(self._held):
            raise InputError(f"{what}: expected a batch of {len(self._held)}, got {batch}")

    # Cells: through the lines of the arrays, while nothing is held or nudged.

    def _idle(self) -> None:
        self._has_settled = False
        self._put_inputs(np.zeros(self._network.input_size))
        self._put_currents(np.zeros(self._network.node_count))

    def _products(self, coupling: str, volts: FloatArray, direction: Direction) -> FloatArray:
        self._idle()
        names = _planes(coupling, self._network.array(coupling).polarities)
        read = [self._planes[name].read(volts, direction) for name in names]
        return read[0] - read[1] if len(read) == 2 else read[0]

    def _read_cells(self, coupling: str) -> FloatArray:
        self._idle()
        names = _planes(coupling, self._network.array(coupling).polarities)
        return np.stack([self._planes[name].read_cells() for name in names])

    def _write_cells(self, request: WriteRequest) -> WriteReport:
        self._idle()
        names = _planes(request.coupling, self._network.array(request.coupling).polarities)
        reports = [
            self._planes[name].write_cells(WriteRequest(name, pulses=counts))
            for name, counts in zip(names, request.pulses, strict=True)
        ]
        return WriteReport(sum(one.pulses for one in reports), np.stack([one.failed for one in reports]))


def _planes(coupling: str, polarities: int) -> list[str]:
    """Names of the arrays of a coupling, the positive one first."""
    return [f"{coupling}+", f"{coupling}-"] if polarities == 2 else [coupling]


def _slower(trace: FloatArray, samples: int) -> FloatArray:
    """A whole number of periods at a lower rate: what lies above half of it is taken away, not folded down."""
    spectrum = np.fft.rfft(trace)[: samples // 2 + 1]
    if samples % 2 == 0 and samples > 1:
        spectrum[-1] = 0.0
    return np.asarray(np.fft.irfft(spectrum, samples) * (samples / len(trace))) if samples > 1 else trace.mean()[None]


def _wiring(config: BenchConfig) -> WiringConfig:
    if not isinstance(config.addresses, str):
        return load_wiring(config.wiring, config.addresses)
    # A virtual bench has cells of its own.
    return load_wiring(config.wiring, ready_addresses(config.addresses)).counted_in(None)


@final
class BenchBackend(Backend):
    """Builds benches from the ``substrate`` section of an experiment file."""

    @property
    def summary(self) -> str:
        """One line."""
        return "instruments around a device, by a wiring file"

    def resolve(self, section: Mapping[str, Any], network: Network) -> dict[str, Any]:
        """Check the section and fill in defaults."""
        return self._parse(section).model_dump(mode="json")

    def build(self, section: Mapping[str, Any], network: Network, rng: np.random.Generator) -> Substrate:
        """The bench, unopened.

        Raises:
            InputError: as ``BenchSubstrate``.
        """
        config = self._parse(section)
        wiring = _wiring(config)
        if wiring.nodes:
            if config.loop is not None:
                raise InputError("substrate.loop: the wiring has nodes, which settle by themselves; expected none")
            return BenchSubstrate(network, config, wiring)
        limits = config.limits
        drives = drive_limits(wiring, limits.read_volts, limits.write_volts, 0.0, limits.write_amperes)
        rack = Rack(wiring, drives)
        return LoopedSubstrate(network, arrays_of(wiring, rack, own=True), config.loop or LoopConfig(), rack)

    def _parse(self, section: Mapping[str, Any]) -> BenchConfig:
        try:
            return BenchConfig.model_validate(section)
        except ValidationError as error:
            raise InputError(describe(error, "substrate", model=BenchConfig)) from error


backend = BenchBackend()
"""The entry point."""
