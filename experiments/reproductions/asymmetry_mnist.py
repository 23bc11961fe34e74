"""Asymmetry of the feedback on MNIST, with homeostasis and without."""

import tempfile
from pathlib import Path

from reproduction import reproduction

from substrate import load_experiment, open_run, run


def main() -> None:
    with (
        reproduction(
            "asymmetry_mnist",
            "Asymmetry of the feedback, and homeostasis, on MNIST",
            "arXiv 2309.02214, figure 3; 784-128-128-10, one epoch",
            "SUBSTRATE_DATA=FOLDER python experiments/reproductions/asymmetry_mnist.py",
        ) as result,
        tempfile.TemporaryDirectory() as folder,
    ):
        for strength in (0.0, 20.0):
            for angle in (0, 30, 60, 90):
                experiment = load_experiment(
                    "mnist",
                    [
                        "network.feedback=separate",
                        "network.layers=[784, 128, 128, 10]",
                        f"network.initial.feedback_angle_degrees={angle}",
                        f"homeostasis.strength={strength}",
                        "training.epochs=1",
                    ],
                )
                with open_run(run(experiment, Path(folder) / "run.h5", overwrite=True)) as finished:
                    last = {name: column[-1] for name, column in finished.table("epochs").items()}
                result.found(
                    f"{angle} degrees, homeostasis {strength:g}: accuracy, gradient cosine, symmetry",
                    "learning is lost with depth, and restored" if angle == 90 else "-",
                    f"{100 * last['test_accuracy']:.2f} %, {last['gradient_cosine']:.3f}, {last['symmetry']:.3f}",
                )


if __name__ == "__main__":
    main()
