"""The emulated device behind the contract: arrays, neurons and converters joined into a network that settles."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

import numpy as np
from pydantic import ValidationError

from emulators.aging import Surroundings
from emulators.arrays import DifferentialArray
from emulators.config import DiodesConfig, EmulatorConfig
from emulators.converters import Adc, Dac
from emulators.idle_keys import EmulatorIdleKeys
from emulators.memristors.catalogue import PresetCatalogue
from emulators.memristors.updates import PulsedLaw, UpdateLaw, update_from_config
from emulators.networks.circuit import Circuit, HolomorphicCircuit, NudgedStates, SteppedCircuit
from emulators.networks.current_mode_circuit import CurrentModeCircuit
from emulators.networks.curved_circuit import CurvedCircuit
from emulators.networks.dynamics import Dynamics
from emulators.networks.equilibrium import Tolerance
from emulators.networks.feedforward_circuit import FeedforwardCircuit
from emulators.networks.motion import Mover
from emulators.networks.resistive_circuit import ResistiveCircuit, make_diodes, refuse_foreign
from emulators.neurons import Neurons
from emulators.operations import Operations
from emulators.spice_export import SpiceExport
from substrate.arrays import BoolArray, FloatArray
from substrate.capabilities import Capabilities, HeldNudge, Limits, Nudge, WriteRequest
from substrate.contract import Direction, HeldStates, Record, Scale, Snapshot, Substrate, WriteReport
from substrate.errors import InputError
from substrate.network import Network
from substrate.outlay import Demand, Outlay, Pace
from substrate.registry import Backend
from substrate.services import Oracle, StateStore, Stepper
from substrate.tones import SamplingPlan
from substrate.validation import describe


@final
class EmulatedSubstrate(Substrate):
    """A network on emulated crossbars.

    Args:
        network: topology.
        config: the device, with all its non-idealities.
        rng: its children draw the devices, the neurons and the noise, each concern its own.
    """

    def __init__(self, network: Network, config: EmulatorConfig, rng: np.random.Generator) -> None:
        self._network = network
        self._config = config
        ways = {backward: config.of(backward=backward) for backward in (False, True)}
        laws = {backward: update_from_config(one.update) for backward, one in ways.items()}
        array_rngs = rng.spawn(len(network.arrays))
        neuron_rng, self._noise_rng = rng.spawn(2)
        operations_rng, *aging_rngs = rng.spawn(1 + len(network.arrays))
        (step_rng,) = rng.spawn(1)
        self._arrays = {
            coupling.name: DifferentialArray(
                coupling.shape,
                ways[coupling.backward].cells,
                ways[coupling.backward].wires,
                laws[coupling.backward],
                array_rng,
                coupling.polarities,
                config.tiles,
                surroundings=Surroundings(config.noise, config.temperature, aging_rng),
            )
            for coupling, array_rng, aging_rng in zip(network.arrays, array_rngs, aging_rngs, strict=True)
        }
        neurons = config.neurons
        converters = config.converters
        self._dac = Dac(converters.dac_bits, converters.dac_range_volts)
        self._adc = Adc(converters.adc_bits, converters.adc_range_volts, converters.adc_noise_volts)
        self._scale = Scale(neurons.volts_per_unit, config.cells.unit_siemens)
        self._mover = Mover(config.solver, neurons.noise, self._scale, step_rng)
        self._circuit, highest_frequency_hz = self._make_circuit(neuron_rng)
        if self._mover.sweeping and not isinstance(self._circuit, CurrentModeCircuit | ResistiveCircuit):
            raise InputError(
                "substrate.solver.relaxation: sweeps are steps of amplifier neurons on arrays whose currents are "
                "proportional to voltages, in layers that alternate; expected equilibrium"
            )
        self._held = np.zeros((0, network.input_size))
        self._has_settled = False
        self._operations = Operations(network, self._arrays, config, self._scale, operations_rng)
        self.ledger = self._operations.ledger
        paths = tuple(one.name for one in network.arrays if one.backward and config.feedback_paths is not None)
        others = tuple(one.name for one in network.arrays if one.name not in paths)
        limits = config.limits
        holomorphic = isinstance(self._circuit, HolomorphicCircuit) and self._circuit.holomorphic
        capabilities = Capabilities(
            # A converter that clips would put out another voltage than was asked for: what it cannot do is refused.
            limits=Limits(
                min(limits.read_volts, converters.dac_range_volts) if converters.dac_bits else limits.read_volts,
                limits.write_volts,
                limits.current_amperes,
            ),
            highest_frequency_hz=highest_frequency_hz,
            simultaneous_sampling=True,
            complex_nudges=holomorphic,
            node_nudges=True,
            # The nodes of a resistive network are no virtual grounds that a product could be read at.
            forward_products=not network.resistive,
            exact_adjoint=True,
            state_snapshots=True,
            feedback_nudges=holomorphic or network.resistive,
            cross_feedback=holomorphic,
            stepping=isinstance(self._circuit, SteppedCircuit) and self._circuit.steps,
            transposed_products=not network.resistive,
            reading_step_volts=self._adc.step_volts,
            **self._of_cells(others, laws[False]),
        )
        if paths and (own := replace(capabilities, **self._of_cells(paths, laws[True]))) != capabilities:
            capabilities = replace(capabilities, other_arrays=dict.fromkeys(paths, own))
        self._capabilities = capabilities
        operation = config.operation
        kinds = [(ways[backward], laws[backward]) for backward in ((False, True) if paths else (False,))]
        self.outlay = Outlay(
            demands=tuple(
                Demand("largest programming pulse", volts, "V", limits.write_volts)
                for volts in sorted(one.pulse_volts for one, law in kinds if law.pulsed)[-1:]
            ),
            pace=Pace(
                state_seconds=operation.settle_seconds + operation.reading_seconds,
                record_seconds=operation.settle_seconds,
                product_seconds=operation.reading_seconds,
                row_seconds=operation.reading_seconds,
                # Of a cell that is not formed yet, the pulse that tries to.
                write_seconds=operation.pulse_seconds if any(one.cells.forming for one, _ in kinds) else 0.0,
                pulse_seconds=operation.pulse_seconds,
            ),
        )
        self._oracle = _ExactResponse(self)
        if isinstance(self._circuit, SteppedCircuit) and self._circuit.steps:
            self.stepper = _Steps(self, self._circuit)
        self._states = _Memory(self)
        self.export = SpiceExport(network, config, self._circuit)

    def _of_cells(self, names: tuple[str, ...], law: UpdateLaw) -> dict[str, Any]:
        """What can be done with the cells of arrays that are alike."""
        arrays = [self._arrays[name] for name in names]
        devices = arrays[0].devices
        steps = devices.nominal_step_siemens if law.pulsed else (0.0, 0.0)
        return {
            "conductance_window_siemens": devices.window_siemens,
            "step_siemens": (float(steps[0]), float(steps[1])),
            "pulses": law.pulsed,
            "continuous_writing": not law.pulsed,
            "resets": isinstance(law, PulsedLaw) and law.one_sided,
            "outer_product_writes": all(array.takes_outer_products for array in arrays),
        }

    def _make_circuit(self, rng: np.random.Generator) -> tuple[Circuit, float]:
        """The circuit of the network's family, and up to which frequency; ``rng`` draws the mismatch of its nodes."""
        network, neurons, residual = self._network, self._config.neurons, self._config.solver.residual
        if network.resistive:
            offsets = neurons.offset_spread * neurons.volts_per_unit * rng.standard_normal(network.node_count)
            diodes = make_diodes(network, self._config.diodes or DiodesConfig(), offsets)
            dynamics = self._dynamics(rng)
            if dynamics.constants is None or not neurons.node_farads + neurons.line_farads:
                dynamics.refuse_fast("resistive networks without neurons.node_farads")
                passive = ResistiveCircuit(network, self._arrays, diodes, self._scale, self._config.solver)
                return passive, dynamics.quasi_static_hz
            dynamics.refuse_delays("resistive networks")
            farads = dynamics.constants.node_seconds * self._scale.unit_siemens
            loaded = ResistiveCircuit(network, self._arrays, diodes, self._scale, self._config.solver, farads)
            return loaded, dynamics.highest_frequency_hz
        mismatched = Neurons.mismatched(
            network.activation,
            network.node_count,
            rng,
            neurons.gain_spread,
            neurons.offset_spread,
            neurons.saturation_spread,
            _linear_nodes(network),
        )
        if network.feedforward:
            dynamics = self._dynamics(rng)
            dynamics.refuse_fast("feedforward networks")
            return FeedforwardCircuit(network, self._arrays, mismatched, self._scale), dynamics.quasi_static_hz
        directions: tuple[Direction, ...] = ("forward", "backward") if network.feedback == "shared" else ("forward",)
        matrices = all(array.is_matrix(direction) for array in self._arrays.values() for direction in directions)
        tolerance = Tolerance(residual=residual)
        dynamics = self._dynamics(rng)
        if matrices and network.alternating:
            circuit = CurrentModeCircuit(
                network, self._arrays, mismatched, self._scale, tolerance, dynamics, self._mover
            )
            return circuit, dynamics.highest_frequency_hz
        if network.convolutional:
            raise InputError(
                "network.layers: convolutions that layers feed back to need cells whose currents are proportional to "
                "voltages, tiles whose sums are not digitised and layers that alternate; expected family feedforward"
            )
        curved = CurvedCircuit(network, self._arrays, mismatched, self._scale, tolerance, dynamics, self._mover)
        rounded = any(array.rounding_amperes(way) for array in self._arrays.values() for way in directions)
        if not rounded:
            return curved, dynamics.highest_frequency_hz
        dynamics.refuse_fast("tiles with converters (their steps have no slope; tiles.summation: analog has dynamics)")
        return curved, dynamics.quasi_static_hz

    def _dynamics(self, rng: np.random.Generator) -> Dynamics:
        count, config = self._network.node_count, self._config
        return Dynamics.from_config(config.neurons, config.solver, self._scale.unit_siemens, count, rng)

    @property
    def capabilities(self) -> Capabilities:
        """What the emulated chip can do and survive."""
        return self._capabilities

    @property
    def network(self) -> Network:
        """The topology."""
        return self._network

    @property
    def scale(self) -> Scale:
        """Volts and siemens of a unit."""
        return self._scale

    @property
    def circuit(self) -> Circuit:
        """The circuit itself: its states pass no converter, take no time and are not booked."""
        return self._circuit

    @property
    def arrays(self) -> Mapping[str, DifferentialArray]:
        """The arrays by the names of their couplings; whoever moves their cells calls ``age`` then."""
        return self._arrays

    @property
    def oracle(self) -> Oracle:
        """The exact linear response."""
        return self._oracle

    @property
    def states(self) -> StateStore:
        """Snapshots of cells and random generators."""
        return self._states

    def _open(self) -> None:
        self._safe_state()

    def _safe_state(self) -> None:
        self._held = np.zeros((0, self._network.input_size))
        self._has_settled = False
        self._circuit.release()

    def _close(self) -> None:
        self._circuit.cells_changed()

    def _hold(self, volts: FloatArray) -> None:
        # A copy: the caller's array may change while it is held.
        self._held = self._dac.convert(volts).copy()
        self._has_settled = False
        self._circuit.hold(self._held)

    def wait(self, seconds: float) -> None:
        """Let time pass on the device's clock, nothing being driven: retention, fluctuations, static power.

        Raises:
            InputError: not open, seconds that are negative or not finite.
        """
        self._require_open()
        self._operations.alone.wait(seconds)

    def age(self) -> bool:
        """Let the cells show what time and readings have done to them; whether the circuit changed by it."""
        aged = self._operations.alone.age()
        if aged:
            self._circuit.cells_changed()
        return aged

    def _settle(self) -> Record:
        self.age()
        found = self._circuit.settle()
        self._has_settled = True
        volts = self._operations.settled(self._held, found.volts[:, None, :])
        readings, saturated = self._adc.convert(volts, self._noise_rng)
        return Record(readings, 0.0, 0.0, saturated, found.settled, found.residual)

    def _nudge(self, nudge: Nudge, plan: SamplingPlan) -> Record:
        if self.age() and self._has_settled:
            # The cells moved since the free phase: the state that the nudge starts from moved with them.
            self._circuit.settle()
        period = self._circuit.nudge(nudge.amperes, plan)
        volts = self._operations.recorded(self._held, period.volts, plan)
        readings, saturated = self._adc.convert(volts, self._noise_rng)
        return Record(readings, plan.rate_hz, 0.0, saturated, period.settled, period.residual, period.kinked)

    def _settle_nudged(self, nudge: HeldNudge) -> HeldStates:
        if self.age() and self._has_settled:
            # The cells moved since the free phase: the state that the nudge starts from moved with them.
            self._circuit.settle()
        return self._read(self._circuit.settle_nudged(nudge))

    def _read(self, found: NudgedStates) -> HeldStates:
        """Readings of real states, one after another; complex ones take no time and cost nothing: no device has any."""
        if np.iscomplexobj(found.volts):
            return HeldStates(found.volts, np.zeros_like(found.settled), found.settled, found.residual)
        volts = self._operations.settled(self._held, np.asarray(found.volts))
        readings, saturated = self._adc.convert(volts.reshape(-1, 1, volts.shape[2]), self._noise_rng)
        return HeldStates(
            readings.reshape(volts.shape), saturated.reshape(found.settled.shape), found.settled, found.residual
        )

    def _products(self, coupling: str, volts: FloatArray, direction: Direction) -> FloatArray:
        held = self._dac.convert(volts)
        self._operations.alone.age((coupling,))
        amperes = self._arrays[coupling].read(held, direction).amperes
        return self._operations.alone.products(coupling, held, amperes, direction)

    def _read_cells(self, coupling: str) -> FloatArray:
        return self._operations.alone.cells(coupling)

    def _write_cells(self, request: WriteRequest) -> WriteReport:
        report = self._operations.alone.write(request)
        self._has_settled = False
        self._circuit.cells_changed()
        return report


