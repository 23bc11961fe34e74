"""Sections of an experiment file: what they have in common, and the kinds of numbers that stand in them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
