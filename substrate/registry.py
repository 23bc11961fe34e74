"""Backends, found by entry point, so that a lab's own backend plugs in beside ours."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, final

import numpy as np
from pydantic import BaseModel

from substrate.catalogue import DeviceCatalogue
from substrate.contract import Substrate
from substrate.errors import InputError
from substrate.network import Network
from substrate.origin import require_ours

GROUP = "substrate.backends"
"""Entry-point group; each entry is an instance of ``Backend``."""


@final
@dataclass(frozen=True)
class IdleKey:
    """A key that does nothing beside the others: what would make it act, and its default."""

    why: str
    default: Any


class IdleKeys(ABC):
    """Tells which keys of a section do nothing."""

    @abstractmethod
    def among(self, section: Mapping[str, Any], network: Network) -> Mapping[str, IdleKey]:
        """Of a resolved section, given or not, by their paths under ``substrate``."""


class Backend(ABC):
    """What turns the ``substrate`` section of an experiment file into a device.

    Services that not every backend has are attributes, None where it lacks them.

    Attributes:
        section_model: what its section is validated by, whose keys are then told by ``substrate keys``.
        devices: published memristors by name.
        idle_keys: which keys of its section do nothing; None: all of them count.
    """

    section_model: type[BaseModel] | None = None
    devices: DeviceCatalogue | None = None
    idle_keys: IdleKeys | None = None

    @property
    @abstractmethod
    def summary(self) -> str:
        """One line on what this backend is."""

    @abstractmethod
    def resolve(self, section: Mapping[str, Any], network: Network) -> dict[str, Any]:
        """Check a section and fill in its defaults, as plain data that can be written to YAML.

        Raises:
            InputError: names the key under ``substrate`` and what was expected.
        """

    @abstractmethod
    def build(self, section: Mapping[str, Any], network: Network, rng: np.random.Generator) -> Substrate:
        """Describe the device of a resolved section; nothing is opened. ``rng`` seeds what is random in an emulator."""


def backend_names() -> list[str]:
    """Names of all installed backends, sorted."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def load_backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        InputError: there is none of this name; names those there are. Or it cannot be loaded, or comes from another
            installation than this package.
    """
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        raise InputError(f"substrate.backend: expected one of {', '.join(backend_names())}, got {name!r}")
    try:
        backend = found[0].load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"substrate.backend: {name!r} cannot be loaded from {found[0].value}: {error}") from error
    require_ours(found[0].module)
    if not isinstance(backend, Backend):
        raise InputError(f"substrate.backend: entry point {name!r} gives {type(backend).__name__}, not a Backend")
    return backend


def device_catalogues() -> list[DeviceCatalogue]:
    """Those of all installed backends."""
    return [one for one in (load_backend(name).devices for name in backend_names()) if one is not None]
