"""Validation errors in a sentence: the key path, what stands there, and what was expected."""

from pydantic import ValidationError


def describe(error: ValidationError, path: str = "") -> str:
    """One line for each problem that pydantic found, under the key path ``path``."""
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join([*([path] if path else []), *(str(part) for part in problem["loc"])])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key")
        elif problem["type"] == "missing":
            lines.append(f"{where}: missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            given = problem["input"]
            shown = "" if problem["type"] == "value_error" or isinstance(given, dict) else f", got {given!r}"
            lines.append(f"{where}: {message}{shown}")
    return "; ".join(lines)
