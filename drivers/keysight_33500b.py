"""Keysight 33500B waveform generators with two channels, such as the 33512B.

Commands: 33500 Series Operating and Service Guide. All voltages are those of the open output: each set-up tells the
instrument that its load is infinite, so that what it is told is what a device can see at most. With 50 ohms at the far
end half of it arrives.

What else may change a wave -- modulation, sweeps, the other channel -- is of no use here, but may be left on from
earlier. ``enable`` switches it off, and asks whether it is, before the output's relay closes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Unpack, final

import numpy as np

from drivers.errors import InstrumentError
from drivers.generator import WaveformGenerator, WaveformOutput
from drivers.instrument import Options, Part
from drivers.limits import DriveLimits
from drivers.setting import Choice, Number, Switch, Text, number, one_of
from drivers.transport import Link
from substrate.arrays import FloatArray
from substrate.errors import InputError

SMALLEST_VPP = 2.0e-3
LARGEST_EMF_VOLTS = 10.0
FULL_SCALE = 32767
FEWEST_SAMPLES, MOST_SAMPLES = 8, 1_000_000
FUNCTIONS = {
    "sine": "SIN", "square": "SQU", "triangle": "TRI", "ramp": "RAMP", "pulse": "PULS", "prbs": "PRBS",
    "noise": "NOIS", "arbitrary": "ARB", "dc": "DC",
}  # fmt: skip
TRIGGERS = {"immediate": "IMM", "external": "EXT", "timer": "TIM", "bus": "BUS"}
PLAIN: Final = {
    "SOUR{n}:COMB:FEED": "NONE", "SOUR{n}:AM:STAT": "0", "SOUR{n}:FM:STAT": "0", "SOUR{n}:PM:STAT": "0",
    "SOUR{n}:FSK:STAT": "0", "SOUR{n}:BPSK:STAT": "0", "SOUR{n}:PWM:STAT": "0", "SOUR{n}:SUM:STAT": "0",
    "SOUR{n}:SWE:STAT": "0", "SOUR{n}:FREQ:MODE": "CW", "SOUR1:TRAC": "OFF", "SOUR2:TRAC": "OFF",
    "SOUR{n}:VOLT:COUP": "0", "SOUR{n}:FREQ:COUP": "0", "OUTP{n}:POL": "NORM", "OUTP{n}:MODE": "NORM",
}  # fmt: skip
"""Settings with which a channel puts out the function that it is set to and nothing else, bursts aside."""

SHAPING: Final = {"square": "SOUR{n}:FUNC:SQU:DCYC 50", "ramp": "SOUR{n}:FUNC:RAMP:SYMM 100"}
"""What makes functions of these names what they are called."""


@final
class GeneratorChannel(WaveformOutput):
    """One output. Voltages are changed by methods only, which check them against the limits."""

    least_amplitude_volts = 0.5 * SMALLEST_VPP
    most_volts = LARGEST_EMF_VOLTS
    function = Choice("SOUR{channel}:FUNC", FUNCTIONS, read_only=True)
    frequency_hz = Number("SOUR{channel}:FREQ", unit="Hz", low=1e-6, high=20e6)
    amplitude_vpp = Number("SOUR{channel}:VOLT", unit="V", read_only=True)
    offset_volts = Number("SOUR{channel}:VOLT:OFFS", unit="V", read_only=True)
    phase_degrees = Number("SOUR{channel}:PHAS", unit="deg", low=-360.0, high=360.0)
    load_ohms = Number("OUTP{channel}:LOAD", unit="ohm", read_only=True)
    is_on = Switch("OUTP{channel}", read_only=True)
    polarity = Choice("OUTP{channel}:POL", {"normal": "NORM", "inverted": "INV"}, read_only=True)
    sample_rate_hz = Number("SOUR{channel}:FUNC:ARB:SRAT", unit="Hz", low=1e-6, high=160e6)
    samples_name = Text("SOUR{channel}:FUNC:ARB", read_only=True)
    burst = Switch("SOUR{channel}:BURS:STAT", read_only=True)
    burst_phase_degrees = Number("SOUR{channel}:BURS:PHAS", unit="deg", low=-360.0, high=360.0)
    burst_cycles = Number("SOUR{channel}:BURS:NCYC", read_only=True)
    trigger_source = Choice("TRIG{channel}:SOUR", TRIGGERS)
    trigger_delay_seconds = Number("TRIG{channel}:DEL", unit="s", low=0.0, high=1000.0)

    def __init__(self, instrument: "Keysight33500B", channel: int, limits: DriveLimits) -> None:
        super().__init__(instrument, channel)
        self._limits = limits
        self._n = channel
        self._armed = False

    def sine(
        self, frequency_hz: float, amplitude_volts: float, offset_volts: float = 0.0, phase_degrees: float = 0.0
    ) -> None:
        """A sine of this peak amplitude about an offset.

        Raises:
            CapabilityError: its peak is beyond the safe voltage.
            InputError: beyond what the instrument has.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        self.waveform("sine", frequency_hz, amplitude_volts, offset_volts, phase_degrees)

    def dc(self, volts: float) -> None:
        """A constant voltage.

        Raises:
            CapabilityError, InputError, BenchError: as ``sine``.
        """
        self._check(0.0, volts)
        # The function comes first: at DC the amplitude counts for nothing.
        self.configure(*self._unloaded(), f"SOUR{self._n}:FUNC DC", f"SOUR{self._n}:VOLT:OFFS {volts:.9G}")

    def waveform(
        self,
        function: str,
        frequency_hz: float,
        amplitude_volts: float,
        offset_volts: float = 0.0,
        phase_degrees: float = 0.0,
    ) -> None:
        """A periodic function of this peak amplitude about an offset.

        Raises:
            CapabilityError, InputError, BenchError: as ``sine``.
        """
        if function in ("dc", "arbitrary", "noise", "prbs"):
            raise InputError(f"function: expected a periodic one, such as sine, got {function!r}")
        kind = type(self)
        self._levels(
            amplitude_volts,
            offset_volts,
            *([SHAPING[function].format(n=self._n)] if function in SHAPING else []),
            kind.function.command.format(channel=self._n, value=kind.function.encode(function)),
            kind.frequency_hz.assignment(self, frequency_hz),
            kind.phase_degrees.assignment(self, phase_degrees),
        )

    def samples(
        self, name: str, values: FloatArray, sample_rate_hz: float, amplitude_volts: float, offset_volts: float = 0.0
    ) -> None:
        """A waveform of samples, repeated for ever.

        Args:
            name: up to 12 letters and digits; those that were loaded under other names stay.
            values: (sample), from -1 to 1.
            sample_rate_hz: samples a second.
            amplitude_volts: of a value of 1.
            offset_volts: added to all.

        Raises:
            CapabilityError, InputError, BenchError: as ``sine``.
        """
        given = np.asarray(values, dtype=np.float64)
        if given.ndim != 1 or not FEWEST_SAMPLES <= len(given) <= MOST_SAMPLES:
            raise InputError(f"values: expected {FEWEST_SAMPLES} to {MOST_SAMPLES} samples, got shape {given.shape}")
        if not np.all(np.abs(given) <= 1.0):
            raise InputError("values: expected numbers from -1 to 1")
        if not (name.isascii() and name.isalnum() and len(name) <= 12):
            raise InputError(f"name: expected up to 12 letters and digits, got {name!r}")
        self._check(amplitude_volts, offset_volts)
        rate = type(self).sample_rate_hz.assignment(self, sample_rate_hz)
        known = self.ask(f"SOUR{self._n}:DATA:VOL:CAT?", str).upper()
        if f'"{name.upper()}"' in known or f"{name.upper()}.ARB" in known:
            raise InputError(f"name: {name!r} is loaded already; clear_samples() forgets all")
        codes = np.rint(given * FULL_SCALE).astype(">i2")
        with self.session.unbroken(f"SOUR{self._n}:DATA:ARB:DAC {name}"):
            self.session.write("FORM:BORD NORM")
            self.session.write_block(f"SOUR{self._n}:DATA:ARB:DAC {name},", codes.tobytes())
            self.instrument.check_errors(f"SOUR{self._n}:DATA:ARB:DAC {name}")
        self._levels(amplitude_volts, offset_volts, f"SOUR{self._n}:FUNC:ARB {name}", rate, f"SOUR{self._n}:FUNC ARB")

    def clear_samples(self) -> None:
        """Forget all loaded samples of this channel.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        self.configure(f"SOUR{self._n}:DATA:VOL:CLE")

    def arm_burst(self, cycles: int, source: str = "bus", phase_degrees: float = 0.0) -> None:
        """Put out so many cycles at each trigger.

        Raises:
            InputError: a number or a source that does not exist.
            BenchError: it was not accepted.
        """
        if not 1 <= cycles <= 100_000_000:
            raise InputError(f"cycles: expected 1 to 1e8, got {cycles!r}")
        kind = type(self)
        self._armed = True
        self.configure(
            f"SOUR{self._n}:BURS:MODE TRIG",
            f"SOUR{self._n}:BURS:NCYC {cycles}",
            kind.burst_phase_degrees.assignment(self, phase_degrees),
            kind.trigger_source.assignment(self, source),
            f"SOUR{self._n}:BURS:STAT 1",
        )

    def disarm_burst(self) -> None:
        """Put the function out without end.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        self._armed = False
        self.configure(f"SOUR{self._n}:BURS:STAT 0")

    def enable(self) -> None:
        """Close the output's relay, if what the instrument is set to is safe, whoever has set it. Modulation, sweeps,
        bursts that were not armed here, and what the other channel would add are switched off before.

        Raises:
            CapabilityError: it is not.
            InstrumentError: something of this stays on.
            BenchError: the instrument cannot be reached.
        """
        with self.instrument.link.lock:
            if others := self._others():
                # What is put out changes with them: not while anybody sees it.
                self.configure(f"OUTP{self._n} 0", *(f"{header} {word}" for header, (word, _) in others.items()))
                if others := self._others():
                    found = ", ".join(f"{header} is {found}, not {word}" for header, (word, found) in others.items())
                    raise InstrumentError(f"{self.instrument.link.address}: channel {self._n} is not plain: {found}")
            self.configure(f"SOUR{self._n}:VOLT:UNIT VPP", *self._unloaded())
            dc = self.function == "dc"
            self._check(0.0 if dc else 0.5 * self.amplitude_vpp, self.offset_volts)
            self.configure(f"OUTP{self._n} 1")

    def disable(self) -> None:
        """Open the output's relay.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        self.configure(f"OUTP{self._n} 0")

    def forget(self) -> None:
        """That a burst was armed."""
        self._armed = False

    def _others(self) -> dict[str, tuple[str, str]]:
        """What changes the wave now: header, what it should be and what it is."""
        wanted = {header.format(n=self._n): word for header, word in PLAIN.items()}
        wanted[f"SOUR{self._n}:BURS:STAT"] = str(int(self._armed))

        def words(answer: str) -> list[str]:
            found = answer.strip().upper().split(";")
            if len(found) != len(wanted):
                raise ValueError(f"expected {len(wanted)} answers")
            return found

        found = self.ask(";:".join(f"{header}?" for header in wanted), words)
        pairs = zip(wanted.items(), found, strict=True)
        return {header: (word, one) for (header, word), one in pairs if not one.startswith(word)}

    def _unloaded(self) -> tuple[str, ...]:
        """Voltages are those of the open output. Told alone, this would show other numbers for the same output."""
        return (f"OUTP{self._n}:LOAD INF",)

    def _check(self, amplitude_volts: float, offset_volts: float) -> None:
        peak = abs(amplitude_volts) + abs(offset_volts)
        self._limits.check_volts(f"channel {self._n}: peak of the output", peak)
        if not peak <= LARGEST_EMF_VOLTS:
            raise InputError(f"channel {self._n}: expected a peak of {LARGEST_EMF_VOLTS:g} V at most, got {peak:g} V")

    def _levels(self, amplitude_volts: float, offset_volts: float, *between: str) -> None:
        """Change levels and whatever else so that nothing in between is beyond the limits."""
        self._check(amplitude_volts, offset_volts)
        if not 2.0 * amplitude_volts >= SMALLEST_VPP:
            raise InputError(f"amplitude_volts: expected {SMALLEST_VPP / 2:g} V or more, got {amplitude_volts!r}")
        self.configure(
            *self._unloaded(),
            f"SOUR{self._n}:VOLT:UNIT VPP",
            f"SOUR{self._n}:VOLT {SMALLEST_VPP:.9G}",
            f"SOUR{self._n}:VOLT:OFFS {offset_volts:.9G}",
            *between,
            f"SOUR{self._n}:VOLT {2.0 * amplitude_volts:.9G}",
        )


@final
class Keysight33500B(WaveformGenerator):
    """A generator with two channels.

    Args:
        resource: address.
        limits: of what is driven, at the open output.
        options: of ``Instrument``.

    Attributes:
        channels: by number, 1 and 2.
    """

    model_pattern = r"\b335\d\dB\b"
    abort = "ABOR"
    sync_source = Choice("OUTP:SYNC:SOUR", {"channel1": "CH1", "channel2": "CH2"})

    def __init__(self, resource: str | Link, limits: DriveLimits, **options: Unpack[Options]) -> None:
        super().__init__(resource, **options)
        self.channels = {channel: GeneratorChannel(self, channel, limits) for channel in (1, 2)}

    @property
    def waveform_outputs(self) -> Mapping[int, GeneratorChannel]:
        """The channels."""
        return self.channels

    def synchronise(self) -> None:
        """Let the phases of both channels refer to now.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        self.configure("PHAS:SYNC")

    def trigger(self) -> None:
        """``*TRG``: begin a burst on all channels that wait for the bus. It is sent once.

        Raises:
            BenchError: none waits, or the instrument cannot be reached.
        """
        self.configure("*TRG")

    def wait(self, seconds: float) -> None:
        """Until a burst has ended.

        Raises:
            DeviceTimeout: not within ``seconds``.
        """
        self.session.ask("*OPC?", number, seconds=seconds, once=True)

    def has_external_clock(self) -> bool:
        """By the source that the clock is locked to now (``ROSC:SOUR:CURR?``)."""
        return self.session.ask("ROSC:SOUR:CURR?", one_of("INT", "EXT")) == "EXT"

    def _safe_steps(self) -> Sequence[Callable[[], None]]:
        channels = self.channels.values()
        return [*(channel.disable for channel in channels), *(channel.disarm_burst for channel in channels)]

    def _parts(self) -> Mapping[str, Part]:
        return {f"channel{number}": channel for number, channel in self.channels.items()}

    def _forget(self) -> None:
        for channel in self.channels.values():
            channel.forget()
