"""Wiring files: which instrument, at which address, drives or reads which node of a device.

```yaml
instruments:
  inputs:  {model: keysight-33500b, address: "TCPIP::192.168.1.10::5025::SOCKET"}
  nudges:  {model: keysight-33500b, address: "TCPIP::192.168.1.11::5025::SOCKET"}
  scope:   {model: keysight-infiniivision, address: "TCPIP::192.168.1.12::5025::SOCKET"}
  ...
inputs: [inputs.1, inputs.2]                       # generator channels that hold them, in order
nudges:
  output.0: {port: nudges.1, siemens: 1.0e-6}      # of a transconductance, or one over a series resistance
nodes: {hidden1.0: scope.1, output.0: scope.2}     # inputs of oscilloscopes, or channels of data loggers
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

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from drivers.data_logger import DataLogger
from drivers.errors import BenchError
from drivers.instrument import Instrument
from drivers.keithley_2400 import Keithley2400
from drivers.keithley_2450 import Keithley2450
from drivers.keithley_2750 import Keithley2750
from drivers.keithley_daq6510 import KeithleyDaq6510
from drivers.keysight_33500b import Keysight33500B
from drivers.keysight_34970a import Keysight34970A
from drivers.keysight_b2200 import KeysightB2200
from drivers.keysight_infiniivision import KeysightInfiniiVision
from drivers.limits import DriveLimits
from drivers.smu_matrix import PulseConfig, SmuMatrixArray, Station
from drivers.source_meter import SourceMeter
from drivers.switch_matrix import SwitchMatrix
from substrate.contract import Instruments
from substrate.errors import InputError
from substrate.validation import describe

DRIVING: Final[Mapping[str, type[Keysight33500B] | type[Keithley2400] | type[Keithley2450]]] = {
    "keysight-33500b": Keysight33500B,
    "keithley-2400": Keithley2400,
    "keithley-2450": Keithley2450,
}
"""Models that drive something, and are given limits."""

READING: Final[Mapping[str, Any]] = {
    "keysight-infiniivision": KeysightInfiniiVision,
    "keithley-daq6510": KeithleyDaq6510,
    "keysight-34970a": Keysight34970A,
    "keysight-b2200": KeysightB2200,
    "keithley-2750": Keithley2750,
}
"""Models that drive nothing themselves."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Port = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*\.[0-9]+$")]
"""``instrument.channel``."""

Line = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@final
class InstrumentConfig(_Section):
    """A model, and where it is; ``timeout_seconds`` of one exchange."""

    model: str
    address: str
    timeout_seconds: Positive = 2.0

    @model_validator(mode="after")
    def _known(self) -> "InstrumentConfig":
        if self.model not in {**DRIVING, **READING}:
            raise ValueError(f"model: expected one of {', '.join({**DRIVING, **READING})}, got {self.model!r}")
        return self


@final
class NudgeConfig(_Section):
    """A generator channel, and the current into the node for a volt of its open output."""

    port: Port
    siemens: Positive


@final
class ReferenceConfig(_Section):
    """A sine at the nudge's frequency that triggers the oscilloscopes: its channel, and the input of each that sees it.

    ``phase_locked``: the generators of nudges and reference share one clock and one origin of phases; needed where
    they are several.
    """

    port: Port
    volts: Positive = 1.0
    seen: dict[str, Annotated[int, Field(ge=1, le=4)]]
    phase_locked: bool = False


@final
class StandConfig(_Section):
    """A source meter, and the row of the matrix that it is wired to."""

    instrument: str
    row: Line


@final
class LinesConfig(_Section):
    """Columns of the matrix that the word lines and the bit lines of an array are wired to."""

    rows: list[Line]
    columns: list[Line]


@final
class CellsConfig(_Section):
    """How cells are reached; ``pulses`` says how they are read and written."""

    matrix: str
    drive: StandConfig
    sense: StandConfig
    bias: list[StandConfig] = Field(default_factory=list)
    ground_row: Line | None = None
    lines: dict[str, LinesConfig]
    pulses: PulseConfig = PulseConfig()


@final
class WiringConfig(_Section):
    """The whole file; see the module.

    ``range_volts``: full scale of the oscilloscopes' inputs. ``settle_seconds``: of the device, after every change.
    ``free_seconds``: length of the record of a free state.
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


def load_wiring(path: str | Path, addresses: Mapping[str, str] | None = None) -> WiringConfig:
    """A wiring file; paths in it are from where it lies.

    Args:
        path: of the file.
        addresses: that replace those of the file, by instrument.

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


