"""The words of a report: status, verdict, key figures, what was run on what device, the numbers of every epoch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from substrate.experiment.report_text import duration, number, percent, si
from substrate.experiment.runfile import RunFile, text_of

__all__ = ["cards", "described", "epoch_table", "facts", "mapping", "rows", "settings", "status", "table", "verdict"]

_EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": 130}

# Ends of key names that state a unit, and the unit's symbol.
_UNITS = {
    "_siemens": "S",
    "_ohms": "Ω",
    "_volts": "V",
    "_amperes": "A",
    "_seconds": "s",
    "_hz": "Hz",
    "_farads": "F",
}

_EPOCH_COLUMNS = (
    "epoch",
    "train_loss",
    "test_loss",
    "train_accuracy",
    "test_accuracy",
    "gradient_cosine",
    "symmetry",
    "pulses",
    "excluded_fraction",
    "learning_rate",
    "seconds",
)


def status(run: RunFile, summary: Mapping[str, Any]) -> dict[str, str]:
    """Kind, label, exit status and message: also of a run that was killed or is still running."""
    stored, message = str(summary["status"]), str(summary["message"])
    if _killed(run):
        return {
            "kind": "interrupted",
            "label": "killed",
            "exit": "none recorded: the process ended without closing its file",
            "message": message
            or "The process ended without closing its file. Everything acknowledged until then is "
            "below; “substrate recover” makes the file plain, “substrate resume” goes on from its last checkpoint.",
        }
    if stored == "running":
        return {
            "kind": "running",
            "label": "running",
            "exit": "none yet",
            "message": "The run is still being written; this page shows what it had stored by now.",
        }
    code = _EXIT_CODES.get(stored)
    return {
        "kind": stored,
        "label": stored,
        "exit": stored if code is None else f"{stored} (exit code {code})",
        "message": message,
    }


def verdict(run: RunFile, summary: Mapping[str, Any]) -> str:
    """How far the run came and how well the network does, in one sentence."""
    done, planned = summary["epochs"], summary["epochs_planned"]
    text = f"{number(done)} of {number(planned)} epochs" if planned else f"{number(done)} epochs"
    text += f" ({number(summary['steps'])} steps) in {duration(summary['wall_seconds'])}"
    if summary["test_accuracy"] is not None:
        text += f"; the network then put {percent(summary['test_accuracy'])} of the test samples into the right class"
    elif summary["steps"]:
        seen = _finite(table(run, "train").get("accuracy"))[-50:]
        text += "; no epoch was finished, so there is no test accuracy yet"
        if seen.size:
            text += f" (training accuracy over the last {len(seen)} steps: {percent(float(seen.mean()))})"
    else:
        text += "; no training step was done"
    return text + "."


def cards(run: RunFile, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Key figures, each with its label; only those that the run holds."""
    found = []
    for key, label in (("test_accuracy", "test accuracy"), ("train_accuracy", "training accuracy")):
        if summary[key] is not None:
            found.append((percent(summary[key]), label))
    steps = table(run, "train")
    cosine = _finite(steps.get("gradient_cosine"))
    if cosine.size:
        found.append((f"{np.median(cosine):.4f}", "gradient cosine, median"))
    if rows(steps):
        found.append((number(int(np.sum(steps["pulses"]))), "programming pulses"))
    symmetry = _finite(table(run, "epochs").get("symmetry"))
    if symmetry.size:
        found.append((f"{symmetry[-1]:.4f}", "symmetry score, last"))
    if summary["samples_per_second"] is not None:
        found.append((f"{summary['samples_per_second']:,.0f}", "training samples per second"))
    return found


def facts(run: RunFile, summary: Mapping[str, Any], config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is needed to tell this run from others and to repeat it: names and values."""
    network = mapping(config.get("network"))
    layers = "–".join(str(size) for size in network.get("layers", ()))
    data = mapping(config.get("data")).get("name")
    attributes = run.attrs
    found = [
        ("data set", str(data or "not stated")),
        ("network", ", ".join(str(p) for p in (layers, network.get("activation")) if p) or "not stated"),
        ("feedback arrays", str(network.get("feedback", "not stated"))),
        ("learning rule", str(summary["rule"] or "not stated")),
        ("device", str(summary["backend"] or "not stated")),
        ("seed", str(summary["seed"])),
        ("exit status", status(run, summary)["exit"]),
        ("started", str(summary["started"])),
        ("duration", duration(summary["wall_seconds"])),
        ("resumed", {0: "never", 1: "once"}.get(summary["resumes"], f"{summary['resumes']} times")),
        ("run file", run.path.name),
        ("commit", str(summary["git_commit"]) or "not known (no clone)"),
        ("experiment SHA-256", str(summary["experiment_sha256"])),
        ("versions", ", ".join(f"{key} {value}" for key, value in summary["versions"].items())),
    ]
    known = {"substrate_version", "schema", "experiment_yaml", "experiment_sha256", "seed", "status", "created", "argv"}
    known |= {"git_commit", "packages", "message", "wall_seconds", "NX_class", "default"}
    found += [(key.replace("_", " "), str(value)) for key, value in attributes.items() if key not in known]
    return found


def settings(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sections of the experiment beside the device, one line each."""
    left_out = {"experiment", "seed", "substrate"}
    return described({key: value for key, value in config.items() if key not in left_out})


def described(section: Any) -> list[tuple[str, str]]:
    """One line for each subsection: its keys in words, its values with units."""
    lines = []
    for key, value in mapping(section).items():
        if isinstance(value, Mapping):
            told = "; ".join(_setting(str(k), v) for k, v in value.items() if v not in (None, [], {}))
        else:
            told = _setting("", value)
        lines.append((str(key).replace("_", " "), told or "–"))
    return lines


def epoch_table(run: RunFile) -> dict[str, list[Any]]:
    """The series `epochs` as text: its column names and rows."""
    epochs = table(run, "epochs")
    names = [name for name in _EPOCH_COLUMNS if name in epochs]
    lines = [[_cell(name, epochs[name][row]) for name in names] for row in range(rows(epochs))]
    return {"names": [name.replace("_", " ") for name in names], "rows": lines}


def table(run: RunFile, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """The whole rows of a series, without any where the file has no such series."""
    return run.table(name) if name in run.lengths else {}


def rows(series: Mapping[str, np.ndarray[Any, Any]]) -> int:
    """Rows of a table."""
    return len(next(iter(series.values()), ()))


def mapping(value: Any) -> Mapping[str, Any]:
    """The value, or an empty mapping where it is none."""
    return value if isinstance(value, Mapping) else {}


def _killed(run: RunFile) -> bool:
    """Whether the writer died without a word: it says running, and is not there."""
    return run.status == "interrupted" and text_of(run.array("state/status")) == "running"


def _setting(key: str, value: Any) -> str:
    unit = next((symbol for end, symbol in _UNITS.items() if key.endswith(end)), None)
    name = key
    for end in _UNITS:
        name = name.removesuffix(end)
    return f"{name.replace('_', ' ')} {_value(value, unit)}".strip()


def _value(value: Any, unit: str | None) -> str:
    if isinstance(value, Mapping):
        return ", ".join(_setting(str(k), v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one, unit) for one in value) + "]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return si(float(value), unit) if unit else f"{value:g}"
    return str(value)


def _cell(name: str, value: Any) -> str:
    value = float(value)
    if not np.isfinite(value):
        return "–"
    if name.endswith(("accuracy", "fraction")):
        return percent(value)
    return number(value, 4)


def _finite(values: Any) -> np.ndarray[Any, Any]:
    return np.empty(0) if values is None else values[np.isfinite(values)]
