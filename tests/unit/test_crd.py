"""The definition of a TrainingJob: what any API server will refuse, and what people will miss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, Field

from insitu.api import Spec, Status
from insitu_operator.crd import chart_template, definition, manifest
from insitu_operator.crd.columns import COLUMNS
from insitu_operator.crd.structural import structural

ROOT = Path(__file__).parents[2]
WRITTEN = ROOT / "crds" / "insitu.dev_trainingjobs.yaml"
FORBIDDEN = {
    "$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "title", "const", "nullable", "examples",
    "discriminator", "uniqueItems", "prefixItems", "propertyNames", "patternProperties",
}  # fmt: skip


def schema() -> dict[str, Any]:
    found: dict[str, Any] = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key], f"{path}[]")


def at(path: str) -> dict[str, Any]:
    return dict(nodes(schema()))[path]


def test_the_definition_is_what_the_models_say() -> None:
    assert WRITTEN.read_text() == manifest(), "run `make generate`"
    assert yaml.safe_load(manifest()) == definition()


def test_the_chart_has_the_same_definition() -> None:
    template = ROOT / "charts" / "insitu" / "templates" / "crd.yaml"
    assert template.read_text() == chart_template(), "run `make generate`"


def test_every_node_is_described() -> None:
    # Kubernetes forbids it for metadata, and has its own text.
    assert [p for p, node in nodes(schema()) if not node.get("description")] == [".metadata"]


def test_nothing_is_in_it_that_a_structural_schema_may_not_have() -> None:
    assert not [(path, word) for path, node in nodes(schema()) for word in FORBIDDEN & node.keys()]


def test_every_node_has_one_type_or_is_a_number_or_text() -> None:
    untyped = [path for path, node in nodes(schema()) if "type" not in node]
    assert untyped
    assert all(at(path)["x-kubernetes-int-or-string"] for path in untyped)


def test_everything_is_bounded() -> None:
    def bounded(node: dict[str, Any]) -> bool:
        match node.get("type"):
            case "string":
                return bool(node.keys() & {"enum", "maxLength", "format"})
            case "integer":
                return {"minimum", "maximum"} <= node.keys()
            case "array":
                return "maxItems" in node
            case _:
                return "additionalProperties" not in node or "maxProperties" in node

    parts = [(p, node) for name in ("spec", "status") for p, node in nodes(at(f".{name}"), name)]
    assert not [path for path, node in parts if not bounded(node)]


def test_every_rule_says_what_is_wrong() -> None:
    rules = [
        rule for _, node in nodes(schema()) for rule in node.get("x-kubernetes-validations", ())
    ]
    assert len(rules) > 10
    assert not [rule for rule in rules if not rule.get("message")]


def test_every_list_says_how_two_writers_share_it() -> None:
    lists = {p: node for p, node in nodes(schema()) if node.get("type") == "array"}
    assert all("x-kubernetes-list-type" in node for node in lists.values())
    assert at(".status.conditions")["x-kubernetes-list-map-keys"] == ["type"]
    assert at(".spec.trainer.env")["x-kubernetes-list-map-keys"] == ["name"]
    assert at(".spec.trainer.command")["x-kubernetes-list-type"] == "atomic"


def test_every_column_shows_a_field_that_exists() -> None:
    for column in COLUMNS:
        path = column.path.replace("[?(@.type=='Running')]", "[]")
        assert path == ".metadata.creationTimestamp" or at(path)["type"] == column.type


def test_only_the_spec_has_defaults() -> None:
    assert not [path for path, node in nodes(at(".status")) if "default" in node]
    assert at(".spec.checkpoint")["default"] == {}
    assert at(".spec.checkpoint.keepLast")["default"] == 3


def test_every_field_of_the_models_is_there() -> None:
    models: dict[str, type[BaseModel]] = {"spec": Spec, "status": Status}
    for name, model in models.items():
        fields = {field.alias for field in model.model_fields.values()}
        assert at(f".{name}")["properties"].keys() == fields


class Choice(BaseModel):
    """A model with a field that no structural schema can describe."""

    one: bool | str = Field(description="Either.")


def test_what_has_no_structural_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Choice\.one: a choice between types"):
        structural(Choice, {}, {})
