"""What an experiment would ask of its device, against what it then asks."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from emulators.substrate import EmulatedSubstrate
from substrate import load_experiment, run
from substrate.cli import main
from substrate.errors import CapabilityError
from substrate.experiment.assembly import assemble
from substrate.experiment.dry_run import dry_run
from substrate.experiment.runfile import open_run
from substrate.ledger import ACTIVITIES

PULSED = [
    "substrate.update={law: constant, step: 0.004}",
    "writing={mode: accumulate, largest_burst: 7}",
    "training.epochs=5",
    "homeostasis.strength=0",
    "nudge.amplitude=0.4",
]


def demands(*overrides):
    return {one.what: one for one in dry_run(assemble(load_experiment("xor", [*PULSED, *overrides]))).demands}


def test_a_run_stays_within_what_was_said(monkeypatch, tmp_path):
    asked = demands()
    seen = {"volts": 0.0, "amperes": 0.0, "pulses": 0}
    devices = []
    hold, nudge, write = EmulatedSubstrate._hold, EmulatedSubstrate._nudge, EmulatedSubstrate._write_cells

    def held(self, volts):
        seen["volts"] = max(seen["volts"], np.abs(volts).max())
        hold(self, volts)

    def nudged(self, request, plan):
        seen["amperes"] = max(seen["amperes"], np.abs(request.amperes).max())
        return nudge(self, request, plan)

    def written(self, request):
        devices[:] = [self]
        seen["pulses"] += int(np.abs(request.pulses).max())
        return write(self, request)

    monkeypatch.setattr(EmulatedSubstrate, "_hold", held)
    monkeypatch.setattr(EmulatedSubstrate, "_nudge", nudged)
    monkeypatch.setattr(EmulatedSubstrate, "_write_cells", written)
    run(load_experiment("xor", PULSED), tmp_path / "run.h5")
    assert seen["volts"] == pytest.approx(asked["largest input"].value)
    assert 0.2 * asked["largest nudge"].value < seen["amperes"] <= asked["largest nudge"].value
    most = asked["pulses of a cell, first programming"].value + asked["pulses of a cell, training"].value
    arrays = 3
    assert 0 < seen["pulses"] <= arrays * most
    sent = max(devices[0].pulses_sent(coupling.name).max() for coupling in devices[0].network.arrays)
    assert 0.1 * most < sent <= most
    # On the device's own clock, whose writing seldom takes what it may.
    reading, bound = asked["time reading, an estimate"].value, asked["time in all, about"].value
    assert 0.9 * reading < devices[0].ledger.device_seconds < bound


@pytest.mark.parametrize(
    ("mode", "law"), [("blind", "constant"), ("verify", "constant"), ("tiki_taka", "constant"), ("verify", "one_sided")]
)
def test_no_cell_gets_more_pulses_than_was_said(mode, law, monkeypatch, tmp_path):
    overrides = [f"writing={{mode: {mode}, largest_burst: 7}}", "training.epochs=2"]
    overrides += [f"substrate.update={{law: {law}, step: 0.004}}"]
    overrides += ["training.momentum=0"] if mode == "tiki_taka" else []
    asked, devices = demands(*overrides), []
    write = EmulatedSubstrate._write_cells

    def written(self, request):
        devices[:] = [self]
        return write(self, request)

    monkeypatch.setattr(EmulatedSubstrate, "_write_cells", written)
    run(load_experiment("xor", [*PULSED, *overrides]), tmp_path / "run.h5")
    sent = max(devices[0].pulses_sent(coupling.name).max() for coupling in devices[0].network.arrays)
    most = asked["pulses of a cell, first programming"].value + asked["pulses of a cell, training"].value
    assert 0.05 * most < sent <= most


def test_what_is_beyond_the_limits_is_said(capsys):
    beyond = "substrate.limits={read_volts: 0.3, write_volts: 2.0, current_amperes: 1.0e-6}"
    assert demands(beyond)["largest nudge"].refused
    assert not demands()["largest nudge"].refused
    arguments = [word for override in [*PULSED, beyond] for word in ("--set", override)]
    assert main(["run", "xor", "--dry-run", *arguments]) == 2
    assert "BEYOND" in capsys.readouterr().out


CHIP = [
    "network.layers=[64, 8, 10]",
    "data={name: digits, train_limit: 16, test_limit: 10, activity_range: [0.0, 100.0]}",
]
CHIP += ["training.epochs=1"]
"""A small digits-resistive-chip, whose outputs nothing bounds but what its lines bear."""


def test_a_bound_that_a_run_does_not_reach_is_no_refusal(tmp_path, capsys):
    words = [word for one in CHIP for word in ("--set", one)]
    assert main(["run", "digits-resistive-chip", "--dry-run", *words]) == 0
    out = capsys.readouterr().out
    assert "beyond at worst" in out
    assert "a run that gets there ends: largest nudge" in out
    assert "BEYOND" not in out
    assert main(["run", "digits-resistive-chip", "--quiet", "--output", str(tmp_path / "run.h5"), *words]) == 0


def test_a_nudge_that_a_run_gets_to_is_refused_as_the_run_is(tmp_path, capsys):
    # 50 times half the distance of the targets and 2 uA a unit are 50 uA.
    limits = "substrate.limits={read_volts: 1.0, write_volts: 2.0, current_amperes: 4.0e-5}"
    words = [word for one in (*CHIP, limits) for word in ("--set", one)]
    assert main(["run", "digits-resistive-chip", "--dry-run", *words]) == 2
    out, err = capsys.readouterr()
    assert "BEYOND: refused" in out
    assert "largest nudge" in err
    assert main(["run", "digits-resistive-chip", "--quiet", "--output", str(tmp_path / "run.h5"), *words]) == 2
    assert "limits.current_amperes" in capsys.readouterr().err


def test_the_source_of_a_nudge_in_doubt_is_in_doubt_too(capsys):
    """Of linear outputs; those of tanh are taken to saturate."""
    section = REAL["bench"].replace("WIRING", str(ROOT / "experiments" / "bench" / "wiring.yaml"))
    targets = "cost.targets=[-0.2, 0.2]"
    limit = "substrate.limits={read_volts: 0.25, write_volts: 2.0, current_amperes: 4.0e-6, write_amperes: 0.001}"
    assert dry(section, targets, limit) == 2
    assert "largest nudge, largest nudge, at its source" in capsys.readouterr().err
    assert dry(section, targets, limit, "network.output_activation=linear", "nudge.amplitude=0.6") == 0
    out = capsys.readouterr().out
    assert out.count("beyond at worst") == 2
    assert "a run that gets there ends: largest nudge, largest nudge, at its source" in out


def test_a_dry_run_opens_nothing(tmp_path, monkeypatch, capsys):
    def refuse(self):
        raise AssertionError("opened")

    monkeypatch.setattr(EmulatedSubstrate, "_open", refuse)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "xor", "--dry-run"]) == 0
    assert not list(tmp_path.iterdir())
    assert "largest input" in capsys.readouterr().out


ROOT = Path(__file__).resolve().parents[2]
STEPS = "step_siemens: [4.95e-7, 4.95e-7]"
REAL = {
    "bench": "{backend: bench, wiring: WIRING, addresses: no-such-bench.json}",
    "board": f"{{backend: board, port: no-such-port, pulse_volts: 1.8, pulses_per_cell: 5000, {STEPS}}}",
    "arc-two": f"{{backend: arc-two, shape: [10, 8], library: no_such_library, pulses_per_cell: 5000, {STEPS}}}",
}
"""Sections of devices that are not there."""

PULSE_VOLTS = {"bench": 1.5, "board": 1.8, "arc-two": 1.5}


def dry(section, *overrides):
    """Exit code of a dry run of the bench's experiment on another device."""
    words = [word for one in (f"substrate={section}", *overrides) for word in ("--set", one)]
    return main(["run", str(ROOT / "experiments" / "bench" / "xor.yaml"), "--dry-run", *words])


