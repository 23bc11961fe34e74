"""Rewriting a run file as a plain HDF5 file, in the same folder, so that it is replaced in one step or not at all."""

import contextlib
import os
from pathlib import Path

import h5py

from substrate.experiment import checkpoint, layout
from substrate.experiment.runfile import open_source, text_of

__all__ = ["discard_temporary", "rewrite_plain", "temporary_path"]


def temporary_path(path: Path) -> Path:
    """Where the next version of a run file is made; only the holder of its lock writes there."""
    return path.with_name(f".{path.name}.tmp")


def discard_temporary(path: Path) -> None:
    """Remove what an earlier rewrite left unfinished."""
    with contextlib.suppress(OSError):
        temporary_path(path).unlink(missing_ok=True)


def rewrite_plain(path: Path) -> dict[str, int]:
    """Make a run file plain: series cut to whole rows, newest checkpoint only, final status in the root attributes.

    The caller holds the lock. A file whose status is still `running` becomes `interrupted`. Returns the rows of
    every series. The old file stays in place until the new one is whole and on disk.
    """
    temporary = temporary_path(path)
    try:
        source, _ = open_source(path)
        with source:
            lengths = layout.series_lengths(source)
            temporary.unlink(missing_ok=True)
            with h5py.File(temporary, "w") as target:
                for key, value in source.attrs.items():
                    target.attrs[key] = value
                layout.copy_contents(source, target, lengths, growing=False)
                checkpoint.copy_slots(source, target, trim=True)
                status = text_of(source["state/status"][()])
                status = "interrupted" if status == "running" else status
                # In a plain file text need not be of fixed size.
                texts = {"status": status, "message": text_of(source["state/message"][()])}
                for name, text in texts.items():
                    del target[f"state/{name}"]
                    target.attrs[name] = text
                layout.write_constants(target["state"], {name: layout.Constant(text) for name, text in texts.items()})
                target.attrs["wall_seconds"] = float(source["state/wall_seconds"][()])
        checkpoint.sync(temporary)
        os.replace(temporary, path)
        checkpoint.sync(path.parent)
    except BaseException:
        discard_temporary(path)
        raise
    return lengths
