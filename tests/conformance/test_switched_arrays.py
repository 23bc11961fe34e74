"""Arrays behind switch matrices as ``CrossbarArray``: the contract, schemes, forming, limits, budget."""

import json

import numpy as np
import pytest
import yaml
from xor_bench import PULSE, STEP, UPDATE

from drivers.errors import InstrumentError
from drivers.forming import FormingPlan
from drivers.limits import DriveLimits
from drivers.rack import Rack
from drivers.smu_matrix import SmuMatrixArray
from drivers.wired_arrays import arrays_of
from drivers.wired_limits import drive_limits
from drivers.wiring import WiringConfig, load_wiring
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import Rule
from substrate.capabilities import WriteRequest
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.registry import load_backend
from substrate.testing import Tolerance, crossbar_bench, crossbar_checks

ROWS, COLUMNS = 3, 4
SMUS = ("drive", "sense", "low", "high")
TOLERANCE = Tolerance(
    cells_siemens=2e-8, products_relative=2e-3, wires_relative=2e-3, reciprocal_relative=2e-3, test_pulses=6,
    reports_stuck_cells=False,
)  # fmt: skip


def bench_of(update=UPDATE):
    matrix = {f"out{index + 1}": f"array.row{index}" for index in range(ROWS)}
    matrix |= {f"out{index + 1 + ROWS}": f"array.col{index}" for index in range(COLUMNS)}
    smus = {
        name: {"model": "keithley-2400", "channels": {"hi": f"matrix.in{row}"}}
        for row, name in enumerate(SMUS, start=1)
    }
    return {
        "crossbar": {"name": "array", "shape": [ROWS, COLUMNS], "update": update, "initial_siemens": 4.0e-5},
        "writing": PULSE,
        "instruments": {**smus, "matrix": {"model": "keysight-b2201a", "channels": matrix}},
        "grounds": ["matrix.in14"],
    }


@pytest.fixture
def bench():
    with VirtualBench(bench_of()) as found:
        yield found


def wiring_of(bench, **pulses):
    models = {**dict.fromkeys(SMUS, "keithley-2400"), "matrix": "keysight-b2200"}
    return {
        "instruments": {name: {"model": model, "address": bench.resources[name]} for name, model in models.items()},
        "cells": {
            "matrix": "matrix",
            "drive": {"instrument": "drive", "row": 1},
            "sense": {"instrument": "sense", "row": 2},
            "bias": [{"instrument": "low", "row": 3}, {"instrument": "high", "row": 4}],
            "ground_row": 14,
            "lines": {"array": {"rows": [1, 2, 3], "columns": [4, 5, 6, 7]}},
            "pulses": {"step_siemens": [STEP, STEP], **pulses},
        },
    }


def array_of(bench, write_volts=2.0, **pulses) -> SmuMatrixArray:
    wiring = WiringConfig.model_validate(wiring_of(bench, **pulses))
    rack = Rack(wiring, drive_limits(wiring, 0.25, write_volts, 0.0, 1e-3))
    return arrays_of(wiring, rack, 0.25, own=True)["array"]


def quiet(bench):
    with bench.lock:
        on = [name for name in SMUS if bench.instruments[name].value("output")]
        return not on and not bench.instruments["matrix"]._closed


@pytest.mark.parametrize("check", crossbar_checks(), ids=str)
def test_source_meters_behind_a_matrix_conform(bench, check):
    result = check.run(crossbar_bench(lambda: array_of(bench), TOLERANCE))
    assert result.status != "failed", result.message
    assert quiet(bench)


@pytest.mark.parametrize("scheme", ["half", "third", "floating", "grounded"])
def test_schemes_move_the_selected_cell_and_no_other_as_far_as_they_can(bench, scheme):
    before = bench.plant.conductances("array").copy()
    counts = np.zeros((ROWS, COLUMNS), dtype=int)
    counts[1, 2] = 4
    with array_of(bench, write_scheme=scheme) as array:
        array.write_cells(WriteRequest("array", pulses=counts))
        assert array.budget.given[1, 2] == 4
    moved = (bench.plant.conductances("array") - before) / STEP
    assert moved[1, 2] == pytest.approx(4, abs=1)
    others = np.ones_like(counts, dtype=bool)
    others[1, 2] = False
    # The cells of a driven row whose columns are grounded see the whole pulse.
    felt = moved[1] if scheme == "grounded" else np.zeros(1)
    assert np.all(felt[[0, 1, 3]] > 2) if scheme == "grounded" else np.abs(moved[others]).max() < 0.5


def test_forming_stops_at_the_conductance_asked_for(bench):
    plan = FormingPlan(1.3, 1.7, 0.05, 1.0e-2, 1.0e-3, float(bench.plant.conductances("array")[0, 0] + 3 * STEP))
    cells = np.zeros((ROWS, COLUMNS), dtype=bool)
    cells[0, 0] = True
    with array_of(bench) as array:
        formed = array.form(cells, plan)
        assert formed[0, 0]
        assert 0 < array.budget.given[0, 0] <= len(plan.volts())
    assert bench.plant.conductances("array")[0, 0] >= plan.formed_siemens


