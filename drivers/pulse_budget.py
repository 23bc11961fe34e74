"""How many pulses cells have had, and may have: for as long as a device lives, where a ledger is kept.

A ledger is a JSON file, ``{"format": 1, "device": "...", "pulses": {array: counts by cell}}``. It is read and replaced
as a whole at every write to cells, under a lock, before the pulses go out: a crash at any moment may leave pulses
counted that were not given, and never the other way round; runs and scripts that share a device share its file.
"""

import json
import os
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from substrate.arrays import IntArray
from substrate.errors import CapabilityError, InputError, RunFileError
from substrate.experiment.runlock import RunLock

FORMAT: Final = 1
PATIENCE_SECONDS: Final = 5.0
"""For another process that counts pulses of its own."""


@final
class PulseBudget:
    """Pulses of each cell of an array.

    Args:
        name: of the array, in the ledger and in messages.
        shape: of its cells.
        most: pulses that a cell may be given.
        ledger: file that keeps the counts of all arrays of a device over all runs; None: this object alone counts.

    Attributes:
        most: as given.
    """

    def __init__(self, name: str, shape: tuple[int, ...], most: int, ledger: str | Path | None = None) -> None:
        self.most = most
        self._name, self._shape = name, shape
        self._path = None if ledger is None else Path(ledger)
        self._device = ""
        self._given: IntArray = np.zeros(shape, dtype=np.int64)

    @property
    def given(self) -> IntArray:
        """Pulses so far, of each cell; what was counted and then lost on the way is among them.

        Raises:
            InputError: a ledger that cannot be read, or is of another device.
        """
        return self._given.copy() if self._path is None else self._counts(self._read(self._path), self._path)

    @property
    def kept(self) -> bool:
        """Whether the counts outlive this object."""
        return self._path is not None

    def open(self, device: str = "") -> None:
        """Look whether pulses can be counted, and remember whose they are.

        Args:
            device: what the device calls itself, where it does; a ledger is of one device.

        Raises:
            InputError: the ledger cannot be written, is locked, damaged, or of another device or shape.
        """
        self._device = device
        self._count(np.zeros(self._shape, dtype=np.int64))

    def spend(self, counts: IntArray) -> None:
        """Count pulses, which may then be given.

        Args:
            counts: of each cell, not negative.

        Raises:
            CapabilityError: they are beyond the budget; names the first cell. Nothing was counted.
            InputError: as ``open``.
        """
        self._count(counts)

    def check(self, counts: IntArray) -> None:
        """That so many pulses of each cell are left, without counting them.

        Raises:
            CapabilityError: they are beyond the budget; names the first cell.
        """
        self._left(self.given, counts)

    def _left(self, given: IntArray, counts: IntArray) -> None:
        beyond = np.argwhere((counts > 0) & (given + counts > self.most))
        if len(beyond):
            cell = tuple(int(index) for index in beyond[0])
            where = "" if self._path is None else f" (counted in {self._path})"
            raise CapabilityError(
                f"write: {int(counts[cell])} pulses for the cell at {cell} of {self._name}, which has had "
                f"{int(given[cell])}{where}, are beyond pulses_per_cell = {self.most}"
            )

    def _count(self, counts: IntArray) -> None:
        if self._path is None:
            self._left(self._given, counts)
            self._given += counts
            return
        try:
            lock = RunLock(self._path, PATIENCE_SECONDS)
        except RunFileError as error:
            raise InputError(f"pulse_ledger: {error}") from error
        with lock:
            kept = self._read(self._path)
            given = self._counts(kept, self._path)
            self._left(given, counts)
            pulses = {**kept["pulses"], self._name: (given + counts).tolist()}
            self._write(self._path, {"format": FORMAT, "device": kept["device"] or self._device, "pulses": pulses})

    def _read(self, path: Path) -> dict[str, Any]:
        """The whole ledger; an empty one where there is no file yet."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"device": "", "pulses": {}}
        except (OSError, ValueError) as error:
            raise InputError(f"pulse_ledger: {path} cannot be read: {error}") from error
        if not isinstance(kept, dict) or kept.get("format") != FORMAT or not isinstance(kept.get("pulses"), dict):
            raise InputError(f"pulse_ledger: {path} is no ledger of pulses of format {FORMAT}")
        device = str(kept.get("device", ""))
        if self._device and device and device != self._device:
            raise InputError(
                f"pulse_ledger: {path} is of the device {device!r}, this one is {self._device!r}; expected a file for "
                "each device"
            )
        return {"device": device, "pulses": kept["pulses"]}

    def _counts(self, kept: dict[str, Any], path: Path) -> IntArray:
        if self._name not in kept["pulses"]:
            return np.zeros(self._shape, dtype=np.int64)
        try:
            found = np.asarray(kept["pulses"][self._name])
        except ValueError:
            found = np.zeros(0)
        if found.shape != self._shape or found.dtype != np.int64 or np.any(found < 0):
            raise InputError(
                f"pulse_ledger: {path} does not hold whole numbers of the shape {self._shape} for {self._name}; "
                "expected a file for each device"
            )
        return found

    def _write(self, path: Path, kept: dict[str, Any]) -> None:
        """Replace the file as a whole, on the disk before this returns."""
        temporary = path.with_name(path.name + ".new")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(kept, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise InputError(f"pulse_ledger: {path} cannot be written, so no pulses are given: {error}") from error
