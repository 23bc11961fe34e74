"""The reference board under faults: nothing is lost or doubled without being known, and outputs end at zero."""

import json
import signal
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from boards import COUPLING, NETWORK, SHAPE, eventually, open_files, rig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import emulators.bench.board
from drivers.board import BoardSubstrate
from drivers.board_protocol import NAK, Frame, FrameStream, Kind, Refused, decode, encode
from drivers.board_section import BoardConfig
from drivers.errors import ConnectionLost, InstrumentError, ProtocolError
from drivers.transport import SerialLink
from emulators.bench.board_chip import BoardConverters
from substrate.capabilities import Nudge, WriteRequest
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.tones import SamplingPlan

PLAN = SamplingPlan(1000.0, 3, 16, 2)
SPOILED = [
    "no_answer", "delay", "stale", "split", "trickle", "duplicate", "truncate", "garbage", "banner", "no_terminator",
    "wrong_terminator",
]  # fmt: skip
VALUES = {"delay": 0.25, "split": 0.05, "trickle": 1e-3}


@pytest.fixture(scope="module")
def board():
    with rig() as found:
        yield found


@pytest.fixture(autouse=True)
def no_faults_left(request):
    yield
    if "board" in request.fixturenames:
        request.getfixturevalue("board").faults.clear()


def counts(value=2):
    wanted = np.zeros(SHAPE, dtype=np.int64)
    wanted[0, 1, 2], wanted[1, 0, 3], wanted[0, 2, 0] = value, -value, 1
    return wanted


def moved(device, before):
    step = device.capabilities.step_siemens[0]
    return np.rint((device.read_cells(COUPLING) - before) / step)


def drive(device, board):
    device.hold(np.full((1, 2), 0.1))
    device.settle()
    assert board.chip.outputs_on


@pytest.mark.parametrize("kind", SPOILED)
def test_a_pulse_whose_answer_is_spoiled_is_given_once(board, kind):
    with board.driver() as driver:
        before = board.device.read_cells(COUPLING)
        board.fault(kind, "PULSE answer", value=VALUES.get(kind, 0.0))
        started = time.monotonic()
        report = driver.write_cells(WriteRequest(COUPLING, pulses=counts()))
        # Twice the deadline of 0.15 s, and what a busy machine adds.
        assert time.monotonic() - started < 0.3 + 0.7
        assert report.pulses == np.abs(counts()).sum()
        np.testing.assert_array_equal(moved(board.device, before), counts())
        # The session is usable, and late answers are no one's.
        driver.write_cells(WriteRequest(COUPLING, pulses=-counts()))
        np.testing.assert_array_equal(moved(board.device, before), 0)
        assert [one.kind for one in board.faults.happened][-1] == kind


@pytest.mark.parametrize("kind", ["duplicate", "truncate", "garbage"])
def test_a_pulse_whose_request_is_spoiled_is_given_once(board, kind):
    with board.driver() as driver:
        before = board.device.read_cells(COUPLING)
        board.fault(kind, "PULSE$")
        assert driver.write_cells(WriteRequest(COUPLING, pulses=counts())).pulses == np.abs(counts()).sum()
        np.testing.assert_array_equal(moved(board.device, before), counts())
        driver.write_cells(WriteRequest(COUPLING, pulses=-counts()))
        np.testing.assert_array_equal(moved(board.device, before), 0)
        assert board.faults.happened[-1].kind == kind


@pytest.mark.parametrize("kind", SPOILED)
def test_a_record_whose_answer_is_spoiled_is_read_all_the_same(board, kind):
    with board.driver() as driver:
        driver.hold(np.array([[0.1, -0.05], [0.2, 0.0]]))
        wanted = driver.settle().volts
        board.fault(kind, "MEASURE answer", value=VALUES.get(kind, 0.0))
        np.testing.assert_array_equal(driver.settle().volts, wanted)
        np.testing.assert_array_equal(driver.settle().volts, wanted)


