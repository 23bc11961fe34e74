"""Validation errors in a sentence: the key path, what stands there, and what was expected."""

import re
from collections.abc import Container

from pydantic import ValidationError

# What pydantic adds to the place of a problem in a union: the alternative that was tried, which is no key of the file.
_ALTERNATIVE = re.compile(r"(constrained-)?(float|int|str|list|dict|tuple|model)(\[.*\])?$|literal\[.*\]$")


def describe(error: ValidationError, path: str = "", tags: Container[str] = ()) -> str:
    """One line for each problem that pydantic found, under the key path ``path``.

    ``tags``: what pydantic puts second in a place to tell the alternatives of a section apart, which is no key.
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
            lines.append(f"{where}: unknown key")
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
    return "; ".join(lines)
