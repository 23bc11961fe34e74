"""Potentiation and depression curves of a device: simulated pulse by pulse, summed up, and drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt

from emulators.memristors.devices import Devices, Steps
from emulators.memristors.updates.base import PulsedLaw, UpdateLaw
from substrate.errors import CapabilityError, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = npt.NDArray[np.float64]

# A curve is drawn from at most so many reads a branch; a long burst between two reads is given at once.
_MOST_READS = 400
# By default a branch takes the mean device through this share of its range ...
_TRAVERSED = 0.95
# ... in at most so many pulses.
_MOST_PULSES = 20_000


@final
@dataclass(frozen=True)
class PulseCurve:
    """Potentiation, then depression, of a set of devices that start at their lower bounds.

    ``pulses`` (reads,) pulses given before each read; ``conductances`` (devices, reads) siemens; ``turn`` the index
    of the last read of the potentiation. ``states_siemens`` (states,) and ``mean_step_up``, ``mean_step_down``
    (states,) siemens: the mean device's step without noise over its range. A one-sided device is reset in place of
    its depression: one read after ``turn``.
    """

    law: str
    window_siemens: tuple[float, float]
    pulses: npt.NDArray[np.int64]
    conductances: FloatArray
    turn: int
    states_siemens: FloatArray
    mean_step_up: FloatArray
    mean_step_down: FloatArray
    nominal_step: Steps
    one_sided: bool

    @property
    def mean(self) -> FloatArray:
        """Mean over the devices at each read, siemens."""
        return np.asarray(self.conductances.mean(axis=0))

    @property
    def deviation(self) -> FloatArray:
        """Standard deviation over the devices at each read, siemens."""
        return np.asarray(self.conductances.std(axis=0))

    @property
    def asymmetry(self) -> float:
        """Mean over the range of |up - down|/(up + down) of the mean device's steps: 0 symmetric, 1 one-sided."""
        total = self.mean_step_up + self.mean_step_down
        ratio = np.abs(self.mean_step_up - self.mean_step_down)[total > 0.0] / total[total > 0.0]
        return float(ratio.mean())

    @property
    def symmetry_point_siemens(self) -> float | None:
        """Conductance at which the mean device's steps up and down are equal; None where there is no single one."""
        difference = self.mean_step_up - self.mean_step_down
        crossings = np.flatnonzero(difference[:-1] * difference[1:] < 0.0)
        exact = np.flatnonzero(difference == 0.0)
        if exact.size + crossings.size != 1:
            return None
        if exact.size:
            return float(self.states_siemens[exact[0]])
        left = int(crossings[0])
        share = difference[left] / (difference[left] - difference[left + 1])
        return float(self.states_siemens[left] + share * (self.states_siemens[left + 1] - self.states_siemens[left]))