@pytest.mark.parametrize("kind", ["drop_before", "drop_during", "drop_after", "reset"])
def test_a_connection_that_is_dropped_is_opened_again(kind):
    with rig(transport="tcp") as board, board.driver() as driver:
        before = board.device.read_cells(COUPLING)
        board.fault(kind, "PULSE answer")
        assert driver.write_cells(WriteRequest(COUPLING, pulses=counts())).pulses == np.abs(counts()).sum()
        driver.hold(np.full((1, 2), 0.1))
        wanted = driver.settle().volts
        board.fault(kind, "MEASURE answer")
        np.testing.assert_array_equal(driver.settle().volts, wanted)
        driver.write_cells(WriteRequest(COUPLING, pulses=counts()))
        np.testing.assert_array_equal(moved(board.device, before), 2 * counts())
        assert [one.kind for one in board.faults.happened] == [kind, kind]


def test_a_pulse_that_is_never_answered_is_looked_up_in_the_journal(board):
    with board.driver(attempts=2) as driver:
        before = board.device.read_cells(COUPLING)
        board.fault("no_answer", "PULSE answer", count=2)
        report = driver.write_cells(WriteRequest(COUPLING, pulses=counts()))
        assert report.pulses == np.abs(counts()).sum()
        np.testing.assert_array_equal(moved(board.device, before), counts())


def test_a_board_that_restarts_under_a_write_leaves_it_known_to_be_unknown(board):
    with board.driver(answer_seconds=0.6) as driver:
        driver.settle()
        board.fault("no_answer", "PULSE answer", count=1)
        restart = threading.Timer(0.2, board.board.power_cycle)
        restart.start()
        with pytest.raises(ConnectionLost, match=r"PULSE.*unknown.*read the cells"):
            driver.write_cells(WriteRequest(COUPLING, pulses=counts()))
        restart.join()
        # The device is usable: its cells can be read.
        np.testing.assert_allclose(driver.read_cells(COUPLING), board.device.read_cells(COUPLING), rtol=1e-6)


def test_a_board_that_restarted_before_a_write_is_greeted_anew(board):
    with board.driver(answer_seconds=3.0) as driver:
        before = board.device.read_cells(COUPLING)
        board.board.power_cycle()
        driver.write_cells(WriteRequest(COUPLING, pulses=counts()))
        np.testing.assert_array_equal(moved(board.device, before), counts())


def test_two_runs_of_a_host_share_no_answers(board):
    """A host that starts anew counts from the same seq: a stored answer to its forerunner would swallow its pulse."""
    before = board.device.read_cells(COUPLING)
    for _ in range(2):
        with board.driver() as driver:
            driver.write_cells(WriteRequest(COUPLING, pulses=counts()))
    np.testing.assert_array_equal(moved(board.device, before), 2 * counts())


def test_training_pulses_through_a_bad_line_are_all_given_once(board):
    rng = np.random.default_rng(0)
    before = board.device.read_cells(COUPLING)
    total = np.zeros(SHAPE, dtype=np.int64)
    for kind in SPOILED:
        board.fault(kind, "answer", count=None, probability=0.02, value=VALUES.get(kind, 0.0))
    for kind in ("truncate", "garbage"):
        board.fault(kind, "(PULSE|MEASURE)$", count=None, probability=0.02)
    with board.driver(answer_seconds=0.1, attempts=3) as driver:
        for _ in range(40):
            wanted = rng.integers(-2, 3, SHAPE)
            driver.hold(rng.uniform(-0.2, 0.2, (4, 2)))
            driver.settle()
            driver.nudge(Nudge(np.full((4, 6), 1e-6)), PLAN)
            assert driver.write_cells(WriteRequest(COUPLING, pulses=wanted)).pulses == np.abs(wanted).sum()
            total += wanted
        assert driver.session.retransmissions > 5
    np.testing.assert_array_equal(moved(board.device, before), total)


