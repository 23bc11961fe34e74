"""Preparing a reader of nodes: what an earlier user left does not count, and no lost command goes unnoticed."""

import re
import time
from contextlib import contextmanager

import numpy as np
import pytest

from drivers.errors import BenchError, InstrumentError
from drivers.keysight_33500b import Keysight33500B
from drivers.keysight_infiniivision import KeysightInfiniiVision
from drivers.limits import DriveLimits
from drivers.node_readers import LockInReader
from drivers.record_readers import InfiniiVisionReader, RedPitayaReader, RigolReader
from drivers.red_pitaya import RedPitaya
from drivers.rigol_ds1000z import RigolDS1000Z
from drivers.srs_sr830 import Sr830
from drivers.srs_sr860 import Sr860
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import Rule

LIMITS = DriveLimits(volts=2.0)
RANGE_VOLTS = 1.0
REFERENCE_VOLTS = 1.0
FAST_HZ = 5.0e6
"""At which a bandwidth limit shows."""

SEEN_2, SEEN_4 = {"1": "generator.1", "2": "generator.2"}, {"1": "generator.1", "4": "generator.2"}
LOCK_IN = {"a": "generator.1", "aux_in1": "generator.1", "ref": "generator.2"}
READERS = {
    "scope": ("keysight-dsox3024t", SEEN_4, KeysightInfiniiVision,
              lambda one: InfiniiVisionReader(one, [1], [0], 4, REFERENCE_VOLTS)),
    "rigol": ("rigol-ds1104z", SEEN_4, RigolDS1000Z, lambda one: RigolReader(one, [1], [0], 4, REFERENCE_VOLTS)),
    "pitaya": ("red-pitaya-125-14", {"in1": "generator.1", "in2": "generator.2"},
               lambda at, **options: RedPitaya(at, LIMITS, **options),
               lambda one: RedPitayaReader(one, [1], [0], 2, REFERENCE_VOLTS)),
    "sr830": ("srs-sr830", LOCK_IN, lambda at, **options: Sr830(at, LIMITS, **options),
              lambda one: LockInReader(one, [0])),
    "sr860": ("srs-sr860", LOCK_IN, lambda at, **options: Sr860(at, LIMITS, **options),
              lambda one: LockInReader(one, [0])),
}  # fmt: skip


@contextmanager
def rig(name, hertz=1.0e4):
    """A bench whose generator puts out a node's tone and the reference; its reader, and the reader's instrument."""
    model, channels, driver, reader = READERS[name]
    config = {
        "crossbar": {"shape": [2, 2], "cells": {"spread": 0.0}, "initial_siemens": 3e-5},
        "instruments": {"generator": {"model": "keysight-33512b"}, name: {"model": model, "channels": channels}},
    }
    with VirtualBench(config) as bench, Keysight33500B(bench.resources["generator"], LIMITS) as generator:
        generator.channels[1].sine(hertz, 0.2, 0.1, 60.0)
        generator.channels[2].sine(hertz, REFERENCE_VOLTS, 0.2)
        for output in generator.channels.values():
            output.enable()
        generator.synchronise()
        with driver(bench.resources[name], timeout_seconds=1.0) as instrument:
            yield bench, instrument, reader(instrument)


def tone(reader, hertz):
    """What it reads, once it is prepared."""
    if isinstance(reader, LockInReader):
        value = reader._lock_in.read()
        return np.array([value.real, value.imag])
    reader.tune(hertz, 2, 1000)
    return reader._record(8)[0][:, 0]


LEFT = {
    "scope": ["CHAN1:INV 1", "CHAN1:IMP FIFT", "CHAN1:COUP AC", "CHAN1:PROB 10", "CHAN1:BWL 1", "CHAN1:UNIT AMP",
              "CHAN1:OFFS 0.5", "CHAN1:DISP 0", "TRIG:EDGE:COUP AC", "TRIG:EDGE:SLOP NEG", "TRIG:EDGE:LEV 0.5",
              "TIM:REF RIGH", "TIM:MODE ROLL", "TRIG:SWE AUTO", "CHAN4:INV 1", "CHAN4:IMP FIFT"],
    "rigol": ["CHAN1:INV 1", "CHAN1:COUP AC", "CHAN1:COUP GND", "CHAN1:PROB 10", "CHAN1:BWL 20M", "CHAN1:UNIT AMP",
              "CHAN1:OFFS 0.5", "CHAN1:DISP 0", "TRIG:COUP AC", "TRIG:EDG:SLOP NEG", "TRIG:EDG:LEV 0.5",
              "TIM:MODE ROLL"],
    "pitaya": ["ACQ:SOUR1:GAIN HV", "ACQ:AVG OFF", "ACQ:TRig:LEV 0.5", "ACQ:TRig:DLY 0", "ACQ:DATA:Units RAW",
               "ACQ:DATA:FORMAT BIN"],
    "sr830": ["OEXP 1,40,0", "OEXP 2,-40,0", "OEXP 1,0,2", "PHAS 30", "HARM 2", "FMOD 1", "ISRC 3", "RSLP 1",
              "OFSL 0", "SYNC 1", "ILIN 3"],
    "sr860": ["COFP 0,40;COFA 0,1", "COFP 1,-40;COFA 1,1", "CRAT 0,1", "CRAT 1,1", "CEXP 0,2", "PHAS 30", "HARM 2",
              "RSRC 0", "IVMD 1", "RTRG 1", "OFSL 0", "SYNC 1"],
}  # fmt: skip
"""Commands of an earlier user."""

