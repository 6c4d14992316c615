"""Turns pydantic's JSON schema into the structural schema that Kubernetes asks for.

Nothing is a reference, each node has one type, "may be absent" is said by not being required, and
what has no structural form is refused here rather than dropped.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from insitu_operator.crd.rules import Rule, keys

Node = dict[str, Any]
Rules = Mapping[str, Sequence[Rule]]
Keys = Mapping[str, str]

_REFERENCE = "#/$defs/"
_KEPT = (
    "description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum",
    "maximum", "minItems", "maxItems", "minProperties", "maxProperties", "required",
)  # fmt: skip
_HANDLED = {
    "$defs", "title", "const", "default", "items", "properties", "additionalProperties",
    "propertyNames",
}  # fmt: skip


def structural(
    model: type[BaseModel], rules: Rules, keys_of: Keys, *, defaults: bool = True
) -> Node:
    """The structural schema of `model`, by the names on the wire.

    Args:
        model: Its fields are described, and not recursive.
        rules: Further rules, by the name of the model that they are about.
        keys_of: By the name of a list entry's model, the field that tells entries apart.
        defaults: Whether the API server fills in what is absent.

    Raises:
        ValueError: something has no structural form; the message has its path.
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    conversion = _Conversion(schema.get("$defs", {}), rules, keys_of, defaults)
    return conversion.node(schema, model.__name__, model.__name__)


@dataclass(frozen=True, slots=True)
class _Conversion:
    models: Mapping[str, Node]
    rules: Rules
    keys_of: Keys
    defaults: bool

    def node(self, schema: Node, path: str, name: str | None = None) -> Node:
        """The node for `schema`; `name` is that of its model, if it is one."""
        schema, referred = self._plain(schema, path)
        name = referred or name
        if unknown := schema.keys() - _HANDLED - set(_KEPT) - {"x-kubernetes-int-or-string"}:
            raise ValueError(f"{path}: {', '.join(sorted(unknown))} has no structural form")
        made: Node = {key: schema[key] for key in _KEPT if key in schema}
        if "description" in made:
            made["description"] = " ".join(str(made["description"]).split())
        if "const" in schema:
            made["enum"] = [schema["const"]]
        if schema.get("x-kubernetes-int-or-string"):
            made["x-kubernetes-int-or-string"] = True
        match made.get("type"):
            case "array":
                made |= self._list(schema, path)
            case "object":
                made |= self._object(schema, path)
        if self.defaults and "default" in schema:
            made |= _default(schema["default"], made)
        checks = [*self.rules.get(name or "", ()), *_on_keys(schema)]
        if checks:
            made["x-kubernetes-validations"] = [rule.document() for rule in checks]
        return made

    def _plain(self, schema: Node, path: str) -> tuple[Node, str | None]:
        """Without references and alternatives; what stands beside one of them wins."""
        if "$ref" in schema:
            name = str(schema["$ref"]).removeprefix(_REFERENCE)
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            plain, inner = self._plain(self.models[name] | beside, path)
            return plain, inner or name
        if "anyOf" in schema:
            beside = {key: value for key, value in schema.items() if key != "anyOf"}
            arms = [arm for arm in schema["anyOf"] if arm.get("type") != "null"]
            if len(arms) == 1:
                return self._plain(arms[0] | beside, path)
            return _int_or_string(arms, path) | beside, None
        return schema, None

    def _list(self, schema: Node, path: str) -> Node:
        entry = schema["items"]
        _, name = self._plain(entry, path)
        key = self.keys_of.get(name or "")
        kind = (
            {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
            if key
            else {"x-kubernetes-list-type": "atomic"}
        )
        return {"items": self.node(entry, f"{path}[]"), **kind}

    def _object(self, schema: Node, path: str) -> Node:
        if "properties" in schema:
            fields = schema["properties"].items()
            return {"properties": {n: self.node(inner, f"{path}.{n}") for n, inner in fields}}
        return {"additionalProperties": self.node(schema["additionalProperties"], f"{path}.*")}


def _int_or_string(arms: Sequence[Node], path: str) -> Node:
    if {arm.get("type") for arm in arms} != {"integer", "string"} or len(arms) != 2:
        raise ValueError(f"{path}: a choice between types has no structural form")
    # Bounds of numbers pass by strings, and those of strings by numbers.
    bounds = {key: value for arm in arms for key, value in arm.items() if key != "type"}
    return bounds | {"x-kubernetes-int-or-string": True}


def _default(value: object, made: Node) -> Node:
    """An absent object is filled in where something in it has a default of its own."""
    if value is None or value in ([], ()):
        return {}
    if made.get("type") == "object":
        inner = made.get("properties", {}).values()
        return {"default": {}} if any("default" in node for node in inner) else {}
    return {"default": value}


def _on_keys(schema: Node) -> Iterator[Rule]:
    if names := schema.get("propertyNames"):
        yield keys(names.get("minLength", 0), names["maxLength"])
