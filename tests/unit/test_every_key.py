"""Every key changes what happens or is refused by its name, under every rule, optimiser, way of writing and penalty."""

import hashlib
from collections.abc import Iterator
from dataclasses import astuple
from functools import cache
from typing import get_args

import numpy as np
import pytest
from pydantic import BaseModel

from substrate import load_experiment
from substrate.errors import InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.config import Experiment
from substrate.rules.catalogue import RULE_NAMES, RuleConfig

TEXT = """
experiment: walked
data: {name: iris, train_limit: 16, test_limit: 6}
network: {layers: [4, 3, 3], initial: {scale: 0.8, feedback_angle_degrees: 20}}
substrate:
  backend: emulator
  cells: {law: ohmic, window_siemens: [1.0e-6, 1.0e-4]}
  update: {law: soft_bounds, step: 0.01, cycle_spread: 0.1}
  neurons: {volts_per_unit: 0.2, time_constant_seconds: 2.0e-4}
  converters: {adc_bits: 14, adc_range_volts: 0.25, adc_noise_volts: 1.0e-5}
  limits: {read_volts: 1.0, write_volts: 2.0, current_amperes: 0.1}
nudge: {amplitude: 0.3}
training: {epochs: 2, batch_size: 4, momentum: 0.0, learning_rate: 0.05}
"""

RESISTIVE = (
    "network={family: resistive, layers: [4, 3, 3], rail: 10.0, initial: {scale: 0.8}}",
    "data.activity_range=[-50.0, 50.0]",
    "substrate.cells.window_siemens=[1.0e-7, 1.0e-4]",
    "substrate.neurons={volts_per_unit: 0.01, time_constant_seconds: 1.0e-6}",
    "substrate.diodes={law: ideal}",
    "cost.targets=[0.0, 1.0]",
)
FEEDFORWARD = "network={family: feedforward, feedback: %s, layers: [4, 3, 3], initial: {scale: 0.8}}"

UNSETTLED = "substrate.solver={steady_state: transient, settle_periods: 0, settle_tolerance: null}"

BASE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("frequency_propagation", "coupled_learning", "contrastive"), RESISTIVE),
    "oscillating_ep": (UNSETTLED,),
    **dict.fromkeys(("feedback_alignment", "kolen_pollack"), (FEEDFORWARD % "separate", "nudge=null")),
    "sign_symmetric": (FEEDFORWARD % "separate", "nudge=null", "training.learning_rate=2.0"),
    "backpropagation": (FEEDFORWARD % "none", "nudge=null"),
    "direct_feedback_alignment": (FEEDFORWARD % "direct", "nudge=null"),
    "product_feedback": (FEEDFORWARD % "product", "nudge=null"),
    "recurrent_backpropagation": ("nudge=null",),
    "bptt": ("nudge=null", "substrate.neurons.time_constant_seconds=null"),
    **dict.fromkeys(("ep", "holomorphic_ep", "always_on_ep"), ("substrate.neurons.time_constant_seconds=null",)),
}
"""What a rule is tried on, beside ``TEXT``."""

