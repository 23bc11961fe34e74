"""From an experiment to the objects that run it; each concern has its own random generator, all from the one seed."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.amplitude import Amplitude
from substrate.arrays import FloatArray
from substrate.contract import Substrate
from substrate.controller import Controller
from substrate.costs import Cost, SoftmaxReadout, SquaredError
from substrate.datasets import Dataset, load_dataset
from substrate.errors import InputError
from substrate.experiment.config import Experiment
from substrate.network import Coupling, Network
from substrate.optimiser import Momentum
from substrate.registry import load_backend
from substrate.rules.homeostasis import Homeostasis
from substrate.rules.oscillating import OscillatingEP
from substrate.writing import Writer, WritingPlan

CONCERNS = ("data", "order", "initial", "device", "writing", "homeostasis", "readout")
"""What draws random numbers; the place in this list fixes the stream, so new ones go to the end."""


def generators(seed: int) -> dict[str, np.random.Generator]:
    """One generator a concern."""
    return dict(zip(CONCERNS, np.random.default_rng(seed).spawn(len(CONCERNS)), strict=True))


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
        nudge = experiment.nudge
        capabilities, scale = self.substrate.capabilities, self.substrate.scale
        fixed = None if nudge.amplitude == "auto" else float(nudge.amplitude)
        amplitude = Amplitude(fixed, nudge.harmonics, capabilities.limits.current_amperes / scale.unit_amperes)
        return Controller(
            substrate=self.substrate,
            rule=OscillatingEP(
                nudge.plan(), amplitude, experiment.rule.conjugate, nudge.richardson, nudge.settle_tolerance
            ),
            cost=_cost(experiment, self.dataset, self.rngs["readout"]),
            writer=Writer(
                self.substrate,
                WritingPlan(experiment.writing.mode, experiment.writing.largest_burst, experiment.writing.rounds),
                self.rngs["writing"],
            ),
            optimiser=Momentum(experiment.training.momentum),
            homeostasis=Homeostasis(
                experiment.homeostasis.strength, experiment.homeostasis.probes, self.rngs["homeostasis"]
            ),
            frozen=experiment.training.frozen,
            relative_rates={
                name: rate / experiment.training.learning_rate
                for name, rate in experiment.training.learning_rates.items()
            },
        )

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
        )
        low, high = self.substrate.capabilities.conductance_window_siemens
        for name, values in weights.items():
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
    layers = experiment.network.layers
    if layers[0] != dataset.feature_count:
        raise InputError(f"network.layers: {data.name} has {dataset.feature_count} inputs, the first layer {layers[0]}")
    if experiment.cost.name == "squared_error" and layers[-1] != dataset.class_count:
        raise InputError(f"network.layers: {data.name} has {dataset.class_count} classes, the last layer {layers[-1]}")
    if len(dataset.train_labels) < experiment.training.batch_size:
        raise InputError(
            f"training.batch_size: {data.name} has {len(dataset.train_labels)} training samples, "
            f"got {experiment.training.batch_size}"
        )
    backend = load_backend(experiment.substrate["backend"])
    substrate = backend.build(experiment.substrate, experiment.topology(), rngs["device"])
    return Assembly(experiment, dataset, substrate, rngs)


def initial_weights(
    network: Network, scale: float, input_scale: float, angle_radians: float, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Normal weights, no biases, feedback mirrored at an angle.

    From held inputs: standard deviation input_scale/sqrt(fan-in). Between free layers: the largest singular value is
    about ``scale``. A coupling and its mirror form a loop whose gain is that singular value, so it, and not the
    variance at one end, decides whether the network settles: a Gaussian m x n matrix of standard deviation d has its
    largest singular value near d (sqrt(m) + sqrt(n)) (Marchenko & Pastur 1967). Feedback is sin(a) R + cos(a) F^T with
    R drawn like F^T (arXiv 2309.02214, section 4). Conductances of resistive networks: see ``_conductances``.
    """
    weights: dict[str, FloatArray] = {}
    if network.resistive:
        for coupling in network.forward:
            scale_here = input_scale if coupling.source.start < 0 else scale
            weights[coupling.name] = _conductances(coupling, scale_here, rng)
        return weights
    for coupling in network.forward:
        values = np.zeros(coupling.shape)
        size = coupling.source.size
        deviation = input_scale / math.sqrt(size) if coupling.source.start < 0 else _deviation(scale, coupling)
        values[:size] = rng.standard_normal((size, coupling.target.size)) * deviation
        weights[coupling.name] = values
    if network.feedback == "separate":
        for coupling in network.backward:
            mirror = network.mirror(coupling)
            if mirror is None:
                raise InputError(f"coupling {coupling.name} has no mirror")
            transpose = weights[mirror.name][: mirror.source.size].T
            unrelated = rng.standard_normal(transpose.shape) * _deviation(scale, mirror)
            weights[coupling.name] = np.sin(angle_radians) * unrelated + np.cos(angle_radians) * transpose
    return weights


def _deviation(scale: float, coupling: Coupling) -> float:
    return scale / (math.sqrt(coupling.source.size) + math.sqrt(coupling.target.size))


def _conductances(coupling: Coupling, scale: float, rng: np.random.Generator) -> FloatArray:
    """Half of them zero, the others uniform up to scale/sqrt(lines) (Scellier 2024, PMLR 235); rails unconnected."""
    values = np.zeros(coupling.shape)
    most = scale / math.sqrt(coupling.source_lines)
    values[: coupling.source_lines] = np.maximum(
        rng.uniform(-most, most, (coupling.source_lines, coupling.target.size)), 0.0
    )
    return values


def _cost(experiment: Experiment, dataset: Dataset, rng: np.random.Generator) -> Cost:
    if experiment.cost.name == "squared_error":
        return SquaredError(experiment.cost.targets)
    return SoftmaxReadout(experiment.network.layers[-1], dataset.class_count, rng)
