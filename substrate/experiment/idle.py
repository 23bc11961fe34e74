"""Keys of an experiment that would do nothing beside the others: they are refused, not passed over.

A key that has its default is not meant, unless it was given as an override: the text that a run file keeps holds all.
Of a sweep, whose axes may go through the level that switches something off, a key is refused that does nothing at all
of its points.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import yaml

from substrate.network import Network
from substrate.registry import load_backend
from substrate.rules.sections import NO_NUDGE, TONE_KEYS

if TYPE_CHECKING:
    from substrate.experiment.config import Experiment


@final
@dataclass(frozen=True)
class Idle:
    """A key that does nothing: its path, why, its value and its default."""

    path: str
    why: str
    value: Any
    default: Any


def idle_keys(experiment: "Experiment", given: Collection[str], tones: bool = False) -> tuple[Idle, ...]:
    """The keys of an experiment that are meant, and do nothing.

    Args:
        experiment: whose keys go together.
        given: paths of the keys that were given as overrides.
        tones: the experiment is measured with tones of the section ``nudge`` whatever its rule.
    """
    every = (*_of_sections(experiment, tones), *_of_backend(experiment))
    return tuple(one for one in every if one.value != one.default or one.path in given)


def lines_of(
    experiment: "Experiment", keys: Sequence[Idle], given: Collection[str], tree: Mapping[str, Any] | None = None
) -> list[str]:
    """A line for the keys that do nothing for one reason: the path of one, a colon, why, and how to leave them out.

    Args:
        experiment: that they are of.
        keys: all of them.
        given: paths of the keys that were given as overrides.
        tree: the experiment as it was written, without defaults; None where that is not known.
    """
    meant: dict[str, list[Idle]] = {}
    for one in keys:
        meant.setdefault(one.why, []).append(one)
    return [_line(experiment, alike, given, tree or {}) for alike in meant.values()]


def idle_at_all(experiments: Sequence["Experiment"], given: Sequence[Collection[str]]) -> tuple[tuple[Idle, ...], ...]:
    """Of each experiment of a sweep its idle keys, but for those that do something in another that they are meant in.

    Args:
        experiments: the points.
        given: of each, paths of the keys that were given as overrides.
    """
    every = [(*_of_sections(one, False), *_of_backend(one)) for one in experiments]
    idle = [{key.path for key in keys} for keys in every]
    acting: dict[tuple[str, str], bool] = {}

    def acts_in(key: Idle, experiment: "Experiment", here: Collection[str], meant: Collection[str]) -> bool:
        value = standing(experiment, key.path)
        if key.path in here or value is None:
            return False
        # A level of 0 is not idle anywhere, and shows nothing of what another level does.
        return (key.path in meant or value != key.default) and bool(value or value == key.value)

    def acts(key: Idle) -> bool:
        asked = key.path, repr(key.value)
        if asked not in acting:
            acting[asked] = any(
                acts_in(key, experiment, here, meant)
                for experiment, here, meant in zip(experiments, idle, given, strict=True)
            )
        return acting[asked]

    return tuple(
        tuple(key for key in keys if (key.value != key.default or key.path in meant) and not acts(key))
        for keys, meant in zip(every, given, strict=True)
    )


def standing(experiment: "Experiment", path: str) -> Any:
    """What stands under the path of a key; None where there is no such key."""
    return _standing(experiment, path)


def _standing(found: Any, path: str) -> Any:
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else getattr(found, part, None)
    return found


def _line(experiment: "Experiment", keys: Sequence[Idle], given: Collection[str], tree: Mapping[str, Any]) -> str:
    # What was just given is to blame rather than what the file has.
    first = next((key for key in keys if key.path in given), keys[0])
    section = first.path.rpartition(".")[0]
    whole = first.why == NO_NUDGE.format(experiment.rule.name) and len(keys) > 1
    out = [section] if whole else [key.path for key in keys]
    which = "it" if len(keys) == 1 else ", ".join(key.path.rpartition(".")[2] for key in keys)
    sets = " ".join(f"--set {key}=null" for key in out)
    got = _shown(first.value)
    if isinstance(first.value, Mapping):
        # Nobody wrote the defaults that a resolved section is full of.
        written = _standing(tree, first.path)
        got = "a section" if written is None else _shown(written)
    return f"{first.path}: {first.why}; leave {which} out ({sets}), got {got}"


def _of_sections(experiment: "Experiment", tones: bool) -> Iterator[Idle]:
    for path, why in _idle(experiment, tones).items():
        yield Idle(path, why, *_value(experiment, path))


def _of_backend(experiment: "Experiment") -> Iterator[Idle]:
    """What the backend says of its own section."""
    section = experiment.substrate
    told = load_backend(str(section["backend"])).idle_keys
    for path, key in told.among(section, experiment.topology()).items() if told is not None else ():
        full = f"substrate.{path}"
        yield Idle(full, key.why, standing(experiment, full), key.default)


def _idle(experiment: "Experiment", tones: bool) -> dict[str, str]:
    """Keys that do nothing, and why."""
    network = experiment.topology()
    found = dict(experiment.rule.idle(experiment.nudge))
    if tones or (experiment.homeostasis.strength > 0 and experiment.homeostasis.by_tones):
        found = {key: why for key, why in found.items() if key not in {f"nudge.{tone}" for tone in TONE_KEYS}}
    for part in (_of_data, _of_cost, _of_homeostasis, _of_writing, _of_training):
        found |= dict(part(experiment))
    return found | dict(_of_network(network))


def _of_data(experiment: "Experiment") -> Iterator[tuple[str, str]]:
    if experiment.data.name not in ("digits", "iris"):
        yield "data.test_fraction", f"{experiment.data.name} brings a test set of its own"


def _of_network(network: Network) -> Iterator[tuple[str, str]]:
    if not network.resistive:
        yield "network.rail", "belongs to the resistive family"
    if len(network.forward) == 1:
        yield "network.initial.scale", "there is no hidden layer; input_scale is that of the only array"
        yield "network.amplifier_gain", "there is no hidden layer to be amplified"
    if network.feedback != "separate" or not network.backward:
        yield "network.initial.feedback_angle_degrees", "no feedback array mirrors a forward one"


def _of_cost(experiment: "Experiment") -> Iterator[tuple[str, str]]:
    if experiment.cost.name != "squared_error":
        yield "cost.targets", f"belongs to squared_error, not to {experiment.cost.name}"


def _of_homeostasis(experiment: "Experiment") -> Iterator[tuple[str, str]]:
    section = experiment.homeostasis
    if not section.strength:
        for key in ("estimator", "probes", "amplitude", "samples"):
            yield f"homeostasis.{key}", "strength is 0"
    elif section.by_tones:
        yield "homeostasis.probes", f"estimator {section.estimator} pushes every neuron and draws no probes"
    else:
        for key in ("amplitude", "samples"):
            yield f"homeostasis.{key}", f"estimator {section.estimator} reads arrays and pushes no neuron"


def _of_writing(experiment: "Experiment") -> Iterator[tuple[str, str]]:
    mode = experiment.writing.mode
    if mode == "outright":
        for key in ("largest_burst", "tolerance_steps"):
            yield f"writing.{key}", "mode outright sets cells without pulses"
    if mode != "verify":
        yield "writing.rounds", f"belongs to mode verify, not to {mode}"


def _of_training(experiment: "Experiment") -> Iterator[tuple[str, str]]:
    if experiment.training.optimiser == "sgd":
        for key in ("adam_decays", "adam_epsilon"):
            yield f"training.{key}", "belongs to optimiser adam, not to sgd"
    else:
        yield "training.momentum", "belongs to optimiser sgd; adam has adam_decays"


def _value(experiment: "Experiment", key: str) -> tuple[Any, Any]:
    """What stands under a key, and its default."""
    *parents, last = key.split(".")
    section: Any = experiment
    for parent in parents:
        section = getattr(section, parent)
    return getattr(section, last), type(section).model_fields[last].get_default(call_default_factory=True)


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def given_keys(overrides: Sequence[str]) -> frozenset[str]:
    """Paths of all keys that overrides ``key.sub=value`` give."""
    parts = (override.partition("=") for override in overrides)
    return frozenset(path for key, _, value in parts for path in _leaves(key, yaml.safe_load(value)))


def _leaves(key: str, value: Any) -> Iterator[str]:
    """Paths of a key and of all that stands in the section that is its value; none of what is null."""
    if value is not None:
        yield key
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(f"{key}.{name}", below)
