"""Networks of curved cells that nudges are fast for: against ngspice, the transient, equilibria and linear response."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ngspice_network import TRANSIENT, one_period, output_harmonics, random_cells, run_network, waveforms
from settling import settled_nudge
from test_spice_network import close, inputs

from emulators.config import EmulatorConfig
from emulators.networks.circuit import Parts
from emulators.networks.curved import CurvedNetwork
from emulators.networks.curved_circuit import CurvedCircuit
from emulators.networks.orbits import stable_orbits
from emulators.networks.small_signal import susceptibility
from emulators.networks.time_constants import TimeConstants
from emulators.spice import Netlist, Stimulus, deck
from emulators.substrate import EmulatedSubstrate
from substrate import load_experiment
from substrate.capabilities import Nudge, WriteRequest
from substrate.contract import Record
from substrate.demodulation import harmonics
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.gradient_check import check_gradient
from substrate.network import Network
from substrate.tones import SamplingPlan

TAU = 1e-4
WIRES = {"segment_ohms": 5.0, "source_ohms": 50.0, "sense_ohms": 20.0}
LAWS: dict[str, dict[str, Any]] = {
    "sinh": {"law": "sinh", "alpha": 4.0},
    "rectifying": {"law": "rectifying", "forward_alpha": 4.0, "reverse_alpha": 1.0},
    "series_sinh": {"law": "series_resistance", "series_ohms": 5e3, "memristor": {"law": "sinh", "alpha": 4.0}},
    "transistor": {"law": "transistor", "gate_overdrive_volts": 0.5, "transconductance": 1e-3},
}


def hertz(omega_tau: float) -> float:
    return omega_tau / (2 * pi * TAU)


def neurons(lag: float = 0.0, spread: float = 0.3) -> dict[str, Any]:
    amplifier = {"amplifier_bandwidth_hz": 1 / (2 * pi * lag * TAU)} if lag else {}
    return {"time_constant_seconds": TAU, "time_constant_spread": spread, "gain_spread": 0.1, **amplifier}


@contextmanager
def held(
    cells: dict[str, Any],
    batch: int = 3,
    feedback: Any = "separate",
    scale: float = 1.2,
    **sections: Any,
) -> Iterator[EmulatedSubstrate]:
    """A 3-4-2 network in its free state."""
    network, rng = Network((3, 4, 2), feedback=feedback), np.random.default_rng(3)
    section = {"backend": "emulator", "cells": cells, "neurons": neurons(), **sections}
    with EmulatedSubstrate(network, EmulatorConfig.model_validate(section), rng) as device:
        for name, siemens in random_cells(network, rng, scale).items():
            device.write_cells(WriteRequest(name, target_siemens=siemens))
        device.hold(np.stack([inputs(network, seed) for seed in range(batch)]))
        assert device.settle().settled.all()
        yield device


def amperes(device: EmulatedSubstrate, batch: int = 3, amplitude: float = 1.0) -> np.ndarray:
    out = np.zeros((batch, device.network.node_count))
    out[:, device.network.output.nodes] = amplitude * np.array([0.7, -0.5]) * device.scale.unit_amperes
    return out


def nudged(device: EmulatedSubstrate, omega_tau: float, amplitude: float = 1.0, samples: int = 32) -> Record:
    batch = len(device._held)
    return device.nudge(Nudge(amperes(device, batch, amplitude)), SamplingPlan(hertz(omega_tau), 3, samples, 1))


def circuit(device: EmulatedSubstrate) -> tuple[CurvedNetwork, TimeConstants, Parts]:
    assert isinstance(device._circuit, CurvedCircuit)
    parts = device._circuit.parts()
    assert parts.constants is not None
    return device._circuit.equations(), parts.constants, parts


def netlist(device: EmulatedSubstrate) -> Netlist:
    parts, config = circuit(device)[2], device._config
    return Netlist(
        device.network, parts.siemens, parts.neurons, parts.scale, config.wires, config.cells.cell(), parts.constants
    )


@pytest.mark.parametrize(
    ("law", "wires", "lag", "feedback"),
    [
        ("sinh", WIRES, 0.0, "separate"),
        ("sinh", WIRES, 0.5, "shared"),
        ("sinh", {}, 0.5, "separate"),
        ("rectifying", WIRES, 0.0, "separate"),
        ("series_sinh", {}, 0.0, "separate"),
        ("transistor", {}, 0.5, "shared"),
    ],
)
def test_periodic_state_is_ngspices(law: str, wires: dict[str, Any], lag: float, feedback: str, tmp_path: Path) -> None:
    """Harmonics 0..3 of every output, with unlike time constants, at omega tau about 0.5."""
    with held(LAWS[law], 1, feedback, wires=wires, neurons=neurons(lag)) as device:
        record = nudged(device, 0.5)
        assert record.settled.all()
        assert record.residual.max() <= 1e-10
        unit, volts = device.scale.volts_per_unit, inputs(device.network)
        stimulus = Stimulus(volts, amperes(device, 1)[0], hertz(0.5))
        text = deck(netlist(device), stimulus, [one_period(hertz(0.5))], options=TRANSIENT)
        answer = run_network(text, tmp_path)
        found = np.array(output_harmonics(device.network, answer, hertz(0.5), unit))
        expected = np.array(harmonics(record.volts[0].T / unit, 32, 3))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected[:, :, 1:]).max())


def test_small_signals_are_ngspices(tmp_path: Path) -> None:
    """Of cells behind wires, the amplifiers delayed."""
    with held(LAWS["sinh"], 1, wires=WIRES, neurons=neurons(0.3)) as device:
        network, constants, parts = circuit(device)
        stimulus = Stimulus(inputs(device.network), ac_amperes=np.eye(6)[4])
        answer = run_network(deck(netlist(device), stimulus, ["ac dec 5 10 1e5"], guess=parts.free[0]), tmp_path)
        chi = susceptibility(network, constants, parts.free, answer["frequency"].real)
        found = waveforms(device.network, answer, "output")
        close(found, chi[0, :, :, 4] / device.scale.unit_siemens, 1e-6)


@pytest.mark.parametrize(
    ("law", "wires", "lag", "omega_tau"),
    [
        ("sinh", {}, 0.0, 0.1),
        ("sinh", {}, 0.4, 1.0),
        ("rectifying", {}, 0.01, 1.0),
        ("sinh", WIRES, 0.4, 1.0),
        ("transistor", {}, 0.0, 1.0),
    ],
)
def test_it_is_what_the_transient_becomes(law: str, wires: dict[str, Any], lag: float, omega_tau: float) -> None:
    """Explicitly and, for amplifiers a hundred times faster than the nodes, by the implicit method."""
    with held(LAWS[law], wires=wires, neurons=neurons(lag), solver={"residual": 1e-9}) as device:
        found = nudged(device, omega_tau)
        assert found.settled.all()
        network, constants, parts = circuit(device)
        plan, unit = SamplingPlan(hertz(omega_tau), 3, 32, 1), device.scale.volts_per_unit
        peak, drive = amperes(device) / device.scale.unit_amperes, network.drive(parts.input_volts / unit)[0]
        run = settled_nudge(network, constants, parts.free, drive, peak, plan, 1e-8)
        assert run.settled.all()
        np.testing.assert_allclose(found.volts / unit, run.s, rtol=0, atol=1e-7)


def test_the_recorded_transient_becomes_the_periodic_state() -> None:
    records = []
    for settle_periods in (None, 0, 10):
        solver = {} if settle_periods is None else {"steady_state": "transient", "settle_periods": settle_periods}
        with held(LAWS["sinh"], 1, neurons=neurons(0.3), solver={"residual": 1e-9, **solver}) as device:
            records.append(nudged(device, 0.7).volts / device.scale.volts_per_unit)
    exact, early, late = records
    assert np.abs(early - exact).max() > 1e-2
    np.testing.assert_allclose(late, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("wires", [{}, WIRES], ids=["ideal", "wires"])
def test_slow_nudges_give_the_equilibria(wires: dict[str, Any]) -> None:
    """From below the limit to above it; what is left is the quadrature, in proportion to the frequency."""
    with held(LAWS["sinh"], wires=wires, neurons=neurons(spread=0.0)) as device:
        slow = nudged(device, 1e-6).volts / device.scale.volts_per_unit
        gaps = []
        for omega_tau in (0.16, 0.04):
            found = nudged(device, omega_tau)
            assert found.settled.all()
            fast = found.volts / device.scale.volts_per_unit
            gaps.append(np.abs(fast - slow).max())
            in_phase = [np.array(harmonics(s.swapaxes(1, 2), 32, 5)[0]) for s in (fast, slow)]
            np.testing.assert_allclose(*in_phase, rtol=0, atol=3 * omega_tau**2)
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("law", LAWS)
def test_small_nudges_give_the_susceptibility(law: str) -> None:
    with held(LAWS[law], wires=WIRES, neurons=neurons(0.5), solver={"residual": 1e-12}) as device:
        network, constants, parts = circuit(device)
        small = 1e-4
        cosine, sine = harmonics(nudged(device, 0.8, small).volts.swapaxes(1, 2), 32, 1)
        chi = susceptibility(network, constants, parts.free, np.array([hertz(0.8)]))[:, 0]
        expected = (chi @ (amperes(device) / device.scale.unit_siemens)[:, :, None])[:, :, 0]
        # s = Re(S exp(iwt)) has cosine amplitude Re S and sine amplitude -Im S; the error is of third order.
        np.testing.assert_allclose((cosine - 1j * sine)[..., 1] / small, expected, rtol=0, atol=2e-8)


def test_hardly_curved_cells_answer_as_matrices_do() -> None:
    """sinh(x)/x - 1 is 2e-7 at most for alpha v up to 1e-3; the other circuit knows nothing of cells."""
    curved: dict[str, Any] = {"law": "sinh", "alpha": 5e-3}
    answers = []
    for cells in (curved, {"law": "ohmic"}):
        with held(cells, wires=WIRES, neurons=neurons(0.5)) as device:
            answers.append(nudged(device, 0.7).volts / device.scale.volts_per_unit)
    np.testing.assert_allclose(*answers, rtol=0, atol=1e-6)


@pytest.mark.parametrize("summation", ["analog", "digital"])
@pytest.mark.parametrize("law", ["sinh", "ohmic"])
def test_tiles_whose_sums_are_not_rounded_change_nothing(law: str, summation: str) -> None:
    """Currents that join in a node, or ideal converters, without wires."""
    cells: dict[str, Any] = LAWS.get(law, {"law": law})
    with held(cells) as device:
        whole = nudged(device, 0.7).volts
    with held(cells, tiles={"rows": 2, "columns": 2, "summation": summation}) as device:
        tiled = nudged(device, 0.7)
    assert tiled.settled.all()
    np.testing.assert_allclose(tiled.volts, whole, rtol=0, atol=1e-10)


def test_rounded_sums_are_refused_at_such_frequencies() -> None:
    tiles = {"rows": 2, "columns": 2, "summation": "digital", "adc_bits": 20, "adc_range_amperes": 4e-5}
    with held({"law": "ohmic"}, tiles=tiles) as device:
        with pytest.raises(CapabilityError, match="frequency_hz"):
            nudged(device, 0.7)
        assert nudged(device, 1e-3).settled.all()
    with pytest.raises(InputError, match="no slope"), held({"law": "ohmic"}, tiles=tiles, neurons=neurons(0.3)):
        pass


def test_a_branch_that_is_lost_is_told() -> None:
    """Two neurons hold each other in one of two states: a nudge that turns them over is marked, a small one not."""
    network, rng = Network((1, 1, 1)), np.random.default_rng(0)
    section = {"backend": "emulator", "cells": {"law": "sinh", "alpha": 3.0}, "neurons": neurons(spread=0.0)}
    with EmulatedSubstrate(network, EmulatorConfig.model_validate(section), rng) as device:
        for coupling in network.arrays:
            pair = np.full((2, *coupling.shape), 2e-5)
            pair[0, 0] = 6e-5 if coupling.source.start >= 0 else 4e-5
            device.write_cells(WriteRequest(coupling.name, target_siemens=pair))
        device.hold(np.full((2, 1), 0.05))
        free = device.settle()
        assert free.settled.all()
        peak = np.array([[0.0, 0.05], [0.0, 3.0]]) * device.scale.unit_amperes
        record = device.nudge(Nudge(peak), SamplingPlan(hertz(0.05), 3, 32, 1))
    assert record.settled.tolist() == [True, False]
    assert free.volts[0].min() > 0.1
    assert record.volts[0].min() > 0.1
    assert record.volts[1].min() < -0.1


@pytest.mark.parametrize("omega_tau", [0.02, 2.0])
def test_weights_along_an_orbit_count_in_its_stability(omega_tau: float) -> None:
    """du/dt = (g(t) - 1) u along the equal mode of two nodes: stable while the mean of g is below 1, at any speed."""
    constants = TimeConstants.uniform(2, TAU)
    loop = np.array([[0.0, 1.0], [1.0, 0.0]])
    swing = 1.0 + 0.9 * np.cos(np.arange(16) * (2 * pi / 16))
    gains = np.array([0.9, 1.1, 0.9, 1.1])[:, None] * np.stack([np.ones(16), np.ones(16), swing, swing])
    verdicts = stable_orbits(gains[..., None, None] * loop, constants, np.ones((4, 16, 2)), omega_tau / TAU)
    assert verdicts.tolist() == [True, False, True, False]


def test_gradients_at_omega_tau_one_half_are_extrapolated() -> None:
    overrides = [
        "substrate.cells.law=sinh",
        "substrate.cells.alpha=3.0",
        "substrate.wires.segment_ohms=5",
        f"substrate.neurons.time_constant_seconds={TAU}",
        f"nudge.frequency_hz={hertz(0.5)}",
    ]
    one, three = (
        check_gradient(assemble(load_experiment("xor", [*overrides, f"nudge.richardson={count}"], 0))).total
        for count in (1, 3)
    )
    # Measured: .31 and .0092.
    assert one.relative_error > 0.2
    assert three.relative_error < 0.02
