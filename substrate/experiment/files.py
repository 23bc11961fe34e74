"""Files of experiments: where they are, and their text."""

from importlib.resources import files
from pathlib import Path

import yaml

from substrate.errors import InputError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""What a run file begins with."""


def find_experiment(source: str | Path) -> Path:
    """The file that a path or the name of a shipped experiment means.

    Raises:
        InputError: there is none; names those that are shipped.
    """
    path = Path(source)
    if path.is_file():
        return path
    if path.suffix not in (".yaml", ".yml"):
        named = shipped_experiments().get(str(source))
        if named is not None:
            return named
    raise InputError(
        f"{source}: no such file, nor an experiment that is shipped ({', '.join(sorted(shipped_experiments()))})"
    )


def read_yaml_text(path: Path) -> str:
    """The text of a file that is expected to be YAML.

    Raises:
        InputError: it cannot be read, or is no text; says what a run file is for.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if content.startswith(HDF5_SIGNATURE):
        raise InputError(
            f"{path}: expected a YAML file, got a run file, or another one of HDF5; commands that take a run: resume, "
            "show, report, recover, check-gradient, plan, export-spice"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a YAML file, got one that is no text (UTF-8)") from error


def shipped_experiments() -> dict[str, Path]:
    """Experiments by name: those inside an installed wheel, or in the tree that the package runs from."""
    package = Path(str(files("substrate")))
    for folder in (package / "_experiments", package.parent / "experiments"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def repeated_key(text: str) -> str:
    """Which key of a YAML text stands twice in one section, if any; PyYAML itself keeps the last and says nothing."""
    left, seen = [yaml.compose(text, yaml.SafeLoader)], set()
    while left:
        node = left.pop()
        # An alias may lead back to a section that holds it.
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += node.value
        elif isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and names.count(key.value) > 1:
                    return f"{key.value}: given twice, line {key.start_mark.line + 1} and below"
                left.append(value)
    return ""
