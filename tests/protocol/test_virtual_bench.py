"""Instruments of the virtual bench over the wire: independent clients, and what they read against theory."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvisa
import yaml
from pymeasure.adapters import PrologixAdapter
from pymeasure.instruments.agilent import Agilent33500
from pymeasure.instruments.keithley import Keithley2400
from pymeasure.instruments.keysight import KeysightDSOX1102G

from emulators import Crossbar, Lines
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import Rule
from substrate.capabilities import Nudge
from substrate.errors import InputError
from substrate.tones import SamplingPlan

Open = Callable[..., VirtualBench]

CROSSBAR: dict[str, Any] = {
    "seed": 1,
    "crossbar": {
        "name": "array",
        "shape": [4, 5],
        "update": {"law": "soft_bounds", "step": 0.01},
        "wires": {"segment_ohms": 2.0},
        "cells": {"spread": 0.2},
        "initial_siemens": 3.0e-5,
    },
    "writing": {"volts": 1.5, "seconds": 1.0e-3},
    "instruments": {
        "drive": {"model": "keithley-2400", "channels": {"hi": "matrix.in1"}},
        "sense": {"model": "keithley-2400", "channels": {"hi": "matrix.in2"}},
        "matrix": {
            "model": "keysight-b2201a",
            "channels": {f"out{k + 1}": f"array.row{k}" for k in range(4)}
            | {f"out{k + 5}": f"array.col{k}" for k in range(5)},
        },
    },
    "grounds": ["matrix.in14"],
}
NETWORK: dict[str, Any] = {
    "seed": 1,
    "network": {"family": "current_mode", "layers": [2, 4, 1]},
    "substrate": {
        "backend": "emulator",
        "update": {"law": "soft_bounds", "step": 0.01},
        "wires": {"segment_ohms": 1.0},
    },
    "instruments": {
        "inputs": {"model": "keysight-33512b", "channels": {1: "input0", 2: "input1"}},
        "nudge": {
            "model": "keysight-33512b",
            "channels": {1: {"terminal": "output.0", "transconductance_siemens": 1.0e-6}},
        },
        "scope": {"model": "keysight-dsox3024t", "channels": {1: "output.0", 2: "nudge.1"}},
    },
}
GENERATOR: dict[str, Any] = {
    "crossbar": {"shape": [2, 2]},
    "instruments": {"generator": {"model": "keysight-33512b", "channels": {1: "array.row0"}}},
}


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Opens PyMeasure's instruments, or bare VISA resources, and closes them."""
    manager = pyvisa.ResourceManager("@py")
    opened: list[Any] = []

    def open_one(resource: str, kind: Any = None, timeout: int = 2000) -> Any:
        settings = {"read_termination": "\n", "write_termination": "\n"}
        if kind is None:
            opened.append(manager.open_resource(resource, timeout=timeout, **settings))
            return opened[-1]
        instrument = kind(resource, visa_library="@py", **settings)
        opened.append(instrument.adapter)
        return instrument

    yield open_one
    for one in opened:
        one.close()
    manager.close()


