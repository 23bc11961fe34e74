"""Cosine to the exact gradient against the nudge's amplitude, to the loss of the branch: toy 6-4-4 networks.

Estimators refuse samples whose branch they find lost, each its own, and the easy ones stay. So cosines are means over
the samples that all of them kept, beside what each of them kept; and over all samples, refused ones too.
"""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import (
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
from substrate.rules.holomorphic import HolomorphicEP, HolomorphicSection
from substrate.rules.oscillating import OscillatingEP
from substrate.tones import SamplingPlan

NETWORK = Network((6, 4, 4), activation="logistic", feedback="shared")
SEEDS, BATCH = range(24), 8
BETAS = np.array([0.02, 0.035, 0.06, 0.1, 0.17, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.2, 6.0, 8.5, 12.0])
TOLD = (0.1, 0.5, 1.0, 3.0)
PUBLISHED = {"Cauchy N=1": "falls off early", "Cauchy N=30": "1 until the circle meets a pole"}


def rules(beta: float) -> dict[str, Rule]:
    cauchy = {f"Cauchy N={n}": HolomorphicEP(HolomorphicSection(points=n), beta) for n in (1, 30)}
    real = {
        f"sinusoid K={k}": OscillatingEP(SamplingPlan(1e3, k, 64, 1), Amplitude(beta, k, 1e6), "auto")
        for k in (1, 3, 5, 9)
    }
    return {**cauchy, **real}


def measured() -> tuple[np.ndarray, np.ndarray]:
    """Cosines, and which samples were kept, each (estimator, amplitude, sample)."""
    shape = len(rules(1.0)), len(BETAS), len(SEEDS) * BATCH
    cosines, kept = np.empty(shape), np.empty(shape, dtype=np.bool_)
    for seed in SEEDS:
        weights = random_weights(NETWORK, seed, scale=1.5, input_scale=1.0)
        batch = random_batch(NETWORK, BATCH, 100 + seed)
        samples = slice(seed * BATCH, (seed + 1) * BATCH)
        for place, beta in enumerate(BETAS):
            for row, rule in enumerate(rules(float(beta)).values()):
                with bench(NETWORK, rule, weights, targets=(0.0, 1.0)) as controller:
                    phase, estimate = controller.measure(*batch)
                    wanted = exact_samples(controller, phase)
                cosines[row, place, samples] = sample_cosines(NETWORK, estimate, wanted)
                kept[row, place, samples] = estimate.keep
    return cosines, kept


def main() -> None:
    with reproduction(
        "cosine_against_amplitude",
        "Cosine to the gradient against the amplitude",
        f"arXiv 2209.00530, figure 2; the sinusoid is this project's. {len(SEEDS)} networks 6-4-4, {BATCH} samples "
        "each; the sinusoid refuses samples whose harmonics do not decay, the Cauchy estimate has no such check",
        "python experiments/reproductions/cosine_against_amplitude.py",
    ) as result:
        cosines, kept = measured()
        means, count = on_common_samples(cosines, kept)
        shares, whole = kept.mean(axis=2), cosines.mean(axis=2)
        at = [int(np.flatnonzero(beta == BETAS)[0]) for beta in TOLD]
        result.found(
            f"samples of {kept.shape[2]} that all estimators kept, at amplitudes .1, .5, 1, 3",
            "-",
            ", ".join(str(count[place]) for place in at),
        )
        for row, name in enumerate(rules(1.0)):
            result.found(
                f"{name}: cosine on the samples that all kept (kept by this one) at amplitudes .1, .5, 1, 3",
                PUBLISHED.get(name, "-"),
                ", ".join(f"{in_words(means[row, place], 4)} ({100 * shares[row, place]:.0f} %)" for place in at),
            )
        for row, name in enumerate(rules(1.0)):
            result.found(
                f"{name}: cosine on all samples, refused ones too, at amplitudes .1, .5, 1, 3",
                "-",
                ", ".join(f"{whole[row, place]:.4f}" for place in at),
            )
        figure, (upper, middle, lower) = plt.subplots(3, 1, figsize=(7, 9), sharex=True, constrained_layout=True)
        for row, name in enumerate(rules(1.0)):
            style = "o--" if name.startswith("sinusoid") else "s-"
            for axes, curve in ((upper, means), (middle, shares), (lower, whole)):
                axes.semilogx(BETAS, curve[row], style, label=name, markersize=4)
        upper.set(ylabel="cosine, samples that all kept", title="cosine to the exact gradient, 6-4-4")
        upper.legend(fontsize=8)
        middle.set(ylabel="share of samples kept")
        lower.set(xlabel="nudge amplitude", ylabel="cosine, all samples, refused too")
        for axes in (upper, middle, lower):
            axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
