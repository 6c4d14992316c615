"""What a structural schema refuses: the part of OpenAPI v3 that a CustomResourceDefinition may use.

CEL rules (`x-kubernetes-validations`) are not looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

Node = dict[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_INTEGERS = {"int32": 2**31, "int64": 2**63}


def complaints(schema: Node, value: Any, path: str = "") -> Iterator[str]:
    """Of a value, each with the path to what is wrong. Unknown fields are pruned, not refused."""
    if "type" not in schema:
        return
    kind = _TYPES[schema["type"]]
    if not isinstance(value, kind) or (isinstance(value, bool) and schema["type"] != "boolean"):
        yield f"{path}: must be of type {schema['type']}, not {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: unsupported value {value!r}"
    match value:
        case dict():
            yield from _object(schema, value, path)
        case list():
            yield from _list(schema, value, path)
        case str():
            yield from _text(schema, value, path)
        case int() | float():
            yield from _number(schema, value, path)


def _object(schema: Node, value: Node, path: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}: required value"
    others = schema.get("additionalProperties")
    properties = schema.get("properties", {})
    for name, inner in value.items():
        node = properties.get(name, others)
        if isinstance(node, dict):
            yield from complaints(node, inner, f"{path}.{name}")
    if len(value) > schema.get("maxProperties", len(value)):
        yield f"{path}: too many fields"


def _list(schema: Node, value: list[Any], path: str) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield f"{path}: {len(value)} items"
    for number, item in enumerate(value):
        yield from complaints(schema.get("items", {}), item, f"{path}[{number}]")
    if keys := schema.get("x-kubernetes-list-map-keys"):
        seen = Counter(tuple(item.get(key) for key in keys) for item in value)
        yield from (f"{path}: duplicate value {key}" for key, n in seen.items() if n > 1)


def _text(schema: Node, value: str, path: str) -> Iterator[str]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"{path}: a text of {len(value)} characters"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"
    if schema.get("format") == "date-time":
        try:
            aware = datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            aware = False
        if not aware:
            yield f"{path}: {value!r} is no time"


def _number(schema: Node, value: float, path: str) -> Iterator[str]:
    if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{path}: {value} is out of bounds"
    # Kubernetes reads every integer into 64 bits, whatever its format says.
    limit = _INTEGERS.get(schema.get("format", "int64"), 2**63)
    if schema["type"] == "integer" and not -limit <= value < limit:
        yield f"{path}: {value} has too many bits"
