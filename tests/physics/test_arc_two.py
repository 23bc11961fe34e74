"""The in-process ArC TWO: pyarc2's interface, and currents against the crossbar's solver and plain products."""

import inspect
from typing import Any

import numpy as np
import pytest

from emulators import Crossbar, Lines
from emulators.bench.arc_two import COLUMNS, ROWS, ArcTwo, BiasOrder, DataMode, IdleMode, ReadAfter, ReadAt, ReadType
from emulators.bench.plant import CrossbarPlant
from emulators.config import WiresConfig
from substrate.errors import InputError

SIEMENS = np.arange(1.0, 13.0).reshape(3, 4) * 8e-6


def make(**options: Any) -> tuple[ArcTwo, CrossbarPlant]:
    rng = np.random.default_rng(3)
    plant = CrossbarPlant("array", (3, 4), rng, initial_siemens=SIEMENS, **options)
    return ArcTwo(plant, rng, noise_fraction=0.0, noise_amperes=0.0), plant


PULSED: dict[str, Any] = {"update": {"law": "soft_bounds", "step": 0.01}}


def test_signatures_are_those_of_the_package() -> None:
    pyarc2 = pytest.importorskip("pyarc2")
    own = [name for name in dir(ArcTwo) if not name.startswith("_")]
    for name in {"read_one", "read_all", "pulse_one", "generate_ramp", "get_iter", "config_channels"} - set(own):
        pytest.fail(name)
    for name in set(own) & set(dir(pyarc2.Instrument)):
        real = inspect.signature(getattr(pyarc2.Instrument, name))
        assert list(inspect.signature(getattr(ArcTwo, name)).parameters) == list(real.parameters), name
    assert set(own) <= set(dir(pyarc2.Instrument))
    arc, _ = make()
    np.testing.assert_array_equal(arc.read_all(0.1, pyarc2.BiasOrder.Rows), arc.read_all(0.1, BiasOrder.Rows))
    arc.generate_ramp(0, 16, 0.1, 0.1, 0.3, 100, 0, 1, pyarc2.ReadAt.Arb(0.2), pyarc2.ReadAfter.Block).execute()
    read = [row[0][0] for row in arc.get_iter(pyarc2.DataMode.Bits, pyarc2.ReadType.Current)]
    np.testing.assert_allclose(read, np.full(3, 0.2 * SIEMENS[0, 0]), rtol=1e-6)
    arc.finalise_operation(pyarc2.IdleMode.SoftGnd)


def test_readings_without_wires_are_products() -> None:
    arc, _ = make()
    assert arc.read_one(ROWS[1], COLUMNS[2], 0.2) == pytest.approx(0.2 * SIEMENS[1, 2], rel=1e-6)
    row = arc.read_slice(ROWS[2], 0.2)
    assert (row.shape, row.dtype) == ((32,), np.float32)
    np.testing.assert_allclose(row[:4], 0.2 * SIEMENS[2], rtol=1e-6)
    np.testing.assert_allclose(arc.read_slice(COLUMNS[3], 0.2)[:3], 0.2 * SIEMENS[:, 3], rtol=1e-6)
    masked = arc.read_slice_masked(ROWS[0], [COLUMNS[1], COLUMNS[3]], 0.2)
    assert np.flatnonzero(~np.isnan(masked)).tolist() == [1, 3]
    for order in BiasOrder:
        everything = arc.read_all(0.2, order)
        assert everything.shape == (32, 32)
        np.testing.assert_allclose(everything[:3, :4], 0.2 * SIEMENS, rtol=1e-6)
        assert np.abs(everything[3:]).max() < 1e-12


def test_floating_lines_read_the_sneak_paths_that_the_solver_gives() -> None:
    arc, plant = make(wires=WiresConfig(segment_ohms=5.0))
    circuit = Crossbar(plant.conductances("array"), 5.0, 5.0)
    arc.float_all().execute()
    lines = Lines(("driven", "floating", "floating"), ("floating", "sensed", "floating", "floating"))
    sneak = circuit.solve([0.2], lines).bitline_currents[1]
    assert arc.read_one(ROWS[0], COLUMNS[1], 0.2) == pytest.approx(sneak, rel=1e-6)
    arc.ground_all().execute()
    alone = circuit.solve([0.2] + [0.0] * 6, Lines.all_driven(3, 4)).bitline_currents[1]
    assert arc.read_one(ROWS[0], COLUMNS[1], 0.2) == pytest.approx(alone, rel=1e-6)
    assert abs(sneak / alone - 1.0) > 0.05


