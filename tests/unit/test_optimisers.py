"""Optimisers against the recurrences that they are named after, and what a controller does with directions."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import pytest

from emulators.substrate import backend
from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.controller import Controller
from substrate.costs import SquaredError
from substrate.errors import InputError
from substrate.network import Network
from substrate.optimisers import SGD, Adam, Optimiser
from substrate.rules.adjoint import adjoint_estimate
from substrate.rules.base import Estimate, FreePhase, Rule, Update
from substrate.rules.homeostasis import Homeostasis
from substrate.writing import Writer, WritingPlan

NETWORK = Network((3, 4, 2), "tanh", "shared")
WEIGHTS = {c.name: 0.3 * np.random.default_rng(4).standard_normal(c.shape) for c in NETWORK.arrays}
INPUTS, LABELS = np.random.default_rng(5).uniform(-1, 1, (4, 3)), np.array([0, 1, 1, 0])


def test_adam_is_its_sums_over_all_past_gradients() -> None:
    """Moments written out as weighted sums: m_t = (1 - b1) sum b1^(t - k) g_k, and the same of the squares."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((6, 3, 2))
    ours = Adam(0.8, 0.95, 1e-6)
    for count in range(1, len(gradients) + 1):
        step = ours.step("a", gradients[count - 1], 0.01)
        past = gradients[:count]
        ages = np.arange(count - 1, -1, -1)[:, None, None]
        mean = 0.2 * np.sum(0.8**ages * past, axis=0) / (1 - 0.8**count)
        square = 0.05 * np.sum(0.95**ages * past**2, axis=0) / (1 - 0.95**count)
        np.testing.assert_allclose(step, 0.01 * mean / (np.sqrt(square) + 1e-6), rtol=1e-12)
    # The first step of another array has its own memory: the rate, whatever the size of the gradient.
    np.testing.assert_allclose(np.abs(ours.step("b", 100.0 * gradients[0], 0.01)), 0.01, rtol=1e-4)


@pytest.mark.parametrize("make", [lambda: SGD(0.9), lambda: Adam()])
def test_a_restored_optimiser_goes_on_bit_for_bit(make: Any) -> None:
    rng = np.random.default_rng(1)
    gradients = rng.standard_normal((5, 2, 2))
    ours: Optimiser = make()
    for gradient in gradients[:3]:
        ours.step("a", gradient, 0.1)
    other: Optimiser = make()
    other.restore(ours.snapshot())
    for gradient in gradients[3:]:
        np.testing.assert_array_equal(ours.step("a", gradient, 0.1), other.step("a", gradient, 0.1))


def test_impossible_settings_are_refused() -> None:
    for make, named in (
        (lambda: SGD(1.0), "momentum"),
        (lambda: Adam(first=1.0), "first"),
        (lambda: Adam(second=-0.1), "second"),
        (lambda: Adam(epsilon=0.0), "epsilon"),
    ):
        with pytest.raises(InputError, match=named):
            make()


@final
class Fixed(Rule):
    """Directions of ones, handed over at once in two halves or returned."""

    def __init__(self, applied: bool) -> None:
        self.applied = applied
        self.seen: list[FloatArray] = []

    @property
    def name(self) -> str:
        return "fixed"

    def requirements(self, network: Network) -> tuple[str, ...]:
        return ()

    def prepare(self, substrate: Substrate, phase: FreePhase) -> None:
        pass

    def snapshot(self) -> dict[str, Any]:
        return {}

    def restore(self, snapshot: dict[str, Any]) -> None:
        pass

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        batch = len(phase.error)
        plain = adjoint_estimate(
            substrate.network, phase, np.zeros(phase.activity.shape), np.ones(batch, np.bool_), np.zeros(batch), 0.0
        )
        directions = {c.name: np.ones(c.shape) for c in substrate.network.arrays}
        applied = self.applied and update is not None
        if applied and update is not None:
            self.seen.append(substrate.read_cells("input-hidden1"))
            update({name: 0.5 * value for name, value in directions.items()})
            self.seen.append(substrate.read_cells("input-hidden1"))
            update({"input-hidden1": 0.5 * directions["input-hidden1"]})
        return Estimate(
            plain.signals,
            plain.conjugate,
            plain.keep,
            plain.excluded,
            directions,
            plain.standard_errors,
            plain.amplitude,
            plain.truncation,
            applied=applied,
        )


def changes(rule: Rule, rate: float = 0.01, weight_decay: float = 0.0, frozen: Any = ()) -> Mapping[str, FloatArray]:
    """What a step of the rule does to the weights."""
    with backend.build({"backend": "emulator"}, NETWORK, np.random.default_rng(0)) as substrate:
        writer = Writer(substrate, WritingPlan("outright"), np.random.default_rng(0))
        quiet = Homeostasis(0.0, 0, np.random.default_rng(0))
        controller = Controller(substrate, rule, SquaredError((-0.8, 0.8)), writer, SGD(), quiet, frozen)
        controller.program(WEIGHTS)
        controller.measure(INPUTS, LABELS)
        before = {c.name: writer.weights(c) for c in NETWORK.arrays}
        controller.step(INPUTS, LABELS, rate, weight_decay=weight_decay)
        return {c.name: writer.weights(c) - before[c.name] for c in NETWORK.arrays}


def test_what_a_rule_has_written_itself_is_not_written_again() -> None:
    rule = Fixed(applied=True)
    done = changes(rule)
    np.testing.assert_allclose(done["input-hidden1"], 0.01, atol=1e-9)
    np.testing.assert_allclose(done["hidden1-output"], 0.005, atol=1e-9)
    assert np.all(rule.seen[0] != rule.seen[1])  # at once, while the rule goes on
    held = changes(Fixed(applied=True), frozen=("input-hidden1",))
    assert not held["input-hidden1"].any()
    np.testing.assert_allclose(changes(Fixed(applied=False))["hidden1-output"], 0.01, atol=1e-9)


def test_weight_decay_takes_its_share_of_every_weight() -> None:
    plain, decayed = changes(Fixed(applied=False)), changes(Fixed(applied=False), weight_decay=0.5)
    for name, value in WEIGHTS.items():
        np.testing.assert_allclose(decayed[name] - plain[name], -0.01 * 0.5 * value, atol=1e-9)
