"""Oscilloscopes and digitizers as readers of nodes: records that the reference starts, brought to a plan's rate."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final, final

import numpy as np

from drivers.errors import ProtocolError
from drivers.keysight_infiniivision import KeysightInfiniiVision
from drivers.node_readers import ToneReader
from drivers.red_pitaya import CLOCK_HZ, SAMPLES, RedPitaya
from drivers.rigol_ds1000z import DIVISIONS_ACROSS, DIVISIONS_HIGH, RigolDS1000Z
from drivers.waveforms import Waveforms
from substrate.arrays import FloatArray
from substrate.errors import CapabilityError
from substrate.tones import SamplingPlan

RECORD_SECONDS: Final = 5.0
"""That a trigger may take, beyond the record's own length."""

LEFT: Final = 0.1
"""Place of an InfiniiVision's reference on its screen, as a fraction."""

SLOWEST_DECIMATION: Final = 2**16
LV_RANGE_VOLTS: Final = 2.0
"""Peak to peak, of a Red Pitaya's inputs with their jumpers at LV."""


class RecordReader(ToneReader):
    """A reader by records.

    Args:
        address: names it in messages.
        channels: that are read.
        places: of ``NodeReader``.
        seen: the channel that sees the reference.
        reference_volts: its amplitude.
    """

    def __init__(
        self, address: str, channels: Sequence[int], places: Sequence[int], seen: int, reference_volts: float
    ) -> None:
        super().__init__(places)
        self.channels, self.seen, self.reference_volts = tuple(channels), seen, reference_volts
        self._address = address
        self._tuned = (0.0, 0, 0)

    @abstractmethod
    def _prepare(self, range_volts: float) -> None:
        """Ranges, and a trigger by the rising zero of the reference alone: a record without it has any phase.

        All that decides what a sample means is set, whoever has used the instrument before, and read back.
        """

    @abstractmethod
    def _set_time(self, seconds: float, points: int) -> None:
        """Records that begin at the trigger, last ``seconds`` at least, and have so many points in them, if they can
        be had."""

    @abstractmethod
    def _take(self, seconds: float) -> Waveforms:
        """One record of all channels, within ``seconds``."""

    @final
    def prepare(self, range_volts: float) -> None:
        """See ``NodeReader``."""
        self._tuned = (0.0, 0, 0)
        self._prepare(range_volts)

    @final
    def tune(self, frequency_hz: float, periods: int, points: int) -> None:
        """See ``ToneReader``."""
        wanted = (frequency_hz, periods, points)
        if wanted != self._tuned:
            self._tuned = (0.0, 0, 0)
            self._set_time(periods / frequency_hz, points)
            self._tuned = wanted

    @final
    def still(self) -> tuple[FloatArray, bool]:
        """The mean over whole periods of the reference."""
        volts, clipped = self._record(1)
        return volts[0], clipped

    @final
    def tone(self, plan: SamplingPlan, free_volts: FloatArray) -> tuple[FloatArray, bool]:
        """One record."""
        return self._record(plan.sample_count)

    def _record(self, samples: int) -> tuple[FloatArray, bool]:
        frequency, periods, _ = self._tuned
        length = periods / frequency
        waves = self._take(RECORD_SECONDS + length)
        if not np.isfinite(waves.volts).all():
            raise ProtocolError(f"{self._address}: the record has places without a sample")
        times = waves.times_seconds
        # A record from its first sample on, and no more than the length: half a step decides about rounding.
        inside = times < times[0] + length - 0.5 * (times[1] - times[0])
        missing = times[0] + length - times[inside][-1] > 1.5 * (times[1] - times[0])
        if missing or times[0] > times[1] - times[0]:
            raise ProtocolError(
                f"{self._address}: expected a record of {length:.6g} s from its trigger on, got one from "
                f"{times[0]:.6g} s to {times[-1]:.6g} s"
            )
        if np.count_nonzero(inside) < 2 * samples:
            raise CapabilityError(
                f"{self._address}: {np.count_nonzero(inside)} points in {length:.6g} s are too few for {samples} "
                "samples; expected fewer of nudge.samples_per_period or nudge.periods"
            )
        return resampled(times[inside], waves.volts[:, inside], length, samples).T, bool(waves.clipped.any())


