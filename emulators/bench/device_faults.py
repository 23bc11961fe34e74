"""Faults of the device itself: stuck cells, lost pulses, read disturb, drift, and a step in temperature.

``stuck_cell``: the rule's ``cell`` takes no pulses. ``lost_pulse``: what pulses would have moved stays where it is, all
cells alike, once per count. ``read_disturb``: each stretch of time that an instrument spends moves every cell by the
fraction ``value`` of its way to the upper bound. ``drift``: all conductances are ``1 + value`` times what they were, as
long as the rule stands. ``temperature``: likewise, by ``1 + value`` (kelvin) times the device's coefficient
``conductance_per_kelvin``.
"""

from functools import partial
from typing import final

import numpy as np

from emulators.bench.clock import SimulatedClock
from emulators.bench.faults import Faults
from emulators.bench.plant import Plant
from substrate.arrays import IntArray


@final
class DeviceFaults:
    """Lets the rules of a bench act on its device.

    Args:
        plant: the device.
        faults: the rules.
        clock: the bench's.
        conductance_per_kelvin: relative change of the cells' conductances.
    """

    def __init__(self, plant: Plant, faults: Faults, clock: SimulatedClock, conductance_per_kelvin: float) -> None:
        self._plant, self._faults, self._clock = plant, faults, clock
        self._per_kelvin = conductance_per_kelvin
        self._factor = 1.0
        for array in plant.arrays:
            array.spoil = partial(self._spoiled, array.name)
        faults.listen(self._changed)
        clock.listen(self._elapsed)

    def _spoiled(self, name: str, counts: IntArray) -> IntArray:
        for rule in self._faults.active("", "stuck_cell"):
            if rule.cell is not None and rule.cell[0] == name:
                row, column = rule.cell[1:]
                if 0 <= row < counts.shape[0] and 0 <= column < counts.shape[1]:
                    counts[row, column] = 0
        if counts.any() and self._faults.strike("", b"", ("lost_pulse",), self._clock.seconds):
            counts[...] = 0
        return counts

    def _changed(self) -> None:
        drift = np.prod([1.0 + rule.value for rule in self._faults.active("", "drift")])
        warmer = np.prod([1.0 + self._per_kelvin * rule.value for rule in self._faults.active("", "temperature")])
        factor = max(float(drift * warmer), 0.0)
        if factor != self._factor:
            self._factor = factor
            self._plant.scale(factor)

    def _elapsed(self, start: float, end: float) -> None:
        for rule in self._faults.active("", "read_disturb"):
            if 0.0 < rule.value <= 1.0:
                self._plant.disturb(rule.value)
