"""Training 784-256-256-10 through the public controller, log and writes on, beside loops written down in NumPy.

``pytest tests/benchmarks/test_rule_speed.py --benchmark-enable -s`` measures and asserts; without it one step of each
is taken. Seconds are of the processor, and what is compared runs in turns.
"""

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rule_bench import BETA, SWEPT, BareLoop, Training, cpu_seconds, in_turns, training
from threadpoolctl import threadpool_limits

from substrate.conjugates import exact_mean

EP = (f"substrate.solver={SWEPT}", "rule={name: ep, variant: symmetric}", f"nudge.amplitude={BETA}")
OSCILLATING = (
    "substrate.solver={relaxation: sweeps, precision: float32, sweeps: {free: 50, nudged: 30}}",
    "nudge={amplitude: 0.1, harmonics: 3, samples_per_period: 8, periods: 1}",
)
FROZEN = "training.frozen=[input-hidden1, hidden1-hidden2, hidden2-output]"
NOT_IDEAL = (
    "substrate.wires={segment_ohms: 1.0, source_ohms: 10.0, sense_ohms: 10.0}",
    # What spreads on frozen cells. Stuck ones are weights of one beside others of .03: the sweeps would not settle.
    "substrate.neurons={gain_spread: 0.05, offset_spread: 0.02}",
    "substrate.converters={dac_bits: 8, dac_range_volts: 0.5, adc_bits: 10, adc_noise_volts: 1.0e-4}",
)
EPOCH_SAMPLES, EPOCH_SECONDS = 60_000, 90.0


def gradient_cosine(one: Training) -> float:
    """Of what the rule measures on the next batch with the exact gradient of the same network in double precision."""
    controller = one.controller
    inputs, labels = one.batch()
    phase, estimate = controller.measure(inputs, labels)
    adjoint, share = controller.exact_adjoint(phase.error), np.full(len(labels), 1.0 / len(labels))
    dot = own = other = 0.0
    for coupling in controller.network.settling:
        exact = exact_mean(controller.network, phase.inputs, phase.activity, adjoint, share, coupling)
        found = estimate.directions[coupling.name].astype(np.float64)
        dot, own, other = dot + np.vdot(exact, found), own + np.vdot(found, found), other + np.vdot(exact, exact)
    return float(dot / np.sqrt(own * other))


def test_centred_ep_beside_the_bare_loop(benchmark: Any, tmp_path: Path) -> None:
    with threadpool_limits(1), training(tmp_path, *EP) as ours:
        forward = ours.controller.network.forward
        weights = [ours.controller.writer.weights(coupling) for coupling in forward]
        data = ours.assembly.dataset
        bare = BareLoop(weights, data.train_inputs, data.train_labels)
        for _ in range(3):
            ours.step()
            bare.step()
        for place, coupling in enumerate(forward):
            changed = ours.controller.writer.weights(coupling)[:-1] - weights[place][:-1]
            expected = bare.weights[place] - weights[place][:-1]
            assert np.linalg.norm(changed - expected) < 1e-4 * np.linalg.norm(expected)
        if benchmark.disabled:
            benchmark(lambda: None)
            return
        mine, theirs = in_turns(ours.step, bare.step)
        benchmark.pedantic(ours.step, rounds=5)
    ratio = theirs / mine
    benchmark.extra_info["ratio"] = ratio
    print(f"\ncentred EP: {64 / mine:.0f} samples/s, bare loop {64 / theirs:.0f}: {ratio:.2f} of it (at least .9)")
    assert ratio >= 0.9


def test_an_epoch_of_oscillating_ep(benchmark: Any, tmp_path: Path) -> None:
    with threadpool_limits(1), training(tmp_path, *OSCILLATING) as one:
        assert gradient_cosine(one) > 0.9999
        for _ in range(1 if benchmark.disabled else 100):
            one.step()
        cosine = gradient_cosine(one)
        assert cosine > 0.9999
        if benchmark.disabled:
            benchmark(lambda: None)
            return
        seconds = statistics.median(cpu_seconds(one.step, 3) for _ in range(9))
        benchmark.pedantic(one.step, rounds=5)
    epoch = seconds * EPOCH_SAMPLES / 64
    benchmark.extra_info["epoch_seconds"] = epoch
    print(f"\noscillating EP: an epoch of 60,000 samples in {epoch:.0f} s of one thread (at most 90), {1 - cosine:.1g}")
    assert epoch <= EPOCH_SECONDS


@pytest.mark.timeout(1200)
def test_crossbars_that_are_not_ideal_beside_ideal_ones(benchmark: Any, tmp_path: Path) -> None:
    if benchmark.disabled:
        # Their wires take half a minute to be solved for.
        benchmark(lambda: None)
        return
    for name, rule in (("centred EP", EP), ("oscillating EP", OSCILLATING)):
        (tmp_path / name).mkdir()
        with (
            threadpool_limits(1),
            training(tmp_path / name, FROZEN, *rule) as ideal,
            training(tmp_path / name, FROZEN, *NOT_IDEAL, *rule) as real,
        ):
            ideal.step()
            real.step()
            own, other = in_turns(real.step, ideal.step, times=3)
            print(f"\n{name} on frozen cells: {64 / own:.0f} samples/s, ideal {64 / other:.0f}: {own / other:.2f} x")
            benchmark.extra_info[name] = own / other
            assert own / other <= 2.0
    benchmark(lambda: None)
