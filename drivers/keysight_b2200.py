"""Keysight B2200A and B2201A switch matrices: 14 inputs (rows), 12 outputs a card (columns).

Commands: B2200 User's Guide, chapter 5. All cards count as one (``ROUT:FUNC ACON``): a crosspoint is ``0 input
output`` in 5 digits.
"""

from collections.abc import Sequence
from typing import Unpack, final

from drivers.instrument import Options
from drivers.setting import Choice
from drivers.switch_matrix import SwitchMatrix
from drivers.transport import Link
from substrate.errors import InputError

INPUTS, CARD_OUTPUTS = 14, 12


@final
class KeysightB2200(SwitchMatrix):
    """A matrix.

    Args:
        resource: address.
        cards: that are built in, 1 to 4.
        options: of ``Instrument``.
    """

    model_pattern = r"\bB220[01]A\b"
    rule = Choice("CONN:RULE 0,{value}", {"free": "FREE", "single": "SRO"}, query="CONN:RULE? 0")
    sequence = Choice(
        "CONN:SEQ 0,{value}", {"none": "NSEQ", "break_first": "BBM", "make_first": "MBBR"}, query="CONN:SEQ? 0"
    )

    def __init__(self, resource: str | Link, cards: int = 4, **options: Unpack[Options]) -> None:
        super().__init__(resource, **options)
        if not 1 <= cards <= 4:
            raise InputError(f"cards: expected 1 to 4, got {cards!r}")
        self._cards = cards

    @property
    def shape(self) -> tuple[int, int]:
        """Inputs and outputs."""
        return INPUTS, CARD_OUTPUTS * self._cards

    def _name(self, row: int, column: int) -> str:
        return f"0{row:02d}{column:02d}"

    def _place(self, name: str) -> tuple[int, int]:
        if len(name) != 5 or not name.isdigit():
            raise ValueError(f"expected 5 digits, got {name!r}")
        card, row, column = int(name[0]), int(name[1:3]), int(name[3:5])
        return row, column + CARD_OUTPUTS * (max(card, 1) - 1)

    def _verb(self, close: bool) -> str:
        return "CLOS" if close else "OPEN"

    def _open_all(self) -> Sequence[str]:
        return ("OPEN:CARD 0",)

    def _closed(self) -> set[tuple[int, int]]:
        return self.session.ask("CLOS:CARD? 0", self._places)
