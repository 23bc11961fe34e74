"""The pictures of a run: each is drawn as SVG, with one sentence that says what to look for, with the run's numbers.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), told apart with any colour vision; maps use
matplotlib's RdBu (signed) and cividis (positive). Arguments named ``rows`` are tables of a series, as `RunFile.table`
gives them. Every function returns None, or leaves a picture out, where there is nothing to draw.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from substrate.arrays import BoolArray, FloatArray

__all__ = [
    "Picture",
    "accuracy",
    "amplitude",
    "confusion",
    "device_pictures",
    "epoch_loss",
    "errors",
    "excluded",
    "gradient_cosine",
    "harmonic_decay",
    "layer_cosines",
    "percent",
    "pulses",
    "si",
    "step_loss",
    "style",
    "symmetry",
    "waveform",
]

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, GREY, INK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#9a9a9a",
    "#222222",
)
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)

MOST_BINS = 240
"""Points of a curve over steps; more could not be told apart."""

MOST_PIXELS = 256
"""Cells of a map along one axis; larger arrays are averaged in blocks."""

MOST_MARKS = 400
"""Stuck cells marked one by one on a map."""

NEAR_END = 0.2
"""A cell within this part of the window from one of its ends is at that end."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "substrate",
    "text.parse_math": False,
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}

Rows = Mapping[str, Any]


@final
@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, its title, and the sentence under it."""

    title: str
    source: str
    sentence: str


@contextmanager
def style() -> Iterator[None]:
    """The look of all pictures; matplotlib's own settings and the user's come back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def si(value: float, unit: str, digits: int = 3) -> str:
    """A number with an SI prefix: 2.5e-5, ``S`` gives ``25 µS``."""
    if not math.isfinite(value):
        return "–"
    scale, prefix = _prefix(abs(value))
    return f"{_plain(value / scale, digits)} {prefix}{unit}".replace("-", "−").rstrip()


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def number(value: float, digits: int = 3) -> str:
    """A number for a sentence: thousands separated, ``digits`` significant ones for small values."""
    if not math.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in text else text


def _prefix(size: float) -> tuple[float, str]:
    """The SI prefix that leaves 1 to 1000 before it, and its factor."""
    prefixes = "fpnµm kMGT"
    power = 0 if size == 0 or not math.isfinite(size) else math.floor(math.log10(size) / 3 + 1e-9)
    power = max(-5, min(4, power))
    return 1000.0**power, prefixes[power + 5].strip()


def _figure(height: float = 3.5, width: float = 6.0) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _picture(title: str, figure: Figure, sentence: str) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(title, f"data:image/svg+xml;base64,{data}", sentence)


