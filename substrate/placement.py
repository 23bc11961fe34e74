"""Where the cells of a network's couplings lie on the crossbar arrays that carry them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from substrate.arrays import BoolArray
from substrate.errors import InputError
from substrate.network import Coupling, Network


@final
@dataclass(frozen=True)
class Corner:
    """First cell of a region: name of the array, row and column counted from 0."""

    array: str
    row: int
    column: int


@final
@dataclass(frozen=True)
class Region:
    """A rectangle of an array: its word lines and bit lines."""

    array: str
    rows: slice
    columns: slice


Placement = Mapping[str, tuple[Region, ...]]
"""Regions of each coupling, by polarity: the positive plane first."""


def place(
    network: Network, shapes: Mapping[str, tuple[int, int]], corners: Mapping[str, Sequence[Corner]] | None = None
) -> Placement:
    """Regions for all cells of a network.

    Args:
        network: whose couplings have to be placed.
        shapes: (word lines, bit lines) of the arrays by name.
        corners: of each polarity of a coupling; couplings that are not named are packed beneath each other, the two
            planes of a pair side by side, on the first array that has room.

    Raises:
        InputError: no room, regions that overlap or reach beyond their array, an unknown coupling or array.
    """
    taken = {name: np.zeros(shape, dtype=np.bool_) for name, shape in shapes.items()}
    given = dict(corners or {})
    known = [coupling.name for coupling in network.arrays]
    for name in given:
        if name not in known:
            raise InputError(f"placement.{name}: expected one of {', '.join(known)}")
    regions: dict[str, tuple[Region, ...]] = {}
    for coupling in network.arrays:
        if coupling.name in given:
            regions[coupling.name] = _as_told(coupling, given[coupling.name], taken)
    for coupling in network.arrays:
        if coupling.name not in regions:
            regions[coupling.name] = _packed(coupling, taken)
    return {name: regions[name] for name in known}


def _as_told(coupling: Coupling, corners: Sequence[Corner], taken: Mapping[str, BoolArray]) -> tuple[Region, ...]:
    if len(corners) != coupling.polarities:
        raise InputError(f"placement.{coupling.name}: expected {coupling.polarities} corners, got {len(corners)}")
    out = []
    for corner in corners:
        where = f"placement.{coupling.name}"
        if corner.array not in taken:
            raise InputError(f"{where}.array: expected one of {', '.join(taken)}, got {corner.array!r}")
        region = _region(coupling, corner)
        rows, columns = taken[corner.array].shape
        if min(corner.row, corner.column) < 0 or region.rows.stop > rows or region.columns.stop > columns:
            raise InputError(
                f"{where}: {coupling.shape[0]} x {coupling.shape[1]} cells from row {corner.row}, column "
                f"{corner.column} reach beyond the {rows} x {columns} of {corner.array}"
            )
        cells = taken[corner.array][region.rows, region.columns]
        if cells.any():
            raise InputError(f"{where}: its cells on {corner.array} are taken by another coupling or plane")
        cells[...] = True
        out.append(region)
    return tuple(out)


def _region(coupling: Coupling, corner: Corner) -> Region:
    rows, columns = coupling.shape
    return Region(corner.array, slice(corner.row, corner.row + rows), slice(corner.column, corner.column + columns))


def _packed(coupling: Coupling, taken: Mapping[str, BoolArray]) -> tuple[Region, ...]:
    rows, columns = coupling.shape
    for array, cells in taken.items():
        start = _free_band(cells, rows, coupling.polarities * columns)
        if start is not None:
            corners = [Corner(array, start[0], start[1] + index * columns) for index in range(coupling.polarities)]
            return _as_told(coupling, corners, taken)
    sizes = ", ".join(f"{name} of {cells.shape[0]} x {cells.shape[1]}" for name, cells in taken.items())
    raise InputError(
        f"placement.{coupling.name}: no room for {rows} x {coupling.polarities * columns} cells on {sizes}; "
        "expected larger arrays, or a placement of each plane"
    )


def _free_band(taken: BoolArray, rows: int, columns: int) -> tuple[int, int] | None:
    """The first free rectangle, by rows and then columns."""
    if rows > taken.shape[0] or columns > taken.shape[1]:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(taken, (rows, columns))
    free = np.argwhere(~windows.any(axis=(2, 3)))
    return None if not len(free) else (int(free[0, 0]), int(free[0, 1]))
