"""A bench of instruments around a device as a ``Substrate``, by a wiring file (``wiring.py``).

Generators hold the inputs and put nudges into nodes; oscilloscopes, digitizers, lock-ins or data loggers read nodes;
source meters behind a switch matrix read and write cells. One sample is held at a time: batches are looped here, in one
place.

With oscilloscopes, digitizers and lock-ins a nudge is a sine. All generators run at one clock, and a reference sine,
seen by every reader, starts each record at the nudge's crest: the record is of whole periods, whatever the readers' own
clocks say about the phase, and nodes seen by different readers belong together. Data loggers are too slow for that: the
nudge is then stepped through the phases of its period, each held while the nodes are read, which is the quasi-static
response itself.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, Final, Literal, final

import numpy as np
from pydantic import ValidationError

from drivers.bench_outlay import bench_outlay
from drivers.bench_section import BenchConfig, wiring_of
from drivers.data_logger import DataLogger
from drivers.errors import InstrumentError
from drivers.generator import VoltageOutput, WaveformOutput
from drivers.keysight_infiniivision import KeysightInfiniiVision
from drivers.lock_in import LockIn
from drivers.node_readers import LockInReader, LoggerReader, ToneReader
from drivers.rack import Rack
from drivers.record_readers import InfiniiVisionReader, RedPitayaReader, RigolReader
from drivers.red_pitaya import RedPitaya
from drivers.rigol_ds1000z import RigolDS1000Z
from drivers.wire_log import HeardLog
from drivers.wired_arrays import arrays_of
from drivers.wired_limits import drive_limits
from drivers.wiring import WiringConfig, split
from substrate.arrays import BoolArray, FloatArray
from substrate.capabilities import Capabilities, HeldNudge, Limits, Nudge, WriteRequest
from substrate.contract import Direction, HeldStates, Record, Scale, Substrate, WriteReport
from substrate.errors import InputError
from substrate.loop import LoopConfig, LoopedSubstrate
from substrate.measured import MeasuredSubstrate
from substrate.network import Network
from substrate.registry import Backend
from substrate.tones import SamplingPlan
from substrate.validation import describe

log = logging.getLogger(__name__)

LEAST_POINTS: Final = 1000
"""Of a record before its rate is brought down to the plan's."""

HIGHEST_HZ: Final = 1.0e6


