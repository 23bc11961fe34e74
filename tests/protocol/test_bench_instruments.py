"""Meters, lock-ins, sources and scopes of the bench: PyMeasure's classes over the wire, and readings against theory."""

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvisa
from pymeasure.instruments.keithley import Keithley2450, Keithley2600, Keithley2750, KeithleyDAQ6510
from pymeasure.instruments.redpitaya import RedPitayaScpi
from pymeasure.instruments.srs import SR830, SR860

from emulators import Crossbar, Lines
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import Rule
from substrate.capabilities import Nudge, WriteRequest
from substrate.tones import SamplingPlan

Open = Callable[..., VirtualBench]
NODES = [f"hidden1.{k}" for k in range(4)] + ["output.0"]

NETWORK: dict[str, Any] = {
    "seed": 1,
    "network": {"family": "current_mode", "layers": [2, 4, 1]},
    "substrate": {
        "backend": "emulator",
        "cells": {"spread": 0.3},
        "update": {"law": "soft_bounds", "step": 0.01},
    },
    "adapters": {"gpib": {}},
    "instruments": {
        "inputs": {"model": "keysight-33512b", "channels": {1: "input0", 2: "input1"}},
        "nudge": {
            "model": "keysight-33512b",
            "channels": {1: {"terminal": "output.0", "transconductance_siemens": 1.0e-6}},
        },
        "lockin": {
            "model": "srs-sr830",
            "transport": "gpib",
            "adapter": "gpib",
            "address": 8,
            "channels": {"a": "output.0", "ref": "nudge.1"},
        },
        "fast": {"model": "srs-sr860", "channels": {"a": "output.0", "ref": "nudge.1"}},
        "daq": {"model": "keithley-daq6510", "channels": {f"10{k + 1}": node for k, node in enumerate(NODES)}},
        "scanner": {"model": "keysight-34970a", "channels": {f"10{k + 1}": node for k, node in enumerate(NODES)}},
    },
}


def network(*names: str) -> dict[str, Any]:
    """With these instruments only: the circuit is the smaller for it."""
    return {**NETWORK, "instruments": {name: NETWORK["instruments"][name] for name in ("inputs", *names)}}


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
        "k2450": {"model": "keithley-2450", "channels": {"hi": "matrix.s1row1"}},
        "k2600": {"model": "keithley-2612b", "channels": {"a": "matrix.s1row2", "b": "matrix.s1row3"}},
        "matrix": {
            "model": "keithley-2750",
            "channels": {f"s1col{k + 1}": f"array.row{k}" for k in range(4)}
            | {f"s2col{k + 1}": f"array.col{k}" for k in range(5)}
            | {"dmm": "matrix.s1row4"},
        },
    },
    "grounds": ["matrix.s1row6"],
}
BOARD: dict[str, Any] = {
    "crossbar": {"shape": [2, 2], "initial_siemens": 1.0e-4},
    "instruments": {
        "board": {"model": "red-pitaya-125-14", "channels": {"out1": "board.in1", "aout0": "board.ain0"}},
        "generator": {"model": "keysight-33512b", "channels": {1: ["scope.1", "array.row0"]}},
        "scope": {"model": "rigol-ds1104z"},
    },
}


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Opens PyMeasure's instruments, or bare VISA resources, and closes them."""
    manager = pyvisa.ResourceManager("@py")
    opened: list[Any] = []

    def open_one(resource: str, kind: Any = None, **settings: Any) -> Any:
        settings = {"read_termination": "\n", "write_termination": "\n", "timeout": 10_000} | settings
        if kind is None:
            opened.append(manager.open_resource(resource, **settings))
            return opened[-1]
        instrument = kind(resource, visa_library="@py", **settings)
        opened.append(instrument.adapter)
        return instrument

    yield open_one
    for one in opened:
        one.close()
    manager.close()


def drive_inputs(bench: VirtualBench) -> None:
    with bench.lock:
        bench.instruments["inputs"].execute(
            b"OUTP1:LOAD INF;:SOUR1:FUNC DC;VOLT:OFFS 0.05;:OUTP1 ON;"
            b":OUTP2:LOAD INF;:SOUR2:FUNC DC;VOLT:OFFS -0.1;:OUTP2 ON"
        )


