"""Convolutions as crossbars: one array of cells, (kernel^2 channels, channels out), used at every place of an image.

Images are flattened channel by channel, row by row; places likewise. What an array reads at all places is ``unrolled``:
each place is a vector on its word lines and one on its bit lines, the places of a sample one after another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from substrate.arrays import FloatArray, IntArray
from substrate.errors import InputError

KEYS = ("channels", "kernel", "stride")


@final
@dataclass(frozen=True)
class Window:
    """How a convolution's array lies over an image: without padding, ``stride`` nodes on from place to place.

    Attributes:
        source: (channels, height, width) of the image it reads.
        channels: of the image it makes.
        kernel: side of a window.
        stride: of the places, in both directions.

    Raises:
        InputError: sizes that are not positive, a window larger than the image.
    """

    source: tuple[int, int, int]
    channels: int
    kernel: int
    stride: int = 1

    def __post_init__(self) -> None:
        if min(*self.source, self.channels, self.kernel, self.stride) < 1:
            raise InputError(f"network.layers: expected positive sizes of a convolution, got {self}")
        if self.kernel > min(self.source[1:]):
            raise InputError(
                f"network.layers: a window of side {self.kernel} does not fit an image of "
                f"{self.source[1]} x {self.source[2]}"
            )

    @property
    def target(self) -> tuple[int, int, int]:
        """(channels, height, width) of the image it makes."""
        height, width = ((side - self.kernel) // self.stride + 1 for side in self.source[1:])
        return self.channels, height, width

    @property
    def positions(self) -> int:
        """Places of the window."""
        return self.target[1] * self.target[2]

    @property
    def taps(self) -> int:
        """Nodes under the window: kernel^2 times the channels of its image."""
        return self.kernel**2 * self.source[0]

    @cached_property
    def source_index(self) -> IntArray:
        """Nodes of the source under the window at each place, (place, tap)."""
        _, height, width = self.source
        _, rows, columns = self.target
        corner = self.stride * (np.arange(rows)[:, None] * width + np.arange(columns)).reshape(-1, 1)
        channel, row, column = np.meshgrid(
            np.arange(self.source[0]), np.arange(self.kernel), np.arange(self.kernel), indexing="ij"
        )
        return np.asarray(corner + (channel * height * width + row * width + column).reshape(1, -1), dtype=np.int64)

    @cached_property
    def target_index(self) -> IntArray:
        """Nodes of the target that each place makes, (place, channel)."""
        return np.arange(self.positions)[:, None] + self.positions * np.arange(self.channels)[None]


def gathered(values: FloatArray, index: IntArray) -> FloatArray:
    """Values (batch, node) unrolled, (batch * place, line)."""
    return values[:, index].reshape(-1, index.shape[1])


def scattered(unrolled: FloatArray, index: IntArray, size: int) -> FloatArray:
    """The transpose of ``gathered``: sums (batch, node), ``size`` nodes, of unrolled values (batch * place, line)."""
    batch = len(unrolled) // len(index)
    places = (size * np.arange(batch)[:, None] + index.reshape(1, -1)).ravel()
    return np.asarray(np.bincount(places, unrolled.ravel(), batch * size).reshape(batch, size), dtype=np.float64)


def expanded(weights: FloatArray, source: IntArray, target: IntArray, shape: tuple[int, int]) -> FloatArray:
    """The dense matrix, (source node, target node), of weights (source line, target line) at every place."""
    full = np.zeros(shape)
    # A place has either its source or its target nodes to itself, so that no two weights meet.
    full[source[:, :, None], target[:, None, :]] = weights[None]
    return full


def unrolled_layers(layers: Sequence[Any]) -> tuple[tuple[int, ...], tuple[Window | None, ...]]:
    """Sizes of layers, and the window that each layer after the first is read through (None: all of its source).

    Args:
        layers: sizes, ``[channels, height, width]`` of an image to begin with, and mappings with ``channels``,
            ``kernel`` and, if not 1, ``stride`` of convolutions.

    Raises:
        InputError: names the layer and what was expected.
    """
    sizes: list[int] = []
    windows: list[Window | None] = []
    image: tuple[int, int, int] | None = None
    for place, layer in enumerate(layers):
        where = f"network.layers.{place}"
        if isinstance(layer, Mapping):
            if image is None:
                raise InputError(
                    f"{where}: a convolution needs an image before it, [channels, height, width] or another"
                )
            if not {"channels", "kernel"} <= set(layer) <= set(KEYS):
                raise InputError(f"{where}: expected channels, kernel and stride of a convolution, got {dict(layer)}")
            for key, value in layer.items():
                _positive(f"{where}.{key}", value)
            window = Window(image, int(layer["channels"]), int(layer["kernel"]), int(layer.get("stride", 1)))
            image = window.target
            sizes.append(math.prod(image))
            windows.append(window)
            continue
        if isinstance(layer, Sequence) and not isinstance(layer, str):
            if place or len(layer) != 3:
                raise InputError(
                    f"{where}: expected a size or a convolution; an image [channels, height, width] is first"
                )
            image = (_positive(where, layer[0]), _positive(where, layer[1]), _positive(where, layer[2]))
            sizes.append(math.prod(image))
        else:
            image = None
            sizes.append(layer)
        if place:
            windows.append(None)
    return tuple(sizes), tuple(windows)


def _positive(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{where}: expected a whole number >= 1, got {value!r}")
    return value
