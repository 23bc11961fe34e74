"""Training the default digits chip, its wires solved anew at every write, beside the same with ideal wires.

``pytest tests/benchmarks/test_training_speed.py --benchmark-enable -s`` measures and asserts the ratio; without it
one step of each is taken.
"""

import statistics
import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from substrate.controller import Controller
from substrate.experiment.assembly import Assembly, assemble
from substrate.experiment.config import load_experiment

AT_MOST = 3.0
STEPS, ROUNDS = 10, 7


def prepared(*overrides: str) -> tuple[Assembly, Controller]:
    assembly = assemble(load_experiment("digits", overrides))
    assembly.substrate.__enter__()
    controller = assembly.controller()
    controller.program(assembly.initial_weights())
    return assembly, controller


def seconds(assembly: Assembly, controller: Controller, start: int, steps: int) -> float:
    """Of training steps, from the free phase to the write, on consecutive batches."""
    experiment, data = assembly.experiment, assembly.dataset
    size = experiment.training.batch_size
    rows = (np.arange(start * size, (start + steps) * size) % len(data.train_labels)).reshape(steps, size)
    begin = time.perf_counter()
    for batch in rows:
        inputs = data.train_inputs[batch].astype(np.float64)
        controller.step(inputs, data.train_labels[batch], experiment.training.learning_rate)
    return time.perf_counter() - begin


def test_training_with_wires_beside_ideal_wires(benchmark: Any) -> None:
    chip = prepared()
    assert chip[0].experiment.substrate["wires"]["refresh"] == "every_write"
    assert chip[0].experiment.substrate["wires"]["segment_ohms"] > 0
    ideal = prepared("substrate.wires.segment_ohms=0")
    try:
        with threadpool_limits(1):
            for one in (chip, ideal):
                seconds(*one, start=0, steps=1)
            if benchmark.disabled:
                benchmark(lambda: None)
                return
            with_wires, without = [], []
            for turn in range(ROUNDS):
                with_wires.append(seconds(*chip, start=turn * STEPS, steps=STEPS))
                without.append(seconds(*ideal, start=turn * STEPS, steps=STEPS))
            benchmark.pedantic(lambda: seconds(*chip, start=0, steps=1), rounds=5)
    finally:
        for assembly, _ in (chip, ideal):
            assembly.substrate.__exit__(None, None, None)
    ratio = statistics.median(with_wires) / statistics.median(without)
    benchmark.extra_info["ratio"] = ratio
    print(
        f"\ntraining digits: {1e3 * statistics.median(with_wires) / STEPS:.3g} ms a step with wires, "
        f"{1e3 * statistics.median(without) / STEPS:.3g} ms without: {ratio:.3g} x (at most {AT_MOST:g} x)"
    )
    assert ratio <= AT_MOST
