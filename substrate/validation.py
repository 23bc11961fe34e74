"""Validation errors in a sentence: the key path, what stands there, and what was expected."""

import difflib
import re
from collections.abc import Container, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

# What pydantic adds to the place of a problem in a union: the alternative that was tried, which is no key of the file.
_ALTERNATIVE = re.compile(r"(constrained-)?(float|int|str|list|dict|tuple|model)(\[.*\])?$|literal\[.*\]$")

ALIKE = 0.65
"""Least likeness of a key that is suggested for one that is unknown."""


def describe(
    error: ValidationError, path: str = "", tags: Container[str] = (), model: type[BaseModel] | None = None
) -> str:
    """One line for each problem that pydantic found, under the key path ``path``: see ``problems``."""
    return "; ".join(problems(error, path, tags, model))


def problems(
    error: ValidationError, path: str = "", tags: Container[str] = (), model: type[BaseModel] | None = None
) -> list[str]:
    """A line for each problem that pydantic found: its key path, a colon, and what is wrong.

    Args:
        error: the problems.
        path: key path that all of them stand under.
        tags: what pydantic puts second in a place to tell the alternatives of a section apart, which is no key.
        model: what was validated; unknown keys are then compared with those it knows.
    """
    lines: list[str] = []
    alternatives: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False):
        parts = [str(part) for part in problem["loc"]]
        if len(parts) > 2 and parts[1] in tags:
            del parts[1]
        in_union = len(parts) > 1 and isinstance(problem["loc"][-1], str) and _ALTERNATIVE.match(parts[-1]) is not None
        where = ".".join([*([path] if path else []), *(parts[:-1] if in_union else parts)])
        if problem["type"] == "extra_forbidden":
            nearest = _nearest_key(model, problem["loc"]) if model is not None else None
            lines.append(f"{where}: unknown key" + (f"; did you mean {nearest}?" if nearest else ""))
        elif problem["type"] == "missing":
            lines.append(f"{where}: missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            given = problem["input"]
            shown = "" if problem["type"] == "value_error" or isinstance(given, dict) else f", got {given!r}"
            if not in_union:
                lines.append(f"{where}: {message}{shown}")
            elif where in alternatives:
                alternatives[where].insert(-1, message)
            else:
                alternatives[where] = [message, shown]
    lines += [f"{where}: {' or '.join(said[:-1])}{said[-1]}" for where, said in alternatives.items()]
    return lines


def blamed(lines: Sequence[str], source: str, overrides: Sequence[tuple[str, str]]) -> str:
    """Problems, each under what it comes from: an override of the key, or the file.

    Args:
        lines: each a key path, a colon, and what is wrong.
        source: the file.
        overrides: (key path, what to call it), the last of several for a key counts.
    """
    told: dict[str, list[str]] = {}
    for line in lines:
        where = f"{line.split(':', 1)[0]}."
        own = [name for key, name in overrides if where.startswith(f"{key}.") or f"{key}.".startswith(where)]
        told.setdefault(own[-1] if own else " with ".join([source, *(name for _, name in overrides)]), []).append(line)
    return "; ".join(f"{name}: {'; '.join(said)}" for name, said in told.items())


def _nearest_key(model: type[BaseModel], place: tuple[int | str, ...]) -> str | None:
    """The known key that is most like the unknown one at the end of a place; None where none is like it."""
    candidates: list[Any] = [model]
    for part in place[:-1]:
        fields = [one.model_fields[part] for one in candidates if part in one.model_fields]
        if fields:
            candidates = [found for field in fields for found in _models(field.annotation)]
        else:
            # What tells the alternatives apart, or an index: those that have it as the value of a key, or all.
            tagged = [one for one in candidates if _has_tag(one, part)]
            candidates = tagged or candidates
    likeness = {key: _likeness(str(place[-1]), key) for one in candidates for key in one.model_fields}
    best = max(likeness, key=lambda key: likeness[key], default="")
    return best if likeness.get(best, 0.0) >= ALIKE else None


def _likeness(given: str, key: str) -> float:
    """Of a key to what was given for it, 1 where they agree; a beginning, as of a key without its unit, counts too."""
    return max(
        difflib.SequenceMatcher(None, given, key).ratio(),
        0.99 * difflib.SequenceMatcher(None, given, key[: len(given)]).ratio(),
    )


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models(part)]


def _has_tag(model: type[BaseModel], tag: int | str) -> bool:
    return any(tag in get_args(field.annotation) or tag == model.__name__ for field in model.model_fields.values())
