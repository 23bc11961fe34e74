"""Gradients through the public controller, against differences of the settled cost by changed weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from emulators.substrate import backend
from substrate.amplitude import Amplitude
from substrate.arrays import FloatArray, IntArray
from substrate.conjugates import exact_directions, sample_directions
from substrate.controller import Controller
from substrate.costs import SquaredError
from substrate.network import Network
from substrate.optimisers import SGD
from substrate.rules.homeostasis import Homeostasis
from substrate.rules.multiplexed import multiplexed_adjoint
from substrate.rules.oscillating import OscillatingEP
from substrate.rules.perturbation import Tones
from substrate.tones import SamplingPlan
from substrate.writing import Writer, WritingPlan

IDEAL: dict[str, Any] = {"backend": "emulator", "solver": {"residual": 1e-12}, "limits": {"current_amperes": 1.0}}


@contextmanager
def _device(
    network: Network,
    beta: float,
    harmonics: int = 3,
    samples: int = 16,
    periods: int = 1,
    conjugate: str = "auto",
    section: dict[str, Any] | None = None,
    seed: int = 0,
) -> Iterator[tuple[Any, Controller]]:
    rng = np.random.default_rng(seed)
    with backend.build({**IDEAL, **(section or {})}, network, rng) as substrate:
        plan = SamplingPlan(1e3, harmonics, samples, periods)
        yield (
            substrate,
            Controller(
                substrate,
                OscillatingEP(plan, Amplitude(beta, harmonics, 1e3), conjugate),
                SquaredError((-0.8, 0.8)),
                Writer(substrate, WritingPlan("outright"), np.random.default_rng(0)),
                SGD(0.0),
                Homeostasis(0.0, 0, np.random.default_rng(0)),
            ),
        )


def _weights(network: Network, scale: float = 1.2, angle: float = 0.0, seed: int = 1) -> dict[str, FloatArray]:
    """Couplings of largest singular value near ``scale``/2, feedback mirrored at an angle."""
    rng = np.random.default_rng(seed)
    weights = {c.name: scale * rng.standard_normal(c.shape) / np.sqrt(c.shape).sum() for c in network.forward}
    for coupling in network.backward if network.feedback == "separate" else ():
        mirror = network.mirror(coupling)
        assert mirror is not None
        other = scale * rng.standard_normal(coupling.shape) / np.sqrt(coupling.shape).sum()
        weights[coupling.name] = np.cos(angle) * weights[mirror.name][:-1].T + np.sin(angle) * other
    return weights


def _batch(network: Network, count: int = 6, seed: int = 2) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, network.input_size)), rng.integers(0, network.output.size, count)


def _differences(controller: Controller, weights: dict[str, FloatArray], batch: Any) -> dict[str, FloatArray]:
    """-dC/dw of every weight by central differences of the mean settled cost."""
    step = 1e-4
    found = {}
    for name, value in weights.items():
        found[name] = np.zeros(value.shape)
        for place in np.ndindex(*value.shape):
            losses = []
            for sign in (1.0, -1.0):
                changed = value.copy()
                changed[place] += sign * step
                controller.program({name: changed})
                losses.append(controller.evaluate(*batch).loss)
            found[name][place] = -(losses[0] - losses[1]) / (2 * step)
        controller.program({name: value})
    return found


def _distance(a: dict[str, FloatArray], b: dict[str, FloatArray]) -> float:
    norm = np.sqrt(sum(np.sum(value**2) for value in b.values()))
    return float(np.sqrt(sum(np.sum((a[name] - b[name]) ** 2) for name in b)) / norm)


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
@pytest.mark.parametrize("sizes", [(4, 5, 3), (4, 5, 4, 3)])
@pytest.mark.parametrize(("feedback", "conjugate"), [("separate", "postsynaptic"), ("shared", "product")])
def test_measured_gradients_are_differences_of_the_settled_cost(
    feedback: Any, conjugate: str, sizes: tuple[int, ...], activation: str
) -> None:
    network = Network(sizes, activation, feedback)
    weights, batch = _weights(network), _batch(network)
    with _device(network, 0.02, harmonics=7, samples=20, conjugate=conjugate) as (_, controller):
        controller.program(weights)
        phase, estimate = controller.measure(*batch)
        adjoint = controller.exact_adjoint(phase.error)
        reference = _differences(controller, weights, batch)
    assert estimate.keep.all()
    # Central differences of step 1e-4 are themselves right to about 1e-8.
    assert _distance(estimate.directions, reference) < 2e-6
    exact = {
        c.name: exact_directions(network, phase.inputs, phase.activity, adjoint, c).mean(axis=0) for c in network.arrays
    }
    assert _distance(exact, reference) < 3e-7


def test_the_product_of_separate_mirrored_arrays_is_the_sum_over_both_directions() -> None:
    network = Network((4, 5, 3))
    with _device(network, 0.02, 7, 20, conjugate="product") as (_, controller):
        weights = _weights(network)
        controller.program(weights)
        batch = _batch(network)
        _, estimate = controller.measure(*batch)
        reference = _differences(controller, weights, batch)
    pair = reference["hidden1-output"][:-1] + reference["output-hidden1"].T
    np.testing.assert_allclose(estimate.directions["hidden1-output"][:-1], pair, atol=5e-6 * np.abs(pair).max())
    np.testing.assert_allclose(estimate.directions["output-hidden1"].T, pair, atol=5e-6 * np.abs(pair).max())


def _errors(betas: tuple[float, ...], harmonics: int) -> FloatArray:
    """Relative error of the response of each amplitude, against the exact adjoint."""
    network = Network((4, 6, 3))
    found = []
    for beta in betas:
        with _device(network, beta, harmonics, 24) as (_, controller):
            controller.program(_weights(network))
            phase, estimate = controller.measure(*_batch(network))
            exact = controller.exact_adjoint(phase.error)
        found.append(np.linalg.norm(estimate.signals.response - exact) / np.linalg.norm(exact))
    return np.array(found)


@pytest.mark.parametrize(
    ("harmonics", "slope", "betas"), [(1, 2, (0.025, 0.05)), (3, 4, (0.025, 0.05)), (5, 6, (0.05, 0.1))]
)
def test_order_of_the_error_in_the_amplitude(harmonics: int, slope: int, betas: tuple[float, ...]) -> None:
    errors = _errors(betas, harmonics)
    assert np.log(errors[1] / errors[0]) / np.log(betas[1] / betas[0]) == pytest.approx(slope, abs=0.25)


def test_the_first_harmonic_has_three_quarters_of_the_error_of_a_symmetric_difference() -> None:
    network = Network((4, 6, 3))
    with _device(network, 0.05, 1, 24) as (_, controller):
        controller.program(_weights(network, 1.6))
        phase, estimate = controller.measure(*_batch(network))
        exact = controller.exact_adjoint(phase.error)
    crest, trough = estimate.signals.waveform[:, 0], estimate.signals.waveform[:, 12]
    symmetric = np.linalg.norm((crest - trough) / 0.1 - exact)
    assert np.linalg.norm(estimate.signals.response - exact) / symmetric == pytest.approx(0.75, rel=0.02)


def test_harmonics_improve_the_gradient_geometrically() -> None:
    errors = np.array([_errors((0.2,), harmonics)[0] for harmonics in (1, 3, 5, 7, 9)])
    ratios = errors[1:] / errors[:-1]
    assert (ratios < 0.5).all()
    assert errors[-1] < 1e-4


def test_asymmetric_feedback_gives_the_response_and_not_the_adjoint() -> None:
    """With J = W - D^-1, ds/dbeta = -J^-1 e (arXiv 2309.02214), which is the adjoint's -J^-T e only for symmetric J."""
    network = Network((4, 5, 3))
    with _device(network, 0.05, 5, 16) as (substrate, controller):
        controller.program(_weights(network, 1.6, angle=np.pi / 2))
        phase, estimate = controller.measure(*_batch(network))
        adjoint = controller.exact_adjoint(phase.error)
        cells = {c.name: substrate.read_cells(c.name) for c in network.arrays}
    unit = substrate.scale.unit_siemens
    w = np.zeros((8, 8))
    forward, back = (cells[name][0] - cells[name][1] for name in ("hidden1-output", "output-hidden1"))
    w[5:, :5], w[:5, 5:] = forward[:-1].T / unit, back.T / unit
    for row in range(len(phase.error)):
        slope = 1 - phase.activity[row] ** 2
        error = np.concatenate([np.zeros(5), phase.error[row]])
        jacobian = w - np.diag(1 / slope)
        np.testing.assert_allclose(estimate.signals.response[row], -np.linalg.solve(jacobian, error), atol=1e-7)
        np.testing.assert_allclose(adjoint[row], -np.linalg.solve(jacobian.T, error), atol=1e-9)
    assert np.linalg.norm(estimate.signals.response - adjoint) > 0.1 * np.linalg.norm(adjoint)


