"""Nudges that the network does not follow at once: through the public controller, the device and the command line."""

from math import pi
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emulators.networks.dynamics import FASTEST, QUASI_STATIC
from emulators.substrate import EmulatedSubstrate, backend
from substrate import load_experiment, open_run, run
from substrate.arrays import FloatArray
from substrate.capabilities import Nudge, WriteRequest
from substrate.contract import Record
from substrate.demodulation import harmonics, richardson
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.gradient_check import GradientCheck, check_gradient
from substrate.network import Network
from substrate.tone_response import disagreement, measure_tone
from substrate.tones import SamplingPlan

TAU = 1e-6
NETWORK = Network((3, 5, 2))
ROUNDED = {"rows": 2, "columns": 2, "summation": "digital", "adc_bits": 10}


def hertz(omega_tau: float) -> float:
    return omega_tau / (2 * pi * TAU)


def device(seed: int = 0, network: Network = NETWORK, **sections: Any) -> EmulatedSubstrate:
    neurons = {"time_constant_seconds": TAU, **sections.pop("neurons", {})}
    section = {"backend": "emulator", "neurons": neurons, **sections}
    return backend.build(section, network, np.random.default_rng(seed))


def nudged(substrate: EmulatedSubstrate, plan: SamplingPlan, scale: float = 1.0) -> Record:
    """Random weights, two samples, a nudge of the outputs."""
    rng, network = np.random.default_rng(1), substrate.network
    with substrate:
        for coupling in network.arrays:
            half = 1e-5 * scale * rng.standard_normal(coupling.shape)
            pair = np.clip(np.stack([5e-5 + half, 5e-5 - half]), 1e-6, 1e-4)
            substrate.write_cells(WriteRequest(coupling.name, target_siemens=pair))
        substrate.hold(rng.uniform(-0.2, 0.2, (2, network.input_size)))
        assert substrate.settle().settled.all()
        amperes = np.zeros((2, network.node_count))
        amperes[:, network.output.nodes] = 0.5 * substrate.scale.unit_amperes
        return substrate.nudge(Nudge(amperes), plan)


def test_the_transient_becomes_the_periodic_state() -> None:
    plan = SamplingPlan(hertz(0.7), 3, 16, 2)
    neurons = {"time_constant_spread": 0.2, "amplifier_bandwidth_hz": 2 / (2 * pi * TAU)}
    exact = nudged(device(neurons=neurons), plan)
    solver = {"steady_state": "transient", "settle_periods": 10, "residual": 1e-9}
    late = nudged(device(neurons=neurons, solver=solver), plan)
    early = nudged(device(neurons=neurons, solver={**solver, "settle_periods": 0}), plan)
    assert exact.volts.shape == late.volts.shape == early.volts.shape
    np.testing.assert_allclose(late.volts, exact.volts, rtol=0, atol=1e-7 * 0.2)
    assert late.settled.all()
    assert not early.settled.any()
    assert late.residual.max() < 1e-6
    assert early.residual.min() > 1e-3
    np.testing.assert_array_less(disagreement(late.volts, plan), 1e-5)
    np.testing.assert_array_less(0.02, disagreement(early.volts, plan))


@pytest.mark.parametrize(
    ("settle_periods", "periods", "tolerance", "settled"),
    [(0, 2, 0.01, False), (0, 2, None, True), (10, 1, 0.01, True), (0, 1, 0.01, False), (0, 1, None, True)],
)
def test_a_transient_says_whether_it_repeats(
    settle_periods: int, periods: int, tolerance: float | None, settled: bool
) -> None:
    solver = {"steady_state": "transient", "settle_periods": settle_periods, "settle_tolerance": tolerance}
    record = nudged(device(solver=solver), SamplingPlan(hertz(0.7), 3, 16, periods))
    assert (record.settled == settled).all()


@pytest.mark.parametrize("steady_state", ["exact", "transient"])
def test_the_same_seed_gives_the_same_bits(steady_state: str) -> None:
    plan = SamplingPlan(hertz(0.7), 3, 16, 2)
    neurons = {"time_constant_spread": 0.2}
    records = [
        nudged(device(seed, neurons=neurons, solver={"steady_state": steady_state}), plan).volts for seed in (0, 0, 1)
    ]
    assert records[0].tobytes() == records[1].tobytes()
    assert records[0].tobytes() != records[2].tobytes()


