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

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, final

import yaml
from pydantic import Field, ValidationError, model_validator

from drivers.data_logger import DataLogger
from drivers.errors import BenchError, raise_first
from drivers.generator import SourceOutput, VoltageOutput, WaveformGenerator, WaveformOutput
from drivers.instrument import Instrument
from drivers.keithley_2400 import Keithley2400
from drivers.keithley_2450 import Keithley2450
from drivers.keithley_2600 import Keithley2600
from drivers.keithley_2750 import Keithley2750
from drivers.keithley_daq6510 import KeithleyDaq6510
from drivers.keysight_33500b import Keysight33500B
from drivers.keysight_34970a import Keysight34970A
from drivers.keysight_b2200 import KeysightB2200
from drivers.keysight_infiniivision import KeysightInfiniiVision
from drivers.limits import DriveLimits
from drivers.lock_in import LockIn
from drivers.pulse_section import PulseConfig
from drivers.red_pitaya import RedPitaya
from drivers.resource import open_link
from drivers.rigol_ds1000z import RigolDS1000Z
from drivers.shared_link import SharedLink
from drivers.smu_matrix import SmuMatrixArray
from drivers.source_meter import SourceMeter
from drivers.srs_sr830 import Sr830
from drivers.srs_sr860 import Sr860
from drivers.station import Station
from drivers.switch_matrix import SwitchMatrix
from drivers.transport import Link, Transcript
from drivers.wire_log import HeardLog
from substrate.errors import InputError
from substrate.sections import Positive, Section
from substrate.services import Instruments
from substrate.validation import describe

DRIVING: Final[Mapping[str, Any]] = {
    "keysight-33500b": Keysight33500B,
    "red-pitaya": RedPitaya,
    "keithley-2400": Keithley2400,
    "keithley-2450": Keithley2450,
    "keithley-2600": Keithley2600,
    "srs-sr830": Sr830,
    "srs-sr860": Sr860,
}
"""Models that can drive something, and are given limits."""

READING: Final[Mapping[str, Any]] = {
    "keysight-infiniivision": KeysightInfiniiVision,
    "rigol-ds1000z": RigolDS1000Z,
    "keithley-daq6510": KeithleyDaq6510,
    "keysight-34970a": Keysight34970A,
    "keysight-b2200": KeysightB2200,
    "keithley-2750": Keithley2750,
}
"""Models that drive nothing themselves."""

NOTHING: Final = DriveLimits(0.0, 0.0)
"""Of an instrument without a role."""

Reader = KeysightInfiniiVision | RigolDS1000Z | RedPitaya | LockIn | DataLogger
"""What reads nodes."""

Port = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*\.[0-9]+$")]
"""``instrument.channel``."""

Line = Annotated[int, Field(ge=1)]


