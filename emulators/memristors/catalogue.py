"""The presets as ``substrate devices`` lists and draws them."""

from pathlib import Path
from typing import final

import numpy as np

from substrate.catalogue import DeviceCatalogue, DevicePreset, PulseFigures

SEED = 0
"""Of the devices drawn for a curve: the same picture every time."""


@final
class PresetCatalogue(DeviceCatalogue):
    """The devices of ``memristors.presets``, imported on first use."""

    def presets(self) -> tuple[DevicePreset, ...]:
        """All of them."""
        from emulators.memristors.presets import PRESETS

        return tuple(self.preset(name) for name in PRESETS)

    def preset(self, name: str) -> DevicePreset:
        """The one of this name."""
        from emulators.memristors.presets import preset

        found = preset(name)
        return DevicePreset(
            found.name,
            found.title,
            found.update.law,
            found.window_siemens,
            found.window_note,
            found.source,
            found.doi,
            found.failing_fraction,
        )

    def figures(self, name: str) -> PulseFigures:
        """Figures of its pulse curve."""
        from emulators.memristors.curves import pulse_curve
        from emulators.memristors.presets import preset

        found = preset(name)
        curve = pulse_curve(found.update, found.window_siemens, devices=1, rng=np.random.default_rng(SEED))
        return PulseFigures(
            *curve.nominal_step,
            pulses_up=int(curve.pulses[curve.turn]),
            pulses_down=int(curve.pulses[-1] - curve.pulses[curve.turn]),
            asymmetry=curve.asymmetry,
            symmetry_point_siemens=curve.symmetry_point_siemens,
        )

    def plot(self, name: str, path: Path) -> None:
        """Draw its pulse curve."""
        from emulators.memristors.curves import plot_curve, pulse_curve
        from emulators.memristors.presets import preset

        found = preset(name)
        curve = pulse_curve(found.update, found.window_siemens, rng=np.random.default_rng(SEED))
        plot_curve(curve, path, title=found.title, source=f"{found.source}, doi:{found.doi}")
