"""Frames of the reference board: host and firmware against the specification, and against each other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drivers
from drivers.board_protocol import Frame, FrameStream, Kind, decode, encode
from drivers.errors import ProtocolError

FIRMWARE = Path(drivers.__file__).parent / "firmware"

# Worked out in board-protocol.md, section 3.
HEARTBEAT = Frame(Kind.HEARTBEAT, 0x01020304, 5, b"")
HEARTBEAT_BYTES = bytes.fromhex("00 08 01 02 04 03 02 01 05 01 01 03 a0 02 00")


def crc16(data):
    """CRC-16/CCITT-FALSE, bit by bit."""
    crc = 0xFFFF
    for byte in data:
        for bit in range(8):
            top = (crc >> 15) ^ ((byte >> (7 - bit)) & 1)
            crc = (crc << 1) & 0xFFFF ^ (0x1021 if top else 0)
    return crc


def crc32(data):
    """CRC-32 of IEEE 802.3, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            low = (crc ^ (byte >> bit)) & 1
            crc = crc >> 1 ^ (0xEDB88320 if low else 0)
    return crc ^ 0xFFFFFFFF


def unstuffed(frame):
    """COBS undone, by its definition: each code is the distance to the next zero."""
    assert frame[0] == frame[-1] == 0
    block, out, at = frame[1:-1], bytearray(), 0
    assert 0 not in block
    while at < len(block):
        code = block[at]
        out += block[at + 1 : at + code]
        at += code
        if code < 255 and at < len(block):
            out.append(0)
    return bytes(out)


def test_check_values_of_the_checksums():
    assert crc16(b"123456789") == 0x29B1
    assert crc32(b"123456789") == 0xCBF43926


def test_golden_heartbeat():
    assert encode(HEARTBEAT) == HEARTBEAT_BYTES
    assert decode(HEARTBEAT_BYTES[1:-1]) == HEARTBEAT


@pytest.mark.parametrize("size", [0, 1, 64])
def test_short_frames_end_in_a_crc16_of_everything(size):
    payload = bytes(range(size))
    body = unstuffed(encode(Frame(Kind.PULSE, 0xA1B2C3D4, 0xFFFE, payload)))
    assert body[:10] == bytes([1, 0x20, 0xD4, 0xC3, 0xB2, 0xA1, 0xFE, 0xFF, size, 0])
    assert body[10:-2] == payload
    assert int.from_bytes(body[-2:], "little") == crc16(body[:-2])


def test_bulk_frames_carry_a_crc32_and_a_crc16_of_header_and_crc32():
    payload = bytes(range(256)) * 3
    body = unstuffed(encode(Frame(Kind.MEASURE, 7, 1, payload)))
    assert body[1] == Kind.MEASURE | 0x40
    assert body[10:-6] == payload
    assert int.from_bytes(body[-6:-2], "little") == crc32(body[:-6])
    assert int.from_bytes(body[-2:], "little") == crc16(body[:10] + body[-6:-2])


payloads = st.binary(max_size=700) | st.binary(min_size=0, max_size=3).map(lambda piece: piece * 254)
frames = st.builds(Frame, st.sampled_from(list(Kind)), st.integers(0, 2**32 - 1), st.integers(0, 65535), payloads)


@settings(deadline=None)
@given(frames)
def test_frames_survive_the_way(frame):
    data = encode(frame)
    assert 0 not in data[1:-1]
    assert decode(data[1:-1]) == frame


@settings(deadline=None)
@given(frames, st.data())
def test_one_damaged_byte_is_always_found(frame, data):
    good = encode(frame)
    place = data.draw(st.integers(1, len(good) - 2))
    flip = data.draw(st.integers(1, 255))
    bad = bytearray(good)
    bad[place] ^= flip
    if 0 in bad[1:-1]:
        return  # it falls into two frames
    with pytest.raises(ProtocolError):
        decode(bytes(bad[1:-1]))


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_but_a_frame_or_a_protocol_error(block):
    try:
        frame = decode(block)
    except ProtocolError:
        return
    assert decode(encode(frame)[1:-1]) == frame


