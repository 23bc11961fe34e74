"""Hadamard matrices: orthogonal rows of signs, by which many ports are driven at once and told apart afterwards."""

import numpy as np

from substrate.arrays import FloatArray
from substrate.errors import InputError


def sign_patterns(ports: int) -> FloatArray:
    """Signs (pattern, port) with orthogonal columns, so that p^T p = patterns, with few more patterns than ports.

    The first columns of a Hadamard matrix by Paley's first construction (Paley 1933), of order q + 1 with q a prime of
    the form 4 k + 3, doubled as often as it takes (Sylvester 1867). Columns change sign in a fixed irregular way: a
    Hadamard matrix has a row of ones alone, which would push all ports together.

    Raises:
        InputError: no port.
    """
    if ports < 1:
        raise InputError(f"ports: expected at least 1, got {ports}")
    core, doublings = min(_orders(ports), key=lambda order: order[0] << order[1])
    matrix = _paley(core)
    for _ in range(doublings):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    # The golden ratio's multiples by squares are spread evenly and have no period (Weyl 1916).
    turns = np.pi * (1.0 + np.sqrt(5.0)) * np.arange(ports) ** 2
    return np.asarray(matrix[:, :ports] * np.where(np.cos(turns) >= 0.0, 1.0, -1.0))


def _orders(least: int) -> list[tuple[int, int]]:
    """(order of the core, doublings) that reach ``least``, for every number of doublings."""
    found = []
    for doublings in range(least.bit_length() + 1):
        core = -(-least // 2**doublings)
        while core > 2 and not (core % 4 == 0 and _is_prime(core - 1)):
            core += 1
        found.append((core, doublings))
    return found


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, int(number**0.5) + 1))


def _paley(order: int) -> FloatArray:
    """I + S, S skew with the quadratic characters of differences; order 1, 2, or a prime 4 k + 3 and one more."""
    if order <= 2:
        return np.array([[1.0, 1.0], [-1.0, 1.0]])[:order, :order]
    prime = order - 1
    character = np.full(prime, -1.0)
    character[np.arange(1, prime) ** 2 % prime] = 1.0
    character[0] = 0.0
    skew = np.zeros((order, order))
    skew[0, 1:], skew[1:, 0] = 1.0, -1.0
    places = np.arange(prime)
    skew[1:, 1:] = character[(places[:, None] - places[None, :]) % prime]
    return np.asarray(np.eye(order) + skew)
