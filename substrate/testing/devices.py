"""Checks that hold for every device, crossbar or network: its seam, its capabilities, its way in and out."""

from dataclasses import is_dataclass
from typing import Any

import numpy as np

from substrate.capabilities import Capabilities
from substrate.contract import Substrate
from substrate.device import Device
from substrate.services import StateStore
from substrate.testing.checks import Bench, expect


def seam_is_whole(bench: Bench[Any]) -> None:
    """No method that the contract implements is replaced, so its checks and its safe exit are in force."""
    device = bench.make()
    expect(isinstance(device, Device), f"make() gives {type(device).__name__}, expected a Device")
    kinds = type(device).__mro__
    for place, kind in enumerate(kinds):
        for name, member in vars(kind).items():
            if getattr(member, "__final__", False):
                over = [other.__name__ for other in kinds[:place] if name in vars(other)]
                expect(not over, f"{', '.join(over)} replaces {kind.__name__}.{name}, which is final")


def capabilities_are_sound(bench: Bench[Any]) -> None:
    """Capabilities are sane plain data, the same whenever they are asked for, and agree with what is offered."""
    device = bench.make()
    found = device.capabilities
    _check_sane(found)
    if isinstance(device, Substrate):
        for flag, offered in (
            ("exact_adjoint", device.oracle),
            ("state_snapshots", device.states),
            ("stepping", device.stepper),
        ):
            declared = getattr(found, flag)
            expect(
                declared == (offered is not None), f"{flag} is declared {declared}, but what is offered is {offered}"
            )
        states = device.states
        expect(states is None or isinstance(states, StateStore), f"states: expected a StateStore, got {states!r}")
    else:
        expect(
            not (found.exact_adjoint or found.state_snapshots or found.resets),
            "exact_adjoint, state_snapshots and resets: a crossbar has no way to offer them, expected False",
        )
    with device:
        expect(device.capabilities == found, "capabilities changed when the device was opened")
        bench.prepare(device, bench.rng)
        expect(device.capabilities == found, "capabilities changed when the device was written")
    expect(device.capabilities == found, "capabilities changed when the device was closed")


def _check_sane(found: Capabilities) -> None:
    expect(is_dataclass(found) and isinstance(found, Capabilities), f"expected Capabilities, got {found!r}")
    for name in ("read_volts", "write_volts", "current_amperes"):
        limit = getattr(found.limits, name)
        expect(np.isfinite(limit) and limit > 0, f"limits.{name}: expected a finite positive number, got {limit}")
    for one in found.kinds:
        _check_cells(one)
    frequency = found.highest_frequency_hz
    expect(frequency > 0, f"highest_frequency_hz: expected a positive number, got {frequency}")
    for name in ("pulses", "continuous_writing", "simultaneous_sampling", "complex_nudges", "node_nudges"):
        expect(isinstance(getattr(found, name), bool), f"{name}: expected True or False")


def _check_cells(found: Capabilities) -> None:
    low, high = found.conductance_window_siemens
    expect(0 <= low < high < np.inf, f"conductance_window_siemens: expected 0 <= lowest < highest, got {low}, {high}")
    up, down = found.step_siemens
    expect(0 <= up < np.inf and 0 <= down < np.inf, f"step_siemens: expected magnitudes, got {up}, {down}")
    expect(
        found.pulses == (up > 0 or down > 0), f"pulses is declared {found.pulses}, but step_siemens is ({up}, {down})"
    )


def opens_and_closes(bench: Bench[Any]) -> None:
    """A device opens, reaches its safe state whenever asked, closes, closes again, and opens again."""
    device = bench.make()
    for _ in range(2):
        with device as entered:
            expect(entered is device, "entering the context must give the device itself")
            device.safe_state()
            bench.prepare(device, bench.rng)
            device.safe_state()
            device.safe_state()
        device.__exit__(None, None, None)


def errors_pass_through(bench: Bench[Any]) -> None:
    """An exception inside the context leaves it, unchanged."""
    error = RuntimeError("raised inside the context")
    seen: BaseException | None = None
    try:
        _raise_inside(bench, error)
    except (RuntimeError, SystemExit) as caught:
        seen = caught
    expect(seen is not None, "the exception raised inside the context was swallowed")
    expect(seen is error, f"another exception came out: {seen!r}")


def _raise_inside(bench: Bench[Any], error: RuntimeError) -> None:
    with bench.opened():
        raise error


COMMON = (seam_is_whole, capabilities_are_sound, opens_and_closes, errors_pass_through)
