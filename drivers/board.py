"""The reference board as a ``Substrate``: a network on a chip behind converters, at a serial port.

The board only sets voltages and currents and waits: a nudge is stepped through the phases of its period. That is the
quasi-static response itself, whatever the nudge's frequency is called (physics.md, 2.3), as long as a step is long
beside the chip's time constants. Batches are looped here, as many samples to a frame as the board has room for.
"""

import contextlib
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal, final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.board_protocol import LARGEST_PAYLOAD, Kind
from drivers.board_session import BoardSession, Patience
from drivers.errors import ProtocolError
from drivers.transport import SerialLink
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.capabilities import Capabilities, HeldNudge, Limits, Nudge, WriteRequest
from substrate.contract import Direction, HeldStates, Record, Scale, Substrate, WriteReport
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.registry import Backend
from substrate.tones import SamplingPlan
from substrate.validation import describe

FULL_SCALE = 32767
FREE, STEPPED, HELD = range(3)
SATURATED, UNSETTLED = 1, 2
HEAD = 8
"""Bytes in front of the codes of a request to measure."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

REQUIRED: Final = {
    "protocol": int, "max_payload": int, "inputs": int, "nodes": int, "outputs": int, "arrays": list,
    "volts_per_unit": float, "unit_siemens": float, "input_range_volts": float, "node_range_volts": float,
    "current_range_amperes": float, "limits": dict, "window_siemens": list, "step_siemens": list,
    "step_seconds": float, "pulse_volts": float, "pulse_seconds": float, "largest_burst": int, "pulses": bool,
    "continuous_writing": bool, "resets": bool, "node_nudges": bool, "forward_products": bool,
    "transposed_products": bool,
}  # fmt: skip
"""What a board says of itself."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BoardLimitsConfig(_Section):
    """What the chip survives; the board's own limits hold as well."""

    read_volts: Positive = 0.3
    write_volts: Positive = 2.0
    current_amperes: Positive = 1.0e-3


class BoardConfig(_Section):
    """The ``substrate`` section of a reference board.

    Attributes:
        port: device file, or ``socket://host:port``.
        baud: of a real port.
        volts_per_unit: volts of an activity of one; the board's own has to agree.
        unit_siemens: conductance of a weight of one; likewise.
        limits: see ``BoardLimitsConfig``.
        answer_seconds: deadline of an answer, beyond what the request itself takes.
        attempts: times that a request is sent.
        reconnect_seconds: for a lost port to come back, and for a board to start up.
        watchdog_seconds: after which the board takes the host for dead, and brings its outputs to zero.
        transcript: file that all bytes, both ways, are written to.
    """

    backend: Literal["board"]
    port: str
    baud: Annotated[int, Field(gt=0)] = 921600
    volts_per_unit: Positive = 0.2
    unit_siemens: Positive = 2.5e-5
    limits: BoardLimitsConfig = BoardLimitsConfig()
    answer_seconds: Positive = 2.0
    attempts: Annotated[int, Field(ge=1)] = 4
    reconnect_seconds: Positive = 5.0
    watchdog_seconds: Annotated[float, Field(ge=0.2, le=60.0)] = 2.0
    transcript: str | None = None


