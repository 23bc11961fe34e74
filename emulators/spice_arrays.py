"""Physical crossbars as elements of an ngspice deck: their cells, wire segments and terminations."""

from collections.abc import Iterator, Sequence
from functools import singledispatch

from emulators.config import WiresConfig
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.memristors.rectifying import RectifyingCell
from emulators.memristors.sinh import SinhCell
from emulators.memristors.transistor import SeriesResistanceCell, TransistorCell
from substrate.arrays import FloatArray
from substrate.contract import Direction
from substrate.errors import CapabilityError


def number(value: float) -> str:
    """All digits of a number, as ngspice reads it."""
    return f"{value:.17g}"


@singledispatch
def cell_elements(law: CellLaw, name: str, word: str, bit: str, siemens: float) -> list[str]:
    """A cell of conductance ``siemens`` > 0 between two nodes, as lines of a deck; register a form for each law.

    Raises:
        CapabilityError: the law has none.
    """
    raise CapabilityError(f"cells: {type(law).__name__} has no form for ngspice")


@cell_elements.register
def _(law: OhmicCell, name: str, word: str, bit: str, siemens: float) -> list[str]:
    return [f"R{name} {word} {bit} {number(1 / siemens)}"]


@cell_elements.register
def _(law: SinhCell, name: str, word: str, bit: str, siemens: float) -> list[str]:
    return [f"B{name} {word} {bit} I={number(siemens / law.alpha)}*sinh({number(law.alpha)}*V({word},{bit}))"]


@cell_elements.register
def _(law: RectifyingCell, name: str, word: str, bit: str, siemens: float) -> list[str]:
    a, b = law.forward_alpha, law.reverse_alpha
    volts = f"V({word},{bit})"
    current = f"exp({number(a)}*{volts})-exp(-{number(b)}*{volts})"
    return [f"B{name} {word} {bit} I={number(siemens / (a + b))}*({current})"]


@cell_elements.register
def _(law: SeriesResistanceCell, name: str, word: str, bit: str, siemens: float) -> list[str]:
    if not law.series_resistance:
        return cell_elements(law.memristor, name, word, bit, siemens)
    inner = f"m{name}"
    return [
        f"R{inner} {word} {inner} {number(law.series_resistance)}",
        *cell_elements(law.memristor, name, inner, bit, siemens),
    ]


@cell_elements.register
def _(law: TransistorCell, name: str, word: str, bit: str, siemens: float) -> list[str]:
    inner = f"m{name}"
    volts = f"V({word},{inner})"
    drive = number(law.gate_overdrive_volts)
    channel = f"min(abs({volts}),{drive})"
    current = (
        f"sgn({volts})*{number(law.transconductance)}*({drive}-0.5*{channel})*{channel}"
        f"*(1+{number(law.channel_length_modulation)}*abs({volts}))"
    )
    return [f"B{inner} {word} {inner} I={current}", *cell_elements(law.memristor, name, inner, bit, siemens)]


def crossbar_elements(
    name: str,
    cells: FloatArray,
    drivers: Sequence[str],
    grounds: Sequence[str],
    wires: WiresConfig,
    law: CellLaw,
    direction: Direction,
) -> Iterator[str]:
    """One physical array between the nodes of its drivers and of its virtual grounds, as lines of a deck.

    Word lines have their port at column 0, bit lines at the last row, each with one more wire segment
    (emulators/crossbar.py). Cells of 0 S are left out.

    Args:
        name: what its elements and inner nodes are called by.
        cells: conductances (word line, bit line), siemens.
        drivers: a node for each driven line.
        grounds: a node for each sensed line.
        wires: of all lines.
        law: of all cells.
        direction: word lines driven, or bit lines.

    Raises:
        CapabilityError: a cell law without a form for ngspice.
    """
    rows, columns = cells.shape
    segment = wires.segment_ohms

    def port(line: int, driven: bool) -> tuple[str, float]:
        if driven:
            return drivers[line], segment + wires.source_ohms
        return grounds[line], segment + wires.sense_ohms

    def end(kind: str, line: int) -> tuple[str, list[str]]:
        """The node that the line begins with, and what joins it to its port."""
        outside, ohms = port(line, driven=(kind == "w") == (direction == "forward"))
        if ohms == 0:
            return outside, []
        inside = f"{kind}{name}_{line}"
        return inside, [f"Rp{inside} {outside} {inside} {number(ohms)}"]

    word_ends = [end("w", i) for i in range(rows)]
    bit_ends = [end("b", j) for j in range(columns)]
    for _, elements in word_ends + bit_ends:
        yield from elements

    def word(i: int, j: int) -> str:
        return word_ends[i][0] if j == 0 or segment == 0 else f"w{name}_{i}_{j}"

    def bit(i: int, j: int) -> str:
        return bit_ends[j][0] if i == rows - 1 or segment == 0 else f"b{name}_{i}_{j}"

    for i in range(rows):
        for j in range(columns):
            if segment and j + 1 < columns:
                yield f"Rw{name}_{i}_{j} {word(i, j)} {word(i, j + 1)} {number(segment)}"
            if segment and i + 1 < rows:
                yield f"Rb{name}_{i}_{j} {bit(i, j)} {bit(i + 1, j)} {number(segment)}"
            if cells[i, j] > 0:
                yield from cell_elements(law, f"c{name}_{i}_{j}", word(i, j), bit(i, j), float(cells[i, j]))