def nudged(bench: VirtualBench, harmonic: int) -> complex:
    """Volts rms of a harmonic of the output, in phase with the nudge: the emulator's own record, demodulated."""
    chip = bench.plant.substrate  # type: ignore[attr-defined]
    chip.hold([[0.05, -0.1]])
    chip.settle()
    # The emulator's nudge is a cosine; the generator's a sine, a quarter of a period later. Two reference inputs of
    # 1 Mohm load its 50 ohm.
    amperes = 1e-6 / (1.0 + 50.0 / 5e5)
    record = chip.nudge(Nudge(np.array([[0, 0, 0, 0, amperes]])), SamplingPlan(1000.0, 3, 512, 1)).volts[0, :, 4]
    turned = np.roll(record, 128)
    phase = 2.0 * np.pi * harmonic * np.arange(512) / 512
    x, y = (np.sqrt(2.0) * np.mean(turned * part(phase)) for part in (np.sin, np.cos))
    return complex(x, y)


def test_lock_ins_read_the_harmonics_of_the_emulators_own_record(virtual_bench: Open, connect: Any) -> None:
    bench = virtual_bench(network("nudge", "lockin", "fast"))
    drive_inputs(bench)
    bench.instruments["nudge"].execute(b"OUTP:LOAD INF;:FREQ 1000;:VOLT 2;:OUTP ON")
    lockin = bench.instruments["lockin"]
    fast = connect(bench.resources["fast"], SR860)
    lockin.execute(b"FMOD 0;ICPL1;OFLT10;OFSL3;SENS 26")
    fast.reference_source, fast.input_coupling, fast.time_constant, fast.filter_slope = "EXT", "DC", 1.0, 3
    for harmonic in (1, 2, 3):
        expected = nudged(bench, harmonic)
        x, y = map(float, lockin.execute(b"HARM%d;SNAP?1,2" % harmonic).split(b","))
        fast.harmonic = harmonic
        # The generator's 16 bits distort by 1.5e-5 of its amplitude; noise is some nV.
        error = 2e-5 * abs(nudged(bench, 1)) + 3e-8
        assert abs(complex(x, y) - expected) < 2 * error, harmonic
        assert abs(complex(*fast.snap()) - expected) < 2 * error, harmonic
    assert abs(nudged(bench, 3)) > 1e-5  # there is something to read
    assert fast.harmonic == 3
    assert fast.detectedfrequency == pytest.approx(1000.0, rel=1e-6)
    assert lockin.execute(b"LIAS?") == b"0\n"
    _, host, port, _ = bench.resources["gpib"].split("::")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(b"++mode 1\n++auto 0\n++addr 8\nHARM?;HARM?\n++read eoi\n")
        assert line.recv(100) == b"3\n3\n"
    lockin.execute(b"HARM 1;SENS 10")
    lockin.execute(b"OUTP? 1")
    assert int(lockin.execute(b"LIAS?")) & 4  # the output overloads
    bench.instruments["nudge"].execute(b"OUTP OFF")
    lockin.execute(b"OUTP? 1")
    assert int(lockin.execute(b"LIAS?")) & 8  # nothing to lock to


def test_pymeasures_lock_ins_set_and_read(virtual_bench: Open, connect: Any) -> None:
    config = {
        "crossbar": {"shape": [2, 2], "initial_siemens": 1.0e-4},
        "instruments": {
            "one": {"model": "srs-sr830", "channels": {"sine": ["array.row0", "one.a"], "i": "array.col0"}},
            "two": {"model": "srs-sr860", "channels": {"aux_out1": "two.aux_in2"}},
        },
        "grounds": ["array.row1", "array.col1"],
    }
    bench = virtual_bench(config)
    one, two = connect(bench.resources["one"], SR830), connect(bench.resources["two"], SR860)
    assert one.id.startswith("Stanford_Research_Systems,SR830")
    one.reset()
    one.sine_voltage, one.frequency, one.time_constant, one.filter_slope = 0.1, 1000.0, 0.1, 24
    one.input_config, one.sensitivity, one.phase = "A", 0.2, 0.0
    assert (one.sine_voltage, one.frequency, one.time_constant, one.sensitivity) == (0.1, 1000.0, 0.1, 0.2)
    # 100 mV rms behind 50 ohm, on one cell to ground, and on three in a ring of which one ends there.
    loaded = 0.1 / (1.0 + 50.0 * (1e-4 + 0.5e-4 + 1e-7))
    assert one.x == pytest.approx(loaded, rel=2e-4)
    x, y = one.xy
    assert (x, y) == (pytest.approx(loaded, rel=2e-4), pytest.approx(0.0, abs=1e-6))
    one.input_config, one.sensitivity = "I (1 MOhm)", 1.0
    assert one.sensitivity == 1.0
    # Amperes: through one cell to the virtual ground; the full scale of 1 uA clips 10 uA, and says so.
    assert one.x == pytest.approx(1.09e-6, rel=1e-3)
    assert one.lia_status & 4
    one.sine_voltage = 0.005
    assert one.magnitude == pytest.approx(0.005 / 1.01 * 1e-4, rel=2e-4)
    one.input_config, one.harmonic, one.phase = "A", 2, 45.0
    assert (one.harmonic, one.phase, one.filter_slope) == (2, 45.0, 24)
    one.channel1 = "R"
    assert one.get_scaling("X") == (0, 1)
    one.harmonic, one.sample_frequency = 1, 64
    one.reset_buffer()
    one.start_scan()
    for _ in range(20):
        count = one.buffer_count
    one.pause_scan()
    assert count == 20
    # PyMeasure's get_buffer reads up to EOI, which a socket does not have.
    one.write("TRCB?1,0,20")
    stored = np.frombuffer(one.adapter.connection.read_bytes(80), dtype="<f4")
    np.testing.assert_allclose(stored, one.magnitude * np.cos(np.deg2rad(45.0)), rtol=1e-3)
    assert one.err_status == 0
    one.auto_phase()
    assert one.y == pytest.approx(0.0, abs=1e-6)
    two.sine_voltage, two.frequency, two.sensitivity, two.time_constant = 0.5, 2e4, 0.1, 0.03
    assert (two.sine_voltage, two.frequency, two.sensitivity, two.time_constant) == (0.5, 2e4, 0.1, 0.03)
    two.aux_out_1 = 1.25
    assert two.aux_in_2 == pytest.approx(1.25, abs=2e-4)
    assert len(two.snap("X", "Y", "R")) == 3
    assert len(two.snap_all()) == 4
    assert two.get_noise_bandwidth == pytest.approx(1 / (8 * 0.03))


