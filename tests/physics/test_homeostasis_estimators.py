"""The four estimators of the penalty on asymmetry: closed forms, expectations, and what noise leaves of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from topologies import network_of, oscillating, training

from substrate.arrays import FloatArray
from substrate.controller import Controller
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import initial_weights
from substrate.experiment.config import load_experiment
from substrate.network import Network
from substrate.rules.asymmetry import asymmetry_from_susceptibility, first_order_asymmetry, joined
from substrate.rules.homeostasis import Homeostasis
from substrate.rules.homeostasis_forward import ForwardProducts
from substrate.rules.homeostasis_published import TransposedProducts
from substrate.rules.homeostasis_susceptibility import SusceptibilityGradient
from substrate.rules.penalty import PenaltyGradient
from substrate.rules.perturbation import Perturbed, Tones, perturb
from substrate.tones import SamplingPlan

TONES = Tones(0.01, SamplingPlan(1e3, 3, 12, 1))


@contextmanager
def held(
    sizes: list[int], scale: float = 0.9, angle_degrees: float = 90.0, samples: int = 2, **section: Any
) -> Iterator[tuple[Controller, FloatArray, FloatArray]]:
    """A controller around a device with random weights, inputs (sample, input) that it holds, and its W."""
    network = network_of(sizes)
    rng = np.random.default_rng(1)
    with training(network, oscillating(), section=section) as controller:
        controller.program(initial_weights(network, scale, 0.9, np.deg2rad(angle_degrees), rng))
        inputs = rng.uniform(-1, 1, (samples, network.input_size))
        substrate = controller._substrate
        substrate.hold(inputs * substrate.scale.volts_per_unit)
        substrate.settle()
        yield controller, inputs, matrix(controller)


def matrix(controller: Controller) -> FloatArray:
    """W, (node, node), from the cells."""
    network = controller.network
    found = np.zeros((network.node_count, network.node_count))
    for coupling in network.arrays:
        if coupling.source.start >= 0:
            weights = controller.writer.weights(coupling)[: coupling.source_lines]
            found[coupling.target.nodes, coupling.source.nodes] = weights.T
    return found


def as_matrix(network: Network, found: dict[str, FloatArray]) -> FloatArray:
    whole = np.zeros((network.node_count, network.node_count))
    for name, values in found.items():
        coupling = network.array(name)
        whole[coupling.target.nodes, coupling.source.nodes] = values[: coupling.source_lines].T
    return whole


def cosine(a: FloatArray, b: FloatArray) -> float:
    return float(np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def gradients(estimator: PenaltyGradient, controller: Controller, inputs: FloatArray, probes: int = 0) -> FloatArray:
    found = estimator.gradients(controller._substrate, inputs, probes, np.random.default_rng(7))
    return as_matrix(controller.network, found)


def test_the_published_estimator_is_the_gradient_of_its_own_sample_of_the_penalty() -> None:
    """Differences of the mean of ||J e||^2 - e^T J J e over the same probes, weight by weight (arXiv 2309.02214)."""
    with held([3, 4, 5, 3]) as (controller, inputs, w):
        found = gradients(TransposedProducts(), controller, inputs, probes=3)
        pairs = joined(controller.network)
    probes = np.random.default_rng(7).standard_normal((3, 12))

    def penalty(jacobian: FloatArray) -> float:
        forth = probes @ jacobian.T
        return float(np.mean(np.sum(forth**2, axis=1) - np.sum(probes * (forth @ jacobian.T), axis=1)))

    step, wanted = 1e-6, np.zeros(w.shape)
    for place in zip(*np.nonzero(pairs), strict=True):
        way = np.zeros(w.shape)
        way[place] = step
        wanted[place] = (penalty(w + way) - penalty(w - way)) / (2 * step)
    np.testing.assert_allclose(found, wanted, atol=1e-7)


@pytest.mark.parametrize("estimator", [ForwardProducts(), TransposedProducts()])
def test_both_estimators_from_products_have_the_exact_gradient_as_expectation(estimator: PenaltyGradient) -> None:
    with held([2, 4, 3]) as (controller, inputs, w):
        rng = np.random.default_rng(3)
        draws = np.array(
            [
                as_matrix(controller.network, estimator.gradients(controller._substrate, inputs, 2, rng))
                for _ in range(1500)
            ]
        )
    error = draws.mean(axis=0) - 2.0 * (w - w.T)
    deviation = draws.std(axis=0) / np.sqrt(len(draws))
    entries = deviation > 0
    assert np.count_nonzero(entries) == 24
    assert (np.abs(error[entries]) < 5 * deviation[entries]).all()


def test_the_forward_estimator_is_less_noisy_than_the_published_one() -> None:
    with held([2, 6, 5]) as (controller, inputs, w):
        rng = np.random.default_rng(3)
        errors = []
        for estimator in (ForwardProducts(), TransposedProducts()):
            found = [
                as_matrix(controller.network, estimator.gradients(controller._substrate, inputs, 5, rng))
                for _ in range(60)
            ]
            errors.append(np.mean([np.sum((one - 2.0 * (w - w.T)) ** 2) for one in found]))
    assert errors[0] < 0.5 * errors[1]


DEVICES: dict[str, dict[str, Any]] = {
    "ideal": {},
    "mismatch": {"neurons": {"gain_spread": 0.2, "offset_spread": 0.1}},
}


@pytest.mark.parametrize("sizes", [[6, 9, 4], [5, 8, 7, 6]])
@pytest.mark.parametrize("name", ["ideal", "mismatch"])
def test_without_noise_the_measured_asymmetry_is_exact(sizes: list[int], name: str) -> None:
    with held(sizes, **DEVICES[name]) as (controller, inputs, w):
        found = gradients(SusceptibilityGradient(TONES, 2, asymmetry_from_susceptibility), controller, inputs)
    np.testing.assert_allclose(found, 2.0 * (w - w.T), atol=1e-5)


def test_the_measured_asymmetry_is_that_of_the_circuit() -> None:
    """Wires that take a part of what the cells give take it from the asymmetry as well."""
    with held([6, 9, 4], wires={"segment_ohms": 100.0}) as (controller, inputs, cells):
        measured = gradients(SusceptibilityGradient(TONES, 1, asymmetry_from_susceptibility), controller, inputs)
        effective = gradients(ForwardProducts(), controller, inputs)
        np.testing.assert_allclose(measured, effective, atol=1e-5)
        assert np.abs(measured - 2.0 * (cells - cells.T)).max() > 1e-3


@pytest.mark.parametrize(("rate", "strength"), [(0.1, 1.0), (0.5, 0.4)])
def test_measured_asymmetry_shrinks_by_the_stated_factor(rate: float, strength: float) -> None:
    """By 1 - 4 rate strength/n a step, while W + W^T stays, whatever the neurons' slopes (physics.md, section 3)."""
    with held([3, 4, 3]) as (controller, inputs, w):
        homeostasis = Homeostasis(
            strength, 0, np.random.default_rng(1), SusceptibilityGradient(TONES, 1, asymmetry_from_susceptibility)
        )
        substrate = controller._substrate
        for _ in range(3):
            for name, direction in homeostasis.directions(substrate, inputs).items():
                controller.writer.change(controller.network.array(name), rate * direction)
            after = matrix(controller)
            shrunk = (1 - 4 * rate * strength / 7) * (w - w.T)
            np.testing.assert_allclose(after - after.T, shrunk, atol=1e-6)
            np.testing.assert_allclose(after + after.T, w + w.T, atol=1e-9)
            w = after