def test_volts_of_a_divider() -> None:
    arc, _ = make()
    arc.float_all().config_channels([(ROWS[0], 0.3), (ROWS[1], -0.1), (ROWS[2], 0.0)], None).execute()
    expected = (0.3 * SIEMENS[0] - 0.1 * SIEMENS[1]) / SIEMENS.sum(axis=0)
    np.testing.assert_allclose(arc.vread_channels(COLUMNS[:4], True), expected, rtol=1e-4, atol=1e-9)
    arc.connect_to_gnd([COLUMNS[0]]).execute()
    assert arc.vread_channels([COLUMNS[0]], False) == [0.0]


def test_a_pulse_waits_for_execute_and_moves_its_cell_by_one_step() -> None:
    arc, plant = make(**PULSED)
    before = plant.conductances("array").copy()
    half = [(channel, 0.75) for channel in (*ROWS, *COLUMNS)]
    arc.config_channels(half, None).execute()
    arc.pulse_one(COLUMNS[1], ROWS[2], 1.5, 1_000_000)
    assert arc.busy()
    np.testing.assert_array_equal(plant.conductances("array"), before)
    start = arc.clock.seconds
    arc.execute().wait()
    assert not arc.busy()
    assert arc.clock.seconds == pytest.approx(start + 1e-3)
    moved = plant.conductances("array") - before
    assert moved[2, 1] == pytest.approx(0.01 * (1e-4 - before[2, 1]), rel=0.3)
    moved[2, 1] = 0.0
    assert not moved.any()  # half-selected cells at half of the voltage do not move
    arc.ground_all().execute()
    after = arc.pulseread_one(COLUMNS[1], ROWS[2], 1.5, 1_000_000, 0.1)
    assert after == pytest.approx(0.1 * plant.conductances("array")[2, 1], rel=1e-5)


def test_ramps_and_trains_wait_to_be_fetched() -> None:
    arc, _ = make()
    arc.generate_ramp(ROWS[0], COLUMNS[0], 0.1, 0.1, 0.3, 100, 1000, 2, ReadAt.Bias, ReadAfter.Pulse).execute()
    rows = [row[0] for row in arc.get_iter(DataMode.Bits)]
    assert len(rows) == 6
    assert np.isnan(rows[0][1:]).all()
    expected = np.repeat([0.1, 0.2, 0.3], 2) * SIEMENS[0, 0]
    np.testing.assert_allclose([row[0] for row in rows], expected, rtol=1e-6)
    assert arc.pick_one(DataMode.All, ReadType.Current) is None
    arc.generate_read_train([ROWS[0], ROWS[1]], COLUMNS[:4], 0.2, 2, 0, True).execute()
    everything = arc.pick_one(DataMode.All, ReadType.Current)
    assert everything is not None
    np.testing.assert_allclose(everything[list(COLUMNS[:4])], 0.2 * (SIEMENS[0] + SIEMENS[1]), rtol=1e-6)
    with pytest.raises(InputError, match="Current"):
        arc.pick_one(DataMode.All, ReadType.Voltage)
    arc.finalise_operation(IdleMode.Float)
    assert np.abs(arc.vread_channels([COLUMNS[0]], False)).max() < 1e-6


def test_noise_is_what_was_asked_for_and_seeded() -> None:
    def read(seed: int) -> np.ndarray[Any, Any]:
        plant = CrossbarPlant("array", (3, 4), np.random.default_rng(0), initial_siemens=SIEMENS)
        arc = ArcTwo(plant, np.random.default_rng(seed), noise_fraction=0.01, noise_amperes=0.0)
        return np.array([arc.read_one(ROWS[0], COLUMNS[0], 0.2) for _ in range(400)])

    first = read(1)
    np.testing.assert_array_equal(first, read(1))
    assert first.std() / (0.2 * SIEMENS[0, 0]) == pytest.approx(0.01, rel=0.15)


@pytest.mark.parametrize(
    ("act", "named"),
    [
        (lambda arc: arc.read_one(0, 64, 0.1), "channel"),
        (lambda arc: arc.read_one(0, 0, 0.1), "high"),
        (lambda arc: arc.pulse_one(0, 16, 1.0, 10), "nanos"),
        (lambda arc: arc.pulse_one(0, 16, 1.0, 1e6), "nanos"),
        (lambda arc: arc.pulse_one(0, 16, 11.0, 1000).execute(), "voltage"),
        (lambda arc: arc.config_channels([(0, float("nan"))], None), "voltage"),
        (lambda arc: arc.read_slice_masked(0, [1], 0.1), "mask"),
        (lambda arc: arc.read_all(0.1, "Rows"), "Rows"),
        (lambda arc: arc.generate_ramp(0, 16, 0.0, -0.1, 1.0, 100, 0, 1, ReadAt.Bias, ReadAfter.Pulse), "vstep"),
    ],
)
def test_what_the_board_cannot_do_is_refused(act: Any, named: str) -> None:
    arc, _ = make()
    with pytest.raises(InputError, match=named):
        act(arc)
