"""The one circuit of the virtual bench: against the crossbar's own solver, Kirchhoff's laws and closed forms."""

import numpy as np
import pytest

from emulators import Crossbar, Lines, select_cell
from emulators.bench.bench import VirtualBench
from emulators.bench.clock import SimulatedClock
from emulators.bench.fixture import Fixture
from emulators.bench.generator_wave import GeneratorWave
from emulators.bench.lines import Writing
from emulators.bench.plant import CrossbarPlant
from emulators.bench.sources import GROUND, Constant, CurrentSource, VoltageSource
from emulators.config import CellsConfig, DisturbConfig, WiresConfig
from emulators.memristors.disturb import share_of_step
from substrate.arrays import FloatArray
from substrate.errors import InputError

NOW = np.zeros(1)


def cells(seed: int = 0, shape: tuple[int, int] = (4, 5)) -> FloatArray:
    return np.random.default_rng(seed).uniform(2e-6, 9e-5, shape)


def bench_of(siemens: FloatArray, law: CellsConfig | None = None, **options: object) -> Fixture:
    plant = CrossbarPlant(
        "a",
        siemens.shape,
        np.random.default_rng(0),
        cells=law,
        wires=WiresConfig(segment_ohms=2.0),
        initial_siemens=siemens,
        **options,  # type: ignore[arg-type]
    )
    return Fixture(plant, SimulatedClock())


@pytest.mark.parametrize("law", [None, CellsConfig(law="sinh", alpha=3.0)])
@pytest.mark.parametrize("others", ["floating", "grounded"])
def test_lines_are_solved_as_the_crossbar_does(law: CellsConfig | None, others: str) -> None:
    siemens = cells()
    fixture = bench_of(siemens, law)
    fixture.attach("a.row1", VoltageSource(Constant(0.2)))
    fixture.attach("a.col2", GROUND)
    for name in ("row0", "row2", "row3", "col0", "col1", "col3", "col4") if others == "grounded" else ():
        fixture.attach(f"a.{name}", GROUND)
    bias = select_cell(4, 5, 1, 2, 0.2, others)  # type: ignore[arg-type]
    solution = Crossbar(siemens, 2.0, 2.0, cell=law.cell() if law else None).solve(bias.voltages, bias.lines)
    found = fixture.amperes(["a.row1", "a.col2"], NOW)[0]
    np.testing.assert_allclose(
        found, -np.array([solution.wordline_currents[1], solution.bitline_currents[2]]), rtol=1e-8
    )


@pytest.mark.parametrize("law", [None, CellsConfig(law="sinh", alpha=3.0)])
def test_a_source_resistance_is_that_of_the_solver(law: CellsConfig | None) -> None:
    siemens = cells(1)
    fixture = bench_of(siemens, law)
    volts = np.linspace(-0.3, 0.3, 9)
    for index, level in enumerate(volts[:4]):
        fixture.attach(f"a.row{index}", VoltageSource(Constant(level), series_ohms=300.0))
    for index, level in enumerate(volts[4:]):
        fixture.attach(f"a.col{index}", VoltageSource(Constant(level), series_ohms=300.0))
    solution = Crossbar(siemens, 2.0, 2.0, 300.0, cell=law.cell() if law else None).solve(volts, Lines.all_driven(4, 5))
    names = [f"a.row{k}" for k in range(4)] + [f"a.col{k}" for k in range(5)]
    expected = -np.concatenate([solution.wordline_currents, solution.bitline_currents])
    np.testing.assert_allclose(fixture.amperes(names, NOW)[0], expected, rtol=1e-7, atol=1e-14)
    assert abs(expected.sum()) < 1e-12


