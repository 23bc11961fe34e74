"""Published memristors on the digits chip: runs what is left of devices.yaml, and tabulates the accuracies.

With ``--search`` instead: of the rates ``RATES``, and of three times as much while the highest is the best, the one
with which ``ep`` gets most of the last fifth of the training set right after five epochs on the rest of it, seed 0,
for every device and way of writing. The test set is not looked at. What it prints is ``where`` of devices.yaml.
"""

import csv
import sys
from itertools import groupby

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from reproduction import FOLDER, reproduction

from substrate.errors import SubstrateError
from substrate.experiment.assembly import assemble
from substrate.experiment.config import load_experiment
from substrate.experiment.sweep import SweepPoint, load_sweep, run_sweep

RATES = 0.03, 0.1, 0.3
SEARCHED_EPOCHS = 5


def validated(point: SweepPoint, rate: float) -> float:
    """Accuracy on the last fifth of the training set after a few epochs on the rest."""
    experiment = load_experiment(point.source, [*point.overrides, f"training.learning_rate={rate}"])
    assembly = assemble(experiment)
    data, training = assembly.dataset, experiment.training
    inputs, labels = data.train_inputs.astype(np.float64), data.train_labels
    count = len(labels) * 4 // 5
    with assembly.substrate:
        controller = assembly.controller()
        assembly.bring_to(controller, None)
        for epoch in range(SEARCHED_EPOCHS):
            order = assembly.rngs["order"].permutation(count)
            for start in range(0, count - training.batch_size + 1, training.batch_size):
                batch = order[start : start + training.batch_size]
                controller.step(inputs[batch], labels[batch], rate * training.learning_rate_decay**epoch)
        return controller.evaluate(inputs[count:], labels[count:]).accuracy


def search() -> None:
    """Print the best rate of each device and way of writing, and what every rate came to."""
    points = [point for point in load_sweep(FOLDER / "devices.yaml") if dict(point.labels)["rule"] == "ep"]
    best = []
    for point in points:
        labels = dict(point.labels)
        try:
            found = {rate: validated(point, rate) for rate in RATES}
            while max(found, key=found.__getitem__) == max(found):
                found[round(3.0 * max(found), 2)] = validated(point, 3.0 * max(found))
        except SubstrateError as error:
            print(f"# {labels['device']}, {labels['writing']}: {error}", flush=True)
            continue
        shown = ", ".join(f"{rate}: {100 * accuracy:.1f} %" for rate, accuracy in found.items())
        print(f"# {labels['device']}, {labels['writing']}: {shown}", flush=True)
        best.append((labels["writing"], max(found, key=found.__getitem__), labels["device"]))
    for (writing, rate), ones in groupby(sorted(best), key=lambda one: one[:2]):
        devices = ", ".join(device for *_, device in ones)
        print(f"  - {{writing: {writing}, set: {{training.learning_rate: {rate}}}, device: [{devices}]}}")


def main() -> None:
    with reproduction(
        "devices",
        "Published memristors on the digits chip",
        "presets of `substrate devices` as devices.yaml sets them; 64-16-10, 10 epochs, seed 0, by way of writing",
        "OMP_NUM_THREADS=1 python experiments/reproductions/devices.py",
    ) as result:
        with run_sweep(FOLDER / "devices.yaml", workers=1, told=print).open(newline="") as file:
            rows = list(csv.DictReader(file))
        found = {(row["device"], row["writing"], row["rule"]): float(row["test_accuracy"] or "nan") for row in rows}
        devices, modes, rules = (list(dict.fromkeys(row[key] for row in rows)) for key in ("device", "writing", "rule"))
        for device in devices:
            for rule in rules:
                cells = ", ".join(f"{mode} {_percent(found.get((device, mode, rule), np.nan))}" for mode in modes)
                result.found(f"{device}, {rule}", "-", cells)
        # Runs that were there already took their time before.
        result.seconds = sum(float(row["wall_seconds"] or 0.0) for row in rows)
        figure, axes = plt.subplots(1, len(rules), figsize=(12, 4.6), sharey=True, constrained_layout=True)
        for one, rule in zip(axes, rules, strict=True):
            table = np.array([[found.get((device, mode, rule), np.nan) for mode in modes] for device in devices])
            one.imshow(table, vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
            for (row, column), value in np.ndenumerate(table):
                colour = "white" if value < 0.6 else "black"
                one.text(column, row, _percent(value), ha="center", va="center", color=colour, fontsize=9)
            one.set(title=f"{rule}: test accuracy")
            one.set_xticks(range(len(modes)), modes)
            one.set_yticks(range(len(devices)), devices)
        figure.savefig(result.picture, dpi=110)


def _percent(accuracy: float) -> str:
    return "-" if np.isnan(accuracy) else f"{100 * accuracy:.1f} %"


if __name__ == "__main__":
    search() if sys.argv[1:] == ["--search"] else main()
