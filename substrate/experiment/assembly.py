"""From an experiment to the objects that run it; each concern has its own random generator, all from the one seed."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.controller import Controller
from substrate.costs import Cost, Softmax, SoftmaxReadout, SquaredError
from substrate.datasets import Dataset, load_dataset
from substrate.errors import InputError
from substrate.experiment.config import Experiment, LoggingConfig
from substrate.network import Coupling, Network
from substrate.optimisers import SGD, Adam
from substrate.registry import load_backend
from substrate.rules.asymmetry import asymmetry_from_susceptibility, first_order_asymmetry
from substrate.rules.homeostasis import Homeostasis
from substrate.rules.homeostasis_forward import ForwardProducts
from substrate.rules.homeostasis_published import TransposedProducts
from substrate.rules.homeostasis_susceptibility import SusceptibilityGradient
from substrate.rules.penalty import PenaltyGradient
from substrate.rules.product_feedback import ProductFeedbackSection
from substrate.rules.sections import RuleContext
from substrate.writing import Writer

CONCERNS = ("data", "order", "initial", "device", "writing", "homeostasis", "readout", "rule")
"""What draws random numbers; the place in this list fixes the stream, so new ones go to the end."""


def generators(seed: int) -> dict[str, np.random.Generator]:
    """One generator a concern."""
    return dict(zip(CONCERNS, np.random.default_rng(seed).spawn(len(CONCERNS)), strict=True))


@final
@dataclass(frozen=True)
class Trained:
    """What a run came to: its own experiment, and the state of its last checkpoint."""

    experiment: Experiment
    state: dict[str, Any]


@final
@dataclass(frozen=True)
class Assembly:
    """What an experiment is made of. The substrate is described, not opened."""

    experiment: Experiment
    dataset: Dataset
    substrate: Substrate
    rngs: dict[str, np.random.Generator]

    def controller(self) -> Controller:
        """The controller for the opened substrate."""
        experiment = self.experiment
        training = experiment.training
        context = RuleContext(
            nudge=experiment.nudge,
            network=self.substrate.network,
            capabilities=self.substrate.capabilities,
            scale=self.substrate.scale,
            cost_name=experiment.cost.name,
            rng=self.rngs["rule"],
        )
        return Controller(
            substrate=self.substrate,
            rule=experiment.rule.build(context),
            cost=_cost(experiment, self.dataset, self.rngs["readout"]),
            writer=Writer(self.substrate, experiment.writing.plan(), self.rngs["writing"]),
            optimiser=SGD(training.momentum)
            if training.optimiser == "sgd"
            else Adam(*training.adam_decays, training.adam_epsilon),
            homeostasis=_homeostasis(experiment, self.rngs["homeostasis"]),
            frozen=training.frozen,
            relative_rates={name: rate / training.learning_rate for name, rate in training.learning_rates.items()},
        )

    def bring_to(self, controller: Controller, trained: Trained | None) -> None:
        """Give the opened substrate the cells of a run, to be measured; None: fresh cells with the initial weights.

        The experiment may differ from the run's but in its network. Its rule and its cost go on from what the run's
        learnt where they are the same, with the same nudge; else they begin anew.

        Raises:
            InputError: another network, or a device that the run's cells do not fit.
        """
        if trained is None:
            controller.program(self.initial_weights())
            return
        was = trained.experiment
        if self.experiment.topology() != was.topology():
            raise InputError(f"{_other_network(self.experiment, was)}; expected the run's own, whose cells are taken")
        controller.restore_learnt(
            trained.state["controller"],
            rule=self.same_rule(trained),
            cost=self.experiment.cost.name == was.cost.name,
        )
        if self.substrate.states is not None and trained.state["substrate"] is not None:
            try:
                self.substrate.states.restore(trained.state["substrate"])
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    "substrate: what the run kept of its device is not what a device like this one has; expected the "
                    "run's own section, but for values of keys that it has"
                ) from error

    def same_rule(self, trained: Trained) -> bool:
        """Whether the rule and its nudge are those of a run."""
        ours, theirs = self.experiment, trained.experiment
        return (ours.rule, ours.nudge) == (theirs.rule, theirs.nudge)

    def initial_weights(self) -> dict[str, FloatArray]:
        """Weights to start from, by coupling.

        Raises:
            InputError: weights that no cell inside the device's window can show.
        """
        initial = self.experiment.network.initial
        network = self.experiment.topology()
        weights = initial_weights(
            network,
            initial.scale,
            initial.input_scale,
            np.deg2rad(initial.feedback_angle_degrees),
            self.rngs["initial"],
            isinstance(self.experiment.rule, ProductFeedbackSection) and self.experiment.rule.orthogonal,
        )
        for name, values in weights.items():
            low, high = self.substrate.capabilities.of(name).conductance_window_siemens
            # The zeros of single cells stand for the least that one can show.
            ends = (0.0, high) if network.array(name).polarities == 1 else (low - high, high - low)
            least, most = (end / self.substrate.scale.unit_siemens for end in ends)
            beyond = int(np.count_nonzero((values < least) | (values > most)))
            if beyond:
                raise InputError(
                    f"network.initial: {beyond} of the {values.size} weights of {name} lie beyond {least:.3g} .. "
                    f"{most:.3g}, what cells inside the device's window can show; expected a smaller scale"
                )
        return weights


def assemble(experiment: Experiment) -> Assembly:
    """Load the data and describe the device.

    Raises:
        InputError: data or layers that do not fit together, a data set that is missing.
    """
    rngs = generators(experiment.seed)
    data = experiment.data
    dataset = load_dataset(
        data.name,
        test_fraction=data.test_fraction,
        folder=data.folder,
        path=data.path,
        train_limit=data.train_limit,
        test_limit=data.test_limit,
        rng=rngs["data"],
    )
    dataset = dataset.rescaled(*data.activity_range)
    layers = experiment.topology().sizes
    if layers[0] != dataset.feature_count:
        raise InputError(f"network.layers: {data.name} has {dataset.feature_count} inputs, the first layer {layers[0]}")
    if experiment.cost.name != "softmax_cross_entropy" and layers[-1] != dataset.class_count:
        raise InputError(f"network.layers: {data.name} has {dataset.class_count} classes, the last layer {layers[-1]}")
    if len(dataset.train_labels) < experiment.training.batch_size:
        raise InputError(
            f"training.batch_size: {data.name} has {len(dataset.train_labels)} training samples, "
            f"got {experiment.training.batch_size}"
        )
    backend = load_backend(experiment.substrate["backend"])
    substrate = backend.build(experiment.substrate, experiment.topology(), rngs["device"])
    every = experiment.logging.quality_every
    if substrate.oracle is None and every not in (0, LoggingConfig().quality_every):
        raise InputError(
            f"logging.quality_every: backend {experiment.substrate['backend']} cannot tell the exact gradient; leave "
            f"it out (--set logging.quality_every=null), got {every}"
        )
    return Assembly(experiment, dataset, substrate, rngs)


def initial_weights(
    network: Network,
    scale: float,
    input_scale: float,
    angle_radians: float,
    rng: np.random.Generator,
    orthogonal: bool = False,
) -> dict[str, FloatArray]:
    """Normal weights, no biases, feedback mirrored at an angle.

    From held inputs: standard deviation input_scale/sqrt(fan-in). Between free layers: the largest singular value is
    about ``scale``. A coupling and its mirror form a loop whose gain is that singular value, so it, and not the
    variance at one end, decides whether the network settles: a Gaussian m x n matrix of standard deviation d has its
    largest singular value near d (sqrt(m) + sqrt(n)) (Marchenko & Pastur 1967). In a feedforward network there is no
    loop, and the deviation is scale/sqrt(fan-in) behind the first layer. The fan-in of a convolution is its window.
    Feedback is sin(a) R + cos(a) F^T with R drawn like F^T (arXiv 2309.02214, section 4); without a mirror it is R, in
    a feedforward network of deviation scale/sqrt(sources). The first array of a product has rows of length 1 (arXiv
    2405.20594), or orthogonal ones. Conductances of resistive networks: see ``_conductances``.
    """
    weights: dict[str, FloatArray] = {}
    if network.resistive:
        for coupling in network.forward:
            scale_here = input_scale if coupling.source.start < 0 else scale
            weights[coupling.name] = _conductances(coupling, scale_here, rng)
        return weights
    for coupling in network.forward:
        values = np.zeros(coupling.shape)
        size = coupling.source_lines
        deviation = input_scale / math.sqrt(size) if coupling.source.start < 0 else _deviation(network, scale, coupling)
        values[:size] = rng.standard_normal((size, coupling.shape[1])) * deviation
        weights[coupling.name] = values
    for coupling in network.backward if network.feedback != "shared" else ():
        mirror = network.mirror(coupling) if network.feedback == "separate" else None
        if mirror is not None:
            transpose = weights[mirror.name][: mirror.source_lines].T
            unrelated = rng.standard_normal(transpose.shape) * _deviation(network, scale, mirror)
            weights[coupling.name] = np.sin(angle_radians) * unrelated + np.cos(angle_radians) * transpose
        elif coupling.target.start < 0:
            weights[coupling.name] = _product_rows(coupling.shape, orthogonal, rng)
        else:
            weights[coupling.name] = rng.standard_normal(coupling.shape) * _deviation(network, scale, coupling)
    return weights


def _other_network(ours: Experiment, theirs: Experiment) -> str:
    """Which key makes the network of an experiment another, and its value."""
    for key in type(ours.network).model_fields:
        if key != "initial" and getattr(ours.network, key) != getattr(theirs.network, key):
            return f"network.{key}: got {getattr(ours.network, key)!r}"
    return f"writing.mode: got {ours.writing.mode!r}"


def _deviation(network: Network, scale: float, coupling: Coupling) -> float:
    if network.feedforward:
        return scale / math.sqrt(coupling.source_lines)
    return scale / (math.sqrt(coupling.source_lines) + math.sqrt(coupling.shape[1]))


def _product_rows(shape: tuple[int, int], orthogonal: bool, rng: np.random.Generator) -> FloatArray:
    """Random rows of length 1; ``orthogonal``: of a square matrix, rows that are orthogonal as well."""
    values = rng.standard_normal(shape)
    if orthogonal:
        return np.linalg.qr(values)[0]
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def _conductances(coupling: Coupling, scale: float, rng: np.random.Generator) -> FloatArray:
    """Half of them zero, the others uniform up to scale/sqrt(lines) (Scellier 2024, PMLR 235); rails unconnected."""
    values = np.zeros(coupling.shape)
    most = scale / math.sqrt(coupling.source_lines)
    values[: coupling.source_lines] = np.maximum(
        rng.uniform(-most, most, (coupling.source_lines, coupling.target.size)), 0.0
    )
    return values


def _homeostasis(experiment: Experiment, rng: np.random.Generator) -> Homeostasis:
    section, nudge = experiment.homeostasis, experiment.nudge
    estimator: PenaltyGradient
    if section.by_tones:
        tones = nudge.tones(section.amplitude)
        asymmetry = asymmetry_from_susceptibility if section.estimator == "measured" else first_order_asymmetry
        estimator = SusceptibilityGradient(tones, section.samples, asymmetry)
    else:
        estimator = ForwardProducts() if section.estimator == "forward" else TransposedProducts()
    return Homeostasis(section.strength, section.probes, rng, estimator)


def _cost(experiment: Experiment, dataset: Dataset, rng: np.random.Generator) -> Cost:
    if experiment.cost.name == "squared_error":
        return SquaredError(experiment.cost.targets)
    if experiment.cost.name == "softmax":
        return Softmax()
    return SoftmaxReadout(experiment.topology().output.size, dataset.class_count, rng)
