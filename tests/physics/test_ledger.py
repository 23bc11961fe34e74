"""The ledger of energy and time against the circuit, its own durations, and the pulses of the cells."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.config import EmulatorConfig, TilesConfig, WiresConfig
from emulators.crossbar import Crossbar, CrossbarSolution
from emulators.crossbar_lines import Lines, select_cell
from emulators.memristors.sinh import SinhCell
from emulators.memristors.transistor import TransistorCell
from emulators.power_meter import PowerMeter
from emulators.substrate import EmulatedSubstrate
from emulators.unselected import LEVELS, unselected_watts
from substrate.capabilities import Nudge, WriteRequest
from substrate.errors import InputError
from substrate.experiment.config import load_experiment
from substrate.experiment.runfile import open_run
from substrate.experiment.runner import resume, run
from substrate.ledger import ACTIVITIES, Ledger
from substrate.network import Network
from substrate.tones import SamplingPlan

PLAN = SamplingPlan(frequency_hz=1000.0, harmonics=3, samples_per_period=12, periods=2)
WIRES = WiresConfig(segment_ohms=20.0, source_ohms=150.0, sense_ohms=70.0)


def _siemens(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 10.0 ** rng.uniform(-6.0, -4.0, shape)


def _dissipated(solution: CrossbarSolution, wires: WiresConfig) -> float:
    """What cells, segments and terminations turn into heat, node by node, for one vector; rows driven."""
    word, bit = solution.wordline_voltages, solution.bitline_voltages
    into_rows, into_columns = -solution.wordline_currents, solution.bitline_currents
    heat = float(np.sum(solution.cell_voltages * solution.cell_currents))
    heat += float(np.sum(np.diff(word, axis=1) ** 2 + 0.0)) / wires.segment_ohms
    heat += float(np.sum(np.diff(bit, axis=0) ** 2)) / wires.segment_ohms
    # The segment between port and first cell, and the termination behind it, carry the port's current.
    heat += float(np.sum(into_rows**2)) * (wires.segment_ohms + wires.source_ohms)
    heat += float(np.sum(into_columns**2)) * (wires.segment_ohms + wires.sense_ohms)
    return heat


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), columns=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_metered_power_is_the_heat_of_cells_wires_and_terminations(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    siemens = _siemens(rng, (2, rows, columns))
    volts = rng.uniform(-0.2, 0.2, (3, rows))
    heat = 0.0
    for polarity, vector in itertools.product(siemens, volts):
        crossbar = Crossbar(polarity, WIRES.segment_ohms, WIRES.segment_ohms, WIRES.source_ohms, WIRES.sense_ohms)
        solution = crossbar.solve(vector)
        one = _dissipated(solution, WIRES)
        assert one == pytest.approx(float(-solution.wordline_currents @ vector), rel=1e-6)
        heat += one
    assert PowerMeter(WIRES).watts(siemens, volts, None) == pytest.approx(heat, rel=1e-6)


def test_power_of_columns_and_of_both_sides_is_that_of_the_ports() -> None:
    rng = np.random.default_rng(5)
    siemens = _siemens(rng, (1, 6, 4))
    rows, columns = rng.uniform(-0.2, 0.2, (2, 6)), rng.uniform(-0.2, 0.2, (2, 4))
    crossbar = Crossbar(siemens[0], 20.0, 20.0, 150.0, 70.0)
    back = crossbar.solve(columns, Lines.backward(6, 4))
    expected = -float(np.sum(back.bitline_currents * columns))
    assert PowerMeter(WIRES).watts(siemens, None, columns) == pytest.approx(expected, rel=1e-6)
    bare = Crossbar(siemens[0], 20.0, 20.0)
    both = bare.solve(np.concatenate([rows, columns], axis=1), Lines.all_driven(6, 4))
    expected = -float(np.sum(both.wordline_currents * rows) + np.sum(both.bitline_currents * columns))
    assert PowerMeter(WIRES).watts(siemens, rows, columns) == pytest.approx(expected, rel=1e-6)
    ideal = float(np.sum(siemens[0] * (rows[:, :, None] - columns[:, None, :]) ** 2))
    assert PowerMeter(WiresConfig()).watts(siemens, rows, columns) == pytest.approx(ideal, rel=1e-12)


@pytest.mark.parametrize("wires", [WiresConfig(), WIRES])
def test_mirrored_rows_take_the_power_of_all_rows(wires: WiresConfig) -> None:
    """Doubled inputs and rails, several columns to a row, cells that move a little under the wires' share."""
    rng = np.random.default_rng(6)
    siemens = _siemens(rng, (1, 10, 4))
    inputs, rails = rng.uniform(-0.2, 0.2, (3, 4)), np.tile([0.1, -0.05], (3, 1))
    rows = np.concatenate([inputs, -inputs, rails], axis=1)
    columns = rng.uniform(-0.2, 0.2, (3 * 2, 4))
    meter, plain = PowerMeter(wires), PowerMeter(wires)
    for cells in (siemens, 1.001 * siemens, 2.0 * siemens):
        wanted = plain.watts(cells, rows.copy(), columns)
        assert meter.watts(cells, rows, columns, mirrored=4) == pytest.approx(wanted, rel=1e-12)
        assert meter.watts(cells, rows, 0.5 * columns, mirrored=4) == pytest.approx(
            plain.watts(cells, rows.copy(), 0.5 * columns), rel=1e-12
        )
    repeated = plain.watts(cells, np.repeat(rows, 2, axis=0), columns)
    assert wanted == pytest.approx(repeated, rel=1e-12)


