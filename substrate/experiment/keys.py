"""The sections of an experiment file and their keys, for people."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getdoc
from typing import final

from pydantic import BaseModel

from substrate.errors import InputError
from substrate.experiment.config import Experiment
from substrate.registry import load_backend
from substrate.section_keys import SectionKey, keys_of
from substrate.validation import models_in


@final
@dataclass(frozen=True)
class SectionDescription:
    """A section: the path of its key, what it says of its keys, and these."""

    path: str
    text: str
    keys: tuple[SectionKey, ...]

    @property
    def summary(self) -> str:
        """One line."""
        return " ".join(self.text.split("\n\n")[0].split())


def section_descriptions(backend: str) -> tuple[SectionDescription, ...]:
    """All sections of an experiment file with a backend, those of rules apart (``rules.descriptions``).

    Raises:
        InputError: no such backend.
    """
    described = load_backend(backend).section_model
    sections = []
    for name, field in Experiment.model_fields.items():
        models = models_in(field.annotation)
        # Of several, rules, another command tells.
        if len(models) == 1:
            sections += list(_sections(name, models[0]))
        elif name == "substrate" and described is not None:
            sections += list(_sections(name, described))
    return tuple(sections)


def section_description(path: str, backend: str) -> SectionDescription:
    """The section under a key path.

    Raises:
        InputError: there is none; names those there are.
    """
    sections = section_descriptions(backend)
    for one in sections:
        if one.path == path:
            return one
    if path.partition(".")[0] == "rule":
        raise InputError(f"section {path!r}: the keys of a rule are told by `substrate rules NAME`")
    raise InputError(f"section {path!r}: expected one of {', '.join(one.path for one in sections)}")


def _sections(path: str, model: type[BaseModel]) -> Iterator[SectionDescription]:
    yield SectionDescription(path, getdoc(model) or "", keys_of(model))
    for name, field in model.model_fields.items():
        for below in models_in(field.annotation):
            yield from _sections(f"{path}.{name}", below)
