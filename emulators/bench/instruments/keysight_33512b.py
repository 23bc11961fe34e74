"""Keysight 33512B, two-channel 20 MHz waveform generator of the 33500B family.

Commands: 33500 Series Operating and Service Guide. Output: 50 ohms, 10 Vpp into 50 ohms and 20 Vpp open, 16 bits (data
sheet 5991-0692EN, "Signal characteristics" and "Output characteristics"). Phases refer to the bench's clock, or to the
last ``PHASe:SYNChronize``, and keep that reference through changes of frequency, as if it were sent with each.

What else changes a channel's wave is in ``generator_modulation.py``. Inverted is the wave about its offset. With the
option ``external_reference`` the clock is locked to one from outside, as ``ROSCillator:SOURce:CURRent?`` tells.

Triggers from outside (``EXT``) do not exist on this bench. What is put out goes through filters that are not modelled
but for ``FUNCtion:ARBitrary:FILTer NORMal``, which joins samples by straight lines instead of holding them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np

from emulators.bench.generator_wave import CombinedWave, GeneratorWave, Shape
from emulators.bench.instruments.generator_modulation import Modulations
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.scpi import Command, Request, ScpiError, short_form
from emulators.bench.sources import VoltageSource, Waveform
from substrate.arrays import FloatArray

OUTPUT_OHMS = 50.0
LARGEST_EMF_VOLTS = 10.0
"""Peak of the open output, DC included."""

SMALLEST_EMF_VPP = 2.0e-3
HIGHEST_HZ = {"SIN": 20e6, "SQU": 20e6, "PULS": 20e6, "RAMP": 200e3, "TRI": 200e3, "PRBS": 50e6, "ARB": 20e6}
"""Of the 20 MHz models; the others have no frequency of their own."""

LOWEST_HZ = 1.0e-6
INFINITE = 9.9e37
MOST_SAMPLES = 1_000_000
FEWEST_SAMPLES = 8
MOST_BURSTS = 100_000

FUNCTIONS = ["SINusoid", "SQUare", "TRIangle", "RAMP", "PULSe", "PRBS", "NOISe", "ARBitrary", "DC"]
SHAPES: dict[str, Shape] = {
    "SIN": "sine",
    "SQU": "square",
    "TRI": "ramp",
    "RAMP": "ramp",
    "PULS": "pulse",
    "PRBS": "prbs",
    "NOIS": "noise",
    "ARB": "samples",
    "DC": "dc",
}
# Peak to peak over root mean square.
CREST = {"SIN": 2.0 * np.sqrt(2.0), "SQU": 2.0, "PULS": 2.0, "RAMP": 2.0 * np.sqrt(3.0), "TRI": 2.0 * np.sqrt(3.0)}


def _exponential_rise() -> FloatArray:
    rise = 1.0 - np.exp(-np.arange(1000) / 200.0)
    return np.asarray(2.0 * rise / rise.max() - 1.0)


@final
class Generator33512B(ScpiInstrument):
    """Two outputs behind 50 ohms. Ports: ``1``, ``2``."""

    options_known: ClassVar[Mapping[str, Any]] = {"dac_bits": 16, "external_reference": False}
    number_format = "{:+.15E}"

    def ports(self) -> Sequence[str]:
        """The outputs."""
        return ("1", "2")

    @property
    def identity(self) -> str:
        """Of a 33512B."""
        return "Agilent Technologies,33512B,MY52100001,3.03-1.19-2.00-52-00"

    def commands(self) -> Sequence[Command]:
        """Of the operating guide."""
        self.faults.listen(self._refresh)
        changed = self._changed
        source = "[SOURce#2]:"
        self._modulations = Modulations(self, changed, self._rearm)
        return [
            self.choice(f"{source}FUNCtion[:SHAPe]", "function", "SINusoid", FUNCTIONS, changed=self._function_changed),
            self.number(
                f"{source}FREQuency[:FIXed] {source}FREQuency[:CW]",
                "frequency",
                1000.0,
                LOWEST_HZ,
                self._highest_hz,
                unit="HZ",
                changed=changed,
            ),
            self._volts(f"{source}VOLTage[:LEVel][:IMMediate][:AMPLitude]", self._amplitude, self._set_amplitude),
            self._volts(f"{source}VOLTage[:LEVel][:IMMediate]:OFFSet", self._offset, self._set_offset),
            self._volts(f"{source}VOLTage[:LEVel][:IMMediate]:HIGH", self._high, self._set_high),
            self._volts(f"{source}VOLTage[:LEVel][:IMMediate]:LOW", self._low, self._set_low),
            self.choice(f"{source}VOLTage:UNIT", "unit", "VPP", ["VPP", "VRMS", "DBM"]),
            self.switch(f"{source}VOLTage:RANGe:AUTO", "autorange", True),
            self.number(f"{source}PHASe[:ADJust]", "phase", 0.0, -360.0, 360.0, unit="DEG", changed=changed),
            Command(f"{source}PHASe:SYNChronize PHASe:SYNChronize", lambda _: self._synchronise(), most=0),
            self.number(f"{source}FUNCtion:SQUare:DCYCle", "duty", 50.0, 0.01, 99.99, unit="PCT", changed=changed),
            self.number(f"{source}FUNCtion:RAMP:SYMMetry", "symmetry", 100.0, 0.0, 100.0, unit="PCT", changed=changed),
            Command(f"{source}FUNCtion:PULSe:PERiod {source}FUNCtion:SQUare:PERiod", self._set_period, self._period),
            self.choice(f"{source}FUNCtion:PULSe:HOLD", "hold", "DCYCle", ["WIDTh", "DCYCle"]),
            self.number(f"{source}FUNCtion:PULSe:WIDTh", "width", 1e-4, 16e-9, 1e6, unit="S", changed=self._by_width),
            self.number(
                f"{source}FUNCtion:PULSe:DCYCle", "pulse_duty", 10.0, 0.01, 99.99, unit="PCT", changed=self._by_duty
            ),
            self.number(
                f"{source}FUNCtion:PULSe:TRANsition[:BOTH] {source}FUNCtion:PULSe:TRANsition:LEADing "
                f"{source}FUNCtion:PULSe:TRANsition:TRAiling",
                "edge",
                1e-8,
                8.4e-9,
                1e-6,
                unit="S",
                changed=changed,
            ),
            Command(f"{source}FUNCtion:ARBitrary", self._select_samples, self._selected_samples),
            self.choice(
                f"{source}FUNCtion:ARBitrary:ADVance", "advance", "SRATe", ["TRIGger", "SRATe"], changed=changed
            ),
            self.choice(
                f"{source}FUNCtion:ARBitrary:FILTer", "filter", "STEP", ["NORMal", "STEP", "OFF"], changed=changed
            ),
            self.number(f"{source}FUNCtion:ARBitrary:SRATe", "sample_rate", 40e3, 1e-6, 160e6, changed=changed),
            self.number(f"{source}FUNCtion:PRBS:BRATe", "bit_rate", 1000.0, 1e-3, 50e6, changed=changed),
            Command(f"{source}DATA:ARBitrary", self._load_floats, most=MOST_SAMPLES + 1),
            Command(f"{source}DATA:ARBitrary:DAC", self._load_codes, most=MOST_SAMPLES + 1),
            Command(f"{source}DATA:VOLatile:CLEar", self._clear_samples, most=0),
            Command(f"{source}DATA:VOLatile:CATalog", query=self._catalogue, most=0),
            self.choice("FORMat:BORDer", "border", "NORMal", ["NORMal", "SWAPped"]),
            self.choice(f"{source}BURSt:MODE", "burst_mode", "TRIGgered", ["TRIGgered", "GATed"], changed=self._rearm),
            Command(f"{source}BURSt:NCYCles", self._set_cycles, self._cycles),
            self.number(f"{source}BURSt:PHASe", "burst_phase", 0.0, -360.0, 360.0, unit="DEG", changed=changed),
            self.number(
                f"{source}BURSt:INTernal:PERiod", "burst_period", 1e-2, 1e-6, 8e3, unit="S", changed=self._rearm
            ),
            self.choice(f"{source}BURSt:GATE:POLarity", "gate", "NORMal", ["NORMal", "INVerted"]),
            self.switch("OUTPut#2[:STATe]", "output", False, changed=changed),
            Command("OUTPut#2:LOAD", self._set_load, self._load),
            self.choice("OUTPut#2:POLarity", "polarity", "NORMal", ["NORMal", "INVerted"], changed=changed),
            *self._modulations.commands(source),
            self.choice(
                "ROSCillator:SOURce",
                "reference",
                "INTernal",
                ["INTernal", "EXTernal"],
                changed=lambda _: self.put("reference_auto", False),
            ),
            self.switch("ROSCillator:SOURce:AUTO", "reference_auto", True),
            Command("ROSCillator:SOURce:CURRent", query=lambda _: self._reference(), most=0),
            self.switch("OUTPut:SYNC[:STATe]", "sync", True),
            self.choice("OUTPut:SYNC:SOURce", "sync_source", "CH1", ["CH1", "CH2"]),
            self.switch("OUTPut:TRIGger[:STATe]", "trigger_out", False),
            self.choice("OUTPut:TRIGger:SLOPe", "trigger_out_slope", "POSitive", ["POSitive", "NEGative"]),
            self.choice("OUTPut:TRIGger:SOURce", "trigger_out_source", "CH1", ["CH1", "CH2"]),
            self.choice(
                "TRIGger#2:SOURce",
                "trigger_source",
                "IMMediate",
                ["IMMediate", "EXTernal", "TIMer", "BUS"],
                changed=self._rearm,
            ),
            self.choice("TRIGger#2:SLOPe", "trigger_slope", "POSitive", ["POSitive", "NEGative"]),
            self.number("TRIGger#2:COUNt", "trigger_count", 1, 1, 1_000_000, integer=True),
            self.number("TRIGger#2:DELay", "trigger_delay", 0.0, 0.0, 1000.0, unit="S"),
            self.number("TRIGger#2:TIMer", "trigger_timer", 1.0, 1e-6, 8e3, unit="S", changed=self._rearm),
            Command("TRIGger#2[:IMMediate]", lambda request: self._begin(request.suffixes[0]), most=0),
            Command("ABORt", lambda _: self._abort(), most=0),
            Command(f"{source}APPLy", query=self._applied, most=0),
            *(self._apply(source, word) for word in FUNCTIONS),
            self.choice("UNIT:ANGLe", "angle", "DEGree", ["DEGree"]),
            self.text("DISPlay:TEXT", "display", ""),
            Command("DISPlay:TEXT:CLEar", lambda _: self.put("display", ""), most=0),
            self.switch("DISPlay[:STATe]", "display_on", True),
            Command("SYSTem:BEEPer[:IMMediate]", lambda _: None, most=0),
        ]

    def reset(self) -> None:
        """Outputs off, no samples but the built-in ones, nothing triggered."""
        self._emf = {1: (0.2, 0.0), 2: (0.2, 0.0)}
        self._load_ohms = {1: 50.0, 2: 50.0}
        self._samples: dict[int, dict[str, FloatArray]] = {1: {}, 2: {}}
        self._chosen = {1: "EXP_RISE", 2: "EXP_RISE"}
        self._burst_cycles = {1: 1.0, 2: 1.0}
        self._starts: dict[int, list[float]] = {1: [], 2: []}
        self._origin = 0.0
        self._update(1)
        self._update(2)

    def outputs_off(self) -> None:
        """Both relays open."""
        for channel in (1, 2):
            self.put("output", False, channel)
            self._update(channel)

    def trigger(self) -> None:
        """Begin a burst on every channel that waits for the bus."""
        waiting = [one for one in (1, 2) if self.value("trigger_source", one) == "BUS" and self.value("burst", one)]
        if not waiting:
            raise ScpiError(-211)
        for channel in waiting:
            self._begin(channel)

    # The output.

    def _function(self, channel: int) -> str:
        return short_form(self.value("function", channel))

    def _highest_hz(self, suffixes: tuple[int, ...]) -> float:
        return HIGHEST_HZ.get(self._function(suffixes[0]), 20e6)

    def _changed(self, request: Request) -> None:
        # The other one may be combined with it.
        self._refresh()

    def _refresh(self) -> None:
        for channel in (1, 2):
            self._update(channel)

    def _update(self, channel: int) -> None:
        """Put what the settings say on the output."""
        node = self.node(channel)
        if not self.value("output", channel):
            self.fixture.attach(node, None)
            return
        self.fixture.attach(node, VoltageSource(self._put_out(channel), OUTPUT_OHMS))

    def _put_out(self, channel: int) -> Waveform:
        """What a channel puts out: its own wave, perhaps with that of another one added."""
        own = self._modulated(channel)
        feed = self.value("combine", channel)
        return own if feed == "NONE" else CombinedWave((own, self._modulated(int(feed[-1]))))

    def _modulated(self, channel: int) -> Waveform:
        return self._modulations.modulated(self._wave(channel), channel)

    def _reference(self) -> str:
        asked = self.value("reference_auto") or self.value("reference") == "EXTernal"
        return "EXT" if asked and self.options["external_reference"] else "INT"

    def _wave(self, channel: int) -> GeneratorWave:
        function = self._function(channel)
        amplitude, offset = self._emf[channel]
        gain = float(np.prod([1.0 + rule.value for rule in self.faults.active(self.name, "gain")]))
        error = sum(rule.value for rule in self.faults.active(self.name, "offset"))
        skew = sum(rule.value for rule in self.faults.active(self.name, "clock_skew"))
        sign = -1.0 if self.value("polarity", channel) == "INVerted" else 1.0
        burst = self.value("burst", channel)
        frequency = self._frequency(channel)
        duty = self.value("duty", channel) / 100.0
        if function == "PULS":
            duty = self._pulse_duty(channel)
        return GeneratorWave(
            shape=SHAPES[function],
            frequency_hz=frequency * (1.0 + skew),
            amplitude_volts=sign * gain * amplitude,
            offset_volts=gain * offset + error,
            phase_cycles=self.value("burst_phase" if burst else "phase", channel) / 360.0,
            origin_seconds=self._origin,
            duty=duty,
            symmetry=0.5 if function == "TRI" else self.value("symmetry", channel) / 100.0,
            edge_cycles=min(self.value("edge", channel) * frequency, duty, 1.0 - duty),
            samples=self._arbitrary(channel) if function == "ARB" else None,
            interpolate=self.value("filter", channel) == "NORMal",
            starts=np.array(self._starts[channel]) if burst and function != "DC" else None,
            cycles=self._burst_cycles[channel],
            dac_bits=int(self.options["dac_bits"]),
            seed=channel,
        )

    def _frequency(self, channel: int) -> float:
        function = self._function(channel)
        if function == "ARB":
            return float(self.value("sample_rate", channel) / len(self._arbitrary(channel)))
        if function == "PRBS":
            return float(self.value("bit_rate", channel))
        return float(self.value("frequency", channel))

    # Amplitudes: kept for the open output, shown for the load that the instrument was told of.

    def _share(self, channel: int) -> float:
        """Of the open output's voltage that the load takes."""
        load = self._load_ohms[channel]
        return 1.0 if np.isinf(load) else load / (load + OUTPUT_OHMS)

    def _volts(self, pattern: str, get: Callable[[int], float], put: Callable[[int, Request], None]) -> Command:
        def write(request: Request) -> None:
            put(request.suffixes[0], request)
            self._changed(request)

        def query(request: Request) -> str:
            return self.number_format.format(get(request.suffixes[0]))

        return Command(pattern, write, query)

    def _amplitude(self, channel: int) -> float:
        volts = self._emf[channel][0] * self._share(channel)
        unit, crest = self.value("unit", channel), CREST.get(self._function(channel), 2.0)
        if unit == "VPP":
            return volts
        rms = volts / crest
        if unit == "VRMS":
            return float(rms)
        return float(10.0 * np.log10(max(rms, 1e-30) ** 2 / self._load_ohms[channel] / 1e-3))

    def _set_amplitude(self, channel: int, request: Request) -> None:
        text, unit = request.raw(0), self.value("unit", channel)
        for suffix in ("VPP", "VRMS", "DBM"):
            if text.upper().endswith(suffix):
                unit, text = suffix, text[: -len(suffix)] + ("V" if suffix != "DBM" else "")
        share, crest = self._share(channel), CREST.get(self._function(channel), 2.0)
        offset = self._emf[channel][1]
        largest = 2.0 * (LARGEST_EMF_VOLTS - abs(offset)) * share
        scale = 1.0 if unit == "VPP" else crest
        inner = Request(request.header, request.suffixes, (text,))
        if unit == "DBM":
            rms = np.sqrt(10.0 ** (inner.number(0, -200.0, 100.0) / 10.0) * 1e-3 * self._load_ohms[channel])
            volts = float(rms * crest)
        else:
            low, high = SMALLEST_EMF_VPP * share / scale, largest / scale
            volts = scale * inner.number(0, _limit(low), _limit(high), 0.1 / scale, "V")
        if not volts <= largest * (1 + 1e-9):
            raise ScpiError(-222, request.header)
        self._emf[channel] = (volts / share, offset)

    def _offset(self, channel: int) -> float:
        return self._emf[channel][1] * self._share(channel)

    def _set_offset(self, channel: int, request: Request) -> None:
        share, amplitude = self._share(channel), self._emf[channel][0]
        room = LARGEST_EMF_VOLTS - (0.0 if self._function(channel) == "DC" else amplitude / 2.0)
        largest = _limit(room * share)
        self._emf[channel] = (amplitude, request.number(0, -largest, largest, 0.0, "V") / share)

    def _high(self, channel: int) -> float:
        amplitude, offset = self._emf[channel]
        return (offset + amplitude / 2.0) * self._share(channel)

    def _low(self, channel: int) -> float:
        amplitude, offset = self._emf[channel]
        return (offset - amplitude / 2.0) * self._share(channel)

    def _set_high(self, channel: int, request: Request) -> None:
        largest = _limit(LARGEST_EMF_VOLTS * self._share(channel))
        self._set_levels(channel, self._low(channel), request.number(0, -largest, largest, None, "V"))

    def _set_low(self, channel: int, request: Request) -> None:
        largest = _limit(LARGEST_EMF_VOLTS * self._share(channel))
        self._set_levels(channel, request.number(0, -largest, largest, None, "V"), self._high(channel))

    def _set_levels(self, channel: int, low: float, high: float) -> None:
        share = self._share(channel)
        if high - low < SMALLEST_EMF_VPP * share * (1 - 1e-9):
            raise ScpiError(-222, "high has to be above low")
        self._emf[channel] = ((high - low) / share, (high + low) / 2.0 / share)

    def _load(self, request: Request) -> str:
        load = self._load_ohms[request.suffixes[0]]
        return self.number_format.format(INFINITE if np.isinf(load) else load)

    def _set_load(self, request: Request) -> None:
        word = request.raw(0).upper()
        infinite = word in ("INF", "INFINITY") or word.startswith("9.9E")
        self._load_ohms[request.suffixes[0]] = np.inf if infinite else request.number(0, 1.0, 10e3, 50.0, "OHM")
        self._changed(request)

    # Pulses.

    def _pulse_duty(self, channel: int) -> float:
        if self.value("hold", channel) == "WIDTh":
            return float(min(0.9999, self.value("width", channel) * self._frequency(channel)))
        return float(self.value("pulse_duty", channel) / 100.0)

    def _by_width(self, request: Request) -> None:
        self.put("hold", "WIDTh", *request.suffixes)
        channel = request.suffixes[0]
        self.put("pulse_duty", 100.0 * self._pulse_duty(channel), channel)
        self._changed(request)

    def _by_duty(self, request: Request) -> None:
        self.put("hold", "DCYCle", *request.suffixes)
        channel = request.suffixes[0]
        self.put("width", self.value("pulse_duty", channel) / 100.0 / self._frequency(channel), channel)
        self._changed(request)

    def _period(self, request: Request) -> str:
        return self.number_format.format(1.0 / self.value("frequency", *request.suffixes))

    def _set_period(self, request: Request) -> None:
        seconds = request.number(0, 1.0 / self._highest_hz(request.suffixes), 1e6, 1e-3, "S")
        self.put("frequency", 1.0 / seconds, *request.suffixes)
        self._changed(request)

    def _function_changed(self, request: Request) -> None:
        channel = request.suffixes[0]
        highest = self._highest_hz((channel,))
        if self.value("frequency", channel) > highest:
            self.report(-221, f"Settings conflict; frequency reduced for {self._function(channel)}")
            self.put("frequency", highest, channel)
        self._changed(request)

    # Samples.

    def _arbitrary(self, channel: int) -> FloatArray:
        return self._samples[channel].get(self._chosen[channel], EXPONENTIAL_RISE)

    def _select_samples(self, request: Request) -> None:
        channel, name = request.suffixes[0], _name(request.text(0))
        if name not in self._samples[channel] and name != "EXP_RISE":
            raise ScpiError(786, name, "Specified arb waveform does not exist")
        self._chosen[channel] = name
        self._changed(request)

    def _selected_samples(self, request: Request) -> str:
        return f'"{self._chosen[request.suffixes[0]]}"'

    def _load_floats(self, request: Request) -> None:
        self._keep(request, ">f4", 1.0)

    def _load_codes(self, request: Request) -> None:
        self._keep(request, ">i2", 32767.0)

    def _keep(self, request: Request, kind: str, full_scale: float) -> None:
        channel, name = request.suffixes[0], _name(request.text(0))
        if name in self._samples[channel]:
            raise ScpiError(785, name, "Specified arb waveform already exists")
        if not request.given(1):
            raise ScpiError(-109, request.header)
        if isinstance(request.parameters[1], bytes):
            data = request.block(1)
            order = kind if self.value("border") == "NORMal" else kind.replace(">", "<")
            if len(data) % np.dtype(order).itemsize or len(request.parameters) > 2:
                raise ScpiError(-161, request.header)
            values = np.frombuffer(data, dtype=order).astype(np.float64)
        else:
            try:
                values = np.array(request.parameters[1:], dtype=np.float64)
            except ValueError:
                raise ScpiError(-104, request.header) from None
        if not FEWEST_SAMPLES <= len(values) <= MOST_SAMPLES:
            raise ScpiError(-222, f"{FEWEST_SAMPLES} to {MOST_SAMPLES} points, got {len(values)}")
        scaled = values / full_scale
        if not (np.isfinite(scaled).all() and np.abs(scaled).max() <= 1.0 + 1e-4):
            raise ScpiError(-222, request.header)
        self._samples[channel][name] = scaled

    def _clear_samples(self, request: Request) -> None:
        channel = request.suffixes[0]
        self._samples[channel].clear()
        self._chosen[channel] = "EXP_RISE"
        self._changed(request)

    def _catalogue(self, request: Request) -> str:
        return ",".join(f'"{name}"' for name in ["EXP_RISE", *self._samples[request.suffixes[0]]])

    # Bursts.

    def _cycles(self, request: Request) -> str:
        cycles = self._burst_cycles[request.suffixes[0]]
        return self.number_format.format(INFINITE if np.isinf(cycles) else cycles)

    def _set_cycles(self, request: Request) -> None:
        infinite = request.raw(0).upper() in ("INF", "INFINITY")
        self._burst_cycles[request.suffixes[0]] = np.inf if infinite else request.integer(0, 1, 100_000_000, 1)
        self._changed(request)

    def _rearm(self, request: Request) -> None:
        """Bursts that come by themselves start now; those that are waited for have not come."""
        channel = request.suffixes[0]
        self._starts[channel] = []
        self.free()
        if self.value("burst", channel) and self.value("burst_mode", channel) == "TRIGgered":
            source = self.value("trigger_source", channel)
            if source in ("IMMediate", "TIMer"):
                period = self.value("burst_period" if source == "IMMediate" else "trigger_timer", channel)
                self._starts[channel] = [self.clock.seconds + number * period for number in range(MOST_BURSTS)]
        self._changed(request)

    def _begin(self, channel: int) -> None:
        if not self.value("burst", channel) or self.value("trigger_source", channel) == "IMMediate":
            raise ScpiError(-211)
        if self.faults.strike(self.name, b"*TRG", ("missed_trigger",), self.clock.seconds):
            return
        start = self.clock.seconds + self.value("trigger_delay", channel)
        length = self._burst_cycles[channel] / self._frequency(channel)
        if self._starts[channel] and start < self._starts[channel][-1] + length:
            raise ScpiError(-211, "a burst is running")
        self._starts[channel] = [*self._starts[channel][-1000:], start]
        if np.isfinite(length):
            self.occupy(start + length - self.clock.seconds)
        self._update(channel)

    def _abort(self) -> None:
        """Bursts end, endless ones too."""
        self.free()
        for channel in (1, 2):
            self._starts[channel] = []
        self._refresh()

    def _synchronise(self) -> None:
        self._origin = self.clock.seconds
        self._refresh()

    # APPLy.

    def _apply(self, source: str, word: str) -> Command:
        def write(request: Request) -> None:
            channel = request.suffixes[0]
            self.put("function", word, channel)
            actions: Sequence[tuple[int, Callable[[Request], Any]]] = (
                (
                    0,
                    lambda one: self.put(
                        "frequency", one.number(0, LOWEST_HZ, self._highest_hz((channel,)), 1e3, "HZ"), channel
                    ),
                ),
                (1, lambda one: self._set_amplitude(channel, one)),
                (2, lambda one: self._set_offset(channel, one)),
            )
            for index, act in actions:
                if request.given(index) and request.raw(index).upper() not in ("DEF", "DEFAULT"):
                    act(Request(request.header, request.suffixes, (request.raw(index),)))
            self.put("output", True, channel)
            self._update(channel)

        return Command(f"{source}APPLy:{word}", write, most=3)

    def _applied(self, request: Request) -> str:
        channel = request.suffixes[0]
        values = (self.value("frequency", channel), self._amplitude(channel), self._offset(channel))
        return f'"{self._function(channel)} ' + ",".join(self.number_format.format(value) for value in values) + '"'


def _limit(value: float) -> float:
    """Without the rounding of products, which would refuse the limit itself."""
    return float(f"{value:.12g}")


def _name(text: str) -> str:
    name = text.upper().replace("INT:\\", "").replace('"', "")
    if not 1 <= len(name) <= 64 or not name.replace("_", "").replace(".", "").replace("\\", "").isalnum():
        raise ScpiError(-224, text[:20])
    return name


EXPONENTIAL_RISE = _exponential_rise()
MODELS = {"keysight-33512b": Generator33512B}
