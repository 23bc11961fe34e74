"""Emulated networks of any topology with a controller around them, and differences of their settled cost."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from emulators.substrate import backend
from substrate.amplitude import Amplitude
from substrate.arrays import FloatArray, IntArray
from substrate.controller import Controller
from substrate.convolution import unrolled_layers
from substrate.costs import Cost, Softmax, SquaredError
from substrate.experiment.assembly import initial_weights
from substrate.network import Network
from substrate.optimisers import SGD
from substrate.rules.base import Rule
from substrate.rules.homeostasis import Homeostasis
from substrate.rules.oscillating import OscillatingEP
from substrate.tones import SamplingPlan
from substrate.writing import Writer, WritingPlan

IDEAL: dict[str, Any] = {"backend": "emulator", "solver": {"residual": 1e-12}, "limits": {"current_amperes": 1.0}}

IMAGES = ([2, 5, 5], {"channels": 3, "kernel": 2}, {"channels": 2, "kernel": 3, "stride": 1}, 3)
"""Two convolutions whose windows overlap, and a layer that joins all."""


def network_of(layers: Any, **keys: Any) -> Network:
    sizes, windows = unrolled_layers(layers)
    return Network(sizes, windows=windows if any(windows) else (), **keys)


def oscillating() -> OscillatingEP:
    return OscillatingEP(SamplingPlan(1e3, 5, 24, 1), Amplitude(0.05, 5, 1e3), "auto")


@contextmanager
def training(
    network: Network,
    rule: Rule,
    cost: Cost | None = None,
    section: dict[str, Any] | None = None,
    mode: Any = "outright",
    momentum: float = 0.0,
    frozen: Sequence[str] = (),
    **plan: Any,
) -> Iterator[Controller]:
    """An opened device with random weights and a controller that trains it; ``plan``: beside the mode of writing."""
    device = backend.build({**IDEAL, **(section or {})}, network, np.random.default_rng(0))
    if cost is None:
        cost = Softmax() if network.output_activation == "linear" else SquaredError((-0.8, 0.8))
    with device as substrate:
        controller = Controller(
            substrate,
            rule,
            cost,
            Writer(substrate, WritingPlan(mode, **plan), np.random.default_rng(0)),
            SGD(momentum),
            Homeostasis(0.0, 0, np.random.default_rng(0)),
            frozen,
        )
        yield controller


def start(network: Network, angle_degrees: float = 90.0, seed: int = 1, **keys: Any) -> dict[str, FloatArray]:
    weights = initial_weights(network, 0.9, 0.9, np.deg2rad(angle_degrees), np.random.default_rng(seed), **keys)
    rng = np.random.default_rng(seed + 1)
    for coupling in network.forward:
        weights[coupling.name][coupling.source_lines :] = 0.2 * rng.standard_normal(coupling.shape[1])
    return weights


def batch_of(network: Network, count: int = 5, seed: int = 2) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, network.input_size)), rng.integers(0, network.output.size, count)


def differences(controller: Controller, weights: dict[str, FloatArray], batch: Any, step: float = 1e-4) -> Any:
    """-dC/dw of every weight of the arrays that settle, by central differences of the mean settled cost."""
    network = controller.network
    found = {}
    for coupling in network.settling:
        value = weights[coupling.name]
        found[coupling.name] = np.zeros(value.shape)
        for place in np.ndindex(*value.shape):
            losses = []
            for sign in (1.0, -1.0):
                changed = value.copy()
                changed[place] += sign * step
                controller.program({coupling.name: changed})
                losses.append(controller.evaluate(*batch).loss)
            found[coupling.name][place] = -(losses[0] - losses[1]) / (2 * step)
        controller.program({coupling.name: value})
    return found


def relative_error(found: FloatArray, expected: FloatArray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
