"""``substrate bench BENCH.yaml``: serve a virtual bench until interrupted."""

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import final

from substrate.errors import InputError


@final
class BenchCommand:
    """The command; the bench itself is imported when it runs."""

    text = "serve a virtual bench until interrupted"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What it takes."""
        parser.add_argument("bench", metavar="BENCH.yaml")
        parser.add_argument("--ready-file", metavar="F", help="write the list as JSON there, once all listen")
        parser.add_argument("--seed", type=int, help="replace the bench's seed")

    def run(self, options: argparse.Namespace) -> None:
        """Print a line for each instrument, and serve.

        Raises:
            InputError: a bench file that is not right, a ready file that cannot be written.
            KeyboardInterrupt: at the end, once everything is closed.
        """
        if options.seed is not None and options.seed < 0:
            raise InputError(f"--seed: expected 0 or more, got {options.seed}")
        # Said before anything slow is imported; the list alone goes to the standard output.
        print(
            f"starting the bench of {options.bench}; a machine's first one compiles kernels, for a minute or more",
            file=sys.stderr,
            flush=True,
        )
        from emulators.bench.bench import VirtualBench

        stop = threading.Event()

        def stopped(number: int, frame: FrameType | None) -> None:
            stop.set()

        before = {number: signal.signal(number, stopped) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with VirtualBench(options.bench, options.seed) as bench:
                listed = [
                    {"name": name, "model": bench.model_of(name), "resource": resource}
                    for name, resource in bench.resources.items()
                ]
                for one in listed:
                    print(f"{one['name']:16}{one['model']:24}{one['resource']}", flush=True)
                if options.ready_file:
                    _write(Path(options.ready_file), json.dumps({"instruments": listed, "pid": os.getpid()}, indent=2))
                try:
                    stop.wait()
                finally:
                    if options.ready_file:
                        Path(options.ready_file).unlink(missing_ok=True)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        raise KeyboardInterrupt


def _write(path: Path, text: str) -> None:
    """Whole or not at all: whoever waits for the file never sees half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise InputError(f"--ready-file: cannot write {path}: {error}") from error


command = BenchCommand()
"""The entry point."""
