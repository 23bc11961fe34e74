"""The resistive family against Kirchhoff's laws written out cell by cell, finite differences, scipy and ngspice."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ngspice import RESULT, run_deck
from scipy.optimize import lsq_linear

from emulators.crossbar import Crossbar
from emulators.diodes import THERMAL_VOLTS, Diodes, IdealDiodes, ShockleyDiodes, rectified_rails
from emulators.networks.resistive import ResistiveCoupling, ResistiveNetwork
from emulators.networks.resistive_response import adjoint, nudged_period, response
from emulators.networks.resistive_steady import SteadyTolerance, settle, sweep
from emulators.resistive_spice import resistive_deck, resistive_nodes
from emulators.spice import Stimulus
from substrate.demodulation import chebyshev_derivative, harmonics
from substrate.errors import CapabilityError, ConvergenceError, InputError
from substrate.tones import SamplingPlan

RAILS = np.array([0.5, -0.5])
TIGHT = SteadyTolerance(residual_volts=1e-14)
PLAN = SamplingPlan(frequency_hz=1.0, harmonics=3, samples_per_period=16, periods=1)
SATURATION = 1e-12


def make_diodes(kind: str, sizes: tuple[int, ...], thermal_volts: float = THERMAL_VOLTS) -> Diodes:
    low, high = rectified_rails(sizes[1:-1], sizes[-1])
    if kind == "ideal":
        return IdealDiodes(low, high)
    if kind == "antiparallel":
        hidden = np.arange(len(low)) < sum(sizes[1:-1])
        low, high = np.where(hidden, 0.0, -np.inf), np.where(hidden, 0.0, np.inf)
    return ShockleyDiodes.alike(low, high, SATURATION, 1.0, thermal_volts)


def make_network(
    sizes: tuple[int, ...],
    kind: str,
    rng: np.random.Generator,
    gains: tuple[float, ...] | None = None,
    decades: float = 2.0,
) -> ResistiveNetwork:
    """Log-uniform conductances around 10 uS, two bias rails at every layer."""
    couplings = [
        ResistiveCoupling(1e-5 * 10.0 ** (decades * rng.uniform(-0.5, 0.5, (a + 2, b))), RAILS, gain)
        for a, b, gain in zip(sizes[:-1], sizes[1:], gains or (1.0,) * (len(sizes) - 1), strict=True)
    ]
    return ResistiveNetwork(couplings, make_diodes(kind, sizes))


def with_cells(network: ResistiveNetwork, index: int, cells: np.ndarray) -> ResistiveNetwork:
    couplings = list(network.couplings)
    couplings[index] = replace(couplings[index], conductances=cells)
    return ResistiveNetwork(couplings, network.diodes)


def doubled(rng: np.random.Generator, batch: int, size: int) -> np.ndarray:
    x = rng.uniform(-1.0, 1.0, (batch, size // 2))
    return np.concatenate([x, -x], axis=1)


def cell_volts(network: ResistiveNetwork, inputs: np.ndarray, volts: np.ndarray) -> list[np.ndarray]:
    """Voltage across every cell, (batch, rows, columns), from physical node voltages and nothing else."""
    across = []
    for index, coupling in enumerate(network.couplings):
        source = inputs if index == 0 else volts[:, network.layers[index - 1]]
        rails = np.tile(coupling.rail_volts, (len(volts), 1))
        rows = np.concatenate([coupling.gain * source, rails], axis=1)
        across.append(rows[:, :, None] - volts[:, None, network.layers[index]])
    return across


def node_currents(network: ResistiveNetwork, inputs: np.ndarray, volts: np.ndarray) -> np.ndarray:
    """Amperes that the cells and amplifiers bring to each free node."""
    currents = np.zeros_like(volts)
    for index, across in enumerate(cell_volts(network, inputs, volts)):
        coupling = network.couplings[index]
        flow = coupling.conductances * across
        currents[:, network.layers[index]] += flow.sum(axis=1)
        if index:
            currents[:, network.layers[index - 1]] -= flow.sum(axis=2)[:, : coupling.source_size] / coupling.gain
    return currents


def shockley_currents(network: ResistiveNetwork, volts: np.ndarray) -> np.ndarray:
    """The diodes' currents into the nodes, straight from the law."""
    diodes = network.diodes
    assert isinstance(diodes, ShockleyDiodes)
    currents = np.zeros_like(volts)
    for node in range(network.node_count):
        vt, i_s = diodes.slope_volts[node], diodes.saturation_amperes[node]
        if np.isfinite(diodes.low_volts[node]):
            currents[:, node] += i_s * np.expm1((diodes.low_volts[node] - volts[:, node]) / vt)
        if np.isfinite(diodes.high_volts[node]):
            currents[:, node] -= i_s * np.expm1((volts[:, node] - diodes.high_volts[node]) / vt)
    return currents


