"""What the instruments are wired to: the device's pins, and what they do.

A plant has three sorts of terminals. The lines of its arrays are ports of a passive circuit (``LineArray``): anything
may drive, ground, sense or leave them. Inputs of a network take a voltage and no current. A node has two pins: its
output, a voltage without resistance (``output.0``), and a current input at 0 V, whose current goes into the node
(``output.0.nudge``). The arrays of a network are reached through their lines while nothing nudges it: what stands on
the lines programs and reads cells, and does not disturb the network.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, final

import numpy as np

from emulators.bench.lines import LineArray, Writing
from emulators.config import CellsConfig, WiresConfig
from emulators.memristors.devices import Devices
from emulators.memristors.updates import PulsedLaw, update_from_config
from emulators.substrate import EmulatedSubstrate
from substrate.arrays import FloatArray, IntArray
from substrate.capabilities import WriteRequest
from substrate.errors import InputError
from substrate.tones import SamplingPlan

CREST = SamplingPlan(frequency_hz=1.0e-9, harmonics=1, samples_per_period=3, periods=1)
"""A nudge so slow that every state under it is an equilibrium."""

CHUNK = 8192
"""States solved at a time."""


class Plant(ABC):
    """One device on the bench.

    Attributes:
        version: rises whenever a cell has changed.
    """

    version: int = 0

    @property
    @abstractmethod
    def arrays(self) -> Sequence[LineArray]:
        """Arrays whose lines can be reached."""

    @property
    @abstractmethod
    def inputs(self) -> Sequence[str]:
        """Terminals that take a voltage."""

    @property
    @abstractmethod
    def outputs(self) -> Sequence[str]:
        """Terminals that put out the nodes' voltages."""

    @property
    @abstractmethod
    def nudges(self) -> Sequence[str]:
        """Terminals that take the currents into the nodes, in the order of ``outputs``."""

    @abstractmethod
    def respond(self, input_volts: FloatArray, node_amperes: FloatArray) -> FloatArray:
        """Volts of the outputs (time, node) at (time, input) volts and (time, node) amperes, each held."""

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """What time alone does to the device."""

    @abstractmethod
    def conductances(self, array: str) -> FloatArray:
        """Of the cells of one of ``arrays``, (rows, columns) siemens.

        Raises:
            InputError: there is none of this name.
        """

    @abstractmethod
    def _scale(self, factor: float) -> None:
        """Conduct ``factor`` times what is programmed, from now on."""

    @abstractmethod
    def _disturb(self, fraction: float) -> None:
        """Move all cells by a fraction of their way to the upper bound."""

    @final
    def warm_up(self) -> None:
        """Solve once, so that what is compiled on first use is not waited for by a client."""
        for array in self.arrays:
            array.cell_volts(np.zeros((1, len(array.terminals))))
            if not array.curved:
                array.admittance()
        if self.outputs:
            self.respond(np.zeros((1, len(self.inputs))), np.full((1, len(self.outputs)), 1e-12))

    @final
    def scale(self, factor: float) -> None:
        """Let all cells conduct ``factor`` times what is programmed, from now on."""
        self._scale(factor)
        self.cells_changed()

    @final
    def disturb(self, fraction: float) -> None:
        """Move all cells by a fraction of their way to the upper bound of the window."""
        self._disturb(fraction)
        self.cells_changed()

    @final
    @property
    def terminals(self) -> tuple[str, ...]:
        """All of them."""
        lines = [terminal for array in self.arrays for terminal in array.terminals]
        return (*self.inputs, *self.outputs, *self.nudges, *lines)

    @final
    def stress(self, line_volts: Sequence[FloatArray], seconds: FloatArray) -> None:
        """What voltages on the lines of each array, (interval, line), do to its cells in seconds (interval,)."""
        moved = [array.stress(volts, seconds) for array, volts in zip(self.arrays, line_volts, strict=True)]
        if any(moved):
            self.cells_changed()

    @final
    def cells_changed(self) -> None:
        """Cells have moved, perhaps by other hands than those of the plant: what was derived from them is stale."""
        self.version += 1
        for array in self.arrays:
            array.cells_changed()