def test_a_2400_through_the_matrix_reads_cells_and_sneak_paths(
    virtual_bench: Open, connect: Callable[..., Any]
) -> None:
    bench = virtual_bench(CROSSBAR)
    drive, sense = (connect(bench.resources[name], Keithley2400) for name in ("drive", "sense"))
    matrix = connect(bench.resources["matrix"])
    for smu in (drive, sense):
        smu.reset()
        smu.source_mode = "voltage"
        smu.compliance_current = 1e-3
        smu.enable_source()
    drive.source_voltage = 0.2
    matrix.write(":CLOS (@00101,00207)")  # drive to row 0, sense to column 2, at 0 V
    assert matrix.query(":CLOS:CARD? 0") == "(@00101,00207)"
    siemens, ohms = bench.plant.conductances("array"), 1.0
    circuit = Crossbar(siemens, 2.0, 2.0, ohms, ohms)
    floating = Lines(("driven", *["floating"] * 3), ("floating", "floating", "sensed", "floating", "floating"))
    sneak = circuit.solve([0.2], floating).bitline_currents[2]
    step = 1e-9  # a digit of the 100 uA range
    assert -sense.current == pytest.approx(sneak, abs=3 * step)
    assert drive.current == pytest.approx(sneak, abs=3 * step)
    matrix.write(":CLOS (@01402:01406,01408:01409)")  # all other lines to ground
    assert matrix.query(":CLOS? (@01402,01407)") == "1,0"
    cell = circuit.solve([0.2] + [0.0] * 8, Lines.all_driven(4, 5)).bitline_currents[2] / 0.2
    assert -sense.current / 0.2 == pytest.approx(cell, abs=3 * step / 0.2)
    assert cell == pytest.approx(siemens[0, 2], rel=2e-3)
    assert abs(sneak / 0.2 / cell - 1.0) > 0.1  # it matters
    assert drive.voltage == pytest.approx(0.2, abs=2e-6)
    everything = drive.measure_all()
    assert everything["resistance"] == pytest.approx(everything["voltage"] / everything["current"], rel=1e-5)
    assert drive.check_errors() == sense.check_errors() == []
    assert matrix.query("SYST:ERR?") == '+0,"No error"'


def test_compliance_limits_the_current_and_says_so(virtual_bench: Open, connect: Callable[..., Any]) -> None:
    bench = virtual_bench(CROSSBAR)
    smu, matrix = connect(bench.resources["drive"], Keithley2400), connect(bench.resources["matrix"])
    assert matrix.query("CLOS (@00101,01407);*OPC?") == "1"
    smu.source_voltage, smu.compliance_current = 0.2, 2e-6
    smu.enable_source()
    assert smu.current == pytest.approx(2e-6, abs=1e-9)
    assert smu.voltage < 0.1
    assert smu.ask(":SENS:CURR:PROT:TRIP?").strip() == "1"
    assert int(smu.measure_all()["status"]) & 8
    smu.disable_source()
    smu.write(":READ?")
    assert smu.ask(":SYST:ERR?").strip() == '803,"Not permitted with OUTPUT off"'


def test_pulses_of_a_list_sweep_program_the_cell_that_they_reach(
    virtual_bench: Open, connect: Callable[..., Any]
) -> None:
    bench = virtual_bench(CROSSBAR)
    drive, matrix = connect(bench.resources["drive"]), connect(bench.resources["matrix"])
    matrix.write("CLOS (@00102,01407)")  # row 1 driven, column 2 grounded, the rest floating
    matrix.query("*OPC?")
    before = bench.plant.conductances("array").copy()
    drive.write("SOUR:VOLT:MODE LIST;:SOUR:LIST:VOLT 1.5,0,1.5,0;:TRIG:COUN 4;:SENS:CURR:PROT 1e-3;NPLC 0.01")
    drive.write("SOUR:DEL 0.4e-3;:SYST:AZER OFF;:OUTP ON")
    drive.query("READ?")
    moved = bench.plant.conductances("array") - before
    # Each pulse lasts for a delay, an integration and the overhead: 0.4 + 0.2 + 0.5 ms, about one nominal pulse.
    assert moved[1, 2] == pytest.approx(2 * 0.01 * (1e-4 - before[1, 2]), rel=0.05)
    others = np.ones((4, 5), dtype=bool)
    others[1, 2] = False
    assert not moved[others].any()


