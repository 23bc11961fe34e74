"""ArC TWO, a memristor board for up to 32 x 32 cells, as a crossbar around which neurons are closed in software.

Interface: ``pyarc2`` 0.6 (the extra ``arc2``), imported when the board is opened. Rows are the channels 0-15 and 32-47,
columns 16-31 and 48-63. A reading of whole lines puts all voltages on at once: driven lines at minus their voltage and
sensed ones at 0 V, whose currents are then positive, as in the board's own readings (``read_one``). A pulse of V puts a
row V above a column, with all other lines at V/2, or floating. The board has no compliance: what limits the current of
a pulse is the cell and what stands in series with it.
"""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal, final

import numpy as np
from pydantic import Field, ValidationError, model_validator

from drivers.errors import ConnectionLost, InstrumentError
from drivers.limits import DriveLimits
from drivers.pulsed_array import PulsedArray, PulsedSection
from substrate.arrays import FloatArray
from substrate.capabilities import Limits
from substrate.contract import Direction
from substrate.errors import InputError
from substrate.interrupts import interrupts_held_back
from substrate.loop import LoopConfig, LoopedSubstrate, SettleConfig
from substrate.network import Network
from substrate.outlay import Demand, Pace
from substrate.registry import Backend
from substrate.sections import Positive, Section
from substrate.services import Instruments
from substrate.validation import describe

ROWS: Final = (*range(16), *range(32, 48))
COLUMNS: Final = (*range(16, 32), *range(48, 64))
SIDE: Final = 32
ARRAY: Final = "arc"
"""What the array is called in placements."""

EXCHANGE_SECONDS: Final = 1.0e-3
"""Rule of thumb for the estimates of a dry run: what the board is told, over USB, and its answer."""

LARGEST_VOLTS: Final = 10.0
"""Of a channel in its standard range."""

SETTLE: Final = SettleConfig(tolerance=0.02, damping=1.0, least_passes=8, passes=16, mixed=False)
"""For readings with noise, some thousandths of an activity: a finer tolerance is never met."""

Side = Annotated[int, Field(ge=1, le=SIDE)]


@final
class ArcLimitsConfig(Section):
    """What no request may exceed: of lines that are read, and of pulses."""

    read_volts: Annotated[float, Field(gt=0, le=LARGEST_VOLTS)] = 0.3
    write_volts: Annotated[float, Field(gt=0, le=LARGEST_VOLTS)] = 2.0


@final
class ArcTwoConfig(PulsedSection):
    """The ``substrate`` section of an ArC TWO.

    Attributes:
        board: number of the board as ``find_ids`` gives it; None: the only one.
        firmware: file that is loaded into it.
        library: module that the board is reached through, ``pyarc2`` or one of its form.
        shape: rows and columns that carry cells.
        cell_read_volts: across a cell that is read alone.
        pulse_seconds: their width, whole nanoseconds from 40 on.
        unselected: lines that take no part in a pulse.
        limits: see ``ArcLimitsConfig``.
        loop: how neurons are closed around the array, see ``substrate.loop``; without ``settle``, by ``SETTLE``.
    """

    backend: Literal["arc-two"]
    board: int | None = None
    firmware: str = ""
    library: str = "pyarc2"
    shape: tuple[Side, Side] = (SIDE, SIDE)
    cell_read_volts: Positive = 0.1
    pulse_seconds: Annotated[float, Field(ge=40e-9, le=1.0)] = 1.0e-4
    unselected: Literal["half", "floating"] = "half"
    limits: ArcLimitsConfig = ArcLimitsConfig()
    loop: LoopConfig = LoopConfig(settle=SETTLE)

    @model_validator(mode="before")
    @classmethod
    def _settling(cls, given: Any) -> Any:
        loop = given.get("loop") if isinstance(given, dict) else None
        return {**given, "loop": {"settle": SETTLE, **loop}} if isinstance(loop, dict) else given


