"""Every driver against its virtual instrument, over the wire: what it sets arrives, what it reads is the circuit's."""

import contextlib
import itertools

import numpy as np
import pytest

from drivers.errors import ConnectionLost, DeviceTimeout, InstrumentError, ProtocolError
from drivers.instrument import Instrument
from drivers.keithley_2400 import Keithley2400
from drivers.keithley_2450 import Keithley2450
from drivers.keithley_2600 import Keithley2600
from drivers.keithley_2750 import Keithley2750
from drivers.keithley_daq6510 import KeithleyDaq6510
from drivers.keysight_33500b import Keysight33500B
from drivers.keysight_34970a import Keysight34970A
from drivers.keysight_b2200 import KeysightB2200
from drivers.keysight_infiniivision import KeysightInfiniiVision
from drivers.limits import DriveLimits
from drivers.red_pitaya import RedPitaya
from drivers.rigol_ds1000z import MOST_BYTES, RigolDS1000Z
from drivers.setting import settings_of
from drivers.srs_sr830 import Sr830
from drivers.srs_sr860 import Sr860
from emulators.bench.faults import Rule
from substrate.errors import CapabilityError, InputError

LIMITS = DriveLimits(volts=1.0, amperes=1.0e-3)
ROWS = 8
CELL_SIEMENS = 3.0e-5
BENCH = {
    "seed": 1,
    "crossbar": {"shape": [ROWS, 4], "cells": {"spread": 0.0}, "initial_siemens": CELL_SIEMENS},
    "adapters": {"gpib": {}},
    "instruments": {
        "generator": {"model": "keysight-33512b", "channels": {"1": "array.row0", "2": "array.row1"}},
        "scope": {"model": "keysight-dsox3024t", "channels": {"1": "generator.1", "2": "generator.2"}},
        "rigol": {"model": "rigol-ds1104z", "channels": {"1": "generator.1", "2": "generator.2"}},
        "daq6510": {"model": "keithley-daq6510", "channels": {"101": "generator.1", "102": "generator.2"}},
        "daq970a": {"model": "keysight-daq970a", "channels": {"101": "generator.1", "102": "generator.2"}},
        "hp34970a": {"model": "keysight-34970a", "channels": {"101": "generator.1", "102": "generator.2"}},
        "sr830": {
            "model": "srs-sr830", "transport": "gpib", "adapter": "gpib", "address": 8,
            "channels": {"a": "generator.1", "ref": "generator.2", "sine": "array.row5"},
        },
        "sr860": {"model": "srs-sr860", "channels": {"a": "generator.1", "ref": "generator.2", "sine": "array.row6"}},
        "k2400": {
            "model": "keithley-2400", "transport": "gpib", "adapter": "gpib", "address": 24,
            "channels": {"hi": "array.row2"},
        },
        "k2450": {"model": "keithley-2450", "channels": {"hi": "array.row3"}},
        "k2600": {"model": "keithley-2612b", "channels": {"a": "array.row4"}},
        "b2200": {"model": "keysight-b2201a", "transport": "gpib", "adapter": "gpib", "address": 22},
        "k2750": {"model": "keithley-2750", "transport": "pty"},
        "pitaya": {"model": "red-pitaya-125-14", "channels": {"out1": "array.row7", "in1": "pitaya.out1"}},
    },
    "grounds": [f"array.col{column}" for column in range(4)],
}  # fmt: skip
DRIVERS = {
    "generator": lambda at: Keysight33500B(at, LIMITS),
    "scope": KeysightInfiniiVision,
    "rigol": RigolDS1000Z,
    "daq6510": KeithleyDaq6510,
    "daq970a": Keysight34970A,
    "hp34970a": Keysight34970A,
    "sr830": lambda at: Sr830(at, LIMITS),
    "sr860": lambda at: Sr860(at, LIMITS),
    "k2400": lambda at: Keithley2400(at, LIMITS),
    "k2450": lambda at: Keithley2450(at, LIMITS),
    "k2600": lambda at: Keithley2600(at, LIMITS),
    "b2200": KeysightB2200,
    "k2750": Keithley2750,
    "pitaya": lambda at: RedPitaya(at, LIMITS),
}
LOGGERS = ["daq6510", "daq970a", "hp34970a"]
SOURCE_METERS = {"k2400": "row2", "k2450": "row3", "k2600": "row4"}