def _finite(values: Any) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Labels at the right edge, at given heights in data units, pushed apart where they would overlap."""
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    left = axes.get_xlim()[0]
    placed = sorted((float(to_axes.transform((left, y))[1]), text, colour) for y, text, colour in ends)
    gap = 0.085
    heights = [height for height, _, _ in placed]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + gap)
    over = max(0.0, heights[-1] - 1.0) if heights else 0.0
    for height, (_, text, colour) in zip(heights, placed, strict=True):
        axes.text(
            1.015, height - over, text, color=colour, va="center", transform=axes.transAxes, fontweight="bold", size=10
        )


def _curve(axes: Axes, x: FloatArray, y: FloatArray, colour: str) -> float | None:
    """A line through the finite points, marked where they are few; returns its last value."""
    keep = np.isfinite(y)
    if not keep.any():
        return None
    axes.plot(x[keep], y[keep], color=colour, marker="o" if keep.sum() <= 40 else None)
    return float(y[keep][-1])


def _epoch_axis(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.margins(x=0.03)


def _bins(values: FloatArray, most: int = MOST_BINS) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Centre, mean, least and greatest of equal runs of rows; rows that are not finite do not count."""
    size = max(1, -(-len(values) // most))
    starts = np.arange(0, len(values), size)
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite, starts, dtype=np.int64)
    total = np.add.reduceat(np.where(finite, values, 0.0), starts)
    keep = counts > 0
    least = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    most_ = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    centre = starts + (np.minimum(starts + size, len(values)) - starts - 1) / 2
    return centre[keep], total[keep] / counts[keep], least[keep], most_[keep]


def accuracy(rows: Rows) -> Picture | None:
    """Train and test accuracy by epoch."""
    epoch, test, train = rows["epoch"], rows["test_accuracy"], rows["train_accuracy"]
    if not (np.isfinite(test).any() or np.isfinite(train).any()):
        return None
    figure = _figure()
    axes = figure.add_subplot()
    ends = []
    for values, name, colour in ((train, "train", ORANGE), (test, "test", BLUE)):
        last = _curve(axes, epoch, 100 * values, colour)
        if last is not None:
            ends.append((last, f"{name} {last:.1f}", colour))
    low = 100 * float(np.min(np.concatenate([_finite(test), _finite(train)])))
    axes.set_ylim(max(0.0, low - 5), 101)
    axes.set_ylabel("samples classified right (%)")
    _epoch_axis(axes)
    _label_ends(axes, ends)
    kept = np.isfinite(test)
    if not kept.any():
        sentence = "The test set was never evaluated; the training accuracy is the mean over the epoch's steps."
    else:
        best = int(np.argmax(np.where(kept, test, -1.0)))
        sentence = (
            f"Look for curves that rise and flatten: the test accuracy went from {percent(_finite(test)[0])} after "
            f"the first epoch to {percent(_finite(test)[-1])}; its best was {percent(test[best])} after epoch "
            f"{epoch[best]}."
        )
        gap = _finite(train)[-1] - _finite(test)[-1] if np.isfinite(train).any() else 0.0
        if gap > 0.05:
            sentence += f" Training samples do better by {100 * gap:.1f} points: the network has begun to memorise."
    return _picture("Accuracy", figure, sentence)


def epoch_loss(rows: Rows) -> Picture | None:
    """Train and test loss by epoch, on a log axis."""
    figure = _figure()
    axes = figure.add_subplot()
    ends, told = [], []
    for name, colour in (("train", ORANGE), ("test", BLUE)):
        values = np.where(rows[f"{name}_loss"] > 0, rows[f"{name}_loss"], np.nan)
        last = _curve(axes, rows["epoch"], values, colour)
        if last is not None:
            ends.append((last, f"{name} {last:.3g}", colour))
            told.append(f"the {name} loss went from {_finite(values)[0]:.3g} to {last:.3g}")
    if not ends:
        return None
    axes.set_yscale("log")
    _plain_log_ticks(axes)
    axes.set_ylabel("loss (mean over samples)")
    _epoch_axis(axes)
    _label_ends(axes, ends)
    return _picture("Loss by epoch", figure, f"Lower is better: {' and '.join(told)}.")


def step_loss(rows: Rows) -> Picture | None:
    """Loss of every training step, smoothed."""
    loss = np.where(rows["loss"] > 0, rows["loss"], np.nan)
    if not np.isfinite(loss).any():
        return None
    figure = _figure()
    axes = figure.add_subplot()
    centre, mean, least, most = _bins(loss, 120)
    x = rows["step"][0] + centre
    axes.fill_between(x, least, most, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(x, mean, color=BLUE, marker="o" if len(x) < 20 else None)
    axes.set_yscale("log")
    _plain_log_ticks(axes)
    axes.set_ylabel("loss of a batch")
    axes.set_xlabel("training step")
    axes.margins(x=0.02)
    size = -(-len(loss) // 120)
    smoothing = f"the line is the mean over {size} steps, the band their range" if size > 1 else "one point a step"
    sentence = (
        f"The loss of single batches scatters, its mean should fall: from {mean[0]:.3g} to {mean[-1]:.3g} over "
        f"{number(len(loss))} steps ({smoothing})."
    )
    return _picture("Loss by step", figure, sentence)


def _plain_log_ticks(axes: Axes) -> None:
    """Numbers like 0.2 instead of powers of ten, also where an axis spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    decades = math.log10(high / low) if low > 0 else 9.0
    subs: tuple[float, ...] = (1.0, 2.0, 5.0) if decades < 3 else (1.0,)
    if decades < 0.7:
        subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    axes.yaxis.set_major_locator(LogLocator(10.0, subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}" if value >= 1e-4 else f"{value:.0e}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def confusion(table: Any, epoch: int) -> Picture | None:
    """Labels against predictions on the test set."""
    counts = np.asarray(table)
    total = int(counts.sum())
    if total == 0:
        return None
    classes = len(counts)
    figure = _figure(4.3)
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
    return _picture("Confusion matrix", figure, sentence + ".")


def waveform(row: Rows, phase_degrees: FloatArray) -> Picture | None:
    """Nudge currents and output voltages over one period; the outputs that are driven hardest in colour."""
    volts, amperes = row["output_volts"], row["nudge_amperes"]
    if not (np.isfinite(volts).all() and np.isfinite(amperes).all()):
        return None
    figure = _figure(4.3)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.4))
    hardest = np.argsort(-np.abs(amperes))[: min(4, len(amperes))]
    drive_scale, drive_prefix = _prefix(float(np.abs(amperes).max()))
    swing = np.ptp(volts, axis=0)
    volt_scale, volt_prefix = _prefix(float(np.abs(volts).max()))
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
    _label_ends(bottom, ends)
    first = int(hardest[0])
    sentence = (
        f"The current into output {first} swings by ±{si(abs(float(amperes[first])), 'A')} and moves its voltage over "
        f"{si(float(swing[first]), 'V')}; the outputs follow the tone, and the bends of the curves away from a cosine "
        "are the harmonics of the next picture (outputs with small errors, grey, are hardly nudged)."
    )
    return _picture(f"One nudge period after epoch {row['epoch']}", figure, sentence)


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
    figure = _figure(3.9)
    axes = figure.add_subplot()
    seen = size > floor
    spread = np.broadcast_to(order[:, None], size.shape)
    axes.plot(spread[seen], size[seen], "o", color="#c4c4c4", markersize=3.5, zorder=1)
    shown = np.maximum(rms, floor)
    for mask, colour in ((used, VERMILLION), (~used, BLUE)):
        axes.vlines(order[mask], floor, shown[mask], color=colour, linewidth=2.2, zorder=2)
        axes.plot(order[mask], shown[mask], "o", color=colour, markersize=9, zorder=3)
    axes.set_yscale("log")
    low = max(floor, float(size[seen].min()))
    axes.set_ylim(low / 3, float(size.max()) * 12)
    for k in order[used]:
        weight = int(k) if (k - 1) // 2 % 2 == 0 else -int(k)
        text = f"{weight:+d} A{k}".replace("-", "−")
        axes.annotate(
            text,
            (k, size[k - 1].max()),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            color=VERMILLION,
            fontweight="bold",
        )
    axes.yaxis.set_major_formatter(lambda value, _: si(value, "V"))
    axes.set_xticks(order)
    axes.set_xlabel("harmonic of the nudge frequency")
    axes.set_ylabel("amplitude at the outputs")
    terms = " ".join(f"{'+' if (k - 1) // 2 % 2 == 0 else '−'} {int(k) if k > 1 else ''}A{k}" for k in order[used])
    sentence = (
        f"The derivative is ({terms.removeprefix('+ ')})/β, the marked harmonics; the rest only has to be small. "
    )
    if len(rms) >= 3 and rms[0] > 0:
        sentence += f"The third is {percent(float(rms[2] / rms[0]), 1)} of the first"
        omitted = (highest_used if highest_used % 2 else highest_used - 1) + 2
        if 3 < omitted <= len(rms):
            sentence += f", the first that is left out (number {omitted}) {percent(float(rms[omitted - 1] / rms[0]))}"
        sentence += ": the faster they fall, the more exact the gradient. "
    lag = float(np.linalg.norm(sine[1]) / max(np.linalg.norm(cosine[1]), np.finfo(float).tiny))
    sentence += f"The part out of phase is {percent(lag, 2)} of the first harmonic (0 where the network keeps up)."
    return _picture("Harmonics at the outputs", figure, sentence)


def gradient_cosine(steps: Rows, epochs: Rows) -> Picture | None:
    """Cosine between the measured and the exact gradient at the steps that were judged."""
    cosine = steps["gradient_cosine"]
    judged = np.isfinite(cosine)
    if not judged.any():
        return None
    figure = _figure()
    axes = figure.add_subplot()
    x, y = steps["step"][judged], cosine[judged]
    axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(x, y, "o", color=GREEN, markersize=3.5, alpha=0.45, markeredgewidth=0)
    centre, mean, _, _ = _bins(y, 30)
    if len(y) > 3:
        axes.plot(np.interp(centre, np.arange(len(x)), x), mean, color=GREEN)
    axes.set_ylim(_cosine_floor(y), 1.0 + 0.04 * (1.0 - _cosine_floor(y)))
    axes.set_ylabel("cosine to the exact gradient")
    axes.set_xlabel("training step")
    median, worst = float(np.median(y)), int(np.argmin(y))
    sentence = (
        f"1 means exactly the right direction: the median over {number(len(y))} judged steps is {median:.4f} "
        f"({math.degrees(math.acos(min(1.0, max(-1.0, median)))):.1f}° off), the worst is {y[worst]:.3f} at step "
        f"{x[worst]}."
    )
    means = _finite(epochs.get("gradient_cosine", ()))
    if len(means):
        sentence += f" The mean over the last epoch is {means[-1]:.4f}."
    return _picture("Gradient against the exact one", figure, sentence)


def _cosine_floor(values: FloatArray) -> float:
    return max(-1.0, min(float(values.min()), 0.98) - 0.02)


def layer_cosines(steps: Rows) -> Picture | None:
    """The same cosine for the error signal of each layer."""
    names = [name for name in steps if name.startswith("error_cosine_") and np.isfinite(steps[name]).any()]
    if not names:
        return None
    figure = _figure()
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
    _label_ends(axes, ends)
    told = ", ".join(f"{layer} {value:.4f}" for layer, value in medians.items())
    sentence = f"Layers far from the output are the hardest to get right; medians: {told}."
    return _picture("Error signal, layer by layer", figure, sentence)


def errors(steps: Rows) -> Picture | None:
    """What is estimated without a reference: truncation of the harmonic series, and read-out noise."""
    figure = _figure()
    axes = figure.add_subplot()
    ends, told = [], []
    for name, text, colour in (("truncation", "truncation", PURPLE), ("gradient_error", "noise", SKY)):
        values = np.where(steps[name] > 0, steps[name], np.nan)
        if not np.isfinite(values).any():
            continue
        centre, mean, _, _ = _bins(values, 120)
        axes.plot(steps["step"][0] + centre, mean, color=colour, marker="o" if len(centre) < 20 else None)
        ends.append((float(mean[-1]), text, colour))
        told.append(f"{'truncation' if name == 'truncation' else 'noise'} {percent(float(np.median(_finite(values))))}")
    if not ends:
        return None
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}")
    axes.set_ylabel("estimated relative error (%)")
    axes.set_xlabel("training step")
    axes.margins(x=0.02)
    _label_ends(axes, ends)
    sentence = (
        "What the device can tell about its own gradient: the part lost with the omitted harmonics (truncation) and "
        f"the part due to read-out noise; medians: {', '.join(told)}. A larger nudge raises the first and lowers the "
        "second."
    )
    return _picture("Estimated errors of the gradient", figure, sentence)


def amplitude(steps: Rows, automatic: bool) -> Picture | None:
    """Nudge amplitude by step."""
    values = steps["amplitude"]
    if not np.isfinite(values).any():
        return None
    figure = _figure(3.0)
    axes = figure.add_subplot()
    centre, mean, least, most = _bins(values, 120)
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
            f"in a batch went from {mean[0]:.3g} to {mean[-1]:.3g} (band: range)."
        )
    else:
        sentence = f"The amplitude was fixed: β = {number(float(np.median(_finite(values))))}."
    return _picture("Nudge amplitude", figure, sentence)


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
    figure = _figure(3.0)
    axes = figure.add_subplot()
    bottom: Any = 0.0
    count = len(steps["step"])
    width = -(-count // 60)
    for name, text, colour in reasons:
        centre, mean, _, _ = _bins(steps[name].astype(np.float64), 60)
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
        f"enter an update: {told}. A lost branch is a network that jumped to another state when nudged."
    )
    return _picture("Samples left out", figure, sentence)


def pulses(epochs: Rows, steps: Rows) -> Picture | None:
    """Programming pulses by epoch, or by step where no epoch was finished."""
    by_epoch = len(epochs.get("epoch", ())) > 0
    x, y = (epochs["epoch"], epochs["pulses"]) if by_epoch else (steps["step"], steps["pulses"])
    if not np.any(y):
        return None
    figure = _figure(3.0)
    axes = figure.add_subplot()
    if by_epoch:
        axes.bar(x, y, color=BLUE, width=0.8)
        _epoch_axis(axes)
        axes.set_ylabel("pulses in an epoch")
    else:
        centre, mean, _, _ = _bins(y.astype(np.float64), 120)
        axes.plot(x[0] + centre, mean, color=BLUE)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("training step")
        axes.set_ylabel("pulses in a step")
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    failed, held = int(np.max(steps["failed_cells"])), int(np.max(steps["saturated_weights"]))
    unit = "epoch" if by_epoch else "step"
    sentence = (
        f"Every pulse wears a device: {number(int(y.sum()))} in all, {number(int(y[0]))} in the first {unit} and "
        f"{number(int(y[-1]))} in the last. At most {number(failed)} cells did not answer in a single step, and "
        f"{number(held)} weights were held at the end of their range."
    )
    return _picture("Programming pulses", figure, sentence)


def symmetry(epochs: Rows) -> Picture | None:
    """Symmetry score of forward and backward arrays by epoch."""
    score = epochs["symmetry"]
    if not np.isfinite(score).any():
        return None
    figure = _figure(3.0)
    axes = figure.add_subplot()
    axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    last = _curve(axes, epochs["epoch"], score, GREEN)
    low = min(float(_finite(score).min()), 0.98)
    axes.set_ylim(low - 0.15 * (1 - low), 1 + 0.1 * (1 - low))
    axes.set_ylabel("symmetry score")
    _epoch_axis(axes)
    sentence = (
        "1: feedback weights mirror the forward ones; 0: unrelated; −1: opposite. The closer to 1, the better plain "
        f"equilibrium propagation works: {_finite(score)[0]:.4f} after the first epoch, {last:.4f} after the last."
    )
    return _picture("Symmetry of forward and feedback weights", figure, sentence)


def device_pictures(cells: FloatArray, window: tuple[float, float] | None, last_epoch: int) -> list[Picture]:
    """Maps and histogram of one coupling, before and after.

    Args:
        cells: (snapshot, 2, word line, bit line) siemens, plus and minus devices; the first before training.
        window: lowest and highest conductance of the cells, where the experiment tells.
        last_epoch: of the last snapshot.
    """
    if not np.isfinite(cells[-1]).any() or not np.isfinite(cells[0]).any():
        return []
    low, high = window or (float(np.nanmin(cells)), float(np.nanmax(cells)))
    stuck = stuck_cells(cells, low, high)
    snapshots = [("before training", cells[0])]
    if len(cells) > 1:
        snapshots.append((f"after epoch {last_epoch}", cells[-1]))
    return [
        _weight_maps(snapshots, stuck),
        _device_maps(snapshots[-1], stuck, low, high),
        _histogram(snapshots, stuck, low, high),
    ]


def stuck_cells(cells: FloatArray, low: float, high: float) -> BoolArray:
    """Devices (2, word line, bit line) that never moved and sit near an end of the window; none in a single snapshot.

    Not moving alone does not make a cell stuck: those on an input that is always zero have no reason to move.
    """
    if len(cells) < 2:
        return np.zeros(cells.shape[1:], dtype=bool)
    margin = NEAR_END * (high - low)
    held = np.all(cells == cells[0], axis=0)
    return np.asarray(held & ((cells[0] < low + margin) | (cells[0] > high - margin)))


def _shrunk(values: FloatArray) -> tuple[FloatArray, tuple[int, int]]:
    """A map as it is drawn, the longer axis across, averaged in blocks; the size of a block."""
    blocks = (-(-values.shape[0] // MOST_PIXELS), -(-values.shape[1] // MOST_PIXELS))
    for axis, block in enumerate(blocks):
        if block > 1:
            starts = np.arange(0, values.shape[axis], block)
            counts = np.diff(np.append(starts, values.shape[axis]))
            values = np.add.reduceat(values, starts, axis=axis) / (counts[:, None] if axis == 0 else counts)
    return values, blocks


def _draw_map(
    axes: Axes, values: FloatArray, marks: BoolArray, limits: tuple[float, float], colours: str, ink: str
) -> Any:
    """A map, word lines across where they are the longer axis; stuck cells as small squares."""
    across = values.shape[0] >= values.shape[1]
    shown, blocks = _shrunk(values.T if across else values)
    extent = (-0.5, shown.shape[1] * blocks[1] - 0.5, shown.shape[0] * blocks[0] - 0.5, -0.5)
    image = axes.imshow(
        shown, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="none", extent=extent
    )
    places = np.argwhere(marks.T if across else marks)
    if len(places) <= MOST_MARKS:
        axes.plot(places[:, 1], places[:, 0], "s", markersize=4, markerfacecolor="none", markeredgecolor=ink)
    axes.grid(False)
    axes.set_ylabel("bit line" if across else "word line")
    axes.set_xlabel("word line" if across else "bit line")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    return image


def _weight_maps(snapshots: Sequence[tuple[str, FloatArray]], stuck: BoolArray) -> Picture:
    weights = [cells[0] - cells[1] for _, cells in snapshots]
    # A few stuck cells must not take all the colour.
    limit = max(float(np.percentile(np.abs(_finite(one)), 98.5)) for one in weights) or 1e-12
    scale, prefix = _prefix(limit)
    figure = _figure(2.2 * len(snapshots) + 0.2)
    panels = np.atleast_1d(figure.subplots(len(snapshots), 1, sharex=True))
    image = None
    for axes, (name, _), one in zip(panels, snapshots, weights, strict=True):
        shown = (-limit / scale, limit / scale)
        image = _draw_map(axes, one / scale, np.any(stuck, axis=0), shown, "RdBu_r", INK)
        axes.set_title(name)
        if axes is not panels[-1]:
            axes.set_xlabel("")
    if image is not None:
        figure.colorbar(image, ax=list(panels), extend="both", label=f"g+ − g− ({prefix}S)")
    rms = [float(np.sqrt(np.mean(_finite(one) ** 2))) for one in weights]
    sentence = f"A weight is the difference of two devices (red: positive, blue: negative); rms {si(rms[0], 'S')}"
    if len(rms) > 1:
        change = float(np.sqrt(np.mean(_finite(weights[1] - weights[0]) ** 2)))
        sentence += (
            f" before and {si(rms[1], 'S')} after, changed by {si(change, 'S')} rms: structure is what it learnt"
        )
        if stuck.any():
            sentence += ". Squares: pairs with a device that never moved"
    else:
        sentence += ". There is no later snapshot to compare with"
    return _picture("Weights, g+ − g−", figure, sentence + ".")


def _device_maps(snapshot: tuple[str, FloatArray], stuck: BoolArray, low: float, high: float) -> Picture:
    name, cells = snapshot
    values = _finite(cells)
    bottom, top = (float(v) for v in np.percentile(values, (1.5, 98.5)))
    if not bottom < top:
        bottom, top = low, max(high, low * (1 + 1e-6))
    scale, prefix = _prefix(top)
    figure = _figure(4.6)
    panels = figure.subplots(2, 1, sharex=True)
    image = None
    for axes, one, marks, sign in zip(panels, cells, stuck, ("plus devices g+", "minus devices g−"), strict=True):
        image = _draw_map(axes, one / scale, marks, (bottom / scale, top / scale), "cividis", VERMILLION)
        axes.set_title(f"{sign}, {name}")
    panels[0].set_xlabel("")
    if image is not None:
        figure.colorbar(image, ax=list(panels), extend="both", label=f"conductance ({prefix}S)")
    sentence = (
        f"The conductances themselves run from {si(float(values.min()), 'S')} to {si(float(values.max()), 'S')}, "
        f"median {si(float(np.median(values)), 'S')}; "
    )
    count, share = int(stuck.sum()), percent(float(stuck.mean()))
    marked = "" if len(np.argwhere(stuck[0])) > MOST_MARKS else " (orange squares)"
    sentence += (
        f"{number(count)} of {number(stuck.size)} devices ({share}){marked} never moved and sit near an end of the "
        "window: they look stuck."
        if count
        else "no device looks stuck (unchanged near an end of the window)."
    )
    return _picture("Device conductances", figure, sentence)


def _histogram(snapshots: Sequence[tuple[str, FloatArray]], stuck: BoolArray, low: float, high: float) -> Picture:
    everything = np.concatenate([_finite(cells) for _, cells in snapshots])
    scale, prefix = _prefix(float(everything.max()))
    edges = np.linspace(min(low, float(everything.min())), max(high, float(everything.max())), 61) / scale
    if not edges[0] < edges[-1]:
        edges = np.linspace(0.9 * edges[0], 1.1 * edges[0] + 1e-12, 61)
    figure = _figure(3.4)
    axes = figure.add_subplot()
    tallest = 1
    for (name, cells), colour in zip(snapshots, (GREY, BLUE), strict=False):
        values = _finite(cells) / scale
        counts, _ = np.histogram(values, edges)
        tallest = max(tallest, int(counts.max()))
        filled = colour == BLUE or len(snapshots) == 1
        axes.stairs(counts, edges, color=colour, linewidth=1.6, label=name)
        if filled:
            axes.stairs(counts, edges, color=colour, alpha=0.2, fill=True)
    if stuck.any():
        counts, _ = np.histogram(snapshots[-1][1][stuck] / scale, edges)
        axes.stairs(counts, edges, color=VERMILLION, fill=True, label=f"never moved, near an end ({int(stuck.sum())})")
    axes.set_yscale("log")
    axes.set_ylim(0.7, 6 * tallest)
    for end in (low, high):
        axes.axvline(end / scale, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_xlabel(f"conductance ({prefix}S), window dotted")
    axes.set_ylabel("devices")
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.legend(frameon=False, fontsize=9.5, loc="upper center", ncols=len(snapshots) + int(stuck.any()))
    spreads = [float(np.std(_finite(cells))) for _, cells in snapshots]
    told = f"the spread is {si(spreads[0], 'S')} (standard deviation) before training"
    if len(spreads) > 1:
        margin = 0.02 * (high - low)
        after = snapshots[-1][1]
        ends = int(np.sum((after <= low + margin) | (after >= high - margin)))
        told += f" and {si(spreads[1], 'S')} after; {number(ends)} devices end within 2 % of an end of the window"
    sentence = f"Devices that pile up at the ends have no room left to learn: {told}."
    return _picture("Histogram of conductances", figure, sentence)
