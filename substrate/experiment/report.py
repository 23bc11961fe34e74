"""The report of a run: one self-contained HTML page that says what was run, on what, and how it went, with pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, final

import numpy as np
import yaml

from substrate.errors import InputError
from substrate.experiment.runfile import RunFile, open_run, text_of

__all__ = ["write_report"]

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


@final
@dataclass(frozen=True)
class _Section:
    """A part of the page: pictures under a heading, with what there is to say where a picture is missing."""

    title: str
    introduction: str
    pictures: Sequence[Any]
    notes: Sequence[str] = ()


def write_report(run_path: str | Path, output_path: str | Path) -> Path:
    """Write the report of a run, whatever the state of its file.

    Args:
        run_path: the run file: finished, interrupted, killed, or still being written.
        output_path: the HTML file; replaced if it exists.

    Returns:
        The HTML file.

    Raises:
        RunFileError: no readable run file.
        InputError: the page cannot be written there.
    """
    target = Path(output_path)
    if target.is_dir():
        raise InputError(f"{target}: expected the name of an HTML file, got a folder")
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist")
    with open_run(run_path) as run:
        if target.exists() and target.samefile(run_path):
            raise InputError(f"{target}: is the run file itself; expected another name for the report")
        page = _page(run)
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target


def _page(run: RunFile) -> str:
    # Imported here: pages are made now and then, and both take their time to load.
    from jinja2 import Environment, StrictUndefined

    from substrate.experiment import report_figures as figures

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        files("substrate.experiment").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    summary = run.summary()
    text = str(run.attrs["experiment_yaml"])
    loaded = yaml.safe_load(text)
    config: Mapping[str, Any] = loaded if isinstance(loaded, Mapping) else {}
    with figures.style():
        sections = list(_sections(run, config))
    return template.render(
        name=summary["experiment"] or run.path.name,
        status=_status(run, summary),
        verdict=_verdict(run, summary),
        cards=_cards(run, summary),
        facts=_facts(run, summary, config),
        device=_described(config.get("substrate", {})),
        settings=_settings(config),
        sections=sections,
        epochs=_epoch_table(run),
        starts=run.starts(),
        yaml=text,
        command=" ".join(summary["argv"]),
    )


def _table(run: RunFile, name: str) -> dict[str, np.ndarray[Any, Any]]:
    return run.table(name) if name in run.lengths else {}


def _rows(table: Mapping[str, np.ndarray[Any, Any]]) -> int:
    return len(next(iter(table.values()), ()))


def _killed(run: RunFile) -> bool:
    """Whether the writer died without a word: it says running, and is not there."""
    return run.status == "interrupted" and text_of(run.array("state/status")) == "running"


def _status(run: RunFile, summary: Mapping[str, Any]) -> dict[str, str]:
    status, message = str(summary["status"]), str(summary["message"])
    if _killed(run):
        return {
            "kind": "interrupted",
            "label": "killed",
            "exit": "none recorded: the process ended without closing its file",
            "message": message
            or "The process ended without closing its file. Everything acknowledged until then is "
            "below; `substrate recover` makes the file plain, `substrate resume` goes on from its last checkpoint.",
        }
    if status == "running":
        return {
            "kind": "running",
            "label": "running",
            "exit": "none yet",
            "message": "The run is still being written; this page shows what it had stored by now.",
        }
    code = _EXIT_CODES.get(status)
    return {
        "kind": status,
        "label": status,
        "exit": status if code is None else f"{status} (exit code {code})",
        "message": message,
    }


def _verdict(run: RunFile, summary: Mapping[str, Any]) -> str:
    from substrate.experiment.report_figures import number, percent

    done, planned = summary["epochs"], summary["epochs_planned"]
    text = f"{number(done)} of {number(planned)} epochs" if planned else f"{number(done)} epochs"
    text += f" ({number(summary['steps'])} steps) in {_duration(summary['wall_seconds'])}"
    if summary["test_accuracy"] is not None:
        text += f"; the network then put {percent(summary['test_accuracy'])} of the test samples into the right class"
    elif summary["steps"]:
        seen = _finite(_table(run, "train").get("accuracy"))[-50:]
        text += "; no epoch was finished, so there is no test accuracy yet"
        if seen.size:
            text += f" (training accuracy over the last {len(seen)} steps: {percent(float(seen.mean()))})"
    else:
        text += "; no training step was done"
    return text + "."


def _cards(run: RunFile, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    from substrate.experiment.report_figures import number, percent

    cards = []
    for key, label in (("test_accuracy", "test accuracy"), ("train_accuracy", "training accuracy")):
        if summary[key] is not None:
            cards.append((percent(summary[key]), label))
    steps = _table(run, "train")
    cosine = _finite(steps.get("gradient_cosine"))
    if cosine.size:
        cards.append((f"{np.median(cosine):.4f}", "gradient cosine, median"))
    if _rows(steps):
        cards.append((number(int(np.sum(steps["pulses"]))), "programming pulses"))
    symmetry = _finite(_table(run, "epochs").get("symmetry"))
    if symmetry.size:
        cards.append((f"{symmetry[-1]:.4f}", "symmetry score, last"))
    if summary["samples_per_second"] is not None:
        cards.append((f"{summary['samples_per_second']:,.0f}", "training samples per second"))
    return cards


def _facts(run: RunFile, summary: Mapping[str, Any], config: Mapping[str, Any]) -> list[tuple[str, str]]:
    network = _mapping(config.get("network"))
    layers = "–".join(str(size) for size in network.get("layers", ()))
    data = _mapping(config.get("data")).get("name")
    attributes = run.attrs
    facts = [
        ("data set", str(data or "not stated")),
        ("network", ", ".join(str(p) for p in (layers, network.get("activation")) if p) or "not stated"),
        ("feedback arrays", str(network.get("feedback", "not stated"))),
        ("learning rule", str(summary["rule"] or "not stated")),
        ("device", str(summary["backend"] or "not stated")),
        ("seed", str(summary["seed"])),
        ("exit status", _status(run, summary)["exit"]),
        ("started", str(summary["started"])),
        ("duration", _duration(summary["wall_seconds"])),
        ("resumed", {0: "never", 1: "once"}.get(summary["resumes"], f"{summary['resumes']} times")),
        ("run file", run.path.name),
        ("commit", str(summary["git_commit"]) or "not known (no clone)"),
        ("experiment SHA-256", str(summary["experiment_sha256"])),
        ("versions", ", ".join(f"{key} {value}" for key, value in summary["versions"].items())),
    ]
    known = {"substrate_version", "schema", "experiment_yaml", "experiment_sha256", "seed", "status", "created", "argv"}
    known |= {"git_commit", "packages", "message", "wall_seconds", "NX_class", "default"}
    facts += [(key.replace("_", " "), str(value)) for key, value in attributes.items() if key not in known]
    return facts


def _settings(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    left_out = {"experiment", "seed", "substrate"}
    return _described({key: value for key, value in config.items() if key not in left_out})


def _described(section: Any) -> list[tuple[str, str]]:
    """One line for each subsection: its keys in words, its values with units."""
    lines = []
    for key, value in _mapping(section).items():
        if isinstance(value, Mapping):
            told = "; ".join(_setting(str(k), v) for k, v in value.items() if v is not None)
        else:
            told = _setting("", value)
        lines.append((str(key).replace("_", " "), told or "–"))
    return lines


def _setting(key: str, value: Any) -> str:
    unit = next((symbol for end, symbol in _UNITS.items() if key.endswith(end)), None)
    name = key
    for end in _UNITS:
        name = name.removesuffix(end)
    return f"{name.replace('_', ' ')} {_value(value, unit)}".strip()


def _value(value: Any, unit: str | None) -> str:
    from substrate.experiment.report_figures import si

    if isinstance(value, Mapping):
        return ", ".join(_setting(str(k), v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one, unit) for one in value) + "]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return si(float(value), unit) if unit else f"{value:g}"
    return str(value)


def _epoch_table(run: RunFile) -> dict[str, list[Any]]:
    """The series `epochs` as text: its column names and rows."""
    table = _table(run, "epochs")
    names = [name for name in _EPOCH_COLUMNS if name in table]
    rows = [[_cell(name, table[name][row]) for name in names] for row in range(_rows(table))]
    return {"names": [name.replace("_", " ") for name in names], "rows": rows}


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


def _cell(name: str, value: Any) -> str:
    from substrate.experiment.report_figures import number, percent

    value = float(value)
    if not np.isfinite(value):
        return "–"
    if name.endswith(("accuracy", "fraction")):
        return percent(value)
    return number(value, 4)


def _sections(run: RunFile, config: Mapping[str, Any]) -> Iterator[_Section]:
    epochs, steps = _table(run, "epochs"), _table(run, "train")
    yield _learning(run, epochs, steps)
    yield _nudge(run, config)
    yield _gradient(config, epochs, steps)
    yield _writing(config, epochs, steps)
    yield from _devices(run, config)


def _learning(run: RunFile, epochs: Mapping[str, Any], steps: Mapping[str, Any]) -> _Section:
    from substrate.experiment import report_figures as figures

    pictures, notes = [], []
    if _rows(epochs):
        pictures += [figures.accuracy(epochs), figures.epoch_loss(epochs)]
    else:
        notes.append("No epoch was finished, so there are no accuracies by epoch.")
    if _rows(steps):
        pictures.append(figures.step_loss(steps))
    else:
        notes.append("No training step was done.")
    evaluation = _table(run, "evaluation")
    if _rows(evaluation):
        pictures.append(figures.confusion(evaluation["confusion"][-1], int(evaluation["epoch"][-1])))
    introduction = (
        "Whether the network learnt its task: it sees the training samples, and is judged on the test samples."
    )
    return _Section("Learning", introduction, _drawn(pictures), notes)


def _nudge(run: RunFile, config: Mapping[str, Any]) -> _Section:
    from substrate.experiment import report_figures as figures

    settings = _mapping(config.get("nudge"))
    introduction = (
        "To find the gradient, small sinusoidal currents, in proportion to each output's error, are added at the "
        "outputs. How the network answers at the tone's odd harmonics gives the derivative of every weight. "
    )
    if settings.get("frequency_hz"):
        introduction += f"The tone of this run: {figures.si(float(settings['frequency_hz']), 'Hz')}. "
    table = _table(run, "nudge")
    if not _rows(table):
        return _Section("The nudge", introduction, [], ["No epoch was finished, so no nudge period was kept."])
    introduction += "Shown is the sample with the largest error of the last batch."
    row = {name: values[-1] for name, values in table.items()}
    phase = np.arange(row["output_volts"].shape[0]) * 360.0 / row["output_volts"].shape[0]
    pictures = [figures.waveform(row, phase), figures.harmonic_decay(row, int(settings.get("harmonics", 1)))]
    return _Section("The nudge", introduction, _drawn(pictures))


def _gradient(config: Mapping[str, Any], epochs: Mapping[str, Any], steps: Mapping[str, Any]) -> _Section:
    from substrate.experiment import report_figures as figures

    introduction = (
        "How well the measured gradient points downhill. Where the device can be solved exactly (an emulator), some "
        "steps are compared with its exact gradient; the other numbers are known on any device."
    )
    if not _rows(steps):
        return _Section("Quality of the gradient", introduction, [], ["No training step was done."])
    batch = int(_mapping(config.get("training")).get("batch_size", 1))
    automatic = _mapping(config.get("nudge")).get("amplitude") == "auto"
    cosine, omitted = figures.gradient_cosine(steps, epochs), figures.excluded(steps, batch)
    notes = []
    if cosine is None:
        notes.append("No step was compared with an exact gradient: the device knows none, or none was asked for.")
    if omitted is None:
        count = figures.number(len(steps["step"]) * batch)
        notes.append(f"None of the {count} samples was left out of an update.")
    pictures = [
        cosine,
        figures.layer_cosines(steps),
        figures.errors(steps),
        figures.amplitude(steps, automatic),
        omitted,
    ]
    return _Section("Quality of the gradient", introduction, _drawn(pictures), notes)


def _writing(config: Mapping[str, Any], epochs: Mapping[str, Any], steps: Mapping[str, Any]) -> _Section:
    from substrate.experiment import report_figures as figures

    pictures, notes = [], []
    if _rows(steps):
        pictures.append(figures.pulses(epochs, steps))
        if pictures[-1] is None:
            mode = _mapping(config.get("writing")).get("mode", "not stated")
            notes.append(f"No pulses were given (writing mode: {mode}).")
    if _mapping(config.get("network")).get("feedback") == "shared":
        notes.append("Feedback runs through the forward arrays themselves, so it is symmetric by itself (score 1).")
    elif _rows(epochs):
        pictures.append(figures.symmetry(epochs))
    introduction = (
        "What training did to the devices, and whether forward and feedback weights stayed each other's mirror."
    )
    return _Section("Writing and symmetry", introduction, _drawn(pictures), notes)


def _devices(run: RunFile, config: Mapping[str, Any]) -> Iterator[_Section]:
    from substrate.experiment import report_figures as figures

    rows = run.lengths.get("conductances", 0)
    if not rows:
        yield _Section("Conductances", "", [], ["The conductances were not read before the run ended."])
        return
    given = _mapping(_mapping(config.get("substrate")).get("cells")).get("window_siemens")
    window = (float(given[0]), float(given[1])) if isinstance(given, list) and len(given) == 2 else None
    last = int(run.array("conductances/epoch")[rows - 1])
    # One coupling at a time: snapshots of a large array over many epochs are what fills memory.
    for name in sorted(set(run.units("conductances")) - {"epoch"}, key=_towards_output):
        cells = run.array(f"conductances/{name}")[:rows]
        pictures = figures.device_pictures(cells, window, last)
        lines, columns = cells.shape[2:]
        source, _, into = name.partition("-")
        introduction = (
            f"The array from {source} to {into}: {lines} word lines times {columns} bit lines, two devices a weight"
            f"{'' if _towards_output(name)[0] else '; the last word line carries the biases'}."
        )
        notes = [] if pictures else ["The conductances were not all read."]
        yield _Section(f"Conductances {source} → {into}", introduction, pictures, notes)


def _towards_output(name: str) -> tuple[bool, int, str]:
    """Forward couplings first, input side first: the order of layers input, hidden1, hidden2, ..., output."""

    def place(layer: str) -> int:
        digits = layer.removeprefix("hidden")
        return {"input": 0, "output": 1 << 30}.get(layer, int(digits) if digits.isdigit() else 1 << 20)

    source, _, target = name.partition("-")
    return place(source) > place(target), place(source), name


def _drawn(pictures: Sequence[Any]) -> list[Any]:
    return [picture for picture in pictures if picture is not None]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _finite(values: Any) -> np.ndarray[Any, Any]:
    return np.empty(0) if values is None else values[np.isfinite(values)]
