"""Pictures of one coupling's devices before and after training: weights, conductances, histogram, stuck cells.

Signed maps are in matplotlib's RdBu, positive ones in cividis.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from substrate.arrays import BoolArray, FloatArray
from substrate.experiment.report_drawing import BLUE, GREY, INK, VERMILLION, Picture, finite, new_figure, picture
from substrate.experiment.report_text import number, percent, si, si_prefix

__all__ = ["device_pictures", "stuck_cells"]

MOST_PIXELS = 256
"""Cells of a map along one axis; larger arrays are averaged in blocks."""

MOST_MARKS = 400
"""Stuck cells marked one by one on a map."""

NEAR_END = 0.2
"""A cell within this part of the window from one of its ends is at that end."""


def device_pictures(cells: FloatArray, window: tuple[float, float] | None, last_epoch: int) -> list[Picture]:
    """Maps and histogram of one coupling, before and after.

    Args:
        cells: (snapshot, polarity, word line, bit line) siemens, plus and minus devices, or single ones, whose map is
            that of the weights too; the first before training.
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
        *([_weight_maps(snapshots, stuck)] if cells.shape[1] == 2 else []),
        _device_maps(snapshots[-1], stuck, low, high),
        _histogram(snapshots, stuck, low, high),
    ]


def stuck_cells(cells: FloatArray, low: float, high: float) -> BoolArray:
    """Devices (polarity, word line, bit line) that never moved, near an end of the window; none in a single snapshot.

    Not moving alone does not make a cell stuck: those on an input that is always zero have no reason to move.
    """
    if len(cells) < 2:
        return np.zeros(cells.shape[1:], dtype=bool)
    margin = NEAR_END * (high - low)
    held = np.all(cells == cells[0], axis=0)
    return np.asarray(held & ((cells[0] < low + margin) | (cells[0] > high - margin)))


def _weight_maps(snapshots: Sequence[tuple[str, FloatArray]], stuck: BoolArray) -> Picture:
    weights = [cells[0] - cells[1] for _, cells in snapshots]
    # A few stuck cells must not take all the colour.
    limit = max(float(np.percentile(np.abs(finite(one)), 98.5)) for one in weights) or 1e-12
    scale, prefix = si_prefix(limit)
    figure = new_figure(2.1 * len(snapshots) + 0.2)
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
    rms = [float(np.sqrt(np.mean(finite(one) ** 2))) for one in weights]
    sentence = f"A weight is the difference of two devices (red: positive, blue: negative); rms {si(rms[0], 'S')}"
    if len(rms) > 1:
        change = float(np.sqrt(np.mean(finite(weights[1] - weights[0]) ** 2)))
        sentence += f" before and {si(rms[1], 'S')} after; training changed them by {si(change, 'S')} rms"
        if stuck.any():
            sentence += ". Squares: pairs with a device that never moved"
    else:
        sentence += ". There is no later snapshot to compare with"
    return picture("Weights, g+ − g−", figure, sentence + ".")


def _device_maps(snapshot: tuple[str, FloatArray], stuck: BoolArray, low: float, high: float) -> Picture:
    name, cells = snapshot
    values = finite(cells)
    bottom, top = (float(v) for v in np.percentile(values, (1.5, 98.5)))
    if not bottom < top:
        bottom, top = low, max(high, low * (1 + 1e-6))
    scale, prefix = si_prefix(top)
    signs = ("plus devices g+", "minus devices g−") if len(cells) == 2 else ("devices",)
    figure = new_figure(2.1 * len(signs) + 0.2)
    panels = np.atleast_1d(figure.subplots(len(signs), 1, sharex=True))
    image = None
    for axes, one, marks, sign in zip(panels, cells, stuck, signs, strict=True):
        image = _draw_map(axes, one / scale, marks, (bottom / scale, top / scale), "cividis", VERMILLION)
        axes.set_title(f"{sign}, {name}")
        if axes is not panels[-1]:
            axes.set_xlabel("")
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
        "window: stuck, or never asked to move."
        if count
        else "every device near an end of the window has moved."
    )
    return picture("Device conductances", figure, sentence)


def _histogram(snapshots: Sequence[tuple[str, FloatArray]], stuck: BoolArray, low: float, high: float) -> Picture:
    everything = np.concatenate([finite(cells) for _, cells in snapshots])
    scale, prefix = si_prefix(float(everything.max()))
    edges = np.linspace(min(low, float(everything.min())), max(high, float(everything.max())), 61) / scale
    if not edges[0] < edges[-1]:
        edges = np.linspace(0.9 * edges[0], 1.1 * edges[0] + 1e-12, 61)
    figure = new_figure(3.2)
    axes = figure.add_subplot()
    tallest = 1
    for (name, cells), colour in zip(snapshots, (GREY, BLUE), strict=False):
        values = finite(cells) / scale
        counts, _ = np.histogram(values, edges)
        tallest = max(tallest, int(counts.max()))
        filled = colour == BLUE or len(snapshots) == 1
        axes.stairs(counts, edges, color=colour, linewidth=1.6, label=name)
        if filled:
            axes.stairs(counts, edges, color=colour, alpha=0.2, fill=True)
    if stuck.any():
        counts, _ = np.histogram(snapshots[-1][1][stuck] / scale, edges)
        axes.stairs(counts, edges, color=VERMILLION, fill=True, label=f"never moved ({int(stuck.sum())})")
    axes.set_yscale("log")
    axes.set_ylim(0.7, 2 * tallest)
    for end in (low, high):
        axes.axvline(end / scale, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_xlabel(f"conductance ({prefix}S), window dotted")
    axes.set_ylabel("devices")
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    figure.legend(frameon=False, fontsize=9.5, loc="outside upper center", ncols=len(snapshots) + int(stuck.any()))
    spreads = [float(np.std(finite(cells))) for _, cells in snapshots]
    told = f"the spread is {si(spreads[0], 'S')} (standard deviation) before training"
    if len(spreads) > 1:
        margin = 0.02 * (high - low)
        after = snapshots[-1][1]
        ends = int(np.sum((after <= low + margin) | (after >= high - margin)))
        told += f" and {si(spreads[1], 'S')} after; {number(ends)} devices end within 2 % of an end of the window"
    sentence = f"Devices that pile up at the ends have no room left to learn: {told}."
    return picture("Histogram of conductances", figure, sentence)


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
    if 0 < len(places) <= MOST_MARKS:
        for colour, width in (("white", 2.8), (ink, 1.4)):
            axes.plot(
                places[:, 1],
                places[:, 0],
                "s",
                markersize=6,
                markerfacecolor="none",
                markeredgecolor=colour,
                markeredgewidth=width,
                clip_on=False,
            )
    axes.grid(False)
    axes.set_ylabel("bit line" if across else "word line")
    axes.set_xlabel("word line" if across else "bit line")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    return image


def _shrunk(values: FloatArray) -> tuple[FloatArray, tuple[int, int]]:
    """A map as it is drawn, the longer axis across, averaged in blocks; the size of a block."""
    blocks = (-(-values.shape[0] // MOST_PIXELS), -(-values.shape[1] // MOST_PIXELS))
    for axis, block in enumerate(blocks):
        if block > 1:
            starts = np.arange(0, values.shape[axis], block)
            counts = np.diff(np.append(starts, values.shape[axis]))
            values = np.add.reduceat(values, starts, axis=axis) / (counts[:, None] if axis == 0 else counts)
    return values, blocks
