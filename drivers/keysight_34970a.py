"""Keysight 34970A, 34972A, DAQ970A and DAQ973A data acquisition units.

Commands: 34970A/34972A Command Reference (34972-90050); DAQ970A Programming Guide (DAQ97-90006).
"""

from collections.abc import Sequence
from typing import final

from drivers.data_logger import DataLogger, listed
from drivers.setting import Choice, Integer
from substrate.arrays import FloatArray


@final
class Keysight34970A(DataLogger):
    """A data logger; see ``DataLogger``."""

    model_pattern = r"\b(3497[02]A|DAQ97[03]A)\b"
    trigger_source = Choice("TRIG:SOUR", {"immediate": "IMM", "bus": "BUS", "timer": "TIM", "external": "EXT"})
    trigger_count = Integer("TRIG:COUN", low=1, high=50_000)

    def _set_up(self, channels: Sequence[int], nplc: float) -> Sequence[str]:
        scanned = listed(channels)
        return (
            f"CONF:VOLT:DC AUTO,{scanned}",
            f"SENS:VOLT:DC:NPLC {nplc:.9G},{scanned}",
            "FORM:READ:CHAN 0",
            "FORM:READ:TIME 0",
            "FORM:READ:UNIT 0",
            "FORM:READ:ALAR 0",
            f"ROUT:SCAN {scanned}",
            "TRIG:SOUR IMM",
            "TRIG:COUN 1",
        )

    def _take(self, count: int, seconds: float) -> FloatArray:
        return self.session.numbers("READ?", seconds=seconds, once=True)
