"""The ``substrate`` section of an experiment file, as the emulator reads it: every non-ideality has its own key."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, final

from pydantic import Field, field_validator, model_validator

from emulators.memristors.cell_config import CellLawConfig
from substrate.sections import NonNegative, Positive, Section

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


FORMED_VOLTS = 0.4
"""Conductance after a transition that a current limited, times this voltage, is the current (Ielmini 2011)."""


class DisturbConfig(Section):
    """What a pulse on one cell does to the others of its array (``memristors.disturb``).

    ``scheme``: what unselected lines are held at; ``wire_loss``: voltages, the selected cell's too, are what wires and
    drivers leave of them.
    """

    scheme: Literal["half", "third", "grounded", "floating"] = "half"
    write_volts: Positive = 1.5
    volts_per_decade: Positive = 0.1
    wire_loss: bool = False


class FormingConfig(Section):
    """Cells leave the factory unformed; the first write to a cell forms it, by one pulse (``memristors.stress``)."""

    pristine_siemens: Positive = 1.0e-8
    threshold_volts: Positive = 2.5
    threshold_spread: NonNegative = 0.05
    pulse_volts: Positive = 3.0
    compliance_amperes: Positive = 2.0e-5

    @property
    def formed_siemens(self) -> float:
        """Of a filament that formed under the compliance (Ielmini 2011)."""
        return self.compliance_amperes / FORMED_VOLTS


class EnduranceConfig(Section):
    """Pulses that a cell bears: Weibull, ``characteristic_pulses`` is when 63 % have failed."""

    characteristic_pulses: Positive = 1.0e6
    weibull_shape: Positive = 1.5


class CellKindConfig(CellLawConfig):
    """A kind of cells: their law (see ``CellLawConfig``), their window and their flaws.

    ``spread``: relative standard deviation of what forming leaves, and of nothing else.
    """

    window_siemens: tuple[NonNegative, Positive] = (1.0e-6, 1.0e-4)
    spread: NonNegative = 0.0
    stuck: Fraction = 0.0
    disturb: DisturbConfig | None = None
    forming: FormingConfig | None = None
    endurance: EnduranceConfig | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.window_siemens
        if not low < high:
            raise ValueError(f"window_siemens: expected [lowest, highest], got [{low:g}, {high:g}]")
        if self.forming and not low <= self.forming.formed_siemens <= high:
            raise ValueError(
                f"forming.compliance_amperes: leaves {self.forming.formed_siemens:g} S, outside the window "
                f"[{low:g}, {high:g}] S"
            )
        return self


@final
class CellsConfig(CellKindConfig):
    """The cells, and how a pair of them stands for a weight."""

    unit_siemens: Positive = 2.5e-5


@final
class FeedbackCellsConfig(CellKindConfig):
    """The cells of feedback paths; the unit of their weights is that of all weights."""

    @model_validator(mode="before")
    @classmethod
    def _common_unit(cls, section: Any) -> Any:
        if isinstance(section, Mapping) and "unit_siemens" in section:
            raise ValueError(
                "unit_siemens: the currents of all arrays are weighed alike; expected none beside that of "
                "substrate.cells"
            )
        return section


class WiresConfig(Section):
    """Resistances of lines and terminations, and when the effective matrices are computed anew.

    ``refresh``: ``every_write``, a number of writes N, or a tolerance below 1: the relative change of the cells since
    the last time.
    """

    segment_ohms: NonNegative = 0.0
    source_ohms: NonNegative = 0.0
    sense_ohms: NonNegative = 0.0
    refresh: Literal["every_write"] | Positive = "every_write"

    @field_validator("refresh", mode="before")
    @classmethod
    def _writes_or_tolerance(cls, given: Any) -> Any:
        try:
            known = given == "every_write" or 0 < float(given) < 1 or (float(given) >= 1 and float(given).is_integer())
        except (TypeError, ValueError):
            known = False
        if not known:
            raise ValueError(f"expected every_write, a whole number of writes, or a tolerance below 1, got {given!r}")
        return given


class TilesConfig(Section):
    """Size of the physical arrays that a larger matrix is laid over, and how their partial sums are added.

    ``analog``: the tiles' column currents join in the neuron's node. ``digital``: each tile's current (of a
    differential pair of columns) goes through a converter of its own, and the numbers are added; an array that needs
    only one tile along the sum has nothing to add, and no converter. 0 bits is an ideal converter.
    """

    rows: Annotated[int, Field(ge=1)]
    columns: Annotated[int, Field(ge=1)]
    summation: Literal["analog", "digital"] = "analog"
    adc_bits: Annotated[int, Field(ge=0, le=24)] = 0
    adc_range_amperes: Positive = 1.0e-4


class NeuronsConfig(Section):
    """Amplifier neurons; spreads are standard deviations, offsets in activity units.

    In a resistive network, whose nodes have no amplifier of their own, offsets are those of the clamping diodes, and
    ``node_farads`` and ``line_farads`` charge through cells and diodes, which must be of Shockley's law; a
    ``time_constant_seconds`` only says up to which frequency the network counts as quasi-static.

    A summing node is slow by ``time_constant_seconds``, or by its capacitance ``node_farads`` and that of all lines
    that end in it, ``line_farads``, beside the resistance 1/``cells.unit_siemens``; an amplifier by its bandwidth
    (-3 dB), None for no delay. Each driven line has ``line_farads`` too, which its source charges
    (``emulators.ledger``). ``time_constant_spread`` is the standard deviation of the logarithm of each of these
    time constants from neuron to neuron.

    ``noise`` is the standard deviation, in activity units, of white noise on the summed input, drawn anew at every step
    of a network that moves in steps (``solver.relaxation: sweeps``).
    """

    volts_per_unit: Positive = 0.2
    gain_spread: NonNegative = 0.0
    offset_spread: NonNegative = 0.0
    saturation_spread: NonNegative = 0.0
    time_constant_seconds: NonNegative = 0.0
    node_farads: NonNegative = 0.0
    line_farads: NonNegative = 0.0
    amplifier_bandwidth_hz: Positive | None = None
    time_constant_spread: NonNegative = 0.0
    noise: NonNegative = 0.0

    @model_validator(mode="after")
    def _one_time_constant(self) -> "NeuronsConfig":
        farads = self.node_farads + self.line_farads
        if farads and self.time_constant_seconds:
            raise ValueError("time_constant_seconds: expected 0 beside node_farads or line_farads, which give it")
        if self.amplifier_bandwidth_hz is not None and not (farads or self.time_constant_seconds):
            raise ValueError("amplifier_bandwidth_hz: expected a time_constant_seconds or node_farads beside it")
        return self


class DiodesConfig(Section):
    """Diodes that clamp the hidden nodes of a resistive network: ideal, or of Shockley's law (``emulators.diodes``).

    ``knee_volts``: the clamps are at +knee and -knee, beyond a diode's own drop; 0 in the published networks.
    ``emission`` times ``thermal_volts`` (k T/q) is the slope of Shockley's law.
    """

    law: Literal["ideal", "shockley"] = "ideal"
    knee_volts: float = Field(default=0.0, allow_inf_nan=False)
    saturation_amperes: Positive = 1.0e-12
    emission: Positive = 1.0
    thermal_volts: Positive = 0.025865


class ConvertersConfig(Section):
    """Converters at the inputs and at the nodes; 0 bits is an ideal converter."""

    dac_bits: Annotated[int, Field(ge=0, le=24)] = 0
    dac_range_volts: Positive = 0.25
    adc_bits: Annotated[int, Field(ge=0, le=24)] = 0
    adc_range_volts: Positive = 0.25
    adc_noise_volts: NonNegative = 0.0


class LimitsConfig(Section):
    """What the device survives."""

    read_volts: Positive = 0.3
    write_volts: Positive = 2.0
    current_amperes: Positive = 1.0e-3


class FlickerConfig(Section):
    """1/f noise of a reading: S(f) = white^2 corner/f, as a converter's data sheet states it; 0 V/sqrt(Hz) is none.

    The white part itself is ``converters.adc_noise_volts``. From ``lowest_hz`` (flat below) to ``highest_hz``.
    """

    white_volts_per_root_hertz: NonNegative = 0.0
    corner_hz: Positive = 1.0e3
    lowest_hz: Positive = 0.1
    highest_hz: Positive = 1.0e5

    @model_validator(mode="after")
    def _ordered(self) -> "FlickerConfig":
        if not self.lowest_hz < self.highest_hz:
            raise ValueError(f"lowest_hz: expected less than highest_hz = {self.highest_hz:g}, got {self.lowest_hz:g}")
        return self


class CellFlickerConfig(Section):
    """1/f noise of each cell: S_g/g^2 = relative_at_one_hertz^2/f (Hooge 1969), seen by the settled state; 0: none."""

    relative_at_one_hertz: NonNegative = 0.0
    lowest_hz: Positive = 1.0e-2
    highest_hz: Positive = 1.0e3

    @model_validator(mode="after")
    def _ordered(self) -> "CellFlickerConfig":
        if not self.lowest_hz < self.highest_hz:
            raise ValueError(f"lowest_hz: expected less than highest_hz = {self.highest_hz:g}, got {self.lowest_hz:g}")
        return self


class TelegraphConfig(Section):
    """Random telegraph noise of a ``fraction`` of the cells, which the settled state sees; see ``noise.Telegraph``."""

    fraction: Fraction = 0.0
    amplitude: Fraction = 0.0
    amplitude_spread: NonNegative = 0.0
    capture_hz: Positive = 10.0
    emission_hz: Positive = 10.0
    rate_decades: NonNegative = 0.0


class WhiteConfig(Section):
    """White noise of currents in a stated bandwidth; 0 Hz is none.

    ``thermal``: 4 k T G of all conductances at a node or line, the amplifier's own feedback conductance included.
    ``shot``: 2 q F I of the currents, F = ``shot_fano``.
    """

    thermal_bandwidth_hz: NonNegative = 0.0
    shot_bandwidth_hz: NonNegative = 0.0
    shot_fano: NonNegative = 1.0


class MainsConfig(Section):
    """Pick-up of the mains on the readings of nodes; ``spread``: relative standard deviation from node to node."""

    volts: NonNegative = 0.0
    frequency_hz: Positive = 50.0
    spread: NonNegative = 0.0


class ReadDisturbConfig(Section):
    """What readings do to cells: each moves a cell by ``fraction_per_reading`` of its way to the state ``attractor``.

    Its form is that of the drift and saturation measured on HfO2 cells by Shim et al., IRPS 2020,
    doi:10.1109/irps45951.2020.9129252; ``attractor`` is a place in the window, -1 its lower and 1 its upper end.
    Settling counts as one reading of every cell, a record as one.
    """

    fraction_per_reading: Fraction = 0.0
    attractor: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] = 1.0


class NoiseConfig(Section):
    """Everything that fluctuates; each item is off by default."""

    white: WhiteConfig = WhiteConfig()
    reading_flicker: FlickerConfig = FlickerConfig()
    mains: MainsConfig = MainsConfig()
    cell_flicker: CellFlickerConfig = CellFlickerConfig()
    telegraph: TelegraphConfig = TelegraphConfig()
    read_disturb: ReadDisturbConfig = ReadDisturbConfig()


class TemperatureConfig(Section):
    """Temperature of the cells: g(T) = g (1 + conductance_per_kelvin (T - T0)); retention speeds up by Arrhenius' law.

    Positive coefficients are those of semiconducting (high resistance) states, negative ones metallic filaments
    (Fantini et al., IMW 2012; Walczyk et al., IEEE TED 58, 3124 (2011)). The activation energy of retention, about
    1..1.5 eV in HfO2, 0 switches the dependence off.
    """

    temperature_kelvin: Positive = 300.0
    reference_kelvin: Positive = 300.0
    conductance_per_kelvin: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    retention_activation_electronvolts: NonNegative = 0.0

    @property
    def factor(self) -> float:
        """Conductance relative to that at the reference temperature."""
        return 1.0 + self.conductance_per_kelvin * (self.temperature_kelvin - self.reference_kelvin)

    @model_validator(mode="after")
    def _positive(self) -> "TemperatureConfig":
        if not self.factor > 0:
            raise ValueError(
                f"conductance_per_kelvin: {self.conductance_per_kelvin:g} leaves no conductance at "
                f"{self.temperature_kelvin:g} K"
            )
        return self


class OperationConfig(Section):
    """How long operations last and at which voltages, for the device's clock and its ledger of energy.

    Attributes:
        settle_seconds: the network settles, before a reading and before a record.
        reading_seconds: one reading of all nodes, of one array, or of the cells of a word line.
        reading_volts: single cells are read at; by default ``limits.read_volts``.
        pulse_volts: amplitude of a programming pulse; by default ``cells.disturb.write_volts``, or without it
            ``limits.write_volts``.
        pulse_seconds: its width.
        pulses_at_once: ``cell``: one pulse after another; ``line``: the cells of a word line at the same time.
        unselected: what unselected lines are held at under a pulse: ``isolated`` (selectors keep their cells out of
            it), or ``half``, ``third``, ``grounded``, ``floating``, and then every cell of the array, or of the tile,
            takes its share of energy. By default that of ``cells.disturb.scheme``; without it cells are not disturbed,
            and isolated, as they are where the cells of a line are pulsed at once.
        neuron_watts: static power of each neuron, all the time.
    """

    settle_seconds: NonNegative = 1.0e-5
    reading_seconds: NonNegative = 1.0e-6
    reading_volts: Positive | None = None
    pulse_volts: Positive | None = None
    pulse_seconds: NonNegative = 1.0e-7
    pulses_at_once: Literal["cell", "line"] = "cell"
    unselected: Literal["isolated", "half", "third", "grounded", "floating"] | None = None
    neuron_watts: NonNegative = 0.0


class SweepsConfig(Section):
    """Relaxation by so many explicit steps, as published networks are trained.

    Of a resistive network a sweep is an exact update of the odd layers, then of the even ones, of ``time_constants`` 1.

    Attributes:
        free: of the free phase, which begins at rest.
        nudged: of a phase under a held nudge, which begins in the free state.
        time_constants: length of a step; 1 is the discrete map u <- W s + drive.
        tolerance: residual after the last step, activity units, up to which a state is called settled.
    """

    free: Annotated[int, Field(ge=1)] = 15
    nudged: Annotated[int, Field(ge=1)] = 15
    time_constants: Annotated[float, Field(gt=0, le=1)] = 1.0
    tolerance: Positive = 0.5


class SolverConfig(Section):
    """How the emulator solves its equations.

    Attributes:
        relaxation: how the free phase and held nudges are followed. ``equilibrium``: to the state that the dynamics
            reach. ``sweeps``: for so many steps, whether they get there or not; a sinusoidal nudge that the network
            keeps up with is held at the value of every sample in turn.
        sweeps: those steps.
        precision: of the arithmetic of steps.
        residual: of equilibria and periodic states, in activity units; of a transient, the error of a step.
        quasi_static: largest omega tau at which equilibria stand for the periodic state of a nudge. The in-phase error
            is of the order of its square; 0: never, which Richardson over frequency is judged with.
        steady_state: of a nudge. ``exact``: the periodic state itself. ``transient``: the nudge is switched on at its
            crest, in the free state, and the record begins ``settle_periods`` later, settled or not.
        settle_periods: periods that a transient is given to die out.
        settle_tolerance: samples whose last two periods in a transient differ by more, relative to their swing, are
            reported as unsettled, and so is a single period with none before it; None: none are. What
            ``nudge.settle_tolerance`` is for readings, noise and all, this is for the states themselves. Gradients
            leave such samples out as they do those of a lost branch.
    """

    relaxation: Literal["equilibrium", "sweeps"] = "equilibrium"
    sweeps: SweepsConfig = SweepsConfig()
    precision: Literal["float64", "float32"] = "float64"
    residual: Positive = 1.0e-10
    quasi_static: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    steady_state: Literal["exact", "transient"] = "exact"
    settle_periods: Annotated[int, Field(ge=0)] = 2
    settle_tolerance: Positive | None = 1.0e-3

    @model_validator(mode="after")
    def _precision_of_sweeps(self) -> "SolverConfig":
        if self.precision != "float64" and self.relaxation != "sweeps":
            raise ValueError(
                f"precision: {self.precision} is that of sweeps; expected float64 with relaxation: equilibrium"
            )
        return self


@final
class FeedbackPathsConfig(Section):
    """What feedback paths are made of: the arrays of all backward couplings, and the fast ones beside them.

    A section that is given stands, as a whole, for the one of the same name that all other arrays have: what it leaves
    out has its default. None: the other arrays' own. All else is common: tiles, noise, temperature, times and voltages.
    """

    cells: FeedbackCellsConfig | None = None
    update: dict[str, Any] | None = None
    wires: WiresConfig | None = None


class EmulatorConfig(Section):
    """The whole section."""

    backend: Literal["emulator"]
    cells: CellsConfig = CellsConfig()
    update: dict[str, Any] = Field(default_factory=lambda: {"law": "ideal"})
    wires: WiresConfig = WiresConfig()
    tiles: TilesConfig | None = None
    feedback_paths: FeedbackPathsConfig | None = None
    neurons: NeuronsConfig = NeuronsConfig()
    diodes: DiodesConfig | None = None
    converters: ConvertersConfig = ConvertersConfig()
    limits: LimitsConfig = LimitsConfig()
    solver: SolverConfig = SolverConfig()
    noise: NoiseConfig = NoiseConfig()
    temperature: TemperatureConfig = TemperatureConfig()
    operation: OperationConfig = OperationConfig()

    @model_validator(mode="after")
    def _noise_of_steps(self) -> "EmulatorConfig":
        if self.neurons.noise and self.solver.relaxation != "sweeps":
            raise ValueError("neurons.noise: is drawn at every step; expected 0 but with solver.relaxation: sweeps")
        return self

    @model_validator(mode="before")
    @classmethod
    def _window_of_preset(cls, section: Any) -> Any:
        """A preset brings its window, and a weight unit of a quarter of it, unless they are given."""
        if not isinstance(section, Mapping):
            return section
        cells, paths = section.get("cells", {}), section.get("feedback_paths")
        out = dict(section)
        window = _preset_window(section.get("update"))
        if window is not None and isinstance(cells, Mapping) and "window_siemens" not in cells:
            out["cells"] = {"window_siemens": window, "unit_siemens": 0.25 * (window[1] - window[0]), **cells}
        if not isinstance(paths, Mapping) or (paths.get("update") is None and paths.get("cells") is None):
            return out
        own, update = paths.get("cells"), paths.get("update")
        window = _preset_window(section.get("update") if update is None else update)
        if window is None:
            return out
        if own is None:
            # The common cells, with the window of another device.
            common = cells.model_dump() if isinstance(cells, CellsConfig) else cells
            apart = ("window_siemens", "unit_siemens")
            own = {key: value for key, value in common.items() if key not in apart} if common is not None else {}
        if isinstance(own, Mapping):
            out["feedback_paths"] = {**paths, "cells": {"window_siemens": window, **own}}
        return out

    @model_validator(mode="after")
    def _within_limits(self) -> "EmulatorConfig":
        if self.operation.unselected not in (None, "isolated") and self.operation.pulses_at_once == "line":
            raise ValueError(
                "operation.unselected: energy of half-selected cells is known for arrays pulsed cell by cell; "
                f"expected isolated with pulses_at_once: line, got {self.operation.unselected}"
            )
        own = self.feedback_paths.cells if self.feedback_paths else None
        for key, volts, limit in (
            ("operation.reading_volts", self.operation.reading_volts, self.limits.read_volts),
            ("operation.pulse_volts", self.operation.pulse_volts, self.limits.write_volts),
            *(
                (f"{where}cells.{key}", volts, self.limits.write_volts)
                for where, cells in (("", self.cells), ("feedback_paths.", own))
                if cells is not None
                for key, volts in (
                    ("forming.pulse_volts", cells.forming.pulse_volts if cells.forming else None),
                    ("disturb.write_volts", cells.disturb.write_volts if cells.disturb else None),
                )
            ),
        ):
            if volts is not None and volts > limit:
                raise ValueError(f"{key}: {volts:g} V is beyond the limit of {limit:g} V")
        return self

    def of(self, *, backward: bool) -> "EmulatorConfig":
        """The device as its arrays of one direction have it: without ``feedback_paths``, put in place or left out."""
        paths = self.feedback_paths
        if paths is None:
            return self
        own: dict[str, Any] = {"feedback_paths": None}
        if backward and paths.cells is not None:
            cells = {name: getattr(paths.cells, name) for name in type(paths.cells).model_fields}
            own["cells"] = CellsConfig.model_construct(**cells, unit_siemens=self.cells.unit_siemens)
        if backward and paths.update is not None:
            own["update"] = paths.update
        if backward and paths.wires is not None:
            own["wires"] = paths.wires
        return self.model_copy(update=own)

    @property
    def pulse_volts(self) -> float:
        """Amplitude of a programming pulse."""
        disturb = self.cells.disturb
        return self.operation.pulse_volts or (disturb.write_volts if disturb else self.limits.write_volts)

    @property
    def unselected(self) -> Literal["isolated", "half", "third", "grounded", "floating"]:
        """What unselected lines are held at under a pulse."""
        if self.operation.unselected is not None:
            return self.operation.unselected
        disturb = self.cells.disturb
        return disturb.scheme if disturb and self.operation.pulses_at_once == "cell" else "isolated"


def _preset_window(update: Any) -> tuple[float, float] | None:
    """Of the preset that an update section names; None where it names none."""
    if not (isinstance(update, Mapping) and isinstance(update.get("preset"), str)):
        return None
    # Imported on first use; unknown names are refused where the law is built.
    from emulators.memristors.presets import PRESETS

    found = PRESETS.get(update["preset"].replace("-", "_"))
    return None if found is None else found.window_siemens