def co_content(network: ResistiveNetwork, inputs: np.ndarray, volts: np.ndarray) -> np.ndarray:
    """Watts, (batch,), of a network without amplifiers: cells, and the integrals of the diodes' currents."""
    total = sum(
        0.5 * np.sum(coupling.conductances * across**2, axis=(1, 2))
        for coupling, across in zip(network.couplings, cell_volts(network, inputs, volts), strict=True)
    )
    if isinstance(network.diodes, ShockleyDiodes):
        d = network.diodes
        for rail, sign in ((d.low_volts, -1.0), (d.high_volts, 1.0)):
            on = np.isfinite(rail)
            v = sign * (volts[:, on] - rail[on])
            vt, i_s = d.slope_volts[on], d.saturation_amperes[on]
            total = total + np.sum(i_s * (vt * np.exp(v / vt) - v), axis=1)
    return np.asarray(total)


def test_excess_is_the_integral_of_the_diodes_current() -> None:
    rng = np.random.default_rng(17)
    low, high = np.array([-0.1, -np.inf, 0.0]), np.array([0.3, 0.2, 0.0])
    diodes = ShockleyDiodes.alike(low, high, 1e-9)
    volts, step = rng.uniform(-0.6, 0.6, (50, 3)), rng.uniform(-0.5, 0.5, (50, 3))
    nodes, weights = np.polynomial.legendre.leggauss(60)
    along = 0.5 * (nodes + 1.0)
    drawn = -diodes.current_and_slope(volts + along[:, None, None] * step)[0]
    first = -diodes.current_and_slope(volts)[0] * step
    integral = np.tensordot(0.5 * weights, drawn, 1) * step
    scale = np.abs(integral) + np.abs(first)
    np.testing.assert_allclose(diodes.excess(volts, step), integral - first, rtol=0, atol=1e-9 * scale.max())
    small = 1e-9 * step
    _, slope = diodes.current_and_slope(volts)
    np.testing.assert_allclose(diodes.excess(volts, small), 0.5 * slope * small**2, rtol=1e-6)


@pytest.mark.parametrize("ohms", [0.0, 300.0])
def test_relaxing_goes_downhill_inside_the_box(ohms: float) -> None:
    rng = np.random.default_rng(18)
    network = make_network((6, 9, 7, 3), "ideal", rng, decades=4.0)
    system = (with_wires(network, ohms) if ohms else network).system
    low, high = network.diodes.box_volts
    low, high = np.tile(low, (500, 1)), np.tile(high, (500, 1))
    volts = np.clip(rng.uniform(-3.0, 3.0, low.shape), low, high)
    drive = 1e-4 * rng.standard_normal(low.shape)

    def content(v: np.ndarray) -> np.ndarray:
        return np.asarray(np.sum(v * (0.5 * system.apply(v) - drive), axis=1))

    for _ in range(3):
        relaxed = system.relax(volts, drive, low, high)
        assert (content(relaxed) < content(volts)).all()
        assert ((relaxed >= low) & (relaxed <= high)).all()
        volts = relaxed


CASES = [
    ((6, 4, 3), (1.0, 1.0)),
    ((6, 4, 3), (1.0, 4.0)),
    ((6, 3), (2.0,)),
    ((8, 10, 7, 6, 4), (5.0, 4.0, 0.5, 2.0)),
]


