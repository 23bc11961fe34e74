"""The physics side: circuit-level emulation of memristive crossbars, neurons, converters and networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emulators.crossbar import Crossbar as Crossbar
    from emulators.memristors.ohmic import OhmicCell as OhmicCell
    from emulators.memristors.sinh import SinhCell as SinhCell

__all__ = ["Crossbar", "OhmicCell", "SinhCell"]

_HOMES = {
    "Crossbar": "emulators.crossbar",
    "OhmicCell": "emulators.memristors.ohmic",
    "SinhCell": "emulators.memristors.sinh",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: the import itself stays fast.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
