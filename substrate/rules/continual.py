"""Continual EP: updates at every step of the nudged phase, acting at once (Ernoult et al., arXiv 2005.04168).

From the free state the nudge is switched on, and at each step t the weights move by (rate/beta)(q(t+1) - q(t)), so that
the next step is made with other weights. With weights that stand still the increments telescope to EP's q(K) - q(0),
and each of them is what backpropagation through time gives for its step (gradient-descending updates). C-EP descends
along the product s_i s_j; C-VF, where each direction has an array of its own, along (s_i(t+1) - s_i(t)) s_j(t).

While the inputs are held, what is written acts on the neurons that it was written for: a movement that all samples
share comes back a step later, times (rate/beta) f' and the largest eigenvalue of X X^T/batch, X the inputs with a one
for the bias. From one on a batch amplifies itself for as long as it is nudged. A larger beta lessens that, and a
negative one damps instead, so that signs drawn for every batch (``random_sign``) make up for each other in first order.

A device that cannot be stopped at a step does the same period by period: one period of the sinusoidal nudge, its share
of the update, the next period with the cells as they are then.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
from pydantic import Field

from substrate.arrays import BoolArray, FloatArray
from substrate.conjugates import Conjugate, Signals, conjugate_of, mean_directions
from substrate.contract import Substrate
from substrate.errors import InputError
from substrate.network import Network
from substrate.outer_products import Direction, added, scaled
from substrate.rules.base import Estimate, Excluded, FreePhase, Rule, Update
from substrate.rules.held import NudgeKind, check_kind, held_nudge
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, one_tone, without_tone
from substrate.sections import Count
from substrate.tone_response import measure_tone
from substrate.tones import SamplingPlan


@final
class ContinualSection(RuleSection):
    """Section of ``continual_ep``; beta is ``nudge.amplitude``.

    ``conjugate``: ``product`` is C-EP; ``postsynaptic``, for separate feedback arrays, C-VF; ``auto`` is the one that
    fits the network. ``moves``: ``steps`` of ``time_constants`` each, or ``periods`` of the sinusoidal nudge, ``count``
    of them. ``random_sign`` draws the sign of beta anew for every batch.
    """

    writes_moving: ClassVar[bool] = True

    name: Literal["continual_ep"] = "continual_ep"
    conjugate: Literal["auto", "product", "postsynaptic"] = "auto"
    moves: Literal["steps", "periods"] = "steps"
    count: Count = 15
    time_constants: Annotated[float, Field(gt=0, le=1)] = 1.0
    nudge: NudgeKind = "open_loop"
    random_sign: bool = False

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """The amplitude is a number; periods come with an open-loop nudge."""
        conjugate_of(network, self.conjugate)
        nudge.fixed_amplitude(self.name)
        check_kind(self.nudge, cost_name)
        if self.moves == "periods":
            if self.nudge == "feedback":
                raise InputError("rule.nudge: a sinusoidal nudge is open-loop; expected open_loop with moves: periods")
            nudge.fixed_tone(self.name)

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """Steps are taken under a held nudge; of periods ``count`` says how many."""
        if self.moves == "steps":
            return without_tone(self.name)
        return one_tone(self.name) | {
            "nudge.periods": "rule.count is the number of periods that moves are taken by",
            "rule.time_constants": "belongs to moves steps",
        }

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        plan = None
        if self.moves == "periods":
            whole = context.nudge.plan()
            plan = SamplingPlan(whole.frequency_hz, whole.harmonics, whole.samples_per_period, 1)
        return ContinualEP(self, context.nudge.fixed_amplitude(self.name), plan, context.rng)


@final
class ContinualEP(Rule):
    """The rule ``continual_ep``.

    Args:
        section: how it moves, and how often.
        amplitude: beta in activity units.
        plan: a period of the nudge, where it moves by periods.
        rng: draws signs.
    """

    def __init__(
        self, section: ContinualSection, amplitude: float, plan: SamplingPlan | None, rng: np.random.Generator
    ) -> None:
        self._section = section
        self._amplitude = amplitude
        self._plan = plan
        self._rng = rng

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return self._section.name

    def requirements(self, network: Network) -> tuple[str, ...]:
        """Steps are an emulator's; products of two waveforms need them at the same instants."""
        feedback = ("feedback_nudges",) if self._section.nudge == "feedback" else ()
        if self._plan is None:
            return ("stepping", *feedback)
        product = conjugate_of(network, self._section.conjugate) != "postsynaptic" and len(network.layers) > 2
        return ("simultaneous_sampling", *feedback) if product else feedback

    def prepare(self, substrate: Substrate, phase: FreePhase) -> None:
        """Nothing to adjust."""

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """Move, and hand over the increments of every move; without ``update`` the weights stand still."""
        conjugate = conjugate_of(substrate.network, self._section.conjugate)
        if self._plan is not None:
            return self._by_periods(substrate, phase, conjugate, self._plan, update)
        return self._by_steps(substrate, phase, conjugate, update)

    def _by_steps(
        self, substrate: Substrate, phase: FreePhase, conjugate: Conjugate, update: Update | None
    ) -> Estimate:
        section, network, scale = self._section, substrate.network, substrate.scale
        batch = len(phase.error)
        beta = self._beta(batch)
        held = held_nudge(network, scale, phase, beta[:, None], section.nudge)
        per_beta, functional = 1.0 / beta[:, None], np.stack([-1.0 / beta, 1.0 / beta], axis=1)
        total: dict[str, Direction] = {}
        keep, saturated, unknown = phase.usable.copy(), np.zeros(batch, dtype=np.bool_), _unknown(batch)
        before = after = phase.activity
        for _ in range(section.count):
            states = substrate.evolve(held, 1, section.time_constants)
            after = np.asarray(states.volts[:, 0].real) / scale.volts_per_unit
            if after.dtype != functional.dtype:
                # In the precision of the states, single where an emulator moves in it.
                per_beta, functional, before = (one.astype(after.dtype) for one in (per_beta, functional, before))
            saturated |= states.saturated[:, 0]
            # What ran away must not be written; it is out for the rest of the phase.
            keep &= np.isfinite(after).all(axis=1) & ~saturated
            if not keep.all():
                after[~keep] = 0.0
            path = np.stack([before, after], axis=1)
            signals = Signals(phase.inputs, before, (after - before) * per_beta, unknown, path, functional)
            increments = mean_directions(network, signals, keep, conjugate)
            if update is not None and keep.any():
                update(increments)
            total = _sums(total, increments)
            before = after
        path = np.stack([phase.activity, after], axis=1)
        response = (after - phase.activity) / beta[:, None]
        signals = Signals(phase.inputs, phase.activity, response, unknown, path, functional)
        return self._estimate(phase, signals, conjugate, keep, saturated, total, beta, update is not None)

    def _by_periods(
        self, substrate: Substrate, phase: FreePhase, conjugate: Conjugate, plan: SamplingPlan, update: Update | None
    ) -> Estimate:
        network, count = substrate.network, self._section.count
        batch = len(phase.error)
        beta = self._beta(batch)
        nudge = held_nudge(network, substrate.scale, phase, beta[:, None], "open_loop")
        amperes = np.asarray(nudge.amperes[:, 0].real)
        total: dict[str, Direction] = {}
        keep, saturated = phase.usable.copy(), np.zeros(batch, dtype=np.bool_)
        for period in range(count):
            if period and update is not None:
                # The cells moved: the state that the next period swings around moved with them.
                keep &= substrate.settle().settled
            found = measure_tone(substrate, amperes, beta, plan)
            saturated |= found.saturated
            keep &= found.settled & ~saturated
            signals = Signals(
                phase.inputs, found.activity, found.response, found.variance, found.waveform, found.weights
            )
            # Each period is a share of the whole.
            whole = mean_directions(network, signals, keep, conjugate)
            increments = {name: scaled(direction, 1.0 / count) for name, direction in whole.items()}
            if update is not None and keep.any():
                update(increments)
            total = _sums(total, increments)
        return self._estimate(phase, signals, conjugate, keep, saturated, total, beta, update is not None)

    def _estimate(
        self,
        phase: FreePhase,
        signals: Signals,
        conjugate: Conjugate,
        keep: BoolArray,
        saturated: BoolArray,
        total: dict[str, Direction],
        beta: FloatArray,
        applied: bool,
    ) -> Estimate:
        unsettled = ~phase.usable
        clipped = saturated & ~unsettled
        lost = ~keep & ~unsettled & ~clipped
        return Estimate(
            signals=signals,
            conjugate=conjugate,
            keep=keep,
            excluded=Excluded(int(lost.sum()), int(clipped.sum()), int(unsettled.sum())),
            descent=total,
            standard_errors=dict.fromkeys(total, float("nan")),
            amplitude=np.abs(beta),
            truncation=np.full(len(keep), np.nan),
            applied=applied,
        )

    def _beta(self, batch: int) -> FloatArray:
        sign = self._rng.choice([-1.0, 1.0]) if self._section.random_sign else 1.0
        return np.full(batch, sign * self._amplitude)

    def snapshot(self) -> dict[str, Any]:
        """Where the signs have got to."""
        return {"rng": self._rng.bit_generator.state}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put the generator back."""
        self._rng.bit_generator.state = snapshot["rng"]


def _sums(total: Mapping[str, Direction], increments: Mapping[str, Direction]) -> dict[str, Direction]:
    """By array."""
    return {name: added(total[name], one) if name in total else one for name, one in increments.items()}


def _unknown(batch: int) -> FloatArray:
    """A variance of which nothing is known: a single reading of a path that does not repeat."""
    return np.full(batch, np.nan)
