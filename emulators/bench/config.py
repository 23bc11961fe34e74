"""Bench files: YAML to a frozen, typed description. Unknown keys are errors; every message names the key path."""

from pathlib import Path
from typing import Annotated, Any, Literal, final

import yaml
from pydantic import Field, ValidationError, model_validator

from emulators.bench.faults import Rule, rule_from
from emulators.bench.lines import Writing
from emulators.config import CellsConfig, EmulatorConfig, WiresConfig
from substrate.errors import InputError
from substrate.experiment.config import NetworkConfig
from substrate.sections import Finite, NonNegative, Positive, Section
from substrate.validation import describe

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


@final
class ChannelConfig(Section):
    """What a terminal of an instrument is wired to.

    A bare name is a plain wire. ``series_ohms``: a resistor in between. ``transconductance_siemens``: a converter in
    between, which drives the node's current input and does not load the instrument.
    """

    terminal: str
    series_ohms: NonNegative = 0.0
    transconductance_siemens: Finite | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: Any) -> Any:
        return {"terminal": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_of_them(self) -> "ChannelConfig":
        if self.transconductance_siemens is not None and self.series_ohms:
            raise ValueError("series_ohms: a converter takes no current; expected 0 beside transconductance_siemens")
        return self


@final
class InstrumentConfig(Section):
    """One instrument: how it is reached, and what it is wired to.

    ``channels``: by port; one terminal or a list of them. ``link``: of a pseudo-terminal. ``address``: behind the GPIB
    adapter of this name.
    """

    model: str
    transport: Literal["tcp", "pty", "gpib"] = "tcp"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    link: str | None = None
    adapter: Name | None = None
    address: Annotated[int, Field(ge=0, le=30)] | None = None
    channels: dict[str, list[ChannelConfig]] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        channels = given.get("channels") if isinstance(given, dict) else None
        if not isinstance(channels, dict):
            return given
        listed = {str(port): wired if isinstance(wired, list) else [wired] for port, wired in channels.items()}
        return {**given, "channels": listed}

    @model_validator(mode="after")
    def _complete(self) -> "InstrumentConfig":
        if (self.transport == "gpib") != (self.adapter is not None and self.address is not None):
            raise ValueError("transport: gpib needs an adapter and an address, and the others take none")
        if self.link is not None and self.transport != "pty":
            raise ValueError("link: belongs to transport: pty")
        if self.transport != "tcp" and self.port:
            raise ValueError(f"port: belongs to transport: tcp, not {self.transport}")
        return self


@final
class AdapterConfig(Section):
    """A Prologix-style GPIB adapter on Ethernet."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0


@final
class ControlConfig(Section):
    """A port that takes faults at run time, see ``control.py``; on the loopback address."""

    port: Annotated[int, Field(ge=0, le=65535)] = 0


@final
class BoardConvertersConfig(Section):
    """Converters of a board, see ``board_chip.BoardConverters``; what is left out is as there."""

    input_range_volts: Positive | None = None
    node_range_volts: Positive | None = None
    node_noise_volts: NonNegative | None = None
    current_range_amperes: Positive | None = None
    step_seconds: Positive | None = None
    pulse_volts: Positive | None = None
    pulse_seconds: Positive | None = None
    max_payload: Annotated[int, Field(ge=1024, le=65535)] | None = None
    serial: str | None = None


@final
class BoardConfig(Section):
    """A reference board that holds the network's chip: its firmware drives and reads it beside the wiring.

    ``link``: of a pseudo-terminal; ``port`` of TCP, on the loopback address.
    """

    transport: Literal["pty", "tcp"] = "pty"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    link: str | None = None
    converters: BoardConvertersConfig = BoardConvertersConfig()

    @model_validator(mode="after")
    def _of_the_transport(self) -> "BoardConfig":
        if self.link is not None and self.transport != "pty":
            raise ValueError("link: belongs to transport: pty")
        if self.port and self.transport != "tcp":
            raise ValueError(f"port: belongs to transport: tcp, not {self.transport}")
        return self


@final
class CrossbarConfig(Section):
    """One crossbar: ``initial_siemens`` is one number, or (rows, columns) of them; default: as the update law says.

    ``conductance_per_kelvin``: relative change with temperature, which a fault can step.
    """

    name: Name = "array"
    shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    cells: CellsConfig = CellsConfig()
    update: dict[str, Any] = Field(default_factory=lambda: {"law": "ideal"})
    wires: WiresConfig = WiresConfig()
    conductance_per_kelvin: Finite = 0.0
    initial_siemens: float | list[list[float]] | None = None


@final
class WritingConfig(Section):
    """The nominal pulse, worth one step of the update law; ``volts`` by default the device's ``write_volts``."""

    volts: Positive | None = None
    seconds: Positive = 1.0e-3
    volts_per_decade: Positive = 0.1

    def writing(self, write_volts: float) -> Writing:
        """As the arrays take it."""
        return Writing(self.volts or write_volts, self.seconds, self.volts_per_decade)


@final
class BenchConfig(Section):
    """The whole file.

    Attributes:
        seed: of cells, noise and faults.
        strict: whether instruments refuse also what hinders nobody.
        pace: of the clock, see ``clock.py``.
        allow_remote_clients: whether ``host`` may be other than loopback.
        network: as in an experiment.
        substrate: the emulator section of an experiment, beside ``network``.
        crossbar: instead of both.
        array_lines: whether the lines of a network's arrays are terminals.
        writing: what a pulse on lines is worth.
        adapters: GPIB adapters by name.
        instruments: by name.
        boards: reference boards by name.
        wires: further wires between any two terminals.
        grounds: terminals that are tied to ground.
        faults: rules, see ``faults.py``.
        control: a port that takes further ones at run time; none by default.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    strict: bool = False
    pace: Literal["simulated", "wall"] = "simulated"
    allow_remote_clients: bool = False
    network: NetworkConfig | None = None
    substrate: EmulatorConfig | None = None
    crossbar: CrossbarConfig | None = None
    array_lines: bool = True
    writing: WritingConfig = WritingConfig()
    adapters: dict[Name, AdapterConfig] = Field(default_factory=dict)
    instruments: dict[Name, InstrumentConfig] = Field(default_factory=dict)
    boards: dict[Name, BoardConfig] = Field(default_factory=dict)
    wires: list[tuple[str, str]] = Field(default_factory=list)
    grounds: list[str] = Field(default_factory=list)
    faults: list[dict[str, Any]] = Field(default_factory=list)
    control: ControlConfig | None = None

    @model_validator(mode="after")
    def _one_device(self) -> "BenchConfig":
        if (self.crossbar is None) == (self.substrate is None or self.network is None):
            raise ValueError("crossbar: expected either a crossbar, or a network and a substrate")
        if self.substrate is not None and self.substrate.feedback_paths is not None:
            raise ValueError(
                "substrate.feedback_paths: the drivers of a bench know one kind of cells for all arrays; expected none"
            )
        if self.substrate is not None and self.substrate.solver.steady_state != "exact":
            raise ValueError("substrate.solver.steady_state: nodes on a bench are solved as equilibria; expected exact")
        if self.boards and self.substrate is None:
            raise ValueError("boards: a board holds a network; expected a network and a substrate beside it")
        for section, names in (("adapters", self.adapters), ("boards", self.boards)):
            both = set(names) & set(self.instruments)
            if both:
                raise ValueError(f"{section}.{min(both)}: an instrument has this name too")
        if self.control is not None and "control" in {*self.adapters, *self.boards, *self.instruments}:
            raise ValueError("control: an instrument, board or adapter has this name")
        if both := set(self.adapters) & set(self.boards):
            raise ValueError(f"boards.{min(both)}: an adapter has this name too")
        for name, instrument in self.instruments.items():
            if instrument.adapter is not None and instrument.adapter not in self.adapters:
                raise ValueError(f"instruments.{name}.adapter: there is no adapter {instrument.adapter!r}")
        return self

    def rules(self) -> list[Rule]:
        """The faults.

        Raises:
            InputError: names the key.
        """
        return [rule_from(section) for section in self.faults]


def parse_bench(data: Any, source: str = "bench") -> BenchConfig:
    """A bench of plain data.

    Raises:
        InputError: names the source, the key path and what was expected.
    """
    if not isinstance(data, dict):
        raise InputError(f"{source}: expected a mapping with instruments and a device, got {type(data).__name__}")
    try:
        return BenchConfig.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{source}: {describe(error, model=BenchConfig)}") from error


def load_bench(path: str | Path) -> BenchConfig:
    """A bench file.

    Raises:
        InputError: a file that cannot be read, is no YAML, or not of this form.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from error
    return parse_bench(data, str(path))