def test_the_multiplexed_reference_is_the_exact_adjoint_without_symmetry() -> None:
    network = Network((4, 5, 3))
    with _device(network, 0.2, 7, 20) as (substrate, controller):
        controller.program(_weights(network, 1.6, angle=np.pi / 2))
        phase, _ = controller.measure(*_batch(network))
        exact = controller.exact_adjoint(phase.error)
        found, sound, _ = multiplexed_adjoint(substrate, phase, Tones(0.05, SamplingPlan(1e3, 7, 20, 1)))
    assert sound.all()
    np.testing.assert_allclose(found, exact, atol=1e-5)


def _flip_flops(network: Network) -> dict[str, FloatArray]:
    """Two independent bistable pairs of a hidden and an output node, held by the input."""
    inward = np.array([[0.3, 0.3], [0.0, 0.0]])
    across = np.vstack([1.5 * np.eye(2), np.zeros((1, 2))])
    return {"input-hidden1": inward, "hidden1-output": across, "output-hidden1": 1.5 * np.eye(2)}


def test_samples_that_lose_their_branch_are_counted_and_left_out() -> None:
    network = Network((1, 2, 2))
    # Strongly held up, an output stays; hardly held and pushed down by its error, it falls.
    inputs, labels = np.array([[1.0], [0.02], [1.0]]), np.array([0, 0, 1])
    # Bistable pairs are curved: harmonics up to the seventh, so that those which stay are measured well.
    with _device(network, 0.35, 7, 24) as (_, controller):
        controller.program(_flip_flops(network))
        phase, estimate = controller.measure(inputs, labels)
        assert phase.usable.all()
        assert estimate.keep.tolist() == [True, False, True]
        assert estimate.excluded.lost_branch == 1
        assert estimate.excluded.total == 1
        kept, alone = estimate.directions, controller.measure(inputs[[0, 2]], labels[[0, 2]])[1].directions
        step = controller.step(inputs, labels, 0.0)
        assert step.report.lost_branch == 1
    for name, value in kept.items():
        np.testing.assert_allclose(value, alone[name], atol=1e-9)


