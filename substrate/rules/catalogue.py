"""The learning rules by name: the ``rule`` section of an experiment file is that of one of them."""

from typing import Annotated, TypeAlias, get_args

from pydantic import Field

from substrate.rules.always_on import AlwaysOnSection
from substrate.rules.asymmetric_ep import AsymmetricEPSection
from substrate.rules.backpropagation import BackpropagationSection
from substrate.rules.continual import ContinualSection
from substrate.rules.contrastive import ContrastiveSection
from substrate.rules.coupled_learning import CoupledLearningSection
from substrate.rules.direct_feedback_alignment import DirectFeedbackAlignmentSection
from substrate.rules.equilibrium_propagation import EquilibriumPropagationSection
from substrate.rules.feedback_alignment import FeedbackAlignmentSection
from substrate.rules.frequency_propagation import FrequencyPropagationSection
from substrate.rules.holomorphic import HolomorphicSection
from substrate.rules.kolen_pollack import KolenPollackSection
from substrate.rules.multiplexed import MultiplexedSection
from substrate.rules.oscillating import OscillatingSection
from substrate.rules.product_feedback import ProductFeedbackSection
from substrate.rules.recurrent_backpropagation import BPTTSection, RecurrentBackpropagationSection
from substrate.rules.sign_symmetric import SignSymmetricSection

RuleConfig: TypeAlias = Annotated[
    OscillatingSection
    | RecurrentBackpropagationSection
    | BPTTSection
    | HolomorphicSection
    | EquilibriumPropagationSection
    | AlwaysOnSection
    | ContinualSection
    | BackpropagationSection
    | FeedbackAlignmentSection
    | DirectFeedbackAlignmentSection
    | SignSymmetricSection
    | KolenPollackSection
    | ProductFeedbackSection
    | AsymmetricEPSection
    | MultiplexedSection
    | FrequencyPropagationSection
    | CoupledLearningSection
    | ContrastiveSection,
    Field(discriminator="name"),
]
"""One of the sections; ``name`` tells which."""

RULE_NAMES: tuple[str, ...] = tuple(
    get_args(section.model_fields["name"].annotation)[0] for section in get_args(get_args(RuleConfig)[0])
)
"""What the sections are called."""
