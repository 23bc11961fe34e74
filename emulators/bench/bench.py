"""The virtual bench: a device, the instruments around it, and their servers."""

import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import numpy as np

from emulators.bench.board import VirtualBoard
from emulators.bench.board_chip import BoardConverters
from emulators.bench.clock import SimulatedClock
from emulators.bench.config import BenchConfig, load_bench, parse_bench
from emulators.bench.control import ControlConversation
from emulators.bench.conversation import InstrumentConversation
from emulators.bench.device_faults import DeviceFaults
from emulators.bench.faults import Faults
from emulators.bench.fixture import Fixture
from emulators.bench.instruments import model
from emulators.bench.instruments.base import Instrument, Surroundings
from emulators.bench.plant import CrossbarPlant, NetworkPlant, Plant
from emulators.bench.protocol.gpib_adapter import GpibAdapter
from emulators.bench.sources import GROUND
from emulators.bench.transport import Hub
from emulators.config import LimitsConfig
from emulators.substrate import EmulatedSubstrate
from substrate.arrays import IntArray
from substrate.errors import InputError


@final
class VirtualBench:
    """A bench that serves its instruments while it is open.

    Constructing describes the device and the wiring; entering opens sockets and pseudo-terminals and starts the one
    thread that serves them. What is done from Python beside the clients has to hold ``lock``.

    Args:
        config: a ``BenchConfig``, plain data of the same form, or the path of a bench file.
        seed: instead of the file's.

    Attributes:
        clock: simulated time.
        plant: the device.
        fixture: the wiring, and the exact solution of the circuit.
        instruments: by name.
        boards: by name, while the bench is open.
        faults: what goes wrong; rules may be added and removed at any time.
        lock: the bench's one lock.

    Raises:
        InputError: names the key of the bench file.
    """

    def __init__(self, config: BenchConfig | Mapping[str, Any] | str | Path, seed: int | None = None) -> None:
        if isinstance(config, (str, Path)):
            config = load_bench(config)
        elif not isinstance(config, BenchConfig):
            config = parse_bench(dict(config))
        self.config = config
        rng = np.random.default_rng(config.seed if seed is None else seed)
        plant_rng, fault_rng, *instrument_rngs = rng.spawn(2 + len(config.instruments))
        self._board_rngs = rng.spawn(len(config.boards))
        self.lock = threading.RLock()
        self.clock = SimulatedClock(config.pace)
        self.plant = _plant(config, plant_rng)
        self.fixture = Fixture(self.plant, self.clock)
        self.faults = Faults(fault_rng)
        per_kelvin = config.substrate.temperature if config.substrate is not None else config.crossbar
        assert per_kelvin is not None  # what the configuration checked
        DeviceFaults(self.plant, self.faults, self.clock, per_kelvin.conductance_per_kelvin)
        self.instruments: dict[str, Instrument] = {}
        for (name, section), own_rng in zip(config.instruments.items(), instrument_rngs, strict=True):
            surroundings = Surroundings(self.clock, self.fixture, self.faults, own_rng, config.strict, self.lock)
            try:
                kind = model(section.model)
            except InputError as error:
                raise InputError(f"instruments.{name}.{error}") from error
            self.instruments[name] = kind(name, surroundings, section.options)
        self._wire()
        for rule in config.rules():
            if rule.instrument not in ("*", *self.instruments, *config.boards):
                raise InputError(f"faults.instrument: there is no instrument {rule.instrument!r}")
            self.faults.add(rule)
        for instrument in self.instruments.values():
            instrument.power_on()
        self.boards: dict[str, VirtualBoard] = {}
        self._resources: dict[str, str] = {}
        self._open: ExitStack | None = None

    @property
    def resources(self) -> dict[str, str]:
        """VISA resource strings by name of the instrument or adapter; empty while the bench is closed.

        Of a board: what a driver's ``port`` is.
        """
        return dict(self._resources)

    def model_of(self, name: str) -> str:
        """The model of an instrument.

        ``prologix`` of an adapter, ``reference-board`` of a board, ``faults`` of the control port.
        """
        if self.config.control is not None and name == "control":
            return "faults"
        if name in self.config.boards:
            return "reference-board"
        return "prologix" if name in self.config.adapters else self.config.instruments[name].model

    def __enter__(self) -> Self:
        if self._open is not None:
            raise InputError("bench: it is open already")
        with ExitStack() as stack:
            hub = Hub(self.lock, self.clock, self.faults, self.config.allow_remote_clients)
            stack.callback(hub.close)
            stack.callback(self._resources.clear)
            stack.callback(self.boards.clear)
            stack.callback(self._outputs_off)
            self._serve(hub, stack)
            self.plant.warm_up()
            self._start_boards(stack)
            hub.start()
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    def _outputs_off(self) -> None:
        with self.lock:
            for instrument in self.instruments.values():
                instrument.outputs_off()

    def _serve(self, hub: Hub, stack: ExitStack) -> None:
        for board, (name, adapter) in enumerate(self.config.adapters.items()):
            devices = {
                section.address: self.instruments[key]
                for key, section in self.config.instruments.items()
                if section.adapter == name and section.address is not None
            }
            host, port = hub.serve_tcp(name, partial(GpibAdapter, devices), adapter.host, adapter.port)
            self._resources[name] = f"PRLGX-TCPIP{board}::{host}::{port}::INTFC"
        boards = {name: board for board, name in enumerate(self.config.adapters)}
        for name, section in self.config.instruments.items():
            start = partial(InstrumentConversation, self.instruments[name])
            if section.transport == "tcp":
                host, port = hub.serve_tcp(name, start, section.host, section.port)
                self._resources[name] = f"TCPIP::{host}::{port}::SOCKET"
            elif section.transport == "pty":
                link = hub.serve_pty(start, self._link(f"instruments.{name}", section.link, stack))
                self._resources[name] = f"ASRL{link}::INSTR"
            else:
                assert section.adapter is not None  # what the configuration checked
                self._resources[name] = f"GPIB{boards[section.adapter]}::{section.address}::INSTR"

        if self.config.control is not None:
            names = [*self.instruments, *self.config.boards]
            start_control = partial(ControlConversation, self.faults, names)
            host, port = hub.serve_tcp("control", start_control, port=self.config.control.port)
            self._resources["control"] = f"TCPIP::{host}::{port}::SOCKET"

    def _start_boards(self, stack: ExitStack) -> None:
        for (name, section), rng in zip(self.config.boards.items(), self._board_rngs, strict=True):
            assert isinstance(self.plant, NetworkPlant)  # what the configuration checked
            board = VirtualBoard(
                self.plant.substrate,
                rng,
                section.transport,
                link=self._link(f"boards.{name}", section.link, stack) if section.transport == "pty" else None,
                port=section.port,
                converters=BoardConverters(**section.converters.model_dump(exclude_none=True)),
                name=name,
                faults=self.faults,
                clock=self.clock,
                lock=self.lock,
                changed=self.plant.cells_changed,
                spoil=self._spoiled,
            )
            self._resources[name] = stack.enter_context(board).resource
            self.boards[name] = board

    def _spoiled(self, coupling: str, counts: IntArray) -> IntArray:
        """Pulse counts (polarity, row, column) of a board, as faults of the device let them through."""
        arrays = {array.name: array for array in self.plant.arrays}
        names = [f"{coupling}+", f"{coupling}-"] if len(counts) == 2 else [coupling]
        planes = zip(names, counts, strict=True)
        return np.stack([arrays[name].spoil(plane) if name in arrays else plane for name, plane in planes])

    def _link(self, where: str, given: str | None, stack: ExitStack) -> Path:
        """Where a pseudo-terminal's link is put; in a folder of its own, where none is given."""
        if given is not None:
            link = Path(given).absolute()
            if not link.parent.is_dir() or (link.exists() and not link.is_symlink()):
                raise InputError(f"{where}.link: expected a free name in an existing folder, got {link}")
            return link
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        return Path(folder) / where.rpartition(".")[2]

    def _wire(self) -> None:
        fixture = self.fixture
        for name, section in self.config.instruments.items():
            known = [str(port) for port in self.instruments[name].ports()]
            for port, wired in section.channels.items():
                where = f"instruments.{name}.channels.{port}"
                if port not in known:
                    raise InputError(f"{where}: this model has the ports {', '.join(known)}")
                node = self.instruments[name].node(port)
                for channel in wired:
                    try:
                        if channel.transconductance_siemens is None:
                            fixture.wire(node, channel.terminal, channel.series_ohms)
                        else:
                            nudge = channel.terminal.removesuffix(".nudge") + ".nudge"
                            fixture.convert(node, nudge, channel.transconductance_siemens)
                    except InputError as error:
                        raise InputError(f"{where}: {error}") from error
        for first, second in self.config.wires:
            fixture.wire(first, second)
        for terminal in self.config.grounds:
            fixture.attach(terminal, GROUND)


def _plant(config: BenchConfig, rng: np.random.Generator) -> Plant:
    section, crossbar, topology = config.substrate, config.crossbar, config.network
    if crossbar is not None:
        initial = crossbar.initial_siemens
        siemens = None if initial is None else np.array(initial, dtype=np.float64)
        if siemens is not None and siemens.shape not in ((), crossbar.shape):
            raise InputError(f"crossbar.initial_siemens: expected shape {crossbar.shape}, got {siemens.shape}")
        return CrossbarPlant(
            crossbar.name,
            crossbar.shape,
            rng,
            cells=crossbar.cells,
            update=crossbar.update,
            wires=crossbar.wires,
            writing=config.writing.writing(LimitsConfig().write_volts),
            initial_siemens=None if siemens is None else np.broadcast_to(siemens, crossbar.shape),
        )
    assert section is not None  # what the configuration checked
    assert topology is not None
    network = topology.topology()
    writing = config.writing.writing(section.operation.pulse_volts or section.limits.write_volts)
    return NetworkPlant(
        EmulatedSubstrate(network, section, rng),
        section.cells,
        section.wires.segment_ohms,
        writing,
        config.array_lines and section.tiles is None,
    )
