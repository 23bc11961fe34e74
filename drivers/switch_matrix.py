"""What switch matrices have in common: crosspoints of inputs and outputs, or of rows and columns."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import final

from drivers.errors import InstrumentError
from drivers.instrument import Part, ScpiInstrument
from substrate.errors import InputError

MOST_CHANNELS = 40
"""Of one command."""


class SwitchMatrix(ScpiInstrument):
    """Relays that join a row to a column; both count from 1."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @abstractmethod
    def _name(self, row: int, column: int) -> str:
        """Of a crosspoint, as commands want it."""

    @abstractmethod
    def _place(self, name: str) -> tuple[int, int]:
        """Row and column of a name; ValueError for what is none."""

    @abstractmethod
    def _verb(self, close: bool) -> str:
        """Header of the command that closes or opens a list."""

    @abstractmethod
    def _open_all(self) -> Sequence[str]:
        """Commands that open every relay."""

    @abstractmethod
    def _closed(self) -> set[tuple[int, int]]:
        """All closed crosspoints."""

    @final
    def close_crosspoints(self, crosspoints: Iterable[tuple[int, int]]) -> None:
        """Close relays; the others stay as they are.

        Raises:
            InputError: a crosspoint that does not exist.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        self._switch(True, crosspoints)

    @final
    def open_crosspoints(self, crosspoints: Iterable[tuple[int, int]]) -> None:
        """Open relays; the others stay as they are.

        Raises:
            InputError, BenchError: as ``close_crosspoints``.
        """
        self._switch(False, crosspoints)

    @final
    def open_all(self) -> None:
        """Open every relay.

        Raises:
            BenchError: the instrument cannot be reached.
        """
        self.configure(*self._open_all())

    @final
    def connect(self, crosspoints: Iterable[tuple[int, int]]) -> None:
        """Close these relays and no others, and ask the instrument whether it is so: a rule that was left on from
        earlier opens some of them again. What it tells is how relays are driven; no instrument sees their contacts.

        Raises:
            InputError: as ``close_crosspoints``.
            InstrumentError: other relays are closed; all were opened then.
            BenchError: it was not accepted, or the instrument cannot be reached.
        """
        wanted = set(crosspoints)
        with self.link.lock:
            self.open_all()
            self.close_crosspoints(sorted(wanted))
            found = self.closed()
            if found != wanted:
                self.open_all()
                raise InstrumentError(
                    f"{self.link.address}: relays (row, column) that did not close: {sorted(wanted - found)}; that are "
                    f"closed beside: {sorted(found - wanted)}; all were opened"
                )

    @final
    def closed(self) -> set[tuple[int, int]]:
        """All closed crosspoints (row, column).

        Raises:
            BenchError: the instrument cannot be reached.
        """
        return self._closed()

    @final
    def _switch(self, close: bool, crosspoints: Iterable[tuple[int, int]]) -> None:
        names = [self._checked(row, column) for row, column in crosspoints]
        parts = [names[start : start + MOST_CHANNELS] for start in range(0, len(names), MOST_CHANNELS)]
        self.configure(*(f"{self._verb(close)} (@{','.join(part)})" for part in parts))

    @final
    def _checked(self, row: int, column: int) -> str:
        rows, columns = self.shape
        if not (1 <= row <= rows and 1 <= column <= columns):
            raise InputError(f"crosspoint: expected rows 1 to {rows}, columns 1 to {columns}, got ({row}, {column})")
        return self._name(row, column)

    @final
    def _places(self, answer: str) -> set[tuple[int, int]]:
        """Of a channel list ``(@a,b)``."""
        names = answer.strip().removeprefix("(@").removesuffix(")")
        return {self._place(name.strip()) for name in names.split(",") if name.strip()}

    @final
    def _safe_steps(self) -> Sequence[Callable[[], None]]:
        return [self.open_all]

    @final
    def _parts(self) -> Mapping[str, Part]:
        return {}

    @final
    def _forget(self) -> None:
        """Nothing is remembered."""
