"""Matrices over tiles: what tiling must not change, what it must, and the converters of partial sums."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.config import EmulatorConfig, TilesConfig, WiresConfig
from emulators.crossbar import Crossbar
from emulators.memristors.cell_law import CellLaw
from emulators.memristors.ohmic import OhmicCell
from emulators.memristors.sinh import SinhCell
from emulators.memristors.transistor import SeriesResistanceCell, TransistorCell
from emulators.substrate import EmulatedSubstrate, backend
from emulators.tiling import TiledPair
from substrate.capabilities import HeldNudge, Nudge, WriteRequest
from substrate.contract import Direction
from substrate.errors import InputError
from substrate.network import Network
from substrate.tones import SamplingPlan

OHMIC, SINH = OhmicCell(), SinhCell(3.0)
LAWS = [OHMIC, SINH, SeriesResistanceCell(2e3, SINH), TransistorCell(0.5)]
IDEAL = WiresConfig()
WIRES = WiresConfig(segment_ohms=5.0, source_ohms=30.0, sense_ohms=10.0)
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")


def siemens(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).uniform(np.log(1e-6), np.log(1e-4), (2, *shape)))


def volts(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (3, count))


def largest(values: np.ndarray) -> float:
    return float(np.abs(values).max())


sides = st.integers(1, 9)


@settings(deadline=None, max_examples=40)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.sampled_from(LAWS), st.sampled_from(DIRECTIONS))
def test_with_ideal_wires_tiles_change_nothing(
    shape: tuple[int, int], tile: tuple[int, int], cell: CellLaw, direction: Direction
) -> None:
    g = siemens(shape)
    tiled = TiledPair(g, IDEAL, cell, TilesConfig(rows=tile[0], columns=tile[1]))
    v = volts(shape[0 if direction == "forward" else 1])
    across = v[:, None, :, None] if direction == "forward" else -v[:, None, None, :]
    cells = cell.current(across, g[None])
    expected = cells.sum(axis=2) if direction == "forward" else -cells.sum(axis=3)
    scale = largest(expected) + 1e-12
    assert largest(tiled.read(v, direction).amperes - (expected[:, 0] - expected[:, 1])) <= 1e-11 * scale


def test_with_ideal_wires_the_tiled_matrix_is_the_untiled_one() -> None:
    g = siemens((13, 11))
    for direction in DIRECTIONS:
        whole = TiledPair(g, IDEAL, OHMIC, None).matrix(direction)
        tiled = TiledPair(g, IDEAL, OHMIC, TilesConfig(rows=4, columns=5)).matrix(direction)
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-12 * largest(whole))


@pytest.mark.parametrize("cell", LAWS, ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_each_tile_is_a_crossbar_of_its_own(cell: CellLaw, direction: Direction) -> None:
    g, forward = siemens((7, 5)), direction == "forward"
    tiled = TiledPair(g, WIRES, cell, TilesConfig(rows=3, columns=2))
    v = volts(7 if forward else 5)
    expected = np.zeros((3, 5 if forward else 7))
    for top, left, polarity in itertools.product(range(0, 7, 3), range(0, 5, 2), (0, 1)):
        rows, columns = slice(top, top + 3), slice(left, left + 2)
        array = Crossbar(g[polarity, rows, columns], 5, 5, 30, 10, cell, tolerance=1e-12)
        driven, sensed = (rows, columns) if forward else (columns, rows)
        expected[:, sensed] += (1, -1)[polarity] * array.read(v[:, driven], direction)
    np.testing.assert_allclose(tiled.read(v, direction).amperes, expected, rtol=0, atol=2e-9 * largest(expected))


@pytest.mark.parametrize("cell", LAWS, ids=lambda cell: type(cell).__name__)
@pytest.mark.parametrize("wires", [IDEAL, WIRES], ids=["ideal", "wires"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_small_signal_conductances_are_differences_of_reads(
    cell: CellLaw, wires: WiresConfig, direction: Direction
) -> None:
    tiled = TiledPair(siemens((5, 4)), wires, cell, TilesConfig(rows=3, columns=3))
    v = volts(5 if direction == "forward" else 4)
    found = tiled.small_signal(v, direction, tiled.read(v, direction).states)
    for line in range(v.shape[1]):
        step = 1e-4 * np.eye(v.shape[1])[line]
        ends = [tiled.read(v + sign * step, direction).amperes for sign in (1, -1)]
        np.testing.assert_allclose(found[:, line], (ends[0] - ends[1]) / 2e-4, rtol=0, atol=1e-5 * largest(found))


def test_unused_lines_of_a_tile_are_open_cells_next_to_nothing() -> None:
    """The circuit that is not computed: a whole 4 x 5 tile, its unused cells as good as open."""
    g = siemens((3, 2))
    tile = np.full((2, 4, 5), 1e-16)
    tile[:, 1:, :2] = g  # ports are at column 0 and at the last row
    v = volts(3)
    padded = np.concatenate([np.zeros((3, 1)), v], axis=1)
    seen = [Crossbar(cells, 5, 5, 30, 10).read(padded)[:, :2] for cells in tile]
    found = TiledPair(g, WIRES, OHMIC, TilesConfig(rows=4, columns=5)).read(v, "forward").amperes
    np.testing.assert_allclose(found, seen[0] - seen[1], rtol=0, atol=1e-9 * largest(found))


@pytest.mark.parametrize("cell", [OHMIC, SINH], ids=["ohmic", "sinh"])
def test_shorter_lines_lose_less(cell: CellLaw) -> None:
    g = siemens((32, 32))
    g[1] = 1e-9  # one array all but absent: currents of the other, which can only be lost
    v = np.abs(volts(32))
    bare = TiledPair(g, IDEAL, cell, None).read(v, "forward").amperes
    wires = WiresConfig(segment_ohms=5.0)
    losses = []
    for side in (32, 16, 8, 4):
        tiles = TilesConfig(rows=side, columns=side)
        losses.append(float((bare - TiledPair(g, wires, cell, tiles).read(v, "forward").amperes).sum()))
    assert losses[-1] > 0
    assert all(more > 2 * less for more, less in itertools.pairwise(losses))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(4, 12), st.integers(1, 8), st.sampled_from([OHMIC, SINH]))
def test_digital_sums_are_off_by_half_a_step_a_tile_at_most(seed: int, bits: int, rows: int, cell: CellLaw) -> None:
    g, v = siemens((9, 3), seed), volts(9, seed)
    tiles = TilesConfig(rows=rows, columns=2, summation="digital", adc_bits=bits, adc_range_amperes=1e-3)
    digital = TiledPair(g, WIRES, cell, tiles)
    read, exact = digital.read(v, "forward"), digital.read(v, "forward", digitise=False).amperes
    count = -(-9 // rows)
    bound = count * 1e-3 / 2**bits if count > 1 else 0.0
    assert digital.rounding_amperes("forward") == pytest.approx(bound)
    assert not read.saturated.any()
    assert largest(read.amperes - exact) <= bound * (1 + 1e-9)
    steps = read.amperes / (2e-3 / 2**bits)
    assert count == 1 or largest(steps - np.rint(steps)) < 1e-6


def test_clipped_partial_sums_are_reported() -> None:
    tiles = TilesConfig(rows=2, columns=4, summation="digital", adc_bits=8, adc_range_amperes=1e-5)
    pair = TiledPair(siemens((4, 4)), IDEAL, OHMIC, tiles)
    v = np.array([1e-3, 1.0])[:, None] * np.ones((2, 4))
    assert pair.read(v, "forward").saturated.tolist() == [False, True]


def device(
    tiles: dict[str, Any] | None, wires: dict[str, Any], feedback: Any = "shared", law: dict[str, Any] | None = None
) -> EmulatedSubstrate:
    network = Network((5, 7, 3), feedback=feedback)
    section = {"backend": "emulator", "tiles": tiles, "wires": wires, "cells": law or {}}
    out = EmulatedSubstrate(network, EmulatorConfig.model_validate(section), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for coupling in network.arrays:
        half = 0.5e-5 * rng.standard_normal(coupling.shape)
        out._write_cells(WriteRequest(coupling.name, target_siemens=3e-5 + np.stack([half, -half])))
    return out


def settled(device: EmulatedSubstrate) -> tuple[np.ndarray, np.ndarray]:
    with device:
        device.hold(0.2 * np.random.default_rng(2).uniform(-1, 1, (4, 5)))
        record = device.settle()
    return record.volts[:, 0], record.settled


@pytest.mark.parametrize("feedback", ["shared", "separate"])
def test_networks_on_ideal_tiles_settle_as_without(feedback: str) -> None:
    whole, tiled = (settled(device(tiles, {}, feedback))[0] for tiles in (None, {"rows": 3, "columns": 2}))
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-10)


def test_networks_of_digital_tiles_come_closer_with_every_bit() -> None:
    exact, _ = settled(device(None, {}))
    errors = []
    for bits in (8, 12, 16):
        tiles = {"rows": 3, "columns": 2, "summation": "digital", "adc_bits": bits, "adc_range_amperes": 4e-5}
        volts, good = settled(device(tiles, {}))
        assert good.all()
        errors.append(largest(volts - exact))
    assert 0 < errors[2] < errors[1] / 4 < errors[0] / 16
    # Steps of the sums, 3 tiles of 8e-5/2^bits amperes each, over a unit of 5e-6 amperes, amplified by the loop.
    assert errors[2] < 0.2 * 3 * 8e-5 / 2**16 / 5e-6


@pytest.mark.parametrize("digital", [False, True])
def test_a_sample_settles_as_it_would_alone(digital: bool) -> None:
    tiles = {"rows": 3, "columns": 2, "summation": "digital", "adc_bits": 10, "adc_range_amperes": 4e-5}
    section = tiles if digital else None
    made = device(section, {}, law={"law": "ohmic" if digital else "transistor"})
    volts = 0.2 * np.random.default_rng(2).uniform(-1, 1, (4, 5))
    with made:
        made.hold(volts)
        together = made.settle().volts[:, 0]
        for sample in range(4):
            made.hold(volts[sample : sample + 1])
            np.testing.assert_allclose(made.settle().volts[0, 0], together[sample], rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ({"rows": 0, "columns": 4}, "tiles.rows"),
        ({"columns": 4}, "tiles.rows: missing"),
        ({"rows": 4, "columns": 4, "summation": "optical"}, "tiles.summation"),
        ({"rows": 4, "columns": 4, "adc_bits": 40}, "tiles.adc_bits"),
    ],
)
def test_bad_tiles_are_named(tiles: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        backend.resolve({"backend": "emulator", "tiles": tiles}, Network((2, 2)))


def test_a_nudge_that_a_tiles_converter_clips_leaves_a_feedforward_network_unsettled() -> None:
    network = Network((3, 4, 2), family="feedforward", feedback="none")
    tiles = {"rows": 3, "columns": 4, "summation": "digital", "adc_bits": 10, "adc_range_amperes": 2e-6}
    config = EmulatorConfig.model_validate({"backend": "emulator", "tiles": tiles})
    made = EmulatedSubstrate(network, config, np.random.default_rng(0))
    with made:
        for coupling in network.arrays:
            cells = np.full(coupling.cell_shape, 1e-6)
            cells[0] += 5e-6
            made.write_cells(WriteRequest(coupling.name, target_siemens=cells))
        made.hold(np.full((1, 3), 0.01))
        assert made.settle().settled.all()
        # 0.2 V on each of three lines of 5 uS is 3 uA, beyond the converter's 2 uA.
        hidden = np.zeros((1, network.node_count))
        hidden[:, :4] = 1.0
        for amperes, settled in ((1e-8, True), (1e-4, False)):
            assert made.settle_nudged(HeldNudge(amperes * hidden[:, None])).settled.all() == settled
            assert made.nudge(Nudge(amperes * hidden), SamplingPlan(1.0, 1, 4, 1)).settled.all() == settled
