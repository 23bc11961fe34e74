"""Every fault of the transport for every driver: an answer or the right error in time, and a usable session afterwards.

Instruments are reached as they really are: on a socket, a pseudo-terminal, or behind a GPIB adapter. Besides answers,
what is counted is what arrived: commands are carried out once, or the driver says that it does not know.
"""

import time
from contextlib import ExitStack

import numpy as np
import pytest

from drivers.errors import BenchError, ConnectionLost, DeviceTimeout, ProtocolError
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
from drivers.rigol_ds1000z import RigolDS1000Z
from drivers.srs_sr830 import Sr830
from drivers.srs_sr860 import Sr860
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import TRANSPORT, Rule

SECONDS = 0.06
SPARE_SECONDS = 0.3
"""For a busy machine to get round to things."""

PULSE_VOLTS = 1.5
LIMITS = DriveLimits(volts=1.6, amperes=1.0e-3)
GPIB = {"transport": "gpib", "adapter": "gpib", "address": 9}
PTY = {"transport": "pty"}

DRIVERS = {
    "generator": ({"model": "keysight-33512b"}, lambda at: Keysight33500B(at, LIMITS, timeout_seconds=SECONDS)),
    "scope": ({"model": "keysight-dsox3024t"}, lambda at: KeysightInfiniiVision(at, timeout_seconds=SECONDS)),
    "rigol": ({"model": "rigol-ds1104z"}, lambda at: RigolDS1000Z(at, timeout_seconds=SECONDS)),
    "pitaya": ({"model": "red-pitaya-125-14"}, lambda at: RedPitaya(at, LIMITS, timeout_seconds=SECONDS)),
    "daq6510": ({"model": "keithley-daq6510"}, lambda at: KeithleyDaq6510(at, timeout_seconds=SECONDS)),
    "hp34970a": ({"model": "keysight-34970a", **GPIB}, lambda at: Keysight34970A(at, timeout_seconds=SECONDS)),
    "sr830": ({"model": "srs-sr830", **GPIB}, lambda at: Sr830(at, LIMITS, timeout_seconds=SECONDS)),
    "sr860": ({"model": "srs-sr860"}, lambda at: Sr860(at, LIMITS, timeout_seconds=SECONDS)),
    "k2400": ({"model": "keithley-2400", **GPIB}, lambda at: Keithley2400(at, LIMITS, timeout_seconds=SECONDS)),
    "k2450": ({"model": "keithley-2450"}, lambda at: Keithley2450(at, LIMITS, timeout_seconds=SECONDS)),
    "k2600": ({"model": "keithley-2612b"}, lambda at: Keithley2600(at, LIMITS, timeout_seconds=SECONDS)),
    "b2200": ({"model": "keysight-b2201a", **GPIB}, lambda at: KeysightB2200(at, timeout_seconds=SECONDS)),
    "k2750": ({"model": "keithley-2750", **PTY}, lambda at: Keithley2750(at, timeout_seconds=SECONDS)),
}  # fmt: skip
QUESTIONS = {
    "generator": ("OUTP:SYNC:SOUR", lambda driver: driver.sync_source),
    "scope": ("TIM:REF", lambda driver: driver.time_reference),
    "rigol": ("TRIG:EDG:SOUR", lambda driver: driver.trigger_source),
    "pitaya": ("SOUR1:FUNC", lambda driver: driver.outputs[1].function),
    "daq6510": (r"ROUT:CLOS\?", lambda driver: driver.closed_channels),
    "hp34970a": ("TRIG:SOUR", lambda driver: driver.trigger_source),
    "sr830": ("FMOD", lambda driver: driver.reference),
    "sr860": ("RSRC", lambda driver: driver.reference),
    "k2400": ("SOUR:FUNC", lambda driver: driver.source),
    "k2450": ("SOUR:FUNC", lambda driver: driver.source),
    "k2600": ("limitv", lambda driver: driver.limit_volts),
    "b2200": ("CONN:RULE", lambda driver: driver.rule),
    "k2750": (r"CLOS\?", lambda driver: driver.closed()),
}
"""A setting of each, and the message that asks for it; most are words, so that half an answer is none."""

HALF_IS_AN_ANSWER = {"daq6510", "k2600"}
"""Half of a text, or of a number, is another one: a plain line cannot show it."""

