"""Checking the device's gradient against a reference, coupling by coupling, on the device itself.

References: ``exact``, the implicit gradient from the emulator's own adjoint; ``multiplexed``, measured with neither a
model nor symmetry: tones at every node give the adjoint chi^T e (``rules.multiplexed``).
"""

from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from substrate.arrays import BoolArray, FloatArray
from substrate.conjugates import exact_directions, sample_directions
from substrate.contract import Substrate
from substrate.errors import CapabilityError, InputError
from substrate.experiment.assembly import Assembly, Trained
from substrate.rules.base import Estimate, FreePhase
from substrate.rules.multiplexed import multiplexed_adjoint

REFERENCES = ("exact", "multiplexed")

SAMPLES = 128
"""Samples of a check by default."""

BATCH = 32
"""Samples held at a time."""

PROBE_ACTIVITY = 0.1
"""Nudge of every neuron in the multiplexed reference, in activity units."""


@final
@dataclass(frozen=True)
class Agreement:
    """Measured against reference for one coupling or all.

    Attributes:
        cosine: of the mean gradients.
        relative_error: norm of the difference of the mean gradients over the reference's.
        median_sample_error: median over samples of the same for single samples.
        standard_error: predicted noise of the measured mean gradient, relative to the reference's norm.
    """

    cosine: float
    relative_error: float
    median_sample_error: float
    standard_error: float


@final
@dataclass(frozen=True)
class GradientCheck:
    """The result of a check; ``samples_excluded`` counts by reason."""

    reference: str
    samples: int
    samples_excluded: dict[str, int]
    amplitude: float
    couplings: dict[str, Agreement]
    total: Agreement

    def as_data(self) -> dict[str, Any]:
        """Plain data, for JSON, which has no NaN: what is not known is None."""

        def known(items: list[tuple[str, Any]]) -> dict[str, Any]:
            return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in items}

        return asdict(self, dict_factory=known)


def check_gradient(
    assembly: Assembly, samples: int | None = None, reference: str | None = None, trained: Trained | None = None
) -> GradientCheck:
    """Compare gradients on samples drawn from the training set.

    Args:
        assembly: the experiment; its substrate is opened here.
        samples: how many, at most the training set; by default ``SAMPLES``, or all there are.
        reference: one of ``REFERENCES``; by default ``exact`` where the device can, else ``multiplexed``.
        trained: a run, whose cells are checked; by default fresh cells.

    Raises:
        InputError: an unknown reference, a count out of range, a run of another network.
        CapabilityError: a reference that the device cannot give.
    """
    dataset = assembly.dataset
    if samples is None:
        samples = min(SAMPLES, len(dataset.train_labels))
    if not 1 <= samples <= len(dataset.train_labels):
        raise InputError(f"--samples: expected 1..{len(dataset.train_labels)}, got {samples}")
    if reference is not None and reference not in REFERENCES:
        raise InputError(f"--reference: expected one of {', '.join(REFERENCES)}, got {reference!r}")
    capabilities = assembly.substrate.capabilities
    chosen_reference = reference or ("exact" if capabilities.exact_adjoint else "multiplexed")
    needed = {"exact": "exact_adjoint", "multiplexed": "node_nudges"}[chosen_reference]
    if needed in assembly.substrate.remedies and not getattr(capabilities, needed):
        raise CapabilityError(f"the {chosen_reference} reference: {assembly.substrate.remedies[needed]}")
    capabilities.require(needed, f"the {chosen_reference} reference")
    with assembly.substrate as substrate:
        controller = assembly.controller()
        chosen = np.sort(
            np.random.default_rng(assembly.experiment.seed).permutation(len(dataset.train_labels))[:samples]
        )
        inputs, labels = dataset.train_inputs[chosen].astype(np.float64), dataset.train_labels[chosen]
        assembly.bring_to(controller, trained)
        controller.prepare(inputs[:BATCH], labels[:BATCH])
        collected = _Collected(substrate)
        tones = assembly.experiment.nudge.tones(PROBE_ACTIVITY)
        for start in range(0, samples, BATCH):
            part = slice(start, start + BATCH)
            phase, estimate = controller.measure(inputs[part], labels[part])
            if chosen_reference == "exact":
                adjoint = controller.exact_adjoint(phase.error)
                sound = np.ones(len(adjoint), dtype=np.bool_)
            else:
                adjoint, sound, _ = multiplexed_adjoint(substrate, phase, tones)
            collected.add(phase, estimate, adjoint, sound)
        return collected.result(chosen_reference, samples)


