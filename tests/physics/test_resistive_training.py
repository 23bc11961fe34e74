"""The resistive family behind the controller: topology, gradients against differences of the settled cost, training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from emulators.substrate import EmulatedSubstrate, backend
from substrate.amplitude import Amplitude
from substrate.arrays import FloatArray, IntArray
from substrate.capabilities import Nudge, WriteRequest
from substrate.conjugates import (
    Signals,
    exact_directions,
    exact_mean,
    mean_directions,
    sample_directions,
    standard_errors,
)
from substrate.controller import Controller
from substrate.costs import SquaredError
from substrate.demodulation import derivative_weights
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.config import load_experiment
from substrate.experiment.gradient_check import check_gradient
from substrate.experiment.runner import run
from substrate.network import Network
from substrate.optimisers import SGD
from substrate.rules.homeostasis import Homeostasis
from substrate.rules.oscillating import OscillatingEP
from substrate.tones import SamplingPlan
from substrate.writing import Writer, WritingPlan

SIZES = (4, 5, 3, 2)
SHOCKLEY = {"law": "shockley", "saturation_amperes": 1e-9}
SECTION: dict[str, Any] = {
    "backend": "emulator",
    "cells": {"window_siemens": [1e-7, 1e-4], "unit_siemens": 2.5e-5},
    "neurons": {"volts_per_unit": 0.2},
    "limits": {"read_volts": 2.0},
    "solver": {"residual": 1e-13},
}


def network_of(sizes: tuple[int, ...] = SIZES, gain: float = 1.0, rail: float = 1.0) -> Network:
    return Network(sizes, "rectified", "shared", "resistive", gain, rail)


@contextmanager
def device_of(network: Network, seed: int = 0, **section: Any) -> Iterator[EmulatedSubstrate]:
    """An opened device with log-uniform conductances over a decade around 20 uS."""
    rng = np.random.default_rng(seed)
    with backend.build(SECTION | section, network, rng) as device:
        if device.capabilities.continuous_writing:
            for coupling in network.arrays:
                cells = 2e-5 * 10.0 ** rng.uniform(-0.5, 0.5, coupling.cell_shape)
                device.write_cells(WriteRequest(coupling.name, target_siemens=cells))
        yield device


def controller_of(device: EmulatedSubstrate, beta: float, harmonics: int = 3, samples: int = 16) -> Controller:
    return Controller(
        device,
        OscillatingEP(SamplingPlan(1e3, harmonics, samples, 1), Amplitude(beta, harmonics, 1e3)),
        SquaredError((0.0, 1.0)),
        Writer(device, WritingPlan("outright"), np.random.default_rng(0)),
        SGD(0.0),
        Homeostasis(0.0, 0, np.random.default_rng(0)),
    )


def batch(network: Network, count: int = 3, size: float = 4.0) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(7)
    return size * rng.uniform(-1.0, 1.0, (count, network.input_size)), rng.integers(0, network.sizes[-1], count)


def differences(device: EmulatedSubstrate, inputs: FloatArray, labels: IntArray) -> dict[str, FloatArray]:
    """-dC/dw of the mean settled cost by central differences, every cell written through the contract."""
    cost, scale = SquaredError((0.0, 1.0)), device.scale

    def loss() -> float:
        device.hold(inputs * scale.volts_per_unit)
        outputs = device.settle().volts[:, 0, device.network.output.nodes] / scale.volts_per_unit
        return float(cost.loss(outputs, labels).mean())

    found = {}
    for coupling in device.network.arrays:
        cells = device.read_cells(coupling.name)
        found[coupling.name] = np.empty(coupling.shape)
        for place in np.ndindex(coupling.shape):
            step = np.zeros(cells.shape)
            step[(0, *place)] = 1e-4 * cells[(0, *place)]
            sides = []
            for sign in (1, -1):
                device.write_cells(WriteRequest(coupling.name, target_siemens=cells + sign * step))
                sides.append(loss())
            change = 2 * step[(0, *place)] / scale.unit_siemens
            found[coupling.name][place] = -(sides[0] - sides[1]) / change
        device.write_cells(WriteRequest(coupling.name, target_siemens=cells))
    return found


def joined(parts: dict[str, FloatArray]) -> FloatArray:
    return np.concatenate([part.ravel() for part in parts.values()])


def cosine(a: FloatArray, b: FloatArray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_arrays_have_doubled_inputs_two_rails_and_one_cell_a_weight() -> None:
    network = network_of((4, 5, 3, 2), gain=3.0, rail=2.0)
    assert [c.shape for c in network.arrays] == [(2 * 4 + 2, 5), (5 + 2, 3), (3 + 2, 2)]
    assert [c.cell_shape[0] for c in network.arrays] == [1, 1, 1]
    assert [c.conjugate_scale for c in network.arrays] == [81.0, 9.0, 1.0]
    source = np.array([[1.0, -2.0, 3.0, 4.0]])
    assert network.arrays[0].lines(source).tolist() == [[1, -2, 3, 4, -1, 2, -3, -4, 2, -2]]
    assert network.arrays[1].lines(np.ones((1, 5))).tolist() == [[3, 3, 3, 3, 3, 2, -2]]
    with device_of(network) as device:
        assert device.read_cells("input-hidden1").shape == (1, 10, 5)
        with pytest.raises(CapabilityError, match="forward_products"):
            device.products("input-hidden1", np.zeros((1, 10)))


@pytest.mark.parametrize("diodes", [{"law": "ideal"}, SHOCKLEY])
def test_currents_at_the_outputs_balance(diodes: dict[str, Any]) -> None:
    """Outputs are linear: what the cells carry to them, from voltages and conductances as read, is the nudge."""
    network = network_of(gain=4.0, rail=2.0)
    inputs, _ = batch(network, 6)
    with device_of(network, diodes=diodes) as device:
        unit = device.scale.volts_per_unit
        device.hold(inputs * unit)
        device.settle()
        amperes = np.zeros((6, network.node_count))
        amperes[:, network.output.nodes] = 1e-6
        record = device.nudge(Nudge(amperes), SamplingPlan(1e3, 3, 16, 1))
        last = network.arrays[-1]
        cells = device.read_cells(last.name)[0]
        for sample, phase in ((0, 0), (5, 3)):
            volts = record.volts[sample, phase]
            rows = np.concatenate([4.0 * volts[last.source.nodes], [2.0 * unit, -2.0 * unit]])
            flow = (rows[:, None] - volts[None, last.target.nodes]) * cells
            np.testing.assert_allclose(flow.sum(axis=0), -1e-6 * np.cos(2 * np.pi * phase / 16), atol=1e-15)
        hidden = record.volts[:, :, : network.output.start]
        if diodes["law"] == "ideal":
            assert (hidden[:, :, :3] >= 0).all()
            assert (hidden[:, :, 3:5] <= 0).all()


@pytest.mark.parametrize(("diodes", "beta"), [({"law": "ideal"}, 1e-4), (SHOCKLEY, 1e-2)])
@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_gradient_is_that_of_the_settled_cost(diodes: dict[str, Any], beta: float, gain: float) -> None:
    """Two hidden layers: the measured direction and the exact reference against differences, cell by cell."""
    network = network_of(gain=gain)
    inputs, labels = batch(network)
    with device_of(network, diodes=diodes) as device:
        wanted = differences(device, inputs, labels)
        controller = controller_of(device, beta)
        phase, estimate = controller.measure(inputs, labels)
        assert estimate.keep.all()
        adjoint = controller.exact_adjoint(phase.error)
        share = np.full(3, 1.0 / 3.0)
        for coupling in network.arrays:
            name, size = coupling.name, np.abs(wanted[coupling.name]).max()
            np.testing.assert_allclose(estimate.directions[name], wanted[name], rtol=0, atol=2e-5 * size)
            mean = exact_mean(network, phase.inputs, phase.activity, adjoint, share, coupling)
            np.testing.assert_allclose(mean, wanted[name], rtol=0, atol=1e-6 * size)
        if gain != 1.0:
            unscaled = {c.name: estimate.directions[c.name] / c.conjugate_scale for c in network.arrays}
            assert cosine(joined(unscaled), joined(wanted)) < 0.9


def test_wires_bend_the_gradient_by_the_order_of_their_drop() -> None:
    network = network_of((2, 3, 2), gain=2.0)
    inputs, labels = batch(network)
    errors = []
    for ohms in (10.0, 100.0):
        with device_of(network, wires={"segment_ohms": ohms}, diodes=SHOCKLEY) as device:
            wanted = joined(differences(device, inputs, labels))
            _, estimate = controller_of(device, 1e-2).measure(inputs, labels)
            errors.append(float(np.linalg.norm(joined(estimate.directions) - wanted) / np.linalg.norm(wanted)))
    # Some ten segments of 10 ohms beside cells of 20 uS, loaded by their neighbours: a drop of about a per cent.
    assert 1e-4 < errors[0] < 3e-2
    assert errors[1] < 0.3
    assert 5.0 < errors[1] / errors[0] < 15.0


def signals_of(network: Network, samples: int = 4) -> Signals:
    """Any smooth record will do: conjugates are algebra on it."""
    rng = np.random.default_rng(3)
    plan = SamplingPlan(1.0, 3, 16, 1)
    weights = np.tile(derivative_weights(16, 1, 3), (samples, 1)) / rng.uniform(0.5, 2.0, (samples, 1))
    x = np.cos(plan.phases())
    coefficients = (
        rng.standard_normal((4, samples, network.node_count)) * np.array([1.0, 0.3, 0.1, 0.05])[:, None, None]
    )
    waveform = np.einsum("pbn,pt->btn", coefficients, np.stack([x**power for power in range(4)]))
    inputs = rng.standard_normal((samples, network.input_size))
    response = np.einsum("bt,btn->bn", weights, waveform)
    variance = rng.uniform(0.5, 1.0, samples)
    return Signals(inputs, coefficients[0], response, variance, waveform, weights)


def test_directions_are_demodulated_squares_of_cell_voltages() -> None:
    """Against q = -A^{2n} (r - s)^2/2 written out cell by cell and instant by instant."""
    network = network_of(gain=3.0, rail=0.5)
    signals = signals_of(network)
    keep = np.array([True, True, False, True])
    means = mean_directions(network, signals, keep, "squared_voltage")
    for coupling, scale in zip(network.arrays, (81.0, 9.0, 1.0), strict=True):
        if coupling.source.start < 0:
            held = np.concatenate([signals.inputs, -signals.inputs], axis=1)
            source = np.repeat(held[:, None], 16, axis=1)
        else:
            source = 3.0 * signals.waveform[:, :, coupling.source.nodes]
        rails = np.tile([0.5, -0.5], (4, 16, 1))
        across = (
            np.concatenate([source, rails], axis=2)[..., None] - signals.waveform[:, :, None, coupling.target.nodes]
        )
        wanted = np.einsum("bt,btrc->brc", signals.weights, -0.5 * scale * across**2)
        found = sample_directions(signals, coupling, "squared_voltage")
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
        mean = wanted[keep].mean(axis=0)
        np.testing.assert_allclose(means[coupling.name], mean, rtol=0, atol=1e-12 * np.abs(wanted).max())


def test_standard_errors_are_those_of_noisy_responses() -> None:
    """Of a direction linear in the response, by its derivatives with respect to every node's response."""
    network = network_of(gain=3.0)
    signals = signals_of(network)
    keep = np.array([True, False, True, True])
    errors = standard_errors(network, signals, keep, "squared_voltage")
    for coupling, scale in zip(network.arrays, (81.0, 9.0, 1.0), strict=True):
        total = 0.0
        for sample in np.flatnonzero(keep):
            source = signals.inputs if coupling.source.start < 0 else signals.activity[:, coupling.source.nodes]
            rows = coupling.lines(source)[sample]
            for r, row in enumerate(rows):
                for column in signals.activity[sample, coupling.target.nodes]:
                    moving = coupling.source.start >= 0 and r < coupling.source.size
                    gains = (1.0, 3.0) if moving else (1.0,)
                    total += signals.response_variance[sample] * sum((scale * (row - column) * g) ** 2 for g in gains)
        assert errors[coupling.name] == pytest.approx(np.sqrt(total) / 3, rel=1e-12)


