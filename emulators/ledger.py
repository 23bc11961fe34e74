"""Energy and time of the emulated device, from the voltages and conductances of its own circuit.

Energy is what the sources put in: the sum over the ports of V I, which by conservation is what cells, wires and
terminations dissipate. States are taken as settled for the whole of a settling time: the charge of the lines, orders
below for settling times of many time constants, is left out. Writing by setting cells outright has no circuit, and
costs nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, final

import numpy as np

from emulators.config import LimitsConfig, OperationConfig, TilesConfig, WiresConfig
from emulators.crossbar import Crossbar
from emulators.memristors.cell_law import CellLaw, MemristorLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.tiling import leaking
from substrate.arrays import FloatArray, IntArray
from substrate.contract import Snapshot
from substrate.errors import InputError
from substrate.ledger import Ledger
from substrate.network import Coupling, Network
from substrate.tones import SamplingPlan

WIRE_REFRESH = 0.05
"""Relative change of an array's conductances beyond which the share of its wires is computed anew.

The wires' share is a correction of some percent, and it moves with the cells: what is left out is second order.
"""

CELLS_AT_ONCE = 1_000_000
"""Curved cells whose currents are computed at a time."""

NEURONS = "neurons"
"""The part that static power is booked on."""


class MeteredArray(Protocol):
    """An array that tells what flows into it."""

    @property
    def seen_siemens(self) -> FloatArray:
        """(polarity, row, column) siemens that the circuit sees now."""

    @property
    def meter(self) -> "PowerMeter":
        """Of this array."""


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
        self._cell = cell or OhmicCell()
        self._tiles = tiles
        self._of: FloatArray | None = None
        self._linear = np.zeros((1, 1, 1))
        self._is_linear = True
        self._admittances: dict[tuple[bool, bool], FloatArray] = {}
        self._calibrated: FloatArray | None = None
        self._corrections: dict[tuple[bool, bool], FloatArray] = {}

    def watts(self, siemens: FloatArray, rows: FloatArray | None, columns: FloatArray | None) -> float:
        """Power summed over vectors: sum of V I over the ports.

        Args:
            siemens: (polarity, row, column); replaced, never changed in place, between calls.
            rows: (vector, row) volts behind the source resistance; None: virtual grounds behind the sense resistance.
            columns: (vector, column) likewise. Both given: held directly, without terminations.

        Raises:
            InputError: neither rows nor columns.
        """
        if siemens is not self._of:
            self._see(siemens)
        if rows is not None and columns is not None:
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
        elif self._ideal and rows is not None and columns is not None:
            # As a quadratic form this would take a matrix of all ports, most of it zeros.
            total = self._linear.sum(axis=0)
            watts = float(
                np.einsum("vi,vi->i", rows, rows) @ total.sum(axis=1)
                + np.einsum("vi,vi->i", columns, columns) @ total.sum(axis=0)
                - 2.0 * np.vdot(rows @ total, columns)
            )
        elif self._ideal:
            sums = self._linear.sum(axis=(0, 2) if sides[0] else (0, 1))
            watts = float(np.einsum("vi,vi->i", volts, volts) @ sums)
        else:
            if sides not in self._admittances:
                self._admittances[sides] = self._admittance(*sides)
            watts = _quadratic(self._admittances[sides], volts)
        # Rounding of a difference of large terms.
        return max(watts, 0.0)

    def cell_watts(self, siemens: FloatArray, volts: FloatArray | float) -> FloatArray:
        """Power of cells, each by itself at ``volts`` (broadcast with ``siemens``) by their law; wires left out."""
        return np.asarray(volts * self._cell.current(volts, siemens))

    @property
    def _ideal(self) -> bool:
        return not (self._wires.segment_ohms or self._wires.source_ohms or self._wires.sense_ohms)

    def _see(self, siemens: FloatArray) -> None:
        self._of = siemens
        linear = self._cell.linear_conductances(siemens)
        self._is_linear = linear is not None
        self._linear = siemens if linear is None else linear
        self._admittances = {}
        if self._calibrated is not None:
            moved = (self._linear - self._calibrated).ravel()
            first = self._calibrated.ravel()
            if moved @ moved > WIRE_REFRESH**2 * (first @ first):
                self._calibrated = None
                self._corrections = {}

    def _admittance(self, rows: bool, columns: bool) -> FloatArray:
        """Of the driven ports, siemens: bare cells as they are now, and the share of wires."""
        if rows and columns:
            bare = _bare(self._linear.sum(axis=0))
            return bare if self._ideal else bare + self._correction(True, True)
        admittance = self._correction(rows, columns).copy()
        admittance.reshape(-1)[:: len(admittance) + 1] += self._linear.sum(axis=(0, 2) if rows else (0, 1))
        return admittance

    def _curved(self, rows: FloatArray | None, columns: FloatArray | None) -> float:
        """What bare cells take at the voltages of their lines."""
        if isinstance(self._cell, MemristorLaw):
            if columns is None and rows is not None:
                current = rows * self._cell.current(rows, 1.0)
                return float(current.sum(axis=0) @ self._linear.sum(axis=(0, 2)))
            if rows is None and columns is not None:
                current = -columns * self._cell.current(-columns, 1.0)
                return float(current.sum(axis=0) @ self._linear.sum(axis=(0, 1)))
        vectors = len(rows if rows is not None else columns if columns is not None else ())
        step = max(1, CELLS_AT_ONCE // self._linear.size)
        watts = 0.0
        for start in range(0, vectors, step):
            part = slice(start, start + step)
            upper = np.zeros((1, 1, 1)) if rows is None else rows[part, :, None]
            lower = np.zeros((1, 1, 1)) if columns is None else columns[part, None, :]
            across = np.broadcast_to((upper - lower)[:, None], (len(upper - lower), *self._linear.shape))
            watts += float(np.sum(across * self._cell.current(across, self._linear)))
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
        return np.asarray(admittance - _bare(siemens))

    def snapshot(self) -> Snapshot:
        """What the wires' share was computed for."""
        return {"calibrated": self._calibrated}

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back."""
        self._calibrated = snapshot["calibrated"]
        self._corrections = {}
        self._of = None


def _bare(siemens: FloatArray) -> FloatArray:
    """Admittance of all ports, rows first, of cells without wires."""
    count = siemens.shape[0]
    out = np.diag(np.concatenate([siemens.sum(axis=1), siemens.sum(axis=0)]))
    out[:count, count:] = -siemens
    out[count:, :count] = -siemens.T
    return out


def _quadratic(matrix: FloatArray, volts: FloatArray) -> float:
    """Sum of v^T M v over vectors."""
    return float(np.vdot(volts @ matrix, volts))


@final
@dataclass(frozen=True)
class Drive:
    """Line voltages of one array: vectors of volts on rows and columns (None: virtual ground), and their weight."""

    array: str
    rows: FloatArray | None
    columns: FloatArray | None
    weight: float


def input_rows(network: Network, inputs: FloatArray, volts_per_unit: float) -> FloatArray:
    """Volts on the word lines of the first array, (batch, row), for held volts (batch, input)."""
    return _row_volts(network.forward[0], inputs, volts_per_unit)


def line_drives(network: Network, held: FloatArray, nodes: FloatArray, volts_per_unit: float) -> Iterator[Drive]:
    """The voltages on the lines of all arrays, the weights such that watts sum to means over time, sums over the batch.

    An array that is read both ways spends half of the time on either.

    Args:
        network: topology.
        held: what ``input_rows`` gives.
        nodes: (batch, time, node) volts.
        volts_per_unit: volts of an activity of one.
    """
    times = nodes.shape[1]
    flat = nodes.reshape(-1, nodes.shape[2])
    for coupling in network.settling:
        first = coupling.source.start < 0
        rows = held if first else _row_volts(coupling, flat[:, coupling.source.nodes], volts_per_unit)
        columns = coupling.columns(flat[:, coupling.target.nodes])
        if network.resistive:
            if first and times > 1:
                rows = np.repeat(rows, times, axis=0)
            yield Drive(coupling.name, rows, columns, 1.0 / times)
            continue
        both_ways = network.feedback == "shared" and not first
        share = 0.5 if both_ways else 1.0
        yield Drive(coupling.name, rows, None, share if first else share / times)
        if both_ways:
            yield Drive(coupling.name, None, columns, share / times)


def _row_volts(coupling: Coupling, source: FloatArray, volts_per_unit: float) -> FloatArray:
    """``Coupling.lines`` in volts."""
    held = np.array(coupling.bias_lines) * volts_per_unit
    driven = coupling.driven(source)
    rows = np.empty((len(driven), coupling.shape[0]))
    rows[:, : coupling.source_lines], rows[:, coupling.source_lines :] = driven, held
    return rows


LEVELS = {"half": (0.5, 0.5), "third": (1 / 3, 2 / 3), "grounded": (0.0, 0.0)}
"""Unselected (word, bit) lines over the pulse's voltage; the selected word line is at it, the bit line at ground."""