def test_an_automatic_amplitude_leaves_out_samples_that_stay_lost_while_others_are_nudged_with_less() -> None:
    """One pair comes back under a smaller nudge and is refined further; what the others say while they rest is no
    response to a nudge."""
    network = Network((1, 2, 2))
    inputs = np.array([[1.0], [0.0005], [1.0], [0.6], [0.4], [0.3], [0.2]])
    labels = np.array([0, 0, 1, 0, 0, 0, 0])
    converters = {"converters": {"adc_noise_volts": 1e-5}}
    rng = np.random.default_rng(0)
    with backend.build({**IDEAL, "solver": {"residual": 1e-10}, **converters}, network, rng) as substrate:
        controller = Controller(
            substrate,
            OscillatingEP(SamplingPlan(1e3, 3, 16, 2), Amplitude(None, 3, 1e6, drive=3.0)),
            SquaredError((-0.8, 0.8)),
            Writer(substrate, WritingPlan("outright"), np.random.default_rng(0)),
            SGD(0.0),
            Homeostasis(0.0, 0, np.random.default_rng(0)),
        )
        controller.program(_flip_flops(network))
        phase, estimate = controller.measure(inputs, labels)
        exact = controller.exact_adjoint(phase.error)
    assert phase.usable.all()
    assert estimate.keep.any()
    assert estimate.excluded.lost_branch == estimate.excluded.total == (~estimate.keep).sum() > 0
    for found, wanted in zip(estimate.signals.response[estimate.keep], exact[estimate.keep], strict=True):
        np.testing.assert_allclose(found, wanted, atol=0.02)


