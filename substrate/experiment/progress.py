"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere, or nothing."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, final

from substrate.experiment.report_text import counted


class Progress(ABC):
    """Told of every step and epoch; a context manager."""

    @abstractmethod
    def note(self, text: str) -> None:
        """What a person should know: something that may take a while before the run begins, or a warning."""

    @abstractmethod
    def start(self, name: str, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        """A run begins, or goes on after ``done_steps``."""

    @abstractmethod
    def step(self, epoch: int, report: Mapping[str, Any]) -> None:
        """A step is done."""

    @abstractmethod
    def epoch(self, epoch: int, report: Mapping[str, Any]) -> None:
        """An epoch is done and evaluated."""

    @abstractmethod
    def close(self) -> None:
        """The run is over."""

    @final
    def __enter__(self) -> Self:
        return self

    @final
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@final
class Silent(Progress):
    """Says nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def start(self, name: str, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        """Nothing."""

    def step(self, epoch: int, report: Mapping[str, Any]) -> None:
        """Nothing."""

    def epoch(self, epoch: int, report: Mapping[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _epoch_line(epoch: int, report: Mapping[str, Any]) -> str:
    quality = report["gradient_cosine"]
    seen = f"  gradient cosine {quality:.4f}" if quality == quality else ""
    return (
        f"epoch {epoch:3d}  loss {report['train_loss']:.4f}  train {100 * report['train_accuracy']:5.2f} %"
        f"  test {100 * report['test_accuracy']:5.2f} %  amplitude {report['amplitude']:.3g}{seen}"
        f"  pulses {report['pulses']}  excluded {report['excluded']} of {report['samples']}  {report['seconds']:.1f} s"
    )


@final
class Lines(Progress):
    """One plain line an epoch, on standard output."""

    def note(self, text: str) -> None:
        """One line."""
        print(text, flush=True)

    def start(self, name: str, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        """Say what is run."""
        after = f", going on after step {done_steps}" if done_steps else ""
        print(f"{name}: {counted(epochs, 'epoch')} of {counted(steps_per_epoch, 'step')}{after}", flush=True)

    def step(self, epoch: int, report: Mapping[str, Any]) -> None:
        """Nothing: a line a step would be too many."""

    def epoch(self, epoch: int, report: Mapping[str, Any]) -> None:
        """One line."""
        print(_epoch_line(epoch, report), flush=True)

    def close(self) -> None:
        """Nothing."""


@final
class Terminal(Progress):
    """A bar with loss, accuracy, gradient quality and the time left; a line stays for every epoch."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[seen]}"),
        )
        self._task: Any = None
        self._loss = self._accuracy = float("nan")
        self._cosine = float("nan")

    def note(self, text: str) -> None:
        """One line."""
        self._bar.console.print(text, highlight=False)

    def start(self, name: str, epochs: int, steps_per_epoch: int, done_steps: int) -> None:
        """Show the bar."""
        self._bar.start()
        self._task = self._bar.add_task(name, total=epochs * steps_per_epoch, completed=done_steps, seen="")

    def step(self, epoch: int, report: Mapping[str, Any]) -> None:
        """Move the bar; loss and accuracy are running means."""
        keep = 0.95 if self._loss == self._loss else 0.0
        self._loss = keep * (self._loss if keep else 0.0) + (1 - keep) * report["loss"]
        self._accuracy = keep * (self._accuracy if keep else 0.0) + (1 - keep) * report["accuracy"]
        if report["gradient_cosine"] == report["gradient_cosine"]:
            self._cosine = report["gradient_cosine"]
        quality = f"  gradient cosine {self._cosine:.3f}" if self._cosine == self._cosine else ""
        seen = f"epoch {epoch}  loss {self._loss:.3f}  accuracy {100 * self._accuracy:.1f} %{quality}"
        self._bar.update(self._task, advance=1, seen=seen)

    def epoch(self, epoch: int, report: Mapping[str, Any]) -> None:
        """One line above the bar."""
        self._bar.console.print(_epoch_line(epoch, report), highlight=False)

    def close(self) -> None:
        """Take the bar down."""
        self._bar.stop()


def progress(quiet: bool) -> Progress:
    """What fits standard output."""
    if quiet:
        return Silent()
    return Terminal() if sys.stdout.isatty() else Lines()
