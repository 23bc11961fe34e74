"""What a driver costs beside a raw socket: time of a query, rate of a waveform, and nothing left over after closing."""

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drivers.session import Session
from drivers.socket_link import SocketLink

QUERIES, ROUNDS = 500, 5
MOST_EXTRA_SECONDS = 200.0e-6
BLOCK = 8_000_000
WAVEFORM = b"#8%08d" % BLOCK + bytes(BLOCK) + b"\n"
LEAST_RATE = 0.8
CYCLES = 1000


class Echo:
    """A server of its own process that answers every line at once, with as little work as possible."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    register, held = b"0", b""
    with connection:
        while data := connection.recv(65536):
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                if line.startswith(b"*ESE "):
                    register = line[5:]
                elif line == b"CURV?":
                    connection.sendall(WAVEFORM)
                else:
                    connection.sendall(register + b"\n")


@pytest.fixture
def server() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def typical(*actions: Callable[[], Any], rounds: int = ROUNDS) -> list[float]:
    """Median seconds of each, taken in turns: other load on the machine comes and goes, and strikes all alike."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, found in zip(actions, times, strict=True):
            start = time.perf_counter()
            action()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def raw_connection(port: int) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw


def test_a_query(benchmark: Any, server: Echo) -> None:
    def ask_raw() -> None:
        for _ in range(QUERIES):
            raw.sendall(b"READ?\n")
            while not raw.recv(4096).endswith(b"\n"):
                pass

    def ask() -> None:
        for _ in range(QUERIES):
            session.ask("READ?", float)

    session = Session(SocketLink("127.0.0.1", server.port))
    session.open()
    with raw_connection(server.port) as raw:
        plain, driver = (seconds / QUERIES for seconds in typical(ask_raw, ask))
    benchmark(lambda: session.ask("READ?", float))
    session.close()
    print(f"\nquery: {1e6 * driver:.0f} us, raw {1e6 * plain:.0f} us (at most 200 us more)")
    # Times are judged where they are asked for, on a machine that does nothing else.
    assert benchmark.disabled or driver - plain < MOST_EXTRA_SECONDS


def test_a_waveform(benchmark: Any, server: Echo) -> None:
    total = BLOCK + 11

    def take_raw() -> None:
        raw.sendall(b"CURV?\n")
        view, have = memoryview(bytearray(total)), 0
        while have < total:
            have += raw.recv_into(view[have:])

    session = Session(SocketLink("127.0.0.1", server.port))
    session.open()
    assert len(session.query_block("CURV?")) == BLOCK
    with raw_connection(server.port) as raw:
        plain, driver = typical(take_raw, lambda: session.query_block("CURV?"), rounds=100)
    benchmark(lambda: session.query_block("CURV?"))
    session.close()
    print(f"\n8 MB: {1e-6 * BLOCK / driver:.0f} MB/s, raw {1e-6 * BLOCK / plain:.0f} MB/s (at least 80 %)")
    assert benchmark.disabled or plain / driver >= LEAST_RATE


def test_opening_and_closing_leaks_nothing(benchmark: Any, server: Echo) -> None:
    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    session = Session(SocketLink("127.0.0.1", server.port))
    session.open()
    session.close()
    time.sleep(0.1)
    before = count()
    start = time.perf_counter()
    for _ in range(CYCLES):
        session.open()
        session.close()
    seconds = time.perf_counter() - start
    time.sleep(0.1)
    benchmark(lambda: None)
    print(f"\n{CYCLES} cycles: {1e3 * seconds / CYCLES:.2f} ms each; (files, threads) {before} before, {count()} after")
    assert count() == before


if __name__ == "__main__":
    serve()