class Bench:
    """A virtual bench and drivers for it."""

    def __init__(self, virtual):
        self.virtual = virtual
        self.opened = []

    def __getitem__(self, name) -> Instrument:
        section = self.virtual.config.instruments[name]
        at = self.virtual.resources[name]
        if section.transport == "gpib":
            _, host, port, _ = self.virtual.resources[section.adapter].split("::")
            at = f"PRLGX-TCPIP::{host}::{port}::GPIB::{section.address}"
        self.opened.append(DRIVERS[name](at).open())
        return self.opened[-1]


@pytest.fixture
def start(virtual_bench):
    """Starts a bench with some of the instruments: those that listen all the time make it slow for the others."""
    opened = []

    def start(*names):
        instruments = {name: BENCH["instruments"][name] for name in names}
        opened.append(Bench(virtual_bench({**BENCH, "instruments": instruments})))
        return opened[-1]

    yield start
    for bench in opened:
        for driver in bench.opened:
            driver.close()


@pytest.mark.parametrize("name", DRIVERS)
def test_every_driver_opens_resets_takes_a_snapshot_and_ends_safely(start, name):
    bench = start(*{"generator", name})
    driver = bench[name]
    with driver:
        driver.reset()
        snapshot = driver.snapshot()
        assert snapshot["identity"] == driver.identity
        for key, value in snapshot.items():
            assert isinstance(value, (str, float, int, bool, dict)), key
        driver.check_errors()
    assert not driver.is_open


@pytest.mark.parametrize("name", DRIVERS)
def test_every_writable_setting_can_be_set_to_what_was_read(start, name):
    bench = start(*{"generator", name})
    driver = bench[name]
    driver.reset()
    parts = {"": driver, **driver._parts()}
    for where, part in parts.items():
        for key, setting in settings_of(type(part)).items():
            if not setting.read_only:
                value = getattr(part, key)
                setattr(part, key, value)
                assert getattr(part, key) == value, f"{where}.{key}"


@pytest.mark.parametrize("name", DRIVERS)
def test_a_refused_command_is_named(start, name):
    bench = start(*{"generator", name})
    driver = bench[name]
    with pytest.raises(InstrumentError, match="NONSENSE"):
        driver.configure("NONSENSE 1")
    driver.check_errors()


def test_another_instrument_is_not_taken_for_the_right_one(start):
    bench = start("generator", "scope")
    driver = KeysightB2200(bench.virtual.resources["scope"])
    with pytest.raises(InstrumentError, match="DSO-X 3024T"):
        driver.open()
    assert not driver.is_open


def test_generator_and_scope(start):
    bench = start("generator", "scope")
    generator, scope = bench["generator"], bench["scope"]
    one, two = generator.channels[1], generator.channels[2]
    one.sine(1.0e3, 0.4, 0.1, 30.0)
    two.dc(-0.25)
    one.enable()
    two.enable()
    generator.synchronise()
    scope.channels[1].range_volts = 2.0
    scope.channels[2].range_volts = 2.0
    scope.time_range_seconds = 4.0e-3
    scope.acquisition = "high_resolution"
    record = scope.record([1, 2], 5.0)
    assert record.volts.shape == (2, len(record.times_seconds))
    assert not record.clipped.any()
    # A sine behind 50 ohms, loaded by four cells and the scope.
    share = 1.0 / (1.0 + 50.0 * (4 * CELL_SIEMENS + 1e-6))
    amplitude = 2.0 * abs(np.mean(record.volts[0] * np.exp(2j * np.pi * 1e3 * record.times_seconds)))
    assert amplitude == pytest.approx(0.4 * share, rel=2e-3)
    assert record.volts[0].mean() == pytest.approx(0.1 * share, abs=2e-3)
    assert record.volts[1].mean() == pytest.approx(-0.25 * share, abs=2e-3)
    scope.channels[1].range_volts = 0.2
    assert scope.record([1], 5.0).clipped.all()