def test_a_scope_sees_the_network_as_its_emulator_does(virtual_bench: Open, connect: Callable[..., Any]) -> None:
    bench = virtual_bench(NETWORK)
    inputs, nudge = (connect(bench.resources[name], Agilent33500) for name in ("inputs", "nudge"))
    with pytest.warns(FutureWarning, match="SCPI"):
        scope = connect(bench.resources["scope"], KeysightDSOX1102G)
    for channel, volts in ((inputs.ch_1, 0.05), (inputs.ch_2, -0.1)):
        channel.output_load, channel.shape, channel.offset, channel.output = "INF", "DC", volts, "on"
    tone = nudge.ch_1
    tone.output_load, tone.shape, tone.frequency, tone.amplitude, tone.phase = "INF", "SIN", 1000.0, 0.2, 90.0
    tone.output = "on"
    assert (tone.frequency, tone.amplitude, tone.shape) == (1000.0, 0.2, "SIN")
    assert inputs.check_errors() == nudge.check_errors() == []
    scope.ch1.range, scope.ch1.offset, scope.ch2.range = 0.02, 0.004, 0.4
    scope.acquisition_type = "hresolution"
    scope.timebase_setup(horizontal_range=2e-3, offset=0.0)
    scope.write(":TIM:REF LEFT;:TRIG:SOUR CHAN2;LEV 0;SLOP NEG;:TRIG:SWE NORM")
    scope.waveform_points = 1000
    scope.digitize("channel1")
    assert scope.ask("*OPC?").strip() == "1"
    volts, preamble = scope.download_data("channel1", 1000)
    assert (preamble["points"], preamble["xincrement"]) == (1000, 2e-6)
    assert scope.ch1.current_configuration["RANG"] == 0.02
    # The trigger is the falling zero of the nudge, a quarter of a period after its crest.
    seconds = np.arange(1000) * preamble["xincrement"] + preamble["xorigin"]
    place = np.round((seconds + 0.25e-3) * 500e3).astype(int) % 500
    chip = bench.plant.substrate
    chip.hold([[0.05, -0.1]])
    chip.settle()
    record = chip.nudge(Nudge(np.array([[0, 0, 0, 0, 1e-7]])), SamplingPlan(1000.0, 3, 500, 1)).volts[0, :, 4]
    error = volts - record[place]
    assert np.ptp(record) > 5e-3
    noise = np.hypot(50e-6 / 16, 0.02 / 4096 / np.sqrt(12))
    assert np.sqrt(np.mean(error**2)) == pytest.approx(noise, rel=0.15)
    assert abs(error.mean()) < 5 * noise / np.sqrt(1000) + 1e-7
    # The same bytes, read as words.
    scope.write(":WAV:FORM WORD;BYT LSBF")
    words = scope.adapter.connection.query_binary_values(":WAV:DATA?", datatype="H")
    fields = [float(field) for field in scope.ask(":WAV:PRE?").split(",")]
    np.testing.assert_allclose((np.array(words) - fields[9]) * fields[7] + fields[8], volts, atol=1.5 * fields[7])


def test_generators_share_one_clock(virtual_bench: Open, connect: Callable[..., Any]) -> None:
    bench = virtual_bench(NETWORK)
    one, two = connect(bench.resources["inputs"]), connect(bench.resources["nudge"])
    for generator in (one, two):
        generator.write("OUTP:LOAD INF;:FREQ 1234;:VOLT 1;:PHAS 30;:OUTP ON")
        generator.query("*OPC?")
        bench.clock.advance(0.123)
    times = bench.clock.seconds + np.arange(100) * 1e-5
    volts = bench.fixture.volts(["inputs.1", "nudge.1"], times)
    np.testing.assert_allclose(volts[:, 1], volts[:, 0] / (1 + 50e-6), rtol=1e-12)  # 1 Mohm of the scope
    np.testing.assert_allclose(volts[:, 0], 0.5 * np.sin(2 * np.pi * 1234 * times + np.pi / 6), atol=2e-5)


def test_bursts_wait_for_the_bus_and_waiting_takes_simulated_time(virtual_bench: Open, connect: Any) -> None:
    bench = virtual_bench(GENERATOR)
    generator = connect(bench.resources["generator"])
    generator.write("FUNC SQU;FREQ 100;VOLT:HIGH 1;LOW 0;:OUTP:LOAD INF;:OUTP ON;:BURS:STAT ON;NCYC 5;:TRIG:SOUR BUS")
    assert generator.query("*TRG;*OPC?") == "1"
    assert bench.clock.seconds == pytest.approx(0.05)
    fine = np.arange(0.0, 0.1, 1e-4)
    high = bench.fixture.volts(["generator.1"], fine + 5e-5)[:, 0] > 0.25
    assert np.count_nonzero(high[1:] & ~high[:-1]) == 4  # the first rises at once
    assert high.sum() == pytest.approx(5 * 50, abs=1)


