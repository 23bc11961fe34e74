"""The circuit of an emulated current-mode network as an ngspice deck that runs by itself.

Everything is there that the emulator computes with: every cell, wire segment and termination, differential pairs, held
inputs and bias lines, neurons with their mismatch, their nodes' capacitance and amplifier bandwidth, and the nudge. A
differential pair's bit lines end in virtual grounds (0 V sources); mirrors subtract their currents and feed neuron k's
node ``uk``, where 1/g_unit turns them into a voltage; a behavioural source makes the neuron's output ``sk`` of it. One
array that is read both ways stands there twice, once for each direction: a line cannot be driven and sensed at once
(physics.md, 1.3).

Elements and options are those of the ngspice manual, version 39, chapters 3 to 5, 15.1 and 17.5.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import final

import numpy as np

from emulators.config import WiresConfig
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.memristors.rectifying import RectifyingCell
from emulators.memristors.sinh import SinhCell
from emulators.memristors.transistor import SeriesResistanceCell, TransistorCell
from emulators.networks.time_constants import TimeConstants
from emulators.neurons import SOFTNESS, Neurons
from substrate.arrays import FloatArray, finite
from substrate.contract import Direction, Scale
from substrate.errors import CapabilityError, InputError
from substrate.network import Coupling, Network

OPTIONS = "reltol=1e-9 abstol=1e-18 vntol=1e-13 gmin=1e-18 itl1=1000 itl4=100"
"""Tight: relative, absolute current and voltage tolerance of ngspice's own iterations."""

DELAY_OHMS = 1e3
"""Resistance of the RC that stands for an amplifier's bandwidth, behind a buffer: any value gives the same netlist."""

TRANSFER: Mapping[str, str] = {
    "tanh": "tanh({z})",
    "logistic": "0.5*(1+tanh(2*({z})-1))",
    "soft_rectified": f"{SOFTNESS}*(max(({{z}})/{SOFTNESS},0)+ln(1+exp(-abs(({{z}})/{SOFTNESS}))))",
}
"""The activations of ``emulators.neurons.TRANSFER`` as ngspice expressions of z."""


@final
@dataclass(frozen=True)
class Netlist:
    """What the deck is made of: a whole circuit, without what is applied to it.

    Attributes:
        network: topology.
        siemens: conductances (2, word line, bit line) of each array, by the name of its coupling; positive ones
            first.
        neurons: of all free nodes.
        scale: volts and siemens of a unit.
        wires: of all arrays.
        cell: law of all cells.
        constants: time constants; None leaves out every capacitance.

    Raises:
        CapabilityError: a network of another family.
        InputError: an array that is missing or of another shape, other counts of neurons.
    """

    network: Network
    siemens: Mapping[str, FloatArray]
    neurons: Neurons
    scale: Scale
    wires: WiresConfig = field(default_factory=WiresConfig)
    cell: CellLaw = field(default_factory=OhmicCell)
    constants: TimeConstants | None = None

    def __post_init__(self) -> None:
        if self.network.family != "current_mode":
            raise CapabilityError(f"network.family: expected current_mode for a netlist, got {self.network.family}")
        for coupling in self.network.arrays:
            if coupling.name not in self.siemens:
                raise InputError(f"siemens: expected the cells of {coupling.name}")
            cells = finite(f"siemens[{coupling.name!r}]", self.siemens[coupling.name], (2, *coupling.shape))
            if np.any(cells < 0):
                raise InputError(f"siemens[{coupling.name!r}]: expected conductances >= 0, got {cells.min():g}")
        finite("neurons.gain", self.neurons.gain, (self.network.node_count,))
        if self.constants is not None:
            self.constants.check(self.network.node_count)


