"""Data sets as activities: inputs scaled to [-1, 1] by a fixed rule, labels as integers.

| name   | from                                                     | inputs             | activity                  |
|--------|----------------------------------------------------------|--------------------|---------------------------|
| digits | the 8 x 8 digits in scikit-learn's package               | 64 pixels, 0..16   | pixel / 8 - 1             |
| mnist  | IDX files in a folder, else OpenML                       | 784 pixels, 0..255 | pixel / 127.5 - 1         |
| iris   | the table in scikit-learn's package                      | 4 lengths in cm    | training minimum..maximum |
| xor    | the truth table; its four rows are training and test set | 2 bits             | 2 bit - 1                 |
| npz    | the user's own arrays, ``path``                          | as given           | ``input_range``           |

digits and iris are split by class, at random from the generator given; mnist keeps its own 60,000 and 10,000.
"""

import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from substrate.errors import InputError
from substrate.mnist import load_mnist

__all__ = ["DATASET_NAMES", "ClippedInputs", "Dataset", "clip_inputs", "from_arrays", "load_dataset"]

DATASET_NAMES = ("digits", "mnist", "iris", "xor", "npz")

Inputs = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]
Array = NDArray[Any]


@final
@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs as activities in [input_low, input_high] and labels 0..class_count - 1.

    ``train_inputs`` and ``test_inputs`` are (n, features), float64 unless another type was asked for; the labels are
    (n,) int64. ``clipped_test_values`` counts test values that lay beyond the training range (iris); ``source`` says
    where the data came from.
    """

    name: str
    train_inputs: Inputs
    train_labels: Labels
    test_inputs: Inputs
    test_labels: Labels
    class_count: int
    input_low: float = -1.0
    input_high: float = 1.0
    clipped_test_values: int = 0
    source: str = ""

    @property
    def feature_count(self) -> int:
        """Inputs of one sample."""
        return int(self.train_inputs.shape[1])

    def rescaled(self, low: float, high: float) -> "Dataset":
        """The same data with its activities moved from [input_low, input_high] to [low, high]."""
        if (low, high) == (self.input_low, self.input_high):
            return self
        slope = (high - low) / (self.input_high - self.input_low)
        offset = low - slope * self.input_low
        return replace(
            self,
            train_inputs=slope * self.train_inputs + offset,
            test_inputs=slope * self.test_inputs + offset,
            input_low=low,
            input_high=high,
        )


@final
class ClippedInputs(NamedTuple):
    """Inputs brought into range, how many values were moved, and the furthest that one was outside."""

    inputs: Inputs
    clipped_count: int
    largest_excess: float


def load_dataset(
    name: str,
    test_fraction: float = 0.2,
    folder: str | os.PathLike[str] | None = None,
    train_limit: int | None = None,
    test_limit: int | None = None,
    *,
    rng: np.random.Generator,
    path: str | os.PathLike[str] | None = None,
    dtype: DTypeLike = np.float64,
) -> Dataset:
    """Load a data set by name and scale it to activities.

    Args:
        name: one of ``DATASET_NAMES``.
        test_fraction: share of digits or iris held out for the test, by class; the other sets bring their own split.
        folder: mnist only: the folder of its four IDX files, or that folder's parent. A folder named here is the only
            place looked in; otherwise the environment variable SUBSTRATE_DATA is tried, then OpenML.
        train_limit: keep this many training samples, drawn by class and at random, instead of all.
        test_limit: the same for the test set.
        rng: draws the split and the limited subsets; same state, same samples.
        path: npz only: the file, holding ``train_inputs``, ``train_labels``, ``test_inputs``, ``test_labels`` and, when
            they differ from ``from_arrays``'s defaults, ``input_range`` and ``class_count``.
        dtype: floating type of the inputs; float32 halves the memory of mnist.

    Raises:
        InputError: an unknown name, a data set that is not there, a damaged file, a split or limit that cannot be had.
    """
    if name not in DATASET_NAMES:
        raise InputError(f"data.name: expected one of {', '.join(DATASET_NAMES)}, got {name!r}")
    if folder is not None and name != "mnist":
        raise InputError(f"data.folder: only mnist is read from a folder, not {name}")
    if (path is not None) != (name == "npz"):
        raise InputError(
            f"data.path: expected a .npz file with data.name npz and no path with others, got {path} with {name}"
        )
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputError(f"dtype: expected float32 or float64, got {kind}")

    if path is not None:
        whole = _load_npz(Path(path))
        train = _limited("train_limit", whole.train_inputs, whole.train_labels, train_limit, rng)
        test = _limited("test_limit", whole.test_inputs, whole.test_labels, test_limit, rng)
        return _dataset(name, train, test, kind, whole.class_count, whole.source)
    if name == "xor":
        bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        rows = (2.0 * bits - 1.0, bits[:, 0] ^ bits[:, 1])
        train = _limited("train_limit", *rows, train_limit, rng)
        return _dataset(name, train, _limited("test_limit", *rows, test_limit, rng), kind, 2, "truth table")
    if name == "mnist":
        pixels, source = load_mnist(folder)
        train = _limited("train_limit", *pixels[0], train_limit, rng)
        test = _limited("test_limit", *pixels[1], test_limit, rng)
        scaled = [(_scaled(raw, 127.5, kind), labels) for raw, labels in (train, test)]
        return _dataset(name, scaled[0], scaled[1], kind, 10, source)

    inputs, labels = _packaged_table(name)
    train, test = _split(inputs, labels, test_fraction, rng)
    train = _limited("train_limit", *train, train_limit, rng)
    test = _limited("test_limit", *test, test_limit, rng)
    if name == "digits":
        train, test = (_scaled(train[0], 8.0, kind), train[1]), (_scaled(test[0], 8.0, kind), test[1])
        return _dataset(name, train, test, kind, 10, "scikit-learn")
    low, high = train[0].min(axis=0), train[0].max(axis=0)
    if np.any(low == high):
        raise InputError(
            f"data.train_limit: feature {int(np.argmax(low == high))} of {name} is constant in {len(train[0])} samples"
        )
    train_inputs, test_inputs = (2.0 * (values - low) / (high - low) - 1.0 for values in (train[0], test[0]))
    clipped = clip_inputs(test_inputs)
    return _dataset(
        name, (train_inputs, train[1]), (clipped.inputs, test[1]), kind, 3, "scikit-learn", clipped.clipped_count
    )


def clip_inputs(inputs: Inputs, low: float = -1.0, high: float = 1.0) -> ClippedInputs:
    """Clip inputs to [low, high] and report what was clipped.

    For test samples scaled by the training set's range: a device is never driven beyond what training drove it to.
    """
    excess = np.maximum(low - inputs, inputs - high)
    return ClippedInputs(
        np.clip(inputs, low, high), int(np.count_nonzero(excess > 0.0)), max(0.0, float(excess.max(initial=0.0)))
    )


def from_arrays(
    train_inputs: ArrayLike,
    train_labels: ArrayLike,
    test_inputs: ArrayLike,
    test_labels: ArrayLike,
    *,
    name: str = "arrays",
    input_range: Sequence[float] | Array = (-1.0, 1.0),
    class_count: int | None = None,
    source: str = "arrays",
) -> Dataset:
    """A data set from the user's own arrays, copied and checked.

    Args:
        train_inputs: (n, features) numbers within ``input_range``.
        train_labels: (n,) integers 0..class_count - 1.
        test_inputs: (m, features).
        test_labels: (m,).
        name: of the data set.
        input_range: the values that become activities -1 and 1, the rest linearly between; nothing may lie beyond.
        class_count: number of classes; by default one more than the largest label.
        source: where the arrays came from, for messages and logs.

    Raises:
        InputError: names the array, and the first bad index where there is one.
    """
    limits = np.asarray(input_range, dtype=np.float64)
    if limits.shape != (2,) or not np.all(np.isfinite(limits)) or limits[0] >= limits[1]:
        raise InputError(f"{source}: input_range: expected two finite numbers, the lower one first, got {input_range}")
    train = _checked_inputs(source, "train_inputs", train_inputs, limits)
    test = _checked_inputs(source, "test_inputs", test_inputs, limits)
    if train.shape[1] != test.shape[1]:
        raise InputError(
            f"{source}: test_inputs: expected {train.shape[1]} features as in train_inputs, got {test.shape[1]}"
        )
    integer_labels = [
        _checked_labels(source, "train_labels", train_labels, len(train)),
        _checked_labels(source, "test_labels", test_labels, len(test)),
    ]
    classes = int(max(labels.max() for labels in integer_labels)) + 1 if class_count is None else int(class_count)
    if classes < 2:
        raise InputError(f"{source}: class_count: expected at least 2 classes, got {classes}")
    for array, labels in zip(("train_labels", "test_labels"), integer_labels, strict=True):
        _reject(source, array, labels, labels >= classes, f"labels below class_count {classes}")
    return _dataset(name, (train, integer_labels[0]), (test, integer_labels[1]), np.dtype(np.float64), classes, source)


def _dataset(
    name: str,
    train: tuple[Array, Array],
    test: tuple[Array, Array],
    dtype: np.dtype[Any],
    class_count: int,
    source: str,
    clipped: int = 0,
) -> Dataset:
    return Dataset(
        name,
        np.ascontiguousarray(train[0], dtype=dtype),
        np.ascontiguousarray(train[1], dtype=np.int64),
        np.ascontiguousarray(test[0], dtype=dtype),
        np.ascontiguousarray(test[1], dtype=np.int64),
        class_count,
        clipped_test_values=clipped,
        source=source,
    )


def _scaled(raw: Array, half_range: float, dtype: np.dtype[Any]) -> Array:
    """Values 0..2 half_range as activities, converted straight to the type wanted."""
    scaled: Array = np.divide(raw, dtype.type(half_range), dtype=dtype)
    scaled -= 1.0
    return scaled


def _stratified(labels: Array, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask of ``count`` samples in which every class keeps its share, to the nearest sample."""
    classes, position = np.unique(labels, return_inverse=True)
    exact = np.bincount(position) * (count / len(labels))
    quota = np.floor(exact).astype(np.int64)
    quota[np.argsort(quota - exact, kind="stable")[: count - quota.sum()]] += 1
    # A random order within each class: the first of each class, up to its quota, are taken.
    order = np.lexsort((rng.permutation(len(labels)), position))
    starts = np.searchsorted(position[order], np.arange(len(classes)))
    rank = np.arange(len(labels)) - starts[position[order]]
    mask = np.zeros(len(labels), dtype=np.bool_)
    mask[order] = rank < quota[position[order]]
    return mask


