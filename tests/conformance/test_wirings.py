"""Every instrument in the roles that its nature permits, by wiring files; and refused where it does not."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from test_same_experiment import agrees, compared, learns, measured_on
from xor_bench import EMULATOR, STEP, bench_file, experiment, nodes, wiring

from drivers.keysight_b2200 import KeysightB2200
from drivers.limits import DriveLimits
from drivers.rack import Rack
from drivers.ready_bench import ready_addresses
from drivers.srs_sr830 import Sr830
from drivers.wired_limits import drive_limits
from drivers.wiring import WiringConfig, load_wiring
from emulators.bench.bench import VirtualBench
from substrate.capabilities import Nudge, WriteRequest
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.gradient_check import check_gradient
from substrate.tones import SamplingPlan

PITAYA_SIEMENS = 1.0e-5
"""Of converters behind outputs of 1 V."""

DRIVING = ("inputs", "nudges", "clock")


def others(seed=0):
    """The bench of ``bench_file`` with Red Pitayas, Rigols, a 2600 and a 2450 in place of its generators and meters."""
    file = bench_file(seed)
    instruments = file["instruments"]
    for name in DRIVING:
        wired = instruments[name].get("channels", {})
        instruments[name] = {
            "model": "red-pitaya-125-14",
            "channels": {f"out{port}": terminal for port, terminal in wired.items()},
        }
    for one in instruments["nudges"]["channels"].values():
        one["transconductance_siemens"] = PITAYA_SIEMENS
    for name in ("left", "right"):
        channels = instruments[name]["channels"] | {4: "clock.out1"}
        instruments[name] = {"model": "rigol-ds1104z", "channels": channels}
    for name in ("drive", "sense"):
        del instruments[name]
    instruments["meters"] = {"model": "keithley-2612b", "channels": {"a": "matrix.in1", "b": "matrix.in2"}}
    instruments["bias"]["model"] = "keithley-2450"
    return file


def their_wiring(resources):
    text = wiring({**dict.fromkeys(("drive", "sense"), ""), **resources})
    for name in DRIVING:
        text["instruments"][name]["model"] = "red-pitaya"
    for name in ("left", "right"):
        text["instruments"][name]["model"] = "rigol-ds1000z"
    for one in text["nudges"].values():
        one["siemens"] = PITAYA_SIEMENS
    for name, channel in (("drive", "a"), ("sense", "b")):
        del text["instruments"][name]
        meter = {"model": "keithley-2600", "channel": channel, "address": resources["meters"]}
        text["instruments"][f"meters-{channel}"] = meter
        text["cells"][name]["instrument"] = f"meters-{channel}"
    text["instruments"]["bias"]["model"] = "keithley-2450"
    return text


def section(text, folder, **more):
    for one in text["instruments"].values():
        one["timeout_seconds"] = 10.0  # of a machine with other things to do
    path = folder / "wiring.yaml"
    path.write_text(yaml.safe_dump(text))
    return {"backend": "bench", "wiring": str(path), **more}


def program(bench, folder, overrides=()):
    """Initial weights by the emulator's own writing: what the instruments write is looked at elsewhere."""
    emulated = assemble(experiment(EMULATOR, folder, overrides))
    with bench.lock:
        replace(emulated, substrate=bench.plant.substrate).controller().program(emulated.initial_weights())
        bench.plant.cells_changed()
    return emulated


def quiet(bench, instruments):
    """That outputs of these instruments are at 0 V."""
    now = np.array([bench.clock.seconds, bench.clock.seconds + 1.3e-4])
    nodes = [f"{name}.{port}" for name in instruments for port in instruments[name]]
    assert not bench.fixture.volts(nodes, now).any()


@pytest.mark.slow  # as what follows, but to the end: pytest -m slow tests/conformance/test_wirings.py
def test_it_learns_between_red_pitayas_rigols_and_a_2600(tmp_path):
    with VirtualBench(others()) as bench:
        program(bench, tmp_path)
        learns(section(their_wiring(bench.resources), tmp_path), tmp_path)
        quiet(bench, dict.fromkeys(DRIVING, ("out1", "out2")) | {"meters": "ab", "bias": ("hi",)})