def test_quasi_static_below_and_dynamic_above_the_threshold() -> None:
    """Equilibria have no quadrature; a periodic state has."""
    parts = []
    for omega_tau in (0.0099, 0.0101):
        record = nudged(device(solver={"quasi_static": 0.01}), SamplingPlan(hertz(omega_tau), 3, 16, 1))
        parts.append(np.abs(harmonics(record.volts.swapaxes(1, 2), 16, 1)[1]).max())
    assert parts[0] < 1e-12
    assert parts[1] > 1e-4


def test_capacitances_are_time_constants() -> None:
    plan = SamplingPlan(hertz(0.7), 3, 16, 1)
    given = nudged(device(), plan)
    farads = {"time_constant_seconds": 0.0, "node_farads": 0.25 * TAU * 2.5e-5, "line_farads": 0.75 * TAU * 2.5e-5}
    np.testing.assert_allclose(nudged(device(neurons=farads), plan).volts, given.volts, rtol=1e-9)


def test_the_highest_frequency_is_that_of_the_slowest_pole() -> None:
    assert device().capabilities.highest_frequency_hz == pytest.approx(hertz(FASTEST))
    slow = device(neurons={"amplifier_bandwidth_hz": 1 / (2 * pi * 3 * TAU)})
    assert slow.capabilities.highest_frequency_hz == pytest.approx(hertz(FASTEST / 3))
    curved = device(cells={"law": "sinh"})
    assert curved.capabilities.highest_frequency_hz == pytest.approx(hertz(FASTEST))
    rounded = device(tiles=ROUNDED)
    assert rounded.capabilities.highest_frequency_hz == pytest.approx(hertz(QUASI_STATIC))
    with pytest.raises(CapabilityError, match="frequency_hz"):
        nudged(device(), SamplingPlan(hertz(1.01 * FASTEST), 3, 16, 1))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"neurons": {"node_farads": 1e-12}}, "time_constant_seconds: expected 0"),
        ({"neurons": {"time_constant_seconds": 0.0, "amplifier_bandwidth_hz": 1e6}}, "amplifier_bandwidth_hz"),
        (
            {"neurons": {"time_constant_seconds": 0.0}, "solver": {"steady_state": "transient"}},
            "a transient needs neurons.time_constant_seconds",
        ),
        ({"tiles": ROUNDED, "solver": {"steady_state": "transient"}}, "no slope.*analog has dynamics.*expected exact"),
        ({"tiles": ROUNDED, "neurons": {"amplifier_bandwidth_hz": 1e6}}, "no slope.*expected none"),
    ],
)
def test_what_does_not_go_together_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        device(**sections)


class LowPass:
    """Nodes s = tanh of a filtered nudge: d s/d beta at zero is ``gains``, whatever the time constants.

    Records begin at ``origin_turns`` periods after the crest; readings have white noise.
    """

    def __init__(self, origin_turns: float = 0.0, noise: float = 0.0, drift: float = 0.0) -> None:
        self.origin_turns, self.noise, self.drift = origin_turns, noise, drift
        self.scale = SimpleNamespace(volts_per_unit=0.2)
        self.capabilities = SimpleNamespace(reading_step_volts=0.0)
        self.gains, self.taus = np.array([1.0, -0.3]), np.array([0.6, 1.0]) * TAU
        self._rng = np.random.default_rng(0)

    def nudge(self, nudge: Nudge, plan: SamplingPlan) -> Record:
        seconds = (self.origin_turns + np.arange(plan.sample_count) / plan.samples_per_period) / plan.frequency_hz
        omega = 2 * pi * plan.frequency_hz
        filtered = np.exp(1j * omega * seconds[:, None]) * self.gains / (1 + 1j * omega * self.taus)
        decaying = self.drift * np.exp(-seconds * plan.frequency_hz)[:, None]
        s = np.tanh(nudge.amperes[:, :1, None] * filtered.real + decaying + 0.2)
        s = s + self.noise * self._rng.standard_normal(s.shape)
        count, flags = len(nudge.amperes), np.arange(len(nudge.amperes)) == 0
        lost = flags & (omega * TAU > 0.4)
        saturated = (np.arange(count) == 1) & (omega * TAU < 0.3)
        return Record(0.2 * s, plan.rate_hz, seconds[0], saturated, ~lost, np.zeros(count))


SLOPE = 1 - np.tanh(0.2) ** 2


