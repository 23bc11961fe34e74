"""States under complex nudges, and the Cauchy estimator on them, against the exact adjoint and the real solvers."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from random_networks import Case, pair, random_case

from emulators.networks import complex_states
from emulators.networks.complex_states import TRANSFER, continued_states
from emulators.networks.current_mode import Block, CurrentModeNetwork
from emulators.networks.equilibrium import Tolerance, settle
from emulators.neurons import TRANSFER as REAL_TRANSFER
from emulators.substrate import EmulatedSubstrate, backend
from substrate.arrays import ComplexArray, FloatArray
from substrate.capabilities import HeldNudge, Nudge
from substrate.contract import HeldStates
from substrate.demodulation import cauchy_derivative, chebyshev_derivative, harmonics
from substrate.errors import CapabilityError, InputError
from substrate.network import Network
from substrate.tones import SamplingPlan


def circle(radius: float, count: int, turn: float = 0.0) -> ComplexArray:
    return np.asarray(radius * np.exp(2j * np.pi * (np.arange(count) + turn) / count))


def solve(case: Case, points: ComplexArray, residual: float = 1e-13) -> ComplexArray:
    found = continued_states(case.network, case.free, case.drive, points[:, None] * case.nudge[:, None, :], residual)
    assert found.settled.all()
    assert found.residual.max() <= residual
    return found.s


def exact_response(case: Case) -> FloatArray:
    """ds/dbeta = D (1 - W D)^-1 e, by a dense solve."""
    slope = case.network.slope(case.free)
    system = np.eye(slope.shape[1]) - slope[:, None, :] * case.network.weights().T
    return np.asarray(slope * np.linalg.solve(system, case.nudge[..., None])[..., 0])


# The estimator alone (physics.md, 4.1).


@pytest.mark.parametrize("radius", [0.2, 0.05])
def test_quadratic_energy_has_a_known_derivative(radius: float) -> None:
    """Energy |s|^2/2 - p.s and cost |s - y|^2/2: s(b) = (p + b y)/(1 + b), and dC/db at 0 is |p - y|^2 with a minus.

    ds/db = y - p, whose negative is the difference p - y.
    """
    rng = np.random.default_rng(0)
    p, y = rng.uniform(-1, 1, (2, 7))

    def state(b: ComplexArray) -> ComplexArray:
        return np.asarray((p[:, None] + b * y[:, None]) / (1.0 + b))

    points = circle(radius, 16)
    np.testing.assert_allclose(-cauchy_derivative(points, state(points)), p - y, atol=2e-8)
    two = circle(radius, 2)
    difference = (state(np.array([radius + 0j])) - state(np.array([-radius + 0j])))[:, 0].real / (2 * radius)
    np.testing.assert_allclose(cauchy_derivative(two, state(two)), difference, atol=2e-9)
    one = circle(radius, 1)
    np.testing.assert_allclose(cauchy_derivative(one, state(one), p), (state(one)[:, 0].real - p) / radius, rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_cauchy_is_exact_up_to_the_first_aliased_power(count: int) -> None:
    points = circle(0.7, count, turn=0.3)[np.random.default_rng(count).permutation(count)]
    for power in range(2 * count + 1):
        found = cauchy_derivative(points, points**power, free=float(power == 0))
        aliased = power % count == 1 % count and power > 1
        expected = float(power == 1) if not aliased else (points[0] ** (power - 1)).real
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("points", "values", "free", "message"),
    [
        ([0.1, -0.2], [1, 1], None, "equidistant"),
        ([0.1, 0.1], [1, 1], None, "equidistant"),
        ([0.0], [1], 0.0, "equidistant"),
        ([0.1, 0.1j], [1, 1], None, "equidistant"),
        ([0.1, -0.1], [1, 1, 1], None, "values"),
        ([], [], None, "points"),
        ([0.1, -0.1], [1, np.nan], None, "finite"),
        ([0.1], [1], None, "free"),
    ],
)
def test_cauchy_refuses(points: Any, values: Any, free: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cauchy_derivative(points, values, free)


# The states.


@pytest.mark.parametrize("name", sorted(REAL_TRANSFER))
def test_activations_are_the_real_ones_continued(name: str) -> None:
    real = np.linspace(-3, 3, 61)
    for ours, theirs in zip(TRANSFER[name], REAL_TRANSFER[name], strict=True):
        np.testing.assert_allclose(ours(real.astype(complex)), theirs(real), atol=1e-14)
        assert np.isfinite(ours(np.array([-900.0 + 0j, 900.0 + 0j]))).all()
    # Cauchy-Riemann: the derivative is the slope whichever way one goes, on both sides of the rectifier's knee.
    z = (np.linspace(-1, 1, 9)[:, None] + 1j * np.linspace(-0.5, 0.5, 5)).ravel()
    step = 1e-6
    for direction in (1.0, 1j, np.exp(0.7j)):
        change = TRANSFER[name][0](z + step * direction) - TRANSFER[name][0](z - step * direction)
        np.testing.assert_allclose(change / (2 * step * direction), TRANSFER[name][1](z), atol=1e-8)


@pytest.mark.parametrize("sizes", [(8, 4), (6, 5, 4), (5,)])
@pytest.mark.parametrize("activation", sorted(REAL_TRANSFER))
def test_states_solve_the_equations(sizes: tuple[int, ...], activation: str) -> None:
    case = _with(random_case(1, sizes), sizes, activation)
    points = circle(0.3, 6)
    s = solve(case, points)
    network = case.network
    # Independent of the solver: u from s by the equations, then s from u node by node.
    u = s @ network.weights() + case.drive[:, None, :] + points[:, None] * case.nudge[:, None, :]
    neurons = network.arranged_neurons
    gain, offset, saturation = (network.restore(v) for v in (neurons.gain, neurons.offset, neurons.saturation))
    np.testing.assert_allclose(saturation * TRANSFER[activation][0](gain * (u + offset)), s, atol=1e-12)


def _with(case: Case, sizes: tuple[int, ...], activation: str) -> Case:
    """The same network with other activations, settled again."""
    edges = np.cumsum([0, *sizes])
    layers = [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]
    weights = case.network.weights()
    chain = [*itertools.pairwise(layers), *itertools.pairwise(layers[::-1])]
    blocks = [Block(one, other, weights[one, other]) for one, other in chain]
    neurons = case.network.arranged_neurons.pick(np.argsort(case.network.order))
    network = CurrentModeNetwork(layers, blocks, replace(neurons, activation=activation))
    found = settle(network, np.zeros_like(case.drive), case.drive, Tolerance(1e-12))
    assert found.settled.all()
    return replace(case, network=network, free=found.u)


def test_conjugate_nudges_give_conjugate_states() -> None:
    case = random_case(2)
    points = circle(0.5, 8)
    s = solve(case, points)
    np.testing.assert_allclose(s[:, 1:], s[:, :0:-1].conj(), atol=1e-12)
    assert np.abs(s[:, 2].imag).max() > 0.05


def test_states_are_complex_differentiable_in_the_nudge() -> None:
    case = random_case(3)
    here, step = 0.3 * np.exp(0.9j), 1e-5
    directions = np.exp(1j * np.array([0.0, np.pi / 2, 1.0]))
    s = solve(case, np.concatenate([here + step * directions, here - step * directions]))
    slopes = (s[:, :3] - s[:, 3:]) / (2 * step * directions[:, None])
    scale = np.abs(slopes).max()
    np.testing.assert_allclose(slopes[:, 1], slopes[:, 0], atol=1e-6 * scale)
    np.testing.assert_allclose(slopes[:, 2], slopes[:, 0], atol=1e-6 * scale)


def test_real_nudges_give_the_real_equilibria() -> None:
    case = random_case(4)
    values = np.array([0.0, 0.4, -0.4, 0.8])
    s = solve(case, values.astype(complex))
    np.testing.assert_allclose(s.imag, 0.0, atol=1e-14)
    for place, value in enumerate(values):
        real = settle(case.network, case.free, case.drive + value * case.nudge, Tolerance(1e-12))
        assert real.settled.all()
        np.testing.assert_allclose(s[:, place].real, case.network.activity(real.u), atol=1e-10)


@pytest.mark.parametrize(("count", "order"), [(1, 1), (2, 2), (4, 4), (6, 6)])
def test_order_of_the_error(count: int, order: int) -> None:
    case = random_case(5)
    exact, free = exact_response(case), case.network.activity(case.free)
    betas = np.array([0.1, 0.2]) if order > 2 else np.array([0.01, 0.02])
    errors = [
        np.linalg.norm(
            cauchy_derivative(circle(beta, count), np.moveaxis(solve(case, circle(beta, count)), 1, -1), free) - exact
        )
        for beta in betas
    ]
    assert np.log2(errors[1] / errors[0]) == pytest.approx(order, abs=0.3)


def test_cauchy_and_chebyshev_agree_at_small_amplitudes() -> None:
    case, beta, samples = random_case(6), 0.05, 16
    cauchy = cauchy_derivative(circle(beta, 8), np.moveaxis(solve(case, circle(beta, 8)), 1, -1))
    wave = solve(case, beta * np.cos(2 * np.pi * np.arange(samples) / samples) + 0j).real
    amplitudes, _ = harmonics(np.moveaxis(wave, 1, -1), samples, 7)
    np.testing.assert_allclose(chebyshev_derivative(amplitudes, beta), cauchy, atol=1e-8)
    np.testing.assert_allclose(cauchy, exact_response(case), atol=1e-8)


def test_a_ray_into_a_singularity_is_said_not_to_settle_and_the_others_are_unharmed() -> None:
    """Two neurons that hold each other up against a growing nudge: past the fold there is no continuation."""
    network = pair(1.6)
    drive = np.zeros((2, 2))
    free = settle(network, np.ones((2, 2)), drive, Tolerance(1e-13))
    assert free.settled.all()
    nudge = np.zeros((2, 3, 2), dtype=complex)
    nudge[:, :, 0] = [[0.2, -1.5, 0.2j], [0.1, 0.2, -0.05]]
    found = continued_states(network, free.u, drive, nudge, 1e-12)
    assert found.settled.tolist() == [[True, False, True], [True, True, True]]
    assert found.residual[0, 1] > 1e-3
    assert found.residual[found.settled].max() <= 1e-12


@pytest.mark.parametrize("sizes", [(5, 4), (12, 12, 4)])
def test_maps_that_contract_are_iterated_to_the_states_at_the_ends_of_the_rays(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    cases = [random_case(seed, sizes, batch=4) for seed in range(3)]
    points = circle(0.4, 5)
    iterated = [solve(case, points) for case in cases]

    def followed(*given: Any) -> Any:
        lanes.append(len(given[1]))
        return track(*given)

    lanes: list[int] = []
    track = complex_states._track
    monkeypatch.setattr(complex_states, "_track", followed)
    for case in cases:
        solve(case, points)
    assert sum(lanes) < len(cases) * 4 * len(points)
    monkeypatch.setattr(complex_states, "_contract", lambda system, pivot, *_: np.zeros(len(pivot), dtype=np.bool_))
    for case, states in zip(cases, iterated, strict=True):
        np.testing.assert_allclose(solve(case, points), states, atol=1e-11)


def test_large_batches_are_cut_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(7, batch=5)
    points = circle(0.2, 4)
    whole = solve(case, points)
    monkeypatch.setattr("emulators.networks.complex_states.MATRIX_BYTES", 16 * 64 * 3)
    np.testing.assert_allclose(solve(case, points), whole, atol=1e-13)


# Through the seam.


@contextmanager
def device(section: dict[str, Any], **network: Any) -> Iterator[EmulatedSubstrate]:
    section = {"backend": "emulator", "limits": {"current_amperes": 1e-3}, **section}
    with backend.build(section, Network((4, 5, 3), **network), np.random.default_rng(0)) as substrate:
        substrate.hold(np.random.default_rng(1).uniform(-0.2, 0.2, (3, 4)))
        yield substrate


def _ask(substrate: EmulatedSubstrate, beta: float, batch: int = 3) -> HeldStates:
    amperes = np.zeros((batch, 4, 8), dtype=complex)
    amperes[:, :, 5:] = circle(beta, 4)[:, None] * substrate.scale.unit_amperes
    return substrate.settle_nudged(HeldNudge(amperes))


WIRES = {"wires": {"segment_ohms": 5.0, "source_ohms": 50.0}, "neurons": {"gain_spread": 0.1, "offset_spread": 0.05}}


@pytest.mark.parametrize("feedback", ["separate", "shared"])
def test_the_device_gives_volts_of_its_own_circuit(feedback: Any) -> None:
    with device(WIRES, feedback=feedback) as substrate:
        substrate.settle()
        states = _ask(substrate, 0.3)
        assert states.volts.shape == (3, 4, 8)
        assert states.settled.all()
        assert states.residual.max() <= 1e-10
        peak = np.zeros((3, 8))
        peak[:, 5:] = 0.3 * substrate.scale.unit_amperes
        record = substrate.nudge(Nudge(peak), SamplingPlan(1e3, 3, 8, 1))
    np.testing.assert_allclose(states.volts[:, 0], record.volts[:, 0], atol=1e-10)
    np.testing.assert_allclose(states.volts[:, 2], record.volts[:, 4], atol=1e-10)
    np.testing.assert_allclose(states.volts[:, 1], states.volts[:, 3].conj(), atol=1e-12)


ENTIRE: dict[str, dict[str, Any]] = {
    "sinh": {"cells": {"law": "sinh", "alpha": 4.0}},
    "rectifying": {"cells": {"law": "rectifying", "forward_alpha": 5.0, "reverse_alpha": 1.0}},
    "tiles": {"cells": {"law": "sinh", "alpha": 4.0}, "tiles": {"rows": 2, "columns": 2}},
    "ohmic": {"wires": WIRES["wires"], "tiles": {"rows": 2, "columns": 2, "summation": "digital"}},
}


@pytest.mark.parametrize("feedback", ["separate", "shared"])
@pytest.mark.parametrize("law", ENTIRE)
def test_cells_of_entire_laws_are_continued(law: str, feedback: Any) -> None:
    """At real nudges the real solver's states; on a small circle, the Cauchy derivative is the exact adjoint's."""
    with device({**ENTIRE[law], "neurons": WIRES["neurons"]}, feedback=feedback) as substrate:
        free = substrate.settle().volts[:, 0]
        states = _ask(substrate, 0.3)
        assert states.settled.all()
        assert states.residual.max() <= 1e-10
        nudge = np.zeros((3, 8))
        nudge[:, 5:] = substrate.scale.unit_amperes
        record = substrate.nudge(Nudge(0.3 * nudge), SamplingPlan(1e3, 3, 8, 1))
        points, ones = circle(0.01, 4), np.ones((3, 8))
        slope = cauchy_derivative(points, np.moveaxis(_ask(substrate, 0.01).volts, 1, -1), free).sum(axis=1)
        exact = (substrate.oracle.adjoint(ones) * nudge).sum(axis=1)
    np.testing.assert_allclose(states.volts[:, 0], record.volts[:, 0], atol=1e-10)
    np.testing.assert_allclose(states.volts[:, 2], record.volts[:, 4], atol=1e-10)
    np.testing.assert_allclose(states.volts[:, 1], states.volts[:, 3].conj(), atol=1e-12)
    np.testing.assert_allclose(slope, exact, rtol=1e-7)


def test_complex_nudges_are_checked_like_others() -> None:
    with device({}) as substrate:
        with pytest.raises(InputError, match="settle"):
            _ask(substrate, 0.1)
        substrate.settle()
        with pytest.raises(InputError, match="batch of 3"):
            _ask(substrate, 0.1, batch=2)
        with pytest.raises(CapabilityError, match="current_amperes"):
            _ask(substrate, 1e3)
        with pytest.raises(InputError, match="shape"):
            substrate.settle_nudged(HeldNudge(np.zeros((3, 8), dtype=complex)))
        with pytest.raises(InputError, match="finite"):
            substrate.settle_nudged(HeldNudge(np.full((3, 1, 8), 1j * np.nan)))
        with pytest.raises(InputError, match="settle_nudged"):
            substrate.nudge(Nudge(np.zeros((3, 8), dtype=complex)), SamplingPlan(1e3, 3, 8, 1))


@pytest.mark.parametrize(
    ("section", "network"),
    [
        ({}, {"family": "resistive", "activation": "rectified", "feedback": "shared"}),
        ({"cells": {"law": "sinh"}, "wires": {"segment_ohms": 5.0}}, {}),
        ({"cells": {"law": "transistor"}}, {}),
        ({"tiles": {"rows": 2, "columns": 2, "summation": "digital", "adc_bits": 10}}, {}),
    ],
    ids=["resistive", "curved cells behind wires", "1T1R", "rounded sums"],
)
def test_circuits_without_continuation_refuse_and_name_the_capability(section: Any, network: Any) -> None:
    with device(section, **network) as substrate:
        substrate.settle()
        assert not substrate.capabilities.complex_nudges
        nudge = np.zeros((3, 1, substrate.network.node_count), dtype=complex)
        with pytest.raises(CapabilityError, match="complex_nudges"):
            substrate.settle_nudged(HeldNudge(nudge))
