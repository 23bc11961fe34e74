"""What goes wrong between a driver and its instrument: an answer or the right error in time, and in step afterwards.

The server counts its answers up (1.5, 2.5, ...), so that an answer to an earlier question is recognised as such.
"""

import os
import socket
import threading
import time

import pytest
import raw_server as raw

from drivers.errors import ConnectionLost, DeviceTimeout, ProtocolError
from drivers.session import Session
from drivers.socket_link import SocketLink
from drivers.transport import SerialLink
from drivers.visa_link import VisaLink
from substrate.errors import InputError

SECONDS = 0.15
SPARE_SECONDS = 0.15
"""For the machine to get round to things."""


@pytest.fixture
def server():
    with raw.RawServer() as server:
        yield server


@pytest.fixture
def session(server):
    session = Session(SocketLink("127.0.0.1", server.port, SECONDS), SECONDS)
    session.open()
    yield session
    session.close()


def timed(action):
    """(result or error, seconds)."""
    start = time.monotonic()
    try:
        found = action()
    except (DeviceTimeout, ConnectionLost, ProtocolError) as error:
        found = error
    return found, time.monotonic() - start


def check(server, session, once, expected):
    """One question with a mishap: an answer of the present question or an expected error, then more questions."""
    found, seconds = timed(lambda: session.ask("READ?", float, once=once))
    assert seconds <= 2.0 * SECONDS + SPARE_SECONDS
    if isinstance(found, Exception):
        assert isinstance(found, expected)
    else:
        assert found == server.count - 0.5 + 1.0
    server.mishaps.clear()
    for _ in range(3):
        found, seconds = timed(lambda: session.ask("READ?", float))
        assert found == server.count + 0.5
        assert seconds <= 2.0 * SECONDS + SPARE_SECONDS


MISHAPS = {
    "no answer": (raw.silent, DeviceTimeout),
    "late": (raw.late(1.2 * SECONDS), DeviceTimeout),
    "very late": (raw.late(1.9 * SECONDS), DeviceTimeout),
    "split around the deadline": (raw.split(1.1 * SECONDS), DeviceTimeout),
    "trickle": (raw.trickle(0.4 * SECONDS), DeviceTimeout),
    "closed instead of an answer": (raw.closed(), ConnectionLost),
    "closed within the answer": (raw.closed(after=2), ConnectionLost),
    "reset": (raw.closed(reset=True), ConnectionLost),
    "reset within the answer": (raw.closed(after=2, reset=True), ConnectionLost),
    "no terminator": (raw.instead(lambda answer: answer[:-1]), DeviceTimeout),
    "wrong terminator": (raw.instead(lambda answer: answer[:-1] + b"\r"), DeviceTimeout),
    "garbage": (raw.instead(b"\xff\x00\xfe\n"), ProtocolError),
    "words": (raw.instead(b"BOOT ready\n"), ProtocolError),
    "empty line": (raw.instead(b"\n"), ProtocolError),
    "banner": (raw.instead(lambda answer: b"BOOT 1\n" + answer), ProtocolError),
    "duplicate": (raw.instead(lambda answer: answer + answer), ProtocolError),
}


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("name", MISHAPS)
def test_every_mishap_ends_in_time_and_in_step(server, session, name, once):
    mishap, expected = MISHAPS[name]
    server.mishaps[:] = [mishap]
    check(server, session, once, expected)


@pytest.mark.parametrize("name", MISHAPS)
def test_questions_survive_a_single_mishap(server, session, name):
    # No more than the first attempt is spoilt, and none of these takes so long that no time is left for a second one.
    server.mishaps[:] = [MISHAPS[name][0]]
    if name == "very late":
        pytest.skip("leaves no time for another attempt")
    assert session.ask("READ?", float) == server.count + 0.5


def test_every_attempt_spoilt(server, session):
    for name, (mishap, expected) in MISHAPS.items():
        server.mishaps[:] = [mishap] * 2
        found, seconds = timed(lambda: session.ask("READ?", float))
        assert seconds <= 2.0 * SECONDS + SPARE_SECONDS, name
        if name not in ("late", "very late", "split around the deadline"):
            assert isinstance(found, (expected, ConnectionLost)), name
        server.mishaps.clear()
        assert session.ask("READ?", float) == server.count + 0.5, name


def test_an_answer_after_the_timeout_is_never_that_of_the_next_question(server, session):
    server.mishaps[:] = [raw.late(1.5 * SECONDS)]
    with pytest.raises(DeviceTimeout):
        session.ask("READ?", float, once=True)
    assert session.ask("READ?", float, once=True) == 2.5
    assert session.resynchronisations == 1


def test_writes_are_never_repeated(server, session):
    server.mishaps[:] = [raw.silent, raw.closed()]
    session.write("PULSE")
    timed(lambda: session.ask("READ?", float, once=True))
    session.write("PULSE")
    timed(lambda: session.ask("READ?", float, once=True))
    session.write("PULSE")
    assert session.ask("READ?", float)
    assert server.heard.count("PULSE") == 3


def test_questions_that_do_something_are_asked_once(server, session):
    server.mishaps[:] = [raw.silent]
    with pytest.raises(DeviceTimeout):
        session.query("READ?", once=True)
    session.query("*IDN?")
    assert server.heard.count("READ?") == 1


def test_connection_closed_while_idle(server, session):
    for reset in (False, True):
        server.drop(reset)
        time.sleep(0.02)
        assert session.ask("READ?", float) == server.count + 0.5
    server.drop()
    time.sleep(0.02)
    session.write("PULSE")
    session.query("*IDN?")
    assert server.heard.count("PULSE") == 1


