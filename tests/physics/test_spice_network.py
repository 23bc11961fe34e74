"""Emulated networks against ngspice running the exported circuit: free states, periodic states, susceptibilities."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ngspice_network import circuit, device, run_network

from emulators.crossbar import Crossbar
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.memristors.rectifying import RectifyingCell
from emulators.memristors.sinh import SinhCell
from emulators.memristors.transistor import SeriesResistanceCell, TransistorCell
from emulators.networks.equilibrium import Tolerance
from emulators.networks.periodic import nudged_period
from emulators.networks.small_signal import susceptibility
from emulators.networks.time_constants import TimeConstants
from emulators.spice import Stimulus, cell_elements, deck, neuron_nodes
from emulators.substrate import EmulatedSubstrate
from substrate.capabilities import WriteRequest
from substrate.demodulation import harmonics
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.tones import SamplingPlan

WIRES = {"segment_ohms": 5.0, "source_ohms": 50.0, "sense_ohms": 20.0}
TAU = 1e-4


def held(emulated: EmulatedSubstrate, seed: int) -> np.ndarray:
    """Random inputs, held and settled; (input,) volts."""
    volts = np.random.default_rng(seed).uniform(-0.2, 0.2, emulated.network.input_size)
    emulated.hold(volts[None])
    assert emulated.settle().settled.all()
    return volts


def columns(emulated: EmulatedSubstrate, answer: dict[str, np.ndarray], which: str) -> np.ndarray:
    return np.array([answer[f"v({getattr(node, which)})"] for node in neuron_nodes(emulated.network)]).T


@pytest.mark.parametrize("activation", ["tanh", "logistic", "soft_rectified"])
@pytest.mark.parametrize("feedback", ["separate", "shared"])
@pytest.mark.parametrize("wires", [{}, WIRES], ids=["ideal", "wires"])
def test_free_state_is_ngspices(activation: str, feedback: str, wires: dict, tmp_path: Path) -> None:
    emulated = device(Network((3, 5, 4, 2), activation, feedback), seed=1, wires=wires)
    volts = held(emulated, 2)
    answer = run_network(deck(circuit(emulated), Stimulus(volts)), tmp_path)
    expected = emulated._free[0] * emulated.scale.volts_per_unit
    found = columns(emulated, answer, "state")[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(
        columns(emulated, answer, "output")[0], emulated.settle().volts[0, 0], rtol=0, atol=1e-6 * 0.2
    )


@pytest.mark.parametrize("lag", [0.0, 0.5], ids=["immediate", "delayed"])
@pytest.mark.parametrize("wires", [{}, WIRES], ids=["ideal", "wires"])
def test_periodic_state_is_ngspices(wires: dict, lag: float, tmp_path: Path) -> None:
    """Harmonics 0..3 of every output, with unlike time constants, at omega tau about 0.5."""
    emulated = device(Network((3, 4, 2)), seed=3, scale=1.2, wires=wires)
    volts = held(emulated, 4)
    rng = np.random.default_rng(5)
    constants = TimeConstants(TAU * rng.uniform(0.5, 2.0, 6), lag * TAU * rng.uniform(0.5, 2.0, 6))
    plan = SamplingPlan(0.5 / (2 * np.pi * TAU), 3, 32, 1)
    nudge = np.zeros((1, 6))
    nudge[0, 4:] = 0.7, -0.5
    response = nudged_period(
        emulated._solved_network(), constants, emulated._free, emulated._held_drive(), nudge, plan, Tolerance()
    )
    assert response.unbroken.all()

    period, settling = 1 / plan.frequency_hz, 6
    stimulus = Stimulus(volts, nudge[0] * emulated.scale.unit_amperes, plan.frequency_hz)
    begin, end, step = settling * period, (settling + 1) * period, period / 1000
    text = deck(
        circuit(emulated, constants),
        stimulus,
        [f"tran {step:.9g} {end:.9g} {begin:.9g} {step:.9g}"],
        options="reltol=1e-6 abstol=1e-15 vntol=1e-11 gmin=1e-18",
    )
    answer = run_network(text, tmp_path)
    outputs = at_phases(
        answer["time"], columns(emulated, answer, "output"), begin + period * plan.phases() / (2 * np.pi)
    )
    found = np.array(harmonics(outputs.T, 32, 3)) / emulated.scale.volts_per_unit
    expected = np.array(harmonics(response.s[0].T, 32, 3))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected[:, :, 1:]).max())


def at_phases(times: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    from scipy.interpolate import CubicSpline

    return np.asarray(CubicSpline(times, values)(wanted))


@pytest.mark.parametrize("lag", [0.0, 0.3], ids=["immediate", "delayed"])
def test_susceptibility_is_ngspices(lag: float, tmp_path: Path) -> None:
    emulated = device(Network((3, 4, 2)), seed=6, scale=1.5)
    volts = held(emulated, 7)
    rng = np.random.default_rng(8)
    constants = TimeConstants(TAU * rng.uniform(0.5, 2.0, 6), lag * TAU * rng.uniform(0.5, 2.0, 6))
    source = 4
    stimulus = Stimulus(volts, ac_amperes=np.eye(6)[source])
    answer = run_network(deck(circuit(emulated, constants), stimulus, ["ac dec 5 10 1e5"]), tmp_path)
    chi = susceptibility(emulated._solved_network(), constants, emulated._free, answer["frequency"].real)
    expected = chi[0, :, :, source] / emulated.scale.unit_siemens
    np.testing.assert_allclose(
        columns(emulated, answer, "output"), expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max()
    )


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
    emulated = device(Network((4, 3)), seed=9, wires=WIRES)
    volts = held(emulated, 10)
    answer = run_network(deck(dataclasses.replace(circuit(emulated), cell=law), Stimulus(volts)), tmp_path)
    lines = np.append(volts, emulated.scale.volts_per_unit)
    positive, negative = (
        Crossbar(cells, 5.0, 5.0, 50.0, 20.0, cell=law).read(lines) for cells in emulated.read_cells("input-output")
    )
    expected = (positive - negative) / emulated.scale.unit_siemens
    np.testing.assert_allclose(
        columns(emulated, answer, "state")[0], expected, rtol=0, atol=1e-6 * np.abs(expected).max()
    )


def test_guess_decides_between_equilibria(tmp_path: Path) -> None:
    """Two neurons that excite each other by more than their leak have three equilibria, the outer ones stable."""
    emulated = device(Network((1, 1, 1)), seed=0, neurons={})
    for name, rows in (("input-hidden1", 2), ("hidden1-output", 2), ("output-hidden1", 1)):
        cells = np.full((2, rows, 1), 1e-6)
        if name != "input-hidden1":
            cells[0, 0] = 5e-5
        emulated.write_cells(WriteRequest(name, target_siemens=cells))
    for sign in (1.0, -1.0):
        text = deck(circuit(emulated), Stimulus(np.zeros(1)), guess=np.full(2, 2.0 * sign))
        assert np.all(sign * columns(emulated, run_network(text, tmp_path), "output") > 0.1)


def test_bad_circuits_are_refused() -> None:
    emulated = device(Network((2, 3, 2)), seed=0)
    whole = circuit(emulated)
    with pytest.raises(InputError, match="hidden1-output"):
        dataclasses.replace(whole, siemens={"input-hidden1": whole.siemens["input-hidden1"]})
    with pytest.raises(InputError, match=r"siemens\['input-hidden1'\]: expected shape"):
        dataclasses.replace(whole, siemens={**whole.siemens, "input-hidden1": np.ones((2, 2, 3))})
    with pytest.raises(InputError, match=">= 0"):
        dataclasses.replace(whole, siemens={**whole.siemens, "input-hidden1": -whole.siemens["input-hidden1"]})
    with pytest.raises(InputError, match="5 nodes"):
        dataclasses.replace(whole, constants=TimeConstants.uniform(4, 1e-3))
    with pytest.raises(InputError, match="input_volts"):
        deck(whole, Stimulus(np.zeros(3)))
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
