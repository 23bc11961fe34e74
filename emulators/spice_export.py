"""The emulated device's own circuit as a deck: the held sample's free state, then its steady state under the nudge."""

import math
from typing import final

from emulators.config import EmulatorConfig
from emulators.networks.circuit import Circuit, NeuronCircuit
from emulators.networks.resistive_circuit import ResistiveCircuit
from emulators.networks.resistive_dynamics import slowest_seconds
from emulators.networks.small_signal import relaxation_seconds
from emulators.resistive_spice import resistive_deck
from emulators.spice import OPTIONS, Netlist, Stimulus, deck
from substrate.arrays import FloatArray
from substrate.capabilities import Nudge
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.services import CircuitExport
from substrate.tones import SamplingPlan

LEFT = 16.0
"""Relaxation times that a transient is given before the period that counts: e^-16 is 1e-7."""

STEPS = 1000
"""Steps of a period, at least: the harmonics' error falls with their square."""

TRANSIENT = "option reltol=1e-6 abstol=1e-15 vntol=1e-11"
"""Tolerances of a transient, whose steps their length limits: with those of an operating point it would halt."""


@final
class SpiceExport(CircuitExport):
    """Decks of one emulated device.

    Args:
        network: topology.
        config: the device.
        circuit: its circuit.
    """

    def __init__(self, network: Network, config: EmulatorConfig, circuit: Circuit) -> None:
        self._network, self._config, self._circuit = network, config, circuit

    def deck(self, nudge: Nudge, plan: SamplingPlan, stem: str) -> str:
        """Free state and steady state of the one sample that is held, in the free state that it settled to."""
        if len(nudge.amperes) != 1:
            raise InputError(f"nudge: expected that of one sample, got {len(nudge.amperes)}")
        circuit = self._circuit
        if isinstance(circuit, ResistiveCircuit):
            text, settling, node_note = self._resistive(circuit, nudge, plan, stem)
        elif isinstance(circuit, NeuronCircuit):
            text, settling, node_note = self._neurons(circuit, nudge, plan, stem)
        else:
            raise CapabilityError(f"network.family: {self._network.family} networks have no deck")
        period = 1.0 / plan.frequency_hz
        title, rest = text.split("\n", 1)
        notes = [
            f"* Run by ngspice -b: the free state goes to {stem}_free.raw, and the period of the nudge from",
            f"* {settling * period:.12g} s, a crest, to {(settling + 1) * period:.12g} s to {stem}_nudge.raw.",
            node_note,
            "* Noise and the converters that read the nodes are left out.",
        ]
        return "\n".join([title, *notes, rest])

    def _neurons(self, circuit: NeuronCircuit, nudge: Nudge, plan: SamplingPlan, stem: str) -> tuple[str, int, str]:
        """The deck of a current-mode network, the periods that it is given to settle, and what its nodes are called."""
        parts = circuit.parts()
        _one_sample(parts.input_volts)
        behind = self._config.of(backward=True)
        netlist = Netlist(
            self._network,
            parts.siemens,
            parts.neurons,
            parts.scale,
            self._config.wires,
            self._config.cells.cell(),
            parts.constants,
            self._config.tiles,
            (behind.wires, behind.cells.cell()),
        )
        settling = self._settling_periods(circuit, netlist, parts.free, plan.frequency_hz)
        stimulus = Stimulus(parts.input_volts[0], nudge.amperes[0], plan.frequency_hz)
        analysis = _analysis(plan, settling, stem)
        text = deck(netlist, stimulus, analysis, f"{stem}_nudge.raw", OPTIONS, parts.free[0])
        unit = parts.scale.volts_per_unit
        return text, settling, f"* Neuron k of the node axis: state u<k>, output s<k>; {unit:.12g} V a unit."

    def _resistive(
        self, circuit: ResistiveCircuit, nudge: Nudge, plan: SamplingPlan, stem: str
    ) -> tuple[str, int, str]:
        """The same of a resistive network."""
        parts = circuit.parts()
        _one_sample(parts.input_volts)
        stimulus = Stimulus(parts.input_volts[0], nudge.amperes[0], plan.frequency_hz)
        settling = 1
        if parts.farads is not None:
            settling = math.ceil(LEFT * slowest_seconds(parts.network, parts.farads) * plan.frequency_hz)
        analysis = _analysis(plan, settling, stem)
        segment = self._config.wires.segment_ohms
        text = resistive_deck(
            parts.network, stimulus, segment, parts.farads, analysis, f"{stem}_nudge.raw", tiles=self._config.tiles
        )
        unit = self._config.neurons.volts_per_unit
        return text, settling, f"* Node i of layer l, 1 the first after the inputs: n<l>_<i>; {unit:.12g} V a unit."

    def _settling_periods(self, circuit: NeuronCircuit, netlist: Netlist, free: FloatArray, frequency_hz: float) -> int:
        """Whole periods until a transient has died out."""
        if netlist.constants is None:
            return 1
        seconds = float(relaxation_seconds(circuit.equations(), netlist.constants, free)[0])
        if not math.isfinite(seconds):
            raise InputError("inputs: the free state of the held sample is not stable; expected another sample")
        return max(1, math.ceil(LEFT * seconds * frequency_hz))


def _one_sample(volts: FloatArray) -> None:
    if len(volts) != 1:
        raise InputError(f"inputs: expected one held sample, got {len(volts)}")


def _analysis(plan: SamplingPlan, settling: int, stem: str) -> list[str]:
    """Commands for the free state, and for the period that follows ``settling`` others."""
    period = 1.0 / plan.frequency_hz
    step = period / STEPS
    return [
        "op",
        f"write {stem}_free.raw",
        TRANSIENT,
        f"tran {step:.12g} {(settling + 1) * period:.12g} {settling * period:.12g} {step:.12g}",
    ]
