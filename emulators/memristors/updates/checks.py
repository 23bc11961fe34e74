"""Validation shared by the update laws: every refusal names the key and what was expected."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from substrate.errors import InputError


def require_number(
    key: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` as a float, or raise InputError when it is no finite number inside the interval."""
    interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"{key}: expected a finite number in {interval}, got {value!r}")
    number = float(value)
    if number < low or number > high or (open_low and number == low) or (open_high and number == high):
        raise InputError(f"{key}: expected a number in {interval}, got {number:g}")
    return number


def require_choice(key: str, value: object, choices: Iterable[str]) -> str:
    """Return ``value`` when it is one of ``choices``, or raise InputError that lists them."""
    allowed = tuple(choices)
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{key}: expected one of {', '.join(allowed)}, got {value!r}")
    return value


def require_pair(key: str, value: object, low: float, high: float = math.inf) -> tuple[float, float]:
    """Return ``value``, a number or a pair of numbers, as a pair; raise InputError otherwise."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise InputError(f"{key}: expected a number or a pair of numbers, got {len(value)} values")
        return require_number(f"{key}[0]", value[0], low, high), require_number(f"{key}[1]", value[1], low, high)
    number = require_number(key, value, low, high)
    return number, number


def require_keys(where: str, given: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Raise InputError for the first key of ``given`` that is not among ``allowed``."""
    choices = sorted(allowed)
    for key in given:
        if key not in choices:
            raise InputError(f"{where}.{key}: unknown key; expected one of {', '.join(choices)}")