@pytest.mark.parametrize("origin_turns", [0.0, 0.131, 1.75])
def test_the_phase_reference_is_the_nudge_itself(origin_turns: float) -> None:
    """Responses, products and free values do not depend on where the record begins."""
    stub, beta = LowPass(origin_turns), np.full(3, 0.2)
    plan = SamplingPlan(hertz(1e-4), 5, 32, 2)
    found = measure_tone(stub, np.full((3, 2), 0.2), beta, plan)  # type: ignore[arg-type]
    expected = np.tile(SLOPE * stub.gains, (3, 1))
    np.testing.assert_allclose(found.response, expected, rtol=1e-5)
    np.testing.assert_allclose(found.activity, np.tanh(0.2), rtol=1e-6)
    product = np.einsum("bt,bt,bt->b", found.weights, found.waveform[..., 0], found.waveform[..., 1])
    np.testing.assert_allclose(product, np.tanh(0.2) * expected.sum(axis=1), rtol=1e-5)
    assert found.phase_origin == pytest.approx(2 * pi * origin_turns)


@pytest.mark.parametrize("origin_turns", [0.0, 0.131])
def test_extrapolation_takes_a_power_off_the_error_each(origin_turns: float) -> None:
    """Of responses and of products of two nodes: a factor of 4, 16, 64 an octave."""
    errors: dict[int, list[FloatArray]] = {}
    stub, beta = LowPass(origin_turns), np.full(1, 0.02)
    for frequencies in (1, 2, 3):
        for omega_tau in (0.4, 0.2):
            plan = SamplingPlan(hertz(omega_tau), 5, 32, 1)
            found = measure_tone(stub, np.full((1, 2), 0.02), beta, plan, frequencies)  # type: ignore[arg-type]
            product = np.einsum("bt,bt,bt->b", found.weights, found.waveform[..., 0], found.waveform[..., 1])
            exact = SLOPE * stub.gains
            off = [found.response[0] - exact, product - np.tanh(0.2) * exact.sum()]
            errors.setdefault(frequencies, []).append(np.concatenate(off))
    for frequencies, (coarse, fine) in errors.items():
        orders = np.log2(np.abs(coarse / fine))
        np.testing.assert_allclose(orders, 2 * frequencies, atol=0.6)


def test_noise_is_propagated_and_flags_are_joined() -> None:
    count, beta = 4000, 0.3
    stub, plan = LowPass(0.3, noise=1e-3), SamplingPlan(hertz(0.5), 3, 16, 2)
    for frequencies in (1, 3):
        nudge = np.full((count, 2), beta)
        found = measure_tone(stub, nudge, np.full(count, beta), plan, frequencies)  # type: ignore[arg-type]
        scatter = found.response.var(axis=0)
        np.testing.assert_allclose(scatter, found.variance[0], rtol=0.15)
        assert not found.settled[0]
        assert found.settled[1:].all()
        assert bool(found.saturated[1]) == (frequencies == 3)
        assert not np.delete(found.saturated, 1).any()
    assert found.variance[0] == pytest.approx(np.sum(richardson(np.eye(3)) ** 2) * found_of_one(stub, plan), rel=0.05)


def found_of_one(stub: LowPass, plan: SamplingPlan) -> float:
    found = measure_tone(stub, np.full((500, 2), 0.3), np.full(500, 0.3), plan)  # type: ignore[arg-type]
    return float(found.variance[0])


def test_periods_that_disagree_are_told_from_noise() -> None:
    plan = SamplingPlan(hertz(0.01), 3, 16, 3)
    nudge, beta = np.full((500, 2), 0.3), np.full(500, 0.3)
    quiet = measure_tone(LowPass(noise=0.05), nudge, beta, plan, settle_tolerance=0.02)  # type: ignore[arg-type]
    moving = measure_tone(LowPass(noise=0.05, drift=0.3), nudge, beta, plan, settle_tolerance=0.02)  # type: ignore[arg-type]
    unseen = measure_tone(LowPass(noise=0.05, drift=0.3), nudge, beta, plan)  # type: ignore[arg-type]
    assert quiet.steady.mean() > 0.97
    assert moving.steady.mean() < 0.1
    assert unseen.steady.all()
    with pytest.raises(InputError, match="second period"):
        disagreement(np.zeros((1, 16, 2)), SamplingPlan(1.0, 3, 16, 1))


SMALL = (
    "data.train_limit=32",
    f"substrate.neurons.time_constant_seconds={TAU}",
    "substrate.solver.residual=1e-11",
    "nudge.amplitude=0.02",
    "nudge.periods=1",
)


def checked(*overrides: str) -> GradientCheck:
    found = check_gradient(assemble(load_experiment("digits-ideal", [*SMALL, *overrides])), 8)
    assert sum(found.samples_excluded.values()) == 0
    return found