KILLED = """
import sys, time, json
import numpy as np
from drivers.board import BoardSubstrate
from drivers.board_section import BoardConfig
from substrate.experiment.progress import Progress
from substrate.network import Network
with BoardSubstrate(Network((2, 4, 2)), BoardConfig.model_validate(json.loads(sys.argv[1]))) as device:
    device.hold(np.full((1, 2), 0.1))
    device.settle()
    print("driving", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_outputs_end_at_zero_when_the_host_dies(board, stop):
    section = {**board.section, "watchdog_seconds": 0.5}
    host = subprocess.Popen(
        [sys.executable, "-c", KILLED, json.dumps(section)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert host.stdout.readline() == b"driving\n"
        # Heartbeats hold the watchdog off.
        time.sleep(0.9)
        assert board.chip.outputs_on
        host.send_signal(stop)
        host.wait(timeout=10)
        assert eventually(lambda: not board.chip.outputs_on, 3.0)
    finally:
        host.kill()
        host.wait()
        host.stdout.close()


def test_outputs_end_at_zero_after_an_exception(board):
    def use():
        with board.driver() as driver:
            drive(driver, board)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert not board.chip.outputs_on


def test_an_interrupted_request_leaves_a_usable_session_and_outputs_at_zero(board, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    def settle_interrupted(driver):
        with monkeypatch.context() as patch:
            patch.setattr(driver.session._link, "_receive", interrupt)
            driver.settle()

    def use():
        with board.driver() as driver:
            drive(driver, board)
            settle_interrupted(driver)

    with board.driver() as driver:
        driver.hold(np.full((1, 2), 0.1))
        wanted = driver.settle().volts
        with pytest.raises(KeyboardInterrupt):
            settle_interrupted(driver)
        np.testing.assert_array_equal(driver.settle().volts, wanted)
    with pytest.raises(KeyboardInterrupt):
        use()
    assert not board.chip.outputs_on


def test_a_pulled_cable_zeroes_the_outputs_and_ends_in_an_error(tmp_path):
    with rig(link=tmp_path / "board") as board:

        def use():
            with board.driver(reconnect_seconds=0.5) as driver:
                drive(driver, board)
                board.board.wire.unplug()
                assert eventually(lambda: not board.chip.outputs_on, 3.0)
                driver.settle()

        started = time.monotonic()
        with pytest.raises(ConnectionLost) as caught:
            use()
        assert time.monotonic() - started < 6.0
        assert str(tmp_path / "board") in str(caught.value)


def test_a_cable_that_is_plugged_in_again_goes_on(tmp_path):
    with rig(link=tmp_path / "board") as board, board.driver() as driver:
        driver.hold(np.full((1, 2), 0.1))
        wanted = driver.settle().volts
        board.board.wire.unplug()
        back = threading.Timer(0.5, board.board.wire.plug_in)
        back.start()
        np.testing.assert_array_equal(driver.settle().volts, wanted)
        back.join()


def test_a_cable_pulled_by_the_answer_of_a_pulse(tmp_path):
    with rig(link=tmp_path / "board") as board, board.driver() as driver:
        before = board.device.read_cells(COUPLING)
        board.fault("unplug", "PULSE answer")
        back = threading.Timer(0.5, board.board.wire.plug_in)
        back.start()
        assert driver.write_cells(WriteRequest(COUPLING, pulses=counts())).pulses == np.abs(counts()).sum()
        back.join()
        np.testing.assert_array_equal(moved(board.device, before), counts())


def test_no_board_there(tmp_path):
    for port in (str(tmp_path / "nothing"), "socket://127.0.0.1:9"):
        config = BoardConfig(backend="board", port=port, reconnect_seconds=0.3)
        started = time.monotonic()
        with pytest.raises(ConnectionLost), BoardSubstrate(NETWORK, config):
            pass
        assert time.monotonic() - started < 5.0


class Line:
    """Frames by hand, on a port that the test has for itself."""

    def __init__(self, board, session=0x11223344):
        self.link = SerialLink(board.board.resource)
        self.stream = FrameStream()
        self.session = session
        self.seq = 0

    def __enter__(self):
        self.link.open()
        self.link.drain(0.05, 0.5)
        assert self.ask(Kind.HELLO, struct.pack("<I", 60000)).kind == Kind.HELLO | 0x80
        return self

    def __exit__(self, *_):
        self.link.close()

    def answer(self, data, seconds=5.0):
        self.link.write(data, 1.0)
        while True:
            for block in self.stream.feed(self.link.read(seconds)):
                return decode(block)

    def ask(self, kind, payload=b""):
        found = self.answer(encode(Frame(kind, self.session, self.seq, payload)))
        self.seq += 1
        return found

    def refused(self, kind, payload=b""):
        found = self.ask(kind, payload)
        assert found.kind == NAK
        return Refused(found.payload[0])

    def text(self, line):
        self.link.write(line, 1.0)
        return self.link.drain(0.1, 2.0)


def measure(batch, inputs, currents=(), levels=(), mode=0, points=1, periods=1):
    codes = np.array([*inputs, *currents, *levels], dtype="<i2")
    return struct.pack("<BBHHH", mode, 0, batch, points, periods) + codes.tobytes()


def pulses(*pairs, which=0):
    cells, values = zip(*pairs, strict=True)
    return (
        struct.pack("<BBH", which, 0, len(pairs)) + np.array(cells, "<u4").tobytes() + np.array(values, "<i2").tobytes()
    )


def test_the_same_seq_gives_the_stored_answer_and_another_is_refused(board):
    before = board.device.read_cells(COUPLING)
    with Line(board) as line:
        frame = encode(Frame(Kind.PULSE, line.session, 1, pulses((0, 3))))
        first = line.answer(frame)
        assert first.kind == Kind.PULSE | 0x80
        assert [line.answer(frame) for _ in range(3)] == [first] * 3
        assert moved(board.device, before)[0, 0, 0] == 3
        for seq, session, code in (
            (0, line.session, Refused.BAD_SEQUENCE),
            (3, line.session, Refused.BAD_SEQUENCE),
            (2, 0x55, Refused.UNKNOWN_SESSION),
            (2, 0, Refused.UNKNOWN_SESSION),
        ):
            found = line.answer(encode(Frame(Kind.PULSE, session, seq, pulses((0, 3)))))
            assert (found.kind, found.session, found.seq, found.payload[0]) == (NAK, session, seq, code)
        # Another content under a number that is taken is no repetition.
        found = line.answer(encode(Frame(Kind.PULSE, line.session, 1, pulses((0, 4)))))
        assert found.payload[0] == Refused.BAD_SEQUENCE
        assert moved(board.device, before)[0, 0, 0] == 3
        entries = line.answer(encode(Frame(Kind.JOURNAL, line.session, 2, b""))).payload
        assert struct.unpack_from("<IHBBIH", entries, len(entries) - 14) == (line.session, 1, Kind.PULSE, 2, 3, 0)


def test_the_board_refuses_what_is_beyond_its_limits_or_makes_no_sense(board):
    before = board.device.read_cells(COUPLING)
    with Line(board) as line:
        line.seq = 1
        assert line.refused(Kind.PULSE, pulses((0, 1001))) == Refused.BEYOND_LIMIT
        assert line.refused(Kind.PULSE, pulses((0, 1), (24, 1))) == Refused.BAD_PAYLOAD
        assert line.refused(Kind.PULSE, pulses((0, 1))[:-1]) == Refused.BAD_PAYLOAD
        assert line.refused(Kind.PULSE, pulses((0, 1), which=9)) == Refused.BAD_PAYLOAD
        assert line.refused(Kind.SET, struct.pack("<BBHIf", 0, 0, 1, 0, 5e-5)) == Refused.NOT_ABLE
        assert line.refused(Kind.MEASURE, measure(1, [1])) == Refused.BAD_PAYLOAD
        assert line.refused(Kind.MEASURE, measure(1, [1, 2], points=3)) == Refused.BAD_PAYLOAD
        assert line.refused(Kind.MEASURE, measure(1, [-32768, 0])) == Refused.BEYOND_LIMIT
        assert line.refused(Kind.MEASURE, measure(60000, [])) == Refused.BAD_PAYLOAD
        assert line.refused(0x3A) == Refused.UNKNOWN_TYPE
        assert line.refused(Kind.HELLO, struct.pack("<I", 10)) == Refused.BEYOND_LIMIT
        assert not board.chip.outputs_on
    np.testing.assert_array_equal(moved(board.device, before), 0)


def test_damaged_frames_are_named_and_the_next_one_is_heard(board):
    with Line(board) as line:
        good = encode(Frame(Kind.HEARTBEAT, line.session, 1, b""))
        bad = bytearray(good)
        bad[4] ^= 0x10
        found = line.answer(bytes(bad))
        assert (found.kind, found.session, found.payload[0]) == (NAK, 0, Refused.BAD_FRAME)
        assert line.answer(good).kind == Kind.HEARTBEAT | 0x80
        # A frame that never ends is given up, and text is heard again.
        line.link.write(b"\0\x30cut off", 1.0)
        time.sleep(0.8)
        assert line.text(b"*IDN?\n").startswith(b"Substrate,Reference board,EMULATED-1,")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.lists(st.binary(max_size=300), max_size=3))
def test_no_bytes_bring_the_firmware_down_or_its_outputs_up(board, noise):
    with Line(board) as line:
        for piece in noise:
            line.link.write(piece, 1.0)
        # Two delimiters end whatever the noise began.
        line.link.write(b"\0\0", 1.0)
        line.link.drain(0.02, 1.0)
        assert not board.chip.outputs_on
        line.stream.clear()
        line.seq, line.session = 0, line.session + 1
        assert line.ask(Kind.HELLO, struct.pack("<I", 60000)).kind == Kind.HELLO | 0x80


def test_text_for_people(board):
    with board.driver() as driver:
        drive(driver, board)
        cell = float(board.device.read_cells(COUPLING).ravel()[5])
    with Line(board) as line:
        assert line.text(b"SYST:ERR?\n").split(b",")[0] in (b"0", b"-300")
        assert line.text(b"*CLS\nSYST:ERR?\n") == b'0,"No error"\r\n'
        assert line.text(b"outp?\n") == b"0\r\n"
        assert line.text(b"ARR?\n").startswith(b"input-hidden1,2,3,4;")
        assert float(line.text(b"CELL? 0,5\n")) == pytest.approx(cell, rel=1e-6)
        assert line.text(b"NONSENSE 3\n") == b""
        assert line.text(b"CELL? 0,99\nSYST:ERR?\n").startswith(b"-300")
        line.text(b"*CLS\n")
        line.seq = 1
        line.ask(Kind.MEASURE, measure(1, [3000, 0]))
        assert line.text(b"OUTP?\n") == b"1\r\n"
        assert line.text(b"OUTP OFF\nOUTP?\n") == b"0\r\n"
        assert not board.chip.outputs_on


def test_no_drive_beyond_the_limits_leaves_the_driver(board):
    limits = {"read_volts": 0.1, "write_volts": 1.0, "current_amperes": 1e-6}
    with board.driver(limits=limits) as driver:
        with pytest.raises(CapabilityError, match="read_volts"):
            driver.hold(np.full((1, 2), 0.11))
        driver.hold(np.full((1, 2), 0.1))
        driver.settle()
        with pytest.raises(CapabilityError, match="current_amperes"):
            driver.nudge(Nudge(np.full((1, 6), 1.1e-6)), PLAN)
        # The board's pulses have one height.
        with pytest.raises(CapabilityError, match=r"2 V.*write_volts"):
            driver.write_cells(WriteRequest(COUPLING, pulses=counts()))


WRITTEN = [
    ("constant", {"pulses": np.ones(SHAPE, dtype=np.int64)}, (Kind.PULSE, struct.pack("<BBHIh", 0, 0, 1, 0, 1))),
    ("ideal", {"target_siemens": np.full(SHAPE, 5e-5)}, (Kind.SET, struct.pack("<BBHIf", 0, 0, 1, 0, 5e-5))),
    ("one_sided", {"reset": np.ones(SHAPE, dtype=np.bool_)}, (Kind.RESET, struct.pack("<BBHI", 0, 0, 1, 0))),
]


@pytest.mark.parametrize(("law", "wanted", "frame"), WRITTEN, ids=[law for law, _, _ in WRITTEN])
def test_pulses_beyond_the_limit_write_in_no_way(law, wanted, frame):
    """The driver refuses by the section's limit, and the board by its own, however cells are written."""
    update = {"law": law} if law == "ideal" else {"law": law, "step": 0.004}
    with rig(update=update) as board:
        before = board.device.read_cells(COUPLING)
        with board.driver(limits={**board.section["limits"], "write_volts": 1.0}, pulse_volts=None) as driver:
            with pytest.raises(CapabilityError, match=r"2 V.*write_volts"):
                driver.write_cells(WriteRequest(COUPLING, **wanted))
            assert not driver.budgets[COUPLING].given.any()
        with Line(board) as line:
            line.seq = 1
            assert line.ask(*frame).kind == frame[0] | 0x80
        np.testing.assert_array_equal(board.device.read_cells(COUPLING).ravel()[1:], before.ravel()[1:])
    with rig(update=update, converters=BoardConverters(pulse_volts=2.1)) as board:
        before = board.device.read_cells(COUPLING)
        with Line(board) as line:
            line.seq = 1
            assert line.refused(*frame) == Refused.BEYOND_LIMIT
        np.testing.assert_array_equal(board.device.read_cells(COUPLING), before)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"volts_per_unit": 0.3}, "volts_per_unit"),
        ({"window_siemens": [1e-6, 2e-4]}, "window_siemens"),
        ({"limits": {"read_volts": 0.3}}, "limits.read_volts"),
        ({"continuous_writing": True}, "continuous_writing"),
        ({"step_siemens": [1e-6, 1e-6]}, "step_siemens"),
        ({"pulse_volts": 1.5}, "pulse_volts"),
    ],
)
def test_a_section_that_does_not_fit_the_board_is_refused(board, section, key):
    with pytest.raises(InputError, match=rf"substrate\.{key}"), board.driver(**section):
        pass


