"""What a step of a learning rule asks of a device, sample by sample: for plans that are made while it is closed."""

from dataclasses import replace

from substrate.network import Network
from substrate.rules.always_on import AlwaysOnSection
from substrate.rules.asymmetric_ep import AsymmetricEPSection
from substrate.rules.backpropagation import BackpropagationSection
from substrate.rules.catalogue import RuleConfig
from substrate.rules.continual import ContinualSection
from substrate.rules.contrastive import ContrastiveSection
from substrate.rules.coupled_learning import CoupledLearningSection
from substrate.rules.equilibrium_propagation import EquilibriumPropagationSection
from substrate.rules.frequency_propagation import FrequencyPropagationSection
from substrate.rules.holomorphic import HolomorphicSection
from substrate.rules.oscillating import PREPARATION_ROUNDS, REFINEMENTS, OscillatingSection
from substrate.rules.sections import NudgeConfig
from substrate.rules.sign_symmetric import SignSymmetricSection
from substrate.tone_response import octaves
from substrate.tones import SamplingPlan


def states_of(rule: RuleConfig) -> int:
    """States that are read of a sample beside its free one, of which a rule without a free phase has none."""
    match rule:
        case EquilibriumPropagationSection():
            return rule.readings * (2 if rule.variant == "symmetric" else 1)
        case ContrastiveSection():
            return rule.readings * (2 if rule.sides == "two" else 1)
        case AlwaysOnSection():
            return rule.points * (rule.lead_periods + rule.periods) - (not rule.free_phase)
        case HolomorphicSection() | AsymmetricEPSection():
            # The other half of the circle is conjugate.
            return rule.points // 2 + 1
        case ContinualSection():
            # By periods, settled anew between two of them.
            return rule.count if rule.moves == "steps" else rule.count - 1
        case CoupledLearningSection():
            return 1
    return 0


def records_of(rule: RuleConfig, nudge: NudgeConfig) -> tuple[SamplingPlan, ...]:
    """Records of a sample under a tone at the outputs."""
    match rule:
        case OscillatingSection():
            return octaves(nudge.plan(), nudge.richardson)
        case FrequencyPropagationSection():
            return (nudge.plan(),)
        case ContinualSection(moves="periods"):
            return (replace(nudge.plan(), periods=1),) * rule.count
    return ()


def preparations_of(rule: RuleConfig, nudge: NudgeConfig) -> int:
    """Batches that are measured before the training, from which an automatic amplitude or tone is found."""
    automatic = "auto" in (nudge.amplitude, nudge.harmonics, nudge.periods)
    return PREPARATION_ROUNDS if isinstance(rule, OscillatingSection) and automatic else 0


def repeats_of(rule: RuleConfig, nudge: NudgeConfig) -> int:
    """How often a batch is nudged again at most, where an automatic amplitude was too large for some samples."""
    return REFINEMENTS if isinstance(rule, OscillatingSection) and nudge.amplitude == "auto" else 0


def products_of(rule: RuleConfig, network: Network) -> int:
    """Products of a sample with single arrays, which carry errors back through a feedforward network."""
    if not network.feedforward:
        return 0
    return len(network.forward) - 1 if isinstance(rule, BackpropagationSection) else len(network.backward)


def writes_of(rule: RuleConfig, *, penalised: bool) -> int:
    """Writes of an array in a step; what a penalty asks for comes after those of a rule that writes as it moves."""
    return rule.count + penalised if isinstance(rule, ContinualSection) else 1


def clamp_of(rule: RuleConfig, amplitude: float, unit_siemens: float) -> float:
    """Conductance of the sources that a nudge joins the outputs to, weight units; 0: its currents are fixed."""
    match rule:
        case (
            EquilibriumPropagationSection(nudge="feedback")
            | ContrastiveSection(nudge="feedback")
            | AlwaysOnSection(nudge="feedback")
            | HolomorphicSection(nudge="feedback")
            | AsymmetricEPSection(nudge="feedback")
            | ContinualSection(nudge="feedback")
        ):
            return amplitude
        case CoupledLearningSection():
            return rule.source_siemens / unit_siemens
    return 0.0


def probe_of(rule: RuleConfig) -> float:
    """Amplitude of the tones at every neuron by which a rule measures the network, activity units; 0: there are none.

    Those of ``multiplexed`` are its nudge.
    """
    return rule.probe if isinstance(rule, AsymmetricEPSection) and rule.asymmetry == "measured" else 0.0


def programmings_of(rule: RuleConfig, steps: int) -> int:
    """How often arrays are programmed anew at most: before the training, and in so many steps of it."""
    return 1 + -(-steps // rule.every) if isinstance(rule, SignSymmetricSection) else 0
