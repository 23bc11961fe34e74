"""Speed of the crossbar solver beside others' in the same run, one thread each.

``pytest tests/benchmarks --benchmark-enable`` measures and asserts the ratios; without it the same comparisons run
once on small arrays, for their results alone.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crossbar_peers import (
    array_of,
    badcrossbar_read,
    cholmod_read,
    newton_superlu_read,
    nodal_matrix,
    right_hand_sides,
    superlu,
    superlu_read,
)
from growth import measure
from threadpoolctl import threadpool_limits

from emulators.crossbar import Crossbar
from emulators.memristors.sinh import SinhCell

sys.path.insert(0, str(Path(__file__).parents[1] / "physics"))
from ngspice import crossbar_deck, run_deck, sinh_cell

Work = Callable[[], Any]

PEERS = {cholmod_read: "cvxopt", badcrossbar_read: "badcrossbar"}
"""Comparisons that need a package beyond those of the tests."""


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(benchmark: Any, ours: Work, other: Work, at_least: float, rounds: int = 3, share: float = 1.0) -> None:
    """Time both, in turns; ``share`` is what part of our work the other's one call amounts to. Assert the ratio."""
    if benchmark.disabled:
        benchmark(lambda: None)
        return
    with threadpool_limits(1):
        ours()
        mine: list[float] = []
        theirs: list[float] = []
        for _ in range(rounds):
            theirs.append(seconds(other))
            mine.extend(seconds(ours) for _ in range(5))
        benchmark.pedantic(ours, rounds=5)
    ratio = statistics.median(theirs) / statistics.median(mine) / share
    benchmark.extra_info["ratio"] = ratio
    benchmark.extra_info["other_milliseconds"] = 1e3 * statistics.median(theirs)
    print(
        f"\n{benchmark.name}: {1e3 * statistics.median(mine):.3g} ms, other {1e3 * statistics.median(theirs):.4g} ms "
        f"for {share:.3g} of it: {ratio:.3g} x (at least {at_least:.3g} x)"
    )
    assert ratio >= at_least


def size(benchmark: Any, full: int) -> int:
    return min(full, 12) if benchmark.disabled else full


def inputs(n: int, batch: int, volts: float = 0.2) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, volts, (batch, n))