def test_what_is_beyond_budget_or_limits_is_refused_before_anything_is_sent(bench):
    counts = np.zeros((ROWS, COLUMNS), dtype=int)
    counts[0, 1] = 4
    before = bench.plant.conductances("array").copy()
    with array_of(bench, pulses_per_cell=6) as array:
        array.write_cells(WriteRequest("array", pulses=counts))
        with pytest.raises(CapabilityError, match="pulses_per_cell"):
            array.write_cells(WriteRequest("array", pulses=counts))
        with pytest.raises(CapabilityError):
            array.read_cell(0, 0, 2.5)
        # Below what the source meters put out for pulses.
        with pytest.raises(CapabilityError, match=r"beyond the safe limit of 0.25 V"):
            array.read_cell(0, 0, 0.26)
        for row, column in ((-1, 0), (0, -1), (ROWS, 0), (0, COLUMNS)):
            with pytest.raises(InputError, match=r"expected 0 \.\. "):
                array.read_cell(row, column)
        with pytest.raises(CapabilityError, match="forming"):
            array.form(counts > 0, FormingPlan(1.0, 5.0, 0.5, 1e-2, 1e-3, 1e-4))
    assert (bench.plant.conductances("array") - before)[0, 1] == pytest.approx(4 * STEP, rel=0.5)
    with pytest.raises(CapabilityError, match="up_volts"):
        array_of(bench, write_volts=1.0)


def test_a_budget_outlives_a_run(bench, tmp_path):
    counts = np.zeros((ROWS, COLUMNS), dtype=int)
    counts[0, 1] = 4
    kept = {"pulses_per_cell": 6, "pulse_ledger": str(tmp_path / "chip.json")}
    with array_of(bench, **kept) as array:
        array.write_cells(WriteRequest("array", pulses=counts))
    before = bench.plant.conductances("array").copy()
    with array_of(bench, **kept) as array:
        with pytest.raises(CapabilityError, match=r"4 pulses.*\(0, 1\) of array.*has had 4.*pulses_per_cell = 6"):
            array.write_cells(WriteRequest("array", pulses=counts))
        plan = FormingPlan(1.0, 1.4, 0.2, 1.0e-2, 1.0e-3, 1.0)
        with pytest.raises(CapabilityError, match="has had 4"):
            array.form(counts > 0, plan)
        np.testing.assert_array_equal(bench.plant.conductances("array"), before)
        np.testing.assert_array_equal(array.budget.given, counts)


def test_a_wiring_keeps_its_ledger_beside_it_and_not_for_a_virtual_bench(bench, tmp_path):
    text = wiring_of(bench, pulse_ledger="chip.json")
    (tmp_path / "wiring.yaml").write_text(yaml.safe_dump(text))
    found = load_wiring(tmp_path / "wiring.yaml")
    assert found.cells.pulses.pulse_ledger == str(tmp_path / "chip.json")
    listed = [{"name": name, "resource": one["address"]} for name, one in text["instruments"].items()]
    (tmp_path / "bench.json").write_text(json.dumps({"instruments": listed}))
    backend, network = load_backend("bench"), Network((2, 2))
    section = {"backend": "bench", "wiring": str(tmp_path / "wiring.yaml"), "loop": {"volts_per_unit": 0.1}}
    for addresses, kept in (({}, True), (str(tmp_path / "bench.json"), False)):
        (tmp_path / "chip.json").unlink(missing_ok=True)
        resolved = backend.resolve(section | {"addresses": addresses}, network)
        with backend.build(resolved, network, np.random.default_rng(0)):
            pass
        assert (tmp_path / "chip.json").exists() == kept


def test_a_scheme_that_is_not_wired_is_refused(bench):
    wiring = wiring_of(bench, write_scheme="third")
    wiring["cells"]["bias"] = []
    parsed = WiringConfig.model_validate({**wiring, "instruments": {
        name: one for name, one in wiring["instruments"].items() if name not in ("low", "high")}})  # fmt: skip
    with pytest.raises(InputError, match="bias"):
        arrays_of(parsed, Rack(parsed, drive_limits(parsed, 0.25, 2.0, 0.0, 1e-3)), 0.25, own=True)


def test_pulses_that_an_instrument_does_not_have_are_refused_before_it_is_opened(bench):
    with pytest.raises(InputError, match=r"pulse_seconds: .*expected 0.01 or more, got 0.001"):
        array_of(bench, pulse_seconds=1e-3)
    wiring = WiringConfig.model_validate(wiring_of(bench))
    limits = drive_limits(wiring, 0.25, 2.0, 0.0, 1e-3) | {"low": DriveLimits(0.7, 1e-3)}
    with pytest.raises(CapabilityError, match=r"write_scheme half: bias: 0.75 V is beyond the safe limit of 0.7 V"):
        arrays_of(wiring, Rack(wiring, limits), 0.25, own=True)