def test_exact_mean_is_the_mean_of_exact_samples() -> None:
    network = network_of(gain=3.0)
    signals = signals_of(network)
    adjoint = np.random.default_rng(5).standard_normal((4, network.node_count))
    share = np.array([0.5, 0.0, 0.3, 0.2])
    for coupling in network.arrays:
        samples = exact_directions(network, signals.inputs, signals.activity, adjoint, coupling)
        mean = exact_mean(network, signals.inputs, signals.activity, adjoint, share, coupling)
        np.testing.assert_allclose(mean, np.tensordot(share, samples, 1), rtol=0, atol=1e-12)


def test_switched_diodes_are_reported_and_stay_in_use() -> None:
    network = network_of()
    inputs, labels = batch(network, 40)
    with device_of(network) as device:
        _, calm = controller_of(device, 1e-6).measure(inputs, labels)
        _, large = controller_of(device, 10.0, harmonics=1).measure(inputs, labels)
        assert calm.kinked == 0
        assert large.kinked > 10
        assert large.keep.sum() > 35
        # A kink is seen in the harmonics; where nothing switches the response is linear.
        assert calm.truncation.max() < 1e-6
        assert np.median(large.truncation) > 1e-4
        report = controller_of(device, 10.0, harmonics=1).step(inputs, labels, 0.0).report
        assert report.kinked == large.kinked
    with device_of(network, diodes=SHOCKLEY) as device:
        assert controller_of(device, 10.0, harmonics=1).measure(inputs, labels)[1].kinked == 0


