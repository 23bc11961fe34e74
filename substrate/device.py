"""A device of either seam: it is described, opened, and left in its safe state on every way out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Self, final

from substrate.capabilities import Capabilities
from substrate.errors import InputError, RunInterrupted
from substrate.interrupts import interrupts_held_back
from substrate.origin import require_ours
from substrate.outlay import Outlay
from substrate.services import Instruments


class Device(ABC):
    """What both seams share: opening, the safe state on every way out, and capabilities.

    Constructing describes a device, entering its context opens it. A closed one is asked for nothing but its
    description and its safe state.

    Attributes:
        instruments: what it is made of; None where it is one whole.
        outlay: what it puts out and how long it takes, known while it is closed; None where it does not say.
        remedies: by name of a capability that the device lacks, how it could be had.
        unreachable: why a device that is described cannot be opened as things stand; None: nothing is known to be in
            the way.
    """

    instruments: Instruments | None = None
    outlay: Outlay | None = None
    remedies: Mapping[str, str] = MappingProxyType({})
    unreachable: InputError | None = None
    _is_open = False

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the device can do and survive."""

    @abstractmethod
    def _open(self) -> None:
        """Open connections; on return the device is in its safe state."""

    @abstractmethod
    def _safe_state(self) -> None:
        """Outputs at zero, matrix open. Must be possible at any moment, and more than once."""

    @abstractmethod
    def _close(self) -> None:
        """Release connections."""

    @final
    def __enter__(self) -> Self:
        require_ours(type(self).__module__)
        if self.unreachable is not None:
            raise self.unreachable
        try:
            self._open()
        except BaseException as error:
            # Opened halfway is still powered: the way out is the same.
            self.__exit__(type(error), error, error.__traceback__)
            raise
        self._is_open = True
        return self

    @final
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An impatient second Ctrl-C must not leave outputs on.
        with interrupts_held_back():
            self._is_open = False
            try:
                try:
                    self._safe_state()
                finally:
                    self._close()
            except Exception as second:
                # What ended the use is the cause, and seldom is there a safe state to be had after a lost connection;
                # a stop that was asked for is no cause.
                if error is None or isinstance(error, RunInterrupted | KeyboardInterrupt):
                    raise
                error.add_note(f"the safe state was not reached either: {second}")

    @final
    def safe_state(self) -> None:
        """Bring the device to its safe state now."""
        with interrupts_held_back():
            self._safe_state()

    @final
    def _require_open(self) -> None:
        """Raise InputError unless the device is open."""
        if not self._is_open:
            raise InputError(f"{type(self).__name__} is not open: open it first, by using it as a context manager")
