"""Digits on a network that the nudge outruns: `pytest -m slow -s tests/acceptance/test_training_at_speed.py`.

Prints the line that stands in the README.
"""

from math import pi
from pathlib import Path
from statistics import mean

import pytest

from substrate import load_experiment, open_run, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SEEDS = range(3)
TAU = 1e-6
NETWORK = ("network.layers=[64, 64, 10]", "training.epochs=6", "nudge.amplitude=0.3", "substrate.solver.residual=1e-6")


def accuracies(omega_tau: float, frequencies: int, folder: Path) -> list[float]:
    """Test accuracy after training, by seed; omega tau = 0 is a network without delay."""
    tau, hertz = (TAU, omega_tau / (2 * pi * TAU)) if omega_tau else (0.0, 1e3)
    tone = (f"nudge.frequency_hz={hertz}", f"substrate.neurons.time_constant_seconds={tau}")
    found = []
    for seed in SEEDS:
        overrides = [*NETWORK, *tone, f"nudge.richardson={frequencies}"]
        path = run(load_experiment("digits-ideal", overrides, seed), folder / "run.h5", overwrite=True)
        with open_run(path) as finished:
            found.append(float(finished.table("epochs")["test_accuracy"][-1]))
    return found


def test_richardson_over_frequency_trains_at_omega_tau_one(tmp_path: Path) -> None:
    static = accuracies(0.0, 1, tmp_path)
    uncorrected, corrected = accuracies(1.0, 1, tmp_path), accuracies(1.0, 3, tmp_path)
    mild = accuracies(0.3, 1, tmp_path)

    def percent(values: list[float]) -> str:
        return f"{100 * mean(values):.1f} % ({', '.join(f'{100 * value:.1f}' for value in values)})"

    print(
        f"\ndigits 64-64-10, 6 epochs: omega tau = 1 {percent(uncorrected)}, with three frequencies "
        f"{percent(corrected)}; omega tau = 0.3 {percent(mild)}; without delay {percent(static)}"
    )
    assert mean(corrected) >= 0.93
    assert mean(corrected) >= mean(static) - 0.01
    assert mean(uncorrected) <= mean(corrected) - 0.05
    assert mean(mild) >= mean(static) - 0.05
