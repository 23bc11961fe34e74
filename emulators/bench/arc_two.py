"""An ArC TWO in this process: ``pyarc2``'s ``Instrument`` on an emulated crossbar of up to 32 x 32 cells.

Interface: pyarc2 0.6. 64 channels: 0-15 and 32-47 are rows, 16-31 and 48-63 columns. Volts are floats, times whole
nanoseconds, currents float32; what was not selected is NaN. Reading drives the low channel at -vread and takes the
current out of the high one, so that a cell of conductance G reads +G vread, whichever side is low. A pulse of V puts
the high channel V above the low one (the real board's split over both is not confirmed).

What belongs to no operation keeps its state: 0 V from the DACs at first (``ground_all``), open after ``float_all``,
tied to ground after ``connect_to_gnd``, at other volts after ``config_channels``; half-select schemes are made that
way, and a pulse among grounded lines is felt by all cells of the high line.
Queued operations happen at ``execute``; immediate ones carry out what is queued before. Time is simulated.

Enumerations may be those of this module or pyarc2's own. Noise of readings is an argument; its default is not
confirmed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import partial
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from emulators.bench.clock import SimulatedClock
from emulators.bench.fixture import Fixture
from emulators.bench.plant import CrossbarPlant
from emulators.bench.sources import GROUND, Constant, VoltageSource
from substrate.errors import InputError

FloatRow = npt.NDArray[np.float32]

CHANNELS, SIDE = 64, 32
ROWS = (*range(16), *range(32, 48))
COLUMNS = (*range(16, 32), *range(48, 64))
STANDARD_VOLTS, EXTENDED_VOLTS = 10.0, 20.0
LEAST_PULSE_NANOS = 40
READ_SECONDS, SETTLE_SECONDS = 50.0e-6, 120.0e-6
"""Of a current reading; of a channel that takes a new voltage (arbitrary mode: 120 us, pyarc2's documentation)."""


class BiasOrder(Enum):
    """Which lines are low."""

    Rows = 0
    Cols = 1


class DataMode(Enum):
    """Which channels of a result."""

    All = 0
    Words = 1
    Bits = 2


class ReadType(Enum):
    """What a result holds."""

    Current = 0
    Voltage = 1


class ReadAfter(Enum):
    """When a ramp reads."""

    Pulse = 0
    Block = 1
    Ramp = 2
    Never = 3


class IdleMode(Enum):
    """How channels are left."""

    Float = 0
    SoftGnd = 1
    HardGnd = 2


class OutputRange(Enum):
    """+-10 or +-20 V."""

    STD = 0
    EXT = 1


@final
class ReadAt:
    """At which voltage a ramp reads: that of the pulse, none, or one of its own."""

    Bias: "ReadAt"
    Never: "ReadAt"

    def __init__(self, name: str, volts: float | None = None) -> None:
        self._name = name
        self._volts = volts

    @staticmethod
    def Arb(voltage: float) -> "ReadAt":
        """At this one."""
        return ReadAt("Arb", voltage)

    def voltage(self) -> float:
        """Of ``Arb``."""
        if self._volts is None:
            raise InputError("read_at: only Arb has a voltage")
        return self._volts

    def __str__(self) -> str:
        return self._name


ReadAt.Bias, ReadAt.Never = ReadAt("Bias"), ReadAt("Never")


@final
class ArcTwo:
    """The instrument.

    Args:
        plant: the crossbar; its row k is at row channel ``ROWS[k]``, its column at ``COLUMNS[k]``.
        rng: noise.
        clock: simulated time; a new one if left out.
        noise_fraction: standard deviation of a current, relative.
        noise_amperes: standard deviation of a current, absolute.

    Raises:
        InputError: an array of more than 32 x 32.
    """

    def __init__(
        self,
        plant: CrossbarPlant,
        rng: np.random.Generator,
        clock: SimulatedClock | None = None,
        noise_fraction: float = 1.0e-3,
        noise_amperes: float = 1.0e-9,
    ) -> None:
        (array,) = plant.arrays
        if max(array.shape) > SIDE:
            raise InputError(f"plant: expected at most {SIDE} x {SIDE} cells, got {array.shape}")
        self.plant = plant
        self.clock = clock or SimulatedClock()
        self._rng = rng
        self._noise = noise_fraction, noise_amperes
        self._fixture = Fixture(plant, self.clock)
        for channel in range(CHANNELS):
            self._fixture.add(_node(channel))
        for side, channels, count in (("row", ROWS, array.shape[0]), ("col", COLUMNS, array.shape[1])):
            for index in range(count):
                self._fixture.wire(_node(channels[index]), f"{array.name}.{side}{index}")
        self._volts = np.zeros(CHANNELS)
        self._open = np.zeros(CHANNELS, dtype=bool)
        self._grounded = np.zeros(CHANNELS, dtype=bool)
        self._largest = np.full(CHANNELS, STANDARD_VOLTS)
        self._queue: list[Callable[[], None]] = []
        self._results: list[tuple[str, FloatRow]] = []
        self._show(range(CHANNELS))

    # Channels.

    def config_channels(self, input: Iterable[tuple[int, float]], base: float | None = None) -> Self:
        """Queue volts of channels; ``base`` of all others, None leaves them."""
        wanted = {_channel(channel): self._checked(channel, volts) for channel, volts in input}
        if base is not None:
            wanted = {channel: wanted.get(channel, self._checked(channel, base)) for channel in range(CHANNELS)}
        return self._later(partial(self._drive, wanted))

    def connect_to_gnd(self, chans: Iterable[int]) -> Self:
        """Queue: tie these channels to ground, and no others."""
        return self._later(partial(self._ground, _channels(chans), True, True))

    def gnd_add(self, chans: Iterable[int]) -> Self:
        """Queue: tie these to ground too."""
        return self._later(partial(self._ground, _channels(chans), True, False))

    def gnd_remove(self, chans: Iterable[int]) -> Self:
        """Queue: untie these."""
        return self._later(partial(self._ground, _channels(chans), False, False))

    def open_channels(self, channels: Iterable[int]) -> Self:
        """Queue: take these off their DACs; one that is tied to ground stays there."""
        return self._later(partial(self._disconnect, _channels(channels)))

    def float_all(self) -> Self:
        """Queue: take all channels off their DACs."""
        return self.open_channels(range(CHANNELS))

    def ground_all(self) -> Self:
        """Queue: all DACs at 0 V and connected."""
        return self._later(partial(self._drive, dict.fromkeys(range(CHANNELS), 0.0)))

    def ground_all_fast(self) -> Self:
        """Queue: as ``ground_all``, on the pulse drivers."""
        return self.ground_all()

    def set_channel_range(self, chans: Iterable[int], rng: Any) -> Self:
        """+-10 V (STD) or +-20 V (EXT)."""
        largest = {"STD": STANDARD_VOLTS, "EXT": EXTENDED_VOLTS}[_variant(rng, ("STD", "EXT"))]
        self._largest[_channels(chans)] = largest
        return self

    # Queue.

    def delay(self, nanos: int) -> Self:
        """Queue a wait."""
        return self._later(partial(self.clock.advance, _seconds(nanos, 0)))

    def execute(self) -> Self:
        """Carry out what is queued."""
        queue, self._queue = self._queue, []
        for act in queue:
            act()
        return self

    def busy(self) -> bool:
        """Whether anything waits for ``execute``."""
        return bool(self._queue)

    def wait(self) -> None:
        """Until everything executed is done: it is."""

    def finalise_operation(self, mode: Any = None, control: Any = None) -> None:
        """Leave all channels floating, at 0 V (SoftGnd) or tied to ground (HardGnd); None leaves them."""
        if mode is None:
            return
        kind = _variant(mode, ("Float", "SoftGnd", "HardGnd"))
        if kind == "HardGnd":
            self.ground_all_fast().float_all().connect_to_gnd(range(CHANNELS)).execute()
            return
        self.connect_to_gnd([]).ground_all()
        if kind == "Float":
            self.float_all()
        self.execute()

    # Readings, immediate.

    def read_one(self, low: int, high: int, vread: float) -> float:
        """Amperes of the high channel."""
        self.execute()
        return float(self._read([_channel(low)], [_channel(high)], vread)[high])

    def read_slice(self, chan: int, vread: float) -> FloatRow:
        """Amperes (32,) of the lines that cross ``chan``, which is low."""
        return self.read_slice_masked(chan, _across(chan), vread)

    def read_slice_masked(self, chan: int, mask: Iterable[int], vread: float) -> FloatRow:
        """Those of the channels in ``mask`` alone, NaN for the others."""
        self.execute()
        across = _across(chan)
        chosen = _among(mask, across)
        return self._read([chan], chosen, vread)[list(across)]

    def read_all(self, vread: float, order: Any) -> FloatRow:
        """Amperes (row, column), slice by slice."""
        rows = _variant(order, ("Rows", "Cols")) == "Rows"
        found = np.stack([self.read_slice(low, vread) for low in (ROWS if rows else COLUMNS)])
        return found if rows else found.T

    def read_slice_open(self, highs: Iterable[int], ground_after: bool) -> FloatRow:
        """Amperes (64,) of these channels with all as they are."""
        self.execute()
        found = self._currents(_channels(highs))
        if ground_after:
            self.ground_all().execute()
        return found

    def vread_channels(self, chans: Iterable[int], averaging: bool) -> list[float]:
        """Volts of channels, in ascending order."""
        self.execute()
        nodes = [_node(channel) for channel in sorted(_channels(chans))]
        now = np.array([self.clock.seconds])
        return [float(np.float32(volts)) for volts in self._fixture.volts(nodes, now)[0]]

    # Pulses.

    def pulse_one(self, low: int, high: int, voltage: float, nanos: int) -> Self:
        """Queue a pulse between two channels."""
        return self._later(partial(self._pulse, _channel(low), [_channel(high)], voltage, _seconds(nanos)))

    def pulse_slice(self, chan: int, voltage: float, nanos: int) -> Self:
        """Queue a pulse on all lines that cross ``chan``."""
        return self._later(partial(self._pulse, _channel(chan), list(_across(chan)), voltage, _seconds(nanos)))

    def pulse_slice_masked(self, chan: int, voltage: float, nanos: int, mask: Iterable[int]) -> Self:
        """Queue a pulse on those of them in ``mask``."""
        chosen = _among(mask, _across(chan))
        return self._later(partial(self._pulse, _channel(chan), chosen, voltage, _seconds(nanos)))

    def pulse_all(self, voltage: float, nanos: int, order: Any) -> Self:
        """Queue a pulse for every slice in turn."""
        for low in ROWS if _variant(order, ("Rows", "Cols")) == "Rows" else COLUMNS:
            self.pulse_slice(low, voltage, nanos)
        return self

    def pulseread_one(self, low: int, high: int, vpulse: float, nanos: int, vread: float) -> float:
        """Pulse, then read."""
        return self.pulse_one(low, high, vpulse, nanos).read_one(low, high, vread)

    def pulseread_slice(self, chan: int, vpulse: float, nanos: int, vread: float) -> FloatRow:
        """Pulse a slice, then read it."""
        return self.pulse_slice(chan, vpulse, nanos).read_slice(chan, vread)

    def pulseread_slice_masked(
        self, chan: int, mask: Iterable[int], vpulse: float, nanos: int, vread: float
    ) -> FloatRow:
        """Pulse part of a slice, then read it."""
        chosen = list(mask)
        return self.pulse_slice_masked(chan, vpulse, nanos, chosen).read_slice_masked(chan, chosen, vread)

    def pulseread_all(self, vpulse: float, nanos: int, vread: float, order: Any) -> FloatRow:
        """Pulse every slice and read it, one after the other; (row, column)."""
        rows = _variant(order, ("Rows", "Cols")) == "Rows"
        slices = [self.pulseread_slice(low, vpulse, nanos, vread) for low in (ROWS if rows else COLUMNS)]
        return np.stack(slices) if rows else np.stack(slices).T

    # Long operations, whose results wait to be fetched.

    def generate_ramp(
        self, low: int, high: int, vstart: float, vstep: float, vstop: float, pw_nanos: int, inter_nanos: int,
        num_pulses: int, read_at: Any, read_after: Any,
    ) -> Self:  # fmt: skip
        """Queue ``num_pulses`` pulses at each voltage from ``vstart`` to ``vstop``; ``get_iter`` gives the currents."""
        if not vstep or not np.isfinite([vstart, vstep, vstop]).all() or (vstop - vstart) * vstep < 0:
            raise InputError(f"vstep: expected a step from {vstart} towards {vstop}, got {vstep}")
        levels = vstart + vstep * np.arange(int(np.floor((vstop - vstart) / vstep + 1e-9)) + 1)
        at, after = _variant(read_at, ("Bias", "Arb", "Never")), _variant(read_after, tuple(ReadAfter.__members__))
        if num_pulses < 1:
            raise InputError(f"num_pulses: expected at least 1, got {num_pulses}")
        low, high = _channel(low), _channel(high)
        on, between = _seconds(pw_nanos), _seconds(inter_nanos, 0)

        def read(level: float) -> None:
            if at != "Never":
                self._keep(self._read([low], [high], level if at == "Bias" else read_at.voltage()))

        def act() -> None:
            for level in levels:
                for _ in range(num_pulses):
                    self._pulse(low, [high], float(level), on)
                    self.clock.advance(between)
                    if after == "Pulse":
                        read(float(level))
                if after == "Block":
                    read(float(level))
            if after == "Ramp":
                read(float(levels[-1]))

        return self._later(act)

    def generate_read_train(
        self, lows: Iterable[int] | None, highs: Iterable[int], vread: float, nreads: int, inter_nanos: int,
        ground: bool,
    ) -> Self:  # fmt: skip
        """Queue readings, kept for ``get_iter``; ``lows`` None reads with all channels as they are."""
        chosen, driven = _channels(highs), None if lows is None else _channels(lows)
        between = _seconds(inter_nanos, 0)
        if nreads < 1:
            raise InputError(f"nreads: expected at least 1, got {nreads}")

        def act() -> None:
            for _ in range(nreads):
                self._keep(self._currents(chosen) if driven is None else self._read(driven, chosen, vread))
                self.clock.advance(between)
            if ground:
                self._drive(dict.fromkeys([*chosen, *(driven or [])], 0.0))

        return self._later(act)

    def generate_vread_train(self, chans: Iterable[int], averaging: bool, npulses: int, inter_nanos: int) -> Self:
        """Queue voltage readings, kept for ``get_iter``."""
        chosen, between = sorted(_channels(chans)), _seconds(inter_nanos, 0)

        def act() -> None:
            for _ in range(npulses):
                row = np.full(CHANNELS, np.nan, dtype=np.float32)
                row[chosen] = self.vread_channels(chosen, averaging)
                self._results.append(("Voltage", row))
                self.clock.advance(between)

        return self._later(act)

    def pick_one(self, mode: Any, rtype: Any) -> FloatRow | None:
        """The oldest result, (64,) or of the words or bits (32,); None if there is none.

        Raises:
            InputError: the oldest result is of the other sort.
        """
        kind = _variant(rtype, ("Current", "Voltage"))
        if not self._results:
            return None
        if self._results[0][0] != kind:
            raise InputError(f"rtype: the oldest result is of {self._results[0][0]}, not {kind}")
        _, row = self._results.pop(0)
        wanted = {"All": range(CHANNELS), "Words": ROWS, "Bits": COLUMNS}[_variant(mode, ("All", "Words", "Bits"))]
        return row[list(wanted)]

    def get_iter(self, mode: Any, rtype: Any = None) -> Iterator[list[FloatRow]]:
        """Results in turn, each in a list of its own as pyarc2 gives them, and taken out of the memory."""

        def fetch() -> list[FloatRow] | None:
            row = self.pick_one(mode, ReadType.Current if rtype is None else rtype)
            return None if row is None else [row]

        return iter(fetch, None)

    # Physics.

    def _later(self, act: Callable[[], None]) -> Self:
        self._queue.append(act)
        return self

    def _checked(self, channel: int, volts: float) -> float:
        if not abs(volts) <= self._largest[_channel(channel)]:
            raise InputError(f"voltage: channel {channel} takes up to {self._largest[channel]:g} V, got {volts!r}")
        return float(volts)

    def _show(self, channels: Iterable[int]) -> None:
        for channel in channels:
            grounded = bool(self._grounded[channel])
            source = GROUND if grounded else VoltageSource(Constant(float(self._volts[channel])))
            self._fixture.attach(_node(channel), None if self._open[channel] and not grounded else source)

    def _drive(self, wanted: dict[int, float]) -> None:
        for channel, volts in wanted.items():
            self._volts[channel], self._open[channel] = volts, False
        self._show(wanted)
        self.clock.advance(SETTLE_SECONDS)

    def _ground(self, channels: Sequence[int], on: bool, only: bool) -> None:
        if only:
            self._grounded[:] = False
        self._grounded[list(channels)] = on
        self._show(range(CHANNELS))

    def _disconnect(self, channels: Sequence[int]) -> None:
        self._open[list(channels)] = True
        self._show(channels)

    def _with(self, wanted: dict[int, float], act: Callable[[], FloatRow | None]) -> FloatRow | None:
        """Act with channels at some volts, and bring back what they were at."""
        channels = list(wanted)
        before = self._volts[channels].copy(), self._open[channels].copy(), self._grounded[channels].copy()
        self._volts[channels], self._open[channels], self._grounded[channels] = list(wanted.values()), False, False
        self._show(channels)
        found = act()
        self._volts[channels], self._open[channels], self._grounded[channels] = before
        self._show(channels)
        return found

    def _read(self, lows: Sequence[int], highs: Sequence[int], vread: float) -> FloatRow:
        if set(lows) & set(highs):
            raise InputError(f"high: expected other channels than the low ones, got {sorted(set(lows) & set(highs))}")
        wanted = {channel: self._checked(channel, -vread) for channel in lows} | dict.fromkeys(highs, 0.0)
        found = self._with(wanted, lambda: self._currents(highs))
        assert found is not None  # what _currents gives
        return found

    def _currents(self, channels: Sequence[int]) -> FloatRow:
        """Amperes (64,) out of channels, NaN for the others."""
        now = np.array([self.clock.seconds])
        amperes = self._fixture.amperes([_node(channel) for channel in channels], now)[0]
        relative, absolute = self._noise
        noise = self._rng.standard_normal((2, len(amperes)))
        self.clock.advance(READ_SECONDS)
        row = np.full(CHANNELS, np.nan, dtype=np.float32)
        row[list(channels)] = amperes * (1.0 + relative * noise[0]) + absolute * noise[1]
        return row

    def _keep(self, row: FloatRow) -> None:
        self._results.append(("Current", row))

    def _pulse(self, low: int, highs: Sequence[int], voltage: float, seconds: float) -> None:
        if low in highs:
            raise InputError(f"high: expected another channel than {low}")
        wanted = {low: 0.0} | {high: self._checked(high, voltage) for high in highs}
        self._with(wanted, lambda: self.clock.advance(seconds))


def _node(channel: int) -> str:
    return f"arc.ch{channel}"


def _channel(channel: int) -> int:
    if isinstance(channel, bool) or not isinstance(channel, (int, np.integer)) or not 0 <= channel < CHANNELS:
        raise InputError(f"channel: expected a whole number from 0 to {CHANNELS - 1}, got {channel!r}")
    return int(channel)


def _channels(channels: Iterable[int]) -> list[int]:
    return [_channel(channel) for channel in channels]


def _across(channel: int) -> tuple[int, ...]:
    return COLUMNS if _channel(channel) in ROWS else ROWS


def _among(mask: Iterable[int], across: Sequence[int]) -> list[int]:
    chosen = _channels(mask)
    if not set(chosen) <= set(across):
        raise InputError(f"mask: expected channels that cross the slice, got {sorted(set(chosen) - set(across))}")
    return chosen


def _seconds(nanos: int, least: int = LEAST_PULSE_NANOS) -> float:
    if isinstance(nanos, bool) or not isinstance(nanos, (int, np.integer)) or nanos < least:
        raise InputError(f"nanos: expected a whole number of nanoseconds >= {least}, got {nanos!r}")
    return int(nanos) * 1e-9


def _variant(given: Any, known: Sequence[str]) -> str:
    """Name of a variant of one of the enumerations, ours or pyarc2's, whose variants are attributes of their class."""
    for name in known:
        variant = getattr(type(given), name, None)
        if variant is given or (type(variant) is type(given) and bool(variant == given)):
            return name
    # What is made with a voltage is equal to no attribute.
    if "Arb" in known and hasattr(given, "voltage"):
        return "Arb"
    raise InputError(f"expected one of {', '.join(known)}, got {given!r}")