@pytest.mark.parametrize(("sizes", "gains"), CASES)
def test_currents_balance_with_ideal_diodes(sizes: tuple[int, ...], gains: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    network = make_network(sizes, "ideal", rng, gains)
    inputs = doubled(rng, 40, sizes[0])
    nudge = np.zeros((40, network.node_count))
    nudge[:, network.output] = 1e-6 * rng.standard_normal((40, sizes[-1]))
    state = settle(network, network.drive(inputs) + nudge, TIGHT).checked()
    left = node_currents(network, inputs, state.volts) + nudge
    scale = network.system.diagonal.max() * np.abs(inputs).max() * max(gains)
    low, high = network.diodes.box_volts
    assert (state.volts >= low).all()
    assert (state.volts <= high).all()
    assert np.abs(left[state.moving]).max() <= 1e-13 * scale
    # A diode only pushes inwards: it conducts at its rail and in its own direction.
    at_low, at_high = state.volts == low, state.volts == high
    assert (left[at_low] <= 1e-13 * scale).all()
    assert (left[at_high] >= -1e-13 * scale).all()
    if len(sizes) > 2:
        assert at_low.any()
        assert at_high.any()
        assert (state.moving & (np.isfinite(low) | np.isfinite(high))).any()


@pytest.mark.parametrize("kind", ["shockley", "antiparallel"])
@pytest.mark.parametrize(("sizes", "gains"), CASES)
def test_currents_balance_with_shockley_diodes(kind: str, sizes: tuple[int, ...], gains: tuple[float, ...]) -> None:
    rng = np.random.default_rng(2)
    network = make_network(sizes, kind, rng, gains)
    inputs = doubled(rng, 40, sizes[0])
    state = settle(network, network.drive(inputs), SteadyTolerance(residual_volts=1e-13)).checked()
    left = node_currents(network, inputs, state.volts) + shockley_currents(network, state.volts)
    assert np.abs(left / network.system.diagonal).max() <= 2e-13
    if len(sizes) > 2:
        assert np.abs(shockley_currents(network, state.volts)).max() > 1e-6  # the diodes matter


@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["ideal", "shockley", "antiparallel"]))
@settings(max_examples=40, deadline=None)
def test_converges_from_anywhere_on_hard_conductances(seed: int, kind: str) -> None:
    """Six decades of conductance, volts of input, far and random starts: one and the same state."""
    rng = np.random.default_rng(seed)
    network = make_network((6, 9, 8, 3), kind, rng, (10.0, 4.0, 2.0), decades=6.0)
    drive = network.drive(doubled(rng, 8, 6))
    state = settle(network, drive, SteadyTolerance(residual_volts=1e-12)).checked()
    start = rng.uniform(-50.0, 50.0, state.volts.shape)
    other = settle(network, drive, SteadyTolerance(residual_volts=1e-12), start=start).checked()
    # A residual of r moves the state by up to r times the condition of the network.
    np.testing.assert_allclose(other.volts, state.volts, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["ideal", "shockley"])
def test_steady_state_minimises_the_co_content(kind: str) -> None:
    rng = np.random.default_rng(3)
    network = make_network((6, 5, 4, 3), kind, rng)
    inputs = doubled(rng, 1, 6)
    state = settle(network, network.drive(inputs), TIGHT if kind == "ideal" else None).checked()
    size = 10.0 ** rng.uniform(-3, -0.5, (400, 1))
    low, high = network.diodes.box_volts
    nearby = np.clip(state.volts + size * rng.standard_normal((400, network.node_count)), low, high)
    held = np.repeat(inputs, 400, axis=0)
    assert (co_content(network, held, nearby) > co_content(network, inputs, state.volts)).all()


@pytest.mark.parametrize("kind", ["ideal", "shockley", "antiparallel"])
@pytest.mark.parametrize("thermal_volts", [THERMAL_VOLTS, 1e-4])
def test_every_step_lowers_the_co_content(kind: str, thermal_volts: float) -> None:
    rng = np.random.default_rng(16)
    sizes = (6, 12, 9, 3)
    network = make_network(sizes, kind, rng, decades=6.0)
    network = ResistiveNetwork(network.couplings, make_diodes(kind, sizes, thermal_volts))
    inputs = doubled(rng, 60, 6)
    drive = network.drive(inputs)
    start = rng.uniform(-5.0, 5.0, drive.shape)
    walk = [
        co_content(network, inputs, settle(network, drive, SteadyTolerance(1e-12, most_steps=count), start).volts)
        for count in range(12)
    ]
    for before, after in pairwise(walk):
        assert (after <= before + 1e-12 * np.abs(before)).all()
    assert (walk[-1] < walk[0]).any()


