"""The waveforms of a function generator, as functions of the bench's clock."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt

from emulators.bench.sources import Waveform
from substrate.arrays import FloatArray

Shape = Literal["sine", "square", "ramp", "pulse", "noise", "prbs", "samples", "dc"]

CORNERS_A_PERIOD = 32
"""Of a smooth waveform."""

MOST_CORNERS = 20_000
NOISE_HZ = 30.0e6
"""Rate of the values of noise."""


@final
@dataclass(frozen=True, eq=False)
class GeneratorWave(Waveform):
    """Offset plus half the amplitude times a shape between -1 and 1.

    Attributes:
        shape: of a period.
        frequency_hz: of the periods; ``samples`` repeat at it.
        amplitude_volts: peak to peak, of the open output.
        offset_volts: likewise.
        phase_cycles: at the origin, and at the start of a burst.
        origin_seconds: of phases, on the bench's clock.
        duty: fraction of a period that a square or pulse is high.
        symmetry: fraction that a ramp rises.
        edge_cycles: duration of both edges of a pulse, as a fraction of a period.
        samples: one period, -1 .. 1.
        interpolate: whether samples are joined by lines instead of held.
        starts: of bursts, rising; None for a continuous waveform.
        cycles: of a burst.
        dac_bits: resolution of the shape; 0 is exact.
        seed: of noise.
    """

    shape: Shape
    frequency_hz: float
    amplitude_volts: float
    offset_volts: float
    phase_cycles: float = 0.0
    origin_seconds: float = 0.0
    duty: float = 0.5
    symmetry: float = 1.0
    edge_cycles: float = 0.0
    samples: FloatArray | None = None
    interpolate: bool = False
    starts: FloatArray | None = None
    cycles: float = 1.0
    dac_bits: int = 16
    seed: int = 0

    @property
    def constant(self) -> bool:
        """Of DC, and of a burst that was never begun."""
        return self.shape == "dc" or (self.starts is not None and not len(self.starts))

    def at(self, times_seconds: FloatArray) -> FloatArray:
        """Volts of the open output."""
        if self.shape == "dc":
            return np.full(len(times_seconds), self.offset_volts)
        if self.shape in ("noise", "prbs"):
            values = self._random(times_seconds)
        else:
            values = self._periodic(np.mod(self._phase(times_seconds), 1.0))
        if self.dac_bits:
            steps = 2.0 ** (self.dac_bits - 1) - 1.0
            values = np.round(values * steps) / steps
        return np.asarray(self.offset_volts + 0.5 * self.amplitude_volts * values)

    def corners(self, start: float, end: float) -> FloatArray:
        """Edges of squares and samples, and closely spaced times of what is smooth."""
        if self.constant:
            return np.zeros(0)
        if self.starts is None:
            return self._grid(self.origin_seconds - self.phase_cycles / self.frequency_hz, start, end)
        length = self.cycles / self.frequency_hz
        first, last = np.searchsorted(self.starts, [start - length, end])
        if last - first > MOST_CORNERS // 64:
            return np.linspace(start, end, MOST_CORNERS)
        out = [np.zeros(0)]
        for begin in self.starts[first:last]:
            inside = self._grid(begin - self.phase_cycles / self.frequency_hz, max(start, begin), end)
            out += [inside[inside <= begin + length], np.array([begin, begin + length])]
        return np.concatenate(out)

    def _phase(self, times: FloatArray) -> FloatArray:
        """In cycles; before and after bursts that of their start, where a square is not yet high."""
        if self.starts is None:
            return (times - self.origin_seconds) * self.frequency_hz + self.phase_cycles
        idle = -1e-12 if self.shape == "square" else 0.0
        if not len(self.starts):
            return np.full(len(times), self.phase_cycles + idle)
        # A burst that is due while another runs is not begun: the instrument ignored its trigger.
        index = np.searchsorted(self.starts, times, side="right") - 1
        elapsed = (times - self.starts[np.maximum(index, 0)]) * self.frequency_hz
        running = (index >= 0) & (elapsed < self.cycles)
        return np.where(running, elapsed, idle) + self.phase_cycles

    def _periodic(self, phase: FloatArray) -> FloatArray:
        if self.shape == "sine":
            return np.asarray(np.sin(2.0 * np.pi * phase))
        if self.shape == "square":
            return np.where(phase < self.duty, 1.0, -1.0)
        if self.shape == "pulse":
            edge = max(self.edge_cycles, 1e-15)
            rising = np.clip(phase / edge, 0.0, 1.0)
            falling = np.clip((phase - self.duty) / edge, 0.0, 1.0)
            return np.asarray(2.0 * (rising - falling) - 1.0)
        if self.shape == "ramp":
            # From -1 up to 1 within the symmetry, and down again in the rest.
            rise, fall = max(self.symmetry, 1e-15), max(1.0 - self.symmetry, 1e-15)
            return np.where(phase < self.symmetry, 2.0 * phase / rise - 1.0, 1.0 - 2.0 * (phase - self.symmetry) / fall)
        assert self.samples is not None  # what the shape of samples comes with
        place = phase * len(self.samples)
        # A time that falls on a sample's beginning but for rounding belongs to it.
        index = np.floor(place + 1e-9).astype(np.int64) % len(self.samples)
        if not self.interpolate:
            return np.asarray(self.samples[index])
        after = self.samples[(index + 1) % len(self.samples)]
        return np.asarray(self.samples[index] + (after - self.samples[index]) * np.clip(place - index, 0.0, 1.0))

    def _random(self, times: FloatArray) -> FloatArray:
        """The same value at the same time, whenever it is asked for: a hash (splitmix64) of the time's number."""
        rate = NOISE_HZ if self.shape == "noise" else self.frequency_hz
        number = np.floor((times - self.origin_seconds) * rate).astype(np.int64).astype(np.uint64)
        first, second = (_hash(number * np.uint64(2) + np.uint64(odd), self.seed) for odd in (0, 1))
        if self.shape == "prbs":
            return np.where(first < 0.5, -1.0, 1.0)
        # A peak-to-peak amplitude of some six standard deviations, as the instrument states it.
        normal = np.sqrt(-2.0 * np.log(np.maximum(first, 1e-300))) * np.cos(2.0 * np.pi * second)
        return np.asarray(np.clip(normal / 3.0, -1.0, 1.0))

    def _grid(self, origin: float, start: float, end: float) -> FloatArray:
        marks: FloatArray
        if self.shape == "square":
            marks = np.array([0.0, self.duty])
        elif self.shape == "pulse":
            marks = np.array([0.0, self.edge_cycles, self.duty, self.duty + self.edge_cycles])
        elif self.shape == "samples" and not self.interpolate:
            assert self.samples is not None
            marks = np.arange(len(self.samples)) / len(self.samples)
        else:
            marks = np.arange(CORNERS_A_PERIOD) / CORNERS_A_PERIOD
        first, last = np.floor((start - origin) * self.frequency_hz), np.ceil((end - origin) * self.frequency_hz)
        if (last - first) * len(marks) > MOST_CORNERS:
            return np.linspace(start, end, MOST_CORNERS)
        times = origin + (np.arange(first, last + 1)[:, None] + marks).reshape(-1) / self.frequency_hz
        return times[(times >= start) & (times <= end)]