def test_another_board_at_the_same_port_is_not_taken_for_the_one_before(tmp_path):
    with rig(link=tmp_path / "board") as board, board.driver() as driver:
        driver.read_cells(COUPLING)
        board.board.wire.unplug()
        other = BoardConverters(serial="other", current_range_amperes=1e-3)
        with rig(link=tmp_path / "board", converters=other), pytest.raises(ProtocolError, match="another one"):
            driver.read_cells(COUPLING)
        board.board.wire.plug_in()
        np.testing.assert_allclose(driver.read_cells(COUPLING), board.device.read_cells(COUPLING), rtol=1e-6)


def test_a_board_of_another_network_is_refused(board):
    device = BoardSubstrate(Network((2, 5, 2)), BoardConfig.model_validate(board.section))
    with pytest.raises(InputError, match="wired for"), device:
        pass


def test_a_chip_that_fails_is_an_instrument_error(board):
    own = board.chip._work.copy()

    def fail(payload):
        raise InputError("the chip says no")

    try:
        board.chip._work.update(dict.fromkeys(own, fail) | {1: own[1]})
        with board.driver() as driver:
            driver.hold(np.full((1, 2), 0.1))
            with pytest.raises(InstrumentError, match=r"MEASURE.*the chip says no"):
                driver.settle()
    finally:
        board.chip._work.update(own)
    assert not board.chip.outputs_on


