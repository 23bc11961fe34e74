"""What both lock-ins of Stanford Research Systems are: reference, demodulation, output filters, stored readings.

With the reference sin(k w t + theta) of harmonic k, X = sqrt(2) <v sin(k w t + theta)> and Y = sqrt(2) <v cos(k w t +
theta)>, in volts rms (SR830 manual, 3-1). The output filters are 1 to 4 equal RC stages, H = 1/(1 + i w tau)^n; their
ripple at multiples of the reference is in the readings, and is taken out by the synchronous filter.

**Time.** The bench's clock stands still while nobody acts, so that nobody could wait for the filters to settle: a
reading (``OUTP?``, ``SNAP?``) waits until they have, ``SETTLED_TIME_CONSTANTS`` by the number of stages, and shows
their output then. While readings are stored, asking for their number takes one interval of storing, for that reason.

**Signals.** What repeats with the reference is taken over one period and filtered exactly, term by term of its Fourier
series. What does not is sampled over the filters' memory, at most ``MOST_SAMPLES`` times.

**Noise.** White, of the input's density over the noise bandwidth of the filters (SR830 manual, 3-25). The density is
the typical one at 1 kHz of the specifications, 6 nV (SR830) and 2.5 nV (SR860) a root of Hz.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from emulators.bench.generator_wave import GeneratorWave
from emulators.bench.instruments.base import Surroundings
from emulators.bench.instruments.line_instrument import LineInstrument
from emulators.bench.protocol.framing import Framer, LineFramer
from emulators.bench.protocol.srs import COMMAND, EXECUTION, SrsCommand, SrsError, SrsUnit, parse_srs
from emulators.bench.sources import GROUND, Constant, VoltageSource
from substrate.arrays import FloatArray

SETTLED_TIME_CONSTANTS = (9.2, 11.8, 13.9, 15.9)
"""Until 1e-4 of a step is left, by stages: 1 - P(n, t/tau) = 1e-4, P the incomplete gamma function."""

NOISE_BANDWIDTH = (1 / 4, 1 / 8, 3 / 32, 5 / 64)
"""In 1/tau, by stages (SR830 manual, 3-21)."""

SAMPLES_A_PERIOD = 256
COMPARED = 16
"""Samples of an earlier period that the last one is compared with."""

MOST_SAMPLES = 32_768
REPEATS_WITHIN = 1.0e-4
"""Of a signal's swing, by which two periods may differ and count as equal: what a generator's converter rounds."""

SINE_OHMS = 50.0
INPUT_OHMS = 1.0e7
OVERLOAD_FRACTION = 1.09
"""Of the sensitivity, which the outputs still show (SR830 manual, 3-13)."""

LEAST_REFERENCE_VOLTS = 0.1
"""Amplitude that the external reference locks to (SR830 manual: 200 mV peak to peak)."""

INPUT_OVERLOAD, OUTPUT_OVERLOAD, UNLOCKED = 1, 4, 8
"""Bits of the SR830's LIA status."""

MOST_STORED = 16_383
POWER_ON = 128

ComplexArray = npt.NDArray[np.complex128]


