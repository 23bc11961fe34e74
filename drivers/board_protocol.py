"""Frames of the reference board, on the host's side. See board-protocol.md, sections 2 and 3."""

import binascii
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import final

from cobs import cobs

from drivers.errors import ProtocolError

VERSION = 1
HEADER = struct.Struct("<BBIHH")
BULK = 0x40
ANSWER = 0x80
BULK_ABOVE = 64
"""Payloads longer than this carry a CRC-32."""

LARGEST_PAYLOAD = 65535


class Kind(IntEnum):
    """Type of a request; its answer has bit 7 set as well."""

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


class Refused(IntEnum):
    """Codes of a NAK."""

    BAD_FRAME = 1
    BAD_VERSION = 2
    UNKNOWN_SESSION = 3
    BAD_SEQUENCE = 4
    UNKNOWN_TYPE = 5
    BAD_PAYLOAD = 6
    BEYOND_LIMIT = 7
    NOT_ABLE = 8
    CONVERTER_FAULT = 9


@final
@dataclass(frozen=True)
class Frame:
    """A frame: its type without the bulk bit, session, sequence number and payload."""

    kind: int
    session: int
    seq: int
    payload: bytes


def encode(frame: Frame) -> bytes:
    """The bytes of a frame, delimiters included.

    Raises:
        ProtocolError: a payload that no frame can carry.
    """
    size = len(frame.payload)
    if size > LARGEST_PAYLOAD:
        raise ProtocolError(f"a frame carries at most {LARGEST_PAYLOAD} bytes, got {size}")
    bulk = size > BULK_ABOVE
    header = HEADER.pack(VERSION, frame.kind | BULK if bulk else frame.kind, frame.session, frame.seq, size)
    body = header + frame.payload
    if bulk:
        check = struct.pack("<I", zlib.crc32(body))
        body += check + struct.pack("<H", binascii.crc_hqx(header + check, 0xFFFF))
    else:
        body += struct.pack("<H", binascii.crc_hqx(body, 0xFFFF))
    return b"\0" + bytes(cobs.encode(body)) + b"\0"


def decode(block: bytes) -> Frame:
    """The frame of a block between two delimiters.

    Raises:
        ProtocolError: it is damaged, or of another version of the protocol.
    """
    try:
        body = cobs.decode(block)
    except cobs.DecodeError as error:
        raise ProtocolError(f"damaged frame: {error}") from error
    if len(body) < HEADER.size + 2:
        raise ProtocolError(f"damaged frame: {len(body)} bytes are too few")
    version, kind, session, seq, size = HEADER.unpack_from(body)
    bulk = kind & BULK
    end = HEADER.size + size
    if len(body) != end + (6 if bulk else 2):
        raise ProtocolError(f"damaged frame: {len(body)} bytes for a payload of {size}")
    found = int.from_bytes(body[-2:], "little")
    if bulk:
        check = body[end : end + 4]
        right = binascii.crc_hqx(body[: HEADER.size] + check, 0xFFFF) == found
        right = right and zlib.crc32(body[:end]) == int.from_bytes(check, "little")
    else:
        right = binascii.crc_hqx(body[:end], 0xFFFF) == found
    if not right:
        raise ProtocolError("damaged frame: wrong checksum")
    if version != VERSION:
        raise ProtocolError(f"the board speaks version {version} of the protocol; this driver speaks {VERSION}")
    return Frame(kind & ~BULK, session, seq, body[HEADER.size : end])


@final
class FrameStream:
    """Cuts incoming bytes into blocks between delimiters; what stands before the first one is no frame.

    Text and damaged frames come out as blocks too, and fail to decode.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Blocks that are complete now."""
        if b"\0" not in data:
            self._buffer += data
            if len(self._buffer) > 2 * LARGEST_PAYLOAD:
                self._buffer.clear()
            return []
        *whole, rest = (bytes(self._buffer) + data).split(b"\0")
        self._buffer = bytearray(rest)
        return [block for block in whole if block]

    def clear(self) -> None:
        """Forget what has begun."""
        self._buffer.clear()
