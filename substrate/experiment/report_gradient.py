"""Pictures of the gradient's quality and of writing, each with one sentence, with the run's numbers.

Every function returns None where there is nothing to draw.
"""

import math
from typing import Any

import numpy as np

from substrate.arrays import FloatArray
from substrate.experiment.report_drawing import (
    BLUE,
    CYCLE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Picture,
    Rows,
    bins,
    curve,
    epoch_axis,
    finite,
    label_ends,
    new_figure,
    picture,
    plain_log_ticks,
)
from substrate.experiment.report_text import course, number, percent

__all__ = ["amplitude", "errors", "excluded", "gradient_cosine", "layer_cosines", "pulses", "symmetry"]


def gradient_cosine(steps: Rows, epochs: Rows) -> Picture | None:
    """Cosine between the measured and the exact gradient at the steps that were judged."""
    cosine = steps["gradient_cosine"]
    judged = np.isfinite(cosine)
    if not judged.any():
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    x, y = steps["step"][judged], cosine[judged]
    axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(x, y, "o", color=GREEN, markersize=6 if len(x) < 10 else 3.5, alpha=0.5, markeredgewidth=0)
    centre, mean, _, _ = bins(y, 30)
    if len(y) > 3:
        axes.plot(np.interp(centre, np.arange(len(x)), x), mean, color=GREEN)
    axes.set_ylim(_cosine_floor(y), 1.0 + 0.04 * (1.0 - _cosine_floor(y)))
    axes.set_ylabel("cosine to the exact gradient")
    axes.set_xlabel("training step")
    median, worst = float(np.median(y)), int(np.argmin(y))
    sentence = (
        f"1 means exactly the right direction: the median over {number(len(y))} judged steps is {median:.4f} "
        f"({math.degrees(math.acos(min(1.0, max(-1.0, median)))):.1f}° off), the worst is {y[worst]:.4f} at step "
        f"{x[worst]}."
    )
    means = finite(epochs.get("gradient_cosine", ()))
    if len(means):
        sentence += f" The mean over the last epoch is {means[-1]:.4f}."
    return picture("Gradient against the exact one", figure, sentence)


def layer_cosines(steps: Rows) -> Picture | None:
    """The same cosine for the error signal of each layer."""
    names = [name for name in steps if name.startswith("error_cosine_") and np.isfinite(steps[name]).any()]
    if not names:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ends, medians, lowest = [], {}, 1.0
    # From the output backwards, so that the output's colour does not depend on the depth.
    names.sort(key=lambda name: (not name.endswith("_output"), name))
    for index, name in enumerate(names):
        keep = np.isfinite(steps[name])
        layer, colour = name.removeprefix("error_cosine_"), CYCLE[index % len(CYCLE)]
        x, y = steps["step"][keep], steps[name][keep]
        axes.plot(x, y, color=colour, linewidth=1.4, marker="o" if len(x) < 40 else None, markersize=3)
        ends.append((float(y[-1]), layer, colour))
        medians[layer] = float(np.median(y))
        lowest = min(lowest, float(y.min()))
    axes.set_ylim(_cosine_floor(np.array([lowest])), 1.0 + 0.04 * (1.0 - _cosine_floor(np.array([lowest]))))
    axes.set_ylabel("cosine to the exact error signal")
    axes.set_xlabel("training step")
    label_ends(axes, ends)
    told = ", ".join(f"{layer} {value:.4f}" for layer, value in medians.items())
    sentence = f"Layers far from the output are the hardest to get right; medians: {told}."
    return picture("Error signal, layer by layer", figure, sentence)


def errors(steps: Rows) -> Picture | None:
    """What is estimated without a reference: truncation of the harmonic series, and read-out noise."""
    figure = new_figure()
    axes = figure.add_subplot()
    ends, told = [], []
    for name, text, colour in (("truncation", "truncation", PURPLE), ("gradient_error", "noise", SKY)):
        values = np.where(steps[name] > 0, steps[name], np.nan)
        if not np.isfinite(values).any():
            continue
        centre, mean, _, _ = bins(values, 120)
        axes.plot(steps["step"][0] + centre, mean, color=colour, marker="o" if len(centre) < 20 else None)
        ends.append((float(mean[-1]), text, colour))
        told.append(f"{'truncation' if name == 'truncation' else 'noise'} {percent(float(np.median(finite(values))))}")
    if not ends:
        return None
    axes.set_yscale("log")
    plain_log_ticks(axes, 100.0)
    axes.set_ylabel("estimated relative error (%)")
    axes.set_xlabel("training step")
    axes.margins(x=0.02)
    label_ends(axes, ends)
    sentence = (
        "What the device can tell about its own gradient: the part lost with the omitted harmonics (truncation) and "
        f"the part due to read-out noise; medians: {', '.join(told)}. A larger nudge raises the first and lowers the "
        "second."
    )
    return picture("Estimated errors of the gradient", figure, sentence)