@pytest.mark.parametrize("kind", ["ideal", "shockley"])
def test_power_is_balanced_and_never_delivered(kind: str) -> None:
    rng = np.random.default_rng(4)
    network = make_network((6, 8, 5, 3), kind, rng)
    inputs = doubled(rng, 50, 6)
    drive = network.drive(inputs)
    state = settle(network, drive, SteadyTolerance(residual_volts=1e-13)).checked()
    delivered, burnt = np.zeros(50), np.zeros(50)
    for index, across in enumerate(cell_volts(network, inputs, state.volts)):
        flow = network.couplings[index].conductances * across
        rails = np.tile(RAILS, (50, 1))
        held = np.concatenate(
            [inputs if index == 0 else 0.0 * state.volts[:, network.layers[index - 1]], rails], axis=1
        )
        delivered += np.sum(held * flow.sum(axis=2), axis=1)
        burnt += np.sum(flow * across, axis=(1, 2))
    if kind == "shockley":
        in_diodes = -np.sum(state.volts * shockley_currents(network, state.volts), axis=1)
        assert (in_diodes >= 0).all()
        burnt += in_diodes
    np.testing.assert_allclose(delivered, burnt, rtol=1e-10)
    assert (delivered > 0).all()
    # Incrementally passive too: a current pushed into any nodes raises them on the whole.
    push = 1e-5 * rng.standard_normal(drive.shape)
    moved = settle(network, drive + push).checked().volts - state.volts
    assert (np.sum(push * moved, axis=1) >= 0).all()


@pytest.mark.parametrize("kind", ["ideal", "shockley"])
def test_reciprocal_without_amplifiers_only(kind: str) -> None:
    rng = np.random.default_rng(5)
    for gains, symmetric in (((1.0, 1.0, 1.0), True), ((1.0, 3.0, 2.0), False)):
        network = make_network((6, 5, 4, 3), kind, rng, gains)
        drive = network.drive(np.repeat(doubled(rng, 1, 6), network.node_count, axis=0))
        state = settle(network, drive, TIGHT if kind == "ideal" else None).checked()
        chi = response(network, state, np.eye(network.node_count)).T
        error = np.abs(chi - chi.T).max() / np.abs(chi).max()
        assert error < 1e-12 if symmetric else error > 0.1
        np.testing.assert_allclose(adjoint(network, state, np.eye(network.node_count)), chi, rtol=1e-9, atol=1e-9)
        # Finite currents, small enough to switch no diode, move the state as chi says.
        step = 1e-9
        up = settle(network, drive + step * np.eye(network.node_count), SteadyTolerance(1e-15), state.volts).volts
        down = settle(network, drive - step * np.eye(network.node_count), SteadyTolerance(1e-15), state.volts).volts
        np.testing.assert_allclose((up - down).T / (2 * step), chi, rtol=1e-4, atol=1e-4 * np.abs(chi).max())


def conjugates(network: ResistiveNetwork, index: int, inputs: np.ndarray, volts: np.ndarray) -> np.ndarray:
    """q of every cell of array ``index`` for every sample, (batch, rows, columns) volts squared.

    Args:
        network: the equations.
        index: which array.
        inputs: (batch, input) held volts.
        volts: (batch, node) states.
    """
    rows = network.rows(index, inputs, volts)
    columns = volts[:, network.layers[index]]
    return np.asarray((-0.5 * network.conjugate_scale(index)) * (rows[:, :, None] - columns[:, None, :]) ** 2)


def direction(
    network: ResistiveNetwork, index: int, inputs: np.ndarray, volts: np.ndarray, swing: np.ndarray
) -> np.ndarray:
    """dq/d(nudge) of every cell for every sample, from dv/d(nudge) ``swing`` (batch, node); (batch, rows, columns)."""
    rows = network.rows(index, inputs, volts)
    moved = network.couplings[index].gain * swing[:, network.layers[index - 1]] if index else rows[:, :0]
    row_swing = np.zeros_like(rows)
    row_swing[:, : moved.shape[1]] = moved
    layer = network.layers[index]
    across = rows[:, :, None] - volts[:, None, layer]
    change = row_swing[:, :, None] - swing[:, None, layer]
    return np.asarray(-network.conjugate_scale(index) * across * change)


def loss(network: ResistiveNetwork, inputs: np.ndarray, targets: np.ndarray) -> float:
    tight = SteadyTolerance(residual_volts=1e-15 if not network.diodes.curved else 3e-15)
    volts = settle(network, network.drive(inputs), tight).volts[:, network.output]
    return float(0.5 * np.mean(np.sum((volts - targets) ** 2, axis=1)))


