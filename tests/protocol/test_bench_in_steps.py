"""What instruments of the bench do while others act: trains of pulses, what breaks them off, and generators' waves."""

import threading
from typing import Any

import numpy as np
import pytest

from emulators.bench.clock import SimulatedClock
from emulators.bench.faults import Faults, Rule
from emulators.bench.fixture import Fixture
from emulators.bench.instruments import model
from emulators.bench.instruments.base import Surroundings
from emulators.bench.plant import CrossbarPlant
from substrate.arrays import FloatArray
from substrate.errors import InputError

SIEMENS = 1.0e-5


class Alone:
    """One instrument at a row of an array whose columns are grounded by nobody: it sees an open line."""

    def __init__(self, name: str) -> None:
        rng = np.random.default_rng(1)
        self.clock = SimulatedClock()
        self.fixture = Fixture(CrossbarPlant("array", (1, 1), rng), self.clock)
        self.faults = Faults(rng)
        around = Surroundings(self.clock, self.fixture, self.faults, rng, False, threading.RLock())
        self.it: Any = model(name)("it", around, {})
        self.it.power_on()

    def tell(self, *messages: str) -> bytes:
        return b"".join(self.it.execute(message.encode()) for message in messages)

    def volts(self, port: str, times: Any = None) -> FloatArray:
        now = np.array([self.clock.seconds]) if times is None else self.clock.seconds + np.asarray(times)
        return self.fixture.volts([f"it.{port}"], now)[:, 0]


def test_what_was_put_down_happens_in_its_order_and_at_its_time() -> None:
    clock, seen = SimulatedClock(), []
    clock.listen(lambda start, end: seen.append((start, end)))
    clock.at(2.0, lambda: seen.append("two"))
    clock.at(1.0, lambda: seen.append("one"))
    clock.at(1.0, lambda: clock.at(clock.seconds + 0.5, lambda: seen.append(clock.seconds)))
    clock.advance(0.5)
    assert seen == [(0.0, 0.5)]
    seen.clear()
    clock.advance_to(3.0)
    assert seen == [(0.5, 1.0), "one", (1.0, 1.5), 1.5, (1.5, 2.0), "two", (2.0, 3.0)]
    # The past comes as soon as any time passes.
    clock.at(1.0, lambda: seen.append("late"))
    clock.advance(0.0)
    assert seen[-1] == "late"
    assert clock.seconds == 3.0
    with pytest.raises(InputError, match="seconds"):
        clock.at(float("inf"), lambda: None)


def test_steps_go_on_are_waited_for_and_are_broken_off() -> None:
    bench = Alone("keithley-2400")
    it, seen = bench.it, []

    def steps(count: int) -> Any:
        for number in range(count):
            seen.append((number, bench.clock.seconds))
            yield 1.0
        seen.append("end")

    it.begin(steps(3))
    assert it.busy
    bench.clock.advance(1.5)
    assert seen == [(0, 0.0), (1, 1.0)]
    it.finish()
    assert seen[-1] == "end"
    assert bench.clock.seconds == 3.0
    assert not it.busy
    seen.clear()
    it.begin(steps(3))
    it.free()
    bench.clock.advance(10.0)
    assert seen == [(0, 3.0)]

    def wrong(at_once: bool) -> Any:
        if not at_once:
            yield 1.0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        it.begin(wrong(True))
    it.begin(wrong(False))
    bench.clock.advance(2.0)  # it is nobody else's fault
    assert not it.busy
    with pytest.raises(ZeroDivisionError):
        it.finish()
    it.finish()


LIST_2400 = ("SOUR:LIST:VOLT 1,0,1,0", "SOUR:VOLT:MODE LIST", "SOUR:DEL 0.1", "TRIG:COUN 4", "SENS:CURR:NPLC 0.01")


