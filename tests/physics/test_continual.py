"""Continual EP: gradient-descending updates, telescoping, weights that act at once, and learning."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from topologies import batch_of, network_of, start, training

from substrate import load_experiment, run
from substrate.arrays import FloatArray
from substrate.conjugates import exact_mean, sample_directions
from substrate.controller import Controller
from substrate.errors import CapabilityError, InputError
from substrate.experiment.runfile import open_run
from substrate.network import Network
from substrate.outer_products import dense
from substrate.rules.base import Estimate
from substrate.rules.continual import ContinualEP, ContinualSection
from substrate.tones import SamplingPlan

BATCH = 6


def rule_of(amplitude: float, **keys: Any) -> ContinualEP:
    section = ContinualSection(**keys)
    plan = SamplingPlan(1e3, 3, 16, 1) if section.moves == "periods" else None
    return ContinualEP(section, amplitude, plan, np.random.default_rng(5))


def network(feedback: str) -> Network:
    return network_of([5, 7, 4], feedback=feedback)


def measured(
    feedback: str, rule: ContinualEP, angle_degrees: float = 0.0
) -> tuple[Estimate, dict[str, FloatArray], list[dict[str, FloatArray]]]:
    """The estimate with weights that stand still, the exact directions, and the increments of every move."""
    net = network(feedback)
    heard: list[dict[str, FloatArray]] = []
    with training(net, rule) as controller:
        controller.program(start(net, angle_degrees))
        phase, _ = controller.measure(*batch_of(net, BATCH))
        estimate = rule.measure(
            controller._substrate, phase, lambda found: heard.append({name: dense(one) for name, one in found.items()})
        )
        controller._substrate.settle()
        adjoint = controller.exact_adjoint(phase.error)
        share = np.full(BATCH, 1.0 / BATCH)
        exact = {c.name: exact_mean(net, phase.inputs, phase.activity, adjoint, share, c) for c in net.arrays}
    return estimate, exact, heard


def error(found: dict[str, FloatArray], wanted: dict[str, FloatArray]) -> float:
    square = sum(float(np.sum((found[name] - wanted[name]) ** 2)) for name in wanted)
    return float(np.sqrt(square / sum(float(np.sum(wanted[name] ** 2)) for name in wanted)))


@pytest.mark.parametrize("feedback", ["shared", "separate"])
@pytest.mark.parametrize("nudge", ["open_loop", "feedback"])
def test_increments_of_weights_that_stand_still_add_up_to_the_gradient(feedback: str, nudge: str) -> None:
    rule = rule_of(1e-5, count=80, nudge=nudge)
    estimate, exact, heard = measured(feedback, rule)
    assert estimate.applied
    assert len(heard) == 80
    for name, whole in estimate.directions.items():
        np.testing.assert_allclose(sum(one[name] for one in heard), whole, rtol=0, atol=1e-9 * np.abs(whole).max())
    assert error(estimate.directions, exact) < 2e-4


@pytest.mark.parametrize(("amplitude", "bound"), [(0.1, 0.2), (0.01, 0.02), (0.001, 0.002)])
def test_each_increment_is_a_step_of_backpropagation_through_time(amplitude: float, bound: float) -> None:
    """Gradient-descending updates: the error is of the order of beta (arXiv 2005.04168, theorem 1)."""
    net, rule = network("separate"), rule_of(amplitude, count=8)
    heard: list[dict[str, FloatArray]] = []
    with training(net, rule) as controller:
        controller.program(start(net, 0.0))
        phase, _ = controller.measure(*batch_of(net, BATCH))
        controller._substrate.settle()
        oracle, scale = controller._substrate.oracle, controller._substrate.scale
        assert oracle is not None
        values = np.zeros((BATCH, net.node_count))
        values[:, net.output.nodes] = phase.error
        through_time = [np.zeros_like(values)]
        through_time += [oracle.adjoint(values, steps=k) * scale.unit_siemens for k in range(1, 9)]
        rule.measure(
            controller._substrate, phase, lambda found: heard.append({name: dense(one) for name, one in found.items()})
        )
    share = np.full(BATCH, 1.0 / BATCH)
    coupling = net.array("input-hidden1")
    worst = 0.0
    for step in range(8):
        lag = through_time[step + 1] - through_time[step]
        wanted = exact_mean(net, phase.inputs, phase.activity, lag, share, coupling)
        # The nudge reaches the hidden layer in the second step.
        if np.any(wanted):
            worst = max(worst, float(np.linalg.norm(heard[step][coupling.name] - wanted) / np.linalg.norm(wanted)))
    assert 1e-5 < worst < bound


def test_weights_act_at_once() -> None:
    """The angle between what was written and the frozen gradient falls with the rate over beta."""
    net = network("shared")
    angles = []
    for rate in (1e-4, 1e-3, 1e-2):
        rule = rule_of(0.02, count=40)
        with training(net, rule) as controller:
            controller.program(start(net, 0.0))
            batch = batch_of(net, BATCH)
            frozen = controller.measure(*batch)[1].directions
            before = weights(controller)
            controller.step(*batch, rate=rate)
            change = {name: value - before[name] for name, value in weights(controller).items()}
        dot = sum(float(np.sum(change[name] * frozen[name])) for name in frozen)
        norms = [np.sqrt(sum(float(np.sum(one[name] ** 2)) for name in frozen)) for one in (change, frozen)]
        angles.append(float(np.degrees(np.arccos(np.clip(dot / (norms[0] * norms[1]), -1, 1)))))
    assert angles[0] < angles[1] < angles[2]
    assert angles[0] < 1.0
    # Of first order in the rate.
    assert 5.0 < angles[1] / angles[0] < 20.0


def weights(controller: Controller) -> dict[str, FloatArray]:
    return {c.name: np.array(controller.writer.weights(c)) for c in controller.network.arrays}


@pytest.mark.parametrize("feedback", ["shared", "separate"])
def test_periods_of_a_sinusoid_add_up_to_the_gradient(feedback: str) -> None:
    estimate, exact, heard = measured(feedback, rule_of(0.05, moves="periods", count=4))
    assert len(heard) == 4
    assert error(estimate.directions, exact) < 1e-3
    # What a gradient check compares is of a whole period, not of one's share.
    for name, direction in estimate.directions.items():
        samples = sample_directions(estimate.signals, network(feedback).array(name), estimate.conjugate)
        np.testing.assert_allclose(samples.mean(axis=0), direction, rtol=0, atol=1e-6 * np.abs(direction).max())


@pytest.mark.parametrize(
    ("moves", "count", "feedback"), [("steps", 15, "separate"), ("periods", 3, "separate"), ("steps", 15, "shared")]
)
def test_iris_is_learnt_while_the_network_moves(tmp_path: Path, moves: str, count: int, feedback: str) -> None:
    experiment = load_experiment(
        "iris",
        [
            f"rule={{name: continual_ep, moves: {moves}, count: {count}}}",
            "nudge.amplitude=0.5",
            "training.momentum=0.0",
            "training.learning_rate=0.03",
            "training.epochs=30",
            f"network.feedback={feedback}",
            "homeostasis.strength=0.0",
        ],
    )
    with open_run(run(experiment, tmp_path / "run.h5")) as found:
        assert found.summary()["test_accuracy"] >= 0.9


def test_a_device_that_cannot_be_stopped_is_refused_by_the_capability() -> None:
    rule = rule_of(0.1)
    assert rule.requirements(network("shared")) == ("stepping",)
    net = network_of([4, 3, 2], family="resistive", activation="rectified", feedback="shared")
    with pytest.raises(CapabilityError, match="stepping"), training(net, rule):
        pass


def test_a_sinusoid_has_no_feedback() -> None:
    experiment = [
        "rule={name: continual_ep, moves: periods, nudge: feedback}",
        "nudge.amplitude=0.5",
        "training.momentum=0.0",
    ]
    with pytest.raises(InputError, match=r"rule\.nudge"):
        load_experiment("iris", experiment)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("nudge={amplitude: 0.5, richardson: 2}", r"nudge\.richardson: rule continual_ep has one frequency"),
        ("nudge={amplitude: 0.5, harmonics: auto}", r"nudge\.harmonics: rule continual_ep is given its tone"),
        ("nudge={amplitude: 0.5, settle_tolerance: 0.1}", r"nudge\.settle_tolerance: rule continual_ep does not"),
        ("training.weight_decay=[0.0, 0.1]", r"training\.weight_decay: rule continual_ep writes what it measures"),
    ],
)
def test_keys_that_would_do_nothing_are_refused(override: str, named: str) -> None:
    experiment = ["rule={name: continual_ep, moves: periods}", "nudge.amplitude=0.5", "training.momentum=0.0"]
    load_experiment("iris", experiment)
    with pytest.raises(InputError, match=named):
        load_experiment("iris", [*experiment, override])


@pytest.mark.parametrize("override", ["training.momentum=0.9", "training.optimiser=adam"])
def test_nothing_adds_up_over_the_steps_of_a_sample(override: str) -> None:
    with pytest.raises(InputError, match=r"training\.momentum"):
        load_experiment("iris", ["rule={name: continual_ep}", "nudge.amplitude=0.5", "training.momentum=0.0", override])