@pytest.mark.parametrize("kind", ["ideal", "shockley"])
@pytest.mark.parametrize("gains", [(1.0, 1.0, 1.0), (3.0, 4.0, 1.5)])
def test_scaled_conjugates_descend_along_the_gradient(kind: str, gains: tuple[float, ...]) -> None:
    """d q/d beta of every cell against central differences of the cost by its conductance, rails included."""
    rng = np.random.default_rng(6)
    sizes = (4, 5, 3, 2)
    network = make_network(sizes, kind, rng, gains, decades=1.0)
    inputs = doubled(rng, 3, sizes[0])
    targets = rng.standard_normal((3, 2))
    drive = network.drive(inputs)
    free = settle(network, drive, TIGHT if kind == "ideal" else SteadyTolerance(1e-14)).checked()
    nudge = np.zeros_like(drive)
    nudge[:, network.output] = targets - free.volts[:, network.output]
    swing = response(network, free, nudge)
    beta = 1e-7
    sides = [settle(network, drive + sign * beta * nudge, SteadyTolerance(1e-14), free.volts).volts for sign in (-1, 1)]
    period = nudged_period(network, free, drive, beta * nudge, PLAN, SteadyTolerance(1e-14))
    assert period.settled.all()
    assert not period.switched.any()
    for index, coupling in enumerate(network.couplings):
        cells = coupling.conductances
        wanted = np.empty(cells.shape)
        for place in np.ndindex(cells.shape):
            step = np.zeros(cells.shape)
            step[place] = 2e-5 * cells[place]
            above = loss(with_cells(network, index, cells + step), inputs, targets)
            below = loss(with_cells(network, index, cells - step), inputs, targets)
            wanted[place] = -(above - below) / (2 * step[place])
        scale = np.abs(wanted).max()
        exact = direction(network, index, inputs, free.volts, swing).mean(axis=0)
        np.testing.assert_allclose(exact, wanted, rtol=0, atol=1e-6 * scale)
        below, above = (conjugates(network, index, inputs, volts) for volts in sides)
        centred = np.mean(above - below, axis=0) / (2 * beta)
        np.testing.assert_allclose(centred, wanted, rtol=0, atol=1e-5 * scale)
        # As a controller would: every cell's own waveform, demodulated.
        q = np.stack([conjugates(network, index, inputs, period.volts[:, t]) for t in range(16)], axis=-1)
        cosines, _ = harmonics(q, 16, 3)
        demodulated = np.mean(chebyshev_derivative(cosines, beta), axis=0)
        np.testing.assert_allclose(demodulated, wanted, rtol=0, atol=1e-4 * scale)
        unscaled = exact / network.conjugate_scale(index)
        beyond = np.prod(gains[index + 1 :])
        assert network.conjugate_scale(index) == pytest.approx(beyond**2)
        if beyond != 1.0:
            assert np.abs(unscaled - wanted).max() > 0.5 * scale