def test_power_of_tiles_is_the_sum_over_tiles() -> None:
    rng = np.random.default_rng(6)
    siemens, volts = _siemens(rng, (2, 7, 5)), rng.uniform(-0.2, 0.2, (4, 7))
    expected = sum(
        PowerMeter(WIRES).watts(siemens[:, top : top + 3, left : left + 4], volts[:, top : top + 3], None)
        for top, left in itertools.product((0, 3, 6), (0, 4))
    )
    tiled = PowerMeter(WIRES, tiles=TilesConfig(rows=3, columns=4))
    assert tiled.watts(siemens, volts, None) == pytest.approx(expected, rel=1e-12)


def test_open_lines_of_a_tile_take_no_power() -> None:
    rng = np.random.default_rng(5)
    siemens = _siemens(rng, (2, 4, 6))
    siemens[0, :2, 1] = siemens[1, 3] = 0.0
    wires = WiresConfig(segment_ohms=30.0, source_ohms=50.0, sense_ohms=20.0)
    volts = rng.uniform(-0.2, 0.2, (3, 4))
    tiled = PowerMeter(wires, tiles=TilesConfig(rows=2, columns=3)).watts(siemens, volts, None)
    almost = PowerMeter(wires, tiles=TilesConfig(rows=2, columns=3)).watts(np.maximum(siemens, 1e-16), volts, None)
    assert tiled == pytest.approx(almost, rel=1e-8)


def test_wires_stay_right_to_second_order_while_cells_move() -> None:
    rng = np.random.default_rng(7)
    siemens, volts = _siemens(rng, (2, 12, 10)), rng.uniform(-0.2, 0.2, (4, 12))
    meter = PowerMeter(WiresConfig(segment_ohms=5.0))
    meter.watts(siemens, volts, None)
    moved = siemens * np.exp(0.03 * rng.standard_normal(siemens.shape))
    exact = PowerMeter(WiresConfig(segment_ohms=5.0)).watts(moved, volts, None)
    assert meter.watts(moved, volts, None) == pytest.approx(exact, rel=1e-3)
    far = siemens[:, ::-1].copy()
    exact = PowerMeter(WiresConfig(segment_ohms=5.0)).watts(far, volts, None)
    assert meter.watts(far, volts, None) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("cell", [SinhCell(alpha=3.0), TransistorCell()])
def test_power_of_curved_cells_is_that_of_the_solved_array(cell: Any) -> None:
    rng = np.random.default_rng(8)
    siemens, volts = _siemens(rng, (1, 5, 4)), rng.uniform(-0.2, 0.2, (3, 5))
    crossbar = Crossbar(siemens[0], 0.0, 0.0, cell=cell)
    expected = -float(np.sum(crossbar.solve(volts).wordline_currents * volts))
    assert PowerMeter(WiresConfig(), cell).watts(siemens, volts, None) == pytest.approx(expected, rel=1e-8)
    columns = rng.uniform(-0.2, 0.2, (3, 4))
    back = crossbar.solve(columns, Lines.backward(5, 4))
    expected = -float(np.sum(back.bitline_currents * columns))
    assert PowerMeter(WiresConfig(), cell).watts(siemens, None, columns) == pytest.approx(expected, rel=1e-8)


