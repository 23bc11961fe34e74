"""The sinh cell: i = g sinh(alpha v)/alpha, the usual fit of filamentary and trap-assisted conduction in oxide RRAM.

alpha is about 2 to 5 per volt for oxide RRAM; the form is that of thermally assisted hopping (Mott & Gurney, Electronic
Processes in Ionic Crystals, 1940), i ~ sinh(q d v / 2 k T L).
"""

from dataclasses import dataclass
from typing import final

from emulators.memristors.cell_law import FloatArray, MemristorLaw, require


@final
@dataclass(frozen=True)
class SinhCell(MemristorLaw):
    """i = g sinh(alpha v)/alpha; ``alpha`` in 1/V, > 0. Raises InputError otherwise."""

    alpha: float = 3.0

    def __post_init__(self) -> None:
        require(self, "alpha", positive=True)

    def linear_conductances(self, conductances: FloatArray) -> FloatArray | None:
        """Return None: the law is curved."""
        del conductances
        return None

    @property
    def exponents(self) -> tuple[float, float]:
        """(alpha, alpha)."""
        return self.alpha, self.alpha

    def evaluate(self, voltages: FloatArray, conductances: FloatArray, current: FloatArray, slope: FloatArray) -> None:
        """Fill current and slope (see the base class)."""
        from emulators.nodal.laws import exponential_cells

        exponential_cells(
            voltages.ravel(), conductances.ravel(), self.alpha, self.alpha, current.ravel(), slope.ravel()
        )