def test_the_dialect_of_the_lock_ins_byte_by_byte(virtual_bench: Open) -> None:
    bench = virtual_bench({"crossbar": {"shape": [2, 2]}, "instruments": {"one": {"model": "srs-sr830"}}})
    one = bench.instruments["one"]
    assert one.execute(b"*CLS;FREQ1.2e3;FREQ?;HARM2;HARM ?") == b"1200\n2\n"
    assert one.execute(b"Harm 3;harm?") == b"3\n"
    assert one.execute(b"AUXV1,1.5;AUXV?1;DDEF 1,1,0;DDEF ? 1") == b"1.500\n1,0\n"
    assert one.execute(b"FREQ 2e5;*ESR?;FREQ?") == b"16\n1200\n"  # out of range: refused
    assert one.execute(b"NONSENSE;*ESR?") == b"32\n"
    assert one.execute(b"FREQ 60000;HARM?;*ESR?") == b"3\n16\n"  # the third harmonic would be above 102 kHz
    assert one.execute(b"PHAS 541;PHAS?") == b"-179.00\n"
    one.execute(b"HARM 1;SRAT 4;REST;STRT")
    for expected in range(1, 4):
        assert one.execute(b"SPTS?") == b"%d\n" % expected
    floats = struct.unpack("<3f", one.execute(b"PAUS;TRCB?1,0,3"))
    pairs = one.execute(b"TRCL?1,0,3")
    assert len(pairs) == 12
    values = [mantissa * 2.0 ** (power - 124) for mantissa, power in struct.iter_unpack("<hH", pairs)]
    np.testing.assert_allclose(values, floats, rtol=1e-4)
    assert one.execute(b"TRCA?1,0,2").count(b",") == 2
    strict = virtual_bench(
        {"strict": True, "crossbar": {"shape": [2, 2]}, "instruments": {"one": {"model": "srs-sr830"}}}
    ).instruments["one"]
    assert one.execute(b"FREQ 1,2;*CLS;*ESR?") == b"0\n"
    assert strict.execute(b"*CLS;FREQ 1,2;*ESR?") == b"32\n"