@final
@dataclass(frozen=True, eq=False)
class ModulatedWave(Waveform):
    """A wave whose shape another one changes, or is added to.

    Attributes:
        carrier: the wave as it is set.
        modulating: from -1 to 1.
        depth: a fraction.
        sort: ``am``: the amplitude is (1 + depth m)/2 of what is set, or depth m with the carrier suppressed
            (``dssc``); ``sum``: depth m times the amplitude is added.
    """

    carrier: GeneratorWave
    modulating: GeneratorWave
    depth: float
    sort: Literal["am", "dssc", "sum"]

    @property
    def constant(self) -> bool:
        """Where there is nothing to modulate."""
        return self.carrier.constant and self.sort != "sum"

    def at(self, times_seconds: FloatArray) -> FloatArray:
        """Volts of the open output."""
        carrier, moves = self.carrier.at(times_seconds), self.depth * self.modulating.at(times_seconds)
        if self.sort == "sum":
            return np.asarray(carrier + 0.5 * self.carrier.amplitude_volts * moves)
        share = moves if self.sort == "dssc" else 0.5 * (1.0 + moves)
        return np.asarray(self.carrier.offset_volts + share * (carrier - self.carrier.offset_volts))

    def corners(self, start: float, end: float) -> FloatArray:
        """Of both."""
        return np.concatenate([self.carrier.corners(start, end), self.modulating.corners(start, end)])


@final
@dataclass(frozen=True, eq=False)
class CombinedWave(Waveform):
    """The sum of several waves."""

    parts: tuple[Waveform, ...]

    @property
    def constant(self) -> bool:
        """Where all are."""
        return all(part.constant for part in self.parts)

    def at(self, times_seconds: FloatArray) -> FloatArray:
        """Volts of the open output."""
        return np.asarray(np.sum([part.at(times_seconds) for part in self.parts], axis=0))

    def corners(self, start: float, end: float) -> FloatArray:
        """Of all."""
        return np.concatenate([part.corners(start, end) for part in self.parts])


def _hash(number: npt.NDArray[np.uint64], seed: int) -> FloatArray:
    """Uniform in [0, 1)."""
    with np.errstate(over="ignore"):
        z = number * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed & 0xFFFFFFFF)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray((z ^ (z >> np.uint64(31))) >> np.uint64(11), dtype=np.float64) / 2.0**53
