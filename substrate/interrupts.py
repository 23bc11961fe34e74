"""Ctrl-C while something must not be left half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HELD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until the end of the block, where what came is delivered, SIGTERM first.

    Handlers can only be changed in the main thread; in others, which get no signals, nothing is done. A handler that
    was not installed from Python could not be put back: its signal is let through.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: set[int] = set()
    before = {number: handler for number in HELD if (handler := signal.getsignal(number)) is not None}
    try:
        for number in before:
            signal.signal(number, lambda number, _: came.add(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for one in sorted(came, reverse=True):
            signal.raise_signal(one)
