"""Cells set outright, in few passes: the same as cell by cell, refused whole, and metered as pulses are."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.array_meter import ArrayMeter, Written
from emulators.config import EmulatorConfig, WiresConfig
from emulators.memristors.devices import Devices
from emulators.memristors.updates import update_from_config
from emulators.power_meter import PowerMeter
from substrate.arrays import FloatArray
from substrate.errors import InputError
from substrate.ledger import Ledger

WINDOW = (1e-6, 1e-4)


def devices(shape: tuple[int, ...] = (2, 5, 4)) -> Devices:
    return Devices(shape, WINDOW, update_from_config({"law": "ideal"}), np.random.default_rng(0))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_all_cells_at_once_are_as_cells_that_are_chosen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.choice([*WINDOW, *rng.uniform(*WINDOW, 5)], (2, 5, 4))
    at_once, chosen = devices(), devices()
    at_once.set(targets)
    chosen.set(targets, np.ones(targets.shape, dtype=np.bool_))
    np.testing.assert_array_equal(at_once.conductances, chosen.conductances)
    np.testing.assert_allclose(at_once.conductances, targets, rtol=1e-10)
    assert at_once.conductances.min() >= WINDOW[0]
    assert at_once.conductances.max() <= WINDOW[1]
    for name, values in at_once.snapshot().items():
        np.testing.assert_array_equal(values, chosen.snapshot()[name])


def test_conductances_that_were_read_stay_as_they_were() -> None:
    cells = devices()
    before = cells.conductances
    kept, saved = before.copy(), cells.snapshot()
    assert not before.flags.writeable
    assert cells.conductances is before
    cells.set(np.full((2, 5, 4), 3e-5))
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_allclose(cells.conductances, 3e-5)
    cells.restore(saved)
    np.testing.assert_array_equal(cells.conductances, kept)


@pytest.mark.parametrize("wrong", [np.nan, 1.01e-4, 0.9e-6, -1e-5, np.inf])
def test_a_target_outside_the_window_is_named_and_nothing_is_written(wrong: float) -> None:
    cells = devices()
    before = cells.conductances.copy()
    targets = np.full((2, 5, 4), 3e-5)
    targets[1, 2, 3] = wrong
    with pytest.raises(InputError, match=r"target_siemens: .* at cell \(1, 2, 3\) lies outside the window"):
        cells.set(targets)
    np.testing.assert_array_equal(cells.conductances, before)


@dataclass(frozen=True)
class Metered:
    seen_siemens: FloatArray
    meter: PowerMeter


@pytest.mark.parametrize("pulses_at_once", ["cell", "line"])
def test_setting_costs_a_pulse_for_each_cell_that_is_asked_to_move(pulses_at_once: Literal["cell", "line"]) -> None:
    rng = np.random.default_rng(5)
    before = rng.uniform(*WINDOW, (2, 6, 5))
    target = np.where(rng.random(before.shape) < 0.3, rng.uniform(*WINDOW, before.shape), before * (1 + 1e-12))
    target[:, 2] = before[:, 2]
    # Two cells do not do what they are told.
    after = target.copy()
    after[0, 0, :2] = before[0, 0, :2]
    section: dict[str, Any] = {"backend": "emulator", "operation": {"pulses_at_once": pulses_at_once}}
    config = EmulatorConfig.model_validate(section)
    tables = []
    for outright in (True, False):
        ledger = Ledger(("a",))
        meter = ArrayMeter(ledger, {"a": Metered(before, PowerMeter(WiresConfig()))}, config)
        assert meter.isolated("a")
        if outright:
            seconds = meter.set("a", target, before, after)
        else:
            counts = np.where(np.abs(target - before) > 1e-9 * before, np.sign(target - before), 0).astype(np.int64)
            none = np.zeros(before.shape, dtype=np.bool_)
            seconds = meter.written("a", Written(counts, before, after, none, none), 0)
        tables.append([seconds, ledger.energy_joules, ledger.device_seconds])
    assert tables[0][1] > 0
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-12)


@pytest.mark.parametrize("polarities", [1, 2])
def test_rows_that_stay_while_columns_move_take_the_power_of_every_cell(polarities: int) -> None:
    rng = np.random.default_rng(3)
    siemens = rng.uniform(*WINDOW, (polarities, 4, 3))
    rows, columns = rng.uniform(-0.2, 0.2, (2, 4)), rng.uniform(-0.2, 0.2, (2, 5, 3))
    wanted = np.sum(siemens * (rows[:, None, None, :, None] - columns[:, :, None, None, :]) ** 2)
    meter = PowerMeter(WiresConfig())
    assert meter.watts(siemens, rows, columns.reshape(10, 3)) == pytest.approx(wanted, rel=1e-12)
    # Other columns, and other cells, at the rows that are known.
    assert meter.watts(siemens, rows, 2.0 * rows[:, :3]) == pytest.approx(
        np.sum(siemens * (rows[:, None, :, None] - 2.0 * rows[:, None, None, :3]) ** 2), rel=1e-12
    )
    assert meter.watts(2.0 * siemens, rows, columns.reshape(10, 3)) == pytest.approx(2.0 * wanted, rel=1e-12)


def test_what_was_set_comes_back_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    cells, others = devices(), devices()
    for _ in range(20):
        target = rng.uniform(*WINDOW, (2, 5, 4))
        target.setflags(write=False)
        cells.set(target)
        others.restore(cells.snapshot())
        np.testing.assert_array_equal(others.conductances, cells.conductances)
        np.testing.assert_array_equal(others.conductances, target)
