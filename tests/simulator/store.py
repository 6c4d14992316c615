"""The objects of a cluster, in memory, with their versions, and who hears of their changes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

Json = dict[str, Any]

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class Id(NamedTuple):
    """Which object; `namespace` is empty for one of no namespace."""

    resource: str
    namespace: str
    name: str


#: Hears of a change: ADDED, MODIFIED or DELETED, which object, and how it is now.
Hears = Callable[[str, Id, Json], None]


class Store:
    """Whoever changes an object that it holds calls `touch` afterwards.

    Args:
        clock: Seconds since the cluster began.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._objects: defaultdict[str, dict[tuple[str, str], Json]] = defaultdict(dict)
        self._version = 100
        self._uids = 0
        self.hearers: list[Hears] = []

    @property
    def seconds(self) -> float:
        """Since the cluster began."""
        return self._clock()

    def now(self, after: float = 0.0) -> str:
        """The time of day, or that in so many seconds, as Kubernetes writes it."""
        at = BEGINNING + timedelta(seconds=self._clock() + after)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def find(self, which: Id) -> Json | None:
        return self._objects[which.resource].get(which[1:])

    def of(self, resource: str, namespace: str = "") -> list[Json]:
        """All of a kind; without a namespace those of all."""
        found = self._objects[resource]
        return [body for (where, _), body in found.items() if namespace in ("", where)]

    def owned(self, uid: str) -> list[tuple[Id, Json]]:
        """All objects with a reference to this owner."""
        return [
            (Id(resource, *key), body)
            for resource, objects in self._objects.items()
            for key, body in objects.items()
            if any(r["uid"] == uid for r in body["metadata"].get("ownerReferences", ()))
        ]

    def everything(self) -> list[tuple[Id, Json]]:
        return [
            (Id(resource, *key), body)
            for resource, objects in self._objects.items()
            for key, body in objects.items()
        ]

    def add(self, which: Id, body: Json) -> Json:
        """Gives it a uid, a version and a time of creation."""
        body = copied(body)
        metadata = body.setdefault("metadata", {})
        metadata |= {"name": which.name, "uid": self.uid(), "creationTimestamp": self.now()}
        if which.namespace:
            metadata["namespace"] = which.namespace
        metadata["generation"] = 1
        self._objects[which.resource][which[1:]] = body
        self._tell("ADDED", which, body)
        return body

    def put(self, which: Id, body: Json) -> Json:
        """In place of the one that is there."""
        self._objects[which.resource][which[1:]] = body
        self._tell("MODIFIED", which, body)
        return body

    def touch(self, which: Id) -> None:
        """It was changed."""
        self._tell("MODIFIED", which, self._objects[which.resource][which[1:]])

    def remove(self, which: Id) -> None:
        body = self._objects[which.resource].pop(which[1:])
        self._tell("DELETED", which, body)

    def uid(self) -> str:
        """One that was never given before."""
        self._uids += 1
        return f"uid-{self._uids}"

    def _tell(self, kind: str, which: Id, body: Json) -> None:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        for hears in self.hearers:
            hears(kind, which, body)


def copied(body: Json) -> Json:
    """As it comes out of another process."""
    read: Json = json.loads(json.dumps(body))
    return read
