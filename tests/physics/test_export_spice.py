"""``substrate export-spice``: the deck runs as it is, and ngspice finds the emulator's own states."""

import re
from pathlib import Path

import numpy as np
import pytest
from ngspice_network import output_harmonics, read_raw, run_network, waveforms

from substrate import load_experiment
from substrate.cli import main
from substrate.contract import Substrate
from substrate.demodulation import harmonics
from substrate.experiment.assembly import assemble
from substrate.experiment.export import export_spice

EXACT_READING = ("substrate.converters.adc_bits=0", "substrate.converters.adc_noise_volts=0", "nudge.periods=1")
FAST = ("substrate.neurons.time_constant_seconds=1.0e-4", "nudge.frequency_hz=800", "substrate.solver.residual=1e-10")
HARD_WIRES = ("substrate.wires.segment_ohms=50", "substrate.wires.source_ohms=200", "substrate.wires.sense_ohms=80")
TILES = "substrate.tiles={rows: 2, columns: 3}"
DIGITAL = "substrate.tiles={rows: 2, columns: 3, summation: digital, adc_bits: 8, adc_range_amperes: 1.0e-5}"
PATHS = "substrate.feedback_paths={cells: {law: sinh, alpha: 3.0}, wires: {segment_ohms: 50, sense_ohms: 80}}"
LOOP = ("nudge.periods=1", "homeostasis.strength=0", "network.feedback=loop", "network.output_activation=linear")
SLOW_PARTS = ("substrate.neurons.time_constant_spread=0.2", "substrate.neurons.amplifier_bandwidth_hz=5000")


def exported(source: str, folder: Path, sample: int, overrides: tuple[str, ...]) -> str:
    path = folder / "deck.cir"
    settings = [part for override in overrides for part in ("--set", override)]
    assert main(["export-spice", source, "-o", str(path), "--sample", str(sample), *settings]) == 0
    return path.read_text()


