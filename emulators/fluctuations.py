"""What time and temperature do to the conductances of an array, between what was programmed and what a circuit sees."""

from typing import final

import numpy as np

from emulators.config import NoiseConfig, TemperatureConfig
from emulators.noise import Flicker, Telegraph
from substrate.arrays import FloatArray
from substrate.contract import Snapshot

BOLTZMANN_ELECTRONVOLTS = 8.617333262e-5
"""Electronvolts per kelvin (exact to the digits given, SI 2019)."""


@final
class CellFluctuations:
    """Temperature coefficient, random telegraph noise and 1/f noise of all cells of an array.

    g_seen = g (1 + alpha (T - T0)) (1 - a s(t)) exp(n(t)), with s in {0, 1} the cell's trap and n its 1/f noise, of
    one-sided density S_g/g^2 = K/f (F. N. Hooge, Phys. Lett. A 29, 139 (1969)); the exponential keeps g positive. They
    are sampled when the circuit is used, and hold still until it is used again.

    Args:
        shape: of the array.
        noise: which of them there are.
        temperature: of the cells.
        rng: everything is drawn from it.

    Attributes:
        further_factor: on all conductances, put on from outside.
    """

    def __init__(
        self, shape: tuple[int, ...], noise: NoiseConfig, temperature: TemperatureConfig, rng: np.random.Generator
    ) -> None:
        self._rng = rng
        places = int(np.prod(shape))
        self._constant = temperature.factor
        self.further_factor = 1.0
        telegraph, flicker = noise.telegraph, noise.cell_flicker
        self._telegraph = (
            Telegraph(
                places,
                telegraph.fraction,
                telegraph.amplitude,
                telegraph.amplitude_spread,
                telegraph.capture_hz,
                telegraph.emission_hz,
                telegraph.rate_decades,
                rng,
            )
            if telegraph.fraction and telegraph.amplitude
            else None
        )
        self._flicker = (
            Flicker(places, flicker.relative_at_one_hertz**2, flicker.lowest_hz, flicker.highest_hz, rng)
            if flicker.relative_at_one_hertz
            else None
        )

    @property
    def moving(self) -> bool:
        """Whether time changes anything."""
        return self._telegraph is not None or self._flicker is not None

    @property
    def altering(self) -> bool:
        """Whether conductances are seen otherwise than they were programmed."""
        return self.moving or self._constant * self.further_factor != 1.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if self._telegraph is not None:
            self._telegraph.advance(seconds)
        if self._flicker is not None:
            self._flicker.advance(seconds)

    def seen(self, siemens: FloatArray) -> FloatArray:
        """Conductances as the circuit sees them, for programmed ones; the same object where there is nothing to do."""
        if not self.altering:
            return siemens
        seen = siemens * (self._constant * self.further_factor)
        if self._telegraph is not None:
            seen = seen * self._telegraph.factor.reshape(seen.shape)
        if self._flicker is not None:
            seen = seen * np.exp(self._flicker.now).reshape(seen.shape)
        return seen

    def snapshot(self) -> Snapshot:
        """Everything that changes."""
        return {
            "generator": self._rng.bit_generator.state,
            "telegraph": self._telegraph.snapshot() if self._telegraph is not None else None,
            "flicker": self._flicker.snapshot() if self._flicker is not None else None,
        }

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back."""
        self._rng.bit_generator.state = snapshot["generator"]
        if self._telegraph is not None:
            self._telegraph.restore(snapshot["telegraph"])
        if self._flicker is not None:
            self._flicker.restore(snapshot["flicker"])


def arrhenius(activation_electronvolts: float, kelvin: float, reference_kelvin: float) -> float:
    """How much faster a thermally activated process goes than at the reference: exp(E/k (1/T0 - 1/T)).

    S. Arrhenius, Z. Phys. Chem. 4, 226 (1889); for the retention of RRAM, Z. Wei et al., IEDM 2011, 31.4.
    """
    return float(np.exp(activation_electronvolts / BOLTZMANN_ELECTRONVOLTS * (1.0 / reference_kelvin - 1.0 / kelvin)))
