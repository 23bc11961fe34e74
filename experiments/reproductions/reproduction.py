"""What the reproductions share: a result with what was published beside it, kept as JSON, and the table of all of them.

`python experiments/reproductions/reproduction.py` writes the table into README.md from the results that are kept. With
``SUBSTRATE_RESULTS=FOLDER`` results and plots go there, and the table is left alone.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import final

from substrate import load_experiment, open_run, resume, run

FOLDER = Path(__file__).resolve().parent
KEPT = FOLDER / "results"
RESULTS = Path(os.environ.get("SUBSTRATE_RESULTS") or KEPT)
START, END = "<!-- results: written by reproduction.py -->", "<!-- end of results -->"


@final
@dataclass(frozen=True)
class Finding:
    """One number or curve beside its published value; `source` is what stands in the paper or in the design."""

    what: str
    published: str
    ours: str


@final
@dataclass
class Reproduction:
    """A figure that is remade.

    Attributes:
        name: of the result, ``results/NAME.json``.
        title: what it shows.
        source: the paper.
        command: what remakes it.
    """

    name: str
    title: str
    source: str
    command: str
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    commit: str = ""
    machine: str = ""

    def found(self, what: str, published: str, ours: str) -> None:
        """Keep one finding, and say it."""
        self.findings.append(Finding(what, published, ours))
        print(f"{what}: published {published}; here {ours}", flush=True)

    @property
    def picture(self) -> Path:
        """Where its plot goes."""
        return RESULTS / f"{self.name}.png"


@contextmanager
def reproduction(name: str, title: str, source: str, command: str) -> Iterator[Reproduction]:
    """Collect findings; what was found is kept when the block ends without an error."""
    # What runs is the tree of now, whatever it is at the end. A result that is read from a run file brings its own.
    one = Reproduction(name, title, source, command, commit=_commit())
    RESULTS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    yield one
    one.seconds = one.seconds or round(time.monotonic() - started, 1)
    one.machine = machine()
    (RESULTS / f"{name}.json").write_text(json.dumps(asdict(one), indent=1) + "\n", encoding="utf-8")
    if RESULTS == KEPT:
        write_table()


def trained(experiment: str, name: str, *overrides: str) -> Path:
    """The finished run of an experiment beside this page, ``runs/NAME.h5``: new, gone on with, or there already."""
    path = Path("runs") / f"{name.replace(' ', '-')}.h5"
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        with open_run(path) as found:
            done = found.summary()["status"] == "finished"
        if not done:
            resume(path)
    else:
        run(load_experiment(FOLDER / experiment, overrides), path)
    return path


def machine() -> str:
    """The machine in one line."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    return f"{processor}, {os.cpu_count()} cores ({threads} threads), Python {sys.version.split()[0]}"


def table() -> str:
    """All results that are kept, as README.md has them between its two marks."""
    lines = []
    for path in sorted(KEPT.glob("*.json")):
        one = json.loads(path.read_text(encoding="utf-8"))
        lines += [f"### {one['title']}", "", f"{one['source']}. Remade by `{one['command']}`"]
        lines[-1] += f" in {one['seconds']:.0f} s ({_told(one['commit'])}; {one['machine']})."
        lines += ["", "| what | published | here |", "|---|---|---|"]
        for row in one["findings"]:
            # A bar in a cell would end it.
            lines.append(
                "| " + " | ".join(row[key].replace("|", "\\|") for key in ("what", "published", "ours")) + " |"
            )
        if (KEPT / f"{one['name']}.png").exists():
            lines += ["", f"![{one['title']}](results/{one['name']}.png)"]
        lines.append("")
    return "\n".join(lines)


def write_table() -> None:
    """Put all results that are kept into README.md."""
    readme = FOLDER / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{START}\n\n{table()}\n{END}{after}", encoding="utf-8")


def _commit() -> str:
    """The commit of the tree, with ``-dirty`` after it where more has changed than what the scripts write here."""
    root = FOLDER.parents[1]
    place = FOLDER.relative_to(root).as_posix()
    written = [f":(exclude){place}/{name}" for name in ("results", "README.md")]
    commit = _git(root, "rev-parse", "HEAD")
    return f"{commit}-dirty" if _git(root, "diff", "--name-only", "HEAD", "--", ".", *written) else commit


def _git(folder: Path, *words: str) -> str:
    """What git says; nothing outside of a clone."""
    found = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else ""


def _told(commits: str) -> str:
    """A commit for the table, or those of several runs with commas between."""
    if not commits:
        return "commit not known"
    told = [one[:7] + (" with changes" if one.endswith("-dirty") else "") for one in commits.split(", ")]
    return ("commit " if len(told) == 1 else "commits ") + ", ".join(told)


if __name__ == "__main__":
    write_table()
