import sys
import types

import pytest

from substrate.experiment.kernel_cache import kernels_are_cold


@pytest.fixture
def device(tmp_path, monkeypatch):
    """A device of a package with one file of kernels, and nothing compiled."""
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    package = types.ModuleType("laboratory")
    package.__file__ = str(tmp_path / "laboratory" / "__init__.py")
    (tmp_path / "laboratory" / "inner").mkdir(parents=True)
    (tmp_path / "laboratory" / "inner" / "fast_kernels.py").write_text("")
    monkeypatch.setitem(sys.modules, "laboratory", package)
    return type("Device", (), {"__module__": "laboratory.devices"})()


def test_what_was_compiled_is_found_where_numba_keeps_it(device, tmp_path, monkeypatch):
    index = "fast_kernels.settle-12.py311.nbi"
    assert kernels_are_cold(device)
    for folder in (tmp_path / "laboratory" / "inner" / "__pycache__", tmp_path / "cache" / "numba" / "inner_0123"):
        folder.mkdir(parents=True)
        (folder / "other_kernels.settle-12.py311.nbi").write_text("")
        assert kernels_are_cold(device)
        (folder / index).write_text("")
        assert not kernels_are_cold(device)
        (folder / index).unlink()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "elsewhere"))
    (tmp_path / "laboratory" / "inner" / "__pycache__" / index).write_text("")
    assert kernels_are_cold(device)  # numba looks only there then
    (tmp_path / "elsewhere" / "inner").mkdir(parents=True)
    (tmp_path / "elsewhere" / "inner" / index).write_text("")
    assert not kernels_are_cold(device)


def test_a_package_without_kernels_compiles_nothing(device, tmp_path):
    (tmp_path / "laboratory" / "inner" / "fast_kernels.py").unlink()
    assert not kernels_are_cold(device)
