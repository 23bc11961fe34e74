"""The lock that tells a run file's living writer from a dead one.

The lock is an advisory `flock` on a file beside the run file, so that the kernel releases it when the writer dies,
however it dies. HDF5's own lock cannot serve: it is given up when single-writer multiple-reader mode starts.
"""

import fcntl
import os
import socket
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self, final

from substrate.errors import RunFileError

__all__ = ["RunLock", "lock_path", "writer_alive"]


def lock_path(run: Path) -> Path:
    """The lock file of run file `run`: the same name with `.lock` appended."""
    return run.with_name(run.name + ".lock")


@final
class RunLock:
    """The exclusive right to write one run file, held from construction to `release`.

    Raises `RunFileError` when another writer holds it, or when the folder cannot be written.
    """

    def __init__(self, run: Path, patience_seconds: float = 0.25) -> None:
        self._path = lock_path(run)
        self._descriptor: int | None = None
        # A reader that looks for a writer holds the lock, shared, for microseconds; a writer outwaits it.
        deadline = time.monotonic() + patience_seconds
        while self._descriptor is None:
            self._descriptor = self._attempt(run, last=time.monotonic() >= deadline)
            if self._descriptor is None:
                time.sleep(0.01)
        _held.add(self)

    def _attempt(self, run: Path, last: bool) -> int | None:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunFileError(f"{run}: cannot be written: {error.strerror} ({self._path})") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous owner unlinks the file before it lets go: a lock on an unlinked file excludes nobody.
            if _same_file(descriptor, self._path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
                return descriptor
        except BlockingIOError:
            if last:
                owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
                os.close(descriptor)
                raise RunFileError(f"{run}: locked by {owner}, which is writing it") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def release(self) -> None:
        """Give the lock up and remove its file; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is not None:
            try:
                self._path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def forget(self) -> None:
        """In a forked child: close the inherited descriptor, which leaves the parent's lock standing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def writer_alive(run: Path) -> bool:
    """Whether a living process holds the lock of run file `run`; writes nothing."""
    try:
        descriptor = os.open(lock_path(run), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    for lock in list(_held):
        lock.forget()
    _held.clear()


# A forked worker that outlives its parent must not keep the run looking alive.
os.register_at_fork(after_in_child=_forget_in_child)
