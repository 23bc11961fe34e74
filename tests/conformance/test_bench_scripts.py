"""The scripts of ``experiments/bench`` against the virtual bench shipped beside them, by one changed address."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from xor_bench import bench_file, driven, wiring

from emulators.bench.bench import VirtualBench
from emulators.bench.config import load_bench, parse_bench
from substrate import open_run

FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "bench"
SWITCHED = ["--array", "output-hidden1+"]


@pytest.fixture(scope="module")
def bench():
    with VirtualBench(FOLDER / "bench.yaml") as found:
        yield found


@pytest.fixture
def script(bench, tmp_path):
    ready = tmp_path / "bench.json"
    listed = [{"name": name, "resource": resource} for name, resource in bench.resources.items()]
    ready.write_text(json.dumps({"instruments": listed}))

    def called(name, *more, output="table.csv"):
        path = tmp_path / output
        command = [sys.executable, str(FOLDER / f"{name}.py"), "--ready", str(ready), "--output", str(path), *more]
        subprocess.run(command, check=True, timeout=120, cwd=tmp_path)
        assert driven(bench) == []
        if path.suffix != ".csv":
            return path
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    return called


def test_the_files_agree_with_each_other():
    assert load_bench(FOLDER / "bench.yaml") == parse_bench(bench_file())
    ours = yaml.safe_load((FOLDER / "wiring.yaml").read_text())
    theirs = wiring({name: one["address"] for name, one in ours["instruments"].items()})
    for key in ("instruments", "inputs", "nudges", "nodes", "reference"):
        assert ours[key] == theirs[key]
    assert ours["cells"]["lines"] == theirs["cells"]["lines"]


def test_a_cell_is_characterised(bench, script):
    before = bench.plant.conductances("output-hidden1+")[1, 2]
    rows = script("characterise_cell", *SWITCHED, "--row", "1", "--column", "2", "--points", "6", "--pulses", "8")
    sweep = np.array([(float(row["volts"]), float(row["amperes"])) for row in rows if row["what"] == "sweep"])
    np.testing.assert_allclose(sweep[:, 1] / sweep[:, 0], before, rtol=1e-3)
    curve = np.array([float(row["amperes"]) / float(row["volts"]) for row in rows if row["what"] == "pulse"])
    assert np.all(np.diff(curve[:9]) > 0)
    assert np.all(np.diff(curve[8:]) < 0)
    # Constant steps of 1 % of half the window, spread by a tenth.
    assert np.diff(curve[:9]).mean() == pytest.approx(0.01 * 0.5 * 9.9e-5, rel=0.2)
    assert bench.plant.conductances("output-hidden1+")[1, 2] == pytest.approx(curve[-1], rel=1e-3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--row", "99"), "row: expected 0 .. "),
        (("--column", "-1"), "expected 0 or more, got -1"),
        (("--pulses", "-2"), "expected 0 or more, got -2"),
        (("--output", "nowhere/table.csv"), "nowhere/table.csv: No such file or directory"),
    ],
)
def test_a_cell_that_is_not_there_is_refused_without_a_pulse(bench, tmp_path, given, said):
    ready = tmp_path / "bench.json"
    ready.write_text(json.dumps({"instruments": [{"name": n, "resource": r} for n, r in bench.resources.items()]}))
    before = bench.plant.conductances("output-hidden1+").copy()
    command = [sys.executable, str(FOLDER / "characterise_cell.py"), "--ready", str(ready), *SWITCHED, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    np.testing.assert_array_equal(bench.plant.conductances("output-hidden1+"), before)
    assert driven(bench) == []


def test_a_crossbar_is_mapped(bench, script):
    siemens = bench.plant.conductances("output-hidden1+")
    grounded = script("map_crossbar", *SWITCHED)
    found = np.array([float(row["siemens"]) for row in grounded]).reshape(siemens.shape)
    np.testing.assert_allclose(found, siemens, rtol=2e-3)
    floating = script("map_crossbar", *SWITCHED, "--unselected", "floating")
    sneaked = np.array([float(row["siemens"]) for row in floating]).reshape(siemens.shape)
    # The other row joins the columns: each cell is seen beside a path over three others.
    others = 1.0 / (1.0 / siemens[::-1] + 1.0 / siemens.sum(axis=1)[::-1, None])
    assert np.all(sneaked > 1.05 * siemens)
    assert np.all(sneaked < siemens + others)


def test_neurons_are_calibrated(script):
    rows = script("calibrate_neurons")
    assert [row["neuron"] for row in rows] == ["output.0", "output.1"]
    for row in rows:
        assert float(row["gain"]) == pytest.approx(1.0, abs=0.1)
        assert float(row["swing"]) == pytest.approx(1.0, abs=0.05)


def test_a_gradient_is_measured(script):
    rows = script("measure_gradient", "--repeats", "3")
    assert {row["coupling"] for row in rows} == {"input-hidden1", "hidden1-output", "output-hidden1"}
    for row in rows:
        norm, predicted, spread = (float(row[key]) for key in ("norm", "predicted_error", "spread_of_repeats"))
        assert 0 < predicted < 0.05 * norm
        assert 0.2 < spread / predicted < 3.0


def test_a_network_is_trained(script):
    path = script("train", "--set", "training.epochs=3", output="run.h5")
    with open_run(path) as found:
        assert found.status == "finished"
        assert found.summary()["epochs"] == 3