@pytest.mark.parametrize(("depth", "pieces"), [(None, 1), (12_000, 1), (600_000, 3)])
def test_records_of_a_rigol_in_pieces(start, depth, pieces):
    """The screen, and memories that take one and several readings: every sample is the circuit's, at its own time."""
    bench = start("generator", "rigol")
    generator, heard = bench["generator"], []
    scope = RigolDS1000Z(
        bench.virtual.resources["rigol"], timeout_seconds=30.0, transcript=lambda *entry: heard.append(entry[2:])
    ).open()
    bench.opened.append(scope)
    one, two = generator.channels[1], generator.channels[2]
    one.waveform("triangle", 100.0, 0.4)
    two.dc(0.1)
    one.enable()
    two.enable()
    for channel in (1, 2):
        scope.channels[channel].shown = True
        scope.channels[channel].attenuation = 1.0
        scope.channels[channel].scale_volts = 0.2
    scope.time_scale_seconds = 1.0e-3
    scope.time_offset_seconds = 2.0e-3
    scope.trigger_source = "channel1"
    scope.trigger_slope = "rising"
    if depth:
        scope.configure("RUN", f"ACQ:MDEP {depth}")
    heard.clear()
    record = scope.record([1, 2], 30.0, memory=depth is not None)
    count = depth or 1200
    assert record.volts.shape == (2, count)
    assert not record.clipped.any()
    starts = [int(data.split()[1]) for way, data in heard if way == ">" and data.startswith(b"WAV:STAR")]
    wanted = [1 + MOST_BYTES * piece for piece in range(pieces)]
    assert starts == 2 * [1, *wanted]  # once for the preamble
    times = record.times_seconds
    np.testing.assert_allclose(np.diff(times), 12.0e-3 / count, rtol=1e-4)
    assert times[0] == pytest.approx(2.0e-3 - 6.0e-3, abs=1e-9)
    # From the trigger, a rising zero: a triangle of 10 ms, behind 50 ohms; 8 mV codes, and noise of half of one.
    share = 1.0 / (1.0 + 50.0 * (4 * CELL_SIEMENS + 1e-6))
    triangle = 0.4 * share * (2.0 / np.pi) * np.arcsin(np.sin(2.0 * np.pi * 100.0 * times))
    errors = record.volts - np.stack([triangle, np.full(count, 0.1 * share)])
    assert np.abs(errors).max() < 0.5 * 8.0e-3 + 6 * 4.0e-3
    assert errors.std() == pytest.approx(8.0e-3 * np.sqrt(0.5**2 + 1.0 / 12.0), rel=0.1)
    assert np.abs(errors.mean(axis=1)).max() < 4.0e-3


def test_the_least_memory_of_a_rigol_fits_its_channels(start):
    bench = start("generator", "rigol")
    generator, scope = bench["generator"], bench["rigol"]
    generator.channels[1].sine(1.0e5, 0.4)
    generator.channels[1].enable()
    for shown, points in ((1, 12_000), (2, 6_000), (4, 3_000)):
        for number, channel in scope.channels.items():
            channel.shown = number <= shown
        scope.least_memory()
        assert scope.record([1], 5.0, memory=True).volts.shape == (1, points)


def test_generator_samples_and_bursts(start):
    bench = start("generator", "scope")
    generator, scope = bench["generator"], bench["scope"]
    one = generator.channels[1]
    values = np.sin(2.0 * np.pi * np.arange(1000) / 1000.0)
    one.samples("WAVE", values, 1.0e6, 0.5)
    with pytest.raises(InputError, match="loaded already"):
        one.samples("WAVE", values, 1.0e6, 0.5)
    one.enable()
    one.arm_burst(3)
    scope.channels[1].range_volts = 2.0
    scope.time_range_seconds = 5.0e-3
    scope.time_reference = "left"
    generator.trigger()
    generator.wait(5.0)
    assert scope.record([1], 5.0).volts.std() < 0.01  # the burst is over
    one.disarm_burst()
    assert scope.record([1], 5.0).volts.std() == pytest.approx(0.5 / np.sqrt(2.0), rel=0.02)
    one.clear_samples()


