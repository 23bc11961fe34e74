"""What the pictures of a report have in common: look, colours, curves, labels, and their way into a page.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), told apart with any colour vision.
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
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from substrate.arrays import FloatArray

BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
GREY = "#9a9a9a"
INK = "#222222"
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)

Rows = Mapping[str, Any]
"""A table of a series, as `RunFile.table` gives it."""

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


def new_figure(height: float = 3.2, width: float = 5.3) -> Figure:
    """An empty figure, sizes in inches; narrow enough that its text can be read on a phone."""
    return Figure(figsize=(width, height), dpi=72, layout="constrained")


def picture(title: str, figure: Figure, sentence: str) -> Picture:
    """The finished figure as SVG."""
    # `savefig` would draw everything twice, and lay it out in the first of the two.
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    buffer = io.BytesIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(title, f"data:image/svg+xml;base64,{data}", sentence)


def finite(values: Any) -> FloatArray:
    """The finite ones of some values, flat."""
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def bins(values: FloatArray, most: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
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


def curve(axes: Axes, x: FloatArray, y: FloatArray, colour: str) -> float | None:
    """A line through the finite points, marked where they are few; returns its last value."""
    keep = np.isfinite(y)
    if not keep.any():
        return None
    axes.plot(x[keep], y[keep], color=colour, marker="o" if keep.sum() <= 40 else None)
    return float(y[keep][-1])


def epoch_axis(axes: Axes) -> None:
    """Whole epochs on the horizontal axis."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.margins(x=0.03)


def plain_log_ticks(axes: Axes, factor: float = 1.0) -> None:
    """Numbers like 0.2 instead of powers of ten, also on less than a decade; percent with ``factor`` 100."""
    low, high = axes.get_ylim()
    decades = math.log10(high / low) if low > 0 else 9.0
    subs: tuple[float, ...] = (1.0, 2.0, 5.0) if decades < 3 else (1.0,)
    if decades < 0.7:
        subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    axes.yaxis.set_major_locator(LogLocator(10.0, subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{factor * value:.6g}" if factor * value >= 1e-4 else f"{factor * value:.0e}"
    )
    axes.yaxis.set_minor_formatter(NullFormatter())


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
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