def layer_of(text, tmp_path, monkeypatch):
    """The emulated converter layer, changed."""
    layer = tmp_path / "converters.py"
    layer.write_text(emulators.bench.board.CONVERTER_LAYER.read_text() + text)
    monkeypatch.setattr(emulators.bench.board, "CONVERTER_LAYER", layer)


BREAKING = """

class Converters(Converters):
    def pulse(self, which, cells, counts):
        half = len(cells) // 2
        super().pulse(which, cells[:half], counts[:half])
        raise OSError("the driver is too hot")
"""


def test_a_converter_that_fails_in_a_write_says_what_is_known(tmp_path, monkeypatch):
    """The real firmware, whose converter layer gives up half-way."""
    layer_of(BREAKING, tmp_path, monkeypatch)
    wanted = np.zeros(SHAPE, dtype=np.int64)
    wanted[0, 0] = [3, 2, -1, 4]
    with rig() as board:
        before = board.device.read_cells(COUPLING)

        def use():
            with board.driver(pulse_ledger=str(tmp_path / "chip.json")) as driver:
                drive(driver, board)
                driver.write_cells(WriteRequest(COUPLING, pulses=wanted))

        with pytest.raises(InstrumentError, match=r"PULSE broke off: .*too hot.*; 5 pulses were given.*read the cells"):
            use()
        assert not board.chip.outputs_on
        # What the message says, and no more than what was counted.
        np.testing.assert_array_equal(moved(board.device, before)[0, 0], [3, 2, 0, 0])
        with board.driver(pulse_ledger=str(tmp_path / "chip.json")) as driver:
            np.testing.assert_array_equal(driver.budgets[COUPLING].given, np.abs(wanted))
            np.testing.assert_allclose(driver.read_cells(COUPLING), board.device.read_cells(COUPLING), rtol=1e-6)


