"""Keysight B2200A and B2201A low-leakage switch matrices: 14 inputs, 12 or 48 outputs.

Commands: B2200 User's Guide (B2200-90010), chapter 5. A channel is ``card input output``, as 5 digits: (@10203) closes
input 2 to output 3 of card 1; card 0 is all cards as one of up to 48 outputs (``ROUT:FUNC ACON``). A closed channel has
``channel_ohms`` (1 ohm by default; not confirmed), an open one isolates.

Connection rules: ``FREE`` lets any relay close; ``SROute`` opens what else is at the input and at the output first, so
that no two of either are ever joined. Sequences: ``BBMake`` opens before it closes, ``MBBReak`` the other way round,
``NSEQ`` as it comes; on this bench time stands still meanwhile, and the end is what counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from emulators.bench.instruments.relays import Bounces
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.scpi import Command, Request, ScpiError

INPUTS = 14
CARD_OUTPUTS = 12
SWITCH_SECONDS = 1.0e-3
"""Of one relay, settling included (not confirmed)."""


@final
class SwitchMatrix(ScpiInstrument):
    """Ports: ``in1`` .. ``in14``, ``out1`` .. ``out48``."""

    options_known: ClassVar[Mapping[str, Any]] = {"channel_ohms": 1.0, "cards": 4}

    def ports(self) -> Sequence[str]:
        """Inputs and outputs."""
        outputs = CARD_OUTPUTS * int(self.options["cards"])
        return [f"in{number + 1}" for number in range(INPUTS)] + [f"out{number + 1}" for number in range(outputs)]

    @property
    def identity(self) -> str:
        """Of a B2201A."""
        return "AGILENT TECHNOLOGIES,B2201A,MY43120101,A.01.00"

    def commands(self) -> Sequence[Command]:
        """Of the user's guide."""
        self._closed: dict[tuple[int, int], None] = {}
        self._bounces: Bounces[tuple[int, int]] = Bounces(self, self._stick)
        self.faults.listen(self._stick)
        return [
            Command("[ROUTe]:CLOSe[:LIST] [ROUTe]:CLOSe[:STATe]", self._close, self._closed_among),
            Command("[ROUTe]:OPEN[:LIST] [ROUTe]:OPEN[:STATe]", self._open, self._open_among),
            Command("[ROUTe]:CLOSe:CARD", query=self._closed_of_card),
            Command("[ROUTe]:OPEN:CARD", self._open_card),
            self.choice("[ROUTe]:FUNCtion", "function", "ACONfig", ["ACONfig", "NCONfig"]),
            Command("[ROUTe]:CONNection:RULE", self._set_rule, self._rule, most=2),
            Command("[ROUTe]:CONNection:SEQuence", self._set_sequence, self._sequence, most=2),
            Command("SYSTem:CDEScription", query=lambda _: "B2211A", most=1),
            Command("SYSTem:CTYPe", query=lambda _: "AGILENT TECHNOLOGIES,B2211A,0,0", most=1),
            Command("SYSTem:CPON", self._open_card),
            Command("DIAGnostic:TEST:CARD[:EXECute]", query=lambda _: "0", most=1),
        ]

    def reset(self) -> None:
        """All open, rule FREE, break before make."""
        self._rules = dict.fromkeys(range(self._cards + 1), "FREE")
        self._sequences = dict.fromkeys(range(self._cards + 1), "BBM")
        self._set({})

    def outputs_off(self) -> None:
        """All open."""
        self._set({})

    def trigger(self) -> None:
        """Nothing waits for it."""
        raise ScpiError(-211)

    @property
    def _cards(self) -> int:
        return int(self.options["cards"])

    @property
    def _automatic(self) -> bool:
        """Whether all cards count as one."""
        return bool(self.value("function") == "ACONfig")

    def _channels(self, request: Request, index: int = 0) -> list[tuple[int, int]]:
        """(input, output) of a channel list, outputs counted over all cards."""
        text = request.raw(index)
        pairs = [part.split(":") for part in text.strip("(@) ").split(",")]
        out: list[tuple[int, int]] = []
        for ends in pairs:
            if len(ends) > 2 or not all(
                len(end.strip()) == 5 and end.strip().isascii() and end.strip().isdigit() for end in ends
            ):
                raise ScpiError(-224, text[:40])
            first, last = self._place(ends[0].strip()), self._place(ends[-1].strip())
            # A range runs over outputs within inputs.
            inputs = range(first[0], last[0] + 1)
            outputs = range(first[1], last[1] + 1)
            if not len(inputs) or not len(outputs):
                raise ScpiError(-224, text[:40])
            out += [(one, other) for one in inputs for other in outputs]
        return out

    def _place(self, digits: str) -> tuple[int, int]:
        card, at, output = int(digits[0]), int(digits[1:3]), int(digits[3:5])
        if card:
            fits = card <= self._cards and 1 <= output <= CARD_OUTPUTS
            if self._automatic and self.strict:
                raise ScpiError(-224, f"card {card} in automatic configuration")
            output += CARD_OUTPUTS * (card - 1)
        else:
            fits = self._automatic and 1 <= output <= CARD_OUTPUTS * self._cards
        if not (fits and 1 <= at <= INPUTS):
            raise ScpiError(-224, digits)
        return at, output

    def _close(self, request: Request) -> None:
        wanted = dict(self._closed)
        for at, output in self._channels(request):
            if self._rules[self._card_of(output)] == "SRO":
                wanted = {pair: None for pair in wanted if pair[0] != at and pair[1] != output}
            wanted[at, output] = None
        self._set(wanted)

    def _open(self, request: Request) -> None:
        chosen = set(self._channels(request))
        self._set({pair: None for pair in self._closed if pair not in chosen})

    def _open_card(self, request: Request) -> None:
        card = self._card(request)
        self._set({pair: None for pair in self._closed if card and self._card_of(pair[1]) != card})

    def _card(self, request: Request) -> int:
        if request.raw(0).upper() == "ALL":
            return 0
        return request.integer(0, 0, self._cards)

    def _card_of(self, output: int) -> int:
        return 0 if self._automatic else (output - 1) // CARD_OUTPUTS + 1

    def _closed_among(self, request: Request) -> str:
        return ",".join("1" if pair in self._closed else "0" for pair in self._channels(request))

    def _open_among(self, request: Request) -> str:
        return ",".join("0" if pair in self._closed else "1" for pair in self._channels(request))

    def _closed_of_card(self, request: Request) -> str:
        card = self._card(request)
        pairs = [pair for pair in sorted(self._closed) if not card or (pair[1] - 1) // CARD_OUTPUTS + 1 == card]
        return "(@" + ",".join(self._digits(*pair) for pair in pairs) + ")"

    def _digits(self, at: int, output: int) -> str:
        if self._automatic:
            return f"0{at:02d}{output:02d}"
        return f"{(output - 1) // CARD_OUTPUTS + 1}{at:02d}{(output - 1) % CARD_OUTPUTS + 1:02d}"

    def _set_rule(self, request: Request) -> None:
        rule = "FREE" if request.choice(["FREE", "SROute"], 1) == "FREE" else "SRO"
        card = self._card(request)
        self._rules.update({one: rule for one in self._rules if card in (0, one)})

    def _rule(self, request: Request) -> str:
        return "SROUTE" if self._rules[self._card(request)] == "SRO" else "FREE"

    def _set_sequence(self, request: Request) -> None:
        words = {"NSEQ": "NSEQ", "BBMake": "BBM", "MBBReak": "MBBR"}
        chosen = words[request.choice(list(words), 1)]
        card = self._card(request)
        self._sequences.update({one: chosen for one in self._sequences if card in (0, one)})

    def _sequence(self, request: Request) -> str:
        return self._sequences[self._card(request)]

    def _set(self, wanted: dict[tuple[int, int], None]) -> None:
        """Move relays; what they then really connect also depends on faults."""
        moved = len(wanted.keys() ^ self._closed.keys())
        self._bounces.closed(wanted.keys() - self._closed.keys())
        self._closed = dict(wanted)
        self._stick()
        if moved:
            self.spend(SWITCH_SECONDS)

    def _stick(self) -> None:
        """Bring the contacts to what is set, as far as they obey; ``value`` of a fault is the channel's five digits."""
        real = {pair: None for pair in self._closed if self._bounces.at_rest(pair)}
        for kind in ("relay_stuck_open", "relay_stuck_closed"):
            for rule in self.faults.active(self.name, kind):
                pair = (int(rule.value) // 100 % 100, int(rule.value) % 100)
                if kind == "relay_stuck_open":
                    real.pop(pair, None)
                elif 1 <= pair[0] <= INPUTS and 1 <= pair[1] <= CARD_OUTPUTS * self._cards:
                    real[pair] = None
        nodes = {pair: (self.node(f"in{pair[0]}"), self.node(f"out{pair[1]}")) for pair in real}
        self.fixture.connect_only(self.name, dict.fromkeys(nodes.values(), float(self.options["channel_ohms"])))


MODELS = {"keysight-b2201a": SwitchMatrix}
