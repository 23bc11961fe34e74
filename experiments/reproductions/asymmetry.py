"""What asymmetry does to the gradient and to learning, and what homeostasis restores: MNIST images, digits."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import final

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import IDEAL
from reproduction import reproduction

from emulators.substrate import backend
from substrate import load_experiment, open_run, run
from substrate.arrays import FloatArray
from substrate.controller import Controller
from substrate.costs import SoftmaxReadout
from substrate.datasets import load_dataset
from substrate.experiment.assembly import initial_weights
from substrate.network import Network
from substrate.optimisers import SGD
from substrate.rules.equilibrium_propagation import EquilibriumPropagation, EquilibriumPropagationSection
from substrate.rules.homeostasis import Homeostasis
from substrate.writing import Writer, WritingPlan

WIDE = Network((784, 256, 256), activation="logistic", feedback="separate")
SCALES = (1.15, 2.2)
"""Largest singular values of the coupling between the layers, which the cosine depends on and the paper leaves open."""
ANGLES = (0, 15, 30, 45, 60, 75, 90)
PUBLISHED = {0: "1", 30: ".75", 60: ".34", 90: "-.01"}
SEEDS = (0, 1, 2)
DEEPER = ("network.layers=[64, 32, 32, 32, 10]", "network.initial.scale=0.9")
"""With the weights of the shallower network next to nothing would come through."""


@final
@dataclass(frozen=True)
class Learnt:
    """Test accuracy and gradient cosine after the last epoch, symmetry score by epoch."""

    accuracy: float
    cosine: float
    symmetry: FloatArray


def error_cosine(angle: float, scale: float) -> float:
    """Of the response of the first hidden layer and the exact error there, the mean over samples."""
    data = load_dataset("mnist", folder=os.environ.get("SUBSTRATE_DATA"), rng=np.random.default_rng(0))
    inputs, labels = data.train_inputs[:20].astype(float), data.train_labels[:20]
    rule = EquilibriumPropagation(EquilibriumPropagationSection(), 0.01, np.random.default_rng(0))
    with backend.build(IDEAL, WIDE, np.random.default_rng(0)) as substrate:
        controller = Controller(
            substrate,
            rule,
            SoftmaxReadout(256, 10, np.random.default_rng(2)),
            Writer(substrate, WritingPlan("outright"), np.random.default_rng(0)),
            SGD(),
            Homeostasis(0.0, 0, np.random.default_rng(0)),
        )
        controller.program(initial_weights(WIDE, scale, 0.58, np.deg2rad(angle), np.random.default_rng(1)))
        phase, estimate = controller.measure(inputs, labels)
        adjoint = controller.exact_adjoint(phase.error)
    hidden = WIDE.layers[1].nodes
    a, b = estimate.signals.response[:, hidden], adjoint[:, hidden]
    return float(np.mean(np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))))


def trained(seed: int, angle: int, strength: float, folder: Path, *overrides: str) -> Learnt:
    """Of one run."""
    experiment = load_experiment(
        "asymmetric",
        [
            f"seed={seed}",
            f"network.initial.feedback_angle_degrees={angle}",
            f"homeostasis.strength={strength}",
            *overrides,
        ],
    )
    with open_run(run(experiment, folder / "run.h5", overwrite=True)) as finished:
        epochs = finished.table("epochs")
        return Learnt(float(epochs["test_accuracy"][-1]), float(epochs["gradient_cosine"][-1]), epochs["symmetry"])


def main() -> None:
    with (
        reproduction(
            "asymmetry",
            "Asymmetry of the feedback, and homeostasis",
            f"arXiv 2309.02214, figures 2 and 3; digits: 20 epochs, seeds {SEEDS[0]} .. {SEEDS[-1]}",
            "SUBSTRATE_DATA=FOLDER python experiments/reproductions/asymmetry.py",
        ) as result,
        tempfile.TemporaryDirectory() as name,
    ):
        cosines = {scale: {angle: error_cosine(angle, scale) for angle in ANGLES} for scale in SCALES}
        for angle, published in PUBLISHED.items():
            ours = ", ".join(f"{cosines[scale][angle]:.2f} (singular value {scale})" for scale in SCALES)
            result.found(f"error cosine, first hidden layer, at {angle} degrees", published, ours)
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), constrained_layout=True)
        for scale, curve in cosines.items():
            left.plot(ANGLES, list(curve.values()), "o-", label=f"here, largest singular value {scale}")
        left.plot(list(PUBLISHED), [1, 0.75, 0.34, -0.01], "s--", label="published")
        left.set(xlabel="mixing angle, degrees", ylabel="error cosine", title="784-256-256 at the start")
        for network, angles, overrides in (("64-32-32-10", (0, 30, 60, 90), ()), ("64-32-32-32-10", (90,), DEEPER)):
            for strength in (0.0, 20.0):
                means = []
                for angle in angles:
                    found = [trained(seed, angle, strength, Path(name), *overrides) for seed in SEEDS]
                    accuracies = [one.accuracy for one in found]
                    means.append(100 * float(np.mean(accuracies)))
                    result.found(
                        f"digits {network}, {angle} degrees, homeostasis {strength:g}: accuracy, mean and lowest; "
                        "gradient cosine, symmetry, means",
                        "learning is lost with depth, and restored" if angle == 90 else "-",
                        f"{means[-1]:.1f} %, {100 * min(accuracies):.1f} %; "
                        f"{np.mean([one.cosine for one in found]):.3f}, "
                        f"{np.mean([one.symmetry[-1] for one in found]):.3f}",
                    )
                    if angle == 90:
                        right.plot(
                            np.mean([one.symmetry for one in found], axis=0),
                            label=f"{network}, homeostasis {strength:g}",
                        )
                middle.plot(angles, means, "o-" if strength else "s--", label=f"{network}, homeostasis {strength:g}")
        middle.set(xlabel="mixing angle, degrees", ylabel="test accuracy, %", title="digits, means of three seeds")
        right.set(xlabel="epoch", ylabel="symmetry score", title="digits, 90 degrees")
        for axes in (left, middle, right):
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
