"""Reports: one page of its own that holds what the run file holds, whatever the state of the run."""

import base64
import re
import shutil
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, final
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
import yaml

from substrate import load_experiment, run
from substrate.cli import main
from substrate.errors import InputError, RunFileError, RunInterrupted
from substrate.experiment.progress import Progress
from substrate.experiment.report import write_report
from substrate.experiment.report_devices import device_pictures, stuck_cells
from substrate.experiment.report_drawing import bins, style
from substrate.experiment.report_text import duration, number, percent, si
from substrate.experiment.runfile import open_run

VOID = {"meta", "img", "br", "hr", "link", "input"}


@final
class Page(HTMLParser):
    """The text, images and attributes of a page; fails where an element is closed that is not open."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.captions = 0
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        self.captions += tag == "figcaption"
        self.links += [str(value) for key, value in attrs if key in ("src", "href", "srcset", "action", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def pictures(self) -> list[str]:
        """The text in each picture; each must be well-formed SVG."""
        found = []
        for image in self.images:
            head, _, data = str(image["src"]).partition(",")
            assert head == "data:image/svg+xml;base64"
            root = ElementTree.fromstring(base64.b64decode(data))
            assert root.tag.endswith("svg")
            found.append(" ".join("".join(one.itertext()) for one in root.iter() if one.tag.endswith("text")))
        return found


@final
class Watcher(Progress):
    """Copies the run file after some steps, as a killed process would leave it; may report on it or stop the run."""

    def note(self, text: str) -> None:
        pass

    def __init__(self, path: Path, steps: int, live: Path | None = None, stop: bool = False) -> None:
        self.path, self.steps, self.live, self.stop = path, steps, live, stop
        self.copy = path.with_name("copy.h5")

    def start(self, name: str, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        if self.steps == 0:
            self._look()

    def step(self, epoch: int, report: Mapping[str, Any]) -> None:
        self.steps -= 1
        if self.steps == 0:
            self._look()

    def epoch(self, epoch: int, report: Mapping[str, Any]) -> None:
        if self.stop:
            raise RunInterrupted("enough seen")

    def close(self) -> None:
        pass

    def _look(self) -> None:
        shutil.copy(self.path, self.copy)
        if self.live is not None:
            write_report(self.path, self.live)


def report(path: Path, folder: Path) -> Page:
    target = folder / "report.html"
    assert write_report(path, target) == target
    return Page(target)


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a chip with faults, two epochs, watched in the first."""
    path = tmp_path_factory.mktemp("chip") / "run.h5"
    overrides = ["training.epochs=2", "data.name=iris", "substrate.cells.stuck=0.2", "logging.quality_every=5"]
    watcher = Watcher(path, 4, path.with_name("live.html"))
    run(load_experiment("iris", overrides, seed=3), path, watcher)
    return path


@pytest.fixture(scope="module")
def page(chip: Path) -> Page:
    return report(chip, chip.parent)


def test_page_is_self_contained(page: Page) -> None:
    assert page.links
    assert all(link.startswith("data:image/") for link in page.links)
    assert not re.search(r"https?://|//\w+\.\w|@import|url\(|<script|<link|<iframe", page.source)
    assert len(page.source) < 2_000_000
    assert len(page.pictures()) == page.captions > 10
    assert all(image["alt"] for image in page.images)


def test_page_holds_the_numbers_of_the_run(chip: Path, page: Page) -> None:
    with h5py.File(chip) as file:
        epochs = {name: file["epochs"][name][()] for name in file["epochs"]}
        steps = {name: file["train"][name][()] for name in file["train"]}
        table = file["evaluation/confusion"][-1]
        cells = file["conductances/input-hidden1"][()]
        commit, text = str(file.attrs["git_commit"]), str(file.attrs["experiment_yaml"])
    for name in ("test_accuracy", "train_accuracy"):
        for value in epochs[name]:
            assert f"{100 * value:.2f} %" in page.text
    assert f"2 of 2 epochs ({len(steps['step'])} steps)" in page.text
    assert f"{int(steps['pulses'].sum()):,}" in page.text
    assert f"{np.trace(table)} of {table.sum()} test samples" in page.text
    assert f"{np.nanmedian(steps['gradient_cosine']):.4f}" in page.text
    assert f"{epochs['symmetry'][-1]:.4f}" in page.text
    assert "seed 3" in page.text
    assert "finished (exit code 0)" in page.text
    assert f"numpy {np.__version__}" in page.text
    assert not commit or commit in page.text
    found = re.search(r'<pre id="experiment">(.*?)</pre>', page.source, re.DOTALL)
    assert found is not None
    assert yaml.safe_load(found.group(1)) == yaml.safe_load(text)
    stuck = stuck_cells(cells, 1e-6, 1e-4)
    assert stuck.any()
    assert f"{stuck.sum()} of {stuck.size} devices" in page.text


def test_all_that_a_run_tells_is_drawn(page: Page) -> None:
    pictures = " ".join(page.pictures())
    for label in ("phase of the nudge", "+A1", "−3 A3", "loss of a batch", "pulses in an epoch", "symmetry score"):
        assert label in pictures
    for label in (
        "before training",
        "after epoch 2",
        "never moved",
        "true class",
        "truncation",
        "noise",
        "hidden1",
        "output",
    ):
        assert label in pictures


def test_live_and_killed_runs(chip: Path, tmp_path: Path) -> None:
    live = Page(chip.with_name("live.html"))
    assert "still being written" in live.text
    assert "0 of 2 epochs (4 steps)" in live.text
    killed = report(chip.with_name("copy.h5"), tmp_path)
    assert "killed" in killed.text
    assert "0 of 2 epochs (4 steps)" in killed.text
    assert "no test accuracy" in killed.text
    assert killed.pictures()


