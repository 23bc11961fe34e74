"""Whether a device's kernels have been compiled on this machine before.

Numba keeps what it compiled as files ``name.*.nbi`` in ``NUMBA_CACHE_DIR`` where that is set, else in ``__pycache__``
beside the source, else (no leave to write there) in the user's cache folder.
"""

import os
import sys
from pathlib import Path

KERNELS = "*_kernels.py"
"""Files of kernels; a package without any compiles nothing."""


def kernels_are_cold(device: object) -> bool:
    """Whether the package of a device has kernels, and none of them is in a cache."""
    package = sys.modules.get(type(device).__module__.partition(".")[0])
    if package is None or package.__file__ is None:
        return False
    sources = list(Path(package.__file__).parent.rglob(KERNELS))
    given = os.environ.get("NUMBA_CACHE_DIR")
    elsewhere = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "numba"
    for source in sources:
        if not given and any((source.parent / "__pycache__").glob(f"{source.stem}.*.nbi")):
            return False
        if any(elsewhere.rglob(f"{source.stem}.*.nbi")):
            return False
    return bool(sources)
