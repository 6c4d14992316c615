"""What a process hears of the cluster's changes, and when."""

from __future__ import annotations

import asyncio
import json

from insitu_operator.core.objects.names import MANAGED
from insitu_operator.shell.watching.sight import Sight
from tests.simulator.plans import Kind
from tests.simulator.store import Id, Json, Store

DELAY_SECONDS = 0.01
LATE_SECONDS = 5.0
DOUBLED_SECONDS = 2.0
"""For so long everything comes twice, and the second time so much later."""

_WATCHED = ("nodes", "pods", "trainingjobs")


class Watches:
    """In place of kopf: one stream for each kind, in order, after a delay."""

    def __init__(self, store: Store, sight: Sight) -> None:
        self._store = store
        self._sight = sight
        self._not_before = 0.0
        self._doubled_until = float("-inf")
        self._open = False

    def begin(self) -> None:
        """As a watch begins: with a list."""
        self._open = True
        for resource in _WATCHED:
            for body in self._store.of(resource):
                self._hears(None, Id(resource, "", ""), body)
        self._store.hearers.append(self._hears)

    def end(self) -> None:
        if self._open:
            self._open = False
            self._store.hearers.remove(self._hears)

    def fail(self, kind: Kind) -> None:
        """LATE or DOUBLED, from now on for a while."""
        now = asyncio.get_running_loop().time()
        if kind is Kind.LATE:
            self._not_before = now + LATE_SECONDS
        else:
            self._doubled_until = now + DOUBLED_SECONDS

    def _hears(self, kind: str | None, which: Id, body: Json) -> None:
        if which.resource not in _WATCHED or (which.resource == "pods" and not _managed(body)):
            return
        loop = asyncio.get_running_loop()
        text, now = json.dumps(body), loop.time()
        at = max(now + DELAY_SECONDS, self._not_before)
        loop.call_at(at, self._deliver, kind, which.resource, text)
        if now < self._doubled_until:
            loop.call_at(at + DOUBLED_SECONDS, self._deliver, kind, which.resource, text)

    def _deliver(self, kind: str | None, resource: str, text: str) -> None:
        if not self._open:
            return
        body: Json = json.loads(text)
        match resource:
            case "pods":
                self._sight.pod(kind, body)
            case "nodes":
                self._sight.node(kind, body)
            case "trainingjobs":
                self._sight.training_job(kind, body)


def _managed(pod: Json) -> bool:
    return bool(pod["metadata"].get("labels", {}).get(MANAGED) == "true")
