"""Errors of instruments and boards; every error of a library or of the system below becomes one of the four."""

from collections.abc import Sequence

from substrate.errors import SubstrateError


class BenchError(SubstrateError, RuntimeError):
    """Base of what can go wrong between us and a device (exit code 1)."""


class DeviceTimeout(BenchError):
    """No answer, or not all of it, within the deadline."""


class ConnectionLost(BenchError):
    """The port is gone, was never there, or was closed by the other side."""


class ProtocolError(BenchError):
    """An answer that is not what the protocol says: damaged, of the wrong kind, or to another question."""


class InstrumentError(BenchError):
    """The device understood and refused, or reported an error of its own; the message names the command."""


def raise_first(failures: Sequence[Exception]) -> None:
    """Raise the first of several that were met while all was tried, the others in notes; none: nothing happens."""
    for other in failures[1:]:
        failures[0].add_note(str(other))
    if failures:
        raise failures[0]
