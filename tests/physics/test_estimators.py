"""EP in all its forms: known answers on a quadratic energy, orders in beta, and the noise that estimates predict."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from emulators.substrate import EmulatedSubstrate, backend
from substrate.arrays import FloatArray, IntArray
from substrate.controller import Controller
from substrate.costs import SquaredError
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.optimisers import SGD
from substrate.rules.always_on import AlwaysOnSection
from substrate.rules.base import Estimate, FreePhase
from substrate.rules.equilibrium_propagation import EquilibriumPropagationSection
from substrate.rules.held import held_nudge
from substrate.rules.holomorphic import HolomorphicSection
from substrate.rules.homeostasis import Homeostasis
from substrate.rules.oscillating import OscillatingSection
from substrate.rules.recurrent_backpropagation import BPTTSection, RecurrentBackpropagationSection
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection
from substrate.writing import Writer, WritingPlan

IDEAL: dict[str, Any] = {"backend": "emulator", "solver": {"residual": 1e-13}, "limits": {"current_amperes": 1.0}}
NOISY = {"neurons": {"volts_per_unit": 0.2}, "converters": {"adc_bits": 16, "adc_range_volts": 0.4}}
TARGETS = (-0.8, 0.8)


@contextmanager
def _device(
    network: Network, section: RuleSection, nudge: dict[str, Any] | None = None, **device: Any
) -> Iterator[tuple[EmulatedSubstrate, Controller]]:
    with backend.build({**IDEAL, **device}, network, np.random.default_rng(0)) as substrate:
        settings = NudgeConfig.model_validate(nudge or {})
        rng = np.random.default_rng(7)
        context = RuleContext(settings, network, substrate.capabilities, substrate.scale, "squared_error", rng)
        writer = Writer(substrate, WritingPlan("outright"), np.random.default_rng(0))
        quiet = Homeostasis(0.0, 0, np.random.default_rng(0))
        yield (
            substrate,
            Controller(substrate, section.build(context), SquaredError(TARGETS), writer, SGD(), quiet),
        )


def _weights(network: Network, scale: float = 0.8) -> dict[str, FloatArray]:
    rng = np.random.default_rng(1)
    weights = {c.name: scale * rng.standard_normal(c.shape) / np.sqrt(c.shape).sum() for c in network.forward}
    for coupling in network.backward if network.feedback == "separate" else ():
        mirror = network.mirror(coupling)
        assert mirror is not None
        weights[coupling.name] = weights[mirror.name][:-1].T.copy()
    return weights


def _batch(network: Network, count: int = 6) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(2)
    return rng.uniform(-1, 1, (count, network.input_size)), rng.integers(0, network.output.size, count)


def _measured(
    network: Network, section: RuleSection, amplitude: float = 0.2, **device: Any
) -> tuple[FreePhase, Estimate]:
    with _device(network, section, {"amplitude": amplitude}, **device) as (_, controller):
        controller.program(_weights(network))
        return controller.measure(*_batch(network))


def _joined(estimate: Estimate) -> FloatArray:
    return np.concatenate([direction.ravel() for direction in estimate.directions.values()])


def _distance(network: Network, section: RuleSection, amplitude: float) -> float:
    found = _joined(_measured(network, section, amplitude)[1])
    exact = _joined(_measured(network, RecurrentBackpropagationSection())[1])
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize(
    ("section", "accuracy"),
    [
        (HolomorphicSection(points=16, nudge="feedback"), 2e-8),
        # 1/(1 + beta) instead of 1, and 1/(1 - beta^2).
        (EquilibriumPropagationSection(variant="one_sided", nudge="feedback"), 0.17),
        (EquilibriumPropagationSection(nudge="feedback"), 0.042),
        # Currents that are held leave the energy quadratic: there is no error of any order.
        (EquilibriumPropagationSection(variant="one_sided"), 2e-8),
        (HolomorphicSection(points=1), 2e-8),
    ],
    ids=lambda value: "" if isinstance(value, float) else f"{value.name}-{value.nudge}",
)
def test_a_quadratic_energy_has_the_answer_target_less_state(section: RuleSection, accuracy: float) -> None:
    """Energy |s|^2/2 - p.s, cost |s - y|^2/2: linear outputs without hidden layers have s = p, and ds/dbeta = y - p."""
    network = Network((3, 4), "tanh", "shared", output_activation="linear")
    phase, estimate = _measured(network, section)
    wanted = phase.error
    worst = np.abs(estimate.signals.response - wanted).max() / np.abs(wanted).max()
    assert worst <= accuracy
    if accuracy > 1e-6:
        assert worst == pytest.approx(accuracy, rel=0.05)


@pytest.mark.parametrize("feedback", ["shared", "separate"])
@pytest.mark.parametrize(
    ("section", "order", "amplitude"),
    [
        (HolomorphicSection(points=1), 1, 0.01),
        (HolomorphicSection(points=2), 2, 0.05),
        (HolomorphicSection(points=4), 4, 0.1),
        (HolomorphicSection(points=6), 6, 0.15),
        (HolomorphicSection(points=6, nudge="feedback"), 6, 0.05),
        (EquilibriumPropagationSection(variant="one_sided"), 1, 0.01),
        (EquilibriumPropagationSection(variant="one_sided", nudge="feedback"), 1, 0.01),
        (EquilibriumPropagationSection(), 2, 0.05),
        (EquilibriumPropagationSection(nudge="feedback"), 2, 0.05),
    ],
)
def test_errors_are_of_the_order_in_beta_that_they_should_be(
    section: RuleSection, order: int, amplitude: float, feedback: Any
) -> None:
    network = Network((4, 5, 3), "tanh", feedback)
    large, small = (_distance(network, section, beta) for beta in (amplitude, amplitude / 2))
    assert np.log2(large / small) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("nudge", ["open_loop", "feedback"])
def test_two_points_of_the_circle_are_both_signs_and_one_is_one_sided(nudge: Any) -> None:
    network = Network((4, 5, 3), "tanh", "shared")
    for points, variant in ((2, "symmetric"), (1, "one_sided")):
        ours = _joined(_measured(network, HolomorphicSection(points=points, nudge=nudge))[1])
        theirs = _joined(
            _measured(network, EquilibriumPropagationSection.model_validate({"variant": variant, "nudge": nudge}))[1]
        )
        np.testing.assert_allclose(ours, theirs, atol=2e-9 * np.abs(theirs).max())


def test_the_half_circle_stands_for_the_whole() -> None:
    """Of an odd number of points too: sums over all of them, one by one, on the device."""
    network = Network((4, 5, 3), "tanh", "shared")
    for count in (3, 5, 6):
        _, estimate = _measured(network, HolomorphicSection(points=count), 0.4)
        with _device(network, HolomorphicSection(points=count)) as (substrate, controller):
            controller.program(_weights(network))
            phase, _ = controller.measure(*_batch(network))
            circle = 0.4 * np.exp(2j * np.pi * np.arange(count) / count)
            nudges = np.tile(circle, (len(phase.error), 1))
            held = held_nudge(network, substrate.scale, phase, nudges, "open_loop")
            states = substrate.settle_nudged(held).volts / substrate.scale.volts_per_unit
        wanted = (states / circle[:, None]).mean(axis=1)
        assert np.abs(wanted.imag).max() < 1e-9
        np.testing.assert_allclose(estimate.signals.response, wanted.real, atol=1e-9)


def test_random_signs_average_to_both_signs_and_go_on_where_they_were() -> None:
    network = Network((4, 5, 3), "tanh", "shared")
    _, symmetric = _measured(network, EquilibriumPropagationSection())
    section = EquilibriumPropagationSection(variant="random_sign")
    with _device(network, section, {"amplitude": 0.2}) as (_, controller):
        controller.program(_weights(network))
        state = controller.snapshot()
        found = [controller.measure(*_batch(network))[1] for _ in range(20)]
        controller.restore(state)
        again = controller.measure(*_batch(network))[1]
    np.testing.assert_array_equal(_joined(again), _joined(found[0]))
    signs = np.sign([one.signals.weights[:, 1] for one in found])
    assert np.all(np.abs(signs.sum(axis=0)) < len(signs))  # both occur, for every sample
    for sample in range(6):
        of_sign = [
            next(one.signals.response[sample] for one, drawn in zip(found, signs, strict=True) if drawn[sample] == sign)
            for sign in (1.0, -1.0)
        ]
        np.testing.assert_allclose(np.mean(of_sign, axis=0), symmetric.signals.response[sample], atol=1e-10)


def test_the_vector_field_rule_needs_no_shared_array_and_has_the_susceptibility_itself() -> None:
    """Unsymmetric feedback: ds/dbeta = chi e, by differences; the adjoint chi^T e is something else."""
    network = Network((4, 5, 3), "tanh", "separate")
    weights = _weights(network)
    weights["output-hidden1"] = 0.5 * np.random.default_rng(9).standard_normal((3, 5))
    section = HolomorphicSection(points=8, conjugate="postsynaptic")
    found = {}
    for amplitude in (0.05, 1e-3):
        with _device(network, section, {"amplitude": amplitude}) as (_, controller):
            controller.program(weights)
            phase, estimate = controller.measure(*_batch(network))
            adjoint = controller.exact_adjoint(phase.error)
            found[amplitude] = estimate.signals.response
    np.testing.assert_allclose(found[0.05], found[1e-3], atol=1e-6)
    assert np.linalg.norm(found[0.05] - adjoint) > 0.1 * np.linalg.norm(adjoint)


def test_always_on_comes_closer_with_every_step_of_a_dwell() -> None:
    """physics.md, section 4, check 3: the cosine after one period rises with the steps a point."""
    network = Network((4, 6, 6, 3), "tanh", "shared")
    exact = _joined(_measured(network, RecurrentBackpropagationSection())[1])
    lacking = []
    for steps in (2, 4, 8, 16, 32):
        found = _joined(_measured(network, AlwaysOnSection(points=10, steps_per_point=steps))[1])
        lacking.append(1.0 - found @ exact / np.linalg.norm(found) / np.linalg.norm(exact))
    assert all(later < 0.5 * earlier for earlier, later in pairwise(lacking) if earlier > 1e-6)
    assert lacking[-1] < 1e-6
    # Whole periods more leave the lag of the first behind.
    once, often = (
        _joined(_measured(network, AlwaysOnSection(points=10, steps_per_point=4, periods=periods))[1])
        for periods in (1, 4)
    )
    assert np.linalg.norm(once - often) > 1e-6 * np.linalg.norm(once)


def test_always_on_takes_no_free_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """From rest, fed back to targets: the same as from a settled network, the loss included; nothing ever settles."""
    network = Network((4, 6, 6, 3), "tanh", "shared")
    weights, batch = _weights(network), _batch(network)
    settled: list[EmulatedSubstrate] = []
    settle = EmulatedSubstrate._settle
    monkeypatch.setattr(EmulatedSubstrate, "_settle", lambda one: (settled.append(one), settle(one))[1])
    found = []
    for free_phase, lead in ((True, 0), (False, 0), (False, 2)):
        section = AlwaysOnSection(
            points=10, steps_per_point=30, nudge="feedback", free_phase=free_phase, lead_periods=lead
        )
        with _device(network, section, {"amplitude": 0.1}) as (_, controller):
            controller.program(weights)
            settled.clear()
            step = controller.step(*batch, rate=0.0)
            assert len(settled) == free_phase
            assert np.isnan(step.report.free_residual) == (not free_phase)
            found.append(step)
    expected = _joined(found[0].estimate)
    for step in found[1:]:
        assert step.report.loss == pytest.approx(found[0].report.loss, rel=1e-6)
        np.testing.assert_allclose(step.phase.activity, found[0].phase.activity, atol=1e-6)
        assert np.linalg.norm(_joined(step.estimate) - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("feedback", ["shared", "separate"])
def test_recurrent_backpropagation_is_exact_and_backpropagation_through_time_goes_there(feedback: Any) -> None:
    network = Network((4, 5, 3), "tanh", feedback)
    weights = _weights(network)
    with _device(network, RecurrentBackpropagationSection()) as (_, controller):
        controller.program(weights)
        batch = _batch(network)
        _, estimate = controller.measure(*batch)
        step = 1e-5
        for name, place in (("input-hidden1", (1, 2)), ("hidden1-output", (2, 1)), ("hidden1-output", (5, 0))):
            losses = []
            for sign in (1.0, -1.0):
                changed = weights[name].copy()
                changed[place] += sign * step
                controller.program({name: changed})
                losses.append(controller.evaluate(*batch).loss)
            controller.program({name: weights[name]})
            difference = -(losses[0] - losses[1]) / (2 * step)
            assert estimate.directions[name][place] == pytest.approx(difference, rel=1e-5)
    exact = _joined(estimate)
    errors = []
    for steps in (4, 8, 16, 64):
        found = _joined(_measured(network, BPTTSection(steps=steps))[1])
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    assert all(later < 0.7 * earlier for earlier, later in pairwise(errors))
    assert errors[-1] < 1e-8


def test_readings_predict_the_scatter_of_the_gradient() -> None:
    network = Network((4, 5, 3), "tanh", "shared")
    section = EquilibriumPropagationSection(readings=4)
    noisy = {**NOISY, "converters": {**NOISY["converters"], "adc_noise_volts": 2e-3}}
    with _device(network, section, {"amplitude": 0.05}, **noisy) as (_, controller):
        controller.program(_weights(network))
        estimates = [controller.measure(*_batch(network))[1] for _ in range(120)]
    for name in estimates[0].directions:
        scatter = np.sqrt(np.var([one.directions[name] for one in estimates], axis=0, ddof=1).sum())
        predicted = np.sqrt(np.mean([one.standard_errors[name] ** 2 for one in estimates]))
        assert predicted == pytest.approx(scatter, rel=0.2)
    single = _measured(network, EquilibriumPropagationSection())[1]
    assert np.isnan(list(single.standard_errors.values())).all()  # of one reading nothing is known


@pytest.mark.parametrize(
    ("section", "capability"),
    [
        (HolomorphicSection(points=3), "complex_nudges"),
        (HolomorphicSection(points=2, nudge="feedback"), "feedback_nudges"),
        (EquilibriumPropagationSection(nudge="feedback"), "feedback_nudges"),
        (AlwaysOnSection(points=4), "complex_nudges"),
        (AlwaysOnSection(points=2), "stepping"),
        (RecurrentBackpropagationSection(), "exact_adjoint"),
        (BPTTSection(), "stepping"),
        (OscillatingSection(), "simultaneous_sampling"),
    ],
)
def test_a_rule_is_refused_by_the_capability_that_is_lacking(section: RuleSection, capability: str) -> None:
    network = Network((4, 5, 3), "tanh", "shared")
    with backend.build(IDEAL, network, np.random.default_rng(0)) as substrate:
        substrate._capabilities = replace(substrate.capabilities, **{capability: False})
        context = RuleContext(
            NudgeConfig(), network, substrate.capabilities, substrate.scale, "squared_error", np.random.default_rng(0)
        )
        writer = Writer(substrate, WritingPlan("outright"), np.random.default_rng(0))
        quiet = Homeostasis(0.0, 0, np.random.default_rng(0))
        name = section.model_dump()["name"]
        with pytest.raises(CapabilityError, match=f"rule {name} needs the capability '{capability}'"):
            Controller(substrate, section.build(context), SquaredError(TARGETS), writer, SGD(), quiet)


def test_what_needs_no_capability_runs_without_it() -> None:
    """Two real points, open loop, are for any device."""
    network = Network((4, 5, 3), "tanh", "shared")
    for section in (HolomorphicSection(points=2), EquilibriumPropagationSection(), HolomorphicSection(points=1)):
        with _device(network, section) as (substrate, _):
            lacking = ("complex_nudges", "feedback_nudges", "stepping", "exact_adjoint", "simultaneous_sampling")
            substrate._capabilities = replace(substrate.capabilities, **dict.fromkeys(lacking, False))
            context = RuleContext(
                NudgeConfig(), network, substrate.capabilities, substrate.scale, "softmax", np.random.default_rng(0)
            )
            writer = Writer(substrate, WritingPlan("outright"), np.random.default_rng(0))
            quiet = Homeostasis(0.0, 0, np.random.default_rng(0))
            rule = section.build(context)
            controller = Controller(substrate, rule, SquaredError(TARGETS), writer, SGD(), quiet)
            controller.program(_weights(network))
            assert controller.measure(*_batch(network))[1].keep.all()


def test_complex_nudges_of_clipping_diodes_are_refused_by_key() -> None:
    resistive = Network((4, 5, 3), "rectified", "shared", "resistive")
    with pytest.raises(InputError, match=r"rule\.points: rule holomorphic_ep on a resistive network"):
        HolomorphicSection().check(resistive, NudgeConfig(), "squared_error")


def test_ep_on_a_resistive_network_is_the_exact_gradient_where_no_diode_switches() -> None:
    network = Network((4, 5, 3), "rectified", "shared", "resistive", amplifier_gain=2.0)
    rng = np.random.default_rng(3)
    weights = {c.name: rng.uniform(0.05, 0.4, c.shape) for c in network.forward}
    device = {"cells": {"window_siemens": [0.0, 1e-4], "unit_siemens": 1e-4}, "neurons": {"volts_per_unit": 0.01}}
    found = []
    for section in (EquilibriumPropagationSection(), RecurrentBackpropagationSection()):
        with _device(network, section, {"amplitude": 1e-3}, **device) as (_, controller):
            controller.program(weights)
            found.append(_joined(controller.measure(*_batch(network))[1]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5 * np.abs(found[1]).max())


@pytest.mark.parametrize("amplitude", [0.1, 0.5])
@pytest.mark.parametrize("noise_volts", [0.0, 2e-5, 2e-4, 2e-3])
def test_automatic_harmonics_are_nearly_the_best_ones(amplitude: float, noise_volts: float) -> None:
    network = Network((6, 8, 4), "tanh", "separate")
    converters = {**NOISY["converters"], "adc_noise_volts": noise_volts} if noise_volts else {}
    errors, chosen = {}, 0
    for harmonics in ("auto", 1, 3, 5, 7, 9):
        nudge = {"amplitude": amplitude, "harmonics": harmonics, "samples_per_period": 24}
        with _device(network, OscillatingSection(), nudge, **NOISY | {"converters": converters}) as (_, controller):
            controller.program(_weights(network, 1.0))
            batch = _batch(network, 16)
            controller.prepare(*batch)
            power = []
            for _ in range(8):
                phase, estimate = controller.measure(*batch)
                adjoint = controller.exact_adjoint(phase.error)
                power.append(np.sum((estimate.signals.response - adjoint) ** 2) / np.sum(adjoint**2))
            errors[harmonics] = float(np.sqrt(np.mean(power)))
            if harmonics == "auto":
                assert estimate.plan is not None
                chosen = estimate.plan.harmonics
    assert errors.pop("auto") <= 1.3 * min(errors.values()) + 1e-9
    assert chosen % 2 == 1


def test_automatic_periods_follow_the_noise_and_a_choice_is_resumed() -> None:
    network = Network((6, 8, 4), "tanh", "separate")
    periods = []
    for noise_volts in (2e-5, 2e-2):
        nudge = {"amplitude": 0.1, "harmonics": "auto", "periods": "auto", "samples_per_period": 16}
        converters = {**NOISY["converters"], "adc_noise_volts": noise_volts}
        with _device(network, OscillatingSection(), nudge, **NOISY | {"converters": converters}) as (_, controller):
            controller.program(_weights(network, 1.0))
            batch = _batch(network, 16)
            controller.prepare(*batch)
            state = controller.snapshot()
            plan = controller.measure(*batch)[1].plan
            controller.restore(state)
            assert controller.measure(*batch)[1].plan == plan
            assert plan is not None
            periods.append(plan.periods)
    assert periods[0] == 2
    assert periods[1] >= 8
