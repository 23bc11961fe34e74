"""How cells behind a switch matrix are read and written, what that puts out, and how long it takes."""

from typing import Final, Literal, final

from drivers.bias_schemes import Scheme
from drivers.pulsed_array import PulsedSection
from substrate.outlay import Demand, Pace
from substrate.sections import Positive

EXCHANGE_SECONDS: Final = 0.01
RELAY_SECONDS: Final = 0.02
READING_SECONDS: Final = 0.05
"""Rules of thumb for the estimates of a dry run: a setting and the look into the error queue after it; relays
opened and others closed; one reading by each of two source meters, at a power-line cycle."""


@final
class PulseConfig(PulsedSection):
    """Reading and writing of cells.

    Attributes:
        read_volts: across a cell that is read alone; whole arrays are read as the device's limits allow.
        read_amperes: compliance while reading.
        pulse_seconds: their width; a Keithley 2400 has none below 10 ms.
        pulse_amperes: compliance of a pulse.
        read_scheme: of unselected lines while reading; floating ones let sneak currents through.
        write_scheme: while writing.
    """

    read_volts: Positive = 0.1
    read_amperes: Positive = 1.0e-4
    pulse_seconds: Positive = 1.0e-2
    pulse_amperes: Positive = 1.0e-3
    read_scheme: Literal["floating", "grounded"] = "grounded"
    write_scheme: Scheme = "half"

    def demands(self, limit_amperes: float) -> tuple[Demand, ...]:
        """What is put out beside the voltage of pulses, by source meters that are limited to a current."""
        return (
            Demand("reading of a cell", self.read_volts, "V"),
            Demand("compliance of a reading", self.read_amperes, "A", limit_amperes),
            Demand("compliance of a pulse", self.pulse_amperes, "A", limit_amperes),
        )

    def pace(self, shape: tuple[int, int]) -> Pace:
        """How long operations of an array of (word lines, bit lines) take."""
        reading = RELAY_SECONDS + READING_SECONDS + 2.0 * EXCHANGE_SECONDS
        return Pace(
            # Every level by itself, on one sensed line after another.
            product_seconds=shape[0] * shape[1] * reading,
            cell_seconds=reading,
            # With the reading after the pulses.
            write_seconds=RELAY_SECONDS + READING_SECONDS + 6.0 * EXCHANGE_SECONDS,
            # The pauses are as long as the pulses.
            pulse_seconds=2.0 * self.pulse_seconds,
        )
