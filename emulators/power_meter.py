"""Power that flows into arrays, from the voltages of their lines and the conductances of their cells.

Energy is what the sources put in: the sum over the ports of V I, which by conservation is what cells, wires and
terminations dissipate.
"""

from typing import NamedTuple, Protocol, Self, final

import numpy as np

from emulators.config import TilesConfig, WiresConfig
from emulators.crossbar import Crossbar
from emulators.memristors.cell_law import CellLaw, MemristorLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.tiling import leaking
from substrate.arrays import BoolArray, FloatArray
from substrate.contract import Snapshot
from substrate.errors import InputError

WIRE_REFRESH = 0.05
"""Relative change of an array's conductances beyond which the share of its wires is computed anew.

The wires' share is a correction of some percent, and it moves with the cells: what is left out is second order.
"""

FEW_VECTORS = 8
"""Up to which a quadratic form takes as long as its matrix takes to be read, of which half will do."""

CELLS_AT_ONCE = 1_000_000
"""Curved cells whose currents are computed at a time."""


class MeteredArray(Protocol):
    """An array that tells what flows into it."""

    @property
    def loading_siemens(self) -> FloatArray:
        """(polarity, row, column) siemens that load the lines as the cells that the circuit sees now do."""

    @property
    def pair_siemens(self) -> float | None:
        """What the cells of each pair come to together, where that is known to be the same for all."""

    @property
    def seen_siemens(self) -> FloatArray:
        """(polarity, row, column) siemens that the circuit sees now."""

    @property
    def meter(self) -> "PowerMeter":
        """Of this array."""


class LineSums(NamedTuple):
    """Siemens of all cells of each word line (row,) and bit line (column,), both polarities together."""

    rows: FloatArray
    columns: FloatArray

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Self:
        """Zeros for an array of (polarity, row, column)."""
        return cls(np.zeros(shape[1]), np.zeros(shape[2]))


