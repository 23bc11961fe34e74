"""Reproductions remade and held against what is asked of them: `pytest -m slow tests/acceptance/test_reproductions.py`.

One of them: `-k NAME`. Those on MNIST need `SUBSTRATE_DATA`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Some train for hours.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

FOLDER = Path(__file__).parents[2] / "experiments" / "reproductions"
SCRIPTS = sorted({path.stem for path in FOLDER.glob("*.py")} - {"laboratory", "reproduction", "wanted"})


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_reproduction_reaches_what_is_asked_of_it(name: str, tmp_path: Path) -> None:
    script = FOLDER / f"{name}.py"
    if "SUBSTRATE_DATA=" in script.read_text(encoding="utf-8") and "SUBSTRATE_DATA" not in os.environ:
        pytest.skip("SUBSTRATE_DATA does not name the folder of MNIST")
    results = tmp_path / "results"
    environment = os.environ | {"SUBSTRATE_RESULTS": str(results)}
    # Runs that a script keeps beside its result are of the folder it is called in.
    subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, check=True)
    judged = subprocess.run(
        [sys.executable, FOLDER / "wanted.py", results], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (results / f"{name}.json").exists()
    assert judged.returncode == 0, judged.stdout + judged.stderr
