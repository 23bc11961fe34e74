"""What is said on the wires is in the run file when it was asked for, however the run ends."""

import signal

import h5py
import pytest
from test_wirings import program
from xor_bench import bench_file, bench_section, driven, experiment

from drivers.errors import BenchError
from emulators.bench.bench import VirtualBench
from emulators.bench.faults import Rule
from substrate import open_run, run
from substrate.errors import RunInterrupted
from substrate.experiment.progress import Progress


class AtStep(Progress):
    """Does something after the first step."""

    def __init__(self, act):
        self._act = act

    def note(self, text):
        pass

    def start(self, name, epochs, steps_per_epoch, done_steps):
        pass

    def step(self, epoch, report):
        self._act()

    def epoch(self, epoch, report):
        pass

    def close(self):
        pass


def again():
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


ENDS = {
    "finished": (lambda bench: None, None, "finished"),
    "a fault": (lambda bench: bench.faults.add(Rule("no_answer", "nudges", count=None)), BenchError, "failed"),
    "Ctrl-C": (lambda bench: signal.raise_signal(signal.SIGINT), RunInterrupted, "interrupted"),
    "Ctrl-C twice": (lambda bench: again(), KeyboardInterrupt, "interrupted"),
}


@pytest.fixture(scope="module")
def bench():
    with VirtualBench(bench_file()) as found:
        yield found


@pytest.mark.parametrize("end", ENDS)
def test_it_is_in_the_run_file(bench, end, tmp_path):
    act, error, status = ENDS[end]
    program(bench, tmp_path)
    section = bench_section(bench.resources, tmp_path) | {"transcript": True}
    wired = (tmp_path / "wiring.yaml").read_text()
    (tmp_path / "wiring.yaml").write_text(wired.replace("address:", "timeout_seconds: 0.2\n    address:"))
    chosen = experiment(section, tmp_path, ["training.epochs=2"])

    def act_under_lock():
        with bench.lock:
            act(bench)

    if error is None:
        run(chosen, tmp_path / "run.h5", AtStep(act_under_lock))
    else:
        with pytest.raises(error):
            run(chosen, tmp_path / "run.h5", AtStep(act_under_lock))
    with bench.lock:
        bench.faults.clear()
        bench.instruments["nudges"].outputs_off()
    assert driven(bench) == []
    with open_run(tmp_path / "run.h5") as found:
        assert found.status == status
    with h5py.File(tmp_path / "run.h5") as file:
        wires = file["instruments/transcript"]
        names, ways, texts = (wires[key].asstr()[:] for key in ("instrument", "direction", "text"))
        seconds, lengths = wires["seconds"][:], wires["bytes"][:]
    said = list(zip(names, ways, texts, strict=True))
    assert {"inputs", "nudges", "clock", "left", "right", "drive", "sense", "bias", "matrix"} == set(names)
    # From the first question to the way to the safe state, in the order of time.
    first = [line for line in said if line[0] == "inputs"][:2]
    assert any(line == ("inputs", ">", "*IDN?\\n") for line in said)
    assert first[0][1] == ">"
    assert any(line[:2] == ("inputs", "<") and "33512B" in line[2] for line in said)
    assert (seconds[1:] >= seconds[:-1]).all()
    assert seconds[-1] - seconds[0] < 300.0
    off = max(place for place, line in enumerate(said) if line == ("inputs", ">", "OUTP2 0\\n"))
    on = max(place for place, line in enumerate(said) if line == ("inputs", ">", "OUTP2 1\\n"))
    assert off > on
    # Records are binary: their beginning, escaped, and their length.
    records = [(text, length) for (name, way, text), length in zip(said, lengths, strict=True) if length > 1000]
    assert records
    assert all(len(text) <= 240 and text.isascii() and text.isprintable() for text, _ in records)


def test_it_is_not_there_where_nobody_asked(bench, tmp_path):
    program(bench, tmp_path)
    chosen = experiment(bench_section(bench.resources, tmp_path), tmp_path, ["training.epochs=1"])
    run(chosen, tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5") as file:
        assert "transcript" not in file["instruments"]
