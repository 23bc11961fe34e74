"""What a result of a reproduction is of, as kept and as the table tells it; those that are kept, and their bounds."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from substrate.network import Network
from substrate.rules.equilibrium_propagation import EquilibriumPropagation, EquilibriumPropagationSection

FOLDER = Path(__file__).parents[2] / "experiments" / "reproductions"
SCRIPT = FOLDER / "reproduction.py"
SHARED = {"laboratory", "reproduction", "wanted"}
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)
HOURS = {"continual_mnist"}
"""Of the scripts those that take so long that their results may still be missing."""

Git = Callable[..., str]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[tuple[Any, Path, Git]]:
    """The script in a small clone of its own, with a result, a table and a source file; the clone; git there."""
    folder = tmp_path / "experiments" / "reproductions"
    (folder / "results").mkdir(parents=True)
    (folder / "reproduction.py").write_bytes(SCRIPT.read_bytes())
    (folder / "README.md").write_text(
        "<!-- results: written by reproduction.py -->\n<!-- end of results -->\n", encoding="utf-8"
    )
    (folder / "results" / "old.png").write_bytes(b"old")
    (tmp_path / "source.py").write_text("one = 1\n", encoding="utf-8")

    def git(*words: str) -> str:
        author = ["-c", "user.name=someone", "-c", "user.email=someone@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *author, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SUBSTRATE_RESULTS", raising=False)
        yield loaded("reproduction_of_a_test", folder / "reproduction.py", patch), tmp_path, git


def loaded(name: str, path: Path, patch: pytest.MonkeyPatch) -> Any:
    """A module from its file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Data classes look their module up.
    patch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bounds."""
    monkeypatch.delenv("SUBSTRATE_RESULTS", raising=False)
    loaded("reproduction", SCRIPT, monkeypatch)
    return loaded("wanted", FOLDER / "wanted.py", monkeypatch)


@pytest.fixture
def laboratory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What scripts on small networks share."""
    return loaded("laboratory_of_reproductions", FOLDER / "laboratory.py", monkeypatch)


def kept(module: Any) -> tuple[str, str]:
    """The commit in the result of a reproduction now, and the table."""
    with module.reproduction("one", "One", "a paper", "python one.py") as result:
        result.found("|what|", "1", "1")
    text = (module.FOLDER / "README.md").read_text(encoding="utf-8")
    return json.loads((module.RESULTS / "one.json").read_text(encoding="utf-8"))["commit"], text


def test_what_the_scripts_write_is_no_change_of_the_tree(here: tuple[Any, Path, Git]) -> None:
    module, _, git = here
    commit = git("rev-parse", "HEAD")
    (module.RESULTS / "old.png").write_bytes(b"new")
    for _ in range(2):
        found, text = kept(module)
        assert found == commit
        assert f"(commit {commit[:7]};" in text
        assert r"| \|what\| | 1 | 1 |" in text
    assert "README.md" in git("status", "--porcelain")


@pytest.mark.parametrize("staged", [False, True])
def test_a_changed_tree_is_told_in_the_table(here: tuple[Any, Path, Git], staged: bool) -> None:
    module, root, git = here
    commit = git("rev-parse", "HEAD")
    (root / "source.py").write_text("one = 2\n", encoding="utf-8")
    if staged:
        git("add", "source.py")
    found, text = kept(module)
    assert found == f"{commit}-dirty"
    assert f"(commit {commit[:7]} with changes;" in text


def test_results_go_elsewhere_when_asked(here: tuple[Any, Path, Git], monkeypatch: pytest.MonkeyPatch) -> None:
    _, root, _ = here
    folder, elsewhere = root / "experiments" / "reproductions", root / "elsewhere"
    monkeypatch.setenv("SUBSTRATE_RESULTS", str(elsewhere))
    module = loaded("reproduction_elsewhere", folder / "reproduction.py", monkeypatch)
    before = (folder / "README.md").read_text(encoding="utf-8")
    with module.reproduction("one", "One", "a paper", "python one.py") as result:
        result.found("what", "1", "1")
        # Plots are written before the end.
        assert result.picture == elsewhere / "one.png"
        assert elsewhere.is_dir()
    assert (elsewhere / "one.json").exists()
    assert not (folder / "results" / "one.json").exists()
    assert (folder / "README.md").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_result_that_is_kept_is_within_its_bounds(name: str, wanted: Any) -> None:
    assert name in wanted.WANTED
    path = wanted.KEPT / f"{name}.json"
    if not path.exists():
        assert name in HOURS
        return
    assert wanted.missed(path) == []


def test_every_result_has_its_script_its_picture_and_its_table(wanted: Any) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert sorted(wanted.WANTED) == SCRIPTS
    names = {path.stem for path in wanted.KEPT.glob("*.json")}
    assert set(SCRIPTS) - HOURS <= names <= set(SCRIPTS)
    drawn = {name for name in names if "result.picture" in (FOLDER / f"{name}.py").read_text(encoding="utf-8")}
    assert {path.stem for path in wanted.KEPT.glob("*.png")} == drawn
    for name in names:
        one = json.loads((wanted.KEPT / f"{name}.json").read_text(encoding="utf-8"))
        assert one["name"] == name
        assert one["findings"]
        assert one["commit"]
        assert f"reproductions/{name}.py" in one["command"]
        assert text.count(f"### {one['title']}\n") == 1
        assert (f"](results/{name}.png)" in text) == (name in drawn)


