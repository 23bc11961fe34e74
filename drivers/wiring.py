"""Wiring files: which instrument, at which address, drives or reads which node of a device.

```yaml
instruments:
  inputs:  {model: keysight-33500b, address: "TCPIP::192.168.1.10::5025::SOCKET"}
  nudges:  {model: keysight-33500b, address: "TCPIP::192.168.1.11::5025::SOCKET"}
  scope:   {model: keysight-infiniivision, address: "TCPIP::192.168.1.12::5025::SOCKET"}
  ...
inputs: [inputs.1, inputs.2]                       # outputs of generators, or source meters, that hold them, in order
nudges:
  output.0: {port: nudges.1, siemens: 1.0e-6}      # of a transconductance, or one over a series resistance
nodes: {hidden1.0: scope.1, output.0: scope.2}     # inputs of oscilloscopes, digitizers, lock-ins; or of data loggers
reference: {port: clock.1, volts: 1.0, seen: {scope: 4}}
cells:
  matrix: matrix
  drive: {instrument: smu1, row: 1}
  sense: {instrument: smu2, row: 2}
  bias: [{instrument: smu3, row: 3}]
  ground_row: 14
  lines:
    input-hidden1+: {rows: [1, 2, 3], columns: [4, 5]}
```

Without ``nodes`` it is a set of bare crossbars, named under ``cells.lines``, around which neurons are closed in
software (``substrate.loop``).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, final

import yaml
from pydantic import Field, ValidationError, model_validator

from drivers.instrument_models import DRIVING, READING
from drivers.pulse_section import PulseConfig
from drivers.ready_bench import ReadyBench
from substrate.errors import InputError
from substrate.sections import Positive, Section
from substrate.validation import describe

Port = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*\.[0-9]+$")]
"""``instrument.channel``."""

Line = Annotated[int, Field(ge=1)]


@final
class InstrumentConfig(Section):
    """A model, and where it is.

    Attributes:
        model: a name in ``instrument_models``.
        address: see ``resource.py``.
        timeout_seconds: of one exchange.
        channel: of a Keithley 2600, a where nothing is said. Both channels are two instruments at one address, which
            share a connection, since many accept one only; on a virtual bench, ``smu-a`` and ``smu-b`` are those of
            ``smu``.
    """

    model: str
    address: str
    timeout_seconds: Positive = 2.0
    channel: Literal["a", "b"] | None = None

    @model_validator(mode="after")
    def _known(self) -> "InstrumentConfig":
        if self.model not in {**DRIVING, **READING}:
            raise ValueError(f"model: expected one of {', '.join({**DRIVING, **READING})}, got {self.model!r}")
        if self.channel is not None and self.model != "keithley-2600":
            raise ValueError(f"channel: of a keithley-2600; a {self.model} has its channels in the ports")
        return self


@final
class NudgeConfig(Section):
    """A generator channel, and the current into the node for a volt of its open output.

    A sine below the generator's least one (1 mV of a 33500B, 0.12 mV of a Red Pitaya) is not put out.
    """

    port: Port
    siemens: Positive


@final
class ReferenceConfig(Section):
    """A sine at the nudge's frequency that starts records and that lock-ins follow.

    Attributes:
        port: the generator channel.
        volts: its amplitude.
        seen: by reader, the input that sees it; ``ref`` of a lock-in, whose reference input it is wired to.
        phase_locked: the generators of nudges and reference share one clock and one origin of phases; needed where
            they are several. Whether all but one take their clock from outside is asked of those that tell (33500B).
            Where their phases begin none tells: that is for the laboratory to see to, by a common trigger.
    """

    port: Port
    volts: Positive = 1.0
    seen: dict[str, Annotated[int, Field(ge=1, le=4)] | Literal["ref"]]
    phase_locked: bool = False


@final
class StandConfig(Section):
    """A source meter, and the row of the matrix that it is wired to."""

    instrument: str
    row: Line


@final
class LinesConfig(Section):
    """Columns of the matrix that the word lines and the bit lines of an array are wired to."""

    rows: list[Line]
    columns: list[Line]


@final
class CellsConfig(Section):
    """How cells are reached; ``pulses`` says how they are read and written."""

    matrix: str
    drive: StandConfig
    sense: StandConfig
    bias: list[StandConfig] = Field(default_factory=list)
    ground_row: Line | None = None
    lines: dict[str, LinesConfig]
    pulses: PulseConfig = PulseConfig()


@final
class WiringConfig(Section):
    """The whole file; see the module.

    ``range_volts``: full scale of the inputs of oscilloscopes, digitizers and lock-ins, peak to peak.
    ``settle_seconds``: of the device, after every change. ``free_seconds``: length of the record of a free state.
    """

    instruments: dict[str, InstrumentConfig]
    inputs: list[Port] = Field(default_factory=list)
    nudges: dict[str, NudgeConfig] = Field(default_factory=dict)
    nodes: dict[str, Port] = Field(default_factory=dict)
    reference: ReferenceConfig | None = None
    cells: CellsConfig
    range_volts: Positive = 0.5
    settle_seconds: Annotated[float, Field(ge=0, le=10)] = 0.0
    free_seconds: Positive = 1.0e-3

    def counted_in(self, ledger: str | None) -> "WiringConfig":
        """The same, with pulses counted in another ledger; None: an emulated twin, whose pulses no ledger keeps."""
        pulses = self.cells.pulses.model_copy(update={"pulse_ledger": ledger})
        return self.model_copy(update={"cells": self.cells.model_copy(update={"pulses": pulses})})


def load_wiring(path: str | Path, addresses: Mapping[str, str] | ReadyBench | None = None) -> WiringConfig:
    """A wiring file; paths in it are from where it lies.

    Args:
        path: of the file.
        addresses: that replace those of the file, by instrument; of a bench, those of all.

    Raises:
        InputError: no such file, no YAML, or not of this form; names the key.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping with instruments and cells")
    given = data.get("instruments")
    if isinstance(addresses, ReadyBench):
        addresses = {name: addresses.address(str(name)) for name in given} if isinstance(given, dict) else {}
    for name, address in (addresses or {}).items():
        if not isinstance(given, dict) or name not in given:
            raise InputError(f"addresses.{name}: {path} has no such instrument")
        given[name] = {**given[name], "address": address}
    try:
        found = WiringConfig.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, model=WiringConfig)}") from error
    ledger = found.cells.pulses.pulse_ledger
    return found if ledger is None else found.counted_in(str(Path(path).parent / ledger))


def split(port: str) -> tuple[str, int]:
    """Instrument and channel of a port."""
    name, _, channel = port.rpartition(".")
    return name, int(channel)
