"""Memory of a solve: within 40 doubles per cell and input vector in flight.

Inputs that are read follow one another, so that one is in flight a thread; a solution keeps all of its own.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MOST = 40.0
SCRIPT = Path(__file__).with_name("peak_memory.py")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures resident memory as Linux shows it")
@pytest.mark.parametrize(
    ("batch", "work", "law", "in_flight"),
    [(16, "read", "ohmic", 1), (16, "solve", "ohmic", 16), (8, "read", "sinh", 1), (1, "matrix", "ohmic", 1)],
)
def test_doubles_per_cell_and_input(benchmark: Any, batch: int, work: str, law: str, in_flight: int) -> None:
    n = 512
    answer = subprocess.run(
        [sys.executable, str(SCRIPT), str(n), str(batch), work, law], check=True, capture_output=True, text=True
    )
    doubles = float(answer.stdout) / in_flight
    benchmark(lambda: None)
    benchmark.extra_info["doubles"] = doubles
    print(f"\n{law} {work}, n = {n}, {batch} inputs: {doubles:.1f} doubles per cell and input (at most {MOST:g})")
    # A kept solution is at least its two node voltages; a read holds at least one work space.
    assert 1.0 < doubles <= MOST
