"""Doubles per cell that one solve takes at its peak: a process of its own, since compiled code allocates by itself.

``python peak_memory.py N BATCH read|solve|matrix ohmic|sinh`` prints the number. What the kernels allocate is seen by
the operating system alone (not by tracemalloc): the rise of the process's peak of resident memory is measured, beyond
what it holds before, kernels loaded and the array built. Results that are returned are counted.
"""

import sys
from pathlib import Path

import numpy as np
from crossbar_peers import array_of

from emulators.crossbar import Crossbar
from emulators.memristors.sinh import SinhCell


def main(n: int, batch: int, work: str, law: str) -> float:
    def once(size: int) -> None:
        array = Crossbar(array_of(size), cell=SinhCell(3.0) if law == "sinh" else None)
        volts = np.full((batch, size), 0.1)
        before.append(_resident("VmRSS"))
        if work == "matrix":
            array.effective_conductances()
        elif work == "solve":
            array.solve(volts)
        else:
            array.read(volts)

    before: list[int] = []
    once(12)
    once(n)
    return (_resident("VmHWM") - before[-1]) / 8 / n**2


def _resident(line: str) -> int:
    """Bytes now (VmRSS) or at the peak (VmHWM; getrusage's would be that of the process which started this one)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(one.split()[1]) for one in status if one.startswith(line))


if __name__ == "__main__":
    print(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
