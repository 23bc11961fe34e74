"""A socket server that answers as an instrument does, but for what a test lets go wrong."""

import contextlib
import socket
import struct
import threading
import time


class RawServer:
    """Answers ``*IDN?``, ``*ESE``, ``SYST:ERR?`` and ``READ?`` (a number that counts up, so that each answer is known).

    ``mishaps``: functions (server, connection, answer) that stand in for sending an answer to ``READ?``, one each time.
    """

    def __init__(self, identity="MAKER,MODEL,1,1"):
        self.identity = identity
        self.mishaps = []
        self.heard = []
        self.count = 0
        self.register = 0
        self.deaf = threading.Event()
        self.refusing = False
        self.block = b"#15hello\n"
        self._ending = False
        self._threads = []
        self._connections = []
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def _listen(self, port):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Small, so that back-pressure is felt soon.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        return listener

    @property
    def resource(self):
        return f"TCPIP::127.0.0.1::{self.port}::SOCKET"

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._ending:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection):
        held = b""
        with contextlib.suppress(OSError):
            while not self._ending:
                while self.deaf.is_set() and not self._ending:
                    time.sleep(0.005)
                data = connection.recv(65536)
                if not data:
                    break
                held += data
                *lines, held = held.split(b"\n")
                for line in lines:
                    self._take(connection, line.decode("latin-1"))
        connection.close()

    def _take(self, connection, line):
        self.heard.append(line)
        if line.startswith("*ESE "):
            self.register = int(line[5:])
        answer = self.answer(line)
        if answer is None:
            return
        if line in ("READ?", "CURV?") and self.mishaps:
            self.mishaps.pop(0)(self, connection, answer)
        else:
            connection.sendall(answer)

    def answer(self, line):
        if line == "READ?":
            self.count += 1
            return b"%d.5\n" % self.count
        if line == "CURV?":
            return self.block
        return {
            "*IDN?": self.identity.encode() + b"\n",
            "*ESE?": b"%d\n" % self.register,
            "SYST:ERR?": b'+0,"No error"\n',
        }.get(line)

    def restart(self):
        """Switched off and on: connections end, settings are lost."""
        self.drop()
        self.register = 0

    def drop(self, reset=False):
        for connection in self._connections:
            end(connection, reset)
        self._connections.clear()

    def refuse(self, refusing):
        if refusing:
            # Closing alone does not wake the thread that accepts.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        else:
            self._listener = self._listen(self.port)
            self._start(self._accept)

    def close(self):
        self._ending = True
        self.deaf.clear()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def end(connection, reset=False):
    with contextlib.suppress(OSError):
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        else:
            connection.shutdown(socket.SHUT_RDWR)


# Mishaps.


def silent(server, connection, answer):
    pass


def late(seconds):
    def send(server, connection, answer):
        time.sleep(seconds)
        connection.sendall(answer)

    return send


def split(seconds, at=2):
    def send(server, connection, answer):
        connection.sendall(answer[:at])
        time.sleep(seconds)
        connection.sendall(answer[at:])

    return send


def trickle(seconds):
    def send(server, connection, answer):
        for place in range(len(answer)):
            connection.sendall(answer[place : place + 1])
            time.sleep(seconds)

    return send


def closed(after=0, reset=False):
    def send(server, connection, answer):
        if after:
            connection.sendall(answer[:after])
        end(connection, reset)

    return send


def instead(other):
    def send(server, connection, answer):
        connection.sendall(other(answer) if callable(other) else other)

    return send
