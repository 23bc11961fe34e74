"""Continual EP on MNIST at the published settings, and plain EP beside it: accuracy epoch by epoch.

`python experiments/reproductions/continual_mnist.py [EPOCHS [EPOCHS_OF_EP]]`: 100 and 30, which take hours. A run that
is finished is kept in the folder `runs` and taken from there the next time; one that was stopped goes on.
"""

import sys
from pathlib import Path

from reproduction import FOLDER, reproduction

from substrate import load_experiment, open_run, resume, run

EP = "rule={name: ep, variant: symmetric, nudge: feedback}"
PUBLISHED = (100, 30)
"""Epochs of C-EP and of EP."""


def trained(name: str, epochs: int, *overrides: str) -> Path:
    """The run file of so many epochs."""
    path = Path("runs") / f"{name}-{epochs}.h5"
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        with open_run(path) as found:
            done = found.summary()["status"] == "finished"
        if not done:
            resume(path)
    else:
        run(load_experiment(FOLDER / "continual-mnist.yaml", (*overrides, f"training.epochs={epochs}")), path)
    return path


def main() -> None:
    epochs = tuple(int(given) for given in sys.argv[1:3]) or PUBLISHED
    continual, plain = epochs[0], epochs[-1]
    with reproduction(
        "continual_mnist",
        "Continual EP on MNIST, 784-512-10",
        f"arXiv 2005.04168, table 1 (T 40, K 15, beta .2); {continual} and {plain} epochs here",
        f"SUBSTRATE_DATA=FOLDER python experiments/reproductions/continual_mnist.py {continual} {plain}",
    ) as result:
        for name, count, published, overrides in (
            ("C-EP", continual, "at 100 epochs within .5 point of EP at 30", ()),
            ("EP", plain, "-", (EP,)),
        ):
            with open_run(trained(name, count, *overrides)) as found:
                table, summary = found.table("epochs"), found.summary()
            row = ", ".join(f"{100 * accuracy:.2f}" for accuracy in table["test_accuracy"])
            seconds = float(summary["wall_seconds"]) / count
            result.found(f"{name}: test accuracy of every epoch", published, f"{row} % ({seconds:.0f} s an epoch)")
            result.seconds += float(summary["wall_seconds"])
            result.commit = str(summary["git_commit"])


if __name__ == "__main__":
    main()
