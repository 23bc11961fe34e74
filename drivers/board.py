"""The reference board as a ``Substrate``: a network on a chip behind converters, at a serial port.

The board only sets voltages and currents and waits: a nudge is stepped through the phases of its period. That is the
quasi-static response itself, whatever the nudge's frequency is called (physics.md, 2.3), as long as a step is long
beside the chip's time constants. Batches are looped here, as many samples to a frame as the board has room for.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from drivers.board_protocol import LARGEST_PAYLOAD, Kind
from drivers.board_section import BoardConfig, agree, described
from drivers.board_session import BoardSession, Patience
from drivers.errors import ProtocolError
from drivers.pulse_budget import PulseBudget
from drivers.transport import SerialLink
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.capabilities import HeldNudge, Nudge, WriteRequest
from substrate.contract import Direction, HeldStates, Record, Scale, WriteReport
from substrate.errors import CapabilityError, InputError
from substrate.measured import MeasuredSubstrate
from substrate.network import Network
from substrate.outlay import Demand, Outlay, Pace
from substrate.registry import Backend
from substrate.tones import SamplingPlan
from substrate.validation import describe

FULL_SCALE = 32767
FREE, STEPPED, HELD = range(3)
SATURATED, UNSETTLED = 1, 2


@final
class BoardSubstrate(MeasuredSubstrate):
    """A network on the chip of a reference board.

    Args:
        network: the topology that the board has to be wired as.
        config: the section.

    Attributes:
        session: with the board.
        budgets: pulses that cells have had, by array.
    """

    def __init__(self, network: Network, config: BoardConfig) -> None:
        super().__init__(network, Scale(config.volts_per_unit, config.unit_siemens), config.capabilities)
        self._config = config
        patience = Patience(
            config.answer_seconds, config.attempts, config.reconnect_seconds, config.watchdog_seconds, config.baud
        )
        self.session = BoardSession(SerialLink(config.port, config.baud, self._note), patience)
        self.budgets = {
            one.name: PulseBudget(one.name, one.cell_shape, config.pulses_per_cell, config.pulse_ledger)
            for one in network.arrays
        }
        # Ten bits a byte, two bytes a code.
        line = 20.0 / config.baud
        self.outlay = Outlay(
            demands=(
                Demand(
                    "largest programming pulse",
                    config.pulse_volts or config.limits.write_volts,
                    "V",
                    config.limits.write_volts,
                ),
            ),
            pace=Pace(
                state_seconds=config.step_seconds + line * (network.input_size + network.node_count),
                point_seconds=config.step_seconds + line * network.node_count,
                record_seconds=line * (network.input_size + network.node_count),
                product_seconds=config.step_seconds + line * network.node_count,
                cell_seconds=config.step_seconds + 2.0 * line,
                write_seconds=3.0 * line,
                pulse_seconds=2.0 * config.pulse_seconds,
            ),
            pulses_per_cell=config.pulses_per_cell,
            most_given=lambda: max(int(budget.given.max()) for budget in self.budgets.values()),
            kept=config.pulse_ledger is not None,
        )
        self._held = np.zeros((0, network.input_size))
        self._has_settled = False

    def _open(self) -> None:
        config = self._config
        if config.transcript is not None:
            try:
                Path(config.transcript).touch()
            except OSError as error:
                raise InputError(f"substrate.transcript: cannot be written: {error}") from error
        self.session.open()
        info = described(config.port, self.session.info)
        agree(config, self._network, info)
        for budget in self.budgets.values():
            budget.open(str(info.get("serial", "")))

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
        # Cells are set and reset by the board's pulses too.
        self._check_pulse_volts()
        if request.pulses is not None:
            self.budgets[request.coupling].spend(np.abs(request.pulses))
            return self._pulse(request.coupling, request.pulses)
        if request.reset is not None:
            self.budgets[request.coupling].spend(request.reset.astype(np.int64))
            cells = np.flatnonzero(request.reset)
            return self._write(Kind.RESET, request.coupling, shape, cells, None, info["pulse_seconds"])
        self.budgets[request.coupling].spend(np.ones(shape, dtype=np.int64))
        targets = np.asarray(request.target_siemens).ravel().astype("<f4")
        # Closed-loop programming takes as long as a few dozen readings.
        seconds = 100.0 * info["step_seconds"]
        return self._write(Kind.SET, request.coupling, shape, np.arange(targets.size), targets, seconds)

    def _pulse(self, coupling: str, counts: IntArray) -> WriteReport:
        """Pulses in bursts that the board allows."""
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

    section_model = BoardConfig

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