def wired(folder, **pulses):
    """A section whose wiring file has other pulses."""
    text = yaml.safe_load((ROOT / "experiments" / "bench" / "wiring.yaml").read_text())
    text["cells"]["pulses"].update(pulses)
    (folder / "wiring.yaml").write_text(yaml.safe_dump(text))
    return f"{{backend: bench, wiring: {folder / 'wiring.yaml'}}}"


def listed(text):
    """Value and limit, as they are printed, by what they are of."""
    lines = [line for line in text.splitlines() if "  " in line]
    return {line[:44].strip(): line[44:].split() for line in lines}


@pytest.mark.parametrize("backend", REAL)
def test_devices_that_are_not_there_are_described_all_the_same(backend, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    section = REAL[backend].replace("WIRING", str(ROOT / "experiments" / "bench" / "wiring.yaml"))
    assert dry(section) == 0
    found = listed(out := capsys.readouterr().out)
    assert found["largest programming pulse"][:2] == [f"{PULSE_VOLTS[backend]:g}", "V"]
    assert found["largest programming pulse"][3:] == ["2", "V"]
    assert found["pulses of a cell so far (no pulse_ledger)"] == ["0"]
    count, word, budget = found["pulses of a cell, all of these"]
    assert 0 < int(count) < int(budget) == {"bench": 100000}.get(backend, 5000)
    assert word == "limit"
    reading, writing, total = (
        float(found[what][0]) for what in ("time reading, an estimate", "time writing, at most", "time in all, about")
    )
    assert 0 < reading < total
    assert reading + writing == pytest.approx(total, rel=1e-3)
    assert ("no-such-bench.json" in out) == (backend == "bench")
    assert not list(tmp_path.iterdir())


def test_instruments_say_their_compliances_and_what_their_sources_put_out(tmp_path, capsys):
    assert dry(wired(tmp_path, up_volts=1.2, down_volts=1.7, pulse_amperes=5e-4)) == 0
    found = listed(capsys.readouterr().out)
    assert found["largest programming pulse"] == ["1.7", "V", "limit", "2", "V"]
    assert found["compliance of a pulse"] == ["0.0005", "A", "limit", "0.001", "A"]
    assert found["compliance of a reading"] == ["0.0001", "A", "limit", "0.001", "A"]
    # 6.3 uA through the wiring's 2 uS.
    assert found["largest nudge, at its source"] == ["3.15", "V", "limit", "10", "V"]


@pytest.mark.parametrize(
    ("pulses", "overrides", "message"),
    [
        ({"up_volts": 2.1}, [], "up_volts"),
        ({"pulse_amperes": 2e-3}, [], "pulse_amperes"),
        ({"read_volts": 0.3}, [], "read_volts"),
        ({"pulses_per_cell": 2000}, [], "pulses of a cell, all of these"),
        ({"step_siemens": [0.0, 0.0]}, [], "pulses"),
        ({}, ["nudge.frequency_hz=2e6"], "nudge frequency"),
        ({}, ["substrate.limits.current_amperes=5e-6"], "largest nudge"),
    ],
)
def test_what_a_run_would_be_refused_for_ends_with_exit_code_2(pulses, overrides, message, tmp_path, capsys):
    assert dry(wired(tmp_path, **pulses), *overrides) == 2
    assert message in capsys.readouterr().err


def test_products_that_reach_the_compliance_of_a_reading_are_told(tmp_path, capsys):
    what, penalty = "a line of an array read alone", ["homeostasis.strength=1"]
    assert dry(wired(tmp_path)) == 0
    assert what not in listed(capsys.readouterr().out)
    # 0.2 V on a line that four cells of 100 uS at most lead away from; read backward, five.
    assert dry(wired(tmp_path), *penalty) == 0
    assert listed(capsys.readouterr().out)[what] == ["8e-05", "A", "limit", "0.0001", "A"]
    assert dry(wired(tmp_path), *penalty, "homeostasis.estimator=published") == 0
    assert listed(capsys.readouterr().out)[what] == ["0.0001", "A", "limit", "0.0001", "A"]
    assert dry(wired(tmp_path, read_amperes=5e-5), *penalty) == 0
    assert f"a run that gets there ends: {what}" in capsys.readouterr().out
    # Not even cells at the lowest of the window.
    assert dry(wired(tmp_path, read_amperes=7e-7), *penalty) == 2
    assert what in capsys.readouterr().err


@pytest.mark.parametrize("given", [900, 3000])
@pytest.mark.parametrize("backend", ["board", "arc-two"])
def test_pulses_that_a_device_has_had_are_listed_and_count(backend, given, tmp_path, capsys):
    names = {"arc-two": {"arc": (10, 8)}, "board": {"input-hidden1": (2, 3, 4)}}[backend]
    pulses = {name: np.zeros(shape, dtype=int) for name, shape in names.items()}
    pulses[next(iter(names))].ravel()[-1] = given
    ledger = tmp_path / "chip.json"
    kept = {"format": 1, "device": "", "pulses": {name: counts.tolist() for name, counts in pulses.items()}}
    ledger.write_text(json.dumps(kept))
    code = dry(REAL[backend], f"substrate.pulse_ledger={ledger}")
    out, err = capsys.readouterr()
    assert listed(out)["pulses of a cell so far"] == [str(given)]
    assert code == (2 if given + 2340 > 5000 else 0)
    assert ("pulses of a cell, all of these" in err) == bool(code)
    ledger.write_text("{")
    assert dry(REAL[backend], f"substrate.pulse_ledger={ledger}") == 2
    assert "pulse_ledger" in capsys.readouterr().err


def test_the_ledger_of_a_wiring_counts_and_that_of_its_virtual_twin_does_not(tmp_path, capsys):
    section = wired(tmp_path, pulse_ledger="chip.json", pulses_per_cell=5000)
    had = np.zeros((5, 2), dtype=int)
    had[4, 1] = 4000
    kept = {"format": 1, "device": "", "pulses": {"hidden1-output-": had.tolist()}}
    (tmp_path / "chip.json").write_text(json.dumps(kept))
    assert dry(section) == 2
    out, err = capsys.readouterr()
    assert listed(out)["pulses of a cell so far"] == ["4000"]
    assert "pulses of a cell, all of these" in err
    assert dry(section.replace("}", ", addresses: bench.json}")) == 0
    assert listed(capsys.readouterr().out)["pulses of a cell so far (no pulse_ledger)"] == ["0"]


def test_a_board_whose_pulses_are_beyond_the_limit_is_refused(capsys):
    assert dry(REAL["board"], "substrate.limits.write_volts=1.5") == 2
    assert "largest programming pulse" in capsys.readouterr().err


def test_a_bench_that_is_not_there_is_not_run(tmp_path, monkeypatch, capsys):
    """Not on the addresses of the wiring file either, which are those of a laboratory."""
    monkeypatch.chdir(tmp_path)
    section = REAL["bench"].replace("WIRING", str(ROOT / "experiments" / "bench" / "wiring.yaml"))
    experiment = str(ROOT / "experiments" / "bench" / "xor.yaml")
    assert main(["run", experiment, "--set", f"substrate={section}", "--output", str(tmp_path / "run.h5")]) == 2
    assert "no-such-bench.json" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


TINY = [
    "network.layers=[64, 6, 10]",
    "data={name: digits, train_limit: 8, test_limit: 4}",
    "training={epochs: 1, batch_size: 4, momentum: 0.0}",
    "homeostasis.strength=0",
    "logging.quality_every=0",
    "substrate.operation={settle_seconds: 1.0e-5, reading_seconds: 1.0e-8, pulse_seconds: 1.0e-6}",
]
# Readings of arrays and of their cells that take as long as settling.
READ = "substrate.operation={settle_seconds: 1.0e-5, reading_seconds: 1.0e-5, pulse_seconds: 1.0e-6}"
PULSES = "substrate.update={law: constant, step: 0.004}"
NUDGED = ["nudge={amplitude: 0.2}"]
RESISTIVE = ["network.family=resistive", "nudge={amplitude: 0.2}"]
FORWARD = [
    "network.family=feedforward",
    "network.feedback=separate",
    "network.initial.feedback_angle_degrees=90",
    "nudge=null",
]


@pytest.mark.parametrize(
    "overrides",
    [
        ["rule={name: continual_ep, count: 12}", *NUDGED],
        ["rule={name: continual_ep, count: 1}", *NUDGED, "homeostasis={strength: 0.5, estimator: forward}"],
        ["rule={name: continual_ep, count: 5}", *NUDGED, PULSES, "writing={mode: accumulate, largest_burst: 3}"],
        ["rule={name: continual_ep, moves: periods, count: 5}", "nudge={amplitude: 0.2, frequency_hz: 20.0}"],
        ["rule={name: ep, readings: 12}", *NUDGED],
        ["rule={name: ep, variant: one_sided, readings: 12}", *NUDGED],
        ["rule={name: holomorphic_ep, points: 2}", *NUDGED],
        ["rule={name: always_on_ep, points: 2, periods: 3, lead_periods: 4}", *NUDGED],
        ["rule={name: always_on_ep, points: 2, periods: 9, nudge: feedback, free_phase: false}", *NUDGED],
        ["rule={name: asymmetric_ep}", *NUDGED],
        ["rule={name: asymmetric_ep, asymmetry: measured}", "nudge={amplitude: 0.2, frequency_hz: 20.0}"],
        ["rule={name: multiplexed}", "nudge={amplitude: 0.2, frequency_hz: 20.0}"],
        ["rule={name: backpropagation}", *FORWARD[:1], "network.feedback=none", "nudge=null"],
        ["rule={name: sign_symmetric}", *FORWARD],
        ["rule={name: sign_symmetric}", *FORWARD, PULSES, "writing={mode: verify, largest_burst: 3}"],
        [PULSES, "writing={mode: verify, largest_burst: 3}"],
        ["substrate.update={law: one_sided, step: 0.02}", "writing={mode: verify, largest_burst: 3}"],
        ["substrate.cells.forming={threshold_volts: 1.7, pulse_volts: 1.8}"],
        ["rule={name: ep}", *NUDGED, READ, "network.layers=[64, 40, 10]"],
        ["rule={name: ep}", *NUDGED, READ, "homeostasis={strength: 0.1, estimator: forward, probes: 4}"],
        ["rule={name: asymmetric_ep}", *NUDGED, READ],
        ["rule={name: asymmetric_ep}", *NUDGED, READ, "network.feedback=shared"],
        ["rule={name: backpropagation}", *FORWARD[:1], "network.feedback=none", "nudge=null", READ],
        ["rule={name: sign_symmetric}", *FORWARD, READ],
        ["rule={name: contrastive, readings: 7}", *RESISTIVE],
        ["rule={name: coupled_learning}", *RESISTIVE],
        ["rule={name: frequency_propagation}", *RESISTIVE],
    ],
    ids=" ".join,
)
def test_the_clock_of_a_run_keeps_to_the_times_that_were_told(overrides, tmp_path):
    experiment = load_experiment(
        "digits-resistive" if RESISTIVE[0] in overrides else "digits-ideal", [*TINY, *overrides]
    )
    found = {one.what: one.value for one in dry_run(assemble(experiment)).demands}
    with open_run(run(experiment, tmp_path / "run.h5")) as file:
        elapsed = dict(zip(ACTIVITIES, np.asarray(file.table("ledger")["elapsed_seconds"])[-1], strict=True))
    assert 0 < elapsed["write"] <= found["time writing, at most"]
    reading = elapsed["settle"] + elapsed["read"]
    assert reading == pytest.approx(found["time reading, an estimate"], rel=0.3)


TONE = "nudge={amplitude: 0.2, frequency_hz: 1.0e+3}"


@pytest.mark.parametrize(
    "overrides",
    [
        ["rule={name: ep}", *NUDGED],
        ["rule={name: ep, nudge: feedback}", *NUDGED],
        ["rule={name: continual_ep, nudge: feedback, count: 2}", *NUDGED],
        ["rule={name: always_on_ep, points: 2, nudge: feedback}", *NUDGED],
        ["rule={name: asymmetric_ep, asymmetry: measured, probe: 3.0}", TONE],
        ["rule={name: contrastive, nudge: feedback}", *RESISTIVE],
        ["rule={name: coupled_learning}", *RESISTIVE],
    ],
    ids=" ".join,
)
def test_a_limit_of_the_largest_nudge_that_is_told_is_kept(overrides, tmp_path):
    """Whatever it is made of: fixed currents, conductances to sources, tones that measure. Below it a run ends."""

    def limited(amperes):
        name = "digits-resistive" if RESISTIVE[0] in overrides else "digits-ideal"
        return load_experiment(name, [*TINY, *overrides, f"substrate.limits.current_amperes={amperes}"])

    (told,) = (one for one in dry_run(assemble(limited(1.0))).demands if one.what == "largest nudge")
    run(limited(1.001 * told.value), tmp_path / "run.h5")
    # Neurons that saturate are taken to do so; sources are what they are.
    if any("feedback" in one or "probe" in one or "coupled" in one for one in overrides):
        beyond = limited(0.999 * (told.value if told.least is None else told.least))
        assert dry_run(assemble(beyond)).refused
        with pytest.raises(CapabilityError, match="current_amperes"):
            run(beyond, tmp_path / "beyond.h5")


@pytest.mark.parametrize("stuck", [0.0, 0.2])
def test_cells_that_do_not_follow_are_within_the_writes_that_were_told(stuck, monkeypatch, tmp_path):
    """Those beside them are set once more when arrays are programmed outright."""
    experiment = load_experiment(
        "xor", ["writing={mode: outright}", "substrate.update={law: ideal}", f"substrate.cells.stuck={stuck}"]
    )
    (told,) = (one for one in dry_run(assemble(experiment)).demands if one.what == "writes of each cell")
    written, write = {}, EmulatedSubstrate._write_cells

    def counted(self, request):
        written[request.coupling] = written.get(request.coupling, 0) + 1
        return write(self, request)

    monkeypatch.setattr(EmulatedSubstrate, "_write_cells", counted)
    run(experiment, tmp_path / "run.h5")
    most = max(written.values())
    assert most == told.value if stuck else most == told.value - 1


@pytest.mark.parametrize(
    "arrays",
    [
        ["network.feedback=separate", "network.initial.feedback_angle_degrees=90"],
        # No transpose of themselves, read from their other side.
        ["network.feedback=shared", "substrate.wires={segment_ohms: 100, source_ohms: 1000}"],
    ],
    ids=["separate", "shared with wires"],
)
def test_feedback_across_nodes_is_within_the_largest_nudge_at_worst(arrays, tmp_path):
    """Its weights are known only when they have been measured: a limit below is in doubt, and a run may end there."""

    def limited(amperes):
        across = ["rule={name: asymmetric_ep}", "nudge={amplitude: 0.02}", *arrays]
        return load_experiment("digits-ideal", [*TINY, *across, f"substrate.limits.current_amperes={amperes}"])

    (told,) = (one for one in dry_run(assemble(limited(1.0))).demands if one.what == "largest nudge")
    run(limited(1.001 * told.value), tmp_path / "run.h5")
    assert told.least is not None
    beyond = limited(2.0 * told.least)
    assert not dry_run(assemble(beyond)).refused
    assert any(one.doubtful for one in dry_run(assemble(beyond)).demands)
    with pytest.raises(CapabilityError, match="current_amperes"):
        run(beyond, tmp_path / "beyond.h5")


@pytest.mark.parametrize(
    "overrides",
    [
        ["rule={name: multiplexed}"],
        ["rule={name: asymmetric_ep, asymmetry: measured}"],
        ["rule={name: ep}", "homeostasis={strength: 0.1, estimator: measured}"],
    ],
    ids=" ".join,
)
def test_a_tone_that_is_too_fast_is_told_whoever_sends_it(overrides, tmp_path):
    slow = [
        "substrate.tiles={rows: 32, columns: 16, summation: digital, adc_bits: 10, adc_range_amperes: 1.0e-3}",
        "substrate.neurons.time_constant_seconds=1.0e-6",
    ]
    experiment = load_experiment("digits-ideal", [*TINY, TONE, *slow, *overrides])
    assert not dry_run(assemble(experiment)).refused
    fast = load_experiment("digits-ideal", [*TINY, TONE.replace("1.0e+3", "1.0e+6"), *slow, *overrides])
    assert dry_run(assemble(fast)).refused
    with pytest.raises(CapabilityError, match="frequency_hz"):
        run(fast, tmp_path / "run.h5")


def test_the_clock_of_an_automatic_amplitude_keeps_to_what_nudging_again_costs_at_most(tmp_path):
    short = ["data={name: digits, train_limit: 128, test_limit: 8}", "training.epochs=4", "training.learning_rate=0.05"]
    short += ["homeostasis.strength=0", "logging.quality_every=0"]
    experiment = load_experiment("digits", short)
    found = {one.what: one.value for one in dry_run(assemble(experiment)).demands}
    with open_run(run(experiment, tmp_path / "run.h5")) as file:
        elapsed = dict(zip(ACTIVITIES, np.asarray(file.table("ledger")["elapsed_seconds"])[-1], strict=True))
    estimate, again = found["time reading, an estimate"], found["time nudging samples again, at most"]
    # One amplitude is too large for some samples.
    assert 1.1 * estimate < elapsed["settle"] + elapsed["read"] < estimate + again
    assert (
        0.7 * found["time under nudges, one sample at a time"]
        < again
        < found["time under nudges, one sample at a time"]
    )
    fixed = dry_run(assemble(load_experiment("digits", [*short, "nudge.amplitude=0.2"])))
    assert "time nudging samples again, at most" not in {one.what for one in fixed.demands}