@final
class CrossbarPlant(Plant):
    """One crossbar and nothing else.

    Args:
        name: of the array.
        shape: (rows, columns).
        rng: draws the cells.
        cells: law, window, spread, stuck cells.
        update: how cells are written.
        wires: ``segment_ohms`` counts.
        writing: the nominal pulse.
        initial_siemens: (rows, columns); where left out, cells start as their law says.

    Raises:
        InputError: names the key.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int],
        rng: np.random.Generator,
        *,
        cells: CellsConfig | None = None,
        update: dict[str, Any] | None = None,
        wires: WiresConfig | None = None,
        writing: Writing | None = None,
        initial_siemens: FloatArray | None = None,
    ) -> None:
        cells, wires = cells or CellsConfig(), wires or WiresConfig()
        law = update_from_config(update or {"law": "ideal"})
        for key in ("disturb", "forming", "endurance"):
            if getattr(cells, key) is not None:
                raise InputError(f"crossbar.cells.{key}: not modelled on the lines of an array; expected none")
        self._devices = Devices(shape, cells.window_siemens, law, rng, cells.spread, cells.stuck)
        if initial_siemens is not None:
            self._devices.initialise(np.asarray(initial_siemens, dtype=np.float64))
        pulse = self._pulse if isinstance(law, PulsedLaw) else None
        segment_ohms, nominal = wires.segment_ohms, writing or Writing()
        self._factor = 1.0
        self._array = LineArray(
            name, lambda: self._factor * self._devices.conductances, pulse, segment_ohms, cells.cell(), nominal
        )
        self._ages = law.pulsed and isinstance(law, PulsedLaw) and law.retention is not None

    @property
    def arrays(self) -> Sequence[LineArray]:
        """The array."""
        return (self._array,)

    @property
    def inputs(self) -> Sequence[str]:
        """None."""
        return ()

    @property
    def outputs(self) -> Sequence[str]:
        """None."""
        return ()

    @property
    def nudges(self) -> Sequence[str]:
        """None."""
        return ()

    def respond(self, input_volts: FloatArray, node_amperes: FloatArray) -> FloatArray:
        """Nothing responds."""
        return np.zeros_like(node_amperes)

    def conductances(self, array: str) -> FloatArray:
        """Of the cells."""
        if array != self._array.name:
            raise InputError(f"array {array!r}: expected {self._array.name}")
        return self._factor * self._devices.conductances

    def pass_time(self, seconds: float) -> None:
        """Retention."""
        if self._ages:
            self._devices.drift(seconds)
            self.cells_changed()

    def _scale(self, factor: float) -> None:
        self._factor = factor

    def _disturb(self, fraction: float) -> None:
        self._devices.disturb(fraction, 1.0)

    def _pulse(self, counts: IntArray) -> None:
        law = self._devices.update
        if isinstance(law, PulsedLaw) and law.one_sided:
            self._devices.reset(counts < 0)
            counts = np.maximum(counts, 0)
        self._devices.pulse(counts)


@final
class NetworkPlant(Plant):
    """An emulated network: its inputs and nodes, and the lines of its arrays.

    Lines of arrays in tiles cannot be reached. The states are equilibria: what a node shows at a time is the steady
    state at the inputs and currents of that time, on the branch that the free state is on.

    Args:
        substrate: the device; its converters stand beside the pins, not before them.
        segment_ohms: of the wires of its arrays.
        cells: their law.
        writing: the nominal pulse.
        lines: whether the arrays' lines are pins.
    """

    def __init__(
        self, substrate: EmulatedSubstrate, cells: CellsConfig, segment_ohms: float, writing: Writing, lines: bool
    ) -> None:
        # Opening an emulator takes nothing that would have to be given back; the plant is its only user.
        self.substrate = substrate.__enter__()
        network = substrate.network
        self._inputs = tuple(f"input{index}" for index in range(network.input_size))
        self._outputs = tuple(f"{layer.name}.{index}" for layer in network.layers[1:] for index in range(layer.size))
        self._nudges = tuple(f"{name}.nudge" for name in self._outputs)
        if lines and cells.disturb is not None:
            raise InputError("substrate.cells.disturb: on a bench, the voltages of the lines say it; expected none")
        self._places: dict[str, tuple[str, int]] = {}
        for coupling in network.arrays if lines else ():
            for polarity in range(coupling.polarities):
                sign = ("+", "-")[polarity] if coupling.polarities == 2 else ""
                self._places[coupling.name + sign] = (coupling.name, polarity)
        pulsed = substrate.capabilities.pulses
        self._one_sided = substrate.capabilities.resets
        self._arrays = tuple(
            LineArray(
                name,
                partial(self.conductances, name),
                partial(self._pulse, name) if pulsed else None,
                segment_ohms,
                cells.cell(),
                writing,
            )
            for name in self._places
        )

    @property
    def arrays(self) -> Sequence[LineArray]:
        """Both planes of every differential pair, as ``input-hidden1+`` and ``input-hidden1-``."""
        return self._arrays

    @property
    def inputs(self) -> Sequence[str]:
        """``input0`` ..."""
        return self._inputs

    @property
    def outputs(self) -> Sequence[str]:
        """``hidden1.0`` ... ``output.0`` ..."""
        return self._outputs

    @property
    def nudges(self) -> Sequence[str]:
        """``hidden1.0.nudge`` ..."""
        return self._nudges

    def respond(self, input_volts: FloatArray, node_amperes: FloatArray) -> FloatArray:
        """Equilibria."""
        circuit = self.substrate.circuit
        out = np.empty_like(node_amperes)
        for start in range(0, len(out), CHUNK):
            part = slice(start, start + CHUNK)
            circuit.hold(input_volts[part])
            out[part] = circuit.settle().volts
            if node_amperes[part].any():
                # The crest of a slow nudge is the state under its peak current, reached from the free state.
                out[part] = circuit.nudge(node_amperes[part], CREST).volts[:, 0]
        circuit.release()
        return out

    def conductances(self, array: str) -> FloatArray:
        """Of the cells of one plane."""
        if array not in self._places:
            raise InputError(f"array {array!r}: expected one of {', '.join(self._places)}")
        coupling, polarity = self._places[array]
        siemens: FloatArray = self.substrate.arrays[coupling].conductances[polarity]
        return siemens

    def pass_time(self, seconds: float) -> None:
        """Retention, fluctuations, static power."""
        self.substrate.wait(seconds)
        if self.substrate.age():
            self.cells_changed()

    def _scale(self, factor: float) -> None:
        for array in self.substrate.arrays.values():
            array.scale(factor)
        self.substrate.age()

    def _disturb(self, fraction: float) -> None:
        for array in self.substrate.arrays.values():
            array.disturb(fraction)
        self.substrate.age()

    def _pulse(self, array: str, counts: IntArray) -> None:
        coupling, polarity = self._places[array]
        both = np.zeros(self.substrate.network.array(coupling).cell_shape, dtype=np.int64)
        both[polarity] = counts
        if self._one_sided and (both < 0).any():
            self.substrate.write_cells(WriteRequest(coupling, reset=both < 0))
            both = np.maximum(both, 0)
        self.substrate.write_cells(WriteRequest(coupling, pulses=both))