def mixed(seed=0):
    """Every node another way: a Rigol, a Red Pitaya, an SR830 and an SR860; one input by a 2450."""
    file = others(seed)
    instruments, names = file["instruments"], nodes()
    instruments["inputs"]["channels"] = {"out1": "input0"}
    instruments["holder"] = {"model": "keithley-2450", "channels": {"hi": "input1"}}
    instruments["right"] = {"model": "red-pitaya-125-14", "channels": {"in1": names[3], "in2": "clock.out1"}}
    for model, node in (("sr830", names[4]), ("sr860", names[5])):
        wired = {"a": node, "aux_in1": node, "ref": "clock.out1"}
        instruments[model] = {"model": f"srs-{model}", "channels": wired}
    # Instruments without LAN are behind adapters.
    file["adapters"] = {"one": {}, "two": {}}
    instruments["sr830"] |= {"transport": "gpib", "adapter": "two", "address": 8}
    instruments["matrix"] |= {"transport": "gpib", "adapter": "one", "address": 22}
    return file


def mixed_wiring():
    names = nodes()
    text = their_wiring(dict.fromkeys([*bench_file()["instruments"], "meters"], "TCPIP::nowhere::1::SOCKET"))
    text["instruments"]["right"]["model"] = "red-pitaya"
    for name, model in (("holder", "keithley-2450"), ("sr830", "srs-sr830"), ("sr860", "srs-sr860")):
        text["instruments"][name] = {"model": model, "address": "TCPIP::nowhere::1::SOCKET"}
    text["inputs"] = ["inputs.1", "holder.1"]
    text["nodes"] |= {names[3]: "right.1", names[4]: "sr830.1", names[5]: "sr860.1"}
    text["reference"]["seen"] = {"left": 4, "right": 2, "sr830": "ref", "sr860": "ref"}
    return text


@pytest.fixture(scope="module")
def mixture():
    with VirtualBench(mixed()) as bench:
        yield bench


def ready_file(bench, folder):
    """What ``substrate bench --ready-file`` writes."""
    listed = [{"name": name, "resource": resource} for name, resource in bench.resources.items()]
    path = folder / "ready.json"
    path.write_text(json.dumps({"instruments": listed}))
    return path


def test_every_reader_sees_the_circuit(mixture, tmp_path):
    program(mixture, tmp_path)
    device = mixture.plant.substrate
    given = section(mixed_wiring(), tmp_path, addresses=str(ready_file(mixture, tmp_path)))
    amperes = np.zeros((2, 6))
    amperes[:, 4:] = [[2e-6, -1e-6], [-1e-6, 2e-6]]
    plan = SamplingPlan(1.0e4, 3, 8, 2)
    with assemble(experiment(given, tmp_path)).substrate as driver:
        driver.hold(np.array([[0.1, -0.2], [-0.05, 0.15]]))
        free, found = driver.settle(), driver.nudge(Nudge(amperes), plan)
        device.hold(np.array([[0.1, -0.2], [-0.05, 0.15]]))
        wanted_free, wanted = device.settle(), device.nudge(Nudge(amperes), plan)
        held = driver.read_cells("output-hidden1")
    assert not free.saturated.any()
    assert not found.saturated.any()
    # Least steps: 4 mV of the Rigol's code and a third of a millivolt of auxiliary inputs; records average noise.
    np.testing.assert_allclose(free.volts, wanted_free.volts, atol=5e-4)
    np.testing.assert_allclose(found.volts, wanted.volts, atol=1.5e-3)
    moved, expected = (one.volts - one.volts.mean(axis=1, keepdims=True) for one in (found, wanted))
    for node in range(6):
        error = np.abs(moved[..., node] - expected[..., node]).max()
        # Of the Rigol's 8 bits, and of the others' 14 and more; what lies beyond the harmonics is left out by all.
        assert error < (5e-4 if node < 3 else 0.03 * np.abs(expected[..., node]).max()), nodes()[node]
    cells = np.stack([mixture.plant.conductances(f"output-hidden1{sign}") for sign in "+-"])
    np.testing.assert_allclose(held, cells, rtol=2e-3)
    quiet(mixture, dict.fromkeys(DRIVING, ("out1", "out2")) | {"meters": "ab", "bias": ("hi",), "holder": ("hi",)})


