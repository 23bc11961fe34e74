"""``substrate rules``: what it says of a rule is what an experiment with it takes and is refused by."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from substrate import load_experiment
from substrate.capabilities import Capabilities
from substrate.cli import main
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import assemble
from substrate.rules.catalogue import RULE_NAMES
from substrate.rules.descriptions import rule_description, rule_descriptions

README = Path(__file__).parents[2] / "README.md"


def test_every_rule_is_there_with_a_line_and_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(RULE_NAMES)
    assert all(one.networks and one.section and len(one.summary) > 20 for one in rule_descriptions())


@pytest.mark.parametrize("name", RULE_NAMES)
def test_the_keys_with_their_defaults_are_a_section(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("rule:")
    section = lines[start : lines.index("", start)]
    text = "\n".join([XOR, *section])
    family, feedback = next(iter(rule_description(name).networks)).split()
    network = f"network={{family: {family}, feedback: {feedback}, layers: [2, 4, 4, 2]}}"
    if family == "resistive":
        network = "network={family: resistive, layers: [2, 4, 4, 2]}"
    given = load_experiment("text", [network, "training={momentum: 0.0}"], text=text).rule
    assert given == type(given)()
    assert given.name == name


XOR = """
experiment: described
data: {name: xor}
network: {layers: [2, 4, 2]}
substrate: {backend: emulator}
"""


def test_needs_are_of_the_network_and_of_the_keys() -> None:
    continual = rule_description("continual_ep")
    assert continual.networks["current_mode separate"] == ("stepping",)
    assert continual.further["moves: periods"]["current_mode separate"] == ()
    assert continual.further["moves: periods"]["current_mode shared"] == ("simultaneous_sampling",)
    assert continual.further["nudge: feedback"]["current_mode loop"] == ("stepping", "feedback_nudges")
    assert not any(place.startswith("feedforward") for place in continual.networks)
    assert set(rule_description("product_feedback").networks) == {"feedforward product"}
    assert set(rule_description("coupled_learning").networks) == {"resistive shared"}


def test_a_count_that_makes_nudges_complex_is_told() -> None:
    assert "complex_nudges" in rule_description("asymmetric_ep").further["points: 3"]["current_mode separate"]
    assert rule_description("holomorphic_ep").further["points: 1"]["current_mode separate"] == ()


def test_the_readme_names_all_that_rules_need_of_a_device() -> None:
    rows = [line.split(" | ") for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    capabilities = {field.name for field in fields(Capabilities)}
    told: dict[str, set[str]] = {}
    for row in rows:
        names = [name for name in re.findall(r"`(\w+)`", row[0]) if name in RULE_NAMES]
        if names:
            needs = {needed for name in names for needed in _all_needs(name)}
            assert needs == set(re.findall(r"`(\w+)`", row[3])) & capabilities, names
            told |= dict.fromkeys(names, needs)
    assert set(told) == set(RULE_NAMES)


def _all_needs(name: str) -> set[str]:
    """On any network, with any keys."""
    one = rule_description(name)
    return {need for networks in (one.networks, *one.further.values()) for needs in networks.values() for need in needs}


def test_what_a_rule_needs_is_what_a_device_without_it_refuses() -> None:
    # Diodes that clip cannot be stopped at a step.
    assert "stepping" in rule_description("bptt").networks["resistive shared"]
    experiment = load_experiment("digits-resistive", ["rule={name: bptt}", "nudge=null"])
    described = assemble(experiment)
    with described.substrate, pytest.raises(CapabilityError, match="rule bptt needs the capability 'stepping'"):
        described.controller()


def test_an_unknown_rule_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "hebb"]) == 2
    assert "rule 'hebb': expected one of always_on_ep" in capsys.readouterr().err
    with pytest.raises(InputError, match="hebb"):
        rule_description("hebb")


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "ep", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["keys"][0] == {"name": "variant", "takes": "one_sided, symmetric, random_sign", "default": "symmetric"}
    assert main(["rules", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == sorted(RULE_NAMES)


def test_feedback_of_its_own_starts_unrelated_where_the_readme_trains_by_it() -> None:
    text = README.read_text(encoding="utf-8")
    found = re.search(r"^substrate run (.*feedback_alignment(?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert found is not None
    name, *words = shlex.split(found[1].replace("\\\n", " "))
    assembly = assemble(load_experiment(name, [word for word in words if word != "--set"]))
    assert assembly.experiment.rule.name == "feedback_alignment"
    weights, network = assembly.initial_weights(), assembly.substrate.network
    for feedback in network.backward:
        forward = network.mirror(feedback)
        assert forward is not None
        ours, theirs = weights[feedback.name], weights[forward.name][: forward.source_lines].T
        assert abs(np.sum(ours * theirs)) < 0.2 * np.linalg.norm(ours) * np.linalg.norm(theirs)


@pytest.mark.parametrize("name", ["feedback_alignment", "kolen_pollack", "sign_symmetric"])
def test_rules_with_fixed_paths_say_where_these_start(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", name]) == 0
    assert "network.initial.feedback_angle_degrees: 90" in " ".join(capsys.readouterr().out.split())