def noisy(found: Perturbed, share: float, of: str, rng: np.random.Generator) -> Perturbed:
    """With noise on every entry of chi of a share of their rms, or of the entry itself."""
    chi = found.susceptibility
    size = np.sqrt(np.mean(chi**2))
    errors = share * rng.standard_normal(chi.shape) * (size if of == "rms" else chi)
    # chi = R^T P/p, and P^T P = p: what makes these errors of chi.
    responses = found.responses + found.patterns @ errors.swapaxes(1, 2)
    power = float(np.sum(found.patterns[:, 0] ** 2))
    return replace(found, responses=responses, variance=(share * size) ** 2 * power)


@pytest.mark.parametrize("of", ["rms", "entry"])
@pytest.mark.parametrize(
    ("sizes", "scale", "angle"),
    [
        ([8, 64, 10], 0.9, 90.0),
        ([8, 64, 64, 10], 0.8, 90.0),
        ([8, 64, 64, 10], 0.6, 30.0),
        ([8, 32, 32, 32, 10], 0.55, 60.0),
    ],
)
def test_measured_asymmetry_at_one_percent_of_noise(sizes: list[int], scale: float, angle: float, of: str) -> None:
    """Cosine to the exact direction of .9 and more where cond(chi) <= 10, from a single sample."""
    with held(sizes, scale, angle, samples=1) as (controller, inputs, w):
        found = perturb(controller._substrate, inputs, Tones(0.01, SamplingPlan(1e3, 1, 4, 1)))
        assert np.linalg.cond(found.susceptibility[0]) <= 10.0
        measured = asymmetry_from_susceptibility(controller.network, noisy(found, 0.01, of, np.random.default_rng(5)))
    assert measured is not None
    assert cosine(measured, w - w.T) >= 0.98


