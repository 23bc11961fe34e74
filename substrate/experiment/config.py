"""Experiment files: YAML to a frozen, typed experiment. Unknown keys are errors; every message names the key path."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, final

import numpy as np
import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from substrate.convolution import unrolled_layers
from substrate.errors import InputError
from substrate.experiment.files import find_experiment, read_yaml_text, repeated_key, shipped_experiments
from substrate.experiment.idle import given_keys, idle_keys, lines_of
from substrate.network import FEEDBACKS, RECTIFIED, Network
from substrate.registry import load_backend
from substrate.rules.catalogue import RULE_NAMES, RuleConfig
from substrate.rules.oscillating import OscillatingSection
from substrate.rules.sections import NudgeConfig
from substrate.sections import Count, Finite, NonNegative, Positive, Section
from substrate.tiki_taka import TransferPlan
from substrate.validation import blamed, problems
from substrate.writing import WritingPlan


@final
class DataConfig(Section):
    """Which data set, how much of it, and the activities that its lowest and highest values become."""

    name: str
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    folder: str | None = None
    path: str | None = None
    train_limit: Count | None = None
    test_limit: Count | None = None
    activity_range: tuple[Finite, Finite] = (-1.0, 1.0)

    @model_validator(mode="after")
    def _ordered(self) -> "DataConfig":
        if not self.activity_range[0] < self.activity_range[1]:
            raise ValueError(f"activity_range: expected [low, high], got {list(self.activity_range)}")
        return self


@final
class InitialConfig(Section):
    """Weights at the start: normal, ``scale`` the largest singular value of a coupling between free layers.

    ``input_scale`` is the standard deviation of the summed input of a first-layer neuron for inputs of unit rms; in a
    feedforward network ``scale`` is the same of the layers behind it.

    The feedback is sin(a) R + cos(a) F^T with R drawn like F: 0 degrees is the transpose, 90 unrelated. Feedback that
    has no F to mirror is R: arrays from the outputs straight to hidden layers, and the second array R of a product. Its
    first one, B, has diag(B B^T) = 1 and is orthogonal where the rule says so.

    In a resistive network conductances are max(0, x) with x uniform within scale/sqrt(word lines of the source), and
    ``input_scale`` is the same of the first array (Scellier 2024: 1 and 1).
    """

    scale: Positive = 0.5
    input_scale: Positive = 0.5
    feedback_angle_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0


@final
class NetworkConfig(Section):
    """Layers, neurons and paths back of the network (``network.Network``).

    ``layers`` are sizes; where convolutions {channels, kernel, stride} follow, without padding, the first is an image
    [channels, height, width]. A resistive network is not asked for its activation and feedback: there is one of each. A
    feedforward one has no feedback by default.
    """

    family: Literal["current_mode", "resistive", "feedforward"] = "current_mode"
    layers: list[int | list[int] | dict[str, int]]
    activation: str = "tanh"
    output_activation: Literal["same", "linear"] = "same"
    feedback: Literal["separate", "shared", "loop", "none", "direct", "product"] = "separate"
    product_ratio: Count = 1
    amplifier_gain: Positive = 1.0
    rail: Positive = 1.0
    initial: InitialConfig = InitialConfig()

    @model_validator(mode="before")
    @classmethod
    def _of_family(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("family") == "resistive":
            return {"activation": RECTIFIED, "feedback": "shared"} | given
        if isinstance(given, dict) and given.get("family") == "feedforward":
            return {"feedback": "none"} | given
        return given

    def topology(self) -> Network:
        """The network.

        Raises:
            InputError: names the key.
        """
        sizes, windows = unrolled_layers(self.layers)
        return Network(
            sizes,
            self.activation,
            self.feedback,
            self.family,
            self.amplifier_gain,
            self.rail,
            self.output_activation,
            self.product_ratio,
            windows if any(windows) else (),
        )


@final
class CostConfig(Section):
    """Cost at the outputs; ``targets`` belong to the squared error.

    ``softmax_cross_entropy`` has a digital read-out before the softmax, trained by plain descent at the step's rate
    whatever the optimiser; ``softmax`` takes outputs as logits.
    """

    name: Literal["squared_error", "softmax_cross_entropy", "softmax"] = "squared_error"
    targets: tuple[Finite, Finite] = (-0.8, 0.8)

    @model_validator(mode="after")
    def _ordered(self) -> "CostConfig":
        if not self.targets[0] < self.targets[1]:
            raise ValueError(f"targets: expected [low, high], got {list(self.targets)}")
        return self


@final
class HomeostasisConfig(Section):
    """The penalty against asymmetry, and how its gradient is estimated.

    ``forward`` products alone, or the ``published`` form, which takes transposed ones as well: ``probes`` a step, 0 for
    as many as the block, or the network, has lines. ``measured`` from the network's susceptibility, or from each pair
    of neurons alone, ``local``: by tones of ``amplitude`` activity units at every neuron, sampled as ``nudge`` says,
    with the first ``samples`` of the batch held. Two periods or more tell their noise, which is regularised against.
    """

    strength: NonNegative = 0.0
    estimator: Literal["forward", "published", "measured", "local"] = "forward"
    probes: Annotated[int, Field(ge=0)] = 0
    amplitude: Positive = 0.02
    samples: Count = 2

    @property
    def by_tones(self) -> bool:
        """Whether neurons are pushed."""
        return self.estimator in ("measured", "local")


@final
class TransferConfig(Section):
    """Training on two arrays (``tiki_taka.TransferPlan``)."""

    every: Count = 1
    lines: Count = 1
    rate: Positive = 0.01
    gain: Positive = 10.0
    threshold: NonNegative = 1.0

    def plan(self) -> TransferPlan:
        """The same for the writer."""
        return TransferPlan(self.every, self.lines, self.rate, self.gain, self.threshold)


@final
class WritingConfig(Section):
    """How changes of weights reach the cells.

    A cell that is read back is right within ``tolerance_steps`` pulse steps; give devices of noisy pulses or states
    what their noise comes to, or they are pulsed for nothing. ``transfer`` belongs to ``tiki_taka``.
    """

    mode: Literal["outright", "blind", "accumulate", "verify", "tiki_taka"] = "accumulate"
    largest_burst: Count = 31
    rounds: Count = 3
    tolerance_steps: Positive = 0.75
    transfer: TransferConfig | None = None

    @model_validator(mode="after")
    def _belongs(self) -> "WritingConfig":
        if self.transfer is not None and self.mode != "tiki_taka":
            raise ValueError(f"transfer: belongs to mode tiki_taka, got mode {self.mode}")
        return self

    def plan(self) -> WritingPlan:
        """The same for the writer."""
        transfer = self.transfer or TransferConfig()
        return WritingPlan(
            self.mode,
            self.largest_burst,
            self.rounds,
            tolerance_steps=self.tolerance_steps,
            transfer=transfer.plan(),
        )


@final
class TrainingConfig(Section):
    """Gradient descent; ``learning_rates`` replaces the rate of single couplings.

    ``momentum`` belongs to ``sgd``, ``adam_decays`` and ``adam_epsilon`` to ``adam``. ``weight_decay`` times the weight
    that stands in a cell is taken off its descent direction; of several numbers each is for one epoch, the last for all
    that follow.
    """

    epochs: Count = 20
    batch_size: Count = 32
    learning_rate: Positive = 0.01
    learning_rates: dict[str, Positive] = Field(default_factory=dict)
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    optimiser: Literal["sgd", "adam"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_decays: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    adam_epsilon: Positive = 1e-8
    weight_decay: NonNegative | Annotated[list[NonNegative], Field(min_length=1)] = 0.0
    frozen: list[str] = Field(default_factory=list)

    def decay_at(self, epoch: int) -> float:
        """The weight decay of an epoch, from 0."""
        decays = self.weight_decay if isinstance(self.weight_decay, list) else [self.weight_decay]
        return decays[min(epoch, len(decays) - 1)]


@final
class LoggingConfig(Section):
    """What is logged beside the scalars of every step, which are written ``steps_at_once`` of them at a time.

    Who reads a run that goes on, or one that was killed, misses those not written yet; a checkpoint comes after them.
    ``records`` keeps the raw waveforms of the first batch of every epoch; ``quality_every`` steps the gradient is
    compared with the exact one where the device can tell (0: never).
    """

    steps_at_once: Count = 1
    records: bool = False
    checkpoint_every_epochs: Count = 1
    quality_every: Annotated[int, Field(ge=0)] = 20


@final
class Experiment(Section):
    """A whole experiment file."""

    # The name of a run file by default, so no folder.
    experiment: str
    # A run file keeps the seed in 64 bits.
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    data: DataConfig
    network: NetworkConfig
    cost: CostConfig = CostConfig()
    substrate: dict[str, Any]
    rule: RuleConfig = OscillatingSection()
    nudge: NudgeConfig = NudgeConfig()
    homeostasis: HomeostasisConfig = HomeostasisConfig()
    writing: WritingConfig = WritingConfig()
    training: TrainingConfig = TrainingConfig()
    logging: LoggingConfig = LoggingConfig()

    @field_validator("experiment")
    @classmethod
    def _file_name(cls, given: str) -> str:
        if not re.match(r"^[^/\\\x00-\x1f]{1,100}$", given):
            raise ValueError(f"expected a name of 1 to 100 characters, none of them / or \\, got {given!r}")
        return given

    @model_validator(mode="before")
    @classmethod
    def _named_rule(cls, given: Any) -> Any:
        rule = given.get("rule") if isinstance(given, dict) else None
        return given | {"rule": {"name": "oscillating_ep"} | rule} if isinstance(rule, dict) else given

    def topology(self) -> Network:
        """The network; trained on two arrays, it has the fast ones beside it."""
        network = self.network.topology()
        return replace(network, fast_arrays=True) if self.writing.mode == "tiki_taka" else network

    def to_yaml(self) -> str:
        """The resolved text: every key with its value."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


