"""Pictures of learning and of the nudge, each with one sentence that says what to look for, with the run's numbers.

Every function returns None where there is nothing to draw.
"""

from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter

from substrate.arrays import FloatArray
from substrate.experiment.report_drawing import (
    BLUE,
    CYCLE,
    INK,
    ORANGE,
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
from substrate.experiment.report_text import counted, course, number, percent, si, si_prefix

__all__ = ["accuracy", "confusion", "epoch_loss", "harmonic_decay", "step_loss", "waveform"]


def accuracy(rows: Rows) -> Picture | None:
    """Train and test accuracy by epoch."""
    epoch, test, train = rows["epoch"], rows["test_accuracy"], rows["train_accuracy"]
    if not (np.isfinite(test).any() or np.isfinite(train).any()):
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    ends = []
    for values, name, colour in ((train, "train", ORANGE), (test, "test", BLUE)):
        last = curve(axes, epoch, 100 * values, colour)
        if last is not None:
            ends.append((last, f"{name} {last:.1f}", colour))
    low = 100 * float(np.min(np.concatenate([finite(test), finite(train)])))
    axes.set_ylim(max(0.0, low - 5), 101)
    axes.set_ylabel("samples classified right (%)")
    epoch_axis(axes)
    label_ends(axes, ends)
    kept = np.isfinite(test)
    if not kept.any():
        sentence = "The test set was never evaluated; the training accuracy is the mean over the epoch's steps."
    else:
        best = int(np.argmax(np.where(kept, test, -1.0)))
        first, final = percent(float(finite(test)[0])), percent(float(finite(test)[-1]))
        if kept.sum() == 1:
            sentence = f"The test set was evaluated once, after epoch {epoch[best]}: the test accuracy is {final}."
        else:
            sentence = (
                f"Look for curves that rise and flatten: the test accuracy went from {first} after the first epoch to "
                f"{final}; its best was {percent(test[best])} after epoch {epoch[best]}."
            )
        gap = finite(train)[-1] - finite(test)[-1] if np.isfinite(train).any() else 0.0
        if gap > 0.05:
            sentence += f" Training samples do better by {100 * gap:.1f} points: the network memorises."
    return picture("Accuracy", figure, sentence)


def epoch_loss(rows: Rows) -> Picture | None:
    """Train and test loss by epoch, on a log axis."""
    figure = new_figure()
    axes = figure.add_subplot()
    ends, told = [], []
    for name, colour in (("train", ORANGE), ("test", BLUE)):
        values = np.where(rows[f"{name}_loss"] > 0, rows[f"{name}_loss"], np.nan)
        last = curve(axes, rows["epoch"], values, colour)
        if last is not None:
            ends.append((last, f"{name} {last:.3g}", colour))
            told.append(f"the {name} loss {course(finite(values)[0], last, len(finite(values)))}")
    if not ends:
        return None
    axes.set_yscale("log")
    plain_log_ticks(axes)
    axes.set_ylabel("loss (mean over samples)")
    epoch_axis(axes)
    label_ends(axes, ends)
    return picture("Loss by epoch", figure, f"Lower is better: {' and '.join(told)}.")


def step_loss(rows: Rows) -> Picture | None:
    """Loss of every training step, smoothed."""
    loss = np.where(rows["loss"] > 0, rows["loss"], np.nan)
    if not np.isfinite(loss).any():
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    centre, mean, least, most = bins(loss, 120)
    x = rows["step"][0] + centre
    axes.fill_between(x, least, most, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(x, mean, color=BLUE, marker="o" if len(x) < 20 else None)
    axes.set_yscale("log")
    plain_log_ticks(axes)
    axes.set_ylabel("loss of a batch")
    axes.set_xlabel("training step")
    axes.margins(x=0.02)
    size = -(-len(loss) // 120)
    smoothing = f"the line is the mean over {size} steps, the band their range" if size > 1 else "one point a step"
    sentence = (
        f"The loss of single batches scatters, its mean should fall: it {course(mean[0], mean[-1], len(mean))} over "
        f"{counted(len(loss), 'step')} ({smoothing})."
    )
    return picture("Loss by step", figure, sentence)


def confusion(table: Any, epoch: int) -> Picture | None:
    """Labels against predictions on the test set."""
    counts = np.asarray(table)
    total = int(counts.sum())
    if total == 0:
        return None
    classes = len(counts)
    figure = new_figure(4.0)
    axes = figure.add_subplot()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100, interpolation="none", aspect="auto")
    if classes <= 20:
        for label, prediction in np.argwhere(counts > 0):
            ink = "white" if share[label, prediction] > 0.55 else INK
            axes.text(prediction, label, str(counts[label, prediction]), ha="center", va="center", color=ink, size=9)
        axes.set_xticks(range(classes))
        axes.set_yticks(range(classes))
    axes.grid(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    figure.colorbar(image, ax=axes, label="share of the true class (%)")
    right = int(np.trace(counts))
    wrong = counts - np.diag(np.diag(counts))
    sentence = (
        f"Right answers stand on the diagonal: {number(right)} of {number(total)} test samples after epoch {epoch}"
    )
    if wrong.any():
        label, prediction = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        sentence += f"; the most frequent mistake is class {label} taken for {prediction}, {wrong.max()} times"
    return picture("Confusion matrix", figure, sentence + ".")


def waveform(row: Rows, phase_degrees: FloatArray) -> Picture | None:
    """Nudge currents and output voltages over one period; the outputs that are driven hardest in colour."""
    volts, amperes = row["output_volts"], row["nudge_amperes"]
    if not (np.isfinite(volts).all() and np.isfinite(amperes).all()):
        return None
    figure = new_figure(4.0)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.4))
    hardest = np.argsort(-np.abs(amperes))[: min(4, len(amperes))]
    drive_scale, drive_prefix = si_prefix(float(np.abs(amperes).max()))
    swing = np.ptp(volts, axis=0)
    volt_scale, volt_prefix = si_prefix(float(np.abs(volts).max()))
    # The record repeats: the first sample again closes the period.
    phase = np.append(phase_degrees, 360.0)
    closed = np.concatenate([volts, volts[:1]]) / volt_scale
    fine = np.linspace(0.0, 360.0, 121)
    for output in range(volts.shape[1]):
        if output not in hardest:
            bottom.plot(phase, closed[:, output], color="#bdbdbd", linewidth=1.0)
    ends = []
    for output, colour in zip(hardest, CYCLE, strict=False):
        top.plot(fine, amperes[output] / drive_scale * np.cos(np.deg2rad(fine)), color=colour, linewidth=1.3)
        bottom.plot(phase, closed[:, output], color=colour, marker="o", markersize=3)
        ends.append((float(closed[-1, output]), f"output {output}", colour))
    top.set_ylabel(f"nudge ({drive_prefix}A)")
    bottom.set_ylabel(f"output ({volt_prefix}V)")
    bottom.set_xlabel("phase of the nudge (degrees)")
    bottom.set_xticks(range(0, 361, 90))
    bottom.set_xlim(0, 360)
    label_ends(bottom, ends)
    first = int(hardest[0])
    sentence = (
        f"The current into output {first} swings by ±{si(abs(float(amperes[first])), 'A')} and moves its voltage over "
        f"{si(float(swing[first]), 'V')}; where a curve departs from a cosine it holds the harmonics of the next "
        "picture (grey: outputs that are nudged less)."
    )
    return picture(f"One nudge period after epoch {row['epoch']}", figure, sentence)


def harmonic_decay(row: Rows, highest_used: int) -> Picture | None:
    """Amplitudes of the outputs' harmonics on a log axis; those of the derivative in colour."""
    cosine, sine = row["cosine_volts"], row["sine_volts"]
    size = np.hypot(cosine, sine)[1:]
    if not np.isfinite(size).all() or not (size > 0).any():
        return None
    order = np.arange(1, len(size) + 1)
    rms = np.sqrt(np.mean(size**2, axis=1))
    used = (order % 2 == 1) & (order <= highest_used)
    # Below the rounding of float64 a logarithm shows nothing but noise.
    floor = float(size.max()) * 1e-9
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    seen = size > floor
    spread = np.broadcast_to(order[:, None], size.shape)
    axes.plot(spread[seen] + 0.2, size[seen], "o", color="#a8a8a8", markersize=3.5, markeredgewidth=0, zorder=1)
    shown = np.maximum(rms, floor)
    for mask, colour in ((used, VERMILLION), (~used, BLUE)):
        axes.vlines(order[mask], floor, shown[mask], color=colour, linewidth=2.2, zorder=2)
        axes.plot(order[mask], shown[mask], "o", color=colour, markersize=9, zorder=3)
    axes.set_yscale("log")
    low = max(floor, float(size[seen].min()))
    axes.set_ylim(low / 3, float(size.max()) * 12)
    for k in order[used]:
        weight = int(k) if (k - 1) // 2 % 2 == 0 else -int(k)
        text = f"+A{k}" if weight == 1 else f"{weight:+d} A{k}".replace("-", "−")
        axes.annotate(
            text,
            (k, size[k - 1].max()),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            color=VERMILLION,
            fontweight="bold",
        )
    axes.yaxis.set_major_formatter(lambda value, _: si(value, "V"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(order)
    axes.set_xlim(0.4, len(size) + 0.6)
    axes.set_xlabel("harmonic of the nudge frequency")
    axes.set_ylabel("amplitude at the outputs")
    terms = " ".join(f"{'+' if (k - 1) // 2 % 2 == 0 else '−'} {int(k) if k > 1 else ''}A{k}" for k in order[used])
    sentence = (
        f"The derivative is ({terms.removeprefix('+ ')})/β, the marked harmonics; the others only have to be small "
        "(large dots: rms over the outputs, small ones: single outputs). "
    )
    if len(rms) >= 3 and rms[0] > 0:
        sentence += f"The third is {percent(float(rms[2] / rms[0]), 1)} of the first"
        omitted = (highest_used if highest_used % 2 else highest_used - 1) + 2
        if 3 < omitted <= len(rms):
            sentence += f", the first that is left out (number {omitted}) {percent(float(rms[omitted - 1] / rms[0]))}"
        sentence += ": the faster they fall, the more exact the gradient. "
    lag = float(np.linalg.norm(sine[1]) / max(np.linalg.norm(cosine[1]), np.finfo(float).tiny))
    sentence += f"The part out of phase is {percent(lag, 2)} of the first harmonic, 0 where the network keeps up."
    return picture("Harmonics at the outputs", figure, sentence)