def test_saturated_samples_are_counted_and_left_out() -> None:
    network = Network((4, 5, 3))
    section = {"converters": {"adc_bits": 14, "adc_range_volts": 0.12}}
    inputs, labels = _batch(network)
    with _device(network, 0.1, section=section) as (_, controller):
        controller.program(_weights(network, 1.0))
        _phase, estimate = controller.measure(inputs, labels)
    over = np.abs(estimate.signals.waveform).max(axis=(1, 2)) >= 0.6 * (1 - 2.0**-12)
    assert over.any()
    assert not over.all()
    assert not estimate.keep[over].any()
    assert estimate.keep[~over].all()
    assert estimate.excluded.total == over.sum()


@pytest.mark.parametrize(("feedback", "conjugate"), [("separate", "postsynaptic"), ("shared", "product")])
def test_predicted_standard_errors_are_those_of_repetition(feedback: Any, conjugate: str) -> None:
    network = Network((4, 5, 3), feedback=feedback)
    section = {"converters": {"adc_noise_volts": 1e-3}}
    with _device(network, 0.3, 3, 16, 4, conjugate, section) as (_, controller):
        controller.program(_weights(network))
        # The whole measurement is repeated: the free phase, whose noise is in the errors injected, and the record.
        estimates = [controller.measure(*_batch(network))[1] for _ in range(200)]
    for coupling in network.arrays:
        directions = np.array([estimate.directions[coupling.name] for estimate in estimates])
        measured = np.sqrt(directions.var(axis=0, ddof=1).sum())
        predicted = np.sqrt(np.mean([estimate.standard_errors[coupling.name] ** 2 for estimate in estimates]))
        assert predicted / measured == pytest.approx(1.0, abs=0.2)


def test_a_single_period_tells_nothing_of_its_noise() -> None:
    network = Network((4, 5, 3))
    section = {"converters": {"adc_noise_volts": 1e-3}}
    for periods, known in ((1, False), (2, True)):
        with _device(network, 0.3, 3, 16, periods, "postsynaptic", section) as (_, controller):
            controller.program(_weights(network))
            _, estimate = controller.measure(*_batch(network))
        errors = np.array(list(estimate.standard_errors.values()))
        assert np.isfinite(errors).all() == known
        assert np.isnan(errors).all() != known


def test_mean_directions_are_the_mean_of_the_samples() -> None:
    for feedback in ("separate", "shared"):
        network = Network((4, 5, 3), feedback=feedback)
        with _device(network, 0.2) as (_, controller):
            controller.program(_weights(network))
            _, estimate = controller.measure(*_batch(network))
        for coupling in network.arrays:
            samples = sample_directions(estimate.signals, coupling, estimate.conjugate)
            np.testing.assert_allclose(samples.mean(axis=0), estimate.directions[coupling.name], atol=1e-13)
