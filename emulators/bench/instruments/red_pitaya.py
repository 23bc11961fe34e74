"""Red Pitaya STEMlab 125-14 under its SCPI server: two fast outputs, two fast inputs, slow pins; CR LF ends.

Commands: Red Pitaya's list of SCPI commands (2.00). Fast inputs: 14 bits at +-1 V (LV) or +-20 V (HV), 125 MS/s over a
decimation of 1 to 65 536, 16 384 samples. Fast outputs: 14 bits, +-1 V, 50 ohm.
Noise of one step, chosen: the documentation gives a bound only (fast analog inputs, "input noise level" below
-119 dBm/Hz, which in 50 ohm is .25 uV a root of Hz, or 16 steps at the full rate).

``ACQ:START`` begins to fill the buffer; a trigger stands ``ACQ:TRig:DLY`` samples before its middle. A trigger that is
due before what precedes it is filled waits for that. The record is of the circuit as it is when the trigger is given,
and the clock then stands at the trigger. What comes after it arrives as time goes by: before, the buffer still holds
what it held. ``ACQ:TRig:FILL?`` says whether all has; to ask too early is answered by 0, and lets the time pass.

An output that is switched on rests at 0 V until the internal trigger, in continuous mode too; switching it off forgets
the trigger (not confirmed). Phases are counted from ``GEN:RST`` and ``PHAS:ALIGN``, not from triggers.
"""

from collections.abc import Sequence
from typing import final

import numpy as np

from emulators.bench.generator_wave import GeneratorWave, Shape
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.scpi import Answer, Command, Request, ScpiError, block
from emulators.bench.sources import Constant, VoltageSource
from substrate.arrays import FloatArray

CLOCK_HZ = 125.0e6
POINTS = 16_384
BITS = 14
LV_VOLTS, HV_VOLTS = 1.0, 20.0
LEAST_NOISE_STEPS = 1.0
INPUT_OHMS, OUTPUT_OHMS = 1.0e6, 50.0
SHAPES: dict[str, Shape] = {
    "SINE": "sine", "SQUARE": "square", "TRIANGLE": "ramp", "SAWU": "ramp", "SAWD": "ramp", "PWM": "square",
    "ARBITRARY": "samples", "DC": "dc", "DC_NEG": "dc",
}  # fmt: skip
SYMMETRY = {"TRIANGLE": 0.5, "SAWU": 1.0, "SAWD": 0.0}
TRIGGERS = ["DISABLED", "NOW", "CH1_PE", "CH1_NE", "CH2_PE", "CH2_NE", "EXT_PE", "EXT_NE", "AWG_PE", "AWG_NE"]
SEARCH_PERIODS, SEARCH_STEPS = 64, 1024
AIN_VOLTS, AIN_BITS, AOUT_VOLTS = 3.3, 12, 1.8
PINS = [f"DIO{number}_{side}" for number in range(8) for side in "PN"] + [f"LED{number}" for number in range(8)]


