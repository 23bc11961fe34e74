"""The circuit of an emulated current-mode network as an ngspice deck that runs by itself.

Everything is there that the emulator computes with: every cell, wire segment and termination, differential pairs, held
inputs and bias lines, neurons with their mismatch, their nodes' capacitance and amplifier bandwidth, and the nudge. A
differential pair's bit lines end in virtual grounds (0 V sources); mirrors subtract their currents and feed neuron k's
node ``uk``, where 1/g_unit turns them into a voltage; a behavioural source makes the neuron's output ``sk`` of it. One
array that is read both ways stands there twice, once for each direction: a line cannot be driven and sensed at once
(physics.md, 1.3).

Tiles whose currents are summed end in one virtual ground a line; where their sums are digitised each has its own, and a
behavioural source adds the rounded currents.

Elements and options are those of the ngspice manual, version 39, chapters 3 to 5, 15.1 and 17.5.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from emulators.config import TilesConfig, WiresConfig
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.networks.time_constants import TimeConstants
from emulators.neurons import SOFTNESS, Neurons
from emulators.spice_arrays import crossbar_elements, number
from emulators.tiling import line_cuts
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
        tiles: physical arrays that each array is laid over, with terminations of their own; None is one of its size.
        feedback: wires and cells of the arrays of backward couplings, where they are others.

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
    tiles: TilesConfig | None = None
    feedback: tuple[WiresConfig, CellLaw] | None = None

    def __post_init__(self) -> None:
        if self.network.family != "current_mode":
            raise CapabilityError(f"network.family: expected current_mode for a netlist, got {self.network.family}")
        if self.network.convolutional:
            raise CapabilityError("network.layers: cells shared over positions have no netlist; expected sizes")
        for coupling in self.network.settling:
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
    if network.feedback != "shared":
        for coupling in network.backward:
            lines += _array(netlist, coupling, "forward")
    nodes = neuron_nodes(network)
    if guess is not None:
        volts = finite("guess", guess, (network.node_count,)) * netlist.scale.volts_per_unit
        lines += [f".nodeset v({node.state})={number(v)}" for node, v in zip(nodes, volts, strict=True)]
    vectors = [f"v({name})" for node in nodes for name in (node.state, node.output)]
    lines += [f".save {name}" for name in vectors]
    return "\n".join([*lines, *control(analysis, result), ".end", ""])


def control(analysis: Sequence[str], result: str) -> list[str]:
    """The block that runs an analysis and writes its last vectors; ngspice ends with 0 if it gave any, else with 1."""
    scale = {"tran": "time", "ac": "frequency"}.get(analysis[-1].split()[0])
    # Left to itself, ngspice -b ends with 1 even after a control block that went well.
    ending = ["quit 0"] if scale is None else [f"if length({scale}) > 1", "  quit 0", "end", "quit 1"]
    return [".control", *analysis, f"write {result}", *ending, ".endc"]


def _held(netlist: Netlist, stimulus: Stimulus) -> Iterator[str]:
    volts = finite("input_volts", stimulus.input_volts, (netlist.network.input_size,))
    yield from (f"Vin{index} in{index} 0 DC {number(value)}" for index, value in enumerate(volts))
    yield f"Vbias bias 0 DC {number(netlist.scale.volts_per_unit)}"


def _neurons(netlist: Netlist) -> Iterator[str]:
    neurons, unit, siemens = netlist.neurons, netlist.scale.volts_per_unit, netlist.scale.unit_siemens
    for k in range(netlist.network.node_count):
        yield f"Ru{k} u{k} 0 {number(1 / siemens)}"
        lag = 0.0
        if netlist.constants is not None:
            yield f"Cu{k} u{k} 0 {number(netlist.constants.node_seconds[k] * siemens)}"
            lag = netlist.constants.amplifier_seconds[k]
        z = f"{number(neurons.gain[k])}*(V(u{k})/{number(unit)}+({number(neurons.offset[k])}))"
        swing = number(neurons.saturation[k] * unit)
        ideal = f"s{k}" if lag == 0 else f"f{k}"
        linear = neurons.linear is not None and neurons.linear[k]
        yield f"B{ideal} {ideal} 0 V={swing}*({z if linear else TRANSFER[neurons.activation].format(z=z)})"
        if lag:
            yield f"Rd{k} f{k} d{k} {number(DELAY_OHMS)}"
            yield f"Cd{k} d{k} 0 {number(lag / DELAY_OHMS)}"
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
            sine = f" SIN(0 {number(peak)} {number(stimulus.frequency_hz)} 0 0 90)" if peak else ""
            yield f"In{k} 0 u{k} DC 0 AC {number(ac)}{sine}"


def _array(netlist: Netlist, coupling: Coupling, direction: Direction) -> Iterator[str]:
    """All tiles of a pair of crossbars, and what makes neuron currents of theirs."""
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
    rows, columns = coupling.shape
    tiles = netlist.tiles or TilesConfig(rows=rows, columns=columns)
    row_cuts, column_cuts = line_cuts(rows, tiles.rows), line_cuts(columns, tiles.columns)
    driven_cuts = row_cuts if direction == "forward" else column_cuts
    digitised = tiles.summation == "digital" and len(driven_cuts) > 1
    wires, law = netlist.wires, netlist.cell
    if coupling.backward and netlist.feedback is not None:
        wires, law = netlist.feedback
    for sign, polarity, cells in zip((1, -1), "pn", netlist.siemens[coupling.name], strict=True):
        yield f"* {coupling.name}, {direction}, {'positive' if sign > 0 else 'negative'} devices"
        name = f"{tag}_{polarity}"
        for tall, wide in itertools.product(range(len(row_cuts)), range(len(column_cuts))):
            along = tall if direction == "forward" else wide
            place = row_cuts[tall], column_cuts[wide]
            driven, sensed = place if direction == "forward" else place[::-1]
            # Currents of analog tiles join in one virtual ground; a converter has its own.
            sums = f"{name}{along}" if digitised else name
            yield from crossbar_elements(
                name if len(row_cuts) * len(column_cuts) == 1 else f"{name}t{tall}_{wide}",
                np.asarray(cells)[place],
                drivers[driven],
                [f"g{sums}_{line}" for line in range(len(sinks))[sensed]],
                wires,
                law,
                direction,
            )
        for line, sink in enumerate(sinks):
            for sums in [f"{name}{along}" for along in range(len(driven_cuts))] if digitised else [name]:
                yield f"Vg{sums}_{line} g{sums}_{line} 0 DC 0"
            if sink >= 0 and not digitised:
                yield f"Fg{name}_{line} 0 u{sink} Vg{name}_{line} {sign}"
    if digitised:
        for line, sink in enumerate(sinks):
            if sink >= 0:
                parts = [f"(I(Vg{tag}_p{k}_{line})-I(Vg{tag}_n{k}_{line}))" for k in range(len(driven_cuts))]
                yield f"Bq{tag}_{line} 0 u{sink} I={'+'.join(_converted(part, tiles) for part in parts)}"


def _converted(amperes: str, tiles: TilesConfig) -> str:
    """What a tile's converter makes of a current (``emulators.converters.Adc``): nint() rounds as rint() does."""
    if not tiles.adc_bits:
        return amperes
    half = 2 ** (tiles.adc_bits - 1)
    step = tiles.adc_range_amperes / half
    return f"{number(step)}*max({-half},min({half - 1},nint({amperes}*{number(1 / step)})))"