def same(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-9) -> None:
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize(
    ("n", "batch", "other", "at_least"),
    [
        (128, 1, superlu_read, 100),
        (256, 1, superlu_read, 150),
        (256, 1, cholmod_read, 30),
        (256, 64, superlu_read, 8),
        (256, 64, badcrossbar_read, 12),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_operating_point(benchmark: Any, n: int, batch: int, other: Callable[..., np.ndarray], at_least: float) -> None:
    if other in PEERS:
        pytest.importorskip(PEERS[other], reason="needs the optional dependencies 'peers'")
    n = size(benchmark, n)
    g, volts = array_of(n), inputs(n, batch)
    same(Crossbar(g).read(volts), other(g, 1.0, volts))
    compare(benchmark, lambda: Crossbar(g).read(volts), lambda: other(g, 1.0, volts), at_least)


def test_effective_matrix(benchmark: Any) -> None:
    n = size(benchmark, 256)
    g, eye = array_of(n), np.eye(n)
    matrix = superlu(nodal_matrix(g, 1.0)).solve(right_hand_sides(g, 1.0, eye))[-n:].T
    same(Crossbar(g).effective_conductances(), matrix)
    compare(
        benchmark,
        lambda: Crossbar(g).effective_conductances(),
        lambda: superlu(nodal_matrix(g, 1.0)).solve(right_hand_sides(g, 1.0, eye)),
        8,
        rounds=2,
    )


@pytest.mark.parametrize(
    ("n", "accuracy", "at_least"), [(256, 1e-9, 1.5), (512, 1e-9, 1.5), (256, 1e-6, 3.0), (512, 1e-6, 3.0)]
)
def test_again_after_small_changes(benchmark: Any, n: int, accuracy: float, at_least: float) -> None:
    n = size(benchmark, n)
    g, volts = array_of(n), inputs(n, 16)
    moved = g * (1 + 1e-3 * np.random.default_rng(2).uniform(-1, 1, g.shape))
    first, again = Crossbar(g, tolerance=accuracy), Crossbar(moved, tolerance=accuracy)
    start = first.solve(volts)
    same(again.solve(volts, start=start).bitline_currents, Crossbar(moved, tolerance=1e-12).read(volts), accuracy)
    compare(benchmark, lambda: again.solve(volts, start=start), lambda: first.solve(volts), at_least, rounds=41)


def test_sinh_cells_beside_ngspice(benchmark: Any, tmp_path: Path) -> None:
    n = size(benchmark, 64)
    g, volts = array_of(n), inputs(n, 1, 0.5)[0]
    deck = crossbar_deck(
        g,
        wordline_resistance=1.0,
        bitline_resistance=1.0,
        row_ports=[(0.0, v) for v in volts],
        column_ports=[(0.0, 0.0)] * n,
        cell=sinh_cell,
    )
    array = Crossbar(g, cell=SinhCell(3.0))
    answer = run_deck(deck, tmp_path)
    same(array.read(volts), np.array([answer[f"i(vc{j})"] for j in range(n)]), 1e-6)
    compare(benchmark, lambda: array.read(volts), lambda: run_deck(deck, tmp_path), 3000, rounds=2)


def test_sinh_cells_beside_newton_over_superlu(benchmark: Any) -> None:
    n = size(benchmark, 256)
    g, volts = array_of(n), inputs(n, 64, 0.5)
    array = Crossbar(g, cell=SinhCell(3.0))
    same(array.read(volts[:1]), newton_superlu_read(g, 1.0, volts[:1], 3.0))
    compare(
        benchmark,
        lambda: array.read(volts),
        lambda: newton_superlu_read(g, 1.0, volts[:1], 3.0),
        100,
        rounds=1,
        share=1 / 64,
    )


def test_hard_wires_beside_the_easy_case(benchmark: Any) -> None:
    n = size(benchmark, 256)
    volts = inputs(n, 1)[0]
    easy, hard = array_of(n), array_of(n, high=1e-3)
    same(Crossbar(hard, 20.0, 20.0).read(volts), Crossbar(hard, 20.0, 20.0, tolerance=1e-13).read(volts))
    compare(
        benchmark, lambda: Crossbar(hard, 20.0, 20.0).read(volts), lambda: Crossbar(easy).read(volts), 1 / 8, rounds=20
    )


def test_cost_of_the_state_grows_mildly(benchmark: Any) -> None:
    """Seconds ~ n^p at one input and ~ batch^q at one size; p stays near 2 (the cells) and q near 1."""
    if benchmark.disabled:
        benchmark(lambda: None)
        return

    growth = measure()
    p, q = growth.size_exponent, growth.batch_exponent
    array = Crossbar(array_of(256))
    with threadpool_limits(1):
        benchmark.pedantic(lambda: array.read(inputs(256, 1)), rounds=5)
    benchmark.extra_info.update(size_exponent=p, batch_exponent=q)
    milliseconds = [f"{1e3 * t:.3g}" for t in growth.by_size + growth.by_batch]
    print(f"\n{benchmark.name}: n^{p:.2f}, batch^{q:.2f}; milliseconds {milliseconds}")
    assert p < 2.7
    assert q < 1.1


def test_small_effective_matrices_for_training(benchmark: Any) -> None:
    """The two arrays of a differential pair of 65 x 16, renewed at every training step: within 0.7 ms each."""
    pair = np.stack([array_of(65, seed)[:, :16] for seed in (0, 1)])
    array = Crossbar(pair[0])
    benchmark(array.effective_conductances_of, pair)
    if not benchmark.disabled:
        assert benchmark.stats.stats.median < 1.4e-3