VALUES: dict[str, str] = {
    "seed": "3",
    "data.test_fraction": "0.3",
    "data.folder": "elsewhere",
    "data.path": "elsewhere.npz",
    "data.train_limit": "12",
    "data.test_limit": "9",
    "data.activity_range": "[-0.5, 0.5]",
    "network.family": "feedforward",
    "network.layers": "[4, 5, 3]",
    "network.activation": "logistic",
    "network.output_activation": "linear",
    "network.feedback": "shared",
    "network.product_ratio": "2",
    "network.amplifier_gain": "2.0",
    "network.rail": "5.0",
    "network.initial.scale": "0.4",
    "network.initial.input_scale": "0.4",
    "network.initial.feedback_angle_degrees": "45",
    "cost.name": "softmax",
    "cost.targets": "[-0.5, 0.4]",
    "nudge.amplitude": "0.1",
    "nudge.frequency_hz": "700.0",
    "nudge.harmonics": "2",
    "nudge.periods": "3",
    "nudge.samples_per_period": "11",
    "nudge.richardson": "2",
    "nudge.settle_tolerance": "1.0e-9",
    "homeostasis.strength": "20.0",
    "homeostasis.estimator": "local",
    "homeostasis.probes": "1",
    "homeostasis.amplitude": "0.3",
    "homeostasis.samples": "5",
    "writing.mode": "blind",
    "writing.largest_burst": "1",
    "writing.rounds": "1",
    "writing.tolerance_steps": "4.0",
    "writing.transfer.every": "2",
    "writing.transfer.lines": "2",
    "writing.transfer.rate": "1.0",
    "writing.transfer.gain": "1.0",
    "writing.transfer.threshold": "0.0",
    "training.epochs": "3",
    "training.batch_size": "5",
    "training.learning_rate": "0.1",
    "training.learning_rates": "{input-hidden1: 0.2}",
    "training.learning_rate_decay": "0.3",
    "training.optimiser": "adam",
    "training.momentum": "0.5",
    "training.adam_decays": "[0.5, 0.5]",
    "training.adam_epsilon": "0.1",
    "training.weight_decay": "0.3",
    "training.frozen": "[input-hidden1]",
    "logging.quality_every": "1",
    "rule.conjugate": "product",
    "rule.steps": "2",
    "rule.points": "4",
    "rule.nudge": "feedback",
    "rule.variant": "one_sided",
    "rule.readings": "3",
    "rule.steps_per_point": "3",
    "rule.lead_periods": "1",
    "rule.free_phase": "false",
    "rule.periods": "2",
    "rule.time_constants": "0.5",
    "rule.moves": "periods",
    "rule.count": "3",
    "rule.random_sign": "true",
    "rule.every": "2",
    "rule.orthogonal": "true",
    "rule.asymmetry": "measured",
    "rule.probe": "0.4",
    "rule.samples": "4",
    "rule.source_siemens": "1.0e-6",
    "rule.sides": "one",
    "rule.step": "sign",
    "rule.dead_band": "0.5",
}
"""A value other than the default of every key."""

ELSE: dict[str, dict[str, str]] = {
    rule: {"network.feedback": "separate", "nudge.frequency_hz": "5000.0"}
    if "resistive" in given[0]
    else {"network.family": "current_mode"}
    for rule, given in BASE.items()
    if given[0].startswith("network=")
} | {rule: {"network.family": "current_mode"} for rule in ("bptt", "multiplexed")}
"""Others for rules that have these already, or whose device has no other family."""

WITH: dict[str, tuple[str, ...]] = {
    "network.family": ("network.initial.feedback_angle_degrees=null",),
    "network.feedback": ("network.initial.feedback_angle_degrees=null",),
    "training.optimiser": ("training.momentum=null",),
    "cost.name": ("cost.targets=null",),
}
"""What a key makes idle is left out with it."""

NAMES = {"experiment", "data.name", "rule.name", "substrate"}
"""What a run is called, what it is of, and what the backend checks."""

TIMES = {"logging.records", "logging.steps_at_once", "logging.checkpoint_every_epochs"}
"""When the run file is written, and how much of it; not what happens."""

SLOW = "substrate.neurons.time_constant_seconds=2.0e-4"
QUICK = "training.learning_rate=0.5"
PENALTY = "homeostasis={strength: 20.0, estimator: %s}"
SETTINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "plain": ((), ("",)),
    "adam": (("training.optimiser=adam", "training.momentum=null"), ("training.",)),
    "verify": (("writing.mode=verify", "substrate.update.cycle_spread=2.0"), ("writing.",)),
    "outright": (("substrate.update={law: ideal}", "writing.mode=outright"), ("writing.",)),
    "tiki_taka": (("writing={mode: tiki_taka, transfer: {rate: 0.5}}", QUICK), ("writing.", "training.m")),
    "softmax": (("cost.name=softmax", QUICK), ("cost.", "training.")),
    "readout": (("cost.name=softmax_cross_entropy", QUICK), ("cost.", "training.")),
    "forward": ((PENALTY % "forward",), ("homeostasis.", "nudge.")),
    "published": ((PENALTY % "published",), ("homeostasis.", "nudge.")),
    "measured": ((PENALTY % "measured", "homeostasis.amplitude=0.3", SLOW, UNSETTLED), ("homeostasis.", "nudge.")),
    "local": ((PENALTY % "local", SLOW), ("homeostasis.", "nudge.")),
}
"""Other optimisers, ways of writing, costs and penalties, with the keys that they concern."""


TONE = ("nudge.frequency_hz", "nudge.harmonics", "nudge.periods", "nudge.samples_per_period")
COUNTING: dict[str, tuple[str, ...]] = {
    "oscillating_ep": ("nudge.amplitude", "nudge.richardson", "nudge.settle_tolerance", *TONE),
    "multiplexed": ("nudge.amplitude", "nudge.richardson", *TONE),
    "frequency_propagation": ("nudge.amplitude", "nudge.periods", "nudge.samples_per_period"),
    "ep": ("seed", "nudge.amplitude", "rule.variant", "training.momentum", "training.weight_decay", "cost.targets"),
    "product_feedback": ("network.product_ratio", "rule.orthogonal"),
    "contrastive": ("network.rail", "network.amplifier_gain", "rule.sides"),
}
"""Some that must not be refused."""