def ready_addresses(path: str | Path | None) -> dict[str, str]:
    """Addresses by instrument from the ready file of a virtual bench (``substrate bench --ready-file``); None: none.

    Raises:
        InputError: no such file, or not of this form.
    """
    if path is None:
        return {}
    try:
        listed = json.loads(Path(path).read_text(encoding="utf-8"))["instruments"]
        return {one["name"]: one["resource"] for one in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected the ready file of a running bench: {error}") from error


@final
class Rack(Instruments):
    """The instruments of a wiring file, unopened until ``open``.

    Args:
        wiring: which there are.
        limits: of those that drive something, by name.

    Raises:
        InputError: an instrument that drives has no role, and so no limits.
    """

    def __init__(self, wiring: WiringConfig, limits: Mapping[str, DriveLimits]) -> None:
        self._all: dict[str, Instrument] = {}
        for name, section in wiring.instruments.items():
            seconds = section.timeout_seconds
            if section.model in READING:
                self._all[name] = READING[section.model](section.address, timeout_seconds=seconds)
            elif name in limits:
                self._all[name] = DRIVING[section.model](section.address, limits[name], timeout_seconds=seconds)
            else:
                raise InputError(f"instruments.{name}: drives nothing in this wiring; leave it out")

    def snapshot(self) -> dict[str, Any]:
        """Identity and every setting, by name of the instrument."""
        return {name: instrument.snapshot() for name, instrument in self._all.items()}

    def open(self) -> None:
        """Open all.

        Raises:
            BenchError: one is not there.
        """
        for name, instrument in self._all.items():
            if instrument.is_open:
                continue
            try:
                instrument.open()
            except BenchError as error:
                # An address alone says nothing to whoever looks at a bench.
                raise type(error)(f"instruments.{name}: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        for instrument in self._all.values():
            instrument.close()

    def safe_state(self) -> None:
        """Outputs at zero: generators, then source meters, then the matrix, then the rest; all are tried.

        Raises:
            BenchError: the first that failed, with notes on the others.
        """
        order = (Keysight33500B, SourceMeter, SwitchMatrix, Instrument)
        rank = {
            name: next(k for k, kind in enumerate(order) if isinstance(one, kind)) for name, one in self._all.items()
        }
        failures: list[BenchError] = []
        for name in sorted(self._all, key=lambda name: rank[name]):
            if self._all[name].is_open:
                try:
                    self._all[name].safe_state()
                except BenchError as error:
                    failures.append(error)
        if failures:
            for other in failures[1:]:
                failures[0].add_note(str(other))
            raise failures[0]

    def generator(self, name: str) -> Keysight33500B:
        """A waveform generator."""
        return self._of_kind(name, Keysight33500B, "waveform generator")

    def source_meter(self, name: str) -> SourceMeter:
        """A source meter."""
        found = self._all.get(name)
        if not isinstance(found, SourceMeter):
            raise InputError(f"{name}: expected a source meter of the section instruments")
        return found

    def matrix(self, name: str) -> SwitchMatrix:
        """A switch matrix."""
        found = self._all.get(name)
        if not isinstance(found, SwitchMatrix):
            raise InputError(f"{name}: expected a switch matrix of the section instruments")
        return found

    def reader(self, name: str) -> KeysightInfiniiVision | DataLogger:
        """What reads nodes."""
        found = self._all.get(name)
        if not isinstance(found, KeysightInfiniiVision | DataLogger):
            raise InputError(f"{name}: expected an oscilloscope or a data logger of the section instruments")
        return found

    def _of_kind(self, name: str, kind: type[Keysight33500B], what: str) -> Keysight33500B:
        found = self._all.get(name)
        if not isinstance(found, kind):
            raise InputError(f"{name}: expected a {what} of the section instruments")
        return found


def drive_limits(
    wiring: WiringConfig, read_volts: float, write_volts: float, current_amperes: float, write_amperes: float
) -> dict[str, DriveLimits]:
    """What each instrument may drive at most, from what it is wired to; the least of its roles.

    Raises:
        CapabilityError: cells would be read at more than ``read_volts``, which source meters that write do not refuse.
    """
    DriveLimits(read_volts).check_volts("cells.pulses.read_volts", wiring.cells.pulses.read_volts)
    found: dict[str, list[float]] = {}
    for port in wiring.inputs:
        found.setdefault(split(port)[0], []).append(read_volts)
    for nudge in wiring.nudges.values():
        found.setdefault(split(nudge.port)[0], []).append(current_amperes / nudge.siemens)
    if wiring.reference is not None:
        found.setdefault(split(wiring.reference.port)[0], []).append(wiring.reference.volts)
    limits = {name: DriveLimits(min(volts)) for name, volts in found.items()}
    stands = (wiring.cells.drive, wiring.cells.sense, *wiring.cells.bias)
    return limits | {stand.instrument: DriveLimits(write_volts, write_amperes) for stand in stands}


def arrays_of(wiring: WiringConfig, rack: Rack, *, own: bool) -> dict[str, SmuMatrixArray]:
    """The arrays whose lines the matrix reaches, by name; ``own``: each opens and closes the instruments it needs.

    Raises:
        InputError: an instrument of the wrong kind, lines that do not exist.
    """
    cells = wiring.cells
    station = Station(
        rack.matrix(cells.matrix),
        rack.source_meter(cells.drive.instrument),
        cells.drive.row,
        rack.source_meter(cells.sense.instrument),
        cells.sense.row,
        tuple((rack.source_meter(one.instrument), one.row) for one in cells.bias),
        cells.ground_row,
    )
    return {
        name: SmuMatrixArray(station, lines.rows, lines.columns, cells.pulses, name=name, owns=own)
        for name, lines in cells.lines.items()
    }


def split(port: str) -> tuple[str, int]:
    """Instrument and channel of a port."""
    name, _, channel = port.rpartition(".")
    return name, int(channel)
