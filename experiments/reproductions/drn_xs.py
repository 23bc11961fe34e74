"""DRN-XS, a deep resistive network of 2 x 784 - 100 - 10 nodes, trained on MNIST through the controller: test error."""

import tempfile
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from reproduction import FOLDER, reproduction
from threadpoolctl import threadpool_limits

from substrate.experiment.config import load_experiment
from substrate.experiment.progress import Lines
from substrate.experiment.runfile import open_run
from substrate.experiment.runner import run


def main() -> None:
    with reproduction(
        "drn_xs",
        "Deep resistive network DRN-XS on MNIST",
        "Scellier 2024, PMLR 235: centred EP, nudging 1, 4 sweeps, batches of 4, rate .006 x .99 an epoch",
        "SUBSTRATE_DATA=FOLDER python experiments/reproductions/drn_xs.py",
    ) as result:
        experiment = load_experiment(FOLDER / "drn-xs.yaml")
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            # Matrices of four rows gain nothing from more threads, which wait for each other at full speed.
            with threadpool_limits(1):
                path = run(experiment, Path(folder) / "drn-xs.h5", Lines())
            spent = time.process_time() - begun
            with open_run(path) as source:
                epochs = source.table("epochs")
        test, train = (100.0 * (1.0 - epochs[key]) for key in ("test_accuracy", "train_accuracy"))
        result.found("test error after 1 epoch, %", "-", f"{test[0]:.2f}")
        result.found(f"test error after {len(test)} epochs, %", "3.46", f"{test[-1]:.2f}")
        result.found(f"training error in epoch {len(train)}, %", "-", f"{train[-1]:.2f}")
        speed = f"{epochs['samples_per_second'].min():.0f} .. {epochs['samples_per_second'].max():.0f}"
        result.found("training samples a second, writes and log included (shared machine)", "-", speed)
        result.found("processor seconds of the whole run, evaluations included", "-", f"{spent:.0f}")
        figure, axes = plt.subplots(figsize=(7, 5), constrained_layout=True)
        axes.plot(range(1, len(test) + 1), test, "s-", label="test")
        axes.plot(range(1, len(train) + 1), train, "o--", label="training, while it learns")
        axes.axhline(3.46, color="0.5", linestyle=":", label="published, test, epoch 10")
        axes.set(xlabel="epoch", ylabel="error, %", ylim=(0, None))
        axes.legend()
        axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