def test_what_regularising_is_for() -> None:
    """Where noise is as large as the smallest singular values of chi, the plain inverse is worse."""
    with held([8, 32, 32, 10], 1.2, 60.0, samples=1) as (controller, inputs, w):
        found = perturb(controller._substrate, inputs, Tones(0.01, SamplingPlan(1e3, 1, 4, 1)))
        loud = noisy(found, 0.2, "rms", np.random.default_rng(5))
        network = controller.network
        regular, plain = (
            cosine(asymmetry_from_susceptibility(network, one), w - w.T) for one in (loud, replace(loud, variance=0.0))
        )
    assert regular > 1.2 * plain
    assert regular > 0.6


def test_an_asymmetry_that_is_all_error_is_not_acted_on() -> None:
    """Of symmetric weights noise alone is found, as much between nodes that are joined as between others."""
    shares = []
    with held([8, 32, 32, 10], 0.9, 0.0, samples=1) as (controller, inputs, w):
        assert np.abs(w - w.T).max() < 1e-12
        found = perturb(controller._substrate, inputs, Tones(0.01, SamplingPlan(1e3, 1, 4, 1)))
        for seed in range(6):
            loud = noisy(found, 0.05, "rms", np.random.default_rng(seed))
            chi = loud.susceptibility[0]
            inverse = np.linalg.inv(chi)
            whole = np.where(joined(controller.network), inverse @ (chi - chi.T) @ inverse.T, 0.0)
            kept = asymmetry_from_susceptibility(controller.network, loud)
            shares.append(np.linalg.norm(kept) / np.linalg.norm(whole))
    assert np.median(shares) < 0.3


def test_samples_in_which_neurons_are_saturated_weigh_less() -> None:
    """Deep in saturation a neuron's own answer drowns in what the curvature of others leaves."""
    with held([6, 9, 4], samples=2) as (controller, _, w):
        substrate = controller._substrate
        coupling = controller.network.forward[0]
        weights = controller.writer.weights(coupling)
        weights[0, :3] = 2.0
        controller.writer.program(coupling, weights)
        inputs = np.zeros((2, 6))
        inputs[0, 0] = 1.4
        substrate.hold(inputs * substrate.scale.volts_per_unit)
        assert np.abs(substrate.settle().volts[0]).max() > 0.98 * substrate.scale.volts_per_unit
        tones = Tones(0.1, SamplingPlan(1e3, 1, 4, 1))
        both, calm = (
            asymmetry_from_susceptibility(controller.network, perturb(substrate, one, tones))
            for one in (inputs, inputs[1:])
        )
        lone = asymmetry_from_susceptibility(controller.network, perturb(substrate, inputs[:1], tones))
    errors = [np.linalg.norm(one - (w - w.T)) / np.linalg.norm(w - w.T) for one in (both, calm, lone)]
    assert errors[0] < 1.5 * errors[1]
    assert errors[2] > 2.0 * errors[1]