@final
class _Collected:
    """Sums over samples of what the comparison needs."""

    def __init__(self, substrate: Substrate) -> None:
        self._network = substrate.network
        self._measured = {c.name: np.zeros(c.shape) for c in self._network.settling}
        self._exact = {c.name: np.zeros(c.shape) for c in self._network.settling}
        self._noise = dict.fromkeys(self._measured, 0.0)
        self._errors: dict[str, list[FloatArray]] = {name: [] for name in self._measured}
        self._powers: dict[str, list[FloatArray]] = {name: [] for name in self._measured}
        self._excluded = {"lost_branch": 0, "saturated": 0, "unsettled": 0, "reference": 0}
        self._amplitudes: list[FloatArray] = []

    def add(self, phase: FreePhase, estimate: Estimate, adjoint: FloatArray, sound: BoolArray) -> None:
        keep = estimate.keep & sound
        for name, count in asdict(estimate.excluded).items():
            self._excluded[name] += count
        self._excluded["reference"] += int(np.count_nonzero(estimate.keep & ~sound))
        self._amplitudes.append(estimate.amplitude[keep])
        for coupling in self._network.settling:
            name = coupling.name
            measured = sample_directions(estimate.signals, coupling, estimate.conjugate)[keep]
            exact = exact_directions(self._network, phase.inputs, phase.activity, adjoint, coupling)[keep]
            self._measured[name] += measured.sum(axis=0)
            self._exact[name] += exact.sum(axis=0)
            self._noise[name] += (estimate.standard_errors[name] * int(estimate.keep.sum())) ** 2
            self._errors[name].append(np.sum((measured - exact) ** 2, axis=(1, 2)))
            self._powers[name].append(np.sum(exact**2, axis=(1, 2)))

    def result(self, reference: str, samples: int) -> GradientCheck:
        names = list(self._measured)
        errors = {name: np.concatenate(self._errors[name]) for name in names}
        powers = {name: np.concatenate(self._powers[name]) for name in names}
        couplings = {
            name: _agreement([self._measured[name]], [self._exact[name]], errors[name], powers[name], self._noise[name])
            for name in names
        }
        total = _agreement(
            [self._measured[name] for name in names],
            [self._exact[name] for name in names],
            np.sum([errors[name] for name in names], axis=0),
            np.sum([powers[name] for name in names], axis=0),
            sum(self._noise.values()),
        )
        amplitudes = np.concatenate(self._amplitudes)
        amplitude = float(np.median(amplitudes)) if len(amplitudes) else float("nan")
        return GradientCheck(reference, samples, self._excluded, amplitude, couplings, total)


def _agreement(
    measured: list[FloatArray], exact: list[FloatArray], errors: FloatArray, powers: FloatArray, noise: float
) -> Agreement:
    ours = np.concatenate([part.ravel() for part in measured])
    theirs = np.concatenate([part.ravel() for part in exact])
    norm = float(np.linalg.norm(theirs))
    both = norm * float(np.linalg.norm(ours))
    nonzero = powers > 0
    return Agreement(
        cosine=float(ours @ theirs) / both if both else float("nan"),
        relative_error=float(np.linalg.norm(ours - theirs)) / norm if norm else float("nan"),
        median_sample_error=float(np.median(np.sqrt(errors[nonzero] / powers[nonzero])))
        if nonzero.any()
        else float("nan"),
        standard_error=float(np.sqrt(noise)) / norm if norm else float("nan"),
    )