@final
class InstrumentConfig(Section):
    """A model, and where it is.

    Attributes:
        model: a name of ``DRIVING`` or ``READING``.
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


@final
@dataclass(frozen=True)
class ReadyBench:
    """The instruments of a running virtual bench, which may be more than a wiring has.

    Attributes:
        path: of its ready file.
        resources: addresses by name.
    """

    path: str
    resources: Mapping[str, str]

    def address(self, name: str) -> str:
        """Of an instrument of a wiring; ``name-a`` and ``name-b`` are also the channels of ``name``.

        Raises:
            InputError: the bench has none of this name.
        """
        for known in (name, re.sub(r"-[ab]$", "", name)):
            if known in self.resources:
                return self.resources[known]
        raise InputError(f"{self.path}: the bench has no instrument {name!r}, which the wiring names")


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


def ready_addresses(path: str | Path | None) -> ReadyBench | None:
    """The ready file of a virtual bench (``substrate bench --ready-file``); None: none.

    Raises:
        InputError: no such file, or not of this form.
    """
    if path is None:
        return None
    try:
        listed = json.loads(Path(path).read_text(encoding="utf-8"))["instruments"]
        resources = {str(one["name"]): str(one["resource"]) for one in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected the ready file of a running bench: {error}") from error
    adapters = {
        found[1]: found[2]
        for resource in resources.values()
        if (found := re.fullmatch(r"PRLGX-TCPIP(\d+)::(.+)::INTFC", resource))
    }

    def reached(resource: str) -> str:
        """GPIB boards of the bench are its adapters, which a driver has to be told about."""
        found = re.fullmatch(r"GPIB(\d+)::(\d+)::INSTR", resource)
        if found is None or found[1] not in adapters:
            return resource
        return f"PRLGX-TCPIP::{adapters[found[1]]}::GPIB::{found[2]}"

    return ReadyBench(str(path), {name: reached(resource) for name, resource in resources.items()})


@final
class Rack(Instruments):
    """The instruments of a wiring file, unopened until ``open``.

    Args:
        wiring: which there are.
        limits: of those that drive something, by name; others may drive nothing.
        wire_log: hears all that is sent and received.
    """

    def __init__(
        self, wiring: WiringConfig, limits: Mapping[str, DriveLimits], wire_log: HeardLog | None = None
    ) -> None:
        self.wire_log = wire_log
        self._all: dict[str, Instrument] = {}
        self._models = {name: section.model for name, section in wiring.instruments.items()}
        shared: dict[str, tuple[Link, list[SharedLink]]] = {}
        for name, section in wiring.instruments.items():
            options: dict[str, Any] = {"timeout_seconds": section.timeout_seconds}
            if section.channel is not None:
                options["channel"] = section.channel
            if wire_log is not None:
                options["transcript"] = _hearer(wire_log, name)
            if section.model == "keithley-2600":
                # Both channels of one that accepts a single client.
                seconds, hearer = section.timeout_seconds, options.pop("transcript", None)
                if section.address not in shared:
                    shared[section.address] = open_link(section.address, connect_seconds=seconds), []
                link = SharedLink(*shared[section.address], hearer)
                self._all[name] = Keithley2600(link, limits.get(name, NOTHING), **options)
            elif section.model in READING:
                self._all[name] = READING[section.model](section.address, **options)
            else:
                self._all[name] = DRIVING[section.model](section.address, limits.get(name, NOTHING), **options)

    def snapshot(self) -> dict[str, Any]:
        """Identity and every setting, by name of the instrument."""
        return {name: instrument.snapshot() for name, instrument in self._all.items()}

    def open(self) -> None:
        """Open all. Where one is not there the others are made safe all the same: somebody may have left them on.

        Raises:
            BenchError: the first that is not there; the others are named in notes.
        """
        failures: list[Exception] = []
        for name, instrument in self._all.items():
            if instrument.is_open:
                continue
            try:
                instrument.open()
            except BenchError as error:
                # An address alone says nothing to whoever looks at a bench.
                named = type(error)(f"instruments.{name}: {error}")
                named.__cause__ = error
                failures.append(named)
            except Exception as error:
                failures.append(error)
        if failures:
            try:
                self.safe_state()
            except Exception as error:
                failures.append(error)
        raise_first(failures)

    def close(self) -> None:
        """Close all connections."""
        for instrument in self._all.values():
            instrument.close()

    def safe_state(self) -> None:
        """Outputs at zero: generators, then source meters, then the matrix, then the rest; all are tried.

        Raises:
            BenchError: the first that failed, with notes on the others.
        """
        order = (WaveformGenerator, SourceMeter, SwitchMatrix, Instrument)
        rank = {
            name: next(k for k, kind in enumerate(order) if isinstance(one, kind)) for name, one in self._all.items()
        }
        failures: list[Exception] = []
        for name in sorted(self._all, key=lambda name: rank[name]):
            if self._all[name].is_open:
                try:
                    self._all[name].safe_state()
                except Exception as error:
                    failures.append(error)
        raise_first(failures)

    # Roles. ``key`` is that of the wiring file, for messages.

    def generator(self, key: str, name: str) -> WaveformGenerator:
        """What puts out a sine.

        Raises:
            InputError: it cannot; names the role.
        """
        found = self._find(key, name)
        if not isinstance(found, WaveformGenerator):
            raise self._refused(key, name, "cannot put out a sine that follows a clock", "a waveform generator")
        return found

    def waveform_output(self, key: str, port: str) -> WaveformOutput:
        """A generator's output.

        Raises:
            InputError: as ``generator``; or there is no such output.
        """
        name, number = split(port)
        outputs = self.generator(key, name).waveform_outputs
        if number not in outputs:
            raise InputError(f"{key}: {name} has the outputs {', '.join(map(str, outputs))}, got {port}")
        return outputs[number]

    def voltage_output(self, key: str, port: str) -> VoltageOutput:
        """What holds a voltage: a generator's output, or a source meter.

        Raises:
            InputError: it cannot; names the role.
        """
        name, number = split(port)
        found = self._find(key, name)
        if isinstance(found, SourceMeter):
            if number != 1:
                raise InputError(f"{key}: {name} is one channel, {name}.1, got {port}")
            return SourceOutput(found)
        if not isinstance(found, WaveformGenerator):
            raise self._refused(key, name, "cannot hold a voltage", "a waveform generator or a source meter")
        return self.waveform_output(key, port)

    def source_meter(self, key: str, name: str) -> SourceMeter:
        """What pulses cells and measures their currents.

        Raises:
            InputError: it cannot; names the role.
        """
        found = self._find(key, name)
        if not isinstance(found, SourceMeter):
            raise self._refused(key, name, "cannot source a voltage and measure its current", "a source meter")
        return found

    def matrix(self, key: str, name: str) -> SwitchMatrix:
        """What joins source meters to lines.

        Raises:
            InputError: it cannot; names the role.
        """
        found = self._find(key, name)
        if not isinstance(found, SwitchMatrix):
            raise self._refused(key, name, "cannot join source meters to lines", "a switch matrix")
        return found

    def reader(self, key: str, name: str) -> Reader:
        """What reads nodes.

        Raises:
            InputError: it cannot; names the role.
        """
        found = self._find(key, name)
        if not isinstance(found, Reader):
            kinds = "an oscilloscope, a digitizer, a lock-in or a data logger"
            raise self._refused(key, name, "cannot read the voltage of a node", kinds)
        return found

    def _find(self, key: str, name: str) -> Instrument:
        if name not in self._all:
            raise InputError(f"{key}: the section instruments has no {name!r}; expected one of {', '.join(self._all)}")
        return self._all[name]

    def _refused(self, key: str, name: str, lacking: str, wanted: str) -> InputError:
        return InputError(f"{key}: {name} is a {self._models[name]}, which {lacking}; expected {wanted}")


def _hearer(log: HeardLog, name: str) -> Transcript:
    return lambda seconds, address, direction, data: log.hear(name, direction, data)


def drive_limits(
    wiring: WiringConfig, read_volts: float, write_volts: float, current_amperes: float, write_amperes: float
) -> dict[str, DriveLimits]:
    """What each instrument may drive at most, from what it is wired to; the least of its roles.

    Raises:
        InputError: a source meter at the matrix is wired to a node as well.
        CapabilityError: cells would be read at more than ``read_volts``, which source meters that write do not refuse.
    """
    DriveLimits(read_volts).check_volts("cells.pulses.read_volts", wiring.cells.pulses.read_volts)
    stands = (wiring.cells.drive, wiring.cells.sense, *wiring.cells.bias)
    wired = {stand.instrument for stand in stands}
    ports = [(f"inputs.{place}", port) for place, port in enumerate(wiring.inputs)]
    ports += [(f"nudges.{node}", nudge.port) for node, nudge in wiring.nudges.items()]
    for key, port in ports:
        if split(port)[0] in wired:
            raise InputError(f"{key}: {split(port)[0]} is at the matrix (cells), and cannot be wired to a node as well")
    found: dict[str, list[float]] = {}
    for port in wiring.inputs:
        found.setdefault(split(port)[0], []).append(read_volts)
    for nudge in wiring.nudges.values():
        found.setdefault(split(nudge.port)[0], []).append(current_amperes / nudge.siemens)
    if wiring.reference is not None:
        found.setdefault(split(wiring.reference.port)[0], []).append(wiring.reference.volts)
    for port in wiring.nodes.values():
        # What only reads puts nothing out.
        found.setdefault(split(port)[0], [read_volts])
    limits = {name: DriveLimits(min(volts), write_amperes) for name, volts in found.items()}
    return limits | {name: DriveLimits(write_volts, write_amperes) for name in wired}


def arrays_of(wiring: WiringConfig, rack: Rack, read_volts: float, *, own: bool) -> dict[str, SmuMatrixArray]:
    """The arrays whose lines the matrix reaches, by name.

    Args:
        wiring: the file.
        rack: its instruments.
        read_volts: what lines survive while they are read, whatever cells are read at alone.
        own: each opens and closes the instruments it needs.

    Raises:
        InputError: an instrument of the wrong kind, lines that do not exist.
    """
    cells = wiring.cells
    station = Station(
        rack.matrix("cells.matrix", cells.matrix),
        rack.source_meter("cells.drive", cells.drive.instrument),
        cells.drive.row,
        rack.source_meter("cells.sense", cells.sense.instrument),
        cells.sense.row,
        tuple(
            (rack.source_meter(f"cells.bias.{place}", one.instrument), one.row) for place, one in enumerate(cells.bias)
        ),
        cells.ground_row,
    )
    return {
        name: SmuMatrixArray(station, lines.rows, lines.columns, cells.pulses, read_volts, name=name, owns=own)
        for name, lines in cells.lines.items()
    }


def split(port: str) -> tuple[str, int]:
    """Instrument and channel of a port."""
    name, _, channel = port.rpartition(".")
    return name, int(channel)
