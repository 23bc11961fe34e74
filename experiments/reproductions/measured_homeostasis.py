"""Asymmetry from measurements alone: cosine of W - W^T to the exact one against noise, and of the local first order."""

from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from laboratory import bench
from reproduction import reproduction

from substrate.amplitude import Amplitude
from substrate.arrays import FloatArray
from substrate.experiment.assembly import initial_weights
from substrate.network import Network
from substrate.rules.asymmetry import asymmetry_from_susceptibility, first_order_asymmetry
from substrate.rules.oscillating import OscillatingEP
from substrate.rules.perturbation import Perturbed, Tones, perturb
from substrate.tones import SamplingPlan

SEEDS = range(5)
NOISES = np.geomspace(1e-4, 1.0, 9)
GAINS = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TONES = Tones(0.002, SamplingPlan(1e3, 1, 4, 1))
WEAK, STRONG = (8, 64, 10), (8, 64, 64, 64, 10)


@dataclass(frozen=True)
class Case:
    """A network with unrelated feedback at a loop gain, the largest real part of the eigenvalues of D W."""

    network: Network
    found: Perturbed
    exact: FloatArray

    @property
    def condition(self) -> float:
        return float(np.linalg.cond(self.found.susceptibility[0]))


def case(sizes: tuple[int, ...], gain: float, seed: int) -> Case:
    """Neurons at rest, where all slopes are 1: biases and the held inputs are zero."""
    network = Network(sizes)
    rng = np.random.default_rng(seed)
    weights = initial_weights(network, 1.0, 1.0, np.pi / 2, rng)
    whole = np.zeros((network.node_count, network.node_count))
    free = [coupling for coupling in network.arrays if coupling.source.start >= 0]
    for coupling in free:
        whole[coupling.target.nodes, coupling.source.nodes] = weights[coupling.name][: coupling.source_lines].T
    share = gain / np.linalg.eigvals(whole).real.max()
    for coupling in free:
        weights[coupling.name] *= share
    rule = OscillatingEP(SamplingPlan(1e3, 1, 4, 1), Amplitude(0.1, 1, 1e6), "auto")
    with bench(network, rule, weights) as controller:
        found = perturb(controller._substrate, np.zeros((1, network.input_size)), TONES)
    return Case(network, found, share * (whole - whole.T))


def with_noise(found: Perturbed, deviation: float, samples: int, rng: np.random.Generator) -> Perturbed:
    """White noise on the entries of chi, in each of so many samples."""
    power = float(np.sum(found.patterns[:, 0] ** 2))
    errors = deviation * rng.standard_normal((samples, *2 * found.responses.shape[2:]))
    responses = found.responses + found.patterns @ errors.swapaxes(1, 2)
    return Perturbed(found.patterns, responses, deviation**2 * power, deviation**2, np.ones(samples, dtype=np.bool_))


def cosine(found: FloatArray | None, exact: FloatArray) -> float:
    assert found is not None
    return float(np.sum(found * exact) / (np.linalg.norm(found) * np.linalg.norm(exact)))


def against_noise(one: Case, seed: int) -> list[tuple[float, float]]:
    """(measured, local) cosines at every noise."""
    rows, size = [], float(np.sqrt(np.mean(one.found.susceptibility**2)))
    for noise in NOISES:
        noisy = with_noise(one.found, float(noise) * size, 1, np.random.default_rng(100 + seed))
        estimates = (asymmetry_from_susceptibility(one.network, noisy), first_order_asymmetry(one.network, noisy))
        rows.append((cosine(estimates[0], one.exact), cosine(estimates[1], one.exact)))
    return rows


def of_the_largest(one: Case, seed: int, samples: int) -> float:
    """The measured cosine at white noise of 1 % of the largest entry of chi."""
    deviation = 0.01 * float(np.abs(one.found.susceptibility).max())
    noisy = with_noise(one.found, deviation, samples, np.random.default_rng(100 + seed))
    return cosine(asymmetry_from_susceptibility(one.network, noisy), one.exact)


def name(sizes: tuple[int, ...]) -> str:
    return "-".join(str(size) for size in sizes[1:])


def main() -> None:
    with reproduction(
        "measured_homeostasis",
        "Asymmetry from the measured susceptibility",
        "This project's derivation, chi^-1 (chi - chi^T) chi^-T; local: (chi - chi^T)_ij/(chi_ii chi_jj); "
        "unrelated feedback, medians over 5 networks, one sample each; white noise on chi, relative to the rms of its "
        "entries",
        "python experiments/reproductions/measured_homeostasis.py",
    ) as result:
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, constrained_layout=True)
        at_percent = int(np.argmin(np.abs(NOISES - 0.01)))
        for sizes, gain in ((WEAK, 0.3), (STRONG, 0.5), (STRONG, 0.8), (STRONG, 0.95)):
            cases = [case(sizes, gain, seed) for seed in SEEDS]
            curves = np.array([against_noise(one, seed) for seed, one in enumerate(cases)])
            middle, condition = np.median(curves, axis=0), float(np.median([one.condition for one in cases]))
            label = f"{name(sizes)}, loop gain {gain}, cond(chi) {condition:.0f}"
            (line,) = left.semilogx(NOISES, middle[:, 0], "o-", label=label, markersize=4)
            left.semilogx(NOISES, middle[:, 1], "--", color=line.get_color())
            published = ">= .9" if condition <= 10.0 else "-"
            result.found(f"measured, noise 1 % of the rms: {label}", published, f"{middle[at_percent, 0]:.4f}")
            for samples in (1, 16):
                loud = np.median([of_the_largest(one, seed, samples) for seed, one in enumerate(cases)])
                what = (
                    f"measured, noise 1 % of the largest entry, {samples} sample{'s' if samples > 1 else ''}: {label}"
                )
                result.found(what, "-", f"{loud:.3f}")
            exact = [cosine(asymmetry_from_susceptibility(one.network, one.found), one.exact) for one in cases]
            result.found(f"measured, no noise: {label}", "1", f"{np.min(exact):.6f} (lowest)")
        for sizes in (WEAK, STRONG):
            local = np.array(
                [
                    [cosine(first_order_asymmetry(one.network, one.found), one.exact) for one in row]
                    for row in ([case(sizes, gain, seed) for seed in SEEDS] for gain in GAINS)
                ]
            )
            right.plot(GAINS, np.median(local, axis=1), "s--", label=f"local, {name(sizes)}")
            pairs = zip(np.median(local, axis=1), GAINS, strict=True)
            series = ", ".join(f"{value:.2f} at {gain:g}" for value, gain in pairs)
            coupling = "weak" if sizes == WEAK else "strong"
            published = f"{'.99' if sizes == WEAK else '.4'} ({coupling} coupling, at a loop gain that is not told)"
            result.found(f"local, no noise: {name(sizes)}, at each loop gain", published, series)
        left.axhline(0.9, color="grey", linewidth=0.8)
        left.set(
            xlabel="noise of chi, relative", ylabel="cosine to the exact W - W^T", title="measured (local: dashed)"
        )
        right.set(xlabel="loop gain", title="local, without noise")
        for axes in (left, right):
            axes.legend(fontsize=8)
            axes.grid(alpha=0.3)
        figure.savefig(result.picture, dpi=110)


if __name__ == "__main__":
    main()
