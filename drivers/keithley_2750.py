"""Keithley 2750 Multimeter/Switch System with matrix cards such as the 7709 (6 rows, 8 columns a slot).

Commands: 2750 User's Manual (2750-900-01), section 2. Channel ``scc``: slot, and (row - 1) columns + column. Slots
follow one another in columns: column 9 is the first of slot 2.
"""

from collections.abc import Sequence
from typing import Unpack, final

from drivers.instrument import Options
from drivers.switch_matrix import SwitchMatrix
from drivers.transport import Link
from substrate.errors import InputError


@final
class Keithley2750(SwitchMatrix):
    """A matrix.

    Args:
        resource: address.
        rows, columns: of a card.
        slots: with such a card, 1 to 5, from the first on.
        options: of ``Instrument``.
    """

    model_pattern = r"\bMODEL 275[05]"

    def __init__(
        self, resource: str | Link, rows: int = 6, columns: int = 8, slots: int = 1, **options: Unpack[Options]
    ) -> None:
        super().__init__(resource, **options)
        if not (rows >= 1 and columns >= 1 and rows * columns <= 99 and 1 <= slots <= 5):
            raise InputError(f"slots: expected 1 to 5 of up to 99 channels, got {slots} of {rows} x {columns}")
        self._rows, self._columns, self._slots = rows, columns, slots

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._rows, self._columns * self._slots

    def _name(self, row: int, column: int) -> str:
        slot, at = divmod(column - 1, self._columns)
        return f"{slot + 1}{(row - 1) * self._columns + at + 1:02d}"

    def _place(self, name: str) -> tuple[int, int]:
        if len(name) != 3 or not name.isdigit():
            raise ValueError(f"expected 3 digits, got {name!r}")
        row, at = divmod(int(name[1:]) - 1, self._columns)
        return row + 1, (int(name[0]) - 1) * self._columns + at + 1

    def _verb(self, close: bool) -> str:
        return "ROUT:MULT:CLOS" if close else "ROUT:MULT:OPEN"

    def _open_all(self) -> Sequence[str]:
        return ("ROUT:OPEN:ALL",)

    def _closed(self) -> set[tuple[int, int]]:
        return self.session.ask("ROUT:CLOS?", self._places)