def amplitude(steps: Rows, automatic: bool) -> Picture | None:
    """Nudge amplitude by step."""
    values = steps["amplitude"]
    if not np.isfinite(values).any():
        return None
    figure = new_figure(2.8)
    axes = figure.add_subplot()
    centre, mean, least, most = bins(values, 120)
    x = steps["step"][0] + centre
    axes.fill_between(x, least, most, color=ORANGE, alpha=0.25, linewidth=0)
    axes.plot(x, mean, color=ORANGE, marker="o" if len(x) < 20 else None)
    axes.set_ylim(0, 1.08 * float(most.max()) or 1.0)
    axes.set_ylabel("nudge amplitude β")
    axes.set_xlabel("training step")
    axes.margins(x=0.02)
    if automatic:
        sentence = (
            f"The amplitude is set for each sample from the measured harmonics and grows as errors shrink; its median "
            f"in a batch {course(mean[0], mean[-1], len(mean))} (band: range)."
        )
    else:
        sentence = f"The amplitude was fixed: β = {number(float(np.median(finite(values))))}."
    return picture("Nudge amplitude", figure, sentence)


def excluded(steps: Rows, batch_size: int) -> Picture | None:
    """Samples left out of updates, by reason, in percent of the samples shown; None where there was none."""
    reasons = (
        ("lost_branch", "lost branch", VERMILLION),
        ("saturated", "saturated", PURPLE),
        ("unsettled", "unsettled", SKY),
    )
    totals = {name: int(steps[name].sum()) for name, _, _ in reasons}
    if not sum(totals.values()):
        return None
    figure = new_figure(2.8)
    axes = figure.add_subplot()
    bottom: Any = 0.0
    count = len(steps["step"])
    width = -(-count // 60)
    for name, text, colour in reasons:
        centre, mean, _, _ = bins(steps[name].astype(np.float64), 60)
        share = 100 * mean / batch_size
        if totals[name]:
            label = f"{text} {number(totals[name])}"
            axes.bar(steps["step"][0] + centre, share, width=0.9 * width, bottom=bottom, color=colour, label=label)
        bottom = bottom + share
    axes.set_ylabel("samples left out (%)")
    axes.set_xlabel("training step")
    axes.margins(x=0.02)
    axes.legend(frameon=False, fontsize=9.5)
    total = sum(totals.values())
    told = ", ".join(f"{number(totals[name])} {text}" for name, text, _ in reasons)
    sentence = (
        f"{number(total)} of {number(count * batch_size)} samples ({percent(total / (count * batch_size))}) did not "
        f"enter an update: {told}. A branch counts as lost where a nudged network reached no steady state, jumped to "
        "another one, or answered with harmonics that do not decay."
    )
    return picture("Samples left out", figure, sentence)


def pulses(epochs: Rows, steps: Rows) -> Picture | None:
    """Programming pulses by epoch, or by step where no epoch was finished."""
    by_epoch = len(epochs.get("epoch", ())) > 0
    x, y = (epochs["epoch"], epochs["pulses"]) if by_epoch else (steps["step"], steps["pulses"])
    if not np.any(y):
        return None
    figure = new_figure(2.8)
    axes = figure.add_subplot()
    if by_epoch:
        axes.bar(x, y, color=BLUE, width=0.8)
        epoch_axis(axes)
        axes.set_ylabel("pulses in an epoch")
    else:
        centre, mean, _, _ = bins(y.astype(np.float64), 120)
        axes.plot(x[0] + centre, mean, color=BLUE)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("training step")
        axes.set_ylabel("pulses in a step")
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    failed, held = int(np.max(steps["failed_cells"])), int(np.max(steps["saturated_weights"]))
    unit = "epoch" if by_epoch else "step"
    sentence = (
        f"Every pulse wears a device: {number(int(y.sum()))} in all, {number(int(y[0]))} in the first {unit} and "
        f"{number(int(y[-1]))} in the last. In the worst step {number(failed)} cells did not take their "
        f"pulses, and {number(held)} weights stopped at the end of their range."
    )
    return picture("Programming pulses", figure, sentence)


def symmetry(epochs: Rows) -> Picture | None:
    """Symmetry score of forward and backward arrays by epoch."""
    score = epochs["symmetry"]
    if not np.isfinite(score).any():
        return None
    figure = new_figure(2.8)
    axes = figure.add_subplot()
    axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    last = curve(axes, epochs["epoch"], score, GREEN)
    low = min(float(finite(score).min()), 0.98)
    axes.set_ylim(low - 0.15 * (1 - low), 1 + 0.1 * (1 - low))
    axes.set_ylabel("symmetry score")
    epoch_axis(axes)
    sentence = (
        "1: feedback weights mirror the forward ones; 0: unrelated; −1: opposite. The closer to 1, the better plain "
        f"equilibrium propagation works: {finite(score)[0]:.4f} after the first epoch, {last:.4f} after the last."
    )
    return picture("Symmetry of forward and feedback weights", figure, sentence)


def _cosine_floor(values: FloatArray) -> float:
    return max(-1.0, min(float(values.min()), 0.98) - 0.02)