@final
class BoardSubstrate(Substrate):
    """A network on the chip of a reference board.

    Until it is opened, its capabilities are what the section allows; then what the board can do as well.

    Args:
        network: the topology that the board has to be wired as.
        config: the section.
    """

    def __init__(self, network: Network, config: BoardConfig) -> None:
        self._network = network
        self._config = config
        self._scale = Scale(config.volts_per_unit, config.unit_siemens)
        self._files = contextlib.ExitStack()
        self._transcript: IO[str] | None = None
        patience = Patience(
            config.answer_seconds, config.attempts, config.reconnect_seconds, config.watchdog_seconds, config.baud
        )
        self.session = BoardSession(SerialLink(config.port, config.baud, self._note), patience)
        self._capabilities = _declared(config)
        self._held = np.zeros((0, network.input_size))
        self._has_settled = False

    @property
    def capabilities(self) -> Capabilities:
        """What the board can do, within the section's limits."""
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
        """None: a board is measured."""
        return None

    @property
    def states(self) -> None:
        """None: hardware does not go back."""
        return None

    def _open(self) -> None:
        if self._config.transcript is not None:
            try:
                self._transcript = self._files.enter_context(Path(self._config.transcript).open("a", encoding="ascii"))
            except OSError as error:
                raise InputError(f"substrate.transcript: cannot be written: {error}") from error
        self.session.open()
        self._capabilities = self._agreed(self.session.info)

    def _safe_state(self) -> None:
        self._held = np.zeros((0, self._network.input_size))
        self._has_settled = False
        if self.session.is_open:
            self.session.safe()

    def _close(self) -> None:
        self.session.close()
        self._transcript = None
        self._files.close()

    def _note(self, seconds: float, address: str, direction: str, data: bytes) -> None:
        if self._transcript is not None:
            self._transcript.write(f"{seconds:.6f} {address} {direction} {data.hex()}\n")

    def _agreed(self, info: Mapping[str, Any]) -> Capabilities:
        """What the board says of itself, held against the network and the section.

        Raises:
            ProtocolError: it does not say what it has to.
            InputError: it is wired or scaled in another way.
        """
        for key, kind in REQUIRED.items():
            given = info.get(key)
            if not isinstance(given, kind) and not (kind is float and isinstance(given, int)):
                raise ProtocolError(f"{self._config.port}: the board's greeting gives {key} as {given!r}")
        network, config = self._network, self._config
        wired = [[coupling.name, *coupling.cell_shape] for coupling in network.arrays]
        if info["arrays"] != wired or (info["inputs"], info["nodes"]) != (network.input_size, network.node_count):
            raise InputError(
                f"network: the board at {config.port} is wired for {info['inputs']} inputs, {info['nodes']} nodes and "
                f"arrays {info['arrays']}; the experiment has {network.input_size}, {network.node_count} and {wired}"
            )
        for key, own in (("volts_per_unit", config.volts_per_unit), ("unit_siemens", config.unit_siemens)):
            if abs(info[key] - own) > 1e-6 * own:
                raise InputError(f"substrate.{key}: the board's is {info[key]:.6g}, the section's {own:.6g}")
        limits, own_limits = info["limits"], config.limits
        low, high = info["window_siemens"]
        up, down = info["step_siemens"]
        return Capabilities(
            limits=Limits(
                min(limits["read_volts"], own_limits.read_volts, info["input_range_volts"]),
                min(limits["write_volts"], own_limits.write_volts),
                min(limits["current_amperes"], own_limits.current_amperes, info["current_range_amperes"]),
            ),
            conductance_window_siemens=(float(low), float(high)),
            step_siemens=(float(up), float(down)),
            highest_frequency_hz=float("inf"),
            pulses=info["pulses"],
            continuous_writing=info["continuous_writing"],
            simultaneous_sampling=True,
            complex_nudges=False,
            node_nudges=info["node_nudges"],
            forward_products=info["forward_products"],
            exact_adjoint=False,
            state_snapshots=False,
            resets=info["resets"],
            transposed_products=info["transposed_products"],
        )

    def _hold(self, volts: FloatArray) -> None:
        self._held = volts.copy()
        self._has_settled = False

    def _settle(self) -> Record:
        batch = len(self._held)
        none = np.zeros((batch, 0))
        volts, flags = self._measure(FREE, none, np.zeros(0), 1, 1)
        self._has_settled = True
        return self._record(volts, flags, 0.0)

    def _nudge(self, nudge: Nudge, plan: SamplingPlan) -> Record:
        self._require_settled("nudge", len(nudge.amperes))
        volts, flags = self._measure(
            STEPPED, nudge.amperes, np.cos(plan.phases()), plan.samples_per_period, plan.periods
        )
        return self._record(volts, flags, plan.rate_hz)

    def _record(self, volts: FloatArray, flags: npt.NDArray[np.uint8], rate_hz: float) -> Record:
        saturated, settled = _meaning(flags[:, 0])
        return Record(volts, rate_hz, 0.0, saturated, settled, np.full(len(volts), np.nan))

    def _settle_nudged(self, nudge: HeldNudge) -> HeldStates:
        amperes = np.asarray(nudge.amperes, dtype=np.float64)
        self._require_settled("held nudge", len(amperes))
        batch, points, nodes = amperes.shape
        volts = np.empty(amperes.shape)
        flags = np.zeros((batch, points), dtype=np.uint8)
        most = max(1, self._room() // (2 * nodes + 1) - 1)
        for start in range(0, points, most):
            part = slice(start, min(start + most, points))
            count = part.stop - part.start
            currents = np.ascontiguousarray(amperes[:, part]).reshape(batch, -1)
            volts[:, part], flags[:, part] = self._measure(HELD, currents, np.zeros(0), count, 1)
        saturated, settled = _meaning(flags)
        return HeldStates(volts, saturated, settled, np.full((batch, points), np.nan))

    def _require_settled(self, purpose: str, batch: int) -> None:
        if not self._has_settled:
            raise InputError(f"{purpose}: the free phase has not settled; call settle() after hold()")
        if batch != len(self._held):
            raise InputError(f"{purpose}: expected a batch of {len(self._held)}, got {batch}")

    def _room(self) -> int:
        """Bytes that one frame has for codes, either way."""
        return min(int(self.session.info["max_payload"]), LARGEST_PAYLOAD) - 64

    def _measure(
        self, mode: int, amperes: FloatArray, levels: FloatArray, points: int, periods: int
    ) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
        """Readings of all held samples.

        Args:
            mode: FREE, STEPPED (amperes (batch, node), levels (point,)) or HELD (amperes (batch, point * node)).
            amperes: currents.
            levels: what they are multiplied by, one step after another.
            points: steps of a period, or held points.
            periods: of a stepped record.

        Returns:
            volts (batch, points * periods, node) and flags (batch, 1), or (batch, point) of held currents.
        """
        info = self.session.info
        nodes, batch, samples = self._network.node_count, len(self._held), points * periods
        marks = points if mode == HELD else 1
        held = _codes("inputs", self._held, info["input_range_volts"])
        currents = _codes("nudge", amperes, info["current_range_amperes"])
        table = _codes("levels", levels, 1.0).tobytes()
        codes = np.empty((batch, samples, nodes), dtype="<i2")
        flags = np.empty((batch, marks), dtype=np.uint8)
        asked = 2 * (held.shape[1] + currents.shape[1])
        answered = marks + 2 * samples * nodes
        most = min((self._room() - len(table)) // max(asked, 1), self._room() // answered, 65535)
        if most < 1:
            raise CapabilityError(
                f"nudge.periods: a record of {samples} samples of {nodes} nodes does not fit into the board's memory "
                f"({info['max_payload']} bytes)"
            )
        for part in _slices(batch, most):
            count = part.stop - part.start
            head = struct.pack("<BBHHH", mode, 0, count, points, periods)
            answer = self.session.request(
                Kind.MEASURE,
                head + held[part].tobytes() + currents[part].tobytes() + table,
                busy_seconds=count * samples * info["step_seconds"],
                answer_bytes=count * answered,
            )
            if len(answer) != count * answered:
                raise ProtocolError(f"MEASURE: expected {count * answered} bytes, got {len(answer)}")
            flags[part] = np.frombuffer(answer, np.uint8, count * marks).reshape(count, marks)
            codes[part] = np.frombuffer(answer, "<i2", offset=count * marks).reshape(count, samples, nodes)
        return codes * (info["node_range_volts"] / FULL_SCALE), flags

    def _products(self, coupling: str, volts: FloatArray, direction: Direction) -> FloatArray:
        info = self.session.info
        shape = self._network.array(coupling).shape
        sensed = shape[0] if direction == "backward" else shape[1]
        codes = _codes("volts", volts, info["input_range_volts"])
        amperes = np.empty((len(volts), sensed))
        most = max(1, min(self._room() // (2 * codes.shape[1]), self._room() // (4 * sensed)))
        for part in _slices(len(volts), most):
            count = part.stop - part.start
            answer = self.session.request(
                Kind.PRODUCTS,
                struct.pack("<BBH", self._index(coupling), int(direction == "backward"), count) + codes[part].tobytes(),
                busy_seconds=count * info["step_seconds"],
                answer_bytes=4 * count * sensed,
            )
            amperes[part] = _singles("PRODUCTS", answer, count * sensed).reshape(count, sensed)
        # The board's lines have carried other voltages: the network has to settle again.
        self._has_settled = False
        return amperes

    def _index(self, coupling: str) -> int:
        return [one.name for one in self._network.arrays].index(coupling)

    def _read_cells(self, coupling: str) -> FloatArray:
        shape = self._network.array(coupling).cell_shape
        siemens = np.empty(int(np.prod(shape)))
        for part in _slices(len(siemens), min(self._room() // 4, 65535)):
            count = part.stop - part.start
            answer = self.session.request(
                Kind.CELLS,
                struct.pack("<BBHI", self._index(coupling), 0, count, part.start),
                busy_seconds=count * self.session.info["step_seconds"],
                answer_bytes=4 * count,
            )
            siemens[part] = _singles("CELLS", answer, count)
        return siemens.reshape(shape)

    def _write_cells(self, request: WriteRequest) -> WriteReport:
        info = self.session.info
        shape = self._network.array(request.coupling).cell_shape
        self._has_settled = False
        if request.pulses is not None:
            return self._pulse(request.coupling, request.pulses)
        if request.reset is not None:
            self._check_pulse_volts()
            cells = np.flatnonzero(request.reset)
            return self._write(Kind.RESET, request.coupling, shape, cells, None, info["pulse_seconds"])
        targets = np.asarray(request.target_siemens).ravel().astype("<f4")
        # Closed-loop programming takes as long as a few dozen readings.
        seconds = 100.0 * info["step_seconds"]
        return self._write(Kind.SET, request.coupling, shape, np.arange(targets.size), targets, seconds)

    def _pulse(self, coupling: str, counts: IntArray) -> WriteReport:
        """Pulses in bursts that the board allows."""
        self._check_pulse_volts()
        info = self.session.info
        burst = int(info["largest_burst"])
        left = counts.ravel()
        pulses, failed = 0, np.zeros(counts.shape, dtype=np.bool_)
        while left.any():
            now = np.clip(left, -burst, burst)
            left = left - now
            cells = np.flatnonzero(now)
            seconds = float(np.abs(now).max()) * info["pulse_seconds"]
            report = self._write(Kind.PULSE, coupling, counts.shape, cells, now[cells].astype("<i2"), seconds)
            pulses, failed = pulses + report.pulses, failed | report.failed
        return WriteReport(pulses, failed)

    def _check_pulse_volts(self) -> None:
        volts, limit = self.session.info["pulse_volts"], self._capabilities.limits.write_volts
        if volts > limit:
            raise CapabilityError(
                f"write: the board's pulses are of {volts:.6g} V, beyond the safe limit limits.write_volts = "
                f"{limit:.6g} V"
            )

    def _write(
        self,
        kind: Kind,
        coupling: str,
        shape: tuple[int, ...],
        cells: npt.NDArray[np.intp],
        values: npt.NDArray[Any] | None,
        cell_seconds: float,
    ) -> WriteReport:
        """One write to cells (their flat indices), in as many frames as it takes."""
        pulses, failed = 0, np.zeros(int(np.prod(shape)), dtype=np.bool_)
        size = 4 + (0 if values is None else values.itemsize)
        for part in _slices(len(cells), min(self._room() // size, 65535)):
            count = part.stop - part.start
            content = cells[part].astype("<u4").tobytes() + (b"" if values is None else values[part].tobytes())
            answer = self.session.request(
                kind,
                struct.pack("<BBH", self._index(coupling), 0, count) + content,
                busy_seconds=count * cell_seconds,
                answer_bytes=4 * count,
            )
            given, number = struct.unpack_from("<IH", answer)
            pulses += given
            failed[np.frombuffer(answer, "<u4", number, 6)] = True
        return WriteReport(pulses, failed.reshape(shape))


def _declared(config: BoardConfig) -> Capabilities:
    """Of a board that has not been asked yet: the section's limits, and nothing refused that it might be able to do."""
    limits = config.limits
    return Capabilities(
        limits=Limits(limits.read_volts, limits.write_volts, limits.current_amperes),
        conductance_window_siemens=(0.0, float("inf")),
        step_siemens=(0.0, 0.0),
        highest_frequency_hz=float("inf"),
        pulses=True,
        continuous_writing=True,
        simultaneous_sampling=True,
        complex_nudges=False,
        node_nudges=True,
        forward_products=True,
        exact_adjoint=False,
        state_snapshots=False,
    )


def _codes(name: str, values: FloatArray, full_scale: float) -> npt.NDArray[np.int16]:
    """Converter codes of values; the last check before they leave."""
    codes = np.rint(values * (FULL_SCALE / full_scale))
    if not np.all(np.abs(codes) <= FULL_SCALE):
        raise CapabilityError(f"{name}: {np.max(np.abs(values)):.6g} is beyond the converter's {full_scale:.6g}")
    return codes.astype("<i2")


def _meaning(flags: npt.NDArray[np.uint8]) -> tuple[BoolArray, BoolArray]:
    """(saturated, settled) of flags."""
    return (flags & SATURATED) != 0, (flags & UNSETTLED) == 0


def _singles(what: str, answer: bytes, count: int) -> FloatArray:
    if len(answer) != 4 * count:
        raise ProtocolError(f"{what}: expected {4 * count} bytes, got {len(answer)}")
    return np.frombuffer(answer, "<f4").astype(np.float64)


def _slices(count: int, most: int) -> Iterator[slice]:
    return (slice(start, min(start + most, count)) for start in range(0, count, most))


@final
class BoardBackend(Backend):
    """Builds reference boards from the ``substrate`` section of an experiment file."""

    @property
    def summary(self) -> str:
        """One line."""
        return "reference board at a serial port (drivers/board-protocol.md)"

    def resolve(self, section: Mapping[str, Any], network: Network) -> dict[str, Any]:
        """Check the section and fill in defaults."""
        return self._parse(section).model_dump(mode="json")

    def build(self, section: Mapping[str, Any], network: Network, rng: np.random.Generator) -> BoardSubstrate:
        """The board, unopened."""
        return BoardSubstrate(network, self._parse(section))

    def _parse(self, section: Mapping[str, Any]) -> BoardConfig:
        try:
            return BoardConfig.model_validate(section)
        except ValidationError as error:
            raise InputError(describe(error, "substrate")) from error


backend = BoardBackend()
"""The entry point."""