def load_experiment(
    source: str | Path,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    *,
    text: str | None = None,
    tones: bool = False,
    judged: Literal["all", "given", "none"] = "all",
) -> Experiment:
    """Read an experiment file, apply overrides, check everything and fill in defaults.

    Args:
        source: path of a YAML file, or the name of one that is shipped.
        overrides: ``key.sub=value`` each, the value in YAML; null leaves the key out, as if the file had none.
        seed: replaces the file's.
        text: the YAML itself, of which ``source`` is then only the name in messages.
        tones: it is to be measured with tones of the section ``nudge``, whether or not its rule has any.
        judged: the keys that are refused where they do nothing: all that are meant; those of the overrides alone, as of
            a run file, whose own were judged when the run began; or none, as of a sweep, judged over all its points.

    Raises:
        InputError: names the file, the key path, the value, and what was expected; a key that would do nothing.
    """
    path = str(source)
    if text is None:
        found = find_experiment(source)
        path = str(found)
        text = read_yaml_text(found)
    try:
        repeated = repeated_key(text)
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if repeated:
        raise InputError(f"{path}: {repeated}")
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected a mapping of sections, got {type(tree).__name__}")
    for override in overrides:
        _override(tree, override)
    given = [(override.partition("=")[0], f"--set {override}") for override in overrides]
    meant = given_keys(overrides)
    if seed is not None:
        tree["seed"] = seed
        given.append(("seed", f"--seed {seed}"))
    try:
        experiment = Experiment.model_validate(tree)
    except ValidationError as error:
        raise InputError(blamed(problems(error, tags=RULE_NAMES, model=Experiment), path, given)) from error
    try:
        resolved = _resolved(experiment)
    except InputError as error:
        raise InputError(blamed([str(error)], path, given)) from error
    if judged != "none":
        idle = [key for key in idle_keys(resolved, meant, tones) if judged == "all" or key.path in meant]
        if idle:
            raise InputError(blamed(lines_of(resolved, idle, meant, tree), path, given))
    return resolved


