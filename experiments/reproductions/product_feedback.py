"""Product feedback alignment: the path angle against the ratio of the inner layer, and MNIST beside other feedback."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import IDEAL
from reproduction import FOLDER, reproduction

from emulators.substrate import backend
from substrate import load_experiment, open_run, run
from substrate.arrays import FloatArray
from substrate.controller import Controller
from substrate.costs import Softmax
from substrate.experiment.assembly import initial_weights
from substrate.network import Network
from substrate.optimisers import SGD
from substrate.rules.feedback_paths import PathAngle, path_angles
from substrate.rules.homeostasis import Homeostasis
from substrate.rules.product_feedback import ProductFeedback
from substrate.writing import Writer, WritingPlan

RATIOS = {1: "44.9", 2: "35.3", 5: "24.0", 10: "17.5", 20: "12.7", 50: "8.1", 100: "5.7"}
INPUTS, OUTPUTS, DRAWS = 256, 100, 100
"""Of the layer whose angle was published (the sizes and draws of figure 3): W and B drawn, R = B^T W."""
STEPS, RATE, DECAY = 2000, 0.1, 0.03
"""What R starts from decays as exp(-STEPS RATE DECAY): beside a long R half as many steps leave 1.5 degrees of it."""
EPOCHS = 2
"""Of 60,000 images: one with the large weight decay and one without, of the 20 that were published."""
RULES = {
    "product_feedback": ("{name: product_feedback}", "product", "98.4 % (20 epochs), 19 .. 23 degrees"),
    "backpropagation": ("{name: backpropagation}", "none", "98.4 %"),
    "feedback_alignment": ("{name: feedback_alignment}", "separate", "98.2 %"),
    "sign_symmetric": ("{name: sign_symmetric}", "separate", "98.25 %"),
}


@contextmanager
def device(sizes: tuple[int, int, int], ratio: int) -> Iterator[tuple[Network, Controller]]:
    """A feedforward network with product feedback, and the rule at its arrays."""
    network = Network(
        sizes,
        family="feedforward",
        feedback="product",
        product_ratio=ratio,
        activation="tanh",
        output_activation="linear",
    )
    with backend.build(IDEAL, network, np.random.default_rng(0)) as substrate:
        writer = Writer(substrate, WritingPlan("outright"), np.random.default_rng(0))
        homeostasis = Homeostasis(0.0, 0, np.random.default_rng(0))
        yield network, Controller(substrate, ProductFeedback(), Softmax(), writer, SGD(), homeostasis)


def limit(ratio: int) -> tuple[FloatArray, FloatArray]:
    """Angles in degrees and ratios of norms, (draws,), of the path that R tends to beside random weights, in cells."""
    angles = []
    with device((1, INPUTS, OUTPUTS), ratio) as (network, controller):
        forward = network.forward[1].name
        fixed, trained = (coupling.name for coupling in network.backward)
        for draw in range(DRAWS):
            weights = initial_weights(network, 0.9, 0.9, 0.0, np.random.default_rng((ratio, draw)))
            weights[trained] = (weights[forward][:INPUTS] @ weights[fixed]).T
            controller.program(weights)
            angles.append(path_angles(network, read(network, controller))["hidden1-output"])
    return np.array([one.degrees for one in angles]), np.array([one.norm_ratio for one in angles])


def learned(ratio: int) -> tuple[PathAngle, float, float]:
    """The path that a 20-32-64 network learns under weight decay, |R - B^T W|/|R|, and how many directions W has.

    The last is the participation ratio (sum s^2)^2 / sum s^4 of W's singular values s.
    """
    with device((20, 32, 64), ratio) as (network, controller):
        rng = np.random.default_rng(3)
        teacher = rng.standard_normal((20, 64))
        controller.program(initial_weights(network, 0.9, 0.9, 0.0, np.random.default_rng(ratio)))
        for _ in range(STEPS):
            inputs = rng.uniform(-1, 1, (16, 20))
            controller.step(inputs, np.argmax(inputs @ teacher, axis=1), RATE, weight_decay=DECAY)
        weights = read(network, controller)
    own = weights[network.forward[1].name][:32].T
    first, second = (weights[coupling.name] for coupling in network.backward)
    missing = float(np.linalg.norm(second - first.T @ own) / np.linalg.norm(second))
    squares = np.linalg.svd(own, compute_uv=False) ** 2
    return path_angles(network, weights)["hidden1-output"], missing, float(squares.sum() ** 2 / (squares**2).sum())


def read(network: Network, controller: Controller) -> dict[str, FloatArray]:
    """Weights of all arrays, as their cells stand."""
    return {c.name: np.array(controller.writer.weights(c)) for c in network.arrays}


def main() -> None:
    with (
        reproduction(
            "product_feedback",
            "Product feedback alignment",
            "arXiv 2405.20594, figures 2 and 3 (angles beside random weights, without training), table 1",
            "SUBSTRATE_DATA=FOLDER python experiments/reproductions/product_feedback.py",
        ) as result,
        tempfile.TemporaryDirectory() as folder,
    ):
        angles = []
        for ratio, published in RATIOS.items():
            degrees, norms = limit(ratio)
            angles.append(degrees)
            result.found(
                f"random weights, {INPUTS} to {OUTPUTS}, lambda {ratio}: path angle in degrees, ratio of norms",
                f"{published} (atan(1/sqrt(lambda)) = {math.degrees(math.atan(ratio**-0.5)):.1f}), "
                f"{math.sqrt(1 + 1 / ratio):.3f}",
                f"{degrees.mean():.1f} (deviation of {DRAWS} draws {degrees.std():.2f}), {norms.mean():.3f}",
            )
        trained = []
        for ratio in RATIOS:
            found, missing, directions = learned(ratio)
            trained.append(found.degrees)
            result.found(
                f"20-32-64 trained on a teacher, lambda {ratio}: path angle in degrees, ratio of norms, "
                "|R - B^T W| / |R|, directions in W",
                "-",
                f"{found.degrees:.1f}, {found.norm_ratio:.3f}, {missing:.4f}, {directions:.1f} of 32",
            )
        figure, axes = plt.subplots(figsize=(6, 4), constrained_layout=True)
        lines = np.geomspace(1, 100, 50)
        axes.semilogx(lines, np.degrees(np.arctan(lines**-0.5)), label="atan(1/sqrt(lambda))")
        spread = [one.std() for one in angles]
        axes.errorbar(list(RATIOS), [one.mean() for one in angles], spread, fmt="o", label="random weights")
        axes.semilogx(list(RATIOS), trained, "x", label="20-32-64, trained: W has few directions")
        axes.set(xlabel="lambda", ylabel="angle of the path to the transpose, degrees")
        axes.legend()
        axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)
        for name, (rule, feedback, published) in RULES.items():
            overrides = [f"rule={rule}", f"network.feedback={feedback}", f"training.epochs={EPOCHS}"]
            if feedback == "separate":
                overrides.append("network.initial.feedback_angle_degrees=90")
            if feedback != "product":
                overrides.append("network.product_ratio=1")
            path = run(load_experiment(FOLDER / "product-feedback-mnist.yaml", overrides), Path(folder) / f"{name}.h5")
            with open_run(path) as finished:
                summary = finished.summary()
                cells = {name: found[-1] for name, found in finished.table("conductances").items() if found.ndim == 4}
            network = load_experiment(FOLDER / "product-feedback-mnist.yaml", overrides).topology()
            weights = {c.name: c.signed(cells[c.name]) for c in network.arrays}
            ends = [f"{one.degrees:.0f}" for one in path_angles(network, weights).values()]
            result.found(
                f"MNIST 784-512-512-10, {summary['epochs']} epochs: {name}",
                published,
                f"{100 * summary['test_accuracy']:.2f} % ({summary['wall_seconds']:.0f} s)"
                + (f", path angles {', '.join(ends)} degrees" if ends else ""),
            )


if __name__ == "__main__":
    main()
