"""Crossbars as ngspice decks, and ngspice's answer to them: the independent witness of the physics tests."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

Cell = Callable[[str, str, str, float], str]
OPTIONS = ".options reltol=1e-9 abstol=1e-20 vntol=1e-13 gmin=1e-20 itl1=500"


def ohmic_cell(name: str, word: str, bit: str, conductance: float) -> str:
    return f"R{name} {word} {bit} {1 / conductance:.17g}" if conductance > 0 else f"* {name} is open"


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
    """A deck that writes its operating point to ``out.raw``.

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
    lines += [".control", "set filetype=ascii", "op", "write out.raw all", ".endc", ".end", ""]
    return "\n".join(lines)


def run_deck(deck: str, folder: Path) -> dict[str, float]:
    """Run ngspice in ``folder`` and return the vectors of the operating point by name."""
    (folder / "deck.cir").write_text(deck)
    result = folder / "out.raw"
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
