"""Resistive networks with capacitance: harmonic balance against the transient, limits, and ngspice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ngspice_network import TRANSIENT, one_period, run_network
from scipy.interpolate import CubicSpline
from test_resistive import doubled, make_network

from emulators.diodes import ShockleyDiodes
from emulators.networks.resistive import ResistiveNetwork
from emulators.networks.resistive_dynamics import periodic_state, slowest_seconds, susceptibility, transient
from emulators.networks.resistive_response import nudged_period, response
from emulators.networks.resistive_steady import SteadyState, SteadyTolerance, settle
from emulators.resistive_spice import resistive_deck, resistive_nodes
from emulators.spice import Stimulus
from emulators.substrate import backend
from substrate.capabilities import Nudge
from substrate.demodulation import harmonics
from substrate.errors import InputError
from substrate.network import Network
from substrate.tones import SamplingPlan

SIZES = (6, 4, 3)
TIGHT = SteadyTolerance(1e-13)
HARMONICS = 3
GAINS = [(1.0, 1.0), (2.0, 4.0)]


class Case:
    """A 6-4-3 network of Shockley diodes in its free states, with a nudge that its diodes distort."""

    def __init__(self, gains: tuple[float, float] = (1.0, 1.0), seed: int = 0, batch: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.network: ResistiveNetwork = make_network(SIZES, "shockley", rng, gains)
        self.farads = 1e-9 * rng.uniform(0.5, 2.0, self.network.node_count)
        self.inputs = doubled(rng, batch, SIZES[0])
        self.drive = self.network.drive(self.inputs)
        self.free: SteadyState = settle(self.network, self.drive, TIGHT).checked()
        self.nudge = np.zeros_like(self.drive)
        # Amplifiers give the hidden nodes less of it.
        self.nudge[:, self.network.output] = 1e-5 * gains[1] ** 2 * rng.uniform(0.5, 1.0, (batch, SIZES[-1]))
        self.slowest = slowest_seconds(self.network, self.farads)

    def plan(self, omega_tau: float, samples: int = 64) -> SamplingPlan:
        return SamplingPlan(omega_tau / (2.0 * np.pi * self.slowest), HARMONICS, samples, 1)

    def orbit(self, plan: SamplingPlan, nudge: np.ndarray | None = None) -> np.ndarray:
        push = self.nudge if nudge is None else nudge
        found = periodic_state(
            self.network, self.farads, self.free.volts, self.drive, push, plan, SteadyTolerance(1e-12)
        )
        assert found.settled.all()
        assert (found.residual_volts <= 1e-12).all()
        return found.volts


def amplitudes(volts: np.ndarray) -> np.ndarray:
    """Cosine and sine amplitudes of (batch, time, node), (2, batch, node, harmonic)."""
    return np.array(harmonics(volts.transpose(0, 2, 1), volts.shape[1], HARMONICS))


@pytest.mark.parametrize("gains", GAINS)
@pytest.mark.parametrize("omega_tau", [0.3, 3.0])
def test_harmonic_balance_is_where_the_transient_ends(gains: tuple[float, float], omega_tau: float) -> None:
    case = Case(gains)
    plan = case.plan(omega_tau)
    expected = case.orbit(plan)
    periods = int(np.ceil(25.0 * case.slowest * plan.frequency_hz))
    times = np.append(0.0, (periods + np.arange(64) / 64) / plan.frequency_hz)
    omega = 2.0 * np.pi * plan.frequency_hz
    run = transient(
        case.network, case.farads, case.free.volts, lambda t: case.drive + np.cos(omega * t) * case.nudge, times
    )
    swing = np.abs(expected - case.free.volts[:, None]).max()
    np.testing.assert_allclose(run[:, 1:], expected, rtol=0, atol=1e-6 * swing)
    # No sine: the diodes do their part.
    assert np.abs(amplitudes(expected)[..., 2]).max() > 2e-5 * swing


@pytest.mark.parametrize("gains", GAINS)
def test_slow_nudges_are_answered_by_equilibria(gains: tuple[float, float]) -> None:
    case = Case(gains)
    errors = []
    for omega_tau in (1e-2, 1e-3, 1e-4):
        plan = case.plan(omega_tau)
        equilibria = nudged_period(case.network, case.free, case.drive, case.nudge, plan, TIGHT)
        difference = case.orbit(plan) - equilibria.volts
        errors.append(np.abs(difference).max())
        # The part in phase with the nudge errs by the square.
        assert np.abs(amplitudes(difference)[0]).max() < 2.0 * omega_tau * errors[-1]
    assert errors[0] / errors[1] == pytest.approx(10.0, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize("gains", GAINS)
def test_susceptibility_is_the_orbit_of_a_small_nudge_and_reciprocal(gains: tuple[float, float]) -> None:
    case = Case(gains)
    plan = case.plan(1.0)
    chi = susceptibility(case.network, case.farads, case.free.volts, np.array([0.0, plan.frequency_hz]))
    small = 1e-4 * case.nudge
    cosines, sines = amplitudes(case.orbit(plan, small) - case.free.volts[:, None])[..., 1]
    expected = np.einsum("bij,bj->bi", chi[:, 1], small)
    np.testing.assert_allclose(cosines - 1j * sines, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    still = response(case.network, case.free, case.nudge)
    np.testing.assert_allclose(np.einsum("bij,bj->bi", chi[:, 0], case.nudge), still, rtol=1e-9, atol=1e-12)
    lopsided = np.abs(chi - chi.swapaxes(-1, -2)).max() / np.abs(chi).max()
    assert lopsided < 1e-12 if gains == (1.0, 1.0) else lopsided > 0.1
    # A passive network takes power at every frequency: the Hermitian part of its impedance is positive.
    if gains == (1.0, 1.0):
        assert np.linalg.eigvalsh(0.5 * (chi + chi.conj().swapaxes(-1, -2))).min() > 0


@pytest.mark.parametrize("gains", GAINS)
def test_slowest_mode_decays_with_the_longest_time_constant(gains: tuple[float, float]) -> None:
    case = Case(gains, batch=1)
    none = np.full(case.network.node_count, np.inf)
    bare = ResistiveNetwork(case.network.couplings, ShockleyDiodes.alike(-none, none, 1e-12))
    drive = bare.drive(case.inputs)
    rest = settle(bare, drive, TIGHT).checked().volts
    # C dv/dt = -G v: v = -G^-1 C dv/dt.
    resistance = susceptibility(bare, case.farads, rest, np.zeros(1))[0, 0].real
    seconds, modes = np.linalg.eig(resistance * case.farads)
    mode = modes[:, seconds.argmax()].real
    times = case.slowest * np.array([0.0, 0.5, 1.0, 3.0])
    run = transient(bare, case.farads, rest + mode, lambda _: drive, times)
    expected = rest + np.exp(-times / case.slowest)[:, None] * mode
    np.testing.assert_allclose(run[0], expected, rtol=0, atol=1e-6 * np.abs(mode).max())


@pytest.mark.parametrize("gains", GAINS)
def test_agrees_with_ngspice_small_signals(gains: tuple[float, float], tmp_path: Path) -> None:
    case = Case(gains)
    stimulus = Stimulus(case.inputs[0], ac_amperes=case.nudge[0])
    sweep = f"ac dec 2 {0.01 / case.slowest:.17g} {100.0 / case.slowest:.17g}"
    answer = run_network(resistive_deck(case.network, stimulus, 0.0, case.farads, [sweep]), tmp_path)
    hertz = answer["frequency"].real
    assert len(hertz) >= 8
    expected = susceptibility(case.network, case.farads, case.free.volts[:1], hertz)[0] @ case.nudge[0]
    found = np.array([answer[f"v({name})"] for name in resistive_nodes(case.network)]).T
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max(axis=1).min())


@pytest.mark.parametrize("gains", GAINS)
@pytest.mark.parametrize("omega_tau", [0.5, 5.0])
def test_agrees_with_ngspice_periodic_state(gains: tuple[float, float], omega_tau: float, tmp_path: Path) -> None:
    case = Case(gains)
    plan = case.plan(omega_tau)
    cosines, sines = amplitudes(case.orbit(plan)[:1])
    settling = int(np.ceil(16.0 * case.slowest * plan.frequency_hz))
    stimulus = Stimulus(case.inputs[0], case.nudge[0], plan.frequency_hz)
    text = resistive_deck(
        case.network,
        stimulus,
        0.0,
        case.farads,
        ["op", f"option {TRANSIENT}", one_period(plan.frequency_hz, settling)],
    )
    answer = run_network(text, tmp_path)
    wanted = (settling + np.arange(64) / 64) / plan.frequency_hz
    volts = np.array([answer[f"v({name})"] for name in resistive_nodes(case.network)]).T
    found = amplitudes(CubicSpline(answer["time"], volts)(wanted)[None])
    fundamental = np.hypot(cosines, sines)[..., 1].max()
    np.testing.assert_allclose(found, np.array([cosines, sines]), rtol=0, atol=1e-4 * fundamental)


def device_section(**section: Any) -> dict[str, Any]:
    return {
        "backend": "emulator",
        "cells": {"window_siemens": [1e-6, 1e-4]},
        "neurons": {"node_farads": 1e-9},
        "diodes": {"law": "shockley"},
        **section,
    }


NETWORK = Network((3, 4, 2), activation="rectified", feedback="shared", family="resistive")


def test_devices_answer_at_the_nudges_frequency() -> None:
    device = backend.build(device_section(), NETWORK, np.random.default_rng(0))
    slow = backend.build(device_section(neurons={}), NETWORK, np.random.default_rng(0))
    highest = device.capabilities.highest_frequency_hz
    # omega C / g_unit = 10, as for amplifier neurons; without a capacitance there is no limit.
    assert highest == pytest.approx(10.0 * 2.5e-5 / 1e-9 / (2.0 * np.pi))
    assert slow.capabilities.highest_frequency_hz == np.inf
    amperes = np.zeros((1, NETWORK.node_count))
    amperes[:, NETWORK.output.nodes] = 1e-6
    swings = {}
    for name, chip in (("quick", slow), ("loaded", device)):
        for hertz in (1.0, highest):
            with chip:
                chip.hold(np.full((1, 3), 0.1))
                free = chip.settle().volts
                record = chip.nudge(Nudge(amperes), SamplingPlan(hertz, 3, 16, 1))
                assert record.settled.all()
                swings[name, hertz] = (record.volts - free)[0, :, NETWORK.output.nodes]
    np.testing.assert_array_equal(swings["quick", 1.0], swings["quick", highest])
    np.testing.assert_allclose(swings["loaded", 1.0], swings["quick", 1.0], rtol=0, atol=1e-9)
    assert np.abs(swings["loaded", highest]).max() < 0.9 * np.abs(swings["quick", highest]).max()


def test_transients_on_request_end_in_the_periodic_state() -> None:
    amperes = np.zeros((2, NETWORK.node_count))
    amperes[:, NETWORK.output.nodes] = 1e-6
    records = {}
    for periods in (-1, 0, 30):
        solver = {"residual": 1e-9} if periods < 0 else {"steady_state": "transient", "settle_periods": periods}
        with backend.build(device_section(solver=solver), NETWORK, np.random.default_rng(0)) as device:
            device.hold(np.array([[0.1, 0.2, -0.1], [0.0, 0.1, 0.2]]))
            free = device.settle().volts
            hertz = 0.3 * device.capabilities.highest_frequency_hz
            records[periods] = device.nudge(Nudge(amperes), SamplingPlan(hertz, 3, 16, 2))
    exact, early, late = records[-1], records[0], records[30]
    assert exact.volts.shape == early.volts.shape == late.volts.shape
    swing = np.abs(exact.volts - free).max()
    np.testing.assert_allclose(late.volts, exact.volts, rtol=0, atol=1e-6 * swing)
    np.testing.assert_allclose(early.volts[:, 0], free[:, 0], rtol=0, atol=1e-12)
    assert np.abs(early.volts - exact.volts).max() > 0.1 * swing
    assert late.settled.all()
    assert not early.settled.any()
    assert late.residual is not None
    assert early.residual is not None
    assert late.residual.max() < 1e-6 < 1e-4 < early.residual.min()
    for section, key in (
        ({"neurons": {}, "solver": {"steady_state": "transient"}}, "steady_state"),
        ({"neurons": {"node_farads": 1e-9, "amplifier_bandwidth_hz": 1e4}}, "amplifier_bandwidth_hz"),
    ):
        with pytest.raises(InputError, match=key):
            backend.build(device_section(**section), NETWORK, np.random.default_rng(0))


@pytest.mark.parametrize("key", ["node_farads", "line_farads"])
def test_ideal_diodes_have_no_dynamics(key: str) -> None:
    for diodes in ({}, {"diodes": {"law": "ideal"}}):
        section = {"backend": "emulator", "neurons": {key: 1e-12}, **diodes}
        with pytest.raises(InputError, match=rf"substrate\.neurons\.{key}: expected 0 with ideal diodes"):
            backend.resolve(section, NETWORK)


def test_bad_input_is_refused() -> None:
    case = Case()
    plan = case.plan(1.0)
    ideal = make_network(SIZES, "ideal", np.random.default_rng(0))
    with pytest.raises(InputError, match="Shockley"):
        periodic_state(ideal, case.farads, case.free.volts, case.drive, case.nudge, plan)
    with pytest.raises(InputError, match="farads"):
        periodic_state(case.network, -case.farads, case.free.volts, case.drive, case.nudge, plan)
    with pytest.raises(InputError, match="farads"):
        susceptibility(case.network, case.farads[1:], case.free.volts, np.ones(1))
    with pytest.raises(InputError, match="nudge"):
        periodic_state(case.network, case.farads, case.free.volts, case.drive, case.nudge[:1], plan)
    with pytest.raises(InputError, match="rising"):
        transient(case.network, case.farads, case.free.volts, lambda _: case.drive, np.zeros(2))
    with pytest.raises(InputError, match="capacitance > 0"):
        transient(case.network, 0.0 * case.farads, case.free.volts, lambda _: case.drive, np.arange(2.0))


def test_what_is_not_solved_says_so() -> None:
    case = Case()
    plan = case.plan(1e-3)
    found = periodic_state(
        case.network, case.farads, case.free.volts, case.drive, case.nudge, plan, SteadyTolerance(1e-30)
    )
    assert not found.settled.any()
    assert (found.residual_volts > 1e-30).all()
