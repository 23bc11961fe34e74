"""The gradient of the first batch by each coupling: its norm, the predicted error of it, and how far repeats differ."""

import argparse

import numpy as np
from laboratory import FOLDER, arguments, carry_out, experiment, table, whole

from substrate.experiment.assembly import assemble


def measured(options: argparse.Namespace) -> list[tuple[str, float, float, float]]:
    assembly = assemble(experiment(options))
    size = assembly.experiment.training.batch_size
    inputs, labels = assembly.dataset.train_inputs[:size].astype(np.float64), assembly.dataset.train_labels[:size]
    with assembly.substrate:
        controller = assembly.controller()
        controller.program(assembly.initial_weights())
        controller.prepare(inputs, labels)
        estimates = [controller.measure(inputs, labels)[1] for _ in range(options.repeats)]
    found = []
    for name in estimates[0].directions:
        directions = np.stack([one.directions[name] for one in estimates])
        norm = float(np.linalg.norm(directions.mean(axis=0)))
        spread = float(np.sqrt(np.sum(directions.var(axis=0, ddof=1))))
        predicted = float(np.sqrt(np.mean([one.standard_errors[name] ** 2 for one in estimates])))
        found.append((name, norm, predicted, spread))
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--experiment", default=str(FOLDER / "xor.yaml"))
    parser.add_argument("--repeats", type=whole(2), default=5)
    options = parser.parse_args()
    table(options, ("coupling", "norm", "predicted_error", "spread_of_repeats"), measured(options))


if __name__ == "__main__":
    carry_out(main)
