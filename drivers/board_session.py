"""A session with the reference board: questions and answers that survive a bad line, and writes that happen once.

A request is sent again, with the same sequence number, until its answer has come; the board answers a repeated number
from its store. Where that does not help the port is opened anew and a new session begun. A reading is then asked for
again. A write is looked up in the board's journal first: one that was carried out is not sent again, one that never
arrived is, and one whose fate is unknown, or that of some of its cells, ends in an error that says so.
"""

import json
import os
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any, Final, final

from drivers.board_protocol import ANSWER, NAK, Frame, FrameStream, Kind, Refused, decode, encode
from drivers.errors import BenchError, ConnectionLost, DeviceTimeout, InstrumentError, ProtocolError
from drivers.transport import Link

WRITES: Final = (Kind.PULSE, Kind.SET, Kind.RESET)
HELLO_SECONDS = 0.5
"""An opening is answered within this time, or asked again: the board may be starting up."""

QUIET_SECONDS = 0.05
"""A port that was opened has no more of its banner to give when it has been quiet for so long."""

RECOVERIES = 3
"""Times that one request may lead to a new session."""

DONE = 2
ENTRY = struct.Struct("<IHBBIH")


@final
@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try.

    Attributes:
        answer_seconds: for an answer, beyond what the request itself and its bytes take.
        attempts: times that a request is sent.
        reconnect_seconds: for a port to come back, and for a board to start up.
        watchdog_seconds: after which the board takes the host for dead.
        baud: of the line, for the time that bytes take.
    """

    answer_seconds: float = 2.0
    attempts: int = 4
    reconnect_seconds: float = 5.0
    watchdog_seconds: float = 2.0
    baud: int = 921600


class _UnknownSession(Exception):
    """The board does not know this session; ``clean``: no copy of the request had gone without an answer."""

    def __init__(self, clean: bool) -> None:
        self.clean = clean


class _ConverterFault(InstrumentError):
    """A converter failed in the middle of a request."""


@final
class BoardSession:
    """Requests to one board.

    Args:
        link: to the board; opened and closed here.
        patience: deadlines.

    Attributes:
        info: what the board said of itself when the session was opened.
        retransmissions: times that a request had to be sent again.
    """

    def __init__(self, link: Link, patience: Patience) -> None:
        self._link = link
        self._patience = patience
        self._stream = FrameStream()
        self._session = 0
        self._seq = 0
        self._broken: BenchError | None = None
        self._last_used = 0.0
        self._ending = threading.Event()
        self._heart: threading.Thread | None = None
        self.info: dict[str, Any] = {}
        self.retransmissions = 0

    @property
    def is_open(self) -> bool:
        """Whether the session was opened and not closed since."""
        return self._heart is not None

    def open(self) -> None:
        """Open the port and a session, and begin to send heartbeats.

        Raises:
            BenchError: no board answers there.
        """
        with self._link.lock:
            self.info = {}
            self._connect(self._patience.reconnect_seconds)
            self._ending.clear()
            self._heart = threading.Thread(target=self._beat, name="board-heartbeat", daemon=True)
            self._heart.start()

    def close(self) -> None:
        """End the heartbeats and close the port."""
        self._ending.set()
        if self._heart is not None:
            self._heart.join()
            self._heart = None
        self._link.close()

    def request(self, kind: Kind, payload: bytes = b"", busy_seconds: float = 0.0, answer_bytes: int = 0) -> bytes:
        """The payload of the answer to a request.

        Args:
            kind: of the request.
            payload: its content.
            busy_seconds: how long the board takes for it.
            answer_bytes: about how long the answer is.

        Raises:
            InstrumentError: the board refused it, or a write was carried out in part.
            DeviceTimeout, ConnectionLost: the board is out of reach. For a write the message says what is known of it.
            ProtocolError: another host has taken the board over.
        """
        with self._link.lock:
            if self._broken is not None:
                self._recover(self._patience.reconnect_seconds)
            error: BenchError
            # (session, seq, boot number) of a write that may or may not have been carried out.
            lost: tuple[int, int, int] | None = None
            for _ in range(RECOVERIES):
                session, boot, sent = self._session, self.info["boot"], False
                try:
                    if lost is not None:
                        known = self._fate(kind, lost[0], lost[1])
                        if known is not None:
                            return known
                        lost = None
                    sent = True
                    return self._exchange(kind, payload, busy_seconds, answer_bytes)
                except _UnknownSession as unknown:
                    error, clean = ConnectionLost(f"{self._link.address}: the board has restarted"), unknown.clean
                except (DeviceTimeout, ConnectionLost) as failure:
                    error, clean = failure, False
                except _ConverterFault as fault:
                    raise InstrumentError(f"{fault}{self._left_behind(kind)}") from None
                except BenchError:
                    raise
                except BaseException as stop:
                    # Interrupted: the board may or may not have heard the request, and its answer may still come.
                    self._broken = ConnectionLost(f"{self._link.address}: interrupted in {kind.name}")
                    if isinstance(stop, KeyboardInterrupt):
                        raise KeyboardInterrupt(str(_with_fate(self._broken, kind, False))) from stop
                    raise
                if sent and kind in WRITES and not clean:
                    lost = session, self._seq, boot
                self._broken = error
                try:
                    self._recover(self._patience.reconnect_seconds)
                except BenchError as failure:
                    raise _with_fate(failure, kind, lost is None) from error
                same = self.info["boot"] == boot
                if same and clean:
                    raise ProtocolError(f"{self._link.address}: another host has taken the board over")
                if lost is not None and not same:
                    raise _with_fate(ConnectionLost(f"{self._link.address}: the board restarted"), kind, False)
            raise _with_fate(error, kind, lost is None)

    def safe(self) -> None:
        """Outputs to zero, with little patience.

        Raises:
            BenchError: it was not confirmed; the board's watchdog then brings them to zero.
        """
        with self._link.lock:
            try:
                if self._broken is None:
                    self._exchange(Kind.SAFE, b"", 0.0, 0)
                    return
            except (BenchError, _UnknownSession):
                pass
            # Opening a session brings the outputs to zero as well.
            try:
                self._recover(2 * HELLO_SECONDS)
            except BenchError as error:
                error.add_note(
                    f"the safe state was not confirmed; without a host the board's watchdog brings its outputs to zero "
                    f"within {self._patience.watchdog_seconds:g} s"
                )
                raise

    def _connect(self, seconds: float) -> None:
        """Open the port, wait until the board is there, and open a session."""
        end = time.monotonic() + seconds
        error: BenchError
        while True:
            try:
                if not self._link.is_open:
                    self._link.open()
                    # Opening a port resets many boards, and these say something when they start.
                    self._link.drain(QUIET_SECONDS, HELLO_SECONDS)
                self._hello()
                return
            except (DeviceTimeout, ConnectionLost) as failure:
                error = failure
            if time.monotonic() >= end:
                self._link.close()
                raise error
            time.sleep(0.02)

    def _recover(self, seconds: float) -> None:
        self._link.close()
        self._connect(seconds)

    def _hello(self) -> None:
        """Open a session of a new number: no two hosts, and no two runs of one, may ever use the same."""
        self._stream.clear()
        self._session = int.from_bytes(os.urandom(4), "little") or 1
        self._seq = 0
        payload = struct.pack("<I", round(1000 * self._patience.watchdog_seconds))
        frame = Frame(Kind.HELLO, self._session, self._seq, payload)
        self._send(frame, 0.0)
        answer = self._await(frame, HELLO_SECONDS)
        if answer is None:
            raise DeviceTimeout(f"{self._link.address}: the board's greeting was damaged")
        try:
            info = json.loads(answer)
        except ValueError as error:
            raise ProtocolError(f"{self._link.address}: the board's greeting is not JSON") from error
        if not isinstance(info, dict) or "boot" not in info:
            raise ProtocolError(f"{self._link.address}: the board's greeting lacks its boot number")
        # Ranges and limits were agreed on with the first one; only the boot number may change.
        if self.info and {**info, "boot": 0} != {**self.info, "boot": 0}:
            raise ProtocolError(f"{self._link.address}: the board that answers now is another one than before")
        self.info = info
        self._broken = None
        self._last_used = time.monotonic()

    def _exchange(self, kind: Kind, payload: bytes, busy_seconds: float, answer_bytes: int) -> bytes:
        """One request of the present session, sent until it is answered."""
        self._seq = (self._seq + 1) & 0xFFFF
        frame = Frame(kind, self._session, self._seq, payload)
        line_seconds = 10.0 * (len(payload) + answer_bytes) / self._patience.baud
        unanswered = False
        for attempt in range(self._patience.attempts):
            self.retransmissions += attempt > 0
            self._send(frame, line_seconds)
            try:
                answer = self._await(frame, self._patience.answer_seconds + busy_seconds + line_seconds)
            except DeviceTimeout:
                unanswered = True
                continue
            except _UnknownSession:
                raise _UnknownSession(clean=not unanswered) from None
            if answer is not None:
                self._last_used = time.monotonic()
                return answer
            unanswered = True
        raise DeviceTimeout(f"{self._link.address}: {kind.name} was not answered in {self._patience.attempts} attempts")

    def _send(self, frame: Frame, line_seconds: float) -> None:
        self._link.write(encode(frame), self._patience.answer_seconds + line_seconds)

    def _await(self, frame: Frame, seconds: float) -> bytes | None:
        """The payload of the answer to ``frame``; None where something damaged came in: it is asked for again.

        Answers to other requests are late ones, and are thrown away.
        """
        end = time.monotonic() + seconds
        while True:
            for block in self._stream.feed(self._link.read(max(0.0, end - time.monotonic()))):
                if block.endswith(b"\n") and block.isascii():
                    continue  # a line of text: the banner of a board that has just started
                try:
                    found = decode(block)
                except ProtocolError:
                    return None
                mine = found.session == frame.session and found.seq == frame.seq
                if found.kind == NAK:
                    code, text = found.payload[0], found.payload[1:].decode(errors="replace")
                    if code == Refused.BAD_FRAME and not mine:
                        return None
                    if mine and code == Refused.UNKNOWN_SESSION:
                        raise _UnknownSession(clean=True)
                    if mine and code == Refused.CONVERTER_FAULT:
                        raise _ConverterFault(f"{self._link.address}: {Kind(frame.kind).name} broke off: {text}")
                    if mine:
                        raise InstrumentError(f"{self._link.address}: {Kind(frame.kind).name} refused: {text}")
                elif mine and found.kind == frame.kind | ANSWER:
                    return found.payload

    def _fate(self, kind: Kind, session: int, seq: int) -> bytes | None:
        """What the journal knows of a write: an answer if it was carried out, None if it never arrived.

        Raises:
            InstrumentError: it was carried out in part; or some cells failed, and which went with the answer.
        """
        found = self._entry(session, seq)
        if found is None:
            return None
        state, pulses, failed = found
        if state != DONE:
            raise InstrumentError(
                f"{self._link.address}: a write ({kind.name}) was carried out in part ({pulses} pulses); read the "
                "cells before going on"
            )
        if failed:
            raise InstrumentError(
                f"{self._link.address}: a write ({kind.name}) was carried out ({pulses} pulses), but {failed} of its "
                "cells failed, and which ones went with an answer that was lost; read the cells before going on"
            )
        return struct.pack("<IH", pulses, 0)

    def _entry(self, session: int, seq: int) -> tuple[int, int, int] | None:
        """State of a write, pulses that it gave and cells that failed, by the journal; None where it never arrived."""
        answer = self._exchange(Kind.JOURNAL, b"", 0.0, 0)
        entries = [ENTRY.unpack_from(answer, place) for place in range(2, len(answer), ENTRY.size)]
        for entry_session, entry_seq, _, state, pulses, failed in entries:
            if (entry_session, entry_seq) == (session, seq):
                return state, pulses, failed
        return None

    def _left_behind(self, kind: Kind) -> str:
        """What is known of outputs and cells after a request that broke off."""
        outputs = "; what the outputs are at is unknown until the board's watchdog has brought them to zero"
        if kind not in WRITES:
            return outputs
        try:
            entry = self._entry(self._session, self._seq)
        except (BenchError, _UnknownSession):
            entry = None
        given = "an unknown number of" if entry is None else str(entry[1])
        return f"{outputs}; {given} pulses were given, to which cells is unknown: read the cells before going on"

    def _beat(self) -> None:
        interval = self._patience.watchdog_seconds / 3.0
        while not self._ending.wait(interval):
            with self._link.lock:
                idle = time.monotonic() - self._last_used >= interval / 2.0
                if not idle or self._broken is not None or self._ending.is_set():
                    continue
                try:
                    self._exchange(Kind.HEARTBEAT, b"", 0.0, 0)
                except _UnknownSession:
                    self._broken = ConnectionLost(f"{self._link.address}: the board has restarted")
                except BenchError as error:
                    # Whoever asks next opens a new session, or is told.
                    self._broken = error


def _with_fate(error: BenchError, kind: Kind, known: bool) -> BenchError:
    """The error, which says of a write that nobody knows whether it happened."""
    if kind not in WRITES or known:
        return error
    unknown = f"whether the write under way ({kind.name}) was carried out is unknown: read the cells before going on"
    return type(error)(f"{error}; {unknown}")