def test_a_pty_and_a_gpib_adapter_serve_the_same_instrument(
    virtual_bench: Open, connect: Callable[..., Any], tmp_path: Path
) -> None:
    config = {
        "crossbar": {"shape": [2, 2]},
        "adapters": {"gpib": {}},
        "instruments": {
            "serial": {"model": "keithley-2400", "transport": "pty", "link": str(tmp_path / "smu")},
            "bus": {"model": "keithley-2400", "transport": "gpib", "adapter": "gpib", "address": 24},
        },
    }
    bench = virtual_bench(config)
    serial = connect(bench.resources["serial"])
    assert "MODEL 2400" in serial.query("*IDN?")
    kind, host, port, _ = bench.resources["gpib"].split("::")
    assert kind.startswith("PRLGX-TCPIP")
    # Both of the clients that know such adapters.
    adapter = PrologixAdapter(
        f"TCPIP::{host}::{port}::SOCKET", 24, visa_library="@py", read_termination="\n", write_termination="\n"
    )
    smu = Keithley2400(adapter)
    smu.source_voltage = 0.25
    assert smu.source_voltage == 0.25
    adapter.close()
    manager = pyvisa.ResourceManager("@py")
    interface = manager.open_resource(bench.resources["gpib"])
    device = manager.open_resource(bench.resources["bus"])
    assert device.query(":SOUR:VOLT?") == "+2.500000E-01\n"
    device.close()
    interface.close()
    with socket.create_connection((host, int(port)), timeout=2) as line:
        line.sendall(b"++mode 1\n++auto 0\n++addr 24\n++addr\n")
        assert line.recv(100) == b"24\r\n"
        line.sendall(b"*IDN?\n++read eoi\n")
        assert b"MODEL 2400" in line.recv(200)
        # An answer that was never fetched is lost, and reported.
        line.sendall(b"*IDN?\nSYST:ERR?\n++read eoi\n")
        assert line.recv(200) == b'-410,"Query INTERRUPTED"\n'
        line.sendall(b"++addr 3\n*IDN?\n++read eoi\n++ver\n")
        assert line.recv(200).startswith(b"Prologix")


def ask(line: socket.socket, message: bytes, wait: float = 0.3) -> bytes:
    """One question on a bare socket; nothing at all where the connection is gone."""
    line.settimeout(wait)
    try:
        line.sendall(message + b"\n")
        return line.recv(4096)
    except TimeoutError:
        return b"(nothing)"
    except (ConnectionResetError, BrokenPipeError):
        return b""


ANSWER = b"+1.000000000000000E+03\n"


@pytest.mark.parametrize(
    ("rule", "answers"),
    [
        ({"kind": "no_answer"}, [b"(nothing)", ANSWER]),
        ({"kind": "no_answer", "pattern": "PHAS"}, [ANSWER, ANSWER]),
        ({"kind": "no_answer", "after": 1}, [ANSWER, b"(nothing)"]),
        ({"kind": "stale"}, [b"(nothing)", ANSWER + ANSWER]),
        ({"kind": "split", "value": 0.15}, [ANSWER[:11], ANSWER[11:]]),
        ({"kind": "wrong_terminator"}, [ANSWER[:-1] + b"\r", ANSWER]),
        ({"kind": "no_terminator"}, [ANSWER[:-1], ANSWER]),
        ({"kind": "banner", "text": "BOOT\n"}, [b"BOOT\n" + ANSWER, ANSWER]),
        ({"kind": "duplicate"}, [ANSWER + ANSWER, ANSWER]),
        ({"kind": "truncate"}, [ANSWER[:11] + b"\n", ANSWER]),
        ({"kind": "garbage"}, [ANSWER[:11] + b"\xff" + ANSWER[12:], ANSWER]),
        ({"kind": "drop_before"}, [b"", b""]),
        ({"kind": "reset"}, [b"", b""]),
        ({"kind": "drop_during"}, [ANSWER[:11], b""]),
        ({"kind": "drop_after"}, [ANSWER, b""]),
    ],
)
def test_transport_faults(virtual_bench: Open, rule: dict[str, Any], answers: list[bytes]) -> None:
    bench = virtual_bench({**GENERATOR, "faults": [{"instrument": "generator", **rule}]})
    host, port = bench.resources["generator"].split("::")[1:3]
    with socket.create_connection((host, int(port))) as line:
        for index, expected in enumerate(answers):
            if rule["kind"] == "split" and index:
                assert line.recv(100) == expected
            else:
                assert ask(line, b"FREQ?") == expected
    # Whatever happened, the next client is served.
    with socket.create_connection((host, int(port))) as line:
        assert ask(line, b"FREQ?", 1.0) == ANSWER
    struck = [one.kind for one in bench.faults.happened]
    assert struck == ([] if rule.get("pattern") else [rule["kind"]])


