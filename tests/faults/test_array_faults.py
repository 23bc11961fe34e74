"""Every fault of the transport for a crossbar of source meters and a matrix: readings are right or an error, pulses
reach the cell once or not, as far as is known, and afterwards all is as usable as before."""

import time

import numpy as np
import pytest

from drivers.errors import BenchError
from drivers.rack import Rack
from drivers.wired_arrays import arrays_of
from drivers.wired_limits import drive_limits
from drivers.wiring import WiringConfig
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import TRANSPORT, Rule
from substrate.capabilities import WriteRequest
from substrate.errors import CapabilityError

SECONDS = 0.1
SIEMENS = 4.0e-5
SHAPE = (2, 2)
BENCH = {
    "crossbar": {"shape": list(SHAPE), "update": {"law": "constant", "step": 0.01}, "initial_siemens": SIEMENS},
    "writing": {"volts": 1.5, "seconds": 1.05e-2},
    "adapters": {"gpib": {}},
    "instruments": {
        "drive": {
            "model": "keithley-2400", "transport": "gpib", "adapter": "gpib", "address": 9,
            "channels": {"hi": "matrix.in1"},
        },
        "sense": {"model": "keithley-2450", "channels": {"hi": "matrix.in2"}},
        "bias": {"model": "keithley-2612b", "channels": {"a": "matrix.in3"}},
        "matrix": {
            "model": "keysight-b2201a",
            "channels": {"out1": "array.row0", "out2": "array.row1", "out3": "array.col0", "out4": "array.col1"},
        },
    },
    "grounds": ["matrix.in14"],
}  # fmt: skip
MODELS = {
    "drive": "keithley-2400", "sense": "keithley-2450", "bias": "keithley-2600", "matrix": "keysight-b2200",
}  # fmt: skip
VALUES = {"delay": 1.3 * SECONDS, "split": 1.3 * SECONDS, "trickle": 0.5 * SECONDS, "back_pressure": 1.3 * SECONDS,
          "unplug": 0.5 * SECONDS}  # fmt: skip
MESSAGES = {"drive": r"\+\+read", "sense": r"\?", "bias": "print", "matrix": "(CLOS|OPEN|ERR)"}


@pytest.fixture(scope="module")
def bench():
    with VirtualBench(BENCH) as found:
        yield found


@pytest.fixture
def array(bench):
    _, host, port, _ = bench.resources["gpib"].split("::")
    at = bench.resources | {"drive": f"PRLGX-TCPIP::{host}::{port}::GPIB::9"}
    wiring = WiringConfig.model_validate(
        {
            "instruments": {
                name: {"model": model, "address": at[name], "timeout_seconds": SECONDS}
                for name, model in MODELS.items()
            },
            "cells": {
                "matrix": "matrix",
                "drive": {"instrument": "drive", "row": 1},
                "sense": {"instrument": "sense", "row": 2},
                "bias": [{"instrument": "bias", "row": 3}],
                "ground_row": 14,
                "lines": {"array": {"rows": [1, 2], "columns": [3, 4]}},
                "pulses": {"step_siemens": [4.95e-7, 4.95e-7]},
            },
        }
    )
    rack = Rack(wiring, drive_limits(wiring, 0.25, 2.0, 0.0, 1e-3))
    return arrays_of(wiring, rack, 0.25, own=True)["array"]


def quiet(bench):
    on = [name for name in ("drive", "sense") if bench.instruments[name].value("output")]
    now = np.array([bench.clock.seconds])
    volts = bench.fixture.volts(["drive.hi", "sense.hi", "bias.a"], now)
    return not on and not volts.any() and not bench.instruments["matrix"]._closed


@pytest.mark.parametrize("kind", TRANSPORT)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("act", ["reading", "writing"])
def test_it_is_done_once_or_not_known_to_be(bench, array, act, name, kind):
    given = [0]
    (plant,) = bench.plant.arrays
    spoil = plant.spoil
    plant.spoil = lambda counts: given.__setitem__(0, given[0] + int(np.abs(counts).sum())) or spoil(counts)
    counts = np.zeros(SHAPE, dtype=int)
    counts[1, 0] = 1
    message = MESSAGES[name]
    # A connection is refused where a new one is asked for.
    rules = [Rule("drop_before" if kind == "refuse" else kind, name, message, after=2, value=VALUES.get(kind, 0.0))]
    if kind == "refuse":
        rules.append(Rule("refuse", "gpib" if name == "drive" else name))
    failure, found, seconds = None, None, 0.0
    actual = bench.plant.conductances("array").copy()
    try:
        with array:
            with bench.lock:
                before = len(bench.faults.happened)
                for rule in rules:
                    bench.faults.add(rule)
            start = time.monotonic()
            try:
                if act == "reading":
                    found = array.read_cells()
                else:
                    array.write_cells(WriteRequest("array", pulses=counts))
            finally:
                seconds = time.monotonic() - start
    except (BenchError, CapabilityError) as error:
        failure = error
    finally:
        with bench.lock:
            plant.spoil = spoil
            struck = len(bench.faults.happened) - before
            left = quiet(bench)
            bench.faults.clear()
    assert struck
    assert left
    assert seconds < 10.0
    if act == "writing":
        assert given[0] in ((0, 1) if failure is not None else (1,))
        assert array.budget.given.sum() == 1
    elif failure is None:
        np.testing.assert_allclose(found, actual, rtol=5e-3)
    # As usable as before.
    with array:
        np.testing.assert_allclose(array.read_cells(), bench.plant.conductances("array"), rtol=5e-3)
    assert quiet(bench)
