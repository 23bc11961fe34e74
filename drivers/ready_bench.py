"""The ready file of a running virtual bench: the addresses of its instruments, in place of those of a wiring file."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from substrate.errors import InputError


@final
@dataclass(frozen=True)
class ReadyBench:
    """The instruments of a running virtual bench, which may be more than a wiring has.

    Attributes:
        path: of its ready file.
        resources: addresses by name.
    """

    path: str
    resources: Mapping[str, str]

    def address(self, name: str) -> str:
        """Of an instrument of a wiring; ``name-a`` and ``name-b`` are also the channels of ``name``.

        Raises:
            InputError: the bench has none of this name.
        """
        for known in (name, re.sub(r"-[ab]$", "", name)):
            if known in self.resources:
                return self.resources[known]
        raise InputError(f"{self.path}: the bench has no instrument {name!r}, which the wiring names")


def ready_addresses(path: str | Path | None) -> ReadyBench | None:
    """The ready file of a virtual bench (``substrate bench --ready-file``); None: none.

    Raises:
        InputError: no such file, or not of this form.
    """
    if path is None:
        return None
    try:
        listed = json.loads(Path(path).read_text(encoding="utf-8"))["instruments"]
        resources = {str(one["name"]): str(one["resource"]) for one in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected the ready file of a running bench: {error}") from error
    adapters = {
        found[1]: found[2]
        for resource in resources.values()
        if (found := re.fullmatch(r"PRLGX-TCPIP(\d+)::(.+)::INTFC", resource))
    }

    def reached(resource: str) -> str:
        """GPIB boards of the bench are its adapters, which a driver has to be told about."""
        found = re.fullmatch(r"GPIB(\d+)::(\d+)::INSTR", resource)
        if found is None or found[1] not in adapters:
            return resource
        return f"PRLGX-TCPIP::{adapters[found[1]]}::GPIB::{found[2]}"

    return ReadyBench(str(path), {name: reached(resource) for name, resource in resources.items()})