def test_weights_are_held_to_the_window_and_counted() -> None:
    network = network_of((2, 2))
    coupling = network.arrays[0]
    with device_of(network) as device:
        writer = Writer(device, WritingPlan("outright"), np.random.default_rng(0))
        wanted = np.full(coupling.shape, 1.0)
        wanted[0] = [-0.5, 9.0]
        assert writer.program(coupling, wanted).saturated == 2
        wanted[0] = [1e-7 / 2.5e-5, 1e-4 / 2.5e-5]
        np.testing.assert_allclose(writer.weights(coupling), wanted, rtol=1e-12)
        change = np.zeros(coupling.shape)
        change[0] = [-1.0, -1.0]
        assert writer.change(coupling, change).saturated == 1
        np.testing.assert_allclose(writer.weights(coupling)[0], [wanted[0, 0], 3.0], rtol=1e-12)


@pytest.mark.parametrize("mode", ["accumulate", "blind", "verify"])
def test_pulses_go_to_the_one_cell_of_a_weight(mode: Any) -> None:
    network = network_of((2, 3))
    coupling = network.arrays[0]
    with device_of(network, update={"law": "constant", "step": 0.002}) as device:
        step = device.capabilities.step_siemens[0] / device.scale.unit_siemens
        writer = Writer(device, WritingPlan(mode), np.random.default_rng(0))
        before = writer.weights(coupling)
        change = step * np.arange(-9, 9).reshape(6, 3)
        written = writer.change(coupling, change)
        np.testing.assert_allclose(writer.weights(coupling) - before, change, rtol=0, atol=1e-9)
        assert written.pulses == np.abs(np.arange(-9, 9)).sum()