def resampled(times_seconds: FloatArray, volts: FloatArray, length_seconds: float, samples: int) -> FloatArray:
    """What repeats after a length, at a lower rate: what lies above half of that is taken away, not folded down.

    The least-squares fit by the sines and cosines that the lower rate holds. On a whole number of even steps they are
    orthogonal, and it is their discrete Fourier sum; other steps make no difference to what the fit holds.

    Args:
        times_seconds: (time) of the record, of the length to within a step.
        volts: (channel, time).
        length_seconds: after which all repeats.
        samples: in the length, the first at time 0.

    Returns:
        (channel, samples).
    """
    orders = np.arange(1, (samples - 1) // 2 + 1)

    def terms(times: FloatArray) -> FloatArray:
        angles = (2.0 * np.pi / length_seconds) * np.outer(times, orders)
        return np.concatenate([np.ones((len(times), 1)), np.cos(angles), np.sin(angles)], axis=1)

    weights, *_ = np.linalg.lstsq(terms(times_seconds), volts.T, rcond=None)
    even = np.arange(samples, dtype=np.float64) * (length_seconds / samples)
    return np.asarray((terms(even) @ weights).T, dtype=np.float64)


@final
class InfiniiVisionReader(RecordReader):
    """A Keysight InfiniiVision: records of exactly the length, of as many points as are asked for."""

    def __init__(
        self,
        scope: KeysightInfiniiVision,
        channels: Sequence[int],
        places: Sequence[int],
        seen: int,
        reference_volts: float,
    ) -> None:
        super().__init__(scope.link.address, channels, places, seen, reference_volts)
        self._scope = scope

    def _prepare(self, range_volts: float) -> None:
        scope = self._scope
        with scope.unchecked():
            for number, channel in scope.channels.items():
                channel.insist(
                    shown=number in self.channels or number == self.seen,
                    units="volts",
                    attenuation=1.0,
                    impedance="1M",
                    coupling="dc",
                    inverted=False,
                    bandwidth_limit=False,
                )
                channel.range_volts = 2.5 * self.reference_volts if number == self.seen else range_volts
                channel.offset_volts = 0.0
            scope.insist(
                acquisition="high_resolution",
                timebase="main",
                time_reference="left",
                trigger_source=f"channel{self.seen}",
                trigger_coupling="dc",
                trigger_level_volts=0.0,
                trigger_slope="rising",
                sweep="normal",
            )

    def _set_time(self, seconds: float, points: int) -> None:
        with self._scope.unchecked():
            self._scope.time_range_seconds = seconds
            self._scope.time_position_seconds = LEFT * seconds
            self._scope.points = points

    def _take(self, seconds: float) -> Waveforms:
        return self._scope.record(self.channels, seconds)


@final
class RigolReader(RecordReader):
    """A Rigol DS1000Z: its smallest memory, across a screen whose scales go in steps of 1, 2 and 5."""

    def __init__(
        self, scope: RigolDS1000Z, channels: Sequence[int], places: Sequence[int], seen: int, reference_volts: float
    ) -> None:
        super().__init__(scope.link.address, channels, places, seen, reference_volts)
        self._scope = scope

    def _prepare(self, range_volts: float) -> None:
        scope = self._scope
        with scope.unchecked():
            for number, channel in scope.channels.items():
                channel.insist(
                    shown=number in self.channels or number == self.seen,
                    units="volts",
                    attenuation=1.0,
                    coupling="dc",
                    inverted=False,
                    bandwidth_limit="none",
                )
                full = 2.5 * self.reference_volts if number == self.seen else range_volts
                channel.scale_volts = _one_two_five(full / DIVISIONS_HIGH)
                channel.offset_volts = 0.0
            scope.insist(
                acquisition="high_resolution",
                timebase="main",
                trigger_source=f"channel{self.seen}",
                trigger_coupling="dc",
                trigger_level_volts=0.0,
                trigger_slope="rising",
            )
        scope.least_memory()

    def _set_time(self, seconds: float, points: int) -> None:
        scale = _one_two_five(seconds / DIVISIONS_ACROSS)
        with self._scope.unchecked():
            self._scope.time_scale_seconds = scale
            self._scope.time_offset_seconds = 0.5 * DIVISIONS_ACROSS * scale

    def _take(self, seconds: float) -> Waveforms:
        return self._scope.record(self.channels, seconds, memory=True)


@final
class RedPitayaReader(RecordReader):
    """A Red Pitaya: its clock over a power of two. Ranges are chosen by jumpers, which have to stand at LV up to 2 V
    peak to peak and at HV beyond."""

    def __init__(
        self, board: RedPitaya, channels: Sequence[int], places: Sequence[int], seen: int, reference_volts: float
    ) -> None:
        super().__init__(board.link.address, channels, places, seen, reference_volts)
        self._board = board
        self._points = SAMPLES

    def _prepare(self, range_volts: float) -> None:
        with self._board.unchecked():
            for number, channel in self._board.inputs.items():
                full = 2.0 * self.reference_volts if number == self.seen else range_volts
                channel.insist(gain="1" if full <= LV_RANGE_VOLTS else "20")
            # All of the memory behind the trigger.
            self._board.insist(averaging=True, trigger_level_volts=0.0, trigger_delay_samples=SAMPLES // 2)

    def _set_time(self, seconds: float, points: int) -> None:
        decimation = 1 << max(0, math.floor(math.log2(seconds * CLOCK_HZ / points)))
        if decimation > SLOWEST_DECIMATION:
            decimation = SLOWEST_DECIMATION
        self._points = math.ceil(seconds * CLOCK_HZ / decimation) + 1
        if self._points > SAMPLES:
            raise CapabilityError(f"{self._address}: its memory holds {SAMPLES} samples, too few for {seconds:.6g} s")
        self._board.decimation = decimation

    def _take(self, seconds: float) -> Waveforms:
        return self._board.record(self.channels, seconds, self._points, f"channel{self.seen}_rising")


def _one_two_five(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= least * (1.0 - 1e-9))