FAILING = """

class Converters(Converters):
    def pulse(self, which, cells, counts):
        super().pulse(which, cells, counts)
        return cells[:1]
"""


def test_failed_cells_whose_names_are_lost_are_not_taken_for_none(tmp_path, monkeypatch):
    """The journal says that a write was carried out, and how many of its cells failed, but not which."""
    layer_of(FAILING, tmp_path, monkeypatch)
    with rig() as board, board.driver(attempts=2) as driver:
        report = driver.write_cells(WriteRequest(COUPLING, pulses=counts()))
        assert report.failed.sum() == 1
        board.fault("no_answer", "PULSE answer", count=2)
        with pytest.raises(InstrumentError, match=r"PULSE\) was carried out \(5 pulses\), but 1 of.*read the cells"):
            driver.write_cells(WriteRequest(COUPLING, pulses=counts()))
        # The session goes on.
        np.testing.assert_allclose(driver.read_cells(COUPLING), board.device.read_cells(COUPLING), rtol=1e-6)


EXHAUSTED = """

class Converters(Converters):
    def cells(self, which, start, count):
        raise MemoryError("unforeseen")
"""


def test_firmware_that_dies_of_an_error_leaves_outputs_at_zero(tmp_path, monkeypatch):
    layer_of(EXHAUSTED, tmp_path, monkeypatch)
    with rig() as board, Line(board) as line:
        line.seq = 1
        assert line.ask(Kind.MEASURE, measure(1, [1000, -1000])).kind == Kind.MEASURE | 0x80
        assert board.chip.outputs_on
        # Its watchdog, of a minute here, has no part in it.
        line.link.write(encode(Frame(Kind.CELLS, line.session, 2, struct.pack("<BBHI", 0, 0, 1, 0))), 1.0)
        assert eventually(lambda: not board.chip.outputs_on)


