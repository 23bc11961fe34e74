"""The commands as a user calls them: exit codes, one message, what is left behind."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from substrate import load_experiment, open_run, run
from substrate.cli import main
from substrate.controller import Controller
from substrate.errors import SubstrateError
from substrate.experiment.assembly import assemble
from substrate.experiment.runner import trained_state

QUICK = ["--set", "training.epochs=1", "--set", "data.train_limit=64", "--set", "data.test_limit=40"]


def run_cli(*arguments: str) -> int:
    return main(list(arguments))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "run.h5"
    # One array both ways: after four steps, separate arrays have not met yet.
    shared = ["--set", "network.feedback=shared", "--set", "homeostasis.strength=0"]
    assert run_cli("run", "digits-ideal", *QUICK, *shared, "--output", str(path), "--quiet") == 0
    return path


def test_run_ends_by_printing_the_run_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.h5"
    assert run_cli("run", "iris", "--set", "training.epochs=2", "--output", str(path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(path)
    assert [line.split()[0] for line in lines[:-1]] == ["programming", "iris:", "epoch", "epoch"]


def test_one_of_a_kind_is_not_in_the_plural_and_a_finished_run_is_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = tmp_path / "run.h5", tmp_path / "page.html"
    assert run_cli("run", "xor", "--set", "training.epochs=1", "--output", str(path)) == 0
    assert "xor: 1 epoch of 1 step\n" in capsys.readouterr().out
    assert run_cli("report", str(path), "-o", str(page)) == 0
    text = page.read_text()
    assert re.search(r"the train loss was [\d.]+ and the test loss was", text)
    assert re.search(r"its mean should fall: it was [\d.]+ over 1 step \(", text)
    before = path.read_bytes()
    capsys.readouterr()
    assert run_cli("resume", str(path)) == 0
    said = capsys.readouterr().out
    assert "finished, after 1 epoch" in said
    assert "--epochs" in said
    assert "going on" not in said
    assert path.read_bytes() == before


def test_the_default_output_is_named_after_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli("run", "xor", "--set", "training.epochs=1", "--seed", "3", "--quiet") == 0
    printed = Path(capsys.readouterr().out.strip())
    assert re.fullmatch(r"xor-seed3-\d{8}-\d{6}\.h5", printed.name)
    assert (tmp_path / printed).is_file()


def test_show_holds_what_was_promised(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("show", str(finished), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    promised = (
        "experiment backend rule seed status epochs train_accuracy test_accuracy samples_per_second started "
        "wall_seconds versions"
    )
    assert set(promised.split()) <= set(shown)
    assert (shown["experiment"], shown["backend"], shown["rule"]) == ("digits-ideal", "emulator", "oscillating_ep")
    assert shown["status"] == "finished"
    booked = sum(cost["joules"] for part in shown["ledger"].values() for cost in part.values())
    assert booked == pytest.approx(shown["energy_joules"])
    assert booked > 0
    assert 0 < shown["test_accuracy"] < 1
    assert run_cli("show", str(finished)) == 0
    assert "digits-ideal" in capsys.readouterr().out


def test_check_gradient_of_an_experiment_and_of_a_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in ("digits-ideal", str(finished)):
        assert run_cli("check-gradient", source, "--samples", "32", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["reference"], found["samples"]) == ("exact", 32)
        backward = {"output-hidden1"} if source == "digits-ideal" else set()
        assert set(found["couplings"]) == {"input-hidden1", "hidden1-output"} | backward
        for one in [*found["couplings"].values(), found["total"]]:
            assert one["cosine"] >= 0.999
            assert one["relative_error"] <= 0.02
            assert set(one) == {"cosine", "relative_error", "median_sample_error", "standard_error"}
    assert run_cli("check-gradient", "digits-ideal", "--samples", "8") == 0
    assert "total" in capsys.readouterr().out


def test_backends(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("backends", "--json") == 0
    assert "emulator" in json.loads(capsys.readouterr().out)


def test_a_run_file_is_not_overwritten_unasked(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = finished.read_bytes()
    assert run_cli("run", "xor", "--output", str(finished), "--quiet") == 2
    assert str(finished) in capsys.readouterr().err
    assert finished.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "digits", "--set", "training.epoch=1"], "training.epoch: unknown key"),
        (["run", "nothing"], "nothing: no such file"),
        (["run", "digits", "--set", "network.layers=[63, 16, 10]"], "digits has 64 inputs, the first layer 63"),
        (["run", "digits", "--set", "network.layers=[64, 16, 9]"], "digits has 10 classes, the last layer 9"),
        (["run", "digits", "--set", "nudge.amplitude=1000"], "limits.current_amperes"),
        (["run", "digits", "--set", "nudge.frequency_hz=1.0e9"], "nudge.frequency_hz"),
        (["run", "digits", "--set", "substrate.limits.read_volts=0.1"], "limits.read_volts"),
        (["run", "digits", "--set", "writing.mode=outright"], "continuous_writing"),
        (["run", "digits-ideal", "--set", "writing.mode=blind"], "capability 'pulses'"),
        (["run", "mnist", "--set", "data.folder=/nowhere/at/all"], "/nowhere/at/all"),
        (["run", "digits", "--set", "training.batch_size=100000"], "training.batch_size"),
        (["show", "missing.h5"], "missing.h5"),
        (["resume", "missing.h5"], "missing.h5"),
        (["recover", "missing.h5"], "missing.h5"),
        (["report", "missing.h5", "-o", "x.html"], "missing.h5"),
        (["check-gradient", "digits", "--samples", "0"], "--samples: expected 1.."),
        (["check-gradient", "digits", "--reference", "guess"], "--reference: expected one of exact"),
    ],
)
def test_bad_input_ends_with_one_message_and_two(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    output = ["--output", "out.h5"] if arguments[0] == "run" else []
    assert run_cli(*arguments, *output) == 2
    error = capsys.readouterr().err
    assert error.startswith("substrate: ")
    assert len(error.splitlines()) == 1
    assert said in error
    left = {path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")}
    assert left <= {"out.h5"}
    if left:
        with open_run("out.h5") as run:
            assert run.status == "failed"
            assert said in run.summary()["message"]


def test_a_run_file_is_not_taken_for_an_experiment(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("run", "sweep"):
        assert run_cli(command, str(finished)) == 2
        error = capsys.readouterr().err
        assert f"{finished}: expected a YAML file, got a run file" in error
        assert "resume, show, report, recover, check-gradient" in error
    picture = tmp_path / "curve.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    assert run_cli("check-gradient", str(picture)) == 2
    assert "curve.png: expected a YAML file, got one that is no text" in capsys.readouterr().err


def test_a_nan_in_the_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = np.zeros((20, 4))
    inputs[7, 2] = np.nan
    labels = np.arange(20) % 2
    path = tmp_path / "own.npz"
    np.savez(path, train_inputs=inputs, train_labels=labels, test_inputs=np.zeros((4, 4)), test_labels=labels[:4])
    arguments = ["run", "xor", "--set", f"data={{name: npz, path: {path}}}", "--set", "network.layers=[4, 3, 2]"]
    assert run_cli(*arguments, "--output", str(tmp_path / "out.h5")) == 2
    error = capsys.readouterr().err
    assert "own.npz" in error
    assert "train_inputs" in error
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(("kind", "code"), [(SubstrateError, 1), (KeyboardInterrupt, 130)])
def test_what_else_went_wrong_is_told_below_the_cause(
    kind: type[BaseException], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: Any) -> None:
        error = kind("the cause")
        error.add_note("the safe state was not reached either")
        raise error

    monkeypatch.setattr("substrate.cli._backends", fail)
    assert run_cli("backends") == code
    assert capsys.readouterr().err == "substrate: the cause\n  the safe state was not reached either\n"


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match="nothing"):
        run_cli("run", "nothing", "--debug")


def test_an_output_that_is_no_place_for_a_run_file_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.yaml"
    text.write_text("kept: true\n")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in (
        (text, "not a run file"),
        (pipe, "not a plain file"),
        (tmp_path, "got a folder"),
        (f"{tmp_path}/nope/", "nope/: expected the name of a run file, got a folder"),
        ("", "folder"),
    ):
        assert run_cli("run", "xor", "--output", str(path), "--overwrite", "--quiet") == 2
        assert said in capsys.readouterr().err
    assert text.read_text() == "kept: true\n"
    assert pipe.is_fifo()
    assert not (tmp_path / "nope").exists()


@pytest.mark.parametrize("command", ["report", "export-spice"])
def test_a_page_or_deck_is_not_named_as_a_folder(
    command: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(command, str(finished), "-o", f"{tmp_path}/nope/") == 2
    assert "got a folder" in capsys.readouterr().err
    assert not (tmp_path / "nope").exists()


def test_initial_weights_that_no_cell_can_show_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.h5"
    assert run_cli("run", "xor", "--set", "network.initial.scale=50", "--output", str(path), "--quiet") == 2
    assert re.search(r"network\.initial: \d+ of the 18 weights of hidden1-output", capsys.readouterr().err)
    assert not path.exists()


def test_recover_tells_what_it_holds(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("recover", str(finished)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{finished}: was a plain file already",
        "status: finished",
        "holds: 1 epoch, 4 steps",
        "last checkpoint: after step 4",
    ]


def test_a_run_file_of_any_name_is_checked_as_a_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "run.trained"
    other.write_bytes(finished.read_bytes())
    assert run_cli("check-gradient", str(other), "--samples", "4", "--json") == 0
    named = capsys.readouterr().out
    assert run_cli("check-gradient", str(finished), "--samples", "4", "--json") == 0
    assert capsys.readouterr().out == named


def test_a_stop_asked_for_while_cells_are_programmed_ends_at_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Controller.program

    def program_and_ask(self: Controller, weights: dict[str, Any]) -> int:
        failed = program(self, weights)
        signal.raise_signal(signal.SIGINT)
        return failed

    path = tmp_path / "run.h5"
    arguments = ["run", "xor", "--set", "training.epochs=3", "--output", str(path), "--quiet"]
    with monkeypatch.context() as patched:
        patched.setattr(Controller, "program", program_and_ask)
        assert run_cli(*arguments) == 130
    assert "stopped before step 1" in capsys.readouterr().err
    with open_run(path) as run:
        assert (run.status, run.summary()["steps"]) == ("interrupted", 0)
    assert run_cli("resume", str(path), "--quiet") == 0
    with open_run(path) as run:
        assert (run.status, run.summary()["epochs"]) == ("finished", 3)


def test_a_run_file_keeps_the_pulses_of_every_cell(tmp_path: Path) -> None:
    output = tmp_path / "run.h5"
    assert run_cli("run", "iris", "--set", "training.epochs=2", "--output", str(output), "--quiet") == 0
    with open_run(output) as run:
        cells, train = run.table("pulses"), run.table("train")
        costs = run.table("ledger")
    counts = [found for name, found in cells.items() if name != "epoch"]
    assert [len(found) for found in counts] == [3] * len(counts)
    totals = np.array([sum(int(found[row].sum()) for found in counts) for row in range(3)])
    assert np.all(np.diff(totals) > 0)
    assert totals[-1] - totals[0] == train["pulses"].sum()
    # Stuck cells are sent pulses and take none.
    assert totals[-1] >= costs["pulses"][-1].sum() > 0
    assert run_cli("resume", str(output), "--epochs", "3", "--quiet") == 0
    with open_run(output) as run:
        resumed = sum(int(found[3].sum()) for name, found in run.table("pulses").items() if name != "epoch")
        assert resumed - totals[0] == run.table("train")["pulses"].sum()


MEASURED = ("check-gradient", "plan", "export-spice")


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(load_experiment("xor", ["training.epochs=1"]), tmp_path_factory.mktemp("small") / "run.h5")


def _measure(command: str, run_file: Path, overrides: tuple[str, ...]) -> int:
    given = [part for override in overrides for part in ("--set", override)]
    further = ["-o", str(run_file.with_name("deck.cir"))] if command == "export-spice" else []
    return main([command, str(run_file), *given, *further])


@pytest.mark.parametrize("command", MEASURED)
@pytest.mark.parametrize(
    "overrides",
    [
        ("rule={name: ep, variant: random_sign}", "nudge={amplitude: 0.3}"),
        ("rule={name: holomorphic_ep, points: 2}", "nudge={amplitude: 0.3}"),
        ("nudge.harmonics=auto",),
        ("training.optimiser=adam", "training.weight_decay=0.1"),
        ("homeostasis={strength: 1.0, estimator: published}",),
        ("substrate.update={law: soft_bounds, step: 0.01}", "writing.mode=verify"),
        ("substrate.converters.adc_noise_volts=1.0e-5",),
    ],
)
def test_a_run_is_measured_with_what_its_experiment_does_not_have(
    command: str, overrides: tuple[str, ...], small_run: Path
) -> None:
    assert _measure(command, small_run, overrides) == 0


@pytest.mark.parametrize("command", MEASURED)
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("network.layers=[2, 5, 2]",), "network.layers: got [2, 5, 2]; expected the run's own"),
        (("network.feedback=shared", "homeostasis=null"), "network.feedback: got 'shared'; expected the run's own"),
        (
            ("writing={mode: tiki_taka}", "training.momentum=0", "substrate.update={law: constant, step: 0.01}"),
            "writing.mode: got 'tiki_taka'",
        ),
        (("substrate.noise.telegraph={fraction: 0.1, amplitude: 0.1}",), "substrate: what the run kept of its device"),
    ],
)
def test_the_cells_of_a_run_are_of_its_own_network_and_device(
    command: str, overrides: tuple[str, ...], said: str, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _measure(command, small_run, overrides) == 2
    assert f"substrate: {said}" in capsys.readouterr().err


def test_a_rule_of_another_name_begins_anew_and_its_own_goes_on(small_run: Path) -> None:
    trained = trained_state(small_run)
    learnt = trained.state["controller"]["rule"]
    for overrides, same in (([], True), (["nudge.harmonics=auto"], False)):
        described = assemble(load_experiment("run", overrides, text=trained.experiment.to_yaml()))
        with described.substrate:
            controller = described.controller()
            fresh = controller.snapshot()["rule"]
            described.bring_to(controller, trained)
            assert controller.snapshot()["rule"] == (learnt if same else fresh)
            assert learnt != fresh
