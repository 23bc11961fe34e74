"""The sinh cell: i = g sinh(alpha v)/alpha, the usual fit of filamentary and trap-assisted conduction in oxide RRAM.

alpha is about 2 to 5 per volt for oxide RRAM; the form is that of thermally assisted hopping (Mott & Gurney, Electronic
Processes in Ionic Crystals, 1940), i ~ sinh(q d v / 2 k T L).
"""

from dataclasses import dataclass
from typing import final

from emulators.memristors.cell_law import FloatArray, MemristorLaw, broadcast, require


@final
@dataclass(frozen=True)
class SinhCell(MemristorLaw):
    """i = g sinh(alpha v)/alpha; ``alpha`` in 1/V, > 0. Raises InputError otherwise."""

    alpha: float = 3.0

    def __post_init__(self) -> None:
        require(self, "alpha", positive=True)

    @property
    def linear(self) -> bool:
        """False."""
        return False

    @property
    def exponents(self) -> tuple[float, float]:
        """(alpha, alpha)."""
        return self.alpha, self.alpha

    def current_and_slope(self, voltages: FloatArray, conductances: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return g sinh(alpha v)/alpha and g cosh(alpha v) (see the base class)."""
        from emulators.nodal.laws import exponential_cells

        return exponential_cells(*broadcast(voltages, conductances), self.alpha, self.alpha)  # type: ignore[no-any-return]
