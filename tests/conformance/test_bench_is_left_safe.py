"""However a bench is left, its outputs end at zero: asked of the virtual bench's own state."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from xor_bench import EMULATOR, bench_file, bench_section, driven, experiment

from drivers.errors import BenchError, ConnectionLost
from drivers.keithley_2400 import Keithley2400
from drivers.keysight_33500b import Keysight33500B
from drivers.limits import DriveLimits
from drivers.rack import Rack
from drivers.wired_arrays import arrays_of
from drivers.wired_limits import drive_limits
from drivers.wiring import load_wiring
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import Rule
from substrate.capabilities import Nudge, WriteRequest
from substrate.errors import CapabilityError
from substrate.experiment.assembly import assemble
from substrate.tones import SamplingPlan

PLAN = SamplingPlan(1000.0, 3, 8, 1)


@pytest.fixture(scope="module")
def bench():
    with VirtualBench(bench_file()) as found:
        yield found


@pytest.fixture
def device(bench, tmp_path):
    section = bench_section(bench.resources, tmp_path)
    text = (tmp_path / "wiring.yaml").read_text()
    (tmp_path / "wiring.yaml").write_text(text.replace("address:", "timeout_seconds: 0.3\n    address:"))
    return assemble(experiment(section, tmp_path)).substrate


def nudged(device, amperes=1e-6):
    device.hold(np.array([[0.1, -0.1]]))
    device.settle()
    currents = np.zeros((1, 6))
    currents[:, 4:] = amperes
    return device.nudge(Nudge(currents), PLAN)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_ends_at_zero(bench, device, error):
    def use():
        with device:
            nudged(device)
            assert driven(bench)
            raise error

    with pytest.raises(error):
        use()
    assert driven(bench) == []


@pytest.mark.parametrize("name", ["left", "nudges", "inputs"])
def test_a_server_that_dies_leaves_the_others_at_zero(bench, device, name):
    rules = []

    def use():
        with device:
            nudged(device)
            assert driven(bench)
            with bench.lock:
                rules.extend(
                    bench.faults.add(Rule(kind, instrument=name, count=None)) for kind in ("drop_before", "refuse")
                )
            nudged(device, 1.1e-6)

    with pytest.raises(BenchError):
        use()
    still = [place for place in driven(bench) if not str(place).startswith(f"{name}.") and place != name]
    with bench.lock:
        for rule in rules:
            bench.faults.remove(rule)
        # The hand on the front panel, for what could not be reached.
        bench.instruments[name].outputs_off()
    assert still == []
    assert driven(bench) == []


def leave_on(bench):
    """A host that died left these on, as they are before anything is opened."""
    for model, name in ((Keithley2400, "drive"), (Keithley2400, "bias")):
        meter = model(bench.resources[name], DriveLimits(2.0, 1e-3))
        meter.open()
        meter.source_volts(1.5, 1e-3)
        meter.enable()
        meter.close()
    generator = Keysight33500B(bench.resources["nudges"], DriveLimits(1.0, 1.0))
    generator.open()
    generator.waveform_outputs[1].dc(0.5)
    generator.waveform_outputs[1].enable()
    generator.close()
    assert {"drive", "bias", "nudges.1"} <= set(driven(bench))


@pytest.mark.parametrize(
    ("what", "absent"), [("bench", ("inputs",)), ("bench", ("matrix", "sense")), ("array", ("matrix", "sense"))]
)
def test_instruments_that_are_not_there_leave_no_others_driving(bench, device, tmp_path, what, absent):
    if what == "array":
        wiring = load_wiring(tmp_path / "wiring.yaml")
        rack = Rack(wiring, drive_limits(wiring, 0.25, 2.0, 1e-5, 1e-3))
        device = arrays_of(wiring, rack, 0.25, own=True)["input-hidden1+"]
    leave_on(bench)
    with bench.lock:
        rules = [bench.faults.add(Rule("refuse", instrument=name, count=None)) for name in absent]
    with pytest.raises(ConnectionLost) as caught, device:
        pass
    still = driven(bench)
    with bench.lock:
        for rule in rules:
            bench.faults.remove(rule)
        for name in ("drive", "bias", "nudges"):
            bench.instruments[name].outputs_off()
    # An array by itself has no generators.
    assert [place for place in still if what == "bench" or not str(place).startswith("nudges")] == []
    said = [str(caught.value), *getattr(caught.value, "__notes__", ())]
    for name in absent:
        address = bench.resources[name].split("::")[2]
        assert any(address in text and (what == "array" or f"instruments.{name}" in text) for text in said)


def test_an_answer_lost_among_pulses_ends_at_zero(bench, device):
    counts = np.zeros((2, 3, 4), dtype=int)
    counts[0, :, 0] = 2

    def use():
        with device:
            device.write_cells(WriteRequest("input-hidden1", pulses=counts))

    with bench.lock:
        rule = bench.faults.add(Rule("no_answer", instrument="drive", pattern="FETC", after=1, count=None))
    with pytest.raises(BenchError):
        use()
    with bench.lock:
        bench.faults.remove(rule)
    assert driven(bench) == []


def test_nothing_beyond_the_limits_leaves(bench, device):
    with device:
        for volts in (0.26, np.inf, np.nan):
            with pytest.raises((CapabilityError, ValueError)):
                device.hold(np.array([[volts, 0.0]]))
        device.hold(np.array([[0.1, 0.1]]))
        device.settle()
        with pytest.raises(CapabilityError):
            device.nudge(Nudge(np.full((1, 6), 1e-3) * np.array([0, 0, 0, 0, 1, 1])), PLAN)
        # Past the contract's check, the driver's own still stands.
        with pytest.raises(CapabilityError):
            device._put_inputs(np.array([1.0, 0.0]))
        with pytest.raises(CapabilityError):
            device._put_currents(np.array([0, 0, 0, 0, 1e-3, 0]))
    assert driven(bench) == []


def test_ctrl_c_twice_ends_at_zero(bench, tmp_path):
    emulated = assemble(experiment(EMULATOR, tmp_path))
    with bench.lock:
        # Weights that are there already are soon programmed.
        replace(emulated, substrate=bench.plant.substrate).controller().program(emulated.initial_weights())
        bench.plant.cells_changed()
    chosen = experiment(bench_section(bench.resources, tmp_path), tmp_path, ["training.epochs=1000"])
    path = tmp_path / "long.yaml"
    path.write_text(chosen.to_yaml())
    command = [sys.executable, "-m", "substrate.cli", "run", str(path), "--quiet", "--output", str(tmp_path / "run.h5")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 60.0
        while not driven(bench) and time.monotonic() < end:
            time.sleep(0.05)
        assert driven(bench)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30.0) == 130, process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()
    assert driven(bench) == []
