"""Keithley 2400 SourceMeter.

Commands: Series 2400 User's Manual (2400S-900-01), sections 17 and 18. It has GPIB and RS-232 only.
"""

from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np

from drivers.errors import ProtocolError
from drivers.instrument import Part
from drivers.setting import Choice, Number, Switch, number
from drivers.source_meter import SourceMeter, SourceReading
from substrate.errors import InputError

COMPLIANCE_BIT: Final = 1 << 3
"""Of the status element of a reading."""

SHORTEST_PULSE_SECONDS = 10.0e-3
"""What comes out as a shorter one is anything but square."""

MOST_LIST, MOST_POINTS = 100, 2500
FASTEST_NPLC = 0.01
OVERHEAD_SECONDS = 0.05
ORDER: Final = {"volts": ("VOLT", "CURR"), "amperes": ("CURR", "VOLT")}


@final
class Keithley2400(SourceMeter):
    """A source meter; see ``SourceMeter``."""

    model_pattern = r"\bMODEL 24[0-3]0"
    abort = ":ABOR"
    source = Choice("SOUR:FUNC", {"volts": "VOLT", "amperes": "CURR"}, read_only=True)
    level_volts = Number("SOUR:VOLT", unit="V", read_only=True)
    level_amperes = Number("SOUR:CURR", unit="A", read_only=True)
    limit_volts = Number("SENS:VOLT:PROT", unit="V", read_only=True)
    limit_amperes = Number("SENS:CURR:PROT", unit="A", read_only=True)
    is_on = Switch("OUTP", read_only=True)
    nplc = Number("SENS:CURR:NPLC", low=0.01, high=10.0, doc="power-line cycles of a reading, of all functions")
    source_delay_seconds = Number("SOUR:DEL", unit="s", low=0.0, high=999.9999)
    automatic_delay = Switch("SOUR:DEL:AUTO")
    four_wires = Switch("SYST:RSEN")
    line_hz = Number("SYST:LFR", unit="Hz", read_only=True)
    off_state = Choice("OUTP:SMOD", {"high_impedance": "HIMP", "normal": "NORM", "zero": "ZERO", "guard": "GUAR"})

    def tripped(self) -> bool:
        """Whether the source is at its compliance now.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        sensed = "CURR" if self.source == "volts" else "VOLT"
        return self.session.ask(f"SENS:{sensed}:PROT:TRIP?", number) != 0.0

    def _next_error(self) -> tuple[int, str] | None:
        return self.session.ask("SYST:ERR?", self._scpi_error, once=True)

    def _source(self, quantity: str) -> Sequence[str]:
        sourced, sensed = ORDER[quantity]
        return (
            f"SOUR:FUNC {sourced}",
            f"SOUR:{sourced}:MODE FIX",
            f"SOUR:{sourced}:RANG:AUTO 1",
            "SENS:FUNC:CONC 1",
            "SENS:FUNC 'VOLT','CURR'",
            f"SENS:{sensed}:RANG:AUTO 1",
            "FORM:ELEM VOLT,CURR,STAT",
            "TRIG:COUN 1",
        )

    def _limit(self, quantity: str, limit: float) -> str:
        return f"SENS:{ORDER[quantity][1]}:PROT {limit:.9G}"

    def _level(self, quantity: str, level: float) -> str:
        return f"SOUR:{ORDER[quantity][0]} {level:.9G}"

    def _output(self, on: bool) -> str:
        return f"OUTP {int(on)}"

    def _quiet(self) -> Sequence[str]:
        return ("SOUR:VOLT 0", "SOUR:CURR 0")

    def _measure(self) -> SourceReading:
        (reading,) = self._readings("READ?", 1)
        return reading

    def _readings(self, question: str, count: int, seconds: float | None = None) -> list[SourceReading]:
        fields = self.session.numbers(question, seconds=seconds, once=True)
        if len(fields) != 3 * count:
            # An answer to something else: what is on its way is unknown.
            self.check_errors(question)
            raise ProtocolError(f"{self.link.address}: {question}: expected {3 * count} numbers, got {len(fields)}")
        rows = np.where(np.abs(fields) >= 9.9e37, np.nan, fields).reshape(count, 3)
        return [SourceReading(float(v), float(i), bool(int(s) & COMPLIANCE_BIT)) for v, i, s in rows]

    def _check_pulses(self, count: int, width_seconds: float) -> None:
        if width_seconds < SHORTEST_PULSE_SECONDS:
            raise InputError(
                f"width_seconds: expected {SHORTEST_PULSE_SECONDS:g} or more, got {width_seconds:g}: shorter pulses "
                "are not real on this instrument"
            )
        if 2 * count > MOST_POINTS:
            raise InputError(f"count: expected {MOST_POINTS // 2} pulses at most, got {count}")

    def _as_before(self) -> Sequence[str]:
        return (
            "SOUR:VOLT:MODE FIX",
            "TRIG:COUN 1",
            f"SENS:CURR:NPLC {self.nplc:.9G}",
            # A delay that is set switches the automatic one off.
            f"SOUR:DEL {self.source_delay_seconds:.9G}",
            f"SOUR:DEL:AUTO {int(self.automatic_delay)}",
            "SOUR:VOLT 0",
        )

    def _pulse(self, volts: float, count: int, width_seconds: float, limit_amperes: float) -> list[SourceReading]:
        levels = [volts, 0.0] * count
        lists = [levels[at : at + MOST_LIST] for at in range(0, len(levels), MOST_LIST)]
        # A point lasts for the delay and the integration of both functions, with two zero readings.
        delay = max(0.0, width_seconds - 4.0 * FASTEST_NPLC / self.line_hz)
        self.configure(
            f"SENS:CURR:NPLC {FASTEST_NPLC:g}",
            f"SOUR:DEL {delay:.9G}",
            *(f"SOUR:LIST:VOLT{':APP' if part else ''} {_listed(each)}" for part, each in enumerate(lists)),
            "SOUR:VOLT:MODE LIST",
            f"TRIG:COUN {len(levels)}",
            self._output(True),
        )
        seconds = 2.0 * self.session.seconds + len(levels) * (width_seconds + OVERHEAD_SECONDS)
        with self.session.unbroken("INIT") as check:
            # Until it is idle again this instrument hears nothing but what breaks it off.
            self.session.write("INIT")
            check()
            self.session.ask("*OPC?", number, seconds=seconds, once=True)
            check()
            readings = self._readings("FETC?", len(levels), seconds)
        self.check_errors("INIT")
        return readings[::2]

    def _parts(self) -> Mapping[str, Part]:
        return {}


def _listed(levels: Sequence[float]) -> str:
    return ",".join(f"{level:.9G}" for level in levels)
