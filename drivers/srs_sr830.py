"""SRS SR830 lock-in amplifier (manual, chapter 5). GPIB and RS-232 only.

Its oscillator cannot be switched off: the safe state leaves 4 mV rms of it.
"""

import math
from collections.abc import Sequence
from typing import Final, final

import numpy as np

from drivers.lock_in import LockIn
from drivers.setting import Choice, Integer, Number, Numbers, Switch, integer
from substrate.arrays import FloatArray
from substrate.errors import InputError

SMALLEST_RMS, LARGEST_RMS = 4.0e-3, 5.0
RMS_STEP = 2.0e-3
HIGHEST_HZ = 102.0e3
OVERLOADS: Final = 0b111
"""Input or reserve, filter, output."""

TIME_CONSTANTS: Final = tuple(base * 10.0**power for power in range(-5, 5) for base in (1.0, 3.0))
"""In s, by the index of OFLT."""

SENSITIVITIES: Final = tuple(base * 10.0**power for power in range(-9, 1) for base in (1.0, 2.0, 5.0))[1:28]
"""In V, by the index of SENS: 2 nV to 1 V."""

STORING: Final = (*(2.0**power for power in range(-4, 10)), 0.0)
"""In Hz, by the index of SRAT; 0: at each trigger."""


@final
class Sr830(LockIn):
    """A lock-in; see ``LockIn``."""

    model_pattern = r"\bSR830\b"
    reference = Choice("FMOD", {"external": "0", "internal": "1"})
    reference_edge = Choice("RSLP", {"sine": "0", "rising": "1", "falling": "2"})
    frequency_hz = Number("FREQ", unit="Hz", low=1e-3, high=HIGHEST_HZ)
    phase_degrees = Number("PHAS", unit="deg", low=-360.0, high=729.99)
    harmonic = Integer("HARM", low=1, high=19_999)
    sine_rms_volts = Number("SLVL", unit="V", read_only=True)
    input = Choice("ISRC", {"a": "0", "a-b": "1", "1M": "2", "100M": "3"})
    grounded = Switch("IGND")
    coupling = Choice("ICPL", {"ac": "0", "dc": "1"})
    notches = Choice("ILIN", {"none": "0", "line": "1", "2line": "2", "both": "3"})
    sensitivity_index = Integer("SENS", low=0, high=26)
    reserve = Choice("RMOD", {"high": "0", "normal": "1", "low": "2"})
    time_constant_index = Integer("OFLT", low=0, high=19)
    slope_index = Integer("OFSL", low=0, high=3)
    synchronous = Switch("SYNC")
    x_offset_expand = Numbers("OEXP 1,{value}", query="OEXP? 1", doc="% of full scale; index of the factor")
    y_offset_expand = Numbers("OEXP 2,{value}", query="OEXP? 2", doc="likewise")
    storing_index = Integer("SRAT", low=0, high=14)
    endless = Switch("SEND")

    @property
    def sensitivity_volts(self) -> float:
        """Full scale, V rms."""
        return SENSITIVITIES[self.sensitivity_index]

    @sensitivity_volts.setter
    def sensitivity_volts(self, volts: float) -> None:
        """The smallest full scale that holds ``volts``."""
        self.sensitivity_index = _at_least(SENSITIVITIES, volts, "sensitivity_volts")

    @property
    def time_constant_seconds(self) -> float:
        """Of the filter."""
        return TIME_CONSTANTS[self.time_constant_index]

    @time_constant_seconds.setter
    def time_constant_seconds(self, seconds: float) -> None:
        """The shortest one not below ``seconds``."""
        self.time_constant_index = _at_least(TIME_CONSTANTS, seconds, "time_constant_seconds")

    def overloaded(self) -> bool:
        """By the status that ``LIAS?`` reads and clears."""
        return bool(self.session.ask("LIAS?", integer, once=True) & OVERLOADS)

    def start_storing(self) -> None:
        """Begin to store readings of both displays; what was stored before is forgotten.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        self.configure("REST", "STRT")

    def stop_storing(self) -> None:
        """Pause.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        self.configure("PAUS")

    def stored(self, display: int) -> FloatArray:
        """All stored readings (reading) of display 1 or 2, in V; see ``storing_index`` for their rate.

        Raises:
            InputError: another display.
            BenchError: the instrument cannot be reached.
        """
        if display not in (1, 2):
            raise InputError(f"display: expected 1 or 2, got {display!r}")
        with self.link.lock:
            count = self.session.ask("SPTS?", integer)
            if not count:
                return np.empty(0)
            data = self.session.query_bytes(f"TRCL? {display},0,{count}", 4 * count)
        return decode_pairs(data)

    @property
    def highest_hz(self) -> float:
        """102 kHz."""
        return HIGHEST_HZ

    def follow(self, range_volts: float) -> None:
        """See ``LockIn``."""
        index = _at_least(SENSITIVITIES, range_volts / 8.0**0.5, "range_volts, as rms")
        with self.unchecked():
            self.insist(
                reference="external",
                # The sine's zero: digital references are for frequencies below 1 Hz.
                reference_edge="sine",
                input="a",
                coupling="dc",
                notches="none",
                sensitivity_index=index,
                slope_index=3,
                synchronous=False,
                phase_degrees=0.0,
                harmonic=1,
                x_offset_expand="0,0",
                y_offset_expand="0,0",
            )

    def narrow(self, seconds: float) -> float:
        """See ``LockIn``."""
        index = _at_least(TIME_CONSTANTS, seconds, "time_constant_seconds")
        self.time_constant_index = index
        return TIME_CONSTANTS[index]

    def choose(self, harmonic: int) -> None:
        """See ``LockIn``."""
        self.harmonic = harmonic

    def _aux_input(self, number: int) -> str:
        return f"OAUX? {number}"

    def _snap(self) -> str:
        return "SNAP? 1,2"

    def _sine(self, rms_volts: float) -> Sequence[str]:
        if not SMALLEST_RMS <= rms_volts <= LARGEST_RMS:
            raise InputError(f"sine_volts: expected {SMALLEST_RMS:g} to {LARGEST_RMS:g} V rms, got {rms_volts:g}")
        # Down to its step, so that rounding leads nowhere beyond the limit.
        return (f"SLVL {max(SMALLEST_RMS, RMS_STEP * math.floor(rms_volts / RMS_STEP + 1e-6)):.3f}",)

    def _aux_numbers(self) -> Sequence[int]:
        return range(1, 5)

    def _zero(self) -> Sequence[str]:
        return (f"SLVL {SMALLEST_RMS:g}",)


def decode_pairs(data: bytes | bytearray) -> FloatArray:
    """Numbers of ``TRCL?``: m 2^(exp - 124), 16 bits each and m signed, lower byte first (manual, 5-18)."""
    pairs = np.frombuffer(data, dtype="<i2").reshape(-1, 2)
    return np.ldexp(pairs[:, 0].astype(np.float64), pairs[:, 1].astype(np.int64) - 124)


def _at_least(steps: Sequence[float], value: float, name: str) -> int:
    for index, step in enumerate(steps):
        if 0 < value <= step * (1.0 + 1e-9):
            return index
    raise InputError(f"{name}: expected a positive number up to {steps[-1]:g}, got {value!r}")
