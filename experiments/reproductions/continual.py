"""Continual EP on the toy network of its paper: updates of EP and of backpropagation through time, and the angle."""

import itertools

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import bench, cosine, degrees, random_batch, random_weights, relative_error
from reproduction import reproduction

from substrate.arrays import FloatArray
from substrate.conjugates import exact_mean
from substrate.network import Network
from substrate.outer_products import dense
from substrate.rules.continual import ContinualEP, ContinualSection

NETWORK = Network((10, 50, 5), feedback="separate")
STEPS = 40
BATCH = 20
SCALES = (0.3, 0.9)
"""Largest singular values of the weights: the nearer to 1, the more does a change of them move the network."""


def rule(beta: float) -> ContinualEP:
    return ContinualEP(ContinualSection(count=STEPS), beta, None, np.random.default_rng(0))


def increments(beta: float) -> tuple[list[dict[str, FloatArray]], list[dict[str, FloatArray]]]:
    """Of every step, by EP with weights that stand still, and by backpropagation through time."""
    heard: list[dict[str, FloatArray]] = []
    with bench(NETWORK, rule(beta), random_weights(NETWORK, 0, scale=0.9)) as controller:
        phase, _ = controller.measure(*random_batch(NETWORK, BATCH, 1))
        substrate = controller._substrate
        substrate.settle()
        oracle = substrate.oracle
        assert oracle is not None
        values = np.zeros((BATCH, NETWORK.node_count))
        values[:, NETWORK.output.nodes] = phase.error
        path = [np.zeros_like(values)]
        path += [oracle.adjoint(values, steps=k) * substrate.scale.unit_siemens for k in range(1, STEPS + 1)]
        rule(beta).measure(
            substrate, phase, lambda found: heard.append({name: dense(one) for name, one in found.items()})
        )
    share = np.full(BATCH, 1.0 / BATCH)
    through_time = [
        {c.name: exact_mean(NETWORK, phase.inputs, phase.activity, after - before, share, c) for c in NETWORK.settling}
        for before, after in itertools.pairwise(path)
    ]
    return heard, through_time


def summed(rows: list[dict[str, FloatArray]]) -> dict[str, FloatArray]:
    return {name: np.concatenate([row[name][None] for row in rows]) for name in rows[0]}


def angle(rate: float, scale: float, beta: float = 0.01) -> float:
    """Degrees between what C-EP wrote and the gradient by backpropagation through as many steps."""
    batch = random_batch(NETWORK, BATCH, 1)
    with bench(NETWORK, rule(beta), random_weights(NETWORK, 0, scale=scale)) as controller:
        phase = controller.free_phase(*batch)
        oracle = controller._substrate.oracle
        assert oracle is not None
        values = np.zeros((BATCH, NETWORK.node_count))
        values[:, NETWORK.output.nodes] = phase.error
        adjoint = oracle.adjoint(values, steps=STEPS) * controller._substrate.scale.unit_siemens
        share = np.full(BATCH, 1.0 / BATCH)
        gradient = {
            c.name: exact_mean(NETWORK, phase.inputs, phase.activity, adjoint, share, c) for c in NETWORK.settling
        }
        before = {c.name: np.array(controller.writer.weights(c)) for c in NETWORK.arrays}
        controller.step(*batch, rate=rate)
        moved = {c.name: controller.writer.weights(c) - before[c.name] for c in NETWORK.arrays}
    return degrees(cosine(moved, gradient))


def main() -> None:
    with reproduction(
        "continual",
        "Continual EP: gradient-descending updates, and the angle against the learning rate",
        "arXiv 2005.04168, figures 2 and 3 (10-50-5; theirs is the discrete map of activities, ours of summed inputs)",
        "python experiments/reproductions/continual.py",
    ) as result:
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
        for beta, published in ((0.1, "7e-2"), (0.01, "7e-3"), (0.001, "7e-4")):
            heard, through_time = increments(beta)
            error = relative_error(summed(heard), summed(through_time))
            result.found(f"relative error of EP's updates to BPTT's, beta {beta}", published, f"{error:.1e}")
            if beta == 0.01:
                rng = np.random.default_rng(2)
                for name in ("input-hidden1", "hidden1-output"):
                    size = heard[0][name].size
                    for place in rng.integers(0, size, 3):
                        ours = np.cumsum([one[name].ravel()[place] for one in heard])
                        theirs = np.cumsum([one[name].ravel()[place] for one in through_time])
                        line = left.plot(range(1, STEPS + 1), theirs, lw=3, alpha=0.4)[0]
                        left.plot(range(1, STEPS + 1), ours, "--", color=line.get_color())
        left.set(xlabel="step", ylabel="update of a weight so far", title="EP (dashed) on BPTT (wide), beta 0.01")
        rates = np.array([2e-6, 2e-5, 2e-4, 2e-3, 2e-2])
        angles = {scale: [angle(rate, scale) for rate in rates] for scale in SCALES}
        for rate, published in ((2e-5, ".31"), (2e-4, "1.7"), (2e-3, "18")):
            place = int(np.argmin(np.abs(rates - rate)))
            found = ", ".join(f"{row[place]:.2f} (singular value {scale:g})" for scale, row in angles.items())
            result.found(f"angle of C-EP's update to the gradient, rate {rate:g}, degrees", published, found)
        for scale, row in angles.items():
            right.loglog(rates, row, "o-", label=f"here, largest singular value {scale:g}")
        right.loglog([2e-5, 2e-4, 2e-3], [0.31, 1.7, 18.0], "s--", label="published")
        right.set(xlabel="learning rate", ylabel="angle, degrees", title="C-EP, beta 0.01")
        right.legend()
        for axes in (left, right):
            axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
