"""What changes the wave of a 33500B's channel: modulation, sweeps, the other channel.

Only one sort of modulation, sweep or burst is on at a time. A channel's own wave may be modulated in its amplitude
(``AM``) or have another one added to it (``SUM``), with inner sources of modulation; the other channel's may be added
to that (``COMBine:FEED``). The other sorts, sweeps, gated outputs, and what couples channels are states that can be set
and asked for, and change nothing that is put out.
"""

from collections.abc import Callable
from typing import Literal, final

from emulators.bench.generator_wave import GeneratorWave, ModulatedWave, Shape
from emulators.bench.instruments.scpi_instrument import ScpiInstrument
from emulators.bench.protocol.scpi import Command, Request, short_form
from emulators.bench.sources import Waveform

SORTS = {"AM": "am", "FM": "fm", "PM": "pm", "FSKey": "fsk", "BPSK": "bpsk", "PWM": "pwm", "SUM": "sum"}
"""Of modulation, by their headers."""

FUNCTIONS = ["SINusoid", "SQUare", "TRIangle", "RAMP", "NRAMp"]
SHAPES: dict[str, Shape] = {"SIN": "sine", "SQU": "square", "TRI": "ramp", "RAMP": "ramp", "NRAM": "ramp"}
SYMMETRY = {"TRI": 0.5, "NRAM": 0.0}
SOURCES = ["INTernal", "EXTernal", "CH1", "CH2"]

Changed = Callable[[Request], None]


@final
class Modulations:
    """Of both channels.

    Args:
        owner: the generator; keeps the settings.
        changed: is called when what is put out may have changed.
        rearm: is called when bursts were switched on or off.
    """

    def __init__(self, owner: ScpiInstrument, changed: Changed, rearm: Changed) -> None:
        self._owner = owner
        self._changed = changed
        self._rearm = rearm

    def commands(self, source: str) -> list[Command]:
        """With headers that begin with ``source``."""
        owner, changed = self._owner, self._changed
        return [
            *(
                owner.switch(f"{source}{header}:STATe", key, False, changed=self._alone(key))
                for header, key in SORTS.items()
            ),
            owner.switch(f"{source}SWEep:STATe", "sweep", False, changed=self._alone("sweep")),
            owner.switch(f"{source}BURSt:STATe", "burst", False, changed=self._alone("burst")),
            *self._inner(f"{source}AM", "am"),
            *self._inner(f"{source}SUM", "sum"),
            owner.number(f"{source}AM:DEPTh", "am_depth", 100.0, 0.0, 120.0, unit="PCT", changed=changed),
            owner.switch(f"{source}AM:DSSC", "am_dssc", False, changed=changed),
            owner.number(f"{source}SUM:AMPLitude", "sum_depth", 0.1, 0.0, 100.0, unit="PCT", changed=changed),
            owner.choice(f"{source}COMBine:FEED", "combine", "NONE", ["CH1", "CH2", "NONE"], changed=changed),
            owner.choice(f"{source}FREQuency:MODE", "frequency_mode", "CW", ["CW", "LIST", "SWEep", "FIXed"]),
            owner.choice(f"{source}TRACk", "track", "OFF", ["ON", "OFF", "INVerted"]),
            owner.switch(f"{source}VOLTage:COUPle[:STATe]", "volts_coupled", False),
            owner.switch(f"{source}FREQuency:COUPle[:STATe]", "frequency_coupled", False),
            owner.choice("OUTPut#2:MODE", "output_mode", "NORMal", ["NORMal", "GATed"]),
        ]

    def _inner(self, header: str, key: str) -> list[Command]:
        owner, changed = self._owner, self._changed
        return [
            owner.choice(f"{header}:SOURce", f"{key}_source", "INTernal", SOURCES, changed=changed),
            owner.choice(f"{header}:INTernal:FUNCtion", f"{key}_function", "SINusoid", FUNCTIONS, changed=changed),
            owner.number(f"{header}:INTernal:FREQuency", f"{key}_hz", 100.0, 1e-6, 20e6, unit="HZ", changed=changed),
        ]

    def _alone(self, key: str) -> Changed:
        """The last one of all that was switched on is on."""

        def changed(request: Request) -> None:
            owner, channel = self._owner, request.suffixes[0]
            bursts = key == "burst" or owner.value("burst", channel)
            if owner.value(key, channel):
                for other in (*SORTS.values(), "sweep", "burst"):
                    if other != key:
                        owner.put(other, False, channel)
            owner.put("frequency_mode", "SWEep" if owner.value("sweep", channel) else "CW", channel)
            (self._rearm if bursts else self._changed)(request)

        return changed

    def modulated(self, carrier: GeneratorWave, channel: int) -> Waveform:
        """A channel's own wave as its modulation makes it."""
        owner = self._owner
        for key in ("am", "sum"):
            if (
                carrier.shape == "dc"
                or not owner.value(key, channel)
                or owner.value(f"{key}_source", channel) != SOURCES[0]
            ):
                continue
            word = short_form(owner.value(f"{key}_function", channel))
            modulating = GeneratorWave(
                shape=SHAPES[word],
                frequency_hz=owner.value(f"{key}_hz", channel),
                amplitude_volts=2.0,
                offset_volts=0.0,
                origin_seconds=carrier.origin_seconds,
                symmetry=SYMMETRY.get(word, 1.0),
            )
            suppressed = key == "am" and owner.value("am_dssc", channel)
            sort: Literal["am", "dssc", "sum"] = "sum" if key == "sum" else "dssc" if suppressed else "am"
            return ModulatedWave(carrier, modulating, owner.value(f"{key}_depth", channel) / 100.0, sort)
        return carrier
