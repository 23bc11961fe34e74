"""Whether the packages of this project that are in use lie beside each other.

Other projects on the package index are named ``drivers`` and ``emulators`` too, and an older copy of ours may lie in a
folder that Python looks into first. What moves hardware must not be of two makes.
"""

import sys
from pathlib import Path

from substrate.errors import InputError

OURS = ("drivers", "emulators")


def require_ours(module: str) -> None:
    """Check that a module, imported already, lies beside this package, where it is of one of our packages.

    Args:
        module: its dotted name.

    Raises:
        InputError: it does not; names both places.
    """
    package = module.partition(".")[0]
    if package not in OURS:
        return
    file = getattr(sys.modules.get(module), "__file__", None)
    here = Path(__file__).resolve().parents[1]
    if file is None or here / package not in Path(file).resolve().parents:
        raise InputError(
            f"{module} comes from {file}, substrate from {here / 'substrate'}: expected one installation of both; look "
            "for another copy, or another project of this name, in the working folder, PYTHONPATH and sys.path"
        )
