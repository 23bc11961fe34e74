"""Keithley 2450 SourceMeter, with its SCPI command set (``*LANG SCPI``).

Commands: Model 2450 Reference Manual (2450-901-01), section 6.
"""

from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np

from drivers.errors import ProtocolError
from drivers.instrument import Part
from drivers.setting import Choice, Number, Switch, Text, number
from drivers.source_meter import SourceMeter, SourceReading
from substrate.errors import InputError

SHORTEST_PULSE_SECONDS = 1.0e-3
FASTEST_NPLC = 0.01
MOST_LIST, MOST_POINTS = 100, 2500
OVERHEAD_SECONDS = 0.05
ORDER: Final = {"volts": ("VOLT", "ILIM", "CURR"), "amperes": ("CURR", "VLIM", "VOLT")}
NAMES: Final = {"volts": "VOLT", "amperes": "CURR"}


@final
class Keithley2450(SourceMeter):
    """A source meter; see ``SourceMeter``."""

    model_pattern = r"\bMODEL 24[56][01]"
    abort = ":ABOR"
    language = Text("*LANG", read_only=True)
    source = Choice("SOUR:FUNC", NAMES, read_only=True)
    level_volts = Number("SOUR:VOLT", unit="V", read_only=True)
    level_amperes = Number("SOUR:CURR", unit="A", read_only=True)
    limit_amperes = Number("SOUR:VOLT:ILIM", unit="A", read_only=True)
    limit_volts = Number("SOUR:CURR:VLIM", unit="V", read_only=True)
    is_on = Switch("OUTP", read_only=True)
    nplc_amperes = Number("SENS:CURR:NPLC", low=0.01, high=10.0)
    nplc_volts = Number("SENS:VOLT:NPLC", low=0.01, high=10.0)
    delay_seconds = Number("SOUR:VOLT:DEL", unit="s", low=0.0, high=1e4)
    automatic_delay = Switch("SOUR:VOLT:DEL:AUTO")

    def _next_error(self) -> tuple[int, str] | None:
        return self.session.ask("SYST:ERR?", self._scpi_error, once=True)

    def _source(self, quantity: str) -> Sequence[str]:
        sourced, _, sensed = ORDER[quantity]
        return (
            f"SOUR:FUNC {sourced}",
            f"SOUR:{sourced}:RANG:AUTO 1",
            f"SOUR:{sourced}:READ:BACK 1",
            f'SENS:FUNC "{sensed}"',
            f"SENS:{sensed}:RANG:AUTO 1",
        )

    def _limit(self, quantity: str, limit: float) -> str:
        sourced, limiting, _ = ORDER[quantity]
        return f"SOUR:{sourced}:{limiting} {limit:.9G}"

    def _level(self, quantity: str, level: float) -> str:
        return f"SOUR:{ORDER[quantity][0]} {level:.9G}"

    def _output(self, on: bool) -> str:
        return f"OUTP {int(on)}"

    def _quiet(self) -> Sequence[str]:
        return ("SOUR:VOLT 0", "SOUR:CURR 0")

    def _measure(self) -> SourceReading:
        fields = self.session.numbers('READ? "defbuffer1", SOUR, READ', once=True)
        if len(fields) != 2:
            raise ProtocolError(f"{self.link.address}: READ?: expected 2 numbers, got {len(fields)}")
        first, second = (float(one) if abs(one) < 9.9e37 else np.nan for one in fields)
        sourced, limiting, _ = ORDER[self.source]
        limited = self.session.ask(f"SOUR:{sourced}:{limiting}:TRIP?", number) != 0.0
        return SourceReading(first, second, limited) if sourced == "VOLT" else SourceReading(second, first, limited)

    def _check_pulses(self, count: int, width_seconds: float) -> None:
        if width_seconds < SHORTEST_PULSE_SECONDS:
            raise InputError(f"width_seconds: expected {SHORTEST_PULSE_SECONDS:g} or more, got {width_seconds:g}")
        if 2 * count > MOST_POINTS:
            raise InputError(f"count: expected {MOST_POINTS // 2} pulses at most, got {count}")

    def _as_before(self) -> Sequence[str]:
        return (
            f"SENS:CURR:NPLC {self.nplc_amperes:.9G}",
            # A delay that is set switches the automatic one off.
            f"SOUR:VOLT:DEL {self.delay_seconds:.9G}",
            f"SOUR:VOLT:DEL:AUTO {int(self.automatic_delay)}",
            "SOUR:VOLT 0",
        )

    def _pulse(self, volts: float, count: int, width_seconds: float, limit_amperes: float) -> list[SourceReading]:
        levels = [volts, 0.0] * count
        lists = [levels[at : at + MOST_LIST] for at in range(0, len(levels), MOST_LIST)]
        self.configure(
            f"SENS:CURR:NPLC {FASTEST_NPLC:g}",
            *(f"SOUR:LIST:VOLT{':APP' if part else ''} {_listed(each)}" for part, each in enumerate(lists)),
            'TRAC:CLE "defbuffer1"',
            f"SOUR:SWE:VOLT:LIST 1, {width_seconds:.9G}",
            self._output(True),
        )
        seconds = 2.0 * self.session.seconds + len(levels) * (width_seconds + OVERHEAD_SECONDS)
        with self.session.unbroken("INIT") as check:
            # Begun once: where the answer stays out, nobody knows how far it came.
            self.configure("INIT")
            self.session.ask("*OPC?", number, seconds=seconds, once=True)
            check()
            fields = self.session.numbers(f'TRAC:DATA? 1, {len(levels)}, "defbuffer1", SOUR, READ')
        if len(fields) != 2 * len(levels):
            raise ProtocolError(f"{self.link.address}: TRAC:DATA?: expected {2 * len(levels)}, got {len(fields)}")
        rows = np.where(np.abs(fields) >= 9.9e37, np.nan, fields).reshape(-1, 2)[::2]
        # The buffer does not say whether a point was at its limit; a current there is one.
        return [SourceReading(float(v), float(i), not abs(i) < 0.999 * limit_amperes) for v, i in rows]

    def _parts(self) -> Mapping[str, Part]:
        return {}


def _listed(levels: Sequence[float]) -> str:
    return ",".join(f"{level:.9G}" for level in levels)
