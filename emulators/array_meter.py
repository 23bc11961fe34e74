"""Energy and time of operations on one array: reading its products or its cells, and writing it.

Where its lines have a capacitance C (``neurons.line_farads``), driving one to V costs C V^2, see ``emulators.ledger``.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.config import EmulatorConfig, TilesConfig
from emulators.memristors.ohmic import OhmicCell
from emulators.power_meter import LineSums, MeteredArray, PowerMeter
from emulators.tiling import line_cuts
from emulators.unselected import LEVELS, Scheme, unselected_watts
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.contract import Direction
from substrate.ledger import Ledger
from substrate.outer_products import OuterProducts

SAME = 1e-9
"""Relative difference of conductances that is rounding: such a cell is left as it is."""


@final
@dataclass(frozen=True)
class Written:
    """What a write did to an array, all (polarity, row, column).

    Attributes:
        counts: signed pulses that were sent.
        before: siemens.
        after: siemens.
        formed: cells that a forming pulse formed before.
        unformed: cells that one was given to in vain.
    """

    counts: IntArray
    before: FloatArray
    after: FloatArray
    formed: BoolArray
    unformed: BoolArray


@final
class ArrayMeter:
    """Books operations on single arrays, and the time that passes.

    Args:
        ledger: is booked on.
        arrays: by their names in the ledger.
        config: durations and voltages of operations.
        others: the same of arrays whose cells or pulses are others.
        static: a part of the ledger, and the watts that it takes all the time; None is none.
    """

    def __init__(
        self,
        ledger: Ledger,
        arrays: Mapping[str, MeteredArray],
        config: EmulatorConfig,
        static: tuple[str, float] | None = None,
        others: Mapping[str, EmulatorConfig] | None = None,
    ) -> None:
        self._ledger, self._arrays, self._operation = ledger, arrays, config.operation
        self._static = static
        self._line_farads = config.neurons.line_farads
        self._tiles = config.tiles
        self._configs = {name: (others or {}).get(name, config) for name in arrays}
        self.reading_volts = config.operation.reading_volts or config.limits.read_volts

    def products(self, name: str, volts: FloatArray, direction: Direction = "forward") -> float:
        """Readings of one array at (batch, driven) volts, one after another. Seconds that passed."""
        array = self._arrays[name]
        seconds = self._operation.reading_seconds
        rows, columns = (volts, None) if direction == "forward" else (None, volts)
        joules = array.meter.watts(array.seen_siemens, rows, columns) * seconds
        joules += self._line_farads * float(np.vdot(volts, volts))
        return self._single(name, "read", joules, len(volts) * seconds)

    def cells_read(self, name: str) -> float:
        """Every cell by itself at the reading voltage, the cells of a word line at once. Seconds that passed."""
        array = self._arrays[name]
        siemens = array.seen_siemens
        seconds, lines = self._operation.reading_seconds, siemens.shape[1]
        joules = array.meter.all_cells_watts(siemens, self.reading_volts) * seconds
        joules += lines * self._line_farads * self.reading_volts**2
        return self._single(name, "read", joules, lines * seconds)

    def written(self, name: str, write: Written, pulses: int) -> float:
        """Pulses of V I t each, I the mean of before and after the burst by the cells' law, stuck cells included.

        A forming pulse has the forming voltage, and ends at the current that limits it. Unselected cells take their
        share where ``operation.unselected`` says what their lines are held at; wires are left out.

        Args:
            name: of the array.
            write: what was done.
            pulses: what moving cells took.

        Returns:
            Seconds that passed.
        """
        meter, config = self._arrays[name].meter, self._configs[name]
        forming, scheme, pulse_volts = config.cells.forming, config.unselected, config.pulse_volts
        joules, slots = 0.0, 0
        before = write.before
        if forming is not None and (write.formed.any() or write.unformed.any()):
            volts = forming.pulse_volts
            tried = (write.formed | write.unformed).astype(np.int64)
            first = meter.cell_watts(before, volts)
            last = np.where(write.formed, volts * forming.compliance_amperes, first)
            selected = float(np.vdot(tried.astype(np.float64), 0.5 * (first + last)))
            spent, taken = self._pulses(meter, tried, before, volts, selected, scheme)
            joules, slots = spent, taken
            before = np.where(write.formed, forming.formed_siemens, before)
        signed = pulse_volts * np.sign(write.counts)
        watts = 0.5 * (meter.cell_watts(before, signed) + meter.cell_watts(write.after, signed))
        selected = float(np.vdot(np.abs(write.counts).astype(np.float64), watts))
        middle = 0.5 * (before + write.after)
        spent, taken = self._pulses(meter, write.counts, middle, pulse_volts, selected, scheme)
        seconds = (slots + taken) * self._operation.pulse_seconds
        return self._single(name, "write", joules + spent, seconds, pulses)

    def isolated(self, name: str) -> bool:
        """Whether a pulse on a cell of this array costs what flows through that cell, and in proportion to it."""
        proportional = isinstance(self._arrays[name].meter.cell, OhmicCell)
        return self._configs[name].unselected == "isolated" and proportional and not self._line_farads

    def set(self, name: str, target: FloatArray, before: FloatArray, after: FloatArray) -> float:
        """What ``written`` books for one pulse at each cell of which another conductance is asked; seconds that passed.

        In one pass over the cells of an ``isolated`` array; ``target`` etc. are siemens (polarity, row, column).
        """
        from emulators.memristors.outright_kernels import asked

        lines, sums = np.zeros(target.shape[1], dtype=np.bool_), LineSums.empty(target.shape)
        cells = (np.ascontiguousarray(values) for values in (target, before, after))
        count, siemens = asked(*cells, SAME, lines, *sums)
        self._arrays[name].meter.summed(after, sums)
        slots = count if self._operation.pulses_at_once == "cell" else int(np.count_nonzero(lines))
        joules = self._operation.pulse_seconds * self._configs[name].pulse_volts ** 2 * siemens
        return self._single(name, "write", joules, slots * self._operation.pulse_seconds)

    def moved_apart(self, name: str, apart: OuterProducts) -> float:
        """The same for pairs that outer products moved apart: a pulse at each cell whose lines take any part in them.

        What one cell of a pair gains the other loses, so that before and after come to the same; of pairs that are
        held at an end of the window it is what they come to after.
        """
        array = self._arrays[name]
        rows, columns = apart.active
        lines = int(np.count_nonzero(rows))
        pairs = lines * int(np.count_nonzero(columns))
        if array.pair_siemens is None:
            siemens = array.meter.siemens_between(array.loading_siemens, rows, columns)
        else:
            siemens = pairs * array.pair_siemens
        slots = 2 * pairs if self._operation.pulses_at_once == "cell" else lines
        joules = self._operation.pulse_seconds * self._configs[name].pulse_volts ** 2 * siemens
        return self._single(name, "write", joules, slots * self._operation.pulse_seconds)

    def waited(self, seconds: float) -> float:
        """Nothing but time (and static power). Seconds that passed."""
        self.elapse("wait", seconds)
        return seconds

    def elapse(self, activity: str, seconds: float) -> None:
        """Let the clock run, and static power with it."""
        self._ledger.elapse(activity, seconds)
        if self._static is not None:
            part, watts = self._static
            self._ledger.book(part, activity, watts * seconds, seconds)

    def _pulses(
        self,
        meter: PowerMeter,
        counts: IntArray,
        siemens: FloatArray,
        volts: float,
        selected_watts: float,
        scheme: Scheme,
    ) -> tuple[float, int]:
        """Joules of pulses with those of unselected cells and of lines, and in how many time slots they were given."""
        sent = np.abs(counts)
        slots = int(sent.sum() if self._operation.pulses_at_once == "cell" else sent.max(axis=(0, 2)).sum())
        watts = selected_watts + unselected_watts(meter, siemens, counts, volts, scheme, self._tiles)
        joules = self._operation.pulse_seconds * watts
        if self._line_farads and slots:
            squares = line_squares(sent, scheme, self._tiles)
            # Cells of a word line at once share its charge.
            joules += self._line_farads * volts**2 * squares * slots / float(sent.sum())
        return joules, slots

    def _single(self, name: str, activity: str, joules: float, seconds: float, pulses: int = 0) -> float:
        self._ledger.book(name, activity, joules, seconds, pulses)
        self.elapse(activity, seconds)
        return seconds


def line_squares(sent: IntArray, scheme: Scheme, tiles: TilesConfig | None) -> float:
    """(V/V of the pulse)^2, summed over lines and pulses; a line of a tile counts as its share of a whole line.

    Unselected lines that float or whose cells are isolated are not driven.

    Args:
        sent: (polarity, row, column) pulses.
        scheme: what unselected lines are held at.
        tiles: physical arrays; None is one of the whole size.
    """
    _, rows, columns = sent.shape
    tiles = tiles or TilesConfig(rows=rows, columns=columns)
    word, bit = LEVELS.get(scheme, (0.0, 0.0))
    total = 0.0
    for tall, wide in itertools.product(line_cuts(rows, tiles.rows), line_cuts(columns, tiles.columns)):
        height, width = tall.stop - tall.start, wide.stop - wide.start
        each = (1.0 + (height - 1) * word**2) * width / columns + (width - 1) * bit**2 * height / rows
        total += each * float(sent[:, tall, wide].sum())
    return total