def pulse_curve(
    update: UpdateLaw,
    window_siemens: tuple[float, float],
    pulses_up: int | None = None,
    pulses_down: int | None = None,
    devices: int = 200,
    *,
    rng: np.random.Generator,
) -> PulseCurve:
    """Pulse ``devices`` devices up from their lower bounds and down again, reading on the way.

    ``pulses_up``, ``pulses_down``: length of the branches; by default what takes the mean device through 95 % of its
    range. Raises CapabilityError for a law without pulses, InputError for counts below 1.
    """
    if not isinstance(update, PulsedLaw):
        raise CapabilityError(f"pulse_curve: law {update.law} is written without pulses and has no curve")
    up = _default_pulses(update, 1) if pulses_up is None else pulses_up
    down = _default_pulses(update, -1) if pulses_down is None else pulses_down
    for key, value in (("pulses_up", up), ("pulses_down", down), ("devices", devices)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise InputError(f"{key}: expected an integer of at least 1, got {value!r}")

    array = Devices((devices,), window_siemens, update, rng)
    if update.one_sided:
        array.reset()
    else:
        array.initialise(array.bounds_siemens[0])
    reads = [array.conductances]
    pulses = [0]
    for burst in _bursts(up):
        array.pulse(np.full(devices, burst))
        reads.append(array.conductances)
        pulses.append(pulses[-1] + burst)
    turn = len(reads) - 1
    if update.one_sided:
        array.reset()
        reads.append(array.conductances)
        pulses.append(pulses[-1] + 1)
    else:
        for burst in _bursts(down):
            array.pulse(np.full(devices, -burst))
            reads.append(array.conductances)
            pulses.append(pulses[-1] + burst)

    states, up_steps, down_steps = _mean_steps(update)
    low, high = array.window_siemens
    siemens = 0.5 * (high - low)
    return PulseCurve(
        law=update.law,
        window_siemens=array.window_siemens,
        pulses=np.array(pulses, dtype=np.int64),
        conductances=np.stack(reads, axis=1),
        turn=turn,
        states_siemens=low + siemens * (states + 1.0),
        mean_step_up=siemens * up_steps,
        mean_step_down=siemens * down_steps,
        nominal_step=array.nominal_step_siemens,
        one_sided=update.one_sided,
    )


def plot_curve(
    curve: PulseCurve, path: str | Path, *, title: str | None = None, source: str | None = None, traces: int = 4
) -> None:
    """Draw ``curve`` to ``path`` (png, pdf or svg by its suffix).

    Left: conductance against pulses, mean, one standard deviation and a few single devices. Right: the mean device's
    steps up and down over its range, with the symmetry point. ``title`` and ``source`` (the citation) are printed.
    Uses no pyplot state; needs no display. Raises InputError for a path that cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    figure = Figure(figsize=(9.0, 4.0), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1.0))
    factor, unit = _unit(curve.window_siemens[1])
    _draw_traces(left, curve, factor, unit, traces)
    _draw_steps(right, curve, factor, unit)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    if title:
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    if source:
        figure.supxlabel(source, fontsize=6, color=_GREY, x=0.01, ha="left", wrap=True)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot write the plot: {error}") from None


# Okabe & Ito's colours, told apart by colour-blind readers and in grey.
_UP, _DOWN, _GREY = "#0072B2", "#D55E00", "#5A5A5A"


def _draw_traces(axes: Axes, curve: PulseCurve, factor: float, unit: str, traces: int) -> None:
    mean, deviation = curve.mean * factor, curve.deviation * factor
    branches = ((slice(0, curve.turn + 1), _UP, "up"), (slice(curve.turn, None), _DOWN, "down"))
    for branch, colour, name in branches:
        pulses = curve.pulses[branch]
        label = "reset" if curve.one_sided and name == "down" else f"{name}: mean of {len(curve.conductances)} devices"
        axes.fill_between(
            pulses, (mean - deviation)[branch], (mean + deviation)[branch], color=colour, alpha=0.18, linewidth=0
        )
        for values in curve.conductances[:traces, branch]:
            axes.plot(pulses, values * factor, color=colour, alpha=0.45, linewidth=0.5)
        axes.plot(pulses, mean[branch], color=colour, linewidth=2.0, label=label)
    axes.fill_between([], [], [], color=_GREY, alpha=0.25, linewidth=0, label="one standard deviation")
    axes.plot([], [], color=_GREY, linewidth=0.6, label=f"{min(traces, len(curve.conductances))} single devices")
    axes.set_xlabel("pulses", fontsize=9)
    axes.set_ylabel(f"conductance ({unit})", fontsize=9)
    axes.set_xlim(0, curve.pulses[-1] * (1.02 if curve.one_sided else 1.0))
    low, high = (end * factor for end in curve.window_siemens)
    axes.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    # Above the data, where no branch can lie under it.
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)


def _draw_steps(axes: Axes, curve: PulseCurve, factor: float, unit: str) -> None:
    largest = float(max(curve.mean_step_up.max(), curve.mean_step_down.max()))
    step_factor, step_unit = _unit(largest)
    states = curve.states_siemens * factor
    axes.plot(states, curve.mean_step_up * step_factor, color=_UP, linewidth=2.0, label="up")
    if not curve.one_sided:
        axes.plot(states, curve.mean_step_down * step_factor, color=_DOWN, linewidth=2.0, ls="--", label="down")
    text = "no partial way down: reset" if curve.one_sided else f"asymmetry {curve.asymmetry:.2f}"
    point = curve.symmetry_point_siemens
    if point is not None:
        height = np.interp(point, curve.states_siemens, curve.mean_step_up) * step_factor
        axes.plot([point * factor], [height], "o", color="black", markersize=5, zorder=5)
        text += f", symmetry point {point * factor:.3g} {unit}"
    axes.set_title(text, fontsize=8, loc="left")
    axes.set_xlabel(f"conductance ({unit})", fontsize=9)
    axes.set_ylabel(f"mean |step| ({step_unit} a pulse)", fontsize=9)
    low, high = (end * factor for end in curve.window_siemens)
    axes.set_xlim(low, high)
    axes.set_ylim(0.0, largest * step_factor * 1.15)
    axes.legend(fontsize=8, frameon=False, loc="best")


def _unit(largest_siemens: float) -> tuple[float, str]:
    for factor, unit in ((1e3, "mS"), (1e6, "µS"), (1e9, "nS")):
        if largest_siemens * factor >= 1.0:
            return factor, unit
    return 1e12, "pS"


def _bursts(pulses: int) -> list[int]:
    ends = np.unique(np.round(np.linspace(0, pulses, min(pulses, _MOST_READS) + 1)).astype(np.int64))
    return [int(burst) for burst in np.diff(ends)]


def _mean_steps(update: PulsedLaw) -> tuple[FloatArray, FloatArray, FloatArray]:
    nominal: dict[str, Any] = update.nominal()
    # An odd count, so that the middle of a symmetric range is one of the states.
    states = np.linspace(float(nominal["bound_min"]), float(nominal["bound_max"]), 401)
    up, down = (np.abs(update.mean_step(states, direction, nominal)) for direction in (1, -1))
    return states, up, down


def _default_pulses(update: PulsedLaw, direction: int) -> int:
    states, up, down = _mean_steps(update)
    steps = up if direction > 0 else down[::-1]
    part = steps[: int(_TRAVERSED * states.size)]
    if update.one_sided and direction < 0:
        return 1
    if not bool(np.all(part > 0.0)):
        return _MOST_PULSES
    # Number of pulses = integral of dx/step.
    needed = float(np.trapezoid(1.0 / part, states[: part.size]))
    return min(max(math.ceil(needed), 1), _MOST_PULSES)
