"""What stands at the other end of a connection: an instrument, or an adapter with several behind it."""

from abc import ABC, abstractmethod
from typing import ClassVar, final

from emulators.bench.instruments.base import Instrument


class Conversation(ABC):
    """The state of one connection."""

    spared: ClassVar[bool] = False
    """Whether faults leave it alone."""

    @abstractmethod
    def messages(self, data: bytes) -> list[bytes]:
        """Cut what arrived into messages.

        Raises:
            TooLong: the connection is to be closed.
        """

    @abstractmethod
    def target(self, message: bytes) -> Instrument | None:
        """Which instrument a message is for; faults strike by its name."""

    @abstractmethod
    def answer(self, message: bytes) -> bytes:
        """Carry a message out."""


@final
class InstrumentConversation(Conversation):
    """A connection to one instrument."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._framer = instrument.framer()

    def messages(self, data: bytes) -> list[bytes]:
        """By the instrument's framer."""
        return self._framer.feed(data)

    def target(self, message: bytes) -> Instrument:
        """The one."""
        return self._instrument

    def answer(self, message: bytes) -> bytes:
        """Its."""
        return self._instrument.execute(message)
