"""Periodic steady states beside ngspice's transient of the same circuit, one thread each, in the same run.

``pytest tests/benchmarks/test_periodic_speed.py --benchmark-enable -s`` measures and asserts the ratio; without it the
same comparison runs once on a small network, for its results alone.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from emulators.config import WiresConfig
from emulators.networks.equilibrium import Tolerance, settle
from emulators.networks.periodic import PeriodicResponse, nudged_period
from emulators.spice import Stimulus, deck
from substrate.demodulation import harmonics
from substrate.network import Network
from substrate.tones import SamplingPlan

sys.path.insert(0, str(Path(__file__).parents[1] / "physics"))
from ngspice_network import TAU, equations, one_period, output_harmonics, random_netlist, run_network

OMEGA_TAU = 0.3
ACCURACY = 1e-4
"""Of harmonics 0..3, relative to the largest of 1..3; both sides' is asserted."""

LOOSE = "reltol=1e-4 abstol=1e-13 vntol=1e-9"
SETTLING, STEPS = 3, 200
"""Periods before the one that counts and steps of a period, with which ngspice comes about as close as ours."""


def test_periodic_states_beside_ngspice(benchmark: Any, tmp_path: Path) -> None:
    sizes, batch = ((3, 3, 2), 4) if benchmark.disabled else ((16, 8, 4), 64)
    wires = WiresConfig(segment_ohms=1.0, source_ohms=20.0, sense_ohms=10.0)
    netlist = random_netlist(Network(sizes), 1, wires, scale=1.0)
    rng = np.random.default_rng(2)
    volts = rng.uniform(-0.2, 0.2, (batch, sizes[0]))
    nudge = np.zeros((batch, netlist.network.node_count))
    nudge[:, netlist.network.output.nodes] = rng.uniform(-0.5, 0.5, (batch, sizes[-1]))
    plan = SamplingPlan(OMEGA_TAU / (2 * np.pi * TAU), 3, 16, 1)
    # The drive is affine in the inputs.
    network, bias = equations(netlist, np.zeros(sizes[0]))
    drive = bias + volts @ np.concatenate([equations(netlist, one)[1] - bias for one in np.eye(sizes[0])])
    stimulus = Stimulus(volts[0], nudge[0] * netlist.scale.unit_amperes, plan.frequency_hz)
    text = deck(netlist, stimulus, [one_period(plan.frequency_hz, SETTLING, STEPS)], options=LOOSE)

    def ours(residual: float) -> PeriodicResponse:
        tolerance = Tolerance(residual)
        free = settle(network, np.zeros_like(drive), drive, tolerance)
        return nudged_period(network, netlist.constants, free.u, drive, nudge, plan, tolerance)

    def of_first(response: PeriodicResponse) -> np.ndarray:
        assert response.unbroken.all()
        return np.array(harmonics(response.s[0].T, plan.samples_per_period, 3))

    with threadpool_limits(1):
        theirs: list[float] = []
        for _ in range(1 if benchmark.disabled else 5):
            start = time.perf_counter()
            answer = run_network(text, tmp_path)
            theirs.append(time.perf_counter() - start)
        exact = of_first(ours(1e-11))
        largest = np.abs(exact[:, :, 1:]).max()
        scale = netlist.scale.volts_per_unit
        found = np.array(output_harmonics(netlist.network, answer, plan.frequency_hz, scale, SETTLING))
        off = np.abs(found - exact).max() / largest, np.abs(of_first(ours(ACCURACY)) - exact).max() / largest
        assert off[1] < off[0] < ACCURACY
        if benchmark.disabled:
            benchmark(lambda: None)
            return
        for residual, at_least in ((1e-10, 0.0), (ACCURACY, 1000.0)):
            mine = []
            for _ in range(15):
                start = time.perf_counter()
                ours(residual)
                mine.append(time.perf_counter() - start)
            ratio = statistics.median(theirs) / statistics.median(mine) * batch
            print(
                f"\n16-8-4 with wires: {1e3 * statistics.median(mine):.3g} ms for {batch} inputs to {residual:g}; "
                f"ngspice {statistics.median(theirs):.3g} s for one to {off[0]:.1g} (ours {off[1]:.1g}): {ratio:.4g} x"
            )
            assert ratio >= at_least
        benchmark.extra_info["ratio"] = ratio
        benchmark.pedantic(lambda: ours(ACCURACY), rounds=5)
