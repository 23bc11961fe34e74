"""The emulated device: with every non-ideality off it is the ideal equations; each of them on shows."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import root

from emulators.substrate import EmulatedSubstrate, backend
from substrate.arrays import FloatArray
from substrate.capabilities import Nudge, WriteRequest
from substrate.errors import InputError
from substrate.network import Network
from substrate.tones import SamplingPlan

UNIT_SIEMENS, MIDDLE_SIEMENS, VOLTS = 2.5e-5, 5e-5, 0.2

OFF: dict[str, dict[str, Any]] = {
    "cells": {"spread": 0.0, "stuck": 0.0},
    "wires": {"segment_ohms": 0.0, "source_ohms": 0.0, "sense_ohms": 0.0},
    "neurons": {"gain_spread": 0.0, "offset_spread": 0.0, "saturation_spread": 0.0},
    "converters": {"dac_bits": 0, "adc_bits": 0, "adc_noise_volts": 0.0},
}


def _build(network: Network, seed: int = 0, **sections: dict[str, Any]) -> EmulatedSubstrate:
    merged = {name: {**OFF.get(name, {}), **sections.get(name, {})} for name in {*OFF, *sections}}
    return backend.build({"backend": "emulator", **merged}, network, np.random.default_rng(seed))


def _program(substrate: EmulatedSubstrate, scale: float = 0.6, seed: int = 1) -> dict[str, FloatArray]:
    rng = np.random.default_rng(seed)
    weights = {}
    for coupling in substrate.network.arrays:
        wanted = rng.standard_normal(coupling.shape) * scale / np.sqrt(max(coupling.shape))
        weights[coupling.name] = wanted
        half = 0.5 * wanted * UNIT_SIEMENS
        pair = np.stack([MIDDLE_SIEMENS + half, MIDDLE_SIEMENS - half])
        substrate.write_cells(WriteRequest(coupling.name, target_siemens=pair))
    return weights


def _ideal(network: Network, weights: dict[str, FloatArray], inputs: FloatArray, nudge: FloatArray) -> FloatArray:
    """Activities (node,) from the ideal equations, written out layer by layer and solved by scipy."""
    transfer = {"tanh": np.tanh, "logistic": lambda z: 1 / (1 + np.exp(2 - 4 * z))}[network.activation]

    def imbalance(u: FloatArray) -> FloatArray:
        s = transfer(u)
        drawn = nudge.copy()
        for coupling in network.forward:
            source = inputs if coupling.source.start < 0 else s[coupling.source.nodes]
            drawn[coupling.target.nodes] += np.append(source, 1.0) @ weights[coupling.name]
            if network.feedback == "shared" and coupling.source.start >= 0:
                drawn[coupling.source.nodes] += weights[coupling.name][:-1] @ s[coupling.target.nodes]
        for coupling in network.backward if network.feedback == "separate" else ():
            drawn[coupling.target.nodes] += s[coupling.source.nodes] @ weights[coupling.name]
        return drawn - u

    found = root(imbalance, np.zeros(network.node_count), tol=1e-13)
    assert np.abs(imbalance(found.x)).max() < 1e-12
    return transfer(found.x)


@pytest.mark.parametrize("feedback", ["separate", "shared"])
@pytest.mark.parametrize("activation", ["tanh", "logistic"])
@pytest.mark.parametrize("sizes", [(5, 3), (5, 6, 3), (4, 5, 4, 3)])
def test_the_ideal_device_is_the_ideal_equations(sizes: tuple[int, ...], activation: str, feedback: Any) -> None:
    network = Network(sizes, activation, feedback)
    inputs = np.random.default_rng(2).uniform(-1, 1, (3, sizes[0]))
    nudge = np.zeros((3, network.node_count))
    nudge[:, network.output.nodes] = 0.2
    with _build(network, solver={"residual": 1e-12}) as substrate:
        weights = _program(substrate)
        substrate.hold(inputs * VOLTS)
        free = substrate.settle()
        plan = SamplingPlan(1e3, 1, 8, 2)
        record = substrate.nudge(Nudge(nudge * VOLTS * UNIT_SIEMENS), plan)
        products = substrate.products(network.arrays[0].name, np.full((1, network.arrays[0].shape[0]), 0.1))
    assert free.settled.all()
    assert record.settled.all()
    assert not free.saturated.any()
    assert record.volts.shape == (3, 16, network.node_count)
    np.testing.assert_allclose(
        products[0], 0.1 * weights[network.arrays[0].name].sum(axis=0) * UNIT_SIEMENS, atol=1e-18
    )
    for row in range(3):
        expected = _ideal(network, weights, inputs[row], np.zeros(network.node_count))
        np.testing.assert_allclose(free.volts[row, 0] / VOLTS, expected, rtol=0, atol=1e-10)
        for sample in (0, 1, 4, 11):
            factor = np.cos(2 * np.pi * sample / 8)
            expected = _ideal(network, weights, inputs[row], factor * nudge[row])
            np.testing.assert_allclose(record.volts[row, sample] / VOLTS, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "section",
    [
        {"cells": {"stuck": 0.2}},
        {"wires": {"segment_ohms": 10.0}},
        {"wires": {"source_ohms": 100.0}},
        {"wires": {"sense_ohms": 100.0}},
        {"neurons": {"gain_spread": 0.05}},
        {"neurons": {"offset_spread": 0.05}},
        {"neurons": {"saturation_spread": 0.05}},
        {"converters": {"dac_bits": 6}},
        {"converters": {"adc_bits": 6}},
        {"converters": {"adc_noise_volts": 1e-3}},
    ],
    ids=lambda section: ".".join([next(iter(section)), *next(iter(section.values()))]),
)
def test_each_non_ideality_alone_shows(section: dict[str, Any]) -> None:
    network = Network((5, 6, 3))
    inputs = np.random.default_rng(2).uniform(-1, 1, (8, 5)) * VOLTS
    readings = []
    for sections in ({}, section):
        with _build(network, **sections) as substrate:
            _program(substrate)
            substrate.hold(inputs)
            readings.append(substrate.settle().volts)
    deviation = np.sqrt(np.mean((readings[1] - readings[0]) ** 2)) / VOLTS
    assert 1e-5 < deviation < 1.5


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    network = Network((5, 6, 3))
    inputs = np.random.default_rng(2).uniform(-1, 1, (4, 5)) * VOLTS

    def reading(seed: int) -> bytes:
        spreads = {"neurons": {"gain_spread": 0.05}, "converters": {"adc_noise_volts": 1e-3}}
        with _build(network, seed, **spreads) as substrate:
            _program(substrate)
            substrate.hold(inputs)
            substrate.settle()
            nudge = np.full((4, 9), 1e-7)
            return substrate.nudge(Nudge(nudge), SamplingPlan(1e3, 3, 16, 2)).volts.tobytes()

    assert reading(3) == reading(3)
    assert reading(3) != reading(4)


def test_a_batch_whose_network_cannot_settle_says_so() -> None:
    """Two rotating couplings of high gain: the dynamics are a limit cycle, whatever solver is used."""
    network = Network((1, 2, 2))
    with _build(network) as substrate:
        turns = {"hidden1-output": np.array([[3.0, 0.0], [0.0, 3.0], [0.01, 0.0]])}
        turns["output-hidden1"] = np.array([[0.0, 3.0], [-3.0, 0.0]])
        turns["input-hidden1"] = np.array([[0.1, 0.2], [0.0, 0.0]])
        for name, wanted in turns.items():
            half = 0.5 * wanted * UNIT_SIEMENS
            pair = np.stack([MIDDLE_SIEMENS + half, MIDDLE_SIEMENS - half])
            substrate.write_cells(WriteRequest(name, target_siemens=pair))
        substrate.hold(np.array([[0.1], [0.2]]))
        record = substrate.settle()
        assert not record.settled.any()
        assert (record.residual > 1e-3).all()
        nudged = substrate.nudge(Nudge(np.zeros((2, 4))), SamplingPlan(1e3, 1, 8, 1))
        assert not nudged.settled.any()


def test_a_nudge_before_the_free_phase_or_of_another_batch_is_refused() -> None:
    network = Network((5, 6, 3))
    with _build(network) as substrate:
        plan = SamplingPlan(1e3, 1, 8, 1)
        substrate.hold(np.zeros((2, 5)))
        with pytest.raises(InputError, match="settle"):
            substrate.nudge(Nudge(np.zeros((2, 9))), plan)
        substrate.settle()
        with pytest.raises(InputError, match="batch of 2"):
            substrate.nudge(Nudge(np.zeros((3, 9))), plan)
