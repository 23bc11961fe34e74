import importlib
import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("substrate", "emulators", "drivers")
HEAVY = ("numba", "scipy", "matplotlib", "sklearn", "h5py")


def lint_imports(folder):
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_import_contracts_hold():
    answer = lint_imports(PROJECT)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "0 broken" in answer.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("substrate", "emulators"), ("substrate", "drivers"), ("emulators", "drivers"), ("drivers", "emulators")],
)
def test_import_contracts_forbid_what_they_should(tmp_path, importer, imported):
    (tmp_path / "pyproject.toml").write_text((PROJECT / "pyproject.toml").read_text())
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / importer / "inner.py").write_text(f"import {imported}\n")
    answer = lint_imports(tmp_path)
    assert answer.returncode != 0
    assert "BROKEN" in answer.stdout


def test_the_three_packages_come_from_our_one_distribution():
    """Unrelated projects on the package index are named substrate and drivers too."""
    distribution = metadata.distribution("analog-substrate")
    roots = {Path(importlib.import_module(package).__file__).resolve().parents[1] for package in PACKAGES}
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        home = Path(unquote(urlparse(origin["url"]).path))
    else:
        home = Path(str(distribution.locate_file("")))
    assert roots == {home.resolve()}


@pytest.mark.parametrize("backend", ["board", "bench", "arc-two", "emulator"])
@pytest.mark.parametrize("copy", ["another project", "a copy of ours"])
def test_a_mixture_of_packages_is_refused(tmp_path, backend, copy):
    """Another package of the name is found first: whatever it is, it does not get to move hardware."""
    package = "emulators" if backend == "emulator" else "drivers"
    if copy == "a copy of ours":
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    script = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(PROJECT)!r}]
from substrate.errors import InputError
from substrate.registry import load_backend
try:
    load_backend({backend!r})
except InputError as error:
    print(error)
"""
    command = [sys.executable, "-c", script]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60)
    if copy == "a copy of ours":
        assert f"comes from {tmp_path / package}" in answer.stdout
        assert "expected one installation of both" in answer.stdout
    else:
        assert f"'{backend}' cannot be loaded" in answer.stdout


def test_a_device_of_another_copy_is_not_opened(tmp_path):
    """However it came to be built: by a script that imports it itself, for one."""
    shutil.copytree(PROJECT / "drivers", tmp_path / "drivers", ignore=shutil.ignore_patterns("__pycache__"))
    script = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(PROJECT)!r}]
from drivers.arc_two import ArcTwoArray, ArcTwoConfig
from substrate.errors import InputError
try:
    with ArcTwoArray(ArcTwoConfig(backend="arc-two", library="nothing")):
        pass
except InputError as error:
    print(error)
"""
    command = [sys.executable, "-c", script]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60)
    assert "expected one installation of both" in answer.stdout


@pytest.mark.parametrize(
    "module", ["substrate", "substrate.datasets", "substrate.demodulation", "emulators", "drivers"]
)
def test_import_leaves_heavy_packages_alone(module):
    script = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert answer.stdout.split() == []
