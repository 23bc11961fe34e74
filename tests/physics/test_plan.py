"""The plan of a nudge: what it measures against what the device was made with, what it proposes against the adjoint."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from substrate.cli import main
from substrate.errors import InputError
from substrate.experiment.assembly import assemble
from substrate.experiment.config import load_experiment
from substrate.experiment.plan import MOST_FREQUENCIES, NudgePlan, _errors, _quickest, plan_nudge

# One array both ways: the response to the errors is then their adjoint.
SHARED = ["network.feedback=shared", "homeostasis.strength=0", "writing.mode=outright"]
IDEAL = "{backend: emulator}"
NOISY = "{backend: emulator, converters: {adc_bits: 0, adc_noise_volts: 3.0e-3}}"
ROUNDED = "{backend: emulator, converters: {adc_bits: 8}}"
DROWNED = "{backend: emulator, converters: {adc_bits: 0, adc_noise_volts: 0.03}}"


def slow(seconds: float) -> str:
    return f"{{backend: emulator, neurons: {{time_constant_seconds: {seconds}}}}}"


def planned(substrate: str, overrides: Sequence[str] = ()) -> NudgePlan:
    return plan_nudge(assemble(load_experiment("digits", [*SHARED, f"substrate={substrate}", *overrides])))


def measured_error(substrate: str, plan: NudgePlan) -> float:
    """Median over samples of the relative error of the response at the proposal, to the exact adjoint."""
    nudge = json.dumps(asdict(plan.proposal))
    assembly = assemble(load_experiment("digits", [*SHARED, f"substrate={substrate}", f"nudge={nudge}"]))
    with assembly.substrate:
        controller = assembly.controller()
        assembly.bring_to(controller, None)
        data = assembly.dataset
        # Others than those that were planned with.
        phase, estimate = controller.measure(data.train_inputs[:48].astype(np.float64), data.train_labels[:48])
        exact = controller.exact_adjoint(phase.error)
    errors = np.linalg.norm(estimate.signals.response - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return float(np.median(errors[estimate.keep]))


@pytest.mark.parametrize("substrate", [IDEAL, NOISY, ROUNDED, DROWNED, slow(1e-5), slow(1e-3)])
def test_the_proposal_errs_as_predicted(substrate: str) -> None:
    plan = planned(substrate)
    predicted = plan.predicted_error.total
    assert predicted / 2 < measured_error(substrate, plan) < 2 * predicted


def test_a_slower_network_is_asked_more_slowly() -> None:
    quick, sluggish = planned(slow(1e-5)), planned(slow(1e-3))
    for plan, seconds in ((quick, 1e-5), (sluggish, 1e-3)):
        assert plan.time_constant_seconds == pytest.approx(seconds, rel=0.3)
        assert plan.predicted_error.frequency < 0.02
        assert 2 * np.pi * plan.proposal.frequency_hz * seconds < 0.2
    assert 30 < quick.proposal.frequency_hz / sluggish.proposal.frequency_hz < 300
    # The lag of a slow network is that of its time constant, and the errors fall as powers of the frequency.
    low = sluggish.frequencies[-1]
    assert low.lag == pytest.approx(2 * np.pi * low.frequency_hz * sluggish.time_constant_seconds, rel=0.1)
    errors = [point.errors[0] for point in sluggish.frequencies if point.errors]
    assert errors[-2] / errors[-1] == pytest.approx(4.0, rel=0.1)


def test_a_noisy_reading_gets_more_periods() -> None:
    clear, drowned = planned(IDEAL), planned(DROWNED)
    assert drowned.noise_volts == pytest.approx(0.03, rel=0.1)
    assert clear.noise_volts < 1e-9
    assert drowned.proposal.periods > clear.proposal.periods
    assert drowned.predicted_error.noise < 0.15
    assert drowned.proposal.harmonics < clear.proposal.harmonics
    assert clear.time_constant_seconds is None


def test_harmonics_decay_and_those_in_use_stand_above_those_left_out() -> None:
    plan = planned(IDEAL)
    shares = [plan.decay[order] for order in sorted(plan.decay)]
    assert shares[0] == pytest.approx(1.0)
    assert shares == sorted(shares, reverse=True)


def test_extrapolation_is_proposed_where_it_pays() -> None:
    """Responses 1 + c (w tau)^2: from one frequency off by that, from two exact."""
    frequencies = [64.0 / 2**step for step in range(7)]
    pure = np.array([[[1.0 + (0.4 * f) ** 2]] for f in frequencies])
    errors = _errors(pure, 0.0)
    assert errors[:-1, 0] == pytest.approx([(0.4 * f) ** 2 for f in frequencies[:-1]], rel=1e-6)
    assert np.nanmax(errors[:, 1]) < 1e-9
    frequency, count, left = _quickest(frequencies, errors)
    assert (frequency, count) == (64.0, 2)
    assert left < 1e-9
    # Without frequency dependence one frequency does, the highest; in noise what is not seen counts as none.
    flat = np.ones((7, 400, 1))
    assert _quickest(frequencies, _errors(flat, 0.0))[:2] == (64.0, 1)
    noisy = flat + 0.1 * np.random.default_rng(0).standard_normal(flat.shape)
    assert _quickest(frequencies, _errors(noisy, 0.01))[:2] == (64.0, 1)
    assert errors.shape == (7, MOST_FREQUENCIES)


def test_frequencies_below_those_measured_follow_from_the_power_of_the_error() -> None:
    frequencies = [4.0, 2.0, 1.0]
    errors = np.array([[1.6, 0.9, np.nan], [0.64, np.nan, np.nan], [np.nan] * 3])
    errors[:, 2] = [5.0, np.nan, np.nan]
    frequency, count, left = _quickest(frequencies, errors)
    assert count == 1
    assert frequency == pytest.approx(2.0 / 8.0)
    assert left == 0.01


def test_a_feedforward_network_has_nothing_to_plan() -> None:
    with pytest.raises(InputError, match=r"network\.family"):
        planned(IDEAL, ["network.family=feedforward", "network.feedback=none", "rule={name: backpropagation}"])


def test_a_proposal_stays_within_what_the_rule_takes() -> None:
    held = ["rule.name=coupled_learning", "nudge={amplitude: 0.5}"]
    clamped = plan_nudge(assemble(load_experiment("digits-resistive", held, tones=True)))
    free = plan_nudge(assemble(load_experiment("digits-resistive")))
    assert free.proposal.amplitude > clamped.proposal.amplitude == 1.0


def test_the_command_prints_what_can_be_pasted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["plan", "iris", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {"noise_volts", "time_constant_seconds", "decay", "proposal", "predicted_error"} <= set(data)
    assert {"amplitude", "frequency_hz", "harmonics", "periods"} <= set(data["proposal"])
    assert main(["plan", "iris"]) == 0
    *_, scope, section = capsys.readouterr().out.splitlines()
    assert "of the demodulation alone" in scope
    key, _, value = section.partition(": ")
    assert key == "nudge"
    assert load_experiment("iris", [f"nudge={value}"]).nudge.harmonics == data["proposal"]["harmonics"]
    path = tmp_path / "run.h5"
    assert main(["run", "iris", "--set", "training.epochs=1", "--output", str(path), "--quiet"]) == 0
    assert main(["plan", str(path)]) == 0
    assert main(["plan", "iris", "--set", "nudge.samples_per_period=5", "--set", "nudge.harmonics=1"]) == 2
