"""How the errors of the estimators grow with the nudge: slopes, the ratio of 3/4, and what more harmonics do."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import bench, exact, random_batch, random_weights, relative_error, slope
from reproduction import reproduction

from substrate.amplitude import Amplitude
from substrate.network import Network
from substrate.rules.base import Rule
from substrate.rules.holomorphic import HolomorphicEP, HolomorphicSection
from substrate.rules.oscillating import OscillatingEP
from substrate.tones import SamplingPlan

NETWORK = Network((6, 4, 4), feedback="shared")
SEEDS = range(20)
BETAS = np.geomspace(0.03, 0.3, 7)


def rules(beta: float) -> dict[str, Rule]:
    cauchy = {f"Cauchy N={n}": HolomorphicEP(HolomorphicSection(points=n), beta) for n in (1, 2, 4, 6)}
    real = {
        f"sinusoid K={k}": OscillatingEP(SamplingPlan(1e3, k, 32, 1), Amplitude(beta, k, 1e6), "auto")
        for k in (1, 3, 5, 7, 9)
    }
    return {**cauchy, **real}


def errors(betas: np.ndarray) -> dict[str, np.ndarray]:
    """Median relative error over the networks, (beta,) for every estimator."""
    found: dict[str, list[list[float]]] = {name: [[] for _ in betas] for name in rules(1.0)}
    for seed in SEEDS:
        weights = random_weights(NETWORK, seed)
        batch = random_batch(NETWORK, 8, 100 + seed)
        for place, beta in enumerate(betas):
            for name, rule in rules(float(beta)).items():
                with bench(NETWORK, rule, weights) as controller:
                    phase, estimate = controller.measure(*batch)
                    found[name][place].append(relative_error(estimate.directions, exact(controller, phase)))
    return {name: np.array([np.median(one) for one in rows]) for name, rows in found.items()}


def main() -> None:
    with reproduction(
        "error_order",
        "Order of the error in the nudge",
        "arXiv 2209.00530, theorem 1 and figure 2 (Cauchy); the sinusoid's orders are this project's derivation",
        "python experiments/reproductions/error_order.py",
    ) as result:
        found = errors(BETAS)
        # The slope is taken where the error is well above the residual of the solver.
        for name, order in (("N=1", 1), ("N=2", 2), ("N=4", 4), ("N=6", 6)):
            curve = found[f"Cauchy {name}"]
            clear = curve > 1e-9
            result.found(f"slope, Cauchy {name}", str(order), f"{slope(BETAS[clear][:4], curve[clear][:4]):.2f}")
        small = slice(0, 4)
        for name, order in (("K=1", 2), ("K=3", 4), ("K=5", 6)):
            curve = found[f"sinusoid {name}"]
            clear = curve > 1e-9
            result.found(f"slope, sinusoid {name}", str(order), f"{slope(BETAS[clear][:4], curve[clear][:4]):.2f}")
        ratio = np.median((found["sinusoid K=1"] / found["Cauchy N=2"])[small])
        result.found("error of A1 over that of +-beta", "0.75", f"{ratio:.3f}")
        at = int(np.argmin(np.abs(BETAS - 0.3)))
        series = ", ".join(f"{found[f'sinusoid K={k}'][at]:.1e}" for k in (1, 3, 5, 7, 9))
        result.found("error at beta 0.3 with K = 1, 3, 5, 7, 9", "falls geometrically", series)
        figure, axes = plt.subplots(figsize=(7, 5), constrained_layout=True)
        for name, curve in found.items():
            axes.loglog(BETAS, curve, "o--" if name.startswith("sinusoid") else "s-", label=name, markersize=4)
        axes.set(xlabel="nudge amplitude", ylabel="median relative error of the gradient, 20 networks (6-4-4)")
        axes.legend(fontsize=8, ncol=2)
        axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