def keys_of(section: type[BaseModel], path: str = "") -> Iterator[str]:
    """Paths of all keys of a section."""
    for name, field in section.model_fields.items():
        below = [
            part
            for part in (field.annotation, *get_args(field.annotation))
            if isinstance(part, type) and issubclass(part, BaseModel)
        ]
        if name != "rule" and below:
            for one in below:
                yield from keys_of(one, f"{path}{name}.")
        else:
            yield f"{path}{name}"


RULES = {get_args(one.model_fields["name"].annotation)[0]: one for one in get_args(get_args(RuleConfig)[0])}
GENERAL = [key for key in keys_of(Experiment) if key not in NAMES | TIMES | {"rule"}]


def experiment(rule: str, *overrides: str) -> Experiment:
    return load_experiment("walked", [*BASE.get(rule, ()), f"rule.name={rule}", *overrides], text=TEXT)


@cache
def outcome(loaded: str) -> str:
    """A digest of what training comes to."""
    resolved = load_experiment("walked", text=loaded)
    described = assemble(resolved)
    training, data = resolved.training, described.dataset
    found = hashlib.sha256()
    for part in (data.train_inputs, data.train_labels, data.test_inputs, data.test_labels):
        found.update(part.tobytes())
    with described.substrate as substrate:
        controller = described.controller()
        controller.program(described.initial_weights())
        controller.prepare(data.train_inputs[: training.batch_size], data.train_labels[: training.batch_size])
        for epoch in range(training.epochs):
            order = described.rngs["order"].permutation(len(data.train_labels))
            for step in range(2):
                batch = order[step * training.batch_size : (step + 1) * training.batch_size]
                rate = training.learning_rate * training.learning_rate_decay**epoch
                judge = bool(resolved.logging.quality_every) and step % resolved.logging.quality_every == 0
                told = controller.step(
                    data.train_inputs[batch], data.train_labels[batch], rate, judge, training.decay_at(epoch)
                )
                found.update(repr(astuple(told.report)).encode())
                for name, error in told.estimate.standard_errors.items():
                    found.update(f"{name} {error!r}".encode())
        for coupling in substrate.network.arrays:
            found.update(np.ascontiguousarray(substrate.read_cells(coupling.name)).tobytes())
        evaluation = controller.evaluate(data.test_inputs, data.test_labels)
        found.update(repr(evaluation.loss).encode())
    return found.hexdigest()


def verdict(rule: str, setting: tuple[str, ...], key: str) -> str:
    """Whether a key ``counts`` or does ``nothing``, or the message that refuses it."""
    given = f"{key}={ELSE.get(rule, {}).get(key, VALUES[key])}"
    base = experiment(rule, *setting).to_yaml()
    try:
        changed = experiment(rule, *setting, *WITH.get(key, ()), given).to_yaml()
        same = changed != base and outcome(changed) == outcome(base)
    except InputError as error:
        return str(error).replace(f"--set {given}", "")
    return "nothing" if same else "counts"


def check(key: str, found: str) -> None:
    """It counts, or what refuses it names it, or what stands in its way."""
    named = (key, key.rpartition(".")[2], key.partition(".")[0] + ":", VALUES[key])
    assert found == "counts" or (found != "nothing" and any(name in found for name in named)), (key, found)


def test_there_is_a_value_for_every_key() -> None:
    of_rules = {f"rule.{key}" for section in RULES.values() for key in section.model_fields}
    assert set(VALUES) == set(GENERAL) | (of_rules - NAMES)
    assert set(RULES) == set(RULE_NAMES)


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_every_key_counts_or_is_refused_under_every_rule(rule: str) -> None:
    own = [f"rule.{key}" for key in RULES[rule].model_fields if key != "name"]
    for key in [*own, *(key for key in GENERAL if key.startswith(("network.", "cost.", "nudge.", "homeostasis.")))]:
        check(key, verdict(rule, (), key))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_key_counts_or_is_refused_under_every_setting(setting: str) -> None:
    given, concerned = SETTINGS[setting]
    for key in GENERAL:
        if key.startswith(concerned):
            check(key, verdict("ep", given, key))


def test_what_counts_is_not_refused() -> None:
    for rule, keys in COUNTING.items():
        for key in keys:
            assert verdict(rule, (), key) == "counts", (rule, key)
