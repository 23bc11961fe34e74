"""Holomorphic EP on MNIST, phases shorter than published: accuracy epoch by epoch, from a run of hep-mnist.yaml.

`python experiments/reproductions/holomorphic_mnist.py [RUN.h5]`: of a run that is there, or of a new one of one epoch.
"""

import sys
import tempfile
from pathlib import Path

from reproduction import FOLDER, reproduction

from substrate import load_experiment, open_run, run

PUBLISHED = {1: "94.2 .. 95.0 %", 50: "97.3 .. 97.9 %"}


def main() -> None:
    with (
        reproduction(
            "holomorphic_mnist",
            "Holomorphic EP on MNIST, 784-256-256",
            "arXiv 2209.00530, table 1 (b .4, N 10, SGD .05, batches of 20; theirs relaxes by T1 200 and T2 50 steps, "
            "ours by 40 and 25 sweeps)",
            "SUBSTRATE_DATA=FOLDER python experiments/reproductions/holomorphic_mnist.py",
        ) as result,
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "run.h5"
        if not path.exists():
            run(load_experiment(FOLDER / "hep-mnist.yaml"), path)
        with open_run(path) as found:
            epochs, summary = found.table("epochs"), found.summary()
        for epoch, accuracy in enumerate(epochs["test_accuracy"], start=1):
            result.found(f"test accuracy after epoch {epoch}", PUBLISHED.get(epoch, "-"), f"{100 * accuracy:.2f} %")
        result.found("gradient cosine to the exact adjoint, last epoch", "-", f"{epochs['gradient_cosine'][-1]:.6f}")
        result.found("samples left out in the last epoch", "-", f"{100 * epochs['excluded_fraction'][-1]:.2f} %")
        result.seconds = float(summary["wall_seconds"])
        result.commit = str(summary["git_commit"])


if __name__ == "__main__":
    main()
