"""What writing does to cells beyond their update law: half-select disturb, forming, endurance; each only if asked for.

Forming: an unformed cell conducts ``pristine_siemens`` and takes no write. The first write to it is preceded by a pulse
of ``pulse_volts``; at or above the cell's own threshold a filament forms, as strong as the compliance current lets it
become: g = compliance/0.4 V, the universal relation of set currents and resistances (Ielmini, IEEE Trans. Electron
Devices 58, 4309 (2011)), within the cell's bounds. The write goes on from there. Below the threshold it fails.

Endurance: a cell stays where it is after a number of pulses drawn for it from a Weibull distribution, the law of
failures by the weakest link. A write outright counts as one pulse.

Disturb (``disturb.py``): shares of steps add up, and move a cell by a step when they make one.
"""

import itertools
from typing import final

import numpy as np

from emulators.config import CellsConfig, TilesConfig, WiresConfig
from emulators.memristors.devices import Devices
from emulators.memristors.disturb import doses
from emulators.memristors.updates import PulsedLaw
from substrate.arrays import BoolArray, FloatArray, IntArray
from substrate.contract import Snapshot, WriteReport
from substrate.errors import InputError


@final
class Stress:
    """Writes to the devices of an array, and their side effects.

    Args:
        devices: (polarity, row, column).
        cells: which effects there are.
        wires: of every physical array.
        tiles: size of the physical arrays; a pulse disturbs only cells of its own.
        rng: a child of it draws thresholds and lives, where there are any.

    Raises:
        InputError: disturb without pulses.
    """

    def __init__(
        self,
        devices: Devices,
        cells: CellsConfig,
        wires: WiresConfig,
        tiles: TilesConfig | None,
        rng: np.random.Generator,
    ) -> None:
        self._devices = devices
        self._any_stuck = bool(devices.stuck.any())
        self._none: BoolArray = np.zeros(devices.shape, dtype=np.bool_)
        self._none.setflags(write=False)
        self._disturb, self._forming, self._endurance = cells.disturb, cells.forming, cells.endurance
        self._wires = wires
        shape = devices.shape
        self._tile = (tiles.rows, tiles.columns) if tiles else shape[1:]
        law = devices.update
        if self._disturb and not isinstance(law, PulsedLaw):
            raise InputError(f"cells.disturb: expected an update law with pulses, got {law.law}")
        self._downwards = not (isinstance(law, PulsedLaw) and law.one_sided)
        self.formed: BoolArray = np.ones(shape, dtype=np.bool_)
        self.forming_pulses: IntArray = np.zeros(shape, dtype=np.int64)
        self.received: IntArray = np.zeros(shape, dtype=np.int64)
        self._dose: FloatArray = np.zeros(shape)
        if self._forming or self._endurance:
            threshold_rng, life_rng = rng.spawn(2)
        if self._forming:
            self.formed = devices.stuck.copy()
            spread = self._forming.threshold_spread * threshold_rng.standard_normal(shape)
            self._thresholds = self._forming.threshold_volts * (1.0 + spread)
        if self._endurance:
            lives = self._endurance.characteristic_pulses * life_rng.weibull(self._endurance.weibull_shape, shape)
            self._lives = np.floor(np.minimum(lives, 2.0**62)).astype(np.int64)

    @property
    def conductances(self) -> FloatArray:
        """Conductances now, (polarity, row, column) siemens."""
        now = self._devices.conductances
        return np.where(self.formed, now, self._forming.pristine_siemens) if self._forming else now

    @property
    def forms(self) -> bool:
        """Whether cells leave the factory unformed."""
        return self._forming is not None

    @property
    def worn(self) -> BoolArray:
        """Cells that endured all the pulses they could, (polarity, row, column)."""
        return self.received >= self._lives if self._endurance else np.zeros_like(self.formed)

    def pulse(self, counts: IntArray) -> WriteReport:
        """Give pulses (polarity, row, column), negative ones downwards."""
        stuck = self._devices.stuck
        forming = self._form(counts != 0)
        taken = np.where(self.formed & ~stuck, counts, 0)
        if self._endurance:
            left = self._lives - self.received
            taken = np.clip(taken, -left, left)
            self.received += np.abs(taken)
        self._devices.pulse(self._with_disturb(taken) if self._disturb else taken)
        return WriteReport(forming + int(np.abs(taken).sum()), np.asarray(taken != counts))

    def reset(self, mask: BoolArray) -> WriteReport:
        """Reset cells (polarity, row, column), one pulse each; it disturbs no others."""
        able = mask & self.formed & ~self.worn & ~self._devices.stuck
        self._devices.reset(able)
        if self._endurance:
            self.received += able
        return WriteReport(int(able.sum()), np.asarray(mask & ~able))

    def set(self, target_siemens: FloatArray) -> WriteReport:
        """Write conductances (polarity, row, column) outright."""
        if not (self._forming or self._endurance):
            self._devices.set(target_siemens)
            stuck = self._devices.stuck
            failed = stuck & (self.conductances != target_siemens) if self._any_stuck else self._none
            return WriteReport(0, failed)
        asked = self.conductances != target_siemens
        given = self._form(asked)
        able = self.formed & ~self.worn
        self._devices.set(target_siemens, able)
        if self._endurance:
            self.received += asked & able & ~self._devices.stuck
        return WriteReport(given, np.asarray(~(able & ~self._devices.stuck) & (self.conductances != target_siemens)))

    def snapshot(self) -> Snapshot:
        """Everything that changes."""
        return {name: values.copy() for name, values in self._changing().items()}

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back."""
        for name, values in self._changing().items():
            values[...] = snapshot[name]

    def _changing(self) -> dict[str, BoolArray | IntArray | FloatArray]:
        return {
            "formed": self.formed,
            "forming_pulses": self.forming_pulses,
            "received": self.received,
            "dose": self._dose,
        }

    def _form(self, asked: BoolArray) -> int:
        """Try to form unformed cells; pulses given."""
        if not self._forming:
            return 0
        pulsed = asked & ~self.formed
        self.forming_pulses += pulsed
        now = pulsed & (self._forming.pulse_volts >= self._thresholds)
        if now.any():
            self._devices.initialise(np.full(asked.shape, self._forming.formed_siemens), now)
            self.formed |= now
        return int(pulsed.sum())

    def _with_disturb(self, counts: IntArray) -> IntArray:
        """Pulses as each cell feels them, and what others' add."""
        assert self._disturb is not None
        siemens = self.conductances
        felt = counts.astype(np.float64)
        moved = np.zeros_like(felt)
        _, rows, columns = counts.shape
        tall, wide = self._tile
        for polarity, top, left in itertools.product(range(len(counts)), range(0, rows, tall), range(0, columns, wide)):
            tile = (polarity, slice(top, top + tall), slice(left, left + wide))
            if counts[tile].any():
                moved[tile], own = doses(counts[tile], siemens[tile], self._disturb, self._wires)
                felt[tile] *= own
        dose = np.where(self.formed & ~self.worn, self._dose + moved + (felt - counts), 0.0)
        if not self._downwards:
            dose = np.maximum(dose, -np.abs(counts))
        whole = np.trunc(dose)
        self._dose[...] = dose - whole
        return np.asarray(counts + whole.astype(np.int64))