def test_refused_connections_and_faults_at_run_time(virtual_bench: Open) -> None:
    bench = virtual_bench(GENERATOR)
    host, port = bench.resources["generator"].split("::")[1:3]
    with bench.lock:
        number = bench.faults.add(Rule("refuse", "generator", count=None))
    with socket.create_connection((host, int(port))) as line:
        assert ask(line, b"FREQ?") == b""
    with bench.lock:
        bench.faults.remove(number)
        bench.faults.add(Rule("delay", "generator", value=0.2))
    with socket.create_connection((host, int(port))) as line:
        start = time.monotonic()
        assert ask(line, b"FREQ?", 2.0) == ANSWER
        assert time.monotonic() - start >= 0.2


def test_faults_come_and_go_over_the_control_port(virtual_bench: Open) -> None:
    bench = virtual_bench({**GENERATOR, "control": {}, "faults": [{"kind": "no_answer", "count": None}]})

    def line(name: str) -> socket.socket:
        host, port = bench.resources[name].split("::")[1:3]
        return socket.create_connection((host, int(port)))

    with line("control") as control, line("generator") as generator:
        assert ask(generator, b"FREQ?") == b"(nothing)"
        assert ask(control, b"clear") == b"ok\n"
        assert ask(generator, b"FREQ?") == ANSWER
        assert ask(control, b"add {kind: truncate, instrument: generator, pattern: FREQ}") == b"ok 2\n"
        assert ask(generator, b"FREQ?") == ANSWER[:11] + b"\n"
        assert json.loads(ask(control, b"happened")[3:])[-1][3:] == ["generator", "FREQ?"]
        assert json.loads(ask(control, b"list")[3:])["2"]["kind"] == "truncate"
        assert ask(control, b"remove 2") == b"ok\n"
        for wrong in (
            b"add {kind: nonsense}",
            b"add 3",
            b"add {kind: [",
            b"add {kind: delay, instrument: x}",
            b"\xff",
            b"",
        ):
            assert ask(control, wrong).startswith(b"error ")


def test_an_unplugged_line_comes_back_behind_its_link(virtual_bench: Open, tmp_path: Path) -> None:
    link = tmp_path / "smu"
    smu = {"model": "keithley-2400", "transport": "pty", "link": str(link)}
    unplug = {"kind": "unplug", "instrument": "smu", "pattern": "ESE", "value": 0.1}
    virtual_bench({"crossbar": {"shape": [2, 2]}, "instruments": {"smu": smu}, "faults": [unplug]})
    before = os.readlink(link)
    line = os.open(link, os.O_RDWR | os.O_NOCTTY)
    os.write(line, b"*ESE?\n")
    with contextlib.suppress(OSError):  # a line that was pulled gives an error or an end
        assert os.read(line, 10) == b""
    os.close(line)
    again = None
    for _ in range(100):
        with contextlib.suppress(OSError):
            again = os.open(link, os.O_RDWR | os.O_NOCTTY)
            break
        time.sleep(0.02)
    assert before.startswith("/dev/pts/")
    assert again is not None
    os.write(again, b"*ESE?\n")
    assert os.read(again, 10) == b"0\n"
    os.close(again)


