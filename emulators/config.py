"""The ``substrate`` section of an experiment file, as the emulator reads it: every non-ideality has its own key."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CellsConfig(_Section):
    """The cells and how a pair of them stands for a weight."""

    law: Literal["ohmic"] = "ohmic"
    window_siemens: tuple[Positive, Positive] = (1.0e-6, 1.0e-4)
    unit_siemens: Positive = 2.5e-5
    spread: NonNegative = 0.0
    stuck: Fraction = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> "CellsConfig":
        low, high = self.window_siemens
        if not low < high:
            raise ValueError(f"window_siemens: expected [lowest, highest], got [{low:g}, {high:g}]")
        return self


class WiresConfig(_Section):
    """Resistances of lines and terminations, and when the effective matrices are computed anew.

    ``refresh``: ``every_write``, a number of writes N, or a tolerance below 1: the relative change of the cells since
    the last time.
    """

    segment_ohms: NonNegative = 0.0
    source_ohms: NonNegative = 0.0
    sense_ohms: NonNegative = 0.0
    refresh: Literal["every_write"] | Positive = "every_write"


class NeuronsConfig(_Section):
    """Amplifier neurons; spreads are standard deviations, offsets in activity units."""

    volts_per_unit: Positive = 0.2
    gain_spread: NonNegative = 0.0
    offset_spread: NonNegative = 0.0
    saturation_spread: NonNegative = 0.0
    time_constant_seconds: NonNegative = 0.0


class ConvertersConfig(_Section):
    """Converters at the inputs and at the nodes; 0 bits is an ideal converter."""

    dac_bits: Annotated[int, Field(ge=0, le=24)] = 0
    dac_range_volts: Positive = 0.25
    adc_bits: Annotated[int, Field(ge=0, le=24)] = 0
    adc_range_volts: Positive = 0.25
    adc_noise_volts: NonNegative = 0.0


class LimitsConfig(_Section):
    """What the device survives."""

    read_volts: Positive = 0.3
    write_volts: Positive = 2.0
    current_amperes: Positive = 1.0e-3


class SolverConfig(_Section):
    """How exactly the emulator solves its equilibria, in activity units."""

    residual: Positive = 1.0e-10


class EmulatorConfig(_Section):
    """The whole section."""

    backend: Literal["emulator"]
    cells: CellsConfig = CellsConfig()
    update: dict[str, Any] = Field(default_factory=lambda: {"law": "ideal"})
    wires: WiresConfig = WiresConfig()
    neurons: NeuronsConfig = NeuronsConfig()
    converters: ConvertersConfig = ConvertersConfig()
    limits: LimitsConfig = LimitsConfig()
    solver: SolverConfig = SolverConfig()
