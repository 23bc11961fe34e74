"""Held nudges through the seam, in every family: against the adjoint, closed forms, and the currents that flow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from emulators.substrate import EmulatedSubstrate, backend
from substrate.arrays import FloatArray
from substrate.capabilities import HeldNudge, WriteRequest
from substrate.demodulation import cauchy_derivative
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.testing.preparing import random_weights

RESISTIVE = {"family": "resistive", "activation": "rectified", "feedback": "shared"}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "separate": ({"neurons": {"gain_spread": 0.1, "offset_spread": 0.05}}, {}),
    "shared, wires": ({"wires": {"segment_ohms": 5.0}}, {"feedback": "shared"}),
    "logistic": ({}, {"activation": "logistic"}),
    "sinh cells": ({"cells": {"law": "sinh"}}, {}),
    "sinh cells, wires": ({"cells": {"law": "sinh"}, "wires": {"segment_ohms": 5.0}}, {}),
    "ideal diodes": ({}, RESISTIVE),
    "Shockley diodes": ({"diodes": {"law": "shockley"}}, RESISTIVE),
}
FED = [name for name in KINDS if name != "sinh cells, wires"]
NEURONS = ["separate", "shared, wires", "logistic", "sinh cells"]


@contextmanager
def device(name: str, sizes: tuple[int, ...] = (4, 5, 3), batch: int = 3) -> Iterator[EmulatedSubstrate]:
    section, network = KINDS[name]
    described = {"backend": "emulator", "solver": {"residual": 1e-12}, **section}
    with backend.build(described, Network(sizes, **network), np.random.default_rng(0)) as substrate:
        rng = np.random.default_rng(1)
        random_weights(substrate, rng)
        substrate.hold(rng.uniform(-0.2, 0.2, (batch, sizes[0])))
        substrate.settle()
        yield substrate


def outputs(substrate: EmulatedSubstrate, seed: int, points: int = 1, batch: int = 3) -> FloatArray:
    """Random numbers at the output nodes, zero elsewhere, (batch, point, node)."""
    network = substrate.network
    values = np.zeros((batch, points, network.node_count))
    values[..., network.output.nodes] = np.random.default_rng(seed).standard_normal((batch, points, 3))
    return values


@pytest.mark.parametrize("name", KINDS)
def test_small_held_nudges_answer_as_the_adjoint_says(name: str) -> None:
    with device(name) as substrate:
        push = outputs(substrate, 2) * 1e-4 * substrate.scale.unit_amperes
        held = substrate.settle_nudged(HeldNudge(np.concatenate([push, -push], axis=1)))
        assert held.volts.shape == (3, 2, 8)
        assert held.volts.dtype == np.float64
        assert held.settled.all()
        assert not held.saturated.any()
        values = np.random.default_rng(3).standard_normal((3, 8))
        measured = np.sum((held.volts[:, 0] - held.volts[:, 1]) / 2 * values, axis=1)
        foretold = np.sum(substrate.oracle.adjoint(values) * push[:, 0], axis=1)
        np.testing.assert_allclose(measured, foretold, rtol=1e-5, atol=1e-9 * np.abs(foretold).max())


@pytest.mark.parametrize("name", FED)
def test_a_conductance_to_a_source_is_the_current_that_flows_through_it(name: str) -> None:
    """What feedback settles to is a state of the open-loop network under the very currents that flow there."""
    with device(name) as substrate:
        siemens = np.abs(outputs(substrate, 4)) * np.array([0.4, -0.1])[:, None] * substrate.scale.unit_siemens
        source = 0.2 * outputs(substrate, 5, points=2)
        held = substrate.settle_nudged(HeldNudge(siemens * source, siemens))
        assert held.settled.all()
        opened = substrate.settle_nudged(HeldNudge(siemens * (source - held.volts)))
        np.testing.assert_allclose(opened.volts, held.volts, atol=1e-11)
        free = substrate.settle_nudged(HeldNudge(np.zeros((3, 1, 8)))).volts
        assert np.abs(held.volts - free).max() > 1e-3


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("turn", [1.0, 1j], ids=["real", "imaginary"])
def test_cross_feedback_is_the_current_that_flows(name: str, turn: complex) -> None:
    with device(name) as substrate:
        siemens = turn * np.abs(outputs(substrate, 4)) * 0.3 * substrate.scale.unit_siemens
        siemens = siemens.real if turn == 1.0 else siemens
        cross = 0.2 * np.random.default_rng(6).standard_normal((8, 8)) * substrate.scale.unit_siemens
        source = 0.2 * outputs(substrate, 5, points=2)
        held = substrate.settle_nudged(HeldNudge(siemens * source, siemens, cross))
        assert held.settled.all()
        flowing = siemens * (source - held.volts) - held.volts @ cross.T
        opened = substrate.settle_nudged(HeldNudge(flowing))
        np.testing.assert_allclose(opened.volts, held.volts, atol=1e-11)


def test_a_large_conductance_clamps() -> None:
    with device("Shockley diodes") as substrate:
        siemens = np.zeros((1, 1, 8))
        siemens[..., substrate.network.output.nodes] = 1e-3
        source = 0.05 * outputs(substrate, 5)
        errors = [
            np.abs(held.volts - source)[..., substrate.network.output.nodes].max()
            for held in (substrate.settle_nudged(HeldNudge(g * source, g)) for g in (siemens, 2 * siemens))
        ]
        assert errors[0] < 0.02
        assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)


def test_feedback_has_its_closed_form_in_a_linear_network() -> None:
    """Linear outputs without hidden nodes: s = x W + b + beta (y - s), so s = (free + beta y)/(1 + beta)."""
    network = Network((4, 3), output_activation="linear")
    with backend.build({"backend": "emulator"}, network, np.random.default_rng(0)) as substrate:
        random_weights(substrate, np.random.default_rng(1))
        substrate.hold(np.random.default_rng(2).uniform(-0.2, 0.2, (3, 4)))
        free = substrate.settle().volts
        beta = np.array([0.5, -0.5, 0.3j])[:, None]
        source = np.random.default_rng(3).uniform(-0.2, 0.2, (3, 1, 3))
        unit = substrate.scale.unit_siemens
        held = substrate.settle_nudged(HeldNudge(beta * source * unit, beta * unit))
        assert held.settled.all()
        np.testing.assert_allclose(held.volts, (free + beta * source) / (1 + beta), atol=1e-10)
        # p - y of physics.md, 4.1: the free outputs are p, the derivative of the state at beta = 0 is y - p.
        points = 0.2 * np.exp(2j * np.pi * np.arange(16) / 16)
        circle = points[:, None]
        turned = substrate.settle_nudged(HeldNudge(circle * source * unit, circle * unit)).volts
        found = cauchy_derivative(points, np.moveaxis(turned, 1, -1))
        np.testing.assert_allclose(found, (source - free)[:, 0], atol=2e-8)


def test_cross_feedback_transposes_the_response_of_an_asymmetric_network() -> None:
    """AsymEP (arXiv 2602.03670): with -2A (s - s0), A the skew part of W, the response to e is chi^T e."""
    with device("separate") as substrate:
        scale, network = substrate.scale, substrate.network
        weights = np.zeros((8, 8))
        for coupling in (network.forward[1], network.backward[0]):
            cells = substrate.read_cells(coupling.name)
            block = (cells[0] - cells[1])[: coupling.source.size].T
            weights[coupling.target.nodes, coupling.source.nodes] = block
        free = substrate.settle().volts
        cross = weights - weights.T
        error = 1e-4 * outputs(substrate, 7) * scale.unit_amperes
        points = np.concatenate([error, -error], axis=1) + free @ cross.T
        plain = substrate.settle_nudged(HeldNudge(np.concatenate([error, -error], axis=1))).volts
        fed = substrate.settle_nudged(HeldNudge(points, cross_siemens=cross)).volts
        exact = substrate.oracle.adjoint(error[:, 0])
        found = (fed[:, 0] - fed[:, 1]) / 2
        np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(exact).max())
        assert np.abs((plain[:, 0] - plain[:, 1]) / 2 - exact).max() > 0.05 * np.abs(exact).max()


def test_a_nudge_that_sets_the_network_off_is_not_settled() -> None:
    """A skew pair of cross conductances makes hidden nodes ring with a growing amplitude, without any fold."""
    with device("separate") as substrate:
        cross = np.zeros((8, 8))
        cross[0, 0] = cross[1, 1] = -1.6
        cross[0, 1], cross[1, 0] = 3.0, -3.0
        cross *= substrate.scale.unit_siemens
        assert not substrate.settle_nudged(HeldNudge(np.zeros((3, 1, 8)), cross_siemens=cross)).settled.any()
        assert substrate.settle_nudged(HeldNudge(np.zeros((3, 1, 8)), cross_siemens=0.1 * cross)).settled.all()


@pytest.mark.parametrize("name", ["separate", "ideal diodes", "sinh cells, wires"])
def test_points_and_samples_do_not_see_each_other(name: str) -> None:
    with device(name) as substrate:
        push = outputs(substrate, 2, points=4) * 0.3 * substrate.scale.unit_amperes
        together = substrate.settle_nudged(HeldNudge(push)).volts
        for point in range(4):
            alone = substrate.settle_nudged(HeldNudge(push[:, point : point + 1])).volts
            np.testing.assert_allclose(alone[:, 0], together[:, point], atol=1e-11)


def test_real_states_are_read_through_converters_and_complex_ones_are_not() -> None:
    section = {"backend": "emulator", "converters": {"adc_bits": 6, "adc_range_volts": 0.02}}
    with backend.build(section, Network((4, 3)), np.random.default_rng(0)) as substrate:
        substrate.hold(np.zeros((2, 4)))
        substrate.settle()
        push = np.zeros((2, 2, 3))
        push[:, 1] = 0.3 * substrate.scale.unit_amperes
        real = substrate.settle_nudged(HeldNudge(push))
        step = 0.04 / 64
        np.testing.assert_allclose(real.volts / step, np.round(real.volts / step), atol=1e-9)
        assert real.saturated.tolist() == [[False, True]] * 2
        exact = substrate.settle_nudged(HeldNudge(push.astype(complex)))
        assert not exact.saturated.any()
        np.testing.assert_allclose(exact.volts[:, 1], 0.2 * np.tanh(0.3), atol=1e-10)


def test_every_point_takes_a_settling_and_a_reading() -> None:
    operation = {"settle_seconds": 1e-5, "reading_seconds": 1e-6}
    section = {"backend": "emulator", "operation": operation}
    with backend.build(section, Network((4, 3)), np.random.default_rng(0)) as substrate:
        substrate.hold(np.zeros((2, 4)))
        substrate.settle()
        before, joules = substrate.ledger.device_seconds, substrate.ledger.energy_joules
        substrate.settle_nudged(HeldNudge(np.zeros((2, 5, 3))))
        assert substrate.ledger.device_seconds - before == pytest.approx(2 * 5 * 1.1e-5)
        assert substrate.ledger.energy_joules - joules == pytest.approx(5 * joules, rel=1e-9)
        substrate.settle_nudged(HeldNudge(np.zeros((2, 5, 3), dtype=complex)))
        assert substrate.ledger.device_seconds - before == pytest.approx(2 * 5 * 1.1e-5)


def test_bad_requests_are_refused_by_name() -> None:
    zero = np.zeros((3, 1, 8))
    with device("separate") as substrate:
        for nudge, kind, message in (
            (HeldNudge(np.zeros((3, 8))), InputError, "shape"),
            (HeldNudge(np.full((3, 1, 8), np.nan)), InputError, "finite"),
            (HeldNudge(zero, np.zeros((2, 1, 8))), InputError, "siemens broadcastable"),
            (HeldNudge(zero, np.full((3, 1, 8), np.inf)), InputError, "finite"),
            (HeldNudge(zero, cross_siemens=np.zeros((8, 7))), InputError, "cross_siemens"),
            (HeldNudge(zero + 1.0), CapabilityError, "current_amperes"),
            (HeldNudge(zero, zero + 1.0), CapabilityError, "current_amperes"),
            (HeldNudge(zero, cross_siemens=np.ones((8, 8))), CapabilityError, "current_amperes"),
            (HeldNudge(np.zeros((2, 1, 8))), InputError, "batch of 3"),
        ):
            with pytest.raises(kind, match=message):
                substrate.settle_nudged(nudge)
        name = substrate.network.arrays[0].name
        substrate.write_cells(WriteRequest(name, target_siemens=substrate.read_cells(name)))
        with pytest.raises(InputError, match="settle"):
            substrate.settle_nudged(HeldNudge(zero))
    for name, nudge, capability in (
        ("sinh cells, wires", HeldNudge(zero, zero), "feedback_nudges"),
        ("sinh cells, wires", HeldNudge(zero, cross_siemens=np.zeros((8, 8))), "cross_feedback"),
        ("ideal diodes", HeldNudge(zero, cross_siemens=np.zeros((8, 8))), "cross_feedback"),
        ("ideal diodes", HeldNudge(zero.astype(complex)), "complex_nudges"),
        ("ideal diodes", HeldNudge(zero, zero.astype(complex)), "complex_nudges"),
    ):
        with device(name) as substrate, pytest.raises(CapabilityError, match=capability):
            substrate.settle_nudged(nudge)


@pytest.mark.parametrize("kind", ["writeable", "view", "list"])
def test_a_nudge_that_changes_between_steps_is_looked_at_again(kind: str) -> None:
    """One that can't change is checked once; any other, read-only views of what can change included, at every step."""
    network = Network((3, 4, 2), "tanh", "shared")
    with backend.build({"backend": "emulator"}, network, np.random.default_rng(0)) as one:
        one.hold(np.zeros((1, 3)))
        one.settle()
        amperes = np.zeros((1, 1, network.node_count))
        amperes[0, 0, -1] = 0.1 * one.scale.unit_amperes
        given: Any = {"writeable": amperes, "view": np.broadcast_to(amperes, amperes.shape), "list": amperes.tolist()}[
            kind
        ]
        nudge = HeldNudge(given)
        one.rest()
        first = one.evolve(nudge).volts
        one.rest()
        np.testing.assert_array_equal(one.evolve(HeldNudge(amperes)).volts, first)
        if kind == "list":
            return
        amperes[0, 0, -1] *= 2.0
        one.rest()
        second = one.evolve(nudge).volts
        one.rest()
        np.testing.assert_array_equal(second, one.evolve(HeldNudge(amperes.copy())).volts)
        assert not np.array_equal(first, second)
        amperes[0, 0, -1] = np.nan
        with pytest.raises(InputError, match="finite"):
            one.evolve(nudge)


def test_a_fixed_nudge_stays_what_it_is() -> None:
    network = Network((3, 4, 2), "tanh", "shared")
    with backend.build({"backend": "emulator"}, network, np.random.default_rng(0)) as one:
        one.hold(np.full((2, 3), 0.1))
        one.settle()
        amperes = np.zeros((2, 1, network.node_count))
        amperes[:, 0, -1] = 0.1 * one.scale.unit_amperes
        fixed, loose = amperes.copy(), HeldNudge(amperes, siemens=np.array(1e-6))
        fixed.setflags(write=False)
        siemens = np.full(amperes.shape, 1e-6)
        siemens.setflags(write=False)
        nudge = HeldNudge(fixed, siemens)
        assert nudge.fixed
        assert not loose.fixed
        found = [one.evolve(nudge).volts for _ in range(4)]
        one.settle()
        for step in found:
            np.testing.assert_array_equal(one.evolve(loose).volts, step)
