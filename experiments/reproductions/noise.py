"""Noise on the summed inputs: an amplitude in between is best. What it does to training: noise_mnist.py."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import (
    IDEAL,
    bench,
    exact_samples,
    in_words,
    on_common_samples,
    random_batch,
    random_weights,
    sample_cosines,
)
from reproduction import reproduction

from substrate.amplitude import Amplitude
from substrate.network import Network
from substrate.rules.base import Rule
from substrate.rules.equilibrium_propagation import EquilibriumPropagation, EquilibriumPropagationSection
from substrate.rules.holomorphic import HolomorphicEP, HolomorphicSection
from substrate.rules.oscillating import OscillatingEP
from substrate.tones import SamplingPlan

NETWORK = Network((6, 4, 4), activation="logistic", feedback="shared")
BETAS = np.geomspace(0.01, 3.0, 12)
SEEDS, BATCH = range(10), 8
SWEEPS = {"relaxation": "sweeps", "sweeps": {"free": 60, "nudged": 60}}
NOISY = {**IDEAL, "solver": SWEEPS, "neurons": {"noise": 0.01}}


def rules(beta: float) -> dict[str, Rule]:
    one_sided = EquilibriumPropagationSection(variant="one_sided")
    return {
        "one-sided EP": EquilibriumPropagation(one_sided, beta, np.random.default_rng(0)),
        "Cauchy N=10": HolomorphicEP(HolomorphicSection(points=10), beta),
        "sinusoid K=1": OscillatingEP(SamplingPlan(1e3, 1, 12, 2), Amplitude(beta, 1, 1e6), "auto"),
        "sinusoid K=3": OscillatingEP(SamplingPlan(1e3, 3, 12, 2), Amplitude(beta, 3, 1e6), "auto"),
    }


def measured() -> tuple[np.ndarray, np.ndarray]:
    """Cosines of single samples' noisy gradients to the exact ones without noise, and which samples were kept."""
    shape = len(rules(1.0)), len(BETAS), len(SEEDS) * BATCH
    cosines, kept = np.empty(shape), np.empty(shape, dtype=np.bool_)
    for seed in SEEDS:
        weights, batch = random_weights(NETWORK, seed, scale=1.0), random_batch(NETWORK, BATCH, 100 + seed)
        samples = slice(seed * BATCH, (seed + 1) * BATCH)
        with bench(NETWORK, next(iter(rules(0.1).values())), weights, targets=(0.0, 1.0)) as controller:
            phase, _ = controller.measure(*batch)
            wanted = exact_samples(controller, phase)
        for place, beta in enumerate(BETAS):
            for row, rule in enumerate(rules(float(beta)).values()):
                with bench(NETWORK, rule, weights, NOISY, (0.0, 1.0)) as controller:
                    _, estimate = controller.measure(*batch)
                cosines[row, place, samples] = sample_cosines(NETWORK, estimate, wanted)
                kept[row, place, samples] = estimate.keep
    return cosines, kept


def main() -> None:
    with reproduction(
        "noise",
        "Noise on the summed inputs",
        f"arXiv 2209.00530, figure 3 (noise .01); {len(SEEDS)} networks 6-4-4, {BATCH} samples each",
        "python experiments/reproductions/noise.py",
    ) as result:
        cosines, kept = measured()
        means, _ = on_common_samples(cosines, kept)
        shares, whole = kept.mean(axis=2), cosines.mean(axis=2)
        ends = f"(at {BETAS[0]:.2g} and {BETAS[-1]:.2g})"
        for row, name in enumerate(rules(1.0)):
            best = int(np.nanargmax(means[row]))
            first, last = (in_words(means[row, place], 3) for place in (0, -1))
            result.found(
                f"{name}, noise .01, samples that all kept: best amplitude, cosine there {ends}, share it kept {ends}",
                "an optimum in between",
                f"{BETAS[best]:.2g}, {means[row, best]:.3f} ({first}, {last}), "
                f"{100 * shares[row, best]:.0f} % ({100 * shares[row, 0]:.0f} %, {100 * shares[row, -1]:.0f} %)",
            )
        for row, name in enumerate(rules(1.0)):
            best = int(np.argmax(whole[row]))
            result.found(
                f"{name}, noise .01, all samples, refused ones too: best amplitude, cosine there {ends}",
                "an optimum in between",
                f"{BETAS[best]:.2g}, {whole[row, best]:.3f} ({whole[row, 0]:.3f}, {whole[row, -1]:.3f})",
            )
        figure, (upper, middle, lower) = plt.subplots(3, 1, figsize=(6.5, 9), sharex=True, constrained_layout=True)
        for row, name in enumerate(rules(1.0)):
            for axes, curve in ((upper, means), (middle, shares), (lower, whole)):
                axes.semilogx(BETAS, curve[row], "o-", label=name, markersize=4)
        upper.set(
            ylabel="cosine, samples that all kept", title="cosine to the gradient, 6-4-4, noise .01 at every step"
        )
        upper.legend(fontsize=8, loc="lower right")
        middle.set(ylabel="share of samples kept")
        lower.set(xlabel="nudge amplitude", ylabel="cosine, all samples, refused too")
        for axes in (upper, middle, lower):
            axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