def test_a_server_that_stops_reading_goes_on_later(virtual_bench: Open) -> None:
    deaf = {"kind": "back_pressure", "instrument": "generator", "value": 0.3}
    bench = virtual_bench({**GENERATOR, "faults": [deaf]})
    host, port = bench.resources["generator"].split("::")[1:3]
    with socket.create_connection((host, int(port))) as line:
        assert ask(line, b"FREQ?") == ANSWER
        start = time.monotonic()
        assert ask(line, b"FREQ?", 2.0) == ANSWER
        assert time.monotonic() - start > 0.15


def test_faults_of_instruments(virtual_bench: Open) -> None:
    bench = virtual_bench(GENERATOR)
    generator = bench.instruments["generator"]
    with bench.lock:
        generator.execute(b"OUTP:LOAD INF;:FUNC DC;VOLT:OFFS 2;:OUTP ON")
        bench.faults.add(Rule("gain", "generator", value=0.1))
        assert bench.fixture.now("generator.1") == pytest.approx(2.2, rel=1e-3)
        bench.faults.clear()
        assert bench.fixture.now("generator.1") == pytest.approx(2.0, rel=1e-3)
        bench.faults.add(Rule("identity", text="ACME,1,2,3"))
        assert generator.execute(b"*IDN?") == b"ACME,1,2,3\n"
        bench.faults.add(Rule("never_complete"))
        assert generator.execute(b"*OPC?") == b""
        bench.faults.clear()
        assert generator.execute(b"*OPC?") == b"1\n"
        bench.faults.add(Rule("error", pattern="PHAS", value=-222))
        generator.execute(b"PHAS 3")
        assert generator.execute(b"SYST:ERR?").startswith(b"-222")
        bench.faults.add(Rule("power_cycle", pattern="FREQ"))
        generator.execute(b"FREQ?")
        assert generator.execute(b"OUTP?;*ESR?") == b"0;128\n"
        bench.faults.add(Rule("missed_trigger"))
        generator.execute(b"OUTP ON;:BURS:STAT ON;:TRIG:SOUR BUS;*TRG")
        assert not generator.busy
        generator.execute(b"*TRG")
        assert generator.busy


def test_a_stuck_relay_and_a_lost_pulse(virtual_bench: Open) -> None:
    bench = virtual_bench(CROSSBAR)
    drive, matrix = bench.instruments["drive"], bench.instruments["matrix"]
    with bench.lock:
        bench.faults.add(Rule("relay_stuck_open", "matrix", value=102.0))
        matrix.execute(b"CLOS (@00102,01407)")
        drive.execute(b"SENS:CURR:PROT 1e-3;:SOUR:VOLT 0.2;:OUTP ON")
        assert b"1" in matrix.execute(b"CLOS? (@00102)")  # it believes so
        assert abs(bench.fixture.now("array.row1")) < 1e-6
        bench.faults.clear()
        assert bench.fixture.now("array.row1") == pytest.approx(0.2, rel=1e-2)
        before = bench.plant.conductances("array")[1, 2]
        bench.faults.add(Rule("lost_pulse"))
        drive.execute(b"SOUR:VOLT 1.5")
        bench.clock.advance(1e-3)
        assert bench.plant.conductances("array")[1, 2] == before
        bench.clock.advance(1e-3)
        assert bench.plant.conductances("array")[1, 2] > before


@pytest.mark.parametrize(
    ("model", "wired", "close"),
    [
        ("keysight-b2201a", {"in1": "drive.hi", "out2": "array.row1"}, b"CLOS (@00102)"),
        ("keithley-2750", {"s1row1": "drive.hi", "s1col2": "array.row1"}, b"ROUT:MULT:CLOS (@102)"),
    ],
)
def test_a_relay_that_bounces_has_no_contact_at_first(
    virtual_bench: Open, model: str, wired: dict[str, str], close: bytes
) -> None:
    bench = virtual_bench(
        {
            **{key: value for key, value in CROSSBAR.items() if key != "grounds"},
            "instruments": {"drive": {"model": "keithley-2400"}, "relays": {"model": model, "channels": wired}},
            "grounds": ["array.col1"],
        }
    )
    drive, matrix = bench.instruments["drive"], bench.instruments["relays"]
    with bench.lock:
        drive.execute(b"SENS:CURR:PROT 1e-3;:SOUR:VOLT 0.2;:OUTP ON")
        matrix.execute(close)
        assert bench.fixture.now("array.row1") == pytest.approx(0.2, rel=1e-2)
        matrix.execute(b"OPEN:CARD ALL;:ROUT:OPEN:ALL")
        bench.faults.add(Rule("relay_bounce", "relays", value=0.02))
        matrix.execute(close)
        assert abs(bench.fixture.now("array.row1")) < 1e-6
        bench.clock.advance(0.01)
        assert abs(bench.fixture.now("array.row1")) < 1e-6
        bench.clock.advance(0.01)
        assert bench.fixture.now("array.row1") == pytest.approx(0.2, rel=1e-2)


