"""Rigol DS1000Z oscilloscopes (MSO/DS1000Z Programming Guide).

volts = (code - yorigin - yreference) yincrement; time = (i - xreference) xincrement + xorigin. What is read is what the
screen shows, 1200 points, or the memory, in pieces of 250 000 bytes at most. The memory's depth depends on how many
channels are shown, and can only be set while the oscilloscope runs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Unpack, final

import numpy as np

from drivers.errors import DeviceTimeout, ProtocolError
from drivers.instrument import Channel, Options, Part, ScpiInstrument
from drivers.setting import Choice, Number, Switch, integer, number, one_of
from drivers.transport import Link
from drivers.waveforms import Waveforms, stacked
from substrate.arrays import FloatArray
from substrate.errors import InputError

FIELDS = 10
MOST_BYTES = 250_000
SCREEN_POINTS = 1200
DIVISIONS_ACROSS, DIVISIONS_HIGH = 12, 8
LEAST_DEPTHS: Final = {1: 12_000, 2: 6_000, 3: 3_000, 4: 3_000}
"""Points of the smallest memory, by the number of channels that are shown."""

TRIGGER_STATE = one_of("TD", "WAIT", "RUN", "AUTO", "STOP")
POLL_SECONDS = 0.01


@final
class ScopeChannel(Channel):
    """One input."""

    scale_volts = Number("CHAN{channel}:SCAL", unit="V", low=1e-3, high=100.0, doc="of a division, of 8")
    offset_volts = Number("CHAN{channel}:OFFS", unit="V", low=-1000.0, high=1000.0, doc="added to what is shown")
    coupling = Choice("CHAN{channel}:COUP", {"ac": "AC", "dc": "DC", "ground": "GND"})
    shown = Switch("CHAN{channel}:DISP")
    inverted = Switch("CHAN{channel}:INV")
    attenuation = Number("CHAN{channel}:PROB", low=0.01, high=1000.0)
    bandwidth_limit = Choice("CHAN{channel}:BWL", {"none": "OFF", "20MHz": "20M"})
    units = Choice("CHAN{channel}:UNIT", {"volts": "VOLT", "watts": "WATT", "amperes": "AMP", "unknown": "UNKN"})


@final
class RigolDS1000Z(ScpiInstrument):
    """An oscilloscope.

    Args:
        resource: address.
        options: of ``Instrument``.

    Attributes:
        channels: by number, 1 to 4.
    """

    model_pattern = r"\b(DS|MSO)1\d\d\dZ"
    time_scale_seconds = Number("TIM:MAIN:SCAL", unit="s", low=5e-9, high=50.0, doc="of a division, of 12")
    time_offset_seconds = Number("TIM:MAIN:OFFS", unit="s", low=-1e6, high=1e6)
    timebase = Choice("TIM:MODE", {"main": "MAIN", "xy": "XY", "roll": "ROLL"})
    trigger_coupling = Choice(
        "TRIG:COUP", {"ac": "AC", "dc": "DC", "high_pass": "LFR", "low_pass": "HFR"}, doc="of the path to the trigger"
    )
    trigger_source = Choice("TRIG:EDG:SOUR", {f"channel{n}": f"CHAN{n}" for n in range(1, 5)})
    trigger_level_volts = Number("TRIG:EDG:LEV", unit="V", low=-500.0, high=500.0)
    trigger_slope = Choice("TRIG:EDG:SLOP", {"rising": "POS", "falling": "NEG", "either": "RFAL"})
    sweep = Choice("TRIG:SWE", {"auto": "AUTO", "normal": "NORM", "single": "SING"})
    acquisition = Choice("ACQ:TYPE", {"normal": "NORM", "average": "AVER", "high_resolution": "HRES", "peak": "PEAK"})

    def __init__(self, resource: str | Link, **options: Unpack[Options]) -> None:
        super().__init__(resource, **options)
        self.channels = {channel: ScopeChannel(self, channel) for channel in range(1, 5)}

    def least_memory(self) -> None:
        """Choose the smallest memory for the channels that are shown, and let the oscilloscope run.

        Raises:
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        with self.link.lock:
            shown = sum(channel.shown for channel in self.channels.values())
            self.configure("RUN", f"ACQ:MDEP {LEAST_DEPTHS[max(1, shown)]}")

    def record(self, channels: Sequence[int], seconds: float, memory: bool = False) -> Waveforms:
        """Take one record at the next trigger, and read it.

        Args:
            channels: to be read, of those that are shown.
            seconds: that the trigger and the record may take; the transfer has its own time.
            memory: read the whole memory instead of the screen.

        Raises:
            InputError: a channel that does not exist.
            DeviceTimeout: no trigger came; the acquisition is stopped.
            BenchError: the instrument cannot be reached.
        """
        if not channels or any(channel not in self.channels for channel in channels):
            raise InputError(f"channels: expected some of 1 to 4, got {list(channels)}")
        with self.link.lock:
            self.configure("SING")
            self._wait(seconds)
            self.configure(f"WAV:MODE {'RAW' if memory else 'NORM'}", "WAV:FORM BYTE")
            with self.session.unbroken("reading a record"):
                return self._read(channels, self._depth() if memory else SCREEN_POINTS)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.session.ask("TRIG:STAT?", TRIGGER_STATE) != "STOP":
            if time.monotonic() >= deadline:
                self.session.write("STOP")
                raise DeviceTimeout(f"{self.link.address}: no trigger in {seconds:g} s")
            time.sleep(POLL_SECONDS)

    def _depth(self) -> int:
        """Points of the memory."""
        depth = self.session.ask("ACQ:MDEP?", _automatic_or_number)
        if depth is None:
            return round(self.session.ask("ACQ:SRAT?", number) * DIVISIONS_ACROSS * self.time_scale_seconds)
        return depth

    def _read(self, channels: Sequence[int], points: int) -> Waveforms:
        volts, clipped = [], []
        for channel in channels:
            self.session.write(f"WAV:SOUR CHAN{channel}")
            # The preamble counts the points of the part that is chosen.
            self.session.write("WAV:STAR 1")
            self.session.write(f"WAV:STOP {points}")
            fields = self.session.numbers("WAV:PRE?")
            if len(fields) != FIELDS or fields[2] != points:
                raise ProtocolError(
                    f"{self.link.address}: WAV:PRE?: expected {FIELDS} fields of a record of {points} points, got "
                    f"{fields.tolist()}"
                )
            codes = self._codes(points)
            volts.append((codes - fields[8] - fields[9]) * fields[7])
            clipped.append(bool(np.any((codes == 0) | (codes == 255))))
        times: FloatArray = (np.arange(points) - fields[6]) * fields[4] + fields[5]
        return stacked(times, volts, clipped)

    def _codes(self, points: int) -> FloatArray:
        parts = []
        for start in range(1, points + 1, MOST_BYTES):
            stop = min(points, start + MOST_BYTES - 1)
            self.session.write(f"WAV:STAR {start}")
            self.session.write(f"WAV:STOP {stop}")
            part = np.frombuffer(self.session.query_block("WAV:DATA?"), dtype=np.uint8)
            if len(part) != stop - start + 1:
                raise ProtocolError(f"{self.link.address}: WAV:DATA?: expected {stop - start + 1}, got {len(part)}")
            parts.append(part)
        return np.concatenate(parts).astype(np.float64)

    def _safe_steps(self) -> Sequence[Callable[[], None]]:
        """It drives nothing."""
        return ()

    def _parts(self) -> Mapping[str, Part]:
        return {f"channel{number}": channel for number, channel in self.channels.items()}

    def _forget(self) -> None:
        """Nothing is remembered."""


def _automatic_or_number(answer: str) -> int | None:
    return None if answer.strip().upper() == "AUTO" else integer(answer)
