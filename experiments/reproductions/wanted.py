"""What is asked of the results: `python experiments/reproductions/wanted.py [FOLDER]` says what misses it, if anything.

FOLDER holds results; without it they are those that are kept. A bound is on the numbers of a finding's ``ours``, in
their order. Where a paper gives the number, the bound is a band about it; the rest is what the project asks of itself.
"""

import json
import re
import sys
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import final

from reproduction import KEPT

NUMBER = re.compile(r"(?<![\w.])(?:nan|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


@final
@dataclass(frozen=True)
class Bound:
    """Every finding whose ``what`` matches has a number within a band, ends included.

    Attributes:
        what: a regular expression for the whole of it.
        low: least value.
        high: greatest.
        place: which of the numbers.
        beside: a finding whose own number (at ``other_place``) is subtracted before.
        other_place: which number of ``beside``.
        count: how many findings match.
        text: a regular expression for the whole of ``ours``.
        optional: a result without such a finding is none the worse.
    """

    what: str
    low: float = -inf
    high: float = inf
    place: int = 0
    beside: str = ""
    other_place: int = 0
    count: int = 1
    text: str = ".*"
    optional: bool = False


def about(what: str, value: float, band: float, place: int = 0) -> Bound:
    """Within ``band`` of ``value``."""
    return Bound(what, value - band, value + band, place)


COMMON = "cosine on the samples that all kept .*"
WHOLE = "cosine on all samples, refused ones too, .*"
DIGITS = "digits, 64-64-10, six epochs, one seed: "
RATES = "wires.refresh: "

WANTED: dict[str, tuple[Bound, ...]] = {
    "error_order": (
        *(about(f"slope, Cauchy N={points}", points, 0.1) for points in (1, 2, 4, 6)),
        *(about(f"slope, sinusoid K={harmonics}", harmonics + 1, 0.1) for harmonics in (1, 3, 5)),
        about("error of A1 over that of \\+-beta", 0.75, 0.01),
        # Each further harmonic is worth a factor of five at least.
        *(Bound("error at beta 0.3 .*", high=0.1 / 5**place, place=place) for place in range(5)),
    ),
    "cosine_against_amplitude": (
        # At amplitudes .1, .5, 1 and 3, each of the first with the percentage kept after it.
        Bound("samples of .* that all estimators kept, .*", low=100.0),
        Bound(f"(Cauchy N=30|sinusoid K=.): {COMMON}", 0.9999, 1.0, count=5),
        Bound(f"Cauchy N=1: {WHOLE}", high=0.96, place=1),
        Bound(f"Cauchy N=30: {WHOLE}", high=0.9, place=3),
        *(Bound(f"sinusoid K=9: {WHOLE}", low, 1.0, place) for place, low in enumerate((0.999, 0.99, 0.97, 0.95))),
        # More harmonics, a later loss of the branch.
        Bound(f"sinusoid K=1: {COMMON}", high=10.0, place=7),
        *(
            Bound(
                f"sinusoid K={more}: {COMMON}", low=5.0, place=5, beside=f"sinusoid K={fewer}: {COMMON}", other_place=5
            )
            for fewer, more in ((1, 3), (3, 5), (5, 9))
        ),
    ),
    "noise": (
        *(
            bound
            for name in ("one-sided EP", "Cauchy N=10", "sinusoid K=1", "sinusoid K=3")
            for row in (f"{name}, noise .01, all samples, .*",)
            for bound in (
                Bound(f"{name}, noise .01, samples that all kept: .*", 0.05, 2.0),
                Bound(row, 0.05, 2.0),
                # Better there than at either end.
                Bound(row, low=0.03, place=1, beside=row, other_place=2),
                Bound(row, low=0.03, place=1, beside=row, other_place=3),
            )
        ),
    ),
    "always_on": (
        about("cosine after one period of 5 steps a point", 0.45, 0.05),
        about("cosine after one period of 10 steps a point", 0.92, 0.05),
        Bound("cosine after one period of 20 steps a point", 0.999, 1.0),
        Bound("cosine after one period of 30 steps a point", 0.99999, 1.0),
    ),
    "noise_mnist": (
        Bound("MNIST, noise .04, one epoch: .*one_sided.*", high=15.0),
        Bound("MNIST, noise .04, one epoch: .*holomorphic_ep.*", low=93.0),
        Bound("MNIST, noise .04, one epoch: .*oscillating_ep.*", low=93.0),
    ),
    "holomorphic_mnist": (
        Bound("test accuracy after epoch 1", 94.2, 95.0),
        Bound("test accuracy after epoch 2", 95.0),
        Bound("gradient cosine to the exact adjoint, last epoch", 0.95, 1.0),
    ),
    "continual": (
        *(
            Bound(f"relative error of EP's updates to BPTT's, beta {beta}", 0.6 * beta, 0.8 * beta)
            for beta in (0.1, 0.01, 0.001)
        ),
        # Within a factor of two at the singular value that comes near.
        *(
            Bound(f"angle of C-EP's update to the gradient, rate {rate}, degrees", published / 2, 2 * published)
            for rate, published in (("2e-05", 0.31), ("0.0002", 1.7), ("0.002", 18.0))
        ),
    ),
    "continual_vf": (
        *(Bound(f"digits .*, start at {angle} degrees: .*", low=88.0) for angle in (0, 45, 90)),
        Bound("digits .*, start at .*", low=80.0, count=5),
        Bound("digits .*, start at 180 degrees: .*", high=0.0, beside="digits .*, start at 0 degrees: .*"),
        *(Bound(f"digits .*, start at {angle} degrees: .*", high=angle - 20.0, place=1) for angle in (90, 135, 180)),
    ),
    "continual_mnist": (
        Bound(
            "C-EP: test accuracy after .* 100 epochs",
            low=-0.5,
            place=-2,
            beside="EP: test accuracy after .* 30 epochs",
            other_place=-2,
        ),
    ),
    "asymmetry": (
        # At the second of the singular values, which comes nearer.
        about("error cosine, first hidden layer, at 0 degrees", 1.0, 0.01, place=2),
        about("error cosine, first hidden layer, at 30 degrees", 0.75, 0.1, place=2),
        about("error cosine, first hidden layer, at 60 degrees", 0.34, 0.1, place=2),
        about("error cosine, first hidden layer, at 90 degrees", -0.01, 0.05, place=2),
        *(
            bound
            for network, angle in (("64-32-32-10", 60), ("64-32-32-10", 90), ("64-32-32-32-10", 90))
            for restored, broken in (
                tuple(f"digits {network}, {angle} degrees, homeostasis {strength}: .*" for strength in (20, 0)),
            )
            for bound in (
                Bound(restored, low=1.0, beside=broken),
                Bound(restored, 0.9, 1.0, place=2),
                Bound(restored, 0.95, 1.0, place=3),
            )
        ),
    ),
    "asymmetry_mnist": (
        Bound(".* degrees, homeostasis .*", 90.0, 100.0, count=8),
        Bound(".* degrees, homeostasis 20: .*", 0.9, 1.0, place=1, count=4),
    ),
    "product_feedback": (
        *(
            about(f"random weights, 256 to 100, lambda {ratio}: .*", angle, 0.5)
            for ratio, angle in ((1, 44.9), (2, 35.3), (5, 24.0), (10, 17.5), (20, 12.7), (50, 8.1), (100, 5.7))
        ),
        Bound("MNIST .*: product_feedback", low=-0.5, beside="MNIST .*: backpropagation"),
    ),
    "drn_xs": (about("test error after 10 epochs, %", 3.46, 0.15),),
    "finite_frequency": (
        *(
            Bound(f"relative error at omega tau {speed}, .*", high=error, place=place)
            for speed, errors in (("0.1", (3.6e-2, 1.4e-3, 4.2e-5)), ("0.3", (0.22, 2.8e-2, 3.4e-3)))
            for place, error in enumerate(errors)
        ),
        Bound(f"{DIGITS}omega tau 1, 1 frequency", high=75.0),
        Bound(f"{DIGITS}omega tau 1, 3 frequencies", low=-3.0, beside=f"{DIGITS}no delay, 1 frequency"),
        Bound(f"{DIGITS}omega tau 0.3, 1 frequency", low=-3.0, beside=f"{DIGITS}no delay, 1 frequency"),
    ),
    "measured_homeostasis": (
        Bound("measured, noise 1 % of the rms: .*cond\\(chi\\) [1-9]", 0.9, 1.0, count=2),
        Bound("measured, no noise: .*", 0.999, 1.0, count=4),
        # Each with its loop gain after it: from .2 to .95.
        Bound("local, no noise: .*", 0.97, 1.0, place=2, count=2),
        about("local, no noise: 64-64-64-10, .*", 0.4, 0.1, place=14),
    ),
    "devices": tuple(
        # Ten devices, three ways of writing, two rules; a device that gets no further than chance has its pulses wrong.
        Bound(f"[a-z0-9_]+, {rule}", low, place=place, count=10, text=r"blind [\d.]+ %, accumulate [\d.]+ %, verify .*")
        for rule in ("oscillating_ep", "ep")
        for place, low in enumerate((30.0, 70.0, 85.0))
    ),
    "wire_refresh": (
        Bound(f"{RATES}every write", high=1e-9, place=1),
        Bound(f"{RATES}.*", 0.95, 1.0, place=3, count=5),
        Bound(f"{RATES}every 6 writes", high=0.0, beside=f"{RATES}every write"),
    ),
}
"""Bounds by result."""


def missed(path: Path) -> list[str]:
    """What of the result in this file misses its bounds, in words; nothing asked of it is missed too."""
    one = json.loads(path.read_text(encoding="utf-8"))
    rows = {row["what"]: row["ours"] for row in one["findings"]}
    bounds = WANTED.get(one["name"], ())
    return (
        [said for bound in bounds for said in _missed(bound, rows)] if bounds else [f"{one['name']}: nothing is asked"]
    )


def _missed(bound: Bound, rows: dict[str, str]) -> list[str]:
    matching = _matching(bound.what, rows)
    if len(matching) != bound.count:
        wanted = f"{len(matching)} findings match {bound.what!r}, expected {bound.count}"
        return [] if bound.optional and not matching else [wanted]
    found, base = [], 0.0
    if bound.beside:
        others = _matching(bound.beside, rows)
        if len(others) != 1:
            return (
                [] if bound.optional and not others else [f"{len(others)} findings match {bound.beside!r}, expected 1"]
            )
        base = _number(rows[others[0]], bound.other_place)
    for what in matching:
        # A number that is not there is NaN and within no band.
        value = _number(rows[what], bound.place) - base
        if not (bound.low <= value <= bound.high and re.fullmatch(bound.text, rows[what])):
            found.append(f"{what}: {rows[what]!r}: {value:g} is not within {bound.low:g} .. {bound.high:g}")
    return found


def _matching(pattern: str, rows: dict[str, str]) -> list[str]:
    return [what for what in rows if re.fullmatch(pattern, what)]


def _number(text: str, place: int) -> float:
    numbers = NUMBER.findall(re.sub(r"fewer than \d+ left", "nan", text))
    return float(numbers[place]) if -len(numbers) <= place < len(numbers) else float("nan")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else KEPT
    found = [said for path in sorted(folder.glob("*.json")) for said in missed(path)]
    print("\n".join(found) or f"{folder}: all within what is asked")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
