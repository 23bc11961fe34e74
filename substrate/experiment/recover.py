"""Making a readable, plain file of a run whose process was killed."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from substrate.errors import RunFileError
from substrate.experiment import layout
from substrate.experiment.rewrite import discard_temporary, rewrite_plain
from substrate.experiment.runfile import open_run, open_source
from substrate.experiment.runlock import RunLock

__all__ = ["RecoverReport", "recover"]


@final
@dataclass(frozen=True)
class RecoverReport:
    """What a recovered run file holds.

    `lengths` are the whole rows of every series, `dropped` the rows that were half written when the process died (at
    most one of a series), `checkpoint` the generation of the newest valid checkpoint and `checkpoint_lengths` the rows
    at that moment. `rewritten` is False when the file was plain already.
    """

    path: Path
    status: str
    message: str
    lengths: dict[str, int]
    dropped: dict[str, int]
    checkpoint: int | None
    checkpoint_lengths: dict[str, int]
    rewritten: bool

    @property
    def steps(self) -> int:
        """Training steps held."""
        return self.lengths.get("train", 0)

    @property
    def epochs(self) -> int:
        """Epochs held."""
        return self.lengths.get("epochs", 0)


def recover(path: str | Path) -> RecoverReport:
    """Rewrite a killed run's file as a plain one, with every acknowledged row; a plain file is left as it is.

    Raises `RunFileError` when the run is still being written, and as `open_run` does.
    """
    target = Path(path)
    open_source(target)[0].close()  # a clear error before a lock file is made beside something that is no run file
    with RunLock(target):
        discard_temporary(target)
        source, plain = open_source(target)
        with source:
            series = layout.find_series(source)
            whole = layout.series_lengths(source, series)
            longest = {name: max(source[p].shape[0] for p in paths.datasets) for name, paths in series.items()}
        if not plain:
            try:
                rewrite_plain(target)
            except (OSError, RuntimeError) as error:
                raise RunFileError(f"{target}: cannot be rewritten: {error}") from error
        with open_run(target) as run:
            saved = run.checkpoint()
            return RecoverReport(
                path=target,
                status=run.status,
                message=str(run.attrs["message"]),
                lengths=run.lengths,
                dropped={name: longest[name] - rows for name, rows in whole.items() if longest[name] > rows},
                checkpoint=None if saved is None else saved.generation,
                checkpoint_lengths={} if saved is None else saved.lengths,
                rewritten=not plain,
            )