LEFT_ON = {
    "combined": ("SOUR2:FUNC SIN", "SOUR2:VOLT 0.3", "SOUR1:COMB:FEED CH2"),
    "am": ("SOUR1:AM:DEPT 80", "SOUR1:AM:STAT 1"),
    "am suppressed": ("SOUR1:AM:DSSC 1", "SOUR1:AM:STAT 1"),
    "sum": ("SOUR1:SUM:AMPL 50", "SOUR1:SUM:INT:FUNC SQU", "SOUR1:SUM:STAT 1"),
    "inverted": ("OUTP1:POL INV",),
    "burst": ("TRIG1:SOUR BUS", "SOUR1:BURS:STAT 1"),
}


@pytest.mark.parametrize("left", LEFT_ON)
def test_what_was_left_on_a_generator_does_not_reach_its_output(start, left):
    bench = start("generator")
    generator, virtual = bench["generator"], bench.virtual
    one = generator.channels[1]
    generator.configure(*LEFT_ON[left])
    one.sine(1.0e3, 0.4, 0.1, 30.0)
    share = 1.0 / (1.0 + 50.0 * 4 * CELL_SIEMENS)

    def error():
        """Largest difference of the output from what it was told."""
        with virtual.lock:
            times = virtual.clock.seconds + np.linspace(0.0, 0.02, 501)
            volts = virtual.fixture.volts(["array.row0"], times)[:, 0]
        return np.abs(volts - share * (0.1 + 0.4 * np.sin(2.0 * np.pi * (1e3 * times + 30.0 / 360.0)))).max()

    generator.configure("OUTP1 1")
    assert error() > 0.1
    one.enable()
    assert one.is_on
    assert error() < 1e-4
    # Nor does it come back, and a burst of one's own is no intruder.
    one.enable()
    one.arm_burst(1, phase_degrees=30.0)
    one.disable()
    one.enable()
    assert one.burst
    generator.safe_state()
    assert not one.burst


def test_states_that_change_a_wave_are_all_switched_off(start):
    bench = start("generator")
    generator = bench["generator"]
    one = generator.channels[1]
    one.dc(0.1)
    for left, word in (
        ("SOUR1:FM:STAT", "1"), ("SOUR1:PM:STAT", "1"), ("SOUR1:FSK:STAT", "1"), ("SOUR1:BPSK:STAT", "1"),
        ("SOUR1:PWM:STAT", "1"), ("SOUR1:SWE:STAT", "1"), ("SOUR1:FREQ:MODE", "LIST"), ("SOUR1:TRAC", "ON"),
        ("SOUR2:TRAC", "INV"), ("SOUR1:VOLT:COUP", "1"), ("SOUR1:FREQ:COUP", "1"), ("OUTP1:MODE", "GAT"),
    ):  # fmt: skip
        before = generator.session.query(f"{left}?")
        generator.configure(f"{left} {word}")
        assert generator.session.query(f"{left}?") != before
        one.enable()
        assert generator.session.query(f"{left}?") == before, left


def test_a_generator_whose_modulation_stays_on_is_not_connected(start):
    bench = start("generator")
    generator, virtual = bench["generator"], bench.virtual.instruments["generator"]
    one = generator.channels[1]
    one.sine(1e3, 0.4)
    generator.configure("SOUR1:AM:STAT 1")
    execute = virtual.execute
    virtual.execute = lambda message: b"" if b"AM:STAT 0" in message else execute(message)
    with pytest.raises(InstrumentError, match=r"channel 1 is not plain: SOUR1:AM:STAT is 1, not 0"):
        one.enable()
    assert not one.is_on


def test_the_clock_of_a_generator(start):
    bench = start("generator")
    generator, virtual = bench["generator"], bench.virtual.instruments["generator"]
    assert not generator.has_external_clock()
    with bench.virtual.lock:
        virtual.options["external_reference"] = True
    assert generator.has_external_clock()
    generator.configure("ROSC:SOUR INT")
    assert not generator.has_external_clock()