def test_the_table_is_of_the_results_that_are_kept(wanted: Any) -> None:
    module = sys.modules["reproduction"]
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert text.split(module.START)[1].split(module.END)[0] == f"\n\n{module.table()}\n"


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ("0.5 %, 2.0e-02, 7", []),
        ("1.5 %, 2.0e-02, 7", ["what: '1.5 %, 2.0e-02, 7': 1.5 is not within 0 .. 1"]),
        ("0.5 %, 5.0e-02, 7", ["what: '0.5 %, 5.0e-02, 7': 0.05 is not within 0.01 .. 0.03"]),
        ("0.5 %", ["what: '0.5 %': nan is not within 0.01 .. 0.03", "what: '0.5 %': -6.5 is not within -1 .. 1"]),
        ("0.5 %, 2.0e-02, 9", ["what: '0.5 %, 2.0e-02, 9': 2 is not within -1 .. 1"]),
        ("nan, 2.0e-02, 7", ["what: 'nan, 2.0e-02, 7': nan is not within 0 .. 1"]),
        ("fewer than 8 left, 2.0e-02, 7", ["what: 'fewer than 8 left, 2.0e-02, 7': nan is not within 0 .. 1"]),
    ],
)
def test_what_misses_a_bound_is_said(ours: str, said: list[str], wanted: Any, tmp_path: Path) -> None:
    bounds = (
        wanted.Bound("what", 0.0, 1.0),
        wanted.Bound("wh.t", 0.01, 0.03, place=1),
        wanted.Bound("what", -1.0, 1.0, place=-1, beside="other", other_place=1),
    )
    wanted.WANTED["one"] = bounds
    findings = [{"what": "what", "ours": ours}, {"what": "other", "ours": "3 and 7"}]
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"name": "one", "findings": findings}), encoding="utf-8")
    assert wanted.missed(path) == said


def test_a_finding_that_is_not_there_misses_its_bound(wanted: Any, tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"name": "one", "findings": []}), encoding="utf-8")
    assert wanted.missed(path) == ["one: nothing is asked"]
    wanted.WANTED["one"] = (wanted.Bound("what", 0.0, count=2), wanted.Bound("long", 0.0, optional=True))
    assert wanted.missed(path) == ["0 findings match 'what', expected 2"]
    findings = [{"what": "what", "ours": "1"}, {"what": "long", "ours": "-1"}]
    path.write_text(json.dumps({"name": "one", "findings": findings}), encoding="utf-8")
    assert wanted.missed(path) == [
        "1 findings match 'what', expected 2",
        "long: '-1': -1 is not within 0 .. inf",
    ]


def test_estimators_are_compared_on_the_samples_that_all_of_them_kept(laboratory: Any) -> None:
    # Two estimators, two amplitudes: the first refuses the samples that are hard for both, and then nearly all.
    hard = np.arange(12) < 4
    cosines = np.array([[np.where(hard, 0.1, 0.95), np.full(12, 0.7)], [np.where(hard, 0.2, 0.85), np.full(12, 0.5)]])
    kept = np.array([[~hard, np.arange(12) < 7], [np.full(12, True), np.full(12, True)]])
    means, count = laboratory.on_common_samples(cosines, kept)
    np.testing.assert_allclose(means, [[0.95, np.nan], [0.85, np.nan]])
    assert count.tolist() == [8, 7]
    assert [laboratory.in_words(mean, 2) for mean in means[0]] == ["0.95", "fewer than 8 left"]


def test_cosines_of_samples_are_those_of_their_own_gradients(laboratory: Any) -> None:
    network = Network((3, 3, 2), feedback="shared")
    weights, (inputs, labels) = laboratory.random_weights(network, 0), laboratory.random_batch(network, 3, 1)
    rule = EquilibriumPropagation(EquilibriumPropagationSection(variant="one_sided"), 0.5, np.random.default_rng(0))
    with laboratory.bench(network, rule, weights) as controller:
        phase, estimate = controller.measure(inputs, labels)
        found = laboratory.sample_cosines(network, estimate, laboratory.exact_samples(controller, phase))
        alone = []
        for place in range(3):
            phase, estimate = controller.measure(inputs[place : place + 1], labels[place : place + 1])
            alone.append(laboratory.cosine(estimate.directions, laboratory.exact(controller, phase)))
    assert max(alone) < 1.0 - 1e-5
    np.testing.assert_allclose(found, alone, atol=1e-9)


def test_several_runs_tell_all_of_their_commits(here: tuple[Any, Path, Git]) -> None:
    module = here[0]
    with module.reproduction("one", "One", "a paper", "python one.py") as result:
        result.found("what", "1", "1")
        result.commit = f"{'a' * 40}, {'b' * 40}-dirty"
    assert "(commits aaaaaaa, bbbbbbb with changes;" in (module.FOLDER / "README.md").read_text(encoding="utf-8")
