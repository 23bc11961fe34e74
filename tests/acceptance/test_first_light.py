"""What the shipped experiments reach, over seeds: long, so `pytest -m slow -s tests/acceptance` runs it by name.

Each test prints the line that stands in the README.
"""

from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from substrate import load_experiment, open_run, run
from substrate.experiment.assembly import assemble
from substrate.experiment.gradient_check import GradientCheck, check_gradient
from substrate.experiment.runner import trained_state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SEEDS = range(5)


def accuracies(name: str, folder: Path, *overrides: str) -> list[float]:
    found = []
    for seed in SEEDS:
        path = run(load_experiment(name, overrides, seed), folder / f"{name}-{seed}.h5", overwrite=True)
        with open_run(path) as finished:
            found.append(float(finished.table("epochs")["test_accuracy"][-1]))
    return found


def percent(values: list[float]) -> str:
    shown = ", ".join(f"{100 * value:.1f}" for value in values)
    return f"mean {100 * mean(values):.2f} %, lowest {100 * min(values):.2f} % ({shown})"


def test_digits_on_the_default_chip(tmp_path: Path) -> None:
    found = accuracies("digits", tmp_path)
    print("\ndigits:", percent(found))
    assert mean(found) >= 0.935
    assert min(found) >= 0.91


def test_digits_on_an_ideal_chip(tmp_path: Path) -> None:
    found = accuracies("digits-ideal", tmp_path)
    print("\ndigits-ideal:", percent(found))
    assert mean(found) >= 0.95


@pytest.mark.parametrize("name", ["digits", "digits-ideal"])
def test_the_hidden_layer_is_seen_to_learn(name: str, tmp_path: Path) -> None:
    trained = accuracies(name, tmp_path)
    frozen = accuracies(name, tmp_path, "training.frozen=[input-hidden1]")
    print(f"\n{name}, first layer frozen:", percent(frozen))
    assert mean(frozen) <= mean(trained) - 0.08


def trained_check(name: str, path: Path) -> GradientCheck:
    run(load_experiment(name, ["nudge.amplitude=auto"]), path)
    trained = trained_state(path)
    return check_gradient(assemble(trained.experiment), 512, trained=trained)


@pytest.mark.parametrize("name", ["digits", "digits-ideal"])
def test_the_gradient_of_a_trained_chip(name: str, tmp_path: Path) -> None:
    found = trained_check(name, tmp_path / "run.h5")
    lost = found.samples_excluded["lost_branch"]
    print(
        f"\n{name}, trained: relative error {found.total.relative_error:.4f}, median sample error "
        f"{found.total.median_sample_error:.4f}, lost branch {lost} of 512"
    )
    # The mean is carried by a few stiff samples: it is right only when every one of them is.
    assert found.total.relative_error <= 0.1
    assert found.total.median_sample_error <= 0.05
    assert sum(found.samples_excluded.values()) <= 0.05 * found.samples


def test_homeostasis_mends_asymmetric_feedback(tmp_path: Path) -> None:
    accuracy: dict[tuple[int, float], list[float]] = {}
    for angle in (60, 90):
        cosines: dict[float, list[float]] = {}
        for strength in (0.0, 20.0):
            symmetry = []
            for seed in SEEDS:
                overrides = [f"network.initial.feedback_angle_degrees={angle}", f"homeostasis.strength={strength}"]
                path = run(load_experiment("asymmetric", overrides, seed), tmp_path / f"{angle}-{strength}-{seed}.h5")
                with open_run(path) as finished:
                    steps, epochs = finished.table("train"), finished.table("epochs")
                assert steps["settled_fraction"].mean() >= 0.995
                assert np.mean(steps["free_residual"] <= 1e-8) >= 0.995
                cosines.setdefault(strength, []).append(float(np.nanmean(steps["error_cosine_hidden1"])))
                accuracy.setdefault((angle, strength), []).append(float(epochs["test_accuracy"][-1]))
                symmetry.append(epochs["symmetry"])
            scores = np.mean(symmetry, axis=0)
            print(
                f"\nasymmetric, {angle} degrees, strength {strength:g}: error cosine {mean(cosines[strength]):.3f}, "
                f"{percent(accuracy[angle, strength])}, symmetry after epochs 1, 3, 20: "
                f"{scores[0]:.3f}, {scores[2]:.3f}, {scores[-1]:.3f}"
            )
        assert mean(cosines[20.0]) >= mean(cosines[0.0]) + 0.3
    assert mean(accuracy[60, 20.0]) > mean(accuracy[60, 0.0])
    assert mean(accuracy[90, 20.0]) >= mean(accuracy[90, 0.0]) + 0.02


def test_one_epoch_of_mnist(tmp_path: Path) -> None:
    path = run(load_experiment("mnist"), tmp_path / "mnist.h5")
    with open_run(path) as finished:
        epochs = finished.table("epochs")
    accuracy, rate = float(epochs["test_accuracy"][0]), float(epochs["samples_per_second"][0])
    print(f"\nmnist: {100 * accuracy:.2f} % after one epoch, {rate:.0f} samples/s")
    assert accuracy >= 0.94
