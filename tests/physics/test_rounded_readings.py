"""Converters whose steps are wider than the noise: what rounding leaves is told, and taken for no lost branch."""

from dataclasses import replace

import numpy as np
import pytest

from drivers.board_section import BoardConfig
from emulators.converters import Adc
from substrate.errors import InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.config import load_experiment
from substrate.experiment.plan import plan_nudge
from substrate.tone_choice import periods_needed
from substrate.tone_response import reading_noise
from substrate.tones import SamplingPlan


def overrides(bits: int, range_volts: float = 0.25, **nudge: float) -> list[str]:
    converters = f"substrate.converters={{adc_bits: {bits}, adc_range_volts: {range_volts}}}"
    return [converters, *(f"nudge.{key}={value}" for key, value in nudge.items())]


def measured(given: list[str], samples: int = 32):
    """(estimate, exact adjoint) of the first samples of fresh digits-ideal."""
    assembly = assemble(load_experiment("digits-ideal", given))
    inputs = assembly.dataset.train_inputs[:samples].astype(np.float64)
    labels = assembly.dataset.train_labels[:samples]
    with assembly.substrate:
        controller = assembly.controller()
        assembly.bring_to(controller, None)
        controller.prepare(inputs, labels)
        phase, estimate = controller.measure(inputs, labels)
        return estimate, controller.exact_adjoint(phase.error)


@pytest.mark.parametrize("deviation", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
def test_what_repeats_of_rounding_is_found_from_what_does_not(deviation: float) -> None:
    rng = np.random.default_rng(0)
    plan = SamplingPlan(frequency_hz=1.0, samples_per_period=8, periods=400, harmonics=1)
    volts = rng.uniform(0.0, 1.0, (100, 3, 8))
    noisy = np.tile(volts, (1, 1, plan.periods)) + deviation * rng.standard_normal((100, 3, plan.sample_count))
    readings = np.rint(noisy)
    found = reading_noise(readings, plan, 1.0)
    errors = readings.reshape(100, 3, plan.periods, 8) - volts[:, :, None]
    assert found.random == pytest.approx(float(np.mean(errors.var(axis=2, ddof=1))), rel=1e-9)
    repeated = float(np.mean(errors.mean(axis=2) ** 2)) - found.random / plan.periods
    assert repeated - 0.002 < found.repeated < repeated + 0.15 / 12 + 0.002
    unknown = reading_noise(readings, plan, 0.0)
    assert (unknown.random, unknown.repeated) == (found.random, 0.0)
    single = reading_noise(readings[..., :8], replace(plan, periods=1), 1.0)
    assert single.repeated == pytest.approx(1 / 12)


@pytest.mark.parametrize("periods", [2, 8])
def test_the_stated_noise_is_that_of_the_rounding_and_periods_do_not_lessen_it(periods: int) -> None:
    rounded, _ = measured(overrides(8, amplitude=0.4, periods=periods))
    whole, _ = measured([f"nudge.amplitude={0.4}", f"nudge.periods={periods}"])
    assert rounded.keep.all()
    # Of the steps of the readings of one and the same response, not of the error that it was nudged by.
    stated = np.sqrt(rounded.signals.response_variance)[:, None]
    errors = (rounded.signals.response - whole.signals.response) / stated
    assert 0.6 < float(np.sqrt(np.mean(errors**2))) < 1.5


@pytest.mark.parametrize("bits", [6, 8, 12])
def test_an_automatic_amplitude_rises_above_the_steps(bits: int) -> None:
    estimate, exact = measured(overrides(bits))
    step = 2.0 * 0.25 / 2**bits / 0.2
    assert estimate.keep.all()
    swing = np.ptp(estimate.signals.waveform, axis=1)
    assert np.median(swing.max(axis=1)) > 10.0 * step
    cosine = np.sum(estimate.signals.response * exact) / (
        np.linalg.norm(estimate.signals.response) * np.linalg.norm(exact)
    )
    assert cosine > 0.99


def test_periods_are_not_added_against_what_repeats() -> None:
    for repeated, expected in ((0.0, 8.0), (0.25, 6.0), (0.75, 2.0 / 3.0), (1.0, 0.0)):
        assert periods_needed(2, 0.04, 0.01, repeated) == pytest.approx(expected)
    coarse = plan_nudge(assemble(load_experiment("digits-ideal", overrides(3))))
    assert coarse.proposal.periods == 2
    assert coarse.predicted_error.noise > 0.1


def test_a_response_below_one_step_is_no_lost_branch() -> None:
    for amplitude in (1e-3, 1e-2, 3e-2):
        estimate, _ = measured(overrides(6, amplitude=amplitude))
        assert estimate.excluded.total == 0
        # The noise says that nothing is to be had from it.
        noise = np.sqrt(estimate.signals.response_variance * estimate.signals.response.shape[1])
        assert np.median(np.linalg.norm(estimate.signals.response, axis=1) / noise) < 1.5


def test_an_amplitude_stays_where_no_sample_is_in_use_before_the_nudge() -> None:
    estimate, _ = measured(overrides(8, range_volts=1e-3))
    assert not estimate.keep.any()
    assert np.median(estimate.amplitude) > 0.01


def test_a_device_says_its_step_and_reads_in_steps_of_it() -> None:
    assembly = assemble(load_experiment("digits-ideal", overrides(8)))
    with assembly.substrate as substrate:
        step = substrate.capabilities.reading_step_volts
        assembly.bring_to(assembly.controller(), None)
        substrate.hold(0.2 * assembly.dataset.train_inputs[:3].astype(np.float64))
        codes = substrate.settle().volts / step
    assert step == pytest.approx(0.5 / 256)
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-9)
    assert np.ptp(codes) > 2
    assert Adc(0, 0.25, 1e-3).step_volts == 0.0
    board = BoardConfig(backend="board", port="COM3", reading_step_volts=1e-4)
    assert board.capabilities.reading_step_volts == 1e-4
    assert assemble(load_experiment("digits-ideal")).substrate.capabilities.reading_step_volts == 0.0


def test_a_plan_is_made_of_rounded_readings_and_says_why_of_readings_too_coarse() -> None:
    plan = plan_nudge(assemble(load_experiment("digits-ideal", overrides(8))))
    assert plan.samples_used == plan.samples
    assert plan.noise_volts == pytest.approx(0.5 / 256 / np.sqrt(12.0), rel=0.05)
    assert plan.predicted_error.total < 0.05
    with pytest.raises(InputError, match=r"lost in readings whose step is 0\.5 V"):
        plan_nudge(assemble(load_experiment("digits-ideal", overrides(3, range_volts=2.0))))
