"""Crossbars as ngspice decks, and ngspice's answer to them: the independent witness of the physics tests."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from emulators.memristors.cell_law import CellLaw
from emulators.memristors.rectifying import RectifyingCell
from emulators.memristors.sinh import SinhCell
from emulators.memristors.transistor import SeriesResistanceCell, TransistorCell

Cell = Callable[[str, str, str, float], str]
RESULT = "out.raw"
OPTIONS = ".options reltol=1e-9 abstol=1e-20 vntol=1e-13 gmin=1e-20 itl1=500"


def ohmic_cell(name: str, word: str, bit: str, conductance: float) -> str:
    return f"R{name} {word} {bit} {1 / conductance:.17g}" if conductance > 0 else f"* {name} is open"


def sinh_cell(name: str, word: str, bit: str, g: float) -> str:
    return f"B{name} {word} {bit} I={g:.17g}*sinh(3*V({word},{bit}))/3"


def rectifying_cell(name: str, word: str, bit: str, g: float) -> str:
    v = f"V({word},{bit})"
    return f"B{name} {word} {bit} I={g:.17g}*(exp(6*{v})-exp(-1.5*{v}))/7.5"


def series_cell(name: str, word: str, bit: str, g: float) -> str:
    return f"R{name} {word} m{name} 2e4\n" + sinh_cell(name, f"m{name}", bit, g)


def transistor_cell(name: str, word: str, bit: str, g: float) -> str:
    """The channel by the square law as a behavioural source; gate overdrive .6 V, 2e-4 A/V^2, .05/V."""
    v = f"V({word},m{name})"
    inside = f"min(abs({v}),0.6)"
    channel = f"sgn({v})*2e-4*(0.6-0.5*{inside})*{inside}*(1+0.05*abs({v}))"
    return f"Bt{name} {word} m{name} I={channel}\nR{name} m{name} {bit} {1 / g:.17g}"


CURVED_CELLS: dict[str, tuple[CellLaw, Cell]] = {
    "sinh": (SinhCell(3.0), sinh_cell),
    "rectifying": (RectifyingCell(6.0, 1.5), rectifying_cell),
    "1T1R-resistance": (SeriesResistanceCell(2e4, SinhCell(3.0)), series_cell),
    "1T1R-transistor": (TransistorCell(0.6, 2e-4, 0.05), transistor_cell),
}


def crossbar_deck(
    conductances: np.ndarray,
    *,
    wordline_resistance: float,
    bitline_resistance: float,
    row_ports: Sequence[tuple[float, float] | None],
    column_ports: Sequence[tuple[float, float] | None],
    cell: Cell = ohmic_cell,
    extra: str = "",
) -> str:
    """A deck that writes its operating point to RESULT.

    A port is (series ohms besides the segment, volts), or None for a floating line. Its source, vrI or vcJ, carries the
    current that flows out of the array into the port. Zero resistances become 0 V sources.
    """
    rows, cols = conductances.shape
    lines = ["crossbar", OPTIONS, extra]

    def wire(name: str, a: str, b: str, ohms: float) -> None:
        lines.append(f"R{name} {a} {b} {ohms:.17g}" if ohms > 0 else f"V{name} {a} {b} 0")

    for i in range(rows):
        for j in range(cols):
            lines.append(cell(f"c{i}_{j}", f"w{i}_{j}", f"b{i}_{j}", conductances[i, j]))
            if j + 1 < cols:
                wire(f"w{i}_{j}", f"w{i}_{j}", f"w{i}_{j + 1}", wordline_resistance)
            if i + 1 < rows:
                wire(f"b{i}_{j}", f"b{i}_{j}", f"b{i + 1}_{j}", bitline_resistance)
    for i, port in enumerate(row_ports):
        if port is not None:
            wire(f"pr{i}", f"w{i}_0", f"pr{i}", wordline_resistance + port[0])
            lines.append(f"Vr{i} pr{i} 0 DC {port[1]:.17g}")
    for j, port in enumerate(column_ports):
        if port is not None:
            wire(f"pc{j}", f"b{rows - 1}_{j}", f"pc{j}", bitline_resistance + port[0])
            lines.append(f"Vc{j} pc{j} 0 DC {port[1]:.17g}")
    lines += [".control", "set filetype=ascii", "op", f"write {RESULT} all", ".endc", ".end", ""]
    return "\n".join(lines)


def run_deck(deck: str, folder: Path) -> dict[str, float]:
    """Run ngspice in ``folder`` and return the vectors of the operating point by name."""
    (folder / "deck.cir").write_text(deck)
    result = folder / RESULT
    result.unlink(missing_ok=True)
    done = subprocess.run(
        ["ngspice", "-b", "deck.cir"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if not result.exists():
        raise RuntimeError(f"ngspice wrote no result:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    head, values = result.read_text().split("Values:\n")
    names = [line.split()[1].lower() for line in head.split("Variables:\n")[1].splitlines() if line.strip()]
    numbers = [line.split()[-1] for line in values.splitlines() if line.strip()]
    return dict(zip(names, map(float, numbers), strict=True))


def port_currents(answer: dict[str, float], rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Currents into the word-line and bit-line ports, 0 where a line floats."""
    return (
        np.array([answer.get(f"i(vr{i})", 0.0) for i in range(rows)]),
        np.array([answer.get(f"i(vc{j})", 0.0) for j in range(cols)]),
    )
