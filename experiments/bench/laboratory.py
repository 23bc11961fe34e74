"""What the scripts of this folder share: their arguments, and the instruments of a wiring file.

Every script takes a wiring file. Against the virtual bench one address changes, that of its ready file::

    substrate bench experiments/bench/bench.yaml --ready-file bench.json &
    python experiments/bench/map_crossbar.py --ready bench.json --array input-hidden1+
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from drivers.rack import Rack
from drivers.ready_bench import ready_addresses
from drivers.smu_matrix import SmuMatrixArray
from drivers.wired_arrays import arrays_of
from drivers.wired_limits import drive_limits
from drivers.wiring import load_wiring
from substrate import load_experiment
from substrate.cli import BAD_INPUT, FAILED
from substrate.errors import InputError, SubstrateError
from substrate.experiment.config import Experiment

FOLDER = Path(__file__).resolve().parent


def arguments(text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--wiring", default=str(FOLDER / "wiring.yaml"), help="which instrument is wired to what")
    parser.add_argument("--ready", metavar="BENCH.json", help="ready file of a virtual bench, for all addresses")
    parser.add_argument("--output", metavar="F.csv", help="a table (default: on the terminal)")
    return parser


def carry_out(main: Callable[[], None]) -> None:
    """Run a script; what goes wrong ends with one line, and the exit code of the command line."""
    try:
        main()
    except SubstrateError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT if isinstance(error, InputError) else FAILED)
    except OSError as error:
        # Of a file: what goes wrong on a line to an instrument is one of ours.
        print(f"{Path(sys.argv[0]).name}: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(BAD_INPUT)


@contextmanager
def array(options: argparse.Namespace, **pulses: Any) -> Iterator[SmuMatrixArray]:
    """The array ``options.array`` behind the switch matrix; ``pulses`` replaces keys of the section of this name."""
    wiring = load_wiring(options.wiring, ready_addresses(options.ready))
    if options.ready:
        # A virtual device has cells of its own.
        wiring = wiring.counted_in(None)
    section = wiring.cells.model_copy(update={"pulses": wiring.cells.pulses.model_copy(update=pulses)})
    stands = {wiring.cells.drive.instrument, wiring.cells.sense.instrument, wiring.cells.matrix}
    stands |= {one.instrument for one in wiring.cells.bias}
    # Only what the matrix takes is opened.
    kept = {name: one for name, one in wiring.instruments.items() if name in stands}
    wiring = wiring.model_copy(
        update={"cells": section, "instruments": kept, "inputs": [], "nudges": {}, "reference": None}
    )
    rack = Rack(wiring, drive_limits(wiring, options.read_volts, options.write_volts, 0.0, options.limit_amperes))
    arrays = arrays_of(wiring, rack, options.read_volts, own=True)
    if options.array not in arrays:
        raise InputError(f"--array: expected one of {', '.join(arrays)}, got {options.array!r}")
    with arrays[options.array] as found:
        yield found


def of_array(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--array", required=True, help="name under cells.lines")
    parser.add_argument("--read-volts", type=float, default=0.25, help="largest voltage of a reading")
    parser.add_argument("--write-volts", type=float, default=2.0, help="largest voltage of a pulse")
    parser.add_argument("--limit-amperes", type=float, default=1e-3, help="largest compliance")
    return parser


def experiment(options: argparse.Namespace, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of ``options.experiment``, with the wiring and the addresses of the command line."""
    chosen = [f"substrate.wiring={options.wiring}", f"substrate.addresses={options.ready or yaml.safe_dump({})}"]
    return load_experiment(options.experiment, [*chosen, *overrides])


def whole(least: int) -> Callable[[str], int]:
    """The type of an argument: a whole number, ``least`` or more."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected {least} or more, got {value}")
        return value

    number.__name__ = "whole number"
    return number


def table(options: argparse.Namespace, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as they come, so that what was measured is kept whatever happens then."""
    with open(options.output, "w", newline="") if options.output else sys.stdout as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for row in rows:
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])
            file.flush()