def _resolved(experiment: Experiment) -> Experiment:
    """Checks that need more than one key, and the backend's own section filled in."""
    network = experiment.topology()
    experiment.nudge.plan()
    try:
        experiment.rule.check(network, experiment.nudge, experiment.cost.name)
    except InputError as error:
        raise InputError(f"{error}{_where_it_fits(experiment)}") from error
    if experiment.writing.mode == "tiki_taka" and experiment.rule.writes_moving:
        raise InputError(
            f"writing.mode: rule {experiment.rule.name} writes while the network moves, and a fast array is read with "
            "the network silent; expected another mode than tiki_taka"
        )
    if experiment.logging.records and not experiment.rule.periodic:
        raise InputError(f"logging.records: rule {experiment.rule.name} records no periods of a tone; expected false")
    if experiment.logging.records and experiment.nudge.periods == "auto":
        raise InputError("logging.records: records of automatic periods differ in length; expected false")
    training = experiment.training
    if experiment.rule.writes_moving and (training.optimiser != "sgd" or training.momentum):
        raise InputError(
            f"training.momentum: rule {experiment.rule.name} writes at every step of a sample, over which momentum and "
            f"adam would add up; expected optimiser sgd with momentum 0, got {training.optimiser} with "
            f"{training.momentum}"
        )
    adds_up = training.momentum if training.optimiser == "sgd" else training.adam_decays[0]
    if experiment.writing.mode == "tiki_taka" and adds_up:
        key = "momentum" if training.optimiser == "sgd" else "adam_decays"
        raise InputError(
            f"training.{key}: writing.mode tiki_taka adds changes up on a fast array, over which {key} would add them "
            f"up again; expected 0{'' if key == 'momentum' else ' first'}, got {adds_up}"
        )
    if experiment.rule.writes_moving and np.any(training.weight_decay):
        raise InputError(
            f"training.weight_decay: rule {experiment.rule.name} writes what it measures while the network moves; "
            f"expected 0, got {training.weight_decay}"
        )
    _check_arrays(experiment, network)
    if experiment.homeostasis.strength > 0 and (network.feedback != "separate" or not network.backward):
        what = "a network without hidden layers" if len(network.layers) == 2 else f"feedback {network.feedback}"
        raise InputError(f"homeostasis.strength: {what} has no mirrored arrays; expected 0")
    if experiment.homeostasis.strength > 0 and network.convolutional:
        raise InputError("homeostasis.strength: cells shared over positions are not probed; expected 0")
    if experiment.homeostasis.strength > 0 and experiment.homeostasis.by_tones:
        if network.feedforward:
            raise InputError("homeostasis.estimator: feedback that does not act is read alone; expected forward")
        experiment.nudge.fixed_sampling("homeostasis")
    section = experiment.substrate
    if "backend" not in section:
        raise InputError("substrate.backend: missing; hardware is never a default, and neither is an emulator")
    resolved = load_backend(str(section["backend"])).resolve(section, network)
    return experiment.model_copy(update={"substrate": resolved})


