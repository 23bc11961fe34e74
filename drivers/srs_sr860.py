"""SRS SR860 lock-in amplifier (manual, chapter 4)."""

from collections.abc import Sequence
from typing import Final, final

from drivers.lock_in import LockIn
from drivers.setting import Choice, Integer, Number, Switch, integer
from substrate.errors import InputError

SMALLEST_RMS, LARGEST_RMS = 1.0e-9, 2.0
HIGHEST_HZ = 500.0e3
INPUT_RANGES: Final = ((1.0, "1"), (0.3, "0.3"), (0.1, "0.1"), (0.03, "0.03"), (0.01, "0.01"))
"""Peak volts, and the name of the range."""

TIME_CONSTANTS: Final = tuple(base * 10.0**power for power in range(-6, 5) for base in (1.0, 3.0))
"""In s, by the index of OFLT."""

SENSITIVITIES: Final = tuple(base * 10.0**power for power in range(0, -10, -1) for base in (1.0, 0.5, 0.2))[:28]
"""In V, by the index of SCAL: 1 V to 1 nV."""


@final
class Sr860(LockIn):
    """A lock-in; see ``LockIn``."""

    model_pattern = r"\bSR86[05]A?\b"
    reference = Choice("RSRC", {"internal": "0", "external": "1", "dual": "2", "chop": "3"})
    reference_edge = Choice("RTRG", {"sine": "0", "rising": "1", "falling": "2"})
    frequency_hz = Number("FREQ", unit="Hz", low=1e-3, high=HIGHEST_HZ)
    phase_degrees = Number("PHAS", unit="deg", low=-3.6e5, high=3.6e5)
    harmonic = Integer("HARM", low=1, high=99)
    sine_rms_volts = Number("SLVL", unit="V", read_only=True)
    sine_offset_volts = Number("SOFF", unit="V", read_only=True)
    input = Choice("ISRC", {"a": "0", "a-b": "1"})
    input_mode = Choice("IVMD", {"volts": "0", "amperes": "1"})
    input_range = Choice("IRNG", {name: str(place) for place, (_, name) in enumerate(INPUT_RANGES)})
    grounded = Switch("IGND")
    coupling = Choice("ICPL", {"ac": "0", "dc": "1"})
    sensitivity_index = Integer("SCAL", low=0, high=27)
    time_constant_index = Integer("OFLT", low=0, high=21)
    slope_index = Integer("OFSL", low=0, high=3)
    synchronous = Switch("SYNC")
    x_offset = Switch("COFA 0,{value}", query="COFA? 0", doc="whether part of full scale is taken away")
    y_offset = Switch("COFA 1,{value}", query="COFA? 1", doc="likewise")
    x_expand_index = Integer("CEXP 0,{value}", query="CEXP? 0", low=0, high=2)
    y_expand_index = Integer("CEXP 1,{value}", query="CEXP? 1", low=0, high=2)
    x_ratio = Switch("CRAT 0,{value}", query="CRAT? 0", doc="whether it is divided by auxiliary input 3")
    y_ratio = Switch("CRAT 1,{value}", query="CRAT? 1", doc="likewise, by input 4")

    @property
    def time_constant_seconds(self) -> float:
        """Of the filter."""
        return TIME_CONSTANTS[self.time_constant_index]

    @time_constant_seconds.setter
    def time_constant_seconds(self, seconds: float) -> None:
        """The shortest one not below ``seconds``."""
        for index, step in enumerate(TIME_CONSTANTS):
            if 0 < seconds <= step * (1.0 + 1e-9):
                self.time_constant_index = index
                return
        raise InputError(f"time_constant_seconds: expected a positive number up to 3e4, got {seconds!r}")

    @property
    def sensitivity_volts(self) -> float:
        """Full scale, V rms."""
        return SENSITIVITIES[self.sensitivity_index]

    @sensitivity_volts.setter
    def sensitivity_volts(self, volts: float) -> None:
        """The smallest full scale that holds ``volts``."""
        fitting = [index for index, step in enumerate(SENSITIVITIES) if 0 < volts <= step * (1.0 + 1e-9)]
        if not fitting:
            raise InputError(f"sensitivity_volts: expected a positive number up to 1, got {volts!r}")
        self.sensitivity_index = fitting[-1]

    def overloaded(self) -> bool:
        """By the status that ``CUROVLDSTAT?`` reads."""
        return self.session.ask("CUROVLDSTAT?", integer, once=True) != 0

    @property
    def highest_hz(self) -> float:
        """500 kHz."""
        return HIGHEST_HZ

    def follow(self, range_volts: float) -> None:
        """See ``LockIn``."""
        fitting = [name for volts, name in INPUT_RANGES if 0 < range_volts / 2.0 <= volts]
        if not fitting:
            raise InputError(f"range_volts: expected a positive number up to 2, got {range_volts!r}")
        with self.unchecked():
            self.insist(
                reference="external",
                reference_edge="sine",
                input_mode="volts",
                input="a",
                coupling="dc",
                input_range=fitting[-1],
                slope_index=3,
                synchronous=False,
                phase_degrees=0.0,
                harmonic=1,
                x_offset=False,
                y_offset=False,
                x_expand_index=0,
                y_expand_index=0,
                x_ratio=False,
                y_ratio=False,
            )
            self.sensitivity_volts = range_volts / 8.0**0.5

    def narrow(self, seconds: float) -> float:
        """See ``LockIn``."""
        self.time_constant_seconds = seconds
        return self.time_constant_seconds

    def choose(self, harmonic: int) -> None:
        """See ``LockIn``."""
        self.harmonic = harmonic

    def _aux_input(self, number: int) -> str:
        return f"OAUX? {number - 1}"

    def _snap(self) -> str:
        return "SNAP? 0,1"

    def _sine(self, rms_volts: float) -> Sequence[str]:
        if not SMALLEST_RMS <= rms_volts <= LARGEST_RMS:
            raise InputError(f"sine_volts: expected {SMALLEST_RMS:g} to {LARGEST_RMS:g} V rms, got {rms_volts:g}")
        # Without the offset that somebody may have set: the limit is one of the peak.
        return ("SOFF 0", f"SLVL {rms_volts:.9G}")

    def _aux_numbers(self) -> Sequence[int]:
        return range(4)

    def _zero(self) -> Sequence[str]:
        return ("SOFF 0", f"SLVL {SMALLEST_RMS:g}")