def test_cells_that_only_go_up_cannot_be_the_only_ones() -> None:
    with (
        device_of(network_of((2, 2)), update={"law": "one_sided", "step": 0.01}) as device,
        pytest.raises(CapabilityError, match="move it down"),
    ):
        Writer(device, WritingPlan("accumulate"), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("network.feedback=separate", "network.feedback"),
        ("network.activation=tanh", "network.activation"),
        ("network.amplifier_gain=0", "amplifier_gain"),
        ("network.rail=-1", "rail"),
        ("rule.conjugate=postsynaptic", "rule.conjugate"),
        ("substrate.neurons.gain_spread=0.1", "neurons.gain_spread"),
        ("substrate.wires.source_ohms=1", "wires.source_ohms"),
        ("substrate.cells.law=sinh", "cells.law"),
        ("substrate.wires.segment_ohms=1", "window_siemens"),
        ("substrate.tiles={rows: 64, columns: 64, summation: digital}", "tiles.summation"),
        ("substrate.diodes.law=zener", "diodes.law"),
        ("substrate.diodes.saturation_amperes=0", "saturation_amperes"),
        ("homeostasis.strength=1", "homeostasis.strength"),
    ],
)
def test_what_does_not_belong_is_refused(key: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_experiment("digits-resistive", [key])


def test_the_other_family_refuses_diodes_and_amplifiers() -> None:
    for key, message in (("substrate.diodes.law=ideal", "diodes"), ("network.amplifier_gain=2", "amplifier_gain")):
        with pytest.raises(InputError, match=message):
            load_experiment("digits-ideal", [key])


def test_gradient_check_of_the_shipped_experiments() -> None:
    smooth = ["substrate.diodes.law=shockley", "substrate.neurons.volts_per_unit=0.1", "substrate.limits.read_volts=10"]
    found = check_gradient(assemble(load_experiment("digits-resistive", smooth)), 64)
    assert found.reference == "exact"
    assert found.total.cosine > 0.9999
    ideal = check_gradient(assemble(load_experiment("digits-resistive")), 64)
    assert ideal.total.cosine > 0.999
    assert sum(ideal.samples_excluded.values()) == 0
    measured = check_gradient(assemble(load_experiment("digits-resistive")), 2, "multiplexed")
    assert measured.total.cosine > 0.999


def test_digits_are_learnt(tmp_path: Path) -> None:
    path = run(load_experiment("digits-resistive", ["training.epochs=2"]), tmp_path / "run.h5")
    with h5py.File(path) as file:
        assert file["epochs/test_accuracy"][-1] > 0.9
        assert np.nanmin(file["train/gradient_cosine"][:]) > 0.99
        assert file["conductances/input-hidden1"].shape == (3, 1, 130, 100)


def test_digits_are_learnt_by_pulses_on_the_chip(tmp_path: Path) -> None:
    path = run(load_experiment("digits-resistive-chip", ["training.epochs=3"]), tmp_path / "run.h5")
    with h5py.File(path) as file:
        assert file["epochs/test_accuracy"][-1] > 0.85
        assert file["epochs/pulses"][-1] > 0
