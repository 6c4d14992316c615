"""Kubernetes' garbage collector, and the one for pods.

Sources: kubernetes, pkg/controller/garbagecollector, pkg/controller/podgc/gc_controller.go.
"""

from __future__ import annotations

from tests.simulator.server import delete_pod
from tests.simulator.store import Id, Json, Store

ORPHAN_SECONDS = 0.5
"""From the end of an owner to that of what it owned."""

PODS_SECONDS = 20.0
"""Between two looks at pods that are to go and never got a machine."""


class Collector:
    """Call `live` often."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next = 0.0
        self._next_pods = PODS_SECONDS

    def live(self) -> None:
        now = self._store.seconds
        if now >= self._next:
            self._next = now + ORPHAN_SECONDS
            self._orphans()
        if now >= self._next_pods:
            self._next_pods = now + PODS_SECONDS
            self._unscheduled()

    def _orphans(self) -> None:
        things = self._store.everything()
        living = {body["metadata"]["uid"] for _, body in things}
        ending = {
            body["metadata"]["uid"]
            for _, body in things
            if "foregroundDeletion" in body["metadata"].get("finalizers", ())
        }
        for which, body in things:
            owners = {r["uid"] for r in body["metadata"].get("ownerReferences", ())}
            if owners and not owners & (living - ending):
                self._delete(which, body)
        for which, body in things:
            if body["metadata"]["uid"] in ending and not self._blocked(body):
                self._store.remove(which)

    def _delete(self, which: Id, body: Json) -> None:
        if self._store.find(which) is not body:
            return
        if which.resource == "pods":
            delete_pod(self._store, which, body)
        else:
            self._store.remove(which)

    def _blocked(self, owner: Json) -> bool:
        uid = owner["metadata"]["uid"]
        return any(
            reference["uid"] == uid and reference.get("blockOwnerDeletion")
            for _, body in self._store.owned(uid)
            for reference in body["metadata"]["ownerReferences"]
        )

    def _unscheduled(self) -> None:
        for pod in self._store.of("pods"):
            metadata = pod["metadata"]
            if "deletionTimestamp" not in metadata or pod["spec"].get("nodeName"):
                continue
            if pod["status"]["phase"] not in ("Succeeded", "Failed"):
                pod["status"]["phase"] = "Failed"
                self._store.touch(Id("pods", metadata["namespace"], metadata["name"]))
