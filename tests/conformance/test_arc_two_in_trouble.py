"""Faults of an ArC TWO in the middle of training: the run goes on or stops safely, and its log tells what happened.

Its library is in this process, and has no wire that could fail: its calls do. A few are tried each time; all:
``pytest -m "" tests/conformance/test_arc_two_in_trouble.py``.
"""

import json
import sys

import h5py
import numpy as np
import pytest
from test_bench_in_trouble import ARRAYS, Trouble
from xor_bench import ARC_LIBRARY, arc_section, arc_two, experiment

from drivers.errors import InstrumentError
from emulators.bench.device_faults import DeviceFaults
from emulators.bench.faults import SUBSTRATE, Faults, Rule
from substrate import open_run, run
from substrate.errors import SubstrateError

EPOCHS = 2
ARRAY = "arc"
READS = ("read_slice_masked", "read_slice_open")
CALLS = ("execute", "wait", "config_channels", "ground_all", "pulse_one", *READS)
SPOILED = {
    "no number": lambda found: np.full_like(found, np.nan),
    "a part": lambda found: found[:5],
    "gain": lambda found: np.float32(1.02) * found,
    "offset": lambda found: found + np.float32(2.0e-8),
}
"""What a reading is instead."""

KINDS = [
    "nothing",
    *(f"{call} {when}" for call in CALLS for when in ("fails", "fails afterwards", "fails from then on")),
    *SPOILED,
    *SUBSTRATE,
]
GOES_ON = {"nothing", "gain", "offset", *SUBSTRATE}
EACH_TIME = {"nothing", "execute fails", "pulse_one fails from then on", "lost_pulse"}


class Failing:
    """An instrument some of whose calls fail, from when it is told to."""

    def __init__(self, arc, kind):
        self._arc, self._kind = arc, kind
        self.armed, self.calls, self.struck = False, 0, 0

    def __getattr__(self, name):
        inner = getattr(self._arc, name)

        def call(*args, **named):
            if not self.armed:
                return self._own(inner(*args, **named))
            if self._kind in SPOILED and name in READS:
                self.struck += 1
                return SPOILED[self._kind](inner(*args, **named))
            struck_call, _, when = self._kind.partition(" ")
            strikes = struck_call == name and (when == "fails from then on" or not self.struck)
            if strikes:
                self.calls += 1
            # Not the first, which might be the first of all.
            if strikes and self.calls > 3:
                self.struck += 1
                if when == "fails afterwards":
                    inner(*args, **named)
                raise RuntimeError(f"{name}: no answer from the board")
            return self._own(inner(*args, **named))

        return call

    def _own(self, found):
        return self if found is self._arc else found


@pytest.mark.parametrize(
    "kind", [one if one in EACH_TIME else pytest.param(one, marks=pytest.mark.slow) for one in KINDS]
)
def test_training_goes_on_or_stops_safely(kind, tmp_path):
    failure = None
    with arc_two(seed=2) as board:
        failing = Failing(board, kind)
        sys.modules[ARC_LIBRARY].Instrument = lambda port, firmware: failing
        faults = Faults(np.random.default_rng(3))
        DeviceFaults(board.plant, faults, board.clock, -2.0e-3)
        (array,) = board.plant.arrays
        given = np.zeros(array.shape, dtype=int)

        def count(counts, spoil=array.spoil):
            np.add(given, np.abs(counts), out=given)
            return spoil(counts)

        array.spoil = count
        chosen = experiment(
            arc_section() | {"pulse_ledger": str(tmp_path / "ledger.json")}, tmp_path, [f"training.epochs={EPOCHS}"]
        )

        class Arming(Trouble):
            def step(self, epoch, report):
                failing.armed = True
                if kind in SUBSTRATE:
                    cell = ("arc", 0, 1) if kind == "stuck_cell" else None
                    value = {"read_disturb": 1.0e-7, "drift": 0.03, "temperature": 5.0}.get(kind, 0.0)
                    if not faults.rules:
                        faults.add(Rule(kind, value=value, cell=cell))

        try:
            run(chosen, tmp_path / "run.h5", Arming(None, []))
        except SubstrateError as error:
            failure = error
        # A board that answers to nothing cannot be told to put its outputs to zero; it is pulled out.
        if "from then on" not in kind:
            assert not board._volts.any()
            assert board._open.all()
        actual = board.plant.conductances("arc")
    assert failing.struck or kind in ("nothing", *SUBSTRATE)
    assert (failure is None) == (kind in GOES_ON), failure
    if failure is not None:
        assert isinstance(failure, InstrumentError)
    counted = np.array(json.loads((tmp_path / "ledger.json").read_text())["pulses"][ARRAY])
    # None was given that was not counted before.
    assert (given <= counted).all()
    if failure is None:
        np.testing.assert_array_equal(given, counted)
    with open_run(tmp_path / "run.h5") as found:
        assert found.status == ("finished" if failure is None else "failed")
        assert failure is None or type(failure).__name__ in found.summary()["message"]
        assert found.lengths["train"] == (EPOCHS if failure is None else 1)
    with h5py.File(tmp_path / "run.h5") as file:
        logged = sum(int(np.abs(file[f"pulses/{name}"][-1]).sum()) for name in ARRAYS)
        last = {name: file[f"conductances/{name}"][-1] for name in ARRAYS}
    assert logged == counted.sum() if failure is None else logged <= counted.sum()
    if kind in ("nothing", *SUBSTRATE):
        # Conductances that were read: noise is a thousandth, and some nanoamperes at .1 V.
        read = np.sort(np.concatenate([one.ravel() for one in last.values()]))
        nearest = np.abs(actual.ravel()[None, :] - read[:, None]).min(axis=1)
        assert (nearest < 5.0e-3 * read + 1.0e-7).all()
