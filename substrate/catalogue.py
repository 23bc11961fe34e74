"""Published memristors by name, as a backend offers them: what they are, their figures, their pulse curves."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import final


@final
@dataclass(frozen=True)
class DevicePreset:
    """A published device; its ``name`` goes into an experiment file as ``update: {preset: NAME}``.

    Attributes:
        name: in experiment files.
        title: for people.
        law: the update law's name.
        window_siemens: (lowest, highest) conductance, the default of ``cells.window_siemens`` with this preset.
        window_note: where the window comes from.
        source: the paper.
        doi: its identifier.
        failing_fraction: fraction of devices measured not to switch; ``cells.stuck`` says how many there are.
    """

    name: str
    title: str
    law: str
    window_siemens: tuple[float, float]
    window_note: str
    source: str
    doi: str
    failing_fraction: float


@final
@dataclass(frozen=True)
class PulseFigures:
    """What the pulse curve of a preset comes to.

    Attributes:
        step_up_siemens, step_down_siemens: mean change by one pulse at mid window; 0 down where cells are reset.
        pulses_up, pulses_down: pulses through 95 % of the mean device's range.
        asymmetry: mean over the range of |up - down|/(up + down): 0 symmetric, 1 one-sided.
        symmetry_point_siemens: where steps up and down are equal; None where there is no single such point.
    """

    step_up_siemens: float
    step_down_siemens: float
    pulses_up: int
    pulses_down: int
    asymmetry: float
    symmetry_point_siemens: float | None


class DeviceCatalogue(ABC):
    """The presets of a backend. Names that are not there raise InputError that lists those that are."""

    @abstractmethod
    def presets(self) -> tuple[DevicePreset, ...]:
        """All of them."""

    @abstractmethod
    def preset(self, name: str) -> DevicePreset:
        """The one of this name."""

    @abstractmethod
    def figures(self, name: str) -> PulseFigures:
        """Figures of its pulse curve."""

    @abstractmethod
    def plot(self, name: str, path: Path) -> None:
        """Draw its pulse curve to a file, of the format that the suffix names.

        Raises:
            InputError: the file cannot be written.
        """
