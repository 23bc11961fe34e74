"""The wiring between instruments and device, and the one circuit that all of them are part of.

Nodes are terminals of instruments and of the plant. Wires make several nodes one net; wires with a resistance, closed
relays and input resistances are conductances between nets; sources drive nets. All of it, with the lines of the plant's
arrays, is solved as one nodal system (modified only in that nets held by rigid sources are eliminated), at every time
that is asked for. Curved cells make it nonlinear: Newton's method, from the solution of the linear part.

Ground is everybody's reference. Every net leaks to it by ``LEAK_SIEMENS``, the insulation of cables and relays, so
that a floating net has a voltage too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.bench.clock import SimulatedClock
from emulators.bench.plant import Plant
from emulators.bench.sources import CurrentSource, Source, VoltageSource
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.errors import ConvergenceError, InputError

LEAK_SIEMENS = 1.0e-15
CLASH_OHMS = 1.0e-3
"""Between two rigid sources on one net: what contacts and cables put there."""

MOST_COMPLIANCE_STEPS = 50
MOST_NEWTON_STEPS = 60
NEWTON_TOLERANCE = 1.0e-12
"""Relative change of the voltages by the last step."""

MOST_INTERVALS = 20_000
"""Intervals that a waveform on programming lines is cut into, of one stretch of time."""


@final
@dataclass(frozen=True)
class State:
    """The circuit at some times: volts of all nets (time, net), amperes out of all sources (time, source)."""

    volts: FloatArray
    amperes: FloatArray
    limited: IntArray
    """(time, source): 1 or -1 where a source is at its compliance."""


@final
@dataclass(frozen=True)
class _Topology:
    """What follows from wires, relays and the places of sources."""

    net_of: dict[str, int]
    count: int
    conductance: FloatArray  # (net, net), arrays aside
    sources: tuple[str, ...]  # nodes that have one
    source_net: IntArray
    inputs: IntArray
    outputs: IntArray
    nudges: IntArray
    lines: tuple[IntArray, ...]
    part: IntArray
    """(net,) of the circuit: what happens in one part makes no difference to another."""


@final
@dataclass(frozen=True)
class _System:
    """A factored system for one pattern of compliance: V_free = from_current I_free + from_rigid V_rigid."""

    rigid: IntArray
    free: IntArray
    from_current: FloatArray
    from_rigid: FloatArray
    matrix: FloatArray  # (net, net), linear arrays and finite sources included
    plain: IntArray  # sources by sort, see ``_sorts``


RIGID, THROUGH_OHMS, CURRENT = 0, 1, 2


@final
class Fixture:
    """Wires, relays, loads and sources around a plant.

    Args:
        plant: the device.
        clock: the bench's; the fixture listens to it, and lets the voltages that stand on lines act on cells.
    """

    def __init__(self, plant: Plant, clock: SimulatedClock) -> None:
        self.plant = plant
        self.clock = clock
        self._nodes: dict[str, None] = dict.fromkeys(plant.terminals)
        self._wires: list[tuple[str, str, float]] = []
        self._relays: dict[tuple[str, str], float] = {}
        self._loads: dict[str, float] = {}
        self._sources: dict[str, Source] = {}
        self._transfers: dict[str, tuple[str, float]] = {}
        self._topology: _Topology | None = None
        self._systems: dict[bytes, _System] = {}
        self._system_version = plant.version
        self._still: tuple[int, State] | None = None
        clock.listen(self._elapsed)

    # Building and switching.

    def add(self, node: str) -> None:
        """A new node.

        Raises:
            InputError: there is one of this name.
        """
        if node in self._nodes:
            raise InputError(f"node {node!r}: there is one of this name already")
        self._nodes[node] = None
        self._changed()

    def wire(self, first: str, second: str, series_ohms: float = 0.0) -> None:
        """Join two nodes for good, by a wire or a resistor.

        Raises:
            InputError: an unknown node, a negative resistance.
        """
        self._check(first, second)
        if not (np.isfinite(series_ohms) and series_ohms >= 0):
            raise InputError(f"series_ohms: expected a finite number >= 0, got {series_ohms!r}")
        self._wires.append((first, second, float(series_ohms)))
        self._changed()

    def convert(self, node: str, nudge: str, transconductance_siemens: float) -> None:
        """Put a voltage-to-current converter between a node, which it does not load, and a nudge terminal.

        Raises:
            InputError: an unknown node, or a terminal that takes no currents.
        """
        self._check(node, nudge)
        if nudge not in self.plant.nudges:
            raise InputError(f"terminal {nudge!r}: takes no nudge; expected one such as {self.plant.nudges[:1]}")
        if not np.isfinite(transconductance_siemens):
            raise InputError(f"transconductance_siemens: expected a finite number, got {transconductance_siemens!r}")
        if node in self._transfers:
            raise InputError(f"node {node!r}: drives a converter already")
        self._transfers[node] = (nudge, float(transconductance_siemens))
        self._changed()

    def attach(self, node: str, source: Source | None) -> None:
        """Put a source at a node, in the place of the one that was there; None takes it off."""
        self._check(node)
        before = self._sources.get(node)
        if source is None:
            self._sources.pop(node, None)
        else:
            self._sources[node] = source
        # Another waveform alone leaves the systems as they are.
        if before is None or source is None or _form(before) != _form(source):
            self._changed()
        self._still = None

    def source(self, node: str) -> Source | None:
        """What drives a node."""
        return self._sources.get(node)

    def load(self, node: str, ohms: float | None) -> None:
        """An input resistance to ground; None takes it off."""
        self._check(node)
        if ohms is None:
            self._loads.pop(node, None)
        elif not ohms > 0:
            raise InputError(f"load: expected positive ohms, got {ohms!r}")
        else:
            self._loads[node] = float(ohms)
        self._changed()

    def connect(self, first: str, second: str, ohms: float = 0.0) -> None:
        """Close a relay between two nodes."""
        self._check(first, second)
        self._relays[first, second] = float(ohms)
        self._changed()

    def disconnect(self, first: str, second: str) -> None:
        """Open it; one that is open stays so."""
        if self._relays.pop((first, second), None) is not None:
            self._changed()

    def connect_only(self, owner: str, relays: Mapping[tuple[str, str], float]) -> None:
        """Bring the relays of one instrument to a state at once: pairs of nodes and ohms; all its others open."""
        mine = {pair: ohms for pair, ohms in self._relays.items() if pair[0].partition(".")[0] == owner}
        if mine == relays:
            return
        for first, second in relays:
            self._check(first, second)
        for pair in mine:
            del self._relays[pair]
        self._relays.update({pair: float(ohms) for pair, ohms in relays.items()})
        self._changed()

    # Reading.

    def volts(self, nodes: Sequence[str], times_seconds: FloatArray) -> FloatArray:
        """Voltages (time, node) of the solved circuit, without any instrument's errors."""
        self._check(*nodes)
        net_of = self._built().net_of
        nets = [net_of[node] for node in nodes]
        return self._solve(np.asarray(times_seconds, dtype=np.float64), nets).volts[:, nets]

    def amperes(self, nodes: Sequence[str], times_seconds: FloatArray) -> FloatArray:
        """Currents (time, node) that the sources at these nodes deliver; 0 where there is none."""
        return self._delivered(nodes, times_seconds)[0]

    def in_compliance(self, node: str) -> bool:
        """Whether the source at this node is at its limit now."""
        return bool(self._delivered([node], np.array([self.clock.seconds]))[1][0, 0])

    def now(self, node: str) -> float:
        """Volts of a node at this moment."""
        return float(self.volts([node], np.array([self.clock.seconds]))[0, 0])

    @property
    def still(self) -> bool:
        """Whether no source changes with time."""
        return all(source.waveform.constant for source in self._sources.values())

    def _delivered(self, nodes: Sequence[str], times_seconds: FloatArray) -> tuple[FloatArray, IntArray]:
        self._check(*nodes)
        topology = self._built()
        places = {node: index for index, node in enumerate(topology.sources)}
        nets = [topology.net_of[node] for node in nodes]
        state = self._solve(np.asarray(times_seconds, dtype=np.float64), nets)
        amperes = np.zeros((len(times_seconds), len(nodes)))
        limited = np.zeros(amperes.shape, dtype=np.int64)
        for column, node in enumerate(nodes):
            if node in places:
                amperes[:, column] = state.amperes[:, places[node]]
                limited[:, column] = state.limited[:, places[node]]
        return amperes, limited

    # Solving.

    def _check(self, *nodes: str) -> None:
        for node in nodes:
            if node not in self._nodes:
                near = [name for name in self._nodes if name.split(".")[0] == node.split(".")[0]][:8]
                raise InputError(f"node {node!r}: there is none; expected one such as {', '.join(near or self._nodes)}")

    def _changed(self) -> None:
        self._topology = None
        self._systems.clear()
        self._still = None

    def _built(self) -> _Topology:
        if self._topology is None:
            self._topology = self._build()
        return self._topology

    def _build(self) -> _Topology:
        parent = {node: node for node in self._nodes}

        def root(node: str) -> str:
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            return node

        links = [*self._wires, *((first, second, ohms) for (first, second), ohms in self._relays.items())]
        for first, second, ohms in links:
            if ohms == 0:
                parent[root(first)] = root(second)
        numbers: dict[str, int] = {}
        net_of = {node: numbers.setdefault(root(node), len(numbers)) for node in self._nodes}
        count = len(numbers)
        matrix = np.diag(np.full(count, LEAK_SIEMENS))
        for first, second, ohms in links:
            a, b = net_of[first], net_of[second]
            if ohms > 0 and a != b:
                matrix[[a, b, a, b], [a, b, b, a]] += np.array([1.0, 1.0, -1.0, -1.0]) / ohms
        for node, ohms in self._loads.items():
            matrix[net_of[node], net_of[node]] += 1.0 / ohms

        def nets(nodes: Sequence[str]) -> IntArray:
            return np.array([net_of[node] for node in nodes], dtype=np.int64)

        plant = self.plant
        sources = tuple(self._sources)
        outputs = nets(plant.outputs)
        if len(set(outputs.tolist())) < len(outputs):
            raise InputError("wiring: outputs of two nodes are joined")
        lines = tuple(nets(array.terminals) for array in plant.arrays)
        inputs, nudges, senders = nets(plant.inputs), nets(plant.nudges), nets(tuple(self._transfers))
        part = _parts(matrix, [*lines, np.concatenate([inputs, nudges, outputs, senders])])
        return _Topology(net_of, count, matrix, sources, nets(sources), inputs, outputs, nudges, lines, part)

    def _solve(self, times: FloatArray, wanted: Sequence[int]) -> State:
        """The state at some times; outputs of nodes are only solved for where ``wanted`` nets depend on them."""
        topology = self._built()
        if self._system_version != self.plant.version:
            self._system_version = self.plant.version
            self._systems.clear()
            self._still = None
        sources = [self._sources[node] for node in topology.sources]
        still = all(source.waveform.constant for source in sources)
        if still and self._still is not None:
            return _repeated(self._still[1], len(times))
        at = times[:1] if still else times
        drive = np.empty((len(at), len(sources)))
        reaching = _reaching(topology, wanted)
        for column, source in enumerate(sources):
            # What makes no difference to the wanted nets stands still, so that equal rows can be merged.
            drive[:, column] = source.waveform.at(at if reaching[column] else at[:1])
        distinct, which = _distinct(drive)
        state = self._solve_distinct(topology, sources, distinct, list(range(topology.count)) if still else wanted)
        if still:
            self._still = (self.plant.version, state)
            return _repeated(state, len(times))
        return State(state.volts[which], state.amperes[which], state.limited[which])

    def _solve_distinct(
        self, topology: _Topology, sources: Sequence[Source], drive: FloatArray, wanted: Sequence[int]
    ) -> State:
        """Find the pattern of compliance of every row of ``drive`` (row, source), and solve with it."""
        rows = len(drive)
        limits = np.array([s.limit_amperes if isinstance(s, VoltageSource) else s.limit_volts for s in sources])
        is_voltage = np.array([isinstance(source, VoltageSource) for source in sources], dtype=bool)
        limited = np.zeros((rows, len(sources)), dtype=np.int64)
        volts = np.zeros((rows, topology.count))
        amperes = np.zeros((rows, len(sources)))
        has_limits = bool(np.isfinite(limits).any())
        watched = [*wanted, *topology.source_net[np.isfinite(limits)].tolist()] if has_limits else wanted
        todo = np.arange(rows)
        for _ in range(MOST_COMPLIANCE_STEPS):
            for pattern, rows_of_it in _patterns(limited[todo]):
                chosen = todo[rows_of_it]
                volts[chosen], amperes[chosen] = self._solve_pattern(
                    topology, sources, drive[chosen], limits, pattern, watched
                )
            if not has_limits:
                break
            here = volts[todo][:, topology.source_net]
            # What a source regulates, and what it limits: volts and amperes, or the other way round.
            regulated, limited_by = np.where(is_voltage, here, amperes[todo]), np.where(is_voltage, amperes[todo], here)
            slack = 1e-9 * np.where(np.isfinite(limits), np.abs(limits), 0.0)
            new = np.where(limited_by > limits + slack, 1, np.where(limited_by < -limits - slack, -1, 0))
            # A limited source takes over again once it would have to regulate beyond what was asked.
            old = limited[todo]
            beyond = old * (regulated - drive[todo]) > 1e-12 + 1e-9 * np.abs(drive[todo])
            new = np.where(old == 0, new, np.where(beyond, 0, old))
            moved = (new != old).any(axis=1)
            limited[todo] = new
            todo = todo[moved]
            if not len(todo):
                break
        else:
            raise ConvergenceError("the sources on the bench found no state of compliance that all agree on")
        return State(volts, amperes, limited)

    def _system(self, topology: _Topology, sources: Sequence[Source], pattern: IntArray) -> _System:
        key = pattern.tobytes()
        system = self._systems.get(key)
        if system is None:
            system = self._systems[key] = self._make_system(topology, sources, pattern)
        return system

    def _make_system(self, topology: _Topology, sources: Sequence[Source], pattern: IntArray) -> _System:
        matrix = topology.conductance.copy()
        for array, lines in zip(self.plant.arrays, topology.lines, strict=True):
            admittance = array.currents_and_slope(np.zeros(len(lines)))[1] if array.curved else array.admittance()
            np.add.at(matrix, (lines[:, None], lines[None, :]), admittance)
        held = {*topology.outputs.tolist(), *topology.nudges.tolist()}
        sorts = np.empty(len(sources), dtype=np.int64)
        for index, (source, net, limit) in enumerate(zip(sources, topology.source_net, pattern, strict=True)):
            sorts[index] = _sort(source) if not limit else (CURRENT if isinstance(source, VoltageSource) else RIGID)
            if sorts[index] == RIGID and int(net) in held:
                sorts[index] = THROUGH_OHMS
            if sorts[index] == RIGID:
                held.add(int(net))
            elif sorts[index] == THROUGH_OHMS:
                matrix[net, net] += 1.0 / _ohms(source)
        rigid = np.array(sorted(held), dtype=np.int64)
        free = np.setdiff1d(np.arange(topology.count), rigid)
        from_current = np.asarray(np.linalg.inv(matrix[np.ix_(free, free)]), dtype=np.float64)
        from_rigid = -from_current @ matrix[np.ix_(free, rigid)]
        return _System(rigid, free, from_current, from_rigid, matrix, sorts)

    def _solve_pattern(
        self,
        topology: _Topology,
        sources: Sequence[Source],
        drive: FloatArray,
        limits: FloatArray,
        pattern: IntArray,
        wanted: Sequence[int],
    ) -> tuple[FloatArray, FloatArray]:
        system = self._system(topology, sources, pattern)
        value = np.where(pattern == 0, drive, pattern * np.where(np.isfinite(limits), limits, 0.0))
        injected = np.zeros((len(drive), topology.count))
        volts = np.zeros_like(injected)
        for index, net in enumerate(topology.source_net):
            if system.plain[index] == RIGID:
                volts[:, net] = value[:, index]
            elif system.plain[index] == CURRENT:
                injected[:, net] += value[:, index]
            else:
                injected[:, net] += value[:, index] / _ohms(sources[index])
        self._fill(system, volts, injected, topology)
        if len(topology.outputs) and self._depends(system, topology, wanted):
            self._refuse_loops(system, topology)
            currents = self._nudge_amperes(system, topology, volts, injected)
            volts[:, topology.outputs] = self.plant.respond(volts[:, topology.inputs], currents)
            self._fill(system, volts, injected, topology)
        return volts, self._source_amperes(system, topology, sources, value, volts, injected)

    def _fill(self, system: _System, volts: FloatArray, injected: FloatArray, topology: _Topology) -> None:
        """Volts of the free nets, given those of the rigid ones."""
        volts[:, system.free] = injected[:, system.free] @ system.from_current.T + (
            volts[:, system.rigid] @ system.from_rigid.T
        )
        curved = [
            (array, lines) for array, lines in zip(self.plant.arrays, topology.lines, strict=True) if array.curved
        ]
        if not curved:
            return
        at_rest = np.zeros_like(system.matrix)
        for array, lines in curved:
            slope = array.currents_and_slope(np.zeros(len(lines)))[1]
            np.add.at(at_rest, (lines[:, None], lines[None, :]), slope)
        base = system.matrix - at_rest
        # Each row has a Jacobian of its own; rows are few, since equal ones were merged.
        for row in range(len(volts)):
            for _ in range(MOST_NEWTON_STEPS):
                currents, slope = base @ volts[row] - injected[row], base.copy()
                for array, lines in curved:
                    amperes, admittance = array.currents_and_slope(volts[row, lines])
                    np.add.at(currents, lines, amperes)
                    np.add.at(slope, (lines[:, None], lines[None, :]), admittance)
                step = np.linalg.solve(slope[np.ix_(system.free, system.free)], -currents[system.free])
                # A volt at a time: exponential laws overflow otherwise.
                volts[row, system.free] += np.clip(step, -1.0, 1.0)
                if np.abs(step).max(initial=0.0) <= NEWTON_TOLERANCE * max(1e-3, np.abs(volts[row]).max()):
                    break
            else:
                raise ConvergenceError("the bench's circuit of curved cells did not converge")

    def _out_of(self, system: _System, topology: _Topology, volts: FloatArray, injected: FloatArray) -> FloatArray:
        """Amperes (row, net) that leave each net through everything but its rigid source."""
        if not any(array.curved for array in self.plant.arrays):
            return np.asarray(volts @ system.matrix.T - injected)
        matrix = system.matrix.copy()
        extra = np.zeros_like(volts)
        for array, lines in zip(self.plant.arrays, topology.lines, strict=True):
            if array.curved:
                slope = array.currents_and_slope(np.zeros(len(lines)))[1]
                np.add.at(matrix, (lines[:, None], lines[None, :]), -slope)
                for row in range(len(volts)):
                    np.add.at(extra[row], lines, array.currents_and_slope(volts[row, lines])[0])
        return np.asarray(volts @ matrix.T - injected + extra)

    def _source_amperes(
        self,
        system: _System,
        topology: _Topology,
        sources: Sequence[Source],
        value: FloatArray,
        volts: FloatArray,
        injected: FloatArray,
    ) -> FloatArray:
        out = np.empty_like(value)
        leaving = self._out_of(system, topology, volts, injected)
        for index, net in enumerate(topology.source_net):
            sort = system.plain[index]
            if sort == CURRENT:
                out[:, index] = value[:, index]
            elif sort == THROUGH_OHMS:
                out[:, index] = (value[:, index] - volts[:, net]) / _ohms(sources[index])
            else:
                out[:, index] = leaving[:, net]
        return out

    def _nudge_amperes(
        self, system: _System, topology: _Topology, volts: FloatArray, injected: FloatArray
    ) -> FloatArray:
        """Currents into the nodes (row, node): what enters the current inputs, and what converters put there."""
        out = -self._out_of(system, topology, volts, injected)[:, topology.nudges]
        places = {name: index for index, name in enumerate(self.plant.nudges)}
        for node, (nudge, siemens) in self._transfers.items():
            out[:, places[nudge]] += siemens * volts[:, topology.net_of[node]]
        return out

    def _depends(self, system: _System, topology: _Topology, wanted: Sequence[int]) -> bool:
        outputs = set(topology.outputs.tolist())
        if outputs.intersection(wanted):
            return True
        places = np.isin(system.rigid, topology.outputs)
        rows = np.isin(system.free, list(wanted))
        return bool(np.any(system.from_rigid[np.ix_(rows, places)]))

    def _refuse_loops(self, system: _System, topology: _Topology) -> None:
        places = np.isin(system.rigid, topology.outputs)
        driven = np.concatenate([topology.inputs, [topology.net_of[node] for node in self._transfers]]).astype(int)
        rows = np.isin(system.free, driven)
        beside = system.matrix[np.ix_(topology.nudges, topology.outputs)]
        joined = np.isin(driven, topology.outputs).any() or np.isin(topology.nudges, topology.outputs).any()
        if joined or np.any(system.from_rigid[np.ix_(rows, places)]) or np.any(beside):
            raise InputError("wiring: the output of a node is joined to an input of the network; not modelled")

    # Time.

    def _elapsed(self, start: float, end: float) -> None:
        self._stress(start, end)
        self.plant.pass_time(end - start)

    def _stress(self, start: float, end: float) -> None:
        """Let what stood on the lines of arrays act on their cells."""
        if not self.plant.arrays or not self._sources:
            return
        topology = self._built()
        wanted = sorted({net for lines in topology.lines for net in lines.tolist()})
        waveforms = [self._sources[node].waveform for node in topology.sources]
        reaching = _reaching(topology, wanted)
        moving = [one for one, reaches in zip(waveforms, reaching, strict=True) if reaches and not one.constant]
        if moving:
            corners = np.concatenate([[start, end], *(waveform.corners(start, end) for waveform in moving)])
            edges = np.unique(np.clip(corners, start, end))
            if len(edges) > MOST_INTERVALS + 1:
                edges = np.linspace(start, end, MOST_INTERVALS + 1)
        else:
            edges = np.array([start, end])
        state = self._solve(0.5 * (edges[1:] + edges[:-1]), wanted)
        self.plant.stress([state.volts[:, lines] for lines in topology.lines], np.diff(edges))


