"""Random chains of layers, and their dynamics followed by scipy."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.integrate import solve_ivp

from emulators.networks.current_mode import Block, CurrentModeNetwork
from emulators.neurons import Neurons
from substrate.arrays import FloatArray

FEEDBACK = ("symmetric", "unrelated", "mixed", "opposed")


def chain(
    rng: np.random.Generator,
    sizes: Sequence[int],
    gain: float,
    feedback: str = "symmetric",
    activation: str = "tanh",
    spread: float = 0.1,
) -> CurrentModeNetwork:
    """A chain whose couplings have largest singular values near ``gain``."""
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    layers = [slice(int(a), int(b)) for a, b in itertools.pairwise(bounds)]
    blocks = []
    for before, after in itertools.pairwise(layers):
        shape = (before.stop - before.start, after.stop - after.start)
        forward, other = rng.standard_normal((2, *shape)) * gain / np.sqrt(shape).sum()
        back = {"symmetric": forward, "unrelated": other, "mixed": 0.7 * (forward + other), "opposed": -forward}[
            feedback
        ]
        blocks += [Block(before, after, forward), Block(after, before, np.ascontiguousarray(back.T))]
    count = int(bounds[-1])
    return CurrentModeNetwork(layers, blocks, Neurons.mismatched(activation, count, rng, spread, 0.5 * spread, spread))


def follow(network: CurrentModeNetwork, start: FloatArray, drive: FloatArray, duration: float = 300.0) -> FloatArray:
    """The state (node,) that du/dt = -u + W f(u) + drive reaches from ``start`` (node,)."""
    weights = network.weights()
    return solve_ivp(
        lambda _, u: network.activity(u) @ weights + drive - u,
        (0.0, duration),
        start,
        method="LSODA",
        rtol=1e-8,
        atol=1e-10,
    ).y[:, -1]


def force(network: CurrentModeNetwork, u: FloatArray, drive: FloatArray) -> FloatArray:
    """Largest |W f(u) + drive - u| of each sample."""
    return np.abs(network.activity(u) @ network.weights() + drive - u).max(axis=-1)
