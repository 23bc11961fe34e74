"""Contacts that bounce: the fault ``relay_bounce``.

A relay that closes makes and breaks contact a few times before it rests. While the fault lasts, each relay that closes
is taken as open for ``value`` seconds of simulated time (``BOUNCE_SECONDS`` where the rule says nothing), to the end of
the action within which they end. An instrument that waits for its relays for less than that reads an open line.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar, final

from emulators.bench.instruments.base import Instrument

BOUNCE_SECONDS = 5.0e-3
"""Longer than any relay here is waited for."""

Relay = TypeVar("Relay", bound=Hashable)


@final
class Bounces(Generic[Relay]):
    """Relays of one instrument that have not come to rest.

    Args:
        instrument: whose they are.
        moved: is called when one of them has made contact for good.
    """

    def __init__(self, instrument: Instrument, moved: Callable[[], None]) -> None:
        self._instrument = instrument
        self._moved = moved
        self._until: dict[Relay, float] = {}
        instrument.clock.listen(self._elapsed)

    def closed(self, relays: Iterable[Relay]) -> None:
        """These have just been closed."""
        rules = self._instrument.faults.active(self._instrument.name, "relay_bounce")
        if rules:
            until = self._instrument.clock.seconds + max(rule.value or BOUNCE_SECONDS for rule in rules)
            self._until.update(dict.fromkeys(relays, until))

    def at_rest(self, relay: Relay) -> bool:
        """Whether a closed relay has contact."""
        return relay not in self._until

    def _elapsed(self, start: float, end: float) -> None:
        if any(until <= end for until in self._until.values()):
            self._until = {relay: until for relay, until in self._until.items() if until > end}
            self._moved()
