"""Random current-mode networks for the tests of their dynamics, in activity units."""

import itertools
from dataclasses import dataclass

import numpy as np

from emulators.networks.current_mode import Block, CurrentModeNetwork
from emulators.networks.equilibrium import Tolerance, settle
from emulators.neurons import Neurons


@dataclass(frozen=True)
class Case:
    """A network at its free states, and a nudge (batch, node) of its outputs, about one unit large."""

    network: CurrentModeNetwork
    drive: np.ndarray
    free: np.ndarray
    nudge: np.ndarray


def random_case(seed: int, sizes: tuple[int, ...] = (8, 4), scale: float = 0.9, batch: int = 3) -> Case:
    """Free layers of the given sizes; ``scale`` is about the largest singular value of each coupling."""
    rng = np.random.default_rng(seed)
    edges = np.cumsum([0, *sizes])
    layers = [slice(a, b) for a, b in itertools.pairwise(edges)]
    blocks = []
    for left, right, m, n in zip(layers[:-1], layers[1:], sizes[:-1], sizes[1:], strict=True):
        forward, other = rng.standard_normal((2, m, n)) * scale / (np.sqrt(m) + np.sqrt(n))
        blocks += [Block(left, right, forward), Block(right, left, (0.8 * forward + 0.6 * other).T)]
    count = int(edges[-1])
    network = CurrentModeNetwork(layers, blocks, Neurons.mismatched("tanh", count, rng, 0.1, 0.1, 0.1))
    drive = 0.5 * rng.standard_normal((batch, count))
    nudge = np.zeros((batch, count))
    nudge[:, layers[-1]] = rng.standard_normal((batch, sizes[-1]))
    found = settle(network, np.zeros_like(drive), drive, Tolerance(1e-12))
    assert found.settled.all()
    return Case(network, drive, found.u, nudge)


def pair(weight: float, there: float | None = None) -> CurrentModeNetwork:
    """Two neurons that drive each other: bistable for ``weight`` > 1, ringing for opposite signs."""
    layers = [slice(0, 1), slice(1, 2)]
    back = weight if there is None else there
    blocks = [Block(layers[0], layers[1], np.array([[weight]])), Block(layers[1], layers[0], np.array([[back]]))]
    ones = np.ones(2)
    return CurrentModeNetwork(layers, blocks, Neurons("tanh", ones, 0.0 * ones, ones))
