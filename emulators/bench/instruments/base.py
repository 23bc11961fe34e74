"""What every virtual instrument is: ports on the fixture, settings, and messages that it takes and answers."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from emulators.bench.clock import SimulatedClock
from emulators.bench.faults import Faults
from emulators.bench.fixture import Fixture
from emulators.bench.protocol.framing import Framer
from substrate.errors import InputError


@final
@dataclass(frozen=True)
class Surroundings:
    """What an instrument stands in.

    Attributes:
        clock: the bench's.
        fixture: the wires and the one circuit; instruments meet it at their nodes.
        faults: what is to go wrong.
        rng: the instrument's own noise.
        strict: whether to refuse what the real instrument refuses even where that hinders nobody.
        lock: the bench's one lock, held while a message is executed.
    """

    clock: SimulatedClock
    fixture: Fixture
    faults: Faults
    rng: np.random.Generator
    strict: bool
    lock: threading.RLock


class Instrument(ABC):
    """One instrument: physics and commands, without transport.

    A message is executed whole, under the bench's lock. Durations are simulated: ``spend`` lets them pass at once;
    ``occupy`` states how long what was begun will last, and ``begin`` what is done meanwhile, step by step; ``finish``
    waits for the end of either, ``free`` breaks it off.

    Args:
        name: on the bench; its nodes are called ``name.port``.
        surroundings: the rest of the bench.
        options: what the bench file says beside wiring; keys of ``options_known``.
    """

    options_known: ClassVar[Mapping[str, Any]] = {}
    """Options and their defaults."""

    def __init__(self, name: str, surroundings: Surroundings, options: Mapping[str, Any] | None = None) -> None:
        given = dict(options or {})
        for key, value in given.items():
            if key not in self.options_known:
                known = ", ".join(self.options_known) or "none"
                raise InputError(f"instruments.{name}.options.{key}: unknown key; known: {known}")
            default = self.options_known[key]
            numbers = isinstance(default, (int, float)) and not isinstance(default, bool)
            if numbers and (isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value)):
                raise InputError(f"instruments.{name}.options.{key}: expected a number, got {value!r}")
            if not numbers and default is not None and not isinstance(value, type(default)):
                raise InputError(
                    f"instruments.{name}.options.{key}: expected a {type(default).__name__}, got {value!r}"
                )
        self.name = name
        self.options = {**self.options_known, **given}
        self.clock = surroundings.clock
        self.fixture = surroundings.fixture
        self.faults = surroundings.faults
        self.rng = surroundings.rng
        self.strict = surroundings.strict
        self.lock = surroundings.lock
        self._busy_until = 0.0
        self.__steps: Iterator[float] | None = None
        self.__next_step = 0.0
        self.__failure: Exception | None = None
        for port in self.ports():
            self.fixture.add(self.node(port))

    @abstractmethod
    def ports(self) -> Sequence[str]:
        """Names of the terminals that the bench file can wire; called once, before any setting exists."""

    @abstractmethod
    def framer(self) -> Framer:
        """A new reader of messages, for a new connection."""

    @abstractmethod
    def execute(self, message: bytes) -> bytes:
        """Carry out one message, without its terminator; the whole answer with terminator, or nothing."""

    @abstractmethod
    def power_on(self) -> None:
        """The state after switching on, outputs off: called once when all instruments exist, and by faults."""

    @abstractmethod
    def outputs_off(self) -> None:
        """Take what the instrument drives off the circuit, as a hand on its front panel would."""

    @final
    def node(self, port: str | int) -> str:
        """The fixture's name of a terminal."""
        return f"{self.name}.{port}"

    @final
    def spend(self, seconds: float) -> None:
        """Let an action's duration pass."""
        self.clock.advance(seconds)

    @final
    def occupy(self, seconds: float) -> None:
        """Something was begun that lasts; it goes on while others act."""
        self._busy_until = max(self._busy_until, self.clock.seconds + seconds)

    @final
    def begin(self, steps: Iterator[float]) -> None:
        """Do something in steps while others act: a generator that gives the seconds until it wants to go on. It lets
        no time pass itself. What it was doing before is broken off.
        """
        self.free()
        self.__failure = None
        self.__steps = steps
        self.__step(steps)
        # What goes wrong at once is the fault of what was asked for.
        self.__raise_failure()

    def __step(self, steps: Iterator[float]) -> None:
        if steps is not self.__steps:
            return  # broken off
        try:
            pause = next(steps)
        except StopIteration:
            self.__steps = None
        except Exception as error:
            # Whoever lets the time pass has nothing to do with it; whoever waits for the end hears of it.
            self.__steps, self.__failure = None, error
        else:
            self.__next_step = self.clock.seconds + pause
            self.clock.at(self.__next_step, lambda: self.__step(steps))

    def __raise_failure(self) -> None:
        failure, self.__failure = self.__failure, None
        if failure is not None:
            raise failure

    @final
    def free(self) -> None:
        """What was begun is broken off: what it put out last stands."""
        self._busy_until = self.clock.seconds
        self.__steps = None

    @property
    @final
    def going(self) -> bool:
        """Whether steps go on."""
        return self.__steps is not None

    @property
    @final
    def busy(self) -> bool:
        """Whether something that was begun goes on."""
        return self.going or self._busy_until > self.clock.seconds

    @final
    def finish(self) -> None:
        """Wait for the end of what was begun.

        Raises:
            Exception: what it ended by.
        """
        while self.__steps is not None:
            self.clock.advance_to(self.__next_step)
        if np.isfinite(self._busy_until):
            self.clock.advance_to(self._busy_until)
        self.__raise_failure()