def test_what_is_unsafe_does_not_leave_the_generator(start):
    bench = start("generator")
    heard = []
    generator = Keysight33500B(
        bench.virtual.resources["generator"], LIMITS, transcript=lambda *entry: heard.append(entry[2:])
    ).open()
    bench.opened.append(generator)
    one = generator.channels[1]
    heard.clear()
    for drive in (
        lambda: one.sine(1e3, 0.6, 0.5),
        lambda: one.sine(1e3, float("nan")),
        lambda: one.dc(-1.01),
        lambda: one.samples("A", np.zeros(8), 1e3, 1.1),
    ):
        with pytest.raises(CapabilityError):
            drive()
    assert heard == []
    # Nor by way of what somebody set before.
    generator.configure("SOUR1:FUNC DC", "OUTP1:LOAD INF", "SOUR1:VOLT:OFFS 5")
    with pytest.raises(CapabilityError):
        one.enable()
    assert not one.is_on
    # Nothing in between two safe states is unsafe either.
    one.sine(1e3, 0.9, 0.1)
    heard.clear()
    one.dc(1.0)
    one.sine(1e3, 0.9, -0.1)
    sent = b"".join(data for direction, data in heard if direction == ">").decode().split("\n")
    amplitude, offset, dc = 0.9, 0.1, False
    for line in sent:
        word, _, value = line.partition(" ")
        amplitude = float(value) / 2 if word == "SOUR1:VOLT" else amplitude
        offset = float(value) if word == "SOUR1:VOLT:OFFS" else offset
        dc = value == "DC" if word == "SOUR1:FUNC" else dc
        assert (0.0 if dc else amplitude) + abs(offset) <= 1.0 + 1e-9, line


@pytest.mark.parametrize("name", LOGGERS)
def test_loggers(start, name):
    bench = start("generator", name)
    generator, logger = bench["generator"], bench[name]
    for number, volts in ((1, 0.3), (2, -0.7)):
        generator.channels[number].dc(volts)
        generator.channels[number].enable()
    with pytest.raises(InputError, match="set_up_scan"):
        logger.scan_volts()
    logger.set_up_scan([101, 102], 1.0)
    share = 1.0 / (1.0 + 50.0 * (4 * CELL_SIEMENS + 1e-6))
    for _ in range(2):
        np.testing.assert_allclose(logger.scan_volts(), np.array([0.3, -0.7]) * share, rtol=2e-3)
    for channels in ([], [102, 101], [101, 101], [5]):
        with pytest.raises(InputError):
            logger.set_up_scan(channels)


@pytest.mark.parametrize("name", ["sr830", "sr860"])
def test_lock_ins(start, name):
    bench = start("generator", name)
    generator, lock_in = bench["generator"], bench[name]
    for number in (1, 2):
        generator.channels[number].sine(1.0e3, 0.4, 0.0, 0.0)
        generator.channels[number].enable()
    generator.synchronise()
    lock_in.reference = "external"
    lock_in.sensitivity_volts = 1.0
    lock_in.time_constant_seconds = 3.0e-3
    assert lock_in.time_constant_seconds == pytest.approx(3.0e-3)
    with bench.virtual.lock:
        bench.virtual.clock.advance(0.05)
    found = lock_in.read()
    assert abs(found) == pytest.approx(0.4 / np.sqrt(2.0), rel=0.02)
    lock_in.harmonic = 3
    assert lock_in.harmonic == 3
    assert isinstance(lock_in.overloaded(), bool)


@pytest.mark.parametrize("name", ["sr830", "sr860"])
def test_lock_in_outputs(start, name):
    bench = start("generator", name)
    lock_in = bench[name]
    lock_in.sine_volts(0.5)
    assert lock_in.sine_rms_volts == pytest.approx(0.5 / np.sqrt(2.0), rel=1e-2)
    lock_in.aux_volts(2, -0.5)
    for drive in (lambda: lock_in.sine_volts(1.01), lambda: lock_in.aux_volts(1, 1.01)):
        with pytest.raises(CapabilityError):
            drive()
    with pytest.raises(InputError):
        lock_in.aux_volts(9, 0.1)
    lock_in.safe_state()
    assert lock_in.sine_rms_volts <= 4.0e-3


def test_stored_readings(start):
    bench = start("generator", "sr830")
    generator, lock_in = bench["generator"], bench["sr830"]
    for number in (1, 2):
        generator.channels[number].sine(1.0e3, 0.4)
        generator.channels[number].enable()
    lock_in.reference = "external"
    lock_in.sensitivity_volts = 1.0
    lock_in.time_constant_seconds = 1.0e-3
    lock_in.storing_index = 13
    lock_in.start_storing()
    with bench.virtual.lock:
        bench.virtual.clock.advance(0.2)
    lock_in.stop_storing()
    stored = lock_in.stored(1)
    assert len(stored) > 10
    assert np.all(np.abs(stored) < 1.0)


