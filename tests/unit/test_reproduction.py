"""Which tree a reproduction's result is of, as it is kept and as the table tells it."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "reproductions" / "reproduction.py"

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
    spec = importlib.util.spec_from_file_location("reproduction_of_a_test", folder / "reproduction.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its data classes look their module up.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module, tmp_path, git


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
