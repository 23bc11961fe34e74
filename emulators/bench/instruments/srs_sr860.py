"""SRS SR860 lock-in: 1 mHz to 500 kHz, sensitivity 1 nV to 1 V, harmonics 1 to 99.

Commands: SR860 manual, chapter 4. Numbers are answered in 7 digits (not confirmed).
"""

from collections.abc import Mapping
from typing import final

import numpy as np

from emulators.bench.instruments.srs_lock_in import UNLOCKED, LockIn
from emulators.bench.protocol.srs import EXECUTION, SrsCommand, SrsError, SrsUnit

SENSITIVITIES = [mantissa * 10.0**power for power in range(0, -10, -1) for mantissa in (1.0, 0.5, 0.2)][:28]
TIME_CONSTANTS = [mantissa * 10.0**power for power in range(-6, 5) for mantissa in (1, 3)]
INPUT_RANGES = (1.0, 0.3, 0.1, 0.03, 0.01)
"""Volts at the peak."""

CURRENT_FULL_SCALE = 1.0e-6
VALUES = [
    "X", "Y", "R", "THeta", "IN1", "IN2", "IN3", "IN4", "XNOise", "YNOise", "OUT1", "OUT2", "PHAse", "SAMp", "LEVel",
    "FInt", "FExt",
]  # fmt: skip
"""Parameters of SNAP, with their short forms in capitals."""