def _split(
    inputs: Array, labels: Array, test_fraction: float, rng: np.random.Generator
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Training and test part, each in a random order, since the tables come sorted or grouped by writer."""
    if not 0.0 < test_fraction < 1.0:
        raise InputError(f"data.test_fraction: expected a number between 0 and 1, got {test_fraction}")
    count = round(len(labels) * test_fraction)
    classes = len(np.unique(labels))
    if not classes <= count <= len(labels) - classes:
        raise InputError(
            f"data.test_fraction: {test_fraction} of {len(labels)} samples leaves a side fewer samples than classes"
        )
    mask = _stratified(labels, count, rng)
    train, test = rng.permutation(np.flatnonzero(~mask)), rng.permutation(np.flatnonzero(mask))
    return (inputs[train], labels[train]), (inputs[test], labels[test])


def _limited(
    key: str, inputs: Array, labels: Array, limit: int | None, rng: np.random.Generator
) -> tuple[Array, Array]:
    if limit is None:
        return inputs, labels
    if not 1 <= limit <= len(labels):
        raise InputError(f"data.{key}: expected 1 to {len(labels)} samples, got {limit}")
    mask = _stratified(labels, limit, rng)
    return inputs[mask], labels[mask]


def _packaged_table(name: str) -> tuple[Array, Array]:
    """Features and labels of a table that scikit-learn ships."""
    # Importing scikit-learn takes seconds; its tables are plain text files in its package.
    from importlib.util import find_spec

    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"data.name: {name} comes with scikit-learn, which is not installed: pip install scikit-learn")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    table, header_rows = (folder / "digits.csv.gz", 0) if name == "digits" else (folder / "iris.csv", 1)
    if table.is_file():
        values = np.loadtxt(table, delimiter=",", skiprows=header_rows)
        return values[:, :-1], values[:, -1].astype(np.int64)
    from sklearn import datasets

    loader = datasets.load_digits if name == "digits" else datasets.load_iris
    inputs, labels = loader(return_X_y=True)
    return inputs, labels


def _load_npz(path: Path) -> Dataset:
    required = ("train_inputs", "train_labels", "test_inputs", "test_labels")
    try:
        # Opened here, since numpy leaves the file open when its archive turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in (*required, "input_range", "class_count") if key in stored}
    except FileNotFoundError:
        raise InputError(f"data.path: {path} does not exist; expected a .npz file with {', '.join(required)}") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zlib.error, zipfile.BadZipFile) as problem:
        if not isinstance(problem, OSError) and not zipfile.is_zipfile(path):
            raise InputError(
                f"data.path: {path} is no .npz archive, or a damaged one; expected what numpy.savez writes, with "
                f"{', '.join(required)}"
            ) from problem
        raise InputError(f"data.path: {path} cannot be read as a .npz file of plain arrays: {problem}") from problem
    missing = [key for key in required if key not in arrays]
    if missing:
        raise InputError(f"data.path: {path} lacks {', '.join(missing)}; expected arrays {', '.join(required)}")
    classes = arrays.get("class_count")
    if classes is not None and (classes.shape != () or classes.dtype.kind not in "iu"):
        raise InputError(f"data.path: {path}: class_count: expected one integer, got {classes!r}")
    return from_arrays(
        *(arrays[key] for key in required),
        name="npz",
        input_range=arrays.get("input_range", (-1.0, 1.0)),
        class_count=None if classes is None else int(classes),
        source=str(path),
    )


def _checked_inputs(source: str, name: str, inputs: ArrayLike, limits: Array) -> Array:
    try:
        values = np.array(inputs, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise InputError(f"{source}: {name}: expected numbers of shape (samples, features): {problem}") from None
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{source}: {name}: expected shape (samples, features), none of them 0, got {values.shape}")
    _reject(source, name, values, ~np.isfinite(values), "finite numbers")
    beyond = (values < limits[0]) | (values > limits[1])
    _reject(
        source,
        name,
        values,
        beyond,
        f"numbers within [{limits[0]}, {limits[1]}] (a file's own array input_range, [lowest, highest], replaces this)",
    )
    if limits[0] == -1.0 and limits[1] == 1.0:
        return values
    scaled: Array = 2.0 * (values - limits[0]) / (limits[1] - limits[0]) - 1.0
    return scaled


def _checked_labels(source: str, name: str, labels: ArrayLike, count: int) -> Labels:
    values = np.asarray(labels)
    if values.shape != (count,):
        raise InputError(f"{source}: {name}: expected shape ({count},), a label for each sample, got {values.shape}")
    if values.dtype.kind == "f":
        _reject(source, name, values, ~np.isfinite(values) | (values != np.trunc(values)), "whole numbers")
    elif values.dtype.kind not in "iub":
        raise InputError(f"{source}: {name}: expected integers, got {values.dtype}")
    _reject(source, name, values, values < 0, "labels from 0")
    return values.astype(np.int64)


def _reject(source: str, name: str, values: Array, bad: NDArray[np.bool_], expected: str) -> None:
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(f"{source}: {name}: expected {expected}, got {values[index]} at index {index}")
