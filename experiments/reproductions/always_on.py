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
STEP = 0.2
"""Length of a step in time constants; with it and the scale of the weights the whole curve moves."""


def main() -> None:
    with reproduction(
        "always_on",
        "Always-on oscillation on MNIST images, 784-256-256",
        "arXiv 2209.00530, figure 4 (|b| .5, N 10); steps of .2 time constants and normal weights here",
        "SUBSTRATE_DATA=FOLDER python experiments/reproductions/always_on.py",
    ) as result:
        data = load_dataset("mnist", folder=os.environ.get("SUBSTRATE_DATA"), rng=np.random.default_rng(0))
        inputs, labels = data.train_inputs[:BATCH].astype(float), data.train_labels[:BATCH]
        weights = initial_weights(NETWORK, 1.0, 0.5, 0.0, np.random.default_rng(1))
        cosines: dict[int, list[float]] = {1: [], 2: []}
        for dwell in DWELLS:
            for periods in cosines:
                rule = AlwaysOnEP(
                    AlwaysOnSection(points=10, steps_per_point=dwell, periods=periods, time_constants=STEP), 0.5
                )
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
                    phase, estimate = controller.measure(inputs, labels)
                    substrate.settle()
                    cosines[periods].append(cosine(estimate.directions, exact(controller, phase)))
            if dwell in PUBLISHED:
                result.found(
                    f"cosine after one period of {dwell} steps a point", PUBLISHED[dwell], f"{cosines[1][-1]:.5f}"
                )
        figure, axes = plt.subplots(figsize=(6.5, 4.2), constrained_layout=True)
        for periods, row in cosines.items():
            axes.semilogy(
                DWELLS, 1.0 - np.array(row), "o-", label=f"after {periods} period{'s' if periods > 1 else ''}"
            )
        axes.semilogy(list(PUBLISHED), [1 - 0.45, 1 - 0.92, 1e-3, 1e-5], "s--", label="published, after 1 period")
        axes.set(xlabel="steps at each of 10 points", ylabel="1 - cosine to the gradient")
        axes.legend()
        axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