def test_data_acquisition_reads_node_voltages(virtual_bench: Open, connect: Any) -> None:
    bench = virtual_bench(network("daq", "scanner"))
    chip = bench.plant.substrate  # type: ignore[attr-defined]
    rng = np.random.default_rng(4)
    for array in chip.network.arrays:
        chip.write_cells(WriteRequest(array.name, pulses=rng.integers(0, 60, array.cell_shape)))
    drive_inputs(bench)
    exact = np.array([bench.fixture.now(node) for node in NODES])
    assert np.abs(exact).min() > 1e-5
    daq = connect(bench.resources["daq"], KeithleyDAQ6510)
    daq.measure_voltage(nplc=1)
    daq.close_channel(105)
    assert daq.voltage == pytest.approx(exact[4], abs=1e-6)
    daq.voltage_range, daq.voltage_nplc = 10.0, 0.1
    assert (daq.voltage_range, daq.voltage_nplc) == (10.0, 0.1)
    daq.open_channel(105)
    assert daq.check_errors() == []
    found = daq.ask(
        ':SENS:VOLT:RANG:AUTO ON;:SENS:VOLT:NPLC 1;:ROUT:SCAN (@101:105);:INIT;:TRAC:DATA? 1,5,"defbuffer1",READ,CHAN'
    )
    values = [float(value) for value in found.split(",")]
    np.testing.assert_allclose(values[::2], exact, atol=1e-6)
    assert values[1::2] == [101, 102, 103, 104, 105]
    scanner = connect(bench.resources["scanner"])
    start = bench.clock.seconds
    answer = scanner.query("CONF:VOLT:DC AUTO,(@101:105);:SENS:VOLT:DC:NPLC 2,(@101:105);:READ?")
    np.testing.assert_allclose([float(value) for value in answer.split(",")], exact, atol=1e-6)
    assert bench.clock.seconds - start == pytest.approx(5 * (15e-3 + 2 / 60 + 0.5e-3))
    assert scanner.query("ROUT:SCAN?") == "#222(@101,102,103,104,105)"
    assert scanner.query("FORM:READ:CHAN ON;:TRIG:SOUR BUS;:INIT;*TRG;:FETC?").split(",")[1::2] == [
        "101", "102", "103", "104", "105",
    ]  # fmt: skip
    assert scanner.query("CONF:VOLT 1;:SYST:ERR?").startswith("-109")
    assert scanner.query("CONF:CURR (@101);:SYST:ERR?").startswith("-221")
    with bench.lock:
        bench.faults.add(Rule("overload", "scanner"))
    assert scanner.query("MEAS:VOLT:DC? (@101)").startswith("+9.90000000E+37")


def cell_current(bench: VirtualBench, row: int, volts: float) -> float:
    """Of a whole row with all columns grounded, behind relays of one ohm."""
    circuit = Crossbar(bench.plant.conductances("array"), 2.0, 2.0, 1.0, 1.0)
    lines = Lines(tuple("driven" if k == row else "floating" for k in range(4)), ("sensed",) * 5)
    return float(circuit.solve([volts], lines).bitline_currents.sum())


def test_source_meters_read_conductances_through_the_matrix(virtual_bench: Open, connect: Any) -> None:
    bench = virtual_bench(CROSSBAR)
    matrix = connect(bench.resources["matrix"], Keithley2750)
    smu, system = connect(bench.resources["k2450"], Keithley2450), None
    with pytest.warns(FutureWarning, match="SCPI"):
        system = connect(bench.resources["k2600"], Keithley2600)
    assert matrix.ask(":ROUT:CLOS?").strip() == "(@)"
    for channel in (101, *range(241, 246)):  # row 0 to the source, all columns to ground
        matrix.close(channel)
    assert matrix.closed_channels == [101, 241, 242, 243, 244, 245]
    exact = cell_current(bench, 0, 0.2)
    smu.reset()
    smu.apply_voltage(compliance_current=1e-3)
    smu.source_voltage = 0.2
    smu.enable_source()
    smu.measure_current()
    assert smu.current == pytest.approx(exact, abs=3e-10)
    smu.measure_resistance()
    assert smu.resistance == pytest.approx(0.2 / exact, rel=1e-5)
    smu.measure_voltage()
    assert smu.voltage == pytest.approx(0.2, abs=1e-6)
    smu.compliance_current = 2e-6
    smu.measure_current()
    assert smu.current == pytest.approx(2e-6, rel=1e-4)
    assert smu.ask(":SOUR:VOLT:ILIM:TRIP?").strip() == "1"
    assert smu.check_errors() == []
    smu.write(":OUTP:VOLT:SMOD HIMP")
    smu.disable_source()
    matrix.open(101)
    matrix.close(109)  # row 0 to channel A
    a = system.ChA
    a.apply_voltage()
    a.source_voltage, a.source_output = 0.2, "ON"
    a.measure_current()
    assert a.current == pytest.approx(exact, abs=3e-10)
    assert a.resistance == pytest.approx(0.2 / exact, rel=1e-5)
    assert (a.source_mode, a.source_output, a.source_voltage) == ("voltage", "ON", 0.2)
    a.apply_current(compliance_voltage=0.1)
    a.source_current = 1e-5
    a.measure_voltage()
    assert a.voltage == pytest.approx(1e-5 * 0.2 / exact, abs=3e-7)
    a.source_current = 1e-3
    assert a.voltage == pytest.approx(0.1, abs=1e-6)
    assert system.ask("print(smua.source.compliance)").strip() == "true"
    a.source_output = "OFF"
    assert system.next_error == (0, "Queue Is Empty")
    matrix.open_all()
    assert matrix.ask(":ROUT:CLOS?").strip() == "(@)"