@final
@dataclass(frozen=True)
class Stimulus:
    """What is applied to one netlist.

    Attributes:
        input_volts: (input,) held.
        nudge_amperes: (node,) peak of the cosine currents into the nodes; None is no nudge.
        frequency_hz: of the nudge.
        ac_amperes: (node,) currents of a small-signal (.ac) analysis; None is none.
    """

    input_volts: FloatArray
    nudge_amperes: FloatArray | None = None
    frequency_hz: float = 1.0
    ac_amperes: FloatArray | None = None


@final
@dataclass(frozen=True)
class NeuronNodes:
    """Which ngspice nodes are a neuron: its ``state`` u (volts_per_unit volts a unit) and its ``output`` s."""

    layer: str
    index: int
    state: str
    output: str


def neuron_nodes(network: Network) -> tuple[NeuronNodes, ...]:
    """The ngspice nodes of all neurons, in the order of the node axis."""
    return tuple(
        NeuronNodes(layer.name, index, f"u{layer.start + index}", f"s{layer.start + index}")
        for layer in network.layers[1:]
        for index in range(layer.size)
    )


def deck(
    netlist: Netlist,
    stimulus: Stimulus,
    analysis: Sequence[str] = ("op",),
    result: str = "out.raw",
    options: str = OPTIONS,
    guess: FloatArray | None = None,
) -> str:
    """The deck's text; ``ngspice -b`` on it writes states and outputs of all neurons to ``result``.

    An operating point is that of the free network; a transient begins at the nudge's crest, in the equilibrium there.

    Args:
        netlist: the network.
        stimulus: inputs and nudge.
        analysis: commands, e.g. ``op``, ``tran 1u 2m 0 1u``, ``ac dec 10 1 1meg``; the last one's vectors are written.
        result: file of the answer (ngspice's raw format).
        options: of the simulator.
        guess: (node,) states, activity units, that the operating point is sought from; it decides which equilibrium
            is found where there are several.

    Raises:
        InputError: shapes that do not fit, values that are not finite.
        CapabilityError: a cell law without a form for ngspice.
    """
    network = netlist.network
    lines = [f"* {'-'.join(map(str, network.sizes))} {network.activation} network", f".options {options}"]
    lines += _held(netlist, stimulus)
    lines += _neurons(netlist)
    lines += _nudges(netlist, stimulus)
    for coupling in network.forward:
        lines += _array(netlist, coupling, "forward")
        if network.feedback == "shared" and coupling.source.start >= 0:
            lines += _array(netlist, coupling, "backward")
    if network.feedback == "separate":
        for coupling in network.backward:
            lines += _array(netlist, coupling, "forward")
    nodes = neuron_nodes(network)
    if guess is not None:
        volts = finite("guess", guess, (network.node_count,)) * netlist.scale.volts_per_unit
        lines += [f".nodeset v({node.state})={_number(v)}" for node, v in zip(nodes, volts, strict=True)]
    vectors = [f"v({name})" for node in nodes for name in (node.state, node.output)]
    lines += [f".save {name}" for name in vectors]
    return "\n".join([*lines, *control(analysis, result), ".end", ""])


def control(analysis: Sequence[str], result: str) -> list[str]:
    """The block that runs an analysis and writes its last vectors; ngspice ends with 0 if it gave any, else with 1."""
    scale = {"tran": "time", "ac": "frequency"}.get(analysis[-1].split()[0])
    # Left to itself, ngspice -b ends with 1 even after a control block that went well.
    ending = ["quit 0"] if scale is None else [f"if length({scale}) > 1", "  quit 0", "end", "quit 1"]
    return [".control", *analysis, f"write {result}", *ending, ".endc"]


@singledispatch
def cell_elements(law: CellLaw, name: str, word: str, bit: str, siemens: float) -> list[str]:
    """A cell of conductance ``siemens`` > 0 between two nodes, as lines of a deck; register a form for each law.

    Raises:
        CapabilityError: the law has none.
    """
    raise CapabilityError(f"cells: {type(law).__name__} has no form for ngspice")


@cell_elements.register
def _(law: OhmicCell, name: str, word: str, bit: str, siemens: float) -> list[str]:
    return [f"R{name} {word} {bit} {_number(1 / siemens)}"]


