"""1T1R cells: a memristor in series with an access device, a plain resistance or a transistor.

The node between the two carries no other current, so memristor law(u) = access law(v - u) is solved for the memristor's
voltage u, cell by cell; the slopes combine as in series.
"""

from dataclasses import dataclass, field
from typing import final

from emulators.memristors.cell_law import CellLaw, FloatArray, MemristorLaw, broadcast, require
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

    @property
    def linear(self) -> bool:
        """Whether the memristor is."""
        return self.memristor.linear

    def current_and_slope(self, voltages: FloatArray, conductances: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return current and slope (see the base class)."""
        from emulators.nodal.laws import series_cells

        v, g = broadcast(voltages, conductances)
        if self.memristor.linear:
            slope = g / (1.0 + g * self.series_resistance)
            return slope * v, slope
        return series_cells(v, g, *self.memristor.exponents, self.series_resistance, 0.0, 0.0, 0.0)  # type: ignore[no-any-return]


@final
@dataclass(frozen=True)
class TransistorCell(CellLaw):
    """A memristor behind an n-channel transistor by the square law (Shichman & Hodges 1968; SPICE level 1).

    With x the voltage across the channel, V = ``gate_overdrive_volts`` (gate to source, less threshold) and
    k = ``transconductance`` (A/V^2): i = k (V - x/2) x (1 + lambda x) up to x = V, k V^2/2 (1 + lambda x) beyond, lambda =
    ``channel_length_modulation`` (1/V). The gate is taken to be driven relative to whichever end is the source, so the
    channel is symmetric; body effect is left out. Raises InputError unless V, k > 0 and lambda >= 0.
    """

    gate_overdrive_volts: float = 1.0
    transconductance: float = 1e-3
    channel_length_modulation: float = 0.02
    memristor: MemristorLaw = field(default_factory=OhmicCell)

    def __post_init__(self) -> None:
        require(self, "gate_overdrive_volts", positive=True)
        require(self, "transconductance", positive=True)
        require(self, "channel_length_modulation")

    @property
    def linear(self) -> bool:
        """False."""
        return False

    def current_and_slope(self, voltages: FloatArray, conductances: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return current and slope (see the base class)."""
        from emulators.nodal.laws import series_cells

        return series_cells(  # type: ignore[no-any-return]
            *broadcast(voltages, conductances),
            *self.memristor.exponents,
            0.0,
            self.gate_overdrive_volts,
            self.transconductance,
            self.channel_length_modulation,
        )
