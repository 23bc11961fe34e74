"""The law of the cells, as an experiment file names it: ``law`` and the law's own parameters beside it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from emulators.memristors.cell_law import CellLaw, MemristorLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.memristors.rectifying import RectifyingCell
from emulators.memristors.sinh import SinhCell
from emulators.memristors.transistor import SeriesResistanceCell, TransistorCell

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

MEMRISTOR_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ohmic": {},
    "sinh": {"alpha": SinhCell.alpha},
    "rectifying": {
        "forward_alpha": RectifyingCell.forward_alpha,
        "reverse_alpha": RectifyingCell.reverse_alpha,
    },
}
"""Parameters of each two-terminal law; the emulator's own defaults."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    **MEMRISTOR_DEFAULTS,
    "series_resistance": {"series_ohms": SeriesResistanceCell.series_resistance, "memristor": {"law": "ohmic"}},
    "transistor": {
        "gate_overdrive_volts": TransistorCell.gate_overdrive_volts,
        "transconductance": TransistorCell.transconductance,
        "channel_length_modulation": TransistorCell.channel_length_modulation,
        "memristor": {"law": "ohmic"},
    },
}
"""The same for every law, those with an access device (1T1R) included."""


class MemristorConfig(BaseModel):
    """A two-terminal law: ``ohmic``, ``sinh`` (``alpha``), ``rectifying`` (``forward_alpha``, ``reverse_alpha``), 1/V.

    Parameters of another law are refused; those left out take the law's defaults.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    law: Literal["ohmic", "sinh", "rectifying"] = "ohmic"
    alpha: Positive | None = None
    forward_alpha: Positive | None = None
    reverse_alpha: NonNegative | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_parameters(cls, section: Any) -> Any:
        return with_defaults(section, MEMRISTOR_DEFAULTS)

    @model_serializer(mode="wrap")
    def _without_others(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}

    def build(self) -> MemristorLaw:
        """The law."""
        return _memristor(self.alpha, self.forward_alpha, self.reverse_alpha)


class CellLawConfig(BaseModel):
    """The law of a cell: those of ``MemristorConfig``, and two with an access device in series (1T1R).

    ``series_resistance``: ``series_ohms``. ``transistor``: ``gate_overdrive_volts``, ``transconductance`` (A/V^2) and
    ``channel_length_modulation`` (1/V). Both hold a ``memristor`` section of their own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    law: Literal["ohmic", "sinh", "rectifying", "series_resistance", "transistor"] = "ohmic"
    alpha: Positive | None = None
    forward_alpha: Positive | None = None
    reverse_alpha: NonNegative | None = None
    series_ohms: NonNegative | None = None
    gate_overdrive_volts: Positive | None = None
    transconductance: Positive | None = None
    channel_length_modulation: NonNegative | None = None
    memristor: MemristorConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_parameters(cls, section: Any) -> Any:
        return with_defaults(section, DEFAULTS)

    @model_serializer(mode="wrap")
    def _without_others(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}

    def cell(self) -> CellLaw:
        """The law."""
        memristor = OhmicCell() if self.memristor is None else self.memristor.build()
        if self.series_ohms is not None:
            return SeriesResistanceCell(self.series_ohms, memristor)
        if self.gate_overdrive_volts is not None:
            assert self.transconductance is not None
            assert self.channel_length_modulation is not None
            return TransistorCell(
                self.gate_overdrive_volts, self.transconductance, self.channel_length_modulation, memristor
            )
        return _memristor(self.alpha, self.forward_alpha, self.reverse_alpha)


def _memristor(alpha: float | None, forward: float | None, reverse: float | None) -> MemristorLaw:
    if alpha is not None:
        return SinhCell(alpha)
    if forward is not None:
        assert reverse is not None
        return RectifyingCell(forward, reverse)
    return OhmicCell()


def with_defaults(section: Any, defaults: Mapping[str, Mapping[str, Any]]) -> Any:
    """The section with the defaults of its law; ValueError for another law's parameters."""
    if not isinstance(section, Mapping) or section.get("law", "ohmic") not in tuple(defaults):
        return section
    law = section.get("law", "ohmic")
    foreign = {key for parameters in defaults.values() for key in parameters} - set(defaults[law])
    given = {key: value for key, value in section.items() if not (value is None and key in foreign)}
    for key in sorted(foreign & set(given)):
        own = ", ".join(defaults[law]) or "no parameters"
        raise ValueError(f"{key}: not a parameter of the law {law}, which takes {own}")
    return {**defaults[law], **given}