def test_gradients_by_all_readers_agree(mixture, tmp_path):
    fine = ["nudge.amplitude=0.3", "nudge.samples_per_period=8", "nudge.frequency_hz=10000.0", "seed=1"]
    emulated = program(mixture, tmp_path, fine)
    given = section(mixed_wiring(), tmp_path, addresses=str(ready_file(mixture, tmp_path)))
    on_bench = assemble(experiment(given, tmp_path, fine))
    with on_bench.substrate:
        scores, error, cosine = compared(on_bench, emulated, measured_on(mixture.plant.substrate), rounds=2)
    agrees([(scores, error, cosine)])


def test_both_channels_of_a_2600_write_cells(mixture, tmp_path):
    program(mixture, tmp_path)
    given = section(mixed_wiring(), tmp_path, addresses=str(ready_file(mixture, tmp_path)))
    counts = np.zeros((2, 2, 4), dtype=int)
    counts[0, 1, 2], counts[1, 0, 3] = 5, -4
    before = [mixture.plant.conductances(f"output-hidden1{sign}").copy() for sign in "+-"]
    with assemble(experiment(given, tmp_path)).substrate as driver:
        driver.write_cells(WriteRequest("output-hidden1", pulses=counts))
    moved = np.stack([mixture.plant.conductances(f"output-hidden1{sign}") for sign in "+-"]) - before
    assert moved[0, 1, 2] == pytest.approx(5 * STEP, rel=0.3)
    assert moved[1, 0, 3] == pytest.approx(-4 * STEP, rel=0.3)
    assert np.count_nonzero(np.abs(moved) > 0.3 * STEP) == 2


