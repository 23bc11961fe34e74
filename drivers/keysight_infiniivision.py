"""Keysight InfiniiVision oscilloscopes of the 2000, 3000 and 4000 X series.

Commands: InfiniiVision 3000T X-Series Programmer's Guide. volts = (code - yreference) yincrement + yorigin; time =
(i - xreference) xincrement + xorigin; the code 0 marks a place without a sample.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Unpack, final

import numpy as np

from drivers.errors import BenchError, ProtocolError
from drivers.instrument import Channel, Options, Part, ScpiInstrument
from drivers.setting import Choice, Integer, Number, Switch, number
from drivers.transport import Link
from drivers.waveforms import Waveforms, stacked
from substrate.arrays import FloatArray
from substrate.errors import InputError
from substrate.interrupts import interrupts_held_back

FIELDS = 10
"""Of a preamble."""


@final
class ScopeChannel(Channel):
    """One input."""

    range_volts = Number("CHAN{channel}:RANG", unit="V", low=8e-3, high=40.0, doc="full scale, 8 divisions")
    offset_volts = Number("CHAN{channel}:OFFS", unit="V", low=-400.0, high=400.0)
    coupling = Choice("CHAN{channel}:COUP", {"ac": "AC", "dc": "DC"})
    impedance = Choice("CHAN{channel}:IMP", {"1M": "ONEM", "50": "FIFT"})
    shown = Switch("CHAN{channel}:DISP")
    inverted = Switch("CHAN{channel}:INV")
    bandwidth_limit = Switch("CHAN{channel}:BWL")
    attenuation = Number("CHAN{channel}:PROB", low=0.1, high=10_000.0)
    units = Choice("CHAN{channel}:UNIT", {"volts": "VOLT", "amperes": "AMP"})


@final
class KeysightInfiniiVision(ScpiInstrument):
    """An oscilloscope.

    Args:
        resource: address.
        channel_count: inputs, 2 or 4.
        options: of ``Instrument``.

    Attributes:
        channels: by number, from 1.
    """

    model_pattern = r"\b[DM]SO-?X"
    time_range_seconds = Number("TIM:RANG", unit="s", low=2e-8, high=500.0, doc="of the whole record")
    time_position_seconds = Number("TIM:POS", unit="s", low=-500.0, high=500.0)
    time_reference = Choice("TIM:REF", {"left": "LEFT", "center": "CENT", "right": "RIGH"})
    timebase = Choice("TIM:MODE", {"main": "MAIN", "window": "WIND", "xy": "XY", "roll": "ROLL"})
    trigger_coupling = Choice("TRIG:EDGE:COUP", {"ac": "AC", "dc": "DC", "high_pass": "LFR"})
    trigger_source = Choice("TRIG:EDGE:SOUR", {f"channel{n}": f"CHAN{n}" for n in range(1, 5)})
    trigger_level_volts = Number("TRIG:EDGE:LEV", unit="V", low=-200.0, high=200.0)
    trigger_slope = Choice("TRIG:EDGE:SLOP", {"rising": "POS", "falling": "NEG", "either": "EITH"})
    sweep = Choice("TRIG:SWE", {"auto": "AUTO", "normal": "NORM"})
    acquisition = Choice("ACQ:TYPE", {"normal": "NORM", "average": "AVER", "high_resolution": "HRES", "peak": "PEAK"})
    averages = Integer("ACQ:COUN", low=2, high=65536)
    points = Integer("WAV:POIN", low=100, high=4_000_000)

    def __init__(self, resource: str | Link, channel_count: int = 4, **options: Unpack[Options]) -> None:
        super().__init__(resource, **options)
        if channel_count not in (2, 4):
            raise InputError(f"channel_count: expected 2 or 4, got {channel_count!r}")
        self.channels = {channel: ScopeChannel(self, channel) for channel in range(1, channel_count + 1)}

    def record(self, channels: Sequence[int], seconds: float) -> Waveforms:
        """Take one record at the next trigger, and read it.

        Args:
            channels: to be read.
            seconds: that the trigger and the record may take; the transfer has its own time.

        Raises:
            InputError: a channel that does not exist.
            DeviceTimeout: no trigger came; the acquisition is stopped.
            BenchError: the instrument cannot be reached.
        """
        if not channels or any(channel not in self.channels for channel in channels):
            raise InputError(f"channels: expected some of {', '.join(map(str, self.channels))}, got {list(channels)}")
        # Over a new connection the record before would be read instead.
        with self.session.unbroken("a record"):
            self.session.write("DIG " + ",".join(f"CHAN{channel}" for channel in channels))
            try:
                self.session.ask("*OPC?", number, seconds=seconds, once=True)
            except BaseException:
                # The next record must not find this one still waiting. The scope may not answer as long as it waits,
                # and what went wrong is more than that.
                with interrupts_held_back(), suppress(BenchError):
                    self.session.break_in("STOP")
                raise
            self.check_errors("DIG")
            self.configure("WAV:FORM WORD", "WAV:BYT LSBF", "WAV:UNS 1")
            return self._read(channels)

    def _read(self, channels: Sequence[int]) -> Waveforms:
        volts, clipped = [], []
        for channel in channels:
            self.session.write(f"WAV:SOUR CHAN{channel}")
            fields = self._preamble()
            points, (step, origin, reference) = int(fields[2]), fields[4:7]
            codes = np.frombuffer(self.session.query_block("WAV:DATA?"), dtype="<u2")
            if len(codes) != points:
                raise ProtocolError(f"{self.link.address}: WAV:DATA?: expected {points} samples, got {len(codes)}")
            volts.append(np.where(codes == 0, np.nan, (codes - fields[9]) * fields[7] + fields[8]))
            # The lowest and the highest of 8 bits, which stand for all beyond.
            clipped.append(bool(np.any(((codes > 0) & (codes <= 256)) | (codes >= 255 * 256))))
        times: FloatArray = (np.arange(points) - reference) * step + origin
        return stacked(times, volts, clipped)

    def _preamble(self) -> FloatArray:
        fields = self.session.numbers("WAV:PRE?")
        if len(fields) != FIELDS:
            raise ProtocolError(f"{self.link.address}: WAV:PRE?: expected {FIELDS} fields, got {len(fields)}")
        return fields

    def _safe_steps(self) -> Sequence[Callable[[], None]]:
        """It drives nothing."""
        return ()

    def _parts(self) -> Mapping[str, Part]:
        return {f"channel{number}": channel for number, channel in self.channels.items()}

    def _forget(self) -> None:
        """Nothing is remembered."""
