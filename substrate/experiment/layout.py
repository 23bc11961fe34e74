"""How a run file is laid out: series that grow along one dimension, constants, and the scales of every dimension.

A series is a set of datasets that share their first, growing dimension; its scale is the series' index (`step`,
`epoch`, ...). One row of a series is one step: the series is as long as its shortest dataset, so that a row half
written when the process died does not count. Each dataset names its dimensions in the attribute `dimensions`, from
which scales are rebuilt when a file is rewritten: the references of HDF5's dimension scales hold only inside one file.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import DTypeLike

from substrate.errors import InputError

__all__ = [
    "Column",
    "Constant",
    "Series",
    "copy_contents",
    "create_series",
    "find_series",
    "series_lengths",
    "write_constants",
]

_SCALAR_ROWS_PER_CHUNK = 256
_BYTES_PER_CHUNK = 32768
_COPY_BYTES = 1 << 24
# Attributes that HDF5 keeps itself for dimension scales.
_SCALE_ATTRIBUTES = frozenset({"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"})
# xarray turns numbers with these units into time intervals, which loses NaN and fractions.
_MISREAD_UNITS = frozenset({"days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds"})
_NETCDF_BARE = "This is a netCDF dimension but not a netCDF variable."


@final
@dataclass(frozen=True)
class Column:
    """One dataset of a series: `shape` is that of one row, `dims` names its axes.

    `dtype` is a number type or, where a row is one text, `S<n>`: at most n bytes of UTF-8. `units` is `1` for pure
    numbers, `s` (not `seconds`) for time. `coordinates` holds the values along a dimension where its index is not
    enough. Dimensions of one name but different size or coordinates within a group get the column's name in front.
    """

    name: str
    dtype: DTypeLike = "f8"
    units: str = "1"
    shape: tuple[int, ...] = ()
    dims: tuple[str, ...] = ()
    coordinates: Mapping[str, Sequence[Any] | np.ndarray[Any, Any]] | None = None
    description: str = ""


@final
@dataclass(frozen=True)
class Series:
    """Columns that grow together under `/group` (by default the name of the series), indexed by `index`.

    A viewer that knows NeXus plots `signal` first (the first column when None).
    """

    columns: tuple[Column, ...]
    index: str
    index_units: str = "1"
    group: str | None = None
    signal: str | None = None


@final
@dataclass(frozen=True)
class Constant:
    """An array, number or text that is written once, before the run starts."""

    values: Any
    units: str = "1"
    dims: tuple[str, ...] = ()
    coordinates: Mapping[str, Sequence[Any] | np.ndarray[Any, Any]] | None = None
    description: str = ""


@final
@dataclass(frozen=True)
class SeriesPaths:
    """Where a series lies in a file: its group, the dataset of its index, and its columns by name."""

    group: str
    index: str
    columns: dict[str, str]

    @property
    def datasets(self) -> list[str]:
        """Paths of all datasets, index first."""
        return [self.index, *self.columns.values()]


def create_series(file: h5py.File, name: str, series: Series) -> None:
    """Create the empty datasets of a series, resizable, with their scales. Raises `InputError` naming the column."""
    where = f"series {name}"
    group = file.require_group(series.group or name)
    names = [column.name for column in series.columns]
    if not names or len({*names, series.index}) != len(names) + 1 or any(n in group for n in (*names, series.index)):
        raise InputError(f"{where}: expected at least one column, and different names for columns and index: {names}")
    signal = series.signal or names[0]
    if signal not in names:
        raise InputError(f"{where}: signal: expected one of {names}, got {signal!r}")
    for column in series.columns:
        _check_field(f"{where}, column {column.name}", column.units, column.shape, column.dims)
    index = _create_growing(group, series.index, (), np.dtype("i8"), series.index_units)
    index.make_scale(series.index)
    index.attrs["series"] = name
    index.attrs["dimensions"] = [series.index]
    axes = _create_scales(group, {c.name: (c.shape, c.dims, c.coordinates) for c in series.columns})
    for column in series.columns:
        dataset = _create_growing(group, column.name, column.shape, _storage_type(column, where), column.units)
        if column.description:
            dataset.attrs["long_name"] = column.description
        _attach(dataset, [series.index, *axes[column.name]])
    # The first series of a group is the one a viewer plots.
    if "signal" not in group.attrs:
        plotted = next(column for column in series.columns if column.name == signal)
        group.attrs["NX_class"] = "NXdata"
        group.attrs["signal"] = signal
        group.attrs["axes"] = [series.index, *("." for _ in plotted.shape)]


def write_constants(group: h5py.Group, constants: Mapping[str, Constant]) -> None:
    """Write arrays, numbers and texts into `group` with units and scales. Raises `InputError` naming the constant."""
    values = {name: _as_stored(constant.values) for name, constant in constants.items()}
    for name, constant in constants.items():
        if name in group:
            raise InputError(f"{group.name}/{name}: this name is taken")
        _check_field(f"{group.name}/{name}", constant.units, values[name].shape, constant.dims)
    axes = _create_scales(group, {n: (values[n].shape, c.dims, c.coordinates) for n, c in constants.items()})
    for name, constant in constants.items():
        dataset = group.create_dataset(name, data=values[name], dtype=values[name].dtype)
        dataset.attrs["units"] = constant.units
        if constant.description:
            dataset.attrs["long_name"] = constant.description
        _attach(dataset, axes[name])


def find_series(file: h5py.File) -> dict[str, SeriesPaths]:
    """The series of an open run file, by name, from the attributes of their datasets."""
    found: dict[str, SeriesPaths] = {}
    for group in _groups(file):
        # One look at each dataset: opening it is what costs.
        first = {
            name: (str(dims[0]), dataset.attrs.get("series"))
            for name, dataset in group.items()
            if isinstance(dataset, h5py.Dataset) and len(dims := dataset.attrs.get("dimensions", ()))
        }
        for index, (_, series) in first.items():
            if series is not None:
                columns = {n: f"{group.name}/{n}" for n, (dim, _) in first.items() if dim == index and n != index}
                found[str(series)] = SeriesPaths(group.name, f"{group.name}/{index}", columns)
    return found


def series_lengths(file: h5py.File, series: Mapping[str, SeriesPaths] | None = None) -> dict[str, int]:
    """Whole rows of every series: the length of its shortest dataset."""
    paths = find_series(file) if series is None else series
    return {name: min(file[path].shape[0] for path in one.datasets) for name, one in paths.items()}


def copy_contents(source: h5py.File, target: h5py.File, lengths: Mapping[str, int], growing: bool) -> None:
    """Copy groups, datasets and attributes of a run file, checkpoints and root attributes aside.

    Series are cut to `lengths` rows; with `growing` they stay resizable, else they are stored in one piece. Scales
    are rebuilt. Raises `InputError` when a series is shorter than asked.
    """
    cut: dict[str, int] = {}
    for name, paths in find_series(source).items():
        rows = min(source[path].shape[0] for path in paths.datasets)
        cut |= dict.fromkeys(paths.datasets, lengths.get(name, rows))
        if lengths.get(name, rows) > rows:
            raise InputError(f"series {name}: expected at most the {rows} rows it holds, got {lengths[name]}")
    for group in _groups(source):
        if group.name == "/" or group.name.startswith("/checkpoints"):
            continue
        made = target.require_group(group.name)
        _copy_attributes(group, made)
        datasets = {name: item for name, item in group.items() if isinstance(item, h5py.Dataset)}
        for name, dataset in datasets.items():
            _copy_dataset(dataset, made, name, cut.get(dataset.name), growing)
        for name, dataset in datasets.items():
            if dataset.is_scale:
                made[name].make_scale(dataset.attrs["NAME"])
        for name, dataset in datasets.items():
            if not dataset.is_scale:
                _attach(made[name], [str(dim) for dim in dataset.attrs.get("dimensions", ())])


def _copy_dataset(dataset: h5py.Dataset, group: h5py.Group, name: str, rows: int | None, growing: bool) -> None:
    if rows is None:
        made = group.create_dataset(name, shape=dataset.shape, dtype=dataset.dtype)
        if dataset.id.get_storage_size():
            made[()] = dataset[()]
    else:
        shape = (rows, *dataset.shape[1:])
        if growing:
            made = _create_growing(group, name, dataset.shape[1:], dataset.dtype, "")
            made.resize(rows, axis=0)
        else:
            made = group.create_dataset(name, shape=shape, dtype=dataset.dtype)
        step = max(1, _COPY_BYTES // _row_bytes(dataset.shape[1:], dataset.dtype))
        for start in range(0, rows, step):
            made[start : min(rows, start + step)] = dataset[start : min(rows, start + step)]
    _copy_attributes(dataset, made)


def _copy_attributes(source: h5py.HLObject, target: h5py.HLObject) -> None:
    for key in source.attrs:
        if key not in _SCALE_ATTRIBUTES:
            target.attrs[key] = source.attrs[key]


def _create_growing(
    group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], units: str
) -> h5py.Dataset:
    size = _row_bytes(shape, dtype)
    rows = _SCALAR_ROWS_PER_CHUNK if not shape else max(1, min(_SCALAR_ROWS_PER_CHUNK, _BYTES_PER_CHUNK // size))
    dataset = group.create_dataset(
        name,
        shape=(0, *shape),
        maxshape=(None, *shape),
        chunks=(rows, *shape),
        dtype=dtype,
        fillvalue=np.nan if dtype.kind == "f" else None,
    )
    dataset.attrs["units"] = units
    return dataset


def _create_scales(
    group: h5py.Group, fields: Mapping[str, tuple[tuple[int, ...], tuple[str, ...], Mapping[str, Any] | None]]
) -> dict[str, list[str]]:
    """Create the scales of the fixed dimensions of `fields` (shape, dims, coordinates); return the names each uses."""
    wanted: dict[str, set[tuple[int, bytes]]] = {}
    keyed: dict[str, list[tuple[str, int, np.ndarray[Any, Any] | None]]] = {}
    for name, (shape, dims, coordinates) in fields.items():
        given = dict(coordinates or {})
        if unknown := set(given) - set(dims):
            raise InputError(f"{group.name}/{name}: coordinates: expected some of {list(dims)}, got {sorted(unknown)}")
        keyed[name] = []
        for dim, size in zip(dims, shape, strict=True):
            values = _as_stored(given[dim]) if dim in given else None
            if values is not None and values.shape != (size,):
                raise InputError(f"{group.name}/{name}: coordinates.{dim}: expected {size} values, got {values.shape}")
            keyed[name].append((dim, size, values))
            wanted.setdefault(dim, set()).add((size, b"" if values is None else repr(values.tolist()).encode()))
    axes: dict[str, list[str]] = {}
    for name, entries in keyed.items():
        axes[name] = []
        for dim, size, values in entries:
            label = dim if len(wanted[dim]) == 1 else f"{name}_{dim}"
            axes[name].append(label)
            if label in group:
                known = group[label]
                if not known.is_scale or known.shape != (size,) or "series" in known.attrs:
                    raise InputError(f"{group.name}/{name}: dimension {label}: this name is taken")
            else:
                # Without coordinates the scale is never filled, and takes no room.
                data = {"shape": (size,), "dtype": ">f4"} if values is None else {"data": values}
                scale = group.create_dataset(label, **data)
                scale.attrs["units"] = "1"
                scale.attrs["dimensions"] = [label]
                scale.make_scale(f"{_NETCDF_BARE}{size:10d}" if values is None else label)
    return axes


def _attach(dataset: h5py.Dataset, scales: Iterable[str]) -> None:
    names = list(scales)
    for axis, name in enumerate(names):
        dataset.dims[axis].attach_scale(dataset.parent[name])
    if names:
        dataset.attrs["dimensions"] = names


def _check_field(where: str, units: str, shape: tuple[int, ...], dims: tuple[str, ...]) -> None:
    if not units or units in _MISREAD_UNITS:
        raise InputError(f"{where}: units: expected a unit such as 1, s, V or siemens, got {units!r}")
    if len(dims) != len(shape) or len(set(dims)) != len(dims):
        raise InputError(f"{where}: dims: expected {len(shape)} different names for shape {shape}, got {dims}")
    if any(size < 1 for size in shape):
        raise InputError(f"{where}: shape: expected sizes of at least 1, got {shape}")


def _storage_type(column: Column, where: str) -> np.dtype[Any]:
    dtype = np.dtype(column.dtype)
    if dtype.kind == "S" and dtype.itemsize and not column.shape:
        text: np.dtype[Any] = h5py.string_dtype("utf-8", dtype.itemsize)
        return text
    if dtype.kind in "fiub":
        return dtype
    raise InputError(
        f"{where}, column {column.name}: dtype: expected a number type, or S<n> without shape, got {dtype}"
    )


def _as_stored(values: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(values)
    return array.astype(h5py.string_dtype()) if array.dtype.kind in "US" else array


def _row_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _groups(file: h5py.File) -> Iterator[h5py.Group]:
    pending: list[h5py.Group] = [file["/"]]
    while pending:
        group = pending.pop()
        yield group
        pending.extend(group[name] for name in group if group.get(name, getclass=True) is h5py.Group)