def _linear_nodes(network: Network) -> BoolArray | None:
    """The outputs, where they are linear and the others are not."""
    if not network.linear_outputs:
        return None
    linear = np.zeros(network.node_count, dtype=np.bool_)
    linear[network.output.nodes] = True
    return linear


@final
class _ExactResponse(Oracle):
    def __init__(self, device: EmulatedSubstrate) -> None:
        self._device = device

    def adjoint(self, values: FloatArray, steps: int | None = None) -> FloatArray:
        return self._device._circuit.adjoint(values, steps)


@final
class _Steps(Stepper):
    def __init__(self, device: EmulatedSubstrate, circuit: SteppedCircuit) -> None:
        self._device = device
        self._circuit = circuit

    def evolve(self, nudge: HeldNudge | None, steps: int, time_constants: float, every: int) -> HeldStates:
        self._device.age()
        return self._device._read(self._circuit.evolve(nudge, steps, time_constants, every))

    def rest(self) -> None:
        self._circuit.rest()


@final
class _Memory(StateStore):
    def __init__(self, device: EmulatedSubstrate) -> None:
        self._device = device

    def snapshot(self) -> Snapshot:
        device = self._device
        return {
            "arrays": {name: array.snapshot() for name, array in device._arrays.items()},
            "noise": device._noise_rng.bit_generator.state,
            "operations": device._operations.snapshot(),
            "mover": device._mover.snapshot(),
        }

    def restore(self, snapshot: Snapshot) -> None:
        device = self._device
        for name, array in device._arrays.items():
            array.restore(snapshot["arrays"][name])
        device._noise_rng.bit_generator.state = snapshot["noise"]
        device._operations.restore(snapshot["operations"])
        device._mover.restore(snapshot["mover"])
        device._circuit.cells_changed()
        device._safe_state()


