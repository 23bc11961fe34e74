"""The chip side of the reference board: what its converter layer does on real converters, on an emulated network.

Codes are those of 16-bit converters, 32767 at full scale. The board steps through a level table; where the table is
that of a sinusoid, the network's steady state under it is taken as one record (each sample with its own noise), at the
frequency that the board's pace comes to. Any other currents are held one after another.
"""

import json
import struct
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from emulators.bench.clock import SimulatedClock
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.capabilities import HeldNudge, Nudge, WriteRequest
from substrate.contract import Direction, Substrate
from substrate.errors import InputError, SubstrateError
from substrate.tones import SamplingPlan

FULL_SCALE = 32767
DESCRIBE, ZERO, MEASURE, PRODUCTS, CELLS, PULSE, SET, RESET = range(8)
FREE, STEPPED, HELD = range(3)
SATURATED, UNSETTLED = 1, 2
DIRECTIONS: tuple[Direction, Direction] = ("forward", "backward")


@final
@dataclass(frozen=True)
class BoardConverters:
    """The board's converters.

    Attributes:
        input_range_volts: full scale of the drivers of inputs and lines.
        node_range_volts: full scale of the readings of nodes.
        node_noise_volts: standard deviation of a reading; about a step of a 16-bit converter, which it dithers.
        current_range_amperes: full scale of the current ports; None: four units of current of the chip.
        step_seconds: from one level to the next: settling and reading all nodes.
        pulse_volts: of a programming pulse; None: the chip's limit.
        pulse_seconds: its width.
        max_payload: largest payload of a frame in bytes.
        serial: of this board.
    """

    input_range_volts: float = 0.25
    node_range_volts: float = 0.25
    node_noise_volts: float = 1.0e-5
    current_range_amperes: float | None = None
    step_seconds: float = 1.0e-4
    pulse_volts: float | None = None
    pulse_seconds: float = 1.0e-7
    max_payload: int = 32768
    serial: str = "EMULATED-1"

    def __post_init__(self) -> None:
        for key, value in asdict(self).items():
            least = 0.0 if key == "node_noise_volts" else np.nextafter(0.0, 1.0)
            if isinstance(value, float) and not least <= value < np.inf:
                raise InputError(f"board.{key}: expected a positive number, got {value}")
        if not 1024 <= self.max_payload <= 65535:
            raise InputError(f"board.max_payload: expected 1024 to 65535 bytes, got {self.max_payload}")