def test_a_budget_outlives_a_run(board, tmp_path):
    kept = {"pulses_per_cell": 5, "pulse_ledger": str(tmp_path / "chip.json")}
    with board.driver(**kept) as driver:
        driver.write_cells(WriteRequest(COUPLING, pulses=counts(3)))
    before = board.device.read_cells(COUPLING)
    with board.driver(**kept) as driver:
        with pytest.raises(CapabilityError, match=r"3 pulses.*\(0, 1, 2\) of input-hidden1.*has had 3.*= 5"):
            driver.write_cells(WriteRequest(COUPLING, pulses=counts(3)))
        np.testing.assert_array_equal(board.device.read_cells(COUPLING), before)
        driver.write_cells(WriteRequest(COUPLING, pulses=counts(2)))
        np.testing.assert_array_equal(driver.budgets[COUPLING].given, np.abs(counts(3)) + np.abs(counts(2)))
    with rig(converters=BoardConverters(serial="other")) as another:
        with pytest.raises(InputError, match=r"EMULATED-1.*other"), another.driver(**kept):
            pass
        assert not another.chip.outputs_on


def test_pulses_that_are_counted_are_at_least_those_given_whatever_the_line_does(board, tmp_path):
    """Lost answers, and a board that restarts under the write: the ledger has every pulse that the chip has seen."""
    ledger = str(tmp_path / "chip.json")
    before = board.device.read_cells(COUPLING)
    with board.driver(pulse_ledger=ledger, answer_seconds=0.6) as driver:
        driver.settle()
        board.fault("no_answer", "PULSE answer", count=1)
        restart = threading.Timer(0.2, board.board.power_cycle)
        restart.start()
        with pytest.raises(ConnectionLost):
            driver.write_cells(WriteRequest(COUPLING, pulses=counts()))
        restart.join()
    with board.driver(pulse_ledger=ledger) as driver:
        assert np.all(driver.budgets[COUPLING].given >= np.abs(moved(board.device, before)))


