"""What a device may do and still pass: noise, resolution and spreads, stated by whoever runs the kit."""

from dataclasses import dataclass
from typing import final

import numpy as np

SIGMAS = 6.0
"""Noise allowed, in standard deviations: of 1e6 comparisons fewer than one in a hundred runs goes beyond by chance."""


@final
@dataclass(frozen=True)
class Tolerance:
    """How a device departs from an exact one; the defaults are those of an exact one.

    Attributes:
        noise_volts: standard deviation of one reading of a node.
        resolution_volts: largest error of a reading that does not average out (half a converter step).
        residual: largest residual of a record that is called settled, activity units.
        response_relative: relative error of a measured linear response, beyond noise and resolution.
        nudge_units: amplitude of test nudges in activity units; larger on a noisy device.
        periods: periods of a test record; more on a noisy device.
        cells_siemens: largest error when a cell is read or set.
        products_relative: error of currents, relative to the largest of a reading (noise and converters).
        wires_relative: how far currents may lie from the cells' own (wires, terminations), relative to the largest.
        reciprocal_relative: how far forward and backward transfer may differ, relative to the largest; infinite
            where terminations are unequal.
        step_relative: error allowed of the mean step of a pulse against ``capabilities.step_siemens``.
        test_pulses: pulses that a cell is given in one test.
        reports_stuck_cells: whether the device knows, and reports, which cells did not move.
    """

    noise_volts: float = 0.0
    resolution_volts: float = 1e-10
    residual: float = 1e-8
    response_relative: float = 1e-5
    nudge_units: float = 0.05
    periods: int = 1
    cells_siemens: float = 1e-15
    products_relative: float = 1e-9
    wires_relative: float = 1e-9
    reciprocal_relative: float = 1e-9
    step_relative: float = 0.2
    test_pulses: int = 8
    reports_stuck_cells: bool = True

    def reading_volts(self, readings: int = 1) -> float:
        """Largest error of a mean of ``readings``."""
        return float(SIGMAS * self.noise_volts / np.sqrt(readings) + self.resolution_volts)

    def harmonic_volts(self, samples: int, weights: tuple[int, ...] = (1,)) -> float:
        """Largest error of a weighted sum of harmonics of a record: each has the variance 2 sigma^2/samples."""
        spread = float(np.sqrt(sum(weight**2 for weight in weights)))
        return float((SIGMAS * self.noise_volts * np.sqrt(2.0 / samples) + 2.0 * self.resolution_volts) * spread)
