"""Instruments whose language is not SCPI: one line a message, in a dialect of their own."""

import logging
from abc import abstractmethod
from typing import final

import numpy as np

from emulators.bench.instruments.base import Instrument
from emulators.bench.instruments.scpi_instrument import MESSAGE_FAULTS
from emulators.bench.protocol.scpi import QUEUE_LENGTH
from substrate.errors import SubstrateError

log = logging.getLogger(__name__)


class DialectError(Exception):
    """What a command is refused for: a code of the instrument's own and a text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class LineInstrument(Instrument):
    """The part that all dialects share: faults strike, errors are reported in the instrument's way, nothing raises."""

    @abstractmethod
    def respond(self, message: bytes) -> bytes:
        """Carry a message out.

        Raises:
            DialectError: what ``report`` is then told.
        """

    @abstractmethod
    def report(self, code: int, text: str) -> None:
        """Note an error as the instrument shows it."""

    @final
    def execute(self, message: bytes) -> bytes:
        """One line. Never raises."""
        for rule in self.faults.strike(self.name, message, MESSAGE_FAULTS, self.clock.seconds):
            if rule.kind == "error":
                self.report(round(rule.value) or -310, rule.text or "System error; injected")
            elif rule.kind == "error_overflow":
                for _ in range(QUEUE_LENGTH + 1):
                    self.report(-310, "System error; injected")
            elif rule.kind == "power_cycle":
                self.power_on()
        try:
            return self.respond(message)
        except DialectError as error:
            self.report(error.code, error.text)
        except SubstrateError as error:
            self.report(-200, f"Execution error; {error}")
        except Exception as error:
            log.exception("%s: %r", self.name, message[:200])
            self.report(-310, f"System error; {type(error).__name__}: {error}")
        return b""

    @final
    def shown_identity(self, identity: str) -> str:
        """The instrument's own, or the one that a fault gives it."""
        other = self.faults.active(self.name, "identity")
        return other[-1].text or "ACME,OTHER,0,0" if other else identity

    @final
    def disturbed(self, value: float) -> float:
        """A reading with the gain and offset that faults give it."""
        gain = float(np.prod([1.0 + rule.value for rule in self.faults.active(self.name, "gain")]))
        return gain * value + sum(rule.value for rule in self.faults.active(self.name, "offset"))
