"""What the rules of feedforward networks share: layer by layer, an error is carried back and meets the activity there.

The free state is the forward pass. The error of the outputs, times the slope f' there, is delta of the last layer; what
reaches a hidden layer along the rule's feedback path, times the slope at that layer, is delta there, and each forward
array descends along x delta^T. The rules differ in the path alone. Slopes are those of the nominal neuron at the
activities that were read.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np

from substrate.activations import ACTIVATIONS
from substrate.arrays import FloatArray
from substrate.conjugates import Signals, mean_directions, standard_errors
from substrate.contract import Substrate
from substrate.errors import InputError
from substrate.network import Coupling, Network
from substrate.outer_products import Direction
from substrate.products import weighted_sums
from substrate.rules.base import Estimate, Excluded, FreePhase, LastingRule, Rule, Update


@final
@dataclass(frozen=True)
class Carried:
    """What a feedback path brought.

    Attributes:
        errors: (batch, node) at the nodes of the hidden layer, before its slope.
        directions: descent directions of the path's own arrays, where they learn.
    """

    errors: FloatArray
    directions: Mapping[str, FloatArray] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Behind:
    """What a path begins from.

    Attributes:
        coupling: the forward coupling from the hidden layer to the one behind it.
        delta: (batch, node) of the layer behind.
        output_delta: (batch, node) of the outputs.
        weighted: (batch, node) activities of the hidden layer times each sample's share of the mean.
    """

    coupling: Coupling
    delta: FloatArray
    output_delta: FloatArray
    weighted: FloatArray


class FeedbackRule(Rule):
    """A rule that carries errors back along a path."""

    @abstractmethod
    def _carry(self, substrate: Substrate, behind: Behind) -> Carried:
        """Errors at the layer before ``behind.coupling``."""

    @final
    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """The deltas of all layers, and the mean directions that follow."""
        network = substrate.network
        slope = slopes(network, phase.activity)
        keep = phase.usable
        share = keep / max(int(keep.sum()), 1)
        outputs = network.output.nodes
        delta = np.zeros(phase.activity.shape)
        delta[:, outputs] = phase.error * slope[:, outputs]
        directions: dict[str, Direction] = {}
        for coupling in reversed(network.forward[1:]):
            nodes = coupling.source.nodes
            weighted = share[:, None] * phase.activity[:, nodes]
            behind = Behind(coupling, delta[:, coupling.target.nodes], delta[:, outputs], weighted)
            carried = self._carry(substrate, behind)
            delta[:, nodes] = carried.errors * slope[:, nodes]
            directions |= carried.directions
        batch = len(delta)
        nothing, unknown = np.zeros(batch), np.full(batch, np.nan)
        # Each path is read once, which tells nothing of its noise.
        signals = Signals(phase.inputs, phase.activity, delta, unknown, phase.activity[:, None], np.zeros((batch, 1)))
        return Estimate(
            signals=signals,
            conjugate="postsynaptic",
            keep=keep,
            excluded=Excluded(0, 0, int(np.count_nonzero(~keep))),
            descent=directions | mean_directions(network, signals, keep, "postsynaptic"),
            standard_errors=standard_errors(network, signals, keep, "postsynaptic"),
            amplitude=nothing,
            truncation=nothing,
        )


class FixedPathRule(FeedbackRule, LastingRule):
    """A rule that keeps nothing from step to step."""


def slopes(network: Network, activity: FloatArray) -> FloatArray:
    """f' of the nominal neurons at activities (batch, node), (batch, node)."""
    out = ACTIVATIONS[network.activation].slope_at(activity)
    if network.linear_outputs:
        out[:, network.output.nodes] = 1.0
    return out


def along(substrate: Substrate, feedback: Coupling, values: FloatArray) -> FloatArray:
    """Values (batch, source) through a feedback array of its own, (batch, target)."""
    return feedback.into_target(weighted_sums(substrate, feedback, feedback.driven(values)))


def against(substrate: Substrate, forward: Coupling, values: FloatArray) -> FloatArray:
    """Values (batch, target) through the transpose of a forward array, read in memory, (batch, source)."""
    return forward.into_source(weighted_sums(substrate, forward, forward.columns(values), "backward"))


def mirrored(network: Network, forward: Coupling) -> Coupling:
    """The feedback array beside a forward one.

    Raises:
        InputError: there is none.
    """
    feedback = network.mirror(forward)
    if feedback is None:
        raise InputError(f"network.feedback: {forward.name} has no array that mirrors it; expected separate")
    return feedback


def product_pair(network: Network, forward: Coupling) -> tuple[Coupling, Coupling]:
    """The two arrays of the product feedback beside a forward one: B from its target, R on to its source."""
    place = 2 * (network.forward.index(forward) - 1)
    return network.backward[place], network.backward[place + 1]


def check_feedback(rule: str, network: Network, *expected: str) -> None:
    """Refuse a network without the rule's path.

    Raises:
        InputError: names the key and what was expected.
    """
    if not network.feedforward:
        raise InputError(f"network.family: rule {rule} passes forward once; expected feedforward, got {network.family}")
    if network.feedback not in expected:
        raise InputError(f"network.feedback: rule {rule} needs {' or '.join(expected)}, got {network.feedback}")


@final
@dataclass(frozen=True)
class PathAngle:
    """A feedback path beside the transpose that it stands for: the angle between them, and the ratio of their norms."""

    degrees: float
    norm_ratio: float


def path_angles(network: Network, weights: Mapping[str, FloatArray]) -> dict[str, PathAngle]:
    """The path beside each forward array that has one, by the array's name.

    Args:
        network: a feedforward one; there is nothing to compare where it has no feedback.
        weights: (rows, columns) of all arrays.
    """
    found = {}
    transpose: FloatArray | None = None
    for forward in reversed(network.forward[1:]):
        own = weights[forward.name][: forward.source_lines].T
        if network.feedback == "direct":
            # A direct path stands for the whole chain behind the layer.
            own = forward.block(own.T).T
            transpose = own if transpose is None else transpose @ own
            path = weights[f"{network.output.name}-{forward.source.name}"]
            found[forward.name] = _angle(path, transpose)
        elif network.feedback == "product":
            first, second = product_pair(network, forward)
            found[forward.name] = _angle(weights[first.name] @ weights[second.name], own)
        elif network.feedback == "separate":
            found[forward.name] = _angle(weights[mirrored(network, forward).name], own)
    return found


def _angle(path: FloatArray, transpose: FloatArray) -> PathAngle:
    norms = float(np.linalg.norm(path)), float(np.linalg.norm(transpose))
    if not (norms[0] and norms[1]):
        return PathAngle(90.0, float("nan"))
    cosine = float(np.vdot(path, transpose)) / (norms[0] * norms[1])
    return PathAngle(float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))), norms[0] / norms[1])
