"""Both channels of a source meter over one connection: it accepts no other, and none takes the other's answer."""

import numpy as np
import pytest

from drivers.errors import DeviceTimeout
from drivers.rack import Rack
from drivers.wiring import WiringConfig
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import Rule

SECONDS = 0.25
LATE = 0.4


@pytest.fixture
def bench():
    crossbar = {"shape": [1, 1], "initial_siemens": 4.0e-5}
    wired = {"model": "keithley-2612b", "channels": {"a": "array.row0", "b": "array.col0"}}
    with VirtualBench({"crossbar": crossbar, "instruments": {"meters": wired}}) as found:
        yield found


@pytest.fixture
def rack(bench):
    one = {"model": "keithley-2600", "address": bench.resources["meters"], "timeout_seconds": SECONDS}
    wiring = WiringConfig.model_validate(
        {
            "instruments": {"meters-a": one, "meters-b": {**one, "channel": "b"}},
            "cells": {
                "matrix": "matrix",
                "drive": {"instrument": "meters-a", "row": 1},
                "sense": {"instrument": "meters-b", "row": 2},
                "lines": {},
            },
        }
    )
    found = Rack(wiring, {})
    yield found
    found.close()


def channels(rack):
    return [rack.source_meter("cells", f"meters-{name}") for name in "ab"]


def test_one_client_is_enough(bench, rack):
    with bench.lock:
        bench.faults.add(Rule("refuse", "meters", after=1, count=None))
    rack.open()
    first, second = channels(rack)
    for number in range(5):
        first.nplc, second.nplc = 1.0 + number, 11.0 + number
        assert (first.nplc, second.nplc) == (1.0 + number, 11.0 + number)
    rack.safe_state()


@pytest.mark.parametrize("late", [0, 1])
def test_an_answer_that_comes_late_is_not_taken_for_the_other_s(bench, rack, late):
    rack.open()
    meters = channels(rack)
    one, other = meters[late], meters[1 - late]
    one.nplc, other.nplc = 2.0, 7.0
    for _ in range(5):
        with bench.lock:
            bench.faults.add(Rule("delay", "meters", r"nplc", count=1, value=LATE))
        with pytest.raises(DeviceTimeout):
            one.session.query(f"print(smu{'ab'[late]}.measure.nplc)", once=True)
        np.testing.assert_allclose([other.nplc, one.nplc, other.nplc], [7.0, 2.0, 7.0])


def test_who_closes_it_leaves_the_other_usable(bench, rack):
    rack.open()
    first, second = channels(rack)
    first.nplc, second.nplc = 2.0, 7.0
    first.close()
    assert second.nplc == 7.0
    first.open()
    assert (first.nplc, second.nplc) == (2.0, 7.0)
