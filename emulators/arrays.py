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
from emulators.power_meter import PowerMeter
from emulators.tiling import PairRead, TiledPair
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.capabilities import WriteRequest
from substrate.contract import Direction, Snapshot, WriteReport


@final
class DifferentialArray:
    """Two crossbars of equal shape whose currents are subtracted; w = (g+ - g-)/unit as its ports see it. Or one.

    Where currents are proportional to voltages, effective matrices (wires and terminations included) carry the circuit;
    they are computed anew as ``wires.refresh`` says, and only when a conductance has changed. Other cells, and tiles
    whose sums are digitised, are read (``read``).

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
        devices: the cells.
        aging: what time and readings do to them; ``age`` lets it act.
        meter: of the power that flows into the array.
        now_siemens: ``conductances`` as of the last write, or the last time that cells aged.
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
        self.devices = Devices((polarities, *shape), cells.window_siemens, update, rng, cells.spread, cells.stuck)
        self._stress = Stress(self.devices, cells, wires, tiles, rng)
        self.aging = Aging(self.devices, surroundings)
        self.meter = PowerMeter(wires, cells.cell(), tiles)
        self._writes_since_refresh = 0
        self._seen_siemens = self.now_siemens = self.conductances
        self._circuit = TiledPair(self._seen_siemens, wires, cells.cell(), tiles)
        self._weights: dict[tuple[Direction, np.dtype[Any]], FloatArray] = {}

    @property
    def conductances(self) -> FloatArray:
        """Conductances now, (polarity, row, column) siemens, those of cells that are not formed yet included."""
        return self.aging.seen(self._stress.conductances)

    @property
    def seen_siemens(self) -> FloatArray:
        """Conductances that the circuit was last computed with, (polarity, row, column)."""
        return self._seen_siemens

    @property
    def ideal_wires(self) -> bool:
        """Whether no resistance stands between the cells and the ports."""
        return self._circuit.ideal_wires

    def port_admittance(self) -> FloatArray:
        """Admittance of all ports of a single array, word lines first, (lines, lines) siemens.

        Raises:
            CapabilityError: the cells' law is curved.
        """
        return self._circuit.port_admittance()

    def is_matrix(self, direction: Direction = "forward") -> bool:
        """Whether ``weights`` is all there is to say: proportional cells, and sums that are not digitised."""
        return self._circuit.proportional and not self._circuit.digitised(direction)

    def weights(self, direction: Direction = "forward", dtype: npt.DTypeLike = np.float64) -> FloatArray:
        """Effective weights, (driven, sensed): forward (rows, columns), backward (columns, rows).

        Raises:
            CapabilityError: the cells' law is curved.
        """
        key = direction, np.dtype(dtype)
        if key not in self._weights:
            self._weights[key] = self._effective(*key)
        return self._weights[key]

    def _effective(self, direction: Direction, dtype: np.dtype[Any]) -> FloatArray:
        if dtype == np.float64:
            return np.ascontiguousarray(self._circuit.matrix(direction) / self._unit_siemens)
        if self.ideal_wires and direction == "backward":
            return self.weights("forward", dtype).T
        if self._circuit.cells_alone and len(self._seen_siemens) == 2:
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
        return self._circuit.rounding_amperes(direction)

    def write(self, request: WriteRequest) -> WriteReport:
        """Carry out a checked write."""
        if request.pulses is not None:
            report = self._stress.pulse(np.asarray(request.pulses))
        elif request.reset is not None:
            report = self._stress.reset(np.asarray(request.reset))
        else:
            report = self._stress.set(np.asarray(request.target_siemens))
        self._changed()
        return report

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
        if self.aging.apply():
            self._changed()
        return self._seen_siemens is not before

    def _changed(self) -> None:
        self._writes_since_refresh += 1
        refresh = self._wires.refresh
        now = self.now_siemens = self.conductances
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
        self._circuit.program(siemens)
        self._weights = {}

    def snapshot(self) -> Snapshot:
        """Everything that changes, the generator included."""
        return {
            "devices": self.devices.snapshot(),
            "stress": self._stress.snapshot(),
            "aging": self.aging.snapshot(),
            "meter": self.meter.snapshot(),
            "generator": self._rng.bit_generator.state,
            "seen_siemens": self._seen_siemens,
            "writes_since_refresh": self._writes_since_refresh,
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back."""
        self.devices.restore(snapshot["devices"])
        self._stress.restore(snapshot["stress"])
        self.aging.restore(snapshot["aging"])
        self.meter.restore(snapshot["meter"])
        self._rng.bit_generator.state = snapshot["generator"]
        self._writes_since_refresh = int(snapshot["writes_since_refresh"])
        self._see(snapshot["seen_siemens"])
        self.now_siemens = self.conductances