@final
class RedPitaya(ScpiInstrument):
    """Ports: ``in1``, ``in2``, ``out1``, ``out2``, ``ain0`` .. ``ain3``, ``aout0`` .. ``aout3``."""

    line_end = b"\r\n"
    number_format = "{:.6g}"

    def ports(self) -> Sequence[str]:
        """Fast and slow pins."""
        slow = [f"{way}{number}" for way in ("ain", "aout") for number in range(4)]
        return ["in1", "in2", "out1", "out2", *slow]

    @property
    def identity(self) -> str:
        """Of the SCPI server."""
        return "REDPITAYA,INSTR2023,0,02-03"

    def commands(self) -> Sequence[Command]:
        """Of the list of SCPI commands."""
        self._record: FloatArray | None = None
        self._before = np.zeros((2, POINTS))
        self._times = np.zeros(POINTS)
        self._samples = {channel: np.zeros(POINTS) for channel in (1, 2)}
        out, changed = "SOUR#2:", self._changed
        return [
            self.choice(f"{out}FUNC", "shape", "SINE", list(SHAPES), changed=changed),
            self.number(f"{out}FREQ[:FIX]", "frequency", 1000.0, 1e-3, 5e7, unit="HZ", changed=changed),
            self.number(f"{out}VOLT", "amplitude", 1.0, -1.0, 1.0, unit="V", changed=changed),
            self.number(f"{out}VOLT:OFFS", "offset", 0.0, -1.0, 1.0, unit="V", changed=changed),
            self.number(f"{out}PHAS", "phase", 0.0, -360.0, 360.0, changed=changed),
            self.number(f"{out}DCYC", "duty", 0.5, 0.0, 1.0, changed=changed),
            Command(f"{out}TRAC:DATA:DATA", self._load_samples, self._shown_samples, most=POINTS),
            self.choice(f"{out}BURS:STAT", "burst", "CONTINUOUS", ["CONTINUOUS", "BURST"], changed=changed),
            self.number(f"{out}BURS:NCYC", "cycles", 1, 1, 50_000, integer=True, changed=changed),
            self.choice(f"{out}TRig:SOUR", "generator_trigger", "INT", ["INT", "EXT_PE", "EXT_NE", "GATED"]),
            Command(f"{out}TRig:INT", lambda r: self._begin(r.suffixes[0]), most=0),
            Command("SOUR:TRig:INT", lambda _: self._begin_both(), most=0),
            self.switch("OUTPUT#2[:STATE]", "output", False, changed=self._switched),
            Command("PHAS:ALIGN", lambda _: self._align(), most=0),
            Command("GEN:RST", lambda _: self._reset_generator(), most=0),
            *self._acquisition(),
            Command("DIG:RST", lambda _: self._pins.clear(), most=0),
            Command("DIG:PIN:DIR", self._set_direction, lambda r: self._directions[self._pin(r, 0)], most=2),
            Command("DIG:PIN", self._set_pin, lambda r: str(self._pins.get(self._pin(r, 0), 0)), most=2),
            Command("ANALOG:RST", lambda _: self._reset_slow(), most=0),
            Command("ANALOG:PIN", self._set_slow, self._slow, most=2),
            Command("SYST:TIME", self._set_time, lambda _: self._time, most=3),
            Command("SYST:DATE", self._set_date, lambda _: self._date, most=3),
            Command("SYST:BRD:ID", query=lambda _: "31", most=0),
            Command("SYST:BRD:Name", query=lambda _: "STEMlab 125-14 v1.0", most=0),
            self.switch("ECOS:STATE", "economy", False),
        ]

    def _acquisition(self) -> list[Command]:
        return [
            self.number("ACQ:DEC", "decimation", 1, 1, 65_536, integer=True, form="{:d}"),
            Command("ACQ:AVG", self._set_averaging, lambda _: "ON" if self.value("averages") else "OFF"),
            self.switch("ACQ:AVG:STAT", "averages", True),
            self.choice("ACQ:DATA:Units ACQ:DATA:UNITS", "units", "VOLTS", ["VOLTS", "RAW"]),
            self.choice("ACQ:DATA:FORMAT", "format", "ASCII", ["ASCII", "BIN"]),
            self.choice("ACQ:SOUR#2:GAIN", "gain", "LV", ["LV", "HV"]),
            self.choice("ACQ:SOUR#2:COUP", "coupling", "DC", ["AC", "DC"]),
            Command("ACQ:START", lambda _: self._start(), most=0),
            Command("ACQ:STOP", lambda _: self._stop(), most=0),
            Command("ACQ:RST", lambda _: self._reset_acquisition(), most=0),
            Command("ACQ:TRig", self._set_trigger),
            Command("ACQ:TRig:STAT", query=lambda _: "TD" if self._triggered else "WAIT", most=0),
            Command("ACQ:TRig:FILL", query=lambda _: self._filled(), most=0),
            self.number("ACQ:TRig:DLY", "delay", 0, -POINTS // 2, POINTS // 2, integer=True),
            Command("ACQ:TRig:DLY:NS", self._set_delay_ns, lambda _: str(round(self.value("delay") * 1e9 / CLOCK_HZ))),
            self.number("ACQ:TRig:LEV", "level", 0.0, -20.0, 20.0, unit="V"),
            Command("ACQ:TPOS", query=lambda _: str(self._position()), most=0),
            Command("ACQ:WPOS", query=lambda _: "0", most=0),
            Command("ACQ:BUF:SIZE", query=lambda _: str(POINTS), most=0),
            Command("ACQ:SOUR#2:DATA", query=lambda r: self._data(r, slice(None)), most=0),
            Command("ACQ:SOUR#2:DATA:Old:N", query=lambda r: self._data(r, slice(0, self._count(r, 0)))),
            Command("ACQ:SOUR#2:DATA:LATest:N", query=lambda r: self._data(r, slice(POINTS - self._count(r, 0), None))),
            Command("ACQ:SOUR#2:DATA:STArt:N", query=self._part, most=2),
        ]

    def reset(self) -> None:
        """Outputs off, nothing acquired."""
        self._pins: dict[str, int] = {}
        self._directions = dict.fromkeys(PINS, "IN")
        self._time, self._date = "12,0,0", "2024,1,1"
        for number in (1, 2):
            self.fixture.load(self.node(f"in{number}"), INPUT_OHMS)
        self._reset_generator()
        self._reset_slow()
        self._reset_acquisition()

    def outputs_off(self) -> None:
        """Off the circuit."""
        for number in (1, 2):
            self.put("output", False, number)
            self.fixture.attach(self.node(f"out{number}"), None)
        self._reset_slow()

    def trigger(self) -> None:
        """Nothing waits for it."""
        raise ScpiError(-211)

    # Outputs.

    def _changed(self, request: Request) -> None:
        self._update(request.suffixes[0])

    def _switched(self, request: Request) -> None:
        if not self.value("output", *request.suffixes):
            self._starts[request.suffixes[0]] = []
        self._changed(request)

    def _update(self, channel: int) -> None:
        node = self.node(f"out{channel}")
        if not self.value("output", channel):
            self.fixture.attach(node, None)
            return
        if not self._starts[channel]:
            self.fixture.attach(node, VoltageSource(Constant(0.0), series_ohms=OUTPUT_OHMS))
            return
        word, starts = self.value("shape", channel), self._starts[channel]
        amplitude, offset = self.value("amplitude", channel), self.value("offset", channel)
        if word in ("DC", "DC_NEG"):
            # The amplitude is the voltage of DC.
            offset, amplitude = offset + (amplitude if word == "DC" else -amplitude), 0.0
        if not -1.0 <= offset - abs(amplitude) <= offset + abs(amplitude) <= 1.0:
            # The converter ends there; nothing says so.
            amplitude = np.sign(amplitude) * max(0.0, 1.0 - abs(offset))
            offset = float(np.clip(offset, -1.0, 1.0))
        bursts = self.value("burst", channel) == "BURST"
        wave = GeneratorWave(
            SHAPES[word], self.value("frequency", channel), 2.0 * amplitude, offset,
            phase_cycles=self.value("phase", channel) / 360.0, origin_seconds=self._origin,
            duty=self.value("duty", channel) if word == "PWM" else 0.5, symmetry=SYMMETRY.get(word, 1.0),
            samples=self._samples[channel], starts=np.array(starts) if bursts else None,
            cycles=self.value("cycles", channel), dac_bits=BITS,
        )  # fmt: skip
        self.fixture.attach(node, VoltageSource(wave, series_ohms=OUTPUT_OHMS))

    def _begin(self, channel: int) -> None:
        if not self.value("output", channel):
            return
        length = self.value("cycles", channel) / self.value("frequency", channel)
        self._starts[channel] = [*self._starts[channel][-1000:], self.clock.seconds]
        if self.value("burst", channel) == "BURST":
            self.occupy(length)
        self._update(channel)

    def _begin_both(self) -> None:
        for channel in (1, 2):
            self._begin(channel)

    def _align(self) -> None:
        self._origin = self.clock.seconds
        for channel in (1, 2):
            self._update(channel)

    def _reset_generator(self) -> None:
        self._origin = self.clock.seconds
        self._starts: dict[int, list[float]] = {1: [], 2: []}
        defaults = {"output": False, "shape": "SINE", "frequency": 1000.0, "amplitude": 1.0, "offset": 0.0}
        defaults |= {"phase": 0.0, "duty": 0.5, "burst": "CONTINUOUS", "cycles": 1}
        for channel in (1, 2):
            for key, value in defaults.items():
                self.put(key, value, channel)
            self._update(channel)

    def _load_samples(self, request: Request) -> None:
        values = np.array([request.number(index, -1.0, 1.0) for index in range(len(request.parameters))])
        if not len(values):
            raise ScpiError(-109, request.header)
        self._samples[request.suffixes[0]] = values
        self._changed(request)

    def _shown_samples(self, request: Request) -> str:
        return ",".join(f"{value:g}" for value in self._samples[request.suffixes[0]])

    # Acquisition.

    def _reset_acquisition(self) -> None:
        self._record, self._triggered, self._running = None, False, False
        self._before = np.zeros((2, POINTS))
        for key, value in {"decimation": 1, "averages": True, "delay": 0, "level": 0.0}.items():
            self.put(key, value)
        for key, word in {"units": "VOLTS", "format": "ASCII"}.items():
            self.put(key, word)

    def _set_averaging(self, request: Request) -> None:
        self.put("averages", request.boolean())

    def _set_delay_ns(self, request: Request) -> None:
        self.put("delay", round(request.number(0, -65_536, 65_536) * 1e-9 * CLOCK_HZ))

    def _start(self) -> None:
        self._running, self._triggered, self._started = True, False, self.clock.seconds

    def _stop(self) -> None:
        if self._record is not None and self._triggered:
            # What has not arrived never will.
            self._record, self._triggered = self._buffer(), self._triggered and self._arrived()
        self._running = False

    def _arrived(self) -> bool:
        return bool(self._times[-1] <= self.clock.seconds)

    def _filled(self) -> str:
        if not self._triggered:
            return "0"
        if self._arrived():
            return "1"
        self.clock.advance_to(float(self._times[-1] + self._step()))
        return "0"

    def _buffer(self) -> FloatArray:
        """Codes (channel, place) that are in the buffer now."""
        if self._record is None:
            raise ScpiError(-230, "nothing acquired")
        return np.where(self._times <= self.clock.seconds, self._record, self._before)

    def _step(self) -> float:
        return float(self.value("decimation") / CLOCK_HZ)

    def _position(self) -> int:
        """Of the trigger in the buffer."""
        return POINTS // 2 - int(self.value("delay"))

    def _set_trigger(self, request: Request) -> None:
        word = request.choice(TRIGGERS)
        if word == "DISABLED" or not self._running:
            self._triggered = False
            return
        if self.faults.strike(self.name, b"ACQ:TRig", ("missed_trigger",), self.clock.seconds):
            return
        # What stands before the trigger has to be in the buffer first.
        earliest = max(self.clock.seconds, self._started + self._position() * self._step())
        moment = earliest if word == "NOW" else self._crossing(word, earliest)
        if moment is not None:
            self._take(moment)

    def _crossing(self, word: str, earliest: float) -> float | None:
        """When the chosen input next crosses the level; external and generator triggers come never."""
        if not word.startswith("CH"):
            return None
        node, rises = self.node(f"in{word[2]}"), word.endswith("PE")
        window = POINTS * self._step()
        for number in range(SEARCH_PERIODS):
            times = earliest + (number + np.arange(SEARCH_STEPS + 1) / SEARCH_STEPS) * window
            for _ in range(3):
                above = self.fixture.volts([node], np.asarray(times))[:, 0] >= self.value("level")
                turns = np.flatnonzero((above[1:] != above[:-1]) & (above[1:] == rises))
                if not len(turns):
                    break
                times = np.linspace(times[turns[0]], times[turns[0] + 1], SEARCH_STEPS + 1)
            else:
                return float(times[SEARCH_STEPS // 2])
            if self.fixture.still:
                return None
        return None

    def _take(self, moment: float) -> None:
        step = self._step()
        skew = 1.0 + sum(rule.value for rule in self.faults.active(self.name, "clock_skew"))
        times: FloatArray = np.asarray(moment + (np.arange(POINTS) - self._position()) * step * skew, dtype=np.float64)
        volts = self.fixture.volts([self.node("in1"), self.node("in2")], times).T
        if self._record is not None:
            self._before = self._buffer()
        self._record, self._times = np.stack([self._codes(one, volts[one - 1]) for one in (1, 2)]), times
        self._triggered = True
        self.clock.advance_to(moment)

    def _full_scale(self, channel: int) -> float:
        return LV_VOLTS if self.value("gain", channel) == "LV" else HV_VOLTS

    def _codes(self, channel: int, volts: FloatArray) -> FloatArray:
        """Codes of the converter; averaging over the decimated samples takes noise away."""
        half = 2.0 ** (BITS - 1)
        gain = float(np.prod([1.0 + rule.value for rule in self.faults.active(self.name, "gain")]))
        volts = gain * volts + sum(rule.value for rule in self.faults.active(self.name, "offset"))
        if self.value("coupling", channel) == "AC":
            volts = volts - volts.mean()
        if self.faults.active(self.name, "saturation"):
            volts = np.full_like(volts, 2.0 * HV_VOLTS)
        average = np.sqrt(self.value("decimation")) if self.value("averages") else 1.0
        noise = LEAST_NOISE_STEPS / average * self.rng.standard_normal(len(volts))
        return np.asarray(np.clip(np.round(volts / self._full_scale(channel) * half + noise), -half, half - 1))

    def _count(self, request: Request, index: int) -> int:
        return request.integer(index, 1, POINTS)

    def _part(self, request: Request) -> Answer:
        start = request.integer(0, 0, POINTS - 1)
        return self._data(request, slice(start, start + request.integer(1, 1, POINTS - start)))

    def _data(self, request: Request, part: slice) -> Answer:
        channel = request.suffixes[0]
        codes = self._buffer()[channel - 1][part]
        raw = self.value("units") == "RAW"
        volts = codes / 2.0 ** (BITS - 1) * self._full_scale(channel)
        if self.value("format") == "BIN":
            return block(codes.astype(">i2").tobytes() if raw else volts.astype(">f4").tobytes())
        values = (f"{int(code)}" for code in codes) if raw else (f"{value:.6f}" for value in volts)
        return "{" + ",".join(values) + "}"

    # Slow pins.

    def _pin(self, request: Request, index: int) -> str:
        return request.choice(PINS, index)

    def _set_direction(self, request: Request) -> None:
        self._directions[self._pin(request, 1)] = request.choice(["IN", "OUT"], 0)

    def _set_pin(self, request: Request) -> None:
        self._pins[self._pin(request, 0)] = int(request.boolean(1))

    def _reset_slow(self) -> None:
        self._slow_volts = [0.0] * 4
        for number in range(4):
            self.fixture.attach(self.node(f"aout{number}"), None)

    def _set_slow(self, request: Request) -> None:
        number = int(request.choice([f"AOUT{place}" for place in range(4)], 0)[-1])
        self._slow_volts[number] = request.number(1, 0.0, AOUT_VOLTS)
        self.fixture.attach(self.node(f"aout{number}"), VoltageSource(Constant(self._slow_volts[number])))

    def _slow(self, request: Request) -> str:
        pin = request.choice([f"{way}{place}" for way in ("AIN", "AOUT") for place in range(4)], 0)
        if pin.startswith("AOUT"):
            return self.numbers([self._slow_volts[int(pin[-1])]])
        step = AIN_VOLTS / 2.0**AIN_BITS
        volts = float(np.clip(self.fixture.now(self.node(pin.lower())), 0.0, AIN_VOLTS))
        return self.numbers([round(volts / step) * step])

    def _set_time(self, request: Request) -> None:
        hours, minutes, seconds = (request.integer(index, 0, 23 if not index else 59) for index in range(3))
        self._time = f"{hours},{minutes},{seconds}"

    def _set_date(self, request: Request) -> None:
        year, month, day = request.integer(0, 1970, 2999), request.integer(1, 1, 12), request.integer(2, 1, 31)
        self._date = f"{year},{month},{day}"


MODELS = {"red-pitaya-125-14": RedPitaya}
