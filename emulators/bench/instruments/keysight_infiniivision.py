"""Keysight InfiniiVision DSO-X 3024T: four channels, 8 bits, up to 4 000 000 points.

Commands: InfiniiVision 3000T X-Series Programmer's Guide (75037-97025). volts = (code - yreference) yincrement +
yorigin; time = (i - xreference) xincrement + xorigin, 0 at the trigger. In BYTE data 0 is a hole, 1 clipped low and 255
clipped high.

A record is taken whole: the trigger is looked for from the moment of ``DIGitize`` on (a trigger that would need samples
from before that moment is passed over), every sample is the circuit's solution at its time, and the clock then stands
at the end of the record. It has as many points as ``WAVeform:POINts`` asks for when it is taken; more are not to be had
from it later. A running scope takes a new record whenever a preamble is asked for.

Noise is .4 of an 8-bit step, and not below 50 uV: chosen, no figure of the maker was found. ``HRESolution`` averages to
12 bits, ``AVERage`` over ``COUNt`` records. AC coupling takes the mean of the record away, that of the trigger the mean
of a screen. The bandwidth is not modelled; its limit is one pole at 25 MHz (the guide gives the frequency).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from emulators.bench.instruments.bandwidth import limited
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.scpi import Answer, Command, Request, ScpiError, block, short_form
from substrate.arrays import FloatArray

CHANNELS = 4
MOST_POINTS = 4_000_000
DIVISIONS = 8
NOISE_STEPS, LEAST_NOISE_VOLTS = 0.4, 50.0e-6
FINE_BITS = 12
HIGHEST_SAMPLE_HZ = 5.0e9
LIMITED_HZ = 25.0e6
AUTO_SECONDS = 0.05
"""After which an automatic sweep triggers itself (not confirmed)."""

SEARCH_STEPS, SEARCH_WINDOWS = 512, 64
"""Samples of the trigger source in one screen, and screens looked through for a trigger."""

NEVER = 9.9e37
REFERENCES = {"LEFT": 0.1, "CENTer": 0.5, "RIGHt": 0.9}
TYPES = {"NORMal": 0, "PEAK": 1, "AVERage": 2, "HRESolution": 3}
FORMATS = {"BYTE": 0, "WORD": 1, "ASCii": 4}
PREAMBLE = ["COUNt", "XINCrement", "XORigin", "XREFerence", "YINCrement", "YORigin", "YREFerence"]
"""Fields that can be asked for on their own: the fourth and following."""

MEASUREMENTS = ["VPP", "VMAX", "VMIN", "VAMPlitude", "VAVerage", "VRMS", "FREQuency", "PERiod"]
SOURCES = [f"CHANnel{number}" for number in range(1, CHANNELS + 1)]


@final
@dataclass(frozen=True)
class Record:
    """What was acquired: codes (channel, time) in 65536ths of a channel's range, and how to read them."""

    codes: npt.NDArray[np.int16]
    origin_seconds: float
    step_seconds: float
    ranges: FloatArray
    offsets: FloatArray
    kind: str
    count: int

    def volts(self, channel: int) -> FloatArray:
        """Of one channel, counted from 0."""
        return np.asarray(self.offsets[channel] + self.ranges[channel] / 65536.0 * self.codes[channel])


