"""The command line. Bad input ends with one message and exit code 2, never with a traceback unless ``--debug`` asks."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from substrate.errors import InputError, RunInterrupted, RunWriteError, SubstrateError

COMMANDS = "substrate.commands"
"""Entry-point group of further commands, each a ``PluggedCommand``."""

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


class PluggedCommand(Protocol):
    """A command that a package beside this one brings.

    Attributes:
        text: one line of help.
    """

    text: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what it takes; ``--debug`` is there already."""

    def run(self, options: argparse.Namespace) -> None:
        """Carry it out; errors end as those of every command do."""


def main(arguments: Sequence[str] | None = None, on_write_error: Callable[[int], None] | None = None) -> int:
    """Run one command; returns its exit code. ``on_write_error`` is told first of one for a run file on a full disk."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(given).parse_args(given)
    try:
        options.command(options)
    except InputError as error:
        if options.debug:
            raise
        return _complain(error, BAD_INPUT)
    except RunInterrupted as error:
        return _complain(error, INTERRUPTED)
    except KeyboardInterrupt as error:
        # A device may say what was left half done.
        stopped = RunInterrupted(str(error) or "interrupted")
        for note in getattr(error, "__notes__", ()):
            stopped.add_note(note)
        return _complain(stopped, INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away; there is nobody left to tell.
        sys.stderr.close()
        return FAILED
    except RunWriteError as error:
        if options.debug:
            raise
        code = _complain(error, FAILED)
        if on_write_error is not None:
            on_write_error(code)
        return code
    except (SubstrateError, OSError, MemoryError, ArithmeticError) as error:
        if options.debug:
            raise
        return _complain(error, FAILED)
    return DONE


def _complain(error: BaseException, code: int) -> int:
    print(f"substrate: {error or type(error).__name__}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(f"  {note}", file=sys.stderr)
    return code


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="substrate", description="Train memristive crossbar networks in place with equilibrium propagation."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(command=command)
        one.add_argument("--debug", action="store_true", help="show a traceback on errors")
        return one

    one = add("run", _run, "train an experiment")
    one.add_argument("experiment", help="a YAML file, or the name of a shipped experiment")
    one.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override one key")
    one.add_argument("--seed", type=int, help="replace the experiment's seed")
    one.add_argument("--output", metavar="RUN.h5", help="the run file (default: runs/NAME-seedN-TIME.h5)")
    one.add_argument("--overwrite", action="store_true", help="replace a run file of this name")
    one.add_argument("--quiet", action="store_true", help="no progress, only the name of the run file")
    one.add_argument(
        "--dry-run", action="store_true", help="open nothing; list what would be asked of the device at most"
    )

    one = add("resume", _resume, "go on with a finished, interrupted or killed run from its last checkpoint")
    one.add_argument("run")
    one.add_argument("--epochs", type=int, help="the new total number of epochs")
    one.add_argument("--quiet", action="store_true", help="no progress, only the name of the run file")

    one = add("recover", _recover, "make a plain, readable file of a run whose process was killed")
    one.add_argument("run")

    one = add("show", _show, "what was run, on what, and how it went")
    one.add_argument("run")
    one.add_argument("--json", action="store_true", help="as JSON")

    one = add("report", _report, "one self-contained HTML page with the pictures of a run")
    one.add_argument("run")
    one.add_argument("-o", "--output", required=True, metavar="REPORT.html")

    one = add("check-gradient", _check_gradient, "compare the device's gradient with a reference")
    one.add_argument("source", help="an experiment, or a run file, whose trained cells are then checked")
    one.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override one key")
    one.add_argument("--seed", type=int, help="replace the experiment's seed")
    one.add_argument("--samples", type=int, help="training samples to check (default 128, or all there are)")
    one.add_argument("--reference", help="exact or multiplexed; default: the best that the device allows")
    one.add_argument("--json", action="store_true", help="as JSON")

    one = add("plan", _plan, "measure a device's noise, slowness and harmonics, and propose how to nudge it")
    one.add_argument("source", help="an experiment, or a run file, whose trained cells are then measured")
    one.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override one key")
    one.add_argument("--seed", type=int, help="replace the experiment's seed")
    one.add_argument("--json", action="store_true", help="as JSON")

    one = add("export-spice", _export_spice, "the emulated circuit as an ngspice deck")
    one.add_argument("source", help="an experiment, or a run file, whose trained cells are then taken")
    one.add_argument("-o", "--output", required=True, metavar="DECK.cir")
    one.add_argument("--sample", type=int, default=0, metavar="N", help="training sample that is held (default 0)")
    one.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="override one key")
    one.add_argument("--seed", type=int, help="replace the experiment's seed")

    one = add("sweep", _sweep, "many runs from one file, resumable, with one table of results")
    one.add_argument("sweep", help="a YAML file: an experiment and the axes whose combinations are run")
    one.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler instead of this machine's cores")
    one.add_argument("--workers", type=int, help="runs at a time on this machine (default: its cores)")
    one.add_argument("--quiet", action="store_true", help="no progress, only the name of the table")

    one = add("backends", _backends, "backends that are installed")
    one.add_argument("--json", action="store_true", help="as JSON")

    one = add("devices", _devices, "published memristors, and the pulse curve of one")
    one.add_argument("name", nargs="?", help="one of them: its figures")
    one.add_argument("--plot", metavar="F.png", help="draw its potentiation and depression (png, pdf or svg)")
    one.add_argument("--json", action="store_true", help="as JSON")

    one = add("rules", _rules, "learning rules, and the keys and needs of one")
    one.add_argument("name", nargs="?", help="one of them: what it does, its keys, what it needs of a device")
    one.add_argument("--json", action="store_true", help="as JSON")

    one = add("keys", _keys, "sections of an experiment file, and the keys of one")
    one.add_argument("section", nargs="?", help="one of them, as network.initial: its keys")
    one.add_argument("--backend", default="emulator", help="whose section substrate is (default: emulator)")
    one.add_argument("--json", action="store_true", help="as JSON")
    for entry in entry_points(group=COMMANDS):
        # Only what is asked for is imported, or listed.
        if not given or given[0] in (entry.name, "-h", "--help"):
            further: PluggedCommand = entry.load()
            further.add_arguments(add(entry.name, further.run, further.text))
    return parser


def _run(options: argparse.Namespace) -> None:
    from substrate.experiment.config import load_experiment
    from substrate.experiment.progress import progress
    from substrate.experiment.runner import run

    experiment = load_experiment(options.experiment, options.set, options.seed)
    if options.dry_run:
        from substrate.experiment.assembly import assemble
        from substrate.experiment.dry_run import dry_run

        found = dry_run(assemble(experiment))
        print(f"{found.experiment} on {found.backend}, at most where nothing else is said:")
        print("\n".join(str(demand) for demand in found.demands))
        if found.unreachable is not None:
            print(f"not to be opened as things stand: {found.unreachable}")
        doubtful = [demand.what for demand in found.demands if demand.doubtful]
        if doubtful:
            print(f"beyond the device's limit at worst; a run that gets there ends: {', '.join(doubtful)}")
        refused = [demand.what for demand in found.demands if demand.refused]
        if refused:
            raise InputError(f"{found.experiment}: at worst beyond what the device allows: {', '.join(refused)}")
        return
    path = run(experiment, options.output, progress(options.quiet), overwrite=options.overwrite)
    print(path)


def _resume(options: argparse.Namespace) -> None:
    from substrate.experiment.progress import progress
    from substrate.experiment.runner import resume

    if options.epochs is not None and options.epochs < 1:
        raise InputError(f"--epochs: expected at least 1, got {options.epochs}")
    print(resume(options.run, options.epochs, progress(options.quiet)))


def _recover(options: argparse.Namespace) -> None:
    from substrate.experiment.recover import recover
    from substrate.experiment.report_text import counted

    found = recover(options.run)
    print(f"{found.path}: {'rewritten as a plain file' if found.rewritten else 'was a plain file already'}")
    print(f"status: {found.status}{f' ({found.message})' if found.message else ''}")
    print(f"holds: {counted(found.epochs, 'epoch')}, {counted(found.steps, 'step')}")
    if found.dropped:
        print("half-written rows dropped: " + ", ".join(f"{name} {count}" for name, count in found.dropped.items()))
    saved = "none" if found.checkpoint is None else f"after step {found.checkpoint_lengths.get('train', 0)}"
    print(f"last checkpoint: {saved}")


def _show(options: argparse.Namespace) -> None:
    from substrate.experiment.runfile import open_run

    with open_run(options.run) as run:
        summary = run.summary()
    if options.json:
        print(json.dumps(summary, indent=2))
        return
    width = max(len(key) for key in summary)
    del summary["ledger"]  # a table: see --json
    for key, value in summary.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        if isinstance(value, list):
            shown = " ".join(str(part) for part in value)
        print(f"{key:{width}}  {'-' if shown is None else shown}")


def _report(options: argparse.Namespace) -> None:
    from substrate.experiment.report import write_report

    print(write_report(options.run, options.output))


def _source(options: argparse.Namespace) -> tuple[Any, Any]:
    """The experiment of a file, or of a run file and what the run came to."""
    import h5py

    from substrate.experiment.config import load_experiment
    from substrate.experiment.runner import trained_state

    if Path(options.source).suffix in (".h5", ".hdf5") or h5py.is_hdf5(options.source):
        trained = trained_state(options.source)
        text = trained.experiment.to_yaml()
        experiment = load_experiment(options.source, options.set, options.seed, text=text, tones=True, judged="given")
        return experiment, trained
    return load_experiment(options.source, options.set, options.seed, tones=True), None


def _check_gradient(options: argparse.Namespace) -> None:
    from substrate.experiment.assembly import assemble
    from substrate.experiment.gradient_check import check_gradient

    experiment, trained = _source(options)
    result = check_gradient(assemble(experiment), options.samples, options.reference, trained)
    if options.json:
        print(json.dumps(result.as_data(), indent=2))
        return
    excluded = ", ".join(f"{name} {count}" for name, count in result.samples_excluded.items())
    print(f"reference {result.reference}; {result.samples} samples; amplitude {result.amplitude:.3g}")
    print(f"excluded: {excluded}")
    print(f"{'coupling':24}{'cosine':>10}{'rel. error':>12}{'sample error':>14}{'std. error':>12}")
    for name, one in [*result.couplings.items(), ("total", result.total)]:
        print(
            f"{name:24}{one.cosine:10.6f}{one.relative_error:12.2e}{one.median_sample_error:14.2e}"
            f"{one.standard_error:12.2e}"
        )


def _plan(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from substrate.experiment.assembly import assemble
    from substrate.experiment.plan import plan_nudge

    experiment, trained = _source(options)
    result = plan_nudge(assemble(experiment), trained)
    if options.json:
        print(json.dumps(result.as_data(), indent=2))
        return
    slow = result.time_constant_seconds
    decay = ", ".join(f"{order}: {share:.2g}" for order, share in result.decay.items())
    predicted = ", ".join(f"{name} {value:.2g}" for name, value in asdict(result.predicted_error).items())
    proposal = ", ".join(f"{key}: {value:.6g}" for key, value in asdict(result.proposal).items())
    print(f"samples {result.samples}, of which {result.samples_used} are in use")
    print(f"noise of a reading: {result.noise_volts:.3g} V")
    print(f"time constant: {'none is seen' if slow is None else f'{slow:.3g} s'}")
    print(f"harmonics, k A_k over A_1: {decay}")
    print(f"{'frequency':>12}{'lag':>11}  relative error, extrapolated from 1, 2, ... frequencies")
    for point in result.frequencies:
        errors = "".join(f"{error:10.2g}" for error in point.errors)
        print(f"{point.frequency_hz:9.4g} Hz{point.lag:11.2g}{errors}")
    print(f"predicted error: {predicted}; records of {result.record_seconds:.3g} s")
    print("    of the demodulation alone: asymmetric feedback and stuck cells are for check-gradient to tell")
    print(f"nudge: {{{proposal}}}")


def _export_spice(options: argparse.Namespace) -> None:
    from substrate.experiment.assembly import assemble
    from substrate.experiment.export import deck_path, export_spice

    path = deck_path(options.output)
    experiment, trained = _source(options)
    path.write_text(export_spice(assemble(experiment), path.stem, options.sample, trained), encoding="utf-8")
    print(path)


def _sweep(options: argparse.Namespace) -> None:
    from substrate.experiment.sweep import run_sweep

    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers: expected at least 1, got {options.workers}")

    def told(line: str) -> None:
        if not options.quiet:
            print(line, file=sys.stderr, flush=True)

    print(run_sweep(options.sweep, options.scheduler, options.workers, told))


def _backends(options: argparse.Namespace) -> None:
    from substrate.registry import backend_names, load_backend

    summaries = {name: load_backend(name).summary for name in backend_names()}
    if options.json:
        print(json.dumps(summaries, indent=2))
        return
    for name, summary in summaries.items():
        print(f"{name:16}{summary}")


def _devices(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from substrate.registry import device_catalogues

    catalogues = device_catalogues()
    if options.name is None:
        if options.plot:
            raise InputError("--plot: expected the name of a device beside it; `substrate devices` lists them")
        presets = [preset for catalogue in catalogues for preset in catalogue.presets()]
        if options.json:
            print(json.dumps([asdict(preset) for preset in presets], indent=2, ensure_ascii=False))
            return
        for preset in presets:
            print(f"{preset.name:23}{preset.law:13}{_window(preset.window_siemens):15}{preset.title}")
            print(f"    {preset.source}, doi:{preset.doi}")
        return
    if not catalogues:
        raise InputError("devices: none of the installed backends lists any")
    # The last is left to say what it has.
    known = [one for one in catalogues[:-1] if options.name in {preset.name for preset in one.presets()}]
    catalogue = (known or catalogues[-1:])[0]
    preset = catalogue.preset(options.name)
    data = {**asdict(preset), **asdict(catalogue.figures(options.name))}
    if options.plot:
        catalogue.plot(options.name, Path(options.plot))
        data["plot"] = options.plot
    if options.json:
        print(json.dumps(data, indent=2, ensure_ascii=False))
        return
    data["window_siemens"] = f"{preset.window_siemens[0]:g} .. {preset.window_siemens[1]:g}"
    width = max(len(key) for key in data)
    for key, value in data.items():
        shown = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else value
        print(f"{key:{width}}  {shown}")


def _window(siemens: tuple[float, float]) -> str:
    return f"{1e6 * siemens[0]:g} .. {1e6 * siemens[1]:g} uS"


def _rules(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from substrate.rules.descriptions import rule_description, rule_descriptions

    if options.name is None:
        rules = rule_descriptions()
        if options.json:
            print(json.dumps([asdict(rule) for rule in rules], indent=2))
        else:
            _list({rule.name: rule.summary for rule in rules})
        return
    rule = rule_description(options.name)
    if options.json:
        print(json.dumps(asdict(rule), indent=2))
        return
    print(f"{rule.text}\n\n{rule.section}\n\nrule:\n  name: {rule.name}")
    for key in rule.keys:
        print(f"  {key.line()}")
    _needs("needs of a device, by family and feedback of the network", rule.networks)
    for choice, networks in rule.further.items():
        _needs(f"with {choice}", networks)


def _list(summaries: Mapping[str, str]) -> None:
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        print(f"{name:{width}}  {summary}")


def _keys(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from substrate.experiment.keys import section_description, section_descriptions

    if options.section is None:
        sections = section_descriptions(options.backend)
        if options.json:
            print(json.dumps([asdict(one) for one in sections], indent=2))
        else:
            _list({one.path: one.summary for one in sections})
        return
    section = section_description(options.section, options.backend)
    if options.json:
        print(json.dumps(asdict(section), indent=2))
        return
    print(f"{section.text}\n\n{section.path}:")
    for key in section.keys:
        below = f": substrate keys {section.path}.{key.name}" if key.takes == "section" else ""
        print(f"  {key.line()}{below}")


def _needs(title: str, networks: Mapping[str, Sequence[str]]) -> None:
    """Networks that have the same needs, on one line."""
    places: dict[str, list[str]] = {}
    for place, needs in networks.items():
        places.setdefault(", ".join(needs) or "no more than currents into the outputs", []).append(place)
    print(f"\n{title}:")
    for needed, where in places.items():
        print(f"  {', '.join(where)}: {needed}")


def entry() -> None:
    """The console script."""
    sys.exit(main(on_write_error=_leave_at_once))


def _leave_at_once(code: int) -> None:
    # HDF5 crashes the interpreter when it lets go of a file that the disk refused: not even the stack may unwind.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()
