"""Red Pitaya STEMlab boards by their SCPI server (TCP port 5000): two fast outputs and two fast inputs.

Commands: https://redpitaya.readthedocs.io, "List of supported SCPI commands", of OS 2.00 and later. Outputs
reach 1 V into a high impedance; inputs 1 V or 20 V by jumpers, 16384 samples at 125 MHz or a power of 2 slower.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Unpack, final

import numpy as np

from drivers.errors import DeviceTimeout, ProtocolError
from drivers.generator import WaveformGenerator, WaveformOutput
from drivers.instrument import Channel, Options, Part
from drivers.limits import DriveLimits
from drivers.setting import Choice, Integer, Number, Switch, one_of
from drivers.transport import Link
from drivers.waveforms import Waveforms, stacked
from substrate.arrays import FloatArray
from substrate.errors import InputError

LARGEST_VOLTS = 1.0
SAMPLES = 16_384
CLOCK_HZ = 125.0e6
TRIGGER_STATE = one_of("TD", "WAIT")
FILLED = one_of("0", "1")
POLL_SECONDS = 0.002
TRIGGERS: Final = {
    "now": "NOW", "channel1_rising": "CH1_PE", "channel1_falling": "CH1_NE", "channel2_rising": "CH2_PE",
    "channel2_falling": "CH2_NE", "external": "EXT_PE", "generator": "AWG_PE",
}  # fmt: skip
CLIPPED: Final = 0.9995
"""Of full scale: the last codes of 14 bits."""


@final
class OutputChannel(WaveformOutput):
    """One fast output."""

    least_amplitude_volts = LARGEST_VOLTS / 2**13
    most_volts = LARGEST_VOLTS
    function = Choice(
        "SOUR{channel}:FUNC", {"sine": "SINE", "square": "SQUARE", "triangle": "TRIANGLE", "dc": "DC"}, read_only=True
    )
    frequency_hz = Number("SOUR{channel}:FREQ:FIX", unit="Hz", low=1e-6, high=50e6)
    amplitude_volts = Number("SOUR{channel}:VOLT", unit="V", read_only=True)
    offset_volts = Number("SOUR{channel}:VOLT:OFFS", unit="V", read_only=True)
    phase_degrees = Number("SOUR{channel}:PHAS", unit="deg", low=-360.0, high=360.0)
    is_on = Switch("OUTPUT{channel}:STATE", read_only=True)

    def __init__(self, instrument: "RedPitaya", channel: int, limits: DriveLimits) -> None:
        super().__init__(instrument, channel)
        self._limits = limits
        self._n = channel

    def sine(
        self, frequency_hz: float, amplitude_volts: float, offset_volts: float = 0.0, phase_degrees: float = 0.0
    ) -> None:
        """A sine of this peak amplitude about an offset.

        Raises:
            CapabilityError: its peak is beyond the safe voltage.
            InputError: beyond what the instrument has.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        kind = type(self)
        self._levels(
            "SINE",
            amplitude_volts,
            offset_volts,
            kind.frequency_hz.assignment(self, frequency_hz),
            kind.phase_degrees.assignment(self, phase_degrees),
        )

    def dc(self, volts: float) -> None:
        """A constant voltage.

        Raises:
            CapabilityError, InputError, BenchError: as ``sine``.
        """
        # This board's DC is its amplitude, without a sign: a negative one is an offset.
        self._levels("DC", 0.0, volts)

    def enable(self) -> None:
        """Switch the output on, if what the board is set to is safe, whoever has set it.

        Raises:
            CapabilityError: it is not.
            BenchError: the instrument cannot be reached.
        """
        with self.instrument.link.lock:
            peak = abs(self.amplitude_volts) + abs(self.offset_volts)
            self._limits.check_volts(f"channel {self._n}: peak of the output", peak)
            # What is put out begins with the internal trigger, a continuous wave too.
            self.configure(f"SOUR{self._n}:TRig:SOUR INT", f"OUTPUT{self._n}:STATE ON", f"SOUR{self._n}:TRig:INT")

    def disable(self) -> None:
        """Switch the output off.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        self.configure(f"OUTPUT{self._n}:STATE OFF")

    def _levels(self, function: str, amplitude_volts: float, offset_volts: float, *between: str) -> None:
        """Change levels so that nothing in between is beyond the limits."""
        peak = abs(amplitude_volts) + abs(offset_volts)
        self._limits.check_volts(f"channel {self._n}: peak of the output", peak)
        if not (peak <= LARGEST_VOLTS and amplitude_volts >= 0.0):
            raise InputError(f"channel {self._n}: expected a peak of {LARGEST_VOLTS:g} V at most, got {peak:g} V")
        self.configure(
            f"SOUR{self._n}:VOLT 0",
            f"SOUR{self._n}:BURS:STAT CONTINUOUS",
            f"SOUR{self._n}:VOLT:OFFS {offset_volts:.9G}",
            f"SOUR{self._n}:FUNC {function}",
            *between,
            f"SOUR{self._n}:VOLT {amplitude_volts:.9G}",
        )


@final
class InputChannel(Channel):
    """One fast input."""

    gain = Choice("ACQ:SOUR{channel}:GAIN", {"1": "LV", "20": "HV"}, doc="full scale in V, as the jumpers are set")


@final
class RedPitaya(WaveformGenerator):
    """A board.

    Args:
        resource: address.
        limits: of what is driven.
        options: of ``Instrument``.

    Attributes:
        outputs, inputs: by number, 1 and 2.
    """

    model_pattern = r"red.?pitaya"
    message_end = b"\r\n"
    decimation = Integer("ACQ:DEC", low=1, high=65_536)
    averaging = Switch("ACQ:AVG")
    trigger_level_volts = Number("ACQ:TRig:LEV", unit="V", low=-20.0, high=20.0)
    trigger_delay_samples = Integer("ACQ:TRig:DLY", low=-8192, high=8192)

    def __init__(self, resource: str | Link, limits: DriveLimits, **options: Unpack[Options]) -> None:
        super().__init__(resource, **options)
        self.outputs = {channel: OutputChannel(self, channel, limits) for channel in (1, 2)}
        self.inputs = {channel: InputChannel(self, channel) for channel in (1, 2)}

    @property
    def waveform_outputs(self) -> Mapping[int, OutputChannel]:
        """The outputs."""
        return self.outputs

    def has_external_clock(self) -> None:
        """It does not tell: boards whose clock comes from outside are made that way."""

    def synchronise(self) -> None:
        """Let both outputs begin their periods now.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        self.configure("PHAS:ALIGN")

    def record(self, channels: Sequence[int], seconds: float, points: int = SAMPLES, trigger: str = "now") -> Waveforms:
        """Take one record and read it.

        Args:
            channels: 1, 2 or both.
            seconds: that the trigger and the record may take.
            points: the first so many samples of the memory, in whose middle the trigger is.
            trigger: a name of ``TRIGGERS``.

        Raises:
            InputError: a channel, number or trigger that does not exist.
            DeviceTimeout: no trigger came, or not all of the record; the acquisition is stopped.
            BenchError: the instrument cannot be reached.
        """
        if not channels or any(channel not in self.inputs for channel in channels):
            raise InputError(f"channels: expected 1, 2 or both, got {list(channels)}")
        if not 1 <= points <= SAMPLES or trigger not in TRIGGERS:
            raise InputError(f"record: expected 1 to {SAMPLES} points and one of {', '.join(TRIGGERS)}")
        with self.link.lock:
            self.configure(
                "ACQ:DATA:FORMAT ASCII", "ACQ:DATA:Units VOLTS", "ACQ:START", f"ACQ:TRig {TRIGGERS[trigger]}"
            )
            self._wait(seconds)
            step = self.decimation / CLOCK_HZ
            delay = self.trigger_delay_samples
            gains = [float(self.inputs[channel].gain) for channel in channels]
            volts = [self._samples(channel, points) for channel in channels]
        clipped = [bool(np.any(np.abs(one) >= CLIPPED * gain)) for one, gain in zip(volts, gains, strict=True)]
        # The trigger stands in the middle of the memory, but for the delay.
        times: FloatArray = np.arange(points, dtype=np.float64)
        times = (times - SAMPLES // 2 + delay) * step
        return stacked(times, volts, clipped)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        # Behind the trigger the memory holds the record before until it is filled.
        for question, decode, done, what in (
            ("ACQ:TRig:STAT?", TRIGGER_STATE, "TD", "no trigger"),
            ("ACQ:TRig:FILL?", FILLED, "1", "a trigger, but no whole record"),
        ):
            while self.session.ask(question, decode) != done:
                if time.monotonic() >= deadline:
                    self.session.write("ACQ:STOP")
                    raise DeviceTimeout(f"{self.link.address}: {what} in {seconds:g} s")
                time.sleep(POLL_SECONDS)

    def _samples(self, channel: int, points: int) -> FloatArray:
        found = self.session.ask(f"ACQ:SOUR{channel}:DATA:Old:N? {points}", _braced)
        if len(found) != points:
            raise ProtocolError(f"{self.link.address}: expected {points} samples, got {len(found)}")
        return found

    def _safe_steps(self) -> Sequence[Callable[[], None]]:
        return [channel.disable for channel in self.outputs.values()]

    def _parts(self) -> Mapping[str, Part]:
        outputs = {f"output{number}": channel for number, channel in self.outputs.items()}
        return {**outputs, **{f"input{number}": channel for number, channel in self.inputs.items()}}

    def _forget(self) -> None:
        """Nothing is remembered."""


def _braced(answer: str) -> FloatArray:
    text = answer.strip()
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError("expected numbers in braces")
    return np.array(text[1:-1].split(","), dtype=np.float64)
