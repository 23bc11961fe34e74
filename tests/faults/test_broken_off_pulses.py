"""Pulses that are broken off, by an error or by Ctrl-C: none follows, the output is off, settings are as before."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from drivers.errors import DeviceTimeout, InstrumentError
from drivers.keithley_2400 import Keithley2400
from drivers.keithley_2450 import Keithley2450
from drivers.keithley_2600 import Keithley2600
from drivers.keysight_33500b import Keysight33500B
from drivers.limits import DriveLimits
from emulators.bench.faults import Rule

GPIB = {"transport": "gpib", "adapter": "gpib", "address": 24}
METERS = {
    "k2400": (Keithley2400, {"model": "keithley-2400", "channels": {"hi": "array.row0"}, **GPIB}),
    "k2450": (Keithley2450, {"model": "keithley-2450", "channels": {"hi": "array.row0"}}),
    "k2600": (Keithley2600, {"model": "keithley-2612b", "channels": {"a": "array.row0"}}),
}
LIMITS = DriveLimits(1.0, 1e-3)
GENERATOR = {"crossbar": {"shape": [2, 2]}, "instruments": {"generator": {"model": "keysight-33512b"}}}
PULSE_VOLTS, WIDTH_SECONDS, COUNT = 0.3, 0.02, 40


class Rig:
    """A source meter at a line of an array, and how long the line was at more than half of the pulse's voltage."""

    def __init__(self, virtual_bench, name, limits, seconds):
        kind, section = METERS[name]
        self.bench = virtual_bench(
            {
                "crossbar": {"shape": [2, 2], "cells": {"spread": 0.0}, "initial_siemens": 3e-5},
                "adapters": {"gpib": {}} if "adapter" in section else {},
                "instruments": {name: section},
                "grounds": ["array.col0"],
            }
        )
        at = self.bench.resources[name]
        if "adapter" in section:
            _, host, port, _ = self.bench.resources["gpib"].split("::")
            at = f"PRLGX-TCPIP::{host}::{port}::GPIB::24"
        self.address = at
        self.virtual = self.bench.instruments[name]
        self.driver = kind(at, limits, timeout_seconds=seconds)
        self.felt = 0.0
        self.bench.clock.listen(self._count)

    def _count(self, start, end):
        times = np.linspace(start, end, 9)[1:-1]
        high = self.bench.fixture.volts(["array.row0"], times)[:, 0] > 0.5 * PULSE_VOLTS
        self.felt += (end - start) * float(high.mean())

    def hang(self):
        with self.bench.lock:
            return self.bench.faults.add(Rule("never_complete", count=None))

    def later(self, seconds):
        """Let time pass; how long pulses were felt meanwhile."""
        with self.bench.lock:
            before = self.felt
            self.bench.clock.advance(seconds)
            return self.felt - before


@pytest.fixture
def rig(virtual_bench):
    opened = []

    def rig(name, limits=LIMITS, seconds=0.25):
        opened.append(Rig(virtual_bench, name, limits, seconds))
        return opened[-1]

    yield rig
    for one in opened:
        one.driver.close()


