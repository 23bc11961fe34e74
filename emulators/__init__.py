"""The physics side: circuit-level emulation of memristive crossbars, neurons, converters and networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emulators.crossbar import Crossbar as Crossbar
    from emulators.crossbar import CrossbarSolution as CrossbarSolution
    from emulators.crossbar_lines import Bias as Bias
    from emulators.crossbar_lines import Lines as Lines
    from emulators.crossbar_lines import select_cell as select_cell
    from emulators.memristors.cell_law import CellLaw as CellLaw
    from emulators.memristors.ohmic import OhmicCell as OhmicCell
    from emulators.memristors.rectifying import RectifyingCell as RectifyingCell
    from emulators.memristors.sinh import SinhCell as SinhCell
    from emulators.memristors.transistor import SeriesResistanceCell as SeriesResistanceCell
    from emulators.memristors.transistor import TransistorCell as TransistorCell

__all__ = [
    "Bias",
    "CellLaw",
    "Crossbar",
    "CrossbarSolution",
    "Lines",
    "OhmicCell",
    "RectifyingCell",
    "SeriesResistanceCell",
    "SinhCell",
    "TransistorCell",
    "select_cell",
]

_HOMES = {
    "Bias": "emulators.crossbar_lines",
    "CellLaw": "emulators.memristors.cell_law",
    "Crossbar": "emulators.crossbar",
    "CrossbarSolution": "emulators.crossbar",
    "Lines": "emulators.crossbar_lines",
    "OhmicCell": "emulators.memristors.ohmic",
    "RectifyingCell": "emulators.memristors.rectifying",
    "SeriesResistanceCell": "emulators.memristors.transistor",
    "SinhCell": "emulators.memristors.sinh",
    "TransistorCell": "emulators.memristors.transistor",
    "select_cell": "emulators.crossbar_lines",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: the import itself stays fast.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