def _parts(conductance: FloatArray, joined: Sequence[IntArray]) -> IntArray:
    """Labels (net,) of the connected parts, by conductances between nets and nets that are joined otherwise."""
    count = len(conductance)
    links = conductance != 0.0
    for nets in joined:
        if len(nets):
            links[nets[0], nets] = links[nets, nets[0]] = True
    label = np.arange(count)
    while True:
        # Each net takes the least label among its own and its neighbours'.
        lower = np.minimum(label, np.where(links, label, count).min(axis=1, initial=count))
        lower = lower[lower]
        if np.array_equal(lower, label):
            return label
        label = lower


def _reaching(topology: _Topology, wanted: Sequence[int]) -> BoolArray:
    """(source,) whether it makes a difference to any of these nets."""
    return np.isin(topology.part[topology.source_net], topology.part[np.asarray(wanted, dtype=np.int64)])


def _patterns(limited: IntArray) -> list[tuple[IntArray, BoolArray]]:
    """The different rows (source), each with the rows (row,) that are like it."""
    if len(limited) == 1 or not limited.any():
        return [(limited[0], np.ones(len(limited), dtype=np.bool_))]
    patterns, which = np.unique(limited, axis=0, return_inverse=True)
    return [(pattern, which.reshape(-1) == index) for index, pattern in enumerate(patterns)]