class LockIn(LineInstrument):
    """A lock-in amplifier.

    Ports: ``a``, ``b`` (voltage inputs), ``i`` (current input), ``ref``, ``sine`` (output), ``aux_in1`` .. ``aux_in4``,
    ``aux_out1`` .. ``aux_out4``.
    """

    highest_hz: ClassVar[float]
    volts_per_root_hz: ClassVar[float]

    def __init__(self, name: str, surroundings: Surroundings, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(name, surroundings, options)
        self._defaults: dict[tuple[str, int], float] = {("sine_offset", 0): 0.0}
        self._values: dict[tuple[str, int], float] = {}
        self._table: dict[str, SrsCommand] = {**self.commands(), **self._common()}
        self._event_status, self._event_enable, self._service_enable = POWER_ON, 0, 0
        self.lock_in_status = 0
        self._stored: list[tuple[float, float]] = []
        self._storing_since: float | None = None
        self._origin = 0.0
        self.clock.listen(self._elapsed)

    @final
    def ports(self) -> Sequence[str]:
        """Inputs and outputs."""
        aux = [f"aux_{way}{number}" for way in ("in", "out") for number in range(1, 5)]
        return ["a", "b", "i", "ref", "sine", *aux]

    @final
    def framer(self) -> Framer:
        """Lines; a carriage return ends one too, where a newline follows."""
        return LineFramer()

    # What the models differ in.

    @property
    @abstractmethod
    def identity(self) -> str:
        """Answer of ``*IDN?``."""

    @abstractmethod
    def commands(self) -> Mapping[str, SrsCommand]:
        """Own commands; called once."""

    @abstractmethod
    def sensitivity_volts(self) -> float:
        """Full scale, amperes where the current input is chosen."""

    @abstractmethod
    def time_constant_seconds(self) -> float:
        """Of the output filters."""

    @abstractmethod
    def current_input(self) -> bool:
        """Whether amperes are measured."""

    @abstractmethod
    def external_reference(self) -> bool:
        """Whether the reference comes from outside."""

    @abstractmethod
    def input_limit_volts(self) -> float:
        """Peak that the input takes."""

    # Settings.

    @final
    def setting(
        self, key: str, default: float, low: float, high: float, *, integer: bool = False, form: str = "{:g}",
        first: int | None = None, count: int = 1, changed: Callable[[], None] | None = None,
    ) -> SrsCommand:  # fmt: skip
        """A number; with ``first``, one of ``count`` that an index in front of it chooses."""
        self._defaults.update({(key, place): default for place in range(count)})
        ahead = 0 if first is None else 1

        def place(unit: SrsUnit) -> int:
            return 0 if first is None else unit.integer(0, first, first + count - 1) - first

        def write(unit: SrsUnit) -> None:
            value = unit.number(ahead, low, high)
            self._values[key, place(unit)] = round(value) if integer else value
            if changed is not None:
                changed()

        def query(unit: SrsUnit) -> str:
            value = self.value(key, place(unit))
            return str(round(value)) if integer else form.format(value)

        return SrsCommand(write, query, 1 + ahead, ahead)

    @final
    def picked(
        self, key: str, default: int, words: Sequence[str], *, changed: Callable[[], None] | None = None
    ) -> SrsCommand:
        """One of several, by number or word; answered as a number."""
        self._defaults[key, 0] = default

        def write(unit: SrsUnit) -> None:
            self._values[key, 0] = unit.pick(0, words)
            if changed is not None:
                changed()

        return SrsCommand(write, lambda _: str(round(self.value(key))))

    @final
    def value(self, key: str, place: int = 0) -> float:
        """A setting."""
        return self._values.get((key, place), self._defaults[key, place])

    @final
    def put(self, key: str, value: float, place: int = 0) -> None:
        """Change a setting as a command would; nothing is checked."""
        self._values[key, place] = value

    @final
    def put_default(self, key: str, values: Sequence[float]) -> None:
        """Defaults of an indexed setting that differ among its places, or of one that no plain command sets."""
        self._defaults.update({(key, place): value for place, value in enumerate(values)})

    # Messages.

    @final
    def respond(self, message: bytes) -> bytes:
        """All commands of a line in turn, each answer with a newline."""
        out = b""
        for unit in parse_srs(message):
            try:
                if isinstance(unit, SrsError):
                    raise unit
                out += self._run(unit)
            except SrsError as error:
                self._event_status |= error.bit
        return out

    def _run(self, unit: SrsUnit) -> bytes:
        command = self._table.get(unit.word)
        act = None if command is None else (command.query if unit.query else command.write)
        if command is None or act is None:
            raise SrsError(COMMAND, unit.word)
        most = command.most_asked if unit.query else command.most
        if self.strict and len(unit.arguments) > most:
            raise SrsError(COMMAND, f"{unit.word}: at most {most} arguments")
        answer = act(unit)
        if answer is None:
            return b""
        # Binary answers end with EOI alone (manual, 5-17), which sockets do not have.
        return answer.encode("latin-1") + b"\n" if isinstance(answer, str) else answer

    @final
    def report(self, code: int, text: str) -> None:
        """There is no queue: an execution error in the event status."""
        self._event_status |= EXECUTION

    @final
    def power_on(self) -> None:
        """Defaults, status as after switching on."""
        self._event_status, self._event_enable, self._service_enable = POWER_ON, 0, 0
        self.lock_in_status = 0
        self._reset()

    def _reset(self) -> None:
        self._values.clear()
        self.stop_storing(forget=True)
        self._origin = self.clock.seconds
        for port in ("a", "b"):
            self.fixture.load(self.node(port), INPUT_OHMS)
        self.fixture.load(self.node("ref"), 1.0e6)
        self.refresh()

    @final
    def outputs_off(self) -> None:
        """Sine and auxiliary outputs off the circuit."""
        for port in ("sine", *(f"aux_out{number}" for number in range(1, 5))):
            self.fixture.attach(self.node(port), None)

    @final
    def refresh(self) -> None:
        """Put what the settings say on the outputs."""
        sine = GeneratorWave(
            "sine", self.value("frequency"), 2.0 * np.sqrt(2.0) * self.value("sine_volts"),
            self.value("sine_offset"), origin_seconds=self._origin,
        )  # fmt: skip
        self.fixture.attach(self.node("sine"), VoltageSource(sine, series_ohms=SINE_OHMS))
        for number in range(4):
            volts = Constant(self.value("aux_out", number))
            self.fixture.attach(self.node(f"aux_out{number + 1}"), VoltageSource(volts))
        self.fixture.attach(self.node("i"), GROUND if self.current_input() else None)

    # Reference.

    def _reference(self) -> tuple[float, float] | None:
        """Frequency and the moment of a rising zero; None where nothing locks."""
        if not self.external_reference():
            return self.value("frequency"), self._origin
        node, now = self.node("ref"), self.clock.seconds
        window = 8.0 / self.highest_hz
        while window < 1.0e5:
            times: FloatArray = np.asarray(now - window + np.arange(1025) * (window / 1024), dtype=np.float64)
            volts = self.fixture.volts([node], times)[:, 0]
            middle = 0.5 * (volts.max() + volts.min())
            rising = np.flatnonzero((volts[1:] >= middle) & (volts[:-1] < middle))
            if len(rising) >= 3 and np.ptp(volts) >= 2.0 * LEAST_REFERENCE_VOLTS:
                first = self._crossing(node, middle, times[rising[0]], times[rising[0] + 1])
                last = self._crossing(node, middle, times[rising[-1]], times[rising[-1] + 1])
                return (len(rising) - 1) / (last - first), last
            if self.fixture.still:
                return None
            window *= 4.0
        return None

    def _crossing(self, node: str, level: float, before: float, after: float) -> float:
        """When the reference rises through a level, by cutting the interval up four times and a line in the last."""
        for _ in range(4):
            times = np.linspace(before, after, 33)
            volts = self.fixture.volts([node], times)[:, 0] - level
            place = int(np.argmax(volts >= 0.0)) or 1
            before, after = float(times[place - 1]), float(times[place])
        low, high = float(volts[place - 1]), float(volts[place])
        return before if high == low else before - low * (after - before) / (high - low)

    @final
    def detected_hz(self) -> float:
        """Frequency of the reference; 0 where nothing locks."""
        found = self._reference()
        return 0.0 if found is None else found[0]

    # Demodulation.

    @final
    def settle_seconds(self) -> float:
        """How long a reading waits."""
        return self.time_constant_seconds() * SETTLED_TIME_CONSTANTS[self._stages() - 1]

    @final
    def noise_bandwidth_hz(self) -> float:
        """Of the output filters."""
        return NOISE_BANDWIDTH[self._stages() - 1] / self.time_constant_seconds()

    def _stages(self) -> int:
        return round(self.value("slope")) + 1

    def _signal(self, times: FloatArray) -> FloatArray:
        """Volts or amperes at the chosen input."""
        if self.current_input():
            signal = -self.fixture.amperes([self.node("i")], times)[:, 0]
        else:
            both = self.fixture.volts([self.node("a"), self.node("b")], times)
            signal = both[:, 0] - (both[:, 1] if round(self.value("input")) == 1 else 0.0)
        return np.asarray((self.disturbed(1.0) - self.disturbed(0.0)) * signal + self.disturbed(0.0))

    @final
    def outputs(self, times: FloatArray) -> ComplexArray:
        """X + iY at some times (time,), of settled filters, with noise; clipped where they overload."""
        reference = self._reference()
        self.lock_in_status &= ~UNLOCKED
        if reference is None:
            self.lock_in_status |= UNLOCKED
            return np.zeros(len(times), dtype=np.complex128)
        hertz, origin = reference
        period, harmonic = 1.0 / hertz, round(self.value("harmonic"))
        samples = max(SAMPLES_A_PERIOD, 1 << (8 * harmonic - 1).bit_length())
        ramp = np.arange(samples) * (period / samples)
        # A whole number of periods back, so that phases are the origin's.
        start = origin + np.floor((times[-1] - origin) / period - 1.0) * period
        one, few = self._signal(start + ramp), ramp[:: samples // COMPARED]
        earlier = self._signal(start - 3.0 * period + few)
        peak = float(np.abs(one).max())
        overloads = not self.current_input() and peak > self.input_limit_volts()
        if overloads or self.faults.active(self.name, "overload") or self.faults.active(self.name, "saturation"):
            self.lock_in_status |= INPUT_OVERLOAD
        if np.abs(one[:: samples // COMPARED] - earlier).max() <= REPEATS_WITHIN * np.ptp(one) + 1e-12 * peak:
            found = self._filtered_series(one, times - origin, hertz, harmonic)
        else:
            found = self._filtered_history(times, origin, hertz, harmonic)
        spread = self.volts_per_root_hz * np.sqrt(self.noise_bandwidth_hz())
        if self.current_input():
            spread = spread * 1.0e-6
        noise = spread * self.rng.standard_normal((2, len(times)))
        found = found * np.exp(-1j * np.deg2rad(self.value("phase"))) + noise[0] + 1j * noise[1]
        most = OVERLOAD_FRACTION * self.sensitivity_volts()
        if max(np.abs(found.real).max(), np.abs(found.imag).max()) > most:
            self.lock_in_status |= OUTPUT_OVERLOAD
        return np.asarray(np.clip(found.real, -most, most) + 1j * np.clip(found.imag, -most, most))

    def _transfer(self, radians_per_second: FloatArray) -> ComplexArray:
        stage = 1.0 / (1.0 + 1j * radians_per_second * self.time_constant_seconds())
        return np.asarray(stage ** self._stages(), dtype=np.complex128)

    def _filtered_series(self, one: FloatArray, since: FloatArray, hertz: float, harmonic: int) -> ComplexArray:
        """The Fourier series of v exp(-i k w t) behind the filters; X + iY = i sqrt(2) of it."""
        count = len(one)
        series = np.fft.fft(one) / count
        # The signed order m of each term; the product with the reference moves it to m - k.
        order = np.fft.fftfreq(count, 1.0 / count) - harmonic
        if round(self.value("coupling")) == 0 and not self.current_input():
            series[0] = 0.0
        keep = np.abs(order) <= max(4 * harmonic, 64)
        if self.value("synchronous"):
            keep &= order == 0
        order, series = order[keep], series[keep]
        turning = 2.0 * np.pi * hertz * order
        filtered = series * self._transfer(turning)
        return np.asarray(1j * np.sqrt(2.0) * (np.exp(1j * np.outer(since, turning)) @ filtered))

    def _filtered_history(self, times: FloatArray, origin: float, hertz: float, harmonic: int) -> ComplexArray:
        """The product sampled over the filters' memory before each time, and weighted by their impulse response."""
        tau, stages = self.time_constant_seconds(), self._stages()
        share = MOST_SAMPLES // len(times) or 1
        periods = max(1.0, min(np.ceil(self.settle_seconds() * hertz), share / (8.0 * harmonic)))
        ago = (np.arange(share) + 0.5) * (periods / hertz / share)
        weight = ago ** (stages - 1) * np.exp(-ago / tau)
        if not weight.any():
            weight = np.ones(share)
        at = (times[:, None] - ago).reshape(-1)
        signal = self._signal(at)
        if round(self.value("coupling")) == 0 and not self.current_input():
            signal = signal - signal.mean()
        product = signal * np.exp(-2j * np.pi * harmonic * hertz * (at - origin))
        return np.asarray(1j * np.sqrt(2.0) * (product.reshape(len(times), share) @ (weight / weight.sum())))

    @final
    def read(self) -> complex:
        """X + iY once the filters have settled."""
        self.spend(self.settle_seconds())
        return complex(self.outputs(np.array([self.clock.seconds]))[0])

    @final
    def aux_in(self, number: int) -> float:
        """Volts of an auxiliary input, in its steps of a third of a millivolt."""
        volts = self.disturbed(self.fixture.now(self.node(f"aux_in{number}")))
        return float(np.clip(round(volts * 3000.0) / 3000.0, -10.5, 10.5))

    @final
    def auto_phase(self) -> None:
        """Turn the reference so that Y is 0."""
        turned = self.value("phase") + float(np.rad2deg(np.angle(self.read())))
        self.put("phase", (turned + 180.0) % 360.0 - 180.0)

    # Stored readings.

    @abstractmethod
    def storing_hz(self) -> float:
        """Rate at which readings are stored; 0: by triggers only."""

    @final
    def start_storing(self) -> None:
        """Begin, or go on."""
        if self._storing_since is None:
            self._storing_since = self.clock.seconds

    @final
    def stop_storing(self, forget: bool = False) -> None:
        """Pause; ``forget`` empties the buffer too."""
        self._storing_since = None
        if forget:
            self._stored = []

    @final
    def store_now(self, times: FloatArray) -> None:
        """Store readings (X, Y) at some times."""
        room = times[: MOST_STORED - len(self._stored)]
        if len(room):
            self._stored += [(float(one.real), float(one.imag)) for one in self.outputs(room)]

    @final
    def stored(self, channel: int, unit: SrsUnit) -> FloatArray:
        """Readings ``j`` to ``j + k - 1`` of channel 1 (X) or 2 (Y), as ``i, j, k`` of a query name them."""
        start = unit.integer(1, 0, max(0, len(self._stored) - 1))
        count = unit.integer(2, 1, max(1, len(self._stored) - start))
        return np.array(self._stored[start : start + count], dtype=np.float64).reshape(-1, 2)[:, channel - 1]

    @final
    def stored_count(self) -> str:
        """How many; while storing, after one more interval."""
        if self._storing_since is not None and self.storing_hz() and len(self._stored) < MOST_STORED:
            self.spend(1.0 / self.storing_hz())
        return str(len(self._stored))

    def _elapsed(self, start: float, end: float) -> None:
        hertz = self.storing_hz()
        if self._storing_since is None or not hertz:
            return
        # A time that falls on the end of an interval but for rounding belongs to it.
        first, last = (np.floor((moment - self._storing_since) * hertz + 1e-6) for moment in (start, end))
        self.store_now(self._storing_since + np.arange(first + 1, last + 1)[:MOST_STORED] / hertz)

    # IEEE 488.2.

    def _common(self) -> dict[str, SrsCommand]:
        return {
            "*IDN": SrsCommand(query=lambda _: self.shown_identity(self.identity)),
            "*RST": SrsCommand(lambda _: self._reset(), most=0),
            "*CLS": SrsCommand(lambda _: self._clear(), most=0),
            "*ESR": SrsCommand(query=lambda _: self._events(), most_asked=1),
            "*ESE": SrsCommand(self._enable_events, lambda _: str(self._event_enable)),
            "*SRE": SrsCommand(self._enable_service, lambda _: str(self._service_enable)),
            "*STB": SrsCommand(query=lambda _: str(self._status_byte()), most_asked=1),
            "*OPC": SrsCommand(lambda _: self._completed(), lambda _: "1", most=0),
            "*TST": SrsCommand(query=lambda _: "0"),
            "*TRG": SrsCommand(lambda _: self.store_now(np.array([self.clock.seconds])), most=0),
        }

    def _clear(self) -> None:
        self._event_status = self.lock_in_status = 0

    def _completed(self) -> None:
        self._event_status |= 1

    def _enable_events(self, unit: SrsUnit) -> None:
        self._event_enable = unit.integer(0, 0, 255)

    def _enable_service(self, unit: SrsUnit) -> None:
        self._service_enable = unit.integer(0, 0, 255)

    def _events(self) -> str:
        found, self._event_status = self._event_status, 0
        return str(found)

    def _status_byte(self) -> int:
        """SR830 manual, 5-20: bit 0 no scan, 1 idle, 3 lock-in status, 5 events."""
        byte = 2 | (0 if self._storing_since is not None else 1) | (8 if self.lock_in_status else 0)
        byte |= 32 if self._event_status & self._event_enable else 0
        return byte | (64 if byte & self._service_enable else 0)