def test_a_divider_and_its_compliance() -> None:
    fixture = bench_of(cells())
    for node in ("x", "y"):
        fixture.add(node)
    fixture.wire("x", "y", 1000.0)
    fixture.load("y", 3000.0)
    fixture.attach("x", VoltageSource(Constant(4.0), limit_amperes=2e-3))
    assert fixture.now("y") == pytest.approx(3.0, rel=1e-9)
    assert not fixture.in_compliance("x")
    fixture.attach("x", VoltageSource(Constant(-4.0), limit_amperes=0.5e-3))
    assert fixture.in_compliance("x")
    assert fixture.amperes(["x"], NOW)[0, 0] == pytest.approx(-0.5e-3)
    assert fixture.now("y") == pytest.approx(-1.5, rel=1e-9)
    fixture.attach("x", CurrentSource(Constant(1e-3), limit_volts=2.0))
    assert fixture.now("x") == pytest.approx(2.0)
    assert fixture.in_compliance("x")
    fixture.attach("x", CurrentSource(Constant(1e-4), limit_volts=2.0))
    assert fixture.now("x") == pytest.approx(0.4, rel=1e-9)
    fixture.connect("y", "a.row0", 1.0)
    fixture.disconnect("y", "a.row0")
    assert fixture.now("x") == pytest.approx(0.4, rel=1e-9)


def test_currents_of_moving_sources_are_those_of_each_moment() -> None:
    siemens = cells(2)
    fixture = bench_of(siemens)
    wave = GeneratorWave("sine", 50.0, 0.4, 0.1, dac_bits=0)
    fixture.attach("a.row0", VoltageSource(wave))
    for index in range(5):
        fixture.attach(f"a.col{index}", GROUND)
    times = np.linspace(0.0, 0.1, 41)
    volts = 0.1 + 0.2 * np.sin(2 * np.pi * 50 * times)
    found = fixture.amperes([f"a.col{index}" for index in range(5)], times)
    bias = Lines(("driven", *["floating"] * 3), ("grounded",) * 5)
    unit = Crossbar(siemens, 2.0, 2.0).solve([1.0], bias).bitline_currents
    np.testing.assert_allclose(found, -volts[:, None] * unit, rtol=1e-7, atol=1e-15)


def test_pulses_move_cells_by_the_voltages_that_stand_across_them() -> None:
    siemens = np.full((3, 3), 2e-5)
    nominal = Writing(1.5, 1e-3, 0.5)
    fixture = bench_of(siemens, update={"law": "soft_bounds", "step": 0.004}, writing=nominal)
    for index in range(3):
        fixture.attach(f"a.row{index}", VoltageSource(Constant(1.5 if index == 1 else 0.75)))
        fixture.attach(f"a.col{index}", VoltageSource(Constant(0.0 if index == 2 else 0.75)))
    volts = fixture.plant.arrays[0].cell_volts(np.array([[0.75, 1.5, 0.75, 0.75, 0.75, 0.0]]))[0]
    fixture.clock.advance(0.2)
    moved = (fixture.plant.conductances("a") - siemens) / (1e-4 - siemens)
    shares = share_of_step(volts, DisturbConfig(write_volts=1.5, volts_per_decade=0.5))
    counts = np.rint(200 * shares)
    np.testing.assert_allclose(moved, -np.expm1(counts * np.log1p(-0.004)), atol=2e-4)
    assert counts[1, 2] > 190
    assert 1 <= counts[0, 2] < 20
    assert counts[0, 0] == 0


def test_a_pulse_from_a_generator_counts_for_its_width() -> None:
    siemens = np.full((2, 2), 2e-5)
    fixture = bench_of(siemens, update={"law": "soft_bounds", "step": 0.01})
    wave = GeneratorWave("pulse", 100.0, 1.5, 0.75, duty=0.1, starts=np.array([0.02]), cycles=3.0, dac_bits=0)
    fixture.attach("a.row0", VoltageSource(wave))
    fixture.attach("a.col0", GROUND)
    fixture.clock.advance(0.1)  # three pulses of 1 ms, each a nominal one
    moved = (fixture.plant.conductances("a") - siemens) / (1e-4 - siemens)
    assert moved[0, 0] == pytest.approx(1 - 0.99**3, rel=1e-6)
    assert moved[1, 1] == pytest.approx(0.0, abs=1e-12)


NETWORK = {
    "seed": 3,
    "network": {"family": "current_mode", "layers": [2, 3, 1]},
    "substrate": {"backend": "emulator", "update": {"law": "soft_bounds", "step": 0.01}},
}


