"""What the ports of an array are tied to, as numbers: series resistances and source voltages of every line."""

from dataclasses import dataclass
from typing import Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emulators.crossbar_lines import Lines, LineState
from substrate.arrays import real
from substrate.errors import InputError

FloatArray = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Terminals:
    """Segment resistances, port resistances (segment included; infinite for a floating line) and port voltages.

    ``row_port`` (rows,), ``column_port`` (cols,) ohms; ``row_volts`` (batch, rows), ``column_volts`` (batch, cols).
    """

    wordline_resistance: float
    bitline_resistance: float
    row_port: FloatArray
    column_port: FloatArray
    row_volts: FloatArray
    column_volts: FloatArray

    @property
    def batch(self) -> int:
        """The number of inputs."""
        return len(self.row_volts)

    def part(self, where: slice | NDArray[np.intp]) -> "Terminals":
        """Return the inputs at ``where``."""
        return Terminals(
            self.wordline_resistance,
            self.bitline_resistance,
            self.row_port,
            self.column_port,
            self.row_volts[where],
            self.column_volts[where],
        )

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        lines: Lines,
        voltages: ArrayLike,
        wordline_resistance: float,
        bitline_resistance: float,
        source_resistance: float,
        sense_resistance: float,
    ) -> tuple[Self, bool]:
        """Return the terminals of any ``lines``, and whether ``voltages``, (driven,) or (batch, driven), is a batch."""
        if (len(lines.word_lines), len(lines.bit_lines)) != shape:
            found = (len(lines.word_lines), len(lines.bit_lines))
            raise InputError(f"lines has states for {found} word and bit lines; expected {shape}")
        rows, columns = lines.driven
        volts, batched = _checked(voltages, rows.size + columns.size)
        row_volts = np.zeros((len(volts), shape[0]))
        column_volts = np.zeros((len(volts), shape[1]))
        row_volts[:, rows] = volts[:, : rows.size]
        column_volts[:, columns] = volts[:, rows.size :]
        extra: dict[LineState, float] = {
            "driven": source_resistance,
            "sensed": sense_resistance,
            "grounded": 0.0,
            "floating": np.inf,
        }
        return cls(
            wordline_resistance,
            bitline_resistance,
            np.array([wordline_resistance + extra[state] for state in lines.word_lines]),
            np.array([bitline_resistance + extra[state] for state in lines.bit_lines]),
            row_volts,
            column_volts,
        ), batched

    @classmethod
    def of_read(
        cls,
        shape: tuple[int, int],
        forward: bool,
        voltages: ArrayLike,
        wordline_resistance: float,
        bitline_resistance: float,
        source_resistance: float,
        sense_resistance: float,
    ) -> tuple[Self, bool]:
        """Return the terminals of a read, one whole line family driven and the other sensed; cheaper than ``of``."""
        volts, batched = _checked(voltages, shape[0 if forward else 1])
        rest = np.zeros((len(volts), shape[1 if forward else 0]))
        row_end, column_end = source_resistance, sense_resistance
        if not forward:
            row_end, column_end = column_end, row_end
        return cls(
            wordline_resistance,
            bitline_resistance,
            np.full(shape[0], wordline_resistance + row_end),
            np.full(shape[1], bitline_resistance + column_end),
            volts if forward else rest,
            rest if forward else volts,
        ), batched


def _checked(voltages: ArrayLike, driven: int) -> tuple[FloatArray, bool]:
    """Return the voltages as a (batch, driven) array, and whether they were one."""
    volts = np.array(real("voltages", voltages), order="C")
    given = volts.ndim
    if given not in (1, 2) or volts.shape[-1] != driven:
        raise InputError(f"voltages has shape {volts.shape}; expected ({driven},) or (batch, {driven})")
    if not np.isfinite(volts).all():
        raise InputError("voltages holds a value that is not finite; expected finite volts")
    return np.atleast_2d(volts), given == 2


def check_paths(conductances: FloatArray, lines: Lines) -> None:
    """Raise InputError for a floating line from which no path of closed cells leads to a line that is tied down."""
    floating_rows = np.array([state == "floating" for state in lines.word_lines])
    floating_columns = np.array([state == "floating" for state in lines.bit_lines])
    if not (floating_rows.any() or floating_columns.any()):
        return
    closed = conductances > 0
    tied_rows, tied_columns = ~floating_rows, ~floating_columns
    count = -1
    while count != (count := int(tied_rows.sum() + tied_columns.sum())):
        tied_rows = tied_rows | closed[:, tied_columns].any(axis=1)
        tied_columns = tied_columns | closed[tied_rows].any(axis=0)
    for name, tied in (("word", tied_rows), ("bit", tied_columns)):
        if not tied.all():
            index = int(np.flatnonzero(~tied)[0])
            raise InputError(
                f"{name} line {index} is floating and wholly disconnected: no path of cells leads from it to a line "
                "that is driven, sensed or grounded"
            )