def test_unasked_lines_while_idle(server, session):
    for connection in server._connections:
        connection.sendall(b"77.5\n")
    time.sleep(0.02)
    assert session.ask("READ?", float) == 1.5


def test_a_closed_port_is_an_error_when_opening():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for link in (SocketLink("127.0.0.1", port), VisaLink(f"TCPIP::127.0.0.1::{port}::SOCKET")):
        found, seconds = timed(Session(link, SECONDS).open)
        assert isinstance(found, ConnectionLost)
        assert seconds < 2.0 * SECONDS + 1.0


def test_nobody_answers_when_opening():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        session = Session(SocketLink("127.0.0.1", mute.getsockname()[1]), SECONDS)
        found, seconds = timed(session.open)
        assert isinstance(found, DeviceTimeout)
        assert seconds < 2.0 * SECONDS + SPARE_SECONDS
        assert not session.link.is_open


def test_refused_and_back_again(server, session):
    server.refuse(True)
    server.drop()
    time.sleep(0.02)
    found, seconds = timed(lambda: session.ask("READ?", float))
    assert isinstance(found, ConnectionLost)
    assert seconds < 2.0 * SECONDS + SPARE_SECONDS
    server.refuse(False)
    assert session.ask("READ?", float) == server.count + 0.5


def test_a_server_that_never_reads(server, session):
    server.deaf.set()
    found, seconds = timed(lambda: session.write_block("DATA ", bytes(50_000_000)))
    assert isinstance(found, DeviceTimeout)
    assert seconds < 2.0 * SECONDS + 1.0  # its system takes a few more bytes now and then
    server.deaf.clear()
    assert session.ask("READ?", float) == server.count + 0.5


def test_a_restarted_instrument_is_told_of_once(server, session):
    assert session.ask("READ?", float) == 1.5
    server.restart()
    time.sleep(0.02)
    with pytest.raises(ConnectionLost, match="restarted and has lost its settings"):
        session.ask("READ?", float)
    assert session.ask("READ?", float) == server.count + 0.5


def test_blocks(server, session):
    assert session.query_block("CURV?") == b"hello"
    server.block = b"#510000" + bytes(range(250)) * 40 + b"\r\n"
    assert session.query_block("CURV?") == bytes(range(250)) * 40
    server.block = b"#15hello"
    assert session.query_block("CURV?") == b"hello"  # its newline is missing
    assert session.ask("READ?", float) == server.count + 0.5


@pytest.mark.parametrize(
    "block", [b"#0hello\n", b"hello\n", b"#9999999999\n", b"#1xhello\n", b"#:hello\n", b"#15hello world\n", b"\n\n\n"]
)
def test_damaged_blocks(server, session, block):
    server.block = block
    found, seconds = timed(lambda: session.query_block("CURV?"))
    assert isinstance(found, ProtocolError)
    assert seconds < 2.0 * SECONDS + SPARE_SECONDS
    assert session.ask("READ?", float) == server.count + 0.5


def test_truncated_block(server, session):
    server.block = b"#6100000" + bytes(50_000) + b"\n"
    found, seconds = timed(lambda: session.query_block("CURV?", once=True))
    assert isinstance(found, DeviceTimeout)
    assert seconds < SECONDS + 0.1 + SPARE_SECONDS  # 0.1 s for 100 kB
    assert session.ask("READ?", float) == server.count + 0.5


def test_block_cap(server):
    session = Session(SocketLink("127.0.0.1", server.port), SECONDS, largest_block=4)
    session.open()
    with pytest.raises(ProtocolError, match="at most 4"):
        session.query_block("CURV?")
    session.close()


def test_messages_are_one_line(session):
    for message in ("A\nB", "A\rB", "µ"):
        with pytest.raises(InputError):
            session.write(message)


def test_not_open(server):
    session = Session(SocketLink("127.0.0.1", server.port), SECONDS)
    with pytest.raises(ConnectionLost, match="not open"):
        session.query("READ?")
    session.open()
    session.close()
    session.close()
    with pytest.raises(ConnectionLost, match="not open"):
        session.write("X")


def test_questions_of_several_threads_stay_together(server, session):
    answers = []

    def ask():
        for _ in range(50):
            answers.append(session.ask("READ?", float))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [number + 1.5 for number in range(200)]


def test_the_same_over_a_serial_line_on_a_socket(server):
    # Closing such a port takes pyserial .3 s.
    session = Session(SerialLink(f"socket://127.0.0.1:{server.port}"), 1.0)
    session.open()
    try:
        for name in ("no answer", "late", "split around the deadline", "garbage", "banner", "duplicate"):
            server.mishaps[:] = [MISHAPS[name][0]]
            timed(lambda: session.ask("READ?", float, seconds=SECONDS, once=True))
            assert session.ask("READ?", float) == server.count + 0.5
    finally:
        session.close()


def test_the_same_through_visa(server):
    # pyvisa-py waits at least .1 s when it clears a session.
    session = Session(VisaLink(server.resource), 1.0)
    session.open()
    try:
        assert session.ask("READ?", float) == 1.5
        server.mishaps[:] = [raw.late(0.6)]
        with pytest.raises(DeviceTimeout):
            session.ask("READ?", float, seconds=0.5, once=True)
        assert session.ask("READ?", float, once=True) == 3.5
    finally:
        session.close()


def test_opening_and_closing_leaks_nothing(server):
    def count():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    session = Session(SocketLink("127.0.0.1", server.port), SECONDS)
    session.open()
    session.close()
    time.sleep(0.05)
    before = count()
    for _ in range(200):
        session.open()
        session.close()
    time.sleep(0.1)
    assert count()[0] <= before[0] + 1
    assert count()[1] <= before[1] + 1
