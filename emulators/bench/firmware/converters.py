"""The converter layer of an emulated chip: runs on MicroPython in place of the one that speaks to real converters.

Each call is one request to the chip over a pair of pipes, whose file numbers are in the environment, and one answer:
``op u8, length u32, payload`` there, ``status u8, length u32, payload`` back, little-endian.
"""

import array
import json
import os
import struct
import sys

DESCRIBE, ZERO, MEASURE, PRODUCTS, CELLS, PULSE, SET, RESET = range(8)


def port():
    """(reader, writer) of the board's serial port: standard input, which does not block, and output."""
    return sys.stdin.buffer, sys.stdout.buffer


class Converters:
    """All converters of the board, by way of the emulated chip.

    Attributes:
        pulses: programming pulses given since the start.
    """

    def __init__(self):
        self._to = open("/dev/fd/" + os.getenv("CHIP_TO"), "wb")
        self._from = open("/dev/fd/" + os.getenv("CHIP_FROM"), "rb")
        self.pulses = 0

    def describe(self):
        """What the chip and its converters are."""
        return json.loads(self._ask(DESCRIBE).decode())

    def guard(self):
        """No microcontroller, and no watchdog of one."""

    def feed(self):
        """As ``guard``."""

    def zero(self):
        """All outputs to zero."""
        self._ask(ZERO)

    def measure(self, mode, inputs, currents, levels, batch, points, periods):
        """A flag a sample (1 saturated, 2 unsettled), then codes (batch, time, node)."""
        return self._ask(MEASURE, struct.pack("<BBHHH", mode, 0, batch, points, periods), inputs, currents, levels)

    def products(self, which, direction, batch, volts):
        """Currents of one array, float32 amperes (batch, sensed)."""
        return self._ask(PRODUCTS, struct.pack("<BBH", which, direction, batch), volts)

    def cells(self, which, start, count):
        """Conductances of cells, float32 siemens."""
        return self._ask(CELLS, struct.pack("<BBHI", which, 0, count, start))

    def pulse(self, which, cells, counts):
        """Signed pulse counts to cells; those known not to have moved."""
        return self._write(PULSE, which, cells, counts)

    def set(self, which, cells, targets):
        """Conductances outright, float32 siemens; cells known not to hold them."""
        return self._write(SET, which, cells, targets)

    def reset(self, which, cells):
        """Cells all the way down; those known not to have moved."""
        return self._write(RESET, which, cells, b"")

    def _write(self, op, which, cells, values):
        answer = self._ask(op, struct.pack("<BBH", which, 0, len(cells)), cells, values)
        self.pulses += struct.unpack_from("<I", answer)[0]
        return array.array("I", answer[4:])

    def _ask(self, op, *parts):
        payload = b"".join([bytes(part) for part in parts])
        self._to.write(struct.pack("<BI", op, len(payload)))
        self._to.write(payload)
        head = self._from.read(5)
        if not head or len(head) < 5:
            raise OSError("the chip is gone")
        status, length = struct.unpack("<BI", head)
        answer = self._from.read(length) if length else b""
        if status:
            raise OSError(answer.decode())
        return answer