@pytest.fixture
def ctrl_c():
    """Sends SIGINT to this process, where it raises KeyboardInterrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", METERS)
def test_ctrl_c_in_the_middle_of_a_train_ends_it(rig, ctrl_c, name):
    one = rig(name)
    one.hang()

    def interrupt():
        end = time.monotonic() + 10.0
        while not one.virtual.going and time.monotonic() < end:
            time.sleep(0.005)
        # Into the middle of a pulse that is not the last.
        one.later(COUNT * WIDTH_SECONDS + 0.3 * WIDTH_SECONDS)
        ctrl_c()

    helper = threading.Thread(target=interrupt)

    def pulse():
        with one.driver as meter:
            helper.start()
            meter.pulse_volts(PULSE_VOLTS, COUNT, WIDTH_SECONDS, 1e-3)

    with pytest.raises(KeyboardInterrupt):
        pulse()
    helper.join()
    assert 0.2 * COUNT * WIDTH_SECONDS < one.felt < 0.8 * COUNT * WIDTH_SECONDS
    assert not one.virtual.going
    assert one.later(10.0) == 0.0
    with one.bench.lock:
        one.bench.faults.clear()
    with one.driver as meter:
        assert not meter.is_on


@pytest.mark.parametrize("name", METERS)
def test_a_train_that_does_not_end_in_time_is_aborted_and_the_settings_are_put_back(rig, name):
    one = rig(name)
    meter = one.driver.open()
    nplc = "nplc_amperes" if name == "k2450" else "nplc"
    setattr(meter, nplc, 0.5)
    if name != "k2600":
        meter.automatic_delay = False
        setattr(meter, "delay_seconds" if name == "k2450" else "source_delay_seconds", 0.003)
    before = meter.settings()
    rule = one.hang()
    with pytest.raises(DeviceTimeout) as caught:
        meter.pulse_volts(PULSE_VOLTS, 2, WIDTH_SECONDS, 1e-3)
    assert not one.virtual.going
    assert one.later(10.0) == 0.0
    assert not any("after the pulses" in note for note in getattr(caught.value, "__notes__", ()))
    with one.bench.lock:
        one.bench.faults.remove(rule)
    after = meter.settings()
    assert not meter.is_on
    changed = {key for key in before if after[key] != before[key]}
    assert changed <= {"limit_amperes"}  # what was asked for
    # And the next train is whole.
    one.felt = 0.0
    assert len(meter.pulse_volts(PULSE_VOLTS, 2, WIDTH_SECONDS, 1e-3)) == 2
    assert one.felt == pytest.approx(2 * WIDTH_SECONDS, rel=0.1)
    assert meter.is_on
    assert getattr(meter, nplc) == 0.5


DYING = """
import sys
from importlib import import_module
from drivers.limits import DriveLimits
module, kind, address = sys.argv[1:]
meter = getattr(import_module(module), kind)(address, DriveLimits(1.0, 1e-3), timeout_seconds=30.0)
meter.open().pulse_volts(0.3, 40, 0.02, 1e-3)
"""


@pytest.mark.parametrize("name", METERS)
def test_a_train_of_a_host_that_was_killed_is_aborted_by_the_next_one(rig, name):
    one = rig(name)
    rule, kind = one.hang(), METERS[name][0]
    command = [sys.executable, "-c", DYING, kind.__module__, kind.__name__, one.address]
    child = subprocess.Popen(command)
    end = time.monotonic() + 20.0
    while not one.virtual.going and time.monotonic() < end:
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert one.virtual.going
    meter = one.driver.open()
    # A 2450 answers meanwhile, and is left alone until it is told.
    assert one.virtual.going == (name == "k2450")
    meter.safe_state()
    assert not one.virtual.going
    assert one.later(10.0) == 0.0
    with one.bench.lock:
        one.bench.faults.remove(rule)
    assert not meter.is_on


def test_a_refused_pulse_is_an_error_and_no_older_one_is_put_out(rig):
    one = rig("k2600", DriveLimits(40.0, 0.5), 1.0)
    meter = one.driver.open()
    meter.pulse_volts(PULSE_VOLTS, 1, WIDTH_SECONDS, 1e-3)
    one.felt = 0.0
    # Within the limits of the driver; the instrument has no such pulses with pauses as short as these.
    with pytest.raises(InstrumentError, match=r"ConfigPulseVMeasureI.*refused: .*duty cycle"):
        meter.pulse_volts(25.0, 1, 0.01, 0.2)
    assert one.felt == 0.0
    assert one.later(1.0) == 0.0
    assert not meter.is_on
    meter.check_errors()


def test_the_channels_of_one_instrument_do_not_put_out_each_other_s_pulses(rig):
    one = rig("k2600")
    with one.driver as meter, Keithley2600(one.bench.resources["k2600"], LIMITS, "b") as other:
        other.pulse_volts(0.2, 1, WIDTH_SECONDS, 1e-3)
        meter.pulse_volts(PULSE_VOLTS, 1, WIDTH_SECONDS, 1e-3)
        one.felt = 0.0
        # As if it came between the other channel's configuration and its start.
        other.session.query("print(InitiatePulseTest(2))")
        assert one.felt == 0.0


CHILD = """
import sys, time
from drivers.keysight_33500b import Keysight33500B
from drivers.limits import DriveLimits
with Keysight33500B(sys.argv[1], DriveLimits(1.0), timeout_seconds=2.0) as generator:
    for channel in generator.channels.values():
        channel.dc(0.5)
        channel.enable()
    print("on", flush=True)
    time.sleep(60.0)
"""


def test_a_second_ctrl_c_does_not_break_off_the_way_to_the_safe_state(virtual_bench):
    bench = virtual_bench(GENERATOR)
    command = [sys.executable, "-c", CHILD, bench.resources["generator"]]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "on\n"
        virtual = bench.instruments["generator"]
        with bench.lock:
            assert all(virtual.value("output", channel) for channel in (1, 2))
            # Slow answers, so that the second one comes on the way.
            bench.faults.add(Rule("delay", pattern="SYST:ERR", value=0.5, count=None))
        child.send_signal(signal.SIGINT)
        end = time.monotonic() + 10.0
        while virtual.value("output", 1) and time.monotonic() < end:
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        assert virtual.value("output", 2)
        assert child.wait(timeout=20.0) != 0
        assert "KeyboardInterrupt" in child.stderr.read()
    finally:
        child.kill()
        child.stdout.close()
        child.stderr.close()
    with bench.lock:
        assert not any(virtual.value("output", channel) for channel in (1, 2))


def test_the_safe_state_begins_with_what_breaks_in(virtual_bench):
    bench = virtual_bench(GENERATOR)
    heard = []
    generator = Keysight33500B(
        bench.resources["generator"], LIMITS, transcript=lambda *entry: heard.append(entry[2:])
    ).open()
    one = generator.channels[1]
    one.sine(10.0, 0.5)
    one.enable()
    one.arm_burst(1000)
    generator.trigger()
    heard.clear()
    generator.safe_state()
    sent = [data for direction, data in heard if direction == ">"]
    assert sent[0] == b"ABOR\n"
    with bench.lock:
        assert not bench.instruments["generator"].busy
    generator.close()
