"""Optimisers: from descent directions to changes of weights, array by array, in digital memory beside the device."""

from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np

from substrate.arrays import FloatArray
from substrate.errors import InputError
from substrate.outer_products import Direction, dense, scaled


class Optimiser(ABC):
    """Turns directions into changes. Its memory belongs to the array's name."""

    @abstractmethod
    def step(self, name: str, direction: Direction, rate: float) -> Direction:
        """The change of weights of one array for its descent direction, both (rows, columns)."""

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """Its memory."""

    @abstractmethod
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a memory back."""


@final
class SGD(Optimiser):
    """v <- momentum v + d, step = rate v, for descent directions d; momentum 0 is plain stochastic gradient descent."""

    def __init__(self, momentum: float = 0.0) -> None:
        if not 0.0 <= momentum < 1.0:
            raise InputError(f"training.momentum: expected 0 <= momentum < 1, got {momentum}")
        self._momentum = momentum
        self._velocity: dict[str, FloatArray] = {}

    def step(self, name: str, direction: Direction, rate: float) -> Direction:
        """The change of weights of one array."""
        if not self._momentum:
            return scaled(direction, rate)
        velocity = dense(direction)
        if name in self._velocity:
            velocity = self._momentum * self._velocity[name] + velocity
        self._velocity[name] = velocity
        return rate * velocity

    def snapshot(self) -> dict[str, Any]:
        """The velocities."""
        return dict(self._velocity)

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put velocities back."""
        self._velocity = dict(snapshot)


@final
class Adam(Optimiser):
    """Adam with bias correction (Kingma & Ba, arXiv 1412.6980, algorithm 1).

    m <- b1 m + (1 - b1) d, v <- b2 v + (1 - b2) d^2, step = rate (m/(1 - b1^t))/(sqrt(v/(1 - b2^t)) + epsilon).

    Args:
        first, second: b1 and b2, the decays of the two moments.
        epsilon: keeps entries that have seen no gradient still, in units of the gradient.
    """

    def __init__(self, first: float = 0.9, second: float = 0.999, epsilon: float = 1e-8) -> None:
        for key, value in (("first", first), ("second", second)):
            if not 0.0 <= value < 1.0:
                raise InputError(f"{key}: expected 0 <= decay < 1, got {value}")
        if not epsilon > 0.0:
            raise InputError(f"epsilon: expected a positive number, got {epsilon}")
        self._decays = first, second
        self._epsilon = epsilon
        self._moments: dict[str, tuple[FloatArray, FloatArray]] = {}
        self._steps: dict[str, int] = {}

    def step(self, name: str, direction: Direction, rate: float) -> Direction:
        """The change of weights of one array."""
        direction = dense(direction)
        first, second = self._decays
        mean, square = self._moments.get(name, (np.zeros_like(direction), np.zeros_like(direction)))
        mean = first * mean + (1.0 - first) * direction
        square = second * square + (1.0 - second) * direction**2
        count = self._steps.get(name, 0) + 1
        self._moments[name], self._steps[name] = (mean, square), count
        root = np.sqrt(square / (1.0 - second**count))
        return np.asarray(rate * (mean / (1.0 - first**count)) / (root + self._epsilon))

    def snapshot(self) -> dict[str, Any]:
        """The moments and counts of steps."""
        return {
            name: {"mean": mean, "square": square, "steps": self._steps[name]}
            for name, (mean, square) in self._moments.items()
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put moments back."""
        self._moments = {name: (one["mean"], one["square"]) for name, one in snapshot.items()}
        self._steps = {name: int(one["steps"]) for name, one in snapshot.items()}