def test_a_2400_goes_on_while_others_act_and_hears_nothing_but_an_abort() -> None:
    bench = Alone("keithley-2400")
    bench.tell(*LIST_2400, "OUTP 1", "INIT")
    assert bench.it.going
    assert bench.volts("hi") == pytest.approx(1.0)
    bench.clock.advance(0.15)
    assert bench.volts("hi") == pytest.approx(0.0)
    # Whatever is asked is answered once it is idle again.
    assert len(bench.tell("FETC?").split(b",")) == 4 * 5
    assert not bench.it.going
    assert 0.4 < bench.clock.seconds < 0.5
    bench.tell("INIT")
    bench.clock.advance(0.01)
    assert bench.tell(":ABOR") == b""
    assert not bench.it.going
    # What it put out last stands.
    assert bench.volts("hi") == pytest.approx(1.0)
    bench.tell("SOUR:VOLT:MODE FIX", "SOUR:VOLT 0")
    assert bench.volts("hi") == pytest.approx(0.0)
    assert bench.tell("SYST:ERR?") == b'0,"No error"\n'


def test_a_2400_that_hangs_answers_after_the_abort() -> None:
    bench = Alone("keithley-2400")
    bench.tell(*LIST_2400, "OUTP 1")
    bench.faults.add(Rule("never_complete", count=None))
    bench.tell("INIT")
    assert bench.tell("*OPC?", "*ESE 33", "*ESE?;OUTP?") == b""
    assert bench.tell("ABOR") == b"33;1\n"
    assert bench.tell("SOUR:VOLT:MODE?") == b"LIST\n"


def test_a_2450_hears_everything_while_it_sweeps() -> None:
    bench = Alone("keithley-2450")
    bench.tell("SOUR:LIST:VOLT 1,0,1,0", "SOUR:SWE:VOLT:LIST 1, 0.1", "INIT")
    assert bench.it.going
    assert bench.tell("OUTP?") == b"1\n"
    assert bench.tell("INIT;SYST:ERR?").startswith(b"-213,")
    assert bench.clock.seconds == 0.0
    bench.tell(":ABOR")
    assert not bench.it.going
    assert bench.tell("OUTP?") == b"1\n"
    bench.tell("SOUR:SWE:VOLT:LIST 1, 0.1", "INIT")
    assert bench.tell("*OPC?") == b"1\n"
    assert bench.tell("OUTP?") == b"0\n"
    assert bench.tell("TRAC:ACT?") == b"4\n"


PULSES = "print(ConfigPulseVMeasureI(smua,0,{volts},{limit},{on},{off},{points},smua.nvbuffer1,1))"


@pytest.mark.parametrize(
    ("volts", "limit", "on", "off", "points"),
    [
        (250.0, 0.01, 0.01, 0.01, 1), (1.0, 2.0, 0.01, 0.01, 1), (1.0, 0.01, 1e-6, 0.01, 1), (1.0, 0.01, 0.01, 0.01, 0),
        (1.0, 0.01, 0.01, 0.01, 100_000), (25.0, 0.2, 0.01, 10.0, 1), (25.0, 0.2, 0.005, 0.1, 1),
    ],
)  # fmt: skip
def test_what_kipulse_refuses_is_given_back_and_reported_nowhere(
    volts: float, limit: float, on: float, off: float, points: int
) -> None:
    bench = Alone("keithley-2612b")
    bench.tell("smua.measure.nplc=0.01")
    asked = PULSES.format(volts=volts, limit=limit, on=on, off=off, points=points)
    assert bench.tell(asked).startswith(b"false\t")
    assert bench.tell("print(errorqueue.count)") == b"0.00000e+00\n"
    assert bench.tell("print(InitiatePulseTest(1))").startswith(b"false\t")
    # What was configured before under the same tag stays.
    assert bench.tell(PULSES.format(volts=1.0, limit=0.01, on=0.01, off=0.01, points=1)).startswith(b"true\t")
    assert bench.tell(asked).startswith(b"false\t")
    assert bench.tell("f,m=InitiatePulseTest(1) print(f)") == b"true\n"
    assert bench.tell("if f then print(1) else print(2) end") == b"1.00000e+00\n"
    assert bench.tell("print(smua.nvbuffer1.n)") == b"1.00000e+00\n"


