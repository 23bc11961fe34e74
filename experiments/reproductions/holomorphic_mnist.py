"""Holomorphic EP on MNIST at the published settings: accuracy epoch by epoch.

The run is kept in the folder `runs` and taken from there the next time; one that was stopped goes on.
"""

from reproduction import reproduction, trained

from substrate import open_run

PUBLISHED = {1: "94.2 .. 95.0 %", 50: "97.3 .. 97.9 %"}


def main() -> None:
    with reproduction(
        "holomorphic_mnist",
        "Holomorphic EP on MNIST, 784-256-256",
        "arXiv 2209.00530, table 1 (b .4, N 10, SGD .05, batches of 20, T1 200 and T2 50 steps)",
        "SUBSTRATE_DATA=FOLDER python experiments/reproductions/holomorphic_mnist.py",
    ) as result:
        with open_run(trained("hep-mnist.yaml", "hEP")) as found:
            epochs, summary = found.table("epochs"), found.summary()
        for epoch, accuracy in enumerate(epochs["test_accuracy"], start=1):
            result.found(f"test accuracy after epoch {epoch}", PUBLISHED.get(epoch, "-"), f"{100 * accuracy:.2f} %")
        result.found("gradient cosine to the exact adjoint, last epoch", "-", f"{epochs['gradient_cosine'][-1]:.6f}")
        result.found("samples left out in the last epoch", "-", f"{100 * epochs['excluded_fraction'][-1]:.2f} %")
        result.seconds = float(summary["wall_seconds"])
        result.commit = str(summary["git_commit"])


if __name__ == "__main__":
    main()