@settings(deadline=None)
@given(st.lists(frames, max_size=4), st.binary(max_size=30).filter(lambda noise: 0 not in noise), st.data())
def test_frames_are_found_however_the_stream_is_cut(sent, noise, data):
    stream, line = FrameStream(), noise + b"".join(encode(frame) for frame in sent)
    found, at = [], 0
    while at < len(line):
        step = data.draw(st.integers(1, len(line) - at))
        found += stream.feed(line[at : at + step])
        at += step
    if noise and sent:
        assert found.pop(0) == noise
    assert [decode(block) for block in found] == sent


def test_longer_than_any_frame():
    with pytest.raises(ProtocolError, match="65535"):
        encode(Frame(Kind.SET, 1, 1, bytes(65536)))


SCRIPT = """
import sys, json
sys.path.insert(0, {folder!r})
import protocol
out = []
for kind, session, seq, payload, damaged in json.loads(open({cases!r}).read()):
    data = protocol.encode(kind, session, seq, bytes(payload))
    row = [list(data)]
    try:
        k, s, q, p, _ = protocol.decode(bytes(damaged))
        row += [[k, s, q, list(p)]]
    except protocol.Refusal as refusal:
        row += [refusal.args[0]]
    out.append(row)
receiver = protocol.Receiver(1000)
pieces = []
stream = b"*IDN?\\n" + data + b"OUTP?\\r\\n" + b"\\0broken" + data + data + b"\\0" * 3 + data + b"*CLS\\n"
for place in range(0, len(stream), 7):
    for is_frame, content in receiver.feed(stream[place:place + 7]):
        try:
            if is_frame:
                protocol.decode(content)
        except protocol.Refusal:
            receiver.damaged()
            content = b"damaged"
        pieces.append(content.decode() if not is_frame or content == b"damaged" else "frame")
print(json.dumps([out, pieces, protocol.crc16(b"123456789")]))
"""


def test_the_firmware_speaks_the_same_protocol(tmp_path):
    sizes = [0, 1, 3, 63, 64, 65, 253, 254, 255, 508, 509, 600]
    wanted = []
    for number, size in enumerate(sizes):
        for filling in (b"\x00", b"\xff", bytes(range(1, 255)), bytes(range(256))):
            payload = (filling * 600)[:size]
            wanted.append(Frame(Kind.PULSE, 0x80000000 + number, 65535 - number, payload))
    cases = []
    for number, frame in enumerate(wanted):
        block = bytearray(encode(frame)[1:-1])
        if number % 3 == 2:
            block[len(block) // 2] = block[len(block) // 2] % 255 + 1
        cases.append([frame.kind, frame.session, frame.seq, list(frame.payload), list(block)])
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(FIRMWARE), cases=str(tmp_path / "cases.json")))
    done = subprocess.run(
        [sys.executable, "-m", "micropython_unix", str(script)], capture_output=True, text=True, timeout=60, check=True
    )
    rows, pieces, check = json.loads(done.stdout.splitlines()[-1])
    assert check == 0x29B1
    for number, (frame, (data, decoded)) in enumerate(zip(wanted, rows, strict=True)):
        assert bytes(data) == encode(frame)
        if number % 3 == 2:
            assert decoded == 1  # BAD_FRAME
        else:
            assert decoded == [frame.kind, frame.session, frame.seq, list(frame.payload)]
    # After a damaged frame the next one is found, whether or not the delimiter between them was lost.
    assert pieces == ["*IDN?", "frame", "OUTP?\r", "damaged", "frame", "frame", "frame", "*CLS"]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_the_stream_never_chokes(noise):
    stream = FrameStream()
    stream.feed(noise)
    stream.feed(b"\0")
    assert [decode(block) for block in stream.feed(encode(HEARTBEAT))] == [HEARTBEAT]
