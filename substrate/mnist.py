"""MNIST as its authors distribute it (four gzip-compressed IDX files), or from OpenML.

IDX layout (LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist): two zero bytes, the element type (0x08 is an
unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit integer, then the elements, last
dimension fastest.
"""

import gzip
import math
import os
import socket
import warnings
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from substrate.errors import InputError

__all__ = ["DATA_VARIABLE", "FILES", "load_mnist", "read_idx"]

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
DATA_VARIABLE = "SUBSTRATE_DATA"
UNSIGNED_BYTE = 0x08
IMAGE_SHAPE = (28, 28)
OPENML_ID = 554  # "mnist_784", version 1: rows in the original order, the training set first
OPENML_TRAIN_COUNT = 60_000
OPENML_TIMEOUT_SECONDS = 10.0

Array = NDArray[Any]
Split = tuple[Array, Array]


def load_mnist(folder: str | os.PathLike[str] | None = None) -> tuple[tuple[Split, Split], str]:
    """Training and test set, each pixels (n, 784) uint8 and labels (n,), and where they were found.

    Args:
        folder: holds the four files, or has a subfolder ``mnist`` that does. A folder named here is the only place
            looked in; without one the folder in the environment variable SUBSTRATE_DATA is tried likewise, then
            OpenML.

    Raises:
        InputError: not found, with every place looked in and what to do; or a damaged file, by name.
    """
    variable = os.environ.get(DATA_VARIABLE)
    root, origin = (folder, "data.folder") if folder is not None else (variable or None, DATA_VARIABLE)
    looked = []
    if root is None:
        looked.append(f"{DATA_VARIABLE} (not set)")
    else:
        top = Path(root).expanduser()
        for place in (top, top / "mnist"):
            missing = [file for file in FILES if not (place / file).is_file()]
            if not missing:
                return (_read_part(place, *FILES[:2]), _read_part(place, *FILES[2:])), str(place)
            lack = f"lacks {', '.join(missing)}" if place.is_dir() else "no such folder"
            looked.append(f"{place} (from {origin}: {lack})")
    if folder is None:
        try:
            return _fetch(), "OpenML"
        except (OSError, ValueError, HTTPException) as problem:
            looked.append(f"OpenML, data set {OPENML_ID} ({type(problem).__name__}: {problem})")
    raise InputError(
        f"data.name: mnist was not found. Looked in: {'; '.join(looked)}. Put {', '.join(FILES)} into one folder and "
        f"name it as data.folder in the experiment or in the environment variable {DATA_VARIABLE}"
        + (", or connect to a network" if folder is None else "")
    )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes; a read-only view of the decompressed content.

    Args:
        path: of the gzip-compressed file.
        dimensions: that the array must have.

    Raises:
        InputError: a file that cannot be read, is truncated or damaged, or holds something else; names the file.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as problem:
        raise InputError(f"{path}: cannot be read as a gzip file, truncated or damaged: {problem}") from problem
    magic = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if content[:4] != magic:
        raise InputError(
            f"{path}: expected an IDX file of unsigned bytes in {dimensions} dimensions (magic number "
            f"0x{magic.hex()}), got 0x{content[:4].hex()}"
        )
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise InputError(f"{path}: expected a header of {header} bytes, the file holds {len(content)}")
    shape = tuple(int(size) for size in np.frombuffer(content, dtype=">u4", count=dimensions, offset=4))
    if len(content) - header != math.prod(shape):
        raise InputError(f"{path}: expected {math.prod(shape)} elements for shape {shape}, got {len(content) - header}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _read_part(folder: Path, images_name: str, labels_name: str) -> Split:
    images = read_idx(folder / images_name, dimensions=3)
    labels = read_idx(folder / labels_name, dimensions=1)
    if len(images) == 0 or images.shape[1:] != IMAGE_SHAPE:
        raise InputError(f"{folder / images_name}: expected images of shape {IMAGE_SHAPE}, got {images.shape}")
    if len(images) != len(labels):
        raise InputError(
            f"{folder / labels_name}: expected {len(images)} labels, one for each image, got {len(labels)}"
        )
    if labels.max() > 9:
        first = int(np.argmax(labels > 9))
        raise InputError(f"{folder / labels_name}: expected digits 0 to 9, got {labels[first]} at index {first}")
    return images.reshape(len(images), -1), labels


def _fetch() -> tuple[Split, Split]:
    """From OpenML, or from scikit-learn's own cache of an earlier download."""
    from sklearn.datasets import fetch_openml

    # scikit-learn opens its connections without a time limit, so a silent network would hang the run.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(OPENML_TIMEOUT_SECONDS)
    try:
        with warnings.catch_warnings():
            # What it warns of on its way is in the error that it ends with.
            warnings.simplefilter("ignore")
            pixels, digits = fetch_openml(
                data_id=OPENML_ID, return_X_y=True, as_frame=False, parser="liac-arff", n_retries=1, delay=0.1
            )
    finally:
        socket.setdefaulttimeout(before)
    images, labels = pixels.astype(np.uint8), digits.astype(np.int64)
    train, test = slice(OPENML_TRAIN_COUNT), slice(OPENML_TRAIN_COUNT, None)
    return (images[train], labels[train]), (images[test], labels[test])
