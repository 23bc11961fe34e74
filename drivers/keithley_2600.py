"""Keithley 2600 System SourceMeters, in their Test Script Processor language.

Commands: Series 2600B Reference Manual (2600BS-901-01), sections 7 and 9. A driver is for one of the two channels;
two drivers may share an instrument, over one link each or over one connection (``shared_link``), which many firmware
versions insist on.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Unpack, final

import numpy as np

from drivers.errors import DeviceTimeout, InstrumentError, ProtocolError
from drivers.instrument import Options, Part
from drivers.limits import DriveLimits
from drivers.setting import Number, Switch, number
from drivers.source_meter import SourceMeter, SourceReading
from drivers.transport import Link
from substrate.errors import InputError

SHORTEST_PULSE_SECONDS = 1.0e-3
MOST_PULSES = 1000
OVERHEAD_SECONDS = 0.05
NIL = "nil"


@final
class Keithley2600(SourceMeter):
    """One channel of a source meter; see ``SourceMeter``.

    What breaks off the pulses of one channel, such as leaving its driver, breaks off those of the other as well: the
    instrument has one interpreter, which hears nothing else while it is busy.

    Args:
        resource: address.
        limits: of what is driven.
        channel: "a" or "b".
        options: of ``Instrument``.
    """

    model_pattern = r"\bMODEL 26\d\d"
    abort = "abort"
    level_volts = Number("", "print(smu{smu}.source.levelv)", unit="V", read_only=True)
    level_amperes = Number("", "print(smu{smu}.source.leveli)", unit="A", read_only=True)
    limit_volts = Number("", "print(smu{smu}.source.limitv)", unit="V", read_only=True)
    limit_amperes = Number("", "print(smu{smu}.source.limiti)", unit="A", read_only=True)
    sources_volts = Switch("", "print(smu{smu}.source.func)", read_only=True)
    is_on = Switch("", "print(smu{smu}.source.output)", read_only=True)
    nplc = Number("smu{smu}.measure.nplc={value}", "print(smu{smu}.measure.nplc)", low=0.001, high=25.0)
    delay_seconds = Number("smu{smu}.source.delay={value}", "print(smu{smu}.source.delay)", unit="s", low=0, high=1e3)

    def __init__(
        self,
        resource: str | Link,
        limits: DriveLimits,
        channel: Literal["a", "b"] = "a",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(resource, limits, **options)
        if channel not in ("a", "b"):
            raise InputError(f"channel: expected a or b, got {channel!r}")
        self._smu = f"smu{channel}"
        # Pulses of the two channels are configured side by side.
        self._tag = 1 if channel == "a" else 2
        self.names = {"smu": channel}

    def _next_error(self) -> tuple[int, str] | None:
        return self.session.ask("print(errorqueue.next())", _error, once=True)

    def _source(self, quantity: str) -> Sequence[str]:
        smu, volts = self._smu, quantity == "volts"
        sourced, other = ("v", "i") if volts else ("i", "v")
        return (
            f"{smu}.source.func={int(volts)}",
            f"{smu}.source.autorange{sourced}=1",
            f"{smu}.measure.autorange{other}=1",
        )

    def _limit(self, quantity: str, limit: float) -> str:
        return f"{self._smu}.source.limit{'i' if quantity == 'volts' else 'v'}={limit:.9G}"

    def _level(self, quantity: str, level: float) -> str:
        return f"{self._smu}.source.level{'v' if quantity == 'volts' else 'i'}={level:.9G}"

    def _output(self, on: bool) -> str:
        return f"{self._smu}.source.output={int(on)}"

    def _quiet(self) -> Sequence[str]:
        return (f"{self._smu}.source.levelv=0", f"{self._smu}.source.leveli=0")

    def _measure(self) -> SourceReading:
        amperes, volts = self.session.ask(f"print({self._smu}.measure.iv())", _pair, once=True)
        limited = self.session.ask(f"print({self._smu}.source.compliance)", _truth)
        return SourceReading(
            volts if math.isfinite(volts) else math.nan, amperes if math.isfinite(amperes) else math.nan, limited
        )

    def _check_pulses(self, count: int, width_seconds: float) -> None:
        if width_seconds < SHORTEST_PULSE_SECONDS:
            raise InputError(f"width_seconds: expected {SHORTEST_PULSE_SECONDS:g} or more, got {width_seconds:g}")
        if count > MOST_PULSES:
            raise InputError(f"count: expected {MOST_PULSES} pulses at most, got {count}")

    def _as_before(self) -> Sequence[str]:
        smu, buffer = self._smu, f"{self._smu}.nvbuffer1"
        automatic, appends = (
            self.session.ask(f"print({name})", number) for name in (f"{smu}.measure.autozero", f"{buffer}.appendmode")
        )
        return (
            f"{smu}.measure.nplc={self.nplc:.9G}",
            f"{smu}.measure.autozero={automatic:.0f}",
            f"{buffer}.appendmode={appends:.0f}",
            f"{smu}.source.autorangev=1",
            f"{smu}.measure.autorangei=1",
            f"{smu}.source.levelv=0",
        )

    def _pulse(self, volts: float, count: int, width_seconds: float, limit_amperes: float) -> list[SourceReading]:
        smu, buffer, tag = self._smu, f"{self._smu}.nvbuffer1", self._tag
        width = f"{width_seconds:.9G}"
        self.configure(
            # The reading has to fit into the pulse, without readings of zero, and its range must not change within.
            f"{smu}.measure.nplc=0.01",
            f"{smu}.measure.autozero=1",
            f"{smu}.source.rangev={abs(volts):.9G}",
            f"{smu}.measure.rangei={limit_amperes:.9G}",
            f"{buffer}.clear()",
            f"{buffer}.appendmode=1",
            f"{buffer}.collectsourcevalues=1",
            self._output(True),
        )
        self._done(
            f"ConfigPulseVMeasureI({smu},0,{volts:.9G},{limit_amperes:.9G},{width},{width},{count},{buffer},{tag})",
            self.session.seconds,
        )
        seconds = 2.0 * self.session.seconds + count * (2.0 * width_seconds + OVERHEAD_SECONDS)
        self._done(f"InitiatePulseTest({tag})", seconds)
        amperes = self.session.numbers(f"printbuffer(1,{count},{buffer})")
        if len(amperes) != count:
            raise ProtocolError(f"{self.link.address}: printbuffer: expected {count} numbers, got {len(amperes)}")
        found = np.where(np.abs(amperes) >= 9.9e37, np.nan, amperes)
        # The buffer does not say whether a pulse was at its limit; a current there is one.
        return [SourceReading(volts, float(one), not abs(one) < 0.999 * limit_amperes) for one in found]

    def _done(self, call: str, seconds: float) -> None:
        """Call a function of the factory script KIPulse, once. What it refuses is told by what it gives back, and not
        by the error queue; the pulses that were configured before stay configured under the same tag.

        Raises:
            InstrumentError: it refused, or went wrong.
            BenchError: the instrument cannot be reached.
        """
        try:
            done, why = self.session.ask(f"print({call})", _outcome, seconds=seconds, once=True)
        except DeviceTimeout:
            # A function that went wrong prints nothing.
            self.check_errors(call)
            raise
        if not done:
            raise InstrumentError(f"{self.link.address}: after {call}: refused: {why or 'without a reason'}")
        self.check_errors(call)

    def _parts(self) -> Mapping[str, Part]:
        return {}


def _truth(answer: str) -> bool:
    """Of TSP: ``true``, or a number."""
    word = answer.strip().lower()
    return word == "true" or (word not in ("false", NIL) and number(word) != 0.0)


def _outcome(answer: str) -> tuple[bool, str]:
    """What a function of KIPulse gives back: whether it was done, and a text."""
    done, _, why = answer.strip().partition("\t")
    if done not in ("true", "false"):
        raise ValueError("expected true or false")
    return done == "true", why.strip()


def _error(answer: str) -> tuple[int, str] | None:
    """An entry of the error queue: code, message, severity, node."""
    code, _, rest = answer.partition("\t")
    found = int(float(code))
    return (found, rest.split("\t")[0].strip('"')) if found else None


def _pair(answer: str) -> tuple[float, float]:
    """Amperes and volts."""
    amperes, volts = (number(field) for field in answer.replace(",", "\t").split("\t"))
    return amperes, volts
