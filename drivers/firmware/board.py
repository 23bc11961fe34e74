"""The reference board: sessions, stored answers, limits, journal and watchdog. See board-protocol.md."""

import array
import json
import os
import select
import struct
import time

import console
import protocol as p

FIRMWARE = "1.0"
JOURNAL_SIZE = 16
LARGEST_BURST = 1000
SHORTEST_WATCHDOG = 200
LONGEST_WATCHDOG = 60000
WATCHDOG_MILLISECONDS = 2000

STARTED = 1
DONE = 2
FAILED = 3


class Board:
    """Answers frames and text lines on one port.

    Args:
        chip: the converter layer, ``converters.Converters``.
        reader: stream whose ``read(n)`` gives what is there, at most n bytes.
        writer: stream whose ``write`` takes everything.
    """

    def __init__(self, chip, reader, writer):
        self.chip = chip
        self._reader = reader
        self._writer = writer
        self.info = chip.describe()
        self.info.update(
            {
                "protocol": p.VERSION,
                "firmware": FIRMWARE,
                "boot": struct.unpack("<I", os.urandom(4))[0],
                "largest_burst": LARGEST_BURST,
                "journal": JOURNAL_SIZE,
            }
        )
        self._receiver = p.Receiver(self.info["max_payload"] + 512)
        self.session = 0
        self._seq = 0
        self._digest = 0
        self._stored = b""
        self.journal = []
        self.outputs_on = False
        self.watchdog_milliseconds = WATCHDOG_MILLISECONDS
        self.watchdog_trips = 0
        self.errors = []
        self._fed = time.ticks_ms()
        limits = self.info["limits"]
        self._input_limit = _limit_code(limits["read_volts"], self.info["input_range_volts"])
        self._current_limit = _limit_code(limits["current_amperes"], self.info["current_range_amperes"])
        self._work = {
            p.HEARTBEAT: self._heartbeat,
            p.SAFE: self._safe,
            p.JOURNAL: self._read_journal,
            p.MEASURE: self._measure,
            p.PRODUCTS: self._products,
            p.CELLS: self._cells,
            p.PULSE: self._pulse,
            p.SET: self._set,
            p.RESET: self._reset,
        }

    def run(self):
        """Serve until the port is closed; however that ends, outputs are at zero after."""
        try:
            self._serve()
        finally:
            self.zero()

    def _serve(self):
        self.zero()
        self.chip.guard()
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        self._writer.write("Substrate reference board %s ready\r\n" % FIRMWARE)
        last = time.ticks_ms()
        while True:
            self.chip.feed()
            if poller.poll(20):
                data = self._reader.read(4096)
                if data == b"":
                    break
                if data:
                    last = time.ticks_ms()
                    for is_frame, content in self._receiver.feed(data):
                        if is_frame:
                            self._frame(content)
                        else:
                            self._writer.write(console.answer(self, content))
            elif time.ticks_diff(time.ticks_ms(), last) > p.IDLE_MILLISECONDS:
                self._receiver.idle()
            self._watch()

    def zero(self):
        """All outputs to zero."""
        self.chip.zero()
        self.outputs_on = False

    def _watch(self):
        if self.outputs_on and time.ticks_diff(time.ticks_ms(), self._fed) > self.watchdog_milliseconds:
            try:
                self.zero()
            except OSError as error:
                self.complain("converters: %s" % error)
                return
            self.watchdog_trips += 1
            self.complain("watchdog: no valid frame for %d ms, outputs at zero" % self.watchdog_milliseconds)

    def complain(self, text):
        """Queue an error for people."""
        if len(self.errors) < 16:
            self.errors.append(text)

    def _frame(self, block):
        session = seq = 0
        try:
            if block is None:
                raise p.Refusal(p.BAD_FRAME, "frame beyond %d bytes of payload" % self.info["max_payload"])
            kind, session, seq, payload, digest = p.decode(block)
        except p.Refusal as refusal:
            self._receiver.damaged()
            self.complain(refusal.args[1])
            self._send(_nak(0, 0, refusal))
            return
        if session and session == self.session and seq == self._seq and digest == self._digest:
            # The same request again: its answer was lost, its work is done.
            self._fed = time.ticks_ms()
            self._send(self._stored)
            return
        try:
            answer = self._handle(kind, session, seq, payload, digest)
        except p.Refusal as refusal:
            self.complain(refusal.args[1])
            answer = _nak(session, seq, refusal)
            self._keep(answer, session, seq, refusal.args[0])
        except OSError as error:
            # What the outputs are at is unknown: the watchdog has to bring them to zero.
            self.outputs_on = True
            refusal = p.Refusal(p.CONVERTER_FAULT, "converters: %s" % error)
            self.complain(refusal.args[1])
            answer = _nak(session, seq, refusal)
            self._keep(answer, session, seq, p.CONVERTER_FAULT)
        self._send(answer)

    def _keep(self, answer, session, seq, code):
        """Store a refusal, if it answers the session's last request."""
        if (session, seq) == (self.session, self._seq) and code not in (p.UNKNOWN_SESSION, p.BAD_SEQUENCE):
            self._stored = answer

    def _send(self, frame):
        self._writer.write(frame)

    def _handle(self, kind, session, seq, payload, digest):
        if kind == p.HELLO:
            return self._hello(session, seq, payload, digest)
        if not self.session or session != self.session:
            raise p.Refusal(p.UNKNOWN_SESSION, "unknown session %08x" % session)
        if seq != (self._seq + 1) & 0xFFFF:
            raise p.Refusal(p.BAD_SEQUENCE, "expected seq %d, got %d" % ((self._seq + 1) & 0xFFFF, seq))
        self._fed = time.ticks_ms()
        self._seq, self._digest = seq, digest
        work = self._work.get(kind)
        if work is None:
            raise p.Refusal(p.UNKNOWN_TYPE, "unknown type 0x%02x" % kind)
        try:
            payload = work(payload)
        except (ValueError, IndexError):
            raise p.Refusal(p.BAD_PAYLOAD, "payload of type 0x%02x does not fit" % kind)
        if len(payload) > self.info["max_payload"]:
            raise p.Refusal(p.BAD_PAYLOAD, "the answer would be longer than max_payload; ask for less")
        self._stored = p.encode(kind | p.ANSWER, session, seq, payload)
        # Work may have taken a while: the host's silence counts from now.
        self._fed = time.ticks_ms()
        return self._stored

    def _hello(self, session, seq, payload, digest):
        if session == 0 or len(payload) != 4:
            raise p.Refusal(p.BAD_PAYLOAD, "hello needs a session other than 0 and the watchdog's milliseconds")
        asked = struct.unpack("<I", payload)[0]
        if not SHORTEST_WATCHDOG <= asked <= LONGEST_WATCHDOG:
            raise p.Refusal(p.BEYOND_LIMIT, "watchdog: %d..%d ms" % (SHORTEST_WATCHDOG, LONGEST_WATCHDOG))
        self.zero()
        self.watchdog_milliseconds = asked
        self.session, self._seq, self._digest = session, seq, digest
        self._fed = time.ticks_ms()
        self._stored = p.encode(p.HELLO | p.ANSWER, session, seq, json.dumps(self.info).encode())
        return self._stored

    def _heartbeat(self, payload):
        return struct.pack("<IIB", time.ticks_ms() & 0xFFFFFFFF, self.watchdog_trips, self.outputs_on)

    def _safe(self, payload):
        self.zero()
        return b""

    def _read_journal(self, payload):
        out = bytearray(struct.pack("<H", len(self.journal)))
        for entry in self.journal:
            out.extend(struct.pack("<IHBBIH", *entry))
        return out

    def _measure(self, payload):
        mode, _, batch, points, periods = struct.unpack_from("<BBHHH", payload)
        inputs, nodes = self.info["inputs"], self.info["nodes"]
        # Free readings are of one point, held currents of one period.
        if mode > 2 or points < 1 or periods < 1 or (mode == 0 and points > 1) or (mode != 1 and periods > 1):
            raise ValueError
        samples = batch * points * periods
        flags = batch * points if mode == 2 else batch
        if flags + 2 * samples * nodes > self.info["max_payload"]:
            raise p.Refusal(p.BAD_PAYLOAD, "the record would be longer than max_payload; ask for fewer samples")
        counts = [batch * inputs, 0, 0]
        if mode == 1:
            counts[1:] = [batch * nodes, points]
        elif mode == 2:
            counts[1] = batch * points * nodes
        held, currents, levels = _arrays(payload, 8, "h", counts)
        _within(held, self._input_limit, "input")
        _within(currents, self._current_limit, "current")
        if not self.info["node_nudges"]:
            self._outputs_alone(currents, nodes)
        self.outputs_on = True
        return self.chip.measure(mode, held, currents, levels, batch, points, periods)

    def _outputs_alone(self, currents, nodes):
        hidden = nodes - self.info["outputs"]
        for start in range(0, len(currents), nodes):
            part = currents[start : start + hidden]
            if hidden and (max(part) or min(part)):
                raise p.Refusal(p.NOT_ABLE, "only output nodes have current ports")

    def _products(self, payload):
        if not self.info["forward_products"]:
            raise p.Refusal(p.NOT_ABLE, "single arrays cannot be read")
        which, direction, batch = struct.unpack_from("<BBH", payload)
        _, _, rows, columns = self.info["arrays"][which]
        if direction > 1:
            raise ValueError
        if direction and not self.info["transposed_products"]:
            raise p.Refusal(p.NOT_ABLE, "arrays cannot be read backward")
        (volts,) = _arrays(payload, 4, "h", [batch * (columns if direction else rows)])
        _within(volts, self._input_limit, "line")
        answer = self.chip.products(which, direction, batch, volts)
        # Reading an array alone leaves the network's inputs at zero.
        self.outputs_on = False
        return answer

    def _cells(self, payload):
        which, _, count, start = struct.unpack("<BBHI", payload)
        if start + count > self.size(which):
            raise ValueError
        return self.chip.cells(which, start, count)

    def size(self, which):
        """Cells of an array."""
        _, polarities, rows, columns = self.info["arrays"][which]
        return polarities * rows * columns

    def _pulse(self, payload):
        if not self.info["pulses"]:
            raise p.Refusal(p.NOT_ABLE, "cells do not move by pulses")
        self._check_pulse_volts()
        which, cells, counts = self._cells_and("h", payload)
        _within(counts, LARGEST_BURST, "pulse count")
        return self._write(p.PULSE, self.chip.pulse, which, cells, counts)

    def _set(self, payload):
        if not self.info["continuous_writing"]:
            raise p.Refusal(p.NOT_ABLE, "cells cannot be set outright")
        self._check_pulse_volts()
        which, cells, targets = self._cells_and("f", payload)
        low, high = self.info["window_siemens"]
        # Single precision rounds the window's ends.
        if len(targets) and not (min(targets) >= low * 0.999999 and max(targets) <= high * 1.000001):
            raise p.Refusal(p.BEYOND_LIMIT, "a target lies outside window_siemens")
        return self._write(p.SET, self.chip.set, which, cells, targets)

    def _reset(self, payload):
        if not self.info["resets"]:
            raise p.Refusal(p.NOT_ABLE, "cells cannot be reset")
        self._check_pulse_volts()
        which, cells, _ = self._cells_and(None, payload)
        return self._write(p.RESET, self.chip.reset, which, cells, None)

    def _check_pulse_volts(self):
        if self.info["pulse_volts"] > self.info["limits"]["write_volts"]:
            raise p.Refusal(p.BEYOND_LIMIT, "pulse_volts is beyond limits.write_volts")

    def _cells_and(self, code, payload):
        which, _, count = struct.unpack_from("<BBH", payload)
        size = self.size(which)
        (cells,) = _arrays(payload, 4, "I", [count], exact=code is None)
        if count and max(cells) >= size:
            raise ValueError
        values = _arrays(payload, 4 + 4 * count, code, [count])[0] if code else None
        return which, cells, values

    def _write(self, kind, work, which, cells, values):
        entry = [self.session, self._seq, kind, STARTED, 0, 0]
        self.journal.append(entry)
        if len(self.journal) > JOURNAL_SIZE:
            self.journal.pop(0)
        # Writing drives lines.
        self.outputs_on = True
        before = self.chip.pulses
        try:
            failed = work(which, cells, values) if values is not None else work(which, cells)
            entry[3], entry[5] = DONE, len(failed)
        except OSError:
            entry[3] = FAILED
            raise
        finally:
            entry[4] = self.chip.pulses - before
        self.outputs_on = False
        out = bytearray(struct.pack("<IH", entry[4], len(failed)))
        out.extend(bytes(failed))
        return out


def _limit_code(limit, full):
    # Half a step above the limit is still the code nearest to it.
    return min(32767, int(limit / full * 32767 + 0.5))


def _nak(session, seq, refusal):
    return p.encode(p.NAK, session, seq, struct.pack("<B", refusal.args[0]) + refusal.args[1].encode())


def _within(values, limit, what):
    if len(values) and (max(values) > limit or min(values) < -limit):
        raise p.Refusal(p.BEYOND_LIMIT, "%s beyond the limit (code %d)" % (what, limit))


def _arrays(payload, start, code, counts, exact=True):
    """Arrays of ``counts`` items each, one behind the other; ValueError unless they end where the payload does."""
    size = struct.calcsize(code)
    out = []
    for count in counts:
        end = start + count * size
        if end > len(payload):
            raise ValueError
        out.append(array.array(code, bytes(payload[start:end])))
        start = end
    if exact and start != len(payload):
        raise ValueError
    return out
