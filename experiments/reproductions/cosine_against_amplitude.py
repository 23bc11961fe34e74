"""Cosine to the exact gradient against the nudge's amplitude, to the loss of the branch: toy 6-4-4 networks."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import bench, cosine, exact, random_batch, random_weights
from reproduction import reproduction

from substrate.amplitude import Amplitude
from substrate.network import Network
from substrate.rules.base import Rule
from substrate.rules.holomorphic import HolomorphicEP, HolomorphicSection
from substrate.rules.oscillating import OscillatingEP
from substrate.tones import SamplingPlan

NETWORK = Network((6, 4, 4), activation="logistic", feedback="shared")
SEEDS = range(12)
BETAS = np.geomspace(0.02, 12.0, 20)


def rules(beta: float) -> dict[str, Rule]:
    cauchy = {f"Cauchy N={n}": HolomorphicEP(HolomorphicSection(points=n), beta) for n in (1, 30)}
    real = {
        f"sinusoid K={k}": OscillatingEP(SamplingPlan(1e3, k, 64, 1), Amplitude(beta, k, 1e6), "auto")
        for k in (1, 3, 5, 9)
    }
    return {**cauchy, **real}


def main() -> None:
    with reproduction(
        "cosine_against_amplitude",
        "Cosine to the gradient against the amplitude",
        "arXiv 2209.00530, figure 2; the sinusoid is this project's",
        "python experiments/reproductions/cosine_against_amplitude.py",
    ) as result:
        cosines: dict[str, list[list[float]]] = {name: [[] for _ in BETAS] for name in rules(1.0)}
        lost: dict[str, list[list[float]]] = {name: [[] for _ in BETAS] for name in rules(1.0)}
        for seed in SEEDS:
            weights = random_weights(NETWORK, seed, scale=1.5, input_scale=1.0)
            batch = random_batch(NETWORK, 1, 100 + seed)
            for place, beta in enumerate(BETAS):
                for name, rule in rules(float(beta)).items():
                    with bench(NETWORK, rule, weights, targets=(0.0, 1.0)) as controller:
                        phase, estimate = controller.measure(*batch)
                        # A sample that lost its branch has no estimate; it counts, and leaves the mean.
                        lost[name][place].append(float(estimate.excluded.total))
                        if not estimate.excluded.total:
                            cosines[name][place].append(cosine(estimate.directions, exact(controller, phase)))
        figure, (upper, lower) = plt.subplots(2, 1, figsize=(7, 6), sharex=True, constrained_layout=True)
        for name, rows in cosines.items():
            means = np.array([np.mean(one) if one else np.nan for one in rows])
            gone = np.array([np.mean(one) for one in lost[name]])
            upper.semilogx(BETAS, means, "o--" if name.startswith("sinusoid") else "s-", label=name, markersize=4)
            lower.semilogx(BETAS, gone, "o--" if name.startswith("sinusoid") else "s-", markersize=4)
            told = []
            for wanted in (0.1, 0.5, 1.0, 3.0):
                at = int(np.argmin(np.abs(np.log(BETAS / wanted))))
                told.append(f"{means[at]:.4f} ({100 * gone[at]:.0f} %)")
            published = {"Cauchy N=1": "falls off early", "Cauchy N=30": "1 until the circle meets a pole"}
            result.found(
                f"{name}: cosine (samples refused) at amplitudes .1, .5, 1, 3",
                published.get(name, "-"),
                ", ".join(told),
            )
        upper.set(ylabel="cosine to the exact gradient")
        upper.legend(fontsize=8)
        lower.set(xlabel="nudge amplitude", ylabel="samples without an estimate")
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