@final
class PowerMeter:
    """Power that flows through all ports into arrays of one shape, which share their driven lines.

    Cells are taken at the voltages of their lines, and the share of wires and terminations is added: the exact
    admittance of the ports less that of the bare cells. For curved cells that share is the one of their conductances
    at 0 V.

    Args:
        wires: of the array, or of each of its tiles.
        cell: law of all cells; ohmic by default.
        tiles: physical arrays that the array is laid over; None is one of its own size.
    """

    def __init__(self, wires: WiresConfig, cell: CellLaw | None = None, tiles: TilesConfig | None = None) -> None:
        self._wires = wires
        self.cell = cell or OhmicCell()
        self._tiles = tiles
        self._of: FloatArray | None = None
        self._linear = np.zeros((1, 1, 1))
        self._is_linear = True
        self._admittances: dict[tuple[bool, bool], FloatArray] = {}
        self._line_sums: LineSums | None = None
        # Of how many mirrored rows, and what they put into the columns.
        self._between: tuple[int, FloatArray] | None = None
        # Held rows, the squares of their volts times the conductances on them, and what they put into the columns.
        self._transferred: tuple[FloatArray, float, FloatArray] | None = None
        self._calibrated: FloatArray | None = None
        self._corrections: dict[tuple[bool, bool], FloatArray] = {}
        self._folded: dict[int, tuple[FloatArray, FloatArray, FloatArray]] = {}

    def watts(
        self, siemens: FloatArray, rows: FloatArray | None, columns: FloatArray | None, mirrored: int = 0
    ) -> float:
        """Power summed over vectors: sum of V I over the ports.

        Args:
            siemens: (polarity, row, column); replaced, never changed in place, between calls.
            rows: (vector, row) volts behind the source resistance; None: virtual grounds behind the sense resistance.
            columns: (vector, column) likewise. Both given: held directly, without terminations; then each of the rows
                may have several columns, (vector * time, column), over which the power is summed.
            mirrored: so many rows at the front have the volts of as many behind them, with the other sign.

        Raises:
            InputError: neither rows nor columns.
        """
        if siemens is not self._of:
            self._see(siemens)
        if rows is not None and columns is not None:
            if self._is_linear:
                return max(self._both(rows, columns, mirrored), 0.0)
            rows = np.repeat(rows, len(columns) // max(1, len(rows)), axis=0)
            volts = np.concatenate([rows, columns], axis=1)
        elif rows is not None:
            volts = rows
        elif columns is not None:
            volts = columns
        else:
            raise InputError("rows, columns: expected the volts of either, or both")
        sides = rows is not None, columns is not None
        if not self._is_linear:
            watts = self._curved(rows, columns)
            if not self._ideal:
                watts += _quadratic(self._correction(*sides), volts)
        elif self._ideal:
            watts = float(np.einsum("vi,vi->i", volts, volts) @ self._line_sum(sides[0]))
        else:
            if sides not in self._admittances:
                self._admittances[sides] = self._admittance(*sides)
            watts = _quadratic(self._admittances[sides], volts)
        # Rounding of a difference of large terms.
        return max(watts, 0.0)

    def plain(self, siemens: FloatArray) -> bool:
        """Whether lines driven alone take the sum of their squared volts times their cells' conductances."""
        if siemens is not self._of:
            self._see(siemens)
        return self._is_linear and self._ideal

    def watts_of_squares(self, siemens: FloatArray, squares: FloatArray, *, rows: bool) -> float:
        """``watts`` of a ``plain`` array, from squares (line,) of the volts on rows or columns, summed over vectors."""
        if siemens is not self._of:
            self._see(siemens)
        return float(squares @ self._line_sum(rows))

    def _both(self, rows: FloatArray, columns: FloatArray, mirrored: int) -> float:
        """Proportional cells between held rows and columns: sum g (r - c)^2, as squares and products, and the wires."""
        times = len(columns) // max(1, len(rows))
        if self._transferred is None or self._transferred[0] is not rows:
            squares = float(np.einsum("vi,vi->i", rows, rows) @ self._line_sum(rows=True))
            held = rows
            if not self._ideal:
                held = np.concatenate([rows[:, :mirrored], rows[:, 2 * mirrored :]], axis=1)
                squares += _quadratic(self._blocks(mirrored)[0], held)
            self._transferred = rows, squares, held @ self._transfer(mirrored)
        _, squares, transferred = self._transferred
        crossed = columns if times == 1 else columns.reshape(len(rows), times, -1).sum(axis=1)
        below = float(np.einsum("vi,vi->i", columns, columns) @ self._line_sum(rows=False))
        if not self._ideal:
            below += _quadratic(self._blocks(mirrored)[2], columns)
        return times * squares + below - 2.0 * float(np.vdot(transferred, crossed))

    def _transfer(self, mirrored: int) -> FloatArray:
        """Siemens from held rows, one for each pair of mirrored ones, to columns that are held too."""
        if self._between is None or self._between[0] != mirrored:
            total = self._linear[0] if len(self._linear) == 1 else self._linear.sum(axis=0)
            if not self._ideal:
                front = total[:mirrored] - total[mirrored : 2 * mirrored]
                total = np.concatenate([front, total[2 * mirrored :]]) - self._blocks(mirrored)[1]
            self._between = mirrored, total
        return self._between[1]

    def _blocks(self, mirrored: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What wires add to the admittance between rows, from columns to rows, and between columns, siemens.

        Of mirrored rows (v, -v, w) what belongs to (v, w) alone.
        """
        if mirrored not in self._folded:
            correction, count = self._correction(True, True), self._linear.shape[1]
            rest = np.arange(2 * mirrored, len(correction))
            first = np.concatenate([np.arange(mirrored), rest])
            folded = correction[:, first]
            folded[:, :mirrored] -= correction[:, mirrored : 2 * mirrored]
            half = folded[first]
            half[:mirrored] -= folded[mirrored : 2 * mirrored]
            rows = count - mirrored
            self._folded[mirrored] = half[:rows, :rows].copy(), half[:rows, rows:].copy(), half[rows:, rows:].copy()
        return self._folded[mirrored]

    def _line_sum(self, rows: bool) -> FloatArray:
        """Siemens of all cells of each word line, or bit line."""
        if self._line_sums is None:
            # Imported on first use: compiling and loading kernels takes a while.
            from emulators.memristors.outright_kernels import line_sums

            self._line_sums = LineSums.empty(self._linear.shape)
            line_sums(self._linear, *self._line_sums)
        return self._line_sums.rows if rows else self._line_sums.columns

    def summed(self, siemens: FloatArray, sums: LineSums) -> None:
        """Take the sums over the lines of ``siemens`` from whoever has just gone over all of its cells."""
        if siemens is not self._of:
            self._see(siemens)
        if self._linear is siemens:
            self._line_sums = sums

    def siemens_between(self, siemens: FloatArray, rows: BoolArray, columns: BoolArray) -> float:
        """Of all cells where the word lines ``rows`` (row,) and the bit lines ``columns`` (column,) meet, added up."""
        if siemens is not self._of:
            self._see(siemens)
        if 2 * np.count_nonzero(columns) < len(columns):
            return float(siemens[:, :, columns].sum(axis=(0, 2)) @ rows)
        total = float(self._line_sum(rows=True) @ rows)
        return total if columns.all() else total - float(siemens[:, :, ~columns].sum(axis=(0, 2)) @ rows)

    def sums_of(self, siemens: FloatArray) -> LineSums | None:
        """The sums over the lines of ``siemens``, where they are known."""
        return self._line_sums if siemens is self._of and self._linear is siemens else None

    def all_cells_watts(self, siemens: FloatArray, volts: float) -> float:
        """The sum of ``cell_watts`` over all cells."""
        if isinstance(self.cell, OhmicCell):
            if siemens is not self._of:
                self._see(siemens)
            # These sums are there already where the network has settled, or will be wanted when it does.
            return volts**2 * float(self._line_sum(rows=True).sum())
        return float(self.cell_watts(siemens, volts).sum())

    def cell_watts(self, siemens: FloatArray, volts: FloatArray | float) -> FloatArray:
        """Power of cells, each by itself at ``volts`` (broadcast with ``siemens``) by their law; wires left out."""
        return np.asarray(volts * self.cell.current(volts, siemens))

    @property
    def _ideal(self) -> bool:
        return not (self._wires.segment_ohms or self._wires.source_ohms or self._wires.sense_ohms)

    def _see(self, siemens: FloatArray) -> None:
        self._of = siemens
        linear = self.cell.linear_conductances(siemens)
        self._is_linear = linear is not None
        self._linear = siemens if linear is None else linear
        self._admittances = {}
        self._line_sums = None
        self._transferred = self._between = None
        if self._calibrated is not None:
            moved = (self._linear - self._calibrated).ravel()
            first = self._calibrated.ravel()
            if moved @ moved > WIRE_REFRESH**2 * (first @ first):
                self._calibrated = None
                self._corrections, self._folded = {}, {}

    def _admittance(self, rows: bool, columns: bool) -> FloatArray:
        """Of the ports of the side that is driven, siemens: bare cells as they are now, and the share of wires."""
        admittance = self._correction(rows, columns).copy()
        admittance.reshape(-1)[:: len(admittance) + 1] += self._linear.sum(axis=(0, 2) if rows else (0, 1))
        return admittance

    def _curved(self, rows: FloatArray | None, columns: FloatArray | None) -> float:
        """What bare cells take at the voltages of their lines."""
        if isinstance(self.cell, MemristorLaw):
            if columns is None and rows is not None:
                current = rows * self.cell.current(rows, 1.0)
                return float(current.sum(axis=0) @ self._linear.sum(axis=(0, 2)))
            if rows is None and columns is not None:
                current = -columns * self.cell.current(-columns, 1.0)
                return float(current.sum(axis=0) @ self._linear.sum(axis=(0, 1)))
        vectors = len(rows if rows is not None else columns if columns is not None else ())
        step = max(1, CELLS_AT_ONCE // self._linear.size)
        watts = 0.0
        for start in range(0, vectors, step):
            part = slice(start, start + step)
            upper = np.zeros((1, 1, 1)) if rows is None else rows[part, :, None]
            lower = np.zeros((1, 1, 1)) if columns is None else columns[part, None, :]
            across = np.broadcast_to((upper - lower)[:, None], (len(upper - lower), *self._linear.shape))
            watts += float(np.sum(across * self.cell.current(across, self._linear)))
        return watts

    def _correction(self, rows: bool, columns: bool) -> FloatArray:
        """What wires and terminations add to the admittance of the driven ports (driven, driven), siemens."""
        if self._calibrated is None:
            self._calibrated = self._linear
        if (rows, columns) not in self._corrections:
            calibrated = self._calibrated
            _, row_count, column_count = calibrated.shape
            tiles = self._tiles or TilesConfig(rows=row_count, columns=column_count)
            total = np.zeros((row_count + column_count,) * 2)
            places = np.arange(len(total))
            for top in range(0, row_count, tiles.rows):
                for left in range(0, column_count, tiles.columns):
                    part = np.s_[top : top + tiles.rows], np.s_[left : left + tiles.columns]
                    ports = np.concatenate([places[:row_count][part[0]], places[row_count:][part[1]]])
                    for one in calibrated:
                        total[np.ix_(ports, ports)] += self._of_tile(one[part], rows, columns)
            driven = slice(0 if rows else row_count, None if columns else row_count)
            self._corrections[rows, columns] = total[driven, driven].copy()
        return self._corrections[rows, columns]

    def _of_tile(self, siemens: FloatArray, rows: bool, columns: bool) -> FloatArray:
        """The same for all ports of one tile; for driven ones the others are grounded."""
        wires = self._wires
        count = siemens.shape[0]
        circuit = Crossbar(leaking(siemens), wires.segment_ohms, wires.segment_ohms, tolerance=1e-8)
        admittance = circuit.port_admittance()
        if not (rows and columns):
            # Ports at V behind T: I = Y (V - T I), so I = (1 + Y T)^-1 Y V.
            row_ohms, column_ohms = wires.source_ohms, wires.sense_ohms
            if columns:
                row_ohms, column_ohms = column_ohms, row_ohms
            behind = np.concatenate([np.full(count, row_ohms), np.full(siemens.shape[1], column_ohms)])
            admittance = np.linalg.solve(np.eye(len(behind)) + admittance * behind, admittance)
        return np.asarray(admittance - bare_admittance(siemens))

    def snapshot(self) -> Snapshot:
        """What the wires' share was computed for."""
        return {"calibrated": self._calibrated}

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back."""
        self._calibrated = snapshot["calibrated"]
        self._corrections, self._folded = {}, {}
        self._of = None


def bare_admittance(siemens: FloatArray) -> FloatArray:
    """(line, line) siemens: admittance of all ports, rows first, of cells without wires."""
    count = siemens.shape[0]
    out = np.diag(np.concatenate([siemens.sum(axis=1), siemens.sum(axis=0)]))
    out[:count, count:] = -siemens
    out[count:, :count] = -siemens.T
    return out


def _quadratic(matrix: FloatArray, volts: FloatArray) -> float:
    """Sum of v^T M v over vectors, of a symmetric M."""
    if len(volts) > FEW_VECTORS:
        return float(np.vdot(volts @ matrix, volts))
    # Imported on first use: compiling and loading kernels takes a while.
    from emulators.quadratic_kernels import symmetric_form

    return float(symmetric_form(matrix, np.ascontiguousarray(volts)))
