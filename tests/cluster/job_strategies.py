"""Draws TrainingJobs that are right, or wrong in one place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from insitu_operator.crd import definition
from tests.cluster.trainingjobs import CASSANDRA, IGNITE

Place = tuple[str | int, ...]
ADDED: dict[str, Any] = {
    "unknown": "x",
    "value": "x",
    "s3": {"bucket": "models"},
    "service": {"name": "database", "port": 1},
    "endpoints": ["127.0.0.1:1"],
    "cassandra": CASSANDRA["spec"]["data"]["cassandra"],
}
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


def with_each_fault() -> Iterator[dict[str, Any]]:
    """Jobs that differ from a right one in one place, with each place in turn at its bounds."""
    for job in (IGNITE, CASSANDRA):
        for path, node in PLACES[job["metadata"]["name"]]:
            _, here = entered(job, path)
            for value in [*bounds(node), *with_each_odd_character(here[path[-1]], node)]:
                changed, here = entered(job, path)
                here[path[-1]] = value
                yield changed
            changed, here = entered(job, path)
            del here[path[-1]]
            yield changed
            changed, here = entered(job, (*path, ""))
            for name in ADDED if isinstance(here, dict) else ():
                yield from added(job, path, name)
            if isinstance(here, list):
                here.append(copy.deepcopy(here[0]))
                yield changed


def bounds(node: dict[str, Any]) -> list[Any]:
    """Right and wrong values.

    Left out because they differ: null, which Kubernetes drops and a manifest's author did not mean,
    and a whole number with a point, which it takes for an integer.
    """
    values: list[Any] = [True, 1, 1.5, 2**63, "", "x", "1", [], {}, *node.get("enum", [])]
    if node.get("x-kubernetes-int-or-string"):
        values += [-1, 2**53 - 1, 2**53]
    if "maximum" in node:
        values += [node["minimum"] - 1, node["minimum"], node["maximum"], node["maximum"] + 1]
    if "maxLength" in node:
        values += [text * (node["maxLength"] + more) for text in "xé" for more in (0, 1)]
    if "maxItems" in node:
        values += [["x:1"] * (node["maxItems"] + more) for more in (0, 1)]
    if "maxProperties" in node:
        values += [{f"k{i}": "1" for i in range(node["maxProperties"] + more)} for more in (0, 1)]
        values += [{"k" * length: "1"} for length in (0, 317, 318)]
    return values


def with_each_odd_character(value: object, node: dict[str, Any]) -> list[str]:
    """Those that one reader of patterns may take for a space, or for the end, and another not."""
    if not isinstance(value, str) or "pattern" not in node:
        return []
    near = [value[:2] + character + value[2:] for character in " \v\x1f\x85\xa0\u2003é"]
    return [*near, f"{value}\n", f" {value}"]


def added(job: dict[str, Any], path: Place, name: str) -> Iterator[dict[str, Any]]:
    """With a further field, if it is not there: unknown here, or the other one of a choice."""
    changed, here = entered(job, (*path, name))
    if name not in here:
        here[name] = ADDED[name]
        yield changed


def entered(job: dict[str, Any], path: Place) -> tuple[dict[str, Any], Any]:
    """A copy of the job, and what in it holds the last part of the path."""
    changed: dict[str, Any] = copy.deepcopy(job)
    here: Any = changed
    for part in path[:-1]:
        here = here[part]
    return changed, here


@st.composite
def with_any_text(draw: st.DrawFn) -> dict[str, Any]:
    """A job with all fields and any text in one place that has a pattern."""
    job = draw(st.sampled_from([IGNITE, CASSANDRA]))
    patterns = [(p, node) for p, node in PLACES[job["metadata"]["name"]] if "pattern" in node]
    path, node = draw(st.sampled_from(patterns))
    right = st.from_regex(node["pattern"])
    between = st.text("aZ0-._/:[] \t\n\v\r\x1f\x85\xa0\u2003é", max_size=4)
    near = st.builds(lambda text, more: text[:3] + more + text[3:], right, between)
    changed, here = entered(job, path)
    here[path[-1]] = draw(right | between | near)
    return changed


PLACES = {
    job["metadata"]["name"]: [*places(job["spec"], SCHEMA["properties"]["spec"], ("spec",))]
    for job in (IGNITE, CASSANDRA)
}