def _where_it_fits(experiment: Experiment) -> str:
    """A shipped experiment whose network the rule takes, where it does not take the network at hand."""

    def takes(section: NetworkConfig) -> bool:
        try:
            # A nudge that is in the way is not the network's fault.
            experiment.rule.check(section.topology(), NudgeConfig(), experiment.cost.name)
        except InputError:
            return False
        return True

    if takes(experiment.network):
        return ""
    shipped = {}
    for name, path in shipped_experiments().items():
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        shipped[name] = (tree["data"]["name"], NetworkConfig.model_validate(tree["network"]))
    # Those on the same data first.
    names = sorted(shipped, key=lambda name: (shipped[name][0] != experiment.data.name, name))
    for name in names:
        if takes(shipped[name][1]):
            return f"; the shipped experiment {name} has such a network"
    for name in names:
        section = shipped[name][1]
        for feedback in FEEDBACKS[section.family]:
            if takes(section.model_copy(update={"feedback": feedback, "product_ratio": 1})):
                ratio = " --set network.product_ratio=1" if section.product_ratio > 1 else ""
                return f"; the shipped experiment {name} has one with --set network.feedback={feedback}{ratio}"
    return ""


def _check_arrays(experiment: Experiment, network: Network) -> None:
    """Refuse names of arrays that there are not, and rates of arrays that are not trained."""
    training = experiment.training
    known = [coupling.name for coupling in network.weight_arrays]
    every = experiment.rule.trained_feedback
    fixed = {coupling.name for coupling in network.backward} if network.feedforward else set()
    fixed -= {coupling.name for coupling in network.backward[every - 1 :: every]} if every else set()
    if experiment.homeostasis.strength > 0:
        fixed = set()
    for key, names in (("frozen", training.frozen), ("learning_rates", training.learning_rates)):
        for name in names:
            if name not in known:
                raise InputError(f"training.{key}: coupling {name!r}: expected one of {', '.join(known)}")
    for name in training.learning_rates:
        if name in training.frozen or name in fixed:
            why = "is frozen" if name in training.frozen else f"is not trained by rule {experiment.rule.name}"
            raise InputError(f"training.learning_rates: coupling {name!r} {why}; expected no rate of its own")


def _override(tree: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not all(key.split(".")):
        raise InputError(f"--set {override}: expected key.sub=value")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override}: the value is not valid YAML") from error
    node = tree
    *parents, last = key.split(".")
    for part in parents:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise InputError(f"--set {override}: {part} holds a value, not a section")
    if parsed is None:
        node.pop(last, None)
    else:
        node[last] = parsed
