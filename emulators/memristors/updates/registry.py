"""Update laws by name, for experiment files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from types import MappingProxyType
from typing import Any

from emulators.memristors.updates.base import UpdateLaw
from emulators.memristors.updates.checks import require_choice, require_keys
from emulators.memristors.updates.constant import Constant
from emulators.memristors.updates.exponential import Exponential
from emulators.memristors.updates.ideal import Ideal
from emulators.memristors.updates.linear import Linear
from emulators.memristors.updates.one_sided import OneSided
from emulators.memristors.updates.piecewise import Piecewise
from emulators.memristors.updates.power import Power
from emulators.memristors.updates.retention import retention_from_config
from emulators.memristors.updates.soft_bounds import SoftBounds
from substrate.errors import InputError

UPDATE_LAWS: Mapping[str, type[UpdateLaw]] = MappingProxyType(
    {law.law: law for law in (Ideal, Constant, Linear, SoftBounds, Exponential, Power, Piecewise, OneSided)}
)


def update_from_config(mapping: Mapping[str, Any], where: str = "update") -> UpdateLaw:
    """Build an update law from ``{law: NAME, parameter: value, ...}`` or ``{preset: NAME, ...}``.

    Parameters beside ``preset`` override the preset's. ``where`` is the key path that errors name. Unknown laws,
    presets and keys, missing and bad values raise InputError with the key and what was expected.
    """
    if not isinstance(mapping, Mapping):
        raise InputError(f"{where}: expected a mapping with the key law or preset, got {mapping!r}")
    if ("law" in mapping) == ("preset" in mapping):
        raise InputError(
            f"{where}: expected exactly one of the keys law and preset; to replace one by the other, give the whole "
            f"section, {where}: {{preset: NAME}}"
        )
    parameters = {key: _plain(value) for key, value in mapping.items() if key not in ("law", "preset")}
    if isinstance(parameters.get("retention"), Mapping):
        parameters["retention"] = retention_from_config(parameters["retention"], f"{where}.retention")
    try:
        if "preset" in mapping:
            from emulators.memristors.presets import preset

            base = preset(mapping["preset"]).update
            require_keys(where, parameters, _keys(type(base)))
            return replace(base, **parameters)
        law = UPDATE_LAWS[require_choice("law", mapping["law"], UPDATE_LAWS)]
        require_keys(where, parameters, _keys(law))
        missing = [key for key in _required(law) if key not in parameters]
        if missing:
            raise InputError(f"{missing[0]}: law {law.law} needs it")
        return law(**parameters)
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith(where) else f"{where}.{message}") from None


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _keys(law: type[UpdateLaw]) -> list[str]:
    return [field.name for field in fields(law)]


def _required(law: type[UpdateLaw]) -> list[str]:
    return [field.name for field in fields(law) if field.default is MISSING and field.default_factory is MISSING]
