"""Product feedback alignment: the path angle against the ratio of the inner layer, and MNIST beside other feedback."""

import math
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import IDEAL
from reproduction import FOLDER, reproduction

from emulators.substrate import backend
from substrate import load_experiment, open_run, run
from substrate.controller import Controller
from substrate.costs import Softmax
from substrate.experiment.assembly import initial_weights
from substrate.network import Network
from substrate.optimisers import SGD
from substrate.rules.feedback_paths import path_angles
from substrate.rules.homeostasis import Homeostasis
from substrate.rules.product_feedback import ProductFeedback
from substrate.writing import Writer, WritingPlan

RATIOS = {1: "44.9", 2: "35.3", 5: "24.0", 10: "17.5", 20: "12.7", 50: "8.1", 100: "5.7"}
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


def limit(ratio: int) -> tuple[float, float]:
    """Angle in degrees and ratio of norms that the path of a 20-32-64 network comes to under weight decay."""
    network = Network(
        (20, 32, 64),
        family="feedforward",
        feedback="product",
        product_ratio=ratio,
        activation="tanh",
        output_activation="linear",
    )
    rng = np.random.default_rng(3)
    teacher = rng.standard_normal((20, 64))
    with backend.build(IDEAL, network, np.random.default_rng(0)) as substrate:
        controller = Controller(
            substrate,
            ProductFeedback(),
            Softmax(),
            Writer(substrate, WritingPlan("outright"), np.random.default_rng(0)),
            SGD(),
            Homeostasis(0.0, 0, np.random.default_rng(0)),
        )
        controller.program(initial_weights(network, 0.9, 0.9, 0.0, np.random.default_rng(ratio)))
        for _ in range(STEPS):
            inputs = rng.uniform(-1, 1, (16, 20))
            controller.step(inputs, np.argmax(inputs @ teacher, axis=1), RATE, weight_decay=DECAY)
        weights = {c.name: np.array(controller.writer.weights(c)) for c in network.arrays}
    angle = path_angles(network, weights)["hidden1-output"]
    return angle.degrees, angle.norm_ratio


def main() -> None:
    with (
        reproduction(
            "product_feedback",
            "Product feedback alignment",
            "arXiv 2405.20594, figures 2 and 3, table 1",
            "SUBSTRATE_DATA=FOLDER python experiments/reproductions/product_feedback.py",
        ) as result,
        tempfile.TemporaryDirectory() as folder,
    ):
        angles = []
        for ratio, published in RATIOS.items():
            angle, norms = limit(ratio)
            angles.append(angle)
            result.found(
                f"path angle in degrees and ratio of norms at lambda {ratio}",
                f"{published} (atan(1/sqrt(lambda)) = {math.degrees(math.atan(ratio**-0.5)):.1f}), "
                f"{math.sqrt(1 + 1 / ratio):.3f}",
                f"{angle:.1f}, {norms:.3f}",
            )
        figure, axes = plt.subplots(figsize=(6, 4), constrained_layout=True)
        lines = np.geomspace(1, 100, 50)
        axes.semilogx(lines, np.degrees(np.arctan(lines**-0.5)), label="atan(1/sqrt(lambda))")
        axes.semilogx(list(RATIOS), angles, "o", label="here, 20-32-64")
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
            degrees = [f"{one.degrees:.0f}" for one in path_angles(network, weights).values()]
            result.found(
                f"MNIST 784-512-512-10, {summary['epochs']} epochs: {name}",
                published,
                f"{100 * summary['test_accuracy']:.2f} % ({summary['wall_seconds']:.0f} s)"
                + (f", path angles {', '.join(degrees)} degrees" if degrees else ""),
            )


if __name__ == "__main__":
    main()
