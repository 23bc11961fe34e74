"""Validation errors in a sentence: the key path, what stands there, and what was expected."""

import difflib
import re
from collections.abc import Container, Iterable, Sequence
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_KINDS = {
    "finite_number": "a finite number",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string_type": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a section of keys",
    "model": "a section of keys",
    "mapping": "a section of keys",
}
"""What the problems whose kind begins so say."""

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
        tags: names of rules, which pydantic puts second in a place to tell their sections apart; they are no keys.
        model: what was validated; unknown keys are then compared with those it knows.
    """
    lines: list[str] = []
    # Of a union, what each alternative found: where inside it, what it expected, and what was given.
    unions: dict[str, list[tuple[str, str, Any]]] = {}
    for problem in error.errors(include_url=False):
        place = [part for part in problem["loc"] if part != "[key]"]
        named = place.pop(1) if len(place) > 2 and str(place[1]) in tags else None
        tried = [index for index, part in enumerate(place) if index and _is_alternative(part)]
        where = _joined(path, (part for index, part in enumerate(place) if index not in tried))
        if problem["type"] == "extra_forbidden":
            line = f"{where}: unknown key{_instead(model, problem['loc'])}"
            # A rule's keys are told at length by a command.
            lines.append(line + (f"; see `substrate rules {named}`" if named and "did you mean" not in line else ""))
        elif problem["type"] == "missing":
            lines.append(f"{where}: missing")
        elif problem["type"] == "value_error":
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {message[0].lower()}{message[1:]}")
        elif problem["type"] == "union_tag_invalid":
            key, names = problem["ctx"]["discriminator"].strip("'"), _names(problem["ctx"]["expected_tags"])
            lines.append(f"{where}.{key}: expected one of {', '.join(sorted(names))}, got {problem['ctx']['tag']!r}")
        elif not tried:
            lines.append(f"{where}: expected {_expected(problem)}{_shown(problem['input'])}")
        else:
            outer = _joined(path, place[: tried[0]])
            unions.setdefault(outer, []).append((where, _expected(problem), problem["input"]))
    for outer, found in unions.items():
        # An alternative that failed further inside is the one that was meant.
        inside = [f"{where}: expected {said}{_shown(given)}" for where, said, given in found if where != outer]
        # A word that is allowed beside numbers comes last.
        either = sorted(dict.fromkeys(said for _, said, _ in found), key=lambda one: one.startswith("'"))
        lines += inside or [f"{outer}: expected {' or '.join(either)}{_shown(found[0][2])}"]
    return lines


def _joined(path: str, place: Iterable[int | str]) -> str:
    return ".".join([*([path] if path else []), *(str(part) for part in place)])


def _is_alternative(part: int | str) -> bool:
    return isinstance(part, str) and _ALTERNATIVE.match(part) is not None


def _shown(given: Any) -> str:
    if isinstance(given, dict):
        return ""
    # YAML also has dates.
    return f", got {given if isinstance(given, date) else repr(given)}"


def _names(listed: str) -> list[str]:
    """Names out of the text 'a', 'b' or 'c'."""
    return re.findall(r"'([^']*)'", listed)


def _expected(problem: ErrorDetails) -> str:
    """What pydantic wanted, in the words of all other messages."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "literal_error":
        names = _names(context["expected"])
        return f"one of {', '.join(names)}" if len(names) > 1 else repr(names[0])
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        bound = context[name]
        return f"{words} {bound:g}" if isinstance(bound, float) else f"{words} {bound}"
    for start, words in _KINDS.items():
        if kind.startswith(start):
            return words
    if kind == "string_pattern_mismatch":
        return f"text of the form {context['pattern']}"
    if kind in ("too_short", "too_long"):
        most = kind == "too_long"
        return f"{'at most' if most else 'at least'} {context['max_length' if most else 'min_length']} values"
    message = problem["msg"].removeprefix("Input should be ").removeprefix("Input should ")
    return message[0].lower() + message[1:]


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


def _instead(model: type[BaseModel] | None, place: tuple[int | str, ...]) -> str:
    """What to say of the unknown key at the end of a place: the known key that is most like it, or all there are."""
    if model is None:
        return ""
    candidates: list[Any] = [model]
    for part in place[:-1]:
        fields = [one.model_fields[part] for one in candidates if part in one.model_fields]
        if fields:
            candidates = [found for field in fields for found in models_in(field.annotation)]
        else:
            # What tells the alternatives apart, or an index: those that have it as the value of a key, or all.
            tagged = [one for one in candidates if _has_tag(one, part)]
            candidates = tagged or candidates
    likeness = {key: _likeness(str(place[-1]), key) for one in candidates for key in one.model_fields}
    best = max(likeness, key=lambda key: likeness[key], default="")
    if likeness.get(best, 0.0) >= ALIKE:
        return f"; did you mean {best}?"
    return f"; expected one of {', '.join(likeness)}"


def _likeness(given: str, key: str) -> float:
    """Of a key to what was given for it, 1 where they agree; a beginning, as of a key without its unit, counts too."""
    return max(
        difflib.SequenceMatcher(None, given, key).ratio(),
        0.99 * difflib.SequenceMatcher(None, given, key[: len(given)]).ratio(),
    )


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in models_in(part)]


def _has_tag(model: type[BaseModel], tag: int | str) -> bool:
    return any(tag in get_args(field.annotation) or tag == model.__name__ for field in model.model_fields.values())
