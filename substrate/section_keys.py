"""The keys of a section for people: what each takes and its default, taken from the section itself."""

from dataclasses import dataclass
from typing import Any, final

import yaml
from pydantic import BaseModel

from substrate.validation import models_in

REQUIRED = "required"
"""In place of the default of a key that has none."""

_KINDS = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true, false",
    "string": "text",
    "null": "null",
    "object": "mapping",
}
_ENDS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))


@final
@dataclass(frozen=True)
class SectionKey:
    """A key of a section: what it takes, and its default as YAML has it; ``REQUIRED`` where there is none."""

    name: str
    takes: str
    default: str

    def line(self) -> str:
        """As it stands in a file, with what it takes behind it."""
        return f"{self.name + ': ' + self.default:36}  # {self.takes}"


def keys_of(model: type[BaseModel]) -> tuple[SectionKey, ...]:
    """The keys of a section, in its own order; a key that holds a section has {} for its default."""
    properties = model.model_json_schema().get("properties", {})
    found = []
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            shown = REQUIRED
        elif isinstance(default, BaseModel):
            shown = "{}"
        else:
            shown = in_yaml(list(default) if isinstance(default, tuple) else default)
        takes = "section" if models_in(field.annotation) else _takes(properties[name])
        found.append(SectionKey(name, takes, shown))
    return tuple(found)


def _takes(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_takes(one) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(str(one) for one in schema.get("enum", [schema.get("const")]))
    if "prefixItems" in schema:
        return f"[{', '.join(_takes(one) for one in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        items = _takes(schema["items"])
        return f"list of ({items})" if " or " in items else f"list of {items}"
    kind = _KINDS[schema["type"]] if "type" in schema else "anything"
    return " ".join([kind, *(f"{sign} {schema[end]:g}" for end, sign in _ENDS if end in schema)])


def in_yaml(value: Any) -> str:
    """A value on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
