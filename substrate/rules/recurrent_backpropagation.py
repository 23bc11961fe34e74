"""The exact gradient of the settled network, as a reference: recurrent backpropagation, and its truncation in time.

Recurrent backpropagation is the implicit adjoint chi^T e of the free state (Almeida 1987; Pineda 1987). Backpropagation
through time follows it over so many steps of the linearised network, which is what EP's updates follow in time too
(Ernoult et al. 2019).
"""

from collections.abc import Mapping
from typing import Literal, final

import numpy as np

from substrate.contract import Substrate
from substrate.network import Network
from substrate.rules.adjoint import adjoint_estimate
from substrate.rules.base import Estimate, FreePhase, LastingRule, Rule, Update
from substrate.rules.sections import NudgeConfig, RuleContext, RuleSection, without_nudge
from substrate.sections import Count


@final
class RecurrentBackpropagationSection(RuleSection):
    """Section of ``recurrent_backpropagation``, which has no keys."""

    name: Literal["recurrent_backpropagation"] = "recurrent_backpropagation"

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """Any network has an adjoint."""

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """There is no nudge."""
        return without_nudge(self.name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return ExactAdjoint(self.name, None)


@final
class BPTTSection(RuleSection):
    """Section of ``bptt``: ``steps`` back in time."""

    name: Literal["bptt"] = "bptt"
    steps: Count = 20

    def check(self, network: Network, nudge: NudgeConfig, cost_name: str) -> None:
        """Any network that moves in steps has one."""

    def idle(self, nudge: NudgeConfig) -> Mapping[str, str]:
        """There is no nudge."""
        return without_nudge(self.name)

    def build(self, context: RuleContext) -> Rule:
        """The rule."""
        return ExactAdjoint(self.name, self.steps)


@final
class ExactAdjoint(LastingRule):
    """The rules ``recurrent_backpropagation`` and ``bptt``.

    Args:
        name: which.
        steps: back in time; None: to the steady state.
    """

    def __init__(self, name: str, steps: int | None) -> None:
        self._name = name
        self._steps = steps

    @property
    def name(self) -> str:
        """What it is called in experiment files."""
        return self._name

    def requirements(self, network: Network) -> tuple[str, ...]:
        """The device's own linear response; its response in time where steps are counted."""
        return ("exact_adjoint",) if self._steps is None else ("exact_adjoint", "stepping")

    def measure(self, substrate: Substrate, phase: FreePhase, update: Update | None = None) -> Estimate:
        """The adjoint of the errors, without any nudge."""
        network = substrate.network
        values = np.zeros(phase.activity.shape)
        values[:, network.output.nodes] = phase.error
        oracle = substrate.oracle
        assert oracle is not None  # what the capability promises
        adjoint = oracle.adjoint(values, self._steps) * substrate.scale.unit_siemens
        batch = len(values)
        return adjoint_estimate(network, phase, adjoint, np.ones(batch, dtype=np.bool_), np.full(batch, np.nan), 0.0)