def test_the_2600_pulses_cells_and_measures_at_the_end_of_each(virtual_bench: Open, connect: Any) -> None:
    bench = virtual_bench(CROSSBAR)
    bench.instruments["matrix"].execute(b"ROUT:MULT:CLOS (@109,241:245)")
    system = connect(bench.resources["k2600"])
    before = bench.plant.conductances("array").copy()
    system.write("smua.measure.nplc = 0.01 smua.nvbuffer1.clear()")
    config = "ConfigPulseVMeasureI(smua, 0, 1.5, 0.1, {}, 5e-3, 3, smua.nvbuffer1, 1)"
    assert system.query(f"print({config.format('1e-6')})").startswith("false\t")
    assert system.query(f"f, msg = {config.format('1e-3')} print(f, msg)") == "true\tConfigured"
    start = bench.clock.seconds
    assert system.query("print(InitiatePulseTest(1))").startswith("true")
    assert bench.clock.seconds - start == pytest.approx(3 * 6e-3, rel=1e-6)
    currents = [float(value) for value in system.query("printbuffer(1, 3, smua.nvbuffer1)").split(",")]
    moved = bench.plant.conductances("array") - before
    assert moved[0] == pytest.approx(3 * 0.01 * (1e-4 - before[0]), rel=0.35)  # the steps spread
    assert not moved[1:].any()
    assert currents[0] < currents[1] < currents[2]
    assert currents[0] == pytest.approx(1.5 * before[0].sum(), rel=0.03)


def test_tsp_byte_by_byte(virtual_bench: Open) -> None:
    bench = virtual_bench(CROSSBAR)
    system = bench.instruments["k2600"]
    assert system.execute(b"print(1, true, nil, 'a')") == b"1.00000e+00\ttrue\tnil\ta\n"
    assert system.execute(b"smua.source.levelv=0.5 print(smua.source.levelv)") == b"5.00000e-01\n"
    assert system.execute(b"for i = 1, 3 do print(i * 2 ^ 2) end") == b"4.00000e+00\n8.00000e+00\n1.20000e+01\n"
    assert system.execute(b"x = {1, 5}; if x[2] > x[1] then print(#x) else print(0) end") == b"2.00000e+00\n"
    assert system.execute(b"print(smua.OUTPUT_DCVOLTS == smua.source.func)") == b"true\n"
    assert system.execute(b"*IDN?").startswith(b"Keithley Instruments Inc., Model 2612B")
    for wrong, code in ((b"print(", b"-2.85"), (b"smua.nothing()", b"-2.86"), (b"smua.source.levelv = 999", b"1.10")):
        assert system.execute(wrong) == b""
        assert system.execute(b"print(errorqueue.next())").startswith(code)
    assert system.execute(b"print(errorqueue.count, errorqueue.next())").endswith(
        b"0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00\n"
    )
    for hostile in (
        b"for i=1,1e9 do end",
        b"(" * 5000,
        b"print(" + b"-" * 5000 + b"1)",
        b"\xff\x00'",
        b"x=" + b"{" * 900,
    ):
        system.execute(hostile)
    assert system.execute(b"print(smua.source.levelv)") == b"5.00000e-01\n"


