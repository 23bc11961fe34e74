"""Keithley 2750: a meter and five slots of 7709 switch matrices, 6 rows by 8 columns each.

Commands: Model 2750 User's Manual (2750-900-01), section 2; 7709 card: channel = slot, then 8 (row - 1) + column, as in
(@101) row 1, column 1 and (@148) row 6, column 8. A closed crosspoint has ``channel_ohms`` (not confirmed); the rows of
all slots are joined where ``join_rows`` says so. The meter stands at a port of its own, ``dmm``.
``ROUTe:CLOSe`` closes one channel and opens all others; ``ROUTe:MULTiple:CLOSe`` leaves the others alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from emulators.bench.instruments.dmm import LADDERS, UNITS, Function, Meter, MeterSettings
from emulators.bench.instruments.relays import Bounces
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.scpi import Command, Request, ScpiError

SLOTS, ROWS, COLUMNS = 5, 6, 8
SWITCH_SECONDS = 3.0e-3
FUNCTIONS: dict[str, Function] = {"VOLTage": "VOLT", "CURRent": "CURR", "RESistance": "RES"}


@final
class Multimeter2750(ScpiInstrument):
    """Ports: ``s1row1`` .. ``s5row6``, ``s1col1`` .. ``s5col8``, ``dmm``."""

    error_format = '{code:d},"{text}"'
    number_format = "{:+.8E}"
    options_known: ClassVar[Mapping[str, Any]] = {"channel_ohms": 1.0, "join_rows": True}

    def ports(self) -> Sequence[str]:
        """Rows and columns of every slot, and the meter's input."""
        slots = range(1, SLOTS + 1)
        rows = [f"s{slot}row{number + 1}" for slot in slots for number in range(ROWS)]
        return ["dmm", *rows, *(f"s{slot}col{number + 1}" for slot in slots for number in range(COLUMNS))]

    @property
    def identity(self) -> str:
        """Of a 2750."""
        return "KEITHLEY INSTRUMENTS INC.,MODEL 2750,1234567,A10/A02"

    def commands(self) -> Sequence[Command]:
        """Of the user's manual."""
        self._meter = Meter(self)
        self._closed: list[int] = []
        self._bounces: Bounces[int] = Bounces(self, self._move)
        self._last: float | None = None
        self.faults.listen(self._move)
        return [
            Command("ROUTe:MULTiple:CLOSe", self._close, lambda _: self._listed()),
            Command("ROUTe:MULTiple:CLOSe:STATe", query=self._states),
            Command("ROUTe:MULTiple:OPEN", self._open),
            Command("ROUTe:OPEN:ALL ROUTe:MULTiple:OPEN:ALL", lambda _: self._set([]), most=0),
            Command("ROUTe:CLOSe", self._close_only, lambda _: self._listed()),
            Command("ROUTe:CLOSe:STATe", query=self._states),
            Command("[SENSe#1]:FUNCtion", self._set_function, lambda _: f'"{self.value("function")}"'),
            *(command for long in FUNCTIONS for command in self._of(long)),
            self.choice("CONFigure#1", "function", "VOLT", ["VOLT", "CURR", "RES"]),
            Command("READ", query=lambda _: self._read(), most=0),
            Command("FETCh [SENSe#1]:DATA[:LATest]", query=lambda _: self._fetch(), most=0),
            Command("INITiate[:IMMediate]", lambda _: self._start(), most=0),
            self.switch("INITiate:CONTinuous", "continuous", False),
            Command("ABORt", lambda _: self.free(), most=0),
            self.choice("FORMat[:DATA]", "format", "ASCii", ["ASCii"]),
            Command("SYSTem:CARD#5", query=lambda r: "7709", most=0),
            Command("SYSTem:PRESet", lambda _: self.power_on(), most=0),
            Command("STATus:PRESet", lambda _: None, most=0),
            Command("*OPT", query=lambda _: ",".join(["7709"] * SLOTS), most=0),
        ]

    def _of(self, long: str) -> list[Command]:
        key = FUNCTIONS[long]
        base, ladder = f"[SENSe#1]:{long}[:DC]", LADDERS[key]
        return [
            self.number(
                f"{base}:RANGe[:UPPer]", f"{key}_range", ladder.ranges[-1], 0.0, ladder.largest,
                changed=lambda _: self.put(f"{key}_auto", False, 1),
            ),
            self.switch(f"{base}:RANGe:AUTO", f"{key}_auto", True),
            self.number(f"{base}:NPLCycles", f"{key}_nplc", 1.0, 0.01, 60.0),
            Command(f"MEASure:{long}[:DC]", query=lambda _: self._measure(key), most=3),
        ]  # fmt: skip

    def reset(self) -> None:
        """All open, volts."""
        self._closed, self._last = [], None
        self._move()

    def outputs_off(self) -> None:
        """All open."""
        self._closed = []
        self._move()

    def trigger(self) -> None:
        """A reading."""
        self._read()

    # Channels.

    def _channels(self, request: Request) -> list[int]:
        found = request.channels(0)
        for channel in found:
            if not (1 <= channel // 100 <= SLOTS and 1 <= channel % 100 <= ROWS * COLUMNS):
                raise ScpiError(-224, f"channel {channel}")
        if not found:
            raise ScpiError(-109, request.header)
        return found

    def _close(self, request: Request) -> None:
        self._set(sorted({*self._closed, *self._channels(request)}))

    def _close_only(self, request: Request) -> None:
        found = self._channels(request)
        if len(found) > 1:
            raise ScpiError(-223, "one channel at a time")
        self._set(found)

    def _open(self, request: Request) -> None:
        found = self._channels(request)
        self._set([channel for channel in self._closed if channel not in found])

    def _listed(self) -> str:
        return "(@" + ",".join(map(str, self._closed)) + ")"

    def _states(self, request: Request) -> str:
        return ",".join("1" if channel in self._closed else "0" for channel in self._channels(request))

    def _set(self, channels: list[int]) -> None:
        moved = set(channels) ^ set(self._closed)
        self._bounces.closed(set(channels) - set(self._closed))
        self._closed = channels
        self._move()
        if moved:
            self.spend(SWITCH_SECONDS)

    def _move(self) -> None:
        """Bring the contacts to what is set, as far as faults let them."""
        real = dict.fromkeys(channel for channel in self._closed if self._bounces.at_rest(channel))
        for rule in self.faults.active(self.name, "relay_stuck_open"):
            real.pop(int(rule.value), None)
        for rule in self.faults.active(self.name, "relay_stuck_closed"):
            if 1 <= int(rule.value) // 100 <= SLOTS and 1 <= int(rule.value) % 100 <= ROWS * COLUMNS:
                real[int(rule.value)] = None
        ohms = float(self.options["channel_ohms"])
        relays = {}
        for channel in real:
            slot, place = channel // 100, channel % 100 - 1
            row, column = place // COLUMNS + 1, place % COLUMNS + 1
            relays[self.node(f"s{slot}row{row}"), self.node(f"s{slot}col{column}")] = ohms
        if self.options["join_rows"]:
            for row in range(1, ROWS + 1):
                for slot in range(2, SLOTS + 1):
                    relays[self.node(f"s1row{row}"), self.node(f"s{slot}row{row}")] = 0.0
        self.fixture.connect_only(self.name, relays)

    # The meter.

    def _set_function(self, request: Request) -> None:
        word = request.text(0).upper().removesuffix(":DC")
        found = [short for long, short in FUNCTIONS.items() if word in (short, long.upper())]
        if not found:
            raise ScpiError(-224, word[:20])
        self.put("function", found[0], 1)
        self.put("function", found[0])

    def _take(self, function: Function) -> float:
        fixed = (
            None if self.value(f"{function}_auto", 1) else LADDERS[function].fixed(self.value(f"{function}_range", 1))
        )
        settings = MeterSettings(function, fixed, self.value(f"{function}_nplc", 1), high_ohms=True)
        self._last = self._meter.read(self.node("dmm"), settings)
        return self._last

    def _start(self) -> None:
        self._take(self.value("function"))

    def _read(self) -> str:
        self._take(self.value("function"))
        return self._fetch()

    def _measure(self, function: Function) -> str:
        self.put("function", function)
        return self.numbers([self._take(function)])

    def _fetch(self) -> str:
        """Reading with its unit, time and number, as FORMat:ELEMents has them by default."""
        if self._last is None:
            raise ScpiError(-230)
        unit = UNITS[self.value("function")]
        return f"{self.numbers([self._last])}{unit},{self.clock.seconds:+.3f}SECS,+00000RDNG#"


MODELS = {"keithley-2750": Multimeter2750}
