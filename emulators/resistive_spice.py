"""The circuit of a resistive network as an ngspice deck that runs by itself.

Everything is there that the emulator computes with: cells, wire segments, rails, held inputs and their complements,
bidirectional amplifiers (an E source that drives the rows at A times the node, an F source that gives the node 1/A of
the rows' current), diodes, the nodes' capacitance and the nudge. Shockley diodes are ngspice's own D; ideal ones are
clamping sources of ``CLAMP_SIEMENS``.

Elements and options are those of the ngspice manual, version 39, chapters 3, 4, 5, 7 and 15.1.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from emulators.config import TilesConfig
from emulators.diodes import THERMAL_VOLTS, IdealDiodes, ShockleyDiodes
from emulators.networks.resistive import ResistiveCoupling, ResistiveNetwork
from emulators.spice import OPTIONS, Stimulus, control
from emulators.spice_arrays import number
from emulators.tiling import line_cuts
from substrate.arrays import FloatArray, finite
from substrate.errors import CapabilityError, InputError

CLAMP_SIEMENS = 1e4
"""Of a conducting ideal diode: beside cells of microsiemens a clamp to a part in 1e9."""


def resistive_nodes(network: ResistiveNetwork) -> tuple[str, ...]:
    """The ngspice nodes n<layer>_<index> of all free nodes, in the order of the node axis."""
    return tuple(
        f"n{index}_{place}"
        for index, layer in enumerate(network.layers, start=1)
        for place in range(layer.stop - layer.start)
    )


def resistive_deck(
    network: ResistiveNetwork,
    stimulus: Stimulus,
    segment_ohms: float = 0.0,
    farads: FloatArray | None = None,
    analysis: Sequence[str] = ("op",),
    result: str = "out.raw",
    options: str = OPTIONS,
    tiles: TilesConfig | None = None,
) -> str:
    """The deck's text; ``ngspice -b`` on it writes the volts of all free nodes to ``result``.

    An operating point is that of the free network; a transient begins at the nudge's crest, in the steady state there.

    Args:
        network: the equations; cells of 0 S are left out.
        stimulus: all held inputs, complements included, and the nudge.
        segment_ohms: of the wire segments of every array, laid out as in ``emulators.crossbar``.
        farads: (node,) of every free node to ground; None leaves them out.
        analysis: commands, e.g. ``op``, ``tran 1u 2m 0 1u``, ``ac dec 10 1 1meg``; the last one's vectors are written.
        result: file of the answer (ngspice's raw format).
        options: of the simulator.
        tiles: physical arrays that each array is laid over, joined at their ports; None is one of its size.

    Raises:
        InputError: shapes that do not fit, values that are not finite, a frequency that is not positive.
        CapabilityError: diodes without a form for ngspice.
    """
    nodes = resistive_nodes(network)
    held = finite("input_volts", stimulus.input_volts, (network.input_size,))
    sizes = [network.input_size, *(coupling.target_size for coupling in network.couplings)]
    lines = [f"* {'-'.join(map(str, sizes))} resistive network", f".options {options}"]
    lines += [f"Vx{place} x{place} 0 DC {number(volts)}" for place, volts in enumerate(held)]
    sources = [f"x{place}" for place in range(network.input_size)]
    for index, coupling in enumerate(network.couplings):
        targets = list(nodes[network.layers[index]])
        lines += _array(index, coupling, sources, targets, segment_ohms, tiles)
        sources = targets
    lines += _diodes(network, nodes)
    if farads is not None:
        loads = finite("farads", farads, (len(nodes),))
        lines += [f"C{name} {name} 0 {number(load)}" for name, load in zip(nodes, loads, strict=True)]
    lines += _nudges(nodes, stimulus)
    lines += [f".save v({name})" for name in nodes]
    return "\n".join([*lines, *control(analysis, result), ".end", ""])


def _array(
    index: int,
    coupling: ResistiveCoupling,
    sources: Sequence[str],
    targets: Sequence[str],
    segment_ohms: float,
    tiles: TilesConfig | None,
) -> Iterator[str]:
    """One array: amplifiers and rails at its rows, cells between its rows and its target nodes."""
    rows = []
    for place, source in enumerate(sources):
        if coupling.gain == 1.0:
            rows.append(source)
            continue
        row = f"a{index}_{place}"
        rows.append(row)
        yield f"E{row} e{row} 0 {source} 0 {number(coupling.gain)}"
        yield f"V{row} e{row} {row} DC 0"
        if index:  # a driver's current back is its own affair
            yield f"F{row} {source} 0 V{row} {number(1.0 / coupling.gain)}"
    for place, volts in enumerate(coupling.rail_volts):
        rows.append(f"r{index}_{place}")
        yield f"Vr{index}_{place} r{index}_{place} 0 DC {number(volts)}"
    tiles = tiles or TilesConfig(rows=len(rows), columns=len(targets))
    first_columns = {cut.start for cut in line_cuts(len(targets), tiles.columns)}
    last_rows = {cut.stop - 1 for cut in line_cuts(len(rows), tiles.rows)}
    for j, row in enumerate(rows):
        for i, target in enumerate(targets):
            cell = f"{index}_{j}_{i}"
            word, bit = row, target
            if segment_ohms:
                word, bit = f"w{cell}", f"b{cell}"
                # Word lines have their port at column 0, bit lines at the last row, each behind one segment.
                before = row if i in first_columns else f"w{index}_{j}_{i - 1}"
                after = target if j in last_rows else f"b{index}_{j + 1}_{i}"
                yield f"Rw{cell} {before} {word} {number(segment_ohms)}"
                yield f"Rb{cell} {bit} {after} {number(segment_ohms)}"
            if coupling.conductances[j, i] > 0:
                yield f"Rc{cell} {word} {bit} {number(1.0 / coupling.conductances[j, i])}"


def _diodes(network: ResistiveNetwork, nodes: Sequence[str]) -> Iterator[str]:
    diodes = network.diodes
    if not isinstance(diodes, IdealDiodes | ShockleyDiodes):
        raise CapabilityError(f"diodes: {type(diodes).__name__} have no form for ngspice")
    models: dict[tuple[float, float], str] = {}
    for k, name in enumerate(nodes):
        for side, rail in (("l", diodes.low_volts[k]), ("h", diodes.high_volts[k])):
            if not np.isfinite(rail):
                continue
            yield f"V{side}{name} {side}{name} 0 DC {number(rail)}"
            anode, cathode = (name, f"h{name}") if side == "h" else (f"l{name}", name)
            if isinstance(diodes, IdealDiodes):
                yield f"B{side}{name} {anode} {cathode} I={number(CLAMP_SIEMENS)}*max(V({anode},{cathode}),0)"
                continue
            law = (float(diodes.saturation_amperes[k]), float(diodes.slope_volts[k]) / THERMAL_VOLTS)
            if law not in models:
                models[law] = f"clamp{len(models)}"
                yield f".model {models[law]} D(IS={number(law[0])} N={number(law[1])})"
            yield f"D{side}{name} {anode} {cathode} {models[law]}"


def _nudges(nodes: Sequence[str], stimulus: Stimulus) -> Iterator[str]:
    count, hertz = len(nodes), stimulus.frequency_hz
    peaks = np.zeros(count) if stimulus.nudge_amperes is None else finite("nudge", stimulus.nudge_amperes, (count,))
    small = np.zeros(count) if stimulus.ac_amperes is None else finite("ac_amperes", stimulus.ac_amperes, (count,))
    if not (np.isfinite(hertz) and hertz > 0):
        raise InputError(f"frequency_hz: expected a positive number, got {hertz}")
    for name, peak, ac in zip(nodes, peaks, small, strict=True):
        if peak or ac:
            # A sine that begins at 90 degrees: the nudge's crest is at time 0.
            sine = f" SIN(0 {number(peak)} {number(hertz)} 0 0 90)" if peak else ""
            yield f"I{name} 0 {name} DC 0 AC {number(ac)}{sine}"