def test_resets_and_settings_are_counted_too(tmp_path):
    with rig(update={"law": "one_sided", "step": 0.004}) as board:
        mask = np.zeros(SHAPE, dtype=np.bool_)
        mask[1, 2, 3] = True
        with board.driver(pulses_per_cell=1) as driver:
            driver.write_cells(WriteRequest(COUPLING, reset=mask))
            with pytest.raises(CapabilityError, match=r"\(1, 2, 3\)"):
                driver.write_cells(WriteRequest(COUPLING, reset=mask))
    with rig(update={"law": "ideal"}) as board:
        target = np.full(SHAPE, 4e-5)
        with board.driver(pulses_per_cell=1) as driver:
            driver.write_cells(WriteRequest(COUPLING, target_siemens=target))
            with pytest.raises(CapabilityError, match="pulses_per_cell"):
                driver.write_cells(WriteRequest(COUPLING, target_siemens=target))


def test_large_batches_are_looped(board):
    """More samples than a frame carries, and the same for each of them whatever stands beside it."""
    rng = np.random.default_rng(1)
    with board.driver() as driver:
        inputs = rng.uniform(-0.2, 0.2, (700, 2))
        driver.hold(inputs)
        free = driver.settle()
        board.device.hold(inputs)
        wanted = board.device.settle().volts
        assert np.abs(free.volts - wanted).max() < 2 * 0.25 / 32767
        record = driver.nudge(Nudge(np.full((700, 6), 1e-6)), PLAN)
        assert record.volts.shape == (700, 32, 6)
        assert np.abs(record.volts[::99] - driver_alone(driver, inputs[::99])).max() <= 1.01 * 0.25 / 32767


def driver_alone(driver, inputs):
    driver.hold(inputs)
    driver.settle()
    return driver.nudge(Nudge(np.full((len(inputs), 6), 1e-6)), PLAN).volts


@pytest.mark.parametrize("transport", ["pty", "tcp"])
def test_opening_and_closing_leaks_nothing(transport):
    with rig(transport=transport) as board:
        with board.driver():
            pass
        files, threads = open_files(), threading.active_count()
        for _ in range(4):
            with board.driver() as driver:
                driver.settle()
        assert eventually(lambda: open_files() <= files, 2.0)
        assert threading.active_count() <= threads


def test_a_transcript_holds_every_byte(board, tmp_path):
    file = tmp_path / "transcript.txt"
    with board.driver(transcript=str(file)) as driver:
        driver.read_cells(COUPLING)
    lines = [line.split() for line in file.read_text().splitlines()]
    sent = b"".join(bytes.fromhex(line[3]) for line in lines if line[2] == ">")
    kinds = [decode(block).kind for block in sent.split(b"\0") if block]
    assert kinds[0] == Kind.HELLO
    assert Kind.CELLS in kinds
    assert kinds[-1] == Kind.SAFE