def test_noise_of_the_converters_is_noise_of_chi() -> None:
    """The variance that is regularised against is that of the errors of chi."""
    with held([8, 16, 10], converters={"adc_noise_volts": 1e-4}) as (controller, inputs, w):
        tones = Tones(0.05, SamplingPlan(1e3, 1, 4, 4))
        found = perturb(controller._substrate, inputs, tones)
        again = perturb(controller._substrate, inputs, tones)
        measured = gradients(SusceptibilityGradient(tones, 2, asymmetry_from_susceptibility), controller, inputs)
    scatter = np.var(found.susceptibility - again.susceptibility) / 2
    assert scatter == pytest.approx(found.susceptibility_variance, rel=0.15)
    assert cosine(measured, w - w.T) > 0.98


@pytest.mark.parametrize(
    ("sizes", "gain", "low", "high"),
    [
        ([8, 64, 10], 0.2, 0.99, 1.0),
        ([8, 64, 64, 64, 10], 0.3, 0.99, 1.0),
        ([8, 64, 64, 64, 10], 0.8, 0.6, 0.9),
        ([8, 64, 64, 64, 10], 0.95, 0.1, 0.5),
    ],
)
def test_the_local_rule_is_right_where_couplings_are_weak(
    sizes: list[int], gain: float, low: float, high: float
) -> None:
    """Cosine to the exact direction by the loop gain, the largest real part of the eigenvalues of D W."""
    with held(sizes, 1.0, 90.0, samples=1) as (controller, inputs, w):
        network = controller.network
        share = gain / np.linalg.eigvals(w).real.max()
        # No inputs: all neurons are at slope 1.
        for coupling in network.arrays:
            free = coupling.source.start >= 0
            controller.writer.program(coupling, controller.writer.weights(coupling) * (share if free else 0.0))
        found = perturb(controller._substrate, inputs, Tones(0.002, SamplingPlan(1e3, 1, 4, 1)))
        local, whole = first_order_asymmetry(network, found), asymmetry_from_susceptibility(network, found)
    assert local is not None
    assert whole is not None
    assert low <= cosine(local, w - w.T) <= high
    assert cosine(whole, w - w.T) > 0.9999


def test_a_device_without_ports_or_transposed_reads_is_refused_by_the_capability() -> None:
    with held([6, 9, 4]) as (controller, _, _):
        substrate = controller._substrate
        for estimator, lacks in (
            (ForwardProducts(), "forward_products"),
            (TransposedProducts(), "transposed_products"),
            (SusceptibilityGradient(TONES, 1, asymmetry_from_susceptibility), "node_nudges"),
            (SusceptibilityGradient(TONES, 1, first_order_asymmetry), "node_nudges"),
        ):
            whole = substrate.capabilities
            substrate._capabilities = replace(whole, **{lacks: False})
            with pytest.raises(CapabilityError, match=f"homeostasis needs the capability '{lacks}'"):
                Controller(
                    substrate,
                    oscillating(),
                    controller._cost,
                    controller.writer,
                    controller._optimiser,
                    Homeostasis(1.0, 0, np.random.default_rng(0), estimator),
                )
            substrate._capabilities = whole


def test_nothing_is_pulled_where_no_sample_could_be_probed() -> None:
    with held([6, 9, 4], converters={"adc_bits": 12, "adc_range_volts": 0.01}) as (controller, inputs, _):
        for estimator in (
            SusceptibilityGradient(TONES, 1, asymmetry_from_susceptibility),
            SusceptibilityGradient(TONES, 1, first_order_asymmetry),
        ):
            homeostasis = Homeostasis(1.0, 0, np.random.default_rng(0), estimator)
            assert homeostasis.directions(controller._substrate, inputs) == {}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (
            ["homeostasis.estimator=exact"],
            r"homeostasis\.estimator: expected one of forward, published, measured, local, got 'exact'",
        ),
        (
            ["homeostasis.estimator=local", "nudge.amplitude=0.1", "nudge.periods=auto"],
            r"nudge\.periods: .*homeostasis",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_named(overrides: list[str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_experiment("iris", overrides)
