"""Drivers against scripts of exact bytes: instruments that are not emulated, and what an emulator cannot show."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from drivers.errors import DeviceTimeout, InstrumentError, ProtocolError
from drivers.keithley_2600 import Keithley2600
from drivers.keysight_b2200 import KeysightB2200
from drivers.keysight_infiniivision import KeysightInfiniiVision
from drivers.limits import DriveLimits
from drivers.resource import open_link
from drivers.rigol_ds1000z import RigolDS1000Z
from drivers.setting import integer, number
from drivers.socket_link import SocketLink
from drivers.srs_sr830 import SENSITIVITIES, STORING, TIME_CONSTANTS, decode_pairs
from drivers.srs_sr860 import SENSITIVITIES as SR860_SENSITIVITIES
from drivers.transport import SerialLink
from drivers.visa_link import VisaLink
from substrate.errors import InputError

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))
from raw_server import RawServer

SECONDS = 0.3


class Script(RawServer):
    """Answers as written down; what it was told is in ``heard``."""

    def __init__(self, identity, answers):
        self.answers = answers
        super().__init__(identity)

    def answer(self, line):
        found = self.answers.get(line)
        if isinstance(found, list):
            return found.pop(0)
        return found if found is not None else super().answer(line)


def test_rigol_record():
    # A screen of 1200 points.
    codes = bytes([125, 150, 100, 255] + [125] * 1196)
    answers = {
        "TRIG:STAT?": [b"RUN\n", b"WAIT\n", b"STOP\n"],
        # format, type, points, count, xincrement, xorigin, xreference, yincrement, yorigin, yreference
        "WAV:PRE?": b"0,0,1200,1,1e-6,-2e-6,0,4e-2,-5,127\n",
        "WAV:DATA?": b"#9000001200" + codes + b"\n",
    }
    with Script("RIGOL TECHNOLOGIES,DS1104Z,DS1ZA1,00.04.04", answers) as server:
        with RigolDS1000Z(server.resource, timeout_seconds=SECONDS) as scope:
            record = scope.record([2], 1.0)
        np.testing.assert_allclose(record.volts, [[0.12, 1.12, -0.88, 5.32] + [0.12] * 1196])
        np.testing.assert_allclose(record.times_seconds, 1e-6 * np.arange(-2, 1198), atol=1e-12)
        assert record.clipped.tolist() == [True]
        told = [line for line in server.heard if line.startswith(("SING", "WAV:"))]
        assert told == [
            "SING", "WAV:MODE NORM", "WAV:FORM BYTE", "WAV:SOUR CHAN2", "WAV:STAR 1", "WAV:STOP 1200", "WAV:PRE?",
            "WAV:STAR 1", "WAV:STOP 1200", "WAV:DATA?",
        ]  # fmt: skip


def test_rigol_without_a_trigger():
    with (
        Script("RIGOL TECHNOLOGIES,MSO1104Z,DS1ZA1,00.04.04", {"TRIG:STAT?": b"WAIT\n"}) as server,
        RigolDS1000Z(server.resource, timeout_seconds=SECONDS) as scope,
    ):
        with pytest.raises(DeviceTimeout, match="no trigger"):
            scope.record([1], 0.05)
        scope.check_errors()
        assert "STOP" in server.heard


def test_rigol_memory_is_read_in_pieces():
    points = 600_000
    pieces = [b"#9%09d" % count + bytes(count) + b"\n" for count in (250_000, 250_000, 100_000)]
    answers = {
        "TRIG:STAT?": b"STOP\n",
        "ACQ:MDEP?": b"%d\n" % points,
        "WAV:PRE?": b"0,2,%d,1,1e-9,0,0,1,0,0\n" % points,
        "WAV:DATA?": pieces,
    }
    with Script("RIGOL TECHNOLOGIES,DS1054Z,1,1", answers) as server:
        with RigolDS1000Z(server.resource, timeout_seconds=SECONDS) as scope:
            assert scope.record([1], 1.0, memory=True).volts.shape == (1, points)
        assert [line for line in server.heard if line.startswith("WAV:ST")] == [
            "WAV:STAR 1", "WAV:STOP 600000", "WAV:STAR 1", "WAV:STOP 250000", "WAV:STAR 250001",
            "WAV:STOP 500000", "WAV:STAR 500001", "WAV:STOP 600000",
        ]  # fmt: skip


def test_scope_holes_and_short_records():
    codes = np.array([0, 32768, 40000], dtype="<u2").tobytes()
    answers = {
        "*OPC?": b"1\n",
        "WAV:PRE?": b"+1,+0,+3,+1,+1.0E-06,-1.0E-06,+0,+1.0E-03,+2.0E-01,+32768\n",
        "WAV:DATA?": [b"#800000006" + codes + b"\n", b"#800000004" + codes[:4] + b"\n"],
    }
    with (
        Script("KEYSIGHT TECHNOLOGIES,DSO-X 2004A,MY1,2.50", answers) as server,
        KeysightInfiniiVision(server.resource, timeout_seconds=SECONDS) as scope,
    ):
        record = scope.record([1], 1.0)
        assert np.isnan(record.volts[0, 0])
        np.testing.assert_allclose(record.volts[0, 1:], [0.2, 0.2 + 7.232])
        with pytest.raises(ProtocolError, match="expected 3 samples, got 2"):
            scope.record([1], 1.0)


def test_an_interrupt_while_a_scope_waits_is_not_replaced_by_its_silence():
    with Script("KEYSIGHT TECHNOLOGIES,DSO-X 2004A,MY1,2.50", {}) as server:
        scope = KeysightInfiniiVision(server.resource, timeout_seconds=SECONDS).open()

        def interrupt():
            server.deaf.set()
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(0.1, interrupt)
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            scope.record([1], 20.0)
        assert time.monotonic() - start < 1.0
        timer.join()
        server.deaf.clear()
        assert scope.session.query("*IDN?").startswith("KEYSIGHT")
        assert "STOP" in server.heard
        scope.close()


CONFIGURE = "print(ConfigPulseVMeasureI(smua,0,0.5,0.001,0.002,0.002,2,smua.nvbuffer1,1))"
INITIATE = "print(InitiatePulseTest(1))"
TSP = {
    "print(errorqueue.next())": b"0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00\n",
    "print(smua.measure.nplc)": b"1.00000e+00\n",
    "print(smua.measure.autozero)": b"2.00000e+00\n",
    "print(smua.nvbuffer1.appendmode)": b"0.00000e+00\n",
    CONFIGURE: b"true\tConfigured\n",
    INITIATE: b"true\tInitiated\n",
    "printbuffer(1,2,smua.nvbuffer1)": b"1.00000e-06, 1.00000e-03\n",
}


def tsp_script(**answers):
    return Script("Keithley Instruments Inc., Model 2612B, 1, 3.0", TSP | answers)


def test_tsp_pulses_in_exact_bytes():
    with tsp_script() as server:
        with Keithley2600(server.resource, DriveLimits(1.0, 1e-3), timeout_seconds=SECONDS) as meter:
            readings = meter.pulse_volts(0.5, 2, 0.002, 1e-3)
        assert [one.amperes for one in readings] == [1e-6, 1e-3]
        assert [one.limited for one in readings] == [False, True]
        assert server.heard.count(CONFIGURE) == 1
        assert server.heard.count(INITIATE) == 1
        # As the factory script wants it, and as it was before.
        for name, during, before in (("measure.autozero", 1, 2), ("nvbuffer1.appendmode", 1, 0)):
            assert [one for one in server.heard if one.startswith(f"smua.{name}=")] == [
                f"smua.{name}={during}",
                f"smua.{name}={before}",
            ]
        # The way out: what breaks in first, then the output off.
        after = server.heard[server.heard.index("printbuffer(1,2,smua.nvbuffer1)") :]
        places = [after.index(line) for line in ("abort", "smua.source.output=0", "smua.source.leveli=0")]
        assert places == sorted(places)


@pytest.mark.parametrize("call", [CONFIGURE, INITIATE])
def test_tsp_pulses_that_are_refused(call):
    # The factory script tells of it by what it gives back, and the error queue stays empty.
    with (
        tsp_script(**{call: b"false\tOn time too long\n"}) as server,
        Keithley2600(server.resource, DriveLimits(1.0, 1e-3), timeout_seconds=SECONDS) as meter,
    ):
        with pytest.raises(InstrumentError, match=r"refused: On time too long"):
            meter.pulse_volts(0.5, 2, 0.002, 1e-3)
        assert (INITIATE in server.heard) == (call == INITIATE)
        heard = server.heard[server.heard.index(call) :]
        assert heard.index("abort") < heard.index("smua.source.output=0")
        assert "smua.source.output=1" not in heard


def test_a_tsp_function_that_goes_wrong_is_named():
    errors = [b"-2.86e+02\tTSP Runtime error\t2.0e+01\t1.0e+00\n"] + [TSP["print(errorqueue.next())"]] * 9
    with (
        tsp_script(**{CONFIGURE: b""}) as server,
        Keithley2600(server.resource, DriveLimits(1.0, 1e-3), timeout_seconds=SECONDS) as meter,
    ):
        server.answers["print(errorqueue.next())"] = [TSP["print(errorqueue.next())"]] * 2 + errors
        with pytest.raises(InstrumentError, match=r"ConfigPulse.*error -286, TSP Runtime"):
            meter.pulse_volts(0.5, 2, 0.002, 1e-3)
        assert INITIATE not in server.heard


def test_an_abort_is_heard_before_the_session_is_in_step():
    # As long as its pulses run, a source meter answers nothing: to wait for an answer first would be to wait for them.
    with (
        tsp_script(**{INITIATE: b""}) as server,
        Keithley2600(server.resource, DriveLimits(1.0, 1e-3), timeout_seconds=SECONDS) as meter,
    ):
        with pytest.raises(DeviceTimeout):
            meter.pulse_volts(0.5, 2, 0.002, 1e-3)
        heard = server.heard[server.heard.index(INITIATE) + 1 :]
        # The question for errors may come before, and its coming into step; the output is not asked to go off before.
        assert heard.index("abort") < heard.index("smua.source.output=0")


def test_an_error_queue_of_several_entries_is_emptied():
    queue = [b'-222,"Data out of range"\n', b'-113,"Undefined header"\n', b'+0,"No error"\n', b'+0,"No error"\n']
    with (
        Script("AGILENT TECHNOLOGIES,B2201A,1,A.01", {"SYST:ERR?": queue + [b'+0,"No error"\n'] * 20}) as server,
        KeysightB2200(server.resource, timeout_seconds=SECONDS) as matrix,
    ):
        with pytest.raises(InstrumentError, match=r"after CLOS \(@00101\): error -222, Data.*-113"):
            matrix.close_crosspoints([(1, 1)])
        matrix.check_errors()


def test_matrix_lists_are_cut():
    with Script("AGILENT TECHNOLOGIES,B2201A,1,A.01", {}) as server:
        with KeysightB2200(server.resource, timeout_seconds=SECONDS) as matrix:
            matrix.close_crosspoints([(1, column) for column in range(1, 49)])
        closing = [line for line in server.heard if line.startswith("CLOS")]
        assert [line.count(",") + 1 for line in closing] == [40, 8]
        assert "OPEN:CARD 0" in server.heard


def test_srs_tables():
    # SR830 manual 5-6 and 5-13; SR860 manual, SCAL.
    assert len(SENSITIVITIES) == 27
    np.testing.assert_allclose([SENSITIVITIES[0], SENSITIVITIES[17], SENSITIVITIES[26]], [2e-9, 1e-3, 1.0])
    assert len(TIME_CONSTANTS) == 20
    np.testing.assert_allclose([TIME_CONSTANTS[0], TIME_CONSTANTS[8], TIME_CONSTANTS[19]], [1e-5, 0.1, 3e4])
    assert (STORING[0], STORING[13]) == (1 / 16, 512.0)
    np.testing.assert_allclose(
        [SR860_SENSITIVITIES[0], SR860_SENSITIVITIES[9], SR860_SENSITIVITIES[27]], [1, 1e-3, 1e-9]
    )


def test_srs_pairs():
    data = np.array([3, 124, -5, 126, 1, 0, 0, 0], dtype="<i2").tobytes()
    np.testing.assert_array_equal(decode_pairs(data), [3.0, -20.0, 2.0**-124, 0.0])


def test_scpi_numbers():
    assert number("+9.9E+37") == np.inf
    assert number("-9.9E37") == -np.inf
    assert np.isnan(number("9.91E37"))
    assert number(" -1.5e-3") == -1.5e-3
    assert integer("+1.0E+01") == 10
    with pytest.raises(ValueError):
        integer("1.5")


def test_addresses():
    for text, kind in (
        ("TCPIP::10.0.0.1::5025::SOCKET", SocketLink),
        ("tcpip0::scope.lab::5025::socket", SocketLink),
        ("socket://10.0.0.1:4001", SocketLink),
        ("ASRL/dev/ttyUSB0::INSTR", SerialLink),
        ("ASRL2::INSTR", SerialLink),
        ("USB0::0x0957::0x1796::MY1::INSTR", VisaLink),
        ("TCPIP::10.0.0.1::INSTR", VisaLink),
        ("GPIB0::9::INSTR", VisaLink),
    ):
        assert type(open_link(text)) is kind
    assert open_link("ASRL2::INSTR").address == "/dev/ttyS1"
    for text in ("scope", "TCPIP::h::70000::SOCKET", "PRLGX-TCPIP::h::1234::GPIB::31"):
        with pytest.raises(InputError, match="resource"):
            open_link(text)