@final
class BenchSubstrate(MeasuredSubstrate):
    """A network between instruments.

    Args:
        network: the topology that the device is wired as.
        config: the section.
        wiring: the file of the section.

    Raises:
        InputError: a node that nothing reads, an input that nothing holds, an array that no lines lead to.
    """

    def __init__(self, network: Network, config: BenchConfig, wiring: WiringConfig) -> None:
        # The checks below look at the network.
        self._network, self._config, self._wiring = network, config, wiring
        limits, pulses = config.limits, wiring.cells.pulses
        drives = drive_limits(
            wiring, limits.read_volts, limits.write_volts, limits.current_amperes, limits.write_amperes
        )
        self._rack = self.instruments = Rack(wiring, drives, HeardLog() if config.transcript else None)
        self._planes = arrays_of(wiring, self._rack, limits.read_volts, own=False)
        self._names = [f"{layer.name}.{index}" for layer in network.layers[1:] for index in range(layer.size)]
        self._check()
        self._inputs = [self._rack.voltage_output(f"inputs.{place}", port) for place, port in enumerate(wiring.inputs)]
        self._tones: list[ToneReader] = []
        self._loggers: list[LoggerReader] = []
        self._find_readers()
        # By place of the node: the output, and the current into the node for a volt of it.
        self._nudges: dict[int, tuple[VoltageOutput, float]] = {}
        self._sines: dict[int, WaveformOutput] = {}
        for node, one in wiring.nudges.items():
            place = self._names.index(node)
            output = self._rack.voltage_output(f"nudges.{node}", one.port)
            if self._tones:
                output = self._sines[place] = self._rack.waveform_output(f"nudges.{node}", one.port)
            self._nudges[place] = (output, one.siemens)
        self._reference = self._find_reference()
        self._generators = {
            name: self._rack.generator("reference.port", name) for name in (self._sine_sources() if self._tones else ())
        }
        outputs = range(network.output.start, network.node_count)
        lacking = [self._names[node] for node in outputs if node not in self._nudges]
        if lacking:
            raise InputError(f"nudges: nothing is wired to the output {lacking[0]}")
        grounded = wiring.cells.ground_row is not None
        capabilities = Capabilities(
            limits=Limits(limits.read_volts, limits.write_volts, limits.current_amperes),
            conductance_window_siemens=pulses.window_siemens,
            step_siemens=pulses.step_siemens,
            highest_frequency_hz=HIGHEST_HZ if self._tones else float("inf"),
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
        super().__init__(network, Scale(config.volts_per_unit, config.unit_siemens), capabilities)
        alone = [name for name in self._names if name not in wiring.nudges]
        if alone:
            self.remedies = {
                "node_nudges": f"nodes without a nudge: {', '.join(alone)}; wire a generator's output to the current "
                "input of each, and name it under nudges in the wiring file"
            }
        self.outlay = bench_outlay(wiring, list(self._planes.values()), [*self._tones, *self._loggers])
        self._forget()

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

    def _find_readers(self) -> None:
        """Each reader with its channels and the places of their nodes."""
        found: dict[str, list[tuple[int, int, str]]] = {}
        for place, node in enumerate(self._names):
            name, channel = split(self._wiring.nodes[node])
            found.setdefault(name, []).append((channel, place, node))
        for name, wired in found.items():
            wired.sort()
            channels, places = [channel for channel, _, _ in wired], [place for _, place, _ in wired]
            key = f"nodes.{wired[0][2]}"
            reader = self._rack.reader(key, name)
            if isinstance(reader, DataLogger):
                self._loggers.append(LoggerReader(reader, channels, places))
                continue
            seen, volts = self._seen(key, name)
            inputs: tuple[int, ...] = (1,)
            if isinstance(reader, LockIn):
                if seen != "ref":
                    raise InputError(f"reference.seen.{name}: a lock-in sees it at its reference input; expected ref")
                self._tones.append(LockInReader(reader, places))
            else:
                inputs = tuple(reader.inputs if isinstance(reader, RedPitaya) else reader.channels)
                if seen == "ref" or seen not in inputs or seen in channels:
                    raise InputError(
                        f"reference.seen.{name}: expected a free one of the inputs {', '.join(map(str, inputs))}, "
                        f"got {seen}"
                    )
                if isinstance(reader, KeysightInfiniiVision):
                    self._tones.append(InfiniiVisionReader(reader, channels, places, seen, volts))
                elif isinstance(reader, RigolDS1000Z):
                    self._tones.append(RigolReader(reader, channels, places, seen, volts))
                else:
                    self._tones.append(RedPitayaReader(reader, channels, places, seen, volts))
            for channel, _, node in wired:
                if channel not in inputs or channels.count(channel) > 1:
                    raise InputError(
                        f"nodes.{node}: expected one of its own of {name}.{f', {name}.'.join(map(str, inputs))}, got "
                        f"{name}.{channel}"
                    )
        if self._tones and self._loggers:
            raise InputError(
                "nodes: data loggers read what stands still, the others follow a tone; expected all nodes to be read "
                "by data loggers, or none"
            )

    def _seen(self, key: str, name: str) -> tuple[int | Literal["ref"], float]:
        """Where a reader sees the reference, and its amplitude."""
        reference = self._wiring.reference
        if reference is None:
            raise InputError(f"reference: {name} ({key}) needs a sine that starts its records")
        if name not in reference.seen:
            raise InputError(f"reference.seen: {name} does not see it")
        return reference.seen[name], reference.volts

    def _sine_sources(self) -> list[str]:
        """Names of the generators of nudges and reference."""
        assert self._wiring.reference is not None
        ports = [self._wiring.reference.port, *(one.port for one in self._wiring.nudges.values())]
        return sorted({split(port)[0] for port in ports})

    def _find_reference(self) -> WaveformOutput | None:
        reference = self._wiring.reference
        if reference is None or not self._tones:
            return None
        sources = self._sine_sources()
        if len(sources) > 1 and not reference.phase_locked:
            raise InputError(
                f"reference.phase_locked: nudges and reference come from {', '.join(sources)}; expected true, and "
                "generators that share one clock and one origin of phases"
            )
        output = self._rack.waveform_output("reference.port", reference.port)
        if not output.least_amplitude_volts <= reference.volts <= output.most_volts:
            raise InputError(
                f"reference.volts: expected {output.least_amplitude_volts:g} to {output.most_volts:g}, which "
                f"{reference.port} has, got {reference.volts:g}"
            )
        return output

    # Opening and leaving.

    def _open(self) -> None:
        self._rack.open()
        self._rack.safe_state()
        self._forget()
        self._check_clocks()
        for plane in self._planes.values():
            plane.__enter__()
        for reader in (*self._tones, *self._loggers):
            reader.prepare(self._wiring.range_volts)
        for output in (*self._inputs, *(output for output, _ in self._nudges.values())):
            output.dc(0.0)
            output.enable()

    def _check_clocks(self) -> None:
        """That generators that shall share a clock do, as far as they tell: all but one take it from outside. Where
        their phases begin no instrument tells, so that of several this remains the wiring's word.

        Raises:
            InstrumentError: several run on clocks of their own.
        """
        if len(self._generators) < 2:
            return
        own = [name for name, one in self._generators.items() if one.has_external_clock() is False]
        if len(own) > 1:
            raise InstrumentError(
                f"reference.phase_locked: {', '.join(own)} run on clocks of their own; expected all but one to be "
                "locked to an external reference"
            )

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
        self._free = np.zeros((0, self._network.node_count))
        self._has_settled = False
        self._standing: dict[int, float] = {}
        self._reference_hz = 0.0
        self._said_least = False

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
        """Sinusoidal currents (node,), in phase with the cosine whose sine the reference is.

        A generator has no sine between nothing and its least one. Below that nothing is put out, never more than was
        asked for; the first time it is said in the log.
        """
        for node, output in self._sines.items():
            volts, least = float(amperes[node] / self._nudges[node][1]), output.least_amplitude_volts
            self._standing.pop(len(self._inputs) + node, None)
            if abs(volts) >= least:
                output.sine(frequency_hz, abs(volts), 0.0, 90.0 if volts > 0 else -90.0)
                continue
            output.dc(0.0)
            if volts and not self._said_least:
                self._said_least = True
                log.warning(
                    "%s: a nudge of %.3g V is below the least sine of its generator, %.3g V: none is put out, here and "
                    "wherever this is so; a smaller siemens in the wiring takes more volts for the same current",
                    self._names[node], abs(volts), least,
                )  # fmt: skip
        if len(self._generators) == 1:
            next(iter(self._generators.values())).synchronise()

    def _tune(self, frequency_hz: float, periods: int, points: int) -> None:
        """Reference and readers for records of so many periods, and so many points or more."""
        reference = self._wiring.reference
        assert reference is not None
        assert self._reference is not None
        if self._reference_hz != frequency_hz:
            self._reference.sine(frequency_hz, reference.volts)
            self._reference.enable()
            self._reference_hz = frequency_hz
        for reader in self._tones:
            reader.tune(frequency_hz, periods, points)

    def _wait(self) -> None:
        if self._wiring.settle_seconds:
            time.sleep(self._wiring.settle_seconds)

    # Reading.

    def _read_once(self) -> tuple[FloatArray, bool]:
        """Volts (node,) of a state that stands still, and whether any was beyond its range."""
        self._wait()
        if self._tones:
            frequency = self._reference_hz or 1.0 / self._wiring.free_seconds
            # Whole periods of the reference, though nothing but noise has to average out.
            self._tune(frequency, max(1, round(self._wiring.free_seconds * frequency)), LEAST_POINTS)
        volts, clipped = np.empty(self._network.node_count), False
        for reader in (*self._tones, *self._loggers):
            volts[reader.places], over = reader.still()
            clipped |= over
        return volts, clipped

    def _settle(self) -> Record:
        batch, nodes = len(self._held), self._network.node_count
        volts, saturated = np.empty((batch, 1, nodes)), np.zeros(batch, dtype=np.bool_)
        self._put_currents(np.zeros(nodes))
        for sample, held in enumerate(self._held):
            self._put_inputs(held)
            volts[sample, 0], saturated[sample] = self._read_once()
        self._has_settled = True
        self._free = volts[:, 0].copy()
        return self._record(volts, saturated, 0.0)

    def _nudge(self, nudge: Nudge, plan: SamplingPlan) -> Record:
        self._require_settled("nudge", len(nudge.amperes))
        samples = plan.sample_count
        volts = np.empty((len(self._held), samples, self._network.node_count))
        saturated = np.zeros(len(self._held), dtype=np.bool_)
        if not self._tones:
            levels = np.tile(np.cos(plan.phases()), plan.periods)
            for sample in range(len(self._held)):
                volts[sample], flags = self._held_points(sample, levels[:, None] * nudge.amperes[sample])
                saturated[sample] = flags.any()
            return self._record(volts, saturated, plan.rate_hz)
        points = samples * -(-LEAST_POINTS // samples)
        for sample, held in enumerate(self._held):
            self._put_inputs(held)
            self._tune(plan.frequency_hz, plan.periods, points)
            self._put_sines(nudge.amperes[sample], plan.frequency_hz)
            self._wait()
            for reader in self._tones:
                volts[sample][:, reader.places], clipped = reader.tone(plan, self._free[sample, reader.places])
                saturated[sample] |= clipped
        self._put_currents(np.zeros(self._network.node_count))
        return self._record(volts, saturated, plan.rate_hz)

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

    def _record(self, volts: FloatArray, saturated: BoolArray, rate_hz: float) -> Record:
        batch = len(volts)
        # Instruments cannot tell a branch that was lost; harmonics that do not decay can.
        return Record(volts, rate_hz, 0.0, saturated, np.ones(batch, dtype=np.bool_), np.full(batch, np.nan))

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


@final
class BenchBackend(Backend):
    """Builds benches from the ``substrate`` section of an experiment file."""

    section_model = BenchConfig

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
        wiring, missing = wiring_of(config)
        device = self._described(network, config, wiring)
        device.unreachable = missing
        return device

    def _described(self, network: Network, config: BenchConfig, wiring: WiringConfig) -> Substrate:
        if wiring.nodes:
            if config.loop is not None:
                raise InputError("substrate.loop: the wiring has nodes, which settle by themselves; expected none")
            return BenchSubstrate(network, config, wiring)
        limits = config.limits
        drives = drive_limits(wiring, limits.read_volts, limits.write_volts, 0.0, limits.write_amperes)
        rack = Rack(wiring, drives, HeardLog() if config.transcript else None)
        arrays = arrays_of(wiring, rack, limits.read_volts, own=True)
        return LoopedSubstrate(network, arrays, config.loop or LoopConfig(), rack)

    def _parse(self, section: Mapping[str, Any]) -> BenchConfig:
        try:
            return BenchConfig.model_validate(section)
        except ValidationError as error:
            raise InputError(describe(error, "substrate", model=BenchConfig)) from error


backend = BenchBackend()
"""The entry point."""