SHOWS = {
    "scope": {"CHAN1:INV 1", "CHAN1:IMP FIFT", "CHAN1:COUP AC", "CHAN1:PROB 10", "CHAN1:BWL 1", "TRIG:EDGE:COUP AC",
              "TRIG:EDGE:SLOP NEG", "TRIG:EDGE:LEV 0.5"},
    "rigol": {"CHAN1:INV 1", "CHAN1:COUP AC", "CHAN1:COUP GND", "CHAN1:BWL 20M", "TRIG:COUP AC", "TRIG:EDG:SLOP NEG",
              "TRIG:EDG:LEV 0.5"},
    "pitaya": {"ACQ:TRig:LEV 0.5"},
    "sr830": {"OEXP 1,40,0", "OEXP 2,-40,0", "PHAS 30", "HARM 2", "FMOD 1", "ISRC 3"},
    "sr860": {"COFP 0,40;COFA 0,1", "COFP 1,-40;COFA 1,1", "CRAT 0,1", "CRAT 1,1", "PHAS 30", "HARM 2", "RSRC 0",
              "IVMD 1"},
}  # fmt: skip
"""Those that change the reading itself, silently: without preparation it is another one."""


@pytest.mark.parametrize("name", READERS)
def test_what_an_earlier_user_left_does_not_count(name):
    hertz = FAST_HZ if name in ("scope", "rigol") else 1.0e4
    with rig(name, hertz) as (_, instrument, reader):
        instrument.session.seconds = 5.0
        reader.prepare(RANGE_VOLTS)
        if isinstance(reader, LockInReader):
            reader.tune(hertz, 2, 1000)
        clean, settings = tone(reader, hertz), instrument.snapshot()
        assert np.ptp(clean) > 0.05
        for left in LEFT[name]:
            instrument.configure(*left.split(";"))
            if left in SHOWS[name]:
                assert np.abs(tone(reader, hertz) - clean).max() > 0.02, left
            reader.prepare(RANGE_VOLTS)
            if isinstance(reader, LockInReader):
                reader.tune(hertz, 2, 1000)
            np.testing.assert_allclose(tone(reader, hertz), clean, atol=0.01, err_msg=left)
            assert instrument.snapshot() == settings, left


@pytest.mark.parametrize("name", READERS)
def test_no_command_of_a_preparation_is_lost_unnoticed(name):
    with rig(name) as (bench, instrument, reader):
        device = bench.instruments[name]
        heard, execute = [], device.execute
        device.execute = lambda message: heard.append(bytes(message).decode().strip()) or execute(message)
        reader.prepare(RANGE_VOLTS)
        commands = sorted({one for one in heard if "?" not in one and not one.startswith("*")})
        assert len(commands) >= 5
        settings = instrument.snapshot()
        for command in commands:
            with bench.lock:
                struck = len(bench.faults.happened)
                bench.faults.add(Rule("drop_before", name, "^" + re.escape(command), count=1))
            with pytest.raises(BenchError):
                reader.prepare(RANGE_VOLTS)
            with bench.lock:
                assert len(bench.faults.happened) > struck, command
                bench.faults.clear()
            reader.prepare(RANGE_VOLTS)
            assert instrument.snapshot() == settings, command


def test_a_command_lost_among_unchecked_ones_is_told_of():
    with rig("scope") as (bench, scope, _):
        scope.configure("CHAN1:PROB 10", "TIM:REF CENT")
        for command in ("CHAN1:PROB", "TIM:REF", "TRIG:EDGE:LEV"):
            with bench.lock:
                bench.faults.add(Rule("drop_before", "scope", command, count=1))

            def several():
                with scope.unchecked():
                    scope.channels[1].attenuation = 1.0
                    time.sleep(0.02)  # the end of the connection is seen before anything else is sent
                    scope.time_reference = "left"
                    time.sleep(0.02)
                    scope.trigger_level_volts = 0.0

            with pytest.raises(BenchError, match=r"lost|closed|not known"):
                several()
        several()
        assert (scope.channels[1].attenuation, scope.time_reference) == (1.0, "left")


def test_a_setting_that_the_instrument_passes_over_is_told_of():
    with rig("scope") as (bench, _, reader):
        device = bench.instruments["scope"]
        execute = device.execute
        device.execute = lambda message: b"" if message.startswith(b"CHAN1:INV 0") else execute(message)
        execute(b"CHAN1:INV 1\n")
        with pytest.raises(InstrumentError, match=r"inverted was set to False, the instrument says True"):
            reader.prepare(RANGE_VOLTS)
