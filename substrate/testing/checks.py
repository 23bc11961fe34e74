"""What a check is, how it is run, and what it says."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar, final

import numpy as np

from substrate.device import Device
from substrate.errors import InputError, SubstrateError
from substrate.testing.tolerance import Tolerance

D = TypeVar("D", bound=Device)


class ConformanceError(AssertionError):
    """A device does not keep the contract; the message says what was expected and what was seen."""


class NotApplicable(Exception):
    """A check that does not concern this device; the message is the reason."""


def expect(condition: Any, message: str) -> None:
    """Raise ConformanceError with ``message`` unless ``condition`` holds (also under ``python -O``)."""
    if not condition:
        raise ConformanceError(message)


def close(found: Any, wanted: Any, allowed: float, what: str) -> None:
    """Expect every entry of ``found`` within ``allowed`` of ``wanted``, shapes included; NaN is never close."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    expect(found.shape == wanted.shape, f"{what}: expected shape {wanted.shape}, got {found.shape}")
    if found.size:
        worst = float(np.max(np.abs(found - wanted)))
        expect(worst <= allowed, f"{what}: off by {worst:.4g}, allowed {allowed:.4g}")


def refused(action: Callable[[], Any], kind: type[Exception], what: str, naming: str = "") -> None:
    """Expect ``action`` to raise ``kind`` with ``naming`` in its message."""
    try:
        action()
    except kind as error:
        expect(naming in str(error), f"{what}: the refusal does not name {naming!r}: {error}")
    except Exception as error:
        raise ConformanceError(f"{what}: expected {kind.__name__}, got {type(error).__name__}: {error}") from error
    else:
        raise ConformanceError(f"{what}: was not refused (expected {kind.__name__})")


@contextmanager
def untouched(device: Device, hooks: tuple[str, ...], what: str) -> Iterator[None]:
    """Expect that nothing reaches the device through ``hooks``, its methods with a leading underscore."""
    reached: list[str] = []

    def watch(name: str) -> Callable[..., Any]:
        own = getattr(device, name)

        def hook(*arguments: Any, **named: Any) -> Any:
            reached.append(name)
            return own(*arguments, **named)

        return hook

    for name in hooks:
        setattr(device, name, watch(name))
    try:
        yield
    finally:
        for name in hooks:
            delattr(device, name)
    expect(not reached, f"{what}: {', '.join(reached)} was called before the refusal; nothing may reach the device")


def closed_refuses(device: Device, uses: Mapping[str, Callable[[], Any]], hooks: tuple[str, ...]) -> None:
    """Expect a device that was never opened to refuse each of ``uses`` as not open, and again once it is closed."""
    for when in ("before the device is opened", "after it is closed"):
        for name, use in uses.items():
            with untouched(device, hooks, f"{name} {when}"):
                refused(use, InputError, f"{name} {when}", "not open")
        with device:
            pass


@final
@dataclass(frozen=True)
class Bench(Generic[D]):
    """What a check works with.

    Attributes:
        make: describes a device, unopened; called at least once a check.
        prepare: brings an opened device into a state worth testing (weights that are not all zero, say).
        tolerance: what the device may do and still pass.
        seed: of the test inputs.
        drive: largest magnitude at the device's outputs, volts or amperes, seen by someone else than the device.
    """

    make: Callable[[], D]
    prepare: Callable[[D, np.random.Generator], None]
    tolerance: Tolerance
    seed: int
    drive: Callable[[D], float] | None
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rng", np.random.default_rng(self.seed))

    @contextmanager
    def opened(self) -> Iterator[D]:
        """A device that is open and prepared."""
        with self.make() as device:
            self.prepare(device, self.rng)
            yield device


@final
@dataclass(frozen=True)
class Result:
    """What came of one check; ``message`` says why it failed or does not apply."""

    name: str
    status: Literal["passed", "failed", "not applicable"]
    message: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.status}" + (f" ({self.message})" if self.message else "")


@final
@dataclass(frozen=True)
class Check(Generic[D]):
    """A named check; ``purpose`` is what it looks at, in a sentence."""

    name: str
    purpose: str
    function: Callable[[Bench[D]], None]

    def run(self, bench: Bench[D]) -> Result:
        """Run on a fresh device. Any exception of the device is a failure, with its type and message."""
        try:
            self.function(replace(bench))
        except NotApplicable as reason:
            return Result(self.name, "not applicable", str(reason))
        except ConformanceError as error:
            return Result(self.name, "failed", str(error))
        except Exception as error:
            # A backend is foreign code: whatever it raises is its failure, and the other checks go on.
            return Result(self.name, "failed", f"{type(error).__name__}: {error}")
        return Result(self.name, "passed")

    def __str__(self) -> str:
        return self.name


@final
@dataclass(frozen=True)
class Report:
    """The results of all checks."""

    results: tuple[Result, ...]

    @property
    def failed(self) -> tuple[Result, ...]:
        """Those that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    def require(self) -> None:
        """Raise ConformanceError that lists every failure, if there is any."""
        lines = "\n".join(f"  {result}" for result in self.failed)
        expect(not lines, f"{len(self.failed)} of {len(self.results)} checks failed\n{lines}")

    def __str__(self) -> str:
        return "\n".join(str(result) for result in self.results)


def as_check(function: Callable[[Bench[D]], None]) -> Check[D]:
    """The check of a function: its name, and the first line of its docstring."""
    return Check(function.__name__, (function.__doc__ or "").strip().split("\n")[0], function)


REFUSAL = SubstrateError
"""What a device may raise when it is asked for what it cannot do in its present state."""
