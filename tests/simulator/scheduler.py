"""Kubernetes' scheduler: gates, one node by its label, and room by what containers request."""

from __future__ import annotations

import random
from collections import defaultdict
from decimal import Decimal

from insitu_operator.core.objects.names import HOSTNAME
from insitu_operator.core.objects.quantities import quantity
from tests.simulator.store import Id, Json, Store

_ENDED = ("Succeeded", "Failed")


class Scheduler:
    """Call `live` often. Nobody is preempted, and pods of one moment come in any order.

    Args:
        store: Of the cluster.
        chance: Of that order, as its queue promises none between pods that were bound together.
    """

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store = store
        self._chance = chance

    def live(self) -> None:
        pods = self._store.of("pods")
        new = [p for p in pods if not p["spec"].get("nodeName") and _wants_a_node(p)]
        if not new:
            return
        used: defaultdict[str, Decimal] = defaultdict(Decimal)
        for pod in pods:
            if pod["status"]["phase"] not in _ENDED and (node := pod["spec"].get("nodeName")):
                used[node] += _cpu(pod)
        self._chance.shuffle(new)
        for pod in new:
            self._place(pod, used)

    def _place(self, pod: Json, used: defaultdict[str, Decimal]) -> None:
        if pod["spec"].get("schedulingGates"):
            self._say(pod, "False", "SchedulingGated", "")
            return
        wanted = pod["spec"].get("nodeSelector", {}).get(HOSTNAME)
        why = "no node has the label that it selects"
        for node in self._store.of("nodes"):
            if wanted not in (None, node["metadata"]["labels"][HOSTNAME]):
                continue
            name = node["metadata"]["name"]
            if used[name] + _cpu(pod) <= quantity(node["status"]["allocatable"]["cpu"]):
                used[name] += _cpu(pod)
                pod["spec"]["nodeName"] = name
                self._say(pod, "True", "", "")
                return
            why = "Insufficient cpu"
        self._say(pod, "False", "Unschedulable", f"0/3 nodes are available: {why}")

    def _say(self, pod: Json, status: str, reason: str, message: str) -> None:
        told = {"type": "PodScheduled", "status": status, "reason": reason, "message": message}
        before: list[Json] = pod["status"].setdefault("conditions", [])
        old = next((c for c in before if c["type"] == "PodScheduled"), {})
        if told.items() <= old.items():
            return
        kept = [c for c in before if c["type"] != "PodScheduled"]
        pod["status"]["conditions"] = [*kept, {**told, "lastTransitionTime": self._store.now()}]
        self._store.touch(Id("pods", pod["metadata"]["namespace"], pod["metadata"]["name"]))


def _wants_a_node(pod: Json) -> bool:
    return pod["status"]["phase"] not in _ENDED and "deletionTimestamp" not in pod["metadata"]


def _cpu(pod: Json) -> Decimal:
    return sum(
        (
            quantity(container.get("resources", {}).get("requests", {}).get("cpu", "0"))
            for container in pod["spec"]["containers"]
        ),
        Decimal(),
    )
