"""What a learning rule is: it measures a held batch on a substrate and says in which direction the weights descend."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, final

import numpy as np

from substrate.arrays import BoolArray, FloatArray
from substrate.conjugates import Conjugate, Signals
from substrate.contract import Substrate
from substrate.network import Network
from substrate.outer_products import Direction, dense
from substrate.tones import SamplingPlan

Update: TypeAlias = Callable[[Mapping[str, Direction]], None]
"""What a rule that learns while the network moves hands its increments to: descent directions by array, (rows,
columns) in weight units, which are written at once, at the step's rate and with its optimiser."""


@final
@dataclass(frozen=True)
class FreePhase:
    """A batch that is held and has settled, in activity units.

    Attributes:
        inputs: (batch, input).
        activity: (batch, node).
        error: (batch, output), -dC/ds.
        usable: (batch,), settled and not saturated.
    """

    inputs: FloatArray
    activity: FloatArray
    error: FloatArray
    usable: BoolArray


@final
@dataclass(frozen=True)
class Excluded:
    """Samples that were left out of an update, by reason."""

    lost_branch: int
    saturated: int
    unsettled: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.lost_branch + self.saturated + self.unsettled


@final
@dataclass(frozen=True)
class Estimate:
    """What a rule found.

    Attributes:
        signals: what was measured, sample by sample.
        conjugate: how directions follow from the signals.
        keep: (batch,), samples that may enter an update.
        excluded: the others, counted by reason.
        descent: mean descent direction of each array, (rows, columns), weight units, as it was found.
        standard_errors: Frobenius norm of the noise on each direction.
        amplitude: (batch,), beta of each sample.
        truncation: (batch,), estimated relative truncation error of each sample's response.
        kinked: samples kept in whose record the device saw a kink (``Record.kinked``); their truncation tells how
            much it matters.
        phase_origin: phase of the nudge at the first sample of ``signals.waveform``, radians.
        plan: the sampling of ``signals.waveform``, where it is a record of whole periods of a tone.
        applied: the directions were written already, by an ``Update``.
    """

    signals: Signals
    conjugate: Conjugate
    keep: BoolArray
    excluded: Excluded
    descent: dict[str, Direction]
    standard_errors: dict[str, float]
    amplitude: FloatArray
    truncation: FloatArray
    kinked: int = 0
    phase_origin: float = 0.0
    plan: SamplingPlan | None = None
    applied: bool = False

    @cached_property
    def directions(self) -> dict[str, FloatArray]:
        """``descent``, all of its entries."""
        return {name: dense(direction) for name, direction in self.descent.items()}


class Rule(ABC):
    """A learning rule.

    Attributes:
        free_phase: a free phase goes before it. Without one it begins with the network at rest; what it is then handed
            as a ``FreePhase`` has activities of zero, and the state without a nudge is the ``activity`` of its signals.
    """

    free_phase: bool = True

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in experiment files."""

    @abstractmethod
    def requirements(self, network: Network) -> tuple[str, ...]:
        """Names of the capabilities that the rule needs on this network."""

    @abstractmethod
    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """Nudge the held batch and find the descent directions.

        Args:
            substrate: holds the batch in its free state.
            phase: what was read of it.
            update: takes the increments of a rule that learns while the network moves; without it nothing is written.
                Other rules leave it alone.
        """

    @abstractmethod
    def prepare(self, substrate: Substrate, phase: FreePhase) -> None:
        """Adjust what the rule sets from measurements (amplitudes, say) on a held batch before training."""

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """What changes from step to step."""

    @abstractmethod
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put a snapshot back."""


class ProgrammingRule(Rule):
    """A rule that has arrays programmed anew between steps; the controller writes them, and counts what it took."""

    @abstractmethod
    def targets(self, substrate: Substrate, learning: bool) -> dict[str, FloatArray]:
        """Weights that arrays are to be brought to now, (rows, columns), by array; others stay as they are.

        Args:
            substrate: whose cells may be read.
            learning: a batch is about to be learned from; False: training is being prepared.
        """


class LastingRule(Rule):
    """A rule that is from step to step the same: it adjusts nothing and keeps nothing."""

    @final
    def prepare(self, substrate: Substrate, phase: FreePhase) -> None:
        """Nothing is to be adjusted."""

    @final
    def snapshot(self) -> dict[str, Any]:
        """Nothing changes."""
        return {}

    @final
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Nothing to put back."""


def relative_noise(response: FloatArray, variance: FloatArray, keep: BoolArray) -> float:
    """Median over the samples kept of noise over signal in a response (batch, node)."""
    if not keep.any():
        return 0.0
    noise = variance[keep] * response.shape[1]
    power = np.sum(response[keep] ** 2, axis=1)
    signal = np.maximum(power - noise, noise)
    return float(np.median(np.sqrt(noise / np.where(signal > 0, signal, 1.0))))


def variance_of_error(error: FloatArray, response: FloatArray, noise: float) -> FloatArray:
    """Variance on one entry of the response from the noise of the reading that the error was formed from, (batch,).

    A response r = chi e to an error that is off by white noise of variance s^2 is off by s^2 |chi|^2 in all, and
    |chi|^2 = n |r|^2/|e|^2 for n outputs and an error without preferred direction.

    Args:
        error: (batch, output).
        response: (batch, node).
        noise: s^2, of one reading.
    """
    outputs, nodes = error.shape[1], response.shape[1]
    power = np.maximum(np.sum(error**2, axis=1), np.finfo(float).tiny)
    return np.asarray(noise * outputs * np.sum(response**2, axis=1) / (power * nodes))
