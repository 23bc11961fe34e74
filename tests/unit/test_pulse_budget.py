"""Pulses of cells are counted before they are given, over all runs, and refused beyond the budget."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from drivers.pulse_budget import PulseBudget
from substrate.errors import CapabilityError, InputError
from substrate.experiment.runlock import RunLock

SHAPE = (2, 3)


def one(count=1, cell=(1, 2)):
    counts = np.zeros(SHAPE, dtype=np.int64)
    counts[cell] = count
    return counts


def budget(path, most=10, name="array"):
    found = PulseBudget(name, SHAPE, most, path)
    found.open()
    return found


@pytest.mark.parametrize("kept", [True, False])
def test_what_goes_beyond_is_refused_by_cell_count_and_budget(tmp_path, kept):
    found = budget(tmp_path / "chip.json" if kept else None)
    found.spend(one(7))
    with pytest.raises(CapabilityError, match=r"4 pulses.*\(1, 2\) of array.*has had 7.*pulses_per_cell = 10"):
        found.spend(one(4))
    # A write that is refused is not counted, in part either.
    with pytest.raises(CapabilityError):
        found.spend(one(4) + one(1, (0, 0)))
    np.testing.assert_array_equal(found.given, one(7))
    found.spend(one(3))
    np.testing.assert_array_equal(found.given, one(10))


def test_counts_outlive_the_object_and_are_shared_by_arrays(tmp_path):
    path = tmp_path / "chip.json"
    first, second = budget(path), budget(path, name="other")
    first.spend(one(4))
    second.spend(one(5))
    np.testing.assert_array_equal(budget(path).given, one(4))
    np.testing.assert_array_equal(PulseBudget("other", SHAPE, 10, path).given, one(5))
    with pytest.raises(CapabilityError, match=r"chip\.json"):
        budget(path).spend(one(7))
    # Without a ledger every object begins anew.
    loose = budget(None)
    loose.spend(one(10))
    np.testing.assert_array_equal(budget(None).given, 0)


def test_a_smaller_budget_refuses_the_cells_that_are_asked_for_alone(tmp_path):
    path = tmp_path / "chip.json"
    budget(path).spend(one(9))
    tight = budget(path, most=5)
    tight.spend(one(5, (0, 0)))
    with pytest.raises(CapabilityError):
        tight.spend(one(1))


def test_looking_writes_nothing(tmp_path):
    found = PulseBudget("array", SHAPE, 10, tmp_path / "chip.json")
    np.testing.assert_array_equal(found.given, 0)
    found.check(one(10))
    assert not list(tmp_path.iterdir())


def test_a_ledger_is_of_one_device(tmp_path):
    path = tmp_path / "chip.json"
    PulseBudget("array", SHAPE, 10, path).open("A-17")
    PulseBudget("array", SHAPE, 10, path).open("A-17")
    with pytest.raises(InputError, match=r"'A-17', this one is 'B-2'"):
        PulseBudget("array", SHAPE, 10, path).open("B-2")
    with pytest.raises(InputError, match="shape"):
        PulseBudget("array", (3, 2), 10, path).open("A-17")


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", '{"format": 2, "pulses": {}}', '{"format": 1}',
        '{"format": 1, "pulses": {"array": [[0, 0, 0], [0, 0]]}}',
        '{"format": 1, "pulses": {"array": [[0, 0, 0], [0, 0, -1]]}}',
        '{"format": 1, "pulses": {"array": [[0, 0, 0], [0, 0, 0.5]]}}',
        '{"format": 1, "pulses": {"array": "none"}}',
    ],
)  # fmt: skip
def test_a_damaged_ledger_is_refused_and_left_as_it_is(tmp_path, text):
    path = tmp_path / "chip.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"pulse_ledger: .*chip\.json"):
        budget(path)
    assert path.read_text() == text


def test_a_ledger_that_cannot_be_written_gives_no_pulses(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="pulse_ledger"):
        budget(tmp_path / "missing" / "chip.json")
    found = budget(tmp_path / "chip.json")
    before = (tmp_path / "chip.json").read_text()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="no pulses are given"):
            found.spend(one())
    assert (tmp_path / "chip.json").read_text() == before


def test_a_ledger_that_another_process_holds_is_waited_for(tmp_path):
    path = tmp_path / "chip.json"
    found = budget(path)
    lock = RunLock(path)
    threading.Timer(0.2, lock.release).start()
    found.spend(one())
    np.testing.assert_array_equal(found.given, one())


def spend(path, times):
    mine = PulseBudget("array", SHAPE, 10**6, path)
    for _ in range(times):
        mine.spend(one())


def test_processes_that_share_a_device_lose_no_count(tmp_path):
    path = tmp_path / "chip.json"
    workers = [multiprocessing.get_context("spawn").Process(target=spend, args=(path, 30)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    np.testing.assert_array_equal(budget(path, 10**6).given, one(60))


PULSING = """
import sys
import numpy as np
from drivers.pulse_budget import PulseBudget
budget = PulseBudget("array", (2, 3), 10**6, sys.argv[1])
counts = np.ones((2, 3), dtype=np.int64)
while True:
    budget.spend(counts)
    # The pulse itself, known to the outside.
    sys.stdout.write("p")
    sys.stdout.flush()
"""


def test_a_process_that_is_killed_has_counted_every_pulse_that_it_gave(tmp_path):
    path = tmp_path / "chip.json"
    given = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", PULSING, str(path)], stdout=subprocess.PIPE)
        given += len(process.stdout.read(20))
        process.send_signal(signal.SIGKILL)
        given += len(process.stdout.read())
        process.wait()
        process.stdout.close()
        counted = json.loads(path.read_text())["pulses"]["array"]
        # At most the one under way was counted and not given.
        assert given <= counted[0][0] <= given + 1
        given = counted[0][0]
