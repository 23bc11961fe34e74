"""The reference board as a ``Substrate``: a network on a chip behind converters, at a serial port.

The board only sets voltages and currents and waits: a nudge is stepped through the phases of its period. That is the
quasi-static response itself, whatever the nudge's frequency is called (physics.md, 2.3), as long as a step is long
beside the chip's time constants. Batches are looped here, as many samples to a frame as the board has room for.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

FLAGS: Final = ("continuous_writing", "resets", "node_nudges", "forward_products", "transposed_products")
"""What a board offers or not."""

REQUIRED: Final = {
    "protocol": int, "max_payload": int, "inputs": int, "nodes": int, "outputs": int, "arrays": list,
    "volts_per_unit": float, "unit_siemens": float, "input_range_volts": float, "node_range_volts": float,
    "current_range_amperes": float, "limits": dict, "window_siemens": list, "step_siemens": list,
    "step_seconds": float, "pulse_volts": float, "pulse_seconds": float, "largest_burst": int,
    **dict.fromkeys(("pulses", *FLAGS), bool),
}  # fmt: skip
"""What a board says of itself."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BoardLimitsConfig(_Section):
    """What no request may exceed; not above what the board itself allows."""

    read_volts: Positive = 0.25
    write_volts: Positive = 2.0
    current_amperes: Positive = 2.0e-5


class BoardConfig(_Section):
    """The ``substrate`` section of a reference board: what is used of it, known before it is opened.

    When it is opened, the board's own description has to agree, and to offer what is declared; ``section_of`` writes a
    section for a board that is there.

    Attributes:
        port: device file, or ``socket://host:port``.
        baud: of a real port.
        volts_per_unit: volts of an activity of one.
        unit_siemens: conductance of a weight of one.
        window_siemens: lowest and highest conductance of a cell.
        step_siemens: mean change of a cell by one pulse (up, down); zeros: no pulses are given.
        continuous_writing: the board programs cells to conductances by itself.
        resets: cells can be reset.
        node_nudges: there are current ports at all nodes, not only at the outputs.
        forward_products: single arrays can be read.
        transposed_products: the other way as well.
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
    window_siemens: tuple[NonNegative, Positive] = (1.0e-6, 1.0e-4)
    step_siemens: tuple[NonNegative, NonNegative] = (0.0, 0.0)
    continuous_writing: bool = False
    resets: bool = False
    node_nudges: bool = True
    forward_products: bool = True
    transposed_products: bool = False
    limits: BoardLimitsConfig = BoardLimitsConfig()
    answer_seconds: Positive = 2.0
    attempts: Annotated[int, Field(ge=1)] = 4
    reconnect_seconds: Positive = 5.0
    watchdog_seconds: Annotated[float, Field(ge=0.2, le=60.0)] = 2.0
    transcript: str | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the section declares. A board that is stepped has no highest frequency."""
        return Capabilities(
            limits=Limits(self.limits.read_volts, self.limits.write_volts, self.limits.current_amperes),
            conductance_window_siemens=self.window_siemens,
            step_siemens=self.step_siemens,
            highest_frequency_hz=float("inf"),
            pulses=any(self.step_siemens),
            continuous_writing=self.continuous_writing,
            simultaneous_sampling=True,
            complex_nudges=False,
            node_nudges=self.node_nudges,
            forward_products=self.forward_products,
            exact_adjoint=False,
            state_snapshots=False,
            resets=self.resets,
            transposed_products=self.transposed_products,
        )

    @model_validator(mode="after")
    def _ordered(self) -> "BoardConfig":
        low, high = self.window_siemens
        if not low < high:
            raise ValueError(f"window_siemens: expected [lowest, highest], got [{low:g}, {high:g}]")
        return self