def test_a_temperature_step_and_reads_that_disturb(virtual_bench: Open) -> None:
    bench = virtual_bench({**CROSSBAR, "crossbar": {**CROSSBAR["crossbar"], "conductance_per_kelvin": 2.0e-3}})
    with bench.lock:
        before = bench.plant.conductances("array").copy()
        number = bench.faults.add(Rule("temperature", value=25.0))
        np.testing.assert_allclose(bench.plant.conductances("array"), 1.05 * before)
        bench.faults.remove(number)
        number = bench.faults.add(Rule("read_disturb", value=0.01))
        np.testing.assert_array_equal(bench.plant.conductances("array"), before)
        for _ in range(2):
            bench.instruments["drive"].execute(b"OUTP ON;:READ?")
        after = bench.plant.conductances("array").copy()
        assert np.all(after > before)
        # A hundredth of the way to the upper bound, for each stretch of time.
        left = (1.0e-4 - after) / (1.0e-4 - before)
        stretches = np.log(left) / np.log(0.99)
        np.testing.assert_allclose(stretches, np.rint(stretches[0, 0]), rtol=1e-6)
        bench.faults.remove(number)
        bench.instruments["drive"].execute(b"READ?")
        np.testing.assert_array_equal(bench.plant.conductances("array"), after)


def test_an_answer_that_trickles_comes_byte_by_byte(virtual_bench: Open) -> None:
    bench = virtual_bench({**GENERATOR, "faults": [{"kind": "trickle", "value": 0.01}]})
    host, port = bench.resources["generator"].split("::")[1:3]
    with socket.create_connection((host, int(port))) as line:
        line.settimeout(2.0)
        begun = time.monotonic()
        # The second answer waits for its turn.
        line.sendall(b"FREQ?\nPHAS?\n")
        pieces = []
        while sum(map(len, pieces)) < 2 * len(ANSWER):
            pieces.append(line.recv(4096))
        assert b"".join(pieces) == ANSWER + b"+0.000000000000000E+00\n"
        assert len(pieces) > 10
        assert time.monotonic() - begun >= 0.01 * len(ANSWER)


def test_a_cell_that_sticks_does_not_move(virtual_bench: Open) -> None:
    bench = virtual_bench({**CROSSBAR, "faults": [{"kind": "stuck_cell", "cell": ["array", 1, 2]}]})
    with bench.lock:
        bench.instruments["matrix"].execute(b"CLOS (@00102,01407,01408)")
        bench.instruments["drive"].execute(b"SENS:CURR:PROT 1e-3;:SOUR:VOLT 1.5;:OUTP ON")
        before = bench.plant.conductances("array").copy()
        bench.clock.advance(3e-3)
        moved = bench.plant.conductances("array") - before
    assert moved[1, 2] == 0.0
    assert moved[1, 3] > 0.0


def test_drift_and_a_warmer_chip_change_what_is_read(virtual_bench: Open) -> None:
    bench = virtual_bench(CROSSBAR)
    with bench.lock:
        before = bench.plant.conductances("array").copy()
        number = bench.faults.add(Rule("drift", value=-0.05))
        np.testing.assert_allclose(bench.plant.conductances("array"), 0.95 * before)
        bench.faults.remove(number)
        np.testing.assert_array_equal(bench.plant.conductances("array"), before)