def test_run_killed_before_its_first_step(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    run(load_experiment("xor", ["training.epochs=1"]), path, Watcher(path, 0))
    page = report(tmp_path / "copy.h5", tmp_path)
    assert "no training step was done" in page.text
    assert "Histogram of conductances" in page.text


def test_interrupted_run_says_why(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with pytest.raises(RunInterrupted):
        run(load_experiment("xor", ["training.epochs=3"]), path, Watcher(path, -1, stop=True))
    page = report(path, tmp_path)
    assert "interrupted (exit code 130)" in page.text
    assert "enough seen" in page.text
    assert "1 of 3 epochs" in page.text


def test_shared_feedback_and_softmax(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    overrides = ["network.feedback=shared", "cost.name=softmax_cross_entropy", "homeostasis.strength=0"]
    run(load_experiment("xor", ["training.epochs=1", "logging.quality_every=0", *overrides]), path)
    page = report(path, tmp_path)
    assert "symmetric by itself" in page.text
    assert "output → hidden1" not in page.text
    assert "No step was compared with an exact gradient" in page.text
    assert "No pulses were given (writing mode: outright)" in page.text


def test_columns_without_a_number_and_text_like_markup(chip: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    shutil.copy(chip, path)
    with h5py.File(path, "r+") as file:
        file.attrs["experiment_yaml"] = "experiment: <b>$x_1$</b>\nsubstrate: {backend: '<script>'}\n"
        for group in ("train", "epochs", "nudge", "conductances"):
            for dataset in file[group].values():
                if dataset.dtype.kind == "f" and dataset.ndim:
                    dataset[...] = np.nan
    page = report(path, tmp_path)
    assert "nan" not in page.text.lower().split()
    assert "Confusion matrix" in page.text
    assert "<script" not in page.source
    assert "<b>$x_1$</b>" in page.text


def test_large_arrays_stay_small_on_the_page() -> None:
    rng = np.random.default_rng(1)
    cells = rng.uniform(1e-6, 1e-4, (2, 2, 785, 128))
    with style():
        pictures = device_pictures(cells, (1e-6, 1e-4), 1)
    assert len(pictures) == 3
    assert sum(len(picture.source) for picture in pictures) < 1_000_000


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1)])
@pytest.mark.parametrize("snapshots", [1, 2])
def test_small_and_uniform_arrays(shape: tuple[int, int], snapshots: int) -> None:
    with style():
        assert len(device_pictures(np.full((snapshots, 2, *shape), 5e-5), None, 1)) == 3


def test_stuck_cells_are_those_that_never_moved_at_an_end() -> None:
    cells = np.full((3, 2, 2, 2), 5e-5)
    cells[:, 0, 0, 0] = 1e-6  # stuck off
    cells[:, 1, 1, 1] = 1e-4  # stuck on
    cells[:, 0, 1, 0] = [1e-6, 2e-6, 1e-6]  # at an end, but it moved
    stuck = stuck_cells(cells, 1e-6, 1e-4)
    assert np.argwhere(stuck).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert not stuck_cells(cells[:1], 1e-6, 1e-4).any()


def test_bins_are_means_of_what_is_finite() -> None:
    centre, mean, least, most = bins(np.array([1.0, 3.0, np.nan, 5.0, np.nan, np.nan, 8.0]), 4)
    assert centre.tolist() == [0.5, 2.5, 6.0]
    assert mean.tolist() == [2.0, 5.0, 8.0]
    assert least.tolist() == [1.0, 5.0, 8.0]
    assert most.tolist() == [3.0, 5.0, 8.0]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(2.5e-5, "S", "25 µS"), (-0.0032, "V", "−3.2 mV"), (0.0, "A", "0 A"), (1000.0, "Hz", "1 kHz"), (1.0, "Ω", "1 Ω")],
)
def test_si(value: float, unit: str, text: str) -> None:
    assert si(value, unit).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize("value", [999.6, 0.9996, 9.996e-7, 999.4e3])
def test_si_never_shows_a_thousand(value: float) -> None:
    shown = si(value, "V").split("\N{NO-BREAK SPACE}")
    assert 1 <= float(shown[0]) < 1000


def test_other_numbers() -> None:
    assert percent(0.9499) == "94.99\N{NO-BREAK SPACE}%"
    assert percent(None) == percent(float("nan")) == number(float("nan")) == "–"
    assert number(288863) == "288,863"
    assert duration(15.9) == "15.9\N{NO-BREAK SPACE}s"
    assert duration(125) == "2 min 5 s"
    assert duration(3 * 3600 + 240) == "3 h 4 min"


def test_bad_input(chip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunFileError, match="no such run file"):
        write_report(tmp_path / "missing.h5", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
    with pytest.raises(InputError, match="nowhere does not exist"):
        write_report(chip, tmp_path / "nowhere" / "report.html")
    with pytest.raises(InputError, match="got a folder"):
        write_report(chip, tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        write_report(chip, tmp_path / ("x" * 300))
    with pytest.raises(InputError, match="cannot be written"):  # a folder that takes no files, even from root
        write_report(chip.with_name("copy.h5"), "/proc/report.html")
    before = chip.read_bytes()
    with pytest.raises(InputError, match="is the run file itself"):
        write_report(chip, chip)
    assert chip.read_bytes() == before
    assert main(["report", str(tmp_path / "missing.h5"), "-o", str(tmp_path / "report.html")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_same_run_same_page(chip: Path, page: Page, tmp_path: Path) -> None:
    before = chip.read_bytes()
    assert report(chip, tmp_path).source == page.source
    assert chip.read_bytes() == before
    with open_run(chip) as opened:
        assert opened.status == "finished"
