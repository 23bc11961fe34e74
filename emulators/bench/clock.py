"""The bench's one clock.

Simulated time belongs to the bench, not to an instrument. The rule for several clients at once: every action (one
program message of one client) is atomic under the bench's one lock, and acts at the clock's present time. An action
that takes time (an integration, a settling delay, a pulse, a record, waiting for the end of a burst) advances the
clock by its duration before it ends; setting and querying take none. Actions of several clients therefore follow each
other in the order in which they get the lock, never side by side, and each sees the circuit as the ones before left
it. Waveforms are functions of this clock, so that the phases of all generators agree and last from action to action.
What an action begins and does not wait for (a train of pulses) goes on at moments that it has put down with ``at``:
whoever lets time pass lets them come in their order.

With ``pace="wall"`` the clock also never lags behind the wall clock: before each action it catches up (watchdogs,
retention). It may run ahead: an action's duration is never waited for.
"""

import heapq
import itertools
import math
import time
from collections.abc import Callable
from typing import Literal, final

from substrate.errors import InputError

Pace = Literal["simulated", "wall"]


@final
class SimulatedClock:
    """Simulated seconds since the bench was switched on.

    Args:
        pace: ``simulated`` moves by actions alone; ``wall`` keeps up with the wall clock too.
        wall: seconds of the wall clock.
    """

    def __init__(self, pace: Pace = "simulated", wall: Callable[[], float] = time.monotonic) -> None:
        if pace not in ("simulated", "wall"):
            raise InputError(f"pace: expected simulated or wall, got {pace!r}")
        self._seconds = 0.0
        self._pace = pace
        self._wall = wall
        self._switched_on = wall()
        self._listeners: list[Callable[[float, float], None]] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    @property
    def seconds(self) -> float:
        """Now."""
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Let time pass; whoever listens is told of the interval once it has passed.

        Raises:
            InputError: seconds that are negative or not finite.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise InputError(f"seconds: expected a finite number >= 0, got {seconds!r}")
        self.advance_to(self._seconds + seconds)

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        """Act when the clock comes to a moment, or at the next that passes if it is past. No time may pass in ``act``.

        Raises:
            InputError: a moment that is not finite.
        """
        if not math.isfinite(seconds):
            raise InputError(f"seconds: expected a finite number, got {seconds!r}")
        heapq.heappush(self._agenda, (seconds, next(self._count), act))

    def _pass(self, moment: float) -> None:
        start = self._seconds
        if moment > start:
            self._seconds = moment
            for listener in self._listeners:
                listener(start, moment)

    def advance_to(self, seconds: float) -> None:
        """Wait until a moment; nothing if it is past."""
        while self._agenda and self._agenda[0][0] <= seconds:
            moment, _, act = heapq.heappop(self._agenda)
            self._pass(moment)
            act()
        self._pass(seconds)

    def catch_up(self) -> None:
        """Before an action: with ``pace="wall"``, let pass what the wall clock is ahead by."""
        if self._pace == "wall":
            self.advance_to(self._wall() - self._switched_on)

    def listen(self, listener: Callable[[float, float], None]) -> None:
        """Call ``listener(start, end)`` whenever time has passed, in the order of listening."""
        self._listeners.append(listener)
