"""The rectifying cell: an asymmetric I-V, i = g (exp(a v) - exp(-b v))/(a + b).

A barrier that the field lowers by a share a/(a + b) of the voltage in one direction and b/(a + b) in the other (the
Butler-Volmer form, also that of an asymmetric tunnel or Schottky barrier). a = b is the sinh cell with
alpha = a; b = 0 is Shockley's diode with saturation current g/a.
"""

from dataclasses import dataclass
from typing import final

from emulators.memristors.cell_law import FloatArray, MemristorLaw, require


@final
@dataclass(frozen=True)
class RectifyingCell(MemristorLaw):
    """i = g (exp(a v) - exp(-b v))/(a + b), a = ``forward_alpha`` > 0 and b = ``reverse_alpha`` >= 0 in 1/V.

    Raises InputError for other parameters.
    """

    forward_alpha: float = 4.0
    reverse_alpha: float = 1.0

    def __post_init__(self) -> None:
        require(self, "forward_alpha", positive=True)
        require(self, "reverse_alpha")

    def linear_conductances(self, conductances: FloatArray) -> FloatArray | None:
        """Return None: the law is curved."""
        del conductances
        return None

    @property
    def exponents(self) -> tuple[float, float]:
        """(forward_alpha, reverse_alpha)."""
        return self.forward_alpha, self.reverse_alpha

    def evaluate(self, voltages: FloatArray, conductances: FloatArray, current: FloatArray, slope: FloatArray) -> None:
        """Fill current and slope (see the base class)."""
        from emulators.nodal.laws import exponential_cells

        exponential_cells(
            voltages.ravel(),
            conductances.ravel(),
            self.forward_alpha,
            self.reverse_alpha,
            current.ravel(),
            slope.ravel(),
        )
