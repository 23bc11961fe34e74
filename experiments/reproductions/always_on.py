"""Always-on holomorphic EP on MNIST images: how the cosine to the gradient grows with the dwell at each point."""

import os

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import IDEAL, cosine, exact
from reproduction import reproduction

from emulators.substrate import backend
from substrate.controller import Controller
from substrate.costs import SoftmaxReadout
from substrate.datasets import load_dataset
from substrate.experiment.assembly import initial_weights
from substrate.network import Network
from substrate.optimisers import SGD
from substrate.rules.always_on import AlwaysOnEP, AlwaysOnSection
from substrate.rules.homeostasis import Homeostasis
from substrate.writing import Writer, WritingPlan

NETWORK = Network((784, 256, 256), activation="logistic", feedback="shared")
DWELLS = (2, 5, 10, 20, 30, 50)
PUBLISHED = {5: ".45", 10: ".92", 20: ".999", 30: ".99999"}
BATCH = 20
STEPS = (0.2, 0.55, 1.0)
"""Lengths of a step in time constants that are plotted."""
STEP = 0.55
"""The one that comes nearest to what was published, which does not say its own."""


def main() -> None:
    with reproduction(
        "always_on",
        "Always-on oscillation on MNIST images, 784-256-256",
        "arXiv 2209.00530, figure 4 (|b| .5, N 10); from rest, normal weights and steps of .55 time constants here",
        "SUBSTRATE_DATA=FOLDER python experiments/reproductions/always_on.py",
    ) as result:
        data = load_dataset("mnist", folder=os.environ.get("SUBSTRATE_DATA"), rng=np.random.default_rng(0))
        inputs, labels = data.train_inputs[:BATCH].astype(float), data.train_labels[:BATCH]
        weights = initial_weights(NETWORK, 1.0, 0.5, 0.0, np.random.default_rng(1))
        curves: dict[float, list[float]] = {}
        for step in STEPS:
            curves[step] = []
            for dwell in DWELLS:
                rule = AlwaysOnEP(AlwaysOnSection(points=10, steps_per_point=dwell, time_constants=step), 0.5)
                with backend.build(IDEAL, NETWORK, np.random.default_rng(0)) as substrate:
                    controller = Controller(
                        substrate,
                        rule,
                        SoftmaxReadout(256, 10, np.random.default_rng(2)),
                        Writer(substrate, WritingPlan("outright"), np.random.default_rng(0)),
                        SGD(),
                        Homeostasis(0.0, 0, np.random.default_rng(0)),
                    )
                    controller.program(weights)
                    phase = controller.free_phase(inputs, labels)
                    # The first period has the way from rest in it: no free phase went before.
                    substrate.rest()
                    estimate = rule.measure(substrate, phase)
                    substrate.settle()
                    curves[step].append(cosine(estimate.directions, exact(controller, phase)))
                if step == STEP and dwell in PUBLISHED:
                    result.found(
                        f"cosine after one period of {dwell} steps a point", PUBLISHED[dwell], f"{curves[step][-1]:.5f}"
                    )
        figure, axes = plt.subplots(figsize=(6.5, 4.2), constrained_layout=True)
        for step, row in curves.items():
            axes.semilogy(DWELLS, 1.0 - np.array(row), "o-", label=f"steps of {step:g} time constants")
        axes.semilogy(list(PUBLISHED), [1 - 0.45, 1 - 0.92, 1e-3, 1e-5], "s--", label="published")
        axes.set(xlabel="steps at each of 10 points", ylabel="1 - cosine to the gradient, after one period")
        axes.legend()
        axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