def unselected_watts(
    meter: PowerMeter, siemens: FloatArray, counts: IntArray, volts: float, scheme: Literal["half", "third", "grounded"]
) -> float:
    """Power of all cells but the selected one, wires left out, summed over the pulses of ``counts``.

    A pulse V on cell (r, c) leaves V - bit on the other cells of its row, word on those of its column, and word - bit
    on the rest, with the lines of ``LEVELS``.

    Args:
        meter: of the array.
        siemens: (polarity, row, column), each polarity an array of its own.
        counts: (polarity, row, column) signed pulses.
        volts: amplitude.
        scheme: what unselected lines are held at.
    """
    word, bit = LEVELS[scheme]
    total = 0.0
    for sign in (1.0, -1.0):
        sent = np.maximum(sign * counts, 0.0)
        if not sent.any():
            continue
        in_row, in_column, rest = (
            meter.cell_watts(siemens, share * sign * volts) for share in (1.0 - bit, word, word - bit)
        )
        row = in_row.sum(axis=2, keepdims=True) - in_row
        column = in_column.sum(axis=1, keepdims=True) - in_column
        others = rest.sum(axis=(1, 2), keepdims=True) - rest.sum(axis=2, keepdims=True)
        others = others - rest.sum(axis=1, keepdims=True) + rest
        total += float(np.vdot(sent, row + column + others))
    return total


