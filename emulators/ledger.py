"""Energy and time of the emulated device, from the voltages and conductances of its own circuit.

Energy is what the sources put in. States are taken as settled for the whole of a settling time; where lines have a
capacitance C (``neurons.line_farads``), driving one to V costs C V^2 besides, half of it lost in charging it and half
when it is let go. What a nudge swings the charge by, second order in it, is left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.array_meter import ArrayMeter
from emulators.config import EmulatorConfig
from emulators.power_meter import MeteredArray
from substrate.arrays import FloatArray
from substrate.ledger import Ledger
from substrate.network import Coupling, Network
from substrate.tones import SamplingPlan

NEURONS = "neurons"
"""The part that static power is booked on."""


@final
@dataclass(frozen=True)
class Drive:
    """Line voltages of one array: vectors of volts on rows and columns (None: virtual ground), and their weight.

    Held rows stand once for all the columns (vector * time, column) of a resistive network that belong to them.
    """

    array: str
    rows: FloatArray | None
    columns: FloatArray | None
    weight: float
    mirrored: int = 0


def input_rows(network: Network, inputs: FloatArray, volts_per_unit: float) -> FloatArray:
    """Volts on the word lines of the first array, (batch, row), for held volts (batch, input)."""
    return _row_volts(network.forward[0], inputs, volts_per_unit)


def line_drives(network: Network, held: FloatArray, nodes: FloatArray, volts_per_unit: float) -> Iterator[Drive]:
    """The voltages on the lines of all arrays, the weights such that watts sum to means over time, sums over the batch.

    An array that is read both ways spends half of the time on either.

    Args:
        network: topology.
        held: what ``input_rows`` gives.
        nodes: (batch, time, node) volts.
        volts_per_unit: volts of an activity of one.
    """
    times = nodes.shape[1]
    flat = nodes.reshape(-1, nodes.shape[2])
    for coupling in network.settling:
        first = coupling.source.start < 0
        rows = held if first else _row_volts(coupling, flat[:, coupling.source.nodes], volts_per_unit)
        columns = coupling.columns(flat[:, coupling.target.nodes])
        if network.resistive:
            mirrored = coupling.source_lines // 2 if coupling.line_signs == (1.0, -1.0) else 0
            yield Drive(coupling.name, rows, columns, 1.0 / times, mirrored)
            continue
        both_ways = network.feedback == "shared" and not first
        share = 0.5 if both_ways else 1.0
        yield Drive(coupling.name, rows, None, share if first else share / times)
        if both_ways:
            yield Drive(coupling.name, None, columns, share / times)


def _row_volts(coupling: Coupling, source: FloatArray, volts_per_unit: float) -> FloatArray:
    """``Coupling.lines`` in volts."""
    held = np.array(coupling.bias_lines) * volts_per_unit
    driven = coupling.driven(source)
    rows = np.empty((len(driven), coupling.shape[0]))
    rows[:, : coupling.source_lines], rows[:, coupling.source_lines :] = driven, held
    return rows


@final
class EnergyMeter:
    """Books what every operation of an emulated network costs, and keeps its clock.

    Args:
        network: topology.
        arrays: by the name of their coupling.
        config: durations and voltages of operations, capacitances, static power.
        volts_per_unit: volts of an activity of one.

    Attributes:
        ledger: what is booked on.
        alone: operations on one array, the rest of the network silent.
    """

    def __init__(
        self,
        network: Network,
        arrays: Mapping[str, MeteredArray],
        config: EmulatorConfig,
        volts_per_unit: float,
    ) -> None:
        self.ledger = Ledger(tuple(arrays), (NEURONS,))
        self._network = network
        self._arrays = arrays
        self._first = network.forward[0].name
        self._operation = config.operation
        self._line_farads, self._node_farads = config.neurons.line_farads, config.neurons.node_farads
        watts = config.operation.neuron_watts * network.node_count
        others = {one.name: config.of(backward=True) for one in network.arrays if one.backward}
        self.alone = ArrayMeter(self.ledger, arrays, config, (NEURONS, watts) if watts else None, others)
        self._volts_per_unit = volts_per_unit
        # The inputs, and what they put into their array, are the same for the free phase and the nudges after it.
        self._inputs = self._rows = np.zeros((0, 0))
        self._input_watts: tuple[FloatArray, float] | None = None
        self._input_squares: FloatArray | None = None
        # Each node drives one line of an array, and no line has a capacitance.
        self._lines_alone = not (network.resistive or self._line_farads + self._node_farads) and all(
            coupling.window is None and coupling.line_signs == (1.0,) and coupling.gain == 1.0
            for coupling in network.settling
        )

    def settled(self, inputs: FloatArray, nodes: FloatArray) -> float:
        """Settling and one reading, again and again; (batch, reading, node) volts. Seconds that passed.

        ``inputs``: (batch, input) volts; another object for every batch.
        """
        operation, count = self._operation, nodes.shape[1]
        return self._states(inputs, nodes, count * operation.settle_seconds, count * operation.reading_seconds)

    def recorded(self, inputs: FloatArray, nodes: FloatArray, plan: SamplingPlan) -> float:
        """Settling into the steady state and a record of whole periods; one period (batch, time, node) volts."""
        return self._states(inputs, nodes, self._operation.settle_seconds, plan.periods / plan.frequency_hz)

    def _states(self, inputs: FloatArray, nodes: FloatArray, settle_seconds: float, read_seconds: float) -> float:
        watts = dict.fromkeys(self.ledger.arrays, 0.0)
        charging = dict.fromkeys(self.ledger.arrays, 0.0)
        if inputs is not self._inputs:
            self._inputs, self._rows = inputs, input_rows(self._network, inputs, self._volts_per_unit)
            self._input_watts = self._input_squares = None
        if self._lines_alone and all(array.meter.plain(array.loading_siemens) for array in self._arrays.values()):
            watts |= self._plain_watts(nodes)
            drives: Iterator[Drive] = iter(())
        else:
            drives = line_drives(self._network, self._rows, nodes, self._volts_per_unit)
        for drive in drives:
            charging[drive.array] += self._charging_joules(drive)
            array = self._arrays[drive.array]
            siemens = array.seen_siemens
            if drive.rows is not self._rows or drive.columns is not None:
                watts[drive.array] += drive.weight * array.meter.watts(
                    siemens, drive.rows, drive.columns, drive.mirrored
                )
                continue
            if self._input_watts is None or self._input_watts[0] is not siemens:
                self._input_watts = siemens, array.meter.watts(siemens, drive.rows, None)
            watts[drive.array] += drive.weight * self._input_watts[1]
        powers = np.fromiter(watts.values(), dtype=np.float64, count=len(watts))
        charges = np.fromiter(charging.values(), dtype=np.float64, count=len(watts))
        samples = len(nodes)
        for activity, seconds, more in (("settle", settle_seconds, charges), ("read", read_seconds, 0.0)):
            self.ledger.book_arrays(activity, powers * seconds + more, samples * seconds)
            self.alone.elapse(activity, samples * seconds)
        return samples * (settle_seconds + read_seconds)

    def _plain_watts(self, nodes: FloatArray) -> dict[str, float]:
        """What ``line_drives`` come to where every line takes its volts squared times the conductances on it."""
        network, times = self._network, nodes.shape[1]
        flat = nodes.reshape(-1, nodes.shape[2])
        squares = np.einsum("vi,vi->i", flat, flat) / times
        if self._input_squares is None:
            self._input_squares = np.einsum("vi,vi->i", self._rows, self._rows)
        watts = {}
        for coupling in network.settling:
            array = self._arrays[coupling.name]
            meter, siemens = array.meter, array.loading_siemens
            if coupling.source.start < 0:
                watts[coupling.name] = meter.watts_of_squares(siemens, self._input_squares, rows=True)
                continue
            held = len(nodes) * (np.array(coupling.bias_lines) * self._volts_per_unit) ** 2
            rows = np.concatenate([squares[coupling.source.nodes], held])
            watts[coupling.name] = meter.watts_of_squares(siemens, rows, rows=True)
            if network.feedback == "shared":
                backward = meter.watts_of_squares(siemens, squares[coupling.target.nodes], rows=False)
                watts[coupling.name] = 0.5 * (watts[coupling.name] + backward)
        return watts

    def _charging_joules(self, drive: Drive) -> float:
        """C V^2 of the lines that a drive charges, once a sample; V^2 is its mean over time."""
        if not self._line_farads + self._node_farads:
            return 0.0
        network = self._network
        first = drive.array == self._first
        # An array that is read both ways has its lines charged for either, whatever time it spends on each.
        weight = drive.weight * (2.0 if network.feedback == "shared" and not network.resistive and not first else 1.0)
        joules = 0.0
        # Rows of later arrays of a resistive network are its nodes, whose charge the array that ends there carries.
        if drive.rows is not None and (first or not network.resistive):
            joules += weight * self._line_farads * float(np.vdot(drive.rows, drive.rows))
        if drive.columns is not None:
            farads = self._line_farads + (self._node_farads if network.resistive else 0.0)
            joules += weight * farads * float(np.vdot(drive.columns, drive.columns))
        return joules