def test_the_2750_and_2450_answer_byte_by_byte(virtual_bench: Open) -> None:
    bench = virtual_bench(CROSSBAR)
    matrix, smu = bench.instruments["matrix"], bench.instruments["k2450"]
    assert matrix.execute(b":ROUT:MULT:CLOS (@101,145);:ROUT:CLOS?;CLOS:STAT? (@101,102)") == b"(@101,145);1,0\n"
    assert matrix.execute(b":ROUT:CLOS (@103);:ROUT:CLOS?") == b"(@103)\n"  # all others open
    assert matrix.execute(b":ROUT:MULT:CLOS (@149);:SYST:ERR?") == b'-224,"Illegal parameter value; channel 149"\n'
    assert matrix.execute(b":ROUT:OPEN:ALL;:ROUT:CLOS?") == b"(@)\n"
    bench.faults.add(Rule("relay_stuck_closed", "matrix", value=141.0))
    smu.execute(b"SOUR:FUNC VOLT;:SOUR:VOLT 0.1;:OUTP ON")
    matrix.execute(b":ROUT:MULT:CLOS (@101)")
    # To ground through two relays of one ohm: the source is at its limit.
    assert bench.fixture.now("array.row0") == pytest.approx(1.05e-4, rel=1e-3)
    assert smu.execute(b":SOUR:VOLT:ILIM 0.1;:SOUR:VOLT:ILIM:TRIP?") == b"0\n"
    assert bench.fixture.now("array.row0") == pytest.approx(0.05, rel=1e-3)
    smu.execute(b":SOUR:VOLT:ILIM 1.05e-4")
    assert smu.execute(b"*LANG?;:SOUR:voltage:ILIM?;:SENS:FUNC?") == b'SCPI;1.050000E-04;"CURR:DC"\n'
    assert smu.execute(b":SOUR:VOLT 300;:SYST:ERR?") == b'-222,"Data out of range; :SOUR:VOLT 300"\n'
    bench.faults.clear()
    matrix.execute(b":ROUT:MULT:CLOS (@241:245)")
    smu.execute(b":SOUR:SWE:VOLT:LIN 0,0.2,3,1e-3;:INIT")
    answer = smu.execute(b':TRAC:DATA? 1,3,"defbuffer1",SOUR,READ;:OUTP?')
    values = np.array(answer.split(b";")[0].split(b","), dtype=float).reshape(3, 2)
    np.testing.assert_allclose(values[:, 0], [0.0, 0.1, 0.2], atol=1e-6)
    np.testing.assert_allclose(values[1:, 1] / values[1:, 0], cell_current(bench, 0, 1.0), rtol=1e-4)
    assert answer.endswith(b";0\n")
    strict = virtual_bench({**CROSSBAR, "strict": True}).instruments["k2450"]
    assert smu.execute(b"TRAC:FEED SENS;:SYST:ERR?") == b'0,"No error"\n'
    assert strict.execute(b"TRAC:FEED SENS;:SYST:ERR?").startswith(b"-113")


def test_the_red_pitaya_sees_what_it_puts_out(virtual_bench: Open, connect: Any) -> None:
    bench = virtual_bench(BOARD)
    board = connect(bench.resources["board"], RedPitayaScpi, read_termination="\r\n", write_termination="\r\n")
    assert bench.instruments["board"].execute(b"ACQ:BUF:SIZE?") == b"16384\r\n"
    board.write("SOUR1:FUNC SINE;:SOUR1:FREQ:FIX 10000;:SOUR1:VOLT 0.5;:SOUR1:VOLT:OFFS 0.1")
    board.write("OUTPUT1:STATE ON;:SOUR1:TRig:INT")
    board.decimation, board.acq_units, board.acq_format = 64, "VOLTS", "ASCII"
    board.acquisition_start()
    board.acq_trigger_level, board.acq_trigger_source = 0.1, "CH1_PE"
    assert board.acq_trigger_status
    assert not board.acq_buffer_filled
    assert board.acq_buffer_filled
    volts = board.ain1.get_data()
    assert len(volts) == board.buffer_length == 16_384
    place = board.acq_trigger_position
    seconds = (np.arange(16_384) - place) * 64 / 125e6
    step = 2.0 / 2**14
    error = volts - (0.1 + 0.5 * np.sin(2 * np.pi * 1e4 * seconds))
    assert np.sqrt(np.mean(error**2)) < 1.0 * step
    assert len(board.ain1.get_data(npts=5)) == 5
    board.aoutslow0.voltage = 1.2
    assert board.ainslow0.voltage == pytest.approx(1.2, abs=3.3 / 4096)
    board.dioP1.direction_in = False
    board.dioP1.enabled = True
    assert (board.dioP1.enabled, board.dioP1.direction_in) == (True, False)
    board.ain1.gain = "HV"
    assert board.ain1.gain == "HV"
    assert board.board_name.startswith("STEMlab")
    assert bench.instruments["board"].execute(b"ACQ:DEC 0;:SYST:ERR?").startswith(b"-222")