@final
class EnergyMeter:
    """Books what every operation of an emulated network costs, and keeps its clock.

    Args:
        network: topology.
        arrays: by the name of their coupling.
        operation: durations and voltages of operations.
        limits: what voltages default to.
        volts_per_unit: volts of an activity of one.
    """

    def __init__(
        self,
        network: Network,
        arrays: Mapping[str, MeteredArray],
        operation: OperationConfig,
        limits: LimitsConfig,
        volts_per_unit: float,
    ) -> None:
        self.ledger = Ledger(tuple(arrays), (NEURONS,))
        self._network = network
        self._arrays = arrays
        self._operation = operation
        self._reading_volts = operation.reading_volts or limits.read_volts
        self._pulse_volts = operation.pulse_volts or limits.write_volts
        self._volts_per_unit = volts_per_unit
        # The inputs, and what they put into their array, are the same for the free phase and the nudges after it.
        self._inputs = self._rows = np.zeros((0, 0))
        self._input_watts: tuple[FloatArray, float] | None = None

    @property
    def reading_volts(self) -> float:
        """What single cells are read at."""
        return self._reading_volts

    def settled(self, inputs: FloatArray, nodes: FloatArray) -> float:
        """Settling and one reading, of each sample in turn; (batch, 1, node) volts. Seconds that passed.

        ``inputs``: (batch, input) volts; another object for every batch.
        """
        operation = self._operation
        return self._states(inputs, nodes, operation.settle_seconds, operation.reading_seconds)

    def recorded(self, inputs: FloatArray, nodes: FloatArray, plan: SamplingPlan) -> float:
        """Settling into the steady state and a record of whole periods; one period (batch, time, node) volts."""
        return self._states(inputs, nodes, self._operation.settle_seconds, plan.periods / plan.frequency_hz)

    def _states(self, inputs: FloatArray, nodes: FloatArray, settle_seconds: float, read_seconds: float) -> float:
        watts = dict.fromkeys(self.ledger.arrays, 0.0)
        if inputs is not self._inputs:
            self._inputs, self._rows = inputs, input_rows(self._network, inputs, self._volts_per_unit)
            self._input_watts = None
        for drive in line_drives(self._network, self._rows, nodes, self._volts_per_unit):
            array = self._arrays[drive.array]
            siemens = array.seen_siemens
            if drive.rows is not self._rows or drive.columns is not None:
                watts[drive.array] += drive.weight * array.meter.watts(siemens, drive.rows, drive.columns)
                continue
            if self._input_watts is None or self._input_watts[0] is not siemens:
                self._input_watts = siemens, array.meter.watts(siemens, drive.rows, None)
            watts[drive.array] += drive.weight * self._input_watts[1]
        powers = np.fromiter(watts.values(), dtype=np.float64, count=len(watts))
        samples = len(nodes)
        for activity, seconds in (("settle", settle_seconds), ("read", read_seconds)):
            self.ledger.book_arrays(activity, powers * seconds, samples * seconds)
            self._elapse(activity, samples * seconds)
        return samples * (settle_seconds + read_seconds)

    def products(self, name: str, rows: FloatArray) -> float:
        """Readings of one array at (batch, row) volts, one after another. Seconds that passed."""
        array = self._arrays[name]
        seconds = self._operation.reading_seconds
        watts = array.meter.watts(array.seen_siemens, rows, None)
        return self._single(name, "read", watts * seconds, len(rows) * seconds)

    def cells_read(self, name: str) -> float:
        """Every cell by itself at the reading voltage, the cells of a word line at once. Seconds that passed."""
        array = self._arrays[name]
        siemens = array.seen_siemens
        seconds = self._operation.reading_seconds
        joules = float(array.meter.cell_watts(siemens, self._reading_volts).sum()) * seconds
        return self._single(name, "read", joules, siemens.shape[1] * seconds)

    def written(self, name: str, counts: IntArray, before: FloatArray, after: FloatArray, pulses: int) -> float:
        """Pulses of V I t each, I the mean of before and after the burst by the cells' law, stuck cells included.

        Half-selected cells take their share where ``operation.unselected`` says what their lines are held at; wires are
        left out.

        Args:
            name: of the array.
            counts: (polarity, row, column) signed pulses that were sent.
            before: (polarity, row, column) siemens.
            after: likewise.
            pulses: what moving cells took.
        """
        operation = self._operation
        sent = np.abs(counts)
        meter, volts = self._arrays[name].meter, self._pulse_volts * np.sign(counts)
        watts = 0.5 * (meter.cell_watts(before, volts) + meter.cell_watts(after, volts))
        joules = operation.pulse_seconds * float(np.vdot(sent.astype(np.float64), watts))
        if operation.unselected != "isolated":
            around = unselected_watts(meter, 0.5 * (before + after), counts, self._pulse_volts, operation.unselected)
            joules += operation.pulse_seconds * around
        slots = sent if operation.pulses_at_once == "cell" else sent.max(axis=(0, 2))
        return self._single(name, "write", joules, int(slots.sum()) * operation.pulse_seconds, pulses)

    def waited(self, seconds: float) -> float:
        """Nothing but time (and static power)."""
        self._elapse("wait", seconds)
        return seconds

    def _single(self, name: str, activity: str, joules: float, seconds: float, pulses: int = 0) -> float:
        self.ledger.book(name, activity, joules, seconds, pulses)
        self._elapse(activity, seconds)
        return seconds

    def _elapse(self, activity: str, seconds: float) -> None:
        self.ledger.elapse(activity, seconds)
        if self._operation.neuron_watts:
            joules = self._operation.neuron_watts * self._network.node_count * seconds
            self.ledger.book(NEURONS, activity, joules, seconds)