@pytest.mark.parametrize("name", SOURCE_METERS)
def test_source_meters(start, name):
    bench = start(name)
    meter = bench[name]
    with pytest.raises(InputError, match="before enable"):
        meter.enable()
    meter.source_volts(0.2, 1.0e-3)
    meter.enable()
    reading = meter.measure()
    assert reading.volts == pytest.approx(0.2, rel=1e-3)
    assert reading.amperes == pytest.approx(0.2 * 4 * CELL_SIEMENS, rel=2e-3)
    assert not reading.limited
    meter.source_volts(0.5, 1.0e-5)
    reading = meter.measure()
    assert reading.limited
    assert reading.amperes == pytest.approx(1.0e-5, rel=0.02)
    meter.source_amperes(1.0e-5, 0.5)
    assert not meter.is_on
    meter.enable()
    reading = meter.measure()
    assert reading.volts == pytest.approx(1.0e-5 / (4 * CELL_SIEMENS), rel=5e-3)
    meter.safe_state()
    assert not meter.is_on
    assert meter.level_volts == 0.0
    with pytest.raises(InputError, match="before enable"):
        meter.enable()


@pytest.mark.parametrize("name", SOURCE_METERS)
def test_source_meters_keep_within_limits(start, name):
    bench = start(name)
    meter = bench[name]
    for drive in (
        lambda: meter.source_volts(1.01, 1e-3),
        lambda: meter.source_volts(0.1, 1.1e-3),
        lambda: meter.source_amperes(-1.1e-3, 0.5),
        lambda: meter.source_amperes(1e-3, 1.5),
        lambda: meter.source_volts(float("nan"), 1e-3),
        lambda: meter.pulse_volts(1.01, 1, 0.1, 1e-3),
    ):
        with pytest.raises(CapabilityError):
            drive()
    for drive in (lambda: meter.source_volts(0.1, 0.0), lambda: meter.pulse_volts(0.1, 1, 1e-6, 1e-3)):
        with pytest.raises(InputError):
            drive()


@pytest.mark.parametrize("name", SOURCE_METERS)
def test_level_and_limit_go_through_nothing_beyond_both_states(start, name):
    bench = start(name)
    meter, virtual = bench[name], bench.virtual.instruments[name]
    node = virtual.node("a" if name == "k2600" else "hi")
    seen = []
    execute = virtual.execute

    def listen(message):
        answer = execute(message)
        source = bench.virtual.fixture.source(node)
        seen.append((abs(source.waveform.value), source.limit_amperes))
        return answer

    virtual.execute = listen
    states = [(0.5, 1e-5), (0.1, 1e-3), (0.6, 1e-3), (0.6, 1e-5), (0.2, 1e-6), (0.0, 1e-3), (-0.7, 2e-4), (0.3, 3e-4)]
    meter.source_volts(*states[0])
    meter.enable()
    for old, new in itertools.pairwise(states):
        seen.clear()
        meter.source_volts(*new)
        assert seen
        for state in seen:
            within = [state[0] <= abs(volts) * 1.001 and state[1] <= limit * 1.001 for volts, limit in (old, new)]
            assert any(within), (old, new, state)
        assert seen[-1] == pytest.approx((abs(new[0]), new[1]), rel=1e-3)


@pytest.mark.parametrize("name", SOURCE_METERS)
def test_pulses_that_are_refused_are_refused_before_anything_is_sent(start, name):
    bench = start(name)
    meter = bench[name]
    heard = []
    meter.link._transcript = lambda *entry: heard.append(entry)
    for request in ((0.1, 0, 0.02, 1e-3), (0.1, 1, 1e-6, 1e-3), (0.1, 10**6, 0.02, 1e-3), (0.1, 1, 0.02, 0.0),
                    (1.1, 1, 0.02, 1e-3), (0.1, 1, 0.02, 1.1e-3)):  # fmt: skip
        with pytest.raises(InputError):  # CapabilityError is one
            meter.pulse_volts(*request)
    assert heard == []


