"""Rigol DS1104Z (DS1000Z family): four channels, 8 bits, up to 24 000 000 points of memory, 1 GS/s.

Commands: MSO1000Z/DS1000Z Programming Guide. The screen is 12 divisions wide and 8 high, 25 codes a division; volts =
(code - YORigin - YREFerence) YINCrement, with YREFerence 127. NORMal data are 1200 points of the screen, RAW data the
memory, at most 250 000 bytes a reading, from a scope that has stopped. Blocks: ``#9`` and nine digits.

A record is taken whole, from the moment of the command that asks for it, as on the bench's other scope; a running scope
takes a new one whenever data are asked for. Noise: .5 of a code, chosen: no figure of the maker was found. AC coupling
takes the mean of the record away, that of the trigger the mean of a screen. The bandwidth is not modelled; its limit is
one pole at 20 MHz.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.bench.instruments.bandwidth import limited
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.scpi import Answer, Command, Request, ScpiError, block
from substrate.arrays import FloatArray

CHANNELS, COLUMNS, ROWS, CODES_A_DIVISION = 4, 12, 8, 25
SCREEN_POINTS, MOST_BYTES = 1200, 250_000
Y_REFERENCE = 127
NOISE_CODES = 0.5
HIGHEST_SAMPLE_HZ = 1.0e9
LIMITED_HZ = 20.0e6
DEPTHS = (12_000, 120_000, 1_200_000, 12_000_000, 24_000_000)
MOST_SOLVED = 1_200_000
"""Points that the bench takes of a deeper memory."""

AUTO_SECONDS = 0.05
SEARCH_WINDOWS, SEARCH_STEPS = 64, 1200
NEVER = 9.9e37
SOURCES = [f"CHANnel{number}" for number in range(1, CHANNELS + 1)]
TYPES = {"NORMal": 0, "PEAK": 1, "AVERages": 2, "HRESolution": 3}
ITEMS = ["VMAX", "VMIN", "VPP", "VAVG", "VRMS", "VAMP", "PERiod", "FREQuency"]


@final
@dataclass(frozen=True)
class Record:
    """Codes (channel, point) and what they mean."""

    codes: FloatArray
    step_seconds: float
    origin_seconds: float
    scales: tuple[float, ...]
    offsets: tuple[float, ...]


@final
class Ds1000Z(ScpiInstrument):
    """Ports: ``1`` .. ``4``."""

    error_format = '{code:d},"{text}"'
    number_format = "{:.6e}"

    def ports(self) -> Sequence[str]:
        """The inputs."""
        return [str(number) for number in range(1, CHANNELS + 1)]

    @property
    def identity(self) -> str:
        """Of a DS1104Z."""
        return "RIGOL TECHNOLOGIES,DS1104Z,DS1ZA170000001,00.04.04.SP4"

    def commands(self) -> Sequence[Command]:
        """Of the programming guide."""
        self._record: Record | None = None
        channel = "CHANnel#4:"
        return [
            self.number(f"{channel}SCALe", "scale", 1.0, self._least_scale, self._largest_scale, unit="V"),
            Command(f"{channel}RANGe", self._set_range, lambda r: self.numbers([8.0 * self._scale(r.suffixes[0])])),
            self.number(f"{channel}OFFSet", "offset", 0.0, -1000.0, 1000.0, unit="V"),
            self.switch(f"{channel}DISPlay", "display", False),
            self.choice(f"{channel}COUPling", "coupling", "DC", ["AC", "DC", "GND"]),
            self.choice(f"{channel}BWLimit", "bandwidth", "OFF", ["20M", "OFF"]),
            self.switch(f"{channel}INVert", "invert", False),
            self.number(f"{channel}PROBe", "probe", 10.0, 0.01, 1000.0),
            self.choice(f"{channel}UNITs", "units", "VOLTage", ["VOLTage", "WATT", "AMPere", "UNKNown"]),
            self.number("TIMebase[:MAIN]:SCALe", "time_scale", 1e-6, 5e-9, 50.0, unit="S"),
            self.number("TIMebase[:MAIN]:OFFSet", "time_offset", 0.0, -500.0, 500.0, unit="S"),
            self.choice("TIMebase:MODE", "time_mode", "MAIN", ["MAIN", "XY", "ROLL"]),
            Command("ACQuire:MDEPth", self._set_depth, lambda _: str(self._depth or "AUTO")),
            self.choice("ACQuire:TYPE", "type", "NORMal", list(TYPES)),
            self.number("ACQuire:AVERages", "averages", 2, 2, 1024, integer=True),
            Command("ACQuire:SRATe", query=lambda _: self.numbers([1.0 / self._step()]), most=0),
            self.choice("TRIGger:MODE", "trigger_mode", "EDGE", ["EDGE"]),
            self.choice("TRIGger:EDGe:SOURce", "trigger_source", "CHANnel1", SOURCES),
            self.choice("TRIGger:EDGe:SLOPe", "slope", "POSitive", ["POSitive", "NEGative", "RFALl"]),
            self.number("TRIGger:EDGe:LEVel", "level", 0.0, -1000.0, 1000.0, unit="V"),
            self.choice("TRIGger:COUPling", "trigger_coupling", "DC", ["AC", "DC", "LFReject", "HFReject"]),
            self.choice("TRIGger:SWEep", "sweep", "AUTO", ["AUTO", "NORMal", "SINGle"]),
            Command("TRIGger:STATus", query=lambda _: self._trigger_status(), most=0),
            Command("RUN", lambda _: self._run_on(), most=0),
            Command("STOP", lambda _: self._stop(), most=0),
            Command("SINGle", lambda _: self._single(), most=0),
            Command("TFORce", lambda _: self._force(), most=0),
            Command("CLEar", lambda _: self._forget(), most=0),
            self.choice("WAVeform:SOURce", "source", "CHANnel1", SOURCES),
            self.choice("WAVeform:MODE", "mode", "NORMal", ["NORMal", "MAXimum", "RAW"]),
            self.choice("WAVeform:FORMat", "format", "BYTE", ["BYTE", "WORD", "ASCii"]),
            self.number("WAVeform:STARt", "start", 1, 1, DEPTHS[-1], integer=True),
            self.number("WAVeform:STOP", "stop", SCREEN_POINTS, 1, DEPTHS[-1], integer=True),
            Command("WAVeform:PREamble", query=lambda _: self._preamble(), most=0),
            Command("WAVeform:DATA", query=lambda _: self._data(), most=0),
            *(self._field(word, place) for word, place in _FIELDS.items()),
            Command("MEASure:ITEM", lambda _: None, self._measure, most=2),
            self.choice("MEASure:SOURce", "measured", "CHANnel1", SOURCES),
        ]

    def _field(self, word: str, place: int) -> Command:
        return Command(f"WAVeform:{word}", query=lambda _: self._preamble().split(",")[place], most=0)

    def reset(self) -> None:
        """Running, channel 1 on."""
        self._record, self._running, self._waiting = None, True, False
        self._depth = 0
        self.put("display", True, 1)
        for number in range(1, CHANNELS + 1):
            self.fixture.load(self.node(number), 1.0e6)

    def outputs_off(self) -> None:
        """It drives nothing."""

    def trigger(self) -> None:
        """A record."""
        self._single()

    # Settings.

    def _least_scale(self, suffixes: tuple[int, ...]) -> float:
        return float(1e-3 * self.value("probe", *suffixes))

    def _largest_scale(self, suffixes: tuple[int, ...]) -> float:
        return float(10.0 * self.value("probe", *suffixes))

    def _scale(self, channel: int) -> float:
        return float(self.value("scale", channel))

    def _set_range(self, request: Request) -> None:
        low, high = self._least_scale(request.suffixes), self._largest_scale(request.suffixes)
        self.put("scale", request.number(0, 8.0 * low, 8.0 * high, None, "V") / 8.0, *request.suffixes)

    def _set_depth(self, request: Request) -> None:
        if request.raw(0).upper() == "AUTO":
            self._depth = 0
            return
        depth = request.integer(0, 1, DEPTHS[-1])
        if depth not in DEPTHS and (self.strict or depth not in [one // part for one in DEPTHS for part in (2, 4)]):
            raise ScpiError(-224, str(depth))
        self._depth = depth

    def _window(self) -> float:
        return float(COLUMNS * self.value("time_scale"))

    def _points(self) -> int:
        depth = self._depth or max(SCREEN_POINTS, min(DEPTHS[1], round(self._window() * HIGHEST_SAMPLE_HZ)))
        return int(min(depth, MOST_SOLVED))

    def _step(self) -> float:
        return self._window() / self._points()

    # Records.

    def _run_on(self) -> None:
        self._running, self._record, self._waiting = True, None, False

    def _forget(self) -> None:
        self._record = None

    def _stop(self) -> None:
        if self._running and self._record is None:
            self._acquire()
        self._running, self._waiting = False, False

    def _single(self) -> None:
        self._running = False
        self.put("sweep", "SINGle")
        self._acquire()

    def _force(self) -> None:
        self._take(self.clock.seconds + 0.5 * self._window())

    def _acquire(self) -> None:
        earliest = self.clock.seconds + max(0.0, 0.5 * self._window() - self.value("time_offset"))
        missed = self.faults.strike(self.name, b":SINGle", ("missed_trigger",), self.clock.seconds)
        moment = None if missed else self._crossing(earliest)
        self._waiting = moment is None and self.value("sweep") != "AUTO"
        if self._waiting:
            self._record = None
        elif moment is None:
            self.spend(AUTO_SECONDS)
            self._take(earliest + AUTO_SECONDS)
        else:
            self._take(moment)

    def _crossing(self, earliest: float) -> float | None:
        """When the trigger source next crosses its level."""
        node = self.node(SOURCES.index(self.value("trigger_source")) + 1)
        level, slope, window = self.value("level"), self.value("slope"), self._window()
        if self.value("trigger_coupling") in ("AC", "LFReject"):
            screen = np.asarray(earliest + np.arange(SEARCH_STEPS) * (window / SEARCH_STEPS), dtype=np.float64)
            level += float(self.fixture.volts([node], screen)[:, 0].mean())
        for number in range(SEARCH_WINDOWS):
            times = earliest + (number + np.arange(SEARCH_STEPS + 1) / SEARCH_STEPS) * window
            for _ in range(3):
                above = self.fixture.volts([node], np.asarray(times))[:, 0] >= level
                turned = above[1:] != above[:-1]
                if slope != "RFALl":
                    turned &= above[1:] == (slope == "POSitive")
                found = np.flatnonzero(turned)
                if not len(found):
                    break
                times = np.linspace(times[found[0]], times[found[0] + 1], 65)
            else:
                return float(times[32])
            if self.fixture.still:
                return None
        return None

    def _take(self, moment: float) -> None:
        points, step = self._points(), self._step()
        origin = self.value("time_offset") - 0.5 * self._window()
        skew = 1.0 + sum(rule.value for rule in self.faults.active(self.name, "clock_skew"))
        times: FloatArray = np.asarray(moment + (origin + np.arange(points) * step) * skew, dtype=np.float64)
        shown = [number for number in range(1, CHANNELS + 1) if self.value("display", number)]
        codes = np.full((CHANNELS, points), float(Y_REFERENCE))
        if shown:
            volts = self.fixture.volts([self.node(number) for number in shown], times)
            for column, number in enumerate(shown):
                one = volts[:, column]
                if self.value("bandwidth", number) == "20M":
                    one = limited(one, step, LIMITED_HZ)
                codes[number - 1] = self._codes(number, one)
        scales = tuple(self._scale(number) for number in range(1, CHANNELS + 1))
        offsets = tuple(float(self.value("offset", number)) for number in range(1, CHANNELS + 1))
        self._record = Record(codes, step, origin, scales, offsets)
        self.clock.advance_to(float(times[-1] + step))

    def _codes(self, channel: int, volts: FloatArray) -> FloatArray:
        """As the converter gives them. A probe's factor scales what is shown; a wire has no probe in it."""
        gain = float(np.prod([1.0 + rule.value for rule in self.faults.active(self.name, "gain")]))
        volts = gain * self.value("probe", channel) * volts
        volts = volts + sum(rule.value for rule in self.faults.active(self.name, "offset"))
        coupling = self.value("coupling", channel)
        if coupling != "DC":
            volts = volts - volts.mean() if coupling == "AC" else np.zeros_like(volts)
        if self.value("invert", channel):
            volts = -volts
        if self.faults.active(self.name, "saturation"):
            volts = np.full_like(volts, np.inf)
        noise = NOISE_CODES / (np.sqrt(self.value("averages")) if self.value("type") == "AVERages" else 1.0)
        noisy = (volts + self.value("offset", channel)) / (self._scale(channel) / CODES_A_DIVISION)
        return np.asarray(np.clip(np.round(noisy + noise * self.rng.standard_normal(len(volts))) + 127, 0, 255))

    def _taken(self) -> Record:
        if self._running:
            self._acquire()
        if self._record is None:
            raise ScpiError(-230, "no data")
        return self._record

    def _trigger_status(self) -> str:
        if self._waiting:
            return "WAIT"
        return "AUTO" if self._running else "STOP"

    # Transfers.

    def _part(self, record: Record) -> tuple[FloatArray, float, int]:
        """Codes of the chosen channel as the mode shows them, their step, and the points there are."""
        channel = SOURCES.index(self.value("source"))
        codes = record.codes[channel]
        if self.value("mode") == "RAW" or (self.value("mode") == "MAXimum" and not self._running):
            return codes, record.step_seconds, len(codes)
        places = np.arange(SCREEN_POINTS) * len(codes) // SCREEN_POINTS
        return codes[places], record.step_seconds * len(codes) / SCREEN_POINTS, SCREEN_POINTS

    def _shown_part(self) -> tuple[Record, FloatArray, float]:
        record = self._taken()
        codes, step, count = self._part(record)
        start, stop = self.value("start"), min(self.value("stop"), count)
        if start > count or stop < start:
            raise ScpiError(-222, f"points {start} to {stop} of {count}")
        return record, codes[start - 1 : stop], step

    def _increment(self, record: Record) -> tuple[float, int]:
        """YINCrement and YORigin."""
        channel = SOURCES.index(self.value("source"))
        increment = record.scales[channel] / CODES_A_DIVISION
        return increment, round(record.offsets[channel] / increment)

    def _preamble(self) -> str:
        record, codes, step = self._shown_part()
        increment, origin = self._increment(record)
        form = ["BYTE", "WORD", "ASCii"].index(self.value("format"))
        mode = ["NORMal", "MAXimum", "RAW"].index(self.value("mode"))
        averages = self.value("averages") if self.value("type") == "AVERages" else 1
        return (
            f"{form},{mode},{len(codes)},{averages},{step:.6e},{record.origin_seconds:.6e},0,"
            f"{increment:.6e},{origin},{Y_REFERENCE}"
        )

    def _data(self) -> Answer:
        record, codes, _ = self._shown_part()
        kind = self.value("format")
        if len(codes) > (MOST_BYTES if kind == "BYTE" else MOST_BYTES // 2 if kind == "WORD" else MOST_BYTES // 16):
            raise ScpiError(-223, "more points than one reading holds")
        if kind == "ASCii":
            increment, origin = self._increment(record)
            volts = (codes - origin - Y_REFERENCE) * increment
            return block(",".join(f"{value:.6e}" for value in volts).encode(), 9)
        return block(codes.astype("<u2" if kind == "WORD" else "u1").tobytes(), 9)

    def _measure(self, request: Request) -> str:
        item = request.choice(ITEMS)
        source = request.choice(SOURCES, 1) if request.given(1) else self.value("measured")
        record = self._taken()
        channel = SOURCES.index(source)
        volts = (record.codes[channel] - Y_REFERENCE) * record.scales[channel] / CODES_A_DIVISION
        volts = volts - record.offsets[channel]
        if item in ("PERiod", "FREQuency"):
            # A tenth of the swing on either side keeps noise from counting as crossings.
            middle, band = 0.5 * (volts.max() + volts.min()), 0.1 * np.ptp(volts)
            decided = np.flatnonzero(np.abs(volts - middle) > band)
            above = volts[decided] > middle
            rising = decided[1:][above[1:] & ~above[:-1]]
            if len(rising) < 2:
                return self.numbers([NEVER])
            period = float((rising[-1] - rising[0]) / (len(rising) - 1) * record.step_seconds)
            return self.numbers([period if item == "PERiod" else 1.0 / period])
        found = {
            "VMAX": volts.max(), "VMIN": volts.min(), "VPP": np.ptp(volts), "VAMP": np.ptp(volts),
            "VAVG": volts.mean(), "VRMS": np.sqrt(np.mean(volts**2)),
        }  # fmt: skip
        return self.numbers([float(found[item])])


_FIELDS = {"XINCrement": 4, "XORigin": 5, "XREFerence": 6, "YINCrement": 7, "YORigin": 8, "YREFerence": 9}
MODELS = {"rigol-ds1104z": Ds1000Z}