def test_a_matrix_that_joins_other_lines_is_not_driven(bench):
    with array_of(bench) as array:
        # Left on by somebody: one relay an input, one an output.
        array._station.matrix.rule = "single"
        before = bench.plant.conductances("array").copy()
        counts = np.zeros((ROWS, COLUMNS), dtype=int)
        counts[0, 1] = 4
        with pytest.raises(InstrumentError, match="did not close"):
            array.write_cells(WriteRequest("array", pulses=counts))
        with bench.lock:
            assert not bench.instruments["matrix"]._closed
        np.testing.assert_array_equal(bench.plant.conductances("array"), before)
        array._station.matrix.rule = "free"


@pytest.mark.parametrize("scheme", ["grounded", "half"])
@pytest.mark.parametrize("relay", [101, 104, 201, 204])
def test_a_pulse_that_an_open_relay_keeps_from_its_cell_is_known(bench, scheme, relay, caplog):
    """Drive (row 1) and sense (row 2) to the cell's row (column 1) and column (column 4). With that of the sense source
    open the drive still feeds the other cells of the line: its own current does not tell."""
    counts = np.zeros((ROWS, COLUMNS), dtype=int)
    counts[0, 0], counts[1, 2] = 3, 3
    with array_of(bench, write_scheme=scheme) as array:
        assert not array.write_cells(WriteRequest("array", pulses=counts)).failed.any()
        before = bench.plant.conductances("array").copy()
        with bench.lock:
            bench.faults.add(Rule("relay_stuck_open", "matrix", value=relay))
        report = array.write_cells(WriteRequest("array", pulses=counts))
        moved = bench.plant.conductances("array") - before
        found = array.read_cells()
        again = len(caplog.records)
        array.read_cells()
        bench.faults.clear()
    # Relays that take no part: the drive's to the column, the sense source's to the row.
    lost = relay in (101, 204)
    assert report.failed[0, 0] == lost
    assert report.failed.sum() == lost
    assert (moved[0, 0] > STEP) != lost
    assert moved[1, 2] > STEP
    told = [one.getMessage() for one in caplog.records if "relay" in one.getMessage()]
    dark = np.abs(found) < 1e-7
    assert len(told) == dark.sum() == (0 if not lost else COLUMNS if relay == 101 else ROWS)
    assert len(caplog.records) == again  # said once
    if lost:
        assert "cell (0, 0)" in told[0]
        assert "row 1, column 1 or row 2, column 4" in told[0]


def test_no_bias_stands_after_a_train_that_broke_off(bench):
    array = array_of(bench)
    for meter in array._station.meters:
        meter.session.seconds = 0.3
    with array:
        with bench.lock:
            rule = bench.faults.add(Rule("error", instrument="drive", pattern="INIT", text="refused"))
        counts = np.zeros((ROWS, COLUMNS), dtype=int)
        counts[0, 1] = 4
        with pytest.raises(InstrumentError, match="refused"):
            array.write_cells(WriteRequest("array", pulses=counts))
        with bench.lock:
            bench.faults.remove(rule)
            now = np.array([bench.clock.seconds])
            assert not bench.instruments["drive"].value("output")
            assert not bench.instruments["low"].value("output")
            assert not bench.fixture.volts([f"{name}.hi" for name in SMUS], now).any()
        # And what follows is set up anew.
        assert array.read_cell(0, 0) == pytest.approx(bench.plant.conductances("array")[0, 0], rel=2e-3)


def test_neurons_close_around_a_switched_array(bench, tmp_path):
    """A wiring without nodes: the network settles in software, by readings through the matrix."""
    path = tmp_path / "wiring.yaml"
    path.write_text(yaml.safe_dump(wiring_of(bench)))
    loop = {"settle": {"tolerance": 1e-3, "damping": 1.0}}
    backend = load_backend("bench")
    network = Network((2, 2))
    section = backend.resolve(
        {"backend": "bench", "wiring": str(path), "loop": loop | {"volts_per_unit": 0.1}}, network
    )
    with backend.build(section, network, np.random.default_rng(0)) as device:
        inputs = np.array([[0.05, -0.1]])
        device.hold(inputs)
        found = device.settle().volts[0, 0] / 0.1
        siemens = bench.plant.conductances("array")
        weights = (siemens[:, :2] - siemens[:, 2:]) / device.scale.unit_siemens
        wanted = np.tanh(np.array([0.5, -1.0, 1.0]) @ weights)
        np.testing.assert_allclose(found, wanted, atol=5e-3)
        assert set(device.instruments.snapshot()) == {*SMUS, "matrix"}
    assert quiet(bench)


def test_a_drive_at_its_compliance_is_no_conductance(bench):
    """With the other columns grounded the drive feeds the whole row, and holds less than it was told."""
    with array_of(bench, read_amperes=1.5e-5) as array, pytest.raises(CapabilityError, match="compliance"):
        array.read_cell(0, 0)
    with array_of(bench) as array:
        assert array.read_cell(0, 0) == pytest.approx(bench.plant.conductances("array")[0, 0], rel=2e-3)
