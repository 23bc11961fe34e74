"""Networks that move step by step, through the seam: evolve, sweeps, truncated adjoints, noise of every step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from emulators import SinhCell
from emulators.crossbar import Crossbar
from emulators.substrate import EmulatedSubstrate, backend
from substrate.arrays import FloatArray
from substrate.capabilities import HeldNudge, Nudge, WriteRequest
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.testing.preparing import random_weights
from substrate.tones import SamplingPlan

SIZES = (4, 6, 5, 3)
NODES = 14


@contextmanager
def device(
    solver: dict[str, Any] | None = None, sizes: tuple[int, ...] = SIZES, section: Any = None, **network: Any
) -> Iterator[EmulatedSubstrate]:
    described = {"backend": "emulator", "solver": {"residual": 1e-12} if solver is None else solver}
    described["neurons"] = {"gain_spread": 0.1, "offset_spread": 0.05, "saturation_spread": 0.05}
    described |= section or {}
    with backend.build(described, Network(sizes, **network), np.random.default_rng(0)) as substrate:
        random_weights(substrate, np.random.default_rng(1))
        substrate.hold(np.random.default_rng(2).uniform(-0.2, 0.2, (3, sizes[0])))
        yield substrate


def currents(substrate: EmulatedSubstrate, size: float, seed: int = 3) -> FloatArray:
    """(batch 3, point 1, node) amperes into the outputs."""
    network = substrate.network
    push = np.zeros((3, 1, network.node_count))
    drawn = np.random.default_rng(seed).standard_normal((3, 1, network.output.size))
    push[..., network.output.nodes] = size * substrate.scale.unit_amperes * drawn
    return push


def feedback(substrate: EmulatedSubstrate, source: Any) -> HeldNudge:
    siemens = np.zeros((3, 1, substrate.network.node_count))
    siemens[..., substrate.network.output.nodes] = 0.4 * substrate.scale.unit_siemens
    return HeldNudge(siemens * source, siemens)


NETWORKS: list[dict[str, Any]] = [
    {},
    {"feedback": "shared"},
    {"activation": "logistic"},
    {"activation": "soft_rectified", "sizes": (4, 5)},
    {"output_activation": "linear"},
    {"sizes": (3, 5, 4, 6, 3, 2)},
]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("length", [1.0, 0.3])
def test_evolving_to_the_end_is_settling(network: dict[str, Any], length: float) -> None:
    with device(**network) as substrate:
        moved = substrate.evolve(None, 400, length)
        assert moved.volts.shape == (3, 1, substrate.network.node_count)
        assert moved.settled.all()
        np.testing.assert_allclose(moved.volts, substrate.settle().volts, atol=1e-11)
        for factor in (1.0, 0.6 + 0.5j):
            push = HeldNudge(factor * currents(substrate, 0.3))
            np.testing.assert_allclose(
                substrate.evolve(push, 400, length).volts, substrate.settle_nudged(push).volts, atol=1e-11
            )


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("kind", ["plain", "feedback", "cross", "complex", "complex feedback"])
def test_a_step_is_the_published_map(network: dict[str, Any], kind: str) -> None:
    """u += length (-u + W s + drive + nudge) written out with dense matrices from the cells as read."""
    with device(section={"neurons": {}}, **network) as substrate:
        topology, scale = substrate.network, substrate.scale
        count = topology.node_count
        weights = np.zeros((count, count))
        drive = np.zeros((3, count))
        inputs = np.random.default_rng(2).uniform(-0.2, 0.2, (3, topology.input_size)) / scale.volts_per_unit
        for coupling in topology.arrays:
            cells = substrate.read_cells(coupling.name)
            block = (cells[0] - cells[1]) / scale.unit_siemens
            source, target = coupling.source, coupling.target
            if source.start < 0:
                drive[:, target.nodes] += inputs @ block[: source.size]
            else:
                weights[source.nodes, target.nodes] += block[: source.size]
                if topology.feedback == "shared":
                    weights[target.nodes, source.nodes] += block[: source.size].T
            drive[:, target.nodes] += block[source.size :].sum(axis=0)
        factor = 0.5j + 0.2 if "complex" in kind else 0.5
        own = np.where(np.arange(count) >= topology.output.start, factor, 0.0) if "feedback" in kind else 0.0
        cross = np.random.default_rng(5).standard_normal((count, count)) * 0.1 * (kind == "cross")
        push = factor * currents(substrate, 0.3)[:, 0] / scale.unit_amperes
        nudge = HeldNudge(
            (push * scale.unit_amperes)[:, None],
            np.broadcast_to(own * scale.unit_siemens, (3, 1, count)) if "feedback" in kind else None,
            cross * scale.unit_siemens if kind == "cross" else None,
        )

        def transfer(u: Any) -> Any:
            out = {
                "tanh": np.tanh,
                "logistic": lambda z: 1 / (1 + np.exp(-4 * z + 2)),
                "soft_rectified": lambda z: 0.25 * np.log(1 + np.exp(4 * z)),
            }[topology.activation](u)
            if topology.output_activation == "linear":
                out[:, topology.output.nodes] = u[:, topology.output.nodes]
            return out

        u = np.zeros((3, count), dtype=np.result_type(push, own))
        expected = []
        for _ in range(5):
            s = transfer(u)
            u = u + 0.6 * (-u + s @ weights + drive + push - own * s - s @ cross.T)
            expected.append(transfer(u))
        moved = substrate.evolve(nudge, 5, 0.6, every=1)
        assert np.iscomplexobj(moved.volts) == ("complex" in kind)
        np.testing.assert_allclose(moved.volts / scale.volts_per_unit, np.stack(expected, axis=1), atol=1e-12)


def test_steps_go_on_where_they_ended_and_readings_are_every_so_many() -> None:
    with device() as substrate:
        push = HeldNudge(currents(substrate, 0.3))
        whole = substrate.evolve(push, 7, every=1).volts
        substrate.rest()
        parts = [substrate.evolve(push, 3, every=1).volts, substrate.evolve(push, 4, every=1).volts]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
        substrate.rest()
        third = substrate.evolve(push, 7, every=3).volts
        np.testing.assert_array_equal(third, whole[:, [2, 5]])
        # The seventh step was taken, though not read.
        np.testing.assert_array_equal(substrate.evolve(push, 1).volts[:, 0], _eighth(substrate, push))


def _eighth(substrate: EmulatedSubstrate, push: HeldNudge) -> FloatArray:
    substrate.rest()
    return np.asarray(substrate.evolve(push, 8).volts[:, 0])


def test_hold_and_rest_bring_the_state_to_rest_and_settle_to_the_free_state() -> None:
    with device() as substrate:
        first = substrate.evolve(None, 2).volts
        substrate.rest()
        np.testing.assert_array_equal(substrate.evolve(None, 2).volts, first)
        substrate.hold(np.random.default_rng(2).uniform(-0.2, 0.2, (3, 4)))
        np.testing.assert_array_equal(substrate.evolve(None, 2).volts, first)
        free = substrate.settle().volts
        np.testing.assert_allclose(substrate.evolve(None, 1).volts, free, atol=1e-11)
        # Complex nudges leave a complex state, until it settles.
        substrate.evolve(HeldNudge(1j * currents(substrate, 0.3)), 2)
        assert np.abs(substrate.evolve(None, 1).volts.imag).max() > 1e-4
        substrate.settle()
        assert substrate.evolve(None, 1).volts.dtype == np.float64


def test_writes_act_at_once_and_do_not_move_the_state() -> None:
    with device() as substrate:
        name = substrate.network.arrays[-1].name
        cells = substrate.read_cells(name)
        other = WriteRequest(name, target_siemens=cells[::-1].copy())
        before = substrate.evolve(None, 3).volts
        substrate.write_cells(other)
        after = substrate.evolve(None, 1).volts
        # One step later only the layer that the array drives has changed: the activities it came from are the same.
        substrate.write_cells(WriteRequest(name, target_siemens=cells))
        substrate.rest()
        straight = substrate.evolve(None, 4).volts
        target = substrate.network.array(name).target.nodes
        changed = np.abs(after - straight).max(axis=(0, 1)) > 1e-12
        assert changed[target].all()
        assert not np.delete(changed, np.arange(target.start, target.stop)).any()
        assert np.abs(before - straight).max() > 1e-6
        # Settled, written: the next step begins in the state that had settled, though it is no longer free.
        free = substrate.settle().volts
        substrate.write_cells(other)
        step = substrate.evolve(None, 1).volts
        unchanged = np.delete(np.arange(NODES), np.arange(target.start, target.stop))
        np.testing.assert_allclose(step[..., unchanged], free[..., unchanged], atol=1e-11)


# Truncated adjoints.


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("network", [{}, {"feedback": "shared"}, {"output_activation": "linear"}], ids=str)
def test_truncated_adjoint_is_backpropagation_through_the_steps(network: dict[str, Any], steps: int) -> None:
    """Against finite differences of evolve() from the free state, for currents into all nodes."""
    with device(**network) as substrate:
        rng = np.random.default_rng(4)
        values, size = rng.standard_normal((3, NODES)), 1e-5
        push = size * substrate.scale.unit_amperes * rng.standard_normal((3, 1, NODES))
        moved = []
        for sign in (1.0, -1.0):
            substrate.settle()
            moved.append(substrate.evolve(HeldNudge(sign * push), steps).volts[:, 0])
        measured = np.sum(values * (moved[0] - moved[1]) / 2, axis=1)
        assert substrate.oracle is not None
        foretold = np.sum(substrate.oracle.adjoint(values, steps) * push[:, 0], axis=1)
        np.testing.assert_allclose(measured, foretold, rtol=1e-6, atol=1e-8 * np.abs(foretold).max())


def test_truncated_adjoint_converges_geometrically_to_the_implicit_one() -> None:
    with device() as substrate:
        substrate.settle()
        assert substrate.oracle is not None
        values = np.random.default_rng(4).standard_normal((3, NODES))
        exact = substrate.oracle.adjoint(values)
        errors = [np.linalg.norm(substrate.oracle.adjoint(values, steps) - exact) for steps in (2, 4, 6, 8, 10)]
        ratios = np.array(errors[1:]) / np.array(errors[:-1])
        assert (ratios < 0.2).all()
        assert ratios.max() < 3.0 * ratios.min()
        assert errors[-1] < 1e-4 * np.linalg.norm(exact)
        with pytest.raises(InputError, match="steps"):
            substrate.oracle.adjoint(values, 0)


# Sweeps.


def test_sweeps_are_so_many_steps_from_rest_and_from_the_free_state() -> None:
    sweeps = {"free": 6, "nudged": 4, "time_constants": 0.7}
    with device({"relaxation": "sweeps", "sweeps": sweeps}) as substrate:
        push = currents(substrate, 0.3)
        pull = feedback(substrate, 0.1)
        by_steps = substrate.evolve(None, 6, 0.7).volts
        np.testing.assert_array_equal(substrate.settle().volts, by_steps)
        together = substrate.settle_nudged(HeldNudge(np.concatenate([push, -push, 0 * push], axis=1))).volts
        fed = substrate.settle_nudged(pull).volts
        for point, nudge in enumerate((HeldNudge(push), HeldNudge(-push), None)):
            substrate.settle()
            np.testing.assert_allclose(substrate.evolve(nudge, 4, 0.7).volts[:, 0], together[:, point], atol=1e-14)
        substrate.settle()
        np.testing.assert_allclose(substrate.evolve(pull, 4, 0.7).volts, fed, atol=1e-14)
        # Rest is that of the moving state: nudges still begin in the free one.
        substrate.rest()
        np.testing.assert_array_equal(substrate.settle_nudged(pull).volts, fed)
        np.testing.assert_array_equal(substrate.evolve(None, 6, 0.7).volts, by_steps)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_single_precision_is_within_a_hundred_thousandth(network: dict[str, Any]) -> None:
    found = []
    for precision in ("float64", "float32"):
        with device({"relaxation": "sweeps", "precision": precision}, **network) as substrate:
            free = substrate.settle()
            push = currents(substrate, 0.3)
            states = substrate.settle_nudged(HeldNudge(np.concatenate([push, -push], axis=1)))
            turned = substrate.settle_nudged(HeldNudge(1j * push))
            complexes = {"float64": "complex128", "float32": "complex64"}
            assert (free.volts.dtype, turned.volts.dtype) == (precision, complexes[precision])
            found.append((free.volts, states.volts, turned.volts, substrate.scale.volts_per_unit))
    for double, single in zip(*(one[:3] for one in found), strict=True):
        np.testing.assert_allclose(single / found[0][3], double / found[0][3], atol=1e-5)
        assert (single != double).any()


def test_what_does_not_come_to_rest_in_its_sweeps_is_not_settled() -> None:
    with device({"relaxation": "sweeps", "sweeps": {"tolerance": 1e-6, "free": 2}}) as short:
        assert not short.settle().settled.any()
    with device({"relaxation": "sweeps", "sweeps": {"tolerance": 1e-6, "free": 200}}) as long:
        assert long.settle().settled.all()


def test_a_sinusoid_is_held_at_each_of_its_values() -> None:
    """As many sweeps as it takes give the equilibria, few of them what a held nudge gives, crest and trough alike."""
    plan, found = SamplingPlan(1e3, 3, 8, 1), []
    for solver in ({"relaxation": "sweeps", "sweeps": {"free": 400, "nudged": 400}}, {}):
        with device(solver) as substrate:
            substrate.settle()
            found.append(substrate.nudge(Nudge(currents(substrate, 0.3)[:, 0]), plan).volts)
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)
    with device({"relaxation": "sweeps", "sweeps": {"nudged": 3}}) as substrate:
        substrate.settle()
        peak = currents(substrate, 0.3)[:, 0]
        record = substrate.nudge(Nudge(peak), plan).volts
        held = substrate.settle_nudged(HeldNudge(np.stack([peak, -peak], axis=1))).volts
    np.testing.assert_allclose(record[:, [0, 4]], held, rtol=0, atol=1e-15)


def test_noise_is_new_at_every_sample_of_a_sinusoid() -> None:
    with device({"relaxation": "sweeps"}, section={"neurons": {"noise": 0.01}}) as substrate:
        substrate.settle()
        volts = substrate.nudge(Nudge(currents(substrate, 0.3)[:, 0]), SamplingPlan(1e3, 3, 8, 2)).volts
    # Neither periods nor mirrored phases share a drawing.
    assert np.all(volts[:, :8] != volts[:, 8:])
    assert np.all(volts[:, 1] != volts[:, 7])


# Noise of every step.


def noisy(noise: float) -> dict[str, Any]:
    return {"neurons": {"noise": noise}, "solver": {"relaxation": "sweeps"}}


def test_noise_has_the_stated_deviation_at_every_step_and_node() -> None:
    """Without weights s = tanh(noise): 400 steps of 3 x 7 nodes, sample deviation within 1/sqrt(2 * 8400) = .8 %."""
    section = {"backend": "emulator", **noisy(0.04)}
    with backend.build(section, Network((4, 4, 3)), np.random.default_rng(0)) as substrate:
        substrate.hold(np.zeros((3, 4)))
        s = substrate.evolve(None, 400, every=1).volts / substrate.scale.volts_per_unit
        drawn = np.arctanh(s)
        assert drawn.std() == pytest.approx(0.04, rel=0.04)
        assert abs(drawn.mean()) < 6 * 0.04 / np.sqrt(drawn.size)
        neighbours = np.mean(drawn[:, 1:] * drawn[:, :-1]) / 0.04**2
        assert abs(neighbours) < 6 / np.sqrt(drawn.size)


def test_noise_is_reproducible_and_part_of_a_snapshot() -> None:
    def run() -> Iterator[Any]:
        with device(section=noisy(0.04)) as substrate:
            substrate.settle()
            assert substrate.states is not None
            saved = substrate.states.snapshot()
            for _ in range(2):
                substrate.states.restore(saved)
                substrate.hold(np.full((3, 4), 0.1))
                yield substrate.settle().volts

    first, again, second = *run(), next(run())
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, second)
    with device() as silent:
        silent.hold(np.full((3, 4), 0.1))
        assert np.abs(silent.settle().volts - first).max() > 1e-3


@pytest.mark.parametrize(
    ("section", "network", "message"),
    [
        ({"neurons": {"noise": 0.04}}, {}, r"neurons\.noise"),
        ({"solver": {"precision": "float32"}}, {}, r"solver.*precision"),
        ({"solver": {"relaxation": "sweeps", "sweeps": {"free": 0}}}, {}, r"sweeps\.free"),
        ({"solver": {"relaxation": "sweeps", "sweeps": {"time_constants": 1.5}}}, {}, r"time_constants"),
        ({"solver": {"relaxation": "sweeps"}, "cells": {"law": "sinh"}}, {}, r"solver\.relaxation"),
    ],
)
def test_what_does_not_go_together_is_refused_by_key(section: Any, network: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        backend.build({"backend": "emulator", **section}, Network((4, 3), **network), np.random.default_rng(0))


def test_bad_steps_are_refused_and_devices_without_them_say_so() -> None:
    zero = np.zeros((3, 1, NODES))
    with device() as substrate:
        for action, message in (
            (lambda: substrate.evolve(None, 0), "steps"),
            (lambda: substrate.evolve(None, 2.5), "steps"),
            (lambda: substrate.evolve(None, 3, 0.0), "time_constants"),
            (lambda: substrate.evolve(None, 3, 1.1), "time_constants"),
            (lambda: substrate.evolve(None, 3, every=4), "every"),
            (lambda: substrate.evolve(HeldNudge(np.zeros((3, 2, NODES)))), "single point"),
            (lambda: substrate.evolve(HeldNudge(np.zeros((2, 1, NODES)))), "batch of 3"),
        ):
            with pytest.raises(InputError, match=message):
                action()
    resistive = {"family": "resistive", "activation": "rectified", "feedback": "shared"}
    described = {"backend": "emulator"}
    with backend.build(described, Network(SIZES, **resistive), np.random.default_rng(0)) as passive:
        passive.hold(np.zeros((3, 4)))
        assert passive.stepper is None
        for action in (lambda: passive.evolve(HeldNudge(zero)), passive.rest):
            with pytest.raises(CapabilityError, match="stepping"):
                action()
        with pytest.raises(CapabilityError, match="stepping"):
            passive.oracle.adjoint(zero[:, 0], 3)
        with pytest.raises(CapabilityError, match="forward_products"):
            passive.products("input-hidden1", np.zeros((1, 6)), "backward")


@pytest.mark.parametrize("law", ["ohmic", "sinh"])
def test_an_array_read_backward_is_the_transpose_of_its_cells(law: str) -> None:
    with device(section={"cells": {"law": law}}) as substrate:
        coupling = substrate.network.arrays[1]
        cells = substrate.read_cells(coupling.name)
        volts = np.random.default_rng(0).uniform(-0.2, 0.2, (5, coupling.shape[1]))
        amperes = substrate.products(coupling.name, volts, "backward")
        assert amperes.shape == (5, coupling.shape[0])
        passed = volts if law == "ohmic" else np.sinh(SinhCell.alpha * volts) / SinhCell.alpha
        np.testing.assert_allclose(amperes, passed @ (cells[0] - cells[1]).T, rtol=1e-9, atol=1e-15)
        with pytest.raises(InputError, match="direction"):
            substrate.products(coupling.name, volts, "sideways")
        with pytest.raises(InputError, match="shape"):
            substrate.products(coupling.name, volts[:, :-1], "backward")


@pytest.mark.parametrize("ohms", [0.0, 50.0])
def test_sweeps_of_resistive_networks_lead_to_their_steady_states(ohms: float) -> None:
    """Block updates (Scellier 2024), node by node behind wires: many are the steady state, a few are not yet."""
    resistive: dict[str, Any] = {"family": "resistive", "activation": "rectified", "feedback": "shared"}
    found = {}
    for count in (0, 2, 300):
        solver = {"relaxation": "sweeps", "sweeps": {"free": count, "nudged": count}} if count else {}
        described = {"backend": "emulator", "solver": solver, "wires": {"segment_ohms": ohms}}
        with backend.build(described, Network(SIZES, **resistive), np.random.default_rng(0)) as substrate:
            random_weights(substrate, np.random.default_rng(1))
            substrate.hold(np.random.default_rng(2).uniform(-0.2, 0.2, (3, 4)))
            free = substrate.settle()
            push = HeldNudge(currents(substrate, 0.3))
            fed = feedback(substrate, 0.1)
            states = [substrate.settle_nudged(nudge).volts for nudge in (push, fed)]
            crest = substrate.nudge(Nudge(push.amperes[:, 0]), SamplingPlan(1e3, 3, 8, 1)).volts[:, :1]
            found[count] = [free.volts, *states, crest]
    for exact, near, few in zip(found[0], found[300], found[2], strict=True):
        np.testing.assert_allclose(near, exact, atol=1e-9)
        assert few is found[2][3] or np.abs(few - exact).max() > 1e-6
    np.testing.assert_allclose(found[2][3], found[0][3], atol=1e-9)


def test_wires_of_a_resistive_network_are_solved_for_once_while_its_cells_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    solved, solve = [], Crossbar.port_admittance

    def counted(crossbar: Crossbar) -> FloatArray:
        solved.append(crossbar.shape)
        return solve(crossbar)

    monkeypatch.setattr(Crossbar, "port_admittance", counted)
    described = {"backend": "emulator", "solver": {"relaxation": "sweeps"}, "wires": {"segment_ohms": 5.0}}
    network = Network(SIZES, family="resistive", activation="rectified", feedback="shared")
    with backend.build(described, network, np.random.default_rng(0)) as substrate:
        random_weights(substrate, np.random.default_rng(1))
        rng = np.random.default_rng(2)
        for batch in range(3):
            if batch == 2:
                name = network.arrays[0].name
                substrate.write_cells(WriteRequest(name, target_siemens=1.2 * substrate.read_cells(name)))
            for _ in range(2):
                substrate.hold(rng.uniform(-0.2, 0.2, (3, 4)))
                substrate.settle()
                substrate.settle_nudged(feedback(substrate, 0.1))
            if batch == 0:
                first = len(solved)
            assert (len(solved) == first) == (batch < 2)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"diodes": {"law": "shockley"}}, r"solver\.relaxation"),
        ({"neurons": {"noise": 0.1}}, r"neurons\.noise"),
        ({"solver": {"relaxation": "sweeps", "precision": "float32"}}, r"solver\.precision"),
    ],
)
def test_resistive_sweeps_refuse_what_they_do_not_have(section: Any, message: str) -> None:
    described = {"backend": "emulator", "solver": {"relaxation": "sweeps"}, **section}
    resistive: dict[str, Any] = {"family": "resistive", "activation": "rectified", "feedback": "shared"}
    with pytest.raises(InputError, match=message):
        backend.build(described, Network(SIZES, **resistive), np.random.default_rng(0))
