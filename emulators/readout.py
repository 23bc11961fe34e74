"""Readings of nodes: what adds to a settled voltage before it is converted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from emulators.config import NoiseConfig
from emulators.ledger import input_rows, line_drives
from emulators.noise import Flicker, Mains, shot_variance, thermal_variance
from emulators.power_meter import MeteredArray
from substrate.arrays import FloatArray
from substrate.contract import Snapshot
from substrate.network import Network


@final
@dataclass(frozen=True)
class Timing:
    """When samples are taken: the first one, those of a record, and how far one record begins after another."""

    first_seconds: float
    step_seconds: float
    cycle_seconds: float


@final
class Readout:
    """Thermal, shot, 1/f noise and mains pick-up on the readings of all nodes.

    White noise of the currents into a node appears at its output as at that of a transimpedance amplifier of one
    conductance unit, whose own feedback adds to it: the neuron's slope and the loop through the network, which both
    filter it, are taken as one. In a resistive network the node's own conductance turns current into voltage.

    Args:
        network: topology.
        noise: which of them there are.
        temperature_kelvin: of all conductances.
        volts_per_unit: volts of an activity of one.
        unit_siemens: conductance of a weight of one.
        rng: everything is drawn from it.
    """

    def __init__(
        self,
        network: Network,
        noise: NoiseConfig,
        temperature_kelvin: float,
        volts_per_unit: float,
        unit_siemens: float,
        rng: np.random.Generator,
    ) -> None:
        self._network = network
        self._rng = rng
        self._white = noise.white
        self._kelvin = temperature_kelvin
        self._volts_per_unit = volts_per_unit
        self._unit_siemens = unit_siemens
        nodes = network.node_count
        mains, flicker = noise.mains, noise.reading_flicker
        self._mains: Mains | None = None
        if mains.volts:
            volts = mains.volts * np.exp(mains.spread * rng.standard_normal(nodes))
            self._mains = Mains(volts, mains.frequency_hz, float(rng.uniform(0.0, 2.0 * np.pi)))
        self._flicker: Flicker | None = None
        if flicker.white_volts_per_root_hertz:
            power = flicker.white_volts_per_root_hertz**2 * flicker.corner_hz
            self._flicker = Flicker(nodes, power, flicker.lowest_hz, flicker.highest_hz, rng)
        self._last_seconds = 0.0

    def add(
        self, volts: FloatArray, inputs: FloatArray, arrays: Mapping[str, MeteredArray], timing: Timing
    ) -> FloatArray:
        """Volts (batch, time, node) with all there is; ``inputs`` (batch, input) are held; nothing on: as given."""
        white = self._white
        if white.thermal_bandwidth_hz or white.shot_bandwidth_hz:
            deviation = np.sqrt(self._white_variance(volts, inputs, arrays))
            volts = volts + deviation * self._rng.standard_normal(volts.shape)
        batch, times, _ = volts.shape
        if self._flicker is not None:
            gap = timing.cycle_seconds - (times - 1) * timing.step_seconds
            first = timing.first_seconds - self._last_seconds
            volts = volts + self._flicker.record((batch, times), max(first, 0.0), gap, timing.step_seconds)
            self._last_seconds = (
                timing.first_seconds + (batch - 1) * timing.cycle_seconds + (times - 1) * timing.step_seconds
            )
        if self._mains is not None:
            records = timing.first_seconds + timing.cycle_seconds * np.arange(batch)
            volts = volts + self._mains.at(records[:, None] + timing.step_seconds * np.arange(times))
        return volts

    def _white_variance(self, volts: FloatArray, inputs: FloatArray, arrays: Mapping[str, MeteredArray]) -> FloatArray:
        """Volts squared, broadcastable to (batch, time, node)."""
        network, white = self._network, self._white
        siemens = np.zeros(network.node_count)
        for nodes, total in node_conductances(network, arrays):
            siemens[nodes] += total
        transfer = siemens if network.resistive else np.full(network.node_count, self._unit_siemens)
        feedback = 0.0 if network.resistive else self._unit_siemens
        variance = thermal_variance(siemens + feedback, self._kelvin, white.thermal_bandwidth_hz)
        if white.shot_bandwidth_hz:
            current = self._currents(volts, inputs, arrays)
            variance = variance + shot_variance(current, white.shot_fano, white.shot_bandwidth_hz)
        return np.asarray(variance / transfer**2)

    def _currents(self, volts: FloatArray, inputs: FloatArray, arrays: Mapping[str, MeteredArray]) -> FloatArray:
        """Sum of the magnitudes of the cells' currents into each node, (batch, time, node) amperes, wires left out."""
        network = self._network
        batch, times, _ = volts.shape
        out = np.zeros(volts.shape)
        couplings = {coupling.name: coupling for coupling in network.settling}
        held = input_rows(network, inputs, self._volts_per_unit)
        for drive in line_drives(network, held, volts, self._volts_per_unit):
            coupling = couplings[drive.array]
            total = arrays[drive.array].seen_siemens.sum(axis=0)
            if network.resistive and drive.rows is not None and drive.columns is not None:
                # |v_i - v_j| <= |v_i| + |v_j|: an upper bound that needs no array of all cells for every sample.
                into = np.abs(drive.columns) * total.sum(axis=0)
                out[:, :, coupling.target.nodes] += into.reshape(batch, times, -1)
                out[:, :, coupling.target.nodes] += (np.abs(drive.rows) @ total).reshape(batch, -1, into.shape[1])
                continue
            if drive.rows is not None:
                into = coupling.into_target(np.abs(drive.rows) @ total)
                out[:, :, coupling.target.nodes] += into.reshape(batch, -1, coupling.target.size)
            elif drive.columns is not None:
                into = coupling.into_source(np.abs(drive.columns) @ total.T)
                out[:, :, coupling.source.nodes] += into.reshape(batch, times, -1)
        return out

    def snapshot(self) -> Snapshot:
        """Everything that changes."""
        return {
            "generator": self._rng.bit_generator.state,
            "flicker": self._flicker.snapshot() if self._flicker is not None else None,
            "last_seconds": self._last_seconds,
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back."""
        self._rng.bit_generator.state = snapshot["generator"]
        if self._flicker is not None:
            self._flicker.restore(snapshot["flicker"])
        self._last_seconds = float(snapshot["last_seconds"])


def node_conductances(network: Network, arrays: Mapping[str, MeteredArray]) -> list[tuple[slice, FloatArray]]:
    """Conductances of all cells at the nodes: the nodes of a layer and what one array adds to them, siemens."""
    found = []
    for coupling in network.settling:
        total = arrays[coupling.name].seen_siemens.sum(axis=0)
        found.append((coupling.target.nodes, coupling.into_target(coupling.per_place(total.sum(axis=0)[None]))[0]))
        if network.feedback == "shared" and coupling.source.start >= 0:
            lines = coupling.per_place(total.sum(axis=1)[None])
            found.append((coupling.source.nodes, coupling.into_source(lines)[0]))
    return found
