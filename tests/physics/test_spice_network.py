"""Networks against ngspice running the exported circuit: free states, periodic states, susceptibilities."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ngspice_network import (
    TAU,
    TRANSIENT,
    equations,
    one_period,
    output_harmonics,
    random_cells,
    random_netlist,
    run_network,
    waveforms,
)

from emulators.config import EmulatorConfig, WiresConfig
from emulators.crossbar import Crossbar
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.memristors.rectifying import RectifyingCell
from emulators.memristors.sinh import SinhCell
from emulators.memristors.transistor import SeriesResistanceCell, TransistorCell
from emulators.networks.equilibrium import Tolerance, settle
from emulators.networks.periodic import nudged_period
from emulators.networks.small_signal import susceptibility
from emulators.networks.time_constants import TimeConstants
from emulators.neurons import Neurons
from emulators.spice import Netlist, Stimulus, deck
from emulators.spice_arrays import cell_elements
from emulators.substrate import EmulatedSubstrate
from substrate.capabilities import WriteRequest
from substrate.demodulation import harmonics
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.tones import SamplingPlan

IDEAL = WiresConfig()
WIRES = WiresConfig(segment_ohms=5.0, source_ohms=50.0, sense_ohms=20.0)
SWITCHED = pytest.mark.parametrize("wires", [IDEAL, WIRES], ids=["ideal", "wires"])


def inputs(network: Network, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.2, 0.2, network.input_size)


def close(found: np.ndarray, expected: np.ndarray, relative: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * np.abs(expected).max())


@pytest.mark.parametrize("activation", ["tanh", "logistic", "soft_rectified"])
@pytest.mark.parametrize("feedback", ["separate", "shared"])
@SWITCHED
def test_free_state_is_ngspices(activation: str, feedback: str, wires: WiresConfig, tmp_path: Path) -> None:
    netlist = random_netlist(Network((3, 5, 4, 2), activation, feedback), 1, wires, scale=1.0)
    volts = inputs(netlist.network)
    network, drive = equations(netlist, volts)
    free = settle(network, np.zeros_like(drive), drive, Tolerance())
    assert free.settled.all()
    answer = run_network(deck(netlist, Stimulus(volts)), tmp_path)
    unit = netlist.scale.volts_per_unit
    close(waveforms(netlist.network, answer, "state")[0], free.u[0] * unit, 1e-6)
    close(waveforms(netlist.network, answer, "output")[0], network.activity(free.u)[0] * unit, 1e-6)


@SWITCHED
@pytest.mark.parametrize("feedback", ["separate", "shared"])
def test_what_an_emulated_device_reads_is_ngspices(feedback: str, wires: WiresConfig, tmp_path: Path) -> None:
    network, rng = Network((3, 4, 2), feedback=feedback), np.random.default_rng(2)
    config = EmulatorConfig(backend="emulator", wires=wires)
    volts = inputs(network)
    with EmulatedSubstrate(network, config, rng) as device:
        for name, cells in random_cells(network, rng, 1.0).items():
            device.write_cells(WriteRequest(name, target_siemens=cells))
        device.hold(volts[None])
        record = device.settle()
        siemens = {coupling.name: device.read_cells(coupling.name) for coupling in network.arrays}
        scale = device.scale
    assert record.settled.all()
    neurons = Neurons.mismatched(network.activation, network.node_count, rng)
    answer = run_network(deck(Netlist(network, siemens, neurons, scale, wires), Stimulus(volts)), tmp_path)
    close(waveforms(network, answer, "output")[0], record.volts[0, 0], 1e-6)


@pytest.mark.parametrize("lag", [0.0, 0.5], ids=["immediate", "delayed"])
@SWITCHED
def test_periodic_state_is_ngspices(wires: WiresConfig, lag: float, tmp_path: Path) -> None:
    """Harmonics 0..3 of every output, with unlike time constants, at omega tau about 0.5."""
    netlist = random_netlist(Network((3, 4, 2)), 3, wires, lag)
    volts = inputs(netlist.network)
    network, drive = equations(netlist, volts)
    free = settle(network, np.zeros_like(drive), drive, Tolerance())
    plan = SamplingPlan(0.5 / (2 * np.pi * TAU), 3, 32, 1)
    nudge = np.zeros((1, 6))
    nudge[0, 4:] = 0.7, -0.5
    response = nudged_period(network, netlist.constants, free.u, drive, nudge, plan, Tolerance())
    assert response.unbroken.all()
    stimulus = Stimulus(volts, nudge[0] * netlist.scale.unit_amperes, plan.frequency_hz)
    answer = run_network(deck(netlist, stimulus, [one_period(plan.frequency_hz)], options=TRANSIENT), tmp_path)
    found = output_harmonics(netlist.network, answer, plan.frequency_hz, netlist.scale.volts_per_unit)
    expected = np.array(harmonics(response.s[0].T, 32, 3))
    np.testing.assert_allclose(np.array(found), expected, rtol=0, atol=1e-4 * np.abs(expected[:, :, 1:]).max())


@pytest.mark.parametrize("lag", [0.0, 0.3], ids=["immediate", "delayed"])
def test_susceptibility_is_ngspices(lag: float, tmp_path: Path) -> None:
    netlist = random_netlist(Network((3, 4, 2)), 6, IDEAL, lag, scale=1.5)
    volts = inputs(netlist.network)
    network, drive = equations(netlist, volts)
    free = settle(network, np.zeros_like(drive), drive, Tolerance())
    source = 4
    answer = run_network(deck(netlist, Stimulus(volts, ac_amperes=np.eye(6)[source]), ["ac dec 5 10 1e5"]), tmp_path)
    chi = susceptibility(network, netlist.constants, free.u, answer["frequency"].real)
    close(waveforms(netlist.network, answer, "output"), chi[0, :, :, source] / netlist.scale.unit_siemens, 1e-6)


@pytest.mark.parametrize(
    "law",
    [
        OhmicCell(),
        SinhCell(4.0),
        RectifyingCell(6.0, 1.5),
        SeriesResistanceCell(2e4, SinhCell(3.0)),
        SeriesResistanceCell(0.0),
        TransistorCell(0.6, 2e-4, 0.05),
    ],
    ids=lambda law: type(law).__name__,
)
def test_cells_are_ngspices(law: CellLaw, tmp_path: Path) -> None:
    """One layer: its node states are the currents of two crossbars."""
    netlist = dataclasses.replace(random_netlist(Network((4, 3)), 9, WIRES), cell=law)
    volts = inputs(netlist.network)
    answer = run_network(deck(netlist, Stimulus(volts)), tmp_path)
    lines = np.append(volts, netlist.scale.volts_per_unit)
    cells = netlist.siemens["input-output"]
    positive, negative = (Crossbar(half, 5.0, 5.0, 50.0, 20.0, cell=law).read(lines) for half in cells)
    expected = (positive - negative) / netlist.scale.unit_siemens
    close(waveforms(netlist.network, answer, "state")[0], expected, 1e-6)


def test_guess_decides_between_equilibria(tmp_path: Path) -> None:
    """Two neurons that excite each other by more than their leak have three equilibria, the outer ones stable."""
    network = Network((1, 1, 1))
    cells = {coupling.name: np.full((2, *coupling.shape), 1e-6) for coupling in network.arrays}
    cells["hidden1-output"][0, 0] = cells["output-hidden1"][0, 0] = 5e-5
    whole = dataclasses.replace(random_netlist(network, 0, IDEAL), siemens=cells)
    for sign in (1.0, -1.0):
        text = deck(whole, Stimulus(np.zeros(1)), guess=np.full(2, 2.0 * sign))
        assert np.all(sign * waveforms(network, run_network(text, tmp_path), "output") > 0.1)


def test_bad_circuits_are_refused() -> None:
    whole = random_netlist(Network((2, 3, 2)), 0, IDEAL)
    first = whole.siemens["input-hidden1"]
    with pytest.raises(CapabilityError, match="resistive"):
        dataclasses.replace(whole, network=Network((4, 3, 2), "rectified", "shared", family="resistive"))
    with pytest.raises(InputError, match="hidden1-output"):
        dataclasses.replace(whole, siemens={"input-hidden1": first})
    with pytest.raises(InputError, match=r"siemens\['input-hidden1'\]: expected shape"):
        dataclasses.replace(whole, siemens={**whole.siemens, "input-hidden1": np.ones((2, 2, 3))})
    with pytest.raises(InputError, match=">= 0"):
        dataclasses.replace(whole, siemens={**whole.siemens, "input-hidden1": -first})
    with pytest.raises(InputError, match="5 nodes"):
        dataclasses.replace(whole, constants=TimeConstants.uniform(4, 1e-3))
    with pytest.raises(InputError, match="input_volts"):
        deck(whole, Stimulus(np.zeros(3)))
    with pytest.raises(InputError, match="nudge"):
        deck(whole, Stimulus(np.zeros(2), np.zeros(4)))
    with pytest.raises(InputError, match="frequency_hz"):
        deck(whole, Stimulus(np.zeros(2), frequency_hz=0.0))


def test_a_law_without_a_form_is_refused() -> None:
    class Unknown(CellLaw):
        def linear_conductances(self, conductances: np.ndarray) -> None:
            return None

        def evaluate(self, *arrays: np.ndarray) -> None:
            raise NotImplementedError

    with pytest.raises(CapabilityError, match="Unknown"):
        cell_elements(Unknown(), "c", "a", "b", 1e-5)