@cell_elements.register
def _(law: SinhCell, name: str, word: str, bit: str, siemens: float) -> list[str]:
    return [f"B{name} {word} {bit} I={_number(siemens / law.alpha)}*sinh({_number(law.alpha)}*V({word},{bit}))"]


@cell_elements.register
def _(law: RectifyingCell, name: str, word: str, bit: str, siemens: float) -> list[str]:
    a, b = law.forward_alpha, law.reverse_alpha
    volts = f"V({word},{bit})"
    current = f"exp({_number(a)}*{volts})-exp(-{_number(b)}*{volts})"
    return [f"B{name} {word} {bit} I={_number(siemens / (a + b))}*({current})"]


@cell_elements.register
def _(law: SeriesResistanceCell, name: str, word: str, bit: str, siemens: float) -> list[str]:
    if not law.series_resistance:
        return cell_elements(law.memristor, name, word, bit, siemens)
    inner = f"m{name}"
    return [
        f"R{inner} {word} {inner} {_number(law.series_resistance)}",
        *cell_elements(law.memristor, name, inner, bit, siemens),
    ]


@cell_elements.register
def _(law: TransistorCell, name: str, word: str, bit: str, siemens: float) -> list[str]:
    inner = f"m{name}"
    volts = f"V({word},{inner})"
    drive = _number(law.gate_overdrive_volts)
    channel = f"min(abs({volts}),{drive})"
    current = (
        f"sgn({volts})*{_number(law.transconductance)}*({drive}-0.5*{channel})*{channel}"
        f"*(1+{_number(law.channel_length_modulation)}*abs({volts}))"
    )
    return [f"B{inner} {word} {inner} I={current}", *cell_elements(law.memristor, name, inner, bit, siemens)]


def _number(value: float) -> str:
    return f"{value:.17g}"


def _held(netlist: Netlist, stimulus: Stimulus) -> Iterator[str]:
    volts = finite("input_volts", stimulus.input_volts, (netlist.network.input_size,))
    yield from (f"Vin{index} in{index} 0 DC {_number(value)}" for index, value in enumerate(volts))
    yield f"Vbias bias 0 DC {_number(netlist.scale.volts_per_unit)}"


def _neurons(netlist: Netlist) -> Iterator[str]:
    neurons, unit, siemens = netlist.neurons, netlist.scale.volts_per_unit, netlist.scale.unit_siemens
    for k in range(netlist.network.node_count):
        yield f"Ru{k} u{k} 0 {_number(1 / siemens)}"
        lag = 0.0
        if netlist.constants is not None:
            yield f"Cu{k} u{k} 0 {_number(netlist.constants.node_seconds[k] * siemens)}"
            lag = netlist.constants.amplifier_seconds[k]
        z = f"{_number(neurons.gain[k])}*(V(u{k})/{_number(unit)}+({_number(neurons.offset[k])}))"
        swing = _number(neurons.saturation[k] * unit)
        ideal = f"s{k}" if lag == 0 else f"f{k}"
        yield f"B{ideal} {ideal} 0 V={swing}*({TRANSFER[neurons.activation].format(z=z)})"
        if lag:
            yield f"Rd{k} f{k} d{k} {_number(DELAY_OHMS)}"
            yield f"Cd{k} d{k} 0 {_number(lag / DELAY_OHMS)}"
            yield f"Es{k} s{k} 0 d{k} 0 1"


def _nudges(netlist: Netlist, stimulus: Stimulus) -> Iterator[str]:
    count = netlist.network.node_count
    peaks = np.zeros(count) if stimulus.nudge_amperes is None else finite("nudge", stimulus.nudge_amperes, (count,))
    small = np.zeros(count) if stimulus.ac_amperes is None else finite("ac_amperes", stimulus.ac_amperes, (count,))
    if not (math.isfinite(stimulus.frequency_hz) and stimulus.frequency_hz > 0):
        raise InputError(f"frequency_hz: expected a positive number, got {stimulus.frequency_hz}")
    for k, (peak, ac) in enumerate(zip(peaks, small, strict=True)):
        if peak or ac:
            # A sine that begins at 90 degrees: the nudge's crest is at time 0.
            sine = f" SIN(0 {_number(peak)} {_number(stimulus.frequency_hz)} 0 0 90)" if peak else ""
            yield f"In{k} 0 u{k} DC 0 AC {_number(ac)}{sine}"


