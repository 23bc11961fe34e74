"""What an experiment would ask of its device, against what it then asks."""

import numpy as np
import pytest

from emulators.substrate import EmulatedSubstrate
from substrate import load_experiment, run
from substrate.cli import main
from substrate.experiment.assembly import assemble
from substrate.experiment.dry_run import dry_run

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
    hold, nudge, write = EmulatedSubstrate._hold, EmulatedSubstrate._nudge, EmulatedSubstrate._write_cells

    def held(self, volts):
        seen["volts"] = max(seen["volts"], np.abs(volts).max())
        hold(self, volts)

    def nudged(self, request, plan):
        seen["amperes"] = max(seen["amperes"], np.abs(request.amperes).max())
        return nudge(self, request, plan)

    def written(self, request):
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


def test_what_is_beyond_the_limits_is_said(capsys):
    beyond = "substrate.limits={read_volts: 0.3, write_volts: 2.0, current_amperes: 1.0e-6}"
    assert demands(beyond)["largest nudge"].refused
    assert not demands()["largest nudge"].refused
    arguments = [word for override in [*PULSED, beyond] for word in ("--set", override)]
    assert main(["run", "xor", "--dry-run", *arguments]) == 2
    assert "BEYOND" in capsys.readouterr().out


def test_a_dry_run_opens_nothing(tmp_path, monkeypatch, capsys):
    def refuse(self):
        raise AssertionError("opened")

    monkeypatch.setattr(EmulatedSubstrate, "_open", refuse)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "xor", "--dry-run"]) == 0
    assert not list(tmp_path.iterdir())
    assert "largest input" in capsys.readouterr().out
