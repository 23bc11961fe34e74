"""ArC ONE: a memristor board of 32 word lines by 32 bit lines, on a serial port (921600 baud; a pseudo-terminal: 8N1).

ASCII lines, one command or argument a line; answers are float32, little-endian, without terminators, and are
resistances in ohms. Word and bit lines count from 1; pulses last 90 ns to 10 s.

    0, then six numbers   set-up: readings averaged, word lines, bit lines, reading mode, session, sneak-path option
                          (their order is not confirmed)
    01, mode, volts       how to read
    1, w, b               read: one float32
    02, w, b              select a cell
    3, w, b, volts, s     pulse, then read: one float32
    04, volts, s          pulse the selected cell
    00                    reset: the selection and what was begun are dropped

The selected cell's word line is driven and its bit line grounded through the amplifier, which adds nothing. The other
lines are grounded in reading mode 0, stand at half of the voltage in mode 1, and float in mode 2. Noise: one thousandth
of a reading (not confirmed).
"""

from collections.abc import Sequence
from struct import pack
from typing import final

import numpy as np

from emulators.bench.instruments.line_instrument import DialectError, LineInstrument
from emulators.bench.protocol.framing import Framer, LineFramer
from emulators.bench.sources import GROUND, Constant, Source, VoltageSource

LINES = 32
MOST_VOLTS = 12.0
LEAST_SECONDS, MOST_SECONDS = 90.0e-9, 10.0
READ_SECONDS = 1.0e-3
NOISE = 1.0e-3
SMALLEST_AMPERES = 1.0e-12
ARGUMENTS = {"0": 6, "01": 2, "1": 2, "02": 2, "3": 4, "04": 2, "00": 0, "999": 0}
IDLE = "999"
MODES = ("grounded", "half", "floating")


@final
class ArcOne(LineInstrument):
    """Ports: ``w1`` .. ``w32``, ``b1`` .. ``b32``."""

    def ports(self) -> Sequence[str]:
        """Word and bit lines."""
        return [f"{side}{number}" for side in "wb" for number in range(1, LINES + 1)]

    def framer(self) -> Framer:
        """Lines."""
        return LineFramer()

    def power_on(self) -> None:
        """Nothing selected; readings at half a volt, other lines grounded."""
        self._pending: list[str] = []
        self._selected: tuple[int, int] | None = None
        self._volts, self._mode, self._averages = 0.5, 0, 1
        self.last_error = ""
        self.outputs_off()

    def outputs_off(self) -> None:
        """All lines let go."""
        for port in self.ports():
            self.fixture.attach(self.node(port), None)

    def report(self, code: int, text: str) -> None:
        """The board says nothing; what is refused is dropped, and is noted here for who looks."""
        self._pending = []
        self.last_error = text

    def respond(self, message: bytes) -> bytes:
        """One line: a command, or an argument of the one before."""
        line = message.decode("latin-1").strip(" \t\r\x00")
        if not line:
            return b""
        if not self._pending and line not in ARGUMENTS:
            raise DialectError(1, f"unknown command {line[:20]!r}")
        self._pending.append(line)
        if len(self._pending) <= ARGUMENTS[self._pending[0]]:
            return b""
        (command, *arguments), self._pending = self._pending, []
        try:
            numbers = [float(argument) for argument in arguments]
        except ValueError:
            raise DialectError(2, f"no number among {arguments!r}"[:80]) from None
        if not np.isfinite(numbers).all():
            raise DialectError(2, "not finite")
        return self._carry_out(command, numbers)

    def _carry_out(self, command: str, numbers: list[float]) -> bytes:
        if command == "00":
            self.power_on()
        elif command == "0":
            self._averages = int(_within(numbers[0], 1, 1000, "readings averaged"))
        elif command == "01":
            self._mode = int(_within(numbers[0], 0, len(MODES) - 1, "mode"))
            self._volts = _within(numbers[1], -MOST_VOLTS, MOST_VOLTS, "volts")
        elif command == "1":
            return self._read(self._cell(numbers))
        elif command == "02":
            self._selected = self._cell(numbers)
        elif command == "3":
            cell = self._cell(numbers)
            self._pulse(cell, numbers[2], numbers[3])
            return self._read(cell)
        elif command == "04":
            if self._selected is None:
                raise DialectError(3, "no cell is selected")
            self._pulse(self._selected, numbers[0], numbers[1])
        return b""

    def _cell(self, numbers: Sequence[float]) -> tuple[int, int]:
        word, bit = (int(_within(number, 1, LINES, "line")) for number in numbers[:2])
        return word, bit

    def _bias(self, cell: tuple[int, int], volts: float) -> None:
        """The selected cell's lines and all others."""
        others: Source | None = (GROUND, VoltageSource(Constant(0.5 * volts)), None)[self._mode]
        for side, chosen, source in (("w", cell[0], VoltageSource(Constant(volts))), ("b", cell[1], GROUND)):
            for number in range(1, LINES + 1):
                self.fixture.attach(self.node(f"{side}{number}"), source if number == chosen else others)

    def _read(self, cell: tuple[int, int]) -> bytes:
        self._bias(cell, self._volts)
        node = self.node(f"b{cell[1]}")
        amperes = -float(self.fixture.amperes([node], np.array([self.clock.seconds]))[0, 0])
        self.spend(READ_SECONDS * self._averages)
        self.outputs_off()
        amperes = self.disturbed(amperes)
        noisy = amperes * (1.0 + NOISE / np.sqrt(self._averages) * float(self.rng.standard_normal()))
        # An open cell reads as the largest resistance that the amplifier's smallest current stands for.
        size = max(abs(noisy), SMALLEST_AMPERES)
        return pack("<f", abs(self._volts) / size)

    def _pulse(self, cell: tuple[int, int], volts: float, seconds: float) -> None:
        volts = _within(volts, -MOST_VOLTS, MOST_VOLTS, "volts")
        seconds = _within(seconds, LEAST_SECONDS * (1 - 1e-9), MOST_SECONDS, "seconds")
        self._bias(cell, volts)
        self.spend(seconds)
        self.outputs_off()


def _within(value: float, low: float, high: float, what: str) -> float:
    if not low <= value <= high:
        raise DialectError(4, f"{what}: expected {low:g} to {high:g}, got {value:g}")
    return value


MODELS = {"arc-one": ArcOne}