@pytest.mark.parametrize("name", SOURCE_METERS)
def test_pulses(start, name):
    bench = start(name)
    meter = bench[name]
    readings = meter.pulse_volts(0.3, 60, 0.02, 1.0e-3)
    assert len(readings) == 60
    np.testing.assert_allclose([one.amperes for one in readings], 0.3 * 4 * CELL_SIEMENS, rtol=0.02)
    assert meter.level_volts == 0.0
    assert meter.is_on
    # As ready as before.
    meter.source_volts(0.2, 1.0e-3)
    assert meter.measure().amperes == pytest.approx(0.2 * 4 * CELL_SIEMENS, rel=2e-3)


@pytest.mark.parametrize(("name", "far"), [("b2200", (14, 48)), ("k2750", (6, 8))])
def test_matrices(start, name, far):
    bench = start(name)
    matrix = bench[name]
    assert matrix.shape == far
    matrix.open_all()
    assert matrix.closed() == set()
    every = {(1, 1), (2, 5), far}
    matrix.close_crosspoints(every)
    assert matrix.closed() == every
    matrix.open_crosspoints([(2, 5)])
    assert matrix.closed() == every - {(2, 5)}
    for place in ((0, 1), (far[0] + 1, 1), (1, far[1] + 1)):
        with pytest.raises(InputError):
            matrix.close_crosspoints([place])
    matrix.safe_state()
    assert matrix.closed() == set()


@pytest.mark.parametrize("name", ["b2200", "k2750"])
def test_connections_are_read_back(start, name):
    bench = start(name)
    matrix = bench[name]
    matrix.close_crosspoints([(3, 3)])
    matrix.connect({(1, 1), (2, 5)})
    assert matrix.closed() == {(1, 1), (2, 5)}
    virtual = bench.virtual.instruments[name]
    execute = virtual.execute
    if name == "b2200":
        # Left on by somebody: one relay an input, one an output.
        matrix.rule = "single"
    else:
        virtual.execute = lambda message: execute(message.replace(b"(@101,102)", b"(@102)"))
    with pytest.raises(InstrumentError, match=r"did not close: \[\(1, 1\)\]; that are closed beside: \[\]"):
        matrix.connect({(1, 1), (1, 2)})
    assert matrix.closed() == set()


@pytest.mark.parametrize("content", [b"ab\r", b"ab\r\n", b"\r\n\r\n", b"a+\x1b\n"])
def test_a_block_comes_out_of_an_adapter_whole_whatever_it_ends_in(start, content):
    bench = start("generator", "sr830")
    one = bench["sr830"]
    heard, device = [], bench.virtual.instruments["sr830"]
    execute = device.execute
    device.execute = lambda message: heard.append(bytes(message)) or execute(message)
    one.session.write_block("DATA ", content)
    one.session.query("*IDN?")
    assert b"DATA #1%d" % len(content) + content in heard


def test_red_pitaya(start):
    bench = start("pitaya")
    pitaya = bench["pitaya"]
    out = pitaya.outputs[1]
    out.sine(1.0e4, 0.5, 0.1)
    out.enable()
    pitaya.decimation = 8
    record = pitaya.record([1], 5.0)
    assert record.volts.shape == (1, 16_384)
    phase = np.exp(2j * np.pi * 1e4 * record.times_seconds[:15_625])  # 10 periods
    assert 2.0 * abs(np.mean(record.volts[0, :15_625] * phase)) == pytest.approx(0.5, rel=0.03)
    for drive in (lambda: out.sine(1e3, 0.9, 0.2), lambda: out.dc(float("nan"))):
        with pytest.raises((CapabilityError, InputError)):
            drive()
    pitaya.safe_state()
    assert not out.is_on


def test_a_red_pitaya_reads_a_record_once_it_is_whole(start):
    pitaya = start("pitaya")["pitaya"]
    pitaya.decimation = 64
    for volts in (0.5, -0.3):
        pitaya.outputs[1].dc(volts)
        pitaya.outputs[1].enable()
        # The last half of the memory is filled after the trigger.
        np.testing.assert_allclose(pitaya.record([1], 5.0).volts, volts, atol=0.01)