def test_the_arrays_of_a_network_are_read_and_written_through_their_lines() -> None:
    bench = VirtualBench(NETWORK)
    fixture, plant = bench.fixture, bench.plant
    name = "input-hidden1+"
    before = {array.name: plant.conductances(array.name).copy() for array in plant.arrays}
    fixture.attach(f"{name}.row1", VoltageSource(Constant(0.1)))
    fixture.attach(f"{name}.col2", GROUND)
    for other in ("row0", "row2", "col0", "col1"):
        fixture.attach(f"{name}.{other}", GROUND)
    assert -fixture.amperes([f"{name}.col2"], NOW)[0, 0] / 0.1 == pytest.approx(before[name][1, 2], rel=1e-9)
    fixture.attach("input1", VoltageSource(Constant(0.1)))
    quiet = fixture.now("hidden1.2")
    fixture.attach(f"{name}.row1", VoltageSource(Constant(bench.config.substrate.limits.write_volts)))
    bench.clock.advance(2e-3)
    moved = plant.conductances(name) - before[name]
    assert moved[1, 2] == pytest.approx((1 - 0.99**2) * (1e-4 - before[name][1, 2]), rel=1e-6)
    # With the other bit lines grounded, the cells of the word line take the same pulse.
    assert (moved[1] > 0).all()
    assert not moved[0].any()
    for other, siemens in before.items():
        if other != name:
            np.testing.assert_array_equal(plant.conductances(other), siemens)
    assert fixture.now("hidden1.2") != quiet  # the network sees the new cells


def test_a_resistor_into_a_nudge_terminal_is_a_transconductance() -> None:
    shown = []
    for way in ("resistor", "converter"):
        fixture = VirtualBench(NETWORK).fixture
        fixture.add("source")
        fixture.attach("source", VoltageSource(Constant(0.3)))
        fixture.attach("input0", VoltageSource(Constant(0.1)))
        if way == "resistor":
            fixture.wire("source", "output.0.nudge", 1e6)
        else:
            fixture.convert("source", "output.0.nudge", 1e-6)
        shown.append(fixture.now("output.0"))
    assert shown[0] == pytest.approx(shown[1], rel=1e-12)


def test_loops_through_the_bench_are_refused() -> None:
    fixture = VirtualBench(NETWORK).fixture
    fixture.wire("output.0", "input0", 100.0)
    with pytest.raises(InputError, match="joined to an input"):
        fixture.now("output.0")


def test_time_is_what_actions_take() -> None:
    seconds = [5.0]
    clock = SimulatedClock("wall", lambda: seconds[0])
    heard: list[tuple[float, float]] = []
    clock.listen(lambda start, end: heard.append((start, end)))
    clock.advance(0.0)
    clock.advance(2.0)
    seconds[0] = 6.0
    clock.catch_up()  # behind the wall clock it is not
    seconds[0] = 8.5
    clock.catch_up()
    assert heard == [(0.0, 2.0), (2.0, 3.5)]
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="seconds"):
            clock.advance(wrong)


@pytest.mark.parametrize("joined", [False, True])
def test_a_sine_acts_on_cells_only_where_it_reaches_them(joined: bool) -> None:
    fixture = bench_of(cells())
    for name in ("sine", "meter"):
        fixture.add(name)
    fixture.attach("sine", VoltageSource(GeneratorWave("sine", 1.0e3, 2.0, 0.0), series_ohms=50.0))
    fixture.attach("a.row0", VoltageSource(Constant(0.3)))
    # By way of a resistor and another net.
    fixture.wire("meter", "a.row1", 1.0e4)
    if joined:
        fixture.wire("sine", "meter", 1.0e4)
    acted: list[FloatArray] = []
    stress = fixture.plant.stress
    fixture.plant.stress = lambda volts, seconds: acted.append(seconds) or stress(volts, seconds)  # type: ignore
    fixture.clock.advance(5.0e-3)
    assert (len(acted[0]) > 1) == joined
    assert acted[0].sum() == pytest.approx(5.0e-3)
    times = np.linspace(0.0, 2.0e-3, 41)
    alone = fixture.volts(["a.row1"], times)
    # Together with the sine's own net, all of the circuit is solved at every time.
    np.testing.assert_allclose(alone, fixture.volts(["a.row1", "sine"], times)[:, :1], rtol=1e-12)
    assert (np.ptp(alone) > 0.0) == joined
