"""Epochs in which nothing is learned: said at their end, in the run's message, and why."""

from pathlib import Path

import pytest

from substrate import load_experiment, open_run, resume, run
from substrate.experiment.progress import Lines

SATURATED = "substrate.converters={adc_bits: 8, adc_range_volts: 1.0e-3}"
COARSE = "substrate.converters={adc_bits: 8, adc_range_volts: 20.0}"


def warnings(told: str) -> list[str]:
    return [line for line in told.splitlines() if line.startswith("warning")]


def message(path: Path) -> str:
    with open_run(path) as found:
        assert found.status == "finished"
        return str(found.summary()["message"])


def test_epochs_without_a_sample_in_use_are_told_with_their_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(load_experiment("xor", [SATURATED, "training.epochs=2"]), tmp_path / "a.h5", Lines())
    first, second = warnings(capsys.readouterr().out)
    assert "nothing was learned in 1 of 1 epochs" in first
    assert "of 4 samples, 4 did not settle, or saturated the readings" in first
    assert message(path) in second
    assert "nothing was learned in 2 of 2 epochs: no update had a gradient; of 8 samples, 8 did not" in message(path)
    resume(path, epochs=3)
    assert "in 3 of 3 epochs" in message(path)


def test_a_response_that_no_reading_shows_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [COARSE, "training.epochs=1", "nudge.amplitude=1.0e-6"]
    path = run(load_experiment("xor", given), tmp_path / "a.h5", Lines())
    assert len(warnings(capsys.readouterr().out)) == 1
    assert "of 4 samples, 4 gave no gradient: no reading moved" in message(path)


def test_a_run_that_learns_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(load_experiment("xor", ["training.epochs=2"]), tmp_path / "a.h5", Lines())
    assert not warnings(capsys.readouterr().out)
    assert not message(path)


def test_a_remark_stands_before_what_ended_the_run(tmp_path: Path) -> None:
    experiment = load_experiment("xor", [SATURATED, "training.epochs=2"])

    class Failing(Exception):
        pass

    def fail(epoch: int, report: object) -> None:
        if epoch == 2:
            raise Failing("no light")

    told = Lines()
    told.epoch = fail
    with pytest.raises(Failing):
        run(experiment, tmp_path / "a.h5", told)
    with open_run(tmp_path / "a.h5") as found:
        assert found.status == "failed"
        ended = str(found.summary()["message"])
    assert "in 1 of 1 epochs" in ended
    assert ended.endswith(". Failing: no light")
