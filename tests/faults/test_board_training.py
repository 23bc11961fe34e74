"""Training on the reference board through trouble: it goes on, or ends with outputs at zero and cells known."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
import yaml
from boards import eventually, rig

from drivers.errors import ConnectionLost, InstrumentError
from drivers.pulse_budget import PulseBudget
from emulators.bench.board_chip import PULSE
from substrate import load_experiment, open_run, run
from substrate.errors import CapabilityError, InputError
from substrate.experiment.progress import Progress


class Troubles(Progress):
    """Does something to the bench after some steps."""

    def __init__(self, steps, action):
        self._left = steps
        self._action = action

    def note(self, text):
        pass

    def start(self, name, epochs, steps_per_epoch, done_steps):
        pass

    def step(self, epoch, report):
        self._left -= 1
        if self._left == 0:
            self._action()

    def epoch(self, epoch, report):
        pass

    def close(self):
        pass


@contextmanager
def training(tmp_path, **patience):
    """A board, and XOR trained on it by pulses."""
    experiment = load_experiment("xor", ["training.epochs=20"])
    with rig(experiment.topology(), link=tmp_path / "board") as board:
        text = yaml.safe_load(experiment.to_yaml())
        text["substrate"] = {**board.section, "port": board.board.resource, "watchdog_seconds": 0.5, **patience}
        text["writing"] = {"mode": "accumulate"}
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(text))
        yield board, load_experiment(str(path))


@pytest.mark.parametrize("trouble", ["power_cycle", "replug", "bad_line"])
def test_training_goes_on_through_trouble(trouble, tmp_path):
    with training(tmp_path, answer_seconds=0.5) as (board, experiment):
        wire = board.board.wire

        def replug():
            wire.unplug()
            wire.plug_in()

        def bad_line():
            for kind in ("no_answer", "garbage", "truncate", "duplicate", "stale"):
                board.fault(kind, "answer", count=3, probability=0.3)

        action = {"power_cycle": board.board.power_cycle, "replug": replug, "bad_line": bad_line}[trouble]
        run(experiment, tmp_path / "run.h5", Troubles(5, action))
        assert not board.chip.outputs_on
        given = {coupling.name: board.device.ledger.pulses[coupling.name] for coupling in experiment.topology().arrays}
    with open_run(tmp_path / "run.h5") as found:
        assert found.status == "finished"
        assert found.lengths["train"] == 20
    assert sum(given.values()) > 0


def test_a_run_whose_cable_is_pulled_for_good_fails_with_its_log(tmp_path):
    with training(tmp_path, answer_seconds=0.2, reconnect_seconds=0.3) as (board, experiment):
        with pytest.raises(ConnectionLost):
            run(experiment, tmp_path / "run.h5", Troubles(5, board.board.wire.unplug))
        assert eventually(lambda: not board.chip.outputs_on, 3.0)
    with open_run(tmp_path / "run.h5") as found:
        assert found.status == "failed"
        assert found.lengths["train"] == 5


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["interrupted twice", "killed"])
def test_a_run_that_is_ended_in_a_write_leaves_cells_known_and_outputs_at_zero(how, when, tmp_path):
    """Ctrl-C while the chip is being pulsed, and again, or SIGKILL: the write is whole or not there."""
    with training(tmp_path, pulse_ledger=str(tmp_path / "chip.json"), attempts=2) as (board, _):
        pulse, host, cells = board.chip._work[PULSE], [], []
        arrays = [coupling.name for coupling in board.device.network.arrays]

        def end():
            for number in [signal.SIGKILL] if how == "killed" else [signal.SIGINT] * 2:
                host[0].send_signal(number)
                time.sleep(0.2)

        def interrupted(payload):
            cells.append({name: board.device.read_cells(name) for name in arrays})
            # Cells are programmed in some writes at first; this one is in the middle of training.
            if len(cells) != 40:
                return pulse(payload)
            if when == "before":
                end()
            answer = pulse(payload)
            if when == "after":
                # The host waits for this answer still.
                end()
            return answer

        board.chip._work[PULSE] = interrupted
        command = [sys.executable, "-c", "import sys; from substrate.cli import main; sys.exit(main())"]
        run_file = str(tmp_path / "run.h5")
        host.append(
            subprocess.Popen(
                [*command, "run", str(tmp_path / "experiment.yaml"), "--output", run_file, "--quiet"],
                stderr=subprocess.PIPE,
            )
        )
        _, said = host[0].communicate(timeout=60)
        if how == "killed":
            # By the watchdog.
            assert eventually(lambda: not board.chip.outputs_on, 3.0)
        else:
            assert host[0].returncode == 130, said
            assert b"interrupted in PULSE" in said
            assert b"read the cells" in said
            assert not board.chip.outputs_on
        board.chip._work[PULSE] = pulse
        # No write was carried out in part or twice: the last one is whole, or it is not there.
        counted = {name: PulseBudget(name, one.shape, 10**6, tmp_path / "chip.json") for name, one in cells[0].items()}
        begun = cells[0]
        for name, one in counted.items():
            steps = (board.device.read_cells(name) - begun[name]) / board.device.capabilities.step_siemens[0]
            np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
            assert np.all(one.given >= np.abs(steps) - 0.5)
        # It goes on from there, on cells that are read.
        with open_run(run_file) as found:
            assert found.status == "interrupted"
        assert subprocess.run([*command, "resume", run_file, "--quiet"], timeout=60, check=False).returncode == 0
        with board.driver() as driver:
            for name in arrays:
                np.testing.assert_allclose(driver.read_cells(name), board.device.read_cells(name), rtol=1e-6)
        assert not board.chip.outputs_on


@pytest.mark.parametrize("trouble", ["budget", "converter"])
def test_a_run_that_a_board_refuses_to_go_on_with_ends_safely(trouble, tmp_path):
    ledger = tmp_path / "chip.json"
    most = 40 if trouble == "budget" else 10**6
    with training(tmp_path, pulse_ledger=str(ledger), pulses_per_cell=most) as (board, experiment):
        pulse, failing = board.chip._work[PULSE], []

        def hot(payload):
            if failing:
                raise InputError("too hot")
            return pulse(payload)

        board.chip._work[PULSE] = hot
        begun = {one.name: board.device.read_cells(one.name) for one in board.device.network.arrays}
        message = r"pulses_per_cell = 40" if trouble == "budget" else r"PULSE broke off.*too hot.*read the cells"
        steps = Troubles(10**6 if trouble == "budget" else 5, lambda: failing.append(True))
        with pytest.raises((CapabilityError, InstrumentError), match=message):
            run(experiment, tmp_path / "run.h5", steps)
        assert not board.chip.outputs_on
        for name, before in begun.items():
            moves = (board.device.read_cells(name) - before) / board.device.capabilities.step_siemens[0]
            given = PulseBudget(name, before.shape, most, ledger).given
            assert np.all(np.abs(moves) <= given + 0.5)
            assert given.max() <= most
    with open_run(tmp_path / "run.h5") as found:
        assert found.status == "failed"
        assert found.lengths["train"] >= (0 if trouble == "budget" else 5)
