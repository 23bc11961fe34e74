"""What multi-channel voltmeters have in common: volts of several channels, one after another."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Unpack, final

import numpy as np

from drivers.errors import ProtocolError
from drivers.instrument import Options, Part, ScpiInstrument
from drivers.transport import Link
from substrate.arrays import FloatArray
from substrate.errors import InputError

OVERFLOW = 9.9e37


class DataLogger(ScpiInstrument):
    """Scans channels, named by slot and number (101: slot 1, channel 1).

    Args:
        resource: address.
        options: of ``Instrument``.
    """

    def __init__(self, resource: str | Link, **options: Unpack[Options]) -> None:
        super().__init__(resource, **options)
        self.__channels: tuple[int, ...] = ()
        self.__nplc = 0.0

    @abstractmethod
    def _set_up(self, channels: Sequence[int], nplc: float) -> Sequence[str]:
        """Commands that prepare a scan for volts."""

    @abstractmethod
    def _take(self, count: int, seconds: float) -> FloatArray:
        """One scan's readings."""

    @final
    def set_up_scan(self, channels: Sequence[int], nplc: float = 1.0) -> None:
        """Prepare to scan DC volts, with automatic ranges.

        Args:
            channels: in rising order, which is that of the readings.
            nplc: power-line cycles of each reading.

        Raises:
            InputError: no channels, doubled ones, or not in rising order (instruments sort them).
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        if not channels or list(channels) != sorted(set(channels)) or not all(101 <= one <= 999 for one in channels):
            raise InputError(f"channels: expected different ones of 101 to 999, rising, got {list(channels)}")
        if not 0.0005 <= nplc <= 200.0:
            raise InputError(f"nplc: expected 0.0005 to 200, got {nplc!r}")
        self._forget()
        self.configure(*self._set_up(channels, nplc))
        self.__channels = tuple(channels)
        self.__nplc = nplc

    @final
    def scan_volts(self) -> FloatArray:
        """Volts (channel) of one scan; NaN where a reading overflowed. Asked once: a scan takes time.

        Raises:
            InputError: ``set_up_scan`` was not called since the instrument was opened or reset.
            BenchError: the instrument cannot be reached, or reports an error.
        """
        if not self.__channels:
            raise InputError("scan: call set_up_scan() first")
        # At 50 Hz, with a zero reading and a relay for each.
        seconds = 2.0 * self.session.seconds + len(self.__channels) * (2.0 * self.__nplc / 50.0 + 0.1)
        with self.link.lock:
            found = self._take(len(self.__channels), seconds)
        if len(found) != len(self.__channels):
            self.check_errors("a scan")
            raise ProtocolError(
                f"{self.link.address}: a scan: expected {len(self.__channels)} readings, got {len(found)}"
            )
        return np.where(np.abs(found) >= OVERFLOW, np.nan, found)

    @final
    def _safe_steps(self) -> Sequence[Callable[[], None]]:
        """It drives nothing."""
        return ()

    @final
    def _parts(self) -> Mapping[str, Part]:
        return {}

    @final
    def _forget(self) -> None:
        self.__channels = ()
        self.__nplc = 0.0


def listed(channels: Sequence[int]) -> str:
    """``(@101,102)``."""
    return f"(@{','.join(map(str, channels))})"
