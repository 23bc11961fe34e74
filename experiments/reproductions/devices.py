"""Published memristors on the digits chip: runs what is left of devices.yaml, and tabulates the accuracies."""

import csv

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from reproduction import FOLDER, reproduction

from substrate.experiment.sweep import run_sweep


def main() -> None:
    with reproduction(
        "devices",
        "Published memristors on the digits chip",
        "presets of `substrate devices`; 64-16-10, 20 epochs, seed 0, by way of writing",
        "python experiments/reproductions/devices.py",
    ) as result:
        with run_sweep(FOLDER / "devices.yaml", told=print).open(newline="") as file:
            rows = list(csv.DictReader(file))
        found = {(row["device"], row["writing"], row["rule"]): float(row["test_accuracy"] or "nan") for row in rows}
        devices, modes, rules = (list(dict.fromkeys(row[key] for row in rows)) for key in ("device", "writing", "rule"))
        for device in devices:
            for rule in rules:
                cells = ", ".join(f"{mode} {100 * found.get((device, mode, rule), np.nan):.1f} %" for mode in modes)
                result.found(f"{device}, {rule}", "-", cells)
        # Runs that were there already took their time before.
        result.seconds = sum(float(row["wall_seconds"] or 0.0) for row in rows)
        figure, axes = plt.subplots(1, len(rules), figsize=(11, 4.6), sharey=True, constrained_layout=True)
        for one, rule in zip(axes, rules, strict=True):
            table = np.array([[found.get((device, mode, rule), np.nan) for mode in modes] for device in devices])
            one.imshow(table, vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
            for (row, column), value in np.ndenumerate(table):
                colour = "black" if value > 0.6 else "white"
                one.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color=colour, fontsize=9)
            one.set(title=f"{rule}: test accuracy, %")
            one.set_xticks(range(len(modes)), modes)
            one.set_yticks(range(len(devices)), devices)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
