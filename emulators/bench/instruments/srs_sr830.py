"""SRS SR830 lock-in: 1 mHz to 102 kHz, sensitivity 2 nV to 1 V, harmonics to 19 999.

Commands: SR830 manual, chapter 5. Answers of numbers carry 6 digits (not confirmed). It has GPIB and RS-232 only; on
the bench it may also be reached directly.
"""

from collections.abc import Mapping
from typing import final

import numpy as np

from emulators.bench.instruments.srs_lock_in import LockIn
from emulators.bench.protocol.srs import EXECUTION, SrsCommand, SrsError, SrsUnit

SENSITIVITIES = [mantissa * 10.0**power for power in range(-9, 1) for mantissa in (1, 2, 5)][1:28]
TIME_CONSTANTS = [mantissa * 10.0**power for power in range(-5, 5) for mantissa in (1, 3)]
STORING_HZ = [2.0**power for power in range(-4, 10)]
CURRENT_SCALE = 1.0e-6
"""Amperes of a sensitivity of 1 V."""

CURRENT_INPUT = 2
BY_TRIGGER = 14
OVERLOAD_PEAK_VOLTS = 1.4


@final
class Sr830(LockIn):
    """The instrument."""

    highest_hz = 102.0e3
    volts_per_root_hz = 6.0e-9

    @property
    def identity(self) -> str:
        """Of an SR830."""
        return "Stanford_Research_Systems,SR830,s/n48001,ver1.07"

    def commands(self) -> Mapping[str, SrsCommand]:
        """Of the manual's chapter 5."""
        number, picked = self.setting, self.picked
        for key in ("display", "ratio", "offset", "expand"):
            self.put_default(key, [0.0, 0.0, 0.0])
        return {
            "FREQ": self._limited(number("frequency", 1000.0, 1e-3, 102e3, form="{:.6g}", changed=self.refresh)),
            "HARM": self._limited(number("harmonic", 1, 1, 19_999, integer=True)),
            "PHAS": SrsCommand(self._set_phase, number("phase", 0.0, -360.0, 729.99, form="{:.2f}").query),
            "SLVL": number("sine_volts", 1.0, 0.004, 5.0, form="{:.3f}", changed=self.refresh),
            "FMOD": picked("internal", 1, ["EXT", "INT"]),
            "RSLP": picked("slope_of_reference", 0, ["SIN", "POS", "NEG"]),
            "ISRC": picked("input", 0, ["A", "A-B", "I1M", "I100M"], changed=self.refresh),
            "IGND": picked("grounded", 0, ["FLOAT", "GROUND"]),
            "ICPL": picked("coupling", 0, ["AC", "DC"]),
            "ILIN": picked("notches", 0, ["NONE", "LINE", "2LINE", "BOTH"]),
            "SENS": number("sensitivity", 26, 0, 26, integer=True),
            "RMOD": picked("reserve", 1, ["HIGH", "NORMAL", "LOW"]),
            "OFLT": number("time_constant", 8, 0, 19, integer=True),
            "OFSL": number("slope", 1, 0, 3, integer=True),
            "SYNC": picked("synchronous", 0, ["OFF", "ON"]),
            "DDEF": SrsCommand(self._set_display, self._display, 3, 1),
            "FPOP": SrsCommand(lambda _: None, lambda _: "0", 2, 1),
            "OEXP": SrsCommand(self._set_expansion, self._expansion, 3, 1),
            "AOFF": SrsCommand(self._auto_offset),
            "AUXV": number("aux_out", 0.0, -10.5, 10.5, form="{:.3f}", changed=self.refresh, first=1, count=4),
            "OAUX": SrsCommand(query=lambda unit: f"{self.aux_in(unit.integer(0, 1, 4)):.6g}", most_asked=1),
            "OUTP": SrsCommand(query=lambda unit: self._snapped([unit.integer(0, 1, 4)]), most_asked=1),
            "OUTR": SrsCommand(query=lambda unit: self._snapped([unit.integer(0, 1, 2) + 9]), most_asked=1),
            "SNAP": SrsCommand(query=self._snap, most_asked=6),
            "SRAT": number("storing", 4, 0, BY_TRIGGER, integer=True),
            "SEND": picked("loops", 1, ["SHOT", "LOOP"]),
            "TSTR": picked("trigger_starts", 0, ["OFF", "ON"]),
            "FAST": number("fast", 0, 0, 2, integer=True),
            "STRT": SrsCommand(lambda _: self.start_storing(), most=0),
            "STRD": SrsCommand(lambda _: self.start_storing(), most=0),
            "PAUS": SrsCommand(lambda _: self.stop_storing(), most=0),
            "REST": SrsCommand(lambda _: self.stop_storing(forget=True), most=0),
            "TRIG": SrsCommand(lambda _: self.store_now(np.array([self.clock.seconds])), most=0),
            "SPTS": SrsCommand(query=lambda _: self.stored_count()),
            "TRCA": SrsCommand(query=self._stored_text, most_asked=3),
            "TRCB": SrsCommand(query=self._stored_floats, most_asked=3),
            "TRCL": SrsCommand(query=self._stored_pairs, most_asked=3),
            "LIAS": SrsCommand(query=self._lock_in_status, most_asked=1),
            "LIAE": number("lock_in_enable", 0, 0, 255, integer=True),
            "ERRS": SrsCommand(query=lambda _: "0", most_asked=1),
            "APHS": SrsCommand(lambda _: self.auto_phase(), most=0),
            "AGAN": SrsCommand(lambda _: self._auto_gain(), most=0),
            "ARSV": SrsCommand(lambda _: self.put("reserve", 1), most=0),
            "OUTX": picked("interface", 1, ["RS232", "GPIB"]),
            "OVRM": picked("override", 1, ["OFF", "ON"]),
            "LOCL": picked("local", 0, ["LOCAL", "REMOTE", "LOCKOUT"]),
            "KCLK": picked("clicks", 1, ["OFF", "ON"]),
            "ALRM": picked("alarms", 1, ["OFF", "ON"]),
        }  # fmt: skip

    # Physics.

    def sensitivity_volts(self) -> float:
        """Full scale; amperes with the current input."""
        return SENSITIVITIES[round(self.value("sensitivity"))] * (CURRENT_SCALE if self.current_input() else 1.0)

    def time_constant_seconds(self) -> float:
        """Of the setting."""
        return TIME_CONSTANTS[round(self.value("time_constant"))]

    def current_input(self) -> bool:
        """ISRC 2 or 3."""
        return self.value("input") >= CURRENT_INPUT

    def external_reference(self) -> bool:
        """FMOD 0."""
        return not self.value("internal")

    def input_limit_volts(self) -> float:
        """1.4 V at the peak; the dynamic reserve is not modelled."""
        return OVERLOAD_PEAK_VOLTS

    def storing_hz(self) -> float:
        """Of SRAT."""
        place = round(self.value("storing"))
        return 0.0 if place == BY_TRIGGER else STORING_HZ[place]

    # Commands.

    def _limited(self, command: SrsCommand) -> SrsCommand:
        """Refuse what would put the harmonic above 102 kHz (manual, 5-4)."""

        def write(unit: SrsUnit) -> None:
            key = "frequency" if unit.word == "FREQ" else "harmonic"
            before = self.value(key)
            assert command.write is not None
            command.write(unit)
            if self.value("frequency") * self.value("harmonic") > self.highest_hz:
                self.put(key, before)
                self.refresh()
                raise SrsError(EXECUTION, "harmonic above 102 kHz")

        return SrsCommand(write, command.query)

    def _set_phase(self, unit: SrsUnit) -> None:
        self.put("phase", (unit.number(0, -360.0, 729.99) + 180.0) % 360.0 - 180.0)

    def _set_display(self, unit: SrsUnit) -> None:
        channel = unit.integer(0, 1, 2)
        shown, ratio = unit.integer(1, 0, 4), unit.integer(2, 0, 2) if len(unit.arguments) > 2 else 0
        self.put("display", shown, channel - 1)
        self.put("ratio", ratio, channel - 1)

    def _display(self, unit: SrsUnit) -> str:
        place = unit.integer(0, 1, 2) - 1
        # Answers hold both numbers; clients that asked for one read the first.
        return f"{round(self.value('display', place))},{round(self.value('ratio', place))}"

    def _set_expansion(self, unit: SrsUnit) -> None:
        place = unit.integer(0, 1, 3) - 1
        percent, expand = unit.number(1, -105.0, 105.0), unit.integer(2, 0, 2)
        self.put("offset", percent, place)
        self.put("expand", expand, place)

    def _expansion(self, unit: SrsUnit) -> str:
        place = unit.integer(0, 1, 3) - 1
        return f"{self.value('offset', place):g},{round(self.value('expand', place))}"

    def _auto_offset(self, unit: SrsUnit) -> None:
        place = unit.integer(0, 1, 3) - 1
        found = self.read()
        now = (found.real, found.imag, abs(found))[place]
        self.put("offset", float(np.clip(100.0 * now / self.sensitivity_volts(), -105.0, 105.0)), place)

    def _auto_gain(self) -> None:
        """The most sensitive range that holds the magnitude."""
        self.put("sensitivity", len(SENSITIVITIES) - 1)
        size = abs(self.read()) / (CURRENT_SCALE if self.current_input() else 1.0)
        self.put("sensitivity", next((i for i, one in enumerate(SENSITIVITIES) if size <= one), 26))

    def _snap(self, unit: SrsUnit) -> str:
        if not 2 <= len(unit.arguments) <= 6:
            raise SrsError(EXECUTION, "SNAP: 2 to 6 values")
        return self._snapped([unit.integer(index, 1, 11) for index in range(len(unit.arguments))])

    def _snapped(self, wanted: list[int]) -> str:
        """Values of one instant: 1 X, 2 Y, 3 R, 4 theta, 5-8 auxiliary inputs, 9 frequency, 10 and 11 displays."""
        found = self.read()
        # An offset is taken from what is read, too; an expansion is of the outputs alone (manual, 3-21 and 5-8).
        away = [self.value("offset", place) / 100.0 * self.sensitivity_volts() for place in range(3)]
        values = {1: found.real - away[0], 2: found.imag - away[1], 3: abs(found) - away[2]}
        values[4] = float(np.rad2deg(np.angle(found)))
        for number in (1, 2):
            chosen = round(self.value("display", number - 1))
            values[9 + number] = values[(number, 2 + number)[min(chosen, 1)]] if chosen < 3 else 0.0
        out = []
        for index in wanted:
            if 5 <= index <= 8:
                out.append(f"{self.aux_in(index - 4):.6g}")
            elif index == 9:
                out.append(f"{self.detected_hz():.6g}")
            else:
                out.append(f"{values[index]:.6g}")
        return ",".join(out)

    def _lock_in_status(self, unit: SrsUnit) -> str:
        bits = self.lock_in_status
        if unit.arguments:
            bit = 1 << unit.integer(0, 0, 7)
            self.lock_in_status &= ~bit
            return str(int(bool(bits & bit)))
        self.lock_in_status = 0
        return str(bits)

    # Stored readings.

    def _channel(self, unit: SrsUnit) -> int:
        return unit.integer(0, 1, 2)

    def _stored_text(self, unit: SrsUnit) -> str:
        return "".join(f"{value:.6e}," for value in self.stored(self._channel(unit), unit))

    def _stored_floats(self, unit: SrsUnit) -> bytes:
        return self.stored(self._channel(unit), unit).astype("<f4").tobytes()

    def _stored_pairs(self, unit: SrsUnit) -> bytes:
        """value = m 2^(exp - 124), m and exp 16 bits each, lower byte first (manual, 5-18)."""
        values = self.stored(self._channel(unit), unit)
        fraction, power = np.frexp(values)
        mantissa = np.round(fraction * 32767.0)
        exponent = np.where(values == 0.0, 0, power + 124 - 15)
        return np.column_stack([mantissa.astype("<i2").view("<u2"), exponent.astype("<u2")]).astype("<u2").tobytes()


MODELS = {"srs-sr830": Sr830}
