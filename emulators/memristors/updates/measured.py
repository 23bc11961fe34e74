"""A piecewise law from a measured pulse curve."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

from emulators.memristors.updates.base import FloatArray
from emulators.memristors.updates.checks import require_number
from emulators.memristors.updates.piecewise import Piecewise
from substrate.errors import InputError

_COLUMNS = ("direction", "conductance_siemens")


@final
@dataclass(frozen=True)
class MeasuredLaw:
    """A law fitted to measured pulses.

    ``window_siemens``: lowest and highest conductance measured. ``residual_siemens``: rms of what the mean steps do
    not explain, a pulse. ``pulses_up``, ``pulses_down``: how many pulses the fit stands on.
    """

    update: Piecewise
    window_siemens: tuple[float, float]
    residual_siemens: float
    pulses_up: int
    pulses_down: int


def from_measured_points(
    points: str | Path | Mapping[str, Sequence[float] | npt.NDArray[np.float64]], levels: int = 9
) -> MeasuredLaw:
    """Fit a piecewise law to a measured pulse curve.

    ``points``: a CSV file with a header, or a mapping of columns, one row a read, in the order of the measurement:
    ``direction`` (+1: this read follows a pulse up, -1: down, 0: the first read of a device or a read without a
    pulse), ``conductance_siemens``, and optionally ``device`` (a number or name; rows of one device stand together).
    ``levels``: number of equally spaced levels over the measured range between which steps are interpolated.

    For each direction the steps at the levels are the least-squares fit of the change at each pulse by piecewise
    linear functions of the conductance before it. A fitted step against the direction of its pulse counts as 0.
    ``cycle_spread`` (additive) is the rms residual in units of the mean step, ``step_spread`` the spread between
    devices of the factor by which each follows the fit. Raises InputError for missing columns, rows that are not
    numbers, fewer than 4 pulses a direction, and levels that no pulse has visited.
    """
    direction, conductance, device = _read(points)
    if not isinstance(levels, int) or isinstance(levels, bool) or levels < 2:
        raise InputError(f"levels: expected an integer of at least 2, got {levels!r}")
    low, high = float(conductance.min()), float(conductance.max())
    if not 0.0 <= low < high:
        raise InputError(f"conductance_siemens: expected non-negative values that differ, got {low:g} ... {high:g}")

    followed = np.flatnonzero(direction[1:] != 0) + 1
    if bool(np.any(device[followed] != device[followed - 1])) or direction[0] != 0:
        raise InputError("direction: the first read of every device must have direction 0")
    nodes = np.linspace(0.0, 1.0, levels)
    # Changes along the pulse's direction and states before it, both in shares of the measured range.
    change = direction[followed] * np.diff(conductance)[followed - 1] / (high - low)
    before = (conductance[followed - 1] - low) / (high - low)
    hats = np.maximum(1.0 - np.abs(before[:, None] - nodes) * (levels - 1), 0.0)

    steps: dict[int, FloatArray] = {}
    explained = np.zeros(change.size)
    for sign, name in ((1, "up"), (-1, "down")):
        rows = direction[followed] == sign
        if np.count_nonzero(rows) < 4:
            raise InputError(f"direction: expected at least 4 pulses {name}, got {np.count_nonzero(rows)}")
        unseen = nodes[hats[rows].sum(axis=0) == 0.0]
        if unseen.size:
            where = low + unseen[0] * (high - low)
            raise InputError(f"levels: no pulse {name} was measured near {where:g} S; use fewer levels")
        steps[sign] = np.maximum(np.linalg.lstsq(hats[rows], change[rows])[0], 0.0)
        explained[rows] = hats[rows] @ steps[sign]
    mean = 0.5 * float(steps[1].mean() + steps[-1].mean())
    if mean == 0.0:
        raise InputError("conductance_siemens: the pulses move the cell against their direction, or not at all")

    residual = float(np.sqrt(np.mean((change - explained) ** 2)))
    return MeasuredLaw(
        update=Piecewise(
            step=2.0 * mean,
            step_spread=_gain_spread(change, explained, device[followed]),
            levels=tuple(float(level) for level in nodes),
            up=tuple(float(step) for step in steps[1] / mean),
            down=tuple(float(step) for step in steps[-1] / mean),
            cycle_spread=residual / mean,
            cycle_noise="additive",
        ),
        window_siemens=(low, high),
        residual_siemens=residual * (high - low),
        pulses_up=int(np.count_nonzero(direction[followed] == 1)),
        pulses_down=int(np.count_nonzero(direction[followed] == -1)),
    )


def _gain_spread(change: FloatArray, explained: FloatArray, device: npt.NDArray[np.int64]) -> float:
    projected = np.bincount(device, weights=change * explained)
    power = np.bincount(device, weights=explained**2)
    gains = projected[power > 0.0] / power[power > 0.0]
    return float(np.std(gains, ddof=1)) if gains.size > 1 else 0.0


def _read(
    points: str | Path | Mapping[str, Sequence[float] | npt.NDArray[np.float64]],
) -> tuple[npt.NDArray[np.int64], FloatArray, npt.NDArray[np.int64]]:
    columns: Mapping[str, Sequence[object] | npt.NDArray[np.float64]]
    columns = points if isinstance(points, Mapping) else _read_csv(Path(points))
    for name in _COLUMNS:
        if name not in columns:
            raise InputError(f"points: no column {name}; expected {', '.join(_COLUMNS)} and optionally device")
    try:
        direction = np.asarray(columns["direction"], dtype=np.float64)
        conductance = np.asarray(columns["conductance_siemens"], dtype=np.float64)
    except ValueError as error:
        raise InputError(f"points: expected numbers in {' and '.join(_COLUMNS)}: {error}") from None
    labels = np.asarray(columns.get("device", np.zeros(direction.size)))
    if direction.ndim != 1 or direction.size < 2 or not direction.shape == conductance.shape == labels.shape:
        raise InputError("points: expected columns of one length, at least 2 rows")
    if not bool(np.all(np.isin(direction, (-1.0, 0.0, 1.0)))):
        raise InputError("direction: expected -1, 0 or 1 in every row")
    for row in np.flatnonzero(~np.isfinite(conductance))[:1]:
        require_number(f"conductance_siemens[{row}]", float(conductance[row]))
    return direction.astype(np.int64), conductance, np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _read_csv(path: Path) -> dict[str, list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from None
    if not rows:
        raise InputError(f"{path}: expected a header and rows of {', '.join(_COLUMNS)}")
    if any(None in row or None in row.values() for row in rows):
        raise InputError(f"{path}: expected as many values in every row as the header has columns")
    return {name: [row[name] for row in rows] for name in rows[0]}
