"""Stochastic gradient descent with momentum on weights."""

from typing import Any, final

from substrate.arrays import FloatArray


@final
class Momentum:
    """v <- momentum v + d, step = rate v, for descent directions d; momentum 0 is plain SGD."""

    def __init__(self, momentum: float) -> None:
        self._momentum = momentum
        self._velocity: dict[str, FloatArray] = {}

    def step(self, name: str, direction: FloatArray, rate: float) -> FloatArray:
        """The change of weights of one array."""
        velocity = direction
        if self._momentum and name in self._velocity:
            velocity = self._momentum * self._velocity[name] + direction
        if self._momentum:
            self._velocity[name] = velocity
        return rate * velocity

    def snapshot(self) -> dict[str, Any]:
        """The velocities."""
        return dict(self._velocity)

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put velocities back."""
        self._velocity = dict(snapshot)