def test_a_2612_that_is_busy_hears_an_abort_only() -> None:
    bench = Alone("keithley-2612b")
    bench.tell("smua.measure.nplc=0.01", PULSES.format(volts=1.0, limit=0.01, on=0.1, off=0.1, points=5))
    bench.faults.add(Rule("never_complete", count=None))
    assert bench.tell("print(InitiatePulseTest(1))", "print(1)", "*ESE 33", "*ESE?") == b""
    bench.clock.advance(0.25)
    assert bench.volts("a") == pytest.approx(1.0)
    assert bench.tell("abort") == b"1.00000e+00\n33\n"
    bench.clock.advance(0.1)
    assert bench.volts("a") == pytest.approx(1.0)
    bench.tell("smua.source.output=0")
    assert bench.volts("a") == pytest.approx(0.0)
    assert bench.tell("abort", "print(errorqueue.count)") == b"0.00000e+00\n"


TIMES = np.linspace(0.0, 0.02, 401)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ((), lambda sine, other, slow: 0.2 + 0.5 * sine),
        (("OUTP1:POL INV",), lambda sine, other, slow: 0.2 - 0.5 * sine),
        (("SOUR1:AM:DEPT 80", "SOUR1:AM:STAT 1"), lambda sine, other, slow: 0.2 + 0.25 * (1 + 0.8 * slow) * sine),
        (
            ("SOUR1:AM:DEPT 80", "SOUR1:AM:DSSC 1", "SOUR1:AM:STAT 1"),
            lambda sine, other, slow: 0.2 + 0.4 * slow * sine,
        ),
        (("SOUR1:SUM:AMPL 30", "SOUR1:SUM:STAT 1"), lambda sine, other, slow: 0.2 + 0.5 * sine + 0.15 * slow),
        (("SOUR1:COMB:FEED CH2",), lambda sine, other, slow: 0.2 + 0.5 * sine + 0.3 * other),
        (
            ("SOUR1:COMB:FEED CH2", "SOUR1:AM:STAT 1", "SOUR1:COMB:FEED NONE", "SOUR1:AM:STAT 0"),
            lambda sine, other, slow: 0.2 + 0.5 * sine,
        ),
        # One at a time: what was switched on last.
        (
            ("SOUR1:AM:STAT 1", "SOUR1:SUM:AMPL 30", "SOUR1:SUM:STAT 1"),
            lambda sine, other, slow: 0.2 + 0.5 * sine + 0.15 * slow,
        ),
        (("SOUR1:SUM:STAT 1", "SOUR1:FM:STAT 1", "SOUR1:FM:STAT 0"), lambda sine, other, slow: 0.2 + 0.5 * sine),
    ],
)
def test_modulated_and_combined_waves(setting: tuple[str, ...], expected: Any) -> None:
    bench = Alone("keysight-33512b")
    bench.tell(
        "OUTP1:LOAD INF", "OUTP2:LOAD INF", "SOUR1:FREQ 1e3", "SOUR1:VOLT 1", "SOUR1:VOLT:OFFS 0.2", "SOUR2:FREQ 300",
        "SOUR2:VOLT 0.6", "OUTP1 1", *setting,
    )  # fmt: skip
    assert bench.tell("SYST:ERR?") == b'+0,"No error"\n'
    waves = (np.sin(2.0 * np.pi * hz * TIMES) for hz in (1e3, 300.0, 100.0))
    np.testing.assert_allclose(bench.volts("1", TIMES), expected(*waves), atol=1e-4)


def test_an_abort_ends_an_endless_burst() -> None:
    bench = Alone("keysight-33512b")
    bench.tell(
        "OUTP1:LOAD INF", "SOUR1:VOLT 1", "SOUR1:BURS:NCYC INF", "TRIG1:SOUR BUS", "SOUR1:BURS:STAT 1", "OUTP1 1"
    )
    bench.tell("*TRG")
    assert np.abs(bench.volts("1", TIMES)).max() > 0.4
    bench.tell("ABOR")
    assert not bench.volts("1", TIMES).any()
    assert bench.tell("SYST:ERR?") == b'+0,"No error"\n'