def test_the_rigol_reads_a_generator(virtual_bench: Open, connect: Any) -> None:
    bench = virtual_bench(BOARD)
    bench.instruments["generator"].execute(b"OUTP:LOAD INF;:FUNC SIN;:FREQ 1000;:VOLT 1;VOLT:OFFS 0.2;:OUTP ON")
    scope = connect(bench.resources["scope"])
    scope.write(":CHAN1:PROB 1;SCAL 0.2;OFFS -0.2;:TIM:SCAL 2e-4;:TRIG:EDG:LEV 0.2;:TRIG:SWE SING;:SING")
    assert scope.query(":TRIG:STAT?") == "STOP"
    fields = [float(field) for field in scope.query(":WAV:FORM BYTE;:WAV:PRE?").split(",")]
    assert len(fields) == 10
    assert fields[2] == 1200
    scope.write(":WAV:DATA?")
    raw = scope.read_raw()
    assert raw[:11] == b"#9000001200"
    assert raw[-1:] == b"\n"
    codes = np.frombuffer(raw[11:-1], dtype="u1").astype(float)
    volts = (codes - fields[8] - fields[9]) * fields[7]
    seconds = fields[5] + np.arange(1200) * fields[4]
    loaded = 1.0 / (1.0 + 50.0 / 1e6)
    np.testing.assert_allclose(volts, loaded * (0.2 + 0.5 * np.sin(2 * np.pi * 1e3 * seconds)), atol=4 * 0.008)
    assert np.mean(volts - loaded * (0.2 + 0.5 * np.sin(2 * np.pi * 1e3 * seconds))) == pytest.approx(0, abs=1e-3)
    assert float(scope.query(":MEAS:ITEM? FREQ,CHAN1")) == pytest.approx(1000.0, rel=0.01)
    assert scope.query(":SYST:ERR?") == '0,"No error"'
    scope.write(":TRIG:EDG:LEV 5;:TRIG:SWE NORM;:SING")
    assert scope.query(":WAV:STAR 0;:SYST:ERR?").startswith("-222")


def test_arc_one_over_a_pty(virtual_bench: Open, connect: Any, tmp_path: Path) -> None:
    lines = {f"w{k + 1}": f"array.row{k}" for k in range(3)} | {f"b{k + 1}": f"array.col{k}" for k in range(4)}
    crossbar = {"shape": [3, 4], "initial_siemens": 3e-5, "update": {"law": "soft_bounds", "step": 0.01}}
    board = {"model": "arc-one", "transport": "pty", "link": str(tmp_path / "arc"), "channels": lines}
    writing = {"volts": 1.5, "seconds": 1e-3}
    bench = virtual_bench({"seed": 2, "crossbar": crossbar, "writing": writing, "instruments": {"arc": board}})
    port = connect(bench.resources["arc"], baud_rate=921_600)

    def send(*words: object) -> None:
        port.write_raw("".join(f"{word}\n" for word in words).encode())

    def read() -> float:
        return float(struct.unpack("<f", port.read_bytes(4))[0])

    send("01", 0, 0.2)
    send("1", 2, 3)
    assert read() == pytest.approx(1 / 3e-5, rel=5e-3)
    before = bench.plant.conductances("array").copy()
    send("01", 1, 0.2)  # the other lines at half of the voltage
    send("02", 2, 3)
    send("04", 1.5, 1e-3)
    send("01", 0, 0.2)
    send("1", 2, 3)
    after = read()
    moved = bench.plant.conductances("array") - before
    assert moved[1, 2] == pytest.approx(0.01 * (1e-4 - 3e-5), rel=0.05)
    assert after == pytest.approx(1 / bench.plant.conductances("array")[1, 2], rel=5e-3)
    moved[1, 2] = 0.0
    assert not moved.any()
    send("3", 1, 1, 1.5, 5e-3)
    assert read() == pytest.approx(1 / bench.plant.conductances("array")[0, 0], rel=5e-3)
    assert bench.plant.conductances("array")[0, 0] > 3.2e-5
    arc = bench.instruments["arc"]
    for wrong in (b"77", b"02\n", b"nan"):
        assert arc.execute(wrong) == b""
    for part, last in ((b"40", b"1"), (b"1", b"nan")):  # a line that is none, an argument that is no number
        for word in (b"1", part, last):
            assert arc.execute(word) == b""
    assert arc.execute(b"00") == b""
    assert len(b"".join(arc.execute(word) for word in (b"1", b"1", b"1"))) == 4