LOST = (ConnectionLost, DeviceTimeout)
MISSED = (DeviceTimeout,)
GARBLED = (ProtocolError, DeviceTimeout)
RIGHT = {
    **dict.fromkeys(("no_answer", "delay", "stale", "split", "trickle", "no_terminator", "back_pressure"), MISSED),
    "wrong_terminator": GARBLED,
    **dict.fromkeys(("drop_before", "drop_during", "drop_after", "reset", "refuse", "unplug"), LOST),
    **dict.fromkeys(("banner", "duplicate", "truncate", "garbage"), GARBLED),
}
VALUES = {"delay": 1.3 * SECONDS, "split": 1.3 * SECONDS, "trickle": 0.5 * SECONDS, "back_pressure": 1.3 * SECONDS,
          "unplug": 0.5 * SECONDS}  # fmt: skip


class Rig:
    """A bench with one instrument, its driver, and what the instrument was told."""

    def __init__(self, name, stack):
        section, make = DRIVERS[name]
        config = {
            "crossbar": {"shape": [2, 2], "cells": {"spread": 0.0}, "initial_siemens": 3e-5},
            "adapters": {"gpib": {}} if section.get("transport") == "gpib" else {},
            "instruments": {name: section},
        }
        port = {"k2400": "hi", "k2450": "hi", "k2600": "a"}.get(name)
        if port:
            config["instruments"] = {name: {**section, "channels": {port: "array.row0"}}}
            config["grounds"] = ["array.col0"]
        self.name = name
        self.bench = stack.enter_context(VirtualBench(config))
        at = self.bench.resources[name]
        if section.get("transport") == "gpib":
            _, host, tcp_port, _ = self.bench.resources["gpib"].split("::")
            at = f"PRLGX-TCPIP::{host}::{tcp_port}::GPIB::9"
        instrument = self.bench.instruments[name]
        self.heard = []
        self.pulse_seconds = 0.0
        if port:
            self.bench.clock.listen(self._count)
        execute = instrument.execute

        def listen(message):
            self.heard.append(message.decode("latin-1"))
            return execute(message)

        instrument.execute = listen
        self.driver = make(at)
        self.driver.open()
        stack.callback(self.driver.close)

    def spoil(self, kind, message):
        """One fault, of the answer to ``message``; behind an adapter answers belong to ``++read``."""
        if self.bench.config.instruments[self.name].transport == "gpib" and kind != "drop_before":
            message = r"\+\+read"
        with self.bench.lock:
            if kind == "refuse":
                # A connection is refused where a new one is asked for.
                self.bench.faults.add(Rule("drop_before", self.name, message))
                adapter = self.bench.config.instruments[self.name].adapter
                self.bench.faults.add(Rule("refuse", adapter or self.name))
            else:
                self.bench.faults.add(Rule(kind, self.name, message, value=VALUES.get(kind, 0.0)))

    @property
    def struck(self):
        return len(self.bench.faults.happened)

    def _count(self, start, end):
        """Time that the cell spends under a pulse."""
        times = np.linspace(start, end, 9)[1:-1]
        high = self.bench.fixture.volts(["array.row0"], times)[:, 0] > 0.5 * PULSE_VOLTS
        self.pulse_seconds += (end - start) * float(high.mean())


@pytest.fixture(scope="module")
def rigs():
    """Rigs by name, started when they are asked for."""
    with ExitStack() as stack:
        found = {}

        def rig(name):
            if name not in found:
                found[name] = Rig(name, stack)
            with found[name].bench.lock:
                found[name].bench.faults.clear()
            found[name].driver.session.seconds = SECONDS
            return found[name]

        yield rig


def timed(action):
    """(result or error, seconds)."""
    start = time.monotonic()
    try:
        found = action()
    except BenchError as error:
        found = error
    return found, time.monotonic() - start


def recovered(rig, ask, expected):
    """The session is usable: at once, or once an unplugged line is back."""
    rig.bench.faults.clear()
    rig.driver.session.seconds = 1.0
    if rig.bench.config.instruments[rig.name].transport == "pty":
        time.sleep(SECONDS)
    assert ask(rig.driver) == expected
    rig.driver.check_errors()
    assert ask(rig.driver) == expected


@pytest.mark.parametrize("kind", TRANSPORT)
@pytest.mark.parametrize("name", DRIVERS)
def test_a_question_is_answered_or_ends_in_the_right_error(rigs, name, kind):
    rig = rigs(name)
    message, ask = QUESTIONS[name]
    expected = ask(rig.driver)
    before = rig.struck
    rig.spoil(kind, message)
    found, seconds = timed(lambda: ask(rig.driver))
    assert rig.struck > before
    assert seconds <= 2.0 * SECONDS + SPARE_SECONDS
    if isinstance(found, BenchError):
        assert isinstance(found, RIGHT[kind] + (LOST if kind == "refuse" else ()))
    elif not (kind == "truncate" and name in HALF_IS_AN_ANSWER):
        assert found == expected
    recovered(rig, ask, expected)