@final
class Sr860(LockIn):
    """The instrument."""

    highest_hz = 500.0e3
    volts_per_root_hz = 2.5e-9

    @property
    def identity(self) -> str:
        """Of an SR860."""
        return "Stanford_Research_Systems,SR860,003001,V1.51"

    def commands(self) -> Mapping[str, SrsCommand]:
        """Of the manual's chapter 4."""
        number, picked = self.setting, self.picked
        on_off = ["OFF", "ON"]
        frequency = self._limited(number("frequency", 1e5, 1e-3, 5e5, form="{:.7g}", changed=self.refresh))
        table = {
            "FREQ": frequency,
            "FREQINT": frequency,
            "FREQEXT": SrsCommand(query=lambda _: f"{self._external_hz():.7g}"),
            "FREQDET": SrsCommand(query=lambda _: f"{self.detected_hz():.7g}"),
            "HARM": self._limited(number("harmonic", 1, 1, 99, integer=True)),
            "HARMDUAL": number("harmonic_dual", 1, 1, 99, integer=True),
            "PHAS": SrsCommand(self._set_phase, number("phase", 0.0, -3.6e5, 3.6e5, form="{:.7g}").query),
            "APHS": SrsCommand(lambda _: self.auto_phase(), most=0),
            "SLVL": number("sine_volts", 0.0, 1e-9, 2.0, form="{:.9e}", changed=self.refresh),
            "SOFF": number("sine_offset", 0.0, -5.0, 5.0, form="{:.3e}", changed=self.refresh),
            "REFM": picked("sine_mode", 0, ["COMmon", "DIFference"]),
            "RSRC": picked("reference", 0, ["INT", "EXT", "DUAL", "CHOP"]),
            "RTRG": picked("trigger", 0, ["SIN", "POSTTL", "NEGTTL"]),
            "REFZ": picked("reference_ohms", 1, ["50OHMS", "1MEG"]),
            "TBMODE": picked("timebase", 0, ["AUTO", "INternal"]),
            "TBSTAT": SrsCommand(query=lambda _: "1"),
            "IVMD": picked("mode", 0, ["VOLTage", "CURRent"], changed=self.refresh),
            "ISRC": picked("input", 0, ["A", "A-B"]),
            "ICPL": picked("coupling", 0, ["AC", "DC"]),
            "IGND": picked("grounded", 0, ["FLOat", "GROund"]),
            "IRNG": picked("range", 0, ["1VOLT", "300MVOLT", "100MVOLT", "30MVOLT", "10MVOLT"]),
            "ICUR": picked("current_gain", 0, ["1MEG", "100MEG"]),
            "ILVL": SrsCommand(query=lambda _: str(self._level())),
            "SCAL": number("sensitivity", 0, 0, 27, integer=True),
            "OFLT": number("time_constant", 10, 0, 21, integer=True),
            "OFSL": picked("slope", 1, ["6", "12", "18", "24"]),
            "SYNC": picked("synchronous", 0, on_off),
            "ADVFILT": picked("advanced", 1, on_off),
            "ENBW": SrsCommand(query=lambda _: f"{self.noise_bandwidth_hz():.7g}"),
            "PSTF": number("preset_hz", 1000.0, 1e-3, 5e5, form="{:.7g}", first=0, count=4),
            "PSTA": number("preset_volts", 0.0, 0.0, 2.0, form="{:.7g}", first=0, count=4),
            "PSTL": number("preset_level", 0.0, -5.0, 5.0, form="{:.7g}", first=0, count=4),
            "AUXV": number("aux_out", 0.0, -10.5, 10.5, form="{:.7g}", changed=self.refresh, first=0, count=4),
            "OAUX": SrsCommand(query=lambda unit: f"{self.aux_in(unit.integer(0, 0, 3) + 1):.7g}", most_asked=1),
            "OUTP": SrsCommand(query=lambda unit: self._snapped([unit.pick(0, VALUES)]), most_asked=1),
            "SNAP": SrsCommand(query=self._snap, most_asked=3),
            "SNAPD": SrsCommand(query=lambda _: self._snapped([round(self.value("shown", one)) for one in range(4)])),
            "CDSP": number("shown", 0, 0, 16, integer=True, first=0, count=4),
            "CGRF": number("graph", 1, 0, 1, integer=True, first=0, count=4),
            "DBLK": picked("blank", 1, on_off),
            "DLAY": number("layout", 0, 0, 5, integer=True),
            "GSPD": number("time_division", 0, 0, 16, integer=True),
            "COUT": number("output", 0, 0, 1, integer=True, first=0, count=2),
            "CEXP": number("expand", 0, 0, 2, integer=True, first=0, count=3),
            "COFA": number("offset_on", 0, 0, 1, integer=True, first=0, count=3),
            "COFP": number("offset", 0.0, -999.99, 999.99, form="{:.7g}", first=0, count=3),
            "CRAT": number("ratio", 0, 0, 1, integer=True, first=0, count=3),
            "CUROVLDSTAT": SrsCommand(query=lambda _: self._overloads()),
            "LIAS": SrsCommand(query=lambda _: self._take_status(), most_asked=1),
            "ERRS": SrsCommand(query=lambda _: "0", most_asked=1),
            "ASCL": SrsCommand(lambda _: self._auto_scale(), most=0),
        }  # fmt: skip
        self.put_default("shown", [0.0, 1.0, 2.0, 3.0])
        return table

    # Physics.

    def sensitivity_volts(self) -> float:
        """Full scale; amperes with the current input."""
        scale = CURRENT_FULL_SCALE if self.current_input() else 1.0
        return SENSITIVITIES[round(self.value("sensitivity"))] * scale

    def time_constant_seconds(self) -> float:
        """Of the setting."""
        return TIME_CONSTANTS[round(self.value("time_constant"))]

    def current_input(self) -> bool:
        """IVMD 1."""
        return bool(self.value("mode"))

    def external_reference(self) -> bool:
        """RSRC 1; the dual and chopped modes use the internal one."""
        return self.value("reference") == 1

    def input_limit_volts(self) -> float:
        """Of the input range."""
        return INPUT_RANGES[round(self.value("range"))]

    def storing_hz(self) -> float:
        """Capture is not offered."""
        return 0.0

    # Commands.

    def _limited(self, command: SrsCommand) -> SrsCommand:
        """Refuse what would put the harmonic above 500 kHz."""

        def write(unit: SrsUnit) -> None:
            key = "harmonic" if unit.word == "HARM" else "frequency"
            before = self.value(key)
            assert command.write is not None
            command.write(unit)
            if self.value("frequency") * self.value("harmonic") > self.highest_hz:
                self.put(key, before)
                self.refresh()
                raise SrsError(EXECUTION, "harmonic above 500 kHz")

        return SrsCommand(write, command.query)

    def _set_phase(self, unit: SrsUnit) -> None:
        self.put("phase", (unit.number(0, -3.6e5, 3.6e5) + 180.0) % 360.0 - 180.0)

    def _external_hz(self) -> float:
        return self.detected_hz() if self.external_reference() else 0.0

    def _level(self) -> int:
        """Signal strength, 0 to 4, of the input range."""
        peak = abs(self.fixture.now(self.node("a"))) / self.input_limit_volts()
        return int(np.clip(round(4.0 * peak), 0, 4))

    def _overloads(self) -> str:
        found, self.lock_in_status = self.lock_in_status & ~UNLOCKED, self.lock_in_status & UNLOCKED
        return str(found)

    def _take_status(self) -> str:
        found, self.lock_in_status = self.lock_in_status, 0
        return str(found)

    def _auto_scale(self) -> None:
        self.put("sensitivity", 0)
        scale = CURRENT_FULL_SCALE if self.current_input() else 1.0
        size = abs(self.read()) / scale
        self.put("sensitivity", max(place for place, one in enumerate(SENSITIVITIES) if size <= one or place == 0))

    def _snap(self, unit: SrsUnit) -> str:
        if not 2 <= len(unit.arguments) <= 3:
            raise SrsError(EXECUTION, "SNAP: 2 or 3 values")
        return self._snapped([unit.pick(index, VALUES) for index in range(len(unit.arguments))])

    def _snapped(self, wanted: list[int]) -> str:
        """Values of one instant."""
        found = self.read()
        values = {0: found.real, 1: found.imag, 2: abs(found), 3: float(np.rad2deg(np.angle(found)))}
        for place in range(3):
            # Expansions are of the outputs alone.
            if self.value("offset_on", place):
                values[place] -= self.value("offset", place) / 100.0 * self.sensitivity_volts()
            if self.value("ratio", place):
                # By the volts of the third auxiliary input for X, of the fourth for Y (not confirmed), 10 mV at least.
                values[place] /= max(abs(self.aux_in(4 if place == 1 else 3)), 0.01)
        values |= {4 + number: self.aux_in(number + 1) for number in range(4)}
        spread = self.volts_per_root_hz
        values |= {8: spread, 9: spread, 10: self.value("aux_out", 0), 11: self.value("aux_out", 1)}
        values |= {12: self.value("phase"), 13: self.value("sine_volts"), 14: self.value("sine_offset")}
        if 15 in wanted:
            values[15] = self.value("frequency")
        if 16 in wanted:
            values[16] = self._external_hz()
        return ",".join(f"{values[one]:.7g}" for one in wanted)


MODELS = {"srs-sr860": Sr860}
