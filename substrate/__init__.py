"""Train memristive crossbar networks in place with equilibrium propagation, on an emulator or on real boards."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from substrate.experiment.config import load_experiment as load_experiment
    from substrate.experiment.runfile import open_run as open_run
    from substrate.experiment.runner import resume as resume
    from substrate.experiment.runner import run as run

__all__ = ["load_experiment", "open_run", "resume", "run"]

_HOMES = {
    "load_experiment": "substrate.experiment.config",
    "open_run": "substrate.experiment.runfile",
    "resume": "substrate.experiment.runner",
    "run": "substrate.experiment.runner",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: the command line and the import itself stay fast.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
