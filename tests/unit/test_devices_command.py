"""``substrate devices``: the list, the figures and the picture of published memristors."""

import json
from pathlib import Path

import pytest

from emulators.memristors.presets import PRESETS
from substrate import registry
from substrate.catalogue import DeviceCatalogue
from substrate.cli import main


def test_the_list_names_every_preset_with_law_window_and_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0
    shown = capsys.readouterr().out.splitlines()
    entries = list(zip(shown[::2], shown[1::2], strict=True))
    assert [entry.split()[0] for entry, _ in entries] == list(PRESETS)
    for (entry, paper), preset in zip(entries, PRESETS.values(), strict=True):
        assert entry.split()[1] == preset.update.law
        assert f"{1e6 * preset.window_siemens[1]:g} uS" in entry
        assert preset.source in paper
        assert preset.doi in paper
    assert main(["devices", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == list(PRESETS)


def test_figures_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "rpu-baseline", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # Constant steps: as many up as down, and 95 % of the range over the step of pulses.
    low, high = found["window_siemens"]
    assert found["asymmetry"] == 0.0
    assert found["step_up_siemens"] == pytest.approx(found["step_down_siemens"])
    range_siemens = 2 / 3.2 * (high - low)
    assert found["pulses_up"] == pytest.approx(0.95 * range_siemens / found["step_up_siemens"], rel=0.01)
    assert main(["devices", "pcm"]) == 0
    text = capsys.readouterr().out
    assert "one_sided" in text
    assert "0 .. 2.5e-05" in text


def test_the_curve_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "curve.png"
    assert main(["devices", "pcm", "--plot", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such"], "reram_soft_bounds"),
        (["--plot", "curve.png"], "--plot"),
        (["pcm", "--plot", "no-such-folder/curve.png"], "no-such-folder"),
        (["pcm", "--plot", "curve.nonsense"], "curve.nonsense"),
    ],
)
def test_bad_input_is_one_message(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", *arguments]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert "Traceback" not in errors


def test_without_a_backend_that_lists_devices(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    none: list[DeviceCatalogue] = []
    monkeypatch.setattr(registry, "device_catalogues", lambda: none)
    assert main(["devices"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["devices", "pcm"]) == 2
    assert "none of the installed backends" in capsys.readouterr().err