def _distinct(rows: FloatArray) -> tuple[FloatArray, IntArray]:
    """The different rows, and which of them each row is."""
    moving = np.flatnonzero((rows != rows[:1]).any(axis=0))
    if len(moving) == 0:
        return rows[:1], np.zeros(len(rows), dtype=np.int64)
    if len(moving) == 1:
        _, first, which = np.unique(rows[:, moving[0]], return_index=True, return_inverse=True)
    else:
        _, first, which = np.unique(rows[:, moving], axis=0, return_index=True, return_inverse=True)
    return rows[first], which.reshape(-1)


def _sort(source: Source) -> int:
    if isinstance(source, CurrentSource):
        return CURRENT
    return THROUGH_OHMS if source.series_ohms > 0 else RIGID


def _form(source: Source) -> tuple[int, float]:
    return _sort(source), source.series_ohms if isinstance(source, VoltageSource) else 0.0


def _ohms(source: Source) -> float:
    return source.series_ohms or CLASH_OHMS if isinstance(source, VoltageSource) else CLASH_OHMS


def _repeated(state: State, count: int) -> State:
    volts = np.broadcast_to(state.volts[:1], (count, state.volts.shape[1]))
    amperes = np.broadcast_to(state.amperes[:1], (count, state.amperes.shape[1]))
    limited = np.broadcast_to(state.limited[:1], (count, state.limited.shape[1]))
    return State(volts, amperes, limited)