@final
class InfiniiVision(ScpiInstrument):
    """Ports: ``1`` .. ``4``."""

    number_format = "{:+.5E}"

    def ports(self) -> Sequence[str]:
        """The inputs."""
        return [str(number) for number in range(1, CHANNELS + 1)]

    @property
    def identity(self) -> str:
        """Of a DSO-X 3024T."""
        return "KEYSIGHT TECHNOLOGIES,DSO-X 3024T,MY58100101,07.50.2021102830"

    def commands(self) -> Sequence[Command]:
        """Of the programmer's guide."""
        return [*self._vertical(), *self._horizontal(), *self._acquisition(), *self._waveform(), *self._others()]

    def _vertical(self) -> list[Command]:
        channel = "CHANnel#4:"
        return [
            Command(f"{channel}RANGe", self._set_range, self._range),
            Command(f"{channel}SCALe", self._set_scale, self._scale),
            self.number(f"{channel}OFFSet", "offset", 0.0, -400.0, 400.0, unit="V"),
            self.choice(f"{channel}COUPling", "coupling", "DC", ["AC", "DC"]),
            self.choice(f"{channel}IMPedance", "impedance", "ONEMeg", ["ONEMeg", "FIFTy"], changed=self._loaded),
            self.switch(f"{channel}DISPlay", "display", True),
            self.switch(f"{channel}BWLimit", "bandwidth_limit", False),
            self.switch(f"{channel}INVert", "invert", False),
            self.text(f"{channel}LABel", "label", "", changed=self._shorten_label),
            Command(f"{channel}PROBe", self._set_probe, self._probe),
            self.number(f"{channel}PROBe:SKEW", "skew", 0.0, -1e-7, 1e-7, unit="S"),
            self.choice(f"{channel}UNITs", "units", "VOLT", ["VOLT", "AMPere"]),
            Command(channel.rstrip(":"), query=self._channel, most=0),
        ]

    def _horizontal(self) -> list[Command]:
        return [
            self.choice("TIMebase:MODE", "timebase", "MAIN", ["MAIN", "WINDow", "XY", "ROLL"]),
            self.number("TIMebase[:MAIN]:RANGe", "time_range", 1e-3, 2e-8, 500.0, unit="S"),
            Command("TIMebase[:MAIN]:SCALe", self._set_time_scale, self._time_scale),
            self.number("TIMebase[:MAIN]:POSition TIMebase:DELay", "position", 0.0, -500.0, 500.0, unit="S"),
            self.choice("TIMebase:REFerence", "reference", "CENTer", list(REFERENCES)),
            Command("TIMebase", query=lambda _: self._timebase(), most=0),
            self.choice("TRIGger:MODE", "trigger_mode", "EDGE", ["EDGE"]),
            self.choice("TRIGger[:EDGE]:SOURce", "trigger_source", "CHANnel1", SOURCES),
            self.number("TRIGger[:EDGE]:LEVel", "trigger_level", 0.0, -200.0, 200.0, unit="V"),
            self.choice("TRIGger[:EDGE]:SLOPe", "trigger_slope", "POSitive", ["POSitive", "NEGative", "EITHer"]),
            self.choice("TRIGger[:EDGE]:COUPling", "trigger_coupling", "DC", ["AC", "DC", "LFReject"]),
            self.choice("TRIGger:SWEep", "sweep", "AUTO", ["AUTO", "NORMal"]),
            self.number("TRIGger:HOLDoff", "holdoff", 4e-8, 4e-8, 10.0, unit="S"),
            Command("TRIGger:FORCe", lambda _: self._force(), most=0),
        ]

    def _acquisition(self) -> list[Command]:
        return [
            self.choice("ACQuire:TYPE", "type", "NORMal", list(TYPES)),
            self.choice("ACQuire:MODE", "mode", "RTIMe", ["RTIMe", "SEGMented"]),
            self.number("ACQuire:COUNt", "count", 8, 2, 65536, integer=True),
            self.number("ACQuire:COMPlete", "complete", 100, 100, 100, integer=True),
            Command("ACQuire:POINts", query=lambda _: str(self._points()), most=0),
            Command("ACQuire:SRATe", query=lambda _: self._sample_rate()),
            Command("DIGitize", self._digitize, most=CHANNELS),
            Command("RUN", lambda _: self._run_on(), most=0),
            Command("STOP", lambda _: self._stop(), most=0),
            Command("SINGle", lambda _: self._single(), most=0),
            Command("RSTate", query=lambda _: "RUN" if self._running else "STOP", most=0),
            Command("OPERegister:CONDition", query=lambda _: str(8 if self._running else 0), most=0),
            Command("TER", query=lambda _: self._triggered(), most=0),
            Command("AER", query=lambda _: "0" if self._record is None else "1", most=0),
            Command("AUToscale", lambda _: self._autoscale(), most=CHANNELS),
        ]

    def _waveform(self) -> list[Command]:
        return [
            self.choice("WAVeform:SOURce", "source", "CHANnel1", SOURCES),
            self.choice("WAVeform:FORMat", "format", "BYTE", list(FORMATS)),
            self.choice("WAVeform:BYTeorder", "order", "MSBFirst", ["MSBFirst", "LSBFirst"]),
            self.switch("WAVeform:UNSigned", "unsigned", True),
            self.number("WAVeform:POINts", "points", 1000, 100, MOST_POINTS, integer=True),
            self.choice("WAVeform:POINts:MODE", "points_mode", "NORMal", ["NORMal", "MAXimum", "RAW"]),
            self.choice("WAVeform:VIEW", "view", "MAIN", ["MAIN"]),
            Command("WAVeform:PREamble", query=lambda _: self._preamble(), most=0),
            Command("WAVeform:DATA", query=lambda _: self._data(), most=0),
            Command("WAVeform:TYPE", query=lambda _: short_form(self._taken().kind), most=0),
            *(self._of_preamble(word, place) for place, word in enumerate(PREAMBLE, 3)),
        ]

    def _of_preamble(self, word: str, place: int) -> Command:
        return Command(f"WAVeform:{word}", query=lambda _: self._preamble().split(",")[place], most=0)

    def _others(self) -> list[Command]:
        return [
            *(self._measurement(word) for word in MEASUREMENTS),
            self.choice("MEASure:SOURce", "measured", "CHANnel1", SOURCES),
            Command("SYSTem:PRESet", lambda _: self._preset(), most=0),
            self.switch("SYSTem:HEADer", "header", False),
            Command("DISPlay:CLEar", lambda _: None, most=0),
        ]

    def _measurement(self, word: str) -> Command:
        return Command(f"MEASure:{word}", lambda _: None, lambda request: self._measure(word, request))

    def reset(self) -> None:
        """Running, 40 V full scale, 1 ms."""
        self._defaults_of_channels()
        self._record: Record | None = None
        self._blocks: dict[tuple[Any, ...], bytes] = {}
        self._running = True
        self._was_triggered = False
        for number in range(1, CHANNELS + 1):
            self.fixture.load(self.node(number), 1.0e6)

    def outputs_off(self) -> None:
        """It drives nothing."""

    def trigger(self) -> None:
        """A record."""
        self._single()

    def _defaults_of_channels(self) -> None:
        self._full_scale = dict.fromkeys(range(1, CHANNELS + 1), 40.0)
        self._attenuation = dict.fromkeys(range(1, CHANNELS + 1), 1.0)

    def _preset(self) -> None:
        self.power_on()

    # Channels.

    def _set_range(self, request: Request) -> None:
        channel = request.suffixes[0]
        attenuation = self._attenuation[channel]
        self._full_scale[channel] = request.number(0, 8e-3 * attenuation, 40.0 * attenuation, None, "V")

    def _range(self, request: Request) -> str:
        return self.number_format.format(self._full_scale[request.suffixes[0]])

    def _set_scale(self, request: Request) -> None:
        channel = request.suffixes[0]
        attenuation = self._attenuation[channel]
        self._full_scale[channel] = DIVISIONS * request.number(0, 1e-3 * attenuation, 5.0 * attenuation, None, "V")

    def _scale(self, request: Request) -> str:
        return self.number_format.format(self._full_scale[request.suffixes[0]] / DIVISIONS)

    def _set_probe(self, request: Request) -> None:
        channel, attenuation = request.suffixes[0], request.number(0, 0.1, 10_000.0, 1.0)
        # What is shown scales with it; a wire has no probe in it, so what is measured does too.
        self._full_scale[channel] *= attenuation / self._attenuation[channel]
        self._attenuation[channel] = attenuation

    def _probe(self, request: Request) -> str:
        return self.number_format.format(self._attenuation[request.suffixes[0]])

    def _shorten_label(self, request: Request) -> None:
        self.put("label", request.text()[:10].upper(), *request.suffixes)

    def _loaded(self, request: Request) -> None:
        channel = request.suffixes[0]
        self.fixture.load(self.node(channel), 1.0e6 if self.value("impedance", channel) == "ONEMeg" else 50.0)

    def _channel(self, request: Request) -> str:
        channel = request.suffixes[0]
        flags = {key: int(self.value(key, channel)) for key in ("display", "bandwidth_limit", "invert")}
        show = self.number_format.format
        return (
            f":CHAN{channel}:RANG {show(self._full_scale[channel])};OFFS {show(self.value('offset', channel))};"
            f"COUP {self.value('coupling', channel)};IMP {short_form(self.value('impedance', channel))};"
            f"DISP {flags['display']};BWL {flags['bandwidth_limit']};INV {flags['invert']};"
            f'LAB "{self.value("label", channel)}";UNIT {short_form(self.value("units", channel))};'
            f"PROB {show(self._attenuation[channel])};PROB:SKEW {show(self.value('skew', channel))};STYP SING"
        )

    # Time.

    def _set_time_scale(self, request: Request) -> None:
        self.put("time_range", 10.0 * request.number(0, 2e-9, 50.0, None, "S"))

    def _time_scale(self, request: Request) -> str:
        return self.number_format.format(self.value("time_range") / 10.0)

    def _timebase(self) -> str:
        show = self.number_format.format
        return (
            f":TIM:MODE {short_form(self.value('timebase'))};REF {short_form(self.value('reference'))};"
            f"MAIN:RANG {show(self.value('time_range'))};POS {show(self.value('position'))}"
        )

    def _points(self) -> int:
        return int(min(self.value("points"), max(100, self.value("time_range") * HIGHEST_SAMPLE_HZ)))

    def _sample_rate(self) -> str:
        return self.number_format.format(self._points() / self.value("time_range"))

    # Records.

    def _digitize(self, request: Request) -> None:
        for index in range(len(request.parameters)):
            request.choice(SOURCES, index)
        self._running = False
        self._acquire()

    def _single(self) -> None:
        self._running = False
        self._acquire()

    def _run_on(self) -> None:
        self._running = True
        self._record = None

    def _stop(self) -> None:
        self.free()
        if self._running and self._record is None:
            self._acquire()
        self._running = False

    def _force(self) -> None:
        self._take(self.clock.seconds + self._before())

    def _before(self) -> float:
        """From the first sample to the trigger."""
        return float(REFERENCES[self.value("reference")] * self.value("time_range") - self.value("position"))

    def _acquire(self) -> None:
        """Wait for the trigger and take a record; without one, wait for ever or trigger by itself."""
        self.free()
        moment = None
        if not self.faults.strike(self.name, b":DIGitize", ("missed_trigger",), self.clock.seconds):
            moment = self._trigger_seconds(self.clock.seconds + max(0.0, self._before()))
        if moment is None:
            if self.value("sweep") == "NORMal":
                self._record = None
                self.occupy(np.inf)
                return
            self.spend(AUTO_SECONDS)
            moment = self.clock.seconds + max(0.0, self._before())
        else:
            self._was_triggered = True
        self._take(moment)

    def _take(self, moment: float) -> None:
        points = self._points()
        step = self.value("time_range") / points
        origin = -self._before()
        times: FloatArray = np.asarray(moment + origin + np.arange(points) * step, dtype=np.float64)
        skew = sum(rule.value for rule in self.faults.active(self.name, "clock_skew"))
        nodes = [self.node(number) for number in range(1, CHANNELS + 1)]
        shown = [number for number in range(1, CHANNELS + 1) if self.value("display", number)]
        volts = np.zeros((CHANNELS, points))
        if shown:
            solved = self.fixture.volts([nodes[number - 1] for number in shown], times + skew * times)
            volts[[number - 1 for number in shown]] = solved.T
        kind = self.value("type")
        count = self.value("count") if kind == "AVERage" else 1
        ranges = np.array([self._full_scale[number] for number in range(1, CHANNELS + 1)])
        offsets = np.array([self.value("offset", number) for number in range(1, CHANNELS + 1)])
        codes = np.zeros((CHANNELS, points), dtype=np.int16)
        for number in shown:
            one = volts[number - 1]
            if self.value("bandwidth_limit", number):
                one = limited(one, step, LIMITED_HZ)
            codes[number - 1] = self._converted(number, one, kind, count)
        self._blocks.clear()
        self._record = Record(codes, origin, step, ranges, offsets, kind, count)
        self.clock.advance_to(float(times[-1] + step))
        if count > 1:
            self.spend((count - 1) * self.value("time_range"))

    def _converted(self, channel: int, volts: FloatArray, kind: str, count: int) -> npt.NDArray[np.int16]:
        """As the converter gives them: noise, steps, and the ends of its range."""
        full_scale, offset = self._full_scale[channel], self.value("offset", channel)
        gain = self._attenuation[channel] * float(
            np.prod([1.0 + rule.value for rule in self.faults.active(self.name, "gain")])
        )
        volts = gain * volts + sum(rule.value for rule in self.faults.active(self.name, "offset"))
        if self.value("coupling", channel) == "AC":
            volts = volts - volts.mean()
        if self.value("invert", channel):
            volts = -volts
        coarse = full_scale / 256.0
        noise = max(NOISE_STEPS * coarse, LEAST_NOISE_VOLTS * self._attenuation[channel])
        bits = 8
        if kind == "HRESolution":
            noise, bits = noise / 2.0 ** (FINE_BITS - 8), FINE_BITS
        elif count > 1:
            noise, bits = noise / np.sqrt(count), FINE_BITS
        step = full_scale / 2.0**bits
        noisy = volts + noise * self.rng.standard_normal(len(volts))
        if self.faults.active(self.name, "saturation"):
            noisy = np.full(len(volts), np.inf)
        # The codes of the ends, 1 and 255, say that the signal lies beyond.
        end = (127.0 * coarse) / step
        coded = np.clip(np.round((noisy - offset) / step), -end, end)
        return np.asarray(coded * 2.0 ** (16 - bits), dtype=np.int16)

    def _trigger_seconds(self, earliest: float) -> float | None:
        """When the trigger source next crosses its level."""
        node = self.node(SOURCES.index(self.value("trigger_source")) + 1)
        level, slope = self.value("trigger_level"), self.value("trigger_slope")
        window = self.value("time_range")
        if self.value("trigger_coupling") != "DC":
            screen = np.asarray(earliest + np.arange(SEARCH_STEPS) * (window / SEARCH_STEPS), dtype=np.float64)
            level += float(self.fixture.volts([node], screen)[:, 0].mean())

        def crossing(start: float, length: float, steps: int) -> tuple[float, float] | None:
            times = np.asarray(start + np.arange(steps + 1) * (length / steps), dtype=np.float64)
            above = self.fixture.volts([node], times)[:, 0] >= level
            turned = above[1:] != above[:-1]
            if slope != "EITHer":
                turned &= above[1:] == (slope == "POSitive")
            found = np.flatnonzero(turned)
            return None if not len(found) else (float(times[found[0]]), float(times[found[0] + 1]))

        for number in range(SEARCH_WINDOWS):
            found = crossing(earliest + number * window, window, SEARCH_STEPS)
            if found is not None:
                for _ in range(4):
                    found = crossing(found[0], found[1] - found[0], 64) or found
                return found[1]
            # What stands still does not cross anything.
            if number == 0 and self.fixture.still:
                return None
        return None

    def _taken(self) -> Record:
        if self._running and (self._record is None or self._record.codes.shape[1] != self._points()):
            self._acquire()
        if self._record is None:
            raise ScpiError(-230, "no data")
        return self._record

    def _triggered(self) -> str:
        found, self._was_triggered = self._was_triggered, False
        return "1" if found else "0"

    def _autoscale(self) -> None:
        """Every channel's range to what it sees now within the present time base."""
        self._running = True
        times = self.clock.seconds + np.arange(SEARCH_STEPS) * (self.value("time_range") / SEARCH_STEPS)
        for number in range(1, CHANNELS + 1):
            volts = (
                self.fixture.volts([self.node(number)], np.asarray(times, dtype=np.float64))[:, 0]
                * self._attenuation[number]
            )
            middle, swing = 0.5 * (volts.max() + volts.min()), np.ptp(volts)
            smallest = 8e-3 * self._attenuation[number]
            self._full_scale[number] = float(np.clip(1.25 * swing, smallest, 40.0 * self._attenuation[number]))
            self.put("offset", float(middle), number)
        self._record = None

    # Transfers.

    def _channel_index(self) -> int:
        return SOURCES.index(self.value("source"))

    def _steps(self, record: Record) -> tuple[float, float, int]:
        """yincrement, yorigin, yreference of the format."""
        index = self._channel_index()
        word = self.value("format") == "WORD"
        increment = record.ranges[index] / (65536.0 if word else 256.0)
        reference = (32768 if word else 128) if self.value("unsigned") else 0
        return float(increment), float(record.offsets[index]), reference

    def _preamble(self) -> str:
        if self._running:
            self._record = None
        record = self._taken()
        increment, origin, reference = self._steps(record)
        return (
            f"{FORMATS[self.value('format')]:+d},{TYPES[record.kind]:+d},{record.codes.shape[1]:+d},{record.count:+d},"
            f"{record.step_seconds:+.14E},{record.origin_seconds:+.14E},+0,"
            f"{increment:+.14E},{origin:+.14E},{reference:+d}"
        )

    def _data(self) -> Answer:
        record = self._taken()
        key = tuple(self.value(name) for name in ("source", "format", "unsigned", "order"))
        if key not in self._blocks:
            self._blocks[key] = self._encoded(record)
        return self._blocks[key]

    def _encoded(self, record: Record) -> bytes:
        index, kind = self._channel_index(), self.value("format")
        if kind == "ASCii":
            return block(",".join(f"{value:.5E}" for value in record.volts(index)).encode(), 8)
        codes = record.codes[index].astype(np.int32)
        if kind == "BYTE":
            codes = np.clip((codes + 128) >> 8, -127, 127)
        if self.value("unsigned"):
            codes += 32768 if kind == "WORD" else 128
        order = ">" if self.value("order") == "MSBFirst" else "<"
        width = "2" if kind == "WORD" else "1"
        return block(codes.astype(order + ("u" if self.value("unsigned") else "i") + width).tobytes(), 8)

    def _measure(self, what: str, request: Request) -> str:
        index = SOURCES.index(request.choice(SOURCES)) if request.given(0) else SOURCES.index(self.value("measured"))
        if self._running:
            self._record = None
        record = self._taken()
        volts = record.volts(index)
        if what in ("FREQuency", "PERiod"):
            middle = 0.5 * (volts.max() + volts.min())
            rising = np.flatnonzero((volts[1:] >= middle) & (volts[:-1] < middle))
            if len(rising) < 2:
                return self.number_format.format(NEVER)
            places = rising + (middle - volts[rising]) / (volts[rising + 1] - volts[rising])
            period = float((places[-1] - places[0]) / (len(rising) - 1) * record.step_seconds)
            return self.number_format.format(period if what == "PERiod" else 1.0 / period)
        found = {
            "VPP": np.ptp(volts),
            "VAMPlitude": np.ptp(volts),
            "VMAX": volts.max(),
            "VMIN": volts.min(),
            "VAVerage": volts.mean(),
            "VRMS": np.sqrt(np.mean(volts**2)),
        }[what]
        return self.number_format.format(float(found))


MODELS = {"keysight-dsox3024t": InfiniiVision}
