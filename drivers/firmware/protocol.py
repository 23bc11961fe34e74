"""Frames of the reference board: COBS, CRC-16/CCITT-FALSE and CRC-32. See board-protocol.md, sections 2 and 3."""

import binascii
import struct

import micropython

VERSION = 1
HEADER = "<BBIHH"
HEADER_SIZE = 10
BULK = 0x40
ANSWER = 0x80
BULK_ABOVE = 64
"""Payloads longer than this carry a CRC-32; a receiver takes either form at any length."""

HELLO = 0x01
HEARTBEAT = 0x02
SAFE = 0x03
JOURNAL = 0x04
MEASURE = 0x10
PRODUCTS = 0x11
CELLS = 0x12
PULSE = 0x20
SET = 0x21
RESET = 0x22
NAK = 0xBF

BAD_FRAME = 1
BAD_VERSION = 2
UNKNOWN_SESSION = 3
BAD_SEQUENCE = 4
UNKNOWN_TYPE = 5
BAD_PAYLOAD = 6
BEYOND_LIMIT = 7
NOT_ABLE = 8
CONVERTER_FAULT = 9

IDLE_MILLISECONDS = 500
"""A frame whose next byte is later than this is given up."""


class Refusal(Exception):
    """A request that is answered by a NAK: (code, message)."""


@micropython.viper
def _crc16(data: ptr8, size: int, crc: int) -> int:
    for i in range(size):
        crc ^= data[i] << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def crc16(data, crc=0xFFFF):
    """CRC-16/CCITT-FALSE of ``data``, continued from ``crc``."""
    return _crc16(data, len(data), crc)


def encode(kind, session, seq, payload):
    """The bytes of a frame, delimiters included."""
    bulk = len(payload) > BULK_ABOVE
    header = struct.pack(HEADER, VERSION, kind | BULK if bulk else kind, session, seq, len(payload))
    body = bytearray(header)
    body.extend(payload)
    if bulk:
        check = struct.pack("<I", binascii.crc32(body) & 0xFFFFFFFF)
        body.extend(check)
        body.extend(struct.pack("<H", crc16(check, crc16(header))))
    else:
        body.extend(struct.pack("<H", crc16(body)))
    return stuff(body)


@micropython.viper
def _stuff(source: ptr8, size: int, out: ptr8) -> int:
    out[0] = 0
    code_at = 1
    at = 2
    code = 1
    i = 0
    while i < size:
        byte = source[i]
        i += 1
        if byte:
            out[at] = byte
            at += 1
            code += 1
            # A last block that is full needs no empty one behind it.
            if code < 255 or i == size:
                continue
        out[code_at] = code
        code_at = at
        at += 1
        code = 1
    out[code_at] = code
    out[at] = 0
    return at + 1


@micropython.viper
def _unstuff(source: ptr8, size: int, out: ptr8) -> int:
    at = 0
    done = 0
    while at < size:
        code = source[at]
        end = at + code
        if code == 0 or end > size:
            return -1
        at += 1
        while at < end:
            out[done] = source[at]
            done += 1
            at += 1
        if code != 255 and at < size:
            out[done] = 0
            done += 1
    return done


def stuff(data):
    """COBS between two delimiters."""
    size = len(data)
    out = bytearray(size + size // 254 + 4)
    return memoryview(out)[: _stuff(data, size, out)]


def unstuff(data):
    """The bytes of a COBS block without its delimiters; ValueError where it is none."""
    out = bytearray(len(data))
    size = _unstuff(data, len(data), out)
    if size < 0:
        raise ValueError
    return memoryview(out)[:size]


def decode(block):
    """(kind without its bulk bit, session, seq, payload, digest) of a stuffed block; Refusal where it is damaged."""
    try:
        body = unstuff(block)
    except ValueError:
        raise Refusal(BAD_FRAME, "not COBS")
    size = len(body)
    if size < HEADER_SIZE + 2:
        raise Refusal(BAD_FRAME, "short frame")
    version, kind, session, seq, length = struct.unpack_from(HEADER, body)
    bulk = kind & BULK
    end = HEADER_SIZE + length
    if size != end + (6 if bulk else 2):
        raise Refusal(BAD_FRAME, "wrong length")
    found = struct.unpack_from("<H", body, size - 2)[0]
    digest = binascii.crc32(body[:end]) & 0xFFFFFFFF
    if bulk:
        right = crc16(body[end : end + 4], crc16(body[:HEADER_SIZE])) == found
        right = right and struct.unpack_from("<I", body, end)[0] == digest
    else:
        right = crc16(body[:end]) == found
    if not right:
        raise Refusal(BAD_FRAME, "wrong checksum")
    if version != VERSION:
        raise Refusal(BAD_VERSION, "protocol version %d is not spoken here" % version)
    return kind & ~BULK, session, seq, body[HEADER_SIZE:end], digest


class Receiver:
    """Cuts a stream of bytes into text lines and frames.

    Text until a delimiter; then a frame until the next one. Empty frames are skipped, and after a damaged one the
    next byte is still taken for a frame: its first delimiter was the last of the damaged one.
    """

    def __init__(self, largest):
        self._largest = largest
        self._framed = False
        self._overflow = False
        self._buffer = bytearray()

    def feed(self, data):
        """Yield what is complete now, (is_frame, bytes); None in place of the bytes of a frame that was too long.

        ``damaged`` may be called before the next one is taken.
        """
        at = 0
        while at < len(data):
            if self._framed:
                end = data.find(b"\0", at)
                self._keep(data[at : end if end >= 0 else len(data)])
                if end < 0:
                    break
                at = end + 1
                content, overflow = bytes(self._buffer), self._overflow
                self._clear()
                if overflow:
                    yield True, None
                elif content:
                    self._framed = False
                    yield True, content
                continue
            frame, line = data.find(b"\0", at), data.find(b"\n", at)
            if frame >= 0 and (line < 0 or frame < line):
                self._framed = True
                self._clear()
                at = frame + 1
                continue
            self._keep(data[at : line if line >= 0 else len(data)])
            if line < 0:
                break
            at = line + 1
            content, overflow = bytes(self._buffer), self._overflow
            self._clear()
            if content and not overflow:
                yield False, content

    def damaged(self):
        """The last frame was no good: what follows is taken for a frame."""
        self._framed = True

    def idle(self):
        """Nothing came for a while: a frame that was not finished is given up."""
        if self._framed:
            self._framed = False
            self._clear()

    def _keep(self, data):
        if len(self._buffer) + len(data) > self._largest:
            self._overflow = True
            self._buffer = bytearray()
        if not self._overflow:
            self._buffer.extend(data)

    def _clear(self):
        self._overflow = False
        self._buffer = bytearray()
