"""A differential pair of matrices, or one, laid over physical tiles, each with wires and terminations of its own.

The cells of a matrix larger than a tile go to several; a tile that is not full uses the lines nearest to its ports, and
the cells of its unused lines are open, so it is the same circuit as a smaller array. Partial sums are added as currents
(one virtual ground takes them all) or as numbers, each tile's read by a converter.

Cells whose current is proportional to their voltage make the whole a matrix. So do, up to a transform of each line's
voltage, cells i = g phi(v) without wires. Any others go through Newton's method on every tile, begun from the states
that an earlier read left.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from emulators.config import TilesConfig, WiresConfig
from emulators.converters import Adc
from emulators.crossbar import Crossbar, CrossbarSolution
from emulators.crossbar_lines import Lines
from emulators.memristors.cell_law import CellLaw, MemristorLaw
from emulators.memristors.ohmic import OhmicCell
from substrate.arrays import BoolArray, FloatArray
from substrate.contract import Direction

NEWTON_TOLERANCE = 1e-12
"""Of a read of curved cells, relative to their currents: an equilibrium is solved to 1e-10 on top of it."""


LINEAR_TOLERANCE = 3e-10
"""Of effective matrices, which gives port currents right to better than 1e-9."""


OPEN_SIEMENS = 1e-24
"""Leak of the cells of a line that is wholly open: less than the rounding of any current, and solvable."""


@final
@dataclass(frozen=True)
class PairRead:
    """What a read of a pair gives.

    Attributes:
        amperes: (batch, sensed), difference of the two arrays' currents.
        saturated: (batch,), whether a tile's converter clipped.
        states: of every tile and polarity, to begin the next read of as many inputs from; empty where none are solved.
    """

    amperes: FloatArray
    saturated: BoolArray
    states: tuple[CrossbarSolution, ...]


@final
class TiledPair:
    """The circuit of one differential pair of matrices.

    Args:
        siemens: conductances (polarity, row, column), positive ones first; 1 or 2 polarities.
        wires: of every tile.
        cell: law of all cells.
        tiles: None is one tile of the matrix's own size.
    """

    def __init__(self, siemens: FloatArray, wires: WiresConfig, cell: CellLaw, tiles: TilesConfig | None) -> None:
        _, rows, columns = siemens.shape
        tiles = tiles or TilesConfig(rows=rows, columns=columns)
        self._tiles, self._wires, self._cell = tiles, wires, cell
        self._row_cuts = line_cuts(rows, tiles.rows)
        self._column_cuts = line_cuts(columns, tiles.columns)
        self.ideal_wires = not (wires.segment_ohms or wires.source_ohms or wires.sense_ohms)
        self._adc = Adc(tiles.adc_bits, tiles.adc_range_amperes, 0.0)
        self._matrices: dict[Direction, FloatArray] = {}
        self._circuits: list[Crossbar] | None = None
        self._given = siemens
        # Wires are all that its conversions use of this circuit.
        self._ohmic = self._crossbar(np.ones((1, 1)), None)

    def program(self, siemens: FloatArray) -> None:
        """Set all conductances (polarity, row, column)."""
        self._given = siemens
        self.__dict__.pop("_siemens", None)
        self._matrices = {}
        self._circuits = None

    @cached_property
    def _siemens(self) -> FloatArray:
        return leaking(self._given)

    @property
    def proportional(self) -> bool:
        """Whether currents are proportional to voltages, converters aside."""
        return self._cell.linear_conductances(self._siemens) is not None

    @property
    def cells_alone(self) -> bool:
        """Whether the conductances of the cells are all there is to the matrix."""
        return self.ideal_wires and isinstance(self._cell, OhmicCell)

    def rounding_amperes(self, direction: Direction) -> float:
        """Largest rounding error of a sum, by the converters of the tiles."""
        if not self.digitised(direction) or not self._tiles.adc_bits:
            return 0.0
        step = 2.0 * self._tiles.adc_range_amperes / float(2**self._tiles.adc_bits)
        return 0.5 * step * len(self._driven_cuts(direction))

    def port_admittance(self) -> FloatArray:
        """Admittance of all ports of the positive cells, (lines, lines) siemens, word lines first, no terminations.

        Tiles that share a line are joined at its port.

        Raises:
            CapabilityError: the cells' law is curved.
        """
        rows, columns = self._siemens.shape[1:]
        out = np.zeros((rows + columns, rows + columns))
        for tall, wide in itertools.product(self._row_cuts, self._column_cuts):
            lines = np.concatenate([np.arange(rows)[tall], rows + np.arange(columns)[wide]])
            out[np.ix_(lines, lines)] += self._crossbar(self._siemens[0, tall, wide], self._cell).port_admittance()
        return out

    def matrix(self, direction: Direction) -> FloatArray:
        """Differential conductances (driven, sensed) as the ports see them, of proportional cells.

        Raises:
            CapabilityError: the cells' law is curved.
        """
        if direction not in self._matrices:
            self._matrices[direction] = self._difference(self._siemens, self._cell, direction)
        return self._matrices[direction]

    def analytic(self, direction: Direction) -> tuple[tuple[float, float], FloatArray] | None:
        """(a, b) and matrix (driven, sensed) where sums, not rounded, are phi(volts) @ matrix; None elsewhere.

        phi(v) = (exp(a v) - exp(-b v))/(a + b), which is v for a = b = 0.
        """
        if self.proportional:
            return (0.0, 0.0), self.matrix(direction)
        if not (self.ideal_wires and isinstance(self._cell, MemristorLaw)):
            return None
        rising, falling = self._cell.exponents
        return (rising, falling) if direction == "forward" else (falling, rising), self._plain_difference(direction)

    def read(
        self,
        volts: FloatArray,
        direction: Direction,
        start: tuple[CrossbarSolution, ...] = (),
        *,
        digitise: bool = True,
    ) -> PairRead:
        """Currents at voltages (batch, driven); ``digitise``: whether converters round, where there are any."""
        parts, states = self._partial_sums(volts, direction, start)
        saturated = np.zeros(len(volts), dtype=np.bool_)
        if digitise and self.digitised(direction):
            converted, saturated = self._adc.convert(parts.transpose(1, 0, 2), _NO_NOISE)
            parts = converted.transpose(1, 0, 2)
        return PairRead(parts.sum(axis=0), saturated, states)

    def small_signal(self, volts: FloatArray, direction: Direction, states: tuple[CrossbarSolution, ...]) -> FloatArray:
        """Change of the currents with each voltage, (batch, driven, sensed) siemens, at the states that a read left.

        Rounding left aside.
        """
        if self.proportional:
            matrix = self.matrix(direction)
            return np.broadcast_to(matrix, (len(volts), *matrix.shape))
        if self.ideal_wires and isinstance(self._cell, MemristorLaw):
            slope = self._cell.slope(_signed(volts, direction), 1.0)
            return np.asarray(slope[:, :, None] * self._plain_difference(direction))
        sizes = (self._siemens.shape[1], self._siemens.shape[2])
        out = np.zeros((len(volts), *(sizes if direction == "forward" else sizes[::-1])))
        for (rows, columns, polarity), state in zip(self._places(), states, strict=True):
            slopes = self._cell.slope(state.cell_voltages, state.conductances)
            seen = self._ohmic.effective_conductances_of(slopes, direction)
            place = (rows, columns) if direction == "forward" else (columns, rows)
            out[:, *place] += -seen if polarity else seen
        return out

    def _places(self) -> Iterator[tuple[slice, slice, int]]:
        """Rows, columns and polarity of every physical array, in the order of their states."""
        return itertools.product(self._row_cuts, self._column_cuts, range(len(self._siemens)))

    def _partial_sums(
        self, volts: FloatArray, direction: Direction, start: tuple[CrossbarSolution, ...]
    ) -> tuple[FloatArray, tuple[CrossbarSolution, ...]]:
        """Currents of each tile along the sum, (tile, batch, sensed), and the states solved for."""
        if self.proportional:
            return self._products(volts, self.matrix(direction), direction), ()
        if self.ideal_wires and isinstance(self._cell, MemristorLaw):
            passed = self._cell.current(_signed(volts, direction), 1.0)
            return self._products(_signed(passed, direction), self._plain_difference(direction), direction), ()
        if self._circuits is None:
            self._circuits = [
                self._crossbar(self._siemens[polarity, rows, columns], self._cell)
                for rows, columns, polarity in self._places()
            ]
        forward = direction == "forward"
        driven_cuts = self._driven_cuts(direction)
        sums = np.zeros((len(driven_cuts), len(volts), self._siemens.shape[2 if forward else 1]))
        states = []
        for index, (circuit, place) in enumerate(zip(self._circuits, self._places(), strict=True)):
            driven, sensed, polarity = place if forward else (place[1], place[0], place[2])
            lines = Lines.forward(*circuit.shape) if forward else Lines.backward(*circuit.shape)
            state = circuit.solve(volts[:, driven], lines, start[index] if start else None)
            currents = state.bitline_currents if forward else state.wordline_currents
            sums[driven_cuts.index(driven)][:, sensed] += -currents if polarity else currents
            states.append(state)
        return sums, tuple(states)

    def _products(self, volts: FloatArray, matrix: FloatArray, direction: Direction) -> FloatArray:
        if not self.digitised(direction):
            return np.asarray(volts @ matrix)[None]
        return np.stack([volts[:, cut] @ matrix[cut] for cut in self._driven_cuts(direction)])

    def _plain_difference(self, direction: Direction) -> FloatArray:
        difference = _signed_sum(self._siemens)
        return difference if direction == "forward" else difference.T

    def _difference(self, siemens: FloatArray, cell: CellLaw, direction: Direction) -> FloatArray:
        linear = cell.linear_conductances(siemens)
        if linear is None or not self.ideal_wires:
            circuit = self._crossbar(np.ones((1, 1)), cell)
            seen = self._tile_by_tile(circuit, siemens, direction)
        else:
            seen = linear if direction == "forward" else linear.transpose(0, 2, 1)
        return np.ascontiguousarray(_signed_sum(seen))

    def _tile_by_tile(self, circuit: Crossbar, siemens: FloatArray, direction: Direction) -> FloatArray:
        """Effective conductances of both polarities, tiles of equal shape solved together."""
        out = np.empty_like(siemens)
        for rows, columns in itertools.product(_same(self._row_cuts), _same(self._column_cuts)):
            tall, wide = rows[0].stop - rows[0].start, columns[0].stop - columns[0].start
            place = (slice(None), slice(rows[0].start, rows[-1].stop), slice(columns[0].start, columns[-1].stop))
            shape = (len(siemens), len(rows), tall, len(columns), wide)
            stack = siemens[place].reshape(shape).transpose(0, 1, 3, 2, 4)
            seen = circuit.effective_conductances_of(stack.reshape(-1, tall, wide), direction)
            if direction == "backward":
                seen = seen.transpose(0, 2, 1)
            out[place] = seen.reshape(stack.shape).transpose(0, 1, 3, 2, 4).reshape(out[place].shape)
        return out if direction == "forward" else out.transpose(0, 2, 1)

    def _crossbar(self, siemens: FloatArray, cell: CellLaw | None) -> Crossbar:
        wires = self._wires
        curved = cell is not None and cell.linear_conductances(siemens) is None
        return Crossbar(
            siemens,
            wordline_resistance=wires.segment_ohms,
            bitline_resistance=wires.segment_ohms,
            source_resistance=wires.source_ohms,
            sense_resistance=wires.sense_ohms,
            cell=cell,
            tolerance=NEWTON_TOLERANCE if curved else LINEAR_TOLERANCE,
        )

    def _driven_cuts(self, direction: Direction) -> tuple[slice, ...]:
        return self._row_cuts if direction == "forward" else self._column_cuts

    def digitised(self, direction: Direction) -> bool:
        """Whether partial sums are read by converters."""
        return self._tiles.summation == "digital" and len(self._driven_cuts(direction)) > 1


_NO_NOISE = np.random.default_rng(0)
"""A converter draws nothing where it adds no noise."""


def _signed(volts: FloatArray, direction: Direction) -> FloatArray:
    """Cell voltages, word line less bit line, of driven lines against virtual grounds."""
    return volts if direction == "forward" else -volts


def _signed_sum(values: FloatArray) -> FloatArray:
    """Positive less negative ones, where there are any."""
    return np.asarray(values[0] - values[1]) if len(values) == 2 else values[0]


def leaking(siemens: FloatArray) -> FloatArray:
    """Conductances > 0: a tile may have lines without a single closed cell, which are no mistake here."""
    return siemens if siemens.all() else np.maximum(siemens, OPEN_SIEMENS)


def line_cuts(length: int, tile: int) -> tuple[slice, ...]:
    """The lines of each tile along an axis of ``length`` lines; the last one may not be full."""
    return tuple(slice(start, min(start + tile, length)) for start in range(0, length, tile))


def _same(cuts: tuple[slice, ...]) -> list[tuple[slice, ...]]:
    """The cuts of full tiles, and the one that is not full."""
    full = cuts[0].stop - cuts[0].start
    whole = tuple(cut for cut in cuts if cut.stop - cut.start == full)
    return [part for part in (whole, cuts[len(whole) :]) if part]
