"""1T1R cells: a memristor in series with an access device, a plain resistance or a transistor.

The node between the two carries no other current, so memristor law(u) = access law(v - u) is solved for the memristor's
voltage u, cell by cell; the slopes combine as in series.
"""

from dataclasses import dataclass, field
from typing import final

import numpy as np

from emulators.memristors.cell_law import CellLaw, FloatArray, MemristorLaw, require, require_memristor
from emulators.memristors.ohmic import OhmicCell


@final
@dataclass(frozen=True)
class SeriesResistanceCell(CellLaw):
    """A memristor behind an access device that is fully on: ``series_resistance`` ohms, >= 0.

    Raises InputError for another resistance.
    """

    series_resistance: float = 1e3
    memristor: MemristorLaw = field(default_factory=OhmicCell)

    def __post_init__(self) -> None:
        require(self, "series_resistance")
        require_memristor(self, self.memristor)

    def linear_conductances(self, conductances: FloatArray) -> FloatArray | None:
        """Return g/(1 + g R) of an ohmic memristor, None for another."""
        if any(self.memristor.exponents):
            return None
        return conductances / (1.0 + conductances * self.series_resistance)

    def evaluate(self, voltages: FloatArray, conductances: FloatArray, current: FloatArray, slope: FloatArray) -> None:
        """Fill current and slope (see the base class)."""
        from emulators.nodal.laws import series_cells

        linear = self.linear_conductances(conductances)
        if linear is not None:
            slope[...] = linear
            np.multiply(linear, voltages, out=current)
            return
        series_cells(
            voltages.ravel(),
            conductances.ravel(),
            *self.memristor.exponents,
            self.series_resistance,
            0.0,
            0.0,
            0.0,
            current.ravel(),
            slope.ravel(),
        )


@final
@dataclass(frozen=True)
class TransistorCell(CellLaw):
    """A memristor behind an n-channel transistor by the square law (Shichman & Hodges 1968; SPICE level 1).

    With x the voltage across the channel, V = ``gate_overdrive_volts`` (gate to source, less threshold) and k =
    ``transconductance`` (A/V^2): i = k (V - x/2) x (1 + lambda x) up to x = V, k V^2/2 (1 + lambda x) beyond, lambda
    = ``channel_length_modulation`` (1/V). The gate is taken to be driven relative to whichever end is the source, so
    the channel is symmetric; body effect is left out. Raises InputError unless V, k > 0 and lambda >= 0.
    """

    gate_overdrive_volts: float = 1.0
    transconductance: float = 1e-3
    channel_length_modulation: float = 0.02
    memristor: MemristorLaw = field(default_factory=OhmicCell)

    def __post_init__(self) -> None:
        require(self, "gate_overdrive_volts", positive=True)
        require(self, "transconductance", positive=True)
        require(self, "channel_length_modulation")
        require_memristor(self, self.memristor)

    def linear_conductances(self, conductances: FloatArray) -> FloatArray | None:
        """Return None: the law is curved."""
        del conductances
        return None

    def evaluate(self, voltages: FloatArray, conductances: FloatArray, current: FloatArray, slope: FloatArray) -> None:
        """Fill current and slope (see the base class)."""
        from emulators.nodal.laws import series_cells

        series_cells(
            voltages.ravel(),
            conductances.ravel(),
            *self.memristor.exponents,
            0.0,
            self.gate_overdrive_volts,
            self.transconductance,
            self.channel_length_modulation,
            current.ravel(),
            slope.ravel(),
        )
