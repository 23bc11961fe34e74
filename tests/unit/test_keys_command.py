"""``substrate keys``: what it says of a section is what an experiment file with it takes."""

import json

import pytest
import yaml

from substrate import load_experiment
from substrate.cli import main
from substrate.experiment.config import Experiment
from substrate.experiment.keys import section_description, section_descriptions
from substrate.registry import backend_names, load_backend
from substrate.section_keys import REQUIRED
from substrate.validation import models_in

SECTIONS = [one.path for one in section_descriptions("emulator")]


def test_every_section_is_listed_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == SECTIONS
    assert all(len(line.split()) > 3 for line in lines)
    own = {name for name, field in Experiment.model_fields.items() if len(models_in(field.annotation)) == 1}
    assert own | {"substrate", "network.initial", "substrate.noise.mains"} <= set(SECTIONS)


@pytest.mark.parametrize("path", [one for one in SECTIONS if one.count(".") == 0])
def test_the_keys_with_their_defaults_are_those_of_a_file(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", path]) == 0
    text = capsys.readouterr().out
    section = yaml.safe_load(text[text.rindex(f"\n{path}:\n") :])[path]
    given = {key: value for key, value in section.items() if value not in (None, REQUIRED)}
    needed = {"data": {"name": "xor"}, "network": {"layers": [2, 4, 2]}, "substrate": {"backend": "emulator"}}
    whole = {"experiment": "told", **needed}
    bare = load_experiment("told", text=yaml.safe_dump(whole))
    whole[path] = needed.get(path, {}) | given
    assert load_experiment("told", text=yaml.safe_dump(whole)) == bare
    assert set(section) == {key.name for key in section_description(path, "emulator").keys}


def test_what_a_key_takes_is_told() -> None:
    takes = {
        f"{one.path}.{key.name}": (key.takes, key.default)
        for one in section_descriptions("emulator")
        for key in one.keys
    }
    assert takes["training.momentum"] == ("number >= 0 < 1", "0.9")
    assert takes["training.weight_decay"] == ("number >= 0 or list of number >= 0", "0.0")
    assert takes["training.adam_decays"] == ("[number >= 0 < 1, number >= 0 < 1]", "[0.9, 0.999]")
    assert takes["nudge.amplitude"] == ("number > 0 or auto", "0.5")
    assert takes["writing.transfer"] == ("section", "null")
    assert takes["substrate.wires.refresh"][0] == "every_write or number > 0"
    assert takes["network.layers"] == ("list of (whole number or list of whole number or mapping)", REQUIRED)


@pytest.mark.parametrize("backend", backend_names())
def test_each_backend_tells_of_its_section(backend: str) -> None:
    assert load_backend(backend).section_model is not None
    assert "backend" in {key.name for key in section_description("substrate", backend).keys}


def test_unknown_sections_are_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "trainin"]) == 2
    assert "section 'trainin': expected one of data, network, network.initial, cost," in capsys.readouterr().err
    assert main(["keys", "rule"]) == 2
    assert "`substrate rules NAME`" in capsys.readouterr().err
    assert main(["keys", "--backend", "nothing"]) == 2


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "cost", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["keys"][1] == {"name": "targets", "takes": "[number, number]", "default": "[-0.8, 0.8]"}
    assert main(["keys", "--json"]) == 0
    assert [one["path"] for one in json.loads(capsys.readouterr().out)] == SECTIONS
