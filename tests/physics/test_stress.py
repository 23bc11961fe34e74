"""Half-select disturb, forming and endurance of cells."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.arrays import DifferentialArray
from emulators.config import CellsConfig, DisturbConfig, EmulatorConfig, TilesConfig, WiresConfig
from emulators.crossbar import Crossbar
from emulators.crossbar_array import EmulatedCrossbar
from emulators.crossbar_lines import BiasScheme, Lines, select_cell
from emulators.memristors.disturb import doses, share_of_step
from emulators.memristors.updates import update_from_config
from emulators.substrate import EmulatedSubstrate, backend
from substrate.capabilities import WriteRequest
from substrate.contract import WriteReport
from substrate.errors import InputError
from substrate.network import Network

IDEAL = WiresConfig()
WIRES = WiresConfig(segment_ohms=200.0, source_ohms=500.0)
# Shares of steps that a test can see: .085 of a step at V/2, .028 at V/3.
SOFT = {"write_volts": 1.5, "volts_per_decade": 0.7}
CONSTANT = {"law": "constant", "step": 0.01}


def array(
    cells: dict[str, Any], update: dict[str, Any] | None = None, shape: tuple[int, int] = (4, 5), **options: Any
) -> DifferentialArray:
    wires = options.pop("wires", IDEAL)
    rng = np.random.default_rng(options.pop("seed", 0))
    law = update_from_config(update or CONSTANT)
    return DifferentialArray(shape, CellsConfig.model_validate(cells), wires, law, rng, **options)


def pulse(target: DifferentialArray, counts: np.ndarray) -> WriteReport:
    return target.write(WriteRequest("any", pulses=counts.astype(np.int64)))


def one(shape: tuple[int, ...], place: tuple[int, ...], count: int = 1) -> np.ndarray:
    counts = np.zeros(shape, dtype=np.int64)
    counts[place] = count
    return counts


@given(st.floats(0.05, 1.0), st.floats(0.3, 3.0), st.floats(0.0, 1.5))
def test_share_of_a_step_is_steep_and_odd(decade: float, write: float, part: float) -> None:
    config = DisturbConfig(write_volts=write, volts_per_decade=decade)
    volts = part * write
    share = share_of_step(np.array([volts, -volts, 0.0, write, volts + decade]), config)
    assert share[2] == 0.0
    assert share[3] == pytest.approx(1.0)
    assert share[1] == -share[0]
    # A decade a ``volts_per_decade``, more where the reverse rate still counts.
    assert volts == 0 or share[4] >= 9.999 * share[0]
    assert volts < decade or share[4] <= 10.2 * share[0]


@pytest.mark.parametrize("scheme", ["half", "third", "grounded", "floating"])
@pytest.mark.parametrize("wires", [None, WIRES], ids=["ideal", "wires"])
def test_doses_are_those_of_each_selections_own_circuit(scheme: BiasScheme, wires: WiresConfig | None) -> None:
    rng = np.random.default_rng(0)
    siemens = np.exp(rng.uniform(np.log(1e-6), np.log(1e-4), (4, 3)))
    counts = rng.integers(-2, 3, (4, 3))
    config = DisturbConfig(scheme=scheme, wire_loss=wires is not None, **SOFT)
    moved, own = doses(counts, siemens, config, wires or IDEAL)
    segment, source = (wires.segment_ohms, wires.source_ohms) if wires else (0.0, 0.0)
    # Both selected lines end in drivers here, so the sense input has a driver's resistance.
    circuit = Crossbar(siemens, segment, segment, source, source)
    expected = np.zeros((4, 3))
    for row, column in np.argwhere(counts):
        bias = select_cell(4, 3, row, column, 1.5, scheme)
        if scheme == "grounded":
            states, levels = Lines.all_driven(4, 3), np.zeros(7)
            levels[row] = 1.5
            volts = circuit.solve(levels, states).cell_voltages
        else:
            volts = circuit.solve(bias.voltages, bias.lines).cell_voltages
        shares = share_of_step(volts, config)
        assert own[row, column] == pytest.approx(shares[row, column], rel=1e-6)
        shares[row, column] = 0.0
        expected += counts[row, column] * shares
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_third_disturbs_less_than_a_half_and_only_the_row_sees_a_grounded_scheme() -> None:
    counts, siemens = one((6, 6), (2, 3), 7), np.full((6, 6), 1e-5)
    found = {
        scheme: doses(counts, siemens, DisturbConfig(scheme=scheme, **SOFT), IDEAL)[0]
        for scheme in ("half", "third", "grounded")
    }
    assert 0 < found["third"].max() < found["half"].max()
    assert found["third"].min() < 0 == found["half"].min()
    other = np.arange(6) != 2
    assert not found["grounded"][other].any()
    for dose in found.values():
        assert dose[2, 3] == 0.0


def test_wires_take_from_the_pulse_the_more_the_farther_the_cell() -> None:
    counts, siemens = np.ones((8, 8), dtype=np.int64), np.full((8, 8), 5e-5)
    _, own = doses(counts, siemens, DisturbConfig(wire_loss=True, **SOFT), WIRES)
    assert own.max() < 1
    # Word lines are driven at column 0, bit lines at the last row.
    assert np.all(np.diff(own, axis=1) < 0)
    assert np.all(np.diff(own, axis=0) > 0)


def test_open_lines_are_disturbed_like_any_other_unless_they_float() -> None:
    siemens = np.full((3, 4), 2e-5)
    siemens[:, 1] = 0.0
    counts = one((3, 4), (0, 0), 3) + one((3, 4), (1, 1), 2)
    for scheme in ("half", "third", "grounded"):
        config = DisturbConfig(scheme=scheme, wire_loss=True, **SOFT)
        found, almost = doses(counts, siemens, config, WIRES), doses(counts, np.maximum(siemens, 1e-15), config, WIRES)
        np.testing.assert_allclose(found, almost, rtol=1e-6, atol=1e-12)
    with pytest.raises(InputError, match="bit line 1 is wholly disconnected"):
        doses(counts, siemens, DisturbConfig(scheme="floating"), IDEAL)


def test_shares_add_up_to_steps() -> None:
    disturbed = array({"disturb": {"scheme": "half", **SOFT}})
    share = float(share_of_step(np.array(0.75), DisturbConfig(**SOFT)))
    before, step = disturbed.conductances.copy(), 0.01 * 0.5 * (1e-4 - 1e-6)
    for _ in range(30):
        pulse(disturbed, one((2, 4, 5), (0, 1, 2)))
    moved = np.rint((disturbed.conductances - before) / step)
    expected = np.zeros((2, 4, 5))
    expected[0, 1, :] = expected[0, :, 2] = np.floor(30 * share)
    expected[0, 1, 2] = 30
    assert np.floor(30 * share) >= 2
    np.testing.assert_array_equal(moved, expected)


def test_a_pulse_disturbs_its_own_tile_alone() -> None:
    disturbed = array({"disturb": {"scheme": "half", **SOFT}}, tiles=TilesConfig(rows=2, columns=3))
    before = disturbed.conductances.copy()
    pulse(disturbed, one((2, 4, 5), (1, 0, 0), 100))
    changed = disturbed.conductances != before
    assert changed.sum() == 1 + 1 + 2
    assert changed[1, :2, :3].sum() == 4


def test_one_sided_cells_are_never_moved_down() -> None:
    disturbed = array({"disturb": {"scheme": "third", **SOFT}}, {"law": "one_sided", "step": 0.01})
    before = disturbed.conductances.copy()
    pulse(disturbed, one((2, 4, 5), (0, 0, 0), 60))
    assert np.all(disturbed.conductances >= before)


FORMING = {"pristine_siemens": 1e-9, "threshold_volts": 1.6, "threshold_spread": 0.1, "pulse_volts": 1.7}


@pytest.mark.parametrize("law", ["ideal", "constant"])
def test_cells_form_once_and_only_above_their_threshold(law: str) -> None:
    fresh = array({"forming": FORMING}, {"law": law} if law == "ideal" else CONSTANT, (30, 30))

    def write() -> WriteReport:
        if law == "constant":
            return pulse(fresh, np.ones((2, 30, 30)))
        return fresh.write(WriteRequest("any", target_siemens=np.full((2, 30, 30), 3e-5)))

    assert np.all(fresh.conductances == 1e-9)
    first = write()
    formed = fresh.conductances > 1e-9
    # A normal threshold of mean 1.6 V and deviation .16 V under a pulse of 1.7 V: 73 % of 1800 cells.
    assert abs(formed.mean() - 0.734) < 4 * np.sqrt(0.734 * 0.266 / 1800)
    np.testing.assert_array_equal(first.failed, ~formed)
    given = int(formed.sum()) if law == "constant" else 0
    assert first.pulses == 1800 + given
    second = write()
    assert second.pulses == int((~formed).sum()) + given
    np.testing.assert_array_equal(fresh.conductances > 1e-9, formed)
    np.testing.assert_array_equal(fresh._stress.forming_pulses, np.where(formed, 1, 2))
    if law == "constant":
        # The filament of 20 uA, and two pulses up.
        expected = 5e-5 + 2 * 0.01 * 0.5 * (1e-4 - 1e-6)
        np.testing.assert_allclose(fresh.conductances[formed], expected, rtol=1e-9)


def test_cells_that_are_not_asked_stay_unformed() -> None:
    fresh = array({"forming": {**FORMING, "threshold_spread": 0.0}})
    report = pulse(fresh, one((2, 4, 5), (1, 2, 3)))
    assert (fresh.conductances > 1e-9).sum() == 1
    assert report.pulses == 2
    assert not report.failed.any()


def test_endurance_is_weibulls() -> None:
    tired = array({"endurance": {"characteristic_pulses": 200.0, "weibull_shape": 2.0}}, shape=(60, 60))
    counts = np.full((2, 60, 60), 10)
    counts[:, :, ::2] *= -1
    given = np.zeros(counts.shape)
    for total in range(10, 410, 10):
        before = tired.conductances.copy()
        report = pulse(tired, counts)
        given += np.abs(counts)
        survived = float(np.mean(tired._stress.received == given))
        expected = np.exp(-((total / 200.0) ** 2))
        assert abs(survived - expected) < 4 * np.sqrt(expected * (1 - expected) / 7200) + 2e-4
        np.testing.assert_array_equal(report.failed, tired._stress.received < given)
        dead = tired._stress.received < given - 10
        np.testing.assert_array_equal(tired.conductances[dead], before[dead])


def test_an_outright_write_wears_as_a_pulse_does() -> None:
    tired = array({"endurance": {"characteristic_pulses": 3.0, "weibull_shape": 50.0}}, {"law": "ideal"})
    levels = [2e-5, 4e-5, 6e-5, 8e-5, 2e-5]
    reports = [tired.write(WriteRequest("any", target_siemens=np.full((2, 4, 5), level))) for level in levels]
    assert not reports[1].failed.any()
    assert reports[-1].failed.all()
    assert set(np.round(np.unique(tired.conductances), 9)) <= {4e-5, 6e-5}


EVERYTHING = {
    "stuck": 0.05,
    "disturb": {"scheme": "third", "wire_loss": True, **SOFT},
    "forming": FORMING,
    "endurance": {"characteristic_pulses": 40.0, "weibull_shape": 1.5},
}
NOISY = {"law": "soft_bounds", "step": 0.02, "cycle_spread": 0.3, "step_spread": 0.2}


def history(target: DifferentialArray, seed: int, writes: int = 6) -> list[tuple[int, bytes, bytes]]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(writes):
        report = pulse(target, rng.integers(-6, 7, (2, 4, 5)))
        out.append((report.pulses, report.failed.tobytes(), target.conductances.tobytes()))
    return out


def test_snapshots_hold_everything_and_seeds_decide_everything() -> None:
    target, twin = array(EVERYTHING, NOISY, wires=WIRES), array(EVERYTHING, NOISY, wires=WIRES)
    first = history(target, 1)
    assert history(twin, 1) == first
    saved = target.snapshot()
    then = history(target, 2)
    assert then != history(array(EVERYTHING, NOISY, wires=WIRES, seed=1), 2)
    target.restore(saved)
    assert history(target, 2) == then
    twin.restore(saved)
    assert history(twin, 2) == then


def test_switched_on_but_without_effect_they_change_no_bit() -> None:
    harmless = {
        "disturb": {"write_volts": 2.0, "volts_per_decade": 1e-3},
        "endurance": {"characteristic_pulses": 1e15},
    }
    assert history(array(harmless, NOISY), 3) == history(array({}, NOISY), 3)


def test_a_device_reports_and_restores_them() -> None:
    section = {"backend": "emulator", "cells": EVERYTHING, "update": NOISY}
    network = Network((3, 4, 2))
    with EmulatedSubstrate(network, EmulatorConfig.model_validate(section), np.random.default_rng(0)) as device:
        saved, name = device.states.snapshot(), network.arrays[0].name
        counts = np.full((2, *network.arrays[0].shape), 50)
        report = device.write_cells(WriteRequest(name, pulses=counts))
        assert 0 < report.failed.mean() < 1
        after = device.read_cells(name)
        device.states.restore(saved)
        assert np.all(device.read_cells(name)[~device._arrays[name].devices.stuck] == 1e-9)
        again = device.write_cells(WriteRequest(name, pulses=counts))
        np.testing.assert_array_equal(again.failed, report.failed)
        np.testing.assert_array_equal(device.read_cells(name), after)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"disturb": {"scheme": "quarter"}}, "cells.disturb.scheme"),
        ({"disturb": {"volts": 1.0}}, "cells.disturb.volts: unknown key"),
        ({"disturb": {"write_volts": 9.0}}, "cells.disturb.write_volts: 9 V is beyond the limit"),
        ({"forming": {}}, "cells.forming.pulse_volts: 3 V is beyond the limit of 2 V"),
        ({"forming": {**FORMING, "compliance_amperes": 1e-3}}, "forming.compliance_amperes"),
        ({"endurance": {"weibull_shape": 0.0}}, "cells.endurance.weibull_shape"),
    ],
)
def test_bad_sections_are_named(cells: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        backend.resolve({"backend": "emulator", "cells": cells}, Network((2, 2)))


def test_a_single_crossbar_forms_disturbs_and_wears() -> None:
    cells = {
        "forming": {"pulse_volts": 1.9, "threshold_volts": 1.0},
        "disturb": {"scheme": "half", "volts_per_decade": 1.0},
        "endurance": {"characteristic_pulses": 50.0},
    }
    counts = np.zeros((2, 3), dtype=np.int64)
    counts[0, 1] = 20
    with EmulatedCrossbar(
        (2, 3), np.random.default_rng(0), cells=CellsConfig.model_validate(cells), update=CONSTANT
    ) as device:
        assert (device.read_cells() < 2e-8).all()
        device.write_cells(WriteRequest("", pulses=np.ones((2, 3))))
        formed = device.read_cells()
        assert (formed > 4e-5).all()
        device.write_cells(WriteRequest("", pulses=counts))
        moved = device.read_cells() - formed
        assert moved[0, 1] == moved.max()
        # Half-selected cells share its row or column; the rest see nothing.
        assert (moved[[0, 0, 1], [0, 2, 1]] > 0).all()
        assert (moved[1, [0, 2]] == 0).all()
        assert device.write_cells(WriteRequest("", pulses=np.full((2, 3), 1000))).failed.all()


def test_a_single_crossbar_refuses_curved_cells() -> None:
    with pytest.raises(InputError, match=r"cells\.law"):
        EmulatedCrossbar((2, 3), np.random.default_rng(0), cells=CellsConfig.model_validate({"law": "sinh"}))


def test_disturb_needs_pulses() -> None:
    with pytest.raises(InputError, match=r"cells\.disturb: expected an update law with pulses"):
        array({"disturb": {}}, {"law": "ideal"})
