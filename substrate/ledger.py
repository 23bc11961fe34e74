"""What running a device has cost: joules and seconds by part and activity, pulses by array."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from substrate.arrays import FloatArray
from substrate.errors import InputError

ACTIVITIES = ("settle", "read", "write", "wait")
"""What a device spends energy and time on, in the order of the tables' columns."""


@final
class Ledger:
    """Running totals, only ever added to.

    Arrays work side by side, so the seconds of the parts do not add up to the time that passed: that is kept apart.

    Args:
        arrays: names of the arrays.
        others: names of further parts that draw power.
    """

    def __init__(self, arrays: Sequence[str], others: Sequence[str] = ()) -> None:
        self.arrays = tuple(arrays)
        self.parts = (*arrays, *others)
        self._joules = np.zeros((len(self.parts), len(ACTIVITIES)))
        self._seconds = np.zeros((len(self.parts), len(ACTIVITIES)))
        self._elapsed = np.zeros(len(ACTIVITIES))
        self._pulses = np.zeros(len(self.arrays), dtype=np.int64)

    @property
    def joules(self) -> FloatArray:
        """(part, activity) joules, a copy."""
        return self._joules.copy()

    @property
    def seconds(self) -> FloatArray:
        """(part, activity) seconds that each part was busy, a copy."""
        return self._seconds.copy()

    @property
    def elapsed_seconds(self) -> FloatArray:
        """(activity,) seconds that passed on the device's clock, a copy."""
        return self._elapsed.copy()

    @property
    def pulses(self) -> dict[str, int]:
        """Programming pulses that moving cells took, by array."""
        return {name: int(count) for name, count in zip(self.arrays, self._pulses, strict=True)}

    @property
    def energy_joules(self) -> float:
        """All joules."""
        return float(self._joules.sum())

    @property
    def device_seconds(self) -> float:
        """All seconds on the device's clock."""
        return float(self._elapsed.sum())

    def book(self, part: str, activity: str, joules: float, seconds: float, pulses: int = 0) -> None:
        """Add what one part spent.

        Raises:
            InputError: an unknown part or activity, an amount that is negative or not finite.
        """
        column = self._column(activity)
        if part not in self.parts:
            raise InputError(f"part: expected one of {', '.join(self.parts)}, got {part!r}")
        row = self.parts.index(part)
        for name, amount in (("joules", joules), ("seconds", seconds), ("pulses", pulses)):
            if not (math.isfinite(amount) and amount >= 0):
                raise InputError(f"{name}: expected a finite number >= 0, got {amount!r}")
        if pulses:
            if row >= len(self.arrays):
                raise InputError(f"pulses: {part} is no array")
            self._pulses[row] += pulses
        self._joules[row, column] += joules
        self._seconds[row, column] += seconds

    def book_arrays(self, activity: str, joules: FloatArray, seconds: float) -> None:
        """Add what all arrays spent side by side: (array,) joules, and the seconds that each was busy.

        Raises:
            InputError: an unknown activity, an amount that is negative or not finite.
        """
        column = self._column(activity)
        if joules.shape != (len(self.arrays),) or not (math.isfinite(joules.sum()) and joules.min(initial=0.0) >= 0):
            raise InputError(f"joules: expected {len(self.arrays)} finite numbers >= 0, got {joules}")
        if not (math.isfinite(seconds) and seconds >= 0):
            raise InputError(f"seconds: expected a finite number >= 0, got {seconds!r}")
        self._joules[: len(joules), column] += joules
        self._seconds[: len(joules), column] += seconds

    def elapse(self, activity: str, seconds: float) -> None:
        """Let the device's clock run.

        Raises:
            InputError: an unknown activity, seconds that are negative or not finite.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise InputError(f"seconds: expected a finite number >= 0, got {seconds!r}")
        self._elapsed[self._column(activity)] += seconds

    def table(self) -> dict[str, Any]:
        """All totals, as a row of a log."""
        return {
            "energy_joules": self.energy_joules,
            "device_seconds": self.device_seconds,
            "joules": self.joules,
            "seconds": self.seconds,
            "elapsed_seconds": self.elapsed_seconds,
            "pulses": self._pulses.copy(),
        }

    def snapshot(self) -> dict[str, Any]:
        """All totals."""
        return {
            "joules": self.joules,
            "seconds": self.seconds,
            "elapsed_seconds": self.elapsed_seconds,
            "pulses": self._pulses.copy(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Put totals back."""
        self._joules[...] = snapshot["joules"]
        self._seconds[...] = snapshot["seconds"]
        self._elapsed[...] = snapshot["elapsed_seconds"]
        self._pulses[...] = snapshot["pulses"]

    def _column(self, activity: str) -> int:
        if activity not in ACTIVITIES:
            raise InputError(f"activity: expected one of {', '.join(ACTIVITIES)}, got {activity!r}")
        return ACTIVITIES.index(activity)
