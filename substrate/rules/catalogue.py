"""The learning rules by name: the ``rule`` section of an experiment file is that of one of them."""

from typing import Annotated, TypeAlias

from pydantic import Field

from substrate.rules.backpropagation import BackpropagationSection
from substrate.rules.direct_feedback_alignment import DirectFeedbackAlignmentSection
from substrate.rules.feedback_alignment import FeedbackAlignmentSection
from substrate.rules.kolen_pollack import KolenPollackSection
from substrate.rules.oscillating import OscillatingSection
from substrate.rules.product_feedback import ProductFeedbackSection
from substrate.rules.sign_symmetric import SignSymmetricSection

RuleConfig: TypeAlias = Annotated[
    OscillatingSection
    | BackpropagationSection
    | FeedbackAlignmentSection
    | DirectFeedbackAlignmentSection
    | SignSymmetricSection
    | KolenPollackSection
    | ProductFeedbackSection,
    Field(discriminator="name"),
]
"""One of the sections; ``name`` tells which."""

RULE_NAMES: tuple[str, ...] = (
    "oscillating_ep",
    "backpropagation",
    "feedback_alignment",
    "direct_feedback_alignment",
    "sign_symmetric",
    "kolen_pollack",
    "product_feedback",
)
