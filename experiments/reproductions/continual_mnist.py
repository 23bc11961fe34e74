"""Continual EP on MNIST, also at the published settings, and plain EP beside it: accuracy epoch by epoch.

`python experiments/reproductions/continual_mnist.py [EPOCHS [EPOCHS_OF_EP]]`: 100 and 30, which take hours. A run that
is finished is kept in the folder `runs` and taken from there the next time; one that was stopped goes on.
"""

import sys

import numpy as np
from reproduction import FOLDER, reproduction, trained

from substrate import load_experiment, open_run
from substrate.experiment.assembly import assemble

EP = (
    "rule={name: ep, variant: one_sided, nudge: feedback}",
    "nudge.amplitude=0.1",
    "substrate.solver.sweeps={free: 30, nudged: 10}",
    "training.learning_rate=0.04",
    "training.learning_rates={input-hidden1: 0.08}",
)
PUBLISHED = (
    "rule={name: continual_ep, conjugate: product, count: 15, nudge: feedback}",
    "nudge.amplitude=0.2",
    "training.learning_rate=0.0028",
    "training.learning_rates={input-hidden1: 0.0056}",
)
"""Settings of EP, and of C-EP, that were published; those of continual-mnist.yaml are not."""
EPOCHS = (100, 30)
"""Of C-EP and of EP."""
SHOWN = (1, 2, 5, 10, 20, 30, 50, 70, 100)


def departures(share: float, overrides: tuple[str, ...], batches: int = 8) -> str:
    """How far a batch's change of the first array is from what weights that stand still ask for, on fresh cells.

    Degrees and ratio of norms, medians over batches and the largest, at ``share`` of the rates; and by how much a
    movement that all samples share comes back a step later, through what it has written, at a slope of one.
    """
    assembly = assemble(load_experiment(FOLDER / "continual-mnist.yaml", overrides))
    training, data = assembly.experiment.training, assembly.dataset
    first = assembly.experiment.topology().forward[0]
    rate = share * float(training.learning_rate)
    own = training.learning_rates[first.name] / float(training.learning_rate)
    beta = assembly.experiment.nudge.fixed_amplitude("continual_ep")
    degrees, ratios, gains = [], [], []
    with assembly.substrate:
        controller = assembly.controller()
        for batch in range(batches):
            controller.program(assembly.initial_weights())
            chosen = slice(20 * batch, 20 * batch + 20)
            inputs, labels = data.train_inputs[chosen].astype(float), data.train_labels[chosen]
            still = rate * own * controller.measure(inputs, labels)[1].directions[first.name]
            overlaps = inputs @ inputs.T + 1.0
            gains.append(rate * own / beta * np.linalg.eigvalsh(overlaps)[-1] / len(inputs))
            before = np.array(controller.writer.weights(first))
            controller.step(inputs, labels, rate)
            moved = controller.writer.weights(first) - before
            norms = np.linalg.norm(moved), np.linalg.norm(still)
            degrees.append(np.degrees(np.arccos(np.clip(np.sum(moved * still) / (norms[0] * norms[1]), -1.0, 1.0))))
            ratios.append(norms[0] / norms[1])
    angles, times = (
        f"{np.median(found):.{digits}f} and {max(found):.{digits}f}" for found, digits in ((degrees, 0), (ratios, 2))
    )
    return f"{angles} degrees, {times} times; gain {np.median(gains):.2f}"


def main() -> None:
    epochs = tuple(int(given) for given in sys.argv[1:3]) or EPOCHS
    continual, plain = epochs[0], epochs[-1]
    with reproduction(
        "continual_mnist",
        "Continual EP on MNIST, 784-512-10",
        f"arXiv 2005.04168, table of figure 4, and the settings of its code; {continual} and {plain} epochs here. C-EP "
        "has a larger nudge of random sign and three times the rates here, and in a second run what was published. "
        "Theirs nudges behind the neurons, ours is a current into them",
        f"SUBSTRATE_DATA=FOLDER python experiments/reproductions/continual_mnist.py {continual} {plain}",
    ) as result:
        commits = []
        for name, count, published, overrides in (
            ("C-EP", continual, "at 100 epochs within .5 point of EP at 30", ()),
            ("C-EP as published", continual, "the same", PUBLISHED),
            ("EP", plain, "-", EP),
        ):
            with open_run(
                trained("continual-mnist.yaml", f"{name}-{count}", *overrides, f"training.epochs={count}")
            ) as found:
                table, summary = found.table("epochs"), found.summary()
            shown = sorted({epoch for epoch in SHOWN if epoch < count} | {count})
            row = ", ".join(f"{100 * table['test_accuracy'][epoch - 1]:.2f}" for epoch in shown)
            after = ", ".join(str(epoch) for epoch in shown)
            seconds = float(summary["wall_seconds"]) / count
            result.found(
                f"{name}: test accuracy after {after} epochs", published, f"{row} % ({seconds:.0f} s an epoch)"
            )
            result.seconds += float(summary["wall_seconds"])
            commits.append(str(summary["git_commit"]))
        result.commit = ", ".join(dict.fromkeys(commits))
        for name, share, overrides in (
            ("", 1.0, ()),
            (" as published", 1.0, PUBLISHED),
            (" as published", 0.1, PUBLISHED),
        ):
            result.found(
                f"C-EP{name}, rates times {share:g}: a batch's change of the first array beside that of weights that "
                "stand still, angle and ratio of norms, median and largest of 8; by how much a movement that samples "
                "share comes back",
                "-",
                departures(share, overrides),
            )


if __name__ == "__main__":
    main()
