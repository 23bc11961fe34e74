"""The EP controller: free phase, errors, nudge, gradient, update, write. It sees only a ``Substrate``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.conjugates import exact_mean
from substrate.contract import Record, Substrate
from substrate.costs import Cost
from substrate.network import Network
from substrate.optimisers import Optimiser
from substrate.outer_products import Direction, dense, power
from substrate.pulses import Written
from substrate.rules.base import Estimate, FreePhase, ProgrammingRule, Rule
from substrate.rules.homeostasis import Homeostasis, symmetry
from substrate.writing import Writer

CHUNK = 512
"""Samples that are evaluated at a time."""


@final
@dataclass(frozen=True)
class StepReport:
    """What one training step did; the scalars that a run's log keeps.

    ``gradient_norm`` is over all arrays; ``gradient_error`` the predicted noise on it relative to it, NaN if not known;
    ``gradient_cosine`` its cosine with the exact gradient, NaN where it was not judged. ``free_residual`` and
    ``settled_fraction`` are NaN without a free phase. ``kinked`` samples are in use.
    """

    loss: float
    accuracy: float
    gradient_norm: float
    gradient_error: float
    gradient_cosine: float
    amplitude: float
    truncation: float
    pulses: int
    failed_cells: int
    saturated_weights: int
    refreshed_pairs: int
    cut_pulses: int
    lost_branch: int
    saturated: int
    unsettled: int
    free_residual: float
    settled_fraction: float
    kinked: int


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
class Step:
    """A training step: its scalars, its quality where it was judged, and what was measured."""

    report: StepReport
    quality: Quality | None
    phase: FreePhase
    estimate: Estimate


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
        relative_rates: learning rate of a coupling relative to the step's, 1 where it is not named.

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
        optimiser: Optimiser,
        homeostasis: Homeostasis,
        frozen: Sequence[str] = (),
        relative_rates: Mapping[str, float] | None = None,
    ) -> None:
        for capability in rule.requirements(substrate.network):
            substrate.capabilities.require(capability, f"rule {rule.name}")
        for capability in homeostasis.requirements:
            substrate.capabilities.require(capability, "homeostasis")
        for name in frozen:
            substrate.network.array(name)
        self._substrate = substrate
        self._rule = rule
        self._cost = cost
        self._writer = writer
        self._optimiser = optimiser
        self._homeostasis = homeostasis
        self._frozen = frozenset(frozen)
        self._relative_rates = dict(relative_rates or {})

    @property
    def network(self) -> Network:
        """The topology."""
        return self._substrate.network

    @property
    def writer(self) -> Writer:
        """What puts weights into cells."""
        return self._writer

    def program(self, weights: Mapping[str, FloatArray]) -> int:
        """Bring arrays to given weights (by coupling name); how many cells are known to have failed."""
        return sum(self._writer.program(self.network.array(name), value).failed for name, value in weights.items())

    def prepare(self, inputs: FloatArray, labels: IntArray) -> None:
        """Let the rule adjust what it measures, an automatic amplitude say, on a batch before training."""
        phase, _ = self._free_phase(inputs, labels)
        self._rule.prepare(self._substrate, phase)
        self._follow(learning=False)

    def free_phase(self, inputs: FloatArray, labels: IntArray) -> FreePhase:
        """Hold a batch and let it settle."""
        return self._free_phase(inputs, labels)[0]

    def measure(self, inputs: FloatArray, labels: IntArray) -> tuple[FreePhase, Estimate]:
        """The free phase of a batch, and its gradient as the device gives it; nothing is written."""
        if self._rule.free_phase:
            phase, _ = self._free_phase(inputs, labels)
            return phase, self._rule.measure(self._substrate, phase)
        estimate = self._rule.measure(self._substrate, self._at_rest(inputs, labels))
        return self._free_phase(inputs, labels)[0], estimate

    def step(
        self, inputs: FloatArray, labels: IntArray, rate: float, judge: bool = False, weight_decay: float = 0.0
    ) -> Step:
        """One update from a batch.

        Args:
            inputs: (batch, input) activities.
            labels: (batch,).
            rate: learning rate.
            judge: also compare the gradient with the device's exact adjoint, where it has one and a free phase goes
                before the rule.
            weight_decay: times the weight in a cell, off its direction.
        """
        if self._rule.free_phase:
            phase, free = self._free_phase(inputs, labels)
        else:
            phase, free = self._at_rest(inputs, labels), None
        judged = judge and free is not None and self._substrate.oracle is not None
        # Before the rule: one that learns while the network moves leaves other cells behind.
        adjoint = self.exact_adjoint(phase.error) if judged else None
        written = self._follow(learning=True)

        def update(increments: Mapping[str, Direction]) -> None:
            written.extend(self._write(increments, rate, weight_decay=0.0))

        estimate = self._rule.measure(self._substrate, phase, update)
        quality = self._judge(phase, estimate, adjoint) if adjoint is not None else None
        if free is None:
            phase = replace(phase, activity=estimate.signals.activity)
        outputs = phase.activity[:, self.network.output.nodes]
        loss = float(self._cost.loss(outputs, labels).mean())
        accuracy = float((self._cost.predict(outputs) == labels).mean())
        written += self._update(phase, estimate, rate, weight_decay)
        if estimate.keep.any():
            self._cost.learn(outputs[estimate.keep], labels[estimate.keep], rate)
        norm = float(np.sqrt(sum(power(direction) for direction in estimate.descent.values())))
        noise = float(np.sqrt(sum(error**2 for error in estimate.standard_errors.values())))
        kept = estimate.truncation[estimate.keep]
        report = StepReport(
            loss=loss,
            accuracy=accuracy,
            gradient_norm=norm,
            gradient_error=noise / norm if norm else 0.0,
            gradient_cosine=quality.gradient_cosine if quality else float("nan"),
            amplitude=_median(estimate.amplitude),
            truncation=_median(kept) if len(kept) else float("nan"),
            pulses=sum(one.pulses for one in written),
            failed_cells=sum(one.failed for one in written),
            saturated_weights=sum(one.saturated for one in written),
            refreshed_pairs=sum(one.refreshed for one in written),
            cut_pulses=sum(one.cut for one in written),
            lost_branch=estimate.excluded.lost_branch,
            saturated=estimate.excluded.saturated,
            unsettled=estimate.excluded.unsettled,
            free_residual=float("nan") if free is None else float(np.max(free.residual)),
            settled_fraction=float("nan") if free is None else float(free.settled.mean()),
            kinked=estimate.kinked,
        )
        return Step(report, quality, phase, estimate)

    def _follow(self, learning: bool) -> list[Written]:
        """Program the arrays that the rule wants otherwise; frozen ones stay as they are."""
        if not isinstance(self._rule, ProgrammingRule):
            return []
        targets = self._rule.targets(self._substrate, learning)
        return [
            self._writer.program(self.network.array(name), weights)
            for name, weights in targets.items()
            if name not in self._frozen
        ]

    def _update(self, phase: FreePhase, estimate: Estimate, rate: float, weight_decay: float) -> list[Written]:
        """Write the changes that an estimate asks for; nothing where no sample is left."""
        if not estimate.keep.any():
            return []
        directions = {} if estimate.applied else dict(estimate.descent)
        if self._homeostasis.active:
            for name, pull in self._homeostasis.directions(self._substrate, phase.inputs).items():
                directions[name] = dense(directions[name]) + pull if name in directions else pull
        return self._write(directions, rate, weight_decay)

    def _write(self, directions: Mapping[str, Direction], rate: float, weight_decay: float) -> list[Written]:
        """Write the changes that directions ask for, array by array; those without one stay as they are."""
        written = []
        for coupling in self.network.arrays:
            if coupling.name in self._frozen or coupling.name not in directions:
                continue
            direction = directions[coupling.name]
            if weight_decay:
                direction = dense(direction) - weight_decay * self._writer.weights(coupling)
            own_rate = rate * self._relative_rates.get(coupling.name, 1.0)
            written.append(self._writer.change(coupling, self._optimiser.step(coupling.name, direction, own_rate)))
        return written

    def _judge(self, phase: FreePhase, estimate: Estimate, adjoint: FloatArray) -> Quality:
        keep = estimate.keep
        share = keep / max(int(keep.sum()), 1)
        dot = own = other = 0.0
        for coupling in self.network.settling:
            exact = exact_mean(self.network, phase.inputs, phase.activity, adjoint, share, coupling)
            measured = estimate.directions[coupling.name]
            dot += float(np.sum(exact * measured))
            own += float(np.sum(measured**2))
            other += float(np.sum(exact**2))
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

    def evaluate(self, inputs: npt.NDArray[np.floating[Any]], labels: IntArray) -> Evaluation:
        """Free-phase outputs of many samples against their labels."""
        loss = 0.0
        unsettled = 0
        predictions = np.empty(len(labels), dtype=np.int64)
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            phase, free = self._free_phase(inputs[part].astype(np.float64), labels[part])
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
                forward.append(self._writer.weights(mirror)[: mirror.source_lines].ravel())
                backward.append(self._writer.weights(back).T.ravel())
        if not forward:
            return 1.0
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

    def restore_learnt(self, snapshot: dict[str, Any], *, rule: bool, cost: bool) -> None:
        """Put back of a snapshot what the rule, or the cost, has learnt, for a measurement: nothing is written."""
        if rule:
            self._rule.restore(snapshot["rule"])
        if cost:
            self._cost.restore(snapshot["cost"])

    def _at_rest(self, inputs: FloatArray, labels: IntArray) -> FreePhase:
        """Hold a batch, and leave the network at rest: what a rule without a free phase begins with."""
        self._substrate.hold(inputs * self._substrate.scale.volts_per_unit)
        activity = np.zeros((len(inputs), self.network.node_count))
        error = self._cost.error(activity[:, self.network.output.nodes], labels)
        return FreePhase(inputs, activity, error, np.ones(len(inputs), dtype=np.bool_))

    def _free_phase(self, inputs: FloatArray, labels: IntArray) -> tuple[FreePhase, Record]:
        scale = self._substrate.scale
        self._substrate.hold(inputs * scale.volts_per_unit)
        free = self._substrate.settle()
        activity = free.volts[:, 0] / scale.volts_per_unit
        error = self._cost.error(activity[:, self.network.output.nodes], labels)
        return FreePhase(inputs, activity, error, free.settled & ~free.saturated), free


def _median(values: FloatArray) -> float:
    """``np.median``, without the fifty microseconds that its checks take."""
    ordered = np.sort(values)
    # Those that are no numbers come last.
    middle = len(ordered) // 2
    return float("nan") if np.isnan(ordered[-1]) else 0.5 * float(ordered[middle] + ordered[~middle])


def _mean_cosine(a: FloatArray, b: FloatArray, keep: BoolArray) -> float:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    used = keep & (norms > 0)
    return float(np.mean(np.sum(a[used] * b[used], axis=1) / norms[used])) if used.any() else float("nan")