@pytest.mark.parametrize(
    ("source", "sample", "overrides"),
    [
        ("xor", 2, ("nudge.periods=1",)),
        ("xor", 1, ("nudge.periods=1", "network.feedback=shared", "homeostasis.strength=0", *FAST)),
        ("xor", 2, (*LOOP, "network.layers=[2, 3, 4, 2]")),
        ("xor", 2, (*LOOP, "network.layers=[2, 3, 4, 3, 2]", *FAST)),
        ("iris", 3, (*EXACT_READING, *FAST, *SLOW_PARTS)),
        ("iris", 0, (*EXACT_READING, *FAST, "substrate.cells.law=sinh", "homeostasis.strength=0")),
        ("iris", 3, (*EXACT_READING, *FAST, *HARD_WIRES, TILES)),
        ("xor", 1, ("nudge.periods=1", "network.feedback=shared", "homeostasis.strength=0", *HARD_WIRES, TILES)),
        ("xor", 2, ("nudge.periods=1", *HARD_WIRES, DIGITAL)),
        ("iris", 0, (*EXACT_READING, *FAST, PATHS, "homeostasis.strength=0")),
    ],
    ids=[
        "ideal",
        "shared",
        "loop of three",
        "loop of four",
        "chip",
        "curved",
        "tiles",
        "tiles, shared",
        "digitised tiles",
        "feedback paths",
    ],
)
def test_ngspice_finds_what_the_device_reads(
    source: str, sample: int, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    text = exported(source, tmp_path, sample, overrides)
    assembly = assemble(load_experiment(source, overrides))
    plan, dataset = assembly.experiment.nudge.plan(), assembly.dataset
    with assembly.substrate as substrate:
        controller = assembly.controller()
        controller.program(assembly.initial_weights())
        first = assembly.experiment.training.batch_size
        controller.prepare(dataset.train_inputs[:first].astype(float), dataset.train_labels[:first])
        held = slice(sample, sample + 1)
        phase, estimate = controller.measure(dataset.train_inputs[held].astype(float), dataset.train_labels[held])
        network, unit = substrate.network, substrate.scale.volts_per_unit
    assert estimate.keep.all()
    answer = run_network(text, tmp_path, "deck_nudge.raw")
    free = waveforms(network, read_raw(tmp_path / "deck_free.raw"), "output")[0] / unit
    np.testing.assert_allclose(free, phase.activity[0], rtol=0, atol=1e-6)
    record = estimate.signals.waveform[0].T
    expected = np.array(harmonics(record, plan.samples_per_period, 3))
    start = re.search(r"^tran \S+ \S+ (\S+)", text, re.MULTILINE)
    assert start is not None
    settling = round(float(start[1]) * plan.frequency_hz)
    found = np.array(output_harmonics(network, answer, plan.frequency_hz, unit, settling))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected[0, :, 1]).max())


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("network.amplifier_gain=2.0", "substrate.diodes.law=shockley"),
        ("substrate.wires.segment_ohms=1.0", "substrate.cells.window_siemens=[1.0e-6,1.0e-4]"),
        ("network.amplifier_gain=2.0", "substrate.diodes.law=shockley", "substrate.neurons.node_farads=1.0e-7"),
        (
            "substrate.wires.segment_ohms=20.0",
            "substrate.cells.window_siemens=[1.0e-6,1.0e-4]",
            "substrate.tiles={rows: 24, columns: 3}",
        ),
    ],
    ids=["ideal", "shockley, amplifiers", "wires", "capacitance", "tiles"],
)
def test_ngspice_finds_what_a_resistive_device_reads(overrides: tuple[str, ...], tmp_path: Path) -> None:
    small = ("network.layers=[64, 4, 10]", *overrides)
    text = exported("digits-resistive", tmp_path, 5, small)
    assembly = assemble(load_experiment("digits-resistive", small))
    dataset = assembly.dataset
    with assembly.substrate as substrate:
        controller = assembly.controller()
        controller.program(assembly.initial_weights())
        first = assembly.experiment.training.batch_size
        controller.prepare(dataset.train_inputs[:first].astype(float), dataset.train_labels[:first])
        phase, estimate = controller.measure(dataset.train_inputs[5:6].astype(float), dataset.train_labels[5:6])
        unit = substrate.scale.volts_per_unit
    names = [f"v(n1_{i})" for i in range(4)] + [f"v(n2_{i})" for i in range(10)]
    period = run_network(text, tmp_path, "deck_nudge.raw")
    free = read_raw(tmp_path / "deck_free.raw")
    expected = phase.activity[0] * unit
    found = np.array([free[name][0] for name in names])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    # The crest that the run ends with; its first point need not be one.
    crest = np.array([period[name][-1] for name in names]) / unit
    swing = estimate.signals.waveform[0, 0] - phase.activity[0]
    np.testing.assert_allclose(crest - phase.activity[0], swing, rtol=0, atol=1e-3 * np.abs(swing).max())


def test_a_run_gives_its_trained_cells(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    assert main(["run", "xor", "--set", "training.epochs=3", "--output", str(path), "--quiet"]) == 0
    trained, fresh = exported(str(path), tmp_path, 0, ()), exported("xor", tmp_path, 0, ())
    cells = [
        np.array([float(line.split()[-1]) for line in text.splitlines() if line.startswith("Rc")])
        for text in (trained, fresh)
    ]
    assert len(cells[0]) == len(cells[1]) == 2 * (3 * 8 + 9 * 2 + 2 * 8)
    assert np.abs(cells[0] / cells[1] - 1).max() > 1e-3
    run_network(trained, tmp_path, "deck_nudge.raw")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["xor", "--sample", "4"], r"--sample: expected 0\.\.3"),
        (["xor", "--sample", "-1"], r"--sample: expected 0\.\.3"),
        (["nowhere"], "nowhere: no such file"),
    ],
)
def test_bad_input_ends_with_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deck.cir"
    assert main(["export-spice", *arguments, "-o", str(path)]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not path.exists()


def test_bad_outputs_end_with_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for output in (tmp_path, tmp_path / "none" / "deck.cir", tmp_path / "my deck.cir"):
        assert main(["export-spice", "xor", "-o", str(output)]) == 2
        assert "--output" in capsys.readouterr().err


def test_a_backend_without_a_circuit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assembly = assemble(load_experiment("xor"))
    assert isinstance(assembly.substrate, Substrate)
    monkeypatch.setattr(assembly.substrate, "export", None)
    with pytest.raises(Exception, match="emulator has no circuit to export"):
        export_spice(assembly, "deck")