COMMANDS = {
    "generator": ("SOUR1:FREQ", lambda driver: driver.configure("SOUR1:FREQ 1000")),
    "scope": ("TIM:RANG", lambda driver: driver.configure("TIM:RANG 1e-3")),
    "rigol": ("TIM:MAIN:SCAL", lambda driver: driver.configure("TIM:MAIN:SCAL 1e-3")),
    "pitaya": ("ACQ:DEC", lambda driver: driver.configure("ACQ:DEC 8")),
    "daq6510": ("SENS:VOLT:NPLC", lambda driver: driver.configure("SENS:VOLT:NPLC 1")),
    "hp34970a": ("TRIG:COUN", lambda driver: driver.configure("TRIG:COUN 1")),
    "sr830": ("PHAS", lambda driver: driver.configure("PHAS 1")),
    "sr860": ("PHAS", lambda driver: driver.configure("PHAS 1")),
    "k2400": ("SENS:CURR:NPLC", lambda driver: driver.configure("SENS:CURR:NPLC 1")),
    "k2450": ("SENS:CURR:NPLC", lambda driver: driver.configure("SENS:CURR:NPLC 1")),
    "k2600": ("measure.nplc", lambda driver: driver.configure("smua.measure.nplc=1")),
    "b2200": ("CLOS", lambda driver: driver.close_crosspoints([(1, 2)])),
    "k2750": ("CLOS", lambda driver: driver.close_crosspoints([(1, 2)])),
}


@pytest.mark.parametrize("kind", TRANSPORT)
@pytest.mark.parametrize("name", DRIVERS)
def test_a_command_is_carried_out_once_or_not_known_to_be(rigs, name, kind):
    rig = rigs(name)
    message, command = COMMANDS[name]
    _, ask = QUESTIONS[name]
    rig.driver.session.seconds = 1.0
    if name in ("b2200", "k2750"):
        rig.driver.open_all()
    expected = ask(rig.driver)
    rig.driver.session.seconds = SECONDS
    rig.heard.clear()
    rig.spoil(kind, message)
    found, seconds = timed(lambda: command(rig.driver))
    assert seconds <= 2.0 * SECONDS + SPARE_SECONDS
    arrived = sum(message.upper() in one.upper() for one in rig.heard)
    assert arrived <= 1
    line = rig.bench.config.instruments[name].transport == "pty"
    if not isinstance(found, BenchError) and not (line and kind in ("drop_before", "refuse")):
        assert arrived == 1  # a serial line that swallows a message gives no sign of it
    if name in ("b2200", "k2750"):
        rig.bench.faults.clear()
        rig.driver.session.seconds = 1.0
        if line:
            time.sleep(SECONDS)
        assert rig.driver.closed() == ({(1, 2)} if arrived else set())
        rig.driver.open_all()
    recovered(rig, ask, expected)


STARTS = {"k2400": "INIT", "k2450": "^INIT", "k2600": "InitiatePulseTest"}
SETTINGS = {"k2400": "LIST:VOLT", "k2450": "LIST:VOLT", "k2600": "ConfigPulse"}


@pytest.mark.parametrize("kind", TRANSPORT)
@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("stage", ["setting up", "starting"])
def test_pulses_are_never_doubled_and_never_lost_unnoticed(rigs, name, kind, stage):
    rig = rigs(name)
    meter = rig.driver

    def pulsed(seconds):
        """What the driver says, and for how long the cell felt it."""
        meter.session.seconds = seconds
        rig.pulse_seconds = 0.0
        found, _ = timed(lambda: meter.pulse_volts(PULSE_VOLTS, 1, 0.01, 1.0e-3))
        meter.session.seconds = 1.0
        rig.bench.faults.clear()
        meter.safe_state()
        assert not meter.is_on
        return found, rig.pulse_seconds

    readings, once = pulsed(1.0)
    assert len(readings) == 1
    assert once > 5.0e-3
    before = rig.struck
    rig.spoil(kind, (SETTINGS if stage == "setting up" else STARTS)[name])
    found, felt = pulsed(SECONDS)
    assert rig.struck > before
    assert felt == pytest.approx(once, rel=0.05) or felt == 0.0
    if not isinstance(found, BenchError):
        assert len(found) == 1
        assert felt > 0.0
    # As many as are asked for, now that nothing is wrong.
    found, felt = pulsed(1.0)
    assert len(found) == 1
    assert felt == pytest.approx(once, rel=0.05)