def _array(netlist: Netlist, coupling: Coupling, direction: Direction) -> Iterator[str]:
    """Both crossbars of a pair and the mirrors of their currents."""
    tag = coupling.name.replace("-", "_") + ("" if direction == "forward" else "_back")
    source, target = coupling.source, coupling.target
    word_ports = [f"in{i}" if source.start < 0 else f"s{source.start + i}" for i in range(source.size)]
    if direction == "forward":
        drivers = word_ports + ["bias"] * coupling.bias
        sinks: list[int] = [target.start + j for j in range(target.size)]
    else:
        drivers = [f"s{target.start + j}" for j in range(target.size)]
        # The bias line is sensed too, but its current goes nowhere.
        sinks = [source.start + i for i in range(source.size)] + [-1] * coupling.bias
    for sign, polarity, cells in zip((1, -1), "pn", netlist.siemens[coupling.name], strict=True):
        yield f"* {coupling.name}, {direction}, {'positive' if sign > 0 else 'negative'} devices"
        name = f"{tag}_{polarity}"
        yield from _crossbar(netlist, name, np.asarray(cells), drivers, direction)
        for line, sink in enumerate(sinks):
            yield f"Vg{name}_{line} g{name}_{line} 0 DC 0"
            if sink >= 0:
                yield f"Fg{name}_{line} 0 u{sink} Vg{name}_{line} {sign}"


def _crossbar(
    netlist: Netlist, name: str, cells: FloatArray, drivers: Sequence[str], direction: Direction
) -> Iterator[str]:
    """One crossbar between its drivers' nodes and the virtual grounds g<name>_<line>.

    Word lines have their port at column 0, bit lines at the last row, each with one more wire segment
    (emulators/crossbar.py).
    """
    rows, columns = cells.shape
    segment, wires = netlist.wires.segment_ohms, netlist.wires

    def port(line: int, driven: bool) -> tuple[str, float]:
        if driven:
            return drivers[line], segment + wires.source_ohms
        return f"g{name}_{line}", segment + wires.sense_ohms

    def end(kind: str, line: int) -> tuple[str, list[str]]:
        """The node that the line begins with, and what joins it to its port."""
        outside, ohms = port(line, driven=(kind == "w") == (direction == "forward"))
        if ohms == 0:
            return outside, []
        inside = f"{kind}{name}_{line}"
        return inside, [f"Rp{inside} {outside} {inside} {_number(ohms)}"]

    word_ends = [end("w", i) for i in range(rows)]
    bit_ends = [end("b", j) for j in range(columns)]
    for _, elements in word_ends + bit_ends:
        yield from elements

    def word(i: int, j: int) -> str:
        return word_ends[i][0] if j == 0 or segment == 0 else f"w{name}_{i}_{j}"

    def bit(i: int, j: int) -> str:
        return bit_ends[j][0] if i == rows - 1 or segment == 0 else f"b{name}_{i}_{j}"

    for i in range(rows):
        for j in range(columns):
            if segment and j + 1 < columns:
                yield f"Rw{name}_{i}_{j} {word(i, j)} {word(i, j + 1)} {_number(segment)}"
            if segment and i + 1 < rows:
                yield f"Rb{name}_{i}_{j} {bit(i, j)} {bit(i + 1, j)} {_number(segment)}"
            if cells[i, j] > 0:
                yield from cell_elements(netlist.cell, f"c{name}_{i}_{j}", word(i, j), bit(i, j), float(cells[i, j]))