REFUSED = {
    "an oscilloscope holds no input": (
        {"inputs": ["left.1", "holder.1"]},
        "inputs.0: left is a rigol-ds1000z, which cannot hold a voltage; expected a waveform generator",
    ),
    "a lock-in holds no input": ({"inputs": ["sr830.1", "holder.1"]}, "inputs.0: sr830 is a srs-sr830, .* hold"),
    "a source meter puts out no sine": (
        {"nudges": {"output.0": {"port": "holder.1", "siemens": 1e-5}}},
        "nudges.output.0: holder is a keithley-2450, which cannot put out a sine",
    ),
    "a matrix reads no node": (
        {"nodes": {"hidden1.0": "matrix.1"}},
        "nodes.hidden1.0: matrix is a keysight-b2200, which cannot read the voltage of a node; expected ",
    ),
    "a generator is no reference but by a sine": ({"reference": {"port": "left.1"}}, "reference.port: left .* sine"),
    "a digitizer has two inputs": ({"nodes": {"hidden1.3": "right.3"}}, "nodes.hidden1.3: .* right.1, right.2, got"),
    "an input that sees the reference reads no node": ({"nodes": {"hidden1.3": "right.2"}}, "seen.right: .* free"),
    "two nodes at one input": ({"nodes": {"hidden1.0": "left.2"}}, "nodes.hidden1.0: expected one of its own"),
    "a lock-in sees the reference elsewhere": ({"reference": {"seen": {"sr830": 1}}}, "seen.sr830: .* expected ref"),
    "a reader sees no reference": ({"reference": {"seen": {"left": None}}}, "reference.seen: left does not see it"),
    "a meter of the matrix is at no node": ({"inputs": ["bias.1", "holder.1"]}, "inputs.0: bias is at the matrix"),
    "a generator joins no lines": (
        {"cells": {"matrix": "clock"}},
        "cells.matrix: clock is a red-pitaya, which cannot join source meters to lines; expected a switch matrix",
    ),
    "a matrix measures no cell": (
        {"cells": {"drive": {"instrument": "matrix"}}},
        "cells.drive: matrix is a keysight-b2200, which cannot source a voltage and measure its current",
    ),
    "nobody": ({"inputs": ["nobody.1", "holder.1"]}, "inputs.0: the section instruments has no 'nobody'"),
    "an output that is none": ({"inputs": ["inputs.3", "holder.1"]}, "inputs.0: inputs has the outputs 1, 2"),
    "a channel of others": ({"instruments": {"bias": {"channel": "a"}}}, "instruments.bias.*channel: of a keithley-26"),
    "an unknown model": ({"instruments": {"bias": {"model": "x"}}}, "instruments.bias.*model: expected one of"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_an_instrument_cannot_do_is_said(what, tmp_path):
    change, message = REFUSED[what]
    given = section(_changed(mixed_wiring(), change), tmp_path)
    with pytest.raises(InputError, match=message):
        assemble(experiment(given, tmp_path))


def _changed(text, change):
    """With some keys replaced; None takes one away."""
    if not isinstance(change, dict):
        return change
    kept = {key: value for key, value in text.items() if change.get(key, "") is not None}
    return kept | {key: _changed(text.get(key, {}), one) for key, one in change.items() if one is not None}


def test_a_ready_file_that_lacks_an_instrument_is_refused(mixture, tmp_path):
    text = _changed(
        mixed_wiring(), {"instruments": {"other": {"model": "rigol-ds1000z", "address": "TCPIP::h::1::SOCKET"}}}
    )
    section(text, tmp_path)
    with pytest.raises(InputError, match="has no instrument 'other'"):
        load_wiring(tmp_path / "wiring.yaml", ready_addresses(ready_file(mixture, tmp_path)))
    for content in ("{}", "no JSON", '{"instruments": [{"name": "left"}]}'):
        (tmp_path / "ready.json").write_text(content)
        with pytest.raises(InputError, match="ready file"):
            ready_addresses(tmp_path / "ready.json")


def test_gpib_addresses_of_a_ready_file_lead_through_their_adapters(mixture, tmp_path):
    section(mixed_wiring(), tmp_path)
    found = load_wiring(tmp_path / "wiring.yaml", ready_addresses(ready_file(mixture, tmp_path))).instruments
    host_and_port = {name: "::".join(mixture.resources[name].split("::")[1:3]) for name in ("one", "two")}
    assert found["sr830"].address == f"PRLGX-TCPIP::{host_and_port['two']}::GPIB::8"
    assert found["matrix"].address == f"PRLGX-TCPIP::{host_and_port['one']}::GPIB::22"
    assert found["meters-a"].address == found["meters-b"].address == mixture.resources["meters"]
    for name, kind in (("sr830", Sr830), ("matrix", KeysightB2200)):
        options = (DriveLimits(0.25),) if kind is Sr830 else ()
        with kind(found[name].address, *options) as driver:
            assert driver.identity


def test_limits_are_those_of_the_role():
    wired = WiringConfig.model_validate(mixed_wiring())
    limits = drive_limits(wired, 0.25, 2.0, 2e-6, 1e-3)
    assert limits["holder"] == limits["inputs"] == DriveLimits(0.25, 1e-3)
    assert limits["nudges"].volts == pytest.approx(2e-6 / PITAYA_SIEMENS)
    assert limits["clock"] == DriveLimits(1.0, 1e-3)
    assert limits["meters-a"] == limits["bias"] == DriveLimits(2.0, 1e-3)
    # What only reads puts out no more than a reading may be.
    assert limits["right"] == limits["sr830"] == DriveLimits(0.25, 1e-3)
    # What has no role drives nothing.
    idle = WiringConfig.model_validate(mixed_wiring() | {"inputs": ["inputs.1"]})
    meter = Rack(idle, drive_limits(idle, 0.25, 2.0, 2e-6, 1e-3)).source_meter("", "holder")
    with pytest.raises(CapabilityError):
        meter.source_volts(1.0e-3, 1.0e-6)


def test_a_check_of_gradients_says_what_to_wire(tmp_path):
    """Before anything is opened: there is nothing at these addresses."""
    device = assemble(experiment(section(mixed_wiring(), tmp_path), tmp_path))
    with pytest.raises(
        CapabilityError, match=r"multiplexed reference: nodes without a nudge: hidden1\.0, .* nudges in"
    ):
        check_gradient(device)