@pytest.mark.parametrize(
    "model",
    [
        "keithley-daq6510", "keysight-34970a", "keysight-daq970a", "srs-sr830", "srs-sr860", "keithley-2450",
        "keithley-2612b", "keithley-2750", "rigol-ds1104z", "red-pitaya-125-14", "arc-one",
    ],
)  # fmt: skip
@pytest.mark.parametrize("strict", [False, True])
def test_noise_on_the_line_never_stops_an_instrument(virtual_bench: Open, model: str, strict: bool) -> None:
    bench = virtual_bench({"strict": strict, "crossbar": {"shape": [2, 2]}, "instruments": {"one": {"model": model}}})
    one, rng = bench.instruments["one"], np.random.default_rng(5)
    words = [
        b"*IDN?",
        b"SENS",
        b":VOLT",
        b"?",
        b" ",
        b"1",
        b"-1e3",
        b"(@101:103)",
        b"(@",
        b'"',
        b";",
        b",",
        b"#15ab",
        b"nan",
    ]
    words += [
        b"SNAP?",
        b"TRCB?",
        b"READ?",
        b"TRAC:DATA?",
        b"ACQ:DEC",
        b"print(",
        b")",
        b"smua.",
        b"=",
        b"\x00\xff",
        b"inf",
    ]
    for _ in range(300):
        answer = one.execute(b"".join(words[k] for k in rng.integers(0, len(words), rng.integers(1, 6))))
        assert isinstance(answer, bytes)
    one.power_on()
    if model != "arc-one":
        assert one.execute(b"*IDN?").endswith(b"\n")


LIST_101 = b",".join([b"0.1"] * 101)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("model", "messages", "code"),
    [
        ("keysight-33512b", [b"DATA:ARB A1,0,0,0,0,0,0,0,0", b"DATA:ARB A1,0,0,0,0,0,0,0,0"], 785),
        ("keysight-33512b", [b"FUNC:ARB NOWHERE"], 786),
        ("keysight-33512b", [b"DATA:ARB A2,0,0,0,0,0,0,0,1.5"], -222),
        ("keysight-33512b", [b"VOLT 10", b"VOLT:OFFS 5"], -222),
        ("keysight-dsox3024t", [b"CHAN1:RANG 100"], -222),
        ("keysight-34970a", [b"ROUT:SCAN (@999)"], -224),
        ("keysight-b2201a", [b"CLOS (@01501)"], -224),
        ("keithley-2400", [b"SOUR:VOLT 300"], -222),
        ("keithley-2400", [b"SENS:CURR:PROT 5"], -222),
        ("keithley-2400", [b"SOUR:LIST:VOLT " + LIST_101], -108),
        ("keithley-2400", [b"READ?"], 803),
        ("keithley-2450", [b"SOUR:VOLT:ILIM 5"], -222),
        ("keithley-2450", [b"SOUR:LIST:VOLT " + LIST_101], -108),
        ("keithley-2750", [b"ROUT:MULT:CLOS (@149)"], -224),
        ("keithley-daq6510", [b"SENS:VOLT:NPLC 20"], -222),
        ("keithley-daq6510", [b"SENS:VOLT:NPLC 1, (@399)"], -224),
    ],
)
def test_what_the_real_instrument_refuses_is_refused(
    virtual_bench: Open, model: str, messages: list[bytes], code: int, strict: bool
) -> None:
    bench = virtual_bench({"crossbar": {"shape": [1, 1]}, "strict": strict, "instruments": {"one": {"model": model}}})
    with bench.lock:
        instrument = bench.instruments["one"]
        for message in messages:
            assert int(instrument.execute(b"SYST:ERR?").split(b",")[0]) == 0
            assert instrument.execute(message) == b""
        assert int(instrument.execute(b"SYST:ERR?").split(b",")[0]) == code


def test_settings_of_channels_are_their_own(virtual_bench: Open) -> None:
    bench = virtual_bench({"crossbar": {"shape": [1, 1]}, "instruments": {"one": {"model": "keithley-daq6510"}}})
    with bench.lock:
        logger = bench.instruments["one"]
        logger.execute(b"SENS:VOLT:NPLC 10, (@101,103);:SENS:VOLT:RANG 0.1, (@101)")
        assert logger.execute(b"SENS:VOLT:NPLC?;:SENS:VOLT:RANG:AUTO?") == b"1.000000E+00;1\n"
        assert logger.execute(b"SENS:VOLT:NPLC? (@103);:SENS:VOLT:NPLC? (@102)") == b"1.000000E+01;1.000000E+00\n"
        assert logger.execute(b"SENS:VOLT:RANG:AUTO? (@101);:SENS:VOLT:RANG? (@101)") == b"0;1.000000E-01\n"
        before = bench.clock.seconds
        logger.execute(b"ROUT:SCAN:CRE (@102);:INIT")
        short = bench.clock.seconds - before
        logger.execute(b"ROUT:SCAN:CRE (@103);:INIT")
        assert bench.clock.seconds - before - short > 5.0 * short
        logger.execute(b"*RST")
        assert logger.execute(b"SENS:VOLT:NPLC? (@103)") == b"1.000000E+00\n"
        assert logger.execute(b"SYST:ERR?").startswith(b"0,")
