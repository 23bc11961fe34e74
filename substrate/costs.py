"""Costs at the output nodes: loss, prediction, and the error e = -dC/ds that the nudge injects."""

from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np

from substrate.arrays import FloatArray, IntArray


class Cost(ABC):
    """A cost of output activities (batch, output) and labels (batch,)."""

    @abstractmethod
    def error(self, outputs: FloatArray, labels: IntArray) -> FloatArray:
        """-dC/ds of each sample, (batch, output)."""

    @abstractmethod
    def loss(self, outputs: FloatArray, labels: IntArray) -> FloatArray:
        """C of each sample, (batch,)."""

    @abstractmethod
    def predict(self, outputs: FloatArray) -> IntArray:
        """The class of each sample, (batch,)."""

    @abstractmethod
    def learn(self, outputs: FloatArray, labels: IntArray, rate: float) -> None:
        """One step of what the cost itself has to learn, if anything."""

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """What ``learn`` has changed."""

    @abstractmethod
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot back."""


@final
class SquaredError(Cost):
    """C = |s - y|^2/2, one output node a class; y is ``targets[1]`` at the class's own node and ``targets[0]`` else."""

    def __init__(self, targets: tuple[float, float]) -> None:
        self._low, self._high = targets

    def _targets(self, outputs: FloatArray, labels: IntArray) -> FloatArray:
        wanted = np.full(outputs.shape, self._low)
        wanted[np.arange(len(labels)), labels] = self._high
        return wanted

    def error(self, outputs: FloatArray, labels: IntArray) -> FloatArray:
        """Y - s."""
        return self._targets(outputs, labels) - outputs

    def loss(self, outputs: FloatArray, labels: IntArray) -> FloatArray:
        """|s - y|^2/2."""
        return np.asarray(0.5 * np.sum(self.error(outputs, labels) ** 2, axis=1))

    def predict(self, outputs: FloatArray) -> IntArray:
        """The node of the largest activity."""
        return np.asarray(np.argmax(outputs, axis=1))

    def learn(self, outputs: FloatArray, labels: IntArray, rate: float) -> None:
        """Nothing to learn."""

    def snapshot(self) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Nothing to put back."""


@final
class Softmax(Cost):
    """Cross-entropy of p = softmax(s): the outputs are the logits, one a class; e = y - p."""

    def error(self, outputs: FloatArray, labels: IntArray) -> FloatArray:
        """Y - p."""
        return _difference(softmax(outputs), labels)

    def loss(self, outputs: FloatArray, labels: IntArray) -> FloatArray:
        """-log p of the class."""
        return _surprise(softmax(outputs), labels)

    def predict(self, outputs: FloatArray) -> IntArray:
        """The node of the largest activity."""
        return np.asarray(np.argmax(outputs, axis=1))

    def learn(self, outputs: FloatArray, labels: IntArray, rate: float) -> None:
        """Nothing to learn."""

    def snapshot(self) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Nothing to put back."""


def softmax(logits: FloatArray) -> FloatArray:
    """exp(z)/sum exp(z), (batch, class)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _difference(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    """Y - p."""
    difference = -probabilities
    difference[np.arange(len(labels)), labels] += 1.0
    return difference


def _surprise(probabilities: FloatArray, labels: IntArray) -> FloatArray:
    own = probabilities[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.maximum(own, np.finfo(float).tiny)))


@final
class SoftmaxReadout(Cost):
    """Cross-entropy of p = softmax(V s + c): a digital read-out V, c, trained along (arXiv 2209.00530, section 4).

    The read-out is no part of the device, so it needs no nudge: dV = (y - p) s^T.
    """

    def __init__(self, output_size: int, class_count: int, rng: np.random.Generator) -> None:
        self._weights = rng.standard_normal((output_size, class_count)) / np.sqrt(output_size)
        self._bias = np.zeros(class_count)

    def _probabilities(self, outputs: FloatArray) -> FloatArray:
        return softmax(outputs @ self._weights + self._bias)

    def error(self, outputs: FloatArray, labels: IntArray) -> FloatArray:
        """V^T (y - p)."""
        return np.asarray(_difference(self._probabilities(outputs), labels) @ self._weights.T)

    def loss(self, outputs: FloatArray, labels: IntArray) -> FloatArray:
        """-log p of the class."""
        return _surprise(self._probabilities(outputs), labels)

    def predict(self, outputs: FloatArray) -> IntArray:
        """The most probable class."""
        return np.asarray(np.argmax(outputs @ self._weights + self._bias, axis=1))

    def learn(self, outputs: FloatArray, labels: IntArray, rate: float) -> None:
        """One step of gradient descent on the read-out, over the mean of the batch."""
        difference = _difference(self._probabilities(outputs), labels)
        self._weights = self._weights + rate / len(labels) * (outputs.T @ difference)
        self._bias = self._bias + rate * difference.mean(axis=0)

    def snapshot(self) -> dict[str, Any]:
        """The read-out."""
        return {"weights": self._weights, "bias": self._bias}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a read-out back."""
        self._weights, self._bias = snapshot["weights"], snapshot["bias"]
