"""The report of a run: one self-contained HTML page that says what was run, on what, and how it went, with pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, final

import numpy as np
import yaml

from substrate.errors import InputError
from substrate.experiment import report_header as header
from substrate.experiment.report_text import number, si
from substrate.experiment.runfile import RunFile, open_run

__all__ = ["write_report"]


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
    with open_run(run_path) as run:
        _check_target(target, str(output_path), run.path)
        page = _page(run)
    draft = target.with_name(f".{target.name}.part")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target


def _check_target(target: Path, given: str, run_path: Path) -> None:
    """Refuse what cannot be a report before the work is done."""
    try:
        if not target.parent.is_dir():
            raise InputError(f"{target}: the folder {target.parent} does not exist")
        if target.is_dir() or given.endswith("/"):
            raise InputError(f"{target}: expected the name of an HTML file, got a folder")
        if target.exists() and target.samefile(run_path):
            raise InputError(f"{target}: is the run file itself; expected another name for the report")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error


def _page(run: RunFile) -> str:
    # Imported here: pages are made now and then, and both take their time to load.
    from jinja2 import Environment, StrictUndefined

    from substrate.experiment.report_drawing import style

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        files("substrate.experiment").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    summary = run.summary()
    text = str(run.attrs["experiment_yaml"])
    loaded = yaml.safe_load(text)
    config: Mapping[str, Any] = loaded if isinstance(loaded, Mapping) else {}
    with style():
        sections = list(_sections(run, config))
    return template.render(
        name=summary["experiment"] or run.path.name,
        status=header.status(run, summary),
        verdict=header.verdict(run, summary),
        cards=header.cards(run, summary),
        facts=header.facts(run, summary, config),
        device=header.described(config.get("substrate", {})),
        settings=header.settings(config),
        sections=sections,
        epochs=header.epoch_table(run),
        starts=run.starts(),
        yaml=text,
        command=" ".join(summary["argv"]),
    )


def _sections(run: RunFile, config: Mapping[str, Any]) -> Iterator[_Section]:
    epochs, steps = header.table(run, "epochs"), header.table(run, "train")
    yield _learning(run, epochs, steps)
    if "nudge" in run.lengths:
        yield _nudge(run, config)
    yield _gradient(config, epochs, steps)
    yield _writing(config, epochs, steps)
    yield from _devices(run, config)


def _learning(run: RunFile, epochs: Mapping[str, Any], steps: Mapping[str, Any]) -> _Section:
    from substrate.experiment import report_figures as figures

    pictures, notes = [], []
    if header.rows(epochs):
        pictures += [figures.accuracy(epochs), figures.epoch_loss(epochs)]
    else:
        notes.append("No epoch was finished, so there are no accuracies by epoch.")
    if header.rows(steps):
        pictures.append(figures.step_loss(steps))
    else:
        notes.append("No training step was done.")
    evaluation = header.table(run, "evaluation")
    if header.rows(evaluation):
        pictures.append(figures.confusion(evaluation["confusion"][-1], int(evaluation["epoch"][-1])))
    introduction = (
        "Whether the network learnt its task: it sees the training samples, and is judged on the test samples."
    )
    return _Section("Learning", introduction, _drawn(pictures), notes)


def _nudge(run: RunFile, config: Mapping[str, Any]) -> _Section:
    from substrate.experiment import report_figures as figures

    settings = header.mapping(config.get("nudge"))
    introduction = (
        "To find the gradient, small sinusoidal currents, in proportion to each output's error, are added at the "
        "outputs. How the network answers at the tone's odd harmonics gives the derivative of every weight. "
    )
    if settings.get("frequency_hz"):
        introduction += f"The tone of this run: {si(float(settings['frequency_hz']), 'Hz')}. "
    table = header.table(run, "nudge")
    if not header.rows(table):
        return _Section("The nudge", introduction, [], ["No epoch was finished, so no nudge period was kept."])
    introduction += "Shown is the sample with the largest error of the last batch."
    row = {name: values[-1] for name, values in table.items()}
    phase = np.arange(row["output_volts"].shape[0]) * 360.0 / row["output_volts"].shape[0]
    pictures = [
        figures.waveform(row, phase),
        figures.harmonic_decay(row, int(row.get("harmonics", settings.get("harmonics", 1)))),
    ]
    return _Section("The nudge", introduction, _drawn(pictures))


def _gradient(config: Mapping[str, Any], epochs: Mapping[str, Any], steps: Mapping[str, Any]) -> _Section:
    from substrate.experiment import report_gradient as figures

    introduction = (
        "How well the measured gradient points downhill. Where the device can be solved exactly (an emulator), some "
        "steps are compared with its exact gradient; the other numbers are known on any device."
    )
    if not header.rows(steps):
        return _Section("Quality of the gradient", introduction, [], ["No training step was done."])
    batch = int(header.mapping(config.get("training")).get("batch_size", 1))
    automatic = header.mapping(config.get("nudge")).get("amplitude") == "auto"
    cosine, omitted = figures.gradient_cosine(steps, epochs), figures.excluded(steps, batch)
    notes = []
    if cosine is None:
        notes.append("No step was compared with an exact gradient: the device knows none, or none was asked for.")
    if omitted is None:
        count = number(len(steps["step"]) * batch)
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
    from substrate.experiment import report_gradient as figures

    pictures, notes = [], []
    if header.rows(steps):
        pictures.append(figures.pulses(epochs, steps))
        if pictures[-1] is None:
            mode = header.mapping(config.get("writing")).get("mode", "not stated")
            notes.append(f"No pulses were given (writing mode: {mode}).")
    if header.mapping(config.get("network")).get("feedback") == "shared":
        notes.append("Feedback runs through the forward arrays themselves, so it is symmetric by itself (score 1).")
    elif header.rows(epochs):
        pictures.append(figures.symmetry(epochs))
    introduction = (
        "What training did to the devices, and whether forward and feedback weights stayed each other's mirror."
    )
    return _Section("Writing and symmetry", introduction, _drawn(pictures), notes)


def _devices(run: RunFile, config: Mapping[str, Any]) -> Iterator[_Section]:
    from substrate.experiment.report_devices import device_pictures

    rows = run.lengths.get("conductances", 0)
    if not rows:
        yield _Section("Conductances", "", [], ["The conductances were not read before the run ended."])
        return
    section = header.mapping(config.get("substrate"))
    common, paths = header.mapping(section.get("cells")), header.mapping(section.get("feedback_paths"))
    last = int(run.array("conductances/epoch")[rows - 1])
    # One coupling at a time: snapshots of a large array over many epochs are what fills memory.
    for name in sorted(set(run.units("conductances")) - {"epoch"}, key=_towards_output):
        cells = run.array(f"conductances/{name}")[:rows]
        backward = _towards_output(name)[0]
        given = (header.mapping(paths.get("cells")) or common if backward else common).get("window_siemens")
        window = (float(given[0]), float(given[1])) if isinstance(given, list) and len(given) == 2 else None
        pictures = device_pictures(cells, window, last)
        lines, columns = cells.shape[2:]
        source, _, into = name.partition("-")
        if cells.shape[1] == 2:
            use = "two devices a weight" + ("" if backward else "; the last word line carries the biases")
        else:
            use = "one device a weight; the last two word lines are the bias rails"
        introduction = f"The array from {source} to {into}: {lines} word lines times {columns} bit lines, {use}."
        notes = [] if pictures else ["The conductances were not all read."]
        yield _Section(f"Conductances {source} → {into}", introduction, pictures, notes)


def _towards_output(name: str) -> tuple[bool, float, str]:
    """Forward couplings first, input side first: the order of layers input, hidden1, product1, hidden2, ..., output."""

    def place(layer: str) -> float:
        between = 0.5 if layer.startswith("product") else 0.0
        digits = layer.removeprefix("product" if between else "hidden")
        return int(digits) + between if digits.isdigit() else 0.0 if layer == "input" else float("inf")

    source, _, target = name.removesuffix("-fast").partition("-")
    return place(source) > place(target), place(source), name


def _drawn(pictures: Sequence[Any]) -> list[Any]:
    return [picture for picture in pictures if picture is not None]
