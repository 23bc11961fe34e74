"""Every rule from an experiment file to a report: it learns, its gradient can be checked, and it resumes to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from substrate import load_experiment, open_run, resume, run
from substrate.errors import InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.gradient_check import check_gradient
from substrate.experiment.report import write_report

# rule and nudge sections; the cosine to the exact gradient that fresh cells give at least.
RULES: dict[str, tuple[str, str, float]] = {
    "one_sided": ("{name: ep, variant: one_sided}", "{amplitude: 0.02}", 0.99),
    "symmetric": ("{name: ep}", "{amplitude: 0.3}", 0.99),
    "random_sign": ("{name: ep, variant: random_sign, readings: 2}", "{amplitude: 0.1}", 0.99),
    "feedback": ("{name: ep, nudge: feedback}", "{amplitude: 0.2}", 0.98),
    "holomorphic": ("{name: holomorphic_ep, points: 6}", "{amplitude: 0.3}", 0.999),
    "vector_field": ("{name: holomorphic_ep, points: 4, conjugate: postsynaptic}", "{amplitude: 0.3}", 0.99),
    "always_on": ("{name: always_on_ep, points: 6, steps_per_point: 10}", "{amplitude: 0.3}", 0.99),
    "never_free": (
        "{name: always_on_ep, points: 6, steps_per_point: 10, nudge: feedback, free_phase: false, lead_periods: 1}",
        "{amplitude: 0.3}",
        0.999,
    ),
    "recurrent_backpropagation": ("{name: recurrent_backpropagation}", "{}", 1 - 1e-9),
    "bptt": ("{name: bptt, steps: 30}", "{}", 1 - 1e-6),
    "auto": ("{name: oscillating_ep}", "{harmonics: auto, periods: auto, amplitude: auto}", 0.999),
    "by_default": ("{}", "{amplitude: 0.3}", 0.999),
}


def _experiment(name: str, *overrides: str) -> Any:
    rule, nudge, _ = RULES[name]
    given = [
        "network.feedback=shared",
        "data.name=iris",
        "network.layers=[4, 6, 3]",
        "homeostasis.strength=0",
        "training={epochs: 4, batch_size: 8, learning_rate: 0.015}",
        "logging.quality_every=5",
        "network.initial={scale: 0.6, input_scale: 1.0}",
    ]
    if name == "vector_field":
        given[0] = "network.feedback=separate"
    return load_experiment("xor", [*given, f"rule={rule}", f"nudge={nudge}", *overrides])


@pytest.mark.parametrize("name", RULES)
def test_a_rule_learns_and_its_gradient_can_be_checked(name: str, tmp_path: Path) -> None:
    experiment = _experiment(name)
    assert load_experiment("again", text=experiment.to_yaml()) == experiment
    whole = run(experiment, tmp_path / "whole.h5")
    with open_run(whole) as file:
        epochs, steps = file.table("epochs"), file.table("train")
        assert epochs["test_accuracy"][-1] >= 0.75
        assert epochs["train_loss"][-1] < 0.7 * steps["loss"][0]
        assert ("nudge" in file.lengths) == (experiment.rule.name == "oscillating_ep")
        assert np.isfinite(steps["amplitude"]).all()
    found = check_gradient(assemble(experiment), 8, "exact")
    assert found.total.cosine > RULES[name][2]
    assert sum(found.samples_excluded.values()) == 0


@pytest.mark.parametrize("name", ["symmetric", "random_sign", "always_on", "never_free", "auto"])
def test_a_resumed_rule_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    whole = run(_experiment(name, "training.epochs=2"), tmp_path / "whole.h5")
    half = run(_experiment(name, "training.epochs=1"), tmp_path / "half.h5")
    resume(half, epochs=2)
    with open_run(whole) as file:
        last = file.table("conductances")
    with open_run(half) as file:
        for coupling, values in file.table("conductances").items():
            np.testing.assert_array_equal(values[-1], last[coupling][-1])


@pytest.mark.parametrize(("name", "tone"), [("holomorphic", False), ("auto", True)])
def test_a_report_shows_a_nudge_period_where_there_is_one(name: str, tone: bool, tmp_path: Path) -> None:
    text = write_report(
        run(_experiment(name, "training.epochs=1"), tmp_path / "run.h5"), tmp_path / "r.html"
    ).read_text()
    assert ("One nudge period" in text) == tone
    assert "Quality of the gradient" in text


def test_adam_with_weight_decay_learns_and_resumes(tmp_path: Path) -> None:
    optimiser = [
        "training.optimiser=adam",
        "training.weight_decay=[0.01, 0.001]",
        "training.learning_rate=0.03",
    ]
    whole = run(_experiment("symmetric", *optimiser), tmp_path / "whole.h5")
    half = run(_experiment("symmetric", *optimiser, "training.epochs=1"), tmp_path / "half.h5")
    resume(half, epochs=4)
    with open_run(whole) as one, open_run(half) as other:
        assert one.table("epochs")["test_accuracy"][-1] >= 0.75
        for coupling, values in one.table("conductances").items():
            np.testing.assert_array_equal(values[-1], other.table("conductances")[coupling][-1])


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("rule={name: ep, points: 3}", r"rule\.points: unknown key"),
        (
            "rule={name: ep, variant: both}",
            r"rule\.variant: expected one of one_sided, symmetric, random_sign, got 'both'",
        ),
        ("rule={name: hebb}", r"rule\.name: expected one of always_on_ep, .*holomorphic_ep, .*got 'hebb'"),
        (
            "rule={name: always_on_ep, free_phase: false}",
            r"rule\.free_phase: the error of an open-loop nudge takes one",
        ),
        ("rule={name: always_on_ep, points: 1}", r"rule\.points: expected at least 2, got 1"),
        ("nudge.amplitude=auto", r"nudge\.amplitude: rule ep is given its amplitude; expected a number"),
        ("rule={name: ep, conjugate: postsynaptic}", r"rule\.conjugate: a shared array .* expected product"),
        ("logging.records=true", r"logging\.records: rule ep records no periods"),
        ("training.optimiser=rms", r"training\.optimiser: expected one of sgd, adam, got 'rms'"),
        ("training.weight_decay=[]", r"training\.weight_decay"),
    ],
)
def test_keys_that_a_rule_does_not_have_are_named(override: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        _experiment("symmetric", override)


def test_a_feedback_nudge_belongs_to_the_squared_error() -> None:
    with pytest.raises(InputError, match=r"rule\.nudge: feedback belongs to the squared error"):
        _experiment("feedback", "cost={name: softmax}")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("nudge={harmonics: auto, samples_per_period: 6}", r"nudge\.samples_per_period: harmonics auto measures two"),
        ("logging.records=true", r"logging\.records: records of automatic periods"),
    ],
)
def test_what_an_automatic_choice_needs_is_named(override: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        _experiment("auto", override)
