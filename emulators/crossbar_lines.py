"""The state of every line of a crossbar (driven, sensed, grounded, floating) and the usual bias schemes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, final

import numpy as np
from numpy.typing import NDArray

from substrate.errors import InputError

LineState = Literal["driven", "sensed", "grounded", "floating"]
STATES: tuple[LineState, ...] = ("driven", "sensed", "grounded", "floating")
DRIVEN: tuple[LineState, ...] = ("driven",)
SENSED: tuple[LineState, ...] = ("sensed",)


@final
@dataclass(frozen=True)
class Lines:
    """What each line's port is tied to.

    ``driven``: a voltage source through the driver's resistance; ``sensed``: a virtual ground through the sense
    resistance; ``grounded``: 0 V through the line's last wire segment alone; ``floating``: nothing.
    """

    word_lines: tuple[LineState, ...]
    bit_lines: tuple[LineState, ...]

    def __post_init__(self) -> None:
        for name in ("word_lines", "bit_lines"):
            states = tuple(getattr(self, name))
            for index, state in enumerate(states):
                if state not in STATES:
                    raise InputError(f"Lines.{name}[{index}] is {state!r}; expected one of {', '.join(STATES)}")
            object.__setattr__(self, name, states)

    @classmethod
    def forward(cls, rows: int, cols: int) -> Self:
        """All word lines driven, all bit lines sensed: a forward read."""
        return cls(DRIVEN * rows, SENSED * cols)

    @classmethod
    def backward(cls, rows: int, cols: int) -> Self:
        """All bit lines driven, all word lines sensed: a backward read."""
        return cls(SENSED * rows, DRIVEN * cols)

    @classmethod
    def all_driven(cls, rows: int, cols: int) -> Self:
        """Every line driven."""
        return cls(DRIVEN * rows, DRIVEN * cols)

    @property
    def driven(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indices of the driven word lines and of the driven bit lines, the order of the voltages that are given."""
        return _indices(self.word_lines), _indices(self.bit_lines)


def _indices(states: Sequence[LineState]) -> NDArray[np.intp]:
    return np.flatnonzero(np.array([state == "driven" for state in states], dtype=bool))


@final
@dataclass(frozen=True)
class Bias:
    """Line states and the volts of the driven lines, word lines first: the two arguments of ``Crossbar.solve``."""

    lines: Lines
    voltages: tuple[float, ...]


BiasScheme = Literal["grounded", "floating", "half", "third"]


def select_cell(rows: int, cols: int, row: int, column: int, volts: float, unselected: BiasScheme = "grounded") -> Bias:
    """Bias one cell at ``volts``: its word line driven, its bit line sensed, the other lines as ``unselected`` says.

    ``grounded`` and ``floating`` are what they say; ``half`` holds every other line at V/2 (half-selected cells see
    V/2, the rest 0); ``third`` holds other word lines at V/3 and other bit lines at 2V/3 (every other cell sees V/3
    in size). Raises InputError for indices outside the array or an unknown scheme.
    """
    for name, index, size in (("row", row, rows), ("column", column, cols)):
        if not 0 <= index < size:
            raise InputError(f"{name} is {index}; expected 0 <= {name} < {size}")
    if unselected not in ("grounded", "floating", "half", "third"):
        raise InputError(f"unselected is {unselected!r}; expected 'grounded', 'floating', 'half' or 'third'")
    if not np.isfinite(volts):
        raise InputError(f"volts is {volts}; expected a finite number")
    other: LineState = unselected if unselected == "grounded" or unselected == "floating" else "driven"
    word: list[LineState] = [other] * rows
    bit: list[LineState] = [other] * cols
    word[row], bit[column] = "driven", "sensed"
    if other != "driven":
        return Bias(Lines(tuple(word), tuple(bit)), (float(volts),))
    word_volts, bit_volts = (volts / 2, volts / 2) if unselected == "half" else (volts / 3, 2 * volts / 3)
    levels = [float(volts) if i == row else word_volts for i in range(rows)]
    levels += [bit_volts] * (cols - 1)
    return Bias(Lines(tuple(word), tuple(bit)), tuple(levels))
