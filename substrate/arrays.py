"""Array types used across the project, and the one check that refuses non-finite numbers."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from substrate.errors import InputError

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
ComplexArray: TypeAlias = npt.NDArray[np.complex128]
Reals: TypeAlias = npt.NDArray[np.floating[Any]]
"""Real numbers of either precision."""
Numbers: TypeAlias = npt.NDArray[Any]
"""Real numbers, or complex ones."""


def finite(name: str, values: Any, shape: tuple[int | None, ...]) -> FloatArray:
    """Return ``values`` as float64 after checking its shape (``None`` = any length) and that every entry is finite.

    Raises:
        InputError: names the array, the shape expected, or the first non-finite entry.
    """
    array = real(name, values)
    _require(name, array, shape)
    return array


def shaped(name: str, values: Any, shape: tuple[int | None, ...]) -> FloatArray:
    """The same without a look at the entries.

    Raises:
        InputError: names the array and the shape expected.
    """
    array = real(name, values)
    _require_shape(name, array, shape)
    return array


def finite_reals(name: str, values: Any, shape: tuple[int | None, ...]) -> Reals:
    """The same, float32 left as it is.

    Raises:
        InputError: as ``finite``.
    """
    if not (isinstance(values, np.ndarray) and values.dtype == np.float32):
        return finite(name, values, shape)
    _require(name, values, shape)
    return values


def real(name: str, values: Any) -> FloatArray:
    """Return ``values`` as float64, without copying where they are that already.

    Raises:
        InputError: ragged rows, texts, complex numbers: what NumPy would refuse, cut or parse.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: expected an array of real numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name}: expected real numbers, got {array.dtype.name} from {type(values).__name__}")
    return array.astype(np.float64, copy=False)


def finite_complex(name: str, values: Any, shape: tuple[int | None, ...]) -> ComplexArray:
    """The same as complex128.

    Raises:
        InputError: as ``finite``.
    """
    try:
        array = np.asarray(values, dtype=np.complex128)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected complex numbers, got {type(values).__name__}") from error
    _require(name, array, shape)
    return array


def whole_numbers(name: str, values: Any, shape: tuple[int, ...]) -> IntArray:
    """Return pulse counts as int64 after checking their shape and that every one is a whole number.

    Raises:
        InputError: as ``finite``, or a count that is not whole or too large to be one.
    """
    counts = finite(name, values, shape)
    # Beyond 2^53 neighbouring floats are not neighbouring counts any more, and the cast below would wrap.
    if not np.array_equal(counts, np.round(counts)) or np.any(np.abs(counts) > 2**53):
        raise InputError(f"{name}: expected whole pulse counts")
    return counts.astype(np.int64)


def _require_shape(name: str, array: npt.NDArray[Any], shape: tuple[int | None, ...]) -> None:
    fits = array.ndim == len(shape) and all(
        size is None or size == got for size, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
        raise InputError(f"{name}: expected shape {expected}, got {array.shape}")


def _require(name: str, array: npt.NDArray[Any], shape: tuple[int | None, ...]) -> None:
    _require_shape(name, array, shape)
    # A sum is finite only where all terms are, and takes no array beside this one.
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum()
    if not np.isfinite(total) and not np.isfinite(array).all():
        where = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{name}: expected finite numbers, got {array[where]} at index {where}")
