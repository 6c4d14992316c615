"""Draws TrainingJobs that are right, or wrong in one or two places."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from insitu_operator.crd import definition
from tests.cluster.trainingjobs import CASSANDRA, IGNITE

Place = tuple[str | int, ...]
ADDED = ("unknown", "value", "s3", "service", "endpoints")
SCHEMA = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def places(value: object, node: dict[str, Any], path: Place) -> Iterator[tuple[Place, Any]]:
    """Each place in `value`, with the schema of what belongs there."""
    yield path, node
    if isinstance(value, dict):
        for name, inner in value.items():
            known = node.get("properties", {}).get(name) or node["additionalProperties"]
            yield from places(inner, known, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, node["items"], (*path, index))


def values(node: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Right and wrong values, most of them at a bound.

    Left out because they differ: null, which Kubernetes drops and a manifest's author did not mean,
    and a whole number with a point, which it takes for an integer.
    """
    odd: list[Any] = [True, 1, -1, 1.5, 2**53, 2**63, 2**70, "", "x", "true", [], {}, ["x"]]
    if "maximum" in node:
        odd += [node["minimum"] - 1, node["minimum"], node["maximum"], node["maximum"] + 1]
    if "maxLength" in node:
        odd += ["x" * node["maxLength"], "x" * (node["maxLength"] + 1), "é" * node["maxLength"]]
    if "maxItems" in node:
        odd += [["x"] * (node["maxItems"] + 1), ["x:1"] * node["maxItems"]]
    if "maxProperties" in node:
        odd += [{f"k{i}": "1" for i in range(node["maxProperties"] + more)} for more in (0, 1)]
        odd += [{"": "1"}, {"k" * 317: "1"}, {"k" * 318: "1"}]
    chosen = st.sampled_from(odd + node.get("enum", []))
    if "pattern" not in node:
        return chosen
    texts = st.text("aZ0-._/:[] \t\n\v\r\x1f\x85\xa0\u2003é", max_size=8)
    return chosen | texts | st.from_regex(node["pattern"])


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    """A job with all fields, in which up to two places were changed."""
    job: dict[str, Any] = copy.deepcopy(draw(st.sampled_from([IGNITE, CASSANDRA])))
    for _ in range(draw(st.integers(0, 2))):
        found = [*places(job["spec"], SCHEMA["properties"]["spec"], ("spec",))]
        path, node = draw(st.sampled_from(found[1:]))
        *folders, last = path
        here: Any = job
        for folder in folders:
            here = here[folder]
        match draw(st.sampled_from(["set", "set", "remove", "add", "repeat"])):
            case "set":
                here[last] = draw(values(node))
                return job
            case "remove":
                del here[last]
            case "repeat" if isinstance(here, list):
                here.append(copy.deepcopy(here[0]))
            case _ if isinstance(here, dict):
                here[draw(st.sampled_from(ADDED))] = "x"
                return job
    return job