def test_a_red_pitaya_puts_out_nothing_before_its_trigger(start):
    bench = start("pitaya")
    pitaya = bench["pitaya"]

    def put_out():
        with bench.virtual.lock:
            times = bench.virtual.clock.seconds + np.arange(100) * 1e-6
            return np.ptp(bench.virtual.fixture.volts(["pitaya.out1"], times))

    # An earlier user wanted single bursts, by a trigger from outside.
    pitaya.configure("SOUR1:BURS:STAT BURST", "SOUR1:TRig:SOUR EXT_PE")
    pitaya.outputs[1].sine(1.0e4, 0.5)
    pitaya.configure("OUTPUT1:STATE ON")
    assert put_out() == 0.0
    pitaya.outputs[1].enable()
    assert put_out() == pytest.approx(1.0, rel=0.05)
    pitaya.outputs[1].disable()
    pitaya.configure("OUTPUT1:STATE ON")
    assert put_out() == 0.0


def test_a_red_pitaya_without_a_whole_record_is_told_of(start):
    bench = start("pitaya")
    pitaya, device = bench["pitaya"], bench.virtual.instruments["pitaya"]
    execute = device.execute
    device.execute = lambda message: b"0\r\n" if b"FILL?" in message else execute(message)
    with pytest.raises(DeviceTimeout, match="a trigger, but no whole record"):
        pitaya.record([1], 0.05)
    device.execute = execute
    assert pitaya.record([1], 5.0).volts.shape == (1, 16_384)


def test_settings_are_checked_before_they_are_sent(start):
    bench = start("generator", "scope")
    heard = []
    scope = KeysightInfiniiVision(
        bench.virtual.resources["scope"], transcript=lambda *entry: heard.append(entry[3])
    ).open()
    bench.opened.append(scope)
    heard.clear()
    for key, value in (
        ("range_volts", 41.0), ("range_volts", float("nan")), ("range_volts", True), ("coupling", "gnd"), ("shown", 2),
    ):  # fmt: skip
        with pytest.raises(InputError, match=key):
            setattr(scope.channels[1], key, value)
    with pytest.raises(InputError, match="channels"):
        scope.record([5], 1.0)
    assert heard == []


def test_safe_on_the_way_out_of_an_error(start):
    bench = start("generator", "k2450")
    virtual = bench.virtual

    def measured():
        with bench["generator"] as generator, bench["k2450"] as meter:
            generator.channels[1].dc(0.5)
            generator.channels[1].enable()
            meter.source_volts(0.5, 1e-3)
            meter.enable()
            with virtual.lock:
                now = np.array([virtual.clock.seconds])
                assert np.abs(virtual.fixture.volts(["array.row0", "array.row3"], now)).min() > 0.4
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measured()
    with virtual.lock:
        seconds = np.array([virtual.clock.seconds])
        assert np.abs(virtual.fixture.volts(["array.row0", "array.row3"], seconds)).max() < 1e-6


def test_two_instruments_behind_one_adapter(start):
    bench = start("generator", "k2400", "b2200", "sr830")
    meter, matrix, lock_in = bench["k2400"], bench["b2200"], bench["sr830"]
    meter.source_volts(0.1, 1e-3)
    meter.enable()
    matrix.close_crosspoints([(1, 2)])
    assert meter.measure().volts == pytest.approx(0.1, rel=1e-3)
    assert matrix.closed() == {(1, 2)}
    assert lock_in.harmonic == 1
    meter.close()
    assert matrix.closed() == {(1, 2)}


@pytest.mark.parametrize("kind", ["no_answer", "delay", "drop_during", "reset", "garbage", "banner"])
def test_a_mishap_behind_an_adapter_does_not_reach_its_other_instruments(start, kind):
    bench = start("generator", "k2400", "b2200")
    meter, matrix = bench["k2400"], bench["b2200"]
    meter.session.seconds = 0.3
    matrix.close_crosspoints([(1, 2)])
    meter.source_volts(0.1, 1e-3)
    meter.enable()
    bench.virtual.faults.add(Rule(kind, instrument="k2400", pattern="read eoi", value=0.4))
    with contextlib.suppress(DeviceTimeout, ConnectionLost, ProtocolError):
        meter.measure()
    assert matrix.closed() == {(1, 2)}
    assert meter.measure().volts == pytest.approx(0.1, rel=1e-3)
    assert matrix.closed() == {(1, 2)}