def _device(network: Network, seed: int = 0, **section: Any) -> EmulatedSubstrate:
    config = EmulatorConfig.model_validate({"backend": "emulator", **section})
    return EmulatedSubstrate(network, config, np.random.default_rng(seed))


def _program(device: EmulatedSubstrate, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    cells = {}
    for coupling in device.network.arrays:
        cells[coupling.name] = rng.uniform(4e-5, 6e-5, coupling.cell_shape)
        device.write_cells(WriteRequest(coupling.name, target_siemens=cells[coupling.name]))
    return cells


@pytest.mark.parametrize("feedback", ["separate", "shared"])
def test_records_cost_power_times_duration(feedback: Any) -> None:
    network = Network((3, 4, 2), feedback=feedback)
    operation = {"settle_seconds": 3e-6, "reading_seconds": 2e-6, "neuron_watts": 1e-5}
    device = _device(network, operation=operation)
    inputs = np.random.default_rng(2).uniform(-0.2, 0.2, (5, 3))
    with device:
        cells = _program(device)
        ledger = device.ledger
        assert ledger is not None
        written, writing = ledger.joules, ledger.elapsed_seconds
        device.hold(inputs)
        free = device.settle().volts
        settled = ledger.joules - written
        amperes = np.zeros((5, network.node_count))
        amperes[:, network.output.nodes] = 2e-6
        record = device.nudge(Nudge(amperes), PLAN).volts
        nudged = ledger.joules - written - settled

    def watts(name: str, nodes: np.ndarray) -> float:
        """Summed over the batch, mean over time."""
        coupling = network.array(name)
        total = cells[name].sum(axis=0)
        source = np.repeat(inputs[:, None], nodes.shape[1], axis=1)
        if coupling.source.start >= 0:
            source = nodes[..., coupling.source.nodes]
        bias = np.full((*source.shape[:2], len(coupling.bias_lines)), 0.2)
        rows = np.concatenate([source, bias], axis=-1)
        power = np.sum(rows**2 @ total.sum(axis=1), axis=0).mean()
        if feedback == "shared" and coupling.source.start >= 0:
            columns = nodes[..., coupling.target.nodes]
            power = 0.5 * power + 0.5 * np.sum(columns**2 @ total.sum(axis=0), axis=0).mean()
        return float(power)

    for row, name in enumerate(ledger.arrays):
        free_watts, record_watts = watts(name, free), watts(name, record)
        np.testing.assert_allclose(settled[row], [3e-6 * free_watts, 2e-6 * free_watts, 0, 0], rtol=1e-9)
        np.testing.assert_allclose(nudged[row], [3e-6 * record_watts, 2e-3 * record_watts, 0, 0], rtol=1e-9)
    static = 1e-5 * network.node_count * 5 * np.array([3e-6 + 3e-6, 2e-6 + 2e-3, 0, 0])
    np.testing.assert_allclose(ledger.joules[-1] - written[-1], static, rtol=1e-12)
    np.testing.assert_allclose(ledger.elapsed_seconds - writing, 5 * np.array([6e-6, 2e-6 + 2e-3, 0, 0]), rtol=1e-12)
    assert ledger.energy_joules == pytest.approx(ledger.joules.sum())
    assert ledger.device_seconds == pytest.approx(ledger.elapsed_seconds.sum())


def test_power_of_a_settled_network_is_that_of_its_solved_arrays() -> None:
    network = Network((6, 5, 3))
    wires = {"segment_ohms": 10.0, "source_ohms": 50.0, "sense_ohms": 30.0}
    device = _device(network, wires=wires, operation={"settle_seconds": 0.0, "reading_seconds": 1.0})
    inputs = np.random.default_rng(3).uniform(-0.2, 0.2, (4, 6))
    with device:
        cells = _program(device)
        device.hold(inputs)
        nodes = device.settle().volts[:, 0]
        ledger = device.ledger
    assert ledger is not None
    hidden, output = nodes[:, :5], nodes[:, 5:]
    bias = np.full((4, 1), 0.2)
    driven = {
        "input-hidden1": np.hstack([inputs, bias]),
        "hidden1-output": np.hstack([hidden, bias]),
        "output-hidden1": output,
    }
    for row, name in enumerate(ledger.arrays):
        power = 0.0
        for polarity in cells[name]:
            solution = Crossbar(polarity, 10.0, 10.0, 50.0, 30.0).solve(driven[name])
            power -= float(np.sum(solution.wordline_currents * driven[name]))
        assert ledger.joules[row, 1] == pytest.approx(power, rel=1e-6)


@pytest.mark.parametrize("scheme", ["half", "third", "grounded"])
@pytest.mark.parametrize("cell", [None, SinhCell(3.0)])
def test_unselected_cells_take_what_their_lines_leave_them(scheme: Any, cell: Any) -> None:
    rng = np.random.default_rng(5)
    siemens, counts = _siemens(rng, (2, 4, 3)), rng.integers(-3, 4, (2, 4, 3))
    meter = PowerMeter(WiresConfig(), cell)
    word, bit = LEVELS[scheme]
    expected = 0.0
    for polarity, row, column in np.ndindex(counts.shape):
        pulse = 1.5 * np.sign(counts[polarity, row, column])
        lines = Lines.all_driven(4, 3)
        volts = np.concatenate([np.full(4, word * pulse), np.full(3, bit * pulse)])
        volts[row], volts[4 + column] = pulse, 0.0
        array = Crossbar(siemens[polarity], 0.0, 0.0, cell=cell)
        solution = array.solve(volts, lines)
        heat = solution.cell_voltages * solution.cell_currents
        expected += abs(counts[polarity, row, column]) * float(heat.sum() - heat.ravel()[row * 3 + column])
    assert unselected_watts(meter, siemens, counts, 1.5, scheme) == pytest.approx(expected, rel=1e-9)


def test_the_bias_of_unselected_lines_enters_the_energy_of_writing() -> None:
    update = {"law": "soft_bounds", "step": 0.01}
    # Equal cells, 4 x 6: the others take (5 + 3)/4, 23/9 or 5 times the energy of the selected one.
    counts = np.ones((2, 4, 6), dtype=np.int64)
    joules = {}
    for unselected in ("isolated", "half", "third", "grounded"):
        device = _device(Network((3, 6)), update=update, operation={"unselected": unselected})
        with device:
            device.write_cells(WriteRequest("input-output", pulses=counts))
            joules[unselected] = device.ledger.energy_joules
    shares = np.array(list(joules.values())) / joules["isolated"]
    np.testing.assert_allclose(shares, [1.0, 1.0 + 8 / 4, 1.0 + 23 / 9, 1.0 + 5.0], rtol=1e-3)


@pytest.mark.parametrize("scheme", ["half", "third", "grounded", "floating"])
def test_unselected_cells_are_those_of_the_tile(scheme: Any) -> None:
    rng = np.random.default_rng(6)
    siemens, counts = _siemens(rng, (2, 7, 5)), rng.integers(-3, 4, (2, 7, 5))
    meter = PowerMeter(WiresConfig())
    expected = sum(
        unselected_watts(meter, siemens[place], counts[place], 1.5, scheme)
        for place in itertools.product(
            (slice(None),), (slice(0, 3), slice(3, 6), slice(6, 7)), (slice(0, 4), slice(4, 5))
        )
    )
    found = unselected_watts(meter, siemens, counts, 1.5, scheme, TilesConfig(rows=3, columns=4))
    assert found == pytest.approx(expected, rel=1e-12)
    assert found < unselected_watts(meter, siemens, counts, 1.5, scheme)


def test_sneak_paths_between_floating_lines_are_those_of_the_circuit() -> None:
    rng = np.random.default_rng(7)
    siemens = _siemens(rng, (1, 4, 3))
    for row, column in np.ndindex(4, 3):
        counts = np.zeros((1, 4, 3), dtype=np.int64)
        counts[0, row, column] = -2
        bias = select_cell(4, 3, row, column, -1.5, "floating")
        solution = Crossbar(siemens[0], 0.0, 0.0).solve(bias.voltages, bias.lines)
        heat = solution.cell_voltages * solution.cell_currents
        expected = 2.0 * float(heat.sum() - heat.ravel()[row * 3 + column])
        found = unselected_watts(PowerMeter(WiresConfig()), siemens, counts, 1.5, "floating")
        assert found == pytest.approx(expected, rel=1e-6)


def test_pulses_are_biased_as_the_disturb_they_do_says() -> None:
    """Equal cells, 4 x 6, or tiles of 2 x 3: the others take (5 + 3)/4, or (2 + 1)/4, of the selected one's energy."""
    update = {"law": "soft_bounds", "step": 0.01}
    counts = np.ones((2, 4, 6), dtype=np.int64)
    joules = []
    for more in (
        {"cells": {"disturb": {"scheme": "half"}}, "operation": {"unselected": "isolated"}},
        {"cells": {"disturb": {"scheme": "half"}}},
        {"cells": {"disturb": {"scheme": "half"}}, "tiles": {"rows": 2, "columns": 3}},
        {"operation": {"pulse_volts": 1.5}},
    ):
        with _device(Network((3, 6)), update=update, **more) as device:
            device.write_cells(WriteRequest("input-output", pulses=counts))
            joules.append(device.ledger.energy_joules)
    # 1.5 V is the default of cells.disturb.write_volts, and without disturb cells are isolated.
    np.testing.assert_allclose(np.array(joules) / joules[0], [1.0, 3.0, 1.75, 1.0], rtol=1e-3)


def test_cells_set_outright_take_a_pulse_each_if_they_move() -> None:
    device = _device(Network((3, 2)), operation={"pulse_volts": 1.2, "pulse_seconds": 2e-7})
    with device:
        first = _program(device)["input-output"]
        ledger = device.ledger
        assert ledger is not None
        assert ledger.elapsed_seconds[2] == pytest.approx(16 * 2e-7)
        joules = ledger.joules[0, 2]
        target = first.copy()
        target[0, :, 1] *= 1.1
        device.write_cells(WriteRequest("input-output", target_siemens=target))
        expected = 1.2**2 * 2e-7 * 0.5 * float((first + target)[0, :, 1].sum())
        assert ledger.joules[0, 2] - joules == pytest.approx(expected, rel=1e-12)
        assert ledger.elapsed_seconds[2] == pytest.approx(20 * 2e-7)
        # How many pulses it would have taken is not known.
        assert ledger.pulses == {"input-output": 0}


def test_forming_pulses_have_their_own_voltage_and_current() -> None:
    forming = {"pulse_volts": 1.9, "threshold_volts": 1.8, "threshold_spread": 0.2, "compliance_amperes": 2e-5}
    device = _device(
        Network((9, 8)),
        update={"law": "constant", "step": 1e-6},
        cells={"forming": forming},
        operation={"pulse_volts": 1.2, "pulse_seconds": 2e-7},
    )
    with device:
        pristine = device.read_cells("input-output")
        assert (pristine == 1e-8).all()
        counts = np.ones(pristine.shape, dtype=np.int64)
        reading = device.ledger.device_seconds
        device.write_cells(WriteRequest("input-output", pulses=counts))
        ledger = device.ledger
        formed = device._arrays["input-output"].formed
    assert 0.1 < formed.mean() < 0.9
    each = np.where(formed, 0.5 * (1.9**2 * 1e-8 + 1.9 * 2e-5), 1.9**2 * 1e-8)
    after = np.where(formed, 2e-5 / 0.4, 1e-8)
    expected = 2e-7 * float(np.sum(each) + np.sum(1.2**2 * after))
    assert ledger.joules[0, 2] == pytest.approx(expected, rel=1e-4)
    assert ledger.device_seconds - reading == pytest.approx(2 * counts.size * 2e-7)
    assert ledger.pulses == {"input-output": int(counts.size + formed.sum())}


@pytest.mark.parametrize("feedback", ["separate", "shared"])
def test_lines_that_are_driven_are_charged(feedback: Any) -> None:
    """C V^2 of every driven line, once a settling, a product, a word line of cells read, and a pulse."""
    network, farads = Network((3, 4, 2), feedback=feedback), 2e-13
    section = {"operation": {"settle_seconds": 0.0, "reading_seconds": 0.0, "reading_volts": 0.1}}
    inputs = np.random.default_rng(2).uniform(-0.2, 0.2, (5, 3))
    with _device(network, neurons={"line_farads": farads}, **section) as device:
        _program(device)
        ledger = device.ledger
        assert ledger is not None
        written = ledger.joules
        device.hold(inputs)
        nodes = device.settle().volts[:, 0]
        settled = ledger.joules - written
        hidden, output, bias = nodes[:, :4], nodes[:, 4:], 5 * 0.2**2
        squares = [np.sum(inputs**2) + bias, np.sum(hidden**2) + bias, np.sum(output**2)]
        if feedback == "shared":
            squares[1:] = [squares[1] + squares[2]]
        np.testing.assert_allclose(settled[:-1, 0], farads * np.array(squares), rtol=1e-12)
        assert not settled[:, 1:].any()
        volts = np.random.default_rng(0).uniform(-0.2, 0.2, (6, 4))
        device.products("input-hidden1", volts)
        device.read_cells("input-hidden1")
        read = ledger.joules[0, 1]
        assert read == pytest.approx(farads * (np.sum(volts**2) + 4 * 0.1**2), rel=1e-12)


@pytest.mark.parametrize(
    ("scheme", "tiles", "squares"),
    [
        ("isolated", None, 1.0),
        ("floating", None, 1.0),
        ("half", None, 1.0 + 3 / 4 + 5 / 4),
        ("third", None, 1.0 + 3 / 9 + 5 * 4 / 9),
        # A tile's lines are half of a line each.
        ("half", {"rows": 2, "columns": 3}, 0.5 * (1.0 + 1 / 4 + 2 / 4)),
    ],
)
def test_pulses_charge_all_lines_that_the_scheme_drives(scheme: str, tiles: Any, squares: float) -> None:
    update, farads = {"law": "constant", "step": 1e-6}, 2e-13
    operation = {"unselected": scheme, "pulse_seconds": 0.0, "pulse_volts": 1.2}
    section = {"operation": operation, "neurons": {"line_farads": farads}, "update": update, "tiles": tiles}
    with _device(Network((3, 6)), **section) as device:
        device.write_cells(WriteRequest("input-output", pulses=np.full((2, 4, 6), -3)))
        assert device.ledger.joules[0, 2] == pytest.approx(farads * 1.2**2 * 3 * 48 * squares, rel=1e-12)


def test_sources_of_a_resistive_network_charge_its_nodes() -> None:
    network = Network((3, 4, 2), activation="rectified", feedback="shared", family="resistive")
    section = {
        "operation": {"settle_seconds": 0.0, "reading_seconds": 0.0},
        "neurons": {"line_farads": 2e-13, "node_farads": 3e-12},
        "diodes": {"law": "shockley"},
    }
    inputs = np.random.default_rng(3).uniform(-0.1, 0.1, (4, 3))
    with _device(network, **section) as device:
        _program(device)
        written = device.ledger.joules
        device.hold(inputs)
        nodes = device.settle().volts[:, 0]
        rails = np.array(network.forward[0].bias_lines) * 0.2
        lines = 2.0 * np.sum(inputs**2) + 4 * np.sum(rails**2)
        expected = 2e-13 * lines + (2e-13 + 3e-12) * np.sum(nodes**2)
        assert (device.ledger.joules - written).sum() == pytest.approx(expected, rel=1e-9)


def test_a_bias_of_cells_pulsed_at_once_is_refused() -> None:
    with pytest.raises(ValueError, match="unselected"):
        EmulatorConfig.model_validate(
            {"backend": "emulator", "operation": {"unselected": "half", "pulses_at_once": "line"}}
        )


def test_pulses_cost_volts_squared_times_conductance_times_width() -> None:
    update = {"law": "constant", "step": 1e-6}
    operation = {"pulse_volts": 1.2, "pulse_seconds": 2e-7}
    device = _device(Network((3, 2)), update=update, operation=operation, cells={"stuck": 0.2})
    lines = _device(Network((3, 2)), update=update, operation={**operation, "pulses_at_once": "line"})
    counts = np.random.default_rng(4).integers(-9, 10, (2, 4, 2))
    for one in (device, lines):
        with one:
            before = one.read_cells("input-output")
            reading_seconds = one.ledger.device_seconds if one.ledger else 0.0
            one.write_cells(WriteRequest("input-output", pulses=counts))
            ledger = one.ledger
            assert ledger is not None
            # Steps of a millionth: the conductance is that of before.
            expected = 1.2**2 * 2e-7 * float(np.sum(np.abs(counts) * before))
            assert ledger.joules[0, 2] == pytest.approx(expected, rel=1e-4)
            slots = np.abs(counts) if one is device else np.abs(counts).max(axis=(0, 2))
            assert ledger.elapsed_seconds[2] == pytest.approx(2e-7 * slots.sum(), rel=1e-12)
            assert ledger.device_seconds == pytest.approx(reading_seconds + 2e-7 * slots.sum(), rel=1e-12)
            assert ledger.pulses == {"input-output": int(one._arrays["input-output"].devices.pulses.sum())}


def test_curved_cells_are_written_and_read_at_their_own_currents() -> None:
    forward, reverse = 4.0, 1.0
    device = _device(
        Network((3, 2)),
        update={"law": "constant", "step": 1e-6},
        operation={"pulse_volts": 1.2, "pulse_seconds": 2e-7, "reading_volts": 0.1, "reading_seconds": 2e-6},
        cells={"law": "rectifying", "forward_alpha": forward, "reverse_alpha": reverse},
    )
    counts = np.random.default_rng(4).integers(-9, 10, (2, 4, 2))
    with device:
        before = device.read_cells("input-output")
        device.write_cells(WriteRequest("input-output", pulses=counts))
        ledger = device.ledger
        assert ledger is not None

        def watts(volts: Any) -> Any:
            return volts * before * (np.exp(forward * volts) - np.exp(-reverse * volts)) / (forward + reverse)

        # Pulses downwards have the voltage reversed, which this law takes less current at.
        assert ledger.joules[0, 2] == pytest.approx(2e-7 * np.sum(np.abs(counts) * watts(1.2 * np.sign(counts))), 1e-4)
        assert ledger.joules[0, 1] == pytest.approx(2e-6 * np.sum(watts(0.1)), rel=1e-9)


def test_reading_cells_and_products() -> None:
    operation = {"reading_volts": 0.1, "reading_seconds": 2e-6}
    device = _device(Network((3, 2)), operation=operation)
    with device:
        cells = _program(device)["input-output"]
        device.read_cells("input-output")
        ledger = device.ledger
        assert ledger is not None
        assert ledger.joules[0, 1] == pytest.approx(0.01 * cells.sum() * 2e-6, rel=1e-12)
        assert ledger.elapsed_seconds[1] == pytest.approx(4 * 2e-6)
        before = ledger.joules[0, 1]
        volts = np.random.default_rng(0).uniform(-0.2, 0.2, (6, 4))
        device.products("input-output", volts)
        expected = float(np.sum(volts**2 @ cells.sum(axis=(0, 2)))) * 2e-6
        assert ledger.joules[0, 1] - before == pytest.approx(expected, rel=1e-9)


def test_totals_go_on_from_a_snapshot_bit_for_bit() -> None:
    network = Network((3, 4, 2))
    section = {"wires": {"segment_ohms": 3.0}, "update": {"law": "soft_bounds", "step": 0.01}}
    inputs = np.random.default_rng(2).uniform(-0.2, 0.2, (5, 3))

    def use(device: EmulatedSubstrate, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for coupling in network.arrays:
            device.write_cells(WriteRequest(coupling.name, pulses=rng.integers(-3, 4, coupling.cell_shape)))
        device.hold(inputs)
        device.settle()

    with _device(network, **section) as one, _device(network, **section) as other:
        use(one, 0)
        saved = one.states.snapshot()
        use(one, 1)
        other.states.restore(saved)
        use(other, 1)
        assert one.ledger is not None
        assert other.ledger is not None
        for key, expected in one.ledger.snapshot().items():
            assert np.array_equal(other.ledger.snapshot()[key], expected), key


def test_ledger_refuses_what_it_does_not_know() -> None:
    ledger = Ledger(("a",), ("neurons",))
    for name, arguments in {
        "part": ("b", "read", 1.0, 1.0),
        "activity": ("a", "sleep", 1.0, 1.0),
        "joules": ("a", "read", -1.0, 1.0),
        "seconds": ("a", "read", 1.0, float("nan")),
        "pulses: neurons": ("neurons", "read", 1.0, 1.0, 3),
    }.items():
        with pytest.raises(InputError, match=name):
            ledger.book(*arguments)
    with pytest.raises(InputError, match="seconds"):
        ledger.elapse("wait", -1.0)
    assert ledger.joules.shape == (2, len(ACTIVITIES))
    assert ledger.energy_joules == 0.0


@pytest.mark.parametrize("key", ["reading_volts", "pulse_volts"])
def test_voltages_beyond_the_limits_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        EmulatorConfig.model_validate({"backend": "emulator", "operation": {key: 5.0}})


def test_arrays_of_a_resistive_network_take_what_its_inputs_and_rails_give() -> None:
    network = Network((3, 4, 2), activation="rectified", feedback="shared", family="resistive")
    operation = {"settle_seconds": 0.0, "reading_seconds": 1.0}
    inputs = np.random.default_rng(3).uniform(-0.1, 0.1, (4, 3))
    with _device(network, operation=operation) as device:
        cells = _program(device)
        device.hold(inputs)
        nodes = device.settle().volts[:, 0]
        ledger = device.ledger
    assert ledger is not None
    given = np.zeros(4)
    into_nodes = np.zeros((4, network.node_count))
    for coupling in network.arrays:
        held = coupling.source.start < 0
        source = inputs if held else nodes[:, coupling.source.nodes]
        rows = coupling.lines(source / 0.2) * 0.2
        current = cells[coupling.name][0] * (rows[:, :, None] - nodes[:, None, coupling.target.nodes])
        into_nodes[:, coupling.target.nodes] += current.sum(axis=1)
        if not held:
            into_nodes[:, coupling.source.nodes] -= current[:, : coupling.source.size].sum(axis=2)
        sources = slice(None) if held else slice(coupling.source_lines, None)
        given += np.sum(rows[:, sources, None] * current[:, sources], axis=(1, 2))
    # Ideal diodes conduct at 0 V only: what the cells bring into a node without one is nothing, or meets no voltage.
    np.testing.assert_allclose(nodes * into_nodes, 0.0, atol=1e-9 * given.max())
    assert ledger.joules[:-1, 1].sum() == pytest.approx(given.sum(), rel=1e-9)


def test_a_resumed_run_logs_the_same_totals(tmp_path: Path) -> None:
    experiment = load_experiment("xor", ["training.epochs=3", "substrate.wires={segment_ohms: 2.0}"])
    whole = run(experiment, tmp_path / "whole.h5")
    parts = run(
        load_experiment("xor", ["training.epochs=1", "substrate.wires={segment_ohms: 2.0}"]), tmp_path / "parts.h5"
    )
    resume(parts, epochs=3)
    with open_run(whole) as one, open_run(parts) as other:
        expected, found = one.table("ledger"), other.table("ledger")
        assert list(expected["epoch"]) == [0, 1, 2, 3]
        for name, values in expected.items():
            assert np.array_equal(found[name], values), name
        assert (np.diff(expected["energy_joules"]) > 0).all()
        np.testing.assert_allclose(expected["joules"].sum(axis=(1, 2)), expected["energy_joules"], rtol=1e-12)
        summary = one.summary()
        assert summary["energy_joules"] == expected["energy_joules"][-1]
        assert summary["device_seconds"] == expected["device_seconds"][-1]


def test_inputs_that_change_in_place_are_booked_anew() -> None:
    with _device(Network((3, 2)), operation={"settle_seconds": 0.0, "reading_seconds": 1.0}) as device:
        _program(device)
        ledger = device.ledger
        assert ledger is not None
        inputs = np.full((1, 3), 0.05)
        device.hold(inputs)
        device.settle()
        first = ledger.joules[0, 1]
        inputs *= 2.0
        device.settle()
        assert ledger.joules[0, 1] == pytest.approx(2.0 * first)
        device.hold(inputs)
        device.settle()
        assert ledger.joules[0, 1] - 2.0 * first > 1.05 * first