@final
class ArcTwoArray(PulsedArray, Instruments):
    """The crossbar on an ArC TWO.

    Args:
        config: the section.

    Raises:
        CapabilityError: voltages of the section beyond its limits.
    """

    def __init__(self, config: ArcTwoConfig) -> None:
        self._config = config
        DriveLimits(config.limits.read_volts).check_volts("cell_read_volts", config.cell_read_volts)
        writing = DriveLimits(config.limits.write_volts)
        writing.check_volts("up_volts", config.up_volts)
        writing.check_volts("down_volts", config.down_volts)
        super().__init__(
            ARRAY,
            config.shape,
            config,
            Limits(config.limits.read_volts, config.limits.write_volts, config.loop.current_amperes),
            readings=(Demand("reading of a cell", config.cell_read_volts, "V", config.limits.read_volts),),
            pace=Pace(
                product_seconds=2.0 * EXCHANGE_SECONDS,
                cell_seconds=EXCHANGE_SECONDS / config.shape[1],
                write_seconds=EXCHANGE_SECONDS,
                pulse_seconds=config.pulse_seconds,
            ),
            at_once=True,
        )
        self._rows, self._columns = list(ROWS[: config.shape[0]]), list(COLUMNS[: config.shape[1]])
        self._arc: Any = None

    def snapshot(self) -> dict[str, Any]:
        """What is known of the board; it has no settings that can be read."""
        config = self._config
        return {ARRAY: {"identity": f"ArC TWO through {config.library}", "board": config.board, **config.model_dump()}}

    def _open(self) -> None:
        config = self._config
        self.budget.open()
        try:
            library = importlib.import_module(config.library)
        except ImportError as error:
            raise InputError(
                f"substrate.library: {config.library} is not installed ({error}); for an ArC TWO install the extra "
                "arc2: pip install 'analog-substrate[arc2]'"
            ) from error
        try:
            found = list(library.find_ids())
            if config.board is None and len(found) != 1:
                raise ConnectionLost(f"ArC TWO: expected one board, found {len(found)}; name it by substrate.board")
            self._arc = library.Instrument(found[0] if config.board is None else config.board, config.firmware)
        except ConnectionLost:
            raise
        except Exception as error:
            raise ConnectionLost(f"ArC TWO: cannot be opened: {error}") from error
        self._safe_state()

    def _safe_state(self) -> None:
        if self._arc is not None:
            # 0 V first: what is opened while it is driven keeps its charge.
            try:
                self._told(lambda arc: arc.ground_all().execute())
            finally:
                self._told(lambda arc: arc.float_all().execute())

    def _close(self) -> None:
        self._arc = None

    def _told(self, act: Any) -> Any:
        """What the board does; its library has errors of its own.

        Raises:
            InstrumentError: it refused.
        """
        try:
            found = act(self._arc)
            self._arc.wait()
        except Exception as error:
            raise InstrumentError(f"ArC TWO: {type(error).__name__}: {error}") from error
        return found

    @contextmanager
    def _back_at_zero(self) -> Iterator[None]:
        """All lines are at 0 V after the block, or open where it breaks off."""
        try:
            yield
            self._told(lambda arc: arc.ground_all().execute())
        except BaseException as error:
            with interrupts_held_back():
                try:
                    self._safe_state()
                except InstrumentError as failure:
                    error.add_note(f"the lines were not brought to 0 V: {failure}")
            raise

    def _read(self, volts: FloatArray, direction: Direction) -> FloatArray:
        forward = direction == "forward"
        driven, sensed = (self._rows, self._columns) if forward else (self._columns, self._rows)
        out = np.empty((len(volts), len(sensed)))
        # Lines that both samples leave alone need not be told again.
        standing = dict.fromkeys(sensed, 0.0)
        self._told(lambda arc: arc.ground_all().execute())
        with self._back_at_zero():
            for sample, levels in enumerate(volts):
                wanted = dict(zip(driven, (-levels).tolist(), strict=True))
                change = [(line, level) for line, level in wanted.items() if standing.get(line) != level]
                found = self._told(lambda arc, change=change: self._open_read(arc, change, sensed))
                out[sample] = self._whole(found, max(sensed) + 1)[sensed]
                standing |= wanted
        return self._finite(out)

    def _open_read(self, arc: Any, change: list[tuple[int, float]], sensed: list[int]) -> Any:
        if change:
            arc.config_channels(change, None)
        return arc.read_slice_open(sensed, False)

    def _read_cells(self) -> FloatArray:
        level, columns = self._config.cell_read_volts, self.shape[1]
        self._told(lambda arc: arc.ground_all().execute())
        with self._back_at_zero():
            slices = [
                self._whole(self._told(lambda arc, row=row: arc.read_slice_masked(row, self._columns, level)), columns)
                for row in self._rows
            ]
        cells = np.array([one[:columns] for one in slices]) / level
        return self._finite(cells)

    def _whole(self, found: Any, count: int) -> FloatArray:
        values = np.asarray(found, dtype=np.float64)
        if values.ndim != 1 or len(values) < count:
            raise InstrumentError(f"ArC TWO: expected {count} currents or more, got an array of shape {values.shape}")
        return values

    def _finite(self, values: FloatArray) -> FloatArray:
        if not np.isfinite(values).all():
            raise InstrumentError("ArC TWO: a channel that was read gave no number")
        return values

    def _give(self, row: int, column: int, volts: float, count: int) -> bool:
        low, high = self._columns[column], self._rows[row]
        others = [line for line in (*self._rows, *self._columns) if line not in (low, high)]
        nanos = round(self._config.pulse_seconds * 1e9)
        with self._back_at_zero():
            self._told(lambda arc: self._send(arc, low, high, volts, nanos, count, others))
        return True  # the board measures nothing meanwhile

    def _send(self, arc: Any, low: int, high: int, volts: float, nanos: int, count: int, others: list[int]) -> None:
        """Pulses of one cell, and all lines at 0 V: one queue, which is carried out whole or was not begun."""
        with interrupts_held_back():
            if self._config.unselected == "half":
                arc.config_channels([*((line, 0.5 * volts) for line in others), (low, 0.0), (high, 0.0)], None)
            else:
                arc.ground_all().open_channels(others)
            for _ in range(count):
                arc.pulse_one(low, high, volts, nanos)
            arc.ground_all().execute()


@final
class ArcTwoBackend(Backend):
    """Builds networks around an ArC TWO from the ``substrate`` section of an experiment file."""

    section_model = ArcTwoConfig

    @property
    def summary(self) -> str:
        """One line."""
        return "ArC TWO memristor board, neurons closed in software around it (extra: arc2)"

    def resolve(self, section: Mapping[str, Any], network: Network) -> dict[str, Any]:
        """Check the section and fill in defaults."""
        return self._parse(section).model_dump(mode="json")

    def build(self, section: Mapping[str, Any], network: Network, rng: np.random.Generator) -> LoopedSubstrate:
        """The network, unopened.

        Raises:
            InputError: a network that does not fit on the array.
        """
        config = self._parse(section)
        array = ArcTwoArray(config)
        return LoopedSubstrate(network, {ARRAY: array}, config.loop, array)

    def _parse(self, section: Mapping[str, Any]) -> ArcTwoConfig:
        try:
            return ArcTwoConfig.model_validate(section)
        except ValidationError as error:
            raise InputError(describe(error, "substrate", model=ArcTwoConfig)) from error


backend = ArcTwoBackend()
"""The entry point."""