@final
class EmulatorBackend(Backend):
    """Builds emulated substrates from the ``substrate`` section of an experiment file.

    Attributes:
        section_model: the section.
        devices: the presets of ``update``.
        idle_keys: those of ``EmulatorConfig``.
    """

    section_model = EmulatorConfig
    devices = PresetCatalogue()
    idle_keys = EmulatorIdleKeys()

    @property
    def summary(self) -> str:
        """One line."""
        return "circuit-level emulator of memristive crossbars and amplifier neurons"

    def resolve(self, section: Mapping[str, Any], network: Network) -> dict[str, Any]:
        """Check the section and fill in defaults."""
        return self._parse(section, network).model_dump(mode="json")

    def build(self, section: Mapping[str, Any], network: Network, rng: np.random.Generator) -> EmulatedSubstrate:
        """The emulated device."""
        return EmulatedSubstrate(network, self._parse(section, network), rng)

    def _parse(self, section: Mapping[str, Any], network: Network) -> EmulatorConfig:
        try:
            config = EmulatorConfig.model_validate(section)
        except ValidationError as error:
            raise InputError(describe(error, "substrate", model=EmulatorConfig)) from error
        update_from_config(config.update, "substrate.update")
        if config.feedback_paths is not None:
            behind = config.of(backward=True)
            law = update_from_config(behind.update, "substrate.feedback_paths.update")
            if behind.cells.disturb is not None and not law.pulsed:
                raise InputError(
                    "substrate.feedback_paths.cells.disturb: that of substrate.cells where cells are not given; "
                    f"expected none beside an update law without pulses, got {law.law}"
                )
        refuse_foreign(config, network)
        return config


backend = EmulatorBackend()
"""The entry point."""