@pytest.mark.parametrize("feedback", ["separate", "shared"])
def test_orders_of_the_gradients_error_through_the_controller(feedback: str) -> None:
    """Post-synaptic and product rule; small amplitude, so that the frequency's error is what is left."""
    shared = (f"network.feedback={feedback}", "homeostasis.strength=0", "network.initial.scale=0.4")
    for frequencies, omega_tau in ((1, 0.2), (2, 0.2), (3, 0.4)):
        errors = [
            checked(*shared, f"nudge.richardson={frequencies}", f"nudge.frequency_hz={hertz(x)}").total.relative_error
            for x in (omega_tau, omega_tau / 2)
        ]
        assert np.log2(errors[0] / errors[1]) == pytest.approx(2 * frequencies, abs=0.7)


@pytest.mark.parametrize(
    ("detection", "counted"),
    [
        (("nudge.settle_tolerance=0.005", "substrate.solver.settle_tolerance=null"), "unsettled"),
        # The device reports no steady state on an unbroken branch, and not which of the two is missing.
        ((), "lost_branch"),
    ],
    ids=["readings", "device, by default"],
)
def test_unsettled_samples_are_counted_and_left_out(detection: tuple[str, ...], counted: str) -> None:
    transient = ("substrate.solver.steady_state=transient", "nudge.periods=2", f"nudge.frequency_hz={hertz(1.0)}")
    experiment = load_experiment("iris", [*SMALL, *transient, *detection])
    for settle_periods, unsettled in ((0, 8), (8, 0)):
        overridden = experiment.model_copy(deep=True)
        overridden.substrate["solver"]["settle_periods"] = settle_periods
        found = check_gradient(assemble(overridden), 8)
        assert found.samples_excluded[counted] == sum(found.samples_excluded.values()) == unsettled
    with pytest.raises(InputError, match=r"nudge.*second period"):
        load_experiment("iris", ["nudge.settle_tolerance=0.01", "nudge.periods=1"])


def test_tones_at_every_neuron_are_looked_at_for_settling_too() -> None:
    transient = ("substrate.solver.steady_state=transient", "nudge.periods=2", f"nudge.frequency_hz={hertz(1.0)}")
    detection = ("nudge.settle_tolerance=0.01", "substrate.solver.settle_tolerance=null")
    experiment = load_experiment("iris", [*SMALL, *transient, *detection, "rule={name: multiplexed}"])
    for settle_periods, unsettled in ((0, 8), (8, 0)):
        overridden = experiment.model_copy(deep=True)
        overridden.substrate["solver"]["settle_periods"] = settle_periods
        found = check_gradient(assemble(overridden), 8, "exact")
        assert sum(found.samples_excluded.values()) == unsettled


def test_a_multiplexed_reference_is_extrapolated_too() -> None:
    more = (f"nudge.frequency_hz={hertz(0.3)}", "nudge.richardson=3")
    assembly = assemble(load_experiment("digits-ideal", [*SMALL, *more]))
    found = check_gradient(assembly, 2, "multiplexed")
    assert found.total.relative_error < 0.02


def test_training_at_omega_tau_one_needs_several_frequencies(tmp_path: Path) -> None:
    """A fifth of the digits, six epochs: three frequencies do as well as a network without delay, one does not."""
    small = ("data.train_limit=320", "data.test_limit=200", "training.epochs=6", "training.batch_size=32")
    rates = ("training.learning_rate=0.02", "nudge.amplitude=0.3", "substrate.solver.residual=1e-5")
    accuracy, cosine = {}, {}
    for frequencies, tau in ((1, TAU), (3, TAU), (1, 0.0)):
        slow = (f"substrate.neurons.time_constant_seconds={tau}", f"nudge.frequency_hz={hertz(1.0)}")
        overrides = [*small, *rates, *slow, f"nudge.richardson={frequencies}", "logging.quality_every=5"]
        path = run(load_experiment("digits-ideal", overrides), tmp_path / "run.h5", overwrite=True)
        with open_run(path) as finished:
            epochs = finished.table("epochs")
        accuracy[frequencies, tau] = float(epochs["test_accuracy"][-1])
        cosine[frequencies, tau] = float(np.mean(epochs["gradient_cosine"][-3:]))
    static = accuracy[1, 0.0]
    assert static > 0.5
    assert accuracy[3, TAU] > static - 0.05
    assert accuracy[1, TAU] < static - 0.15
    assert cosine[3, TAU] > 0.97
    assert cosine[1, TAU] < 0.9