@pytest.mark.parametrize("kind", ["ideal", "shockley"])
def test_adjoint_gives_the_gradient_by_held_inputs(kind: str) -> None:
    """chi^T dC/dv propagates the cost to injected currents: against finite differences, amplifiers on."""
    rng = np.random.default_rng(7)
    network = make_network((6, 5, 4, 3), kind, rng, (2.0, 3.0, 2.0))
    drive = network.drive(doubled(rng, 1, 6))
    state = settle(network, drive, SteadyTolerance(1e-14)).checked()
    values = np.zeros_like(drive)
    values[:, network.output] = rng.standard_normal(3)
    step = 1e-9 * np.eye(network.node_count)
    up = settle(network, drive + step, SteadyTolerance(1e-15), np.repeat(state.volts, len(step), axis=0)).volts
    down = settle(network, drive - step, SteadyTolerance(1e-15), np.repeat(state.volts, len(step), axis=0)).volts
    wanted = (up - down) @ values[0] / 2e-9
    np.testing.assert_allclose(adjoint(network, state, values)[0], wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_shockley_diodes_become_ideal_as_the_thermal_voltage_shrinks() -> None:
    rng = np.random.default_rng(8)
    ideal = make_network((8, 12, 9, 4), "ideal", rng, (4.0, 2.0, 2.0))
    drive = ideal.drive(doubled(rng, 30, 8))
    limit = settle(ideal, drive).checked().volts
    errors = []
    for slope in (1e-2, 1e-3, 1e-4, 1e-5):
        low, high = rectified_rails((12, 9), 4)
        network = ResistiveNetwork(ideal.couplings, ShockleyDiodes.alike(low, high, 1e-15, 1.0, slope))
        errors.append(np.abs(settle(network, drive).checked().volts - limit).max())
    # The drop is n V_T ln(1 + i/I_s): first order in V_T.
    orders = np.log10(np.array(errors[:-1]) / errors[1:])
    assert (np.abs(orders - 1.0) < 0.2).all()
    assert errors[-1] < 1e-3


def with_wires(network: ResistiveNetwork, ohms: float) -> ResistiveNetwork:
    wired = []
    for coupling in network.couplings:
        array = Crossbar(coupling.conductances, ohms, ohms, tolerance=1e-12)
        wired.append(replace(coupling, admittance=array.port_admittance()))
    return ResistiveNetwork(wired, network.diodes)


@pytest.mark.parametrize("kind", ["ideal", "shockley"])
def test_wires_without_resistance_change_nothing(kind: str) -> None:
    rng = np.random.default_rng(9)
    network = make_network((6, 7, 5, 3), kind, rng, (4.0, 2.0, 3.0))
    inputs = doubled(rng, 20, 6)
    plain = settle(network, network.drive(inputs)).checked().volts
    errors = []
    for ohms in (0.0, 1.0, 10.0, 100.0):
        wired = with_wires(network, ohms)
        errors.append(np.abs(settle(wired, wired.drive(inputs)).checked().volts - plain).max())
    assert errors[0] < 1e-9
    assert 1e-6 < errors[1] < errors[2] < errors[3]
    # First order in the resistance.
    assert errors[2] / errors[1] == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize("sweeps", [0, 400])
def test_box_constrained_solution_is_scipys(sweeps: int) -> None:
    """Wires couple the nodes of a layer: the programme that scipy's bounded least squares solves too."""
    rng = np.random.default_rng(10)
    network = with_wires(make_network((6, 9, 7, 3), "ideal", rng), 500.0)
    drive = network.drive(doubled(rng, 12, 6))
    state = (sweep(network, drive, sweeps) if sweeps else settle(network, drive)).checked()
    assert 0.1 < state.moving.mean() < 0.9
    admittance = network.system.apply(np.eye(network.node_count)) * 1e5
    factor = np.linalg.cholesky(admittance)
    bounds = network.diodes.box_volts
    for push, volts in zip(drive * 1e5, state.volts, strict=True):
        peer = lsq_linear(factor.T, np.linalg.solve(factor, push), bounds, method="bvls", tol=1e-14).x
        np.testing.assert_allclose(volts, peer, rtol=0, atol=1e-10)


@pytest.mark.parametrize("ohms", [0.0, 20.0, 200.0])
def test_sweeps_approach_the_solution_and_stop_there(ohms: float) -> None:
    rng = np.random.default_rng(11)
    network = make_network((20, 30, 25, 6), "ideal", rng, (4.0, 2.0, 2.0))
    if ohms:
        network = with_wires(network, ohms)
    inputs = doubled(rng, 16, 20)
    drive = network.drive(inputs)
    exact = settle(network, drive, TIGHT).checked()
    errors = [np.abs(sweep(network, drive, count).volts - exact.volts).max() for count in (1, 2, 4, 8, 16)]
    assert all(later < earlier for earlier, later in pairwise(errors))
    assert errors[-1] < 1e-2 * errors[0]
    again = sweep(network, drive, 1, start=exact.volts, tolerance=SteadyTolerance(1e-13))
    assert again.settled.all()
    np.testing.assert_allclose(again.volts, exact.volts, rtol=0, atol=1e-13)
    # The reported residual is the step that a node would still take on its own.
    rough = sweep(network, drive, 2)
    low, high = network.diodes.box_volts
    level = network.level
    missing = drive - network.system.apply(rough.volts * level) / level
    if not ohms:
        np.testing.assert_allclose(missing, node_currents(network, inputs, rough.volts), rtol=0, atol=1e-15)
    alone = rough.volts + missing / network.system.diagonal
    expected = np.abs(np.clip(alone, low, high) - rough.volts).max(axis=1)
    np.testing.assert_allclose(rough.residual_volts, expected, rtol=1e-9)
    assert (expected > 1e-6).all()
    assert not rough.settled.any()
    with pytest.raises(CapabilityError, match="settle"):
        sweep(make_network((20, 30, 25, 6), "shockley", rng), drive, 4)


def test_sweeps_node_by_node_are_those_layer_by_layer_where_wires_vanish() -> None:
    """The published block updates, with loads at the outputs, from any start."""
    rng = np.random.default_rng(19)
    network = make_network((20, 30, 25, 6), "ideal", rng, (4.0, 2.0, 2.0))
    drive = network.drive(doubled(rng, 16, 20))
    start = 0.1 * rng.standard_normal(drive.shape)
    load = np.zeros_like(drive)
    load[:, network.output] = 1e-5 * rng.uniform(-1.0, 1.0, (16, 6))
    for count, siemens in ((1, None), (3, None), (3, load)):
        blocks = sweep(network, drive, count, start, load_siemens=siemens).volts
        apart = []
        for ohms in (0.0, 1.0, 10.0):
            nodes = sweep(with_wires(network, ohms), drive, count, start, load_siemens=siemens).volts
            apart.append(np.abs(nodes - blocks).max())
        assert apart[0] < 1e-9
        assert apart[2] / apart[1] == pytest.approx(10.0, rel=0.1)


@pytest.mark.parametrize("kind", ["ideal", "shockley"])
def test_clamped_outputs_are_held_and_the_rest_balances(kind: str) -> None:
    rng = np.random.default_rng(12)
    network = make_network((6, 5, 4, 3), kind, rng, (1.0, 2.0, 2.0))
    inputs = doubled(rng, 10, 6)
    drive = network.drive(inputs)
    free = settle(network, drive, SteadyTolerance(1e-13)).checked()
    targets = free.volts[:, network.output] + 0.1 * rng.standard_normal((10, 3))
    state = settle(network, drive, SteadyTolerance(1e-13), clamped_outputs=targets).checked()
    np.testing.assert_array_equal(state.volts[:, network.output], targets)
    assert not state.moving[:, network.output].any()
    left = node_currents(network, inputs, state.volts)
    if kind == "shockley":
        left += shockley_currents(network, state.volts)
    hidden = state.moving.copy()
    assert np.abs((left / network.system.diagonal)[hidden]).max() < 1e-12
    # Held where they would be anyway, nothing moves; and the current that holds them is a nudge with the same effect.
    same = settle(network, drive, SteadyTolerance(1e-13), clamped_outputs=free.volts[:, network.output]).checked()
    np.testing.assert_allclose(same.volts, free.volts, rtol=0, atol=1e-11)
    nudge = np.zeros_like(drive)
    nudge[:, network.output] = -left[:, network.output]
    nudged = settle(network, drive + nudge, SteadyTolerance(1e-13)).checked()
    np.testing.assert_allclose(nudged.volts, state.volts, rtol=0, atol=1e-10)


def test_nudges_that_switch_a_diode_are_told() -> None:
    rng = np.random.default_rng(13)
    network = make_network((8, 20, 4), "ideal", rng)
    drive = network.drive(doubled(rng, 30, 8))
    free = settle(network, drive, TIGHT).checked()
    peak = np.zeros_like(drive)
    peak[:, network.output] = rng.standard_normal((30, 4))
    small = nudged_period(network, free, drive, 1e-9 * peak, PLAN)
    large = nudged_period(network, free, drive, 1e-3 * peak, PLAN)
    assert small.settled.all()
    assert large.settled.all()
    assert not small.switched.any()
    assert large.switched.any()
    # Between switches the response is linear at any amplitude: only the fundamental.
    calm = ~nudged_period(network, free, drive, 3e-5 * peak, PLAN).switched
    middle = nudged_period(network, free, drive, 3e-5 * peak, PLAN)
    assert calm.any()
    cosines, sines = harmonics(middle.volts[calm].transpose(0, 2, 1), 16, 3)
    assert np.abs(sines).max() < 1e-12
    assert np.abs(cosines[..., 2:]).max() < 1e-12
    np.testing.assert_allclose(cosines[..., 1], response(network, free, 3e-5 * peak)[calm], rtol=0, atol=1e-12)
    # A switched one has harmonics, and the samples are the steady states of their phases.
    phases = PLAN.phases()
    one = settle(network, drive + np.cos(phases[3]) * 1e-3 * peak).checked()
    np.testing.assert_allclose(large.volts[:, 3], one.volts, rtol=0, atol=1e-10)
    kinks, _ = harmonics(large.volts.transpose(0, 2, 1), 16, 3)
    assert np.abs(kinks[large.switched][..., 2:]).max() > 1e-3


def deck_of(network: ResistiveNetwork, inputs: np.ndarray, nudge: np.ndarray, ohms: float = 0.0) -> str:
    """One sample as an ngspice deck of its steady state under held nudge currents."""
    text = resistive_deck(network, Stimulus(inputs), ohms, None, ("set filetype=ascii", "op"), RESULT)
    pushes = [
        f"I{name} 0 {name} DC {amperes:.17g}" for name, amperes in zip(resistive_nodes(network), nudge, strict=True)
    ]
    return text.replace(".control", "\n".join([*pushes, ".control"]))


@pytest.mark.parametrize("ohms", [0.0, 100.0])
@pytest.mark.parametrize("gains", [(1.0, 1.0), (2.0, 4.0)])
@pytest.mark.parametrize("kind", ["ideal", "shockley", "antiparallel"])
def test_agrees_with_ngspice(kind: str, gains: tuple[float, ...], ohms: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(14)
    network = make_network((6, 4, 3), kind, rng, gains)
    if ohms:
        network = with_wires(network, ohms)
    inputs = doubled(rng, 3, 6)
    nudge = np.zeros((3, 7))
    nudge[:, network.output] = 2e-6 * rng.standard_normal((3, 3))
    state = settle(network, network.drive(inputs) + nudge).checked()
    for sample in range(3):
        answer = run_deck(deck_of(network, inputs[sample], nudge[sample], ohms), tmp_path)
        peer = [answer[f"v({name})"] for name in resistive_nodes(network)]
        np.testing.assert_allclose(state.volts[sample], peer, rtol=0, atol=1e-6 * np.abs(peer).max())


def test_unconverged_states_say_so() -> None:
    rng = np.random.default_rng(15)
    network = make_network((6, 8, 5, 3), "shockley", rng)
    state = settle(network, network.drive(20.0 * doubled(rng, 4, 6)), SteadyTolerance(1e-12, most_steps=1))
    assert not state.settled.any()
    assert (state.residual_volts > 1e-12).all()
    with pytest.raises(ConvergenceError, match="4 of 4"):
        state.checked()


def test_open_devices_are_fine_and_untied_nodes_are_not() -> None:
    cells = np.array([[1e-5, 0.0], [0.0, 0.0], [2e-5, 0.0]])
    free = IdealDiodes(np.full(3, -np.inf), np.full(3, np.inf))
    none = np.zeros(0)
    tied_back = ResistiveNetwork(
        # The second hidden node hangs on the output alone, the output on the first.
        [ResistiveCoupling(cells, none), ResistiveCoupling(np.array([[1e-5], [3e-5]]), none)],
        free,
    )
    volts = settle(tied_back, tied_back.drive(np.array([[0.3, 9.0, 0.6]])), TIGHT).checked().volts
    # No current leaves: all three are at the first node's divider.
    np.testing.assert_allclose(volts, np.full((1, 3), 0.5), rtol=1e-12)
    with pytest.raises(InputError, match="node 1 of layer 1 has no path"):
        ResistiveNetwork([ResistiveCoupling(cells, none), ResistiveCoupling(np.array([[1e-5], [0.0]]), none)], free)


def test_bad_input_is_refused() -> None:
    good = np.full((3, 2), 1e-5)
    for bad in (-good, good * np.nan, good * np.inf, good[0], np.zeros((0, 2))):
        with pytest.raises(InputError, match="conductances"):
            ResistiveCoupling(bad, np.zeros(0))
    for bad_gain in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="gain"):
            ResistiveCoupling(good, np.zeros(0), bad_gain)
    with pytest.raises(InputError, match="rails"):
        ResistiveCoupling(good, np.zeros(3))
    with pytest.raises(InputError, match="admittance"):
        ResistiveCoupling(good, np.zeros(0), 1.0, np.eye(4))
    free = IdealDiodes(np.full(2, -np.inf), np.full(2, np.inf))
    with pytest.raises(InputError, match="at least one"):
        ResistiveNetwork([], free)
    with pytest.raises(InputError, match=r"couplings\[1\]"):
        ResistiveNetwork([ResistiveCoupling(good, np.zeros(0))] * 2, free)
    with pytest.raises(InputError, match="2 nodes"):
        ResistiveNetwork([ResistiveCoupling(good, np.zeros(0))], IdealDiodes(np.zeros(3), np.zeros(3)))
    network = ResistiveNetwork([ResistiveCoupling(good, np.zeros(0))], free)
    with pytest.raises(InputError, match="inputs"):
        network.drive(np.zeros((1, 4)))
    with pytest.raises(InputError, match="inputs"):
        network.drive(np.full((1, 3), np.nan))
    drive = network.drive(np.zeros((1, 3)))
    with pytest.raises(InputError, match="start"):
        settle(network, drive, start=np.zeros((2, 2)))
    with pytest.raises(InputError, match="clamped_outputs"):
        settle(network, drive, clamped_outputs=np.zeros((1, 1)))
    with pytest.raises(InputError, match="count"):
        sweep(network, drive, 0)
    with pytest.raises(InputError, match="low <= high"):
        IdealDiodes(np.ones(2), np.zeros(2))
    with pytest.raises(InputError, match="low <= high"):
        IdealDiodes(np.full(2, np.nan), np.zeros(2))
    with pytest.raises(InputError, match="saturation_amperes"):
        ShockleyDiodes.alike(np.zeros(2), np.zeros(2), 0.0)
