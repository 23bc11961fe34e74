"""The EP controller: free phase, errors, nudge, gradient, update, write. It sees only a ``Substrate``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.conjugates import exact_directions
from substrate.contract import Record, Substrate
from substrate.costs import Cost
from substrate.network import Network
from substrate.optimiser import Momentum
from substrate.rules.base import Estimate, FreePhase, Rule
from substrate.rules.homeostasis import Homeostasis, symmetry
from substrate.writing import Writer

CHUNK = 512
"""Samples that are evaluated at a time."""


@final
@dataclass(frozen=True)
class StepReport:
    """What one training step did; the scalars that a run's log keeps.

    ``gradient_norm`` is over all arrays; ``gradient_error`` the predicted noise on it relative to it.
    """

    loss: float
    accuracy: float
    gradient_norm: float
    gradient_error: float
    amplitude: float
    truncation: float
    pulses: int
    failed_cells: int
    saturated_weights: int
    lost_branch: int
    saturated: int
    unsettled: int
    free_residual: float
    settled_fraction: float


@final
@dataclass(frozen=True)
class Quality:
    """How right the last gradient was, against the device's exact adjoint.

    ``gradient_cosine`` is of the mean gradient over all arrays, ``error_cosine`` the mean over samples for each layer.
    """

    gradient_cosine: float
    error_cosine: dict[str, float]


@final
@dataclass(frozen=True)
class Evaluation:
    """Loss, accuracy and predictions (sample,) on a set of samples; ``unsettled`` of them did not settle."""

    loss: float
    accuracy: float
    predictions: IntArray
    unsettled: int


@final
class Controller:
    """Trains a substrate in place.

    Args:
        substrate: an opened device.
        rule: finds descent directions.
        cost: at the outputs.
        writer: puts changes into cells.
        optimiser: directions to changes.
        homeostasis: the optional penalty on asymmetry.
        frozen: names of couplings that are not trained.

    Raises:
        CapabilityError: the device lacks what the rule or the penalty needs.
        InputError: a frozen coupling that does not exist.
    """

    def __init__(
        self,
        substrate: Substrate,
        rule: Rule,
        cost: Cost,
        writer: Writer,
        optimiser: Momentum,
        homeostasis: Homeostasis,
        frozen: Sequence[str] = (),
    ) -> None:
        for capability in rule.requirements(substrate.network):
            substrate.capabilities.require(capability, f"rule {type(rule).__name__}")
        if homeostasis.active:
            substrate.capabilities.require("forward_products", "homeostasis")
        for name in frozen:
            substrate.network.array(name)
        self._substrate = substrate
        self._rule = rule
        self._cost = cost
        self._writer = writer
        self._optimiser = optimiser
        self._homeostasis = homeostasis
        self._frozen = frozenset(frozen)

    @property
    def network(self) -> Network:
        """The topology."""
        return self._substrate.network

    @property
    def writer(self) -> Writer:
        """What puts weights into cells."""
        return self._writer

    def program(self, weights: dict[str, FloatArray]) -> int:
        """Bring arrays to given weights (by coupling name); how many cells are known to have failed."""
        return sum(self._writer.program(self.network.array(name), value).failed for name, value in weights.items())

    def prepare(self, inputs: FloatArray, labels: IntArray) -> None:
        """Let the rule adjust what it measures, an automatic amplitude say, on a batch before training."""
        phase, _ = self._free_phase(inputs, labels)
        self._rule.prepare(self._substrate, phase)

    def measure(self, inputs: FloatArray, labels: IntArray) -> tuple[FreePhase, Estimate]:
        """The gradient of a batch as the device gives it; nothing is written."""
        phase, _ = self._free_phase(inputs, labels)
        return phase, self._rule.measure(self._substrate, phase)

    def step(self, inputs: FloatArray, labels: IntArray, rate: float) -> StepReport:
        """One update from a batch of inputs (batch, input) in activity units and labels (batch,)."""
        phase, free = self._free_phase(inputs, labels)
        estimate = self._rule.measure(self._substrate, phase)
        outputs = phase.activity[:, self.network.output.nodes]
        loss = float(self._cost.loss(outputs, labels).mean())
        accuracy = float((self._cost.predict(outputs) == labels).mean())
        norm = float(np.sqrt(sum(np.sum(d**2) for d in estimate.directions.values())))
        noise = float(np.sqrt(sum(error**2 for error in estimate.standard_errors.values())))
        pulses = failed = saturated_weights = 0
        if estimate.keep.any():
            penalty = self._homeostasis.directions(self._substrate) if self._homeostasis.active else {}
            for coupling in self.network.arrays:
                if coupling.name in self._frozen:
                    continue
                direction = estimate.directions[coupling.name]
                if coupling.name in penalty:
                    direction = direction + penalty[coupling.name]
                written = self._writer.change(coupling, self._optimiser.step(coupling.name, direction, rate))
                pulses += written.pulses
                failed += written.failed
                saturated_weights += written.saturated
            self._cost.learn(outputs[estimate.keep], labels[estimate.keep], rate)
        kept = estimate.keep
        return StepReport(
            loss=loss,
            accuracy=accuracy,
            gradient_norm=norm,
            gradient_error=noise / norm if norm else 0.0,
            amplitude=float(np.median(estimate.amplitude)),
            truncation=float(np.median(estimate.truncation[kept])) if kept.any() else float("nan"),
            pulses=pulses,
            failed_cells=failed,
            saturated_weights=saturated_weights,
            lost_branch=estimate.excluded.lost_branch,
            saturated=estimate.excluded.saturated,
            unsettled=estimate.excluded.unsettled,
            free_residual=float(np.max(free.residual)),
            settled_fraction=float(free.settled.mean()),
        )

    def quality(self, inputs: FloatArray, labels: IntArray) -> Quality | None:
        """Measure a batch and compare with the exact adjoint; None where the device cannot tell."""
        oracle = self._substrate.oracle
        if oracle is None:
            return None
        phase, estimate = self.measure(inputs, labels)
        adjoint = self.exact_adjoint(phase.error)
        keep = estimate.keep
        dot = own = other = 0.0
        for coupling in self.network.arrays:
            exact = exact_directions(self.network, phase.inputs[keep], phase.activity[keep], adjoint[keep], coupling)
            mean = exact.mean(axis=0) if keep.any() else np.zeros(coupling.shape)
            dot += float(np.sum(mean * estimate.directions[coupling.name]))
            own += float(np.sum(estimate.directions[coupling.name] ** 2))
            other += float(np.sum(mean**2))
        norm = np.sqrt(own * other)
        cosines = {
            layer.name: _mean_cosine(estimate.signals.response[:, layer.nodes], adjoint[:, layer.nodes], keep)
            for layer in self.network.layers[1:]
        }
        return Quality(dot / norm if norm else float("nan"), cosines)

    def exact_adjoint(self, error: FloatArray) -> FloatArray:
        """chi^T e of the batch now held, (batch, node) in activity units, for output errors (batch, output).

        Raises:
            CapabilityError: the device cannot compute it.
        """
        self._substrate.capabilities.require("exact_adjoint", "the exact reference")
        oracle = self._substrate.oracle
        assert oracle is not None  # what the capability promises
        values = np.zeros((len(error), self.network.node_count))
        values[:, self.network.output.nodes] = error
        return oracle.adjoint(values) * self._substrate.scale.unit_siemens

    def evaluate(self, inputs: FloatArray, labels: IntArray) -> Evaluation:
        """Free-phase outputs of many samples against their labels."""
        loss = 0.0
        unsettled = 0
        predictions = np.empty(len(labels), dtype=np.int64)
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            phase, free = self._free_phase(inputs[part], labels[part])
            outputs = phase.activity[:, self.network.output.nodes]
            loss += float(self._cost.loss(outputs, labels[part]).sum())
            predictions[part] = self._cost.predict(outputs)
            unsettled += int(np.count_nonzero(~free.settled))
        return Evaluation(loss / len(labels), float((predictions == labels).mean()), predictions, unsettled)

    def symmetry(self) -> float:
        """Symmetry score of all mirrored arrays together, from cells that are read now; 1 without any."""
        network = self.network
        if network.feedback == "shared" or not network.backward:
            return 1.0
        forward, backward = [], []
        for back in network.backward:
            mirror = network.mirror(back)
            if mirror is not None:
                forward.append(self._writer.weights(mirror)[: mirror.source.size].ravel())
                backward.append(self._writer.weights(back).T.ravel())
        return symmetry(np.concatenate(forward)[:, None], np.concatenate(backward)[None])

    def snapshot(self) -> dict[str, Any]:
        """Everything on this side of the seam that changes."""
        return {
            "rule": self._rule.snapshot(),
            "cost": self._cost.snapshot(),
            "writer": self._writer.snapshot(),
            "optimiser": self._optimiser.snapshot(),
            "homeostasis": self._homeostasis.generator.bit_generator.state,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot back."""
        self._rule.restore(snapshot["rule"])
        self._cost.restore(snapshot["cost"])
        self._writer.restore(snapshot["writer"])
        self._optimiser.restore(snapshot["optimiser"])
        self._homeostasis.generator.bit_generator.state = snapshot["homeostasis"]

    def _free_phase(self, inputs: FloatArray, labels: IntArray) -> tuple[FreePhase, Record]:
        scale = self._substrate.scale
        self._substrate.hold(inputs * scale.volts_per_unit)
        free = self._substrate.settle()
        activity = free.volts[:, 0] / scale.volts_per_unit
        error = self._cost.error(activity[:, self.network.output.nodes], labels)
        return FreePhase(inputs, activity, error, free.settled & ~free.saturated), free


def _mean_cosine(a: FloatArray, b: FloatArray, keep: BoolArray) -> float:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    used = keep & (norms > 0)
    return float(np.mean(np.sum(a[used] * b[used], axis=1) / norms[used])) if used.any() else float("nan")