@final
class BoardSubstrate(Substrate):
    """A network on the chip of a reference board.

    Args:
        network: the topology that the board has to be wired as.
        config: the section.
    """

    def __init__(self, network: Network, config: BoardConfig) -> None:
        self._network = network
        self._config = config
        self._scale = Scale(config.volts_per_unit, config.unit_siemens)
        patience = Patience(
            config.answer_seconds, config.attempts, config.reconnect_seconds, config.watchdog_seconds, config.baud
        )
        self.session = BoardSession(SerialLink(config.port, config.baud, self._note), patience)
        self._capabilities = config.capabilities
        self._held = np.zeros((0, network.input_size))
        self._has_settled = False

    @property
    def capabilities(self) -> Capabilities:
        """What the section declares, and the board has agreed to."""
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
        config = self._config
        if config.transcript is not None:
            try:
                Path(config.transcript).touch()
            except OSError as error:
                raise InputError(f"substrate.transcript: cannot be written: {error}") from error
        self.session.open()
        self._agree(_described(config.port, self.session.info))

    def _safe_state(self) -> None:
        self._held = np.zeros((0, self._network.input_size))
        self._has_settled = False
        if self.session.is_open:
            self.session.safe()

    def _close(self) -> None:
        self.session.close()

    def _note(self, seconds: float, address: str, direction: str, data: bytes) -> None:
        if self._config.transcript is not None:
            with Path(self._config.transcript).open("a", encoding="ascii") as file:
                file.write(f"{seconds:.6f} {address} {direction} {data.hex()}\n")

    def _agree(self, info: Mapping[str, Any]) -> None:
        """Hold what the board says of itself against the network and the section.

        Raises:
            InputError: it is wired or scaled in another way, allows less, or lacks what is declared.
        """
        network, config = self._network, self._config
        wired = [[coupling.name, *coupling.cell_shape] for coupling in network.arrays]
        if info["arrays"] != wired or (info["inputs"], info["nodes"]) != (network.input_size, network.node_count):
            raise InputError(
                f"network: the board at {config.port} is wired for {info['inputs']} inputs, {info['nodes']} nodes and "
                f"arrays {info['arrays']}; the experiment has {network.input_size}, {network.node_count} and {wired}"
            )
        own = _section(info)
        # Boards may reckon in single precision; the mean step of a pulse is known no better than this.
        for key, tolerance in (
            ("volts_per_unit", 1e-6),
            ("unit_siemens", 1e-6),
            ("window_siemens", 1e-6),
            ("step_siemens", 1e-2),
        ):
            said, declared = np.asarray(own[key]), np.asarray(getattr(config, key))
            unused = key == "step_siemens" and not declared.any()
            if not unused and np.any(np.abs(said - declared) > tolerance * np.abs(declared)):
                raise InputError(f"substrate.{key}: the board's is {own[key]}, the section's {declared.tolist()}")
        for key, limit in own["limits"].items():
            asked = getattr(config.limits, key)
            if asked > limit * (1 + 1e-6):
                raise InputError(f"substrate.limits.{key}: the board allows {limit:.6g}, the section {asked:.6g}")
        for key in FLAGS:
            if getattr(config, key) and not own[key]:
                raise InputError(f"substrate.{key}: declared, but the board does not offer it")

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


def section_of(port: str, baud: int = 921600) -> dict[str, Any]:
    """The ``substrate`` section for the board at a port, as plain data: the board is asked what it is.

    Raises:
        BenchError: there is none, or it does not say what it has to.
    """
    session = BoardSession(SerialLink(port, baud), Patience(baud=baud))
    try:
        session.open()
        return {"backend": "board", "port": port, "baud": baud, **_section(_described(port, session.info))}
    finally:
        session.close()


def _described(port: str, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a board says of itself, once it is complete.

    Raises:
        ProtocolError: names what is missing.
    """
    for key, kind in REQUIRED.items():
        given = info.get(key)
        if not isinstance(given, kind) and not (kind is float and isinstance(given, int)):
            raise ProtocolError(f"{port}: the board's greeting gives {key} as {given!r}")
    return info


def _section(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a section may declare of a board at most."""
    limits = info["limits"]
    return {
        "volts_per_unit": info["volts_per_unit"],
        "unit_siemens": info["unit_siemens"],
        "window_siemens": info["window_siemens"],
        "step_siemens": info["step_siemens"] if info["pulses"] else [0.0, 0.0],
        **{key: info[key] for key in FLAGS},
        "limits": {
            "read_volts": min(limits["read_volts"], info["input_range_volts"]),
            "write_volts": limits["write_volts"],
            "current_amperes": min(limits["current_amperes"], info["current_range_amperes"]),
        },
    }


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
            raise InputError(describe(error, "substrate", model=BoardConfig)) from error


backend = BoardBackend()
"""The entry point."""
