"""Which of two looks at an object is the later one.

A list is read over seconds, while watches bring what happened since: what comes last need not be
the newest.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def version(body: Json) -> int:
    """Kubernetes promises that versions of one kind of resource compare as numbers
    (reference/using-api/api-concepts, resource versions).
    """
    return int(body["metadata"]["resourceVersion"])


class Gone:
    """Objects whose deletion was seen: a list that began before it brings none of them back."""

    def __init__(self) -> None:
        self._uids: set[str] = set()

    def add(self, body: Json) -> None:
        self._uids.add(body["metadata"]["uid"])

    def __contains__(self, body: Json) -> bool:
        return body["metadata"]["uid"] in self._uids

    def forget(self) -> None:
        """All lists that began before now have been taken in."""
        self._uids.clear()
