"""Loops of an odd number of layers, no group of which is without couplings: steps, complex states, any frequency."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from settling import settled_nudge
from topologies import batch_of, differences, network_of, relative_error, start, training

from substrate import load_experiment, open_run, run
from substrate.capabilities import HeldNudge, Nudge
from substrate.controller import Controller
from substrate.rules.asymmetric_ep import AsymmetricEP, AsymmetricEPSection
from substrate.rules.base import Rule
from substrate.rules.continual import ContinualEP, ContinualSection
from substrate.rules.holomorphic import HolomorphicEP, HolomorphicSection
from substrate.tones import SamplingPlan

LOOP = network_of((3, 4, 3, 2), feedback="loop")
WIRES = {"wires": {"segment_ohms": 2.0, "source_ohms": 50.0, "sense_ohms": 5.0}}
SINH = {"cells": {"law": "sinh", "alpha": 1.5, "window_siemens": [1e-6, 1e-4]}}


@contextmanager
def programmed(rule: Rule, **sections: Any) -> Iterator[tuple[Controller, Any]]:
    weights, batch = start(LOOP), batch_of(LOOP)
    with training(LOOP, rule, section=sections) as controller:
        controller.program(weights)
        yield controller, batch


def holomorphic(points: int, amplitude: float, **keys: Any) -> HolomorphicEP:
    return HolomorphicEP(HolomorphicSection(points=points, **keys), amplitude)


@pytest.mark.parametrize("points", [2, 8])
def test_the_asymmetry_of_a_loop_is_undone(points: int) -> None:
    rule = AsymmetricEP(AsymmetricEPSection(points=points), 1e-4 if points == 2 else 0.05, None)
    with programmed(rule) as (controller, batch):
        _, estimate = controller.measure(*batch)
        assert not estimate.excluded.total
        for name, expected in differences(controller, start(LOOP), batch).items():
            assert relative_error(estimate.directions[name], expected) < 1e-5


@pytest.mark.parametrize("sections", [{}, WIRES, SINH], ids=["matrices", "wires", "sinh cells"])
def test_complex_nudges_give_the_derivative_of_what_real_ones_settle_to(sections: dict[str, Any]) -> None:
    with programmed(holomorphic(12, 0.1), **sections) as (controller, batch):
        phase, estimate = controller.measure(*batch)
        assert not estimate.excluded.total
        substrate = controller._substrate
        step = 1e-4 * substrate.scale.unit_amperes
        amperes = np.zeros((len(phase.error), 2, LOOP.node_count))
        amperes[:, 0, LOOP.output.nodes] = step * phase.error
        amperes[:, 1] = -amperes[:, 0]
        # Real currents are followed by the dynamics, without the continuation.
        plus, minus = np.moveaxis(
            substrate.settle_nudged(HeldNudge(amperes)).volts / substrate.scale.volts_per_unit, 1, 0
        )
        slope = (plus - minus) / 2e-4
        assert np.abs(slope[:, LOOP.layers[1].nodes]).max() > 1e-3
        assert relative_error(estimate.signals.response, slope) < 1e-5


def test_steps_from_rest_are_the_map_and_end_where_the_dynamics_do() -> None:
    with programmed(holomorphic(2, 0.1), **WIRES) as (controller, batch):
        phase, _ = controller.measure(*batch)
        substrate = controller._substrate
        unit = substrate.scale.volts_per_unit
        substrate.rest()
        found = substrate.evolve(None, 60, every=1).volts / unit
        weights = {c.name: substrate.arrays[c.name].weights() for c in LOOP.arrays}
        places = {layer.name: layer.nodes for layer in LOOP.layers[1:]}
        s = np.zeros((len(phase.inputs), LOOP.node_count))
        for read in np.moveaxis(found, 1, 0):
            u = np.zeros_like(s)
            for coupling in LOOP.arrays:
                held = phase.inputs if coupling.source.start < 0 else s[:, places[coupling.source.name]]
                lines = np.concatenate([held, np.ones((len(s), len(coupling.bias_lines)))], axis=1)
                u[:, places[coupling.target.name]] += lines @ weights[coupling.name]
            s = np.tanh(u)
            np.testing.assert_allclose(read, s, rtol=0, atol=1e-12)
        np.testing.assert_allclose(s, phase.activity, rtol=0, atol=1e-9)


@pytest.mark.parametrize("sections", [{}, WIRES], ids=["matrices", "wires"])
def test_a_feedback_nudge_holds_the_state_that_steps_end_in(sections: dict[str, Any]) -> None:
    with programmed(holomorphic(2, 0.1), **sections) as (controller, batch):
        phase, _ = controller.measure(*batch)
        substrate = controller._substrate
        unit = substrate.scale.unit_siemens
        siemens, amperes = np.zeros((2, len(phase.error), 1, LOOP.node_count))
        siemens[:, 0, LOOP.output.nodes] = 0.3 * unit
        amperes[:, 0, LOOP.output.nodes] = 0.3 * substrate.scale.unit_amperes * 0.5
        nudge = HeldNudge(amperes, siemens)
        held = substrate.settle_nudged(nudge)
        assert held.settled.all()
        moved = substrate.evolve(nudge, 200, 0.5).volts
        np.testing.assert_allclose(moved, held.volts, rtol=0, atol=1e-9)
        assert np.abs(held.volts[:, 0] / substrate.scale.volts_per_unit - phase.activity).max() > 1e-2


def test_the_increments_of_continual_ep_telescope() -> None:
    beta = 1e-3
    continual = ContinualEP(ContinualSection(count=120), beta, None, np.random.default_rng(0))
    with programmed(continual) as (controller, batch):
        _, found = controller.measure(*batch)
    one_sided = holomorphic(1, beta)
    with programmed(one_sided) as (controller, batch):
        _, expected = controller.measure(*batch)
    # Of a fixed source C-VF's sum is EP's; elsewhere the source moves along.
    np.testing.assert_allclose(
        found.directions["input-hidden1"], expected.directions["input-hidden1"], rtol=0, atol=1e-9
    )
    for name, direction in expected.directions.items():
        assert relative_error(found.directions[name], direction) < 0.02


@pytest.mark.parametrize("omega_tau", [0.1, 1.0, 5.0])
@pytest.mark.parametrize(
    ("sections", "neurons"),
    [({}, {}), (WIRES, {"amplifier_bandwidth_hz": 200.0}), (SINH, {"time_constant_spread": 0.3})],
    ids=["matrices", "wires and slow amplifiers", "sinh cells"],
)
def test_a_loop_swings_at_any_frequency_as_its_transient_ends(
    omega_tau: float, sections: dict[str, Any], neurons: dict[str, Any]
) -> None:
    tau = 1e-3
    slow = {**sections, "neurons": {"time_constant_seconds": tau, **neurons}}
    plan = SamplingPlan(omega_tau / (2 * np.pi * tau), 3, 16, 1)
    with programmed(holomorphic(2, 0.1), **slow) as (controller, batch):
        phase, _ = controller.measure(*batch)
        substrate = controller._substrate
        amperes = np.zeros((len(phase.error), LOOP.node_count))
        amperes[:, LOOP.output.nodes] = 0.5 * phase.error
        record = substrate.nudge(Nudge(amperes * substrate.scale.unit_amperes), plan)
        assert record.settled.all()
        circuit = substrate.circuit
        parts, network = circuit.parts(), circuit.equations()
        drive, _ = network.drive(phase.inputs)
        run = settled_nudge(network, parts.constants, parts.free, drive, amperes, plan, 1e-9)
        np.testing.assert_allclose(record.volts / substrate.scale.volts_per_unit, run.s, rtol=0, atol=1e-6)
        assert np.ptp(run.s[:, :, LOOP.layers[1].nodes], axis=1).max() > 1e-3


@pytest.mark.parametrize(
    "rule", ["{name: holomorphic_ep}", "{name: asymmetric_ep}", "{name: always_on_ep, points: 6}", "{name: bptt}"]
)
def test_the_shipped_loop_takes_further_rules(rule: str, tmp_path: Path) -> None:
    overrides = [
        f"rule={rule}",
        "nudge={amplitude: 0.2}" if "ep" in rule else "nudge=null",
        "data.train_limit=48",
        "data.test_limit=20",
        "training.epochs=1",
        "substrate.converters=null",
        "substrate.limits.current_amperes=0.1",
        "logging.quality_every=1",
    ]
    with open_run(run(load_experiment("digits-loop", overrides), tmp_path / "run.h5")) as found:
        steps = found.table("train")
    assert not (steps["lost_branch"] + steps["unsettled"]).any()
    # Where nothing is symmetric the vector field is not the gradient.
    assert (steps["gradient_cosine"] > (0.99 if rule in ("{name: asymmetric_ep}", "{name: bptt}") else 0.0)).all()
