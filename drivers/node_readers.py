"""What reads nodes between instruments, in one form: states that stand still, and whole periods of a tone.

Data loggers only read what stands still. What follows a tone needs the reference, a sine whose rising zero is the
crest of the nudge: oscilloscopes and digitizers start their records by it (``record_readers.py``), lock-ins take it as
their reference.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, final

import numpy as np

from drivers.data_logger import DataLogger
from drivers.lock_in import LockIn
from substrate.arrays import FloatArray
from substrate.errors import CapabilityError
from substrate.tones import SamplingPlan

PERIODS_A_TIME_CONSTANT: Final = 10.0
"""Of a lock-in's filter: four stages then leave 6e-8 of what lies a whole harmonic away (|1 + 20 pi i|^-4)."""

SETTLED_TIME_CONSTANTS: Final = 16.0
"""Until 1e-4 of a step is left behind four stages: 1 - P(4, 16), P the incomplete gamma function."""

APART_TIME_CONSTANTS: Final = 8.0
"""Between readings whose noise has nothing in common: the filter's memory, to 4 % of its impulse response."""

AUX_READINGS: Final = 8
AUX_FULL_SCALE_VOLTS: Final = 10.0


class NodeReader(ABC):
    """An instrument that reads some nodes.

    Args:
        places: of the nodes among those of the network, in the order of the instrument's readings.

    Attributes:
        places: as given.
    """

    def __init__(self, places: Sequence[int]) -> None:
        self.places = list(places)

    @abstractmethod
    def prepare(self, range_volts: float) -> None:
        """Bring the instrument, newly opened, to what it needs.

        Args:
            range_volts: full scale, peak to peak, of those that do not find it themselves.

        Raises:
            InputError: the instrument has no such range.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """

    @abstractmethod
    def still(self) -> tuple[FloatArray, bool]:
        """Volts (place,) of a state that stands still, and whether any was beyond the range.

        Raises:
            BenchError: the instrument cannot be reached.
        """


class ToneReader(NodeReader):
    """A reader that follows the reference."""

    @abstractmethod
    def tune(self, frequency_hz: float, periods: int, points: int) -> None:
        """Prepare for so many periods of the reference, in records of so many points or more.

        Raises:
            CapabilityError: a frequency that the instrument does not reach.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """

    @abstractmethod
    def tone(self, plan: SamplingPlan, free_volts: FloatArray) -> tuple[FloatArray, bool]:
        """Volts (sample, place) of a record as the plan samples it, its first sample at the reference's rising zero.

        Args:
            plan: whose frequency and periods the reader is tuned to.
            free_volts: (place,) without the nudge.

        Returns:
            The volts, and whether any was beyond the range.

        Raises:
            CapabilityError: fewer points than the plan has samples.
            BenchError: the instrument cannot be reached.
        """


@final
class LoggerReader(NodeReader):
    """A data logger.

    Args:
        logger: the instrument.
        channels: in rising order.
        places: of ``NodeReader``.
    """

    def __init__(self, logger: DataLogger, channels: Sequence[int], places: Sequence[int]) -> None:
        super().__init__(places)
        self._logger, self._channels = logger, tuple(channels)

    def prepare(self, range_volts: float) -> None:
        """It finds its ranges itself."""
        self._logger.set_up_scan(self._channels)

    def still(self) -> tuple[FloatArray, bool]:
        """By one scan."""
        volts = self._logger.scan_volts()
        over = ~np.isfinite(volts)
        return np.where(over, 0.0, volts), bool(over.any())


@final
class LockInReader(ToneReader):
    """A lock-in at one node: input A for tones, auxiliary input 1, wired to the same node, for what stands still.

    Under a tone the harmonics are read one after another, as many as the plan resolves, and once for every period of
    the plan, so that its periods differ by what the readings do. The mean is not read: that of a quasi-static response
    follows from the free state and the even harmonics, q_0 = A_0 - A_2 + A_4 - ... (``substrate.demodulation``).

    Args:
        lock_in: the instrument; the reference has to be at its reference input.
        places: of ``NodeReader``, one.
    """

    def __init__(self, lock_in: LockIn, places: Sequence[int]) -> None:
        super().__init__(places)
        self._lock_in = lock_in
        self._tuned_hz = 0.0
        self._seconds = 0.0

    def prepare(self, range_volts: float) -> None:
        """See ``LockIn.follow``."""
        self._tuned_hz = 0.0
        self._lock_in.follow(range_volts)

    def still(self) -> tuple[FloatArray, bool]:
        """The mean of some readings of the auxiliary input."""
        volts = np.array([self._lock_in.aux_in_volts(1) for _ in range(AUX_READINGS)])
        return volts.mean(keepdims=True), bool(np.any(np.abs(volts) >= AUX_FULL_SCALE_VOLTS))

    def tune(self, frequency_hz: float, periods: int, points: int) -> None:
        """A filter that keeps harmonics apart."""
        if frequency_hz != self._tuned_hz:
            self._tuned_hz = 0.0
            self._seconds = self._lock_in.narrow(PERIODS_A_TIME_CONSTANT / frequency_hz)
            self._tuned_hz = frequency_hz

    def tone(self, plan: SamplingPlan, free_volts: FloatArray) -> tuple[FloatArray, bool]:
        """By its harmonics."""
        count = plan.highest_harmonic
        if count * plan.frequency_hz > self._lock_in.highest_hz:
            raise CapabilityError(
                f"nudge.frequency_hz: a lock-in reads up to {self._lock_in.highest_hz:g} Hz, harmonic {count} of "
                f"{plan.frequency_hz:g} Hz is beyond"
            )
        self._lock_in.overloaded()  # what was before is of no account
        readings = np.empty((plan.periods, count), dtype=np.complex128)
        # The lowest comes last: the others would be beyond the instrument at a higher frequency.
        for harmonic in range(count, 0, -1):
            self._lock_in.choose(harmonic)
            for period in range(plan.periods):
                time.sleep(self._seconds * (APART_TIME_CONSTANTS if period else SETTLED_TIME_CONSTANTS))
                readings[period, harmonic - 1] = self._lock_in.read()
        # Against the sine sin(k phi) a cosine is Y, a sine X, both as rms.
        cosines, sines = np.sqrt(2.0) * readings.imag, np.sqrt(2.0) * readings.real
        orders = np.arange(1, count + 1)
        signs = np.where(orders % 2 == 0, np.where(orders % 4 == 0, -1.0, 1.0), 0.0)
        means = free_volts[0] + cosines @ signs
        angles = np.outer(orders, plan.phases())
        volts = means[:, None] + cosines @ np.cos(angles) + sines @ np.sin(angles)
        return volts.reshape(-1, 1), self._lock_in.overloaded()
