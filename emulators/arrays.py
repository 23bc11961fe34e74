"""Arrays of programmable cells behind wires, in differential pairs, as a current-mode network uses them."""

from typing import Any, final

import numpy as np
import numpy.typing as npt

from emulators.aging import Aging, Surroundings
from emulators.config import CellsConfig, TilesConfig, WiresConfig
from emulators.crossbar import CrossbarSolution
from emulators.memristors.devices import Devices
from emulators.memristors.stress import Stress
from emulators.memristors.updates import UpdateLaw
from emulators.outer_writes import OuterWrites
from emulators.power_meter import LineSums, PowerMeter
from emulators.tiling import PairRead, TiledPair
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.capabilities import WriteRequest
from substrate.contract import Direction, Snapshot, WriteReport
from substrate.errors import InputError
from substrate.outer_products import OuterProducts
from substrate.spare_memory import SpareMemory

EVEN = 1e-12
"""Relative difference of what the cells of pairs come to that is rounding."""


@final
class DifferentialArray:
    """Two crossbars of equal shape whose currents are subtracted; w = (g+ - g-)/unit as its ports see it. Or one.

    Where currents are proportional to voltages, effective matrices (wires and terminations included) carry the circuit;
    they are computed anew as ``wires.refresh`` says, and only when a conductance has changed. Other cells, and tiles
    whose sums are digitised, are read (``read``).

    Outer products that are written to pairs of ideal cells are carried out when cells are next looked at, all in one
    pass; ``sums`` knows them before that (``outer_writes``).

    Args:
        shape: (rows, columns) of the weights.
        cells: law, window and flaws of the cells.
        wires: of the array, or of each of its tiles.
        update: how cells are written.
        rng: draws the cells and the noise of writing.
        polarities: 2, or 1 for a single array of positive weights, w = g/unit.
        tiles: physical arrays that the weights are laid over; None is one of their own size.
        surroundings: what fluctuates, and the temperature; by default nothing does.

    Attributes:
        meter: of the power that flows into the array.
        takes_outer_products: whether they can be written.
        pair_siemens: what the cells of each pair come to together, where that is known to be the same for all.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        cells: CellsConfig,
        wires: WiresConfig,
        update: UpdateLaw,
        rng: np.random.Generator,
        polarities: int = 2,
        tiles: TilesConfig | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._rng = rng
        self._wires = wires
        self._unit_siemens = cells.unit_siemens
        self._devices = Devices((polarities, *shape), cells.window_siemens, update, rng, cells.spread, cells.stuck)
        self._stress = Stress(self._devices, cells, wires, tiles, rng)
        self._aging = Aging(self._devices, surroundings)
        self.meter = PowerMeter(wires, cells.cell(), tiles)
        self._writes_since_refresh = 0
        self._outer = OuterWrites()
        self._nothing: BoolArray = np.zeros((polarities, *shape), dtype=np.bool_)
        self._nothing.setflags(write=False)
        self._memory = SpareMemory()
        self._seen_siemens = self._now_siemens = self.conductances
        self._tiled = TiledPair(self._seen_siemens, wires, cells.cell(), tiles)
        self._weights: dict[tuple[Direction, np.dtype[Any]], FloatArray] = {}
        self._precision: np.dtype[Any] = np.dtype(np.float64)
        # Lines and what they gave, and how these lines overlap with the rows of what was written since.
        self._summed: tuple[FloatArray, FloatArray] | None = None
        self._overlap: tuple[FloatArray, FloatArray] | None = None
        self.pair_siemens: float | None = None
        self.takes_outer_products = (
            polarities == 2
            and self._devices.takes_all
            and not self._aging.alters
            and self._tiled.cells_alone
            and wires.refresh == "every_write"
            and not (cells.forming or cells.endurance)
        )

    @property
    def devices(self) -> Devices:
        """The cells."""
        self._carry_out()
        return self._devices

    @property
    def now_siemens(self) -> FloatArray:
        """``conductances`` as of the last write, or the last time that cells aged."""
        self._carry_out()
        return self._now_siemens

    @property
    def _circuit(self) -> TiledPair:
        """The circuit of the cells as they are now."""
        self._carry_out()
        return self._tiled

    @property
    def conductances(self) -> FloatArray:
        """Conductances now, (polarity, row, column) siemens, those of cells that are not formed yet included."""
        self._carry_out()
        return self._aging.seen(self._stress.conductances)

    @property
    def seen_siemens(self) -> FloatArray:
        """Conductances that the circuit was last computed with, (polarity, row, column)."""
        self._carry_out()
        return self._seen_siemens

    @property
    def loading_siemens(self) -> FloatArray:
        """Conductances that load the lines as those that the circuit sees do, (polarity, row, column).

        Cells of pairs that move apart by as much as each other load them alike.
        """
        return self._seen_siemens

    @property
    def ideal_wires(self) -> bool:
        """Whether no resistance stands between the cells and the ports."""
        return self._tiled.ideal_wires

    def port_admittance(self) -> FloatArray:
        """Admittance of all ports of a single array, word lines first, (lines, lines) siemens.

        Raises:
            CapabilityError: the cells' law is curved.
        """
        return self._circuit.port_admittance()

    def is_matrix(self, direction: Direction = "forward") -> bool:
        """Whether ``weights`` is all there is to say: proportional cells, and sums that are not digitised."""
        return self._tiled.proportional and not self._tiled.digitised(direction)

    def weights(self, direction: Direction = "forward", dtype: npt.DTypeLike = np.float64) -> FloatArray:
        """Effective weights, (driven, sensed): forward (rows, columns), backward (columns, rows).

        Raises:
            CapabilityError: the cells' law is curved.
        """
        self._carry_out()
        key = direction, np.dtype(dtype)
        self._precision = key[1]
        if key not in self._weights:
            self._weights[key] = self._effective(*key)
        return self._weights[key]

    def sums(self, lines: FloatArray) -> FloatArray:
        """``lines`` (batch, row) times the effective weights, (batch, column), in the precision of ``lines``.

        Of the lines that were asked for last, the same array, outer products that were written since cost little.
        """
        change = self._outer.change
        if self._summed is None or self._summed[0] is not lines:
            base = lines @ self.weights(dtype=lines.dtype)
            self._summed, self._overlap = (lines, base), None
            return base
        base = self._summed[1]
        if change is None:
            return base
        if self._overlap is None or self._overlap[0] is not change.rows:
            self._overlap = change.rows, lines @ change.rows.T.astype(lines.dtype, copy=False)
        factor = lines.dtype.type(change.factor / self._unit_siemens)
        return base + (self._overlap[1] * factor) @ change.columns.astype(lines.dtype, copy=False)

    def _effective(self, direction: Direction, dtype: np.dtype[Any]) -> FloatArray:
        if dtype == np.float64:
            return np.ascontiguousarray(self._circuit.matrix(direction) / self._unit_siemens)
        if self.ideal_wires and direction == "backward":
            return self.weights("forward", dtype).T
        if self._tiled.cells_alone and len(self._seen_siemens) == 2:
            # Imported on first use: compiling and loading kernels takes a while.
            from emulators.memristors.outright_kernels import difference

            out = np.empty(self._seen_siemens.shape[1:], dtype=dtype)
            difference(self._seen_siemens, self._unit_siemens, out)
            return out
        return self.weights(direction).astype(dtype)

    def read(
        self,
        volts: FloatArray,
        direction: Direction = "forward",
        start: tuple[CrossbarSolution, ...] = (),
        *,
        digitise: bool = True,
    ) -> PairRead:
        """Currents (batch, sensed) at voltages (batch, driven); ``start``: the states of an earlier read of as many.

        ``digitise``: whether tiles' converters round, where there are any.

        Raises:
            ConvergenceError: a tile of curved cells was not solved.
        """
        return self._circuit.read(volts, direction, start, digitise=digitise)

    def small_signal(self, volts: FloatArray, direction: Direction, states: tuple[CrossbarSolution, ...]) -> FloatArray:
        """Change of currents with voltages, (batch, driven, sensed) siemens, at the states that a read left."""
        return self._circuit.small_signal(volts, direction, states)

    def analytic(self, direction: Direction) -> tuple[tuple[float, float], FloatArray] | None:
        """(a, b) in 1/V and siemens (driven, sensed) where currents are phi(volts) @ siemens, sums not rounded.

        phi(v) = (exp(a v) - exp(-b v))/(a + b), or v for a = b = 0; None for any other circuit.
        """
        return self._circuit.analytic(direction)

    def rounding_amperes(self, direction: Direction) -> float:
        """Largest rounding error of a read, by converters of tiles."""
        return self._tiled.rounding_amperes(direction)

    def write(self, request: WriteRequest) -> WriteReport:
        """Carry out a checked write."""
        if request.apart_siemens is not None:
            return self._move_apart(request.apart_siemens)
        self._carry_out()
        if request.pulses is not None:
            report = self._stress.pulse(np.asarray(request.pulses))
        elif request.reset is not None:
            report = self._stress.reset(np.asarray(request.reset))
        else:
            report = self._stress.set(np.asarray(request.target_siemens))
        self._changed()
        return report

    def _move_apart(self, apart: OuterProducts) -> WriteReport:
        # Cells that are not seen as they are, in a fault say, are gone over at once.
        plain = self._now_siemens is self._devices.conductances
        if plain and self._outer.wait(apart):
            return WriteReport(0, self._nothing)
        self._carry_out()
        return WriteReport(0, self._nothing, self._move_cells(apart))

    def _carry_out(self) -> None:
        """Move the cells by what waits."""
        if self._outer.change is not None:
            self._move_cells(self._outer.change)

    def _move_cells(self, apart: OuterProducts) -> int:
        """Move all cells by outer products; how many weights were held at the end of the window."""
        # Imported on first use: compiling and loading kernels takes a while.
        from emulators.memristors.outright_kernels import held_pairs, move_apart

        # Before anything asks for the cells again.
        self._outer.begin(None)
        before, unit = self._devices.conductances, self._unit_siemens
        low, high = self._devices.window_siemens
        columns = before.shape[2]
        after, weights = self._memory.empty(before.shape), self._memory.empty(before.shape[1:], self._precision)
        sums, uneven = LineSums.empty(before.shape), np.zeros(columns)
        least, most = np.full(columns, high), np.full(columns, low)
        moves = before, np.ascontiguousarray(apart.product), apart.factor, low, high
        move_apart(*moves, unit, after, weights, *sums, least, most, uneven)
        held = int(held_pairs(*moves)) if least.min() < low or most.max() > high else 0
        after.setflags(write=False)
        self._devices.take(after)
        self._changed()
        if self._now_siemens is after:
            self._weights["forward", self._precision] = weights
            self.meter.summed(after, sums)
            self._outer.begin(np.maximum(2.0 * np.minimum(least - low, high - most), 0.0))
            self.pair_siemens = low + high if uneven.max() <= EVEN * (low + high) else None
        return held

    def pass_time(self, seconds: float, readings: int) -> None:
        """Count seconds, and readings of every cell; ``age`` lets them act."""
        self._aging.pass_time(seconds, readings)

    def scale(self, factor: float) -> None:
        """Let all cells be seen as ``factor`` times what they are, see ``Aging.scale``."""
        self._carry_out()
        self._aging.scale(factor)

    def disturb(self, fraction: float) -> None:
        """Move all cells by a fraction of their way to the upper end of the window: a fault."""
        self._carry_out()
        self._aging.disturb(fraction)

    @property
    def forms(self) -> bool:
        """Whether cells leave the factory unformed."""
        return self._stress.forms

    @property
    def formed(self) -> BoolArray:
        """Cells that are formed, (polarity, row, column); a copy."""
        return self._stress.formed.copy()

    @property
    def forming_pulses(self) -> IntArray:
        """Forming pulses that each cell was given, (polarity, row, column); a copy."""
        return self._stress.forming_pulses.copy()

    def age(self) -> bool:
        """Let the time and the readings since the last call act on the cells; whether the circuit changed."""
        before = self._seen_siemens
        if self._aging.apply():
            self._changed()
        return self._seen_siemens is not before

    def _changed(self) -> None:
        self._writes_since_refresh += 1
        refresh = self._wires.refresh
        now = self._now_siemens = self.conductances
        self._outer.begin(None)
        self.pair_siemens = None
        if refresh == "every_write":
            due = True
        elif refresh >= 1:
            due = self._writes_since_refresh >= refresh
        else:
            due = bool(np.linalg.norm(now - self._seen_siemens) > refresh * np.linalg.norm(self._seen_siemens))
        if due:
            self._writes_since_refresh = 0
            self._see(now)

    def _see(self, siemens: FloatArray) -> None:
        self._seen_siemens = siemens
        self._tiled.program(siemens)
        self._weights, self._summed = {}, None

    def snapshot(self) -> Snapshot:
        """Everything that changes, the generator included."""
        self._carry_out()
        return {
            "devices": self._devices.snapshot(),
            "stress": self._stress.snapshot(),
            "aging": self._aging.snapshot(),
            "meter": self.meter.snapshot(),
            "generator": self._rng.bit_generator.state,
            "seen_siemens": self._seen_siemens,
            "writes_since_refresh": self._writes_since_refresh,
            "known": self._known(),
        }

    def _known(self) -> FloatArray:
        """What passes over the cells have left to be used again, NaN where nothing has: its last bits count."""
        _, rows, columns = self._devices.shape
        known = np.full(1 + rows + 2 * columns, np.nan)
        if self.pair_siemens is not None:
            known[0] = self.pair_siemens
        if self._outer.room is not None:
            known[1 : 1 + columns] = self._outer.room
        sums = self.meter.sums_of(self._seen_siemens)
        if sums is not None:
            known[1 + columns :] = np.concatenate(sums)
        return known

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back.

        Raises:
            InputError: one of another version.
        """
        if "known" not in snapshot:
            raise InputError("snapshot: one of an earlier version, without what is known of the cells; begin a new run")
        self._outer.begin(None)
        self.pair_siemens = None
        self._devices.restore(snapshot["devices"])
        self._stress.restore(snapshot["stress"])
        self._aging.restore(snapshot["aging"])
        self.meter.restore(snapshot["meter"])
        self._rng.bit_generator.state = snapshot["generator"]
        self._writes_since_refresh = int(snapshot["writes_since_refresh"])
        self._see(snapshot["seen_siemens"])
        self._now_siemens = self.conductances
        _, rows, columns = self._devices.shape
        pair, room, *sums = np.split(snapshot["known"], np.cumsum([1, columns, rows]))
        self.pair_siemens = None if np.isnan(pair[0]) else float(pair[0])
        self._outer.begin(None if np.isnan(room).any() else room.copy())
        if not any(np.isnan(one).any() for one in sums):
            self.meter.summed(self._seen_siemens, LineSums(*(one.copy() for one in sums)))