@final
class BoardChip:
    """Carries out the requests of the board's converter layer on a network.

    Args:
        device: an open network, which everything acts on.
        rng: of the noise of readings.
        converters: between it and the board.
        clock: is advanced by what takes time.
        lock: held during each request; the bench's own, where there are several instruments.
        changed: called after each write: whatever else acts on the network has to see other cells then.
        spoil: what becomes of a coupling's pulse counts (polarity, row, column) on their way to the cells.

    Attributes:
        outputs_on: whether any output is other than zero, as far as the last request left it.
    """

    def __init__(
        self,
        device: Substrate,
        rng: np.random.Generator,
        converters: BoardConverters | None = None,
        clock: SimulatedClock | None = None,
        lock: AbstractContextManager[Any] | None = None,
        changed: Callable[[], None] | None = None,
        spoil: Callable[[str, IntArray], IntArray] | None = None,
    ) -> None:
        if device.capabilities.other_arrays:
            raise InputError("device: a board describes one kind of cells; expected none of another kind")
        self._device = device
        self._spoil = spoil
        self._rng = rng
        self._converters = converters or BoardConverters()
        self._clock = clock or SimulatedClock()
        self._lock = lock or threading.RLock()
        self._changed = changed
        self._current_range = self._converters.current_range_amperes or 4.0 * device.scale.unit_amperes
        self.outputs_on = False
        self._work: dict[int, Callable[[memoryview], bytes]] = {
            DESCRIBE: lambda payload: json.dumps(self._describe()).encode(),
            ZERO: self._zero,
            MEASURE: self._measure,
            PRODUCTS: self._products,
            CELLS: self._cells,
            PULSE: self._pulse,
            SET: self._set,
            RESET: self._reset,
        }

    def answer(self, op: int, payload: bytes) -> tuple[int, bytes]:
        """(status, answer) of a request; status 1 and a message where it failed."""
        with self._lock:
            self._clock.catch_up()
            try:
                return 0, self._work[op](memoryview(payload))
            except SubstrateError as error:
                return 1, str(error).encode()

    def warm_up(self) -> None:
        """Let the emulator compile what it compiles on first use, so that no answer waits for it."""
        network = self._device.network
        with self._lock:
            self._device.hold(np.zeros((1, network.input_size)))
            self._device.settle()
            self._device.nudge(Nudge(np.zeros((1, network.node_count))), self._plan(4, 1))
            self._device.safe_state()

    def _describe(self) -> dict[str, Any]:
        device, converters = self._device, self._converters
        capabilities, network = device.capabilities, device.network
        limits = capabilities.limits
        return {
            "serial": converters.serial,
            "max_payload": converters.max_payload,
            "inputs": network.input_size,
            "nodes": network.node_count,
            "outputs": network.output.size,
            "arrays": [[coupling.name, *coupling.cell_shape] for coupling in network.arrays],
            "volts_per_unit": device.scale.volts_per_unit,
            "unit_siemens": device.scale.unit_siemens,
            "input_range_volts": converters.input_range_volts,
            "node_range_volts": converters.node_range_volts,
            "current_range_amperes": self._current_range,
            "limits": asdict(limits),
            "window_siemens": list(capabilities.conductance_window_siemens),
            "step_siemens": list(capabilities.step_siemens),
            "step_seconds": converters.step_seconds,
            "pulse_volts": converters.pulse_volts or limits.write_volts,
            "pulse_seconds": converters.pulse_seconds,
            **{
                key: getattr(capabilities, key)
                for key in (
                    "pulses",
                    "continuous_writing",
                    "resets",
                    "node_nudges",
                    "forward_products",
                    "transposed_products",
                )
            },
        }

    def _zero(self, payload: memoryview) -> bytes:
        self._device.safe_state()
        self.outputs_on = False
        return b""

    def _measure(self, payload: memoryview) -> bytes:
        network = self._device.network
        mode, _, batch, points, periods = struct.unpack_from("<BBHHH", payload)
        codes = np.frombuffer(payload, "<i2", offset=8).astype(np.float64)
        held, rest = np.split(codes, [batch * network.input_size])
        inputs = self._volts(held.reshape(batch, -1))
        self._device.hold(inputs)
        free = self._device.settle()
        self.outputs_on = bool(batch and np.any(inputs[-1]))
        if mode == STEPPED:
            peaks, levels = np.split(rest, [batch * network.node_count])
            return self._stepped(peaks.reshape(batch, -1), levels / FULL_SCALE, periods)
        if mode == HELD:
            return self._held(rest.reshape(batch, points, -1))
        return self._record(free.volts, free.saturated, free.settled)

    def _stepped(self, peaks: FloatArray, levels: FloatArray, periods: int) -> bytes:
        points = len(levels)
        phases = np.arange(points) * (2.0 * np.pi / points)
        if points < 3 or np.max(np.abs(levels - np.cos(phases))) > 1.0 / FULL_SCALE:
            steps = np.tile(peaks[:, None, :] * levels[:, None], (1, periods, 1))
            return self._held(steps, whole=True)
        record = self._device.nudge(Nudge(self._amperes(peaks)), self._plan(points, periods))
        return self._record(record.volts, record.saturated, record.settled)

    def _held(self, codes: FloatArray, whole: bool = False) -> bytes:
        found = self._device.settle_nudged(HeldNudge(self._amperes(codes)))
        saturated, settled = found.saturated, found.settled
        if whole:
            saturated, settled = np.any(saturated, axis=1), np.all(settled, axis=1)
        return self._record(np.asarray(found.volts, dtype=np.float64), saturated, settled)

    def _plan(self, points: int, periods: int) -> SamplingPlan:
        """The tone of the board's pace, or the fastest one that the chip follows."""
        pace_hz = 1.0 / (points * self._converters.step_seconds)
        frequency_hz = min(pace_hz, self._device.capabilities.highest_frequency_hz)
        return SamplingPlan(frequency_hz, (points - 1) // 2, points, periods)

    def _record(self, volts: FloatArray, saturated: BoolArray, settled: BoolArray) -> bytes:
        """Flags and codes of readings (batch, time, node); flags are (batch,) or (batch, time)."""
        noise = self._converters.node_noise_volts * self._rng.standard_normal(volts.shape)
        wanted = np.rint((volts + noise) * (FULL_SCALE / self._converters.node_range_volts))
        clipped = np.abs(wanted) > FULL_SCALE
        clipped = np.any(clipped, axis=2 if saturated.ndim == 2 else (1, 2))
        flags = np.where(saturated | clipped, SATURATED, 0) + np.where(settled, 0, UNSETTLED)
        codes = np.clip(wanted, -FULL_SCALE, FULL_SCALE).astype("<i2")
        self._clock.advance(volts.shape[0] * volts.shape[1] * self._converters.step_seconds)
        return flags.astype(np.uint8).tobytes() + codes.tobytes()

    def _products(self, payload: memoryview) -> bytes:
        which, direction, batch = struct.unpack_from("<BBH", payload)
        codes = np.frombuffer(payload, "<i2", offset=4).astype(np.float64)
        name = self._device.network.arrays[which].name
        amperes = self._device.products(name, self._volts(codes.reshape(batch, -1)), DIRECTIONS[direction])
        self.outputs_on = False
        self._clock.advance(batch * self._converters.step_seconds)
        return amperes.astype("<f4").tobytes()

    def _cells(self, payload: memoryview) -> bytes:
        which, _, count, start = struct.unpack("<BBHI", payload)
        siemens = self._device.read_cells(self._device.network.arrays[which].name).ravel()
        self._clock.advance(count * self._converters.step_seconds)
        return siemens[start : start + count].astype("<f4").tobytes()

    def _pulse(self, payload: memoryview) -> bytes:
        name, shape, cells, rest = self._cells_of(payload)
        counts = np.zeros(int(np.prod(shape)), dtype=np.int64)
        np.add.at(counts, cells, np.frombuffer(rest, "<i2"))
        given = int(np.abs(counts).sum())
        counts = counts.reshape(shape)
        # What is lost on the way was given all the same.
        reaching = counts if self._spoil is None else self._spoil(name, counts)
        return self._write(WriteRequest(name, pulses=reaching), given, given)

    def _set(self, payload: memoryview) -> bytes:
        name, shape, cells, rest = self._cells_of(payload)
        low, high = self._device.capabilities.conductance_window_siemens
        targets = self._device.read_cells(name).ravel().copy()
        # Single precision rounds the window's ends.
        targets[cells] = np.clip(np.frombuffer(rest, "<f4").astype(np.float64), low, high)
        return self._write(WriteRequest(name, target_siemens=targets.reshape(shape)), 0)

    def _reset(self, payload: memoryview) -> bytes:
        name, shape, cells, _ = self._cells_of(payload)
        mask = np.zeros(int(np.prod(shape)), dtype=np.bool_)
        mask[cells] = True
        return self._write(WriteRequest(name, reset=mask.reshape(shape)), len(cells))

    def _write(self, request: WriteRequest, pulses: int, given: int | None = None) -> bytes:
        report = self._device.write_cells(request)
        if self._changed is not None:
            self._changed()
        self.outputs_on = False
        self._clock.advance(pulses * self._converters.pulse_seconds)
        failed = np.flatnonzero(report.failed).astype("<u4")
        return struct.pack("<I", report.pulses if given is None else given) + failed.tobytes()

    def _cells_of(self, payload: memoryview) -> tuple[str, tuple[int, ...], Any, memoryview]:
        which, _, count = struct.unpack_from("<BBH", payload)
        coupling = self._device.network.arrays[which]
        return coupling.name, coupling.cell_shape, np.frombuffer(payload, "<u4", count, 4), payload[4 + 4 * count :]

    def _volts(self, codes: FloatArray) -> FloatArray:
        limit = self._device.capabilities.limits.read_volts
        # The code nearest to the limit may stand for half a step beyond it.
        return np.clip(codes * (self._converters.input_range_volts / FULL_SCALE), -limit, limit)

    def _amperes(self, codes: FloatArray) -> FloatArray:
        limit = self._device.capabilities.limits.current_amperes
        return np.clip(codes * (self._current_range / FULL_SCALE), -limit, limit)
