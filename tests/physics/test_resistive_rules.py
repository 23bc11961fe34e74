"""Rules that read voltages across cells: their directions against the exact gradient, and their way through a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emulators.substrate import EmulatedSubstrate, backend
from substrate import load_experiment, open_run, resume, run
from substrate.arrays import FloatArray
from substrate.capabilities import WriteRequest
from substrate.conjugates import exact_mean
from substrate.controller import Controller
from substrate.costs import SquaredError
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.gradient_check import check_gradient
from substrate.network import Network
from substrate.optimisers import SGD
from substrate.rules.base import FreePhase, Rule
from substrate.rules.contrastive import Contrastive, ContrastiveSection
from substrate.rules.coupled_learning import CoupledLearning
from substrate.rules.frequency_propagation import FrequencyPropagation
from substrate.rules.homeostasis import Homeostasis
from substrate.tones import SamplingPlan
from substrate.writing import Writer, WritingPlan

SHOCKLEY = {"law": "shockley", "saturation_amperes": 1e-9}
SECTION: dict[str, Any] = {
    "backend": "emulator",
    "cells": {"window_siemens": [1e-7, 1e-4], "unit_siemens": 2.5e-5},
    "neurons": {"volts_per_unit": 0.2},
    "limits": {"read_volts": 2.0, "current_amperes": 1.0},
    "solver": {"residual": 1e-13},
}
PLAN = SamplingPlan(1e3, 1, 16, 1)


@contextmanager
def device_of(sizes: tuple[int, ...], gain: float, diodes: dict[str, Any]) -> Iterator[EmulatedSubstrate]:
    network = Network(sizes, "rectified", "shared", "resistive", gain)
    rng = np.random.default_rng(1)
    with backend.build(SECTION | {"diodes": diodes}, network, rng) as device:
        for coupling in network.arrays:
            cells = 2e-5 * 10.0 ** rng.uniform(-0.5, 0.5, coupling.cell_shape)
            device.write_cells(WriteRequest(coupling.name, target_siemens=cells))
        yield device


def controller_of(device: EmulatedSubstrate, rule: Rule) -> Controller:
    return Controller(
        device,
        rule,
        SquaredError((0.0, 1.0)),
        Writer(device, WritingPlan("outright"), np.random.default_rng(0)),
        SGD(0.0),
        Homeostasis(0.0, 0, np.random.default_rng(0)),
    )


def measured(device: EmulatedSubstrate, rule: Rule) -> tuple[FloatArray, FreePhase, Controller]:
    """The mean direction of all cells, from a fixed batch."""
    network, rng = device.network, np.random.default_rng(7)
    inputs = 4.0 * rng.uniform(-1.0, 1.0, (3, network.input_size))
    controller = controller_of(device, rule)
    phase, estimate = controller.measure(inputs, rng.integers(0, network.sizes[-1], 3))
    assert estimate.keep.all()
    return joined(estimate.directions), phase, controller


def joined(parts: dict[str, FloatArray]) -> FloatArray:
    return np.concatenate([part.ravel() for part in parts.values()])


def exact(device: EmulatedSubstrate, phase: FreePhase, controller: Controller, error: FloatArray) -> FloatArray:
    """-dC/dw of a cost whose error at the outputs is ``error``."""
    adjoint, share = controller.exact_adjoint(error), np.full(3, 1.0 / 3.0)
    return joined(
        {
            c.name: exact_mean(device.network, phase.inputs, phase.activity, adjoint, share, c)
            for c in device.network.arrays
        }
    )


def off(found: FloatArray, wanted: FloatArray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def cosine(a: FloatArray, b: FloatArray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("sizes", [(4, 3), (3, 4, 4, 2)])
def test_frequency_propagation_is_exact_where_the_network_is_linear(sizes: tuple[int, ...]) -> None:
    """Hidden rails far below every voltage leave no diode conducting: any gamma is small."""
    for gamma in (0.01, 1.0):
        with device_of(sizes, 3.0, {"law": "ideal", "knee_volts": -1e3}) as device:
            found, phase, controller = measured(device, FrequencyPropagation(PLAN, gamma))
            assert off(found, exact(device, phase, controller, phase.error)) < 1e-8 / gamma


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_frequency_propagation_with_diodes_is_right_at_small_gamma(gain: float) -> None:
    errors = []
    for gamma in (0.1, 0.05):
        with device_of((4, 5, 3, 2), gain, SHOCKLEY) as device:
            found, phase, controller = measured(device, FrequencyPropagation(PLAN, gamma))
            wanted = exact(device, phase, controller, phase.error)
            assert cosine(found, wanted) > 0.99
            errors.append(off(found, wanted))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.15)


def clamped_error(device: EmulatedSubstrate, phase: FreePhase, controller: Controller, siemens: float) -> FloatArray:
    """(1/G + chi_oo)^-1 e, activity units times siemens over the unit: chi_oo from the adjoint, output by output."""
    outputs, unit = device.network.sizes[-1], device.scale.unit_siemens
    units = [np.tile(row, (len(phase.error), 1)) for row in np.eye(outputs)]
    chi = np.stack([controller.exact_adjoint(row)[:, device.network.output.nodes] for row in units], axis=1)
    weighted = np.linalg.solve(unit / siemens * np.eye(outputs) + chi, phase.error[:, :, None])[:, :, 0]
    return weighted.astype(np.float64)


@pytest.mark.parametrize("gain", [1.0, 4.0])
@pytest.mark.parametrize("siemens", [1e-7, 1e-4, 1e-2])
def test_coupled_learning_tends_to_the_gradient_of_the_clamped_error(gain: float, siemens: float) -> None:
    errors = []
    for eta in (0.02, 0.01):
        with device_of((4, 5, 3, 2), gain, SHOCKLEY) as device:
            found, phase, controller = measured(device, CoupledLearning(eta, siemens))
            weighted = clamped_error(device, phase, controller, siemens)
            errors.append(off(found, exact(device, phase, controller, weighted)))
            if siemens == 1e-7:
                # A soft clamp is a current in proportion to the error.
                plain = exact(device, phase, controller, phase.error)
                assert off(found * device.scale.unit_siemens / siemens, plain) < 0.05
    assert errors[1] < 0.02
    if siemens > 1e-7:
        assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)


def test_a_hard_clamp_holds_the_outputs_where_it_says() -> None:
    with device_of((4, 5, 2), 2.0, {"law": "ideal"}) as device:
        rule = CoupledLearning(0.25, 0.05)
        controller = controller_of(device, rule)
        inputs, labels = np.full((1, 4), 2.0), np.array([1])
        phase, estimate = controller.measure(inputs, labels)
        outputs = device.network.output.nodes
        nudged = estimate.signals.waveform[0, -1, outputs]
        np.testing.assert_allclose(nudged, (phase.activity[:, outputs] + 0.25 * phase.error)[0], atol=2e-3)


@pytest.mark.parametrize(("sides", "order"), [("one", 1), ("two", 2)])
@pytest.mark.parametrize("nudge", ["open_loop", "feedback"])
def test_contrastive_learning_errs_by_the_order_of_its_sides(sides: Any, order: int, nudge: Any) -> None:
    errors = []
    for beta in (0.1, 0.05):
        with device_of((4, 5, 3, 2), 4.0, SHOCKLEY) as device:
            rule = Contrastive(ContrastiveSection(sides=sides, nudge=nudge), beta)
            found, phase, controller = measured(device, rule)
            errors.append(off(found, exact(device, phase, controller, phase.error)))
    assert errors[1] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2.0**order, rel=0.15)


@pytest.mark.parametrize("sides", ["one", "two"])
def test_signs_are_those_of_differences_beyond_the_dead_band(sides: Any) -> None:
    """A comparator at a cell sees beta times the direction, twice that between two sides."""
    with device_of((4, 5, 3, 2), 1.0, SHOCKLEY) as device:
        whole, *_ = measured(device, Contrastive(ContrastiveSection(sides=sides), 0.1))
        seen = np.abs(whole) * 0.1 * (1 if sides == "one" else 2)
        # Between two of them: the middle one itself would be a tie that rounding decides.
        band = 0.5 * float(np.sum(np.sort(seen, axis=None)[seen.size // 2 :][:2]))
        section = ContrastiveSection(sides=sides, step="sign", dead_band=band)
        signs, *_ = measured(device, Contrastive(section, 0.1))
        np.testing.assert_array_equal(signs, np.where(seen > band, np.sign(whole), 0.0))
        assert 0.4 < np.mean(signs == 0.0) < 0.6


@pytest.mark.parametrize(
    "rule", [CoupledLearning(0.1, 1e-4), Contrastive(ContrastiveSection(nudge="feedback"), 0.1)], ids=lambda r: r.name
)
def test_clamps_need_the_capability_that_is_named(rule: Rule) -> None:
    with device_of((4, 3), 1.0, {"law": "ideal"}) as device:
        device._capabilities = replace(device.capabilities, feedback_nudges=False)
        with pytest.raises(CapabilityError, match=f"rule {rule.name} needs the capability 'feedback_nudges'"):
            controller_of(device, rule)


RULES: dict[str, tuple[str, ...]] = {
    "frequency_propagation": ("rule={name: frequency_propagation}", "nudge.amplitude=1.0"),
    "coupled_learning": (
        "rule={name: coupled_learning, source_siemens: 1.0e-4}",
        "nudge={amplitude: 0.2}",
    ),
    "contrastive": ("rule={name: contrastive, nudge: feedback}", "nudge={amplitude: 0.05}"),
    "sign": (
        "rule={name: contrastive, step: sign}",
        "nudge={amplitude: 1.0}",
        "substrate.update={law: constant, step: 0.005}",
        "substrate.cells.window_siemens=[1.0e-7, 1.0e-4]",
        "writing.mode=accumulate",
        "training.learning_rate=0.0025",
    ),
}


def _experiment(name: str, *overrides: str) -> Any:
    given = [
        "data={name: iris, activity_range: [-50.0, 50.0]}",
        "network.layers=[4, 10, 3]",
        "training={epochs: 5, batch_size: 4, learning_rate: 0.002, momentum: 0.0}",
        "logging.quality_every=5",
    ]
    return load_experiment("digits-resistive", [*given, *RULES[name], *overrides])


@pytest.mark.parametrize("name", RULES)
def test_a_rule_of_voltages_learns_iris(name: str, tmp_path: Path) -> None:
    experiment = _experiment(name)
    assert load_experiment("again", text=experiment.to_yaml()) == experiment
    with open_run(run(experiment, tmp_path / "run.h5")) as file:
        epochs, steps = file.table("epochs"), file.table("train")
        assert epochs["test_accuracy"][-1] >= 0.8
        assert epochs["train_loss"][-1] < 0.5 * steps["loss"][0]
        if name == "sign":
            assert steps["pulses"].sum() > 0
    cosines = {"coupled_learning": 0.9, "sign": 0.99}
    assert check_gradient(assemble(experiment), 8, "exact").total.cosine > cosines.get(name, 0.99)


def test_a_resumed_run_that_logs_steps_together_goes_on_bit_for_bit(tmp_path: Path) -> None:
    together = ("logging.steps_at_once=7", "training.epochs=2")
    whole = run(_experiment("coupled_learning", *together), tmp_path / "whole.h5")
    half = run(_experiment("coupled_learning", *together, "training.epochs=1"), tmp_path / "half.h5")
    resume(half, epochs=2)
    single = run(_experiment("coupled_learning", "training.epochs=2"), tmp_path / "single.h5")
    with open_run(whole) as one, open_run(half) as other, open_run(single) as third:
        for series in ("conductances", "train"):
            tables = [file.table(series) for file in (one, other, third)]
            for name, values in tables[0].items():
                np.testing.assert_array_equal(values, tables[1][name])
                np.testing.assert_array_equal(values, tables[2][name])
        np.testing.assert_array_equal(one.table("train")["step"], np.arange(60))


@pytest.mark.parametrize("rule", ["frequency_propagation", "coupled_learning", "contrastive"])
def test_rules_of_voltages_belong_to_resistive_networks(rule: str) -> None:
    with pytest.raises(InputError, match=f"rule: {rule} reads voltages across cells; expected family resistive"):
        load_experiment("iris", [f"rule={{name: {rule}}}", "nudge.amplitude=0.1"])
    with pytest.raises(InputError, match=f"nudge.amplitude: rule {rule} is given its amplitude"):
        load_experiment("digits-resistive", [f"rule={{name: {rule}}}", "nudge.amplitude=auto"])


@pytest.mark.parametrize(
    ("rule", "nudge", "named"),
    [
        ("{name: frequency_propagation}", "{amplitude: 1, periods: auto}", r"nudge\.periods: .* is given its tone"),
        ("{name: frequency_propagation}", "{amplitude: 1, richardson: 3}", r"nudge\.richardson: .* has one frequency"),
        ("{name: coupled_learning}", "{amplitude: 1.5}", r"nudge\.amplitude: .* expected at most 1, got 1\.5"),
        ("{name: contrastive, dead_band: 0.1}", "{amplitude: 1}", r"rule\.dead_band: belongs to step sign"),
    ],
)
def test_keys_that_would_do_nothing_are_refused(rule: str, nudge: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_experiment("digits-resistive", [f"rule={rule}", f"nudge={nudge}"])