@pytest.mark.parametrize(("cycles", "clients"), [(30, 30), pytest.param(1000, 1, marks=pytest.mark.slow)])
def test_many_openings_leak_nothing(cycles: int, clients: int) -> None:
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    config = {
        "crossbar": {"shape": [2, 2]},
        "instruments": {
            "generator": {"model": "keysight-33512b"},
            "smu": {"model": "keithley-2400", "transport": "pty"},
        },
    }
    with VirtualBench(config):
        pass
    before = held()
    for _ in range(cycles):
        with VirtualBench(config) as bench:
            host, port = bench.resources["generator"].split("::")[1:3]
            link = bench.resources["smu"].split("::")[0].removeprefix("ASRL")
            terminal = os.open(link, os.O_RDWR | os.O_NOCTTY)
            os.write(terminal, b"*IDN?\n")
            assert b"2400" in os.read(terminal, 200)
            os.close(terminal)
            for _ in range(clients):
                with socket.create_connection((host, int(port))) as line:
                    line.sendall(b"*IDN?\n")
                    assert b"33512B" in line.recv(200)
        assert not Path(link).exists()
    assert held() == before


def test_oversized_messages_end_the_connection_only(virtual_bench: Open) -> None:
    bench = virtual_bench(GENERATOR)
    host, port = bench.resources["generator"].split("::")[1:3]
    with socket.create_connection((host, int(port))) as line:
        line.settimeout(5)
        with pytest.raises(OSError):  # noqa: PT012 - either the sending or the reading fails
            for _ in range(64):
                line.sendall(b"A" * 65536)
            line.sendall(b"\n")
            if line.recv(10) == b"":
                raise ConnectionResetError
    with socket.create_connection((host, int(port))) as line:
        assert ask(line, b"FREQ?", 1.0) == ANSWER


def test_the_command_serves_until_interrupted(tmp_path: Path) -> None:
    path, ready = tmp_path / "bench.yaml", tmp_path / "ready.json"
    path.write_text(yaml.safe_dump(GENERATOR))
    arguments = [sys.executable, "-m", "substrate.cli", "bench", str(path), "--ready-file", str(ready)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(f"starting the bench of {path}; ")
        for _ in range(300):
            if ready.exists():
                break
            time.sleep(0.05)
        listed = json.loads(ready.read_text())["instruments"]
        host, port = listed[0]["resource"].split("::")[1:3]
        with socket.create_connection((host, int(port))) as line:
            assert b"33512B" in ask(line, b"*IDN?", 2.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert out.split() == ["generator", "keysight-33512b", listed[0]["resource"]]
    assert not ready.exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"instruments": {"g": {"model": "keysight-1"}}}, r"instruments\.g\.model.*keysight-33512b"),
        ({"instruments": {"g": {"model": "keithley-2400", "channels": {"hi": "array.row9"}}}}, r"channels\.hi.*row9"),
        ({"instruments": {"g": {"model": "keithley-2400", "channels": {"up": "array.row0"}}}}, r"channels\.up.*hi, lo"),
        ({"instruments": {"g": {"model": "keithley-2400", "colour": 1}}}, r"instruments\.g\.colour: unknown key"),
        ({"instruments": {"g": {"model": "keithley-2400", "transport": "gpib"}}}, r"instruments\.g.*adapter"),
        ({"grounds": ["nowhere"]}, "nowhere"),
        ({"faults": [{"kind": "sabotage"}]}, "sabotage"),
        ({"faults": [{"kind": "delay", "pattern": "("}]}, "regular expression"),
        ({"crossbar": None}, "crossbar"),
    ],
)
def test_bench_files_are_checked(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        VirtualBench({**GENERATOR, **change})


def test_other_machines_are_kept_out() -> None:
    open_to_all = {"instruments": {"g": {"model": "keithley-2400", "host": "0.0.0.0"}}}
    with pytest.raises(InputError, match="allow_remote_clients"), VirtualBench({**GENERATOR, **open_to_all}):
        pass
    with VirtualBench({**GENERATOR, **open_to_all, "allow_remote_clients": True}) as bench:
        assert bench.resources["g"].startswith("TCPIP::0.0.0.0::")
