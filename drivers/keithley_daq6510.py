"""Keithley DAQ6510 data acquisition and multimeter system, with its SCPI command set.

Commands: DAQ6510 Reference Manual (DAQ6510-901-01), section 12.
"""

from collections.abc import Sequence
from typing import final

from drivers.data_logger import DataLogger, listed
from drivers.setting import Text, number
from substrate.arrays import FloatArray


@final
class KeithleyDaq6510(DataLogger):
    """A data logger; see ``DataLogger``."""

    model_pattern = r"\bMODEL DAQ6510\b"
    language = Text("*LANG", read_only=True)
    closed_channels = Text("ROUT:CLOS", read_only=True)

    def _set_up(self, channels: Sequence[int], nplc: float) -> Sequence[str]:
        scanned = listed(channels)
        return (
            f'SENS:FUNC "VOLT", {scanned}',
            f"SENS:VOLT:RANG:AUTO 1, {scanned}",
            f"SENS:VOLT:NPLC {nplc:.9G}, {scanned}",
            f"ROUT:SCAN:CRE {scanned}",
            "ROUT:SCAN:COUN:SCAN 1",
        )

    def _take(self, count: int, seconds: float) -> FloatArray:
        self.configure('TRAC:CLE "defbuffer1"', "INIT")
        self.session.ask("*OPC?", number, seconds=seconds, once=True)
        return self.session.numbers(f'TRAC:DATA? 1, {count}, "defbuffer1", READ')
