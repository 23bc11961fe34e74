"""C-VF on digits: feedback arrays of their own that start at an angle, each backward sign flipped at random."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import bench, random_weights
from reproduction import reproduction

from substrate.datasets import load_dataset
from substrate.network import Network
from substrate.rules.continual import ContinualEP, ContinualSection

NETWORK = Network((64, 64, 10), feedback="separate")
SECTION = {
    "backend": "emulator",
    "solver": {"relaxation": "sweeps", "precision": "float32", "sweeps": {"free": 30}},
    "limits": {"current_amperes": 1.0},
}
ANGLES = (0, 45, 90, 135, 180)
EPOCHS, BATCH, RATE, BETA, STEPS = 12, 16, 0.01, 0.5, 15


def flipped(weights: dict[str, np.ndarray], degrees: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The transpose with each sign flipped with probability (1 - cos psi)/2 (arXiv 2005.04168, section 4.2)."""
    transpose = weights["hidden1-output"][:64].T
    signs = np.where(rng.random(transpose.shape) < 0.5 * (1.0 - np.cos(np.deg2rad(degrees))), -1.0, 1.0)
    return {**weights, "output-hidden1": signs * transpose}


def trained(degrees: float, seed: int) -> tuple[float, np.ndarray]:
    """Test accuracy, and the angle of the backward array to the transpose after every epoch."""
    rng = np.random.default_rng(seed)
    data = load_dataset("digits", rng=np.random.default_rng(seed)).rescaled(-1.0, 1.0)
    weights = flipped(random_weights(NETWORK, seed, scale=0.5, input_scale=0.5), degrees, rng)
    rule = ContinualEP(ContinualSection(name="continual_ep", count=STEPS), BETA, None, rng)
    angles = []
    with bench(NETWORK, rule, weights, SECTION) as controller:
        for epoch in range(EPOCHS):
            order = rng.permutation(len(data.train_labels))
            for start in range(0, len(order) - BATCH + 1, BATCH):
                part = order[start : start + BATCH]
                inputs, labels = data.train_inputs[part].astype(float), data.train_labels[part]
                controller.step(inputs, labels, RATE * 0.9**epoch)
            forward = controller.writer.weights(NETWORK.array("hidden1-output"))[:64].T
            backward = controller.writer.weights(NETWORK.array("output-hidden1"))
            dot = float(np.sum(forward * backward) / (np.linalg.norm(forward) * np.linalg.norm(backward)))
            angles.append(np.degrees(np.arccos(np.clip(dot, -1.0, 1.0))))
        return controller.evaluate(data.test_inputs, data.test_labels).accuracy, np.array(angles)


def main() -> None:
    with reproduction(
        "continual_vf",
        "C-VF: continual learning with feedback arrays of their own",
        "arXiv 2005.04168, section 4 (MNIST there; the digits of scikit-learn here)",
        "python experiments/reproductions/continual_vf.py",
    ) as result:
        figure, axes = plt.subplots(figsize=(6.5, 4.2), constrained_layout=True)
        for degrees in ANGLES:
            runs = [trained(degrees, seed) for seed in range(1)]
            accuracy = float(np.mean([one for one, _ in runs]))
            path = np.mean([angles for _, angles in runs], axis=0)
            published = {0: "learns, stays aligned", 90: "learns, aligns on the way", 180: "learns worst"}
            result.found(
                f"digits 64-64-10, start at {degrees} degrees: test accuracy, angle at the end",
                published.get(degrees, "-"),
                f"{100 * accuracy:.1f} %, {path[-1]:.0f} degrees",
            )
            axes.plot(range(1, EPOCHS + 1), path, label=f"start at {degrees} degrees: {100 * accuracy:.1f} %")
        axes.set(xlabel="epoch", ylabel="angle to the transpose, degrees", ylim=(0, 180))
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
