"""What asymmetry does to the gradient and to learning, and what homeostasis restores: digits and MNIST."""

import os
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import IDEAL
from reproduction import reproduction

from emulators.substrate import backend
from substrate import load_experiment, open_run, run
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


def trained(experiment: str, overrides: list[str], folder: Path) -> tuple[float, np.ndarray, float]:
    """Test accuracy, symmetry score by epoch, gradient cosine of the last epoch."""
    path = run(load_experiment(experiment, overrides), folder / "run.h5", overwrite=True)
    with open_run(path) as finished:
        epochs = finished.table("epochs")
        return float(epochs["test_accuracy"][-1]), epochs["symmetry"], float(epochs["gradient_cosine"][-1])


def main() -> None:
    with (
        reproduction(
            "asymmetry",
            "Asymmetry of the feedback, and homeostasis",
            "arXiv 2309.02214, figures 2 and 3",
            "SUBSTRATE_DATA=FOLDER python experiments/reproductions/asymmetry.py",
        ) as result,
        tempfile.TemporaryDirectory() as name,
    ):
        folder = Path(name)
        cosines = {scale: {angle: error_cosine(angle, scale) for angle in ANGLES} for scale in SCALES}
        for angle, published in PUBLISHED.items():
            ours = ", ".join(f"{cosines[scale][angle]:.2f} (singular value {scale})" for scale in SCALES)
            result.found(f"error cosine, first hidden layer, at {angle} degrees", published, ours)
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), constrained_layout=True)
        for scale, curve in cosines.items():
            left.plot(ANGLES, list(curve.values()), "o-", label=f"here, largest singular value {scale}")
        left.plot(list(PUBLISHED), [1, 0.75, 0.34, -0.01], "s--", label="published")
        left.set(xlabel="mixing angle, degrees", ylabel="error cosine", title="784-256-256 at the start")
        left.legend()
        for strength in (0.0, 20.0):
            accuracies = []
            for angle in (0, 30, 60, 90):
                accuracy, scores, gradient = trained(
                    "asymmetric",
                    [f"network.initial.feedback_angle_degrees={angle}", f"homeostasis.strength={strength}"],
                    folder,
                )
                accuracies.append(accuracy)
                result.found(
                    f"digits, {angle} degrees, homeostasis {strength:g}: accuracy, gradient cosine, symmetry",
                    "-",
                    f"{100 * accuracy:.1f} %, {gradient:.3f}, {scores[-1]:.3f}",
                )
                if angle == 90:
                    right.plot(scores, label=f"homeostasis {strength:g}")
            middle.plot((0, 30, 60, 90), accuracies, "o-", label=f"digits, homeostasis {strength:g}")
        middle.set(xlabel="mixing angle, degrees", ylabel="test accuracy", title="digits (10 epochs), MNIST (1 epoch)")
        right.set(xlabel="epoch", ylabel="symmetry score", title="digits, 90 degrees")
        for strength in (0.0, 20.0):
            accuracies = []
            for angle in (0, 30, 60, 90):
                accuracy, scores, gradient = trained(
                    "mnist",
                    [
                        "network.feedback=separate",
                        "network.layers=[784, 128, 128, 10]",
                        f"network.initial.feedback_angle_degrees={angle}",
                        f"homeostasis.strength={strength}",
                        "training.epochs=1",
                    ],
                    folder,
                )
                accuracies.append(accuracy)
                result.found(
                    f"MNIST 784-128-128-10, one epoch, {angle} degrees, homeostasis {strength:g}: accuracy, gradient "
                    "cosine, symmetry",
                    "learning is lost with depth, and restored" if angle == 90 else "-",
                    f"{100 * accuracy:.2f} %, {gradient:.3f}, {scores[-1]:.3f}",
                )
            middle.plot((0, 30, 60, 90), accuracies, "s--", label=f"MNIST, homeostasis {strength:g}")
        for axes in (left, middle, right):
            axes.grid(alpha=0.3)
        middle.legend()
        right.legend()
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
