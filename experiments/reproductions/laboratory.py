"""What reproductions on small networks share: emulated networks with random weights, gradients, and their errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from emulators.substrate import backend
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.conjugates import exact_directions, exact_mean, sample_directions
from substrate.controller import Controller
from substrate.costs import SquaredError
from substrate.experiment.assembly import initial_weights
from substrate.network import Network
from substrate.optimisers import SGD
from substrate.rules.base import Estimate, FreePhase, Rule
from substrate.rules.homeostasis import Homeostasis
from substrate.writing import Writer, WritingPlan

Directions = dict[str, FloatArray]

FEWEST = 8
"""Samples that a mean is of: of fewer, chance decides."""
IDEAL: dict[str, Any] = {"backend": "emulator", "solver": {"residual": 1e-12}, "limits": {"current_amperes": 1.0}}


@contextmanager
def bench(
    network: Network,
    rule: Rule,
    weights: Mapping[str, FloatArray],
    section: Mapping[str, Any] = IDEAL,
    targets: tuple[float, float] = (-0.8, 0.8),
) -> Iterator[Controller]:
    """A controller around an emulated device with these weights."""
    with backend.build(dict(section), network, np.random.default_rng(0)) as substrate:
        controller = Controller(
            substrate,
            rule,
            SquaredError(targets),
            Writer(substrate, WritingPlan("outright"), np.random.default_rng(0)),
            SGD(),
            Homeostasis(0.0, 0, np.random.default_rng(0)),
        )
        controller.program(weights)
        yield controller


def random_weights(
    network: Network, seed: int, scale: float = 0.9, input_scale: float = 0.9, angle_degrees: float = 0.0
) -> Directions:
    """Normal weights and biases."""
    rng = np.random.default_rng(seed)
    weights = initial_weights(network, scale, input_scale, np.deg2rad(angle_degrees), rng)
    for coupling in network.forward:
        weights[coupling.name][coupling.source_lines :] = 0.3 * rng.standard_normal(coupling.shape[1])
    return weights


def random_batch(network: Network, count: int, seed: int) -> tuple[FloatArray, IntArray]:
    """Uniform inputs and random labels."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, network.input_size)), rng.integers(0, network.output.size, count)


def exact(controller: Controller, phase: FreePhase) -> Directions:
    """The exact mean direction of every array, from the device's implicit adjoint at the batch that is held."""
    adjoint = controller.exact_adjoint(phase.error)
    share = np.full(len(phase.error), 1.0 / len(phase.error))
    network = controller.network
    return {c.name: exact_mean(network, phase.inputs, phase.activity, adjoint, share, c) for c in network.settling}


def exact_samples(controller: Controller, phase: FreePhase) -> Directions:
    """As ``exact``, sample by sample, (batch, rows, columns)."""
    adjoint, network = controller.exact_adjoint(phase.error), controller.network
    return {c.name: exact_directions(network, phase.inputs, phase.activity, adjoint, c) for c in network.settling}


def sample_cosines(network: Network, estimate: Estimate, wanted: Mapping[str, FloatArray]) -> FloatArray:
    """Of every sample's direction to the wanted one, (batch,), samples that the rule would refuse among them."""
    pairs = [(sample_directions(estimate.signals, c, estimate.conjugate), wanted[c.name]) for c in network.settling]
    dot, own, other = (
        sum(np.sum(one * two, axis=(1, 2)) for one, two in chosen)
        for chosen in (pairs, [(a, a) for a, _ in pairs], [(b, b) for _, b in pairs])
    )
    return np.asarray(dot / np.maximum(np.sqrt(own * other), np.finfo(float).tiny))


def on_common_samples(cosines: FloatArray, kept: BoolArray) -> tuple[FloatArray, IntArray]:
    """Means over the samples that every estimator kept: others would compare estimators on what each finds easy.

    Args:
        cosines: (estimator, amplitude, sample).
        kept: of the same shape.

    Returns:
        Means, (estimator, amplitude), NaN where fewer than ``FEWEST`` samples are left; how many are, (amplitude,).
    """
    common = kept.all(axis=0)
    count = common.sum(axis=1)
    means = np.sum(cosines * common, axis=2) / np.maximum(count, 1)
    return np.where(count >= FEWEST, means, np.nan), count


def in_words(mean: float, digits: int) -> str:
    """A mean for a table."""
    return f"fewer than {FEWEST} left" if np.isnan(mean) else f"{mean:.{digits}f}"


def flat(directions: Mapping[str, FloatArray], wanted: Mapping[str, FloatArray]) -> FloatArray:
    """All entries in one vector, in the order of ``wanted``."""
    return np.concatenate([directions[name].ravel() for name in wanted])


def relative_error(found: Mapping[str, FloatArray], wanted: Mapping[str, FloatArray]) -> float:
    """Of the vectors."""
    a, b = flat(found, wanted), flat(wanted, wanted)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def cosine(found: Mapping[str, FloatArray], wanted: Mapping[str, FloatArray]) -> float:
    """Of the vectors."""
    a, b = flat(found, wanted), flat(wanted, wanted)
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), np.finfo(float).tiny))


def degrees(cosine_value: float) -> float:
    """The angle."""
    return float(np.degrees(np.arccos(np.clip(cosine_value, -1.0, 1.0))))


def slope(x: Any, y: Any) -> float:
    """Of log y against log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
